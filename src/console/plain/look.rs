//! What plain mode reads out beside a hold itself: its views, the record page by page, and what changes about the daemon.

use super::talk::{Asked, Talk};
use super::words;
use crate::call::CallId;
use crate::console::describe;
use crate::console::doc::{Doc, Kind};
use crate::console::filter::{Filter, Of};
use crate::console::rows;
use crate::console::tabs;
use crate::control::wire::{ChainView, Command, Daemon, RecordView, SessionView};

/// Records that are read out at once.
const PAGE: u16 = 20;
/// Records of one call.
const STORY: u16 = 100;

impl Talk {
    /// A view of a hold, which counts for nothing: an approval waits for the hold itself to be read out.
    pub(super) fn view(&mut self, verb: &str, id: &CallId) {
        let Some(entry) = self.holds.get(id).cloned() else { return self.say(format!("There is no hold {id}.")) };
        let mut doc = Doc::default();
        match verb {
            "raw" => describe::raw(&mut doc, &entry.view, &entry.risk),
            _ => tabs::compared(&mut doc, &entry.view, &self.zone),
        }
        self.read_doc(&doc);
    }

    /// A document, line by line: what came with a call stands behind a word of ours.
    fn read_doc(&mut self, doc: &Doc) {
        let mut last = "";
        for (kind, text) in doc.whole_lines() {
            let line = match kind {
                Kind::Fact(label) => {
                    last = if label.is_empty() { last } else { label };
                    format!("{}: {text}", last.trim_end_matches('.'))
                }
                Kind::Warning => format!("Warning: {text}"),
                Kind::Payload { .. } => format!("Sent: {text}"),
                Kind::Quoted { .. } => format!("Line: {text}"),
                Kind::Heading | Kind::Note | Kind::Fold => text.to_owned(),
            };
            self.say_shown(line);
        }
    }

    /// Asks for the session of a hold, or for what is recorded of it.
    pub(super) fn ask_about(&mut self, verb: &str, id: CallId) {
        if self.holds.get(&id).is_none() {
            return self.say(format!("There is no hold {id}."));
        }
        if verb == "session" {
            self.send(Asked::Session(id), |seq| Command::Sessions { seq });
        } else {
            let call = Some(id.clone());
            self.send(Asked::Result(id), |seq| Command::Records { seq, before: None, limit: STORY, call });
        }
    }

    /// The newest records; `older`: those before the ones that were read out last.
    pub(super) fn history(&mut self, older: bool) {
        let before = self.oldest.filter(|_| older);
        if older && before.is_none() {
            return self.say("There are no older records, or none were read out yet: type history.");
        }
        self.send(Asked::History, |seq| Command::Records { seq, before, limit: PAGE, call: None });
    }

    /// The holds, without those that ended a while ago unless `all` are wanted; or those that a filter takes.
    pub(super) fn list(&mut self, words: &[&str]) {
        let all = words == ["all"];
        let text = if all { String::new() } else { words.join(" ") };
        let filter = match Filter::parse(&text, Of::Holds) {
            Ok(filter) => filter,
            Err(why) => return self.say(format!("That is no filter: {why}.")),
        };
        let now = self.now.wall;
        let lately = |state: &_| all || !filter.is_empty() || rows::is_lately(state, now);
        let (shown, other): (Vec<_>, Vec<_>) =
            self.holds.all().partition(|entry| filter.takes(entry) && lately(&entry.view.state));
        let mut lines: Vec<_> = shown.into_iter().map(|entry| words::line(entry, now, &self.zone)).collect();
        let hidden = other.len();
        if lines.is_empty() {
            lines.push(if hidden == 0 { "No call is held." } else { "No call is like that." }.to_owned());
        }
        if hidden > 0 {
            let why = if filter.is_empty() { "ended more than 10 minutes ago" } else { "are not like that" };
            lines.push(format!("{hidden} more {why}: list all."));
        }
        lines.iter().for_each(|line| self.say(line));
    }

    pub(super) fn sessions_came(&mut self, seq: u64, sessions: &[SessionView]) -> bool {
        let Some(Asked::Session(id)) = self.asked.get(&seq).cloned() else { return false };
        self.asked.remove(&seq);
        let session = self.holds.get(&id).map(|entry| entry.view.session.clone());
        match sessions.iter().find(|other| session.as_ref() == Some(&other.session)) {
            Some(session) => {
                let mut doc = Doc::default();
                tabs::describe_session(&mut doc, session, &self.zone, self.now.wall);
                self.read_doc(&doc);
            }
            None => self.say(format!("The session of {id} has ended.")),
        }
        true
    }

