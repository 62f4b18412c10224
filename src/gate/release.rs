//! The end of the way of a call that policy holds: a person has approved it, or a grant covers it, and everything is
//! looked at once more. Part of the one place that lets calls through: read it after `mod.rs`.
//!
//! Invariant: policy is asked again in this moment, and what is stricter than what was approved does not leave; the
//! record that it leaves is durable before there is a permit, and what ends an approval is looked at before it, after it
//! and once more by the link, right before the first byte (`clearance.rs`).

use std::sync::Arc;

use tokio::time::Instant;

use super::clearance::Clearance;
use super::continuation::Origin;
use super::grant::{self, Use};
use super::permit::{PermittedCall, Released};
use super::{ELSEWHERE, Gate, Presence, State, hold};
use crate::audit::{Entry, Event};
use crate::call::{CallContext, CallId, Decision, Effect, No, Outcome, Refusal, ToolCall};
use crate::policy;

/// Why nothing of a session leaves any more whose client is known by a token of before.
pub const REPLACED: &str = "the token that this client was let in by has been replaced";

impl Gate {
    /// Lets a call go by the approval of this hold, which counts until then by the clock of the holds, or says and
    /// records why not. Either way the approval is used up.
    pub(super) async fn permit(
        self: &Arc<Self>,
        call: Arc<ToolCall>,
        context: Arc<CallContext>,
        hold: &CallId,
        until: Instant,
        approved: Arc<Decision>,
        presence: &Presence,
    ) -> Result<PermittedCall, Refusal> {
        match self.release(&call, &context, By::Ruling { hold, until }, &approved, presence).await {
            Ok(released) => {
                self.holds.find(hold).iter().for_each(|hold| self.approved.note(hold));
                let call = Arc::try_unwrap(call).unwrap_or_else(|shared| (*shared).clone());
                let origin = Origin::new(&call, context, Some(Arc::new(Gate::beyond_freezes(&approved))));
                Ok(PermittedCall::new(call, released, Some(hold.clone()), origin))
            }
            Err((outcome, reason)) => {
                self.not_released(hold, outcome, &reason);
                Err(self.close_held(call.id(), outcome, reason).await)
            }
        }
    }

    /// What an operator sees of a hold whose approval let nothing go.
    pub(super) fn not_released(&self, hold: &CallId, outcome: Outcome, reason: &str) {
        let (at, reason) = (jiff::Timestamp::now(), reason.to_owned());
        self.holds.amend(hold, |_| match outcome == Outcome::Denied {
            true => State::Stale { at, reason },
            false => State::Closed { outcome, at, reason },
        });
    }

    /// [`Gate::permit`] for a call that a grant covers. Its use counts from before the first record; it is given back where no
    /// record says that the call leaves. What the server asks about the call is covered by no grant.
    pub(super) async fn permit_granted(
        self: &Arc<Self>,
        call: Arc<ToolCall>,
        context: Arc<CallContext>,
        used: Use,
        presence: &Presence,
    ) -> Result<PermittedCall, Refusal> {
        match self.release(&call, &context, By::Grant(&used), used.approved(), presence).await {
            Ok(released) => {
                let call = Arc::try_unwrap(call).unwrap_or_else(|shared| (*shared).clone());
                let origin = Origin::new(&call, context, None);
                Ok(PermittedCall::new(call, released, None, origin))
            }
            Err((outcome, reason)) => {
                self.grants.give_back(used);
                Err(self.close(call.id(), outcome, reason).await)
            }
        }
    }

    /// The last look before an approved call leaves: is policy still no stricter than what was approved, is somebody
    /// still waiting, and is the record of the sending durable.
    pub(super) async fn release(
        self: &Arc<Self>,
        call: &ToolCall,
        context: &CallContext,
        by: By<'_>,
        approved: &Decision,
        presence: &Presence,
    ) -> Result<Released, No> {
        let (turn, policies) = self.turn(call, context).await.map_err(|unknown| {
            tracing::error!(call = %call.id(), %unknown, "no history for the rules at release");
            (Outcome::Unavailable, unknown.for_client().to_owned())
        })?;
        let mut context = CallContext { history: turn.document(), ..context.clone() };
        self.standing(&mut context, presence);
        let judged = policies.evaluate(call, &context, call.digest(&context), policy::now()).await;
        let judged = judged.map(|now| self.stopped(&context, now));
        let now = judged.map_err(|fault| {
            tracing::error!(call = %call.id(), %fault, "policy failed at release");
            (Outcome::Unavailable, "the policy could not decide this call again at release".to_owned())
        })?;
        let stricter = match now.effect {
            Effect::Deny => {
                return Err((Outcome::Denied, format!("policy does not allow it any more: {}", now.reason)));
            }
            Effect::Allow => false,
            Effect::Hold => hold::is_stricter(&now, approved) || by.is_grant() && !grant::may_pass(&now),
        };
        if stricter {
            let reason = "policy became stricter while the call was held, so the approval does not count";
            return Err((Outcome::Denied, reason.to_owned()));
        }
        if !presence.place.bind(&context.bound, context.operation.environment.as_ref()) {
            return Err((Outcome::Denied, ELSEWHERE.to_owned()));
        }
        let counted = self.history.spend(turn);
        let context = Arc::new(CallContext { history: None, ..context });
        let clearance = Clearance::approved(self, context, Some(by), Arc::new(now), presence);
        match self.last_look(call, Some(by), clearance).await {
            Ok(released) => Ok(Released { counted, ..released }),
            Err(refused) => {
                self.history.give_back(counted);
                Err(refused)
            }
        }
    }

    /// The end of every way on which a person's approval counts: what can still stop the call, and the record.
    pub(super) async fn last_look(
        &self,
        call: &ToolCall,
        by: Option<By<'_>>,
        clearance: Clearance,
    ) -> Result<Released, No> {
        if let Some(no) = clearance.no() {
            return Err(no);
        }
        let (approved_as, grant) = match by {
            Some(By::Ruling { hold, .. }) => (Some(hold).filter(|hold| *hold != call.id()).cloned(), None),
            Some(By::Grant(used)) => {
                used.leaves();
                (None, Some(used.grant().clone()))
            }
            None => (None, None),
        };
        let policy_version = clearance.policy_version().to_owned();
        let sending = Entry::new(Some(call.id()), true, Event::Sending { approved_as, grant, policy_version });
        let receipt = self.audit.append(sending).await.map_err(|error| {
            tracing::error!(call = %call.id(), %error, "no record, so no call");
            (Outcome::Unavailable, "the call could not be recorded, so it may not be made".to_owned())
        })?;
        match clearance.no() {
            Some(no) => Err(no),
            None => Ok(Released { receipt, leave: clearance.leave(), counted: None }),
        }
    }
}

/// What releases a call that policy holds.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// The approval of this hold, until then by the clock of the holds.
    Ruling { hold: &'a CallId, until: Instant },
    /// One use of a grant.
    Grant(&'a Use),
}

impl By<'_> {
    fn is_grant(self) -> bool {
        matches!(self, By::Grant(_))
    }
}
