//! The socket as the shim's side of the wire sees it.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::*;
use crate::call::PrincipalKind;
use crate::mcp::message::{Id, PARSE_ERROR};
use crate::transport::lanes::Lanes;
use crate::transport::runtime_dir::listen;

struct Rig {
    path: PathBuf,
    sessions: mpsc::Receiver<NewSession>,
    rejected: mpsc::Receiver<Rejected>,
    stop: CancellationToken,
    tracker: TaskTracker,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn start(limits: Limits, uid: u32) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/client.sock");
        let (to_sessions, sessions) = mpsc::channel(4);
        let (to_rejected, rejected) = mpsc::channel(100);
        let me = Principal::plain("me", PrincipalKind::Uid, Vec::new());
        let principals = Arc::new(Principals::new(Vec::new(), vec![(uid, Arc::new(me))]));
        let servers = Arc::new(["stripe".to_owned(), "stigg".to_owned()].into());
        let handover = Handover { sessions: to_sessions, rejected: to_rejected, lanes: Lanes::start().unwrap() };
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let listener = listen(&path).unwrap();
        tokio::spawn(serve(listener, principals, servers, handover, limits, stop.clone(), tracker.clone()));
        Rig { path, sessions, rejected, stop, tracker, _folder: folder }
    }

    async fn dial(&self, first: &str) -> (BufReader<UnixStream>, String) {
        let mut stream = BufReader::new(UnixStream::connect(&self.path).await.unwrap());
        stream.get_mut().write_all(first.as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        (stream, line)
    }

    async fn open(&mut self) -> (BufReader<UnixStream>, NewSession) {
        let (stream, line) = self.dial(&preamble("stripe", None)).await;
        assert_eq!(line, "{\"ok\":true}\n");
        (stream, self.sessions.recv().await.unwrap())
    }
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn text(text: &str) -> ToClient {
    ToClient::Message { text: JsonText::parse(text, Rules::UPSTREAM).unwrap(), related: None }
}

async fn malformed(session: &mut NewSession) -> Malformed {
    match session.link.inbound.recv().await {
        Some(FromClient::Malformed(malformed)) => malformed,
        other => panic!("{other:?}"),
    }
}

/// What it says of its folder is kept as that, and as much of it as there is room for.
#[tokio::test]
async fn a_shim_says_where_it_works() {
    let mut rig = Rig::start(Limits::default(), me());
    let long = format!("/{}", "\u{1}\u{e4}".repeat(5000));
    for (cwd, kept) in [("/home/a b/\u{202e}", "/home/a b/\u{202e}"), (long.as_str(), long.get(..767).unwrap())] {
        let (_stream, line) = rig.dial(&preamble("stripe", Some(std::path::Path::new(cwd)))).await;
        assert_eq!(line, "{\"ok\":true}\n", "{cwd}");
        let session = rig.sessions.recv().await.unwrap();
        assert_eq!(session.client.cwd.as_deref(), Some(kept));
        assert_eq!((session.client.uid, session.client.pid), (Some(me()), Some(std::process::id() as i32)));
    }
    let too_long = format!("{{\"countersign\":1,\"server\":\"stripe\",\"cwd\":\"{}\"}}\n", "x".repeat(513));
    assert!(rig.dial(&too_long).await.1.contains("first line"));
}

#[tokio::test]
async fn a_client_is_known_by_its_uid_and_gets_its_server() {
    let mut rig = Rig::start(Limits::default(), me());
    let (mut stream, mut session) = rig.open().await;
    assert_eq!((session.server.as_str(), session.principal.name.as_str()), ("stripe", "me"));
    assert_eq!((session.client.uid, session.client.pid), (Some(me()), Some(std::process::id() as i32)));
    stream.get_mut().write_all(b"{\"jsonrpc\":\"2.0\", \"id\":1,\"method\":\"ping\"}\r\n\n").await.unwrap();
    let Some(FromClient::Message(message)) = session.link.inbound.recv().await else { panic!("no message") };
    assert_eq!(message.text().as_str(), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}");
    session.link.outbound.send(ToClient::Waiting(Id::Number(1))).await.unwrap();
    session.link.outbound.send(text("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}")).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert_eq!(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
    drop(session);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the session's end closes the connection");
}

#[tokio::test]
async fn whoever_is_not_known_is_told_what_to_do() {
    let mut rig = Rig::start(Limits::default(), me() + 1);
    let (_, line) = rig.dial(&preamble("stripe", None)).await;
    assert!(line.contains("\"kind\":\"principal\"") && line.contains(&format!("uid: {}", me())), "{line}");
    assert_eq!(rig.rejected.recv().await.unwrap().server.as_deref(), Some("stripe"));
    assert!(rig.sessions.try_recv().is_err());
}

#[tokio::test]
async fn a_first_line_that_is_not_ours_is_refused() {
    let mut rig = Rig::start(Limits::default(), me());
    let (_, line) = rig.dial(&preamble("strip\"e", None)).await;
    assert!(line.contains("unknown server \\\"strip\\\\\\\"e\\\"; servers: stigg, stripe"), "{line}");
    let long = format!("{{\"countersign\":1,\"server\":\"{}\"}}\n", "x".repeat(5000));
    let odd = [
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\"}\n",
        "{\"countersign\":2,\"server\":\"stripe\"}\n",
        "{\"countersign\":1,\"server\":\"stripe\",\"principal\":\"root\"}\n",
        "{\"countersign\":1,\"server\":\"stigg\",\"server\":\"stripe\"}\n",
        "{\"countersign\":1}\n",
        "{\"countersign\":1,\"server\":\"stripe\",\"cwd\":1}\n",
        "{\"countersign\":1,\"server\":\"stripe\",\"cwd\":null}\n",
        "{\"countersign\":1,\"cwd\":\"/\"}\n",
        "{\"countersign\":1,\"server\":\"stripe\",\"cwd\":\"/\",\"uid\":0}\n",
        "{\"countersign\":1,\"server\":\"stripe\",\"cwd\":\"/\",\"cwd\":\"/\"}\n",
        "stripe\n",
        &long,
    ];
    for first in odd {
        let (_, line) = rig.dial(first).await;
        assert!(line.contains("\"kind\":\"usage\""), "{first}: {line}");
        rig.rejected.recv().await.unwrap();
    }
    assert!(rig.sessions.try_recv().is_err());
}

#[tokio::test]
async fn lines_that_are_no_messages_reach_the_session_as_such() {
    let mut rig = Rig::start(Limits::default(), me());
    let (mut stream, mut session) = rig.open().await;
    let lines = "{\n\"jsonrpc\":\"2.0\",\n[]\n{\"jsonrpc\":\"2.0\",\"id\":7,\"id\":8,\"method\":\"x\"}\n\u{0}\n";
    stream.get_mut().write_all(lines.as_bytes()).await.unwrap();
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(malformed(&mut session).await.code);
    }
    assert_eq!(codes, [PARSE_ERROR, PARSE_ERROR, INVALID_REQUEST, INVALID_REQUEST, PARSE_ERROR]);
    stream.get_mut().write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}").await.unwrap();
    stream.get_mut().shutdown().await.unwrap();
    assert!(malformed(&mut session).await.reason.contains("ended inside"));
    assert!(session.link.inbound.recv().await.is_none());
}

