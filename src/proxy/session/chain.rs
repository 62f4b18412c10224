//! Calls that were answered with a task of ours, and the upstream answers with a task of its own: its task is asked
//! for from here, on the connection that it belongs to, until it ends. What it asks the client is `input`'s business.
//!
//! Invariant: what is asked carries the upstream's task id and nothing of the client's but the capabilities that came
//! with its call.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::call::Outcome;
use crate::gate::Origin;
use crate::json::{Json, JsonText, Kind, Rules};
use crate::mcp::message::{Id, Message};
use crate::proxy::Shared;
use crate::proxy::tasks::{Asked, EXTENSION, Owner, Status};
use crate::transport::{ClientLink, FromClient, ToClient};

use super::answer::evidence;
use super::asked::may_ask;
use super::held::Wait;
use super::input::{self, NO_ANSWERS};
use super::{NO_ANSWER, Open, Request, Session};

/// How often an upstream is asked, whatever it says.
const RATE: std::ops::RangeInclusive<u64> = 1000..=60_000;
/// Where it does not say.
const USUAL: u64 = 5000;
/// Tasks of the upstream that one session follows.
const CHAINS: usize = 256;

/// A task of the upstream behind one of ours.
#[derive(Debug)]
pub(super) struct Chain {
    ours: String,
    theirs: JsonText,
    revision: String,
    /// What the client's call said about its client.
    meta: JsonText,
    /// Questions that were answered.
    answered: BTreeSet<String>,
    /// When an open question has waited for too long.
    until: Option<Instant>,
    every: Duration,
    next: Instant,
    /// The poll that is not answered yet.
    asked: Option<Id>,
    /// The call that became it.
    origin: Option<Origin>,
}

/// The result of a call as a task keeps it. What a task cannot ask its client for is the end of it.
pub(super) fn settled(result: Json<'_>) -> JsonText {
    if result.get("resultType").and_then(Json::as_str).is_none_or(|kind| kind != "input_required") {
        return JsonText::owned(result);
    }
    let text = "The server asks for input in a way that a task cannot pass on: it wants the call again without an \
                answer, or asks too much. Nothing more was sent. Call again without declaring tasks.";
    let refusal = json!({"resultType": "complete", "isError": true, "content": [{"type": "text", "text": text}]});
    JsonText::of(&refusal).unwrap_or_else(|_| JsonText::empty_object())
}

/// Waits for the first thing of a client that an upstream is needed for. Requests about tasks of ours need none.
pub(super) async fn first(link: &mut ClientLink, shared: &Shared, owner: &Owner) -> Option<FromClient> {
    loop {
        let event = tokio::select! {
            event = link.inbound.recv() => event?,
            () = shared.stop.cancelled() => return None,
        };
        let FromClient::Message(message) = &event else { return Some(event) };
        // What must not go anywhere does not go into a task either: the session refuses it.
        if shared.scrubber.has_whole(message.text().as_str()) {
            return Some(event);
        }
        let Some(text) = shared.tasks.answer(message, owner) else { return Some(event) };
        let related = message.id().cloned();
        let _ = link.outbound.send(ToClient::Message { text, related }).await;
    }
}

impl Session {
    /// Follows the upstream's own task, where that is what it answers a call with which our task stands for.
    pub(super) fn chain(&mut self, ours: &str, wait: &Wait, origin: Option<Origin>, answer: &JsonText) -> bool {
        let view = answer.view();
        let Some(result) = view.get("result") else { return false };
        if result.get("resultType").and_then(Json::as_str).is_none_or(|kind| kind != "task") {
            return false;
        }
        let theirs = result.get("taskId").filter(|id| id.as_str().is_some()).map(JsonText::owned);
        let (Some(theirs), true) = (theirs, self.chains.len() < CHAINS) else {
            self.fail(ours, "the server answered with a task that cannot be followed; look at what it did");
            return true;
        };
        let every = interval(result);
        let meta = wait.call.as_ref().and_then(|call| call.view().pointer("/params/_meta"));
        self.chains.push(Chain {
            ours: ours.to_owned(),
            theirs,
            revision: wait.revision.clone().unwrap_or_else(|| "2026-07-28".to_owned()),
            meta: meta.map_or_else(JsonText::empty_object, |meta| JsonText::without(meta, &["progressToken"])),
            answered: BTreeSet::new(),
            until: None,
            every,
            next: Instant::now() + every,
            asked: None,
            origin,
        });
        self.tasks().set(ours, Status::Working(said(result)));
        true
    }

