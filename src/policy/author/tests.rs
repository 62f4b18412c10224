//! What the tools find in policies of an author, and what they leave alone.

use std::path::{Path, PathBuf};

use super::explain::{Mark, Outcome, Story};
use super::*;
use crate::policy::problem::Severity;
use crate::policy::test::{self, Options, Verdict};

struct Files(tempfile::TempDir);

impl Files {
    fn of(files: &[(&str, &str)]) -> Files {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Files(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn bench(&self) -> Bench {
        Bench::of_paths(&[self.path().to_owned()]).unwrap()
    }

    fn problems(&self) -> Vec<(&'static str, Severity, usize, String)> {
        self.problems_on(Vec::new())
    }

    fn problems_on(&self, samples: Vec<Sample>) -> Vec<(&'static str, Severity, usize, String)> {
        let found = self.bench().problems(&vocabulary(), samples);
        let found = found.into_iter().filter(|problem| problem.code != "untested");
        found
            .map(|problem| {
                (problem.code.to_string().leak() as &str, problem.severity, problem.line, problem.to_string())
            })
            .collect()
    }
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    let refund = [path(&["amount"]), path(&["reason"]), path(&["payment", "id"])].into();
    vocabulary.add("create_refund", Known { arguments: refund, listed: true, open: false });
    vocabulary.add("pay_out", Known { arguments: [path(&["amount"])].into(), listed: false, open: true });
    vocabulary
}

fn sample(name: &str, arguments: &str) -> Sample {
    let document = format!(
        r#"{{"version":1,"now":1,"phase":"call","method":"tools/call","operation":{{"name":"{name}","class":"write"}},"arguments":{arguments}}}"#
    );
    Sample { name: name.to_owned(), document, plausible: true }
}

/// A policy with this body of a deny rule.
fn deny(body: &str) -> String {
    format!(
        "package countersign.policy.x\n\ndeny contains {{\"rule\": \"x.a\", \"reason\": \"r\"}} if {{\n{body}\n}}\n"
    )
}

#[test]
fn a_misspelt_argument_of_a_known_tool_is_an_error_at_its_place() {
    for name in ["input.operation.name == \"create_refund\"", "\"create_refund\" == input.tool.name"] {
        let files = Files::of(&[("x.rego", &deny(&format!("\t{name}\n\tinput.arguments.amuont > 1000")))]);
        let found = files.problems();
        assert_eq!(found.len(), 1, "{found:#?}");
        let (code, severity, line, text) = &found[0];
        assert_eq!((*code, *severity, *line), ("argument", Severity::Error, 5));
        assert!(text.contains("x.rego:5:18: error[argument]: no argument `amuont` of create_refund\n"), "{text}");
        assert!(text.contains("\n5 | \tinput.arguments.amuont > 1000\n  | \t                ^\n"), "{text}");
        assert!(text.contains("help: did you mean `amount`?"), "{text}");
    }
}

#[test]
fn arguments_are_known_as_far_as_they_are_listed() {
    let one = |name: &str, read: &str| {
        let body = format!("\tinput.operation.name in {{{name}}}\n\t{read}");
        let found = Files::of(&[("x.rego", &deny(&body))]).problems();
        found.into_iter().map(|(code, severity, ..)| (code, severity)).collect::<Vec<_>>()
    };
    let (error, warning) = (("argument", Severity::Error), ("argument", Severity::Warning));
    let refund = "\"create_refund\"";
    for (name, read, expected) in [
        (refund, "input.arguments.amount > 1", vec![]),
        (refund, "input.arguments[\"raeson\"] == \"x\"", vec![error]),
        (refund, "input.arguments.payment.id == \"x\"", vec![]),
        (refund, "input.arguments.payment.idd == \"x\"", vec![error]),
        // Nothing is like it: the vendor may have added it.
        (refund, "input.arguments.livemode", vec![warning]),
        // Nothing is known below a value.
        (refund, "input.arguments.reason.deep == 1", vec![]),
        (refund, "object.get(input.arguments, \"amuont\", 0) > 1", vec![]),
        // Nobody lists all arguments of this one.
        ("\"pay_out\"", "input.arguments.amuont > 1", vec![warning]),
        ("\"pay_out\"", "input.arguments.account == 1", vec![]),
        // One of the two has it.
        ("\"pay_out\", \"create_refund\"", "input.arguments.reason == \"x\"", vec![]),
        ("\"pay_out\", \"create_refund\"", "input.arguments.amuont > 1", vec![error]),
    ] {
        assert_eq!(one(name, read), expected, "{name}: {read}");
    }
}

#[test]
fn a_name_that_no_catalog_has_is_a_warning_with_what_was_meant() {
    let found = Files::of(&[("x.rego", &deny("\tinput.operation.name in [\"pay_out\", \"create_refnd\"]"))]).problems();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].0, found[0].1), ("unknown-name", Severity::Warning));
    assert!(found[0].3.contains("did you mean `create_refund`?"), "{}", found[0].3);
    // Methods are operations as well, and a name that is denied need not exist.
    for body in ["\tinput.operation.name == \"resources/read\"", "\tinput.principal.name == \"nobody\""] {
        assert_eq!(Files::of(&[("x.rego", &deny(body))]).problems(), [], "{body}");
    }
}

