//! The way that docs/setup.md promises, from an empty home to the first held call, with a stand-in for the vendor's
//! server; and the commands of the documents, each of which has to exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use regex::Regex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::daemon::{binary, set_mode};
use crate::harness::{Act, Shim, Spy, outcome, within};

const KEY: &str = "sk_test_CANARY7Qm2Zt9XeVb4";

/// A home with nothing in it but a program of the vendor's name.
struct Home(tempfile::TempDir);

impl Home {
    /// `npx` starts the stand-in, whatever package it is asked for.
    fn new(spy: &Spy) -> Home {
        let home = tempfile::Builder::new().prefix("cs-").tempdir().unwrap();
        set_mode(home.path(), 0o700);
        let stdio = &spy.upstream["stdio"];
        let words: Vec<String> = std::iter::once(&stdio["command"])
            .chain(stdio["args"].as_array().unwrap())
            .map(|word| format!("'{}'", word.as_str().unwrap()))
            .collect();
        let socket = stdio["env"]["SPY_SOCKET"].as_str().unwrap();
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let text = format!("#!/bin/sh\nSPY_SOCKET='{socket}' exec {}\n", words.join(" "));
        std::fs::write(bin.join("npx"), text).unwrap();
        set_mode(&bin.join("npx"), 0o755);
        std::os::unix::fs::symlink(binary(), bin.join("countersign")).unwrap();
        Home(home)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The stand-in reaches for the test by a socket, and for an interpreter that lies anywhere: no sandbox has these.
    fn without_sandbox(&self) {
        let path = self.path().join(".config/countersign/countersign.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let command = text.lines().find(|line| line.trim() == "command: npx").unwrap();
        let indent = &command[..command.len() - command.trim_start().len()];
        let text = text.replacen(command, &format!("{command}\n{indent}sandbox: off"), 1);
        std::fs::write(&path, text).unwrap();
    }

    /// A program as it is started from a shell of this home.
    fn command(&self, words: &[&str]) -> Command {
        let (program, args) = words.split_first().unwrap();
        let mut command = Command::new(self.path().join("bin").join(program));
        command.args(args).env_clear().env("HOME", self.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path().join("bin").display()));
        command
    }

    async fn run(&self, words: &[&str]) -> (String, i32) {
        let output = within("a command to end", self.command(words).output()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.stderr.is_empty() {
            eprintln!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        (text, output.status.code().unwrap())
    }
}

/// The vendor's tools, as far as this test calls them.
fn vendor() -> impl Fn(&crate::harness::spy::Received, &[crate::harness::spy::Received]) -> Option<Vec<Act>> {
    |received, _| {
        (received.method() == "tools/list").then(|| {
            let properties = json!({"payment_intent": {"type": "string"}, "amount": {"type": "integer"}});
            let refund = json!({"name": "create_refund", "inputSchema": {"type": "object", "properties": properties}});
            let list = json!({"name": "list_customers", "inputSchema": {"type": "object"}});
            vec![Act::Result(json!({"tools": [list, refund]}))]
        })
    }
}

#[tokio::test]
async fn an_empty_home_becomes_a_held_call_in_the_steps_of_the_document() {
    let spy = Spy::stdio_with(vendor()).await;
    let home = Home::new(&spy);
    assert_eq!(home.run(&["countersign", "doctor"]).await.1, 1, "nothing is there yet");

    let (told, code) = home.run(&["countersign", "init", "--server", "stripe"]).await;
    assert_eq!(code, 0);
    // What it says next is what is done next.
    let line = |start: &str| told.lines().map(str::trim).find(|line| line.starts_with(start)).map(str::to_owned);
    assert!(line("export STRIPE_SANDBOX_KEY=").is_some(), "{told}");
    let serve = line("countersign serve ").unwrap();
    let client = line("claude mcp add stripe -- ").unwrap();
    let entry = line("Cursor, Claude Desktop").unwrap();
    let entry: Value = serde_json::from_str(entry.split_once(": ").unwrap().1).unwrap();
    assert_eq!(entry["mcpServers"]["stripe"], json!({"command": "countersign", "args": ["connect", "stripe"]}));
    let coded = line("code --add-mcp ").unwrap();
    let coded = coded.split_once(' ').unwrap().1.split_once(' ').unwrap().1.trim_matches('\'').to_owned();
    assert_eq!(serde_json::from_str::<Value>(&coded).unwrap()["name"], "stripe");

    home.without_sandbox();
    let words: Vec<&str> = serve.split_whitespace().filter(|word| *word != "--console").collect();
    let mut daemon = home.command(&words);
    let mut daemon = daemon.env("STRIPE_SANDBOX_KEY", KEY).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    within("the daemon to listen", async {
        while !log.next_line().await.unwrap().expect("a daemon that runs").starts_with("listening ") {}
    })
    .await;
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });

    let (report, code) = home.run(&["countersign", "doctor", "-o", "json"]).await;
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("by shim, daemon, policy, server: local sees 2 of 2 tools"), "{report}");
    assert!(!report.contains(KEY));

