//! The method table: what happens to each method of each kind of message. There is no wildcard row: what is not
//! listed is refused.

use crate::call::{CallId, Decided, ToolCall};
use crate::json::{Json, JsonText, Kind};

use super::message::{INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Malformed, Message, Shape};

/// What the table says about a client's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row {
    /// Cannot change upstream state and carries nothing out but what the protocol needs: passed on.
    Pass,
    /// Needs a decision.
    Decide(Decided),
}

/// A client's request by method. `None` is unknown: refused.
pub fn request(method: &str) -> Option<Row> {
    Some(match method {
        "initialize" | "server/discover" | "ping" => Row::Pass,
        "tools/list" | "resources/list" | "resources/templates/list" | "prompts/list" => Row::Pass,
        "logging/setLevel" | "resources/unsubscribe" => Row::Pass,
        "tools/call" => Row::Decide(Decided::ToolsCall),
        "resources/read" => Row::Decide(Decided::ResourcesRead),
        "resources/subscribe" => Row::Decide(Decided::ResourcesSubscribe),
        "prompts/get" => Row::Decide(Decided::PromptsGet),
        "completion/complete" => Row::Decide(Decided::Complete),
        _ => return None,
    })
}

/// What the table says about a client's notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    Pass,
    /// Passed on only where it names a request that is really with the upstream.
    Cancel,
    /// Not passed on, not an error: the upstream has not asked for it.
    Drop,
}

/// A client's notification by method. Unknown ones are dropped.
pub fn notification(method: &str) -> Notice {
    match method {
        "notifications/initialized" => Notice::Pass,
        "notifications/cancelled" => Notice::Cancel,
        "notifications/progress" => Notice::Pass,
        _ => Notice::Drop,
    }
}

/// What an upstream may ask a legacy client, and the client capability without which it may not.
pub fn upstream_request(method: &str) -> Option<Option<&'static str>> {
    Some(match method {
        "ping" => None,
        "roots/list" => Some("roots"),
        "sampling/createMessage" => Some("sampling"),
        "elicitation/create" => Some("elicitation"),
        _ => return None,
    })
}

/// A client message, sorted by what may happen to it.
#[derive(Debug)]
pub enum Sorted {
    /// To the gate.
    Decide(Box<ToolCall>),
    /// To the upstream as it is.
    Pass(Passage),
    /// The client takes a request back.
    Cancel {
        request: super::message::Id,
        passage: Passage,
    },
    /// To nobody.
    Drop {
        method: String,
    },
    /// The client answers a request of the upstream: passed on only where that request is open in this session.
    Answer {
        request: super::message::Id,
        passage: Passage,
    },
    Refuse(Malformed),
}

/// A message that the table lets through without a decision. Only [`sort`] makes one.
#[derive(Debug)]
pub struct Passage(Message);

impl Passage {
    pub fn message(&self) -> &Message {
        &self.0
    }

    pub fn into_message(self) -> Message {
        self.0
    }
}

/// Sorts a client's message by the table.
pub fn sort(message: Message) -> Sorted {
    match message.shape().clone() {
        Shape::Request { id, method } => match request(&method) {
            Some(Row::Pass) => Sorted::Pass(Passage(message)),
            Some(Row::Decide(decided)) => match tool_call(decided, &message) {
                Ok(call) => Sorted::Decide(Box::new(call)),
                Err(malformed) => Sorted::Refuse(malformed.of(&id)),
            },
            None => {
                let reason = format!("refused by countersign: unknown method {}", clip(&method));
                Sorted::Refuse(Malformed::new(METHOD_NOT_FOUND, reason).of(&id))
            }
        },
        Shape::Notification { method } => match notification(&method) {
            Notice::Pass => Sorted::Pass(Passage(message)),
            Notice::Drop if request(&method).is_some() => {
                let reason = format!("refused by countersign: {method} without an id");
                Sorted::Refuse(Malformed::new(INVALID_REQUEST, reason).unanswered())
            }
            Notice::Drop => Sorted::Drop { method: clip(&method) },
            Notice::Cancel => match cancelled(&message) {
                Some(request) => Sorted::Cancel { request, passage: Passage(message) },
                None => Sorted::Drop { method },
            },
        },
        Shape::Response { id: Some(request), .. } => Sorted::Answer { request, passage: Passage(message) },
        Shape::Response { id: None, .. } => Sorted::Refuse(
            Malformed::new(INVALID_REQUEST, "refused by countersign: a response without an id").unanswered(),
        ),
    }
}

/// The request that a `notifications/cancelled` names.
pub fn cancelled(message: &Message) -> Option<super::message::Id> {
    let request = message.params()?.get("requestId")?;
    match request.kind() {
        Kind::String => Some(super::message::Id::String(request.as_str()?.into_owned())),
        Kind::Number => request.as_i64().map(super::message::Id::Number),
        Kind::Object | Kind::Array | Kind::Bool | Kind::Null => None,
    }
}

