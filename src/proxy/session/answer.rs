//! The server's answer to a request of the client: matched, filtered, scrubbed, recorded, then passed on.
//!
//! Invariant: nothing of it reaches the client before what it leaves open is remembered and the end of the call is noted.

use std::sync::Arc;

use crate::audit::Answer;
use crate::call::{Decided, Digest};
use crate::catalog::Catalog;
use crate::gate::{Gate, SentCall};
use crate::json::Json;
use crate::mcp::loss::{Loss, NO_ANSWER};
use crate::mcp::message::{Id, Message};
use crate::mcp::reply;

use super::asked::{Undeclared, undeclared};
use super::held::Part;
use super::{Open, Session};

impl Session {
    pub(super) async fn answered(&mut self, id: Id, is_error: bool, message: Message) {
        if self.polled(&id, &message).await {
            return;
        }
        let deciding = self.open.get(&id).is_none_or(|request| matches!(request.state, Open::Deciding { .. }));
        if deciding {
            tracing::warn!(session = self.id, server = self.server.facts.name, %id, "an answer to nothing that was sent was dropped");
            return;
        }
        let Some(request) = self.open.remove(&id) else { return };
        self.end_questions(&id);
        let discovers =
            matches!(&request.state, Open::Passed { method, .. } if method == "server/discover") && !is_error;
        let message = match &request.state {
            Open::Passed { method, .. } if method == "tools/list" && !is_error => {
                let gate = Arc::clone(&self.shared.gate);
                self.listing.filter(message, &gate, &self.server, &self.base, request.modern).await
            }
            Open::Passed { method, .. } if method == "tasks/list" && !is_error => self.own_tasks(message),
            Open::Sent { .. } | Open::Passed { .. } | Open::Deciding { .. } => Some(message),
        };
        let clean = message.as_ref().and_then(|message| self.shared.scrubber.message(message.text()));
        if let (Open::Sent { sent }, Some(text)) = (&request.state, &clean) {
            let (server, shared) = (Arc::clone(&self.server), Arc::clone(&self.shared));
            look(&server.catalog, &shared.gate, sent, text.view()).await;
        }
        let capabilities = request.capabilities.as_ref();
        let undeclared = clean.as_ref().and_then(|text| undeclared(text, request.modern, capabilities));
        let told = clean.clone().filter(|_| undeclared.is_none() && !request.cancelled);
        if let Some(text) = &told {
            self.task_said(&request.state, text.view());
            self.learn(&request.state, text.view());
        }
        if let Open::Sent { sent } = request.state {
            let result = match undeclared {
                Some(Undeclared::Task) => Answer::OutcomeUnknown,
                _ if is_error => Answer::Error,
                Some(Undeclared::Input) | None => answer_kind(message.as_ref()),
            };
            let (bytes, digest) = clean
                .as_ref()
                .map_or((0, None), |text| (text.as_str().len(), Some(Digest::of_bytes(text.as_str().as_bytes()))));
            // The words of the stateless era leave nothing open in the other.
            let kind =
                |result: Json<'_>| result.get("resultType").and_then(Json::as_str).map(|kind| kind == "complete");
            let own = |result: &Json<'_>| request.modern || kind(*result) != Some(false);
            let left_open = told.as_ref().and_then(|text| text.view().get("result").filter(own));
            let left_open = left_open.and_then(|result| self.shared.gate.relayed(&sent, result));
            let note = if request.cancelled { Some("the client no longer waited for it") } else { left_open };
            self.shared.gate.completed(sent, result, bytes, digest, note.map(str::to_owned)).await;
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
            (None, None) => {
                reply::error(&id, NO_ANSWER, "countersign: the server's answer could not be passed on safely")
            }
        };
        if let Some(task) = &request.wait.task {
            if request.wait.part == Part::Answers {
                return self.answers_sent(task, &text);
            }
            if self.chain(task, &request.wait, &text) || self.asks(&request.wait, &text) {
                return;
            }
        }
        let text = if discovers { self.shared.tasks.advertise(&text) } else { text };
        self.deliver(id, &request.wait, text).await;
    }

    /// Remembers what the server says about its handles, as the client is told it.
    fn learn(&mut self, state: &Open, answer: Json<'_>) {
        if let (Open::Sent { sent }, Some(result)) = (state, answer.get("result"))
            && sent.origin().method() == Decided::ToolsCall
        {
            self.handles.learn(&self.server.catalog, &sent.origin().tool().name, result);
        }
    }
}

/// What the answer to a call says about where the server works, and what it gives out that may confirm the call.
async fn look(catalog: &Catalog, gate: &Gate, sent: &SentCall, answer: Json<'_>) {
    if sent.origin().method() != Decided::ToolsCall {
        return;
    }
    let seen = answer.get("result").map(|result| catalog.seen(result)).unwrap_or_default();
    if seen.production || seen.test {
        gate.seen(sent, &seen).await;
    }
    if catalog.vendor_confirmations().next().is_some() {
        gate.issues(sent, answer);
    }
}

fn answer_kind(message: Option<&Message>) -> Answer {
    let failed = message.and_then(Message::result).and_then(|result| result.get("isError")).and_then(Json::as_bool);
    if failed == Some(true) { Answer::ToolError } else { Answer::Ok }
}
