//! Single exchanges with an HTTP upstream: a message there, and what an answer of each form means.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, error, warn};

use super::head::{Asked, Head};
use super::signed_in::Token;
use super::spec::HttpSpec;
use super::status;
use crate::call::{Ended, Leave, Limits};
use crate::credential::scrub::Scrubber;
use crate::json::Json;
use crate::mcp::batch;
use crate::mcp::loss::{Cause, Fate, Loss};
use crate::mcp::message::{Id, METHOD_NOT_FOUND, Malformed, Message, Shape};
use crate::mcp::reply;
use crate::transport::FromUpstream;
use crate::transport::http_client::{Connection, HttpClient, NoResponse};
use crate::transport::lanes::long;

/// Longest body of an error that is read.
const ERROR_BYTES: usize = 64 << 10;
/// After the answer a body has nothing more to say; reading it to its end keeps the connection.
const REST: Duration = Duration::from_millis(500);
const REST_BYTES: usize = 64 << 10;
/// Room that is made for an answer before it comes, where the upstream says how long it is.
const ROOM: usize = 256 << 10;
/// How long a server that refuses everything may take to show that it speaks HTTP+SSE.
const PROBE: Duration = Duration::from_secs(5);

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
    /// Something that was done beside requests: a stream was listened to, or a loss was told.
    Beside,
    SessionEnded {
        id: Option<Id>,
        reason: String,
    },
}

/// How a request was answered.
pub(super) enum Answered {
    /// Its body was read to the end, or is not worth it.
    Whole,
    Rest(Rest),
    /// The answer says that the session is over.
    Last(StatusCode),
}

/// A body that was not read to its end.
pub(super) struct Rest {
    pub(super) body: Incoming,
    pub(super) connection: Connection,
}

impl From<NoResponse> for Loss {
    fn from(no: NoResponse) -> Loss {
        if no.sent { Loss::unknown(no.reason) } else { Loss::not_sent(no.reason) }
    }
}

/// A link's side of the wire.
pub(super) struct Wire {
    pub(super) spec: Arc<HttpSpec>,
    pub(super) client: HttpClient,
    pub(super) head: Head,
    pub(super) limits: Limits,
    scrubber: Arc<Scrubber>,
    to_session: mpsc::Sender<FromUpstream>,
    /// The upstream has accepted a request, or was looked at when it did not: it is what it should be, or was told.
    known: AtomicBool,
}

impl Wire {
    pub(super) fn new(
        spec: Arc<HttpSpec>,
        client: HttpClient,
        scrubber: Arc<Scrubber>,
        limits: Limits,
        to_session: mpsc::Sender<FromUpstream>,
    ) -> Wire {
        let head = Head::new(Arc::clone(&spec));
        Wire { spec, client, head, limits, scrubber, to_session, known: AtomicBool::new(false) }
    }

    pub(super) fn session_gone(&self) -> impl Future<Output = ()> {
        self.to_session.closed()
    }

    pub(super) async fn tell(&self, event: FromUpstream) {
        // A session that is gone needs no news.
        let _ = self.to_session.send(event).await;
    }

    pub(super) async fn lost(&self, id: Id, loss: Loss) {
        self.tell(FromUpstream::Lost { id, loss }).await;
    }

    /// One message there, and everything that comes back for it.
    pub(super) async fn exchange(self: Arc<Self>, message: Message, leave: Option<Leave>) -> Done {
        let asked = self.head.asks(&message, leave);
        let begins = asked.begins;
        let Some(id) = asked.id.clone() else { return self.notify(message, &asked).await };
        // A token that has to be renewed first has a time of its own.
        let answered = match self.token().await {
            Err(loss) => Err(loss),
            Ok(token) => {
                let ask = pin!(self.ask(&id, message, token, &asked));
                if asked.stays || asked.waits { ask.await } else { self.in_time(ask).await }
            }
        };
        match answered {
            Ok(Answered::Whole) => Done::Request { id, begins },
            Ok(Answered::Rest(rest)) => {
                self.read_rest(rest).await;
                Done::Request { id, begins }
            }
            Ok(Answered::Last(status)) => Done::SessionEnded { id: Some(id), reason: session_over(status) },
            Err(loss) => {
                let ended = (loss.cause == Cause::SessionOver).then(|| loss.reason.clone());
                self.lost(id.clone(), loss).await;
                match ended {
                    Some(reason) => Done::SessionEnded { id: Some(id), reason },
                    None => Done::Request { id, begins },
                }
            }
        }
    }

    /// The work stays where its caller has pinned it.
    async fn in_time<T, W: Future<Output = Result<T, Loss>>>(&self, work: Pin<&mut W>) -> Result<T, Loss> {
        let allowed = self.limits.answer_timeout;
        timeout(allowed, work).await.unwrap_or_else(|_| {
            let seconds = allowed.as_secs();
            Err(Loss::unknown(format!("no answer from the upstream within {seconds} s (limits.answer_timeout)")))
        })
    }

