//! The time between an approval and its release, and what can still stop it: a take-back, an end, a stop.
//!
//! Invariants: nothing is released before its time is over, and only once; a take-back counts once it is on record, and
//! where it cannot be recorded nothing leaves either. Approvals of before a take-back count no more.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::waiter::{Entry, Leaving};
use super::{Hold, HoldQueue, Inner, NoEffect, Poisoned, State};
use crate::call::{CallId, Outcome};

const TAKEN_BACK: &str = "an operator took the approval back, and that could not be recorded";

/// An approval that has not left.
#[derive(Debug)]
pub(super) struct Departure {
    pub at: Instant,
    pub by: String,
    pub approved: Timestamp,
}

/// Why a hold ends although nobody ruled on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::gate) enum Stop {
    /// What is shown is not what would be judged now.
    Stale { reason: String },
    /// An operator stops more than this one hold.
    Halted { by: String, reason: String },
}

impl Stop {
    /// To the client: a stale hold is `denied`.
    pub fn outcome(&self) -> Outcome {
        match self {
            Stop::Stale { .. } => Outcome::Denied,
            Stop::Halted { .. } => Outcome::Rejected,
        }
    }

    pub fn reason(&self) -> &str {
        match self {
            Stop::Stale { reason } | Stop::Halted { reason, .. } => reason,
        }
    }

    pub fn state(&self) -> State {
        let at = Timestamp::now();
        match self.clone() {
            Stop::Stale { reason } => State::Stale { at, reason },
            Stop::Halted { by, reason } => State::Rejected { by, at, reason },
        }
    }
}

impl HoldQueue {
    /// How long an approval of this hold waits before it leaves: the configured time, but never more than half of what
    /// its client and its own end leave, so that waiting never makes an approval late.
    pub(super) fn window(&self, entry: &Entry, now: Instant) -> Duration {
        let first = entry.waiters.iter().find(|waiter| waiter.shown && waiter.is_live(now));
        let Some(first) = first else { return Duration::ZERO };
        let ends = first.patience.map_or(first.deadline, |(patience, _)| patience.min(first.deadline));
        self.settings.take_back.min(ends.saturating_duration_since(now) / 2)
    }

    /// Releases approvals whose time has come.
    pub(super) fn depart(&self, inner: &mut Inner, now: Instant) {
        let due = |entry: &&Entry| {
            let leaves = matches!(entry.hold.state, State::Leaving { .. });
            leaves && entry.departure.as_ref().is_some_and(|departure| now >= departure.at)
        };
        let due: Vec<CallId> = inner.open.values().filter(due).map(|entry| entry.hold.id.clone()).collect();
        for id in due {
            let Some(entry) = inner.open.get_mut(&id) else { continue };
            let Some(Departure { by, approved, .. }) = entry.departure.take() else { continue };
            if entry.too_late(now).is_some() {
                self.finish(inner, &id);
                continue;
            }
            self.release(inner, &id, now, by, approved);
        }
    }

    /// Begins to take an approval back: from here on it cannot leave. The caller records it and then calls
    /// [`HoldQueue::taken_back`], whatever happens. Who had approved.
    pub(in crate::gate) fn take_back(&self, id: &CallId) -> Result<String, NoEffect> {
        let mut inner = self.lock().map_err(poisoned)?;
        let now = self.now();
        let Some(entry) = inner.open.get_mut(id).filter(|entry| entry.shown) else {
            return Err(super::ruling::not_open(&inner, id));
        };
        let by = match &entry.hold.state {
            State::Leaving { by, .. } if entry.departure.as_ref().is_some_and(|departure| now < departure.at) => by,
            State::Ticket { by, .. } if now < entry.deadline => by,
            State::Leaving { .. } | State::Ticket { .. } => {
                return Err(NoEffect::Closed(format!("too late: {}", entry.hold.ended_words())));
            }
            State::Pending => return Err(NoEffect::NotSo("there is no approval to take back".to_owned())),
            State::Deciding
            | State::Approved { .. }
            | State::Rejected { .. }
            | State::Stale { .. }
            | State::Closed { .. }
            | State::Done { .. } => return Err(NoEffect::Closed(entry.hold.ended_words())),
        };
        let by = by.clone();
        entry.departure = None;
        entry.hold.state = State::Deciding;
        Ok(by)
    }

