//! The client-facing wire with everything behind it: requests that stand alone, arrays, streams that are lost.

use countersign::call::Outcome;
use countersign::control::wire::HoldState;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::daemon::{ALLOW_ALL, SERVER};
use crate::harness::http::{HttpClient, Reply};
use crate::harness::web::{Answer, Asked, Web};
use crate::harness::{Act, Countersign, Spy, call, hello, outcome, request};

/// Sends a request of the stateless era, with the headers that repeat its body.
async fn stateless(client: &HttpClient, message: Value) -> Reply {
    client.stateless(&crate::harness::stateless(message, json!({}))).await
}

/// A child that answers with the arguments that it got, after progress where the client wants it.
async fn echo() -> Spy {
    Spy::stdio_with(|received, _| {
        let params = &received.message["params"];
        if received.tool() != "get_echo" {
            return None;
        }
        let text = params["arguments"]["text"].clone();
        let result = Act::Result(json!({"content": [{"type": "text", "text": text}], "resultType": "complete"}));
        let token = &params["_meta"]["progressToken"];
        if token.is_null() {
            return Some(vec![result]);
        }
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1, "message": text}});
        Some(vec![Act::Say(progress), result])
    })
    .await
}

/// Fifty clients that all call their request 0, with the same progress token.
#[tokio::test]
async fn stateless_requests_share_one_child_and_nobody_gets_what_is_another_ones() {
    let spy = echo().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let names = [json!(0), json!("0"), json!("\u{e9}"), json!(-7)];
    let calls = (0..50).map(|n| {
        let (client, id) = (daemon.http(), names[n % 4].clone());
        async move {
            let mut message = call(id.clone(), "get_echo", json!({"text": n.to_string()}));
            let token = if n % 2 == 0 { json!("t") } else { json!(1) };
            message["params"]["_meta"]["progressToken"] = token.clone();
            let mut reply = stateless(&client, message).await;
            assert_eq!(reply.status, 200);
            let mut progress = 0;
            loop {
                let message = reply.message().await.expect("an answer");
                if message["method"] == "notifications/progress" {
                    assert_eq!(message["params"]["progressToken"], token);
                    assert_eq!(message["params"]["message"], n.to_string());
                    progress += 1;
                    continue;
                }
                assert_eq!((&message["id"], &message["result"]["content"][0]["text"]), (&id, &json!(n.to_string())));
                return progress;
            }
        }
    });
    let progress: usize = join_all(calls).await.into_iter().sum();
    assert_eq!(progress, 50);
    assert_eq!(spy.processes().len(), 1);
    let received = spy.received();
    let mut ids: Vec<_> = received.iter().map(|received| received.id().as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 50, "every request has a name of its own");
    daemon.stop().await;
    assert_eq!(daemon.records().await.iter().filter(|record| record["kind"] == "completed").count(), 50);
}

#[tokio::test]
async fn principals_do_not_share_a_child() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    for token in [crate::harness::daemon::TOKEN, crate::harness::daemon::OTHER_TOKEN] {
        let client = HttpClient::new(daemon.address, crate::harness::daemon::SERVER, Some(token));
        for _ in 0..2 {
            stateless(&client, call(1, "get_balance", json!({}))).await.answer(1).await;
        }
    }
    assert_eq!(spy.processes().len(), 2);
}

#[tokio::test]
async fn a_child_that_died_is_replaced_and_nothing_is_sent_again() {
    let spy = Spy::stdio_with(|received, _| (received.tool() == "get_invoice").then(|| vec![Act::Exit(3)])).await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let client = daemon.http();
    stateless(&client, call(1, "get_balance", json!({}))).await.answer(1).await;
    let lost = stateless(&client, call(1, "get_invoice", json!({}))).await.answer(1).await;
    assert!(lost["error"]["message"].as_str().unwrap().contains("not known"), "{lost}");
    let answer = stateless(&client, call(1, "get_balance", json!({}))).await.answer(1).await;
    assert_eq!(answer["result"]["content"][0]["text"], "done: get_balance");
    assert_eq!((spy.processes().len(), spy.calls("get_invoice"), spy.calls("get_balance")), (2, 1, 2));
}

