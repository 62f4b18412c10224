//! The holds that are known: those that wait, by risk and time left, then the new ones in the order of their arrival,
//! then those that ended lately.
//!
//! Invariant: no row at or above the cursor moves on its own. A hold that is new waits behind the others until the
//! operator sorts it in; one that ends stays in its place until the operator moves. Everything is found by id, nothing by
//! position.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

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
    /// What of it has been on the screen, as it is printed prettily.
    pub seen: Seen,
    /// The same, as it is sent.
    pub seen_raw: Seen,
    /// One of the two has been on the screen, whole.
    pub read: bool,
    /// When its detail was first on the screen.
    pub shown: Option<Duration>,
    /// Its row has not been on the screen.
    pub fresh: bool,
    /// A filter, and whether its terms about arguments take those of this hold.
    pub searched: Option<(String, bool)>,
}

impl Entry {
    fn new(view: HoldView) -> Entry {
        let expires = view.expires_at.parse().ok();
        let (seen, seen_raw) = (Seen::default(), Seen::default());
        let risk = Risk::of(&view);
        Entry { risk, expires, seen, seen_raw, read: false, shown: None, fresh: true, searched: None, view }
    }

    /// Seconds until the client is thought to give up, where that is known.
    pub fn client_left(&self, now: Timestamp) -> Option<i64> {
        let until: Timestamp = self.view.client_waits_until.as_ref()?.parse().ok()?;
        Some(until.duration_since(now).as_secs())
    }

    /// Seconds until an approved call leaves, while it can be taken back.
    pub fn leaves_in(&self, now: Timestamp) -> Option<i64> {
        let HoldState::Approved { leaves_at: Some(at), .. } = &self.view.state else { return None };
        let millis = at.parse::<Timestamp>().ok()?.duration_since(now).as_millis();
        let seconds = i64::try_from((millis + 999).div_euclid(1000)).ok()?;
        (seconds > 0).then_some(seconds)
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
    /// Nothing that a ruling is about, as [`is_same_question`] has it.
    Touched,
    Same,
}

#[derive(Debug, Default)]
pub struct Holds {
    entries: HashMap<CallId, Entry>,
    /// Sorted up to `new_from`, then in order of arrival. May hold ended ones that are waiting for the cursor to move.
    waiting: Vec<CallId>,
    new_from: usize,
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

