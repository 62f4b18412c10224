//! What an operator does beside ruling: claim, take back, freeze, pause or end a session, revoke a grant. None of it lets
//! a call pass; whatever stops something for others is asked first.

use super::app::{App, Effect};
use super::describe;
use super::dialog::{Act, Confirm, Dialog};
use super::pages::{self, Asked, Item};
use super::ruling::barred;
use crate::control::wire::{Command, HoldState, SessionRuling};

fn is_barred(app: &mut App) -> bool {
    match barred(app) {
        Some(text) => {
            app.complain(text);
            true
        }
        None => false,
    }
}

/// Takes back the approval that leaves next: the call waits again. Needs no question: it only stops something.
pub(super) fn take_back(app: &mut App) -> Vec<Effect> {
    if is_barred(app) {
        return Vec::new();
    }
    let Some(id) = app.leaving().map(|(entry, _)| entry.view.id.clone()) else {
        app.say("no approved call waits to leave: there is nothing to take back");
        return Vec::new();
    };
    app.say(format!("{id}: taking the approval back…"));
    pages::ask(app, Asked::Change(format!("{id}: taken back, it waits again")), |seq| Command::TakeBack { seq, id })
}

/// Claims the selected hold, or for as long once more; asks where somebody else has it.
pub(super) fn claim(app: &mut App) -> Vec<Effect> {
    if is_barred(app) {
        return Vec::new();
    }
    let Some(entry) = app.selected() else { return Vec::new() };
    let id = entry.view.id.clone();
    if !entry.is_pending() {
        app.complain(format!("{id} no longer waits"));
        return Vec::new();
    }
    let held = describe::claim(&entry.view, app.now.wall).zip(entry.view.claimed.as_ref());
    let by = held.map(|(words, claimed)| (words, claimed.by.clone()));
    match by {
        Some((words, by)) if by != app.operator => {
            let lines =
                vec![format!("{id}: {words}."), "Both of you may rule; a claim only says who looks.".to_owned()];
            app.open_dialog(Dialog::Confirm(Confirm::new("take it over?", lines, "takes it over", Act::Steal(id))));
            Vec::new()
        }
        _mine_or_nobodys => {
            let asked = Asked::Change(format!("{id}: claimed for 60 s"));
            pages::ask(app, asked, |seq| Command::Claim { seq, id, steal: false, off: false })
        }
    }
}

/// Gives a claim of one's own back.
pub(super) fn release(app: &mut App) -> Vec<Effect> {
    if is_barred(app) {
        return Vec::new();
    }
    let Some(entry) = app.selected() else { return Vec::new() };
    let id = entry.view.id.clone();
    let mine = entry.view.claimed.as_ref().is_some_and(|claimed| claimed.by == app.operator);
    if !mine || describe::claim(&entry.view, app.now.wall).is_none() {
        app.complain(format!("{id} is not claimed by you"));
        return Vec::new();
    }
    let asked = Asked::Change(format!("{id}: given back"));
    pages::ask(app, asked, |seq| Command::Claim { seq, id, steal: false, off: true })
}

pub(super) fn ask_freeze(app: &mut App) {
    if is_barred(app) {
        return;
    }
    let frozen = app.daemon.as_ref().and_then(|daemon| daemon.frozen.as_ref());
    let pending = app.holds.pending().count();
    let question = match frozen {
        None => Confirm::new(
            "freeze?",
            vec![
                "Every call that is not a read is held from here on, also where rules or grants would let it through."
                    .to_owned(),
                format!("What waits now is rejected: {pending}."),
                "Reads go on. The same key thaws.".to_owned(),
            ],
            "freezes",
            Act::Freeze(true),
        ),
        Some(frozen) => Confirm::new(
            "thaw?",
            vec![format!(
                "Frozen by {} at {}. The rules decide again.",
                frozen.by,
                describe::clock(&frozen.at, &app.zone)
            )],
            "thaws",
            Act::Freeze(false),
        ),
    };
    app.open_dialog(Dialog::Confirm(question));
}

/// Pauses, resumes or ends the session of the cursor.
pub(super) fn ask_session(app: &mut App, end: bool) {
    if is_barred(app) {
        return;
    }
    let Some(Item::Session(session)) = app.pages.item() else {
        return app.complain("put the cursor on a session first");
    };
    let name = format!("{} of {} on {}", session.session, session.principal, session.server);
    let (title, what, yes, ruling) = match (end, session.paused.is_some()) {
        (true, _) => (
            "end the session?",
            "It is over: its client has to connect anew. What waits is rejected.",
            "ends it",
            SessionRuling::End,
        ),
        (false, false) => (
            "pause the session?",
            "Its calls are refused until it is resumed. What waits is rejected.",
            "pauses it",
            SessionRuling::Pause,
        ),
        (false, true) => {
            ("resume the session?", "Its calls are judged by the rules again.", "resumes it", SessionRuling::Resume)
        }
    };
    let act = Act::Session(session.session.clone(), ruling);
    app.open_dialog(Dialog::Confirm(Confirm::new(title, vec![name, what.to_owned()], yes, act)));
}

pub(super) fn ask_revoke(app: &mut App) {
    if is_barred(app) {
        return;
    }
    let Some(Item::Grant(grant)) = app.pages.item() else {
        return app.complain("put the cursor on a grant first");
    };
    let mut lines = vec![format!(
        "{}: {} for {}, {} of {} used",
        grant.id, grant.operation, grant.principal, grant.used, grant.uses
    )];
    lines.push("The next call like it is judged by the rules again.".to_owned());
    let act = Act::Revoke(grant.id.clone());
    app.open_dialog(Dialog::Confirm(Confirm::new("revoke the grant?", lines, "revokes it", act)));
}

/// The answer to a question of this file was yes.
pub(super) fn confirmed(app: &mut App) -> Vec<Effect> {
    let Some(Dialog::Confirm(question)) = app.dialog.take() else { return Vec::new() };
    app.changed();
    if is_barred(app) {
        return Vec::new();
    }
    let reason = Some(question.reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    match question.act {
        Act::Freeze(on) => {
            let words = if on { "frozen: every call that is not a read is held" } else { "thawed: the rules decide" };
            pages::ask(app, Asked::Change(words.to_owned()), |seq| Command::Freeze { seq, on, reason })
        }
        Act::Session(session, ruling) => {
            let word = match ruling {
                SessionRuling::Pause => "paused",
                SessionRuling::Resume => "resumed",
                SessionRuling::End => "ended",
            };
            let asked = Asked::Change(format!("{session}: {word}"));
            pages::ask(app, asked, |seq| Command::RuleSession { seq, session, ruling, reason })
        }
        Act::Revoke(grant) => {
            let asked = Asked::Change(format!("{grant}: revoked"));
            pages::ask(app, asked, |seq| Command::RevokeGrant { seq, grant, reason })
        }
        Act::Steal(id) => {
            let asked = Asked::Change(format!("{id}: claimed for 60 s"));
            pages::ask(app, asked, |seq| Command::Claim { seq, id, steal: true, off: false })
        }
    }
}

/// Whether an approved call is about to leave.
pub(super) fn is_leaving(state: &HoldState) -> bool {
    matches!(state, HoldState::Approved { leaves_at: Some(_), .. })
}
