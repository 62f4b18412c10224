//! What a typed line does: whole words only, and nothing for an empty line.

use super::talk::{Asked, Effect, Question, Stage, Talk};
use super::vocabulary::HELP;
use crate::call::CallId;
use crate::console::keys::PRESETS;
use crate::control::wire::{Command, GrantBounds, RulingKind, SessionRuling};

/// Longest reason, in characters.
const REASON: usize = 500;

impl Talk {
    pub(super) fn typed(&mut self, line: &str) {
        let line = line.trim();
        match std::mem::replace(&mut self.stage, Stage::Free) {
            Stage::Free => self.command(line, None),
            Stage::Ruling(id) => {
                self.stage = Stage::Ruling(id.clone());
                self.command(line, Some(id));
            }
            Stage::Sure(question) if line == "yes" => self.rule(question, RulingKind::Approve, None, None),
            Stage::Grant { question, command } if line == "yes" => self.grant(question, *command),
            Stage::Sure(question) | Stage::Grant { question, .. } => self.back(question.id),
            Stage::Type { question, fields, at } => self.value(question, fields, at, line),
            Stage::Reason { question, others, pause } => self.reason(question, others, pause, line),
            Stage::Batch { questions, since } if line == "yes" => self.rule_batch(questions, since),
            Stage::Batch { .. } => self.say("Back: they stay held."),
            Stage::Confirm { command, .. } if line == "yes" => {
                self.send(Asked::Answer("the command"), |seq| numbered(*command, seq));
            }
            Stage::Confirm { .. } => self.say("Not done."),
            Stage::Quit if line == "yes" || line == "quit" => self.out.push(Effect::Quit),
            Stage::Quit => {}
        }
    }

    fn back(&mut self, id: CallId) {
        self.say(format!("Back: {id} stays held."));
        self.stage = Stage::Ruling(id);
    }

    fn value(&mut self, question: Question, mut fields: Vec<crate::console::dialog::Field>, at: usize, line: &str) {
        if line == "back" {
            return self.back(question.id);
        }
        let Some(field) = fields.get_mut(at) else { return self.back(question.id) };
        line.clone_into(&mut field.typed);
        if !field.matches() {
            self.say("That is not the value: the call stays held.");
            return self.back(question.id);
        }
        if at + 1 < fields.len() {
            self.stage = Stage::Type { question, fields, at: at + 1 };
        } else {
            self.rule(question, RulingKind::Approve, None, None);
        }
    }

    fn reason(&mut self, question: Question, others: Vec<Question>, pause: Option<String>, line: &str) {
        let preset = line.parse::<usize>().ok().and_then(|n| PRESETS.get(n.checked_sub(1)?));
        let reason: String = match (line, preset) {
            ("back" | "", _) => return self.back(question.id),
            (_, Some(preset)) => (*preset).to_owned(),
            (reason, None) => reason.chars().take(REASON).collect(),
        };
        self.rule(question, RulingKind::Reject, Some(reason.clone()), pause);
        // One that has ended or changed since is said to be, and left alone.
        others.into_iter().for_each(|other| self.rule(other, RulingKind::Reject, Some(reason.clone()), None));
    }

    /// A command. `asked`: the hold that the open question is about.
    fn command(&mut self, line: &str, asked: Option<CallId>) {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let rest: Vec<_> = words.collect();
        match (verb, rest.as_slice()) {
            ("", _) => {}
            ("help", words) => self.help(words),
            ("mute", []) => self.mute(),
            ("status", []) => self.status(),
            ("draft", words) => self.draft_rule(words, asked),
            ("edit", words) => self.edit(words, asked),
            ("export", words) => self.export(words, asked),
            ("list", words) => self.list(words),
            ("quit", []) => self.quit(),
            ("undo", []) => self.undo(),
            ("undo", [id]) => self.undo_of(id),
            ("history", words) => self.history(words),
            ("older", []) => self.older(),
            ("raw" | "diff" | "session" | "result", [id]) => match self.find(id) {
                Ok(id) => self.show_view(verb, id),
                Err(why) => self.say(why),
            },
            ("rules", []) => self.send(Asked::Rules, |seq| Command::Rules { seq }),
            ("sessions", [name]) => {
                self.send(Asked::Named((*name).to_owned()), |seq| Command::Sessions { seq });
            }
            ("sessions", []) => self.send(Asked::Answer("sessions"), |seq| Command::Sessions { seq }),
            ("grants", []) => self.send(Asked::Answer("grants"), |seq| Command::Grants { seq }),
            ("freeze", reason) => self.freeze(reason),
            ("thaw", reason) => {
                let command = Command::Freeze { seq: 0, on: false, reason: joined(reason) };
                self.confirm(command, "Let everything go its way again");
            }
            ("pause", [session, reason @ ..]) => self.session(session, SessionRuling::Pause, reason),
            ("resume", [session, reason @ ..]) => self.session(session, SessionRuling::Resume, reason),
            ("end", [session, reason @ ..]) => self.session(session, SessionRuling::End, reason),
            ("revoke", [grant, reason @ ..]) => match grant.to_ascii_uppercase().parse() {
                Ok(grant) => {
                    let command = Command::RevokeGrant { seq: 0, grant, reason: joined(reason) };
                    self.confirm(command, "Revoke the grant");
                }
                Err(_) => self.say("Name the grant by its whole id: grants lists them."),
            },
            ("details", [id]) => self.details(id),
            ("reopen", [id]) => self.reopen(id),
            ("batch", ids) => self.batch(ids),
            ("reject", ids) if !matches!(ids, [] | ["all"] | ["pause"]) => self.reject_these(ids),
            _ => match asked {
                Some(id) => self.about(verb, &rest, id),
                None => self.say("There is no such command, or no call is asked about. Type help."),
            },
        }
    }

