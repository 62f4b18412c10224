//! `countersign pending`: the holds for scripts and for terminals that are no console.
//!
//! Whatever came from a client passes the escape function: as `⟨U+202E⟩` in tables, as `\u202e` in JSON, which is the
//! same value to every reader. An approval names a digest, and the daemon compares it.

#![allow(clippy::print_stderr)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Exit;
use super::console::{DaemonArgs, unreachable};
use crate::call::{CallId, Digest};
use crate::console::risk::Risk;
use crate::console::{describe, terminal, visible};
use crate::control::client::{ControlError, Operator};
use crate::control::wire::{self, Failure, HoldState, HoldView, Notice, RulingKind};

/// Shortest start of an id, and of a digest.
const ID_PREFIX: usize = 4;
const DIGEST_PREFIX: usize = 8;
/// Width of text where there is no terminal to ask.
const WIDTH: u16 = 100;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// The holds that wait
    Ls {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// Those that ended lately too
        #[arg(long)]
        all: bool,
    },
    /// One hold, complete
    Show {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The id, or its start
        id: String,
    },
    /// Every hold that is new or changes, until interrupted
    Watch {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
    },
    /// Approve a hold: the call is sent
    Approve {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The id, or its start
        id: String,
        /// The digest of what is approved, or its first 8 digits or more, as `show` prints it
        #[arg(long, value_name = "DIGEST")]
        digest: String,
        /// A note for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Reject a hold: the call is not sent, and the agent reads the reason
    Reject {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The id, or its start
        id: String,
        /// What the agent reads
        #[arg(long)]
        reason: String,
    },
}

#[derive(clap::Args, Clone, Debug)]
pub struct Output {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    /// For people
    Table,
    /// Objects of the schema countersign.hold/v1
    Json,
}

/// Why a command ends before its work is done.
enum Stop {
    Control(ControlError),
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

pub fn run(command: Command) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    ended(runtime.block_on(dispatch(command))).map_or_else(|exit| exit, |()| Ok(Exit::Ok))
}

/// The id of the hold whose id starts so, from the daemon. What keeps it from being found is said on stderr, and the
/// exit code is given.
pub(super) fn id_of(daemon: &DaemonArgs, start: &str) -> anyhow::Result<Result<CallId, Exit>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(find(daemon, start, true));
    match ended(found.map(|(_, hold)| hold.id)) {
        Ok(id) => Ok(Ok(id)),
        Err(exit) => exit.map(Err),
    }
}

