//! Connections to HTTP upstreams: one client for the daemon, TLS by rustls, kept alive between requests.
//!
//! Invariant: a request is written to one connection once. It goes to another one only while hyper gives it back
//! whole, which means that no byte of it has left.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::service::Service as _;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::service::TowerToHyperService;
use rustls::ClientConfig;
use tokio::runtime::{self, Handle};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;
use tracing::debug;

use super::lock;
use crate::call::{Leave, Limits};

/// An idle connection is used again for this long; servers close them after a minute or so, or after the time that they
/// name.
const IDLE: Duration = Duration::from_secs(45);
/// What is on its way when a server closes a connection is lost, and cannot be sent again: a connection is left alone
/// so long before its time is over.
const IDLE_MARGIN: Duration = Duration::from_secs(1);
/// Idle connections to one server.
const MOST_IDLE: usize = 64;
/// A connection whose last body was read through is ready at once, or never.
const READY: Duration = Duration::from_millis(500);

/// A peer that is silent for so long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// More than a link takes to end its session.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// One that a request was sent on.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// How long it may wait for the next one.
    idle: Duration,
    lane: runtime::Id,
}

/// Shared by all HTTP upstreams of the daemon. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient(Arc<Shared>);

struct Shared {
    connector: TowerToHyperService<HttpsConnector<HttpConnector>>,
    /// By server name: one server's connections are never used for another.
    idle: Mutex<HashMap<String, Vec<Idle>>>,
    connect_timeout: Duration,
    tracker: TaskTracker,
    /// The links that use it.
    links: TaskTracker,
    closed: CancellationToken,
}

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    until: Instant,
    /// Whose event loop looks after it: a request from there wakes no other thread.
    lane: runtime::Id,
}

