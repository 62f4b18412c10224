//! What a session does for calls that wait: it says so, answers with a task where the client knows tasks, and notices
//! when nobody asks any more.

use std::sync::Arc;

use tokio::time::Instant;

use crate::call::{Decided, Outcome};
use crate::gate::{Admission, HeldCall};
use crate::json::JsonText;
use crate::mcp::message::{Id, Message};
use crate::proxy::api::Running;
use crate::proxy::tasks::{self, Status};
use crate::proxy::waiting::{self, Progress};
use crate::transport::ToClient;

use super::{Open, Request, Session};

/// How a request can wait.
#[derive(Debug, Default)]
pub(super) struct Wait {
    /// By which it asks for progress.
    pub token: Option<JsonText>,
    /// The revision that it names.
    pub revision: Option<String>,
    /// When its client gives up.
    pub patience: Option<Instant>,
    pub progress: Option<Progress>,
    /// The answer that its client gets when it has been held for a while.
    offer: Option<Offer>,
    /// Its client has been answered with this task.
    pub task: Option<String>,
    pub part: Part,
    /// What was sent, where its client has a task and may be asked more.
    pub call: Option<JsonText>,
    /// It is with a child whose requests to an API may belong to it.
    pub running: Option<Running>,
}

/// What a request is to the task that stands for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Part {
    /// Its answer is the end of the task.
    #[default]
    Call,
    /// It carries answers to the server's own task, which goes on.
    Answers,
}

/// A task that a client will be answered with unless its call is over before: the task is there already, so that there
/// is room for it then. Dropped, it was never there.
#[derive(Debug)]
struct Offer {
    tasks: Arc<tasks::Tasks>,
    task: Option<String>,
    at: Instant,
}

impl Offer {
    fn take(mut self) -> Option<String> {
        self.task.take()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            self.tasks.forget(task);
        }
    }
}

impl Wait {
    /// It waits for no operator any more. A client that has no task by now gets the server's own answer.
    pub(super) fn is_released(&mut self) {
        self.offer = None;
        if let Some(progress) = &mut self.progress {
            progress.stop();
        }
    }
}

impl Session {
    /// How the request of a call can wait.
    pub(super) fn can_wait(&self, message: &Message, client: &crate::call::ClientInfo) -> Wait {
        let token = waiting::token(message.params());
        let budget = waiting::patience(&self.shared.waits.budgets, client, token.is_some());
        let patience = budget.and_then(|budget| Instant::now().checked_add(budget));
        let revision = message.modern_version().map(str::to_owned);
        Wait { token, revision, patience, ..Wait::default() }
    }

    pub(super) async fn hold(&mut self, id: Id, held: HeldCall) {
        let offer = self.offer_task(&id, &held);
        let Some(Request { state: Open::Deciding { presence, .. }, wait, .. }) = self.open.get_mut(&id) else { return };
        let presence = presence.clone();
        // A client that gets a task waits no longer than until then.
        let patience = wait.patience.filter(|_| offer.is_none() && wait.task.is_none());
        let until = patience.map_or(held.deadline(), |patience| patience.min(held.deadline()));
        if let Some(task) = &wait.task {
            self.shared.tasks.set(task, Status::Working(waits_for(&held)));
        }
        let at_once = wait.task.is_some() || offer.as_ref().is_some_and(|offer| offer.at <= Instant::now());
        if !at_once {
            wait.progress = wait.token.clone().map(|token| Progress::new(token, held.reason(), until));
        }
        wait.offer = offer;
        self.work(id.clone(), async move { held.wait(&presence, patience).await.map(Admission::Permitted) });
        if !at_once {
            let _ = self.client.send(ToClient::Waiting(id)).await;
        }
        self.report().await;
    }

    /// A task for a call that is held, where its client takes one.
    fn offer_task(&self, id: &Id, held: &HeldCall) -> Option<Offer> {
        let request = self.open.get(id)?;
        let Open::Deciding { method: Decided::ToolsCall, .. } = request.state else { return None };
        let offers = request.capabilities.as_ref().map(JsonText::view);
        if !request.modern || !tasks::declared(offers) || request.cancelled || request.wait.task.is_some() {
            return None;
        }
        let (owner, orders, now) = (self.owner.clone(), self.orders.clone(), Instant::now());
        let after = now.checked_add(self.shared.waits.tasks_after).unwrap_or(now);
        let at = request.wait.patience.map_or(after, |patience| patience.min(after));
        let tasks = self.tasks();
        let task = tasks.open(owner, orders, held.deadline(), self.shared.limits.answer_timeout, waits_for(held))?;
        Some(Offer { tasks, task: Some(task), at })
    }

    /// Answers calls with a task that have been held for long enough.
    async fn answer_with_tasks(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (id, request) in &mut self.open {
            let wait = &mut request.wait;
            if request.cancelled || wait.offer.as_ref().is_none_or(|offer| now < offer.at) {
                continue;
            }
            wait.task = wait.offer.take().and_then(Offer::take);
            wait.progress = None;
            let text = wait.task.as_ref().and_then(|task| self.shared.tasks.handle(id, task));
            due.extend(text.map(|text| (id.clone(), text)));
        }
        for (id, text) in due {
            self.tell(text, Some(id)).await;
        }
    }

