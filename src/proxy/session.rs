//! READ THIS FIRST. One client session: one client link, one upstream connection, and everything between them.
//!
//! ```text
//! client message ─> method table ─┬─ decide ─> gate ─> permitted ─> upstream
//!                                 │              └──> held ──wait──> permitted | refusal ─> client
//!                                 ├─ pass ───────────────────────> upstream
//!                                 └─ refuse ─────────────────────> client
//! upstream message ─> scrubbed ─> matched by id ─> filtered, recorded ─> client
//! ```
//! The loop never waits for a decision or for an operator: those are tasks that it hears from beside its links. It never
//! waits for an upstream either. An answer is passed on only where its request has really been sent.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use crate::audit::Event;
use crate::call::{Bound, CallContext, Decided, Outcome, Refusal, ToolCall, Transport};
use crate::catalog::Handles;
use crate::credential::scrub::Scrubbed;
use crate::gate::{Admission, Gate, OpenSession, PermittedCall, Presence, SentCall};
use crate::json::{JsonText, Kind};
use crate::mcp::definitions;
use crate::mcp::loss::{Loss, NO_ANSWER, OVERLOADED};
use crate::mcp::message::{Era, INVALID_REQUEST, Id, Malformed, Message, Shape};
use crate::mcp::method::{self, Passage, Sorted};
use crate::mcp::reply;
use crate::pins::Checked;
use crate::transport::lanes::long;
use crate::transport::{ClientLink, FromClient, FromUpstream, NewSession, Running, ToClient};

use asked::{Asked, Judging};
use chain::Chain;
pub(super) use chain::request as about_task;
use end::Ending;
use held::{Part, Wait};
use input::Asking;
use meet::{declared, modern_client};

use super::api::{self, Api};
use super::doors;
use super::guessed::GUESSED;
use super::handles::Memory;
use super::listing::{Listing, text_of};
use super::tasks::{Order, Owner, Status};
use super::upstream::Upstream;
use super::whereabouts::Whereabouts;
use super::{ServerRuntime, Shared};

mod answer;
mod asked;
mod chain;
mod end;
mod held;
mod input;
mod leaving;
mod meet;
mod tasks;

/// What a client reads instead of an answer that held a key and is none without it.
const UNSAFE: &str = "countersign: the server's answer could not be passed on safely";
/// What whoever is not shown a tool reads about arguments that it does not take.
const NOT_TAKEN: &str = "the arguments: they are not what the tool takes";

/// A request of the client that is not answered yet.
enum Open {
    /// With the gate.
    Deciding { method: Decided, presence: Presence },
    /// A decided call, with the upstream or with the link there: [`SentCall::leave`] says which.
    Sent { sent: SentCall },
    /// It was taken back and is answered. Its link has to drop it.
    Returned,
    /// Passed on without a decision. `task` is the one that it is about, `cursor` where it wants a list to go on.
    Passed { method: String, task: Option<String>, cursor: Option<String> },
}

struct Request {
    state: Open,
    modern: bool,
    /// Capabilities that the request declares (modern).
    capabilities: Option<JsonText>,
    /// The client took it back or went away: its answer goes nowhere.
    cancelled: bool,
    wait: Wait,
}

/// What the gate came to about one request.
type Verdict = (Id, Result<Admission, Refusal>);
type Deciding = Pin<Box<dyn Future<Output = Verdict> + Send>>;

struct Session {
    id: String,
    shared: Arc<Shared>,
    server: Arc<ServerRuntime>,
    base: CallContext,
    /// Where its calls work, and what its child asks for.
    place: Whereabouts,
    /// What its child asks of the vendor's API, where it has no key of its own.
    api: Option<Api>,
    client: mpsc::Sender<ToClient>,
    upstream: Upstream,
    open: HashMap<Id, Request>,
    deciding: FuturesUnordered<Deciding>,
    /// Requests of the upstream that the client has been asked.
    asked: HashMap<Id, Asked>,
    judging: FuturesUnordered<Judging>,
    /// Of the client's last request.
    era: Option<Era>,
    /// From `initialize`; absent in the modern era.
    capabilities: Option<JsonText>,
    listing: Listing,
    /// What the upstream has said in this session about its handles.
    handles: Memory,
    owner: Owner,
    /// Where clients of tasks cancel them and answer.
    orders: mpsc::Sender<Order>,
    /// Tasks of the upstream behind tasks of ours.
    chains: Vec<Chain>,
    /// The last that the upstream was told about tasks that nobody follows any more, until it is answered.
    farewells: Vec<Id>,
    /// Calls behind tasks of ours that the upstream asks input for; each has one.
    askings: Vec<Asking>,
    /// Tasks of the upstream that its client may follow, for the front that keeps its place.
    running: Running,
    /// What operators see of it, and where they end it.
    registered: OpenSession,
}

