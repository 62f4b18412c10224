//! What operators can still do after an approval, and beside single holds: take back, claim, freeze, stop sessions. From
//! the command line, as scripts do it.

use countersign::control::wire::{Command, Failure, HoldState, HoldView, Notice, VERSION};
use serde_json::{Value, json};

use crate::harness::daemon::FIXTURE_POLICY;
use crate::harness::operator::RawOperator;
use crate::harness::{Console, Countersign, Daemon, Shim, Spy, call, outcome};

struct Scene {
    spy: Spy,
    daemon: Daemon,
    shim: Shim,
    console: Console,
}

impl Scene {
    async fn new(take_back: &str) -> Scene {
        let spy = Spy::stdio().await;
        let daemon = Countersign::new().set("/holds/take_back", json!(take_back)).upstream(&spy).start().await;
        let shim = daemon.shim().await;
        let console = daemon.console().await;
        Scene { spy, daemon, shim, console }
    }

    async fn hold(&mut self, id: u32) -> HoldView {
        self.shim.send(&call(id, "create_refund", json!({"charge": "ch_1", "amount": id}))).await;
        self.console.hold().await
    }

    /// A command that has to work, with what it prints.
    async fn json(&self, arguments: &[&str]) -> Value {
        let (text, code) = self.daemon.run(&[arguments, &["-o", "json"]].concat()).await;
        assert_eq!(code, 0, "{arguments:?}");
        serde_json::from_str(&text).unwrap()
    }

    async fn fails(&self, arguments: &[&str], code: i32) {
        assert_eq!(self.daemon.run(arguments).await.1, code, "{arguments:?}");
    }
}