    /// When something has to be said or looked at next.
    pub(super) fn next_report(&self) -> Option<Instant> {
        let progress = self.open.values().filter_map(|request| request.wait.progress.as_ref()?.due());
        let silence = self.open.values().filter_map(|request| self.silent_at(request));
        let offers = self.open.values().filter(|request| !request.cancelled);
        let offers = offers.filter_map(|request| Some(request.wait.offer.as_ref()?.at));
        progress.chain(silence).chain(offers).chain(self.next_late()).min()
    }

    /// When nobody has asked for a task long enough to give up a call that has not been sent.
    fn silent_at(&self, request: &Request) -> Option<Instant> {
        let Open::Deciding { .. } = request.state else { return None };
        if request.cancelled {
            return None;
        }
        self.shared.tasks.silent_at(request.wait.task.as_ref()?)
    }

    /// Says what is due. A client that does not read misses a notification, and nobody waits for it.
    pub(super) async fn report(&mut self) {
        self.answer_with_tasks().await;
        self.end_late().await;
        let every = self.shared.waits.progress_every;
        for (id, request) in &mut self.open {
            let Some(text) = request.wait.progress.as_mut().and_then(|progress| progress.say(every)) else { continue };
            let _ = self.client.try_send(ToClient::Message { text, related: Some(id.clone()) });
        }
        let now = Instant::now();
        let silent = |request: &&Request| self.silent_at(request).is_some_and(|at| now >= at);
        let silent: Vec<Id> =
            self.open.iter().filter(|(_, request)| silent(request)).map(|(id, _)| id.clone()).collect();
        for id in silent {
            self.withdraw(&id, "the client has not asked for its task any more");
        }
    }

    /// A call that waits is taken back. Its end comes through the gate.
    pub(super) fn withdraw(&mut self, id: &Id, why: &'static str) {
        let Some(request) = self.open.get_mut(id) else { return };
        if let Open::Deciding { presence, .. } = &request.state {
            // A task is told of its end like any other answer.
            request.cancelled |= request.wait.task.is_none();
            presence.leave(Outcome::Withdrawn, why);
        }
    }

    /// A notification of the upstream, as the client may see it.
    pub(super) fn notified(&self, message: &Message) -> Option<JsonText> {
        let Some(token) = waiting::token_of(message) else { return Some(message.text().clone()) };
        let asks =
            |request: &&Request| request.wait.token.as_ref().is_some_and(|asked| waiting::same(asked.view(), token));
        let Some(request) = self.open.values().find(asks) else { return Some(message.text().clone()) };
        // It has nothing to report of a call that it has not got, and tasks have no progress.
        let passed = match (&request.state, &request.wait.progress) {
            (state, _) if !state.has_left() => None,
            _ if request.wait.task.is_some() => None,
            (_, None) => Some(message.text().clone()),
            (_, Some(progress)) => progress.above(message),
        };
        if passed.is_none() {
            tracing::debug!(session = self.id, "a progress notification of the server was dropped");
        }
        passed
    }

    /// The upstream's form of an answer is the client's, where the client waits for it: a stream is opened as soon as
    /// the upstream opens one, and is closed where the upstream wants to be asked again later.
    pub(super) async fn answered_like(&mut self, id: Id, form: fn(Id) -> ToClient) {
        let waits = |request: &Request| request.state.has_left() && !request.cancelled && request.wait.task.is_none();
        if self.open.get(&id).is_some_and(waits) {
            let _ = self.client.send(form(id)).await;
        }
    }

    /// The answer to a request: to the client, or to its task.
    pub(super) async fn deliver(&mut self, id: Id, wait: &Wait, text: JsonText) {
        let Some(task) = &wait.task else { return self.tell(text, Some(id)).await };
        let view = text.view();
        let status = match (view.get("error"), view.get("result")) {
            (Some(error), _) => Status::Failed(JsonText::owned(error)),
            (None, Some(result)) => Status::Completed(super::chain::settled(result)),
            (None, None) => return,
        };
        self.shared.tasks.set(task, status);
    }

    /// True while calls go on that nobody waits for on this session's link.
    pub(super) fn lingers(&self) -> bool {
        let follows = !(self.chains.is_empty() && self.askings.is_empty() && self.farewells.is_empty());
        follows || self.open.values().any(|request| request.wait.task.is_some())
    }

    /// The client's link has ended, and tasks go on: whatever else it asked for is over.
    pub(super) fn client_left(&mut self) {
        let ends = self.base.client.transport == crate::call::Transport::Stdio;
        for request in self.open.values_mut().filter(|request| ends || request.wait.task.is_none()) {
            request.cancelled |= request.wait.task.is_none();
            match &request.state {
                Open::Deciding { presence, .. } => presence.leave(Outcome::Withdrawn, "the client went away"),
                // Its link says that it did not leave.
                Open::Sent { sent } => {
                    sent.leave().take_back(Outcome::Withdrawn, "the client went away");
                }
                Open::Passed { .. } | Open::Returned => {}
            }
        }
        if ends {
            self.drop_askings("the client went away");
        }
    }

    pub(super) fn tasks(&self) -> Arc<tasks::Tasks> {
        Arc::clone(&self.shared.tasks)
    }
}

fn waits_for(held: &HeldCall) -> String {
    format!("waiting for an operator: {}", held.reason())
}

#[cfg(test)]
mod tests;
