//! What a call has to be for a grant: the call that was approved, byte for byte, but for the places that its operator
//! has named. And the text that says so, which the operator reads and signs.
//!
//! Invariant: two calls with one [`Predicate`] differ in nothing but the values at those places, and there only within
//! what the text says. The text is made from the same call and bounds as the predicate, in the same step.

use std::fmt::Write as _;

use crate::call::{CallContext, Decided, Decision, Digest, Operation, ToolCall};
use crate::gate::hold::{Carried, carried};
use crate::json::{Json, JsonText, Kind};

use super::{Bounds, NotGrantable};

/// Longest text of a grant, in bytes: it is read, signed, and sent as one command.
pub(super) const MAX_TEXT: usize = 16 << 10;
/// Parameters of a call beyond this are covered by no grant.
const MAX_PARAMS: usize = 64 << 10;
/// Places that may differ.
const MAX_PLACES: usize = 16;
/// Longest text at a place that may be any, in characters.
const MAX_ANY: usize = 1000;

/// What may stand at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Room {
    /// A whole number from 1 to this.
    UpTo(u64),
    /// The same, spelled in a text: a form and a query have nothing else.
    UpToText(u64),
    /// Visible text.
    Any,
    /// Visible text, and no number: in a form it could be an amount.
    AnyWord,
}

