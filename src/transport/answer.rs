//! What kind of message leaves, by its first keys: cheap for a large result, because it is not read through.

use crate::json::{Json, JsonText};
use crate::mcp::message::Id;

/// A message on its way to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outgoing {
    Result,
    /// With the JSON-RPC code.
    Error(Option<i64>),
    /// A request or a notification.
    Call,
}

pub fn kind(text: &JsonText) -> Outgoing {
    let first = telling_key(text.as_str());
    let view = text.view();
    let first = match first {
        Some(key) => key,
        None => ["result", "error"].into_iter().find(|key| view.get(key).is_some()).unwrap_or("method"),
    };
    match first {
        "result" => Outgoing::Result,
        "error" => Outgoing::Error(view.pointer("/error/code").and_then(Json::as_i64)),
        _ => Outgoing::Call,
    }
}

/// The id that an answer carries.
pub fn id(text: &JsonText) -> Option<Id> {
    let id = text.view().get("id")?;
    id.as_str().map(|text| Id::String(text.into_owned())).or_else(|| id.as_i64().map(Id::Number))
}

/// The first of the three telling keys, where only plain keys with short values stand before it. The text is strict
/// and minified.
fn telling_key(text: &str) -> Option<&'static str> {
    let mut rest = text.strip_prefix("{\"")?;
    loop {
        let (key, value) = rest.split_once("\":")?;
        if let Some(key) = ["result", "error", "method"].into_iter().find(|known| *known == key) {
            return Some(key);
        }
        let after = match value.as_bytes().first()? {
            b'{' | b'[' => return None,
            b'"' => {
                let (inner, after) = value.get(1..)?.split_once('"')?;
                if inner.contains('\\') {
                    return None;
                }
                after
            }
            _ => value.get(value.find([',', '}'])?..)?,
        };
        rest = after.strip_prefix(",\"")?;
    }
}

#[cfg(test)]
mod tests {
    use crate::json::Rules;

    use super::*;

    fn of(text: &str) -> Outgoing {
        kind(&JsonText::parse(text, Rules::UPSTREAM).unwrap())
    }

    #[test]
    fn messages_are_told_apart_whatever_their_order() {
        assert_eq!(of(r#"{"jsonrpc":"2.0","id":1,"result":{"method":"x","error":1}}"#), Outgoing::Result);
        assert_eq!(of(r#"{"result":{"error":1},"id":1,"jsonrpc":"2.0"}"#), Outgoing::Result);
        assert_eq!(of(r#"{"extra":{"result":1},"id":1,"result":{},"jsonrpc":"2.0"}"#), Outgoing::Result);
        assert_eq!(of(r#"{"jsonrpc":"2.0","id":"a\":\"b","result":{}}"#), Outgoing::Result);
        assert_eq!(of(r#"{"jsonrpc":"2.0","id":"\",\"method\":\"","result":{}}"#), Outgoing::Result);
        assert_eq!(
            of(r#"{"jsonrpc":"2.0","id":1,"error":{"message":"m","code":-32601}}"#),
            Outgoing::Error(Some(-32601))
        );
        assert_eq!(of(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), Outgoing::Call);
        assert_eq!(of(r#"{"params":{"result":1},"method":"x","jsonrpc":"2.0"}"#), Outgoing::Call);
    }

    #[test]
    fn an_answer_names_its_request() {
        let text = JsonText::parse(r#"{"jsonrpc":"2.0","id":"a","result":{}}"#, Rules::UPSTREAM).unwrap();
        assert_eq!(id(&text), Some(Id::String("a".into())));
    }
}
