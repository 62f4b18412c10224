//! The sessions that are open, as operators see them: who, since when, what they were let do lately.
//!
//! Invariant: this counts and remembers, and decides nothing but whether a session is paused. Every session that is open
//! stands here exactly once, for as long as its guard lives; of each the last calls are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::release::REPLACED;
use super::stops::{ENDS, Halt, PAUSES};
use crate::audit::Event;
use crate::call::{CallContext, CallId, ClientInfo, Decision, Digest, Effect, Environment, Operation, Outcome};

/// Calls of a session that are remembered.
const LAST: usize = 20;
/// Longest spelling of an amount that is remembered with one, in bytes.
const SHORT: usize = 40;

/// A call in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub id: CallId,
    pub at: Timestamp,
    pub operation: String,
    pub effect: Effect,
    /// What became of it, where something has.
    pub result: Option<String>,
    pub rule: Option<String>,
    pub digest: Digest,
    /// Values as the call spells them, and their units.
    pub sizes: Vec<(String, String)>,
}

/// An open session, as it is now.
#[derive(Clone, Debug)]
pub struct SessionNow {
    pub session: String,
    pub server: String,
    pub environment: Arc<Environment>,
    pub principal: String,
    pub client: Arc<ClientInfo>,
    pub since: Timestamp,
    pub paused: Option<Halt>,
    pub calls: u64,
    pub allowed: u64,
    pub held: u64,
    pub denied: u64,
    /// Requests that are not answered yet.
    pub in_flight: usize,
    /// Newest first.
    pub last: VecDeque<Line>,
}

#[derive(Debug)]
struct Live {
    now: SessionNow,
    in_flight: Arc<AtomicUsize>,
    ended: CancellationToken,
    replaced: CancellationToken,
}

impl Live {
    fn stopped(&self) -> Option<String> {
        let halt = self.now.paused.as_ref()?;
        Some(halt.words(if self.ended.is_cancelled() { ENDS } else { PAUSES }))
    }
}

#[derive(Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<String, Live>>>);

/// Keeps a session among the open ones.
#[derive(Debug)]
pub struct OpenSession {
    session: String,
    /// An operator has ended it.
    pub ended: CancellationToken,
    /// The token that its client was let in by has been replaced.
    pub replaced: CancellationToken,
    pub in_flight: Arc<AtomicUsize>,
    all: Arc<Mutex<HashMap<String, Live>>>,
}

impl OpenSession {
    /// Why nothing of it is sent any more, where an operator has paused or ended it or its client counts no more.
    pub fn stopped(&self) -> Option<(Outcome, String)> {
        if self.replaced.is_cancelled() {
            return Some((Outcome::Withdrawn, REPLACED.to_owned()));
        }
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&self.session).and_then(Live::stopped).map(|why| (Outcome::Denied, why))
    }

    /// What its client says about itself.
    pub fn met(&self, client: &Arc<ClientInfo>) {
        if let Some(live) = self.all.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.session) {
            live.now.client = Arc::clone(client);
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
    }
}

/// Whose session it is, for the record.
pub(super) struct Whose {
    session: String,
    server: String,
    principal: String,
}

