//! The queue of holds: one state machine, in one place, behind one lock.
//!
//! ```text
//! pending ──approve──> deciding ──recorded──> leaving ──time──> approved ──> (released) ──> done
//!    │                    │ │                    └──taken back──> deciding ──recorded──> pending
//!    │                    │ └───recorded, nobody waits──> ticket ──identical call──> approved
//!    │                    │                                  ├──taken back──> pending
//!    │                    │                                  └──time──> closed
//!    │                    └─────recorded, but ended meanwhile──> closed
//!    ├──reject───> deciding ──recorded──> rejected
//!    ├──frozen, session stopped──> rejected
//!    ├──policy, tool or pin changed──> stale
//!    └──expired, unattended, withdrawn, shutting down──> closed
//!
//! closed (expired, unattended, withdrawn; nothing released by it) ──reopened──> deciding ──recorded──> pending
//! ```
//! `leaving` is the time in which an approval can be taken back (`holds.take_back`). Whatever ends a hold that is pending
//! ends one that is leaving.
//!
//! A hold is one prompt. Calls wait behind it: identical ones of one principal share it, and an approval releases the
//! one that has waited longest; the others then wait behind a prompt of their own. A call whose client cannot wait any
//! longer leaves its hold open: an approval is then a ticket, which one identical call takes.
//!
//! When a prompt ends without a ruling is settled when it opens: an identical call that joins it ends with it. That time
//! stands in what operators sign, so no retry can take the worth from a signature that is being made; and no approval of
//! several that are needed counts for longer than the operator who gave it was told.
//!
//! Invariant: an approval releases one call at most, because it takes the hold, or the ticket, out of the queue.
//! A ruling takes the hold out of `pending` before its record is written, so a second ruling finds nothing to rule on;
//! it counts only once its record is durable. An end that arrives in between wins over an approval.
//! Nothing here sends anything: an approval wakes the call's own task, and that one checks everything again.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::Instant;

use crate::call::{CallContext, CallId, Decision, Digest, Outcome, RuleHit, ToolCall};

use super::Presence;
use super::clock::Clock;

mod lease;
mod leaving;
mod news;
mod rate;
mod reopen;
mod room;
mod ruling;
mod view;
mod waiter;

pub use lease::{LEASE, Lease, LeaseAct};
pub(super) use leaving::Stop;
pub use news::{Change, Told};
pub use room::MAX_SHOWN;
use room::Past;
pub(super) use ruling::Begun;
pub use ruling::NoEffect;
pub use view::{Approver, Hold, State};
pub(super) use waiter::{Carried, carried};
use waiter::{Entry, Leaving, Waiter};

/// Changes that a slow watcher may lag behind before it gets a fresh snapshot instead.
const CHANGES: usize = 256;
/// A machine may have slept: holds are looked at so often, whatever timers say.
const LOOKS: Duration = Duration::from_secs(30);
/// How long an approval that nobody waited for counts for one identical call.
pub const TICKET: Duration = Duration::from_secs(600);

/// Bounds and times of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub ttl: Duration,
    pub no_console_grace: Duration,
    /// How long an approval can be taken back before it leaves; zero: it leaves at once.
    pub take_back: Duration,
    pub max_pending: usize,
    pub max_per_principal: usize,
    /// New prompts of one principal in a minute; a call that joins one is none.
    pub prompts_per_minute: usize,
    /// Several holds of one group may be approved at once.
    pub batches: bool,
    /// Parameters longer than this cannot be shown to an operator.
    pub held_bytes: usize,
    /// Approvals of production calls count without a signature.
    pub unsigned_production: bool,
    pub unsigned_elsewhere: bool,
}

/// How a hold ended, for the task of a call that waits behind it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// By this hold, under this decision: the release is checked against it.
    Approved {
        hold: CallId,
        decision: Arc<Decision>,
        /// By [`HoldQueue::now`]: after this it does not count.
        until: Instant,
    },
    /// With the hold that the ruling named.
    Rejected {
        hold: CallId,
        by: String,
        reason: String,
    },
    Ended {
        outcome: Outcome,
        reason: String,
    },
    /// The call has left and the hold stays open for an identical one until then.
    Detached {
        until: Timestamp,
    },
}

#[derive(Default)]
struct Inner {
    open: HashMap<CallId, Entry>,
    /// The order in which holds came, for display.
    order: Vec<CallId>,
    past: Past,
    prompts: rate::Prompts,
}

