//! Streamable HTTP for clients: `POST`, `GET` and `DELETE` on `/mcp/SERVER`, both protocol eras, HTTP/1.1 only.
//!
//! Invariant: a request reaches a session only after `guard` has admitted it and its body has been read strictly; what
//! is refused before that is reported, at a bounded rate, and leaves nothing behind.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, info_span, warn};

use self::exchange::Exchange;
use self::guard::{Accepts, Admitted, Refused};
use self::respond::{accepted, empty, event_stream, json, lacks_meta, modern_status, respond};
use self::session::{NoPlace, Session, Sessions};
use self::sse::{Answer, Feed};
use super::budget::Refusals;
use super::principals::Principals;
use super::{ClientLink, FromClient, Handover, NewSession, Rejected};
use crate::call::{ClientInfo, Limits, Transport};
use crate::json::JsonText;
use crate::mcp::headers;
use crate::mcp::message::{INVALID_PARAMS, INVALID_REQUEST, Malformed, Message, Shape};
use crate::mcp::reply;

mod answer;
mod exchange;
mod guard;
mod respond;
mod session;
mod socket;
mod sse;

/// A request that is not answered by then gets an event stream, where the client takes one.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the session's other end may take to take a message.
const HAND_OVER: Duration = Duration::from_secs(10);
/// Messages that wait in a session of one request: the request, and that its client is gone.
const ONE_REQUEST: usize = 4;
/// Hyper's buffer for reading; large bodies come in fewer reads.
const READ_BUFFER: usize = 128 << 10;
/// Header fields of one request.
const HEADERS: usize = 100;

/// What the HTTP listener knows. Made once.
pub struct HttpFront {
    servers: Arc<BTreeSet<String>>,
    principals: Arc<Principals>,
    hosts: Vec<String>,
    origins: Vec<String>,
    limits: Limits,
    handover: Handover,
    refusals: Refusals,
    sessions: Arc<Sessions>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for HttpFront {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpFront").field("hosts", &self.hosts).field("sessions", &self.sessions.len()).finish()
    }
}

impl HttpFront {
    /// `hosts` are accepted besides the names of the loopback; `origins` are the only ones that are.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        servers: Arc<BTreeSet<String>>,
        principals: Arc<Principals>,
        hosts: Vec<String>,
        origins: Vec<String>,
        limits: Limits,
        handover: Handover,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) -> HttpFront {
        let bracketed =
            |host: String| if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let hosts = hosts.into_iter().map(bracketed).chain(loopback).collect();
        let refusals = Refusals::new(handover.rejected.clone());
        let sessions = Arc::new(Sessions::new(limits.sessions));
        HttpFront { servers, principals, hosts, origins, limits, handover, refusals, sessions, tracker, stop }
    }

    /// Open sessions of the era that has them.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

/// Accepts until the front's `stop`. From then on requests under way are finished and no new ones are taken.
pub async fn serve(listener: TcpListener, front: Arc<HttpFront>) {
    let places = Arc::new(Semaphore::new(front.limits.connections));
    loop {
        let accepted = tokio::select! {
            () = front.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly a lack of descriptors, which passes.
                warn!(%error, "the HTTP listener could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let busy =
                b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.try_write(busy);
            continue;
        };
        let front_of_task = Arc::clone(&front);
        let work = async move {
            connection(stream, peer, front_of_task).await;
            drop(place);
        };
        front.tracker.spawn(work.instrument(info_span!("client", transport = "http", %peer)));
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, front: Arc<HttpFront>) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let (limits, stop) = (front.limits, front.stop.clone());
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.handle(request, peer).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS)
        .max_buf_size(READ_BUFFER.max(limits.header_bytes));
    let io = TokioIo::new(socket::Patient::new(stream, limits.body_timeout));
    let mut served = std::pin::pin!(http.serve_connection(io, service));
    let result = tokio::select! {
        result = &mut served => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            match timeout(limits.drain + HAND_OVER, served).await {
                Ok(result) => result,
                Err(_) => return debug!("a connection outlived the drain"),
            }
        }
    };
    if let Err(error) = result {
        debug!(%error, "a connection ended");
    }
}

