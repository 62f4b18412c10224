//! Cases about the processes of the daemon: how its children begin, what they reach, how they end. What is scaled down
//! says so.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::harness::daemon::{SERVER, set_mode};
use crate::harness::process::is_running;
use crate::harness::{Countersign, DEADLINE, Daemon, Spy, call, peers};

/// The server of `child.py`.
fn child(arguments: &[&str]) -> Value {
    let script = peers::source("tests/adversarial/child.py").display().to_string();
    let arguments: Vec<&str> = ["-I", "-S", &script].into_iter().chain(arguments.iter().copied()).collect();
    json!({"stdio": {"command": peers::python(), "args": arguments}})
}

fn with(upstream: Value) -> Countersign {
    Countersign::new().server(SERVER, json!({"environment": "sandbox", "upstream": upstream}))
}

/// What the child found out, by the name that it gives itself.
async fn said(daemon: &Daemon) -> Value {
    let mut shim = daemon.raw_shim();
    let answer = shim.initialize().await;
    serde_json::from_str(answer["result"]["serverInfo"]["name"].as_str().unwrap()).unwrap()
}

fn pids(said: &Value) -> Vec<u32> {
    said.as_array().unwrap().iter().map(|pid| u32::try_from(pid.as_u64().unwrap()).unwrap()).collect()
}

async fn gone(pids: &[u32]) {
    let gone = async {
        while pids.iter().any(|pid| is_running(*pid)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("the processes to end");
}

/// Children of a process that have ended and that it has not taken notice of.
fn zombies(parent: u32) -> usize {
    let is_one = |entry: std::fs::DirEntry| -> Option<bool> {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        Some(fields.next()? == "Z" && fields.next()?.parse::<u32>().ok()? == parent)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(is_one).filter(|found| *found).count()
}

/// A family that ignores the end of its input and SIGTERM, and of which one has left its group, its session and its
/// parent, and one more that looks ended because its first thread is. All of it ends with the session, with the child and
/// with the daemon, also where that is killed. Crashes of the child are 20 and not 1,000.
#[tokio::test]
async fn prc_001() {
    let mut daemon = with(child(&["family"])).start().await;
    let mut shim = daemon.raw_shim();
    let answer = shim.initialize().await;
    let family = pids(&serde_json::from_str(answer["result"]["serverInfo"]["name"].as_str().unwrap()).unwrap());
    assert!(family.len() == 4 && family.iter().all(|pid| is_running(*pid)));
    drop(shim);
    gone(&family).await;
    let mut shim = daemon.raw_shim();
    let answer = shim.initialize().await;
    let family = pids(&serde_json::from_str(answer["result"]["serverInfo"]["name"].as_str().unwrap()).unwrap());
    assert!(daemon.stop().await.success());
    gone(&family).await;

    let mut daemon = with(child(&["family"])).start().await;
    for _ in 0..20 {
        let mut shim = daemon.raw_shim();
        let answer = shim.initialize().await;
        let family = pids(&serde_json::from_str(answer["result"]["serverInfo"]["name"].as_str().unwrap()).unwrap());
        rustix::process::kill_process(Pid::from_raw(family[0].cast_signed()).unwrap(), Signal::SEGV).unwrap();
        gone(&family).await;
    }
    while zombies(daemon.pid()) > 0 {
        tokio::task::yield_now().await;
    }
    daemon.assert_alive().await;

    let mut shim = daemon.raw_shim();
    let answer = shim.initialize().await;
    let family = pids(&serde_json::from_str(answer["result"]["serverInfo"]["name"].as_str().unwrap()).unwrap());
    let _stopped = daemon.kill().await;
    gone(&family).await;

    // A keeper that is killed takes the child and its group with it.
    let mut daemon = with(child(&["family"])).start().await;
    let mut shim = daemon.raw_shim();
    let answer = shim.initialize().await;
    let family = pids(&serde_json::from_str(answer["result"]["serverInfo"]["name"].as_str().unwrap()).unwrap());
    let keeper = rustix::process::getpgid(Pid::from_raw(family[0].cast_signed())).unwrap();
    rustix::process::kill_process(keeper, Signal::KILL).unwrap();
    gone(&family[..2]).await;
    for left in &family[2..] {
        let _ = rustix::process::kill_process(Pid::from_raw(left.cast_signed()).unwrap(), Signal::KILL);
    }
    assert!(daemon.stop().await.success());
}

/// Arguments are passed as they are.
#[tokio::test]
async fn prc_002() {
    let countersign = Countersign::new();
    let planted = countersign.dir().join("pwned");
    let path = planted.display();
    let arguments =
        [format!("; touch {path}"), format!("$(touch {path})"), format!("`touch {path}`"), "a b\n'\"".into()];
    let words: Vec<&str> = std::iter::once("arguments").chain(arguments.iter().map(String::as_str)).collect();
    let upstream = child(&words);
    let daemon = countersign.server(SERVER, json!({"environment": "sandbox", "upstream": upstream})).start().await;
    assert_eq!(said(&daemon).await, json!(arguments));
    assert!(!planted.exists());
}

/// A program is found once, by absolute folders that not everybody can write.
#[tokio::test]
async fn prc_003() {
    let planted = |mode: u32| {
        let countersign = Countersign::new();
        let folder = countersign.dir().join("bin");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("some-server"), "#!/bin/sh\nexit 1\n").unwrap();
        set_mode(&folder.join("some-server"), 0o755);
        set_mode(&folder, mode);
        (
            countersign
                .server(SERVER, json!({"environment": "sandbox", "upstream": {"stdio": {"command": "some-server"}}})),
            folder,
        )
    };
    let system = std::env::var("PATH").unwrap();
    let (countersign, folder) = planted(0o777);
    let (status, log) = countersign.env("PATH", &format!("{}:{system}", folder.display())).refuses().await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("can be changed by others") && log.contains("chmod go-w"), "{log}");
    for relative in [".", "bin"] {
        let (countersign, folder) = planted(0o755);
        // The daemon starts in the folder that the relative one is found from.
        let text: &'static str = Box::leak(format!("cd {}; exec \"$@\"", folder.parent().unwrap().display()).into());
        let folder = if relative == "." { folder.parent().unwrap().to_owned() } else { folder };
        std::fs::write(folder.join("some-server"), "#!/bin/sh\n").unwrap();
        set_mode(&folder.join("some-server"), 0o755);
        let (status, log) = countersign.wrapped(text).env("PATH", &format!("{relative}:{system}")).refuses().await;
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains("relative folder"), "{log}");
    }
    let upstream = json!({"environment": "sandbox", "upstream": {"stdio": {"command": "./some-server"}}});
    let (status, log) = Countersign::new().server(SERVER, upstream).refuses().await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("relative path"), "{log}");
    // One that is as it should be is named in full.
    let (countersign, folder) = planted(0o755);
    let daemon = countersign.env("PATH", &format!("{}:{system}", folder.display())).start().await;
    daemon.logs(&folder.join("some-server").display().to_string()).await;
}

