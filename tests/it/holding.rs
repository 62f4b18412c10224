//! Calls that are held, as their clients see them: signs of life, the end of their patience, tasks.

use serde_json::{Value, json};

use countersign::call::Outcome;
use countersign::control::wire::{Failure, HoldState};

use crate::harness::daemon::{FIXTURE_POLICY, OTHER_TOKEN, SERVER};
use crate::harness::http::{HttpClient, Reply};
use crate::harness::spy::Received;
use crate::harness::{Act, Console, Countersign, Daemon, Spy, outcome};

/// A refund; `meta` travels too.
fn refund(id: impl Into<Value>, meta: Value) -> Value {
    let params = json!({"name": "create_refund", "arguments": {"charge": "ch_1", "amount": 100}, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params})
}

/// What a modern request carries in `_meta`; `extensions` is what its client declares.
fn modern(extensions: Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "agent", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": extensions},
    })
}

fn with_tasks() -> Value {
    modern(json!({"io.modelcontextprotocol/tasks": {}}))
}

/// One POST of the modern era.
async fn post(client: &HttpClient, message: &Value) -> Reply {
    let mut headers = client.headers();
    let params = &message["params"];
    headers.push(("MCP-Protocol-Version".into(), "2026-07-28".into()));
    headers.push(("Mcp-Method".into(), message["method"].as_str().unwrap().into()));
    if let Some(name) = params["name"].as_str().or(params["taskId"].as_str()) {
        headers.push(("Mcp-Name".into(), name.into()));
    }
    client.send("POST", &headers, message.to_string().as_bytes()).await
}

async fn about(client: &HttpClient, method: &str, task: &str) -> Value {
    let params = json!({"taskId": task, "_meta": with_tasks()});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    post(client, &message).await.message().await.unwrap()
}

/// Asks until the task has ended.
async fn ended(client: &HttpClient, task: &str) -> Value {
    loop {
        let answer = about(client, "tasks/get", task).await;
        if answer["result"]["status"] != "working" {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

/// A server that reports progress of refunds from 0 on.
fn reporting(received: &Received, _: &[Received]) -> Option<Vec<Act>> {
    let token =
        received.message.pointer("/params/_meta/progressToken").filter(|_| received.tool() == "create_refund")?;
    let progress = |value: f64| {
        let params = json!({"progressToken": token, "progress": value, "total": 2, "message": "refunding"});
        Act::Say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
    };
    Some(vec![progress(0.0), progress(0.5), Act::Result(json!({"content": []}))])
}

/// Held calls of clients that know tasks are answered with one without delay.
fn at_once() -> Countersign {
    Countersign::new().set("/holds/tasks_after", json!("0s"))
}

async fn start(countersign: Countersign, spy: &Spy) -> (Daemon, Console) {
    let daemon = countersign.upstream(spy).start().await;
    let console = daemon.console().await;
    (daemon, console)
}

fn progress_of(message: &Value) -> (f64, String) {
    let params = &message["params"];
    assert_eq!((message["method"].as_str(), &params["progressToken"]), (Some("notifications/progress"), &json!("t-1")));
    (params["progress"].as_f64().unwrap(), params["message"].as_str().unwrap().to_owned())
}

fn assert_increases(seen: &[(f64, String)]) {
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "{seen:?}");
}

/// Bytes at once, progress while it waits, and the server's progress above ours.
#[tokio::test]
async fn a_held_call_over_http_shows_that_it_lives() {
    for spy in [Spy::stdio_with(reporting).await, Spy::http_with(reporting).await] {
        let (daemon, mut console) = start(Countersign::new().set("/holds/progress_every", json!("1s")), &spy).await;
        let mut client = daemon.http();
        client.initialize().await;
        let mut meta = modern(json!({}));
        meta["progressToken"] = json!("t-1");
        for stateless in [false, true] {
            let mut reply = match stateless {
                false => client.post(&refund(1, json!({"progressToken": "t-1"}))).await,
                true => post(&daemon.http(), &refund(1, meta.clone())).await,
            };
            assert_eq!(reply.headers["content-type"], "text/event-stream");
            let mut seen = Vec::new();
            for _ in 0..2 {
                seen.push(progress_of(&reply.message().await.unwrap()));
            }
            assert!(seen[0].1.starts_with("waiting for an operator: a person looks at every refund, "), "{seen:?}");
            let hold = console.hold().await;
            console.approve(&hold).await.unwrap();
            let answer = loop {
                let message = reply.message().await.unwrap();
                if message.get("method").is_none() {
                    break message;
                }
                seen.push(progress_of(&message));
            };
            assert_eq!(answer["result"]["content"], json!([]));
            assert_increases(&seen);
            assert_eq!(seen.iter().filter(|(_, said)| said == "refunding").count(), 2, "none of its own: {seen:?}");
        }
    }
}

#[tokio::test]
async fn a_held_call_on_stdio_reports_progress_too() {
    let spy = Spy::stdio_with(reporting).await;
    let (daemon, mut console) = start(Countersign::new(), &spy).await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1, json!({"progressToken": "t-1"}))).await;
    let mut seen = vec![progress_of(&shim.next().await.unwrap())];
    let hold = console.hold().await;
    console.approve(&hold).await.unwrap();
    for _ in 0..2 {
        seen.push(progress_of(&shim.next().await.unwrap()));
    }
    assert_increases(&seen);
    assert_eq!(shim.answer(1).await["result"]["content"], json!([]));
}

