//! A request of a server's process to its vendor's API, as a call to decide: read here from HTTP, and written here for
//! the way on.
//!
//! Invariant: what is judged is a JSON object, and what is sent is made from that object alone. A path or a query that two
//! readers could take differently is refused and not put right: the rules have to judge what the vendor will read.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::json;

use super::form::{self, Place, decoded, is_unreserved};
use super::message::{INVALID_REQUEST, Malformed};
use crate::call::{CallId, Decided, ToolCall};
use crate::json::{Json, JsonText, Rules};

/// The methods that are passed on, where they are let through.
pub const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// Longest path and longest query, in bytes.
const LONGEST_PATH: usize = 2 << 10;
const LONGEST_QUERY: usize = 16 << 10;
/// The kind of body that is no JSON, as it is written. It travels as a header field, by which it is told again.
pub const FORM: &str = "application/x-www-form-urlencoded";
const CONTENT_TYPE: &str = "content-type";

/// A request as it came, with everything that may travel.
#[derive(Debug)]
pub struct Parts<'a> {
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Header fields that travel, their names in lower case.
    pub headers: Vec<(&'a str, &'a str)>,
    /// Names of header fields that would have moved the request elsewhere. They do not travel.
    pub dropped: Vec<&'a str>,
    pub body: Option<Body>,
}

#[derive(Debug)]
pub enum Body {
    Json(JsonText),
    /// Names and values, as they came.
    Form(String),
}

/// A request on its way to the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
}

fn refused(reason: impl std::fmt::Display) -> Malformed {
    Malformed::new(INVALID_REQUEST, reason.to_string())
}

