//! The daemon's end of the operator socket: one task a connection, which may watch and rule.
//!
//! Invariants: only the daemon's own account and root are let in; a ruling is made here and nowhere else; a slow or
//! dead console harms nobody, it is dropped at a write deadline and gets a fresh snapshot when it comes back. A console
//! counts as attached for as long as it answers. What is written is built hold by hold, so that a connection costs one line.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::{CallId, Digest};
use crate::gate::{Change, Gate, MAX_SHOWN, NoEffect, Ruling, Says, Told};
use crate::json::{Json, JsonText, Rules};
use crate::pins::{self, Act, Kept, Pins, Remembered};
use crate::transport::runtime_dir::Listener;

use grants::Asked;

use super::wire::{
    self, Command, Daemon, DefinitionView, Failure, MAX_LINE, Notice, OPERATOR_NAME, RulingKind, ServerView,
    SignInView, SignedBy, TOOL_SCHEMA, ToolRuling, ToolView, VERSION,
};

mod batch;
mod grants;
mod holds;
mod records;
mod sessions;
mod status;
mod view;

pub use status::{ServerStatus, Status};

/// Operators that may be connected at once.
const MAX_OPERATORS: usize = 64;
/// Longest command: a ruling with its reason.
const MAX_COMMAND: usize = 64 << 10;
/// Longest reason of a ruling, in bytes.
const MAX_REASON: usize = 4 << 10;
const HELLO_TIME: Duration = Duration::from_secs(10);
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Beside what is shown of its call a hold shows who ruled, why it ended, and the call that was approved before.
const _: () = assert!(MAX_SHOWN + (5 << 20) < MAX_LINE);
/// How often a watcher is told what else has changed: new records, sign-ins.
const LOOK: Duration = Duration::from_secs(1);
/// How often an attached console is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// A console that has not answered for so long does not count as attached: it is suspended, or hangs.
const SILENCE: Duration = Duration::from_secs(10);

/// How the server of a name is signed in to, where it is.
pub type SignIns = Box<dyn Fn(&str) -> Option<SignInView> + Send + Sync>;

/// Everything a connection needs.
pub struct Control {
    pub gate: Arc<Gate>,
    pub pins: Arc<Pins>,
    pub status: Status,
    /// Whether a text holds a key that the daemon keeps: no word of an operator may carry one into a record or an answer.
    pub has_key: Box<dyn Fn(&str) -> bool + Send + Sync>,
    pub sign_ins: SignIns,
    /// The keys that somebody may be guessing.
    pub guessed: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// Serves operators until `stop`.
pub async fn serve(listener: Listener, control: Arc<Control>, stop: CancellationToken, tracker: TaskTracker) {
    let slots = Arc::new(tokio::sync::Semaphore::new(MAX_OPERATORS));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "an operator could not connect");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        let Ok(peer) = stream.peer_cred() else { continue };
        let (uid, me) = (peer.uid(), rustix::process::geteuid().as_raw());
        if uid != me && uid != 0 {
            // The folder lets nobody else in: somebody has opened it.
            if let Some(suppressed) = listener.may_complain() {
                tracing::warn!(uid, suppressed, "another account has reached the operator socket and was turned away");
                let control = Arc::clone(&control);
                tracker.spawn(async move { control.gate.operator_refused(uid).await });
            }
            continue;
        }
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!("too many operators are connected; one was turned away");
            continue;
        };
        let (control, stop, readers) = (Arc::clone(&control), stop.clone(), tracker.clone());
        tracker.spawn(async move {
            let _slot = slot;
            if let Err(error) = connection(stream, uid, control, stop, &readers).await {
                tracing::info!(%error, "an operator's connection ended");
            }
        });
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it did not say hello in time")]
    Silent,
    #[error("it speaks another version of the protocol, or does not speak it")]
    Hello,
    #[error("it does not read what it is sent")]
    Slow,
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

struct Connection {
    control: Arc<Control>,
    /// Whose account the other end is: what counts where rulings are told apart.
    account: String,
    /// For records and screens: the account, beside the name that the other end gives itself.
    operator: String,
    read_only: bool,
    write: OwnedWriteHalf,
    presence: Option<Presence>,
    /// The holds of the last snapshot, at the revision that was listed: what changed while it was sent is not told again.
    listed: HashMap<CallId, u64>,
}

/// Of a console that may rule: whether it is there.
struct Presence {
    /// Nothing while it does not answer.
    attached: Option<Attached>,
    /// The first ping that it has not answered.
    asked: Option<Instant>,
}

