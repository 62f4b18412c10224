//! What changes, for those who watch. A change names its hold and has no call in it, so that what waits for a slow watcher
//! is small; the watcher looks the hold up when its turn has come.

use std::collections::HashMap;

use tokio::sync::broadcast;

use super::{Hold, HoldQueue, State};
use crate::call::CallId;

/// A hold is new or has changed.
#[derive(Clone, Debug)]
pub struct Change {
    id: CallId,
    revision: u64,
    state: State,
}

/// What a change comes to when its turn has come.
#[derive(Debug)]
pub enum Told {
    /// The hold, in the state that it changed to.
    Hold(Box<Hold>),
    /// It has changed again within the same state: that change follows, and says all of this.
    Later,
    /// It is not remembered any more: whoever knows of it needs everything anew.
    Forgotten,
}

impl Change {
    /// Whether somebody who has seen the hold at this revision knows it.
    pub fn is_known(&self, seen: &HashMap<CallId, u64>) -> bool {
        seen.get(&self.id).is_some_and(|seen| *seen >= self.revision)
    }
}

impl HoldQueue {
    /// Changes from now on. A receiver that lags takes everything anew ([`HoldQueue::ids`]) instead.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    pub fn told(&self, change: &Change) -> Told {
        match self.find(&change.id) {
            None => Told::Forgotten,
            Some(hold) if hold.revision > change.revision && hold.state == change.state => Told::Later,
            Some(hold) => Told::Hold(Box::new(Hold { state: change.state.clone(), ..hold })),
        }
    }

    /// Open holds in the order in which they came, then the ones that ended lately, newest first.
    pub fn ids(&self) -> Vec<CallId> {
        let Ok(inner) = self.lock() else { return Vec::new() };
        let entries = inner.order.iter().filter_map(|id| inner.open.get(id)).filter(|entry| entry.shown);
        let open = entries.map(|entry| entry.hold.id.clone());
        open.chain(inner.past.iter().map(|hold| hold.id.clone())).collect()
    }

    /// All of them, in that order.
    pub fn all(&self) -> Vec<Hold> {
        self.ids().iter().filter_map(|id| self.find(id)).collect()
    }

    pub fn find(&self, id: &CallId) -> Option<Hold> {
        let inner = self.lock().ok()?;
        let open = inner.open.get(id).filter(|entry| entry.shown).map(|entry| &entry.hold);
        open.or_else(|| inner.past.find(id)).cloned()
    }

    pub(super) fn announce(&self, hold: &mut Hold) {
        hold.revision = self.revision.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let change = Change { id: hold.id.clone(), revision: hold.revision, state: hold.state.clone() };
        // Nobody watching is fine: the next watcher starts from a snapshot.
        let _ = self.changes.send(change);
    }
}
