//! One POST request from its hand-over to the last byte of its answer.
//!
//! Invariant: however it ends, the session's other end learns of it: by the answer that left, or by
//! [`FromClient::Gone`].

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::answer::{self, Outgoing};
use super::session::Session;
use crate::json::JsonText;
use crate::mcp::message::Id;
use crate::transport::{FromClient, ToClient};

/// What happens on the way to an answer.
#[derive(Debug)]
pub(super) enum Turn {
    /// It will take a while.
    Waiting,
    /// A message that is not the answer.
    Related(JsonText),
    Answer(JsonText),
}

/// Where the turns come from.
#[derive(Debug)]
enum Source {
    /// A session shared with other requests; its pump has sorted.
    Shared { turns: mpsc::Receiver<Turn>, session: Arc<Session>, tracker: TaskTracker },
    /// A session of this request's own, which ends with it.
    Own { outbound: mpsc::Receiver<ToClient>, inbound: mpsc::Sender<FromClient> },
}

/// An open request. Dropped before its answer, it tells the session that the client is gone.
#[derive(Debug)]
pub(super) struct Exchange {
    id: Id,
    source: Source,
    answered: bool,
    /// The request that began the session: without its answer the session is of no use to anyone.
    begins: bool,
}

impl Exchange {
    pub(super) fn shared(
        id: Id,
        turns: mpsc::Receiver<Turn>,
        session: Arc<Session>,
        begins: bool,
        tracker: TaskTracker,
    ) -> Exchange {
        Exchange { id, source: Source::Shared { turns, session, tracker }, answered: false, begins }
    }

    pub(super) fn own(id: Id, outbound: mpsc::Receiver<ToClient>, inbound: mpsc::Sender<FromClient>) -> Exchange {
        Exchange { id, source: Source::Own { outbound, inbound }, answered: false, begins: false }
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    pub(super) async fn next(&mut self) -> Option<Turn> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next turn; `None` where the session ended without an answer.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Turn>> {
        let turn = match &mut self.source {
            Source::Shared { turns, .. } => ready!(turns.poll_recv(cx)),
            Source::Own { outbound, .. } => ready!(outbound.poll_recv(cx)).map(|event| match event {
                ToClient::Waiting(_) => Turn::Waiting,
                ToClient::Message { text, .. } => match answer::kind(&text) {
                    Outgoing::Result | Outgoing::Error(_) => Turn::Answer(text),
                    Outgoing::Call => Turn::Related(text),
                },
            }),
        };
        self.answered |= matches!(turn, Some(Turn::Answer(_)) | None);
        if let Source::Shared { session, .. } = &self.source
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
        Some(Turn::Answer(text)) => matches!(answer::kind(text), Outgoing::Error(_)),
        Some(Turn::Waiting | Turn::Related(_)) => false,
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        match &self.source {
            Source::Shared { session, tracker, .. } => {
                // The answer may be in the queue already: then there is nothing left to take back.
                let open = session.close(&self.id);
                if self.answered {
                    return;
                }
                if self.begins {
                    session.end();
                }
                let Some(inbound) = session.inbound().filter(|_| open) else { return };
                let gone = FromClient::Gone(self.id.clone());
                if let Err(mpsc::error::TrySendError::Full(gone)) = inbound.try_send(gone) {
                    tracker.spawn(async move {
                        let _ = inbound.send(gone).await;
                    });
                }
            }
            // Its queue holds at most the request, so there is room.
            Source::Own { inbound, .. } if !self.answered => {
                let _ = inbound.try_send(FromClient::Gone(self.id.clone()));
            }
            Source::Own { .. } => {}
        }
    }
}
