//! What a real server and a client say to each other, recorded at both ends of the proxy: each message arrives token by
//! token as it was sent, and none is missing or made up.

use std::collections::BTreeMap;

use http::Uri;
use serde_json::{Value, json};

use crate::harness::between::{Between, Recorder};
use crate::harness::daemon::ALLOW_ALL;
use crate::harness::peers::{EverythingOverHttp, everything, node};
use crate::harness::{Act, Countersign, Daemon, Shim, Spy, call};

/// Every token of a JSON text in its own spelling; insignificant whitespace is left out. Line and paragraph separators,
/// at which some readers of lines cut, are the one thing that the proxy writes otherwise: as escapes.
fn tokens(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            '\u{85}' => out.push_str("\\u0085"),
            c if inside || !c.is_ascii_whitespace() => out.push(c),
            _ => {}
        }
        inside = if inside { c != '"' || escaped } else { c == '"' };
        escaped = inside && c == '\\' && !escaped;
    }
    out
}

fn counted(messages: &[String]) -> BTreeMap<String, usize> {
    messages.iter().fold(BTreeMap::new(), |mut counted, message| {
        *counted.entry(tokens(message)).or_default() += 1;
        counted
    })
}

#[track_caller]
fn assert_same(sent: &[String], arrived: &[String], direction: &str) {
    let (sent, arrived) = (counted(sent), counted(arrived));
    for message in sent.keys().chain(arrived.keys()) {
        assert_eq!(sent.get(message), arrived.get(message), "{direction}: sent, arrived: {message}");
    }
}

const CAPABILITIES: &str = r#"{"sampling":{"context":{}},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true},"experimental":{"x/y":{"b":1.0,"a":[1e2]}}}"#;