    async fn ask(&self, id: &Id, message: Message, token: Token, asked: &Asked) -> Result<Answered, Loss> {
        let request = self.head.post(message, asked)?;
        // A stream that stays has no deadline; the way to it has. What is rare is put aside: the work of every request is
        // moved about, and would have room for all of it.
        let (response, connection) = match asked {
            Asked { begins: true, .. } => Box::pin(self.begin(request, token)).await?,
            Asked { stays: true, leave, .. } => {
                let mut send = Box::pin(self.send(request, token, leave.as_ref()));
                self.in_time(send.as_mut()).await?
            }
            Asked { leave, .. } => self.send(request, token, leave.as_ref()).await?,
        };
        let status = response.status();
        if !status.is_success() {
            return Box::pin(self.refused(id, response, connection, asked)).await;
        }
        self.known.store(true, Ordering::Relaxed);
        if asked.begins && status == StatusCode::OK {
            self.head.remember_session(response.headers());
        }
        if response.headers().contains_key(CONTENT_ENCODING) {
            return Err(Loss::unknown("the upstream encoded its answer, which was not asked for"));
        }
        match (status, form(response.headers())) {
            (StatusCode::OK, Form::Json) => {
                let bytes = self.collect(response.into_body(), self.limits.answer_bytes).await?;
                self.client.keep(self.spec.server(), connection);
                let messages = self
                    .messages(bytes)
                    .await
                    .map_err(|malformed| Loss::unknown(format!("the upstream's answer cannot be read: {malformed}")))?;
                if !messages.iter().any(|message| answers(message, id)) {
                    return Err(Loss::unknown("the upstream's answer is not one to this request"));
                }
                if let Some(message) = self.beside_the_answer(id, messages).await {
                    self.answer(id, message, asked).await;
                }
                Ok(Answered::Whole)
            }
            (StatusCode::OK, Form::Events) => {
                self.tell(FromUpstream::Streams { id: id.clone() }).await;
                Box::pin(self.stream(id, Rest { body: response.into_body(), connection }, asked)).await
            }
            (StatusCode::OK, Form::Other) => Err(Loss::unknown("the upstream answered neither JSON nor events")),
            _ => Err(status::loss(status, response.headers())),
        }
    }

    /// An HTTP error: where its body is a JSON-RPC error about this request, that is the answer.
    async fn refused(
        &self,
        id: &Id,
        response: Response<Incoming>,
        connection: Connection,
        asked: &Asked,
    ) -> Result<Answered, Loss> {
        let (status, server) = (response.status(), self.spec.server());
        if let Some(loss) = self.sign_in_refused(&response) {
            return Err(loss);
        }
        status::report(server, status, response.headers(), &self.scrubber);
        let loss = status::loss(status, response.headers());
        if status::is_final(status, response.headers()) {
            return Err(loss);
        }
        let said = match form(response.headers()) {
            Form::Json => self.collect(response.into_body(), ERROR_BYTES).await.ok(),
            Form::Events | Form::Other => None,
        };
        let said = said.and_then(|bytes| Message::from_upstream(bytes).ok());
        if said.is_some() {
            self.client.keep(server, connection);
        }
        // A server that speaks MCP names a method that it does not know with the same status.
        let about_method = said.as_ref().and_then(error_code) == Some(METHOD_NOT_FOUND);
        let over = status == StatusCode::NOT_FOUND && asked.legacy && self.head.has_session() && !about_method;
        let said = match said {
            Some(message) if answers(&message, id) => Some(message),
            Some(message) if !over => named(&message, id),
            _ => None,
        };
        if let Some(message) = said {
            self.known.store(true, Ordering::Relaxed);
            self.answer(id, message, asked).await;
            return Ok(if over { Answered::Last(status) } else { Answered::Whole });
        }
        if over {
            return Err(Loss::new(Fate::Refused, Cause::SessionOver, session_over(status)));
        }
        let old = matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        if old && !self.known.swap(true, Ordering::Relaxed) && self.begins_with_an_endpoint().await {
            return Err(self.speaks_sse(Fate::Refused));
        }
        Err(loss)
    }

    /// Whether a stream of the upstream begins as one of 2024-11-05 does.
    async fn begins_with_an_endpoint(&self) -> bool {
        let looking = async {
            let request = self.head.get(None).ok()?;
            let (response, connection) = self.send(request, self.token().await.ok()?, None).await.ok()?;
            if response.status() != StatusCode::OK || !matches!(form(response.headers()), Form::Events) {
                return None;
            }
            super::stream::first_event(Rest { body: response.into_body(), connection }).await
        };
        let name = timeout(PROBE.min(self.limits.connect_timeout), looking).await;
        name.ok().flatten().is_some_and(|name| name == super::stream::ENDPOINT)
    }

    pub(super) fn speaks_sse(&self, fate: Fate) -> Loss {
        error!(
            server = self.spec.server(),
            "the upstream speaks HTTP+SSE, the transport of revision 2024-11-05, which countersign does not; put the \
             address of its streamable HTTP endpoint (often /mcp in place of /sse) into its url, or ask its vendor for one"
        );
        let reason = "it speaks HTTP+SSE, the transport of protocol revision 2024-11-05, and countersign speaks \
                      streamable HTTP only";
        Loss::new(fate, Cause::Unsupported, reason)
    }

