//! An upstream behind streamable HTTP: a POST for each message, answers as JSON or as events, and the session that
//! the older era keeps.
//!
//! Invariant: every header field of a request is ours, made from the configuration and the message. Nothing is sent
//! twice, no redirect is followed, and a key is put into a request at the moment it is sent. A call is asked in that
//! moment whether it may still leave, with its connection there.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, info_span};

pub use self::spec::{HeaderSource, HttpSpec, SpecError, is_this_machine};
use self::wire::{Done, Wire};
use super::http_client::HttpClient;
use super::{FromUpstream, ToUpstream, UpstreamLink};
use crate::call::{Leave, Limits};
use crate::credential::scrub::Scrubber;
use crate::mcp::headers::{CANCELLED, INITIALIZE, INITIALIZED};
use crate::mcp::loss::{Cause, Fate, Loss};
use crate::mcp::message::{Id, Message, Shape};
use crate::mcp::method;

mod spec;
mod head;
mod signed_in;
mod status;
mod stream;
mod wire;

/// Places besides those of requests, so that cancellations and answers do not wait for requests that hang.
const RESERVE: usize = 16;
/// How long the last notifications, and the end of the session, may take when the link is dropped.
const LAST: Duration = Duration::from_secs(2);

/// Serves a link until it is dropped or the upstream ends the session. Nothing is sent before the first message.
pub fn connect(
    spec: Arc<HttpSpec>,
    client: HttpClient,
    scrubber: Arc<Scrubber>,
    limits: Limits,
    tracker: &TaskTracker,
) -> UpstreamLink {
    // Room for every request that may be open, so that a session need not wait to hand one over.
    let (outbound, from_session) = mpsc::channel(limits.in_flight + limits.queue);
    let (to_session, inbound) = mpsc::channel(limits.queue);
    let span = info_span!("upstream", server = %spec.server());
    let wire = Arc::new(Wire::new(spec, client.clone(), scrubber, limits, to_session));
    tracker.spawn(client.link(Link::new(wire).run(from_session).instrument(span)));
    UpstreamLink { outbound, inbound }
}

/// Everything about one link, in one task.
struct Link {
    wire: Arc<Wire>,
    open: FuturesUnordered<Abortable<BoxFuture<'static, Done>>>,
    requests: HashMap<Id, AbortHandle>,
    /// Notifications and answers that are on their way.
    others: usize,
    /// The beginning of a session has an order that parallel requests would not keep.
    beginning: bool,
    /// The request that begins it.
    beginner: Option<Id>,
    /// It has begun, and what belongs to no request is listened for: once for each link, whatever the client repeats.
    listening: bool,
}

impl Link {
    fn new(wire: Arc<Wire>) -> Link {
        Link {
            wire,
            open: FuturesUnordered::new(),
            requests: HashMap::new(),
            others: 0,
            beginning: false,
            beginner: None,
            listening: false,
        }
    }

    async fn run(mut self, mut from_session: mpsc::Receiver<ToUpstream>) {
        let wire = Arc::clone(&self.wire);
        let most = wire.limits.in_flight + RESERVE;
        let failed = loop {
            tokio::select! {
                () = wire.session_gone() => break None,
                Some(done) = self.open.next(), if !self.open.is_empty() => {
                    // An aborted exchange says nothing: nobody waits for it.
                    if let Ok(done) = done
                        && let Some(reason) = self.finish(done)
                    {
                        break Some(reason);
                    }
                }
                event = from_session.recv(), if !self.beginning && self.open.len() < most + usize::from(self.listening) => match event {
                    Some(ToUpstream::Send(message)) if self.listening && message.method() == Some(INITIALIZED) => {
                        debug!("the client says once more that the session has begun; the upstream knows");
                    }
                    Some(ToUpstream::Send(message)) => match self.cancelled(&message) {
                        Some(id) => self.abandon(&id),
                        None => self.send(message, None),
                    },
                    Some(ToUpstream::Call(message, leave)) => self.send(message, Some(leave)),
                    Some(ToUpstream::Abandon(id)) => self.abandon(&id),
                    None => break None,
                },
            }
        };
        match failed {
            Some(reason) => self.close(&reason, &mut from_session).await,
            None => self.last_words().await,
        }
    }

