//! Event streams: the one that answers a request, and the one for what belongs to no request.
//!
//! Invariant: a stream that broke is asked for again by the id of its last event; the request is not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::head::Asked;
use super::wire::{Answered, Done, Form, Rest, Wire, form, session_over};
use crate::mcp::loss::{Cause, Fate, Loss};
use crate::mcp::message::{Id, Message};
use crate::transport::FromUpstream;
use crate::transport::sse::{Decoder, Event};

/// The event that a stream of the transport of 2024-11-05 begins with.
pub(super) const ENDPOINT: &str = "endpoint";
/// A stream is asked for again this often in a row without an event.
const AGAIN: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// However soon the upstream wants to be asked again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Longest first event that is looked at.
const FIRST_EVENT: usize = 4 << 10;

/// What came of asking for a stream.
enum Opened {
    Stream(Rest),
    /// There is none.
    Refused(StatusCode),
    /// This time there is none.
    Failed,
}

/// What came of reading one.
enum Read {
    Answered(Answered),
    /// In good order, without an answer.
    Ended,
    Broke(String),
}

impl Wire {
    /// The answer to a request, out of a stream.
    pub(super) async fn stream(&self, id: &Id, first: Rest, asked: &Asked) -> Result<Answered, Loss> {
        let mut decoder = Decoder::new(self.limits.answer_bytes);
        let (mut source, mut silent) = (first, 0);
        loop {
            let before = decoder.last_id().map(str::to_owned);
            let broke = match self.read(id, source, asked, &mut decoder, &mut silent).await? {
                Read::Answered(answered) => return Ok(answered),
                Read::Ended => {
                    if goes_on(&decoder, asked) {
                        self.tell(FromUpstream::Pauses { id: id.clone() }).await;
                    }
                    "the upstream's stream ended without an answer".to_owned()
                }
                Read::Broke(why) => why,
            };
            if decoder.last_id() != before.as_deref() {
                silent = 0;
            }
            source = self.resume(&mut decoder, &mut silent, asked, broke).await?;
        }
    }

