//! What an upstream's HTTP says beside its messages, as it reaches clients on both fronts.

use serde_json::{Value, json};

use crate::harness::daemon::ALLOW_ALL;
use crate::harness::http::HttpClient;
use crate::harness::spy::Received;
use crate::harness::web::{Answer, Web};
use crate::harness::{Act, Countersign, Spy, call, hello, request, stateless};

fn no_answer(answer: &Value) -> &Value {
    &answer["error"]["data"]["dev.countersign/no_answer"]
}

/// A server whose session has ended says 404: the call was not carried out, the session is over for the client as well,
/// and a new one works. Nothing is sent again by itself.
#[tokio::test]
async fn a_session_that_a_server_forgot_is_over_for_the_client() {
    let forgetful = || {
        Spy::http_with(|received, _| {
            (received.tool() == "get_odd")
                .then(|| vec![Act::Http { status: 404, headers: Vec::new(), body: String::new() }])
        })
    };
    let assert_over = |answer: &Value| {
        assert_eq!(answer["error"]["code"], 4540, "{answer}");
        assert_eq!(no_answer(answer)["carried_out"], "no");
        assert_eq!(no_answer(answer)["retry"], "in_a_new_session");
    };
    let spy = forgetful().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    assert_over(&shim.call("a", "get_odd", json!({})).await);
    assert!(shim.next().await.is_none(), "the connection ends with the session");
    daemon.shim().await.call("b", "get_balance", json!({})).await;
    assert_eq!(spy.calls("get_odd"), 1);

    let spy = forgetful().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut client: HttpClient = daemon.http();
    client.initialize().await;
    assert_over(&client.call("a", "get_odd", json!({})).await);
    // As a server would say it: then a client initializes again.
    daemon.logs("session ended").await;
    assert_eq!(client.post(&call("b", "get_balance", json!({}))).await.status, 404);
    client.session = None;
    client.initialize().await;
    let answer = client.call("c", "get_balance", json!({})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "done: get_balance");
    assert_eq!((spy.calls("get_odd"), spy.calls("get_balance")), (1, 1));
}

#[tokio::test]
async fn a_server_that_wants_fewer_requests_is_understood() {
    for (status, code, carried_out, said) in
        [(429, 4529, "no", "Retry after 7 s."), (503, 4529, "unknown", "Ask nothing for 7 s.")]
    {
        let spy = Spy::http_with(move |received, _| {
            let headers = vec![("retry-after", "7".to_owned())];
            (received.tool() == "get_odd").then(|| vec![Act::Http { status, headers, body: String::new() }])
        })
        .await;
        let daemon = Countersign::new().upstream(&spy).start().await;
        let mut shim = daemon.shim().await;
        let answer = shim.call("a", "get_odd", json!({})).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(no_answer(&answer)["carried_out"], carried_out);
        assert_eq!(no_answer(&answer)["retry_after_seconds"], 7);
        assert!(answer["error"]["message"].as_str().unwrap().contains(said), "{answer}");
        daemon.logs("the upstream asks for fewer requests").await;
        assert_eq!(spy.calls("get_odd"), 1, "it is not sent again");
    }
}

