//! Several holds at once: which are marked, and the question that shows all of them before one gesture approves them.
//!
//! Invariant: the table is everything that travels of every call, on the screen, whole. Only holds of the lowest tier are
//! in it, alike in all but their arguments, and only where the daemon's configuration lets them be; each gets a ruling of
//! its own, with its own digest.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::app::{App, Effect};
use super::describe;
use super::dialog::{ARMING, Dialog};
use super::doc::Doc;
use super::guard::Guard;
use super::holds::{Entry, Holds};
use super::keys::Action;
use super::pages::{self, Asked};
use super::risk::plural;
use super::rows::Key;
use super::{barrier, ruling, visible};
use crate::call::{CallId, Digest, Tier};
use crate::control::wire::{BatchItem, BatchResult, Command, Daemon, MAX_BATCH};

/// The question before a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    pub items: Vec<(CallId, Digest)>,
    /// The whole table is on the screen.
    pub fits: bool,
}

/// Marks the selected hold, or all of its folded group; again: takes the marks off.
pub(super) fn mark(app: &mut App) {
    let Some(id) = app.selected.clone() else { return app.complain("no hold is selected") };
    let ids: Vec<_> = app.rows.behind(&id).to_vec();
    let waits = |id: &CallId| app.holds.get(id).is_some_and(Entry::is_pending);
    if !ids.iter().all(waits) {
        return app.complain(format!("{id} no longer waits"));
    }
    if ids.iter().all(|id| app.marked.contains(id)) {
        app.marked.retain(|id| !ids.contains(id));
    } else {
        app.marked.extend(ids);
    }
    let words = match app.marked.len() {
        0 => "nothing is marked".to_owned(),
        count => format!(
            "{} marked: {} approves, {} rejects, {} takes the marks off",
            plural(count, "hold"),
            app.key(Action::Approve),
            app.key(Action::Reject),
            app.key(Action::Unmark)
        ),
    };
    app.say(words);
}

/// Marks of holds that no longer wait go.
pub(super) fn settle(app: &mut App) {
    let App { marked, holds, .. } = app;
    marked.retain(|id| holds.get(id).is_some_and(Entry::is_pending));
}

pub(super) fn ask(app: &mut App) {
    if let Some(text) = obstacle(app) {
        return app.complain(text);
    }
    if !app.screen.since(app.now.mono, ARMING) {
        app.screen.disturbed = Some(app.now.mono);
        return app.complain(format!("not so fast: look at the calls first, then press {}", app.key(Action::Approve)));
    }
    let items = app.marked.iter().filter_map(|id| Some((id.clone(), app.holds.get(id)?.view.digest))).collect();
    app.open_dialog(Dialog::Batch(Batch { items, fits: false }));
}

/// Why the marked holds cannot be approved at once, in words; nothing where they can.
fn obstacle(app: &App) -> Option<String> {
    let desk = Desk { holds: &app.holds, daemon: app.daemon.as_ref(), guard: &app.guard };
    ruling::busy(app).or_else(|| desk.refuses(&app.marked.iter().collect::<Vec<_>>(), app.now.wall, &app.zone))
}

/// What has to be known to say whether holds may be approved at once, on the screen and in plain mode.
#[derive(Clone, Copy, Debug)]
pub struct Desk<'a> {
    pub holds: &'a Holds,
    pub daemon: Option<&'a Daemon>,
    pub guard: &'a Guard,
}

impl Desk<'_> {
    /// Why these holds cannot be approved at once, in words that have passed the escape function; nothing where they can.
    pub fn refuses(&self, ids: &[&CallId], wall: Timestamp, zone: &TimeZone) -> Option<String> {
        if !self.daemon.is_some_and(|daemon| daemon.batches) {
            return Some(
                "the configuration does not let holds be approved at once (holds.batches); U takes the marks away"
                    .to_owned(),
            );
        }
        if !(2..=MAX_BATCH).contains(&ids.len()) {
            return Some(format!("a batch has 2 to {MAX_BATCH} holds, not {}", ids.len()));
        }
        if let Some(why) = self.guard.asks() {
            return Some(format!("one by one: {}", visible::line(&why)));
        }
        let mut first: Option<&Entry> = None;
        for id in ids {
            let Some(entry) = self.holds.get(id) else { return Some(format!("{id} is not known any more")) };
            let problem = barrier::ended(entry, wall, zone).or_else(|| unlike(first.get_or_insert(entry), entry));
            if problem.is_some() {
                return problem;
            }
        }
        None
    }
}

