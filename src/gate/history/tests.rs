//! Against a model that keeps every call, side by side, and over a restart.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::audit::{Answer, AuditLog, CallFacts, Entry, Event};
use crate::call::{CallId, Decided, Decision, Effect, Money, Outcome, Tier, fixtures};
use crate::json::Rules;

const START: u64 = 20 * 86_400_000;

fn call() -> ToolCall {
    let text = |text: &str| JsonText::parse(text, Rules::CLIENT).unwrap();
    let (params, message) = (text(r#"{"name":"refund"}"#), text("{}"));
    ToolCall::new(CallId::random().unwrap(), Decided::ToolsCall, "refund".into(), text("{}"), params, message)
}

fn context(operation: &str, amount: Option<&str>) -> CallContext {
    let mut context = fixtures::context(operation, Class::Financial);
    let (unit, currency) = ("minor".to_owned(), Some("EUR".to_owned()));
    let amount = amount.map(str::to_owned);
    context.operation.money = Some(Money { amount, unit, currency, absent: Some("full".into()) });
    context
}

fn reservation(operation: &str, session: &str, amount: Option<&str>, at: u64) -> Reservation {
    let context = context(operation, amount);
    Reservation {
        key: ("agent".into(), "billing".into()),
        session: session.into(),
        operation: operation.into(),
        class: Class::Financial,
        spend: Spend::of(&call(), &context).unwrap(),
        at,
    }
}

fn turn(operation: &str, session: &str) -> Turn {
    let Reservation { key, session, operation, class, spend, .. } = reservation(operation, session, Some("1"), 0);
    Turn { key, session, operation, class, spend: Some(spend), document: None, alone: None }
}

fn known() -> Inner {
    Inner { restored: true, ..Inner::default() }
}

fn shown(inner: &mut Inner, operation: &str, session: &str, now: u64) -> Value {
    let document = inner.document(&turn(operation, session), HistoryUse::Rules, now).unwrap();
    serde_json::from_str(document.as_str()).unwrap()
}

#[test]
fn the_document_has_what_was_let_through_and_what_this_would_add() {
    let mut inner = known();
    for (operation, session, amount) in [
        ("refund", "s-1", Some("10.50")),
        ("refund", "s-2", Some("1e3")),
        ("refund", "s-1", None),
        ("other", "s-1", None),
    ] {
        assert!(inner.count(&reservation(operation, session, amount, START)));
    }
    let seen = shown(&mut inner, "refund", "s-1", START);
    assert_eq!(seen["adds"], json!({"count": 1, "unknown": 0, "sum": {"eur": 1}}));
    let of = |who: &str, part: &str, name: &str| {
        let hour = &seen[who][part][name]["hour"];
        (hour["count"].as_u64().unwrap(), hour["unknown"].as_u64().unwrap(), hour["sum"]["eur"].as_f64())
    };
    assert_eq!(of("principal", "operations", "refund"), (3, 1, Some(1010.5)));
    assert_eq!(of("principal", "classes", "financial"), (4, 2, Some(1010.5)));
    assert_eq!(of("session", "operations", "refund"), (2, 1, Some(10.5)));
    let nothing = shown(&mut inner, "refund_all", "s-3", START);
    let empty = json!({"count": 0, "unknown": 0, "sum": {}});
    assert_eq!(nothing["principal"]["operations"]["refund_all"]["day"], empty);
    assert_eq!(nothing["session"]["operations"], json!({"refund_all": {"minute": empty, "hour": empty, "day": empty}}));
    let budgets = inner.document(&turn("refund", "s-1"), HistoryUse::Budgets, START).unwrap();
    assert!(budgets.view().get("session").is_none(), "budgets do not ask for it");
}

#[test]
fn others_are_counted_apart() {
    let mut inner = known();
    inner.count(&reservation("refund", "s-1", Some("1"), START));
    for key in [("other", "billing"), ("agent", "stripe")] {
        let turn = Turn { key: (key.0.into(), key.1.into()), ..turn("refund", "s-1") };
        let document = inner.document(&turn, HistoryUse::Rules, START).unwrap();
        let count = document.view().pointer("/principal/operations/refund/day/count").unwrap().text().to_owned();
        assert_eq!(count, "0", "{key:?}");
    }
}

#[test]
fn when_there_is_no_room_nothing_is_known_and_nothing_is_let_through() {
    let mut inner = known();
    for n in 0..OPERATIONS {
        assert!(inner.count(&reservation(&format!("op_{n}"), "s-1", None, START)));
    }
    let ask = |inner: &mut Inner, operation: &str, now| {
        inner.document(&turn(operation, "s-1"), HistoryUse::Budgets, now).err()
    };
    assert_eq!(ask(&mut inner, "op_7", START), None, "what is known is known");
    assert_eq!(ask(&mut inner, "one_more", START), Some(Unknown::Lost));
    assert_eq!(ask(&mut inner, "op_7", START), None);
    // Nobody asked, and the call was let through.
    assert!(!inner.count(&reservation("one_more", "s-1", None, START)));
    assert_eq!(ask(&mut inner, "op_7", START), Some(Unknown::Lost));
    assert_eq!(ask(&mut inner, "op_7", START + LONGEST - 1), Some(Unknown::Lost));
    assert_eq!(ask(&mut inner, "one_more", START + LONGEST), None, "a day later there is room");
    let long = "x".repeat(NAME_BYTES + 1);
    assert_eq!(ask(&mut inner, &long, START + LONGEST), Some(Unknown::Lost));
    assert_eq!(Inner::default().document(&turn("x", "s"), HistoryUse::Budgets, START), Err(Unknown::NotRead));
}

#[test]
fn sessions_are_bounded_for_each_principal_and_those_that_are_over_are_forgotten() {
    let history = History::default();
    for session in 0..1000 {
        let counted = history.lock().count(&reservation("refund", &format!("s-{session}"), None, START));
        assert!(counted);
        history.session_ended("agent", "billing", &format!("s-{session}"));
    }
    let mut inner = history.lock();
    let size = |inner: &Inner| inner.accounts.values().map(Account::size).sum::<usize>();
    assert_eq!(size(&inner), 0);
    inner.restored = true;
    let ask = |inner: &mut Inner, turn: &Turn, uses, now| inner.document(turn, uses, now).err();
    let (new, mut seen) = (turn("refund", "new"), 0);
    for n in 0..100 {
        for operation in 0..200 {
            assert!(inner.count(&reservation(&format!("op-{operation}"), &format!("s-{n}"), None, START)));
        }
        seen += usize::from(ask(&mut inner, &new, HistoryUse::Rules, START).is_none());
    }
    assert!(size(&inner) == SESSION_OPERATIONS && seen == SESSION_OPERATIONS / 200, "{seen}");
    assert_eq!(ask(&mut inner, &turn("op-1", "s-1"), HistoryUse::Rules, START), Some(Unknown::Lost));
    assert_eq!(ask(&mut inner, &new, HistoryUse::Budgets, START), None, "budgets have no use for sessions");
    assert_eq!(ask(&mut inner, &others(), HistoryUse::Rules, START), None, "nobody else notices");
    assert_eq!(ask(&mut inner, &new, HistoryUse::Rules, START + LONGEST), None);
}

#[derive(Clone, Debug)]
enum Step {
    Count(usize, Option<u32>),
    GiveBack(prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, prop::option::of(1..1000_u32)).prop_map(|(n, amount)| Step::Count(n, amount)),
        1 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        2 => prop_oneof![0..2_000_u64, 0..120_000_u64, 0..20_000_000_u64].prop_map(Step::Wait),
    ]
}

proptest! {
    /// What is reported is never less than what was let through and not taken back, and no more than a slice of time
    /// more.
    #[test]
    fn nothing_is_forgotten_and_nothing_is_made_up(steps in prop::collection::vec(step(), 1..80)) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let history = History::default();
        history.lock().restored = true;
        let (mut now, mut model) = (START, Vec::new());
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Count(n, amount) => {
                    let text = amount.map(|amount| amount.to_string());
                    let new = reservation(NAMES[n], "s", text.as_deref(), now);
                    prop_assert!(history.lock().count(&new));
                    model.push((n, now, amount, new));
                }
                Step::GiveBack(index) if !model.is_empty() => {
                    let (_, _, _, back) = model.swap_remove(index.index(model.len()));
                    history.give_back(Some(Box::new(back)));
                }
                Step::GiveBack(_) => {}
            }
            for (n, name) in NAMES.iter().enumerate() {
                let seen = shown(&mut history.lock(), name, "s", now);
                for (window, length, slice) in
                    [("minute", 60_000, 1_000), ("hour", 3_600_000, 60_000), ("day", 86_400_000, 1_800_000)]
                {
                    let within = |length: u64| model.iter().filter(move |(m, at, ..)| *m == n && at + length > now);
                    let (least, most) = (within(length).count(), within(length + slice).count());
                    let of = |who: &str| seen[who]["operations"][*name][window].clone();
                    let count = usize::try_from(of("principal")["count"].as_u64().unwrap()).unwrap();
                    prop_assert!((least..=most).contains(&count), "{window} of {name}: {count}, not {least} to {most}");
                    let sum = |length| within(length).filter_map(|(_, _, amount, _)| *amount).map(u64::from).sum::<u64>();
                    let reported = of("principal")["sum"]["eur"].as_u64().unwrap_or(0);
                    prop_assert!((sum(length)..=sum(length + slice)).contains(&reported));
                    prop_assert_eq!(of("principal"), of("session"));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Calls side by side, each decided by what it sees: never more than the limit have left at one moment.
    #[test]
    fn side_by_side_no_more_than_the_limit_are_let_through(limit in 1..6_usize, calls in 1..40_usize, unsent in 0..3_usize) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        let left = runtime.block_on(async move {
            let history = Arc::new(History::default());
            history.lock().restored = true;
            let left = Arc::new(AtomicUsize::new(0));
            let tasks: Vec<_> = (0..calls)
                .map(|n| {
                    let (history, left) = (Arc::clone(&history), Arc::clone(&left));
                    tokio::spawn(async move {
                        let (call, mut context) = (call(), context("refund", Some("5")));
                        context.session = format!("s-{}", n % 3);
                        let turn = history.turn(&call, &context, HistoryUse::Budgets).await.unwrap();
                        let document = turn.document().unwrap();
                        let count = document.view().pointer("/principal/operations/refund/hour/count").unwrap().as_i64();
                        tokio::task::yield_now().await;
                        if usize::try_from(count.unwrap()).unwrap() >= limit {
                            return;
                        }
                        let counted = history.spend(turn);
                        assert!(counted.is_some());
                        if n < unsent {
                            history.give_back(counted);
                        } else {
                            left.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            left.load(Ordering::SeqCst)
        });
        prop_assert!(left <= limit, "{left} of {limit}");
        prop_assert!(left >= limit.min(calls - unsent.min(calls)), "{left} of {limit}");
    }
}

fn decided(call: &ToolCall, context: &CallContext, effect: Effect) -> Event {
    let decision = Decision {
        effect,
        reason: "r".into(),
        rules: Vec::new(),
        tier: Tier::Low,
        approvals: 1,
        ttl_seconds: None,
        confirm_with: Vec::new(),
        grantable: false,
        redact: Vec::new(),
        policy_version: "v".into(),
        observed: Vec::new(),
    };
    Event::Decided {
        facts: Box::new(CallFacts::of(call, context, call.digest(context), 0)),
        decision: Arc::new(decision),
    }
}

fn completed(result: Answer) -> Event {
    Event::Completed { result, bytes: 0, digest: None, duration_ms: 0, note: None, redacted: vec![] }
}

/// What a new run knows of records, when the wall clock says so many milliseconds later.
fn remembered(log: &AuditLog, later: i64) -> Inner {
    let mut inner = known();
    let wall = jiff::Timestamp::now().as_millisecond() + later;
    inner.read(&log.reader().unwrap(), log.records(), wall, START).unwrap();
    inner
}

fn count(inner: &mut Inner, window: &str) -> u64 {
    shown(inner, "refund", "s", START)["principal"]["operations"]["refund"][window]["count"].as_u64().unwrap()
}

#[tokio::test]
async fn a_restart_knows_what_had_left_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
    let closed = || Event::Closed { outcome: Outcome::Withdrawn, reason: "x".into(), stale: false };
    let sending = || Event::Sending { approved_as: None, grant: None, policy_version: String::new() };
    let continued = CallContext { continues: CallId::random().ok(), ..context("refund", Some("5")) };
    let plain = || context("refund", Some("5"));
    let recovered = Event::Recovered { outcome: crate::audit::Recovery::SentOutcomeUnknown };
    for (context, effect, then) in [
        // These had left.
        (plain(), Effect::Allow, vec![completed(Answer::Ok)]),
        (plain(), Effect::Allow, vec![completed(Answer::ToolError)]),
        (plain(), Effect::Allow, vec![completed(Answer::OutcomeUnknown)]),
        (plain(), Effect::Allow, vec![]),
        (plain(), Effect::Allow, vec![recovered]),
        (context("refund", None), Effect::Hold, vec![sending(), completed(Answer::Ok)]),
        // These had not.
        (plain(), Effect::Deny, vec![]),
        (plain(), Effect::Allow, vec![closed()]),
        (plain(), Effect::Allow, vec![completed(Answer::NotSent)]),
        (plain(), Effect::Hold, vec![]),
        (plain(), Effect::Hold, vec![closed()]),
        (plain(), Effect::Hold, vec![sending(), closed()]),
        (plain(), Effect::Hold, vec![Event::Recovered { outcome: crate::audit::Recovery::ApprovedNotSent }]),
        (continued, Effect::Allow, vec![completed(Answer::Ok)]),
    ] {
        let call = call();
        let events = std::iter::once(decided(&call, &context, effect)).chain(then);
        for event in events {
            let _receipt = log.append(Entry::new(Some(call.id()), false, event)).await.unwrap();
        }
    }
    let mut inner = remembered(&log, 0);
    let day = &shown(&mut inner, "refund", "s", START)["principal"]["operations"]["refund"]["day"];
    assert_eq!((&day["count"], &day["unknown"], &day["sum"]["eur"]), (&6.into(), &1.into(), &25.into()));
    // Time goes on while nothing runs.
    let hours = |n: i64| n * 3_600_000;
    assert_eq!(count(&mut remembered(&log, hours(2)), "hour"), 0);
    assert_eq!(count(&mut remembered(&log, hours(2)), "day"), 6);
    assert_eq!(count(&mut remembered(&log, hours(25)), "day"), 0);
    // A clock that was set back gives nothing back.
    assert_eq!(count(&mut remembered(&log, hours(-48)), "minute"), 6);
    log.close().await;
}

#[tokio::test]
async fn a_clock_that_was_set_in_between_is_reckoned_with() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
    let one = call();
    let event = decided(&one, &context("refund", Some("5")), Effect::Allow);
    let _receipt = log.append(Entry::new(Some(one.id()), false, event)).await.unwrap();
    let stepped = Event::ClockStepped { by_ms: 48 * 3_600_000 };
    let _receipt = log.append(Entry::new(None, false, stepped)).await.unwrap();
    // The wall clock says two days later, and it was set by two days.
    assert_eq!(count(&mut remembered(&log, 48 * 3_600_000), "minute"), 1);
    log.close().await;
}

#[tokio::test]
async fn a_hold_counts_from_when_it_left_however_old_its_decision_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
    let held = call();
    let event = decided(&held, &context("refund", Some("5")), Effect::Hold);
    let _receipt = log.append(Entry::new(Some(held.id()), false, event)).await.unwrap();
    // As if the decision were two days older than the sending.
    let _receipt = log.append(Entry::new(None, false, Event::ClockStepped { by_ms: -48 * 3_600_000 })).await.unwrap();
    let sending = Event::Sending { approved_as: None, grant: None, policy_version: String::new() };
    let _receipt = log.append(Entry::new(Some(held.id()), false, sending)).await.unwrap();
    assert_eq!(count(&mut remembered(&log, 0), "minute"), 1);
    log.close().await;
}

/// A context of another principal on another server: what happens to it concerns nobody else.
fn others() -> Turn {
    Turn { key: ("other".into(), "stripe".into()), ..turn("refund", "s") }
}

#[tokio::test]
async fn a_call_so_long_that_its_record_is_cut_is_counted_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
    let mut context = context("refund", Some("5"));
    context.operation.targets = vec!["x".repeat(crate::audit::MAX_BODY)];
    context.operation.environment = Some(crate::call::Reach {
        accounts: (0..2000).map(|n| format!("acct_{n}")).collect(),
        ..crate::call::Reach::default()
    });
    let long = call();
    let event = decided(&long, &context, Effect::Allow);
    assert!(event.body().unwrap().view().get("cut").is_some_and(|cut| cut.text() == r#"["operation"]"#));
    let _receipt = log.append(Entry::new(Some(long.id()), false, event)).await.unwrap();
    let mut inner = remembered(&log, 0);
    let day = &shown(&mut inner, "refund", "s", START)["principal"]["operations"]["refund"]["day"];
    assert_eq!((&day["count"], &day["sum"]["eur"]), (&1.into(), &5.into()));
    assert!(inner.document(&others(), HistoryUse::Rules, START).is_ok());
    log.close().await;
}

#[test]
fn a_record_that_cannot_be_read_takes_the_history_of_whom_it_names_and_of_everybody_where_it_names_nobody() {
    let ask = |inner: &mut Inner, turn: &Turn, now| inner.document(turn, HistoryUse::Budgets, now).err();
    let whose = r#""principal":{"name":"agent"},"server":{"name":"billing"}"#;
    for cut in [r#""operation":{"cut":true},"method":"resources/read""#, r#""method":"resources/read""#] {
        let mut inner = known();
        inner.had_left(&format!("{{{whose},{cut}}}"), START);
        assert_eq!(ask(&mut inner, &turn("refund", "s"), START), Some(Unknown::Lost));
        assert_eq!(ask(&mut inner, &turn("refund", "s"), START + LONGEST), None);
        assert_eq!(ask(&mut inner, &others(), START), None, "{cut}");
    }
    let mut inner = known();
    inner.had_left(r#"{"principal":{"cut":true}}"#, START);
    assert_eq!(ask(&mut inner, &others(), START), Some(Unknown::Lost));
}
