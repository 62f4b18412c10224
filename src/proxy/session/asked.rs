//! What an upstream asks of the client, and what the client answers to it.
//!
//! Invariant: nobody is asked for what the client did not offer. An answer is passed on only where this session was
//! asked, the call that it was asked in is still open, and policy lets it through; once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use crate::audit::Answer;
use crate::call::{CallContext, Class, Decided, Ended, Leave, Outcome, Refusal};
use crate::gate::{Admission, Origin, PermittedCall, Presence, SentCall};
use crate::json::{Json, JsonText};
use crate::mcp::definitions;
use crate::mcp::message::{Era, INVALID_REQUEST, Id, METHOD_NOT_FOUND, Malformed, Message};
use crate::mcp::method::{self, Passage};
use crate::mcp::reply;
use crate::mcp::table::{self, Question};
use crate::proxy::{Shared, tasks};

use super::{Open, Session};

/// A request of the upstream that the client has been asked.
pub(super) struct Asked {
    question: Question,
    within: Within,
    /// The token of its progress notifications, as the upstream spells it.
    progress: Option<String>,
    /// The answer has come and is with the gate.
    deciding: Option<Presence>,
}

/// What a question was asked in.
enum Within {
    /// A request of the client that is with the upstream, decided.
    Call(Id, Origin),
    /// A task that a call has become.
    Task(String, Origin),
    Nothing,
}

impl Within {
    fn origin(&self) -> Option<&Origin> {
        match self {
            Within::Call(_, origin) | Within::Task(_, origin) => Some(origin),
            Within::Nothing => None,
        }
    }
}

/// How far an answer has come.
pub(super) enum Goes {
    Permitted(PermittedCall),
    /// Its link had it: it has left, or was taken back.
    Settled(SentCall),
}

/// What the gate came to about an answer.
pub(super) type Judged = (Id, Result<Goes, Refusal>);
pub(super) type Judging = Pin<Box<dyn Future<Output = Judged> + Send>>;

impl Session {
    /// A request of the upstream reaches the client only where the client has said that it takes such requests.
    pub(super) async fn asked_by_upstream(&mut self, id: Id, method: String, message: Message, related: Option<Id>) {
        let question = match self.era {
            Some(Era::Modern) => None,
            Some(Era::Legacy) | None => table::question(Era::Legacy, &method),
        };
        let offered = |name: &str| self.capabilities.as_ref().is_some_and(|offers| offers.view().get(name).is_some());
        let within = self.within(&message, related.as_ref());
        let allowed = question.filter(|question| {
            question.needs.is_none_or(offered)
                && !(question.in_a_call && within.origin().is_none())
                && message.params().is_none_or(safe_url)
        });
        let (Some(question), false) = (allowed, self.asked.contains_key(&id)) else {
            return self.decline(&id, &method);
        };
        if self.asked.len() >= self.shared.limits.in_flight {
            return self.decline(&id, &method);
        }
        let token = message.params().and_then(|params| params.pointer("/_meta/progressToken"));
        let progress = token.map(|token| token.text().to_owned());
        // Without a relation of its own only a question that needs a call is taken to be asked in one.
        let within = if question.in_a_call || related.is_some() { within } else { Within::Nothing };
        self.asked.insert(id, Asked { question, within, progress, deciding: None });
        self.tell(message.text().clone(), related).await;
    }

    fn decline(&self, id: &Id, method: &str) {
        let server = &self.server.facts.name;
        tracing::info!(session = self.id, server, method, "a request of the server was declined");
        self.upstream.decline(id, METHOD_NOT_FOUND, "the client does not offer this");
    }

    /// What a question belongs to: by its own word, by the stream that it came on, else the call that could do most
    /// harm of those that are open.
    fn within(&self, message: &Message, related: Option<&Id>) -> Within {
        let meta = message.params().and_then(|params| params.get("_meta"));
        let task = meta.and_then(|meta| meta.get("io.modelcontextprotocol/related-task")).and_then(method::task_id);
        if let Some(task) = task {
            return match self.shared.gate.task(&task, &self.base) {
                Some(origin) => Within::Task(task, origin),
                None => Within::Nothing,
            };
        }
        match related {
            Some(id) => self.open_call(id).unwrap_or(Within::Nothing),
            None => {
                let calls = self.open.keys().filter_map(|id| self.open_call(id));
                let class = |within: &Within| within.origin().map(|origin| danger(origin.operation().class));
                calls.max_by_key(class).unwrap_or(Within::Nothing)
            }
        }
    }

    fn open_call(&self, id: &Id) -> Option<Within> {
        let request = self.open.get(id).filter(|request| !request.cancelled)?;
        match &request.state {
            Open::Sent { sent } if sent.leave().has_left() => Some(Within::Call(id.clone(), sent.origin().clone())),
            Open::Passed { task: Some(task), .. } => {
                let origin = self.shared.gate.task(task, &self.base)?;
                Some(Within::Task(task.clone(), origin))
            }
            Open::Passed { task: None, .. } | Open::Sent { .. } | Open::Deciding { .. } | Open::Returned => None,
        }
    }

