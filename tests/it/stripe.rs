//! The vendor's own Stripe server with a key that is none, its API a loopback stand-in that keeps every request.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::Shim;
use crate::harness::peers::{node, source, stripe};
use crate::harness::web::{Answer, Asked, Web};

/// Looks like a key of the vendor's test mode, and is found wherever it leaks.
const KEY: &str = "sk_test_CANARY4vYq8LmT2rWz6Nc0";

/// The vendor's API, as far as these tests go.
async fn api() -> Web {
    Web::start(|asked: Asked| async move {
        let form = |name: &str| {
            let text = asked.text();
            text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        match (asked.method.as_str(), asked.uri.path()) {
            ("GET", "/v1/customers") => Answer::json(&json!({
                "object": "list", "url": "/v1/customers", "has_more": false,
                "data": [{"id": "cus_ada", "object": "customer", "name": "Ada"}],
            })),
            ("POST", "/v1/refunds") => Answer::json(&json!({
                "id": "re_1", "object": "refund", "status": "succeeded", "amount": form("amount"),
            })),
            ("DELETE", path) if path.starts_with("/v1/subscriptions/") => Answer::json(&json!({
                "id": path.trim_start_matches("/v1/subscriptions/"), "object": "subscription", "status": "canceled",
            })),
            _ => Answer::new(404, &[("content-type", "application/json")], r#"{"error":{"message":"no such route"}}"#),
        }
    })
    .await
}

/// The vendor's server as an upstream; the key is put in by the configuration.
fn upstream(api: &Web, key: Value) -> Value {
    json!({"stdio": {
        "command": node(),
        "args": [stripe(), "--tools=all"],
        "env": {
            "STRIPE_SECRET_KEY": key,
            "NODE_OPTIONS": format!("--require {}", source("tests/peers/redirect.cjs").display()),
            "FAKE_API_PORT": api.address.port().to_string(),
        },
    }})
}

fn authorizations(api: &Web) -> Vec<String> {
    api.asked().iter().map(|asked| asked.header("authorization").to_owned()).collect()
}

fn lines(api: &Web) -> Vec<String> {
    api.asked().iter().map(Asked::line).collect()
}

#[tokio::test]
async fn the_vendors_server_works_without_us() {
    let api = api().await;
    let mut command = Command::new(node());
    command.arg(stripe()).arg("--tools=all").env_clear();
    let stdio = upstream(&api, json!(KEY));
    for (name, value) in stdio["stdio"]["env"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    let mut client = Shim::start(command);
    client.initialize().await;
    let customers = client.call("a", "list_customers", json!({"limit": 3})).await;
    assert!(customers["result"]["content"][0]["text"].as_str().unwrap().contains("cus_ada"), "{customers}");
    client.call("b", "create_refund", json!({"payment_intent": "pi_1", "amount": 1250})).await;
    client.call("c", "cancel_subscription", json!({"subscription": "sub_1"})).await;
    assert_eq!(lines(&api), ["GET /v1/customers?limit=3", "POST /v1/refunds", "DELETE /v1/subscriptions/sub_1"]);
    assert_eq!(api.asked()[1].text(), "payment_intent=pi_1&amount=1250");
    assert!(authorizations(&api).iter().all(|value| *value == format!("Bearer {KEY}")));
}
