//! The JSON-RPC envelope: a text becomes a [`Message`] or is [`Malformed`], and nothing in between.
//!
//! Invariant: an accepted client message has exactly the members of one message kind, each once, and its `method` is
//! the only thing that says what it is.

use std::fmt;
use std::ops::Range;

use crate::call::ToolCall;
use crate::json::{Fault, Json, JsonText, Kind, Rules};

/// The id of a request. Numbers are integers; strings compare by their decoded characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    Number(i64),
    String(String),
}

impl Id {
    /// The id that a value is.
    pub fn of(view: Json<'_>) -> Option<Id> {
        Id::read(view)
    }

    fn read(view: Json<'_>) -> Option<Id> {
        match view.kind() {
            Kind::String => Some(Id::String(view.as_str()?.into_owned())),
            Kind::Number => view.as_i64().map(Id::Number),
            Kind::Object | Kind::Array | Kind::Bool | Kind::Null => None,
        }
    }

    /// As upstreams may spell it: some write `1` as `1.0`.
    fn read_loosely(view: Json<'_>) -> Option<Id> {
        Id::read(view).or_else(|| view.text().strip_suffix(".0").and_then(|whole| whole.parse().ok()).map(Id::Number))
    }

    /// The id as JSON.
    pub fn to_json(&self) -> String {
        match self {
            Id::Number(number) => number.to_string(),
            Id::String(text) => serde_json::Value::String(text.clone()).to_string(),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

/// Revisions with a session, or those whose requests stand alone: they have different methods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Era {
    /// Up to 2025-11-25.
    Legacy,
    /// From 2026-07-28 on.
    Modern,
}

/// What a message is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    Request {
        id: Id,
        method: String,
    },
    Notification {
        method: String,
    },
    /// `id` is absent only in an upstream's error about a message that it could not read.
    Response {
        id: Option<Id>,
        is_error: bool,
    },
}

/// One JSON-RPC message in the only form in which it may travel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    text: JsonText,
    shape: Shape,
    parts: Parts,
    /// The revision that `_meta` names, read once.
    revision: Option<String>,
}

/// Where the parts of a message stand in its text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Parts {
    params: Option<Range<usize>>,
    result: Option<Range<usize>>,
}

impl Parts {
    fn of(text: &JsonText, params: Option<Json<'_>>, result: Option<Json<'_>>) -> Parts {
        let place = |part: Option<Json<'_>>| part.and_then(|part| text.place(part));
        Parts { params: place(params), result: place(result) }
    }

    fn in_text(text: &JsonText) -> Parts {
        Parts::of(text, text.view().get("params"), text.view().get("result"))
    }
}

/// Why a text is not a message that is accepted, with the JSON-RPC error it is answered by.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    pub code: i64,
    pub reason: String,
    /// The id to answer, where the text is a request whose id can be trusted.
    pub id: Option<Id>,
    /// False where the text has no one to answer: a notification or a response.
    pub answer: bool,
    /// What a program can read of it, where the protocol wants that.
    pub data: Option<Box<serde_json::Value>>,
}

pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const HEADER_MISMATCH: i64 = -32020;

impl Malformed {
    pub fn new(code: i64, reason: impl Into<String>) -> Malformed {
        Malformed { code, reason: reason.into(), id: None, answer: true, data: None }
    }

    pub fn of(self, id: &Id) -> Malformed {
        Malformed { id: Some(id.clone()), ..self }
    }

    pub fn with(self, data: serde_json::Value) -> Malformed {
        Malformed { data: Some(Box::new(data)), ..self }
    }

    /// With the id of the request that it is about, where the message is one.
    pub fn about(self, message: &Message) -> Malformed {
        match message.shape() {
            Shape::Request { id, .. } => self.of(id),
            Shape::Notification { .. } | Shape::Response { .. } => self,
        }
    }

    pub fn unanswered(self) -> Malformed {
        Malformed { answer: false, ..self }
    }
}

impl Message {
    /// Reads what a client sent: unknown members, batches and every ambiguity are refused.
    ///
    /// # Errors
    /// [`Malformed`] with -32700 (not strict JSON) or -32600 (not one message; also duplicate keys).
    pub fn from_client(bytes: impl Into<Vec<u8>>) -> Result<Message, Malformed> {
        Message::read(client_text(bytes)?, true)
    }

    /// Reads one item of an array that a client sent.
    pub(super) fn from_item(item: Json<'_>) -> Result<Message, Malformed> {
        Message::read(JsonText::owned(item), true)
    }

