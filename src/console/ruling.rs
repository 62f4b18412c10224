//! From a key to a ruling: the question, and the one place where its answer becomes a command.
//!
//! Invariant: as `app` says it. What was asked, what was signed and what is sent name one hold and one digest.

use super::app::{App, Effect, InFlight, State};
use super::barrier;
use super::describe;
use super::dialog::{ARMING, Approve, Dialog, Reject};
use super::holds::Entry;
use super::risk::plural;
use super::sign::ruling_text;
use super::visible;
use crate::control::wire::{Command, RulingKind, SignedBy};

/// Why the selected hold cannot be ruled on now, in words; nothing where it can.
fn obstacle(app: &App, entry: &Entry) -> Option<String> {
    if app.state != State::Live {
        return Some("the daemon is not there: nothing can be ruled".to_owned());
    }
    if let Some(text) = barrier::ended(entry, app.now.wall, &app.zone) {
        return Some(text);
    }
    app.flight.as_ref().map(|flight| format!("{}: waiting for the daemon's answer", flight.id))
}

/// Whether the selected hold can be ruled on and has been on the screen for long enough to press this key.
fn may_ask(app: &mut App, key: char) -> bool {
    let obstacle = match app.selected() {
        Some(entry) => obstacle(app, entry),
        None => Some("no hold is selected".to_owned()),
    };
    if let Some(text) = obstacle {
        app.complain(text);
        return false;
    }
    if !app.screen.since(app.now.mono, ARMING) {
        app.screen.disturbed = Some(app.now.mono);
        app.complain(format!("not so fast: look at the call first, then press {key}"));
        return false;
    }
    true
}

pub(super) fn ask_approve(app: &mut App) {
    if !may_ask(app, 'a') {
        return;
    }
    let Some(entry) = app.selected() else { return };
    if barrier::lacks_signature(&entry.view, app.signing.as_ref()) {
        let lines = describe::UNSIGNED_HELP.iter().map(|line| (*line).to_owned()).collect();
        return app.open_dialog(Dialog::Notice { title: "a signature is required".to_owned(), lines });
    }
    if !app.is_seen(&entry.view.id) {
        let (seen, must) = app.seen();
        return app.complain(format!("seen {seen} of {}: read to the end first (PgDn, J)", plural(must, "line")));
    }
    let question = Approve::new(&entry.view, entry.risk.tier);
    app.open_dialog(Dialog::Approve(question));
}

pub(super) fn ask_reject(app: &mut App) {
    if !may_ask(app, 'r') {
        return;
    }
    let Some(entry) = app.selected() else { return };
    let question = Reject::new(&entry.view);
    app.open_dialog(Dialog::Reject(question));
}

/// The one place where a ruling is made: of the open question, about the hold and the digest that it named.
pub(super) fn rule(app: &mut App, ruling: RulingKind, reason: Option<String>) -> Vec<Effect> {
    let named = match app.dialog.take() {
        Some(Dialog::Approve(question)) if ruling == RulingKind::Approve => Some((question.id, question.digest)),
        Some(Dialog::Reject(question)) if ruling == RulingKind::Reject => Some((question.id, question.digest)),
        Some(_) | None => None,
    };
    app.changed();
    let Some((id, digest)) = named else { return Vec::new() };
    let Some(entry) = app.holds.get(&id).filter(|entry| entry.view.digest == digest) else {
        app.complain(format!("{id} is not what the question named: nothing was sent"));
        return Vec::new();
    };
    let unseen = ruling == RulingKind::Approve && !app.is_seen(&id);
    if let Some(text) = obstacle(app, entry).or_else(|| unseen.then(|| format!("{id} was not seen to the end"))) {
        app.complain(text);
        return Vec::new();
    }
    let sign =
        barrier::signer(&entry.view, ruling, app.signing.as_ref()).zip(app.daemon.as_ref()).map(|(signing, daemon)| {
            let text = ruling_text(&entry.view, &daemon.instance, ruling, &signing.operator, reason.as_deref());
            (signing, text)
        });
    app.seq += 1;
    let seq = app.seq;
    let (connection, command) =
        (app.connection, Command::Rule { seq, id: id.clone(), digest, ruling, reason, signed: None });
    let flight = InFlight { seq, id, kind: ruling, since: app.now.mono, unsigned: None };
    match sign {
        Some((signing, text)) => {
            app.say(format!("{}: sign it", flight.id));
            app.flight = Some(InFlight { unsigned: Some((connection, command)), ..flight });
            vec![Effect::Sign { seq, signing, text }]
        }
        None => {
            app.say(format!("{}: asking the daemon…", flight.id));
            app.flight = Some(flight);
            vec![Effect::Send { connection, command }]
        }
    }
}

/// The operator has signed, or not. Whatever happened meanwhile counts: the hold, the connection and the text are those
/// of the question, or nothing is sent.
pub(super) fn signed(app: &mut App, seq: u64, outcome: Result<SignedBy, String>) -> Vec<Effect> {
    app.changed();
    let Some(mut flight) = app.flight.take_if(|flight| flight.seq == seq) else {
        // The daemon went away, and the flight with it; that has been said.
        return Vec::new();
    };
    let Some((connection, Command::Rule { seq, id, digest, ruling, reason, .. })) = flight.unsigned.take() else {
        return Vec::new();
    };
    let by = match outcome {
        Ok(by) => by,
        Err(why) => {
            app.complain(format!("{id}: not signed, nothing was sent: {}", visible::line(&why)));
            return Vec::new();
        }
    };
    let gone = || format!("{id} is not what was signed: nothing was sent");
    let obstacle = match app.holds.get(&id).filter(|entry| entry.view.digest == digest) {
        Some(entry) => obstacle(app, entry).or_else(|| (connection != app.connection).then(gone)),
        None => Some(gone()),
    };
    if let Some(text) = obstacle {
        app.complain(text);
        return Vec::new();
    }
    app.say(format!("{id}: asking the daemon…"));
    app.flight = Some(InFlight { since: app.now.mono, ..flight });
    let command = Command::Rule { seq, id, digest, ruling, reason, signed: Some(by) };
    vec![Effect::Send { connection, command }]
}
