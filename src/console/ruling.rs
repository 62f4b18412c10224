//! From a key to a ruling: the question, and the one place where its answer becomes a command.
//!
//! Invariant: as `app` says it. What was asked, what was signed and what is sent name one hold and one digest.

use super::app::{App, Effect, InFlight, State};
use super::barrier;
use super::batch;
use super::describe;
use super::dialog::{ARMING, Approve, Dialog, Reject, Wish};
use super::filter::Filter;
use super::holds::Entry;
use super::keys::{Action, Page};
use super::pages::{self, Asked};
use super::risk::plural;
use super::sign::{Signing, grant_text, ruling_text};
use super::tabs::Tab;
use super::visible;
use crate::call::{CallId, Digest, Tier};
use crate::control::wire::{Command, HoldState, RulingKind, SessionRuling, SignedBy};

/// Why nothing can be changed now, whatever it is.
pub(super) fn barred(app: &App) -> Option<String> {
    if app.read_only {
        return Some("this console only watches: it was started with --read-only".to_owned());
    }
    (app.state != State::Live).then(|| "the daemon is not there: nothing can be ruled".to_owned())
}

/// Why the selected hold cannot be ruled on now, in words; nothing where it can.
fn obstacle(app: &App, entry: &Entry) -> Option<String> {
    if let Some(text) = barred(app) {
        return Some(text);
    }
    barrier::ended(entry, app.now.wall, &app.zone).or_else(|| busy(app))
}

/// Why nothing can be ruled now, whatever it is.
pub(super) fn busy(app: &App) -> Option<String> {
    let waits = || app.flight.as_ref().map(|flight| format!("{}: waiting for the daemon's answer", flight.id));
    barred(app).or_else(waits)
}

/// Whether the selected hold can be ruled on and has been on the screen for long enough to press this key.
fn may_ask(app: &mut App, action: Action) -> bool {
    let obstacle = match app.selected() {
        Some(entry) => obstacle(app, entry),
        None => Some("no hold is selected".to_owned()),
    };
    if let Some(text) = obstacle {
        app.complain(text);
        return false;
    }
    // A call that has changed has to be looked at anew before it is approved; no is no to the old one as well.
    let approves = !matches!(action, Action::Reject | Action::RejectAndPause);
    let looked = app.selected().and_then(|entry| entry.shown).is_some_and(|shown| app.now.mono >= shown + ARMING);
    if !app.screen.since(app.now.mono, ARMING) || approves && !looked {
        app.screen.disturbed = Some(app.now.mono);
        app.complain(format!("not so fast: look at the call first, then press {}", app.key(action)));
        return false;
    }
    true
}

pub(super) fn ask_approve(app: &mut App) {
    if !app.marked.is_empty() {
        return batch::ask(app);
    }
    ask(app, Action::Approve);
}

/// An approval of a call whose client is gone, which counts for one retry. The same question, once the hold waits: one
/// that ended without a ruling is opened again first, which approves nothing.
pub(super) fn ask_ticket(app: &mut App) -> Vec<Effect> {
    let Some(entry) = app.selected() else { return Vec::new() };
    let (id, digest) = (entry.view.id.clone(), entry.view.digest);
    match &entry.view.state {
        HoldState::Pending if entry.view.waiting > 0 => {
            app.complain(format!(
                "{id}: its client still waits; {} approves the call itself",
                app.key(Action::Approve)
            ));
        }
        HoldState::Pending => ask(app, Action::Ticket),
        _ if entry.view.may_wait_again() => {
            if let Some(text) = busy(app) {
                app.complain(text);
                return Vec::new();
            }
            let again = format!("{id} waits again; nothing is approved yet: read it, then {}", app.key(Action::Ticket));
            return pages::ask(app, Asked::Change(again), |seq| Command::Reopen { seq, id, digest });
        }
        HoldState::Closed { outcome, .. } => {
            let outcome = outcome.as_str();
            app.complain(format!(
                "{id} ended as {outcome}, and such a call cannot wait again: an identical one is held anew"
            ));
        }
        HoldState::Ticket { .. }
        | HoldState::Approved { .. }
        | HoldState::Rejected { .. }
        | HoldState::Stale { .. }
        | HoldState::Done { .. } => app.complain(format!("{id} has been ruled on: an identical call is held anew")),
    }
    Vec::new()
}

/// The same from the history: the hold of the record is gone to, where the daemon still knows all that it would send.
pub(super) fn ask_ticket_of_record(app: &mut App) -> Vec<Effect> {
    let call = app.pages.records().nth(app.pages.row(Page::History)).map(|record| record.call.clone());
    let Some(id) = call else { return Vec::new() };
    let Some(id) = id else {
        app.complain("this record is about no call");
        return Vec::new();
    };
    if app.holds.get(&id).is_none() {
        let text = format!(
            "{id}: no hold of this id is known any more, or it shared the prompt of an identical call, which the queue shows"
        );
        app.complain(text);
        return Vec::new();
    }
    let effects = pages::open(app, Page::Queue);
    app.filter = Filter::default();
    app.tab = Tab::Pretty;
    app.select(Some(id));
    app.row = None;
    effects.into_iter().chain(ask_ticket(app)).collect()
}