/// Runs a session to its end.
pub async fn run(mut new: NewSession, shared: Arc<Shared>, server: Arc<ServerRuntime>) {
    let owner = Owner { principal: new.principal.name.clone(), server: server.facts.name.clone() };
    let first = chain::first(&mut new.link, &shared, &owner);
    let Some(first) = new.replaced.clone().run_until_cancelled_owned(first).await.flatten() else { return };
    let connected = api::open(&server, &shared, &new.principal.name).and_then(|opened| {
        let more = opened.as_ref().map(|opened| opened.variables.clone()).unwrap_or_default();
        Ok((Upstream::connect(&server.upstream, &new.principal.name, &shared, more)?, opened))
    });
    match connected {
        Ok((connected, opened)) => serve(new, Some(first), connected, opened, shared, server).await,
        Err(reason) => {
            let name = &server.facts.name;
            tracing::error!(server = name, reason, "the server cannot be started");
            let said =
                format!("countersign: the server {name} cannot be started; its operator finds the reason in the log");
            doors::turn_away(Some(first), new.link, NO_ANSWER, &said, &shared).await;
        }
    }
}

async fn serve(
    new: NewSession,
    first: Option<FromClient>,
    (upstream, mut answers): (Upstream, mpsc::Receiver<FromUpstream>),
    opened: Option<api::Opened>,
    shared: Arc<Shared>,
    server: Arc<ServerRuntime>,
) {
    let NewSession { principal, client, link, replaced, running, lane: _counts_there, .. } = new;
    let ClientLink { mut inbound, outbound } = link;
    let owner = Owner { principal: principal.name.clone(), server: server.facts.name.clone() };
    let id = session_id();
    tracing::info!(session = id, server = server.facts.name, principal = principal.name, "session started");
    let base = CallContext {
        session: id.clone(),
        principal,
        client: Arc::new(client),
        server: Arc::clone(&server.facts),
        environment: Arc::clone(&server.environment),
        tool: definitions::unknown(""),
        operation: server.catalog.listed(""),
        bound: Bound::default(),
        confirmations: Vec::new(),
        continues: None,
        history: None,
    };
    let handles = match &first {
        Some(FromClient::Message(message)) if message.is_modern() && base.client.transport == Transport::Http => {
            Memory::Principal { told: Arc::clone(&server.handles), principal: base.principal.name.clone() }
        }
        Some(_) | None => Memory::Session(Handles::default()),
    };
    let registered = shared.gate.open_session(&base, replaced.clone());
    let listing = Listing::new(Arc::clone(&server.definitions), Arc::clone(&shared.pins), &server.facts.name);
    let stop = shared.stop.clone();
    let (orders, mut ordered) = mpsc::channel(shared.limits.queue);
    let limits = &shared.limits;
    let place = Whereabouts::new(&shared.gate, &owner.server, &owner.principal, limits.session_idle);
    let api = server
        .api
        .as_ref()
        .zip(opened)
        .map(|(spec, opened)| Api::serve(opened, spec, &shared, &server, base.clone(), place.clone()));
    let mut session = Session {
        id,
        shared,
        server,
        base,
        place,
        api,
        client: outbound,
        upstream,
        open: HashMap::new(),
        deciding: FuturesUnordered::new(),
        asked: HashMap::new(),
        judging: FuturesUnordered::new(),
        era: None,
        capabilities: None,
        listing,
        handles,
        owner,
        orders,
        chains: Vec::new(),
        farewells: Vec::new(),
        askings: Vec::new(),
        running,
        registered,
    };
    let ended = session.registered.ended.clone();
    if let Some(first) = first {
        session.client_said(first).await;
    }
    let mut client_is_here = true;
    let ending = loop {
        if !client_is_here && !session.lingers() {
            break Ending::ClientGone;
        }
        session.registered.in_flight.store(session.open.len(), Ordering::Relaxed);
        let (report, poll) = (session.next_report(), session.next_poll());
        tokio::select! {
            event = inbound.recv(), if client_is_here => match event {
                Some(event) => session.client_said(event).await,
                None => {
                    client_is_here = false;
                    session.client_left();
                }
            },
            Some(order) = ordered.recv() => session.ordered(order).await,
            () = at(report) => session.report().await,
            () = at(poll) => session.poll_tasks(),
            event = answers.recv() => match event {
                Some(FromUpstream::Closed { reason }) => break Ending::UpstreamGone(reason),
                Some(event) => session.upstream_said(event).await,
                None => break Ending::UpstreamGone("the connection ended".to_owned()),
            },
            Some((id, verdict)) = session.deciding.next() => session.decided(id, verdict).await,
            Some((id, verdict)) = session.judging.next() => session.judged(id, verdict).await,
            () = stop.cancelled() => break Ending::Stopping,
            () = ended.cancelled() => break Ending::Operator,
            () = replaced.cancelled() => break Ending::Replaced,
        }
    };
    session.turn_back(&mut inbound).await;
    session.end(ending, answers).await;
}

