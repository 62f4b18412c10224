//! What operators may look up of the record: pages of it, and numbers. Read from the files on threads that may wait, a
//! few at a time, so that nobody who looks keeps a call from its decision.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::{Gate, Hold};
use crate::audit::{AuditError, MAX_COUNTED, Page, Stats};
use crate::call::{CallContext, CallId};
use crate::policy::Excerpt;

/// Pages that are read at once.
const READERS: usize = 2;
/// For so long numbers are as good as new ones: many consoles look at them.
const FRESH: Duration = Duration::from_secs(5);
/// What the numbers are about.
const STRETCH: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug)]
pub(super) struct Reports {
    readers: Arc<Semaphore>,
    numbers: Mutex<Option<(Instant, Arc<Stats>)>>,
    /// One explanation at a time: each is a process.
    explains: Mutex<()>,
}

impl Default for Reports {
    fn default() -> Reports {
        Reports { readers: Arc::new(Semaphore::new(READERS)), numbers: Mutex::default(), explains: Mutex::default() }
    }
}

impl Gate {
    /// Records, newest first; see [`crate::audit::AuditReader::page`].
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub async fn records(&self, before: Option<u64>, limit: usize, call: Option<CallId>) -> Result<Page, AuditError> {
        let slot = Arc::clone(&self.reports.readers).acquire_owned().await.map_err(|_| AuditError::Closed)?;
        let audit = self.audit.clone();
        let read = move || {
            // Before the log is read: what is in it by then cannot be missing.
            let end = audit.end();
            let page = audit.reader()?.page(before, limit, call.as_ref(), Some(end));
            drop(slot);
            page
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(AuditError::Closed))
    }

    /// What the rules did in the last day. Some seconds old at most.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub async fn numbers(&self) -> Result<Arc<Stats>, AuditError> {
        // Whoever waits here gets what the first one reads.
        let mut numbers = self.reports.numbers.lock().await;
        if let Some((at, stats)) = numbers.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            tracing::trace!(age_ms = at.elapsed().as_millis(), "numbers are known");
            return Ok(Arc::clone(stats));
        }
        let audit = self.audit.clone();
        let read = move || {
            let now = Timestamp::now();
            audit.reader()?.stats(now.checked_sub(STRETCH).unwrap_or(now), MAX_COUNTED)
        };
        let stats = tokio::task::spawn_blocking(read).await.unwrap_or(Err(AuditError::Closed))?;
        let stats = Arc::new(stats);
        *numbers = Some((Instant::now(), Arc::clone(&stats)));
        Ok(stats)
    }

    /// The rules behind a hold, line by line, as policy judges its call now.
    ///
    /// # Errors
    /// Why they cannot be told, for operators.
    pub async fn explain(&self, hold: &Hold) -> Result<Vec<Excerpt>, String> {
        let _one = self.reports.explains.lock().await;
        let (call, policies) = (&hold.call, self.policy.in_use());
        let history = self.history.look(call, &hold.context, policies.history_on(&hold.context.server.name));
        let context = CallContext { history, ..(*hold.context).clone() };
        let rules = hold.decision.rules.iter().map(|hit| hit.rule.clone()).collect();
        policies.explain(call, &context, hold.digest, crate::policy::now(), rules).await
    }
}
