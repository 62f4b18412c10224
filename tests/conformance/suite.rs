//! Runs the suite's command and reads what it found; compares two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::harness::peers::{installed, node, source};

/// The suite's versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// 0.1.16: the legacy era, without frozen requirements.
    Old,
    /// 0.2.0-alpha.12: both eras.
    New,
}

impl Version {
    fn program(self) -> std::path::PathBuf {
        installed(match self {
            Version::Old => "npm/node_modules/conformance-0-1/dist/index.js",
            Version::New => "npm/node_modules/@modelcontextprotocol/conformance/dist/index.js",
        })
    }
}

/// How often a check came out in a status, without those that only inform.
type Checks = BTreeMap<(String, String), usize>;

/// What a run found, by scenario.
pub struct Found {
    scenarios: BTreeMap<String, Checks>,
    /// The suite's own words; they stay where a test fails.
    said: Option<NamedTempFile>,
}

#[derive(Deserialize)]
struct Check {
    id: String,
    status: String,
}

/// The suite against a server.
pub async fn server(version: Version, url: &str, which: &[&str]) -> Found {
    run(version, "server", &["--url", url], which, &[]).await
}

/// The suite against a client: `command` gets the suite's URL as its last argument. The suite starts all scenarios at
/// once, which no small machine has the room for, and which is no part of what is compared: the clients take turns.
pub async fn client(command: &str, which: &[&str], environment: &[(&str, &str)]) -> Found {
    let turn = tempfile::NamedTempFile::new().unwrap();
    let command = format!("flock {} {command}", turn.path().display());
    run(Version::New, "client", &["--command", &command, "--timeout", "240000"], which, environment).await
}

async fn run(version: Version, mode: &str, target: &[&str], which: &[&str], environment: &[(&str, &str)]) -> Found {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(node());
    command.arg(version.program()).arg(mode).args(target).args(which).arg("--output-dir").arg(out.path());
    command.envs(environment.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let done = command.output().await.unwrap();
    let kept = tempfile::Builder::new().prefix("conformance-").suffix(".log").tempfile_in(env!("CARGO_TARGET_TMPDIR"));
    let mut said = kept.unwrap();
    said.write_all(&done.stdout).and_then(|()| said.write_all(&done.stderr)).unwrap();
    let scenarios = read(out.path());
    assert!(!scenarios.is_empty(), "{command:?} found nothing: {}", kept_for_reading(said));
    Found { scenarios, said: Some(said) }
}

/// The words of a run that has failed, as a path.
fn kept_for_reading(said: NamedTempFile) -> String {
    said.keep().map(|(_, path)| path.display().to_string()).unwrap_or_else(|error| error.to_string())
}

impl Drop for Found {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(said) = self.said.take()
        {
            eprintln!("what the suite said: {}", kept_for_reading(said));
        }
    }
}

/// One folder for each scenario, named `[server-]SCENARIO-TIME`, in which names with a slash are folders too.
fn read(out: &Path) -> BTreeMap<String, Checks> {
    let mut found = BTreeMap::new();
    let mut folders = vec![out.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("checks.json") {
                let name = folder.strip_prefix(out).unwrap().to_str().unwrap();
                let name = name.strip_prefix("server-").unwrap_or(name);
                let (name, _time) = name.split_at(name.len() - "-2026-01-01T00-00-00-000Z".len());
                let checks: Vec<Check> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
                let mut counted = Checks::new();
                for check in checks.into_iter().filter(|check| check.status != "INFO") {
                    *counted.entry((check.id, check.status)).or_default() += 1;
                }
                assert!(found.insert(name.to_owned(), counted).is_none(), "{name} ran twice");
            }
        }
    }
    found
}

impl Found {
    pub fn scenarios(&self) -> impl Iterator<Item = &str> {
        self.scenarios.keys().map(String::as_str)
    }

    /// How many checks came out as a success.
    pub fn passed(&self) -> usize {
        self.passed_without(&[])
    }

    pub fn passed_without(&self, scenarios: &[&str]) -> usize {
        let counted = self.scenarios.iter().filter(|(name, _)| !scenarios.contains(&name.as_str()));
        let checks = counted.flat_map(|(_, checks)| checks);
        checks.filter(|((_, status), _)| status == "SUCCESS").map(|(_, count)| count).sum()
    }

    /// The scenarios in which anything came out worse than a success.
    pub fn imperfect(&self) -> BTreeSet<&str> {
        let bad = |checks: &Checks| checks.keys().any(|(_, status)| status == "FAILURE" || status == "WARNING");
        self.scenarios.iter().filter(|(_, checks)| bad(checks)).map(|(name, _)| name.as_str()).collect()
    }

    /// Every scenario that came out otherwise in `other`, with the words for a person.
    fn differences<'a>(&'a self, other: &'a Found) -> BTreeMap<&'a str, String> {
        let names: BTreeSet<&str> = self.scenarios().chain(other.scenarios()).collect();
        let none = Checks::new();
        let mut found = BTreeMap::new();
        for name in names {
            let (one, two) = (self.scenarios.get(name), other.scenarios.get(name));
            if one != two {
                let keys: BTreeSet<_> = one.unwrap_or(&none).keys().chain(two.unwrap_or(&none).keys()).collect();
                let of = |run: Option<&Checks>, key| run.and_then(|run| run.get(key)).copied().unwrap_or(0);
                let differing = keys.into_iter().filter(|key| of(one, key) != of(two, key));
                let lines = differing
                    .map(|key| format!("    {} {}: direct {}, through {}", key.0, key.1, of(one, key), of(two, key)));
                found.insert(name, lines.collect::<Vec<_>>().join("\n"));
            }
        }
        found
    }
}

/// A scenario that comes out otherwise through the proxy, and why that is right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// The runs that it is about, as the tests name them.
    runs: Vec<String>,
    scenarios: Vec<String>,
    reason: String,
}

/// Two runs are equal but for what the list explains, and the list explains nothing that is equal.
#[track_caller]
pub fn assert_equal(run: &str, direct: &Found, through: &Found) {
    let list = std::fs::read_to_string(source("tests/conformance/differences.yaml")).unwrap();
    let list: Vec<Difference> = serde_yaml::from_str(&list).unwrap();
    let mut explained = BTreeMap::new();
    for entry in list.iter().filter(|entry| entry.runs.iter().any(|name| name == run)) {
        assert!(!entry.reason.trim().is_empty(), "differences.yaml: {:?} has no reason", entry.scenarios);
        for scenario in &entry.scenarios {
            let twice = explained.insert(scenario.as_str(), entry.reason.as_str()).is_some();
            assert!(!twice, "differences.yaml: {scenario} is there twice for {run}");
        }
    }
    let found = direct.differences(through);
    let mut wrong = Vec::new();
    for (scenario, words) in &found {
        if !explained.contains_key(scenario) {
            wrong.push(format!("  {scenario} differs:\n{words}"));
        }
    }
    for (scenario, reason) in &explained {
        if !found.contains_key(scenario) {
            wrong.push(format!("  {scenario} no longer differs: take it out of differences.yaml ({reason})"));
        }
    }
    assert!(wrong.is_empty(), "{run}\n{}", wrong.join("\n"));
}

/// Everything that the suite asks is answered as it wants it.
#[track_caller]
pub fn assert_perfect(found: &Found, scenarios: usize, checks: usize) {
    assert!(found.imperfect().is_empty(), "{:?}", found.imperfect());
    assert_eq!((found.scenarios.len(), found.passed()), (scenarios, checks));
}
