//! Single exchanges with an HTTP upstream: what is written for a message, and what an answer of each form means.

use std::borrow::Cow;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::spec::HttpSpec;
use crate::call::Limits;
use crate::credential::scrub::Scrubber;
use crate::json::Json;
use crate::mcp::headers::{self, INITIALIZE, INITIALIZED};
use crate::mcp::message::{Id, Message, Shape};
use crate::transport::http_client::{Connection, HttpClient, NoResponse};
use crate::transport::sse::Decoder;
use crate::transport::{FromUpstream, lock};

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
/// Longest body of an error that is read.
const ERROR_BYTES: usize = 64 << 10;
/// After the answer a body has nothing more to say; reading it to its end keeps the connection.
const REST: Duration = Duration::from_millis(500);
const REST_BYTES: usize = 64 << 10;
/// The listening stream is opened again this often in a row without an event.
const LISTEN_AGAIN: u32 = 5;
const LISTEN_PAUSE: Duration = Duration::from_secs(1);
const LISTEN_LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How an exchange ended, for the link.
#[derive(Debug)]
pub(super) enum Done {
    Request {
        id: Id,
        begins: bool,
    },
    /// `listen`: it was the one that completes the beginning of a session, and it was accepted.
    Other {
        begins: bool,
        listen: bool,
    },
    /// The upstream has no listening stream, or none any more.
    NotListening,
    SessionEnded {
        id: Option<Id>,
        reason: String,
    },
}

/// Why no answer will come.
struct Lost {
    sent: bool,
    reason: String,
    /// The upstream does not know the session any more.
    session_ended: bool,
}

impl Lost {
    fn sent(reason: impl Into<String>) -> Lost {
        Lost { sent: true, reason: reason.into(), session_ended: false }
    }
}

impl From<NoResponse> for Lost {
    fn from(no: NoResponse) -> Lost {
        Lost { sent: no.sent, reason: no.reason, session_ended: false }
    }
}

/// A link's side of the wire.
pub(super) struct Wire {
    spec: Arc<HttpSpec>,
    client: HttpClient,
    scrubber: Arc<Scrubber>,
    limits: Limits,
    to_session: mpsc::Sender<FromUpstream>,
    /// The link has carried `initialize`.
    legacy: AtomicBool,
    session: OnceLock<HeaderValue>,
    version: OnceLock<HeaderValue>,
    last_event: Mutex<Option<HeaderValue>>,
}

