//! The agents that people use, as they come from the registry, offline and without an account: they connect through
//! Countersign as they connect without it.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::harness::daemon::{ALLOW_ALL, TOKEN, binary};
use crate::harness::peers::{claude, codex, everything, everything_on_stdio, node, output};
use crate::harness::{Countersign, Daemon, within};

async fn daemon() -> Daemon {
    Countersign::with_policy(ALLOW_ALL)
        .server("everything", json!({"environment": "test", "upstream": everything_on_stdio()}))
        .start()
        .await
}

/// An agent's own home: nothing of the machine's configuration, and nobody else's proxy settings.
pub fn at_home(program: std::path::PathBuf, home: &tempfile::TempDir) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home.path()).env("CODEX_HOME", home.path()).current_dir(home.path());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("DISABLE_AUTOUPDATER", "1");
    command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    command
}

#[tokio::test]
async fn claude_code_finds_the_server_healthy() {
    let home = tempfile::tempdir().unwrap();
    let daemon = daemon().await;
    let runtime_dir = format!("COUNTERSIGN_RUNTIME_DIR={}", daemon.runtime_dir().display());
    let url = format!("http://{}/mcp/everything", daemon.address);
    let (node, everything) = (node(), everything());
    let (node, everything) = (node.to_str().unwrap(), everything.to_str().unwrap());
    let token = format!("Authorization: Bearer {TOKEN}");
    for added in [
        vec!["mcp", "add", "direct", "--", node, everything],
        vec!["mcp", "add", "shim", "-e", &runtime_dir, "--", binary(), "connect", "everything"],
        vec!["mcp", "add", "-t", "http", "front", &url, "-H", &token],
        vec!["mcp", "add", "-t", "http", "stranger", &url, "-H", "Authorization: Bearer tok_of_nobody_3kQ"],
    ] {
        output(at_home(claude(), &home).args(added)).await;
    }
    let listed = output(at_home(claude(), &home).args(["mcp", "list"])).await;
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    for name in ["direct:", "shim:", "front:"] {
        assert!(line(name).ends_with("Connected"), "{listed}");
    }
    // The check can fail: a token that is nobody's is not let in.
    assert!(!line("stranger:").is_empty() && !line("stranger:").contains("Connected"), "{listed}");
}

/// `codex app-server`: JSON-RPC, line by line.
pub struct Codex {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    next: u64,
}

impl Codex {
    pub async fn start(home: &tempfile::TempDir) -> Codex {
        let mut command = at_home(codex(), home);
        command.arg("app-server").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut codex = Codex { child, stdin, lines: BufReader::new(stdout).lines(), next: 0 };
        let client = json!({"name": "test", "title": "test", "version": "1"});
        codex.ask("initialize", json!({"clientInfo": client, "capabilities": {"experimentalApi": true}})).await;
        codex.send(&json!({"method": "initialized"})).await;
        codex
    }

    pub async fn end(mut self) {
        drop(self.stdin);
        self.child.start_kill().unwrap();
        within("Codex to end", self.child.wait()).await.unwrap();
    }

    async fn send(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    /// The result of a request; what Codex asks meanwhile on a server's behalf is answered.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = json!(self.next);
        self.send(&json!({"id": id, "method": method, "params": params})).await;
        loop {
            let line = within("Codex to answer", self.lines.next_line()).await.unwrap().expect("Codex ended");
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["method"] == "mcpServer/elicitation/request" {
                let content = json!({"name": "Ada", "check": true, "integer": 7});
                let answer = json!({"action": "accept", "content": content});
                self.send(&json!({"id": message["id"], "result": answer})).await;
            } else if message["id"] == id && message.get("method").is_none() {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }
}

#[tokio::test]
async fn codex_sees_no_difference() {
    let home = tempfile::tempdir().unwrap();
    let daemon = daemon().await;
    let text = |value: &str| Value::from(value).to_string();
    let (node, everything) = (node(), everything());
    let config = format!(
        "[mcp_servers.direct]\ncommand = {}\nargs = [{}]\n\n\
         [mcp_servers.shim]\ncommand = {}\nargs = [\"connect\", \"everything\"]\n\
         env = {{ COUNTERSIGN_RUNTIME_DIR = {} }}\n\n\
         [mcp_servers.front]\nurl = {}\nhttp_headers = {{ Authorization = {} }}\n",
        text(node.to_str().unwrap()),
        text(everything.to_str().unwrap()),
        text(binary()),
        text(daemon.runtime_dir().to_str().unwrap()),
        text(&format!("http://{}/mcp/everything", daemon.address)),
        text(&format!("Bearer {TOKEN}")),
    );
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let mut codex = Codex::start(&home).await;

    let listed = codex.ask("mcpServerStatus/list", json!({})).await;
    let server = |name: &str| {
        let servers = listed["data"].as_array().unwrap();
        let mut found = servers.iter().find(|server| server["name"] == name).unwrap().clone();
        // Its name is the configuration's, and what follows from it; everything else is the server's.
        for key in ["name", "authStatus", "httpOrigin"] {
            found.as_object_mut().unwrap().remove(key);
        }
        found
    };
    assert!(server("direct")["tools"].as_object().unwrap().len() > 10, "{listed}");
    assert_eq!(server("shim"), server("direct"));
    assert_eq!(server("front"), server("direct"));

    let thread = codex.ask("thread/start", json!({"cwd": home.path()})).await["thread"]["id"].clone();
    for (tool, arguments) in [
        ("get-sum", json!({"a": 2, "b": 40})),
        ("get-structured-content", json!({"location": "Chicago"})),
        ("trigger-elicitation-request", json!({})),
        ("no-such-tool", json!({})),
    ] {
        let mut answers = Vec::new();
        for server in ["direct", "shim", "front"] {
            let call = json!({"threadId": thread, "server": server, "tool": tool, "arguments": arguments});
            answers.push(codex.ask("mcpServer/tool/call", call).await);
        }
        assert!(!answers[0]["content"][0]["text"].as_str().unwrap().is_empty(), "{answers:?}");
        assert_eq!(answers[1], answers[0], "{tool} through the shim");
        assert_eq!(answers[2], answers[0], "{tool} through the HTTP front");
    }
    codex.end().await;
}
