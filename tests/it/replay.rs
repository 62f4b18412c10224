//! Recorded calls judged once more: `policy replay`, `policy diff` and `policy shadow`, beside a daemon that runs.

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, FIXTURE_POLICY};
use crate::harness::{Countersign, Spy, outcome};

/// A watched policy: it says something about most calls, and none of it counts.
const WATCHED: &str = r#"package countersign.policy.watched

deny contains {"rule": "watched.balance", "reason": "no balances"} if {
	input.tool.name == "get_balance"
}

hold contains {"rule": "watched.reads", "reason": "a person looks"} if {
	startswith(input.tool.name, "get_")
}

allow contains {"rule": "watched.anything", "reason": "whatever nobody else allows"}

deny contains {"rule": "watched.delete", "reason": "no deletes either"} if {
	input.tool.name == "delete_customer"
}
"#;

/// Two kinds of reads allowed, one call denied.
async fn used(setup: Countersign) -> Daemon {
    let daemon = setup.start().await;
    let mut client = daemon.http();
    client.initialize().await;
    for (n, tool) in ["get_balance", "get_balance", "get_customer"].iter().enumerate() {
        assert_eq!(outcome(&client.call(&n.to_string(), tool, json!({"n": n})).await), None);
    }
    let denied = client.call("d", "delete_customer", json!({"id": "cus_\u{202e}1"})).await;
    assert_eq!(outcome(&denied), Some("denied"));
    daemon
}

