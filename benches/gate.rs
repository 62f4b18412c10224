//! The way of a call without its transports: the strict parse, and the whole gate (sorted, judged, recorded, permitted,
//! its answer recorded) on the shipped policies and a store on disk.
//!
//! `cargo bench --bench gate`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use countersign::audit::{Answer, AuditLog};
use countersign::call::{
    Bound, CallContext, ClientInfo, Environment, EnvironmentSource, Pin, Principal, PrincipalKind, SchemaCheck,
    ServerFacts, ToolFacts, Transport,
};
use countersign::catalog::Catalog;
use countersign::gate::{Admission, Gate, Presence, Settings};
use countersign::mcp::message::Message;
use countersign::mcp::method::{Sorted, sort};
use countersign::policy::PolicyEngine;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn request(payload: usize) -> String {
    let text = "x".repeat(payload);
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"get_customer","arguments":{{"customer":"cus_1","text":"{text}"}}}}}}"#
    )
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, payload) in [("200 B", 200), ("1 MiB", 1 << 20)] {
        let bytes = request(payload).into_bytes();
        group.throughput(Throughput::Bytes(u64::try_from(bytes.len()).unwrap()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Message::from_client(black_box(bytes.clone())).unwrap());
        });
    }
    group.finish();
}

fn context() -> CallContext {
    CallContext {
        continues: None,
        history: None,
        session: "s-bench".into(),
        principal: Arc::new(Principal::plain("agent", PrincipalKind::Uid, vec!["billing/read".into()])),
        client: Arc::new(ClientInfo {
            name: Some("bench".into()),
            version: None,
            protocol: None,
            transport: Transport::Stdio,
            uid: Some(1000),
            pid: None,
            cwd: None,
            peer: None,
        }),
        server: Arc::new(ServerFacts { name: "billing".into(), vendor: Some("billing".into()), catalog: None }),
        environment: Arc::new(Environment {
            name: "production".into(),
            source: EnvironmentSource::Config,
            verified: false,
            conflict: None,
            accounts: Vec::new(),
        }),
        tool: ToolFacts {
            name: "get_customer".into(),
            annotations: None,
            definition: None,
            pin: Pin::Unknown,
            schema: SchemaCheck::None,
        },
        operation: Catalog::builtin(Some("billing")).unwrap().listed("get_customer"),
        bound: Bound::default(),
        confirmations: Vec::new(),
    }
}

fn gate(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        ttl: Duration::from_secs(300),
        no_console_grace: Duration::from_secs(20),
        take_back: Duration::ZERO,
        max_pending: 10,
        max_per_principal: 10,
        prompts_per_minute: 10_000_000,
        batches: false,
        held_bytes: 1 << 20,
        unsigned_production: true,
        unsigned_elsewhere: true,
    };
    let policy = PolicyEngine::load(countersign::policy::Settings::default()).unwrap();
    let gate = runtime.block_on(async {
        let audit = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
        Arc::new(Gate::new(policy, audit, settings))
    });
    let text = request(200);
    let context = context();
    criterion.bench_function("gate/an allowed read", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let Sorted::Decide(call) = sort(Message::from_client(text.as_str()).unwrap()) else { panic!("sorted") };
                let admitted = gate.admit(call, Box::new(context.clone()), &Presence::default()).await.unwrap();
                let Admission::Permitted(permit) = admitted else { panic!("held") };
                gate.completed(permit.release(), Answer::Ok, 200, None, None).await;
            });
        });
    });
    runtime.block_on(gate.audit().clone().close());
}

criterion_group!(benches, parse, gate);
criterion_main!(benches);
