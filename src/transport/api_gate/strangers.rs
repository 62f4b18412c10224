//! Connections that have not shown a key yet. Any program of this machine can make them; where there is no room left,
//! the oldest goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::transport::lock;

/// All of them, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    open: BTreeMap<u64, CancellationToken>,
    dismissed: u64,
}

/// One connection. It counts until it is known, or dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    of: Strangers,
    number: u64,
    dismissed: CancellationToken,
}

impl Strangers {
    pub(super) fn one(&self) -> Stranger {
        let dismissed = CancellationToken::new();
        let mut waiting = lock(&self.0);
        let number = waiting.next;
        waiting.next += 1;
        waiting.open.insert(number, dismissed.clone());
        drop(waiting);
        Stranger { of: self.clone(), number, dismissed }
    }

    /// Sends the oldest away. False where there is none.
    pub(super) fn dismiss(&self) -> bool {
        let mut waiting = lock(&self.0);
        let Some((_, oldest)) = waiting.open.pop_first() else { return false };
        oldest.cancel();
        waiting.dismissed += 1;
        if waiting.dismissed.is_power_of_two() {
            let dismissed = waiting.dismissed;
            warn!(dismissed, "connections without a key take all places of the endpoint for children");
        }
        true
    }
}

impl Stranger {
    /// It has shown a key.
    pub(super) fn known(&self) {
        lock(&self.of.0).open.remove(&self.number);
    }

    pub(super) async fn dismissed(&self) {
        self.dismissed.cancelled().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.known();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_and_whoever_is_known_stays() {
        let strangers = Strangers::default();
        let (known, first, second) = (strangers.one(), strangers.one(), strangers.one());
        known.known();
        assert!(strangers.dismiss());
        first.dismissed().await;
        assert!(!second.dismissed.is_cancelled() && !known.dismissed.is_cancelled());
        drop(second);
        assert!(!strangers.dismiss());
    }
}