#[tokio::test]
async fn a_child_that_nobody_asks_for_long_is_stopped() {
    let spy = Spy::stdio().await;
    let countersign = Countersign::new().upstream(&spy).set("/limits/session_idle", json!("300ms"));
    let daemon = countersign.start().await;
    let client = daemon.http();
    for round in 1..=2 {
        stateless(&client, call(1, "get_balance", json!({}))).await.answer(1).await;
        assert_eq!(spy.processes().len(), round);
        spy.until("the child's end", |spy| spy.closed() == round).await;
    }
}

/// The upstream is told under the name that it knows, and the other request goes on.
#[tokio::test]
async fn a_closed_stream_cancels_its_own_request_only() {
    let spy = Spy::stdio_with(|received, before| match received.tool() {
        "get_slow" => Some(Vec::new()),
        "get_release" => {
            let slow = before.iter().rfind(|received| received.tool() == "get_slow").unwrap();
            let answer =
                json!({"jsonrpc": "2.0", "id": slow.id(), "result": {"content": [], "resultType": "complete"}});
            Some(vec![Act::Say(answer), Act::Result(json!({"content": [], "resultType": "complete"}))])
        }
        _ => None,
    })
    .await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let slow = |mark: &'static str| {
        let client = daemon.http();
        tokio::spawn(async move { stateless(&client, call("same", "get_slow", json!({"mark": mark}))).await })
    };
    let first = slow("first").await.unwrap();
    let second = slow("second").await.unwrap();
    spy.until("both", |spy| spy.calls("get_slow") == 2).await;
    drop(first);
    let cancels = |spy: &Spy| -> Vec<Value> {
        let cancels = spy.received().into_iter().filter(|received| received.method() == "notifications/cancelled");
        cancels.map(|received| received.message["params"]["requestId"].clone()).collect()
    };
    spy.until("the cancellation", |spy| !cancels(spy).is_empty()).await;
    let received = spy.received();
    let first = received.iter().find(|received| received.message["params"]["arguments"]["mark"] == "first").unwrap();
    assert_eq!(cancels(&spy), [first.id().clone()]);
    stateless(&daemon.http(), call("same", "get_release", json!({}))).await.answer("same").await;
    let mut second = second;
    assert_eq!(second.answer("same").await["result"]["content"], json!([]));
    assert_eq!(spy.processes().len(), 1);
}

/// Two of one principal wait in the same session: closing one stream withdraws that hold and leaves the other.
#[tokio::test]
async fn a_closed_stream_withdraws_its_own_hold_only() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let refund = |amount: usize| call(1, "create_refund", json!({"charge": "ch_1", "amount": amount}));
    let one = stateless(&daemon.http(), refund(1)).await;
    let first = console.hold().await;
    let mut two = stateless(&daemon.http(), refund(2)).await;
    let second = console.hold().await;
    drop(one);
    let withdrawn = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Withdrawn, .. });
    console.state(&first.id, "the withdrawal", withdrawn).await;
    console.approve(&second).await.unwrap();
    assert_eq!(two.answer(1).await["result"]["content"][0]["text"], "done: create_refund");
    assert_eq!(spy.calls("create_refund"), 1);
}

/// A session of the revision that has arrays.
fn older() -> Value {
    let mut hello = hello();
    hello["protocolVersion"] = json!("2025-03-26");
    request("hello", "initialize", hello)
}

fn several() -> Value {
    json!([
        call("read", "get_balance", json!({})),
        call("held", "create_refund", json!({"charge": "ch_1", "amount": 100})),
        call("denied", "delete_customer", json!({"id": "cus_1"})),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        request("unknown", "tools/invoke", json!({})),
    ])
}

fn of<'a>(answers: &'a [Value], id: &str) -> &'a Value {
    answers.iter().find(|answer| answer["id"] == id).unwrap_or_else(|| panic!("no {id} in {answers:?}"))
}

fn judged(answers: &[Value]) {
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert_eq!(of(answers, "read")["result"]["content"][0]["text"], "done: get_balance");
    assert_eq!(of(answers, "held")["result"]["content"][0]["text"], "done: create_refund");
    assert_eq!(outcome(of(answers, "denied")), Some("denied"));
    assert_eq!(of(answers, "unknown")["error"]["code"], -32601);
}

