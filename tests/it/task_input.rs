//! Held calls that are answered with a task of ours, and whose server asks for input: the client answers the task, and
//! what it answers is judged as it would be without one.

use serde_json::{Value, json};

use super::continuations::{REFUNDS, bodies};
use crate::harness::daemon::{OTHER_TOKEN, SERVER, TOKEN};
use crate::harness::http::HttpClient;
use crate::harness::spy::Received;
use crate::harness::{Act, Console, Countersign, Daemon, Spy, call, outcome, request, stateless};

const STATE: &str = "opaque é";

/// A large answer is a reason of its own for a person to look.
fn policy() -> String {
    format!(
        "{REFUNDS}\nhold contains {{\"rule\": \"refunds.large\", \"reason\": \"a large answer\"}} if {{\n\tsome response in input.responses\n\tresponse.content.large == true\n}}\n"
    )
}

fn extension() -> Value {
    json!({"elicitation": {"form": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}}})
}

fn refund() -> Value {
    stateless(call("1", "create_refund", json!({"charge": "ch_1", "amount": 1.50})), extension())
}

fn question(message: &str) -> Value {
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": {}}})
}

fn accept(content: Value) -> Value {
    json!({"action": "accept", "content": content})
}

struct Scene {
    daemon: Daemon,
    console: Console,
    client: HttpClient,
    spy: Spy,
}

impl Scene {
    async fn start(spy: Spy) -> Scene {
        Scene::with(Countersign::with_policy(&policy()), spy).await
    }

    async fn with(countersign: Countersign, spy: Spy) -> Scene {
        let countersign = countersign.set("/holds/tasks_after", json!("0s"));
        let daemon = countersign.upstream(&spy).start().await;
        let (console, client) = (daemon.console().await, daemon.http());
        Scene { daemon, console, client, spy }
    }

    async fn ask(&self, message: Value) -> Value {
        self.client.stateless(&message).await.answer(message["id"].clone()).await
    }

