//! The queue alone: rulings, ends and their races, without policy, store or socket.

use super::*;
use crate::call::{Class, Effect, Tier, fixtures};
use crate::gate::permit::{Ruling, Says};
use crate::mcp::message::Message;
use crate::mcp::method::{Sorted, sort};
use crate::signing::Verified;

const SETTINGS: Settings = Settings {
    ttl: Duration::from_secs(300),
    no_console_grace: Duration::from_secs(20),
    take_back: Duration::ZERO,
    max_pending: 5,
    max_per_principal: 3,
    prompts_per_minute: 1000,
    batches: false,
    held_bytes: 4096,
    unsigned_production: false,
    unsigned_elsewhere: true,
};

fn call(amount: u32) -> Arc<ToolCall> {
    call_with(amount, "{}")
}

fn call_with(amount: u32, meta: &str) -> Arc<ToolCall> {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"create_refund","arguments":{{"amount":{amount}}},"_meta":{meta}}}}}"#
    );
    match sort(Message::from_client(text).unwrap()) {
        Sorted::Decide(call) => Arc::new(*call),
        other => panic!("{other:?}"),
    }
}

fn context(principal: &str, environment: &str) -> Arc<CallContext> {
    Arc::new(CallContext {
        principal: fixtures::principal(principal, &[]),
        environment: fixtures::environment(environment),
        ..fixtures::context("create_refund", Class::Financial)
    })
}

fn decision(approvals: u8) -> Arc<Decision> {
    Arc::new(Decision {
        effect: Effect::Hold,
        reason: "refunds need a person".into(),
        rules: vec![],
        tier: Tier::High,
        approvals,
        ttl_seconds: None,
        confirm_with: vec![],
        grantable: false,
        redact: vec![],
        policy_version: "v".into(),
        observed: vec![],
    })
}

fn place(queue: &HoldQueue, call: &Arc<ToolCall>, approvals: u8) -> Place {
    let place = place_unrecorded(queue, call, approvals);
    queue.show(call.id());
    place
}

fn place_unrecorded(queue: &HoldQueue, call: &Arc<ToolCall>, approvals: u8) -> Place {
    match ask(queue, call, decision(approvals)) {
        Ok(Placed::Waits(place)) => place,
        other => panic!("{other:?}"),
    }
}

fn ask(queue: &HoldQueue, call: &Arc<ToolCall>, decision: Arc<Decision>) -> Result<Placed, (Outcome, String)> {
    let context = context("agent", "sandbox");
    let digest = call.digest(&context);
    queue.place(Arc::clone(call), context, decision, digest, vec![], &Presence::default())
}

fn ruling(queue: &HoldQueue, call: &ToolCall, operator: &str, approve: bool) -> Ruling {
    let hold = queue.find(call.id()).unwrap();
    let says = if approve { Says::Approve { reason: None } } else { Says::Reject { reason: "no".into() } };
    Ruling { expires: Some(hold.expires), ..Ruling::new(call.id().clone(), hold.digest, operator.into(), says) }
}

fn rule(queue: &HoldQueue, ruling: Ruling) -> Result<Hold, NoEffect> {
    queue.begin(&ruling)?;
    queue.settle(ruling, true)
}

#[tokio::test(start_paused = true)]
async fn an_approval_counts_once() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let place = place(&queue, &call, 1);
    let (first, second) = (ruling(&queue, &call, "ana", true), ruling(&queue, &call, "ben", false));
    let hold = rule(&queue, first).unwrap();
    assert!(matches!(hold.state, State::Approved { .. }));
    assert!(matches!(place.verdict.await.unwrap(), Verdict::Approved { .. }));
    assert!(matches!(rule(&queue, second), Err(NoEffect::Closed(why)) if why.contains("approved by ana")));
}

