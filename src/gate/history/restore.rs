//! The last day, read back from the audit at start: what had left, and when.
//!
//! Records are read from the last one back, and their age is what the wall clock says, less what it was set by in
//! between (`clock_stepped`). Invariant: an older record is never taken for a younger one, and one from the future is
//! taken for now, so that a clock that goes back gives nothing back.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::spend::Spend;
use super::window::LONGEST;
use super::{History, Inner, NAME_BYTES, clock};
use crate::audit::{AuditError, AuditReader, Record};
use crate::call::{CallId, Effect, Operation};

/// Of the body of a `decided`: whose it was. A record that is cut still says this.
#[derive(Deserialize)]
struct Whose {
    principal: Named,
    server: Named,
}

/// Of the same body: what it was.
#[derive(Deserialize)]
struct Decided {
    method: String,
    operation: Operation,
    continues: Option<CallId>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Effective {
    decision: EffectOf,
}

#[derive(Deserialize)]
struct EffectOf {
    effect: Effect,
}

#[derive(Deserialize)]
struct Step {
    by_ms: i64,
}

#[derive(Deserialize)]
struct Completed {
    result: String,
}

/// What is known of calls whose later records have been read.
#[derive(Default)]
struct Later {
    /// They were not sent.
    unsent: HashSet<String>,
    /// Held ones that left, and how long ago in milliseconds.
    sent: HashMap<String, u64>,
}

impl History {
    pub fn is_restored(&self) -> bool {
        self.lock().restored
    }

    /// Reads what was let through before this run: records up to `last`. Blocks: takes as long as a day of records
    /// takes to read.
    ///
    /// # Errors
    /// Where the audit cannot be read: there is no history then.
    pub fn restore(&self, reader: &AuditReader, last: u64) -> Result<(), AuditError> {
        let mut past = Inner::default();
        past.read(reader, last, jiff::Timestamp::now().as_millisecond(), clock())?;
        let mut inner = self.lock();
        if inner.restored {
            return Ok(());
        }
        // What was counted meanwhile belongs to this run, and comes on top.
        inner.lost_until = inner.lost_until.max(past.lost_until);
        for (key, account) in past.accounts {
            let into = inner.accounts.entry(key).or_default();
            into.lost_until = into.lost_until.max(account.lost_until);
            into.counted.merge(account.counted);
        }
        inner.restored = true;
        Ok(())
    }
}

impl Inner {
    /// `wall` is the wall clock and `now` ours, both in milliseconds.
    pub(super) fn read(&mut self, reader: &AuditReader, last: u64, wall: i64, now: u64) -> Result<(), AuditError> {
        let (mut later, mut set_by, mut age) = (Later::default(), 0_i64, 0_u64);
        reader.scan_back(last, |record| {
            if record.kind == "clock_stepped" {
                set_by = set_by.saturating_add(serde_json::from_str(&record.body).map_or(0, |step: Step| step.by_ms));
            }
            let at = record.at.parse::<jiff::Timestamp>().map_or(wall, |at| at.as_millisecond());
            let since = wall.saturating_sub(at).saturating_sub(set_by);
            age = age.max(u64::try_from(since).unwrap_or(0));
            let over = age >= LONGEST;
            if !over || !later.sent.is_empty() {
                self.learn(&record, age, over, now, &mut later);
            }
            !over || !later.sent.is_empty()
        })
    }

    /// One record, `age` milliseconds old; where that is `over`, only what later ones ask for.
    fn learn(&mut self, record: &Record, age: u64, over: bool, now: u64, later: &mut Later) {
        let Some(call) = record.call.as_deref() else { return };
        match record.kind.as_str() {
            "closed" if !over => {
                later.unsent.insert(call.to_owned());
            }
            "completed" if !over => {
                let unsent = serde_json::from_str(&record.body).is_ok_and(|end: Completed| end.result == "not_sent");
                if unsent {
                    later.unsent.insert(call.to_owned());
                }
            }
            "sending" if !over && !later.unsent.contains(call) => {
                later.sent.insert(call.to_owned(), age);
            }
            "decided" => {
                let unsent = later.unsent.remove(call);
                let sent = later.sent.remove(call);
                let effect = serde_json::from_str(&record.body).map(|body: Effective| body.decision.effect);
                let left = match effect {
                    Ok(Effect::Deny) => None,
                    // Without a record that it left it did not.
                    Ok(Effect::Hold) => sent,
                    Ok(Effect::Allow) | Err(_) => sent.or((!over && !unsent).then_some(age)),
                };
                if let Some(left) = left {
                    self.had_left(&record.body, now.saturating_sub(left));
                }
            }
            _ => {}
        }
    }

    pub(super) fn had_left(&mut self, body: &str, at: u64) {
        let Ok(Whose { principal, server }) = serde_json::from_str(body) else {
            self.lost_until = self.lost_until.max(at + LONGEST);
            return;
        };
        let account = self.accounts.entry((principal.name, server.name)).or_default();
        let Ok(Decided { method, operation, continues }) = serde_json::from_str(body) else {
            account.lost_until = account.lost_until.max(at + LONGEST);
            return;
        };
        let Some(spend) = Spend::counted(&method, continues.is_some(), &operation) else { return };
        if operation.name.len() <= NAME_BYTES && account.counted.has_room(&operation.name) {
            account.counted.add(&operation.name, operation.class, at, &spend);
        } else {
            account.lost_until = account.lost_until.max(at + LONGEST);
        }
    }
}
