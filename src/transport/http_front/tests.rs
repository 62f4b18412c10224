//! The front as a peer on the wire sees it, with the session's other end in the test's hand.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use http::header::CONTENT_TYPE;
use tokio::sync::mpsc;

use http_body_util::BodyExt as _;

use super::exchange::Exchange;
use super::guard::Accepts;
use super::respond::respond;
use super::*;
use crate::call::{Principal, PrincipalKind};
use crate::credential::secret::{Secret, SecretCell};
use crate::json::Rules;
use crate::mcp::headers;
use crate::mcp::message::{HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, Id, Message};
use crate::transport::lanes::Lanes;
use crate::transport::principals::Known;
use crate::transport::{FromClient, NewSession, ToClient};

mod batches;
mod joints;
mod refusals;
mod resumption;
mod sessions;

const A: &str = "token-of-a-0123456789";
const B: &str = "token-of-b-0123456789";

struct Rig {
    address: SocketAddr,
    sessions: mpsc::Receiver<NewSession>,
    rejected: mpsc::Receiver<Rejected>,
    front: Arc<HttpFront>,
}

impl Rig {
    async fn start(limits: Limits) -> Rig {
        let (to_sessions, sessions) = mpsc::channel(16);
        let (to_rejected, rejected) = mpsc::channel(1000);
        let who = |name: &str| Arc::new(Principal::plain(name, PrincipalKind::Token, Vec::new()));
        let secret = |text: &str| Known::Secret(SecretCell::new("token", Secret::new(text.into())));
        let principals = Principals::new(vec![(secret(A), who("a")), (secret(B), who("b"))], Vec::new());
        let front = Arc::new(HttpFront::new(
            ["stripe", "stigg", "child"].map(|name| (name.to_owned(), served(name))).into(),
            Arc::new(principals),
            vec!["mcp.example".to_owned()],
            vec!["https://app.example".to_owned()],
            "http://mcp.example".to_owned(),
            limits,
            Handover { sessions: to_sessions, rejected: to_rejected, lanes: Lanes::start().unwrap() },
            CancellationToken::new(),
            TaskTracker::new(),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::clone(&front)));
        Rig { address, sessions, rejected, front }
    }

    async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), buffer: Vec::new() }
    }

    /// Sends raw bytes on a connection of their own and reads one response.
    async fn raw(&self, text: impl AsRef<[u8]>) -> Reply {
        let mut client = self.client().await;
        // A server that has seen enough may close before everything is written.
        let _ = client.stream.write_all(text.as_ref()).await;
        client.reply().await
    }

    /// Begins a legacy session of `token` and gives its id and its other end.
    async fn initialized(&mut self, token: &str) -> (String, NewSession) {
        self.initialized_in(token, "2025-11-25").await
    }

    async fn initialized_in(&mut self, token: &str, revision: &str) -> (String, NewSession) {
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
        let mut client = self.client().await;
        client.send(&post(token, &[], body)).await;
        let mut session = self.sessions.recv().await.unwrap();
        message(&mut session).await;
        say(&session, &format!(r#"{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"{revision}"}}}}"#)).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        (reply.header("mcp-session-id").unwrap(), session)
    }

    fn nothing_passed(&mut self) {
        assert!(self.sessions.try_recv().is_err(), "a session was begun");
    }
}

fn served(name: &str) -> Served {
    Served { joined: name == "child", ..Served::default() }
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<String> {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))?;
        Some(line.to_owned())
    }

    /// The code of the JSON-RPC error in the body.
    fn code(&self) -> i64 {
        let text = JsonText::parse(self.body.as_str(), Rules::UPSTREAM).unwrap_or_else(|_| panic!("{self:?}"));
        text.view().pointer("/error/code").unwrap().as_i64().unwrap()
    }
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            let at = self.buffer.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = at {
                let rest = self.buffer.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
            }
            assert!(self.more().await, "closed before {end:?}: {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    async fn head(&mut self) -> Reply {
        let head = self.until("\r\n\r\n").await;
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap();
        Reply { status, head, body: String::new() }
    }

    async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            assert!(self.more().await);
        }
        let rest = self.buffer.split_off(length);
        reply.body = String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
        reply
    }

    /// The data of the next event of a chunked stream.
    async fn event(&mut self) -> String {
        self.until("data: ").await;
        self.until("\n\n").await.trim_end().to_owned()
    }

    async fn closed(&mut self) {
        while self.more().await {}
    }
}

