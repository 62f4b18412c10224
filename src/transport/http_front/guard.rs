//! What an HTTP request must satisfy before its body is read: where it was sent, from where, by whom, in which form.
//!
//! Invariant: every check reads a field that came exactly once. A refusal says nothing that depends on a secret.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode, Version};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::HttpFront;
use super::metadata::Challenge;
use crate::call::Principal;
use crate::mcp::message::{HEADER_MISMATCH, INVALID_REQUEST, Malformed};
use crate::transport::principals::{Nobody, Who};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A request that is not served.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) malformed: Malformed,
    pub(super) server: Option<String>,
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) token: Option<Box<AboutToken>>,
}

/// What is said of a token that is not taken.
#[derive(Debug)]
pub(super) struct AboutToken {
    /// For log and record: the client is not told why.
    pub(super) noted: Option<String>,
    /// How the client can get one that would do.
    pub(super) challenge: Option<Challenge>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, reason: impl std::fmt::Display) -> Refused {
        Refused::because(status, Malformed::new(INVALID_REQUEST, format!("refused by countersign: {reason}")))
    }

    pub(super) fn because(status: StatusCode, malformed: Malformed) -> Refused {
        Refused { status, malformed, server: None, principal: None, token: None }
    }
}

/// Who asks for which server.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) server: String,
    pub(super) principal: Arc<Principal>,
    pub(super) peer: SocketAddr,
    /// When the evidence of who it is ends.
    pub(super) until: Option<Instant>,
    /// It has ended: another token has taken its place.
    pub(super) replaced: CancellationToken,
}

/// What holds for every request, whatever it asks for: no more than that it was meant for us.
pub(super) fn arrive(front: &HttpFront, parts: &Parts) -> Result<(), Refused> {
    if parts.version != Version::HTTP_11 {
        return Err(Refused::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here"));
    }
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > front.limits.header_bytes {
        let reason = format!("header fields of more than {} bytes", front.limits.header_bytes);
        return Err(Refused::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason));
    }
    singletons(&parts.headers)?;
    host(front, parts)?;
    origin(front, &parts.headers)
}

/// Everything that holds for every request to a server, in the order of what it costs to find out.
pub(super) async fn admit(front: &HttpFront, parts: &Parts, peer: SocketAddr) -> Result<Admitted, Refused> {
    let server = parts.uri.path().strip_prefix("/mcp/");
    let server = server.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "the path is /mcp/SERVER"))?;
    if ![Method::POST, Method::GET, Method::DELETE].contains(&parts.method) {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "POST, GET and DELETE are served"));
    }
    let Who { principal, until, replaced } = who(front, &parts.headers, server).await?;
    if !front.servers.contains_key(server) {
        let known = front.servers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let refused = Refused::new(StatusCode::NOT_FOUND, format!("unknown server; servers: {known}"));
        return Err(Refused { principal: Some(principal), ..refused });
    }
    if !front.principals.may_ask(&principal, server) {
        let reason = "this client has no scope for this server; its operator adds one to the principal's `scopes:`";
        let refused = Refused::new(StatusCode::FORBIDDEN, reason);
        return Err(Refused { server: Some(server.to_owned()), principal: Some(principal), ..refused });
    }
    Ok(Admitted { server: server.to_owned(), principal, peer, until, replaced })
}

/// The client is told that its token is not taken, and never why.
async fn who(front: &HttpFront, headers: &HeaderMap, server: &str) -> Result<Who, Refused> {
    let unknown = || Refused::new(StatusCode::UNAUTHORIZED, "a bearer token of a configured principal is needed");
    let about = |noted, error| Some(Box::new(AboutToken { noted, challenge: front.challenge(server, error) }));
    let Some(token) = bearer(headers) else {
        return Err(Refused { token: about(None, None), ..unknown() });
    };
    let resource = front.resource(server);
    front.principals.by_bearer(token, server, &resource).await.map_err(|nobody| {
        let noted = Some(format!("refused by countersign: a bearer token: {nobody}"));
        match nobody {
            Nobody::Bad { .. } => Refused { token: about(noted, Some("invalid_token")), ..unknown() },
            Nobody::NoScope { .. } => {
                let refused = Refused::new(StatusCode::FORBIDDEN, "this token has no scope for this server");
                Refused { token: about(noted, Some("insufficient_scope")), ..refused }
            }
            Nobody::NoPrincipal { .. } => {
                let refused = Refused::new(StatusCode::FORBIDDEN, "no configured principal is for this token");
                Refused { token: Some(Box::new(AboutToken { noted, challenge: None })), ..refused }
            }
            Nobody::NoKeys { .. } | Nobody::TooMany => {
                let refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE, "tokens cannot be checked just now");
                Refused { token: Some(Box::new(AboutToken { noted, challenge: None })), ..refused }
            }
        }
    })
}

/// Fields that two readers could take differently when they come twice.
fn singletons(headers: &HeaderMap) -> Result<(), Refused> {
    const ONCE: [HeaderName; 8] = [
        HOST,
        ORIGIN,
        AUTHORIZATION,
        CONTENT_TYPE,
        CONTENT_LENGTH,
        CONTENT_ENCODING,
        http::header::TRANSFER_ENCODING,
        LAST_EVENT_ID,
    ];
    // A map of distinct names has as many values as keys.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    for name in headers.keys() {
        let mcp = name.as_str().starts_with("mcp-");
        if (mcp || ONCE.contains(name)) && headers.get_all(name).iter().nth(1).is_some() {
            let code = if mcp { HEADER_MISMATCH } else { INVALID_REQUEST };
            let malformed = Malformed::new(code, format!("refused by countersign: the header {name} came twice"));
            return Err(Refused::because(StatusCode::BAD_REQUEST, malformed));
        }
    }
    Ok(())
}

