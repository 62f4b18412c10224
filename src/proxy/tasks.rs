//! Tasks of ours: the extension `io.modelcontextprotocol/tasks` for calls that are held. The client's request is
//! answered at once with a task, and what becomes of the call is fetched later.
//!
//! A task belongs to the daemon, because each modern request over HTTP is a session of its own; the session of the
//! call goes on until the call is over, and writes here what became of it.
//!
//! Invariant: a task can be seen by its principal through its server only, its id cannot be guessed, and tasks and
//! what they keep are bounded by count, bytes and time. Nothing here lets a call go: what a client answers to a question
//! of its server is kept here until the session of the call takes it to the gate.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::json::{Json, JsonText, Kind};
use crate::mcp::headers::MISSING_CAPABILITY;
use crate::mcp::message::{INVALID_PARAMS, Id, Message};
use crate::mcp::reply;

use questions::{Names, Questions};

mod questions;

pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// Tasks at once, of all principals and of each.
const COUNT: usize = 1000;
const COUNT_EACH: usize = 100;
/// Results that are kept, in bytes all together.
const BYTES: usize = 64 << 20;
/// How long what became of a call can be fetched, at least.
const KEPT: Duration = Duration::from_secs(600);
/// How often a client should ask.
const POLL: Duration = Duration::from_secs(2);
/// A client that has not asked for so long is gone: a call that was not sent by then is not sent any more.
const SILENCE: Duration = Duration::from_secs(120);
/// How long a server's question waits for its answer. The gate remembers it for as long.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);

/// How many, how much and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub count: usize,
    pub count_each: usize,
    pub bytes: usize,
    pub silence: Duration,
    pub answer_within: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let answer_within = ANSWER_WITHIN;
        Bounds { count: COUNT, count_each: COUNT_EACH, bytes: BYTES, silence: SILENCE, answer_within }
    }
}

/// All tasks of the daemon.
#[derive(Debug)]
pub struct Tasks {
    enabled: bool,
    bounds: Bounds,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tasks: HashMap<String, Task>,
    /// Of all results that are kept.
    bytes: usize,
}

/// For whom a task is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    pub principal: String,
    pub server: String,
}

#[derive(Debug)]
struct Task {
    owner: Owner,
    status: Status,
    created: Timestamp,
    updated: Timestamp,
    started: Instant,
    ttl: Duration,
    /// When its client asked last.
    asked: Instant,
    /// To the session of the call.
    session: mpsc::Sender<Order>,
    /// Of questions that were asked in it.
    names: Names,
    /// Its end has been fetched: the first to go where there is no room.
    fetched: bool,
}

/// What the client of a task wants of the session of the call. Each names the task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    Cancel(String),
    /// Every question is answered: the session takes the answers.
    Answered(String),
}

/// What became of a server's questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    Waits,
    /// Those that it still asks were answered before.
    Answered,
    TooMuch,
}

/// Where a task is.
#[derive(Clone, Debug)]
pub enum Status {
    Working(String),
    /// The server asks the client. When all is answered and not yet taken, the client is shown work.
    InputRequired(Questions),
    /// With the result of the call.
    Completed(JsonText),
    /// With the JSON-RPC error of the call.
    Failed(JsonText),
    Cancelled(String),
}

