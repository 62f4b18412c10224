//! Cases about the header fields that repeat the message, and about those that a client should not send.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::daemon::{SERVER, TOKEN};
use crate::harness::http::HttpClient;
use crate::harness::web::{Answer, Web};
use crate::harness::{Act, Countersign, Spy, call, request};
use crate::http::{Scene, post, stateless, with_meta};

const MISMATCH: (u16, i64) = (400, -32020);

fn balance() -> Value {
    call(1, "get_balance", json!({}))
}

fn delete() -> Value {
    call(1, "delete_customer", json!({"id": "cus_1"}))
}

/// The message under these fields.
fn under(fields: &str, message: &Value) -> String {
    post(fields, &with_meta(message).to_string())
}

#[tokio::test]
async fn hdr_001() {
    let mut scene = Scene::new().await;
    let refund = call(1, "create_refund", json!({"charge": "ch_1", "amount": 100}));
    let request = under("Mcp-Method: tools/list\r\nMcp-Name: create_refund\r\n", &refund);
    assert_eq!(scene.refusal(request).await, MISMATCH);
    assert!(scene.daemon.console().await.list().await.is_empty());
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    assert_eq!(records.iter().filter(|record| record["kind"] == "refused").count(), 1);
    assert!(scene.spy.processes().is_empty(), "nothing was started for it");
}

#[tokio::test]
async fn hdr_002() {
    let scene = Scene::new().await;
    let request = under("Mcp-Method: tools/call\r\nMcp-Name: get_balance\r\n", &delete());
    assert_eq!(scene.refusal(request).await, MISMATCH);
    scene.nothing_happened().await;
}

#[tokio::test]
async fn hdr_003() {
    let scene = Scene::new().await;
    for fields in ["Mcp-Name: get_balance\r\n", "Mcp-Method: tools/call\r\n", ""] {
        assert_eq!(scene.refusal(under(fields, &balance())).await, MISMATCH, "{fields}");
    }
    let both = "Mcp-Method: tools/call\r\nMcp-Name: get_balance\r\n";
    let request = under(both, &balance()).replace("MCP-Protocol-Version: 2026-07-28\r\n", "");
    assert_eq!(scene.refusal(request).await, MISMATCH);
    // A field about a name where the body has none.
    let nameless = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}});
    assert_eq!(scene.refusal(under(both, &nameless)).await, MISMATCH);
    scene.nothing_happened().await;
}

/// Compared is what the field means, not how it is written.
#[tokio::test]
async fn hdr_005() {
    let scene = Scene::new().await;
    let fields = "Mcp-Method: tools/call\r\nMcp-Name: =?base64?Z2V0X2JhbGFuY2U=?=\r\n";
    assert_eq!(scene.refusal(under(fields, &delete())).await, MISMATCH);
    for odd in ["=?base64?Z2V0X2JhbGFuY2U?=", "=?base64?!!?=", "=?base64?/w==?=", "=?BASE64?Z2V0X2JhbGFuY2U=?="] {
        let fields = format!("Mcp-Method: tools/call\r\nMcp-Name: {odd}\r\n");
        assert_eq!(scene.refusal(under(&fields, &balance())).await, MISMATCH, "{odd}");
    }
    let mut reply = scene.raw(under(fields, &balance())).await.unwrap();
    assert_eq!(reply.answer(1).await["result"]["content"][0]["text"], "done: get_balance");
    assert_eq!((scene.spy.calls("get_balance"), scene.spy.all_calls()), (1, 1));
}

#[tokio::test]
async fn hdr_008() {
    let scene = Scene::new().await;
    let fields = |method: &str, name: &str| format!("Mcp-Method: {method}\r\nMcp-Name: {name}\r\n");
    let odd = [
        fields("Tools/Call", "get_balance"),
        fields("tools/call", "get_balance\u{a0}"),
        fields("tools/call", "Get_balance"),
        fields("tools/call", "get_balance") + "Mcp-Name: get_balance\r\n",
        fields("tools/call", "get_balance, get_balance"),
    ];
    for fields in odd {
        assert_eq!(scene.refusal(under(&fields, &balance())).await, MISMATCH, "{fields:?}");
    }
    let mut reply = scene.raw(under(&fields("tools/call", "  get_balance  "), &balance())).await.unwrap();
    assert_eq!(reply.answer(1).await["result"]["content"][0]["text"], "done: get_balance");
    assert_eq!(scene.spy.all_calls(), 1);
}

