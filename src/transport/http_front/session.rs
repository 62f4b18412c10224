//! Sessions of the era that has them: one upstream session behind an `Mcp-Session-Id`, and which of its open streams
//! a message leaves by.
//!
//! Invariant: a session serves one principal and one server; a message leaves by one stream only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::answer::{self, Outgoing};
use super::exchange::Turn;
use crate::call::Principal;
use crate::json::{Json, JsonText};
use crate::mcp::headers::PROGRESS;
use crate::mcp::message::Id;
use crate::transport::{FromClient, ToClient, lock};

/// Turns that wait for one stream.
const TURNS: usize = 16;

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

    pub(super) fn len(&self) -> usize {
        lock(&self.open).len()
    }

    fn remove(&self, id: &str) {
        lock(&self.open).remove(id);
    }
}

#[derive(Debug)]
pub(super) struct Session {
    id: String,
    server: String,
    principal: Arc<Principal>,
    state: Mutex<State>,
    ended: CancellationToken,
    in_flight: usize,
}

#[derive(Debug)]
struct State {
    /// Gone when the session has ended.
    inbound: Option<mpsc::Sender<FromClient>>,
    routes: HashMap<Id, Route>,
    /// The client's one listening stream.
    listener: Option<(u64, mpsc::Sender<Turn>)>,
    next: u64,
    used: Instant,
}

/// An open request.
#[derive(Debug)]
struct Route {
    number: u64,
    turns: mpsc::Sender<Turn>,
    /// False where the client takes nothing but the answer.
    events: bool,
    request: JsonText,
}

/// Why a request has no place in its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoPlace {
    /// Its id is that of a request that is open.
    IdInUse,
    TooMany,
    Ended,
}

impl Session {
    /// # Errors
    /// Where the system has no randomness.
    pub(super) fn new(
        server: String,
        principal: Arc<Principal>,
        inbound: mpsc::Sender<FromClient>,
        in_flight: usize,
    ) -> Result<Arc<Session>, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let state =
            State { inbound: Some(inbound), routes: HashMap::new(), listener: None, next: 0, used: Instant::now() };
        let ended = CancellationToken::new();
        Ok(Arc::new(Session { id, server, principal, state: Mutex::new(state), ended, in_flight }))
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

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Opens the way back for a request, before the request is handed over.
    pub(super) fn open(&self, id: &Id, request: &JsonText, events: bool) -> Result<mpsc::Receiver<Turn>, NoPlace> {
        let mut state = lock(&self.state);
        if state.inbound.is_none() || self.ended.is_cancelled() {
            return Err(NoPlace::Ended);
        }
        if state.routes.len() >= self.in_flight {
            return Err(NoPlace::TooMany);
        }
        if state.routes.contains_key(id) {
            return Err(NoPlace::IdInUse);
        }
        let (turns, receiver) = mpsc::channel(TURNS);
        state.next += 1;
        let number = state.next;
        state.routes.insert(id.clone(), Route { number, turns, events, request: request.clone() });
        Ok(receiver)
    }

    /// The client's stream for this request is closed. True where its answer had not left.
    pub(super) fn close(&self, id: &Id) -> bool {
        let mut state = lock(&self.state);
        state.used = Instant::now();
        state.routes.remove(id).is_some()
    }

    /// Opens the listening stream; one that was open before ends, because a client that asks again has lost it.
    pub(super) fn listen(&self) -> Option<(u64, mpsc::Receiver<Turn>)> {
        let mut state = lock(&self.state);
        state.inbound.as_ref()?;
        let (turns, receiver) = mpsc::channel(TURNS);
        state.next += 1;
        let number = state.next;
        state.used = Instant::now();
        state.listener = Some((number, turns));
        Some((number, receiver))
    }

    pub(super) fn unlisten(&self, number: u64) {
        let mut state = lock(&self.state);
        state.used = Instant::now();
        if state.listener.as_ref().is_some_and(|(open, _)| *open == number) {
            state.listener = None;
        }
    }