    /// The take-back is recorded: the hold waits for a ruling again, with no approval and the deadline that it had. It
    /// could not be: the hold is over, and nothing leaves.
    pub(in crate::gate) fn taken_back(&self, id: &CallId, recorded: bool) -> Result<Hold, NoEffect> {
        let mut inner = self.lock().map_err(poisoned)?;
        let Some(entry) = inner.open.get_mut(id) else { return Err(NoEffect::NotFound) };
        entry.hold.state = State::Pending;
        entry.hold.approved_by.clear();
        entry.hold.taken_back = entry.hold.taken_back.saturating_add(1);
        if let Some((deadline, expires)) = entry.before_ticket.take() {
            (entry.deadline, entry.hold.expires) = (deadline, expires);
        }
        if !recorded {
            entry.end_all(Outcome::Unavailable, TAKEN_BACK);
            entry.let_go();
            self.close(&mut inner, id, Outcome::Unavailable, TAKEN_BACK);
            return Err(NoEffect::Unavailable("the take-back could not be recorded; the call is not sent".to_owned()));
        }
        let stopped = entry.stopped.is_some();
        if entry.shown && !stopped {
            self.announce(&mut entry.hold);
        }
        let hold = entry.hold.clone();
        self.more.notify_one();
        self.finish(&mut inner, id);
        Ok(hold)
    }

    /// Ends a hold without a ruling; one that is being recorded comes too late then, unless it is a no.
    pub(in crate::gate) fn stop(&self, id: &CallId, why: &Stop) {
        let Ok(mut inner) = self.lock() else { return };
        self.stop_locked(&mut inner, id, why);
    }

    /// The same for all that match. How many there were.
    pub(in crate::gate) fn stop_all(&self, why: &Stop, matches: impl Fn(&Hold) -> bool) -> usize {
        let Ok(mut inner) = self.lock() else { return 0 };
        let ids: Vec<CallId> =
            inner.open.values().filter(|entry| matches(&entry.hold)).map(|entry| entry.hold.id.clone()).collect();
        ids.iter().for_each(|id| self.stop_locked(&mut inner, id, why));
        ids.len()
    }

    /// Ends what waits of one session. A hold that others wait behind as well goes on for those. How many calls.
    pub(in crate::gate) fn stop_session(&self, session: &str, why: &Stop) -> usize {
        let Ok(mut inner) = self.lock() else { return 0 };
        let (mut ended, mut concerned) = (0, Vec::new());
        for entry in inner.open.values_mut() {
            let (mine, others): (Vec<_>, Vec<_>) =
                entry.waiters.iter_mut().partition(|waiter| waiter.context.session == session);
            if mine.is_empty() && (!others.is_empty() || entry.hold.context.session != session) {
                continue;
            }
            ended += mine.len().max(1);
            for waiter in mine {
                if !matches!(waiter.leaving, Some(Leaving::End { .. })) {
                    waiter.leaving = Some(Leaving::End { outcome: why.outcome(), reason: why.reason().to_owned() });
                }
            }
            if others.is_empty() {
                entry.stopped.get_or_insert_with(|| why.clone());
                entry.open_for_retry = false;
            }
            if entry.hold.state != State::Deciding {
                concerned.push(entry.hold.id.clone());
            }
        }
        concerned.iter().for_each(|id| self.finish(&mut inner, id));
        ended
    }

    pub(super) fn stop_locked(&self, inner: &mut Inner, id: &CallId, why: &Stop) {
        let Some(entry) = inner.open.get_mut(id) else { return };
        entry.stopped.get_or_insert_with(|| why.clone());
        entry.end_all(why.outcome(), why.reason());
        if entry.hold.state != State::Deciding {
            self.finish(inner, id);
        }
    }

    /// Lets everybody go who wants to, and closes what was stopped.
    pub(super) fn finish(&self, inner: &mut Inner, id: &CallId) {
        self.let_go(inner, id);
        let stopped = inner.open.get(id).filter(|entry| entry.waiters.is_empty()).and_then(|e| e.stopped.clone());
        if let Some(stop) = stopped {
            self.close(inner, id, stop.outcome(), stop.reason());
        }
    }
}

impl Entry {
    /// Everybody who waits here leaves. Who took the call back before keeps that reason.
    pub(super) fn end_all(&mut self, outcome: Outcome, reason: &str) {
        for waiter in &mut self.waiters {
            if !matches!(waiter.leaving, Some(Leaving::End { .. })) {
                waiter.leaving = Some(Leaving::End { outcome, reason: reason.to_owned() });
            }
        }
        self.open_for_retry = false;
    }
}

pub(super) fn poisoned(_: Poisoned) -> NoEffect {
    NoEffect::Unavailable("the hold queue failed".to_owned())
}