    pub(super) fn fail(&self, task: &str, why: &str) {
        let error = json!({"code": NO_ANSWER, "message": format!("countersign: {why}")});
        self.shared.tasks.set(task, Status::Failed(JsonText::of(&error).unwrap_or_else(|_| JsonText::empty_object())));
    }

    pub(super) fn next_poll(&self) -> Option<Instant> {
        let polls = self.chains.iter().filter(|chain| chain.asked.is_none()).map(|chain| chain.next);
        polls.chain(self.askings.iter().map(|asking| asking.until)).min()
    }

    /// Asks for what is due.
    pub(super) fn poll_tasks(&mut self) {
        let now = Instant::now();
        let tasks = self.tasks();
        // Ours may have had its time.
        self.chains.retain(|chain| tasks.goes_on(&chain.ours));
        self.end_askings();
        let late = |chain: &Chain| chain.until.is_some_and(|until| now >= until);
        while let Some(ours) = self.chains.iter().find(|chain| late(chain)).map(|chain| chain.ours.clone()) {
            self.end_theirs(&ours);
            tasks.set(&ours, Status::Cancelled(NO_ANSWERS.to_owned()));
        }
        for chain in self.chains.iter_mut().filter(|chain| chain.asked.is_none() && now >= chain.next) {
            chain.next = now + chain.every;
            let Some(id) = own_id() else { continue };
            if self.upstream.about_task(&id, "tasks/get", &chain.theirs, &chain.revision, &chain.meta) {
                chain.asked = Some(id);
            }
        }
    }

    /// True where the answer is to a question of ours.
    pub(super) async fn polled(&mut self, id: &Id, message: Option<&Message>) -> bool {
        let chain = self.chains.iter().position(|chain| chain.asked.as_ref() == Some(id));
        let Some(at) = chain else { return self.has_heard(id) };
        let Some(chain) = self.chains.get_mut(at) else { return true };
        chain.asked = None;
        let (ours, origin) = (chain.ours.clone(), chain.origin.clone());
        if let (Some(origin), Some(message)) = (origin, message) {
            let (server, shared) = (Arc::clone(&self.server), Arc::clone(&self.shared));
            evidence(&server, &shared.gate, &origin, origin.call(), message.text().view()).await;
        }
        let status = message.map_or(Poll::Broken, |message| read(message.text().view()));
        let Some(chain) = self.chains.get_mut(at) else { return true };
        match status {
            Poll::Goes { every, said } => {
                chain.every = every;
                chain.next = Instant::now() + every;
                chain.until = None;
                self.works(&ours, said);
            }
            Poll::Asks { every, questions } => {
                chain.every = every;
                chain.next = Instant::now() + every;
                self.asked_by_task(at, &ours, &questions).await;
            }
            Poll::Ended(status) => {
                self.tasks().set(&ours, status);
                self.chains.swap_remove(at);
                self.withdraw_answers(&ours, "the server's task has ended");
            }
            Poll::Broken => {
                self.fail(&ours, "the server's answer about its task could not be read");
                self.chains.swap_remove(at);
                self.withdraw_answers(&ours, "the server's task cannot be followed any more");
            }
        }
        true
    }

    /// What an upstream says of its task before it has seen the answers that are on their way is old.
    fn works(&self, ours: &str, said: String) {
        if !self.is_answering(ours) {
            self.tasks().set(ours, Status::Working(said));
        }
    }

