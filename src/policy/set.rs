//! One version of the policies, checked and prepared, and what it says about an input. Everything here is synchronous;
//! the guards against a policy that never ends are the clock in here, the watchdog around [`PolicySet::load`], and the
//! process (or, for the shipped rules on a large input, the thread) that it is evaluated in.
//!
//! Invariant: a set that exists has passed every check of `check`, has at least one policy, and every set that a policy
//! declares has been evaluated once.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::check;
use super::combine::{Entry, Found, Kind, combine};
use super::compiled::Compiled;
use super::document::Document;
use super::evaluation::{Evaluation, Programs};
use super::history::HistoryUses;
use super::problem::{PolicyErrors, Problem};
use super::repeated::Repeated;
use super::source::{self, Source, Sources};
use super::syntax::{self, Module};
use super::{Mode, Phase, PolicyFault, value};
use crate::call::{Decision, Digest, Effect};

/// The interpreter's parser needs exponential time for nested literals: a file that takes longer than this is refused.
const LOAD_LIMIT: Duration = Duration::from_secs(5);
/// For each set of a policy, on a sample input at load.
const SAMPLE_LIMIT: Duration = Duration::from_secs(1);
/// Parsing and checking recurse with the nesting of expressions.
const LOAD_STACK: usize = 32 << 20;

/// The input that says nothing.
pub(super) const NOTHING: &str = "{}";

/// Policies that decide.
#[derive(Debug)]
pub struct PolicySet {
    engine: Engine,
    /// The shipped families that decide, and those that are watched: each with a clock of their own.
    compiled: Programs,
    entries: Vec<EntryPoint>,
    /// Line of a rule's head, by policy and rule id.
    lines: HashMap<(String, String), usize>,
    version: String,
    rules: usize,
    history: HistoryUses,
    time_limit: Duration,
    /// What the shipped families alone have decided.
    repeated: Repeated,
}

/// A set that a policy exports.
#[derive(Clone, Debug)]
pub(super) struct EntryPoint {
    pub path: String,
    pub kind: Kind,
    pub policy: String,
    pub file: String,
    pub mode: Mode,
    /// Of the first rule that adds to the set, for entries whose id is computed.
    pub line: usize,
    /// Its place among the sets of the compiled program of its mode; `None`: the interpreter evaluates it.
    pub(super) compiled: Option<usize>,
}

/// How a set is to be built.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Build {
    pub sources: Sources,
    pub modes: BTreeMap<String, Mode>,
    pub time_limit: Duration,
    /// Whether a policy may allow what says nothing, and so whatever no rule denies.
    pub unsafe_default_allow: bool,
}

/// Files that passed every check.
pub(super) struct Checked {
    pub engine: Engine,
    pub modules: Vec<Module>,
    pub data: Value,
    pub history: HistoryUses,
}

impl PolicySet {
    /// Parses, checks and prepares on a thread of its own, so that a file which makes the parser run away is an error
    /// and not the end of the daemon. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub fn load(build: Build) -> Result<PolicySet, PolicyErrors> {
        guarded(move |progress| build.run(&progress))
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// How many rules add to `deny`, `hold` and `allow`.
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// Who asks for what was let through lately.
    pub fn history(&self) -> &HistoryUses {
        &self.history
    }

    /// Whether every rule is one of ours: then a decision takes microseconds, whatever the input says.
    pub fn is_shipped(&self) -> bool {
        self.entries.iter().all(|point| point.compiled.is_some())
    }

    /// Whether the shipped `scopes` is the one policy in force that allows anything: whoever has no scope can be allowed
    /// nothing then.
    pub fn scopes_alone_allow(&self) -> bool {
        let allows = |point: &&EntryPoint| point.kind == Kind::Allow && point.mode == Mode::Enforce;
        let mut allows = self.entries.iter().filter(allows).peekable();
        allows.peek().is_some() && allows.all(|point| point.policy == "scopes" && point.compiled.is_some())
    }

