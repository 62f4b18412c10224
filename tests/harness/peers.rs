//! The real peers that `tests/run` installs: Node, the servers and clients from npm, the Python client.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::within;

/// A file of the repository.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn installed(path: &str) -> PathBuf {
    let found = source(".cache").join(path);
    assert!(found.exists(), "{} is missing: run tests/run once, it installs the peers", found.display());
    found
}

pub fn node() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    installed(&format!("npm/node_modules/node-linux-{arch}/bin/node"))
}

pub fn python() -> PathBuf {
    installed("python/bin/python3")
}

pub fn everything() -> PathBuf {
    installed("npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js")
}

pub fn inspector() -> PathBuf {
    installed("npm/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js")
}

pub fn stripe() -> PathBuf {
    installed("npm/node_modules/@stripe/mcp/dist/index.js")
}

/// The reference server over streamable HTTP on a port of its own.
pub struct EverythingOverHttp {
    pub url: String,
    _child: Child,
}

impl EverythingOverHttp {
    pub async fn start() -> EverythingOverHttp {
        EverythingOverHttp::run("streamableHttp", "mcp").await
    }

    /// The same over HTTP+SSE, the transport that came before.
    pub async fn start_sse() -> EverythingOverHttp {
        EverythingOverHttp::run("sse", "sse").await
    }

    async fn run(transport: &str, path: &str) -> EverythingOverHttp {
        let mut child = Command::new(node())
            .arg(everything())
            .arg(transport)
            .env("PORT", "0")
            .env("NODE_OPTIONS", format!("--require {}", source("tests/peers/port.cjs").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = within("the reference server to listen", async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the reference server ended");
                if let Some(port) = line.strip_prefix("port=") {
                    return port.to_owned();
                }
            }
        })
        .await;
        // Nobody reads on: an upstream's chatter must not fill a pipe and stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        EverythingOverHttp { url: format!("http://127.0.0.1:{port}/{path}"), _child: child }
    }
}

/// The reference server as an upstream on stdio, for the configuration.
pub fn everything_on_stdio() -> Value {
    json!({"stdio": {"command": node(), "args": [everything()]}})
}

/// Runs a program to its end and returns what it wrote to stdout.
pub async fn output(command: &mut Command) -> String {
    within("a peer to finish", finished(command)).await
}

/// The same without a limit: for peers that wait for long, in tests that end with the runner's own limit.
pub async fn finished(command: &mut Command) -> String {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let done = command.output().await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}\n{}\n{stdout}\n{stderr}", done.status);
    stdout.into_owned()
}

/// A client that prints what it saw: one of the programs in `tests/peers`.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// The official Python client.
    Python,
    /// The fastmcp client.
    FastMcp,
    /// The official TypeScript client: `v1`, `v2` or `modern` (the second with both eras).
    TypeScript(&'static str),
}

impl Peer {
    /// The command that runs `script` (of those that the peer has) against a target.
    pub fn command(self, script: &str, target: &[&str]) -> Command {
        let python = |file: &str| {
            let mut command = Command::new(python());
            command.arg(source(file)).env("PYTHONWARNINGS", "ignore");
            command
        };
        let mut command = match self {
            Peer::Python if script == "patient" => python("tests/peers/patient.py"),
            Peer::Python => python("tests/peers/client.py"),
            Peer::FastMcp => python("tests/peers/fast.py"),
            Peer::TypeScript(version) => {
                let mut command = Command::new(node());
                command.arg(source("tests/peers/sdk.mjs")).args([version, script]);
                command.env("PEERS", installed("npm/package.json"));
                command
            }
        };
        command.args(target);
        command
    }

    pub async fn report(self, script: &str, target: &[&str], environment: &[(&str, &str)]) -> Value {
        let mut command = self.command(script, target);
        command.envs(environment.iter().copied());
        serde_json::from_str(&output(&mut command).await).unwrap()
    }
}

/// Claude Code, as one file.
pub fn claude() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    installed(&format!("npm/node_modules/@anthropic-ai/claude-code-linux-{arch}/claude"))
}

/// Codex, as one file.
pub fn codex() -> PathBuf {
    let (arch, triple) = if cfg!(target_arch = "aarch64") {
        ("arm64", "aarch64-unknown-linux-musl")
    } else {
        ("x64", "x86_64-unknown-linux-musl")
    };
    installed(&format!("npm/node_modules/@openai/codex-linux-{arch}/vendor/{triple}/bin/codex"))
}

/// What the Inspector's command line prints for one method.
pub async fn inspector_client(target: &[&str], method: &[&str]) -> Value {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(node());
    command.arg(inspector()).arg("--cli").args(target).args(method);
    command.env("HOME", home.path()).env("MCP_INSPECTOR_SECRET_STORE", "memory");
    serde_json::from_str(&output(&mut command).await).unwrap()
}
