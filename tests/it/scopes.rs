//! Scopes with conditions and budgets, as agents and operators meet them.

use serde_json::{Value, json};

use crate::harness::{Act, Countersign, Spy, call, outcome, request};

/// The server's name in the configuration.
const SERVER: &str = "fixture";
const REFUND: &str = "create_refund";

const OPEN: &str = "package countersign.policy.open\n\n\
                    allow contains {\"rule\": \"open\", \"reason\": \"all\"} if input.method\n";

/// A sandbox whose catalog knows money, judged by the scopes alone: the client on stdio has these.
fn scoped(spy: &Spy, scopes: Value) -> Countersign {
    let uid = rustix::process::getuid().as_raw();
    let server = json!({"environment": "sandbox", "vendor": "billing", "upstream": spy.upstream.clone()});
    Countersign::with_policy("package countersign.lib.nothing\n")
        .set("/policy/builtin", json!(["scopes"]))
        .set("/principals", json!([{"name": "local", "match": {"uid": uid}, "scopes": scopes}]))
        .server(SERVER, server)
}

/// Budgets, and a rule of the operator's that allows everything: decisions are made side by side on other threads.
fn budgeted(spy: &Spy, budgets: &str) -> Countersign {
    let server = json!({"environment": "sandbox", "vendor": "billing", "upstream": spy.upstream.clone()});
    Countersign::with_policy(OPEN)
        .set("/policy/builtin", json!(["scopes"]))
        .server(SERVER, server)
        .policy("data.yaml", &format!("budgets: {{ {SERVER}: {budgets} }}\n"))
}

