//! Samples for `policy check` and `policy coverage`: calls of every operation that a catalog knows, with usual, missing
//! and odd values, as the proxy would judge them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::subject::{Caller, Place, request, tool_call};
use crate::call::{Class, Environment, ToolCall};
use crate::catalog::author::{Known, Path};
use crate::policy::author::{self, Sample, Vocabulary};

/// What every catalog of these servers knows.
pub fn vocabulary(places: &[Place]) -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    for known in places.iter().flat_map(|place| place.known()) {
        let (arguments, listed) = (known.arguments.paths, known.arguments.complete);
        vocabulary.add(&known.name, author::Known { arguments, listed, open: !listed });
    }
    vocabulary
}

/// Samples of every operation. Odd values go to those that rules name, and to one of each kind: rules that name none see
/// no other difference. `read` are arguments that rules read beside those that the catalog knows.
pub fn samples(places: &[Place], read: &BTreeSet<Path>, named: &BTreeSet<String>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for place in places {
        let (mut seen, mut kinds) = (BTreeSet::new(), BTreeSet::new());
        for known in place.known() {
            samples.extend(plausible(place, &known));
            // The same operation through another tool has the same arguments.
            if seen.insert(known.name.clone()) {
                samples.push(listed(place, &known));
                if named.contains(&known.name) || kinds.insert(kind(place, &known)) {
                    samples.extend(implausible(place, &known, read));
                }
            }
        }
        samples.extend(others(place));
        samples.extend(unknown(place));
    }
    samples
}

/// Calls that could be meant well.
fn plausible(place: &Place, known: &Known) -> Vec<Sample> {
    let sandbox = Place { environment: Arc::new(Environment::declared("sandbox")), ..place.clone() };
    let (anybody, nobody) = (Caller::anybody(), Caller::nobody());
    let calls = [
        (place, &anybody, "with usual arguments", usual(known), true),
        (&sandbox, &anybody, "in a sandbox", usual(known), true),
        (place, &nobody, "for somebody without scopes", usual(known), true),
        (place, &anybody, "without arguments", bare(known), false),
    ];
    let calls = calls.into_iter();
    calls
        .filter_map(|(place, caller, what, call, plausible)| {
            Some(sample(place, known, caller, what, &call?, plausible))
        })
        .collect()
}

/// Calls with one odd value at every argument.
fn implausible(place: &Place, known: &Known, read: &BTreeSet<Path>) -> Vec<Sample> {
    let odd = odd().into_iter();
    odd.filter_map(|odd| {
        let what = format!("with odd arguments ({})", short(&odd));
        let call = filled(known, read, |_| odd.clone())?;
        Some(sample(place, known, &Caller::anybody(), &what, &call, false))
    })
    .collect()
}

/// What rules that do not know its name see of an operation.
fn kind(place: &Place, known: &Known) -> String {
    usual(known).map_or(String::new(), |call| {
        let operation = place.catalog.operation(&call);
        let size = (operation.targets.len(), operation.magnitude.is_some(), operation.environment.is_some());
        format!(
            "{:?} {:?} {:?} {size:?}",
            operation.class,
            operation.reversible,
            operation.money.map(|money| money.unit)
        )
    })
}

/// Calls that show what is decided about an operation: a usual one and one without arguments.
pub fn plain(known: &Known) -> Vec<ToolCall> {
    usual(known).into_iter().chain(bare(known)).collect()
}

/// The document that rules see for a call.
pub fn document(place: &Place, call: &ToolCall, caller: &Caller) -> String {
    author::document(call, &place.context(call, caller, "sample"))
}

fn sample(place: &Place, known: &Known, caller: &Caller, what: &str, call: &ToolCall, plausible: bool) -> Sample {
    let name = format!("{} of {} {what}", known.name, place.facts.name);
    let context = place.context(call, caller, "sample");
    // Of an amount that is left out the catalog says what that means; other arguments are needed.
    let absent = context.operation.money.as_ref().is_some_and(|money| money.amount.is_none() && money.absent.is_some());
    Sample { name, document: author::document(call, &context), plausible: plausible || absent }
}

