//! Cases about holds: one approval releases one call once, and nothing else does. Races run 100 rounds, not 1,000.

use std::time::Duration;

use countersign::call::{Digest, Outcome};
use countersign::control::wire::{Failure, HoldState, HoldView, RulingKind};
use countersign::json::{JsonText, Rules};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::daemon::{OTHER_TOKEN, SERVER, binary};
use crate::harness::http::HttpClient;
use crate::harness::operator::RawOperator;
use crate::harness::process::is_running;
use crate::harness::{Console, Countersign, Daemon, Shim, Spy, call, outcome, request, within};

const ROUNDS: usize = 100;

fn refund(id: impl Into<Value>, amount: usize) -> Value {
    call(id, "create_refund", json!({"charge": "ch_1", "amount": amount}))
}

/// The kinds of a call's records, in order; rulings that did not count are left out.
fn story(records: &[Value], hold: &HoldView) -> Vec<String> {
    let of_call = records.iter().filter(|record| record["call"] == hold.id.as_str());
    let kinds = of_call.map(|record| record["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| kind != "ruling_refused").collect()
}

/// After a race: every call has one end, one that was refused was never sent, and what was sent is what the upstream
/// got.
fn assert_one_end_each(records: &[Value], rulings: &[(HoldView, bool)], spy: &Spy) {
    let mut completed = 0;
    for (hold, approved) in rulings {
        let story = story(records, hold);
        let ends = story.iter().filter(|kind| ["closed", "completed"].contains(&kind.as_str())).count();
        assert_eq!(ends, 1, "{story:?}");
        let sent = story.iter().any(|kind| kind == "completed");
        assert!(*approved || !sent, "sent without an approval: {story:?}");
        assert!(!sent || story.contains(&"sending".to_owned()), "{story:?}");
        completed += usize::from(sent);
    }
    assert_eq!(spy.calls("create_refund"), completed);
}

fn of_kind<'a>(records: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    records.iter().filter(move |record| record["kind"] == kind)
}

/// What a record says of its own.
fn body(record: &Value) -> Value {
    match &record["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        Value::Null => record.clone(),
        other => other.clone(),
    }
}

struct Scene {
    spy: Spy,
    daemon: Daemon,
    shim: Shim,
    console: Console,
}

impl Scene {
    async fn set(countersign: Countersign, spy: Spy) -> Scene {
        let daemon = countersign.upstream(&spy).start().await;
        let shim = daemon.shim().await;
        let console = daemon.console().await;
        Scene { spy, daemon, shim, console }
    }

    async fn new() -> Scene {
        Scene::set(Countersign::new(), Spy::stdio().await).await
    }

    /// A refund that waits.
    async fn hold(&mut self, id: impl Into<Value>, amount: usize) -> HoldView {
        self.shim.send(&refund(id, amount)).await;
        self.console.hold().await
    }

    /// A call that passes: what was sent before it on this session has been dealt with.
    async fn probe(&mut self, id: &str) {
        let answer = self.shim.call(id, "get_balance", json!({})).await;
        assert_eq!(answer["result"]["content"][0]["text"], "done: get_balance", "{answer}");
    }
}

/// The baseline: held, approved, executed once; the digest binds the bytes that were sent.
#[tokio::test]
async fn hld_001() {
    let mut scene = Scene::new().await;
    let hold = scene.hold(1, 100).await;
    scene.probe("p").await;
    assert_eq!(scene.spy.calls("create_refund"), 0, "nothing leaves before the ruling");
    scene.console.approve(&hold).await.unwrap();
    assert_eq!(scene.shim.answer(1).await["result"]["content"][0]["text"], "done: create_refund");
    assert_eq!(scene.spy.calls("create_refund"), 1);

    let sent = scene.spy.received().into_iter().find(|received| received.tool() == "create_refund").unwrap();
    let message = JsonText::parse(sent.raw, Rules::UPSTREAM).unwrap();
    let params = JsonText::without(message.view().get("params").unwrap(), &["_meta"]);
    let mut sorted = String::new();
    params.view().write_sorted(&mut sorted);
    let definition = hold.definition.map(|digest| digest.to_string()).unwrap_or_default();
    let fields = [
        hold.principal.as_bytes(),
        SERVER.as_bytes(),
        hold.environment.name.as_bytes(),
        b"tools/call",
        b"create_refund",
        sorted.as_bytes(),
        definition.as_bytes(),
    ];
    assert_eq!(Digest::of_fields("countersign.call/v1", &fields), hold.digest);

    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    assert_eq!(story(&records, &hold), ["decided", "held", "ruled", "sending", "completed"]);
    let ruled = body(of_kind(&records, "ruled").next().unwrap());
    assert_eq!(ruled["digest"], hold.digest.to_string());
}

/// An id that is in use names one call.
#[tokio::test]
async fn hld_002() {
    let mut scene = Scene::new().await;
    let hold = scene.hold(1, 100).await;
    scene.shim.send(&refund(1, 999_999)).await;
    let refused = scene.shim.answer(1).await;
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    scene.console.approve(&hold).await.unwrap();
    scene.shim.answer(1).await;
    let refunds: Vec<_> =
        scene.spy.received().into_iter().filter(|received| received.tool() == "create_refund").collect();
    assert_eq!(refunds.len(), 1);
    assert_eq!(refunds[0].message["params"]["arguments"]["amount"], 100);
}

/// An approval names the digest that it approves.
#[tokio::test]
async fn hld_003() {
    let mut scene = Scene::new().await;
    let hold = scene.hold(1, 100).await;
    let other = Digest::of_bytes(b"other bytes");
    assert_eq!(scene.console.rule(&hold.id, other, RulingKind::Approve, None).await.unwrap_err(), Failure::WrongDigest);
    let mut raw = RawOperator::hello(&scene.daemon.operator_socket).await;
    raw.send(&format!(r#"{{"command":"rule","seq":1,"id":"{}","ruling":"approve","reason":null}}"#, hold.id)).await;
    let answer = raw.next().await;
    assert!(answer.as_ref().is_none_or(|notice| notice["failed"]["error"] == "malformed"), "{answer:?}");
    scene.probe("p").await;
    let still = scene.console.pending(1).await;
    assert_eq!((still[0].id.clone(), still[0].digest), (hold.id, hold.digest));
    assert_eq!(scene.spy.calls("create_refund"), 0);
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    assert!(of_kind(&records, "ruling_refused").count() >= 1);
    assert_eq!(of_kind(&records, "ruled").count(), 0);
}

/// Two operators approve at the same instant: one of them did, the other is told.
#[tokio::test]
async fn hld_004() {
    let mut scene = Scene::new().await;
    let mut second = scene.daemon.console().await;
    for round in 0..ROUNDS {
        let hold = scene.hold(round, round + 1).await;
        let (one, other) = tokio::join!(scene.console.approve(&hold), second.approve(&hold));
        let refused = match (one, other) {
            (Ok(_), Err(failure)) | (Err(failure), Ok(_)) => failure,
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!(refused, Failure::Closed);
        scene.shim.answer(round).await;
    }
    assert_eq!(scene.spy.calls("create_refund"), ROUNDS);
}

/// One approves, one rejects: one of the two happened.
#[tokio::test]
async fn hld_005() {
    let mut scene = Scene::new().await;
    let mut second = scene.daemon.console().await;
    let mut approved = 0;
    for round in 0..ROUNDS {
        let hold = scene.hold(round, round + 1).await;
        let (yes, no) = if round % 2 == 0 {
            tokio::join!(scene.console.approve(&hold), second.reject(&hold, "no"))
        } else {
            let (no, yes) = tokio::join!(second.reject(&hold, "no"), scene.console.approve(&hold));
            (yes, no)
        };
        assert_ne!(yes.is_ok(), no.is_ok(), "round {round}: {yes:?} {no:?}");
        approved += usize::from(yes.is_ok());
        let answer = scene.shim.answer(round).await;
        assert_eq!(outcome(&answer), no.is_ok().then_some("rejected"), "{answer}");
    }
    assert_eq!(scene.spy.calls("create_refund"), approved);
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    let effective = of_kind(&records, "ruled").map(body).filter(|ruled| ruled["effective"] == true).count();
    assert_eq!(effective, ROUNDS, "one ruling for each hold");
    assert_eq!(of_kind(&records, "sending").count(), approved);
}

/// Approvals around the very end of a hold: what is told is what happened. 40 holds of one second.
#[tokio::test]
async fn hld_006() {
    let countersign = Countersign::new().set("/holds/ttl", json!("1s"));
    let mut scene = Scene::set(countersign, Spy::stdio().await).await;
    let mut holds = Vec::new();
    for n in 0..40 {
        holds.push((n, scene.hold(n, n + 1).await, tokio::time::Instant::now()));
    }
    let mut approved = 0;
    for (n, hold, seen) in holds {
        // Time is the subject here: from 20 ms before the end to 20 ms after it.
        let at = seen + Duration::from_millis(980) + Duration::from_millis(u64::try_from(n).unwrap());
        tokio::time::sleep_until(at).await;
        let ruling = scene.console.approve(&hold).await;
        let answer = scene.shim.answer(n).await;
        approved += usize::from(outcome(&answer).is_none());
        match ruling {
            // It may come in time, and its record take what was left: then nothing leaves, and the client is told so.
            Ok(_) => assert!(matches!(outcome(&answer), None | Some("expired")), "{answer}"),
            Err(failure) => {
                assert_eq!(failure, Failure::Closed);
                assert_eq!(outcome(&answer), Some("expired"), "{answer}");
            }
        }
    }
    assert_eq!(scene.spy.calls("create_refund"), approved);
}

/// The client takes it back while the operator approves.
#[tokio::test]
async fn hld_007() {
    let mut scene = Scene::new().await;
    let mut rulings = Vec::new();
    for round in 0..ROUNDS {
        let hold = scene.hold(round, round + 1).await;
        let ruling = if round % 2 == 0 {
            tokio::join!(scene.console.approve(&hold), scene.shim.cancel(round)).0
        } else {
            tokio::join!(scene.shim.cancel(round), scene.console.approve(&hold)).1
        };
        assert!(!matches!(&ruling, Err(failure) if *failure != Failure::Closed), "{ruling:?}");
        rulings.push((hold, ruling.is_ok()));
    }
    scene.probe("p").await;
    let (answers, _) = scene.shim.finish().await;
    assert!(answers.iter().all(|answer| outcome(answer).is_none()), "a withdrawn call is not answered: {answers:?}");
    scene.daemon.stop().await;
    assert_one_end_each(&scene.daemon.records().await, &rulings, &scene.spy);
}

/// The client's stream closes while the operator approves. 50 rounds.
#[tokio::test]
async fn hld_008() {
    let spy = Spy::stdio().await;
    // A client that may come back is not gone yet.
    let countersign = Countersign::new().upstream(&spy).set("/limits/resume_window", json!("0s"));
    let mut daemon = countersign.start().await;
    let mut console = daemon.console().await;
    let mut client = daemon.http();
    client.initialize().await;
    let mut rulings = Vec::new();
    for round in 0..50 {
        let reply = client.post(&refund(round, round + 1)).await;
        let hold = console.hold().await;
        let leave = async { drop(reply) };
        let ruling = if round % 2 == 0 {
            tokio::join!(leave, console.approve(&hold)).1
        } else {
            tokio::join!(console.approve(&hold), leave).0
        };
        rulings.push((hold, ruling.is_ok()));
    }
    client.call("p", "get_balance", json!({})).await;
    daemon.stop().await;
    assert_one_end_each(&daemon.records().await, &rulings, &spy);
}

/// The bytes of an approval work once.
#[tokio::test]
async fn hld_011() {
    let mut scene = Scene::new().await;
    let first = scene.hold(1, 100).await;
    let frame = format!(
        r#"{{"command":"rule","seq":1,"id":"{}","digest":"{}","ruling":"approve","reason":null}}"#,
        first.id, first.digest
    );
    let mut raw = RawOperator::hello(&scene.daemon.operator_socket).await;
    raw.send(&frame).await;
    assert!(raw.next().await.unwrap().get("ruled").is_some());
    scene.shim.answer(1).await;
    let second = scene.hold(2, 100).await;
    assert_eq!(first.digest, second.digest, "the same call");
    for _ in 0..3 {
        let mut raw = RawOperator::hello(&scene.daemon.operator_socket).await;
        raw.send(&frame).await;
        assert_eq!(raw.next().await.unwrap()["failed"]["error"], "closed");
    }
    assert_eq!(scene.console.pending(1).await[0].id, second.id);
    scene.probe("p").await;
    assert_eq!(scene.spy.calls("create_refund"), 1);
}

/// A hold does not survive the daemon.
#[tokio::test]
async fn hld_013() {
    let mut scene = Scene::new().await;
    let hold = scene.hold(1, 100).await;
    let mut daemon = scene.daemon.kill().await.start().await;
    let mut console = daemon.console().await;
    assert!(!console.list().await.iter().any(|hold| hold.state.is_pending()));
    let failure = console.approve(&hold).await.unwrap_err();
    assert!(matches!(failure, Failure::NotFound | Failure::Closed), "{failure:?}");
    daemon.shim().await.call("p", "get_balance", json!({})).await;
    assert_eq!(scene.spy.calls("create_refund"), 0);
    daemon.stop().await;
    let records = daemon.records().await;
    assert_eq!(story(&records, &hold), ["decided", "held", "recovered"]);
    assert_eq!(body(of_kind(&records, "recovered").next().unwrap())["outcome"], "abandoned");
    assert_eq!(daemon.run(&["audit", "verify"]).await.1, 0);
}

/// Killed at any moment around an approval: sent at most once, and the record never says less than what happened.
/// Not at a fixed point of the code: 20 rounds, killed at 20 moments.
#[tokio::test]
async fn hld_014() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut holds = Vec::new();
    for round in 0..20 {
        let mut shim = daemon.shim().await;
        let mut console = daemon.console().await;
        shim.send(&refund(round, round + 1)).await;
        let hold = console.hold().await;
        // The ruling is on its way and nobody waits for what becomes of it.
        let mut raw = RawOperator::hello(&daemon.operator_socket).await;
        let rule = format!(
            r#"{{"command":"rule","seq":1,"id":"{}","digest":"{}","ruling":"approve","reason":null}}"#,
            hold.id, hold.digest
        );
        raw.send(&rule).await;
        tokio::time::sleep(Duration::from_micros(u64::try_from(round).unwrap() * 250)).await;
        daemon = daemon.kill().await.start().await;
        holds.push((round + 1, hold));
    }
    daemon.stop().await;
    let records = daemon.records().await;
    for (amount, hold) in holds {
        let sent = spy.received().iter().filter(|r| r.message["params"]["arguments"]["amount"] == amount).count();
        assert!(sent <= 1, "sent {sent} times");
        let story = story(&records, &hold);
        let last = records.iter().rfind(|record| record["call"] == hold.id.as_str()).map(body).unwrap();
        match (story.last().unwrap().as_str(), last["outcome"].as_str()) {
            ("completed", _) => {}
            ("recovered", Some("sent_outcome_unknown")) => assert!(story.contains(&"sending".to_owned())),
            ("recovered", Some("approved_not_sent" | "abandoned")) => assert_eq!(sent, 0, "{story:?}"),
            other => panic!("{other:?} ends {story:?}"),
        }
        assert!(sent == 0 || story.contains(&"sending".to_owned()), "sent without a record: {story:?}");
    }
    assert_eq!(daemon.run(&["audit", "verify"]).await.1, 0);
}

/// Killed after the call left: it is not sent again, and the record says that its outcome is not known.
#[tokio::test]
async fn hld_015() {
    let spy = Spy::stdio_with(|received, _| (received.tool() == "create_refund").then(Vec::new)).await;
    let mut scene = Scene::set(Countersign::new(), spy).await;
    let hold = scene.hold(1, 100).await;
    scene.console.approve(&hold).await.unwrap();
    scene.spy.until("the call", |spy| spy.calls("create_refund") == 1).await;
    let mut daemon = scene.daemon.kill().await.start().await;
    daemon.shim().await.call("p", "get_balance", json!({})).await;
    assert_eq!(scene.spy.calls("create_refund"), 1);
    daemon.stop().await;
    let records = daemon.records().await;
    assert_eq!(story(&records, &hold), ["decided", "held", "ruled", "sending", "recovered"]);
    assert_eq!(body(of_kind(&records, "recovered").next().unwrap())["outcome"], "sent_outcome_unknown");
}

/// An agent that asks three times has one approval, and the operator sees that they are the same.
#[tokio::test]
async fn hld_017() {
    let mut scene = Scene::new().await;
    let first = scene.hold(1, 100).await;
    scene.shim.send(&refund(2, 100)).await;
    scene.shim.send(&refund(3, 100)).await;
    let asked = scene.console.until_hold("three requests behind it", |hold| hold.waiting == 3).await;
    assert_eq!(asked.id, first.id, "one prompt");
    scene.console.approve(&first).await.unwrap();
    scene.shim.answer(1).await;
    scene.probe("p").await;
    assert_eq!(scene.spy.calls("create_refund"), 1);
    let rest = scene.console.pending(1).await.remove(0);
    assert_eq!(rest.waiting, 2);
    assert!(rest.same_as.iter().any(|same| same.id == first.id), "not marked: {:?}", rest.same_as);
    assert_eq!(scene.console.approve(&first).await.unwrap_err(), Failure::Closed, "the first approval is used up");
    scene.console.approve(&rest).await.unwrap();
    let second = scene.shim.next().await.unwrap();
    assert_eq!(second["result"]["content"][0]["text"], "done: create_refund", "{second}");
    assert_eq!(scene.spy.calls("create_refund"), 2);
    let last = scene.console.pending(1).await.remove(0);
    assert_eq!(last.waiting, 1);
    scene.console.reject(&last, "twice is enough").await.unwrap();
    let third = scene.shim.next().await.unwrap();
    assert_eq!(outcome(&third), Some("rejected"));
    assert_ne!(second["id"], third["id"]);
    assert_eq!(scene.spy.calls("create_refund"), 2);
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    let joined = of_kind(&records, "held").map(body).filter(|held| held["joins"] == first.id.as_str()).count();
    assert_eq!(joined, 2, "the record says behind whose prompt they waited");
}

/// One principal cannot fill the queue for the others. 200 calls, not 1,000.
#[tokio::test]
async fn hld_020() {
    let mut scene = Scene::new().await;
    for n in 0..200 {
        scene.shim.send(&refund(n, n + 1)).await;
    }
    for _ in 0..150 {
        let answer = scene.shim.next().await.unwrap();
        assert_eq!(outcome(&answer), Some("overloaded"), "{answer}");
        assert!(
            answer["result"]["content"][0]["text"].as_str().unwrap().contains("50"),
            "the limit is named: {answer}"
        );
    }
    assert_eq!(scene.console.pending(50).await.len(), 50);
    let mut other = HttpClient::new(scene.daemon.address, SERVER, Some(OTHER_TOKEN));
    other.initialize().await;
    let mut reply = other.post(&refund("other", 1)).await;
    let holds = scene.console.pending(51).await;
    let theirs = holds.iter().find(|hold| hold.principal == "other").expect("the other principal's hold");
    scene.console.approve(theirs).await.unwrap();
    assert_eq!(outcome(&reply.answer("other").await), None);
    assert_eq!(scene.spy.calls("create_refund"), 1);
}

/// The client's end of input withdraws its hold.
#[tokio::test]
async fn hld_025() {
    let mut scene = Scene::new().await;
    let hold = scene.hold(1, 100).await;
    let (_, status) = scene.shim.finish().await;
    assert!(status.success(), "{status}");
    let withdrawn = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Withdrawn, .. });
    scene.console.state(&hold.id, "the withdrawal", withdrawn).await;
    assert_eq!(scene.console.approve(&hold).await.unwrap_err(), Failure::Closed);
    scene.spy.until("the upstream's end", |spy| spy.closed() == 1).await;
    assert_eq!(scene.spy.calls("create_refund"), 0);
    scene.daemon.assert_alive().await;
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    assert_eq!(body(of_kind(&records, "closed").next().unwrap())["outcome"], "withdrawn");
}

/// SIGTERM refuses what is held, and ends.
#[tokio::test]
async fn hld_026() {
    let mut scene = Scene::new().await;
    let hold = scene.hold(1, 100).await;
    let child = u32::try_from(scene.spy.processes()[0]["pid"].as_u64().unwrap()).unwrap();
    let status = scene.daemon.stop().await;
    assert!(status.success(), "{status}");
    assert_eq!(outcome(&scene.shim.answer(1).await), Some("shutting_down"));
    assert!(!is_running(child), "the upstream still runs");
    assert_eq!(scene.spy.calls("create_refund"), 0);
    let records = scene.daemon.records().await;
    assert_eq!(story(&records, &hold), ["decided", "held", "closed"]);
    assert_eq!(body(of_kind(&records, "closed").next().unwrap())["outcome"], "shutting_down");
}

/// Nobody there, or nobody who rules: both end in a refusal, and nothing is sent.
#[tokio::test]
async fn hld_027() {
    for (ttl, grace, expected) in [("30s", "500ms", "unattended"), ("1s", "30s", "expired")] {
        let spy = Spy::stdio().await;
        let countersign = Countersign::new().set("/holds/ttl", json!(ttl)).set("/holds/no_console/grace", json!(grace));
        let daemon = countersign.upstream(&spy).start().await;
        let mut shim = daemon.shim().await;
        let answer = shim.call("a", "create_refund", json!({"charge": "ch_1", "amount": 100})).await;
        assert_eq!(outcome(&answer), Some(expected), "{answer}");
        shim.call("p", "get_balance", json!({})).await;
        assert_eq!(spy.calls("create_refund"), 0);
    }
}

/// An approval that cannot be recorded does not count. The disk is full by a limit on the size of the daemon's files.
#[tokio::test]
async fn hld_028() {
    let spy = Spy::stdio().await;
    // A write beyond the limit is then an error and not a signal.
    let mut daemon = Countersign::new().upstream(&spy).wrapped("trap '' XFSZ; exec \"$@\"").start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&refund(1, 100)).await;
    let hold = console.hold().await;
    limit_files(daemon.pid(), "1024").await;
    let ruling = console.approve(&hold).await;
    assert_eq!(ruling.unwrap_err(), Failure::Unavailable);
    let refused = shim.call("r", "get_balance", json!({})).await;
    assert_eq!(outcome(&refused), Some("unavailable"), "no record, no call: {refused}");
    assert_eq!(spy.all_calls(), 0);
    limit_files(daemon.pid(), "unlimited").await;
    let again = shim.call("s", "get_balance", json!({})).await;
    assert_eq!(outcome(&again), None, "the daemon recovers: {again}");
    assert_eq!(spy.calls("create_refund"), 0);
    daemon.assert_alive().await;
    daemon.stop().await;
    assert_eq!(daemon.run(&["audit", "verify"]).await.1, 0);
}