/// Everything around a daemon that its child has no business with.
struct Around {
    countersign: Countersign,
    home: PathBuf,
    key: PathBuf,
}

fn around() -> Around {
    let countersign = Countersign::new();
    let home = countersign.dir().to_owned();
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    std::fs::write(home.join(".ssh/id_ed25519"), "a key").unwrap();
    let key = home.join("other.key");
    std::fs::write(&key, "k3y-of-another-server").unwrap();
    set_mode(&key, 0o600);
    let countersign = countersign.set("/secrets/other", json!({"file": key}));
    Around { countersign, home, key }
}

/// A child tries whatever a server that has been taken over would try.
#[tokio::test]
async fn prc_006() {
    let Around { countersign, home, key } = around();
    let listeners = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [allowed, other] = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let socket = home.join("other.sock");
    let _other = UnixListener::bind(&socket).unwrap();
    let at = |path: &str| home.join(path).display().to_string();
    let refused = [
        ("read", at("state/audit.db")),
        ("list", at("state")),
        ("list", at("state/children/homes")),
        ("write", at("state/audit.db")),
        ("truncate", at("state/audit.db")),
        ("remove", at("state/audit.db")),
        ("read", at("countersign.yaml")),
        ("write", at("countersign.yaml")),
        ("read", key.display().to_string()),
        ("read", at("policies/policy.rego")),
        ("write", at("policies/policy.rego")),
        ("make", at("policies/new")),
        ("list", at(".ssh")),
        ("read", at(".ssh/id_ed25519")),
        ("list", home.display().to_string()),
        ("write", std::env::temp_dir().join("countersign-probe").display().to_string()),
        ("write", peers::source("tests/adversarial/child.py").display().to_string()),
        ("read", "/etc/shadow".to_owned()),
        ("unix", at("run/operator.sock")),
        ("unix", at("run/client.sock")),
        ("unix", socket.display().to_string()),
        ("abstract", "countersign-test".to_owned()),
        ("datagram", "SOCK_DGRAM".to_owned()),
        ("datagram", "SOCK_RAW".to_owned()),
        ("tcp", other.to_string()),
        ("other_tcp", other.to_string()),
        ("other_tcp", allowed.to_string()),
        ("fast_open", other.to_string()),
        ("listen", String::new()),
        ("environ", String::new()),
        ("memory", String::new()),
        ("trace", String::new()),
        ("signal", String::new()),
        ("root", String::new()),
    ];
    let done = [("tcp", allowed.to_string()), ("own", String::new()), ("pair", String::new())];
    let wanted = json!(refused.iter().chain(&done).collect::<Vec<_>>()).to_string();
    let mut upstream = child(&["try", &wanted]);
    upstream["stdio"]["sandbox"] = json!({"network": [allowed], "strict": true});
    let countersign = countersign.server(SERVER, json!({"environment": "sandbox", "upstream": upstream}));
    let lacks = countersign::sandbox::support().lacks();
    if !lacks.is_empty() {
        let (status, log) = countersign.refuses().await;
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(lacks.iter().all(|rule| log.contains(&rule.to_string())), "{lacks:?}: {log}");
        return;
    }
    let daemon = countersign.start().await;
    let found = said(&daemon).await;
    let of = |(way, what): &(&str, String)| found[format!("{way} {what}")].as_str().unwrap_or("nothing").to_owned();
    let open: Vec<_> = refused.iter().filter(|attempt| !of(attempt).starts_with("refused: ")).collect();
    assert!(open.is_empty(), "{open:?}: {found:#}");
    let closed: Vec<_> = done.iter().filter(|attempt| !of(attempt).starts_with("done: ")).collect();
    assert!(closed.is_empty(), "{closed:?}: {found:#}");
    daemon.logs("sandboxes of children").await;
}