/// Why a hold cannot be approved together with the first one.
fn unlike(first: &Entry, entry: &Entry) -> Option<String> {
    let id = &entry.view.id;
    if entry.risk.tier != Tier::Low {
        return Some(format!("{id} is not of tier low: approve it by itself"));
    }
    if entry.view.signature_required {
        return Some(format!("{id} has to be signed: approve it by itself"));
    }
    let alike = is_alike(first, entry);
    (!alike).then(|| format!("{id} is not like the others in server, tool, operation, rule and session"))
}

fn is_alike(one: &Entry, other: &Entry) -> bool {
    let (a, b) = (&one.view, &other.view);
    Key::of(one) == Key::of(other) && a.environment == b.environment
}

/// The time that is left of all of them, the hold's and the client's, each of the one where it is least.
pub fn clocks(app: &App, batch: &Batch) -> Option<String> {
    let entries = || batch.items.iter().filter_map(|(id, _)| app.holds.get(id));
    let now = app.now.wall;
    let hold = describe::left(entries().map(|entry| entry.seconds_left(now)).min()?);
    let first = entries().filter(|entry| entry.client_left(now).is_some()).min_by_key(|entry| entry.client_left(now));
    let client = first.and_then(|entry| describe::client_clock(entry, now));
    Some(format!("{hold}{}", client.map(|words| format!(" · client {words}")).unwrap_or_default()))
}

/// Everything that the batch would send.
pub fn table(app: &App, batch: &Batch) -> Doc {
    let mut doc = Doc::for_terminal(app.ascii);
    let entries = batch.items.iter().filter_map(|(id, _)| app.holds.get(id));
    for (n, entry) in entries.enumerate() {
        let hold = &entry.view;
        if n == 0 {
            doc.fact("Call", &format!("{} · {}  {}", hold.server, hold.tool, hold.operation));
            doc.fact("Rule", &format!("{}  {}", hold.rule, hold.reason));
            doc.fact("Where", &describe::environment(&hold.environment, hold.production));
            doc.fact("Client", &describe::client(hold));
        }
        doc.heading(&format!("{}. {}  left {}", n + 1, hold.id, describe::clocks(entry, app.now.wall)));
        entry.risk.warnings.iter().for_each(|warning| doc.warning(warning));
        [Some(&hold.arguments), hold.other_params.as_ref(), hold.meta.as_ref()]
            .into_iter()
            .flatten()
            .for_each(|value| doc.raw(value));
    }
    doc
}

/// The answer was yes: what was asked is asked of the daemon, where all of it is still so.
pub(super) fn approve(app: &mut App) -> Vec<Effect> {
    let Some(Dialog::Batch(batch)) = app.dialog.take() else { return Vec::new() };
    let shown = app.screen.drawn.map_or_else(Default::default, |drawn| app.now.mono.saturating_sub(drawn));
    app.changed();
    let is_so = |(id, digest): &(CallId, Digest)| app.holds.get(id).is_some_and(|entry| entry.view.digest == *digest);
    let same = batch.items.len() == app.marked.len() && batch.items.iter().all(|(id, _)| app.marked.contains(id));
    let problem = obstacle(app).or_else(|| {
        let whole = batch.fits && same && batch.items.iter().all(is_so);
        (!whole).then(|| "the holds are not what the question showed: nothing was sent".to_owned())
    });
    if let Some(text) = problem {
        app.complain(text);
        return Vec::new();
    }
    let item = |(id, digest): &(CallId, Digest)| BatchItem { id: id.clone(), digest: *digest, signed: None };
    let holds = batch.items.iter().map(item).collect();
    let effects = pages::ask(app, Asked::Batch, |seq| Command::RuleBatch { seq, holds, reason: None });
    if effects.is_empty() {
        return effects;
    }
    // One gesture is one approval, as long as its table was on the screen.
    let rule = batch.items.first().and_then(|(id, _)| app.holds.get(id)).map(|entry| entry.view.rule.clone());
    app.guard.approved(shown, &rule.unwrap_or_default());
    app.marked.clear();
    effects
}

/// What came of it, in words; the holds that it brings are put in by the caller.
pub(super) fn outcome(results: &[BatchResult]) -> Result<String, String> {
    let failed: Vec<_> = results
        .iter()
        .filter_map(|result| match result {
            BatchResult::Ruled { .. } => None,
            BatchResult::Failed { id, message, .. } => Some(format!("{id}: {}", visible::line(message))),
        })
        .collect();
    let done = results.len() - failed.len();
    if failed.is_empty() {
        Ok(format!("{} approved", plural(done, "hold")))
    } else {
        Err(format!("{} approved, not these: {}", plural(done, "hold"), failed.join("; ")))
    }
}
