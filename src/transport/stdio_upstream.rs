//! An upstream that is a child process: lines on its stdin and stdout, its stderr to the log.
//!
//! Invariant: the child sees the environment that its entry in the configuration gives it and nothing else of ours, it
//! is in its sandbox before its first instruction, and when the link ends nothing of its process group is left.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use self::group::Group;
use self::pending::Pending;
use super::budget::Budget;
use super::frame::{Frame, Gated, LineReader, write_lines};
use super::lanes::long;
use super::{FromUpstream, ToUpstream, UpstreamLink};
use crate::call::{Ended, Leave, Limits};
use crate::credential::scrub::Scrubber;
use crate::credential::secret::{Secret, SecretCell};
use crate::credential::trust::{self, TrustError};
use crate::mcp::batch;
use crate::mcp::headers::{INITIALIZE, LISTEN, TASKS_RESULT};
use crate::mcp::loss::Loss;
use crate::mcp::message::{Malformed, Message, PARSE_ERROR, Shape};
use crate::sandbox::{self, Prepared, Sandbox, SandboxError, Scratch, Subject};

mod group;
mod pending;

/// What a child sees of the daemon's environment unless its entry asks for more: what programs need to start, and
/// nothing that carries keys.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];
/// After its stdin is closed a child may take this long to end by itself.
const AFTER_EOF: Duration = Duration::from_secs(2);
/// And this long after SIGTERM.
const AFTER_TERM: Duration = Duration::from_secs(3);
/// What still stands in a dead child's pipe is read for this long; a grandchild may hold the pipe open.
const AFTER_EXIT: Duration = Duration::from_millis(500);
const CLOSED: &str = "the upstream process closed its input";
/// Longest line of text that is read for the log, and how much of it is shown.
const TEXT_LINE: usize = 8 << 10;
const TEXT_SHOWN: usize = 1 << 10;

/// A value of the child's environment.
#[derive(Clone, Debug)]
pub enum EnvValue {
    Plain(String),
    Secret { value: SecretCell, prefix: String },
}

/// How to start a child. `inherit` names variables of the daemon that the child may see besides the default ones.
#[derive(Clone, Debug)]
pub struct StdioSpec {
    pub server: String,
    pub command: String,
    pub args: Vec<String>,
    pub env: Vec<(String, EnvValue)>,
    pub inherit: Vec<String>,
    pub cwd: Option<PathBuf>,
    /// `None`: as free as the daemon itself.
    pub sandbox: Option<Box<Sandbox>>,
}

impl StdioSpec {
    /// Decides where the program lies: nothing that is put into a folder of `PATH` later takes its place.
    ///
    /// # Errors
    /// Where it is not there, or where everybody could replace it.
    pub fn resolve(&mut self) -> Result<(), TrustError> {
        let program = self.program()?.into_os_string();
        self.command = program.into_string().map_err(|name| TrustError::Missing(name.into()))?;
        Ok(())
    }

    fn program(&self) -> Result<PathBuf, TrustError> {
        trust::find_command(&self.command, self.value("PATH").as_deref())
    }

    /// A variable as the child will see it; nothing of secrets.
    fn value(&self, name: &str) -> Option<OsString> {
        if let Some((_, value)) = self.env.iter().find(|(known, _)| known == name) {
            return match value {
                EnvValue::Plain(value) => Some(value.into()),
                EnvValue::Secret { .. } => None,
            };
        }
        let seen = INHERITED.into_iter().chain(self.inherit.iter().map(String::as_str)).any(|known| known == name);
        std::env::var_os(name).filter(|_| seen)
    }

    /// Whether the entry itself says what this variable is.
    fn names(&self, name: &str) -> bool {
        self.inherit.iter().any(|known| known == name) || self.env.iter().any(|(known, _)| known == name)
    }

