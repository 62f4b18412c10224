//! One decision on the shipped policies and the Stripe catalog. `decision` is what a call pays: the operation, the
//! digest, the input document, the evaluation and the typed result, and for the read of 1 MiB also the way to a blocking
//! thread and back; `evaluation` is the same without that way; `catalog` and `digest` are parts of it. At the end stands
//! a table of percentiles, with the other catalogs, policies of an operator, on threads and in processes, and of what
//! hostile arguments cost.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::call::{
    Bound, CallContext, ClientInfo, Effect, Environment, EnvironmentSource, Pin, Principal, PrincipalKind, SchemaCheck,
    ServerFacts, ToolCall, ToolFacts, Transport,
};
use countersign::catalog::Catalog;
use countersign::mcp::message::Message;
use countersign::mcp::method::{Sorted, sort};
use countersign::policy::{Phase, PolicyEngine, Settings};
use criterion::{Criterion, criterion_group, criterion_main};

fn call(tool: &str, arguments: &str) -> ToolCall {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    );
    match sort(Message::from_client(text).unwrap()) {
        Sorted::Decide(call) => *call,
        other => panic!("not decided: {other:?}"),
    }
}

fn context(vendor: &str, catalog: &Catalog, call: &ToolCall) -> CallContext {
    let operation = catalog.operation(call);
    let own = match vendor {
        "stripe" => "stripe/create_refund".to_owned(),
        _ => format!("{vendor}/{}", operation.class.as_str()),
    };
    CallContext {
        continues: None,
        history: None,
        session: "4Q2M7T".into(),
        principal: Arc::new(Principal::plain("claude-code", PrincipalKind::Uid, vec!["*/read".into(), own])),
        client: Arc::new(ClientInfo {
            name: Some("claude-code".into()),
            version: Some("2.1.329".into()),
            protocol: Some("2025-11-25".into()),
            transport: Transport::Stdio,
            uid: Some(1000),
            pid: Some(1),
            cwd: None,
            peer: None,
        }),
        server: Arc::new(ServerFacts { name: vendor.into(), vendor: Some(vendor.into()), catalog: None }),
        environment: Arc::new(Environment {
            name: "production".into(),
            source: EnvironmentSource::Key,
            verified: true,
            conflict: None,
            accounts: Vec::new(),
        }),
        tool: ToolFacts {
            name: call.tool().into(),
            annotations: None,
            definition: None,
            pin: Pin::Match,
            schema: SchemaCheck::Checked,
        },
        operation,
        bound: Bound::default(),
        confirmations: Vec::new(),
    }
}

