//! What a request asks for: a message or several for a session, a stream of one, or its end.
//!
//! Invariant: what is handed to a session has been read strictly and belongs to it; a request whose hand-over fails
//! was not sent.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{Instrument as _, debug};

use super::exchange::Exchange;
use super::guard::{self, Accepts, Admitted, Refused};
use super::joint::Joint;
use super::respond::{accepted, empty, lacks_meta, listening, modern_status, respond};
use super::session::{NotTaken, Session};
use super::sse::Answer;
use super::streams::{EventId, NoPlace, Opened, StreamId};
use super::{HAND_OVER, HttpFront, ONE_REQUEST, client_info};
use crate::call::ClientInfo;
use crate::mcp::message::{INVALID_PARAMS, INVALID_REQUEST, Malformed, Message, Shape};
use crate::mcp::{batch, headers, params};
use crate::transport::lanes::long;
use crate::transport::{ClientLink, FromClient, NewSession, Running, ToClient};

impl HttpFront {
    pub(super) async fn post(
        &self,
        admitted: &Admitted,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Response<Answer>, Refused> {
        guard::body_form(&parts.headers, self.limits.message_bytes)?;
        let accepts = guard::accepts(&parts.headers)?;
        let bytes = self.read(parts, body).await?;
        let refuse = |malformed| Refused::because(StatusCode::BAD_REQUEST, malformed);
        if batch::is_array(&bytes)
            && let Some(session) = self.batching(admitted, parts)
        {
            let messages = batch::split(bytes).map_err(refuse)?;
            self.open_for_work()?;
            return self.exchange(session, accepts, messages, true).await;
        }
        let message = long(bytes.len(), move || Message::from_client(bytes)).await.map_err(refuse)?;
        self.open_for_work()?;
        // Looked for once: a large message is read through for it.
        match message.modern_version().map(str::to_owned) {
            Some(version) => self.modern(admitted, parts, accepts, message, &version).await,
            None if message.method() == Some(headers::DISCOVER) => Err(no_version(&message)),
            None => self.legacy(admitted, parts, accepts, message).await,
        }
    }

    fn open_for_work(&self) -> Result<(), Refused> {
        if self.stop.is_cancelled() { Err(busy("the daemon is shutting down")) } else { Ok(()) }
    }

    /// The session of the request, where its revision has arrays of messages.
    fn batching(&self, admitted: &Admitted, parts: &Parts) -> Option<Arc<Session>> {
        let version = guard::field(&parts.headers, &guard::PROTOCOL_VERSION).ok()?;
        let session = self.session(admitted, parts).ok()?;
        (session.takes_batches() && version.is_none_or(|version| version == headers::BATCHES)).then_some(session)
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

    /// A request that stands alone: it gets a session of its own, which ends with its answer, or its place in the one
    /// that the server's child has.
    async fn modern(
        &self,
        admitted: &Admitted,
        parts: &Parts,
        accepts: Accepts,
        message: Message,
        version: &str,
    ) -> Result<Response<Answer>, Refused> {
        let refuse = |malformed| Refused::because(StatusCode::BAD_REQUEST, malformed);
        let fields = &parts.headers;
        let protocol = guard::field(fields, &guard::PROTOCOL_VERSION)?;
        let (method, name) = (guard::field(fields, &guard::MCP_METHOD)?, guard::field(fields, &guard::MCP_NAME)?);
        headers::agree(&message, version, protocol, method, name).map_err(refuse)?;
        let served = self.servers.get(&admitted.server);
        let known = params::tool(&message).and_then(|tool| served?.definitions.params(&tool));
        for param in known.iter().flat_map(|params| params.iter()) {
            let Ok(name) = HeaderName::try_from(format!("{}{}", params::PREFIX, param.field)) else { continue };
            param.agrees(&message, guard::field(fields, &name)?).map_err(refuse)?;
        }
        if !headers::MODERN.contains(&version) {
            let known = headers::MODERN.join(", ");
            let reason = format!("refused by countersign: this protocol version is not supported; supported: {known}");
            let data = json!({"supported": headers::MODERN, "requested": version});
            return Err(refuse(Malformed::new(headers::UNSUPPORTED_VERSION, reason).with(data).about(&message)));
        }
        let Shape::Request { id, .. } = message.shape() else {
            debug!("a notification that belongs to no request goes nowhere");
            return Ok(accepted());
        };
        let lacks_meta = lacks_meta(&message);
        let exchange = if served.is_some_and(|served| served.joined) {
            self.join(admitted, &message).await?
        } else {
            let id = id.clone();
            let (inbound, outbound) = self.begin(admitted, ONE_REQUEST, Running::default()).await?;
            if inbound.try_send(FromClient::Message(message)).is_err() {
                return Err(busy("the session ended at once"));
            }
            Exchange::own(id, outbound, inbound, self.tracker.clone())
        };
        Ok(respond(exchange, accepts, |kind| modern_status(kind, lacks_meta)).await)
    }

    /// Gives a request its place in the session that its principal has with the server. One that was about to end has
    /// not taken it: then there is a new one.
    async fn join(&self, admitted: &Admitted, message: &Message) -> Result<Exchange, Refused> {
        for _ in 0..2 {
            let joint = self.joint(admitted).await?;
            let id = message.id().cloned().ok_or_else(|| busy("a request has an id"))?;
            let placed = match joint.open(message) {
                Ok(placed) => placed,
                Err(NoPlace::Ended) => continue,
                Err(NoPlace::TooMany | NoPlace::IdInUse) => return Err(self.crowded()),
            };
            let Some(inbound) = joint.inbound() else { continue };
            let exchange = Exchange::joint(id, joint, placed.number, placed.turns, self.tracker.clone());
            match timeout(HAND_OVER, inbound.send(FromClient::Message(placed.message))).await {
                Ok(Ok(())) => return Ok(exchange),
                Ok(Err(_)) => {}
                Err(_) => return Err(busy("the session takes no more messages")),
            }
        }
        Err(busy("the session ended at once"))
    }

    async fn joint(&self, admitted: &Admitted) -> Result<Arc<Joint>, Refused> {
        let (joint, new) = self.joints.get(&admitted.principal, &admitted.server, &self.limits);
        let Some((link, outbound)) = new else { return Ok(joint) };
        let pump = Arc::clone(&joint).pump(Arc::clone(&self.joints), outbound, self.limits.session_idle);
        self.tracker.spawn(pump.in_current_span());
        // Its requests come from many connections.
        let client = ClientInfo { peer: None, ..client_info(admitted.peer) };
        if let Err(refused) = self.hand_over(admitted, client, link, Running::default()).await {
            joint.end();
            return Err(refused);
        }
        Ok(joint)
    }

    async fn legacy(
        &self,
        admitted: &Admitted,
        parts: &Parts,
        accepts: Accepts,
        message: Message,
    ) -> Result<Response<Answer>, Refused> {
        let begins = matches!(message.shape(), Shape::Request { method, .. } if method == headers::INITIALIZE);
        let version = guard::field(&parts.headers, &guard::PROTOCOL_VERSION)?;
        match version {
            Some(version) if headers::MODERN.contains(&version) && !begins => return Err(no_version(&message)),
            Some(version) => known_version(version)?,
            None => {}
        }
        let session = if begins { self.new_session(admitted).await? } else { self.session(admitted, parts)? };
        let mut response = self.exchange(Arc::clone(&session), accepts, vec![message], false).await?;
        if let Ok(id) = HeaderValue::from_str(session.id())
            && begins
            && !session.has_ended()
        {
            response.headers_mut().insert(guard::SESSION_ID, id);
        }
        Ok(response)
    }

    /// Hands messages over to their session, and waits for the answers where there are requests among them.
    async fn exchange(
        &self,
        session: Arc<Session>,
        accepts: Accepts,
        messages: Vec<Message>,
        batch: bool,
    ) -> Result<Response<Answer>, Refused> {
        let requests = batch::requests(&messages);
        let exchange = if requests.is_empty() {
            None
        } else {
            let opened = session.open(&messages, accepts.events).map_err(|no_place| match no_place {
                NoPlace::IdInUse => {
                    let reason = "refused by countersign: a request with this id is open in this session";
                    let malformed = Malformed::new(INVALID_REQUEST, reason);
                    let id = requests.first().filter(|_| !batch);
                    let malformed = if let Some(id) = id { malformed.of(id) } else { malformed };
                    Refused::because(StatusCode::BAD_REQUEST, malformed)
                }
                NoPlace::TooMany => self.crowded(),
                NoPlace::Ended => unknown_session(),
            })?;
            Some(Exchange::stream(Arc::clone(&session), opened, batch, self.tracker.clone()))
        };
        session.hand_over(messages).await.map_err(|not_taken| match not_taken {
            NotTaken::Ended => unknown_session(),
            NotTaken::Full => busy("the session takes no more messages"),
        })?;
        match exchange {
            Some(exchange) => Ok(respond(exchange, accepts, |_| StatusCode::OK).await),
            None => Ok(accepted()),
        }
    }

    /// A stream of the session: for what belongs to no request, or one that its client has lost.
    pub(super) fn listen(&self, admitted: &Admitted, parts: &Parts) -> Result<Response<Answer>, Refused> {
        let session = self.session_or_405(admitted, parts)?;
        if !guard::accepts(&parts.headers)?.events {
            return Err(Refused::new(StatusCode::NOT_ACCEPTABLE, "a GET is answered by text/event-stream only"));
        }
        let stream = |opened: Opened| {
            let exchange = Exchange::stream(Arc::clone(&session), opened, false, self.tracker.clone());
            listening(exchange, admitted.until)
        };
        let Some(last) = guard::field(&parts.headers, &guard::LAST_EVENT_ID)? else {
            return Ok(stream(session.listen().ok_or_else(unknown_session)?));
        };
        let not_ours = || Refused::new(StatusCode::BAD_REQUEST, "the header Last-Event-ID names no event of ours");
        let after = EventId::parse(last).ok_or_else(not_ours)?;
        match (session.resume(after), after.stream) {
            (Some(opened), _) => Ok(stream(opened)),
            // There is nothing more to come: with this status a client does not ask again.
            (None, StreamId::Request(_)) if !session.has_ended() => Ok(empty(StatusCode::NO_CONTENT)),
            (None, _) => Err(unknown_session()),
        }
    }

    pub(super) fn delete(&self, admitted: &Admitted, parts: &Parts) -> Result<Response<Answer>, Refused> {
        self.session_or_405(admitted, parts)?.end();
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Begins a session at the other end.
    async fn begin(
        &self,
        admitted: &Admitted,
        queue: usize,
        running: Running,
    ) -> Result<(mpsc::Sender<FromClient>, mpsc::Receiver<ToClient>), Refused> {
        let (to_session, inbound) = mpsc::channel(queue);
        let (outbound, from_session) = mpsc::channel(queue);
        let link = ClientLink { inbound, outbound };
        self.hand_over(admitted, client_info(admitted.peer), link, running).await?;
        Ok((to_session, from_session))
    }

    async fn hand_over(
        &self,
        admitted: &Admitted,
        client: ClientInfo,
        link: ClientLink,
        running: Running,
    ) -> Result<(), Refused> {
        let (server, principal) = (admitted.server.clone(), Arc::clone(&admitted.principal));
        let (replaced, lane) = (admitted.replaced.clone(), self.handover.lanes.here());
        let new = NewSession { server, principal, client, link, replaced, running, lane };
        match timeout(HAND_OVER, self.handover.sessions.send(new)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(busy("the daemon is shutting down")),
            Err(_) => Err(busy("the daemon is too busy for a new session")),
        }
    }

    async fn new_session(&self, admitted: &Admitted) -> Result<Arc<Session>, Refused> {
        if self.sessions.len() >= self.limits.sessions {
            return Err(busy(&format!("{} sessions are open (limits.sessions)", self.limits.sessions)));
        }
        let joint = usize::from(self.joints.has(&admitted.principal, &admitted.server));
        let most = self.limits.sessions_per_principal.saturating_sub(joint);
        self.sessions.make_room(&admitted.principal, &admitted.server, most);
        // A whole array is handed over at once.
        let running = Running::default();
        let queue = self.limits.queue.max(batch::ITEMS);
        let (inbound, outbound) = self.begin(admitted, queue, running.clone()).await?;
        let server = admitted.server.clone();
        let session = Session::new(server, Arc::clone(&admitted.principal), inbound, running, &self.limits)
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

    fn crowded(&self) -> Refused {
        busy(&format!("{} requests of this session are open (limits.in_flight)", self.limits.in_flight))
    }
}

fn no_version(message: &Message) -> Refused {
    let reason = "refused by countersign: _meta lacks io.modelcontextprotocol/protocolVersion";
    Refused::because(StatusCode::BAD_REQUEST, Malformed::new(INVALID_PARAMS, reason).about(message))
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
