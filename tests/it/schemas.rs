//! Our reading of JSON Schema beside the reference implementation's, on schemas of real servers and on thousands that
//! are made up: what the schema accepts we never refuse.

use std::process::Stdio;

use countersign::json::{JsonText, Rules};
use countersign::pins::schema::{Schema, Verdict};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::daemon::ALLOW_ALL;
use crate::harness::peers::{everything_on_stdio, node, python, source, stripe};
use crate::harness::{Countersign, request, within};

/// What a server lists, without anything of ours between but what passes it on.
async fn input_schemas(upstream: Value) -> Vec<Value> {
    let server = json!({"environment": "sandbox", "upstream": upstream});
    let setup = Countersign::with_policy(ALLOW_ALL).server("fixture", server);
    let setup = setup.set("/secrets/key", json!({"env": "KEY"})).env("KEY", "sk_test_CANARY7pQn3Lr8Ws5Yd");
    let daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    shim.send(&request(1, "tools/list", json!({}))).await;
    let listed = shim.answer(1).await;
    let tools = listed["result"]["tools"].as_array().expect("a list of tools");
    tools.iter().map(|tool| tool["inputSchema"].clone()).collect()
}

async fn judged(schemas: &[Value]) -> String {
    let mut command = Command::new(python());
    command.arg(source("tests/peers/schemas.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(json!(schemas).to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = within("the reference to judge", child.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_the_schema_of_a_tool_accepts_is_never_refused() {
    let stripe = json!({"stdio": {
        "command": node(), "args": [stripe(), "--tools=all"], "env": {"STRIPE_SECRET_KEY": {"secret": "key"}},
    }});
    let mut schemas = input_schemas(everything_on_stdio()).await;
    schemas.extend(input_schemas(stripe).await);
    assert!(schemas.len() > 20, "{}", schemas.len());
    for schema in &schemas {
        let text = JsonText::parse(schema.to_string(), Rules::UPSTREAM).unwrap();
        assert!(Schema::read(text.view()).is_ok(), "{schema}");
    }
    let own = schemas.len() * 60;
    let (mut same, mut unsure, mut own_unsure) = (0, 0, 0);
    for (n, line) in judged(&schemas).await.lines().enumerate() {
        let case = JsonText::parse(line, Rules::UPSTREAM).unwrap();
        let part = |name: &str| JsonText::owned(case.view().get(name).unwrap());
        let valid = part("valid").view().as_bool().unwrap();
        let Ok(schema) = Schema::read(part("schema").view()) else { panic!("{line}") };
        match schema.check(&part("value")) {
            Verdict::Fits => assert!(valid, "we let through {line}"),
            Verdict::Wrong(mismatch) => assert!(!valid, "we refuse ({mismatch}) {line}"),
            Verdict::Unsure => {
                unsure += 1;
                own_unsure += usize::from(n < own);
                continue;
            }
            Verdict::TooMuch => panic!("too much: {line}"),
        }
        same += 1;
    }
    // Were everything unsure, this would say nothing.
    assert!(same > 10 * unsure && same > 6_000, "{same} {unsure}");
    assert_eq!(own_unsure, 0, "schemas of real servers are understood");
}
