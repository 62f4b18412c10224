//! Samples for `policy check` and `policy coverage`: calls of every operation that a catalog knows, with usual, missing
//! and odd values, as the proxy would judge them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::subject::{Caller, Place, api_request, request, tool_call};
use crate::call::{CallContext, Class, Environment, ToolCall};
use crate::catalog::author::{HANDLE, Known, Path, Reached};
use crate::config::{Config, Match};
use crate::json::{JsonText, Rules};
use crate::mcp::api_request::Body;
use crate::policy::author::{self, Number, Sample, Vocabulary};

/// What every catalog of these servers knows, and the names of the configuration where there is one.
pub fn vocabulary(places: &[Place], config: Option<&Config>) -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    if let Some(config) = config {
        vocabulary.names("server", config.servers.keys().cloned());
        vocabulary.names("environment", config.servers.values().map(|server| server.environment.clone()));
        // Principals of signed tokens may have a name for each subject.
        if !config.principals.iter().any(|entry| matches!(entry.by, Match::Jwt { .. })) {
            vocabulary.names("principal", config.principals.iter().map(|entry| entry.principal.name.clone()));
        }
    }
    for known in places.iter().flat_map(Place::every) {
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
            // The same operation through another tool has the same arguments; a request has others.
            let is_request = matches!(known.way, Reached::Request { .. });
            if seen.insert((known.name.clone(), is_request)) {
                samples.extend((!is_request).then(|| listed(place, &known)));
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
        let operation = context(place, known, &call, &Caller::nobody()).operation;
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

/// The document that rules see for a call of this operation.
pub fn document(place: &Place, known: &Known, call: &ToolCall, caller: &Caller) -> String {
    author::document(call, &context(place, known, call, caller))
}

/// As a session would have it that was given the handle, where the call has one.
pub fn context(place: &Place, known: &Known, call: &ToolCall, caller: &Caller) -> CallContext {
    let mut context = place.context(call, caller, "sample");
    if let Reached::Handle { .. } = known.way {
        context.operation = place.catalog.operation_with(call, &place.catalog.handles_for(known));
    }
    context
}

fn sample(place: &Place, known: &Known, caller: &Caller, what: &str, call: &ToolCall, plausible: bool) -> Sample {
    let name = format!("{} of {} {what}", known.name, place.facts.name);
    let context = context(place, known, call, caller);
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
    call.map(|call| Sample { name, document: of_nothing(place, &call), plausible: false }).into_iter().collect()
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
        Some(Sample { name, document: of_nothing(place, &call), plausible: false })
    };
    requests.iter().filter_map(sample).collect()
}

/// The document of a call that is of no operation of a catalog.
fn of_nothing(place: &Place, call: &ToolCall) -> String {
    author::document(call, &place.context(call, &Caller::anybody(), "sample"))
}

/// With a usual value at every argument but those that would move the call elsewhere: the server's own mode, account and
/// environment are what is usual.
pub fn usual(known: &Known) -> Option<ToolCall> {
    called(known, usual_arguments(known))
}

fn usual_arguments(known: &Known) -> Map<String, Value> {
    let mut arguments = Map::new();
    let paths = &known.arguments.paths;
    for path in paths.iter().filter(|path| !known.elsewhere.contains(*path)) {
        let value = match value(path) {
            Value::Null => continue,
            _ if known.lists.contains(path) => json!([]),
            // Something else in place of an object is odd.
            _ if known.objects.contains(path) => json!({}),
            _ if paths.iter().any(|other| other.len() > path.len() && other.starts_with(path)) => json!({}),
            value => value,
        };
        put(&mut arguments, path, value);
    }
    arguments
}

/// The usual call with a number at each place where one of it is judged, in the currency that the number is for where
/// there is one to name; each with what is special about it.
pub fn with_number(known: &Known, number: &Number) -> Vec<(String, ToolCall)> {
    let mut calls = Vec::new();
    for at in &known.numbers.at {
        for value in number.around() {
            let mut arguments = usual_arguments(known);
            // The same amount in another spelling beside it would be two.
            known.numbers.at.iter().filter(|other| other.len() == 1).for_each(|other| {
                arguments.remove(&other.concat());
            });
            put(&mut arguments, at, value.clone());
            if let (Some(at), Some(currency)) = (&known.numbers.currency, &number.currency) {
                put(&mut arguments, at, json!(currency));
            }
            let currency = number.currency.as_ref().map_or(String::new(), |currency| format!(" {currency}"));
            let what = format!("/{} {value}{currency}", at.join("/"));
            calls.extend(called(known, arguments).map(|call| (what, call)));
        }
    }
    calls
}

fn bare(known: &Known) -> Option<ToolCall> {
    called(known, Map::new())
}

/// The call with these arguments.
fn called(known: &Known, mut arguments: Map<String, Value>) -> Option<ToolCall> {
    match &known.way {
        Reached::Tool | Reached::Nothing => {}
        Reached::Says { at, value, holder } => {
            holder.iter().for_each(|holder| put(&mut arguments, holder, json!({})));
            put(&mut arguments, at, json!(value));
        }
        Reached::Handle { at } => put(&mut arguments, at, json!(HANDLE)),
        Reached::Request { method, path, is_form } => {
            let mut text = format!("{method} {path}");
            if let Some(Value::Object(query)) = arguments.get("query") {
                text = format!("{text}?{}", form(query));
            }
            let body = match arguments.get("body") {
                None => None,
                Some(Value::Object(body)) if *is_form => Some(Body::Form(form(body))),
                Some(body) => Some(Body::Json(JsonText::parse(body.to_string(), Rules::CLIENT).ok()?)),
            };
            return api_request(&text, body).ok();
        }
    }
    tool_call(&known.tool, &Value::Object(arguments).to_string()).ok()
}

/// As a form spells it.
fn form(members: &Map<String, Value>) -> String {
    fn add(into: &mut Vec<String>, name: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(below, value)| add(into, &format!("{name}[{below}]"), value))
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, value)| add(into, &format!("{name}[{n}]"), value));
            }
            Value::Null => into.push(format!("{name}=")),
            Value::String(text) => into.push(format!("{name}={}", encoded(text))),
            Value::Bool(_) | Value::Number(_) => into.push(format!("{name}={}", encoded(&value.to_string()))),
        }
    }
    let mut all = Vec::new();
    members.iter().for_each(|(name, value)| add(&mut all, name, value));
    all.join("&")
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// With a value at every argument that is known and every one that is read.
fn filled(known: &Known, read: &BTreeSet<Path>, value: impl Fn(&Path) -> Value) -> Option<ToolCall> {
    let mut arguments = Map::new();
    for path in known.arguments.paths.iter().chain(read) {
        put(&mut arguments, path, value(path));
    }
    called(known, arguments)
}

/// Where something that is no object stands in the way, an object takes its place. A step `*` is the one item of a list.
fn put(into: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            // What stands below is more than a value.
            if !into.get(last).is_some_and(Value::is_object) {
                into.insert(last.clone(), value);
            }
        }
        [first, each, rest @ ..] if each == "*" => {
            let mut item = Map::new();
            put(&mut item, rest, value.clone());
            into.insert(first.clone(), json!([if rest.is_empty() { value } else { Value::Object(item) }]));
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
    known.class == Class::Unknown && known.way != Reached::Nothing
}
