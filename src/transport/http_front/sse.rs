//! Response bodies: one JSON text, or an event stream that is written as its messages come and never held back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use super::exchange::{Exchange, Turn};
use super::session::Session;
use crate::json::JsonText;
use crate::mcp::reply;

/// A comment is sent when nothing was sent for this long: clients and middle boxes drop a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const COMMENT: &[u8] = b":\n\n";
const BEFORE: &[u8] = b"event: message\ndata: ";
const AFTER: &[u8] = b"\n\n";
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

/// Where the events of a stream come from.
#[derive(Debug)]
pub(super) enum Feed {
    Exchange(Exchange),
    Listener { turns: mpsc::Receiver<Turn>, session: Arc<Session>, number: u64 },
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Feed::Listener { session, number, .. } = self {
            session.unlisten(*number);
        }
    }
}

/// An event stream.
#[derive(Debug)]
pub(super) struct Events {
    feed: Feed,
    ready: VecDeque<Bytes>,
    quiet: Pin<Box<Sleep>>,
    over: bool,
}

impl Events {
    /// `first` is a message that came before the stream was opened.
    pub(super) fn new(feed: Feed, first: Option<JsonText>) -> Events {
        let mut events = Events { feed, ready: VecDeque::new(), quiet: Box::pin(sleep(KEEP_ALIVE)), over: false };
        match first {
            Some(text) => events.push(text),
            // Headers alone may be held back on the way; a comment brings them through.
            None => events.ready.push_back(Bytes::from_static(COMMENT)),
        }
        events
    }

    fn push(&mut self, text: JsonText) {
        if text.as_str().len() > JOINED {
            self.ready.extend([Bytes::from_static(BEFORE), text.into_bytes(), Bytes::from_static(AFTER)]);
            return;
        }
        let parts = [BEFORE, text.as_str().as_bytes(), AFTER];
        self.ready.push_back(Bytes::from(parts.concat()));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
                return Poll::Ready(Some(bytes));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let turn = match &mut self.feed {
                Feed::Exchange(exchange) => exchange.poll_next(cx),
                Feed::Listener { turns, .. } => turns.poll_recv(cx),
            };
            match turn {
                Poll::Ready(Some(Turn::Waiting)) => {}
                Poll::Ready(Some(Turn::Related(text))) => self.push(text),
                Poll::Ready(Some(Turn::Answer(text))) => {
                    self.push(text);
                    self.over = true;
                }
                Poll::Ready(None) => {
                    if let Feed::Exchange(exchange) = &self.feed {
                        let text = session_ended(exchange);
                        self.push(text);
                    }
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
pub(super) fn session_ended(exchange: &Exchange) -> JsonText {
    reply::error(exchange.id(), INTERNAL_ERROR, "countersign: the session ended before this request was answered")
}