    /// A command about the hold that is asked about.
    fn about(&mut self, verb: &str, rest: &[&str], id: CallId) {
        match (verb, rest) {
            ("approve", []) => self.approve(&id),
            ("reject", []) => self.ask_reason(id, false, false),
            ("same", []) => self.same(&id),
            ("reject", ["all"]) => self.ask_reason(id, true, false),
            ("reject", ["pause"]) => self.ask_reason(id, false, true),
            ("raw" | "diff" | "session" | "result", []) => self.show_view(verb, id),
            ("note", []) => {
                self.aside = None;
                self.say(format!("No note for {id}."));
            }
            ("note", words) => {
                let note = joined(words).unwrap_or_default();
                self.say(format!("Note for {id}: {note}. It goes with an approval."));
                self.aside = Some((id, note));
            }
            ("details", []) => self.read_out(&id, true),
            ("skip", []) => self.skip(id),
            ("claim", []) => {
                self.send(Asked::Answer("claim"), |seq| Command::Claim { seq, id, steal: false, off: false })
            }
            ("claim", ["steal"]) => {
                self.send(Asked::Answer("claim"), |seq| Command::Claim { seq, id, steal: true, off: false });
            }
            ("release", []) => {
                self.send(Asked::Answer("release"), |seq| Command::Claim { seq, id, steal: false, off: true })
            }
            ("why", []) => self.send(Asked::Answer("why"), |seq| Command::Explain { seq, id }),
            ("grant", [uses, minutes, bounds @ ..]) => self.draft(id, uses, minutes, bounds),
            _ => self.say("That is not a command: type a whole word, for example details or help. Nothing was sent."),
        }
    }

    /// All of it, or the lines that have all of the words.
    fn help(&mut self, words: &[&str]) {
        let has = |line: &str| words.iter().all(|word| line.to_lowercase().contains(&word.to_lowercase()));
        let lines: Vec<_> = HELP.into_iter().filter(|line| has(line)).collect();
        if lines.is_empty() {
            return self.say("No line of the help has that: type help.");
        }
        for line in lines {
            self.say(line);
            if line.ends_with("stand for") {
                PRESETS.iter().enumerate().for_each(|(n, reason)| self.say(format!("{}: {reason}", n + 1)));
            }
        }
    }

    /// A view of a hold.
    fn show_view(&mut self, verb: &str, id: CallId) {
        match verb {
            "raw" | "diff" => self.view(verb, &id),
            _ => self.ask_about(verb, id),
        }
    }

    fn quit(&mut self) {
        let waiting = self.holds.pending().next().is_some();
        let alone = self.daemon.as_ref().is_none_or(|daemon| daemon.consoles <= 1);
        if self.live && waiting && alone {
            self.stage = Stage::Quit;
        } else {
            self.out.push(Effect::Quit);
        }
    }

    fn undo(&mut self) {
        match self.undo.clone() {
            Some(id) => self.send(Asked::Answer("undo"), |seq| Command::TakeBack { seq, id }),
            None => self.say("Nothing of yours can be taken back."),
        }
    }

    /// An approval of anybody's. The daemon says whether it has left.
    fn undo_of(&mut self, start: &str) {
        match self.find(start) {
            Ok(id) => self.send(Asked::Answer("undo"), |seq| Command::TakeBack { seq, id }),
            Err(why) => self.say(why),
        }
    }