impl Status {
    fn word(&self) -> &'static str {
        match self {
            Status::Working(_) => "working",
            Status::InputRequired(questions) if questions.are_answered() => "working",
            Status::InputRequired(_) => "input_required",
            Status::Completed(_) => "completed",
            Status::Failed(_) => "failed",
            Status::Cancelled(_) => "cancelled",
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Status::Completed(text) | Status::Failed(text) => text.as_str().len(),
            Status::InputRequired(questions) => questions.bytes(),
            Status::Working(_) | Status::Cancelled(_) => 0,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    result_type: &'static str,
    task_id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    created_at: String,
    last_updated_at: String,
    ttl_ms: u64,
    poll_interval_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_requests: Option<JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a JsonText>,
}

impl Task {
    fn show(&self, id: &str, result_type: &'static str) -> Option<JsonText> {
        let (mut status_message, mut input_requests, mut result, mut error) = (None, None, None, None);
        match &self.status {
            Status::InputRequired(questions) if questions.are_answered() => {}
            Status::InputRequired(questions) => input_requests = Some(questions.open()?),
            Status::Working(said) | Status::Cancelled(said) => status_message = Some(said.clone()),
            Status::Completed(text) => result = Some(text),
            Status::Failed(text) => {
                status_message = text.view().get("message").and_then(Json::as_str).map(std::borrow::Cow::into_owned);
                error = Some(text);
            }
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let shown = Shown {
            result_type,
            task_id: id,
            status: self.status.word(),
            status_message,
            created_at: self.created.to_string(),
            last_updated_at: self.updated.to_string(),
            ttl_ms: millis(self.ttl),
            poll_interval_ms: millis(POLL),
            input_requests,
            result,
            error,
        };
        JsonText::of(&shown).ok()
    }

    fn is_over(&self) -> bool {
        !matches!(self.status, Status::Working(_) | Status::InputRequired(_))
    }
}

impl Inner {
    fn forget_the_old(&mut self) {
        let now = Instant::now();
        let bytes = &mut self.bytes;
        self.tasks.retain(|_, task| {
            let stays = now < task.started + task.ttl;
            if !stays {
                *bytes -= task.status.bytes();
            }
            stays
        });
    }

    /// Makes room for a result: what has been fetched goes first, the oldest of it before the rest.
    fn make_room(&mut self, bytes: usize, limit: usize) -> bool {
        while self.bytes + bytes > limit {
            let fetched = self.tasks.iter().filter(|(_, task)| task.fetched && task.status.bytes() > 0);
            let Some(id) = fetched.min_by_key(|(_, task)| task.started).map(|(id, _)| id.clone()) else { return false };
            self.bytes -= self.tasks.remove(&id).map_or(0, |task| task.status.bytes());
        }
        true
    }
}

impl Inner {
    /// The bytes of what was there have been taken off.
    fn put(&mut self, id: &str, status: Status) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        self.bytes += status.bytes();
        task.updated = Timestamp::now();
        task.status = status;
    }

