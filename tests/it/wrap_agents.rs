//! `wrap` with the agents that people use: the entry that Claude Code wrote itself is wrapped, Claude Code and Codex
//! reach the server through it, and what they had comes back.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::agents::{Codex, at_home};
use crate::harness::daemon::binary;
use crate::harness::peers::{claude, codex, everything, node, output};
use crate::harness::{Console, within};

const KEY: &str = "sk_test_CANARYagents7Qm2Zt9XeVb4";
const CLAUDE: &str = ".claude.json";
const CODEX: &str = "config.toml";

fn ours(home: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = at_home(binary().into(), home);
    command.args(arguments);
    command
}

/// The daemon with the configuration that `wrap` wrote.
async fn serve(home: &tempfile::TempDir) -> (Child, Console) {
    let mut command = ours(home, &["serve"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = within("the daemon to listen", async {
        let mut said = String::new();
        loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("the daemon ended:\n{said}"));
            if line.starts_with("listening ") {
                return line;
            }
            said += &line;
        }
    })
    .await;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let socket = line.split_whitespace().find_map(|word| word.strip_prefix("operator=")).unwrap().to_owned();
    let console = Console::attach(Path::new(&socket)).await;
    (child, console)
}

fn read(home: &tempfile::TempDir, file: &str) -> String {
    std::fs::read_to_string(home.path().join(file)).unwrap()
}

#[tokio::test]
async fn claude_code_reaches_what_it_had_through_the_wrapped_entry() {
    for http in [false, true] {
        let home = tempfile::Builder::new().prefix("cs-").tempdir().unwrap();
        let (node, everything) = (node(), everything());
        let (node, everything) = (node.to_str().unwrap(), everything.to_str().unwrap());
        let variable = format!("EVERYTHING_API_KEY={KEY}");
        let add = ["mcp", "add", "everything", "-s", "user", "-e", &variable, "--", node, everything];
        output(at_home(claude(), &home).args(add)).await;
        // What it writes on its first look is written before.
        output(at_home(claude(), &home).args(["mcp", "list"])).await;
        let before = read(&home, CLAUDE);
        assert!(before.contains(KEY));

        let mut wrap = vec!["wrap", "claude-code", "--server", "everything"];
        wrap.extend(http.then_some("--http"));
        output(&mut ours(&home, &wrap)).await;
        assert!(!read(&home, CLAUDE).contains(KEY));
        if http {
            // A port of its own, for tests that run beside each other: in the configuration, and in the client's entry.
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
            for file in [CLAUDE, ".config/countersign/countersign.yaml"] {
                std::fs::write(home.path().join(file), read(&home, file).replace("8377", &port)).unwrap();
            }
        }
        let (mut daemon, _console) = serve(&home).await;
        let listed = output(at_home(claude(), &home).args(["mcp", "list"])).await;
        let line = listed.lines().find(|line| line.starts_with("everything:")).unwrap_or_default();
        assert!(line.ends_with("Connected") && (line.contains("connect everything") || http), "{listed}");
        let got = output(at_home(claude(), &home).args(["mcp", "get", "everything"])).await;
        assert!(got.contains("everything") && !got.contains(KEY), "{got}");
        daemon.kill().await.unwrap();
        // The check can fail: without the daemon nothing is connected.
        let listed = output(at_home(claude(), &home).args(["mcp", "list"])).await;
        let line = listed.lines().find(|line| line.starts_with("everything:")).unwrap_or_default();
        assert!(!line.ends_with("Connected"), "{listed}");

        if http {
            continue;
        }
        output(&mut ours(&home, &["unwrap", "claude-code"])).await;
        assert_eq!(read(&home, CLAUDE), before);
        let listed = output(at_home(claude(), &home).args(["mcp", "list"])).await;
        assert!(listed.lines().any(|line| line.starts_with("everything:") && line.ends_with("Connected")), "{listed}");
    }
}

#[tokio::test]
async fn codex_calls_a_tool_through_the_wrapped_entry() {
    let home = tempfile::Builder::new().prefix("cs-").tempdir().unwrap();
    let text = |value: &Path| json!(value).to_string();
    let config = format!(
        "# mine\nmodel = \"x\"\n\n[mcp_servers.everything]\ncommand = {}\nargs = [{}] # the server\n\
         startup_timeout_sec = 60\n\n[mcp_servers.everything.env]\nEVERYTHING_API_KEY = '{KEY}'\n",
        text(&node()),
        text(&everything()),
    );
    std::fs::write(home.path().join(CODEX), &config).unwrap();
    output(&mut ours(&home, &["wrap", "codex"])).await;
    let wrapped = read(&home, CODEX);
    assert!(!wrapped.contains(KEY) && wrapped.contains("startup_timeout_sec = 60"), "{wrapped}");
    let got = output(at_home(codex(), &home).args(["mcp", "get", "everything"])).await;
    assert!(got.contains("connect everything") && !got.contains(KEY), "{got}");

    let (_daemon, mut console) = serve(&home).await;
    let mut codex = Codex::start(&home).await;
    let thread = codex.ask("thread/start", json!({"cwd": home.path()})).await["thread"]["id"].clone();
    // The server's tools are in no catalog, so a person is asked; it prints its environment, and the key is not shown.
    let call = json!({"threadId": thread, "server": "everything", "tool": "get-env", "arguments": {}});
    let (answer, ()) = tokio::join!(codex.ask("mcpServer/tool/call", call), async {
        let hold = console.hold().await;
        console.approve(&hold).await.unwrap();
    });
    let answer = answer.to_string();
    assert!(answer.contains("EVERYTHING_API_KEY") && answer.contains("[secret:everything_api_key]"), "{answer}");
    assert!(!answer.contains(KEY), "{answer}");
    codex.end().await;

    output(&mut ours(&home, &["unwrap", "codex", "--server", "everything"])).await;
    assert_eq!(read(&home, CODEX), config);
}
