//! Many holds and many consoles: every call gets its own answer once, and a console that dies rules on nothing.

use std::collections::BTreeMap;

use countersign::control::wire::{HoldView, VERSION};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::harness::{Countersign, Shim, Spy, call, outcome, within};

const HOLDS: usize = 1000;
const KILLS: usize = 500;

/// A permutation that is the same every time.
fn shuffled(mut holds: Vec<HoldView>) -> Vec<HoldView> {
    let mut dice = 0x2026_1121_u64;
    for at in (1..holds.len()).rev() {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        holds.swap(at, usize::try_from(dice >> 33).unwrap() % (at + 1));
    }
    holds
}

/// Sessions with many calls each; every amount is one call, and its answer has to come to whoever asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_holds_ruled_in_any_order_are_answered_once_each() {
    const SESSIONS: usize = 20;
    let spy = Spy::stdio().await;
    let limits = json!({"max_pending": HOLDS, "max_per_principal": HOLDS, "ttl": "10m", "take_back": "0s", "prompts_per_minute": 10_000, "budgets": {"default": "none"}});
    let daemon = Countersign::new().set("/holds", limits).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut asking = Vec::new();
    for session in 0..SESSIONS {
        asking.push(tokio::spawn(ask(session, daemon.shim().await, HOLDS / SESSIONS)));
    }
    let holds = shuffled(console.pending(HOLDS).await);
    let amount = |hold: &HoldView| hold.arguments.view().get("amount").unwrap().as_i64().unwrap();
    for hold in &holds {
        match amount(hold) % 3 {
            0 => console.reject(hold, &format!("not {}", amount(hold))).await.unwrap(),
            _ => console.approve(hold).await.unwrap(),
        };
    }
    let mut answers = BTreeMap::new();
    for client in asking {
        answers.extend(client.await.unwrap());
    }
    assert_eq!(answers.len(), HOLDS);
    for (amount, answer) in &answers {
        match amount % 3 {
            0 => {
                assert_eq!(outcome(answer), Some("rejected"), "{answer}");
                assert!(answer.to_string().contains(&format!("not {amount}")), "{answer}");
            }
            _ => assert_eq!(answer["result"]["content"][0]["text"], "done: create_refund", "{answer}"),
        }
    }
    let mut sent: Vec<i64> = spy
        .received()
        .iter()
        .filter(|received| received.tool() == "create_refund")
        .map(|received| received.message["params"]["arguments"]["amount"].as_i64().unwrap())
        .collect();
    sent.sort_unstable();
    let approved: Vec<i64> = (1..=i64::try_from(HOLDS).unwrap()).filter(|amount| amount % 3 != 0).collect();
    assert_eq!(sent, approved, "each exactly once, and nothing else");
}

/// The answers to all calls of one session, by amount.
async fn ask(session: usize, mut shim: Shim, count: usize) -> Vec<(i64, Value)> {
    let amounts = (0..count).map(|n| i64::try_from(session * count + n + 1).unwrap());
    let amounts: Vec<i64> = amounts.collect();
    for amount in &amounts {
        shim.send(&call(*amount, "create_refund", json!({"charge": "ch_1", "amount": amount}))).await;
    }
    let mut answers = Vec::new();
    for amount in amounts {
        answers.push((amount, shim.answer(amount).await));
    }
    answers
}

/// A console is killed at every step of the protocol: after it connects, in the middle of a line, after every command
/// that rules on nothing, and while it is written to. What it had not said whole was never said.
#[tokio::test]
async fn five_hundred_consoles_die_and_nothing_is_ruled_by_that() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&call(1, "create_refund", json!({"charge": "ch_1", "amount": 1}))).await;
    let hold = console.hold().await;
    let hello = format!(r#"{{"command":"hello","version":{VERSION},"watch":true,"read_only":false}}"#) + "\n";
    let ruling = format!(
        r#"{{"command":"rule","seq":1,"id":"{}","digest":"{}","ruling":"approve","reason":null}}"#,
        hold.id, hold.digest
    );
    let harmless = [
        r#"{"command":"list","seq":2}"#.to_owned(),
        format!(r#"{{"command":"show","seq":3,"id":"{}"}}"#, hold.id),
        format!(r#"{{"command":"claim","seq":4,"id":"{}","steal":true}}"#, hold.id),
        format!(r#"{{"command":"take_back","seq":5,"id":"{}"}}"#, hold.id),
        r#"{"command":"sessions","seq":6}"#.to_owned(),
        r#"{"command":"nonsense","seq":7}"#.to_owned(),
    ];
    for n in 0..KILLS {
        let mut dies = UnixStream::connect(&daemon.operator_socket).await.unwrap();
        let bytes = match n % 5 {
            0 => String::new(),
            1 => hello[..n * (hello.len() - 1) / KILLS].to_owned(),
            2 => hello.clone(),
            // Everything but the end of the line.
            3 => format!("{hello}{}", &ruling[..ruling.len() * n / KILLS]),
            _ => format!("{hello}{}\n", harmless[n / 5 % harmless.len()]),
        };
        let _ = dies.write_all(bytes.as_bytes()).await;
        match n % 3 {
            // With what the daemon writes unread, that end is a reset.
            0 => drop(dies),
            1 => dies.shutdown().await.unwrap_or_default(),
            _ => {
                let mut some = [0; 64];
                if n % 5 > 1 {
                    let _ = within("some bytes", tokio::io::AsyncReadExt::read(&mut dies, &mut some)).await;
                }
            }
        }
    }
    let still = console.pending(1).await;
    assert_eq!(still[0].approvals.have.len(), 0);
    assert_eq!(spy.calls("create_refund"), 0);
    console.until_daemon("that they are gone", |daemon| daemon.consoles == 1 && daemon.operators.len() == 1).await;
    console.approve(&hold).await.unwrap();
    shim.answer(1).await;
    assert_eq!(spy.calls("create_refund"), 1);
    daemon.stop().await;
    let records = daemon.records().await;
    assert_eq!(records.iter().filter(|record| record["kind"] == "ruled").count(), 1);
}

/// Whoever updates one side first reads which side is which.
#[tokio::test]
async fn a_console_of_another_release_is_told_so() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut old = UnixStream::connect(&daemon.operator_socket).await.unwrap();
    let hello = format!(r#"{{"command":"hello","version":{},"watch":true,"read_only":false}}"#, VERSION - 1) + "\n";
    old.write_all(hello.as_bytes()).await.unwrap();
    let mut said = String::new();
    within("its answer", tokio::io::AsyncReadExt::read_to_string(&mut old, &mut said)).await.unwrap();
    let words = format!("this console speaks {}, the daemon {VERSION}: use the same release", VERSION - 1);
    assert!(said.contains(&words), "{said}");
}