fn reason(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

/// Every value that could pass for a small amount, and every one that may.
#[tokio::test]
async fn conditions_and_odd_values() {
    let spy = Spy::stdio().await;
    let scopes = json!([
        "fixture/read",
        {"scope": "fixture/create_refund", "where": {
            "/amount": {"max": 5000, "min": 1}, "/customer": {"prefix": "cus_eu_"}, "/reason": {"in": ["duplicate", "fraud"]},
            "/destination": {"absent": true},
        }},
    ]);
    let daemon = scoped(&spy, scopes).start().await;
    let mut shim = daemon.shim().await;
    let good = json!({"amount": 5000, "customer": "cus_eu_1", "reason": "fraud"});
    let mut wanted = 0;
    let mut number = 0;
    let cases: Vec<(&str, &str, bool)> = vec![
        ("amount", "5000", true),
        ("amount", "1", true),
        ("amount", "1e3", true),
        ("amount", "5001", false),
        ("amount", "0", false),
        ("amount", "-5", false),
        ("amount", "10.5", false),
        ("amount", "\"5000\"", false),
        ("amount", "null", false),
        ("amount", "[5000]", false),
        ("amount", "{\"value\":1}", false),
        ("amount", "true", false),
        ("amount", "1e18", false),
        ("customer", "\"cus_eu_\"", true),
        ("customer", "\"cus_us_1\"", false),
        ("customer", "\"CUS_EU_1\"", false),
        ("customer", "[\"cus_eu_1\"]", false),
        ("customer", "null", false),
        ("customer", "\" cus_eu_1\"", false),
        ("reason", "\"duplicate\"", true),
        ("reason", "\"Duplicate\"", false),
        ("reason", "\"other\"", false),
        ("destination", "null", false),
        ("destination", "\"acct_1\"", false),
        ("Amount2", "1", true),
    ];
    for (name, value, passes) in cases {
        let mut arguments = good.clone();
        arguments[name] = serde_json::from_str(value).unwrap();
        number += 1;
        shim.send(&call(number, REFUND, arguments)).await;
        let answer = shim.answer(number).await;
        assert_eq!(outcome(&answer), (!passes).then_some("denied"), "{name}: {value}: {answer}");
        wanted += usize::from(passes);
    }
    for missing in ["amount", "customer", "reason"] {
        let mut arguments = good.clone();
        arguments.as_object_mut().unwrap().remove(missing);
        number += 1;
        shim.send(&call(number, REFUND, arguments)).await;
        assert_eq!(outcome(&shim.answer(number).await), Some("denied"), "no {missing}");
    }
    assert_eq!(spy.calls(REFUND), wanted);
}

#[tokio::test]
async fn a_list_shows_what_a_condition_may_cover() {
    let tools = json!({"tools": [
        {"name": "get_customer", "inputSchema": {"type": "object"}},
        {"name": REFUND, "inputSchema": {"type": "object"}},
        {"name": "delete_customer", "inputSchema": {"type": "object"}},
    ]});
    let over = json!({"from": "00:00", "to": "00:01", "days": ["mon"], "zone": "Pacific/Apia"});
    for (scopes, shown) in [
        (json!(["fixture/read"]), vec!["get_customer"]),
        (json!([{"scope": "fixture/create_refund", "where": {"/amount": {"max": 1}}}]), vec![REFUND]),
        (json!([{"scope": "fixture/create_refund", "amount": {"max": 1}, "hours": over}]), vec![REFUND]),
        (json!([{"scope": "fixture/*", "environments": ["sandbox"]}]), vec!["get_customer", REFUND, "delete_customer"]),
        (json!([{"scope": "fixture/*", "environments": ["production"]}]), vec![]),
        (json!([{"scope": "fixture/*", "until": "2001-01-01T00:00:00Z"}]), vec![]),
    ] {
        let list = tools.clone();
        let spy = Spy::stdio_with(move |received, _| {
            (received.method() == "tools/list").then(|| vec![Act::Result(list.clone())])
        })
        .await;
        let daemon = scoped(&spy, scopes.clone()).start().await;
        let mut shim = daemon.shim().await;
        shim.send(&request(1, "tools/list", json!({}))).await;
        let answer = shim.answer(1).await;
        let names: Vec<&str> =
            answer["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, shown, "{scopes}");
    }
}

/// Five calls at once, from two sessions of one principal, under a budget of three.
#[tokio::test]
async fn calls_side_by_side_cannot_all_have_what_is_left() {
    for _ in 0..3 {
        let spy = Spy::stdio().await;
        let daemon = budgeted(&spy, "{ create_refund: { hour: { count: 3 } } }").start().await;
        let (mut one, mut two) = (daemon.shim().await, daemon.shim().await);
        for n in 1..=5 {
            let shim = if n % 2 == 0 { &mut one } else { &mut two };
            shim.send(&call(n, REFUND, json!({"customer": "cus_1", "amount": n}))).await;
        }
        let mut refused = 0;
        for n in 1..=5 {
            let answer = if n % 2 == 0 { one.answer(n).await } else { two.answer(n).await };
            if let Some(outcome) = outcome(&answer) {
                assert_eq!(outcome, "denied", "{answer}");
                let text = reason(&answer);
                assert!(text.contains("the budget `create_refund` of this principal is 3 calls per hour"), "{text}");
                assert!(text.contains("free again not before 20"), "{text}");
                refused += 1;
            }
        }
        assert_eq!((spy.calls(REFUND), refused), (3, 2));
        // Another principal has its own.
        let mut http = daemon.http();
        http.initialize().await;
        let answer = http.call("1", REFUND, json!({"customer": "cus_1", "amount": 1})).await;
        assert_eq!(outcome(&answer), None, "{answer}");
    }
}

#[tokio::test]
async fn a_restart_gives_no_budget_back() {
    let spy = Spy::stdio().await;
    let daemon = budgeted(&spy, "{ create_refund: { hour: { count: 2 }, day: { sum: { any: 2000 } } } }").start().await;
    let mut shim = daemon.shim().await;
    assert_eq!(outcome(&shim.call("1", REFUND, json!({"customer": "c", "amount": 400})).await), None);
    drop(shim);
    let daemon = daemon.kill().await.start().await;
    let mut shim = daemon.shim().await;
    let answer = shim.call("2", REFUND, json!({"customer": "c", "amount": 1601})).await;
    assert!(reason(&answer).contains("is 2000 (any) per day; 400 are spent, and this would add 1601"), "{answer}");
    assert_eq!(outcome(&shim.call("3", REFUND, json!({"customer": "c", "amount": 600})).await), None);
    let mut daemon = daemon;
    drop(shim);
    daemon.stop().await;
    let mut records = daemon.records().await;
    let daemon = daemon.kill().await.start().await;
    let mut shim = daemon.shim().await;
    let answer = shim.call("4", REFUND, json!({"customer": "c", "amount": 1})).await;
    assert!(reason(&answer).contains("is 2 calls per hour, and 2 are spent"), "{answer}");
    assert_eq!(spy.calls(REFUND), 2);
    // What the rules saw is in the record.
    records.retain(|record| record["kind"] == "decided");
    let body: Value = serde_json::from_str(records[2]["body"].as_str().unwrap()).unwrap();
    let history = &body["history"];
    assert_eq!(history["principal"]["operations"][REFUND]["day"]["sum"], json!({"none": 400}), "{body:#?}");
    assert_eq!(history["adds"], json!({"count": 1, "unknown": 0, "sum": {"none": 600}}));
}

/// What is approved is counted when it leaves, and judged by what is left then.
#[tokio::test]
async fn held_calls_are_judged_by_what_is_left_when_they_are_released() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new()
        .set("/policy/builtin", json!(["scopes"]))
        .upstream(&spy)
        .policy("data.yaml", &format!("budgets: {{ {SERVER}: {{ create_refund: {{ hour: {{ count: 1 }} }} }} }}\n"))
        .start()
        .await;
    let mut console = daemon.console().await;
    let mut shim = daemon.shim().await;
    shim.send(&call(1, REFUND, json!({"amount": 1}))).await;
    let first = console.hold().await;
    shim.send(&call(2, REFUND, json!({"amount": 2}))).await;
    console.pending(2).await;
    let second = console.list().await.into_iter().find(|hold| hold.id != first.id).unwrap();
    // A rejected one spends nothing.
    shim.send(&call(3, REFUND, json!({"amount": 3}))).await;
    console.pending(3).await;
    let third = console.list().await.into_iter().find(|hold| ![&first.id, &second.id].contains(&&hold.id)).unwrap();
    console.reject(&third, "no").await.unwrap();
    assert_eq!(outcome(&shim.answer(3).await), Some("rejected"));
    console.approve(&first).await.unwrap();
    assert_eq!(outcome(&shim.answer(1).await), None);
    console.approve(&second).await.unwrap();
    let answer = shim.answer(2).await;
    assert_eq!(outcome(&answer), Some("denied"));
    assert!(reason(&answer).contains("is 1 calls per hour, and 1 are spent"), "{answer}");
    assert_eq!(spy.calls(REFUND), 1);
}

#[tokio::test]
async fn what_cannot_be_counted_cannot_be_spent() {
    let spy = Spy::stdio().await;
    let daemon = budgeted(&spy, "{ create_refund: { hour: { sum: { any: 500 } } } }").start().await;
    let mut shim = daemon.shim().await;
    for (n, amount) in ["null", "-5", "0", "\"1e2\"", "[5]", "{}", "1e17", "true"].into_iter().enumerate() {
        let amount: Value = serde_json::from_str(amount).unwrap();
        shim.send(&call(n, REFUND, json!({"customer": "c", "amount": amount}))).await;
        let answer = shim.answer(n).await;
        assert!(reason(&answer).contains("names no amount that can be counted"), "{amount}: {answer}");
    }
    let answer = shim.call("a", REFUND, json!({"customer": "c"})).await;
    assert!(reason(&answer).contains("names no amount"), "a full refund: {answer}");
    for (id, amount, passes) in
        [("b", json!("100.50"), true), ("c", json!(3e2), true), ("d", json!(99.51), false), ("e", json!(99.5), true)]
    {
        let answer = shim.call(id, REFUND, json!({"customer": "c", "amount": amount})).await;
        assert_eq!(outcome(&answer).is_none(), passes, "{amount}: {answer}");
    }
    assert_eq!(spy.calls(REFUND), 3);
}

/// A policy reload that brings a budget knows what was let through before it, in this run and in the one before.
#[tokio::test]
async fn a_budget_that_comes_later_knows_what_was_before() {
    let spy = Spy::stdio().await;
    let daemon = budgeted(&spy, "{}").start().await;
    let folder = daemon.state_dir().parent().unwrap().join("policies");
    let mut shim = daemon.shim().await;
    assert_eq!(outcome(&shim.call("1", REFUND, json!({"customer": "c", "amount": 1})).await), None);
    drop(shim);
    let daemon = daemon.kill().await.start().await;
    let mut shim = daemon.shim().await;
    assert_eq!(outcome(&shim.call("2", REFUND, json!({"customer": "c", "amount": 1})).await), None);
    let budget = format!("budgets: {{ {SERVER}: {{ create_refund: {{ hour: {{ count: 3 }} }} }} }}\n");
    std::fs::write(folder.join("data.yaml"), budget).unwrap();
    daemon.logs("policy loaded").await;
    assert_eq!(outcome(&shim.call("3", REFUND, json!({"customer": "c", "amount": 1})).await), None);
    let answer = shim.call("4", REFUND, json!({"customer": "c", "amount": 1})).await;
    assert!(reason(&answer).contains("3 are spent"), "{answer}");
    assert_eq!(spy.calls(REFUND), 3);
}

/// A call that never left gives its place back.
#[tokio::test]
async fn a_server_that_cannot_be_reached_spends_nothing() {
    let spy = Spy::http().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let upstream = json!({"http": {"url": format!("http://{dead}/mcp"), "allow_plain_http": true}});
    let daemon = budgeted(&spy, "{ create_refund: { hour: { count: 1 } } }")
        .set(&format!("/servers/{SERVER}/upstream"), upstream)
        .start()
        .await;
    let http = daemon.http();
    for n in 1..=3 {
        let message = crate::harness::stateless(call(n, REFUND, json!({"customer": "c", "amount": 1})), json!({}));
        let mut reply = http.stateless(&message).await;
        let answer = reply.answer(n).await;
        assert!(answer.to_string().contains("was not sent"), "{n}: {answer}");
    }
}

#[tokio::test]
async fn an_odd_budget_is_refused_with_its_place() {
    let spy = Spy::stdio().await;
    for (budgets, said) in [
        ("{ create_refund: { huor: { count: 5 } } }", "unknown field `huor`"),
        ("{ create_refund: { hour: { count: -5 } } }", "data.yaml:1:"),
        ("{ create_refund: { hour: { count: 1.5 } } }", "data.yaml:1:"),
        ("{ create_refund: { hour: { sum: { EUR: 5 } } } }", "is no currency"),
        ("{ create_refund: { hour: { sum: { eur: -1 } } } }", "is no limit"),
        ("{ create_refund: { hour: {} } }", "says nothing"),
        ("{ create_refund: {} }", "limits nothing"),
        ("{ financial: { hour: { sum: { any: 5 } } } }", "different units"),
    ] {
        let (status, log) = budgeted(&spy, budgets).refuses().await;
        assert!(!status.success() && log.contains(said) && log.contains("data.yaml:1:"), "{budgets}: {log}");
    }
    let (status, log) =
        budgeted(&spy, "{ a: { hour: { count: 1 } } }, fixtrue: { a: { hour: { count: 1 } } }").refuses().await;
    assert!(!status.success() && log.contains("fixtrue"), "{log}");
    let without = budgeted(&spy, "{ a: { hour: { count: 1 } } }").set("/policy/builtin", json!([]));
    let (status, log) = without.refuses().await;
    assert!(!status.success() && log.contains("nothing keeps these budgets"), "{log}");
}

#[tokio::test]
async fn eval_says_which_history_it_used_and_takes_conditions() {
    let spy = Spy::stdio().await;
    let scopes = json!([{"scope": "fixture/create_refund", "amount": {"max": 5000}}]);
    let daemon = scoped(&spy, scopes)
        .policy(
            "data.yaml",
            &format!("budgets: {{ {SERVER}: {{ create_refund: {{ hour: {{ sum: {{ any: 100 }} }} }} }} }}\n"),
        )
        .start()
        .await;
    let eval = async |amount: &str, more: &[&str]| {
        let arguments = format!(r#"{{"customer":"c","amount":{amount}}}"#);
        let command = ["policy", "eval", "--server", SERVER, "--tool", REFUND, "--arguments", &arguments];
        daemon.run(&[&command[..], more].concat()).await
    };
    let (text, code) = eval("100", &["-o", "json"]).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["effect"]), (0, &json!("allow")), "{text}");
    assert_eq!(report["history"]["adds"], json!({"count": 1, "unknown": 0, "sum": {"none": 100}}), "{text}");
    assert_eq!(report["history"]["principal"]["operations"][REFUND]["hour"]["count"], 0);
    let (text, _) = eval("101", &[]).await;
    assert!(text.starts_with("deny: the budget `create_refund`") && text.contains("history: as if nothing"), "{text}");
    let (text, _) = eval("5001", &[]).await;
    assert!(text.starts_with("deny"), "{text}");
}