/// Names that every reader of ours and of theirs takes the same way.
fn is_plain_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn tool_call(method: Decided, message: &Message) -> Result<ToolCall, Malformed> {
    let invalid = |reason: &str| Malformed::new(INVALID_PARAMS, format!("refused by countersign: {reason}"));
    let params = message.params().ok_or_else(|| invalid("params are missing"))?;
    if params.get("_meta").is_some_and(|meta| meta.kind() != Kind::Object) {
        return Err(invalid("_meta must be an object"));
    }
    let text = |name: &str| params.get(name).and_then(Json::as_str).map(std::borrow::Cow::into_owned);
    let decisive = JsonText::without(params, &["_meta"]);
    let (tool, arguments) = match method {
        Decided::ToolsCall => {
            let name = text("name").ok_or_else(|| invalid("the tool's name must be a string"))?;
            if !is_plain_name(&name) {
                return Err(invalid("a tool's name is 1 to 128 of A-Z a-z 0-9 _ . -"));
            }
            let arguments = match params.get("arguments") {
                None => JsonText::empty_object(),
                Some(arguments) if arguments.kind() == Kind::Object => JsonText::owned(arguments),
                Some(_) => return Err(invalid("arguments must be an object")),
            };
            (name, arguments)
        }
        Decided::ResourcesRead | Decided::ResourcesSubscribe => {
            (text("uri").ok_or_else(|| invalid("uri must be a string"))?, decisive.clone())
        }
        Decided::PromptsGet => {
            (text("name").ok_or_else(|| invalid("the prompt's name must be a string"))?, decisive.clone())
        }
        Decided::Complete => {
            let reference = params.get("ref").ok_or_else(|| invalid("ref is missing"))?;
            let named = reference.get("uri").or_else(|| reference.get("name")).and_then(Json::as_str);
            (named.ok_or_else(|| invalid("ref must have a uri or a name"))?.into_owned(), decisive.clone())
        }
    };
    let id = CallId::random()
        .map_err(|_| Malformed::new(INVALID_REQUEST, "refused by countersign: no randomness for an id"))?;
    Ok(ToolCall::new(id, method, tool, arguments, decisive, message.text().clone()))
}

/// A name from outside, short enough for an error and a log line.
fn clip(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(text: &str) -> Sorted {
        sort(Message::from_client(text).unwrap())
    }

    fn refusal(text: &str) -> Malformed {
        match sorted(text) {
            Sorted::Refuse(malformed) => malformed,
            other => panic!("{text} was not refused: {other:?}"),
        }
    }

    #[test]
    fn a_tools_call_is_decided_and_keeps_its_bytes() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund","arguments":{"b":1.0,"a":2},"_meta":{"progressToken":1},"task":{"ttl":5}}}"#;
        let Sorted::Decide(call) = sorted(text) else { panic!("not decided") };
        assert_eq!(call.tool(), "refund");
        assert_eq!(call.arguments().as_str(), r#"{"b":1.0,"a":2}"#);
        assert_eq!(call.params().as_str(), r#"{"name":"refund","arguments":{"b":1.0,"a":2},"task":{"ttl":5}}"#);
        assert_eq!(call.message().as_str(), text);
        assert_eq!(call.meta().unwrap().text(), r#"{"progressToken":1}"#);
    }

    #[test]
    fn arguments_may_be_absent_but_not_of_another_kind() {
        let Sorted::Decide(call) = sorted(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#)
        else {
            panic!("not decided")
        };
        assert_eq!(call.arguments().as_str(), "{}");
        for params in [
            r#"{"name":"x","arguments":[1]}"#,
            r#"{"name":"x","arguments":null}"#,
            r#"{"arguments":{}}"#,
            r#"{"name":1}"#,
            r#"{"name":"a b"}"#,
            r#"{"name":"x","_meta":1}"#,
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            assert_eq!(refusal(&text).code, INVALID_PARAMS, "{params}");
        }
    }

    #[test]
    fn a_method_that_is_not_in_the_table_is_refused() {
        for method in ["tools/invoke", "Tools/Call", "tools/call ", "x-admin/tools/call", "tasks/update", ""] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
            assert_eq!(refusal(&text).code, METHOD_NOT_FOUND, "{method}");
        }
    }

    #[test]
    fn a_call_without_an_id_is_refused_and_not_answered() {
        let malformed = refusal(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#);
        assert!(!malformed.answer);
    }

    #[test]
    fn unknown_notifications_go_nowhere() {
        assert!(matches!(sorted(r#"{"jsonrpc":"2.0","method":"notifications/tools/call"}"#), Sorted::Drop { .. }));
        assert!(matches!(sorted(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Sorted::Pass(_)));
    }
}
