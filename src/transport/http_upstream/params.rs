//! `Mcp-Param-*`: arguments that a server wants repeated as header fields, as its tool definitions say (`x-mcp-header`).
//!
//! Invariant: a field says what the judged call says, and nothing is learned from a client.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use http::HeaderName;
use memchr::memmem;
use tracing::warn;

use crate::json::{Json, Kind};
use crate::mcp::headers;
use crate::mcp::message::Message;
use crate::transport::lock;

const ANNOTATION: &str = "x-mcp-header";
const PREFIX: &str = "mcp-param-";
/// Tools with annotations that are remembered.
const MOST_TOOLS: usize = 4096;
/// Annotations of one tool.
const MOST_PARAMS: usize = 32;
/// How deep in the arguments an annotated one may be.
const DEEPEST: usize = 16;
/// Longest name of a field, and of a step on the way to an argument.
const LONGEST_NAME: usize = 128;

/// What one server's tool definitions ask for. All links to the server share it: a request of the stateless era has a
/// link of its own and would know nothing.
#[derive(Debug, Default)]
pub(super) struct Params(Mutex<HashMap<String, Arc<[Param]>>>);

/// One argument that becomes a field.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Param {
    path: Vec<String>,
    field: HeaderName,
}

/// Why a tool's annotations are not used.
type Unusable = &'static str;

impl Params {
    /// Remembers what the tools of a `tools/list` answer ask for now.
    pub(super) fn learn(&self, answer: &Message) {
        let text = answer.text().as_str().as_bytes();
        if memmem::find(text, ANNOTATION.as_bytes()).is_none() && lock(&self.0).is_empty() {
            return;
        }
        let Some(tools) = answer.result().and_then(|result| result.get("tools")) else { return };
        for tool in tools.items() {
            let Some(name) = tool.get("name").and_then(Json::as_str) else { continue };
            let found = tool.get("inputSchema").map_or(Ok(Vec::new()), annotations);
            let params = found.unwrap_or_else(|reason| {
                let tool: String = name.chars().take(LONGEST_NAME).flat_map(char::escape_debug).collect();
                warn!(tool, reason, "a tool's x-mcp-header annotations cannot be used; its calls carry no Mcp-Param");
                Vec::new()
            });
            let mut known = lock(&self.0);
            if params.is_empty() {
                known.remove(name.as_ref());
            } else if known.len() < MOST_TOOLS || known.contains_key(name.as_ref()) {
                known.insert(name.into_owned(), params.into());
            }
        }
    }

    /// The fields of a call, with their values as a field can carry them.
    pub(super) fn of_call(&self, call: &Message) -> Vec<(HeaderName, String)> {
        let params = {
            let known = lock(&self.0);
            if known.is_empty() || call.method() != Some(headers::TOOLS_CALL) {
                return Vec::new();
            }
            let name = headers::name(call);
            let Some(params) = name.and_then(|name| known.get(name.as_ref()).cloned()) else { return Vec::new() };
            params
        };
        let Some(arguments) = call.params().and_then(|params| params.get("arguments")) else { return Vec::new() };
        params.iter().filter_map(|param| Some((param.field.clone(), param.value(arguments)?))).collect()
    }
}

impl Param {
    /// Nothing where the argument is absent, null, or no single value.
    fn value(&self, arguments: Json<'_>) -> Option<String> {
        let value = self.path.iter().try_fold(arguments, |value, step| value.get(step))?;
        match value.kind() {
            Kind::String => value.as_str().map(|text| headers::encode(&text).into_owned()),
            Kind::Number => Some(value.as_i64().map_or_else(|| value.text().to_owned(), |number| number.to_string())),
            Kind::Bool => Some(value.text().to_owned()),
            Kind::Null | Kind::Object | Kind::Array => None,
        }
    }
}

/// The annotations of a schema. Only those count that a chain of `properties` leads to.
fn annotations(schema: Json<'_>) -> Result<Vec<Param>, Unusable> {
    let mut found = Vec::new();
    if schema.text().contains(ANNOTATION) {
        walk(schema, &mut Vec::new(), &mut found)?;
    }
    let different: HashSet<&HeaderName> = found.iter().map(|param| &param.field).collect();
    if different.len() < found.len() { Err("two arguments for one field") } else { Ok(found) }
}

