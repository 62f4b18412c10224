//! The server's answer to a request of the client: matched, filtered, recorded, then passed on.
//!
//! Invariant: what comes here holds no key; all that is learned, kept, recorded or told is made of that. And nothing of it reaches the client before what it leaves open is remembered and the end of the call is noted.

use std::sync::Arc;

use crate::audit::Answer;
use crate::call::{CallId, Decided, Digest};
use crate::gate::{Gate, Origin};
use crate::json::{Json, JsonText};
use crate::mcp::loss::{Loss, NO_ANSWER};
use crate::mcp::message::{Id, METHOD_NOT_FOUND, Message, Shape};
use crate::mcp::reply;

use super::asked::{Undeclared, undeclared};
use super::held::Part;
use super::{Open, Request, Session, UNSAFE};
use crate::proxy::ServerRuntime;
use crate::proxy::listing::Asked;

impl Session {
    /// A message of the server's, without keys.
    pub(super) async fn said(&mut self, message: Message, related: Option<Id>) {
        match message.shape().clone() {
            Shape::Response { id: Some(id), is_error } => self.answered(id, is_error, Ok(message)).await,
            Shape::Response { id: None, .. } => {
                tracing::warn!(
                    session = self.id,
                    server = self.server.facts.name,
                    "an error without an id was dropped"
                );
            }
            Shape::Request { id, method } => self.asked_by_upstream(id, method, message, related).await,
            Shape::Notification { method } => self.told(&method, message, related).await,
        }
    }

    /// Keys were taken out of a message: noted with the call that it belongs to.
    pub(super) fn redacted(&mut self, shape: &Shape, related: Option<&Id>, names: Vec<String>) {
        if names.is_empty() {
            return;
        }
        let server = &self.server.facts.name;
        tracing::warn!(
            session = self.id,
            server,
            keys = names.join(", "),
            "keys were taken out of what the server says"
        );
        let id = match shape {
            Shape::Response { id, .. } => id.as_ref(),
            Shape::Request { .. } | Shape::Notification { .. } => related,
        };
        let request = id.and_then(|id| self.open.get_mut(id));
        if let Some(Request { state: Open::Sent { sent }, .. }) = request {
            sent.without(names);
        }
    }

    /// A message that is not passed on: it holds a key, and is none any more without it or would tell too much.
    pub(super) async fn unclean(&mut self, shape: Shape, why: &'static str) {
        match shape {
            Shape::Response { id: Some(id), is_error } => self.answered(id, is_error, Err(why)).await,
            Shape::Request { id, .. } => {
                self.upstream.decline(&id, METHOD_NOT_FOUND, "the request could not be passed on");
            }
            Shape::Response { id: None, .. } | Shape::Notification { .. } => {
                tracing::warn!(session = self.id, server = self.server.facts.name, "a message with a key was dropped");
            }
        }
    }