    /// Carries what the session sends to the stream it belongs on, until either end is gone or nobody came for `idle`.
    pub(super) async fn pump(
        self: Arc<Self>,
        sessions: Arc<Sessions>,
        mut outbound: mpsc::Receiver<ToClient>,
        idle: Duration,
    ) {
        let mut check = std::pin::pin!(tokio::time::sleep(idle));
        loop {
            tokio::select! {
                () = self.ended.cancelled() => break,
                event = outbound.recv() => match event {
                    Some(event) => self.deliver(event).await,
                    None => break,
                },
                () = &mut check => match self.idle_until(idle) {
                    Some(deadline) => check.as_mut().reset(deadline),
                    None => break,
                },
            }
        }
        self.ended.cancel();
        sessions.remove(&self.id);
        let mut state = lock(&self.state);
        state.inbound = None;
        state.routes.clear();
        state.listener = None;
        drop(state);
        debug!("a session ended");
    }

    /// When to look again; `None` where nobody came for long enough.
    fn idle_until(&self, idle: Duration) -> Option<Instant> {
        let state = lock(&self.state);
        if !state.routes.is_empty() || state.listener.is_some() {
            return Some(Instant::now() + idle);
        }
        let deadline = state.used + idle;
        (deadline > Instant::now()).then_some(deadline)
    }

    async fn deliver(&self, event: ToClient) {
        let (turns, turn) = match event {
            ToClient::Waiting(id) => {
                let turns = lock(&self.state).routes.get(&id).map(|route| route.turns.clone());
                (turns, Turn::Waiting)
            }
            ToClient::Message { text, related } => match answer::kind(&text) {
                Outgoing::Call => (self.stream_for(&text, related), Turn::Related(text)),
                Outgoing::Result | Outgoing::Error(_) => {
                    let id = related.or_else(|| answer::id(&text));
                    let route = id.and_then(|id| lock(&self.state).routes.remove(&id));
                    (route.map(|route| route.turns), Turn::Answer(text))
                }
            },
        };
        let Some(turns) = turns else {
            debug!("no open stream takes a message; it is dropped");
            return;
        };
        tokio::select! {
            _ = turns.send(turn) => {}
            () = self.ended.cancelled() => {}
        }
    }

    /// The stream for a message that is no answer: of the request it belongs to, else the listening stream, else that
    /// of the newest request.
    fn stream_for(&self, text: &JsonText, related: Option<Id>) -> Option<mpsc::Sender<Turn>> {
        let state = lock(&self.state);
        let named = related.and_then(|id| state.routes.get(&id)).or_else(|| state.route_of_progress(text));
        if let Some(route) = named.filter(|route| route.events) {
            return Some(route.turns.clone());
        }
        if let Some((_, listener)) = &state.listener {
            return Some(listener.clone());
        }
        let newest = state.routes.values().filter(|route| route.events).max_by_key(|route| route.number);
        newest.map(|route| route.turns.clone())
    }
}

impl State {
    fn route_of_progress(&self, text: &JsonText) -> Option<&Route> {
        let view = text.view();
        if view.get("method").and_then(Json::as_str)? != PROGRESS {
            return None;
        }
        let token = view.get("params")?.get("progressToken")?;
        self.routes.values().find(|route| {
            let asked = route.request.view().pointer("/params/_meta/progressToken");
            asked.is_some_and(|asked| asked.kind() == token.kind() && same(asked, token))
        })
    }
}

/// Strings by their characters, numbers by their spelling.
fn same(one: Json<'_>, other: Json<'_>) -> bool {
    match (one.as_str(), other.as_str()) {
        (Some(one), Some(other)) => one == other,
        _ => one.text() == other.text(),
    }
}

#[cfg(test)]
mod tests {
    use crate::call::PrincipalKind;
    use crate::json::Rules;

    use super::*;

    fn text(text: &str) -> JsonText {
        JsonText::parse(text, Rules::CLIENT).unwrap()
    }

    fn principal(name: &str) -> Arc<Principal> {
        Arc::new(Principal { name: name.into(), kind: PrincipalKind::Token, scopes: Vec::new() })
    }

    fn session() -> (Arc<Session>, mpsc::Receiver<FromClient>) {
        let (inbound, receiver) = mpsc::channel(4);
        (Session::new("stripe".into(), principal("a"), inbound, 4).unwrap(), receiver)
    }

