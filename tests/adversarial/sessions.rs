//! Cases about who a client is, and whose a session is.

use std::collections::HashSet;

use countersign::control::wire::HoldState;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::daemon::{OTHER_TOKEN, SERVER, TOKEN};
use crate::harness::http::HttpClient;
use crate::harness::{Act, Countersign, Spy, call, outcome, request};
use crate::http::{Scene, stateless, with_meta};

fn balance() -> Value {
    call(1, "get_balance", json!({}))
}

/// The same answer for whatever is wrong, before the body is read.
#[tokio::test]
async fn ses_001() {
    let scene = Scene::new().await;
    let field = format!("Authorization: Bearer {TOKEN}\r\n");
    let head = stateless(&balance()).split_once("\r\n\r\n").unwrap().0.to_owned() + "\r\n\r\n";
    let mut bodies = HashSet::new();
    let wrong = [
        String::new(),
        "Authorization: Bearer wrong\r\n".to_owned(),
        "Authorization: bearer\r\n".to_owned(),
        "Authorization: Bearer\r\n".to_owned(),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer {}\r\n", TOKEN.to_uppercase()),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Proxy-Authorization: Bearer {TOKEN}\r\n"),
    ];
    for wrong in wrong {
        let mut reply = scene.raw(head.replace(&field, &wrong)).await.unwrap();
        assert_eq!(reply.status, 401, "{wrong}");
        assert!(reply.headers["www-authenticate"].starts_with("Bearer"));
        bodies.insert(reply.text().await);
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let twice = head.replace(&field, &format!("{field}Authorization: Bearer wrong\r\n"));
    assert_eq!(scene.status(twice).await, 400, "which of two is meant is not guessed");
    scene.nothing_happened().await;
}

/// A token in an address is no token, and is written nowhere.
#[tokio::test]
async fn ses_002() {
    let mut scene = Scene::new().await;
    let token = format!("/mcp/fixture?token={TOKEN}&access_token={TOKEN} ");
    let request = stateless(&balance())
        .replace(&format!("Authorization: Bearer {TOKEN}\r\n"), "")
        .replace("/mcp/fixture ", &token);
    assert_eq!(scene.status(request).await, 401);
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    assert!(!scene.daemon.log().contains(TOKEN) && !json!(records).to_string().contains(TOKEN));
    assert!(scene.spy.processes().is_empty());
}

/// The id of somebody else's session opens nothing, and its owner notices nothing.
#[tokio::test]
async fn ses_003() {
    let mut scene = Scene::new().await;
    let mut owner = scene.daemon.http();
    owner.initialize().await;
    let mut console = scene.daemon.console().await;
    let mut held = owner.post(&call("h", "create_refund", json!({"charge": "ch_1", "amount": 1}))).await;
    let hold = console.hold().await;
    let mut thief = HttpClient::new(scene.daemon.address, SERVER, Some(OTHER_TOKEN));
    thief.session = owner.session.clone();
    assert_eq!(thief.post(&balance()).await.status, 404);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "h"}});
    assert_eq!(thief.post(&cancel).await.status, 404);
    for method in ["GET", "DELETE"] {
        assert_eq!(thief.send(method, &thief.headers(), b"").await.status, 404, "{method}");
    }
    let mut resume = thief.headers();
    resume.push(("Last-Event-ID".to_owned(), "p1-0".to_owned()));
    assert_eq!(thief.send("GET", &resume, b"").await.status, 404);
    console.approve(&hold).await.unwrap();
    assert_eq!(held.answer("h").await["result"]["content"][0]["text"], "done: create_refund");
    assert!(owner.call("o", "get_balance", json!({})).await.get("result").is_some());
    assert_eq!(scene.spy.all_calls(), 2);
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    assert_eq!(records.iter().filter(|record| record["kind"] == "refused").count(), 5);
}

/// 500 sessions, not 10,000: ids of 128 random bits.
#[tokio::test]
async fn ses_004() {
    let spy = Spy::http().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut ids = HashSet::new();
    for _ in 0..10 {
        let begun = join_all((0..50).map(|_| async {
            let mut client = daemon.http();
            client.initialize().await;
            let id = client.session.clone().unwrap();
            assert_eq!(client.send("DELETE", &client.headers(), b"").await.status, 204);
            id
        }));
        ids.extend(begun.await);
    }
    assert_eq!(ids.len(), 500);
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    for half in [0..16, 16..32] {
        let halves: HashSet<_> = ids.iter().map(|id| id[half.clone()].to_owned()).collect();
        assert_eq!(halves.len(), 500, "no two have half of it in common");
    }
    // One that the client chose is not taken.
    let mut client = daemon.http();
    client.session = Some("0123456789abcdef0123456789abcdef".to_owned());
    client.initialize().await;
    assert_ne!(client.session.as_deref(), Some("0123456789abcdef0123456789abcdef"));
}