async fn at(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn session_id() -> String {
    crate::call::CallId::random()
        .map(|id| format!("s-{}", id.as_str().get(..8).unwrap_or("")).to_lowercase())
        .unwrap_or_default()
}

impl Session {
    async fn tell(&mut self, text: JsonText, related: Option<Id>) {
        // A client that is gone shows as the end of its link.
        let _ = self.client.send(ToClient::Message { text, related }).await;
    }

    async fn client_said(&mut self, event: FromClient) {
        match event {
            FromClient::Message(message) => self.message(message).await,
            FromClient::Malformed(malformed) => self.refuse(malformed).await,
            FromClient::Gone(id) => self.gone(&id).await,
        }
    }

    /// Takes nothing any more. A request that was not taken yet has not been sent, and is told so.
    async fn turn_back(&mut self, inbound: &mut mpsc::Receiver<FromClient>) {
        inbound.close();
        while let Ok(event) = inbound.try_recv() {
            let FromClient::Message(message) = event else { continue };
            if let Shape::Request { id, .. } = message.shape()
                && !self.open.contains_key(id)
            {
                let said = "countersign: the request was not sent (the session is ending). Retry later.";
                self.tell(reply::error(id, NO_ANSWER, said), Some(id.clone())).await;
            }
        }
    }

    async fn message(&mut self, message: Message) {
        let (text, scrubber) = (message.text().clone(), Arc::clone(&self.shared.scrubber));
        if long(text.as_str().len(), move || scrubber.has_whole(text.as_str())).await {
            let reason = "refused by countersign: the message contains a key that countersign keeps";
            let malformed = Malformed::new(INVALID_REQUEST, reason);
            return self.refuse(named(malformed, &message)).await;
        }
        if let Shape::Request { id, .. } = message.shape() {
            if self.open.contains_key(id) {
                let reason = "refused by countersign: a request with this id is not answered yet";
                return self.refuse(Malformed::new(INVALID_REQUEST, reason).of(id)).await;
            }
            if self.open.len() >= self.shared.limits.in_flight {
                let reason =
                    format!("countersign: {} requests are not answered yet (limits.in_flight)", self.open.len());
                return self.tell(reply::error(id, OVERLOADED, &reason), Some(id.clone())).await;
            }
            self.era = Some(message.era());
            self.place.asked(message.is_modern());
        }
        if let Some(text) = self.shared.tasks.answer(&message, &self.owner) {
            return self.tell(text, message.id().cloned()).await;
        }
        let modern = message.is_modern();
        match method::sort(message) {
            Sorted::Decide(call) => self.decide(call, modern, None).await,
            Sorted::Pass(passage) => self.pass(passage, modern, None).await,
            Sorted::Task { task, passage } => self.task(task, passage, modern).await,
            Sorted::Notice(passage) => self.notice(passage),
            Sorted::Cancel { request, passage } => self.cancel(&request, passage).await,
            Sorted::Answer { request, passage } => self.answer(&request, passage).await,
            Sorted::Drop { method } => tracing::debug!(session = self.id, method, "a notification was dropped"),
            Sorted::Refuse(malformed) => self.refuse(malformed).await,
        }
    }

    /// Answers and records a message that goes nowhere. What is said about it may quote it: for the record pieces of
    /// keys are taken out of that, for whoever said it whole ones only.
    async fn refuse(&mut self, malformed: Malformed) {
        let reason = self.shared.scrubber.line(&malformed.reason).into_owned();
        self.note_refused(&Malformed { reason, ..malformed.clone() }).await;
        let reason = self.shared.scrubber.whole(&malformed.reason).into_owned();
        let malformed = Malformed { reason, ..malformed };
        if let Some(text) = reply::malformed(&malformed) {
            self.tell(text, malformed.id).await;
        }
    }

    async fn note_refused(&mut self, malformed: &Malformed) {
        tracing::info!(session = self.id, code = malformed.code, reason = malformed.reason, "message refused");
        let event = Event::Refused {
            server: Some(self.server.facts.name.clone()),
            principal: Some(self.base.principal.name.clone()),
            session: Some(self.id.clone()),
            code: malformed.code,
            reason: malformed.reason.clone(),
        };
        self.shared.gate.refused(event).await;
    }

    /// `part` is what the call is to a task that stands already.
    async fn decide(&mut self, call: Box<ToolCall>, modern: bool, part: Option<(String, Part)>) {
        let Some(message) = Message::of_call(&call) else { return };
        let Some(id) = message.id().cloned() else { return };
        if self.names_foreign_tasks(&call) {
            return self.refuse_foreign(&message).await;
        }
        if let Some(malformed) = self.server.cannot_call(&call, &id, modern) {
            return self.refuse(malformed).await;
        }
        let client = if modern { modern_client(&message, &self.base.client) } else { Arc::clone(&self.base.client) };
        let (context, presence) = match call.method() {
            Decided::ToolsCall => {
                let operation = self.handles.operation(&self.server.catalog, &call);
                let tool = self.listing.facts(call.tool());
                let presence = Presence::of_tool(self.listing.definition_now(call.tool()));
                let confirmations = self.server.catalog.confirmations(&call);
                (CallContext { tool, operation, confirmations, ..self.base.clone() }, presence)
            }
            Decided::TasksUpdate => match self.shared.gate.task(call.tool(), &self.base) {
                Some(origin) => {
                    let presence = Presence::of_tool(self.listing.definition_now(&origin.tool().name));
                    (self.following(&origin), presence)
                }
                None => return,
            },
            _ => {
                let (tool, operation) = (definitions::unknown(call.tool()), self.server.catalog.operation(&call));
                (CallContext { tool, operation, ..self.base.clone() }, Presence::default())
            }
        };
        let mut wait = self.can_wait(&message, &client);
        let presence = presence.at(self.place.now()).until(&self.shared.gate, wait.patience.filter(|_| part.is_none()));
        if let Some((task, part)) = part {
            (wait.task, wait.part) = (Some(task), part);
        }
        let context = Box::new(CallContext { client, ..context });
        let capabilities = modern.then(|| declared(&message)).flatten();
        let state = Open::Deciding { method: call.method(), presence: presence.clone() };
        self.open.insert(id.clone(), Request { state, modern, capabilities, cancelled: false, wait });
        let (gate, server, listing) = (Arc::clone(&self.shared.gate), Arc::clone(&self.server), self.listing.clone());
        let mut admission = Box::pin(async move { admit(&gate, &server, &listing, call, context, &presence).await });
        // Most calls are decided at once, and then a task would cost more than the decision.
        match (&mut admission).now_or_never() {
            Some(verdict) => self.decided(id, verdict).await,
            None => self.work(id, admission),
        }
    }

    /// Lets the gate work in a task of its own. Polled from here, it would stand still while this session waits for a
    /// client that does not read, and keep what it has taken of the evaluator and the audit from all other sessions.
    fn work(&mut self, id: Id, work: impl Future<Output = Result<Admission, Refusal>> + Send + 'static) {
        let task = self.shared.tracker.spawn(work.in_current_span());
        self.deciding.push(Box::pin(async move {
            let verdict = task.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a decision failed");
                Err(Refusal::new(Outcome::Unavailable, "the call could not be decided"))
            });
            (id, verdict)
        }));
    }

    async fn decided(&mut self, id: Id, verdict: Result<Admission, Refusal>) {
        match verdict {
            Ok(Admission::Permitted(permit)) => self.send(id, permit).await,
            Ok(Admission::Held(held)) => self.hold(id, *held).await,
            Err(refusal) => self.decided_against(id, refusal).await,
        }
    }

    async fn send(&mut self, id: Id, permit: PermittedCall) {
        // The session may have been stopped while the permit was on its way here.
        if let Some((outcome, why)) = self.registered.stopped() {
            let refusal = self.shared.gate.unsent(permit, outcome, &why).await;
            return self.decided_against(id, refusal).await;
        }
        let Some(request) = self.open.get_mut(&id) else { return };
        request.wait.is_released();
        // A cancel may have come between the gate's last look and this one.
        if request.cancelled {
            self.shared.gate.unsent(permit, Outcome::Withdrawn, "the client cancelled the call").await;
            self.open.remove(&id);
            return;
        }
        request.wait.call = request.wait.task.as_ref().map(|_| permit.call().message().clone());
        match self.upstream.call(permit) {
            Ok(sent) => {
                request.wait.running = self.api.as_ref().map(|api| api.runs(sent.id()));
                request.state = Open::Sent { sent };
                if let Some(task) = &request.wait.task {
                    self.shared.tasks.set(task, Status::Working("the server works on it".to_owned()));
                }
            }
            Err((permit, why)) => {
                let refusal = self.shared.gate.unsent(*permit, Outcome::Unavailable, &why.to_string()).await;
                self.decided_against(id, refusal).await;
            }
        }
    }

    /// Answers a request that is not sent.
    async fn decided_against(&mut self, id: Id, refusal: Refusal) {
        let Some(request) = self.open.remove(&id) else { return };
        let Open::Deciding { method, .. } = request.state else { return };
        if let (Part::Answers, Some(task)) = (request.wait.part, &request.wait.task) {
            return self.answers_refused(task, refusal);
        }
        if !request.cancelled {
            let text = reply::refusal(&id, method, request.modern, &refusal);
            if let Some(task) = request.wait.task.as_ref().filter(|_| refusal.outcome == Outcome::Withdrawn) {
                return self.shared.tasks.set(task, Status::Cancelled(refusal.reason));
            }
            self.deliver(id, &request.wait, text).await;
        }
    }

    async fn pass(&mut self, passage: Passage, modern: bool, task: Option<String>) {
        let message = passage.message();
        let Some((id, method)) = message.id().cloned().zip(message.method().map(str::to_owned)) else { return };
        if method == "initialize" {
            self.meet(message);
        }
        let capabilities = modern.then(|| declared(message)).flatten();
        let cursor = message.params().and_then(|params| params.get("cursor"));
        let cursor = cursor.filter(|cursor| cursor.kind() != Kind::Null).map(text_of);
        match self.upstream.pass(passage) {
            Ok(()) => {
                let state = Open::Passed { method, task, cursor };
                self.open.insert(id, Request { state, modern, capabilities, cancelled: false, wait: Wait::default() });
            }
            Err(why) => self.tell(Loss::not_sent(why.to_string()).answer(&id), Some(id)).await,
        }
    }

    async fn upstream_said(&mut self, event: FromUpstream) {
        match event {
            FromUpstream::Message { message, related } => {
                let shape = message.shape().clone();
                // Before anything of it is looked at: what is kept, judged, recorded or shown holds no key.
                let (scrubber, hidden) = (Arc::clone(&self.shared.scrubber), self.server.hidden);
                let size = message.text().as_str().len();
                let Scrubbed { text: clean, names, pieces } =
                    long(size, move || Upstream::clean(message, &scrubber, hidden)).await;
                self.redacted(&shape, related.as_ref(), names);
                let guessed = self.shared.is_guessed(&self.base, pieces).await;
                match clean.filter(|_| !guessed) {
                    Some(message) => self.said(message, related).await,
                    None => self.unclean(shape, if guessed { GUESSED } else { UNSAFE }).await,
                }
            }
            FromUpstream::Streams { id } => self.answered_like(id, ToClient::Waiting).await,
            FromUpstream::Pauses { id } => self.answered_like(id, ToClient::Later).await,
            FromUpstream::Lost { id, loss } => self.lost(id, loss).await,
            FromUpstream::Closed { .. } => {}
        }
    }
}

/// Arguments that the tool does not take are refused first; everything else is for the gate. What they should be is said
/// to those who are shown the tool: a schema names its properties.
async fn admit(
    gate: &Arc<Gate>,
    server: &ServerRuntime,
    listing: &Listing,
    call: Box<ToolCall>,
    mut context: Box<CallContext>,
    presence: &Presence,
) -> Result<Admission, Refusal> {
    if call.method() == Decided::ToolsCall {
        match listing.check(&call, &context.tool).await {
            Checked::Passed(schema) => context.tool.schema = schema,
            Checked::Wrong(mismatch) => {
                let reason = match server.shows(call.tool(), gate, &context).await {
                    true => mismatch.to_string(),
                    false => NOT_TAKEN.to_owned(),
                };
                return Err(gate.invalid(&call, &context, reason).await);
            }
        }
    }
    gate.admit(call, context, presence).await
}

fn named(malformed: Malformed, message: &Message) -> Malformed {
    match message.shape() {
        Shape::Request { id, .. } => malformed.of(id),
        Shape::Notification { .. } | Shape::Response { .. } => malformed.unanswered(),
    }
}

#[cfg(test)]
mod tests;