/// A call without a token gets its stream and a first sign of life, and no progress that it has not asked for.
#[tokio::test]
async fn a_client_that_asks_for_no_progress_gets_comments() {
    for spy in [Spy::stdio().await, Spy::http().await] {
        let (daemon, mut console) = start(Countersign::new(), &spy).await;
        let mut legacy = daemon.http();
        legacy.initialize().await;
        let first =
            [legacy.post(&refund(1, json!({}))).await, post(&daemon.http(), &refund(1, modern(json!({})))).await];
        // Where a stream can be resumed its first event says from where; elsewhere it is a comment.
        for (mut reply, sign) in first.into_iter().zip(["id: ", ":"]) {
            assert_eq!(reply.headers["content-type"], "text/event-stream");
            let event = reply.event().await.unwrap();
            assert!(event.starts_with(sign) && !event.contains('{'), "{event:?}");
            let hold = console.hold().await;
            console.approve(&hold).await.unwrap();
            assert_eq!(reply.message().await.unwrap()["id"], 1);
        }
    }
}

/// A server cannot speak for a call that it has not got.
#[tokio::test]
async fn a_server_reports_no_progress_of_a_call_that_is_held() {
    let spy = Spy::stdio().await;
    let (daemon, mut console) = start(Countersign::new(), &spy).await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1, json!({"progressToken": "t-1"}))).await;
    let hold = console.hold().await;
    let forged = json!({"progressToken": "t-1", "progress": 99, "message": "approved"});
    spy.act(0, Act::Say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": forged})));
    spy.act(0, Act::Say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}})));
    assert_eq!(progress_of(&shim.next().await.unwrap()).0, 1.0);
    assert_eq!(shim.next().await.unwrap()["method"], "notifications/message");
    console.reject(&hold, "no").await.unwrap();
    assert_eq!(outcome(&shim.answer(1).await), Some("rejected"));
}

fn impatient() -> Countersign {
    Countersign::new().set("/holds/budgets", json!({"default": "1s"}))
}