/// All holds of the daemon.
pub struct HoldQueue {
    settings: Settings,
    pub(super) clock: Clock,
    inner: Mutex<Inner>,
    changes: broadcast::Sender<Change>,
    /// Of the next change.
    revision: AtomicU64,
    consoles: watch::Sender<usize>,
    /// There is more to look after: [`HoldQueue::lapse`] has to say anew when to look again.
    more: Notify,
}

/// The lock was poisoned by a panic: nothing can be trusted, nothing is let through.
#[derive(Debug)]
pub(super) struct Poisoned;

/// A place in the queue that the task of the call waits at.
#[derive(Debug)]
pub(super) struct Place {
    pub verdict: oneshot::Receiver<Verdict>,
    pub deadline: Instant,
    pub expires: Timestamp,
    /// The hold that was there already.
    pub joins: Option<CallId>,
}

/// What the queue has for a call that needs a person.
#[derive(Debug)]
pub(super) enum Placed {
    Waits(Place),
    /// An operator has approved this very call after its client gave up. The approval is taken and gone.
    Ticket {
        hold: CallId,
        decision: Arc<Decision>,
        /// By [`HoldQueue::now`].
        until: Instant,
    },
}

/// Whether a decision asks for more than another one, which was approved: terms that are harder, or a person for a
/// reason that nobody was told.
pub(super) fn is_stricter(now: &Decision, approved: &Decision) -> bool {
    let told = |rule: &RuleHit| approved.rules.iter().any(|known| known.rule == rule.rule);
    !now.rules.iter().all(told)
        || now.tier > approved.tier
        || now.approvals > approved.approvals
        || now.confirm_with.iter().any(|pointer| !approved.confirm_with.contains(pointer))
}

