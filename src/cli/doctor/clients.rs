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
    #[serde(default)]
    http: bool,
    keys: usize,
    problem: Option<String>,
    record: Option<String>,
}

/// How many entries of this home name countersign: their clients run under this account. Nothing where that is not known.
pub fn through_us(ground: &Ground) -> Option<usize> {
    let listed: Listed = serde_json::from_str(&listing(ground)?).ok()?;
    let ours = |entry: &&Entry| matches!(entry.state.as_str(), "wrapped" | "ours" | "edited");
    let count = listed.entries.iter().filter(ours).count();
    // A file that could not be read may have one.
    (count > 0 || listed.unread.is_empty()).then_some(count)
}

/// `wrap ls`, of the configuration that is looked at.
fn listing(ground: &Ground) -> Option<String> {
    let file = ground.file.as_ref().map(|file| file.display().to_string());
    let config = file.iter().flat_map(|file| ["--config", file]);
    let words: Vec<&str> = ["wrap", "ls", "-o", "json"].into_iter().chain(config).collect();
    asked(ground, &words)
}

/// Entries that hold a key, or go around countersign; of `wanted` clients only, where some are named.
pub fn entries(ground: &Ground, wanted: &[String]) -> Vec<Finding> {
    let look = ground.with_config("countersign wrap ls");
    let Some(text) = listing(ground) else {
        let unseen = |about: &str| {
            Finding::warning(about, "the clients' files could not be looked at: what is in them is not known")
                .run(&look)
        };
        return if wanted.is_empty() { vec![unseen("")] } else { wanted.iter().map(|name| unseen(name)).collect() };
    };
    match serde_json::from_str(&text) {
        Ok(listed) => listed_entries(&listed, wanted, &|command| ground.with_config(command)),
        Err(error) => {
            vec![Finding::warning("", format!("the clients' entries cannot be read: {error}")).run(look)]
        }
    }
}

/// `with` names the configuration in a command.
fn listed_entries(listed: &Listed, wanted: &[String], with: &dyn Fn(&str) -> String) -> Vec<Finding> {
    let look = || with("countersign wrap ls");
    let mut found: Vec<Finding> =
        listed.unread.iter().map(|why| Finding::warning("", why.as_str()).run(look())).collect();
    let is_wanted = |client: &str| wanted.is_empty() || wanted.iter().any(|name| name == client);
    for name in wanted.iter().filter(|name| !listed.entries.iter().any(|entry| entry.client == **name)) {
        let text = "this client has no entry that could be looked at";
        let command = format!("countersign wrap {} --server NAME", quoted(name));
        found.push(Finding::warning(name, text).run(with(&command)));
    }
    let mut around = 0;
    for entry in listed.entries.iter().filter(|entry| is_wanted(&entry.client)) {
        match entry.state.as_str() {
            "wrapped" | "ours" | "edited" => found.extend(through(entry, with)),
            _ if entry.keys == 0 && entry.problem.is_none() => around += 1,
            _ => found.push(goes_around(entry, with)),
        }
    }
    if around > 0 {
        let text = format!(
            "{around} without a key: they go around countersign; where the client signs in by itself, its sign-in counts as one"
        );
        found.push(Finding::note("", text).run(look()));
    }
    found
}

impl Entry {
    fn about(&self) -> String {
        format!("{} {} in {}", self.client, self.name, self.file)
    }

    /// `wrap` or `unwrap` of it.
    fn command(&self, word: &str) -> String {
        format!("countersign {word} {} --server {}", self.client, quoted(&self.name))
    }
}

/// Of an entry that names countersign: whether it gets there, and whether a key was left beside.
fn through(entry: &Entry, with: &dyn Fn(&str) -> String) -> Vec<Finding> {
    let mut found = Vec::new();
    if entry.keys > 0 {
        let text = format!("it names countersign, and has {} in the clear beside", count(entry.keys, "key"));
        let help = format!("take it out of {}, and replace it at the vendor: whoever read the file has it", entry.file);
        found.push(Finding::problem(entry.about(), text).run(help));
    }
    match (entry.state.as_str(), &entry.problem) {
        ("edited", _) => {
            let text = "somebody has changed it since it was wrapped; what it was, without its keys, is kept";
            let record = entry.record.as_deref().map_or_else(|| "its record".to_owned(), quoted);
            let command = format!("rm {record}   # where the entry is as it should be");
            found.push(Finding::warning(entry.about(), text).run(command));
        }
        (state, Some(why)) => {
            let text = format!("it names countersign, and does not get there: {why}");
            let command = if state == "wrapped" {
                // By the way that it had.
                let again = entry.command("wrap") + if entry.http { " --http" } else { "" };
                format!("{} && {}", with(&entry.command("unwrap")), with(&again))
            } else {
                format!("correct the entry in {}", entry.file)
            };
            found.push(Finding::problem(entry.about(), text).run(command));
        }
        (_, None) if entry.keys == 0 => found.push(Finding::ok(entry.about(), "goes through countersign")),
        (_, None) => {}
    }
    found
}

