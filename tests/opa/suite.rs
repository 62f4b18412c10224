//! OPA's own conformance cases, from a copy of its repository: `OPA_CASES` names the folder
//! (`v1/test/cases/testdata/v1`). They are no part of this repository; `README.md` beside this file says how to get them.
//!
//! Every case whose policies call nothing but what a policy may call here is judged four times: by the interpreter and,
//! where it takes the text, by the virtual machine, as OPA judges it (an error of a built-in function is undefined unless
//! the case says otherwise) and as the daemon does (such an error is a fault, and a fault is a refusal).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::channel;
use std::time::Duration;

use countersign::policy::misread;
use regex::Regex;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value as Rego};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{REFUSED, same};

/// Of one case and one way to judge it.
pub const LIMIT: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    cases: Vec<Case>,
}

#[derive(Deserialize, Clone)]
struct Case {
    note: String,
    query: String,
    modules: Option<Vec<String>>,
    data: Option<serde_yaml::Value>,
    input: Option<serde_yaml::Value>,
    input_term: Option<String>,
    want_result: Option<serde_yaml::Value>,
    want_error: Option<String>,
    want_error_code: Option<String>,
    #[serde(default)]
    sort_bindings: bool,
    #[serde(default)]
    strict_error: bool,
    /// What this reader does not know may change what the case means.
    #[serde(flatten)]
    unknown: BTreeMap<String, serde_yaml::Value>,
}

/// What a case comes to: `Some(bindings)`, or an error.
type Outcome = Result<Value, String>;

/// Cases that differ, each with the reason.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Differences {
    /// The evaluator of operators' policies.
    #[serde(default)]
    interpreter: BTreeMap<String, String>,
    /// The evaluator of the built-in policies, where it differs and the interpreter does not.
    #[serde(default)]
    machine: BTreeMap<String, String>,
    /// Cases that come to no answer, since their text is not loaded. `*` at the end stands for any rest of the name.
    #[serde(default)]
    refused: BTreeMap<String, String>,
}

impl Differences {
    /// What lists a case as refused.
    fn refusal(&self, note: &str) -> Option<&String> {
        let is = |pattern: &&String| match pattern.strip_suffix('*') {
            Some(beginning) => note.starts_with(beginning),
            None => note == pattern.as_str(),
        };
        self.refused.keys().find(is)
    }
}

/// What became of a folder of cases.
#[derive(Default)]
pub struct Tally {
    pub files: usize,
    pub cases: usize,
    pub agree: BTreeSet<String>,
    /// By reason.
    pub not_applicable: BTreeMap<String, usize>,
    pub differ: BTreeSet<String>,
    /// Cases that the virtual machine took, and those of them in which it alone differs.
    pub machine: usize,
    pub machine_differ: BTreeSet<String>,
    /// Those whose text is not loaded, where OPA answers.
    pub refused: BTreeSet<String>,
    /// Those that agree, and that the loader refuses all the same.
    pub strict: BTreeSet<String>,
    /// Differences that nobody listed, and listed ones that agree.
    pub wrong: Vec<String>,
    notes: BTreeSet<String>,
}

/// Runs every case below `folder`. `whole`: every case that is listed has to be there.
pub fn run(folder: &Path, listed: &Differences, whole: bool) -> Tally {
    let mut tally = Tally::default();
    for path in files(folder) {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        tally.files += 1;
        for case in file.cases {
            tally.cases += 1;
            tally.judge(case);
        }
    }
    // Several cases may have one name: it is listed when one of them differs.
    tally.agree.retain(|note| !tally.differ.contains(note) && !tally.refused.contains(note));
    let named = |note: &&String| listed.interpreter.contains_key(*note) || listed.refused.contains_key(*note);
    for note in tally.agree.iter().filter(named) {
        tally.wrong.push(format!("{note}: agrees, and is listed"));
    }
    for note in tally.agree.iter().filter(|note| listed.machine.contains_key(*note)) {
        if !tally.machine_differ.contains(note) {
            tally.wrong.push(format!("{note}: agrees on the machine, and is listed"));
        }
    }
    tally.wrong.retain(|said| !excused(said, listed));
    let gone = listed.interpreter.keys().chain(listed.machine.keys()).filter(|note| !tally.notes.contains(*note));
    let gone = gone.map(|note| format!("{note}: is listed, and no case is called so"));
    let used: BTreeSet<&String> = tally.refused.iter().filter_map(|note| listed.refusal(note)).collect();
    let idle = listed.refused.keys().filter(|pattern| !used.contains(pattern));
    let idle = idle.map(|pattern| format!("{pattern}: is listed as refused, and no case is"));
    let wrong: Vec<_> = gone.chain(idle).filter(|_| whole).collect();
    tally.wrong.extend(wrong);
    tally
}

