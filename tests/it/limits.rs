//! Limits in data: what passes within them without a person, and what never does; and what operators see of the size.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::daemon::{SERVER, binary, set_mode};
use crate::harness::{Countersign, Daemon, Spy, call, within};

/// The built-in policies with this data, and a principal that may do everything.
async fn daemon(spy: &Spy, vendor: &str, environment: &str, data: &str) -> Daemon {
    let uid = rustix::process::getuid().as_raw();
    let entry = json!({"vendor": vendor, "environment": environment, "upstream": spy.upstream});
    Countersign::new()
        .server(SERVER, entry)
        .set("/policy/builtin", json!(["environment", "destructive", "scopes"]))
        .set("/principals", json!([{"name": "local", "match": {"uid": uid}, "scopes": ["*/*"]}]))
        .policy("data.yaml", data)
        .start()
        .await
}

/// Each call that is held is rejected by an operator, so that the next one can be looked at.
async fn is_sent(daemon: &Daemon, spy: &Spy, id: &str, tool: &str, arguments: Value) -> bool {
    let before = spy.all_calls();
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&call(id, tool, arguments)).await;
    let answer = shim.answer(id);
    tokio::pin!(answer);
    tokio::select! {
        _ = &mut answer => {}
        hold = console.hold() => {
            console.reject(&hold, "not today").await.unwrap();
            answer.await;
        }
    }
    spy.all_calls() > before
}

#[tokio::test]
async fn a_limit_lets_nothing_through_that_its_numbers_do_not_tell() {
    let spy = Spy::stdio().await;
    let data = "destructive: { limits: { sandbox: { update_subscription: { count: 5 } } } }\n";
    let daemon = daemon(&spy, "stripe", "sandbox", data).await;
    let items = json!([{"id": "si_1", "quantity": 1}]);
    let small = json!({"subscription": "sub_1", "items": items});
    assert!(is_sent(&daemon, &spy, "1", "update_subscription", small).await);
    for (id, more) in [
        ("2", json!({"subscription": "sub_1", "items": items, "cancel_at_period_end": true})),
        ("3", json!({"subscription": "sub_1", "items": [{"quantity": 1, "deleted": true}]})),
        ("4", json!({"subscription": "sub_1", "items": items, "discounts": [{"coupon": "free"}]})),
        ("5", json!({"subscription": "sub_1", "items": [{"quantity": 6}]})),
    ] {
        assert!(!is_sent(&daemon, &spy, id, "update_subscription", more.clone()).await, "{more}");
    }
}

/// A block of the page on policies that is indented below a list.
fn limits_of_the_contract() -> String {
    let page = include_str!("../../policies/README.md");
    let (_, rest) = page.split_once("  ```yaml limits.yaml\n").expect("the block is there");
    let (block, _) = rest.split_once("  ```\n").expect("the block ends");
    block.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect()
}

/// What `policy eval` says about a call of a dispatcher in the sandbox.
async fn effect(home: &std::path::Path, operation: &str, parameters: Value) -> String {
    let arguments = json!({"stripe_api_operation_id": operation, "parameters": parameters}).to_string();
    let mut command = Command::new(binary());
    command.args(["policy", "eval", "--server", "stripe", "--tool", "stripe_api_write", "-o", "json"]);
    command.args(["--config", "countersign.yaml", "--principal", "agent", "--arguments", &arguments]);
    command.env_clear().env("HOME", home).current_dir(home).stdin(Stdio::null()).kill_on_drop(true);
    let ran = within("policy eval", command.output()).await.unwrap();
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    said["effect"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[tokio::test]
async fn the_limits_of_the_contract_do_what_they_say() {
    let home = tempfile::Builder::new().prefix("cs-").tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
    };
    write(
        "countersign.yaml",
        r#"
version: 1
secrets: { key: { env: KEY } }
servers:
  stripe:
    vendor: stripe
    environment: sandbox
    upstream: { stdio: { command: "false", env: { KEY: { secret: key } } } }
principals:
  - { name: agent, match: { uid: 1000 }, scopes: ["stripe/*"] }
policy: { paths: [policies], builtin: [environment, destructive, scopes] }
"#,
    );
    // The environments that a table may name are those that servers are in.
    write("policies/data.yaml", &limits_of_the_contract());
    for (operation, parameters, wanted) in [
        ("PostCoupons", json!({"percent_off": 5, "duration": "once"}), "allow"),
        ("PostCoupons", json!({"amount_off": 100, "currency": "usd"}), "allow"),
        ("PostCoupons", json!({"percent_off": 11}), "hold"),
        ("PostCoupons", json!({"amount_off": 501, "currency": "usd"}), "hold"),
        ("PostCoupons", json!({"amount_off": 100, "currency": "eur"}), "hold"),
        ("PostCoupons", json!({"percent_off": 100, "amount_off": 100, "currency": "usd"}), "hold"),
        ("PostCoupons", json!({"percent_off": 5, "amount_off": null}), "hold"),
        ("PostCoupons", json!({"duration": "forever"}), "hold"),
        ("PostRefunds", json!({"charge": "ch_1", "amount": 100}), "hold"),
    ] {
        let got = effect(home.path(), operation, parameters.clone()).await;
        assert_eq!(got, wanted, "{operation} {parameters}");
    }
}

#[tokio::test]
async fn operators_see_the_size_and_the_reach_of_a_held_call() {
    let spy = Spy::stdio().await;
    let daemon = daemon(&spy, "statsig", "production", "destructive: {}\n").await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    let rules = json!([{"name": "all", "passPercentage": 100, "conditions": [{"type": "public"}]}]);
    let arguments = json!({"method": "patch", "patch_params": {"id": "checkout", "rules": rules}});
    shim.send(&call("1", "-console-v1-gates--id-", arguments)).await;
    let hold = console.hold().await;
    assert_eq!(hold.magnitude.as_ref().and_then(|size| size.value.as_deref()), Some("100"));
    assert!(hold.reach.as_ref().is_some_and(|reach| reach.everywhere));

    let (table, _) = daemon.run(&["pending", "ls"]).await;
    let row = "PATCH /console/v1/gates/{id}  NOT ALL  100 percent  checkout  in all environments";
    for part in ["-console-v1-gates--id-", row] {
        assert!(table.contains(part), "{table}");
    }
    let (shown, _) = daemon.run(&["pending", "show", hold.id.as_str()]).await;
    for line in ["Size      100 percent", "Not all   the call does more", "Reaches   all environments"] {
        assert!(shown.contains(line), "{shown}");
    }
    let (text, _) = daemon.run(&["pending", "show", "-o", "json", hold.id.as_str()]).await;
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["magnitude"]["value"], &json["magnitude"]["unit"]), (&json!("100"), &json!("percent")));
    assert_eq!(json["reach"]["everywhere"], true);
    console.reject(&hold, "too wide").await.unwrap();
}
