//! `Mcp-Param-*`: arguments that a server wants repeated as header fields, as its tool definitions say (`x-mcp-header`).
//!
//! Invariant: there is one rule set. What a client's field is held against, what an upstream's field is made from and
//! which tools cannot be called over HTTP all come from [`params`]. A definition is used as a whole or not at all.

use std::borrow::Cow;

use super::headers::{self, decode, encode};
use super::message::{HEADER_MISMATCH, Malformed, Message};
use crate::json::{Json, Kind};

/// What the names of the fields begin with.
pub const PREFIX: &str = "mcp-param-";

const ANNOTATION: &str = "x-mcp-header";
/// Annotations of one tool.
const MOST: usize = 64;
/// How deep in the arguments an annotated one may be.
const DEEPEST: usize = 16;
/// Longest name of a field, and of a step on the way to an argument.
const LONGEST_NAME: usize = 128;
/// Whole numbers beyond this are not the same in every language.
const LARGEST_EXACT: f64 = 9_007_199_254_740_991.0;

/// An argument that a field repeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// The name of the field without [`PREFIX`], as the tool's schema spells it: a token of HTTP.
    pub field: String,
    /// The chain of properties that leads to it in the arguments.
    path: Vec<String>,
}

/// Why a tool's annotations cannot be used: the tool cannot be called over HTTP as it demands.
pub type Unusable = &'static str;

impl Param {
    /// Bytes that it takes to remember.
    pub fn size(&self) -> usize {
        self.field.len() + self.path.iter().map(String::len).sum::<usize>()
    }

    /// The value as text. Nothing where the argument is absent, null, or no single value.
    fn spelled<'a>(&self, call: &'a Message) -> Option<(Kind, Cow<'a, str>)> {
        let arguments = call.params()?.get("arguments")?;
        let value = self.path.iter().try_fold(arguments, |value, step| value.get(step))?;
        let text = match value.kind() {
            Kind::String => value.as_str()?,
            Kind::Number => whole(value.text()).map_or(value.text().into(), |number| number.to_string().into()),
            Kind::Bool => value.text().into(),
            Kind::Null | Kind::Object | Kind::Array => return None,
        };
        Some((value.kind(), text))
    }

    /// The value as a field can carry it.
    pub fn value(&self, call: &Message) -> Option<String> {
        self.spelled(call).map(|(_, text)| encode(&text).into_owned())
    }

    /// Checks what the field says against the arguments of the call. Whole numbers are compared as numbers.
    ///
    /// # Errors
    /// [`HEADER_MISMATCH`], with the request's id.
    pub fn agrees(&self, call: &Message, field: Option<&str>) -> Result<(), Malformed> {
        let wrong = |what: &str| {
            let reason = format!("refused by countersign: the header Mcp-Param-{} {what}", self.field);
            Malformed::new(HEADER_MISMATCH, reason).about(call)
        };
        let (kind, value, field) = match (self.spelled(call), field) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(wrong("repeats an argument that the body does not have")),
            (Some(_), None) => return Err(wrong("is missing")),
            (Some((kind, value)), Some(field)) => (kind, value, field),
        };
        let Some(field) = decode(field) else { return Err(wrong("is not valid base64")) };
        let number = |text: &str| whole(text).filter(|_| kind == Kind::Number);
        let same = value == field || number(&field).is_some_and(|said| number(&value) == Some(said));
        if same { Ok(()) } else { Err(wrong("does not say what the argument says")) }
    }
}

/// A whole number, however it is spelled.
fn whole(text: &str) -> Option<i64> {
    let spelled = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) || !text.bytes().all(spelled) {
        return None;
    }
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        #[allow(clippy::cast_possible_truncation)]
        (number.fract() == 0.0 && number.abs() <= LARGEST_EXACT).then_some(number as i64)
    })
}

/// The arguments of a tool that fields repeat.
///
/// # Errors
/// Where any annotation is one that the protocol does not allow, which makes the definition as a whole unusable.
pub fn params(definition: Json<'_>) -> Result<Vec<Param>, Unusable> {
    let mut found = Vec::new();
    let Some(schema) = definition.get("inputSchema") else { return Ok(found) };
    // An escape could hide the name.
    if schema.text().contains(ANNOTATION) || schema.text().contains("\\u") {
        walk(schema, Some(&mut Vec::new()), &mut found)?;
    }
    Ok(found)
}

