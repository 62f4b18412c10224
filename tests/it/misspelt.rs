//! Names in budgets, limits and scopes that no server has: the daemon loads them and says so, once for each load.

use countersign::control::client::Operator;
use countersign::control::wire::Notice;
use serde_json::json;

use crate::harness::daemon::set_mode;
use crate::harness::{Countersign, Daemon, Spy, within};

const SERVER: &str = "fixture";

async fn warnings(daemon: &Daemon) -> Vec<String> {
    let (mut notices, _commands) = Operator::connect(&daemon.operator_socket, true, true).await.unwrap().split();
    match within("a snapshot", notices.next()).await.unwrap() {
        Notice::Snapshot { daemon, .. } => daemon.policy_warnings,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_misspelt_name_is_said_when_it_is_loaded_and_keeps_nothing_from_starting() {
    let spy = Spy::stdio().await;
    let uid = rustix::process::geteuid().as_raw();
    let scopes = json!(["fixture/read", "fixture/creat_refund", "fixture/create_*", "*/pay_the_moon"]);
    let server = json!({"environment": "sandbox", "vendor": "billing", "upstream": spy.upstream.clone()});
    let data = format!("budgets: {{ {SERVER}: {{ creat_refund: {{ hour: {{ count: 1 }} }} }} }}\n");
    let mut daemon = Countersign::with_policy("package countersign.policy.none\n\ndeny contains {\"rule\": \"none.x\", \"reason\": \"x\"} if input.operation.name == \"x\"\n")
        .set("/policy/builtin", json!(["scopes", "destructive"]))
        .set("/principals", json!([{"name": "local", "match": {"uid": uid}, "scopes": scopes}]))
        .server(SERVER, server)
        .policy("data.yaml", &data)
        .start()
        .await;
    let budget = "a budget for `creat_refund`, and fixture has no such operation; did you mean `create_refund`?";
    let scope = "the scope fixture/creat_refund is for an operation that its server does not have";
    let any = "the scope */pay_the_moon is for an operation that no server has";
    let said = warnings(&daemon).await;
    assert_eq!(said.len(), 3, "{said:?}");
    for words in [budget, scope, any] {
        assert!(said.iter().any(|line| line.contains(words)), "{words}: {said:?}");
        let lines = daemon.log().lines().filter(|line| line.contains(words)).count();
        assert_eq!(lines, 1, "once: {}", daemon.log());
    }
    assert!(said.iter().any(|line| line.contains("data.yaml:1:")), "with its place: {said:?}");
    // The same that `policy check` says.
    let (checked, code) =
        daemon.run(&["policy", "check", "--config", daemon.config().to_str().unwrap(), "--format", "json"]).await;
    assert_eq!(code, 1, "a budget for nothing is an error there: {checked}");
    for message in ["a budget for `creat_refund`", "the scope fixture/creat_refund", "the scope */pay_the_moon"] {
        assert!(checked.contains(message), "{checked}");
    }
    // Mended, and loaded again: nothing is said of it any more.
    let path = daemon.config().parent().unwrap().join("policies/data.yaml");
    std::fs::write(&path, data.replace("creat_refund", "create_refund")).unwrap();
    set_mode(&path, 0o600);
    daemon.logs("policy loaded").await;
    let mut left = warnings(&daemon).await;
    while left.len() == 3 {
        tokio::task::yield_now().await;
        left = warnings(&daemon).await;
    }
    assert!(left.len() == 2 && left.iter().all(|line| line.contains("the scope ")), "{left:?}");
    daemon.stop().await;
}
