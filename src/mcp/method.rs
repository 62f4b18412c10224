//! Sorts what a client sends by the method table, and reads what needs a decision.
//!
//! Invariant: a [`Passage`] and a [`ToolCall`] are made here and nowhere else, so nothing travels that the table does
//! not have.

use crate::call::{CallId, Decided, ToolCall};
use crate::json::{Json, JsonText, Kind};

use super::message::{Era, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Malformed, Message, Shape};
use super::table::{self, Notice, Row};

/// A task's name as an upstream gives it: longer ones are refused.
pub const MAX_TASK_ID: usize = 512;

/// A client message, sorted by what may happen to it.
#[derive(Debug)]
pub enum Sorted {
    /// To the gate.
    Decide(Box<ToolCall>),
    /// To the upstream as it is.
    Pass(Passage),
    /// To the upstream where the task is the principal's own.
    Task {
        task: String,
        passage: Passage,
    },
    /// To the upstream where its row allows it in this session.
    Notice(Passage),
    /// The client takes a request back.
    Cancel {
        request: super::message::Id,
        passage: Passage,
    },
    /// To nobody.
    Drop {
        method: String,
    },
    /// The client answers a request of the upstream: passed on only where that request is open in this session.
    Answer {
        request: super::message::Id,
        passage: Passage,
    },
    Refuse(Malformed),
}

/// A message that the table lets through without a decision. Only [`sort`] makes one.
#[derive(Debug)]
pub struct Passage(Message);

impl Passage {
    pub fn message(&self) -> &Message {
        &self.0
    }

    pub fn into_message(self) -> Message {
        self.0
    }
}

/// Sorts a client's message by the table.
pub fn sort(message: Message) -> Sorted {
    match message.shape().clone() {
        Shape::Request { id, method } => request(message, &method).unwrap_or_else(|no| Sorted::Refuse(no.of(&id))),
        Shape::Notification { method } => notification(message, &method),
        Shape::Response { id: Some(request), .. } => Sorted::Answer { request, passage: Passage(message) },
        Shape::Response { id: None, .. } => Sorted::Refuse(
            Malformed::new(INVALID_REQUEST, "refused by countersign: a response without an id").unanswered(),
        ),
    }
}

fn request(message: Message, method: &str) -> Result<Sorted, Malformed> {
    Ok(match table::request(message.era(), method) {
        Some(Row::Pass) => Sorted::Pass(Passage(message)),
        Some(Row::Decide(decided)) => Sorted::Decide(Box::new(tool_call(decided, &message)?)),
        Some(Row::Task) => {
            let task = message.params().and_then(task_id).ok_or_else(|| invalid(NO_TASK_ID))?;
            Sorted::Task { task, passage: Passage(message) }
        }
        None => {
            let era = match message.era() {
                Era::Legacy => "before 2026-07-28",
                Era::Modern => "from 2026-07-28 on",
            };
            let reason = match table::is_of_another_era(method) {
                true => format!("refused by countersign: there is no {method} {era}"),
                false => format!("refused by countersign: unknown method {}", clip(method)),
            };
            return Err(Malformed::new(METHOD_NOT_FOUND, reason));
        }
    })
}

fn notification(message: Message, method: &str) -> Sorted {
    let is = |era| table::notice(era, method);
    match is(Era::Legacy).or_else(|| is(Era::Modern)) {
        Some(Notice::Cancel) => match cancelled(&message) {
            Some(request) => Sorted::Cancel { request, passage: Passage(message) },
            None => Sorted::Drop { method: method.to_owned() },
        },
        Some(Notice::Pass | Notice::Progress | Notice::Offered(_)) => Sorted::Notice(Passage(message)),
        None if table::is_of_another_era(method) => {
            let reason = format!("refused by countersign: {method} without an id");
            Sorted::Refuse(Malformed::new(INVALID_REQUEST, reason).unanswered())
        }
        None => Sorted::Drop { method: clip(method) },
    }
}

/// What a client answers to a question of the upstream, as a call to decide.
///
/// # Errors
/// An answer that is not a result object or an error.
pub fn answer(passage: Passage, decided: Decided) -> Result<ToolCall, Malformed> {
    let message = passage.into_message();
    let view = message.text().view();
    let params = match (view.get("result"), view.get("error")) {
        (Some(result), None) if result.kind() == Kind::Object => JsonText::owned(result),
        (None, Some(_)) => JsonText::without(view, &["jsonrpc", "id"]),
        _ => return Err(invalid("an answer is a result object or an error").unanswered()),
    };
    Ok(ToolCall::new(fresh_id()?, decided, decided.as_str().to_owned(), params.clone(), params, message.into_text()))
}

/// The request that a `notifications/cancelled` takes back.
pub fn cancelled(message: &Message) -> Option<super::message::Id> {
    super::message::Id::of(message.params()?.get("requestId")?)
}

/// Names that every reader of ours and of theirs takes the same way.
fn is_plain_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

const NO_TASK_ID: &str = "taskId must be a string of at most 512 bytes";

fn invalid(reason: &str) -> Malformed {
    Malformed::new(INVALID_PARAMS, format!("refused by countersign: {reason}"))
}

fn fresh_id() -> Result<CallId, Malformed> {
    CallId::random().map_err(|_| Malformed::new(INVALID_REQUEST, "refused by countersign: no randomness for an id"))
}

/// The task that parameters name.
pub fn task_id(params: Json<'_>) -> Option<String> {
    let id = params.get("taskId").and_then(Json::as_str)?;
    (!id.is_empty() && id.len() <= MAX_TASK_ID).then(|| id.into_owned())
}

