//! What plain mode reads out beside a hold itself: its views, the list, the daemon and what changes about it.

use super::record;
use super::talk::{Asked, Talk};
use super::words;
use crate::call::CallId;
use crate::console::describe;
use crate::console::doc::{Doc, Kind};
use crate::console::filter::{Filter, Of};
use crate::console::risk::plural;
use crate::console::rows;
use crate::console::tabs;
use crate::control::wire::{ChainView, Command, Daemon, RecordView, SessionView};

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
        let (session, none) = match self.asked.get(&seq) {
            Some(Asked::Session(id)) => {
                let session = self.holds.get(id).map(|entry| entry.view.session.clone());
                (session, format!("The session of {id} has ended."))
            }
            Some(Asked::Named(name)) => (Some(name.clone()), "No session that is open is called so.".to_owned()),
            Some(_) | None => return false,
        };
        self.asked.remove(&seq);
        match sessions.iter().find(|other| session.as_ref() == Some(&other.session)) {
            Some(session) => {
                let mut doc = Doc::default();
                tabs::describe_session(&mut doc, session, &self.zone, self.now.wall);
                self.read_doc(&doc);
            }
            None => self.say(none),
        }
        true
    }

    /// The daemon, who watches it, and the chain of its record.
    pub(super) fn status(&mut self) {
        let Some(daemon) = self.daemon.clone() else { return self.say("The daemon has said nothing yet.") };
        let gone = if self.live { "" } else { " It is not there at the moment." };
        self.say(format!("Countersign {}.{gone} {}", daemon.version, super::answers::daemon(&daemon)));
        let operators = daemon.operators.join(", ");
        let operators = if operators.is_empty() { operators } else { format!(": {operators}") };
        self.say(format!("{} attached{operators}.", plural(daemon.consoles, "console")));
        let (pending, all) = (self.holds.pending().count(), self.holds.len());
        self.say(format!("{pending} waiting, {} known that ended.", all - pending));
        if self.is_muted() {
            self.say("The bell is silent, but for tier high.");
        }
        self.chain_words();
    }

    pub(super) fn records_came(&mut self, seq: u64, records: Vec<RecordView>, chain: ChainView) {
        let id = match self.asked.remove(&seq) {
            Some(Asked::Result(id)) => id,
            Some(Asked::History { more }) => return self.took_page(more, records, chain),
            Some(Asked::Chain) => return self.took_chain(chain),
            Some(_) | None => return,
        };
        if let Some(entry) = self.holds.get(&id) {
            let ended = describe::outcome(&entry.view.state, &self.zone);
            let ended = ended.unwrap_or_else(|| "it waits".to_owned());
            let approvals = describe::approvals(&entry.view.approvals);
            self.say(format!("State of {id}: {ended}. Approvals: {approvals}."));
        }
        records.iter().rev().for_each(|line| self.say(record::record(line)));
        self.took_chain(chain);
        self.chain_words();
    }

    /// The daemon has changed: what an operator has to know of it is said, once.
    pub(super) fn daemon_changed(&mut self, daemon: Daemon) {
        let lines = self.daemon.as_ref().map(|known| changes(known, &daemon)).unwrap_or_default();
        lines.iter().for_each(|line| self.say(line));
        self.daemon = Some(daemon);
    }
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