impl Wire {
    pub(super) fn new(
        spec: Arc<HttpSpec>,
        client: HttpClient,
        scrubber: Arc<Scrubber>,
        limits: Limits,
        to_session: mpsc::Sender<FromUpstream>,
    ) -> Wire {
        let (session, version) = (OnceLock::new(), OnceLock::new());
        let (legacy, last_event) = (AtomicBool::new(false), Mutex::new(None));
        Wire { spec, client, scrubber, limits, to_session, legacy, session, version, last_event }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn session_gone(&self) -> impl Future<Output = ()> {
        self.to_session.closed()
    }

    pub(super) async fn tell(&self, event: FromUpstream) {
        // A session that is gone needs no news.
        let _ = self.to_session.send(event).await;
    }

    pub(super) async fn lost(&self, id: Id, sent: bool, reason: &str) {
        self.tell(FromUpstream::Lost { id, sent, reason: reason.to_owned() }).await;
    }

    /// One message there, and everything that comes back for it.
    pub(super) async fn exchange(self: Arc<Self>, message: Message) -> Done {
        let begins = matches!(message.method(), Some(INITIALIZE | INITIALIZED));
        let id = match message.shape() {
            Shape::Request { id, .. } => id.clone(),
            Shape::Notification { .. } | Shape::Response { .. } => return self.notify(message, begins).await,
        };
        let allowed = self.limits.answer_timeout;
        let asked = match timeout(allowed, self.ask(&id, message, begins)).await {
            Ok(asked) => asked,
            Err(_) => Err(Lost::sent(format!(
                "no answer from the upstream within {} s (limits.answer_timeout)",
                allowed.as_secs()
            ))),
        };
        match asked {
            Ok(rest) => {
                if let Some(rest) = rest {
                    self.read_rest(rest).await;
                }
                Done::Request { id, begins }
            }
            Err(lost) => {
                self.lost(id.clone(), lost.sent, &lost.reason).await;
                if lost.session_ended {
                    return Done::SessionEnded { id: Some(id), reason: lost.reason };
                }
                Done::Request { id, begins }
            }
        }
    }

    /// A request. The body comes back where its end was not read yet.
    async fn ask(&self, id: &Id, message: Message, begins: bool) -> Result<Option<Rest>, Lost> {
        let request = self.post(message)?;
        let (response, connection) = self.client.send(self.spec.server(), self.spec.uri(), request).await?;
        self.check(&response)?;
        let status = response.status();
        if begins && status == StatusCode::OK {
            self.remember_session(response.headers());
        }
        if response.headers().contains_key(CONTENT_ENCODING) {
            return Err(Lost::sent("the upstream encoded its answer, which was not asked for"));
        }
        match (status, form(response.headers())) {
            (StatusCode::OK, Form::Json) => {
                let bytes = self.collect(response.into_body(), self.limits.answer_bytes).await?;
                self.client.keep(self.spec.server(), connection);
                let message = Message::from_upstream(bytes)
                    .map_err(|malformed| Lost::sent(format!("the upstream's answer cannot be read: {malformed}")))?;
                if !answers(&message, id) {
                    return Err(Lost::sent("the upstream's answer is not one to this request"));
                }
                self.answer(id, message, begins).await;
                Ok(None)
            }
            (StatusCode::OK, Form::Events) => self.events(id, response.into_body(), connection, begins).await.map(Some),
            (StatusCode::OK, Form::Other) => Err(Lost::sent("the upstream answered neither JSON nor events")),
            (status, _) if status.is_success() => Err(Lost::sent(format!("the upstream answered {status} only"))),
            (status, form) => self.refused(id, status, form, response.into_body(), connection, begins).await,
        }
    }

    /// What an HTTP status says that no body can change.
    fn check(&self, response: &Response<Incoming>) -> Result<(), Lost> {
        let status = response.status();
        if status.is_redirection() {
            return Err(Lost::sent(format!("redirects are not followed (the upstream answered {status})")));
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(Lost::sent(format!("the upstream refused the key ({status})")));
        }
        Ok(())
    }

    /// An HTTP error: where its body is a JSON-RPC answer to this request, that is the answer.
    async fn refused(
        &self,
        id: &Id,
        status: StatusCode,
        form: Form,
        body: Incoming,
        connection: Connection,
        begins: bool,
    ) -> Result<Option<Rest>, Lost> {
        let bytes = match form {
            Form::Json => self.collect(body, ERROR_BYTES).await.ok(),
            Form::Events | Form::Other => None,
        };
        let message = bytes.and_then(|bytes| Message::from_upstream(bytes).ok());
        if message.is_some() {
            self.client.keep(self.spec.server(), connection);
        }
        match message {
            Some(message) if answers(&message, id) => {
                self.answer(id, message, begins).await;
                Ok(None)
            }
            message => {
                let said = message.as_ref().map(|message| self.said(message)).unwrap_or_default();
                let session_ended = status == StatusCode::NOT_FOUND && self.session.get().is_some();
                let what =
                    if session_ended { "the upstream ended the session" } else { "the upstream refused the request" };
                Err(Lost { sent: true, reason: format!("{what} ({status}){said}"), session_ended })
            }
        }
    }

    /// The text of an error without an id, short and without keys.
    fn said(&self, message: &Message) -> String {
        let text = message.text().view().pointer("/error/message").and_then(Json::as_str).unwrap_or_default();
        let text: String = self.scrubber.line(&text).chars().filter(|c| !c.is_control()).take(200).collect();
        if text.is_empty() { text } else { format!(": {text}") }
    }

    async fn events(&self, id: &Id, mut body: Incoming, connection: Connection, begins: bool) -> Result<Rest, Lost> {
        let mut decoder = Decoder::new(self.limits.answer_bytes);
        loop {
            let data = match body.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(Lost::sent(format!("the upstream's stream broke: {error}"))),
                None => return Err(Lost::sent("the upstream's stream ended without an answer")),
            };
            decoder.push(&data).map_err(|error| Lost::sent(format!("the upstream's stream: {error}")))?;
            while let Some(event) = decoder.next_event() {
                let Some(message) = read_event(event) else { continue };
                if answers(&message, id) {
                    self.answer(id, message, begins).await;
                    return Ok(Rest { body, connection });
                }
                self.tell(FromUpstream::Message { message, related: Some(id.clone()) }).await;
            }
        }
    }