/// Counts a console as attached for as long as it lives.
struct Attached {
    control: Arc<Control>,
    operator: String,
}

impl Attached {
    fn new(control: &Arc<Control>, operator: &str) -> Attached {
        control.status.attached().push(operator.to_owned());
        control.gate.holds().consoles().send_modify(|count| *count += 1);
        control.status.changed.send_replace(());
        Attached { control: Arc::clone(control), operator: operator.to_owned() }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        {
            let mut attached = self.control.status.attached();
            if let Some(at) = attached.iter().position(|name| *name == self.operator) {
                attached.remove(at);
            }
        }
        self.control.gate.holds().consoles().send_modify(|count| *count = count.saturating_sub(1));
        self.control.status.changed.send_replace(());
    }
}

async fn connection(
    stream: UnixStream,
    uid: u32,
    control: Arc<Control>,
    stop: CancellationToken,
    tracker: &TaskTracker,
) -> Result<(), Ended> {
    let (read, write) = stream.into_split();
    let mut commands = commands(read, Arc::clone(&control), stop.clone(), tracker);
    let account = user_name(uid);
    let mut connection = Connection {
        control,
        operator: account.clone(),
        account,
        read_only: true,
        write,
        presence: None,
        listed: HashMap::new(),
    };
    let hello = tokio::time::timeout(HELLO_TIME, commands.recv()).await.map_err(|_| Ended::Silent)?;
    let named = |name: &Option<String>| name.as_ref().is_none_or(|name| wire::is_operator_name(name));
    let hello =
        hello.and_then(Result::ok).filter(|hello| !matches!(hello, Command::Hello { name, .. } if !named(name)));
    let Some(Command::Hello { version: VERSION, watch, read_only, name }) = hello else {
        let message = match hello {
            Some(Command::Hello { version, .. }) if version != VERSION => {
                format!("this console speaks {version}, the daemon {VERSION}: use the same release")
            }
            _ => format!("say hello first, with version {VERSION}, and with a name of {OPERATOR_NAME} or none"),
        };
        connection.send(&Notice::Failed { seq: None, error: Failure::Malformed, message }).await?;
        return Err(Ended::Hello);
    };
    connection.read_only = read_only;
    if let Some(name) = name.filter(|name| *name != connection.account) {
        // No name has a bracket: whatever stands in these is the account.
        connection.operator = format!("{name} (account {})", connection.account);
    }
    if watch && !read_only {
        let attached = Some(Attached::new(&connection.control, &connection.operator));
        connection.presence = Some(Presence { attached, asked: None });
    }
    let mut changes = connection.control.gate.holds().changes();
    let mut status = connection.control.status.changed.subscribe();
    let daemon = connection.control.daemon();
    let mut seen = daemon.clone();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let operator = connection.operator.clone();
    connection.send(&Notice::Welcome { version: VERSION, operator, daemon }).await?;
    if watch {
        connection.snapshot(None).await?;
    }
    loop {
        tokio::select! {
            // What a console has said is heard before it is thought to be silent.
            biased;
            () = stop.cancelled() => return Ok(()),
            command = commands.recv() => {
                connection.is_there();
                match command {
                    Some(Ok(command)) => connection.obey(command).await?,
                    Some(Err((seq, reason))) => connection.malformed(seq, reason).await?,
                    None => return Ok(()),
                }
            }
            _ = ping.tick(), if connection.presence.is_some() => connection.ping().await?,
            changed = status.changed(), if watch => {
                if changed.is_err() {
                    return Ok(());
                }
                let daemon = connection.control.daemon();
                seen = daemon.clone();
                connection.send(&Notice::Daemon { daemon }).await?;
            }
            _ = look.tick(), if watch => {
                let daemon = connection.control.daemon();
                if seen != daemon {
                    seen = daemon.clone();
                    connection.send(&Notice::Daemon { daemon }).await?;
                }
            }
            change = changes.recv(), if watch => {
                let told = match change {
                    Ok(change) => connection.changed(&change).await?,
                    Err(broadcast::error::RecvError::Lagged(_)) => false,
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                };
                if !told {
                    // What has changed up to now is in the snapshot.
                    changes = changes.resubscribe();
                    connection.snapshot(None).await?;
                }
            }
        }
    }
}

/// The number of what is no command, where it has one, and why it is none.
type NoCommand = (Option<u64>, String);

