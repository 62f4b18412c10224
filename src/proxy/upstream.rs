//! The way to an upstream: what may be handed to its link, and by which proof.
//!
//! Four doors and no other: [`Upstream::call`] and [`request`] take a [`PermittedCall`], [`Upstream::pass`] a [`Passage`]
//! that the method table made, and the rest are messages of ours: none of them is a call. Those carry nothing from the client but the id of a request that
//! was sent, and the capabilities that came with a permitted call.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::call::{Decided, Limits};
use crate::credential::scrub::{Scrubbed, Scrubber};
use crate::credential::shape::Kinds;
use crate::gate::{PermittedCall, SentCall};
use crate::json::{JsonText, Rules};
use crate::mcp::api_request;
use crate::mcp::message::{Id, Message};
use crate::mcp::method::Passage;
use crate::mcp::reply;
use crate::transport::api_gate::{self, Answered, ApiSpec, Lost};
use crate::transport::http_client::HttpClient;
use crate::transport::http_upstream::{self, HttpSpec};
use crate::transport::stdio_upstream::{self, EnvValue, StdioSpec};
use crate::transport::{FromUpstream, ToUpstream, UpstreamLink};

use super::Shared;

/// The revision in which countersign itself speaks to servers: the last one with a session.
const OUR_REVISION: &str = "2025-11-25";

/// How a server is reached.
#[derive(Debug)]
pub enum Kind {
    Stdio(StdioSpec),
    Http(Arc<HttpSpec>),
}

/// The sending side of one upstream connection. It belongs to one client session.
#[derive(Debug)]
pub struct Upstream {
    outbound: mpsc::Sender<ToUpstream>,
    is_stdio: bool,
}

/// What countersign says to a server on its own account, beside calls: nothing that could change anything.
#[derive(Clone, Copy, Debug)]
pub enum Handshake<'a> {
    Initialize(&'a Id),
    Initialized,
    ListTools {
        id: &'a Id,
        /// The server's own word for the next page.
        cursor: Option<&'a JsonText>,
    },
}

/// The message did not get into the link's queue: no byte of it left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotSent {
    #[error("the server does not take more messages")]
    Full,
    #[error("the server is gone")]
    Gone,
}

impl<T> From<TrySendError<T>> for NotSent {
    fn from(error: TrySendError<T>) -> NotSent {
        match error {
            TrySendError::Full(_) => NotSent::Full,
            TrySendError::Closed(_) => NotSent::Gone,
        }
    }
}

impl Upstream {
    /// Opens a connection for one session of a principal. A child gets `more` variables of its own.
    ///
    /// # Errors
    /// A text for the client and the log where the server cannot be started.
    pub fn connect(
        kind: &Kind,
        principal: &str,
        shared: &Shared,
        more: Vec<(String, String)>,
    ) -> Result<(Upstream, mpsc::Receiver<FromUpstream>), String> {
        let scrubber = Arc::clone(&shared.scrubber);
        let link: UpstreamLink = match kind {
            Kind::Stdio(spec) => {
                let mut spec = spec.clone();
                spec.env.extend(more.into_iter().map(|(name, value)| (name, EnvValue::Plain(value))));
                stdio_upstream::connect(&spec, principal, scrubber, shared.limits, &shared.tracker)
                    .map_err(|error| shared.scrubber.line(&error.to_string()).into_owned())?
            }
            Kind::Http(spec) => {
                let client = shared.http_client.clone();
                http_upstream::connect(Arc::clone(spec), client, scrubber, shared.limits, &shared.tracker)
            }
        };
        let is_stdio = matches!(kind, Kind::Stdio(_));
        Ok((Upstream { outbound: link.outbound, is_stdio }, link.inbound))
    }

    /// A server's message as everything on this side may see, keep and show it: without keys. Its id and its method
    /// are read again. Nothing where it could not be kept a message.
    pub fn clean(message: Message, scrubber: &Scrubber, foreign: Kinds) -> Scrubbed<Option<Message>> {
        let Scrubbed { text, names, pieces } = scrubber.message(message.text(), foreign);
        let text = if names.is_empty() { Some(message) } else { text.and_then(Message::ours) };
        Scrubbed { text, names, pieces }
    }

    /// One whose other end a test holds.
    #[cfg(test)]
    pub fn linked(limit: usize) -> (Upstream, mpsc::Receiver<ToUpstream>) {
        let (outbound, reached) = mpsc::channel(limit);
        (Upstream { outbound, is_stdio: true }, reached)
    }

