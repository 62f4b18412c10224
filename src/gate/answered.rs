//! What follows from a call that was sent: its answer, what that leaves open, and what it shows.
//!
//! Invariant: an answer never lets anything through. What it shows can only tighten.

use super::{Gate, Origin, SentCall, State};
use crate::audit::{Answer, Entry, Event};
use crate::call::{CallContext, CallId, Class, Digest, Environment, Seen};
use crate::json::Json;

impl Gate {
    /// Holds what an answer says about where its server works against where the server is bound. After a contradiction
    /// the rules see a conflict. To be called before the client can see the answer.
    pub async fn seen(&self, origin: &Origin, call: &CallId, seen: &Seen) {
        let context = origin.context();
        let (server, environment) = (&context.server.name, &context.environment);
        let what = match environment.is_production() {
            true if seen.test => "a test environment",
            false if seen.production => "production",
            true | false => return,
        };
        let conflict = format!("the answer to {} (call {call}) is from {what}", context.operation.name);
        if !self.places.contradict(server, &conflict) {
            return;
        }
        tracing::error!(server, environment = environment.name, conflict, "nothing more is sent to this server");
        let environment = Environment { conflict: Some(conflict.clone()), ..(**environment).clone() };
        let event = Event::EnvironmentConflict { server: server.clone(), environment, conflict };
        if let Err(error) = self.audit.append(Entry::new(Some(call), true, event)).await {
            tracing::error!(%error, "the conflict could not be recorded");
        }
    }

    /// Remembers what an answer gives out that may confirm the same call. To be called before the client can see it.
    pub fn issues(&self, sent: &SentCall, result: Json<'_>) {
        let context = sent.origin().context();
        if context.operation.class != Class::Read {
            self.issued.learn(&sent.origin().tool().name, sent.params.view(), context, result);
        }
    }

    /// Remembers what the answer to a call leaves open: a question of the server, or a task. To be called before the
    /// client can see the answer. Says in a word what that is.
    pub fn relayed(&self, sent: &SentCall, result: Json<'_>) -> Option<&'static str> {
        self.following.relayed(sent, result)
    }

    /// The call that became this task, where it was one of this principal on this server.
    pub fn task(&self, id: &str, context: &CallContext) -> Option<Origin> {
        self.following.task(id, context)
    }

    /// Remembers what a task asks. To be called before the client can see it.
    pub fn task_asks(&self, id: &str, context: &CallContext, questions: Json<'_>) {
        self.following.task_asks(id, context, questions);
    }

    /// A session is over: what it was let through counts for its principal alone.
    pub fn session_ended(&self, context: &CallContext) {
        self.history.session_ended(&context.principal.name, &context.server.name, &context.session);
    }

    /// Records the answer to a call that was sent.
    pub async fn completed(
        &self,
        sent: SentCall,
        answer: Answer,
        bytes: usize,
        digest: Option<Digest>,
        note: Option<String>,
    ) {
        let duration_ms = u64::try_from(sent.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(hold) = &sent.hold {
            let result = said(answer).to_owned();
            self.holds.amend(hold, |state| match state {
                State::Approved { by, at } => State::Done { by: by.clone(), at: *at, result },
                other => other.clone(),
            });
        }
        self.sessions.became(&sent.origin().context().session, &sent.id, said(answer));
        // Whatever may have left stays counted, also where the answer is an error or there is none.
        match answer {
            Answer::NotSent => self.history.give_back(sent.counted),
            Answer::Ok
            | Answer::ToolError
            | Answer::Error
            | Answer::OutcomeUnknown
            | Answer::Undeliverable
            | Answer::KeptBack => {}
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let redacted = sent.redacted.into_iter().collect();
        let event = Event::Completed { result: answer, bytes, digest, duration_ms, note, redacted };
        if let Err(error) = self.audit.note(Entry::new(Some(&sent.id), false, event)).await {
            tracing::error!(call = %sent.id, %error, "an answer could not be recorded");
        }
    }
}

/// How an answer is shown to operators.
fn said(answer: Answer) -> &'static str {
    match answer {
        Answer::Ok => "ok",
        Answer::ToolError => "tool_error",
        Answer::Error => "error",
        Answer::NotSent => "not_sent",
        Answer::OutcomeUnknown => "outcome_unknown",
        Answer::Undeliverable => "undeliverable",
        Answer::KeptBack => "kept_back",
    }
}