    // The client starts what `init` said.
    let words: Vec<&str> = client.split_once("-- ").unwrap().1.split_whitespace().collect();
    let mut shim = Shim::start(home.command(&words));
    shim.initialize().await;
    let read = shim.call("read", "list_customers", json!({})).await;
    assert_eq!(outcome(&read), None, "{read}");
    let refund = json!({"payment_intent": "pi_3PqLx2eZvKYlo2C1k8Yt", "amount": 5000});
    shim.send(&crate::harness::call("refund", "create_refund", refund.clone())).await;
    let hold = within("a call that waits", async {
        loop {
            let (text, code) = home.run(&["countersign", "pending", "ls", "-o", "json"]).await;
            assert_eq!(code, 0);
            let listed: Value = serde_json::from_str(text.trim()).unwrap_or_default();
            let first = listed.as_array().map_or(listed.clone(), |all| all.first().cloned().unwrap_or_default());
            if first["id"].is_string() {
                return first;
            }
        }
    })
    .await;
    assert_eq!((&hold["tool"], &hold["arguments"]), (&json!("create_refund"), &refund));
    assert_eq!(spy.calls("create_refund"), 0);
    let (id, digest) = (hold["id"].as_str().unwrap(), hold["digest"].as_str().unwrap());
    assert_eq!(home.run(&["countersign", "pending", "approve", id, "--digest", digest]).await.1, 0);
    let answer = shim.answer("refund").await;
    assert_eq!(outcome(&answer), None, "{answer}");
    assert_eq!(spy.calls("create_refund"), 1);
    assert_eq!(home.run(&["countersign", "audit", "verify"]).await.1, 0);
}

/// The other vendors' configurations are read by the same doctor; their servers are on the network and not asked.
#[tokio::test]
async fn what_init_writes_for_every_vendor_is_sound() {
    let spy = Spy::stdio_with(vendor()).await;
    for (vendor, variable, key) in [
        ("stigg", "STIGG_SERVER_KEY", "server-8f2c1d7e4b9a4f0e9c3d5a7b6e1f2c3d"),
        ("statsig", "STATSIG_CONSOLE_KEY", "console-7Qm2Zt9XeVb4Lk8Wp3Rn6Yc1"),
    ] {
        let home = Home::new(&spy);
        assert_eq!(home.run(&["countersign", "init", "--server", vendor]).await.1, 0);
        let mut command = home.command(&["countersign", "doctor", "-o", "json"]);
        let output = within("the doctor", command.env(variable, key).output()).await.unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let problems: Vec<&Value> =
            report["findings"].as_array().unwrap().iter().filter(|found| found["level"] == "problem").collect();
        assert_eq!(problems.len(), 1, "{vendor}: {problems:?}");
        assert_eq!(problems[0]["check"], "daemon", "no daemon runs, and nothing else is wrong");
    }
}

