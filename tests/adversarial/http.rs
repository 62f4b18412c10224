//! Cases about HTTP itself: framing, places, methods, floods. Each has a daemon of its own; whatever is refused has
//! started nothing.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::daemon::TOKEN;
use crate::harness::http::Reply;
use crate::harness::{Countersign, Daemon, Spy, call, outcome, request, within};

pub struct Scene {
    pub spy: Spy,
    pub daemon: Daemon,
}

impl Scene {
    pub async fn new() -> Scene {
        Scene::with(|countersign| countersign).await
    }

    pub async fn with(change: impl FnOnce(Countersign) -> Countersign) -> Scene {
        let spy = Spy::stdio().await;
        let daemon = change(Countersign::new().upstream(&spy)).start().await;
        Scene { spy, daemon }
    }

    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Option<Reply> {
        self.daemon.http().raw(bytes.as_ref()).await
    }

    /// The status, and that nothing invites a page of another origin.
    pub async fn status(&self, bytes: impl AsRef<[u8]>) -> u16 {
        let reply = self.raw(bytes).await.expect("an answer");
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control")), "{reply:?}");
        reply.status
    }

    /// The status and the code of the JSON-RPC error.
    pub async fn refusal(&self, bytes: impl AsRef<[u8]>) -> (u16, i64) {
        let mut reply = self.raw(bytes).await.expect("an answer");
        let message = reply.message().await.unwrap_or_else(|| panic!("no message in {reply:?}"));
        (reply.status, message["error"]["code"].as_i64().unwrap_or_else(|| panic!("{message}")))
    }

    /// Nothing was held, nothing was sent, and an ordinary request is still served.
    pub async fn nothing_happened(mut self) {
        assert!(self.daemon.console().await.list().await.is_empty());
        let before = self.spy.all_calls();
        let mut probe = self.raw(stateless(&call("probe", "get_balance", json!({})))).await.unwrap();
        assert_eq!(probe.answer("probe").await["result"]["content"][0]["text"], "done: get_balance");
        self.daemon.assert_alive().await;
        self.daemon.stop().await;
        self.spy.until("the upstream's end", |spy| spy.closed() == spy.processes().len()).await;
        assert_eq!((before, self.spy.all_calls(), self.spy.processes().len()), (0, 1, 1));
    }
}

/// The request with what every request of its era carries.
pub fn with_meta(message: &Value) -> Value {
    crate::harness::stateless(message.clone(), json!({}))
}

/// A whole request of the stateless era, as bytes.
pub fn stateless(message: &Value) -> String {
    let message = with_meta(message);
    let mut fields = format!("Mcp-Method: {}\r\n", message["method"].as_str().unwrap());
    if let Some(name) = message["params"]["name"].as_str() {
        fields.push_str(&format!("Mcp-Name: {name}\r\n"));
    }
    post(&fields, &message.to_string())
}

