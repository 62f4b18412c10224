//! How many sessions each principal has. One that takes more than its share would keep the others out.
//!
//! Invariant: a session counts for as long as its [`Place`] lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::Shared;
use crate::call::Limits;
use crate::mcp::loss::OVERLOADED;
use crate::mcp::message::Shape;
use crate::mcp::reply;
use crate::transport::budget::Refusals;
use crate::transport::{FromClient, NewSession, Rejected, ToClient};

type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// The open sessions, by principal: only of those that have some.
#[derive(Debug)]
pub(super) struct Doors {
    counts: Counts,
    refusals: Refusals,
}

/// One session's place among those of its principal.
#[derive(Debug)]
pub(super) struct Place {
    principal: String,
    all: Counts,
}

impl Doors {
    pub fn new(rejected: mpsc::Sender<Rejected>) -> Doors {
        Doors { counts: Counts::default(), refusals: Refusals::new(rejected) }
    }

    /// Gives a session its place, or turns its client away.
    pub fn enter(&self, new: NewSession, shared: &Arc<Shared>) -> Option<(NewSession, Place)> {
        if let Some(place) = self.place(&new.principal.name, shared.limits.sessions_per_principal) {
            return Some((new, place));
        }
        self.refusals.report(Rejected {
            server: Some(new.server.clone()),
            principal: Some(new.principal.name.clone()),
            client: new.client.clone(),
            code: OVERLOADED,
            reason: reason(&shared.limits),
        });
        // Among the sessions these would take places of others.
        shared.tracker.spawn(turn_away(new, Arc::clone(shared)));
        None
    }

    /// A place, unless `limit` of them are taken.
    fn place(&self, principal: &str, limit: usize) -> Option<Place> {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(principal.to_owned()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { principal: principal.to_owned(), all: Arc::clone(&self.counts) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.principal) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.principal);
            }
        }
    }
}

fn reason(limits: &Limits) -> String {
    let limit = limits.sessions_per_principal;
    format!("countersign: {limit} sessions of this client are open (limits.sessions_per_principal); end one of them")
}

/// Answers the first request of a client that finds no place. One that says nothing is not waited for without end.
async fn turn_away(new: NewSession, shared: Arc<Shared>) {
    let (mut inbound, outbound) = (new.link.inbound, new.link.outbound);
    let answer = async {
        while let Some(event) = inbound.recv().await {
            let FromClient::Message(message) = event else { continue };
            if let Shape::Request { id, .. } = message.shape() {
                let text = reply::error(id, OVERLOADED, &reason(&shared.limits));
                let _ = outbound.send(ToClient::Message { text, related: Some(id.clone()) }).await;
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(shared.limits.body_timeout, answer) => {}
        () = shared.stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_session_ends() {
        let doors = Doors::new(mpsc::channel(1).0);
        let places = [doors.place("a", 2), doors.place("a", 2)];
        assert!(places.iter().all(Option::is_some) && doors.place("a", 2).is_none());
        assert!(doors.place("b", 2).is_some(), "another has its own");
        drop(places);
        assert!(doors.counts.lock().unwrap().is_empty());
        assert!(doors.place("a", 2).is_some());
    }
}
