//! Canary keys from every source and in every shape, through everything that a daemon does, with peers that repeat them
//! in every encoding. Afterwards all bytes that anybody could see are searched.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::daemon::{SERVER, TOKEN, set_mode};
use crate::harness::http::HttpClient;
use crate::harness::process::command_lines;
use crate::harness::session_bus::SessionBus;
use crate::harness::web::{Answer, Web};
use crate::harness::{Act, Countersign, Spy, call};

/// Of the stdio server's variables, from the daemon's environment.
const IN_ENV: &str = "sk_test_CANARY7Qm2Zt9XeVb4";
/// Of the HTTP server's header, from a file.
const IN_FILE: &str = "sk_test_CANARYf3Gh8Jk1LpWo5";
/// Of the webhook, from a command.
const IN_COMMAND: &str = "whk-CANARYr6Tn0BvMxEs2Dz7";
/// A principal's token, from the store.
const STORED: &str = "tok-CANARYu4Ia9NcQyHw8Ke3";
/// Of the stdio server's second variable, from the keyring.
const IN_KEYRING: &str = "krg-CANARYd1Pb6ZrSfLj5Xg9";
const ALL: [&str; 5] = [IN_ENV, IN_FILE, IN_COMMAND, STORED, IN_KEYRING];

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        out.extend((0..=chunk.len()).map(|place| char::from(alphabet[(group >> (18 - 6 * place) & 63) as usize])));
    }
    out
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a server repeats, one of each encoding, with text around it.
fn echoes(key: &str) -> Vec<String> {
    let mut echoes = vec![format!("key={key}"), format!("Bearer {key}")];
    for before in ["", "k", "ke"] {
        let whole = format!("{before}{key}");
        echoes.extend([base64(whole.as_bytes(), STANDARD), base64(whole.as_bytes(), URL_SAFE)]);
    }
    echoes.push(key.bytes().map(|byte| format!("{byte:02x}")).collect());
    echoes.push(key.bytes().map(|byte| format!("{byte:02X}")).collect());
    echoes.push(key.bytes().map(|byte| format!("%{byte:02X}")).collect());
    echoes.push(key.bytes().map(|byte| format!("\\u{byte:04x}")).collect());
    echoes.push(json!({"env": {"KEY": key}}).to_string());
    echoes
}

/// What is searched for: the key, its encodings, it backwards, in UTF-16, and every eight characters of it.
fn traces(key: &str) -> Vec<Vec<u8>> {
    let mut traces: Vec<Vec<u8>> = echoes(key).into_iter().skip(2).map(String::into_bytes).collect();
    // Where a key begins in the middle of a group, its first characters are not its own, and neither are its last.
    for text in &mut traces {
        if text.len() > 20 && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte)) {
            *text = text[4..text.len() - 4].to_vec();
        }
    }
    traces.push(key.bytes().rev().collect());
    traces.push(key.encode_utf16().flat_map(u16::to_le_bytes).collect());
    traces.push(key.encode_utf16().flat_map(u16::to_be_bytes).collect());
    // The beginning says the kind of the key and is no secret.
    traces.extend(key.as_bytes()[1..].windows(8).map(<[u8]>::to_vec));
    traces
}

#[track_caller]
fn assert_clean(place: &str, bytes: &[u8]) {
    for key in ALL {
        for trace in traces(key) {
            let found = bytes.windows(trace.len()).position(|piece| piece == trace);
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(200)..(at + trace.len() + 50).min(bytes.len())];
                panic!(
                    "{place}: {key} as {:?} in {:?}",
                    String::from_utf8_lossy(&trace),
                    String::from_utf8_lossy(around)
                );
            }
        }
    }
}

/// Every file below a folder but those that are sources of keys themselves.
fn assert_files_clean(folder: &Path, but: &[&Path]) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += assert_files_clean(&path, but);
        } else if path.is_file() && !but.contains(&path.as_path()) {
            assert_clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}

