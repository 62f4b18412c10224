//! A recording upstream, on stdio or over streamable HTTP: it keeps every byte that reaches it and answers what the
//! test says, or else as the fixture's billing server would.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::peers;
use super::web::{Answer, Asked, Web};
use super::within;

/// One message that reached the upstream.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection, counted from 0: a child process, or an MCP session over HTTP.
    pub session: usize,
    pub raw: Vec<u8>,
    /// Null where the bytes are not JSON.
    pub message: Value,
}

impl Received {
    pub fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    /// The tool of a `tools/call`, else nothing.
    pub fn tool(&self) -> &str {
        if self.method() == "tools/call" { self.message["params"]["name"].as_str().unwrap_or_default() } else { "" }
    }

    pub fn id(&self) -> &Value {
        &self.message["id"]
    }
}

/// What the upstream does about a message.
#[derive(Clone, Debug)]
pub enum Act {
    /// The answer, with the message's own id.
    Result(Value),
    /// Any message: a line on stdout, or an event on the request's stream.
    Say(Value),
    /// Bytes on stdout as they are, or an event with this data.
    Raw(String),
    /// stdio only.
    Stderr { text: String, times: usize },
    /// The same bytes again and again.
    ForEver(String),
    /// stdio only: the process ends.
    Exit(i32),
    /// HTTP only: this is the whole answer.
    Http { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// HTTP only: the stream stays open when everything is said.
    KeepOpen,
}

type Script = dyn Fn(&Received, &[Received]) -> Option<Vec<Act>> + Send + Sync;

#[derive(Default)]
struct State {
    received: Vec<Received>,
    sessions: Vec<Session>,
}

struct Session {
    /// What the process said about itself; null over HTTP.
    hello: Value,
    bytes: Vec<u8>,
    closed: bool,
    orders: mpsc::UnboundedSender<Act>,
}

struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<usize>,
    script: Box<Script>,
}

#[derive(Clone)]
pub struct Spy {
    inner: Arc<Inner>,
    /// The configuration's `upstream:`.
    pub upstream: Value,
    /// Where the spy's socket lives.
    _dir: Arc<tempfile::TempDir>,
}

impl Spy {
    /// A child process that answers as the fixture does.
    pub async fn stdio() -> Spy {
        Spy::stdio_with(|_, _| None).await
    }

