//! The queue of holds: one state machine, in one place, behind one lock.
//!
//! ```text
//! pending ──approve──> deciding ──recorded──> approved ──> (released) ──> done
//!    │                    └─────recorded, but ended meanwhile──> closed
//!    ├──reject───> deciding ──recorded──> rejected
//!    └──expired, unattended, withdrawn, shutting down──> closed
//! ```
//! A ruling takes the hold out of `pending` before its record is written, so a second ruling finds nothing to rule on;
//! it counts only once its record is durable. An end that arrives in between wins over an approval.
//! Nothing here sends anything: an approval wakes the call's own task, and that one checks everything again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::Instant;

use crate::call::{CallContext, CallId, Decision, Digest, Outcome, ToolCall};

use super::permit::{Ruling, Says};

/// Closed holds that consoles can still look at.
const REMEMBERED: usize = 100;
/// Changes that a slow watcher may lag behind before it gets a fresh snapshot instead.
const CHANGES: usize = 256;

/// Bounds and times of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub ttl: Duration,
    pub no_console_grace: Duration,
    pub max_pending: usize,
    pub max_per_principal: usize,
    /// Parameters longer than this cannot be shown to an operator.
    pub held_bytes: usize,
    /// Approvals of production calls count without a signature.
    pub unsigned_production: bool,
    pub unsigned_elsewhere: bool,
}

/// Where a hold is in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Pending,
    /// A ruling is being recorded.
    Deciding,
    Approved {
        by: String,
        at: Timestamp,
    },
    Rejected {
        by: String,
        at: Timestamp,
        reason: String,
    },
    Closed {
        outcome: Outcome,
        at: Timestamp,
        reason: String,
    },
    Done {
        by: String,
        at: Timestamp,
        result: String,
    },
}

/// A hold as others may look at it. Changing a copy changes nothing.
#[derive(Clone, Debug)]
pub struct Hold {
    pub call: Arc<ToolCall>,
    pub context: Arc<CallContext>,
    pub decision: Arc<Decision>,
    pub digest: Digest,
    pub confirm: Vec<(String, String)>,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub state: State,
    pub approved_by: Vec<String>,
    pub signature_required: bool,
    /// Other calls with the same digest, and what became of them.
    pub same_as: Vec<(CallId, &'static str)>,
}

impl Hold {
    pub fn id(&self) -> &CallId {
        self.call.id()
    }

    fn state_word(&self) -> &'static str {
        match &self.state {
            State::Pending | State::Deciding => "pending",
            State::Approved { .. } => "approved",
            State::Rejected { .. } => "rejected",
            State::Closed { outcome, .. } => outcome.as_str(),
            State::Done { .. } => "executed",
        }
    }
}

/// How a hold ended, for the task of its call.
#[derive(Debug)]
pub(super) enum Verdict {
    Approved,
    Rejected { by: String, reason: String },
    Ended { outcome: Outcome, reason: String },
}

/// Why a ruling had no effect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoEffect {
    #[error("there is no such hold")]
    NotFound,
    #[error("{0}")]
    Closed(String),
    #[error("the digest is not the hold's: what you have seen is not what is held")]
    WrongDigest,
    #[error("you have approved this hold already; it needs another operator")]
    SameOperator,
    #[error(
        "this server counts as production and takes signed rulings only, and this version cannot sign: \
         set `operators: {{ unsigned_rulings: accept }}` to accept rulings from any process of your account"
    )]
    SignatureRequired,
    #[error("the ruling could not be recorded, so it does not count: {0}")]
    Unavailable(String),
}

/// What a ruling came to, before it is recorded.
pub(super) enum Claimed {
    /// The hold is `deciding`: record, then [`HoldQueue::settle`].
    Ruled { approvals: u8, completes: bool },
}

struct Entry {
    hold: Hold,
    deadline: Instant,
    verdict: Option<oneshot::Sender<Verdict>>,
    /// An end that arrived while a ruling was being recorded.
    doomed: Option<(Outcome, String)>,
    /// Its own record is durable: before that nobody sees it and nobody rules on it.
    shown: bool,
}

#[derive(Default)]
struct Inner {
    pending: HashMap<CallId, Entry>,
    /// The order in which holds came, for display.
    order: Vec<CallId>,
    past: VecDeque<Hold>,
}

/// All holds of the daemon.
pub struct HoldQueue {
    settings: Settings,
    inner: Mutex<Inner>,
    changes: broadcast::Sender<Arc<Hold>>,
    consoles: watch::Sender<usize>,
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
}

