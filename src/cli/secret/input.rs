//! A key from stdin: as it comes through a pipe, or typed into a terminal that does not show it.
//!
//! Invariant: the one buffer that holds it does not move, and is wiped.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

use crate::credential::secret::Secret;
use crate::credential::source::{MAX_LENGTH, Unfit, accept_line};

/// In tenths of a second: a paste has no longer breaks.
const QUIET: u8 = 2;
const LONGEST_PASTE: Duration = Duration::from_secs(5);

/// A key and a line end.
const ROOM: usize = MAX_LENGTH + 3;

/// # Errors
/// Where nothing comes, or something that cannot be a key.
pub fn secret(name: &str) -> anyhow::Result<Secret> {
    let text = if io::stdin().is_terminal() { typed(name)? } else { piped()? };
    accept_line(text).map_err(|unfit| {
        let help = match unfit {
            Unfit::Pem => format!("; what has lines comes from its file: countersign secret set {name} < FILE"),
            _ => String::new(),
        };
        anyhow::anyhow!("this cannot be the key of `{name}`: {unfit}{help}")
    })
}

fn piped() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(vec![0; ROOM]);
    let mut filled = 0;
    // Not through std's own buffer of stdin, which nobody wipes.
    let mut stdin = unbuffered()?;
    while let Some(rest) = text.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stdin.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("stdin cannot be read"),
        }
    }
    text.truncate(filled);
    Ok(text)
}

fn unbuffered() -> anyhow::Result<std::fs::File> {
    use std::os::fd::AsFd as _;
    let copy = io::stdin().as_fd().try_clone_to_owned().context("stdin cannot be read")?;
    Ok(std::fs::File::from(copy))
}

/// Byte by byte, without echo; the terminal's own signals come as bytes, so that it is put right again at every end.
fn typed(name: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut terminal = unbuffered()?;
    let before = rustix::termios::tcgetattr(&terminal).context("the terminal cannot be asked")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    let mut screen = io::stderr().lock();
    write!(screen, "The key of {name} (it is not shown), then Enter: ")?;
    screen.flush()?;
    rustix::termios::tcsetattr(&terminal, OptionalActions::Flush, &silent).context("the terminal would show it")?;
    let back = Back { terminal: terminal.try_clone()?, before };
    let text = line(&mut terminal);
    silent.special_codes[SpecialCodeIndex::VMIN] = 0;
    silent.special_codes[SpecialCodeIndex::VTIME] = QUIET;
    if text.is_ok() && rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &silent).is_ok() {
        drain(&mut terminal);
    }
    drop(back);
    writeln!(screen)?;
    text
}

/// Reads what goes on behind the line, until nothing comes: of a paste with more lines the shell would run the rest.
fn drain(terminal: &mut std::fs::File) {
    let mut rest = Zeroizing::new([0; 256]);
    let end = Instant::now() + LONGEST_PASTE;
    while Instant::now() < end && terminal.read(&mut *rest).is_ok_and(|count| count > 0) {}
}

/// Puts the terminal right again.
struct Back {
    terminal: std::fs::File,
    before: Termios,
}

impl Drop for Back {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

fn line(terminal: &mut std::fs::File) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    let mut byte = Zeroizing::new([0; 1]);
    loop {
        let ended = match terminal.read(&mut *byte) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("the terminal cannot be read"),
        };
        match *byte {
            _ if ended => return Ok(text),
            [b'\r' | b'\n' | 0x04] => return Ok(text),
            // Ctrl-C, Ctrl-\ and Ctrl-Z.
            [0x03 | 0x1c | 0x1a] => bail!("nothing is stored"),
            [0x7f | 0x08] => _ = text.pop(),
            [0x15] => text.clear(),
            [byte] if text.len() < ROOM - 1 => text.push(byte),
            _ => {}
        }
    }
}
