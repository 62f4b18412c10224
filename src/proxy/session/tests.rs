//! Nothing is lost: whatever passes a session, in either direction and era, arrives token for token as it was sent.
//! The methods come from the table, so a new row is covered as soon as it is there.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::audit::AuditLog;
use crate::call::{ClientInfo, Ended, Limits, Transport, fixtures};
use crate::config::{Budgets, Holds};
use crate::credential::scrub::Scrubber;
use crate::gate::{self, Gate};
use crate::json::Rules;
use crate::mcp::table::{self, Question, Row};
use crate::pins::Pins;
use crate::policy::PolicyEngine;
use crate::proxy::tasks::{Bounds, Tasks};
use crate::transport::http_client::HttpClient;
use crate::transport::stdio_upstream::StdioSpec;
use crate::transport::{Running, ToUpstream};

const ALLOW_ALL: &str =
    "package countersign.policy.all\nallow contains {\"rule\": \"all.all\", \"reason\": \"r\"} if input.method\n";

/// A session between two ends that the test holds.
struct Rig {
    to_session: mpsc::Sender<FromClient>,
    client: mpsc::Receiver<ToClient>,
    from_upstream: mpsc::Sender<FromUpstream>,
    upstream: mpsc::Receiver<ToUpstream>,
    gate: Arc<Gate>,
    ids: i64,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.rego");
        std::fs::write(&file, ALLOW_ALL).unwrap();
        let policy = PolicyEngine::load(crate::policy::Settings {
            builtin: vec![],
            paths: vec![file],
            // Unoptimized and beside other tests an evaluation may take long.
            time_limit: Duration::from_secs(5),
            ..crate::policy::Settings::default()
        });
        let audit = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
        let holds = gate::Settings {
            ttl: Duration::from_secs(60),
            no_console_grace: Duration::from_secs(20),
            take_back: Duration::ZERO,
            max_pending: 1,
            max_per_principal: 1,
            prompts_per_minute: 1000,
            batches: false,
            held_bytes: 1,
            unsigned_production: false,
            unsigned_elsewhere: true,
        };
        let (limits, tracker) = (Limits::default(), TaskTracker::new());
        let pins = Pins::open(&folder.path().join("pins.db"), audit.clone(), std::iter::empty()).unwrap();
        let shared = Shared {
            pins: Arc::new(pins),
            gate: Arc::new(Gate::new(policy.unwrap(), audit, holds)),
            scrubber: Arc::new(Scrubber::new(std::iter::empty())),
            http_client: HttpClient::new(limits, tracker.clone()).unwrap(),
            api: None,
            limits,
            tracker,
            stop: CancellationToken::new(),
            waits: Holds {
                ttl: holds.ttl,
                no_console_grace: holds.no_console_grace,
                take_back: Duration::ZERO,
                max_pending: 1,
                max_per_principal: 1,
                prompts_per_minute: 1000,
                batches: false,
                progress_every: Duration::from_secs(10),
                tasks: false,
                tasks_after: Duration::ZERO,
                budgets: Budgets { default: None, with_progress: None, clients: BTreeMap::new() },
            },
            tasks: Arc::new(Tasks::new(false, Bounds::default())),
        };
        let spec = StdioSpec {
            server: "test".into(),
            command: "none".into(),
            args: vec![],
            env: vec![],
            inherit: vec![],
            cwd: None,
            sandbox: None,
        };
        let server = ServerRuntime {
            facts: fixtures::server("test"),
            environment: fixtures::environment("test"),
            catalog: Arc::default(),
            definitions: Arc::default(),
            handles: Arc::default(),
            upstream: super::super::upstream::Kind::Stdio(spec),
            hidden: crate::credential::shape::Kinds::ALL,
            api: None,
            sessions: Arc::new(AtomicUsize::new(0)),
        };
        let (to_session, inbound) = mpsc::channel(8);
        let (outbound, client) = mpsc::channel(8);
        let (from_upstream, answers) = mpsc::channel(8);
        let (linked, upstream) = Upstream::linked(8);
        let new = NewSession {
            server: "test".into(),
            principal: fixtures::principal("agent", &[]),
            client: ClientInfo::silent(Transport::Stdio),
            link: ClientLink { inbound, outbound },
            replaced: CancellationToken::new(),
            running: Running::default(),
            lane: crate::transport::lanes::OnLane::none(),
        };
        let gate = Arc::clone(&shared.gate);
        tokio::spawn(serve(new, None, (linked, answers), None, Arc::new(shared), Arc::new(server)));
        Rig { to_session, client, from_upstream, upstream, gate, ids: 0, _folder: folder }
    }

    /// An id that is not in use, of either type, and of a type of its own for the other direction.
    fn id(&mut self) -> String {
        self.ids += 1;
        if self.ids % 2 == 0 { self.ids.to_string() } else { format!(r#""\u0069d/{}""#, self.ids) }
    }

    /// Sends to the upstream and checks what arrives there.
    async fn up(&mut self, text: &str) {
        self.to_session.send(FromClient::Message(Message::from_client(text).unwrap())).await.unwrap();
        let reached = tokio::time::timeout(Duration::from_secs(20), self.upstream.recv()).await;
        let reached = reached.unwrap_or_else(|_| panic!("did not arrive: {text}")).unwrap();
        let message = match reached {
            ToUpstream::Send(message) => message,
            ToUpstream::Call(message, leave) => {
                let sending = leave.sending();
                leave.attempt(|| ((), true)).unwrap();
                sending.ended(Ended::Taken);
                message
            }
            ToUpstream::Abandon(id) => panic!("{id} is abandoned"),
        };
        assert_eq!(message.text().as_str(), JsonText::parse(text, Rules::CLIENT).unwrap().as_str());
    }

    /// Sends to the client and checks what arrives there.
    async fn down(&mut self, text: &str) {
        let message = Message::from_upstream(text).unwrap();
        self.from_upstream.send(FromUpstream::Message { message, related: None }).await.unwrap();
        let reached = tokio::time::timeout(Duration::from_secs(20), self.client.recv()).await;
        let reached = reached.unwrap_or_else(|_| panic!("did not arrive: {text}")).unwrap();
        let ToClient::Message { text: arrived, .. } = reached else { panic!("{reached:?}") };
        assert_eq!(arrived.as_str(), JsonText::parse(text, Rules::UPSTREAM).unwrap().as_str());
    }

    /// A request, the answer to it, and what the upstream asks and tells in between.
    async fn round(&mut self, era: Era, request: &str, case: &Case) {
        let id = self.id();
        // What is decided has no parameters but those of the protocol: a call carries the others in its arguments.
        let (needs, free) = match table::request(era, request) {
            Some(Row::Decide(Decided::ToolsCall)) => {
                (format!(r#""name":"a","arguments":{{"b":1.50,"a":[]{}}},"#, more(&case.params)), String::new())
            }
            Some(Row::Decide(_)) => (needs(request).to_owned(), String::new()),
            _ => (needs(request).to_owned(), more(&case.params)),
        };
        let meta = match era {
            Era::Legacy => format!(r#""_meta":{{"progressToken":{id}{}}}"#, more(&case.meta)),
            Era::Modern => format!(
                r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":{id}{},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#,
                more(&case.meta)
            ),
        };
        let params = format!("{{{needs}{meta}{free}}}");
        self.up(&format!(r#"{{"id":{id},"jsonrpc":"2.0","method":"{request}","params":{params}}}"#)).await;
        for (notification, ..) in table::NEWS.iter().filter(|(method, ..)| table::news(era, method)) {
            // News of tasks have to be of a task; there is one from the start.
            let task = if notification.contains("tasks") { r#""taskId":"t","# } else { "" };
            let params = format!(r#"{{{task}"_meta":{{{}}}{}}}"#, plain(&case.meta), more(&case.news));
            self.down(&format!(
                r#"{{"jsonrpc":"2.0","method":"{notification}","params":{params}{}}}"#,
                more(&case.envelope)
            ))
            .await;
        }
        if era == Era::Legacy && matches!(table::request(era, request), Some(Row::Decide(_))) {
            for (question, ..) in table::QUESTIONS {
                let Some(row) = table::question(era, question) else { continue };
                self.question(question, row, case).await;
            }
        }
        let body = match &case.error {
            Some(data) => format!(r#""error":{{"code":-7,"message":"é","data":{data}{}}}"#, more(&case.answer)),
            None => {
                let tools = if request == "tools/list" {
                    r#""tools":[{"x":1.0,"name":"a"},{"name":"b","_meta":{}}],"#
                } else {
                    ""
                };
                let tasks = if request == "tasks/list" { r#""tasks":[{"y":1e2,"taskId":"t"}],"# } else { "" };
                format!(r#""result":{{{tools}{tasks}"_meta":{{{}}}{}}}"#, plain(&case.meta), more(&case.answer))
            }
        };
        self.down(&format!(r#"{{"jsonrpc":"2.0",{body},"id":{id}{}}}"#, more(&case.envelope))).await;
    }

    async fn question(&mut self, method: &str, row: Question, case: &Case) {
        let id = self.id();
        let params = format!(r#"{{"_meta":{{{}}}{}}}"#, plain(&case.meta), more(&case.news));
        self.down(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}{}}}"#,
            more(&case.envelope)
        ))
        .await;
        assert!(row.needs.is_none() || row.needs.is_some_and(|needs| CAPABILITIES.contains(needs)));
        let body = match &case.error {
            Some(data) => {
                format!(r#""error":{{"code":-1,"message":"no","data":{}}}"#, if is_exact(data) { data } else { "1.50" })
            }
            None => format!(r#""result":{{"action":"accept"{}}}"#, more(&case.params)),
        };
        self.up(&format!(r#"{{"jsonrpc":"2.0","id":{id},{body}}}"#)).await;
    }
}

const CAPABILITIES: &str =
    r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{},"tasks":{"list":{}},"vendor/x":[1.0]}"#;

/// What a method's parameters have to have.
fn needs(method: &str) -> &'static str {
    match method {
        "prompts/get" => r#""name":"p","#,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => r#""uri":"x://y","#,
        "completion/complete" => r#""ref":{"type":"ref/prompt","name":"p"},"#,
        "subscriptions/listen" => r#""notifications":{"taskIds":["t"],"resourceSubscriptions":["x://y"]},"#,
        "tasks/update" => r#""taskId":"\u0074","inputResponses":{"k":{"z":1.0}},"#,
        method if method.starts_with("tasks/") && method != "tasks/list" => r#""taskId":"t","#,
        _ => "",
    }
}

/// What is added to the messages of one round: members of objects as text.
#[derive(Clone, Debug)]
struct Case {
    params: Vec<String>,
    meta: Vec<String>,
    news: Vec<String>,
    answer: Vec<String>,
    envelope: Vec<String>,
    /// The answer is an error with this data.
    error: Option<String>,
}

fn plain(members: &[String]) -> String {
    members.join(",")
}

fn more(members: &[String]) -> String {
    members.iter().map(|member| format!(",{member}")).collect()
}

/// Whether a client may send it.
fn is_exact(text: &str) -> bool {
    JsonText::parse(text, Rules::CLIENT).is_ok()
}

/// Keys that peers use and we do not model, in spellings that a tree would not keep.
const KEYS: &[&str] = &[
    "\"vendor/x\"",
    "\"execution\"",
    "\"task\"",
    "\"icons\"",
    "\"annotations\"",
    "\"nextCursor\"",
    "\"cursor\"",
    "\"capabilities\"",
    "\"\\u0041b\"",
    "\"é\"",
    "\"😀\"",
    "\"structuredContent\"",
    "\"traceparent\"",
    "\"\"",
    "\"statusMessage\"",
    "\"__proto__\"",
    "\"a b\\/c\"",
    "\"total\"",
];
const EXACT: &[&str] = &[
    "0",
    "-0",
    "1.0",
    "1.50",
    "1e2",
    "1E+2",
    "100.0",
    "9007199254740993",
    "18446744073709551615",
    "0.1",
    "true",
    "false",
    "null",
    "\"\"",
    "\"\\u0041\"",
    "\"\\/\"",
    "\"/\"",
    "\"\\ud83d\\ude00\"",
    "\"😀\"",
    "\"a\\u2028b\"",
    "{}",
    "[]",
];
const INEXACT: &[&str] = &["12345678901234567890123", "0.1000000000000000055", "1e400", "-1E-400"];

fn value(leaves: Vec<&'static str>) -> impl Strategy<Value = String> {
    let text = any::<String>().prop_map(|text| serde_json::Value::String(text).to_string());
    let leaf = prop_oneof![3 => proptest::sample::select(leaves).prop_map(str::to_owned), 1 => text];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            members(inner, 3).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

fn members(value: impl Strategy<Value = String>, most: usize) -> impl Strategy<Value = Vec<String>> {
    let keys = proptest::sample::subsequence(KEYS, 0..=most).prop_shuffle();
    (keys, prop::collection::vec(value, most))
        .prop_map(|(keys, values)| keys.into_iter().zip(values).map(|(key, value)| format!("{key}:{value}")).collect())
}

fn cases() -> impl Strategy<Value = Case> {
    let client = || members(value(EXACT.to_vec()), 4);
    let any = || value([EXACT, INEXACT].concat());
    let server = move || members(any(), 4);
    (client(), client(), server(), server(), server(), proptest::option::weighted(0.3, any()))
        .prop_map(|(params, meta, news, answer, envelope, error)| Case { params, meta, news, answer, envelope, error })
}

/// Runs every method of an era through one session, again and again.
fn nothing_is_lost(era: Era) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let rig = runtime.block_on(async {
        let mut rig = Rig::start().await;
        if era == Era::Legacy {
            let params = format!(
                r#"{{"protocolVersion":"2025-11-25","capabilities":{CAPABILITIES},"clientInfo":{{}},"x":1.0}}"#
            );
            rig.up(&format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#)).await;
            rig.down(r#"{"jsonrpc":"2.0","id":0,"result":{"capabilities":{"vendor/y":1.50},"protocolVersion":"x"}}"#)
                .await;
            rig.up(r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":{"_meta":{"v":1.0}}}"#).await;
            rig.up(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#).await;
            rig.up(r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"c","x":1E2}}"#).await;
        }
        // The task that later requests are about.
        let (asks, becomes) = match era {
            Era::Modern => (
                concat!(
                    r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
                    r#""io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#,
                ),
                r#""taskId":"t","resultType":"task""#,
            ),
            Era::Legacy => (r#""task":{"ttl":1.0}"#, r#""task":{"taskId":"t"}"#),
        };
        rig.up(&format!(r#"{{"jsonrpc":"2.0","id":-1,"method":"tools/call","params":{{"name":"a",{asks}}}}}"#)).await;
        rig.down(&format!(r#"{{"jsonrpc":"2.0","id":-1,"result":{{{becomes}}}}}"#)).await;
        std::sync::Mutex::new(rig)
    });
    let methods: Vec<_> =
        table::REQUESTS.iter().map(|row| row.0).filter(|method| table::request(era, method).is_some()).collect();
    assert!(methods.len() > 10);
    let mut runner =
        TestRunner::new(Config { cases: 24, max_shrink_iters: 0, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&cases(), |case| {
        for method in methods.iter().filter(|method| **method != "initialize") {
            runtime.block_on(rig.lock().unwrap().round(era, method, &case));
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn nothing_is_lost_up_to_2025_11_25() {
    nothing_is_lost(Era::Legacy);
}

#[test]
fn nothing_is_lost_from_2026_07_28_on() {
    nothing_is_lost(Era::Modern);
}

/// The form of an answer is told to whoever waits for it, and to nobody else.
#[tokio::test]
async fn only_a_client_that_waits_is_told_the_form_of_its_answer() {
    let mut rig = Rig::start().await;
    rig.up(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
    for id in [7, 1] {
        rig.from_upstream.send(FromUpstream::Streams { id: Id::Number(id) }).await.unwrap();
        rig.from_upstream.send(FromUpstream::Pauses { id: Id::Number(id) }).await.unwrap();
    }
    assert!(matches!(rig.client.recv().await, Some(ToClient::Waiting(Id::Number(1)))));
    assert!(matches!(rig.client.recv().await, Some(ToClient::Later(Id::Number(1)))));
    rig.up(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).await;
    rig.from_upstream.send(FromUpstream::Streams { id: Id::Number(1) }).await.unwrap();
    rig.down(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#).await;
}

/// Whether a server has taken an answer to its question is known to the link alone, and recorded as far as it is.
#[tokio::test]
async fn an_answer_that_was_lost_on_its_way_is_not_recorded_as_taken() {
    let cases = [
        (Some(Ended::Taken), "ok"),
        (Some(Ended::Refused("no".to_owned())), "error"),
        (Some(Ended::NotSent("no".to_owned())), "not_sent"),
        (None, "outcome_unknown"),
    ];
    for (how, result) in cases {
        let mut rig = Rig::start().await;
        let hello = format!(r#"{{"protocolVersion":"2025-11-25","capabilities":{CAPABILITIES},"clientInfo":{{}}}}"#);
        rig.up(&format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{hello}}}"#)).await;
        rig.down(r#"{"jsonrpc":"2.0","id":0,"result":{"capabilities":{},"protocolVersion":"2025-11-25"}}"#).await;
        rig.up(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{}}}"#).await;
        let question = r#""params":{"message":"Sure?","requestedSchema":{"type":"object","properties":{}}}"#;
        rig.down(&format!(r#"{{"jsonrpc":"2.0","id":"q","method":"elicitation/create",{question}}}"#)).await;
        let answer = r#"{"jsonrpc":"2.0","id":"q","result":{"action":"decline"}}"#;
        rig.to_session.send(FromClient::Message(Message::from_client(answer).unwrap())).await.unwrap();
        let reached = tokio::time::timeout(Duration::from_secs(20), rig.upstream.recv()).await.unwrap();
        let Some(ToUpstream::Call(_, leave)) = reached else { panic!("{reached:?}") };
        let sending = leave.sending();
        leave.attempt(|| ((), true)).unwrap();
        match how {
            Some(how) => sending.ended(how),
            None => drop(sending),
        }
        let recorded = async {
            loop {
                let page = rig.gate.records(None, 100, None).await.unwrap();
                if let Some(line) = page.lines.iter().find(|line| line.kind == "completed") {
                    return line.words.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        let words = tokio::time::timeout(Duration::from_secs(20), recorded).await.unwrap();
        assert!(words.starts_with(&format!("{result}, ")), "{words}");
    }
}