/// A client that gives up: refused in time, approved later, and its one retry passes. The next one is asked about.
#[tokio::test]
async fn an_approval_after_the_client_gave_up_counts_for_one_retry() {
    let spy = Spy::stdio().await;
    let (mut daemon, mut console) = start(impatient(), &spy).await;
    let mut shim = daemon.shim().await;
    let refused = {
        shim.send(&refund(1, json!({}))).await;
        shim.answer(1).await
    };
    let decision = &refused["result"]["_meta"]["dev.countersign/decision"];
    assert_eq!((&decision["outcome"], &decision["retry"]), (&json!("expired"), &json!("same_call")), "{refused}");
    assert!(decision["open_until"].is_string());
    assert!(refused["result"]["content"][0]["text"].as_str().unwrap().contains("exactly the same call again"));
    let open = console.until_hold("nobody waiting", |hold| hold.state.is_pending() && hold.waiting == 0).await;
    let (shown, code) = daemon.run(&["pending", "show", open.id.as_str()]).await;
    assert_eq!(code, 0);
    assert!(shown.contains("client gone; an approval will count for one identical retry"), "{shown}");
    let approved = console.approve(&open).await.unwrap();
    assert!(matches!(approved.state, HoldState::Ticket { .. }), "{:?}", approved.state);
    assert_eq!(console.approve(&open).await.unwrap_err(), Failure::Closed);
    assert_eq!(spy.calls("create_refund"), 0);

    // Another principal, and another amount: not theirs.
    let mut other = HttpClient::new(daemon.address, SERVER, Some(OTHER_TOKEN));
    other.initialize().await;
    let theirs = other.post(&refund(1, json!({}))).await;
    let held = console.pending(1).await.remove(0);
    assert_eq!(held.principal, "other");
    drop(theirs);

    shim.send(&refund(2, json!({"progressToken": 5}))).await;
    assert_eq!(shim.answer(2).await["result"]["content"][0]["text"], "done: create_refund");
    assert_eq!(spy.calls("create_refund"), 1);
    console.state(&open.id, "the execution", |state| matches!(state, HoldState::Done { .. })).await;
    shim.send(&refund(3, json!({}))).await;
    let again = console.until_hold("a new prompt", |hold| hold.state.is_pending() && hold.principal == "local").await;
    assert_ne!(again.id, open.id);
    console.reject(&again, "once is enough").await.unwrap();
    assert_eq!(outcome(&shim.answer(3).await), Some("rejected"));
    assert_eq!(spy.calls("create_refund"), 1);

    daemon.stop().await;
    let records = daemon.records().await;
    let story = |call: &Value| {
        let kinds = records.iter().filter(|record| record["call"] == *call && record["kind"] != "ruling_refused");
        kinds.map(|record| record["kind"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(story(&json!(open.id.as_str())), ["decided", "held", "closed", "ruled"]);
    let sending = records.iter().find(|record| record["kind"] == "sending").unwrap();
    assert!(sending.to_string().contains(open.id.as_str()), "it names the ruling: {sending}");
    assert_eq!(story(&sending["call"]), ["decided", "sending", "completed"]);
    assert_eq!(daemon.run(&["audit", "verify"]).await.1, 0);
}

/// What nobody waits for ends with its time, by the daemon's own clock.
#[tokio::test]
async fn an_open_hold_that_nobody_waits_for_expires() {
    let spy = Spy::stdio().await;
    let (daemon, mut console) = start(impatient().set("/holds/ttl", json!("2s")), &spy).await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1, json!({}))).await;
    let hold = console.hold().await;
    shim.answer(1).await;
    let expired = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Expired, .. });
    console.state(&hold.id, "its end", expired).await;
    assert_eq!(console.approve(&hold).await.unwrap_err(), Failure::Closed);
    assert_eq!(spy.calls("create_refund"), 0);
}

/// A retry waits behind the prompt that is open, whatever connection it comes on.
#[tokio::test]
async fn a_retry_waits_behind_the_prompt_that_is_open() {
    let spy = Spy::stdio().await;
    let (daemon, mut console) = start(impatient(), &spy).await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1, json!({}))).await;
    let first = console.hold().await;
    assert_eq!(outcome(&shim.answer(1).await), Some("expired"));
    let mut second = daemon.shim().await;
    second.send(&refund("again", json!({}))).await;
    console.until_hold("the retry", |hold| hold.id == first.id && hold.waiting == 1).await;
    console.approve(&first).await.unwrap();
    assert_eq!(second.answer("again").await["result"]["content"][0]["text"], "done: create_refund");
    assert_eq!(spy.calls("create_refund"), 1);
    assert!(!console.list().await.iter().any(|hold| hold.state.is_pending()));
}

