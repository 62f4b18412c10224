//! Places of sessions: how many there are for all clients together, who waits for one, and who gives one up.

use serde_json::{Value, json};

use crate::harness::http::HttpClient;
use crate::harness::{Act, Countersign, Daemon, Spy, call, hello, request, within};

/// Starts a task for a call that asks for one.
async fn tasks() -> Spy {
    Spy::stdio_with(|received, _| {
        let task = json!({"taskId": "t", "status": "working", "ttl": 60000});
        (received.method() == "tools/call").then(|| vec![Act::Result(json!({"task": task}))])
    })
    .await
}

/// What a client is told that wants one session more.
async fn refused(client: &HttpClient) -> Option<String> {
    let answer = client.post(&request("hello", "initialize", hello())).await.answer("hello").await;
    answer["error"]["message"].as_str().map(str::to_owned)
}

async fn lives(client: &HttpClient) -> bool {
    client.post(&json!({"jsonrpc": "2.0", "method": "notifications/x"})).await.status == 202
}

#[tokio::test]
async fn there_are_so_many_sessions_of_all_clients_and_who_waits_gets_the_next_place() {
    let spy = tasks().await;
    let daemon = Countersign::new().upstream(&spy).set("/limits/sessions", json!(2)).start().await;
    let (mut one, other) = (daemon.http(), daemon.shim().await);
    one.initialize().await;
    let (waiting, mut shim) = (daemon.http(), daemon.raw_shim());
    shim.send(&request(0, "initialize", hello())).await;
    let (http, socket) = tokio::join!(refused(&waiting), shim.answer(0));
    let full = "2 sessions of all clients are open (limits.sessions)";
    assert!(http.as_deref().is_some_and(|said| said.contains(full)), "{http:?}");
    assert!(socket["error"]["message"].as_str().is_some_and(|said| said.contains(full)), "{socket}");
    // Who waits gets the place that the first one leaves, and the server hears of nobody before.
    assert_eq!(spy.processes().len(), 2);
    let leaves = async {
        let reply = one.send("DELETE", &one.headers(), b"").await;
        assert_eq!(reply.status, 204, "{reply:?}");
    };
    let (came, ()) = tokio::join!(refused(&waiting), leaves);
    assert_eq!(came, None);
    drop(other);
}

/// Tries until there is a place; says how often there was none.
async fn tries(daemon: &Daemon) -> (HttpClient, usize) {
    let tries = async {
        for turned_away in 0.. {
            let mut client = daemon.http();
            let mut reply = client.post(&request("hello", "initialize", hello())).await;
            let session = reply.headers.get("mcp-session-id").cloned();
            let answer: Value = reply.answer("hello").await;
            if answer.get("result").is_some() {
                client.adopt(session);
                return (client, turned_away);
            }
        }
        unreachable!("it tries for ever");
    };
    within("a place", tries).await
}

/// Half of `limits.session_idle` is how long a session has to be left alone here, and a client waits 5 s for a place: the
/// third one finds nobody who has been away for so long, and the next does.
#[tokio::test]
async fn the_session_that_was_left_alone_for_longest_goes_and_one_with_a_task_stays() {
    let spy = tasks().await;
    let setup = Countersign::new().upstream(&spy).set("/limits/sessions_per_principal", json!(2));
    let daemon = setup.set("/limits/session_idle", json!("18s")).start().await;
    let (mut first, mut second) = (daemon.http(), daemon.http());
    first.initialize().await;
    let mut start = call("c", "get_balance", json!({}));
    start["params"]["task"] = json!({"ttl": 60000});
    let started = first.post(&start).await.answer("c").await;
    assert_eq!(started["result"]["task"]["taskId"], "t", "{started}");
    second.initialize().await;
    let (third, turned_away) = tries(&daemon).await;
    assert!(turned_away > 0, "nobody was away for long");
    // The first one has been away for longer, but for its task.
    assert!(lives(&first).await && lives(&third).await && !lives(&second).await);
    // Of these two none goes.
    let full = refused(&daemon.http()).await;
    assert!(full.as_deref().is_some_and(|said| said.contains("limits.sessions_per_principal")), "{full:?}");
    assert!(lives(&first).await && lives(&third).await);
}
