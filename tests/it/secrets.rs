//! Where keys come from and how they change: `countersign secret`, the store, the keyring, rotation without a restart.

use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::harness::daemon::{SERVER, binary, set_mode};
use crate::harness::http::HttpClient;
use crate::harness::session_bus::SessionBus;
use crate::harness::web::{Answer, Web};
use crate::harness::{Countersign, Daemon, Spy, request, within};

const FIRST: &str = "sk_test_CANARYa1Wq7Zt9XeVb4Jm2";
const SECOND: &str = "sk_test_SECONDb8Rk3Py6NdHs5Lf0";
const LIVE: &str = "sk_live_CANARYc2Fg5Uo1TiXw8Ma7";

/// What a command of the program came to: code, stdout, stderr.
pub struct Ran(pub i32, pub String, pub String);

pub async fn run(config: &Path, bus: Option<&Path>, arguments: &[&str], stdin: &str) -> Ran {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--config".as_ref(), config.as_os_str()]).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if let Some(bus) = bus {
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus.display()));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // A command that does not read it has ended.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
    let output = within("a command to end", child.wait_with_output()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran(output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_key_is_stored_from_stdin_listed_without_being_shown_and_kept_while_it_is_used() {
    let spy = Spy::stdio().await;
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("other.key");
    let setup = Countersign::new().upstream(&spy).set("/secrets/stripe", json!("stored"));
    let setup = setup.set("/secrets/filed", json!({"file": file}));
    let setup = setup.set("/servers/fixture/upstream/stdio/env/KEY", json!({"secret": "stripe"}));
    let config = setup.write();
    let kept = setup.dir().join("state/secrets/stripe");

    let missing = run(&config, None, &["secret", "ls"], "").await;
    assert_eq!(missing.0, 1);
    assert!(missing.1.contains("nothing is stored under this name; store it: countersign secret set stripe"));
    let set = run(&config, None, &["secret", "set", "stripe"], &format!("{FIRST}\n")).await;
    assert_eq!(set.0, 0, "{}", set.2);
    assert!(set.1.contains("stripe sha256:") && !set.1.contains("CANARY"), "{}", set.1);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), FIRST);
    let mode = |path: &Path| std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777;
    assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700));
    // What a file holds is written where the configuration says.
    assert_eq!(run(&config, None, &["secret", "set", "filed"], SECOND).await.0, 0);
    assert_eq!((std::fs::read_to_string(&file).unwrap(), mode(&file)), (SECOND.to_owned(), 0o600));

    for (bad, why) in [
        ("", "it is empty"),
        ("short", "fewer than 8"),
        ("a b\nc d e f g", "control character"),
        ("-----BEGIN PRIVATE KEY-----\n", "countersign secret set stripe < FILE"),
    ] {
        let refused = run(&config, None, &["secret", "set", "stripe"], bad).await;
        assert!(refused.0 == 2 && refused.2.contains(why), "{bad:?}: {}", refused.2);
    }
    let from_env = run(&config, None, &["secret", "set", "agent_token"], FIRST).await;
    assert!(from_env.0 == 2 && from_env.2.contains("AGENT_TOKEN") && from_env.2.contains("agent_token: stored"));
    let fresh = run(&config, None, &["secret", "set", "fresh"], SECOND).await;
    assert!(fresh.1.contains("under `secrets:`\n  fresh: stored"), "{}", fresh.1);
    let named = run(&config, None, &["secret", "set", "../x"], SECOND).await;
    assert!(named.0 == 2 && named.2.contains("cannot be the name of a secret"));

    let listed = run(&config, None, &["secret", "ls", "-o", "json"], "").await;
    let listed: Value = serde_json::from_str(&listed.1).unwrap();
    assert_eq!(listed["schema"], "countersign.secrets/v1");
    let row = |name: &str| {
        let rows = listed["secrets"].as_array().unwrap().iter();
        rows.clone().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    assert_eq!(row("stripe")["used_by"], json!(["server fixture"]));
    assert_eq!(row("stripe")["fingerprint"].as_str().unwrap().len(), "sha256:".len() + 8);
    assert_eq!((&row("fresh")["configured"], &row("fresh")["readable"]), (&json!(false), &json!(true)));
    assert_eq!(row("agent_token")["used_by"], json!(["principal agent"]));
    assert!(row("agent_token")["problem"].as_str().unwrap().contains("AGENT_TOKEN is not set"));
    set_mode(&kept, 0o640);
    let open = run(&config, None, &["secret", "ls"], "").await;
    assert!(open.1.contains("0640") && open.1.contains("chmod go-rwx"), "{}", open.1);
    set_mode(&kept, 0o600);
    for said in [&open.1, &open.2, &listed.to_string()] {
        assert!(!said.contains("CANARY") && !said.contains("SECOND"), "{said}");
    }

    let used = run(&config, None, &["secret", "rm", "stripe"], "").await;
    assert!(used.0 == 5 && used.2.contains("for server fixture") && kept.exists(), "{}", used.2);
    assert_eq!(run(&config, None, &["secret", "rm", "fresh"], "").await.0, 0);
    assert_eq!(run(&config, None, &["secret", "rm", "fresh"], "").await.0, 3);
    assert!(run(&config, None, &["secret", "rm", "filed"], "").await.2.contains("remove it there"));

    let mut daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    shim.call("1", "get_balance", json!({})).await;
    assert_eq!(spy.processes()[0]["environ"]["KEY"], FIRST);
    daemon.stop().await;
    assert_eq!(run(&config, None, &["secret", "rm", "stripe", "--force"], "").await.0, 0);
    let (status, said) = daemon.again().refuses().await;
    assert!(!status.success() && said.contains("countersign secret set stripe"), "{said}");
}