#[tokio::test(start_paused = true)]
async fn a_second_ruling_finds_nothing_while_the_first_is_recorded() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = place(&queue, &call, 1);
    let (first, second) = (ruling(&queue, &call, "ana", true), ruling(&queue, &call, "ben", false));
    queue.begin(&first).unwrap();
    assert!(matches!(queue.begin(&second), Err(NoEffect::Closed(_))));
    assert!(queue.settle(first, true).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_ruling_that_cannot_be_recorded_leaves_the_hold_pending() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let mut place = place(&queue, &call, 1);
    let first = ruling(&queue, &call, "ana", true);
    queue.begin(&first).unwrap();
    assert!(matches!(queue.settle(first, false), Err(NoEffect::Unavailable(_))));
    assert!(place.verdict.try_recv().is_err());
    assert!(rule(&queue, ruling(&queue, &call, "ana", true)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_end_during_the_recording_beats_an_approval_but_not_a_rejection() {
    for approve in [true, false] {
        let queue = HoldQueue::new(SETTINGS);
        let call = call(1);
        let place = place(&queue, &call, 1);
        let ruling = ruling(&queue, &call, "ana", approve);
        queue.begin(&ruling).unwrap();
        queue.end(call.id(), Outcome::Withdrawn, "the client cancelled the call");
        assert_eq!(queue.settle(ruling, true).is_ok(), !approve);
        let verdict = place.verdict.await.unwrap();
        assert_eq!(matches!(verdict, Verdict::Ended { outcome: Outcome::Withdrawn, .. }), approve, "{verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_approved_after_its_time() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let place = place(&queue, &call, 1);
    let (early, late) = (ruling(&queue, &call, "ana", true), ruling(&queue, &call, "ben", true));
    queue.begin(&early).unwrap();
    tokio::time::advance(Duration::from_secs(300)).await;
    assert!(matches!(queue.settle(early, true), Err(NoEffect::Closed(_))));
    assert!(matches!(place.verdict.await.unwrap(), Verdict::Ended { outcome: Outcome::Expired, .. }));
    assert!(matches!(rule(&queue, late), Err(NoEffect::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn another_digest_rules_nothing() {
    let queue = HoldQueue::new(SETTINGS);
    let (one, two) = (call(1), call(2));
    let (_one, _two) = (place(&queue, &one, 1), place(&queue, &two, 1));
    let digest = queue.find(two.id()).unwrap().digest;
    let crossed = Ruling::new(one.id().clone(), digest, "ana".into(), Says::Approve { reason: None });
    assert_eq!(queue.begin(&crossed).err(), Some(NoEffect::WrongDigest));
    assert_eq!(queue.find(one.id()).unwrap().state, State::Pending);
}

/// Two names of one account are one person, unless two keys tell them apart.
#[tokio::test(start_paused = true)]
async fn nobody_is_two_operators() {
    let signed = |ruling: Ruling, operator: &str, key: &str| {
        let proof = Verified { operator: operator.into(), key: key.into(), signer: String::new() };
        Ruling { proof: Some(proof), ..ruling.signed(operator.into(), "checked".into()) }
    };
    // The first as `ana` from her account, unsigned or signed with one key; then what comes from the same account.
    for (first_key, second, outcome) in [
        (None, ("ana@example.com", Some("SHA256:a")), false),
        (Some("SHA256:a"), ("ben", None), false),
        (Some("SHA256:a"), ("ben", Some("SHA256:a")), false),
        (Some("SHA256:a"), ("ben", Some("SHA256:b")), true),
    ] {
        let queue = HoldQueue::new(SETTINGS);
        let call = call(1);
        let _place = place(&queue, &call, 2);
        let by = |operator: &str, key: Option<&str>| {
            let ruling = ruling(&queue, &call, "ana", true);
            match key {
                Some(key) => signed(ruling, operator, key),
                None => Ruling { operator: operator.into(), ..ruling },
            }
        };
        rule(&queue, by("ana", first_key)).unwrap();
        let ruled = rule(&queue, by(second.0, second.1));
        assert_eq!(ruled.as_ref().err(), (!outcome).then_some(&NoEffect::SameOperator), "{first_key:?} {second:?}");
    }
    // The requester is the requester under another name too.
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = place(&queue, &call, 1);
    let own = signed(ruling(&queue, &call, "agent", true), "ben", "SHA256:b");
    assert_eq!(rule(&queue, own).err(), Some(NoEffect::Requester("agent".into())));
}

/// A name that an operator gives itself is for people to read, and neither another operator nor the requester.
#[tokio::test(start_paused = true)]
async fn a_name_of_ones_own_makes_no_other_operator() {
    let queue = HoldQueue::new(SETTINGS);
    let waits = call(1);
    let _place = place(&queue, &waits, 2);
    let named = |name: &str| ruling(&queue, &waits, "root", true).shown_as(format!("{name} (account root)"));
    let once = rule(&queue, named("ana")).unwrap();
    assert_eq!(once.approved_by.iter().map(|by| by.shown.as_str()).collect::<Vec<_>>(), ["ana (account root)"]);
    assert_eq!(rule(&queue, named("ben")).err(), Some(NoEffect::SameOperator));
    let own = ruling(&queue, &waits, "agent", true).shown_as("ben (account agent)".into());
    assert_eq!(rule(&queue, own).err(), Some(NoEffect::Requester("agent".into())));
    let no = ruling(&queue, &waits, "root", false).shown_as("ben (account root)".into());
    assert!(matches!(rule(&queue, no).unwrap().state, State::Rejected { by, .. } if by == "ben (account root)"));
}

#[tokio::test(start_paused = true)]
async fn a_quorum_needs_distinct_operators_and_one_rejection_ends_it() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let mut place = place(&queue, &call, 2);
    assert_eq!(rule(&queue, ruling(&queue, &call, "ana", true)).unwrap().state, State::Pending);
    assert!(place.verdict.try_recv().is_err());
    assert_eq!(rule(&queue, ruling(&queue, &call, "ana", true)).err(), Some(NoEffect::SameOperator));
    assert!(matches!(rule(&queue, ruling(&queue, &call, "ben", false)).unwrap().state, State::Rejected { .. }));
    assert!(matches!(place.verdict.await.unwrap(), Verdict::Rejected { .. }));
}

#[tokio::test(start_paused = true)]
async fn production_takes_no_unsigned_approval_and_any_rejection() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = queue
        .place(
            Arc::clone(&call),
            context("agent", "production"),
            decision(1),
            call.digest(&context("agent", "production")),
            vec![],
            &Presence::default(),
        )
        .unwrap();
    queue.show(call.id());
    assert_eq!(rule(&queue, ruling(&queue, &call, "ana", true)).err(), Some(NoEffect::SignatureRequired));
    assert!(rule(&queue, ruling(&queue, &call, "ana", false)).is_ok());
}

/// I8: an operator cannot rule on what is not recorded yet.
#[tokio::test(start_paused = true)]
async fn a_hold_is_seen_when_its_record_is_durable_and_not_before() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = place_unrecorded(&queue, &call, 1);
    assert!(queue.all().is_empty() && queue.find(call.id()).is_none());
    let digest = call.digest(&context("agent", "sandbox"));
    let early = Ruling::new(call.id().clone(), digest, "ana".into(), Says::Approve { reason: None });
    assert_eq!(rule(&queue, early).err(), Some(NoEffect::NotFound));
    queue.show(call.id());
    assert!(rule(&queue, ruling(&queue, &call, "ana", true)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_caps_hold_and_another_principal_still_gets_a_place() {
    let queue = HoldQueue::new(SETTINGS);
    let places: Vec<_> = (0..3).map(|n| place(&queue, &call(n), 1)).collect();
    let over = |principal: &str| {
        let digest = Digest::of_bytes(principal.as_bytes());
        queue.place(call(9), context(principal, "sandbox"), decision(1), digest, vec![], &Presence::default())
    };
    assert!(matches!(over("agent"), Err((Outcome::Overloaded, why)) if why.contains("max_per_principal")));
    let others = [over("other").unwrap(), over("third").unwrap()];
    assert!(matches!(over("fourth"), Err((Outcome::Overloaded, why)) if why.contains("max_pending")));
    assert_eq!(queue.lock().unwrap().open.len(), places.len() + others.len());
}

#[tokio::test(start_paused = true)]
async fn a_call_too_large_to_show_is_refused() {
    let queue = HoldQueue::new(Settings { held_bytes: 100, ..SETTINGS });
    let refused = queue.place(
        call(1),
        context("agent", "sandbox"),
        decision(1),
        Digest::of_bytes(b"x"),
        vec![],
        &Presence::default(),
    );
    assert!(matches!(refused, Err((Outcome::Denied, _))));
}

/// Three identical calls are one prompt, and one approval releases one of them.
#[tokio::test(start_paused = true)]
async fn identical_calls_share_a_prompt_and_are_released_one_by_one() {
    let queue = HoldQueue::new(SETTINGS);
    let calls = [call(1), call(1), call(1)];
    let mut places: Vec<_> = calls.iter().map(|call| place(&queue, call, 1)).collect();
    let ids: Vec<_> = calls.iter().map(|call| call.id().clone()).collect();
    for n in 0..3 {
        let all = queue.all();
        let open: Vec<_> = all.iter().filter(|hold| hold.state == State::Pending).collect();
        assert_eq!(open.len(), 1, "one prompt");
        assert_eq!((open[0].id(), open[0].waiting), (&ids[n], 3 - n));
        assert_eq!(open[0].same_as.iter().any(|(id, word)| *id == ids[0] && *word == "approved"), n > 0);
        rule(&queue, ruling(&queue, &calls[n], "ana", true)).unwrap();
        let released = places.remove(0).verdict.try_recv();
        assert!(matches!(released, Ok(Verdict::Approved { hold, .. }) if hold == ids[n]));
        assert!(places.iter_mut().all(|place| place.verdict.try_recv().is_err()), "and no other");
    }
}

#[tokio::test(start_paused = true)]
async fn one_no_is_enough_for_identical_calls() {
    let queue = HoldQueue::new(SETTINGS);
    let (one, two) = (call(1), call(1));
    let places = [place(&queue, &one, 1), place(&queue, &two, 1)];
    rule(&queue, ruling(&queue, &one, "ana", false)).unwrap();
    for mut place in places {
        assert!(matches!(place.verdict.try_recv(), Ok(Verdict::Rejected { hold, .. }) if hold == *one.id()));
    }
    assert!(queue.lock().unwrap().open.is_empty());
}

#[tokio::test(start_paused = true)]
async fn calls_of_others_and_other_calls_have_prompts_of_their_own() {
    let queue = HoldQueue::new(SETTINGS);
    let (one, two) = (call(1), call(2));
    let _places = [place(&queue, &one, 1), place(&queue, &two, 1)];
    let theirs = context("other", "sandbox");
    // Even with a digest that is the same, which cannot be.
    let digest = one.digest(&context("agent", "sandbox"));
    let placed = queue.place(call(1), theirs, decision(1), digest, vec![], &Presence::default()).unwrap();
    assert!(matches!(placed, Placed::Waits(Place { joins: None, .. })));
    assert_eq!(queue.lock().unwrap().open.len(), 3);
}

/// I10: `_meta` is not in the digest. What an operator was not shown of it is not released by that approval.
#[tokio::test(start_paused = true)]
async fn a_call_that_carries_something_else_is_not_identical() {
    let queue = HoldQueue::new(Settings { max_pending: 9, max_per_principal: 9, ..SETTINGS });
    let shown = call_with(1, r#"{"progressToken":1,"vendor/account":"acct_1"}"#);
    let _place = place(&queue, &shown, 1);
    queue.detach(shown.id());
    rule(&queue, ruling(&queue, &shown, "ana", true)).unwrap();
    for other in ["{}", r#"{"vendor/account":"acct_2"}"#, r#"{"vendor/account":"acct_1","x":1}"#] {
        let placed = ask(&queue, &call_with(1, other), decision(1)).unwrap();
        assert!(matches!(&placed, Placed::Waits(Place { joins: None, .. })), "{other}: {placed:?}");
    }
    let again = call_with(1, r#"{"vendor\u002faccount":"acct_1","progressToken":2,"claudecode/toolUseId":"x"}"#);
    let placed = ask(&queue, &again, decision(1)).unwrap();
    assert!(matches!(&placed, Placed::Ticket { hold, .. } if hold == shown.id()), "{placed:?}");
}

/// The client gave up, the operator approved, the client came back: once.
#[tokio::test(start_paused = true)]
async fn an_approval_that_nobody_waited_for_is_a_ticket_for_one_call() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let mut place = place(&queue, &call, 1);
    queue.detach(call.id());
    assert!(matches!(place.verdict.try_recv(), Ok(Verdict::Detached { .. })));
    let open = queue.find(call.id()).unwrap();
    assert_eq!((open.state.clone(), open.waiting), (State::Pending, 0));
    let approved = rule(&queue, ruling(&queue, &call, "ana", true)).unwrap();
    assert!(matches!(approved.state, State::Ticket { .. }));
    let again = rule(&queue, ruling(&queue, &call, "ben", true)).unwrap_err();
    assert!(matches!(again, NoEffect::Closed(why) if why.contains("approved by ana")));
    let used = ask(&queue, &self::call(1), decision(1)).unwrap();
    assert!(matches!(used, Placed::Ticket { hold, .. } if hold == *call.id()));
    assert!(matches!(queue.find(call.id()).unwrap().state, State::Approved { .. }));
    assert!(matches!(ask(&queue, &self::call(1), decision(1)), Ok(Placed::Waits(Place { joins: None, .. }))));
}

#[tokio::test(start_paused = true)]
async fn a_retry_takes_the_place_of_the_call_that_gave_up_and_needs_no_room() {
    let queue = HoldQueue::new(Settings { max_per_principal: 1, ..SETTINGS });
    let (one, two) = (call(1), call(1));
    let _gone = place(&queue, &one, 1);
    assert!(matches!(ask(&queue, &two, decision(1)), Err((Outcome::Overloaded, _))), "while it waits itself");
    queue.detach(one.id());
    let mut place = place(&queue, &two, 1);
    assert_eq!(place.joins.as_ref(), Some(one.id()));
    let shown = queue.find(one.id()).unwrap();
    assert_eq!((shown.waiting, shown.call.id()), (1, two.id()), "what is shown is what would be sent");
    rule(&queue, ruling(&queue, &one, "ana", true)).unwrap();
    assert!(matches!(place.verdict.try_recv(), Ok(Verdict::Approved { hold, .. }) if hold == *one.id()));
}

#[tokio::test(start_paused = true)]
async fn a_ticket_and_an_open_hold_end_with_their_time() {
    for approve in [true, false] {
        let queue = HoldQueue::new(SETTINGS);
        let call = call(1);
        let _place = place(&queue, &call, 1);
        queue.detach(call.id());
        let mut time = SETTINGS.ttl;
        if approve {
            rule(&queue, ruling(&queue, &call, "ana", true)).unwrap();
            time = TICKET;
        }
        assert_eq!(queue.lapse(), Some(Instant::now() + LOOKS), "long before its end");
        tokio::time::advance(time).await;
        // Whether the clock's task has come by or not.
        if approve {
            assert!(matches!(ask(&queue, &self::call(1), decision(1)), Ok(Placed::Waits(Place { joins: None, .. }))));
        } else {
            assert_eq!(queue.lapse(), None);
        }
        let state = queue.find(call.id()).unwrap().state;
        assert!(matches!(state, State::Closed { outcome: Outcome::Expired, .. }), "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_no_answer_to_a_stricter_policy() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = place(&queue, &call, 1);
    queue.detach(call.id());
    rule(&queue, ruling(&queue, &call, "ana", true)).unwrap();
    let again = ask(&queue, &self::call(1), decision(2)).unwrap();
    assert!(matches!(again, Placed::Waits(Place { joins: None, .. })));
    let state = queue.find(call.id()).unwrap().state;
    assert!(matches!(state, State::Stale { .. }), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_that_nobody_waits_for_outlives_the_daemon() {
    let queue = HoldQueue::new(SETTINGS);
    let (one, two) = (call(1), call(2));
    let _places = [place(&queue, &one, 1), place(&queue, &two, 1)];
    queue.detach(one.id());
    queue.detach(two.id());
    rule(&queue, ruling(&queue, &one, "ana", true)).unwrap();
    queue.forget();
    assert!(queue.lock().unwrap().open.is_empty());
    assert!(matches!(ask(&queue, &call(1), decision(1)), Ok(Placed::Waits(_))));
}

/// Every order of events up to six: one verdict at most, and an approval only where an approve was settled in time.
#[tokio::test(start_paused = true)]
async fn any_interleaving_ends_in_one_state() {
    const EVENTS: u32 = 6;
    for sequence in 0..EVENTS.pow(6) {
        let queue = HoldQueue::new(SETTINGS);
        let call = call(1);
        let mut place = place(&queue, &call, 1);
        let mut claimed: Option<Ruling> = None;
        let (mut ended_first, mut approved) = (false, false);
        for step in 0..6 {
            match sequence / EVENTS.pow(step) % EVENTS {
                event @ (0 | 1) if claimed.is_none() => {
                    let ruling = ruling(&queue, &call, "ana", event == 0);
                    if queue.begin(&ruling).is_ok() {
                        claimed = Some(ruling);
                    }
                }
                event @ (2 | 3) => {
                    if let Some(ruling) = claimed.take() {
                        let approve = matches!(ruling.says, Says::Approve { .. });
                        let settled = queue.settle(ruling, event == 2).is_ok();
                        assert!(!settled || event != 3 && !(approve && ended_first));
                        approved |= settled && approve;
                    }
                }
                4 => {
                    queue.end(call.id(), Outcome::Withdrawn, "gone");
                    ended_first |= !approved;
                }
                _ => {
                    queue.end(call.id(), Outcome::Expired, "late");
                    ended_first |= !approved;
                }
            }
        }
        if let Ok(verdict) = place.verdict.try_recv() {
            assert_eq!(matches!(verdict, Verdict::Approved { .. }), approved, "{sequence}");
            assert!(place.verdict.try_recv().is_err());
        } else {
            assert!(!approved, "{sequence}");
        }
    }
}

mod asleep;
mod bounds;
mod exhaustive;
mod leaving;
mod model;
mod reopening;

#[test]
fn a_reason_that_nobody_was_told_is_stricter() {
    let with = |rules: &[&str]| Decision {
        rules: rules.iter().map(|rule| fixtures::hit(rule)).collect(),
        ..(*decision(1)).clone()
    };
    assert!(!is_stricter(&with(&["a"]), &with(&["a"])));
    assert!(!is_stricter(&with(&["a"]), &with(&["b", "a"])));
    assert!(is_stricter(&with(&["b"]), &with(&["a"])));
    assert!(is_stricter(&with(&["a", "b"]), &with(&["a"])));
}

#[tokio::test(start_paused = true)]
async fn so_many_new_prompts_in_a_minute_and_joining_one_is_none() {
    let settings = Settings { max_pending: 99, max_per_principal: 99, prompts_per_minute: 2, ..SETTINGS };
    let queue = HoldQueue::new(settings);
    let _two = [place(&queue, &call(1), 1), place(&queue, &call(2), 1)];
    let _joins = place(&queue, &call(1), 1);
    let refused = ask(&queue, &call(3), decision(1)).unwrap_err();
    assert_eq!(refused.0, Outcome::Overloaded);
    assert!(refused.1.contains("holds.prompts_per_minute"), "{}", refused.1);
    let (theirs, other) = (context("other", "sandbox"), call(3));
    let digest = other.digest(&theirs);
    assert!(
        queue.place(other, theirs, decision(1), digest, vec![], &Presence::default()).is_ok(),
        "another principal has its own"
    );
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(ask(&queue, &call(3), decision(1)).is_err(), "a refused one does not count, and the minute is not over");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(ask(&queue, &call(3), decision(1)).is_ok());
}