    /// A child process; `script` gets a message and everything before it; `None` is the fixture's answer.
    pub async fn stdio_with(
        script: impl Fn(&Received, &[Received]) -> Option<Vec<Act>> + Send + Sync + 'static,
    ) -> Spy {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("spy");
        let listener = UnixListener::bind(&socket).unwrap();
        let upstream = json!({"stdio": {
            "command": peers::python(),
            "args": ["-I", "-S", peers::source("tests/harness/spy.py")],
            "env": {"SPY_SOCKET": socket},
            // It tells the test through one what it reads.
            "sandbox": {"unix_sockets": true},
        }});
        let spy = Spy::new(Box::new(script), upstream, dir);
        let shared = spy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(shared.clone().attend(stream));
            }
        });
        spy
    }

    pub async fn http() -> Spy {
        Spy::http_with(|_, _| None).await
    }

    /// A streamable HTTP server at `/mcp`.
    pub async fn http_with(script: impl Fn(&Received, &[Received]) -> Option<Vec<Act>> + Send + Sync + 'static) -> Spy {
        let mut spy = Spy::new(Box::new(script), Value::Null, tempfile::tempdir().unwrap());
        let shared = spy.clone();
        let web = Web::start(move |asked| {
            let spy = shared.clone();
            async move { spy.answer(asked) }
        })
        .await;
        spy.upstream = json!({"http": {"url": format!("http://{}/mcp", web.address), "allow_plain_http": true}});
        spy
    }

    fn new(script: Box<Script>, upstream: Value, dir: tempfile::TempDir) -> Spy {
        let inner = Inner { state: Mutex::default(), changed: watch::channel(0).0, script };
        Spy { inner: Arc::new(inner), upstream, _dir: Arc::new(dir) }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.inner.state.lock().unwrap());
        self.inner.changed.send_modify(|count| *count += 1);
        changed
    }

    /// Keeps a message and says what to do about it.
    fn receive(&self, session: usize, raw: &[u8]) -> Vec<Act> {
        let message = serde_json::from_slice(raw).unwrap_or_default();
        let received = Received { session, raw: raw.to_vec(), message };
        let acts = self.change(|state| {
            let acts = (self.inner.script)(&received, &state.received);
            state.received.push(received.clone());
            acts
        });
        acts.unwrap_or_else(|| billing(&received))
    }

    /// One child process.
    async fn attend(self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read);
        let mut hello = String::new();
        if lines.read_line(&mut hello).await.is_err() {
            return;
        }
        let (orders, mut queue) = mpsc::unbounded_channel();
        let hello = serde_json::from_str(&hello).unwrap_or_default();
        let session = self.change(|state| {
            state.sessions.push(Session { hello, bytes: Vec::new(), closed: false, orders: orders.clone() });
            state.sessions.len() - 1
        });
        tokio::spawn(async move {
            while let Some(act) = queue.recv().await {
                let order = match act {
                    Act::Say(message) => json!({"out": format!("{message}\n")}),
                    Act::Raw(text) => json!({"out": text}),
                    Act::Stderr { text, times } => json!({"err": text, "times": times}),
                    Act::ForEver(text) => json!({"out": text, "for_ever": true}),
                    Act::Exit(code) => json!({"exit": code}),
                    Act::Result(_) | Act::Http { .. } | Act::KeepOpen => panic!("not for stdio: {act:?}"),
                };
                if write.write_all(format!("{order}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        loop {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                self.change(|state| state.sessions[session].closed = true);
                return;
            }
            self.change(|state| state.sessions[session].bytes.extend_from_slice(&line));
            for act in self.receive(session, &line) {
                let act = match act {
                    Act::Result(result) => {
                        let message: Value = serde_json::from_slice(&line).unwrap();
                        Act::Say(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
                    }
                    other => other,
                };
                let _ = orders.send(act);
            }
        }
    }

    /// One HTTP request.
    fn answer(&self, asked: Asked) -> Answer {
        if asked.method == http::Method::DELETE {
            if let Ok(session) = asked.header("mcp-session-id").parse::<usize>() {
                self.change(|state| state.sessions[session].closed = true);
            }
            return Answer::new(204, &[], Bytes::new());
        }
        if asked.method != http::Method::POST {
            return Answer::new(405, &[], Bytes::new());
        }
        let message: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let named = asked.header("mcp-session-id").parse::<usize>().ok();
        let session = named.unwrap_or_else(|| {
            let session =
                Session { hello: Value::Null, bytes: Vec::new(), closed: false, orders: mpsc::unbounded_channel().0 };
            self.change(|state| {
                state.sessions.push(session);
                state.sessions.len() - 1
            })
        });
        self.change(|state| state.sessions[session].bytes.extend_from_slice(&asked.body));
        let acts = self.receive(session, &asked.body);
        let id = &message["id"];
        let mut headers = Vec::new();
        if message["method"] == "initialize" {
            headers.push(("mcp-session-id".to_owned(), session.to_string()));
        }
        if id.is_null() {
            return Answer::new(202, &[], Bytes::new());
        }
        let mut answer = match acts.as_slice() {
            [Act::Http { status, headers, body }] => {
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                Answer::new(*status, &headers, body.clone())
            }
            [Act::Result(result)] => Answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": result})),
            acts => stream(id, acts.to_vec()),
        };
        answer.headers.append(&mut headers);
        answer
    }

    // What a test asks.

    pub fn received(&self) -> Vec<Received> {
        self.inner.state.lock().unwrap().received.clone()
    }

    /// Everything that reached the upstream, of all its connections.
    pub fn bytes(&self) -> Vec<u8> {
        let state = self.inner.state.lock().unwrap();
        state.sessions.iter().flat_map(|session| session.bytes.clone()).collect()
    }

    /// How often a tool was called.
    pub fn calls(&self, tool: &str) -> usize {
        self.received().iter().filter(|received| received.tool() == tool).count()
    }

    /// How often any tool was called.
    pub fn all_calls(&self) -> usize {
        self.received().iter().filter(|received| received.method() == "tools/call").count()
    }

    /// What each child process said about itself.
    pub fn processes(&self) -> Vec<Value> {
        self.inner.state.lock().unwrap().sessions.iter().map(|session| session.hello.clone()).collect()
    }

    /// How many connections have ended.
    pub fn closed(&self) -> usize {
        self.inner.state.lock().unwrap().sessions.iter().filter(|session| session.closed).count()
    }

    /// Does something that nobody asked for; stdio only.
    pub fn act(&self, session: usize, act: Act) {
        self.inner.state.lock().unwrap().sessions[session].orders.send(act).unwrap();
    }

    /// Waits until `done`.
    pub async fn until(&self, what: &str, done: impl Fn(&Spy) -> bool) {
        let mut changed = self.inner.changed.subscribe();
        within(what, async {
            while !done(self) {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }
}

/// An event stream.
fn stream(id: &Value, acts: Vec<Act>) -> Answer {
    let (sender, body) = mpsc::channel(16);
    let id = id.clone();
    tokio::spawn(async move {
        let event = |data: &str| Bytes::from(format!("event: message\ndata: {data}\n\n"));
        for act in acts {
            let sent = match act {
                Act::Result(result) => {
                    let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
                    sender.send(event(&answer.to_string())).await
                }
                Act::Say(message) => sender.send(event(&message.to_string())).await,
                Act::Raw(text) => sender.send(event(&text)).await,
                Act::ForEver(text) => {
                    let chunk = Bytes::from(text);
                    while sender.send(chunk.clone()).await.is_ok() {}
                    return;
                }
                Act::KeepOpen => {
                    sender.closed().await;
                    return;
                }
                Act::Stderr { .. } | Act::Exit(_) | Act::Http { .. } => panic!("not on an event stream: {act:?}"),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    Answer { status: 200, headers, body }
}

/// The fixture's server: every tool answers with its name.
fn billing(received: &Received) -> Vec<Act> {
    let tool = |name: &str| json!({"name": name, "description": name, "inputSchema": {"type": "object"}});
    let mut result = match received.method() {
        "initialize" => json!({
            "protocolVersion": received.message["params"]["protocolVersion"],
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "logging": {}},
            "serverInfo": {"name": "fixture", "version": "1"},
        }),
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete",
        }),
        "tools/list" => {
            let names = ["get_balance", "get_invoice", "get_big", "create_refund", "delete_customer"];
            json!({"tools": names.map(tool)})
        }
        "tools/call" => {
            let text = match received.tool() {
                "get_big" => "x".repeat(64 << 10),
                other => format!("done: {other}"),
            };
            json!({"content": [{"type": "text", "text": text}], "isError": false})
        }
        _ => json!({}),
    };
    if received.id().is_null() {
        return Vec::new();
    }
    if received.message.pointer("/params/_meta/io.modelcontextprotocol~1protocolVersion").is_some() {
        result["resultType"] = json!("complete");
    }
    vec![Act::Result(result)]
}

/// The path of the spy's program, to find it among processes.
pub fn program() -> String {
    Path::new("tests/harness/spy.py").display().to_string()
}