/// Code behind a gate reaches the gate. Nothing that it learns leaves as a datagram or to another port.
#[tokio::test]
async fn a_child_behind_a_gate_has_no_other_way_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let datagrams = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (tcp, udp) = (listener.local_addr().unwrap().port(), datagrams.local_addr().unwrap().port());
    let refused = [
        ("tcp", tcp.to_string()),
        ("fast_open", tcp.to_string()),
        ("other_tcp", tcp.to_string()),
        ("udp", udp.to_string()),
        ("raw", String::new()),
        ("version_6", "SOCK_STREAM".to_owned()),
        ("version_6", "SOCK_DGRAM".to_owned()),
        ("listen", String::new()),
    ];
    let done = ("gate", String::new());
    let wanted = json!(refused.iter().chain([&done]).collect::<Vec<_>>()).to_string();
    let countersign = Countersign::new();
    let key = countersign.dir().join("api.key");
    std::fs::write(&key, "server-k3y-of-the-api-0123").unwrap();
    set_mode(&key, 0o600);
    let mut upstream = child(&["try", &wanted]);
    upstream["stdio"]["gate"] = json!({
        "url": "https://api.stigg.io", "headers": {"X-API-KEY": {"secret": "api"}},
        "url_env": "API_URL", "key_env": "API_KEY",
    });
    let server = json!({"vendor": "stigg", "environment": "sandbox", "upstream": upstream});
    let mut daemon = countersign.set("/secrets/api", json!({"file": key})).server(SERVER, server).start().await;
    let found = said(&daemon).await;
    let of = |(way, what): &(&str, String)| found[format!("{way} {what}")].as_str().unwrap_or("nothing").to_owned();
    // The log names what this system cannot keep.
    let ports = !daemon.log().contains("cannot limit which ports");
    let kept = |(way, _): &&(&str, String)| ports || !matches!(*way, "tcp");
    let open: Vec<_> = refused.iter().filter(kept).filter(|attempt| !of(attempt).starts_with("refused: ")).collect();
    assert!(open.is_empty(), "{open:?}: {found:#}");
    assert!(of(&done).starts_with("done: "), "{found:#}");
    // As by a kernel without it: what is told that it may not would not take the other version.
    let without = of(&refused[5]);
    assert!(without.contains("Address family not supported") || without.contains("Errno 97"), "{found:#}");
    daemon.stop().await;
}

