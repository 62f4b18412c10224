//! The views of one hold: pretty, raw, what is different from the last approved call, the rule, the session, the result.
//! Each is a document; only the first two show all that travels, and only they count as reading it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::console::app::App;
use crate::console::describe::{self, clock};
use crate::console::diff::{Change, diff};
use crate::console::doc::Doc;
use crate::console::holds::Entry;
use crate::console::keys::Action;
use crate::console::retry;
use crate::console::risk::plural;
use crate::console::spark;
use crate::control::wire::{Before, CallLine, Excerpt, HoldView, RecordView, SessionView};

/// Bytes of the differences of one hold in a group.
const GROUP_LINE: usize = 4 << 10;
/// Tabs at the begin of a line that are told apart.
const TABS: usize = 8;
/// Differences that the pretty view repeats.
const SUMMARY: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tab {
    Pretty,
    Raw,
    Diff,
    Rule,
    Session,
    Result,
}

impl Tab {
    pub const ALL: [Tab; 6] = [Tab::Pretty, Tab::Raw, Tab::Diff, Tab::Rule, Tab::Session, Tab::Result];

    pub fn title(self) -> &'static str {
        match self {
            Tab::Pretty => "Pretty",
            Tab::Raw => "Raw",
            Tab::Diff => "Diff",
            Tab::Rule => "Rule",
            Tab::Session => "Session",
            Tab::Result => "Result",
        }
    }

    pub fn next(self) -> Tab {
        match self {
            Tab::Pretty => Tab::Raw,
            Tab::Raw => Tab::Diff,
            Tab::Diff => Tab::Rule,
            Tab::Rule => Tab::Session,
            Tab::Session => Tab::Result,
            Tab::Result => Tab::Pretty,
        }
    }
}

/// The document of a view.
pub fn document(app: &App, entry: &Entry, tab: Tab) -> Doc {
    let hold = &entry.view;
    let mut doc = Doc::for_terminal(app.ascii);
    doc.name_keys_of(app.keys.clone());
    match tab {
        Tab::Pretty => {
            let alike = app.rows.behind(&hold.id);
            describe::pretty(&mut doc, hold, &entry.risk, &app.zone);
            let group = group(app, alike);
            group
                .iter()
                .enumerate()
                .for_each(|(n, line)| if n == 0 { doc.heading(line) } else { doc.quoted(line, true) });
        }
        Tab::Raw => describe::raw(&mut doc, hold, &entry.risk),
        Tab::Diff => compared(&mut doc, hold, &app.zone),
        Tab::Rule => rule(&mut doc, app, hold),
        Tab::Session => session(&mut doc, app, hold),
        Tab::Result => result(&mut doc, app, entry),
    }
    doc
}

/// The part of a view that stands below the pretty one where there is room; nothing where it says nothing yet.
pub fn excerpt(app: &App, hold: &HoldView, tab: Tab) -> Option<Doc> {
    let mut doc = Doc::for_terminal(app.ascii);
    doc.name_keys_of(app.keys.clone());
    match tab {
        Tab::Rule => match &app.pages.explained {
            Some((id, Ok(excerpts))) if *id == hold.id => excerpts.iter().for_each(|excerpt| part(&mut doc, excerpt)),
            Some(_) | None => return None,
        },
        Tab::Diff => {
            let before = hold.before.as_ref()?;
            differences(&mut doc, before, hold);
        }
        Tab::Session => {
            let sessions = app.pages.sessions.as_ref()?;
            let session = sessions.iter().find(|session| session.session == hold.session)?;
            let SessionView { calls, allowed, held, denied, .. } = session;
            doc.heading(&format!(
                "{} · {calls} calls: {allowed} allowed, {held} held, {denied} denied",
                session.session
            ));
            calls_of(&mut doc, session, &app.zone);
        }
        Tab::Pretty | Tab::Raw | Tab::Result => return None,
    }
    Some(doc)
}