    /// The upstream's task asks the client of ours.
    async fn asked_by_task(&mut self, at: usize, ours: &str, questions: &JsonText) {
        if self.is_answering(ours) {
            return;
        }
        let Some(chain) = self.chains.get_mut(at) else { return };
        let answered: Vec<&str> = chain.answered.iter().map(String::as_str).collect();
        let open = JsonText::without(questions.view(), &answered);
        if open.view().members().next().is_none() {
            chain.until = None;
            return self.works(ours, "the server works on it".to_owned());
        }
        let capabilities = chain.meta.view().get("io.modelcontextprotocol/clientCapabilities").map(JsonText::owned);
        let theirs = chain.theirs.view().as_str().unwrap_or_default().into_owned();
        let within = self.shared.tasks.answer_within();
        chain.until = chain.until.or_else(|| Instant::now().checked_add(within));
        if !may_ask(open.view(), capabilities.as_ref()) {
            self.end_theirs(ours);
            return self.fail(ours, "the server asks for input that the client does not offer; look at what it did");
        }
        self.shared.gate.task_asks(&theirs, &self.base, open.view());
        match self.shared.tasks.ask(ours, open.view(), 0) {
            Asked::Waits => {}
            Asked::Answered => self.answered_by_client(ours).await,
            Asked::TooMuch => {
                self.end_theirs(ours);
                self.fail(ours, "the server asks its client for too much; look at what it did");
            }
        }
    }

    /// The update that carries what the client of our task has answered.
    pub(super) fn update_of(&mut self, ours: &str, id: &Id, answers: &JsonText) -> Option<String> {
        let chain = self.chains.iter_mut().find(|chain| chain.ours == ours)?;
        chain.until = None;
        chain.answered.extend(answers.view().members().filter_map(|(key, _)| Some(key.as_str()?.into_owned())));
        Some(input::update(id, &chain.theirs, answers, &chain.meta))
    }

    /// Asks for a task as soon as that may be.
    pub(super) fn poll_soon(&mut self, ours: &str) {
        if let Some(chain) = self.chains.iter_mut().find(|chain| chain.ours == ours) {
            chain.next = Instant::now();
        }
    }

    /// Nobody follows the upstream's task behind one of ours any more: it is cancelled, and the connection stays until
    /// the upstream has heard of it.
    pub(super) fn end_theirs(&mut self, ours: &str) {
        let Some(at) = self.chains.iter().position(|chain| chain.ours == ours) else { return };
        if let Some(id) = self.cancel_theirs(at)
            && self.farewells.len() < CHAINS
        {
            self.farewells.push(id);
        }
        self.chains.swap_remove(at);
    }

    /// True where something is heard of the last that an upstream was told about a task.
    fn has_heard(&mut self, id: &Id) -> bool {
        let Some(at) = self.farewells.iter().position(|farewell| farewell == id) else { return false };
        self.farewells.swap_remove(at);
        true
    }

    /// The question was lost: it is asked again when it is due. True where it was one of ours.
    pub(super) fn poll_lost(&mut self, id: &Id) -> bool {
        match self.chains.iter_mut().find(|chain| chain.asked.as_ref() == Some(id)) {
            Some(chain) => chain.asked = None,
            None => return self.has_heard(id),
        }
        true
    }

    /// The client cancels a task: what was not sent is withdrawn, of what was the upstream is told.
    pub(super) async fn cancel_task(&mut self, task: &str) {
        if let Some(at) = self.chains.iter().position(|chain| chain.ours == task) {
            self.cancel_theirs(at);
            return self.withdraw_answers(task, "the client cancelled the task");
        }
        if let Some(at) = self.askings.iter().position(|asking| asking.task == task) {
            self.askings.swap_remove(at);
            return self.tasks().set(task, Status::Cancelled("the client cancelled the task".to_owned()));
        }
        let of = |(id, request): (&Id, &Request)| (request.wait.task.as_deref() == Some(task)).then(|| id.clone());
        let Some(id) = self.open.iter().find_map(of) else { return };
        match self.open.get(&id).map(|request| &request.state) {
            Some(Open::Deciding { .. }) => self.withdraw(&id, "the client cancelled the task"),
            Some(Open::Sent { .. }) => {
                if !self.takes_back(&id, Outcome::Withdrawn, "the client cancelled the task").await {
                    self.upstream.abandon(&id);
                }
            }
            Some(Open::Passed { .. } | Open::Returned) | None => {}
        }
    }

