//! What a ruling does to a hold: begun before it is recorded, settled after.
//!
//! Invariant: whatever happens in between, what was begun is settled, and an end that came meanwhile wins over an approval.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::leaving::Departure;
use super::{Approver, Hold, HoldQueue, Inner, Poisoned, State, TICKET, Verdict};
use crate::call::CallId;
use crate::gate::grant::NotGrantable;
use crate::gate::permit::{Ruling, Says};

/// Why a ruling had no effect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoEffect {
    #[error("there is no such hold")]
    NotFound,
    #[error("{0}")]
    Closed(String),
    /// Nothing that could change so.
    #[error("{0}")]
    NotSo(String),
    #[error("the digest is not the hold's: what you have seen is not what is held")]
    WrongDigest,
    #[error("you have approved this hold already; it needs another operator with another key")]
    SameOperator,
    #[error("{0} has asked for this call: another operator has to approve it")]
    Requester(String),
    #[error("this server takes signed approvals only: sign with a key that `operators.allowed_signers` lists")]
    SignatureRequired,
    #[error("the signature does not count: {0}")]
    BadSignature(String),
    #[error("{0}")]
    Batch(&'static str),
    #[error("no grant: {0}")]
    NotGrantable(#[from] NotGrantable),
    #[error("the text of the grant is not what it would be now: draft it again, and read it")]
    OtherGrant,
    #[error("the ruling could not be recorded, so it does not count: {0}")]
    Unavailable(String),
}

/// What a ruling comes to: the hold is `deciding`. Record, then [`HoldQueue::settle`].
pub(in crate::gate) struct Begun {
    pub approvals: u8,
    pub completes: bool,
}

impl HoldQueue {
    /// Takes a hold out of `pending` for a ruling. The caller records the ruling and then settles it, whatever happens.
    pub(in crate::gate) fn begin(&self, ruling: &Ruling) -> Result<Begun, NoEffect> {
        let poisoned = |Poisoned| NoEffect::Unavailable("the hold queue failed".to_owned());
        let mut inner = self.lock().map_err(poisoned)?;
        let Some(entry) = inner.open.get_mut(&ruling.hold).filter(|entry| entry.shown) else {
            return Err(not_open(&inner, &ruling.hold));
        };
        if entry.hold.state != State::Pending {
            return Err(NoEffect::Closed(entry.hold.ended_words()));
        }
        if entry.hold.digest != ruling.digest {
            return Err(NoEffect::WrongDigest);
        }
        if self.now() >= entry.deadline {
            return Err(NoEffect::Closed("the hold has expired".to_owned()));
        }
        let mut have = u8::try_from(entry.hold.approved_by.len()).unwrap_or(u8::MAX);
        let completes = match &ruling.says {
            Says::Reject { .. } => true,
            Says::Approve { .. } => {
                if entry.hold.signature_required && ruling.proof.is_none() {
                    return Err(NoEffect::SignatureRequired);
                }
                if ruling.proof.is_some() && ruling.taken_back != entry.hold.taken_back {
                    return Err(NoEffect::BadSignature("an approval was taken back meanwhile: sign again".to_owned()));
                }
                if ruling.proof.is_some() && ruling.expires != Some(entry.hold.expires) {
                    return Err(NoEffect::BadSignature("it waits until another time now: sign again".to_owned()));
                }
                let requester = &entry.hold.context.principal;
                if requester.may_be(&ruling.operator) || requester.may_be(&ruling.account) {
                    return Err(NoEffect::Requester(requester.name.clone()));
                }
                if entry.hold.approved_by.iter().any(|by| by.is(ruling)) {
                    return Err(NoEffect::SameOperator);
                }
                have = have.saturating_add(1);
                have >= entry.hold.decision.approvals
            }
        };
        entry.hold.state = State::Deciding;
        Ok(Begun { approvals: have, completes })
    }

    /// Ends what was begun. `recorded` is false where the record could not be written: the hold is pending again.
    pub(in crate::gate) fn settle(&self, ruling: Ruling, recorded: bool) -> Result<Hold, NoEffect> {
        let poisoned = |Poisoned| NoEffect::Unavailable("the hold queue failed".to_owned());
        let mut inner = self.lock().map_err(poisoned)?;
        let Some(entry) = inner.open.get_mut(&ruling.hold) else { return Err(NoEffect::NotFound) };
        entry.hold.state = State::Pending;
        if entry.waiters.is_empty() {
            self.more.notify_one();
        }
        if !recorded {
            self.finish(&mut inner, &ruling.hold);
            return Err(NoEffect::Unavailable("the store does not take records".to_owned()));
        }
        let Ruling { hold: id, operator, account, shown, says, proof, .. } = ruling;
        match says {
            Says::Reject { reason } => self.reject(&mut inner, &id, shown, reason).ok_or(NoEffect::NotFound),
            Says::Approve { .. } => {
                // One moment for both questions: what is in time is released, and never becomes a ticket.
                let now = self.now();
                if let Some(late) = entry.too_late(now) {
                    self.finish(&mut inner, &id);
                    return Err(NoEffect::Closed(format!("too late: {late}")));
                }
                let key = proof.map(|proof| proof.key);
                entry.hold.approved_by.push(Approver { operator, account, shown, key });
                let have = entry.hold.approved_by.len();
                if have < usize::from(entry.hold.decision.approvals) {
                    self.announce(&mut entry.hold);
                    let hold = entry.hold.clone();
                    self.let_go(&mut inner, &id);
                    return Ok(hold);
                }
                let approved = Timestamp::now();
                let by = entry.hold.approved_by.iter().map(|by| by.shown.as_str()).collect::<Vec<_>>().join(", ");
                let window = self.window(entry, now);
                if window.is_zero() {
                    return self.release(&mut inner, &id, now, by, approved).ok_or(NoEffect::NotFound);
                }
                let leaves_at = approved.checked_add(window).unwrap_or(approved);
                entry.hold.state = State::Leaving { by: by.clone(), at: approved, leaves_at };
                entry.hold.lease = None;
                entry.departure = Some(Departure { at: now + window, by, approved });
                self.announce(&mut entry.hold);
                let hold = entry.hold.clone();
                self.more.notify_one();
                self.let_go(&mut inner, &id);
                Ok(hold)
            }
        }
    }

    /// Everybody who waits behind this prompt hears the same no.
    fn reject(&self, inner: &mut Inner, id: &CallId, by: String, reason: String) -> Option<Hold> {
        let entry = self.remove(inner, id)?;
        for waiter in entry.waiters {
            waiter.tell(Verdict::Rejected { hold: id.clone(), by: by.clone(), reason: reason.clone() });
        }
        let state = State::Rejected { by, at: Timestamp::now(), reason };
        Some(self.remember(inner, Hold { state, waiting: 0, ..entry.hold }, None))
    }

    /// One call is released, or the approval becomes a ticket.
    pub(super) fn release(
        &self,
        inner: &mut Inner,
        id: &CallId,
        now: Instant,
        by: String,
        at: Timestamp,
    ) -> Option<Hold> {
        let entry = inner.open.get_mut(id)?;
        let Some(waiter) = entry.take_first(now) else {
            let until = Timestamp::now();
            let until = until.checked_add(TICKET).unwrap_or(until);
            entry.before_ticket = Some((entry.deadline, entry.hold.expires));
            entry.hold.state = State::Ticket { by, at, until };
            entry.hold.expires = until;
            entry.deadline = self.now() + TICKET;
            entry.let_go();
            self.announce(&mut entry.hold);
            let hold = entry.hold.clone();
            self.more.notify_one();
            return Some(hold);
        };
        let entry = self.remove(inner, id)?;
        let released = Hold {
            call: Arc::clone(&waiter.call),
            context: Arc::clone(&waiter.context),
            state: State::Approved { by, at },
            waiting: 0,
            ..entry.hold
        };
        let (decision, until) = (Arc::clone(&released.decision), waiter.deadline);
        waiter.tell(Verdict::Approved { hold: id.clone(), decision, until });
        let released = self.remember(inner, released, None);
        self.carry_on(inner, entry.waiters);
        Some(released)
    }
}

/// Of a hold that is not in the queue.
pub(super) fn not_open(inner: &Inner, id: &CallId) -> NoEffect {
    inner.past.find(id).map_or(NoEffect::NotFound, |hold| NoEffect::Closed(hold.ended_words()))
}