/// The style that the docs recommend: what is allowed is in the body, and when in a helper.
#[test]
fn a_misspelt_argument_in_a_helper_or_under_another_name_is_found() {
    let refund = "package countersign.policy.x\n\nallow contains {\"rule\": \"x.a\", \"reason\": \"r\"} if {\n\tinput.operation.name == \"create_refund\"\n\tnot big\n}\n\n";
    let of = |rest: &str| {
        let found = Files::of(&[("x.rego", &format!("{refund}{rest}"))]).problems();
        found.into_iter().map(|(code, severity, line, _)| (code, severity, line)).collect::<Vec<_>>()
    };
    let error = |line: usize| vec![("argument", Severity::Error, line)];
    assert_eq!(of("big if input.arguments.amount > 1000\n"), []);
    assert_eq!(of("big if input.arguments.amuont > 1000\n"), error(8));
    assert_eq!(of("big if amount > 1000\n\namount := input.arguments.amuont\n"), error(10));
    assert_eq!(of("big if is_big(1000)\n\nis_big(most) if input.arguments.amuont > most\n"), error(10));
    assert_eq!(of("big if {\n\tx := input.arguments\n\tx.amuont > 1000\n}\n"), error(10));
    // A helper for two operations may read the arguments of either.
    let two = "deny contains {\"rule\": \"x.b\", \"reason\": \"r\"} if {\n\tinput.operation.name == \"pay_out\"\n\tbig\n}\n\n";
    assert_eq!(of(&format!("{two}big if input.arguments.reason == \"x\"\n")), []);
    assert_eq!(of(&format!("{two}big if input.arguments.amuont > 1\n")), error(13));
}

#[test]
fn an_argument_that_no_operation_has_is_a_warning_where_no_name_is_asked_for() {
    let of = |body: &str| {
        let found = Files::of(&[("x.rego", &deny(body))]).problems();
        found.into_iter().map(|(code, severity, ..)| (code, severity)).collect::<Vec<_>>()
    };
    assert_eq!(of("\tinput.arguments.amuont > 1000"), [("argument", Severity::Warning)]);
    assert_eq!(of("\tinput.arguments.amount > 1000"), []);
    assert_eq!(of("\tx := input.arguments.payment\n\tx.id == \"p\""), []);
}

#[test]
fn a_word_that_can_never_be_there_is_found() {
    let of = |body: &str| {
        let mut vocabulary = vocabulary();
        vocabulary.names("server", ["stripe".to_owned()]);
        vocabulary.names("principal", ["agent".to_owned()]);
        vocabulary.names("environment", ["production".to_owned()]);
        let found = Files::of(&[("x.rego", &deny(body))]).bench().problems(&vocabulary, Vec::new());
        let found = found.into_iter().filter(|problem| problem.code != "untested");
        found.map(|problem| (problem.code.to_string(), problem.severity, problem.help)).collect::<Vec<_>>()
    };
    for (body, code, severity, meant) in [
        ("\tinput.operation.class == \"finacial\"", "unknown-word", Severity::Error, "financial"),
        ("\tinput.operation.class in {\"write\", \"destuctive\"}", "unknown-word", Severity::Error, "destructive"),
        ("\tinput.method == \"tools/cal\"", "unknown-word", Severity::Error, "tools/call"),
        ("\tinput.phase == \"cal\"", "unknown-word", Severity::Error, "call"),
        ("\tinput.server.name == \"strpie\"", "unknown-name", Severity::Warning, "stripe"),
        ("\tinput.principal.name == \"agnet\"", "unknown-name", Severity::Warning, "agent"),
        ("\tinput.environment.name == \"prodution\"", "unknown-name", Severity::Warning, "production"),
    ] {
        let found = of(body);
        assert_eq!(found.len(), 1, "{body}: {found:#?}");
        assert_eq!((found[0].0.as_str(), found[0].1), (code, severity), "{body}");
        assert!(found[0].2.contains(&format!("did you mean `{meant}`?")), "{body}: {}", found[0].2);
    }
    for body in ["\tinput.server.name == \"stripe\"", "\tinput.phase == \"list\""] {
        assert_eq!(of(body), [], "{body}");
    }
}

