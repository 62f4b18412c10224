//! The commands that operators and their scripts use beside the console: what they print and how they end.

use serde_json::{Value, json};

use crate::harness::{Countersign, Daemon, Shim, Spy, call, outcome};

struct Scene {
    spy: Spy,
    daemon: Daemon,
    shim: Shim,
}

/// A refund that waits, seen by an operator.
async fn held() -> (Scene, Value) {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&call("a", "create_refund", json!({"amount": 100, "charge": "ch_1"}))).await;
    let hold = console.hold().await;
    let (text, code) = daemon.run(&["pending", "ls", "-o", "json"]).await;
    assert_eq!(code, 0);
    let listed: Value = serde_json::from_str(&text).unwrap();
    let first = listed.as_array().map_or(listed.clone(), |holds| holds[0].clone());
    assert_eq!(first["id"], hold.id.as_str(), "{text}");
    (Scene { spy, daemon, shim }, first)
}

#[tokio::test]
async fn a_script_lists_shows_and_approves() {
    let (mut scene, hold) = held().await;
    for (key, value) in [
        ("schema", json!("countersign.hold/v1")),
        ("server", json!("fixture")),
        ("tool", json!("create_refund")),
        ("rule", json!("fixture.refund")),
        ("principal", json!("local")),
    ] {
        assert_eq!(hold[key], value, "{key}");
    }
    assert_eq!(hold["arguments"], json!({"amount": 100, "charge": "ch_1"}));
    let (id, digest) = (hold["id"].as_str().unwrap(), hold["digest"].as_str().unwrap());

    let (shown, code) = scene.daemon.run(&["pending", "show", id]).await;
    assert_eq!(code, 0);
    assert!(shown.contains("ch_1") && shown.contains(&digest[..8]), "{shown}");

    // Without the digest there is no approval, and with another one it has no effect.
    assert_eq!(scene.daemon.run(&["pending", "approve", id]).await.1, 2);
    assert_eq!(scene.daemon.run(&["pending", "approve", id, "--digest", &"0".repeat(64)]).await.1, 5);
    assert_eq!(scene.spy.all_calls(), 0);
    assert_eq!(scene.daemon.run(&["pending", "approve", id, "--digest", digest]).await.1, 0);
    assert_eq!(outcome(&scene.shim.answer("a").await), None);
    assert_eq!(scene.spy.calls("create_refund"), 1);
    // Too late.
    assert_eq!(scene.daemon.run(&["pending", "approve", id, "--digest", digest]).await.1, 5);
    assert_eq!(scene.daemon.run(&["pending", "show", "ZZZZZZZZZZZZ"]).await.1, 3);
    assert_eq!(scene.spy.calls("create_refund"), 1);
}

#[tokio::test]
async fn a_script_rejects_with_a_reason_that_the_agent_reads() {
    let (mut scene, hold) = held().await;
    let id = hold["id"].as_str().unwrap();
    assert_eq!(scene.daemon.run(&["pending", "reject", id]).await.1, 2, "a reject needs a reason");
    assert_eq!(scene.daemon.run(&["pending", "reject", id, "--reason", "not this month"]).await.1, 0);
    let answer = scene.shim.answer("a").await;
    assert_eq!(outcome(&answer), Some("rejected"), "{answer}");
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("not this month"), "{answer}");
    assert_eq!(scene.spy.all_calls(), 0);
}

#[tokio::test]
async fn without_a_daemon_commands_say_so() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    daemon.stop().await;
    assert_eq!(daemon.run(&["pending", "ls"]).await.1, 7);
}

/// The record of a call can be followed, proves itself, and a changed byte is found.
#[tokio::test]
async fn the_audit_verifies_and_finds_a_change() {
    let (mut scene, hold) = held().await;
    let (id, digest) = (hold["id"].as_str().unwrap(), hold["digest"].as_str().unwrap());
    scene.daemon.run(&["pending", "approve", id, "--digest", digest]).await;
    scene.shim.answer("a").await;
    assert_eq!(scene.daemon.run(&["audit", "verify"]).await.1, 0, "beside a daemon that runs");
    scene.daemon.stop().await;
    let (story, code) = scene.daemon.run(&["audit", "show", id]).await;
    assert_eq!(code, 0);
    for word in ["create_refund", "ch_1", "approve"] {
        assert!(story.contains(word), "{word}: {story}");
    }
    assert_eq!(scene.daemon.run(&["audit", "verify"]).await.1, 0);

    let path = scene.daemon.state_dir().join("audit.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("DROP TRIGGER records_keep").unwrap();
    let changed = database.execute("UPDATE records SET body = replace(body, 'ch_1', 'ch_2')", []).unwrap();
    assert!(changed > 0);
    drop(database);
    assert_eq!(scene.daemon.run(&["audit", "verify"]).await.1, 6);
}

/// `policy eval` says what the daemon would do.
#[tokio::test]
async fn policy_eval_agrees_with_the_daemon() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    for (tool, code, effect) in
        [("get_balance", 0, "allow"), ("create_refund", 10, "hold"), ("delete_customer", 11, "deny")]
    {
        let arguments =
            ["policy", "eval", "--server", "fixture", "--tool", tool, "--principal", "local", "--exit-code"];
        let (text, ended) = daemon.run(&[&arguments[..], &["-o", "json"]].concat()).await;
        assert_eq!(ended, code, "{tool}: {text}");
        let decision: Value = serde_json::from_str(&text).unwrap();
        assert!(decision.to_string().contains(&format!("\"effect\":\"{effect}\"")), "{tool}: {text}");
    }
}

#[tokio::test]
async fn the_shipped_policies_pass_their_tests() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let (text, code) = daemon.run(&["policy", "test"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("passed, 0 failed"), "{text}");
    assert_eq!(daemon.run(&["policy", "check"]).await.1, 0);
}

/// The demo tells its whole story without a terminal, and ends well only if everything went as told.
#[tokio::test]
async fn the_demo_plays_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(crate::harness::daemon::binary());
    command.args(["demo", "--auto"]).env("HOME", dir.path()).env("TMPDIR", dir.path());
    let output = crate::harness::within("the demo", command.output()).await.unwrap();
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{said}");
    assert!(told.to_lowercase().contains("refund"), "{told}");
}
