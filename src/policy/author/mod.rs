//! The author's tools: what `countersign policy check`, `test`, `explain` and `coverage` know about a set of policies.
//! Everything here evaluates on the interpreter and may take its time; never on the way of a call.
//!
//! Invariant: a [`Bench`] is made of files that passed every check of the loader, so nothing here has to repeat one.

pub mod explain;
mod helpers;
mod lint;
mod named;
mod numbers;
mod sample;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use regorus::{Engine, Value};

pub use lint::{Known, Vocabulary};
pub use named::{misnamed, misnamed_scopes};
pub use numbers::{Differs, Number, differences, numbers};
pub use sample::Sample;

use super::combine::{Entry, Found, combine};
use super::problem::{PolicyErrors, Problem};
use super::set::{Build, Checked, EntryPoint, guarded, step, timer};
use super::source::{self, Source, Sources};
use super::syntax::Module;
use super::{Mode, Phase, PolicyFault, Settings, check, input};
use crate::call::{CallContext, Decision, Effect, ToolCall};

pub use super::combine::Kind;

/// Longest time for one set on one input.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Policies on the bench.
#[derive(Clone, Debug)]
pub struct Bench {
    engine: Engine,
    modules: std::sync::Arc<Vec<Module>>,
    points: Vec<EntryPoint>,
    lines: HashMap<(String, String), usize>,
    /// Names of the files that the author asked about.
    own: BTreeSet<String>,
    /// Names of files with a rule that a test reads.
    tested: BTreeSet<String>,
    version: String,
}

/// One entry of one policy for an input, before anything is combined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub kind: Kind,
    pub policy: String,
    pub rule: String,
    pub reason: String,
    pub file: String,
    pub line: usize,
    pub enforced: bool,
}

/// What the policies say about an input, and every entry behind it.
#[derive(Clone, Debug)]
pub struct Judged {
    pub decision: Result<Decision, PolicyFault>,
    pub said: Vec<Said>,
}

/// The document that rules see for a call at this moment.
pub fn document(call: &ToolCall, context: &CallContext) -> String {
    document_at(super::now(), call, context)
}

/// The same at any moment, in nanoseconds since 1970.
pub fn document_at(now: u64, call: &ToolCall, context: &CallContext) -> String {
    input::document(now, input::Subject::call(call, call.digest(context)), context).into()
}

/// The document that rules see for the tool of the context in a list.
pub fn listed_document(context: &CallContext) -> String {
    input::document(super::now(), input::Subject::listed(), context).into()
}

impl Bench {
    /// Files and folders beside the built-in families that they do not bring themselves; the built-in families alone
    /// where there are no paths.
    ///
    /// # Errors
    /// Everything that the loader refuses.
    pub fn of_paths(paths: &[PathBuf]) -> Result<Bench, PolicyErrors> {
        let sources = with_builtin(paths)?;
        let own = if paths.is_empty() { names(&sources.policies) } else { names(&source::read(paths)?.policies) };
        let modes = BTreeMap::new();
        Bench::load(Build { sources, modes, time_limit: LIMIT, unsafe_default_allow: true }, own)
    }

    /// What a configuration loads. Its own files are the author's; without any, the built-in families are.
    ///
    /// # Errors
    /// Everything that the loader refuses.
    pub fn of_settings(settings: &Settings) -> Result<Bench, PolicyErrors> {
        let mut sources = source::builtin(&settings.builtin)?;
        let operators = source::read(&settings.paths)?;
        let own = names(if operators.policies.is_empty() { &sources.policies } else { &operators.policies });
        sources.add(operators);
        // That a policy allows by default is a finding of the checks, and no reason to show none of the others.
        let (modes, time_limit) = (settings.modes.clone(), settings.time_limit);
        Bench::load(Build { sources, modes, time_limit, unsafe_default_allow: true }, own)
    }

    /// What is loaded already.
    ///
    /// # Errors
    /// Everything that the loader refuses.
    pub(super) fn of_build(build: Build) -> Result<Bench, PolicyErrors> {
        Bench::load(build, BTreeSet::new())
    }

