//! Cases about the text of a message that need more than bytes and a verdict.

use serde_json::json;

use crate::harness::process::Growth;
use crate::harness::{Countersign, Spy, call};

const MIB: u64 = 1 << 20;

/// Nesting far beyond the limit costs neither stack nor memory.
#[tokio::test]
async fn par_017() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    shim.call("before", "get_balance", json!({})).await;
    let growth = Growth::since_now(daemon.pid());
    let depth = 200_000;
    let head = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_balance","arguments":{"a":"#;
    let line = format!("{head}{}{}}}}}}}\n", "[".repeat(depth), "]".repeat(depth));
    shim.write(line.as_bytes()).await;
    let answer = shim.next().await.unwrap();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    let grown = growth.bytes();
    assert!(grown < 16 * MIB, "{} MiB for one line of 400 KB", grown / MIB);
    shim.call("after", "get_balance", json!({})).await;
    assert_eq!(spy.all_calls(), 2);
    daemon.assert_alive().await;
}

/// A line without an end is cut off at the limit, and only its own session with it. A gigabyte is offered.
#[tokio::test]
async fn par_019() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).set("/limits/message_bytes", json!("1MiB")).start().await;
    let mut other = daemon.shim().await;
    other.call("before", "get_balance", json!({})).await;
    let growth = Growth::since_now(daemon.pid());
    let mut shim = daemon.raw_shim();
    shim.write(br#"{"jsonrpc":"2.0","x":""#).await;
    let chunk = vec![b'a'; 1 << 20];
    let mut written = 0;
    while written < 1024 && shim.try_write(&chunk).await {
        written += 1;
    }
    assert!(written < 64, "{written} MiB of one line were read");
    let (answers, _) = shim.finish().await;
    assert!(answers.iter().all(|answer| answer["error"]["code"].is_i64()), "{answers:?}");
    let grown = growth.bytes();
    assert!(grown < 33 * MIB, "{} MiB for a line that is refused", grown / MIB);
    other.call("after", "get_balance", json!({})).await;
    assert_eq!(spy.all_calls(), 2);
    daemon.assert_alive().await;
}

/// However a number is spelled: what the operator sees, what the digest binds and what is sent is one spelling.
#[tokio::test]
async fn par_023() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    let mut digests = Vec::new();
    for (n, spelling) in ["-0", "1E2", "100.0", "100"].into_iter().enumerate() {
        let line =
            call(n, "create_refund", json!({"amount": "SPELLING"})).to_string().replace("\"SPELLING\"", spelling);
        shim.write(format!("{line}\n").as_bytes()).await;
        let hold = console.hold().await;
        let exact = format!(r#"{{"amount":{spelling}}}"#);
        assert_eq!(hold.arguments.as_str(), exact);
        digests.push(hold.digest);
        console.approve(&hold).await.unwrap();
        shim.answer(n).await;
        let sent = spy.received().pop().unwrap();
        let text = String::from_utf8(sent.raw).unwrap();
        assert!(text.contains(&format!(r#""arguments":{exact}"#)), "{text}");
    }
    digests.sort_by_key(ToString::to_string);
    digests.dedup();
    assert_eq!(digests.len(), 4, "another spelling is another call");
    assert_eq!(spy.calls("create_refund"), 4);
}
