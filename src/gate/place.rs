//! Where sessions and servers work, as far as calls and answers have shown it.
//!
//! Invariant: what is remembered only tightens. A session that has worked somewhere stays there, and a server whose
//! answers contradict what it is bound to stays contradicted until the daemon is started again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::call::{Bound, Reach};

/// Where one session works, or one principal in the stateless era.
#[derive(Clone, Debug, Default)]
pub struct Place(Arc<Mutex<Bound>>);

impl Place {
    fn lock(&self) -> MutexGuard<'_, Bound> {
        // Every change replaces the whole value, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bound(&self) -> Bound {
        self.lock().clone()
    }

    /// Lets a call be made that was judged in a session that worked there, and remembers what it names. False where
    /// another call of the session has said something else meanwhile: then the judgement does not count.
    pub(super) fn bind(&self, judged: &Bound, reach: Option<&Reach>) -> bool {
        let Some(reach) = reach else { return true };
        let mut bound = self.lock();
        let stands = *bound == *judged;
        if stands {
            *bound = judged.after(reach);
        }
        stands
    }
}

/// What is remembered of all servers.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// What contradicts the environment of a server, by its name.
    conflicts: BTreeMap<String, Arc<str>>,
    /// Of principals that ask in the stateless era, by server and principal: as many as the configuration has.
    shared: HashMap<(String, String), (Place, Instant)>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn conflict(&self, server: &str) -> Option<Arc<str>> {
        self.lock().conflicts.get(server).cloned()
    }

    /// The first contradiction stays. True where this is the first.
    pub fn contradict(&self, server: &str, what: &str) -> bool {
        let mut inner = self.lock();
        let first = !inner.conflicts.contains_key(server);
        if first {
            inner.conflicts.insert(server.to_owned(), what.into());
        }
        first
    }

    /// The place of a principal whose requests stand alone. It is a new one when nothing was asked for `idle`.
    pub fn shared(&self, server: &str, principal: &str, idle: Duration) -> Place {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.shared.retain(|_, (_, used)| now.duration_since(*used) < idle);
        let (place, used) =
            inner.shared.entry((server.to_owned(), principal.to_owned())).or_insert_with(|| (Place::default(), now));
        *used = now;
        place.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::ReachMode;

    fn reach(mode: ReachMode) -> Reach {
        Reach { mode: Some(mode), ..Reach::default() }
    }

    #[test]
    fn of_two_calls_that_go_elsewhere_one_is_judged_again() {
        let place = Place::default();
        let (one, two) = (place.bound(), place.bound());
        assert!(place.bind(&one, Some(&reach(ReachMode::Test))));
        assert!(!place.bind(&two, Some(&reach(ReachMode::Production))));
        assert_eq!(place.bound().mode, Some(ReachMode::Test));
        assert!(place.bind(&two, None), "a call that names nothing goes nowhere");
        assert!(place.bind(&place.bound(), Some(&reach(ReachMode::Test))));
    }

    #[test]
    fn the_first_contradiction_stays() {
        let places = Places::default();
        assert!(places.contradict("a", "one") && !places.contradict("a", "two"));
        assert_eq!(places.conflict("a").as_deref(), Some("one"));
        assert_eq!(places.conflict("b"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_stand_alone_share_a_place_until_they_are_idle() {
        let (places, idle) = (Places::default(), Duration::from_secs(10));
        let place = places.shared("a", "x", idle);
        assert!(place.bind(&Bound::default(), Some(&reach(ReachMode::Test))));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(places.shared("a", "x", idle).bound().mode, Some(ReachMode::Test));
        assert_eq!(places.shared("a", "y", idle).bound(), Bound::default());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(places.shared("a", "x", idle).bound().mode, Some(ReachMode::Test));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(places.shared("a", "x", idle).bound(), Bound::default());
        assert_eq!(places.lock().shared.len(), 1);
    }
}
