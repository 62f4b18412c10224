//! What MCP clients have in their files, and which servers wait for a sign-in: both as the commands say it whose business
//! it is (`wrap ls`, `auth status`), by their JSON.

use std::path::Path;

use serde::Deserialize;

use super::finding::{Finding, count};
use super::ground::Ground;
use super::run;
use crate::cli::quoted;

/// `countersign.wrap.ls/v1`.
#[derive(Deserialize)]
struct Listed {
    entries: Vec<Entry>,
    unread: Vec<String>,
}

#[derive(Deserialize)]
struct Entry {
    client: String,
    name: String,
    file: String,
    state: String,
    keys: usize,
    problem: Option<String>,
}

/// Entries that hold a key, or go around countersign; of `wanted` clients only, where some are named.
pub fn entries(ground: &Ground, wanted: &[String]) -> Vec<Finding> {
    let Some(text) = asked(ground, &["wrap", "ls", "-o", "json"]) else {
        let unseen = |name: &String| {
            Finding::warning(name, "the clients' files could not be looked at").run("countersign wrap ls")
        };
        return wanted.iter().map(unseen).collect();
    };
    match serde_json::from_str(&text) {
        Ok(listed) => listed_entries(&listed, wanted),
        Err(error) => vec![
            Finding::warning("", format!("the clients' entries cannot be read: {error}")).run("countersign wrap ls"),
        ],
    }
}

fn listed_entries(listed: &Listed, wanted: &[String]) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        listed.unread.iter().map(|why| Finding::warning("", why.as_str()).run("countersign wrap ls")).collect();
    let is_wanted = |client: &str| wanted.is_empty() || wanted.iter().any(|name| name == client);
    for name in wanted.iter().filter(|name| !listed.entries.iter().any(|entry| entry.client == **name)) {
        let text = "this client has no entry that could be looked at";
        found.push(Finding::warning(name, text).run(format!("countersign wrap {} --server NAME", quoted(name))));
    }
    let mut around = 0;
    for entry in listed.entries.iter().filter(|entry| is_wanted(&entry.client)) {
        let about = format!("{} {} in {}", entry.client, entry.name, entry.file);
        let command = format!("countersign wrap {} --server {}", entry.client, quoted(&entry.name));
        match (entry.state.as_str(), entry.keys, &entry.problem) {
            ("wrapped" | "ours", ..) => found.push(Finding::ok(about, "goes through countersign")),
            ("edited", ..) => {
                let text = "somebody has changed it since it was wrapped";
                found.push(Finding::warning(about, text).run(command));
            }
            (_, keys, _) if keys > 0 => {
                let text = format!("goes around countersign, with {} in the clear", count(keys, "key"));
                found.push(Finding::problem(about, text).run(command));
            }
            (_, _, Some(why)) => {
                let text = format!("goes around countersign, and cannot be wrapped as it is: {why}");
                found.push(Finding::note(about, text).run("countersign wrap ls"));
            }
            (_, _, None) => around += 1,
        }
    }
    if around > 0 {
        let text = format!("{around} without a key: they go around countersign");
        found.push(Finding::note("", text).run("countersign wrap ls"));
    }
    found
}

/// `countersign.sign_ins/v1`.
#[derive(Deserialize)]
struct SignIns {
    sign_ins: Vec<SignIn>,
}

#[derive(Deserialize)]
struct SignIn {
    server: String,
    state: String,
    reason: Option<String>,
    token_expires_at: Option<String>,
}

/// Servers that are signed in to.
pub fn sign_ins(ground: &Ground) -> Vec<Finding> {
    let Some(file) = ground.file.as_deref().filter(|_| ground.refused.is_none()) else { return Vec::new() };
    let Some(text) = asked(ground, &["auth", "status", "-o", "json", "--config", &file.display().to_string()]) else {
        return Vec::new();
    };
    match serde_json::from_str::<SignIns>(&text) {
        Ok(read) => read.sign_ins.iter().map(|one| signed_in(one, file)).collect(),
        Err(error) => {
            vec![Finding::warning("", format!("the sign-ins cannot be read: {error}")).run("countersign auth status")]
        }
    }
}

fn signed_in(one: &SignIn, file: &Path) -> Finding {
    if one.state == "signed_in" {
        let until = one.token_expires_at.as_ref().map_or_else(String::new, |end| format!(", the token until {end}"));
        return Finding::ok(&one.server, format!("signed in{until}"));
    }
    let why = one.reason.as_deref().unwrap_or("nobody has signed in");
    let command = format!("countersign auth login {} --config {}", one.server, super::finding::shell(file));
    Finding::problem(&one.server, format!("a sign-in is needed: {why}")).run(command)
}

/// What a command of this program says; how it ends is part of what it says.
fn asked(ground: &Ground, words: &[&str]) -> Option<String> {
    let program = ground.program.display().to_string();
    let argv: Vec<&str> = std::iter::once(program.as_str()).chain(words.iter().copied()).collect();
    // Nothing: it could not say it in time, or there is nothing of this kind.
    run::own(&argv).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn listed() -> Listed {
        let entry = |name: &str, state: &str, keys: usize, problem: Option<&str>| {
            serde_json::json!({"client": "cursor", "scope": "user", "name": name, "file": "/f", "state": state,
                "keys": keys, "problem": problem})
        };
        let entries = [
            entry("a", "wrapped", 0, None),
            entry("b", "edited", 0, None),
            entry("c d", "open", 2, None),
            entry("e", "blocked", 0, Some("the old transport")),
            entry("f", "open", 0, None),
        ];
        serde_json::from_value(serde_json::json!({"schema": "x", "entries": entries, "unread": ["/g: not JSON"]}))
            .unwrap()
    }

    #[test]
    fn an_entry_that_goes_around_countersign_is_said_with_what_wraps_it() {
        let found = listed_entries(&listed(), &[]);
        let of =
            |words: &str| found.iter().find(|finding| format!("{}: {}", finding.about, finding.text).contains(words));
        for (words, level, command) in [
            ("cursor a in /f: goes through", Level::Ok, ""),
            ("cursor b in /f: somebody has changed", Level::Warning, "wrap cursor --server b"),
            ("with 2 keys in the clear", Level::Problem, "wrap cursor --server 'c d'"),
            ("the old transport", Level::Note, "wrap ls"),
            ("1 without a key", Level::Note, "wrap ls"),
            ("/g: not JSON", Level::Warning, "wrap ls"),
        ] {
            let finding = of(words).unwrap_or_else(|| panic!("{words}: {found:?}"));
            assert_eq!(finding.level, level, "{words}");
            assert!(finding.command.as_deref().unwrap_or_default().contains(command), "{finding:?}");
        }
        let other = listed_entries(&listed(), &["zed".to_owned()]);
        assert!(
            other.iter().any(|finding| finding.about == "zed") && !other.iter().any(|f| f.about.contains("cursor"))
        );
    }

    #[test]
    fn a_server_that_waits_for_a_sign_in_is_a_problem() {
        let one = |state: &str| SignIn {
            server: "s".to_owned(),
            state: state.to_owned(),
            reason: Some("the token has ended".to_owned()),
            token_expires_at: Some("2026-01-01T00:00:00Z".to_owned()),
        };
        let needed = signed_in(&one("sign_in_needed"), Path::new("/c.yaml"));
        assert_eq!((needed.level, needed.text.as_str()), (Level::Problem, "a sign-in is needed: the token has ended"));
        assert_eq!(needed.command.as_deref(), Some("countersign auth login s --config /c.yaml"));
        assert_eq!(signed_in(&one("signed_in"), Path::new("/c.yaml")).level, Level::Ok);
    }
}
