//! Grants: an approval that counts for a few more calls like the one that was approved, for a while. What a call has
//! to be is in `predicate`; how a grant is made is in `make`; here is what is in force.
//!
//! They live in memory alone: a restart forgets them all. Invariant: a use is counted before anything of the call is
//! recorded, and is given back only where no record says that the call leaves. A grant lets through what policy would
//! hold for reasons that its operator was told, and nothing that policy denies: the gate asks policy again at release.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::call::{CallContext, CallId, Decision, Tier, ToolCall};

mod make;
mod predicate;

pub use make::NotGrantable;
use predicate::Predicate;

/// Grants of one principal, and of all.
const MAX_PER_PRINCIPAL: usize = 64;
const MAX_ALL: usize = 1000;
/// Calls beside the one that a grant is made from.
pub const MAX_USES: u32 = 20;
/// Longest life of a grant.
pub const MAX_SECONDS: u32 = 1800;

/// How far a grant may go, as an operator asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Pointers into the arguments: a whole number there may be less, but not negative or zero.
    pub at_most: Vec<String>,
    /// Pointers into the arguments whose value may be any visible text.
    pub any: Vec<String>,
    pub uses: u32,
    pub seconds: u32,
}

/// A grant as others may look at it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub id: CallId,
    /// The hold that it was made from.
    pub hold: CallId,
    /// Of that hold's call.
    pub context: Arc<CallContext>,
    /// What a call has to be, one condition a line.
    pub text: String,
    pub by: String,
    pub at: Timestamp,
    pub until: Timestamp,
    pub uses: u32,
    pub used: u32,
}

#[derive(Debug)]
struct Kept {
    grant: Grant,
    /// By the clock that is never set; `until` counts where the machine slept.
    deadline: Instant,
    predicate: Predicate,
    approved: Arc<Decision>,
    /// Its record is durable.
    in_force: bool,
    /// Covers nothing before: until the approval that it was made with can no longer be taken back.
    from: Instant,
}

/// One use of a grant, counted.
#[derive(Debug)]
#[must_use = "a use that is dropped stays counted"]
pub(super) struct Use {
    grant: CallId,
    /// What the operator was told when the grant was made.
    approved: Arc<Decision>,
    /// A record that the call leaves may be in the store.
    leaving: AtomicBool,
}

impl Use {
    pub fn grant(&self) -> &CallId {
        &self.grant
    }

    pub fn approved(&self) -> &Arc<Decision> {
        &self.approved
    }

    /// From here on it stays used, whatever becomes of the call.
    pub fn leaves(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

/// All grants of the daemon.
#[derive(Debug, Default)]
pub(super) struct Grants(Mutex<Vec<Kept>>);

/// Whether a hold under this decision is one that a grant may let through.
pub(super) fn may_pass(now: &Decision) -> bool {
    now.grantable && now.tier != Tier::High && now.approvals <= 1
}

impl Grants {
    /// Nothing where a panic left the list in doubt: then no call passes by a grant.
    fn lock(&self) -> Option<MutexGuard<'_, Vec<Kept>>> {
        let mut grants = self.0.lock().ok()?;
        let (now, wall) = (Instant::now(), Timestamp::now());
        grants.retain(|kept| now < kept.deadline && wall < kept.grant.until);
        Some(grants)
    }

    /// Those in force, in the order in which they were made.
    pub fn all(&self) -> Vec<Grant> {
        let grants = self.lock();
        grants.iter().flat_map(|grants| grants.iter()).filter(|kept| kept.in_force).map(|k| k.grant.clone()).collect()
    }

    /// Uses a grant for this call, where one covers it under what policy says now.
    pub fn take(&self, call: &ToolCall, context: &CallContext, now: &Decision) -> Option<Use> {
        if !may_pass(now) {
            return None;
        }
        let mut grants = self.lock()?;
        let covers = |kept: &&mut Kept| {
            kept.in_force
                && kept.from <= Instant::now()
                && kept.grant.used < kept.grant.uses
                && kept.grant.context.principal.name == context.principal.name
                && kept.predicate.covers(call, &kept.grant.context, context)
                && !super::hold::is_stricter(now, &kept.approved)
        };
        let kept = grants.iter_mut().find(covers)?;
        kept.grant.used += 1;
        let (grant, approved) = (kept.grant.id.clone(), Arc::clone(&kept.approved));
        Some(Use { grant, approved, leaving: AtomicBool::new(false) })
    }

    /// The call of this use was not sent. It counts all the same where a record may say that it leaves.
    pub fn give_back(&self, used: Use) {
        if used.leaving.load(Ordering::Relaxed) {
            return;
        }
        let Some(mut grants) = self.lock() else { return };
        if let Some(kept) = grants.iter_mut().find(|kept| kept.grant.id == used.grant) {
            kept.grant.used = kept.grant.used.saturating_sub(1);
        }
    }

    /// Whether a grant still counts: nobody has revoked it, and its time is not over.
    pub fn stands(&self, grant: &CallId) -> bool {
        self.lock().is_some_and(|grants| grants.iter().any(|kept| kept.in_force && kept.grant.id == *grant))
    }

    /// Keeps a place for a grant that is being recorded. It is not in force.
    fn reserve(&self, grant: Grant, predicate: Predicate, approved: Arc<Decision>) -> Result<(), NotGrantable> {
        let Some(mut grants) = self.lock() else { return Err(NotGrantable::Failed) };
        let principal = &grant.context.principal.name;
        let mine = grants.iter().filter(|kept| kept.grant.context.principal.name == *principal).count();
        if mine >= MAX_PER_PRINCIPAL || grants.len() >= MAX_ALL {
            return Err(NotGrantable::Full);
        }
        let life = grant.until.duration_since(grant.at).as_secs();
        let deadline = Instant::now() + Duration::from_secs(u64::try_from(life).unwrap_or(0));
        grants.push(Kept { grant, deadline, predicate, approved, in_force: false, from: Instant::now() });
        Ok(())
    }

    /// Its record is durable, and it covers calls from then on. False where it has been taken away meanwhile.
    fn enforce(&self, id: &CallId, from: Instant) -> bool {
        let Some(mut grants) = self.lock() else { return false };
        let kept = grants.iter_mut().find(|kept| kept.grant.id == *id);
        kept.map(|kept| (kept.in_force, kept.from) = (true, from)).is_some()
    }

    /// Takes away those that were made from a hold, in force or not.
    pub fn remove_of(&self, hold: &CallId) -> Vec<Grant> {
        let Some(mut grants) = self.lock() else { return Vec::new() };
        grants.extract_if(.., |kept| kept.grant.hold == *hold).map(|kept| kept.grant).collect()
    }

    /// Takes a grant away, in force or not.
    pub fn remove(&self, id: &CallId) -> Option<Grant> {
        let mut grants = self.lock()?;
        let at = grants.iter().position(|kept| kept.grant.id == *id)?;
        Some(grants.remove(at).grant)
    }
}

#[cfg(test)]
mod tests;
