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
    format!("Hold {}. {risk} risk. {badge}. Server {}. Tool {}.", hold.id, hold.server, hold.tool)
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

/// Everything that travels, one value a line, by its path: `Argument items[0].price: 5`.
pub fn arguments(hold: &HoldView, zone: &TimeZone) -> Vec<String> {
    let clock = Clock { zone: zone.clone(), held: hold.created_at.parse().unwrap_or_default() };
    let mut out = Vec::new();
    let parts = [
        ("Argument", Some(&hold.arguments)),
        ("Other parameter", hold.other_params.as_ref()),
        ("Meta, sent too and not part of the digest,", hold.meta.as_ref()),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            let asked: Vec<_> = if name == "Argument" { asked_about(hold) } else { Vec::new() };
            Leaves { name, whole: value, asked, clock: &clock, out: &mut out }.walk(
                value.view(),
                &mut String::new(),
                None,
            );
        }
    }
    out
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
    out: &'a mut Vec<String>,
}

impl Leaves<'_> {
    /// The depth is bounded by the reader of the text.
    fn walk(&mut self, value: Json<'_>, path: &mut String, key: Option<&str>) {
        let length = path.len();
        match value.kind() {
            Type::Object if value.members().next().is_some() => {
                for (key, member) in value.members() {
                    step(path, key);
                    self.walk(member, path, key.as_str().as_deref());
                    path.truncate(length);
                }
            }
            Type::Array if value.items().next().is_some() => {
                for (n, item) in value.items().enumerate() {
                    path.push_str(&format!("[{n}]"));
                    self.walk(item, path, None);
                    path.truncate(length);
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
        self.out.extend(notes.into_iter().map(|note| format!("Note on {path}: {note}")));
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
        Some(outcome) => format!("{what}: {outcome}"),
        None => {
            let claimed =
                hold.claimed.as_ref().map(|claimed| format!(", claimed by {}", claimed.by)).unwrap_or_default();
            let tier = describe::tier_word(entry.risk.tier).to_lowercase();
            format!(
                "{what}: {}, {tier} risk, {} left{claimed}",
                describe::summary(hold),
                spoken(entry.seconds_left(now))
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
