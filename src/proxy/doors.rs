//! How many sessions there are, and how many each principal has. One that takes more than its share would keep the
//! others out.
//!
//! Invariant: a session counts for as long as its [`Place`] lives.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{ServerRuntime, Shared, session};
use crate::call::{ClientInfo, Limits};
use crate::credential::scrub::Scrubber;
use crate::mcp::loss::OVERLOADED;
use crate::mcp::message::Shape;
use crate::mcp::reply;
use crate::transport::budget::Refusals;
use crate::transport::{ClientLink, FromClient, NewSession, Rejected, ToClient};

/// A session that has just ended frees its place when its server's process is gone: a new one waits for that.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients that wait for a place at one time. The next one is turned away at once.
const WAITING: usize = 64;

/// The places that are taken: only of principals and servers that have some.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// By principal, then by server.
    of: HashMap<String, HashMap<String, usize>>,
}

#[derive(Debug, Default)]
struct Hall {
    taken: Mutex<Taken>,
    /// A place has become free.
    left: Notify,
}

/// Which bound is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Full {
    All,
    Principal,
    Server,
}

#[derive(Debug)]
pub(super) struct Doors {
    hall: Arc<Hall>,
    waiting: Semaphore,
    refusals: Refusals,
    sessions: TaskTracker,
}

/// One session's place among those of its principal with its server.
#[derive(Debug)]
struct Place {
    principal: String,
    server: String,
    hall: Arc<Hall>,
}

impl Doors {
    /// Sessions run on `sessions`.
    pub fn new(rejected: mpsc::Sender<Rejected>, sessions: TaskTracker) -> Doors {
        let waiting = Semaphore::new(WAITING);
        Doors { hall: Arc::default(), waiting, refusals: Refusals::new(rejected), sessions }
    }

    /// Begins a session where there is a place for it. Else its client waits a moment for one, and is turned away.
    pub fn enter(self: &Arc<Doors>, mut new: NewSession, server: Arc<ServerRuntime>, shared: &Arc<Shared>) {
        new.client = without_keys(new.client, &shared.scrubber);
        if let Ok(place) = self.hall.place(&new.principal.name, &new.server, &shared.limits) {
            return self.begin(new, place, server, Arc::clone(shared));
        }
        let (doors, shared) = (Arc::clone(self), Arc::clone(shared));
        // Among the sessions these would take places of others.
        shared.tracker.clone().spawn(async move {
            let place = tokio::select! {
                place = doors.wait(&new, &shared.limits) => place,
                () = shared.stop.cancelled() => return,
            };
            match place {
                Ok(place) => doors.begin(new, place, server, shared),
                Err(full) => doors.turn_away(new, full, &shared).await,
            }
        });
    }

    fn begin(&self, new: NewSession, place: Place, server: Arc<ServerRuntime>, shared: Arc<Shared>) {
        let lane = new.lane.handle().clone();
        let session = async move {
            let _place = place;
            server.sessions.fetch_add(1, Ordering::Relaxed);
            session::run(new, shared, Arc::clone(&server)).await;
            server.sessions.fetch_sub(1, Ordering::Relaxed);
        };
        self.sessions.spawn_on(session, &lane);
    }

    async fn wait(&self, new: &NewSession, limits: &Limits) -> Result<Place, Full> {
        let place = || self.hall.place(&new.principal.name, &new.server, limits);
        let Ok(_turn) = self.waiting.try_acquire() else { return place() };
        let trying = async {
            loop {
                let mut left = pin!(self.hall.left.notified());
                // What becomes free from here on is heard of.
                left.as_mut().enable();
                match place() {
                    Ok(place) => return place,
                    Err(_) => left.await,
                }
            }
        };
        match timeout(PATIENCE, trying).await {
            Ok(place) => Ok(place),
            Err(_) => place(),
        }
    }

    /// Records it, and says why.
    async fn turn_away(&self, new: NewSession, full: Full, shared: &Shared) {
        let reason = reason(full, &new.server, &shared.limits);
        self.refusals.report(Rejected {
            server: Some(new.server.clone()),
            principal: Some(new.principal.name.clone()),
            client: new.client.clone(),
            code: OVERLOADED,
            reason: reason.clone(),
        });
        turn_away(None, new.link, OVERLOADED, &reason, shared).await;
    }
}

/// Answers the first request of a client that gets no session, and only this. One that says nothing is not waited for
/// without end.
pub(super) async fn turn_away(first: Option<FromClient>, link: ClientLink, code: i64, reason: &str, shared: &Shared) {
    let ClientLink { mut inbound, outbound } = link;
    let answer = async {
        let mut said = first;
        loop {
            let event = match said.take() {
                Some(event) => event,
                None => inbound.recv().await?,
            };
            if let FromClient::Message(message) = event
                && let Shape::Request { id, .. } = message.shape()
            {
                let text = reply::error(id, code, reason);
                return outbound.send(ToClient::Message { text, related: Some(id.clone()) }).await.ok();
            }
        }
    };
    tokio::select! {
        _ = timeout(shared.limits.body_timeout, answer) => {}
        () = shared.stop.cancelled() => {}
    }
}