/// Defence against a page in a browser that rebinds its own name to our address.
fn host(front: &HttpFront, parts: &Parts) -> Result<(), Refused> {
    let field =
        parts.headers.get(HOST).ok_or_else(|| Refused::new(StatusCode::BAD_REQUEST, "the header Host is missing"))?;
    let field = field.to_str().map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "the header Host is not text"))?;
    if parts.uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(field)) {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "the request line and the header Host disagree"));
    }
    let name = without_port(field).unwrap_or_default();
    if front.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(Refused::new(StatusCode::FORBIDDEN, "this Host is not served; add it to listen.allowed_hosts"))
}

/// `name`, `name:port` or `[v6]:port`; the brackets stay.
fn without_port(field: &str) -> Option<&str> {
    let (name, port) = match field.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (field, None),
    };
    let port_fits = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    (port_fits && !name.is_empty()).then_some(name)
}

fn origin(front: &HttpFront, headers: &HeaderMap) -> Result<(), Refused> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    if front.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
        return Ok(());
    }
    Err(Refused::new(StatusCode::FORBIDDEN, "this Origin is not allowed; add it to listen.allowed_origins"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// The forms that a client can take an answer in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Accepts {
    pub(super) json: bool,
    pub(super) events: bool,
}

pub(super) fn accepts(headers: &HeaderMap) -> Result<Accepts, Refused> {
    let mut found = Accepts { json: false, events: false };
    let mut any = false;
    for field in headers.get_all(ACCEPT) {
        let field =
            field.to_str().map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "the header Accept is not text"))?;
        for entry in field.split(',') {
            any = true;
            let mut parts = entry.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default().to_ascii_lowercase();
            let refused = parts.any(|part| {
                let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                weight.is_some_and(|weight| weight.parse() == Ok(0.0_f32))
            });
            if refused {
                continue;
            }
            found.json |= matches!(range.as_str(), "*/*" | "application/*" | "application/json");
            found.events |= matches!(range.as_str(), "*/*" | "text/*" | "text/event-stream");
        }
    }
    if !any {
        return Ok(Accepts { json: true, events: true });
    }
    if !found.json && !found.events {
        let reason = "answers are application/json or text/event-stream, and Accept allows neither";
        return Err(Refused::new(StatusCode::NOT_ACCEPTABLE, reason));
    }
    Ok(found)
}

/// What the fields say about a POST's body, before it is read.
pub(super) fn body_form(headers: &HeaderMap, limit: usize) -> Result<(), Refused> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !is_utf8(kind, JSON) {
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type has to be application/json"));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "an encoded body is not accepted"));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(too_large(limit));
    }
    Ok(())
}

pub(super) fn too_large(limit: usize) -> Refused {
    let reason = format!("a body of more than {limit} bytes (limits.message_bytes)");
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
}

pub(in crate::transport) const JSON: &str = "application/json";

/// Whether a media type is this one, in UTF-8 and without any other parameter.
pub(in crate::transport) fn is_utf8(kind: &str, wanted: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(wanted))
        && parts.all(|part| {
            let part = part.to_ascii_lowercase();
            matches!(part.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"")
        })
}

/// A field that is visible ASCII, as text. Absent and unreadable are different things.
pub(super) fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refused> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| {
        let malformed =
            Malformed::new(HEADER_MISMATCH, format!("refused by countersign: the header {name} is not text"));
        Refused::because(StatusCode::BAD_REQUEST, malformed)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn ports_are_not_part_of_a_name() {
        assert_eq!(without_port("localhost"), Some("localhost"));
        assert_eq!(without_port("localhost:80"), Some("localhost"));
        assert_eq!(without_port("[::1]:8377"), Some("[::1]"));
        assert_eq!(without_port("[::1]"), Some("[::1]"));
        for odd in ["", ":80", "localhost:", "localhost:8x", "localhost:80@evil"] {
            assert_eq!(without_port(odd), None, "{odd}");
        }
    }

    #[test]
    fn accept_is_read_as_http_means_it() {
        let of = |field: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(field));
            accepts(&headers).ok().map(|found| (found.json, found.events))
        };
        assert_eq!(of("application/json, text/event-stream"), Some((true, true)));
        assert_eq!(of("application/json"), Some((true, false)));
        assert_eq!(of("text/event-stream;q=0.5"), Some((false, true)));
        assert_eq!(of("*/*"), Some((true, true)));
        assert_eq!(of("application/json;q=0, text/*"), Some((false, true)));
        assert_eq!(of("text/html"), None);
        assert!(accepts(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn only_plain_json_bodies_are_read() {
        for good in ["application/json", "Application/JSON ; charset=UTF-8"] {
            assert!(is_utf8(good, JSON), "{good}");
        }
        for bad in ["", "text/plain", "application/json-rpc", "application/json; charset=utf-16", "application/jsonx"] {
            assert!(!is_utf8(bad, JSON), "{bad}");
        }
    }

    #[test]
    fn a_token_needs_its_scheme() {
        let of = |field: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(field));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("abc"), None);
    }
}
