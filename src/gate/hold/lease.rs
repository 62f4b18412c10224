//! Who looks after a hold: a soft lock for people. Others may still rule.
//!
//! Invariant: a lease changes nothing but what is shown, and ends by itself.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Hold, HoldQueue, Inner, NoEffect, Poisoned, State};
use crate::call::CallId;

/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_secs(60);

/// Somebody looks after a hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    pub by: String,
    pub at: Timestamp,
    pub until: Timestamp,
    pub(super) ends: Instant,
}

/// What an operator does about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseAct {
    Take,
    /// Also where somebody else has it.
    Steal,
    GiveBack,
}

impl HoldQueue {
    /// Takes a lease, renews it or gives it back. Whose it was before, where it was another's.
    pub(in crate::gate) fn lease(
        &self,
        id: &CallId,
        operator: &str,
        act: LeaseAct,
    ) -> Result<(Hold, Option<String>), NoEffect> {
        let poisoned = |Poisoned| NoEffect::Unavailable("the hold queue failed".to_owned());
        let mut inner = self.lock().map_err(poisoned)?;
        let now = self.now();
        let Some(entry) = inner.open.get_mut(id).filter(|entry| entry.shown) else {
            return Err(super::ruling::not_open(&inner, id));
        };
        if !matches!(entry.hold.state, State::Pending | State::Deciding) {
            return Err(NoEffect::Closed(entry.hold.ended_words()));
        }
        let held = entry.hold.lease.as_ref().filter(|lease| now < lease.ends);
        let other = held.filter(|lease| lease.by != operator).map(|lease| (lease.by.clone(), lease.ends - now));
        match (act, &other) {
            (LeaseAct::Take | LeaseAct::GiveBack, Some((by, left))) => {
                return Err(NoEffect::NotSo(format!("{by} has claimed it, for {} s more", left.as_secs())));
            }
            (LeaseAct::GiveBack, None) if held.is_none() => {
                return Err(NoEffect::NotSo("nobody has claimed it".to_owned()));
            }
            (LeaseAct::Take | LeaseAct::Steal | LeaseAct::GiveBack, _) => {}
        }
        entry.hold.lease = match act {
            LeaseAct::GiveBack => None,
            LeaseAct::Take | LeaseAct::Steal => {
                let at = Timestamp::now();
                let until = at.checked_add(LEASE).unwrap_or(at);
                Some(Lease { by: operator.to_owned(), at, until, ends: now + LEASE })
            }
        };
        self.announce(&mut entry.hold);
        let hold = entry.hold.clone();
        self.more.notify_one();
        Ok((hold, other.map(|(by, _)| by)))
    }

    /// Ends the leases whose time is over.
    pub(super) fn end_leases(&self, inner: &mut Inner, now: Instant) {
        for entry in inner.open.values_mut() {
            if entry.hold.lease.as_ref().is_some_and(|lease| now >= lease.ends) {
                entry.hold.lease = None;
                if entry.shown {
                    self.announce(&mut entry.hold);
                }
            }
        }
    }
}
