//! Sessions of the era that has them: one upstream session behind an `Mcp-Session-Id`, and what happens to its
//! streams when their clients leave and come back.
//!
//! Invariant: a session serves one principal and one server; a message leaves by one stream only. A client that lost
//! a stream is still there for as long as it may come back, and not for longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::HAND_OVER;
use super::exchange::Turn;
use super::pump::{Pumped, carry, look_again};
use super::streams::{EventId, Left, NoPlace, Opened, StreamId, Streams};
use crate::call::{Limits, Principal};
use crate::json::{Json, JsonText};
use crate::mcp::headers::{BATCHES, CANCELLED, INITIALIZE, PRIMED};
use crate::mcp::message::{Id, Message, Shape};
use crate::mcp::method;
use crate::transport::answer::{self, Outgoing};
use crate::transport::{FromClient, Running, ToClient, lock};

/// Clients are told to come back after one second. Who gives them less time than this must not send them away.
const COMES_BACK: Duration = Duration::from_secs(3);

/// A session that nobody has used for this long gives its place to a new one, where places are short; or for half of the
/// time after which it ends by itself, where that is less.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// Longest progress token by which a message finds the stream of its request.
const TOKEN_BYTES: usize = 1 << 10;

/// Every session of this front.
#[derive(Debug)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    limit: usize,
}

impl Sessions {
    pub(super) fn new(limit: usize) -> Sessions {
        Sessions { open: Mutex::new(HashMap::new()), limit }
    }

    /// Takes a session up, unless there are too many.
    pub(super) fn add(&self, session: &Arc<Session>) -> bool {
        let mut open = lock(&self.open);
        if open.len() >= self.limit {
            return false;
        }
        open.insert(session.id.clone(), Arc::clone(session));
        true
    }

    /// The session of this id, where it is this principal's and this server's. An id of somebody else is unknown.
    pub(super) fn find(&self, id: &str, principal: &Principal, server: &str) -> Option<Arc<Session>> {
        let session = lock(&self.open).get(id).map(Arc::clone)?;
        (session.principal.as_ref() == principal && session.server == server && !session.ended.is_cancelled())
            .then_some(session)
    }

    /// Where a principal has as many sessions with a server as it may, ends the one that has been left alone for
    /// longest: clients that go without a word keep no place from those that come.
    pub(super) fn make_room(&self, principal: &Principal, server: &str, most: usize) {
        let open = lock(&self.open);
        let theirs = open.values().filter(|session| {
            session.principal.as_ref() == principal && session.server == server && !session.ended.is_cancelled()
        });
        let theirs: Vec<Arc<Session>> = theirs.map(Arc::clone).collect();
        drop(open);
        if theirs.len() < most {
            return;
        }
        let longest = theirs.iter().filter_map(|session| Some((session.alone_since()?, session)));
        if let Some((_, session)) = longest.min_by_key(|(since, _)| *since) {
            session.end_alone();
        }
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.open).len()
    }

    fn remove(&self, id: &str) {
        lock(&self.open).remove(id);
    }
}

/// Why the other end of a session has not taken what it was handed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotTaken {
    Ended,
    /// It did not make room in time.
    Full,
}

#[derive(Debug)]
pub(super) struct Session {
    id: String,
    server: String,
    principal: Arc<Principal>,
    state: Mutex<State>,
    /// Tasks of its server that go on in it, though nobody asks.
    running: Running,
    /// See [`LEFT_ALONE`].
    patience: Duration,
    /// A client has left a stream: the time that it has to come back runs.
    left: Notify,
    ended: CancellationToken,
}

#[derive(Debug)]
struct State {
    /// Gone when the session has ended.
    inbound: Option<mpsc::Sender<FromClient>>,
    streams: Streams,
    /// The request that begins the session.
    first: Option<Id>,
    /// What the upstream has agreed to.
    revision: Option<String>,
    used: Instant,
}

