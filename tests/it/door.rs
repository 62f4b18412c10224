//! The door: who gets to a server, how often, and what a guess at a key tells whoever makes it.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::daemon::{OTHER_TOKEN, SERVER};
use crate::harness::http::HttpClient;
use crate::harness::{Act, Console, Countersign, Daemon, Spy, call, hello, outcome, request};

/// All but its end is what anybody knows.
const KEY: &str = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.Zm9vYmFyYmF6cXV4Y29ycmVjdA";

fn guess() -> &'static str {
    &KEY[KEY.len() / 2 - 2..KEY.len() - 1]
}

/// Answers with what it was told.
async fn echo() -> Spy {
    Spy::stdio_with(|received, _| {
        let text = received.message["params"]["arguments"]["text"].clone();
        let result = json!({"content": [{"type": "text", "text": text}], "isError": false});
        (received.tool() == "get_echo").then(|| vec![Act::Result(result)])
    })
    .await
}

fn keyed(spy: &Spy) -> Countersign {
    let setup = Countersign::new().upstream(spy).env("KEY", KEY).set("/secrets/key", json!({"env": "KEY"}));
    setup.set("/servers/fixture/upstream/stdio/env/KEY", json!({"secret": "key"}))
}

async fn refusals(daemon: &Daemon) -> Vec<Value> {
    let records = daemon.records().await.into_iter().filter(|record| record["kind"] == "refused");
    records.map(|record| serde_json::from_str(record["body"].as_str().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_refusal_tells_a_client_nothing_about_a_key() {
    let spy = echo().await;
    let mut daemon = keyed(&spy).start().await;
    let mut shim = daemon.shim().await;
    shim.send(&request("whole", "ping", json!({"x": [KEY]}))).await;
    let refused = shim.answer("whole").await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("contains a key"), "{refused}");
    let wrong = guess().replace("29", "28");
    assert_ne!(wrong, guess());
    for (n, guess) in [guess(), &wrong].into_iter().enumerate() {
        shim.send(&request(n, "ping", json!({"x": [guess]}))).await;
        let answer = shim.answer(n).await;
        assert!(answer.get("error").is_none(), "{answer}");
        // What is said about a message may quote it.
        shim.send(&request(format!("m{n}"), guess, json!({}))).await;
        let answer = shim.answer(format!("m{n}")).await;
        assert!(answer["error"]["message"].as_str().unwrap().contains(guess), "{answer}");
    }
    // Neither the log nor the record has the piece that is right.
    daemon.stop().await;
    let refused = refusals(&daemon).await;
    assert!(refused.iter().any(|body| body["reason"].as_str().unwrap().contains("[secret:key]")), "{refused:?}");
    assert!(!daemon.log().contains(guess()) && !json!(refused).to_string().contains(guess()));
}

#[tokio::test]
async fn a_key_that_is_guessed_by_what_is_taken_out_of_answers_is_shown_a_few_times() {
    let spy = echo().await;
    let mut daemon = keyed(&spy).start().await;
    let operator = Console::attach(&daemon.operator_socket).await;
    let mut shim = daemon.shim().await;
    for n in 0..3 {
        let answer = shim.call(&n.to_string(), "get_echo", json!({"text": guess()})).await;
        assert_eq!(answer["result"]["content"][0]["text"], "[secret:key]", "{answer}");
    }
    let wrong = shim.call("w", "get_echo", json!({"text": "nothing of a key"})).await;
    assert_eq!(wrong["result"]["content"][0]["text"], "nothing of a key");
    // From the fourth on nobody gets one, in whatever session and whoever asks.
    let mut again = daemon.shim().await;
    let mut other = daemon.http();
    other.initialize().await;
    let text = json!({"text": guess()});
    for answer in [
        shim.call("3", "get_echo", text.clone()).await,
        again.call("3", "get_echo", text.clone()).await,
        other.call("3", "get_echo", text).await,
    ] {
        assert!(answer["error"]["message"].as_str().unwrap().contains("held a piece of a key"), "{answer}");
    }
    // Everything else goes on for everybody, a whole key too is only taken out.
    for text in ["x", "y"] {
        for answer in [
            shim.call(text, "get_echo", json!({"text": text})).await,
            again.call(text, "get_echo", json!({"text": text})).await,
            other.call(text, "get_echo", json!({"text": text})).await,
        ] {
            assert_eq!(answer["result"]["content"][0]["text"], text, "{answer}");
        }
    }
    operator.until_daemon("the key that is guessed", |daemon| daemon.guessed == ["key"]).await;
    daemon.stop().await;
    // What was kept back is no answer that anybody had.
    let completed = crate::code_mode::bodies(&daemon.records().await, "completed");
    let kept: Vec<_> = completed.iter().filter(|body| body["result"] == "kept_back").collect();
    assert_eq!(kept.len(), 3, "{completed:?}");
    assert!(kept.iter().all(|body| body["note"].as_str().unwrap().contains("held a piece of a key")), "{kept:?}");
    assert_eq!(completed.iter().filter(|body| body["result"] == "ok").count(), completed.len() - 3);
    let refused = refusals(&daemon).await;
    let guessed: Vec<_> =
        refused.iter().filter(|body| body["reason"].as_str().unwrap().contains("pieces of the key key")).collect();
    assert_eq!(guessed.len(), 1, "{refused:?}");
    assert_eq!(guessed[0]["principal"], "local");
    assert!(!daemon.log().contains(guess()));
}

/// What a server logs shows a guess as well as an answer does.
#[tokio::test]
async fn a_message_beside_an_answer_counts_like_one() {
    let spy = Spy::stdio_with(|received, _| {
        let text = received.message["params"]["arguments"]["text"].clone();
        let log =
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}});
        let result = json!({"content": [{"type": "text", "text": "done"}], "isError": false});
        (received.tool() == "get_echo").then(|| vec![Act::Say(log), Act::Result(result)])
    })
    .await;
    let daemon = keyed(&spy).start().await;
    let operator = Console::attach(&daemon.operator_socket).await;
    let mut shim = daemon.shim().await;
    for n in 0..5 {
        let answer = shim.call(&n.to_string(), "get_echo", json!({"text": guess()})).await;
        assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    }
    operator.until_daemon("the key that is guessed", |daemon| daemon.guessed == ["key"]).await;
}