fn command(line: Vec<u8>, control: &Control) -> Result<Command, NoCommand> {
    let text = JsonText::parse(line, Rules::CLIENT).map_err(|error| (None, error.to_string()))?;
    let seq = text.view().get("seq").and_then(Json::as_i64).and_then(|seq| u64::try_from(seq).ok());
    if (control.has_key)(text.as_str()) {
        return Err((seq, "it contains a key that countersign keeps; nothing of it is recorded".to_owned()));
    }
    serde_json::from_str(text.as_str()).map_err(|error| (seq, error.to_string()))
}

/// Reads commands in a task of its own, so that a half-read line is never lost.
fn commands(
    read: OwnedReadHalf,
    control: Arc<Control>,
    stop: CancellationToken,
    tracker: &TaskTracker,
) -> mpsc::Receiver<Result<Command, NoCommand>> {
    let (to, from) = mpsc::channel(16);
    tracker.spawn(async move {
        let mut lines = BufReader::new(read);
        let limit = u64::try_from(MAX_COMMAND).unwrap_or(u64::MAX);
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut lines).take(limit);
            let read = tokio::select! {
                read = bounded.read_until(b'\n', &mut line) => read,
                () = stop.cancelled() => return,
                () = to.closed() => return,
            };
            match read {
                Ok(0) | Err(_) => return,
                Ok(_) if line.last() != Some(&b'\n') => {
                    let _ = to.send(Err((None, "a command is one line of at most 64 KiB".to_owned()))).await;
                    return;
                }
                Ok(_) => {}
            }
            let command = command(line, &control);
            if to.send(command).await.is_err() {
                return;
            }
        }
    });
    from
}

impl Connection {
    /// A ruling from here. Who it is by the socket is the account, whatever name the other end gives itself.
    fn ruling(&self, id: CallId, digest: Digest, says: Says) -> Ruling {
        Ruling::new(id, digest, self.account.clone(), says).shown_as(self.operator.clone())
    }

    async fn send(&mut self, notice: &Notice) -> Result<(), Ended> {
        let mut line = serde_json::to_vec(notice).map_err(std::io::Error::other)?;
        if line.len() >= MAX_LINE {
            tracing::error!(bytes = line.len(), "an answer to an operator is too long, and was not sent");
            let message =
                format!("the answer is longer than {MAX_LINE} bytes and was not sent; what was to be done is done");
            let failed = Notice::Failed { seq: notice.answers(), error: Failure::Unavailable, message };
            line = serde_json::to_vec(&failed).map_err(std::io::Error::other)?;
        }
        line.push(b'\n');
        tokio::time::timeout(WRITE_TIME, self.write.write_all(&line)).await.map_err(|_| Ended::Slow)??;
        Ok(())
    }

    async fn snapshot(&mut self, seq: Option<u64>) -> Result<(), Ended> {
        self.listed.clear();
        for id in self.control.gate.holds().ids() {
            // One that is forgotten by now is not there any more.
            let Some(hold) = self.control.gate.holds().find(&id) else { continue };
            self.listed.insert(id, hold.revision());
            let hold = Box::new(self.control.view(&hold));
            self.send(&Notice::Listed { hold }).await?;
        }
        let daemon = self.control.daemon();
        self.send(&Notice::Snapshot { seq, holds: Vec::new(), daemon }).await
    }

    /// Tells of a change. False where it cannot be told any more without everything else.
    async fn changed(&mut self, change: &Change) -> Result<bool, Ended> {
        if change.is_known(&self.listed) {
            return Ok(true);
        }
        match self.control.gate.holds().told(change) {
            Told::Hold(hold) => {
                let hold = Box::new(self.control.view(&hold));
                self.send(&Notice::Hold { hold }).await?;
                Ok(true)
            }
            Told::Later => Ok(true),
            Told::Forgotten => Ok(false),
        }
    }

    /// It has said something.
    fn is_there(&mut self) {
        let Some(presence) = &mut self.presence else { return };
        presence.asked = None;
        if presence.attached.is_none() {
            tracing::info!(operator = self.operator, "a console answers again");
            presence.attached = Some(Attached::new(&self.control, &self.operator));
        }
    }

    /// Asks whether it is there; one that has not answered for too long is not.
    async fn ping(&mut self) -> Result<(), Ended> {
        let Some(presence) = &mut self.presence else { return Ok(()) };
        let asked = *presence.asked.get_or_insert_with(Instant::now);
        if asked.elapsed() >= SILENCE && presence.attached.take().is_some() {
            tracing::info!(operator = self.operator, "a console does not answer: it does not count as attached");
        }
        self.send(&Notice::Ping {}).await
    }

