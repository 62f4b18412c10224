//! `countersign serve` as a child process, configured by a builder; its log is kept and shown when a test fails.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::http::HttpClient;
use super::operator::Console;
use super::shim::Shim;
use super::spy::Spy;
use super::within;

/// The token that the configuration accepts for the principal `agent`.
pub const TOKEN: &str = "tok_agent_5pZr8wQk2mVx7Jd9";
/// The token of a second principal, `other`.
pub const OTHER_TOKEN: &str = "tok_other_9dKx4nBt6yHs1Lf3";
/// The server's name in the configuration.
pub const SERVER: &str = "fixture";

/// The policy that most cases are written for.
pub const FIXTURE_POLICY: &str = r#"package countersign.policy.fixture

allow contains {"rule": "fixture.reads", "reason": "reads are allowed"} if {
	input.method == "tools/call"
	startswith(input.tool.name, "get_")
}

allow contains {"rule": "fixture.refunds", "reason": "refunds may be asked for"} if {
	input.method == "tools/call"
	input.tool.name == "create_refund"
}

hold contains {"rule": "fixture.refund", "reason": "a person looks at every refund"} if {
	input.method == "tools/call"
	input.tool.name == "create_refund"
}

deny contains {"rule": "fixture.delete", "reason": "customers are not deleted"} if {
	input.method == "tools/call"
	input.tool.name == "delete_customer"
}
"#;

/// Everything passes.
pub const ALLOW_ALL: &str = r#"package countersign.policy.all

allow contains {"rule": "all", "reason": "this test is about what is passed on"} if input.method
"#;

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_countersign")
}

/// A daemon that has not been started.
pub struct Countersign {
    config: Value,
    policies: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    /// A shell's text that gets the daemon's command line as its arguments.
    wrapper: Option<&'static str>,
    dir: Arc<tempfile::TempDir>,
}

impl Countersign {
    /// The fixture's policy; no server yet.
    pub fn new() -> Countersign {
        Countersign::with_policy(FIXTURE_POLICY)
    }

