//! What the daemon says, and what becomes of the question that is open: whatever changes under it closes it, but for one
//! that can be answered with no.

use super::answers;
use super::talk::{Asked, Stage, Talk};
use super::words;
use crate::call::{CallId, Tier};
use crate::console::app::{Link, NOT_PAUSED};
use crate::console::describe;
use crate::console::holds::{Change, is_same_question};
use crate::control::wire::{Failure, HoldState, HoldView, Notice};

impl Talk {
    pub(super) fn linked(&mut self, link: Link) {
        match link {
            Link::Up { number, operator, daemon } => {
                self.connection = number;
                if self.daemon.as_ref().is_some_and(|known| known.instance != daemon.instance) {
                    // Another daemon's record.
                    self.record.forget();
                    (self.oldest, self.looked_at) = (None, None);
                }
                self.say(format!("Connected as {operator}. Countersign {}.", daemon.version));
                self.say(answers::daemon(&daemon));
                if let Some(why) = self.watching.clone() {
                    self.say(format!("This console only watches: {why}"));
                }
                self.daemon = Some(daemon);
            }
            Link::Down { why } => {
                if self.live {
                    self.say(format!("The daemon is gone: {why}. Nothing can be ruled until it is back."));
                }
                self.live = false;
                self.close();
                std::mem::take(&mut self.asked).values().for_each(|asked| self.not_paused(asked));
            }
            Link::Notice(notice) => self.noticed(notice),
        }
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Snapshot { holds, daemon, .. } => {
                self.daemon_changed(daemon);
                if !self.live {
                    self.live = true;
                    let pending = holds.iter().filter(|hold| hold.state.is_pending()).count();
                    self.say(format!("{pending} waiting."));
                    self.look();
                }
                let known = |id: &CallId| self.holds.get(id).map(|entry| entry.view.clone());
                let before: Vec<_> = self.subjects().iter().filter_map(known).collect();
                self.holds.replace(holds);
                for before in before {
                    let now = self.holds.get(&before.id).map(|entry| entry.view.clone());
                    self.compared(&before, now.as_ref());
                }
                self.forget();
            }
            Notice::Hold { hold } => self.changed(*hold),
            Notice::Shown { seq, hold } => {
                if self.asked.remove(&seq).is_some() {
                    self.say(answers::shown(&hold));
                    self.undo = self.undo.take_if(|id| *id != hold.id);
                    // Taken back: it is asked about again.
                    self.skipped.remove(&hold.id);
                }
                self.changed(*hold);
            }
            Notice::Ruled { seq, hold } => {
                if let Some(Asked::Ruling { id, kind, then, .. }) = self.asked.remove(&seq) {
                    self.say(answers::ruled(&hold, kind));
                    let leaves = matches!(hold.state, HoldState::Approved { leaves_at: Some(_), .. });
                    self.undo = leaves.then(|| id.clone()).or_else(|| self.undo.take());
                    self.skipped.insert(id);
                    if let Some(command) = then {
                        self.send(Asked::Answer("the pause"), |seq| super::typed::numbered(*command, seq));
                    }
                }
                self.changed(*hold);
            }
            Notice::Daemon { daemon } => self.daemon_changed(daemon),
            Notice::Failed { seq, error, message } => self.failed(seq, error, &message),
            Notice::Draft { seq, text } => {
                if let Some(Asked::Draft { question, bounds }) = self.asked.remove(&seq) {
                    answers::drafted(self, question, bounds, text);
                }
            }
            Notice::RuledBatch { seq, results } => self.ruled_batch(seq, results),
            notice => answers::answered(self, notice),
        }
    }

    fn failed(&mut self, seq: Option<u64>, error: Failure, message: &str) {
        let Some(asked) = seq.and_then(|seq| self.asked.remove(&seq)) else { return };
        let what = match &asked {
            Asked::Ruling { id, .. } => id.to_string(),
            Asked::Batch { .. } => "the calls together".to_owned(),
            Asked::Draft { question, .. } => format!("grant on {}", question.id),
            Asked::Session(id) | Asked::Result(id) => id.to_string(),
            Asked::Named(_) => "sessions".to_owned(),
            Asked::History { .. } => "history".to_owned(),
            Asked::Rules => "rules".to_owned(),
            // The operator has not asked: it is said when it begins.
            Asked::Chain => {
                if !std::mem::replace(&mut self.unread, true) {
                    self.say(format!(
                        "Records: they cannot be read, and nobody looks whether any is missing: {message}."
                    ));
                }
                return;
            }
            Asked::Answer(what) => (*what).to_owned(),
        };
        self.say(format!("No effect, {what}: {message}."));
        self.not_paused(&asked);
        if error == Failure::SignatureRequired {
            describe::UNSIGNED_HELP.iter().for_each(|line| self.say(line));
        }
    }

    /// Nothing came of a rejection, so that nothing comes of the pause beside it.
    pub(super) fn not_paused(&mut self, asked: &Asked) {
        if let Asked::Ruling { id, then: Some(_), .. } = asked {
            self.say(format!("{id}: {NOT_PAUSED}."));
        }
    }

    pub(super) fn changed(&mut self, view: HoldView) {
        let before = self.holds.get(&view.id).map(|entry| entry.view.clone());
        let change = self.holds.upsert(view.clone());
        self.holds.settle(None);
        match (change, before) {
            (Change::New, _) if view.state.is_pending() => {
                if self.stage != Stage::Free {
                    let tier = self.holds.get(&view.id).map_or(Tier::High, |entry| entry.risk.tier);
                    self.ring(tier);
                    let entry = self.holds.get(&view.id).map(|entry| words::line(entry, self.now.wall, &self.zone));
                    self.say(format!("New hold, read out after this one: {}", entry.unwrap_or_default()));
                }
            }
            (Change::Changed, Some(before)) => self.compared(&before, Some(&view)),
            (Change::New | Change::Changed | Change::Touched | Change::Same, _) => {}
        }
        self.forget();
    }

    /// Whatever changes under an open question closes it, but for one that can be answered with no: that one stands as
    /// long as the hold waits and has the digest which it names. A client that changes its call again and again keeps
    /// nobody from saying no.
    fn compared(&mut self, before: &HoldView, now: Option<&HoldView>) {
        let asked = self.subjects().contains(&before.id);
        let words = now.and_then(|now| describe::outcome(&now.state, &self.zone));
        let stands = matches!(&self.stage, Stage::Ruling(_) | Stage::Reason { .. });
        match now {
            Some(now) if is_same_question(before, now) => {}
            Some(now) if asked && stands && now.state.is_pending() && now.digest == before.digest => {
                // Once, until it is read out again: an approval waits for that.
                let was_heard = self.heard.get(&before.id).is_some_and(|heard| is_same_question(&heard.view, before));
                if was_heard {
                    self.say(format!(
                        "{} has changed: type details to hear it. Before that no approval counts.",
                        before.id
                    ));
                }
            }
            _ if asked => {
                self.close();
                let words = words.unwrap_or_else(|| "it is read out again".to_owned());
                self.say(format!("{} has changed: {words}. Nothing was sent from here.", before.id));
            }
            Some(now) if before.state != now.state => {
                let words = words.unwrap_or_else(|| "it waits again".to_owned());
                self.say(format!("{}: {words}.", before.id));
            }
            Some(_) | None => {}
        }
    }
}
