//! A loopback endpoint in place of a vendor's API, for children that hold no key: HTTP/1.1, one request a connection.
//!
//! A session opens a [`Pass`] for its child: a key that is good here, for this session, for as long as the pass lives.
//! What comes with it is read strictly and handed to the session as a call to decide; what comes without is refused.
//!
//! Invariant: nothing leaves from here. A request is answered by the session that its key belongs to, or refused.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, info_span, warn};

use self::guard::Refused;
use self::socket::Watched;
use self::strangers::{Stranger, Strangers};
use super::budget::Refusals;
use super::{Rejected, lock};
use crate::call::{ClientInfo, Digest, Limits, ToolCall, Transport};

mod forward;
mod guard;
mod socket;
mod spec;
mod strangers;

pub use forward::{Lost, forward};
pub use spec::ApiSpec;

/// Header fields of one request.
const HEADERS: usize = 100;
/// Hyper's buffer for reading.
const READ_BUFFER: usize = 64 << 10;
/// What an answer may take beside what its session takes for its end.
const MARGIN: Duration = Duration::from_secs(10);

/// A request of a child, to be decided. The child has gone where nobody waits for the answer.
#[derive(Debug)]
pub struct Asked {
    pub call: ToolCall,
    pub reply: oneshot::Sender<Answered>,
}

/// What a child is answered.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answered {
    /// An answer of ours: a text that a model can act on, in the form in which clients of APIs look for one.
    pub fn ours(status: StatusCode, message: &str, decision: Option<serde_json::Value>) -> Answered {
        let mut body = json!({"message": message});
        if let (Some(decision), Some(body)) = (decision, body.as_object_mut()) {
            body.insert("dev.countersign/decision".to_owned(), decision);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Many clients try again by themselves.
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Answered { status, headers, body: body.to_string().into() }
    }
}

/// Whom a key belongs to.
#[derive(Clone, Debug)]
struct Holder {
    server: String,
    principal: String,
    header: HeaderName,
    switches: Arc<[String]>,
    /// Room for its requests: one child does not take the others' places.
    room: Arc<Semaphore>,
    to_session: mpsc::Sender<Asked>,
}

type Holders = Arc<Mutex<HashMap<Digest, Holder>>>;

/// The endpoint. One for the daemon.
#[derive(Debug)]
pub struct ApiGate {
    address: SocketAddr,
    holders: Holders,
    limits: Limits,
    strangers: Strangers,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// A key of a session's child. Dropping it ends the key.
pub struct Pass {
    key: String,
    /// Of the values of its field that show the key.
    digests: Vec<Digest>,
    holders: Holders,
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("digests", &self.digests).finish_non_exhaustive()
    }
}

impl Pass {
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut holders = lock(&self.holders);
        self.digests.iter().for_each(|digest| drop(holders.remove(digest)));
    }
}

/// A place on this machine that no other has, and that no other machine reaches.
///
/// # Errors
/// Where the system has none.
pub async fn bind() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

impl ApiGate {
    pub fn new(address: SocketAddr, limits: Limits, tracker: TaskTracker, stop: CancellationToken) -> ApiGate {
        let (holders, strangers) = (Holders::default(), Strangers::default());
        ApiGate { address, holders, limits, strangers, tracker, stop }
    }

    /// A key for the child of a session. Its requests come through the receiver.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn open(&self, spec: &ApiSpec, principal: &str) -> Result<(Pass, mpsc::Receiver<Asked>), getrandom::Error> {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes)?;
        let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("{}{random}", spec.form);
        let mut shown = vec![format!("{}{key}", spec.prefix)];
        if spec.header == AUTHORIZATION {
            // Some clients give the key as the name of a user without a password.
            shown.push(format!("Basic {}", STANDARD.encode(format!("{key}:"))));
        }
        let digests: Vec<_> = shown.iter().map(|value| Digest::of_bytes(value.as_bytes())).collect();
        let (to_session, from_child) = mpsc::channel(self.limits.queue);
        let holder = Holder {
            server: spec.http.server().to_owned(),
            principal: principal.to_owned(),
            header: spec.header.clone(),
            switches: Arc::clone(&spec.switches),
            room: Arc::new(Semaphore::new(self.limits.in_flight + self.limits.queue)),
            to_session,
        };
        lock(&self.holders).extend(digests.iter().map(|digest| (*digest, holder.clone())));
        Ok((Pass { key, digests, holders: Arc::clone(&self.holders) }, from_child))
    }

    /// What the child of a session finds the API and its key by.
    pub fn variables(&self, spec: &ApiSpec, pass: &Pass) -> Vec<(String, String)> {
        vec![(spec.url_env.clone(), format!("http://{}", self.address)), (spec.key_env.clone(), pass.key().to_owned())]
    }

    /// The holder of the key in one of these fields. Looked up by its hash, so that the time says nothing about keys.
    fn holder(&self, headers: &HeaderMap) -> Option<Holder> {
        let holders = lock(&self.holders);
        let of = |(name, value): (&HeaderName, &HeaderValue)| {
            let holder = holders.get(&Digest::of_bytes(value.as_bytes()))?;
            (holder.header == *name).then(|| holder.clone())
        };
        headers.iter().find_map(of)
    }
}

