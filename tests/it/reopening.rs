//! Calls that ended without a ruling and wait again: what an operator can still do about them who comes late.

use std::path::Path;
use std::process::Command;

use countersign::call::Outcome;
use countersign::control::wire::{Failure, HoldState, HoldView};
use serde_json::{Value, json};

use crate::harness::daemon::FIXTURE_POLICY;
use crate::harness::{Console, Countersign, Daemon, Shim, Spy, call, outcome};
use crate::signing::Keys;

fn refund(id: &str) -> Value {
    call(id, "create_refund", json!({"charge": "ch_1", "amount": 100}))
}

/// A call that its client has taken back.
async fn withdrawn(shim: &mut Shim, console: &mut Console) -> HoldView {
    shim.send(&refund("first")).await;
    let hold = console.hold().await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "first"}});
    shim.send(&cancel).await;
    let is_over = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Withdrawn, .. });
    console.state(&hold.id, "its end", is_over).await
}

async fn reopen(daemon: &Daemon, hold: &HoldView) -> (Value, i32) {
    let (text, code) = daemon.run(&["pending", "reopen", hold.id.as_str(), "-o", "json"]).await;
    (serde_json::from_str(&text).unwrap_or_default(), code)
}

#[tokio::test]
async fn a_call_that_was_withdrawn_waits_again_and_its_approval_counts_for_one_retry() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let (mut shim, mut console) = (daemon.shim().await, daemon.console().await);
    let hold = withdrawn(&mut shim, &mut console).await;
    assert_eq!(console.approve(&hold).await.unwrap_err(), Failure::Closed);
    let (open, code) = reopen(&daemon, &hold).await;
    assert_eq!((code, &open["state"]["name"], &open["waiting"]), (0, &json!("pending"), &json!(0)), "{open}");
    assert_eq!((&open["digest"], &open["arguments"]["amount"]), (&json!(hold.digest), &json!(100)));
    assert_eq!(reopen(&daemon, &hold).await.1, 5, "it waits already");
    assert_eq!(daemon.run(&["pending", "reopen", "ZZZZZZZZZZZZ"]).await.1, 3);
    let approved = console.approve(&hold).await.unwrap();
    assert!(matches!(approved.state, HoldState::Ticket { .. }), "{:?}", approved.state);
    assert_eq!(spy.calls("create_refund"), 0);
    shim.send(&refund("retry")).await;
    assert_eq!(outcome(&shim.answer("retry").await), None);
    assert_eq!(spy.calls("create_refund"), 1);
    // Once: neither the retry's retry, nor the hold again.
    assert_eq!(reopen(&daemon, &hold).await.1, 5);
    shim.send(&refund("third")).await;
    let third = console.hold().await;
    assert_ne!(third.id, hold.id);
    console.reject(&third, "once is enough").await.unwrap();
    assert_eq!(reopen(&daemon, &third).await.1, 5, "somebody said no");
    assert_eq!(spy.calls("create_refund"), 1);

    daemon.stop().await;
    let records = daemon.records().await;
    let of_the_hold = records.iter().filter(|record| record["call"] == json!(hold.id.as_str()));
    let story: Vec<_> = of_the_hold.map(|record| record["kind"].as_str().unwrap()).collect();
    let expected =
        ["decided", "held", "closed", "ruling_refused", "reopened", "ruling_refused", "ruled", "ruling_refused"];
    assert_eq!(story, expected);
    assert_eq!(daemon.run(&["audit", "verify"]).await.1, 0);
}

/// What would be judged in another way now stays closed.
#[tokio::test]
async fn a_call_that_policy_no_longer_holds_so_does_not_wait_again() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let (mut shim, mut console) = (daemon.shim().await, daemon.console().await);
    let hold = withdrawn(&mut shim, &mut console).await;
    let stricter = format!(
        "{FIXTURE_POLICY}\ndeny contains {{\"rule\": \"fixture.stop\", \"reason\": \"no refunds today\"}} if input.tool.name == \"create_refund\"\n"
    );
    std::fs::write(daemon.state_dir().parent().unwrap().join("policies/policy.rego"), stricter).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.logs("policy loaded").await;
    assert_eq!(reopen(&daemon, &hold).await.1, 5);
    assert_eq!(console.approve(&hold).await.unwrap_err(), Failure::Closed);
    assert!(!console.list().await.iter().any(|hold| hold.state.is_pending()));
}

/// The end is part of what is signed: what was signed before it does not count after it.
#[tokio::test]
async fn a_signature_of_before_counts_for_nothing_when_the_call_waits_again() {
    let (spy, keys) = (Spy::stdio().await, Keys::new());
    let anna = keys.enroll("anna");
    let countersign = Countersign::new().upstream(&spy).set("/servers/fixture/environment", json!("production"));
    let daemon = countersign.set("/operators", json!({"allowed_signers": keys.list()})).start().await;
    let (mut shim, mut console) = (daemon.shim().await, daemon.console().await);
    shim.send(&refund("first")).await;
    let hold = console.hold().await;
    let words = ["pending", "show", hold.id.as_str(), "--ruling", "approve", "--operator", "anna"];
    let file = keys.path("text");
    std::fs::write(&file, daemon.run(&words).await.0).unwrap();
    let sign = ["-q", "-Y", "sign", "-n", "countersign", "-f"];
    assert!(Command::new("ssh-keygen").args(sign).args([&anna, &file]).status().unwrap().success());
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "first"}});
    shim.send(&cancel).await;
    console.state(&hold.id, "its end", |state| matches!(state, HoldState::Closed { .. })).await;
    assert_eq!(reopen(&daemon, &hold).await.1, 0);
    let signature = file.with_extension("sig");
    assert_eq!(approve(&daemon, &hold, &[]).await, 4, "it has to be signed");
    assert_eq!(approve(&daemon, &hold, &["--operator", "anna", "--signature", text(&signature)]).await, 4);
    assert_eq!(approve(&daemon, &hold, &["--operator", "anna", "--sign-with", text(&anna)]).await, 0);
    shim.send(&refund("retry")).await;
    assert_eq!(outcome(&shim.answer("retry").await), None);
    assert_eq!(spy.calls("create_refund"), 1);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn approve(daemon: &Daemon, hold: &HoldView, more: &[&str]) -> i32 {
    let digest = hold.digest.to_string();
    daemon.run(&[&["pending", "approve", hold.id.as_str(), "--digest", &digest], more].concat()).await.1
}
