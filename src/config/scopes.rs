//! `principals[].scopes`: `SERVER/WHAT`, alone or with conditions.
//!
//! Invariant: a condition that cannot be met, or that means nothing, is an error here and not a surprise later.

use std::ops::Range;

use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::yaml::{Data, Node};
use crate::call::{AmountLimit, ConditionalScope, Hours, Test, TestKind, is_operation_name};
use crate::json::{JsonText, Rules};

const CONDITIONAL: Keys = Keys { known: &["scope", "where", "amount", "environments", "hours", "until"], later: &[] };
const TESTS: Keys = Keys {
    known: &["max", "min", "equals", "in", "prefix", "glob", "present", "absent"],
    later: &[("regex", "use `glob`, in which `*` is any characters, or a rule of your own")],
};
const AMOUNT: Keys = Keys { known: &["max", "currency"], later: &[] };
const HOURS: Keys = Keys { known: &["from", "to", "days", "zone"], later: &[] };
const DAYS: [(&str, &str); 7] = [
    ("mon", "Monday"),
    ("tue", "Tuesday"),
    ("wed", "Wednesday"),
    ("thu", "Thursday"),
    ("fri", "Friday"),
    ("sat", "Saturday"),
    ("sun", "Sunday"),
];

/// Of one principal; they are in each of its records and looked through for each of its calls.
const MAX_CONDITIONAL: usize = 64;
/// Arguments that one scope asks about, and values that one of them may have.
const MAX_TESTED: usize = 16;
const MAX_VALUES: usize = 64;
const MAX_VALUE_BYTES: usize = 256;
/// Digits before and behind the point of a limit: what a double holds exactly.
const DIGITS: usize = 15;

/// What a principal may ask for.
#[derive(Default)]
pub struct Scopes {
    pub plain: Vec<String>,
    pub conditional: Vec<ConditionalScope>,
}

/// `SERVER/WHAT`: a server or `*`; a class, or an operation in which `*` stands for any characters. Or a mapping with
/// such a `scope` and conditions.
pub fn scopes(cx: &mut Context<'_>, node: &Node, path: &str) -> Scopes {
    let mut scopes = Scopes::default();
    for (index, item) in cx.list(node, path).iter().enumerate() {
        let path = format!("{path}[{index}]");
        let repeated = if let Data::Map(_) = item.data {
            let Some(conditional) = conditional(cx, item, path) else { continue };
            let repeated = scopes.conditional.contains(&conditional).then(|| conditional.scope.clone());
            scopes.conditional.push(conditional);
            repeated
        } else {
            let Some(scope) = cx.text(item, &path).and_then(|text| scope(cx, item, text)) else { continue };
            let repeated = scopes.plain.contains(&scope).then(|| scope.clone());
            scopes.plain.push(scope);
            repeated
        };
        if let Some(scope) = repeated {
            let message = format!("the scope {} stands here twice", quote(&scope));
            cx.problems.add(Code::Repeated, &item.span, message, "keep one");
        }
    }
    if scopes.conditional.len() > MAX_CONDITIONAL {
        let message = format!("`{path}` has more than {MAX_CONDITIONAL} scopes with conditions");
        cx.problems.add(Code::TooMuch, &node.span, message, "write a rule of your own for the rest");
    }
    scopes
}

fn scope(cx: &mut Context<'_>, node: &Node, text: &str) -> Option<String> {
    let parts = text.split_once('/').filter(|(server, what)| !server.is_empty() && is_operation_name(what));
    let Some((server, _)) = parts else {
        let message = format!("{} is not a scope", quote(text));
        let help = "write SERVER/WHAT, as in stripe/read, stripe/create_refund, */read or statsig/POST /console/v1/gates; \
                    in a pattern `*` stands for whatever is in braces";
        cx.problems.add(Code::Form, &node.span, message, help);
        return None;
    };
    if server != "*" && !cx.servers.contains_key(server) {
        let help = match cx.meant(server, cx.servers.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "a scope begins with the name of a server of this file, or `*`".to_owned(),
        };
        cx.problems.add(Code::Reference, &node.span, format!("there is no server {}", quote(server)), help);
    }
    Some(text.to_owned())
}

