//! Between the permit of a call and its first byte: a server that reads nothing for a while, and what operators and
//! clients do meanwhile.

use countersign::control::wire::HoldState;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Countersign, Spy, call, outcome};

/// More than a pipe holds.
fn long_ping() -> Value {
    json!({"jsonrpc": "2.0", "id": "long", "method": "ping", "params": {"x": "y".repeat(300_000)}})
}

fn child(spy: &Spy) -> Pid {
    Pid::from_raw(i32::try_from(spy.processes()[0]["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_approved_does_not_leave_after_a_freeze_a_cancel_or_the_end_of_its_session() {
    for stop in ["freeze", "cancel", "reload", "end"] {
        let spy = Spy::stdio().await;
        let mut daemon = Countersign::new().upstream(&spy).start().await;
        let (mut shim, mut console) = (daemon.shim().await, daemon.console().await);
        shim.call("first", "get_balance", json!({})).await;
        kill_process(child(&spy), Signal::STOP).unwrap();
        shim.send(&long_ping()).await;
        shim.send(&call(1, "create_refund", json!({"charge": "ch_1", "amount": 1}))).await;
        let hold = console.hold().await;
        let before = console.approve(&hold).await.unwrap();
        assert!(matches!(before.state, HoldState::Approved { .. }), "{stop}: {:?}", before.state);
        while !daemon.records().await.iter().any(|record| record["kind"] == "sending") {
            tokio::task::yield_now().await;
        }
        let ended = match stop {
            "freeze" => {
                assert_eq!(daemon.run(&["freeze", "--reason", "incident 7"]).await.1, 0);
                Some("rejected")
            }
            "cancel" => {
                shim.cancel(1).await;
                let closed = |state: &HoldState| matches!(state, HoldState::Closed { .. });
                console.state(&hold.id, "that it was not sent", closed).await;
                None
            }
            "reload" => {
                let file = daemon.state_dir().parent().unwrap().join("policies/policy.rego");
                let text = std::fs::read_to_string(&file).unwrap();
                std::fs::write(file, format!("{text}\n# another\n")).unwrap();
                daemon.logs("policy loaded").await;
                // What leaves at once leaves as it was judged.
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                Some("unavailable")
            }
            _ => {
                shim.close();
                let closed = |state: &HoldState| matches!(state, HoldState::Closed { .. });
                console.state(&hold.id, "that it was not sent", closed).await;
                None
            }
        };
        kill_process(child(&spy), Signal::CONT).unwrap();
        if let Some(ended) = ended {
            let answer = shim.answer(1).await;
            assert_eq!(outcome(&answer), Some(ended), "{stop}: {answer}");
            assert_eq!(answer["result"]["_meta"]["dev.countersign/decision"]["sent"], json!(false));
        }
        if stop != "end" {
            shim.answer("long").await;
        }
        daemon.stop().await;
        let refund = |text: &str| text.contains("create_refund") || text.contains("notifications/cancelled");
        assert!(!refund(&String::from_utf8_lossy(&spy.bytes())), "{stop}: it left, or the server was told of it");
        let records = daemon.records().await;
        let of_call = records.iter().filter(|record| record["call"] == hold.id.as_str());
        let kinds: Vec<_> = of_call.map(|record| record["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["decided", "held", "ruled", "sending", "closed"], "{stop}");
    }
}
