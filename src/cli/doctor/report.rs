//! How findings are shown: to people, aligned and short, and to scripts.
//!
//! Invariant: every text passes the escape function.

use std::fmt::Write as _;

use serde_json::json;

use super::Checked;
use super::finding::{Act, Finding, Level, count};
use crate::console::visible;

const SCHEMA: &str = "countersign.doctor/v1";
/// Columns of the name of a check and of a level.
const NAME: usize = 12;
const LEVEL: usize = 9;

/// What `--fix` did, and what it could not do.
pub struct Fixed {
    pub act: Act,
    pub failed: Option<String>,
}

/// How many there are of each level.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    pub problems: usize,
    pub warnings: usize,
    pub notes: usize,
    pub ok: usize,
}

impl Tally {
    pub fn of(checked: &[Checked]) -> Tally {
        let mut tally = Tally::default();
        for finding in checked.iter().flat_map(|checked| &checked.findings) {
            match finding.level {
                Level::Ok => tally.ok += 1,
                Level::Note => tally.notes += 1,
                Level::Warning => tally.warnings += 1,
                Level::Problem => tally.problems += 1,
            }
        }
        tally
    }
}

/// A check's findings as lines. `styled`: with colours.
pub fn lines(name: &str, findings: &[Finding], styled: bool) -> String {
    let mut out = String::new();
    for (n, finding) in findings.iter().enumerate() {
        let name = if n == 0 { name } else { "" };
        let colon = if finding.about.is_empty() { "" } else { ": " };
        let text = visible::line(&format!("{}{colon}{}", finding.about, finding.text));
        let level = painted(finding.level, styled);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:<NAME$}{level}{text}");
        if let (Some(command), true) = (&finding.command, finding.level > Level::Ok) {
            let _ = writeln!(out, "{:width$}fix: {}", "", visible::line(command), width = NAME + LEVEL);
        }
    }
    out
}

fn painted(level: Level, styled: bool) -> String {
    let padded = format!("{:<LEVEL$}", level.as_str());
    let colour = match level {
        Level::Ok => "32",
        Level::Note => "36",
        Level::Warning => "33",
        Level::Problem => "1;31",
    };
    if styled { format!("\x1b[{colour}m{padded}\x1b[0m") } else { padded }
}

pub fn fixed(fixed: &Fixed) -> String {
    let command = visible::line(&fixed.act.command());
    match &fixed.failed {
        None => format!("{:<NAME$}{:<LEVEL$}{command}", "fix", "done"),
        Some(why) => format!("{:<NAME$}{:<LEVEL$}{command}: {}", "fix", "failed", visible::line(why)),
    }
}

/// The last line.
pub fn summary(tally: Tally) -> String {
    let Tally { problems, warnings, notes, ok } = tally;
    let parts = [count(problems, "problem"), count(warnings, "warning"), count(notes, "note"), format!("{ok} ok")];
    parts.join(", ")
}

/// `countersign.doctor/v1`.
pub fn json(checked: &[Checked], fixed: &[Fixed], config: Option<&str>) -> serde_json::Value {
    let tally = Tally::of(checked);
    let findings = checked.iter().flat_map(|checked| {
        checked.findings.iter().map(|finding| {
            json!({
                "check": checked.name, "level": finding.level, "about": finding.about, "text": finding.text,
                "fix": finding.command, "fixable": finding.act.is_some(),
            })
        })
    });
    let done = fixed.iter().map(|fixed| json!({"command": fixed.act.command(), "failed": fixed.failed}));
    json!({
        "schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "config": config,
        "problems": tally.problems, "warnings": tally.warnings, "notes": tally.notes, "ok": tally.ok,
        "findings": findings.collect::<Vec<_>>(), "fixed": done.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked() -> Checked {
        let findings = vec![
            Finding::ok("/c", "2 servers"),
            Finding::problem("x\u{1b}[2J", "it says \u{202e}evil").run("chmod 600 'a\u{7}b'"),
        ];
        Checked { name: "files", findings }
    }

    #[test]
    fn a_text_from_elsewhere_reaches_no_terminal_raw() {
        let shown = lines("files", &checked().findings, false);
        assert_eq!(
            shown,
            "files       ok       /c: 2 servers\n            problem  x⟨U+001B⟩[2J: it says ⟨U+202E⟩evil\n\
             \u{20}                    fix: chmod 600 'a⟨U+0007⟩b'\n"
        );
        assert!(lines("files", &checked().findings, true).contains("\x1b[32mok       \x1b[0m"));
    }

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(Tally::of(&[checked()])), "1 problem, 0 warnings, 0 notes, 1 ok");
        let json = json(&[checked()], &[], None);
        assert_eq!((json["schema"].as_str(), json["problems"].as_u64()), (Some(SCHEMA), Some(1)));
        assert_eq!(json["findings"][1]["level"], "problem");
    }
}
