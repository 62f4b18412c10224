//! An operator who takes a minute and a half: longer than the time-outs of clients, which must not notice. All of them
//! wait at the same time, so this costs the time of one.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::harness::daemon::{FIXTURE_POLICY, TOKEN, binary};
use crate::harness::peers::{Peer, everything_on_stdio, finished};
use crate::harness::{Countersign, Daemon};
use crate::rust_client::{Agent, Era, behind_shim, call, over_http};

/// How long the operator takes.
const LOOK: Duration = Duration::from_secs(90);

fn policy() -> String {
    FIXTURE_POLICY.replace("\"create_refund\"", "\"echo\"")
}

async fn daemon() -> Daemon {
    Countersign::with_policy(&policy())
        .server("everything", json!({"environment": "test", "upstream": everything_on_stdio()}))
        .set("/holds/ttl", json!("10m"))
        .start()
        .await
}

/// The answer is the server's, after the whole wait.
fn assert_real(who: &str, answer: &serde_json::Value, waited: Duration) {
    let text = &answer["content"][0]["text"];
    assert_eq!(text, "Echo: worth the wait", "{who}: {answer}");
    assert!(waited >= LOOK, "{who} waited {waited:?}");
}

async fn a_program(peer: Peer, daemon: &Daemon, over_http: bool) {
    let url = format!("http://{}/mcp/everything", daemon.address);
    let target: &[&str] = if over_http { &["http", &url] } else { &["stdio", binary(), "connect", "everything"] };
    let mut command = peer.command("patient", target);
    command.env("PEER_TOKEN", TOKEN).env("COUNTERSIGN_RUNTIME_DIR", daemon.runtime_dir());
    let report: serde_json::Value = serde_json::from_str(&finished(&mut command).await).unwrap();
    let who = format!("{peer:?} over HTTP: {over_http}");
    // The program counts in whole seconds.
    assert_real(&who, &report["echo"], Duration::from_secs(report["seconds"].as_u64().unwrap() + 1));
    if let Some(steps) = report["progress"].as_array() {
        let steps: Vec<f64> = steps.iter().map(|step| step["progress"].as_f64().unwrap()).collect();
        assert!(steps.len() >= 4, "{who}: {steps:?}");
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{who}: {steps:?}");
    }
}

async fn the_rust_client(daemon: &Daemon, http: bool) {
    // The name that the client has where nobody gives it another one.
    let agent = Agent { name: "rmcp" };
    let url = format!("http://{}/mcp/everything", daemon.address);
    let client = match http {
        true => over_http(agent, Era::Legacy, &url, Some(TOKEN)).await,
        false => behind_shim(agent, Era::Legacy, daemon, "everything").await,
    };
    let started = Instant::now();
    let answer = client.call_tool(call("echo", json!({"message": "worth the wait"}))).await.unwrap();
    assert_real("rmcp", &serde_json::to_value(answer).unwrap(), started.elapsed());
    client.cancel().await.unwrap();
}

/// Looks at each of the calls for a minute and a half.
async fn an_operator(daemon: &Daemon, calls: usize) {
    let mut console = daemon.console().await;
    let mut held = Vec::new();
    for _ in 0..calls {
        held.push((console.hold().await, Instant::now()));
    }
    for (hold, since) in held {
        tokio::time::sleep_until(since + LOOK).await;
        console.approve(&hold).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_an_operator_who_takes_ninety_seconds() {
    // A daemon for each client: identical calls of one principal would wait for one ruling together.
    let peers = [Peer::TypeScript("v1"), Peer::TypeScript("v2"), Peer::Python];
    let mut waiting = tokio::task::JoinSet::new();
    for over_http in [false, true] {
        for peer in peers {
            waiting.spawn(async move {
                let daemon = daemon().await;
                tokio::join!(a_program(peer, &daemon, over_http), an_operator(&daemon, 1));
            });
        }
        waiting.spawn(async move {
            let daemon = daemon().await;
            tokio::join!(the_rust_client(&daemon, over_http), an_operator(&daemon, 1));
        });
    }
    // Each that fails has said so; the others go on to their end.
    let mut failed = 0;
    while let Some(done) = waiting.join_next().await {
        failed += usize::from(done.is_err());
    }
    assert_eq!(failed, 0, "of eight clients");
}
