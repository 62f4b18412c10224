//! Calls of every function and operator that a policy has, with arguments that nobody would think of, judged by the
//! engine with the daemon's settings and by OPA. The engine may refuse what OPA answers; it may not answer anything else.
//! `generated.yaml` says what is called with what, `generated_differences.yaml` in which classes of calls the answers are
//! others, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use regex::{Captures, Regex};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value as Rego};
use serde::Deserialize;
use serde_json::{Value, json};

use super::peer::{Answer, Opa, exact};
use super::suite::{LIMIT, timed};

/// What is called with what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Values as Rego has them, by kind; `+` takes over another kind.
    values: BTreeMap<String, Vec<String>>,
    /// The kinds of a function's arguments.
    pub functions: BTreeMap<String, String>,
    /// The same of what is no function: a body that says what `v` is, with its arguments as `{0}`, `{1}`.
    forms: BTreeMap<String, Form>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    body: String,
    takes: String,
}

/// A class of calls in which the engine answers otherwise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The whole call, as in `lower("x")`.
    calls: String,
    how: How,
    why: String,
}

/// In which way, and in no other.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum How {
    /// Numbers are the same in their first fifteen digits.
    Digits,
    /// Members of collections are the same in another order.
    Order,
    /// It is false, and an error in OPA, which is no more than false to a rule there.
    False,
    /// It is something, and an error in OPA.
    NoError,
    /// It is undefined, and something in OPA.
    Undefined,
    /// It is something else.
    Other,
}

impl How {
    fn of(ours: &Answer, theirs: &Answer) -> How {
        let read = |text: &str| serde_json::from_str::<Value>(text).ok();
        match (ours, theirs) {
            (Answer::Is(ours), Answer::Error(_)) if ours == r#"["boolean", false]"# => How::False,
            (_, Answer::Error(_)) => How::NoError,
            (Answer::Undefined, _) => How::Undefined,
            (Answer::Is(ours), Answer::Is(theirs)) => match read(ours).zip(read(theirs)) {
                Some((ours, theirs)) if near(&ours, &theirs) => How::Digits,
                Some((ours, theirs)) if sorted(&ours) == sorted(&theirs) => How::Order,
                // One of them is no number that fits.
                Some(_) | None => How::Other,
            },
            _ => How::Other,
        }
    }
}

/// Numbers are the same in their first fifteen digits, and all else is the same.
fn near(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            (ours - theirs).abs() <= 1e-15 * ours.abs().max(theirs.abs())
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| near(ours, theirs))
        }
        (ours, theirs) => ours == theirs,
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(members) => {
            let mut members: Vec<_> = members.iter().map(sorted).collect();
            members.sort_by_key(ToString::to_string);
            Value::Array(members)
        }
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), sorted(member))).collect(),
        value => value.clone(),
    }
}

/// One call, and the body of the rule that makes it.
struct Call {
    said: String,
    body: String,
}

/// How many of them are one module.
const MODULE: usize = 500;

static PLACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{(\d)\}").unwrap());

/// The most calls of one function: more are drawn from all of them.
const MOST: usize = 140;

impl Plan {
    /// The values of a kind.
    fn of_kind(&self, kind: &str) -> Vec<&str> {
        let values = self.values.get(kind).unwrap_or_else(|| panic!("no kind {kind}"));
        let each = |value: &'_ String| -> Vec<&str> {
            let at = values.iter().position(|other| other == value).unwrap();
            value.strip_prefix('+').map_or_else(|| vec![values[at].as_str()], |other| self.of_kind(other))
        };
        values.iter().flat_map(each).collect()
    }

    fn calls(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        for (name, takes) in &self.functions {
            let places: Vec<_> = (0..takes.split_whitespace().count()).map(|n| format!("{{{n}}}")).collect();
            let body = format!("v := {name}({})", places.join(", "));
            self.add(&body, takes, &mut calls);
        }
        for Form { body, takes } in self.forms.values() {
            self.add(body, takes, &mut calls);
        }
        calls
    }

    fn add(&self, body: &str, takes: &str, calls: &mut Vec<Call>) {
        let kinds: Vec<Vec<&str>> = takes.split_whitespace().map(|kind| self.of_kind(kind)).collect();
        let all: usize = kinds.iter().map(Vec::len).product();
        // A stride that shares nothing with the sizes comes by every value of every kind.
        let stride = (all / MOST..).map(|n| n.max(1)).find(|n| kinds.iter().all(|kind| common(*n, kind.len()) == 1));
        let stride = if all <= MOST { 1 } else { stride.unwrap() };
        for n in (0..all.min(MOST)).map(|n| n * stride % all) {
            let mut rest = n;
            let mut values = Vec::new();
            for kind in &kinds {
                values.push(kind[rest % kind.len()]);
                rest /= kind.len();
            }
            let value = |found: &Captures<'_>| values[found[1].parse::<usize>().unwrap()].to_owned();
            let said = PLACE.replace_all(body, |found: &Captures<'_>| value(found));
            // What goes through a function has no type that OPA would know before it is evaluated.
            let rule = PLACE.replace_all(body, |found: &Captures<'_>| format!("is({})", value(found))).into_owned();
            let said = said.strip_prefix("v := ").unwrap_or(&said).to_owned();
            calls.push(Call { said, body: rule });
        }
    }
}

fn common(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common(b, a % b) }
}