    /// Reads one member of an array that an upstream sent.
    pub(super) fn from_member(member: Json<'_>) -> Result<Message, Malformed> {
        Message::read(JsonText::owned(member), false)
    }

    /// Reads what an upstream sent. Members that are not known are kept: they are the client's business.
    ///
    /// # Errors
    /// [`Malformed`]; nothing is answered to an upstream.
    pub fn from_upstream(bytes: impl Into<Vec<u8>>) -> Result<Message, Malformed> {
        let text =
            JsonText::parse(bytes, Rules::UPSTREAM).map_err(|error| Malformed::new(PARSE_ERROR, error.to_string()))?;
        Message::read(text, false)
    }

    /// The request or the answer that a decided call is.
    pub fn of_call(call: &ToolCall) -> Option<Message> {
        let text = call.message().clone();
        let id = Id::read(text.view().get("id")?)?;
        let revision = revision(call.meta());
        let shape = match call.method().is_answer() {
            true => Shape::Response { id: Some(id), is_error: text.view().get("error").is_some() },
            false => Shape::Request { id, method: call.method().as_str().to_owned() },
        };
        let parts = Parts::in_text(&text);
        Some(Message { text, shape, parts, revision })
    }

    /// A message of ours.
    pub fn ours(text: JsonText) -> Option<Message> {
        Message::read(text, false).ok()
    }

    /// The same message, of the same shape, with its text cleaned or filtered.
    pub fn with_text(self, text: JsonText) -> Message {
        let parts = Parts::in_text(&text);
        Message { text, parts, ..self }
    }

    fn read(text: JsonText, strict: bool) -> Result<Message, Malformed> {
        let invalid = |reason: &str| Malformed::new(INVALID_REQUEST, format!("refused by countersign: {reason}"));
        let view = text.view();
        if view.kind() == Kind::Array {
            return Err(invalid("batches are not accepted; send one message at a time"));
        }
        if view.kind() != Kind::Object {
            return Err(invalid("a message is a JSON object"));
        }
        let (mut version, mut id, mut method, mut params, mut result, mut error) = (None, None, None, None, None, None);
        for (key, value) in view.members() {
            match key.as_str().unwrap_or_default().as_ref() {
                "jsonrpc" => version = Some(value),
                "id" => id = Some(value),
                "method" => method = Some(value),
                "params" => params = Some(value),
                "result" => result = Some(value),
                "error" => error = Some(value),
                _ if strict => return Err(invalid("an unknown member beside jsonrpc, id, method and params")),
                _ => {}
            }
        }
        let read_id = if strict { Id::read } else { Id::read_loosely };
        let known = id.and_then(read_id);
        // An id is echoed in an error only where the text is a request and nothing else.
        let named = |malformed: Malformed| match (&known, method) {
            (Some(id), Some(_)) => malformed.of(id),
            (None, Some(_)) if id.is_none() => malformed.unanswered(),
            (_, None) => malformed.unanswered(),
            _ => malformed,
        };
        if version.and_then(Json::as_str).is_none_or(|version| version != "2.0") {
            return Err(named(invalid("jsonrpc must be \"2.0\"")));
        }
        let shape = match (method, result, error) {
            (Some(method), None, None) => {
                let Some(method) = method.as_str() else { return Err(named(invalid("method must be a string"))) };
                let method = method.into_owned();
                if params.is_some_and(|params| params.kind() != Kind::Object) {
                    let reason = "refused by countersign: params must be an object";
                    return Err(named(Malformed::new(INVALID_PARAMS, reason)));
                }
                match (id, known) {
                    (None, _) => Shape::Notification { method },
                    (Some(_), Some(id)) => Shape::Request { id, method },
                    (Some(_), None) => return Err(invalid("id must be a string or a 64-bit integer")),
                }
            }
            (None, Some(_), None) | (None, None, Some(_)) => {
                let is_error = error.is_some();
                if strict && params.is_some() {
                    return Err(invalid("a response has no params").unanswered());
                }
                match known {
                    Some(id) => Shape::Response { id: Some(id), is_error },
                    None if is_error && !strict && id.is_none_or(|id| id.kind() == Kind::Null) => {
                        Shape::Response { id: None, is_error }
                    }
                    None => return Err(invalid("a response needs the id of its request").unanswered()),
                }
            }
            _ => return Err(named(invalid("a message has either method, or result, or error"))),
        };
        let revision = revision(params.and_then(|params| params.get("_meta")));
        let parts = Parts::of(&text, params, result);
        Ok(Message { text, shape, parts, revision })
    }

    pub fn text(&self) -> &JsonText {
        &self.text
    }

