//! Grants: made by an operator who has read the terms, used by calls that fit them, by no other, and on record each time.

use serde_json::{Value, json};

use countersign::control::wire::HoldView;

use crate::harness::operator::RawOperator;
use crate::harness::{Console, Countersign, Daemon, Shim, Spy, call, outcome, request};

const REFUND: &str = "create_refund";

/// Refunds wait; those above 200 for a second reason, those above 500 with the highest tier; from 1000 on there are none.
const POLICY: &str = r#"package countersign.policy.refunds

allow contains {"rule": "refunds.may", "reason": "refunds may be asked for"} if input.tool.name == "create_refund"

hold contains {"rule": "refunds.look", "reason": "a person looks", "tier": "medium", "grantable": true} if {
	input.tool.name == "create_refund"
}

hold contains {"rule": "refunds.large", "reason": "a person looks twice"} if input.arguments.amount > 200

hold contains {"rule": "refunds.huge", "reason": "a person types", "tier": "high"} if input.arguments.amount > 500

deny contains {"rule": "refunds.most", "reason": "nobody refunds so much"} if input.arguments.amount >= 1000
"#;

struct Scene {
    spy: Spy,
    daemon: Daemon,
    shim: Shim,
    console: Console,
}

impl Scene {
    async fn new() -> Scene {
        Scene::with(Countersign::with_policy(POLICY)).await
    }

    async fn with(countersign: Countersign) -> Scene {
        let spy = Spy::stdio().await;
        let server = json!({"vendor": "stripe", "environment": "sandbox", "upstream": spy.upstream});
        let daemon = countersign.server("fixture", server).start().await;
        let mut shim = daemon.shim().await;
        shim.send(&request("tools", "tools/list", json!({}))).await;
        shim.answer("tools").await;
        let console = daemon.console().await;
        Scene { spy, daemon, shim, console }
    }

    async fn hold(&mut self, id: &str, amount: u32) -> HoldView {
        self.shim.send(&refund(id, amount)).await;
        self.console.hold().await
    }

    /// Runs `grant add`, first for the terms and then to agree to them. What it prints.
    async fn add(&self, hold: &HoldView, more: &[&str]) -> (Value, i32) {
        let (id, digest) = (hold.id.to_string(), hold.digest.to_string());
        let words = [&["grant", "add", &id, "--digest", &digest, "-o", "json"], more].concat();
        let (terms, code) = self.daemon.run(&words).await;
        if code != 2 || terms.is_empty() {
            return (Value::Null, code);
        }
        let sha = countersign::call::Digest::of_bytes(terms.as_bytes()).to_string();
        let (grant, code) = self.daemon.run(&[&words[..], &["--text-sha256", &sha]].concat()).await;
        (serde_json::from_str(&grant).unwrap_or_default(), code)
    }

    async fn grants(&self) -> Vec<Value> {
        let (text, code) = self.daemon.run(&["grant", "ls", "-o", "json"]).await;
        assert_eq!(code, 0);
        serde_json::from_str(&text).unwrap()
    }

    async fn kinds_of(&self, call: &str) -> Vec<Value> {
        let records = self.daemon.records().await;
        let of_call = records.into_iter().filter(|record| record["call"] == call);
        of_call.map(|record| serde_json::from_str(record["body"].as_str().unwrap()).unwrap()).collect()
    }
}

fn refund(id: &str, amount: u32) -> Value {
    call(id, REFUND, json!({"payment_intent": "pi_1", "amount": amount, "reason": "duplicate"}))
}

const TERMS: [&str; 6] = ["--uses", "2", "--for", "10m", "--at-most", "/amount"];

