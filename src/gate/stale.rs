//! Looking again at what waits, when policies or the trust in tools have changed: what was shown to operators has to be
//! what would be judged now. What is not is closed as stale, and nobody can approve it any more.
//!
//! Invariant: this only ends holds. Whatever it misses is found by the last look before a call leaves.

use std::sync::Arc;
use std::time::Duration;

use super::hold::{self, Stop};
use super::{Gate, Hold, Presence};
use crate::call::{CallContext, Decision, Effect, RuleHit};
use crate::policy;

const REDEFINED: &str = "the server has changed the definition of this tool, or the operator trusts it no longer";

impl Gate {
    /// Judges once more everything that waits, and closes what became stricter. How many there were.
    pub async fn look_again(self: &Arc<Self>) -> usize {
        let mut stale = 0;
        for (hold, presence) in self.holds.judged() {
            let Some(reason) = self.is_stale(&hold, &presence).await else { continue };
            tracing::info!(call = %hold.id(), reason, "stale");
            self.holds.stop(hold.id(), &Stop::Stale { reason });
            stale += 1;
        }
        stale
    }

    /// Closes what waits for a tool that is not defined or trusted any more as it was judged.
    pub fn look_at_definitions(&self) {
        for (hold, presence) in self.holds.judged() {
            if presence.definition.differs_from(&hold.context.tool) {
                self.holds.stop(hold.id(), &Stop::Stale { reason: REDEFINED.to_owned() });
            }
        }
    }

    /// Why a hold is not what would be judged now. A policy that cannot say so now is asked again at release.
    pub(super) async fn is_stale(&self, hold: &Hold, presence: &Presence) -> Option<String> {
        if presence.definition.differs_from(&hold.context.tool) {
            return Some(REDEFINED.to_owned());
        }
        let (turn, policies) = self.turn(&hold.call, &hold.context).await.ok()?;
        let mut context = CallContext { history: turn.document(), ..(*hold.context).clone() };
        self.standing(&mut context, presence);
        let now = policies.evaluate(&hold.call, &context, hold.digest, policy::now()).await.ok()?;
        let now = self.stopped(&context, now);
        drop(turn);
        match now.effect {
            Effect::Deny => Some(format!("policy does not allow it any more: {}", now.reason)),
            Effect::Hold if hold::is_stricter(&now, &hold.decision) => {
                Some("policy became stricter while the call was held; ask again".to_owned())
            }
            Effect::Hold if self.reads_otherwise(&now, &hold.decision) => {
                Some("the policy has changed what it says about this call while it was held; ask again".to_owned())
            }
            Effect::Hold | Effect::Allow => None,
        }
    }

    /// Whether other policies give other reasons than the ones on the screen, or less time. The same policies may: a
    /// reason can tell the count of an hour.
    fn reads_otherwise(&self, now: &Decision, shown: &Decision) -> bool {
        let same = |rule: &RuleHit| shown.rules.iter().any(|old| old.rule == rule.rule && old.reason == rule.reason);
        let lasts = |decision: &Decision| {
            decision.ttl_seconds.map_or(self.holds.settings().ttl, |seconds| Duration::from_secs(seconds.into()))
        };
        now.policy_version != shown.policy_version && (!now.rules.iter().all(same) || lasts(now) < lasts(shown))
    }
}
