//! What breaks, lies or hangs on either side: each has a defined refusal, a line in the log, and the daemon lives on.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::http::HttpClient;
use crate::harness::process::{Growth, is_running};
use crate::harness::{Act, Countersign, Daemon, Shim, Spy, call, outcome, request, within};

/// Another client's call works: the daemon and its other sessions are as they were.
async fn assert_well(daemon: &mut Daemon) {
    let mut shim = daemon.shim().await;
    let answer = shim.call("well", "get_balance", json!({})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "done: get_balance", "{answer}");
    daemon.assert_alive().await;
}

fn says(answer: &Value, part: &str) {
    let text = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("not an error: {answer}"));
    assert!(text.contains(part), "{part:?} is not in {text:?}");
}

/// An upstream that does what `acts` says when `get_odd` is called, and is as it should be otherwise.
async fn odd(acts: impl Fn() -> Vec<Act> + Send + Sync + 'static) -> Spy {
    Spy::stdio_with(move |received, _| (received.tool() == "get_odd").then(&acts)).await
}

async fn odd_http(acts: impl Fn() -> Vec<Act> + Send + Sync + 'static) -> Spy {
    Spy::http_with(move |received, _| (received.tool() == "get_odd").then(&acts)).await
}

// Clients.

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_over_http() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut client = daemon.http();
    client.initialize().await;
    for body in ["{", "", "nonsense", r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}} {}"#] {
        let mut reply = client.send("POST", &client.headers(), body.as_bytes()).await;
        assert_eq!(reply.status, 400, "{body:?}");
        let answer: Value = serde_json::from_str(&reply.text().await).unwrap();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32700), &Value::Null), "{body:?}");
    }
    assert_eq!(spy.all_calls(), 0);
    assert_well(&mut daemon).await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_on_both_fronts() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).set("/limits/message_bytes", json!("64KiB")).start().await;
    let large = call("large", "get_balance", json!({"text": "x".repeat(80 << 10)}));

    let mut shim = daemon.shim().await;
    shim.send(&large).await;
    let (answers, _) = shim.finish().await;
    assert!(answers.iter().all(|answer| answer["error"]["code"].is_i64()), "{answers:?}");

    let mut client = daemon.http();
    client.initialize().await;
    assert_eq!(client.post(&large).await.status, 413);
    // A length that is only announced is enough.
    let mut head = format!("POST {} HTTP/1.1\r\n", client.path);
    client.headers().iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("Content-Length: 99999999999\r\n\r\n{");
    assert_eq!(client.raw(head.as_bytes()).await.unwrap().status, 413);

    assert_eq!(spy.all_calls(), 0);
    assert_well(&mut daemon).await;
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let client = daemon.http();
    let mut headers = client.headers();
    headers.push(("X-Padding".to_owned(), "x".repeat(80 << 10)));
    let reply = client.send("POST", &headers, b"{}").await;
    assert_eq!(reply.status, 431);
    assert_well(&mut daemon).await;
}

/// Half a request is not waited for longer than the limits say.
#[tokio::test]
async fn a_slow_http_client_is_cut_off() {
    let spy = Spy::stdio().await;
    let countersign = Countersign::new().upstream(&spy);
    let countersign = countersign.set("/limits/header_timeout", json!("1s")).set("/limits/body_timeout", json!("1s"));
    let mut daemon = countersign.start().await;
    let client = daemon.http();
    let reply = client.raw(format!("POST {} HTTP/1.1\r\nHost: {}\r\n", client.path, client.address).as_bytes()).await;
    assert!(reply.is_none_or(|reply| reply.status == 408), "half the headers");
    let mut head = format!("POST {} HTTP/1.1\r\n", client.path);
    client.headers().iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("Content-Length: 100\r\n\r\n{");
    let reply = client.raw(head.as_bytes()).await;
    assert!(reply.is_none_or(|reply| reply.status == 408), "half the body");
    assert_well(&mut daemon).await;
}

/// A hundred connections that say nothing take nothing from the others.
#[tokio::test]
async fn silent_connections_are_harmless() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        stream.write_all(b"P").await.unwrap();
        silent.push(stream);
    }
    let mut client = daemon.http();
    client.initialize().await;
    assert_eq!(outcome(&client.call("a", "get_balance", json!({})).await), None);
    assert_well(&mut daemon).await;
}