    /// The message that came, or the messages where their revision has arrays of them.
    pub(super) async fn messages(&self, bytes: Vec<u8>) -> Result<Vec<Message>, Malformed> {
        if !batch::is_array(&bytes) {
            return Ok(vec![long(bytes.len(), move || Message::from_upstream(bytes)).await?]);
        }
        let members = batch::members(bytes, self.head.version())?;
        let readable = members.into_iter().filter_map(|member| {
            member.inspect_err(|no| warn!(reason = %no.reason, "the upstream sent a member that cannot be read")).ok()
        });
        Ok(readable.collect())
    }

    /// Passes on what is not the answer to this request. The answer, where it is among them.
    pub(super) async fn beside_the_answer(&self, id: &Id, messages: Vec<Message>) -> Option<Message> {
        let mut answer = None;
        for message in messages {
            if answer.is_none() && answers(&message, id) {
                answer = Some(message);
            } else {
                self.tell(FromUpstream::Message { message, related: Some(id.clone()) }).await;
            }
        }
        answer
    }

    pub(super) async fn answer(&self, id: &Id, message: Message, asked: &Asked) {
        if asked.begins {
            self.head.remember_version(&message);
        }
        self.tell(FromUpstream::Message { message, related: Some(id.clone()) }).await;
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
    async fn notify(&self, message: Message, asked: &Asked) -> Done {
        let begins = asked.begins;
        let sent = asked.leave.as_ref().map(Leave::sending);
        let ended = |how| sent.map_or((), |sent| sent.ended(how));
        let sending = async {
            let request = self.head.post(message, asked)?;
            let (token, leave) = (self.token().await?, asked.leave.as_ref());
            let (response, connection) = self.send(request, token, leave).await?;
            let status = response.status();
            if self.sign_in_refused(&response).is_none() {
                status::report(self.spec.server(), status, response.headers(), &self.scrubber);
            }
            self.read_rest(Rest { body: response.into_body(), connection }).await;
            Ok::<_, Loss>(status)
        };
        match timeout(self.limits.connect_timeout, sending).await {
            Ok(Ok(status)) if status.is_success() => {
                ended(Ended::Taken);
                return Done::Other { begins, listen: begins && asked.legacy };
            }
            Ok(Ok(status)) if status == StatusCode::NOT_FOUND && self.head.has_session() => {
                ended(Ended::Refused(session_over(status)));
                return Done::SessionEnded { id: None, reason: session_over(status) };
            }
            Ok(Ok(status)) => {
                warn!(%status, "the upstream did not accept a notification");
                // Whoever stands between may say so as well, after the upstream has taken it.
                if status.is_client_error() {
                    ended(Ended::Refused(format!("the upstream answered with status {}", status.as_u16())));
                }
            }
            Ok(Err(loss)) => {
                warn!(reason = %loss.reason, "a notification did not reach the upstream");
                if loss.fate == Fate::NotSent {
                    ended(Ended::NotSent(loss.reason));
                }
            }
            Err(_) => warn!("the upstream did not accept a notification in time"),
        }
        Done::Other { begins, listen: false }
    }

    /// Where there is a session, tells the upstream that it is over.
    pub(super) async fn end_session(&self) {
        if !self.head.has_session() {
            return;
        }
        let ended = match (self.token().await, self.head.delete()) {
            (Ok(token), Ok(request)) => self.send(request, token, None).await,
            (Err(loss), _) | (_, Err(loss)) => Err(loss),
        };
        match ended {
            Ok((response, connection)) => self.read_rest(Rest { body: response.into_body(), connection }).await,
            Err(loss) => debug!(reason = %loss.reason, "the upstream's session could not be ended"),
        }
    }

    async fn collect(&self, mut body: Incoming, limit: usize) -> Result<Vec<u8>, Loss> {
        let too_long = || Loss::unknown(format!("the upstream's answer is longer than {limit} bytes"));
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if expected > limit {
            return Err(too_long());
        }
        let mut bytes = Vec::with_capacity(expected.min(ROOM));
        // Where the length was said, the end is known without waiting for it.
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
            let frame = frame.map_err(|error| Loss::unknown(format!("the upstream's answer broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(too_long());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

pub(super) fn session_over(status: StatusCode) -> String {
    format!("the upstream ended the session ({status})")
}

pub(super) enum Form {
    Json,
    Events,
    Other,
}

pub(super) fn form(headers: &HeaderMap) -> Form {
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

fn error_code(message: &Message) -> Option<i64> {
    message.text().view().pointer("/error/code").and_then(Json::as_i64)
}

/// An error without an id in the body of an answer: it is about the request that it answers.
fn named(message: &Message, id: &Id) -> Option<Message> {
    match message.shape() {
        Shape::Response { id: None, is_error: true } => {
            Message::ours(reply::named_error(id, message.text().view().get("error")?)?)
        }
        _ => None,
    }
}
