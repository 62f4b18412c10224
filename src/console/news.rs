//! What the daemon says, and what that does to the app. A snapshot replaces everything; whatever changes under an open
//! question closes it.

use std::time::Duration;

use super::app::{App, Effect, Link, NOT_PAUSED, State};
use super::dialog::Dialog;
use super::holds::Change;
use super::keys::Action;
use super::pages::{self, Asked};
use super::tabs::Tab;
use super::{acts, batch, describe, sweep, visible};
use crate::call::{CallId, Tier};
use crate::console::holds::is_same_question;
use crate::control::wire::{BatchResult, Failure, HoldState, HoldView, Notice, RulingKind};

/// The bell rings at most so often.
const BELL: Duration = Duration::from_secs(2);

pub fn linked(app: &mut App, link: Link) -> Vec<Effect> {
    match link {
        Link::Up { number, operator, daemon } => {
            app.connection = number;
            app.operator = operator;
            if app.daemon.as_ref().is_some_and(|known| known.instance != daemon.instance) {
                app.pages.forget();
                app.open = None;
            }
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
    if app.dialog.as_ref().is_some_and(|dialog| !dialog.holds().is_empty()) {
        app.void_dialog("The daemon went away.".to_owned());
    }
    app.asked.clear();
    let others = sweep::lost(app);
    let flight = app.flight.take().map(|flight| match flight.not_paused() {
        and if and.is_empty() => flight.id.to_string(),
        _ => format!("{} ({NOT_PAUSED})", flight.id),
    });
    let open: Vec<String> = flight.into_iter().chain(others).collect();
    if !open.is_empty() {
        app.complain(format!("{}: the daemon went away before it answered; its list will tell", open.join(", and ")));
    }
}

fn noticed(app: &mut App, notice: Notice) -> Vec<Effect> {
    match notice {
        // The console asks for no tools, and the client keeps what only keeps the line.
        Notice::Welcome { .. }
        | Notice::Ping {}
        | Notice::Listed { .. }
        | Notice::Tools { .. }
        | Notice::Tool { .. } => {}
        Notice::RuledBatch { seq, results } => {
            done(app, seq);
            ruled_batch(app, results);
        }
        Notice::Snapshot { holds, daemon, .. } => {
            app.daemon = Some(daemon);
            let joined = app.state != State::Live;
            if joined {
                app.state = State::Live;
                app.changed();
            }
            replaced(app, holds);
            let mut effects = pages::refresh(app);
            if joined {
                effects.extend(pages::look(app));
            }
            return effects;
        }
        Notice::Hold { hold } => return new_hold(app, *hold),
        Notice::Shown { seq, hold } => {
            done(app, seq);
            return new_hold(app, *hold);
        }
        Notice::Ruled { seq, hold } => return ruled(app, seq, *hold),
        Notice::Daemon { daemon } => app.daemon = Some(daemon),
        Notice::Frozen { seq, daemon } => {
            app.daemon = Some(daemon);
            done(app, seq);
        }
        Notice::Sessions { seq, sessions } => {
            done(app, seq);
            app.pages.sessions = Some(sessions);
            renewed(app, Tab::Session);
        }
        Notice::Grants { seq, grants } => {
            done(app, seq);
            app.pages.grants = grants;
        }
        Notice::Draft { seq, text } => {
            done(app, seq);
            drafted(app, seq, text);
        }
        Notice::Records { seq, records, chain } => match done(app, seq) {
            Some(Asked::Records { more }) => pages::took_records(&mut app.pages, more, records, chain),
            Some(Asked::Chain) => app.pages.took_chain(chain, true),
            Some(Asked::CallRecords(id)) => {
                app.pages.took_chain(chain, true);
                app.pages.call_records = Some((id, records));
                renewed(app, Tab::Result);
            }
            Some(_) | None => {}
        },
        Notice::Rules { seq, rules } => {
            done(app, seq);
            app.pages.rules = Some(rules);
        }
        Notice::Explained { seq, excerpts } => {
            if let Some(Asked::Explain(id)) = done(app, seq) {
                app.pages.explained = Some((id, Ok(excerpts)));
                renewed(app, Tab::Rule);
            }
        }
        Notice::Failed { seq, error, message } => failed(app, seq, error, &message),
    }
    Vec::new()
}

/// The question with this number is answered; a change that took effect is told.
fn done(app: &mut App, seq: u64) -> Option<Asked> {
    let at = app.asked.iter().position(|(asked, _)| *asked == seq)?;
    let (_, asked) = app.asked.swap_remove(at);
    match &asked {
        Asked::Change(words) => app.say(visible::line(words)),
        Asked::Rejection(id) => app.sweep.answered(id, None),
        Asked::Records { .. }
        | Asked::Chain
        | Asked::CallRecords(_)
        | Asked::Sessions
        | Asked::Grants
        | Asked::Rules
        | Asked::Explain(_)
        | Asked::Draft(_)
        | Asked::Batch => {}
    }
    Some(asked)
}

/// A view of the detail has something new to show.
fn renewed(app: &mut App, tab: Tab) {
    if app.open.as_ref().is_some_and(|open| open.tab == tab) {
        app.open = None;
    }
}

fn drafted(app: &mut App, seq: u64, text: String) {
    let Some(Dialog::Grant(wish)) = &mut app.dialog else { return };
    if wish.asked == Some(seq) {
        wish.draft = Some(text);
        wish.fits = false;
        app.changed();
    }
}

fn new_hold(app: &mut App, hold: HoldView) -> Vec<Effect> {
    let id = hold.id.clone();
    let rings = upserted(app, hold) && app.rung.is_none_or(|rung| app.now.mono >= rung + BELL);
    let high = app.holds.get(&id).is_some_and(|entry| entry.risk.tier == Tier::High);
    if rings && (high || app.muted.is_none_or(|until| app.now.mono >= until)) {
        app.rung = Some(app.now.mono);
        return vec![Effect::Bell];
    }
    Vec::new()
}

fn ruled(app: &mut App, seq: u64, hold: HoldView) -> Vec<Effect> {
    done(app, seq);
    let flight = app.flight.take_if(|flight| flight.seq == seq);
    let mine = flight.as_ref().map(|flight| ruled_words(app, &hold, flight.kind));
    upserted(app, hold);
    if let Some(text) = mine {
        app.say(text);
    }
    let Some(command) = flight.and_then(|flight| flight.then) else { return Vec::new() };
    if let Some(seq) = command.changes() {
        app.asked.push((seq, Asked::Change("rejected, and the session is paused".to_owned())));
    }
    vec![Effect::Send { connection: app.connection, command }]
}

fn ruled_batch(app: &mut App, results: Vec<BatchResult>) {
    let words = batch::outcome(&results);
    for result in results {
        if let BatchResult::Ruled { hold } = result {
            upserted(app, *hold);
        }
    }
    match words {
        Ok(words) => app.say(format!("{words}; {} takes one back until it leaves", app.key(Action::TakeBack))),
        Err(words) => app.complain(words),
    }
}

fn ruled_words(app: &App, hold: &HoldView, ruling: RulingKind) -> String {
    match ruling {
        RulingKind::Reject => format!("{}: rejected, nothing is sent; the agent reads the reason", hold.id),
        RulingKind::Approve if hold.state.is_pending() => {
            format!("{}: your approval counts, {}; it still waits", hold.id, describe::approvals(&hold.approvals))
        }
        RulingKind::Approve if matches!(hold.state, HoldState::Ticket { .. }) => {
            format!("{}: approved, counts for one identical retry: the client is gone", hold.id)
        }
        RulingKind::Approve if acts::is_leaving(&hold.state) => {
            format!("{}: approved; {} takes it back until it leaves", hold.id, app.key(Action::TakeBack))
        }
        RulingKind::Approve => format!("{}: approved, the call is released", hold.id),
    }
}

fn failed(app: &mut App, seq: Option<u64>, error: Failure, message: &str) {
    let at = app.asked.iter().position(|(asked, _)| Some(*asked) == seq);
    if let Some((_, asked)) = at.map(|at| app.asked.swap_remove(at)) {
        return not_answered(app, asked, message);
    }
    let flight = app.flight.take_if(|flight| Some(flight.seq) == seq);
    let id = flight.as_ref().map(|flight| format!("{}: ", flight.id)).unwrap_or_default();
    let and = flight.map(|flight| flight.not_paused()).unwrap_or_default();
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
        | Failure::Malformed => app.complain(format!("{id}no effect: {}{and}", visible::line(message))),
    }
}

/// A question beside the rulings had no effect.
fn not_answered(app: &mut App, asked: Asked, message: &str) {
    match asked {
        Asked::Change(_) | Asked::Batch => app.complain(format!("no effect: {}", visible::line(message))),
        Asked::Rejection(id) => app.sweep.answered(&id, Some(message)),
        Asked::Draft(id) => {
            let words = format!("{id}: no grant can be made: {message}");
            if matches!(&app.dialog, Some(Dialog::Grant(_))) {
                app.void_dialog(words);
            } else {
                app.complain(visible::line(&words));
            }
        }
        Asked::Explain(id) => {
            app.pages.explained = Some((id, Err(message.to_owned())));
            renewed(app, Tab::Rule);
        }
        Asked::CallRecords(id) => {
            app.pages.call_records = Some((id, Vec::new()));
            renewed(app, Tab::Result);
        }
        // The header goes on with what it knew; whoever wants to know more opens the history.
        Asked::Chain => {}
        Asked::Records { .. } | Asked::Sessions | Asked::Grants | Asked::Rules => {
            app.pages.error = Some(message.to_owned());
        }
    }
}

fn replaced(app: &mut App, views: Vec<HoldView>) {
    let asked: Vec<_> = app.dialog.iter().flat_map(Dialog::holds).cloned().collect();
    let view = |app: &App, id: &CallId| app.holds.get(id).map(|entry| entry.view.clone());
    let asked: Vec<_> = asked.into_iter().filter_map(|id| view(app, &id)).collect();
    let selected = app.selected().map(|entry| entry.view.clone());
    app.holds.replace(views);
    let now = |id: &CallId| app.holds.get(id).map(|entry| &entry.view);
    let other = asked.iter().find(|before| is_voided(app.dialog.as_ref(), before, now(&before.id)));
    if let Some(before) = other {
        let words = match now(&before.id) {
            Some(now) => outcome(app, &now.state),
            None => "the daemon does not know it any more".to_owned(),
        };
        app.void_dialog(format!("{}: {words}.", before.id));
    }
    // Nothing else moves, so nothing else keeps the operator from ruling: a client that floods the daemon with calls may
    // cause one snapshot after another.
    let stays = match (app.selected().map(|entry| &entry.view), &selected) {
        (Some(now), Some(before)) => is_same_question(before, now),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !stays {
        app.open = None;
    }
}

/// True where somebody should be told that a hold is new.
fn upserted(app: &mut App, view: HoldView) -> bool {
    let id = view.id.clone();
    let pending = view.state.is_pending();
    let before = app.holds.get(&id).map(|entry| entry.view.clone());
    let change = app.holds.upsert(view.clone());
    if change == Change::Changed {
        // An approval waits until the new one has been on the screen; nothing else does, or a client that changes its
        // call again and again would keep the operator from saying no.
        if app.selected.as_ref() == Some(&id) {
            app.open = None;
        }
        if before.is_some_and(|before| is_voided(app.dialog.as_ref(), &before, Some(&view))) {
            app.void_dialog(format!("{id}: {}.", outcome(app, &view.state)));
        }
    }
    app.holds.settle(app.selected.as_ref());
    change == Change::New && pending
}

fn outcome(app: &App, state: &HoldState) -> String {
    describe::outcome(state, &app.zone).unwrap_or_else(|| "it changed while you were asked".to_owned())
}

/// Whether this change of a hold voids the open question. A rejection stands as long as the hold waits and the digest is
/// the one that it names: a client cannot wriggle out of it.
fn is_voided(dialog: Option<&Dialog>, before: &HoldView, now: Option<&HoldView>) -> bool {
    match (dialog, now) {
        (Some(Dialog::Reject(question)), Some(now)) => {
            question.id == before.id && !(now.state.is_pending() && now.digest == question.digest)
        }
        (Some(dialog), now) if dialog.holds().contains(&&before.id) => {
            now.is_none_or(|now| !is_same_question(before, now))
        }
        (Some(_) | None, _) => false,
    }
}
