//! The numbers of a made-up day.

use std::sync::Arc;

use super::super::record::tests::{decided, ruled};
use super::super::tests::Fixture;
use super::super::{AuditLog, Entry, Event, Ruling};
use super::*;
use crate::call::{CallId, Effect, Outcome};

/// A held call with these records after it.
async fn held(log: &AuditLog, joins: Option<CallId>, then: impl IntoIterator<Item = Event>) -> CallId {
    let call = CallId::random().unwrap();
    let events = [decided(Effect::Hold), Event::Held { expires_at: "later".into(), joins }];
    for event in events.into_iter().chain(then) {
        let _ = log.append(Entry::new(Some(&call), true, event)).await.unwrap();
    }
    call
}

fn closed(outcome: Outcome) -> Event {
    Event::Closed { outcome, reason: "x".into(), stale: false }
}

#[tokio::test]
async fn holds_are_counted_by_what_became_of_them() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let first = held(&log, None, [ruled(Ruling::Approve, true)]).await;
    held(&log, None, [ruled(Ruling::Approve, false), ruled(Ruling::Reject, true)]).await;
    held(&log, None, [closed(Outcome::Expired)]).await;
    // Approved after its client gave up, and one that waits behind another one's prompt, and one that still waits.
    held(&log, None, [closed(Outcome::Expired), ruled(Ruling::Approve, true)]).await;
    held(&log, Some(first), [closed(Outcome::Withdrawn)]).await;
    held(&log, None, []).await;
    let _ = log.append(Entry::new(CallId::random().ok().as_ref(), true, decided(Effect::Allow))).await.unwrap();
    log.close().await;
    let reader = AuditReader::open(&fixture.db()).unwrap();
    let stats = reader.stats(Timestamp::UNIX_EPOCH, 1000).unwrap();
    let [rule] = &stats.rules[..] else { panic!("{stats:?}") };
    assert_eq!((rule.rule.as_str(), rule.file.as_str(), rule.line), ("refunds.over_limit", "refunds.rego", 3));
    assert_eq!((rule.hits, rule.holds), (7, 5));
    assert_eq!((rule.approved, rule.rejected, rule.lapsed), (2, 1, 1));
    assert!(rule.median_ms.is_some() && rule.hint.is_none());
    assert_eq!(stats.decisions, BTreeMap::from([("allow".to_owned(), 1), ("hold".to_owned(), 6)]));
    assert_eq!(stats.closed, BTreeMap::from([("expired".to_owned(), 2), ("withdrawn".to_owned(), 1)]));

    let cut = reader.stats(Timestamp::UNIX_EPOCH, 3).unwrap();
    assert!(cut.cut && cut.records == 3 && !stats.cut);
    let none = reader.stats(Timestamp::now() + jiff::SignedDuration::from_secs(60), 1000).unwrap();
    assert_eq!(none, Stats::default());
}

/// What is only watched counts for nothing, and is told by what it would have changed.
#[tokio::test]
async fn rules_that_are_watched_are_counted_by_what_they_would_have_done() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let calls = [
        (Effect::Allow, Some(Effect::Hold)),
        (Effect::Allow, Some(Effect::Deny)),
        (Effect::Hold, Some(Effect::Deny)),
        (Effect::Hold, Some(Effect::Hold)),
        (Effect::Deny, Some(Effect::Deny)),
        (Effect::Allow, Some(Effect::Allow)),
        (Effect::Allow, None),
        // Somebody's deny stands, whatever else allows it.
        (Effect::Deny, Some(Effect::Allow)),
        (Effect::Hold, Some(Effect::Allow)),
    ];
    let unallowed = [(Effect::Deny, Some(Effect::Allow)); 3];
    for (n, (effect, would)) in calls.into_iter().chain(unallowed).enumerate() {
        let Event::Decided { facts, mut decision } = decided(effect) else { panic!() };
        let decided = Arc::make_mut(&mut decision);
        decided.observed = decided.rules.clone();
        if n >= calls.len() {
            decided.rules.clear();
        }
        decided.observed[0].rule = "refunds.watched".to_owned();
        decided.observed[0].would = would;
        let event = Event::Decided { facts, decision };
        let _ = log.append(Entry::new(CallId::random().ok().as_ref(), true, event)).await.unwrap();
    }
    log.close().await;
    let stats = AuditReader::open(&fixture.db()).unwrap().stats(Timestamp::UNIX_EPOCH, 1000).unwrap();
    let [enforced, watched] = &stats.rules[..] else { panic!("{stats:?}") };
    assert_eq!((enforced.hits, enforced.watched, enforced.would_hold, enforced.would_deny), (9, 0, 0, 0));
    assert_eq!(watched.rule, "refunds.watched");
    assert_eq!((watched.hits, watched.watched, watched.would_hold, watched.would_deny), (0, 12, 1, 2));
    assert_eq!((watched.may_allow, watched.unknown), (3, 1));
}

#[tokio::test]
async fn a_rule_that_is_always_approved_at_once_asks_for_nothing() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let hint = || {
        let stats = AuditReader::open(&fixture.db()).unwrap().stats(Timestamp::UNIX_EPOCH, 1000).unwrap();
        stats.rules[0].hint.clone()
    };
    for n in 0..10 {
        assert!(n == 0 || hint().is_none(), "{n} rulings are too few to say so");
        held(&log, None, [ruled(Ruling::Approve, true)]).await;
    }
    let said = hint().unwrap();
    assert!(said.starts_with("10 of 10 approved, median 0."), "{said}");
    assert!(said.ends_with(" s: narrow it"), "{said}");
    held(&log, None, [ruled(Ruling::Reject, true)]).await;
    assert_eq!(hint(), None);
    log.close().await;
}

#[test]
fn a_rule_that_somebody_thinks_about_gets_no_hint() {
    let slow = RuleStats { approved: 10, times: vec![5000; 10], ..RuleStats::default() };
    assert_eq!(slow.finished().hint, None);
    let fast = RuleStats { approved: 43, times: vec![1640; 43], ..RuleStats::default() };
    assert_eq!(fast.finished().hint.as_deref(), Some("43 of 43 approved, median 1.6 s: narrow it"));
}