impl Whose {
    pub fn ruled(&self, ruling: &str, operator: &str, reason: Option<String>, rejected: usize) -> Event {
        Event::SessionRuled {
            operator: operator.to_owned(),
            session: self.session.clone(),
            server: self.server.clone(),
            principal: self.principal.clone(),
            ruling: ruling.to_owned(),
            reason,
            rejected: u64::try_from(rejected).unwrap_or(u64::MAX),
        }
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        // Nothing is left half done by a panic in between: every change is of one field.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins, whose client was let in by a token that may be `replaced`.
    pub fn open(&self, context: &CallContext, replaced: CancellationToken) -> OpenSession {
        let (ended, in_flight) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let now = SessionNow {
            session: context.session.clone(),
            server: context.server.name.clone(),
            environment: Arc::clone(&context.environment),
            principal: context.principal.name.clone(),
            client: Arc::clone(&context.client),
            since: Timestamp::now(),
            paused: None,
            calls: 0,
            allowed: 0,
            held: 0,
            denied: 0,
            in_flight: 0,
            last: VecDeque::new(),
        };
        let live = Live { now, in_flight: Arc::clone(&in_flight), ended: ended.clone(), replaced: replaced.clone() };
        self.lock().insert(context.session.clone(), live);
        OpenSession { session: context.session.clone(), ended, replaced, in_flight, all: Arc::clone(&self.0) }
    }

    pub fn all(&self) -> Vec<SessionNow> {
        let now = |live: &Live| SessionNow { in_flight: live.in_flight.load(Ordering::Relaxed), ..live.now.clone() };
        let mut all: Vec<SessionNow> = self.lock().values().map(now).collect();
        all.sort_by(|one, other| (one.since, &one.session).cmp(&(other.since, &other.session)));
        all
    }

    pub fn paused(&self, session: &str) -> Option<Halt> {
        self.lock().get(session)?.now.paused.clone()
    }

    /// Why nothing of a session is sent, where an operator has paused or ended it.
    pub fn stopped(&self, session: &str) -> Option<String> {
        self.lock().get(session).and_then(Live::stopped)
    }

    /// True where the token that its client was let in by has been replaced.
    pub fn is_replaced(&self, session: &str) -> bool {
        self.lock().get(session).is_some_and(|live| live.replaced.is_cancelled())
    }

    pub fn of(&self, session: &str) -> Option<Whose> {
        self.lock().get(session).map(whose)
    }

    pub fn pause(&self, session: &str, halt: Halt) -> Option<Whose> {
        let mut all = self.lock();
        let live = all.get_mut(session)?;
        live.now.paused = Some(halt);
        Some(whose(live))
    }

    /// Ends this pause, and no later one. What is over stays so.
    pub fn resume(&self, session: &str, pause: &Halt) {
        let mut all = self.lock();
        let Some(live) = all.get_mut(session) else { return };
        if live.now.paused.as_ref() == Some(pause) && !live.ended.is_cancelled() {
            live.now.paused = None;
        }
    }

    pub fn end(&self, session: &str, halt: Halt) -> Option<Whose> {
        let mut all = self.lock();
        let live = all.get_mut(session)?;
        live.now.paused = Some(halt);
        live.ended.cancel();
        Some(whose(live))
    }

    /// A call was decided.
    pub fn decided(&self, context: &CallContext, id: &CallId, digest: Digest, decision: &Decision) {
        let mut all = self.lock();
        let Some(Live { now, .. }) = all.get_mut(&context.session) else { return };
        now.client.clone_from(&context.client);
        now.calls += 1;
        match decision.effect {
            Effect::Allow => now.allowed += 1,
            Effect::Hold => now.held += 1,
            Effect::Deny => now.denied += 1,
        }
        now.last.push_front(Line {
            id: id.clone(),
            at: Timestamp::now(),
            operation: context.operation.name.clone(),
            effect: decision.effect,
            result: None,
            rule: decision.rules.first().map(|hit| hit.rule.clone()),
            digest,
            sizes: sizes(&context.operation),
        });
        now.last.truncate(LAST);
    }

    /// What became of a call.
    pub fn became(&self, session: &str, id: &CallId, result: &str) {
        let mut all = self.lock();
        let Some(Live { now, .. }) = all.get_mut(session) else { return };
        if let Some(line) = now.last.iter_mut().find(|line| line.id == *id) {
            line.result = Some(result.to_owned());
        }
    }
}

/// How much a call wants, as far as it spells that shortly.
fn sizes(operation: &Operation) -> Vec<(String, String)> {
    let money = operation.money.as_ref().and_then(|money| {
        Some((money.amount.as_ref()?.clone(), money.currency.as_ref().unwrap_or(&money.unit).clone()))
    });
    let rest = operation.magnitude.as_ref().and_then(|size| Some((size.value.as_ref()?.clone(), size.unit.clone())));
    let is_short = |(value, unit): &(String, String)| value.len() <= SHORT && unit.len() <= SHORT;
    [money, rest].into_iter().flatten().filter(is_short).collect()
}

fn whose(live: &Live) -> Whose {
    let SessionNow { session, server, principal, .. } = &live.now;
    Whose { session: session.clone(), server: server.clone(), principal: principal.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Class, fixtures};

    #[test]
    fn nothing_of_an_ended_session_goes_on_and_a_resume_ends_no_later_pause() {
        let sessions = Sessions::default();
        let open = sessions.open(&fixtures::context("x", Class::Write), CancellationToken::new());
        let stopped = || (sessions.stopped("s-1").is_some(), open.stopped().is_some());
        assert_eq!(stopped(), (false, false));
        let (first, second) = (Halt::new("ana", None), Halt::new("ben", Some("mine".into())));
        sessions.pause("s-1", first.clone()).unwrap();
        sessions.pause("s-1", second.clone()).unwrap();
        sessions.resume("s-1", &first);
        assert_eq!(stopped(), (true, true), "it is another pause");
        sessions.resume("s-1", &second);
        assert_eq!(stopped(), (false, false));
        sessions.end("s-1", first.clone()).unwrap();
        sessions.resume("s-1", &first);
        assert_eq!(stopped(), (true, true));
        assert!(open.stopped().unwrap().1.contains("ended this session"));
    }
}
