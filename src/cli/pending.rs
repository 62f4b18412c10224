//! `countersign pending`: the holds for scripts and for terminals that are no console.
//!
//! Whatever came from a client passes the escape function: as `⟨U+202E⟩` in tables, as `\u202e` in JSON, which is the
//! same value to every reader. An approval names a digest, and the daemon compares it.

#![allow(clippy::print_stderr)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Exit;
use super::ask::{self, DIGEST_PREFIX, Stop, connect, is_start_of, json, print, print_exact, unexpected};
use super::console::DaemonArgs;
use super::operator::SignArgs;
use crate::call::{CallId, Digest, Tier};
use crate::console::risk::{Risk, Scored};
use crate::console::sign::ruling_text;
use crate::console::{describe, terminal, visible};
use crate::control::client::Operator;
use crate::control::wire::{self, Failure, HoldState, HoldView, Notice, RulingKind, SignedBy};
use crate::signing::tool::SignError;

/// Shortest start of an id.
const ID_PREFIX: usize = 4;
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
        /// Print what --operator signs to rule so, and nothing else
        #[arg(long, value_enum, requires = "operator")]
        ruling: Option<Ruling>,
        /// The name in the list of operators
        #[arg(long, value_name = "NAME", requires = "ruling")]
        operator: Option<String>,
        /// The reason that the ruling will give
        #[arg(long, requires = "ruling")]
        reason: Option<String>,
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
        /// The id, or its start; several with --batch
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// The digest of what is approved, or its first 8 digits or more, as `show` prints it; with --batch one for each
        /// id, in their order
        #[arg(long, value_name = "DIGEST", required = true)]
        digest: Vec<String>,
        /// Approve several holds of tier low that are alike, where the configuration has `holds.batches`
        #[arg(long, conflicts_with = "signature")]
        batch: bool,
        /// A note for the record
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        sign: SignArgs,
        /// A signature that was made elsewhere, over what `show --ruling approve` prints
        #[arg(long, value_name = "FILE", conflicts_with = "sign_with")]
        signature: Option<PathBuf>,
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
    /// Say to other operators that you look after a hold, for a minute; they may still rule
    Claim {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The id, or its start
        id: String,
        /// Also where somebody else has claimed it
        #[arg(long)]
        steal: bool,
    },
    /// Look after a hold no longer
    Unclaim {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The id, or its start
        id: String,
    },
    /// Let a hold wait again that expired, was unattended or withdrawn: an approval then counts for one identical retry
    Reopen {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The id, or its start
        id: String,
    },
    /// Take an approval back before the call is sent: it waits for a ruling again
    Undo {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The id, or its start
        id: String,
    },
}