/// The request as a call.
///
/// # Errors
/// Why two readers could take it differently.
pub fn call(parts: &Parts<'_>) -> Result<ToolCall, Malformed> {
    if !METHODS.contains(&parts.method) {
        return Err(refused(format!("the methods are {}", METHODS.join(", "))));
    }
    let (path, query) = match parts.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (parts.target, None),
    };
    segments(path).map_err(refused)?;
    let mut text = format!(r#"{{"method":{},"path":{}"#, json!(parts.method), json!(path));
    let mut unnumbered = serde_json::Map::new();
    if let Some(query) = query {
        if query.len() > LONGEST_QUERY {
            return Err(refused("the query is too long"));
        }
        let read = form::read(query, Place::Query).map_err(refused)?;
        let _ = write!(text, r#","query":{}"#, read.object);
        unnumbered.extend((!read.unnumbered.is_empty()).then(|| ("query".to_owned(), json!(read.unnumbered))));
    }
    let mut fields: serde_json::Map<_, _> =
        parts.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let body = match &parts.body {
        None => None,
        Some(Body::Json(body)) => Some(body.as_str().to_owned()),
        Some(Body::Form(body)) => {
            let read = form::read(body, Place::Body).map_err(refused)?;
            fields.insert(CONTENT_TYPE.to_owned(), json!(FORM));
            unnumbered.extend((!read.unnumbered.is_empty()).then(|| ("body".to_owned(), json!(read.unnumbered))));
            Some(read.object)
        }
    };
    if !fields.is_empty() {
        let _ = write!(text, r#","headers":{}"#, json!(fields));
    }
    if !parts.dropped.is_empty() {
        let _ = write!(text, r#","dropped_headers":{}"#, json!(parts.dropped));
    }
    if let Some(body) = body {
        let _ = write!(text, r#","body":{body}"#);
    }
    if !unnumbered.is_empty() {
        let _ = write!(text, r#","unnumbered":{}"#, json!(unnumbered));
    }
    text.push('}');
    let arguments = JsonText::parse(text, Rules::CLIENT).map_err(|error| refused(error.fault))?;
    let id = CallId::random().map_err(|_| refused("no randomness for an id"))?;
    let what = format!("{} {path}", parts.method);
    let (params, message) = (arguments.clone(), arguments.clone());
    Ok(ToolCall::new(id, Decided::ApiRequest, what, arguments, params, message))
}

/// The parts of a path as its server will read them, without what encodes them.
///
/// # Errors
/// Why two readers could take it differently.
pub fn segments(path: &str) -> Result<Vec<String>, &'static str> {
    if path.len() > LONGEST_PATH {
        return Err("the path is too long");
    }
    let Some(rest) = path.strip_prefix('/') else { return Err("the path does not begin with /") };
    rest.split('/').map(segment).collect()
}

fn segment(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("the path has an empty part (`//`, or `/` at its end)");
    }
    let literal = |byte: u8| is_unreserved(byte) || b"!$&'()*+,=:@%".contains(&byte);
    if !text.bytes().all(literal) {
        return Err("the path has a character that stands in no plain path");
    }
    let plain = decoded(text, |byte, hex| {
        let canonical = !hex.iter().any(u8::is_ascii_lowercase) && !is_unreserved(byte);
        canonical && !byte.is_ascii_control() && !b"/\\%;?#".contains(&byte)
    });
    let plain = plain.ok_or("the path has an encoding that readers take differently")?;
    if plain.chars().any(char::is_control) {
        return Err("the path has a control character");
    }
    if plain.trim_matches(|c: char| c == '.' || c.is_whitespace()).is_empty() || plain.trim() != plain {
        return Err("a part of the path is made of dots, or begins or ends with a space");
    }
    Ok(plain)
}

/// What is sent for a call that is let through: from what was judged, and nothing else.
pub fn outgoing(call: &ToolCall) -> Option<Outgoing> {
    let judged = call.arguments().view();
    let text = |name: &str| judged.get(name).and_then(Json::as_str).map(std::borrow::Cow::into_owned);
    let (method, mut target) = (text("method")?, text("path")?);
    let unnumbered = |place: &str| -> BTreeSet<String> {
        let names = judged.get("unnumbered").and_then(|lists| lists.get(place));
        let names = names.into_iter().flat_map(Json::items);
        names.filter_map(|name| name.as_str().map(std::borrow::Cow::into_owned)).collect()
    };
    if let Some(query) = judged.get("query") {
        target.push('?');
        target.push_str(&form::write(query, &unnumbered("query"))?);
    }
    let fields = judged.get("headers").into_iter().flat_map(Json::members);
    let headers = fields.map(|(name, value)| Some((name.as_str()?.into_owned(), value.as_str()?.into_owned())));
    let headers = headers.collect::<Option<Vec<_>>>()?;
    let body = match judged.get("body") {
        None => None,
        Some(body) if is_form(judged) => Some(form::write(body, &unnumbered("body"))?),
        Some(body) => Some(body.text().to_owned()),
    };
    Some(Outgoing { method, target, headers, body })
}

/// Whether the body of a request, as it is judged, came as a form and goes on as one.
fn is_form(judged: Json<'_>) -> bool {
    let kind = judged.get("headers").and_then(|headers| headers.get(CONTENT_TYPE));
    kind.and_then(Json::as_str).is_some_and(|kind| kind == FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, target: &str, body: Option<&str>) -> Result<ToolCall, Malformed> {
        let body = body.map(|body| Body::Json(JsonText::parse(body, Rules::CLIENT).unwrap()));
        call(&Parts { method, target, headers: Vec::new(), dropped: Vec::new(), body })
    }

    #[test]
    fn what_is_sent_is_what_was_judged() {
        let parts = Parts {
            method: "POST",
            target: "/api/v1/customers/a%40b%20c/x?b[]=1&a=x+y&b[]=%32&c",
            headers: vec![("idempotency-key", "k-1")],
            dropped: vec!["x-environment-id"],
            body: Some(Body::Json(JsonText::parse("{ \"n\": 1.0, \"a\":[] }", Rules::CLIENT).unwrap())),
        };
        let call = call(&parts).unwrap();
        assert_eq!((call.method(), call.tool()), (Decided::ApiRequest, "POST /api/v1/customers/a%40b%20c/x"));
        assert_eq!(
            call.arguments().as_str(),
            r#"{"method":"POST","path":"/api/v1/customers/a%40b%20c/x","query":{"b":["1","2"],"a":"x y","c":""},"headers":{"idempotency-key":"k-1"},"dropped_headers":["x-environment-id"],"body":{"n":1.0,"a":[]},"unnumbered":{"query":["b[]"]}}"#
        );
        let sent = outgoing(&call).unwrap();
        assert_eq!(sent.target, "/api/v1/customers/a%40b%20c/x?b%5B%5D=1&b%5B%5D=2&a=x%20y&c=");
        assert_eq!(sent.body.as_deref(), Some(r#"{"n":1.0,"a":[]}"#));
        assert_eq!(sent.headers, [("idempotency-key".to_owned(), "k-1".to_owned())]);
    }

    #[test]
    fn a_form_is_judged_like_json_and_sent_as_a_form() {
        let text = "amount=500&payment_intent=pi_1&expand[]=charge&items[0][price]=p&metadata[a+b]=c%26d".to_owned();
        let parts = Parts {
            method: "POST",
            target: "/v1/refunds?expand[]=x&created[gte]=1",
            headers: vec![("idempotency-key", "k")],
            dropped: Vec::new(),
            body: Some(Body::Form(text)),
        };
        let call = call(&parts).unwrap();
        assert_eq!(
            call.arguments().as_str(),
            r#"{"method":"POST","path":"/v1/refunds","query":{"expand":["x"],"created":{"gte":"1"}},"headers":{"content-type":"application/x-www-form-urlencoded","idempotency-key":"k"},"body":{"amount":"500","payment_intent":"pi_1","expand":["charge"],"items":[{"price":"p"}],"metadata":{"a b":"c&d"}},"unnumbered":{"body":["expand[]"],"query":["expand[]"]}}"#
        );
        let sent = outgoing(&call).unwrap();
        assert_eq!(sent.target, "/v1/refunds?expand%5B%5D=x&created%5Bgte%5D=1");
        assert_eq!(
            sent.body.as_deref(),
            Some(
                "amount=500&payment_intent=pi_1&expand%5B%5D=charge&items%5B0%5D%5Bprice%5D=p&metadata%5Ba%20b%5D=c%26d"
            )
        );
        assert!(sent.headers.contains(&("content-type".to_owned(), FORM.to_owned())), "{:?}", sent.headers);
        let collision = Parts { body: Some(Body::Form("amount=1&Amount=2".to_owned())), ..parts };
        assert!(super::call(&collision).is_err());
    }

    #[test]
    fn a_path_that_readers_take_differently_is_refused() {
        for bad in [
            "",
            "api",
            "/",
            "/a/",
            "//a",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/a/.../b",
            "/a/%2e%2e/b",
            "/a/%2E%2E/b",
            "/a/..%2Fb",
            "/a%2fb",
            "/a%2Fb",
            "/a%5Cb",
            "/a\\b",
            "/a;x=1/b",
            "/a%3Bx/b",
            "/a%252Fb",
            "/a%41",
            "/a%c3%a9",
            "/a%00",
            "/a%0A",
            "/a%0D%0Ab",
            "/a%C2%85",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%FF",
            "/a%3Fb",
            "/a%23b",
            "/é",
            "/a b",
            "/%20a",
            "/a%20",
            "/a\"b",
            "/a|b",
            "/a[1]",
            "*",
            "http://other/a",
        ] {
            assert!(read("GET", bad, None).is_err(), "{bad:?}");
        }
        for good in ["/a", "/a/b.json", "/api/v1/x/a%40b.c", "/a:b", "/a@b", "/caf%C3%A9", "/a,b", "/~a/-_"] {
            assert_eq!(outgoing(&read("GET", good, None).unwrap()).unwrap().target, good);
        }
    }

    #[test]
    fn a_query_that_readers_take_differently_is_refused() {
        for bad in [
            "?",
            "?&",
            "?a=1&",
            "?a=1&a=1",
            "?a=1&a[]=2",
            "?a[b]=1&a=2",
            "?a[1]=1",
            "?a[b=1",
            "?=1",
            "?a=%",
            "?a=%FF",
            "?a=%0A",
            "?a=é",
            "?a=1&A=2",
            "?_method=DELETE",
            "?a=b c",
        ] {
            assert!(read("GET", &format!("/a{bad}"), None).is_err(), "{bad:?}");
        }
        let sent = |query: &str| outgoing(&read("GET", &format!("/a?{query}"), None).unwrap()).unwrap().target;
        assert_eq!(sent("a=1;b=2"), "/a?a=1%3Bb%3D2", "no reader takes it for two parameters");
        assert_eq!(sent("a[b]=%26c%3D1"), "/a?a%5Bb%5D=%26c%3D1");
    }

    #[test]
    fn other_methods_and_bodies_that_cannot_be_judged_are_refused() {
        for method in ["get", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY", ""] {
            assert!(read(method, "/a", None).is_err(), "{method}");
        }
        let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
        assert!(read("POST", "/a", Some(&deep)).is_err());
        assert!(read("POST", "/a", Some("[1]")).is_ok());
    }
}