fn decisions(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let engine = PolicyEngine::load(Settings::default()).unwrap();
    let catalog = Catalog::builtin(Some("stripe")).unwrap();
    let big = format!(r#"{{"email":"{}"}}"#, "x".repeat(1 << 20));
    let calls = [
        ("read of 1 MiB", call("list_customers", &big)),
        ("read", call("list_customers", r#"{"limit":10,"email":"someone@example.com"}"#)),
        ("held refund", call("create_refund", r#"{"payment_intent":"pi_3PGrkE2eZvKYlo2C","amount":5000}"#)),
    ];
    for (name, call) in calls {
        let context = context("stripe", &catalog, &call);
        criterion.bench_function(&format!("policy/decision/{name}"), |bench| {
            bench.iter(|| {
                black_box(catalog.operation(&call));
                black_box(
                    runtime
                        .block_on(engine.evaluate(&call, &context, call.digest(&context), countersign::policy::now()))
                        .unwrap(),
                )
            });
        });
        criterion.bench_function(&format!("policy/catalog/{name}"), |bench| {
            bench.iter(|| black_box(catalog.operation(&call)));
        });
        criterion.bench_function(&format!("policy/digest/{name}"), |bench| {
            bench.iter(|| black_box(call.digest(&context)));
        });
        criterion.bench_function(&format!("policy/evaluation/{name}"), |bench| {
            bench.iter(|| {
                black_box(catalog.operation(&call));
                black_box(engine.evaluate_here(&call, &context).unwrap())
            });
        });
    }
}

/// Every kind of evaluation, with the spread that a mean hides: `p50` and `p99` of 20,000 decisions, as calls pay them.
/// Arguments of the command line filter criterion's part only.
fn percentiles(_: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let catalogs = ["stripe", "statsig", "stigg"].map(|vendor| (vendor, Catalog::builtin(Some(vendor)).unwrap()));
    let [stripe, statsig, stigg] = &catalogs;
    let read = call("list_customers", r#"{"limit":10,"email":"someone@example.com"}"#);
    let refund = call("create_refund", r#"{"payment_intent":"pi_3PGrkE2eZvKYlo2C","amount":5000}"#);
    let gate = call("Get_Gate_Details_by_ID", r#"{"params":{"id":"checkout"}}"#);
    let gate_update = call(
        "Update_Gate_Entirely",
        r#"{"params":{"id":"checkout","application/json":{"isEnabled":false,"rules":[]}}}"#,
    );
    let docs = call("search_docs", r#"{"query":"provision a subscription","language":"typescript"}"#);
    let code = call(
        "execute",
        r#"{"intent":"archive a customer","code":"async function run(client) { await client.v1.customers.archive('customer-1'); }"}"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let own = |rules: usize, tools: usize, worker: bool| {
        let folder = folder.path().join(format!("{rules}-{tools}"));
        std::fs::create_dir_all(&folder).unwrap();
        write_policy(&folder, rules, tools);
        let worker = worker.then(|| env!("CARGO_BIN_EXE_countersign").into());
        PolicyEngine::load(Settings { paths: vec![folder], worker, time_limit: SLOW, ..Settings::default() }).unwrap()
    };
    let built_in = PolicyEngine::load(Settings { time_limit: SLOW, ..Settings::default() }).unwrap();
    println!("one decision, typed, in microseconds:                     p50      p99");
    for (name, engine, (vendor, catalog), call) in [
        ("built-in policies: read", &built_in, stripe, &read),
        ("built-in policies: held refund", &built_in, stripe, &refund),
        ("built-in policies: Statsig, read", &built_in, statsig, &gate),
        ("built-in policies: Statsig, held write", &built_in, statsig, &gate_update),
        ("built-in policies: Stigg, read", &built_in, stigg, &docs),
        ("built-in policies: Stigg, held code", &built_in, stigg, &code),
        ("and 60 rules over 150 tools, on a thread", &own(60, 150, false), stripe, &read),
        ("and 60 rules over 150 tools, in a process", &own(60, 150, true), stripe, &read),
        ("and 600 rules over 150 tools, in a process", &own(600, 150, true), stripe, &read),
        ("and 60 rules over 1500 tools, in a process", &own(60, 1500, true), stripe, &read),
    ] {
        let context = context(vendor, catalog, call);
        let decide = || {
            let operation = catalog.operation(call);
            let context = CallContext { operation, ..context.clone() };
            let digest = call.digest(&context);
            black_box(runtime.block_on(engine.evaluate(call, &context, digest, countersign::policy::now())).unwrap())
        };
        assert_eq!(decide().effect == Effect::Hold, name.contains("held"), "{name}");
        let times = sorted(if cfg!(debug_assertions) { 500 } else { 20_000 }, || drop(decide()));
        println!("{name:55} {:>8.1} {:>8.1}", at(&times, 50), at(&times, 99));
    }
    hostile(&runtime, folder.path());
}

/// What an argument that a policy chokes on costs: the caller, and whoever comes next.
fn hostile(runtime: &tokio::runtime::Runtime, folder: &Path) {
    let policy = "package countersign.policy.hostile\n\nallow contains {\"rule\": \"hostile.allow\", \"reason\": \"r\"} if input.phase\n\ndeny contains {\"rule\": \"hostile.range\", \"reason\": \"r\"} if count(numbers.range(1, input.arguments.upto)) == 0\n\ndeny contains {\"rule\": \"hostile.expand\", \"reason\": \"r\"} if count(net.cidr_expand(input.arguments.network)) == 0\n";
    let folder = folder.join("hostile");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hostile.rego"), policy).unwrap();
    let worker = Some(env!("CARGO_BIN_EXE_countersign").into());
    let engine =
        PolicyEngine::load(Settings { builtin: vec![], paths: vec![folder], worker, ..Settings::default() }).unwrap();
    let decide = |arguments: &str| {
        let document = format!(r#"{{"phase":"call","arguments":{arguments}}}"#);
        runtime.block_on(engine.decide(Phase::Call, document))
    };
    println!("a hostile argument, in milliseconds:                  refused     next");
    for (name, arguments) in
        [("memory: numbers.range", r#"{"upto":2000000000}"#), ("time: net.cidr_expand", r#"{"network":"0.0.0.0/0"}"#)]
    {
        let started = Instant::now();
        assert!(decide(arguments).is_err());
        let refused = started.elapsed();
        assert!(decide("{}").is_ok());
        let next = started.elapsed() - refused;
        println!("{name:55} {:>8.1} {:>8.1}", refused.as_secs_f64() * 1e3, next.as_secs_f64() * 1e3);
    }
}

/// Long enough for a build without optimization.
const SLOW: Duration = Duration::from_secs(5);

fn write_policy(folder: &Path, rules: usize, tools: usize) {
    let mut text = String::from("package countersign.policy.own\n\n");
    for n in 0..rules {
        text += &format!(
            "hold contains {{\"rule\": \"own.r{n}\", \"reason\": \"a limit\"}} if {{\n\tinput.operation.name == \"tool_{n}\"\n\tinput.arguments.amount > data.limits[input.operation.name]\n}}\n\n"
        );
    }
    std::fs::write(folder.join("own.rego"), text).unwrap();
    let limits: serde_json::Map<_, _> = (0..tools).map(|n| (format!("tool_{n}"), serde_json::json!(n))).collect();
    std::fs::write(folder.join("data.json"), serde_json::json!({"limits": limits}).to_string()).unwrap();
}

/// Microseconds of each run, sorted, after some that do not count.
fn sorted(runs: usize, mut run: impl FnMut()) -> Vec<f64> {
    (0..runs / 10).for_each(|_| run());
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

fn at(times: &[f64], percent: usize) -> f64 {
    times.get(times.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

criterion_group!(benches, decisions, percentiles);
criterion_main!(benches);
