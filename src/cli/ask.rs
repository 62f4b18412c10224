//! What the commands share that ask a daemon: the connection, how they end, and what reaches the terminal.
//!
//! Invariant: a text that came from outside is printed with every character visible.

#![allow(clippy::print_stderr)]

use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, Write};

use anyhow::Context;
use serde::Serialize;

use super::Exit;
use super::console::{DaemonArgs, unreachable};
use crate::call::Digest;
use crate::console::visible;
use crate::control::client::{ControlError, Operator};
use crate::control::wire::Notice;

/// Shortest start of a digest.
pub const DIGEST_PREFIX: usize = 8;

/// Why a command ends before its work is done.
pub enum Stop {
    Control(ControlError),
    /// The answer is the exit code, and everything has been printed.
    Quiet(Exit),
    /// Said on stderr with this exit code.
    Said(Exit, String),
    Print(io::Error),
    Other(anyhow::Error),
}

impl From<ControlError> for Stop {
    fn from(error: ControlError) -> Stop {
        Stop::Control(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Print(error)
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Stop {
        Stop::Other(error)
    }
}

/// Runs a command and says on stderr why it ended where it did not do its work.
pub fn run(work: impl Future<Output = Result<(), Stop>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(work) {
        Ok(()) => Ok(Exit::Ok),
        Err(Stop::Quiet(exit)) => Ok(exit),
        Err(Stop::Control(error)) => Ok(unreachable(&error)),
        Err(Stop::Said(exit, text)) => {
            eprintln!("countersign: {}", visible::line(&text));
            Ok(exit)
        }
        // Whoever reads the output has seen enough.
        Err(Stop::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(Stop::Print(error)) => Err(error).context("cannot write the output"),
        Err(Stop::Other(error)) => Err(error),
    }
}

/// At least eight digits, and the digest starts with them.
pub fn is_start_of(given: &str, digest: Digest) -> bool {
    given.len() >= DIGEST_PREFIX && digest.to_string().starts_with(&given.to_ascii_lowercase())
}

pub async fn connect(daemon: &DaemonArgs, watch: bool, read_only: bool) -> Result<Operator, Stop> {
    Ok(Operator::connect_as(&daemon.socket()?, watch, read_only, super::operator::name(None)).await?)
}

pub fn unexpected(notice: &Notice) -> Stop {
    if let Notice::Failed { message, .. } = notice {
        return Stop::Said(Exit::NoEffect, message.clone());
    }
    Stop::Control(ControlError::Wire("an answer to another command".to_owned()))
}

/// One line of JSON in which every character is visible: those that are not stand as `\uXXXX`.
pub fn json(value: &impl Serialize) -> Result<String, Stop> {
    let text = serde_json::to_string(value).context("cannot write the answer as JSON")?;
    if text.is_ascii() && !text.contains('\x7f') {
        return Ok(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if visible::is_visible(character) {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Ok(out)
}

/// What is signed, byte for byte: nothing is added to it.
pub fn print_exact(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

pub fn print(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
