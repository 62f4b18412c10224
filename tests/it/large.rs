//! Long calls that wait, and consoles that do not answer: what an agent sends leaves operators able to see and to rule.

use std::time::Duration;

use countersign::control::client::Operator;
use countersign::control::wire::{HoldView, MAX_LINE, Notice, VERSION};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::harness::{Countersign, Spy, call, outcome, request, within};

/// Together these are longer than a line of the operator socket may be.
const CALLS: usize = 9;
const LONG: usize = 1_900_000;
const _: () = assert!(CALLS * LONG > MAX_LINE);

fn long(n: usize) -> Value {
    call(format!("{n}"), "create_refund", json!({"charge": format!("ch_{n}"), "note": "x".repeat(LONG)}))
}

/// I11: however much waits, and however much was taken back.
#[tokio::test(flavor = "multi_thread")]
async fn long_calls_leave_operators_what_they_need_to_see() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let console = daemon.console().await;
    let mut shim = daemon.shim().await;
    for round in 0..2 {
        for n in 0..CALLS {
            shim.send(&long(round * CALLS + n)).await;
        }
        let holds = console.pending(CALLS).await;
        // Anew, as after a lost connection.
        let mut anew = daemon.console().await;
        assert_eq!(anew.pending(CALLS).await.len(), CALLS);
        assert!(anew.list().await.len() >= CALLS);
        let (listed, code) = daemon.run(&["pending", "ls"]).await;
        assert_eq!((code, listed.lines().filter(|line| line.contains("create_refund")).count()), (0, CALLS));
        let newest = holds.last().unwrap();
        let id = newest.id.as_str();
        // The ids of one moment begin alike.
        let (shown, code) = daemon.run(&["pending", "show", &id[..id.len() - 2], "-o", "json"]).await;
        assert_eq!(code, 0);
        let mut shown: serde_json::Map<String, Value> = serde_json::from_str(&shown).unwrap();
        // Of the reader's own making.
        assert!(shown.remove("risk").is_some() && shown.remove("risk_addends").is_some());
        let shown: HoldView = serde_json::from_value(shown.into()).unwrap();
        assert!(shown.id == newest.id && shown.arguments == newest.arguments);
        let watch = Operator::connect(&daemon.operator_socket, true, true).await.unwrap();
        let (mut notices, _commands) = watch.split();
        match within("a snapshot", notices.next()).await.unwrap() {
            Notice::Snapshot { holds, .. } => {
                assert_eq!(holds.iter().filter(|hold| hold.state.is_pending()).count(), CALLS);
            }
            other => panic!("{other:?}"),
        }
        for n in 0..CALLS {
            let id = format!("{}", round * CALLS + n);
            let cancel = json!({"requestId": id, "reason": "x"});
            shim.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel})).await;
        }
        console.pending(0).await;
    }
    assert_eq!(spy.calls("create_refund"), 0);
    shim.send(&request("last", "ping", json!({}))).await;
    shim.answer("last").await;
    daemon.stop().await;
}

/// A console that is suspended is no operator: a call waits for it no longer than for none.
#[tokio::test]
async fn a_console_that_does_not_answer_counts_for_none() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().set("/holds/no_console", json!({"grace": "1s"})).upstream(&spy).start().await;
    let (read, mut write) = UnixStream::connect(&daemon.operator_socket).await.unwrap().into_split();
    let hello = format!(r#"{{"command":"hello","version":{VERSION},"watch":true,"read_only":false}}"#) + "\n";
    write.write_all(hello.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(read).lines();
    let mut next = async || within("a notice", lines.next_line()).await.unwrap().unwrap();
    assert!(next().await.contains("welcome"));
    let mut shim = daemon.shim().await;
    shim.send(&call("1", "create_refund", json!({"charge": "ch_1", "amount": 1}))).await;
    let refused = within("the end of the wait", shim.answer("1")).await;
    assert_eq!(outcome(&refused), Some("unattended"), "{refused}");
    // It goes on, and counts again.
    write.write_all(b"{\"command\":\"alive\"}\n").await.unwrap();
    loop {
        let line = next().await;
        let attached =
            |line: &str| serde_json::from_str::<Value>(line).unwrap().pointer("/daemon/daemon/consoles").cloned();
        if attached(&line) == Some(json!(1)) && line.contains("operators") {
            break;
        }
    }
    shim.send(&call("2", "create_refund", json!({"charge": "ch_1", "amount": 1}))).await;
    while !next().await.contains("\"pending\"") {}
    assert!(tokio::time::timeout(Duration::from_secs(2), shim.answer("2")).await.is_err(), "somebody is there");
    daemon.stop().await;
}
