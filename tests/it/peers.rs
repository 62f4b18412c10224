//! The real servers and clients of the registries, first without Countersign and then through it: nothing that they
//! can observe may differ.

use serde_json::Value;

use crate::harness::peers::{EverythingOverHttp, everything, inspector_client, node, python_client};

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
fn assert_complete(report: &Value) {
    assert_eq!(report["protocol"], "2025-11-25");
    assert_eq!(report["sum"]["content"][0]["text"], "The sum of 2 and 40 is 42.");
    assert_eq!(report["progress"].as_array().unwrap().len(), 3);
    for key in ["sampling asked", "elicitation asked", "logging", "updated", "completion", "prompt", "resource"] {
        assert!(report.get(key).is_some(), "{key} is missing");
    }
    assert!(report["tools"].as_array().unwrap().len() > 10);
}

#[tokio::test]
async fn the_peers_agree_without_us() {
    let (node, everything) = (node(), everything());
    let over_stdio = python_client(&["stdio", text(&node), text(&everything)], &[]).await;
    assert_complete(&over_stdio);
    let server = EverythingOverHttp::start().await;
    let over_http = python_client(&["http", &server.url], &[]).await;
    assert_eq!(over_stdio, over_http);
    let answer = inspector_client(&[&server.url, "--transport", "http"], INSPECTOR[1]).await;
    assert_eq!(answer["content"][0]["text"], "Echo: hi");
}
