//! Upstreams that are raw sockets, each with a script of what to answer; what they saw is kept byte for byte.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::credential::secret::{Secret, SecretCell};
use crate::json::{JsonText, Rules};

const KEY: &str = "sk_live_CANARY7Qm2Zt9XeVb4";

/// What the server does after it has read a request.
enum Act {
    /// Writes, and reads the next request from the same connection.
    Write(String),
    /// Writes one byte at a time.
    Trickle(String),
    /// Writes and closes.
    Last(String),
    /// Waits for the other side to close.
    Hang,
}

struct Server {
    url: String,
    seen: mpsc::UnboundedReceiver<String>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(script: impl Fn(&str) -> Act + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/mcp", listener.local_addr().unwrap());
        let (see, seen) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let (script, count) = (Arc::new(script), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, see.clone(), Arc::clone(&script)));
            }
        });
        Server { url, seen, connections }
    }

    fn link(&self, limits: Limits) -> UpstreamLink {
        link(&self.url, limits)
    }

    async fn saw(&mut self) -> String {
        self.seen.recv().await.unwrap()
    }
}

async fn serve(mut stream: TcpStream, see: mpsc::UnboundedSender<String>, script: Arc<impl Fn(&str) -> Act>) {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read(&mut stream, &mut buffer).await else { return };
        see.send(request.clone()).unwrap();
        match script(&request) {
            Act::Write(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Act::Trickle(text) => {
                for byte in text.bytes() {
                    stream.write_all(&[byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            Act::Last(text) => return drop(stream.write_all(text.as_bytes()).await),
            Act::Hang => {
                while matches!(stream.read_buf(&mut buffer).await, Ok(count) if count > 0) {}
                return see.send("hung up".to_owned()).unwrap();
            }
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let all = end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap());
            if buffer.len() >= all {
                let rest = buffer.split_off(all);
                return Some(String::from_utf8(std::mem::replace(buffer, rest)).unwrap());
            }
        }
        if !matches!(stream.read_buf(buffer).await, Ok(count) if count > 0) {
            return None;
        }
    }
}

fn link(url: &str, limits: Limits) -> UpstreamLink {
    let client = HttpClient::new(limits, TaskTracker::new()).unwrap();
    link_through(client, url, limits)
}

fn link_through(client: HttpClient, url: &str, limits: Limits) -> UpstreamLink {
    let tracker = TaskTracker::new();
    let key = HeaderSource::Secret { value: SecretCell::new("key", Secret::new(KEY.into())), prefix: "Bearer ".into() };
    let spec = HttpSpec::new("stripe", url, vec![("Authorization".into(), key)]).unwrap();
    let key = Secret::new(KEY.into());
    let scrubber = Arc::new(Scrubber::new([("stripe_live", &key)]));
    connect(Arc::new(spec), client, scrubber, limits, &tracker)
}

fn json(body: &str) -> String {
    response("200 OK", "content-type: application/json\r\n", body)
}

fn response(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}

fn events(body: &str) -> String {
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{chunk}")
}

fn result(id: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

fn message(text: &str) -> ToUpstream {
    ToUpstream::Send(Message::from_client(text).unwrap())
}

fn request(id: i64) -> ToUpstream {
    message(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#))
}

/// What comes next but for the form in which it comes.
async fn next(link: &mut UpstreamLink) -> String {
    loop {
        let event = event(link).await;
        if !event.starts_with("form ") {
            return event;
        }
    }
}

async fn event(link: &mut UpstreamLink) -> String {
    match link.inbound.recv().await {
        Some(FromUpstream::Message { message, related }) => {
            let related = related.map_or_else(|| "none".to_owned(), |id| id.to_string());
            format!("{related} {}", message.text().as_str())
        }
        Some(FromUpstream::Streams { id }) => format!("form {id} streams"),
        Some(FromUpstream::Pauses { id }) => format!("form {id} pauses"),
        Some(FromUpstream::Lost { id, loss }) => format!("lost {id} {:?} {}", loss.fate, loss.reason),
        Some(FromUpstream::Closed { reason }) => format!("closed {reason}"),
        None => "end".to_owned(),
    }
}

/// The answer to one request that is answered by `act`.
async fn answer(act: impl Fn() -> Act + Send + Sync + 'static) -> String {
    let server = Server::start(move |_| act()).await;
    let mut link = server.link(Limits { answer_bytes: 10_000, ..Limits::default() });
    link.outbound.send(request(1)).await.unwrap();
    next(&mut link).await
}

mod edges;
mod leaving;
mod streams;

const INIT: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
const INITED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

#[tokio::test]
async fn a_legacy_session_is_carried_from_initialize_to_delete() {
    let mut server = Server::start(|request| {
        if request.starts_with("GET") {
            return Act::Write(response("405 Method Not Allowed", "", ""));
        }
        if request.contains("initialize\"") {
            let body = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18"}}"#;
            return Act::Write(response("200 OK", "content-type: application/json\r\nmcp-session-id: s-1\r\n", body));
        }
        if request.contains("notifications/") || request.starts_with("DELETE") {
            return Act::Write(response("202 Accepted", "", ""));
        }
        Act::Write(json(&result(1)))
    })
    .await;
    let mut link = server.link(Limits::default());
    // All at once: the order on the wire is kept all the same.
    link.outbound.send(message(INIT)).await.unwrap();
    link.outbound.send(message(INITED)).await.unwrap();
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("0 {"));
    assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
    let first = server.saw().await;
    assert!(first.starts_with("POST /v1/mcp HTTP/1.1\r\n") && first.ends_with(INIT), "{first}");
    assert!(first.contains(&format!("authorization: Bearer {KEY}\r\n")), "{first}");
    assert!(first.contains("accept: application/json, text/event-stream\r\n") && !first.contains("mcp-"), "{first}");
    assert!(!first.contains("accept-encoding") && first.contains("host: 127.0.0.1:"), "{first}");
    let second = server.saw().await;
    assert!(second.ends_with(INITED), "{second}");
    let rest = [server.saw().await, server.saw().await];
    assert!(rest.iter().any(|request| request.starts_with("GET /v1/mcp")), "{rest:?}");
    assert!(rest.iter().any(|request| request.ends_with("tools/list\"}")), "{rest:?}");
    drop(link);
    let last = server.saw().await;
    assert!(last.starts_with("DELETE /v1/mcp"), "{last}");
    for request in [&second, &rest[0], &rest[1], &last] {
        assert!(request.contains("mcp-session-id: s-1\r\n"), "{request}");
        assert!(request.contains("mcp-protocol-version: 2025-06-18\r\n"), "{request}");
    }
}

/// The daemon closes the client when the last session is gone: what a link says at its end still leaves.
#[tokio::test]
async fn a_session_is_ended_before_the_client_closes() {
    let mut server = Server::start(|request| match request.starts_with("DELETE") {
        true => Act::Write(response("204 No Content", "", "")),
        false => Act::Write(response("200 OK", "content-type: application/json\r\nmcp-session-id: s\r\n", &result(0))),
    })
    .await;
    let client = HttpClient::new(Limits::default(), TaskTracker::new()).unwrap();
    let mut link = link_through(client.clone(), &server.url, Limits::default());
    link.outbound.send(message(INIT)).await.unwrap();
    next(&mut link).await;
    drop(link);
    client.close().await;
    server.saw().await;
    assert!(server.saw().await.starts_with("DELETE"));
}

#[tokio::test]
async fn modern_requests_carry_what_their_header_fields_have_to_say() {
    let mut server = Server::start(|_| Act::Write(json(&result(1)))).await;
    let mut link = server.link(Limits::default());
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    for (method, params, field) in [
        ("tools/call", r#""name":"get_balance","#, "mcp-name: get_balance\r\n"),
        ("resources/read", r#""uri":"file:///é","#, "mcp-name: =?base64?ZmlsZTovLy/DqQ==?=\r\n"),
        ("tools/list", "", "mcp-method: tools/list\r\n"),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{meta}}}}}"#);
        link.outbound.send(message(&text)).await.unwrap();
        next(&mut link).await;
        let saw = server.saw().await;
        assert!(saw.contains(field) && saw.contains(&format!("mcp-method: {method}\r\n")), "{saw}");
        assert!(saw.contains("mcp-protocol-version: 2026-07-28\r\n") && saw.ends_with(&text), "{saw}");
        assert_eq!(saw.contains("mcp-name"), !params.is_empty());
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the connection is kept");
}

#[tokio::test]
async fn annotated_arguments_are_repeated_on_every_link_to_the_server() {
    let mut server = Server::start(|_| Act::Write(json(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#))).await;
    let client = HttpClient::new(Limits::default(), TaskTracker::new()).unwrap();
    let spec = Arc::new(HttpSpec::new("x", &server.url, Vec::new()).unwrap());
    let link = || {
        let scrubber = Arc::new(Scrubber::default());
        connect(Arc::clone(&spec), client.clone(), scrubber, Limits::default(), &TaskTracker::new())
    };
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    let call = |region: &str| {
        let params = format!(r#"{{"name":"query","arguments":{{"region":"{region}"}},{meta}}}"#);
        message(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#))
    };
    let mut first = link();
    first.outbound.send(call("eu")).await.unwrap();
    next(&mut first).await;
    assert!(!server.saw().await.contains("mcp-param"));
    let tool = r#"{"inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}"#;
    spec.definitions().learn("query", JsonText::parse(tool, Rules::UPSTREAM).unwrap().view());
    let mut second = link();
    second.outbound.send(call("eu")).await.unwrap();
    next(&mut second).await;
    let saw = server.saw().await;
    assert!(saw.contains("mcp-param-region: eu\r\n") && saw.contains("mcp-name: query\r\n"), "{saw}");
    // What does not fit into a field goes nowhere.
    second.outbound.send(call(&"x".repeat(9000))).await.unwrap();
    let told = next(&mut second).await;
    assert!(told.starts_with("lost 1 NotSent") && told.contains("mcp-param-region"), "{told}");
}

#[tokio::test]
async fn events_are_passed_up_as_they_come() {
    let note = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    let body = format!(
        ": hi\n\nid: 1\ndata: \n\nevent: message\ndata: {note}\n\nevent: other\ndata: {{}}\n\ndata: nonsense\n\ndata: {}\n\n",
        result(1)
    );
    for trickle in [false, true] {
        let body = body.clone();
        let server =
            Server::start(move |_| if trickle { Act::Trickle(events(&body)) } else { Act::Write(events(&body)) }).await;
        let mut link = server.link(Limits::default());
        for _ in 0..5 {
            link.outbound.send(request(1)).await.unwrap();
            assert_eq!(next(&mut link).await, format!("1 {note}"));
            assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
        }
        // The answer is told before the rest of its stream is read, so the next request may need a second one.
        assert!(
            server.connections.load(Ordering::SeqCst) <= 2,
            "a stream that was read to its end keeps its connection"
        );
    }
}

#[tokio::test]
async fn an_answer_on_an_open_stream_arrives_while_it_is_open() {
    let server = Server::start(|_| {
        let body = format!("data: {}\n\n", result(1));
        Act::Write(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()))
    })
    .await;
    let mut link = server.link(Limits::default());
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
}

#[tokio::test]
async fn answers_that_cannot_be_trusted_are_losses() {
    let ok = |fields: &'static str, body: String| move || Act::Write(response("200 OK", fields, &body));
    let json = "content-type: application/json\r\n";
    let told = answer(ok("content-type: Application/JSON ; charset=utf-8\r\n", result(1))).await;
    assert_eq!(told, format!("1 {}", result(1)));
    for (act, reason) in [
        (ok("content-type: text/plain\r\n", result(1)), "neither JSON nor events"),
        (ok("", result(1)), "neither JSON nor events"),
        (ok(json, result(2)), "not one to this request"),
        (ok(json, r#"{"jsonrpc":"2.0","id":"1","result":{}}"#.into()), "not one to this request"),
        (ok(json, r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#.into()), "cannot be read"),
        (ok(json, format!("[{}]", result(1))), "cannot be read"),
        (ok(json, "{".into()), "cannot be read"),
        (ok(json, format!("\"{}\"", "x".repeat(10_000))), "longer than 10000 bytes"),
        (ok("content-type: application/json\r\ncontent-encoding: gzip\r\n", result(1)), "encoded"),
        (ok("content-type: text/event-stream\r\n", "data: {\"a\"".into()), "ended without an answer"),
        (ok("content-type: text/event-stream\r\n", format!("data: {}", "x".repeat(10_001))), "more than 10000 bytes"),
    ] {
        let told = answer(act).await;
        assert!(told.starts_with("lost 1 Unknown") && told.contains(reason), "{told} / {reason}");
    }
}

#[tokio::test]
async fn nothing_is_sent_twice() {
    // Closed after the request was read: it may have been carried out.
    let told = answer(|| Act::Last(String::new())).await;
    assert!(told.starts_with("lost 1 Unknown"), "{told}");
    let told = answer(|| Act::Last("HTTP/1.1 200 OK\r\ncontent-le".to_owned())).await;
    assert!(told.starts_with("lost 1 Unknown"), "{told}");
    let mut server = Server::start(|_| Act::Last(String::new())).await;
    let mut link = server.link(Limits::default());
    link.outbound.send(request(1)).await.unwrap();
    next(&mut link).await;
    server.saw().await;
    link.outbound.send(request(2)).await.unwrap();
    next(&mut link).await;
    assert!(server.saw().await.contains("\"id\":2"), "the first one did not come again");
    // Nobody there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let mut link = link_to(&url);
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 NotSent the upstream cannot be reached"));
}

fn link_to(url: &str) -> UpstreamLink {
    link(url, Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() })
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut link = link_to(&format!("https://{}/", listener.local_addr().unwrap()));
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 NotSent the upstream does not accept connections in time"));
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_not_used() {
    let server = Server::start(|_| Act::Last(json(&result(1)))).await;
    let mut link = server.link(Limits::default());
    for _ in 0..20 {
        link.outbound.send(request(1)).await.unwrap();
        assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up() {
    let mut server = Server::start(|_| Act::Hang).await;
    let mut link = server.link(Limits { answer_timeout: Duration::from_millis(200), ..Limits::default() });
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 Unknown no answer"));
    server.saw().await;
    assert_eq!(server.saw().await, "hung up");
}

#[tokio::test]
async fn an_abandoned_request_is_hung_up_and_others_go_on() {
    let mut server = Server::start(|request| match request.contains("\"id\":1") {
        true => Act::Hang,
        false => Act::Write(json(&result(2))),
    })
    .await;
    let mut link = server.link(Limits::default());
    link.outbound.send(request(1)).await.unwrap();
    server.saw().await;
    link.outbound.send(request(2)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("2 {}", result(2)));
    server.saw().await;
    link.outbound.send(ToUpstream::Abandon(Id::Number(1))).await.unwrap();
    assert_eq!(server.saw().await, "hung up");
    assert!(next(&mut link).await.starts_with("lost 1 Unknown nobody waited"), "its id is free again");
    // In this era that is what a cancellation is, and no message says so.
    link.outbound.send(request(1)).await.unwrap();
    server.saw().await;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    link.outbound.send(message(cancel)).await.unwrap();
    assert_eq!(server.saw().await, "hung up");
    assert!(next(&mut link).await.starts_with("lost 1 Unknown nobody waited"));
    drop(link.outbound);
    assert!(link.inbound.recv().await.is_none());
}

#[tokio::test]
async fn what_is_open_is_hung_up_when_the_link_goes() {
    let mut server = Server::start(|request| match request.contains("tools/list") || request.starts_with("GET") {
        true => Act::Hang,
        false if request.contains("cancelled") => Act::Write(response("202 Accepted", "", "")),
        false => Act::Write(json(&result(0))),
    })
    .await;
    let mut link = server.link(Limits::default());
    link.outbound.send(message(INIT)).await.unwrap();
    next(&mut link).await;
    server.saw().await;
    link.outbound.send(request(1)).await.unwrap();
    server.saw().await;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    link.outbound.send(message(cancel)).await.unwrap();
    drop(link.outbound);
    let mut saw = [server.saw().await, server.saw().await];
    saw.sort();
    assert!(saw[0].ends_with(cancel) && saw[1] == "hung up", "the last words are said: {saw:?}");
}

#[tokio::test]
async fn requests_go_out_side_by_side_up_to_the_limit() {
    let mut server = Server::start(|_| Act::Hang).await;
    let limits = Limits { in_flight: 8, ..Limits::default() };
    let link = server.link(limits);
    for id in 0..30 {
        link.outbound.send(request(id)).await.unwrap();
    }
    for _ in 0..8 + RESERVE {
        server.saw().await;
    }
    assert!(timeout_at(Instant::now() + Duration::from_millis(100), server.seen.recv()).await.is_err());
    assert_eq!(server.connections.load(Ordering::SeqCst), 8 + RESERVE);
}

/// One TLS connection at a time, with a certificate for `localhost` of an authority that only this test trusts.
fn tls_server() -> (u16, std::thread::JoinHandle<Option<String>>) {
    use std::io::{Read as _, Write as _};
    let leaf = include_bytes!("testdata/localhost.der").as_slice().into();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(include_bytes!("testdata/localhost.key.der").as_slice());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![leaf], key.into()).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&request).contains("tools/list") {
            let count = tls.read(&mut piece).ok().filter(|count| *count > 0)?;
            request.extend_from_slice(&piece[..count]);
        }
        tls.write_all(json(&result(1)).as_bytes()).unwrap();
        tls.flush().unwrap();
        Some(String::from_utf8(request).unwrap())
    });
    (port, serving)
}

fn trusting() -> HttpClient {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(include_bytes!("testdata/ca.der").as_slice().into()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    HttpClient::with_tls(Limits::default(), TaskTracker::new(), tls)
}

#[tokio::test]
async fn tls_carries_requests_to_a_server_that_proves_its_name() {
    let (port, serving) = tls_server();
    let mut link = link_through(trusting(), &format!("https://localhost:{port}/v1/mcp"), Limits::default());
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
    assert!(serving.join().unwrap().unwrap().contains(&format!("authorization: Bearer {KEY}\r\n")));
}

#[tokio::test]
async fn no_byte_goes_to_a_server_that_does_not_prove_its_name() {
    let (port, serving) = tls_server();
    let mut unknown = link(&format!("https://localhost:{port}/v1/mcp"), Limits::default());
    unknown.outbound.send(request(1)).await.unwrap();
    let told = next(&mut unknown).await;
    assert!(told.starts_with("lost 1 NotSent") && told.contains("certificate"), "{told}");
    assert_eq!(serving.join().unwrap(), None);
    let (port, serving) = tls_server();
    let mut misnamed = link_through(trusting(), &format!("https://127.0.0.1:{port}/v1/mcp"), Limits::default());
    misnamed.outbound.send(request(1)).await.unwrap();
    let told = next(&mut misnamed).await;
    assert!(told.starts_with("lost 1 NotSent") && told.contains("certificate"), "{told}");
    assert_eq!(serving.join().unwrap(), None);
}