/// Of a paste with lines nothing is kept, and nothing is left for the shell to run.
#[tokio::test]
async fn a_pasted_private_key_is_refused_and_read_to_its_end() {
    let setup = Countersign::new().upstream(&Spy::stdio().await).set("/secrets/stripe", json!("stored"));
    let config = setup.write();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let line = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    let mut command = Command::new(binary());
    command.args(["secret", "set", "stripe", "--config"]).arg(&config).env_clear();
    command.stdin(line.try_clone().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let (mut said, mut stderr) = (Vec::new(), child.stderr.take().unwrap());
    within("the question", async {
        while !said.ends_with(b"then Enter: ") {
            said.push(stderr.read_u8().await.unwrap());
        }
    })
    .await;
    // A paste does not come at once.
    let mut pieces = tokio::time::interval(std::time::Duration::from_millis(20));
    for text in ["-----BEGIN PRIVATE KEY-----\r", "touch /\r", "touch /\r", "touch /\r", "-----END PRIVATE KEY-----\r"]
    {
        pieces.tick().await;
        rustix::io::write(&master, text.as_bytes()).unwrap();
    }
    let mut said = String::new();
    within("the command to end", stderr.read_to_string(&mut said)).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(2), "{said}");
    assert!(said.contains("countersign secret set stripe < FILE") && !said.contains("touch"), "{said}");
    assert_eq!(rustix::io::ioctl_fionread(&line).unwrap(), 0, "the shell gets the rest");
    assert!(!setup.dir().join("state/secrets/stripe").exists());
}

