//! What the daemon says, and what that does to the app. A snapshot replaces everything; whatever changes under an open
//! question closes it.

use std::time::Duration;

use super::app::{App, Effect, Link, State};
use super::describe;
use super::dialog::Dialog;
use super::holds::Change;
use super::visible;
use crate::control::wire::{Failure, HoldState, HoldView, Notice, RulingKind};

/// The bell rings at most so often.
const BELL: Duration = Duration::from_secs(2);

pub fn linked(app: &mut App, link: Link) -> Vec<Effect> {
    match link {
        Link::Up { number, operator, daemon } => {
            app.connection = number;
            app.operator = visible::capped(&operator, 32);
            app.daemon = Some(daemon);
            app.state = State::Joining;
            app.changed();
            Vec::new()
        }
        Link::Down { why } => {
            lost(app, why);
            Vec::new()
        }
        Link::Notice(notice) => noticed(app, notice),
    }
}

fn lost(app: &mut App, why: String) {
    let since = match app.state {
        State::Lost { since, .. } => since,
        State::Joining | State::Live => app.now.mono,
    };
    app.state = State::Lost { why: visible::line(&why), since };
    app.changed();
    if app.dialog.as_ref().is_some_and(|dialog| dialog.hold().is_some()) {
        app.close_dialog();
        app.complain("the daemon went away: nothing was sent");
    }
    if let Some(flight) = app.flight.take() {
        app.complain(format!("{}: the daemon went away before it answered; its list will tell", flight.id));
    }
}

fn noticed(app: &mut App, notice: Notice) -> Vec<Effect> {
    match notice {
        // The console asks for no tools.
        Notice::Welcome { .. }
        | Notice::Tools { .. }
        | Notice::Tool { .. }
        | Notice::Frozen { .. }
        | Notice::Sessions { .. }
        | Notice::Grants { .. }
        | Notice::Draft { .. }
        | Notice::Records { .. }
        | Notice::Rules { .. }
        | Notice::Explained { .. }
        | Notice::RuledBatch { .. } => Vec::new(),
        Notice::Snapshot { holds, daemon, .. } => {
            app.daemon = Some(daemon);
            if app.state != State::Live {
                app.state = State::Live;
                app.changed();
            }
            replaced(app, holds);
            Vec::new()
        }
        Notice::Hold { hold } | Notice::Shown { hold, .. } => {
            if upserted(app, *hold) && app.rung.is_none_or(|rung| app.now.mono >= rung + BELL) {
                app.rung = Some(app.now.mono);
                vec![Effect::Bell]
            } else {
                Vec::new()
            }
        }
        Notice::Ruled { seq, hold } => {
            let flight = app.flight.take_if(|flight| flight.seq == seq);
            let mine = flight.map(|flight| ruled_words(&hold, flight.kind));
            upserted(app, *hold);
            if let Some(text) = mine {
                app.say(text);
            }
            Vec::new()
        }
        Notice::Daemon { daemon } => {
            app.daemon = Some(daemon);
            Vec::new()
        }
        Notice::Failed { seq, error, message } => {
            failed(app, seq, error, &message);
            Vec::new()
        }
    }
}

fn ruled_words(hold: &HoldView, ruling: RulingKind) -> String {
    match ruling {
        RulingKind::Reject => format!("{}: rejected, nothing is sent; the agent reads the reason", hold.id),
        RulingKind::Approve if hold.state.is_pending() => {
            format!("{}: your approval counts, {}; it still waits", hold.id, describe::approvals(&hold.approvals))
        }
        RulingKind::Approve if matches!(hold.state, HoldState::Ticket { .. }) => {
            format!("{}: approved, counts for one identical retry: the client is gone", hold.id)
        }
        RulingKind::Approve => format!("{}: approved, the call is released", hold.id),
    }
}

fn failed(app: &mut App, seq: Option<u64>, error: Failure, message: &str) {
    let flight = app.flight.take_if(|flight| Some(flight.seq) == seq);
    let id = flight.map(|flight| format!("{}: ", flight.id)).unwrap_or_default();
    match error {
        Failure::SignatureRequired => {
            let mut lines = vec![format!("{id}the daemon refused the ruling: {message}")];
            lines.extend(describe::UNSIGNED_HELP.iter().map(|line| (*line).to_owned()));
            app.note = None;
            app.open_dialog(Dialog::Notice { title: "a signature is required".to_owned(), lines });
        }
        Failure::NotFound
        | Failure::Closed
        | Failure::NotSo
        | Failure::WrongDigest
        | Failure::BadSignature
        | Failure::ReadOnly
        | Failure::Unavailable
        | Failure::Malformed => app.complain(format!("{id}no effect: {}", visible::line(message))),
    }
}

fn replaced(app: &mut App, views: Vec<HoldView>) {
    let asked = app.dialog.as_ref().and_then(Dialog::hold).cloned();
    let before = asked.as_ref().and_then(|id| app.holds.get(id)).map(|entry| entry.view.clone());
    let selected = app.selected().map(|entry| entry.view.clone());
    app.holds.replace(views);
    if let Some(id) = asked
        && app.holds.get(&id).map(|entry| &entry.view) != before.as_ref()
    {
        app.close_dialog();
        app.complain(format!("{id} changed while the question was open: nothing was sent"));
    }
    // Nothing else moves, so nothing else keeps the operator from ruling: a client that floods the daemon with calls may
    // cause one snapshot after another.
    if app.selected().map(|entry| &entry.view) != selected.as_ref() {
        app.open = None;
        app.changed();
    }
}

/// True where somebody should be told that a hold is new.
fn upserted(app: &mut App, view: HoldView) -> bool {
    let id = view.id.clone();
    let pending = view.state.is_pending();
    let words = describe::outcome(&view.state, &app.zone).unwrap_or_else(|| "it changed".to_owned());
    let change = app.holds.upsert(view);
    if change == Change::Changed {
        if app.selected.as_ref() == Some(&id) {
            app.open = None;
            app.changed();
        }
        if app.dialog.as_ref().and_then(Dialog::hold) == Some(&id) {
            app.close_dialog();
            app.complain(format!("{id}: {}. Nothing was sent from here", visible::line(&words)));
        }
    }
    app.holds.settle(app.selected.as_ref());
    change == Change::New && pending
}
