//! The socket that the shim dials: who is at the other end, which server it wants, then lines in both directions.
//!
//! Invariant: no byte of a client is read as a message before the kernel has said whose it is, and a connection that
//! misbehaves costs no other connection anything.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, info_span, warn};

use self::batches::Batches;
use super::budget::Refusals;
use super::frame::{Frame, LineReader, write_lines};
use super::principals::Principals;
use super::runtime_dir::Listener;
use super::{ClientLink, FromClient, Handover, NewSession, Rejected, Running, ToClient};
use crate::call::{ClientInfo, Limits, Principal, Transport};
use crate::json::{JsonText, Kind, Rules};
use crate::mcp::message::{INVALID_REQUEST, Malformed};

mod batches;

/// Version of the first line.
const VERSION: i64 = 1;
/// Longest first line.
const PREAMBLE_BYTES: usize = 4 << 10;
/// How long a client may take for its first line.
const PREAMBLE_TIME: Duration = Duration::from_secs(10);
/// How much is written at once.
const AT_ONCE: usize = 64 << 10;

/// Characters of a folder that are kept.
const MAX_CWD: usize = 512;

/// The first line that a shim sends. Its folder is for operators to look at: nothing asks the kernel for it, because the
/// kernel does not say it of a process that nobody may look into.
pub fn preamble(server: &str, cwd: Option<&Path>) -> String {
    let mut first = serde_json::json!({"countersign": VERSION, "server": server});
    let cwd = cwd.map(|cwd| cwd.to_string_lossy().chars().take(MAX_CWD).collect::<String>());
    if let (Some(cwd), Some(members)) = (cwd, first.as_object_mut()) {
        members.insert("cwd".to_owned(), cwd.into());
    }
    format!("{first}\n")
}

/// Why a connection is turned away. `kind` is what the shim's exit code follows from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turned {
    /// Usage: no such server, or a first line that is not ours.
    Usage,
    /// Nobody knows this user.
    Principal,
    /// A limit was reached, or the daemon is stopping.
    Busy,
}

impl Turned {
    pub fn as_str(self) -> &'static str {
        match self {
            Turned::Usage => "usage",
            Turned::Principal => "principal",
            Turned::Busy => "busy",
        }
    }

    pub fn parse(text: &str) -> Option<Turned> {
        [Turned::Usage, Turned::Principal, Turned::Busy].into_iter().find(|kind| kind.as_str() == text)
    }
}

struct Front {
    principals: Arc<Principals>,
    servers: Arc<BTreeSet<String>>,
    handover: Handover,
    refusals: Refusals,
    limits: Limits,
}

/// Accepts until `stop`. Connections that are open by then go on until their sessions end.
pub async fn serve(
    listener: Listener,
    principals: Arc<Principals>,
    servers: Arc<BTreeSet<String>>,
    handover: Handover,
    limits: Limits,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    let refusals = Refusals::new(handover.rejected.clone());
    let front = Arc::new(Front { principals, servers, handover, refusals, limits });
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // Mostly a lack of descriptors, which passes.
                warn!(%error, "the client socket could not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let reason = format!("{} connections are open, which is the limit; close one", limits.connections);
            let _ = stream.try_write(turned_away(Turned::Busy, &reason).as_bytes());
            continue;
        };
        let front_of_task = Arc::clone(&front);
        let work = async move {
            // From here on the lane's own event loop looks after it.
            match stream.into_std().and_then(UnixStream::from_std) {
                Ok(stream) => connection(stream, &front_of_task).await,
                Err(error) => warn!(%error, "a connection could not be served"),
            }
            drop(place);
        };
        front.handover.lanes.spawn(&tracker, work.instrument(info_span!("client", transport = "stdio")));
    }
}

fn turned_away(kind: Turned, reason: &str) -> String {
    format!("{}\n", serde_json::json!({"error": reason, "kind": kind.as_str()}))
}

