//! Sessions that requests which stand alone have in common: where a server is a child process, all such requests of a
//! principal go to one child, which keeps what it knows from one to the next.
//!
//! Invariant: a joint session serves one principal and one server. Every request has a number of its own in it, and
//! what comes back goes to the stream of the request that it names, or to nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::exchange::{Said, Turn};
use super::pump::{Pumped, carry, look_again};
use super::sse::INTERNAL_ERROR;
use super::streams::NoPlace;
use crate::call::{Limits, Principal};
use crate::json::{Json, JsonText};
use crate::mcp::headers::LOG_MESSAGE;
use crate::mcp::message::{Id, METHOD_NOT_FOUND, Message};
use crate::mcp::rename::{Names, belongs_to};
use crate::mcp::reply;
use crate::transport::answer::{self, Outgoing};
use crate::transport::{ClientLink, FromClient, ToClient, lock};

/// Turns that wait for one stream.
const TURNS: usize = 64;
/// How long one client may keep the others waiting that does not read. Then it loses its stream.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whose it is: a principal and a server.
type Owner = (Arc<Principal>, String);

/// One for each owner, so there are never more than the configuration has of both.
#[derive(Debug, Default)]
pub(super) struct Joints(Mutex<HashMap<Owner, Arc<Joint>>>);

impl Joints {
    /// The session of a principal and a server; with it, where it is new, the link to hand over.
    pub(super) fn get(
        &self,
        principal: &Arc<Principal>,
        server: &str,
        limits: &Limits,
    ) -> (Arc<Joint>, Option<(ClientLink, mpsc::Receiver<ToClient>)>) {
        let mut open = lock(&self.0);
        let key = (Arc::clone(principal), server.to_owned());
        if let Some(joint) = open.get(&key).filter(|joint| joint.is_open()) {
            return (Arc::clone(joint), None);
        }
        let (to_session, inbound) = mpsc::channel(limits.queue);
        let (outbound, from_session) = mpsc::channel(limits.queue);
        let joint = Joint::new(to_session, limits.in_flight);
        open.insert(key, Arc::clone(&joint));
        (joint, Some((ClientLink { inbound, outbound }, from_session)))
    }

    pub(super) fn has(&self, principal: &Arc<Principal>, server: &str) -> bool {
        lock(&self.0).contains_key(&(Arc::clone(principal), server.to_owned()))
    }

    fn remove(&self, ended: &Arc<Joint>) {
        lock(&self.0).retain(|_, joint| !Arc::ptr_eq(joint, ended));
    }
}

#[derive(Debug)]
pub(super) struct Joint {
    state: Mutex<State>,
    in_flight: usize,
    ended: CancellationToken,
}

#[derive(Debug)]
struct State {
    /// Gone when the session has ended.
    inbound: Option<mpsc::Sender<FromClient>>,
    routes: HashMap<i64, Route>,
    /// Numbers are never used again.
    next: i64,
    used: Instant,
}

#[derive(Debug)]
struct Route {
    turns: mpsc::Sender<Turn>,
    names: Names,
    request: Id,
}

/// A request that has its place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) number: i64,
    pub(super) turns: mpsc::Receiver<Turn>,
    /// The request under its number.
    pub(super) message: Message,
}

impl Joint {
    fn new(inbound: mpsc::Sender<FromClient>, in_flight: usize) -> Arc<Joint> {
        let state = State { inbound: Some(inbound), routes: HashMap::new(), next: 0, used: Instant::now() };
        Arc::new(Joint { state: Mutex::new(state), in_flight, ended: CancellationToken::new() })
    }

