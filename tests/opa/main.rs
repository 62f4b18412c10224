//! The built-in functions and the language as policies have them, against what OPA does: cases in `tests/opa`, judged
//! as a policy would be, with the settings of the daemon (errors are faults, nothing that changes from call to call).
//!
//! The cases are this project's own, and OPA itself, a peer that `tests/run` installs, says of each that it is so;
//! `generated` makes more. OPA's conformance suite (`v1/test/cases` of open-policy-agent/opa, Apache-2.0) is not part of
//! this repository: with a copy of it `suite` runs it as well. See `README.md` beside this file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod generated;
mod peer;
mod shipped;
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use countersign::policy::{Phase, PolicyEngine, PolicyFault, Settings};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: String,
    expr: String,
    want: Value,
}

const GROUPS: [&str; 4] = ["aggregates", "strings", "objects", "language"];

/// What some cases name.
const HELPERS: &str = r#"
f(x) := "small" if x < 3

else := "large" if is_number(x)

g(x) := x if x > 0

g(x) := x + 1 if x > 0

default d := 1

d := 2 if input.arguments.no

c := 1 if input.arguments.one

c := 2 if input.arguments.one
"#;

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa").join(name).with_extension("yaml");
    serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// One policy for all cases of a group; the input says which one is asked for.
fn policy(cases: &[Case]) -> String {
    let mut text = format!("package countersign.policy.cases\n{HELPERS}\n");
    for (n, Case { expr, .. }) in cases.iter().enumerate() {
        let entry = format!("{{\"rule\": \"cases.n{n}\", \"reason\": \"r\", \"details\": {{\"is\": value}}}}");
        let _ = write!(text, "deny contains {entry} if {{\n\tinput.arguments.case == {n}\n\tvalue := {expr}\n}}\n\n");
    }
    text
}

fn input(case: usize) -> String {
    let arguments = json!({
        "case": case, "one": 1, "zero": 0, "text": "abc", "open": "(", "list": [1, 2], "no": false, "nothing": null,
    });
    json!({"version": 1, "phase": "call", "arguments": arguments}).to_string()
}

/// What a case comes to, in the words of the cases.
async fn answer(engine: &PolicyEngine, case: usize) -> Value {
    match engine.decide(Phase::Call, input(case)).await {
        Ok(decision) => match decision.rules.first() {
            Some(hit) => serde_json::from_str::<Value>(hit.details.as_ref().unwrap().as_str()).unwrap()["is"].clone(),
            None => json!("undefined"),
        },
        Err(PolicyFault::Engine { .. }) => json!("error"),
        Err(fault) => panic!("{fault}"),
    }
}

/// The same number may be spelled in several ways.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|right| same(value, right)))
        }
        (left, right) => left == right,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_functions_answer_as_in_opa() {
    let differences: BTreeMap<String, String> = read("differences");
    let (mut wrong, mut seen, mut differ) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for group in GROUPS {
        let cases: Vec<Case> = read(group);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cases.rego"), policy(&cases)).unwrap();
        let settings = Settings {
            builtin: Vec::new(),
            paths: vec![folder.path().to_owned()],
            time_limit: Duration::from_secs(10),
            unsafe_default_allow: true,
            ..Settings::default()
        };
        let engine = PolicyEngine::load(settings).unwrap_or_else(|errors| panic!("{group}: {errors}"));
        for (n, case) in cases.iter().enumerate() {
            assert!(seen.insert(case.note.clone()), "two cases are named {}", case.note);
            let is = answer(&engine, n).await;
            let passes = same(&is, &case.want);
            match (passes, differences.contains_key(&case.note)) {
                (true, false) => {}
                (false, true) => {
                    differ.insert(case.note.clone());
                }
                (true, true) => wrong.push(format!("{}: passes, and is listed in differences.yaml", case.note)),
                (false, false) => wrong.push(format!("{}: {} is {is}, and in OPA {}", case.note, case.expr, case.want)),
            }
        }
    }
    let unknown: Vec<_> = differences.keys().filter(|note| !differ.contains(*note) && !seen.contains(*note)).collect();
    assert!(unknown.is_empty(), "differences.yaml names cases that are not there: {unknown:?}");
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), seen.len(), wrong.join("\n"));
    eprintln!("{} cases, {} of them differ for a known reason", seen.len(), differ.len());
}

