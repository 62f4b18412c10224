//! A decision and the policies that it is made by, when they are loaded in between.

use std::time::Duration;

use super::hold::Verdict;
use super::release::By;
use super::*;
use crate::call::{Class, Decided, fixtures};
use crate::json::{JsonText, Rules};
use crate::policy::{HistoryUse, Settings as Policy};

mod simulator;

const BUDGET: &str = "budgets: { billing: { '*': { day: { count: 100 } } } }\n";
/// Has nothing to say where nobody has prepared the history of the session.
const SESSIONS: &str = r#"package countersign.policy.sessions
deny contains {"rule": "sessions.many", "reason": "r"} if input.history.session.operations.refund.day.count >= 0
"#;

fn call() -> ToolCall {
    let text = |text: &str| JsonText::parse(text, Rules::CLIENT).unwrap();
    let (params, message) = (text(r#"{"name":"refund"}"#), text("{}"));
    ToolCall::new(CallId::random().unwrap(), Decided::ToolsCall, "refund".into(), text("{}"), params, message)
}

fn context() -> CallContext {
    let context = fixtures::context("refund", Class::Read);
    CallContext { principal: fixtures::principal("agent", &["*/*"]), ..context }
}

async fn gate(folder: &std::path::Path) -> Arc<Gate> {
    let policies = folder.join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("data.yaml"), BUDGET).unwrap();
    let policy = Policy {
        builtin: vec!["scopes".into()],
        paths: vec![policies],
        time_limit: Duration::from_secs(5),
        ..Policy::default()
    };
    let holds = Settings {
        ttl: Duration::from_secs(60),
        no_console_grace: Duration::from_secs(60),
        take_back: Duration::ZERO,
        max_pending: 10,
        max_per_principal: 10,
        prompts_per_minute: 1000,
        batches: false,
        held_bytes: 1 << 20,
        unsigned_production: true,
        unsigned_elsewhere: true,
    };
    let audit = AuditLog::open(&folder.join("audit.db"), false).unwrap();
    let gate = Arc::new(Gate::new(PolicyEngine::load(policy).unwrap(), audit, holds));
    gate.remember().await.unwrap();
    gate
}

/// The last look before a call leaves, in the moment between the token's end and that of its session.
#[tokio::test]
async fn nothing_leaves_for_a_client_whose_token_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path()).await;
    let replaced = CancellationToken::new();
    let session = gate.open_session(&context(), replaced.clone());
    let (call, approved) = (call(), {
        let call = call();
        gate.policy.evaluate(&call, &context(), call.digest(&context()), policy::now()).await.unwrap()
    });
    let release = async || {
        gate.release(
            &call,
            &context(),
            By::Ruling { hold: call.id(), until: gate.holds.now() + Duration::from_secs(60) },
            &approved,
            &Presence::default(),
        )
        .await
    };
    assert!(release().await.is_ok() && session.stopped().is_none());
    replaced.cancel();
    let (outcome, reason) = release().await.unwrap_err();
    assert_eq!((outcome, reason.as_str()), (Outcome::Withdrawn, REPLACED));
    assert_eq!(session.stopped(), Some((outcome, reason)));
    let admitted = gate.admit(Box::new(super::tests::call()), Box::new(context()), &Presence::default()).await;
    assert_eq!(admitted.unwrap_err().outcome, Outcome::Withdrawn);
}

#[tokio::test]
async fn a_call_that_waited_while_policies_were_loaded_is_judged_with_all_that_they_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path()).await;
    let first = gate.admit(Box::new(call()), Box::new(context()), &Presence::default()).await;
    assert!(matches!(first, Ok(Admission::Permitted(_))), "{first:?}");
    let before = gate.history.turn(&call(), &context(), HistoryUse::Budgets).await.unwrap();
    let [waits, released] = std::array::from_fn(|n| {
        let gate = Arc::clone(&gate);
        tokio::spawn(async move {
            if n == 0 {
                return gate.admit(Box::new(call()), Box::new(context()), &Presence::default()).await.map(|_| ());
            }
            let (call, context) = (call(), context());
            let approved = gate.policy.evaluate(&call, &context, call.digest(&context), policy::now()).await.unwrap();
            let released = gate
                .release(
                    &call,
                    &context,
                    By::Ruling { hold: call.id(), until: gate.holds.now() + Duration::from_secs(60) },
                    &approved,
                    &Presence::default(),
                )
                .await;
            released.map(|_| ()).map_err(|(outcome, reason)| Refusal::new(outcome, reason))
        })
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waits.is_finished() && !released.is_finished(), "somebody else has the turn");
    std::fs::write(folder.path().join("policies/sessions.rego"), SESSIONS).unwrap();
    gate.reload().await.unwrap();
    drop(before);
    for task in [waits, released] {
        assert_eq!(task.await.unwrap().unwrap_err().outcome, Outcome::Denied);
    }
}

