//! The vendor's own Stripe server with a key that is none, its API a loopback stand-in that keeps every request.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::peers::{node, source, stripe};
use crate::harness::process::command_lines;
use crate::harness::web::{Answer, Asked, Web};
use crate::harness::{Countersign, Shim, call, outcome};

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

/// The policy of these tests.
const POLICY: &str = r#"package countersign.policy.billing

allow contains {"rule": "billing.calls", "reason": "billing agents may ask"} if {
	input.method == "tools/call"
	input.tool.name in {"list_customers", "create_refund"}
}

hold contains {"rule": "billing.refund", "reason": "a person looks at every refund", "tier": "high"} if {
	input.tool.name == "create_refund"
}

deny contains {"rule": "billing.cancel", "reason": "subscriptions are cancelled by people"} if {
	input.tool.name == "cancel_subscription"
}
"#;

fn countersign(api: &Web, key: &str, environment: &str) -> Countersign {
    let upstream = upstream(api, json!({"secret": "stripe"}));
    Countersign::with_policy(POLICY)
        .env("STRIPE_KEY", key)
        .set("/secrets/stripe", json!({"env": "STRIPE_KEY"}))
        .server("stripe", json!({"vendor": "stripe", "environment": environment, "upstream": upstream}))
}

/// The whole purpose in one test: reads pass, a refund waits for a person, a cancellation is refused, and the key is
/// at the vendor's API and nowhere else.
#[tokio::test]
async fn a_refund_runs_once_and_only_when_approved() {
    let api = api().await;
    let mut daemon = countersign(&api, KEY, "sandbox").start().await;
    let mut client = Shim::start(daemon.shim_command("stripe"));
    client.initialize().await;
    let mut console = daemon.console().await;

    let customers = client.call("list", "list_customers", json!({"limit": 3})).await;
    assert!(customers["result"]["content"][0]["text"].as_str().unwrap().contains("cus_ada"), "{customers}");

    let arguments = r#"{"payment_intent":"pi_1","amount":1250}"#;
    let line = call("refund", "create_refund", json!("ARGUMENTS")).to_string().replace("\"ARGUMENTS\"", arguments);
    client.write(format!("{line}\n").as_bytes()).await;
    let hold = console.hold().await;
    assert_eq!((hold.tool.as_str(), hold.rule.as_str()), ("create_refund", "billing.refund"));
    assert_eq!(hold.arguments.as_str(), arguments);

    // The hold blocks nothing else of its session.
    let cancelled = client.call("cancel", "cancel_subscription", json!({"subscription": "sub_1"})).await;
    assert_eq!(outcome(&cancelled), Some("denied"), "{cancelled}");
    let words = cancelled["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("billing.cancel") && words.contains("subscriptions are cancelled by people"), "{words}");
    assert_eq!(lines(&api), ["GET /v1/customers?limit=3"], "nothing else has left");

    console.approve(&hold).await.unwrap();
    let refunded = client.answer("refund").await;
    assert!(refunded["result"]["content"][0]["text"].as_str().unwrap().contains("re_1"), "{refunded}");
    assert_eq!(lines(&api), ["GET /v1/customers?limit=3", "POST /v1/refunds"]);
    assert_eq!(api.asked()[1].text(), "payment_intent=pi_1&amount=1250", "what was approved, exactly");

    // Rejected: the agent reads why, and nothing leaves.
    client.send(&call("again", "create_refund", json!({"payment_intent": "pi_2", "amount": 99}))).await;
    let hold = console.hold().await;
    console.reject(&hold, "this invoice was already refunded").await.unwrap();
    let refused = client.answer("again").await;
    assert_eq!(outcome(&refused), Some("rejected"), "{refused}");
    assert!(refused["result"]["content"][0]["text"].as_str().unwrap().contains("already refunded"), "{refused}");
    assert_eq!(api.asked().len(), 2);

    assert!(authorizations(&api).iter().all(|value| *value == format!("Bearer {KEY}")), "the key is at the API");
    let mut places = vec![("client traffic".to_owned(), client.traffic())];
    places.push(("operator socket".to_owned(), console.traffic().into_bytes()));
    for pid in [daemon.pid(), client.pid()] {
        places.extend(command_lines(pid).into_iter().map(|line| ("a command line".to_owned(), line.into_bytes())));
    }
    assert!(places.len() >= 5, "daemon, upstream and shim were looked at: {}", places.len());
    daemon.stop().await;
    places.push(("log".to_owned(), daemon.log().into_bytes()));
    for entry in std::fs::read_dir(daemon.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    assert!(places.iter().any(|(name, bytes)| name.ends_with("audit.db") && !bytes.is_empty()));
    for (name, bytes) in places {
        assert!(!contains(&bytes, KEY.as_bytes()), "the key is in {name}");
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A key that proves another environment than the declared one: nothing starts, and the message says both.
#[tokio::test]
async fn a_key_of_another_environment_does_not_start() {
    let api = api().await;
    let live = "sk_live_CANARY4vYq8LmT2rWz6Nc0";
    for (environment, key, proves) in
        [("production", KEY, "not a production key"), ("sandbox", live, "a production key")]
    {
        let (status, said) = countersign(&api, key, environment).refuses().await;
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains("stripe") && said.contains(environment) && said.contains(proves), "{said}");
        assert!(said.contains("help:"), "{said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
    assert!(api.asked().is_empty());
}
