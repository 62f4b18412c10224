//! Bytes ⇄ messages, in both directions and over both transports. No policy, no audit, no decision: what arrives is
//! read by `mcp::message`, what leaves was handed over as a [`Message`] or as strict text.
//!
//! A link is a pair of bounded channels. Its other end lives in `proxy::session`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::call::{ClientInfo, Leave, Principal};
use crate::json::JsonText;
use crate::mcp::loss::Loss;
use crate::mcp::message::{Id, Malformed, Message};

mod answer;
pub mod lanes;
use lanes::Lanes;
mod reach;
mod running;
pub use reach::Reach;
pub use running::Running;
pub mod callback;
pub mod oauth_http;
pub mod frame;
pub mod budget;
mod family;
pub mod principals;
pub mod runtime_dir;
pub mod client_socket;
pub mod http_front;
pub mod sse;
pub mod stdio_upstream;
pub mod http_client;
pub mod post;
pub mod fetch;
pub mod http_upstream;
pub mod api_gate;

/// What a client's transport brings.
#[derive(Debug)]
pub enum FromClient {
    Message(Message),
    /// Text that is not an accepted message. The session answers and records it.
    Malformed(Malformed),
    /// The stream that would carry the answer to this request is closed: the same as a cancel. HTTP only.
    Gone(Id),
}

/// What goes to a client.
#[derive(Debug)]
pub enum ToClient {
    /// A message; `related` names the client's request that it belongs to, where that is known. The answer to a
    /// request always carries its id.
    Message { text: JsonText, related: Option<Id> },
    /// The answer to this request takes a while, or comes as a stream: an HTTP front opens its event stream now.
    Waiting(Id),
    /// Nothing comes for this request for now: an HTTP front closes its event stream where the client can come back for
    /// the rest.
    Later(Id),
}

/// A client's side of a session. Dropping the session's end closes the connection after what is queued is written;
/// the end of `inbound` means that the client is gone.
#[derive(Debug)]
pub struct ClientLink {
    pub inbound: mpsc::Receiver<FromClient>,
    pub outbound: mpsc::Sender<ToClient>,
}

/// A client that a front has authenticated, on its way to becoming a session.
#[derive(Debug)]
pub struct NewSession {
    pub server: String,
    pub principal: Arc<Principal>,
    pub client: ClientInfo,
    pub link: ClientLink,
    /// The token that it was let in by has been replaced.
    pub replaced: CancellationToken,
    /// What goes on in it, for its front.
    pub running: Running,
    /// Where its connection is served, and where the session runs.
    pub lane: lanes::OnLane,
}

/// Something a front refused before there was a session to record it.
#[derive(Debug)]
pub struct Rejected {
    pub server: Option<String>,
    pub principal: Option<String>,
    pub client: ClientInfo,
    /// HTTP status, or JSON-RPC code.
    pub code: i64,
    pub reason: String,
}

/// What a front needs to serve connections, and to hand over sessions and refusals.
#[derive(Clone, Debug)]
pub struct Handover {
    pub sessions: mpsc::Sender<NewSession>,
    pub rejected: mpsc::Sender<Rejected>,
    pub lanes: Lanes,
}

/// What goes to an upstream.
#[derive(Debug)]
pub enum ToUpstream {
    Send(Message),
    /// A decided call. The link asks right before its first byte whether it may leave.
    Call(Message, Leave),
    /// Nobody waits for this request any more: an HTTP upstream's stream for it is closed.
    Abandon(Id),
}

impl ToUpstream {
    /// What is to be written, where it is something.
    fn message(&self) -> Option<&Message> {
        match self {
            ToUpstream::Send(message) | ToUpstream::Call(message, _) => Some(message),
            ToUpstream::Abandon(_) => None,
        }
    }
}

/// What an upstream's transport brings.
#[derive(Debug)]
pub enum FromUpstream {
    /// A message; `related` names the request on whose stream it came (HTTP only).
    Message { message: Message, related: Option<Id> },
    /// The answer to this request comes as an event stream (HTTP only).
    Streams { id: Id },
    /// The upstream has closed that stream in good order, and goes on with it when it is asked again.
    Pauses { id: Id },
    /// No answer will come to this request.
    Lost { id: Id, loss: Loss },
    /// The upstream is gone; nothing follows.
    Closed { reason: String },
}

/// An upstream's side of a session. Dropping it stops the upstream cleanly.
#[derive(Debug)]
pub struct UpstreamLink {
    pub outbound: mpsc::Sender<ToUpstream>,
    pub inbound: mpsc::Receiver<FromUpstream>,
}

/// The data behind these locks is never left half changed, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
