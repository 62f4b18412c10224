//! Runs the cases that are data, each against a daemon of its own: what the client gets, what reaches the upstream,
//! what is recorded. A probe at the end shows that the session and the daemon live on.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::http::HttpClient;
use crate::harness::spy::Received;
use crate::harness::{Countersign, DEADLINE, Shim, Spy, outcome};

const CASES: &str = include_str!("cases.jsonl");
const README: &str = include_str!("README.md");
const CODE: &[&str] = &[
    include_str!("config.rs"),
    include_str!("framing.rs"),
    include_str!("headers.rs"),
    include_str!("holds.rs"),
    include_str!("http.rs"),
    include_str!("limits.rs"),
    include_str!("methods.rs"),
    include_str!("operator_socket.rs"),
    include_str!("parsing.rs"),
    include_str!("processes.rs"),
    include_str!("secrets.rs"),
    include_str!("sessions.rs"),
    include_str!("sweep.rs"),
    include_str!("tokens.rs"),
    include_str!("unicode.rs"),
    include_str!("upstream.rs"),
    // The area `tui`: the operator's screen needs no daemon.
    include_str!("../console/tui.rs"),
    include_str!("../console/terminal.rs"),
];

/// How many cases run at the same time.
const TOGETHER: usize = 4;

/// What every request of the stateless era carries.
const META: &str = concat!(
    r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"agent","version":"0"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":{}}"#
);

#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    area: String,
    title: String,
    /// Runs as a test of this name (with `_` for `-`).
    #[serde(default)]
    code: bool,
    #[serde(default)]
    front: Option<Front>,
    #[serde(default)]
    send: Vec<Step>,
    #[serde(default)]
    expect: Expect,
}

#[derive(Clone, Copy, PartialEq, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
enum Front {
    Shim,
    Http,
}

#[derive(Clone, Deserialize, Debug)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    Text { text: String },
    Hex { hex: String },
    Http { headers: BTreeMap<String, String>, body: Option<String>, body_hex: Option<String> },
}

#[derive(Clone, Default, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// All messages that the client gets, in any order, the probe's aside.
    #[serde(default)]
    answers: Vec<Answer>,
    /// Errors without an id that may come as well.
    #[serde(default)]
    refusals_allowed: Vec<i64>,
    /// The HTTP statuses that are right, for every request.
    #[serde(default)]
    status: Vec<u16>,
    /// All that reaches the upstream, in order, the handshake and the probe aside.
    upstream: Vec<String>,
    #[serde(default)]
    upstream_without: Vec<String>,
    #[serde(default)]
    client_without: Vec<String>,
    /// How many records of a kind there are, the probe's aside.
    #[serde(default)]
    audit: BTreeMap<String, usize>,
}

#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Answer {
    id: Value,
    #[serde(default)]
    error: Vec<i64>,
    #[serde(default)]
    tool: Option<String>,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    result: bool,
}

impl Answer {
    fn fits(&self, message: &Value) -> bool {
        let error = message["error"]["code"].as_i64();
        let text = message["result"]["content"][0]["text"].as_str();
        self.id == message["id"]
            && (self.error.is_empty() || error.is_some_and(|code| self.error.contains(&code)))
            && self.tool.as_ref().is_none_or(|tool| text == Some(&format!("done: {tool}")))
            && self.outcome.as_ref().is_none_or(|word| outcome(message) == Some(word))
            && (!self.result || message.get("result").is_some())
    }
}

fn cases() -> Vec<Case> {
    CASES.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// In which era a client speaks: the cases are written for the stateless one, and hold in the other as well.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Era {
    Stateless,
    Sessions,
}

impl Era {
    fn bytes(self, step: &Step) -> Vec<u8> {
        let bytes = match step {
            Step::Text { text } => text.clone().into_bytes(),
            Step::Hex { hex: text } => hex(text),
            Step::Http { .. } => panic!("an HTTP step for the shim"),
        };
        match (self, String::from_utf8(bytes)) {
            (Era::Sessions, Ok(text)) => text.replace(META, "").replace(&META[1..], "").into_bytes(),
            (_, Ok(text)) => text.into_bytes(),
            (_, Err(error)) => error.into_bytes(),
        }
    }

