//! Input in the middle of a task of ours: the server answers the call with questions, or its own task asks them. Our task
//! shows them, and what its client answers goes on as what it would have been without a task of ours: the call again
//! with the answers (and the state that the server gave), or an update of the server's task.
//!
//! Invariant: what goes on is a call for the gate like any other. Its arguments are those of the call that it goes on
//! from: a client of ours names a task and answers, and nothing else.

use serde_json::json;
use tokio::time::Instant;

use crate::call::{Outcome, Refusal};
use crate::json::{Json, JsonText};
use crate::mcp::message::{INVALID_REQUEST, Id, Malformed, Message};
use crate::mcp::method::{self, Sorted};
use crate::mcp::reply;
use crate::proxy::tasks::{Asked, Order, Status};

use super::chain::own_id;
use super::held::{Part, Wait};
use super::{Open, Session};

/// A call that its server has answered with questions, which its client has not answered yet.
#[derive(Debug)]
pub(super) struct Asking {
    pub task: String,
    /// As it was sent.
    call: JsonText,
    /// What the server wants to see again.
    state: Option<JsonText>,
    pub until: Instant,
}

/// Why a task ends whose client has gone away from a question, or has not answered it in time.
pub(super) const NO_ANSWERS: &str = "the server's questions were not answered in time; nothing more was sent";

impl Session {
    /// Asks the client of our task, where that is what the server answers its call with. True where the task goes on.
    pub(super) fn asks(&mut self, wait: &Wait, answer: &JsonText) -> bool {
        let (Some(task), Some(call)) = (&wait.task, &wait.call) else { return false };
        let view = answer.view();
        let asks = view.get("result").filter(|result| kind(*result).as_deref() == Some("input_required"));
        let Some(questions) = asks.and_then(|result| result.get("inputRequests")) else { return false };
        if self.shared.tasks.ask(task, questions, call.as_str().len()) != Asked::Waits {
            return false;
        }
        let state = view.pointer("/result/requestState").map(JsonText::owned);
        let until = Instant::now() + self.shared.tasks.answer_within();
        self.askings.push(Asking { task: task.clone(), call: call.clone(), state, until });
        true
    }

    /// What the client of a task wants.
    pub(super) async fn ordered(&mut self, order: Order) {
        match order {
            Order::Cancel(task) => self.cancel_task(&task).await,
            Order::Answered(task) => self.answered_by_client(&task).await,
        }
    }

    /// Every question of a task is answered.
    pub(super) async fn answered_by_client(&mut self, task: &str) {
        let Some(answers) = self.shared.tasks.take_answers(task) else { return };
        let Some(id) = own_id() else { return self.break_off(task, "there is no randomness for an id") };
        if let Some(at) = self.askings.iter().position(|asking| asking.task == task) {
            let asking = self.askings.swap_remove(at);
            let text = again(&asking, &id, &answers);
            return self.go_on(text, task, Part::Call).await;
        }
        let text = self.update_of(task, &id, &answers);
        self.go_on(text, task, Part::Answers).await;
    }

    /// Takes what a client has answered to the gate, as a message that it could have sent itself.
    async fn go_on(&mut self, text: Option<String>, task: &str, part: Part) {
        let read = text.map(|text| self.read(text));
        let call = match read {
            Some(Ok(call)) => call,
            Some(Err(malformed)) => {
                self.note_refused(&malformed).await;
                return self.break_off(task, &malformed.reason);
            }
            None => return self.break_off(task, "nothing is there any more that they could go to"),
        };
        let id = Message::of_call(&call).and_then(|message| message.id().cloned());
        if self.names_foreign_tasks(&call) {
            return self.break_off(task, "the server's task is not remembered any more");
        }
        if let Some(malformed) = id.and_then(|id| self.server.cannot_call(&call, &id, true)) {
            return self.break_off(task, &malformed.reason);
        }
        self.decide(Box::new(call), true, Some((task.to_owned(), part))).await;
    }

    fn read(&self, text: String) -> Result<crate::call::ToolCall, Malformed> {
        let refused = |reason: &str| Malformed::new(INVALID_REQUEST, format!("refused by countersign: {reason}"));
        if text.len() > self.shared.limits.message_bytes {
            return Err(refused("with these answers the call is longer than limits.message_bytes"));
        }
        if self.shared.scrubber.has_whole(&text) {
            return Err(refused("the answers contain a key that countersign keeps"));
        }
        match method::sort(Message::from_client(text)?) {
            Sorted::Decide(call) => Ok(*call),
            Sorted::Refuse(malformed) => Err(malformed),
            Sorted::Pass(_)
            | Sorted::Task { .. }
            | Sorted::Notice(_)
            | Sorted::Cancel { .. }
            | Sorted::Drop { .. }
            | Sorted::Answer { .. } => Err(refused("the answers are no call")),
        }
    }

