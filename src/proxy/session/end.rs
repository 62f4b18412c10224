//! How a session comes to an end, and how a request does that gets no answer.
//!
//! Invariant: every call that was sent is recorded with what is known of its outcome, also where nobody waits for it.

use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use crate::audit::Answer;
use crate::call::{Decided, Outcome};
use crate::gate::{Admission, REPLACED};
use crate::mcp::loss::{Fate, Loss};
use crate::mcp::message::Id;
use crate::transport::FromUpstream;

use super::held::Part;
use super::{Open, Request, Session};

/// Why a session ends.
pub(super) enum Ending {
    ClientGone,
    UpstreamGone(String),
    Stopping,
    /// An operator has ended it.
    Operator,
    /// The token that its client was let in by has been replaced.
    Replaced,
}

impl Session {
    /// No answer will come to a request.
    pub(super) async fn lost(&mut self, id: Id, loss: Loss) {
        if self.poll_lost(&id) {
            return;
        }
        let fate = match self.open.get(&id).map(|request| &request.state) {
            // Nothing can be lost of a request that has not been sent; its hold, if there is one, has its own end.
            None | Some(Open::Deciding { .. }) => return,
            Some(Open::Sent { sent }) if sent.leave().refused().is_some() => return self.stayed(id).await,
            // Whatever its link thinks: what has not left does not from here on.
            Some(Open::Sent { sent }) if sent.leave().take_back(Outcome::Unavailable, &loss.reason) => Fate::NotSent,
            Some(Open::Sent { .. } | Open::Passed { .. } | Open::Returned) => loss.fate,
        };
        let Some(request) = self.open.remove(&id) else { return };
        self.end_questions(&id);
        let loss = Loss { fate, ..loss };
        let loss = Loss { reason: self.shared.scrubber.line(&loss.reason).into_owned(), ..loss };
        tracing::warn!(session = self.id, server = self.server.facts.name, %id, fate = ?loss.fate, reason = loss.reason, "no answer will come");
        if let Open::Sent { sent: call } = request.state {
            let answer = match loss.fate {
                Fate::NotSent => Answer::NotSent,
                Fate::Refused => Answer::Error,
                Fate::Unknown => Answer::OutcomeUnknown,
            };
            self.shared.gate.completed(call, answer, 0, None, Some(loss.reason.clone())).await;
        }
        if let (Part::Answers, Some(task)) = (request.wait.part, &request.wait.task) {
            return self.answers_sent(task, &loss.answer(&id));
        }
        if !request.cancelled {
            self.deliver(id.clone(), &request.wait, loss.answer(&id)).await;
        }
    }

    /// Ends everything that is open: holds are withdrawn and recorded, calls that are sent get their grace.
    pub(super) async fn end(mut self, ending: Ending, mut answers: mpsc::Receiver<FromUpstream>) {
        let (outcome, why) = match &ending {
            Ending::ClientGone => (Outcome::Withdrawn, "the client went away"),
            Ending::UpstreamGone(_) => (Outcome::Unavailable, "the server is gone"),
            Ending::Operator => (Outcome::Rejected, "an operator has ended this session"),
            Ending::Replaced => (Outcome::Withdrawn, REPLACED),
            Ending::Stopping => (Outcome::ShuttingDown, "countersign is shutting down"),
        };
        let deadline = tokio::time::Instant::now() + self.shared.limits.drain;
        for request in self.open.values_mut() {
            request.cancelled |= matches!(ending, Ending::ClientGone) && request.wait.task.is_none();
            if let Open::Deciding { presence, .. } = &request.state {
                presence.leave(outcome, why);
            }
        }
        self.api.iter().for_each(|api| api.stop(outcome, why));
        self.end_all_questions(outcome, why).await;
        // Nothing that was being decided is sent any more, even where its permit was ready.
        while let Some((id, verdict)) = self.deciding.next().await {
            match verdict {
                Ok(Admission::Held(held)) => self.hold(id, *held).await,
                Ok(Admission::Permitted(permit)) => {
                    let refusal = self.shared.gate.unsent(permit, outcome, why).await;
                    self.decided_against(id, refusal).await;
                }
                Err(refusal) => self.decided_against(id, refusal).await,
            }
        }
        self.take_all_back(outcome, why).await;
        if let Ending::UpstreamGone(reason) = &ending {
            tracing::warn!(session = self.id, server = self.server.facts.name, reason, "the server is gone");
            let open: Vec<Id> = self.open.keys().cloned().collect();
            for id in open {
                self.lost(id, Loss::unknown(reason)).await;
            }
        }
        self.drain(&mut answers, deadline).await;
        if let Some(api) = &self.api {
            api.ended().await;
        }
        self.lose_tasks();
        self.drop_askings(why);
        self.shared.gate.session_ended(&self.base);
        tracing::info!(session = self.id, "session ended");
    }

    /// Waits for the answers of calls that were sent, up to the grace.
    async fn drain(&mut self, answers: &mut mpsc::Receiver<FromUpstream>, deadline: tokio::time::Instant) {
        self.open.retain(|_, request| matches!(request.state, Open::Sent { .. }));
        self.end_subscriptions().await;
        while !self.open.is_empty() {
            match tokio::time::timeout_at(deadline, answers.recv()).await {
                Ok(Some(FromUpstream::Closed { .. }) | None) | Err(_) => break,
                Ok(Some(event)) => self.upstream_said(event).await,
            }
        }
        for (id, request) in std::mem::take(&mut self.open) {
            let Open::Sent { sent } = request.state else { continue };
            let note = Some("the session ended before an answer came".to_owned());
            self.shared.gate.completed(sent, Answer::OutcomeUnknown, 0, None, note).await;
            if !request.cancelled {
                let text = Loss::unknown("the session ended").answer(&id);
                self.deliver(id, &request.wait, text).await;
            }
        }
    }

    /// A subscription is answered when it ends, and it ends with its session.
    async fn end_subscriptions(&mut self) {
        let listens = |request: &Request| match &request.state {
            Open::Sent { sent } => sent.origin().method() == Decided::Listen,
            Open::Deciding { .. } | Open::Passed { .. } | Open::Returned => false,
        };
        let ids: Vec<Id> = self.open.iter().filter(|(_, request)| listens(request)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.upstream.abandon(&id);
            let Some(Request { state: Open::Sent { sent }, .. }) = self.open.remove(&id) else { continue };
            let note = Some("the subscription ended with its session".to_owned());
            self.shared.gate.completed(sent, Answer::Ok, 0, None, note).await;
        }
    }
}
