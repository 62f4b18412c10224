//! The daemon behind the operator socket: there, of this version, and running with this configuration.

use std::collections::BTreeSet;

use super::finding::{Finding, count, place};
use super::ground::{Ground, NoDaemon, Seen};
use crate::config::Config;
use crate::control::client::ControlError;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn check(ground: &Ground) -> Vec<Finding> {
    let at = ground.sockets.as_deref().map(|folder| place(&folder.join("operator.sock"))).unwrap_or_default();
    match &ground.daemon {
        Ok(seen) => judged(seen, ground.config.as_ref(), &ground.with_config("countersign policy check"), &at),
        Err(why) => vec![absent(why, &ground.with_config("countersign serve"), &at)],
    }
}

fn absent(why: &NoDaemon, serve: &str, at: &str) -> Finding {
    let same = "stop it, and start this version: countersign serve";
    match why {
        NoDaemon::NoFolder => {
            Finding::problem("", why.to_string()).run("export COUNTERSIGN_RUNTIME_DIR=~/.local/state/countersign/run")
        }
        NoDaemon::Silent => Finding::problem(at, why.to_string()).run("look at its log, and start it again"),
        NoDaemon::Control(ControlError::Unreachable { .. }) => {
            Finding::problem(at, "no daemon answers: every client is told so").run(serve)
        }
        NoDaemon::Control(ControlError::Foreign { owner, .. }) => {
            Finding::problem(at, why.to_string()).run(format!("sudo -u '#{owner}' countersign doctor"))
        }
        NoDaemon::Control(ControlError::Version { .. } | ControlError::Wire(_) | ControlError::Refused(_)) => {
            Finding::problem(at, why.to_string()).run(same)
        }
        NoDaemon::Control(ControlError::Closed | ControlError::Io(_) | ControlError::TooLong(_)) => {
            Finding::problem(at, why.to_string()).run("look at its log")
        }
    }
}

fn judged(seen: &Seen, config: Option<&Config>, check: &str, at: &str) -> Vec<Finding> {
    let daemon = &seen.daemon;
    let mut found = Vec::new();
    if daemon.version == VERSION {
        let records = count(usize::try_from(daemon.records).unwrap_or(usize::MAX), "record");
        let text = format!("answers; version {VERSION}, as this program; {records}");
        found.push(Finding::ok(at, text));
    } else {
        let text = format!("runs version {}, and this is {VERSION}", daemon.version);
        found.push(Finding::warning(at, text).run("stop it, and start this version: countersign serve"));
    }
    if let Some(config) = config {
        let running: BTreeSet<&str> = daemon.servers.iter().map(|server| server.name.as_str()).collect();
        let written: BTreeSet<&str> = config.servers.keys().map(String::as_str).collect();
        let differ: Vec<&str> = running.symmetric_difference(&written).copied().collect();
        if !differ.is_empty() {
            let text =
                format!("it does not run with this configuration: they differ in the servers {}", differ.join(", "));
            found.push(Finding::warning(at, text).run("stop it, and start it with this file"));
        }
    }
    if let Some(error) = &daemon.policy_error {
        let first = error.lines().next().unwrap_or_default();
        let text = format!("the last change of the policies is refused, an earlier version is in force: {first}");
        found.push(Finding::problem("", text).run(check));
    }
    if let Some(frozen) = &daemon.frozen {
        let text = format!("frozen by {}: every call that is not a read is held", frozen.by);
        found.push(Finding::note("", text).run("countersign unfreeze"));
    }
    if !daemon.guessed.is_empty() {
        let text = format!(
            "pieces of {} were in what servers said, as if somebody guessed it: answers with more of them are kept back \
             until the key is another one",
            daemon.guessed.join(", ")
        );
        found.push(Finding::problem("", text).run("look at the record (kind refused), and replace the key"));
    }
    if daemon.consoles == 0 {
        let text = "no console is attached: calls that need a person are refused after the grace";
        found.push(Finding::note("", text).run("countersign console"));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::super::finding::Level;
    use super::*;
    use crate::call::Digest;
    use crate::control::wire::{Daemon, Frozen};

    pub fn seen() -> Seen {
        let daemon = Daemon {
            version: VERSION.to_owned(),
            instance: Digest::of_bytes(b""),
            servers: Vec::new(),
            policy_version: String::new(),
            rules: 1,
            policy_error: None,
            policy_warnings: Vec::new(),
            guessed: Vec::new(),
            consoles: 1,
            operators: Vec::new(),
            frozen: None,
            unsigned_rulings: false,
            unsafe_default_allow: false,
            http: None,
            batches: false,
            records: 3,
        };
        Seen { daemon, tools: BTreeMap::new() }
    }

    fn says(seen: &Seen) -> Vec<(Level, String)> {
        let text = "version: 1\nservers: { a: { environment: sandbox, upstream: { stdio: { command: a } } } }\n\
                    principals: [{ name: x, match: { uid: 1 }, scopes: [] }]\n";
        let config = crate::config::parse(text, Path::new("/c/countersign.yaml")).unwrap();
        let found = judged(seen, Some(&config), "countersign policy check", "socket");
        found.into_iter().map(|finding| (finding.level, finding.text)).collect()
    }

    #[test]
    fn each_thing_that_is_wrong_with_a_daemon_is_said() {
        let mut well = seen();
        assert!(says(&well).iter().any(|(level, text)| *level == Level::Warning && text.contains("servers a")));
        well.daemon.version = "0.0.1".to_owned();
        well.daemon.policy_error = Some("broken rule\nhelp: x".to_owned());
        well.daemon.frozen = Some(Frozen { by: "anna".to_owned(), at: String::new(), reason: None });
        well.daemon.consoles = 0;
        well.daemon.guessed = vec!["stripe_live".to_owned()];
        let said = says(&well);
        for (level, words) in [
            (Level::Warning, "runs version 0.0.1"),
            (Level::Problem, "in force: broken rule"),
            (Level::Note, "frozen by anna"),
            (Level::Problem, "pieces of stripe_live"),
            (Level::Note, "no console"),
        ] {
            assert!(said.iter().any(|(found, text)| *found == level && text.contains(words)), "{words}: {said:?}");
        }
        assert!(!says(&seen()).iter().any(|(_, text)| text.contains("console") || text.contains("frozen")));
    }

    #[test]
    fn each_way_not_to_answer_has_its_command() {
        let io = || std::io::Error::other("x");
        let path = PathBuf::from("/x");
        for (why, command) in [
            (NoDaemon::NoFolder, "export COUNTERSIGN_RUNTIME_DIR"),
            (ControlError::Unreachable { path: path.clone(), source: io() }.into(), "serve --config F"),
            (ControlError::Foreign { path, owner: 7, me: 8 }.into(), "sudo -u '#7'"),
            (ControlError::Version { theirs: 1, ours: 2 }.into(), "this version"),
            (ControlError::Closed.into(), "log"),
            (NoDaemon::Silent, "log"),
        ] {
            let found = absent(&why, "countersign serve --config F", "/run/operator.sock");
            assert_eq!(found.level, Level::Problem);
            assert!(found.command.as_deref().is_some_and(|said| said.contains(command)), "{found:?}");
        }
    }
}