    async fn malformed(&mut self, seq: Option<u64>, reason: String) -> Result<(), Ended> {
        self.control.gate.command_refused(&self.operator, &reason).await;
        self.send(&Notice::Failed { seq, error: Failure::Malformed, message: reason }).await
    }

    async fn obey(&mut self, command: Command) -> Result<(), Ended> {
        if let Some(seq) = command.changes().filter(|_| self.read_only) {
            return self.failed(seq, Failure::ReadOnly, "this connection may only watch".to_owned()).await;
        }
        match command {
            Command::Hello { .. } => self.malformed(None, "hello is said once".to_owned()).await,
            Command::Alive => Ok(()),
            Command::List { seq } => self.snapshot(Some(seq)).await,
            Command::Show { seq, id } => match self.control.gate.holds().find(&id) {
                Some(hold) => self.send(&Notice::Shown { seq, hold: Box::new(self.control.view(&hold)) }).await,
                None => self.failed(seq, Failure::NotFound, "there is no such hold".to_owned()).await,
            },
            Command::Rule { seq, id, digest, ruling, reason, signed } => {
                let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
                if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON) {
                    return self.failed(seq, Failure::Malformed, "a reason is at most 4 KiB".to_owned()).await;
                }
                let says = match (ruling, reason) {
                    (RulingKind::Approve, reason) => Says::Approve { reason },
                    (RulingKind::Reject, Some(reason)) => Says::Reject { reason },
                    (RulingKind::Reject, None) => {
                        let message = "a rejection needs a reason: the agent reads it".to_owned();
                        return self.failed(seq, Failure::Malformed, message).await;
                    }
                };
                let ruling = self.ruling(id, digest, says);
                let ruling = match signed {
                    Some(SignedBy { operator, signature }) => ruling.signed(operator, signature),
                    None => ruling,
                };
                match self.control.gate.rule(ruling).await {
                    Ok(hold) => self.send(&Notice::Ruled { seq, hold: Box::new(self.control.view(&hold)) }).await,
                    Err(why) => self.failed(seq, failure(&why), why.to_string()).await,
                }
            }
            Command::Claim { seq, id, steal, off } => self.claim(seq, &id, steal, off).await,
            Command::TakeBack { seq, id } => self.take_back(seq, &id).await,
            Command::Reopen { seq, id, digest } => self.reopen(seq, &id, digest).await,
            Command::Freeze { seq, on, reason } => self.freeze(seq, on, reason).await,
            Command::Sessions { seq } => self.sessions(seq).await,
            Command::RuleSession { seq, session, ruling, reason } => {
                self.rule_session(seq, &session, ruling, reason).await
            }
            Command::Grants { seq } => self.grants(seq).await,
            Command::DraftGrant { seq, id, bounds } => self.draft_grant(seq, &id, bounds).await,
            Command::Grant { seq, id, digest, bounds, grant, reason, signed } => {
                self.grant(seq, Asked { id, digest, bounds, grant, reason, signed }).await
            }
            Command::RevokeGrant { seq, grant, reason } => self.revoke_grant(seq, &grant, reason).await,
            Command::Records { seq, before, limit, call } => self.records(seq, before, limit, call).await,
            Command::RuleBatch { seq, holds, reason } => self.rule_batch(seq, holds, reason).await,
            Command::Explain { seq, id } => self.explain(seq, &id).await,
            Command::Rules { seq } => self.rules(seq).await,
            Command::Tools { seq, server } => self.tools(seq, &server).await,
            Command::Tool { seq, server, tool } => {
                let found = self.control.pins.remembered(&server, &tool);
                self.answer_tool(seq, &server, found).await
            }
            Command::RuleTool { seq, server, tool, ruling, digest } => {
                let act = match (ruling, digest) {
                    (ToolRuling::Pin, Some(digest)) => Act::Pin(digest),
                    (ToolRuling::Unpin, None) => Act::Unpin,
                    (ToolRuling::Forget, None) => Act::Forget,
                    (ToolRuling::Pin, None) | (ToolRuling::Unpin | ToolRuling::Forget, Some(_)) => {
                        let message = "a pin names a digest, and nothing else does".to_owned();
                        return self.failed(seq, Failure::Malformed, message).await;
                    }
                };
                let done = self.control.pins.act(&self.operator, &server, &tool, act).await;
                self.control.gate.look_at_definitions();
                self.control.status.changed.send_replace(());
                self.answer_tool(seq, &server, done).await
            }
        }
    }

    async fn tools(&mut self, seq: u64, server: &str) -> Result<(), Ended> {
        match self.control.pins.tools(server) {
            Some(tools) => {
                let tools = tools.into_iter().map(|tool| tool_view(server, tool)).collect();
                self.send(&Notice::Tools { seq, tools }).await
            }
            None => self.failed(seq, Failure::NotFound, pins::NoEffect::NoServer.to_string()).await,
        }
    }

    async fn answer_tool(
        &mut self,
        seq: u64,
        server: &str,
        found: Result<Remembered, pins::NoEffect>,
    ) -> Result<(), Ended> {
        match found {
            Ok(tool) => self.send(&Notice::Tool { seq, tool: Box::new(tool_view(server, tool)) }).await,
            Err(why) => self.failed(seq, no_effect(&why), why.to_string()).await,
        }
    }

    async fn failed(&mut self, seq: u64, error: Failure, message: String) -> Result<(), Ended> {
        self.send(&Notice::Failed { seq: Some(seq), error, message }).await
    }
}