    /// Under which id it was told, where it was.
    fn cancel_theirs(&self, at: usize) -> Option<Id> {
        let (chain, id) = (self.chains.get(at)?, own_id()?);
        // What it answers is of no interest: the next poll shows what became of it.
        let told = self.upstream.about_task(&id, "tasks/cancel", &chain.theirs, &chain.revision, &chain.meta);
        told.then_some(id)
    }

    /// The connection that the upstream's tasks belong to is gone.
    pub(super) fn lose_tasks(&mut self) {
        for chain in std::mem::take(&mut self.chains) {
            self.fail(&chain.ours, "the connection to the server ended before its task did; look at what it did");
        }
    }
}

/// What an upstream says about its task.
enum Poll {
    Goes { every: Duration, said: String },
    Ended(Status),
    Asks { every: Duration, questions: JsonText },
    Broken,
}

fn read(answer: Json<'_>) -> Poll {
    if let Some(error) = answer.get("error") {
        return Poll::Ended(Status::Failed(JsonText::owned(error)));
    }
    let Some(result) = answer.get("result") else { return Poll::Broken };
    match result.get("status").and_then(Json::as_str).as_deref() {
        Some("working") => Poll::Goes { every: interval(result), said: said(result) },
        Some("completed") => match result.get("result") {
            Some(result) => Poll::Ended(Status::Completed(settled(result))),
            None => Poll::Broken,
        },
        Some("failed") => match result.get("error") {
            Some(error) => Poll::Ended(Status::Failed(JsonText::owned(error))),
            None => Poll::Broken,
        },
        Some("cancelled") => Poll::Ended(Status::Cancelled(said(result))),
        Some("input_required") => match result.get("inputRequests").filter(|asked| asked.kind() == Kind::Object) {
            Some(questions) => Poll::Asks { every: interval(result), questions: JsonText::owned(questions) },
            None => Poll::Broken,
        },
        Some(_) | None => Poll::Broken,
    }
}

fn interval(task: Json<'_>) -> Duration {
    let wanted = task.get("pollIntervalMs").and_then(Json::as_i64).and_then(|millis| u64::try_from(millis).ok());
    Duration::from_millis(wanted.unwrap_or(USUAL).clamp(*RATE.start(), *RATE.end()))
}

fn said(task: Json<'_>) -> String {
    let said = task.get("statusMessage").and_then(Json::as_str);
    said.map_or_else(|| "the server works on it".to_owned(), |said| said.chars().take(512).collect())
}

/// An id that no client has chosen.
pub(super) fn own_id() -> Option<Id> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).ok()?;
    Some(Id::String(bytes.iter().fold("countersign-".to_owned(), |id, byte| format!("{id}{byte:02x}"))))
}

/// A request of ours about a task of the upstream. `client` is what the call said about its client.
pub(crate) fn request(id: &Id, method: &str, task: &JsonText, revision: &str, client: &JsonText) -> Option<Message> {
    let declared = client.view().get("io.modelcontextprotocol/clientCapabilities");
    let usual = || json!({"extensions": {EXTENSION: {}}}).to_string();
    let capabilities = declared.map_or_else(usual, |declared| declared.text().to_owned());
    let info = json!({"name": "countersign", "version": env!("CARGO_PKG_VERSION")});
    let meta = format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":{},"io.modelcontextprotocol/clientInfo":{info},"io.modelcontextprotocol/clientCapabilities":{capabilities}}}"#,
        json!(revision)
    );
    let params = format!(r#"{{"taskId":{},"_meta":{meta}}}"#, task.as_str());
    let text = format!(r#"{{"jsonrpc":"2.0","id":{},"method":{},"params":{params}}}"#, id.to_json(), json!(method));
    Message::ours(JsonText::parse(text, Rules::UPSTREAM).ok()?)
}
