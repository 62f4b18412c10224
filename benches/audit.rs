//! What a record costs: one append and its receipt, and many at once.
//!
//! `cargo bench --bench audit`; the folder is `TMPDIR`, so the figures of synced appends are those of its disk.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use countersign::audit::{Answer, AuditLog, CallFacts, Entry, Event, Judged};
use countersign::call::{
    Bound, CallId, Class, ClientInfo, Decision, Digest, Effect, Environment, EnvironmentSource, Operation, Pin,
    Principal, PrincipalKind, RuleHit, SchemaCheck, ServerFacts, Tier, Transport,
};
use countersign::json::{JsonText, Rules};
use criterion::{Criterion, criterion_group, criterion_main};

const ARGUMENTS: &str = r#"{"name":"create_refund","arguments":{"charge":"ch_3PqR2sLkdIwHu7ix0pZ1Qx2a","amount":12500,"reason":"requested_by_customer","metadata":{"ticket":"FIN-1182"}}}"#;

fn decided(effect: Effect) -> Event {
    let facts = CallFacts {
        session: "01JD8W6Q2M".into(),
        principal: Arc::new(Principal::plain(
            "claude-code",
            PrincipalKind::Token,
            vec!["stripe/read".into(), "stripe/financial".into()],
        )),
        client: Arc::new(ClientInfo {
            name: Some("claude-code".into()),
            version: Some("2.1.0".into()),
            protocol: Some("2025-11-25".into()),
            transport: Transport::Http,
            uid: None,
            pid: None,
            cwd: None,
            peer: Some("127.0.0.1:50412".into()),
        }),
        server: Arc::new(ServerFacts { name: "stripe".into(), vendor: Some("stripe".into()), catalog: None }),
        environment: Arc::new(Environment {
            name: "production".into(),
            source: EnvironmentSource::Key,
            verified: true,
            conflict: None,
            accounts: Vec::new(),
        }),
        method: "tools/call".into(),
        tool: "create_refund".into(),
        definition: Some(Digest::of_bytes(b"definition")),
        operation: Operation {
            name: "create_refund".into(),
            class: Class::Financial,
            reversible: Some(false),
            money: None,
            targets: vec!["ch_3PqR2sLkdIwHu7ix0pZ1Qx2a".into()],
            magnitude: None,
            unmeasured: false,
            environment: None,
            effect: Some("Sends money back to the customer".into()),
        },
        bound: Bound::default(),
        confirmations: Vec::new(),
        digest: Digest::of_bytes(b"call"),
        params: JsonText::parse(ARGUMENTS, Rules::CLIENT).unwrap(),
        meta: None,
        continues: None,
        judged: Some(Judged {
            now: 1_770_000_000_000_000_000,
            pin: Pin::Unpinned,
            schema: SchemaCheck::None,
            tool: None,
        }),
        annotations: JsonText::parse(r#"{"destructiveHint":true,"openWorldHint":true}"#, Rules::UPSTREAM).ok(),
        history: None,
    };
    let decision = Decision {
        effect,
        reason: "billing agents may refund".into(),
        rules: vec![RuleHit {
            rule: "refunds.agents".into(),
            reason: "billing agents may refund".into(),
            policy: "refunds".into(),
            file: "policies/refunds.rego".into(),
            line: 4,
            details: None,
            would: None,
        }],
        tier: Tier::Low,
        approvals: 1,
        ttl_seconds: None,
        confirm_with: vec![],
        grantable: false,
        redact: vec![],
        policy_version: "3f1c".into(),
        observed: vec![],
    };
    Event::Decided { facts: Box::new(facts), decision: Arc::new(decision) }
}

/// The two records of an allowed call.
fn call(sync: bool) -> [Entry; 2] {
    let id = CallId::random().unwrap();
    let completed = Event::Completed {
        result: Answer::Ok,
        bytes: 812,
        digest: Some(Digest::of_bytes(b"answer")),
        duration_ms: 12,
        note: None,
        redacted: Vec::new(),
    };
    [
        Entry { call: Some(id.clone()), sync, event: decided(Effect::Allow) },
        Entry { call: Some(id), sync: false, event: completed },
    ]
}

fn audit(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
    let mut group = criterion.benchmark_group("audit");

    group.bench_function("body of a decision", |bencher| {
        let event = decided(Effect::Allow);
        bencher.iter(|| black_box(&event).body().unwrap());
    });
    for (name, sync) in [("append, written", false), ("append, synced", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let entries: Vec<Entry> = (0..rounds).map(|_| call(sync)).map(|[decided, _]| decided).collect();
                runtime.block_on(async {
                    let start = Instant::now();
                    for entry in entries {
                        let _ = black_box(log.append(entry).await.unwrap());
                    }
                    start.elapsed()
                })
            });
        });
    }
    group.bench_function("an allowed read: append and note", |bencher| {
        bencher.iter_custom(|rounds| {
            let calls: Vec<_> = (0..rounds).map(|_| call(false)).collect();
            runtime.block_on(async {
                let start = Instant::now();
                for [decided, completed] in calls {
                    let _ = black_box(log.append(decided).await.unwrap());
                    log.note(completed).await.unwrap();
                }
                start.elapsed()
            })
        });
    });
    group.bench_function("64 synced appends at once", |bencher| {
        bencher.iter_custom(|rounds| {
            let calls: Vec<Vec<Entry>> =
                (0..rounds).map(|_| (0..64).map(|_| call(true)).map(|[decided, _]| decided).collect()).collect();
            runtime.block_on(async {
                let start = Instant::now();
                for entries in calls {
                    let appends = entries.into_iter().map(|entry| log.append(entry));
                    for receipt in futures_util::future::join_all(appends).await {
                        let _ = black_box(receipt.unwrap());
                    }
                }
                start.elapsed()
            })
        });
    });
    group.finish();
    runtime.block_on(log.close());
}

criterion_group!(benches, audit);
criterion_main!(benches);