    /// What the policies say about an input document.
    ///
    /// # Errors
    /// Anything that is not a clear answer: the caller refuses.
    pub fn decide(&self, phase: Phase, document: &Document) -> Result<Decision, PolicyFault> {
        let repeats = match document {
            Document::Ours(text) if self.is_shipped() => text.repeats(),
            Document::Ours(_) | Document::Given(_) => None,
        };
        let Some(repeats) = repeats else { return self.evaluate(phase, document) };
        if let Some(decision) = self.repeated.get(&repeats) {
            return Ok(decision);
        }
        let decision = self.evaluate(phase, document)?;
        self.repeated.keep(repeats, &decision);
        Ok(decision)
    }

    /// The same, whatever was decided before.
    ///
    /// # Errors
    /// As [`PolicySet::decide`].
    pub fn evaluate(&self, phase: Phase, document: &Document) -> Result<Decision, PolicyFault> {
        let started = Instant::now();
        let (input, compiled) = match document {
            Document::Ours(text) => (value::of(text), Some(&self.compiled)),
            Document::Given(text) => (Value::from_json_str(text).map_err(|error| error.to_string()), None),
        };
        let input = input.map_err(PolicyFault::Input)?;
        let mut evaluation = Evaluation::new(&self.engine, self.time_limit, compiled, input);
        let mut found = Vec::new();
        for point in &self.entries {
            // The interpreter can lose its own expiry and go on with a wrong answer: our clock decides. After the limit
            // nothing more is begun: what is watched comes last, and may not use up the outer limit.
            let in_time = || match started.elapsed() < self.time_limit {
                true => Ok(()),
                false => Err(PolicyFault::TimeLimit { policy: point.policy.clone() }),
            };
            let value = in_time().and_then(|()| evaluation.value(point));
            let entries = value.and_then(|value| point.entries(&value)).and_then(|entries| in_time().map(|()| entries));
            match (entries, point.mode) {
                (Ok(entries), _) => found.extend(entries.into_iter().map(|entry| self.found(point, entry))),
                (Err(fault), Mode::Enforce) => return Err(fault),
                (Err(fault), Mode::Warn | Mode::Shadow) => found.push(point.fault(&fault)),
            }
        }
        let decision = combine(&found, &self.version);
        // An operator cannot type what is not there. A listed tool has no arguments yet.
        if phase == Phase::Call && decision.effect == Effect::Hold {
            for pointer in &decision.confirm_with {
                if document.typed_value(pointer).is_none() {
                    return Err(PolicyFault::Pointer { pointer: pointer.clone() });
                }
            }
        }
        Ok(decision)
    }

    /// The same set with another limit, which its own loading need not keep.
    #[cfg(test)]
    pub(super) fn limited_for_test(&self, time_limit: Duration) -> PolicySet {
        let mut engine = self.engine.clone();
        engine.set_execution_timer_config(timer(time_limit));
        let (entries, lines, version) = (self.entries.clone(), self.lines.clone(), self.version.clone());
        let history = self.history.clone();
        let compiled = Programs { enforced: None, watched: None };
        PolicySet {
            engine,
            compiled,
            entries,
            lines,
            version,
            rules: self.rules,
            history,
            time_limit,
            repeated: Repeated::default(),
        }
    }

    /// The same set, with a program in place of those families' of this mode that fails on every input.
    #[cfg(test)]
    pub(super) fn failing_for_test(self, mode: Mode) -> PolicySet {
        let (name, path) = ("pins.rego".to_owned(), "data.countersign.policy.pins.deny".to_owned());
        let text = "package countersign.policy.pins\ndeny contains x if {\n\tsome x in numbers.range(1, 3000)\n\tsome y in numbers.range(1, 3000)\n\tx * y == -1\n}\n".to_owned();
        let failing = Compiled::new(&[&Source { name, text }], &Value::new_object(), &[path]).unwrap();
        let Programs { enforced, watched } = self.compiled;
        let compiled = match mode {
            Mode::Enforce => Programs { enforced: failing, watched },
            Mode::Warn | Mode::Shadow => Programs { enforced, watched: failing },
        };
        PolicySet { compiled, ..self }
    }

