//! Calls that were answered with a task of ours, and the upstream answers with a task of its own: its task is asked
//! for from here, on the connection that it belongs to, until it ends.
//!
//! Invariant: what is asked carries the upstream's task id and nothing of the client's.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::json::{Json, JsonText, Rules};
use crate::mcp::message::{Id, Message};
use crate::proxy::Shared;
use crate::proxy::tasks::{EXTENSION, Owner, Status};
use crate::transport::{ClientLink, FromClient, ToClient};

use super::{NO_ANSWER, Session};

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
    /// The client's request, by which it is cancelled.
    request: Id,
    every: Duration,
    next: Instant,
    /// The poll that is not answered yet.
    asked: Option<Id>,
}

/// The result of a call as a task keeps it. A server that asks for input first cannot be answered through a task that
/// has begun already.
pub(super) fn settled(result: Json<'_>) -> JsonText {
    if result.get("resultType").and_then(Json::as_str).is_none_or(|kind| kind != "input_required") {
        return JsonText::owned(result);
    }
    let text = "The server asks for input before it does anything, and a call that was held as a task cannot be given \
                any. Nothing more was sent. Call again without declaring tasks.";
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
        let Some(text) = shared.tasks.answer(message, owner) else { return Some(event) };
        let related = message.id().cloned();
        let _ = link.outbound.send(ToClient::Message { text, related }).await;
    }
}

impl Session {
    /// Follows the upstream's own task, where that is what it answers a call with which our task stands for.
    pub(super) fn chain(&mut self, id: &Id, ours: &str, revision: Option<&str>, answer: &JsonText) -> bool {
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
        self.chains.push(Chain {
            ours: ours.to_owned(),
            theirs,
            revision: revision.unwrap_or("2026-07-28").to_owned(),
            request: id.clone(),
            every,
            next: Instant::now() + every,
            asked: None,
        });
        self.tasks().set(ours, Status::Working(said(result)));
        true
    }

    fn fail(&self, task: &str, why: &str) {
        let error = json!({"code": NO_ANSWER, "message": format!("countersign: {why}")});
        self.shared.tasks.set(task, Status::Failed(JsonText::of(&error).unwrap_or_else(|_| JsonText::empty_object())));
    }

    pub(super) fn next_poll(&self) -> Option<Instant> {
        self.chains.iter().filter(|chain| chain.asked.is_none()).map(|chain| chain.next).min()
    }

    /// Asks for what is due.
    pub(super) fn poll_tasks(&mut self) {
        let now = Instant::now();
        let tasks = self.tasks();
        // Ours may have had its time.
        self.chains.retain(|chain| tasks.goes_on(&chain.ours));
        for chain in self.chains.iter_mut().filter(|chain| chain.asked.is_none() && now >= chain.next) {
            chain.next = now + chain.every;
            let Some(id) = own_id() else { continue };
            if self.upstream.about_task(&id, "tasks/get", &chain.theirs, &chain.revision) {
                chain.asked = Some(id);
            }
        }
    }

    /// True where the answer is to a question of ours.
    pub(super) fn polled(&mut self, id: &Id, message: &Message) -> bool {
        let Some(at) = self.chains.iter().position(|chain| chain.asked.as_ref() == Some(id)) else { return false };
        let clean = self.shared.scrubber.message(message.text());
        let status = clean.as_ref().map_or(Poll::Broken, |text| read(text.view()));
        let Some(chain) = self.chains.get_mut(at) else { return true };
        chain.asked = None;
        let ours = chain.ours.clone();
        match status {
            Poll::Goes { every, said } => {
                chain.every = every;
                chain.next = Instant::now() + every;
                self.tasks().set(&ours, Status::Working(said));
                return true;
            }
            Poll::Ended(status) => self.tasks().set(&ours, status),
            Poll::Asks => {
                self.cancel_theirs(at);
                self.fail(&ours, "the server asks for input in the middle of its task, which is not passed on");
            }
            Poll::Broken => self.fail(&ours, "the server's answer about its task could not be read"),
        }
        self.chains.remove(at);
        true
    }

    /// The question was lost: it is asked again when it is due. True where it was one of ours.
    pub(super) fn poll_lost(&mut self, id: &Id) -> bool {
        let Some(chain) = self.chains.iter_mut().find(|chain| chain.asked.as_ref() == Some(id)) else { return false };
        chain.asked = None;
        true
    }

    /// The client cancels a task: a call that was not sent is withdrawn, for one that was the upstream is told.
    pub(super) fn cancel_task(&mut self, request: &Id) {
        if let Some(at) = self.chains.iter().position(|chain| chain.request == *request) {
            return self.cancel_theirs(at);
        }
        match self.open.get(request).map(|request| &request.state) {
            Some(super::Open::Deciding { .. }) => self.withdraw(request, "the client cancelled the task"),
            Some(super::Open::Sent { .. }) => self.upstream.abandon(request),
            Some(super::Open::Passed { .. }) | None => {}
        }
    }

    fn cancel_theirs(&self, at: usize) {
        let (Some(chain), Some(id)) = (self.chains.get(at), own_id()) else { return };
        // What it answers is of no interest: the next poll shows what became of it.
        self.upstream.about_task(&id, "tasks/cancel", &chain.theirs, &chain.revision);
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
    Asks,
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
        Some("input_required") => Poll::Asks,
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
fn own_id() -> Option<Id> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).ok()?;
    Some(Id::String(bytes.iter().fold("countersign-".to_owned(), |id, byte| format!("{id}{byte:02x}"))))
}

/// A request of ours about a task of the upstream.
pub(crate) fn request(id: &Id, method: &str, task: &JsonText, revision: &str) -> Option<Message> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": revision,
        "io.modelcontextprotocol/clientInfo": {"name": "countersign", "version": env!("CARGO_PKG_VERSION")},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
    });
    let params = format!(r#"{{"taskId":{},"_meta":{meta}}}"#, task.as_str());
    let text = format!(r#"{{"jsonrpc":"2.0","id":{},"method":{},"params":{params}}}"#, id.to_json(), json!(method));
    Message::ours(JsonText::parse(text, Rules::UPSTREAM).ok()?)
}