impl Session {
    /// # Errors
    /// Where the system has no randomness.
    pub(super) fn new(
        server: String,
        principal: Arc<Principal>,
        inbound: mpsc::Sender<FromClient>,
        running: Running,
        limits: &Limits,
    ) -> Result<Arc<Session>, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let state = State {
            inbound: Some(inbound),
            streams: Streams::new(limits.in_flight, limits.resume_window),
            first: None,
            revision: None,
            used: Instant::now(),
        };
        let (left, ended) = (Notify::new(), CancellationToken::new());
        let (state, patience) = (Mutex::new(state), LEFT_ALONE.min(limits.session_idle / 2));
        Ok(Arc::new(Session { id, server, principal, state, running, patience, left, ended }))
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The way to the session's other end, while it lives.
    pub(super) fn inbound(&self) -> Option<mpsc::Sender<FromClient>> {
        let mut state = lock(&self.state);
        state.used = Instant::now();
        state.inbound.clone()
    }

    /// Ends it, from whichever side.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Since when nobody has used it, where that is long ago and nothing of it is open or goes on.
    fn alone_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        self.is_alone(&state).then_some(state.used)
    }

    fn is_alone(&self, state: &State) -> bool {
        !state.streams.in_use() && !self.running.any() && state.used.elapsed() >= self.patience
    }

    /// Ends it where it is still alone: a request that comes meanwhile is either seen here, or finds no session and is
    /// not sent.
    fn end_alone(&self) {
        let mut state = lock(&self.state);
        if self.is_alone(&state) {
            state.inbound = None;
            self.ended.cancel();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// True where the revision has arrays of messages.
    pub(super) fn takes_batches(&self) -> bool {
        lock(&self.state).revision.as_deref() == Some(BATCHES)
    }

    /// True where the client expects an event stream to begin with an id, and to end before its answer has come.
    pub(super) fn is_primed(&self) -> bool {
        lock(&self.state).revision.as_deref().is_some_and(|revision| revision >= PRIMED)
    }

    /// True where a stream may end before its answer: its client comes back.
    pub(super) fn may_return(&self, stream: StreamId) -> bool {
        self.is_primed() && lock(&self.state).streams.may_return(stream, COMES_BACK)
    }

    /// Opens the way back for requests, before they are handed over.
    pub(super) fn open(&self, messages: &[Message], events: bool) -> Result<Opened, NoPlace> {
        let requests = messages.iter().filter(|message| message.method().is_some());
        let requests: Vec<_> = requests.filter_map(|message| Some((message.id()?.clone(), token(message)))).collect();
        let begins = messages.iter().any(|message| message.method() == Some(INITIALIZE));
        let mut state = lock(&self.state);
        if state.inbound.is_none() || self.ended.is_cancelled() {
            return Err(NoPlace::Ended);
        }
        if begins {
            state.first = requests.first().map(|(id, _)| id.clone());
        }
        state.streams.open(requests, events, begins)
    }

    /// Opens the listening stream.
    pub(super) fn listen(&self) -> Option<Opened> {
        let mut state = lock(&self.state);
        state.inbound.as_ref()?;
        state.used = Instant::now();
        state.streams.listen()
    }

    /// Opens a stream again that the client has lost; a listening stream that is forgotten is a new one.
    pub(super) fn resume(&self, after: EventId) -> Option<Opened> {
        let mut state = lock(&self.state);
        state.inbound.as_ref()?;
        state.used = Instant::now();
        let resumed = state.streams.resume(after);
        match after.stream {
            StreamId::Listening(_) => resumed.or_else(|| state.streams.listen()),
            StreamId::Request(_) => resumed,
        }
    }

    /// Hands messages over to the other end, in order: all of them, or none.
    pub(super) async fn hand_over(&self, messages: Vec<Message>) -> Result<(), NotTaken> {
        let inbound = self.inbound().ok_or(NotTaken::Ended)?;
        let places = timeout(HAND_OVER, inbound.reserve_many(messages.len())).await.map_err(|_| NotTaken::Full)?;
        for (place, message) in places.map_err(|_| NotTaken::Ended)?.zip(messages) {
            let cancelled = match message.shape() {
                Shape::Notification { method } if method == CANCELLED => method::cancelled(&message),
                Shape::Notification { .. } | Shape::Request { .. } | Shape::Response { .. } => None,
            };
            place.send(FromClient::Message(message));
            if let Some(request) = cancelled {
                self.cancel(&request);
            }
        }
        Ok(())
    }

    pub(super) fn known(&self, stream: StreamId) {
        lock(&self.state).streams.known(stream);
    }

    fn cancel(&self, request: &Id) {
        lock(&self.state).streams.cancel(request);
    }

    /// A reader of a stream has left.
    pub(super) fn leave(&self, stream: StreamId, reader: u64) -> Left {
        let mut state = lock(&self.state);
        state.used = Instant::now();
        let left = state.streams.leave(stream, reader);
        if left == Left::Waiting {
            self.left.notify_one();
        }
        left
    }

    /// Carries what the session sends to the stream it belongs on, until either end is gone or nobody came for `idle`.
    pub(super) async fn pump(
        self: Arc<Self>,
        sessions: Arc<Sessions>,
        outbound: mpsc::Receiver<ToClient>,
        idle: Duration,
    ) {
        tokio::select! {
            () = carry(&*self, outbound, idle) => {}
            () = self.expire() => {}
        }
        self.ended.cancel();
        sessions.remove(&self.id);
        let mut state = lock(&self.state);
        state.inbound = None;
        state.streams.clear();
        drop(state);
        debug!("a session ended");
    }

    /// Gives clients up that did not come back in time. Ends with the session.
    async fn expire(&self) {
        loop {
            let next = lock(&self.state).streams.next_end();
            let wait = async {
                match next {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.left.notified() => continue,
                () = self.ended.cancelled() => return,
            }
            let (gone, inbound) = {
                let mut state = lock(&self.state);
                (state.streams.expire(Instant::now()), state.inbound.clone())
            };
            let Some(inbound) = inbound else { return };
            for id in gone {
                debug!(%id, "a client did not come back for its answer");
                let _ = inbound.send(FromClient::Gone(id)).await;
            }
        }
    }

    fn place(&self, text: JsonText, related: Option<Id>) -> Option<(Option<super::streams::Reader>, Turn)> {
        let kind = answer::kind(&text);
        let mut state = lock(&self.state);
        if kind == Outgoing::Call {
            return state.streams.tell(text, related.as_ref());
        }
        let id = related.or_else(|| answer::id(&text))?;
        if state.first.as_ref() == Some(&id) {
            state.first = None;
            let revision = text.view().pointer("/result/protocolVersion").and_then(Json::as_str);
            state.revision = revision.map(std::borrow::Cow::into_owned);
        }
        state.streams.answer(&id, text)
    }
}

/// The progress token of a request, where it is of a length to be remembered.
fn token(request: &Message) -> Option<JsonText> {
    let token = request.params()?.get("_meta")?.get("progressToken")?;
    (token.text().len() <= TOKEN_BYTES).then(|| JsonText::owned(token))
}

impl Pumped for Session {
    fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    fn idle_until(&self, idle: Duration) -> Option<Instant> {
        let mut state = lock(&self.state);
        let next = look_again(state.streams.in_use(), state.used, idle);
        if next.is_none() {
            state.inbound = None;
        }
        next
    }

    async fn deliver(&self, event: ToClient) {
        let (reader, turn) = match event {
            ToClient::Waiting(id) => (lock(&self.state).streams.reader(&id).cloned(), Turn::Waiting),
            ToClient::Later(id) => (lock(&self.state).streams.reader(&id).cloned(), Turn::Later),
            ToClient::Message { text, related } => match self.place(text, related) {
                Some(placed) => placed,
                None => return debug!("no stream takes a message; it is dropped"),
            },
        };
        let Some((_, turns)) = reader else { return };
        tokio::select! {
            // A reader that has left meanwhile finds what is kept when it comes back.
            _ = turns.send(turn) => {}
            () = self.ended.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests;
