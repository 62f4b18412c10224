//! The story as text: who said what, what was checked, at most 80 columns wide. It only writes strings; the command
//! line prints them.
//!
//! Invariant: nothing that a server, an agent or an operator wrote can control the terminal.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use unicode_width::UnicodeWidthStr;

/// Widest line.
const WIDTH: usize = 80;
/// Where the words of a line start.
const INDENT: usize = 13;
/// Where the words of a record start.
const RECORD_INDENT: usize = 21;
/// Lines that are kept; the scripts need fewer than fifty.
const MAX_LINES: usize = 500;
/// Queue to whoever prints lines as they come.
pub const LIVE: usize = 512;

/// Who speaks in a line of the transcript.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Voice {
    /// The agent, to itself or to its user.
    Agent,
    /// A tool call as the agent made it.
    Calls,
    /// What came back.
    Hears,
    /// What came back where the call was not made.
    Refused,
    /// What the agent hears while a call is held.
    Waits,
    /// The scripted operator.
    Operator,
}

impl Voice {
    fn label(self) -> &'static str {
        match self {
            Voice::Agent => "agent",
            Voice::Calls => "  calls",
            Voice::Hears => "  hears",
            Voice::Refused => "  refused",
            Voice::Waits => "  waits",
            Voice::Operator => "operator",
        }
    }

    /// Escape sequence for the label.
    fn color(self) -> &'static str {
        match self {
            Voice::Agent => "\x1b[1m",
            Voice::Calls | Voice::Hears => "\x1b[2m",
            Voice::Refused => "\x1b[31m",
            Voice::Waits => "\x1b[33m",
            Voice::Operator => "\x1b[32m",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub voice: Voice,
    pub text: String,
}

/// What was said, in order. Cheap to clone: all clones are the same transcript.
#[derive(Clone, Debug)]
pub struct Transcript {
    lines: Arc<Mutex<Vec<Line>>>,
    live: Option<mpsc::Sender<Line>>,
}

impl Transcript {
    /// `live` gets every line as it is said.
    pub fn new(live: Option<mpsc::Sender<Line>>) -> Transcript {
        Transcript { lines: Arc::default(), live }
    }

    pub fn add(&self, voice: Voice, text: impl Into<String>) {
        let line = Line { voice, text: text.into() };
        if let Some(live) = &self.live {
            // A reader that is too slow misses the line now and still gets it in `lines`.
            let _ = live.try_send(line.clone());
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MAX_LINES {
            lines.push(line);
        }
    }

    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Something that has to be true at the end of the scripted run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub what: &'static str,
    /// Absent where it is as told.
    pub deviation: Option<Deviation>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deviation {
    pub expected: String,
    pub found: String,
}

impl Check {
    /// Compares; both sides are shown where they differ.
    pub fn equal<T: PartialEq + std::fmt::Debug>(what: &'static str, expected: &T, found: &T) -> Check {
        let deviation =
            (expected != found).then(|| Deviation { expected: format!("{expected:?}"), found: format!("{found:?}") });
        Check { what, deviation }
    }
}

/// A record of the audit, as far as the story tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub seq: u64,
    pub kind: String,
    /// Its JSON body.
    pub body: Value,
}

impl Recorded {
    /// The record in a few words. Kinds that the demo does not cause are told by their whole body.
    fn words(&self) -> String {
        let text = |pointer: &str| self.body.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
        let number = |pointer: &str| self.body.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        match self.kind.as_str() {
            "started" => format!("countersign {}", text("/version")),
            "stopped" => text("/reason").to_owned(),
            "decided" => {
                let rule = self.body.pointer("/decision/rules/0/rule").and_then(Value::as_str);
                let rule = rule.map(|rule| format!(" ({rule})")).unwrap_or_default();
                format!("{} {}: {}{rule}", text("/decision/effect"), text("/tool"), text("/decision/reason"))
            }
            "tools_seen" => {
                let count = |pointer: &str| self.body.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
                let (trusted, new, changed) = (count("/trusted"), count("/new"), count("/changed"));
                format!("{} lists its tools: {trusted} pinned, {new} new, {changed} changed", text("/server"))
            }
            "invalid" => format!("{}: {}", text("/tool"), text("/reason")),
            "held" => format!("until {}", text("/expires_at")),
            "ruled" => {
                let reason = self.body.pointer("/reason").and_then(Value::as_str);
                let reason = reason.map(|reason| format!(": \"{reason}\"")).unwrap_or_default();
                format!("{} by {}{reason}", text("/ruling"), text("/operator"))
            }
            "ruling_refused" => format!("by {}: {}", text("/operator"), text("/why")),
            "sending" => "the call leaves now".to_owned(),
            "completed" => {
                format!("{}, {} bytes after {} ms", text("/result"), number("/bytes"), number("/duration_ms"))
            }
            "closed" => format!("{}, not sent: {}", text("/outcome"), text("/reason")),
            _ => self.body.to_string(),
        }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub color: bool,
}

impl Style {
    pub fn heading(self, text: &str) -> String {
        if self.color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn line(self, line: &Line) -> String {
        self.labelled(line.voice.label(), line.voice.color(), &line.text)
    }

    pub fn check(self, check: &Check) -> String {
        match &check.deviation {
            None => self.labelled("ok", "\x1b[32m", check.what),
            Some(Deviation { expected, found }) => [
                self.labelled("NOT SO", "\x1b[31m", check.what),
                self.labelled("  expected", "", expected),
                self.labelled("  found", "", found),
            ]
            .join("\n"),
        }
    }

    /// A record of the audit.
    pub fn record(self, record: &Recorded) -> String {
        let label = format!("{:>3} {}", record.seq, record.kind);
        self.hanging(RECORD_INDENT, &label, "\x1b[2m", &record.words())
    }

    /// A label, then words that hang to its right.
    fn labelled(self, label: &str, color: &str, text: &str) -> String {
        self.hanging(INDENT, label, color, text)
    }

    fn hanging(self, indent: usize, label: &str, color: &str, text: &str) -> String {
        let reset = if color.is_empty() { "" } else { "\x1b[0m" };
        let mut out = String::new();
        for (number, line) in wrap(text, WIDTH - indent).into_iter().enumerate() {
            let left = if number == 0 { label } else { "" };
            if number > 0 {
                out.push('\n');
            }
            let pad = " ".repeat((indent - 2).saturating_sub(left.width()));
            if self.color && !left.is_empty() {
                out.push_str(&format!("  {color}{left}{reset}{pad}{line}"));
            } else {
                out.push_str(&format!("  {left}{pad}{line}"));
            }
        }
        out
    }
}

/// Breaks at spaces, after commas (JSON has no spaces), and inside whatever is longer than a line. At least one line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let text = plain(text);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        for (number, piece) in word.split_inclusive(',').enumerate() {
            let space = usize::from(number == 0 && used > 0);
            if used > 0 && used + space + piece.width() > width {
                lines.push(String::new());
                used = 0;
            } else if space > 0 {
                push(&mut lines, ' ');
                used += 1;
            }
            for letter in piece.chars() {
                let cell = unicode_width::UnicodeWidthChar::width(letter).unwrap_or(0);
                if used + cell > width {
                    lines.push(String::new());
                    used = 0;
                }
                push(&mut lines, letter);
                used += cell;
            }
        }
    }
    lines
}