/// What the client asks, one after the other, spelled as no library would.
fn script() -> Vec<String> {
    let call = |id: &str, tool: &str, arguments: &str| {
        let token = format!(r#""_meta":{{"progressToken":{id},"vendor/x":{{"z":1,"a":1.50}}}}"#);
        format!(
            r#"{{"method":"tools/call","jsonrpc":"2.0","params":{{"name":"{tool}",{token},"arguments":{arguments}}},"id":{id}}}"#
        )
    };
    let ask = |id: &str, method: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
    };
    vec![
        ask("1", "tools/list", "{}"),
        ask(r#""two\u00e9\/""#, "resources/list", r#"{"cursor":"","x-unknown":[1.0,-0.0,1E3]}"#),
        call("3", "echo", r#"{"message":"caf\u00e9 \ud83d\ude00 \u2028 / \/ \u0041"}"#),
        call(r#""4""#, "get-sum", r#"{"b":4.20e1,"a":-0}"#),
        call("9007199254740991", "get-structured-content", r#"{"location":"Chicago"}"#),
        call("6", "trigger-long-running-operation", r#"{"steps":3,"duration":0.3}"#),
        call("7", "trigger-sampling-request", r#"{"prompt":"\u0000 x","maxTokens":10}"#),
        call("8", "trigger-elicitation-request", "{}"),
        call("9", "get-roots-list", "{}"),
        call("10", "no-such-tool", "{}"),
        ask("11", "prompts/list", "{}"),
        ask("12", "prompts/get", r#"{"arguments":{"state":"I","city":"C"},"name":"args-prompt"}"#),
        ask("13", "resources/templates/list", "{}"),
        ask("14", "resources/read", r#"{"uri":"demo://resource/static/document/architecture.md"}"#),
        ask(
            "15",
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"completable-prompt"},"argument":{"name":"department","value":"E"}}"#,
        ),
        ask("16", "logging/setLevel", r#"{"level":"debug"}"#),
        ask("17", "ping", "{}"),
    ]
}

/// Plays the script over a shim, and answers what the server asks.
async fn play(shim: &mut Shim, recorder: &Recorder) {
    let hello = format!(
        r#"{{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{CAPABILITIES},"clientInfo":{{"version":"0","name":"recorder","x":null}}}}}}"#
    );
    let initialized = r#"{"method":"notifications/initialized","jsonrpc":"2.0"}"#.to_owned();
    for (number, line) in std::iter::once(hello).chain([initialized]).chain(script()).enumerate() {
        recorder.to_server(&line);
        shim.write(format!("{line}\n").as_bytes()).await;
        if number == 1 {
            continue;
        }
        let id = serde_json::from_str::<Value>(&line).unwrap()["id"].clone();
        loop {
            let text = shim.next_text().await.expect("the session goes on");
            recorder.to_client(&text);
            let message: Value = serde_json::from_str(&text).unwrap();
            if message.get("method").is_none() && message["id"] == id {
                break;
            }
            let result = match message["method"].as_str().unwrap() {
                "sampling/createMessage" => {
                    r#"{"role":"assistant","model":"m\u0031","content":{"type":"text","text":"ok","_meta":{"n":1.0}}}"#
                }
                "elicitation/create" => r#"{"content":{"name":"\u00e9","check":true},"action":"accept"}"#,
                "roots/list" => r#"{"roots":[{"name":"r","uri":"file:///a"}]}"#,
                _ => continue,
            };
            // The id exactly as the server spelled it.
            let asked = countersign::json::JsonText::parse(text, countersign::json::Rules::UPSTREAM).unwrap();
            let reply =
                format!(r#"{{"result":{result},"id":{},"jsonrpc":"2.0"}}"#, asked.view().get("id").unwrap().text());
            recorder.to_server(&reply);
            shim.write(format!("{reply}\n").as_bytes()).await;
        }
    }
}

/// What the server still says after the last answer has arrived as well, when the client has read to the end.
async fn rest(mut shim: Shim, recorder: &Recorder) {
    shim.close();
    while let Some(text) = shim.next_text().await {
        recorder.to_client(&text);
    }
}

/// The run did what it is for.
fn assert_complete(messages: &[String]) {
    for part in
        ["sampling/createMessage", "elicitation/create", "roots/list", "notifications/progress", "structuredContent"]
    {
        assert!(messages.iter().any(|message| message.contains(part)), "no {part}");
    }
    assert!(messages.len() > script().len() + 5);
}

/// The script with the server behind a daemon that allows everything, to the end.
async fn played(upstream: serde_json::Value) -> (Daemon, Recorder) {
    let daemon = Countersign::with_policy(ALLOW_ALL)
        .server("everything", json!({"environment": "test", "upstream": upstream}))
        .start()
        .await;
    let recorder = Recorder::default();
    let mut shim = Shim::start(daemon.shim_command("everything"));
    play(&mut shim, &recorder).await;
    rest(shim, &recorder).await;
    (daemon, recorder)
}

#[tokio::test]
async fn a_stdio_server_and_its_client_hear_each_other_to_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let (to_server, to_client) = (dir.path().join("to_server"), dir.path().join("to_client"));
    let shell = r#"tee "$1" | "$3" "$4" | tee "$2""#;
    let upstream = json!({"stdio": {
        "command": "sh", "args": ["-c", shell, "sh", to_server, to_client, node(), everything()],
        "sandbox": {"write": [dir.path()]},
    }});
    let (_daemon, recorder) = played(upstream).await;
    let (sent, heard) = recorder.taken();
    let lines = |path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_complete(&heard);
    assert_same(&sent, &lines(&to_server), "to the server");
    // On one pipe the order is kept as well. What the server says while it is being ended has nobody to hear it.
    let said: Vec<String> = lines(&to_client).iter().map(|line| tokens(line)).collect();
    let heard: Vec<String> = heard.iter().map(|line| tokens(line)).collect();
    for (said, heard) in said.iter().zip(&heard) {
        assert_eq!(said, heard);
    }
    assert!(said.len() >= heard.len(), "{heard:?}");
    assert!(said[heard.len()..].iter().all(|late| late.contains("\"method\":\"notifications/")), "{said:?}");
}

#[tokio::test]
async fn an_http_server_and_its_client_hear_each_other_to_the_token() {
    let server = EverythingOverHttp::start().await;
    let target: Uri = server.url.parse().unwrap();
    let between = Between::start(target, |_, _| false).await;
    let upstream = json!({"http": {"url": between.url(), "allow_plain_http": true}});
    let (mut daemon, recorder) = played(upstream).await;
    daemon.stop().await;
    between.quiet().await;
    let (sent, heard) = recorder.taken();
    let (reached, said) = between.recorder.taken();
    assert_complete(&heard);
    assert_same(&sent, &reached, "to the server");
    assert_same(&said, &heard, "to the client");
}

/// Spellings that no server of a library writes: on both transports they reach the client as they are.
#[tokio::test]
async fn odd_spellings_survive() {
    let said = r#"{"extra":{"b":1,"a":[1.0,-0,1e-7,12345678901234567890123,0.10]},"result":{"z":"\u00e9\/\ud83d\ude00\u2028\b","content":[{"type":"x-new","n":1E+2}],"a":{"":null}},"id":"odd","jsonrpc":"2.0"}"#;
    let script = move |received: &crate::harness::spy::Received, _: &[crate::harness::spy::Received]| {
        (received.tool() == "odd").then(|| vec![Act::Raw(format!("{said}\n"))])
    };
    for spy in [Spy::stdio_with(script).await, Spy::http_with(script).await] {
        let daemon = Countersign::with_policy(ALLOW_ALL).upstream(&spy).start().await;
        let mut shim = daemon.shim().await;
        let asked = r#"{"params":{"arguments":{"z":1.0,"a":-0,"e":1E2,"s":"\u0041\/\u00e9","o":{"y":{},"x":[]}},"name":"odd","_meta":{"v":1.50}},"method":"tools/call","id":"odd","jsonrpc":"2.0"}"#;
        shim.write(format!("{asked}\n").as_bytes()).await;
        let answer = loop {
            let text = shim.next_text().await.unwrap();
            if text.contains("\"odd\"") {
                break text;
            }
        };
        assert_eq!(answer.trim_end(), said);
        let reached = spy.received().into_iter().find(|received| received.tool() == "odd").unwrap();
        assert_eq!(String::from_utf8(reached.raw).unwrap().trim_end(), asked);
    }
}

/// The real server's stream is cut in the middle of an answer: it goes on where it was cut, nothing is missing or comes
/// twice, and the call was made once.
#[tokio::test]
async fn a_cut_stream_of_a_real_server_goes_on() {
    let server = EverythingOverHttp::start().await;
    // Cut once, in front of the second progress of the call.
    let cut = std::sync::atomic::AtomicBool::new(false);
    let between = Between::start(server.url.parse().unwrap(), move |asked, seen| {
        asked.method == http::Method::POST
            && seen.contains("\"progress\":2")
            && !cut.swap(true, std::sync::atomic::Ordering::SeqCst)
    })
    .await;
    let upstream = json!({"http": {"url": between.url(), "allow_plain_http": true}});
    let daemon = Countersign::with_policy(ALLOW_ALL)
        .server("everything", json!({"environment": "test", "upstream": upstream}))
        .start()
        .await;
    let mut shim = Shim::start(daemon.shim_command("everything"));
    shim.initialize().await;
    let mut asked = call("cut", "trigger-long-running-operation", json!({"steps": 4, "duration": 2}));
    asked["params"]["_meta"] = json!({"progressToken": "p"});
    shim.send(&asked).await;
    let mut progress = Vec::new();
    let answer = loop {
        let message = shim.next().await.unwrap();
        if message["id"] == "cut" {
            break message;
        }
        if message["method"] == "notifications/progress" {
            progress.push(message["params"]["progress"].as_u64().unwrap());
        }
    };
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("completed"), "{answer}");
    assert_eq!(progress, [1, 2, 3, 4]);
    let (reached, _) = between.recorder.taken();
    assert_eq!(reached.iter().filter(|message| message.contains("trigger-long-running-operation")).count(), 1);
    let resumed = between.web.asked().iter().filter(|asked| !asked.header("last-event-id").is_empty()).count();
    assert_eq!(resumed, 1);
}

/// A real server of the transport that came before: the client and the operator are told what it is.
#[tokio::test]
async fn a_real_http_sse_server_is_refused_by_name() {
    let server = EverythingOverHttp::start_sse().await;
    let daemon = Countersign::with_policy(ALLOW_ALL)
        .server(
            "everything",
            json!({"environment": "test", "upstream": {"http": {"url": server.url, "allow_plain_http": true}}}),
        )
        .start()
        .await;
    let mut shim = Shim::start(daemon.shim_command("everything"));
    shim.send(&crate::harness::request("hello", "initialize", crate::harness::hello())).await;
    let answer = shim.answer("hello").await;
    assert_eq!(answer["error"]["code"], 4550, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("HTTP+SSE"), "{answer}");
    daemon.logs("/mcp in place of /sse").await;
}
