//! Runs the `test_*` rules of `*_test.rego` files. A tool for authors; never on the way of a call.

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use regorus::Value;

use super::problem::PolicyErrors;
use super::set::{Build, Checked, guarded, timer};
use super::source::{self, Sources};
use super::syntax::Head;

/// Longest time for one test.
const LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Pass,
    Fail,
    Error(String),
    /// `todo_test_*`.
    Skipped,
}

/// One test, and how it went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub name: String,
    pub file: String,
    pub line: usize,
    pub verdict: Verdict,
    /// What the test printed.
    pub prints: Vec<String>,
}

/// Runs the tests of files and folders, or of the built-in families where none are given. The built-in families are
/// there for every test, as they would be in the daemon.
///
/// # Errors
/// Whatever the loader refuses.
pub fn run(paths: &[PathBuf]) -> Result<Vec<Outcome>, PolicyErrors> {
    let sources = with_builtin(paths)?;
    let build = Build { sources, modes: std::collections::BTreeMap::new(), time_limit: LIMIT };
    guarded(move |progress| all(&build, &progress))
}

/// Checks files and folders as the daemon would load them, beside the built-in families. Returns how many rules there
/// are.
///
/// # Errors
/// Everything that the loader refuses.
pub fn check(paths: &[PathBuf]) -> Result<usize, PolicyErrors> {
    let sources = with_builtin(paths)?;
    let tests = Build { sources: sources.clone(), modes: std::collections::BTreeMap::new(), time_limit: LIMIT };
    guarded(move |progress| tests.checked(true, &progress).map(|_| ()))?;
    let build = Build { sources, modes: std::collections::BTreeMap::new(), time_limit: LIMIT };
    Ok(super::set::PolicySet::load(build)?.rules())
}

/// The files at the paths and every built-in family that they do not bring themselves. Tests of the built-in families
/// are left out where there are paths.
fn with_builtin(paths: &[PathBuf]) -> Result<Sources, PolicyErrors> {
    let names: Vec<String> = source::builtin_names().map(str::to_owned).collect();
    if paths.is_empty() {
        return source::builtin(&names);
    }
    let own = source::read(paths)?;
    let package = |name: &str| format!("package countersign.policy.{name}");
    let brings =
        |name: &String| own.policies.iter().any(|source| source.text.lines().any(|line| line.trim() == package(name)));
    let mut sources = source::builtin(&names.into_iter().filter(|name| !brings(name)).collect::<Vec<_>>())?;
    // Data of a family that is brought along is still a default.
    sources.defaults = source::builtin(&source::builtin_names().map(str::to_owned).collect::<Vec<_>>())?.defaults;
    sources.tests.clear();
    sources.add(own);
    Ok(sources)
}

fn all(build: &Build, progress: &Sender<String>) -> Result<Vec<Outcome>, PolicyErrors> {
    let Checked { mut engine, modules, .. } = build.checked(true, progress)?;
    engine.set_execution_timer_config(timer(LIMIT));
    engine.set_gather_prints(true);
    engine.set_input(Value::new_object());
    let mut outcomes = Vec::new();
    for module in modules.iter().filter(|module| module.is_test()) {
        for rule in &module.rules {
            let Some(name) = rule.path.first().filter(|_| rule.head == Head::Other) else { continue };
            let todo = name.starts_with("todo_test_");
            if !todo && !name.starts_with("test_") {
                continue;
            }
            let path = module.full_path(rule).join(".");
            if outcomes.iter().any(|outcome: &Outcome| outcome.name == path) {
                continue;
            }
            let _ = progress.send(format!("{path} in {}", module.source.name));
            let (verdict, prints) = if todo { (Verdict::Skipped, Vec::new()) } else { one(&engine, &path) };
            let file = module.source.name.clone();
            outcomes.push(Outcome { name: path, file, line: module.line(rule.offset), verdict, prints });
        }
    }
    Ok(outcomes)
}

fn one(engine: &regorus::Engine, path: &str) -> (Verdict, Vec<String>) {
    let mut engine = engine.clone();
    let started = Instant::now();
    let verdict = match engine.eval_rule(path.to_owned()) {
        _ if started.elapsed() >= LIMIT => Verdict::Error("reached the time limit".to_owned()),
        Ok(Value::Bool(true)) => Verdict::Pass,
        Ok(_) => Verdict::Fail,
        Err(error) => Verdict::Error(format!("{error:#}").trim().to_owned()),
    };
    (verdict, engine.take_prints().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policies_pass_their_own_tests() {
        let outcomes = run(&[]).unwrap();
        let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Pass).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(outcomes.len() > 30, "only {} tests ran", outcomes.len());
    }
}
