//! Requests that a child has not answered, and when their time is over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::mcp::message::Id;
use crate::transport::lock;

/// As many as a session may have open, so looking at all of them costs little.
#[derive(Debug, Default)]
pub(super) struct Pending {
    open: Mutex<HashMap<Id, Instant>>,
    added: Notify,
}

impl Pending {
    pub(super) fn add(&self, id: &Id, allowed: Duration) {
        let mut open = lock(&self.open);
        let was_empty = open.is_empty();
        open.insert(id.clone(), Instant::now() + allowed);
        drop(open);
        // Times are all the same length, so only the first one can be the next that ends.
        if was_empty {
            self.added.notify_one();
        }
    }

    pub(super) fn remove(&self, id: &Id) {
        lock(&self.open).remove(id);
    }

    pub(super) fn take_all(&self) -> Vec<Id> {
        lock(&self.open).drain().map(|(id, _)| id).collect()
    }

    /// The next request whose time is over; it is open no more. Cancel safe.
    pub(super) async fn expired(&self) -> Id {
        loop {
            let next = lock(&self.open).iter().min_by_key(|(_, end)| **end).map(|(id, end)| (id.clone(), *end));
            let Some((id, end)) = next else {
                self.added.notified().await;
                continue;
            };
            sleep_until(end).await;
            // Answered meanwhile, or taken up again under the same id: then its time is another.
            let mut open = lock(&self.open);
            if open.get(&id) == Some(&end) {
                open.remove(&id);
                return id;
            }
        }
    }
}