/// A whole POST with these fields besides the usual ones.
pub fn post(fields: &str, body: &str) -> String {
    format!(
        "POST /mcp/fixture HTTP/1.1\r\nHost: 127.0.0.1:8377\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: \
         application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: \
         2026-07-28\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn list() -> String {
    stateless(&request(1, "tools/list", json!({})))
}

fn delete() -> String {
    stateless(&call(2, "delete_customer", json!({"id": "cus_1"})))
}

fn refund() -> String {
    stateless(&call(1, "create_refund", json!({"charge": "ch_1", "amount": 1})))
}

/// Everything that comes until the other side closes.
async fn whole(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = within("the connection's end", stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

async fn connect(scene: &Scene) -> TcpStream {
    TcpStream::connect(scene.daemon.address).await.unwrap()
}

/// Two lengths never make two requests: the chunks win, and the connection is closed behind them.
#[tokio::test]
async fn htt_001() {
    let scene = Scene::new().await;
    let head = list().split("Content-Length").next().unwrap().to_owned();
    let mut stream = connect(&scene).await;
    let smuggled = format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}", delete());
    stream.write_all(smuggled.as_bytes()).await.unwrap();
    let answers = whole(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.starts_with("HTTP/1.1 400"), "{answers}");
    scene.nothing_happened().await;
}

#[tokio::test]
async fn htt_002() {
    let scene = Scene::new().await;
    let head = list().split("Content-Length").next().unwrap().to_owned();
    for lengths in ["Content-Length: 2\r\nContent-Length: 3", "Content-Length: 2, 3", "Content-Length: +2"] {
        let mut stream = connect(&scene).await;
        stream.write_all(format!("{head}{lengths}\r\n\r\n{{}}").as_bytes()).await.unwrap();
        let answers = whole(&mut stream).await;
        assert!(answers.starts_with("HTTP/1.1 400") && answers.matches("HTTP/1.1 ").count() == 1, "{answers}");
    }
    scene.nothing_happened().await;
}

/// What a page may send without asking first.
#[tokio::test]
async fn htt_005() {
    let scene = Scene::new().await;
    let kinds = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""];
    for kind in kinds {
        let page = refund().replace("Content-Type: application/json", &format!("Content-Type: {kind}"));
        let from_page = page.replace("Accept:", "Origin: https://evil.example\r\nAccept:");
        assert_eq!(scene.status(&from_page).await, 403, "{kind}");
        let anonymous = page.replace(&format!("Authorization: Bearer {TOKEN}\r\n"), "");
        assert_eq!(scene.status(&anonymous).await, 401, "{kind}");
        assert_eq!(scene.status(&page).await, 415, "{kind}");
    }
    scene.nothing_happened().await;
}

/// A name that was bound anew to this address.
#[tokio::test]
async fn htt_006() {
    let scene = Scene::new().await;
    for host in ["evil.example:8377", "evil.example", "127.0.0.1.nip.io:8377", "localhost.evil.example", "[::1].evil"] {
        assert_eq!(scene.status(list().replace("127.0.0.1:8377", host)).await, 403, "{host}");
    }
    scene.nothing_happened().await;
}

#[tokio::test]
async fn htt_008() {
    let scene = Scene::new().await;
    assert_eq!(scene.status(list().replace("Host: 127.0.0.1:8377\r\n", "")).await, 400);
    assert_eq!(scene.status(list().replace("HTTP/1.1", "HTTP/1.0")).await, 505);
    let bare = list().replace("HTTP/1.1", "HTTP/1.0").replace("Host: 127.0.0.1:8377\r\n", "");
    assert_eq!(scene.status(bare).await, 505);
    scene.nothing_happened().await;
}

/// Refused before any body is read: none is sent.
#[tokio::test]
async fn htt_010() {
    let scene = Scene::new().await;
    let head = list().split_once("\r\n\r\n").unwrap().0.to_owned();
    let origins = [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1@evil.example",
        "http://[::1].evil.example",
        "file://",
        "http://127.0.0.1:8377",
        "",
    ];
    for origin in origins {
        let request = head.replace("Accept:", &format!("Origin: {origin}\r\nAccept:")) + "\r\n\r\n";
        assert_eq!(scene.status(request).await, 403, "{origin}");
    }
    let twice = head.replace("Accept:", "Origin: http://127.0.0.1:8377\r\nOrigin: https://evil.example\r\nAccept:");
    assert_eq!(scene.status(twice + "\r\n\r\n").await, 400);
    scene.nothing_happened().await;
}

#[tokio::test]
async fn htt_011() {
    let scene = Scene::new().await;
    let preflight = "OPTIONS /mcp/fixture HTTP/1.1\r\nHost: 127.0.0.1:8377\r\nOrigin: https://evil.example\r\n\
                     Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n";
    assert_eq!(scene.status(preflight).await, 403);
    assert_eq!(scene.status(preflight.replace("Origin: https://evil.example\r\n", "")).await, 405);
    scene.nothing_happened().await;
}

/// Nothing but POST without a session, and nothing repeats the token.
#[tokio::test]
async fn htt_012() {
    let scene = Scene::new().await;
    for method in ["GET", "DELETE", "PUT", "HEAD", "TRACE", "PATCH", "OPTIONS", "CONNECT", "post"] {
        let request = format!(
            "{method} /mcp/fixture HTTP/1.1\r\nHost: 127.0.0.1:8377\r\nAuthorization: Bearer {TOKEN}\r\nConnection: \
             close\r\nContent-Length: 0\r\n\r\n"
        );
        let mut stream = connect(&scene).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = whole(&mut stream).await;
        let status = answer.get(9..12).unwrap_or_default();
        assert!(status == "405" || (method == "CONNECT" && status.starts_with('4')), "{method}: {answer}");
        assert!(!answer.contains(TOKEN), "{method}: {answer}");
    }
    scene.nothing_happened().await;
}

/// Sends one byte now and then, until the other side has said everything.
async fn trickle(stream: &mut TcpStream, byte: &[u8; 1]) -> Vec<u8> {
    let (mut read, mut write) = stream.split();
    let bytes = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            if write.write_all(byte).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = within("the end of a slow connection", read.read_to_end(&mut answer)) => {}
        () = bytes => {}
    }
    answer
}