#[tokio::test]
async fn a_grant_lets_through_what_its_terms_say_so_often_and_each_use_is_on_record() {
    let mut scene = Scene::new().await;
    let hold = scene.hold("1", 200).await;
    assert!(hold.grantable && hold.before.is_none());
    let (grant, code) = scene.add(&hold, &TERMS).await;
    assert_eq!(code, 0);
    assert_eq!(
        (&grant["schema"], &grant["uses"], &grant["used"]),
        (&json!("countersign.grant/v1"), &json!(2), &json!(0))
    );
    assert_eq!(outcome(&scene.shim.answer("1").await), None);
    let text = grant["text"].as_str().unwrap();
    assert!(text.contains("argument /amount is a whole number from 1 to 200\n"), "{text}");
    assert!(text.contains("argument /payment_intent is \"pi_1\"\n"), "{text}");

    // One that is not like it waits, and is compared with the one before.
    scene
        .shim
        .send(&call("other", REFUND, json!({"payment_intent": "pi_2", "amount": 1, "reason": "duplicate"})))
        .await;
    let other = scene.console.hold().await;
    assert_eq!(other.before.as_ref().unwrap().id, hold.id);
    assert_eq!(other.before.as_ref().unwrap().arguments.as_ref(), Some(&hold.arguments));
    for (id, amount) in [("2", 200), ("3", 7)] {
        assert_eq!(
            outcome(&scene.shim.call(id, REFUND, refund(id, amount)["params"]["arguments"].clone()).await),
            None
        );
    }
    assert_eq!(scene.spy.calls(REFUND), 3);
    assert_eq!(scene.grants().await[0]["used"], 2);
    let last = scene.hold("4", 7).await;
    assert_ne!(last.id, other.id, "the uses are used up");
    for hold in [&other, &last] {
        scene.console.reject(hold, "no").await.unwrap();
    }

    scene.shim.answer("4").await;
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    let body = |record: &Value| -> Value { serde_json::from_str(record["body"].as_str().unwrap()).unwrap() };
    let granted: Vec<Value> = records.iter().filter(|r| r["kind"] == "granted").map(body).collect();
    assert_eq!(granted.len(), 1);
    assert_eq!((&granted[0]["grant"], &granted[0]["text"]), (&grant["id"], &grant["text"]));
    let by_grant: Vec<&Value> =
        records.iter().filter(|r| r["kind"] == "sending" && body(r)["grant"] == grant["id"]).collect();
    assert_eq!(by_grant.len(), 2);
    for sending in by_grant {
        let story = scene.kinds_of(sending["call"].as_str().unwrap()).await;
        let kinds: Vec<&str> = story.iter().map(|body| body["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["decided", "sending", "completed"]);
        assert_eq!(story[0]["decision"]["effect"], "hold");
    }
    let (tail, _) = scene.daemon.run(&["audit", "tail"]).await;
    let id = grant["id"].as_str().unwrap();
    assert!(tail.contains(&format!("released to the server by the grant {id}")), "{tail}");
}

#[tokio::test]
async fn a_deny_a_new_reason_and_the_highest_tier_stay_what_they_are() {
    let mut scene = Scene::new().await;
    // The terms would cover all of it.
    let hold = scene.hold("1", 600).await;
    assert!(!hold.grantable, "the highest tier");
    assert_eq!(scene.add(&hold, &TERMS).await.1, 5);
    scene.console.reject(&hold, "no").await.unwrap();
    let hold = scene.hold("2", 150).await;
    assert_eq!(scene.add(&hold, &TERMS).await.1, 0);
    scene.shim.answer("2").await;
    // What policy says by now counts: it denies from 30 on, and from 21 on it holds for a reason that nobody was told.
    let file = scene.daemon.state_dir().parent().unwrap().join("policies/policy.rego");
    std::fs::write(&file, POLICY.replace("> 200", "> 20").replace(">= 1000", ">= 30")).unwrap();
    scene.daemon.signal(rustix::process::Signal::HUP);
    scene.daemon.logs("policy loaded").await;
    let before = scene.spy.calls(REFUND);
    let waits = scene.hold("3", 25).await;
    scene.console.reject(&waits, "no").await.unwrap();
    assert_eq!(outcome(&scene.shim.answer("3").await), Some("rejected"));
    scene.shim.send(&refund("4", 140)).await;
    assert_eq!(outcome(&scene.shim.answer("4").await), Some("denied"));
    assert_eq!(scene.spy.calls(REFUND), before);
    assert_eq!(scene.grants().await[0]["used"], 0);
}

#[tokio::test]
async fn a_grant_is_made_of_the_terms_that_were_read_and_ends_when_it_is_revoked_or_the_daemon_stops() {
    let mut scene = Scene::new().await;
    let hold = scene.hold("1", 150).await;
    // Other terms than those that are sent, other digests, bounds that there are not.
    let (id, digest) = (hold.id.to_string(), hold.digest.to_string());
    let words = ["grant", "add", &id, "--digest", &digest, "--text-sha256", &"0".repeat(64)];
    assert_eq!(scene.daemon.run(&[&words[..], &TERMS].concat()).await.1, 5);
    for odd in [
        ["--uses", "0", "--for", "10m", "--at-most", "/amount"],
        ["--uses", "21", "--for", "10m", "--at-most", "/amount"],
        ["--uses", "1", "--for", "31m", "--at-most", "/amount"],
        ["--uses", "1", "--for", "10m", "--at-most", "/reason"],
        ["--uses", "1", "--for", "10m", "--any", "/payment_intent"],
    ] {
        assert_eq!(scene.add(&hold, &odd).await.1, 5, "{odd:?}");
    }
    let mut raw = RawOperator::hello(&scene.daemon.runtime_dir().join("operator.sock")).await;
    let command = json!({"command": "grant", "seq": 1, "id": id, "digest": digest, "grant": "anything",
        "bounds": {"uses": 2, "seconds": 60}, "reason": null});
    raw.send(&command.to_string()).await;
    assert_eq!(raw.next().await.unwrap()["failed"]["error"], "wrong_digest");
    assert!(scene.grants().await.is_empty());
    let pending = scene.console.list().await;
    assert!(pending.iter().any(|other| other.id == hold.id && other.state.is_pending()), "it still waits");

    let (grant, code) = scene.add(&hold, &TERMS).await;
    assert_eq!(code, 0);
    scene.shim.answer("1").await;
    let id = grant["id"].as_str().unwrap();
    assert_eq!(scene.daemon.run(&["grant", "revoke", id, "--reason", "enough"]).await.1, 0);
    assert_eq!(scene.daemon.run(&["grant", "revoke", id]).await.1, 3);
    let waits = scene.hold("2", 150).await;
    let (again, code) = scene.add(&waits, &TERMS).await;
    assert_eq!(code, 0, "a new one");
    assert_ne!(again["id"], grant["id"]);
    scene.shim.answer("2").await;

    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    let revoked = records.iter().find(|record| record["kind"] == "grant_revoked").unwrap();
    assert!(revoked["body"].as_str().unwrap().contains("enough"));
    let Scene { daemon, spy, .. } = scene;
    let daemon = daemon.again().start().await;
    assert_eq!(daemon.run(&["grant", "ls", "-o", "json"]).await.0.trim(), "[]");
    drop(spy);
}

#[tokio::test]
async fn a_connection_that_may_only_watch_changes_nothing() {
    let mut scene = Scene::new().await;
    let hold = scene.hold("1", 150).await;
    let mut raw = RawOperator::connect(&scene.daemon.runtime_dir().join("operator.sock")).await;
    raw.send(r#"{"command":"hello","version":3,"watch":false,"read_only":true}"#).await;
    raw.next().await.unwrap();
    let (id, digest) = (&hold.id, &hold.digest);
    let item = json!({"id": id, "digest": digest});
    for command in [
        json!({"command": "rule", "id": id, "digest": digest, "ruling": "approve", "reason": null}),
        json!({"command": "rule", "id": id, "digest": digest, "ruling": "reject", "reason": "no"}),
        json!({"command": "rule_batch", "holds": [item], "reason": null}),
        json!({"command": "claim", "id": id}),
        json!({"command": "take_back", "id": id}),
        json!({"command": "freeze", "on": true, "reason": null}),
        json!({"command": "rule_session", "session": hold.session, "ruling": "end", "reason": null}),
        json!({"command": "grant", "id": id, "digest": digest, "grant": "", "bounds": {"uses": 1, "seconds": 1},
            "reason": null}),
        json!({"command": "revoke_grant", "grant": id, "reason": null}),
        json!({"command": "rule_tool", "server": "fixture", "tool": REFUND, "ruling": "unpin", "digest": null}),
    ] {
        let mut command = command;
        command["seq"] = json!(7);
        raw.send(&command.to_string()).await;
        let answer = raw.next().await.unwrap();
        assert_eq!(answer["failed"]["error"], "read_only", "{command}: {answer}");
    }
    let now = scene.console.list().await;
    assert!(now.contains(&hold), "nothing has changed");
}
