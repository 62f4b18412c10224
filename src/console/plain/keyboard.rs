//! Lines from the operator's terminal, read on a descriptor of its own: nothing else that reads the terminal, a program
//! that asks for a passphrase above all, ever races with it, because it reads only while it is polled.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::termios::{QueueSelector, tcflush, ttyname};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longest line; the terminal's own limit is the same.
const LINE: usize = 4096;

/// A line and when it came.
#[derive(Debug)]
pub struct Typed {
    pub line: String,
    pub at: Instant,
}

#[derive(Debug)]
pub struct Keyboard {
    terminal: AsyncFd<File>,
    line: Vec<u8>,
}

impl Keyboard {
    /// The terminal behind stdin. Inside a runtime.
    ///
    /// # Errors
    /// Where stdin is no terminal, or one that cannot be opened again.
    pub fn open() -> io::Result<Keyboard> {
        let name = ttyname(io::stdin(), Vec::new())?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
        let terminal = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        // The newer function wants `unsafe` for its promise that the descriptor stays what it is; a file's does.
        #[allow(deprecated)]
        let terminal = AsyncFd::with_interest(terminal, Interest::READABLE)?;
        Ok(Keyboard { terminal, line: Vec::new() })
    }

    /// The next line; nothing at the end of the input. Cancel safe.
    pub async fn next(&mut self) -> Option<Typed> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.line.drain(..=end).collect();
                return Some(Typed { line: String::from_utf8_lossy(&line).into_owned(), at: Instant::now() });
            }
            let mut ready = self.terminal.readable().await.ok()?;
            let mut buffer = [0; LINE];
            match ready.try_io(|terminal| Ok(rustix::io::read(terminal.get_ref(), &mut buffer)?)) {
                Ok(Ok(count @ 1..)) => self.line.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Ok(Ok(0)) => return None,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => return None,
                Err(_would_block) => {}
            }
            // A line without an end is nobody's answer.
            if self.line.len() > LINE {
                self.line.clear();
            }
        }
    }

    /// Throws away what was typed so far, read or not.
    pub fn drain(&mut self) {
        self.line.clear();
        // Best effort: what is left comes too soon after the question to count.
        let _ = tcflush(self.terminal.get_ref(), QueueSelector::IFlush);
    }
}