fn push(lines: &mut [String], letter: char) {
    if let Some(line) = lines.last_mut() {
        line.push(letter);
    }
}

/// Line ends become spaces; every other character that does not simply show itself becomes its escape.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let invisible = unicode_width::UnicodeWidthChar::width(letter).unwrap_or(0) == 0;
        match letter {
            '\n' | '\t' => out.push(' '),
            _ if letter.is_control() || invisible || is_bidi(letter) => out.extend(letter.escape_unicode()),
            _ => out.push(letter),
        }
    }
    out
}

/// Characters that reorder their neighbours.
fn is_bidi(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLAIN: Style = Style { color: false };

    #[test]
    fn lines_hang_and_stay_within_the_width() {
        let line = Line { voice: Voice::Refused, text: format!("Denied by policy: {}", "reason ".repeat(30)) };
        for style in [PLAIN, Style { color: true }] {
            let text = style.line(&line);
            assert!(text.lines().count() > 2);
            let bare = text.replace("\x1b[31m", "").replace("\x1b[0m", "");
            assert!(bare.lines().all(|line| line.width() <= WIDTH), "{bare}");
            assert!(bare.starts_with("    refused  Denied by policy"), "{bare}");
        }
    }

    #[test]
    fn a_long_word_and_no_word_at_all_are_lines_too() {
        let long = PLAIN.labelled("x", "", &"a".repeat(200));
        assert_eq!(long.lines().count(), 3);
        assert!(long.lines().all(|line| line.width() <= WIDTH));
        assert_eq!(PLAIN.labelled("x", "", "").lines().count(), 1);
    }

    #[test]
    fn nothing_in_a_text_controls_the_terminal() {
        let shown = PLAIN.labelled("x", "", "a\x1b[2Jb\r\u{202e}c\u{200b}d\ne");
        assert!(!shown.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{shown:?}");
        assert!(shown.contains("\\u{1b}[2Jb\\u{d}\\u{202e}c\\u{200b}d e"), "{shown}");
    }

    #[test]
    fn a_deviation_shows_both_sides() {
        assert!(PLAIN.check(&Check::equal("one refund", &1, &1)).starts_with("  ok "));
        let text = PLAIN.check(&Check::equal("one refund", &1, &2));
        assert!(text.contains("NOT SO") && text.contains("expected 1") && text.contains("found    2"), "{text}");
    }

    #[test]
    fn records_are_told_in_words() {
        let told = |kind: &str, body: Value| PLAIN.record(&Recorded { seq: 7, kind: kind.into(), body });
        let decision = json!({"effect": "deny", "reason": "nothing allows it", "rules": [{"rule": "a.b"}]});
        let decided = told("decided", json!({"tool": "delete_customer", "decision": decision}));
        assert_eq!(decided, "    7 decided        deny delete_customer: nothing allows it (a.b)");
        let ruled = told("ruled", json!({"ruling": "reject", "operator": "ann", "reason": "no"}));
        assert_eq!(ruled, "    7 ruled          reject by ann: \"no\"");
        let completed = told("completed", json!({"result": "ok", "bytes": 12, "duration_ms": 3}));
        assert!(completed.ends_with("ok, 12 bytes after 3 ms"), "{completed}");
        assert!(told("gap", json!({"refused": 2})).ends_with("{\"refused\":2}"));
        assert!(told("closed", json!({})).contains('?'), "a body of another shape is told, not hidden");
    }

    #[test]
    fn a_transcript_is_told_as_it_happens_and_kept() {
        let (live, mut heard) = mpsc::channel(1);
        let transcript = Transcript::new(Some(live));
        transcript.add(Voice::Agent, "one");
        transcript.clone().add(Voice::Agent, "two");
        assert_eq!(heard.try_recv().unwrap().text, "one");
        assert!(heard.try_recv().is_err(), "a full queue holds nobody up");
        assert_eq!(transcript.lines().len(), 2);
        (0..MAX_LINES + 5).for_each(|_| transcript.add(Voice::Agent, "more"));
        assert_eq!(transcript.lines().len(), MAX_LINES);
    }
}
