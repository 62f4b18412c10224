//! The rows of the list: what is known, filtered, like ones together, with lines between the parts. Made anew after every
//! event; the order of holds is `holds`' business, and a row is found by the id that it stands for.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::call::{CallId, Tier};
use crate::console::filter::Filter;
use crate::console::holds::{Entry, Holds, ended_at};
use crate::console::risk::plural;
use crate::control::wire::{HoldState, HoldView};

/// Ended holds are shown for so long.
const LATELY: Duration = Duration::from_secs(600);

/// What holds of a group have in common.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    server: String,
    tool: String,
    operation: String,
    rule: String,
    session: String,
    tier: Tier,
}

impl Key {
    pub fn of(entry: &Entry) -> Key {
        let HoldView { server, tool, operation, rule, session, .. } = &entry.view;
        let [server, tool, operation, rule, session] = [server, tool, operation, rule, session].map(String::clone);
        Key { server, tool, operation, rule, session, tier: entry.risk.tier }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Row {
    Hold(CallId),
    /// Holds alike, folded. The first stands for them all: what the detail shows and an approval is about.
    Group(Vec<CallId>),
    /// A line of ours between two parts.
    Line(String),
}

impl Row {
    /// The hold that is selected with the row.
    pub fn id(&self) -> Option<&CallId> {
        match self {
            Row::Hold(id) => Some(id),
            Row::Group(ids) => ids.first(),
            Row::Line(_) => None,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    rows: Vec<Row>,
    /// Every hold that is in a row, folded ones too.
    places: HashMap<CallId, usize>,
    /// Holds that wait and that the filter hides.
    pub hidden: usize,
    /// Holds that wait behind the line of the new ones.
    pub new: usize,
}

/// What the list is made of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub filter: &'a Filter,
    pub unfolded: &'a HashSet<Key>,
    pub selected: Option<&'a CallId>,
    /// The key that sorts new holds in.
    pub sort_in: &'a str,
    pub now: Timestamp,
}

impl Rows {
    pub fn of(holds: &Holds, wanted: Wanted<'_>) -> Rows {
        let (sorted, new, closed) = holds.parts();
        let mut rows = Rows::default();
        let takes = |entry: &Entry| wanted.filter.takes(entry);
        let shown = |ids: &[CallId]| -> Vec<CallId> {
            ids.iter().filter(|id| holds.get(id).is_some_and(takes)).cloned().collect()
        };
        rows.hidden = holds.pending().filter(|entry| !takes(entry)).count();
        rows.grouped(holds, &shown(sorted), wanted);
        let new = shown(new);
        rows.new = new.len();
        if !new.is_empty() {
            rows.push(Row::Line(format!("{} new · press {} to sort in", new.len(), wanted.sort_in)));
            new.into_iter().for_each(|id| rows.push(Row::Hold(id)));
        }
        let lately =
            |entry: &Entry| wanted.selected == Some(&entry.view.id) || is_lately(&entry.view.state, wanted.now);
        let closed: Vec<_> = closed
            .iter()
            .filter(|id| holds.get(id).is_some_and(|entry| takes(entry) && lately(entry)))
            .cloned()
            .collect();
        if !closed.is_empty() {
            rows.push(Row::Line("closed, last 10 min".to_owned()));
            closed.into_iter().for_each(|id| rows.push(Row::Hold(id)));
        }
        rows
    }

    fn grouped(&mut self, holds: &Holds, ids: &[CallId], wanted: Wanted<'_>) {
        let pending = |id: &&CallId| holds.get(id).is_some_and(Entry::is_pending);
        let mut groups: HashMap<Key, Vec<CallId>> = HashMap::new();
        for id in ids.iter().filter(pending) {
            if let Some(entry) = holds.get(id) {
                groups.entry(Key::of(entry)).or_default().push(id.clone());
            }
        }
        for id in ids {
            let Some(entry) = holds.get(id) else { continue };
            let key = Key::of(entry);
            let alone = !entry.is_pending() || wanted.unfolded.contains(&key);
            match groups.get_mut(&key) {
                Some(group) if !alone && group.len() > 1 => {
                    let mut group = std::mem::take(group);
                    // The one that is selected stands for the others, so that no other takes its place.
                    if let Some(at) = group.iter().position(|id| Some(id) == wanted.selected) {
                        group.swap(0, at);
                    }
                    self.push(Row::Group(group));
                }
                Some(group) if !alone && group.is_empty() => {}
                Some(_) | None => self.push(Row::Hold(id.clone())),
            }
        }
    }

    fn push(&mut self, row: Row) {
        let place = self.rows.len();
        match &row {
            Row::Hold(id) => {
                self.places.insert(id.clone(), place);
            }
            Row::Group(ids) => self.places.extend(ids.iter().map(|id| (id.clone(), place))),
            Row::Line(_) => {}
        }
        self.rows.push(row);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn get(&self, row: usize) -> Option<&Row> {
        self.rows.get(row)
    }

    pub fn row_of(&self, id: &CallId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The ids that stand for a row, from a row on, downwards or upwards.
    pub fn down(&self, from: usize) -> impl Iterator<Item = &CallId> {
        self.rows.iter().skip(from).filter_map(Row::id)
    }

    pub fn up(&self, from: usize) -> impl Iterator<Item = &CallId> {
        self.rows.iter().take(from).rev().filter_map(Row::id)
    }

    /// The holds behind a hold's row: itself, or all of its folded group.
    pub fn behind(&self, id: &CallId) -> &[CallId] {
        match self.row_of(id).and_then(|row| self.rows.get(row)) {
            Some(Row::Group(ids)) => ids,
            Some(Row::Hold(id)) => std::slice::from_ref(id),
            Some(Row::Line(_)) | None => &[],
        }
    }

    /// The line above the list where something is not in it.
    pub fn hides(&self) -> Option<String> {
        (self.hidden > 0).then(|| format!("{} HIDDEN by the filter", plural(self.hidden, "hold").to_uppercase()))
    }
}

/// Whether a hold waits, or has ended so lately that it is listed without being asked for.
pub fn is_lately(state: &HoldState, now: Timestamp) -> bool {
    let at: Option<Timestamp> = ended_at(state).and_then(|at| at.parse().ok());
    at.is_none_or(|at| at + LATELY >= now)
}