fn conditional(cx: &mut Context<'_>, node: &Node, path: String) -> Option<ConditionalScope> {
    let fields = Fields::of(cx, node, path, &CONDITIONAL);
    let help = "say what it covers: scope: stripe/create_refund";
    let scope = fields.need(cx, "scope", help).and_then(|node| {
        let text = cx.text(node, &fields.child("scope"))?;
        scope(cx, node, text)
    });
    if fields.entries().iter().all(|(key, _)| key.text == "scope") {
        let message = format!("`{}` has no condition", fields.path);
        let help = "write the scope alone: `- SERVER/WHAT`; or add where, amount, environments, hours or until";
        cx.problems.add(Code::MissingKey, &fields.span, message, help);
    }
    Some(ConditionalScope {
        tests: fields.get("where").map(|node| tests(cx, node, fields.child("where"))).unwrap_or_default(),
        amount: fields.get("amount").and_then(|node| amount(cx, node, fields.child("amount"))),
        environments: fields.get("environments").map(|node| environments(cx, node, &fields.child("environments"))),
        hours: fields.get("hours").and_then(|node| hours(cx, node, fields.child("hours"))),
        until: fields.get("until").and_then(|node| until(cx, node, &fields.child("until"))),
        scope: scope?,
    })
}

/// `where`: JSON pointers into the arguments, each with what has to be so of the value there.
fn tests(cx: &mut Context<'_>, node: &Node, path: String) -> Vec<Test> {
    let fields = Fields::any(cx, node, path);
    empty(cx, &fields.path, node, "name an argument: where: { /amount: { max: 5000 } }");
    if fields.entries().len() > MAX_TESTED {
        let message = format!("`{}` asks about more than {MAX_TESTED} arguments", fields.path);
        cx.problems.add(Code::TooMuch, &fields.span, message, "write a rule of your own for this");
    }
    let mut all = Vec::new();
    for (key, node) in fields.entries() {
        let Some(at) = pointer(cx, &key.span, &key.text) else { continue };
        let path = format!("{}.{}", fields.path, key.text);
        let asked = Fields::of(cx, node, path, &TESTS);
        empty(cx, &asked.path, node, "say what has to be so of it, as in { max: 5000 }");
        let before = all.len();
        for (key, value) in asked.entries() {
            all.extend(test(cx, &asked.child(&key.text), &key.text, value, at.clone()));
        }
        impossible(cx, &asked, all.get(before..).unwrap_or_default());
    }
    all
}

fn empty(cx: &mut Context<'_>, path: &str, node: &Node, help: &str) {
    if matches!(&node.data, Data::Map(entries) if entries.is_empty()) {
        cx.problems.add(Code::MissingKey, &node.span, format!("`{path}` says nothing"), help);
    }
}

/// The members that a JSON pointer names. Places in lists are none: what a list holds may stand in any order.
fn pointer(cx: &mut Context<'_>, span: &Range<usize>, text: &str) -> Option<Vec<String>> {
    let mut steps = text.split('/');
    let rooted = steps.next() == Some("") && text.len() <= MAX_VALUE_BYTES;
    let steps: Vec<String> = steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let named = |step: &String| !step.is_empty() && step != "-" && !step.bytes().all(|byte| byte.is_ascii_digit());
    if rooted && escapes && (1..=8).contains(&steps.len()) && steps.iter().all(named) {
        return Some(steps);
    }
    let message = format!("{} does not lead to an argument", quote(text));
    let help = "write a JSON pointer into the arguments, by names of members: /amount or /parameters/amount; \
                of a list no single item can be asked about";
    cx.problems.add(Code::Form, span, message, help);
    None
}