    /// Makes the call; an operator approves it.
    async fn task(&mut self) -> String {
        let created = self.ask(refund()).await;
        let task = created["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();
        let hold = self.console.hold().await;
        self.console.approve(&hold).await.unwrap();
        task
    }

    fn about(method: &str, task: &str, more: Value) -> Value {
        let mut message = stateless(request("t", method, json!({"taskId": task})), extension());
        message["params"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    }

    async fn update(&self, task: &str, responses: Value) -> Value {
        self.ask(Scene::about("tasks/update", task, json!({"inputResponses": responses}))).await
    }

    async fn get(&self, task: &str) -> Value {
        self.ask(Scene::about("tasks/get", task, json!({}))).await["result"].clone()
    }

    /// The task as soon as it is so.
    async fn until(&self, task: &str, done: impl Fn(&Value) -> bool) -> Value {
        crate::harness::within("the task", async {
            loop {
                let state = self.get(task).await;
                if done(&state) {
                    return state;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    async fn asked(&self, task: &str) -> Value {
        self.until(task, |state| state["status"] == "input_required").await
    }

    async fn ended(&self, task: &str) -> Value {
        self.until(task, |state| !matches!(state["status"].as_str(), Some("working" | "input_required"))).await
    }

    fn calls(&self) -> Vec<Value> {
        let all = self.spy.received().into_iter();
        all.filter(|received| received.tool() == "create_refund").map(|received| received.message).collect()
    }
}

fn ack() -> Value {
    json!({"resultType": "complete"})
}

/// Asks these questions, round by round, and is done then.
fn asks(rounds: Vec<Value>) -> impl Fn(&Received, &[Received]) -> Option<Vec<Act>> + Send + Sync + 'static {
    move |received, before| {
        let round = before.iter().filter(|before| before.tool() == "create_refund").count();
        let questions = rounds.get(round).filter(|_| received.tool() == "create_refund")?;
        let state = format!("{STATE} {round}");
        Some(vec![Act::Result(
            json!({"resultType": "input_required", "inputRequests": questions, "requestState": state}),
        )])
    }
}

#[tokio::test]
async fn the_input_that_a_call_needs_is_given_to_its_task() {
    let question = json!({"confirm": question("Sure?")});
    for spy in [Spy::stdio_with(asks(vec![question.clone()])).await, Spy::http_with(asks(vec![question.clone()])).await]
    {
        let mut scene = Scene::start(spy).await;
        let created = scene.ask(refund()).await;
        let task = created["result"]["taskId"].as_str().unwrap().to_owned();
        // Nothing is asked yet, so nothing is answered.
        let early = scene.update(&task, json!({"confirm": accept(json!({"ok": false}))})).await;
        assert_eq!(early["result"], ack());
        let hold = scene.console.hold().await;
        scene.console.approve(&hold).await.unwrap();
        let asked = scene.asked(&task).await;
        assert_eq!((&asked["inputRequests"], &asked["resultType"]), (&question, &json!("complete")));
        assert!(!asked.to_string().contains(STATE), "the server's state stays here: {asked}");

        // What is no answer to it changes nothing, and what is somebody else's is none.
        for stray in [json!({}), json!({"other": accept(json!({}))}), json!({"Confirm": accept(json!({}))})] {
            assert_eq!(scene.update(&task, stray).await["result"], ack());
        }
        let odd = Scene::about("tasks/update", &task, json!({"inputResponses": []}));
        assert_eq!(scene.ask(odd).await["error"]["code"], -32602);
        let mut undeclared =
            Scene::about("tasks/update", &task, json!({"inputResponses": {"confirm": accept(json!({}))}}));
        undeclared["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        assert_eq!(scene.ask(undeclared).await["error"]["code"], -32021);
        let leak = scene.update(&task, json!({"confirm": accept(json!({"key": TOKEN}))})).await;
        assert!(leak["error"]["message"].as_str().unwrap().contains("a key that countersign keeps"), "{leak}");
        let thief = HttpClient::new(scene.daemon.address, SERVER, Some(OTHER_TOKEN));
        let stolen = Scene::about("tasks/update", &task, json!({"inputResponses": {"confirm": accept(json!({}))}}));
        assert_eq!(thief.stateless(&stolen).await.answer("t").await["error"]["code"], -32602);
        assert_eq!((scene.get(&task).await["status"].clone(), scene.calls().len()), (json!("input_required"), 1));

        // Its answer goes on as the call that was approved, and nothing that came beside it does.
        let answers = json!({"confirm": accept(json!({"n": 1.50})), "smuggled": {"arguments": {"amount": 9}}});
        assert_eq!(scene.update(&task, answers).await["result"], ack());
        let second = scene.update(&task, json!({"confirm": accept(json!({"ok": false}))})).await;
        assert_eq!(second["result"], ack(), "a question is answered once");
        let done = scene.ended(&task).await;
        assert_eq!(done["result"]["content"][0]["text"], "done: create_refund", "{done}");
        let late = scene.update(&task, json!({"confirm": accept(json!({"ok": false}))})).await;
        assert_eq!(late["result"], ack());
        let calls = scene.calls();
        let mut expected = calls[0].clone();
        assert_ne!(calls[1]["id"], calls[0]["id"]);
        expected["id"] = calls[1]["id"].clone();
        expected["params"]["inputResponses"] = json!({"confirm": accept(json!({"n": 1.50}))});
        expected["params"]["requestState"] = json!(format!("{STATE} 0"));
        assert_eq!((calls.len(), &calls[1]), (2, &expected));
        assert_eq!(scene.console.list().await.len(), 1, "one prompt");
        assert!(!scene.spy.received().iter().any(|received| received.method().starts_with("tasks/")));

        // The record says whose approval it was, before the call left.
        let Scene { mut daemon, .. } = scene;
        daemon.stop().await;
        let records = daemon.records().await;
        let decided: Vec<_> = records.iter().filter(|record| record["kind"] == "decided").collect();
        let bodies = bodies(&records, "decided");
        assert_eq!((decided.len(), &bodies[1]["continues"]), (2, &json!(hold.id.as_str())));
        let story = records.iter().filter(|record| record["call"] == decided[1]["call"]);
        assert_eq!(story.map(|record| record["kind"].clone()).collect::<Vec<_>>(), ["decided", "sending", "completed"]);
    }
}

#[tokio::test]
async fn answers_are_collected_and_names_are_used_once() {
    let rounds =
        vec![json!({"name": question("Name?"), "sure": question("Sure?")}), json!({"sure": question("Really sure?")})];
    let mut scene = Scene::start(Spy::http_with(asks(rounds.clone())).await).await;
    let task = scene.task().await;
    assert_eq!(scene.asked(&task).await["inputRequests"], rounds[0]);
    scene.update(&task, json!({"sure": accept(json!({"n": 1}))})).await;
    let half = scene.get(&task).await;
    assert_eq!(
        (&half["status"], &half["inputRequests"]),
        (&json!("input_required"), &json!({"name": question("Name?")}))
    );
    assert_eq!(scene.calls().len(), 1, "half an answer is none");
    scene.update(&task, json!({"sure": accept(json!({"n": 2})), "name": accept(json!({"n": 3}))})).await;
    let again = scene.until(&task, |state| state.pointer("/inputRequests/sure-2").is_some()).await;
    assert_eq!(
        again["inputRequests"],
        json!({"sure-2": question("Really sure?")}),
        "a name that the client has not answered"
    );
    scene.update(&task, json!({"sure": accept(json!({"n": 4}))})).await;
    assert_eq!(scene.get(&task).await["status"], "input_required");
    scene.update(&task, json!({"sure-2": accept(json!({"n": 5}))})).await;
    assert_eq!(scene.ended(&task).await["status"], "completed");
    let answers: Vec<_> = scene.calls().iter().map(|call| call["params"].get("inputResponses").cloned()).collect();
    let first = json!({"name": accept(json!({"n": 3})), "sure": accept(json!({"n": 1}))});
    assert_eq!(answers, [None, Some(first), Some(json!({"sure": accept(json!({"n": 5}))}))]);
    assert_eq!(scene.calls()[2]["params"]["requestState"], format!("{STATE} 1"));
    assert_eq!(scene.console.list().await.len(), 1, "one prompt");
}

#[tokio::test]
async fn policy_and_operators_look_at_answers_too() {
    let question = json!({"confirm": question("Sure?")});
    // Refused by policy: the task ends as the call would have.
    let mut scene = Scene::start(Spy::stdio_with(asks(vec![question.clone()])).await).await;
    let task = scene.task().await;
    scene.asked(&task).await;
    scene.update(&task, json!({"confirm": accept(json!({"doubt": true}))})).await;
    let ended = scene.ended(&task).await;
    assert_eq!((&ended["status"], outcome(&ended)), (&json!("completed"), Some("denied")), "{ended}");
    assert_eq!(scene.update(&task, json!({"confirm": accept(json!({}))})).await["result"], ack());
    assert_eq!(scene.calls().len(), 1);
    // Held for another reason than what was approved: a person looks, and the client polls meanwhile.
    for approves in [true, false] {
        let mut scene = Scene::start(Spy::http_with(asks(vec![question.clone()])).await).await;
        let task = scene.task().await;
        scene.asked(&task).await;
        scene.update(&task, json!({"confirm": accept(json!({"large": true}))})).await;
        let hold = scene.console.hold().await;
        assert!(hold.other_params.as_ref().unwrap().as_str().contains("large"), "{hold:?}");
        let waits =
            |state: &Value| state["statusMessage"].as_str().is_some_and(|said| said.starts_with("waiting for an"));
        assert_eq!(scene.until(&task, waits).await["status"], "working");
        assert_eq!(scene.calls().len(), 1);
        if approves {
            scene.console.approve(&hold).await.unwrap();
            assert_eq!(scene.ended(&task).await["result"]["content"][0]["text"], "done: create_refund");
        } else {
            scene.console.reject(&hold, "too large").await.unwrap();
            assert_eq!(outcome(&scene.ended(&task).await), Some("rejected"));
        }
        assert_eq!(scene.calls().len(), if approves { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_task_that_asks_can_be_cancelled_and_asks_for_nothing_that_was_not_offered() {
    let mut scene = Scene::start(Spy::http_with(asks(vec![json!({"confirm": question("Sure?")})])).await).await;
    let task = scene.task().await;
    scene.asked(&task).await;
    assert_eq!(scene.ask(Scene::about("tasks/cancel", &task, json!({}))).await["result"], ack());
    assert_eq!(scene.ended(&task).await["status"], "cancelled");
    assert_eq!(scene.update(&task, json!({"confirm": accept(json!({}))})).await["result"], ack());
    assert_eq!(scene.calls().len(), 1);

    let roots = json!({"where": {"method": "roots/list"}});
    let nothing = json!({});
    for (questions, status) in [(roots, "failed"), (nothing, "completed")] {
        let mut scene = Scene::start(Spy::http_with(asks(vec![questions])).await).await;
        let task = scene.task().await;
        let ended = scene.ended(&task).await;
        assert_eq!(ended["status"], status, "{ended}");
        assert!(ended.to_string().contains("asks for input"), "{ended}");
        assert_eq!(scene.calls().len(), 1);
    }
}

/// A task of the server that asks a question until it is answered.
fn hosting(received: &Received, before: &[Received]) -> Option<Vec<Act>> {
    let task = |status: &str| {
        json!({"resultType": "complete", "taskId": "theirs", "status": status, "createdAt": "2026-11-21T00:00:00Z",
            "lastUpdatedAt": "2026-11-21T00:00:00Z", "ttlMs": null, "pollIntervalMs": 1})
    };
    let answered = before.iter().any(|received| received.method() == "tasks/update");
    Some(vec![Act::Result(match received.method() {
        "tools/call" => {
            let mut created = task("working");
            created["resultType"] = json!("task");
            created
        }
        "tasks/get" if answered => {
            let mut state = task("completed");
            state["result"] = json!({"content": [{"type": "text", "text": "refunded"}], "isError": false});
            state
        }
        "tasks/get" => {
            let mut state = task("input_required");
            state["inputRequests"] = json!({"confirm": question("Sure?")});
            state
        }
        "tasks/update" | "tasks/cancel" => ack(),
        _ => return None,
    })])
}

fn updates(spy: &Spy, method: &str) -> Vec<Value> {
    let all = spy.received().into_iter().filter(|received| received.method() == method);
    all.map(|received| received.message["params"].clone()).collect()
}

#[tokio::test]
async fn the_input_that_a_task_of_the_server_needs_is_given_to_ours() {
    for spy in [Spy::stdio_with(hosting).await, Spy::http_with(hosting).await] {
        let mut scene = Scene::start(spy).await;
        let task = scene.task().await;
        assert_eq!(scene.asked(&task).await["inputRequests"], json!({"confirm": question("Sure?")}));
        scene.update(&task, json!({"stray": accept(json!({}))})).await;
        assert!(updates(&scene.spy, "tasks/update").is_empty());
        scene.update(&task, json!({"confirm": accept(json!({"n": 1.50})), "stray": accept(json!({}))})).await;
        let done = scene.ended(&task).await;
        assert_eq!(done["result"]["content"][0]["text"], "refunded", "{done}");
        scene.update(&task, json!({"confirm": accept(json!({}))})).await;
        let sent = updates(&scene.spy, "tasks/update");
        assert_eq!(sent.len(), 1);
        let answers = json!({"confirm": accept(json!({"n": 1.50}))});
        assert_eq!((&sent[0]["taskId"], &sent[0]["inputResponses"]), (&json!("theirs"), &answers));
        let meta = &refund()["params"]["_meta"];
        assert_eq!(&sent[0]["_meta"], meta, "in the name of the call's client");
        assert_eq!((scene.console.list().await.len(), scene.calls().len()), (1, 1), "one prompt");
    }
}

#[tokio::test]
async fn answers_that_are_refused_end_the_servers_task() {
    for (content, decided) in [(json!({"doubt": true}), "denied"), (json!({"large": true}), "rejected")] {
        let mut scene = Scene::start(Spy::http_with(hosting).await).await;
        let task = scene.task().await;
        scene.asked(&task).await;
        scene.update(&task, json!({"confirm": accept(content)})).await;
        if decided == "rejected" {
            let hold = scene.console.hold().await;
            assert_eq!((hold.method.as_str(), hold.operation.as_str()), ("tasks/update", "create_refund"));
            scene.console.reject(&hold, "too large").await.unwrap();
        }
        let ended = scene.ended(&task).await;
        assert_eq!((&ended["status"], outcome(&ended)), (&json!("completed"), Some(decided)), "{ended}");
        let decision = &ended["result"]["_meta"]["dev.countersign/decision"];
        assert_eq!((&ended["result"]["isError"], &decision["sent"]), (&json!(true), &json!(true)));
        scene.spy.until("the end of the server's task", |spy| updates(spy, "tasks/cancel").len() == 1).await;
        assert_eq!(updates(&scene.spy, "tasks/cancel")[0]["taskId"], "theirs");
        assert!(updates(&scene.spy, "tasks/update").is_empty());
    }
}

/// The client takes its task back while an operator looks at what it has answered.
#[tokio::test]
async fn answers_that_are_held_are_withdrawn_with_their_task() {
    let mut scene = Scene::start(Spy::http_with(hosting).await).await;
    let task = scene.task().await;
    scene.asked(&task).await;
    scene.update(&task, json!({"confirm": accept(json!({"large": true}))})).await;
    let hold = scene.console.hold().await;
    scene.ask(Scene::about("tasks/cancel", &task, json!({}))).await;
    assert_eq!(scene.ended(&task).await["status"], "cancelled");
    assert!(scene.console.approve(&hold).await.is_err());
    assert!(updates(&scene.spy, "tasks/update").is_empty());
}

/// A server that does not take what was answered.
#[tokio::test]
async fn a_task_whose_answers_the_server_does_not_take_fails() {
    let script = |received: &Received, before: &[Received]| {
        let error = json!({"code": -32602, "message": "not like this"});
        let refusal = json!({"jsonrpc": "2.0", "id": received.id(), "error": error});
        if received.method() == "tasks/update" { Some(vec![Act::Say(refusal)]) } else { hosting(received, before) }
    };
    for spy in [Spy::stdio_with(script).await, Spy::http_with(script).await] {
        let mut scene = Scene::start(spy).await;
        let task = scene.task().await;
        scene.asked(&task).await;
        scene.update(&task, json!({"confirm": accept(json!({}))})).await;
        let ended = scene.ended(&task).await;
        assert_eq!((&ended["status"], &ended["error"]["message"]), (&json!("failed"), &json!("not like this")));
        assert_eq!((updates(&scene.spy, "tasks/update").len(), scene.calls().len()), (1, 1), "nothing is sent twice");
    }
}

/// What a client could not send in one message does not become one here.
#[tokio::test]
async fn a_call_with_its_answers_is_no_longer_than_a_message_may_be() {
    let countersign = Countersign::with_policy(&policy()).set("/limits/message_bytes", json!("1KiB"));
    let spy = Spy::http_with(asks(vec![json!({"confirm": question("Sure?")})])).await;
    let mut scene = Scene::with(countersign, spy).await;
    let task = scene.task().await;
    scene.asked(&task).await;
    let update = |pad: usize| {
        let answers = json!({"confirm": accept(json!({"pad": "x".repeat(pad)}))});
        Scene::about("tasks/update", &task, json!({"inputResponses": answers}))
    };
    let longest = update(1024 - update(0).to_string().len());
    assert_eq!(scene.ask(longest).await["result"], ack());
    let ended = scene.ended(&task).await;
    assert!(ended["error"]["message"].as_str().unwrap().contains("limits.message_bytes"), "{ended}");
    assert_eq!(scene.calls().len(), 1);
}
