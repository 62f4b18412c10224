//! The whole gate under a stream of random events with a clock of its own: clients that ask, cancel and go, operators who
//! rule, claim, take back, freeze and pause, policies that are loaded, a store that fails, restarts. What reached the
//! upstream is judged by the records alone. A failure names its seed.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::gate::stops;

const STEPS: usize = 1000;
const SEEDS: [u64; 3] = [1, 20_261_121, 0xC0DE];

/// A small generator, so that a seed says everything (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let sides = u64::try_from(from.len()).unwrap();
        (sides > 0).then(|| &from[usize::try_from(self.roll(sides)).unwrap()])
    }
}

/// What left: call, the hold that released it, the bytes.
type Upstream = Arc<Mutex<Vec<(CallId, Option<CallId>, String)>>>;

struct Client {
    id: CallId,
    presence: Presence,
    task: tokio::task::JoinHandle<()>,
}

struct Sim {
    dice: Dice,
    folder: tempfile::TempDir,
    gate: Arc<Gate>,
    keeper: (CancellationToken, tokio::task::JoinHandle<()>),
    clients: Vec<Client>,
    upstream: Upstream,
    asked: HashMap<CallId, String>,
    /// Records at the restarts: what was approved before counts no more.
    restarts: Vec<u64>,
    sessions: Vec<OpenSession>,
}

