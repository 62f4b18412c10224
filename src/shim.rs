//! `countersign connect`: bytes between a client's pipes and the daemon's socket. No key, no config, no policy.
//!
//! Invariant: nothing that whoever starts it controls (arguments, environment, folder) can weaken anything, because
//! there is nothing here to weaken. Its stdout carries what the daemon sends, or one JSON-RPC error of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::mcp::loss::UNAVAILABLE;
use crate::mcp::message::{Id, Message, Shape};
use crate::mcp::reply;
use crate::transport::client_socket::{Turned, preamble};
use crate::transport::frame::{Frame, LineReader};

/// One read of a pipe.
const CHUNK: usize = 64 << 10;
/// Longest first request that is read only to answer it.
const FIRST_REQUEST: usize = 4 << 20;
/// How long the daemon may take to say yes or no.
const GREETING: Duration = Duration::from_secs(15);
/// How long answers are still printed after the client closed its end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("no folder for sockets is known; set COUNTERSIGN_RUNTIME_DIR or give --socket PATH")]
    NoFolder,
    #[error("`countersign serve` is not running at {path} ({source}); start it: countersign serve --config countersign.yaml", path = path.display())]
    NotRunning { path: PathBuf, source: io::Error },
    #[error("{path} is served by user {daemon}, who is neither you nor root nor the owner of its folder; it is not trusted", path = path.display())]
    Foreign { path: PathBuf, daemon: u32 },
    #[error("{reason}")]
    TurnedAway { kind: Turned, reason: String },
    #[error("this process cannot be protected: {source}")]
    Open { source: io::Error },
    #[error("the daemon at {path} did not answer as one: {what}", path = path.display())]
    Odd { path: PathBuf, what: String },
}

/// How a connection that was made ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By the client, as it should.
    ByClient,
    /// By the daemon, while the client was still there.
    ByDaemon,
}

/// The client socket where no path is given.
///
/// # Errors
/// [`ShimError::NoFolder`].
pub fn default_socket() -> Result<PathBuf, ShimError> {
    socket_by(|name| std::env::var_os(name))
}

/// Where a daemon listens whose configuration does not say: in the same folders, in the same order.
///
/// # Errors
/// [`ShimError::NoFolder`] where none of the variables names one.
pub fn socket_by(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, ShimError> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = || absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let folder = absolute("COUNTERSIGN_RUNTIME_DIR")
        .or_else(|| absolute("XDG_RUNTIME_DIR").map(|path| path.join("countersign")))
        .or_else(|| state().map(|path| path.join("countersign/run")));
    folder.map(|folder| folder.join("client.sock")).ok_or(ShimError::NoFolder)
}