    /// Sends a permitted call. The permit ends here, and the link asks once more before the first byte.
    ///
    /// # Errors
    /// The permit back, where no byte of the call has left.
    pub fn call(&self, permit: PermittedCall) -> Result<SentCall, (Box<PermittedCall>, NotSent)> {
        let Some(message) = Message::of_call(permit.call()) else { return Err((Box::new(permit), NotSent::Gone)) };
        match self.outbound.try_reserve() {
            Ok(slot) => {
                let sent = permit.release();
                slot.send(ToUpstream::Call(message, sent.leave().clone()));
                Ok(sent)
            }
            Err(error) => Err((Box::new(permit), error.into())),
        }
    }

    /// Passes on what the method table lets through without a decision.
    ///
    /// # Errors
    /// Where it did not get into the queue.
    pub fn pass(&self, passage: Passage) -> Result<(), NotSent> {
        Ok(self.outbound.try_send(ToUpstream::Send(passage.into_message()))?)
    }

    /// Nobody waits for this request any more: closes its stream, or tells a stdio server.
    pub fn abandon(&self, id: &Id) {
        let what = if self.is_stdio {
            let request = serde_json::from_str::<serde_json::Value>(&id.to_json()).unwrap_or_default();
            let params = json!({"requestId": request, "reason": "the client went away"});
            match Message::ours(reply::notification("notifications/cancelled", &params)) {
                Some(message) => ToUpstream::Send(message),
                None => return,
            }
        } else {
            ToUpstream::Abandon(id.clone())
        };
        // A full queue or a dead server: there is nobody left to tell.
        let _ = self.outbound.try_send(what);
    }

    /// Asks the upstream about a task of its own. False where the question did not get into the queue.
    pub fn about_task(&self, id: &Id, method: &str, task: &JsonText, revision: &str, client: &JsonText) -> bool {
        let message = super::session::about_task(id, method, task, revision, client);
        message.is_some_and(|message| self.outbound.try_send(ToUpstream::Send(message)).is_ok())
    }

    /// Begins a session of our own, or lists the server's tools.
    ///
    /// # Errors
    /// Where it did not get into the queue.
    pub fn handshake(&self, what: Handshake<'_>) -> Result<(), NotSent> {
        let text = match what {
            Handshake::Initialize(id) => {
                let client = json!({"name": "countersign", "version": env!("CARGO_PKG_VERSION")});
                let params = json!({"protocolVersion": OUR_REVISION, "capabilities": {}, "clientInfo": client});
                format!(r#"{{"jsonrpc":"2.0","id":{},"method":"initialize","params":{params}}}"#, id.to_json())
            }
            Handshake::Initialized => r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
            Handshake::ListTools { id, cursor } => {
                let params =
                    cursor.map_or_else(|| "{}".to_owned(), |cursor| format!(r#"{{"cursor":{}}}"#, cursor.as_str()));
                format!(r#"{{"jsonrpc":"2.0","id":{},"method":"tools/list","params":{params}}}"#, id.to_json())
            }
        };
        let message = JsonText::parse(text, Rules::UPSTREAM).ok().and_then(Message::ours).ok_or(NotSent::Gone)?;
        Ok(self.outbound.try_send(ToUpstream::Send(message))?)
    }

    /// Answers a request of the upstream that does not reach the client.
    pub fn decline(&self, id: &Id, code: i64, reason: &str) {
        self.ours(reply::error(id, code, reason));
    }

    fn ours(&self, text: JsonText) {
        if let Some(message) = Message::ours(text) {
            let _ = self.outbound.try_send(ToUpstream::Send(message));
        }
    }
}

/// Sends a permitted request to the vendor's API. The permit ends here, and what is returned waits for the answer.
///
/// # Errors
/// The permit back, where it is for no such request.
pub fn request<'a>(
    permit: PermittedCall,
    spec: &'a ApiSpec,
    client: &'a HttpClient,
    limits: &'a Limits,
) -> Result<(SentCall, impl Future<Output = Result<Answered, Lost>> + 'a), Box<PermittedCall>> {
    let is_request = permit.call().method() == Decided::ApiRequest;
    let Some(outgoing) = api_request::outgoing(permit.call()).filter(|_| is_request) else {
        return Err(Box::new(permit));
    };
    let sent = permit.release();
    let leave = sent.leave().clone();
    Ok((sent, async move { api_gate::forward(client, spec, outgoing, &leave, limits).await }))
}
