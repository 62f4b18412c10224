//! The document that rules see as `input`, version 1: one JSON text, in which the call's arguments stand exactly as
//! they were judged. A value that is absent is left out, so that a rule which names it does not match.

use std::fmt::Write;
use std::ops::Range;

use serde_json::json;

use super::{Phase, repeated};
use crate::call::{CallContext, CallId, Decided, Digest, Magnitude, Money, ToolCall};
use crate::json::{Json, JsonText, Rules};

/// Version of the document's form.
pub const VERSION: u32 = 1;

/// What is judged: a call, or a tool that a list may show.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub phase: Phase,
    pub method: &'a str,
    /// `{}` for a listed tool.
    pub arguments: &'a str,
    /// What the client answers to questions of the server.
    pub responses: Option<Json<'a>>,
    /// `_meta` of the request, which travels too.
    pub meta: Option<Json<'a>>,
    pub digest: Option<Digest>,
}

impl<'a> Subject<'a> {
    pub fn call(call: &'a ToolCall, digest: Digest) -> Subject<'a> {
        Subject {
            phase: Phase::Call,
            method: call.method().as_str(),
            arguments: call.arguments().as_str(),
            responses: call.responses(),
            meta: call.meta(),
            digest: Some(digest),
        }
    }

    pub fn listed() -> Subject<'a> {
        let method = Decided::ToolsCall.as_str();
        Subject { phase: Phase::List, method, arguments: "{}", responses: None, meta: None, digest: None }
    }
}

/// A document, and where the members of its top stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    text: String,
    members: Vec<(&'static str, Range<usize>)>,
    /// What the rules that decide about it may pass over; `None` where that is not known.
    aside: Option<Vec<Range<usize>>>,
}

impl Text {
    /// Of which no more is known than its text.
    pub fn whole(text: String) -> Text {
        Text { text, members: Vec::new(), aside: None }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text at the first name of a pointer, and the rest of the pointer; everything where no members are known.
    fn part<'a>(&'a self, pointer: &'a str) -> Option<(&'a str, &'a str)> {
        if self.members.is_empty() {
            return Some((&self.text, pointer));
        }
        let names = pointer.strip_prefix('/')?;
        let (first, rest) = names.split_at(names.find('/').unwrap_or(names.len()));
        self.members().find(|(name, _)| *name == first).map(|(_, text)| (text, rest))
    }

    /// What an operator types for the value at a pointer. `None` where it leads to nothing, or to an object or array,
    /// which nobody can type.
    pub fn typed_value(&self, pointer: &str) -> Option<String> {
        let (text, pointer) = self.part(pointer)?;
        typed_value(text, pointer)
    }

    /// Everything that decides about it, where others may be decided by the same.
    pub fn repeats(&self) -> Option<String> {
        let aside = self.aside.as_ref()?;
        let mut kept = String::with_capacity(self.text.len());
        let mut at = 0;
        for range in aside {
            kept.push_str(self.text.get(at..range.start)?);
            at = range.end;
        }
        kept.push_str(self.text.get(at..)?);
        Some(kept)
    }

    /// All members of the top with their texts; none where these are not known.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.members.iter().filter_map(|(name, at)| Some((*name, self.text.get(at.clone())?)))
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.text
    }
}

/// Builds the document. `now` is in nanoseconds since 1970.
pub fn document(now: u64, subject: Subject<'_>, context: &CallContext) -> Text {
    let mut out = Members::new(768 + subject.arguments.len());
    out.number("version", VERSION.into());
    out.aside(|out| out.number("now", now));
    out.text("phase", subject.phase.as_str());
    out.text("method", subject.method);
    out.nested("principal", |out| {
        out.text("name", &context.principal.name);
        out.value("kind", &context.principal.kind);
        out.value("scopes", &context.principal.scopes);
        if !context.principal.conditional_scopes.is_empty() {
            out.value("conditional_scopes", &context.principal.conditional_scopes);
        }
        out.value("claims", &context.principal.claims);
    });
    out.nested("client", |out| {
        out.optional("name", context.client.name.as_deref());
        out.optional("version", context.client.version.as_deref());
        out.value("transport", &context.client.transport);
        out.optional("protocol", context.client.protocol.as_deref());
        if let Some(uid) = context.client.uid {
            out.number("uid", uid.into());
        }
    });
    out.nested("session", |out| {
        out.text("id", &context.session);
        if let Some(mode) = &context.bound.mode {
            out.value("mode", mode);
        }
        out.value("accounts", &context.bound.accounts);
    });
    out.nested("server", |out| {
        out.text("name", &context.server.name);
        out.optional("vendor", context.server.vendor.as_deref());
    });
    out.nested("environment", |out| {
        out.text("name", &context.environment.name);
        out.value("source", &context.environment.source);
        out.value("verified", &context.environment.verified);
        out.value("production", &context.environment.is_production());
        out.optional("conflict", context.environment.conflict.as_deref());
        out.value("accounts", &context.environment.accounts);
    });
    out.nested("tool", |out| {
        out.text("name", &context.tool.name);
        if let Some(annotations) = &context.tool.annotations {
            out.raw("annotations", annotations.as_str());
        }
        if let Some(definition) = &context.tool.definition {
            out.text("definition", &definition.to_string());
        }
        out.text("pin", context.tool.pin.as_str());
        out.value("schema", &context.tool.schema);
    });
    out.nested("operation", |out| operation(out, context));
    out.aside(|out| {
        out.raw("arguments", subject.arguments);
        if let Some(responses) = subject.responses {
            out.raw("responses", responses.text());
        }
        if let Some(meta) = subject.meta {
            out.raw("meta", meta.text());
        }
    });
    out.optional("continues", context.continues.as_ref().map(CallId::as_str));
    if let Some(history) = &context.history {
        out.raw("history", history.as_str());
    }
    if let Some(digest) = subject.digest {
        out.aside(|out| out.text("digest", &digest.to_string()));
    }
    out.finish(repeated::may_repeat(&subject, context))
}