/// I7, and a policy that changed its mind: a ticket is worth nothing then.
#[tokio::test]
async fn a_ticket_survives_neither_a_restart_nor_a_stricter_policy() {
    let spy = Spy::stdio().await;
    let (daemon, mut console) = start(impatient(), &spy).await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1, json!({}))).await;
    let hold = console.hold().await;
    shim.answer(1).await;
    console.approve(&hold).await.unwrap();
    let daemon = daemon.kill().await.start().await;
    let mut console = daemon.console().await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1, json!({}))).await;
    let hold = console.hold().await;
    shim.answer(1).await;
    console.approve(&hold).await.unwrap();
    let stricter = format!(
        "{FIXTURE_POLICY}\ndeny contains {{\"rule\": \"fixture.stop\", \"reason\": \"no refunds today\"}} if input.tool.name == \"create_refund\"\n"
    );
    std::fs::write(daemon.state_dir().parent().unwrap().join("policies/policy.rego"), stricter).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.logs("policy loaded").await;
    shim.send(&refund(2, json!({}))).await;
    assert_eq!(outcome(&shim.answer(2).await), Some("denied"));
    assert_eq!(spy.calls("create_refund"), 0);
}

/// A held call is a task where the client knows them: it outlives its POST, and its result is fetched.
#[tokio::test]
async fn a_held_call_is_a_task_where_the_client_declares_them() {
    for spy in [Spy::stdio().await, Spy::http().await] {
        let (daemon, mut console) = start(at_once(), &spy).await;
        let client = daemon.http();
        let answer = post(&client, &refund(7, with_tasks())).await.message().await.unwrap();
        let task = answer["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(7), &json!("task")));
        assert_eq!(answer["result"]["status"], "working");
        let working = about(&client, "tasks/get", &task).await;
        assert_eq!(
            (&working["result"]["status"], &working["result"]["resultType"]),
            (&json!("working"), &json!("complete"))
        );
        assert!(working["result"]["statusMessage"].as_str().unwrap().starts_with("waiting for an operator"));
        let hold = console.hold().await;
        assert_eq!(spy.calls("create_refund"), 0);

        // Nobody else sees it.
        let other = HttpClient::new(daemon.address, SERVER, Some(OTHER_TOKEN));
        assert!(about(&other, "tasks/get", &task).await["error"].is_object());
        assert!(about(&other, "tasks/cancel", &task).await["error"].is_object());

        console.approve(&hold).await.unwrap();
        let done = ended(&client, &task).await;
        assert_eq!(done["result"]["status"], "completed", "{done}");
        assert_eq!(done["result"]["result"]["content"][0]["text"], "done: create_refund");
        assert_eq!(spy.calls("create_refund"), 1);
        console.state(&hold.id, "the execution", |state| matches!(state, HoldState::Done { .. })).await;
        let asked = |received: &Received| {
            received.method().starts_with("tasks/") && received.message["params"]["taskId"] == task.as_str()
        };
        assert!(spy.received().iter().filter(|received| asked(received)).count() <= 2, "no request about it goes on");
    }
}

/// An operator who is quick: the client gets the server's answer itself, and there never was a task.
#[tokio::test]
async fn a_held_call_is_no_task_where_the_operator_is_quick() {
    for spy in [Spy::stdio_with(reporting).await, Spy::http_with(reporting).await] {
        let slow = Countersign::new()
            .set("/holds/tasks_after", json!("1h"))
            .set("/holds/budgets/clients", json!({"agent": "none"}));
        let (daemon, mut console) = start(slow, &spy).await;
        let mut meta = with_tasks();
        meta["progressToken"] = json!("t-1");
        let mut reply = post(&daemon.http(), &refund(7, meta)).await;
        assert_eq!(reply.headers["content-type"], "text/event-stream");
        let mut seen = vec![progress_of(&reply.message().await.unwrap())];
        let hold = console.hold().await;
        console.approve(&hold).await.unwrap();
        for _ in 0..2 {
            seen.push(progress_of(&reply.message().await.unwrap()));
        }
        assert_increases(&seen);
        assert_eq!(reply.message().await.unwrap()["result"], json!({"content": []}));
        // One that leaves meanwhile takes its call back.
        let reply = post(&daemon.http(), &refund(8, with_tasks())).await;
        let hold = console.hold().await;
        drop(reply);
        let withdrawn = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Withdrawn, .. });
        console.state(&hold.id, "the end of its stream", withdrawn).await;
        assert_eq!(spy.calls("create_refund"), 1);
    }
}