impl HoldQueue {
    pub fn new(settings: Settings) -> HoldQueue {
        HoldQueue {
            settings,
            clock: Clock::default(),
            inner: Mutex::default(),
            changes: broadcast::channel(CHANGES).0,
            revision: AtomicU64::new(1),
            consoles: watch::channel(0).0,
            more: Notify::new(),
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, Poisoned> {
        self.inner.lock().map_err(|_| Poisoned)
    }

    /// The moment that every deadline here is compared with: it goes on while the machine sleeps.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many consoles are attached; whoever attaches adds itself.
    pub fn consoles(&self) -> &watch::Sender<usize> {
        &self.consoles
    }

    /// Puts a call into the queue: behind the prompt for an identical one, or behind one of its own. Operators see it
    /// from [`HoldQueue::show`] on.
    ///
    /// # Errors
    /// The outcome and reason of the refusal: a cap is reached, or the call cannot be shown.
    pub(super) fn place(
        &self,
        call: Arc<ToolCall>,
        context: Arc<CallContext>,
        decision: Arc<Decision>,
        digest: Digest,
        confirm: Vec<(String, String)>,
        presence: &Presence,
    ) -> Result<Placed, (Outcome, String)> {
        let size = call.message().as_str().len();
        let bytes = room::shown(&call, &context, &decision, &confirm);
        if let Some((size, most)) =
            [(size, self.settings.held_bytes), (bytes, MAX_SHOWN)].iter().find(|(is, most)| is > most)
        {
            let reason = format!(
                "this call needs an operator, and {size} bytes are more than the {most} that can be shown to one"
            );
            return Err((Outcome::Denied, reason));
        }
        let poisoned = |Poisoned| (Outcome::Unavailable, "the hold queue failed".to_owned());
        let mut inner = self.lock().map_err(poisoned)?;
        let joins = match self.identical(&mut inner, digest, &call, &context, &decision) {
            Some(id) => match self.take_ticket(&mut inner, &id) {
                Some((decision, until)) => return Ok(Placed::Ticket { hold: id, decision, until }),
                None => Some(id),
            },
            None => None,
        };
        // A call that takes the place of one that gave up needs no place of its own.
        let returns = joins.as_ref().and_then(|id| inner.open.get(id)).is_some_and(|entry| entry.waiters.is_empty());
        if !returns {
            self.has_room(&inner, &context, bytes)?;
        }
        if joins.is_none() {
            inner.prompts.take(&context.principal.name, self.settings.prompts_per_minute)?;
        }
        let ttl = decision.ttl_seconds.map_or(self.settings.ttl, |seconds| Duration::from_secs(seconds.into()));
        let created = Timestamp::now();
        let own = (self.now() + ttl, created.checked_add(ttl).unwrap_or(created));
        // Whoever joins waits for no longer than what operators were told of the prompt.
        let prompt = joins.as_ref().and_then(|id| inner.open.get(id)).map(|entry| (entry.deadline, entry.hold.expires));
        let (deadline, expires) = prompt.filter(|(deadline, _)| *deadline < own.0).unwrap_or(own);
        let (verdict_to, verdict) = oneshot::channel();
        let waiter = Waiter {
            id: call.id().clone(),
            call,
            context,
            decision,
            confirm,
            created,
            deadline,
            expires,
            bytes,
            presence: presence.clone(),
            patience: presence.patience.map(|patience| (patience, on_the_clock(self.clock.timer(patience)))),
            verdict: verdict_to,
            shown: false,
            leaving: None,
        };
        match joins.as_ref().and_then(|id| inner.open.get_mut(id)) {
            Some(entry) => entry.join(waiter),
            None => self.open(&mut inner, VecDeque::from([waiter]), digest),
        }
        Ok(Placed::Waits(Place { verdict, deadline, expires, joins }))
    }

    /// The hold that an identical call can wait behind. One that nobody waits for, and whose approval would not be
    /// enough under this decision, is closed.
    fn identical(
        &self,
        inner: &mut Inner,
        digest: Digest,
        call: &ToolCall,
        context: &CallContext,
        decision: &Decision,
    ) -> Option<CallId> {
        let same = |entry: &Entry| entry.is_of(digest, call, context);
        let is_found = |id: &&CallId| inner.open.get(*id).is_some_and(same);
        let found: Vec<CallId> = inner.order.iter().filter(is_found).cloned().collect();
        let now = self.now();
        let mut joins = None;
        for id in found {
            let Some(entry) = inner.open.get(&id) else { continue };
            let over = now >= entry.deadline;
            if !over && !is_stricter(decision, &entry.hold.decision) {
                joins = joins.or(Some(id));
            } else if entry.waiters.is_empty() && entry.hold.state != State::Deciding {
                if over {
                    let reason = entry.lapsed_words();
                    self.close(inner, &id, Outcome::Expired, reason);
                } else {
                    let reason = "policy became stricter, and the client has asked again".to_owned();
                    self.stop_locked(inner, &id, &Stop::Stale { reason });
                }
            }
        }
        joins
    }

    /// Takes an approval that nobody has used yet: the same look finds it and removes it.
    fn take_ticket(&self, inner: &mut Inner, id: &CallId) -> Option<(Arc<Decision>, Instant)> {
        let in_time = |entry: &&Entry| self.now() < entry.deadline;
        let State::Ticket { by, at, .. } = &inner.open.get(id).filter(in_time)?.hold.state else { return None };
        let state = State::Approved { by: by.clone(), at: *at };
        let entry = self.remove(inner, id)?;
        let decision = Arc::clone(&entry.hold.decision);
        self.remember(inner, Hold { state, waiting: 0, ..entry.hold }, None);
        self.carry_on(inner, entry.waiters);
        Some((decision, entry.deadline))
    }

    /// Opens a prompt for these calls, which are identical.
    fn open(&self, inner: &mut Inner, waiters: VecDeque<Waiter>, digest: Digest) {
        let Some(first) = waiters.front() else { return };
        let same_as = same_as(inner, digest);
        let accepted = if first.context.environment.is_production() {
            self.settings.unsigned_production
        } else {
            self.settings.unsigned_elsewhere
        };
        let Some(mut entry) = Entry::new(waiters, digest, !accepted, same_as) else { return };
        entry.let_go();
        if entry.waiters.is_empty() && !entry.open_for_retry {
            return;
        }
        if entry.shown {
            self.announce(&mut entry.hold);
        }
        inner.order.push(entry.hold.id.clone());
        inner.open.insert(entry.hold.id.clone(), entry);
        self.more.notify_one();
    }

    /// Lets operators see a call and rule on it: its record is durable.
    pub(super) fn show(&self, id: &CallId) {
        let Ok(mut inner) = self.lock() else { return };
        let Some((hold, at)) = find_waiter(&inner, id) else { return };
        let Some(entry) = inner.open.get_mut(&hold) else { return };
        if let State::Ticket { .. } = entry.hold.state {
            // The approval came while the record was written.
            let Some(waiter) = entry.waiters.remove(at) else { return };
            waiter.tell(match self.take_ticket(&mut inner, &hold) {
                Some((decision, until)) => Verdict::Approved { hold, decision, until },
                None => Verdict::Ended { outcome: Outcome::Expired, reason: "the approval came too late".to_owned() },
            });
            return;
        }
        if let Some(waiter) = entry.waiters.get_mut(at) {
            waiter.shown = true;
        }
        entry.refresh();
        if entry.shown {
            self.announce(&mut entry.hold);
        }
    }

    /// Calls whose prompt was used up by another one get a prompt of their own.
    fn carry_on(&self, inner: &mut Inner, waiters: VecDeque<Waiter>) {
        // Not those that are over: the prompt that was used up may have been named after one of them.
        let waiters: VecDeque<Waiter> = waiters.into_iter().filter_map(Waiter::unless_over).collect();
        let Some(first) = waiters.front() else { return };
        let digest = first.call.digest(&first.context);
        self.open(inner, waiters, digest);
    }

    /// Ends the wait of one call without a ruling. The verdict comes through its place, now or after a ruling in
    /// progress.
    ///
    /// False where it goes on: that no console is attached ends nothing that was approved.
    pub(super) fn end(&self, id: &CallId, outcome: Outcome, reason: &str) -> bool {
        self.leave(id, Leaving::End { outcome, reason: reason.to_owned() })
    }

    /// The client cannot wait any longer: the call leaves, and its hold stays open for an identical one.
    pub(super) fn detach(&self, id: &CallId) {
        self.leave(id, Leaving::Detach);
    }

    /// When the client of a call is thought to give up is known better now.
    pub(super) fn wait_until(&self, id: &CallId, patience: Option<Instant>) {
        let Ok(mut inner) = self.lock() else { return };
        let Some((hold, at)) = find_waiter(&inner, id) else { return };
        let Some(entry) = inner.open.get_mut(&hold) else { return };
        let Some(waiter) = entry.waiters.get_mut(at) else { return };
        if waiter.patience.map(|(at, _)| at) == patience.map(|patience| self.clock.of(patience)) {
            return;
        }
        waiter.patience = patience.map(|patience| (self.clock.of(patience), on_the_clock(patience)));
        entry.refresh();
        if entry.shown {
            self.announce(&mut entry.hold);
        }
    }

    /// What is open, as it was judged, to be judged again.
    pub(super) fn judged(&self) -> Vec<(Hold, Presence)> {
        let Ok(inner) = self.lock() else { return Vec::new() };
        let entries = inner.order.iter().filter_map(|id| inner.open.get(id));
        entries.map(|entry| (entry.hold.clone(), entry.presence.clone())).collect()
    }

    fn leave(&self, id: &CallId, how: Leaving) -> bool {
        let Ok(mut inner) = self.lock() else { return true };
        let Some((hold, at)) = find_waiter(&inner, id) else { return true };
        let Some(entry) = inner.open.get_mut(&hold) else { return true };
        if matches!(
            (&how, &entry.hold.state),
            (Leaving::End { outcome: Outcome::Unattended, .. }, State::Leaving { .. })
        ) {
            return false;
        }
        let Some(waiter) = entry.waiters.get_mut(at) else { return true };
        // Who takes the call back does not come again.
        if !matches!(waiter.leaving, Some(Leaving::End { .. })) {
            waiter.leaving = Some(how);
        }
        if entry.hold.state != State::Deciding {
            self.let_go(&mut inner, &hold);
        }
        true
    }

    /// Lets everybody go who wants to, and closes the hold where nobody is left and nobody was told to come back.
    fn let_go(&self, inner: &mut Inner, id: &CallId) {
        let Some(entry) = inner.open.get_mut(id) else { return };
        let Some(last) = entry.let_go() else { return };
        let is_over = entry.waiters.is_empty() && !entry.open_for_retry;
        if is_over {
            let (outcome, reason) = last;
            self.close(inner, id, outcome, &reason);
            return;
        }
        if entry.waiters.is_empty() {
            self.more.notify_one();
        }
        if entry.shown {
            self.announce(&mut entry.hold);
        }
    }

    /// Releases approvals whose time has come, ends claims, closes what nobody waits for and whose time is over. Says
    /// when to look again.
    pub(super) fn lapse(&self) -> Option<Instant> {
        let mut inner = self.lock().ok()?;
        let now = self.now();
        self.depart(&mut inner, now);
        self.end_leases(&mut inner, now);
        // The timers of their calls may have stood still while the machine slept.
        let waits = |entry: &Entry| entry.hold.state == State::Pending && !entry.waiters.is_empty();
        let late = |entry: &&Entry| waits(entry) && entry.waiters.iter().any(|waiter| now >= waiter.deadline);
        let late: Vec<CallId> = inner.open.values().filter(late).map(|entry| entry.hold.id.clone()).collect();
        for id in late {
            inner.open.get_mut(&id).map(|entry| entry.too_late(now));
            self.finish(&mut inner, &id);
        }
        let left = |entry: &Entry| entry.waiters.is_empty() && entry.hold.state != State::Deciding;
        let over: Vec<(CallId, &'static str)> = inner
            .open
            .iter()
            .filter(|(_, entry)| left(entry) && now >= entry.deadline)
            .map(|(id, entry)| (id.clone(), entry.lapsed_words()))
            .collect();
        for (id, reason) in over {
            self.close(&mut inner, &id, Outcome::Expired, reason);
        }
        let next = inner.open.values().flat_map(|entry| {
            let departure = entry.departure.as_ref().map(|departure| departure.at);
            let lease = entry.hold.lease.as_ref().map(|lease| lease.ends);
            [left(entry).then_some(entry.deadline), departure, lease, Some(now + LOOKS)]
        });
        next.flatten().min().map(|next| self.clock.timer(next))
    }

    /// Resolves when [`HoldQueue::lapse`] has more to look after.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    /// Closes what nobody waits for: the daemon stops, and no approval outlives it.
    pub(super) fn forget(&self) {
        let Ok(mut inner) = self.lock() else { return };
        let left = inner.open.iter().filter(|(_, entry)| entry.waiters.is_empty());
        let left: Vec<CallId> = left.map(|(id, _)| id.clone()).collect();
        for id in left {
            self.close(&mut inner, &id, Outcome::ShuttingDown, "countersign is shutting down");
        }
    }

    /// What became of a hold after it left the queue: refused at release, or answered by the upstream.
    pub(super) fn amend(&self, id: &CallId, change: impl FnOnce(&State) -> State) {
        let Ok(mut inner) = self.lock() else { return };
        let Some(hold) = inner.past.find_mut(id) else { return };
        hold.state = change(&hold.state);
        self.announce(hold);
    }

    /// Moves a hold that nobody waits for to the past.
    fn close(&self, inner: &mut Inner, id: &CallId, outcome: Outcome, reason: &str) {
        let Some(entry) = self.remove(inner, id) else { return };
        let closed = || State::Closed { outcome, at: Timestamp::now(), reason: reason.to_owned() };
        // Whoever took the call back before it was stopped has the word.
        let stopped = entry.stopped.as_ref().filter(|stop| stop.reason() == reason);
        let state = stopped.map_or_else(closed, Stop::state);
        self.remember(inner, Hold { state, waiting: 0, ..entry.hold }, Some(entry.presence));
    }

    fn remove(&self, inner: &mut Inner, id: &CallId) -> Option<Entry> {
        inner.order.retain(|other| other != id);
        inner.open.remove(id)
    }

    /// `presence`: where the hold may wait again.
    fn remember(&self, inner: &mut Inner, mut hold: Hold, presence: Option<Presence>) -> Hold {
        self.announce(&mut hold);
        inner.past.push(hold.clone(), presence);
        hold
    }
}

/// Holds of calls with this digest, and what became of them.
fn same_as(inner: &Inner, digest: Digest) -> Vec<(CallId, &'static str)> {
    let known = inner.open.values().map(|entry| &entry.hold).chain(inner.past.iter());
    known.filter(|hold| hold.digest == digest).map(|hold| (hold.id().clone(), hold.state_word())).take(8).collect()
}

/// The wall clock's word for a moment to come.
fn on_the_clock(at: Instant) -> Timestamp {
    let now = Timestamp::now();
    now.checked_add(at.saturating_duration_since(Instant::now())).unwrap_or(now)
}

/// The hold that a call waits behind, and its place there.
fn find_waiter(inner: &Inner, id: &CallId) -> Option<(CallId, usize)> {
    inner.open.iter().find_map(|(hold, entry)| {
        let at = entry.waiters.iter().position(|waiter| &waiter.id == id)?;
        Some((hold.clone(), at))
    })
}

#[cfg(test)]
mod tests;