async fn report(daemon: &Daemon, arguments: &[&str]) -> Value {
    let (text, code) = daemon.run(&[arguments, &["-o", "json"]].concat()).await;
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn recorded_calls_are_judged_by_policies_that_are_not_in_force_yet() {
    let spy = Spy::http().await;
    let setup = Countersign::new().upstream(&spy);
    let folder = setup.dir().to_owned();
    let daemon = used(setup).await;

    // What is in force changes nothing.
    let same = report(&daemon, &["policy", "replay", "--since", "1h"]).await;
    assert_eq!(same["would"], json!({"allow": 3, "hold": 0, "deny": 1, "fail": 0}), "{same}");
    assert_eq!((&same["changed"], &same["changes"], &same["not_judged"]), (&json!(0), &json!([]), &json!([])));

    // A draft holds one kind of call, and chokes on another.
    let draft = folder.join("draft");
    std::fs::create_dir(&draft).unwrap();
    let text = format!(
        "{FIXTURE_POLICY}\nhold contains {{\"rule\": \"fixture.balance\", \"reason\": \"r\", \"tier\": \"high\"}} if input.tool.name == \"get_balance\"\n\ndeny contains {{\"rule\": \"fixture.odd\", \"reason\": \"r\"}} if {{\n\tinput.tool.name == \"get_customer\"\n\tto_number(input.tool.name) > 1\n}}\n"
    );
    std::fs::write(draft.join("policy.rego"), text).unwrap();
    let draft = draft.to_str().unwrap();
    let changed = report(&daemon, &["policy", "replay", "--since", "1h", "--policy", draft]).await;
    assert_eq!(changed["would"], json!({"allow": 0, "hold": 2, "deny": 1, "fail": 1}), "{changed}");
    let rows = changed["changes"].as_array().unwrap();
    let row = |operation: &str| rows.iter().find(|row| row["operation"] == operation).unwrap();
    let balance = row("get_balance");
    assert_eq!((&balance["from"], &balance["to"]), (&json!("allow"), &json!("hold (high)")));
    assert_eq!((&balance["rule"], &balance["count"]), (&json!("fixture.balance"), &json!(2)));
    assert_eq!(row("get_customer")["to"], "fail");
    assert_eq!(rows.len(), 2);
    // An example is a call that the record knows.
    let example = balance["examples"][0].as_str().unwrap();
    assert!(daemon.run(&["audit", "show", example]).await.0.contains("get_balance"));

    let check = ["policy", "replay", "--since", "1h", "--fail-on-change"];
    assert_eq!(daemon.run(&check).await.1, 0);
    let (text, code) = daemon.run(&[&check[..], &["--policy", draft]].concat()).await;
    assert_eq!(code, 1);
    assert!(text.contains("3 decisions change:") && text.contains("allow -> hold (high) by fixture.balance"), "{text}");
    // Nothing outside of the window counts.
    let none = report(&daemon, &["policy", "replay", "--since", "1h", "--until", "30m"]).await;
    assert_eq!(none["would"]["allow"], 0);
    assert_eq!(report(&daemon, &["policy", "replay", "--server", "other"]).await["would"]["deny"], 0);

    let old = folder.join("policies");
    let both = report(&daemon, &["policy", "diff", old.to_str().unwrap(), draft, "--since", "1h"]).await;
    // Beside the built-in families, whose scopes are asked for too.
    assert_eq!(both["changes"].as_array().unwrap().len(), 2, "{both}");
    assert_eq!(spy.all_calls(), 3, "nothing is called");
}

/// Records that do not say everything are counted and named, and never taken for something.
#[tokio::test]
async fn what_cannot_be_judged_again_is_named() {
    let spy = Spy::http().await;
    let mut daemon = used(Countersign::new().upstream(&spy)).await;
    daemon.stop().await;
    let db = daemon.state_dir().join("audit.db");
    // As a version wrote it that did not record the clock. (A log that is not intact can be read all the same.)
    let script = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
guards = db.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
for name, _ in guards: db.execute(f"drop trigger {name}")
first = "(select min(seq) from records where kind = 'decided')"
db.execute(f"""update records set body = replace(body, '"judged"', '"before"') where seq = {first}""")
for _, sql in guards: db.execute(sql)
db.commit()
"#;
    let changed = std::process::Command::new("python3").args(["-c", script]).arg(&db).output().unwrap();
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    let after = report(&daemon, &["policy", "replay", "--since", "1h"]).await;
    assert_eq!(after["would"], json!({"allow": 2, "hold": 0, "deny": 1, "fail": 0}), "{after}");
    let skipped = &after["not_judged"][0];
    assert!(skipped["count"] == 1 && skipped["examples"][0].as_str().unwrap().len() == 12, "{after}");
    let (text, _) = daemon.run(&["policy", "replay"]).await;
    assert!(text.contains("not judged: 1 written by a version that did not record everything"), "{text}");
}

#[tokio::test]
async fn a_watched_policy_shows_what_it_would_have_done() {
    let spy = Spy::http().await;
    let setup = Countersign::new().upstream(&spy).policy("watched.rego", WATCHED);
    let daemon = used(setup.set("/policy/modes", json!({"watched": "shadow"}))).await;
    // Nothing allows it, and nothing else denies it.
    let mut client = daemon.http();
    client.initialize().await;
    assert_eq!(outcome(&client.call("e", "export_all", json!({})).await), Some("denied"));
    let seen = report(&daemon, &["policy", "shadow", "--since", "1h"]).await;
    assert_eq!(seen["calls"], 5);
    let loose = &seen["rules"]["watched.anything"];
    assert_eq!(
        (&loose["hits"], &loose["may_allow"]["count"], &loose["nothing_new"]),
        (&json!(5), &json!(1), &json!(4))
    );
    let counts = |rule: &str| {
        let rule = &seen["rules"][rule];
        let count = |what: &str| rule[what]["count"].as_u64().unwrap();
        (
            rule["hits"].as_u64().unwrap(),
            count("would_deny"),
            count("would_hold"),
            rule["nothing_new"].as_u64().unwrap(),
        )
    };
    assert_eq!(counts("watched.balance"), (2, 2, 0, 0), "{seen}");
    assert_eq!(counts("watched.reads"), (3, 0, 3, 0), "{seen}");
    assert_eq!(counts("watched.delete"), (1, 0, 0, 1), "it was denied anyway");
    let (text, code) = daemon.run(&["policy", "shadow"]).await;
    assert!(code == 0 && text.contains("watched.reads (watched): 3 times\n  would hold 3, for example "), "{text}");
    assert!(text.contains("watched.anything (watched): 5 times\n  may let through 1, for example "), "{text}");
}

/// Over everything that the catalogs know.
#[tokio::test]
async fn two_sets_of_policies_are_compared_over_every_operation() {
    let folder = tempfile::tempdir().unwrap();
    let frozen = "package countersign.policy.frozen\n\ndeny contains {\"rule\": \"frozen.refunds\", \"reason\": \"r\"} if input.operation.name == \"create_refund\"\n";
    std::fs::write(folder.path().join("frozen.rego"), frozen).unwrap();
    let spy = Spy::http().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let path = folder.path().to_str().unwrap();
    let same = report(&daemon, &["policy", "diff", "builtin", "builtin", "--fail-on-change"]).await;
    assert_eq!(same["changes"], json!([]));
    assert!(same["old"]["decides"]["hold"].as_u64().unwrap() > 10, "{same}");
    let differs = report(&daemon, &["policy", "diff", "builtin", path]).await;
    let rows = differs["changes"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["rule"] == "frozen.refunds"), "{differs}");
    assert!(
        rows.iter()
            .any(|row| row["server"] == "stripe in production" && row["operation"] == "create_refund (financial)"),
        "{differs}"
    );
    assert_eq!(daemon.run(&["policy", "diff", "builtin", path, "--fail-on-change"]).await.1, 1);
    // A limit that is raised lets more through, and nothing else about the two sets differs.
    let limit = |name: &str, most: u32| {
        let data = format!("destructive: {{ limits: {{ production: {{ create_refund: {{ minor: {most} }} }} }} }}\n");
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("data.yaml"), data).unwrap();
        folder.path().join(name).display().to_string()
    };
    let (low, high) = (limit("low", 5000), limit("high", 500_000));
    let raised = report(&daemon, &["policy", "diff", &low, &high]).await;
    let rows = raised["changes"].as_array().unwrap();
    let row = rows.iter().find(|row| row["server"] == "stripe in production").unwrap_or_else(|| panic!("{raised}"));
    assert_eq!((&row["from"], &row["to"]), (&json!("hold (high)"), &json!("allow")), "{raised}");
    assert_eq!(row["examples"][0], "everything with /amount 5001", "{raised}");
    let data = json!([{"path": "/destructive/limits/production/create_refund/minor", "old": 5000, "new": 500_000}]);
    assert_eq!(raised["data"], data);
    assert_eq!(daemon.run(&["policy", "diff", "builtin", "/nowhere"]).await.1, 2);
}