    pub(super) fn records_came(&mut self, seq: u64, records: &[RecordView], chain: &ChainView) {
        match self.asked.remove(&seq) {
            Some(Asked::Result(id)) => {
                let state = self.holds.get(&id).map(|entry| {
                    let ended = describe::outcome(&entry.view.state, &self.zone);
                    let ended = ended.unwrap_or_else(|| "it waits".to_owned());
                    format!("State of {id}: {ended}. Approvals: {}.", describe::approvals(&entry.view.approvals))
                });
                state.into_iter().for_each(|line| self.say(line));
            }
            Some(Asked::History) => self.oldest = records.last().map(|record| record.seq).filter(|seq| *seq > 1),
            Some(_) | None => return,
        }
        records.iter().rev().for_each(|line| self.say(record(line)));
        let intact = match chain.intact {
            true => "those that were read follow one another",
            false => {
                "THE CHAIN IS BROKEN: those that were read do not follow one another, or some are missing. Run \
                      countersign audit verify"
            }
        };
        self.say(format!("{} records in all; {intact}.", chain.records));
    }

    /// The daemon has changed: what an operator has to know of it is said, once.
    pub(super) fn daemon_changed(&mut self, daemon: Daemon) {
        let lines = self.daemon.as_ref().map(|known| changes(known, &daemon)).unwrap_or_default();
        lines.iter().for_each(|line| self.say(line));
        self.daemon = Some(daemon);
    }
}

fn record(record: &RecordView) -> String {
    let RecordView { seq, at, words, call, operation, server, environment, principal, operator, .. } = record;
    let of = |before: &str, text: &Option<String>| text.as_ref().map(|text| format!("{before}{text}"));
    let about = [
        call.as_ref().map(|call| format!("call {call}")),
        of("", operation),
        of("on ", server).map(|on| environment.as_ref().map_or_else(|| on.clone(), |name| format!("{on} in {name}"))),
        of("for ", principal),
        of("by ", operator),
    ];
    let about: Vec<_> = about.into_iter().flatten().collect();
    let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
    format!("Record {seq} at {at}: {words}{about}")
}

/// What is different about the daemon, in lines.
fn changes(known: &Daemon, now: &Daemon) -> Vec<String> {
    let mut lines = Vec::new();
    if known.frozen != now.frozen {
        lines.push(super::answers::frozen(now));
    }
    match &now.policy_error {
        Some(error) if known.policy_error.as_ref() != Some(error) => {
            lines.push(format!("The last reload of the policies was refused, the old rules are in force: {error}."));
        }
        None if known.policy_version != now.policy_version => {
            lines.push(format!("New policies are in force: {} rules.", now.rules));
        }
        Some(_) | None => {}
    }
    let warned = now.policy_warnings.iter().filter(|line| !known.policy_warnings.contains(line));
    lines.extend(warned.map(|line| format!("Policy warning: {line}.")));
    let mut contradicted = contradicted(now);
    contradicted.retain(|line| !self::contradicted(known).contains(line));
    lines.extend(contradicted);
    if describe::tools(known) != describe::tools(now) {
        let tools = describe::tools(now).unwrap_or_else(|| "TOOLS: all as pinned".to_owned());
        lines.push(format!("{tools}."));
    }
    if describe::cut_off(known) != describe::cut_off(now) {
        lines.extend(describe::cut_off(now));
    }
    let signed_out = |daemon: &Daemon| -> Vec<_> {
        describe::not_signed_in(daemon).map(|(server, words)| (server.name.clone(), words)).collect()
    };
    let (before, after) = (signed_out(known), signed_out(now));
    for (server, words) in after.iter().filter(|one| !before.contains(one)) {
        lines.push(format!("Server {server}: {words}."));
    }
    for (server, _) in before.iter().filter(|(server, _)| after.iter().all(|(other, _)| other != server)) {
        lines.push(format!("Server {server}: signed in again."));
    }
    lines
}

/// Servers whose answer has contradicted their environment.
pub(super) fn contradicted(daemon: &Daemon) -> Vec<String> {
    let contradicted = daemon.servers.iter().filter_map(|server| {
        let conflict = server.environment.conflict.as_ref()?;
        Some(format!(
            "Server {} works elsewhere than in {}: {conflict}. Its calls are denied until countersign is started again.",
            server.name, server.environment.name
        ))
    });
    contradicted.collect()
}
