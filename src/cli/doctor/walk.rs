//! The way of a client: through the shim, and over HTTP, to the daemon, past policy, to the server. A handshake and the
//! list of tools, as any client begins; no tool is called.
//!
//! Invariant: what breaks is named by its hop. A token that is used is in memory only.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::task::TaskTracker;

use crate::call::Limits;
use crate::cli::Exit;
use crate::credential::scrub::Scrubber;
use crate::credential::secret::SecretCell;
use crate::json::{JsonText, Rules};
use crate::mcp::loss::{Cause, KEY_REFUSED, UNAVAILABLE};
use crate::mcp::message::{Message, Shape};
use crate::transport::http_client::HttpClient;
use crate::transport::http_upstream::{self, HeaderSource, HttpSpec};
use crate::transport::{FromUpstream, ToUpstream, UpstreamLink};

/// A server that is installed first takes long; one that takes longer is said to.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a shim that has no daemon may take to say so and end.
const SOON: Duration = Duration::from_secs(20);
/// Longest line of an answer.
const LINE: u64 = 64 << 20;
/// Pages of a list.
const PAGES: usize = 100;
const REVISION: &str = "2025-11-25";

/// Where a way is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hop {
    Shim,
    /// The client socket, or the HTTP front.
    Daemon,
    /// Who the client is taken for.
    Principal,
    /// The daemon knows no such server.
    Configuration,
    /// The server does not take the operator's key.
    Key,
    Server,
}

impl Hop {
    pub fn as_str(self) -> &'static str {
        match self {
            Hop::Shim => "the shim",
            Hop::Daemon => "the daemon",
            Hop::Principal => "the principal",
            Hop::Configuration => "the daemon's configuration",
            Hop::Key => "the server, which does not accept the key",
            Hop::Server => "the server",
        }
    }
}

/// Why a way is not gone to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    pub hop: Hop,
    pub why: String,
}

impl Broken {
    fn new(hop: Hop, why: impl Into<String>) -> Broken {
        Broken { hop, why: why.into() }
    }
}

/// Through `countersign connect`. How many tools the client sees.
///
/// # Errors
/// [`Broken`].
pub async fn by_shim(program: &Path, socket: &Path, server: &str) -> Result<usize, Broken> {
    let mut way = Shim::start(program, socket, server)?;
    match tokio::time::timeout(PATIENCE, async { way.tools().await }).await {
        Ok(tools) => tools,
        Err(_) => Err(Broken::new(Hop::Server, format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// Over HTTP, with a principal's token.
///
/// # Errors
/// [`Broken`].
pub async fn by_http(url: &str, server: &str, token: SecretCell) -> Result<usize, Broken> {
    let way = Http::new(url, server, token)?;
    let tools = tokio::time::timeout(PATIENCE, way.tools()).await;
    tools.unwrap_or_else(|_| Err(Broken::new(Hop::Server, format!("no answer within {} s", PATIENCE.as_secs()))))
}

fn initialize() -> Value {
    let client = json!({"name": "countersign-doctor", "version": env!("CARGO_PKG_VERSION")});
    request(1, "initialize", &json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client}))
}

fn initialized() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn list(id: u64, cursor: Option<&Value>) -> Value {
    request(id, "tools/list", &cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor})))
}

/// Tools of a page, and what asks for the next one.
fn page(result: &Value) -> (usize, Option<Value>) {
    let tools = result.get("tools").and_then(Value::as_array).map_or(0, Vec::len);
    (tools, result.get("nextCursor").filter(|cursor| cursor.is_string()).cloned())
}

/// The result of an answer. An error is the server's, or says whose it is.
fn result(answer: &Value) -> Result<Value, Broken> {
    match (answer.get("result"), answer.pointer("/error/message").and_then(Value::as_str)) {
        (Some(result), None) => Ok(result.clone()),
        (_, Some(error)) => {
            let code = answer.pointer("/error/code").and_then(Value::as_i64);
            let hop = match code {
                Some(KEY_REFUSED) => Hop::Key,
                Some(UNAVAILABLE) => Hop::Daemon,
                Some(_) | None => Hop::Server,
            };
            Err(Broken::new(hop, error))
        }
        (None, None) => Err(Broken::new(Hop::Server, "its answer is neither a result nor an error")),
    }
}

