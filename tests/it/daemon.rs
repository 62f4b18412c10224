//! The daemon as an operator runs it: start, refusal to start, reload, who may come in, stop.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::daemon::{FIXTURE_POLICY, SERVER, binary, set_mode};
use crate::harness::http::HttpClient;
use crate::harness::process::is_running;
use crate::harness::web::Web;
use crate::harness::{Countersign, Shim, Spy, outcome, request, within};
use crate::secrets::run;

/// One server that needs nothing.
fn countersign() -> Countersign {
    let upstream = json!({"stdio": {"command": "true", "args": []}});
    Countersign::new().server(SERVER, json!({"environment": "sandbox", "upstream": upstream}))
}

#[tokio::test]
async fn it_listens_and_stops() {
    let mut daemon = countersign().start().await;
    for socket in [&daemon.client_socket, &daemon.operator_socket] {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        let meta = std::fs::metadata(socket).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{} is open to others", socket.display());
    }
    assert!(daemon.stop().await.success());
    assert!(!daemon.operator_socket.exists(), "the socket stays behind");
}

/// A key is being fetched: the program that does so is stopped too, with all that it has started.
#[tokio::test]
async fn it_is_stopped_while_it_waits_for_a_key() {
    let setup = countersign();
    let started = setup.dir().join("started");
    let fetch = format!("sleep 300 & echo $! > {}; kill -TERM $PPID; wait", started.display());
    let setup = setup.set("/secrets/slow", json!({"command": ["/bin/sh", "-c", fetch]}));
    let folder = setup.kept();
    let (status, said) = setup.refuses().await;
    assert!(status.success() && said.contains("stopped before it had started"), "{said}");
    let pid = std::fs::read_to_string(folder.path().join("started")).unwrap().trim().parse().unwrap();
    within("what it has started to end", async {
        while is_running(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn it_is_stopped_while_it_asks_a_server_for_its_account() {
    let setup = countersign();
    let pid = setup.dir().join("pid");
    let told = pid.clone();
    let web = Web::start(move |_| {
        let pid = std::fs::read_to_string(&told).unwrap().trim().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        std::future::pending()
    })
    .await;
    let upstream = json!({"http": {"url": format!("http://{}/mcp", web.address), "allow_plain_http": true,
        "headers": {"Authorization": {"secret": "key", "prefix": "Bearer "}}}});
    let probe = json!({"required": true, "timeout": "5m"});
    let server = json!({"environment": "sandbox", "vendor": "stripe", "probe": probe, "upstream": upstream});
    let fetch = format!("echo $PPID > {}; printf sk_test_%s a1Wq7Zt9XeVb4Jm2", pid.display());
    let setup = setup.server(SERVER, server).set("/secrets/key", json!({"command": ["/bin/sh", "-c", fetch]}));
    let (config, kept) = (setup.write(), setup.kept());
    let (status, said) = setup.refuses().await;
    assert!(status.success() && said.contains("stopped before it had started"), "{said}");
    let exported = run(&config, None, &["audit", "export"], "").await;
    let last = exported.1.lines().last().unwrap_or_default();
    assert!(last.contains("not started: stopped before it had started"), "{}{}", exported.1, exported.2);
    drop(kept);
}

/// Two daemons on one state folder would be two audits: the second does not start, the first goes on.
#[tokio::test]
async fn a_second_daemon_does_not_start() {
    let first = countersign();
    let (state, run) = (first.dir().join("state"), first.dir().join("run"));
    let mut daemon = first.start().await;
    let second = countersign().set("/state_dir", json!(state)).set("/runtime_dir", json!(run));
    let (status, said) = second.refuses().await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("daemon"), "{said}");
    daemon.console().await.list().await;
    daemon.assert_alive().await;
}

/// Every mistake is named with its place and what to do, and nothing is started.
#[tokio::test]
async fn a_wrong_configuration_does_not_start() {
    let cases: [(&str, Value, &[&str]); 5] = [
        ("/holds/tll", json!("5m"), &["tll", "ttl", "help:"]),
        ("/version", json!(2), &["version", "help:"]),
        ("/servers/fixture/upstream/stdio/args", json!("x"), &["args", "help:"]),
        ("/listen/http", json!("0.0.0.0:8377"), &["behind_proxy", "help:"]),
        (
            "/secrets/agent_token",
            json!({"env": "NOT_SET_ANYWHERE"}),
            &["agent_token", "NOT_SET_ANYWHERE", "export", "countersign.yaml:", "help:"],
        ),
    ];
    for (pointer, value, words) in cases {
        let setup = countersign().set(pointer, value);
        let run = setup.dir().join("run");
        let dir = setup.kept();
        let (status, said) = setup.refuses().await;
        assert_eq!(status.code(), Some(2), "{pointer}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{pointer}: {said}");
        assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0, "{pointer}: something was started");
        drop(dir);
    }
}

/// A place in the file is named as path:line:column.
#[tokio::test]
async fn a_mistake_has_a_place() {
    let (_, said) = countersign().set("/holds/tll", json!("5m")).refuses().await;
    let place = said.lines().find(|line| line.contains("countersign.yaml:")).unwrap_or_else(|| panic!("{said}"));
    let numbers: Vec<_> = place.rsplit(':').take(2).map(str::trim).collect();
    assert!(numbers.iter().all(|number| number.parse::<u32>().is_ok()), "{place}");
}

/// Security settings come from the operator alone.
#[tokio::test]
async fn a_configuration_that_others_can_write_is_refused() {
    let setup = countersign();
    let path = setup.write();
    set_mode(&path, 0o666);
    let output = std::process::Command::new(binary()).args(["serve", "--config"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("write") && said.contains("help"), "{said}");
}

fn write_policy(dir: &Path, text: &str) {
    // As an editor does it: a new file takes the place of the old one.
    let (file, new) = (dir.join("policies/policy.rego"), dir.join("policy.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// A policy that cannot be loaded changes nothing and is told; a good one takes effect for the next call.
#[tokio::test]
async fn a_reload_takes_a_good_policy_and_no_other() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    let dir = setup.dir().to_owned();
    let mut daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    assert_eq!(outcome(&shim.call("a", "get_balance", json!({})).await), None);

    write_policy(&dir, "package countersign.policy.fixture\n\nallow contains { nonsense");
    daemon.signal(Signal::HUP);
    daemon.logs("the new policy is refused").await;
    assert_eq!(outcome(&shim.call("b", "get_balance", json!({})).await), None, "the old one stays in force");

    write_policy(&dir, &FIXTURE_POLICY.replace("startswith(input.tool.name, \"get_\")", "false"));
    daemon.signal(Signal::HUP);
    daemon.logs("policy loaded").await;
    assert_eq!(outcome(&shim.call("c", "get_balance", json!({})).await), Some("denied"));
    assert_eq!(spy.calls("get_balance"), 2);
    daemon.stop().await;
    let kinds: Vec<_> =
        daemon.records().await.iter().map(|record| record["kind"].as_str().unwrap().to_owned()).collect();
    assert!(kinds.contains(&"policy_refused".to_owned()) && kinds.contains(&"policy_loaded".to_owned()), "{kinds:?}");
}

/// I6: a stricter policy wins over an approval that was given before.
#[tokio::test]
async fn an_approval_does_not_outlive_a_stricter_policy() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    let dir = setup.dir().to_owned();
    let daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&crate::harness::call("a", "create_refund", json!({"charge": "ch_1", "amount": 100}))).await;
    let hold = console.hold().await;
    let stricter = format!(
        "{FIXTURE_POLICY}\ndeny contains {{\"rule\": \"fixture.frozen\", \"reason\": \"refunds are frozen\"}} if {{\n\tinput.tool.name == \"create_refund\"\n}}\n"
    );
    write_policy(&dir, &stricter);
    daemon.signal(Signal::HUP);
    daemon.logs("policy loaded").await;
    let _ = console.approve(&hold).await;
    let answer = shim.answer("a").await;
    assert_eq!(outcome(&answer), Some("denied"), "{answer}");
    assert_eq!(spy.calls("create_refund"), 0);
}

/// I6: nor does it count where the policy of the moment of release asks for more than the operator was asked for.
#[tokio::test]
async fn an_approval_does_not_count_where_policy_asks_for_more_by_then() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    let dir = setup.dir().to_owned();
    let mut daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    for (id, from, to, released) in [
        (
            "a",
            r#""reason": "a person looks at every refund""#,
            r#""reason": "a person looks at every refund", "tier": "high""#,
            false,
        ),
        // The other way round it counts: less is asked for.
        ("b", r#", "tier": "high""#, "", true),
    ] {
        let arguments = json!({"charge": id, "amount": 100});
        shim.send(&crate::harness::call(id, "create_refund", arguments)).await;
        let hold = console.hold().await;
        let file = dir.join("policies/policy.rego");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        let before = daemon.log().matches("policy loaded").count();
        write_policy(&dir, &text.replace(from, to));
        daemon.signal(Signal::HUP);
        crate::harness::within("the reload", async {
            while daemon.log().matches("policy loaded").count() == before {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        let _ = console.approve(&hold).await;
        let answer = shim.answer(id).await;
        assert_eq!(outcome(&answer), (!released).then_some("denied"), "{answer}");
        assert_eq!(spy.calls("create_refund"), usize::from(released));
    }
    // The record says by which version it was released.
    daemon.stop().await;
    let records = daemon.records().await;
    let version = |kind: &str, pointer: &str| {
        let last = records.iter().rfind(|record| record["kind"] == kind).unwrap();
        let body: serde_json::Value = serde_json::from_str(last["body"].as_str().unwrap()).unwrap();
        body.pointer(pointer).unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(version("sending", "/policy_version"), version("policy_loaded", "/policy_version"));
    assert_ne!(version("sending", "/policy_version"), version("decided", "/decision/policy_version"));
}

/// Who does not show a token, comes from a web page or by another name gets no further than the door.
#[tokio::test]
async fn the_http_door() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let good = daemon.http();
    let body = request("a", "initialize", crate::harness::hello()).to_string();
    let with = |change: (&str, &str)| {
        let mut headers = good.headers();
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case(change.0));
        if !change.1.is_empty() {
            headers.push((change.0.to_owned(), change.1.to_owned()));
        }
        headers
    };
    let cases = [
        (("Authorization", ""), 401),
        (("Authorization", "Bearer wrong"), 401),
        (("Host", "evil.example"), 403),
        (("Origin", "https://evil.example"), 403),
        (("Origin", "null"), 403),
        (("Content-Type", "text/plain"), 415),
        (("Accept", "text/html"), 406),
    ];
    for (change, status) in cases {
        let reply = good.send("POST", &with(change), body.as_bytes()).await;
        assert_eq!(reply.status, status, "{change:?}");
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control-")), "{change:?}");
    }
    let nowhere = HttpClient { path: "/mcp/other".into(), ..daemon.http() };
    assert_eq!(nowhere.send("POST", &nowhere.headers(), body.as_bytes()).await.status, 404);
    assert!(spy.received().is_empty(), "nothing reached the upstream");
    daemon.assert_alive().await;
}

/// A session belongs to the principal that opened it, and ends when that principal says so.
#[tokio::test]
async fn an_http_session_has_one_owner_and_an_end() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut client = daemon.http();
    client.initialize().await;
    let thief = HttpClient {
        token: Some(crate::harness::daemon::OTHER_TOKEN.to_owned()),
        session: client.session.clone(),
        ..daemon.http()
    };
    let stolen = thief.post(&crate::harness::call("a", "get_balance", json!({}))).await;
    assert_eq!(stolen.status, 404, "{stolen:?}");
    assert_eq!(outcome(&client.call("b", "get_balance", json!({})).await), None);
    assert_eq!(spy.all_calls(), 1);
    let ended = client.send("DELETE", &client.headers(), b"").await;
    assert_eq!(ended.status, 204);
    spy.until("the upstream's end", |spy| spy.closed() == 1).await;
    assert_eq!(client.post(&crate::harness::call("c", "get_balance", json!({}))).await.status, 404);
}

/// What a console shows of the record goes on while nothing is held.
#[tokio::test]
async fn a_console_hears_of_new_records() {
    let spy = Spy::http().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let console = daemon.console().await;
    let mut client = daemon.http();
    client.initialize().await;
    let mut records = 0;
    for id in 0..2 {
        client.post(&crate::harness::call(id, "get_balance", json!({}))).await.answer(id).await;
        records = console.more_records(records).await;
    }
    assert!(records >= 5, "the start, and two of each call: {records}");
}

/// Without a daemon a client reads what to do, as the answer to its first request.
#[tokio::test]
async fn a_shim_without_a_daemon_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(binary());
    command.args(["connect", SERVER]).env("COUNTERSIGN_RUNTIME_DIR", dir.path());
    let mut shim = Shim::start(command);
    shim.send(&request("a", "initialize", crate::harness::hello())).await;
    let answer = shim.answer("a").await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("countersign serve"), "{answer}");
    assert_eq!(shim.wait().await.code(), Some(7));
}

/// What the environment of the shim says decides where it dials and nothing else.
#[tokio::test]
async fn a_shim_for_an_unknown_server_is_turned_away() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = Shim::start(daemon.shim_command("nope"));
    shim.send(&request("a", "initialize", crate::harness::hello())).await;
    let answer = shim.answer("a").await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("nope"), "{answer}");
    assert_eq!(shim.wait().await.code(), Some(2));
    assert!(spy.processes().is_empty());
}