fn module(calls: &[Call]) -> String {
    let mut text = "package generated\n\nis(x) := x\n\npositive(o) if o.a > 0\n".to_owned();
    for (n, Call { body, .. }) in calls.iter().enumerate() {
        let _ = write!(text, "\nn{n} := [type_name(v), v] if {{ {body} }}\n");
    }
    text
}

/// What became of the calls.
pub struct Tally {
    pub calls: usize,
    pub refused: usize,
    /// What nobody listed, and what is listed and does not differ.
    pub wrong: Vec<String>,
}

pub fn run(plan: &Plan, listed: &[Difference]) -> Tally {
    let calls = plan.calls();
    let (mut opa, mut ours, mut theirs) = (Opa::start(), Vec::new(), Vec::new());
    for calls in calls.chunks(MODULE) {
        let module = module(calls);
        let asks: Vec<_> = (0..calls.len()).map(|n| ("data.generated[input]", format!("\"n{n}\""))).collect();
        let said = opa.ask(std::slice::from_ref(&module), "{}", &asks);
        theirs.extend(said.unwrap_or_else(|error| panic!("{error}")));
        ours.extend(judged(module, calls.len()));
    }
    let classes: Vec<_> =
        listed.iter().map(|class| Regex::new(&format!("(?s)^(?:{})$", class.calls)).unwrap()).collect();
    let mut differ = vec![false; listed.len()];
    let (mut refused, mut wrong) = (0, Vec::new());
    for (call, (ours, theirs)) in calls.iter().zip(ours.into_iter().zip(theirs)) {
        match (&ours, &theirs) {
            (Answer::Error(_), Answer::Error(_)) => continue,
            (Answer::Error(_), _) => {
                refused += 1;
                continue;
            }
            // What is an error there is undefined where OPA is not asked to be strict, as it is not by default.
            (Answer::Undefined, Answer::Error(_)) => continue,
            _ if ours == theirs => continue,
            _ => {}
        }
        let how = How::of(&ours, &theirs);
        let known =
            classes.iter().zip(listed).position(|(calls, class)| class.how == how && calls.is_match(&call.said));
        match known {
            Some(class) => differ[class] = true,
            None => wrong.push(format!("{how:?}: {} is {ours}, and in OPA {theirs}", call.said)),
        }
    }
    for (class, _) in listed.iter().zip(&differ).filter(|(_, differs)| !**differs) {
        wrong.push(format!("{} is listed ({}), and no call of it differs", class.calls, class.why));
    }
    Tally { calls: calls.len(), refused, wrong }
}

/// As the daemon's interpreter judges: an error of a built-in function is an error of the rule.
fn judged(module: String, calls: usize) -> Vec<Answer> {
    let mut engine = Engine::new();
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: LIMIT, check_interval: NonZeroU32::MIN });
    engine.add_policy("generated.rego".to_owned(), module).unwrap();
    engine.set_strict_builtin_errors(true);
    engine.set_input(Rego::new_object());
    let prepared = engine.clone();
    let answer = move |n: usize| {
        let rule = format!("data.generated.n{n}");
        // What panics ends a process of its own in the daemon, and is a refusal.
        let Ok(answer) = catch_unwind(AssertUnwindSafe(|| engine.eval_rule(rule))) else {
            engine = prepared.clone();
            return Answer::Error("panics".to_owned());
        };
        match answer {
            Ok(Rego::Undefined) => Answer::Undefined,
            Ok(value) => Answer::Is(spelled(&value)),
            Err(error) => Answer::Error(format!("{error:#}").lines().last().unwrap_or_default().trim().to_owned()),
        }
    };
    timed(move || (0..calls).map(answer).collect()).expect("a call that does not end")
}

/// As [`exact`] spells it. The engine's own JSON loses the last digits of large whole numbers, which it counts with.
fn spelled(value: &Rego) -> String {
    let all = |values: &mut dyn Iterator<Item = &Rego>| values.map(spelled).collect::<Vec<_>>().join(", ");
    match value {
        Rego::Number(number) => exact(&number.format_decimal()),
        Rego::Array(members) => format!("[{}]", all(&mut members.iter())),
        Rego::Set(members) => format!("[{}]", all(&mut members.iter())),
        Rego::Object(members) => {
            let name = |name: &Rego| match name {
                Rego::String(name) => name.to_string(),
                Rego::Number(name) => name.format_decimal(),
                name => serde_json::from_str::<Value>(&name.to_json_str().unwrap()).unwrap().to_string(),
            };
            let members: BTreeMap<_, _> = members.iter().map(|(key, value)| (name(key), spelled(value))).collect();
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{}: {value}", json!(name))).collect();
            format!("{{{}}}", members.join(", "))
        }
        value => exact(&value.to_json_str().unwrap()),
    }
}