/// What stands before the first `: ` of a complaint is the way, and then the note.
fn excused(said: &str, listed: &Differences) -> bool {
    let names = |part: &BTreeMap<String, String>, way: &str| {
        part.keys().any(|note| said.strip_prefix(way).is_some_and(|rest| rest.starts_with(&format!("{note}: "))))
    };
    let refused = said.strip_prefix("refused: ").is_some_and(|rest| {
        let mut notes = rest.match_indices(": ").filter_map(|(at, _)| rest.get(..at));
        notes.any(|note| listed.refusal(note).is_some())
    });
    refused || names(&listed.interpreter, "interpreter: ") || names(&listed.machine, "machine: ")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (agree, differ, machine) = (self.agree.len(), self.differ.len(), self.machine_differ.len());
        let (refused, strict) = (self.refused.len(), self.strict.len());
        writeln!(f, "{} files, {} cases", self.files, self.cases)?;
        let run = self.cases - self.not_applicable.values().sum::<usize>();
        writeln!(f, "interpreter: {run} cases run, {agree} names agree, {differ} differ")?;
        writeln!(f, "refused: {refused} names are not loaded, and {strict} of those that agree would not be")?;
        writeln!(f, "machine: {} cases taken, {machine} names differ", self.machine)?;
        writeln!(f, "not applicable: {}", self.not_applicable.values().sum::<usize>())?;
        self.not_applicable.iter().try_for_each(|(reason, count)| writeln!(f, "  {count:4} {reason}"))
    }
}

impl Tally {
    fn judge(&mut self, case: Case) {
        self.notes.insert(case.note.clone());
        if let Some(reason) = not_applicable(&case) {
            *self.not_applicable.entry(reason).or_default() += 1;
            return;
        }
        let note = case.note.clone();
        let refused = refused(&case);
        let verdicts = timed(move || {
            let interpreter = differs(&case);
            let machine = if interpreter.is_none() { machine_differs(&case) } else { None };
            (interpreter, machine)
        });
        let (interpreter, machine) = verdicts.unwrap_or_else(|| (Some("no answer".to_owned()), None));
        match (&interpreter, refused) {
            (Some(how), Some(why)) => {
                self.wrong.push(format!("refused: {note}: {why}; else {how}"));
                self.refused.insert(note);
                return;
            }
            (None, Some(_)) => drop(self.strict.insert(note.clone())),
            (_, None) => {}
        }
        if let Some(how) = interpreter {
            self.wrong.push(format!("interpreter: {note}: {how}"));
            self.differ.insert(note);
            return;
        }
        if let Some(machine) = machine {
            self.machine += 1;
            if let Some(how) = machine {
                self.wrong.push(format!("machine: {note}: {how}"));
                self.machine_differ.insert(note.clone());
            }
        }
        self.agree.insert(note);
    }
}

