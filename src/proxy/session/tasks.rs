//! Tasks that calls have become, and what an upstream tells without being asked.
//!
//! Invariant: a principal reaches the tasks of its own calls and hears of no others. All principals look the same to
//! an upstream, so nothing but this keeps them apart.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{Decided, ToolCall};
use crate::json::{Json, Kind};
use crate::mcp::headers::{MISSING_CAPABILITY, TASKS_RESULT};
use crate::mcp::message::{Era, INVALID_PARAMS, Id, Malformed, Message};
use crate::mcp::method::{self, Passage};
use crate::mcp::table::{self, Notice};

use super::answer::evidence;
use super::asked::may_ask;
use super::{Open, Session};
use crate::proxy::listing::Kept;
use crate::proxy::tasks;

impl Session {
    /// A request about a task.
    pub(super) async fn task(&mut self, task: String, passage: Passage, modern: bool) {
        if self.shared.gate.task(&task, &self.base).is_none() {
            return self.refuse_foreign(passage.message()).await;
        }
        self.pass(passage, modern, Some(task)).await;
    }

    /// True for a call that may not name the tasks that it names.
    pub(super) fn names_foreign_tasks(&self, call: &ToolCall) -> bool {
        let own = |task: &str| self.shared.gate.task(task, &self.base).is_some();
        let all = match call.method() {
            Decided::TasksUpdate => own(call.tool()),
            Decided::Listen => {
                let named = call.params().view().pointer("/notifications/taskIds");
                named.into_iter().flat_map(Json::items).all(|task| task.as_str().is_some_and(|task| own(&task)))
            }
            _ => true,
        };
        !all
    }

    /// Refuses a request about a task that is not the client's. From 2026-07-28 on, what a request lacks comes before
    /// what it names.
    pub(super) async fn refuse_foreign(&mut self, request: &Message) {
        let Some(id) = request.id().cloned() else { return };
        if request.is_modern() && !tasks::declares(request) {
            let malformed = Malformed::new(MISSING_CAPABILITY, tasks::UNDECLARED).of(&id);
            self.note_refused(&malformed).await;
            return self.tell(tasks::undeclared(&id), Some(id)).await;
        }
        let reason = "refused by countersign: no call of yours has become this task";
        self.refuse(Malformed::new(INVALID_PARAMS, reason).of(&id)).await;
    }

    /// A call is answered with a task that goes on at the upstream, whether its client asks for it or not.
    pub(super) fn task_began(&self, result: Json<'_>) {
        let own =
            |about: Json<'_>| method::task_id(about).filter(|task| self.shared.gate.task(task, &self.base).is_some());
        let task =
            [Some(result), result.get("task")].into_iter().flatten().find_map(|about| Some((about, own(about)?)));
        if let Some((about, task)) = task.filter(|(about, _)| !has_ended(*about)) {
            let kept = ["ttl", "ttlMs"].into_iter().find_map(|name| about.get(name)?.text().parse().ok());
            self.running.began(&task, kept.map(|kept: u64| Duration::from_millis(kept)));
        }
    }

    /// Remembers what the answer to a request about a task asks of the client, and that the task has ended.
    pub(super) fn task_said(&self, state: &Open, result: Option<Json<'_>>) {
        let Open::Passed { task: Some(task), method, .. } = state else { return };
        if result.is_some_and(|result| method == TASKS_RESULT || has_ended(result)) {
            self.running.ended(task);
        }
        if let Some(questions) = result.and_then(|result| result.get("inputRequests")) {
            self.shared.gate.task_asks(task, &self.base, questions);
        }
    }