impl Room {
    fn has(self, value: Json<'_>) -> bool {
        match self {
            Room::UpTo(most) => whole(value).is_some_and(|number| number <= most),
            Room::UpToText(most) => whole_text(value).is_some_and(|number| number <= most),
            Room::Any => visible(value).is_some(),
            Room::AnyWord => word(value).is_some(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Predicate {
    method: Decided,
    /// Of the parameters with sorted keys, without what stands at the places.
    rest: Digest,
    /// Pointers into the arguments, as [`step`] writes them.
    places: Vec<(String, Room)>,
    /// What travels beside the parameters.
    carried: Carried,
}

impl Predicate {
    /// # Errors
    /// Where a pointer does not lead to what its bound is about.
    pub fn of(call: &ToolCall, context: &CallContext, bounds: &Bounds) -> Result<Predicate, NotGrantable> {
        let at_most = bounds.at_most.iter().map(|pointer| (pointer, true));
        let all: Vec<_> = at_most.chain(bounds.any.iter().map(|pointer| (pointer, false))).collect();
        if all.len() > MAX_PLACES {
            return Err(NotGrantable::Pointers(MAX_PLACES));
        }
        let names: Vec<&str> = all.iter().map(|(pointer, _)| pointer.as_str()).collect();
        let (rest, found) = split(call, &names);
        let mut places: Vec<(String, Room)> = Vec::new();
        for (n, (pointer, is_number)) in all.iter().enumerate() {
            let odd = |why| NotGrantable::Pointer { pointer: (*pointer).clone(), why };
            if places.iter().any(|(other, _)| other == *pointer) {
                return Err(odd("stands here twice"));
            }
            let Some((_, value)) = found.iter().find(|(place, _)| *place == n) else {
                return Err(odd("leads to nothing in the arguments"));
            };
            if !may_differ(call, pointer) {
                return Err(odd(
                    "says what the request is: only the query, the body and the idempotency key may differ",
                ));
            }
            let is_request = call.method() == Decided::ApiRequest;
            let room = match is_number {
                true if is_text(call, pointer) => {
                    Room::UpToText(whole_text(*value).ok_or_else(|| odd("does not lead to a whole number above zero"))?)
                }
                true => Room::UpTo(whole(*value).ok_or_else(|| odd("does not lead to a whole number above zero"))?),
                false => {
                    let text = visible(*value).ok_or_else(|| odd("does not lead to visible text"))?;
                    if names_something(&context.operation, &text) {
                        return Err(odd("says what the call is done to, or in which currency or place"));
                    }
                    if is_request && word(*value).is_none() {
                        return Err(odd("leads to a number: say how large it may be"));
                    }
                    if is_request { Room::AnyWord } else { Room::Any }
                }
            };
            places.push(((*pointer).clone(), room));
        }
        Ok(Predicate { method: call.method(), rest, places, carried: carried(call) })
    }

    /// Whether a call in its context is one of those that were granted in this one.
    pub fn covers(&self, call: &ToolCall, granted: &CallContext, context: &CallContext) -> bool {
        call.method() == self.method
            && same_around(self.method, granted, context)
            && call.params().as_str().len() <= MAX_PARAMS
            && carried(call) == self.carried
            && self.fits(call)
    }

    fn fits(&self, call: &ToolCall) -> bool {
        let names: Vec<&str> = self.places.iter().map(|(pointer, _)| pointer.as_str()).collect();
        let (rest, found) = split(call, &names);
        let fits = |(n, (_, room)): (usize, &(String, Room))| {
            let value = found.iter().find(|(place, _)| *place == n).map(|(_, value)| *value);
            value.is_some_and(|value| room.has(value))
        };
        rest == self.rest && self.places.iter().enumerate().all(fits)
    }

    fn room(&self, path: &str) -> Option<Room> {
        self.places.iter().find(|(pointer, _)| pointer == path).map(|(_, room)| *room)
    }

    /// One condition a line, in the order of the arguments.
    ///
    /// # Errors
    /// Where it is too long to be read.
    pub fn text(
        &self,
        call: &ToolCall,
        context: &CallContext,
        decision: &Decision,
        bounds: &Bounds,
    ) -> Result<String, NotGrantable> {
        let mut out = String::new();
        let Operation { name, class, .. } = &context.operation;
        let environment = &context.environment;
        let definition = context.tool.definition.map(|digest| digest.to_string()).unwrap_or_default();
        let rules: Vec<String> = decision.rules.iter().map(|hit| quoted(&hit.rule)).collect();
        let is_request = self.method == Decided::ApiRequest;
        let what = match is_request {
            true => format!("request {} to the API, by any code that runs for this principal", quoted(call.tool())),
            false => {
                format!("tool {}, definition {definition}, pin {}", quoted(call.tool()), context.tool.pin.as_str())
            }
        };
        let head = [
            format!("principal {}", quoted(&context.principal.name)),
            format!("server {}, environment {}", quoted(&context.server.name), quoted(&environment.name)),
            what,
            format!("operation {} ({})", quoted(name), class.as_str()),
        ];
        head.iter().for_each(|line| push(&mut out, line));
        match arguments(call) {
            Some(arguments) => self.lines(arguments, String::new(), &mut out),
            None => push(&mut out, "no arguments"),
        }
        if !is_request {
            let other = JsonText::without(call.params().view(), &["name", "arguments"]);
            for (name, value) in other.view().members() {
                push(&mut out, &format!("parameter {} is {}", name.text(), value.text()));
            }
        }
        for (name, value) in &self.carried {
            push(&mut out, &format!("_meta {} is {value}", quoted(name)));
        }
        push(&mut out, "nothing else in the call");
        push(&mut out, &format!("policy holds it, and for no other rule than {}", rules.join(", ")));
        push(&mut out, &format!("at most {} more, beside the call of this hold", bounds.uses));
        push(&mut out, &format!("for {} seconds; forgotten when the daemon stops", bounds.seconds));
        if out.len() > MAX_TEXT {
            return Err(NotGrantable::Long);
        }
        Ok(out)
    }

    fn lines(&self, value: Json<'_>, path: String, out: &mut String) {
        if out.len() > MAX_TEXT {
            return;
        }
        let is_inside = self.places.iter().any(|(place, _)| is_below(place, &path));
        let name = if path.is_empty() { "arguments".to_owned() } else { format!("argument {}", plain(&path)) };
        match self.room(&path) {
            Some(Room::UpTo(most)) => push(out, &format!("{name} is a whole number from 1 to {most}")),
            Some(Room::UpToText(most)) => push(out, &format!("{name} is a whole number from 1 to {most}, as a text")),
            Some(Room::Any) => push(out, &format!("{name} is any visible text of at most {MAX_ANY} characters")),
            Some(Room::AnyWord) => {
                push(out, &format!("{name} is any visible text of at most {MAX_ANY} characters that is no number"));
            }
            // The arguments are told one by one; what is in them only where something there may differ.
            None if is_inside || path.is_empty() => match value.kind() {
                Kind::Object if value.members().next().is_some() => value.members().for_each(|(key, value)| {
                    self.lines(value, step(&path, &key.as_str().unwrap_or_default()), out);
                }),
                Kind::Array => {
                    value.items().enumerate().for_each(|(n, item)| self.lines(item, step(&path, &n.to_string()), out));
                }
                Kind::Object | Kind::String | Kind::Number | Kind::Bool | Kind::Null => {
                    push(out, &format!("{name} is {}", value.text()));
                }
            },
            None => push(out, &format!("{name} is {}", value.text())),
        }
    }
}

/// Whether everything around two calls is the same that a grant is bound to.
fn same_around(method: Decided, granted: &CallContext, context: &CallContext) -> bool {
    // Amounts are arguments, and bounded there where they are whole numbers.
    let bounded = |amount: &String| amount.bytes().all(|byte| byte.is_ascii_digit());
    let without_amounts = |operation: &Operation| {
        let mut operation = operation.clone();
        if let Some(money) = &mut operation.money {
            money.amount = money.amount.take().filter(|amount| !bounded(amount));
        }
        if let Some(magnitude) = &mut operation.magnitude {
            magnitude.value = magnitude.value.take().filter(|value| !bounded(value));
        }
        operation
    };
    // A request is no tool's, and which code asks for it is none of its terms: it is judged by itself.
    let by_itself = method == Decided::ApiRequest;
    granted.principal == context.principal
        && granted.server == context.server
        && granted.environment == context.environment
        && granted.tool.name == context.tool.name
        && (by_itself || granted.tool.definition.is_some())
        && granted.tool.definition == context.tool.definition
        && granted.tool.pin == context.tool.pin
        && works_there(granted, context)
        && without_amounts(&granted.operation) == without_amounts(&context.operation)
        && granted.confirmations == context.confirmations
        && (by_itself || (granted.continues.is_none() && context.continues.is_none()))
}

/// Whether a session works where that of the approved call did, before that call or after it.
fn works_there(granted: &CallContext, context: &CallContext) -> bool {
    let after = granted.operation.environment.as_ref().map(|reach| granted.bound.after(reach));
    context.bound == granted.bound || after.is_some_and(|after| context.bound == after)
}

/// Whether the operation takes this text for what it is done to, or where.
fn names_something(operation: &Operation, text: &str) -> bool {
    let reach = operation.environment.iter().flat_map(|reach| reach.accounts.iter().chain(&reach.environments));
    let currency = operation.money.iter().filter_map(|money| money.currency.as_ref());
    operation.targets.iter().chain(reach).chain(currency).any(|name| name == text) || operation.name == text
}

/// What pointers lead into: all of a request to an API.
fn arguments(call: &ToolCall) -> Option<Json<'_>> {
    let params = call.params().view();
    if call.method() == Decided::ApiRequest { Some(params) } else { params.get("arguments") }
}

/// Whether a grant may let the value there differ.
fn may_differ(call: &ToolCall, pointer: &str) -> bool {
    let told = ["/query/", "/body/"].iter().any(|place| pointer.starts_with(place));
    call.method() != Decided::ApiRequest || told || pointer == "/headers/idempotency-key"
}

/// Whether there is nothing else than texts there. Only a form says of what type it is.
fn is_text(call: &ToolCall, pointer: &str) -> bool {
    let is_form = || call.params().view().pointer("/headers/content-type").is_some();
    let form = pointer.starts_with("/query/") || (pointer.starts_with("/body/") && is_form());
    call.method() == Decided::ApiRequest && form
}

/// The parameters without what stands at these places of the arguments, and what stands there.
fn split<'a>(call: &'a ToolCall, places: &[&str]) -> (Digest, Vec<(usize, Json<'a>)>) {
    let params = call.params().view();
    let (mut out, mut found) = (String::with_capacity(params.text().len()), Vec::new());
    if call.method() != Decided::ApiRequest {
        JsonText::without(params, &["arguments"]).view().write_sorted(&mut out);
    }
    if let Some(arguments) = arguments(call) {
        write_rest(arguments, String::new(), places, &mut out, &mut found);
    }
    (Digest::of_fields("countersign.grant/v1", &[out.as_bytes()]), found)
}

/// Writes a value with sorted keys as a digest sees it, and for each place a mark that no JSON has.
fn write_rest<'a>(
    value: Json<'a>,
    path: String,
    places: &[&str],
    out: &mut String,
    found: &mut Vec<(usize, Json<'a>)>,
) {
    if let Some(n) = places.iter().position(|place| *place == path) {
        found.push((n, value));
        // Writing to a string cannot fail.
        let _ = write!(out, "\u{0}{n}\u{0}");
        return;
    }
    if !places.iter().any(|place| is_below(place, &path)) {
        return value.write_sorted(out);
    }
    match value.kind() {
        Kind::Object => {
            let mut members: Vec<_> =
                value.members().map(|(key, value)| (key.as_str().unwrap_or_default(), key, value)).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            out.push('{');
            for (name, key, value) in members {
                out.extend([key.text(), ":"]);
                write_rest(value, step(&path, &name), places, out, found);
                out.push(',');
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for (n, item) in value.items().enumerate() {
                write_rest(item, step(&path, &n.to_string()), places, out, found);
                out.push(',');
            }
            out.push(']');
        }
        Kind::String | Kind::Number | Kind::Bool | Kind::Null => value.write_sorted(out),
    }
}

/// The only spelling of a pointer that counts (RFC 6901).
fn step(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn is_below(place: &str, path: &str) -> bool {
    place.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

/// A whole number above zero, spelled as one: no sign, no exponent, no point.
fn whole(value: Json<'_>) -> Option<u64> {
    let text = value.text();
    let digits = value.kind() == Kind::Number && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

/// A whole number above zero, spelled as one in a text.
fn whole_text(value: Json<'_>) -> Option<u64> {
    let text = value.as_str()?;
    let number: u64 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
}

/// Visible text that nobody takes for a number.
fn word(value: Json<'_>) -> Option<String> {
    let is_number = |text: &str| text.trim().parse::<f64>().is_ok();
    visible(value).filter(|text| !is_number(text))
}

/// A text that shows all that is in it, and is not too long.
fn visible(value: Json<'_>) -> Option<String> {
    let text = value.as_str()?.into_owned();
    (text.chars().count() <= MAX_ANY && text.chars().all(is_visible)).then_some(text)
}

/// Letters, digits and signs that look like themselves and stand still: a list of what is let in, so that whatever is
/// invisible, joins, turns around or is added to Unicode later is not.
fn is_visible(letter: char) -> bool {
    matches!(letter,
        ' '..='~'
        | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}'
        | '\u{391}'..='\u{3a1}' | '\u{3a3}'..='\u{3ce}'
        | '\u{400}'..='\u{481}' | '\u{48a}'..='\u{52f}'
        | '\u{2013}'..='\u{2014}' | '\u{2018}'..='\u{201f}' | '\u{2026}' | '\u{20ac}'
        | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}'
        | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// As JSON: one line, whatever stands in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A pointer as it is, where that is one word of plain letters.
fn plain(path: &str) -> String {
    match path.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
        true => path.to_owned(),
        false => quoted(path),
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}
