//! Opening a hold again that ended and that nothing was released by, so that an operator who comes late can still rule on
//! it; also one whose approval nobody came for in time.
//!
//! Nothing is approved here. The hold waits once more as one whose client had to give up does, for a time of its own, and
//! whatever an approval takes is taken then: every approval anew, every signature over the new end. Its approval is a
//! ticket for one identical call of the same principal, or releases the one that has come meanwhile.
//!
//! Invariants: only a hold that expired, was unattended or was withdrawn waits again, and never one that something was
//! released by; it is the call that was shown, or it does not wait; until that is recorded nobody can rule on it.

use std::time::Duration;

use jiff::Timestamp;

use super::leaving::poisoned;
use super::room::Gone;
use super::waiter::Entry;
use super::{Hold, HoldQueue, Inner, NoEffect, State, same_as};
use crate::call::{CallId, Decided, Digest, Outcome};
use crate::gate::Presence;

const ANEW: &str = "an identical call is held anew";

impl HoldQueue {
    /// The hold of this id as it ended, where it may wait again.
    pub(in crate::gate) fn may_reopen(&self, id: &CallId, digest: Digest) -> Result<(Hold, Presence), NoEffect> {
        let inner = self.lock().map_err(poisoned)?;
        self.reopenable(&inner, id, digest).map(|(hold, presence)| (hold.clone(), presence.clone()))
    }

    /// Begins to open it again: nobody can rule on it yet. The caller records that and then calls
    /// [`HoldQueue::reopened`], whatever happens. The hold as it ended, and as it is now.
    pub(in crate::gate) fn reopen(&self, id: &CallId, digest: Digest) -> Result<(Hold, Hold), NoEffect> {
        let mut inner = self.lock().map_err(poisoned)?;
        let (hold, _) = self.reopenable(&inner, id, digest)?;
        self.has_room(&inner, &hold.context, hold.bytes).map_err(|(_, why)| NoEffect::NotSo(why))?;
        let Some(Gone { hold: ended, presence: Some(presence) }) = inner.past.take(id) else {
            return Err(NoEffect::NotFound);
        };
        let ttl = ended.decision.ttl_seconds.map_or(self.settings.ttl, |seconds| Duration::from_secs(seconds.into()));
        let now = Timestamp::now();
        let ends = (self.now() + ttl, now.checked_add(ttl).unwrap_or(now));
        let entry = Entry::again(ended.clone(), presence, same_as(&inner, digest), ends);
        let hold = entry.hold.clone();
        inner.order.push(id.clone());
        inner.open.insert(id.clone(), entry);
        self.more.notify_one();
        Ok((ended, hold))
    }

    /// It is recorded, and the hold waits for a ruling. It could not be: the hold has ended as it had.
    pub(in crate::gate) fn reopened(&self, ended: Hold, recorded: bool) -> Result<Hold, NoEffect> {
        let mut inner = self.lock().map_err(poisoned)?;
        let id = ended.id.clone();
        let Some(entry) = inner.open.get_mut(&id) else { return Err(NoEffect::NotFound) };
        entry.hold.state = State::Pending;
        if !recorded {
            let why = "the store does not take records";
            entry.end_all(Outcome::Unavailable, why);
            entry.let_go();
            let presence = self.remove(&mut inner, &id).map(|entry| entry.presence);
            self.remember(&mut inner, ended, presence);
            return Err(NoEffect::Unavailable(why.to_owned()));
        }
        if entry.stopped.is_none() {
            self.announce(&mut entry.hold);
        }
        self.more.notify_one();
        self.finish(&mut inner, &id);
        inner.open.get(&id).map(|entry| entry.hold.clone()).ok_or_else(|| super::ruling::not_open(&inner, &id))
    }

    fn reopenable<'a>(
        &self,
        inner: &'a Inner,
        id: &CallId,
        digest: Digest,
    ) -> Result<(&'a Hold, &'a Presence), NoEffect> {
        if let Some(entry) = inner.open.get(id).filter(|entry| entry.shown) {
            return Err(NoEffect::NotSo(match entry.hold.state {
                State::Pending => "it waits: it can be ruled on".to_owned(),
                _ => entry.hold.ended_words(),
            }));
        }
        let gone = inner.past.gone(id).ok_or(NoEffect::NotFound)?;
        let hold = &gone.hold;
        if hold.digest != digest {
            return Err(NoEffect::WrongDigest);
        }
        let no = |why: String| Err(NoEffect::NotSo(format!("{why}; {ANEW}")));
        let presence = match (&hold.state, &gone.presence) {
            (
                State::Closed { outcome: Outcome::Expired | Outcome::Unattended | Outcome::Withdrawn, .. },
                Some(presence),
            ) => presence,
            (State::Closed { .. }, None) => {
                return no(format!("its approval has been used up: {}", hold.ended_words()));
            }
            (
                State::Closed { .. }
                | State::Rejected { .. }
                | State::Stale { .. }
                | State::Approved { .. }
                | State::Done { .. }
                | State::Pending
                | State::Deciding
                | State::Leaving { .. }
                | State::Ticket { .. },
                _,
            ) => return no(hold.ended_words()),
        };
        // A client repeats no answer, and what goes on from another call is nothing without that one.
        if hold.call.method() != Decided::ToolsCall || hold.context.continues.is_some() {
            return no("only a call of a tool that stands by itself can wait again".to_owned());
        }
        // Two approvals of one call would be two calls: one of them is enough to rule on.
        let same = inner.open.values().find(|entry| entry.is_of(digest, &hold.call, &hold.context));
        match same {
            Some(other) => Err(NoEffect::NotSo(format!("the same call is open as {}: rule on that", other.hold.id))),
            None => Ok((hold, presence)),
        }
    }
}