    fn load(build: Build, own: BTreeSet<String>) -> Result<Bench, PolicyErrors> {
        // What only the daemon looks for: sets that are undefined or malformed on a sample.
        let loaded = super::set::PolicySet::load(build.clone())?;
        let version = loaded.version().to_owned();
        guarded(move |progress| {
            // Tests have to load too, but their modules are none of the policies'.
            let tested = tested(&build.checked(true, &progress)?.modules);
            let Checked { mut engine, modules, .. } = build.checked(false, &progress)?;
            let points = build.entries(&modules)?;
            let lines = check::rule_lines(&modules);
            engine.set_execution_timer_config(timer(LIMIT));
            engine.set_gather_prints(true);
            engine.set_input(Value::new_object());
            Ok(Bench { engine, modules: std::sync::Arc::new(modules), points, lines, own, tested, version })
        })
    }

    /// How many rules add to `deny`, `hold` and `allow`.
    pub fn rules(&self) -> usize {
        let policies = self.modules.iter().filter(|module| check::is_policy(module));
        policies.flat_map(|module| &module.rules).filter(|rule| check::is_export(rule)).count()
    }

    /// Names the policies, as in a record.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether the file is one of those that the author asked about.
    pub fn is_own(&self, file: &str) -> bool {
        self.own.contains(file)
    }

    /// Arguments of calls that the author's rules read, as paths of names.
    pub fn arguments_read(&self) -> BTreeSet<Vec<String>> {
        let own = self.modules.iter().filter(|module| self.is_own(&module.source.name));
        let references = own.flat_map(|module| &module.rules).flat_map(|rule| &rule.references);
        let path = |path: &[String]| match path {
            [root, member, rest @ ..] if root == "input" && member == "arguments" && !rest.is_empty() => {
                Some(rest.to_vec())
            }
            _ => None,
        };
        references.filter_map(|reference| path(&reference.path)).collect()
    }

    /// Operations and tools that the author's rules ask for by name.
    pub fn names_read(&self) -> BTreeSet<String> {
        let own = self.modules.iter().filter(|module| self.is_own(&module.source.name));
        let bodies = own.flat_map(|module| &module.rules).flat_map(|rule| &rule.bodies);
        let asks = bodies.flat_map(|body| &body.statements).filter_map(|statement| statement.asks.as_ref());
        asks.flat_map(|asks| &asks.values).map(|(value, _)| value.clone()).collect()
    }

    /// Everything that is probably wrong with the author's files, beyond what the loader refuses.
    pub fn problems(&self, vocabulary: &Vocabulary, samples: Vec<Sample>) -> Vec<Problem> {
        let bench = self.clone();
        let mut found = lint::problems(&bench.modules, &bench.own, &bench.tested, vocabulary);
        match guarded(move |progress| Ok(sample::problems(&bench, &samples, &progress))) {
            Ok(problems) => found.extend(problems),
            // The watchdog knows the input, and nobody knows the rule.
            Err(errors) => found.extend(errors.problems().iter().map(|problem| {
                let help = "bound what a rule computes: a built-in function on something huge cannot be interrupted";
                Problem::of_file(
                    self.own.first().map_or("policy", String::as_str),
                    "sample",
                    format!("a rule does not end: {}", problem.file),
                    help,
                )
            })),
        }
        super::problem::sort(&mut found);
        found
    }

    /// Judges documents, each with its phase. Blocks.
    ///
    /// # Errors
    /// Where a rule does not end.
    pub fn judge(&self, documents: Vec<(Phase, String)>) -> Result<Vec<Judged>, PolicyErrors> {
        let bench = self.clone();
        guarded(move |progress| {
            let judged = documents.iter().map(|(phase, document)| {
                step(&progress, "the policies");
                bench.judged(*phase, document)
            });
            Ok(judged.collect())
        })
    }

