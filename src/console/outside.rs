//! What the console does beside its screen, at a key: the rule in the operator's editor, a hold or the history in a file.
//! Here it is decided what; `terminal` and the loop do it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::app::{App, Effect};
use super::draft::{self, Draft, Makes};
use super::keys::Page;
use super::pages::Pages;
use super::risk::Scored;
use super::visible;
use crate::control::wire::HoldView;

/// Opens the rule that held the selected call, or that the cursor is on.
pub(super) fn edit(app: &mut App) -> Vec<Effect> {
    if app.owns_daemon {
        app.complain("the daemon runs in this terminal: an editor that is suspended would stop it");
        return Vec::new();
    }
    let rule = match app.page {
        Page::Queue => app.selected().and_then(|entry| entry.view.rules.first()).map(|hit| (&hit.file, hit.line)),
        Page::Policy => {
            let mut rules = app.pages.rules.iter().flatten();
            rules.nth(app.pages.row(Page::Policy)).and_then(|rule| Some((rule.file.as_ref()?, rule.line? as usize)))
        }
        Page::History | Page::Sessions => None,
    };
    let Some((file, line)) = rule else {
        app.complain("no rule with a file is selected");
        return Vec::new();
    };
    match rule_file(file) {
        Ok(file) => vec![Effect::Edit { file, line }],
        Err(text) => {
            app.complain(text);
            Vec::new()
        }
    }
}

/// The file of a rule, where it can be opened from here.
///
/// # Errors
/// In words that have passed the escape function.
pub fn rule_file(file: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(file);
    // The daemon's own, or a name that means another file from here.
    let why = "is no path to open: it is built in, or relative to where the daemon runs";
    if path.is_absolute() { Ok(path) } else { Err(format!("{} {why}", visible::line(file))) }
}

/// The program and its arguments that show a line of a file: `VISUAL`, else `EDITOR`, else vi.
pub fn editor(variable: impl Fn(&str) -> Option<String>, file: &Path, line: usize) -> Vec<String> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let wanted = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let mut argv: Vec<_> = wanted.split_whitespace().map(str::to_owned).collect();
    let name = argv.first().and_then(|program| Path::new(program).file_name()?.to_str()).unwrap_or_default();
    let file = file.display().to_string();
    match name {
        "vi" | "vim" | "nvim" | "view" | "nano" | "emacs" | "emacsclient" | "kak" | "joe" | "micro" | "ne" | "mg" => {
            argv.extend([format!("+{}", line.max(1)), file]);
        }
        "hx" | "helix" => argv.push(format!("{file}:{}", line.max(1))),
        _ => argv.push(file),
    }
    argv
}

/// Drafts a rule from the selected hold.
pub(super) fn draft(app: &mut App) -> Vec<Effect> {
    let Some(hold) = app.selected().map(|entry| &entry.view) else {
        app.complain("no hold is selected");
        return Vec::new();
    };
    match draft::draft(hold, Makes::Hold) {
        Ok(draft) => vec![Effect::Draft { draft: Box::new(draft), loaded: draft::loaded(hold) }],
        Err(why) => {
            app.complain(why);
            Vec::new()
        }
    }
}

/// Writes a draft into the drafts folder. What came of it, and the file to be shown.
pub fn write(
    draft: &Draft,
    loaded: &[PathBuf],
    variable: impl Fn(&str) -> Option<OsString>,
) -> (Result<String, String>, Option<Effect>) {
    let written = draft::folder(variable).and_then(|folder| draft::write(draft, &folder, loaded));
    match written {
        Ok([(file, fresh), _]) => {
            let verb = if fresh { "drafted" } else { "drafted before, and left as it is" };
            let words = format!("{verb}: {}, loaded by nobody", file.display());
            (Ok(words), Some(Effect::Edit { file, line: draft.line }))
        }
        Err(why) => (Err(why), None),
    }
}

/// Writes the selected hold, or the records that are known and that the filter takes.
pub(super) fn export(app: &mut App) -> Vec<Effect> {
    let made = match app.page {
        Page::Queue => app.selected().and_then(|entry| of_hold(&entry.view)),
        Page::History => of_records(&app.pages, app.now.wall),
        Page::Sessions | Page::Policy => None,
    };
    match made {
        Some((name, text)) => vec![Effect::Export { name, text }],
        None => {
            app.complain("there is nothing here to export: a call of the queue, or the history");
            Vec::new()
        }
    }
}

/// The name and the text of a file with a hold.
pub(super) fn of_hold(hold: &HoldView) -> Option<(String, String)> {
    Some((format!("hold-{}.json", hold.id), ascii(&Scored::of(hold))? + "\n"))
}

/// The same of the records that are known and that the filter takes, where there are any.
pub(super) fn of_records(pages: &Pages, wall: Timestamp) -> Option<(String, String)> {
    let lines: String = pages.records().map(|record| Some(ascii(record)? + "\n")).collect::<Option<_>>()?;
    (!lines.is_empty()).then(|| (format!("history-{}.ndjson", wall.strftime("%Y%m%dT%H%M%SZ")), lines))
}

/// JSON in one line, with nothing but ASCII: whatever a terminal would hide or draw oddly is spelled, which is the same
/// value.
pub(super) fn ascii(value: &impl Serialize) -> Option<String> {
    let text = serde_json::to_string(value).ok()?;
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            ' '..='~' => out.push(letter),
            other => other.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_is_told_the_line_where_it_takes_one() {
        let of = |set: &'static [(&str, &str)]| {
            let variable =
                move |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            editor(variable, Path::new("/p/a b.rego"), 9)
        };
        assert_eq!(of(&[]), ["vi", "+9", "/p/a b.rego"]);
        assert_eq!(of(&[("EDITOR", "nano")]), ["nano", "+9", "/p/a b.rego"]);
        assert_eq!(of(&[("VISUAL", "/usr/bin/hx"), ("EDITOR", "nano")]), ["/usr/bin/hx", "/p/a b.rego:9"]);
        assert_eq!(of(&[("VISUAL", " "), ("EDITOR", "code --wait")]), ["code", "--wait", "/p/a b.rego"]);
    }

    #[test]
    fn what_is_exported_is_ascii_and_the_same_value() {
        let value = "a\u{202e}手\u{1f600}\u{7f}\n";
        let text = ascii(&value).unwrap();
        assert!(text.is_ascii() && !text.contains('\u{7f}'), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }
}