fn ask(app: &mut App, action: Action) {
    if !may_ask(app, action) {
        return;
    }
    let Some(entry) = app.selected() else { return };
    if barrier::lacks_signature(&entry.view, app.signing.as_ref()) {
        let lines = describe::UNSIGNED_HELP.iter().map(|line| (*line).to_owned()).collect();
        return app.open_dialog(Dialog::Notice { title: "a signature is required".to_owned(), lines });
    }
    if !app.is_seen(&entry.view.id) {
        return app.complain(unread(app));
    }
    let question = Approve::new(&entry.view, entry.risk.tier, app.guard.asks());
    app.open_dialog(Dialog::Approve(question));
}

/// What is missing before the selected hold has been read.
fn unread(app: &App) -> String {
    let (seen, must) = app.seen();
    if must == 0 {
        format!("read the call first: {} until Pretty or Raw", app.key(Action::View))
    } else {
        let here = |action| app.keys.key(app.context(), action);
        let (page, line) = (here(Action::PageDown), here(Action::LineDown));
        let beside = match app.wrap {
            true => String::new(),
            false => {
                format!("; {} goes to the right, {} wraps long lines", here(Action::Unfold), here(Action::Wrap))
            }
        };
        format!("seen {seen} of {}: read to the end first ({page}, {line}{beside})", plural(must, "line"))
    }
}

/// `pause`: and the session is paused. What is marked, or else a folded group, is rejected as a whole.
pub(super) fn ask_reject(app: &mut App, pause: bool) {
    if !may_ask(app, if pause { Action::RejectAndPause } else { Action::Reject }) {
        return;
    }
    let marked = app.marked.first().and_then(|id| app.holds.get(id)).filter(|_| !pause);
    let Some(entry) = marked.or_else(|| app.selected()) else { return };
    let mut question = Reject::new(&entry.view);
    question.pause = pause.then(|| entry.view.session.clone());
    let group: Vec<&CallId> =
        if marked.is_some() { app.marked.iter().collect() } else { app.rows.behind(&question.id).iter().collect() };
    let others = group.into_iter().filter(|id| **id != question.id);
    question.others = others.filter_map(|id| Some((id.clone(), app.holds.get(id)?.view.digest))).collect();
    app.open_dialog(Dialog::Reject(question));
}

/// A grant instead of an approval, from the question that is open.
pub(super) fn ask_grant(app: &mut App) {
    let Some(Dialog::Approve(question)) = &app.dialog else { return };
    let note = (!question.note.trim().is_empty()).then(|| question.note.trim().to_owned());
    let Some(entry) = app.holds.get(&question.id).filter(|entry| entry.view.digest == question.digest) else { return };
    if entry.risk.tier == Tier::High || question.typed {
        return app.complain("no grant is made of a call of the highest tier");
    }
    if !entry.view.grantable {
        return app.complain("the rule lets no grant be made of this call");
    }
    let wish = Wish::new(&entry.view, note);
    app.open_dialog(Dialog::Grant(wish));
}

/// Has the daemon write the grant.
pub(super) fn draft(app: &mut App) -> Vec<Effect> {
    let Some(Dialog::Grant(wish)) = &app.dialog else { return Vec::new() };
    let (id, bounds) = (wish.id.clone(), wish.bounds());
    let effects = pages::ask(app, Asked::Draft(id.clone()), |seq| Command::DraftGrant { seq, id, bounds });
    let seq = app.seq;
    if let Some(Dialog::Grant(wish)) = &mut app.dialog
        && !effects.is_empty()
    {
        wish.asked = Some(seq);
    }
    effects
}

/// Makes the grant whose text is on the screen.
pub(super) fn grant(app: &mut App) -> Vec<Effect> {
    let Some(Dialog::Grant(wish)) = app.dialog.take() else { return Vec::new() };
    app.changed();
    let (Some(text), true) = (wish.draft.clone(), wish.fits) else { return Vec::new() };
    if !may_rule(app, &wish.id, wish.digest, true) {
        return Vec::new();
    }
    let Some(entry) = app.holds.get(&wish.id) else { return Vec::new() };
    let rule = entry.view.rule.clone();
    let after = shown_for(app, entry);
    let signed = signing(app, entry, RulingKind::Approve, wish.note.as_deref(), Some(&text));
    app.guard.approved(after, &rule);
    app.seq += 1;
    let seq = app.seq;
    let bounds = wish.bounds();
    let (id, digest, reason) = (wish.id, wish.digest, wish.note);
    let command = Command::Grant { seq, id: id.clone(), digest, bounds, grant: text, reason, signed: None };
    fly(app, id, RulingKind::Approve, command, signed, None)
}