/// What a folded group has behind this hold: how many, and every value that differs among them.
fn group(app: &App, ids: &[crate::call::CallId]) -> Vec<String> {
    if ids.len() < 2 {
        return Vec::new();
    }
    let mut lines =
        vec![format!("{} alike wait; approving is about this one; {} shows each", ids.len(), app.key(Action::Unfold))];
    let mut calls = ids.iter().filter_map(|id| app.holds.get(id)).map(|entry| &entry.view);
    let Some(first) = calls.next() else { return lines };
    for other in calls {
        let found = diff(first.arguments.view(), other.arguments.view());
        let (mut words, mut bytes, mut more) = (Vec::new(), 0, found.more);
        for change in &found.changes {
            bytes += change.size();
            if bytes <= GROUP_LINE {
                words.push(change.words());
            } else {
                more += 1;
            }
        }
        if more > 0 {
            words.push(format!("{} not told here", plural(more, "difference")));
        }
        let words = if words.is_empty() { "the same arguments".to_owned() } else { words.join("; ") };
        lines.push(format!("{}: {words}", other.id));
    }
    lines
}

/// The largest differences from the last approved call, for the facts of a hold.
pub fn changed(hold: &HoldView) -> Vec<String> {
    let Some(before) = &hold.before else { return Vec::new() };
    let Some(arguments) = &before.arguments else { return Vec::new() };
    let found = diff(arguments.view(), hold.arguments.view());
    let changes = &found.changes;
    let against = format!("against {}, which {} approved", before.id, before.by);
    if changes.is_empty() && found.more == 0 {
        return vec![format!("nothing {against}")];
    }
    let mut lines: Vec<_> = changes.iter().take(SUMMARY).map(Change::words).collect();
    let more = changes.len().saturating_sub(SUMMARY) + found.more;
    let more = if more > 0 { format!("{more} more; ") } else { String::new() };
    lines.push(format!("{more}{against}"));
    lines
}

pub fn compared(doc: &mut Doc, hold: &HoldView, zone: &TimeZone) {
    let Some(before) = &hold.before else {
        doc.heading("No call of this tool and operation on this server was approved since the daemon started: nothing to compare with.");
        return;
    };
    let Before { id, at, by, .. } = before;
    doc.heading(&format!("Against {id}, which {by} approved at {}", day_and_clock(at, zone)));
    differences(doc, before, hold);
    doc.heading(
        "Values are compared by their spelling, items of lists by their place. This view does not count as read.",
    );
}

fn differences(doc: &mut Doc, before: &Before, hold: &HoldView) {
    let Some(arguments) = &before.arguments else {
        doc.heading("Its arguments were too long to be kept.");
        return;
    };
    let found = diff(arguments.view(), hold.arguments.view());
    if found.changes.is_empty() && found.more == 0 {
        doc.heading("Nothing is different.");
    }
    for change in &found.changes {
        doc.quoted(&change.words(), false);
    }
    if found.more > 0 {
        doc.heading(&format!("{} more, not told here", plural(found.more, "difference")));
    }
    doc.heading(&format!("{} the same", plural(found.same, "value")));
}

fn rule(doc: &mut Doc, app: &App, hold: &HoldView) {
    doc.fact("Rule", &format!("{}  {}", hold.rule, hold.reason));
    match &app.pages.explained {
        Some((id, Ok(excerpts))) if *id == hold.id => {
            excerpts.iter().for_each(|excerpt| part(doc, excerpt));
            if excerpts.is_empty() {
                doc.heading("The daemon has no text of these rules.");
            }
        }
        Some((id, Err(why))) if *id == hold.id => doc.heading(&format!("The daemon does not explain it: {why}")),
        Some(_) | None => doc.heading("Asking the daemon…"),
    }
    for hit in &hold.rules {
        doc.fact("Hit", &format!("{}  {}  {}:{}", hit.rule, hit.reason, hit.file, hit.line));
    }
    doc.fact("Policy", &hold.policy_version);
}