#[tokio::test]
async fn an_array_is_many_messages_and_its_answers_are_one_line() {
    let mut rig = Rig::start(Limits::default(), me());
    let (mut stream, mut session) = rig.open().await;
    let begin = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{}}\n";
    stream.get_mut().write_all(begin.as_bytes()).await.unwrap();
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Message(_))));
    let hello = "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"protocolVersion\":\"2025-03-26\"}}";
    session.link.outbound.send(text(hello)).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    let ask = |id: i64| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}");
    let answer = |id: i64| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}");
    stream.get_mut().write_all(format!("[{}, {}]\n", ask(1), ask(2)).as_bytes()).await.unwrap();
    for id in 1..=2 {
        let Some(FromClient::Message(message)) = session.link.inbound.recv().await else { panic!("no message") };
        assert_eq!(message.text().as_str(), ask(id));
    }
    session.link.outbound.send(text(&answer(2))).await.unwrap();
    // Nothing of the array is written before it is complete, or the rest of it is taken back.
    let cancel = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":1}}\n";
    session.link.outbound.send(text("{\"method\":\"x\"}")).await.unwrap();
    line.clear();
    stream.read_line(&mut line).await.unwrap();
    assert_eq!(line, "{\"method\":\"x\"}\n");
    stream.get_mut().write_all(cancel.as_bytes()).await.unwrap();
    line.clear();
    stream.read_line(&mut line).await.unwrap();
    assert_eq!(line, format!("[{}]\n", answer(2)));
}