    fn details(&mut self, start: &str) {
        match self.find(start) {
            Ok(id) => {
                self.turn_to(id.clone());
                self.read_out(&id, true);
            }
            Err(why) => self.say(why),
        }
    }

    /// Approves nothing: the daemon says whether the hold may wait again, and then it is read out and asked about.
    fn reopen(&mut self, start: &str) {
        match self.find(start).map(|id| self.holds.get(&id).map(|entry| (id, entry.view.digest))) {
            Ok(Some((id, digest))) => {
                self.send(Asked::Answer("reopen"), |seq| Command::Reopen { seq, id, digest });
            }
            Ok(None) => self.say("There is no such hold: list names them."),
            Err(why) => self.say(why),
        }
    }

    /// The hold whose id starts so.
    pub(super) fn find(&self, start: &str) -> Result<CallId, &'static str> {
        let start = start.to_ascii_uppercase();
        let mut ids = self.holds.all().map(|entry| &entry.view.id).filter(|id| id.as_str().starts_with(&start));
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(id.clone()),
            (None, _) => Err("There is no such hold: list names them."),
            (Some(_), Some(_)) => Err("Several holds start so: give more letters."),
        }
    }

    fn freeze(&mut self, reason: &[&str]) {
        let command = Command::Freeze { seq: 0, on: true, reason: joined(reason) };
        self.confirm(command, "Freeze: hold everything that is not a read, and reject what waits");
    }

    fn session(&mut self, session: &str, ruling: SessionRuling, reason: &[&str]) {
        let what = match ruling {
            SessionRuling::Pause => "Pause",
            SessionRuling::Resume => "Resume",
            SessionRuling::End => "End",
        };
        let command = Command::RuleSession { seq: 0, session: session.to_owned(), ruling, reason: joined(reason) };
        self.confirm(command, &format!("{what} session {}", crate::console::visible::line(session)));
    }

    fn confirm(&mut self, command: Command, words: &str) {
        self.stage = Stage::Confirm { command: Box::new(command), words: words.to_owned() };
    }

    /// `grant 5 10 less /amount any /reason`.
    fn draft(&mut self, id: CallId, uses: &str, minutes: &str, bounds: &[&str]) {
        let Some(entry) = self.ready(&id) else { return };
        if self.guard.asks().is_some() {
            return self.say("No grant is made while approvals have to be typed: approve this call by itself.");
        }
        let question = Question { id: id.clone(), digest: entry.view.digest };
        let (Ok(uses), Ok(minutes)) = (uses.parse::<u32>(), minutes.parse::<u32>()) else {
            return self.say("grant USES MINUTES: two whole numbers.");
        };
        let mut wanted =
            GrantBounds { at_most: Vec::new(), any: Vec::new(), uses, seconds: minutes.saturating_mul(60) };
        for pair in bounds.chunks(2) {
            match pair {
                ["less", pointer] => wanted.at_most.push((*pointer).to_owned()),
                ["any", pointer] => wanted.any.push((*pointer).to_owned()),
                _ => return self.say("After the minutes: less /POINTER or any /POINTER, as often as needed."),
            }
        }
        let asked = Asked::Draft { question, bounds: wanted.clone() };
        self.send(asked, |seq| Command::DraftGrant { seq, id, bounds: wanted });
    }

    /// Makes the grant that was read out.
    fn grant(&mut self, question: Question, command: Command) {
        let Some(entry) = self.ready(&question.id).filter(|entry| entry.view.digest == question.digest) else { return };
        let kind = RulingKind::Approve;
        let signer = crate::console::barrier::signer(&entry.view, kind, self.signing.as_ref());
        let note = self.aside(&question.id);
        let command = match command {
            Command::Grant { seq, id, digest, bounds, grant, signed, .. } => {
                Command::Grant { seq, id, digest, bounds, grant, reason: note.clone(), signed }
            }
            other => other,
        };
        let asked = Asked::Ruling { id: question.id, kind, since: self.now.mono, then: None };
        if self.try_send(asked, |seq| numbered(command, seq)) {
            self.approved(&entry.view);
            self.sign(signer, &entry.view, kind, note.as_deref());
        }
    }
}

fn joined(words: &[&str]) -> Option<String> {
    let reason: String = words.join(" ").chars().take(REASON).collect();
    (!reason.is_empty()).then_some(reason)
}

/// The command with the number that it is sent under.
pub(super) fn numbered(mut command: Command, number: u64) -> Command {
    match &mut command {
        Command::Freeze { seq, .. }
        | Command::RuleSession { seq, .. }
        | Command::RevokeGrant { seq, .. }
        | Command::Grant { seq, .. } => *seq = number,
        // Nothing else waits for a yes.
        _ => {}
    }
    command
}