fn part(doc: &mut Doc, excerpt: &Excerpt) {
    doc.heading(&format!("{}  {}", excerpt.rule, excerpt.file));
    for line in &excerpt.lines {
        let word = if line.held { "held" } else { "" };
        doc.quoted(&format!("{:>4} {word:<4} {}", line.number, untabbed(&line.text)), line.held);
    }
}

/// A line of a policy's text with blanks for the tabs that it begins with: those are how the text is laid out, and any
/// other one is shown as what it is.
pub fn untabbed(line: &str) -> String {
    let text = line.trim_start_matches('\t');
    format!("{}{}", "    ".repeat((line.len() - text.len()).min(TABS)), text.trim_end())
}

fn session(doc: &mut Doc, app: &App, hold: &HoldView) {
    let found = app.pages.sessions.as_ref().and_then(|all| all.iter().find(|other| other.session == hold.session));
    match (found, &app.pages.sessions) {
        (Some(session), _) => describe_session(doc, session, &app.zone, app.now.wall),
        (None, Some(_)) => doc.heading(&format!("Session {} has ended.", hold.session)),
        (None, None) => doc.heading("Asking the daemon…"),
    }
}

/// A session in full: who, and its last calls.
pub fn describe_session(doc: &mut Doc, session: &SessionView, zone: &TimeZone, now: Timestamp) {
    doc.fact("Session", &format!("{} on {} ({})", session.session, session.server, session.environment.name));
    doc.fact("Client", &describe::who(&session.principal, &session.client));
    if let Some(claimed) = describe::claimed(&session.client) {
        doc.fact("Software", &claimed);
    }
    if let Some(paused) = &session.paused {
        let reason = paused.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        doc.fact("PAUSED", &format!("by {} at {}{reason}", paused.by, day_and_clock(&paused.at, zone)));
    }
    doc.fact("Since", &day_and_clock(&session.since, zone));
    let SessionView { calls, allowed, held, denied, in_flight, .. } = session;
    doc.fact("Calls", &format!("{calls}: {allowed} allowed, {held} held, {denied} denied; {in_flight} in flight"));
    doc.fact("Last 10'", &spark::words(&spark::minutes(session, now)));
    doc.heading("Last calls, newest first");
    calls_of(doc, session, zone);
}

fn calls_of(doc: &mut Doc, session: &SessionView, zone: &TimeZone) {
    for (n, call) in session.last.iter().enumerate() {
        doc.quoted(&call_line(call, zone), call.effect != "allow");
        if let Some(words) = retry::smaller(&session.last, n) {
            doc.quoted(&format!("    {words}"), true);
        }
    }
}

fn call_line(call: &CallLine, zone: &TimeZone) -> String {
    let CallLine { id, at, operation, effect, result, rule, .. } = call;
    let effect = match effect.as_str() {
        "deny" => "DENY",
        "hold" => "HOLD",
        other => other,
    };
    let tail = [result, rule].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("  ");
    format!("{}  {effect:<5}  {operation}  {tail}  {id}", clock(at, zone))
}

fn result(doc: &mut Doc, app: &App, entry: &Entry) {
    let hold = &entry.view;
    let state = describe::outcome(&hold.state, &app.zone).unwrap_or_else(|| "it waits".to_owned());
    doc.fact("State", &state);
    doc.fact("Approvals", &describe::approvals(&hold.approvals));
    doc.heading("What is recorded of this call");
    match &app.pages.call_records {
        Some((id, records)) if *id == hold.id => {
            records.iter().rev().for_each(|record| doc.quoted(&record_line(record, &app.zone), false));
        }
        Some(_) | None => doc.heading("Asking the daemon…"),
    }
}

/// A record in one line.
pub fn record_line(record: &RecordView, zone: &TimeZone) -> String {
    let by = record.operator.as_ref().map(|by| format!("  by {by}")).unwrap_or_default();
    format!("{}  {}  {}{by}", clock(&record.at, zone), record.kind, record.words)
}

/// A time with its day, where it is one.
pub fn day_and_clock(time: &str, zone: &TimeZone) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => time.to_owned(),
    }
}