    fn judged(&self, phase: Phase, document: &str) -> Judged {
        let input = match Value::from_json_str(document) {
            Ok(input) => input,
            Err(error) => {
                return Judged { decision: Err(PolicyFault::Input(error.to_string())), said: Vec::new() };
            }
        };
        let (mut found, mut fault) = (Vec::new(), None);
        for (point, entries) in self.evaluate(&input, |_| true) {
            match entries {
                Ok(entries) => found.extend(entries.into_iter().map(|entry| self.found(point, entry))),
                Err(error) if point.mode == Mode::Enforce => fault = fault.or(Some(error)),
                // A watched policy that fails keeps no other from an answer.
                Err(_) => {}
            }
        }
        let decision = match fault {
            Some(fault) => Err(fault),
            None => typed(combine(&found, &self.version), phase, document),
        };
        Judged { decision, said: found.iter().map(said).collect() }
    }

    /// Every set that is wanted, on one input.
    fn evaluate<'a>(
        &'a self,
        input: &Value,
        wanted: impl Fn(&EntryPoint) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a EntryPoint, Result<Vec<Entry>, PolicyFault>)> {
        let mut engine = self.engine.clone();
        engine.set_input(input.clone());
        self.points.iter().filter(move |point| wanted(point)).map(move |point| {
            let started = Instant::now();
            let entries = point.interpret(&mut engine).and_then(|value| point.entries(&value));
            let in_time = started.elapsed() < LIMIT;
            (point, if in_time { entries } else { Err(PolicyFault::TimeLimit { policy: point.policy.clone() }) })
        })
    }

    fn found(&self, point: &EntryPoint, entry: Entry) -> Found {
        let line = self.lines.get(&(point.policy.clone(), entry.rule.clone())).copied().unwrap_or(point.line);
        let enforced = point.mode == Mode::Enforce;
        Found {
            kind: point.kind,
            entry,
            policy: point.policy.clone(),
            file: point.file.clone(),
            line,
            enforced,
            failed: false,
        }
    }

    fn sources(&self) -> Vec<Source> {
        self.modules.iter().map(|module| module.source.clone()).collect()
    }
}

/// As the proxy does it: what an operator has to type has to be there.
fn typed(decision: Decision, phase: Phase, document: &str) -> Result<Decision, PolicyFault> {
    if phase == Phase::Call && decision.effect == Effect::Hold {
        let missing = decision.confirm_with.iter().find(|pointer| input::typed_value(document, pointer).is_none());
        if let Some(pointer) = missing {
            return Err(PolicyFault::Pointer { pointer: pointer.clone() });
        }
    }
    Ok(decision)
}

fn said(found: &Found) -> Said {
    Said {
        kind: found.kind,
        policy: found.policy.clone(),
        rule: found.entry.rule.clone(),
        reason: found.entry.reason.clone(),
        file: found.file.clone(),
        line: found.line,
        enforced: found.enforced,
    }
}

/// Files whose package a reference of a test leads into.
fn tested(modules: &[Module]) -> BTreeSet<String> {
    let tests = modules.iter().filter(|module| module.is_test());
    let read = |module: &Module| -> Vec<Vec<String>> {
        let references = module.rules.iter().flat_map(|rule| &rule.references).chain(&module.import_places);
        let calls = module.rules.iter().flat_map(|rule| &rule.calls).map(|call| call.path.clone());
        references.map(|reference| reference.path.clone()).chain(calls).collect()
    };
    let read: Vec<Vec<String>> = tests.flat_map(read).collect();
    let is_read = |module: &&Module| {
        let package: Vec<String> = std::iter::once("data".to_owned()).chain(module.package.iter().cloned()).collect();
        read.iter().any(|path| path.starts_with(&package))
    };
    modules.iter().filter(|module| !module.is_test()).filter(is_read).map(|module| module.source.name.clone()).collect()
}

fn names(sources: &[Source]) -> BTreeSet<String> {
    sources.iter().map(|source| source.name.clone()).collect()
}

/// The files at the paths and every built-in family that they do not bring themselves. Tests of the built-in families
/// are left out where there are paths.
pub(super) fn with_builtin(paths: &[PathBuf]) -> Result<Sources, PolicyErrors> {
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

/// Tells the watchdog which input is being looked at.
fn at(progress: &Sender<String>, what: &str) {
    step(progress, what);
}

#[cfg(test)]
mod tests;