/// Nothing has been spent in a sample: what changes about budgets is said by itself.
#[tokio::test]
async fn budgets_that_differ_are_listed_beside_the_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let set = |name: &str, text: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("data.yaml"), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let old = set("old", "budgets: { stripe: { create_refund: { hour: { count: 5, sum: { any: 50000 } } } } }\n");
    let new = set(
        "new",
        "budgets: { stripe: { create_refund: { with: [PostRefunds], hour: { count: 3, sum: { any: 50000 } } }, \"POST /x\": { day: { count: 1 } } } }\n",
    );
    let spy = Spy::http().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let config = daemon.config().to_str().unwrap();
    let words = ["policy", "diff", &old, &new, "--config", config];
    let differs = report(&daemon, &words).await;
    let at = |path: &str| {
        let rows = differs["data"].as_array().unwrap();
        rows.iter().find(|row| row["path"] == path).cloned().unwrap_or_default()
    };
    assert_eq!(differs["data"].as_array().unwrap().len(), 3, "{differs}");
    let count = "/budgets/stripe/create_refund/hour/count";
    assert_eq!(at(count), json!({"path": count, "old": 5, "new": 3}), "{differs}");
    assert_eq!(at("/budgets/stripe/create_refund/with")["new"], json!(["PostRefunds"]));
    assert_eq!(at("/budgets/stripe/POST ~1x/day/count")["new"], json!(1));
    let (told, code) = daemon.run(&words).await;
    assert!(code == 0 && told.contains(&format!("  {count}: 5 -> 3\n")), "{told}");
    assert_eq!(
        daemon.run(&[&words[..], &["--fail-on-change"]].concat()).await.1,
        1,
        "a budget is a decision some time"
    );
    let same = report(&daemon, &["policy", "diff", &old, &old, "--config", config, "--fail-on-change"]).await;
    assert_eq!(same["data"], json!([]));
}
