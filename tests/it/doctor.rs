//! `countersign doctor`: each thing that can be wrong is broken here, and has to be found, with the command that fixes
//! it; what `--fix` may do is done, and nothing else.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::daemon::{OTHER_TOKEN, TOKEN, binary, set_mode};
use crate::harness::{Act, Countersign, Daemon, Spy, within};

/// What the doctor says about one set-up.
pub struct Said {
    report: Value,
    code: i32,
}

impl Said {
    fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().unwrap()
    }

    /// The findings of a check at a level.
    pub fn at(&self, check: &str, level: &str) -> Vec<&Value> {
        self.findings().iter().filter(|found| found["check"] == check && found["level"] == level).collect()
    }

    /// The one whose words are these, and its command.
    #[track_caller]
    pub fn says(&self, check: &str, level: &str, words: &str, command: &str) {
        let text = |found: &Value, name: &str| found[name].as_str().unwrap_or_default().to_owned();
        let matches = |found: &&&Value| {
            let whole = format!("{}: {}", text(found, "about"), text(found, "text"));
            whole.contains(words) && text(found, "fix").contains(command)
        };
        assert!(
            self.at(check, level).iter().find(matches).is_some(),
            "no {level} of {check} with {words:?} and {command:?}: {:#}",
            self.report["findings"]
        );
    }

    #[track_caller]
    pub fn is_well(&self, check: &str) {
        for level in ["warning", "problem"] {
            assert!(self.at(check, level).is_empty(), "{check}: {:#}", self.report["findings"]);
        }
    }
}

pub struct Doctor {
    dir: PathBuf,
    environment: Vec<(String, std::ffi::OsString)>,
}