    pub fn len(&self) -> usize {
        self.waiting.len() + self.closed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that wait and are sorted; the new ones; the closed ones.
    pub fn parts(&self) -> (&[CallId], &[CallId], &[CallId]) {
        let (sorted, new) = self.waiting.split_at(self.new_from.min(self.waiting.len()));
        (sorted, new, &self.closed)
    }

    pub fn pending(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter().filter_map(|id| self.entries.get(id)).filter(|entry| entry.is_pending())
    }

    /// Every hold that is known.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter().chain(&self.closed).filter_map(|id| self.entries.get(id))
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    /// Sorts the new ones in: the riskiest first, then the one whose time is over first.
    pub fn sort(&mut self) {
        let entries = &self.entries;
        self.waiting.sort_by_key(|id| {
            let entry = entries.get(id);
            (Reverse(entry.map(|entry| entry.risk.tier)), entry.and_then(|entry| entry.expires), id.clone())
        });
        self.new_from = self.waiting.len();
    }

    /// Takes the daemon's word for everything. What is known keeps its place.
    pub fn replace(&mut self, views: Vec<HoldView>) {
        let mut old = std::mem::take(&mut self.entries);
        let order = std::mem::take(&mut self.waiting);
        let places: HashMap<_, _> = order.iter().enumerate().map(|(place, id)| (id.clone(), place)).collect();
        let new_from = std::mem::take(&mut self.new_from);
        self.closed.clear();
        let mut known: Vec<(usize, CallId)> = Vec::new();
        let mut new: Vec<(String, CallId)> = Vec::new();
        let mut ended: Vec<(String, CallId)> = Vec::new();
        for view in views {
            match (ended_at(&view.state), places.get(&view.id)) {
                (None, Some(place)) => known.push((*place, view.id.clone())),
                (None, None) => new.push((view.created_at.clone(), view.id.clone())),
                (Some(at), _) => ended.push((at.to_owned(), view.id.clone())),
            }
            let before = old.remove(&view.id);
            self.entries.insert(view.id.clone(), renew(before, view).0);
        }
        known.sort();
        new.sort();
        self.new_from = known.iter().filter(|(place, _)| *place < new_from).count();
        self.waiting = known
            .into_iter()
            .chain(new.into_iter().enumerate().map(|(n, (_, id))| (n, id)))
            .map(|(_, id)| id)
            .collect();
        if self.new_from == 0 {
            self.sort();
        }
        ended.sort_by(|a, b| b.cmp(a));
        self.closed.extend(ended.into_iter().map(|(_, id)| id));
        self.forget();
    }

    /// Takes one hold as it is now.
    pub fn upsert(&mut self, view: HoldView) -> Change {
        let id = view.id.clone();
        let pending = view.state.is_pending();
        let (entry, change) = renew(self.entries.remove(&id), view);
        self.entries.insert(id.clone(), entry);
        match (change, pending) {
            (Change::New, true) => {
                self.waiting.push(id);
                // Behind nothing there is nothing to wait for.
                self.new_from = self.new_from.max(usize::from(self.waiting.len() == 1));
            }
            (Change::New, false) => self.closed.insert(0, id),
            // An approval was taken back: it waits again.
            (Change::Changed, true) if !self.waiting.contains(&id) => {
                self.closed.retain(|other| *other != id);
                self.waiting.push(id);
            }
            (Change::Changed | Change::Touched | Change::Same, _) => {}
        }
        self.forget();
        change
    }

    /// Moves ended holds from their old place to the closed ones: all of them, or only those below the cursor.
    pub fn settle(&mut self, cursor: Option<&CallId>) {
        let keep = cursor.and_then(|id| self.waiting.iter().position(|other| other == id)).map_or(0, |row| row + 1);
        let (mut row, mut gone) = (0, 0);
        let mut ended = Vec::new();
        let new_from = self.new_from;
        self.waiting.retain(|id| {
            row += 1;
            let stays = row <= keep || self.entries.get(id).is_some_and(Entry::is_pending);
            if !stays {
                ended.push(id.clone());
                gone += usize::from(row <= new_from);
            }
            stays
        });
        self.new_from = self.new_from.saturating_sub(gone);
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

/// What has been read of a hold stays read as long as nothing changes that a ruling is about.
fn renew(known: Option<Entry>, view: HoldView) -> (Entry, Change) {
    match known {
        None => (Entry::new(view), Change::New),
        Some(known) if known.view == view => (known, Change::Same),
        Some(known) => {
            if is_same_question(&known.view, &view) {
                (Entry { expires: view.expires_at.parse().ok(), view, ..known }, Change::Touched)
            } else {
                (Entry { fresh: known.fresh, ..Entry::new(view) }, Change::Changed)
            }
        }
    }
}

/// Whether nothing has changed that a ruling is about: only who looks after the hold, how long its client waits, how many
/// identical requests wait, and that it waits longer for them. A client changes the last two as often as it likes, by
/// calls that it cancels: were they another question, it could keep the operator from ever answering one. Whether
/// anybody waits at all is a question: without, an approval makes a ticket.
pub fn is_same_question(before: &HoldView, now: &HoldView) -> bool {
    let claimed = before.claimed.clone();
    let client_waits_until = before.client_waits_until.clone();
    let waiting = if before.waiting > 0 && now.waiting > 0 { before.waiting } else { now.waiting };
    let later = |a: &str, b: &str| Some(a.parse::<Timestamp>().ok()? <= b.parse::<Timestamp>().ok()?);
    let longer = later(&before.expires_at, &now.expires_at) == Some(true);
    let expires_at = if longer { before.expires_at.clone() } else { now.expires_at.clone() };
    *before == (HoldView { claimed, client_waits_until, waiting, expires_at, ..now.clone() })
}

/// When a hold ended, in the daemon's words; nothing while it waits.
pub fn ended_at(state: &HoldState) -> Option<&str> {
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