    /// The answer to `tasks/list` without the tasks of others. Order, cursors and unknown fields stay.
    pub(super) fn own_tasks(&self, answer: Message) -> Option<Message> {
        let text = answer.text().clone();
        let Some(tasks) = answer.result().and_then(|result| result.get("tasks")) else { return Some(answer) };
        if tasks.kind() != Kind::Array {
            return None;
        }
        let mut kept = Kept::new(tasks);
        let own = |task: &Json<'_>| {
            method::task_id(*task).is_some_and(|task| self.shared.gate.task(&task, &self.base).is_some())
        };
        tasks.items().filter(own).for_each(|task| kept.push(task));
        let filtered = text.replaced(tasks, &kept.finish())?;
        Some(answer.with_text(filtered))
    }

    /// What an upstream tells. What the era does not have goes nowhere.
    pub(super) async fn told(&mut self, method: &str, message: Message, related: Option<Id>) {
        let known = match self.era {
            Some(era) => table::news(era, method),
            None => table::news(Era::Legacy, method) || table::news(Era::Modern, method),
        };
        let params = message.params();
        let passes = known
            && match method {
                "notifications/tools/list_changed" => {
                    self.listing.forget();
                    true
                }
                "notifications/tasks" | "notifications/tasks/status" => {
                    params.is_some_and(|params| self.may_hear_of_task(params, related.as_ref()))
                }
                _ => true,
            };
        if method == "notifications/cancelled"
            && let Some(question) = method::cancelled(&message)
        {
            self.question_cancelled(&question);
        }
        if !passes {
            tracing::debug!(session = self.id, method, "a notification of the server was dropped");
            return;
        }
        let of_task = method.starts_with("notifications/tasks").then(|| params.and_then(method::task_id)).flatten();
        if let Some((origin, call)) = of_task.and_then(|task| self.task_call(&task)) {
            let (server, shared) = (Arc::clone(&self.server), Arc::clone(&self.shared));
            evidence(&server, &shared.gate, &origin, &call, message.text().view()).await;
        }
        if let Some(params) = params.filter(|params| method.starts_with("notifications/tasks") && has_ended(*params))
            && let Some(task) = method::task_id(params)
        {
            self.running.ended(&task);
        }
        let Some(text) = self.notified(&message) else { return };
        self.tell(text, related).await;
    }

    /// Whether news of a task are this principal's; remembers what they ask.
    fn may_hear_of_task(&self, params: Json<'_>, related: Option<&Id>) -> bool {
        let Some(task) = method::task_id(params) else { return false };
        if self.shared.gate.task(&task, &self.base).is_none() {
            return false;
        }
        let Some(questions) = params.get("inputRequests") else { return true };
        let stream = params.pointer("/_meta/io.modelcontextprotocol~1subscriptionId").and_then(Id::of);
        let listen = stream.as_ref().or(related).and_then(|id| self.open.get(id));
        let may = may_ask(questions, listen.and_then(|listen| listen.capabilities.as_ref()));
        if may {
            self.shared.gate.task_asks(&task, &self.base, questions);
        }
        may
    }

    /// What a client tells.
    pub(super) fn notice(&self, passage: Passage) {
        let message = passage.message();
        let method = message.method().unwrap_or_default();
        let offered = |name: &str| self.capabilities.as_ref().is_some_and(|offers| offers.view().get(name).is_some());
        let token = || message.params().and_then(|params| params.get("progressToken"));
        let passes = match table::notice(self.era.unwrap_or(Era::Legacy), method) {
            Some(Notice::Pass) => true,
            Some(Notice::Progress) => token().is_some_and(|token| self.is_asked_with_progress(token)),
            Some(Notice::Offered(capability)) => offered(capability),
            // A cancel has a way of its own.
            Some(Notice::Cancel) | None => false,
        };
        if !passes {
            return tracing::debug!(session = self.id, method, "a notification was dropped");
        }
        if let Err(why) = self.upstream.pass(passage) {
            tracing::warn!(session = self.id, %why, "a notification was not passed on");
        }
    }
}

/// Whether this says of a task that it goes on no more.
fn has_ended(task: Json<'_>) -> bool {
    let status = task.get("status").and_then(Json::as_str);
    status.is_some_and(|status| matches!(&*status, "completed" | "failed" | "cancelled"))
}