    async fn answer(&self, id: &Id, message: Message, begins: bool) {
        if begins
            && let Some(version) = message.result().and_then(|result| result.get("protocolVersion"))
            && let Some(version) = version.as_str()
            && let Ok(version) = HeaderValue::from_str(&version)
        {
            let _ = self.version.set(version);
        }
        self.tell(FromUpstream::Message { message, related: Some(id.clone()) }).await;
    }

    fn remember_session(&self, headers: &HeaderMap) {
        let Some(id) = headers.get(SESSION_ID) else { return };
        let visible = id.as_bytes().iter().all(u8::is_ascii_graphic);
        if visible && !id.is_empty() && id.len() <= SESSION_ID_BYTES {
            let _ = self.session.set(id.clone());
        } else {
            warn!("the upstream's session id is not visible ASCII of a sane length; it is not used");
        }
    }

    /// Reads what follows an answer, so that the connection can be used again.
    async fn read_rest(&self, rest: Rest) {
        let Rest { mut body, connection } = rest;
        let reading = async {
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                bytes += frame.ok()?.data_ref().map_or(0, Bytes::len);
                if bytes > REST_BYTES {
                    return None;
                }
            }
            Some(())
        };
        if let Ok(Some(())) = timeout(REST, reading).await {
            self.client.keep(self.spec.server(), connection);
        }
    }

    /// A notification, or an answer to a request of the upstream.
    async fn notify(&self, message: Message, begins: bool) -> Done {
        let sending = async {
            let request = self.post(message)?;
            let (response, connection) = self.client.send(self.spec.server(), self.spec.uri(), request).await?;
            let status = response.status();
            self.read_rest(Rest { body: response.into_body(), connection }).await;
            Ok::<_, Lost>(status)
        };
        match timeout(self.limits.connect_timeout, sending).await {
            Ok(Ok(status)) if status.is_success() => return Done::Other { begins, listen: begins },
            Ok(Ok(StatusCode::NOT_FOUND)) if self.session.get().is_some() => {
                return Done::SessionEnded {
                    id: None,
                    reason: "the upstream ended the session (404 Not Found)".into(),
                };
            }
            Ok(Ok(status)) => warn!(%status, "the upstream did not accept a notification"),
            Ok(Err(lost)) => warn!(reason = %lost.reason, "a notification did not reach the upstream"),
            Err(_) => warn!("the upstream did not accept a notification in time"),
        }
        Done::Other { begins, listen: false }
    }

    /// The stream for what belongs to no request.
    pub(super) async fn listen(self: Arc<Self>) -> Done {
        let mut failures = 0;
        while failures < LISTEN_AGAIN {
            let (heard, pause) = match self.listen_once().await {
                Some(heard) => heard,
                None => return Done::NotListening,
            };
            failures = if heard { 0 } else { failures + 1 };
            sleep(pause.unwrap_or(LISTEN_PAUSE * 2_u32.pow(failures)).min(LISTEN_LONGEST_PAUSE)).await;
        }
        info!("the upstream keeps closing its listening stream; it is not opened again");
        Done::NotListening
    }

    /// Whether anything came, and how long to wait. `None`: the upstream has no such stream.
    async fn listen_once(&self) -> Option<(bool, Option<Duration>)> {
        let request = self.build(Method::GET, EVENTS, Bytes::new());
        let sending = self.client.send(self.spec.server(), self.spec.uri(), request);
        let (response, _connection) = match timeout(self.limits.connect_timeout, sending).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(no)) => {
                debug!(reason = %no.reason, "the listening stream could not be opened");
                return Some((false, None));
            }
            Err(_) => return Some((false, None)),
        };
        if response.status() != StatusCode::OK || !matches!(form(response.headers()), Form::Events) {
            debug!(status = %response.status(), "the upstream has no listening stream");
            return None;
        }
        let (mut body, mut heard) = (response.into_body(), false);
        let mut decoder = Decoder::new(self.limits.answer_bytes);
        while let Some(Ok(frame)) = body.frame().await {
            if decoder.push(&frame.into_data().unwrap_or_default()).is_err() {
                warn!("an event on the listening stream is too long");
                break;
            }
            while let Some(event) = decoder.next_event() {
                heard = true;
                if let Some(message) = read_event(event) {
                    self.tell(FromUpstream::Message { message, related: None }).await;
                }
            }
            if let Some(last) = decoder.last_id() {
                *lock(&self.last_event) = HeaderValue::from_str(last).ok();
            }
        }
        Some((heard, decoder.retry().map(Duration::from_millis)))
    }

    /// Where there is a session, tells the upstream that it is over.
    pub(super) async fn end_session(&self) {
        if self.session.get().is_none() {
            return;
        }
        let request = self.build(Method::DELETE, BOTH, Bytes::new());
        match self.client.send(self.spec.server(), self.spec.uri(), request).await {
            Ok((response, connection)) => self.read_rest(Rest { body: response.into_body(), connection }).await,
            Err(no) => debug!(reason = %no.reason, "the upstream's session could not be ended"),
        }
    }

    fn post(&self, message: Message) -> Result<Request<Full<Bytes>>, Lost> {
        let unsent =
            |what: &str| Lost { sent: false, reason: format!("{what} cannot stand in a header"), session_ended: false };
        let field = |text: &str, what| HeaderValue::from_str(text).map_err(|_| unsent(what));
        // A session of the older era has no modern requests; a large message is not read through to find that out.
        let legacy = self.legacy.load(Ordering::Relaxed) || message.method() == Some(INITIALIZE);
        self.legacy.store(legacy, Ordering::Relaxed);
        let mirrored = match if legacy { None } else { message.modern_version() } {
            Some(version) => {
                let method = message.method().unwrap_or_default();
                let name =
                    headers::name(&message).map(|name| field(&headers::encode(&name), "the name")).transpose()?;
                Some((field(version, "the protocol version")?, field(method, "the method")?, name))
            }
            None => None,
        };
        let mut request = self.build(Method::POST, BOTH, message.into_text().into_bytes());
        let fields = request.headers_mut();
        fields.insert(CONTENT_TYPE, JSON);
        if let Some((version, method, name)) = mirrored {
            fields.insert(PROTOCOL_VERSION, version);
            fields.insert(MCP_METHOD, method);
            if let Some(name) = name {
                fields.insert(MCP_NAME, name);
            }
            fields.remove(SESSION_ID);
        }
        Ok(request)
    }

    fn build(&self, method: Method, accept: HeaderValue, body: Bytes) -> Request<Full<Bytes>> {
        let listens = method == Method::GET;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.spec.target().clone();
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
        if listens && let Some(last) = lock(&self.last_event).clone() {
            fields.insert(LAST_EVENT_ID, last);
        }
        request
    }

    async fn collect(&self, mut body: Incoming, limit: usize) -> Result<Vec<u8>, Lost> {
        let too_long = || Lost::sent(format!("the upstream's answer is longer than {limit} bytes"));
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Lost::sent(format!("the upstream's answer broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(too_long());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

/// A body that was not read to its end.
struct Rest {
    body: Incoming,
    connection: Connection,
}

enum Form {
    Json,
    Events,
    Other,
}

fn form(headers: &HeaderMap) -> Form {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Form::Json
    } else if kind.eq_ignore_ascii_case("text/event-stream") {
        Form::Events
    } else {
        Form::Other
    }
}

fn answers(message: &Message, id: &Id) -> bool {
    matches!(message.shape(), Shape::Response { id: Some(answered), .. } if answered == id)
}

fn read_event(event: crate::transport::sse::Event) -> Option<Message> {
    let name = event.name.as_deref().map_or(Cow::Borrowed("message"), Cow::Borrowed);
    if name != "message" {
        debug!("an event of another kind than message is ignored");
        return None;
    }
    match Message::from_upstream(event.data) {
        Ok(message) => Some(message),
        Err(malformed) => {
            warn!(reason = %malformed.reason, "the upstream sent an event that cannot be read");
            None
        }
    }
}