    fn is_open(&self, asked: &Asked) -> bool {
        match &asked.within {
            Within::Call(id, origin) => {
                let same = |within: &Within| within.origin().is_some_and(|now| now.call() == origin.call());
                self.open_call(id).as_ref().is_some_and(same)
            }
            Within::Task(task, _) => self.shared.gate.task(task, &self.base).is_some(),
            Within::Nothing => true,
        }
    }

    /// The client answers a request of the upstream.
    pub(super) async fn answer(&mut self, id: &Id, passage: Passage) {
        let wrong = |reason: &str| Malformed::new(INVALID_REQUEST, format!("refused by countersign: {reason}"));
        let asked = match self.asked.get(id) {
            Some(asked) if asked.deciding.is_none() => asked,
            _ => return self.refuse(wrong("a response to nothing that was asked").unanswered()).await,
        };
        if !self.is_open(asked) {
            let malformed = wrong("the call that this answer belongs to is over").unanswered();
            return self.not_answered(id, malformed).await;
        }
        let Some(decided) = asked.question.answer else {
            self.asked.remove(id);
            if let Err(why) = self.upstream.pass(passage) {
                tracing::warn!(session = self.id, %why, "an answer was not passed on");
            }
            return;
        };
        let origin = asked.within.origin().cloned();
        match method::answer(passage, decided) {
            Ok(call) => {
                let context = match &origin {
                    Some(origin) => self.following(origin),
                    None => self.of_no_tool(decided, self.server.catalog.operation(&call)),
                };
                let presence = Presence::default().at(self.place.now());
                if let Some(asked) = self.asked.get_mut(id) {
                    asked.deciding = Some(presence.clone());
                }
                let (call, context) = (Box::new(call), Box::new(context));
                let (gate, id) = (Arc::clone(&self.shared.gate), id.clone());
                let task = self.shared.tracker.spawn(
                    async move {
                        match gate.admit_answer(call, context, &presence, origin).await? {
                            Admission::Permitted(permit) => Ok(Goes::Permitted(permit)),
                            Admission::Held(held) => held.wait(&presence, None).await.map(Goes::Permitted),
                        }
                    }
                    .in_current_span(),
                );
                self.judging.push(Box::pin(async move {
                    let verdict = task.await.unwrap_or_else(|error| {
                        tracing::error!(%error, "a decision failed");
                        Err(Refusal::new(Outcome::Unavailable, "the answer could not be decided"))
                    });
                    (id, verdict)
                }));
            }
            Err(malformed) => self.not_answered(id, malformed).await,
        }
    }

    /// What follows from a call is judged by what the call was.
    pub(super) fn following(&self, origin: &Origin) -> CallContext {
        CallContext {
            tool: self.listing.still(origin.tool()),
            operation: origin.operation().clone(),
            ..self.base.clone()
        }
    }

    pub(super) fn of_no_tool(&self, method: Decided, operation: crate::call::Operation) -> CallContext {
        CallContext { tool: definitions::unknown(method.as_str()), operation, ..self.base.clone() }
    }

    /// An answer that is not passed on: the upstream is told that there will be none.
    async fn not_answered(&mut self, id: &Id, malformed: Malformed) {
        self.asked.remove(id);
        self.upstream.decline(id, INVALID_REQUEST, "the client's answer could not be passed on");
        self.refuse(malformed).await;
    }

    /// The gate is done with an answer, or its link is.
    pub(super) async fn judged(&mut self, id: Id, verdict: Result<Goes, Refusal>) {
        match verdict {
            Ok(Goes::Permitted(permit)) => self.hand_over(id, permit).await,
            Ok(Goes::Settled(sent)) => {
                self.asked.remove(&id);
                if let Some(refusal) = settled(&self.shared, sent).await {
                    self.upstream.decline(&id, reply::REFUSED, &refused(&refusal));
                }
            }
            Err(refusal) => {
                self.asked.remove(&id);
                self.upstream.decline(&id, reply::REFUSED, &refused(&refusal));
            }
        }
    }

    /// Gives an answer to the upstream's link, and hears later whether it has left.
    async fn hand_over(&mut self, id: Id, permit: PermittedCall) {
        let gate = Arc::clone(&self.shared.gate);
        let asked = self.asked.get(&id).filter(|asked| self.is_open(asked));
        let Some(presence) = asked.and_then(|asked| asked.deciding.clone()) else {
            self.asked.remove(&id);
            gate.unsent(permit, Outcome::Withdrawn, "the call that this answer belongs to is over").await;
            return self.upstream.decline(&id, INVALID_REQUEST, "the request is over");
        };
        match self.upstream.call(permit) {
            Ok(sent) => {
                let grace = self.shared.limits.drain;
                self.judging.push(Box::pin(async move {
                    left(sent.leave(), &presence, grace).await;
                    (id, Ok(Goes::Settled(sent)))
                }));
            }
            Err((permit, why)) => {
                self.asked.remove(&id);
                gate.unsent(*permit, Outcome::Unavailable, &why.to_string()).await;
            }
        }
    }