/// The call that the document names for each vendor waits, with what `init` writes and nothing else.
#[tokio::test]
async fn the_first_call_of_every_vendor_waits() {
    let spy = Spy::stdio().await;
    let gate = |more: &str| {
        format!(
            r#"{{"params":{{"path_id":"new_checkout","application/json":{{"rules":[{{"name":"all","passPercentage":20{more}}}]}}}}}}"#
        )
    };
    let refund = r#"{"payment_intent":"pi_1","amount":5000}"#.to_owned();
    for (vendor, tool, arguments) in [
        ("stripe", "create_refund", refund),
        ("stigg", "execute", r#"{"code":"async function run(client) { return 1 }","intent":"look"}"#.to_owned()),
        ("statsig", "Update_Gate_Entirely", gate("")),
        ("statsig", "Update_Gate_Entirely", gate(r#","environments":["production"]"#)),
        ("statsig", "Create_Gate", gate("")),
    ] {
        let home = Home::new(&spy);
        assert_eq!(home.run(&["countersign", "init", "--server", vendor]).await.1, 0);
        let words = ["countersign", "policy", "eval", "--server", vendor, "--tool", tool, "--arguments", &arguments];
        let (decided, _) = home.run(&[&words[..], &["-o", "json"]].concat()).await;
        let decided: Value = serde_json::from_str(&decided).unwrap();
        assert_eq!(decided["effect"], "hold", "{vendor} {tool} {arguments}: {decided}");
    }
}

/// The server of Statsig's V3: some tools have names, the rest is looked up and called by handle.
fn statsig_v3() -> impl Fn(&crate::harness::spy::Received, &[crate::harness::spy::Received]) -> Option<Vec<Act>> {
    |received, _| {
        let found = |operation: &str, lane: &str, handle: &str| {
            let (method, path) = operation.split_once(' ').unwrap();
            json!({"operationId": format!("op_{handle}"), "method": method, "path": path,
                   "executeWith": {"tool": lane, "operationHandle": handle}})
        };
        let results = json!({"results": [
            found("GET /console/v1/gates/{id}/rules", "api_read", "h_rules"),
            found("PATCH /console/v1/gates/{id}/rules/{ruleID}", "api_write", "h_rule"),
            found("DELETE /console/v1/gates/{id}", "api_destructive", "h_delete"),
        ]});
        let looks = received.tool() == "discover_tools";
        looks.then(|| vec![Act::Result(json!({"content": [{"type": "text", "text": results.to_string()}]}))])
    }
}

/// What `init` writes is enough for a gate at V3: reading, looking up, and a rollout that waits.
#[tokio::test]
async fn a_rollout_by_handle_waits_with_what_init_writes() {
    let spy = Spy::http_with(statsig_v3()).await;
    let home = Home::new(&Spy::stdio().await);
    assert_eq!(home.run(&["countersign", "init", "--server", "statsig"]).await.1, 0);
    let path = home.path().join(".config/countersign/countersign.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let url = spy.upstream["http"]["url"].as_str().unwrap();
    std::fs::write(
        &path,
        text.replace("https://api.statsig.com/v1/mcp", &format!("{url}\n        allow_plain_http: true")),
    )
    .unwrap();

    let mut daemon = home.command(&["countersign", "serve"]);
    daemon.env("STATSIG_CONSOLE_KEY", "console-7Qm2Zt9XeVb4Lk8Wp3Rn6Yc1");
    let mut daemon = daemon.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    within("the daemon to listen", async {
        loop {
            let line = log.next_line().await.unwrap().expect("a daemon that runs");
            assert!(!line.contains("covers nothing"), "{line}");
            if line.starts_with("listening ") {
                break;
            }
        }
    })
    .await;
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });

    let mut shim = Shim::start(home.command(&["countersign", "connect", "statsig"]));
    shim.initialize().await;
    let by_handle = |handle: &str, body: Value| json!({"operationHandle": handle, "arguments": {"params": {"id": "new_checkout", "ruleID": "r_1", "application/json": body}}});
    for (id, tool, arguments) in [
        ("read", "gate_read", json!({"action": "get", "arguments": {"id": "new_checkout"}})),
        ("look", "discover_tools", json!({"action": "resolve", "query": "roll out a gate"})),
        ("rules", "api_read", by_handle("h_rules", json!({}))),
    ] {
        let answer = shim.call(id, tool, arguments).await;
        assert_eq!(outcome(&answer), None, "{tool}: {answer}");
    }
    let deleted = shim.call("delete", "api_destructive", by_handle("h_delete", json!({}))).await;
    assert_eq!(outcome(&deleted), Some("denied"), "{deleted}");
    let rollout = by_handle("h_rule", json!({"passPercentage": 20}));
    shim.send(&crate::harness::call("rollout", "api_write", rollout)).await;
    let update = json!({"params": {"id": "new_checkout", "rules": [{"name": "all", "passPercentage": 20}]}});
    let update = json!({"arguments": update, "confirmation": {"acknowledged": true, "reason": "asked"}});
    shim.send(&crate::harness::call("update", "gate_update", update)).await;
    let holds = within("two calls that wait", async {
        loop {
            let (text, code) = home.run(&["countersign", "pending", "ls", "-o", "json"]).await;
            assert_eq!(code, 0);
            let listed: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let listed: Vec<Value> =
                listed.into_iter().flat_map(|one| one.as_array().cloned().unwrap_or(vec![one])).collect();
            if listed.iter().filter(|hold| hold["id"].is_string()).count() == 2 {
                return listed;
            }
        }
    })
    .await;
    let mut waits: Vec<_> =
        holds.iter().map(|hold| (hold["operation"].as_str().unwrap_or_default(), &hold["tier"])).collect();
    waits.sort_by_key(|(operation, _)| operation.to_owned());
    let high = json!("high");
    assert_eq!(waits, [("PATCH /console/v1/gates/{id}/rules/{ruleID}", &high), ("gate_update", &high)]);
    assert_eq!((spy.calls("api_write"), spy.calls("gate_update"), spy.calls("api_destructive")), (0, 0, 0));
}

/// The configuration for an account of its own is whole: it loads as it stands, beside the policies of `init`.
#[tokio::test]
async fn the_configuration_for_an_account_of_its_own_loads() {
    let spy = Spy::stdio().await;
    let home = Home::new(&spy);
    assert_eq!(home.run(&["countersign", "init", "--server", "stripe"]).await.1, 0);
    let document = std::fs::read_to_string("docs/setup.md").unwrap();
    let part = document.split("\n## An account of its own\n").nth(1).unwrap();
    let yaml = part.split("\n```yaml\n").nth(1).unwrap().split("\n```\n").next().unwrap();
    let path = home.path().join(".config/countersign/countersign.yaml");
    std::fs::write(&path, yaml).unwrap();
    let refund = r#"{"payment_intent": "pi_1", "amount": 5000}"#;
    let words = ["countersign", "policy", "eval", "--server", "stripe", "--principal", "agent", "-o", "json"];
    let (decided, _) = home.run(&[&words[..], &["--tool", "create_refund", "--arguments", refund]].concat()).await;
    let decided: Value = serde_json::from_str(&decided).unwrap();
    assert_eq!(decided["effect"], "hold", "{decided}");
}

/// The help of a command: its options, and what is below it.
fn help(words: &[&str], known: &mut BTreeMap<String, Option<String>>) -> Option<String> {
    let ask = || {
        let output = std::process::Command::new(binary()).args(words).arg("--help").output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    known.entry(words.join(" ")).or_insert_with(ask).clone()
}

/// `countersign` and what follows, wherever a document shows it as code.
fn shown(text: &str) -> Vec<String> {
    let inline = Regex::new("`(countersign [^`]+)`").unwrap();
    let mut found: Vec<String> = inline.captures_iter(text).map(|found| found[1].to_owned()).collect();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let code = fenced || line.starts_with("    ");
        if let Some(at) = line.find("countersign ").filter(|_| code && !line.contains('"')) {
            let begins = line[..at].is_empty() || line[..at].ends_with([' ', '/']);
            // After the account of that name comes the program.
            let text = line[at..].replace("countersign countersign ", "countersign ");
            found.extend(begins.then_some(text));
        }
    }
    found
}

/// No document promises a command or an option that is not there.
#[test]
fn every_command_of_the_documents_exists() {
    let mut documents = vec![PathBuf::from("README.md"), PathBuf::from("policies/README.md")];
    let docs = std::fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let (mut known, mut wrong, mut count) = (BTreeMap::new(), Vec::new(), 0);
    let option = Regex::new("^--[a-z-]+").unwrap();
    for document in documents {
        for line in shown(&std::fs::read_to_string(&document).unwrap()) {
            let code = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = code.split_whitespace().skip(1).take_while(|word| !word.starts_with('|')).collect();
            let mut command: Vec<&str> = Vec::new();
            for word in &words {
                let top = help(&command, &mut known).unwrap();
                let is_below =
                    top.lines().any(|line| line.starts_with(&format!("  {word} ")) || line == format!("  {word}"));
                if !is_below {
                    break;
                }
                command.push(word);
            }
            if command.is_empty()
                && words.first().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
            {
                // A sentence about countersign, or a list of commands: `ls|show`.
                let first = words[0].split(['|', ',', '\\', '.', ':']).next().unwrap();
                if help(&[first], &mut known).is_none() {
                    wrong.push(format!("{}: {line}", document.display()));
                }
                continue;
            }
            count += 1;
            let text = help(&command, &mut known).unwrap();
            for word in words.iter().take_while(|word| **word != "--") {
                if let Some(option) = option.find(word)
                    && !text.contains(option.as_str())
                {
                    wrong.push(format!("{}: {line}: {}", document.display(), option.as_str()));
                }
            }
        }
    }
    assert!(count > 60 && wrong.is_empty(), "{count} commands; {wrong:#?}");
}