    /// What a client answered cannot go on, and neither can its task.
    fn break_off(&mut self, task: &str, why: &str) {
        self.end_theirs(task);
        self.fail(
            task,
            &format!("the answers to the server's questions were not sent ({why}); look at what the call did"),
        );
    }

    /// The answers are not sent: neither the server's task goes on nor ours.
    pub(super) fn answers_refused(&mut self, task: &str, refusal: Refusal) {
        self.end_theirs(task);
        let status = if refusal.outcome == Outcome::Withdrawn {
            Status::Cancelled(refusal.reason)
        } else {
            Status::Completed(reply::refused_answers(&refusal))
        };
        self.shared.tasks.set(task, status);
    }

    /// The server has said something about answers that it was sent, or never will. Only the task shows what they did.
    pub(super) fn answers_sent(&mut self, task: &str, answer: &JsonText) {
        let Some(error) = answer.view().get("error") else { return self.poll_soon(task) };
        self.end_theirs(task);
        self.shared.tasks.set(task, Status::Failed(JsonText::owned(error)));
    }

    /// True while answers of this task are on their way.
    pub(super) fn is_answering(&self, task: &str) -> bool {
        self.open
            .values()
            .any(|request| request.wait.part == Part::Answers && request.wait.task.as_deref() == Some(task))
    }

    /// Answers that have not left are not sent any more.
    pub(super) fn withdraw_answers(&mut self, task: &str, why: &'static str) {
        for request in self.open.values().filter(|request| request.wait.task.as_deref() == Some(task)) {
            match (request.wait.part, &request.state) {
                (Part::Answers, Open::Deciding { presence, .. }) => presence.leave(Outcome::Withdrawn, why),
                // Its link says that it did not leave.
                (Part::Answers, Open::Sent { sent }) => {
                    sent.leave().take_back(Outcome::Withdrawn, why);
                }
                (Part::Answers, Open::Passed { .. } | Open::Returned) | (Part::Call, _) => {}
            }
        }
    }

    /// Ends questions that were not answered in time, and those of tasks that are over.
    pub(super) fn end_askings(&mut self) {
        let (tasks, now) = (self.tasks(), Instant::now());
        self.askings.retain(|asking| {
            let late = now >= asking.until;
            if late {
                tasks.set(&asking.task, Status::Cancelled(NO_ANSWERS.to_owned()));
            }
            !late && tasks.goes_on(&asking.task)
        });
    }

    /// Nobody answers any more.
    pub(super) fn drop_askings(&mut self, why: &str) {
        for asking in std::mem::take(&mut self.askings) {
            self.shared.tasks.set(&asking.task, Status::Cancelled(why.to_owned()));
        }
    }
}

fn kind(result: Json<'_>) -> Option<std::borrow::Cow<'_, str>> {
    result.get("resultType").and_then(Json::as_str)
}

/// The call once more, with the answers. Everything else stays as it was.
fn again(asking: &Asking, id: &Id, answers: &JsonText) -> Option<String> {
    let params = JsonText::without(asking.call.view().get("params")?, &["inputResponses", "requestState"]);
    let rest = params.as_str().strip_suffix('}')?;
    let comma = if rest == "{" { "" } else { "," };
    let state = asking.state.as_ref().map(|state| format!(r#","requestState":{}"#, state.as_str()));
    let (id, answers, state) = (id.to_json(), answers.as_str(), state.unwrap_or_default());
    let params = format!(r#"{rest}{comma}"inputResponses":{answers}{state}}}"#);
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#))
}

/// An update of a task of the server.
pub(super) fn update(id: &Id, theirs: &JsonText, answers: &JsonText, meta: &JsonText) -> String {
    let params =
        format!(r#"{{"taskId":{},"inputResponses":{},"_meta":{}}}"#, theirs.as_str(), answers.as_str(), meta.as_str());
    format!(r#"{{"jsonrpc":"2.0","id":{},"method":{},"params":{params}}}"#, id.to_json(), json!("tasks/update"))
}