/// What the cases want is what OPA says, and not only what its reference was read to say. What OPA does not compile, since
/// the types cannot fit, is an error.
#[test]
fn what_the_cases_want_is_what_opa_says() {
    let (mut opa, mut wrong) = (peer::Opa::start(), Vec::new());
    for Case { note, expr, want } in GROUPS.iter().flat_map(|group| read::<Vec<Case>>(group)) {
        let module = format!("package cases\n{HELPERS}\nis := value if {{\n\tvalue := {expr}\n}}\n");
        let is = match opa.ask(&[module], "{}", &[("data.cases.is", input(0))]) {
            Ok(answers) => answers[0].clone(),
            Err(error) => peer::Answer::Error(error),
        };
        let agrees = match &is {
            peer::Answer::Is(value) => *value == peer::exact(&want.to_string()),
            peer::Answer::Undefined => want == "undefined",
            peer::Answer::Error(_) => want == "error",
        };
        if !agrees {
            wrong.push(format!("{note}: {expr} is {is} in OPA, and the case wants {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a policy can call and no case does.
#[test]
fn every_function_that_a_policy_can_call_has_a_case() {
    let cases: String = GROUPS.iter().flat_map(|group| read::<Vec<Case>>(group)).map(|case| case.expr + "\n").collect();
    let without: Vec<_> = callable().into_iter().filter(|name| !cases.contains(&format!("{name}("))).collect();
    assert!(without.is_empty(), "no case calls {without:?}");
}

/// The functions that a policy can call, by name.
fn callable() -> Vec<&'static str> {
    let all = regorus::unstable::BUILTINS.keys().copied();
    let all: BTreeSet<_> = all.filter(|name| !REFUSED.contains(name) && !OPERATORS.contains(name)).collect();
    all.into_iter().collect()
}

/// The loader refuses these: their answer changes from call to call, or is another than in OPA.
const REFUSED: [&str; 11] = [
    "time.now_ns",
    "rand.intn",
    "strings.count",
    "strings.replace_n",
    "glob.quote_meta",
    "json.filter",
    "json.remove",
    "net.cidr_contains",
    "time.add_date",
    "units.parse",
    "units.parse_bytes",
];
/// Written as operators, which cases use; or for authors alone.
const OPERATORS: [&str; 3] = ["__builtin_sets.union", "__builtin_sets.intersection", "trace"];

/// OPA's own cases, where there is a copy of them.
#[test]
fn cases_of_opa_agree_or_are_listed() {
    let Some(folder) = std::env::var_os("OPA_CASES") else { return eprintln!("OPA_CASES names no folder: not run") };
    let tally = suite::run(Path::new(&folder), &read("suite"), std::env::var_os("OPA_CASES_PART").is_none());
    assert!(tally.cases > 0, "no cases below {}", Path::new(&folder).display());
    eprintln!("{tally}");
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
}

/// The reader of that format, on cases of ours that agree, differ, are listed and should not be, or say nothing here.
#[test]
fn a_case_in_the_form_of_opa_is_judged() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa/form");
    let tally = suite::run(&folder, &read("form_differences"), true);
    let part = suite::run(&folder, &read("form_differences"), false);
    assert_eq!(part.wrong.len() + 4, tally.wrong.len(), "of a part nobody knows what is gone");
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let agree = [
        "sum",
        "undefined",
        "an error that is wanted",
        "an error that is undefined",
        "in any order",
        "listed and agrees",
        "text/it can read this one",
        "listed as refused and agrees",
        "agrees and would be refused",
    ];
    assert_eq!(tally.agree, words(&agree));
    assert_eq!(tally.differ, words(&["wrong", "no error", "listed", "listed as refused and answered"]));
    let refused = ["text/the engine cannot read it", "a negated line too early", "refused and not listed"];
    assert_eq!(tally.refused, words(&refused));
    assert_eq!(tally.strict, words(&["agrees and would be refused"]));
    let not_applicable =
        ["built-in crypto.md5", "built-in time.now_ns", "field plan"].map(|reason| (reason.to_owned(), 1));
    assert_eq!(tally.not_applicable, BTreeMap::from(not_applicable));
    assert_eq!((tally.files, tally.cases), (1, 19));
    let said = [
        "interpreter: no error: is [{\"x\":2}], and in OPA an error",
        "interpreter: wrong: is [{\"x\":2}], and in OPA [{\"x\":3}]",
        "listed and agrees: agrees, and is listed",
        "gone: is listed, and no case is called so",
        "refused: refused and not listed: `a` has no value yet where this line is negated; else is [], and in OPA \
         [{\"x\":true}]",
        "interpreter: listed as refused and answered: is [{\"x\":1}], and in OPA [{\"x\":2}]",
        "listed as refused and agrees: agrees, and is listed",
        "listed as refused and agrees: is listed as refused, and no case is",
        "listed as refused and answered: is listed as refused, and no case is",
        "nothing/*: is listed as refused, and no case is",
    ];
    assert_eq!(tally.wrong.into_iter().collect::<BTreeSet<_>>(), words(&said));
}

/// Operators and functions on values that nobody would think of.
#[test]
fn calls_with_odd_arguments_are_answered_as_in_opa_or_refused() {
    let plan: generated::Plan = read("generated");
    let functions: BTreeSet<&str> = plan.functions.keys().map(String::as_str).collect();
    // It is a line of its own, among the forms.
    let walk = BTreeSet::from(["walk"]);
    assert_eq!(
        functions.union(&walk).copied().collect::<Vec<_>>(),
        callable(),
        "what is called, and what can be called"
    );
    let tally = generated::run(&plan, &read::<Vec<generated::Difference>>("generated_differences"));
    eprintln!("{} calls, {} of them refused that OPA answers", tally.calls, tally.refused);
    // A refusal is no fault, and not what most calls should come to: an engine that fails at everything agrees with nothing.
    assert!(tally.refused < tally.calls / 40, "{} of {} calls are refused", tally.refused, tally.calls);
    assert!(tally.wrong.is_empty(), "{}:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
}

#[test]
fn the_tests_of_the_policies_that_come_along_hold_in_opa() {
    let (count, wrong) = shipped::run();
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 140, "{count}");
    eprintln!("{count} tests");
}

#[test]
fn a_number_is_its_value() {
    for (left, right) in [("1.0", "1"), ("1e2", "100"), ("-0.0", "0"), ("1.50E-3", "0.0015"), ("1e300", "10e299")] {
        assert_eq!(peer::exact(left), peer::exact(right));
    }
    for (left, right) in [("1", "-1"), ("18446744073709551616", "18446744073709551617"), ("0.1", "0.10000000000000001")]
    {
        assert_ne!(peer::exact(left), peer::exact(right));
    }
    assert_eq!(peer::exact(r#"{"b": [1.0, "\u003c"], "a": null}"#), r#"{"a": null, "b": [1, "<"]}"#);
}

#[test]
fn opa_answers() {
    let mut opa = peer::Opa::start();
    let module = "package a\n\nhalf := input.n / 2\n\nwrong := to_number(input.n)\n".to_owned();
    let asks = [("data.a.half", r#"{"n": 3}"#), ("data.a.half", "{}"), ("data.a.wrong", r#"{"n": "x"}"#)];
    let asks = asks.map(|(reference, input)| (reference, input.to_owned()));
    let answers = opa.ask(&[module], "{}", &asks).unwrap();
    assert_eq!(answers[..2], [peer::Answer::Is("15e-1".to_owned()), peer::Answer::Undefined]);
    assert!(matches!(&answers[2], peer::Answer::Error(_)), "{answers:?}");
    let error = opa.ask(&["package a\n\np := count(1)\n".to_owned()], "{}", &[("data.a.p", String::new())]);
    let error = error.unwrap_err();
    assert!(error.contains("invalid argument"), "{error}");
}