#[tokio::test]
async fn a_key_is_kept_in_the_keyring_and_every_failure_of_it_is_said() {
    let (spy, keyring) = (Spy::stdio().await, SessionBus::start(json!([])).await);
    let setup = Countersign::new().upstream(&spy);
    let setup = setup.set("/secrets/stripe", json!({"keyring": {"service": "shop", "user": "me"}}));
    let setup = setup.set("/servers/fixture/upstream/stdio/env/KEY", json!({"secret": "stripe"}));
    let setup = setup.env("DBUS_SESSION_BUS_ADDRESS", &keyring.address());
    let config = setup.write();
    let bus = Some(keyring.path());
    let problem = async |bus| {
        let listed = run(&config, bus, &["secret", "ls", "-o", "json"], "").await;
        let listed: Value = serde_json::from_str(&listed.1).unwrap();
        let row = listed["secrets"].as_array().unwrap().iter().find(|row| row["name"] == "stripe").unwrap().clone();
        row["problem"].as_str().unwrap_or_default().to_owned()
    };
    assert!(problem(bus).await.contains("no item with service \"shop\", user \"me\"; keep it there"));
    let nowhere = Some(Path::new("/nonexistent/bus"));
    assert!(problem(nowhere).await.contains("no keyring can be reached"));

    let set = run(&config, bus, &["secret", "set", "stripe"], &format!("{FIRST}\n")).await;
    assert_eq!(set.0, 0, "{}", set.2);
    let attributes = json!({"service": "shop", "username": "me"});
    assert_eq!(keyring.state()["items"], json!([{"attributes": attributes, "secret": FIRST}]));
    let mut daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    shim.call("1", "get_balance", json!({})).await;
    assert_eq!(spy.processes()[0]["environ"]["KEY"], FIRST);

    // Read again where the operator says so; what cannot be read leaves the old one in use.
    assert_eq!(run(&config, bus, &["secret", "set", "stripe"], SECOND).await.0, 0);
    daemon.signal(Signal::HUP);
    daemon.logs("a new key is in use").await;
    let item = json!({"attributes": attributes, "secret": FIRST});
    for (state, why) in [
        (json!({"items": [item.clone(), item.clone()], "mode": "open"}), "2 items with service"),
        (json!({"items": [item], "mode": "locked"}), "the keyring is locked"),
    ] {
        keyring.set(&state);
        daemon.signal(Signal::HUP);
        daemon.logs(why).await;
        assert!(problem(bus).await.contains(why));
    }
    let mut later = daemon.shim().await;
    later.call("1", "get_balance", json!({})).await;
    assert_eq!(spy.processes()[1]["environ"]["KEY"], SECOND);
    daemon.stop().await;
    let kinds = |kind: &'static str| async { kinds_of(&daemon, kind).await };
    assert_eq!((kinds("secret_rotated").await.len(), kinds("secret_kept").await.len()), (1, 2));

    keyring.set(&json!({"items": [], "mode": "open"}));
    let own = run(&config, bus, &["secret", "set", "fresh", "--keyring"], SECOND).await;
    assert!(own.1.contains("fresh: { keyring: { service: countersign, user: fresh } }"), "{}", own.1);
    assert_eq!(run(&config, bus, &["secret", "rm", "fresh", "--keyring"], "").await.0, 0);
    assert_eq!(run(&config, bus, &["secret", "rm", "fresh", "--keyring"], "").await.0, 3);
}

pub async fn kinds_of(daemon: &Daemon, kind: &str) -> Vec<Value> {
    daemon.records().await.into_iter().filter(|record| record["kind"] == kind).collect()
}

pub fn body(record: &Value) -> Value {
    serde_json::from_str(record["body"].as_str().unwrap()).unwrap()
}