async fn connection(stream: UnixStream, front: &Front) {
    let Ok(peer) = stream.peer_cred() else { return };
    let (read, mut write) = stream.into_split();
    let mut reader = LineReader::new(read, PREAMBLE_BYTES);
    let (Wanted { server, cwd }, principal) = match greet(&mut reader, peer, front).await {
        Ok(greeted) => greeted,
        Err(None) => return,
        Err(Some((kind, server, reason))) => {
            warn!(uid = peer.uid(), %reason, "a client was turned away");
            let client = client_info(peer, None);
            front.refusals.report(Rejected {
                server,
                principal: None,
                client,
                code: INVALID_REQUEST,
                reason: reason.clone(),
            });
            let _ = timeout(PREAMBLE_TIME, write.write_all(turned_away(kind, &reason).as_bytes())).await;
            return;
        }
    };
    let (to_session, inbound) = mpsc::channel(front.limits.queue);
    let (outbound, from_session) = mpsc::channel(front.limits.queue);
    let link = ClientLink { inbound, outbound };
    // The kernel says who it is, and that does not change.
    let replaced = CancellationToken::new();
    let (client, lane) = (client_info(peer, cwd), front.handover.lanes.here());
    let session = NewSession { server, principal, client, link, replaced, running: Running::default(), lane };
    let handed = timeout(PREAMBLE_TIME, front.handover.sessions.send(session)).await;
    if !matches!(handed, Ok(Ok(()))) {
        let reason = turned_away(Turned::Busy, "the daemon is stopping or too busy for a new session");
        let _ = timeout(PREAMBLE_TIME, write.write_all(reason.as_bytes())).await;
        return;
    }
    if !matches!(timeout(PREAMBLE_TIME, write.write_all(b"{\"ok\":true}\n")).await, Ok(Ok(()))) {
        return;
    }
    let (read, rest) = reader.into_parts();
    let reader = LineReader::with_start(read, rest, front.limits.message_bytes);
    relay(reader, write, to_session, from_session, front.limits).await;
}

type Refusal = Option<(Turned, Option<String>, String)>;

/// Who it is and what it wants. `None` in the error: it went away.
async fn greet(
    reader: &mut LineReader<OwnedReadHalf>,
    peer: UCred,
    front: &Front,
) -> Result<(Wanted, Arc<Principal>), Refusal> {
    let usage = |reason: String| Some((Turned::Usage, None, reason));
    let line = match timeout(PREAMBLE_TIME, reader.next()).await {
        Ok(Ok(Frame::Line(line))) => line,
        Ok(Ok(Frame::TooLong)) => return Err(usage("the first line is too long".to_owned())),
        Ok(Ok(Frame::Cut | Frame::End) | Err(_)) => return Err(None),
        Err(_) => return Err(usage("no first line within 10 s".to_owned())),
    };
    let Some(wanted) = wanted(line) else {
        let reason = "the first line has to be {\"countersign\":1,\"server\":NAME}; use `countersign connect SERVER`";
        return Err(usage(reason.to_owned()));
    };
    let Wanted { server, .. } = &wanted;
    let uid = peer.uid();
    let Some(principal) = front.principals.by_uid(uid) else {
        let reason = format!(
            "no principal is configured for user id {uid}; add under principals: {{ name: NAME, match: {{ uid: {uid} \
             }}, scopes: [...] }}"
        );
        return Err(Some((Turned::Principal, Some(server.clone()), reason)));
    };
    if !front.servers.contains(server) {
        let known = front.servers.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let name = serde_json::Value::String(server.clone());
        return Err(Some((Turned::Usage, Some(server.clone()), format!("unknown server {name}; servers: {known}"))));
    }
    if !front.principals.may_ask(&principal, server) {
        let reason = format!(
            "the principal {} has no scope for the server {server}; add one to its `scopes:`, such as {server}/read",
            principal.name
        );
        return Err(Some((Turned::Principal, Some(server.clone()), reason)));
    }
    Ok((wanted, principal))
}

/// What the first line says.
struct Wanted {
    server: String,
    /// Where the shim works, by its own word.
    cwd: Option<String>,
}