    pub fn with_policy(policy: &str) -> Countersign {
        let dir = tempfile::Builder::new().prefix("cs-").tempdir().unwrap();
        for name in ["state", "run", "policies"] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            set_mode(&path, 0o700);
        }
        let uid = rustix::process::getuid().as_raw();
        let config = json!({
            "version": 1,
            "state_dir": dir.path().join("state"),
            "runtime_dir": dir.path().join("run"),
            "listen": {"http": "127.0.0.1:0"},
            "secrets": {"agent_token": {"env": "AGENT_TOKEN"}, "other_token": {"env": "OTHER_TOKEN"}},
            "servers": {},
            "principals": [
                {"name": "agent", "match": {"token": {"secret": "agent_token"}}, "scopes": ["*/read", "*/write"]},
                {"name": "other", "match": {"token": {"secret": "other_token"}}, "scopes": ["*/read"]},
                {"name": "local", "match": {"uid": uid}, "scopes": ["*/read", "*/write"]},
            ],
            // Unoptimized and beside other tests an evaluation may take long; what the limit does is tested elsewhere.
            "policy": {"builtin": [], "paths": [dir.path().join("policies")], "time_limit_ms": 5000},
            // What the time to take an approval back does is tested where it is about that.
            "holds": {"ttl": "60s", "no_console": {"grace": "20s"}, "take_back": "0s", "prompts_per_minute": 10_000},
        });
        let environment =
            vec![("AGENT_TOKEN".to_owned(), TOKEN.to_owned()), ("OTHER_TOKEN".to_owned(), OTHER_TOKEN.to_owned())];
        let policies = vec![("policy.rego".to_owned(), policy.to_owned())];
        Countersign { config, policies, environment, wrapper: None, dir: Arc::new(dir) }
    }

    /// The spy is the one server, a sandbox.
    pub fn upstream(self, spy: &Spy) -> Countersign {
        let upstream = spy.upstream.clone();
        self.server(SERVER, json!({"environment": "sandbox", "upstream": upstream}))
    }

    pub fn server(self, name: &str, server: Value) -> Countersign {
        self.set(&format!("/servers/{name}"), server)
    }

    /// Any value of the configuration, by JSON pointer; objects on the way are made.
    pub fn set(mut self, pointer: &str, value: Value) -> Countersign {
        let mut place = &mut self.config;
        for key in pointer.split('/').skip(1) {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = place.as_object_mut().unwrap().entry(key).or_insert(Value::Null);
        }
        *place = value;
        self
    }

    /// One more principal.
    pub fn principal(mut self, principal: Value) -> Countersign {
        self.config["principals"].as_array_mut().unwrap().push(principal);
        self
    }

    /// One more file among the policies.
    pub fn policy(mut self, file: &str, text: &str) -> Countersign {
        self.policies.push((file.to_owned(), text.to_owned()));
        self
    }

    /// A variable of the daemon's environment.
    pub fn env(mut self, name: &str, value: &str) -> Countersign {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the daemon from a shell; `text` ends with `exec "$@"`.
    pub fn wrapped(mut self, text: &'static str) -> Countersign {
        self.wrapper = Some(text);
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Keeps the folder until it is dropped, however the daemon ends.
    pub fn kept(&self) -> Arc<tempfile::TempDir> {
        self.dir.clone()
    }

    /// Writes the configuration and the policies.
    pub fn write(&self) -> PathBuf {
        for (name, text) in &self.policies {
            std::fs::write(self.dir.path().join("policies").join(name), text).unwrap();
        }
        let path = self.dir.path().join("countersign.yaml");
        std::fs::write(&path, serde_json::to_string_pretty(&self.config).unwrap()).unwrap();
        set_mode(&path, 0o600);
        path
    }

    fn command(&self, config: &Path) -> Command {
        let mut command = match self.wrapper {
            None => Command::new(binary()),
            Some(text) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", text, "sh", binary()]);
                shell
            }
        };
        command.args(["serve", "--config"]).arg(config);
        // Only what a daemon needs: what the test's own environment holds must not matter.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.dir.path());
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Starts and waits until it listens.
    pub async fn start(self) -> Daemon {
        let config = self.write();
        let child = self.command(&config).spawn().unwrap();
        Daemon::ready(self, child, config).await
    }

    /// For a daemon that must not start: how it ended and what it said.
    pub async fn refuses(self) -> (ExitStatus, String) {
        let config = self.write();
        let output = within("the daemon to end", self.command(&config).output()).await.unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What a daemon wrote on stderr, as it grows.
#[derive(Clone)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    changed: Arc<watch::Sender<usize>>,
}

pub struct Daemon {
    child: Child,
    pub address: SocketAddr,
    pub client_socket: PathBuf,
    pub operator_socket: PathBuf,
    config: PathBuf,
    log: Log,
    setup: Countersign,
}

impl Daemon {
    async fn ready(setup: Countersign, mut child: Child, config: PathBuf) -> Daemon {
        let log = Log { lines: Arc::default(), changed: Arc::new(watch::channel(0).0) };
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let writer = log.clone();
        tokio::spawn(async move {
            loop {
                let mut line = Vec::new();
                if stderr.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                    writer.changed.send_modify(|count| *count = usize::MAX);
                    return;
                }
                writer.lines.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                writer.changed.send_modify(|count| *count += 1);
            }
        });
        let mut changed = log.changed.subscribe();
        let line = within("the daemon to listen", async {
            loop {
                let count = *changed.borrow_and_update();
                let found = log.lines.lock().unwrap().iter().find(|line| line.starts_with("listening ")).cloned();
                if let Some(line) = found {
                    return line;
                }
                assert!(count != usize::MAX, "the daemon ended:\n{}", log.lines.lock().unwrap().join("\n"));
                changed.changed().await.unwrap();
            }
        })
        .await;
        let field = |name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
        };
        Daemon {
            child,
            address: field("http").parse().unwrap(),
            client_socket: field("client").into(),
            operator_socket: field("operator").into(),
            config,
            log,
            setup,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the daemon runs")
    }

    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }

    /// Waits for a line of the log.
    pub async fn logs(&self, part: &str) {
        let mut changed = self.log.changed.subscribe();
        within(&format!("the log to say {part:?}"), async {
            while !self.log.lines.lock().unwrap().iter().any(|line| line.contains(part)) {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }

    /// The command of a shim for a server.
    pub fn shim_command(&self, server: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg("connect").arg(server).env_clear().env("COUNTERSIGN_RUNTIME_DIR", self.runtime_dir());
        command
    }

    pub fn runtime_dir(&self) -> &Path {
        self.client_socket.parent().unwrap()
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    pub fn state_dir(&self) -> PathBuf {
        self.setup.dir().join("state")
    }

    /// A client behind a shim, before its handshake.
    pub fn raw_shim(&self) -> Shim {
        Shim::start(self.shim_command(SERVER))
    }

    /// A client behind a shim, after its handshake.
    pub async fn shim(&self) -> Shim {
        let mut shim = self.raw_shim();
        shim.initialize().await;
        shim
    }

    /// A client over HTTP, before its handshake.
    pub fn http(&self) -> HttpClient {
        HttpClient::new(self.address, SERVER, Some(TOKEN))
    }

    pub async fn console(&self) -> Console {
        Console::attach(&self.operator_socket).await
    }

    /// Runs another command of the program against this daemon's configuration; stdout and exit code.
    pub async fn run(&self, arguments: &[&str]) -> (String, i32) {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().env("HOME", self.setup.dir());
        command.env("COUNTERSIGN_CONFIG", &self.config).env("COUNTERSIGN_RUNTIME_DIR", self.runtime_dir());
        command.envs(self.setup.environment.iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
        let output = within("a command to end", command.output()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code().unwrap_or(-1);
        if code != 0 {
            eprintln!("countersign {arguments:?}: exit {code}\n{}", String::from_utf8_lossy(&output.stderr));
        }
        (text, code)
    }

    /// Every audit record, oldest first. For a daemon that has stopped: then all of them are written.
    pub async fn records(&self) -> Vec<Value> {
        let (text, code) = self.run(&["audit", "export"]).await;
        assert_eq!(code, 0, "audit export");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The same files, to be started again once it has ended.
    pub fn again(self) -> Countersign {
        self.stopped().setup
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, and how it ended: with everything that it had begun.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        let status = self.ended().await;
        self.log_ended().await;
        let log = self.log();
        let late = log.contains("some tasks did not end in time") || log.contains("some sessions did not end in time");
        assert!(!late, "something of the daemon went on without an end:\n{log}");
        status
    }

    /// Nothing more is written to the log.
    async fn log_ended(&self) {
        let mut changed = self.log.changed.subscribe();
        within("the log to end", async {
            while *changed.borrow_and_update() != usize::MAX {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }

    pub async fn ended(&mut self) -> ExitStatus {
        within("the daemon to end", self.child.wait()).await.unwrap()
    }

    /// SIGKILL; the files stay, so that it can be started again.
    pub async fn kill(mut self) -> Stopped {
        self.child.start_kill().unwrap();
        self.ended().await;
        self.stopped()
    }

    fn stopped(self) -> Stopped {
        let setup = Countersign {
            config: self.setup.config.clone(),
            policies: self.setup.policies.clone(),
            environment: self.setup.environment.clone(),
            wrapper: self.setup.wrapper,
            dir: self.setup.dir.clone(),
        };
        Stopped { setup }
    }

    pub async fn assert_alive(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the daemon has ended");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}\n---", self.log());
        }
    }
}

/// A daemon that was stopped, with its files.
pub struct Stopped {
    setup: Countersign,
}

impl Stopped {
    pub async fn start(self) -> Daemon {
        self.setup.start().await
    }
}
