//! A call that waits for an operator: its clock, its client and the consoles are watched here, each call for itself.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::call::{CallContext, CallId, Decision, Outcome, Refusal, ToolCall};

use super::hold::{HoldQueue, Place, Verdict};
use super::permit::PermittedCall;
use super::{Gate, Presence, sleep_until};

/// A call that waits for an operator. It has to be waited for: only [`HeldCall::wait`] ends the wait properly.
#[must_use]
pub struct HeldCall {
    pub(super) gate: Arc<Gate>,
    pub(super) call: Arc<ToolCall>,
    pub(super) context: Arc<CallContext>,
    pub(super) decision: Arc<Decision>,
    pub(super) place: Place,
}

impl std::fmt::Debug for HeldCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldCall").field("id", self.call.id()).finish_non_exhaustive()
    }
}

impl HeldCall {
    pub fn id(&self) -> &CallId {
        self.call.id()
    }

    /// Why it waits, in the words of the rule.
    pub fn reason(&self) -> &str {
        &self.decision.reason
    }

    /// When it ends where nobody rules.
    pub fn deadline(&self) -> Instant {
        self.gate.holds.clock.timer(self.place.deadline)
    }

    /// Waits for the end of the hold; after an approval, checks everything again and gives the permit. At `patience`
    /// its client cannot wait any longer: the call is refused then, and the hold stays open for an identical one.
    ///
    /// # Errors
    /// The refusal, recorded.
    pub async fn wait(self, presence: &Presence, patience: Option<Instant>) -> Result<PermittedCall, Refusal> {
        let HeldCall { gate, call, context, decision: _, place } = self;
        let id = call.id().clone();
        gate.holds.wait_until(&id, patience);
        let session = context.session.clone();
        // Who is answered with a task waits for as long as it takes.
        let presence = presence.clone().until(&gate, patience);
        let ended = gate.wait(call, context, place, &presence, patience).await;
        if let Err(refusal) = &ended {
            gate.sessions.became(&session, &id, refusal.outcome.as_str());
        }
        ended
    }
}

impl Gate {
    async fn wait(
        self: &Arc<Self>,
        call: Arc<ToolCall>,
        context: Arc<CallContext>,
        place: Place,
        presence: &Presence,
        patience: Option<Instant>,
    ) -> Result<PermittedCall, Refusal> {
        let (gate, id) = (self, call.id().clone());
        match verdict(&gate.holds, &id, place, presence, patience).await {
            Verdict::Approved { hold, decision, until } => {
                gate.permit(call, context, &hold, until, decision, presence).await
            }
            Verdict::Rejected { hold, by, reason } => {
                tracing::info!(call = %id, by, "rejected");
                // The ruling is recorded with the call that opened the hold, and ends that one.
                if hold == id {
                    return Err(Refusal::new(Outcome::Rejected, reason).of(&id));
                }
                Err(gate.close(&id, Outcome::Rejected, reason).await)
            }
            Verdict::Ended { outcome, reason } => Err(gate.close_held(&id, outcome, reason).await),
            Verdict::Detached { until } => {
                let until = until.round(jiff::Unit::Second).unwrap_or(until).to_string();
                let reason = format!("the client cannot wait any longer; the request stays open until {until}");
                let refusal = gate.close(&id, Outcome::Expired, reason).await;
                Err(Refusal { open_until: Some(until), ..refusal })
            }
        }
    }
}

/// Waits until the queue says how the wait ended, and ends it where its time, its client or every console is gone.
async fn verdict(
    holds: &HoldQueue,
    id: &CallId,
    place: Place,
    presence: &Presence,
    patience: Option<Instant>,
) -> Verdict {
    let Place { mut verdict, deadline, .. } = place;
    let deadline = holds.clock.timer(deadline);
    let grace = holds.settings().no_console_grace;
    let mut consoles: watch::Receiver<usize> = holds.consoles().subscribe();
    let mut alone_since = Instant::now();
    // The first end is the one that counts; after it only the queue's word is waited for.
    let (mut ended, mut detached) = (false, false);
    loop {
        let alone = *consoles.borrow_and_update() == 0;
        tokio::select! {
            said = &mut verdict => {
                return said.unwrap_or_else(|_| Verdict::Ended {
                    outcome: Outcome::Unavailable,
                    reason: "the hold queue failed".to_owned(),
                });
            }
            () = tokio::time::sleep_until(deadline), if !ended => {
                ended = true;
                holds.end(id, Outcome::Expired, "nobody ruled in time");
            }
            () = presence.gone.cancelled(), if !ended => {
                ended = true;
                let (outcome, why) = presence.left().unwrap_or((Outcome::Withdrawn, "the client went away"));
                holds.end(id, outcome, why);
            }
            () = tokio::time::sleep_until(alone_since + grace), if alone && !ended => {
                ended = true;
                // Of a call that is approved already it says nothing any more.
                if !holds.end(id, Outcome::Unattended, "no operator console is attached") {
                    ended = false;
                    alone_since = Instant::now() + holds.settings().take_back;
                }
            }
            () = sleep_until(patience), if !ended && !detached => {
                detached = true;
                holds.detach(id);
            }
            changed = consoles.changed(), if !ended => {
                if changed.is_err() {
                    ended = true;
                    holds.end(id, Outcome::Unavailable, "the hold queue failed");
                } else if *consoles.borrow() == 0 {
                    alone_since = Instant::now();
                }
            }
        }
    }
}
