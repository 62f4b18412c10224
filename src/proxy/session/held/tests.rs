//! Sessions in this process, for times that no configuration sets: nobody asks for a task any more.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::*;
use crate::audit::AuditLog;
use crate::call::{ClientInfo, Environment, Limits, Outcome, Principal, PrincipalKind, ServerFacts, Transport};
use crate::config::{Budgets, Holds};
use crate::credential::scrub::Scrubber;
use crate::gate::{Gate, Hold, Ruling, Says, Settings, State};
use crate::pins::Pins;
use crate::policy::PolicyEngine;
use crate::proxy::tasks::{Bounds, Tasks};
use crate::proxy::upstream::Kind;
use crate::transport::Running;
use crate::transport::http_client::HttpClient;
use crate::transport::stdio_upstream::StdioSpec;

const POLICY: &str = r#"package countersign.policy.fixture

allow contains {"rule": "fixture.allow", "reason": "may be asked for"} if input.method

hold contains {"rule": "fixture.hold", "reason": "a person looks"} if true
"#;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}}}"#;

struct Scene {
    shared: Arc<Shared>,
    server: Arc<ServerRuntime>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(bounds: Bounds) -> Scene {
        // It reads what it gets and says nothing.
        Scene::with_server(bounds, "cat > /dev/null")
    }

    fn with_server(bounds: Bounds, script: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("policies");
        std::fs::create_dir(&rules).unwrap();
        std::fs::write(rules.join("fixture.rego"), POLICY).unwrap();
        let policy = crate::policy::Settings {
            builtin: Vec::new(),
            paths: vec![rules],
            time_limit: Duration::from_secs(5),
            ..crate::policy::Settings::default()
        };
        let settings = Settings {
            ttl: Duration::from_secs(60),
            no_console_grace: Duration::from_secs(60),
            take_back: Duration::ZERO,
            max_pending: 10,
            max_per_principal: 10,
            prompts_per_minute: 1000,
            batches: false,
            held_bytes: 1 << 20,
            unsigned_production: true,
            unsigned_elsewhere: true,
        };
        let audit = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
        let tracker = TaskTracker::new();
        let limits = Limits::default();
        let waits = Holds {
            ttl: settings.ttl,
            no_console_grace: settings.no_console_grace,
            take_back: Duration::ZERO,
            max_pending: 10,
            max_per_principal: 10,
            prompts_per_minute: 1000,
            batches: false,
            progress_every: Duration::from_secs(10),
            tasks: true,
            tasks_after: Duration::ZERO,
            budgets: Budgets { default: None, with_progress: None, clients: Default::default() },
        };
        let pins = Pins::open(&folder.path().join("pins.db"), audit.clone(), std::iter::empty()).unwrap();
        let shared = Shared {
            pins: Arc::new(pins),
            gate: Arc::new(Gate::new(PolicyEngine::load(policy).unwrap(), audit, settings)),
            scrubber: Arc::new(Scrubber::new(std::iter::empty())),
            http_client: HttpClient::new(limits, tracker.clone()).unwrap(),
            api: None,
            limits,
            tracker,
            stop: CancellationToken::new(),
            waits,
            tasks: Arc::new(Tasks::new(true, bounds)),
        };
        let environment = Environment::declared("sandbox");
        let server = ServerRuntime {
            facts: Arc::new(ServerFacts { name: "billing".into(), vendor: None, catalog: None }),
            environment: Arc::new(environment),
            catalog: Arc::default(),
            definitions: Arc::default(),
            handles: Arc::default(),
            upstream: Kind::Stdio(StdioSpec {
                server: "billing".into(),
                command: "sh".into(),
                args: vec!["-c".into(), script.into()],
                env: Vec::new(),
                inherit: Vec::new(),
                cwd: None,
                sandbox: None,
            }),
            hidden: crate::credential::shape::Kinds::ALL,
            api: None,
            sessions: Arc::default(),
        };
        Scene { shared: Arc::new(shared), server: Arc::new(server), _folder: folder }
    }

    /// Makes the call over a connection that ends with its answer.
    async fn call(&self, transport: Transport) -> (String, tokio::task::JoinHandle<()>) {
        let (_, task, session) = self.call_and_stay(transport).await;
        (task, session)
    }

    async fn call_and_stay(
        &self,
        transport: Transport,
    ) -> (mpsc::Sender<FromClient>, String, tokio::task::JoinHandle<()>) {
        let (to_session, inbound) = mpsc::channel(4);
        let (outbound, mut from_session) = mpsc::channel(4);
        let client = ClientInfo::silent(transport);
        let principal = Principal::plain("agent", PrincipalKind::Uid, Vec::new());
        let new = NewSession {
            server: "billing".into(),
            principal: Arc::new(principal),
            client,
            link: ClientLink { inbound, outbound },
            replaced: CancellationToken::new(),
            running: Running::default(),
            lane: crate::transport::lanes::OnLane::none(),
        };
        let session = tokio::spawn(run(new, Arc::clone(&self.shared), Arc::clone(&self.server)));
        to_session.send(FromClient::Message(Message::from_client(CALL).unwrap())).await.unwrap();
        let Some(ToClient::Message { text, .. }) = from_session.recv().await else { panic!("no answer") };
        let task = text.view().pointer("/result/taskId").unwrap_or_else(|| panic!("{text:?}"));
        (to_session, task.as_str().unwrap().into_owned(), session)
    }