fn leak(key: &'static str, id: &Value) -> Vec<Act> {
    let blocks: Vec<Value> = echoes(key).into_iter().map(|text| json!({"type": "text", "text": text})).collect();
    let progress = json!({"progressToken": "p", "progress": 1, "message": echoes(key).join(" ")});
    let logged = json!({"level": "error", "logger": key, "data": {"text": echoes(key)}});
    // Cut over two messages; the seven characters that are left of it are its kind.
    let (left, right) = key.split_at(7);
    let cut = |text: &str| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}});
    vec![
        Act::Say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})),
        Act::Say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": logged})),
        Act::Say(cut(left)),
        Act::Say(cut(right)),
        Act::Say(json!({"jsonrpc": "2.0", "id": id, "result": {"content": blocks, "structuredContent": {key: key}}})),
    ]
}

#[tokio::test]
async fn sec_001() {
    // The servers.
    let stdio = Spy::stdio_with(|received, _| match received.tool() {
        "get_balance" | "create_refund" => {
            let mut acts: Vec<Act> = Vec::new();
            for key in [IN_ENV, IN_KEYRING] {
                acts.extend(echoes(key).into_iter().map(|text| Act::Stderr { text: format!("{text}\n"), times: 1 }));
                acts.push(Act::Raw(format!("not JSON: {key}\n")));
            }
            acts.extend(leak(IN_KEYRING, &json!("nothing waits for this")));
            acts.extend(leak(IN_ENV, received.id()));
            Some(acts)
        }
        "get_invoice" => {
            let error = json!({"code": -32000, "message": format!("bad key {IN_ENV}"), "data": echoes(IN_ENV)});
            Some(vec![Act::Say(json!({"jsonrpc": "2.0", "id": received.id(), "error": error}))])
        }
        _ => None,
    })
    .await;
    let http = Spy::http_with(|received, _| match received.tool() {
        "get_balance" => Some(leak(IN_FILE, received.id())),
        "get_invoice" => {
            let headers =
                vec![("www-authenticate", format!("Bearer realm=\"{IN_FILE}\"")), ("x-key", IN_FILE.to_owned())];
            Some(vec![Act::Http { status: 401, headers, body: format!("<html>{IN_FILE}</html>") }])
        }
        _ => None,
    })
    .await;
    let hooked = Web::start(async |_| Answer::new(500, &[], IN_COMMAND)).await;
    // The keyring.
    let own = tempfile::tempdir().unwrap();
    let item = json!({"attributes": {"service": "s", "username": "u"}, "secret": IN_KEYRING});
    let keyring = SessionBus::start(json!([item])).await;

    let setup = Countersign::new().upstream(&stdio);
    let kept = setup.kept();
    let folder = kept.path();
    let (file, told) = (folder.join("file.key"), folder.join("told"));
    let command = own.path().join("command.key");
    let stored = folder.join("state/secrets/agent_token");
    std::fs::create_dir(stored.parent().unwrap()).unwrap();
    set_mode(stored.parent().unwrap(), 0o700);
    for (path, key) in [(&file, IN_FILE), (&command, IN_COMMAND), (&stored, STORED)] {
        std::fs::write(path, key).unwrap();
        set_mode(path, 0o600);
    }
    let mut over_http = http.upstream.clone();
    over_http["http"]["headers"] = json!({"authorization": {"secret": "file", "prefix": "Bearer "}});
    let hook = format!("cat >> {}", told.display());
    let setup = setup
        .server("web", json!({"environment": "sandbox", "upstream": over_http}))
        .set("/secrets/env", json!({"env": "ENV_KEY"}))
        .set("/secrets/file", json!({"file": file}))
        .set("/secrets/command", json!({"command": ["cat", command]}))
        .set("/secrets/keyring", json!({"keyring": {"service": "s", "user": "u"}}))
        .set("/secrets/agent_token", json!("stored"))
        .set("/servers/fixture/upstream/stdio/env/KEY", json!({"secret": "env"}))
        .set("/servers/fixture/upstream/stdio/env/OTHER", json!({"secret": "keyring", "prefix": "k:"}))
        .set(
            "/notify",
            json!([
                {"command": ["/bin/sh", "-c", hook]},
                {"webhook": {"url": format!("http://{}/h", hooked.address), "secret": "command", "include": ["arguments"]}},
            ]),
        )
        .env("ENV_KEY", IN_ENV)
        .env("COUNTERSIGN_LOG", "trace")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address());
    let mut daemon = setup.start().await;
    let mut console = daemon.console().await;

    // Reads, errors, what is denied, what is held and approved, what is held and rejected.
    let mut shim = daemon.shim().await;
    for (id, tool) in [("1", "get_balance"), ("2", "get_invoice"), ("3", "delete_customer")] {
        shim.call(id, tool, json!({"amount": 1})).await;
    }
    for (id, approved) in [("4", true), ("5", false)] {
        shim.send(&call(id, "create_refund", json!({"charge": "ch_1", "n": id}))).await;
        let hold = console.hold().await;
        match approved {
            true => drop(console.approve(&hold).await.unwrap()),
            false => drop(console.reject(&hold, "no").await.unwrap()),
        }
        shim.answer(id).await;
    }
    // A client that has a key has no business with it.
    let (mut knowing, mut seen) = (daemon.shim().await, Vec::new());
    for (at, key) in ALL.into_iter().enumerate() {
        for (n, text) in echoes(key).into_iter().enumerate() {
            let id = format!("k{at}-{n}");
            let answer = knowing.call(&id, "get_balance", json!({"note": text})).await;
            assert_eq!(answer["error"]["code"], -32600, "{text}: {answer}");
            seen.extend(answer.to_string().bytes());
        }
    }
    let client = HttpClient::new(daemon.address, "web", Some(STORED));
    let mut web = HttpClient { session: None, ..client };
    seen.extend(web.initialize().await.to_string().bytes());
    for (id, tool) in [("1", "get_balance"), ("2", "get_invoice")] {
        let mut reply = web.post(&call(id, tool, json!({}))).await;
        while let Some(message) = reply.message().await {
            seen.extend(message.to_string().bytes());
            if message["id"] == id {
                break;
            }
        }
        seen.extend(&reply.traffic);
    }
    // Another's token, and a key in the place of a token or of a path.
    let wrong = HttpClient::new(daemon.address, IN_ENV, Some(TOKEN));
    seen.extend(wrong.post(&call("x", "get_balance", json!({}))).await.traffic);
    let wrong = HttpClient::new(daemon.address, SERVER, Some(IN_FILE));
    seen.extend(wrong.post(&call("x", "get_balance", json!({}))).await.traffic);
    // An operator who pastes a key by mistake.
    let (_, code) = daemon.run(&["freeze", "--reason", &format!("because of {STORED}")]).await;
    assert_ne!(code, 0);
    hooked.until("a notification", |asked| !asked.is_empty()).await;

    let listed = daemon.run(&["secret", "ls", "-o", "json"]).await.0;
    let lines = command_lines(daemon.pid());
    assert!(lines.len() >= 2, "the daemon and a child: {lines:?}");
    let (traffic, operators) = (console.traffic(), shim.traffic());
    daemon.stop().await;
    let exported = json!(daemon.records().await).to_string();

    // Whoever should have a key has it.
    assert_eq!(stdio.processes()[0]["environ"]["KEY"], IN_ENV);
    assert_eq!(stdio.processes()[0]["environ"]["OTHER"], format!("k:{IN_KEYRING}"));
    assert!(stdio.processes()[0]["environ"].get("ENV_KEY").is_none());
    assert!(exported.contains("redacted"), "the record says that keys were taken out");
    // And nobody else.
    assert_clean("what reached the stdio server as messages", &stdio.bytes());
    assert_clean("the client on stdio", &operators);
    assert_clean("the shim's stderr", shim.stderr().as_bytes());
    assert_clean("the client over HTTP", &seen);
    assert_clean("the operator socket", traffic.as_bytes());
    assert_clean("the daemon's stderr", daemon.log().as_bytes());
    assert_clean("secret ls", listed.as_bytes());
    assert_clean("command lines", lines.join(" ").as_bytes());
    assert_clean("the export", exported.as_bytes());
    for asked in hooked.asked() {
        let headers: Vec<String> = asked.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        assert_clean("the webhook", format!("{} {} {}", asked.line(), headers.join("\n"), asked.text()).as_bytes());
    }
    let files = assert_files_clean(folder, &[&file, &stored]);
    assert!(files >= 5, "the audit, the pins, the configuration, the policy, what the hook was told: {files}");
    drop(Arc::clone(&kept));
}
