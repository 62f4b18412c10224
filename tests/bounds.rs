//! What a rule or a hostile argument can cost. The policies below hand what the caller says to the built-in functions
//! that can be made to run for ever or to fill the memory; each is judged in a policy process, which is ended, while
//! this process stays small and goes on deciding.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countersign::call::Effect;
use countersign::policy::{Phase, PolicyEngine, PolicyFault, Settings};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_millis(100);
/// In which a process is ended, another one started, and an input judged by it: unoptimized, beside other tests.
const SOON: Duration = Duration::from_secs(20);

/// One rule for each way to waste: it is evaluated where the caller asks for it by name.
const WASTES: &[(&str, &str)] = &[
    ("range", "count(numbers.range(1, a.n)) > 0"),
    ("range_step", "count(numbers.range_step(1, a.n, 2)) > 0"),
    ("sprintf", "count(sprintf(a.format, [1])) > 0"),
    ("replace", "count(replace(a.text, \"\", a.text)) > 0"),
    ("replace_twice", "count(replace(replace(a.text, \"x\", a.text), \"x\", a.text)) > 0"),
    ("regex_replace", "count(regex.replace(a.text, \"x\", a.text)) > 0"),
    ("regex", "regex.match(a.pattern, a.text)"),
    ("glob", "glob.match(a.glob, [\"/\"], a.text)"),
    ("concat", "count(concat(a.text, [t | some _ in a.list; t := a.text])) > 0"),
    ("marshal", "count(json.marshal([t | some _ in a.list; t := a.text])) > 0"),
    ("base64", "count(base64.encode(concat(a.text, [t | some _ in a.list; t := a.text]))) > 0"),
    ("lsh", "bits.lsh(1, a.n) > 0"),
    ("product", "product([18446744073709551615 | some _ in a.list; some _ in a.list]) > 0"),
    ("cidr", "count(net.cidr_expand(a.cidr)) > 0"),
    ("cartesian", "count([1 | some _ in a.list; some _ in a.list; some _ in a.list]) > 0"),
    ("sets", "count({[x, y, z] | some x in a.numbers; some y in a.numbers; some z in a.numbers}) > 0"),
    ("walk", "count([x | some _ in a.list; walk(a.deep, x)]) > 0"),
    ("patch", "count([p | some _ in a.list; some _ in a.list; p := json.patch(a.deep, [])]) > 0"),
    ("format_int", "count([f | some _ in a.list; some _ in a.list; f := format_int(a.n, 2)]) > 0"),
    ("reachable", "count([r | some _ in a.list; some _ in a.list; r := graph.reachable(a.graph, [\"0\"])]) > 0"),
];

/// What grows only when it is written: the process has to write it.
const SAYS_MUCH: &str = "deny contains {\"rule\": \"waste.says\", \"reason\": \"r\", \"details\": [t | some _ in input.arguments.list; t := input.arguments.text]} if input.arguments.waste == \"says\"";

fn hostile(waste: &str) -> String {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let graph: serde_json::Map<String, Value> =
        (0..500).map(|n: u32| (n.to_string(), json!([(n + 1).to_string()]))).collect();
    input(json!({
        "waste": waste,
        "n": 2_000_000_000,
        "format": "%2000000000d",
        "text": "x".repeat(200_000),
        "pattern": "(a{1000}){1000}{1000}",
        "glob": "{a*,b*}".repeat(5_000),
        "cidr": "0.0.0.0/0",
        "list": vec![0; 20_000],
        "numbers": (0..2_000).collect::<Vec<_>>(),
        "deep": deep,
        "graph": graph,
    }))
}

fn input(arguments: Value) -> String {
    json!({"version": 1, "phase": "call", "operation": {"name": "t", "class": "read"}, "arguments": arguments})
        .to_string()
}

struct Bounded {
    engine: PolicyEngine,
    _folder: tempfile::TempDir,
}

