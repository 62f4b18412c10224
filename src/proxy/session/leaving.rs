//! Requests that are taken back, among them calls that their link has and that have not left: a server may be slow to take
//! them. What ends such a call ends it as if it had never been handed over, and nobody upstream is told.
//!
//! Invariant: of a call that was taken back no byte leaves. Its id stays in use until its link has dropped it.

use tokio::time::Instant;

use crate::call::{Leave, Outcome};
use crate::gate::{Presence, SentCall};
use crate::mcp::message::Id;
use crate::mcp::method::Passage;

use super::{Open, Request, Session};

impl Open {
    /// An answer to it may come.
    pub(super) fn has_left(&self) -> bool {
        match self {
            Open::Sent { sent } => sent.leave().has_left(),
            Open::Passed { .. } => true,
            Open::Deciding { .. } | Open::Returned => false,
        }
    }

    /// A decided call that its link has not sent.
    pub(super) fn waits_to_leave(&self) -> Option<&SentCall> {
        match self {
            Open::Sent { sent } if !sent.leave().has_left() => Some(sent),
            Open::Sent { .. } | Open::Passed { .. } | Open::Deciding { .. } | Open::Returned => None,
        }
    }
}

impl Session {
    /// The client takes a request back. What never left is not cancelled upstream.
    pub(super) async fn cancel(&mut self, id: &Id, passage: Passage) {
        let Some(request) = self.open.get_mut(id) else { return };
        // Answered with a task, which `tasks/cancel` cancels.
        if request.wait.task.is_some() {
            return;
        }
        match &request.state {
            Open::Deciding { presence, .. } => {
                request.cancelled = true;
                presence.leave(Outcome::Withdrawn, "the client cancelled the call");
            }
            Open::Passed { method, .. } if method == "initialize" => {}
            Open::Returned => {}
            Open::Sent { .. } | Open::Passed { .. } => {
                request.cancelled = true;
                if self.takes_back(id, Outcome::Withdrawn, "the client cancelled the call").await {
                    return;
                }
                if self.upstream.pass(passage).is_err() {
                    tracing::debug!(session = self.id, "a cancellation was not passed on");
                }
                self.end_questions(id);
            }
        }
    }

    /// The stream that would carry an answer is closed.
    pub(super) async fn gone(&mut self, id: &Id) {
        let Some(request) = self.open.get_mut(id) else { return };
        request.cancelled = true;
        let (modern, why) = (request.modern, "the client closed the connection");
        match &request.state {
            Open::Deciding { presence, .. } => presence.leave(Outcome::Withdrawn, why),
            Open::Returned => return,
            // In the modern era a closed stream is the cancellation; before it, a lost connection is not one.
            Open::Sent { .. } | Open::Passed { .. } => {
                if !self.takes_back(id, Outcome::Withdrawn, why).await && modern {
                    self.upstream.abandon(id);
                }
            }
        }
        self.end_questions(id);
    }

    /// Takes a call back that has not left, and answers it. False where there is none.
    pub(super) async fn takes_back(&mut self, id: &Id, outcome: Outcome, why: &str) -> bool {
        let Some(Open::Sent { sent }) = self.open.get(id).map(|request| &request.state) else { return false };
        if !sent.leave().take_back(outcome, why) {
            return false;
        }
        self.stayed(id.clone()).await;
        self.open.insert(id.clone(), Request::returned());
        true
    }

    /// A call does not leave: recorded, and answered as a refusal.
    pub(super) async fn stayed(&mut self, id: Id) {
        let Some(request) = self.open.get_mut(&id) else { return };
        let Open::Sent { sent } = &request.state else { return };
        let Some((outcome, why)) = sent.leave().refused() else { return };
        let undecided = Open::Deciding { method: sent.method(), presence: Presence::default() };
        let Open::Sent { sent } = std::mem::replace(&mut request.state, undecided) else { return };
        request.wait.running = None;
        self.end_questions(&id);
        let refusal = self.shared.gate.stayed(sent, outcome, &why).await;
        self.decided_against(id, refusal).await;
    }

    /// The session is over for calls that have not left.
    pub(super) async fn take_all_back(&mut self, outcome: Outcome, why: &str) {
        let waiting = |(id, request): (&Id, &Request)| request.state.waits_to_leave().map(|_| id.clone());
        let waiting: Vec<Id> = self.open.iter().filter_map(waiting).collect();
        for id in waiting {
            self.takes_back(&id, outcome, why).await;
        }
    }

    /// When the first of them has waited for too long.
    pub(super) fn next_late(&self) -> Option<Instant> {
        self.open.values().filter_map(|request| Some(request.state.waits_to_leave()?.leave().until())).min()
    }

    pub(super) async fn end_late(&mut self) {
        let now = Instant::now();
        let late = |(id, request): (&Id, &Request)| {
            request.state.waits_to_leave().filter(|sent| now >= sent.leave().until()).map(|_| id.clone())
        };
        let late: Vec<Id> = self.open.iter().filter_map(late).collect();
        for id in late {
            self.takes_back(&id, Outcome::Unavailable, Leave::LATE).await;
        }
    }
}

impl Request {
    fn returned() -> Request {
        Request {
            state: Open::Returned,
            modern: false,
            capabilities: None,
            cancelled: true,
            wait: super::held::Wait::default(),
        }
    }
}