fn operation(out: &mut Members, context: &CallContext) {
    let operation = &context.operation;
    out.text("name", &operation.name);
    out.text("class", operation.class.as_str());
    if let Some(reversible) = operation.reversible {
        out.value("reversible", &reversible);
    }
    if let Some(Money { amount, unit, currency, absent }) = &operation.money {
        out.nested("money", |out| {
            if let Some(amount) = amount {
                out.spelled("amount", amount);
            }
            out.text("unit", unit);
            out.optional("currency", currency.as_deref());
            out.optional("absent", absent.as_deref());
        });
    }
    out.aside(|out| out.value("targets", &operation.targets));
    if let Some(Magnitude { value, unit, absent }) = &operation.magnitude {
        out.nested("magnitude", |out| {
            if let Some(value) = value {
                out.spelled("value", value);
            }
            out.text("unit", unit);
            out.optional("absent", absent.as_deref());
        });
    }
    if operation.unmeasured {
        out.value("unmeasured", &true);
    }
    if let Some(reach) = &operation.environment {
        out.value("environment", reach);
    }
    if !context.confirmations.is_empty() {
        out.value("confirmations", &context.confirmations);
    }
}

/// The value at a pointer into the document of this call, decoded, for the operator to type. `None` where the pointer
/// leads to nothing, or to an object or array, which nobody can type.
pub fn confirm_value(pointer: &str, call: &ToolCall, context: &CallContext, digest: Digest) -> Option<String> {
    document(0, Subject::call(call, digest), context).typed_value(pointer)
}

/// As [`Text::typed_value`], in a text of which no more is known.
pub(super) fn typed_value(document: &str, pointer: &str) -> Option<String> {
    use crate::json::Kind;
    let document = JsonText::parse(document, Rules::UPSTREAM).ok()?;
    let value = document.view().pointer(pointer)?;
    match value.kind() {
        Kind::String => Some(value.as_str()?.into_owned()).filter(|text| !text.is_empty()),
        Kind::Number | Kind::Bool => Some(value.text().to_owned()),
        Kind::Object | Kind::Array | Kind::Null => None,
    }
}

/// Writes the members of an object. Names are ours and need no escape.
struct Members {
    text: String,
    /// Of objects that are being written.
    depth: usize,
    /// Name and begin of each member of the top.
    top: Vec<(&'static str, usize)>,
    aside: Vec<Range<usize>>,
}

impl Members {
    fn new(capacity: usize) -> Members {
        let mut text = String::with_capacity(capacity);
        text.push('{');
        Members { text, depth: 0, top: Vec::with_capacity(20), aside: Vec::with_capacity(4) }
    }

    fn name(&mut self, name: &'static str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        if self.depth == 0 {
            self.top.push((name, self.text.len()));
        }
    }

    /// JSON text that is known to be well-formed.
    fn raw(&mut self, name: &'static str, json: &str) {
        self.name(name);
        self.text.push_str(json);
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{number}");
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' || byte == b' ');
        if plain {
            self.text.push('"');
            self.text.push_str(text);
            self.text.push('"');
        } else {
            let _ = write!(self.text, "{}", json!(text));
        }
    }

    fn optional(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn value(&mut self, name: &'static str, value: &impl serde::Serialize) {
        self.name(name);
        match serde_json::to_string(value) {
            Ok(json) => self.text.push_str(&json),
            // Words of ours always write; a null would only tighten.
            Err(_) => self.text.push_str("null"),
        }
    }

    /// A value as the call spells it: JSON where it is JSON, else a string.
    fn spelled(&mut self, name: &'static str, spelling: &str) {
        match JsonText::parse(spelling, Rules::CLIENT) {
            Ok(json) => self.raw(name, json.as_str()),
            Err(_) => self.text(name, spelling),
        }
    }

    fn nested(&mut self, name: &'static str, write: impl FnOnce(&mut Members)) {
        self.name(name);
        self.text.push('{');
        self.depth += 1;
        write(self);
        self.depth -= 1;
        self.text.push('}');
    }

    /// What differs from one call to the next that is decided alike.
    fn aside(&mut self, write: impl FnOnce(&mut Members)) {
        let begin = self.text.len();
        write(self);
        self.aside.push(begin..self.text.len());
    }

    fn finish(mut self, repeats: bool) -> Text {
        // A member ends where the next one's comma and name begin.
        let begins = self.top.iter().skip(1).map(|(name, begin)| begin - name.len() - ",\"\":".len());
        let ends = begins.chain([self.text.len()]);
        let members = self.top.iter().zip(ends).map(|((name, begin), end)| (*name, *begin..end)).collect();
        self.text.push('}');
        Text { text: self.text, members, aside: repeats.then_some(self.aside) }
    }
}