    fn probe(self) -> Value {
        let mut probe = crate::harness::call("probe", "get_balance", json!({"probe": true}));
        if self == Era::Stateless {
            let meta: Value = serde_json::from_str(&format!("{{{}}}", &META[1..])).unwrap();
            probe["params"]["_meta"] = meta["_meta"].clone();
        }
        probe
    }
}

fn is_probe(received: &Received) -> bool {
    received.message["params"]["arguments"]["probe"] == true
}

/// What is judged of a run, gathered.
struct Run {
    answers: Vec<Value>,
    statuses: Vec<u16>,
    client: Vec<u8>,
    spy: Spy,
    records: Vec<Value>,
    probes: usize,
}

async fn through_the_shim(case: &Case, era: Era) -> Run {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim: Shim = daemon.raw_shim();
    if era == Era::Sessions {
        shim.initialize().await;
    }
    for step in &case.send {
        shim.write(&era.bytes(step)).await;
    }
    shim.send(&era.probe()).await;
    // Answers of the upstream may pass each other: whatever is expected has to come, and the probe.
    let mut answers = Vec::new();
    let (mut probed, mut missing) = (false, case.expect.answers.clone());
    while !probed || !missing.is_empty() {
        // What has not come well after the probe will not come.
        let patience = if probed { std::time::Duration::from_secs(5) } else { DEADLINE };
        let Ok(Some(message)) = tokio::time::timeout(patience, shim.next()).await else { break };
        if message["id"] == "probe" {
            assert_eq!(message["result"]["content"][0]["text"], "done: get_balance", "{} {era:?}: the probe", case.id);
            probed = true;
            continue;
        }
        if let Some(at) = missing.iter().position(|answer| answer.fits(&message)) {
            missing.remove(at);
        }
        answers.push(message);
    }
    let client = shim.traffic();
    let (rest, _) = shim.finish().await;
    answers.extend(rest);
    daemon.stop().await;
    // Decisions may pass each other: all that could reach the upstream has reached it when its input has ended.
    spy.until("the upstream's end", |spy| spy.closed() == spy.processes().len()).await;
    Run { answers, statuses: Vec::new(), client, spy, records: daemon.records().await, probes: 1 }
}

async fn over_http(case: &Case) -> Run {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let client: HttpClient = daemon.http();
    let (mut answers, mut statuses, mut traffic) = (Vec::new(), Vec::new(), Vec::new());
    for step in &case.send {
        let Step::Http { headers, body, body_hex } = step else { panic!("{}: not an HTTP step", case.id) };
        let body = body.clone().map(String::into_bytes).or_else(|| body_hex.as_deref().map(hex)).unwrap_or_default();
        let mut all = client.headers();
        all.retain(|(name, _)| !headers.keys().any(|other| other.eq_ignore_ascii_case(name)));
        all.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut reply = client.send("POST", &all, &body).await;
        statuses.push(reply.status);
        let text = reply.text().await;
        answers.extend(
            serde_json::from_str::<Value>(&text)
                .ok()
                .filter(|value| !case.expect.answers.is_empty() && value.is_object()),
        );
        traffic.extend_from_slice(&reply.traffic);
    }
    let mut live = daemon.http();
    live.initialize().await;
    live.call("probe", "get_balance", json!({"probe": true})).await;
    daemon.stop().await;
    spy.until("the upstream's end", |spy| spy.closed() == spy.processes().len()).await;
    Run { answers, statuses, client: traffic, spy, records: daemon.records().await, probes: 1 }
}

fn allowed(expect: &Expect, message: &Value) -> bool {
    let code = message["error"]["code"].as_i64();
    message["id"].is_null() && code.is_some_and(|code| expect.refusals_allowed.contains(&code))
}

