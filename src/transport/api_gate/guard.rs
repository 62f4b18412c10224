//! What a child's request must satisfy before it is a call to decide: where it was sent, with which key, in which form.
//!
//! Invariant: every check reads a field that came exactly once, and only fields named here go on.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode, Version};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::{ApiGate, Holder};
use crate::call::ToolCall;
use crate::json::{JsonText, Rules};
use crate::mcp::api_request::{self, Body};
use crate::transport::http_front::{JSON, is_utf8};

/// The field by which a request that is sent twice counts once.
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Fields by which some servers take a request for one of another method or path.
const OVERRIDES: [&str; 6] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-method",
    "x-rewrite-url",
];
/// Longest idempotency key, in bytes.
const LONGEST_FIELD: usize = 255;

/// A request that is not handed on.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Refused {
        Refused { status, reason: reason.into() }
    }
}

pub(super) fn unknown_key() -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, "the key is not that of an open session")
}

fn bad(reason: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, reason)
}

/// Whose request it is, by its key.
pub(super) fn holder(gate: &ApiGate, parts: &Parts) -> Result<Holder, Refused> {
    head(gate, parts)?;
    gate.holder(&parts.headers).ok_or_else(unknown_key)
}

/// The request of a holder as a call.
pub(super) async fn read(gate: &ApiGate, holder: &Holder, parts: &Parts, body: Incoming) -> Result<ToolCall, Refused> {
    once(&parts.headers, &holder.header)?;
    let body = content(gate, parts, body).await?;
    let key = match once(&parts.headers, &IDEMPOTENCY_KEY)? {
        Some(key) if key.len() > LONGEST_FIELD => return Err(bad("the header idempotency-key is too long")),
        key => key,
    };
    let dropped = holder.switches.iter().map(String::as_str).filter(|name| parts.headers.contains_key(*name));
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let request = api_request::Parts {
        method: parts.method.as_str(),
        target,
        headers: key.map(|key| (IDEMPOTENCY_KEY.as_str(), key)).into_iter().collect(),
        dropped: dropped.collect(),
        body,
    };
    api_request::call(&request).map_err(|malformed| bad(malformed.reason))
}

/// What holds for every request, whoever asks.
fn head(gate: &ApiGate, parts: &Parts) -> Result<(), Refused> {
    if parts.version != Version::HTTP_11 {
        return Err(Refused::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here"));
    }
    let headers = &parts.headers;
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > gate.limits.header_bytes {
        let reason = format!("header fields of more than {} bytes (limits.header_bytes)", gate.limits.header_bytes);
        return Err(Refused::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason));
    }
    if parts.uri.authority().is_some() || parts.uri.scheme().is_some() || !parts.uri.path().starts_with('/') {
        return Err(bad("this is no proxy: the request line has a path and nothing before it"));
    }
    let here = gate.address.to_string();
    if once(headers, &HOST)? != Some(here.as_str()) {
        return Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, "the header Host names another host"));
    }
    if headers.contains_key(ORIGIN) {
        return Err(Refused::new(StatusCode::FORBIDDEN, "pages in a browser are not served"));
    }
    let upgrades = |value: &str| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    if headers.contains_key(UPGRADE) || once(headers, &CONNECTION)?.is_some_and(upgrades) {
        return Err(bad("the protocol is not changed here"));
    }
    if let Some(name) = OVERRIDES.iter().find(|name| headers.contains_key(**name)) {
        return Err(bad(format!("the header {name} asks for something else than the request line")));
    }
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return Err(bad("the body has two lengths"));
    }
    Ok(())
}

/// A field that came once, as text.
fn once<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| bad(format!("the header {name} is not text"))),
        (Some(_), Some(_)) => Err(bad(format!("the header {name} came twice"))),
    }
}

/// The body, which is strict JSON, a form, or nothing.
async fn content(gate: &ApiGate, parts: &Parts, body: Incoming) -> Result<Option<Body>, Refused> {
    let limits = &gate.limits;
    let too_large = || {
        let reason = format!("a body of more than {} bytes (limits.message_bytes)", limits.message_bytes);
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    };
    once(&parts.headers, &CONTENT_LENGTH)?;
    let unsupported = |reason: &str| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
    if parts.headers.contains_key(CONTENT_ENCODING) {
        return Err(unsupported("an encoded body is not read"));
    }
    let kind = once(&parts.headers, &CONTENT_TYPE)?;
    if body.size_hint().lower() > u64::try_from(limits.message_bytes).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let read = timeout(limits.body_timeout, Limited::new(body, limits.message_bytes).collect()).await;
    let bytes = match read {
        Err(_) => return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(bad("the body did not come whole")),
        Ok(Ok(body)) => body.to_bytes(),
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    if parts.method == http::Method::GET {
        return Err(bad("a GET with a body"));
    }
    if kind.is_some_and(|kind| is_utf8(kind, api_request::FORM)) {
        let text = String::from_utf8(bytes.into()).map_err(|_| bad("the form is not UTF-8"))?;
        return Ok(Some(Body::Form(text)));
    }
    if !kind.is_some_and(|kind| is_utf8(kind, JSON)) {
        return Err(unsupported(
            "the Content-Type has to be application/json or application/x-www-form-urlencoded: other bodies, \
             multipart/form-data among them, cannot be judged",
        ));
    }
    let body =
        JsonText::parse(bytes, Rules::CLIENT).map_err(|error| bad(format!("the body is not strict JSON: {error}")))?;
    Ok(Some(Body::Json(body)))
}
