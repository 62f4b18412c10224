//! What operators stop beside single holds: everything that is not a read (a freeze), and sessions.
//!
//! Invariants: this comes after policy and only tightens: a deny stays one. A stop counts from the moment in which it
//! is said, whether or not it can be recorded; its end counts once that is on record. A reload of the policies changes
//! nothing about it; a restart ends it, together with everything that was held.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::hold::Stop;
use super::{Gate, NoEffect};
use crate::audit::{Entry, Event};
use crate::call::{CallContext, Class, Decision, Outcome, RuleHit, Tier};
use crate::policy;

/// Who stopped something, when and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Halt {
    pub by: String,
    pub at: Timestamp,
    pub reason: Option<String>,
}

impl Halt {
    pub(super) fn new(by: &str, reason: Option<String>) -> Halt {
        Halt { by: by.to_owned(), at: Timestamp::now(), reason }
    }

    /// For clients. Who it was is for operators and the record.
    pub(super) fn words(&self, what: &str) -> String {
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("an operator has {what}{reason}")
    }
}

pub(super) const FROZEN: &str = "operator.frozen";
const PAUSED: &str = "operator.paused";
const FREEZES: &str = "frozen every call that is not a read";
pub(super) const PAUSES: &str = "paused this session";
pub(super) const ENDS: &str = "ended this session";

/// The freeze, where there is one.
#[derive(Debug, Default)]
pub(super) struct Freeze(Mutex<Option<Arc<Halt>>>);

impl Freeze {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Halt>>> {
        // Every change replaces the whole value, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Option<Arc<Halt>> {
        self.lock().clone()
    }
}

fn hit(rule: &str, reason: String) -> RuleHit {
    RuleHit {
        rule: rule.to_owned(),
        reason,
        policy: "operator".to_owned(),
        file: String::new(),
        line: 0,
        details: None,
        would: None,
    }
}

impl Gate {
    /// What policy says, and what operators have stopped on top of it.
    pub(super) fn stopped(&self, context: &CallContext, decision: Decision) -> Decision {
        if let Some(why) = self.sessions.stopped(&context.session) {
            return policy::denied_too(decision, hit(PAUSED, why));
        }
        match self.freeze.now().filter(|_| context.operation.class != Class::Read) {
            Some(frozen) => policy::held_too(decision, hit(FROZEN, frozen.words(FREEZES)), Tier::Medium),
            None => decision,
        }
    }

    /// Why a call may not leave although it was decided: something was stopped after that. Looked at last.
    pub(super) fn stopped_since(&self, context: &CallContext, decision: &Decision) -> Option<(Outcome, String)> {
        if let Some(why) = self.sessions.stopped(&context.session) {
            return Some((Outcome::Denied, why));
        }
        let frozen = self.freeze.now().filter(|_| context.operation.class != Class::Read)?;
        let told = decision.rules.iter().any(|rule| rule.rule == FROZEN);
        (!told).then(|| (Outcome::Rejected, frozen.words(FREEZES)))
    }

    /// Why nothing of a session is sent, where an operator has paused or ended it.
    pub fn session_stopped(&self, session: &str) -> Option<String> {
        self.sessions.stopped(session)
    }

    /// What was approved, for calls that go on from this one. That it was approved during a freeze says nothing about a
    /// later one, so while anything is frozen they wait for a person again.
    pub(super) fn beyond_freezes(approved: &Decision) -> Decision {
        let mut approved = approved.clone();
        approved.rules.retain(|rule| rule.rule != FROZEN);
        approved
    }

    /// Who has frozen everything that is not a read, where somebody has.
    pub fn frozen(&self) -> Option<Arc<Halt>> {
        self.freeze.now()
    }