fn post(token: &str, fields: &[(&str, &str)], body: &str) -> String {
    let mut text = format!(
        "POST /mcp/stripe HTTP/1.1\r\nHost: localhost:1\r\nAuthorization: Bearer {token}\r\nContent-Type: \
         application/json\r\nAccept: application/json, text/event-stream\r\n"
    );
    for (name, value) in fields {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    write!(text, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    text
}

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

fn call_body(id: i64, tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}",{META}}}}}"#)
}

const MODERN: [(&str, &str); 3] =
    [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "get_balance")];

fn modern(id: i64) -> String {
    post(A, &MODERN, &call_body(id, "get_balance"))
}

fn text(text: &str) -> JsonText {
    JsonText::parse(text, Rules::UPSTREAM).unwrap()
}

async fn message(session: &mut NewSession) -> Message {
    match session.link.inbound.recv().await {
        Some(FromClient::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

async fn say(session: &NewSession, body: &str) {
    session.link.outbound.send(ToClient::Message { text: text(body), related: None }).await.unwrap();
}

fn result(id: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"ok":true}}}}"#)
}

#[tokio::test]
async fn a_modern_request_is_a_session_of_its_own() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    for id in 1..=3 {
        client.send(&modern(id)).await;
        let mut session = rig.sessions.recv().await.unwrap();
        assert_eq!((session.server.as_str(), session.principal.name.as_str()), ("stripe", "a"));
        assert!(session.client.peer.is_some() && session.client.name.is_none());
        assert_eq!(message(&mut session).await.text().as_str(), call_body(id, "get_balance"));
        say(&session, &result(id)).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.body.as_str()), (200, result(id).as_str()));
        assert_eq!(reply.header("content-type").unwrap(), "application/json");
        assert!(reply.header("mcp-session-id").is_none());
        assert!(session.link.inbound.recv().await.is_none(), "it ends with its answer, and nobody is gone");
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_one_request() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    client.stream.set_nodelay(true).unwrap();
    for byte in modern(1).bytes() {
        client.stream.write_all(&[byte]).await.unwrap();
    }
    let mut session = rig.sessions.recv().await.unwrap();
    message(&mut session).await;
    say(&session, &result(1)).await;
    assert_eq!(client.reply().await.status, 200);
    rig.nothing_passed();
}

#[tokio::test]
async fn header_fields_that_contradict_the_body_are_refused() {
    let mut rig = Rig::start(Limits::default()).await;
    let fields = |version: Option<&'static str>, method: Option<&'static str>, name: Option<&'static str>| {
        let all = [("MCP-Protocol-Version", version), ("Mcp-Method", method), ("Mcp-Name", name)];
        all.into_iter().filter_map(|(field, value)| Some((field, value?))).collect::<Vec<_>>()
    };
    let (version, method, name) = (Some("2026-07-28"), Some("tools/call"), Some("get_balance"));
    let twice = [fields(version, method, name), fields(None, None, name)].concat();
    let wrong = [
        fields(version, Some("tools/list"), name),
        fields(version, Some("Tools/Call"), name),
        fields(version, None, name),
        fields(version, method, Some("delete_customer")),
        fields(version, method, Some("=?base64?ZGVsZXRlX2N1c3RvbWVy?=")),
        fields(version, method, Some("get_balance\u{a0}")),
        fields(version, method, None),
        fields(None, method, name),
        fields(Some("2025-11-25"), method, name),
        twice,
    ];
    for fields in wrong {
        let reply = rig.raw(post(A, &fields, &call_body(1, "get_balance"))).await;
        assert_eq!((reply.status, reply.code()), (400, HEADER_MISMATCH), "{fields:?}");
        assert_eq!(rig.rejected.recv().await.unwrap().code, HEADER_MISMATCH);
    }
    rig.nothing_passed();
    for name in ["=?base64?Z2V0X2JhbGFuY2U=?=", "  get_balance  "] {
        let mut client = rig.client().await;
        client.send(&post(A, &fields(version, method, Some(name)), &call_body(1, "get_balance"))).await;
        assert!(rig.sessions.recv().await.is_some(), "{name}");
    }
}