fn reason(answer: &Value) -> String {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_approval_is_taken_back_and_the_call_waits_again() {
    let mut scene = Scene::new("10s").await;
    let hold = scene.hold(1).await;
    assert!(hold.client_waits_until.is_some(), "an estimate");
    let id = hold.id.as_str();
    scene.fails(&["pending", "undo", id], 5).await;
    let approved = scene.console.approve(&hold).await.unwrap();
    assert!(matches!(approved.state, HoldState::Approved { leaves_at: Some(_), .. }), "{:?}", approved.state);
    assert_eq!(scene.console.approve(&hold).await.unwrap_err(), Failure::Closed);
    let back = scene.json(&["pending", "undo", id]).await;
    assert_eq!((&back["state"]["name"], &back["taken_back"]), (&json!("pending"), &json!(1)));
    assert_eq!(back["expires_at"], hold.expires_at);
    assert_eq!(back["approvals"]["have"], json!([]));
    scene.console.reject(&hold, "second thoughts").await.unwrap();
    assert_eq!(outcome(&scene.shim.answer(1).await), Some("rejected"));
    assert_eq!(scene.spy.calls("create_refund"), 0);
    scene.fails(&["pending", "undo", id], 5).await;
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    let kinds: Vec<_> =
        records.iter().filter(|record| record["call"] == id).map(|record| record["kind"].clone()).collect();
    let expected =
        ["decided", "held", "ruling_refused", "ruled", "ruling_refused", "taken_back", "ruled", "ruling_refused"];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn what_is_not_taken_back_leaves_after_its_time_unless_its_client_goes() {
    let mut scene = Scene::new("500ms").await;
    let stays = scene.hold(1).await;
    scene.console.approve(&stays).await.unwrap();
    let answer = scene.shim.answer(1).await;
    assert_eq!(answer["result"]["content"][0]["text"], "done: create_refund");
    let goes = scene.hold(2).await;
    scene.console.approve(&goes).await.unwrap();
    scene.shim.cancel(2).await;
    let closed = |state: &HoldState| matches!(state, HoldState::Closed { .. });
    scene.console.state(&goes.id, "the withdrawal", closed).await;
    assert_eq!(scene.spy.calls("create_refund"), 1);
}

#[tokio::test]
async fn a_claim_tells_others_and_stops_nobody() {
    let mut scene = Scene::new("0s").await;
    let hold = scene.hold(1).await;
    let id = hold.id.as_str();
    scene.fails(&["pending", "unclaim", id], 5).await;
    let claimed = scene.json(&["pending", "claim", id]).await;
    assert!(claimed["claimed"]["by"].is_string() && claimed["claimed"]["until"].is_string(), "{claimed}");
    scene.console.until_hold("the claim", |hold| hold.claimed.is_some()).await;
    assert_eq!(scene.json(&["pending", "unclaim", id]).await["claimed"], Value::Null);
    scene.fails(&["pending", "claim", "000000000000"], 3).await;
    scene.json(&["pending", "claim", id, "--steal"]).await;
    scene.console.approve(&hold).await.unwrap();
    scene.shim.answer(1).await;
    scene.fails(&["pending", "claim", id], 5).await;
}

/// Two who share an account are told apart by the names that they give themselves, everywhere but where it counts.
#[tokio::test]
async fn two_of_one_account_are_told_apart_by_their_names() {
    let mut scene = Scene::new("0s").await;
    let hold = scene.hold(1).await;
    let mut ben = Console::attach_as(&scene.daemon.operator_socket, Some("ben")).await;
    let claim = |steal, off| {
        let id = hold.id.clone();
        move |seq| Command::Claim { seq, id, steal, off }
    };
    let claimed = |notice: Notice| match notice {
        Notice::Shown { hold, .. } => hold.claimed.map(|claimed| claimed.by).unwrap_or_default(),
        Notice::Failed { message, .. } => message,
        other => panic!("{other:?}"),
    };
    let his = claimed(ben.ask(claim(false, false)).await);
    let account = his.strip_prefix("ben (account ").and_then(|rest| rest.strip_suffix(')')).unwrap().to_owned();
    scene
        .console
        .until_daemon("both names", |daemon| daemon.operators.contains(&his) && daemon.operators.contains(&account))
        .await;
    for off in [false, true] {
        let refused = claimed(scene.console.ask(claim(false, off)).await);
        assert!(refused.starts_with(&format!("{his} has claimed it, for ")), "{refused}");
    }
    assert_eq!(claimed(ben.ask(claim(false, false)).await), his, "for as long once more");
    assert_eq!(claimed(scene.console.ask(claim(true, false)).await), account);
    let ruled = ben.reject(&hold, "not this one").await.unwrap();
    assert!(matches!(&ruled.state, HoldState::Rejected { by, .. } if *by == his), "{:?}", ruled.state);
    scene.shim.answer(1).await;

    for name in ["", "root (account ben)", "ben, ana", "be\u{301}n", &"n".repeat(33)] {
        let mut raw = RawOperator::connect(&scene.daemon.operator_socket).await;
        let hello = json!({"command": "hello", "version": VERSION, "watch": false, "read_only": false, "name": name});
        raw.send(&hello.to_string()).await;
        let refused = raw.next().await.expect("an answer");
        assert!(
            refused["failed"]["message"].as_str().unwrap().contains("with a name of 1 to 32"),
            "{name:?}: {refused}"
        );
        assert_eq!(raw.next().await, None, "{name:?}");
    }
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    let by = |kind: &str| -> Vec<_> {
        let found = records.iter().filter(|record| record["kind"] == kind);
        let body = found.map(|record| serde_json::from_str::<Value>(record["body"].as_str().unwrap()).unwrap());
        body.map(|body| body["operator"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(by("claimed"), [his.clone(), his.clone(), account]);
    assert_eq!(by("ruled"), [his]);
}

#[tokio::test]
async fn a_stricter_policy_makes_stale_what_waits() {
    let mut scene = Scene::new("10s").await;
    let (waits, leaves) = (scene.hold(1).await, scene.hold(2).await);
    scene.console.approve(&leaves).await.unwrap();
    let denies = FIXTURE_POLICY.replace("deny contains", "deny contains {\"rule\": \"fixture.no\", \"reason\": \"no more refunds\"} if input.tool.name == \"create_refund\"\n\ndeny contains");
    std::fs::write(scene.daemon.state_dir().parent().unwrap().join("policies/policy.rego"), denies).unwrap();
    for (n, hold) in [(1, &waits), (2, &leaves)] {
        let answer = scene.shim.answer(n).await;
        assert_eq!(outcome(&answer), Some("denied"), "{answer}");
        assert!(reason(&answer).contains("no more refunds"), "{answer}");
        let stale = |state: &HoldState| matches!(state, HoldState::Stale { .. });
        scene.console.state(&hold.id, "that it is stale", stale).await;
        assert_eq!(scene.console.approve(hold).await.unwrap_err(), Failure::Closed);
    }
    assert_eq!(scene.spy.calls("create_refund"), 0);
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    let stale = records.iter().filter(|record| record["kind"] == "closed" && record.to_string().contains("stale"));
    assert_eq!(stale.count(), 2);
}

/// Other words about a call, or less time for it, are not what the operator has read.
#[tokio::test]
async fn a_policy_that_reads_otherwise_makes_stale_what_waits() {
    const REASON: &str = "\"a person looks at every refund\"";
    for (n, (now, stale)) in [
        ("\"two people look at every refund\"", true),
        ("\"a person looks at every refund\", \"ttl_seconds\": 30", true),
        ("\"a person looks at every refund\", \"ttl_seconds\": 90", false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut scene = Scene::new("0s").await;
        let hold = scene.hold(1).await;
        let file = scene.daemon.state_dir().parent().unwrap().join("policies/policy.rego");
        std::fs::write(file, FIXTURE_POLICY.replace(REASON, now)).unwrap();
        if stale {
            let answer = scene.shim.answer(1).await;
            assert_eq!(outcome(&answer), Some("denied"), "{n}: {answer}");
            assert_eq!(scene.console.approve(&hold).await.unwrap_err(), Failure::Closed);
            assert_eq!(scene.spy.calls("create_refund"), 0);
        } else {
            scene.daemon.logs("policy loaded").await;
            scene.console.approve(&hold).await.unwrap();
            assert_eq!(outcome(&scene.shim.answer(1).await), None, "{n}");
        }
    }
}

/// Everything that no catalog knows is not a read: a freeze holds it.
#[tokio::test]
async fn a_freeze_holds_what_is_not_a_read_and_rejects_what_waits() {
    let mut scene = Scene::new("0s").await;
    let waits = scene.hold(1).await;
    let frozen = scene.json(&["freeze", "--reason", "incident 7"]).await;
    assert_eq!(frozen["frozen"]["reason"], "incident 7");
    let answer = scene.shim.answer(1).await;
    assert_eq!(outcome(&answer), Some("rejected"), "{answer}");
    assert!(reason(&answer).contains("an operator has frozen") && reason(&answer).contains("incident 7"), "{answer}");
    let rejected = |state: &HoldState| matches!(state, HoldState::Rejected { .. });
    scene.console.state(&waits.id, "the rejection", rejected).await;
    scene.shim.send(&call("b", "get_balance", json!({}))).await;
    let held = scene.console.hold().await;
    assert_eq!((held.rule.as_str(), held.grantable), ("operator.frozen", false));
    assert!(held.tier >= countersign::call::Tier::Medium);
    let denied = scene.shim.call("d", "delete_customer", json!({"id": "cus_1"})).await;
    assert_eq!(outcome(&denied), Some("denied"), "a deny stays one: {denied}");
    std::fs::write(
        scene.daemon.state_dir().parent().unwrap().join("policies/policy.rego"),
        format!("{FIXTURE_POLICY}\n# once more\n"),
    )
    .unwrap();
    scene.daemon.logs("policy loaded").await;
    assert_eq!(scene.spy.all_calls(), 0, "and a reload changes nothing about it");
    scene.console.approve(&held).await.unwrap();
    scene.shim.answer("b").await;
    scene.json(&["unfreeze"]).await;
    scene.fails(&["unfreeze"], 5).await;
    scene.shim.call("c", "get_balance", json!({})).await;
    assert_eq!(scene.spy.all_calls(), 2);
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    assert_eq!(records.iter().filter(|record| record["kind"] == "frozen").count(), 2);
}

#[tokio::test]
async fn a_session_is_paused_resumed_and_ended() {
    let mut scene = Scene::new("0s").await;
    let waits = scene.hold(1).await;
    let sessions = scene.json(&["session", "ls"]).await;
    let session = sessions.as_array().unwrap().iter().find(|session| session["held"] == 1).unwrap();
    assert_eq!((&session["schema"], &session["principal"]), (&json!("countersign.session/v1"), &json!("local")));
    assert_eq!(session["last"][0]["id"], waits.id.as_str());
    assert_eq!(session["client"]["uid"], json!(rustix::process::getuid().as_raw()));
    let here = std::env::current_dir().unwrap();
    assert_eq!(session["client"]["cwd"], json!(here.to_str().unwrap()), "where the shim was started");
    let name = session["session"].as_str().unwrap().to_owned();
    scene.fails(&["session", "resume", &name], 5).await;
    scene.fails(&["session", "pause", "s-nothing"], 3).await;
    let after = scene.json(&["session", "pause", &name, "--reason", "what is this"]).await;
    assert!(after.to_string().contains("what is this"));
    let rejected = scene.shim.answer(1).await;
    assert_eq!(outcome(&rejected), Some("rejected"), "{rejected}");
    let denied = scene.shim.call("d", "get_balance", json!({})).await;
    assert_eq!(outcome(&denied), Some("denied"), "{denied}");
    assert!(reason(&denied).contains("an operator has paused this session: what is this"), "{denied}");
    assert_eq!(scene.spy.all_calls(), 0);
    scene.json(&["session", "resume", &name]).await;
    scene.shim.call("e", "get_balance", json!({})).await;
    assert_eq!(scene.spy.all_calls(), 1);
    scene.hold(2).await;
    let left = scene.json(&["session", "end", &name]).await;
    drop(left);
    assert_eq!(outcome(&scene.shim.answer(2).await), Some("rejected"));
    scene.shim.wait().await;
    assert_eq!(scene.spy.calls("create_refund"), 0);
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    assert_eq!(records.iter().filter(|record| record["kind"] == "session_ruled").count(), 3);
}