struct Shim {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Shim {
    fn start(program: &Path, socket: &Path, server: &str) -> Result<Shim, Broken> {
        let broken = |why: String| Broken::new(Hop::Shim, why);
        let mut command = Command::new(program);
        command.arg("connect").arg("--socket").arg(socket).arg("--").arg(server).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| broken(format!("it cannot be started: {error}")))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| broken("it has no output".to_owned()))?;
        Ok(Shim { child, stdin, stdout: BufReader::new(stdout) })
    }

    async fn tools(&mut self) -> Result<usize, Broken> {
        let begun = self.ask(1, &initialize()).await?;
        if let Err(broken) = result(&begun) {
            return Err(self.refused(broken).await);
        }
        self.say(&initialized()).await;
        let (mut count, mut cursor) = (0, None);
        for id in (2..).take(PAGES) {
            let answer = self.ask(id, &list(id, cursor.as_ref())).await?;
            let (tools, next) = page(&result(&answer)?);
            count += tools;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(count)
    }

    async fn say(&mut self, message: &Value) {
        let Some(stdin) = &mut self.stdin else { return };
        // What it does not read it does not answer: that is what is told.
        let _ = stdin.write_all(format!("{message}\n").as_bytes()).await;
        let _ = stdin.flush().await;
    }

    async fn ask(&mut self, id: u64, message: &Value) -> Result<Value, Broken> {
        self.say(message).await;
        loop {
            let mut line = Vec::new();
            let read = (&mut self.stdout).take(LINE).read_until(b'\n', &mut line).await;
            if read.is_err() || line.is_empty() {
                return Err(self.refused(Broken::new(Hop::Daemon, "it ended without an answer")).await);
            }
            let Ok(message) = serde_json::from_slice::<Value>(&line) else {
                return Err(Broken::new(Hop::Shim, "what it prints is no message"));
            };
            if message.get("id") == Some(&json!(id)) && message.get("method").is_none() {
                return Ok(message);
            }
        }
    }

    /// A shim without a daemon answers, and ends with a code that says why.
    async fn refused(&mut self, broken: Broken) -> Broken {
        if broken.hop != Hop::Daemon {
            return broken;
        }
        self.stdin = None;
        let ended = tokio::time::timeout(SOON, self.child.wait()).await;
        let code = ended.ok().and_then(Result::ok).and_then(|status| status.code());
        let is = |exit: Exit| code == Some(exit as i32);
        let hop = if is(Exit::AuthNeeded) {
            Hop::Principal
        } else if is(Exit::Usage) {
            Hop::Configuration
        } else {
            Hop::Daemon
        };
        let why = broken.why.strip_prefix("countersign: ").unwrap_or(&broken.why);
        Broken::new(hop, why)
    }
}

/// A client of our own front: the same link that reaches servers.
struct Http {
    link: UpstreamLink,
    scrubber: Arc<Scrubber>,
    client: HttpClient,
}

impl Http {
    fn new(url: &str, server: &str, token: SecretCell) -> Result<Http, Broken> {
        let broken = |why: String| Broken::new(Hop::Daemon, why);
        let scrubber = Arc::new(Scrubber::default());
        scrubber.learn(token.name(), &token.current());
        let value = HeaderSource::Secret { value: token, prefix: "Bearer ".to_owned() };
        let spec = HttpSpec::new(server, url, vec![("authorization".to_owned(), value)]);
        let spec = Arc::new(spec.map_err(|error| broken(error.to_string()))?);
        let tracker = TaskTracker::new();
        let limits = Limits::default();
        let client = HttpClient::new(limits, tracker.clone()).map_err(|error| broken(error.to_string()))?;
        let link = http_upstream::connect(spec, client.clone(), Arc::clone(&scrubber), limits, &tracker);
        Ok(Http { link, scrubber, client })
    }

    async fn tools(mut self) -> Result<usize, Broken> {
        let counted = self.count().await;
        // Ends the session.
        drop(self.link);
        self.client.close().await;
        counted
    }

    async fn count(&mut self) -> Result<usize, Broken> {
        self.ask(&initialize()).await?;
        self.say(&initialized()).await?;
        let (mut count, mut cursor) = (0, None);
        for id in (2..).take(PAGES) {
            let (tools, next) = page(&self.ask(&list(id, cursor.as_ref())).await?);
            count += tools;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(count)
    }

    async fn say(&mut self, message: &Value) -> Result<(), Broken> {
        let ours = JsonText::parse(message.to_string(), Rules::UPSTREAM).ok().and_then(Message::ours);
        let ours = ours.ok_or_else(|| Broken::new(Hop::Shim, "the message is none"))?;
        let gone = || Broken::new(Hop::Daemon, "the connection ended");
        self.link.outbound.send(ToUpstream::Send(ours)).await.map_err(|_| gone())
    }

    async fn ask(&mut self, message: &Value) -> Result<Value, Broken> {
        self.say(message).await?;
        loop {
            match self.link.inbound.recv().await {
                Some(FromUpstream::Message { message, .. }) if matches!(message.shape(), Shape::Response { .. }) => {
                    let answer: Value = serde_json::from_str(message.text().as_str()).unwrap_or_default();
                    return result(&answer).map_err(|broken| Broken { why: self.clean(&broken.why), ..broken });
                }
                Some(FromUpstream::Lost { loss, .. }) => {
                    // The front's answer: 401 and 403 are about the token.
                    let hop = if loss.cause == Cause::Key { Hop::Principal } else { Hop::Daemon };
                    return Err(Broken::new(hop, self.clean(&loss.reason)));
                }
                Some(FromUpstream::Closed { reason }) => return Err(Broken::new(Hop::Daemon, self.clean(&reason))),
                Some(FromUpstream::Message { .. } | FromUpstream::Streams { .. } | FromUpstream::Pauses { .. }) => {}
                None => return Err(Broken::new(Hop::Daemon, "the connection ended")),
            }
        }
    }

    fn clean(&self, text: &str) -> String {
        self.scrubber.line(text).into_owned()
    }
}
