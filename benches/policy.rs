//! One decision on the shipped policies and the Stripe catalog. `decision` is what a call pays: the operation, the
//! digest, the input document, the evaluation and the typed result, and for the read of 1 MiB also the way to a blocking
//! thread and back; `evaluation` is the same without that way; `catalog` and `digest` are parts of it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;
use std::sync::Arc;

use countersign::call::{
    CallContext, ClientInfo, Environment, EnvironmentSource, Pin, Principal, PrincipalKind, ServerFacts, ToolCall,
    ToolFacts, Transport,
};
use countersign::catalog::Catalog;
use countersign::mcp::message::Message;
use countersign::mcp::method::{Sorted, sort};
use countersign::policy::{PolicyEngine, Settings};
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

fn context(catalog: &Catalog, call: &ToolCall) -> CallContext {
    CallContext {
        continues: None,
        history: None,
        session: "4Q2M7T".into(),
        principal: Arc::new(Principal::plain(
            "claude-code",
            PrincipalKind::Uid,
            vec!["*/read".into(), "stripe/create_refund".into()],
        )),
        client: ClientInfo {
            name: Some("claude-code".into()),
            version: Some("2.1.329".into()),
            protocol: Some("2025-11-25".into()),
            transport: Transport::Stdio,
            uid: Some(1000),
            pid: Some(1),
            peer: None,
        },
        server: Arc::new(ServerFacts { name: "stripe".into(), vendor: Some("stripe".into()) }),
        environment: Arc::new(Environment {
            name: "production".into(),
            source: EnvironmentSource::Key,
            verified: true,
            conflict: None,
        }),
        tool: ToolFacts { name: call.tool().into(), annotations: None, definition: None, pin: Pin::Unpinned },
        operation: catalog.operation(call),
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
        let context = context(&catalog, &call);
        criterion.bench_function(&format!("policy/decision/{name}"), |bench| {
            bench.iter(|| {
                black_box(catalog.operation(&call));
                black_box(runtime.block_on(engine.evaluate(&call, &context, call.digest(&context))).unwrap())
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

criterion_group!(benches, decisions);
criterion_main!(benches);