#[tokio::test]
async fn nobody_gets_to_a_server_without_a_scope_for_it() {
    let uid = rustix::process::getuid().as_raw();
    let spy = echo().await;
    let principals = json!([
        {"name": "other", "match": {"token": {"secret": "other_token"}}, "scopes": ["elsewhere/*", "fixtures/read"]},
        {"name": "agent", "match": {"token": {"secret": "agent_token"}}, "scopes": ["fixture/read"]},
        {"name": "local", "match": {"uid": uid}, "scopes": ["elsewhere/read"]},
    ]);
    let elsewhere = json!({"environment": "sandbox", "upstream": spy.upstream});
    let setup = |spy: &Spy| {
        let setup = Countersign::new().upstream(spy).set("/principals", principals.clone());
        setup.server("elsewhere", elsewhere.clone()).server("fixtures", elsewhere.clone())
    };
    // A rule of one's own that allows nobody anything changes nothing about it, and neither does one that is not in force.
    let scoped = setup(&spy).set("/policy/builtin", json!(["scopes"])).policy("policy.rego", DENIES);
    let scoped = scoped.policy("own.rego", ALLOWS).set("/policy/modes", json!({"own": "warn"}));
    let mut daemon = scoped.start().await;
    let other = HttpClient::new(daemon.http().address, SERVER, Some(OTHER_TOKEN));
    let refused = other.post(&request("hello", "initialize", hello())).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let mut shim = daemon.raw_shim();
    shim.send(&request(0, "initialize", hello())).await;
    let refused = shim.answer(0).await;
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("the principal local has no scope for the server fixture"), "{refused}");
    assert!(spy.processes().is_empty(), "a process was started");
    daemon.http().initialize().await;
    daemon.stop().await;
    let refused = refusals(&daemon).await;
    let http = refused.iter().find(|body| body["code"] == 403).unwrap();
    assert_eq!((&http["principal"], &http["server"]), (&json!("other"), &json!("fixture")));
    assert!(refused.iter().any(|body| body["reason"].as_str().unwrap().contains("no scope for the server fixture")));
    // Where the shipped rule does not decide, other rules may let in whoever has none.
    for (builtin, modes) in [(json!([]), json!({})), (json!(["scopes"]), json!({"scopes": "shadow"}))] {
        let daemon = setup(&spy).set("/policy/builtin", builtin).set("/policy/modes", modes).start().await;
        HttpClient::new(daemon.http().address, SERVER, Some(OTHER_TOKEN)).initialize().await;
    }
}