#[derive(clap::Args, Clone, Debug)]
pub struct Output {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Output {
    pub(super) fn format(&self) -> Format {
        self.output
    }
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// For people
    Table,
    /// For scripts: objects that name their schema
    Json,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    Approve,
    Reject,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    crate::credential::harden::harden().context("cannot protect this process")?;
    ask::run(dispatch(command))
}

/// The id of the hold whose id starts so, from the daemon. What keeps it from being found is said on stderr, and the
/// exit code is given.
pub(super) fn id_of(daemon: &DaemonArgs, start: &str) -> anyhow::Result<Result<CallId, Exit>> {
    let mut found = None;
    let exit = ask::run(async {
        let (_, hold) = find(daemon, start, true).await?;
        found = Some(hold.id);
        Ok(())
    })?;
    Ok(found.ok_or(exit))
}

async fn dispatch(command: Command) -> Result<(), Stop> {
    match command {
        Command::Ls { daemon, output, all } => list(&daemon, output.output, all).await,
        Command::Show { daemon, output, id, ruling, operator, reason } => {
            let (connection, hold) = find(&daemon, &id, true).await?;
            match ruling.zip(operator) {
                Some((ruling, operator)) => print_text(&connection, &hold, ruling, &operator, reason.as_deref()),
                None => print_hold(&hold, output.output),
            }
        }
        Command::Watch { daemon, output } => watch(&daemon, output.output).await,
        Command::Approve { daemon, output, ids, digest, batch: true, reason, sign, signature: _ } => {
            batch(&daemon, &ids, &digest, reason, &sign, output.output).await
        }
        Command::Approve { daemon, output, ids, digest, batch: false, reason, sign, signature } => {
            let ([id], [digest]) = (&ids[..], &digest[..]) else {
                return Err(usage("several holds are approved at once with --batch, and one with one digest"));
            };
            let (operator, hold) = find(&daemon, id, false).await?;
            if !is_start_of(digest, hold.digest) {
                let text = format!(
                    "{}: the digest is not the hold's; nothing was approved. Look at it again: countersign pending show {}",
                    hold.id, hold.id
                );
                return Err(Stop::Said(Exit::NoEffect, text));
            }
            let signed = signed(&operator, &hold, reason.as_deref(), &sign, signature.as_deref()).await?;
            rule(operator, &hold, RulingKind::Approve, reason, signed, output.output).await
        }
        Command::Reject { daemon, output, id, reason } => {
            if reason.trim().is_empty() {
                return Err(Stop::Said(Exit::Usage, "--reason is empty: the agent reads it".to_owned()));
            }
            let (operator, hold) = find(&daemon, &id, false).await?;
            rule(operator, &hold, RulingKind::Reject, Some(reason), None, output.output).await
        }
        Command::Claim { daemon, output, id, steal } => {
            let (operator, hold) = find(&daemon, &id, false).await?;
            let id = hold.id;
            act(operator, |seq| wire::Command::Claim { seq, id, steal, off: false }, output.output, "claimed").await
        }
        Command::Unclaim { daemon, output, id } => {
            let (operator, hold) = find(&daemon, &id, false).await?;
            let id = hold.id;
            let build = |seq| wire::Command::Claim { seq, id, steal: false, off: true };
            act(operator, build, output.output, "not claimed any more").await
        }
        Command::Reopen { daemon, output, id } => {
            let (operator, hold) = find(&daemon, &id, false).await?;
            let (id, digest) = (hold.id, hold.digest);
            let done = "waits again; an approval counts for one identical retry";
            act(operator, |seq| wire::Command::Reopen { seq, id, digest }, output.output, done).await
        }
        Command::Undo { daemon, output, id } => {
            let (operator, hold) = find(&daemon, &id, false).await?;
            let id = hold.id;
            let done = "taken back; it waits for a ruling again";
            act(operator, |seq| wire::Command::TakeBack { seq, id }, output.output, done).await
        }
    }
}

/// A command about one hold that is no ruling.
async fn act(
    mut operator: Operator,
    build: impl FnOnce(u64) -> wire::Command,
    format: Format,
    done: &str,
) -> Result<(), Stop> {
    match operator.ask(build).await? {
        Notice::Shown { hold, .. } => match format {
            Format::Json => print_hold(&hold, format),
            Format::Table => print(&format!("{} {done}", hold.id)),
        },
        Notice::Failed { error, message, .. } => Err(no_effect(error, &message)),
        other => Err(unexpected(&other)),
    }
}

async fn snapshot(operator: &mut Operator) -> Result<Vec<HoldView>, Stop> {
    match operator.ask(|seq| wire::Command::List { seq }).await? {
        Notice::Snapshot { holds, .. } => Ok(holds),
        other => Err(unexpected(&other)),
    }
}

/// The hold of an id or of the start of one, as it is now.
pub(super) async fn find(daemon: &DaemonArgs, id: &str, read_only: bool) -> Result<(Operator, HoldView), Stop> {
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

pub(super) fn refused(id: &CallId, error: Failure, message: &str) -> Stop {
    let mut text = format!("{id}: {message}");
    if error == Failure::SignatureRequired {
        for line in describe::UNSIGNED_HELP.iter().skip(1) {
            let _ = write!(text, "\n  {line}");
        }
    }
    no_effect(error, &text)
}

/// The exit code of a command that had no effect.
pub(super) fn no_effect(error: Failure, message: &str) -> Stop {
    let exit = match error {
        Failure::NotFound => Exit::NotFound,
        Failure::SignatureRequired | Failure::BadSignature => Exit::AuthNeeded,
        Failure::Closed | Failure::NotSo | Failure::WrongDigest | Failure::ReadOnly | Failure::Unavailable => {
            Exit::NoEffect
        }
        Failure::Malformed => Exit::Usage,
    };
    Stop::Said(exit, message.to_owned())
}

async fn rule(
    mut operator: Operator,
    hold: &HoldView,
    ruling: RulingKind,
    reason: Option<String>,
    signed: Option<SignedBy>,
    format: Format,
) -> Result<(), Stop> {
    let (id, digest) = (hold.id.clone(), hold.digest);
    match operator.ask(|seq| wire::Command::Rule { seq, id, digest, ruling, reason, signed }).await? {
        Notice::Ruled { hold, .. } => match format {
            Format::Json => print_hold(&hold, format),
            Format::Table => print(&ruled_line(&hold, ruling)),
        },
        Notice::Failed { error, message, .. } => Err(refused(&hold.id, error, &message)),
        other => Err(unexpected(&other)),
    }
}

/// Approves several holds at once: all of them, or none where they are not of one group.
async fn batch(
    daemon: &DaemonArgs,
    ids: &[String],
    digests: &[String],
    reason: Option<String>,
    sign: &SignArgs,
    format: Format,
) -> Result<(), Stop> {
    if ids.len() != digests.len() {
        return Err(usage("one --digest for each hold, in their order"));
    }
    let mut operator = connect(daemon, false, false).await?;
    let all = snapshot(&mut operator).await?;
    let mut items = Vec::new();
    for (id, digest) in ids.iter().zip(digests) {
        let id = id.parse::<CallId>().or_else(|_| complete(&all, id))?;
        let no = |exit, why: &str| Stop::Said(exit, format!("{id}: {why}; nothing was approved"));
        let hold = all.iter().find(|hold| hold.id == id).ok_or_else(|| no(Exit::NotFound, "there is no such hold"))?;
        if !is_start_of(digest, hold.digest) {
            return Err(no(Exit::NoEffect, "the digest is not the hold's"));
        }
        // What this side sees in it counts too: hidden characters, an unknown operation.
        if Risk::of(hold).tier != Tier::Low {
            return Err(no(Exit::NoEffect, "it is not of tier low"));
        }
        let signed = signed(&operator, hold, reason.as_deref(), sign, None).await?;
        items.push(wire::BatchItem { id, digest: hold.digest, signed });
    }
    let asked = ids.join(", ");
    let results = match operator.ask(|seq| wire::Command::RuleBatch { seq, holds: items, reason }).await? {
        Notice::RuledBatch { results, .. } => results,
        Notice::Failed { error, message, .. } => return Err(no_effect(error, &format!("{asked}: {message}"))),
        other => return Err(unexpected(&other)),
    };
    if format == Format::Json {
        print(&json(&results)?)?;
    }
    let mut failed = false;
    for result in &results {
        match result {
            wire::BatchResult::Ruled { hold } if format == Format::Table => {
                print(&ruled_line(hold, RulingKind::Approve))?;
            }
            wire::BatchResult::Ruled { .. } => {}
            wire::BatchResult::Failed { id, message, .. } => {
                eprintln!("countersign: {}", visible::line(&format!("{id}: {message}")));
                failed = true;
            }
        }
    }
    if failed { Err(Stop::Quiet(Exit::NoEffect)) } else { Ok(()) }
}

/// The signature of an approval, where one is given or can be made.
async fn signed(
    connection: &Operator,
    hold: &HoldView,
    reason: Option<&str>,
    sign: &SignArgs,
    file: Option<&Path>,
) -> Result<Option<SignedBy>, Stop> {
    if let Some(file) = file {
        return made_elsewhere(sign, file).map(Some);
    }
    let Some(signing) = sign.signing().map_err(|error| usage(&error.to_string()))? else { return Ok(None) };
    let text = ruling_text(hold, &instance(connection)?, RulingKind::Approve, &signing.operator, reason);
    let failed = |error: SignError| Stop::Said(Exit::AuthNeeded, format!("{}: nothing was approved: {error}", hold.id));
    signing.sign(&text).await.map(Some).map_err(failed)
}

/// A signature that stands in a file.
pub(super) fn made_elsewhere(sign: &SignArgs, file: &Path) -> Result<SignedBy, Stop> {
    let operator = sign.operator().ok_or_else(|| usage("say whose signature it is with --operator NAME"))?;
    let signature = std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    Ok(SignedBy { operator, signature })
}

fn usage(text: &str) -> Stop {
    Stop::Said(Exit::Usage, text.to_owned())
}

pub(super) fn instance(connection: &Operator) -> Result<Digest, Stop> {
    match connection.welcome() {
        Notice::Welcome { daemon, .. } => Ok(daemon.instance),
        other => Err(unexpected(other)),
    }
}

fn print_text(
    connection: &Operator,
    hold: &HoldView,
    ruling: Ruling,
    operator: &str,
    reason: Option<&str>,
) -> Result<(), Stop> {
    let ruling = match ruling {
        Ruling::Approve => RulingKind::Approve,
        Ruling::Reject => RulingKind::Reject,
    };
    let text = ruling_text(hold, &instance(connection)?, ruling, operator, reason);
    print_exact(&text)
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
        RulingKind::Approve => {
            let HoldState::Approved { leaves_at: Some(at), .. } = &hold.state else {
                return format!("{} approved", hold.id);
            };
            format!("{0} approved; sent at {at} unless it is taken back: countersign pending undo {0}", hold.id)
        }
    }
}

async fn list(daemon: &DaemonArgs, format: Format, all: bool) -> Result<(), Stop> {
    let mut operator = connect(daemon, false, true).await?;
    let mut holds = snapshot(&mut operator).await?;
    holds.retain(|hold| all || hold.state.is_pending());
    holds.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    if format == Format::Json {
        return print(&json(&holds.iter().map(Scored::of).collect::<Vec<_>>())?);
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
    let ended = ended.map(|(words, at)| (describe::with_operation(hold, words), at));
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
            | Notice::Tools { .. }
            | Notice::Tool { .. }
            | Notice::Frozen { .. }
            | Notice::Sessions { .. }
            | Notice::Grants { .. }
            | Notice::Draft { .. }
            | Notice::Records { .. }
            | Notice::Rules { .. }
            | Notice::Explained { .. }
            | Notice::RuledBatch { .. }
            | Notice::Ping {}
            | Notice::Listed { .. }
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
        Format::Json => print(&json(&Scored::of(hold))?),
        Format::Table => {
            let zone = TimeZone::system();
            let [id, tier, environment, server, tool, about, left, digest] = cells(hold, Timestamp::now(), &zone);
            print(&format!("{id}  {tier}  {environment}  {server}.{tool}  {about}  {left}  {digest}"))
        }
    }
}

fn print_hold(hold: &HoldView, format: Format) -> Result<(), Stop> {
    match format {
        Format::Json => print(&json(&Scored::of(hold))?),
        Format::Table => {
            let width = terminal::columns().unwrap_or(WIDTH);
            let mut doc = describe::document(hold, &Risk::of(hold), &TimeZone::system());
            doc.unfold_all();
            print(&doc.plain(width).join("\n"))
        }
    }
}