impl Doctor {
    pub fn of(setup: &Countersign) -> Doctor {
        let dir = setup.dir().to_owned();
        let environment =
            vec![("AGENT_TOKEN".to_owned(), TOKEN.into()), ("OTHER_TOKEN".to_owned(), OTHER_TOKEN.into())];
        Doctor { dir, environment }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Doctor {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    pub fn path(self) -> Doctor {
        let path = std::env::var_os("PATH").unwrap();
        self.env("PATH", path)
    }

    async fn output(&self, more: &[&str]) -> std::process::Output {
        let mut command = tokio::process::Command::new(binary());
        command.arg("doctor").arg("--config").arg(self.dir.join("countersign.yaml")).args(more);
        command.env_clear().env("HOME", &self.dir).env("COUNTERSIGN_RUNTIME_DIR", self.dir.join("run"));
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
        within("the doctor to end", command.output()).await.unwrap()
    }

    pub async fn run(&self, more: &[&str]) -> Said {
        let output = self.output(&[more, &["-o", "json"]].concat()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        for secret in [TOKEN, OTHER_TOKEN] {
            assert!(!text.contains(secret), "a token is shown: {text}");
        }
        let report: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text:?}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(report["schema"], "countersign.doctor/v1");
        let code = output.status.code().unwrap();
        assert_eq!(code, i32::from(report["problems"] != 0), "{report:#}");
        Said { report, code }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn running(setup: Countersign) -> (Daemon, Doctor) {
    let doctor = Doctor::of(&setup);
    (setup.start().await, doctor)
}

#[tokio::test]
async fn a_sound_set_up_is_walked_from_the_client_to_the_server_both_ways() {
    let spy = Spy::stdio().await;
    let http = format!("127.0.0.1:{}", free_port());
    let (_daemon, doctor) = running(Countersign::new().upstream(&spy).set("/listen/http", json!(http))).await;
    let said = doctor.run(&[]).await;
    assert_eq!(said.code, 0, "{:#}", said.report);
    for check in ["config", "folders", "sockets", "rules", "secrets", "daemon", "paths", "store", "clock"] {
        said.is_well(check);
    }
    said.says("paths", "ok", "fixture: by shim, daemon, policy, server: local sees", "");
    said.says("paths", "ok", "fixture: by HTTP, daemon, policy, server: agent sees", "");
    said.says("secrets", "ok", "agent_token: [set, sha256:", "");
    said.says("store", "ok", "intact", "");
    assert_eq!(spy.all_calls(), 0, "no tool is called");

    // For people: aligned, without colours where nobody looks, and with a summary.
    let output = doctor.output(&[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("config      ok       ") && !text.contains('\u{1b}'), "{text}");
    assert!(text.trim_end().lines().last().unwrap().starts_with("0 problems, "), "{text}");
}

/// Each client's entry is walked as its client would go: to its address, with its own token.
#[tokio::test]
async fn each_entry_over_http_is_walked_with_its_own_token() {
    let spy = Spy::stdio().await;
    let http = format!("127.0.0.1:{}", free_port());
    let (_daemon, doctor) = running(Countersign::new().upstream(&spy).set("/listen/http", json!(http))).await;
    let entry = |token: &str| json!({"url": format!("http://{http}/mcp/fixture").replace("127.0.0.1", "localhost"), "headers": {"Authorization": format!("Bearer {token}")}});
    let wrong = format!("csgn_{}", "0".repeat(64));
    let cursor = json!({"good": entry(OTHER_TOKEN), "bad": entry(&wrong), "none": {"url": entry("")["url"]},
        "open": entry("${env:A_TOKEN}"), "elsewhere": {"url": "https://x.example.com/mcp/fixture"}});
    std::fs::create_dir_all(doctor.dir.join(".cursor")).unwrap();
    std::fs::write(doctor.dir.join(".cursor/mcp.json"), json!({"mcpServers": cursor}).to_string()).unwrap();
    let claude = json!({"mcpServers": {"mine": entry(TOKEN)}});
    std::fs::write(doctor.dir.join(".claude.json"), claude.to_string()).unwrap();
    let said = doctor.run(&[]).await;
    assert_eq!(said.code, 1);
    let file = doctor.dir.join(".cursor/mcp.json").display().to_string();
    let by = |name: &str| format!("fixture: by HTTP, as cursor {name} in {file}");
    said.says("paths", "ok", &format!("{}, daemon, policy, server: other sees", by("good")), "");
    said.says("paths", "problem", &format!("{}: broken at the principal", by("bad")), "principal token NAME");
    said.says("paths", "ok", "fixture: by HTTP, as claude-code mine in ", "");
    for (name, why) in [("none", "it has no token"), ("open", "its token does not stand in it")] {
        let note = format!("fixture: not checked: the way by HTTP of cursor {name} in {file}: {why}");
        said.says("paths", "note", &note, "");
    }
    // The client's own ways are what counts, and no token is shown.
    let report = said.report.to_string();
    assert!(
        !report.contains("by HTTP, daemon") && !report.contains(&wrong) && !report.contains("x.example"),
        "{report}"
    );
    let said = doctor.run(&["--client", "claude-code"]).await;
    said.says("paths", "ok", "fixture: by HTTP, as claude-code mine in ", "");
    let paths = ["ok", "note", "problem"].map(|level| said.at("paths", level));
    assert!(!format!("{paths:?}").contains("as cursor"), "{:#}", said.report);
}

#[tokio::test]
async fn without_a_daemon_the_rest_is_checked_and_the_command_is_named() {
    let setup = Countersign::new().server(
        "s",
        json!({
            "environment": "sandbox", "upstream": {"stdio": {"command": "countersign-no-such-program"}},
        }),
    );
    setup.write();
    let doctor = Doctor::of(&setup).path();
    let said = doctor.run(&[]).await;
    assert_eq!(said.code, 1);
    said.says("daemon", "problem", "no daemon answers", "countersign serve --config ");
    said.says("servers", "problem", "s: `countersign-no-such-program` is in no folder of PATH", "install it");
    said.says("store", "note", "no record yet", "");
    assert!(said.at("paths", "ok").is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_configuration_is_said_at_its_place() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy).set("/servres", json!({}));
    let config = setup.write();
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("config", "problem", "countersign.yaml:", "");
    said.says("config", "problem", "(C0101)", "servers");

    std::fs::remove_file(&config).unwrap();
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("config", "problem", "does not exist", "create it");
}

#[tokio::test]
async fn what_others_could_change_or_read_is_found_and_fixed() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    let (dir, key) = (setup.dir().to_owned(), setup.dir().join("key"));
    let setup = setup.set("/secrets/filed", json!({"file": key}));
    std::fs::write(&key, "sk_test_CANARY7Qm2Zt9XeVb4\n").unwrap();
    let config = setup.write();
    let policy = dir.join("policies/policy.rego");
    let log = dir.join("state/countersign.log");
    std::fs::write(&log, "x").unwrap();
    for (path, bits) in [(&config, 0o666), (&policy, 0o664), (&key, 0o644), (&log, 0o644), (&dir.join("state"), 0o755)]
    {
        set_mode(path, bits);
    }
    let doctor = Doctor::of(&setup);
    let said = doctor.run(&[]).await;
    said.says("config", "problem", "countersign.yaml` can be changed by others", "chmod go-w ");
    said.says("rules", "problem", "policy.rego` can be changed by others", "chmod go-w ");
    said.says("secrets", "problem", "filed: `", "chmod go-rwx ");
    said.says("folders", "problem", "state: others can enter it", "chmod go-rwx ");
    said.says("folders", "warning", "countersign.log: others may read", "chmod go-rwx ");
    assert_eq!(mode(&config), 0o666, "nothing is changed without --fix");

    let said = doctor.run(&["--fix"]).await;
    let fixed = said.report["fixed"].as_array().unwrap();
    assert!(fixed.len() >= 5 && fixed.iter().all(|done| done["failed"].is_null()), "{fixed:?}");
    assert_eq!((mode(&config), mode(&policy), mode(&key)), (0o644, 0o644, 0o600));
    assert_eq!((mode(&log), mode(&dir.join("state"))), (0o600, 0o700));
    for check in ["config", "rules", "secrets", "folders"] {
        said.is_well(check);
    }
    said.says("secrets", "ok", "filed: [set, sha256:", "");
    assert!(!said.report.to_string().contains("CANARY"));
}

/// Folders above are the operator's to change: they are named, with the command.
#[tokio::test]
async fn folders_above_are_named_and_left_alone() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    setup.write();
    set_mode(setup.dir(), 0o777);
    let said = Doctor::of(&setup).run(&["--fix"]).await;
    said.says("config", "problem", "can be changed by others (mode 0777)", "chmod go-w ");
    assert_eq!(mode(setup.dir()), 0o777);
    assert_eq!(said.report["fixed"], json!([]));
}

#[tokio::test]
async fn folders_are_made_and_sockets_of_the_dead_removed() {
    let spy = Spy::stdio().await;
    let (daemon, doctor) = running(Countersign::new().upstream(&spy)).await;
    let (client, operator) = (daemon.client_socket.clone(), daemon.operator_socket.clone());
    // A daemon that runs keeps its sockets.
    assert_eq!(doctor.run(&["--fix"]).await.report["fixed"], json!([]));
    assert!(client.exists() && operator.exists());

    let _stopped = daemon.kill().await;
    assert!(client.exists(), "it had no time to tidy up");
    let said = doctor.run(&[]).await;
    said.says("sockets", "note", "client.sock: a daemon that is dead has left it", "rm ");
    said.says("daemon", "problem", "no daemon answers", "countersign serve");
    doctor.run(&["--fix"]).await;
    assert!(!client.exists() && !operator.exists());

    std::fs::remove_dir_all(client.parent().unwrap()).unwrap();
    doctor.run(&[]).await.says("folders", "note", "it is not there", "mkdir -p -m 700");
    doctor.run(&["--fix"]).await.is_well("folders");
    assert_eq!(mode(client.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn sockets_that_are_none_or_lie_elsewhere_are_named() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    setup.write();
    std::fs::write(setup.dir().join("run/client.sock"), "x").unwrap();
    let doctor = Doctor::of(&setup).env("COUNTERSIGN_RUNTIME_DIR", "/elsewhere");
    let said = doctor.run(&["--fix"]).await;
    said.says("sockets", "problem", "client.sock: it is not a socket", "rm ");
    said.says("sockets", "note", "look elsewhere, in /elsewhere/client.sock", "connect SERVER --socket ");
    assert!(setup.dir().join("run/client.sock").exists());
}

#[tokio::test]
async fn secrets_that_cannot_be_had_are_named() {
    let spy = Spy::stdio().await;
    let fails = json!({"command": ["sh", "-c", "echo vault is closed >&2; exit 1"]});
    let setup = Countersign::new().upstream(&spy).set("/secrets/missing", json!({"env": "NO_SUCH_VARIABLE"}));
    let setup = setup.set("/secrets/short", json!({"env": "SHORT"})).set("/secrets/vault", fails);
    setup.write();
    let said = Doctor::of(&setup).path().env("SHORT", "abc").run(&[]).await;
    said.says("secrets", "problem", "missing: the environment variable NO_SUCH_VARIABLE", "export NO_SUCH_VARIABLE=");
    said.says("secrets", "problem", "short: it has fewer than 8", "export SHORT=");
    said.says("secrets", "problem", "vault: its command failed", "sh -c ");
}

/// What a shell does not have, a daemon that runs may.
#[tokio::test]
async fn a_variable_of_a_running_daemon_is_no_problem_of_the_shell() {
    let spy = Spy::stdio().await;
    let (_daemon, mut doctor) = running(Countersign::new().upstream(&spy)).await;
    doctor.environment.clear();
    let said = doctor.run(&[]).await;
    said.says("secrets", "note", "agent_token: the variable AGENT_TOKEN is not set here", "");
    assert_eq!(said.code, 0);
}

#[tokio::test]
async fn policies_that_do_not_load_and_tests_that_fail_are_found() {
    let spy = Spy::stdio().await;
    let setup = Countersign::with_policy("package countersign.policy.broken\n\nallow contains {\n").upstream(&spy);
    setup.write();
    Doctor::of(&setup).run(&[]).await.says("policy", "problem", "policy.rego:", "countersign policy check --config ");

    let failing = "package countersign.policy.fixture_test\n\nimport data.countersign.policy.fixture\n\n\
                   test_wrong if { count(fixture.allow) == 7 with input as {} }\n";
    let setup = Countersign::new().upstream(&spy).policy("policy_test.rego", failing);
    setup.write();
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("policy", "problem", "1 of 1 tests do not pass", "countersign policy test ");

    let setup = Countersign::new().upstream(&spy);
    setup.write();
    Doctor::of(&setup).run(&[]).await.says("policy", "note", "no tests", "policies/README.md");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_the_broken_hop() {
    let spy = Spy::stdio_with(|received, _| (received.method() == "initialize").then(|| vec![Act::Exit(3)])).await;
    let http = format!("127.0.0.1:{}", free_port());
    let (_daemon, doctor) = running(Countersign::new().upstream(&spy).set("/listen/http", json!(http))).await;
    let said = doctor.run(&[]).await;
    assert_eq!(said.code, 1);
    said.says("paths", "problem", "fixture: by shim: broken at the server", "start it by hand");
    said.says("paths", "problem", "fixture: by HTTP: broken at the server", "start it by hand");
}

#[tokio::test]
async fn a_daemon_with_another_configuration_is_the_broken_hop() {
    let spy = Spy::stdio().await;
    let (daemon, doctor) = running(Countersign::new().upstream(&spy)).await;
    let path = daemon.state_dir().with_file_name("countersign.yaml");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config["servers"]["second"] = config["servers"]["fixture"].clone();
    std::fs::write(&path, config.to_string()).unwrap();
    let said = doctor.run(&[]).await;
    said.says("daemon", "warning", "differ in the servers second", "start it with this file");
    said.says("paths", "problem", "second: by shim: broken at the daemon's configuration", "start the daemon again");
    said.says("paths", "ok", "fixture: by shim", "");
}

/// Whoever listens where the daemon does not is sent no token.
#[tokio::test]
async fn a_token_goes_only_to_where_the_daemon_says_it_listens() {
    let spy = Spy::stdio().await;
    let (daemon, doctor) = running(Countersign::new().upstream(&spy)).await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let address = other.local_addr().unwrap().to_string();
    let path = daemon.state_dir().with_file_name("countersign.yaml");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config["listen"]["http"] = json!(address);
    std::fs::write(&path, config.to_string()).unwrap();
    let url = format!("http://{address}/mcp/fixture");
    let entry = json!({"url": url, "headers": {"Authorization": format!("Bearer {TOKEN}")}});
    std::fs::create_dir_all(doctor.dir.join(".cursor")).unwrap();
    std::fs::write(doctor.dir.join(".cursor/mcp.json"), json!({"mcpServers": {"s": entry}}).to_string()).unwrap();
    let said = doctor.run(&[]).await;
    said.says("paths", "note", "not checked: the way by HTTP: the daemon that runs does not listen", "");
    said.says("paths", "note", "not checked: the way by HTTP of cursor s in ", "");
    assert!(other.accept().is_err(), "nothing has dialed");
}

#[tokio::test]
async fn ways_that_nobody_can_go_are_said_not_to_be_checked() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    let only = json!([{"name": "agent", "match": {"token": {"secret": "agent_token"}}, "scopes": []}]);
    let (_daemon, doctor) = running(setup.set("/principals", only)).await;
    let said = doctor.run(&[]).await;
    said.says("paths", "note", "not checked: the way by the shim: no principal has match: { uid:", "");
    said.says("paths", "note", "not checked: the way by HTTP: its port is chosen at each start", "");
    said.says("account", "ok", "no principal is this account, and no client of this home has an entry", "");
    // A client of this home comes in by a token, and is this account all the same.
    let entry = json!({"command": binary(), "args": ["connect", "fixture"]});
    std::fs::create_dir_all(doctor.dir.join(".cursor")).unwrap();
    std::fs::write(doctor.dir.join(".cursor/mcp.json"), json!({"mcpServers": {"s": entry}}).to_string()).unwrap();
    let said = doctor.run(&[]).await;
    said.says("account", "note", "clients run under this account (an entry in this home)", "an account of its own");
    assert!(said.at("account", "ok").is_empty());
}

#[tokio::test]
async fn a_policy_that_shows_nothing_is_named() {
    let spy = Spy::stdio().await;
    let nothing = "package countersign.policy.nothing\n\ndeny contains {\"rule\": \"n\", \"reason\": \"no\"} if true\n";
    let (_daemon, doctor) = running(Countersign::with_policy(nothing).upstream(&spy)).await;
    let said = doctor.run(&[]).await;
    said.says("paths", "warning", "policy shows local none of its", "countersign policy coverage");
}

#[tokio::test]
async fn a_record_that_was_changed_is_found() {
    let spy = Spy::stdio().await;
    let (mut daemon, doctor) = running(Countersign::new().upstream(&spy)).await;
    daemon.stop().await;
    let database = rusqlite::Connection::open(daemon.state_dir().join("audit.db")).unwrap();
    database.execute_batch("DROP TRIGGER records_keep").unwrap();
    assert!(database.execute("UPDATE records SET body = replace(body, 'fixture', 'another')", []).unwrap() > 0);
    drop(database);
    let said = doctor.run(&[]).await;
    said.says("store", "problem", "not intact", "countersign audit verify --config ");
}

/// The entries of a client are compared with the configuration that is meant, not with whatever lies at home.
#[tokio::test]
async fn entries_that_only_look_as_if_they_went_through_countersign_are_problems() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    setup.write();
    let socket = setup.dir().join("run/client.sock");
    let shim = |server: &str| json!({"command": binary(), "args": ["connect", server, "--socket", socket]});
    let with = |mut entry: Value, name: &str, value: Value| {
        entry[name] = value;
        entry
    };
    let entries = json!({
        "good": shim("fixture"),
        "misspelled": shim("fixtrue"),
        "stale": {"command": binary(), "args": ["connect", "fixture", "--socket", "/nowhere/client.sock"]},
        "gone": {"command": "/nowhere/countersign", "args": ["connect", "fixture"]},
        "beside": with(shim("fixture"), "env", json!({"STRIPE_SECRET_KEY": "sk_live_CANARY7Qm2Zt9XeVb4"})),
        "argument": {"command": "npx", "args": ["other-mcp", "--api-key", "hunter2hunter2"]},
        "signs-in": {"url": "https://x.example.com", "oauth": {}, "headers": {"X-Api-Key": "hunter2hunter2"}},
        "open": {"command": "cat"},
    });
    let folder = setup.dir().join(".cursor");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("mcp.json"), json!({"mcpServers": entries}).to_string()).unwrap();
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("clients", "ok", "cursor good in ", "");
    said.says("clients", "problem", "the configuration has no server `fixtrue`", "correct the entry");
    said.says("clients", "problem", "it dials /nowhere/client.sock", "correct the entry");
    said.says("clients", "problem", "its program /nowhere/countersign is not there", "correct the entry");
    said.says(
        "clients",
        "problem",
        "it names countersign, and has 1 key in the clear beside",
        "replace it at the vendor",
    );
    for name in ["argument", "signs-in"] {
        let text = "goes around countersign, with 1 key in the clear, and cannot be wrapped";
        said.says("clients", "problem", text, "countersign wrap ls --config ");
        assert!(said.at("clients", "problem").iter().any(|found| found["about"].as_str().unwrap().contains(name)));
    }
    said.says("clients", "note", "1 without a key", "wrap ls");
    assert_eq!(said.at("clients", "ok").len(), 1, "{:#}", said.report["findings"]);

    // A configuration that is refused: nobody knows, and that is said.
    set_mode(&setup.dir().join("countersign.yaml"), 0o666);
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("clients", "warning", "could not be looked at", "countersign wrap ls --config ");
    assert!(said.at("clients", "ok").is_empty());
}

#[tokio::test]
async fn programs_that_others_can_replace_are_found() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    let (open, grouped) = (setup.dir().join("open"), setup.dir().join("grouped"));
    for (folder, bits) in [(&open, 0o777), (&grouped, 0o775)] {
        std::fs::create_dir(folder).unwrap();
        set_mode(folder, bits);
    }
    let hook = setup.dir().join("hook");
    std::fs::write(&hook, "#!/bin/sh\n").unwrap();
    set_mode(&hook, 0o777);
    let setup = setup.set("/notify", json!([{"command": [hook]}]));
    setup.write();
    let path = std::env::join_paths([&open, &grouped, Path::new("relative"), Path::new("/no/such/folder")]).unwrap();
    let said = Doctor::of(&setup).env("PATH", path).run(&[]).await;
    said.says("programs", "problem", "open: everybody can replace programs here", "chmod o-w ");
    said.says("programs", "note", "grouped: its group can replace programs here", "chmod g-w ");
    said.says("programs", "warning", "relative: PATH has a relative folder", "take it out of PATH");
    said.says("programs", "problem", "hook` can be changed by others", "chmod go-w ");
}

/// A socket where tmux has it stands for a terminal: whoever connects may type.
#[tokio::test]
async fn terminals_that_clients_can_type_into_are_found() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().upstream(&spy);
    setup.write();
    let folder = setup.dir().join(format!("tmux-{}", rustix::process::geteuid().as_raw()));
    std::fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o700);
    let socket = folder.join("default");
    let _server = UnixListener::bind(&socket).unwrap();
    set_mode(&socket, 0o770);
    let doctor = Doctor::of(&setup).env("TMUX_TMPDIR", setup.dir());
    let said = doctor.run(&[]).await;
    said.says("account", "warning", "default: clients of this account can type into 1 terminal", "outside of tmux");
    assert!(said.at("account", "problem").is_empty());
    set_mode(&folder, 0o755);
    doctor.run(&[]).await.says("account", "problem", "other accounts can type into this terminal", "chmod go-rwx ");
}