    /// Holds everything that is not a read from here on, and rejects what waits.
    ///
    /// # Errors
    /// It could not be recorded; it is in force.
    pub async fn freeze(&self, operator: &str, reason: Option<String>) -> Result<(), NoEffect> {
        let halt = Arc::new(Halt::new(operator, reason));
        *self.freeze.lock() = Some(Arc::clone(&halt));
        let stop = Stop::Halted { by: operator.to_owned(), reason: halt.words(FREEZES) };
        let rejected = self.holds.stop_all(&stop, |_| true);
        tracing::warn!(operator, rejected, "everything that is not a read is held from here on");
        let event = Event::Frozen {
            operator: operator.to_owned(),
            on: true,
            reason: halt.reason.clone(),
            rejected: u64::try_from(rejected).unwrap_or(u64::MAX),
        };
        self.record_stop(event, "it is frozen, and that could not be recorded").await
    }

    /// Ends a freeze.
    ///
    /// # Errors
    /// There is none, or its end could not be recorded: then it goes on.
    pub async fn unfreeze(&self, operator: &str, reason: Option<String>) -> Result<(), NoEffect> {
        let Some(before) = self.freeze.now() else { return Err(NoEffect::NotSo("nothing is frozen".to_owned())) };
        let event = Event::Frozen { operator: operator.to_owned(), on: false, reason, rejected: 0 };
        self.record_stop(event, "that could not be recorded, so it stays frozen").await?;
        // One that somebody else has begun meanwhile goes on.
        let mut now = self.freeze.lock();
        if now.as_ref().is_some_and(|now| Arc::ptr_eq(now, &before)) {
            *now = None;
        }
        drop(now);
        tracing::warn!(operator, "calls are no longer frozen");
        Ok(())
    }

    pub(super) async fn record_stop(&self, event: Event, else_said: &str) -> Result<(), NoEffect> {
        match self.audit.append(Entry::new(None, true, event)).await {
            Ok(_receipt) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "{else_said}");
                Err(NoEffect::Unavailable(else_said.to_owned()))
            }
        }
    }

    /// Pauses a session: its calls are refused and what waits of it is rejected.
    ///
    /// # Errors
    /// There is no such session; or it could not be recorded, and is in force.
    pub async fn pause(&self, session: &str, operator: &str, reason: Option<String>) -> Result<(), NoEffect> {
        let halt = Halt::new(operator, reason.clone());
        let stop = Stop::Halted { by: operator.to_owned(), reason: halt.words(PAUSES) };
        let of = self.sessions.pause(session, halt).ok_or(NoEffect::NotFound)?;
        let rejected = self.holds.stop_session(session, &stop);
        self.record_stop(of.ruled("pause", operator, reason, rejected), "it is paused, and that could not be recorded")
            .await
    }

    /// Lets a paused session go on.
    ///
    /// # Errors
    /// There is none, it is not paused, or that could not be recorded: then it stays paused.
    pub async fn resume(&self, session: &str, operator: &str, reason: Option<String>) -> Result<(), NoEffect> {
        let of = self.sessions.of(session).ok_or(NoEffect::NotFound)?;
        let Some(pause) = self.sessions.paused(session) else {
            return Err(NoEffect::NotSo("the session is not paused".to_owned()));
        };
        self.record_stop(of.ruled("resume", operator, reason, 0), "that could not be recorded, so it stays paused")
            .await?;
        self.sessions.resume(session, &pause);
        Ok(())
    }

    /// Ends a session: what waits of it is rejected, what was sent gets its grace, and its client is hung up on.
    ///
    /// # Errors
    /// There is none; or it could not be recorded, and is ended.
    pub async fn end_session(&self, session: &str, operator: &str, reason: Option<String>) -> Result<(), NoEffect> {
        let halt = Halt::new(operator, reason.clone());
        let stop = Stop::Halted { by: operator.to_owned(), reason: halt.words(ENDS) };
        let of = self.sessions.end(session, halt).ok_or(NoEffect::NotFound)?;
        let rejected = self.holds.stop_session(session, &stop);
        self.record_stop(of.ruled("end", operator, reason, rejected), "it is ended, and that could not be recorded")
            .await
    }
}