    pub fn into_text(self) -> JsonText {
        self.text
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The id of a request or of a response.
    pub fn id(&self) -> Option<&Id> {
        match &self.shape {
            Shape::Request { id, .. } => Some(id),
            Shape::Response { id, .. } => id.as_ref(),
            Shape::Notification { .. } => None,
        }
    }

    /// The method of a request or a notification.
    pub fn method(&self) -> Option<&str> {
        match &self.shape {
            Shape::Request { method, .. } | Shape::Notification { method } => Some(method),
            Shape::Response { .. } => None,
        }
    }

    pub fn params(&self) -> Option<Json<'_>> {
        debug_assert_eq!(self.parts, Parts::in_text(&self.text));
        self.text.at(self.parts.params.clone()?)
    }

    pub fn result(&self) -> Option<Json<'_>> {
        debug_assert_eq!(self.parts, Parts::in_text(&self.text));
        self.text.at(self.parts.result.clone()?)
    }

    /// The revision that a modern request names in `_meta`; absent in legacy messages.
    pub fn modern_version(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// True for a message of the stateless era: it says so in `_meta`, or asks `server/discover`.
    pub fn is_modern(&self) -> bool {
        self.era() == Era::Modern
    }

    /// The era of a request, by its own word.
    pub fn era(&self) -> Era {
        let modern = self.revision.is_some() || self.method() == Some("server/discover");
        if modern { Era::Modern } else { Era::Legacy }
    }
}

/// What a client sent, as strict JSON.
pub(super) fn client_text(bytes: impl Into<Vec<u8>>) -> Result<JsonText, Malformed> {
    JsonText::parse(bytes, Rules::CLIENT).map_err(|error| {
        let code = if error.fault.is_ambiguity() { INVALID_REQUEST } else { PARSE_ERROR };
        let hint = match error.fault {
            Fault::DuplicateKey | Fault::CaseCollision => "; send each key once",
            Fault::InexactNumber => "; send the value as a string or within 64 bits",
            _ => "",
        };
        Malformed::new(code, format!("refused by countersign: {error}{hint}"))
    })
}

fn revision(meta: Option<Json<'_>>) -> Option<String> {
    Some(meta?.get("io.modelcontextprotocol/protocolVersion")?.as_str()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Malformed {
        Message::from_client(text).unwrap_err()
    }

    #[test]
    fn the_three_shapes_are_told_apart() {
        let request = Message::from_client(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#).unwrap();
        assert_eq!(request.shape(), &Shape::Request { id: Id::String("a".into()), method: "ping".into() });
        let notification = Message::from_client(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).unwrap();
        assert_eq!(notification.shape(), &Shape::Notification { method: "notifications/x".into() });
        let response = Message::from_client(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#).unwrap();
        assert_eq!(response.shape(), &Shape::Response { id: Some(Id::Number(3)), is_error: false });
    }

    #[test]
    fn odd_envelopes_are_refused_with_the_right_code() {
        assert_eq!(refused(r#"{"id":1,"method":"x"}"#).code, INVALID_REQUEST);
        assert_eq!(refused(r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#).code, INVALID_REQUEST);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#).code, INVALID_REQUEST);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#).code, INVALID_REQUEST);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#).code, INVALID_PARAMS);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#).code, INVALID_REQUEST);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"method":"x","y":1}"#).code, INVALID_REQUEST);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#).code, INVALID_REQUEST);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"method":"x","Method":"y"}"#).code, INVALID_REQUEST);
        assert_eq!(refused("[]").code, INVALID_REQUEST);
        assert_eq!(refused("{").code, PARSE_ERROR);
    }

    #[test]
    fn an_error_names_the_id_only_of_a_request() {
        assert_eq!(refused(r#"{"jsonrpc":"1.0","id":7,"method":"x"}"#).id, Some(Id::Number(7)));
        let notification = refused(r#"{"jsonrpc":"1.0","method":"x"}"#);
        assert!(notification.id.is_none() && !notification.answer);
        assert!(refused(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#).answer);
    }

    #[test]
    fn upstream_ids_may_be_spelled_otherwise() {
        let answer = Message::from_upstream(r#"{"jsonrpc":"2.0","id":1.0,"result":{},"extra":1}"#).unwrap();
        assert_eq!(answer.id(), Some(&Id::Number(1)));
        assert!(answer.text().as_str().contains("extra"));
        let nameless =
            Message::from_upstream(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#).unwrap();
        assert_eq!(nameless.shape(), &Shape::Response { id: None, is_error: true });
    }
}