/// A client on stdio, a server over HTTP, the era without sessions: what the headers have to repeat is made from the
/// judged message, the server's own errors arrive as they are, and taking a call back closes its stream.
#[tokio::test]
async fn a_stateless_client_on_stdio_reaches_a_server_over_http() {
    let web = Web::start(|asked| async move {
        let message: Value = serde_json::from_slice(&asked.body).unwrap();
        let answer = |member: &str, body: Value| json!({"jsonrpc": "2.0", "id": message["id"], member: body});
        match (asked.header("mcp-method"), asked.header("mcp-name")) {
            ("tools/list", "") => {
                let properties = json!({"region": {"type": "string", "x-mcp-header": "Region"}});
                let tools = json!([{"name": "query", "inputSchema": {"type": "object", "properties": properties}}]);
                Answer::json(&answer("result", json!({"tools": tools, "resultType": "complete"})))
            }
            ("tools/call", "query") => {
                Answer::json(&answer("result", json!({"content": [], "region": asked.header("mcp-param-region")})))
            }
            ("tools/call", "wait") => {
                let (sender, body) = tokio::sync::mpsc::channel(1);
                tokio::spawn(async move { sender.closed().await });
                Answer { status: 200, headers: vec![("content-type".into(), "text/event-stream".into())], body }
            }
            _ => {
                let error = json!({"code": -32022, "message": "no", "data": {"supported": ["x"], "n": 1}});
                let body = json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string();
                Answer::new(400, &[("content-type", "application/json")], body)
            }
        }
    })
    .await;
    let upstream = json!({"http": {"url": format!("http://{}/mcp", web.address), "allow_plain_http": true}});
    let daemon = Countersign::with_policy(ALLOW_ALL)
        .server("fixture", json!({"environment": "test", "upstream": upstream}))
        .start()
        .await;
    let mut shim = daemon.raw_shim();
    let modern = |message: Value| stateless(message, json!({}));
    shim.send(&modern(request(1, "tools/list", json!({})))).await;
    assert_eq!(shim.answer(1).await["result"]["tools"][0]["name"], "query");
    shim.send(&modern(call(2, "query", json!({"region": "eu-1"})))).await;
    assert_eq!(shim.answer(2).await["result"]["region"], "eu-1");
    shim.send(&modern(call(3, "other", json!({})))).await;
    assert_eq!(
        shim.answer(3).await["error"],
        json!({"code": -32022, "message": "no", "data": {"supported": ["x"], "n": 1}})
    );
    // Taken back: no message says so, and its id is free again.
    shim.send(&modern(call(4, "wait", json!({})))).await;
    web.until("the call", |asked| asked.iter().any(|asked| asked.header("mcp-name") == "wait")).await;
    shim.cancel(4).await;
    daemon.logs("nobody waited for it any more").await;
    shim.send(&modern(call(4, "query", json!({"region": "eu-2"})))).await;
    assert_eq!(shim.answer(4).await["result"]["region"], "eu-2");
    for asked in web.asked() {
        assert_eq!(asked.header("mcp-protocol-version"), "2026-07-28");
        assert!(asked.header("mcp-session-id").is_empty() && !asked.text().contains("notifications/cancelled"));
    }
}

/// Servers of the one revision that has arrays may answer with one: its members are heard, each for itself. In any other
/// revision an array is no message.
#[tokio::test]
async fn a_servers_array_is_heard_member_by_member_in_its_revision() {
    let script = |received: &Received, _: &[Received]| {
        let result = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
        let answer = json!({"jsonrpc": "2.0", "id": received.id(), "result": result("in an array")});
        let array = json!([log, null, {"jsonrpc": "2.0", "id": "nobody's", "result": {}}, answer]);
        (received.tool() == "get_several").then(|| vec![Act::Say(array), Act::Result(result("alone"))])
    };
    for over_http in [false, true] {
        for (revision, expected) in [("2025-03-26", "in an array"), ("2025-06-18", "alone")] {
            let spy = if over_http { Spy::http_with(script).await } else { Spy::stdio_with(script).await };
            let daemon = Countersign::new().upstream(&spy).start().await;
            let mut shim = daemon.raw_shim();
            let mut hello = hello();
            hello["protocolVersion"] = json!(revision);
            shim.send(&request("hello", "initialize", hello)).await;
            shim.answer("hello").await;
            shim.send(&call("a", "get_several", json!({}))).await;
            let mut logged = 0;
            let answer = loop {
                let message = shim.next().await.unwrap();
                match message["method"].as_str() {
                    Some("notifications/message") => logged += 1,
                    _ => break message,
                }
            };
            assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!("a"), &json!(expected)));
            assert_eq!(logged, usize::from(revision == "2025-03-26"));
            if revision != "2025-03-26" {
                daemon.logs("an array of messages, which belongs to 2025-03-26 alone").await;
            }
            // The connection is as good as before.
            assert_eq!(shim.call("b", "get_balance", json!({})).await["id"], "b");
        }
    }
}
