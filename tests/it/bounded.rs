//! Policies of the operator run in processes of their own: what an argument makes of one there reaches nobody else.
//! And a reload under load: no call goes unjudged, and each is judged by one version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, FIXTURE_POLICY, OTHER_TOKEN};
use crate::harness::http::HttpClient;
use crate::harness::{Countersign, Spy, outcome, within};

/// What the caller says makes it run for long, or need more memory than there is.
const COSTLY: &str = r#"
deny contains {"rule": "fixture.slow", "reason": "never"} if {
	count(net.cidr_expand(input.arguments.network)) == 0
}

deny contains {"rule": "fixture.large", "reason": "never"} if {
	count(numbers.range(1, input.arguments.upto)) == 0
}
"#;

fn costly() -> Countersign {
    Countersign::with_policy(&format!("{FIXTURE_POLICY}{COSTLY}")).set("/policy/time_limit_ms", json!(400))
}

/// The policy processes of a daemon.
fn workers(daemon: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{daemon}/status")).is_ok();
    assert!(children, "the daemon is gone");
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_worker_of(*pid, daemon)).collect()
}

fn is_worker_of(pid: u32, daemon: u32) -> bool {
    let read = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    read("cmdline").contains("policy-worker") && read("status").contains(&format!("PPid:\t{daemon}\n"))
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

async fn other(daemon: &Daemon) -> HttpClient {
    let mut client = HttpClient { token: Some(OTHER_TOKEN.to_owned()), ..daemon.http() };
    client.initialize().await;
    client
}

/// What an agent can say costs the agent alone: the daemon lives and stays small, and others are judged meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_argument_that_a_policy_chokes_on_is_refused_and_holds_up_nobody_else() {
    let spy = Spy::http().await;
    let mut daemon = costly().upstream(&spy).start().await;
    let mut hostile = daemon.http();
    hostile.initialize().await;
    let other = other(&daemon).await;
    assert_eq!(outcome(&other.call("first", "get_balance", json!({})).await), None);

    let attack = async {
        let mut answers = Vec::new();
        for round in 0..4 {
            let arguments =
                [json!({"network": "0.0.0.0/0"}), json!({"upto": 2_000_000_000}), json!({"network": "::/0"})];
            let ids = (0..arguments.len()).map(|n| format!("{round}-{n}")).collect::<Vec<_>>();
            let calls = ids.iter().zip(arguments).map(|(id, arguments)| hostile.call(id, "get_balance", arguments));
            answers.extend(futures_util::future::join_all(calls).await);
        }
        answers
    };
    let work = async {
        let mut slowest = Duration::ZERO;
        for n in 0..40 {
            let asked = Instant::now();
            assert_eq!(outcome(&other.call(&n.to_string(), "get_balance", json!({})).await), None, "call {n}");
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (answers, slowest) = within("the attack to end", async { tokio::join!(attack, work) }).await;
    for answer in &answers {
        assert_eq!(outcome(answer), Some("unavailable"), "{answer}");
    }
    // The first attack may take every process once, for the outer limit; after that it has to share one.
    assert!(slowest < Duration::from_secs(6), "{slowest:?}");
    assert_eq!(spy.calls("get_balance"), 41);

    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    assert!(peak.trim().parse::<u64>().unwrap() < 200 << 10, "the daemon needed {peak} KiB");
    daemon.stop().await;
    let records = daemon.records().await;
    let faults: BTreeSet<String> = records
        .iter()
        .filter(|record| record["kind"] == "failed")
        .map(|record| serde_json::from_str::<Value>(record["body"].as_str().unwrap()).unwrap()["fault"].to_string())
        .collect();
    assert!(faults.iter().any(|fault| fault.contains("did not end in time")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("out of memory")), "{faults:?}");
}

/// A policy process knows policies and inputs: no key, and nothing that the daemon has open.
#[tokio::test]
async fn a_policy_process_has_nothing_of_the_daemons() {
    let spy = Spy::http().await;
    let daemon = costly().upstream(&spy).start().await;
    let mut client = daemon.http();
    client.initialize().await;
    client.call("a", "get_balance", json!({})).await;
    let found = workers(daemon.pid());
    assert!(!found.is_empty(), "no policy process");
    let targets = |place: PathBuf| {
        let open = std::fs::read_dir(place).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect::<BTreeSet<_>>()
    };
    // What whoever runs the tests has left open for every program is not the daemon's.
    let ours = targets("/proc/self/fd".into());
    for pid in found {
        let place = PathBuf::from(format!("/proc/{pid}"));
        // Nobody but the system's administrator may look at all.
        match std::fs::read(place.join("environ")) {
            Ok(environment) => assert_eq!(String::from_utf8_lossy(&environment), ""),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
        let open = targets(place.join("fd"));
        let others: Vec<_> = open.difference(&ours).filter(|target| *target != Path::new("/dev/null")).collect();
        assert!(others.iter().all(|target| target.to_string_lossy().starts_with("socket:")), "{open:?}");
        assert!(others.len() <= 1, "{open:?}");
    }
}

/// One that something else ends is replaced, and none outlives its daemon.
#[tokio::test]
async fn policy_processes_come_and_go_with_the_daemon() {
    let spy = Spy::http().await;
    let daemon = costly().upstream(&spy).start().await;
    let mut client = daemon.http();
    client.initialize().await;
    for n in 0..3 {
        assert_eq!(outcome(&client.call(&n.to_string(), "get_balance", json!({})).await), None);
        let before = workers(daemon.pid());
        assert_eq!(before.len(), 1, "one is enough for one call at a time");
        kill(before[0]);
        within("the process to be gone", async {
            // With its last thread.
            while std::fs::read_dir(format!("/proc/{}/task", before[0])).is_ok_and(|threads| threads.count() > 1)
                || std::fs::read_to_string(format!("/proc/{}/stat", before[0])).is_ok_and(|stat| !stat.contains(") Z "))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    // One that is at work when its daemon is killed.
    let pid = daemon.pid();
    let stuck = client.call("stuck", "get_balance", json!({"network": "0.0.0.0/0"}));
    let _ = tokio::time::timeout(Duration::from_millis(300), stuck).await;
    let left = workers(pid);
    assert!(!left.is_empty());
    let _stopped = daemon.kill().await;
    within("its processes to go", async {
        while left.iter().any(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("policy-worker"))
        }) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Calls run while the policies are changed: each is judged, by the version before or the one after, and none is
/// refused because of the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_leaves_no_gap() {
    let spy = Spy::http().await;
    let setup = Countersign::new().upstream(&spy);
    let folder = setup.dir().join("policies");
    let mut daemon = setup.start().await;
    let mut clients = [daemon.http(), daemon.http(), daemon.http()];
    for client in &mut clients {
        client.initialize().await;
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let load = clients.map(|client| {
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut made = 0_usize;
            while !stop.is_cancelled() {
                let answer = client.call(&made.to_string(), "get_balance", json!({})).await;
                assert_eq!(outcome(&answer), None, "{answer}");
                made += 1;
            }
            made
        })
    });
    for n in 0..5 {
        let text = format!("{FIXTURE_POLICY}\n# {n}\n");
        std::fs::write(folder.join("new"), text).unwrap();
        std::fs::rename(folder.join("new"), folder.join("policy.rego")).unwrap();
        daemon.signal(Signal::HUP);
        within("the reload", async {
            while daemon.log().matches("policy loaded").count() <= n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    stop.cancel();
    let mut made = 0;
    for client in load {
        made += client.await.unwrap();
    }
    assert_eq!(spy.calls("get_balance"), made);
    daemon.stop().await;

    let (mut known, mut judged) = (BTreeSet::new(), Vec::new());
    let mut current = String::new();
    for record in daemon.records().await {
        let body: Value = serde_json::from_str(record["body"].as_str().unwrap()).unwrap();
        match record["kind"].as_str().unwrap() {
            "started" | "policy_loaded" => {
                current = body["policy_version"].as_str().unwrap().to_owned();
                known.insert(current.clone());
            }
            "decided" => {
                judged.push((body["decision"]["policy_version"].as_str().unwrap().to_owned(), current.clone()))
            }
            "failed" => panic!("{body}"),
            _ => {}
        }
    }
    assert!(known.len() >= 6 && judged.len() == made && made > 20, "{} versions, {made} calls", known.len());
    let before_and_after: BTreeSet<_> = judged.iter().map(|(version, _)| version.clone()).collect();
    assert!(before_and_after.is_subset(&known) && before_and_after.len() > 1, "{before_and_after:?}");
}

/// A file on which the interpreter overflows its stack: the process that tries it ends, and nothing else does.
#[tokio::test]
async fn a_policy_file_that_ends_its_process_is_refused() {
    let spy = Spy::http().await;
    let setup = Countersign::new().upstream(&spy);
    let folder = setup.dir().join("policies");
    let daemon = setup.start().await;
    let mut client = daemon.http();
    client.initialize().await;
    let line = "1 + ".repeat(200);
    let sum = format!("{line}\n").repeat(1000);
    let text = format!("{FIXTURE_POLICY}\nx := {sum}1\n");
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join("policy.rego")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.logs("the new policy is refused").await;
    // The reason stands on the lines after it.
    daemon.logs("the policy process ended while it loaded").await;
    assert_eq!(outcome(&client.call("a", "get_balance", json!({})).await), None, "the old one stays in force");
}