    fn prepared(&self, principal: &str, program: &Path) -> Result<Option<Prepared>, SandboxError> {
        let Some(sandbox) = &self.sandbox else { return Ok(None) };
        let search = self.value("PATH");
        let plain =
            self.env.iter().filter(|(name, _)| name != "PATH" && name != "HOME").filter_map(|(_, value)| match value {
                EnvValue::Plain(value) => Some(value.as_str()),
                EnvValue::Secret { .. } => None,
            });
        let values: Vec<&str> = plain.collect();
        let subject = Subject {
            server: &self.server,
            principal,
            program,
            args: &self.args,
            values: &values,
            search: search.as_deref(),
            cwd: self.cwd.as_deref(),
        };
        sandbox.prepare(&subject).map(Some)
    }
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the upstream command `{command}` of server `{server}` cannot be started: {source}")]
    Spawn { server: String, command: String, source: std::io::Error },
    #[error("the upstream command `{command}` of server `{server}` is not run: {source}; {}", .source.help())]
    Program { server: String, command: String, source: TrustError },
    #[error("the upstream of server `{server}` has no sandbox: {source}")]
    Sandbox { server: String, source: SandboxError },
    #[error("the upstream command `{command}` of server `{server}` has no pipes")]
    Pipes { server: String, command: String },
}

/// Starts a child for a principal and serves its link until the link is dropped or the child ends.
///
/// # Errors
/// [`ConnectError`] where the command cannot be started.
pub fn connect(
    spec: &StdioSpec,
    principal: &str,
    scrubber: Arc<Scrubber>,
    limits: Limits,
    tracker: &TaskTracker,
) -> Result<UpstreamLink, ConnectError> {
    let named = |source| ConnectError::Spawn { server: spec.server.clone(), command: spec.command.clone(), source };
    let unfit = |source| ConnectError::Program { server: spec.server.clone(), command: spec.command.clone(), source };
    let program = spec.program().map_err(unfit)?;
    let prepared = spec.prepared(principal, &program);
    let prepared = prepared.map_err(|source| ConnectError::Sandbox { server: spec.server.clone(), source })?;
    let (mut command, keys) = command(spec, &program, prepared.as_ref());
    let mut child = command.spawn().map_err(named)?;
    let group = Group::of(&child, is_kept(prepared.as_ref()));
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(ConnectError::Pipes { server: spec.server.clone(), command: spec.command.clone() });
    };
    // Room for every request that may be open, so that a session need not wait to hand one over.
    let (outbound, from_session) = mpsc::channel(limits.in_flight + limits.queue);
    let (to_session, inbound) = mpsc::channel(limits.queue);
    let budget = Budget::new(200, Duration::from_millis(20));
    let greeting = prepared.as_ref().map(Prepared::greeting);
    let (mark, scratch) = prepared.map_or((None, None), |prepared| (Some(prepared.mark), Some(prepared.scratch)));
    let log = Log {
        server: spec.server.clone(),
        scrubber,
        budget,
        mark,
        not_run: OnceLock::new(),
        spoke: AtomicBool::new(false),
    };
    let work =
        Work { child, group, greeting, to_session, log, limits, pending: Pending::default(), scratch, _keys: keys };
    let span = info_span!("upstream", server = %spec.server, pid = work.child.id());
    tracker.spawn(work.run(stdin, stdout, stderr, from_session).instrument(span));
    Ok(UpstreamLink { outbound, inbound })
}