/// Where unix sockets are allowed, neither a child nor a child of its gets a word of the daemon.
#[tokio::test]
async fn a_child_is_no_operator_and_no_client() {
    let countersign = Countersign::new();
    let sockets = ["operator.sock", "client.sock"].map(|name| countersign.dir().join("run").join(name));
    let mut upstream = child(&["sockets", sockets[0].to_str().unwrap(), sockets[1].to_str().unwrap()]);
    for sandbox in [json!({"unix_sockets": true}), json!("off")] {
        upstream["stdio"]["sandbox"] = sandbox;
        let off = upstream["stdio"]["sandbox"] == "off";
        // Without a sandbox it is given a place to write.
        upstream["stdio"]["env"] = if off { json!({"TMPDIR": countersign.dir()}) } else { json!({}) };
        let server = json!({"environment": "sandbox", "upstream": upstream});
        let mut daemon = Countersign::new().set("/runtime_dir", json!(sockets[0].parent().unwrap()));
        daemon = daemon.server(SERVER, server);
        let mut daemon = daemon.start().await;
        let found = said(&daemon).await;
        let all = found.as_array().unwrap();
        assert!(all.len() == 4 && all.iter().all(|said| said.as_str().unwrap().starts_with("closed")), "{found}");
        daemon.logs("was turned away").await;
        // Anybody else of the account is one.
        let _console = daemon.console().await;
        assert!(daemon.stop().await.success());
    }
}