fn failure(why: &NoEffect) -> Failure {
    match why {
        NoEffect::NotFound => Failure::NotFound,
        NoEffect::Closed(_) | NoEffect::SameOperator | NoEffect::Requester(_) => Failure::Closed,
        NoEffect::NotSo(_) => Failure::NotSo,
        NoEffect::WrongDigest => Failure::WrongDigest,
        NoEffect::SignatureRequired => Failure::SignatureRequired,
        NoEffect::BadSignature(_) => Failure::BadSignature,
        NoEffect::NotGrantable(_) | NoEffect::Batch(_) => Failure::NotSo,
        NoEffect::OtherGrant => Failure::WrongDigest,
        NoEffect::Unavailable(_) => Failure::Unavailable,
    }
}

fn no_effect(why: &pins::NoEffect) -> Failure {
    match why {
        pins::NoEffect::NoServer | pins::NoEffect::NotFound => Failure::NotFound,
        pins::NoEffect::WrongDigest | pins::NoEffect::TooLarge => Failure::WrongDigest,
        pins::NoEffect::NotPinned | pins::NoEffect::Pinned => Failure::NotSo,
        pins::NoEffect::Unavailable(_) => Failure::Unavailable,
    }
}

fn tool_view(server: &str, tool: Remembered) -> ToolView {
    let view = |kept: Kept| DefinitionView { digest: kept.digest, at: kept.at, definition: kept.text };
    ToolView {
        schema: TOOL_SCHEMA.to_owned(),
        server: server.to_owned(),
        tool: tool.tool,
        pin: tool.pin,
        first_seen: tool.first_seen,
        pinned_by: tool.pinned.as_ref().map(|_| tool.pinned_by),
        pinned: tool.pinned.map(view),
        offered: tool.offered.map(view),
    }
}

impl Control {
    fn daemon(&self) -> Daemon {
        let servers = self.status.servers.iter().map(|server| {
            let tools = self.pins.counts(&server.name);
            ServerView {
                name: server.name.clone(),
                environment: (*self.gate.environment(&server.name, &server.environment)).clone(),
                production: server.environment.is_production(),
                sessions: server.sessions.load(Ordering::Relaxed),
                tools_changed: tools.changed,
                tools_unpinned: tools.unpinned,
                sign_in: (self.sign_ins)(&server.name),
            }
        });
        Daemon {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.gate.audit().instance(),
            servers: servers.collect(),
            policy_version: self.gate.policy().version(),
            rules: self.gate.policy().rules(),
            policy_error: self.gate.policy_error(),
            policy_warnings: self.status.warnings(),
            consoles: *self.gate.holds().consoles().borrow(),
            http: self.status.http,
            operators: self.status.attached().clone(),
            batches: self.gate.holds().settings().batches,
            guessed: (self.guessed)(),
            frozen: self.gate.frozen().map(|halt| sessions::frozen(&halt)),
            unsigned_rulings: self.status.unsigned_rulings,
            unsafe_default_allow: self.status.unsafe_default_allow,
            records: self.gate.audit().records(),
        }
    }
}

/// The account's name, for records and screens; its number where it has none.
fn user_name(uid: u32) -> String {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| format!("uid {uid}"))
}