fn goes_around(entry: &Entry, with: &dyn Fn(&str) -> String) -> Finding {
    let look = with("countersign wrap ls");
    match (entry.keys, &entry.problem) {
        (0, why) => {
            let why = why.as_deref().unwrap_or_default();
            let text = format!("goes around countersign, and cannot be wrapped as it is: {why}");
            Finding::note(entry.about(), text).run(look)
        }
        (keys, Some(why)) => {
            let keys = count(keys, "key");
            let text =
                format!("goes around countersign, with {keys} in the clear, and cannot be wrapped as it is: {why}");
            Finding::problem(entry.about(), text).run(look)
        }
        (keys, None) => {
            let text = format!("goes around countersign, with {} in the clear", count(keys, "key"));
            Finding::problem(entry.about(), text).run(with(&entry.command("wrap")))
        }
    }
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
        let some = ground.config.as_ref().is_some_and(|config| config.sign_ins().next().is_some());
        let unseen = Finding::warning("", "whether the servers are signed in to is not known: nothing could say it");
        return if some { vec![unseen.run(ground.with_config("countersign auth status"))] } else { Vec::new() };
    };
    match serde_json::from_str::<SignIns>(&text) {
        Ok(read) => read.sign_ins.iter().map(|one| signed_in(one, file)).collect(),
        Err(error) => {
            vec![Finding::warning("", format!("the sign-ins cannot be read: {error}")).run("countersign auth status")]
        }
    }
}

fn signed_in(one: &SignIn, file: &Path) -> Finding {
    if one.state == "by_itself" {
        return Finding::note(&one.server, "countersign signs in by itself; a daemon that runs says how that stands");
    }
    if one.state == "failed" {
        let why = one.reason.as_deref().unwrap_or_default();
        let command = format!("countersign auth status {} --config {}", one.server, super::finding::shell(file));
        return Finding::problem(&one.server, format!("countersign cannot sign in by itself: {why}")).run(command);
    }
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
                "keys": keys, "problem": problem, "record": (state == "edited").then_some("/r/a b.json")})
        };
        let mut by_http = entry("l", "wrapped", 0, Some("its token is nobody's"));
        by_http["http"] = true.into();
        let entries = [
            entry("a", "wrapped", 0, None),
            entry("b", "edited", 0, Some("edited")),
            entry("c d", "open", 2, None),
            entry("e", "blocked", 0, Some("the old transport")),
            entry("f", "open", 0, None),
            entry("g", "blocked", 1, Some("an argument")),
            entry("h", "wrapped", 1, None),
            entry("i", "ours", 0, Some("no server `x`")),
            entry("j", "wrapped", 0, Some("no server `y`")),
            entry("k", "edited", 3, Some("edited")),
            by_http,
        ];
        serde_json::from_value(serde_json::json!({"schema": "x", "entries": entries, "unread": ["/g: not JSON"]}))
            .unwrap()
    }

    #[test]
    fn an_entry_that_goes_around_countersign_is_said_with_what_wraps_it() {
        let with = |command: &str| format!("{command} --config F");
        let found = listed_entries(&listed(), &[], &with);
        let of =
            |words: &str| found.iter().find(|finding| format!("{}: {}", finding.about, finding.text).contains(words));
        for (words, level, command) in [
            ("cursor a in /f: goes through", Level::Ok, ""),
            ("cursor b in /f: somebody has changed", Level::Warning, "rm '/r/a b.json'"),
            ("with 2 keys in the clear", Level::Problem, "wrap cursor --server 'c d' --config F"),
            ("the old transport", Level::Note, "wrap ls --config F"),
            ("cursor g in /f: goes around countersign, with 1 key in the clear, and", Level::Problem, "wrap ls"),
            ("cursor h in /f: it names countersign, and has 1 key", Level::Problem, "take it out of /f"),
            ("cursor i in /f: it names countersign, and does not", Level::Problem, "correct the entry in /f"),
            ("no server `y`", Level::Problem, "unwrap cursor --server j --config F && countersign wrap cursor"),
            ("cursor k in /f: it names countersign, and has 3 keys", Level::Problem, "replace it"),
            ("its token is nobody's", Level::Problem, "wrap cursor --server l --http --config F"),
            ("1 without a key", Level::Note, "wrap ls"),
            ("/g: not JSON", Level::Warning, "wrap ls"),
        ] {
            let finding = of(words).unwrap_or_else(|| panic!("{words}: {found:?}"));
            assert_eq!(finding.level, level, "{words}");
            assert!(finding.command.as_deref().unwrap_or_default().contains(command), "{finding:?}");
        }
        assert_eq!(found.iter().filter(|finding| finding.level == Level::Ok).count(), 1, "{found:?}");
        let other = listed_entries(&listed(), &["zed".to_owned()], &with);
        assert!(
            other.iter().any(|finding| finding.about == "zed") && !other.iter().any(|f| f.about.contains("cursor"))
        );
    }

    #[test]
    fn what_could_not_be_asked_is_said() {
        let text = "version: 1\nstate_dir: /s\nservers:\n  s: { environment: test, upstream: { http: { url: \
                    \"https://x.example\", auth: oauth } } }\nprincipals: [{ name: a, match: { uid: 1 }, scopes: [] }]\n";
        let file = std::path::PathBuf::from("/c.yaml");
        let ground = Ground {
            me: 0,
            config: Some(crate::config::parse(text, &file).unwrap()),
            file: Some(file),
            refused: None,
            secrets: std::collections::BTreeMap::new(),
            sockets: None,
            daemon: Err(super::super::ground::NoDaemon::NoFolder),
            program: "/bin/false".into(),
        };
        for found in [entries(&ground, &[]), entries(&ground, &["zed".to_owned()]), sign_ins(&ground)] {
            let [one] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(one.level, Level::Warning);
            assert!(one.command.as_ref().unwrap().ends_with(" --config /c.yaml"), "{one:?}");
        }
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
        let failed = signed_in(&one("failed"), Path::new("/c.yaml"));
        assert_eq!(failed.text, "countersign cannot sign in by itself: the token has ended");
        assert_eq!((failed.level, failed.command.is_some()), (Level::Problem, true));
        assert_eq!(signed_in(&one("by_itself"), Path::new("/c.yaml")).level, Level::Note);
    }
}
