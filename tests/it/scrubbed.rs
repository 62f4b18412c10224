//! A server that repeats its key wherever it speaks: the key is kept, recorded, shown and answered nowhere.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::daemon::SERVER;
use crate::harness::sign_in::key_pair;
use crate::harness::spy::Received;
use crate::harness::{Act, Countersign, Spy, hello, peers, request};

const KEY: &str = "sk_test_CANARY9hTq3WmB7xKd2Rf5";

/// What a child says on stderr is read line by line, and so is its private key.
#[tokio::test]
async fn a_private_key_is_in_no_line_of_a_child() {
    let own = tempfile::tempdir().unwrap();
    let (file, (pem, _)) = (own.path().join("key.pem"), key_pair("rsa").await);
    crate::secrets::write(&file, &pem);
    let script = "import os, sys; key = os.environ['KEY']; print(key, file=sys.stderr);\
        print(''.join(key.splitlines()[1:-1]), 'is all of it', file=sys.stderr, flush=True); sys.stdin.read()";
    let child =
        json!({"command": peers::python(), "args": ["-I", "-S", "-c", script], "env": {"KEY": {"secret": "pem"}}});
    let server = json!({"environment": "sandbox", "upstream": {"stdio": child}});
    let daemon = Countersign::new().set("/secrets/pem", json!({"file": file})).server(SERVER, server).start().await;
    let mut shim = daemon.raw_shim();
    shim.send(&request(0, "initialize", hello())).await;
    daemon.logs("[secret:pem] is all of it").await;
    let log = daemon.log();
    assert!(log.contains("-----BEGIN PRIVATE KEY"), "{log}");
    for line in pem.lines().filter(|line| !line.starts_with('-') && line.len() >= 24) {
        assert!(!log.contains(line), "{line} in {log}");
    }
}

fn tools(changed: bool) -> Value {
    let tool = |name: &str, more: Value| {
        let mut tool = json!({
            "name": name, "description": format!("Uses {KEY}. {}", if changed { "Now." } else { "" }),
            "inputSchema": {"type": "object", "properties": {"limit": {"enum": [KEY, "b"]}}},
            "annotations": {"title": format!("with {KEY}"), "readOnlyHint": true},
        });
        tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tool
    };
    json!([
        tool("list_customers", json!({})),
        tool(&format!("get_{KEY}"), json!({})),
        tool("get_stripe_account_info", json!({"inputSchema": {"type": "object"}})),
        tool("retrieve_balance", json!({"inputSchema": {"type": "object"}})),
    ])
}

fn answer(received: &Received, changed: bool) -> Option<Vec<Act>> {
    let text = |text: Value| json!({"content": [{"type": "text", "text": text.to_string()}], "isError": false});
    let result = match (received.method(), received.tool()) {
        ("tools/list", _) => json!({"tools": tools(changed)}),
        (_, "get_stripe_account_info") => text(json!({"account_id": format!("acct_{KEY}")})),
        (_, "retrieve_balance") => text(json!({"livemode": false, "note": KEY})),
        (_, "list_customers") => text(json!({"note": KEY})),
        _ => return None,
    };
    let news = json!({"jsonrpc": "2.0", "method": format!("notifications/{KEY}"), "params": {"key": KEY}});
    let asks = json!({"jsonrpc": "2.0", "id": KEY, "method": format!("ask/{KEY}"), "params": {"key": KEY}});
    Some(vec![Act::Say(news), Act::Say(asks), Act::Result(result)])
}

/// Which files under a folder hold the key.
fn with_key(folder: &Path, found: &mut Vec<String>) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += with_key(&path, found);
        } else if path.is_file() {
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(KEY.len()).any(|piece| piece == KEY.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    files
}

#[tokio::test]
async fn a_key_in_a_definition_or_an_answer_is_kept_and_shown_nowhere() {
    let changed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&changed);
    let spy = Spy::stdio_with(move |received, _| answer(received, now.load(Ordering::Relaxed))).await;
    let uid = rustix::process::getuid().as_raw();
    let upstream = spy.upstream.clone();
    let server = json!({"vendor": "stripe", "environment": "sandbox", "probe": {}, "upstream": upstream});
    let setup = Countersign::new()
        .server("fixture", server)
        .set("/policy/builtin", json!(["environment", "destructive", "scopes"]))
        .set("/policy/paths", json!([]))
        .set("/principals", json!([{"name": "local", "match": {"uid": uid}, "scopes": ["*/*"]}]))
        .env("KEY", KEY)
        .set("/secrets/key", json!({"env": "KEY"}))
        .set("/servers/fixture/upstream/stdio/env/KEY", json!({"secret": "key"}));
    let mut daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    let mut shown = String::new();
    for id in ["a", "b"] {
        shim.send(&request(id, "tools/list", json!({}))).await;
        let listed = shim.answer(id).await.to_string();
        assert!(listed.contains("Uses [secret:key].") && listed.contains("get_[secret:key]"), "{listed}");
        shown += &listed;
        changed.store(true, Ordering::Relaxed);
    }
    for (id, arguments) in [("1", json!({"limit": "b"})), ("2", json!({"limit": "c"}))] {
        shown += &shim.call(id, "list_customers", arguments).await.to_string();
    }
    assert!(shown.contains("limit"), "the refusal names the argument: {shown}");
    for command in [&["tools", "diff"][..], &["tools", "ls", "-o", "json"], &["tools", "diff", "-o", "json"]] {
        shown += &daemon.run(command).await.0;
    }
    assert!(shown.contains("| Uses [secret:key]. Now."), "{shown}");
    let mut found = Vec::new();
    assert!(with_key(&daemon.state_dir(), &mut found) >= 2);
    daemon.stop().await;
    with_key(&daemon.state_dir(), &mut found);
    assert_eq!(found, Vec::<String>::new());
    let records = json!(daemon.records().await).to_string();
    for part in ["probed", "acct_[secret:key]", "with [secret:key]"] {
        assert!(records.contains(part), "{part}");
    }
    for (what, text) in [("shown", shown), ("recorded", records), ("logged", daemon.log())] {
        assert!(!text.contains(KEY) && !text.contains("CANARY"), "{what}: {text}");
    }
}