#[tokio::test]
async fn fields_that_repeat_arguments_are_held_against_them_where_the_tool_is_known() {
    let mut rig = Rig::start(Limits::default()).await;
    let call = |region: &str| {
        let arguments = format!(r#""name":"get_balance","arguments":{{{region}}}"#);
        call_body(1, "get_balance").replace(r#""name":"get_balance""#, &arguments)
    };
    let with =
        |fields: &[(&'static str, &'static str)], region: &str| post(A, &[&MODERN[..], fields].concat(), &call(region));
    let (eu, us) = (("Mcp-Param-Region", "eu"), ("mcp-param-region", "us"));
    // Nobody has listed the tool: the field is no source of anything.
    let mut client = rig.client().await;
    client.send(&with(&[us], r#""region":"eu""#)).await;
    assert!(rig.sessions.recv().await.is_some());
    let tool = text(r#"{"inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}"#);
    rig.front.servers["stripe"].definitions.learn("get_balance", tool.view());
    let refused = [
        with(&[us], r#""region":"eu""#),
        with(&[], r#""region":"eu""#),
        with(&[eu], ""),
        with(&[eu], r#""region":null"#),
        with(&[eu, eu], r#""region":"eu""#),
        with(&[("Mcp-Param-Region", "e\u{e9}")], r#""region":"e\u00e9""#),
    ];
    for request in refused {
        let reply = rig.raw(&request).await;
        assert_eq!((reply.status, reply.code()), (400, HEADER_MISMATCH), "{request}");
    }
    rig.nothing_passed();
    for request in [
        with(&[eu], r#""region":"eu""#),
        with(&[("Mcp-Param-Region", "=?base64?ZXU=?=")], r#""region":"eu""#),
        with(&[], ""),
        with(&[("Mcp-Param-Other", "x")], ""),
        // Another server's tool of the same name.
        with(&[us], r#""region":"eu""#).replace("/mcp/stripe", "/mcp/stigg"),
    ] {
        let mut client = rig.client().await;
        client.send(&request).await;
        assert!(rig.sessions.recv().await.is_some(), "{request}");
    }
}

#[tokio::test]
async fn versions_that_are_not_spoken_are_refused() {
    let mut rig = Rig::start(Limits::default()).await;
    let body = call_body(1, "get_balance").replace("2026-07-28", "2031-01-01");
    let fields = [("MCP-Protocol-Version", "2031-01-01"), MODERN[1], MODERN[2]];
    let reply = rig.raw(post(A, &fields, &body)).await;
    assert_eq!((reply.status, reply.code()), (400, headers::UNSUPPORTED_VERSION));
    let said: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(said["id"], 1);
    let data = serde_json::json!({"supported": ["2026-07-28"], "requested": "2031-01-01"});
    assert_eq!(said["error"]["data"], data);
    let plain = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let reply = rig.raw(post(A, &[("MCP-Protocol-Version", "1999-01-01")], plain)).await;
    assert_eq!((reply.status, reply.code()), (400, INVALID_REQUEST));
    let reply = rig.raw(post(A, &[("MCP-Protocol-Version", "2026-07-28")], plain)).await;
    assert_eq!((reply.status, reply.code()), (400, INVALID_PARAMS));
    let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
    assert_eq!(rig.raw(post(A, &[], discover)).await.code(), INVALID_PARAMS);
    rig.nothing_passed();
}

#[tokio::test]
async fn the_modern_era_says_some_errors_in_the_status() {
    let mut rig = Rig::start(Limits::default()).await;
    for (code, status) in [(-32601, 404), (-32021, 400), (-32022, 400), (-32602, 200), (-32603, 200), (4403, 200)] {
        let mut client = rig.client().await;
        client.send(&modern(1)).await;
        let session = rig.sessions.recv().await.unwrap();
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"x"}}}}"#);
        say(&session, &body).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.body), (status, body));
    }
    let bare = call_body(1, "get_balance").replace(r#","io.modelcontextprotocol/clientCapabilities":{}"#, "");
    let mut client = rig.client().await;
    client.send(&post(A, &MODERN, &bare)).await;
    let session = rig.sessions.recv().await.unwrap();
    say(&session, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"x"}}"#).await;
    assert_eq!(client.reply().await.status, 400);
}

#[tokio::test]
async fn slow_clients_run_out_of_time() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut rig = Rig::start(limits).await;
    let mut headers = rig.client().await;
    headers.send("POST /mcp/stripe HTTP/1.1\r\nHost: localhost\r\n").await;
    let mut body = rig.client().await;
    body.send(modern(1).split_at(modern(1).len() - 1).0).await;
    assert_eq!(body.reply().await.status, 408);
    headers.closed().await;
    body.closed().await;
    rig.nothing_passed();
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    let upgrade = modern(1).replace("Content-Type", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Type");
    client.send(&format!("{upgrade}{}", modern(2))).await;
    for id in 1..=2 {
        let mut session = rig.sessions.recv().await.unwrap();
        assert_eq!(message(&mut session).await.id(), Some(&Id::Number(id)));
        say(&session, &result(id)).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.body), (200, result(id)));
    }
}

#[tokio::test]
async fn a_stream_opens_when_there_is_something_to_wait_for() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&modern(1)).await;
    let session = rig.sessions.recv().await.unwrap();
    session.link.outbound.send(ToClient::Waiting(Id::Number(1))).await.unwrap();
    let head = client.head().await;
    assert_eq!((head.status, head.header("content-type").as_deref()), (200, Some("text/event-stream")));
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    say(&session, progress).await;
    assert_eq!(client.event().await, progress);
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{}"}}"#, "é".repeat(100_000));
    say(&session, &large).await;
    client.until("event: message\n").await;
    let mut body = String::new();
    while !body.ends_with("0\r\n\r\n") {
        body += &client.until("\r\n").await;
    }
    assert!(body.contains("éééé"));
    client.send(&modern(2)).await;
    assert!(rig.sessions.recv().await.is_some(), "the connection can be used again");
}

#[tokio::test]
async fn a_client_without_events_waits_for_its_one_answer() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&modern(1).replace("Accept: application/json, text/event-stream", "Accept: application/json")).await;
    let session = rig.sessions.recv().await.unwrap();
    session.link.outbound.send(ToClient::Waiting(Id::Number(1))).await.unwrap();
    say(&session, r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#).await;
    say(&session, &result(1)).await;
    let reply = client.reply().await;
    assert_eq!((reply.header("content-type").as_deref(), reply.body), (Some("application/json"), result(1)));
}

#[tokio::test]
async fn whoever_hangs_up_is_gone() {
    let mut rig = Rig::start(Limits::default()).await;
    // Before anything was answered.
    let mut client = rig.client().await;
    client.send(&modern(7)).await;
    let mut session = rig.sessions.recv().await.unwrap();
    message(&mut session).await;
    drop(client);
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(Id::Number(7)))));
    assert!(session.link.inbound.recv().await.is_none());
    // With the stream open.
    let mut client = rig.client().await;
    client.send(&modern(8)).await;
    let mut session = rig.sessions.recv().await.unwrap();
    message(&mut session).await;
    session.link.outbound.send(ToClient::Waiting(Id::Number(8))).await.unwrap();
    client.head().await;
    drop(client);
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(Id::Number(8)))));
    // In a session: the session goes on.
    let (id, mut session) = rig.initialized(A).await;
    let fields = [("Mcp-Session-Id", id.as_str())];
    let mut client = rig.client().await;
    client.send(&post(A, &fields, r#"{"jsonrpc":"2.0","id":9,"method":"tools/list"}"#)).await;
    message(&mut session).await;
    drop(client);
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(Id::Number(9)))));
    say(&session, &result(9)).await;
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(rig.raw(post(A, &fields, note)).await.status, 202);
}

