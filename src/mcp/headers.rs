//! The header fields of HTTP that repeat parts of a message, and the revisions that ask for them.
//!
//! A field is never a source: it is compared with the message, or made from it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::message::{HEADER_MISMATCH, Malformed, Message};
use crate::json::{Json, Kind};

/// The methods that a transport has to know: they begin a session, say its era, or have their place in it.
pub const DISCOVER: &str = "server/discover";
pub const INITIALIZE: &str = "initialize";
pub const TOOLS_CALL: &str = "tools/call";
pub const INITIALIZED: &str = "notifications/initialized";
pub const PROGRESS: &str = "notifications/progress";
pub const CANCELLED: &str = "notifications/cancelled";
pub const LOG_MESSAGE: &str = "notifications/message";
pub const TOOLS_LIST: &str = "tools/list";
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

/// An argument that a field `Mcp-Param-…` repeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// The name of the field without `Mcp-Param-`, as the tool's schema spells it.
    pub field: String,
    /// Where the value stands in the arguments (RFC 6901).
    pub pointer: String,
}

/// How deep in a schema annotations are looked for, and how many a tool may have.
const MAX_PARAM_DEPTH: usize = 8;
const MAX_PARAMS: usize = 64;

/// What the names of the fields that repeat arguments begin with.
pub const PARAM: &str = "mcp-param-";

impl Param {
    /// Checks what the field says against the arguments of the call.
    ///
    /// # Errors
    /// [`HEADER_MISMATCH`], with the request's id.
    pub fn agrees(&self, call: &Message, field: Option<&str>) -> Result<(), Malformed> {
        let wrong = |what: &str| {
            let reason = format!("refused by countersign: the header Mcp-Param-{} {what}", self.field);
            let malformed = Malformed::new(HEADER_MISMATCH, reason);
            match call.id() {
                Some(id) => malformed.of(id),
                None => malformed,
            }
        };
        let value = call.params().and_then(|params| params.get("arguments")?.pointer(&self.pointer));
        let value = value.filter(|value| matches!(value.kind(), Kind::String | Kind::Number | Kind::Bool));
        let (value, field) = match (value, field) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(wrong("repeats an argument that the body does not have")),
            (Some(_), None) => return Err(wrong("is missing")),
            (Some(value), Some(field)) => (value, field),
        };
        let Some(field) = decode(field) else { return Err(wrong("is not valid base64")) };
        let same = match value.as_str() {
            Some(text) => text == field,
            None => value.text() == field || value.as_i64().is_some_and(|number| field.parse() == Ok(number)),
        };
        if same { Ok(()) } else { Err(wrong("does not say what the argument says")) }
    }
}

/// The arguments of a tool that fields repeat: properties of its input schema with `x-mcp-header`. An annotation that
/// no field could be named by is left out.
pub fn params(definition: Json<'_>) -> Vec<Param> {
    let mut found = Vec::new();
    if let Some(schema) = definition.get("inputSchema") {
        annotated(schema, "", MAX_PARAM_DEPTH, &mut found);
    }
    found
}

fn annotated(schema: Json<'_>, at: &str, depth: usize, found: &mut Vec<Param>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let Some(properties) = schema.get("properties") else { return };
    for (name, property) in properties.members() {
        let Some(name) = name.as_str() else { continue };
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        let field = property.get("x-mcp-header").and_then(Json::as_str).filter(|field| is_token(field));
        if let (Some(field), true) = (field, found.len() < MAX_PARAMS) {
            found.push(Param { field: field.into_owned(), pointer: pointer.clone() });
        }
        annotated(property, &pointer, depth, found);
    }
}

/// A token of HTTP.
fn is_token(text: &str) -> bool {
    let is = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(is)
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
    let wrong = |reason: String| {
        let malformed = Malformed::new(HEADER_MISMATCH, format!("refused by countersign: {reason}"));
        match message.id() {
            Some(id) => malformed.of(id),
            None => malformed,
        }
    };
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
    fn annotated_arguments_are_found_where_they_stand() {
        let tool = Message::from_upstream(
            r#"{"jsonrpc":"2.0","id":1,"result":{"inputSchema":{"properties":{
                "region":{"type":"string","x-mcp-header":"Region"},
                "a/b":{"properties":{"~c":{"x-mcp-header":"Deep"}}},
                "odd":{"x-mcp-header":"not a token"},"none":{"x-mcp-header":7},"plain":{}}}}}"#,
        )
        .unwrap();
        let found: Vec<_> =
            params(tool.result().unwrap()).into_iter().map(|param| (param.field, param.pointer)).collect();
        assert_eq!(found, [("Region".into(), "/region".into()), ("Deep".into(), "/a~1b/~0c".into())]);
        let many: Vec<_> = (0..100).map(|n| format!(r#""p{n}":{{"x-mcp-header":"P{n}"}}"#)).collect();
        let text = format!(r#"{{"inputSchema":{{"properties":{{{}}}}}}}"#, many.join(","));
        let text = crate::json::JsonText::parse(text, crate::json::Rules::UPSTREAM).unwrap();
        assert_eq!(params(text.view()).len(), MAX_PARAMS);
    }

    #[test]
    fn a_field_repeats_its_argument_or_is_not_there() {
        let param = Param { field: "Region".into(), pointer: "/where/region".into() };
        let agrees = |arguments: &str, field: Option<&str>| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":{arguments}}}}}"#
            );
            let agrees = param.agrees(&Message::from_client(text).unwrap(), field);
            if let Err(malformed) = &agrees {
                assert!(malformed.code == HEADER_MISMATCH && malformed.id.is_some());
            }
            agrees.is_ok()
        };
        let of = |value: &str| format!(r#"{{"where":{{"region":{value}}}}}"#);
        for (value, field) in [
            ("\"eu\"", "eu"),
            ("\"\\u0065u\"", "eu"),
            ("\"é\"", "=?base64?w6k=?="),
            ("\"=?base64?x\"", "=?base64?PT9iYXNlNjQ/eA==?="),
            ("7", "7"),
            ("-1.50", "-1.50"),
            ("true", "true"),
        ] {
            assert!(agrees(&of(value), Some(field)), "{value} {field}");
            assert!(!agrees(&of(value), None), "{value}");
            assert!(!agrees(&of(value), Some("us")), "{value}");
        }
        for (value, field) in
            [("\"eu\"", "EU"), ("\"eu\"", "=?base64?!?="), ("\"7\"", "7.0"), ("7", "\"7\""), ("true", "1")]
        {
            assert!(!agrees(&of(value), Some(field)), "{value} {field}");
        }
        for arguments in [of("null"), of("{}"), of("[]"), "{}".to_owned(), r#"{"where":"x"}"#.to_owned()] {
            assert!(agrees(&arguments, None), "{arguments}");
            assert!(!agrees(&arguments, Some("")), "{arguments}");
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
