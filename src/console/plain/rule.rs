//! Rulings of plain mode: what they wait for, what is sent, and what is signed.
//!
//! Invariant: as `talk` says it. [`Talk::rule`] is the one place where a ruling is made, of the question that was open.

use super::talk::{Asked, Effect, Question, Stage, Talk};
use crate::call::{CallId, Digest, Tier};
use crate::console::barrier;
use crate::console::batch;
use crate::console::describe;
use crate::console::dialog::Approve;
use crate::console::holds::{Entry, is_same_question};
use crate::console::rows::Key;
use crate::console::sign::{Signing, grant_text, ruling_text};
use crate::control::wire::{BatchItem, BatchResult, Command, HoldState, HoldView, RulingKind, SessionRuling, SignedBy};

/// Calls that are rejected with another one: fewer than may wait for an answer.
const AT_ONCE: usize = 20;

impl Talk {
    /// Begins an approval: the same conditions and the same gesture as on the screen.
    pub(super) fn approve(&mut self, id: &CallId) {
        let Some(entry) = self.ready(id) else { return };
        if barrier::lacks_signature(&entry.view, self.signing.as_ref()) {
            return describe::UNSIGNED_HELP.iter().for_each(|line| self.say(line));
        }
        let question = Question { id: id.clone(), digest: entry.view.digest };
        let asked = Approve::new(&entry.view, entry.risk.tier, self.guard.asks());
        if let Some(why) = &asked.why {
            self.say(why);
        }
        match asked.tier {
            _ if asked.typed => self.stage = Stage::Type { question, fields: asked.fields, at: 0 },
            Tier::Low => self.rule(question, RulingKind::Approve, None, None),
            Tier::Medium | Tier::High => self.stage = Stage::Sure(question),
        }
    }

    /// The hold, where it was read out, is what it was then, and can be ruled on; else it is said why not.
    pub(super) fn ready(&mut self, id: &CallId) -> Option<Entry> {
        let problem = match (self.holds.get(id), self.heard.get(id)) {
            (None, _) => Some(format!("There is no hold {id}.")),
            (Some(entry), heard) => {
                let ended = barrier::ended(entry, self.now.wall, &self.zone);
                ended.or_else(|| match heard {
                    None => Some(format!("{id} was not read out: type details {id} first.")),
                    Some(heard) if !is_same_question(&heard.view, &entry.view) => {
                        Some(format!("{id} has changed since it was read out: type details {id} first."))
                    }
                    Some(heard) if !heard.whole => {
                        Some(format!("{id} was not read out to its end: type details {id} first."))
                    }
                    Some(_) => None,
                })
            }
        };
        match problem {
            Some(text) => {
                self.say_shown(text);
                None
            }
            None => self.holds.get(id).cloned(),
        }
    }

    /// The one place where a ruling is made: of the question that was open. `pause`: the session that a rejection pauses
    /// too, once it took effect.
    pub(super) fn rule(&mut self, question: Question, kind: RulingKind, reason: Option<String>, pause: Option<String>) {
        self.stage = Stage::Free;
        let Some(entry) = self.may_rule(&question, kind) else { return };
        let (id, digest) = (question.id, question.digest);
        let reason = match kind {
            RulingKind::Approve => self.aside(&id),
            RulingKind::Reject => reason,
        };
        let signer = barrier::signer(&entry.view, kind, self.signing.as_ref());
        let then = match (kind, pause) {
            (RulingKind::Reject, Some(session)) => {
                let (ruling, reason) = (SessionRuling::Pause, reason.clone());
                Some(Box::new(Command::RuleSession { seq: 0, session, ruling, reason }))
            }
            (RulingKind::Reject | RulingKind::Approve, _) => None,
        };
        let asked = Asked::Ruling { id: id.clone(), kind, since: self.now.mono, then };
        let to_sign = reason.clone();
        if self.try_send(asked, |seq| Command::Rule { seq, id, digest, ruling: kind, reason, signed: None }) {
            if kind == RulingKind::Approve {
                self.approved(&entry.view);
            }
            self.sign(signer, &entry.view, kind, to_sign.as_deref());
        }
    }