#[test]
fn what_is_not_used_or_has_no_effect_is_said() {
    let text = format!(
        "{}\ndefault other := 1\n",
        deny("\ttrue").replacen("\n\n", "\n\nimport data.destructive.limits as l\nimport rego.v1\n\n", 1)
    );
    let found = Files::of(&[("x.rego", &text)]).problems();
    assert_eq!(found.iter().map(|found| (found.0, found.2)).collect::<Vec<_>>(), [("unused-import", 3)]);
    let decision = "package countersign.policy.x\n\ndefault decision := \"allow\"\n\ndecision := \"deny\" if input.arguments.amount > 1\n";
    let found = Files::of(&[("x.rego", decision)]).problems();
    assert_eq!(found.iter().map(|found| (found.0, found.1)).collect::<Vec<_>>(), [("no-export", Severity::Error)]);
    assert!(found[0].3.contains("`decision` is not read"), "{}", found[0].3);
}

#[test]
fn a_file_without_a_test_is_a_warning() {
    let policy = deny("\tinput.method == \"tools/call\"");
    let bench = Files::of(&[("x.rego", &policy)]);
    let found = bench.bench().problems(&vocabulary(), Vec::new());
    assert_eq!(
        found.iter().map(|found| (&*found.code, found.severity)).collect::<Vec<_>>(),
        [("untested", Severity::Warning)]
    );
    let tests = "package countersign.policy.x_test\n\nimport data.countersign.policy.x\n\ntest_a if count(x.deny) == 1 with input as {\"method\": \"tools/call\"}\n";
    let files = Files::of(&[("x.rego", &policy), ("x_test.rego", tests)]);
    assert_eq!(files.bench().problems(&vocabulary(), Vec::new()), []);
}

