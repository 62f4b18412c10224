//! What a server of the legacy era asks of its client while a call is open, and what becomes of the answers.

use serde_json::{Value, json};

use super::continuations::REFUNDS;
use crate::harness::spy::Received;
use crate::harness::{Act, Countersign, Daemon, Shim, Spy, call, outcome, request};

const QUESTION: &str = "q-1";

fn elicitation() -> Value {
    json!({"jsonrpc": "2.0", "id": QUESTION, "method": "elicitation/create", "params": {
        "message": "Sure?", "requestedSchema": {"type": "object", "properties": {}}, "_meta": {"progressToken": 7}}})
}

fn answer(content: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": QUESTION, "result": {"action": "accept", "content": content, "x": [1.0]}})
}

/// Asks in every call, and answers the call when the question is answered.
async fn asking() -> Spy {
    Spy::stdio_with(|received: &Received, before: &[Received]| {
        let result = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        let open = before.iter().rfind(|message| message.method() == "tools/call").map(|message| message.id().clone());
        match received.method() {
            "tools/call" => Some(vec![Act::Say(elicitation())]),
            "" if received.id() == QUESTION => {
                let text = if received.message.get("error").is_some() { "not answered" } else { "answered" };
                let done = json!({"jsonrpc": "2.0", "id": open, "result": result(text)});
                Some(vec![Act::Say(done)])
            }
            _ => None,
        }
    })
    .await
}

/// A session whose client offers elicitation and roots.
async fn session(daemon: &Daemon) -> Shim {
    let mut shim = daemon.raw_shim();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}, "roots": {"listChanged": true}},
        "clientInfo": {"name": "agent", "version": "0"}});
    shim.send(&request("hello", "initialize", params)).await;
    shim.answer("hello").await;
    shim
}

fn text(answer: &Value) -> &Value {
    &answer["result"]["content"][0]["text"]
}

async fn question(shim: &mut Shim) -> Value {
    shim.next().await.expect("a question")
}