/// `chain` is the way from the root; there is none where anything but `properties` was on it.
fn walk(schema: Json<'_>, mut chain: Option<&mut Vec<String>>, found: &mut Vec<Param>) -> Result<(), Unusable> {
    for (keyword, value) in schema.members() {
        match keyword.as_str().unwrap_or_default().as_ref() {
            ANNOTATION => {
                let path = chain.as_deref().filter(|path| !path.is_empty());
                let path = path.ok_or("it stands where no chain of properties leads")?;
                found.push(annotated(schema, value, path, found)?);
            }
            "properties" => {
                for (name, property) in value.members() {
                    let Some(path) = chain.as_deref_mut() else {
                        walk(property, None, found)?;
                        continue;
                    };
                    path.push(name.as_str().unwrap_or_default().into_owned());
                    walk(property, Some(path), found)?;
                    path.pop();
                }
            }
            "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => {
                value.members().try_for_each(|(_, inner)| walk(inner, None, found))?;
            }
            "items"
            | "prefixItems"
            | "contains"
            | "additionalItems"
            | "additionalProperties"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "propertyNames"
            | "contentSchema"
            | "oneOf"
            | "anyOf"
            | "allOf"
            | "not"
            | "if"
            | "then"
            | "else" => {
                walk(value, None, found)?;
                value.items().try_for_each(|inner| walk(inner, None, found))?;
            }
            // Values such as `default` and `enum` hold no schemas.
            _ => {}
        }
    }
    Ok(())
}

fn annotated(schema: Json<'_>, annotation: Json<'_>, path: &[String], found: &[Param]) -> Result<Param, Unusable> {
    let kind = schema.get("type").and_then(Json::as_str).unwrap_or_default();
    if !["string", "integer", "boolean"].contains(&kind.as_ref()) {
        return Err("the type of its argument is not string, integer or boolean");
    }
    let field = annotation.as_str().filter(|field| is_token(field)).ok_or("it is not the name of a header field")?;
    if path.len() > DEEPEST || path.iter().any(|step| step.len() > LONGEST_NAME) {
        return Err("its argument is too deep, or under a name that is too long");
    }
    if found.iter().any(|other| other.field.eq_ignore_ascii_case(&field)) {
        return Err("two arguments have one field");
    }
    if found.len() == MOST {
        return Err("there are too many");
    }
    Ok(Param { field: field.into_owned(), path: path.to_vec() })
}

/// A token of HTTP.
fn is_token(text: &str) -> bool {
    let is = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is)
}