/// Whether the hold that a question named may still be ruled on; else it is said why not.
fn may_rule(app: &mut App, id: &CallId, digest: Digest, approve: bool) -> bool {
    let problem = match app.holds.get(id).filter(|entry| entry.view.digest == digest) {
        None => Some(format!("{id} is not what the question named: nothing was sent")),
        Some(entry) => {
            let unseen = approve && !app.is_seen(id);
            obstacle(app, entry).or_else(|| unseen.then(|| format!("{id} was not seen to the end")))
        }
    };
    let may = problem.is_none();
    if let Some(text) = problem {
        app.complain(text);
    }
    may
}

/// The one place where a ruling is made: of the open question, about the hold and the digest that it named.
pub(super) fn rule(app: &mut App, ruling: RulingKind, reason: Option<String>) -> Vec<Effect> {
    let (named, others, pause) = match app.dialog.take() {
        Some(Dialog::Approve(question)) if ruling == RulingKind::Approve => {
            (Some((question.id, question.digest)), Vec::new(), None)
        }
        Some(Dialog::Reject(question)) if ruling == RulingKind::Reject => {
            (Some((question.id, question.digest)), question.others, question.pause)
        }
        Some(_) | None => (None, Vec::new(), None),
    };
    app.changed();
    let Some((id, digest)) = named else { return Vec::new() };
    let approve = ruling == RulingKind::Approve;
    if !may_rule(app, &id, digest, approve) {
        return Vec::new();
    }
    let Some(entry) = app.holds.get(&id) else { return Vec::new() };
    let hold_rule = entry.view.rule.clone();
    let after = shown_for(app, entry);
    let signed = signing(app, entry, ruling, reason.as_deref(), None);
    if approve {
        app.guard.approved(after, &hold_rule);
    }
    app.seq += 1;
    let seq = app.seq;
    let command = Command::Rule { seq, id: id.clone(), digest, ruling, reason: reason.clone(), signed: None };
    let then = pause.map(|session| {
        let reason = reason.clone();
        app.seq += 1;
        Command::RuleSession { seq: app.seq, session, ruling: SessionRuling::Pause, reason }
    });
    // Rejecting needs no proof: the others of the group follow, each by its own digest.
    app.sweep.add(others, reason);
    fly(app, id, ruling, command, signed, then)
}

/// How long a hold has been on the screen.
pub(super) fn shown_for(app: &App, entry: &Entry) -> std::time::Duration {
    entry.shown.map_or_else(Default::default, |shown| app.now.mono.saturating_sub(shown))
}

/// Who has to sign which text, where somebody has to. The terms of a grant are part of it.
fn signing(
    app: &App,
    entry: &Entry,
    ruling: RulingKind,
    reason: Option<&str>,
    grant: Option<&str>,
) -> Option<(Signing, String)> {
    let signing = barrier::signer(&entry.view, ruling, app.signing.as_ref())?;
    let instance = app.daemon.as_ref()?.instance;
    let text = match grant {
        Some(grant) => grant_text(&entry.view, &instance, &signing.operator, reason, grant),
        None => ruling_text(&entry.view, &instance, ruling, &signing.operator, reason),
    };
    Some((signing, text))
}

/// Sends a ruling, or has it signed first.
fn fly(
    app: &mut App,
    id: CallId,
    kind: RulingKind,
    command: Command,
    signed: Option<(Signing, String)>,
    then: Option<Command>,
) -> Vec<Effect> {
    let (connection, seq) = (app.connection, command.changes().unwrap_or_default());
    let flight = InFlight { seq, id, kind, since: app.now.mono, unsigned: None, then };
    match signed {
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
    let Some((connection, command)) = flight.unsigned.take() else { return Vec::new() };
    let (id, digest, command): (_, _, Box<dyn FnOnce(SignedBy) -> Command>) = match command {
        Command::Rule { seq, id, digest, ruling, reason, .. } => {
            let named = id.clone();
            let send = move |by| Command::Rule { seq, id: named, digest, ruling, reason, signed: Some(by) };
            (id, digest, Box::new(send))
        }
        Command::Grant { seq, id, digest, bounds, grant, reason, .. } => {
            let named = id.clone();
            let send = move |by| Command::Grant { seq, id: named, digest, bounds, grant, reason, signed: Some(by) };
            (id, digest, Box::new(send))
        }
        // Nothing else is signed.
        _ => return Vec::new(),
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
    vec![Effect::Send { connection, command: command(by) }]
}