/// A hundred connections that never finish their headers: each is closed in its time, and nobody waits for them. The
/// time runs from the first byte on, whatever comes after it.
#[tokio::test]
async fn htt_013() {
    let scene = Scene::with(|countersign| countersign.set("/limits/header_timeout", json!("500ms"))).await;
    let slow = (0..100).map(|_| async {
        let mut stream = connect(&scene).await;
        stream.write_all(b"POST /mcp/fixture HTTP/1.1\r\nHost: 127.0.0.1\r\n").await.unwrap();
        trickle(&mut stream, b"X").await;
    });
    let ordinary = async {
        let mut reply = scene.raw(stateless(&call("x", "get_balance", json!({})))).await.unwrap();
        reply.answer("x").await
    };
    let begun = std::time::Instant::now();
    let (_, answer) = tokio::join!(join_all(slow), ordinary);
    assert_eq!(answer["result"]["content"][0]["text"], "done: get_balance");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A body that comes byte by byte runs out of time as a whole.
#[tokio::test]
async fn htt_014() {
    let scene = Scene::with(|countersign| countersign.set("/limits/body_timeout", json!("500ms"))).await;
    let mut stream = connect(&scene).await;
    let (head, _) = refund().split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let answer = trickle(&mut stream, b" ").await;
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    scene.nothing_happened().await;
}

#[tokio::test]
async fn htt_015() {
    let scene = Scene::new().await;
    let many: String = (0..1000).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X: {}\r\n", "a".repeat(2_000_000));
    for flood in [many, long] {
        assert_eq!(scene.status(list().replace("Accept:", &format!("{flood}Accept:"))).await, 431);
    }
    scene.nothing_happened().await;
}

/// A body without an end is cut at the limit.
#[tokio::test]
async fn htt_016() {
    let limits = |countersign: Countersign| {
        countersign.set("/limits/message_bytes", json!("64KiB")).set("/limits/held_bytes", json!("32KiB"))
    };
    let scene = Scene::with(limits).await;
    let head = list().split("Content-Length").next().unwrap().to_owned();
    let mut stream = connect(&scene).await;
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let mut sent = 0;
    // A megabyte is what the buffers of a loopback connection take at most.
    while sent < 64 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 0x4000;
    }
    assert!(sent < 64 << 20, "it is still read");
    scene.nothing_happened().await;
}

