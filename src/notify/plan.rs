//! When which holds are told of: pure, with time given from outside.
//!
//! A hold is told of once, when it has waited for the channel's time without a claim or a ruling; several that are due
//! within [`COALESCE`](super::COALESCE) are told of together. Bounded: more than [`MOST`] are not remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::COALESCE;
use crate::call::{CallId, Tier};
use crate::control::wire::HoldView;

/// Holds that a channel remembers.
const MOST: usize = 1000;
/// A hold that is silenced is looked at again so often.
const LATER: Duration = Duration::from_secs(60);

/// The hours in which a channel says nothing.
#[derive(Clone, Debug)]
pub struct Quiet {
    /// Minutes after midnight; `from` after `to` goes over midnight.
    pub from: u16,
    pub to: u16,
    pub zone: TimeZone,
    /// Also of holds of tier high.
    pub high_too: bool,
}

impl Quiet {
    fn silences(&self, tier: Tier, wall: &Timestamp) -> bool {
        let time = wall.to_zoned(self.zone.clone()).time();
        let minute = u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or(0);
        let inside = if self.from <= self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        };
        inside && (tier != Tier::High || self.high_too)
    }
}

#[derive(Debug)]
struct Due {
    at: Instant,
    hold: HoldView,
}

#[derive(Debug)]
pub struct Plan {
    after: Duration,
    quiet: Option<Quiet>,
    due: BTreeMap<CallId, Due>,
    /// Told of, and still waiting.
    told: BTreeMap<CallId, Tier>,
    last: Option<Instant>,
}

impl Plan {
    pub fn new(after: Duration, quiet: Option<Quiet>) -> Plan {
        Plan { after, quiet, due: BTreeMap::new(), told: BTreeMap::new(), last: None }
    }

    /// A hold is as it is now.
    pub fn heard(&mut self, hold: &HoldView, now: Instant) {
        if !hold.state.is_pending() {
            self.due.remove(&hold.id);
            self.told.remove(&hold.id);
        } else if hold.claimed.is_some() {
            self.due.remove(&hold.id);
        } else if let Some(due) = self.due.get_mut(&hold.id) {
            due.hold = hold.clone();
        } else if !self.told.contains_key(&hold.id) && self.has_room(hold.tier) {
            self.due.insert(hold.id.clone(), Due { at: now + self.after, hold: hold.clone() });
        }
    }

    /// Whether one more is remembered. Many harmless holds do not keep a dangerous one out: one of the lowest tier makes
    /// room for a higher one. It is not told of again, because nothing makes room for it.
    fn has_room(&mut self, tier: Tier) -> bool {
        if self.due.len() + self.told.len() < MOST {
            return true;
        }
        let told = self.told.iter().min_by_key(|(_, tier)| **tier).map(|(id, tier)| (*tier, id.clone()));
        let due = self.due.iter().min_by_key(|(_, due)| due.hold.tier).map(|(id, due)| (due.hold.tier, id.clone()));
        let least = told.into_iter().chain(due).min_by_key(|(tier, _)| *tier);
        least
            .filter(|(least, _)| *least < tier)
            .is_some_and(|(_, id)| self.told.remove(&id).is_some() || self.due.remove(&id).is_some())
    }

    /// All holds as they are now.
    pub fn replaced(&mut self, holds: &[HoldView], now: Instant) {
        let there: BTreeSet<_> = holds.iter().filter(|hold| hold.state.is_pending()).map(|hold| &hold.id).collect();
        self.due.retain(|id, _| there.contains(id));
        self.told.retain(|id, _| there.contains(id));
        holds.iter().for_each(|hold| self.heard(hold, now));
    }

    /// When there may be something to say.
    pub fn next(&self) -> Option<Instant> {
        let due = self.due.values().map(|due| due.at).min()?;
        Some(self.last.map_or(due, |last| due.max(last + COALESCE)))
    }

    /// What there is to say now, the highest tier first, then the hold that came first. Nothing of it is said again.
    pub fn take(&mut self, now: Instant, wall: &Timestamp) -> Vec<HoldView> {
        let quiet = self.quiet.as_ref();
        let silenced = |due: &Due| quiet.is_some_and(|quiet| quiet.silences(due.hold.tier, wall));
        let mut ready = Vec::new();
        for (id, due) in &mut self.due {
            match due.at <= now {
                true if silenced(due) => due.at = now + LATER,
                true => ready.push(id.clone()),
                false => {}
            }
        }
        let mut holds: Vec<_> = ready.iter().filter_map(|id| self.due.remove(id)).map(|due| due.hold).collect();
        holds.sort_by(|a, b| b.tier.cmp(&a.tier).then_with(|| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id))));
        if !holds.is_empty() {
            self.last = Some(now);
            self.told.extend(holds.iter().map(|hold| (hold.id.clone(), hold.tier)));
        }
        holds
    }
}
