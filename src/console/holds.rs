//! The holds as the list shows them: those that wait in the order of their arrival, then those that ended lately.
//!
//! Invariant: no row at or above the cursor moves on its own. A hold that is new goes to the end; one that ends stays in
//! its place until the operator moves. Everything is found by id, nothing by position.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::call::CallId;
use crate::console::doc::Seen;
use crate::console::risk::Risk;
use crate::control::wire::{HoldState, HoldView};

/// Ended holds that are kept, and the bytes of their arguments.
const CLOSED: usize = 100;
const CLOSED_BYTES: usize = 8 << 20;

/// A hold and what this side knows about it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub view: HoldView,
    pub risk: Risk,
    expires: Option<Timestamp>,
    /// What of it has been on the screen.
    pub seen: Seen,
    /// Its row has not been on the screen.
    pub fresh: bool,
}

impl Entry {
    fn new(view: HoldView) -> Entry {
        let expires = view.expires_at.parse().ok();
        Entry { risk: Risk::of(&view), expires, seen: Seen::default(), fresh: true, view }
    }

    /// Seconds until the hold's time is over, rounded up. A time that cannot be read is over.
    pub fn seconds_left(&self, now: Timestamp) -> i64 {
        let millis = self.expires.map_or(0, |at| at.duration_since(now).as_millis());
        i64::try_from((millis + 999).div_euclid(1000)).unwrap_or(i64::MAX)
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|at| at <= now)
    }

    pub fn is_pending(&self) -> bool {
        self.view.state.is_pending()
    }
}

/// What a notice did to the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    New,
    Changed,
    Same,
}

#[derive(Debug, Default)]
pub struct Holds {
    entries: HashMap<CallId, Entry>,
    /// In order of arrival. May hold ended ones that are waiting for the cursor to move.
    waiting: Vec<CallId>,
    /// The one that ended last comes first.
    closed: Vec<CallId>,
}

impl Holds {
    pub fn get(&self, id: &CallId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub fn get_mut(&mut self, id: &CallId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// Rows of the list, the closed ones included.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.closed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows before the closed ones.
    pub fn waiting_rows(&self) -> usize {
        self.waiting.len()
    }

    pub fn row(&self, row: usize) -> Option<&CallId> {
        self.waiting.get(row).or_else(|| self.closed.get(row.checked_sub(self.waiting.len())?))
    }

    pub fn row_of(&self, id: &CallId) -> Option<usize> {
        let closed = || self.closed.iter().position(|other| other == id).map(|row| row + self.waiting.len());
        self.waiting.iter().position(|other| other == id).or_else(closed)
    }

    pub fn pending(&self) -> impl Iterator<Item = &Entry> {
        self.pending_rows().map(|(_, entry)| entry)
    }

    /// The same, each with its row.
    pub fn pending_rows(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let rows = self.waiting.iter().enumerate();
        rows.filter_map(|(row, id)| Some((row, self.entries.get(id)?))).filter(|(_, entry)| entry.is_pending())
    }

    /// Takes the daemon's word for everything.
    pub fn replace(&mut self, mut views: Vec<HoldView>) {
        let mut old = std::mem::take(&mut self.entries);
        self.waiting.clear();
        self.closed.clear();
        views.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
        let mut ended: Vec<(String, CallId)> = Vec::new();
        for view in views {
            match ended_at(&view.state) {
                None => self.waiting.push(view.id.clone()),
                Some(at) => ended.push((at.to_owned(), view.id.clone())),
            }
            let known = old.remove(&view.id);
            self.entries.insert(view.id.clone(), renew(known, view));
        }
        ended.sort_by(|a, b| b.cmp(a));
        self.closed.extend(ended.into_iter().map(|(_, id)| id));
        self.forget();
    }

    /// Takes one hold as it is now.
    pub fn upsert(&mut self, view: HoldView) -> Change {
        let id = view.id.clone();
        let known = self.entries.remove(&id);
        let change = match &known {
            None => Change::New,
            Some(entry) if entry.view == view => Change::Same,
            Some(_) => Change::Changed,
        };
        let pending = view.state.is_pending();
        self.entries.insert(id.clone(), renew(known, view));
        match (change, pending) {
            (Change::New, true) => self.waiting.push(id),
            (Change::New, false) => self.closed.insert(0, id),
            (Change::Changed | Change::Same, _) => {}
        }
        self.forget();
        change
    }

    /// Moves ended holds from their old place to the closed ones: all of them, or only those below the cursor.
    pub fn settle(&mut self, cursor: Option<&CallId>) {
        let keep = cursor.and_then(|id| self.waiting.iter().position(|other| other == id)).map_or(0, |row| row + 1);
        let mut row = 0;
        let mut ended = Vec::new();
        self.waiting.retain(|id| {
            row += 1;
            let stays = row <= keep || self.entries.get(id).is_some_and(Entry::is_pending);
            if !stays {
                ended.push(id.clone());
            }
            stays
        });
        ended.into_iter().for_each(|id| self.closed.insert(0, id));
        self.forget();
    }

    fn forget(&mut self) {
        let mut bytes = 0;
        let entries = &self.entries;
        let size = |id: &CallId| entries.get(id).map_or(0, |entry| entry.view.arguments.as_str().len());
        let keep = self.closed.iter().take(CLOSED).take_while(|id| {
            bytes += size(id);
            bytes <= CLOSED_BYTES
        });
        let keep = keep.count();
        for id in self.closed.drain(keep..) {
            self.entries.remove(&id);
        }
    }
}

/// What has been read of a hold stays read as long as nothing about it changes.
fn renew(known: Option<Entry>, view: HoldView) -> Entry {
    match known {
        Some(known) if known.view == view => known,
        Some(known) => Entry { fresh: known.fresh, ..Entry::new(view) },
        None => Entry::new(view),
    }
}

fn ended_at(state: &HoldState) -> Option<&str> {
    match state {
        HoldState::Pending => None,
        HoldState::Ticket { at, .. }
        | HoldState::Approved { at, .. }
        | HoldState::Rejected { at, .. }
        | HoldState::Stale { at, .. }
        | HoldState::Closed { at, .. }
        | HoldState::Done { at, .. } => Some(at),
    }
}
