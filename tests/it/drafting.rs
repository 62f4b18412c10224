//! `countersign policy draft`: from a hold of a running daemon to files that its author's tools have nothing to say about.

use serde_json::{Value, json};

use crate::harness::{Countersign, Spy, call};

#[tokio::test]
async fn a_rule_is_drafted_from_a_hold_and_goes_nowhere_by_itself() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let (mut shim, mut console) = (daemon.shim().await, daemon.console().await);
    let arguments =
        json!({"charge": "ch_1", "amount": 100, "note": "\"}\nallow contains {\"rule\": \"x.y\"} if true #"});
    shim.send(&call("refund", "create_refund", arguments)).await;
    let hold = console.hold().await;
    let into = daemon.state_dir().join("drafts");
    let words =
        ["policy", "draft", hold.id.as_str(), "--effect", "deny", "-o", "json", "--into", into.to_str().unwrap()];
    for written in [true, false] {
        let (text, code) = daemon.run(&words).await;
        let said: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (code, &said["schema"], &said["passed"]),
            (0, &json!("countersign.policy-draft/v1"), &json!(true)),
            "{said}"
        );
        assert_eq!(
            (&said["hold"], &said["effect"], &said["written"]),
            (&json!(hold.id.as_str()), &json!("deny"), &json!(written))
        );
        assert_eq!(said["files"].as_array().unwrap().len(), 2);
    }
    for tool in ["check", "test"] {
        assert_eq!(daemon.run(&["policy", tool, into.to_str().unwrap()]).await.1, 0, "{tool}");
    }
    // Where the daemon loads its policies from nothing is put, and nothing has changed.
    let loaded = daemon.state_dir().parent().unwrap().join("policies");
    let words = ["policy", "draft", hold.id.as_str(), "--into", loaded.to_str().unwrap()];
    assert_eq!(daemon.run(&words).await.1, 1);
    let names = std::fs::read_dir(&loaded).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.starts_with("draft_")));
    assert_eq!(daemon.run(&["policy", "draft", "ZZZZZZZZZZZZ", "--into", into.to_str().unwrap()]).await.1, 3);
    assert!(console.list().await.iter().any(|other| other.id == hold.id && other.state.is_pending()));
}