impl Bounded {
    fn start() -> Bounded {
        let mut policy = String::from(
            "package countersign.policy.waste\n\na := input.arguments\n\nallow contains {\"rule\": \"waste.allow\", \"reason\": \"r\"} if true\n\n",
        );
        for (name, body) in WASTES {
            let head = format!("deny contains {{\"rule\": \"waste.{name}\", \"reason\": \"r\"}} if");
            policy += &format!("{head} {{\n\ta.waste == \"{name}\"\n\t{body}\n}}\n\n");
        }
        policy += SAYS_MUCH;
        policy.push('\n');
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("waste.rego"), policy).unwrap();
        let engine = PolicyEngine::load(settings(folder.path())).unwrap_or_else(|errors| panic!("{errors}"));
        Bounded { engine, _folder: folder }
    }

    async fn judge(&self, document: String) -> Result<Effect, PolicyFault> {
        self.engine.decide(Phase::Call, document).await.map(|decision| decision.effect)
    }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        builtin: Vec::new(),
        paths: vec![folder.to_owned()],
        time_limit: LIMIT,
        unsafe_default_allow: true,
        worker: Some(PathBuf::from(env!("CARGO_BIN_EXE_countersign"))),
        ..Settings::default()
    }
}

/// A line of `/proc/PID/status`, in KiB.
fn status(pid: u32, what: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn children() -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| status(*pid, "PPid") == Some(u64::from(std::process::id()))).collect()
}

/// The largest messages that the daemon takes are no problem for a policy that looks at all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_input_is_judged_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "package countersign.policy.all\n\nallow contains {\"rule\": \"all\", \"reason\": \"r\"} if {\n\tcount([1 | walk(input.arguments, [_, \"needle\"])]) == 1\n}\n";
    std::fs::write(folder.path().join("all.rego"), policy).unwrap();
    let engine = PolicyEngine::load(Settings { time_limit: SOON, ..settings(folder.path()) }).unwrap();
    for filling in [
        json!({"a": "x".repeat(2 << 20)}),
        json!({"a": vec![0; 200_000]}),
        json!({"a": vec![json!({"b": [1]}); 50_000]}),
    ] {
        let document = input(json!({"filling": filling, "here": ["needle"]}));
        let decision = engine.decide(Phase::Call, document).await.unwrap();
        assert_eq!(decision.effect, Effect::Allow);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_argument_makes_the_daemon_stop_grow_or_wait() {
    let bounded = Bounded::start();
    assert_eq!(bounded.judge(input(json!({}))).await, Ok(Effect::Allow));
    let before = status(std::process::id(), "VmRSS").unwrap();
    let mut refused = Vec::new();
    for name in WASTES.iter().map(|(name, _)| *name).chain(["says"]) {
        let asked = Instant::now();
        let answer = bounded.judge(hostile(name)).await;
        let took = asked.elapsed();
        let next = bounded.judge(input(json!({}))).await;
        eprintln!(
            "{name:15} {:>6} ms, then {:>6} ms  {answer:?}",
            took.as_millis(),
            (asked.elapsed() - took).as_millis()
        );
        assert_eq!(next, Ok(Effect::Allow), "after {name}");
        assert!(asked.elapsed() < SOON, "{name}");
        match answer {
            // Quick enough to be an answer, and then it is the right one.
            Ok(effect) => assert_eq!(effect, Effect::Deny, "{name}"),
            Err(
                PolicyFault::Timeout
                | PolicyFault::Worker(_)
                | PolicyFault::TimeLimit { .. }
                | PolicyFault::Engine { .. },
            ) => {
                refused.push(name);
            }
            Err(fault) => panic!("{name}: {fault}"),
        }
        let workers = children();
        assert!(workers.len() <= 8, "{} processes after {name}", workers.len());
        for worker in workers {
            // One that is just starting has not set its limit yet, and needs little.
            let size = status(worker, "VmSize").unwrap_or(0);
            assert!(size <= 600 << 10, "{name}: {size} KiB");
        }
    }
    let grown = status(std::process::id(), "VmHWM").unwrap().saturating_sub(before);
    assert!(grown < 100 << 10, "the daemon grew by {grown} KiB");
    for expected in ["range", "sprintf", "concat", "cartesian", "marshal", "says"] {
        assert!(refused.contains(&expected), "{expected} is not hostile any more: {refused:?}");
    }
}
