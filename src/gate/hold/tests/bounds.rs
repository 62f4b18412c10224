//! What is long: it is counted in bytes, and what watchers are told of it is small.

use super::*;

const WIDE: Settings = Settings { max_pending: 1000, max_per_principal: 1000, held_bytes: 4 << 20, ..SETTINGS };
const LONG: usize = 2_000_000;

fn long(n: usize) -> Arc<ToolCall> {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"create_refund","arguments":{{"n":{n},"note":"{}"}}}}}}"#,
        "x".repeat(LONG)
    );
    match sort(Message::from_client(text).unwrap()) {
        Sorted::Decide(call) => Arc::new(*call),
        other => panic!("{other:?}"),
    }
}

fn ask_as(queue: &HoldQueue, principal: &str, call: &Arc<ToolCall>) -> Result<Placed, (Outcome, String)> {
    let context = context(principal, "sandbox");
    let digest = call.digest(&context);
    queue.place(Arc::clone(call), context, decision(1), digest, vec![], &Presence::default())
}

/// I11: calls that wait are bounded in bytes, for one principal and for all.
#[tokio::test(start_paused = true)]
async fn long_calls_fill_neither_the_queue_nor_the_place_of_others() {
    let queue = HoldQueue::new(WIDE);
    let fill = |principal: &str| {
        let mut places = Vec::new();
        loop {
            match ask_as(&queue, principal, &long(places.len())) {
                Ok(Placed::Waits(place)) => places.push(place),
                Ok(placed) => panic!("{placed:?}"),
                Err((outcome, why)) => return (places, outcome, why),
            }
        }
    };
    let (first, outcome, why) = fill("agent");
    assert_eq!((first.len(), outcome), (12, Outcome::Overloaded));
    assert!(why.contains("calls of agent"), "{why}");
    let others: Vec<_> = ["b", "c", "d"].map(|principal| fill(principal).0.len()).into_iter().collect();
    assert_eq!(others, [12; 3]);
    let (none, _, why) = fill("e");
    assert!(none.len() < 3 && why.starts_with("the calls that are waiting"), "{why}");
    assert!(matches!(ask_as(&queue, "e", &call(1)), Ok(Placed::Waits(_))), "a short one still has a place");
}

/// I11: what ended is bounded in bytes too, however often a client takes its calls back.
#[tokio::test(start_paused = true)]
async fn long_calls_that_ended_make_room_and_those_on_their_way_stay_longest() {
    let queue = HoldQueue::new(WIDE);
    let approved = call(1);
    let _place = place(&queue, &approved, 1);
    rule(&queue, ruling(&queue, &approved, "ana", true)).unwrap();
    let mut last = None;
    for n in 0..9 {
        let call = long(n);
        let _place = place(&queue, &call, 1);
        queue.end(call.id(), Outcome::Withdrawn, "gone");
        last = Some(call);
    }
    let bytes: usize = queue.all().iter().map(|hold| hold.call.message().as_str().len()).sum();
    assert!(bytes < 9 << 20, "{bytes}");
    assert!(queue.find(last.unwrap().id()).is_some());
    assert!(queue.find(approved.id()).is_some(), "its answer is still to come");
}

/// The answer to a batch shows all of it in one line.
#[tokio::test(start_paused = true)]
async fn a_batch_of_long_calls_is_too_long_for_one_answer() {
    let queue = HoldQueue::new(WIDE);
    let calls: Vec<_> = (0..5).map(long).collect();
    let _places: Vec<_> = calls.iter().map(|call| place(&queue, call, 1)).collect();
    let rulings: Vec<_> = calls.iter().map(|call| ruling(&queue, call, "ana", true)).collect();
    assert!(queue.are_too_long(&rulings) && !queue.are_too_long(&rulings[1..]));
}

