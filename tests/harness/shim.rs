//! A raw client behind `countersign connect`: bytes in, lines out.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use super::{call, hello, request, within};

pub struct Shim {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Read while something else was awaited.
    kept: Vec<Value>,
    /// Everything that went in or came out.
    traffic: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<String>>,
}

impl Shim {
    /// Starts a shim, and nothing more.
    pub fn start(mut command: Command) -> Shim {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let traffic = Arc::<Mutex<Vec<u8>>>::default();
        let stderr = Arc::<Mutex<String>>::default();
        let (sender, lines) = mpsc::unbounded_channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let kept = traffic.clone();
        tokio::spawn(async move {
            loop {
                let mut line = Vec::new();
                if stdout.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                kept.lock().unwrap().extend_from_slice(&line);
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut words = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = stderr.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = words.next_line().await {
                said.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let stdin = child.stdin.take();
        Shim { child, stdin, lines, kept: Vec::new(), traffic, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the shim runs")
    }

    /// The handshake of the legacy era.
    pub async fn initialize(&mut self) -> Value {
        self.send(&request("hello", "initialize", hello())).await;
        let answer = self.answer("hello").await;
        assert!(answer.get("result").is_some(), "{answer}");
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        answer
    }

    pub async fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes()).await;
    }

    /// Bytes as they are. What the other side no longer reads is not an error: the test sees it elsewhere.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.traffic.lock().unwrap().extend_from_slice(bytes);
        self.try_write(bytes).await;
    }

    /// False where nobody reads any more.
    pub async fn try_write(&mut self, bytes: &[u8]) -> bool {
        let Some(stdin) = &mut self.stdin else { return false };
        within("the shim to read", async { stdin.write_all(bytes).await.is_ok() && stdin.flush().await.is_ok() }).await
    }

    /// Calls a tool and waits for its answer.
    pub async fn call(&mut self, id: &str, tool: &str, arguments: Value) -> Value {
        self.send(&call(id, tool, arguments)).await;
        self.answer(id).await
    }

    pub async fn cancel(&mut self, id: impl Into<Value>) {
        let params = json!({"requestId": id.into()});
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})).await;
    }

    /// The next message; `None` at the end of stdout.
    pub async fn next(&mut self) -> Option<Value> {
        if !self.kept.is_empty() {
            return Some(self.kept.remove(0));
        }
        self.read().await
    }

    /// The next line as it came, without its end. Not to be mixed with the other ways to read.
    pub async fn next_text(&mut self) -> Option<String> {
        let line = within("a line from the shim", self.lines.recv()).await?;
        let mut text = String::from_utf8(line).expect("UTF-8 from the shim");
        text.truncate(text.trim_end_matches('\n').len());
        Some(text)
    }

    async fn read(&mut self) -> Option<Value> {
        let text = self.next_text().await?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON on stdout: {error}: {text:?}")))
    }

    /// The answer to a request; other messages are kept for [`Shim::next`].
    pub async fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        let answers = |message: &Value| message["id"] == id && message.get("method").is_none();
        if let Some(at) = self.kept.iter().position(answers) {
            return self.kept.remove(at);
        }
        loop {
            let Some(message) = self.read().await else {
                panic!("stdout ended before the answer to {id}; stderr: {}", self.stderr());
            };
            if answers(&message) {
                return message;
            }
            self.kept.push(message);
        }
    }

    /// Ends the client's side and returns everything that still came, and how the shim ended.
    pub async fn finish(mut self) -> (Vec<Value>, ExitStatus) {
        self.stdin = None;
        let mut rest = std::mem::take(&mut self.kept);
        while let Some(message) = self.read().await {
            rest.push(message);
        }
        (rest, within("the shim to end", self.child.wait()).await.unwrap())
    }

    /// Closes stdin and goes on reading.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    pub async fn wait(&mut self) -> ExitStatus {
        within("the shim to end", self.child.wait()).await.unwrap()
    }

    pub fn traffic(&self) -> Vec<u8> {
        self.traffic.lock().unwrap().clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }
}
