//! Cases about policies: what a file may say and do, who may write it, and what a call meets when it fails.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Countersign, Daemon, Shim, Spy, daemon::FIXTURE_POLICY, outcome, request};

/// A daemon with this policy does not start, and says this.
async fn does_not_start(policy: &str, says: &str) {
    let spy = Spy::stdio().await;
    refused(Countersign::with_policy(policy).upstream(&spy), says).await;
    assert_eq!(spy.processes().len(), 0, "the upstream was started");
}

async fn refused(countersign: Countersign, says: &str) {
    let (status, log) = countersign.refuses().await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains(says), "{says:?} is not in:\n{log}");
}

/// What a call of `create_refund` meets under this policy; nothing may reach the upstream.
async fn meets(policy: &str, arguments: &[Value], expected: &str) {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::with_policy(policy).upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    for (n, arguments) in arguments.iter().enumerate() {
        let answer = shim.call(&n.to_string(), "create_refund", arguments.clone()).await;
        assert_eq!(outcome(&answer), Some(expected), "{arguments}: {answer}");
    }
    assert_eq!(spy.all_calls(), 0);
    daemon.assert_alive().await;
}

fn allow(body: &str) -> String {
    format!(
        "package countersign.policy.x\n\nallow contains {{\"rule\": \"x.a\", \"reason\": \"it fits\"}} if {{\n{body}\n}}\n"
    )
}

/// No policy at all: a folder that is not there, an empty one, a file of nothing, a file of remarks.
#[tokio::test]
async fn pol_001() {
    for text in ["", "# nothing but remarks\n\n"] {
        does_not_start(text, "policy").await;
    }
    let spy = Spy::stdio().await;
    let missing = Countersign::new().upstream(&spy).set("/policy/paths", json!(["/nowhere/at/all"]));
    refused(missing, "/nowhere/at/all").await;
    let nothing = Countersign::new().upstream(&spy);
    let empty = nothing.dir().join("empty");
    std::fs::create_dir(&empty).unwrap();
    refused(nothing.set("/policy/paths", json!([empty])), "no policy is enforced").await;
    assert_eq!(spy.processes().len(), 0);
}

/// A broken file at the start, and while calls are made: broken, half written, emptied.
#[tokio::test]
async fn pol_002() {
    does_not_start("package countersign.policy.x\n\nallow contains {", "policy.rego").await;
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    let file = policies(&daemon).join("policy.rego");
    let half = &FIXTURE_POLICY[..FIXTURE_POLICY.len() / 2 + 7];
    for (n, text) in ["package countersign.policy.fixture\n\nallow contains if if", half, ""].iter().enumerate() {
        std::fs::write(&file, text).unwrap();
        daemon.signal(rustix::process::Signal::HUP);
        until_refused(&daemon, n + 1).await;
        judged_as_before(&mut shim).await;
    }
    assert_eq!(spy.all_calls(), 3);
    daemon.stop().await;
    let records = daemon.records().await;
    let bodies = |kind: &str| -> Vec<Value> {
        let of_kind = records.iter().filter(|record| record["kind"] == kind);
        of_kind.map(|record| serde_json::from_str(record["body"].as_str().unwrap()).unwrap()).collect()
    };
    let decided = bodies("decided");
    let versions: std::collections::BTreeSet<&str> =
        decided.iter().map(|body| body["decision"]["policy_version"].as_str().unwrap()).collect();
    assert_eq!(versions.len(), 1, "{versions:?}");
    let alarms = bodies("policy_refused");
    assert!(alarms.len() >= 3, "{alarms:?}");
    assert!(alarms.iter().all(|body| body["keeping"].as_str() == versions.first().copied()), "{alarms:?}");
}

fn policies(daemon: &Daemon) -> std::path::PathBuf {
    daemon.state_dir().with_file_name("policies")
}