    /// What the shipped families read.
    #[cfg(test)]
    pub(super) fn data_for_test(&self) -> &Value {
        &self.compiled.enforced.as_ref().unwrap().data
    }

    #[cfg(test)]
    pub(super) fn repeated_for_test(&self) -> &Repeated {
        &self.repeated
    }

    /// What interpreter and program say about every set that both evaluate.
    #[cfg(test)]
    pub(super) fn both_for_test(&self, document: &str) -> Vec<(String, [Result<Value, PolicyFault>; 2])> {
        let input = Value::from_json_str(document).unwrap();
        let mut both = Evaluation::new(&self.engine, self.time_limit, Some(&self.compiled), input);
        let shipped = self.entries.iter().filter(|point| point.compiled.is_some());
        shipped
            .map(|point| {
                let interpreted = EntryPoint { compiled: None, ..point.clone() };
                (point.path.clone(), [both.value(&interpreted), both.value(point)])
            })
            .collect()
    }

    fn found(&self, point: &EntryPoint, entry: Entry) -> Found {
        let line = self.lines.get(&(point.policy.clone(), entry.rule.clone())).copied().unwrap_or(point.line);
        Found {
            kind: point.kind,
            entry,
            policy: point.policy.clone(),
            file: point.file.clone(),
            line,
            enforced: point.mode == Mode::Enforce,
            failed: false,
        }
    }
}

impl EntryPoint {
    pub(super) fn interpret(&self, engine: &mut Engine) -> Result<Value, PolicyFault> {
        engine
            .eval_rule(self.path.clone())
            .map_err(|error| PolicyFault::Engine { policy: self.policy.clone(), message: format!("{error:#}") })
    }

    pub(super) fn entries(&self, value: &Value) -> Result<Vec<Entry>, PolicyFault> {
        // An empty set is a set; undefined is a lost error.
        let Value::Set(entries) = value else {
            return Err(PolicyFault::Undefined { policy: self.policy.clone(), set: self.kind.as_str().into() });
        };
        let shape = |message: String| PolicyFault::Shape { policy: self.policy.clone(), message };
        entries.iter().map(|entry| Entry::read(entry).map_err(shape)).collect()
    }

    /// A policy that is only watched and fails is worth a record, and nothing more.
    fn fault(&self, fault: &PolicyFault) -> Found {
        Found {
            kind: self.kind,
            entry: Entry {
                rule: format!("{}.fault", self.policy),
                reason: fault.to_string(),
                details: serde_json::Value::Null,
                tier: None,
                approvals: None,
                ttl_seconds: None,
                confirm_with: super::combine::Pointers::default(),
                grantable: None,
                redact: Vec::new(),
            },
            policy: self.policy.clone(),
            file: self.file.clone(),
            line: self.line,
            enforced: false,
            failed: true,
        }
    }
}

/// The interpreter's own limit, looked at with every unit of work: fewer looks can lose an expiry.
pub(super) fn timer(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: NonZeroU32::MIN }
}

/// Evaluates a set that no loaded file could declare.
#[cfg(test)]
pub(super) fn evaluate_for_test(engine: &mut Engine, path: &str) -> Result<Vec<Entry>, PolicyFault> {
    let (policy, file) = ("x".to_owned(), "x.rego".to_owned());
    let point = EntryPoint {
        path: path.to_owned(),
        kind: Kind::Deny,
        policy,
        file,
        mode: Mode::Enforce,
        line: 0,
        compiled: None,
    };
    point.entries(&point.interpret(engine)?)
}

