//! The heads of requests: which header fields a message needs, and what the upstream said about its session.
//!
//! Invariant: a field repeats what the judged message says, or comes from the configuration or from the upstream. None
//! is a client's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use tracing::warn;

use super::spec::HttpSpec;
use crate::call::Leave;
use crate::json::Json;
use crate::mcp::headers::{self, INITIALIZE, INITIALIZED, LISTEN, TASKS_RESULT};
use crate::mcp::loss::Loss;
use crate::mcp::message::{Id, Message, Shape};
use crate::mcp::params;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("countersign/", env!("CARGO_PKG_VERSION")));

/// Longest session id that is taken over.
const SESSION_ID_BYTES: usize = 512;
/// Longest revision that is repeated to the upstream.
const VERSION_BYTES: usize = 64;
/// Longest value that is repeated as a field; servers take no more than this or a little more for all fields.
const FIELD_BYTES: usize = 8 << 10;

/// What has to be known of a message when its answer comes.
#[derive(Debug)]
pub(super) struct Asked {
    /// Absent for what is not answered.
    pub(super) id: Option<Id>,
    /// It begins a session, and what follows has to wait for it.
    pub(super) begins: bool,
    /// Its era has sessions and streams that can be resumed.
    pub(super) legacy: bool,
    /// Its stream stays open for as long as both sides want.
    pub(super) stays: bool,
    /// Not even the head of its answer need come before something else has ended.
    pub(super) waits: bool,
    /// Asked before its first byte, where it is a decided call.
    pub(super) leave: Option<Leave>,
}

/// What a link has to say about itself in each request.
#[derive(Debug)]
pub(super) struct Head {
    spec: Arc<HttpSpec>,
    /// The link has carried `initialize`.
    legacy: AtomicBool,
    session: OnceLock<HeaderValue>,
    version: OnceLock<HeaderValue>,
}

impl Head {
    pub(super) fn new(spec: Arc<HttpSpec>) -> Head {
        Head { spec, legacy: AtomicBool::new(false), session: OnceLock::new(), version: OnceLock::new() }
    }

    pub(super) fn is_legacy(&self) -> bool {
        self.legacy.load(Ordering::Relaxed)
    }

    pub(super) fn has_session(&self) -> bool {
        self.session.get().is_some()
    }

    pub(super) fn asks(&self, message: &Message, leave: Option<Leave>) -> Asked {
        let method = message.method();
        if method == Some(INITIALIZE) {
            self.legacy.store(true, Ordering::Relaxed);
        }
        let id = match message.shape() {
            Shape::Request { id, .. } => Some(id.clone()),
            Shape::Notification { .. } | Shape::Response { .. } => None,
        };
        Asked {
            id,
            begins: matches!(method, Some(INITIALIZE | INITIALIZED)),
            legacy: self.is_legacy(),
            stays: method == Some(LISTEN),
            waits: method == Some(TASKS_RESULT),
            leave,
        }
    }

    /// # Errors
    /// Where a part of the message does not fit into the field that has to repeat it, or the keys into the address.
    pub(super) fn post(&self, message: Message, asked: &Asked) -> Result<Request<Full<Bytes>>, Loss> {
        // A session of the older era has no modern requests; a large message is not read through to find that out.
        let version = if asked.legacy { None } else { message.modern_version() };
        let mirrored = version.map(|version| self.mirrored(version, &message)).transpose()?;
        let mut request = self.build(Method::POST, BOTH, message.into_text().into_bytes())?;
        let fields = request.headers_mut();
        fields.insert(CONTENT_TYPE, JSON);
        if let Some(mirrored) = mirrored {
            fields.remove(SESSION_ID);
            for (name, value) in mirrored {
                fields.insert(name, value);
            }
        }
        Ok(request)
    }

    /// The fields of a modern request that repeat what stands in it.
    fn mirrored(&self, version: &str, message: &Message) -> Result<Vec<(HeaderName, HeaderValue)>, Loss> {
        let field = |name: HeaderName, text: &str| match HeaderValue::from_str(text) {
            Ok(value) if text.len() <= FIELD_BYTES => Ok((name, value)),
            Ok(_) => Err(Loss::not_sent(format!("what the header {name} has to repeat is over {FIELD_BYTES} bytes"))),
            Err(_) => Err(Loss::not_sent(format!("what the header {name} has to repeat cannot stand in a header"))),
        };
        let mut fields =
            vec![field(PROTOCOL_VERSION, version)?, field(MCP_METHOD, message.method().unwrap_or_default())?];
        if let Some(name) = headers::name(message) {
            fields.push(field(MCP_NAME, &headers::encode(&name))?);
        }
        let params = params::tool(message).and_then(|tool| self.spec.definitions().params(&tool));
        for param in params.iter().flat_map(|params| params.iter()) {
            let name = HeaderName::from_bytes(format!("{}{}", params::PREFIX, param.field).as_bytes());
            if let (Ok(name), Some(value)) = (name, param.value(message)) {
                fields.push(field(name, &value)?);
            }
        }
        Ok(fields)
    }

    /// A stream for what belongs to no request, or the one that goes on after the event of this id.
    ///
    /// # Errors
    /// Where the keys do not fit into the address.
    pub(super) fn get(&self, last_event: Option<&str>) -> Result<Request<Full<Bytes>>, Loss> {
        let mut request = self.build(Method::GET, EVENTS, Bytes::new())?;
        if let Some(last) = last_event.and_then(|last| HeaderValue::from_bytes(last.as_bytes()).ok()) {
            request.headers_mut().insert(LAST_EVENT_ID, last);
        }
        Ok(request)
    }

    /// # Errors
    /// Where the keys do not fit into the address.
    pub(super) fn delete(&self) -> Result<Request<Full<Bytes>>, Loss> {
        self.build(Method::DELETE, BOTH, Bytes::new())
    }

    fn build(&self, method: Method, accept: HeaderValue, body: Bytes) -> Result<Request<Full<Bytes>>, Loss> {
        let target = self.spec.target().map_err(|_| Loss::not_sent("the upstream's address cannot be built"))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target;
        let fields = request.headers_mut();
        self.spec.write(fields);
        fields.insert(ACCEPT, accept);
        fields.entry(USER_AGENT).or_insert(AGENT);
        if let Some(session) = self.session.get() {
            fields.insert(SESSION_ID, session.clone());
        }
        if let Some(version) = self.version.get() {
            fields.insert(PROTOCOL_VERSION, version.clone());
        }
        Ok(request)
    }

    /// The session that an accepted `initialize` opened.
    pub(super) fn remember_session(&self, headers: &HeaderMap) {
        let Some(id) = headers.get(SESSION_ID) else { return };
        let visible = id.as_bytes().iter().all(u8::is_ascii_graphic);
        if visible && !id.is_empty() && id.len() <= SESSION_ID_BYTES {
            let _ = self.session.set(id.clone());
        } else {
            warn!("the upstream's session id is not visible ASCII of a sane length; it is not used");
        }
    }

    /// The revision that both sides agreed on, once they have.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.get()?.to_str().ok()
    }

    pub(super) fn remember_version(&self, answer: &Message) {
        let version = answer.result().and_then(|result| result.get("protocolVersion")).and_then(Json::as_str);
        let version = version.filter(|version| version.len() <= VERSION_BYTES);
        if let Some(version) = version.and_then(|version| HeaderValue::from_str(&version).ok()) {
            let _ = self.version.set(version);
        }
    }
}