fn policy(kind: u64) -> String {
    let (terms, deny) = match kind {
        0 => (r#""approvals": 1"#, ""),
        1 => (r#""approvals": 2"#, ""),
        _ => (
            r#""approvals": 1"#,
            "deny contains {\"rule\": \"sim.deny\", \"reason\": \"not now\"} if input.arguments.amount == 3\n",
        ),
    };
    format!(
        "package countersign.policy.sim\n\nhold contains {{\"rule\": \"sim.hold\", \"reason\": \"ask\", {terms}}} if input.arguments.amount > 0\n{deny}"
    )
}

fn begin(folder: &Path) -> Arc<Gate> {
    let policy = Policy {
        builtin: vec!["scopes".into()],
        paths: vec![folder.join("policies")],
        time_limit: Duration::from_secs(60),
        ..Policy::default()
    };
    let holds = Settings {
        ttl: Duration::from_secs(60),
        no_console_grace: Duration::from_secs(3600),
        take_back: Duration::from_secs(3),
        max_pending: 20,
        max_per_principal: 20,
        prompts_per_minute: 10_000,
        batches: false,
        held_bytes: 1 << 20,
        unsigned_production: true,
        unsigned_elsewhere: true,
    };
    let audit = AuditLog::open(&folder.join("audit.db"), false).unwrap();
    Arc::new(Gate::new(PolicyEngine::load(policy).unwrap(), audit, holds))
}

fn keep(gate: &Arc<Gate>) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let (stop, gate) = (CancellationToken::new(), Arc::clone(gate));
    let until = stop.clone();
    (stop, tokio::spawn(async move { gate.keep_time(until).await }))
}

fn refund(amount: u64) -> ToolCall {
    let text = |text: &str| JsonText::parse(text, Rules::CLIENT).unwrap();
    let arguments = format!(r#"{{"amount":{amount}}}"#);
    let params = format!(r#"{{"name":"refund","arguments":{arguments}}}"#);
    let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let id = CallId::random().unwrap();
    ToolCall::new(id, Decided::ToolsCall, "refund".into(), text(&arguments), text(&params), text(&message))
}

fn asks(session: &str, class: Class) -> CallContext {
    let context = fixtures::context("refund", class);
    CallContext { principal: fixtures::principal("agent", &["*/*"]), session: session.to_owned(), ..context }
}

impl Sim {
    fn new(seed: u64) -> Sim {
        // In memory where there is some: every record is synced.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        std::fs::write(folder.path().join("policies/sim.rego"), policy(0)).unwrap();
        let gate = begin(folder.path());
        let keeper = keep(&gate);
        let mut sim = Sim {
            dice: Dice(seed),
            folder,
            gate,
            keeper,
            clients: Vec::new(),
            upstream: Upstream::default(),
            asked: HashMap::new(),
            restarts: Vec::new(),
            sessions: Vec::new(),
        };
        sim.open_sessions();
        sim
    }

    fn open_sessions(&mut self) {
        self.sessions = ["one", "two"]
            .map(|session| self.gate.open_session(&asks(session, Class::Financial), CancellationToken::new()))
            .into();
    }

    async fn step(&mut self) {
        match self.dice.roll(100) {
            0..24 => self.ask(),
            24..54 => self.rule().await,
            54..60 => self.take_back().await,
            60..64 => self.go(),
            64..70 => tokio::time::advance(Duration::from_secs(3)).await,
            70..82 => tokio::time::advance(Duration::from_millis(self.dice.roll(4000))).await,
            82..85 => tokio::time::advance(Duration::from_secs(20)).await,
            85..87 => self.claim().await,
            87..89 => self.reopen().await,
            89..92 => self.reload().await,
            92..94 => self.fail_for_a_while().await,
            94..97 => self.freeze().await,
            97..99 => self.stop_a_session().await,
            _ if self.dice.roll(2) == 0 => self.restart().await,
            _ => {}
        }
        // Whoever was woken goes on before the next event, or not.
        for _ in 0..self.dice.roll(6) {
            tokio::task::yield_now().await;
        }
    }

    fn ask(&mut self) {
        let call = refund(self.dice.roll(4));
        let class = if self.dice.roll(4) == 0 { Class::Read } else { Class::Financial };
        let session = if self.dice.roll(2) == 0 { "one" } else { "two" };
        let (id, presence) = (call.id().clone(), Presence::default());
        self.asked.insert(id.clone(), call.message().as_str().to_owned());
        let patience = (self.dice.roll(4) == 0).then(|| tokio::time::Instant::now() + Duration::from_secs(10));
        let (gate, upstream) = (Arc::clone(&self.gate), Arc::clone(&self.upstream));
        let here = presence.clone().until(&gate, patience);
        let waits = self.dice.roll(12);
        let task = tokio::spawn(async move {
            let context = asks(session, class);
            let permit = match gate.admit(Box::new(call), Box::new(context), &here).await {
                Ok(Admission::Permitted(permit)) => permit,
                Ok(Admission::Held(held)) => match held.wait(&here, patience).await {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
                Err(_) => return,
            };
            let hold = permit.hold().cloned();
            let message = permit.call().message().as_str().to_owned();
            let sent = permit.release();
            // Its link takes its time.
            for _ in 0..waits {
                tokio::task::yield_now().await;
            }
            let left = sent.leave().attempt(|| {
                assert!(here.left().is_none(), "left after its end");
                if gate.frozen().is_some() && class != Class::Read {
                    let hold = gate.holds().find(hold.as_ref().expect("left while frozen")).unwrap();
                    assert!(hold.decision.rules.iter().any(|rule| rule.rule == stops::FROZEN), "left while frozen");
                }
                assert!(gate.sessions.paused(session).is_none(), "left while paused");
                upstream.lock().unwrap().push((sent.id().clone(), hold, message));
                ((), true)
            });
            match (left, sent.leave().refused()) {
                (Ok(()), None) => gate.completed(sent, crate::audit::Answer::Ok, 0, None, None).await,
                (Err(_), Some((outcome, why))) => drop(gate.stayed(sent, outcome, &why).await),
                both => panic!("left and did not: {both:?}"),
            }
        });
        self.clients.push(Client { id, presence, task });
        self.clients.retain(|client| !client.task.is_finished());
    }

    async fn rule(&mut self) {
        let mut open = self.gate.holds().all();
        // Mostly what can be ruled on.
        if self.dice.roll(8) > 0 {
            open.retain(|hold| hold.state == State::Pending);
        }
        let Some(hold) = self.dice.pick(&open).cloned() else { return };
        let wrong = self.dice.roll(10) == 0;
        let digest = if wrong { Digest::of_bytes(b"another") } else { hold.digest };
        let says = match self.dice.roll(5) {
            0 => Says::Reject { reason: "no".into() },
            _ => Says::Approve { reason: None },
        };
        let operator = if self.dice.roll(2) == 0 { "ana" } else { "ben" };
        let ruled = self.gate.rule(Ruling::new(hold.id, digest, operator.into(), says)).await;
        assert!(!wrong || ruled.is_err(), "a ruling on another digest counted");
    }

    async fn take_back(&mut self) {
        let mut open = self.gate.holds().all();
        open.retain(|hold| !matches!(hold.state, State::Pending));
        let Some(hold) = self.dice.pick(&open) else { return };
        let _ = self.gate.take_back(hold.id(), "ana").await;
    }

    async fn reopen(&mut self) {
        let mut over = self.gate.holds().all();
        over.retain(|hold| matches!(hold.state, State::Closed { .. }));
        let Some(hold) = self.dice.pick(&over) else { return };
        let _ = self.gate.reopen(hold.id(), hold.digest, "ana").await;
    }

    async fn claim(&mut self) {
        let open = self.gate.holds().all();
        let Some(hold) = self.dice.pick(&open) else { return };
        let _ = self.gate.lease(hold.id(), "ben", LeaseAct::Take).await;
    }

    fn go(&mut self) {
        let Some(client) = self.dice.pick(&self.clients) else { return };
        client.presence.leave(Outcome::Withdrawn, "the client cancelled the call");
    }

    async fn reload(&mut self) {
        std::fs::write(
            self.folder.path().join("policies/sim.rego"),
            policy([0, 0, 1, 2][usize::try_from(self.dice.roll(4)).unwrap()]),
        )
        .unwrap();
        self.gate.reload().await.unwrap();
    }

    async fn fail_for_a_while(&mut self) {
        self.gate.audit().execute("PRAGMA query_only = 1");
        for _ in 0..3 {
            self.rule().await;
            self.take_back().await;
            self.reopen().await;
            self.ask();
            tokio::time::advance(Duration::from_millis(1500)).await;
            tokio::task::yield_now().await;
        }
        self.gate.audit().execute("PRAGMA query_only = 0");
    }

    async fn freeze(&mut self) {
        if self.gate.frozen().is_none() {
            (0..3).for_each(|_| self.ask());
            for _ in 0..self.dice.roll(8) {
                tokio::task::yield_now().await;
            }
            let _ = self.gate.freeze("ana", Some("look".into())).await;
            let open =
                |hold: &Hold| matches!(hold.state, State::Pending | State::Leaving { .. } | State::Ticket { .. });
            let told = |hold: &Hold| hold.decision.rules.iter().any(|rule| rule.rule == stops::FROZEN);
            let writes = |hold: &Hold| hold.context.operation.class != Class::Read;
            let holds = self.gate.holds().all();
            assert!(holds.iter().all(|hold| !open(hold) || !writes(hold) || told(hold)), "something still waits");
        }
        if self.dice.roll(2) == 0 {
            let _ = self.gate.unfreeze("ben", None).await;
        }
    }

    async fn stop_a_session(&mut self) {
        let session = if self.dice.roll(2) == 0 { "one" } else { "two" };
        if self.gate.sessions.paused(session).is_none() {
            if self.dice.roll(3) > 0 {
                return;
            }
            let _ = self.gate.pause(session, "ana", None).await;
        } else {
            let _ = self.gate.resume(session, "ana", None).await;
        }
    }

    /// Everybody goes, and everything ends.
    async fn drain(&mut self) {
        for client in &self.clients {
            client.presence.leave(Outcome::ShuttingDown, "countersign is shutting down");
        }
        for client in self.clients.drain(..) {
            client.task.await.unwrap_or_else(|error| panic!("call {}: {error}", client.id));
        }
        self.keeper.0.cancel();
        (&mut self.keeper.1).await.unwrap();
    }

    async fn restart(&mut self) {
        self.drain().await;
        self.sessions.clear();
        self.gate.audit().clone().close().await;
        self.gate = begin(self.folder.path());
        self.keeper = keep(&self.gate);
        self.restarts.push(self.gate.audit().records());
        self.open_sessions();
    }

    /// What reached the upstream, by the records.
    async fn judge(mut self) -> usize {
        self.drain().await;
        let reader = self.gate.audit().reader().unwrap();
        let mut records = Vec::new();
        reader
            .scan(1, |record| {
                records.push(record);
                true
            })
            .unwrap();
        let (mut approved, mut sending) = (HashSet::new(), HashSet::new());
        let mut restarts = self.restarts.iter().peekable();
        for record in &records {
            while restarts.next_if(|at| record.seq > **at).is_some() {
                approved.clear();
            }
            let Some(call) = &record.call else { continue };
            let body = JsonText::parse(record.body.as_str(), Rules::UPSTREAM).unwrap();
            let member = |name: &str| body.view().get(name).map(|value| value.text().trim_matches('"').to_owned());
            match record.kind.as_str() {
                "ruled"
                    if member("ruling").as_deref() == Some("approve")
                        && member("effective").as_deref() == Some("true") =>
                {
                    approved.insert(call.clone());
                }
                // Whatever was said before: it is asked about anew.
                "reopened" => drop(approved.remove(call)),
                "taken_back" => assert!(approved.remove(call), "taken back and never approved"),
                "sending" => {
                    let hold = member("approved_as").unwrap_or_else(|| call.clone());
                    assert!(approved.remove(&hold), "{call}: no approval of {hold} was left");
                    assert!(sending.insert(call.clone()), "{call}: twice");
                }
                _ => {}
            }
        }
        let upstream = self.upstream.lock().unwrap();
        let mut seen = HashSet::new();
        for (call, hold, message) in upstream.iter() {
            assert!(seen.insert(call.clone()), "{call} was sent twice");
            assert_eq!(self.asked.get(call), Some(message), "what was sent is what was asked");
            assert!(hold.is_none() || sending.contains(call.as_str()), "{call} was sent without its record");
        }
        upstream.iter().filter(|(_, hold, _)| hold.is_some()).count()
    }
}

/// How many held calls were sent.
fn simulate(seed: u64) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // While a thread works time stands still: here one works for all of the run, so that it moves by `advance` alone.
        let (over, until) = std::sync::mpsc::channel::<()>();
        let clock = tokio::task::spawn_blocking(move || until.recv());
        let mut sim = Sim::new(seed);
        for _ in 0..STEPS {
            sim.step().await;
        }
        let sent = sim.judge().await;
        drop(over);
        let _ = clock.await;
        sent
    })
}

#[test]
fn whatever_happens_what_leaves_was_approved_recorded_and_not_taken_back() {
    let mut sent = 0;
    for seed in SEEDS {
        let ran = std::panic::catch_unwind(|| simulate(seed));
        assert!(ran.is_ok(), "seed {seed}");
        sent += ran.unwrap_or(0);
    }
    assert!(sent > 10, "runs in which little happens prove little: {sent} held calls were sent");
}