impl Hall {
    fn place(self: &Arc<Hall>, principal: &str, server: &str, limits: &Limits) -> Result<Place, Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= limits.sessions {
            return Err(Full::All);
        }
        let with = taken.of.get(principal);
        if with.is_some_and(|with| with.values().sum::<usize>() >= share(limits)) {
            return Err(Full::Principal);
        }
        if with.and_then(|with| with.get(server)).is_some_and(|count| *count >= limits.sessions_per_principal) {
            return Err(Full::Server);
        }
        taken.all += 1;
        *taken.of.entry(principal.to_owned()).or_default().entry(server.to_owned()).or_default() += 1;
        Ok(Place { principal: principal.to_owned(), server: server.to_owned(), hall: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.hall.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(with) = taken.of.get_mut(&self.principal) {
            if let Some(count) = with.get_mut(&self.server) {
                *count = count.saturating_sub(1);
            }
            with.retain(|_, count| *count > 0);
            if with.is_empty() {
                taken.of.remove(&self.principal);
            }
        }
        drop(taken);
        self.hall.left.notify_waiters();
    }
}

/// What one principal may have with all servers together: the other half stays for others.
fn share(limits: &Limits) -> usize {
    limits.sessions.div_ceil(2)
}

fn reason(full: Full, server: &str, limits: &Limits) -> String {
    let end = "end one (over HTTP by DELETE with its Mcp-Session-Id)";
    match full {
        Full::All => {
            let all = limits.sessions;
            format!("countersign: {all} sessions of all clients are open (limits.sessions); try again later")
        }
        Full::Principal => {
            let share = share(limits);
            format!("countersign: {share} sessions of this client are open, the half of limits.sessions; {end}")
        }
        Full::Server => {
            let most = limits.sessions_per_principal;
            format!(
                "countersign: {most} sessions of this client with the server {server} are open \
                 (limits.sessions_per_principal); {end}, or try again in a minute: one over HTTP with nothing open \
                 gives its place to a new one then"
            )
        }
    }
}

/// What a client says of its folder is its own word, and goes to screens.
fn without_keys(mut client: ClientInfo, scrubber: &Scrubber) -> ClientInfo {
    client.cwd = client.cwd.filter(|cwd| !scrubber.has_whole(cwd));
    client
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::call::{Transport, fixtures};
    use crate::credential::secret::Secret;
    use crate::transport::Running;

    fn limits(sessions: usize, each: usize) -> Limits {
        Limits { sessions, sessions_per_principal: each, ..Limits::default() }
    }

    #[test]
    fn a_place_is_free_again_when_its_session_ends() {
        let hall = Arc::new(Hall::default());
        let place = |principal: &str, server: &str| hall.place(principal, server, &limits(100, 2));
        let places = [place("a", "s"), place("a", "s")];
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(place("a", "s").unwrap_err(), Full::Server);
        assert!(place("a", "t").is_ok(), "each server has its own");
        assert!(place("b", "s").is_ok(), "another has its own");
        drop(places);
        let taken = hall.taken.lock().unwrap();
        assert!(taken.of.is_empty() && taken.all == 0);
        drop(taken);
        assert!(place("a", "s").is_ok());
    }

    #[test]
    fn half_of_all_places_stay_for_others() {
        let hall = Arc::new(Hall::default());
        let place = |principal: &str, server: &str| hall.place(principal, server, &limits(4, 2));
        let _places = [place("a", "s").unwrap(), place("a", "t").unwrap()];
        assert_eq!(place("a", "u").unwrap_err(), Full::Principal);
        let _others = [place("b", "s").unwrap(), place("c", "s").unwrap()];
        assert_eq!(place("d", "s").unwrap_err(), Full::All);
        assert!(reason(Full::All, "s", &limits(4, 2)).contains("4 sessions of all clients"));
    }

    fn new_session() -> NewSession {
        NewSession {
            server: "s".into(),
            principal: fixtures::principal("a", &[]),
            client: ClientInfo::silent(Transport::Stdio),
            link: ClientLink { inbound: mpsc::channel(1).1, outbound: mpsc::channel(1).0 },
            replaced: CancellationToken::new(),
            running: Running::default(),
            lane: crate::transport::lanes::OnLane::none(),
        }
    }

    #[test]
    fn a_folder_that_holds_a_key_is_not_looked_at() {
        let key = Secret::new("sk_weird_CANARY7Q".to_owned());
        let scrubber = Scrubber::new([("key", &key)]);
        let kept = |cwd: &str| {
            let client = ClientInfo { cwd: Some(cwd.to_owned()), ..ClientInfo::silent(Transport::Stdio) };
            without_keys(client, &scrubber).cwd
        };
        assert_eq!(kept("/home/a"), Some("/home/a".to_owned()));
        assert_eq!(kept("/home/sk_weird_CANARY7Q"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_place_or_is_turned_away_in_time() {
        let doors = Doors::new(mpsc::channel(1).0, TaskTracker::new());
        let (limits, new) = (limits(100, 1), new_session());
        let taken = doors.hall.place("a", "s", &limits).unwrap();
        let began = Instant::now();
        assert_eq!(doors.wait(&new, &limits).await.unwrap_err(), Full::Server);
        assert_eq!(began.elapsed(), PATIENCE);
        let leaves = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(taken);
        };
        let began = Instant::now();
        let (place, ()) = tokio::join!(doors.wait(&new, &limits), leaves);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        let _place = place.unwrap();
        // Where so many wait that there is no turn, nobody waits longer than it takes to look.
        let _turns = doors.waiting.try_acquire_many(WAITING as u32).unwrap();
        let began = Instant::now();
        assert_eq!(doors.wait(&new, &limits).await.unwrap_err(), Full::Server);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