/// Every item is decided as if it had come alone, and none waits for another one's ruling.
#[tokio::test]
async fn the_items_of_an_array_are_judged_one_by_one() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = daemon.raw_shim();
    shim.send(&older()).await;
    shim.answer("hello").await;
    shim.send(&several()).await;
    let hold = console.hold().await;
    spy.until("the read", |spy| spy.calls("get_balance") == 1).await;
    assert_eq!(shim.call("alone", "get_balance", json!({})).await["id"], "alone");
    console.approve(&hold).await.unwrap();
    let array = shim.next().await.unwrap();
    judged(array.as_array().unwrap());

    let mut client = daemon.http();
    let mut begun = client.post(&older()).await;
    client.session = begun.headers.get("mcp-session-id").cloned();
    begun.answer("hello").await;
    let mut headers = client.headers();
    headers.retain(|(name, _)| name != "MCP-Protocol-Version");
    let mut reply = client.send("POST", &headers, several().to_string().as_bytes()).await;
    assert_eq!(reply.headers["content-type"], "text/event-stream");
    let hold = console.hold().await;
    console.approve(&hold).await.unwrap();
    let mut answers = Vec::new();
    while let Some(answer) = reply.message().await {
        answers.push(answer);
    }
    judged(&answers);
    let reads = json!([call(1, "get_balance", json!({})), call(2, "get_invoice", json!({}))]);
    let mut reply = client.send("POST", &headers, reads.to_string().as_bytes()).await;
    assert_eq!(reply.message().await.unwrap().as_array().unwrap().len(), 2);
    assert_eq!((spy.calls("create_refund"), spy.calls("delete_customer")), (2, 0));
    assert!(!String::from_utf8(spy.bytes()).unwrap().contains('['), "no array reached the upstream");
    daemon.stop().await;
    let decided = daemon.records().await.iter().filter(|record| record["kind"] == "decided").count();
    assert_eq!(decided, 9, "every call has a decision of its own");
}

/// The next event with an id, and the id.
async fn event_id(reply: &mut Reply) -> String {
    loop {
        let event = reply.event().await.expect("an event with an id");
        if let Some(id) = event.lines().find_map(|line| line.strip_prefix("id: ")) {
            return id.to_owned();
        }
    }
}

async fn resume(client: &HttpClient, last: &str) -> Reply {
    let mut headers = client.headers();
    headers.push(("Last-Event-ID".to_owned(), last.to_owned()));
    client.send("GET", &headers, b"").await
}

/// A client that loses its connection while its call waits for an operator, and comes back, gets the answer.
#[tokio::test]
async fn a_held_call_outlives_a_lost_stream_that_is_resumed() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut client = daemon.http();
    client.initialize().await;
    let refund = call(1, "create_refund", json!({"charge": "ch_1", "amount": 100}));
    let mut reply = client.post(&refund).await;
    let hold = console.hold().await;
    let last = event_id(&mut reply).await;
    drop(reply);
    let mut back = resume(&client, &last).await;
    assert_eq!((back.status, back.headers["content-type"].as_str()), (200, "text/event-stream"));
    console.approve(&hold).await.unwrap();
    assert_eq!(back.answer(1).await["result"]["content"][0]["text"], "done: create_refund");
    assert_eq!(spy.calls("create_refund"), 1);
    // The answer comes while nobody reads, too.
    let mut reply = client.post(&refund).await;
    let hold = console.hold().await;
    let last = event_id(&mut reply).await;
    drop(reply);
    console.approve(&hold).await.unwrap();
    spy.until("the call", |spy| spy.calls("create_refund") == 2).await;
    assert_eq!(resume(&client, &last).await.answer(1).await["result"]["content"][0]["text"], "done: create_refund");
}

/// A client that does not come back in time is gone: its hold is withdrawn.
#[tokio::test]
async fn a_lost_stream_that_is_not_resumed_withdraws_its_hold() {
    let spy = Spy::stdio().await;
    let countersign = Countersign::new().upstream(&spy).set("/limits/resume_window", json!("200ms"));
    let daemon = countersign.start().await;
    let mut console = daemon.console().await;
    let mut client = daemon.http();
    client.initialize().await;
    let mut reply = client.post(&call(1, "create_refund", json!({"charge": "ch_1", "amount": 100}))).await;
    let hold = console.hold().await;
    let last = event_id(&mut reply).await;
    drop(reply);
    let withdrawn = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Withdrawn, .. });
    console.state(&hold.id, "the withdrawal", withdrawn).await;
    assert!(console.approve(&hold).await.is_err());
    assert_eq!(resume(&client, &last).await.status, 204);
    assert_eq!(spy.calls("create_refund"), 0);
}