#[test]
fn what_fails_on_a_sample_is_an_error_at_its_place() {
    let files = Files::of(&[(
        "x.rego",
        &deny("\tinput.operation.name == \"pay_out\"\n\tcontains(input.arguments.amount, \"x\")"),
    )]);
    let samples = || {
        vec![
            sample("pay_out", r#"{"amount":"x"}"#),
            sample("pay_out", r#"{"amount":7}"#),
            sample("pay_out", r#"{"amount":8}"#),
        ]
    };
    let found = files.problems_on(samples());
    assert_eq!(found.len(), 1, "one for the place: {found:#?}");
    assert_eq!((found[0].0, found[0].1, found[0].2), ("sample", Severity::Error, 5));
    assert!(found[0].3.contains("fails on pay_out") && found[0].3.contains("\"amount\":7"), "{}", found[0].3);
    let entry = "package countersign.policy.x\n\nhold contains {\"rule\": \"x.a\", \"reason\": input.arguments.amount} if input.operation.name == \"pay_out\"\n";
    let found = Files::of(&[("x.rego", entry)]).problems_on(samples());
    assert_eq!(found.iter().map(|found| (found.0, found.2)).collect::<Vec<_>>(), [("entry", 3)]);
    let confirm = "package countersign.policy.x\n\nhold contains {\"rule\": \"x.a\", \"reason\": \"r\", \"confirm_with\": \"/arguments/note\"} if input.phase == \"call\"\n";
    let found = Files::of(&[("x.rego", confirm)]).problems_on(samples());
    assert_eq!(found.iter().map(|found| (found.0, found.1)).collect::<Vec<_>>(), [("confirm", Severity::Warning)]);
}

#[test]
fn a_rule_that_does_not_end_on_a_sample_is_an_error() {
    let body = "\tinput.operation.name == \"pay_out\"\n\tcount(numbers.range(1, input.arguments.amount)) > 1";
    let files = Files::of(&[("x.rego", &deny(body))]);
    let found =
        files.problems_on(vec![sample("pay_out", r#"{"amount":5}"#), sample("pay_out", r#"{"amount":200000000}"#)]);
    assert_eq!(found.iter().map(|found| (found.0, found.1)).collect::<Vec<_>>(), [("sample", Severity::Error)]);
    assert!(found[0].3.contains("does not end: on pay_out"), "{}", found[0].3);
}

/// A deny-list misses spellings: what is allowed has to be said.
#[test]
fn a_default_allow_is_an_error() {
    let allow = |condition: &str| {
        let text = format!(
            "package countersign.policy.x\n\nallow contains {{\"rule\": \"x.a\", \"reason\": \"r\"}} if {condition}\n"
        );
        let samples = vec![sample("pay_out", "{}"), sample("create_refund", r#"{"amount":1}"#)];
        let found = Files::of(&[("x.rego", &text)]).problems_on(samples);
        found.into_iter().map(|(code, severity, ..)| (code, severity)).collect::<Vec<_>>()
    };
    assert_eq!(allow("true"), [("default-allow", Severity::Error)]);
    assert_eq!(allow("not input.arguments.amount > 1000"), [("default-allow", Severity::Error)]);
    assert_eq!(allow("input.operation.class"), [("allows-all", Severity::Warning)]);
    assert_eq!(allow("input.operation.name == \"pay_out\""), []);
}

const EXPLAINED: &str = r#"package countersign.policy.x

hold contains {"rule": "x.large", "reason": "large", "details": input.arguments.note} if {
	input.operation.name == "pay_out"
	not small; is_number(input.arguments.amount)
	every item in input.arguments.items {
		item > 1
	}
}

deny contains {"rule": "x.scope", "reason": scope} if {
	some scope in input.principal.scopes
	startswith(scope, "a")
	plus(1) == 3
}

small if input.arguments.amount < 10

else if {
	input.arguments.amount == 20
}

plus(n) := n + 1 if {
	n > 0
}

plus(n) := 0 if {
	n < 0
}

fails if to_number(input.arguments.note) > 1
"#;

fn stories(document: &str) -> Vec<Story> {
    let files = Files::of(&[("x.rego", EXPLAINED)]);
    let (_, stories) = files.bench().explain(Phase::Call, document.to_owned()).unwrap();
    stories.into_iter().filter(|story| story.package == "countersign.policy.x").collect()
}

/// The marks of a rule's lines, one letter each; a dot for none.
fn marks(story: &Story) -> String {
    let letter = |mark: &Option<Mark>| match mark {
        Some(Mark::Held) => 'y',
        Some(Mark::Failed) => 'N',
        Some(Mark::NotReached) => '-',
        Some(Mark::Ran) => 'r',
        None => '.',
    };
    story.lines.iter().map(|line| letter(&line.mark)).collect()
}

fn document(amount: &str, more: &str) -> String {
    format!(
        r#"{{"operation":{{"name":"pay_out"}},"principal":{{"scopes":["b","a1","a2"]}},"arguments":{{"amount":{amount}{more}}}}}"#
    )
}

#[test]
fn a_rule_is_explained_line_by_line() {
    let all = stories(&document("30", r#","items":[2,3],"note":"5""#));
    assert_eq!(marks(&all[0]), "yyyyyy.", "{:#?}", all[0]);
    assert!(
        matches!(&all[0].outcome, Outcome::Held { values } if values[0].contains("x.large")),
        "{:?}",
        all[0].outcome
    );
    // A name that leads nowhere in the head takes the whole entry away.
    let all = stories(&document("30", r#","items":[2,3]"#));
    assert_eq!(marks(&all[0]), "Nyyyyy.");
    assert_eq!(all[0].outcome, Outcome::NotHeld);
    assert_eq!((all[0].reads[0].name.as_str(), all[0].reads[0].values.len()), ("input.arguments.note", 0));
    // Of several statements on a line the one that failed counts.
    let all = stories(&document("20", r#","items":[1],"note":"5""#));
    assert_eq!(marks(&all[0]), ".yN---.");
    assert_eq!((all[0].reads[0].line, all[0].reads[0].name.as_str()), (5, "small"));
    assert_eq!(all[0].reads[0].values, ["true"]);
    let all = stories(&document("30", r#","items":[2,1],"note":"5""#));
    assert_eq!(marks(&all[0]), ".yyNNN.");
}

#[test]
fn loops_functions_alternatives_and_errors_are_explained() {
    let all = stories(&document("20", r#","note":"x""#));
    let of = |name: &str| all.iter().filter(|story| story.name == name).collect::<Vec<_>>();
    // Two scopes come as far as the last line.
    let scope = of("deny")[0];
    assert_eq!(marks(scope), ".yyN.");
    let small = of("small")[0];
    assert_eq!((marks(small).as_str(), &small.outcome), ("N..y.", &Outcome::Held { values: vec!["true".into()] }));
    let plus = of("plus");
    assert_eq!((marks(plus[0]).as_str(), &plus[0].outcome), ("rr.", &Outcome::Called));
    assert!(
        matches!(&of("fails")[0].outcome, Outcome::Error { message } if message.contains("number")),
        "{:?}",
        of("fails")
    );
}

/// What is not known is said, and not guessed.
#[test]
fn a_body_whose_lines_need_later_ones_is_not_told_apart() {
    let files = Files::of(&[("x.rego", &deny("\tsome x\n\tx > 3\n\tx = input.arguments.amount"))]);
    let of = |amount: &str| {
        let (judged, stories) = files.bench().explain(Phase::Call, document(amount, "")).unwrap();
        let story = stories.into_iter().find(|story| story.file.ends_with("x.rego")).unwrap();
        (judged.said.iter().any(|said| said.rule == "x.a"), story.outcome)
    };
    assert!(matches!(of("20"), (true, Outcome::Held { .. })));
    assert_eq!(of("2"), (false, Outcome::Unknown));
}

#[test]
fn tests_are_filtered_timed_and_counted_by_line() {
    let tests = "package countersign.policy.x_test\n\nimport data.countersign.policy.x\n\ntest_large if count(x.hold) == 0 with input as {\"operation\": {\"name\": \"other\"}}\n\ntest_two if false\n\ntodo_test_three if true\n";
    let files = Files::of(&[
        ("x.rego", EXPLAINED),
        ("x_test.rego", tests),
        ("y.rego", &deny("\ttrue").replace("policy.x", "policy.y").replace("x.a", "y.a")),
    ]);
    let paths: Vec<PathBuf> = vec![files.path().to_owned()];
    let all = test::run(&paths, &Options { coverage: true, run: None }).unwrap();
    let verdicts: Vec<_> = all.outcomes.iter().map(|outcome| (&outcome.verdict, outcome.line)).collect();
    assert_eq!(verdicts, [(&Verdict::Pass, 5), (&Verdict::Fail, 7), (&Verdict::Skipped, 9)]);
    assert!(all.outcomes[0].took > Duration::ZERO);
    let [x, y] = all.coverage.as_slice() else { panic!("{:?}", all.coverage) };
    assert!(x.file.ends_with("x.rego"), "policies only: {x:?}");
    // The interpreter begins every rule of a package that an import names; none of these came further.
    assert!(x.covered.contains(&4), "{x:?}");
    assert!(x.not_covered.is_superset(&[3, 5, 6, 7, 11, 13, 14, 24].into()), "{x:?}");
    // A file that no test touches counts too.
    assert!(y.covered.is_empty() && !y.not_covered.is_empty(), "{y:?}");
    let two = Options { run: Some(regex::Regex::new("two$").unwrap()), coverage: false };
    let two = test::run(&paths, &two).unwrap();
    assert_eq!(two.outcomes.len(), 1);
    assert!(two.coverage.is_empty());
}

#[test]
fn a_test_that_hangs_is_the_error_of_that_test() {
    let tests = "package countersign.policy.x_test\n\ntest_hangs if count(numbers.range(1, 200000000)) > 1\n\ntest_goes_on if true\n";
    let files = Files::of(&[("x.rego", &deny("\ttrue")), ("x_test.rego", tests)]);
    let run = test::run(&[files.path().to_owned()], &Options::default()).unwrap();
    assert!(matches!(&run.outcomes[0].verdict, Verdict::Error(_)), "{:?}", run.outcomes);
    assert_eq!(run.outcomes[1].verdict, Verdict::Pass);
}

#[test]
fn judging_says_every_entry_and_the_decision() {
    let files = Files::of(&[("x.rego", &deny("\tinput.operation.class == \"write\""))]);
    let judged = files.bench().judge(vec![(Phase::Call, sample("pay_out", "{}").document)]).unwrap();
    let decision = judged[0].decision.as_ref().unwrap();
    assert_eq!(decision.effect, Effect::Deny);
    let said: Vec<_> = judged[0].said.iter().map(|said| (said.kind, said.rule.as_str(), said.line)).collect();
    assert!(said.contains(&(Kind::Deny, "x.a", 3)), "{said:?}");
    assert!(said.iter().any(|said| said.0 == Kind::Hold), "the built-in families have their say: {said:?}");
}
