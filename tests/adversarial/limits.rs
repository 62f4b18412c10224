//! Cases about how much of everything there may be. What is scaled down says so.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::daemon::{OTHER_TOKEN, SERVER};
use crate::harness::http::HttpClient;
use crate::harness::process::Growth;
use crate::harness::{Countersign, Spy, call, outcome, within};

/// 300 connections that stay open, not 10,000: each is answered, costs little, and the one too many gets no further.
#[tokio::test]
async fn lim_001() {
    const MOST: usize = 300;
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).set("/limits/connections", json!(MOST)).start().await;
    let client: HttpClient = daemon.http();
    let head: String = client.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // What is refused at once, without a server behind it: the cost is that of the connection.
    let asked = format!("POST {} HTTP/1.1\r\n{head}Content-Length: 2\r\n\r\n{{}}", client.path);
    let answered = async |stream: &mut TcpStream| {
        stream.write_all(asked.as_bytes()).await.ok()?;
        let mut answer = [0; 4096];
        let count = within("an answer", stream.read(&mut answer)).await.ok()?;
        (count > 0).then(|| String::from_utf8_lossy(&answer[..count]).into_owned())
    };
    let mut open = Vec::new();
    let mut growth = Growth::since_now(daemon.pid());
    for number in 0..MOST {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        let answer = answered(&mut stream).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        open.push(stream);
        if number == 20 {
            growth = Growth::since_now(daemon.pid());
        }
    }
    let each = growth.bytes() / (MOST as u64 - 20);
    assert!(each < 100 << 10, "{} KiB a connection", each >> 10);
    let mut more = TcpStream::connect(daemon.address).await.unwrap();
    let refused = answered(&mut more).await;
    assert!(refused.is_none_or(|answer| answer.starts_with("HTTP/1.1 503")), "one more than the limit was served");
    // One goes, and there is room again.
    drop(open.pop());
    within("room for another", async {
        loop {
            let mut stream = TcpStream::connect(daemon.address).await.unwrap();
            if answered(&mut stream).await.is_some_and(|answer| answer.starts_with("HTTP/1.1 400")) {
                return;
            }
        }
    })
    .await;
    daemon.assert_alive().await;
}

/// 3,000 denied calls as fast as they go, not 50,000 a second for a minute: another principal is served meanwhile, and
/// every one is recorded. How fast the other is served is measured by the benchmarks.
#[tokio::test]
async fn lim_002() {
    const FLOOD: usize = 3_000;
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    let mut other = HttpClient::new(daemon.address, SERVER, Some(OTHER_TOKEN));
    other.initialize().await;
    let mut sent = 0;
    let mut answered = 0;
    while answered < FLOOD {
        // As many at a time as a session may have open.
        while sent < FLOOD && sent - answered < 200 {
            shim.send(&call(sent, "delete_customer", json!({"id": "cus_1"}))).await;
            sent += 1;
        }
        let answer = shim.next().await.unwrap();
        assert_eq!(outcome(&answer), Some("denied"), "{answer}");
        answered += 1;
        if answered % 300 == 0 {
            let reply = other.call("other", "get_balance", json!({})).await;
            assert_eq!(reply["result"]["content"][0]["text"], "done: get_balance");
        }
    }
    assert_eq!(spy.calls("delete_customer"), 0);
    daemon.stop().await;
    let records = daemon.records().await;
    let denied = |record: &&Value| record["kind"] == "decided" && record.to_string().contains("delete_customer");
    assert_eq!(records.iter().filter(denied).count(), FLOOD);
}

/// 20,000 lines that are no messages, not 200,000: each is refused and recorded, and none is kept.
#[tokio::test]
async fn lim_004() {
    const LINES: usize = 20_000;
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    shim.call("before", "get_balance", json!({})).await;
    let growth = Growth::since_now(daemon.pid());
    for _ in 0..LINES / 100 {
        shim.write("{}\n".repeat(100).as_bytes()).await;
    }
    // A text that is neither request nor response has nobody to answer: the next call's answer is all that comes.
    shim.call("after", "get_balance", json!({})).await;
    let grown = growth.bytes();
    assert!(grown < 32 << 20, "{} MiB", grown >> 20);
    assert_eq!(spy.all_calls(), 2);
    assert!(shim.finish().await.0.is_empty());
    daemon.stop().await;
    let refused = daemon.records().await.iter().filter(|record| record["kind"] == "refused").count();
    assert_eq!(refused, LINES);
}

/// What the tests about memory measure with sees memory that is used and given back, and no growth where there is none.
#[test]
fn growth_of_memory_is_seen() {
    let grown = Growth::since_now(std::process::id());
    let used = vec![1_u8; 64 << 20];
    assert_eq!(used.iter().filter(|byte| **byte == 1).count(), 64 << 20);
    drop(used);
    assert!(grown.bytes() > 60 << 20, "{} MiB", grown.bytes() >> 20);
    // The peak is behind us now, so the next growth begins there.
    let full = vec![1_u8; 128 << 20];
    assert_eq!(Growth::since_now(std::process::id()).bytes() >> 20, 0, "{}", full.len());
}