    fn is_open(&self) -> bool {
        !self.ended.is_cancelled() && lock(&self.state).inbound.as_ref().is_some_and(|inbound| !inbound.is_closed())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    pub(super) fn inbound(&self) -> Option<mpsc::Sender<FromClient>> {
        lock(&self.state).inbound.clone()
    }

    /// Opens the way back for a request, before it is handed over.
    pub(super) fn open(&self, request: &Message) -> Result<Placed, NoPlace> {
        let mut state = lock(&self.state);
        if state.inbound.is_none() || self.ended.is_cancelled() {
            return Err(NoPlace::Ended);
        }
        if state.routes.len() >= self.in_flight {
            return Err(NoPlace::TooMany);
        }
        state.next += 1;
        let number = state.next;
        let (message, names) = Names::take(request, number).ok_or(NoPlace::IdInUse)?;
        let request = request.id().cloned().ok_or(NoPlace::IdInUse)?;
        let (turns, receiver) = mpsc::channel(TURNS);
        state.routes.insert(number, Route { turns, names, request });
        Ok(Placed { number, turns: receiver, message })
    }

    /// The client's stream for this request is closed. True where its answer had not left.
    pub(super) fn close(&self, number: i64) -> bool {
        let mut state = lock(&self.state);
        state.used = Instant::now();
        state.routes.remove(&number).is_some()
    }

    /// Carries what the session sends to the stream it belongs on, until either end is gone or nobody came for `idle`.
    pub(super) async fn pump(self: Arc<Self>, joints: Arc<Joints>, outbound: mpsc::Receiver<ToClient>, idle: Duration) {
        carry(&*self, outbound, idle).await;
        self.ended.cancel();
        joints.remove(&self);
        let mut state = lock(&self.state);
        state.inbound = None;
        state.routes.clear();
        drop(state);
        debug!("a joint session ended");
    }

    fn place(&self, event: ToClient) -> Option<(i64, mpsc::Sender<Turn>, Turn)> {
        let mut state = lock(&self.state);
        match event {
            ToClient::Waiting(Id::Number(number)) => {
                Some((number, state.routes.get(&number)?.turns.clone(), Turn::Waiting))
            }
            // Requests that stand alone are not come back for.
            ToClient::Waiting(Id::String(_)) | ToClient::Later(_) => None,
            ToClient::Message { text, related } if answer::kind(&text) == Outgoing::Call => {
                if let Some(id) = answer::id(&text) {
                    state.decline(&id);
                    return None;
                }
                let number =
                    number_of(related).or_else(|| belongs_to(&text)).or_else(|| state.reader_of_logs(&text))?;
                let route = state.routes.get(&number)?;
                let said = Said { text: route.names.restore(&text)?, id: None };
                Some((number, route.turns.clone(), Turn::Related(said)))
            }
            ToClient::Message { text, related } => {
                let number = number_of(related.or_else(|| answer::id(&text)))?;
                let Route { turns, names, request } = state.routes.remove(&number)?;
                let lost = || reply::error(&request, INTERNAL_ERROR, "countersign: the answer could not be passed on");
                let said = Said { text: names.restore(&text).unwrap_or_else(lost), id: None };
                Some((number, turns, Turn::Answer { said, request, last: true }))
            }
        }
    }
}

impl Pumped for Joint {
    fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    fn idle_until(&self, idle: Duration) -> Option<Instant> {
        let mut state = lock(&self.state);
        let next = look_again(!state.routes.is_empty(), state.used, idle);
        if next.is_none() {
            state.inbound = None;
        }
        next
    }

    async fn deliver(&self, event: ToClient) {
        let Some((number, turns, turn)) = self.place(event) else {
            return debug!("a message names no open request; it is dropped");
        };
        let Err(mpsc::error::TrySendError::Full(turn)) = turns.try_send(turn) else { return };
        if timeout(PATIENCE, turns.send(turn)).await.is_ok() {
            return;
        }
        // Whoever does not read loses its stream, which takes its request back.
        debug!("a client does not read its stream; it loses it");
        let inbound = if self.close(number) { self.inbound() } else { None };
        if let Some(inbound) = inbound {
            let _ = timeout(PATIENCE, inbound.send(FromClient::Gone(Id::Number(number)))).await;
        }
    }
}

fn number_of(id: Option<Id>) -> Option<i64> {
    match id? {
        Id::Number(number) => Some(number),
        Id::String(_) => None,
    }
}

impl State {
    /// In this era a server asks nothing of a client, and there is nobody in particular to ask.
    fn decline(&self, id: &Id) {
        let text = reply::error(id, METHOD_NOT_FOUND, "a client of this era is not asked");
        if let (Some(inbound), Some(message)) = (&self.inbound, Message::ours(text)) {
            // A full queue: the upstream gets no answer, as from a client that is slow.
            let _ = inbound.try_send(FromClient::Message(message));
        }
    }

    /// A log message says nothing about whom it is for. It has a reader where one request alone asks for such.
    fn reader_of_logs(&self, text: &JsonText) -> Option<i64> {
        if text.view().get("method").and_then(Json::as_str)? != LOG_MESSAGE {
            return None;
        }
        let mut readers = self.routes.iter().filter(|(_, route)| route.names.wants_logs()).map(|(number, _)| *number);
        readers.next().filter(|_| readers.next().is_none())
    }
}

#[cfg(test)]
mod tests;