/// Whoever keeps the time has nothing to wait for before the first hold, and hears of that one.
#[tokio::test]
async fn a_hold_that_came_later_ends_while_the_machine_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path()).await;
    let (call, context) = (Arc::new(call()), Arc::new(context()));
    let digest = call.digest(&context);
    let allowed = gate.policy.evaluate(&call, &context, digest, policy::now()).await.unwrap();
    let held = Arc::new(Decision { effect: Effect::Hold, ..allowed });
    tokio::time::pause();
    let (keeper, stop) = (Arc::clone(&gate), CancellationToken::new());
    let until = stop.clone();
    let keeps = tokio::spawn(async move { keeper.keep_time(until).await });
    tokio::task::yield_now().await;
    let placed = gate.holds.place(Arc::clone(&call), context, held, digest, vec![], &Presence::default());
    let Ok(Placed::Waits(place)) = placed else { panic!("{placed:?}") };
    gate.holds.show(call.id());
    // It is looked at, and goes on.
    tokio::time::sleep(Duration::from_millis(1)).await;
    gate.holds.clock.sleep(Duration::from_secs(7200));
    // Nothing else has a timer that could end it.
    let ended = tokio::time::timeout(Duration::from_secs(45), place.verdict).await;
    assert!(matches!(ended, Ok(Ok(Verdict::Ended { outcome: Outcome::Expired, .. }))), "{ended:?}");
    assert!(matches!(gate.holds.find(call.id()).unwrap().state, State::Closed { outcome: Outcome::Expired, .. }));
    stop.cancel();
    keeps.await.unwrap();
}

/// Between the ruling and the record of the sending a call may wait, for its turn or for the store.
#[tokio::test]
async fn nothing_leaves_after_the_end_of_its_hold_or_of_its_clients_patience() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path()).await;
    let _session = gate.open_session(&context(), CancellationToken::new());
    let call = call();
    let approved = gate.policy.evaluate(&call, &context(), call.digest(&context()), policy::now()).await.unwrap();
    let release = async |until, presence: Presence| {
        gate.release(&call, &context(), By::Ruling { hold: call.id(), until }, &approved, &presence).await
    };
    let (now, later) = (gate.holds.now(), gate.holds.now() + Duration::from_secs(60));
    let released = release(later, Presence::default()).await.unwrap();
    assert_eq!(release(now, Presence::default()).await.unwrap_err().0, Outcome::Expired);
    let impatient = Presence::default().until(&gate, Some(tokio::time::Instant::now()));
    assert_eq!(release(later, impatient).await.unwrap_err().0, Outcome::Expired);
    // Also where it waits at its link.
    gate.holds.clock.sleep(Duration::from_secs(60));
    released.leave.attempt(|| ((), true)).unwrap_err();
    assert_eq!(released.leave.refused().map(|(outcome, _)| outcome), Some(Outcome::Expired));
}

/// A server may be slow to take a call, and the machine may sleep meanwhile: timers stand still then.
#[tokio::test]
async fn what_policy_lets_go_by_itself_does_not_leave_after_the_machine_has_slept() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path()).await;
    let _session = gate.open_session(&context(), CancellationToken::new());
    let soon = Some(tokio::time::Instant::now() + Duration::from_secs(30));
    for (patience, slept, no) in
        [(None, 0, None), (None, 61, Some(Outcome::Unavailable)), (soon, 0, None), (soon, 31, Some(Outcome::Expired))]
    {
        let presence = Presence::default().until(&gate, patience);
        let admitted = gate.admit(Box::new(call()), Box::new(context()), &presence).await;
        let Ok(Admission::Permitted(permit)) = admitted else { panic!("{admitted:?}") };
        let sent = permit.release();
        gate.holds.clock.sleep(Duration::from_secs(slept));
        assert_eq!(sent.leave().attempt(|| ((), true)).is_ok(), no.is_none(), "{no:?}");
        assert_eq!(sent.leave().refused().map(|(outcome, _)| outcome), no);
    }
}
