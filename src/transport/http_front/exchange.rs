//! One reader of answers: a POST from its hand-over to the last byte of its answer, or a GET.
//!
//! Invariant: however it ends, the session's other end learns of it: by the answer that left, or by
//! [`FromClient::Gone`]. Where the client may come back for the answer, its session says so when it did not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::joint::Joint;
use super::session::Session;
use super::streams::{EventId, Left, Opened, StreamId};
use crate::json::JsonText;
use crate::mcp::message::Id;
use crate::transport::answer::{self, Outgoing};
use crate::transport::{FromClient, ToClient};

/// A message for the client; `id` names it as an event, where the client can come back after it.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) text: JsonText,
    pub(super) id: Option<EventId>,
}

/// What happens on the way to an answer.
#[derive(Debug)]
pub(super) enum Turn {
    /// It will take a while, or comes as a stream.
    Waiting,
    /// Nothing comes for now.
    Later,
    /// A message that is not the answer.
    Related(Said),
    Answer {
        said: Said,
        request: Id,
        /// Nothing follows.
        last: bool,
    },
}

/// Where the turns come from.
#[derive(Debug)]
enum Source {
    /// A stream of a session of the era that has them.
    Stream { session: Arc<Session>, stream: StreamId, reader: u64, turns: mpsc::Receiver<Turn>, missed: VecDeque<Turn> },
    /// A session that requests which stand alone have in common.
    Joint { joint: Arc<Joint>, number: i64, turns: mpsc::Receiver<Turn> },
    /// A session of this request's own, which ends with it.
    Own { outbound: mpsc::Receiver<ToClient>, inbound: mpsc::Sender<FromClient> },
}

/// Someone who waits. Dropped before all is answered, it tells the session that the client is gone.
#[derive(Debug)]
pub(super) struct Exchange {
    source: Source,
    /// Requests whose answers have not come; a listening stream has none.
    open: Vec<Id>,
    /// The answers go out as one array, where they go out as JSON.
    pub(super) batch: bool,
    /// The request that began the session: without its answer the session is of no use to anyone.
    begins: bool,
    /// The event that a client can come back after, before there was any other.
    pub(super) start: Option<EventId>,
    tracker: TaskTracker,
}

impl Exchange {
    pub(super) fn stream(session: Arc<Session>, opened: Opened, batch: bool, tracker: TaskTracker) -> Exchange {
        let Opened { stream, reader, turns, missed, owes: open, begins, start } = opened;
        let start = session.is_primed().then_some(start);
        let source = Source::Stream { session, stream, reader, turns, missed };
        Exchange { source, open, batch, begins, start, tracker }
    }

    /// `id` is the request's own.
    pub(super) fn joint(
        id: Id,
        joint: Arc<Joint>,
        number: i64,
        turns: mpsc::Receiver<Turn>,
        tracker: TaskTracker,
    ) -> Exchange {
        let source = Source::Joint { joint, number, turns };
        Exchange { source, open: vec![id], batch: false, begins: false, start: None, tracker }
    }

    pub(super) fn own(
        id: Id,
        outbound: mpsc::Receiver<ToClient>,
        inbound: mpsc::Sender<FromClient>,
        tracker: TaskTracker,
    ) -> Exchange {
        let source = Source::Own { outbound, inbound };
        Exchange { source, open: vec![id], batch: false, begins: false, start: None, tracker }
    }

    /// Requests that were not answered when the session ended; nothing where only this stream of it has ended.
    pub(super) fn unanswered(&self) -> &[Id] {
        let ended = match &self.source {
            Source::Stream { session, .. } => session.has_ended(),
            Source::Joint { joint, .. } => joint.has_ended(),
            Source::Own { .. } => true,
        };
        if ended { &self.open } else { &[] }
    }

    /// The client is told the id of an event.
    pub(super) fn tells_id(&self) {
        if let Source::Stream { session, stream, .. } = &self.source {
            session.known(*stream);
        }
    }

    /// True where the client knows by now how to come back for what it has not got.
    pub(super) fn may_return(&self) -> bool {
        match &self.source {
            Source::Stream { session, stream, .. } => session.may_return(*stream),
            Source::Joint { .. } | Source::Own { .. } => false,
        }
    }

    pub(super) async fn next(&mut self) -> Option<Turn> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next turn; `None` where nothing more comes.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Turn>> {
        let turn = match &mut self.source {
            Source::Stream { turns, missed, .. } => match missed.pop_front() {
                Some(turn) => Some(turn),
                None => ready!(turns.poll_recv(cx)),
            },
            Source::Joint { turns, .. } => ready!(turns.poll_recv(cx)),
            Source::Own { outbound, .. } => ready!(outbound.poll_recv(cx)).map(|event| match event {
                ToClient::Waiting(_) => Turn::Waiting,
                ToClient::Later(_) => Turn::Later,
                ToClient::Message { text, .. } => match (answer::kind(&text), self.open.first()) {
                    (Outgoing::Result | Outgoing::Error(_), Some(request)) => {
                        Turn::Answer { request: request.clone(), said: Said { text, id: None }, last: true }
                    }
                    _ => Turn::Related(Said { text, id: None }),
                },
            }),
        };
        if let Some(Turn::Answer { request, last, .. }) = &turn {
            self.open.retain(|id| id != request && !last);
        }
        if let Source::Stream { session, .. } = &self.source
            && self.begins
            && begun_badly(turn.as_ref())
        {
            session.end();
        }
        Poll::Ready(turn)
    }
}

/// A session whose first request failed is of no use.
fn begun_badly(turn: Option<&Turn>) -> bool {
    match turn {
        None => true,
        Some(Turn::Answer { said, .. }) => matches!(answer::kind(&said.text), Outgoing::Error(_)),
        Some(Turn::Waiting | Turn::Later | Turn::Related(_)) => false,
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        match &self.source {
            Source::Stream { session, stream, reader, .. } => match session.leave(*stream, *reader) {
                Left::Nothing | Left::Waiting => {}
                Left::Session => session.end(),
                Left::Gone(requests) => {
                    let Some(inbound) = session.inbound() else { return };
                    requests.into_iter().for_each(|id| tell_gone(&inbound, id, &self.tracker));
                }
            },
            Source::Joint { joint, number, .. } => {
                // The answer may be in the queue already: then there is nothing left to take back.
                if joint.close(*number)
                    && let Some(inbound) = joint.inbound()
                {
                    tell_gone(&inbound, Id::Number(*number), &self.tracker);
                }
            }
            Source::Own { inbound, .. } => {
                for id in self.open.drain(..) {
                    tell_gone(inbound, id, &self.tracker);
                }
            }
        }
    }
}

/// Says that nobody waits for a request any more.
pub(super) fn tell_gone(inbound: &mpsc::Sender<FromClient>, id: Id, tracker: &TaskTracker) {
    if let Err(mpsc::error::TrySendError::Full(gone)) = inbound.try_send(FromClient::Gone(id)) {
        let inbound = inbound.clone();
        tracker.spawn(async move {
            let _ = inbound.send(gone).await;
        });
    }
}