#[tokio::test]
async fn a_line_over_the_limit_is_said_once_and_ends_the_connection() {
    let mut rig = Rig::start(Limits { message_bytes: 1000, ..Limits::default() }, me());
    let (mut stream, mut session) = rig.open().await;
    let (read, mut write) = tokio::io::split(stream.into_inner());
    let flood = tokio::spawn(async move { while write.write_all(&[b'a'; 10_000]).await.is_ok() {} });
    let said = malformed(&mut session).await;
    assert!(said.code == INVALID_REQUEST && said.reason.contains("1000 bytes"), "{said:?}");
    assert!(session.link.inbound.recv().await.is_none());
    session.link.outbound.send(text("{\"last\":1}")).await.unwrap();
    drop(session);
    let mut line = String::new();
    BufReader::new(read).read_line(&mut line).await.unwrap();
    assert_eq!(line, "{\"last\":1}\n");
    flood.await.unwrap();
    stream = rig.open().await.0;
    drop(stream);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_alone() {
    let mut rig = Rig::start(Limits { body_timeout: Duration::from_millis(200), ..Limits::default() }, me());
    let (_stream, session) = rig.open().await;
    let flood = tokio::spawn(async move {
        let large = format!("\"{}\"", "x".repeat(100_000));
        while session.link.outbound.send(text(&large)).await.is_ok() {}
    });
    let (mut other, other_session) = rig.open().await;
    other_session.link.outbound.send(text("{}")).await.unwrap();
    let mut line = String::new();
    other.read_line(&mut line).await.unwrap();
    assert_eq!(line, "{}\n");
    flood.await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_client_is_the_end_of_its_messages() {
    let mut rig = Rig::start(Limits::default(), me());
    let (stream, mut session) = rig.open().await;
    drop(stream);
    assert!(session.link.inbound.recv().await.is_none());
    // Half closed: what the session still has is written.
    let (mut stream, mut session) = rig.open().await;
    stream.get_mut().shutdown().await.unwrap();
    assert!(session.link.inbound.recv().await.is_none());
    session.link.outbound.send(text("{\"late\":1}")).await.unwrap();
    drop(session);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "{\"late\":1}\n");
}

#[tokio::test]
async fn connections_are_counted_and_stop_is_heard() {
    let mut rig = Rig::start(Limits { connections: 1, ..Limits::default() }, me());
    let (mut stream, session) = rig.open().await;
    let (_, line) = rig.dial("").await;
    assert!(line.contains("\"kind\":\"busy\""), "{line}");
    rig.stop.cancel();
    session.link.outbound.send(text("{}")).await.unwrap();
    drop(session);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "{}\n", "what is open is finished");
    rig.tracker.close();
    rig.tracker.wait().await;
    while rig.path.exists() {
        tokio::task::yield_now().await;
    }
}
