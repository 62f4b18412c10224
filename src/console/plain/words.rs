//! Holds in lines of words: one thing a line, `Field: value`, nothing that a reader would have to look at twice.
//!
//! Every line is complete. Nothing here has passed the escape function but what says so; the talk escapes what it says.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::call::Tier;
use crate::console::describe;
use crate::console::doc::Kind;
use crate::console::holds::Entry;
use crate::console::preview::{self, Clock};
use crate::console::visible;
use crate::control::wire::HoldView;
use crate::json::{Json, JsonText, Kind as Type};

/// What starts the continuation of a line that is longer than the terminal is wide. No line of ours starts so.
pub const CONTINUED: &str = "   > ";
/// Lines of arguments that are read out without being asked for.
pub const READ_OUT: usize = 200;
/// Bytes of them.
pub const READ_OUT_BYTES: usize = 64 << 10;
/// Longest path that is repeated in every line below it, in bytes. A longer one gets a line and a number of its own, so
/// that nothing is cut and a call costs no more text than it has.
const PATH: usize = 200;

/// The first line of a hold.
pub fn headline(entry: &Entry) -> String {
    let hold = &entry.view;
    let badge = describe::badge(hold).trim_matches(['[', ']']);
    let badge = if badge == "????" { "UNKNOWN ENVIRONMENT, counts as production" } else { badge };
    let risk = match entry.risk.tier {
        Tier::Low => "Low",
        Tier::Medium => "Medium",
        Tier::High => "High",
    };
    let operation = if hold.operation == hold.tool { String::new() } else { format!(" Operation {}.", hold.operation) };
    format!("Hold {}. {risk} risk. {badge}. Server {}. Tool {}.{operation}", hold.id, hold.server, hold.tool)
}

/// The facts of a hold, without its arguments and warnings. They have passed the escape function.
pub fn facts(entry: &Entry, zone: &TimeZone) -> Vec<String> {
    let doc = describe::document(&entry.view, &entry.risk, zone);
    let mut last = "";
    let mut facts = Vec::new();
    for (kind, text) in doc.whole_lines() {
        match kind {
            Kind::Fact(label) => {
                last = if label.is_empty() { last } else { label };
                facts.push(format!("{}: {text}", last.trim_end_matches('.')));
            }
            Kind::Warning | Kind::Heading | Kind::Payload { .. } | Kind::Quoted { .. } | Kind::Note | Kind::Fold => {}
        }
    }
    facts
}

/// Everything that travels, one value a line, by its path: `Argument items[0].price: 5`. Nothing where it is more than
/// is read out without being asked for, unless `all` of it is asked for.
pub fn arguments(hold: &HoldView, zone: &TimeZone, all: bool) -> Option<Vec<String>> {
    let clock = Clock { zone: zone.clone(), held: hold.created_at.parse().unwrap_or_default() };
    let mut out = Lines { lines: Vec::new(), bytes: 0, places: 0, all };
    let parts = [
        ("Argument", Some(&hold.arguments)),
        ("Other parameter", hold.other_params.as_ref()),
        ("Meta, sent too and not part of the digest,", hold.meta.as_ref()),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            let asked: Vec<_> = if name == "Argument" { asked_about(hold) } else { Vec::new() };
            Leaves { name, whole: value, asked, clock: &clock, out: &mut out }.walk(value.view(), "", None);
        }
    }
    (!out.is_too_much()).then_some(out.lines)
}

struct Lines {
    lines: Vec<String>,
    bytes: usize,
    /// Paths that have a number.
    places: usize,
    all: bool,
}

impl Lines {
    fn is_too_much(&self) -> bool {
        !self.all && (self.lines.len() > READ_OUT || self.bytes > READ_OUT_BYTES)
    }

    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push(line);
    }

    /// Says a path that is too long to be repeated, and puts its number in its place. No key is written so.
    fn bound(&mut self, path: &mut String) {
        if path.len() > PATH {
            self.places += 1;
            self.push(format!("Place {}: {path}", self.places));
            *path = format!("<place {}>", self.places);
        }
    }
}

/// Where the values begin in the arguments that the rule asks about.
fn asked_about(hold: &HoldView) -> Vec<usize> {
    let places = hold.confirm.iter().filter_map(|confirm| {
        let value = hold.arguments.view().pointer(confirm.pointer.strip_prefix("/arguments")?)?;
        offset(&hold.arguments, value)
    });
    places.collect()
}