/// It is first held like any other, and answered with a task on the same stream: when its time has come, and before its
/// client gives up in any case.
#[tokio::test]
async fn a_held_call_becomes_a_task_after_a_while() {
    let waits = json!({"tasks_after": "1h", "budgets": {"clients": {"agent": "1s"}}});
    for holds in [json!({"tasks_after": "300ms"}), waits] {
        let spy = Spy::stdio().await;
        let (daemon, mut console) = start(Countersign::new().set("/holds", holds), &spy).await;
        let client = daemon.http();
        let mut meta = with_tasks();
        meta["progressToken"] = json!("t-1");
        let mut reply = post(&client, &refund(7, meta)).await;
        assert_eq!(reply.headers["content-type"], "text/event-stream");
        progress_of(&reply.message().await.unwrap());
        let answer = reply.message().await.unwrap();
        assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(7), &json!("task")), "{answer}");
        let task = answer["result"]["taskId"].as_str().unwrap().to_owned();
        let hold = console.hold().await;
        assert_eq!(about(&client, "tasks/get", &task).await["result"]["status"], "working");
        console.approve(&hold).await.unwrap();
        assert_eq!(ended(&client, &task).await["result"]["result"]["content"][0]["text"], "done: create_refund");
    }
}

/// No child is started to be asked about a task of ours.
#[tokio::test]
async fn asking_for_a_task_starts_no_server() {
    let spy = Spy::stdio().await;
    let (daemon, mut console) = start(at_once(), &spy).await;
    let client = daemon.http();
    let answer = post(&client, &refund(7, with_tasks())).await.message().await.unwrap();
    let task = answer["result"]["taskId"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        about(&client, "tasks/get", &task).await;
    }
    spy.until("the call's own server", |spy| spy.processes().len() == 1).await;
    let hold = console.hold().await;
    console.reject(&hold, "not today").await.unwrap();
    let done = ended(&client, &task).await;
    assert_eq!(done["result"]["status"], "completed", "a refusal is a result: {done}");
    assert_eq!(done["result"]["result"]["isError"], true);
    assert_eq!(outcome(&done["result"]), Some("rejected"));
    assert_eq!(spy.processes().len(), 1);
}

#[tokio::test]
async fn cancelling_a_task_withdraws_its_hold() {
    let spy = Spy::stdio().await;
    let (mut daemon, mut console) = start(at_once(), &spy).await;
    let client = daemon.http();
    let answer = post(&client, &refund(7, with_tasks())).await.message().await.unwrap();
    let task = answer["result"]["taskId"].as_str().unwrap().to_owned();
    let hold = console.hold().await;
    assert_eq!(about(&client, "tasks/cancel", &task).await["result"], json!({"resultType": "complete"}));
    let withdrawn = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Withdrawn, .. });
    console.state(&hold.id, "the withdrawal", withdrawn).await;
    assert_eq!(ended(&client, &task).await["result"]["status"], "cancelled");
    assert_eq!(console.approve(&hold).await.unwrap_err(), Failure::Closed);
    assert_eq!(spy.calls("create_refund"), 0);
    daemon.stop().await;
    assert!(!spy.received().iter().any(|received| received.method() == "notifications/cancelled"));
}