/// Accepts until the endpoint's `stop`. What is refused goes to `rejected`, which is held by this and by connections
/// alone: whoever writes it down is done when they are.
pub async fn serve(listener: TcpListener, gate: Arc<ApiGate>, rejected: mpsc::Sender<Rejected>) {
    let refusals = Arc::new(Refusals::new(rejected));
    let places = Arc::new(Semaphore::new(gate.limits.connections));
    loop {
        let accepted = tokio::select! {
            () = gate.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly a lack of descriptors, which passes.
                warn!(%error, "the endpoint for children could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Whoever has shown no key yet makes room.
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) if gate.strangers.dismiss() => match Arc::clone(&places).acquire_owned().await {
                Ok(place) => place,
                Err(_) => return,
            },
            Err(_) => continue,
        };
        let (of_task, refusals, stranger) = (Arc::clone(&gate), Arc::clone(&refusals), gate.strangers.one());
        let work = async move {
            connection(stream, peer, of_task, refusals, stranger).await;
            drop(place);
        };
        gate.tracker.spawn(work.instrument(info_span!("child", transport = "api", %peer)));
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    gate: Arc<ApiGate>,
    refusals: Arc<Refusals>,
    stranger: Stranger,
) {
    let _ = stream.set_nodelay(true);
    let (stream, limits, stop) = (Arc::new(stream), gate.limits, gate.stop.clone());
    let answered = CancellationToken::new();
    let stranger = Arc::new(stranger);
    let (watched, said, known) = (Arc::clone(&stream), answered.clone(), Arc::clone(&stranger));
    let service = service_fn(move |request| {
        let (gate, stream) = (Arc::clone(&gate), Arc::clone(&watched));
        let (refusals, said, known) = (Arc::clone(&refusals), said.clone(), Arc::clone(&known));
        async move {
            let response = gate.handle(request, peer, &stream, &refusals, &known).await;
            said.cancel();
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    // What follows a request on its connection is never read.
    http.keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS)
        .max_buf_size(READ_BUFFER.max(limits.header_bytes));
    let mut served = std::pin::pin!(http.serve_connection(TokioIo::new(Watched(stream)), service));
    let result = tokio::select! {
        result = &mut served => result,
        // A child that does not take its answer does not keep its place.
        () = async { answered.cancelled().await; tokio::time::sleep(limits.body_timeout).await } => return,
        () = stranger.dismissed() => return debug!("a connection without a key made room for another"),
        () = stop.cancelled() => match timeout(limits.drain + MARGIN, served).await {
            Ok(result) => result,
            Err(_) => return debug!("a connection of a child outlived the drain"),
        },
    };
    if let Err(error) = result {
        debug!(%error, "a connection of a child ended");
    }
}

impl ApiGate {
    async fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        stream: &Arc<TcpStream>,
        refusals: &Refusals,
        stranger: &Stranger,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let mut of = None;
        let answered = async {
            let holder = guard::holder(self, &parts)?;
            let holder = of.insert(holder);
            stranger.known();
            let Ok(_room) = holder.room.try_acquire() else {
                let reason = "its session has too many open (limits.in_flight, limits.queue)";
                return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason));
            };
            let call = guard::read(self, holder, &parts, body).await?;
            self.ask(holder, call, stream).await
        };
        let answered = answered.await;
        let Answered { status, headers, body } = answered.unwrap_or_else(|Refused { status, reason }| {
            debug!(status = status.as_u16(), reason, "a request of a child was refused");
            let (server, principal) = of.map(|holder: Holder| (holder.server, holder.principal)).unzip();
            let client = ClientInfo { peer: Some(peer.to_string()), ..ClientInfo::silent(Transport::Http) };
            let code = i64::from(status.as_u16());
            let reason = format!("a request to the API: {reason}");
            let said = format!("refused by countersign: {reason}. Nothing was sent.");
            refusals.report(Rejected { server, principal, client, code, reason });
            Answered::ours(status, &said, None)
        });
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Hands a request to its session and waits for the answer, as long as the child does.
    async fn ask(&self, holder: &Holder, call: ToolCall, stream: &Arc<TcpStream>) -> Result<Answered, Refused> {
        let (reply, answer) = oneshot::channel();
        match holder.to_session.try_send(Asked { call, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(Refused::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "its session has too many open (limits.queue)",
                ));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(guard::unknown_key()),
        }
        tokio::select! {
            answer = answer => answer.map_err(|_| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "its session has ended")),
            // Dropping the other end of `answer` tells the session.
            () = socket::gone(stream) => Err(Refused::new(StatusCode::BAD_REQUEST, "the child went away, or said more")),
        }
    }
}
