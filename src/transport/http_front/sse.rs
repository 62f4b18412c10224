//! Response bodies: one JSON text, or an event stream that is written as its messages come and never held back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::exchange::{Exchange, Said, Turn};
use super::streams::EventId;
use crate::json::JsonText;
use crate::mcp::message::Id;
use crate::mcp::reply;

/// A comment is sent when nothing was sent for this long: clients and middle boxes drop a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const COMMENT: &[u8] = b":\n\n";
const BEFORE: &[u8] = b"event: message\ndata: ";
const AFTER: &[u8] = b"\n\n";
/// A client that lost the stream may come back after a second: well within the time that it is waited for.
const RETRY: &str = "retry: 1000\n";
/// Larger texts are sent as they are, between the two parts above.
const JOINED: usize = 16 << 10;

/// JSON-RPC's code for a failure of the one who answers.
pub(super) const INTERNAL_ERROR: i64 = -32603;

/// What the front answers with.
#[derive(Debug)]
pub(super) enum Answer {
    Whole(Option<Bytes>),
    Events(Box<Events>),
}

impl Answer {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Answer {
        Answer::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answer::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Answer::Events(events) => events.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(bytes) => bytes.is_none(),
            Answer::Events(events) => events.over && events.ready.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
            }
            Answer::Events(_) => SizeHint::default(),
        }
    }
}

/// An event stream.
#[derive(Debug)]
pub(super) struct Events {
    exchange: Exchange,
    ready: VecDeque<Bytes>,
    quiet: Pin<Box<Sleep>>,
    /// The client has been told when to come back.
    retry_told: bool,
    /// The stream ends then, whatever is still to come.
    end: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Events {
    /// `first` is what came before the stream was opened.
    pub(super) fn new(exchange: Exchange, first: Vec<Said>) -> Events {
        let quiet = Box::pin(sleep(KEEP_ALIVE));
        let mut events = Events { exchange, ready: VecDeque::new(), quiet, retry_told: false, end: None, over: false };
        match events.exchange.start.take() {
            Some(start) => {
                let head = events.head(Some(start));
                events.ready.push_back(Bytes::from([head.as_bytes(), b"data:\n\n"].concat()));
            }
            // Headers alone may be held back on the way; a comment brings them through.
            None if first.is_empty() => events.ready.push_back(Bytes::from_static(COMMENT)),
            None => {}
        }
        first.into_iter().for_each(|said| events.push(said));
        events
    }

    /// With an end.
    pub(super) fn until(self, end: Option<Instant>) -> Events {
        Events { end: end.map(|end| Box::pin(sleep_until(end))), ..self }
    }

    /// The fields before the data. With the first id the client learns when to come back if it loses the stream.
    fn head(&mut self, id: Option<EventId>) -> String {
        let Some(id) = id else { return String::new() };
        self.exchange.tells_id();
        let retry = if std::mem::replace(&mut self.retry_told, true) { "" } else { RETRY };
        format!("id: {id}\n{retry}")
    }

    fn push(&mut self, said: Said) {
        let Said { text, id } = said;
        let head = self.head(id);
        if text.as_str().len() > JOINED {
            let before = Bytes::from([head.as_bytes(), BEFORE].concat());
            self.ready.extend([before, text.into_bytes(), Bytes::from_static(AFTER)]);
            return;
        }
        let parts = [head.as_bytes(), BEFORE, text.as_str().as_bytes(), AFTER];
        self.ready.push_back(Bytes::from(parts.concat()));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
                return Poll::Ready(Some(bytes));
            }
            if self.over || self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
                self.over = true;
                return Poll::Ready(None);
            }
            match self.exchange.poll_next(cx) {
                Poll::Ready(Some(Turn::Waiting)) => {}
                // As the server does: it holds no connection open while it has nothing to say.
                Poll::Ready(Some(Turn::Later)) => self.over = self.exchange.may_return(),
                Poll::Ready(Some(Turn::Related(said))) => self.push(said),
                Poll::Ready(Some(Turn::Answer { said, last, .. })) => {
                    self.push(said);
                    self.over = last;
                }
                Poll::Ready(None) => {
                    let unanswered = self.exchange.unanswered().to_vec();
                    unanswered.iter().for_each(|id| self.push(Said { text: session_ended(id), id: None }));
                    self.over = true;
                }
                Poll::Pending => {
                    if self.quiet.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.ready.push_back(Bytes::from_static(COMMENT));
                }
            }
        }
    }
}

/// The answer where the session ended without one.
pub(super) fn session_ended(id: &Id) -> JsonText {
    reply::error(id, INTERNAL_ERROR, "countersign: the session ended before this request was answered")
}