/// Exactly the two members, or the three, each once.
fn wanted(line: Vec<u8>) -> Option<Wanted> {
    let text = JsonText::parse(line, Rules::CLIENT).ok()?;
    let view = text.view();
    if view.kind() != Kind::Object || view.get("countersign")?.as_i64()? != VERSION {
        return None;
    }
    let cwd = match view.get("cwd") {
        Some(cwd) => Some(cwd.as_str().filter(|cwd| cwd.chars().count() <= MAX_CWD)?.into_owned()),
        None => None,
    };
    if view.members().count() != 2 + usize::from(cwd.is_some()) {
        return None;
    }
    Some(Wanted { server: view.get("server")?.as_str()?.into_owned(), cwd })
}

/// What the kernel says of the process at the other end, and its own word for its folder, which proves nothing.
fn client_info(peer: UCred, cwd: Option<String>) -> ClientInfo {
    ClientInfo { uid: Some(peer.uid()), pid: peer.pid(), cwd, ..ClientInfo::silent(Transport::Stdio) }
}

/// Both directions in one task. Ends when the session has ended and everything is written, when the client cannot be
/// written to, or some time after the client's end where the session does not follow.
async fn relay(
    reader: LineReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    to_session: mpsc::Sender<FromClient>,
    from_session: mpsc::Receiver<ToClient>,
    limits: Limits,
) {
    let batches = Batches::new(limits.answer_bytes);
    let mut reading = std::pin::pin!(read_loop(reader, to_session, limits.message_bytes, &batches));
    let mut writing = std::pin::pin!(write_loop(write, from_session, limits.body_timeout, &batches));
    tokio::select! {
        () = &mut writing => return,
        () = &mut reading => {}
    }
    if timeout(limits.drain, writing).await.is_err() {
        debug!("the session did not end after its client");
    }
}

async fn read_loop(
    mut reader: LineReader<OwnedReadHalf>,
    to_session: mpsc::Sender<FromClient>,
    limit: usize,
    batches: &Batches,
) {
    loop {
        let (event, last) = match reader.next().await {
            Ok(Frame::Line(line)) => match batches.read(line) {
                Ok(messages) => {
                    for message in messages {
                        if to_session.send(FromClient::Message(message)).await.is_err() {
                            return;
                        }
                    }
                    continue;
                }
                Err(malformed) => (FromClient::Malformed(malformed), false),
            },
            Ok(Frame::TooLong) => {
                let reason =
                    format!("refused by countersign: a message longer than {limit} bytes (limits.message_bytes)");
                (FromClient::Malformed(Malformed::new(INVALID_REQUEST, reason)), true)
            }
            Ok(Frame::Cut) => {
                let reason = "refused by countersign: the stream ended inside a message";
                (FromClient::Malformed(Malformed::new(INVALID_REQUEST, reason)), true)
            }
            Ok(Frame::End) => return,
            Err(error) => {
                debug!(%error, "a client's connection broke");
                return;
            }
        };
        if to_session.send(event).await.is_err() || last {
            return;
        }
    }
}

async fn write_loop(
    mut write: OwnedWriteHalf,
    mut from_session: mpsc::Receiver<ToClient>,
    deadline: Duration,
    batches: &Batches,
) {
    let mut lines = Vec::new();
    loop {
        let mut bytes = tokio::select! {
            event = from_session.recv() => match event {
                Some(event) => push(&mut lines, event, batches),
                None => break,
            },
            completed = batches.completed() => {
                lines.extend(completed);
                0
            }
        };
        while bytes < AT_ONCE {
            let Ok(more) = from_session.try_recv() else { break };
            bytes += push(&mut lines, more, batches);
        }
        if lines.is_empty() {
            continue;
        }
        match timeout(deadline, write_lines(&mut write, &lines)).await {
            Ok(Ok(())) => lines.clear(),
            Ok(Err(error)) => {
                debug!(%error, "a client cannot be written to");
                return;
            }
            Err(_) => {
                warn!("a client does not read its answers; it is disconnected");
                return;
            }
        }
    }
    let _: io::Result<()> = write.shutdown().await;
}

fn push(lines: &mut Vec<JsonText>, event: ToClient, batches: &Batches) -> usize {
    match event {
        ToClient::Message { text, related } => {
            let bytes = text.as_str().len();
            lines.extend(batches.write(text, related));
            bytes
        }
        // A line transport needs no preparation for a long wait.
        ToClient::Waiting(_) | ToClient::Later(_) => 0,
    }
}

#[cfg(test)]
mod tests;