/// A server that answers with a task of its own: ours goes on until that one ends, and has its result.
#[tokio::test]
async fn a_task_of_the_server_goes_on_in_ours() {
    let script = |received: &Received, before: &[Received]| {
        let polls = before.iter().filter(|received| received.method() == "tasks/get").count();
        let task = json!({
            "taskId": "theirs", "createdAt": "2026-11-21T10:00:00Z", "lastUpdatedAt": "2026-11-21T10:00:00Z",
            "ttlMs": 60000, "pollIntervalMs": 1,
        });
        let with = |more: Value| {
            let mut task = task.clone();
            task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Some(vec![Act::Result(task)])
        };
        match received.method() {
            "tools/call" => with(json!({"resultType": "task", "status": "working"})),
            "tasks/get" if polls == 0 => {
                with(json!({"resultType": "complete", "status": "working", "statusMessage": "half"}))
            }
            "tasks/get" => {
                let result = json!({"content": [{"type": "text", "text": "refunded"}], "isError": false});
                with(json!({"resultType": "complete", "status": "completed", "result": result}))
            }
            _ => None,
        }
    };
    for spy in [Spy::stdio_with(script).await, Spy::http_with(script).await] {
        let (daemon, mut console) = start(at_once(), &spy).await;
        let client = daemon.http();
        let answer = post(&client, &refund(7, with_tasks())).await.message().await.unwrap();
        let task = answer["result"]["taskId"].as_str().unwrap().to_owned();
        let hold = console.hold().await;
        console.approve(&hold).await.unwrap();
        let done = ended(&client, &task).await;
        assert_eq!(done["result"]["taskId"], task.as_str());
        assert_eq!(done["result"]["result"]["content"][0]["text"], "refunded", "{done}");
        let polls: Vec<_> = spy.received().into_iter().filter(|received| received.method() == "tasks/get").collect();
        assert_eq!(polls.len(), 2);
        assert!(polls.iter().all(|poll| poll.message["params"]["taskId"] == "theirs"));
        assert_eq!(spy.calls("create_refund"), 1);
    }
}

#[tokio::test]
async fn the_extension_is_advertised_and_can_be_switched_off() {
    for (tasks, offered) in [("when_declared", true), ("never", false)] {
        let spy = Spy::stdio().await;
        let (daemon, mut console) = start(Countersign::new().set("/holds/tasks", json!(tasks)), &spy).await;
        let client = daemon.http();
        let discover =
            json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": with_tasks()}});
        let answer = post(&client, &discover).await.message().await.unwrap();
        let extensions = &answer["result"]["capabilities"]["extensions"];
        assert_eq!(extensions.get("io.modelcontextprotocol/tasks").is_some(), offered, "{answer}");
        let mut reply = post(&client, &refund(7, if offered { modern(json!({})) } else { with_tasks() })).await;
        let hold = console.hold().await;
        console.approve(&hold).await.unwrap();
        assert_eq!(reply.message().await.unwrap()["result"]["resultType"], "complete", "not asked for, so no task");
    }
}

/// Every way in which a client takes a held call back. Nothing of it reaches the server.
#[tokio::test]
async fn a_held_call_is_withdrawn_however_its_client_leaves() {
    let spy = Spy::http().await;
    let (mut daemon, mut console) = start(Countersign::new(), &spy).await;
    let withdrawn = |state: &HoldState| matches!(state, HoldState::Closed { outcome: Outcome::Withdrawn, .. });

    let modern_client = daemon.http();
    let stream = post(&modern_client, &refund(1, modern(json!({})))).await;
    let hold = console.hold().await;
    drop(stream);
    console.state(&hold.id, "the end of its stream", withdrawn).await;

    let mut legacy = daemon.http();
    legacy.initialize().await;
    let _stream = legacy.post(&refund(2, json!({}))).await;
    let hold = console.hold().await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    assert_eq!(legacy.post(&cancel).await.status, 202);
    console.state(&hold.id, "the cancellation", withdrawn).await;

    let _stream = legacy.post(&refund(3, json!({}))).await;
    let hold = console.hold().await;
    assert_eq!(legacy.send("DELETE", &legacy.headers(), b"").await.status, 204);
    console.state(&hold.id, "the end of its session", withdrawn).await;

    daemon.stop().await;
    assert_eq!(spy.all_calls(), 0);
    assert!(!spy.received().iter().any(|received| received.method() == "notifications/cancelled"));
}
