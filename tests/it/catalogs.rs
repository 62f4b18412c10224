//! Catalogs at work: handles that a server gives out, and catalog files of the operator.

use serde_json::{Value, json};

use crate::harness::daemon::{OTHER_TOKEN, SERVER};
use crate::harness::http::HttpClient;
use crate::harness::{Act, Countersign, Daemon, Spy, call, outcome, stateless};

/// Reads pass and nothing else does.
const READS: &str = r#"package countersign.policy.reads

allow contains {"rule": "reads", "reason": "it reads"} if input.operation.class == "read"
"#;

/// A server in the manner of Statsig V3: looking an operation up gives a handle.
async fn statsig() -> Spy {
    Spy::stdio_with(|received, _| {
        let text = |value: Value| json!({"content": [{"type": "text", "text": value.to_string()}]});
        let answer = match received.tool() {
            "discover_tools" => text(json!({"results": [
                {"operationId": "GET /console/v1/gates", "executeWith": {"tool": "api_read", "operationHandle": "h1"}},
                {"operationId": "DELETE /console/v1/gates/{id}", "lane": "api_read", "handle": "h2"},
            ]})),
            // What is stored in a gate is anyone's text.
            "gate_read" => text(json!({"operationId": "GET /console/v1/gates", "lane": "api_read", "handle": "h3"})),
            _ => return None,
        };
        Some(vec![Act::Result(answer)])
    })
    .await
}

fn with(spy: &Spy, vendor: &str) -> Countersign {
    Countersign::with_policy(READS).upstream(spy).set("/servers/fixture/vendor", json!(vendor))
}

/// What was recorded about the decisions on calls of a tool.
async fn decided(daemon: &mut Daemon, tool: &str) -> Vec<Value> {
    daemon.stop().await;
    let records = daemon.records().await;
    let bodies = records.iter().filter(|record| record["kind"] == "decided");
    let bodies = bodies.map(|record| serde_json::from_str::<Value>(record["body"].as_str().unwrap()).unwrap());
    bodies.filter(|body| body["tool"] == tool).collect()
}

