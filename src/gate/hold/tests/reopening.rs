//! Holds that ended without a ruling and wait again: whose, how often, and what an approval still takes.

use super::*;

const ENDS: [Outcome; 3] = [Outcome::Expired, Outcome::Unattended, Outcome::Withdrawn];

fn digest(queue: &HoldQueue, call: &ToolCall) -> Digest {
    queue.find(call.id()).unwrap().digest
}

/// Opens it again, recorded.
fn reopen(queue: &HoldQueue, call: &ToolCall) -> Result<Hold, NoEffect> {
    let (ended, _) = queue.reopen(call.id(), digest(queue, call))?;
    queue.reopened(ended, true)
}

/// A call that waited and ended so.
fn ended(queue: &HoldQueue, outcome: Outcome) -> Arc<ToolCall> {
    let call = call(1);
    let _place = place(queue, &call, 1);
    queue.end(call.id(), outcome, "so it is");
    assert!(matches!(queue.find(call.id()).unwrap().state, State::Closed { .. }));
    call
}

fn why(no: NoEffect) -> String {
    match no {
        NoEffect::NotSo(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_ended_without_a_ruling_can_be_approved_for_one_call() {
    for outcome in ENDS {
        let queue = HoldQueue::new(SETTINGS);
        let call = ended(&queue, outcome);
        let late = queue.find(call.id()).unwrap();
        assert!(matches!(rule(&queue, ruling(&queue, &call, "ana", true)), Err(NoEffect::Closed(_))), "{outcome:?}");
        tokio::time::advance(Duration::from_secs(1000)).await;
        let open = reopen(&queue, &call).unwrap();
        assert_eq!((&open.state, open.waiting, open.approved_by.len()), (&State::Pending, 0, 0));
        assert!(open.expires > late.expires, "what was signed for the old end counts no more");
        assert!(queue.lapse().is_some_and(|at| at == Instant::now() + LOOKS));
        let approved = rule(&queue, ruling(&queue, &call, "ana", true)).unwrap();
        assert!(matches!(approved.state, State::Ticket { .. }));
        let used = ask(&queue, &self::call(1), decision(1)).unwrap();
        assert!(matches!(used, Placed::Ticket { hold, .. } if hold == *call.id()));
        // Once: whatever becomes of the call that used it.
        assert!(why(reopen(&queue, &call).unwrap_err()).contains("approved by ana"));
        queue.amend(call.id(), |_| State::Closed {
            outcome: Outcome::Withdrawn,
            at: Timestamp::now(),
            reason: "gone".into(),
        });
        assert!(why(reopen(&queue, &call).unwrap_err()).contains("used up"));
        assert!(matches!(ask(&queue, &self::call(1), decision(1)), Ok(Placed::Waits(Place { joins: None, .. }))));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_else_waits_again() {
    let queue = HoldQueue::new(SETTINGS);
    for outcome in [Outcome::Denied, Outcome::Unavailable, Outcome::ShuttingDown, Outcome::Overloaded] {
        let call = ended(&queue, outcome);
        assert!(why(reopen(&queue, &call).unwrap_err()).contains("held anew"), "{outcome:?}");
    }
    let (no, old, waits) = (call(2), call(3), call(4));
    let _places = [place(&queue, &no, 1), place(&queue, &old, 1)];
    rule(&queue, ruling(&queue, &no, "ana", false)).unwrap();
    assert!(why(reopen(&queue, &no).unwrap_err()).contains("rejected by ana"));
    queue.stop(old.id(), &Stop::Stale { reason: "policy".into() });
    assert!(why(reopen(&queue, &old).unwrap_err()).contains("stale"));
    let _place = place(&queue, &waits, 1);
    assert!(why(reopen(&queue, &waits).unwrap_err()).contains("it waits"));
    // What goes on from another call is over with it.
    let goes_on = self::call(5);
    let theirs = CallContext { continues: Some(goes_on.id().clone()), ..(*context("agent", "sandbox")).clone() };
    let digest = goes_on.digest(&theirs);
    let placed = queue.place(Arc::clone(&goes_on), Arc::new(theirs), decision(1), digest, vec![], &Presence::default());
    assert!(matches!(placed, Ok(Placed::Waits(_))));
    queue.show(goes_on.id());
    queue.end(goes_on.id(), Outcome::Withdrawn, "gone");
    assert!(why(reopen(&queue, &goes_on).unwrap_err()).contains("by itself"));
    let another = Digest::of_bytes(b"another");
    let call = ended(&queue, Outcome::Expired);
    assert!(matches!(queue.reopen(call.id(), another), Err(NoEffect::WrongDigest)));
    assert!(matches!(queue.reopen(self::call(9).id(), another), Err(NoEffect::NotFound)));
}

/// Two prompts for one call would be two approvals.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_open_again_by_itself_is_ruled_on_there() {
    let queue = HoldQueue::new(SETTINGS);
    let call = ended(&queue, Outcome::Expired);
    let again = self::call(1);
    let _place = place(&queue, &again, 1);
    assert!(why(reopen(&queue, &call).unwrap_err()).contains(again.id().as_str()));
    queue.end(again.id(), Outcome::Withdrawn, "gone");
    let open = reopen(&queue, &call).unwrap();
    assert_eq!(open.same_as, [(again.id().clone(), "withdrawn")], "what became of the others is shown");
    assert!(why(reopen(&queue, &again).unwrap_err()).contains(call.id().as_str()));
}

#[tokio::test(start_paused = true)]
async fn every_approval_is_given_anew_and_nobody_rules_before_it_is_recorded() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = place(&queue, &call, 2);
    assert_eq!(rule(&queue, ruling(&queue, &call, "ana", true)).unwrap().approved_by.len(), 1);
    queue.end(call.id(), Outcome::Expired, "late");
    let (ended, _) = queue.reopen(call.id(), digest(&queue, &call)).unwrap();
    assert!(matches!(rule(&queue, ruling(&queue, &call, "ben", true)), Err(NoEffect::Closed(_))));
    assert!(queue.reopen(call.id(), digest(&queue, &call)).is_err());
    queue.reopened(ended, true).unwrap();
    for (operator, left) in [("ben", true), ("ana", false)] {
        let hold = rule(&queue, ruling(&queue, &call, operator, true)).unwrap();
        assert_eq!(hold.state == State::Pending, left, "{operator}");
    }
    assert!(matches!(queue.find(call.id()).unwrap().state, State::Ticket { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recorded_stays_as_it_ended() {
    let queue = HoldQueue::new(SETTINGS);
    let call = ended(&queue, Outcome::Unattended);
    let before = queue.find(call.id()).unwrap();
    let (ended, _) = queue.reopen(call.id(), before.digest).unwrap();
    let mut joins = match ask(&queue, &self::call(1), decision(1)).unwrap() {
        Placed::Waits(place) => place,
        other => panic!("{other:?}"),
    };
    assert!(matches!(queue.reopened(ended, false), Err(NoEffect::Unavailable(_))));
    assert!(matches!(joins.verdict.try_recv(), Ok(Verdict::Ended { outcome: Outcome::Unavailable, .. })));
    let after = queue.find(call.id()).unwrap();
    assert_eq!((after.state, after.expires), (before.state, before.expires));
    assert!(queue.lock().unwrap().open.is_empty());
    assert!(reopen(&queue, &call).is_ok(), "and it can be tried again");
}

/// The client comes back while it waits again: that call is what an approval releases, and nothing is left of it.
#[tokio::test(start_paused = true)]
async fn a_retry_that_comes_meanwhile_is_what_is_released() {
    let queue = HoldQueue::new(SETTINGS);
    let call = ended(&queue, Outcome::Withdrawn);
    reopen(&queue, &call).unwrap();
    let retry = self::call(1);
    let mut waits = place(&queue, &retry, 1);
    assert_eq!(waits.joins.as_ref(), Some(call.id()));
    let released = rule(&queue, ruling(&queue, &call, "ana", true)).unwrap();
    assert!(matches!(released.state, State::Approved { .. }));
    assert!(matches!(waits.verdict.try_recv(), Ok(Verdict::Approved { hold, .. }) if hold == *call.id()));
    assert!(matches!(ask(&queue, &self::call(1), decision(1)), Ok(Placed::Waits(Place { joins: None, .. }))));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_time_and_keeps_to_the_bounds() {
    let queue = HoldQueue::new(Settings { max_per_principal: 1, ..SETTINGS });
    let call = ended(&queue, Outcome::Expired);
    let other = self::call(2);
    let _place = place(&queue, &other, 1);
    assert!(why(reopen(&queue, &call).unwrap_err()).contains("max_per_principal"));
    queue.end(other.id(), Outcome::Withdrawn, "gone");
    for _ in 0..2 {
        reopen(&queue, &call).unwrap();
        tokio::time::advance(SETTINGS.ttl).await;
        assert_eq!(queue.lapse(), None);
        let state = queue.find(call.id()).unwrap().state;
        assert!(matches!(state, State::Closed { outcome: Outcome::Expired, .. }), "{state:?}");
    }
    assert_eq!(queue.ids().iter().filter(|id| *id == call.id()).count(), 1);
}

/// A signature that was checked against the hold as it had ended, and reaches the queue when it waits again.
#[tokio::test(start_paused = true)]
async fn a_signature_that_was_checked_before_it_waits_again_does_not_count() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = place(&queue, &call, 1);
    let proof = || Some(Verified { operator: "ana".into(), key: "SHA256:a".into(), signer: String::new() });
    let signed = || Ruling { proof: proof(), ..ruling(&queue, &call, "ana", true) };
    queue.end(call.id(), Outcome::Withdrawn, "gone");
    let checked = signed();
    tokio::time::advance(Duration::from_secs(1)).await;
    reopen(&queue, &call).unwrap();
    assert!(matches!(queue.begin(&checked), Err(NoEffect::BadSignature(_))));
    assert!(matches!(rule(&queue, signed()).unwrap().state, State::Ticket { .. }));
    tokio::time::advance(TICKET).await;
    queue.lapse();
    assert!(matches!(queue.find(call.id()).unwrap().state, State::Closed { outcome: Outcome::Expired, .. }));
    let checked = signed();
    let again = reopen(&queue, &call).unwrap();
    assert!(again.approved_by.is_empty(), "an approval that nobody came for counts no more");
    assert!(matches!(queue.begin(&checked), Err(NoEffect::BadSignature(_))));
}