    /// Takes what a client answers. What is not asked, or not any more, is ignored.
    ///
    /// # Errors
    /// Where it cannot be kept or handed on now: nothing of it was taken.
    fn update(&mut self, id: &str, responses: Json<'_>, limit: usize) -> Result<(), &'static str> {
        let Some(task) = self.tasks.get(id) else { return Ok(()) };
        let Status::InputRequired(open) = &task.status else { return Ok(()) };
        let Some(questions) = open.with(responses) else { return Ok(()) };
        let before = open.bytes();
        let order = match questions.are_answered() {
            false => None,
            true => Some(task.session.clone().try_reserve_owned().map_err(|_| "too much is going on")?),
        };
        if !self.make_room(questions.bytes().saturating_sub(before), limit) {
            return Err("there is no room for them");
        }
        self.bytes -= before;
        self.put(id, Status::InputRequired(questions));
        if let Some(order) = order {
            order.send(Order::Answered(id.to_owned()));
        }
        Ok(())
    }
}

impl Tasks {
    pub fn new(enabled: bool, bounds: Bounds) -> Tasks {
        Tasks { enabled, bounds, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Never left half changed, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a task for a call that waits until `deadline`. Nothing where there is no room: the client then waits as
    /// others do.
    pub fn open(
        &self,
        owner: Owner,
        session: mpsc::Sender<Order>,
        deadline: Instant,
        answer_timeout: Duration,
        said: String,
    ) -> Option<String> {
        if !self.enabled {
            return None;
        }
        let mut inner = self.lock();
        inner.forget_the_old();
        let mine = inner.tasks.values().filter(|task| task.owner.principal == owner.principal).count();
        if inner.tasks.len() >= self.bounds.count || mine >= self.bounds.count_each {
            tracing::warn!(
                principal = owner.principal,
                "there is no room for another task; the call waits without one"
            );
            return None;
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (created, now) = (Timestamp::now(), Instant::now());
        let ttl = deadline.saturating_duration_since(now) + answer_timeout + KEPT;
        let task = Task {
            owner,
            status: Status::Working(said),
            created,
            updated: created,
            started: now,
            ttl,
            asked: now,
            session,
            names: Names::default(),
            fetched: false,
        };
        inner.tasks.insert(id.clone(), task);
        Some(id)
    }

    /// Takes back a task that nobody has heard of.
    pub fn forget(&self, id: &str) {
        let mut inner = self.lock();
        inner.bytes -= inner.tasks.remove(id).map_or(0, |task| task.status.bytes());
    }

    /// The answer to the call's own request.
    pub fn handle(&self, request: &Id, id: &str) -> Option<JsonText> {
        let result = self.lock().tasks.get(id)?.show(id, "task")?;
        Some(reply::result(request, &result))
    }

    /// What became of a task, or how far it is. What has ended stays as it ended.
    pub fn set(&self, id: &str, status: Status) {
        let mut inner = self.lock();
        if inner.tasks.get(id).is_none_or(Task::is_over) {
            return;
        }
        inner.bytes -= inner.tasks.get(id).map_or(0, |task| task.status.bytes());
        let status = if inner.make_room(status.bytes(), self.bounds.bytes) { status } else { no_room(status.bytes()) };
        inner.put(id, status);
    }

    /// The server asks the client of a task. `beside` are bytes that are kept for the answers elsewhere.
    pub fn ask(&self, id: &str, requests: Json<'_>, beside: usize) -> Asked {
        let mut inner = self.lock();
        let Some(task) = inner.tasks.get_mut(id).filter(|task| !task.is_over()) else { return Asked::TooMuch };
        let (none, before) = (Questions::default(), task.status.bytes());
        let open = if let Status::InputRequired(open) = &task.status { open } else { &none };
        let Some(questions) = Questions::asked(open, requests, beside, &mut task.names) else { return Asked::TooMuch };
        let bytes = questions.bytes();
        if !inner.make_room(bytes.saturating_sub(before), self.bounds.bytes) {
            return Asked::TooMuch;
        }
        inner.bytes -= before;
        let asked = if questions.are_answered() { Asked::Answered } else { Asked::Waits };
        inner.put(id, Status::InputRequired(questions));
        asked
    }

    /// All answers to the questions of a task, which works again; nothing where one is still open.
    pub fn take_answers(&self, id: &str) -> Option<JsonText> {
        let mut inner = self.lock();
        let Status::InputRequired(questions) = &inner.tasks.get(id)?.status else { return None };
        let answers = questions.are_answered().then(|| questions.answers()).flatten()?;
        let bytes = questions.bytes();
        inner.bytes -= bytes;
        inner.put(id, Status::Working("the answers are being decided".to_owned()));
        Some(answers)
    }

    /// How long a question waits for its answer.
    pub fn answer_within(&self) -> Duration {
        self.bounds.answer_within
    }

    /// Whether a task is there and goes on.
    pub fn goes_on(&self, id: &str) -> bool {
        let mut inner = self.lock();
        inner.forget_the_old();
        inner.tasks.get(id).is_some_and(|task| !task.is_over())
    }

    /// When the client of a task that goes on counts as gone, unless it asks before.
    pub fn silent_at(&self, id: &str) -> Option<Instant> {
        self.lock().tasks.get(id).filter(|task| !task.is_over()).map(|task| task.asked + self.bounds.silence)
    }

    /// Answers a request about a task of ours. Nothing for any other message and for any other task: an id of somebody
    /// else is no id of ours.
    pub fn answer(&self, message: &Message, owner: &Owner) -> Option<JsonText> {
        let method =
            message.method().filter(|method| matches!(*method, "tasks/get" | "tasks/update" | "tasks/cancel"))?;
        let request = message.id()?;
        let params = message.params()?;
        let id = params.get("taskId")?.as_str()?;
        let mut inner = self.lock();
        inner.forget_the_old();
        let task = inner.tasks.get_mut(&*id).filter(|task| task.owner == *owner)?;
        if !declares(message) {
            return Some(undeclared(request));
        }
        task.asked = Instant::now();
        if !task.is_over() {
            // What goes on can be fetched for a while after it was asked for last.
            task.ttl = task.ttl.max(task.started.elapsed() + KEPT);
        }
        let result = match method {
            "tasks/get" => {
                task.fetched = task.is_over();
                task.show(&id, "complete")?
            }
            "tasks/cancel" => {
                if !task.is_over() && task.session.try_send(Order::Cancel(id.clone().into_owned())).is_err() {
                    tracing::debug!("a task was cancelled that nobody works on");
                }
                JsonText::of(&json!({"resultType": "complete"})).ok()?
            }
            _ => {
                let Some(responses) = params.get("inputResponses").filter(|given| given.kind() == Kind::Object) else {
                    let reason = "refused by countersign: inputResponses must be an object";
                    return Some(reply::error(request, INVALID_PARAMS, reason));
                };
                if let Err(why) = inner.update(&id, responses, self.bounds.bytes) {
                    let reason = format!("countersign: the answers were not taken ({why}); send them again");
                    return Some(reply::error(request, crate::mcp::loss::OVERLOADED, &reason));
                }
                JsonText::of(&json!({"resultType": "complete"})).ok()?
            }
        };
        Some(reply::result(request, &result))
    }

    /// The answer to `server/discover`, with the extension among its capabilities.
    pub fn advertise(&self, answer: &JsonText) -> JsonText {
        let insert = |object: Json<'_>, member: &str| {
            let rest = object.text().strip_prefix('{').unwrap_or("}");
            let comma = if rest == "}" { "" } else { "," };
            answer.replaced(object, &format!("{{{member}{comma}{rest}"))
        };
        let capabilities = answer.view().pointer("/result/capabilities").filter(|_| self.enabled);
        let added = capabilities.and_then(|capabilities| match capabilities.get("extensions") {
            Some(extensions) if extensions.get(EXTENSION).is_some() => None,
            Some(extensions) => insert(extensions, &format!(r#""{EXTENSION}":{{}}"#)),
            None => insert(capabilities, &format!(r#""extensions":{{"{EXTENSION}":{{}}}}"#)),
        });
        added.unwrap_or_else(|| answer.clone())
    }
}

/// Whether a request says that its client takes a task for an answer.
pub fn declares(message: &Message) -> bool {
    let capabilities = message
        .params()
        .and_then(|params| params.get("_meta"))
        .and_then(|meta| meta.get("io.modelcontextprotocol/clientCapabilities"));
    message.is_modern() && declared(capabilities)
}

/// The same of the capabilities that a request declares.
pub fn declared(capabilities: Option<Json<'_>>) -> bool {
    capabilities.and_then(|offers| offers.get("extensions")).and_then(|extensions| extensions.get(EXTENSION)).is_some()
}

pub const UNDECLARED: &str = "the request does not declare tasks";

/// The answer to a request about a task that lacks what it needs.
pub fn undeclared(request: &Id) -> JsonText {
    let data = json!({"requiredCapabilities": {"extensions": {EXTENSION: {}}}});
    reply::error_with(request, MISSING_CAPABILITY, UNDECLARED, &data)
}

fn no_room(bytes: usize) -> Status {
    let message = format!(
        "countersign: the call was made and answered, but {bytes} bytes more cannot be kept until they are fetched; \
         look at what it did before you make it again"
    );
    let error = json!({"code": crate::mcp::loss::NO_ANSWER, "message": message});
    Status::Failed(JsonText::of(&error).unwrap_or_else(|_| JsonText::empty_object()))
}

#[cfg(test)]
mod tests;
