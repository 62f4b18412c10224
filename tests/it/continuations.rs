//! Calls that the server answers with a question: the retry goes on under the approval of the call where it is that
//! retry, and is a call like any other where it is not.

use serde_json::{Value, json};

use crate::harness::daemon::{OTHER_TOKEN, SERVER, TOKEN};
use crate::harness::http::HttpClient;
use crate::harness::{Act, Console, Countersign, Daemon, Spy, call, outcome, stateless};

/// Whatever belongs to a refund is covered by what covers the refund, and held like it.
pub const REFUNDS: &str = r#"package countersign.policy.refunds

allow contains {"rule": "refunds.some", "reason": "these tools may be called"} if {
	input.tool.name in {"create_refund", "get_balance", "create_payout"}
}

hold contains {"rule": "refunds.held", "reason": "a person looks at every refund"} if {
	input.tool.name == "create_refund"
}

deny contains {"rule": "refunds.doubt", "reason": "who doubts does not refund"} if {
	some response in input.responses
	response.content.doubt == true
}

deny contains {"rule": "refunds.doubtful", "reason": "who doubts does not refund"} if {
	input.arguments.content.doubt == true
}
"#;

const ASKS: &str = "opaque é";

fn refund(id: &str, amount: u32) -> Value {
    stateless(
        call(id, "create_refund", json!({"charge": "ch_1", "amount": amount})),
        json!({"elicitation": {"form": {}}}),
    )
}

fn retry(id: &str, amount: u32) -> Value {
    let mut message = refund(id, amount);
    message["params"]["inputResponses"] = json!({"confirm": {"action": "accept", "content": {"ok": true}}});
    message["params"]["requestState"] = json!(ASKS);
    message
}

