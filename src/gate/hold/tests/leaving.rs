//! Between an approval and its release: take-backs, ends and stops; claims; and words for who comes too late.

use super::*;

const WINDOW: Settings = Settings { take_back: Duration::from_secs(3), ..SETTINGS };

async fn pass(queue: &HoldQueue, milliseconds: u64) {
    tokio::time::advance(Duration::from_millis(milliseconds)).await;
    queue.lapse();
}

fn approve(queue: &HoldQueue, call: &ToolCall) -> Hold {
    rule(queue, ruling(queue, call, "ana", true)).unwrap()
}

fn take_back(queue: &HoldQueue, call: &ToolCall) -> Result<Hold, NoEffect> {
    assert_eq!(queue.take_back(call.id())?, "ana");
    queue.taken_back(call.id(), true)
}

#[tokio::test(start_paused = true)]
async fn an_approval_leaves_when_its_time_has_come_and_not_before() {
    let queue = HoldQueue::new(WINDOW);
    let call = call(1);
    let mut place = place(&queue, &call, 1);
    assert!(matches!(approve(&queue, &call).state, State::Leaving { .. }));
    pass(&queue, 2999).await;
    assert!(place.verdict.try_recv().is_err());
    pass(&queue, 1).await;
    assert!(matches!(place.verdict.try_recv(), Ok(Verdict::Approved { .. })));
    assert!(matches!(queue.find(call.id()).unwrap().state, State::Approved { .. }));
    assert!(matches!(take_back(&queue, &call), Err(NoEffect::Closed(why)) if why.contains("approved by ana 0 s ago")));
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_waits_again_without_approvals_and_with_its_deadline() {
    let queue = HoldQueue::new(WINDOW);
    let call = call(1);
    let mut place = place(&queue, &call, 2);
    let first = ruling(&queue, &call, "ben", true);
    rule(&queue, first).unwrap();
    let before = approve(&queue, &call);
    let hold = take_back_by(&queue, &call, "ben, ana").unwrap();
    assert_eq!((&hold.state, hold.approved_by.len(), hold.expires), (&State::Pending, 0, before.expires));
    assert_eq!(hold.taken_back, 1);
    assert!(matches!(queue.take_back(call.id()), Err(NoEffect::NotSo(_))));
    pass(&queue, 5000).await;
    assert!(place.verdict.try_recv().is_err(), "nothing leaves by an approval that was taken back");
    rule(&queue, ruling(&queue, &call, "ben", true)).unwrap();
    assert!(place.verdict.try_recv().is_err(), "both have to approve again");
    approve(&queue, &call);
    pass(&queue, 3000).await;
    assert!(matches!(place.verdict.try_recv(), Ok(Verdict::Approved { .. })));
}

fn take_back_by(queue: &HoldQueue, call: &ToolCall, approved: &str) -> Result<Hold, NoEffect> {
    assert_eq!(queue.take_back(call.id())?, approved);
    queue.taken_back(call.id(), true)
}

#[tokio::test(start_paused = true)]
async fn a_signature_of_before_a_take_back_counts_no_more() {
    let queue = HoldQueue::new(WINDOW);
    let call = call(1);
    let _place = place(&queue, &call, 1);
    let proof = || Some(Verified { operator: "ana".into(), key: "SHA256:a".into(), signer: String::new() });
    let signed = |taken_back| Ruling { proof: proof(), taken_back, ..ruling(&queue, &call, "ana", true) };
    rule(&queue, signed(0)).unwrap();
    take_back(&queue, &call).unwrap();
    assert!(matches!(rule(&queue, signed(0)), Err(NoEffect::BadSignature(_))));
    assert!(rule(&queue, signed(1)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_take_back_that_cannot_be_recorded_ends_the_call() {
    let queue = HoldQueue::new(WINDOW);
    let call = call(1);
    let mut place = place(&queue, &call, 1);
    approve(&queue, &call);
    queue.take_back(call.id()).unwrap();
    pass(&queue, 5000).await;
    assert!(place.verdict.try_recv().is_err(), "it does not leave while it is taken back");
    assert!(matches!(queue.taken_back(call.id(), false), Err(NoEffect::Unavailable(_))));
    assert!(matches!(place.verdict.try_recv(), Ok(Verdict::Ended { outcome: Outcome::Unavailable, .. })));
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_while_an_approval_waits_is_not_released() {
    let queue = HoldQueue::new(WINDOW);
    let (gone, stays) = (call(1), call(2));
    let (mut one, mut two) = (place(&queue, &gone, 1), place(&queue, &stays, 1));
    approve(&queue, &gone);
    approve(&queue, &stays);
    assert!(queue.end(gone.id(), Outcome::Withdrawn, "the client cancelled the call"));
    assert!(!queue.end(stays.id(), Outcome::Unattended, "no console"), "somebody has approved it");
    pass(&queue, 3000).await;
    assert!(matches!(one.verdict.try_recv(), Ok(Verdict::Ended { outcome: Outcome::Withdrawn, .. })));
    assert!(matches!(two.verdict.try_recv(), Ok(Verdict::Approved { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_meanwhile_leaves_a_ticket_that_can_be_taken_back() {
    let queue = HoldQueue::new(WINDOW);
    let call = call(1);
    let place = place(&queue, &call, 1);
    let expires = approve(&queue, &call).expires;
    queue.detach(call.id());
    assert!(matches!(place.verdict.await, Ok(Verdict::Detached { .. })));
    pass(&queue, 3000).await;
    assert!(matches!(queue.find(call.id()).unwrap().state, State::Ticket { .. }));
    let hold = take_back(&queue, &call).unwrap();
    assert_eq!((&hold.state, hold.expires), (&State::Pending, expires));
    let again = self::call(1);
    assert!(matches!(ask(&queue, &again, decision(1)), Ok(Placed::Waits(_))), "no ticket is left");
}

#[tokio::test(start_paused = true)]
async fn the_window_never_makes_an_approval_late() {
    let queue = HoldQueue::new(WINDOW);
    let (ends, gives_up) = (call(1), call(2));
    let (mut one, mut two) = (place(&queue, &ends, 1), place(&queue, &gives_up, 1));
    queue.wait_until(gives_up.id(), Some(Instant::now() + Duration::from_secs(299)));
    tokio::time::advance(Duration::from_secs(298)).await;
    for (call, after) in [(&ends, 1000), (&gives_up, 500)] {
        let State::Leaving { at, leaves_at, .. } = approve(&queue, call).state else { panic!() };
        assert_eq!(leaves_at.duration_since(at).as_millis(), after);
    }
    pass(&queue, 1000).await;
    assert!(matches!(one.verdict.try_recv(), Ok(Verdict::Approved { .. })));
    assert!(matches!(two.verdict.try_recv(), Ok(Verdict::Approved { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_what_waits_what_leaves_and_what_is_being_approved() {
    let stale = Stop::Stale { reason: "policy became stricter".into() };
    for step in ["pending", "deciding", "leaving", "unattended"] {
        let queue = HoldQueue::new(WINDOW);
        let call = call(1);
        let mut place = place(&queue, &call, 1);
        let approval = ruling(&queue, &call, "ana", true);
        match step {
            "deciding" => {
                queue.begin(&approval).unwrap();
                queue.stop(call.id(), &stale);
                assert!(matches!(queue.settle(approval, true), Err(NoEffect::Closed(why)) if why.contains("stricter")));
            }
            "leaving" => {
                rule(&queue, approval).unwrap();
                queue.stop(call.id(), &stale);
            }
            "unattended" => {
                queue.detach(call.id());
                queue.stop(call.id(), &stale);
            }
            _ => queue.stop(call.id(), &stale),
        }
        pass(&queue, 3000).await;
        let said = place.verdict.try_recv().unwrap();
        if step != "unattended" {
            assert!(matches!(said, Verdict::Ended { outcome: Outcome::Denied, .. }), "{step}: {said:?}");
        }
        assert!(matches!(queue.find(call.id()).unwrap().state, State::Stale { .. }), "{step}");
        assert!(matches!(rule(&queue, ruling(&queue, &call, "ben", true)), Err(NoEffect::Closed(_))), "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_a_word_to_others_and_ends_by_itself() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = place(&queue, &call, 1);
    let lease = |by: &str, act| queue.lease(call.id(), by, act).map(|(_, from)| from);
    assert!(matches!(lease("ana", LeaseAct::GiveBack), Err(NoEffect::NotSo(_))));
    assert_eq!(lease("ana", LeaseAct::Take), Ok(None));
    assert_eq!(lease("ana", LeaseAct::Take), Ok(None), "renewed");
    assert!(matches!(lease("ben", LeaseAct::Take), Err(NoEffect::NotSo(why)) if why.starts_with("ana has claimed it")));
    assert!(matches!(lease("ben", LeaseAct::GiveBack), Err(NoEffect::NotSo(_))));
    assert_eq!(lease("ben", LeaseAct::Steal), Ok(Some("ana".into())));
    pass(&queue, 60_000).await;
    assert_eq!(queue.find(call.id()).unwrap().lease, None, "over");
    assert_eq!(lease("ana", LeaseAct::Take), Ok(None));
    assert!(rule(&queue, ruling(&queue, &call, "ben", false)).is_ok(), "others may still rule");
    assert!(
        matches!(lease("ana", LeaseAct::Take), Err(NoEffect::Closed(why)) if why.contains("rejected by ben 0 s ago"))
    );
}
