//! The operator's end of the operator socket.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::wire::{Command, MAX_LINE, Notice, VERSION};

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
}

/// The sending half.
#[derive(Debug)]
pub struct Commands {
    stream: OwnedWriteHalf,
    seq: u64,
}

impl Operator {
    /// Connects and says hello.
    ///
    /// # Errors
    /// [`ControlError::Unreachable`] where no daemon listens, [`ControlError::Foreign`] where one of another user does.
    pub async fn connect(path: &Path, watch: bool, read_only: bool) -> Result<Operator, ControlError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| ControlError::Unreachable { path: path.to_owned(), source })?;
        let (owner, me) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
        if owner != me && owner != 0 && me != 0 {
            return Err(ControlError::Foreign { path: path.to_owned(), owner, me });
        }
        let (read, write) = stream.into_split();
        let mut reader = Notices { lines: BufReader::new(read) };
        let mut writer = Commands { stream: write, seq: 0 };
        writer.send(&Command::Hello { version: VERSION, watch, read_only }).await?;
        let welcome = reader.next().await?;
        match &welcome {
            Notice::Welcome { version, .. } if *version == VERSION => Ok(Operator { reader, writer, welcome }),
            Notice::Welcome { version, .. } => Err(ControlError::Version { theirs: *version, ours: VERSION }),
            Notice::Failed { message, .. } => Err(ControlError::Wire(message.clone())),
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
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = (&mut self.lines).take(limit).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Err(ControlError::Closed);
        }
        serde_json::from_slice(&line).map_err(|error| ControlError::Wire(error.to_string()))
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
        let mut line = serde_json::to_vec(command).map_err(|error| ControlError::Wire(error.to_string()))?;
        line.push(b'\n');
        self.stream.write_all(&line).await?;
        Ok(())
    }
}