fn asks() -> Value {
    let question = json!({"method": "elicitation/create", "params": {"mode": "form", "message": "Sure?",
        "requestedSchema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}});
    json!({"resultType": "input_required", "inputRequests": {"confirm": question}, "requestState": ASKS})
}

/// A refund without an answer gets a question; with one it is done.
async fn spy(over_http: bool) -> Spy {
    let script = |received: &crate::harness::spy::Received, _: &[crate::harness::spy::Received]| {
        let first = received.message["params"].get("inputResponses").is_none();
        (received.tool() == "create_refund" && first).then(|| vec![Act::Result(asks())])
    };
    if over_http { Spy::http_with(script).await } else { Spy::stdio_with(script).await }
}

pub fn bodies(records: &[Value], kind: &str) -> Vec<Value> {
    let of_kind = records.iter().filter(|record| record["kind"] == kind);
    of_kind.map(|record| serde_json::from_str(record["body"].as_str().unwrap()).unwrap()).collect()
}

fn is_done(answer: &Value) -> bool {
    answer["result"]["content"][0]["text"] == "done: create_refund"
}

async fn approve(console: &mut Console) -> String {
    let hold = console.hold().await;
    console.approve(&hold).await.unwrap();
    hold.id.to_string()
}

#[tokio::test]
async fn an_approved_call_that_is_asked_for_input_goes_on_without_a_second_prompt() {
    let spy = spy(false).await;
    let mut daemon = Countersign::with_policy(REFUNDS).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = daemon.raw_shim();
    shim.send(&refund("1", 100)).await;
    let first = approve(&mut console).await;
    assert_eq!(shim.answer("1").await["result"]["requestState"], ASKS);
    shim.send(&retry("2", 100)).await;
    let answer = shim.answer("2").await;
    assert!(is_done(&answer), "{answer}");
    assert_eq!(console.list().await.len(), 1, "one prompt");
    let sent = spy.received().into_iter().rfind(|received| received.tool() == "create_refund").unwrap();
    assert_eq!(sent.message, retry("2", 100), "it arrives as it was");
    // The record says whose approval it was, before the call left.
    drop(shim);
    daemon.stop().await;
    let records = daemon.records().await;
    let decided = bodies(&records, "decided");
    assert_eq!((decided[0].get("continues"), &decided[1]["continues"]), (None, &json!(first)));
    assert_eq!(decided[1]["decision"]["effect"], "hold");
    assert_eq!(bodies(&records, "completed")[0]["note"], "the server asks for input");
    let second = records.iter().filter(|record| record["kind"] == "decided").nth(1).unwrap()["call"].clone();
    let story: Vec<_> = records.iter().filter(|record| record["call"] == second).map(|r| r["kind"].clone()).collect();
    assert_eq!(story, ["decided", "sending", "completed"]);
}

/// Requests of the stateless era are sessions of their own over HTTP.
#[tokio::test]
async fn a_continuation_may_come_in_another_session_of_the_same_principal_only() {
    let spy = spy(true).await;
    let daemon = Countersign::with_policy(REFUNDS).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let client = daemon.http();
    let (answer, _) =
        tokio::join!(async { client.stateless(&refund("1", 100)).await.answer("1").await }, approve(&mut console));
    assert_eq!(answer["result"]["requestState"], ASKS);
    // Another principal has the state: it is asked about as any call is.
    let thief = HttpClient::new(daemon.address, SERVER, Some(OTHER_TOKEN));
    let (answer, ()) = tokio::join!(async { thief.stateless(&retry("1", 100)).await.answer("1").await }, async {
        let hold = console.hold().await;
        assert!(hold.other_params.as_ref().unwrap().as_str().contains("inputResponses"));
        console.reject(&hold, "not yours").await.unwrap();
    });
    assert_eq!(outcome(&answer), Some("rejected"));
    let answer = client.stateless(&retry("2", 100)).await.answer("2").await;
    assert!(is_done(&answer), "{answer}");
    assert_eq!((console.list().await.len(), spy.calls("create_refund")), (2, 2));
    assert_eq!(client.token.as_deref(), Some(TOKEN));
}

async fn asked(daemon: &Daemon, console: &mut Console) -> crate::harness::Shim {
    let mut shim = daemon.raw_shim();
    shim.send(&refund("1", 100)).await;
    approve(console).await;
    shim.answer("1").await;
    shim
}

#[tokio::test]
async fn a_retry_that_differs_in_anything_is_asked_about_again() {
    let spy = spy(false).await;
    let daemon = Countersign::with_policy(REFUNDS).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = asked(&daemon, &mut console).await;
    let change = |pointer: &str, value: Value| {
        let mut message = retry("x", 100);
        *message.pointer_mut(pointer).unwrap() = value;
        message
    };
    let others = [
        change("/params/arguments/amount", json!(500_000)),
        change("/params/requestState", json!("forged")),
        change("/params/inputResponses", json!({})),
        change("/params/inputResponses", json!({"confirm": {"action": "accept"}, "to": {"content": {"account": "x"}}})),
        refund("x", 100),
    ];
    for (n, mut message) in others.into_iter().enumerate() {
        message["id"] = json!(n);
        shim.send(&message).await;
        let hold = console.hold().await;
        console.reject(&hold, "another call").await.unwrap();
        assert_eq!(outcome(&shim.answer(n).await), Some("rejected"), "{message}");
    }
    assert_eq!(spy.calls("create_refund"), 1);
    // The one that was asked for still goes on, and then no more.
    shim.send(&retry("2", 100)).await;
    assert!(is_done(&shim.answer("2").await));
    shim.send(&retry("3", 100)).await;
    let hold = console.hold().await;
    console.reject(&hold, "a replay").await.unwrap();
    assert_eq!(outcome(&shim.answer("3").await), Some("rejected"));
    assert_eq!(spy.calls("create_refund"), 2);
}

/// Two retries at the same moment: one goes on, the other is held.
#[tokio::test]
async fn an_approval_carries_one_of_two_retries() {
    let spy = spy(false).await;
    let daemon = Countersign::with_policy(REFUNDS).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = asked(&daemon, &mut console).await;
    shim.write(format!("{}\n{}\n", retry("a", 100), retry("b", 100)).as_bytes()).await;
    let hold = console.hold().await;
    console.reject(&hold, "one is enough").await.unwrap();
    let (a, b) = (shim.answer("a").await, shim.answer("b").await);
    assert_ne!(is_done(&a), is_done(&b), "{a} {b}");
    assert_eq!(spy.calls("create_refund"), 2);
}

#[tokio::test]
async fn policy_looks_at_a_continuation_again() {
    let spy = spy(false).await;
    let daemon = Countersign::with_policy(REFUNDS).upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = asked(&daemon, &mut console).await;
    let mut doubt = retry("2", 100);
    doubt["params"]["inputResponses"]["confirm"]["content"]["doubt"] = json!(true);
    shim.send(&doubt).await;
    assert_eq!(outcome(&shim.answer("2").await), Some("denied"));
    assert_eq!(spy.calls("create_refund"), 1);
    // That was the one retry.
    shim.send(&retry("3", 100)).await;
    let hold = console.hold().await;
    console.reject(&hold, "no").await.unwrap();
    shim.answer("3").await;
    assert_eq!(spy.calls("create_refund"), 1);
}