    /// Asks why: `all` that are alike are rejected with this one, or its session is paused too.
    pub(super) fn ask_reason(&mut self, id: CallId, all: bool, pause: bool) {
        let Some(entry) = self.holds.get(&id) else { return self.say("The call is gone.") };
        let (question, key) = (Question { id, digest: entry.view.digest }, Key::of(entry));
        let alike = |other: &&Entry| all && other.view.id != question.id && Key::of(other) == key;
        let others = self.holds.pending().filter(alike);
        let others: Vec<_> =
            others.map(|other| Question { id: other.view.id.clone(), digest: other.view.digest }).collect();
        let most = others.len().min(AT_ONCE);
        if others.len() > most {
            self.say(format!(
                "{} calls are alike: {} of them at once, then reject all again.",
                others.len() + 1,
                most + 1
            ));
        }
        let pause = self.holds.get(&question.id).filter(|_| pause).map(|entry| entry.view.session.clone());
        let others = others.into_iter().take(most).collect();
        self.stage = Stage::Reason { question, others, pause };
    }

    /// Asks why these are rejected, by one reason.
    pub(super) fn reject_these(&mut self, starts: &[&str]) {
        let Some(ids) = self.find_all(starts) else { return };
        if ids.len() > AT_ONCE + 1 {
            return self.say(format!("At most {} at once. Nothing was sent.", AT_ONCE + 1));
        }
        let ended = ids.iter().filter_map(|id| self.holds.get(id));
        let ended = ended.filter_map(|entry| barrier::ended(entry, self.now.wall, &self.zone)).next();
        if let Some(why) = ended {
            return self.say_shown(format!("{why} Nothing was sent."));
        }
        let question = |id: &CallId| Some(Question { id: id.clone(), digest: self.holds.get(id)?.view.digest });
        let mut questions = ids.iter().filter_map(question);
        let Some(question) = questions.next() else { return };
        let others = questions.collect();
        self.stage = Stage::Reason { question, others, pause: None };
    }

    /// The holds whose ids start so, each once; where that is not so it is said.
    fn find_all(&mut self, starts: &[&str]) -> Option<Vec<CallId>> {
        let mut ids = Vec::new();
        for start in starts {
            let why = match self.find(start) {
                Ok(id) if ids.contains(&id) => format!("{id} stands there twice. Nothing was sent."),
                Ok(id) => {
                    ids.push(id);
                    continue;
                }
                Err(why) => why.to_owned(),
            };
            self.say(why);
            return None;
        }
        Some(ids)
    }

    /// Begins the approval of several calls: each is read out, all of it, and one question is about all.
    pub(super) fn batch(&mut self, starts: &[&str]) {
        let Some(ids) = self.find_all(starts) else { return };
        if let Some(why) = self.refuses_batch(&ids.iter().collect::<Vec<_>>()) {
            return self.say_shown(format!("Not at once: {why}."));
        }
        self.say(format!("{} calls, one after the other:", ids.len()));
        ids.iter().for_each(|id| self.read_out(id, true));
        let question = |id: &CallId| Some(Question { id: id.clone(), digest: self.holds.get(id)?.view.digest });
        let questions = ids.iter().filter_map(question).collect();
        self.stage = Stage::Batch { questions, since: self.now.mono };
    }

    /// The answer was yes: all of them, where each is still what was read out.
    pub(super) fn rule_batch(&mut self, questions: Vec<Question>, since: std::time::Duration) {
        let ids: Vec<_> = questions.iter().map(|question| question.id.clone()).collect();
        if let Some(why) = self.refuses_batch(&ids.iter().collect::<Vec<_>>()) {
            return self.say_shown(format!("Not at once: {why}. Nothing was sent."));
        }
        let mut rule = String::new();
        for question in &questions {
            let Some(entry) = self.may_rule(question, RulingKind::Approve) else { return };
            rule = entry.view.rule;
        }
        let item = |question: &Question| BatchItem { id: question.id.clone(), digest: question.digest, signed: None };
        let holds = questions.iter().map(item).collect();
        let asked = Asked::Batch { ids, since: self.now.mono };
        if self.try_send(asked, |seq| Command::RuleBatch { seq, holds, reason: None }) {
            // One gesture is one approval, as long as it took from the reading.
            self.guard.approved(self.now.mono.saturating_sub(since), &rule);
        }
    }

    pub(super) fn ruled_batch(&mut self, seq: u64, results: Vec<BatchResult>) {
        if self.asked.remove(&seq).is_some() {
            match batch::outcome(&results) {
                Ok(words) | Err(words) => self.say_shown(format!("{words}.")),
            }
        }
        for result in results {
            if let BatchResult::Ruled { hold } = result {
                if matches!(hold.state, HoldState::Approved { leaves_at: Some(_), .. }) {
                    self.say(format!("{} is sent in a few seconds: type undo to take the last one back.", hold.id));
                    self.undo = Some(hold.id.clone());
                }
                self.changed(*hold);
            }
        }
    }

