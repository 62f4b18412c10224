//! The operator's end of the operator socket. What only keeps the line is seen to here: a ping is answered, and the holds of
//! a snapshot are put into it. Whoever reads notices is there; a program that is stopped answers nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

use super::wire::{Command, HoldView, MAX_LINE, Notice, VERSION};

/// Longest snapshot, in bytes: more than a daemon of this version has.
const MAX_SNAPSHOT: usize = 512 << 20;

/// Why the daemon cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no daemon answers at {path}: {source}")]
    Unreachable { path: PathBuf, source: std::io::Error },
    #[error("{path} belongs to user {owner}, not to you ({me}) and not to root")]
    Foreign { path: PathBuf, owner: u32, me: u32 },
    #[error("the daemon closed the connection")]
    Closed,
    #[error("the connection to the daemon broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the daemon sent something that this version does not understand: {0}")]
    Wire(String),
    #[error("the daemon takes no operator from here: {0}")]
    Refused(String),
    #[error("the daemon sent {0}")]
    TooLong(String),
    #[error("the daemon speaks version {theirs} of the operator protocol, this program speaks {ours}")]
    Version { theirs: u32, ours: u32 },
}

/// A connection that has said hello.
#[derive(Debug)]
pub struct Operator {
    reader: Notices,
    writer: Commands,
    welcome: Notice,
}

/// The receiving half.
#[derive(Debug)]
pub struct Notices {
    lines: BufReader<OwnedReadHalf>,
    stream: Arc<Mutex<OwnedWriteHalf>>,
    /// Of the snapshot that comes, and their bytes.
    listed: (Vec<HoldView>, usize),
}

/// The sending half.
#[derive(Debug)]
pub struct Commands {
    stream: Arc<Mutex<OwnedWriteHalf>>,
    seq: u64,
}

impl Operator {
    /// Connects and says hello.
    ///
    /// # Errors
    /// [`ControlError::Unreachable`] where no daemon listens, [`ControlError::Foreign`] where one of another user does.
    pub async fn connect(path: &Path, watch: bool, read_only: bool) -> Result<Operator, ControlError> {
        Operator::connect_as(path, watch, read_only, None).await
    }

    /// The same, with a name for others to read; see [`super::wire::is_operator_name`].
    ///
    /// # Errors
    /// As for [`Operator::connect`]; where the daemon takes no such name.
    pub async fn connect_as(
        path: &Path,
        watch: bool,
        read_only: bool,
        name: Option<String>,
    ) -> Result<Operator, ControlError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| ControlError::Unreachable { path: path.to_owned(), source })?;
        let (owner, me) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
        if owner != me && owner != 0 && me != 0 {
            return Err(ControlError::Foreign { path: path.to_owned(), owner, me });
        }
        let (read, write) = stream.into_split();
        let stream = Arc::new(Mutex::new(write));
        let mut reader = Notices { lines: BufReader::new(read), stream: Arc::clone(&stream), listed: (Vec::new(), 0) };
        let mut writer = Commands { stream, seq: 0 };
        writer.send(&Command::Hello { version: VERSION, watch, read_only, name }).await?;
        let welcome = reader.next().await?;
        match &welcome {
            Notice::Welcome { version, .. } if *version == VERSION => Ok(Operator { reader, writer, welcome }),
            Notice::Welcome { version, .. } => Err(ControlError::Version { theirs: *version, ours: VERSION }),
            Notice::Failed { message, .. } => Err(ControlError::Refused(message.clone())),
            other => Err(ControlError::Wire(format!("{other:?}"))),
        }
    }

    /// The first notice: always [`Notice::Welcome`].
    pub fn welcome(&self) -> &Notice {
        &self.welcome
    }

    pub fn split(self) -> (Notices, Commands) {
        (self.reader, self.writer)
    }

    /// Sends a command built from its number and waits for the answer that repeats the number.
    ///
    /// # Errors
    /// Where the connection ends first.
    pub async fn ask(&mut self, build: impl FnOnce(u64) -> Command) -> Result<Notice, ControlError> {
        let seq = self.writer.next_seq();
        self.writer.send(&build(seq)).await?;
        loop {
            let notice = self.reader.next().await?;
            if notice.answers() == Some(seq) {
                return Ok(notice);
            }
        }
    }
}

impl Notices {
    /// The next notice. Not cancel safe: a reader task owns this half.
    ///
    /// # Errors
    /// [`ControlError::Closed`] at the end of the connection.
    pub async fn next(&mut self) -> Result<Notice, ControlError> {
        loop {
            match self.line().await? {
                // A daemon that takes nothing any more is found out by the next read.
                Notice::Ping {} => drop(say(&self.stream, &Command::Alive).await),
                Notice::Listed { hold } => self.listed.0.push(*hold),
                Notice::Snapshot { seq, holds, daemon } => {
                    let (mut listed, _) = std::mem::take(&mut self.listed);
                    listed.extend(holds);
                    return Ok(Notice::Snapshot { seq, holds: listed, daemon });
                }
                notice => return Ok(notice),
            }
        }
    }

    async fn line(&mut self) -> Result<Notice, ControlError> {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = (&mut self.lines).take(limit).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Err(ControlError::Closed);
        }
        if read >= MAX_LINE && line.last() != Some(&b'\n') {
            return Err(ControlError::TooLong(format!("a line of more than {MAX_LINE} bytes")));
        }
        let notice = serde_json::from_slice(&line).map_err(|error| ControlError::Wire(error.to_string()))?;
        if let Notice::Listed { .. } = notice {
            self.listed.1 += read;
            if self.listed.1 > MAX_SNAPSHOT {
                return Err(ControlError::TooLong(format!("a list of more than {MAX_SNAPSHOT} bytes")));
            }
        }
        Ok(notice)
    }
}

impl Commands {
    /// A number for the next command.
    pub fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// # Errors
    /// Where the connection is gone.
    pub async fn send(&mut self, command: &Command) -> Result<(), ControlError> {
        say(&self.stream, command).await
    }
}

async fn say(stream: &Mutex<OwnedWriteHalf>, command: &Command) -> Result<(), ControlError> {
    let mut line = serde_json::to_vec(command).map_err(|error| ControlError::Wire(error.to_string()))?;
    line.push(b'\n');
    stream.lock().await.write_all(&line).await?;
    Ok(())
}