    fn send(&mut self, message: Message, leave: Option<Leave>) {
        self.beginning = matches!(message.method(), Some(INITIALIZE | INITIALIZED));
        let (handle, registration) = AbortHandle::new_pair();
        match message.shape() {
            Shape::Request { id, .. } => {
                self.beginner = self.beginning.then(|| id.clone());
                self.requests.insert(id.clone(), handle);
            }
            Shape::Notification { .. } | Shape::Response { .. } => self.others += 1,
        }
        let exchange: BoxFuture<'static, Done> = Box::pin(Arc::clone(&self.wire).exchange(message, leave));
        self.open.push(Abortable::new(exchange, registration));
    }

    /// The request that a message takes back, in the era that does so by closing its stream. The message itself has no
    /// place on that wire.
    fn cancelled(&self, message: &Message) -> Option<Id> {
        if message.method() != Some(CANCELLED) || self.wire.head.is_legacy() {
            return None;
        }
        method::cancelled(message)
    }

    fn abandon(&mut self, id: &Id) {
        let Some(handle) = self.requests.remove(id) else { return };
        handle.abort();
        self.beginning &= self.beginner.as_ref() != Some(id);
        let (wire, id) = (Arc::clone(&self.wire), id.clone());
        self.beside(async move {
            wire.lost(id, Loss::unknown("nobody waited for it any more")).await;
            Done::Beside
        });
    }

    fn beside(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        let (_, registration) = AbortHandle::new_pair();
        let work: BoxFuture<'static, Done> = Box::pin(work);
        self.open.push(Abortable::new(work, registration));
    }

    /// The reason why the link is over, where it is.
    fn finish(&mut self, done: Done) -> Option<String> {
        match done {
            Done::Request { id, begins } => {
                self.requests.remove(&id);
                self.beginning &= !begins;
            }
            Done::Other { begins, listen } => {
                self.others -= 1;
                self.beginning &= !begins;
                if listen && !std::mem::replace(&mut self.listening, true) {
                    self.beside(Arc::clone(&self.wire).listen());
                }
            }
            Done::Beside => {}
            Done::SessionEnded { id, reason } => {
                if let Some(id) = id {
                    self.requests.remove(&id);
                }
                return Some(reason);
            }
        }
        None
    }

    /// The upstream knows the session no more: nothing that is open will be answered.
    async fn close(mut self, reason: &str, from_session: &mut mpsc::Receiver<ToUpstream>) {
        self.open.clear();
        for (id, _) in self.requests.drain() {
            self.wire.lost(id, Loss::new(Fate::Unknown, Cause::SessionOver, reason)).await;
        }
        from_session.close();
        while let Some(event) = from_session.recv().await {
            if let Some(Shape::Request { id, .. }) = event.message().map(Message::shape) {
                self.wire.lost(id.clone(), Loss::new(Fate::NotSent, Cause::SessionOver, reason)).await;
            }
        }
        self.wire.tell(FromUpstream::Closed { reason: reason.to_owned() }).await;
    }

    /// What the session said last, a cancellation perhaps, still goes out; then the upstream's session ends.
    async fn last_words(mut self) {
        let until = Instant::now() + LAST;
        for (_, handle) in self.requests.drain() {
            handle.abort();
        }
        while self.others > 0 {
            match timeout_at(until, self.open.next()).await {
                Ok(Some(Ok(Done::Other { .. }))) => self.others -= 1,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.open.clear();
        if timeout_at(until, self.wire.end_session()).await.is_err() {
            debug!("the upstream did not confirm the end of its session");
        }
    }
}

#[cfg(test)]
mod tests;