/// The tool whose arguments the fields of a message repeat.
pub fn tool(message: &Message) -> Option<Cow<'_, str>> {
    if message.method() == Some(headers::TOOLS_CALL) { headers::name(message) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{JsonText, Rules};

    fn of(properties: &str) -> Result<Vec<Param>, Unusable> {
        let text = format!(r#"{{"inputSchema":{{"type":"object","properties":{{{properties}}}}}}}"#);
        params(JsonText::parse(text, Rules::UPSTREAM).unwrap().view())
    }

    fn call(arguments: &str) -> Message {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
        );
        Message::from_client(text).unwrap()
    }

    fn annotation(kind: &str, field: &str) -> String {
        format!(r#"{{"type":"{kind}","x-mcp-header":"{field}"}}"#)
    }

    #[test]
    fn annotated_arguments_become_fields() {
        let flat = format!(
            r#""region":{},"dry":{},"q":{{"type":"string"}},"a/b":{{"properties":{{"~c":{}}}}}"#,
            annotation("string", "Region"),
            annotation("boolean", "Dry"),
            annotation("integer", "Zone")
        );
        let params = of(&flat).unwrap();
        let fields = |arguments: &str| -> Vec<String> {
            let call = call(arguments);
            let field = |param: &Param| {
                let value = param.value(&call)?;
                // What we make is what we would accept.
                param.agrees(&call, Some(&value)).unwrap();
                Some(format!("{}: {value}", param.field))
            };
            params.iter().filter_map(field).collect()
        };
        let all = fields(r#"{"q":"x","region":"us-west1","dry":false,"a/b":{"~c":42}}"#);
        assert_eq!(all, ["Region: us-west1", "Dry: false", "Zone: 42"]);
        assert_eq!(fields(r#"{"region":null,"a/b":[],"dry":{"a":1}}"#), Vec::<String>::new());
        let odd = fields(r#"{"region":"a\r\nHost: x","a/b":{"~c":1e2},"dry":-1.50}"#);
        assert_eq!(odd, ["Region: =?base64?YQ0KSG9zdDogeA==?=", "Dry: -1.50", "Zone: 100"]);
        assert!(of(r#""a":{"default":{"x-mcp-header":"A"}},"x-mcp-header":{"type":"string"}"#).unwrap().is_empty());
    }

    #[test]
    fn annotations_that_cannot_be_used_are_not() {
        let region = format!(r#""region":{}"#, annotation("string", "Region"));
        assert_eq!(of(&region).unwrap().len(), 1);
        let string = |field: &str| format!(r#""b":{}"#, annotation("string", field));
        let under = |keyword: &str| format!(r#""b":{{"{keyword}":{}}}"#, annotation("string", "B"));
        let mut bad: Vec<(String, Unusable)> = Vec::new();
        bad.push((string("REGION"), "two arguments have one field"));
        for field in ["", "a b", "a\\r\\nHost: x", "a:b", "R\u{e9}gion", &"x".repeat(LONGEST_NAME + 1)] {
            bad.push((string(field), "it is not the name of a header field"));
        }
        bad.push((r#""b":{"type":"string","x-mcp-header":1}"#.to_owned(), "it is not the name of a header field"));
        for kind in ["number", "object", "array", "null", "String"] {
            let text = format!(r#""b":{}"#, annotation(kind, "B"));
            bad.push((text, "the type of its argument is not string, integer or boolean"));
        }
        for text in [r#""b":{"x-mcp-header":"B"}"#, r#""b":{"type":["string"],"x-mcp-\u0068eader":"B"}"#] {
            bad.push((text.to_owned(), "the type of its argument is not string, integer or boolean"));
        }
        let astray = "it stands where no chain of properties leads";
        for keyword in ["items", "contains", "additionalProperties", "not", "if", "then", "else", "propertyNames"] {
            bad.push((under(keyword), astray));
        }
        for keyword in ["oneOf", "anyOf", "allOf", "prefixItems"] {
            bad.push((format!(r#""b":{{"{keyword}":[{{}},{}]}}"#, annotation("string", "B")), astray));
        }
        let within = format!(r#"{{"items":{{"properties":{{"c":{}}}}}}}"#, annotation("string", "B"));
        for keyword in ["$defs", "definitions", "patternProperties", "dependentSchemas"] {
            bad.push((format!(r#""b":{{"{keyword}":{{"d":{within}}}}}"#), astray));
        }
        for (bad, why) in bad {
            assert_eq!(of(&format!("{region},{bad}")), Err(why), "{bad}");
            assert_eq!(of(&format!("{bad},{region}")), Err(why), "{bad}");
        }
        let root = JsonText::parse(r#"{"inputSchema":{"type":"string","x-mcp-header":"A"}}"#, Rules::UPSTREAM).unwrap();
        assert_eq!(params(root.view()), Err(astray));
    }

    #[test]
    fn their_count_and_depth_are_bounded() {
        let wide = |count: usize| {
            let all: Vec<_> =
                (0..count).map(|n| format!(r#""p{n}":{}"#, annotation("string", &format!("P{n}")))).collect();
            of(&all.join(",")).map(|found| found.len())
        };
        assert_eq!((wide(MOST), wide(MOST + 1)), (Ok(MOST), Err("there are too many")));
        let deep = |depth: usize| {
            let inner = |inner, _| format!(r#""a":{{"properties":{{{inner}}}}}"#);
            of(&(1..depth).fold(format!(r#""a":{}"#, annotation("string", "A")), inner)).map(|found| found.len())
        };
        assert_eq!(deep(DEEPEST), Ok(1));
        assert!(deep(DEEPEST + 1).is_err());
    }

    #[test]
    fn a_field_repeats_its_argument_or_is_not_there() {
        let param = Param { field: "Region".into(), path: vec!["where".into(), "region".into()] };
        let agrees = |arguments: &str, field: Option<&str>| {
            let agrees = param.agrees(&call(arguments), field);
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
            ("7", "7.0"),
            ("7.0", "7"),
            ("-1.50", "-1.50"),
            ("9223372036854775807", "9223372036854775807"),
            ("true", "true"),
        ] {
            assert!(agrees(&of(value), Some(field)), "{value} {field}");
            assert!(!agrees(&of(value), None), "{value}");
            assert!(!agrees(&of(value), Some("us")), "{value}");
        }
        for (value, field) in [
            ("\"eu\"", "EU"),
            ("\"eu\"", "=?base64?!?="),
            ("\"7\"", "7.0"),
            ("7", "\"7\""),
            ("7", "+7"),
            ("7", "7.5"),
            ("7", "inf"),
            ("-1.50", "-1.5"),
            ("9223372036854775807", "9223372036854775808"),
            ("true", "1"),
        ] {
            assert!(!agrees(&of(value), Some(field)), "{value} {field}");
        }
        for arguments in [of("null"), of("{}"), of("[]"), "{}".to_owned(), r#"{"where":"x"}"#.to_owned()] {
            assert!(agrees(&arguments, None), "{arguments}");
            assert!(!agrees(&arguments, Some("")), "{arguments}");
        }
    }
}