/// What a command ends with that was stopped.
fn ended<T>(done: Result<T, Stop>) -> Result<T, anyhow::Result<Exit>> {
    done.map_err(|stop| match stop {
        Stop::Control(error) => Ok(unreachable(&error)),
        Stop::Said(exit, text) => {
            eprintln!("countersign: {}", visible::line(&text));
            Ok(exit)
        }
        // Whoever reads the output has seen enough.
        Stop::Print(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Stop::Print(error) => Err(error).context("cannot write the output"),
        Stop::Other(error) => Err(error),
    })
}

async fn dispatch(command: Command) -> Result<(), Stop> {
    match command {
        Command::Ls { daemon, output, all } => list(&daemon, output.output, all).await,
        Command::Show { daemon, output, id } => {
            let (_, hold) = find(&daemon, &id, true).await?;
            print_hold(&hold, output.output)
        }
        Command::Watch { daemon, output } => watch(&daemon, output.output).await,
        Command::Approve { daemon, output, id, digest, reason } => {
            let (operator, hold) = find(&daemon, &id, false).await?;
            if !is_start_of(&digest, hold.digest) {
                let text = format!(
                    "{}: the digest is not the hold's; nothing was approved. Look at it again: countersign pending show {}",
                    hold.id, hold.id
                );
                return Err(Stop::Said(Exit::NoEffect, text));
            }
            rule(operator, &hold, RulingKind::Approve, reason, output.output).await
        }
        Command::Reject { daemon, output, id, reason } => {
            if reason.trim().is_empty() {
                return Err(Stop::Said(Exit::Usage, "--reason is empty: the agent reads it".to_owned()));
            }
            let (operator, hold) = find(&daemon, &id, false).await?;
            rule(operator, &hold, RulingKind::Reject, Some(reason), output.output).await
        }
    }
}

/// At least eight digits, and the digest starts with them.
fn is_start_of(given: &str, digest: Digest) -> bool {
    given.len() >= DIGEST_PREFIX && digest.to_string().starts_with(&given.to_ascii_lowercase())
}

async fn connect(daemon: &DaemonArgs, watch: bool, read_only: bool) -> Result<Operator, Stop> {
    Ok(Operator::connect(&daemon.socket()?, watch, read_only).await?)
}

async fn snapshot(operator: &mut Operator) -> Result<Vec<HoldView>, Stop> {
    match operator.ask(|seq| wire::Command::List { seq }).await? {
        Notice::Snapshot { holds, .. } => Ok(holds),
        other => Err(unexpected(&other)),
    }
}

/// The hold of an id or of the start of one, as it is now.
async fn find(daemon: &DaemonArgs, id: &str, read_only: bool) -> Result<(Operator, HoldView), Stop> {
    let mut operator = connect(daemon, false, read_only).await?;
    let id = match id.parse::<CallId>() {
        Ok(id) => id,
        Err(_) => complete(&snapshot(&mut operator).await?, id)?,
    };
    match operator.ask(|seq| wire::Command::Show { seq, id: id.clone() }).await? {
        Notice::Shown { hold, .. } => Ok((operator, *hold)),
        Notice::Failed { error, message, .. } => Err(refused(&id, error, &message)),
        other => Err(unexpected(&other)),
    }
}

/// The one id that starts so.
fn complete(holds: &[HoldView], start: &str) -> Result<CallId, Stop> {
    let start = start.to_ascii_uppercase();
    if start.len() < ID_PREFIX || !start.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let text = format!("{start} is not the id of a hold: its first {ID_PREFIX} letters or more are expected");
        return Err(Stop::Said(Exit::Usage, text));
    }
    let mut found = holds.iter().map(|hold| &hold.id).filter(|id| id.as_str().starts_with(&start));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.clone()),
        (Some(one), Some(two)) => {
            Err(Stop::Said(Exit::Usage, format!("{start} is ambiguous: {one}, {two}; give more letters")))
        }
        (None, _) => Err(Stop::Said(Exit::NotFound, format!("there is no hold {start}"))),
    }
}

fn refused(id: &CallId, error: Failure, message: &str) -> Stop {
    let exit = match error {
        Failure::NotFound => Exit::NotFound,
        Failure::SignatureRequired => Exit::AuthNeeded,
        Failure::Closed | Failure::WrongDigest | Failure::ReadOnly | Failure::Unavailable => Exit::NoEffect,
        Failure::Malformed => Exit::Usage,
    };
    let mut text = format!("{id}: {message}");
    if error == Failure::SignatureRequired {
        for line in describe::UNSIGNED_HELP.iter().skip(1) {
            let _ = write!(text, " {line}");
        }
    }
    Stop::Said(exit, text)
}

fn unexpected(notice: &Notice) -> Stop {
    match notice {
        Notice::Failed { message, .. } => Stop::Said(Exit::NoEffect, message.clone()),
        Notice::Welcome { .. }
        | Notice::Snapshot { .. }
        | Notice::Hold { .. }
        | Notice::Shown { .. }
        | Notice::Ruled { .. }
        | Notice::Daemon { .. } => Stop::Control(ControlError::Wire("an answer to another command".to_owned())),
    }
}

async fn rule(
    mut operator: Operator,
    hold: &HoldView,
    ruling: RulingKind,
    reason: Option<String>,
    format: Format,
) -> Result<(), Stop> {
    let (id, digest) = (hold.id.clone(), hold.digest);
    match operator.ask(|seq| wire::Command::Rule { seq, id, digest, ruling, reason }).await? {
        Notice::Ruled { hold, .. } => match format {
            Format::Json => print_hold(&hold, format),
            Format::Table => print(&ruled_line(&hold, ruling)),
        },
        Notice::Failed { error, message, .. } => Err(refused(&hold.id, error, &message)),
        other => Err(unexpected(&other)),
    }
}

fn ruled_line(hold: &HoldView, ruling: RulingKind) -> String {
    match ruling {
        RulingKind::Reject => format!("{} rejected", hold.id),
        RulingKind::Approve if hold.state.is_pending() => {
            format!("{} still waits: {}", hold.id, visible::line(&describe::approvals(&hold.approvals)))
        }
        RulingKind::Approve if matches!(hold.state, HoldState::Ticket { .. }) => {
            format!("{} approved for one identical retry: its client is gone", hold.id)
        }
        RulingKind::Approve => format!("{} approved", hold.id),
    }
}