/// While it may come back it can be taken back by other means: a cancellation, and the end of the session.
#[tokio::test]
async fn a_lost_stream_ends_with_a_cancellation_or_the_session() {
    let spy = Spy::stdio().await;
    let countersign = Countersign::new().upstream(&spy).set("/limits/resume_window", json!("5m"));
    let daemon = countersign.start().await;
    let mut console = daemon.console().await;
    let mut client = daemon.http();
    client.initialize().await;
    let withdrawn = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Withdrawn, .. });
    for round in 0..2 {
        let mut reply = client.post(&call(round, "create_refund", json!({"charge": "ch_1", "amount": 100}))).await;
        let hold = console.hold().await;
        event_id(&mut reply).await;
        drop(reply);
        if round == 0 {
            let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": round}});
            assert_eq!(client.post(&cancel).await.status, 202);
        } else {
            assert_eq!(client.send("DELETE", &client.headers(), b"").await.status, 204);
        }
        console.state(&hold.id, "the withdrawal", withdrawn).await;
    }
    assert_eq!(spy.calls("create_refund"), 0);
}

/// An answer as events, the first of which can be come back after.
fn events(messages: &[Value]) -> Answer {
    let data: String = messages.iter().map(|message| format!("data: {message}\n\n")).collect();
    Answer::new(200, &[("content-type", "text/event-stream")], format!("id: e\nretry: 100\ndata: \n\n{data}"))
}

/// A server that answers a tool in the form that the tool's name says.
async fn of_every_form(asked: Asked) -> Answer {
    let finished = |id: &Value| {
        json!({"jsonrpc": "2.0", "id": id,
        "result": {"content": [{"type": "text", "text": "finished"}], "resultType": "complete"}})
    };
    if asked.method == http::Method::GET {
        return match asked.header("last-event-id") {
            "e" => events(&[finished(&json!("polled"))]),
            _ => Answer::new(405, &[], ""),
        };
    }
    let message: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let id = &message["id"];
    match message["params"]["name"].as_str().unwrap_or_else(|| message["method"].as_str().unwrap_or_default()) {
        "initialize" => {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s"}});
            Answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
        }
        "json" => Answer::json(&finished(id)),
        "stream" => events(&[finished(id)]),
        "polled" => events(&[]),
        "fails" => events(&[json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}})]),
        _ => Answer::new(202, &[], ""),
    }
}

/// A client sees an answer as it would see it without anything in between, in both eras.
#[tokio::test]
async fn an_answer_has_the_form_that_the_server_gave_it() {
    let web = Web::start(of_every_form).await;
    let upstream = json!({"http": {"url": format!("http://{}/mcp", web.address), "allow_plain_http": true}});
    let entry = json!({"environment": "test", "upstream": upstream});
    let daemon = Countersign::with_policy(ALLOW_ALL).server(SERVER, entry).start().await;
    let mut client = daemon.http();
    client.initialize().await;
    let (whole, stream) = ("application/json", "text/event-stream");
    for (tool, form) in [("json", whole), ("stream", stream)] {
        let alone = stateless(&daemon.http(), call(tool, tool, json!({}))).await;
        for mut reply in [client.post(&call(tool, tool, json!({}))).await, alone] {
            assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, form), "{tool}");
            assert_eq!(reply.answer(tool).await["result"]["content"][0]["text"], "finished");
            assert_eq!(reply.message().await, None);
        }
    }
    // What began as a stream stays one, whatever its end.
    let mut failed = stateless(&daemon.http(), call("x", "fails", json!({}))).await;
    assert_eq!((failed.status, failed.headers["content-type"].as_str()), (200, stream));
    assert_eq!(failed.answer("x").await["error"]["code"], -32601);

    // A server that closes its stream and wants to be asked later is asked later, and so are we.
    let mut reply = client.post(&call("polled", "polled", json!({}))).await;
    assert_eq!(reply.headers["content-type"], stream);
    let last = event_id(&mut reply).await;
    assert_eq!(reply.message().await, None);
    assert_eq!(resume(&client, &last).await.answer("polled").await["result"]["content"][0]["text"], "finished");
    let polled = web.asked().iter().filter(|asked| asked.text().contains("polled")).count();
    assert_eq!(polled, 1, "the request is not sent again");
}