fn offset(whole: &JsonText, part: Json<'_>) -> Option<usize> {
    (part.text().as_ptr() as usize).checked_sub(whole.as_str().as_ptr() as usize)
}

struct Leaves<'a> {
    name: &'static str,
    whole: &'a JsonText,
    asked: Vec<usize>,
    clock: &'a Clock,
    out: &'a mut Lines,
}

impl Leaves<'_> {
    /// The depth is bounded by the reader of the text.
    fn walk(&mut self, value: Json<'_>, path: &str, key: Option<&str>) {
        match value.kind() {
            Type::Object if value.members().next().is_some() => {
                for (key, member) in value.members() {
                    if self.out.is_too_much() {
                        return;
                    }
                    let mut here = path.to_owned();
                    step(&mut here, key);
                    self.out.bound(&mut here);
                    self.walk(member, &here, key.as_str().as_deref());
                }
            }
            Type::Array if value.items().next().is_some() => {
                for (n, item) in value.items().enumerate() {
                    if self.out.is_too_much() {
                        return;
                    }
                    let mut here = format!("{path}[{n}]");
                    self.out.bound(&mut here);
                    self.walk(item, &here, None);
                }
            }
            Type::Object | Type::Array | Type::String | Type::Number | Type::Bool | Type::Null => {
                self.leaf(value, path, key);
            }
        }
    }

    fn leaf(&mut self, value: Json<'_>, path: &str, key: Option<&str>) {
        let asked = offset(self.whole, value).is_some_and(|at| self.asked.contains(&at));
        let asked = if asked { ". The rule asks about this" } else { "" };
        let space = if path.is_empty() { "s" } else { " " };
        self.out.push(format!("{}{space}{path}: {}{asked}", self.name, value.text()));
        let notes = match value.kind() {
            Type::String => preview::string(value.text(), &value.as_str().unwrap_or_default(), self.clock),
            Type::Number => preview::number(value.text(), key, self.clock),
            Type::Object | Type::Array | Type::Bool | Type::Null => Vec::new(),
        };
        notes.into_iter().for_each(|note| self.out.push(format!("Note on {path}: {note}")));
    }
}

/// Adds a key to a path: as it is where it is a plain word, else in its exact spelling.
fn step(path: &mut String, key: Json<'_>) {
    if !path.is_empty() {
        path.push('.');
    }
    let inner = key.text().get(1..key.text().len() - 1).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    path.push_str(if !inner.is_empty() && inner.bytes().all(plain) { inner } else { key.text() });
}

/// One line about a hold, for a list.
pub fn line(entry: &Entry, now: Timestamp, zone: &TimeZone) -> String {
    let hold = &entry.view;
    let what = format!("{} {} {} {}", hold.id, describe::badge(hold), hold.server, hold.tool);
    match describe::outcome(&hold.state, zone) {
        Some(outcome) => format!("{what}: {}", describe::with_operation(hold, outcome)),
        None => {
            let claimed =
                hold.claimed.as_ref().map(|claimed| format!(", claimed by {}", claimed.by)).unwrap_or_default();
            let tier = describe::tier_word(entry.risk.tier).to_lowercase();
            format!(
                "{what}: {}, {tier} risk, {}{claimed}",
                describe::summary(hold),
                match entry.is_over(now) {
                    true => "its time is over".to_owned(),
                    false => format!("{} left", spoken(entry.seconds_left(now))),
                }
            )
        }
    }
}

/// `2 minutes 41 seconds`.
pub fn spoken(seconds: i64) -> String {
    let counted = |count: i64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    match (seconds.max(0) / 60, seconds.max(0) % 60) {
        (0, seconds) => counted(seconds, "second"),
        (minutes, 0) => counted(minutes, "minute"),
        (minutes, seconds) => format!("{} {}", counted(minutes, "minute"), counted(seconds, "second")),
    }
}

/// A line that has passed the escape function, in rows of at most `width` columns: what goes on starts with
/// [`CONTINUED`], so that no value can begin a row and pass for a line of ours.
pub fn wrap(shown: &str, width: usize) -> Vec<String> {
    let width = width.max(CONTINUED.len() + 30);
    let mut rows = Vec::new();
    let (mut row, mut used) = (String::new(), 0);
    for atom in visible::atoms(shown) {
        if used + atom.columns > width {
            rows.push(std::mem::replace(&mut row, CONTINUED.to_owned()));
            used = CONTINUED.len();
        }
        row.push_str(atom.text);
        used += atom.columns;
    }
    rows.push(row);
    rows
}