/// The daemon has said so often that a reload was refused.
async fn until_refused(daemon: &Daemon, times: usize) {
    let said = || daemon.log().matches("the new policy is refused").count();
    let patience = std::time::Instant::now();
    while said() < times {
        assert!(patience.elapsed() < crate::harness::DEADLINE, "no refusal:\n{}", daemon.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The fixture's policy is in force: a read passes, a delete does not.
async fn judged_as_before(shim: &mut Shim) {
    assert_eq!(outcome(&shim.call("read", "get_balance", json!({})).await), None);
    assert_eq!(outcome(&shim.call("delete", "delete_customer", json!({"id": "cus_1"})).await), Some("denied"));
}

/// A decision that is not there is no decision: a rule of the wrong form does not load, and one that does not hold
/// allows nothing.
#[tokio::test]
async fn pol_003() {
    does_not_start("package countersign.policy.x\n\nallow if input.arguments.x == 1\n", "allow").await;
    meets(&allow("\tinput.arguments.x == 1"), &[json!({}), json!({"x": "1"}), json!({"x": true})], "denied").await;
}

/// Answers of another form than the contract's.
#[tokio::test]
async fn pol_004() {
    let written = [
        "allow := true",
        "allow := \"ALLOW\"",
        "allow := [\"allow\"]",
        "allow := {\"decision\": \"allow\", \"decision2\": 1}",
        "allow := 1",
        "allow := null",
        "allow.allow := true",
        "allow contains \"allow \" if true",
        "allow contains {\"rule\": \"x.a\", \"reason\": \"r\", \"decision\": \"allow\"} if true",
        "allow contains {\"rule\": \"x.a\"} if true",
    ];
    for rule in written {
        does_not_start(&format!("package countersign.policy.x\n\n{rule}\n"), "policy.rego").await;
    }
    // What a rule computes from the call is seen when there is a call.
    let computed = "package countersign.policy.x\n\nallow contains input.arguments.entry if input.arguments.entry\n";
    let odd = [
        json!(true),
        json!("ALLOW"),
        json!(["allow"]),
        json!({"decision": "allow", "decision2": 1}),
        json!(1),
        json!({"allow": true}),
        json!({"rule": "x.a", "reason": 1}),
        json!({"rule": "x.a", "reason": "r", "more": 1}),
    ];
    meets(computed, &odd.map(|entry| json!({"entry": entry})), "unavailable").await;
    meets(computed, &[json!({"entry": null})], "unavailable").await;
    meets(computed, &[json!({"entry": false}), json!({})], "denied").await;
}

/// A package that nobody asks for.
#[tokio::test]
async fn pol_005() {
    for package in ["mcp.autz", "countersign.polcy.x", "countersign.policy", "countersign.policy.x.y"] {
        let policy =
            format!("package {package}\n\nallow contains {{\"rule\": \"x.a\", \"reason\": \"r\"}} if input.method\n");
        does_not_start(&policy, "package").await;
    }
}

/// A value that two rules state otherwise.
#[tokio::test]
async fn pol_006() {
    let policy = allow("\tdecision == \"allow\"")
        + "\ndecision := \"allow\" if input.arguments.x == 1\n\ndecision := \"deny\" if input.arguments.x > 0\n";
    meets(&policy, &[json!({"x": 1})], "unavailable").await;
}

/// A pattern from the call that explodes, and a pattern of the operator's that others' engines choke on.
#[tokio::test]
async fn pol_011() {
    let began = std::time::Instant::now();
    let of_the_call = allow("\tregex.match(input.arguments.re, input.arguments.s)");
    let bomb = json!({"re": "((((a{100}){100}){100}){100})", "s": "a"});
    meets(&of_the_call, &[bomb, json!({"re": "(", "s": "a"})], "unavailable").await;
    let ours = allow("\tregex.match(`^(a+)+$`, input.arguments.s)");
    meets(&ours, &[json!({"s": "a".repeat(50_000) + "b"})], "denied").await;
    assert!(began.elapsed() < crate::harness::DEADLINE);
}

/// Numbers that are none: every value sorts before every number in Rego's comparisons, so the shipped rules ask for the
/// type. Only a positive whole number up to the limit passes.
#[tokio::test]
async fn pol_013() {
    let spy = Spy::stdio().await;
    let limit = json!({"destructive": {"limits": {"sandbox": {"create_refund": {"minor": 5000}}}}});
    let countersign = Countersign::new();
    std::fs::write(countersign.dir().join("policies/data.json"), limit.to_string()).unwrap();
    let upstream = spy.upstream.clone();
    let server = json!({"environment": "sandbox", "vendor": "billing", "upstream": upstream});
    let countersign = countersign.server(crate::harness::daemon::SERVER, server);
    let uid = rustix::process::getuid().as_raw();
    let countersign =
        countersign.set("/principals", json!([{"name": "local", "match": {"uid": uid}, "scopes": ["*/*"]}]));
    let countersign = countersign.set("/policy/builtin", json!(["environment", "destructive", "scopes"]));
    std::fs::write(countersign.dir().join("policies/policy.rego"), "").unwrap();
    let mut daemon = countersign
        .policy("policy.rego", "package countersign.lib.nothing\n\nnothing := 1\n")
        .set("/holds/no_console", json!({"grace": "0s"}))
        .start()
        .await;
    let mut shim = daemon.shim().await;
    let odd = [
        json!(null),
        json!(true),
        json!(false),
        json!(-1),
        json!(0),
        json!("1"),
        json!([1]),
        json!({"a": 1}),
        json!(0.5),
    ];
    for (n, amount) in odd.iter().enumerate() {
        let answer = shim.call(&n.to_string(), "create_refund", json!({"customer": "cus_1", "amount": amount})).await;
        assert!(matches!(outcome(&answer), Some("unattended" | "denied")), "{amount}: {answer}");
    }
    let missing = shim.call("missing", "create_refund", json!({"customer": "cus_1"})).await;
    assert_eq!(outcome(&missing), Some("unattended"), "{missing}");
    assert_eq!(spy.all_calls(), 0);
    let small = shim.call("small", "create_refund", json!({"customer": "cus_1", "amount": 5000})).await;
    assert_eq!(outcome(&small), None, "{small}");
    daemon.assert_alive().await;
}

/// Functions that look outside, or whose answer nobody can repeat.
#[tokio::test]
async fn pol_016() {
    for call in [
        "http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"}).status_code == 200",
        "opa.runtime().env.HOME",
        "count(net.lookup_ip_addr(\"localhost\")) > 0",
        "rand.intn(\"x\", 10) == 1",
        "time.now_ns() > 0",
        "uuid.rfc4122(\"x\") != \"\"",
    ] {
        does_not_start(&allow(&format!("\t{call}")), "error").await;
    }
}

/// Files that others can write or put there, at the start and at a reload; what an editor leaves lying about is not read.
#[tokio::test]
async fn pol_017() {
    let world = tempfile::tempdir().unwrap();
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let foreign = world.path().join("x.rego");
    let open = allow("\ttrue").replace("policy.x", "policy.y").replace("x.a", "y.a");
    std::fs::write(&foreign, &open).unwrap();

    type Deed = fn(&Path, &Path, &str);
    let writable: Deed = |folder, _, text| {
        std::fs::write(folder.join("y.rego"), text).unwrap();
        std::fs::set_permissions(folder.join("y.rego"), std::fs::Permissions::from_mode(0o666)).unwrap();
    };
    let group: Deed = |folder, _, text| {
        std::fs::write(folder.join("y.rego"), text).unwrap();
        std::fs::set_permissions(folder.join("y.rego"), std::fs::Permissions::from_mode(0o664)).unwrap();
    };
    let link: Deed = |folder, foreign, _| symlink(foreign, folder.join("y.rego")).unwrap();
    for deed in [writable, group, link] {
        let spy = Spy::stdio().await;
        let countersign = Countersign::new().upstream(&spy);
        deed(&countersign.dir().join("policies"), &foreign, &open);
        refused(countersign, "can be changed by others").await;

        let mut daemon = Countersign::new().upstream(&spy).start().await;
        let mut shim = daemon.shim().await;
        deed(&policies(&daemon), &foreign, &open);
        daemon.signal(rustix::process::Signal::HUP);
        until_refused(&daemon, 1).await;
        judged_as_before(&mut shim).await;
        daemon.assert_alive().await;
    }

    // Another user's file, where a test may make one.
    if rustix::process::geteuid().is_root() {
        let spy = Spy::stdio().await;
        let countersign = Countersign::new().upstream(&spy);
        let file = countersign.dir().join("policies/y.rego");
        std::fs::write(&file, &open).unwrap();
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        refused(countersign, "belongs to user 12345").await;
    }

    let spy = Spy::stdio().await;
    let countersign = Countersign::new().upstream(&spy);
    let folder = countersign.dir().join("policies");
    symlink("nobody@nowhere.123:456", folder.join(".#policy.rego")).unwrap();
    std::fs::write(folder.join(".policy.rego.swp"), "\0binary").unwrap();
    std::fs::write(folder.join("policy.rego~"), "broken {").unwrap();
    std::fs::create_dir(folder.join("empty.rego")).unwrap();
    let daemon = countersign.start().await;
    judged_as_before(&mut daemon.shim().await).await;
}

/// A policy that allows whatever it does not deny: it is not loaded, at the start or later, unless the configuration
/// says so in as many words; then log, screen and record say it too.
#[tokio::test]
async fn pol_014() {
    let default = allow("\tnot exception") + "\nexception if input.arguments.amount > 100\n";
    does_not_start(&default, "default-allow").await;

    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    std::fs::write(policies(&daemon).join("policy.rego"), &default).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    until_refused(&daemon, 1).await;
    judged_as_before(&mut shim).await;
    daemon.stop().await;

    let spy = Spy::stdio().await;
    let setup = Countersign::with_policy(&default).set("/policy/unsafe_default_allow", json!(true)).upstream(&spy);
    let mut daemon = setup.start().await;
    daemon.logs("policy.unsafe_default_allow is on").await;
    assert_eq!(outcome(&daemon.shim().await.call("a", "create_refund", json!({"Amount": 1000})).await), None);
    assert_eq!(spy.calls("create_refund"), 1);
    daemon.stop().await;
    let records = daemon.records().await;
    let started = records.iter().find(|record| record["kind"] == "started").unwrap();
    assert!(started["body"].as_str().unwrap().contains(r#""unsafe_default_allow":true"#), "{started}");
}

/// What no rule names is denied, be it a tool or a method.
#[tokio::test]
async fn pol_019() {
    let spy = Spy::stdio().await;
    let daemon =
        Countersign::with_policy(&allow("\tstartswith(input.tool.name, \"get_\")")).upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    assert_eq!(outcome(&shim.call("1", "new_tool", json!({})).await), Some("denied"));
    shim.send(&request(2, "resources/read", json!({"uri": "file:///etc/passwd"}))).await;
    assert_eq!(outcome(&shim.answer(2).await), Some("denied"));
    shim.send(&request(3, "tools/execute", json!({"name": "get_balance"}))).await;
    assert_eq!(shim.answer(3).await["error"]["code"], -32601);
    assert_eq!(spy.all_calls(), 0);
}