/// Runs work that parses and evaluates on a thread of its own. The work names the file it is at; one that takes too
/// long is left behind, which costs a thread for each such load.
pub(super) fn guarded<T: Send + 'static>(
    work: impl FnOnce(Sender<String>) -> Result<T, PolicyErrors> + Send + 'static,
) -> Result<T, PolicyErrors> {
    let (progress, at) = channel();
    let (answer, answered) = channel();
    let failed = |file: &str, message: &str| {
        let help = "nested array and object literals take exponential time: keep them in a data file";
        PolicyErrors::from(Problem::of_file(file, "load", message, help))
    };
    let thread = std::thread::Builder::new().name("policy-load".to_owned()).stack_size(LOAD_STACK);
    let spawned = thread.spawn(move || {
        // The receiver is gone only when it has given up on this thread.
        let _ = answer.send(work(progress));
    });
    if spawned.is_err() {
        return Err(failed("policy", "no thread to load on"));
    }
    let mut file = "policy".to_owned();
    loop {
        match at.recv_timeout(LOAD_LIMIT) {
            Ok(next) => file = next,
            Err(RecvTimeoutError::Timeout) => return Err(failed(&file, "takes too long to parse or to prepare")),
            // The work is done, or its thread has panicked and dropped both ends.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    answered.recv_timeout(LOAD_LIMIT).unwrap_or_else(|_| Err(failed(&file, "the interpreter failed on it")))
}

impl Build {
    fn run(self, progress: &Sender<String>) -> Result<PolicySet, PolicyErrors> {
        let Checked { mut engine, modules, data, history } = self.checked(false, progress)?;
        let mut entries = self.entries(&modules)?;
        step(progress, "the policies");
        let compiled = self.compile(&mut entries, &data)?;
        // Preparing takes longer than a decision; the sample has to end all the same.
        engine.set_execution_timer_config(timer(SAMPLE_LIMIT));
        // What a policy prints is for its tests; it is dropped with the engine of the call.
        engine.set_gather_prints(true);
        let lines = check::rule_lines(&modules);
        let mut open = Vec::new();
        for document in [NOTHING, include_str!("sample_input.json")] {
            let sample = Value::from_json_str(document).unwrap_or(Value::Undefined);
            engine.set_input(sample);
            for point in &entries {
                let said = point.interpret(&mut engine).and_then(|value| point.entries(&value));
                let said = said.map_err(|fault| at_load(&fault, &modules, point))?;
                if document == NOTHING && point.kind == Kind::Allow && point.mode == Mode::Enforce {
                    open.extend(said.first().map(|entry| default_allow(&entry.rule, &modules, point, &lines)));
                }
            }
        }
        if !self.unsafe_default_allow {
            PolicyErrors::check(open)?;
        }
        engine.set_input(Value::new_object());
        engine.set_execution_timer_config(timer(self.time_limit));
        let policies = modules.iter().filter(|module| check::is_policy(module));
        let rules = policies.flat_map(|module| &module.rules).filter(|rule| check::is_export(rule)).count();
        let version = self.version();
        Ok(PolicySet {
            engine,
            compiled,
            entries,
            lines,
            version,
            rules,
            history,
            time_limit: self.time_limit,
            repeated: Repeated::default(),
        })
    }

    /// Compiles the sets of the shipped families, and says so in their entry points.
    fn compile(&self, entries: &mut [EntryPoint], data: &Value) -> Result<Programs, PolicyErrors> {
        let shipped: Vec<&Source> = self.sources.policies.iter().filter(|source| source::is_shipped(source)).collect();
        let (mut enforced, mut watched) = (Vec::new(), Vec::new());
        for point in entries.iter_mut().filter(|point| shipped.iter().any(|source| source.name == point.file)) {
            let paths = if point.mode == Mode::Enforce { &mut enforced } else { &mut watched };
            point.compiled = Some(paths.len());
            paths.push(point.path.clone());
        }
        let program = |paths: &[String]| Compiled::new(&shipped, data, paths);
        Ok(Programs { enforced: program(&enforced)?, watched: program(&watched)? })
    }

    /// Parses every file and runs every check; nothing is evaluated.
    pub(super) fn checked(&self, with_tests: bool, progress: &Sender<String>) -> Result<Checked, PolicyErrors> {
        let mut sources: Vec<Source> = self.sources.policies.clone();
        if with_tests {
            sources.extend(self.sources.tests.iter().cloned());
        }
        step(progress, "data");
        let data = super::data::merge(&self.sources.defaults, &self.sources.data, &self.sources.environments)?;
        let mut engine = Engine::new();
        let mut problems = Vec::new();
        for source in &sources {
            step(progress, &source.name);
            if let Err(error) = engine.add_policy(source.name.clone(), source.text.clone()) {
                problems.push(of_interpreter(&format!("{error:#}"), &sources, &source.name));
            }
        }
        PolicyErrors::check(problems)?;
        step(progress, "the policies");
        let modules = tree(&engine, &sources)?;
        let documents: Vec<String> = data.as_object().into_iter().flat_map(|members| members.keys().cloned()).collect();
        PolicyErrors::check(check::problems(&modules, &documents))?;
        let history = HistoryUses::of(&modules, &data);
        let data = Value::from(data);
        engine
            .add_data(data.clone())
            .map_err(|error| Problem::of_file("data", "data", format!("{error:#}"), "check the data files"))?;
        Ok(Checked { engine, modules, data, history })
    }

    /// The sets that count. Those of enforced policies come first, so that a watched one cannot use up their time.
    pub(super) fn entries(&self, modules: &[Module]) -> Result<Vec<EntryPoint>, PolicyErrors> {
        let mut points = Vec::new();
        let mut names = Vec::new();
        for module in modules.iter().filter(|module| check::is_policy(module)) {
            let policy = module.package.last().cloned().unwrap_or_default();
            for kind in Kind::ALL {
                let mut heads =
                    module.rules.iter().filter(|rule| rule.path.first().is_some_and(|name| name == kind.as_str()));
                let Some(first) = heads.next() else { continue };
                points.push(EntryPoint {
                    path: format!("data.countersign.policy.{policy}.{}", kind.as_str()),
                    kind,
                    policy: policy.clone(),
                    file: module.source.name.clone(),
                    mode: self.modes.get(&policy).copied().unwrap_or(Mode::Enforce),
                    line: module.line(first.offset),
                    compiled: None,
                });
            }
            names.push(policy);
        }
        if let Some(unknown) = self.modes.keys().find(|name| !names.contains(name)) {
            let help = format!("there are {}", names.join(", "));
            return Err(Problem::of_file("policy.modes", "mode", format!("no policy is named {unknown}"), help).into());
        }
        if !points.iter().any(|point| point.mode == Mode::Enforce) {
            let help = "list at least one family in policy.builtin or a folder in policy.paths";
            return Err(Problem::of_file("policy", "empty", "no policy is enforced", help).into());
        }
        points.sort_by_key(|point| (point.mode != Mode::Enforce, point.kind));
        Ok(points)
    }

    /// Whether every policy is one of ours, whatever the data say: these are known to be quick.
    pub fn is_shipped(&self) -> bool {
        self.sources.policies.iter().all(source::is_shipped)
    }

    /// Over everything that can change a decision.
    pub fn version(&self) -> String {
        let modes = format!("{:?} {:?}", self.modes, self.time_limit);
        let mut fields: Vec<&[u8]> = vec![modes.as_bytes()];
        for source in [&self.sources.policies, &self.sources.defaults, &self.sources.data].into_iter().flatten() {
            fields.push(source.name.as_bytes());
            fields.push(source.text.as_bytes());
        }
        Digest::of_fields("countersign.policy/v1", &fields).to_string()
    }
}

/// Tells the watchdog where the work is.
pub(super) fn step(progress: &Sender<String>, file: &str) {
    // Nobody listens any more once the watchdog has given up.
    let _ = progress.send(file.to_owned());
}

/// Parses files, and does nothing else.
pub(super) fn read(files: impl IntoIterator<Item = (String, String)>) -> Result<Vec<Module>, PolicyErrors> {
    let sources: Vec<Source> = files.into_iter().map(|(name, text)| Source { name, text }).collect();
    let mut engine = Engine::new();
    for source in &sources {
        let added = engine.add_policy(source.name.clone(), source.text.clone());
        added.map_err(|error| of_interpreter(&format!("{error:#}"), &sources, &source.name))?;
    }
    tree(&engine, &sources)
}

fn tree(engine: &Engine, sources: &[Source]) -> Result<Vec<Module>, PolicyErrors> {
    let unreadable = |reason: String| {
        let help = "write long or deeply nested expressions as several rules";
        Problem::of_file("the policies", "syntax", format!("the checks cannot read the syntax tree: {reason}"), help)
    };
    let ast = engine.get_ast_as_json().map_err(|error| unreadable(error.to_string()))?;
    let ast: serde_json::Value = serde_json::from_str(&ast).map_err(|error| unreadable(error.to_string()))?;
    Ok(syntax::modules(&ast, sources).ok_or_else(|| unreadable("it has an unknown form".to_owned()))?)
}

/// The interpreter's message, which names file, line and column in text.
pub(super) fn of_interpreter(message: &str, sources: &[Source], file: &str) -> Problem {
    let text = message.lines().rev().find_map(|line| line.trim().strip_prefix("error: ")).unwrap_or(message).to_owned();
    let problem =
        |file: &str| Problem::of_file(file, "rego", text.clone(), "see `policies/README.md` for the form of a policy");
    let place = message.lines().find_map(|line| line.trim().strip_prefix("--> ")).and_then(|place| {
        let mut parts = place.rsplitn(3, ':');
        let column = parts.next()?.parse::<usize>().ok()?;
        let line = parts.next()?.parse::<usize>().ok()?;
        let source = sources.iter().find(|source| Some(source.name.as_str()) == parts.clone().next())?;
        Some((source, line, column))
    });
    match place {
        // The interpreter counts a tab as several columns.
        Some((source, line, column)) => {
            let tabs = source
                .text
                .lines()
                .nth(line.saturating_sub(1))
                .map_or(0, |l| l.chars().take_while(|c| *c == '\t').count());
            problem(&source.name).at(line, column.saturating_sub(3 * tabs).max(1), &source.text)
        }
        None => problem(file),
    }
}

/// What nobody has thought of would pass: a list of what is denied misses the next spelling.
fn default_allow(
    rule: &str,
    modules: &[Module],
    point: &EntryPoint,
    lines: &HashMap<(String, String), usize>,
) -> Problem {
    let help = "say in every allow what it is for, as in input.operation.name or input.principal.name; \
                where it is meant: policy: { unsafe_default_allow: true }";
    let message = format!("{rule} {ALLOWS_NOTHING}");
    let line = lines.get(&(point.policy.clone(), rule.to_owned())).copied().unwrap_or(point.line);
    let text = modules.iter().find(|module| module.source.name == point.file).map_or("", |module| &module.source.text);
    Problem::of_file(&point.file, "default-allow", message, help).at(line, 1, text)
}

/// What is wrong with a rule that allows [`NOTHING`].
pub(super) const ALLOWS_NOTHING: &str = "allows an input that says nothing: it allows every call";

fn at_load(fault: &PolicyFault, modules: &[Module], point: &EntryPoint) -> PolicyErrors {
    let sources: Vec<Source> = modules.iter().map(|module| module.source.clone()).collect();
    match fault {
        PolicyFault::Engine { message, .. } => of_interpreter(message, &sources, &point.file).into(),
        PolicyFault::BuiltIn { .. }
        | PolicyFault::Undefined { .. }
        | PolicyFault::Shape { .. }
        | PolicyFault::TimeLimit { .. }
        | PolicyFault::Pointer { .. }
        | PolicyFault::Input(_)
        | PolicyFault::Timeout
        | PolicyFault::Saturated
        | PolicyFault::Worker(_)
        | PolicyFault::Panicked => {
            let help = "try it with `countersign policy test`";
            let problem = Problem::of_file(&point.file, "sample", format!("fails on a sample input: {fault}"), help);
            let text =
                sources.iter().find(|source| source.name == point.file).map_or("", |source| source.text.as_str());
            problem.at(point.line, 1, text).into()
        }
    }
}