/// An MCP server that keeps the header fields of every request.
async fn web() -> Web {
    Web::start(async |asked| {
        if asked.method != http::Method::POST {
            return Answer::new(405, &[], "");
        }
        let message: Value = serde_json::from_slice(&asked.body).unwrap();
        if message["id"].is_null() {
            return Answer::new(202, &[], "");
        }
        let result = match message["method"].as_str().unwrap() {
            "initialize" => {
                json!({"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                                   "serverInfo": {"name": "web", "version": "1"}})
            }
            "tools/list" => json!({"tools": [{"name": "get_balance", "inputSchema": {"type": "object"}}]}),
            _ => json!({"content": [{"type": "text", "text": "done"}], "isError": false}),
        };
        Answer::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    })
    .await
}

/// The key that came with the last call.
fn used(web: &Web) -> String {
    let asked = web.asked();
    asked.iter().rev().find(|asked| asked.text().contains("tools/call")).unwrap().header("authorization").to_owned()
}

pub fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    set_mode(&new, 0o600);
    std::fs::rename(&new, path).unwrap();
}

#[tokio::test]
async fn a_key_that_changes_is_used_from_then_on_and_no_session_ends() {
    let web = web().await;
    let own = tempfile::tempdir().unwrap();
    let (key, token) = (own.path().join("stripe.key"), own.path().join("token"));
    write(&key, FIRST);
    write(&token, "tok_first_7Hd2Lq9Wx4");
    let headers = json!({"authorization": {"secret": "stripe", "prefix": "Bearer "}});
    let url = format!("http://{}/mcp", web.address);
    let upstream = json!({"http": {"url": url, "allow_plain_http": true, "headers": headers}});
    let server = json!({"vendor": "stripe", "environment": "sandbox", "upstream": upstream});
    let setup = Countersign::new().server(SERVER, server).set("/secrets/stripe", json!({"file": key}));
    let mut daemon = setup.set("/secrets/agent_token", json!({"file": token})).start().await;
    let mut shim = daemon.shim().await;
    shim.call("1", "get_balance", json!({})).await;
    assert_eq!(used(&web), format!("Bearer {FIRST}"));

    // The file itself, without a word to the daemon.
    write(&key, &format!("{SECOND}\n"));
    daemon.logs("a new key is in use").await;
    shim.call("2", "get_balance", json!({})).await;
    assert_eq!(used(&web), format!("Bearer {SECOND}"));

    // The key of another environment, one that others can read, one that is cut off: the one before stays.
    write(&key, LIVE);
    daemon.logs("`environment: sandbox` is declared, but that is not where it works").await;
    write(&key, "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----");
    daemon.logs("it has several lines").await;
    write(&key, "sk_te");
    daemon.logs("it has fewer than 8 characters").await;
    write(&key, "plain-and-without-any-form-0123");
    daemon.logs("its form does not prove `environment: sandbox`").await;
    std::fs::remove_file(&key).unwrap();
    daemon.logs("does not exist").await;
    std::fs::write(&key, FIRST).unwrap();
    set_mode(&key, 0o644);
    daemon.logs("chmod go-rwx").await;
    shim.call("3", "get_balance", json!({})).await;
    assert_eq!(used(&web), format!("Bearer {SECOND}"));

    // The token of a principal: the new one is let in, the old one no more.
    let hello = async |token: &str| {
        let client = HttpClient::new(daemon.address, SERVER, Some(token));
        client.post(&request("hello", "initialize", crate::harness::hello())).await.status
    };
    assert_eq!(hello("tok_first_7Hd2Lq9Wx4").await, 200);
    write(&token, "tok_second_1Kf8Zs5Vb3");
    daemon.signal(Signal::HUP);
    daemon.logs("secret=\"agent_token\" fingerprint").await;
    assert_eq!(hello("tok_first_7Hd2Lq9Wx4").await, 401);
    assert_eq!(hello("tok_second_1Kf8Zs5Vb3").await, 200);
    // A token that is a key of a server is none.
    write(&token, SECOND);
    daemon.logs("it is the same as the secret `stripe`").await;
    assert_eq!(hello(SECOND).await, 401);
    daemon.stop().await;

    let rotated = kinds_of(&daemon, "secret_rotated").await;
    let secret = |record: &Value| body(record)["secret"].as_str().unwrap().to_owned();
    assert_eq!(rotated.iter().map(secret).collect::<Vec<_>>(), ["stripe", "agent_token"]);
    assert!(kinds_of(&daemon, "secret_kept").await.len() >= 6);
    let (log, records) = (daemon.log(), json!(daemon.records().await).to_string());
    for key in [FIRST, SECOND, LIVE, "tok_first_7Hd2Lq9Wx4", "tok_second_1Kf8Zs5Vb3", "without-any-form"] {
        assert!(!log.contains(key) && !records.contains(key), "{key}");
    }
}

#[tokio::test]
async fn a_token_that_is_a_key_as_well_is_no_start() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy).env("KEY", crate::harness::daemon::TOKEN);
    let setup = setup.set("/secrets/key", json!({"env": "KEY"}));
    let (status, said) = setup.refuses().await;
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("the same key") && said.contains("`agent_token`") && !said.contains("tok_agent"), "{said}");
}