async fn limit_files(pid: u32, size: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), &format!("--fsize={size}:unlimited")]);
    assert!(within("prlimit", prlimit.status()).await.unwrap().success());
}

/// Nobody can approve something else than what was asked.
#[tokio::test]
async fn hld_030() {
    let mut scene = Scene::new().await;
    let hold = scene.hold(1, 100).await;
    let mut raw = RawOperator::hello(&scene.daemon.operator_socket).await;
    let frame = format!(
        r#"{{"command":"rule","seq":1,"id":"{}","digest":"{}","ruling":"approve","reason":null,"arguments":{{"charge":"ch_1","amount":50}}}}"#,
        hold.id, hold.digest
    );
    raw.send(&frame).await;
    let answer = raw.next().await;
    assert!(answer.as_ref().is_none_or(|notice| notice["failed"]["error"] == "malformed"), "{answer:?}");
    let still = scene.console.pending(1).await;
    assert_eq!((still[0].digest, still[0].arguments.clone()), (hold.digest, hold.arguments));
    assert_eq!(scene.spy.calls("create_refund"), 0);
    let help = within("help", Command::new(binary()).args(["pending", "approve", "--help"]).output()).await.unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("--digest") && !help.contains("--arguments"), "{help}");
}

/// A grant covers its own call of its own principal, and nothing else.
#[tokio::test]
async fn hld_031() {
    const POLICY: &str = r#"package countersign.policy.all

allow contains {"rule": "all.may", "reason": "may be asked for"} if input.method

hold contains {"rule": "all.look", "reason": "a person looks", "tier": "low", "grantable": true} if true
"#;
    let spy = Spy::stdio().await;
    let server = json!({"vendor": "stripe", "environment": "sandbox", "upstream": spy.upstream});
    let daemon = Countersign::with_policy(POLICY).server(SERVER, server).start().await;
    let (mut shim, mut console) = (daemon.shim().await, daemon.console().await);
    shim.send(&request("list", "tools/list", json!({}))).await;
    shim.answer("list").await;
    let refund = |payment: &str| json!({"payment_intent": payment, "amount": 100});
    shim.send(&call(1, "create_refund", refund("pi_1"))).await;
    let hold = console.hold().await;
    let (id, digest) = (hold.id.to_string(), hold.digest.to_string());
    let words = ["grant", "add", &id, "--digest", &digest, "--uses", "5", "--for", "10m"];
    let (terms, _) = daemon.run(&words).await;
    let sha = Digest::of_bytes(terms.as_bytes()).to_string();
    assert_eq!(daemon.run(&[&words[..], &["--text-sha256", &sha]].concat()).await.1, 0);
    shim.answer(1).await;
    // Another customer's, another operation, another principal's: held.
    shim.send(&call(2, "create_refund", refund("pi_2"))).await;
    shim.send(&call(3, "delete_customer", refund("pi_1"))).await;
    let mut http = daemon.http();
    http.initialize().await;
    let other = tokio::spawn(async move { http.call("4", "create_refund", refund("pi_1")).await });
    let held = console.pending(3).await;
    assert_eq!(spy.all_calls(), 1);
    // The same call of the same principal is covered, five times.
    for n in 0..5 {
        let id = format!("again-{n}");
        assert_eq!(outcome(&shim.call(&id, "create_refund", refund("pi_1")).await), None);
    }
    shim.send(&call("sixth", "create_refund", refund("pi_1"))).await;
    console.pending(4).await;
    assert_eq!(spy.all_calls(), 6);
    for hold in held {
        console.reject(&hold, "no").await.unwrap();
    }
    assert_eq!(outcome(&other.await.unwrap()), Some("rejected"));
}
