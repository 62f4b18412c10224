//! The shim as a client starts it: the real binary, its real pipes, and a daemon's end in the test's hand.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use countersign::call::{Limits, Principal, PrincipalKind};
use countersign::json::{JsonText, Rules};
use countersign::transport::lanes::Lanes;
use countersign::transport::principals::Principals;
use countersign::transport::runtime_dir::listen;
use countersign::transport::{FromClient, Handover, NewSession, ToClient, client_socket};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Daemon {
    path: PathBuf,
    sessions: mpsc::Receiver<NewSession>,
    _rejected: mpsc::Receiver<countersign::transport::Rejected>,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/client.sock");
        let (to_sessions, sessions) = mpsc::channel(4);
        let (to_rejected, rejected) = mpsc::channel(4);
        let me = Principal::plain("me", PrincipalKind::Uid, Vec::new());
        let uid = rustix::process::geteuid().as_raw();
        tokio::spawn(client_socket::serve(
            listen(&path).unwrap().with_children(),
            Arc::new(Principals::new(Vec::new(), vec![(uid, Arc::new(me))])),
            Arc::new(["stripe".to_owned()].into()),
            Handover { sessions: to_sessions, rejected: to_rejected, lanes: Lanes::start().unwrap() },
            Limits::default(),
            CancellationToken::new(),
            TaskTracker::new(),
        ));
        Daemon { path, sessions, _rejected: rejected, folder }
    }

    async fn session(&mut self) -> NewSession {
        timeout(Duration::from_secs(20), self.sessions.recv()).await.unwrap().unwrap()
    }
}

struct Shim {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Shim {
    fn start(server: &str, socket: &Path) -> Shim {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["connect", server, "--socket"]).arg(socket);
        Shim::spawn(command)
    }

    fn spawn(mut command: Command) -> Shim {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Shim { child, input, output: BufReader::new(output).lines() }
    }

    async fn say(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> Option<String> {
        timeout(Duration::from_secs(20), self.output.next_line()).await.unwrap().unwrap()
    }

    /// Its exit code and what it said on stderr.
    async fn end(mut self) -> (i32, String) {
        let mut said = String::new();
        let status = timeout(Duration::from_secs(20), self.child.wait()).await.unwrap().unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
        (status.code().unwrap(), said)
    }
}

fn text(text: &str) -> ToClient {
    ToClient::Message { text: JsonText::parse(text, Rules::UPSTREAM).unwrap(), related: None }
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const PONG: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

#[tokio::test]
async fn lines_go_both_ways_until_the_client_ends() {
    let mut daemon = Daemon::start();
    let mut shim = Shim::start("stripe", &daemon.path);
    let mut session = daemon.session().await;
    assert_eq!(session.client.pid, shim.child.id().and_then(|pid| i32::try_from(pid).ok()));
    // The upstream may speak before the client does.
    session.link.outbound.send(text(r#"{"jsonrpc":"2.0","method":"early"}"#)).await.unwrap();
    assert_eq!(shim.line().await.unwrap(), r#"{"jsonrpc":"2.0","method":"early"}"#);
    let large = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"x","params":{{"a":"{}"}}}}"#, "é".repeat(500_000));
    shim.say(&format!("{PING}\n{large}\n")).await;
    for expected in [PING, &large] {
        let Some(FromClient::Message(message)) = session.link.inbound.recv().await else { panic!("no message") };
        assert_eq!(message.text().as_str(), expected);
        session.link.outbound.send(text(expected)).await.unwrap();
        assert_eq!(shim.line().await.unwrap(), expected);
    }
    drop(shim.input.take());
    assert!(session.link.inbound.recv().await.is_none(), "the end of stdin is the end of the session's input");
    session.link.outbound.send(text(PONG)).await.unwrap();
    assert_eq!(shim.line().await.unwrap(), PONG, "what still comes is printed");
    drop(session);
    assert_eq!(shim.line().await, None);
    assert_eq!(shim.end().await.0, 0);
}

#[tokio::test]
async fn a_daemon_that_does_not_hang_up_is_left_after_a_while() {
    let mut daemon = Daemon::start();
    let mut shim = Shim::start("stripe", &daemon.path);
    let session = daemon.session().await;
    drop(shim.input.take());
    assert_eq!(shim.end().await.0, 0);
    drop(session);
}

#[tokio::test]
async fn the_end_of_the_daemon_ends_the_shim() {
    let mut daemon = Daemon::start();
    let shim = Shim::start("stripe", &daemon.path);
    drop(daemon.session().await);
    let (code, said) = shim.end().await;
    assert_eq!(code, 7);
    assert!(said.contains("the daemon ended the session"), "{said}");
}

#[tokio::test]
async fn a_killed_shim_ends_its_session() {
    let mut daemon = Daemon::start();
    let mut shim = Shim::start("stripe", &daemon.path);
    let mut session = daemon.session().await;
    shim.say(&format!("{PING}\n")).await;
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Message(_))));
    shim.child.kill().await.unwrap();
    assert!(session.link.inbound.recv().await.is_none());
}

#[tokio::test]
async fn without_a_daemon_the_first_request_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["connect", "stripe"]).env("COUNTERSIGN_RUNTIME_DIR", folder.path());
    let mut shim = Shim::spawn(command);
    shim.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n").await;
    shim.say("{\"jsonrpc\":\"2.0\",\"id\":\"first\",\"method\":\"initialize\",\"params\":{}}\n").await;
    let answer = shim.line().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["id"], "first");
    let reason = answer["error"]["message"].as_str().unwrap();
    let path = folder.path().join("client.sock");
    assert!(
        reason.contains("`countersign serve` is not running") && reason.contains(path.to_str().unwrap()),
        "{reason}"
    );
    assert_eq!(shim.line().await, None);
    let (code, said) = shim.end().await;
    assert_eq!(code, 7);
    assert!(said.contains("countersign serve"), "{said}");
    // A socket file that nobody serves is the same.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut shim = Shim::start("stripe", &path);
    drop(shim.input.take());
    assert_eq!(shim.end().await.0, 7);
}

#[tokio::test]
async fn an_unknown_server_is_a_usage_error_that_names_the_known_ones() {
    let daemon = Daemon::start();
    let mut shim = Shim::start("strip", &daemon.path);
    shim.say(&format!("{PING}\n")).await;
    let answer = shim.line().await.unwrap();
    assert!(
        answer.contains("unknown server \\\"strip\\\"; servers: stripe") && answer.contains("\"id\":1"),
        "{answer}"
    );
    assert_eq!(shim.end().await.0, 2);
}

#[tokio::test]
async fn something_else_on_the_socket_is_not_taken_for_a_daemon() {
    let daemon = Daemon::start();
    let path = daemon.folder.path().join("other.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"220 mail.example ESMTP\n");
    });
    let mut shim = Shim::start("stripe", &path);
    drop(shim.input.take());
    let (code, said) = shim.end().await;
    assert_eq!(code, 7);
    assert!(said.contains("did not answer as one"), "{said}");
    other.join().unwrap();
}