    fn holds(&self) -> Vec<Hold> {
        self.shared.gate.holds().all()
    }

    async fn approve(&self) {
        let hold = self.holds().remove(0);
        let ruling = Ruling::new(hold.id, hold.digest, "operator".into(), Says::Approve { reason: None });
        self.shared.gate.rule(ruling).await.unwrap();
    }

    /// What the task says of itself, as soon as it is in this state.
    async fn task(&self, id: &str, status: &str) -> String {
        let params = format!(
            r#"{{"taskId":"{id}","_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{"extensions":{{"io.modelcontextprotocol/tasks":{{}}}}}}}}}}"#
        );
        let ask = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tasks/get","params":{params}}}"#);
        let ask = Message::from_client(ask).unwrap();
        let owner = Owner { principal: "agent".into(), server: "billing".into() };
        let state = format!(r#""status":"{status}""#);
        let reached = async {
            loop {
                let said = self.shared.tasks.answer(&ask, &owner).unwrap().as_str().to_owned();
                if said.contains(&state) {
                    return said;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached).await.unwrap()
    }

    fn was_withdrawn(&self) -> bool {
        matches!(&self.holds()[0].state, State::Closed { outcome: Outcome::Withdrawn, .. })
    }
}

/// Trap of every task: nobody polls, somebody approves.
#[tokio::test]
async fn a_task_that_nobody_asks_for_is_withdrawn() {
    let scene = Scene::new(Bounds { silence: Duration::from_millis(50), ..Bounds::default() });
    let (task, session) = scene.call(Transport::Http).await;
    session.await.unwrap();
    assert!(scene.was_withdrawn(), "{:?}", scene.holds()[0].state);
    assert!(!scene.shared.tasks.goes_on(&task));
}

/// Over HTTP the connection is the request's. On stdio it is the client.
#[tokio::test]
async fn a_task_outlives_its_post_but_not_its_process() {
    let scene = Scene::new(Bounds::default());
    let (task, session) = scene.call(Transport::Stdio).await;
    session.await.unwrap();
    assert!(scene.was_withdrawn() && !scene.shared.tasks.goes_on(&task));

    let scene = Scene::new(Bounds::default());
    let (task, session) = scene.call(Transport::Http).await;
    assert_eq!((scene.holds()[0].state.clone(), scene.holds()[0].waiting), (State::Pending, 1));
    scene.shared.stop.cancel();
    session.await.unwrap();
    assert!(matches!(&scene.holds()[0].state, State::Closed { outcome: Outcome::ShuttingDown, .. }));
    assert!(!scene.shared.tasks.goes_on(&task));
}

/// A server that asks before it does anything, and one that asks in the middle of its task.
const ASKS: &str = r#"read -r call
echo '{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{}}}}}'
cat > /dev/null"#;
const ASKS_IN_ITS_TASK: &str = r#"read -r call
echo '{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"t","status":"working","pollIntervalMs":1}}'
while read -r line; do
    id=$(printf '%s' "$line" | sed 's/^[^}]*"id":"\([^"]*\)".*/\1/')
    echo '{"jsonrpc":"2.0","id":"'"$id"'","result":{"resultType":"complete","taskId":"t","status":"input_required","pollIntervalMs":1,"inputRequests":{"a":{"method":"elicitation/create","params":{}}}}}'
done"#;

/// Nobody waits for ever for an answer: not the connection to the server, and not its task.
#[tokio::test]
async fn a_question_that_nobody_answers_ends() {
    for script in [ASKS, ASKS_IN_ITS_TASK] {
        let bounds = Bounds { answer_within: Duration::from_millis(50), ..Bounds::default() };
        let scene = Scene::with_server(bounds, script);
        let (task, session) = scene.call(Transport::Http).await;
        scene.approve().await;
        assert!(scene.task(&task, "cancelled").await.contains("not answered in time"));
        session.await.unwrap();
    }
}

#[tokio::test]
async fn a_question_ends_with_the_session_of_its_call() {
    for stops in [true, false] {
        let scene = Scene::with_server(Bounds::default(), ASKS);
        let (to_session, task, session) = scene.call_and_stay(Transport::Stdio).await;
        scene.approve().await;
        assert!(scene.task(&task, "input_required").await.contains(r#""inputRequests":{"a":"#));
        if stops {
            scene.shared.stop.cancel();
        } else {
            drop(to_session);
        }
        scene.task(&task, "cancelled").await;
        session.await.unwrap();
    }
}