#[tokio::test]
async fn an_answer_within_an_approved_call_needs_no_second_approval() {
    let spy = asking().await;
    let mut daemon = Countersign::with_policy(REFUNDS).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = session(&daemon).await;
    shim.send(&call(1, "create_refund", json!({"amount": 1}))).await;
    let hold = console.hold().await;
    console.approve(&hold).await.unwrap();
    assert_eq!(question(&mut shim).await, elicitation(), "it arrives as it was");
    // Progress of the answer passes, progress of anything else does not.
    let progress = |token: u32| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
    shim.send(&progress(8)).await;
    shim.send(&progress(7)).await;
    shim.send(&answer(json!({"ok": true}))).await;
    assert_eq!(text(&shim.answer(1).await), "answered");
    let reached: Vec<_> = spy.received().into_iter().map(|message| message.message).collect();
    assert_eq!(reached[reached.len() - 2..], [progress(7), answer(json!({"ok": true}))]);
    assert!(!reached.contains(&progress(8)));
    assert_eq!(console.list().await.len(), 1);
    drop(shim);
    daemon.stop().await;
    let records = daemon.records().await;
    let decided: Vec<Value> = records
        .iter()
        .filter(|record| record["kind"] == "decided")
        .map(|record| serde_json::from_str(record["body"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(decided[1]["method"], "elicitation/create");
    assert_eq!(decided[1]["continues"], hold.id.as_str());
    assert_eq!(records.iter().filter(|record| record["kind"] == "completed").count(), 2);
}

/// The server hears that there is no answer, and the call goes on without.
#[tokio::test]
async fn policy_rules_on_answers() {
    let spy = asking().await;
    let daemon = Countersign::with_policy(REFUNDS).upstream(&spy).start().await;
    let mut shim = session(&daemon).await;
    shim.send(&call(1, "get_balance", json!({}))).await;
    question(&mut shim).await;
    shim.send(&answer(json!({"doubt": true, "secret": "s3cr3t"}))).await;
    assert_eq!(text(&shim.answer(1).await), "not answered");
    assert!(!String::from_utf8(spy.bytes()).unwrap().contains("s3cr3t"));
}

#[tokio::test]
async fn an_answer_counts_once_and_only_while_its_call_is_open() {
    let spy = asking().await;
    let daemon = Countersign::with_policy(REFUNDS).upstream(&spy).start().await;
    let mut shim = session(&daemon).await;
    // Nothing was asked.
    shim.send(&answer(json!({"smuggled": 0}))).await;
    shim.send(&call(1, "get_balance", json!({}))).await;
    question(&mut shim).await;
    // The same answer twice.
    shim.write(format!("{}\n{}\n", answer(json!({"n": 1})), answer(json!({"smuggled": 1}))).as_bytes()).await;
    shim.answer(1).await;
    // The call was cancelled, so its question is over.
    shim.send(&call(2, "get_balance", json!({}))).await;
    question(&mut shim).await;
    shim.cancel(2).await;
    shim.send(&answer(json!({"smuggled": 2}))).await;
    shim.send(&request(3, "tools/list", json!({}))).await;
    shim.answer(3).await;
    let bytes = String::from_utf8(spy.bytes()).unwrap();
    assert!(!bytes.contains("smuggled"), "{bytes}");
    assert_eq!(bytes.matches(r#""content":{"n":1}"#).count(), 1);
}

/// Nobody is asked without a call, or for what was not offered; roots belong to no call.
#[tokio::test]
async fn questions_need_a_call_and_an_offer() {
    let spy = Spy::stdio_with(|received, _| {
        (received.method() == "logging/setLevel").then(|| {
            let ask =
                |id: &str, method: &str| Act::Say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}));
            let mut acts: Vec<_> =
                ["elicitation/create", "sampling/createMessage", "tasks/get", "tools/call", "roots/list", "ping"]
                    .map(|method| ask(method, method))
                    .into();
            acts.push(Act::Result(json!({})));
            acts
        })
    })
    .await;
    let policy = "package countersign.policy.roots\nallow contains {\"rule\": \"roots.all\", \"reason\": \"r\"} if input.method == \"roots/list\"\n";
    let daemon = Countersign::with_policy(policy).upstream(&spy).start().await;
    let mut shim = session(&daemon).await;
    shim.send(&request(1, "logging/setLevel", json!({"level": "info"}))).await;
    shim.answer(1).await;
    let (first, second) = (question(&mut shim).await, question(&mut shim).await);
    assert_eq!((&first["method"], &second["method"]), (&json!("roots/list"), &json!("ping")));
    let roots =
        json!({"jsonrpc": "2.0", "id": "roots/list", "result": {"roots": [{"uri": "file:///a", "vendor": 1.0}]}});
    let pong = json!({"jsonrpc": "2.0", "id": "ping", "result": {}});
    shim.send(&roots).await;
    shim.send(&pong).await;
    let reached = |message: &Value| spy.received().iter().any(|received| received.message == *message);
    spy.until("both answers", |_| reached(&roots) && reached(&pong)).await;
    let declined = |method: &str| spy.received().iter().any(|r| r.id() == method && r.message["error"].is_object());
    for method in ["elicitation/create", "sampling/createMessage", "tasks/get", "tools/call"] {
        spy.until(method, |_| declined(method)).await;
    }
    // This client has declared roots, so it may say that they changed.
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    shim.send(&changed).await;
    spy.until("the notification", |_| reached(&changed)).await;
}

/// An answer that policy wants a person for waits, and ends with its call.
#[tokio::test]
async fn an_answer_that_is_held_is_withdrawn_with_its_call() {
    let policy = format!(
        "{REFUNDS}\nhold contains {{\"rule\": \"refunds.answers\", \"reason\": \"r\"}} if input.method == \"elicitation/create\"\n"
    );
    let spy = asking().await;
    let daemon = Countersign::with_policy(&policy).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = session(&daemon).await;
    shim.send(&call(1, "get_balance", json!({}))).await;
    question(&mut shim).await;
    shim.send(&answer(json!({"n": 1}))).await;
    let hold = console.hold().await;
    assert_eq!((hold.method.as_str(), hold.tool.as_str()), ("elicitation/create", "elicitation/create"));
    console.approve(&hold).await.unwrap();
    assert_eq!(text(&shim.answer(1).await), "answered");
    shim.send(&call(2, "get_balance", json!({}))).await;
    question(&mut shim).await;
    shim.send(&answer(json!({"n": 2}))).await;
    let hold = console.hold().await;
    shim.cancel(2).await;
    console.state(&hold.id, "the withdrawal", |state| !state.is_pending()).await;
    assert!(console.approve(&hold).await.is_err());
    assert!(!String::from_utf8(spy.bytes()).unwrap().contains(r#""n":2"#));
    assert_eq!(outcome(&json!({})), None);
}
