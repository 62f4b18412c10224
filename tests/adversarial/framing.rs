//! Cases about where a message begins and ends, and about readers and writers that do not do their part.

use serde_json::json;

use crate::harness::process::Growth;
use crate::harness::{Act, Countersign, Spy, call, within};

/// A secret of the daemon that the upstream prints where it must not.
const CANARY: &str = "sk_test_CANARY7Qm2Zt9XeVb4";

/// Where one read ends and the next begins means nothing.
#[tokio::test]
async fn frm_004() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    let lines = |from: usize| {
        (from..from + 3).map(|n| format!("{}\n", call(n, "get_balance", json!({"n": n})))).collect::<String>()
    };
    for byte in lines(0).into_bytes() {
        shim.write(&[byte]).await;
    }
    shim.write(lines(3).as_bytes()).await;
    for n in 0..6 {
        assert_eq!(shim.answer(n).await["result"]["content"][0]["text"], "done: get_balance");
    }
    assert_eq!(spy.calls("get_balance"), 6);
}

/// Text that an upstream prints on stdout is no message: it goes to the log, without secrets, and nowhere else.
#[tokio::test]
async fn frm_007() {
    let spy = Spy::stdio_with(|received, _| {
        (received.tool() == "get_balance").then(|| {
            vec![
                Act::Raw(format!("DEBUG key={CANARY}\n")),
                Act::Result(json!({"content": [{"type": "text", "text": "fine"}]})),
            ]
        })
    })
    .await;
    let daemon = Countersign::new()
        .upstream(&spy)
        .env("CANARY", CANARY)
        .set("/secrets/canary", json!({"env": "CANARY"}))
        .set("/servers/fixture/upstream/stdio/env/KEY", json!({"secret": "canary"}))
        .start()
        .await;
    let mut shim = daemon.shim().await;
    let answer = shim.call("a", "get_balance", json!({})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "fine");
    daemon.logs("DEBUG key=").await;
    assert!(!daemon.log().contains(CANARY), "the key is in the log");
    let traffic = String::from_utf8(shim.traffic()).unwrap();
    assert!(!traffic.contains("DEBUG") && !traffic.contains(CANARY), "{traffic}");
}

/// A client that asks and does not read costs itself only. 5,000 answers of 64 KiB are asked for, not 50,000.
#[tokio::test]
async fn frm_008() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut other = daemon.shim().await;
    other.call("before", "get_balance", json!({})).await;
    let growth = Growth::since_now(daemon.pid());

    // The shim is the daemon's client on a socket of its own: to not read at all, the socket is used without it.
    let mut greedy = daemon.shim_command(crate::harness::daemon::SERVER);
    greedy.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut greedy = greedy.spawn().unwrap();
    let mut stdin = greedy.stdin.take().unwrap();
    let asking = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let hello = crate::harness::request("hello", "initialize", crate::harness::hello());
        let mut lines = format!("{hello}\n{}\n", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        for n in 0..5_000 {
            lines.push_str(&format!("{}\n", call(n, "get_big", json!({}))));
        }
        // Ends early where the daemon closes the connection, and never where it only stops reading.
        let _ = stdin.write_all(lines.as_bytes()).await;
    });
    // While it asks, the other session goes on as before.
    for n in 0..50 {
        let answer = within("the other session", other.call(&format!("n{n}"), "get_balance", json!({}))).await;
        assert_eq!(answer["result"]["content"][0]["text"], "done: get_balance");
    }
    let grown = growth.bytes();
    assert!(grown < 96 << 20, "{} MiB for a client that does not read", grown >> 20);
    assert!(spy.calls("get_big") < 5_000, "nothing held it back");
    asking.abort();
    daemon.assert_alive().await;
}