fn walk(schema: Json<'_>, path: &mut Vec<String>, found: &mut Vec<Param>) -> Result<(), Unusable> {
    let Some(properties) = schema.get("properties") else { return Ok(()) };
    for (name, property) in properties.members() {
        if !property.text().contains(ANNOTATION) {
            continue;
        }
        let name = name.as_str().unwrap_or_default().into_owned();
        if path.len() == DEEPEST || name.len() > LONGEST_NAME {
            return Err("too deep, or under a name that is too long");
        }
        path.push(name);
        if let Some(annotation) = property.get(ANNOTATION) {
            let field = annotation.as_str().filter(|field| !field.is_empty() && field.len() <= LONGEST_NAME);
            let field = field.and_then(|field| HeaderName::from_bytes(format!("{PREFIX}{field}").as_bytes()).ok());
            let Some(field) = field else { return Err("not the name of a header field") };
            if found.len() == MOST_PARAMS {
                return Err("too many");
            }
            found.push(Param { path: path.clone(), field });
        }
        walk(property, path, found)?;
        path.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tools: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#);
        Message::from_upstream(text).unwrap()
    }

    fn tool(name: &str, properties: &str) -> String {
        format!(r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{{properties}}}}}}}"#)
    }

    fn fields(params: &Params, arguments: &str) -> Vec<String> {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
        );
        let fields = params.of_call(&Message::from_client(text).unwrap());
        fields.into_iter().map(|(field, value)| format!("{field}: {value}")).collect()
    }

    #[test]
    fn annotated_arguments_become_fields() {
        let params = Params::default();
        assert!(fields(&params, r#"{"region":"eu"}"#).is_empty());
        let nested = r#""where":{"type":"object","properties":{"zone":{"type":"integer","x-mcp-header":"Zone"}}}"#;
        let flat = r#""region":{"type":"string","x-mcp-header":"Region"},"dry":{"type":"boolean","x-mcp-header":"Dry"},"q":{"type":"string"}"#;
        params.learn(&list(&tool("t", &format!("{flat},{nested}"))));
        let all = fields(&params, r#"{"q":"x","region":"us-west1","dry":false,"where":{"zone":42}}"#);
        assert_eq!(all, ["mcp-param-region: us-west1", "mcp-param-dry: false", "mcp-param-zone: 42"]);
        assert_eq!(fields(&params, r#"{"region":null,"where":[],"dry":{"a":1}}"#), Vec::<String>::new());
        let odd = fields(&params, r#"{"region":"a\r\nHost: x","where":{"zone":1e2}}"#);
        assert_eq!(odd, ["mcp-param-region: =?base64?YQ0KSG9zdDogeA==?=", "mcp-param-zone: 1e2"]);
        // The next list says otherwise.
        params.learn(&list(&tool("t", r#""region":{"type":"string"}"#)));
        assert!(fields(&params, r#"{"region":"eu"}"#).is_empty());
    }

    #[test]
    fn annotations_that_cannot_be_used_are_not() {
        let region = r#""region":{"x-mcp-header":"Region"}"#;
        for bad in [
            r#""b":{"x-mcp-header":"REGION"}"#,
            r#""b":{"x-mcp-header":""}"#,
            r#""b":{"x-mcp-header":"a b"}"#,
            r#""b":{"x-mcp-header":"a\r\nHost"}"#,
            r#""b":{"x-mcp-header":1}"#,
        ] {
            let params = Params::default();
            params.learn(&list(&tool("t", region)));
            assert_eq!(fields(&params, r#"{"region":"eu"}"#).len(), 1);
            params.learn(&list(&tool("t", &format!("{region},{bad}"))));
            assert!(fields(&params, r#"{"region":"eu","b":"x"}"#).is_empty(), "{bad}");
        }
        // What no chain of properties leads to is not an annotation.
        let params = Params::default();
        params.learn(&list(&tool("t", r#""a":{"type":"array","items":{"x-mcp-header":"Item"}}"#)));
        assert!(fields(&params, r#"{"a":["x"]}"#).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let params = Params::default();
        let region = r#""region":{"x-mcp-header":"Region"}"#;
        let many: Vec<String> = (0..MOST_TOOLS + 10).map(|n| tool(&format!("t{n}"), region)).collect();
        params.learn(&list(&many.join(",")));
        assert_eq!(lock(&params.0).len(), MOST_TOOLS);
        let wide = |count: usize| {
            let all: Vec<String> = (0..count).map(|n| format!(r#""p{n}":{{"x-mcp-header":"P{n}"}}"#)).collect();
            annotations(list(&tool("t", &all.join(","))).result().unwrap().pointer("/tools/0/inputSchema").unwrap())
                .map(|found| found.len())
        };
        assert_eq!((wide(MOST_PARAMS), wide(MOST_PARAMS + 1)), (Ok(MOST_PARAMS), Err("too many")));
        let deep = |depth: usize| {
            let schema = (0..depth)
                .fold(r#"{"x-mcp-header":"A"}"#.to_owned(), |inner, _| format!(r#"{{"properties":{{"a":{inner}}}}}"#));
            let text = crate::json::JsonText::parse(schema, crate::json::Rules::UPSTREAM).unwrap();
            annotations(text.view()).map(|found| found.len())
        };
        assert_eq!(deep(DEEPEST), Ok(1));
        assert!(deep(DEEPEST + 1).is_err());
    }
}