/// What an operator would have to be shown beside the parameters counts as well.
#[tokio::test(start_paused = true)]
async fn what_policy_says_of_a_call_cannot_make_it_too_long_to_be_shown() {
    let queue = HoldQueue::new(WIDE);
    let wordy = Arc::new(Decision { reason: "x".repeat(MAX_SHOWN), ..(*decision(1)).clone() });
    assert!(matches!(ask(&queue, &call(1), wordy), Err((Outcome::Denied, why)) if why.contains("can be shown")));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_is_told_of_each_state_and_of_nothing_twice() {
    let queue = HoldQueue::new(Settings { take_back: Duration::from_secs(3), ..WIDE });
    let mut changes = queue.changes();
    let call = call(1);
    let _place = place(&queue, &call, 1);
    for act in [LeaseAct::Take, LeaseAct::GiveBack, LeaseAct::Take] {
        queue.lease(call.id(), "ana", act).unwrap();
    }
    rule(&queue, ruling(&queue, &call, "ana", true)).unwrap();
    tokio::time::advance(Duration::from_secs(4)).await;
    queue.lapse();
    let mut told = Vec::new();
    while let Ok(change) = changes.try_recv() {
        match queue.told(&change) {
            Told::Hold(hold) => told.push(hold.state_word()),
            Told::Later => told.push("later"),
            Told::Forgotten => panic!("{change:?}"),
        }
    }
    assert_eq!(told, ["pending", "pending", "pending", "pending", "approved", "approved"]);
    let now = queue.find(call.id()).unwrap();
    assert!(matches!(now.state, State::Approved { .. }));
}

/// Changes that say the same are told once, and one of a hold that is not remembered calls for everything anew.
#[tokio::test(start_paused = true)]
async fn a_slow_watcher_is_told_the_last_of_several_changes() {
    let queue = HoldQueue::new(WIDE);
    let mut changes = queue.changes();
    let call = call(1);
    let _place = place(&queue, &call, 1);
    for act in [LeaseAct::Take, LeaseAct::GiveBack] {
        queue.lease(call.id(), "ana", act).unwrap();
    }
    let mut told = Vec::new();
    while let Ok(change) = changes.try_recv() {
        told.push(queue.told(&change));
    }
    assert!(matches!(&told[..], [Told::Later, Told::Later, Told::Hold(hold)] if hold.lease.is_none()), "{told:?}");
    queue.end(call.id(), Outcome::Withdrawn, "gone");
    let change = changes.try_recv().unwrap();
    for n in 0..120 {
        let other = super::call(n + 2);
        let _place = place(&queue, &other, 1);
        queue.end(other.id(), Outcome::Withdrawn, "gone");
    }
    assert!(matches!(queue.told(&change), Told::Forgotten));
}

/// What is signed names the end of the hold: no identical call moves it, and no approval is kept alive by asking again.
#[tokio::test(start_paused = true)]
async fn an_identical_call_does_not_move_the_end_of_a_prompt() {
    let queue = HoldQueue::new(WIDE);
    let (one, two) = (call(1), call(1));
    let first = place(&queue, &one, 2);
    let shown = queue.find(one.id()).unwrap().expires;
    assert_eq!(shown, first.expires);
    rule(&queue, ruling(&queue, &one, "ben", true)).unwrap();
    tokio::time::advance(SETTINGS.ttl - Duration::from_secs(60)).await;
    let again = place(&queue, &two, 2);
    assert_eq!((again.joins.as_ref(), again.deadline, again.expires), (Some(one.id()), first.deadline, shown));
    let hold = queue.find(one.id()).unwrap();
    assert_eq!((hold.expires, hold.approved_by.len(), hold.waiting), (shown, 1, 2));
    tokio::time::advance(Duration::from_secs(60)).await;
    let late = rule(&queue, ruling(&queue, &one, "ana", true)).unwrap_err();
    assert!(matches!(late, NoEffect::Closed(_)), "{late}");
    for waiting in [&one, &two] {
        queue.end(waiting.id(), Outcome::Expired, "late");
    }
    let anew = place(&queue, &call(1), 2);
    assert_eq!(anew.joins, None);
    assert!(queue.all().iter().all(|hold| hold.state != State::Pending || hold.approved_by.is_empty()));
}

/// I10: what may differ in `_meta` from what was shown is a plain number or word, and what a client cannot say more in.
#[tokio::test(start_paused = true)]
async fn nothing_can_be_said_in_what_numbers_a_request() {
    let info = r#""io.modelcontextprotocol/clientInfo":{"name":"agent","version":"1"}"#;
    let shown = call_with(1, &format!(r#"{{"progressToken":1,{info}}}"#));
    for (meta, same) in [
        (format!(r#"{{"progressToken":"8d0f-2",{info}}}"#), true),
        (
            format!(
                r#"{{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","claudecode/toolUseId":"toolu_01","io.modelcontextprotocol/protocolVersion":"2026-07-28",{info}}}"#
            ),
            true,
        ),
        (format!(r#"{{"baggage":"account=acct_2",{info}}}"#), false),
        (format!(r#"{{"tracestate":"a=b",{info}}}"#), false),
        (format!(r#"{{"progressToken":"to another account",{info}}}"#), false),
        (format!(r#"{{"progressToken":{{"a":1}},{info}}}"#), false),
        (format!(r#"{{"traceparent":"{}",{info}}}"#, "0".repeat(129)), false),
        (format!(r#"{{"io.modelcontextprotocol/anything":1,{info}}}"#), false),
        (info.replace("agent", "another").replace("\"io.", "{\"io.") + "}", false),
    ] {
        let queue = HoldQueue::new(WIDE);
        let _place = place(&queue, &shown, 1);
        queue.detach(shown.id());
        rule(&queue, ruling(&queue, &shown, "ana", true)).unwrap();
        let placed = ask(&queue, &call_with(1, &meta), decision(1)).unwrap();
        assert_eq!(matches!(&placed, Placed::Ticket { .. }), same, "{meta}: {placed:?}");
    }
}