impl HttpFront {
    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let served = match guard::admit(self, &parts, peer) {
            Ok(admitted) => {
                let served = match parts.method {
                    Method::POST => self.post(&admitted, &parts, body).await,
                    Method::GET => self.listen(&admitted, &parts),
                    _ => self.delete(&admitted, &parts),
                };
                served.map_err(|refused| Refused {
                    server: Some(admitted.server),
                    principal: Some(admitted.principal.name.clone()),
                    ..refused
                })
            }
            Err(refused) => Err(refused),
        };
        served.unwrap_or_else(|refused| self.refuse(refused, peer))
    }

    fn refuse(&self, refused: Refused, peer: SocketAddr) -> Response<Answer> {
        let Refused { status, malformed, server, principal } = refused;
        let code = if status == StatusCode::BAD_REQUEST { malformed.code } else { i64::from(status.as_u16()) };
        debug!(status = status.as_u16(), reason = %malformed.reason, "a request was refused");
        let reason = malformed.reason.clone();
        self.refusals.report(Rejected { server, principal, client: client_info(peer), code, reason });
        let text = reply::malformed(&Malformed { answer: true, ..malformed }).unwrap_or_else(JsonText::empty_object);
        let mut response = json(status, text);
        let fields = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"countersign\""));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                fields.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                fields.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            // What was not read of a body cannot be told from a next request.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                fields.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    async fn post(&self, admitted: &Admitted, parts: &Parts, body: Incoming) -> Result<Response<Answer>, Refused> {
        guard::body_form(&parts.headers, self.limits.message_bytes)?;
        let accepts = guard::accepts(&parts.headers)?;
        let bytes = self.read(parts, body).await?;
        let message =
            Message::from_client(bytes).map_err(|malformed| Refused::because(StatusCode::BAD_REQUEST, malformed))?;
        if self.stop.is_cancelled() {
            return Err(busy("the daemon is shutting down"));
        }
        // Looked for once: a large message is read through for it.
        match message.modern_version().map(str::to_owned) {
            Some(version) => self.modern(admitted, parts, accepts, message, &version).await,
            None if message.method() == Some(headers::DISCOVER) => Err(no_version(&message)),
            None => self.legacy(admitted, parts, accepts, message).await,
        }
    }

    async fn read(&self, parts: &Parts, mut body: Incoming) -> Result<Vec<u8>, Refused> {
        let limit = self.limits.message_bytes;
        let announced = parts.headers.get(http::header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok()).unwrap_or(0);
        let reading = async {
            let mut bytes = Vec::with_capacity(announced.min(limit));
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "the body broke off"))?;
                // Trailers carry nothing that is read.
                let Ok(data) = frame.into_data() else { continue };
                if bytes.len() + data.len() > limit {
                    return Err(guard::too_large(limit));
                }
                bytes.extend_from_slice(&data);
            }
            Ok(bytes)
        };
        let late =
            || Refused::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time (limits.body_timeout)");
        timeout(self.limits.body_timeout, reading).await.map_err(|_| late())?
    }

    /// A request that stands alone: it gets a session of its own, which ends with its answer.
    async fn modern(
        &self,
        admitted: &Admitted,
        parts: &Parts,
        accepts: Accepts,
        message: Message,
        version: &str,
    ) -> Result<Response<Answer>, Refused> {
        let refuse = |malformed| Refused::because(StatusCode::BAD_REQUEST, malformed);
        let field = |name| guard::field(&parts.headers, name);
        let (protocol, method, name) =
            (field(&guard::PROTOCOL_VERSION)?, field(&guard::MCP_METHOD)?, field(&guard::MCP_NAME)?);
        headers::agree(&message, version, protocol, method, name).map_err(refuse)?;
        if !headers::MODERN.contains(&version) {
            let known = headers::MODERN.join(", ");
            let reason = format!("refused by countersign: this protocol version is not supported; supported: {known}");
            return Err(refuse(with_id(Malformed::new(headers::UNSUPPORTED_VERSION, reason), &message)));
        }
        let Shape::Request { id, .. } = message.shape() else {
            debug!("a notification that belongs to no request goes nowhere");
            return Ok(accepted());
        };
        let id = id.clone();
        let lacks_meta = lacks_meta(&message);
        let (inbound, outbound) = self.begin(admitted, ONE_REQUEST).await?;
        if inbound.try_send(FromClient::Message(message)).is_err() {
            return Err(busy("the session ended at once"));
        }
        let exchange = Exchange::own(id, outbound, inbound);
        Ok(respond(exchange, accepts, |kind| modern_status(kind, lacks_meta)).await)
    }

    async fn legacy(
        &self,
        admitted: &Admitted,
        parts: &Parts,
        accepts: Accepts,
        message: Message,
    ) -> Result<Response<Answer>, Refused> {
        let begins = message.method() == Some(headers::INITIALIZE);
        let version = guard::field(&parts.headers, &guard::PROTOCOL_VERSION)?;
        match version {
            Some(version) if headers::MODERN.contains(&version) && !begins => return Err(no_version(&message)),
            Some(version) => known_version(version)?,
            None => {}
        }
        let Shape::Request { id, .. } = message.shape() else {
            let session = self.session(admitted, parts)?;
            self.pass(&session, message).await?;
            return Ok(accepted());
        };
        let id = id.clone();
        let session = if begins { self.new_session(admitted).await? } else { self.session(admitted, parts)? };
        let turns = session.open(&id, message.text(), accepts.events).map_err(|no_place| match no_place {
            NoPlace::IdInUse => {
                let reason = "refused by countersign: a request with this id is open in this session";
                Refused::because(StatusCode::BAD_REQUEST, Malformed::new(INVALID_REQUEST, reason).of(&id))
            }
            NoPlace::TooMany => {
                busy(&format!("{} requests of this session are open (limits.in_flight)", self.limits.in_flight))
            }
            NoPlace::Ended => unknown_session(),
        })?;
        let exchange = Exchange::shared(id, turns, Arc::clone(&session), begins, self.tracker.clone());
        self.pass(&session, message).await?;
        let mut response = respond(exchange, accepts, |_| StatusCode::OK).await;
        if let Ok(id) = HeaderValue::from_str(session.id())
            && begins
            && !session.has_ended()
        {
            response.headers_mut().insert(guard::SESSION_ID, id);
        }
        Ok(response)
    }

    /// The session's stream for what belongs to no request.
    fn listen(&self, admitted: &Admitted, parts: &Parts) -> Result<Response<Answer>, Refused> {
        let session = self.session_or_405(admitted, parts)?;
        if !guard::accepts(&parts.headers)?.events {
            return Err(Refused::new(StatusCode::NOT_ACCEPTABLE, "a GET is answered by text/event-stream only"));
        }
        let (number, turns) = session.listen().ok_or_else(unknown_session)?;
        Ok(event_stream(Feed::Listener { turns, session, number }, None))
    }

    fn delete(&self, admitted: &Admitted, parts: &Parts) -> Result<Response<Answer>, Refused> {
        self.session_or_405(admitted, parts)?.end();
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Hands a new session over.
    async fn begin(
        &self,
        admitted: &Admitted,
        queue: usize,
    ) -> Result<(mpsc::Sender<FromClient>, mpsc::Receiver<super::ToClient>), Refused> {
        let (to_session, inbound) = mpsc::channel(queue);
        let (outbound, from_session) = mpsc::channel(queue);
        let new = NewSession {
            server: admitted.server.clone(),
            principal: Arc::clone(&admitted.principal),
            client: client_info(admitted.peer),
            link: ClientLink { inbound, outbound },
        };
        match timeout(HAND_OVER, self.handover.sessions.send(new)).await {
            Ok(Ok(())) => Ok((to_session, from_session)),
            Ok(Err(_)) => Err(busy("the daemon is shutting down")),
            Err(_) => Err(busy("the daemon is too busy for a new session")),
        }
    }

    async fn new_session(&self, admitted: &Admitted) -> Result<Arc<Session>, Refused> {
        if self.sessions.len() >= self.limits.sessions {
            return Err(busy(&format!("{} sessions are open (limits.sessions)", self.limits.sessions)));
        }
        let (inbound, outbound) = self.begin(admitted, self.limits.queue).await?;
        let server = admitted.server.clone();
        let session = Session::new(server, Arc::clone(&admitted.principal), inbound, self.limits.in_flight)
            .map_err(|_| busy("the system has no randomness for a session id"))?;
        if !self.sessions.add(&session) {
            return Err(busy(&format!("{} sessions are open (limits.sessions)", self.limits.sessions)));
        }
        let pump = Arc::clone(&session).pump(Arc::clone(&self.sessions), outbound, self.limits.session_idle);
        self.tracker.spawn(pump.in_current_span());
        Ok(session)
    }

    fn session(&self, admitted: &Admitted, parts: &Parts) -> Result<Arc<Session>, Refused> {
        let id = guard::field(&parts.headers, &guard::SESSION_ID)?;
        let id = id.ok_or_else(|| {
            Refused::new(StatusCode::BAD_REQUEST, "the header Mcp-Session-Id is missing; initialize first")
        })?;
        self.sessions.find(id, &admitted.principal, &admitted.server).ok_or_else(unknown_session)
    }

    /// `GET` and `DELETE` make sense for a session only.
    fn session_or_405(&self, admitted: &Admitted, parts: &Parts) -> Result<Arc<Session>, Refused> {
        if !parts.headers.contains_key(guard::SESSION_ID) {
            let reason = "without Mcp-Session-Id only POST is served";
            return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, reason));
        }
        if let Some(version) = guard::field(&parts.headers, &guard::PROTOCOL_VERSION)? {
            known_version(version)?;
        }
        self.session(admitted, parts)
    }

    async fn pass(&self, session: &Session, message: Message) -> Result<(), Refused> {
        let inbound = session.inbound().ok_or_else(unknown_session)?;
        match timeout(HAND_OVER, inbound.send(FromClient::Message(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(unknown_session()),
            Err(_) => Err(busy("the session takes no more messages")),
        }
    }
}

fn no_version(message: &Message) -> Refused {
    let reason = "refused by countersign: _meta lacks io.modelcontextprotocol/protocolVersion";
    Refused::because(StatusCode::BAD_REQUEST, with_id(Malformed::new(INVALID_PARAMS, reason), message))
}

fn with_id(malformed: Malformed, message: &Message) -> Malformed {
    match message.shape() {
        Shape::Request { id, .. } => malformed.of(id),
        Shape::Notification { .. } | Shape::Response { .. } => malformed,
    }
}

fn known_version(version: &str) -> Result<(), Refused> {
    if headers::LEGACY.contains(&version) || headers::MODERN.contains(&version) {
        return Ok(());
    }
    let known = headers::LEGACY.iter().chain(headers::MODERN).copied().collect::<Vec<_>>().join(", ");
    Err(Refused::new(StatusCode::BAD_REQUEST, format!("unknown MCP-Protocol-Version; known: {known}")))
}

/// The same for a session that never was, that ended, and that is somebody else's.
fn unknown_session() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "unknown session; initialize again")
}

fn busy(reason: &str) -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason)
}

fn client_info(peer: SocketAddr) -> ClientInfo {
    ClientInfo {
        name: None,
        version: None,
        protocol: None,
        transport: Transport::Http,
        uid: None,
        pid: None,
        peer: Some(peer.to_string()),
    }
}

#[cfg(test)]
mod tests;