/// A request without a response. `sent` is false only where no byte of it left.
#[derive(Debug)]
pub(super) struct NoResponse {
    pub(super) sent: bool,
    pub(super) reason: String,
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct TlsError(#[from] rustls::Error);

impl HttpClient {
    /// # Errors
    /// [`TlsError`].
    pub fn new(limits: Limits, tracker: TaskTracker) -> Result<HttpClient, TlsError> {
        Ok(HttpClient::with_tls(limits, tracker, tls()?))
    }

    pub(super) fn with_tls(limits: Limits, tracker: TaskTracker, tls: ClientConfig) -> HttpClient {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(limits.connect_timeout));
        // A stream may be silent for as long as it likes, but not with nobody at its other end.
        http.set_keepalive(Some(KEEPALIVE));
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        HttpClient(Arc::new(Shared {
            connector: TowerToHyperService::new(https),
            idle: Mutex::new(HashMap::new()),
            connect_timeout: limits.connect_timeout,
            tracker,
            links: TaskTracker::new(),
            closed: CancellationToken::new(),
        }))
    }

    /// A link that [`HttpClient::close`] waits for.
    pub(super) fn link<F: Future>(&self, link: F) -> TrackedFuture<F> {
        self.0.links.track_future(link)
    }

    /// Lets links say their last words, then closes every connection. Called once, after the last session has ended.
    pub async fn close(&self) {
        self.0.links.close();
        if timeout(LAST_WORDS, self.0.links.wait()).await.is_err() {
            debug!("some links to upstreams did not end in time");
        }
        self.0.closed.cancel();
        lock(&self.0.idle).clear();
    }

    /// Sends a request in origin form. The connection comes back with the response, to be given to
    /// [`HttpClient::keep`] when the body was read through. A call is asked whether it may `leave` when there is a
    /// connection to write it to.
    pub(super) async fn send(
        &self,
        server: &str,
        uri: &Uri,
        mut request: Request<Full<Bytes>>,
        leave: Option<&Leave>,
    ) -> Result<(Response<Incoming>, Connection), NoResponse> {
        loop {
            let idle = self.idle(server);
            let again = idle.is_some();
            let (mut sender, lane) = match idle {
                Some(Idle { mut sender, lane, .. }) => {
                    if !matches!(timeout(READY, sender.ready()).await, Ok(Ok(()))) {
                        continue;
                    }
                    (sender, lane)
                }
                None => {
                    let sender = self.connect(uri).await.map_err(|reason| NoResponse { sent: false, reason })?;
                    (sender, Handle::current().id())
                }
            };
            let sending = match leave {
                None => sender.try_send_request(request),
                Some(leave) => leave
                    .attempt(|| (sender.try_send_request(request), true))
                    .map_err(|reason| NoResponse { sent: false, reason })?,
            };
            match sending.await {
                Ok(response) => {
                    let idle = idle_time(response.headers());
                    return Ok((response, Connection { sender, idle, lane }));
                }
                Err(mut failed) => match failed.take_message() {
                    Some(whole) if again => request = whole,
                    whole => {
                        let reason = format!("the connection to the upstream failed: {}", failed.error());
                        return Err(NoResponse { sent: whole.is_none(), reason });
                    }
                },
            }
        }
    }

    /// Sends a request on a connection that is used for nothing else, and reads the status of the answer.
    pub(super) async fn once(&self, uri: &Uri, request: Request<Full<Bytes>>) -> Result<u16, String> {
        Ok(self.ask(uri, request).await?.status().as_u16())
    }

    /// The same, for the whole answer.
    pub(super) async fn ask(&self, uri: &Uri, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        let mut sender = self.connect(uri).await?;
        sender.send_request(request).await.map_err(|error| error.to_string())
    }

    /// Takes a connection back whose last response was read through.
    pub(super) fn keep(&self, server: &str, connection: Connection) {
        let Connection { sender, idle: time, lane } = connection;
        if sender.is_closed() || time.is_zero() || self.0.closed.is_cancelled() {
            return;
        }
        let mut idle = lock(&self.0.idle);
        let idle = match idle.get_mut(server) {
            Some(idle) => idle,
            None => idle.entry(server.to_owned()).or_default(),
        };
        if idle.len() >= MOST_IDLE {
            // Of lanes that have no use for theirs, perhaps.
            idle.remove(0);
        }
        idle.push(Idle { sender, until: Instant::now() + time, lane });
    }

    /// The connection of this lane that was used last: on another's a request could wait for what is done there, and a
    /// call would leave later than it was asked whether it may.
    fn idle(&self, server: &str) -> Option<Idle> {
        let mut idle = lock(&self.0.idle);
        let idle = idle.get_mut(server)?;
        let now = Instant::now();
        idle.retain(|idle| now < idle.until && !idle.sender.is_closed());
        let here = Handle::current().id();
        let best = idle.iter().rposition(|idle| idle.lane == here)?;
        Some(idle.remove(best))
    }

    async fn connect(&self, uri: &Uri) -> Result<SendRequest<Full<Bytes>>, String> {
        let shared = &self.0;
        // TCP, name look-up and the TLS handshake together.
        let io = match timeout(shared.connect_timeout, shared.connector.call(uri.clone())).await {
            Ok(Ok(io)) => io,
            Ok(Err(error)) => return Err(format!("the upstream cannot be reached: {}", chain(error.as_ref()))),
            Err(_) => {
                return Err("the upstream does not accept connections in time (limits.connect_timeout)".to_owned());
            }
        };
        let (sender, connection) =
            Builder::new().handshake(io).await.map_err(|error| format!("the upstream cannot be reached: {error}"))?;
        let closed = shared.closed.clone();
        shared.tracker.spawn(async move {
            tokio::select! {
                result = connection => if let Err(error) = result {
                    debug!(%error, "a connection to an upstream ended");
                },
                () = closed.cancelled() => {}
            }
        });
        Ok(sender)
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// As the server says it: `Keep-Alive: timeout=5`.
fn idle_time(headers: &HeaderMap) -> Duration {
    let field = headers.get("keep-alive").and_then(|field| field.to_str().ok()).unwrap_or_default();
    let timeout = field.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.parse().ok());
    timeout.map_or(IDLE, |seconds| Duration::from_secs(seconds).saturating_sub(IDLE_MARGIN).min(IDLE))
}

/// The public roots, and no key of ours.
pub(super) fn tls() -> Result<ClientConfig, TlsError> {
    // Named, because a second provider in the dependency graph would make the default ambiguous.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(tls.with_webpki_roots().with_no_client_auth())
}

/// An error and what caused it.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_how_long_a_connection_may_wait() {
        let time = |field: &str| {
            idle_time(&HeaderMap::from_iter([(
                http::header::HeaderName::from_static("keep-alive"),
                field.parse().unwrap(),
            )]))
        };
        assert_eq!(time("timeout=5"), Duration::from_secs(4));
        assert_eq!(time("max=100, timeout=5"), Duration::from_secs(4));
        assert_eq!(time("timeout=1"), Duration::ZERO);
        assert_eq!((time("timeout=600"), time("timeout=x"), time("max=3")), (IDLE, IDLE, IDLE));
        assert_eq!(idle_time(&HeaderMap::new()), IDLE);
    }
}