const DENIES: &str = r#"package countersign.policy.fixture

deny contains {"rule": "fixture.delete", "reason": "nothing is deleted"} if startswith(input.tool.name, "delete_")
"#;

const ALLOWS: &str = r#"package countersign.policy.own

allow contains {"rule": "own.other", "reason": "other may have it repeated"} if {
	input.principal.name == "other"
	input.tool.name == "get_echo"
}
"#;

/// Beside the shipped scopes a rule of one's own may let in whoever has none, for as long as it is in force.
#[tokio::test]
async fn whom_a_rule_of_ones_own_allows_something_needs_no_scope() {
    let spy = echo().await;
    let principals = json!([
        {"name": "other", "match": {"token": {"secret": "other_token"}}, "scopes": []},
        {"name": "agent", "match": {"token": {"secret": "agent_token"}}, "scopes": ["fixture/read"]},
    ]);
    let setup = Countersign::new().upstream(&spy).set("/principals", principals).policy("policy.rego", DENIES);
    let daemon = setup.set("/policy/builtin", json!(["scopes"])).policy("own.rego", ALLOWS).start().await;
    let mut other = HttpClient::new(daemon.http().address, SERVER, Some(OTHER_TOKEN));
    other.initialize().await;
    let answer = other.call("a", "get_echo", json!({"text": "x"})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "x", "{answer}");
    let refused = other.call("b", "create_refund", json!({})).await;
    assert_eq!(outcome(&refused), Some("denied"), "{refused}");
    std::fs::remove_file(daemon.state_dir().parent().unwrap().join("policies/own.rego")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.logs("policy loaded").await;
    let late = HttpClient::new(daemon.http().address, SERVER, Some(OTHER_TOKEN));
    assert_eq!(late.post(&request("hello", "initialize", hello())).await.status, 403);
    daemon.http().initialize().await;
}

#[tokio::test]
async fn a_principal_has_so_many_sessions_and_takes_none_of_others() {
    let spy = echo().await;
    let setup = Countersign::new().upstream(&spy).set("/limits/sessions_per_principal", json!(2));
    let mut daemon = setup.start().await;
    let (mut one, mut two) = (daemon.http(), daemon.http());
    one.initialize().await;
    two.initialize().await;
    let full = daemon.http().post(&request("hello", "initialize", hello())).await.answer("hello").await;
    let said = full["error"]["message"].as_str().unwrap();
    assert!(said.contains("limits.sessions_per_principal"), "{full}");
    let mut shims = [daemon.shim().await, daemon.shim().await];
    let mut third = daemon.raw_shim();
    third.send(&request(0, "initialize", hello())).await;
    let full = third.answer(0).await;
    assert!(
        full["error"]["message"]
            .as_str()
            .unwrap()
            .contains("2 sessions of this client with the server fixture are open"),
        "{full}"
    );
    assert_eq!(spy.processes().len(), 4);
    // A place is free again when a session has ended.
    for shim in &mut shims {
        assert!(shim.call("x", "get_echo", json!({"text": "x"})).await["result"].is_object());
    }
    shims[0].close();
    shims[0].wait().await;
    spy.until("a child to end", |spy| spy.closed() == 1).await;
    let mut next = daemon.raw_shim();
    next.send(&request(0, "initialize", hello())).await;
    assert!(next.answer(0).await["result"].is_object());
    assert!(one.post(&call("y", "get_echo", json!({"text": "y"}))).await.answer("y").await["result"].is_object());
    daemon.stop().await;
    let refused = refusals(&daemon).await;
    assert_eq!(refused.iter().filter(|body| body["code"] == 4429).count(), 2, "{refused:?}");
}
