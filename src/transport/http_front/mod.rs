//! Streamable HTTP for clients: `POST`, `GET` and `DELETE` on `/mcp/SERVER`, both protocol eras, HTTP/1.1 only; and,
//! where tokens are an issuer's, `GET` of what clients need to know to get one.
//!
//! Invariant: a request reaches a session only after `guard` has admitted it and its body has been read strictly; what
//! is refused before that is reported, at a bounded rate, and leaves nothing behind.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, info_span, warn};

use self::guard::Refused;
pub(super) use self::guard::{JSON, is_utf8};
use self::joint::Joints;
use self::respond::json;
use self::session::Sessions;
use self::sse::Answer;
use super::budget::Refusals;
use super::principals::Principals;
use super::{Handover, Rejected};
use crate::call::{ClientInfo, Limits, Transport};
use crate::json::JsonText;
use crate::mcp::definitions::Definitions;
use crate::mcp::message::Malformed;
use crate::mcp::reply;

mod exchange;
mod guard;
mod joint;
mod metadata;
mod post;
mod pump;
mod respond;
mod session;
mod socket;
mod sse;
mod streams;

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

/// What this front knows about a server.
#[derive(Debug, Default)]
pub struct Served {
    /// Requests that stand alone share one session of their principal: the server is a child process.
    pub joined: bool,
    /// Its tools as they were listed last: header fields that repeat arguments are held against them.
    pub definitions: Arc<Definitions>,
}

/// What the HTTP listener knows. Made once.
pub struct HttpFront {
    servers: BTreeMap<String, Served>,
    principals: Arc<Principals>,
    hosts: Vec<String>,
    origins: Vec<String>,
    /// Scheme and authority by which clients reach this front.
    public_url: String,
    limits: Limits,
    handover: Handover,
    refusals: Refusals,
    sessions: Arc<Sessions>,
    joints: Arc<Joints>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for HttpFront {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpFront").field("hosts", &self.hosts).field("sessions", &self.sessions.len()).finish()
    }
}

impl HttpFront {
    /// `hosts` are accepted besides the names of the loopback; `origins` are the only ones that are. `public_url` is the
    /// beginning of every server's address, as in `https://countersign.example`.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        servers: BTreeMap<String, Served>,
        principals: Arc<Principals>,
        hosts: Vec<String>,
        origins: Vec<String>,
        public_url: String,
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
        let joints = Arc::default();
        HttpFront {
            servers,
            principals,
            hosts,
            origins,
            public_url,
            limits,
            handover,
            refusals,
            sessions,
            joints,
            tracker,
            stop,
        }
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
            // From here on the lane's own event loop looks after it.
            match stream.into_std().and_then(TcpStream::from_std) {
                Ok(stream) => connection(stream, peer, front_of_task).await,
                Err(error) => warn!(%error, "a connection could not be served"),
            }
            drop(place);
        };
        front.handover.lanes.spawn(&front.tracker, work.instrument(info_span!("client", transport = "http", %peer)));
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
        let served = match guard::arrive(self, &parts) {
            Ok(()) => match self.metadata(&parts) {
                Some(metadata) => metadata,
                None => self.serve(&parts, body, peer).await,
            },
            Err(refused) => Err(refused),
        };
        served.unwrap_or_else(|refused| self.refuse(refused, peer))
    }

    async fn serve(&self, parts: &Parts, body: Incoming, peer: SocketAddr) -> Result<Response<Answer>, Refused> {
        let admitted = guard::admit(self, parts, peer).await?;
        let served = match parts.method {
            Method::POST => self.post(&admitted, parts, body).await,
            Method::GET => self.listen(&admitted, parts),
            _ => self.delete(&admitted, parts),
        };
        served.map_err(|refused| Refused {
            server: Some(admitted.server),
            principal: Some(admitted.principal),
            ..refused
        })
    }

    fn refuse(&self, refused: Refused, peer: SocketAddr) -> Response<Answer> {
        let Refused { status, malformed, server, principal, token } = refused;
        let (noted, challenge) = token.map(|token| (token.noted, token.challenge)).unwrap_or_default();
        let code = if status == StatusCode::BAD_REQUEST { malformed.code } else { i64::from(status.as_u16()) };
        let reason = noted.unwrap_or_else(|| malformed.reason.clone());
        debug!(status = status.as_u16(), reason, "a request was refused");
        let principal = principal.map(|principal| principal.name.clone());
        self.refusals.report(Rejected { server, principal, client: client_info(peer), code, reason });
        let text = reply::malformed(&Malformed { answer: true, ..malformed }).unwrap_or_else(JsonText::empty_object);
        let mut response = json(status, text.into_bytes());
        let fields = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED if challenge.is_none() => {
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
        if let Some(field) = challenge.and_then(|challenge| challenge.field()) {
            fields.insert(WWW_AUTHENTICATE, field);
        }
        response
    }
}

fn client_info(peer: SocketAddr) -> ClientInfo {
    ClientInfo { peer: Some(peer.to_string()), ..ClientInfo::silent(Transport::Http) }
}

#[cfg(test)]
mod tests;