    fn request(id: i64, token: &str) -> JsonText {
        text(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x","params":{{"_meta":{{"progressToken":{token}}}}}}}"#))
    }

    async fn notify(session: &Session, body: &str, related: Option<Id>) {
        session.deliver(ToClient::Message { text: text(body), related }).await;
    }

    fn got(turns: &mut mpsc::Receiver<Turn>) -> usize {
        std::iter::from_fn(|| turns.try_recv().ok()).count()
    }

    #[tokio::test]
    async fn messages_find_their_stream() {
        let (session, _inbound) = session();
        let mut one = session.open(&Id::Number(1), &request(1, "\"t\\u00e9\""), true).unwrap();
        let mut two = session.open(&Id::Number(2), &request(2, "7"), true).unwrap();
        let mut plain = session.open(&Id::Number(3), &request(3, "8"), false).unwrap();
        let progress = |token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
            )
        };
        notify(&session, &progress("\"té\""), None).await;
        assert_eq!((got(&mut one), got(&mut two)), (1, 0));
        notify(&session, &progress("7"), None).await;
        assert_eq!((got(&mut one), got(&mut two)), (0, 1));
        // A request that takes no events, and a token of another type: to the newest that does.
        notify(&session, &progress("8"), None).await;
        notify(&session, &progress("\"7\""), None).await;
        assert_eq!((got(&mut one), got(&mut two), got(&mut plain)), (0, 2, 0));
        let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
        notify(&session, log, Some(Id::Number(1))).await;
        assert_eq!((got(&mut one), got(&mut two)), (1, 0));
        let (number, mut listener) = session.listen().unwrap();
        notify(&session, log, None).await;
        assert_eq!((got(&mut listener), got(&mut two)), (1, 0));
        session.unlisten(number);
        notify(&session, log, None).await;
        assert_eq!((got(&mut listener), got(&mut two)), (0, 1));
        notify(&session, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#, None).await;
        assert!(matches!(plain.try_recv(), Ok(Turn::Answer(_))));
        assert!(!session.close(&Id::Number(3)) && session.close(&Id::Number(2)));
    }

    #[tokio::test]
    async fn a_session_is_bounded_and_its_ids_are_unique() {
        let (session, _inbound) = session();
        let open = |id| session.open(&Id::Number(id), &request(id, "1"), true);
        let _streams: Vec<_> = (1..=4).map(|id| open(id).unwrap()).collect();
        assert_eq!(open(5).unwrap_err(), NoPlace::TooMany);
        session.close(&Id::Number(1));
        assert_eq!(open(2).unwrap_err(), NoPlace::IdInUse);
        session.end();
        assert_eq!(open(1).unwrap_err(), NoPlace::Ended);
    }

    #[tokio::test]
    async fn a_session_is_its_principals_and_its_servers() {
        let sessions = Sessions::new(1);
        let (session, _inbound) = session();
        assert!(sessions.add(&session));
        assert!(sessions.find(session.id(), &principal("a"), "stripe").is_some());
        assert!(sessions.find(session.id(), &principal("b"), "stripe").is_none());
        assert!(sessions.find(session.id(), &principal("a"), "stigg").is_none());
        let (other, _inbound) = self::session();
        assert!(!sessions.add(&other), "the limit holds");
        assert_ne!(session.id(), other.id());
        assert_eq!(session.id().len(), 32);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_came_so_it_ends() {
        let sessions = Arc::new(Sessions::new(1));
        let (session, mut inbound) = session();
        sessions.add(&session);
        let (_outbound, receiver) = mpsc::channel(4);
        let idle = Duration::from_secs(60);
        let turns = session.open(&Id::Number(1), &request(1, "1"), true).unwrap();
        let pump = tokio::spawn(Arc::clone(&session).pump(Arc::clone(&sessions), receiver, idle));
        tokio::time::sleep(idle * 3).await;
        assert_eq!(sessions.len(), 1, "an open request keeps it");
        session.close(&Id::Number(1));
        drop(turns);
        pump.await.unwrap();
        assert_eq!(sessions.len(), 0);
        assert!(inbound.recv().await.is_none(), "its other end learns of it");
    }
}