async fn list(daemon: &DaemonArgs, format: Format, all: bool) -> Result<(), Stop> {
    let mut operator = connect(daemon, false, true).await?;
    let mut holds = snapshot(&mut operator).await?;
    holds.retain(|hold| all || hold.state.is_pending());
    holds.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    if format == Format::Json {
        return print(&json(&holds)?);
    }
    if holds.is_empty() {
        eprintln!("no call is held");
        return Ok(());
    }
    print(&table(&holds, Timestamp::now(), &TimeZone::system()))
}

/// Columns as wide as their longest cell; nothing is cut.
fn table(holds: &[HoldView], now: Timestamp, zone: &TimeZone) -> String {
    let head = ["ID", "TIER", "ENV", "SERVER", "TOOL", "ABOUT", "LEFT", "DIGEST"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(holds.iter().map(|hold| cells(hold, now, zone))).collect();
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = visible::columns(cell).max(*width);
        }
    }
    let lines = rows.iter().map(|row| {
        let cells =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - visible::columns(cell))));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn cells(hold: &HoldView, now: Timestamp, zone: &TimeZone) -> [String; 8] {
    let ended = describe::ended(&hold.state, zone);
    let left = hold.expires_at.parse::<Timestamp>().map_or(0, |at| at.duration_since(now).as_secs());
    let (about, left) = ended.unwrap_or_else(|| (describe::summary(hold), describe::left(left)));
    let digest: String = hold.digest.to_string().chars().take(DIGEST_PREFIX).collect();
    let tier = Risk::of(hold).tier;
    let cells = [
        hold.id.as_str(),
        if hold.state.is_pending() { describe::tier_word(tier) } else { describe::mark(&hold.state, tier) },
        &hold.environment.name,
        &hold.server,
        &hold.tool,
        &about,
        &left,
        &digest,
    ];
    cells.map(visible::line)
}

async fn watch(daemon: &DaemonArgs, format: Format) -> Result<(), Stop> {
    let operator = connect(daemon, true, true).await?;
    let (mut notices, _commands) = operator.split();
    // What is pending, as it was last printed.
    let mut known: HashMap<CallId, HoldView> = HashMap::new();
    loop {
        match notices.next().await? {
            Notice::Snapshot { mut holds, .. } => {
                holds.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
                let before = std::mem::take(&mut known);
                for hold in holds {
                    // Those that ended are news only where they were printed as pending.
                    let news = before.get(&hold.id).map_or(hold.state.is_pending(), |before| *before != hold);
                    seen(&mut known, hold, news, format)?;
                }
            }
            Notice::Hold { hold } => seen(&mut known, *hold, true, format)?,
            Notice::Welcome { .. }
            | Notice::Shown { .. }
            | Notice::Ruled { .. }
            | Notice::Daemon { .. }
            | Notice::Failed { .. } => {}
        }
    }
}

fn seen(known: &mut HashMap<CallId, HoldView>, hold: HoldView, news: bool, format: Format) -> Result<(), Stop> {
    if news {
        print_change(&hold, format)?;
    }
    if hold.state.is_pending() {
        known.insert(hold.id.clone(), hold);
    } else {
        known.remove(&hold.id);
    }
    Ok(())
}

fn print_change(hold: &HoldView, format: Format) -> Result<(), Stop> {
    match format {
        Format::Json => print(&json(hold)?),
        Format::Table => {
            let zone = TimeZone::system();
            let [id, tier, environment, server, tool, about, left, digest] = cells(hold, Timestamp::now(), &zone);
            print(&format!("{id}  {tier}  {environment}  {server}.{tool}  {about}  {left}  {digest}"))
        }
    }
}

fn print_hold(hold: &HoldView, format: Format) -> Result<(), Stop> {
    match format {
        Format::Json => print(&json(hold)?),
        Format::Table => {
            let width = terminal::columns().unwrap_or(WIDTH);
            let doc = describe::document(hold, &Risk::of(hold), &TimeZone::system());
            print(&doc.plain(width).join("\n"))
        }
    }
}

/// One line of JSON in which every character is visible: those that are not stand as `\uXXXX`.
fn json(value: &impl Serialize) -> Result<String, Stop> {
    let text = serde_json::to_string(value).context("cannot write the hold as JSON")?;
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

fn print(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
