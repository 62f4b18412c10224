//! Tasks of the upstream: they belong to the principal whose call became them.

use serde_json::{Value, json};

use super::continuations::REFUNDS;
use crate::harness::daemon::{OTHER_TOKEN, SERVER};
use crate::harness::http::HttpClient;
use crate::harness::{Act, Countersign, Spy, call, outcome, request, stateless};

const UNKNOWN: i64 = -32602;

fn extension() -> Value {
    json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}})
}

fn about(id: &str, method: &str, more: Value) -> Value {
    let mut message = stateless(request(id, method, json!({"taskId": "t-1"})), extension());
    message["params"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    message
}

/// Every refund becomes a task that asks one question.
async fn hosting() -> Spy {
    Spy::http_with(|received, _| {
        let task = |status: &str| {
            json!({"resultType": "complete", "taskId": "t-1", "status": status, "createdAt": "2026-11-21T00:00:00Z",
                "lastUpdatedAt": "2026-11-21T00:00:00Z", "ttlMs": null, "vendor": 1.0})
        };
        let question = json!({"method": "elicitation/create", "params": {"message": "Name?", "requestedSchema": {}}});
        Some(vec![Act::Result(match (received.method(), received.tool()) {
            ("tools/call", "create_refund") => {
                let mut created = task("working");
                created["resultType"] = json!("task");
                created
            }
            ("tasks/get", _) => {
                let mut state = task("input_required");
                state["inputRequests"] = json!({"name": question});
                state
            }
            ("tasks/update" | "tasks/cancel", _) => json!({"resultType": "complete"}),
            _ => return None,
        })])
    })
    .await
}

/// Held calls wait without a task of ours, so that the tasks here are the server's.
fn servers_own(countersign: Countersign) -> Countersign {
    countersign.set("/holds/tasks", json!("never"))
}

#[tokio::test]
async fn a_task_is_reached_by_the_principal_whose_call_became_it_and_by_no_other() {
    let spy = hosting().await;
    let daemon = servers_own(Countersign::with_policy(REFUNDS)).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let (owner, other) = (daemon.http(), HttpClient::new(daemon.address, SERVER, Some(OTHER_TOKEN)));
    let ask = async |client: &HttpClient, message: Value| {
        client.stateless(&message).await.answer(message["id"].clone()).await
    };
    let all = || {
        ["tasks/get", "tasks/cancel", "tasks/update"].map(|method| about("x", method, json!({"inputResponses": {}})))
    };
    // Before there is a task, nobody reaches it.
    for message in all() {
        assert_eq!(ask(&owner, message).await["error"]["code"], UNKNOWN);
    }
    let refund = stateless(call("1", "create_refund", json!({"amount": 1})), extension());
    let (created, _) = tokio::join!(ask(&owner, refund), async {
        let hold = console.hold().await;
        console.approve(&hold).await.unwrap();
    });
    assert_eq!(created["result"]["resultType"], "task", "{created}");
    let listen = |tasks: Value| {
        stateless(request("l", "subscriptions/listen", json!({"notifications": {"taskIds": tasks}})), extension())
    };
    for message in all().into_iter().chain([listen(json!(["t-1"])), listen(json!([7]))]) {
        assert_eq!(ask(&other, message.clone()).await["error"]["code"], UNKNOWN, "{message}");
    }
    assert!(!spy.received().iter().any(|received| received.method().starts_with("tasks/")));
    // A request that does not declare tasks hears that first, as from the server itself.
    for mut message in all() {
        message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let error = &ask(&other, message).await["error"];
        assert_eq!(
            (&error["code"], error["data"]["requiredCapabilities"]["extensions"].is_object()),
            (&json!(-32021), true)
        );
    }
    assert!(!spy.received().iter().any(|received| received.method().starts_with("tasks/")));
    // An answer to what was not asked is a call like any other.
    let update = |id: &str, responses: Value| about(id, "tasks/update", json!({"inputResponses": responses}));
    let (answer, ()) = tokio::join!(ask(&owner, update("2", json!({"name": {"action": "accept"}}))), async {
        let hold = console.hold().await;
        assert_eq!((hold.method.as_str(), hold.operation.as_str()), ("tasks/update", "create_refund"));
        console.reject(&hold, "nobody asked").await.unwrap();
    });
    assert_eq!(outcome(&answer), Some("rejected"));
    assert!(answer.get("error").is_some());
    // The poll brings the question, unchanged; then its answer passes, once.
    let polled = ask(&owner, about("3", "tasks/get", json!({}))).await;
    assert_eq!((&polled["result"]["vendor"], polled["result"]["inputRequests"].is_object()), (&json!(1.0), true));
    let doubt = ask(&owner, update("4", json!({"name": {"action": "accept", "content": {"doubt": true}}}))).await;
    assert_eq!(outcome(&doubt), Some("denied"));
    let (answer, ()) = tokio::join!(ask(&owner, update("5", json!({"name": {"action": "accept"}}))), async {
        let hold = console.hold().await;
        console.reject(&hold, "that question was used up").await.unwrap();
    });
    assert_eq!(outcome(&answer), Some("rejected"));
    assert_eq!(ask(&owner, about("6", "tasks/cancel", json!({}))).await["result"]["resultType"], "complete");
    let reached: Vec<_> = spy.received().iter().map(|received| received.method().to_owned()).collect();
    assert_eq!(reached, ["tools/call", "tasks/get", "tasks/cancel"]);
}

#[tokio::test]
async fn the_answer_that_a_task_asked_for_passes_without_a_second_prompt() {
    let spy = hosting().await;
    let daemon = servers_own(Countersign::with_policy(REFUNDS)).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let owner = daemon.http();
    let ask = async |message: Value| owner.stateless(&message).await.answer(message["id"].clone()).await;
    tokio::join!(ask(stateless(call("1", "create_refund", json!({})), extension())), async {
        let hold = console.hold().await;
        console.approve(&hold).await.unwrap();
    });
    ask(about("2", "tasks/get", json!({}))).await;
    let update =
        about("3", "tasks/update", json!({"inputResponses": {"name": {"action": "accept", "content": {"n": 1.0}}}}));
    assert_eq!(ask(update.clone()).await["result"]["resultType"], "complete");
    assert_eq!(spy.received().last().unwrap().message, update);
    assert_eq!(console.list().await.len(), 1);
}

/// Tasks of 2025-11-25: asked for by the client, listed, and their results fetched.
#[tokio::test]
async fn tasks_of_the_legacy_era_pass_and_lists_show_the_own_ones() {
    let spy = Spy::stdio_with(|received, _| {
        let task = |id: &str| json!({"taskId": id, "status": "working", "ttl": 60000, "vendor": [1]});
        Some(vec![Act::Result(match received.method() {
            "tools/call" => json!({"task": task("mine")}),
            "tasks/get" => task("mine"),
            "tasks/result" => {
                json!({"content": [], "_meta": {"io.modelcontextprotocol/related-task": {"taskId": "mine"}}})
            }
            "tasks/list" => json!({"tasks": [task("foreign"), task("mine"), {"odd": 1}], "nextCursor": "n", "x": 1}),
            "tasks/cancel" => task("mine"),
            _ => return None,
        })])
    })
    .await;
    let daemon = servers_own(Countersign::with_policy(REFUNDS)).upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    let mut started = call(1, "get_balance", json!({}));
    started["params"]["task"] = json!({"ttl": 60000});
    shim.send(&started).await;
    assert_eq!(shim.answer(1).await["result"]["task"]["taskId"], "mine");
    for (method, task, passes) in [
        ("tasks/get", "mine", true),
        ("tasks/result", "mine", true),
        ("tasks/get", "foreign", false),
        ("tasks/result", "foreign", false),
        ("tasks/cancel", "foreign", false),
        ("tasks/cancel", "mine", true),
    ] {
        let id = format!("{method} {task}");
        shim.send(&request(id.as_str(), method, json!({"taskId": task}))).await;
        let answer = shim.answer(id.as_str()).await;
        assert_eq!(answer.get("result").is_some(), passes, "{answer}");
        assert!(passes || answer["error"]["code"] == UNKNOWN, "{answer}");
    }
    shim.send(&request(2, "tasks/list", json!({"cursor": "c"}))).await;
    let mine = json!({"taskId": "mine", "status": "working", "ttl": 60000, "vendor": [1]});
    assert_eq!(shim.answer(2).await["result"], json!({"tasks": [mine], "nextCursor": "n", "x": 1}));
    // News of a task reach its owner.
    let news = |task: &str| json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": task, "status": "completed"}});
    spy.act(0, Act::Say(news("foreign")));
    spy.act(0, Act::Say(news("mine")));
    assert_eq!(shim.next().await, Some(news("mine")));
    assert!(!String::from_utf8(spy.bytes()).unwrap().contains("foreign"));
}
