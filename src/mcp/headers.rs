//! The header fields of HTTP that repeat parts of a message, and the revisions that ask for them.
//!
//! A field is never a source: it is compared with the message, or made from it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::message::{HEADER_MISMATCH, Malformed, Message};
use crate::json::Json;

/// The methods that a transport has to know: they begin a session, say its era, or have their place in it.
pub const DISCOVER: &str = "server/discover";
pub const INITIALIZE: &str = "initialize";
pub const TOOLS_CALL: &str = "tools/call";
pub const INITIALIZED: &str = "notifications/initialized";
pub const PROGRESS: &str = "notifications/progress";
pub const CANCELLED: &str = "notifications/cancelled";
pub const LOG_MESSAGE: &str = "notifications/message";
/// Its answer is a stream that stays open.
pub const LISTEN: &str = "subscriptions/listen";
/// Answered when a task ends (up to 2025-11-25), however long that takes.
pub const TASKS_RESULT: &str = "tasks/result";

/// Revisions whose requests stand alone and carry these fields.
pub const MODERN: &[&str] = &["2026-07-28"];
/// Revisions with a session.
pub const LEGACY: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The one revision in which several messages may come in one array.
pub const BATCHES: &str = "2025-03-26";
/// From this revision on an event stream begins with an event that has an id and nothing else.
pub const PRIMED: &str = "2025-11-25";

/// The revision in `_meta` is not one of [`MODERN`].
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// The client lacks a capability that the request needs.
pub const MISSING_CAPABILITY: i64 = -32021;

const OPENING: &str = "=?base64?";
const CLOSING: &str = "?=";

/// The parameter that `Mcp-Name` repeats, for methods that have one.
fn named(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// What `Mcp-Name` has to say about a message, where it is needed.
pub fn name(message: &Message) -> Option<Cow<'_, str>> {
    message.params()?.get(named(message.method()?)?).and_then(Json::as_str)
}

/// A value as a field can carry it.
pub fn encode(value: &str) -> Cow<'_, str> {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && value.trim() == value && !value.is_empty();
    if plain && !value.starts_with(OPENING) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("{OPENING}{}{CLOSING}", STANDARD.encode(value)))
}

/// The value that a field carries.
pub fn decode(field: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = field.strip_prefix(OPENING).and_then(|rest| rest.strip_suffix(CLOSING)) else {
        return Some(Cow::Borrowed(field));
    };
    String::from_utf8(STANDARD.decode(inner).ok()?).ok().map(Cow::Owned)
}

/// Checks the fields of a modern message: `version` is its revision as `_meta` says it.
///
/// # Errors
/// [`HEADER_MISMATCH`], with the request's id.
pub fn agree(
    message: &Message,
    version: &str,
    protocol_version: Option<&str>,
    mcp_method: Option<&str>,
    mcp_name: Option<&str>,
) -> Result<(), Malformed> {
    let wrong =
        |reason: String| Malformed::new(HEADER_MISMATCH, format!("refused by countersign: {reason}")).about(message);
    match protocol_version {
        None => return Err(wrong("the header MCP-Protocol-Version is missing".to_owned())),
        Some(field) if field != version => {
            return Err(wrong("the header MCP-Protocol-Version does not say what _meta says".to_owned()));
        }
        Some(_) => {}
    }
    match mcp_method {
        None => return Err(wrong("the header Mcp-Method is missing".to_owned())),
        Some(field) if Some(field) != message.method() => {
            return Err(wrong("the header Mcp-Method does not name the method of the body".to_owned()));
        }
        Some(_) => {}
    }
    let Some(expected) = name(message) else {
        // Of a method that names nothing the field says nothing; of one that should it has nothing to repeat.
        return match mcp_name {
            Some(_) if message.method().and_then(named).is_some() => {
                Err(wrong("the header Mcp-Name names what the body does not".to_owned()))
            }
            _ => Ok(()),
        };
    };
    match mcp_name.map(decode) {
        None => Err(wrong("the header Mcp-Name is missing".to_owned())),
        Some(None) => Err(wrong("the header Mcp-Name is not valid base64".to_owned())),
        Some(Some(field)) if field != expected => {
            Err(wrong("the header Mcp-Name does not name what the body names".to_owned()))
        }
        Some(Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tool: &str) -> Message {
        let tool = serde_json::Value::String(tool.into());
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{tool}}}}}"#);
        Message::from_client(text).unwrap()
    }

    fn check(version: Option<&str>, method: Option<&str>, name: Option<&str>) -> bool {
        let result = agree(&call("get_balance"), "2026-07-28", version, method, name);
        if let Err(malformed) = &result {
            assert_eq!(malformed.code, HEADER_MISMATCH);
            assert!(malformed.id.is_some());
        }
        result.is_ok()
    }

    #[test]
    fn fields_have_to_say_what_the_body_says() {
        let (version, method) = (Some("2026-07-28"), Some("tools/call"));
        assert!(check(version, method, Some("get_balance")));
        assert!(check(version, method, Some("=?base64?Z2V0X2JhbGFuY2U=?=")));
        for name in [None, Some("delete_customer"), Some("Get_Balance"), Some("=?base64?!!?=")] {
            assert!(!check(version, method, name), "{name:?}");
        }
        for method in [None, Some("tools/list"), Some("Tools/Call")] {
            assert!(!check(version, method, Some("get_balance")), "{method:?}");
        }
        for version in [None, Some("2025-11-25")] {
            assert!(!check(version, method, Some("get_balance")), "{version:?}");
        }
    }

    #[test]
    fn every_value_survives_a_field() {
        for value in ["get_balance", "é", " padded ", "", "=?base64?x?=", "tab\there", "file:///a b"] {
            let field = encode(value);
            assert!(field.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{field}");
            assert_eq!(decode(&field).unwrap(), value);
        }
        assert_eq!(encode("get_balance"), "get_balance");
    }
}