/// Dials the daemon and carries bytes until one side ends. Blocks; the process ends after it.
///
/// # Errors
/// [`ShimError`] where there is no connection. The client has not been told then: [`answer_first`] does it.
pub fn run(path: &Path, server: &str) -> Result<Ended, ShimError> {
    let odd = |error: io::Error| ShimError::Odd { path: path.to_owned(), what: error.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(odd)?;
    let (stream, early) = runtime.block_on(reach(path, server))?;
    drop(runtime);
    stream.set_nonblocking(false).map_err(odd)?;
    carry(stream, &early).map_err(odd)
}

/// Where this process works is for operators to look at. A daemon of an earlier version does not take it, and is asked
/// once more without.
async fn reach(path: &Path, server: &str) -> Result<(UnixStream, Vec<u8>), ShimError> {
    let cwd = std::env::current_dir().ok();
    match greet(path, server, cwd.as_deref()).await {
        Err(ShimError::TurnedAway { kind: Turned::Usage, .. }) if cwd.is_some() => greet(path, server, None).await,
        greeted => greeted,
    }
}

/// Says which server is wanted. What the daemon sent beyond its answer comes back too.
async fn greet(path: &Path, server: &str, cwd: Option<&Path>) -> Result<(UnixStream, Vec<u8>), ShimError> {
    let odd = |what: &str| ShimError::Odd { path: path.to_owned(), what: what.to_owned() };
    let gone = |source| ShimError::NotRunning { path: path.to_owned(), source };
    let stream = tokio::net::UnixStream::connect(path).await.map_err(gone)?;
    let daemon = stream.peer_cred().map_err(gone)?.uid();
    if !is_trusted(path, daemon) {
        return Err(ShimError::Foreign { path: path.to_owned(), daemon });
    }
    let mut reader = LineReader::new(stream, CHUNK);
    let greeting = async {
        reader.source_mut().write_all(preamble(server, cwd).as_bytes()).await?;
        reader.next().await
    };
    let line = match timeout(GREETING, greeting).await {
        Ok(Ok(Frame::Line(line))) => line,
        Ok(Ok(Frame::TooLong)) => return Err(odd("its answer is too long")),
        Ok(Ok(Frame::Cut | Frame::End)) => return Err(odd("it closed the connection")),
        Ok(Err(error)) => return Err(odd(&error.to_string())),
        Err(_) => return Err(odd("no answer within 15 s")),
    };
    let said: serde_json::Value = serde_json::from_slice(&line).map_err(|error| odd(&error.to_string()))?;
    if said.get("ok") == Some(&serde_json::Value::Bool(true)) {
        let (stream, early) = reader.into_parts();
        return Ok((stream.into_std().map_err(|error| odd(&error.to_string()))?, early));
    }
    let text = |name: &str| said.get(name).and_then(serde_json::Value::as_str);
    match (text("error"), text("kind").and_then(Turned::parse)) {
        (Some(reason), Some(kind)) => Err(ShimError::TurnedAway { kind, reason: reason.to_owned() }),
        _ => Err(odd("its answer is not understood")),
    }
}

/// A daemon is ours, root's, or that of the one who owns the socket and its folder alone: a service account, whose
/// path this shim was given. Anyone else may only have put a socket into a folder that many can write.
fn is_trusted(path: &Path, daemon: u32) -> bool {
    if daemon == 0 || daemon == rustix::process::geteuid().as_raw() {
        return true;
    }
    let Some(folder) = path.parent().and_then(|folder| fs::metadata(folder).ok()) else { return false };
    let socket = fs::metadata(path).is_ok_and(|socket| socket.file_type().is_socket() && socket.uid() == daemon);
    socket && folder.uid() == daemon && folder.mode() & 0o022 == 0
}

/// Two threads, each with one pipe and one buffer: the cheapest way to move bytes here.
fn carry(stream: UnixStream, early: &[u8]) -> io::Result<Ended> {
    let (mut input, mut output) = pipes()?;
    let client_ended = Arc::new(AtomicBool::new(false));
    let upward = stream.try_clone()?;
    let ended = Arc::clone(&client_ended);
    std::thread::spawn(move || {
        ended.store(copy(&mut input, &upward), Ordering::SeqCst);
        // The daemon learns that no more comes, and may still answer what it has.
        let _ = upward.shutdown(Shutdown::Write);
        std::thread::sleep(LAST_ANSWERS);
        let _ = upward.shutdown(Shutdown::Both);
    });
    output.write_all(early)?;
    copy(&mut &stream, &output);
    Ok(if client_ended.load(Ordering::SeqCst) { Ended::ByClient } else { Ended::ByDaemon })
}

/// True at the end of `from`, false where `to` takes no more.
fn copy<R: io::Read, W>(from: &mut R, to: &W) -> bool
where
    for<'a> &'a W: io::Write,
{
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => {
                let mut to: &W = to;
                if buffer.get(..count).is_none_or(|bytes| to.write_all(bytes).is_err()) {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

/// Our stdin and stdout without buffers of the standard library, which split and hold back lines.
fn pipes() -> io::Result<(File, File)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((File::from(input), File::from(output)))
}

/// Where there is no connection: reads the client's first request and answers it with the reason, so that a person
/// sees it where the client shows its errors. Returns at the end of the client's input, or after the answer; at once
/// where a terminal is the client.
///
/// # Errors
/// Where the pipes break.
pub fn answer_first(error: &ShimError) -> io::Result<()> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    let (input, mut output) = pipes()?;
    let Some(id) = first_request(input)? else { return Ok(()) };
    let text = reply::error(&id, UNAVAILABLE, &format!("countersign: {error}"));
    output.write_all(&text.line())
}

fn first_request(input: impl io::Read) -> io::Result<Option<Id>> {
    let mut lines = io::BufReader::new(input.take(FIRST_REQUEST as u64));
    loop {
        let mut line = Vec::new();
        if io::BufRead::read_until(&mut lines, b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if let Ok(message) = Message::from_client(line)
            && let Shape::Request { id, .. } = message.shape()
        {
            return Ok(Some(id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_is_found_behind_other_lines() {
        let text = "nonsense\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"initialize\"}\n";
        assert_eq!(first_request(text.as_bytes()).unwrap(), Some(Id::String("a".into())));
        assert_eq!(first_request(&b"{}\n"[..]).unwrap(), None);
    }

    #[test]
    fn the_daemon_is_looked_for_where_it_listens_by_default() {
        let all = [
            ("COUNTERSIGN_RUNTIME_DIR", "/own", "/own/client.sock"),
            ("XDG_RUNTIME_DIR", "/run/user/7", "/run/user/7/countersign/client.sock"),
            ("XDG_STATE_HOME", "/state", "/state/countersign/run/client.sock"),
            ("HOME", "/home/a", "/home/a/.local/state/countersign/run/client.sock"),
        ];
        for (first, (_, _, expected)) in all.iter().enumerate() {
            let found =
                |name: &str| all.iter().skip(first).find(|(known, ..)| *known == name).map(|(_, value, _)| value);
            let variable = |name: &str| found(name).map(OsString::from);
            assert_eq!(socket_by(variable).unwrap(), Path::new(expected));
        }
        let relative = |name: &str| (name != "HOME").then(|| OsString::from("folder"));
        assert!(matches!(socket_by(relative), Err(ShimError::NoFolder)), "a relative folder is none");
    }

    /// As it was before a first line could have a folder.
    #[tokio::test]
    async fn a_daemon_of_an_earlier_version_is_asked_without_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let daemon = tokio::spawn(async move {
            let mut lines = Vec::new();
            for answer in ["{\"error\":\"no\",\"kind\":\"usage\"}\n", "{\"ok\":true}\n"] {
                let mut reader = LineReader::new(listener.accept().await.unwrap().0, CHUNK);
                let Frame::Line(line) = reader.next().await.unwrap() else { panic!() };
                lines.push(String::from_utf8(line).unwrap());
                reader.source_mut().write_all(answer.as_bytes()).await.unwrap();
            }
            lines
        });
        assert!(reach(&path, "s").await.is_ok());
        let lines = daemon.await.unwrap();
        assert!(lines[0].contains("\"cwd\"") && !lines[1].contains("\"cwd\""), "{lines:?}");
    }

    #[test]
    fn a_socket_in_an_open_folder_is_trusted_only_with_our_own_daemon() {
        let me = rustix::process::geteuid().as_raw();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(is_trusted(&path, me) && is_trusted(&path, 0));
        assert!(!is_trusted(&path, me + 1), "the files are not this user's");
        assert!(!is_trusted(Path::new("/nowhere/client.sock"), me + 1));
    }
}
