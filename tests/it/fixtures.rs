//! The fixtures themselves, without Countersign: what a test concludes from a spy is only worth what the spy is.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::http::HttpClient;
use crate::harness::{Act, Shim, Spy, call};

/// The command that a configuration would start.
fn command(upstream: &Value) -> Command {
    let stdio = &upstream["stdio"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut command = Command::new(text(&stdio["command"]));
    command.args(stdio["args"].as_array().unwrap().iter().map(text));
    command.envs(stdio["env"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))));
    command
}

#[tokio::test]
async fn the_spy_on_stdio_keeps_every_byte_and_answers() {
    let spy = Spy::stdio_with(|received, _| match received.tool() {
        "get_odd" => Some(vec![Act::Raw("not JSON\n".into()), Act::Exit(3)]),
        _ => None,
    })
    .await;
    let mut client = Shim::start(command(&spy.upstream));
    client.initialize().await;
    let answer = client.call("a", "get_balance", json!({"x": 1.0})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "done: get_balance");
    client.write(b"{\"jsonrpc\":\"2.0\",  \"id\":9,\"method\":\"ping\"}\n").await;
    assert_eq!(client.answer(9).await["result"], json!({}));
    let text = String::from_utf8(spy.bytes()).unwrap();
    assert!(text.contains(r#""x":1.0"#) && text.contains("\"2.0\",  \"id\":9"), "{text}");
    assert_eq!((spy.calls("get_balance"), spy.all_calls(), spy.closed()), (1, 1, 0));
    assert!(spy.processes()[0]["environ"].get("SPY_SOCKET").is_some());
    client.send(&call("b", "get_odd", json!({}))).await;
    assert_eq!(client.wait().await.code(), Some(3));
    spy.until("the spy's end", |spy| spy.closed() == 1).await;
}

#[tokio::test]
async fn the_spy_over_http_keeps_every_byte_and_answers() {
    let spy = Spy::http_with(|received, _| match received.tool() {
        "get_stream" => Some(vec![
            Act::Say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})),
            Act::Result(json!({"streamed": true})),
        ]),
        "get_odd" => Some(vec![Act::Http { status: 418, headers: vec![], body: "tea".into() }]),
        _ => None,
    })
    .await;
    let url = spy.upstream["http"]["url"].as_str().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches("/mcp").parse().unwrap();
    let mut client = HttpClient { path: "/mcp".into(), ..HttpClient::new(address, "", None) };
    client.initialize().await;
    assert_eq!(client.session.as_deref(), Some("0"));
    assert_eq!(client.call("a", "get_balance", json!({})).await["result"]["isError"], false);
    let mut reply = client.post(&call("b", "get_stream", json!({}))).await;
    assert_eq!(reply.message().await.unwrap()["method"], "notifications/message");
    assert_eq!(reply.message().await.unwrap()["result"]["streamed"], true);
    assert!(reply.message().await.is_none());
    let mut reply = client.post(&call("c", "get_odd", json!({}))).await;
    assert_eq!((reply.status, reply.text().await.as_str()), (418, "tea"));
    assert_eq!((spy.all_calls(), spy.calls("get_odd")), (3, 1));
}