fn test(cx: &mut Context<'_>, path: &str, word: &str, node: &Node, at: Vec<String>) -> Option<Test> {
    let made = |is, value, whole| Some(Test { at, is, value, whole });
    match word {
        "max" | "min" => {
            let (value, whole) = limit(cx, node, path)?;
            made(if word == "max" { TestKind::Max } else { TestKind::Min }, Some(value), whole)
        }
        "equals" => {
            let value = scalar(cx, node, path)?;
            made(TestKind::In, JsonText::of(&[value]).ok(), false)
        }
        "in" => {
            let items = cx.list(node, path);
            let list = matches!(node.data, Data::List(_));
            if list && !(1..=MAX_VALUES).contains(&items.len()) {
                let message = format!("`{path}` must have 1 to {MAX_VALUES} values");
                cx.problems.add(Code::Range, &node.span, message, "list what it may be: in: [eur, usd]");
            }
            let values: Vec<JsonText> = items.iter().filter_map(|item| scalar(cx, item, path)).collect();
            made(TestKind::In, JsonText::of(&values).ok(), false)
        }
        "prefix" | "glob" => {
            let text = cx.text(node, path)?;
            let is = if word == "prefix" { TestKind::Prefix } else { TestKind::Glob };
            let odd = is == TestKind::Glob && text.contains(['?', '[', ']', '{', '}', '\\', '!']);
            if text.is_empty() || text.len() > MAX_VALUE_BYTES || odd {
                let message = format!("`{path}` cannot be {}", quote(text));
                let help = "write 1 to 256 bytes; in `glob` a `*` is any characters, and nothing else is special";
                cx.problems.add(Code::Form, &node.span, message, help);
            }
            made(is, JsonText::of(&text).ok(), false)
        }
        "present" | "absent" => {
            if !matches!(&node.data, Data::Scalar { text, plain: true } if text == "true") {
                let other = if word == "present" { "absent" } else { "present" };
                cx.problems.add(
                    Code::Form,
                    &node.span,
                    format!("`{path}` can only be `true`"),
                    format!("for the opposite write {other}: true"),
                );
            }
            made(if word == "present" { TestKind::Present } else { TestKind::Absent }, None, false)
        }
        // Noted as unknown.
        _ => None,
    }
}

/// Tests of one argument that no value passes together.
fn impossible(cx: &mut Context<'_>, asked: &Fields<'_>, tests: &[Test]) {
    let number = |kind| {
        let test = tests.iter().find(|test| test.is == kind)?;
        test.value.as_ref()?.as_str().parse::<f64>().ok()
    };
    let alone = tests.len() > 1 && tests.iter().any(|test| test.is == TestKind::Absent);
    let crossed = matches!((number(TestKind::Min), number(TestKind::Max)), (Some(min), Some(max)) if min > max);
    if alone || crossed {
        let message = format!("no value passes `{}`", asked.path);
        let help = if alone { "`absent` stands alone" } else { "`min` is more than `max`" };
        cx.problems.add(Code::Contradiction, &asked.span, message, help);
    }
}