/// A client that does not read must not keep the daemon from stopping.
#[tokio::test]
async fn a_client_that_does_not_read_does_not_stop_the_shutdown() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).set("/limits/drain", json!("1s")).start().await;
    let mut deaf = daemon.shim_command(crate::harness::daemon::SERVER);
    deaf.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut deaf = deaf.spawn().unwrap();
    let mut stdin = deaf.stdin.take().unwrap();
    let asking = tokio::spawn(async move {
        let mut lines = format!("{}\n", request("hello", "initialize", crate::harness::hello()));
        (0..2_000).for_each(|n| lines.push_str(&format!("{}\n", call(n, "get_big", json!({})))));
        let _ = stdin.write_all(lines.as_bytes()).await;
    });
    spy.until("some calls", |spy| spy.calls("get_big") > 5).await;
    let began = std::time::Instant::now();
    let status = daemon.stop().await;
    assert!(status.success(), "{status}");
    assert!(began.elapsed().as_secs() < 15, "it took {} s", began.elapsed().as_secs());
    asking.abort();
}

// Upstreams.

#[tokio::test]
async fn an_upstream_that_cannot_be_started_is_told_to_the_client() {
    let upstream = json!({"stdio": {"command": "/nonexistent/server", "args": []}});
    let mut daemon =
        Countersign::new().server("fixture", json!({"environment": "sandbox", "upstream": upstream})).start().await;
    let mut shim = daemon.raw_shim();
    shim.send(&request("a", "initialize", crate::harness::hello())).await;
    says(&shim.answer("a").await, "fixture");
    daemon.logs("/nonexistent/server").await;
    let traffic = String::from_utf8(shim.traffic()).unwrap();
    assert!(!traffic.contains("/nonexistent"), "the client learns no path: {traffic}");
    daemon.assert_alive().await;
}

#[tokio::test]
async fn an_http_upstream_that_nobody_serves_is_told_to_the_client() {
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream = json!({"http": {"url": format!("http://{free}/mcp"), "allow_plain_http": true}});
    let mut daemon =
        Countersign::new().server("fixture", json!({"environment": "sandbox", "upstream": upstream})).start().await;
    let mut shim = daemon.raw_shim();
    shim.send(&request("a", "initialize", crate::harness::hello())).await;
    says(&shim.answer("a").await, "not sent");
    daemon.assert_alive().await;
}

#[tokio::test]
async fn an_upstream_that_dies_in_a_call_leaves_an_unknown_outcome() {
    let spy = odd(|| vec![Act::Exit(7)]).await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    says(&shim.call("a", "get_odd", json!({})).await, "not known");
    daemon.logs("the server is gone").await;
    assert_well(&mut daemon).await;
    daemon.stop().await;
    let records = daemon.records().await;
    assert!(records.iter().any(|record| record.to_string().contains("outcome_unknown")), "it is recorded");
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up() {
    let spy = odd(Vec::new).await;
    let mut daemon = Countersign::new().upstream(&spy).set("/limits/answer_timeout", json!("1s")).start().await;
    let mut shim = daemon.shim().await;
    shim.send(&call("a", "get_odd", json!({}))).await;
    // The rest of the session goes on meanwhile.
    shim.call("b", "get_balance", json!({})).await;
    says(&shim.answer("a").await, "not known");
    daemon.logs("no answer will come").await;
    // It answers after all: too late, and to nobody.
    let late = json!({"jsonrpc": "2.0", "id": spy.received().iter().find(|r| r.tool() == "get_odd").unwrap().id(),
        "result": {"content": [{"type": "text", "text": "too late"}]}});
    spy.act(0, Act::Say(late));
    shim.call("c", "get_balance", json!({})).await;
    let (rest, _) = shim.finish().await;
    assert!(rest.is_empty(), "{rest:?}");
    assert_well(&mut daemon).await;
}

/// The first answer counts; later ones, in whatever order, go nowhere.
#[tokio::test]
async fn an_upstream_that_answers_twice_is_heard_once() {
    let answer = |id: &Value, text: &str| {
        Act::Say(json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}))
    };
    let spy = Spy::stdio_with(move |received, before| match received.tool() {
        "get_first" => Some(Vec::new()),
        "get_second" => {
            let first = before.iter().find(|received| received.tool() == "get_first").unwrap().id().clone();
            let second = received.id().clone();
            Some(vec![
                answer(&second, "second"),
                answer(&first, "first"),
                answer(&first, "first again"),
                answer(&second, "second again"),
                answer(&json!(4711), "to nobody"),
            ])
        }
        _ => None,
    })
    .await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    shim.send(&call("one", "get_first", json!({}))).await;
    spy.until("the first call", |spy| spy.calls("get_first") == 1).await;
    let second = shim.call("two", "get_second", json!({})).await;
    assert_eq!(second["result"]["content"][0]["text"], "second");
    assert_eq!(shim.answer("one").await["result"]["content"][0]["text"], "first");
    daemon.logs("an answer to nothing that was sent was dropped").await;
    shim.call("three", "get_balance", json!({})).await;
    let (rest, _) = shim.finish().await;
    assert!(rest.is_empty(), "{rest:?}");
    assert_well(&mut daemon).await;
}