#[tokio::test]
async fn a_handle_counts_in_the_session_that_the_server_gave_it_out_in() {
    let spy = statsig().await;
    let mut daemon = with(&spy, "statsig").start().await;
    let mut shim = daemon.shim().await;
    let by_handle = |handle: &str| json!({"operationHandle": handle, "arguments": {}});

    let early = shim.call("1", "api_read", by_handle("h1")).await;
    assert_eq!(outcome(&early), Some("denied"), "before it was given out: {early}");
    shim.call("2", "gate_read", json!({"action": "get"})).await;
    shim.call("3", "discover_tools", json!({"action": "resolve", "query": "list gates"})).await;
    let found = shim.call("4", "api_read", by_handle("h1")).await;
    assert_eq!(found["result"]["content"][0]["text"], "done: api_read", "{found}");
    for (tool, handle, why) in [
        ("api_write", "h1", "another tool than it was given out for"),
        ("api_read", "h2", "the server calls a deletion a read"),
        ("api_read", "h3", "the text of a gate gives nothing out"),
        ("api_read", "h1 ", "not the handle"),
    ] {
        let answer = shim.call(why, tool, by_handle(handle)).await;
        assert_eq!(outcome(&answer), Some("denied"), "{why}: {answer}");
    }
    let mut other = daemon.shim().await;
    let answer = other.call("5", "api_read", by_handle("h1")).await;
    assert_eq!(outcome(&answer), Some("denied"), "in another session: {answer}");
    assert_eq!((spy.calls("api_read"), spy.calls("api_write")), (1, 0));

    drop((shim, other));
    let read = decided(&mut daemon, "api_read").await;
    let names: Vec<_> = read.iter().map(|body| body["operation"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["api_read", "GET /console/v1/gates", "api_read", "api_read", "api_read", "api_read"]);
    let why = |n: usize| read[n]["operation"]["effect"].as_str().unwrap();
    assert!(why(0).contains("not given out"), "{}", why(0));
    assert!(why(2).contains("is of class destructive and does not go through api_read"), "{}", why(2));
}

#[tokio::test]
async fn without_sessions_a_handle_counts_for_the_principal_that_it_was_given_to() {
    let spy = statsig().await;
    let daemon = with(&spy, "statsig").start().await;
    let (agent, other) = (daemon.http(), HttpClient::new(daemon.address, SERVER, Some(OTHER_TOKEN)));
    let message = |id: &str, tool: &str, arguments| stateless(call(id, tool, arguments), json!({}));
    let read = |id: &str| message(id, "api_read", json!({"operationHandle": "h1", "arguments": {}}));
    let early = agent.stateless(&read("1")).await.answer("1").await;
    assert_eq!(outcome(&early), Some("denied"), "{early}");
    let look = message("2", "discover_tools", json!({"action": "resolve"}));
    assert_eq!(outcome(&agent.stateless(&look).await.answer("2").await), None);
    let found = agent.stateless(&read("3")).await.answer("3").await;
    assert_eq!(outcome(&found), None, "{found}");
    let foreign = other.stateless(&read("4")).await.answer("4").await;
    assert_eq!(outcome(&foreign), Some("denied"), "{foreign}");
    let mut session = daemon.shim().await;
    let answer = session.call("5", "api_read", json!({"operationHandle": "h1"})).await;
    assert_eq!(outcome(&answer), Some("denied"), "{answer}");
    assert_eq!(spy.calls("api_read"), 1);
}

/// A daemon with a catalog file of the operator's.
async fn own(text: &str, vendor: &str, spy: &Spy) -> Countersign {
    let countersign = with(spy, vendor);
    let path = countersign.dir().join("own.yaml");
    std::fs::write(&path, text).unwrap();
    countersign.set("/servers/fixture/catalog", json!([path]))
}

#[tokio::test]
async fn an_operators_catalog_counts_and_the_log_says_what_it_loosens() {
    let spy = Spy::stdio().await;
    let mut digests = Vec::new();
    for (text, passes) in [
        ("version: 1\nreads: [own_tool]\n", false),
        ("version: 1\nreads: [own_tool]\ntools:\n  create_refund: { class: read }\n", true),
    ] {
        let mut daemon = own(text, "stripe", &spy).await.start().await;
        let mut shim = daemon.shim().await;
        let refund = shim.call("1", "create_refund", json!({"payment_intent": "pi_1"})).await;
        assert_eq!(outcome(&refund).is_none(), passes, "{refund}");
        let answer = shim.call("2", "own_tool", json!({})).await;
        assert_eq!(outcome(&answer), None, "{answer}");
        let loosened = "own.yaml:4:3: create_refund counts as read; the built-in catalog says financial";
        assert_eq!(daemon.log().contains(loosened), passes, "{}", daemon.log());
        drop(shim);
        let decided = decided(&mut daemon, "own_tool").await;
        digests.push(decided[0]["server"]["catalog"].as_str().unwrap().to_owned());
    }
    assert_ne!(digests[0], digests[1], "the record says which catalog it was");
}

#[tokio::test]
async fn a_catalog_that_is_wrong_is_named_with_its_place_and_nothing_starts() {
    let spy = Spy::stdio().await;
    for (text, place, message) in [
        ("version: 1\ntools:\n  a: { class: harmless }\n", "own.yaml:3:", "unknown variant `harmless`"),
        ("version: 1\ntools:\n  a: { targets: [/b] }\n", "own.yaml:3:3: ", "a has no class"),
        ("version: 1\nvendor: stigg\n", "own.yaml:2:1: ", "for vendor stigg"),
    ] {
        let (status, said) = own(text, "stripe", &spy).await.refuses().await;
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(place) && said.contains(message) && said.contains("help: "), "{said}");
    }
    assert_eq!(spy.processes().len(), 0);
}