impl HoldQueue {
    pub fn new(settings: Settings) -> HoldQueue {
        HoldQueue {
            settings,
            inner: Mutex::default(),
            changes: broadcast::channel(CHANGES).0,
            consoles: watch::channel(0).0,
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, Poisoned> {
        self.inner.lock().map_err(|_| Poisoned)
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes from now on. A receiver that lags takes [`HoldQueue::all`] instead.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Hold>> {
        self.changes.subscribe()
    }

    /// How many consoles are attached; whoever attaches adds itself.
    pub fn consoles(&self) -> &watch::Sender<usize> {
        &self.consoles
    }

    /// Pending holds in the order in which they came, then the ones that ended lately, newest first.
    pub fn all(&self) -> Vec<Hold> {
        let Ok(inner) = self.lock() else { return Vec::new() };
        let entries = inner.order.iter().filter_map(|id| inner.pending.get(id)).filter(|entry| entry.shown);
        let pending = entries.map(|entry| entry.hold.clone());
        pending.chain(inner.past.iter().cloned()).collect()
    }

    pub fn find(&self, id: &CallId) -> Option<Hold> {
        let inner = self.lock().ok()?;
        let pending = inner.pending.get(id).filter(|entry| entry.shown).map(|entry| &entry.hold);
        pending.or_else(|| inner.past.iter().find(|hold| hold.id() == id)).cloned()
    }

    /// Puts a call into the queue. Operators see it from [`HoldQueue::show`] on.
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
    ) -> Result<Place, (Outcome, String)> {
        let size = call.message().as_str().len();
        if size > self.settings.held_bytes {
            let reason = format!(
                "this call needs an operator, and {size} bytes are more than the {} that can be shown to one",
                self.settings.held_bytes
            );
            return Err((Outcome::Denied, reason));
        }
        let poisoned = |Poisoned| (Outcome::Unavailable, "the hold queue failed".to_owned());
        let mut inner = self.lock().map_err(poisoned)?;
        if inner.pending.len() >= self.settings.max_pending {
            let reason = format!("{} calls are waiting for an operator (holds.max_pending)", inner.pending.len());
            return Err((Outcome::Overloaded, reason));
        }
        let mine = inner.pending.values().filter(|entry| entry.hold.context.principal.name == context.principal.name);
        if mine.count() >= self.settings.max_per_principal {
            let reason = format!(
                "{} calls of {} are waiting for an operator (holds.max_per_principal)",
                self.settings.max_per_principal, context.principal.name
            );
            return Err((Outcome::Overloaded, reason));
        }
        let ttl = decision.ttl_seconds.map_or(self.settings.ttl, |seconds| Duration::from_secs(seconds.into()));
        let created = Timestamp::now();
        let expires = created.checked_add(ttl).unwrap_or(created);
        let deadline = Instant::now() + ttl;
        let others = inner.pending.values().map(|entry| &entry.hold).chain(&inner.past);
        let same = others.filter(|hold| hold.digest == digest);
        let same_as = same.map(|hold| (hold.id().clone(), hold.state_word())).take(8).collect();
        let accepted = if context.environment.is_production() {
            self.settings.unsigned_production
        } else {
            self.settings.unsigned_elsewhere
        };
        let (verdict_to, verdict) = oneshot::channel();
        let id = call.id().clone();
        let hold = Hold {
            call,
            context,
            decision,
            digest,
            confirm,
            created,
            expires,
            state: State::Pending,
            approved_by: Vec::new(),
            signature_required: !accepted,
            same_as,
        };
        inner.order.push(id.clone());
        inner.pending.insert(id, Entry { hold, deadline, verdict: Some(verdict_to), doomed: None, shown: false });
        Ok(Place { verdict, deadline, expires })
    }

    /// Lets operators see a hold and rule on it: its record is durable.
    pub(super) fn show(&self, id: &CallId) {
        let Ok(mut inner) = self.lock() else { return };
        let Some(entry) = inner.pending.get_mut(id) else { return };
        entry.shown = true;
        self.announce(&entry.hold);
    }

    /// Takes a hold out of `pending` for a ruling. The caller records the ruling and then settles it, whatever happens.
    pub(super) fn claim(&self, ruling: &Ruling) -> Result<Claimed, NoEffect> {
        let poisoned = |Poisoned| NoEffect::Unavailable("the hold queue failed".to_owned());
        let mut inner = self.lock().map_err(poisoned)?;
        let Some(entry) = inner.pending.get_mut(&ruling.hold).filter(|entry| entry.shown) else {
            let past = inner.past.iter().find(|hold| hold.id() == &ruling.hold);
            return Err(past.map_or(NoEffect::NotFound, |hold| NoEffect::Closed(ended_words(&hold.state))));
        };
        if entry.hold.state != State::Pending {
            return Err(NoEffect::Closed("another ruling is being recorded".to_owned()));
        }
        if entry.hold.digest != ruling.digest {
            return Err(NoEffect::WrongDigest);
        }
        if Instant::now() >= entry.deadline {
            return Err(NoEffect::Closed("the hold has expired".to_owned()));
        }
        let mut have = u8::try_from(entry.hold.approved_by.len()).unwrap_or(u8::MAX);
        let completes = match &ruling.says {
            Says::Reject { .. } => true,
            Says::Approve { .. } => {
                if entry.hold.signature_required {
                    return Err(NoEffect::SignatureRequired);
                }
                if entry.hold.approved_by.contains(&ruling.operator) {
                    return Err(NoEffect::SameOperator);
                }
                have = have.saturating_add(1);
                have >= entry.hold.decision.approvals
            }
        };
        entry.hold.state = State::Deciding;
        Ok(Claimed::Ruled { approvals: have, completes })
    }

    /// Ends a claim. `recorded` is false where the record could not be written: the hold is pending again.
    pub(super) fn settle(&self, ruling: Ruling, recorded: bool) -> Result<Hold, NoEffect> {
        let poisoned = |Poisoned| NoEffect::Unavailable("the hold queue failed".to_owned());
        let mut inner = self.lock().map_err(poisoned)?;
        let Some(entry) = inner.pending.get_mut(&ruling.hold) else { return Err(NoEffect::NotFound) };
        entry.hold.state = State::Pending;
        let late = entry.doomed.take().or_else(|| {
            (Instant::now() >= entry.deadline).then(|| (Outcome::Expired, "nobody ruled in time".to_owned()))
        });
        if !recorded {
            if let Some((outcome, reason)) = late {
                self.close(&mut inner, &ruling.hold, Verdict::Ended { outcome, reason });
            }
            return Err(NoEffect::Unavailable("the store does not take records".to_owned()));
        }
        let Ruling { hold: id, operator, says, .. } = ruling;
        let verdict = match says {
            Says::Reject { reason } => Verdict::Rejected { by: operator, reason },
            Says::Approve { .. } => {
                if let Some((outcome, reason)) = late {
                    let told = format!("too late: {reason}");
                    self.close(&mut inner, &id, Verdict::Ended { outcome, reason });
                    return Err(NoEffect::Closed(told));
                }
                entry.hold.approved_by.push(operator);
                let have = entry.hold.approved_by.len();
                if have < usize::from(entry.hold.decision.approvals) {
                    let hold = entry.hold.clone();
                    self.announce(&hold);
                    return Ok(hold);
                }
                Verdict::Approved
            }
        };
        self.close(&mut inner, &id, verdict).ok_or(NoEffect::NotFound)
    }

    /// Ends a hold without a ruling. The verdict comes through the hold's place, now or after a ruling in progress.
    pub(super) fn end(&self, id: &CallId, outcome: Outcome, reason: &str) {
        let Ok(mut inner) = self.lock() else { return };
        let Some(entry) = inner.pending.get_mut(id) else { return };
        if entry.hold.state == State::Deciding {
            entry.doomed.get_or_insert_with(|| (outcome, reason.to_owned()));
            return;
        }
        self.close(&mut inner, id, Verdict::Ended { outcome, reason: reason.to_owned() });
    }

    /// What became of a hold after it left the queue: refused at release, or answered by the upstream.
    pub(super) fn amend(&self, id: &CallId, change: impl FnOnce(&State) -> State) {
        let Ok(mut inner) = self.lock() else { return };
        let Some(hold) = inner.past.iter_mut().find(|hold| hold.id() == id) else { return };
        hold.state = change(&hold.state);
        self.announce(hold);
    }

    /// Moves a hold from pending to the past and wakes its call.
    fn close(&self, inner: &mut Inner, id: &CallId, verdict: Verdict) -> Option<Hold> {
        let mut entry = inner.pending.remove(id)?;
        inner.order.retain(|other| other != id);
        let at = Timestamp::now();
        entry.hold.state = match &verdict {
            Verdict::Approved => State::Approved { by: entry.hold.approved_by.join(", "), at },
            Verdict::Rejected { by, reason } => State::Rejected { by: by.clone(), at, reason: reason.clone() },
            Verdict::Ended { outcome, reason } => State::Closed { outcome: *outcome, at, reason: reason.clone() },
        };
        if let Some(waiting) = entry.verdict.take() {
            // The call's task waits until it has its verdict, so somebody is there.
            let _ = waiting.send(verdict);
        }
        let hold = entry.hold;
        self.announce(&hold);
        inner.past.push_front(hold.clone());
        inner.past.truncate(REMEMBERED);
        Some(hold)
    }

    fn announce(&self, hold: &Hold) {
        // Nobody watching is fine: the next watcher starts from a snapshot.
        let _ = self.changes.send(Arc::new(hold.clone()));
    }
}

/// How a hold ended, for an operator who came too late.
fn ended_words(state: &State) -> String {
    match state {
        State::Pending | State::Deciding => "another ruling is being recorded".to_owned(),
        State::Approved { by, .. } => format!("already approved by {by}"),
        State::Rejected { by, reason, .. } => format!("already rejected by {by}: {reason}"),
        State::Closed { outcome, reason, .. } => format!("the hold is closed ({}): {reason}", outcome.as_str()),
        State::Done { by, result, .. } => format!("already approved by {by} and executed ({result})"),
    }
}

#[cfg(test)]
mod tests;