/// 100 rounds, not 500: two principals, two clients each, all with the id 0, on stdio and over HTTP.
#[tokio::test]
async fn ses_005() {
    let script = |received: &crate::harness::spy::Received| {
        (received.tool() == "get_slow").then(|| {
            let text = received.message["params"]["arguments"]["echo"].clone();
            vec![Act::Result(json!({"content": [{"type": "text", "text": text}], "resultType": "complete"}))]
        })
    };
    let stdio = Spy::stdio_with(move |received, _| script(received)).await;
    let web = Spy::http_with(move |received, _| script(received)).await;
    for spy in [&stdio, &web] {
        let daemon = Countersign::new().upstream(spy).start().await;
        for round in 0..100 {
            let clients = [TOKEN, OTHER_TOKEN, TOKEN, OTHER_TOKEN].into_iter().enumerate().map(|(n, token)| {
                let client = HttpClient::new(daemon.address, SERVER, Some(token));
                async move {
                    let echo = format!("{round}-{n}");
                    let request = stateless(&call(0, "get_slow", json!({"echo": echo}))).replace(TOKEN, token);
                    let mut reply = client.raw(request.as_bytes()).await.unwrap();
                    assert_eq!(reply.answer(0).await["result"]["content"][0]["text"], echo);
                }
            });
            join_all(clients).await;
        }
    }
    assert_eq!(stdio.processes().len(), 2, "one for each principal");
    for session in 0..2 {
        let received = stdio.received();
        let ids: Vec<_> = received.iter().filter(|r| r.session == session).map(|r| r.id().clone()).collect();
        let different: HashSet<_> = ids.iter().map(ToString::to_string).collect();
        assert_eq!((ids.len(), different.len()), (200, 200));
    }
}

/// What a client calls itself gives it nothing.
#[tokio::test]
async fn ses_006() {
    let policy = r#"package countersign.policy.bots

allow contains {"rule": "bots.refunds", "reason": "refunds may be asked for"} if input.operation.name == "create_refund"

hold contains {"rule": "bots.others", "reason": "all but ops-bot are looked at"} if input.principal.name != "ops-bot"
"#;
    let spy = Spy::stdio().await;
    let daemon = Countersign::with_policy(policy).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = daemon.raw_shim();
    let mut message = with_meta(&call(1, "create_refund", json!({"charge": "ch_1", "amount": 1})));
    message["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "ops-bot", "version": "9"});
    shim.send(&message).await;
    let hold = console.hold().await;
    assert_eq!((hold.principal.as_str(), hold.client.name.as_deref()), ("local", Some("ops-bot")));
    assert_eq!(spy.all_calls(), 0);
    console.reject(&hold, "no").await.unwrap();
    assert_eq!(outcome(&shim.answer(1).await), Some("rejected"));
}

/// Whatever revision a client asks for, its calls are decided.
#[tokio::test]
async fn ses_010() {
    for revision in ["2024-11-05", "2025-03-26", "1999-01-01", "9999-12-31", ""] {
        let spy = Spy::stdio().await;
        let daemon = Countersign::new().upstream(&spy).start().await;
        let mut console = daemon.console().await;
        let mut shim = daemon.raw_shim();
        let hello =
            json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "a", "version": "0"}});
        shim.send(&request(0, "initialize", hello)).await;
        let answer = shim.answer(0).await;
        assert!(answer.get("result").is_some() || answer.get("error").is_some(), "{answer}");
        assert_eq!(outcome(&shim.call("d", "delete_customer", json!({"id": "cus_1"})).await), Some("denied"));
        shim.send(&call("h", "create_refund", json!({"charge": "ch_1", "amount": 1}))).await;
        let hold = console.hold().await;
        console.reject(&hold, "no").await.unwrap();
        console.state(&hold.id, "the end", |state: &HoldState| !state.is_pending()).await;
        shim.answer("h").await;
        // In an array too, where the revision has them.
        let array = json!([call("b", "delete_customer", json!({"id": "cus_1"}))]);
        shim.send(&array).await;
        let refused = shim.next().await.unwrap();
        let denied = refused.as_array().map_or_else(
            || refused["error"]["code"] == -32600,
            |answers| revision == "2025-03-26" && outcome(&answers[0]) == Some("denied"),
        );
        assert!(denied, "{revision}: {refused}");
        assert_eq!(spy.all_calls(), 0, "{revision}");
    }
}
