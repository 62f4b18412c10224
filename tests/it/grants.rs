//! Grants: made by an operator who has read the terms, used by calls that fit them, by no other, and on record each time.

use serde_json::{Value, json};

use countersign::control::wire::{Command, Failure, HoldView, Notice, VERSION};

use crate::harness::operator::RawOperator;
use crate::secrets::body;
use crate::signing::{Keys, shell};

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
        Scene::with(Countersign::with_policy(POLICY), "sandbox").await
    }

    async fn with(countersign: Countersign, environment: &str) -> Scene {
        let spy = Spy::stdio().await;
        let server = json!({"vendor": "stripe", "environment": environment, "upstream": spy.upstream});
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
    raw.send(&format!(r#"{{"command":"hello","version":{VERSION},"watch":false,"read_only":true}}"#)).await;
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

#[tokio::test]
async fn a_signed_approval_is_no_grant_and_a_signed_grant_is_verified_by_openssh() {
    let keys = Keys::new();
    let anna = keys.enroll("anna");
    let countersign = Countersign::with_policy(POLICY).set("/operators", json!({"allowed_signers": keys.list()}));
    let mut scene = Scene::with(countersign, "production").await;
    let hold = scene.hold("1", 150).await;
    assert!(hold.signature_required);
    // The signature of an approval, sent with the terms of a grant.
    let words = ["pending", "show", hold.id.as_str(), "--ruling", "approve", "--operator", "anna"];
    let (text, _) = scene.daemon.run(&words).await;
    assert!(!text.contains("grant:"), "{text}");
    let file = keys.path("approval");
    std::fs::write(&file, text).unwrap();
    let mut sign = std::process::Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", "countersign", "-f"]).arg(&anna).arg(&file);
    assert!(sign.status().unwrap().success());
    let signature = std::fs::read_to_string(file.with_extension("sig")).unwrap();
    let bounds =
        countersign::control::wire::GrantBounds { at_most: vec!["/amount".into()], any: vec![], uses: 2, seconds: 600 };
    let (id, wanted) = (hold.id.clone(), bounds.clone());
    let drafted = scene.console.ask(|seq| Command::DraftGrant { seq, id, bounds: wanted }).await;
    let Notice::Draft { text: terms, .. } = drafted else { panic!("{drafted:?}") };
    for signed in [None, Some(countersign::control::wire::SignedBy { operator: "anna".into(), signature })] {
        let needs = if signed.is_some() { Failure::BadSignature } else { Failure::SignatureRequired };
        let (id, digest, bounds, grant) = (hold.id.clone(), hold.digest, bounds.clone(), terms.clone());
        let command = |seq| Command::Grant { seq, id, digest, bounds, grant, reason: None, signed };
        let refused = scene.console.ask(command).await;
        assert!(matches!(&refused, Notice::Failed { error, .. } if *error == needs), "{refused:?}");
    }
    assert!(scene.grants().await.is_empty() && scene.spy.all_calls() == 0);
    let anna = anna.to_str().unwrap();
    let more = [&TERMS[..], &["--sign-with", anna, "--operator", "anna"]].concat();
    let (grant, code) = scene.add(&hold, &more).await;
    assert_eq!((code, &grant["by"]), (0, &json!("anna")));
    scene.shim.answer("1").await;
    let covered = scene.shim.call("2", REFUND, refund("2", 3)["params"]["arguments"].clone()).await;
    assert_eq!(outcome(&covered), None, "each use needs no signature of its own");

    scene.daemon.stop().await;
    let (story, _) = scene.daemon.run(&["audit", "show", hold.id.as_str()]).await;
    let (_, commands) = story.split_once("OpenSSH verifies it:\n\n").expect(&story);
    let (commands, _) = commands.split_once("\n\n").unwrap_or((commands, ""));
    assert!(shell(commands).status.success(), "{commands}");
    let wider = commands.replace("number from 1 to 150", "number from 1 to 999");
    assert_ne!(wider, commands, "the terms are in the text that was signed");
    assert!(!shell(&wider).status.success());
    // What did not count stands under no name that nobody has proved.
    let records = scene.daemon.records().await;
    let refused: Vec<_> = records.iter().filter(|record| record["kind"] == "ruling_refused").collect();
    assert_eq!(refused.len(), 2);
    for record in refused {
        assert!(body(record)["operator"].as_str().is_some_and(|operator| operator != "anna"), "{record}");
    }
}

/// The key is on another machine: the text goes there, the signature comes back.
#[tokio::test]
async fn a_grant_is_made_with_a_signature_from_elsewhere() {
    let keys = Keys::new();
    let anna = keys.enroll("anna");
    let countersign = Countersign::with_policy(POLICY).set("/operators", json!({"allowed_signers": keys.list()}));
    let mut scene = Scene::with(countersign, "production").await;
    let hold = scene.hold("1", 150).await;
    let (id, digest) = (hold.id.to_string(), hold.digest.to_string());
    let words = [&["grant", "add", &id, "--digest", &digest, "--operator", "anna"], &TERMS[..]].concat();
    let (text, code) = scene.daemon.run(&[&words[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, 0);
    assert!(text.contains("argument /amount is a whole number from 1 to 150"), "{text}");
    assert!(scene.grants().await.is_empty() && scene.spy.all_calls() == 0, "nothing is done");
    let file = keys.path("grant");
    std::fs::write(&file, text).unwrap();
    let mut sign = std::process::Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", "countersign", "-f"]).arg(&anna).arg(&file);
    assert!(sign.status().unwrap().success());
    let signature = file.with_extension("sig");
    let signature = signature.to_str().unwrap();
    // Of other terms it is no signature.
    let (_, code) = scene.add(&hold, &[&TERMS[..4], &["--operator", "anna", "--signature", signature]].concat()).await;
    assert_ne!(code, 0);
    assert!(scene.grants().await.is_empty());
    let (grant, code) =
        scene.add(&hold, &[&TERMS[..], &["--operator", "anna", "--signature", signature]].concat()).await;
    assert_eq!((code, &grant["by"]), (0, &json!("anna")));
}

#[tokio::test]
async fn the_record_the_rules_and_the_lines_behind_a_hold_can_be_looked_up() {
    let mut scene = Scene::new().await;
    let small = scene.hold("1", 7).await;
    scene.console.approve(&small).await.unwrap();
    scene.shim.answer("1").await;
    let hold = scene.hold("2", 300).await;
    let id = hold.id.clone();
    let explained = scene.console.ask(|seq| Command::Explain { seq, id }).await;
    let Notice::Explained { excerpts, .. } = explained else { panic!("{explained:?}") };
    let mut rules: Vec<&str> = excerpts.iter().map(|excerpt| excerpt.rule.as_str()).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["refunds.large", "refunds.look"]);
    let look = excerpts.iter().find(|excerpt| excerpt.rule == "refunds.look").unwrap();
    let held: Vec<&str> = look.lines.iter().filter(|line| line.held).map(|line| line.text.trim()).collect();
    assert!(held.contains(&r#"input.tool.name == "create_refund""#), "{look:?}");
    scene.console.reject(&hold, "no").await.unwrap();
    scene.shim.answer("2").await;

    let page = async |console: &mut Console, before, limit, call| match console
        .ask(|seq| Command::Records { seq, before, limit, call })
        .await
    {
        Notice::Records { records, chain, .. } => (records, chain),
        other => panic!("{other:?}"),
    };
    let (newest, chain) = page(&mut scene.console, None, 3, None).await;
    assert!(chain.intact && chain.head.is_some() && newest.len() == 3);
    assert_eq!(newest[0].kind, "ruled");
    assert_eq!(newest[0].words, "reject by root: no".replace("root", newest[0].operator.as_deref().unwrap()));
    // What the call is about is known for its later records too.
    assert_eq!(newest[0].operation.as_deref(), Some(REFUND));
    assert_eq!((newest[0].server.as_deref(), newest[0].principal.as_deref()), (Some("fixture"), Some("local")));
    let (older, chain) = page(&mut scene.console, Some(newest[2].seq), 500, None).await;
    assert!(chain.intact && older[0].seq == newest[2].seq - 1 && older.last().unwrap().seq == 1);
    let (story, _) = page(&mut scene.console, None, 500, Some(small.id.clone())).await;
    let kinds: Vec<&str> = story.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(kinds, ["completed", "sending", "ruled", "held", "decided"]);
    for limit in [0, 501] {
        let failed = scene.console.ask(|seq| Command::Records { seq, before: None, limit, call: None }).await;
        assert!(matches!(failed, Notice::Failed { error: Failure::Malformed, .. }));
    }

    for words in [["policy", "stats", "-o", "json"], ["audit", "stats", "-o", "json"]] {
        let (text, code) = scene.daemon.run(&words).await;
        assert_eq!(code, 0, "{text}");
        let stats: Value = serde_json::from_str(&text).unwrap();
        let rule = stats["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "refunds.look").unwrap();
        let counts = ["hits", "holds", "approved", "rejected", "lapsed"].map(|name| rule[name].as_u64().unwrap());
        assert_eq!(counts, [2, 2, 1, 1, 0], "{rule}");
    }
    assert!(scene.daemon.run(&["audit", "stats"]).await.0.contains("refunds.look"));
    assert!(scene.daemon.run(&["policy", "stats"]).await.0.contains("refunds.look"));
}

#[tokio::test]
async fn a_batch_is_for_alike_holds_of_the_lowest_tier_where_the_configuration_lets_it() {
    const LOW: &str = r#"package countersign.policy.low

allow contains {"rule": "low.may", "reason": "may be asked for"} if input.method

hold contains {"rule": "low.look", "reason": "a person looks", "tier": "low"} if true

hold contains {"rule": "low.more", "reason": "a person looks more", "tier": "medium"} if input.arguments.amount > 50

hold contains {"rule": "low.odd", "reason": "a person looks at it for another reason", "tier": "low"} if {
	input.arguments.amount == 13
}
"#;
    for (batches, allowed) in [(false, false), (true, true)] {
        let countersign = Countersign::with_policy(LOW).set("/holds/batches", json!(batches));
        let mut scene = Scene::with(countersign, "sandbox").await;
        let mut holds = Vec::new();
        for (id, amount) in [("1", 1), ("2", 2), ("medium", 60), ("odd", 13), ("other", 61)] {
            holds.push(scene.hold(id, amount).await);
        }
        let approve = async |which: &[usize], other_digest: bool| {
            let mut words = vec!["pending".to_owned(), "approve".to_owned(), "--batch".to_owned()];
            words.extend(which.iter().map(|n| holds[*n].id.to_string()));
            for n in which {
                let digest = if other_digest { "0".repeat(64) } else { holds[*n].digest.to_string() };
                words.extend(["--digest".to_owned(), digest]);
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            scene.daemon.run(&words).await.1
        };
        assert_eq!(approve(&[0, 1], true).await, 5);
        assert_eq!(approve(&[0, 0], false).await, 5);
        assert_eq!(approve(&[0, 2], false).await, 5, "one is of another tier");
        assert_eq!(approve(&[0, 3], false).await, 5, "one is held for another reason");
        assert_eq!(approve(&[2, 4], false).await, 5, "alike, and of another tier");
        assert_eq!(scene.spy.all_calls(), 0, "and nothing of it counts");
        // The daemon looks itself, whatever the command line thinks.
        let items = [2, 4].map(|n: usize| countersign::control::wire::BatchItem {
            id: holds[n].id.clone(),
            digest: holds[n].digest,
            signed: None,
        });
        let refused = scene.console.ask(|seq| Command::RuleBatch { seq, holds: items.to_vec(), reason: None }).await;
        assert!(matches!(refused, Notice::Failed { error: Failure::NotSo, .. }), "{refused:?}");
        assert_eq!(approve(&[0, 1], false).await, if allowed { 0 } else { 5 });
        if allowed {
            scene.shim.answer("1").await;
            scene.shim.answer("2").await;
        }
        assert_eq!(scene.spy.all_calls(), if allowed { 2 } else { 0 });
        scene.daemon.stop().await;
        let records = scene.daemon.records().await;
        let ruled = records.iter().filter(|record| record["kind"] == "ruled");
        let of_two = ruled.filter(|record| record["body"].as_str().unwrap().contains("\"batch\":2")).count();
        assert_eq!(of_two, if allowed { 2 } else { 0 });
    }
}

/// A grant does not outlast the approval that it was made with, and counts for nothing while everything is frozen.
#[tokio::test]
async fn a_freeze_suspends_a_grant_and_taking_the_approval_back_ends_it() {
    let countersign = Countersign::with_policy(POLICY).set("/holds/take_back", json!("10s"));
    let mut scene = Scene::with(countersign, "sandbox").await;
    let hold = scene.hold("1", 150).await;
    assert_eq!(scene.add(&hold, &TERMS).await.1, 0);
    assert_eq!(scene.grants().await.len(), 1);
    let id = hold.id.clone();
    let back = scene.console.ask(|seq| Command::TakeBack { seq, id }).await;
    assert!(matches!(back, Notice::Shown { .. }), "{back:?}");
    assert!(scene.grants().await.is_empty());
    assert_eq!(scene.spy.all_calls(), 0);

    let scene = Scene::new().await;
    let (mut shim, mut console) = (scene.shim, scene.console);
    shim.send(&refund("1", 150)).await;
    let hold = console.hold().await;
    let bounds = countersign::control::wire::GrantBounds { at_most: vec![], any: vec![], uses: 2, seconds: 60 };
    let (id, wanted) = (hold.id.clone(), bounds.clone());
    let drafted = console.ask(|seq| Command::DraftGrant { seq, id, bounds: wanted }).await;
    let Notice::Draft { text: grant, .. } = drafted else { panic!("{drafted:?}") };
    let (id, digest) = (hold.id.clone(), hold.digest);
    let command = |seq| Command::Grant { seq, id, digest, bounds, grant, reason: None, signed: None };
    let made = console.ask(command).await;
    assert!(matches!(made, Notice::Ruled { .. }), "{made:?}");
    shim.answer("1").await;
    console.ask(|seq| Command::Freeze { seq, on: true, reason: None }).await;
    shim.send(&refund("2", 150)).await;
    let held = console.hold().await;
    assert!(!held.grantable);
    console.reject(&held, "not now").await.unwrap();
    assert_eq!(outcome(&shim.answer("2").await), Some("rejected"));
    console.ask(|seq| Command::Freeze { seq, on: false, reason: None }).await;
    assert_eq!(outcome(&shim.call("3", REFUND, refund("3", 150)["params"]["arguments"].clone()).await), None);
    assert_eq!(scene.spy.calls(REFUND), 2);
}

#[tokio::test]
async fn calls_side_by_side_have_no_more_uses_than_there_are_and_a_budget_counts_each() {
    let mut scene = Scene::new().await;
    let hold = scene.hold("1", 150).await;
    assert_eq!(scene.add(&hold, &TERMS).await.1, 0);
    scene.shim.answer("1").await;
    for n in 2..8 {
        scene.shim.send(&refund(&n.to_string(), n)).await;
    }
    scene.console.pending(4).await;
    scene.spy.until("two uses", |spy| spy.calls(REFUND) == 3).await;
    assert_eq!(scene.grants().await[0]["used"], 2);

    let budget = "budgets: { fixture: { create_refund: { hour: { count: 2 } } } }\n";
    let countersign =
        Countersign::with_policy(POLICY).set("/policy/builtin", json!(["scopes"])).policy("data.yaml", budget);
    let mut scene = Scene::with(countersign, "sandbox").await;
    let hold = scene.hold("1", 150).await;
    assert_eq!(scene.add(&hold, &["--uses", "5", "--for", "10m"]).await.1, 0);
    scene.shim.answer("1").await;
    let arguments = refund("1", 150)["params"]["arguments"].clone();
    assert_eq!(outcome(&scene.shim.call("2", REFUND, arguments.clone()).await), None);
    assert_eq!(outcome(&scene.shim.call("3", REFUND, arguments).await), Some("denied"));
    assert_eq!(scene.spy.calls(REFUND), 2);
}