/// What cannot be put into its sandbox is not run, and does not look like a server that has died.
#[tokio::test]
async fn a_child_that_gets_no_sandbox_is_not_run() {
    let countersign = Countersign::new();
    let program = countersign.dir().join("server");
    std::fs::write(&program, "#!/nonexistent/interpreter\n").unwrap();
    set_mode(&program, 0o755);
    let server = json!({"environment": "sandbox", "upstream": {"stdio": {"command": program}}});
    let daemon = countersign.server(SERVER, server).start().await;
    let mut shim = daemon.raw_shim();
    shim.send(&crate::harness::request("a", "initialize", crate::harness::hello())).await;
    let answer = shim.answer("a").await;
    let said = &answer["error"]["data"]["dev.countersign/no_answer"];
    assert_eq!((said["sent"].as_bool(), said["carried_out"].as_str()), (Some(false), Some("no")), "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("sandbox") && !message.contains("nonexistent"), "{answer}");
    daemon.logs("add the folder to `sandbox.read`").await;
}

/// A child that was run cannot say that it was not, by nothing that it finds out about its ancestors.
#[tokio::test]
async fn a_child_that_was_run_cannot_deny_it() {
    for method in ["initialize", "tools/call"] {
        let mut daemon = with(child(&["betray", method])).start().await;
        let mut shim = daemon.raw_shim();
        let answer = if method == "initialize" {
            shim.send(&crate::harness::request("a", "initialize", crate::harness::hello())).await;
            shim.answer("a").await
        } else {
            shim.initialize().await;
            shim.send(&call("a", "get_x", json!({}))).await;
            shim.answer("a").await
        };
        let said = &answer["error"]["data"]["dev.countersign/no_answer"];
        assert_eq!((said["sent"].as_bool(), said["carried_out"].as_str()), (Some(true), Some("unknown")), "{answer}");
        drop(shim);
        assert!(daemon.stop().await.success());
        if method == "tools/call" {
            let records = daemon.records().await;
            assert!(records.iter().any(|record| record.to_string().contains("outcome_unknown")), "{records:?}");
        }
    }
}

/// What a child ended with is not lost where its keeper is told to end everything at the same time.
#[tokio::test]
async fn how_a_child_ended_is_known_also_where_its_keeper_is_told_meanwhile() {
    let daemon = with(child(&["arguments"])).start().await;
    for n in 1..=8 {
        let mut shim = daemon.raw_shim();
        shim.initialize().await;
        // The daemon, its keepers, their children.
        let below = |pid: u32| -> Vec<u32> {
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            all.filter(|one| parent(*one) == Some(pid) && is_running(*one)).collect()
        };
        let (keeper, child) =
            below(daemon.pid()).into_iter().find_map(|keeper| Some((keeper, *below(keeper).first()?))).unwrap();
        let [keeper, child] = [keeper, child].map(|pid| Pid::from_raw(pid.cast_signed()).unwrap());
        rustix::process::kill_process(keeper, Signal::STOP).unwrap();
        rustix::process::kill_process(child, Signal::SEGV).unwrap();
        // It has been told: the daemon has seen the end of the child's output.
        let told = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", keeper.as_raw_nonzero())).ok()?;
            let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"))?;
            let pending = u64::from_str_radix(pending.trim(), 16).unwrap();
            Some(pending & (1 << (Signal::POWER.as_raw() - 1)) != 0)
        };
        let wait = async {
            while told() == Some(false) && daemon.log().matches("the upstream is gone").count() < n {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the keeper to be told");
        let _ = rustix::process::kill_process(keeper, Signal::CONT);
        let wait = async {
            while daemon.log().matches("the upstream is gone").count() < n {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the child's end to be noticed");
        // 128 and the signal, as shells say it.
        let ends = daemon.log().matches(&format!("unix_wait_status({})", 139 << 8)).count();
        assert_eq!(ends, n, "{}", daemon.log());
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Scratch is a child's own and goes with it; the home of its server and principal stays, and nobody else's child sees
/// it.
#[tokio::test]
async fn the_folders_of_a_child_are_its_own() {
    let own = json!([("own", "")]).to_string();
    let mut daemon = with(child(&["try", &own])).start().await;
    said(&daemon).await;
    let children = daemon.state_dir().join("children");
    let home = children.join("homes").join(SERVER).join("local");
    assert_eq!(std::fs::read_to_string(home.join("f")).unwrap(), "x");
    assert!(daemon.stop().await.success());
    assert_eq!(std::fs::read_dir(children.join("scratch")).unwrap().count(), 0);
    let look = json!([("read", home.join("f")), ("list", home)]).to_string();
    let server = json!({"environment": "sandbox", "upstream": child(&["try", &look])});
    let mut daemon = daemon.again().server("second", server).start().await;
    let refused = async |daemon: &Daemon, server: &str| {
        let mut shim = crate::harness::Shim::start(daemon.shim_command(server));
        let answer = shim.initialize().await;
        let found: Value = serde_json::from_str(answer["result"]["serverInfo"]["name"].as_str().unwrap()).unwrap();
        let mut said = found.as_object().unwrap().values();
        assert!(said.all(|said| said.as_str().unwrap().starts_with("refused")), "{found}");
    };
    refused(&daemon, "second").await;
    // The same server for another principal.
    assert!(daemon.stop().await.success());
    let server = json!({"environment": "sandbox", "upstream": child(&["try", &look])});
    let uid = rustix::process::getuid().as_raw();
    let other = json!([{"name": "other", "match": {"uid": uid}, "scopes": ["*/read"]}]);
    let daemon = daemon.again().server(SERVER, server).set("/principals", other).start().await;
    refused(&daemon, SERVER).await;
}

/// Whatever is logged, printed and said besides: the shim writes messages and nothing else.
#[tokio::test]
async fn prc_009() {
    let server = json!({"environment": "sandbox", "upstream": child(&["noise"])});
    let daemon = Countersign::new().env("COUNTERSIGN_LOG", "trace").env("RUST_LOG", "trace");
    let daemon = daemon.server(SERVER, server).start().await;
    let mut command = daemon.shim_command(SERVER);
    command.env("COUNTERSIGN_LOG", "trace").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut shim = command.spawn().unwrap();
    let mut stdin = shim.stdin.take().unwrap();
    let hello = crate::harness::request("hello", "initialize", crate::harness::hello());
    let lines = format!(
        "{hello}\nnoise\n{}\n{{\n{}\n",
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        call("c", "get_x", json!({}))
    );
    tokio::io::AsyncWriteExt::write_all(&mut stdin, lines.as_bytes()).await.unwrap();
    let mut read = tokio::io::BufReader::new(shim.stdout.take().unwrap());
    let mut answered = Vec::new();
    while !answered.contains(&json!("c")) {
        let mut line = String::new();
        let count = tokio::time::timeout(DEADLINE, tokio::io::AsyncBufReadExt::read_line(&mut read, &mut line)).await;
        assert_ne!(count.unwrap().unwrap(), 0, "the shim ended: {answered:?}");
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        answered.push(message["id"].clone());
    }
}

/// The terminal of a console goes away. What waits goes on waiting, and the next console rules it.
#[tokio::test]
async fn prc_010() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut console = Command::new(crate::harness::daemon::binary());
    console.args(["console", "--plain", "--socket"]).arg(&daemon.operator_socket);
    console.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut console = console.spawn().unwrap();
    let mut shim = daemon.shim().await;
    shim.send(&call("r", "create_refund", json!({"amount": 5}))).await;
    let mut second = daemon.console().await;
    let hold = second.hold().await;
    let pid = Pid::from_raw(console.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    tokio::time::timeout(DEADLINE, console.wait()).await.unwrap().unwrap();
    daemon.assert_alive().await;
    assert_eq!(spy.calls("create_refund"), 0);
    second.approve(&hold).await.unwrap();
    let answer = shim.answer("r").await;
    assert_eq!(answer["result"]["content"][0]["text"], "done: create_refund", "{answer}");
}