    /// Without a message where the answer is not passed on: then what the client reads instead.
    async fn answered(&mut self, id: Id, is_error: bool, message: Result<Message, &'static str>) {
        let (message, why) = match message {
            Ok(message) => (Some(message), None),
            Err(why) => (None, Some(why)),
        };
        if self.polled(&id, message.as_ref()).await {
            return;
        }
        if self.open.get(&id).is_none_or(|request| !request.state.has_left()) {
            tracing::warn!(session = self.id, server = self.server.facts.name, %id, "an answer to nothing that was sent was dropped");
            return;
        }
        let Some(request) = self.open.remove(&id) else { return };
        self.end_questions(&id);
        let discovers =
            matches!(&request.state, Open::Passed { method, .. } if method == "server/discover") && !is_error;
        let message = match (&request.state, message) {
            (Open::Passed { method, cursor, .. }, Some(message)) if method == "tools/list" && !is_error => {
                let gate = Arc::clone(&self.shared.gate);
                let asked = Asked { context: &self.base, cursor: cursor.as_deref(), modern: request.modern };
                self.listing.filter(message, &gate, &self.server, asked).await
            }
            (Open::Passed { method, .. }, Some(message)) if method == "tasks/list" && !is_error => {
                self.own_tasks(message)
            }
            (Open::Sent { .. } | Open::Passed { .. } | Open::Deciding { .. } | Open::Returned, message) => message,
        };
        let text = message.as_ref().map(|message| message.text().clone());
        if let Some(text) = &text {
            self.look(&request.state, text).await;
        }
        let capabilities = request.capabilities.as_ref();
        let result = message.as_ref().and_then(Message::result);
        let undeclared = result.filter(|_| request.modern).and_then(|result| undeclared(result, capabilities));
        let told = text.clone().filter(|_| undeclared.is_none() && !request.cancelled);
        if told.is_some() {
            self.task_said(&request.state, result);
            self.learn(&request.state, result);
        }
        let origin = match &request.state {
            Open::Sent { sent } => Some(sent.origin().clone()),
            Open::Deciding { .. } | Open::Passed { .. } | Open::Returned => None,
        };
        if let Open::Sent { sent } = request.state {
            let kind = match (undeclared, message.as_ref()) {
                (_, None) => Answer::KeptBack,
                (Some(Undeclared::Task), Some(_)) => Answer::OutcomeUnknown,
                (Some(Undeclared::Input) | None, Some(_)) if is_error => Answer::Error,
                (Some(Undeclared::Input) | None, Some(message)) => answer_kind(message),
            };
            let (bytes, digest) = text
                .as_ref()
                .map_or((0, None), |text| (text.as_str().len(), Some(Digest::of_bytes(text.as_str().as_bytes()))));
            // The words of the stateless era leave nothing open in the other.
            let complete =
                |result: Json<'_>| result.get("resultType").and_then(Json::as_str).map(|kind| kind == "complete");
            let own = |result: &Json<'_>| request.modern || complete(*result) != Some(false);
            let left_open = result.filter(|_| told.is_some()).filter(own);
            let left_open = left_open.and_then(|result| {
                let left_open = self.shared.gate.relayed(&sent, result)?;
                self.task_began(result);
                Some(left_open)
            });
            let note = match (why, request.cancelled) {
                (Some(why), _) => Some(why),
                (None, true) => Some("the client no longer waited for it"),
                (None, false) => left_open,
            };
            self.shared.gate.completed(sent, kind, bytes, digest, note.map(str::to_owned)).await;
        }
        if request.cancelled {
            return;
        }
        let text = match (told, undeclared) {
            (Some(text), _) => text,
            (None, Some(Undeclared::Task)) => {
                Loss::unknown("the server goes on with it as a task, which the client does not take").answer(&id)
            }
            (None, Some(Undeclared::Input)) => {
                reply::error(&id, NO_ANSWER, "countersign: the server asks for input that the client does not offer")
            }
            (None, None) => reply::error(&id, NO_ANSWER, why.unwrap_or(UNSAFE)),
        };
        if let Some(task) = &request.wait.task {
            if request.wait.part == Part::Answers {
                return self.answers_sent(task, &text);
            }
            if self.chain(task, &request.wait, origin, &text) || self.asks(&request.wait, &text) {
                return;
            }
        }
        let text = if discovers { self.shared.tasks.advertise(&text) } else { text };
        self.deliver(id, &request.wait, text).await;
    }

    /// What an answer to a call, or to a request about the task that a call became, shows of the server.
    fn look(&self, state: &Open, answer: &JsonText) -> impl Future<Output = ()> + Send + use<> {
        let (server, shared) = (Arc::clone(&self.server), Arc::clone(&self.shared));
        let said = match state {
            Open::Sent { sent } => {
                let issues = server.catalog.vendor_confirmations().next().is_some();
                if issues && sent.origin().method() == Decided::ToolsCall {
                    shared.gate.issues(sent, answer.view());
                }
                Some((sent.origin().clone(), sent.id().clone()))
            }
            Open::Passed { task: Some(task), .. } => self.task_call(task),
            Open::Passed { task: None, .. } | Open::Deciding { .. } | Open::Returned => None,
        };
        let answer = answer.clone();
        async move {
            if let Some((origin, call)) = said {
                evidence(&server, &shared.gate, &origin, &call, answer.view()).await;
            }
        }
    }

    /// The call that became a task, and the id that it is recorded under.
    pub(super) fn task_call(&self, task: &str) -> Option<(Origin, CallId)> {
        let origin = self.shared.gate.task(task, &self.base)?;
        let call = origin.call().clone();
        Some((origin, call))
    }

    /// Remembers what the server says about its handles, as the client is told it.
    fn learn(&mut self, state: &Open, result: Option<Json<'_>>) {
        if let (Open::Sent { sent }, Some(result)) = (state, result)
            && sent.origin().method() == Decided::ToolsCall
        {
            self.handles.learn(&self.server.catalog, &sent.origin().tool().name, result);
        }
    }
}

/// Holds what the server says about where it works against where it is bound: in the answer to a call, or in what it
/// tells of the task that a call became, which keeps the call's result inside of its own.
pub(super) async fn evidence(server: &ServerRuntime, gate: &Gate, origin: &Origin, call: &CallId, said: Json<'_>) {
    if origin.method() != Decided::ToolsCall {
        return;
    }
    let outer = said.get("result").or_else(|| said.get("params"));
    for result in outer.into_iter().chain(outer.and_then(|outer| outer.get("result"))) {
        let seen = server.catalog.seen(result);
        if seen.production || seen.test {
            gate.seen(origin, call, &seen).await;
        }
    }
}

fn answer_kind(message: &Message) -> Answer {
    let failed = message.result().and_then(|result| result.get("isError")).and_then(Json::as_bool);
    if failed == Some(true) { Answer::ToolError } else { Answer::Ok }
}