    async fn read(
        &self,
        id: &Id,
        mut source: Rest,
        asked: &Asked,
        decoder: &mut Decoder,
        silent: &mut u32,
    ) -> Result<Read, Loss> {
        loop {
            let data = match source.body.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Ok(Read::Broke(format!("the upstream's stream broke: {error}"))),
                None => return Ok(Read::Ended),
            };
            decoder.push(&data).map_err(|error| Loss::unknown(format!("the upstream's stream: {error}")))?;
            while let Some(event) = decoder.next_event() {
                *silent = 0;
                if event.name.as_deref() == Some(ENDPOINT) {
                    return Err(self.speaks_sse(Fate::Unknown));
                }
                let Some(message) = self.beside_the_answer(id, self.said(event).await).await else { continue };
                // The end of the stream mostly comes along with the answer: then its connection is there for the next
                // request, which may come as soon as the answer is told.
                let answered = match source.body.frame().now_or_never() {
                    Some(None) => {
                        self.client.keep(self.spec.server(), source.connection);
                        Answered::Whole
                    }
                    Some(Some(_)) | None => Answered::Rest(source),
                };
                self.answer(id, message, asked).await;
                return Ok(Read::Answered(answered));
            }
        }
    }

    /// The stream again, from its last whole event on, where its era and the upstream know how to do that.
    async fn resume(
        &self,
        decoder: &mut Decoder,
        silent: &mut u32,
        asked: &Asked,
        broke: String,
    ) -> Result<Rest, Loss> {
        if !goes_on(decoder, asked) {
            return Err(Loss::unknown(broke));
        }
        while *silent < AGAIN {
            sleep(self.pause(decoder, *silent)).await;
            *silent += 1;
            match self.open(decoder.last_id()).await {
                Opened::Stream(rest) => {
                    debug!("a stream of the upstream goes on");
                    decoder.restart();
                    return Ok(rest);
                }
                Opened::Refused(status) if status == StatusCode::NOT_FOUND && self.head.has_session() => {
                    return Err(Loss::new(Fate::Unknown, Cause::SessionOver, session_over(status)));
                }
                Opened::Refused(status) => {
                    return Err(Loss::unknown(format!("{broke}, and it does not go on with it ({status})")));
                }
                Opened::Failed => {}
            }
        }
        Err(Loss::unknown(format!("{broke}, and again after {AGAIN} more tries")))
    }

    fn pause(&self, decoder: &Decoder, silent: u32) -> Duration {
        let pause = decoder.retry().map_or(PAUSE * 2_u32.pow(silent), Duration::from_millis);
        pause.clamp(SHORTEST_PAUSE, self.limits.answer_timeout.max(SHORTEST_PAUSE))
    }

    async fn open(&self, last_event: Option<&str>) -> Opened {
        let sending = match (self.token().await, self.head.get(last_event)) {
            (Ok(token), Ok(request)) => self.send(request, token, None),
            (Err(loss), _) | (_, Err(loss)) => {
                debug!(reason = %loss.reason, "a stream of the upstream could not be opened");
                return Opened::Failed;
            }
        };
        let (response, connection) = match timeout(self.limits.connect_timeout, sending).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(loss)) => {
                debug!(reason = %loss.reason, "a stream of the upstream could not be opened");
                return Opened::Failed;
            }
            Err(_) => return Opened::Failed,
        };
        let status = response.status();
        match form(response.headers()) {
            Form::Events if status == StatusCode::OK => Opened::Stream(Rest { body: response.into_body(), connection }),
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Opened::Failed,
            _ => Opened::Refused(status),
        }
    }

    /// The stream for what belongs to no request.
    pub(super) async fn listen(self: Arc<Self>) -> Done {
        let mut decoder = Decoder::new(self.limits.answer_bytes);
        let (mut silent, mut opened) = (0, false);
        while silent < AGAIN {
            silent += 1;
            match self.open(decoder.last_id()).await {
                Opened::Stream(source) => {
                    opened = true;
                    decoder.restart();
                    match self.hear(source, &mut decoder).await {
                        Some(true) => silent = 0,
                        Some(false) => {}
                        None => return Done::Beside,
                    }
                }
                Opened::Refused(status) if opened && status == StatusCode::NOT_FOUND && self.head.has_session() => {
                    return Done::SessionEnded { id: None, reason: session_over(status) };
                }
                Opened::Refused(status) => {
                    debug!(%status, "the upstream has no listening stream");
                    return Done::Beside;
                }
                Opened::Failed => {}
            }
            sleep(self.pause(&decoder, silent)).await;
        }
        info!("the upstream keeps closing its listening stream; it is not opened again");
        Done::Beside
    }

    /// Passes on what comes. Whether anything came before the end; nothing where the stream cannot be read on.
    async fn hear(&self, mut source: Rest, decoder: &mut Decoder) -> Option<bool> {
        let before = decoder.last_id().map(str::to_owned);
        let mut heard = false;
        while let Some(Ok(frame)) = source.body.frame().await {
            if decoder.push(&frame.into_data().unwrap_or_default()).is_err() {
                warn!("an event on the listening stream is too long; the stream is not read on");
                return None;
            }
            while let Some(event) = decoder.next_event() {
                heard = true;
                for message in self.said(event).await {
                    self.tell(FromUpstream::Message { message, related: None }).await;
                }
            }
        }
        Some(heard || decoder.last_id() != before.as_deref())
    }

    /// What an event says.
    async fn said(&self, event: Event) -> Vec<Message> {
        if event.name.as_deref().is_some_and(|name| name != "message") {
            debug!("an event of another kind than message is ignored");
            return Vec::new();
        }
        self.messages(event.data).await.unwrap_or_else(|malformed| {
            warn!(reason = %malformed.reason, "the upstream sent an event that cannot be read");
            Vec::new()
        })
    }
}

/// Whether a stream that has ended can be asked for again.
fn goes_on(decoder: &Decoder, asked: &Asked) -> bool {
    asked.legacy && decoder.last_id().is_some()
}

/// The name of a stream's first event.
pub(super) async fn first_event(mut source: Rest) -> Option<String> {
    let mut decoder = Decoder::new(FIRST_EVENT);
    let mut bytes = 0;
    while bytes <= FIRST_EVENT {
        let data = source.body.frame().await?.ok()?.into_data().unwrap_or_default();
        bytes += data.len();
        decoder.push(&data).ok()?;
        if let Some(event) = decoder.next_event() {
            return event.name;
        }
    }
    None
}
