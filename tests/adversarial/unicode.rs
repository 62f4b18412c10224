//! Cases about names and characters that are too long to be data.

use serde_json::json;

use crate::harness::{Countersign, Spy, call};

/// A name of no length, of one character too many, and of a hundred thousand: refused, and not kept.
#[tokio::test]
async fn uni_011() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    for length in [0, 129, 100_000] {
        shim.send(&call(length, &"a".repeat(length), json!({}))).await;
        assert_eq!(shim.answer(length).await["error"]["code"], -32602, "{length}");
    }
    // One less is a name like any other, and no rule allows it.
    let answer = shim.call("last", &"a".repeat(128), json!({})).await;
    assert_eq!(crate::harness::outcome(&answer), Some("denied"));
    assert_eq!(spy.all_calls(), 0);
    daemon.stop().await;
    let records = daemon.records().await;
    assert_eq!(records.iter().filter(|record| record["kind"] == "refused").count(), 3);
    assert!(records.iter().all(|record| record.to_string().len() < 8 << 10), "a record holds what was refused");
    assert!(!daemon.log().contains(&"a".repeat(1000)), "the log holds what was refused");
}
