//! The real servers and clients of the registries, first without Countersign and then through it: nothing that they
//! can observe may differ.

use serde_json::{Value, json};

use crate::fixture::Server;
use crate::harness::daemon::{ALLOW_ALL, TOKEN, binary};
use crate::harness::peers::{EverythingOverHttp, Peer, everything, everything_on_stdio, inspector_client, node};
use crate::harness::{Countersign, Daemon, Shim};

/// What the Inspector is asked.
const INSPECTOR: [&[&str]; 6] = [
    &["--method", "tools/list"],
    &["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hi"],
    &["--method", "resources/list"],
    &["--method", "resources/read", "--uri", "demo://resource/static/document/architecture.md"],
    &["--method", "prompts/list"],
    &["--method", "prompts/get", "--prompt-name", "args-prompt", "--prompt-args", "city=Chicago", "state=Illinois"],
];

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// The report says what the peers really did: without this two empty reports would be equal.
fn assert_complete(peer: Peer, report: &Value) {
    assert_eq!(report["sum"]["content"][0]["text"], "The sum of 2 and 40 is 42.");
    assert!(report["progress"].as_array().unwrap().len() >= 2);
    assert!(report["tools"].as_array().unwrap().len() > 10);
    let more: &[&str] = match peer {
        Peer::Python => &["sampling asked", "elicitation asked", "logging", "updated", "completion", "protocol"],
        Peer::TypeScript(_) => &["sampling asked", "elicitation asked", "logging", "updated", "unknown resource"],
        Peer::FastMcp => &["elicitation asked", "unknown tool"],
    };
    for key in more.iter().chain(&["prompt", "resource", "structured"]) {
        assert!(report.get(key).is_some(), "{key} is missing");
    }
}

#[tokio::test]
async fn the_peers_agree_without_us() {
    let (node, everything) = (node(), everything());
    let over_stdio = Peer::Python.report("everything", &["stdio", text(&node), text(&everything)], &[]).await;
    assert_complete(Peer::Python, &over_stdio);
    assert_eq!(over_stdio["protocol"], "2025-11-25");
    assert_eq!(over_stdio["progress"].as_array().unwrap().len(), 3);
    let server = EverythingOverHttp::start().await;
    let over_http = Peer::Python.report("everything", &["http", &server.url], &[]).await;
    assert_eq!(over_stdio, over_http);
    let answer = inspector_client(&[&server.url, "--transport", "http"], INSPECTOR[1]).await;
    assert_eq!(answer["content"][0]["text"], "Echo: hi");
}

/// A daemon that lets everything pass, in front of the reference server on stdio or over HTTP.
async fn daemon(over_http: Option<&EverythingOverHttp>) -> Daemon {
    let upstream = match over_http {
        Some(server) => json!({"http": {"url": server.url, "allow_plain_http": true}}),
        None => everything_on_stdio(),
    };
    Countersign::with_policy(ALLOW_ALL)
        .server("everything", json!({"environment": "test", "upstream": upstream}))
        .start()
        .await
}

/// A client library: every request, notification and request of the server, direct and through both fronts.
async fn sees_no_difference(peer: Peer, over_http: bool) {
    let server = EverythingOverHttp::start().await;
    let direct = match over_http {
        true => peer.report("everything", &["http", &server.url], &[]).await,
        false => peer.report("everything", &["stdio", text(&node()), text(&everything())], &[]).await,
    };
    assert_complete(peer, &direct);
    let daemon = daemon(over_http.then_some(&server)).await;
    through_both_fronts(peer, "everything", &direct, &daemon).await;
}

async fn through_both_fronts(peer: Peer, script: &str, direct: &Value, daemon: &Daemon) {
    let runtime_dir = text(daemon.runtime_dir());
    let shim = ["stdio", binary(), "connect", "everything"];
    let through = peer.report(script, &shim, &[("COUNTERSIGN_RUNTIME_DIR", runtime_dir)]).await;
    assert_same(direct, &through, "the shim");

    let url = format!("http://{}/mcp/everything", daemon.address);
    let through = peer.report(script, &["http", &url], &[("PEER_TOKEN", TOKEN)]).await;
    assert_same(direct, &through, "the HTTP front");
}

#[track_caller]
fn assert_same(direct: &Value, through: &Value, front: &str) {
    for (key, value) in direct.as_object().unwrap() {
        assert_eq!(value, &through[key], "{key}, through {front}");
    }
    assert_eq!(direct, through, "through {front}");
}

#[tokio::test]
async fn the_python_client_and_a_stdio_upstream() {
    sees_no_difference(Peer::Python, false).await;
}

#[tokio::test]
async fn the_python_client_and_an_http_upstream() {
    sees_no_difference(Peer::Python, true).await;
}

#[tokio::test]
async fn the_fastmcp_client_and_a_stdio_upstream() {
    sees_no_difference(Peer::FastMcp, false).await;
}

#[tokio::test]
async fn the_fastmcp_client_and_an_http_upstream() {
    sees_no_difference(Peer::FastMcp, true).await;
}