#[tokio::test]
async fn a_session_that_ends_answers_what_is_open() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&modern(1)).await;
    let mut session = rig.sessions.recv().await.unwrap();
    message(&mut session).await;
    drop(session);
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.code()), (503, sse::INTERNAL_ERROR));
    let (id, mut session) = rig.initialized(A).await;
    let mut client = rig.client().await;
    client.send(&post(A, &[("Mcp-Session-Id", &id)], r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#)).await;
    message(&mut session).await;
    session.link.outbound.send(ToClient::Waiting(Id::Number(5))).await.unwrap();
    client.head().await;
    drop(session);
    assert!(client.event().await.contains("\"id\":5,\"error\""));
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection_only() {
    let mut rig = Rig::start(Limits { body_timeout: Duration::from_millis(300), ..Limits::default() }).await;
    let mut slow = rig.client().await;
    slow.send(&modern(1)).await;
    let mut session = rig.sessions.recv().await.unwrap();
    message(&mut session).await;
    let flood = tokio::spawn(async move {
        let note = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{}"}}}}"#,
            "x".repeat(100_000)
        );
        loop {
            let event = ToClient::Message { text: text(&note), related: None };
            if session.link.outbound.send(event).await.is_err() {
                return session.link.inbound.recv().await;
            }
        }
    });
    let mut other = rig.client().await;
    other.send(&modern(2)).await;
    let quick = rig.sessions.recv().await.unwrap();
    say(&quick, &result(2)).await;
    assert_eq!(other.reply().await.status, 200);
    assert!(matches!(flood.await.unwrap(), Some(FromClient::Gone(Id::Number(1)))));
}

#[tokio::test]
async fn connections_are_counted() {
    let mut rig = Rig::start(Limits { connections: 1, ..Limits::default() }).await;
    let mut one = rig.client().await;
    one.send(&modern(1)).await;
    let session = rig.sessions.recv().await.unwrap();
    let mut two = rig.client().await;
    assert_eq!(two.head().await.status, 503);
    two.closed().await;
    say(&session, &result(1)).await;
    assert_eq!(one.reply().await.status, 200);
}

#[tokio::test]
async fn stopping_finishes_what_is_open_and_takes_nothing_new() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&modern(1)).await;
    let session = rig.sessions.recv().await.unwrap();
    rig.front.stop.cancel();
    say(&session, &result(1)).await;
    assert_eq!(client.reply().await.status, 200);
    client.closed().await;
    rig.front.tracker.close();
    rig.front.tracker.wait().await;
}

#[tokio::test(start_paused = true)]
async fn silence_becomes_a_stream_after_a_second_and_a_comment_every_fifteen() {
    let (outbound, receiver) = mpsc::channel(4);
    let (inbound, mut session) = mpsc::channel(4);
    let both = Accepts { json: true, events: true };
    let begun = tokio::time::Instant::now();
    let exchange = Exchange::own(Id::Number(1), receiver, inbound, TaskTracker::new());
    let response = respond(exchange, both, |_| StatusCode::OK).await;
    assert_eq!(begun.elapsed(), PATIENCE);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body();
    let mut comments = 0;
    while begun.elapsed() < Duration::from_secs(61) {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&frame[..], b":\n\n");
        comments += 1;
    }
    assert_eq!(comments, 5, "one at once, then every fifteen seconds");
    outbound.send(ToClient::Message { text: text(&result(1)), related: None }).await.unwrap();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(frame, format!("event: message\ndata: {}\n\n", result(1)));
    assert!(body.frame().await.is_none());
    drop(body);
    assert!(session.recv().await.is_none(), "answered, so nobody is gone");
}