#[tokio::test]
async fn answers_that_are_no_answers_reach_nobody() {
    for odd_text in ["{", "null", "[]", "\"x\"", "{\"jsonrpc\":\"2.0\",\"id\":1}", "plain text", "\u{1b}[2J"] {
        let spy = odd(move || vec![Act::Raw(format!("{odd_text}\n")), Act::Result(json!({"fine": true}))]).await;
        let mut daemon = Countersign::new().upstream(&spy).start().await;
        let mut shim = daemon.shim().await;
        let answer = shim.call("a", "get_odd", json!({})).await;
        assert_eq!(answer["result"]["fine"], true, "{odd_text:?} costs no answer: {answer}");
        let (rest, _) = shim.finish().await;
        assert!(rest.is_empty(), "{odd_text:?}: {rest:?}");
        assert!(!daemon.log().contains('\u{1b}'), "control characters are visible in the log");
        assert_well(&mut daemon).await;
    }
}

/// A line without an end from an upstream costs its session, not the daemon.
#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let spy =
        odd(|| vec![Act::Raw(r#"{"jsonrpc":"2.0","id":1,"result":""#.into()), Act::ForEver("a".repeat(8192))]).await;
    let limit = 1 << 20;
    let mut daemon = Countersign::new().upstream(&spy).set("/limits/answer_bytes", json!("1MiB")).start().await;
    assert_well(&mut daemon).await;
    let growth = Growth::since_now(daemon.pid());
    let mut shim = daemon.shim().await;
    says(&shim.call("a", "get_odd", json!({})).await, "not known");
    let grown = growth.bytes();
    assert!(grown < limit + (32 << 20), "{} MiB", grown >> 20);
    spy.until("the child's end", |spy| spy.closed() >= 1).await;
    assert_well(&mut daemon).await;
}

/// Stderr is drained and scrubbed: a child that shouts is never blocked, and its key is not in the log.
#[tokio::test]
async fn a_loud_child_is_drained_and_scrubbed() {
    const KEY: &str = "sk_test_CANARY7Qm2Zt9XeVb4";
    let loud = || {
        let text = format!("warning: using {KEY} \u{1b}[31mred\u{7}\n");
        vec![Act::Stderr { text, times: 20_000 }, Act::Result(json!({"content": []}))]
    };
    let spy = odd(loud).await;
    let mut daemon = Countersign::new()
        .upstream(&spy)
        .env("KEY", KEY)
        .set("/secrets/key", json!({"env": "KEY"}))
        .set("/servers/fixture/upstream/stdio/env/KEY", json!({"secret": "key"}))
        .start()
        .await;
    let mut shim = daemon.shim().await;
    shim.call("a", "get_odd", json!({})).await;
    daemon.logs("warning: using").await;
    assert_well(&mut daemon).await;
    daemon.stop().await;
    let log = daemon.log();
    assert!(!log.contains(KEY) && !log.contains("CANARY"), "the key is in the log");
    assert!(!log.contains('\u{1b}') && !log.contains('\u{7}'), "control characters are visible in the log");
    assert!(log.len() < 4 << 20, "{} MiB of log", log.len() >> 20);
}

/// The child of a session ends with its session.
#[tokio::test]
async fn a_child_ends_with_its_session() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let shim = daemon.shim().await;
    let child = u32::try_from(spy.processes()[0]["pid"].as_u64().unwrap()).unwrap();
    assert!(is_running(child));
    shim.finish().await;
    spy.until("the child's end", |spy| spy.closed() == 1).await;
}

// Upstreams over HTTP.

/// Whatever an HTTP upstream answers that is not an answer: an error, and nothing of it reaches the client.
#[tokio::test]
async fn odd_http_answers_are_errors() {
    let answer = r#"{"jsonrpc":"2.0","id":"a","result":{"leak":"LEAK"}}"#;
    let http = |status, kind: &str, body: &str| Act::Http {
        status,
        headers: vec![("content-type", kind.to_owned())],
        body: body.to_owned(),
    };
    let cases = [
        ("a server error", http(500, "text/html", "<h1>LEAK</h1>")),
        ("an empty 200", http(200, "application/json", "")),
        ("not JSON", http(200, "application/json", "LEAK")),
        ("a page", http(200, "text/html", answer)),
        ("a rate limit", http(429, "text/plain", "LEAK")),
        (
            "somebody else's answer",
            http(200, "application/json", r#"{"jsonrpc":"2.0","id":"z","result":{"leak":"LEAK"}}"#),
        ),
    ];
    for (what, act) in cases {
        let spy = odd_http(move || vec![act.clone()]).await;
        let countersign = Countersign::new().upstream(&spy).set("/limits/answer_timeout", json!("3s"));
        let mut daemon = countersign.start().await;
        let mut shim = daemon.shim().await;
        let reply = shim.call("a", "get_odd", json!({})).await;
        assert!(reply.get("error").is_some(), "{what}: {reply}");
        let traffic = String::from_utf8(shim.traffic()).unwrap();
        assert!(!traffic.contains("LEAK"), "{what}: {traffic}");
        assert_well(&mut daemon).await;
    }
}

/// A redirect could carry the key to another host: it is not followed.
#[tokio::test]
async fn redirects_of_an_upstream_are_not_followed() {
    const KEY: &str = "sk_test_CANARY7Qm2Zt9XeVb4";
    let elsewhere = Spy::http().await;
    let target = elsewhere.upstream["http"]["url"].as_str().unwrap().to_owned();
    for status in [301, 302, 303, 307, 308] {
        let location = target.clone();
        let spy = odd_http(move || {
            vec![Act::Http { status, headers: vec![("location", location.clone())], body: String::new() }]
        })
        .await;
        let mut daemon = Countersign::new()
            .upstream(&spy)
            .env("KEY", KEY)
            .set("/secrets/key", json!({"env": "KEY"}))
            .set("/servers/fixture/upstream/http/headers", json!({"x-api-key": {"secret": "key"}}))
            .start()
            .await;
        let mut shim = daemon.shim().await;
        let reply = shim.call("a", "get_odd", json!({})).await;
        assert!(reply.get("error").is_some(), "{status}: {reply}");
        assert_well(&mut daemon).await;
    }
    assert!(elsewhere.received().is_empty());
}

/// An event stream that ends without the answer: sent, outcome unknown, and not sent again.
#[tokio::test]
async fn a_stream_that_ends_early_leaves_an_unknown_outcome() {
    let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
    let spy =
        Spy::http_with(move |received, _| (received.tool() == "create_refund").then(|| vec![Act::Say(note.clone())]))
            .await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut client: HttpClient = daemon.http();
    client.initialize().await;
    let mut console = daemon.console().await;
    let refund = call("a", "create_refund", json!({"charge": "ch_1", "amount": 100}));
    let mut reply = client.post(&refund).await;
    let hold = console.hold().await;
    console.approve(&hold).await.unwrap();
    says(&within("the answer", reply.answer("a")).await, "not known");
    assert_eq!(spy.calls("create_refund"), 1);
    assert_well(&mut daemon).await;
    daemon.stop().await;
    assert_eq!(spy.calls("create_refund"), 1, "never sent again");
}

/// An upstream over HTTP that streams for ever is cut off.
#[tokio::test]
async fn an_endless_stream_is_cut_off() {
    let spy =
        odd_http(|| vec![Act::ForEver("data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".repeat(64))]).await;
    let limit = 1 << 20;
    let mut daemon = Countersign::new().upstream(&spy).set("/limits/answer_bytes", json!("1MiB")).start().await;
    assert_well(&mut daemon).await;
    let growth = Growth::since_now(daemon.pid());
    let mut shim: Shim = daemon.shim().await;
    says(&shim.call("a", "get_odd", json!({})).await, "not known");
    let grown = growth.bytes();
    assert!(grown < limit + (32 << 20), "{} MiB", grown >> 20);
    assert_well(&mut daemon).await;
}