fn listed(place: &Place, known: &Known) -> Sample {
    let context = tool_call(&known.tool, "{}").map(|call| {
        let mut context = place.context(&call, &Caller::anybody(), "sample");
        context.operation = place.catalog.listed(&known.tool);
        context
    });
    let name = format!("{} of {} in a list", known.tool, place.facts.name);
    Sample {
        name,
        document: context.map_or_else(|_| "{}".to_owned(), |context| author::listed_document(&context)),
        plausible: false,
    }
}

/// A call of a tool that no catalog has.
fn unknown(place: &Place) -> Vec<Sample> {
    let call = tool_call("a_tool_that_no_catalog_has", r#"{"note":"x"}"#).ok();
    let name = format!("an unknown tool of {}", place.facts.name);
    call.map(|call| Sample { name, document: document(place, &call, &Caller::anybody()), plausible: false })
        .into_iter()
        .collect()
}

/// Requests that are judged beside calls.
fn others(place: &Place) -> Vec<Sample> {
    let requests = [
        ("resources/read", r#"{"uri":"file:///x"}"#),
        ("resources/subscribe", r#"{"uri":"file:///x"}"#),
        ("prompts/get", r#"{"name":"x","arguments":{"amount":"1"}}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":"b"}}"#),
    ];
    let sample = |(method, params): &(&str, &str)| {
        let call = request(method, params).ok()?;
        let name = format!("{method} at {}", place.facts.name);
        Some(Sample { name, document: document(place, &call, &Caller::anybody()), plausible: false })
    };
    requests.iter().filter_map(sample).collect()
}

fn usual(known: &Known) -> Option<ToolCall> {
    filled(known, &BTreeSet::new(), value)
}

fn bare(known: &Known) -> Option<ToolCall> {
    let mut arguments = Map::new();
    select(known, &mut arguments);
    tool_call(&known.tool, &Value::Object(arguments).to_string()).ok()
}

/// With a value at every argument that is known and every one that is read.
fn filled(known: &Known, read: &BTreeSet<Path>, value: impl Fn(&Path) -> Value) -> Option<ToolCall> {
    let mut arguments = Map::new();
    for path in known.arguments.paths.iter().chain(read) {
        let value = value(path);
        if !value.is_null() || !read.is_empty() {
            put(&mut arguments, path, value);
        }
    }
    select(known, &mut arguments);
    tool_call(&known.tool, &Value::Object(arguments).to_string()).ok()
}

fn select(known: &Known, arguments: &mut Map<String, Value>) {
    if let Some((path, name)) = &known.selects {
        put(arguments, path, json!(name));
    }
}

/// Where something that is no object stands in the way, an object takes its place.
fn put(into: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            // What stands below is more than a value.
            if !into.get(last).is_some_and(Value::is_object) {
                into.insert(last.clone(), value);
            }
        }
        [first, rest @ ..] => {
            let below = into.entry(first.clone()).or_insert_with(|| json!({}));
            if !below.is_object() {
                *below = json!({});
            }
            if let Some(below) = below.as_object_mut() {
                put(below, rest, value);
            }
        }
    }
}

/// Something that fits the name of an argument. Null: left out.
fn value(path: &Path) -> Value {
    let name = path.last().map(|name| name.to_lowercase()).unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match () {
        // Words of ours that no agent may fill in, and accounts that nobody has listed.
        () if has(&["confirmation", "approval_token", "stripe_context"]) => Value::Null,
        () if has(&["livemode"]) => json!(true),
        () if has(&["amount"]) => json!(4200),
        () if has(&["percent", "percentage"]) => json!(25),
        () if has(&["quantity", "limit", "days", "months", "count"]) => json!(3),
        () if has(&["currency"]) => json!("usd"),
        () if has(&["url"]) => json!("https://example.com/hook"),
        () if has(&["email"]) => json!("a@example.com"),
        () => json!("sample_1"),
    }
}

/// Values that a rule which takes a type for granted fails on, or lets through.
fn odd() -> Vec<Value> {
    vec![
        json!(null),
        json!(""),
        json!("12"),
        json!("\u{202e}é\u{7f}"),
        json!(-1),
        json!(0.5),
        json!(i64::MAX),
        json!(true),
        json!([]),
        json!(["x", 1, null]),
        json!({}),
        json!({"value": 1}),
    ]
}

fn short(value: &Value) -> String {
    value.to_string().escape_debug().to_string().replace("\\\"", "\"")
}

/// Whether nothing is known about what an operation does.
pub fn is_unknown(known: &Known) -> bool {
    known.class == Class::Unknown
}