/// With it the keys that the child gets.
fn command(spec: &StdioSpec, program: &Path, prepared: Option<&Prepared>) -> (Command, Vec<Arc<Secret>>) {
    let mut keys = Vec::new();
    let mut command = match prepared {
        None => Command::new(program),
        Some(prepared) => {
            let mut command = Command::new(&prepared.program);
            command.args(prepared.arguments()).arg(program);
            command
        }
    };
    command.args(&spec.args).env_clear();
    for name in INHERITED.into_iter().chain(spec.inherit.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for (name, value) in &spec.env {
        let value: OsString = match value {
            EnvValue::Plain(value) => value.into(),
            EnvValue::Secret { value, prefix } => {
                let key = value.current();
                let value = format!("{prefix}{}", key.expose());
                keys.push(key);
                value.into()
            }
        };
        command.env(name, value);
    }
    let mut cwd = spec.cwd.as_deref();
    if let Some(prepared) = prepared {
        for (name, folder) in [("HOME", prepared.home.as_path()), ("TMPDIR", prepared.scratch.path())] {
            if !spec.names(name) {
                command.env(name, folder);
            }
        }
        cwd = cwd.or(Some(&prepared.home));
    }
    if let Some(cwd) = cwd {
        command.current_dir(cwd);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A keeper that is killed could not end what it keeps.
    command.process_group(0).kill_on_drop(!is_kept(prepared));
    (command, keys)
}

fn is_kept(prepared: Option<&Prepared>) -> bool {
    sandbox::KEPT && prepared.is_some()
}

/// How a child's text gets into the log: without keys, without control characters, not too much and not too often.
#[derive(Debug)]
struct Log {
    server: String,
    scrubber: Arc<Scrubber>,
    budget: Budget,
    /// Stands before what was said on the way into the sandbox; the child itself does not know it.
    mark: Option<String>,
    /// Why there never was a child.
    not_run: OnceLock<String>,
    /// Something came on its stdout: there is a child.
    spoke: AtomicBool,
}

impl Log {
    /// A line of the child's stderr, or the last one of what was to become the child.
    fn text(&self, line: &[u8], cut: bool) {
        let mark = self.mark.as_deref().filter(|_| !self.spoke.load(Ordering::Relaxed)).map(str::as_bytes);
        match mark.and_then(|mark| line.strip_prefix(mark)) {
            None => self.say("stderr", line, cut),
            Some(why) => {
                let why = self.scrubber.line(String::from_utf8_lossy(why).trim()).into_owned();
                let _ = self.not_run.set(why.chars().take(TEXT_SHOWN).flat_map(char::escape_debug).collect());
            }
        }
    }

    /// Why there never was a child, where there was none.
    fn not_run(&self) -> Option<&str> {
        self.not_run.get().filter(|_| !self.spoke.load(Ordering::Relaxed)).map(String::as_str)
    }

    fn say(&self, stream: &str, line: &[u8], cut: bool) {
        let Some(suppressed) = self.budget.take() else { return };
        let text = String::from_utf8_lossy(line);
        let text = self.scrubber.line(&text);
        let cut = cut || text.len() > TEXT_SHOWN;
        let shown: String = text.chars().take(TEXT_SHOWN).flat_map(char::escape_debug).collect();
        let more = if cut { " [cut]" } else { "" };
        if suppressed > 0 {
            info!(target: "upstream", server = %self.server, stream, suppressed, "lines came too fast to log each");
        }
        info!(target: "upstream", server = %self.server, stream, "{shown}{more}");
    }
}

/// Everything about one child, in one task.
struct Work {
    child: Child,
    group: Group,
    /// For what becomes the child: it reads that before it does.
    greeting: Option<String>,
    to_session: mpsc::Sender<FromUpstream>,
    log: Log,
    limits: Limits,
    pending: Pending,
    scratch: Option<Scratch>,
    /// What it was started with, looked for in what it says for as long as it lives, whatever the keys are by then.
    _keys: Vec<Arc<Secret>>,
}

/// Why the link ended.
enum End {
    /// The session dropped it.
    Dropped,
    Failed(String),
}

impl Work {
    async fn run(
        mut self,
        stdin: ChildStdin,
        stdout: ChildStdout,
        stderr: ChildStderr,
        mut from_session: mpsc::Receiver<ToUpstream>,
    ) {
        self.serve(stdin, stdout, stderr, &mut from_session).await;
        if let Some(scratch) = self.scratch.take() {
            // Many files may be in it.
            let _ = tokio::task::spawn_blocking(move || drop(scratch)).await;
        }
    }

    async fn serve(
        &mut self,
        stdin: ChildStdin,
        stdout: ChildStdout,
        stderr: ChildStderr,
        from_session: &mut mpsc::Receiver<ToUpstream>,
    ) {
        let Work { child, group, greeting, to_session, log, limits, pending, scratch: _, _keys: _ } = self;
        let mut stdin = Some(stdin);
        let mut reading = std::pin::pin!(read_loop(stdout, to_session, log, limits.answer_bytes, pending));
        let mut text = std::pin::pin!(text_loop(stderr, log));
        let mut text_over = false;
        let end = {
            let greeting = greeting.take();
            let mut writing =
                std::pin::pin!(write_loop(greeting, &mut stdin, from_session, to_session, *limits, pending));
            let mut deadlines = std::pin::pin!(deadline_loop(to_session, limits.answer_timeout, pending));
            loop {
                tokio::select! {
                    () = to_session.closed() => break End::Dropped,
                    end = &mut writing => break end,
                    end = &mut reading => break end,
                    () = &mut deadlines => break End::Dropped,
                    () = &mut text, if !text_over => text_over = true,
                    status = child.wait() => {
                        group.left();
                        // The last answers may still stand in the pipe.
                        let _ = timeout(AFTER_EXIT, &mut reading).await;
                        break End::Failed(exited(status));
                    }
                }
            }
        };
        drop(stdin);
        if let End::Dropped = end {
            // A child that cannot write does not end; what it still says goes nowhere.
            let drain = async {
                tokio::join!(reading, async {
                    if !text_over {
                        text.await;
                    }
                });
            };
            tokio::select! {
                () = stop(child, group) => {}
                () = async { drain.await; std::future::pending::<()>().await } => {}
            }
            return;
        }
        group.end(child).await;
        let status = timeout(AFTER_TERM, child.wait()).await;
        let End::Failed(reason) = end else { return };
        if !text_over {
            // Its last words, which may say why.
            let _ = timeout(AFTER_EXIT, text).await;
        }
        if let Some(why) = log.not_run() {
            // With places of this machine in it, which are none of the client's business.
            error!(%why, "the upstream could not be put into its sandbox and was not run");
            let reason = "its sandbox could not be made, and it was not run; the log of countersign says why";
            return close(reason, false, from_session, to_session, pending).await;
        }
        warn!(%reason, ?status, "the upstream is gone");
        close(&reason, true, from_session, to_session, pending).await;
    }
}

/// Tells the session what became of everything that is open, then that there is no more.
async fn close(
    reason: &str,
    ran: bool,
    from_session: &mut mpsc::Receiver<ToUpstream>,
    to_session: &mpsc::Sender<FromUpstream>,
    pending: &Pending,
) {
    for id in pending.take_all() {
        // What was written to a program that never ran was read by nobody.
        let loss = if ran { Loss::unknown(reason) } else { Loss::not_sent(reason) };
        let _ = to_session.send(FromUpstream::Lost { id, loss }).await;
    }
    from_session.close();
    while let Some(event) = from_session.recv().await {
        if let Some(Shape::Request { id, .. }) = event.message().map(Message::shape) {
            let lost = FromUpstream::Lost { id: id.clone(), loss: Loss::not_sent(reason) };
            let _ = to_session.send(lost).await;
        }
    }
    let _ = to_session.send(FromUpstream::Closed { reason: reason.to_owned() }).await;
}

/// Its stdin is closed already. Then asks, then kills; the group as a whole, because children have children.
async fn stop(child: &mut Child, group: &mut Group) {
    let mut ended = timeout(AFTER_EOF, child.wait()).await.is_ok();
    if !ended {
        group.terminate();
        ended = timeout(AFTER_TERM, child.wait()).await.is_ok();
    }
    group.end(child).await;
    if !ended {
        warn!("the upstream had to be killed");
        let _ = timeout(AFTER_TERM, child.wait()).await;
    }
}

fn exited(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("the upstream process ended ({status})"),
        Err(error) => format!("the upstream process is lost: {error}"),
    }
}

async fn write_loop(
    greeting: Option<String>,
    stdin: &mut Option<ChildStdin>,
    from_session: &mut mpsc::Receiver<ToUpstream>,
    to_session: &mpsc::Sender<FromUpstream>,
    limits: Limits,
    pending: &Pending,
) -> End {
    if let (Some(greeting), Some(stdin)) = (greeting, stdin.as_mut())
        && stdin.write_all(greeting.as_bytes()).await.is_err()
    {
        return End::Failed(CLOSED.to_owned());
    }
    while let Some(event) = from_session.recv().await {
        let (message, leave) = match event {
            ToUpstream::Send(message) => (message, None),
            ToUpstream::Call(message, leave) => (message, Some(leave)),
            // The session sends `notifications/cancelled` itself where that is right.
            ToUpstream::Abandon(id) => {
                pending.remove(&id);
                continue;
            }
        };
        let Some(stdin) = stdin.as_mut() else { return End::Dropped };
        let sending = leave.as_ref().map(Leave::sending);
        let request = match message.shape() {
            Shape::Request { id, .. } => Some(id.clone()),
            Shape::Notification { .. } | Shape::Response { .. } => None,
        };
        // A subscription is answered when it ends, and the result of a task when the task does.
        let stays = matches!(message.method(), Some(LISTEN | TASKS_RESULT));
        if let Some(id) = request.as_ref().filter(|_| !stays) {
            pending.add(id, limits.answer_timeout);
        }
        if let Some(id) = request.as_ref().filter(|_| message.method() == Some(INITIALIZE)) {
            pending.begins(id);
        }
        let text = message.into_text();
        let mut gated = Gated { sink: stdin, leave: leave.as_ref() };
        let written = match timeout(limits.answer_timeout, write_lines(&mut gated, std::slice::from_ref(&text))).await {
            Ok(Ok(())) => {
                if let Some(sending) = sending {
                    sending.ended(Ended::Taken);
                }
                continue;
            }
            Ok(Err(failed)) => failed.written,
            Err(_) => return End::Failed("the upstream process does not read its input".to_owned()),
        };
        if let Some((_, why)) = leave.and_then(|leave| leave.refused()) {
            // Nothing of it stands in the pipe. What is no request has nobody here who waits for an answer.
            if let Some(id) = request {
                pending.remove(&id);
                let _ = to_session.send(FromUpstream::Lost { id, loss: Loss::not_sent(why) }).await;
            }
            continue;
        }
        let reason = CLOSED.to_owned();
        if let Some(id) = request.filter(|_| written == 0) {
            pending.remove(&id);
            let _ = to_session.send(FromUpstream::Lost { id, loss: Loss::not_sent(reason.as_str()) }).await;
        }
        return End::Failed(reason);
    }
    End::Dropped
}

async fn read_loop(
    stdout: ChildStdout,
    to_session: &mpsc::Sender<FromUpstream>,
    log: &Log,
    limit: usize,
    pending: &Pending,
) -> End {
    let mut lines = LineReader::new(stdout, limit);
    loop {
        let frame = lines.next().await;
        if !matches!(frame, Ok(Frame::End) | Err(_)) {
            log.spoke.store(true, Ordering::Relaxed);
        }
        let line = match frame {
            Ok(Frame::Line(line)) => line,
            Ok(Frame::TooLong) => {
                log.say("stdout", head(lines.head()), true);
                return End::Failed(format!("the upstream process sent more than {limit} bytes in one message"));
            }
            Ok(Frame::Cut | Frame::End) => return End::Failed("the upstream process closed its output".to_owned()),
            Err(error) => return End::Failed(format!("the upstream process cannot be read: {error}")),
        };
        if line.trim_ascii_start().first() == Some(&b'{') {
            hand_over(long(line.len(), move || Message::from_upstream(line)).await, to_session, log, pending).await;
            continue;
        }
        // Many a line of text begins with a bracket.
        let array = batch::is_array(&line).then(|| batch::members(line.as_slice(), pending.revision().as_deref()));
        match array {
            Some(Ok(members)) => {
                for member in members {
                    hand_over(member, to_session, log, pending).await;
                }
            }
            Some(Err(malformed)) if malformed.code != PARSE_ERROR => {
                log.say("stdout", malformed.reason.as_bytes(), false);
            }
            Some(Err(_)) | None => log.say("stdout", head(&line), line.len() > TEXT_LINE),
        }
    }
}

async fn hand_over(
    message: Result<Message, Malformed>,
    to_session: &mpsc::Sender<FromUpstream>,
    log: &Log,
    pending: &Pending,
) {
    match message {
        Ok(message) => {
            if let Shape::Response { id: Some(id), .. } = message.shape() {
                pending.answered(id, &message);
            }
            // A session that is gone is noticed by `run`; until then the pipe is kept empty.
            let _ = to_session.send(FromUpstream::Message { message, related: None }).await;
        }
        Err(malformed) => log.say("stdout", malformed.reason.as_bytes(), false),
    }
}

fn head(line: &[u8]) -> &[u8] {
    line.get(..TEXT_LINE).unwrap_or(line)
}

async fn text_loop(stderr: ChildStderr, log: &Log) {
    let mut lines = LineReader::new(stderr, TEXT_LINE);
    loop {
        match lines.next().await {
            Ok(Frame::Line(line)) => log.text(&line, false),
            Ok(Frame::TooLong) => {
                log.say("stderr", head(lines.head()), true);
                if !matches!(lines.skip().await, Ok(true)) {
                    return;
                }
            }
            Ok(Frame::Cut) => return log.text(lines.head(), false),
            Ok(Frame::End) => return,
            Err(error) => return debug!(%error, "stderr of the upstream cannot be read"),
        }
    }
}

/// Gives up on requests whose time is over, whatever else the upstream says meanwhile.
async fn deadline_loop(to_session: &mpsc::Sender<FromUpstream>, allowed: Duration, pending: &Pending) {
    loop {
        let id = pending.expired().await;
        let reason = format!("no answer from the upstream within {} s (limits.answer_timeout)", allowed.as_secs());
        if to_session.send(FromUpstream::Lost { id, loss: Loss::unknown(reason) }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