/// Everything that is wrong with a run.
fn judge(case: &Case, run: &Run) -> Vec<String> {
    let mut wrong = Vec::new();
    let expect = &case.expect;
    let mut missing = expect.answers.clone();
    for message in &run.answers {
        match missing.iter().position(|answer| answer.fits(message)) {
            Some(at) => drop(missing.remove(at)),
            None if allowed(expect, message) => {}
            None => wrong.push(format!("the client got {message}")),
        }
    }
    wrong.extend(missing.iter().map(|answer| format!("the client did not get {answer:?}")));
    if !expect.status.is_empty() && !run.statuses.iter().all(|status| expect.status.contains(status)) {
        wrong.push(format!("the statuses are {:?}", run.statuses));
    }
    let handshake = ["initialize", "notifications/initialized", "server/discover"];
    let reached: Vec<String> = run
        .spy
        .received()
        .iter()
        .filter(|received| !is_probe(received) && !handshake.contains(&received.method()))
        .map(|received| format!("{} {}", received.method(), received.tool()).trim().to_owned())
        .collect();
    if reached != expect.upstream {
        wrong.push(format!("the upstream got {reached:?}, not {:?}", expect.upstream));
    }
    let bytes = String::from_utf8_lossy(&run.spy.bytes()).into_owned();
    wrong.extend(
        expect
            .upstream_without
            .iter()
            .filter(|part| bytes.contains(*part))
            .map(|part| format!("{part:?} reached the upstream")),
    );
    let client = String::from_utf8_lossy(&run.client).into_owned();
    wrong.extend(
        expect
            .client_without
            .iter()
            .filter(|part| client.contains(*part))
            .map(|part| format!("{part:?} reached the client")),
    );
    for (kind, count) in &expect.audit {
        let found = run.records.iter().filter(|record| record["kind"] == kind.as_str()).count();
        let probes = if matches!(kind.as_str(), "decided" | "completed") { run.probes } else { 0 };
        if found != count + probes {
            wrong.push(format!("{found} records of kind {kind}, not {}", count + probes));
        }
    }
    wrong
}

/// Runs every data case of an area, in both eras where it comes through the shim.
async fn run(area: &str) {
    let mut runs = Vec::new();
    for case in cases().into_iter().filter(|case| case.area == area && !case.code) {
        if case.front == Some(Front::Shim) {
            runs.push((case.clone(), Some(Era::Sessions)));
            runs.push((case, Some(Era::Stateless)));
        } else {
            runs.push((case, None));
        }
    }
    assert!(!runs.is_empty(), "{area} has no cases");
    let wrong: Vec<String> = futures_util::stream::iter(runs)
        .map(|(case, era)| async move {
            let run = match era {
                Some(era) => through_the_shim(&case, era).await,
                None => over_http(&case).await,
            };
            let wrong = judge(&case, &run);
            let name = format!("{} ({}, {era:?})", case.id, case.title);
            wrong.into_iter().map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
        })
        .buffer_unordered(TOGETHER)
        .concat()
        .await;
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[tokio::test]
async fn cases_of_parsing() {
    run("parsing").await;
}

#[tokio::test]
async fn cases_of_batches() {
    run("batch").await;
}

#[tokio::test]
async fn cases_of_duplicate_keys() {
    run("duplicate-keys").await;
}

#[tokio::test]
async fn cases_of_framing() {
    run("framing").await;
}

#[tokio::test]
async fn cases_of_methods() {
    run("methods").await;
}

#[tokio::test]
async fn cases_of_unicode() {
    run("unicode").await;
}

/// A case that is neither data nor a test must be explained.
#[test]
fn no_case_is_dropped() {
    for case in cases() {
        let name = format!("fn {}(", case.id.replace('-', "_"));
        let tested = CODE.iter().any(|text| text.contains(&name));
        let explained = README.contains(&format!("`{}`", case.id));
        assert!(!case.code || tested || explained, "{} ({}) is not run", case.id, case.title);
        assert!(case.code || !case.send.is_empty(), "{} sends nothing", case.id);
    }
}
