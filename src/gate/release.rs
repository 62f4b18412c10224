//! The end of the way of a call that policy holds: a person has approved it, or a grant covers it, and everything is
//! looked at once more. Part of the one place that lets calls through: read it after `mod.rs`.
//!
//! Invariant: policy is asked again in this moment, and what is stricter than what was approved does not leave; the
//! record that it leaves is durable before there is a permit, and what ends an approval is looked at before it and after.

use std::sync::Arc;

use super::continuation::Origin;
use super::grant::{self, Use};
use super::history::Reservation;
use super::permit::PermittedCall;
use super::{ELSEWHERE, Gate, Presence, State, hold};
use crate::audit::{Entry, Event, Receipt};
use crate::call::{CallContext, CallId, Decision, Effect, Outcome, Refusal, ToolCall};
use crate::policy;

/// Why nothing of a session leaves any more whose client is known by a token of before.
pub const REPLACED: &str = "the token that this client was let in by has been replaced";

impl Gate {
    /// Lets an approved call go, or says and records why not. Either way its approval is used up.
    pub(super) async fn permit(
        &self,
        call: Arc<ToolCall>,
        context: Arc<CallContext>,
        hold: &CallId,
        approved: Arc<Decision>,
        presence: &Presence,
    ) -> Result<PermittedCall, Refusal> {
        match self.release(&call, &context, By::Ruling(hold), &approved, presence).await {
            Ok((receipt, counted)) => {
                self.holds.find(hold).iter().for_each(|hold| self.approved.note(hold));
                let call = Arc::try_unwrap(call).unwrap_or_else(|shared| (*shared).clone());
                let origin = Origin::new(&call, context, Some(Arc::new(Gate::beyond_freezes(&approved))));
                Ok(PermittedCall::new(call, receipt, Some(hold.clone()), origin, counted))
            }
            Err((outcome, reason)) => {
                let at = jiff::Timestamp::now();
                let stale = outcome == Outcome::Denied;
                self.holds.amend(hold, |_| match stale {
                    true => State::Stale { at, reason: reason.clone() },
                    false => State::Closed { outcome, at, reason: reason.clone() },
                });
                Err(self.close_held(call.id(), outcome, reason).await)
            }
        }
    }

    /// The same for a call that a grant covers. Its use counts from before the first record; it is given back where no
    /// record says that the call leaves. What the server asks about the call is covered by no grant.
    pub(super) async fn permit_granted(
        &self,
        call: Arc<ToolCall>,
        context: Arc<CallContext>,
        used: Use,
        presence: &Presence,
    ) -> Result<PermittedCall, Refusal> {
        match self.release(&call, &context, By::Grant(&used), used.approved(), presence).await {
            Ok((receipt, counted)) => {
                let call = Arc::try_unwrap(call).unwrap_or_else(|shared| (*shared).clone());
                let origin = Origin::new(&call, context, None);
                Ok(PermittedCall::new(call, receipt, None, origin, counted))
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
        &self,
        call: &ToolCall,
        context: &CallContext,
        by: By<'_>,
        approved: &Decision,
        presence: &Presence,
    ) -> Result<(Receipt, Option<Box<Reservation>>), (Outcome, String)> {
        let (turn, policies) = self.turn(call, context).await.map_err(|unknown| {
            tracing::error!(call = %call.id(), %unknown, "no history for the rules at release");
            (Outcome::Unavailable, unknown.for_client().to_owned())
        })?;
        let context = CallContext { history: turn.document(), ..context.clone() };
        let context = &self.standing(context, presence);
        let judged = policies.evaluate(call, context, call.digest(context), policy::now()).await;
        let judged = judged.map(|now| self.stopped(context, now));
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
        match self.last_look(call, context, Some(by), &now, presence).await {
            Ok(receipt) => Ok((receipt, counted)),
            Err(refused) => {
                self.history.give_back(counted);
                Err(refused)
            }
        }
    }

    /// The end of every way on which a person's approval counts: the definition, the client, the record. `now` is what
    /// policy says in this moment.
    pub(super) async fn last_look(
        &self,
        call: &ToolCall,
        context: &CallContext,
        by: Option<By<'_>>,
        now: &Decision,
        presence: &Presence,
    ) -> Result<Receipt, (Outcome, String)> {
        if presence.definition.differs_from(&context.tool) {
            let reason = "the server has changed the definition of this tool, or its tools, since the call was decided, or \
                          the operator trusts it no longer; list the tools again before you call it";
            return Err((Outcome::Denied, reason.to_owned()));
        }
        let refused = || self.last_no(context, now, presence).or_else(|| by.and_then(|by| self.lapsed(by)));
        if let Some(no) = refused() {
            return Err(no);
        }
        let (approved_as, grant) = match by {
            Some(By::Ruling(hold)) => (Some(hold).filter(|hold| *hold != call.id()).cloned(), None),
            Some(By::Grant(used)) => {
                used.leaves();
                (None, Some(used.grant().clone()))
            }
            None => (None, None),
        };
        let sending = Event::Sending { approved_as, grant, policy_version: now.policy_version.clone() };
        let sending = Entry::new(Some(call.id()), true, sending);
        let receipt = self.audit.append(sending).await.map_err(|error| {
            tracing::error!(call = %call.id(), %error, "no record, so no call");
            (Outcome::Unavailable, "the call could not be recorded, so it may not be made".to_owned())
        })?;
        match refused() {
            Some(no) => Err(no),
            None => Ok(receipt),
        }
    }

    /// Why a call may not leave that may by everything else: its client has gone or counts no more, or an operator has
    /// stopped it.
    pub(super) fn last_no(
        &self,
        context: &CallContext,
        now: &Decision,
        presence: &Presence,
    ) -> Option<(Outcome, String)> {
        let gone = presence.left().map(|(outcome, why)| (outcome, why.to_owned()));
        let replaced = || self.sessions.is_replaced(&context.session);
        gone.or_else(|| replaced().then(|| (Outcome::Withdrawn, REPLACED.to_owned())))
            .or_else(|| self.stopped_since(context, now))
    }

    /// Why an approval does not count any more, whatever policy says.
    fn lapsed(&self, by: By<'_>) -> Option<(Outcome, String)> {
        match by {
            By::Grant(used) if !self.grants.stands(used) || self.frozen().is_some() => {
                let reason = "the operator's approval for calls like this one has just ended; ask again";
                Some((Outcome::Denied, reason.to_owned()))
            }
            By::Grant(_) | By::Ruling(_) => None,
        }
    }
}

/// What releases a call that policy holds.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// The approval of this hold.
    Ruling(&'a CallId),
    /// One use of a grant.
    Grant(&'a Use),
}

impl By<'_> {
    fn is_grant(self) -> bool {
        matches!(self, By::Grant(_))
    }
}