/// Lines that end in LF alone are one request or none.
#[tokio::test]
async fn htt_017() {
    let scene = Scene::new().await;
    let request = format!(
        "POST /mcp/fixture HTTP/1.1\nHost: 127.0.0.1:8377\nAuthorization: Bearer {TOKEN}\nContent-Type: \
         application/json\nMcp-Method: tools/list\nContent-Length: 2\nConnection: close\n\n{{}}"
    );
    let mut stream = connect(&scene).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = whole(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
    scene.nothing_happened().await;
}

#[tokio::test]
async fn htt_018() {
    let scene = Scene::new().await;
    let paths = [
        "//mcp/fixture",
        "/mcp/fixture/",
        "/%6dcp/fixture",
        "/mcp/fixture;x=1",
        "/MCP/fixture",
        "/x/../mcp/fixture",
        "/mcp/fixture%00",
        "/./mcp/fixture",
        "/mcp/%66ixture",
        "/mcp/FIXTURE",
        "/mcp",
        "/",
    ];
    for path in paths {
        let request = delete().replace("/mcp/fixture", path);
        assert_eq!(scene.status(&request).await, 404, "{path}");
        let anonymous = request.replace(&format!("Authorization: Bearer {TOKEN}\r\n"), "");
        assert!([401, 404].contains(&scene.status(&anonymous).await), "{path}");
    }
    // A query is nothing that is read: the same server, the same policy.
    let mut reply = scene.raw(delete().replace("/mcp/fixture", "/mcp/fixture?x=/../admin")).await.unwrap();
    assert_eq!(outcome(&reply.answer(2).await), Some("denied"));
    scene.nothing_happened().await;
}

/// Nothing is switched to another protocol; what stands behind the request is a request.
#[tokio::test]
async fn htt_020() {
    let scene = Scene::new().await;
    let upgrade = list().replace("Accept:", "Connection: Upgrade\r\nUpgrade: websocket\r\nAccept:");
    let last = delete().replace("Accept:", "Connection: close\r\nAccept:");
    let mut stream = connect(&scene).await;
    stream.write_all(format!("{upgrade}{last}").as_bytes()).await.unwrap();
    let answers = whole(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert!(!answers.contains("HTTP/1.1 101") && answers.contains("\"outcome\":\"denied\""), "{answers}");
    scene.nothing_happened().await;
}

#[tokio::test]
async fn htt_021() {
    let scene = Scene::new().await;
    let head = list().split("Content-Length").next().unwrap().to_owned();
    let mut stream = connect(&scene).await;
    let large = format!("{head}Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\nxxxxxxxxxx");
    stream.write_all(large.as_bytes()).await.unwrap();
    let answer = whole(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && !answer.contains("100 Continue"), "{answer}");
    scene.nothing_happened().await;
}

/// Only HTTP/1.1 is spoken: there is nobody to abuse HTTP/2 with.
#[tokio::test]
async fn htt_022() {
    let scene = Scene::new().await;
    let mut stream = connect(&scene).await;
    // The preface, and a SETTINGS frame without settings.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let answer = whole(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 505"), "{answer:?}");
    let upgrade = list().replace("Accept:", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nAccept:");
    assert_eq!(
        scene.status(upgrade.replace("HTTP2-Settings\r\n", "HTTP2-Settings\r\nHTTP2-Settings: AAM\r\n")).await,
        200
    );
    scene.nothing_happened().await;
}

/// Fields that say where a request came from, or what it means, say nothing.
#[tokio::test]
async fn htt_023() {
    let scene = Scene::new().await;
    let fields = "X-HTTP-Method-Override: GET\r\nX-Original-URL: /health\r\nX-Forwarded-Host: 127.0.0.1\r\n\
                  X-Forwarded-For: 10.9.8.7\r\nForwarded: for=10.9.8.7\r\nX-Real-IP: 10.9.8.7\r\nAccept:";
    let overridden = delete().replace("Accept:", fields);
    assert_eq!(scene.status(overridden.replace("127.0.0.1:8377", "evil.example")).await, 403);
    let mut reply = scene.raw(&overridden).await.unwrap();
    assert_eq!(outcome(&reply.answer(2).await), Some("denied"));
    // In a session the address of the connection is kept, and it is the socket's.
    let mut console = scene.daemon.console().await;
    let mut client = scene.daemon.http();
    client.initialize().await;
    let mut headers = client.headers();
    headers.push(("X-Forwarded-For".to_owned(), "10.9.8.7".to_owned()));
    let body = call(3, "create_refund", json!({"charge": "ch_1", "amount": 1})).to_string();
    let held = client.send("POST", &headers, body.as_bytes()).await;
    let hold = console.hold().await;
    assert!(hold.client.peer.as_ref().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{:?}", hold.client);
    console.reject(&hold, "no").await.unwrap();
    drop(held);
    assert_eq!(scene.spy.all_calls(), 0);
    assert!(!scene.daemon.log().contains("10.9.8.7"));
}
