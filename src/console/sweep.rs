//! One reason for many: the rejections of a group, sent a few at a time as the daemon answers, and told together.
//!
//! Invariant: what was confirmed is rejected, or it is said what was not.

use std::collections::VecDeque;

use super::app::{App, Effect, State};
use super::holds::Entry;
use super::pages::{self, Asked};
use super::risk::plural;
use super::visible;
use crate::call::{CallId, Digest};
use crate::control::wire::{Command, RulingKind};

/// Rejections that wait for their answers: room is left for whatever else is asked meanwhile.
const AT_ONCE: usize = 16;
/// Failures that are told by name.
const TOLD: usize = 3;

/// Rejections that were confirmed and are not answered.
#[derive(Debug, Default)]
pub struct Sweep {
    left: VecDeque<(CallId, Digest, Option<String>)>,
    sent: usize,
    done: usize,
    failed: Vec<String>,
}

impl Sweep {
    pub(super) fn add(&mut self, holds: Vec<(CallId, Digest)>, reason: Option<String>) {
        self.left.extend(holds.into_iter().map(|(id, digest)| (id, digest, reason.clone())));
    }

    /// One of them is answered.
    pub(super) fn answered(&mut self, id: &CallId, problem: Option<&str>) {
        self.sent = self.sent.saturating_sub(1);
        match problem {
            None => self.done += 1,
            Some(why) => self.failed.push(format!("{id}: {}", visible::line(why))),
        }
    }
}

/// Sends as many as there is room for, and says what came of them when all are answered.
pub(super) fn go_on(app: &mut App) -> Vec<Effect> {
    let mut effects = Vec::new();
    while app.state == State::Live && app.sweep.sent < AT_ONCE {
        let Some((id, digest, reason)) = app.sweep.left.pop_front() else { break };
        let waits = |entry: &Entry| entry.is_pending() && entry.view.digest == digest;
        if !app.holds.get(&id).is_some_and(waits) {
            app.sweep.failed.push(format!("{id} no longer waits"));
            continue;
        }
        let (asked, named) = (Asked::Rejection(id.clone()), (id.clone(), reason.clone()));
        let ruling = RulingKind::Reject;
        let sent = pages::ask(app, asked, |seq| Command::Rule { seq, id, digest, ruling, reason, signed: None });
        if sent.is_empty() {
            app.sweep.left.push_front((named.0, digest, named.1));
            break;
        }
        app.sweep.sent += 1;
        effects.extend(sent);
    }
    told(app);
    effects
}

fn told(app: &mut App) {
    let Sweep { left, sent, done, failed } = &app.sweep;
    if *sent > 0 || !left.is_empty() || *done == 0 && failed.is_empty() {
        return;
    }
    let done = plural(*done, "other");
    if failed.is_empty() {
        // That the first of them was not rejected stays said.
        let first = app.note.take().filter(|note| note.bad).map(|note| note.text);
        match first {
            Some(first) => app.complain(format!("{first}; {done} rejected")),
            None => app.say(format!("{done} rejected as well")),
        }
    } else {
        let more = failed.len().saturating_sub(TOLD);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let named: Vec<_> = failed.iter().take(TOLD).map(String::as_str).collect();
        app.complain(format!("{done} rejected as well, not these: {}{more}", named.join("; ")));
    }
    app.sweep = Sweep::default();
}

/// The daemon is gone, and with it the answers: how many rejections that leaves open.
pub(super) fn lost(app: &mut App) -> Option<String> {
    let open = app.sweep.sent + app.sweep.left.len();
    app.sweep = Sweep::default();
    (open > 0).then(|| plural(open, "rejection"))
}
