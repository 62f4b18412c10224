//! Runs the `test_*` rules of `*_test.rego` files. A tool for authors; never on the way of a call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use regorus::{Engine, Value};

use super::author::{LIMIT, with_builtin};
use super::problem::PolicyErrors;
use super::set::{Build, Checked, guarded, timer};
use super::syntax::{Head, Module};

/// A test that the interpreter does not end within its limit is left behind after this long.
const PATIENCE: Duration = Duration::from_secs(4);
/// Evaluation recurses with the nesting of expressions.
const STACK: usize = 32 << 20;

/// Which tests, and what is asked about them.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// A test whose name, with its package, this matches; all without it.
    pub run: Option<regex::Regex>,
    pub coverage: bool,
}

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
    pub took: Duration,
}

/// Lines of one policy file that have an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Covered {
    pub file: String,
    pub covered: BTreeSet<usize>,
    pub not_covered: BTreeSet<usize>,
}

/// What a run found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    pub outcomes: Vec<Outcome>,
    /// Of the files that are tested; empty where it was not asked for.
    pub coverage: Vec<Covered>,
}

/// A test that is about to run.
struct Test {
    path: String,
    file: String,
    line: usize,
    todo: bool,
}

/// Runs the tests of files and folders, or of the built-in families where none are given. The built-in families are
/// there for every test, as they would be in the daemon.
///
/// # Errors
/// Whatever the loader refuses.
pub fn run(paths: &[PathBuf], options: &Options) -> Result<Run, PolicyErrors> {
    let own: BTreeSet<String> = match paths {
        [] => with_builtin(paths)?,
        _ => super::source::read(paths)?,
    }
    .policies
    .into_iter()
    .map(|source| source.name)
    .collect();
    let sources = with_builtin(paths)?;
    let build = Build { sources, modes: BTreeMap::new(), time_limit: LIMIT, unsafe_default_allow: true };
    let (engine, modules) = guarded(move |progress| {
        let Checked { mut engine, modules, .. } = build.checked(true, &progress)?;
        engine.set_execution_timer_config(timer(LIMIT));
        engine.set_gather_prints(true);
        engine.set_input(Value::new_object());
        Ok((engine, modules))
    })?;
    let (mut outcomes, mut ran) = (Vec::new(), BTreeMap::new());
    for test in tests(&modules) {
        if options.run.as_ref().is_none_or(|run| run.is_match(&test.path)) {
            outcomes.push(watched(&engine, test, options.coverage, &mut ran));
        }
    }
    let policies = modules.iter().filter(|module| options.coverage && own.contains(&module.source.name));
    let coverage = policies.filter(|module| !module.is_test()).map(|module| lines(module, &ran)).collect();
    Ok(Run { outcomes, coverage })
}

fn tests(modules: &[Module]) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for module in modules.iter().filter(|module| module.is_test()) {
        for rule in module.rules.iter().filter(|rule| rule.head == Head::Other) {
            let Some(name) = rule.path.first() else { continue };
            let todo = name.starts_with("todo_test_");
            let path = module.full_path(rule).join(".");
            // A test of several bodies is one test.
            if (todo || name.starts_with("test_")) && !tests.iter().any(|test| test.path == path) {
                let file = module.source.name.clone();
                tests.push(Test { path, file, line: module.line(rule.offset), todo });
            }
        }
    }
    tests
}

/// Runs one test on a thread of its own, which is left behind where the test does not end: that is the error of this
/// test, and the others go on.
fn watched(engine: &Engine, test: Test, coverage: bool, ran: &mut BTreeMap<String, BTreeSet<usize>>) -> Outcome {
    let Test { path, file, line, todo } = test;
    let started = Instant::now();
    let (verdict, prints) = if todo {
        (Verdict::Skipped, Vec::new())
    } else {
        let (answer, answered) = channel();
        let (engine, rule) = (engine.clone(), path.clone());
        let work = move || {
            // Nobody waits any more for a test that has taken too long.
            let _ = answer.send(one(engine, &rule, coverage));
        };
        let spawned = std::thread::Builder::new().name("policy-test".to_owned()).stack_size(STACK).spawn(work);
        match spawned.map(|_| answered.recv_timeout(PATIENCE)) {
            Ok(Ok((verdict, prints, lines))) => {
                for (file, lines) in lines {
                    ran.entry(file).or_default().extend(lines);
                }
                (verdict, prints)
            }
            Ok(Err(std::sync::mpsc::RecvTimeoutError::Timeout)) => {
                (Verdict::Error("does not end: a built-in function on something huge?".to_owned()), Vec::new())
            }
            Ok(Err(std::sync::mpsc::RecvTimeoutError::Disconnected)) => {
                (Verdict::Error("the interpreter failed on it".to_owned()), Vec::new())
            }
            Err(error) => (Verdict::Error(format!("no thread to run it on: {error}")), Vec::new()),
        }
    };
    Outcome { name: path, file, line, verdict, prints, took: started.elapsed() }
}

type Ran = BTreeMap<String, BTreeSet<usize>>;

fn one(mut engine: Engine, path: &str, coverage: bool) -> (Verdict, Vec<String>, Ran) {
    engine.set_enable_coverage(coverage);
    let started = Instant::now();
    let verdict = match engine.eval_rule(path.to_owned()) {
        _ if started.elapsed() >= LIMIT => Verdict::Error("reached the time limit".to_owned()),
        Ok(Value::Bool(true)) => Verdict::Pass,
        Ok(_) => Verdict::Fail,
        Err(error) => Verdict::Error(format!("{error:#}").trim().to_owned()),
    };
    let ran = if coverage { covered(&engine) } else { Ran::new() };
    (verdict, engine.take_prints().unwrap_or_default(), ran)
}

/// Lines of each file that the engine evaluated.
pub(super) fn covered(engine: &Engine) -> Ran {
    let report = engine.get_coverage_report().map(|report| report.files).unwrap_or_default();
    let line = |line: u32| usize::try_from(line).ok();
    report.into_iter().map(|file| (file.path, file.covered.into_iter().filter_map(line).collect())).collect()
}

/// The interpreter says nothing about a file that it never touched: what there is to cover comes from the tree.
fn lines(module: &Module, ran: &Ran) -> Covered {
    let all: BTreeSet<usize> = module.rules.iter().flat_map(|rule| rule.lines.iter().copied()).collect();
    let none = BTreeSet::new();
    let ran = ran.get(&module.source.name).unwrap_or(&none);
    Covered {
        file: module.source.name.clone(),
        covered: all.intersection(ran).copied().collect(),
        not_covered: all.difference(ran).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policies_pass_their_own_tests() {
        let run = run(&[], &Options { coverage: true, ..Options::default() }).unwrap();
        let failed: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Pass).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(run.outcomes.len() > 30, "only {} tests ran", run.outcomes.len());
        // Every line of what decides about money is evaluated by a test.
        for file in &run.coverage {
            assert!(file.covered.len() > 5 && file.not_covered.is_empty(), "{file:?}");
        }
    }
}