/// The upstream sees the key that the configuration gives it, and nothing of what the client sent beside the message.
#[tokio::test]
async fn hdr_011() {
    let seen = Arc::<Mutex<Vec<http::HeaderMap>>>::default();
    let kept = seen.clone();
    let web = Web::start(move |asked| {
        kept.lock().unwrap().push(asked.headers.clone());
        let id = serde_json::from_slice::<Value>(&asked.body).unwrap()["id"].clone();
        async move { Answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}})) }
    })
    .await;
    let upstream = json!({"http": {
        "url": format!("http://{}/mcp", web.address), "allow_plain_http": true,
        "headers": {"Authorization": {"secret": "upstream_key", "prefix": "Bearer "}},
    }});
    let daemon = Countersign::new()
        .env("UPSTREAM_KEY", "key_of_the_proxy_4kQ8")
        .set("/secrets/upstream_key", json!({"env": "UPSTREAM_KEY"}))
        .server(SERVER, json!({"environment": "sandbox", "upstream": upstream}))
        .start()
        .await;
    let theirs = "Cookie: sid=attacker\r\nX-Api-Key: attacker\r\nStripe-Account: acct_attacker\r\n\
                  Proxy-Authorization: Basic attacker\r\nIdempotency-Key: attacker\r\nMcp-Session-Id: attacker\r\n\
                  Mcp-Param-Region: attacker\r\nX-Forwarded-For: attacker\r\nAccept:";
    let request = stateless(&balance()).replace("Accept:", theirs);
    let client = HttpClient::new(daemon.address, SERVER, Some(TOKEN));
    let mut reply = client.raw(request.as_bytes()).await.unwrap();
    assert!(reply.answer(1).await.get("result").is_some());
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["authorization"], "Bearer key_of_the_proxy_4kQ8");
    let text = format!("{seen:?}");
    assert!(!text.contains("attacker") && !text.contains(TOKEN), "{text}");
}

/// A tool whose annotations cannot be obeyed is gone where the proxy would have to obey them: on HTTP, in the stateless
/// era. Where they mean nothing it is listed and can be called.
#[tokio::test]
async fn hdr_013() {
    let property = |kind: &str, field: &str| json!({"type": kind, "x-mcp-header": field});
    let tools = [
        ("get_balance", json!({"region": property("string", "Region")})),
        ("get_empty", json!({"a": property("string", "")})),
        ("get_split", json!({"a": property("string", "A\r\nX: y")})),
        ("get_twice", json!({"a": property("string", "Region"), "b": property("string", "REGION")})),
        ("get_number", json!({"a": property("number", "Amount")})),
        ("get_astray", json!({"a": {"type": "array", "items": property("string", "Item")}})),
    ];
    let bad: Vec<&str> = tools.iter().map(|(name, _)| *name).skip(1).collect();
    let all: Vec<Value> = tools
        .iter()
        .map(|(name, properties)| json!({"name": name, "inputSchema": {"type": "object", "properties": properties}}))
        .collect();
    for over_http in [true, false] {
        let listed = all.clone();
        let acts = move |method: &str| {
            (method == "tools/list").then(|| vec![Act::Result(json!({"resultType": "complete", "tools": listed}))])
        };
        let spy = match over_http {
            true => Spy::http_with(move |received, _| acts(received.method())).await,
            false => Spy::stdio_with(move |received, _| acts(received.method())).await,
        };
        let mut daemon = Countersign::new().upstream(&spy).start().await;
        let client = daemon.http();
        let ask = async |message: Value| client.stateless(&with_meta(&message)).await.answer(1).await;
        let list = ask(request(1, "tools/list", json!({}))).await["result"]["tools"].clone();
        assert_eq!(list.as_array().unwrap(), if over_http { &all[..1] } else { &all[..] });
        for name in &bad {
            let answer = ask(call(1, name, json!({}))).await;
            if over_http {
                daemon.logs(&format!("tool=\"{name}\"")).await;
                assert_eq!(answer["error"]["code"], -32602, "{answer}");
                assert!(answer["error"]["message"].as_str().unwrap().contains("x-mcp-header"), "{answer}");
            } else {
                assert_eq!(answer["result"]["content"][0]["text"], format!("done: {name}"));
            }
        }
        assert_eq!(ask(balance()).await["result"]["content"][0]["text"], "done: get_balance");
        // In the era with sessions nobody knows the annotation.
        let mut shim = daemon.shim().await;
        shim.send(&request(2, "tools/list", json!({}))).await;
        assert_eq!(shim.answer(2).await["result"]["tools"], json!(all));
        let answer = shim.call("3", "get_twice", json!({})).await;
        assert_eq!(answer["result"]["content"][0]["text"], "done: get_twice");
        assert_eq!(spy.calls("get_split"), usize::from(!over_http));
        daemon.stop().await;
        let refused = daemon.records().await.iter().filter(|record| record["kind"] == "refused").count();
        assert_eq!(refused, if over_http { bad.len() } else { 0 });
    }
}