    /// The note that was given for this hold.
    pub(super) fn aside(&self, id: &CallId) -> Option<String> {
        self.aside.as_ref().filter(|(about, _)| about == id).map(|(_, note)| note.clone())
    }

    /// An approval was sent: counts how long the operator had it; its note has gone with it.
    pub(super) fn approved(&mut self, hold: &HoldView) {
        self.aside.take_if(|(about, _)| *about == hold.id);
        let heard = self.heard.get(&hold.id).map_or(self.now.mono, |heard| heard.at);
        self.guard.approved(self.now.mono.saturating_sub(heard), &hold.rule);
    }

    fn may_rule(&mut self, question: &Question, kind: RulingKind) -> Option<Entry> {
        if self.holds.get(&question.id).is_none_or(|entry| entry.view.digest != question.digest) {
            self.say(format!("{} is not what the question named: nothing was sent.", question.id));
            return None;
        }
        match kind {
            RulingKind::Approve => self.ready(&question.id),
            RulingKind::Reject => {
                let entry = self.holds.get(&question.id)?.clone();
                let ended = barrier::ended(&entry, self.now.wall, &self.zone);
                ended.map(|text| self.say_shown(text)).is_none().then_some(entry)
            }
        }
    }

    /// Keeps the command that was sent last back until it is signed, where somebody signs it.
    pub(super) fn sign(&mut self, signer: Option<Signing>, hold: &HoldView, kind: RulingKind, reason: Option<&str>) {
        let Some((signing, daemon)) = signer.zip(self.daemon.as_ref()) else { return };
        let Some(Effect::Send { connection, command }) = self.out.pop() else { return };
        let text = match &command {
            Command::Grant { grant, .. } => grant_text(hold, &daemon.instance, &signing.operator, reason, grant),
            // Whatever else is signed is a ruling.
            _ => ruling_text(hold, &daemon.instance, kind, &signing.operator, reason),
        };
        self.unsigned = Some((self.seq, connection, command));
        self.out.push(Effect::Sign { seq: self.seq, signing, text });
    }

    /// The time that the call has left which is about to be signed.
    pub(super) fn clocks_of_signing(&self) -> Option<String> {
        let (id, _) = named(&self.unsigned.as_ref()?.2)?;
        Some(describe::clocks(self.holds.get(&id)?, jiff::Timestamp::now()))
    }

    /// The operator has signed, or not. The hold and the connection are those of the question, or nothing is sent.
    pub(super) fn signed(&mut self, seq: u64, outcome: Result<SignedBy, String>) {
        let Some((_, connection, command)) = self.unsigned.take_if(|(waits, ..)| *waits == seq) else { return };
        let Some((id, digest)) = named(&command) else { return };
        let problem = match &outcome {
            Err(why) => Some(format!("Not signed, nothing was sent: {why}")),
            Ok(_) if connection != self.connection || !self.live => {
                Some("The daemon went away meanwhile: nothing was sent.".to_owned())
            }
            Ok(_) => None,
        };
        if let Some(text) = problem {
            self.asked.remove(&seq);
            return self.say(text);
        }
        if self.may_rule(&Question { id, digest }, RulingKind::Approve).is_none() {
            self.asked.remove(&seq);
            return;
        }
        if let Some(Asked::Ruling { since, .. }) = self.asked.get_mut(&seq) {
            *since = self.now.mono;
        }
        let Ok(by) = outcome else { return };
        self.out.push(Effect::Send { connection, command: with_signature(command, by) });
    }
}

fn named(command: &Command) -> Option<(CallId, Digest)> {
    match command {
        Command::Rule { id, digest, .. } | Command::Grant { id, digest, .. } => Some((id.clone(), *digest)),
        // Nothing else is signed.
        _ => None,
    }
}

fn with_signature(command: Command, by: SignedBy) -> Command {
    match command {
        Command::Rule { seq, id, digest, ruling, reason, .. } => {
            Command::Rule { seq, id, digest, ruling, reason, signed: Some(by) }
        }
        Command::Grant { seq, id, digest, bounds, grant, reason, .. } => {
            Command::Grant { seq, id, digest, bounds, grant, reason, signed: Some(by) }
        }
        other => other,
    }
}