fn tool_call(method: Decided, message: &Message) -> Result<ToolCall, Malformed> {
    let params = message.params().ok_or_else(|| invalid("params are missing"))?;
    let must_be = |name: &str, kind: Kind| params.get(name).is_none_or(|value| value.kind() == kind);
    if !must_be("_meta", Kind::Object) {
        return Err(invalid("_meta must be an object"));
    }
    if message.is_modern() && !(must_be("inputResponses", Kind::Object) && must_be("requestState", Kind::String)) {
        return Err(invalid("inputResponses must be an object, requestState a string"));
    }
    known_members(method, message.is_modern(), params)?;
    let text = |name: &str| params.get(name).and_then(Json::as_str).map(std::borrow::Cow::into_owned);
    let decisive = JsonText::without(params, &["_meta"]);
    let (tool, arguments) = match method {
        Decided::ToolsCall => {
            let name = text("name").ok_or_else(|| invalid("the tool's name must be a string"))?;
            if !is_plain_name(&name) {
                return Err(invalid("a tool's name is 1 to 128 of A-Z a-z 0-9 _ . -"));
            }
            let arguments = match params.get("arguments") {
                None => JsonText::empty_object(),
                Some(arguments) if arguments.kind() == Kind::Object => JsonText::owned(arguments),
                Some(_) => return Err(invalid("arguments must be an object")),
            };
            (name, arguments)
        }
        Decided::ResourcesRead | Decided::ResourcesSubscribe => {
            (text("uri").ok_or_else(|| invalid("uri must be a string"))?, decisive.clone())
        }
        Decided::PromptsGet => {
            (text("name").ok_or_else(|| invalid("the prompt's name must be a string"))?, decisive.clone())
        }
        Decided::Complete => {
            let reference = params.get("ref").ok_or_else(|| invalid("ref is missing"))?;
            (referred(reference).ok_or_else(|| invalid(REFERENCE))?, decisive.clone())
        }
        Decided::Listen => {
            if params.get("notifications").is_none_or(|filter| filter.kind() != Kind::Object) {
                return Err(invalid("notifications must be an object"));
            }
            (method.as_str().to_owned(), decisive.clone())
        }
        Decided::TasksUpdate => {
            if params.get("inputResponses").is_none() {
                return Err(invalid("inputResponses are missing"));
            }
            (task_id(params).ok_or_else(|| invalid(NO_TASK_ID))?, decisive.clone())
        }
        // Answers have no method of their own and are read by `answer`; requests to an API are read by `api_request`.
        Decided::Elicited | Decided::Sampled | Decided::Roots | Decided::TaskOutcome | Decided::ApiRequest => {
            return Err(invalid("this is no request of a client"));
        }
    };
    Ok(ToolCall::new(fresh_id()?, method, tool, arguments, decisive, message.text().clone()))
}

/// Refuses parameters that the protocol does not have: no rule would know them, and the server might. Answers to
/// questions are parameters of the modern era alone.
fn known_members(method: Decided, modern: bool, params: Json<'_>) -> Result<(), Malformed> {
    let own: &[&str] = match method {
        Decided::ToolsCall | Decided::PromptsGet => &["name", "arguments"],
        Decided::ResourcesRead | Decided::ResourcesSubscribe => &["uri"],
        Decided::Complete => &["ref", "argument", "context"],
        Decided::Listen => &["notifications"],
        Decided::TasksUpdate => &["taskId", "inputResponses"],
        Decided::Elicited | Decided::Sampled | Decided::Roots | Decided::TaskOutcome | Decided::ApiRequest => &[],
    };
    let answers = matches!(method, Decided::ToolsCall | Decided::PromptsGet | Decided::ResourcesRead);
    let known = |name: &str| match name {
        "_meta" => true,
        "inputResponses" | "requestState" if modern && answers => true,
        "task" => method == Decided::ToolsCall,
        name => own.contains(&name),
    };
    for (name, value) in params.members() {
        let name = name.as_str().unwrap_or_default();
        if !known(&name) {
            let (method, name) = (method.as_str(), clip(&name));
            return Err(invalid(&format!(
                "the parameters of {method} have no member {name} in this revision; leave it out"
            )));
        }
        if name == "task" && !is_task(value) {
            return Err(invalid("task must be an object of `ttl` (a number or null) and `pollInterval` (a number)"));
        }
    }
    Ok(())
}

/// What a client may wish of a task. Official clients send both members, and `null` for a task without an end.
fn is_task(task: Json<'_>) -> bool {
    let known = |name: Json<'_>, value: Json<'_>| match name.as_str().as_deref() {
        Some("ttl") => matches!(value.kind(), Kind::Number | Kind::Null),
        Some("pollInterval") => value.kind() == Kind::Number,
        _ => false,
    };
    task.kind() == Kind::Object && task.members().all(|(name, value)| known(name, value))
}

const REFERENCE: &str = "ref must be of type ref/prompt with a name and no uri, or ref/resource with a uri and no name";

/// What a completion is for. One that says it twice could be judged for one thing and asked for another.
fn referred(reference: Json<'_>) -> Option<String> {
    let (named, other) = match reference.get("type").and_then(Json::as_str)?.as_ref() {
        "ref/prompt" => ("name", "uri"),
        "ref/resource" => ("uri", "name"),
        _ => return None,
    };
    let named = reference.get(named).and_then(Json::as_str)?.into_owned();
    reference.get(other).is_none().then_some(named)
}

/// A name from outside, short enough for an error and a log line.
fn clip(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests;