/// Why a case says nothing about policies here. Calls are read from the text without its comments and strings: a name
/// that is neither a function of the engine nor declared in the case is one that the loader does not know.
fn not_applicable(case: &Case) -> Option<String> {
    static QUOTED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"(?m)"(?:\\.|[^"\\\n])*"|`[^`]*`|'(?:\\.|[^'\\\n])*'|#.*$"#).unwrap());
    static CALL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"([A-Za-z_][\w.]*)\(").unwrap());
    static NAMED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^(?:default\s+)?([A-Za-z_]\w*)|import\s+\S*?(\w+)\s*$|\bas\s+(\w+)").unwrap()
    });
    if let Some(field) = case.unknown.keys().next() {
        return Some(format!("field {field}"));
    }
    let mut text = case.query.clone();
    for module in case.modules.iter().flatten() {
        text.push('\n');
        text.push_str(module);
    }
    let text = QUOTED.replace_all(&text, "\"\"");
    let named: BTreeSet<&str> = NAMED
        .captures_iter(&text)
        .flat_map(|found| found.iter().skip(1).flatten().map(|m| m.as_str()).collect::<Vec<_>>())
        .collect();
    for call in CALL.captures_iter(&text) {
        let name = call.get(1)?.as_str();
        let root = name.split('.').next().unwrap_or(name);
        let kept = regorus::unstable::BUILTINS.contains_key(name) && !REFUSED.contains(&name);
        let language =
            ["data", "input", "in", "if", "contains", "set", "print", "some", "every", "not"].contains(&root);
        if !kept && !language && (REFUSED.contains(&name) || !named.contains(root)) {
            return Some(format!("built-in {name}"));
        }
    }
    None
}

/// Why the policies of a case are not loaded, where they are not.
fn refused(case: &Case) -> Option<String> {
    let modules = case.modules.iter().flatten().enumerate();
    let errors = misread(modules.map(|(n, module)| (format!("{n}.rego"), module.clone()))).err()?;
    errors.problems().first().map(|problem| problem.message.clone())
}

/// On a thread of its own with a deep stack, as the daemon judges in a process of its own. One that does not come back
/// is left behind.
pub fn timed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (answer, answered) = channel();
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    thread.spawn(move || drop(answer.send(work()))).unwrap();
    answered.recv_timeout(LIMIT * 4).ok()
}

/// What the case wants, as rows of bindings; an error is none.
fn wanted(case: &Case) -> Option<Value> {
    let wants_error = case.want_error.is_some() || case.want_error_code.is_some();
    let rows = case.want_result.as_ref().map_or_else(|| json!([]), plain);
    (!wants_error).then(|| sorted(rows, case.sort_bindings))
}

/// How the interpreter is at odds with the case, in OPA's way or in the daemon's.
fn differs(case: &Case) -> Option<String> {
    let is = interpret(case, case.strict_error);
    match (&is, wanted(case)) {
        (Ok(is), None) => return Some(format!("is {is}, and in OPA an error")),
        (Ok(is), Some(want)) if !same(is, &want) => return Some(format!("is {is}, and in OPA {want}")),
        (Err(error), Some(want)) => return Some(format!("fails ({error}), and in OPA is {want}")),
        (Ok(_), Some(_)) | (Err(_), None) => {}
    }
    // The daemon may refuse what OPA answers; it may not answer anything else.
    match (interpret(case, true), is) {
        (Ok(strict), Ok(is)) if !same(&strict, &is) => Some(format!("is {strict} with strict errors, else {is}")),
        (Ok(strict), Err(error)) => Some(format!("is {strict} with strict errors, else fails ({error})")),
        _ => None,
    }
}

/// The same for the machine; `None` where it does not take the case. It takes an error inside of a rule for a rule that
/// does not hold, which is why nothing but the built-in policies runs on it; that is not asked here.
fn machine_differs(case: &Case) -> Option<Option<String>> {
    let is = machine(case, case.strict_error)?.unwrap_or_else(|_| json!([]));
    let want = wanted(case).unwrap_or_else(|| json!([]));
    Some((!same(&is, &want)).then(|| format!("is {is}, and in OPA {want}")))
}

fn engine(case: &Case, strict: bool) -> anyhow::Result<(Engine, Rego)> {
    let mut engine = Engine::new();
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: LIMIT, check_interval: std::num::NonZeroU32::MIN });
    let mut input =
        case.input.as_ref().map_or(Ok(Rego::Undefined), |input| Rego::from_json_str(&plain(input).to_string()))?;
    if let Some(data) = &case.data {
        engine.add_data(Rego::from_json_str(&plain(data).to_string())?)?;
    }
    if let Some(term) = &case.input_term {
        let results = engine.eval_query(term.clone(), false)?;
        let value = results.result.last().and_then(|row| row.expressions.last()).map(|term| term.value.clone());
        input = value.ok_or_else(|| anyhow::anyhow!("an input term that is nothing"))?;
    }
    engine.set_input(input.clone());
    for (n, module) in case.modules.iter().flatten().enumerate() {
        engine.add_policy(format!("{n}.rego"), module.clone())?;
    }
    engine.set_strict_builtin_errors(strict);
    Ok((engine, input))
}

fn interpret(case: &Case, strict: bool) -> Outcome {
    let rows = || -> anyhow::Result<Value> {
        let (mut engine, _) = engine(case, strict)?;
        let mut rows = Vec::new();
        for row in engine.eval_query(case.query.clone(), false)?.result {
            rows.push(serde_json::from_str(&row.bindings.to_json_str()?)?);
        }
        Ok(sorted(Value::Array(rows), case.sort_bindings))
    };
    rows().map_err(|error| format!("{error:#}").lines().last().unwrap_or_default().trim().to_owned())
}

/// `data.x.y = z` or the other way round: the rule and the variable. Other queries have no entry point.
fn rule_of(query: &str) -> Option<(String, String)> {
    static QUERY: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^\s*(?:(data(?:\.\w+)+) = (\w+)|(\w+) = (data(?:\.\w+)+))\s*$").unwrap());
    let found = QUERY.captures(query)?;
    let part = |n: usize| found.get(n).map(|part| part.as_str().to_owned());
    part(1).zip(part(2)).or_else(|| part(4).zip(part(3)))
}

/// `None` where the query is no rule, and where the compiler refuses the text, as it would refuse a built-in policy.
fn machine(case: &Case, strict: bool) -> Option<Outcome> {
    let (rule, variable) = rule_of(&case.query)?;
    let program = || -> anyhow::Result<_> {
        let (mut engine, input) = engine(case, strict)?;
        let policy = engine.compile_with_entrypoint(&rule.as_str().into())?;
        Ok((Compiler::compile_from_policy(&policy, &[&rule])?, input))
    };
    let (program, input) = program().ok()?;
    let mut vm = RegoVM::new();
    vm.load_program(program);
    let data = case.data.as_ref().map_or_else(|| json!({}), plain).to_string();
    let result = (|| {
        vm.set_data(Rego::from_json_str(&data).map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        vm.set_input(input);
        vm.set_strict_builtin_errors(strict);
        vm.set_execution_timer_config(Some(ExecutionTimerConfig {
            limit: LIMIT,
            check_interval: std::num::NonZeroU32::MIN,
        }));
        vm.execute().map_err(|error| error.to_string())
    })();
    Some(result.and_then(|value| match value {
        Rego::Undefined => Ok(json!([])),
        value => {
            let text = value.to_json_str().map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            Ok(sorted(json!([{ variable: value }]), case.sort_bindings))
        }
    }))
}

/// As OPA reads YAML: keys are texts.
fn plain(value: &serde_yaml::Value) -> Value {
    match value {
        serde_yaml::Value::Mapping(members) => {
            let key = |key: &serde_yaml::Value| key.as_str().map_or_else(|| plain(key).to_string(), str::to_owned);
            Value::Object(members.iter().map(|(name, member)| (key(name), plain(member))).collect::<Map<_, _>>())
        }
        serde_yaml::Value::Sequence(members) => members.iter().map(plain).collect(),
        other => serde_json::to_value(other).unwrap(),
    }
}

/// `sort_bindings`: the lists that variables are bound to have no order.
fn sorted(mut rows: Value, bindings: bool) -> Value {
    let lists = rows.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for list in lists.filter_map(Value::as_array_mut).filter(|_| bindings) {
        list.sort_by_key(ToString::to_string);
    }
    rows
}
