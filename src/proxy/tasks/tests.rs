//! The registry alone.

use super::*;
use crate::json::Rules;

const SMALL: Bounds = Bounds {
    count: 3,
    count_each: 2,
    bytes: 100,
    silence: Duration::from_secs(120),
    answer_within: Duration::from_secs(600),
};

fn owner(principal: &str) -> Owner {
    Owner { principal: principal.to_owned(), server: "billing".to_owned() }
}

fn open(tasks: &Tasks, principal: &str) -> Option<(String, mpsc::Receiver<Order>)> {
    let (cancel, cancelled) = mpsc::channel(1);
    let (deadline, timeout) = (Instant::now() + Duration::from_secs(60), Duration::from_secs(5));
    let id = tasks.open(owner(principal), cancel, deadline, timeout, "waiting".to_owned())?;
    Some((id, cancelled))
}

fn ask(method: &str, task: &str, extensions: &str) -> Message {
    let meta = format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{"extensions":{{{extensions}}}}}}}"#
    );
    let params = format!(r#"{{"taskId":"{task}","inputResponses":{{"a":{{"n":1.0}}}},"_meta":{meta}}}"#);
    Message::from_client(format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{method}","params":{params}}}"#)).unwrap()
}

fn declared_ask(method: &str, task: &str) -> Message {
    ask(method, task, r#""io.modelcontextprotocol/tasks":{}"#)
}

fn get(tasks: &Tasks, principal: &str, task: &str) -> Option<serde_json::Value> {
    let answer = tasks.answer(&declared_ask("tasks/get", task), &owner(principal))?;
    Some(serde_json::from_str(answer.as_str()).unwrap())
}

fn result(text: &str) -> Status {
    Status::Completed(JsonText::parse(text, Rules::UPSTREAM).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_task_is_its_owners_and_says_how_far_it_is() {
    let tasks = Tasks::new(true, Bounds::default());
    let (id, _cancelled) = open(&tasks, "agent").unwrap();
    assert_eq!(id.len(), 32);
    let handle: serde_json::Value = serde_json::from_str(tasks.handle(&Id::Number(7), &id).unwrap().as_str()).unwrap();
    assert_eq!(handle["result"]["resultType"], "task");
    assert_eq!((&handle["id"], &handle["result"]["taskId"]), (&7.into(), &id.clone().into()));
    assert_eq!(handle["result"]["ttlMs"], 665_000);
    let got = get(&tasks, "agent", &id).unwrap();
    assert_eq!((&got["id"], &got["result"]["resultType"]), (&9.into(), &"complete".into()));
    assert_eq!((&got["result"]["status"], &got["result"]["statusMessage"]), (&"working".into(), &"waiting".into()));
    assert!(got["result"].get("result").is_none());
    assert!(get(&tasks, "other", &id).is_none(), "somebody else's");
    let elsewhere = Owner { server: "stripe".to_owned(), ..owner("agent") };
    assert!(tasks.answer(&declared_ask("tasks/get", &id), &elsewhere).is_none(), "through another server");
    assert!(tasks.answer(&declared_ask("tools/call", &id), &owner("agent")).is_none());
    tasks.set(&id, result(r#"{"content":[],"n":1.0}"#));
    let text = tasks.answer(&declared_ask("tasks/get", &id), &owner("agent")).unwrap();
    assert!(text.as_str().contains(r#""status":"completed""#), "{text:?}");
    assert!(text.as_str().contains(r#""result":{"content":[],"n":1.0}"#), "as the server spelled it: {text:?}");
    tasks.set(&id, Status::Cancelled("late".to_owned()));
    assert_eq!(get(&tasks, "agent", &id).unwrap()["result"]["status"], "completed", "an end is final");
}

#[tokio::test(start_paused = true)]
async fn a_client_counts_as_gone_when_it_has_not_asked_for_a_while() {
    let tasks = Tasks::new(true, SMALL);
    let (id, _cancelled) = open(&tasks, "agent").unwrap();
    assert_eq!(tasks.silent_at(&id), Some(Instant::now() + SMALL.silence));
    tokio::time::advance(Duration::from_secs(100)).await;
    get(&tasks, "agent", &id).unwrap();
    assert_eq!(tasks.silent_at(&id), Some(Instant::now() + SMALL.silence), "it has asked");
    assert!(tasks.goes_on(&id));
    tasks.set(&id, Status::Cancelled("gone".to_owned()));
    assert!(tasks.silent_at(&id).is_none() && !tasks.goes_on(&id));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_can_fetch_any_more_does_not_go_on() {
    let tasks = Tasks::new(true, SMALL);
    let (id, _cancelled) = open(&tasks, "agent").unwrap();
    tokio::time::advance(Duration::from_secs(664)).await;
    assert!(tasks.goes_on(&id));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!tasks.goes_on(&id), "whether or not anybody asks for another one");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_declare_tasks_is_told_what_it_lacks() {
    let tasks = Tasks::new(true, Bounds::default());
    let (id, _cancelled) = open(&tasks, "agent").unwrap();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let answer = tasks.answer(&ask(method, &id, ""), &owner("agent")).unwrap();
        assert_eq!(answer.view().pointer("/error/code").unwrap().as_i64(), Some(MISSING_CAPABILITY));
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_of_what_is_not_asked_changes_nothing_and_a_cancel_reaches_the_call() {
    let tasks = Tasks::new(true, Bounds::default());
    let (id, mut cancelled) = open(&tasks, "agent").unwrap();
    for method in ["tasks/update", "tasks/cancel"] {
        assert!(cancelled.try_recv().is_err());
        let answer = tasks.answer(&declared_ask(method, &id), &owner("agent")).unwrap();
        assert_eq!(answer.as_str(), r#"{"jsonrpc":"2.0","id":9,"result":{"resultType":"complete"}}"#);
        assert_eq!(get(&tasks, "agent", &id).unwrap()["result"]["status"], "working");
    }
    assert_eq!(cancelled.try_recv().unwrap(), Order::Cancel(id));
}

#[tokio::test(start_paused = true)]
async fn tasks_are_bounded_by_count_and_time() {
    let tasks = Tasks::new(true, SMALL);
    let first = [open(&tasks, "a").unwrap(), open(&tasks, "a").unwrap()];
    assert!(open(&tasks, "a").is_none(), "for each");
    assert!(open(&tasks, "b").is_some());
    assert!(open(&tasks, "b").is_none(), "for all");
    tokio::time::advance(Duration::from_secs(665)).await;
    assert!(get(&tasks, "a", &first[0].0).is_none(), "its time is over");
    assert!(tasks.lock().tasks.is_empty());
    assert!(open(&tasks, "a").is_some());
    assert!(open(&Tasks::new(false, SMALL), "a").is_none(), "switched off");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_heard_of_leaves_its_place() {
    let tasks = Tasks::new(true, SMALL);
    for _ in 0..5 {
        let (id, _cancelled) = open(&tasks, "a").unwrap();
        tasks.set(&id, result("{}"));
        tasks.forget(&id);
        assert!(get(&tasks, "a", &id).is_none());
    }
    let inner = tasks.lock();
    assert_eq!((inner.tasks.len(), inner.bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn results_are_bounded_and_one_that_finds_no_room_says_so() {
    let tasks = Tasks::new(true, SMALL);
    let [one, two] = [open(&tasks, "a").unwrap(), open(&tasks, "a").unwrap()];
    let (three, _cancelled) = open(&tasks, "b").unwrap();
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(60));
    tasks.set(&one.0, result(&large));
    tasks.set(&two.0, result(&large));
    let said = get(&tasks, "a", &two.0).unwrap();
    assert_eq!(said["result"]["status"], "failed");
    assert!(said["result"]["statusMessage"].as_str().unwrap().contains("was made and answered"), "{said}");
    assert!(get(&tasks, "a", &one.0).unwrap()["result"]["result"]["x"].is_string(), "what was kept stays");
    tasks.set(&three, result(&large));
    assert_eq!(get(&tasks, "b", &three).unwrap()["result"]["status"], "completed", "what was fetched makes room");
    assert!(get(&tasks, "a", &one.0).is_none());
    let inner = tasks.lock();
    assert_eq!(inner.bytes, inner.tasks.values().map(|task| task.status.bytes()).sum::<usize>());
}

#[test]
fn the_extension_joins_what_a_server_says_of_itself() {
    let tasks = Tasks::new(true, SMALL);
    let said = |capabilities: &str| {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":1.0,"capabilities":{capabilities},"z":[]}}}}"#);
        let advertised = tasks.advertise(&JsonText::parse(answer, Rules::UPSTREAM).unwrap());
        advertised.view().pointer("/result/capabilities").unwrap().text().to_owned()
    };
    let ours = r#""io.modelcontextprotocol/tasks":{}"#;
    assert_eq!(said("{}"), format!(r#"{{"extensions":{{{ours}}}}}"#));
    assert_eq!(said(r#"{"tools":{}}"#), format!(r#"{{"extensions":{{{ours}}},"tools":{{}}}}"#));
    assert_eq!(said(r#"{"extensions":{"x":1}}"#), format!(r#"{{"extensions":{{{ours},"x":1}}}}"#));
    let theirs = format!(r#"{{"extensions":{{{ours}}}}}"#);
    assert_eq!(said(&theirs), theirs);
    let answer = JsonText::parse(r#"{"result":{"capabilities":{}}}"#, Rules::UPSTREAM).unwrap();
    assert_eq!(Tasks::new(false, SMALL).advertise(&answer), answer);
    let error = JsonText::parse(r#"{"error":{}}"#, Rules::UPSTREAM).unwrap();
    assert_eq!(tasks.advertise(&error), error);
}

fn asks(tasks: &Tasks, task: &str, requests: &str) -> Asked {
    tasks.ask(task, JsonText::parse(requests, Rules::UPSTREAM).unwrap().view(), 10)
}

fn assert_counted(tasks: &Tasks) {
    let inner = tasks.lock();
    assert_eq!(inner.bytes, inner.tasks.values().map(|task| task.status.bytes()).sum::<usize>());
}

#[tokio::test(start_paused = true)]
async fn answers_reach_the_call_when_all_have_come_and_once() {
    let tasks = Tasks::new(true, Bounds::default());
    let (id, mut orders) = open(&tasks, "agent").unwrap();
    assert!(tasks.take_answers(&id).is_none());
    assert_eq!(asks(&tasks, &id, r#"{"a":{},"b":{}}"#), Asked::Waits);
    assert_eq!(get(&tasks, "agent", &id).unwrap()["result"]["status"], "input_required");
    let update = |task: &str| tasks.answer(&declared_ask("tasks/update", task), &owner("agent")).unwrap();
    update(&id);
    assert!(orders.try_recv().is_err() && tasks.take_answers(&id).is_none(), "half of it");
    // The server does not want to know the other half any more.
    assert_eq!(asks(&tasks, &id, r#"{"a":{}}"#), Asked::Answered);
    assert_eq!(tasks.take_answers(&id).unwrap().as_str(), r#"{"a":{"n":1.0}}"#);
    assert!(tasks.take_answers(&id).is_none());
    assert_eq!(asks(&tasks, &id, r#"{"a":{}}"#), Asked::Waits, "under another name");
    update(&id);
    assert!(orders.try_recv().is_err());
    assert_counted(&tasks);
    tasks.set(&id, Status::Cancelled("late".to_owned()));
    assert_eq!(asks(&tasks, &id, r#"{"c":{}}"#), Asked::TooMuch, "it is over");
    update(&id);
    assert!(orders.try_recv().is_err() && tasks.take_answers(&id).is_none());
    assert_counted(&tasks);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_handed_on_is_not_taken() {
    let tasks = Tasks::new(true, SMALL);
    let (id, mut orders) = open(&tasks, "agent").unwrap();
    let cancel = || tasks.answer(&declared_ask("tasks/cancel", &id), &owner("agent")).unwrap();
    let update = || tasks.answer(&declared_ask("tasks/update", &id), &owner("agent")).unwrap();
    asks(&tasks, &id, r#"{"a":{}}"#);
    cancel();
    assert!(update().as_str().contains("send them again"), "the queue is full");
    assert_eq!(get(&tasks, "agent", &id).unwrap()["result"]["status"], "input_required");
    orders.try_recv().unwrap();
    update();
    assert_eq!(orders.try_recv().unwrap(), Order::Answered(id.clone()));
    assert_eq!(get(&tasks, "agent", &id).unwrap()["result"]["status"], "working");
    tasks.take_answers(&id).unwrap();
    // What is kept is bounded, questions and answers too.
    let large = format!(r#"{{"c":"{}"}}"#, "x".repeat(SMALL.bytes));
    assert_eq!(asks(&tasks, &id, &large), Asked::TooMuch);
    let (other, _orders) = open(&tasks, "agent").unwrap();
    assert_eq!(asks(&tasks, &other, &format!(r#"{{"a":"{}"}}"#, "x".repeat(85))), Asked::Waits);
    let refused = tasks.answer(&declared_ask("tasks/update", &other), &owner("agent")).unwrap();
    assert!(refused.as_str().contains("no room"), "{refused:?}");
    assert_counted(&tasks);
}