#[tokio::test]
async fn the_typescript_v1_client_and_a_stdio_upstream() {
    sees_no_difference(Peer::TypeScript("v1"), false).await;
}

#[tokio::test]
async fn the_typescript_v1_client_and_an_http_upstream() {
    sees_no_difference(Peer::TypeScript("v1"), true).await;
}

#[tokio::test]
async fn the_typescript_v2_client_and_a_stdio_upstream() {
    sees_no_difference(Peer::TypeScript("v2"), false).await;
}

#[tokio::test]
async fn the_typescript_v2_client_and_an_http_upstream() {
    sees_no_difference(Peer::TypeScript("v2"), true).await;
}

#[tokio::test]
async fn the_modern_typescript_client_and_a_stdio_upstream() {
    sees_no_difference(Peer::TypeScript("modern"), false).await;
}

#[tokio::test]
async fn the_modern_typescript_client_and_an_http_upstream() {
    sees_no_difference(Peer::TypeScript("modern"), true).await;
}

/// A server that speaks both eras, and the same client in the one and in the other.
async fn sees_no_difference_in_its_era(version: &'static str, protocol: &str) {
    let (peer, server) = (Peer::TypeScript(version), Server::start().await);
    let direct = peer.report("fixture", &["http", &server.url], &[]).await;
    assert_eq!(direct["protocol"], protocol);
    assert!(direct["tools"].as_array().unwrap().len() > 30);
    assert_eq!(direct["header"]["content"][0]["text"], "us west, \u{e9}");
    if version == "modern" {
        assert_eq!(direct["request_state"]["content"][0]["text"], "state-ok");
    }
    let upstream = json!({"http": {"url": server.url, "allow_plain_http": true}});
    let daemon = Countersign::with_policy(ALLOW_ALL)
        .server("everything", json!({"environment": "test", "upstream": upstream}))
        .start()
        .await;
    through_both_fronts(peer, "fixture", &direct, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_client_and_a_server_of_both_eras() {
    sees_no_difference_in_its_era("v2", "2025-11-25").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modern_typescript_client_and_a_server_of_both_eras() {
    sees_no_difference_in_its_era("modern", "2026-07-28").await;
}

/// The Inspector's command line, one process for each method, direct and through both fronts.
async fn the_inspector_sees_no_difference(over_http: bool) {
    let server = EverythingOverHttp::start().await;
    let daemon = daemon(over_http.then_some(&server)).await;
    let runtime_dir = format!("COUNTERSIGN_RUNTIME_DIR={}", daemon.runtime_dir().display());
    let shim = ["-e", &runtime_dir, binary(), "connect", "everything"];
    let (url, token) = (format!("http://{}/mcp/everything", daemon.address), format!("Authorization: Bearer {TOKEN}"));
    let front = [url.as_str(), "--transport", "http", "--header", &token];
    for method in INSPECTOR {
        let direct = inspector_client(&[&server.url, "--transport", "http"], method).await;
        assert!(direct.as_object().is_some_and(|object| !object.is_empty()), "{method:?}");
        assert_eq!(inspector_client(&shim, method).await, direct, "{method:?} through the shim");
        assert_eq!(inspector_client(&front, method).await, direct, "{method:?} through the HTTP front");
    }
}

#[tokio::test]
async fn the_inspector_and_a_stdio_upstream() {
    the_inspector_sees_no_difference(false).await;
}

#[tokio::test]
async fn the_inspector_and_an_http_upstream() {
    the_inspector_sees_no_difference(true).await;
}

/// `get-env` shows what a child of the daemon can see: its own key, and nothing of the daemon's or of other servers.
#[tokio::test]
async fn a_stdio_upstream_sees_its_own_key_only() {
    let with_key = |name: &str| {
        let mut upstream = everything_on_stdio();
        upstream["stdio"]["env"] = json!({"OWN_KEY": {"secret": name}, "PLAIN": "value"});
        json!({"environment": "test", "upstream": upstream})
    };
    let daemon = Countersign::with_policy(ALLOW_ALL)
        .env("FIRST_KEY", "first-CANARY-1x9Qm")
        .env("SECOND_KEY", "second-CANARY-7b2Zt")
        .env("UNRELATED", "unrelated-CANARY-4kWd")
        .set("/secrets/first", json!({"env": "FIRST_KEY"}))
        .set("/secrets/second", json!({"env": "SECOND_KEY"}))
        .server("everything", with_key("first"))
        .server("other", with_key("second"))
        .start()
        .await;
    let mut shim = Shim::start(daemon.shim_command("everything"));
    shim.initialize().await;
    let answer = shim.call("env", "get-env", json!({})).await;
    let seen = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(seen.contains("PLAIN") && seen.contains("OWN_KEY"), "{seen}");
    // Its own key is there, and is taken out on the way to the client.
    assert!(seen.contains("[secret:first]"), "{seen}");
    assert!(!seen.contains("CANARY"), "{seen}");
    assert!(!seen.contains("AGENT_TOKEN") && !seen.contains("FIRST_KEY") && !seen.contains("COUNTERSIGN"), "{seen}");
}