/// A number that is not negative, as it is spelled, and whether it is a whole one.
fn limit(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<(JsonText, bool)> {
    let plain_digits =
        |digits: &str| (1..=DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if let Data::Scalar { text, plain: true } = &node.data {
        let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
        let short = text.len() <= DIGITS + 1 && (whole == "0" || !whole.starts_with('0'));
        if short && plain_digits(whole) && fraction.is_none_or(plain_digits) {
            let number = JsonText::parse(text.as_bytes(), Rules::CLIENT).ok()?;
            return Some((number, fraction.is_none()));
        }
    }
    let message = format!("`{path}` is no limit");
    let help = format!("write a number that is not negative, of at most {DIGITS} digits, without quotes and exponent");
    cx.problems.add(Code::WrongType, &node.span, message, help);
    None
}

/// A text, a number or a boolean, as JSON.
fn scalar(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<JsonText> {
    if let Data::Scalar { text, plain } = &node.data {
        let json = JsonText::parse(text.as_bytes(), Rules::CLIENT).ok().filter(|_| *plain && text != "null");
        if let Some(json) = json.filter(|json| !json.as_str().starts_with(['"', '[', '{'])) {
            return Some(json);
        }
        if text.len() > MAX_VALUE_BYTES {
            let message = format!("`{path}` has a text of more than {MAX_VALUE_BYTES} bytes");
            cx.problems.add(Code::TooMuch, &node.span, message, "use `prefix`, or a rule of your own");
            return None;
        }
    }
    // Whatever YAML takes for a number and JSON does not is neither.
    let text = cx.text(node, path)?;
    JsonText::of(&text).ok()
}

fn amount(cx: &mut Context<'_>, node: &Node, path: String) -> Option<AmountLimit> {
    let fields = Fields::of(cx, node, path, &AMOUNT);
    let help = "say how much, in the unit that the call uses: amount: { max: 5000, currency: eur }";
    let max = fields.need(cx, "max", help).and_then(|node| limit(cx, node, &fields.child("max")));
    let currency = fields.get("currency").and_then(|node| {
        let text = cx.text(node, &fields.child("currency"))?;
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Some(text.to_owned());
        }
        let message = format!("`{}` cannot be {}", fields.child("currency"), quote(text));
        cx.problems.add(Code::Form, &node.span, message, "write the three letters of ISO 4217 in lower case: eur");
        None
    });
    let (max, whole) = max?;
    Some(AmountLimit { max, whole, currency })
}

fn environments(cx: &mut Context<'_>, node: &Node, path: &str) -> Vec<String> {
    let items = cx.texts(node, path);
    if matches!(&node.data, Data::List(all) if all.is_empty()) {
        let help = "name the environments in which the scope holds: environments: [sandbox]";
        cx.problems.add(Code::MissingKey, &node.span, format!("`{path}` is empty: the scope covers nothing"), help);
    }
    let named = items.into_iter().filter(|(node, text)| cx.name(&node.span, text, "an environment"));
    named.map(|(_, text)| text.to_owned()).collect()
}

fn hours(cx: &mut Context<'_>, node: &Node, path: String) -> Option<Hours> {
    let fields = Fields::of(cx, node, path, &HOURS);
    let help = "write the hours of a day: hours: { from: \"09:00\", to: \"17:00\", zone: Europe/Berlin }";
    let from = fields.need(cx, "from", help).and_then(|node| time_of_day(cx, node, &fields.child("from")));
    let to = fields.need(cx, "to", help).and_then(|node| time_of_day(cx, node, &fields.child("to")));
    let zone = match fields.get("zone") {
        None => Some("UTC".to_owned()),
        Some(node) => zone(cx, node, &fields.child("zone")),
    };
    let days = match fields.get("days") {
        None => DAYS.iter().map(|(_, name)| (*name).to_owned()).collect(),
        Some(node) => days(cx, node, &fields.child("days")),
    };
    let (from, to) = (from?, to?);
    if from >= to {
        let message = format!("`{}` ends before it begins", fields.path);
        let help = "for hours over midnight write two scopes: one to \"24:00\" and one from \"00:00\"";
        cx.problems.add(Code::Contradiction, &fields.span, message, help);
    }
    Some(Hours { from, to, days, zone: zone? })
}

/// `HH:MM`, from `00:00` to `24:00`, in minutes.
fn time_of_day(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<u16> {
    let text = cx.text(node, path)?;
    let two =
        |part: &str| part.parse::<u16>().ok().filter(|_| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()));
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
    let minutes = parts.filter(|(_, minute)| *minute < 60).map(|(hour, minute)| hour * 60 + minute);
    let minutes = minutes.filter(|minutes| *minutes <= 24 * 60);
    if minutes.is_none() {
        let message = format!("`{path}` is {}, which is no time of day", quote(text));
        cx.problems.add(Code::Form, &node.span, message, "write it as HH:MM, from \"00:00\" to \"24:00\"");
    }
    minutes
}

fn days(cx: &mut Context<'_>, node: &Node, path: &str) -> Vec<String> {
    let mut days: Vec<String> = Vec::new();
    let items = cx.texts(node, path);
    if matches!(&node.data, Data::List(all) if all.is_empty()) {
        let message = format!("`{path}` names no day");
        cx.problems.add(
            Code::MissingKey,
            &node.span,
            message,
            "write days: [mon, tue, wed, thu, fri], or leave it out",
        );
    }
    for (node, text) in items {
        match DAYS.iter().find(|(short, _)| *short == text) {
            None => cx.no_choice(node, path, text, DAYS.iter().map(|(short, _)| *short)),
            Some((_, day)) if days.iter().any(|other| other == day) => {
                cx.problems.add(
                    Code::Repeated,
                    &node.span,
                    format!("the day {} stands here twice", quote(text)),
                    "keep one",
                );
            }
            Some((_, day)) => days.push((*day).to_owned()),
        }
    }
    days
}

pub(super) fn zone(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<String> {
    let text = cx.text(node, path)?;
    if text.parse::<chrono_tz::Tz>().is_ok() {
        return Some(text.to_owned());
    }
    let message = format!("`{path}` is {}, which is no time zone", quote(text));
    let help = match cx.meant(text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "write a name of the tz database: UTC, Europe/Berlin, America/New_York".to_owned(),
    };
    cx.problems.add(Code::Choice, &node.span, message, help);
    None
}

/// A moment, in nanoseconds since 1970.
fn until(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<u64> {
    let text = cx.text(node, path)?;
    let at = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_nanosecond()).ok());
    // What the rules' own functions can take.
    let at = at.filter(|at| i64::try_from(*at).is_ok());
    if at.is_none() {
        let message = format!("`{path}` is {}, which is no moment", quote(text));
        cx.problems.add(Code::Form, &node.span, message, "write date, time and offset: 2027-01-31T00:00:00Z");
    }
    at
}