    /// A request of the client is over, and with it every question that was asked in it.
    pub(super) fn end_questions(&mut self, call: &Id) {
        for asked in self.asked.values() {
            if let (Within::Call(id, _), Some(presence)) = (&asked.within, &asked.deciding)
                && id == call
            {
                presence.leave(Outcome::Withdrawn, "the call that this answer belongs to is over");
            }
        }
        self.asked
            .retain(|_, asked| asked.deciding.is_some() || !matches!(&asked.within, Within::Call(id, _) if id == call));
    }

    /// The upstream takes a question back.
    pub(super) fn question_cancelled(&mut self, id: &Id) {
        let Some(asked) = self.asked.get(id) else { return };
        match &asked.deciding {
            Some(presence) => presence.leave(Outcome::Withdrawn, "the server took its question back"),
            None => {
                self.asked.remove(id);
            }
        }
    }

    /// Nobody answers any more. Nothing that was being decided is sent, even where its permit was ready.
    pub(super) async fn end_all_questions(&mut self, outcome: Outcome, why: &'static str) {
        use futures_util::StreamExt as _;
        for presence in self.asked.values().filter_map(|asked| asked.deciding.as_ref()) {
            presence.leave(outcome, why);
        }
        self.asked.clear();
        while let Some((_, verdict)) = self.judging.next().await {
            match verdict {
                Ok(Goes::Permitted(permit)) => {
                    self.shared.gate.unsent(permit, outcome, why).await;
                }
                Ok(Goes::Settled(sent)) => {
                    settled(&self.shared, sent).await;
                }
                Err(_) => {}
            }
        }
    }

    /// Whether a question with this progress token is open.
    pub(super) fn is_asked_with_progress(&self, token: Json<'_>) -> bool {
        self.asked.values().any(|asked| asked.progress.as_deref() == Some(token.text()))
    }
}

/// Waits until an answer stays here, or its link is done with it. Once its first byte has left nothing takes it back,
/// and whoever does not want it any more waits no longer than `grace` to hear how far it came.
async fn left(leave: &Leave, presence: &Presence, grace: Duration) {
    tokio::select! {
        () = leave.settled() => {}
        () = leave.over() => {
            leave.take_back(Outcome::Unavailable, "the server could not be reached");
        }
        (outcome, why) = presence.ended() => {
            leave.take_back(outcome, why);
        }
        () = tokio::time::sleep_until(leave.until()) => {
            leave.take_back(Outcome::Unavailable, Leave::LATE);
        }
    }
    if leave.has_left() {
        let unwanted = async {
            presence.ended().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            () = leave.over() => {}
            () = unwanted => {}
        }
    }
}

/// Records what became of an answer, as far as that is known. Nothing comes back for one that has left.
async fn settled(shared: &Shared, sent: SentCall) -> Option<Refusal> {
    if let Some((outcome, why)) = sent.leave().refused() {
        return Some(shared.gate.stayed(sent, outcome, &why).await);
    }
    let (answer, note) = match sent.leave().end() {
        Some(Ended::Taken) => (Answer::Ok, None),
        Some(Ended::Refused(why)) => (Answer::Error, Some(why)),
        Some(Ended::NotSent(why)) => (Answer::NotSent, Some(why)),
        None => (Answer::OutcomeUnknown, Some("the server may have taken it or not".to_owned())),
    };
    let note = note.map(|note| shared.scrubber.line(&note).into_owned());
    shared.gate.completed(sent, answer, 0, None, note).await;
    None
}

fn refused(refusal: &Refusal) -> String {
    format!("refused by countersign: {}", refusal.reason)
}

/// The worst last.
fn danger(class: Class) -> u8 {
    match class {
        Class::Read => 0,
        Class::Write => 1,
        Class::Financial => 2,
        Class::Destructive => 3,
        Class::Unknown => 4,
    }
}

/// What a modern result wants of a client whose request did not declare it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Undeclared {
    /// Answers to questions.
    Input,
    /// To follow a task. The call goes on where nobody can see it.
    Task,
}

pub(super) fn undeclared(result: Json<'_>, capabilities: Option<&JsonText>) -> Option<Undeclared> {
    let follows = || tasks::declared(capabilities.map(JsonText::view));
    if result.get("resultType").and_then(Json::as_str).as_deref() == Some("task") && !follows() {
        return Some(Undeclared::Task);
    }
    let requests = result.get("inputRequests")?;
    (!may_ask(requests, capabilities)).then_some(Undeclared::Input)
}

/// Whether every question may be asked of a client with these capabilities.
pub(super) fn may_ask(questions: Json<'_>, capabilities: Option<&JsonText>) -> bool {
    questions.members().all(|(_, question)| {
        let method = question.get("method").and_then(Json::as_str).unwrap_or_default();
        let offered = |name: &str| capabilities.is_some_and(|offers| offers.view().get(name).is_some());
        table::question(Era::Modern, &method).is_some_and(|row| row.needs.is_some_and(offered))
            && question.get("params").is_none_or(safe_url)
    })
}

/// An elicitation may send a person to an `https` address and to nothing else.
fn safe_url(params: Json<'_>) -> bool {
    params.get("url").is_none_or(|url| url.as_str().is_some_and(|url| url.starts_with("https://")))
}
