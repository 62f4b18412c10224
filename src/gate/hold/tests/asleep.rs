//! Time in which the machine sleeps: timers stand still, and holds end all the same.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_hold_ends_while_the_machine_sleeps() {
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let place = place(&queue, &call, 1);
    let (early, late) = (ruling(&queue, &call, "ana", true), ruling(&queue, &call, "ben", true));
    queue.begin(&early).unwrap();
    queue.clock.sleep(Duration::from_secs(300));
    assert!(matches!(queue.settle(early, true), Err(NoEffect::Closed(_))));
    assert!(matches!(place.verdict.await.unwrap(), Verdict::Ended { outcome: Outcome::Expired, .. }));
    assert!(matches!(rule(&queue, late), Err(NoEffect::Closed(_))));

    let call = super::call(2);
    let place = super::place(&queue, &call, 1);
    let late = ruling(&queue, &call, "ana", true);
    queue.clock.sleep(Duration::from_secs(300));
    assert!(matches!(queue.begin(&late), Err(NoEffect::Closed(why)) if why.contains("expired")));
    // And whoever looks after the queue finds it, although no timer has ended.
    let next = queue.lapse();
    assert!(matches!(place.verdict.await.unwrap(), Verdict::Ended { outcome: Outcome::Expired, .. }));
    assert_eq!(next, None);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_looked_at_whatever_timers_say() {
    let soon = |queue: &HoldQueue| queue.lapse().is_some_and(|next| next <= Instant::now() + LOOKS);
    let queue = HoldQueue::new(SETTINGS);
    let call = call(1);
    let _place = place(&queue, &call, 1);
    assert!(soon(&queue), "a hold");
    queue.begin(&ruling(&queue, &call, "ana", true)).unwrap();
    assert!(soon(&queue), "a ruling that is being recorded, and may not be");
    queue.settle(ruling(&queue, &call, "ana", true), false).unwrap_err();
    queue.detach(call.id());
    rule(&queue, ruling(&queue, &call, "ana", true)).unwrap();
    assert!(soon(&queue), "a ticket");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_ends_while_the_machine_sleeps() {
    for (slept, counts) in [(TICKET - Duration::from_secs(1), true), (TICKET, false)] {
        let queue = HoldQueue::new(SETTINGS);
        let call = call(1);
        let _place = place(&queue, &call, 1);
        queue.detach(call.id());
        rule(&queue, ruling(&queue, &call, "ana", true)).unwrap();
        queue.clock.sleep(slept);
        let again = super::call(1);
        assert_eq!(matches!(ask(&queue, &again, decision(1)), Ok(Placed::Ticket { .. })), counts, "{slept:?}");
    }
}
