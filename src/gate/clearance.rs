//! What a call that may leave has to keep until its first byte does: its client, its session, the policies that it was
//! judged by, and where a person's approval lets it go, that approval and the tool as it was judged.
//!
//! Invariant: this only says no. It is asked before the record that lets a call go, after it, and by the call's link in
//! the step that hands over the first byte.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::release::{By, REPLACED};
use super::{Gate, Presence};
use crate::call::{CallContext, CallId, Decision, Leave, No, Outcome};

/// Between the permit and the first byte there may be a server that is slow to take it; longer than this a call does not
/// wait there.
const LEAVES_WITHIN: Duration = Duration::from_secs(60);

/// What leaves within this has not waited.
const AT_ONCE: Duration = Duration::from_millis(250);

pub(super) struct Clearance {
    gate: Arc<Gate>,
    context: Arc<CallContext>,
    /// What policy says of it at last.
    now: Arc<Decision>,
    presence: Presence,
    approval: Approval,
}

/// Whose yes lets a call go.
enum Approval {
    Policy,
    /// One of this call, which counts until then by the clock of the holds.
    Ruling(Instant),
    /// One of a call that it goes on from.
    Before,
    Grant(CallId),
}

impl Clearance {
    /// Of a call that policy lets go by itself.
    pub fn allowed(gate: &Arc<Gate>, context: Arc<CallContext>, now: Arc<Decision>, presence: &Presence) -> Clearance {
        Clearance { gate: Arc::clone(gate), context, now, presence: presence.clone(), approval: Approval::Policy }
    }

    /// Of a call that a person has approved.
    pub fn approved(
        gate: &Arc<Gate>,
        context: Arc<CallContext>,
        by: Option<By<'_>>,
        now: Arc<Decision>,
        presence: &Presence,
    ) -> Clearance {
        let approval = match by {
            Some(By::Grant(used)) => Approval::Grant(used.grant().clone()),
            Some(By::Ruling { until, .. }) => Approval::Ruling(until),
            None => Approval::Before,
        };
        Clearance { approval, ..Clearance::allowed(gate, context, now, presence) }
    }

    pub fn policy_version(&self) -> &str {
        &self.now.policy_version
    }

    /// Why the call may not leave that may by everything else.
    pub fn no(&self) -> Option<No> {
        let Clearance { gate, context, now, presence, approval } = self;
        if !matches!(approval, Approval::Policy) && presence.definition.differs_from(&context.tool) {
            let reason = "the server has changed the definition of this tool, or its tools, since the call was decided, or \
                          the operator trusts it no longer; list the tools again before you call it";
            return Some((Outcome::Denied, reason.to_owned()));
        }
        if let Some((outcome, why)) = presence.left() {
            return Some((outcome, why.to_owned()));
        }
        if gate.sessions.is_replaced(&context.session) {
            return Some((Outcome::Withdrawn, REPLACED.to_owned()));
        }
        if let Some(stopped) = gate.stopped_since(context, now) {
            return Some(stopped);
        }
        if let Approval::Grant(grant) = approval
            && (!gate.grants.stands(grant) || gate.frozen().is_some())
        {
            let reason = "the operator's approval for calls like this one has just ended; ask again";
            return Some((Outcome::Denied, reason.to_owned()));
        }
        if matches!(approval, Approval::Ruling(until) if gate.holds.now() >= *until) {
            let reason = "the approval came so late that the hold's time was over before the call could leave";
            return Some((Outcome::Expired, reason.to_owned()));
        }
        presence.patience.is_some_and(|patience| gate.holds.now() >= patience).then(|| {
            let reason = "the client waits no longer than this, and the call could not leave before";
            (Outcome::Expired, reason.to_owned())
        })
    }

    /// Why a call may not leave that has waited for its server: nobody has asked the policies that were loaded meanwhile
    /// about it. One that leaves at once leaves as it was judged, so that loading policies refuses no call.
    fn outdated(&self, waited: Duration) -> Option<No> {
        (waited >= AT_ONCE && !self.gate.policy.decides_by(&self.now.policy_version)).then(|| {
            let reason = "the policies were loaded again while the call waited for its server; ask again";
            (Outcome::Unavailable, reason.to_owned())
        })
    }

    /// For the link, which asks last.
    pub fn leave(self) -> Leave {
        // The timer of the link stands still while the machine sleeps.
        let since = self.gate.holds.now();
        Leave::new(Instant::now() + LEAVES_WITHIN, move || {
            self.no().or_else(|| {
                let waited = self.gate.holds.now().saturating_duration_since(since);
                let late = || (waited >= LEAVES_WITHIN).then(|| (Outcome::Unavailable, Leave::LATE.to_owned()));
                self.outdated(waited).or_else(late)
            })
        })
    }
}
