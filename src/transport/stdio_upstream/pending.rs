//! Requests that a child has not answered, when their time is over, and what was agreed on in the first of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::json::Json;
use crate::mcp::message::{Id, Message};
use crate::transport::lock;

/// As many as a session may have open, so looking at all of them costs little.
#[derive(Debug, Default)]
pub(super) struct Pending {
    open: Mutex<HashMap<Id, Instant>>,
    added: Notify,
    beginning: Mutex<Beginning>,
}

/// How the session began.
#[derive(Debug, Default)]
struct Beginning {
    /// The request that begins it.
    request: Option<Id>,
    /// What the child has agreed to.
    revision: Option<String>,
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

    /// The request that begins the session is on its way.
    pub(super) fn begins(&self, id: &Id) {
        lock(&self.beginning).request = Some(id.clone());
    }

    /// An answer has come.
    pub(super) fn answered(&self, id: &Id, message: &Message) {
        self.remove(id);
        let mut beginning = lock(&self.beginning);
        if beginning.request.as_ref() == Some(id) {
            let revision = message.result().and_then(|result| result.get("protocolVersion")).and_then(Json::as_str);
            *beginning = Beginning { request: None, revision: revision.map(Cow::into_owned) };
        }
    }

    /// The revision that the session has come to.
    pub(super) fn revision(&self) -> Option<String> {
        lock(&self.beginning).revision.clone()
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
