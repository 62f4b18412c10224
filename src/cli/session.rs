//! `countersign session`, `freeze` and `unfreeze`: what operators stop beside single holds, from scripts.
//!
//! Invariant: whatever came from a client or an agent is printed with every character visible.

#![allow(clippy::print_stderr)]

use clap::Subcommand;

use super::Exit;
use super::ask::{self, Stop, connect, json, print, unexpected};
use super::console::DaemonArgs;
use super::pending::no_effect;
use crate::console::{describe, visible};
use crate::control::wire::{self, CallLine, Daemon, Notice, SessionRuling, SessionView};

/// Shortest start of a session's name.
const PREFIX: usize = 4;
/// Last calls that `ls` prints.
const CALLS: usize = 5;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// The sessions that are open, each with its last calls; and how servers are signed in to
    Ls {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
    },
    /// Refuse its calls from here on, and reject what waits of it
    Pause(Rule),
    /// Let it go on
    Resume(Rule),
    /// Reject what waits of it and hang up on its client
    End(Rule),
}

#[derive(clap::Args, Debug)]
pub struct Rule {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    output: Output,
    /// The session, or its start
    session: String,
    /// For the record; of a pause and an end the agent reads it
    #[arg(long)]
    reason: Option<String>,
}

#[derive(clap::Args, Debug)]
pub struct Freeze {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    output: Output,
    /// For the record; of a freeze the agents read it
    #[arg(long)]
    reason: Option<String>,
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
    /// Sessions as objects of the schema countersign.session/v1; a freeze as one of countersign.freeze/v1
    Json,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    crate::credential::harden::harden()?;
    ask::run(dispatch(command))
}

pub fn freeze(args: Freeze, on: bool) -> anyhow::Result<Exit> {
    crate::credential::harden::harden()?;
    ask::run(frozen(args, on))
}

async fn dispatch(command: Command) -> Result<(), Stop> {
    match command {
        Command::Ls { daemon, output } => {
            let mut operator = connect(&daemon, false, true).await?;
            match operator.ask(|seq| wire::Command::Sessions { seq }).await? {
                Notice::Sessions { sessions, .. } => list(&sessions, output.output)?,
                other => return Err(unexpected(&other)),
            }
            match operator.welcome() {
                Notice::Welcome { daemon, .. } if output.output == Format::Table => sign_ins(daemon),
                _ => Ok(()),
            }
        }
        Command::Pause(rule) => ruled(rule, SessionRuling::Pause, "paused").await,
        Command::Resume(rule) => ruled(rule, SessionRuling::Resume, "goes on").await,
        Command::End(rule) => ruled(rule, SessionRuling::End, "ended").await,
    }
}

async fn ruled(rule: Rule, ruling: SessionRuling, done: &str) -> Result<(), Stop> {
    let Rule { daemon, output, session, reason } = rule;
    let mut operator = connect(&daemon, false, false).await?;
    let open = match operator.ask(|seq| wire::Command::Sessions { seq }).await? {
        Notice::Sessions { sessions, .. } => sessions,
        other => return Err(unexpected(&other)),
    };
    let session = complete(&open, &session)?;
    let build = |seq| wire::Command::RuleSession { seq, session: session.clone(), ruling, reason };
    match operator.ask(build).await? {
        Notice::Sessions { sessions, .. } => match output.output {
            Format::Json => list(&sessions, Format::Json),
            Format::Table => print(&format!("{} {done}", visible::line(&session))),
        },
        Notice::Failed { error, message, .. } => Err(no_effect(error, &message)),
        other => Err(unexpected(&other)),
    }
}

/// The one session whose name starts so.
fn complete(open: &[SessionView], start: &str) -> Result<String, Stop> {
    if start.len() < PREFIX {
        let text = format!("{start} is too short for a session: its first {PREFIX} letters or more are expected");
        return Err(Stop::Said(Exit::Usage, text));
    }
    let mut found = open.iter().map(|open| &open.session).filter(|name| name.starts_with(start));
    match (found.next(), found.next()) {
        (Some(name), None) => Ok(name.clone()),
        (Some(one), Some(two)) => {
            Err(Stop::Said(Exit::Usage, format!("{start} is ambiguous: {one}, {two}; give more letters")))
        }
        (None, _) => Err(Stop::Said(Exit::NotFound, format!("there is no open session {start}"))),
    }
}

fn list(sessions: &[SessionView], format: Format) -> Result<(), Stop> {
    if format == Format::Json {
        return print(&json(&sessions)?);
    }
    if sessions.is_empty() {
        eprintln!("no session is open");
        return Ok(());
    }
    sessions.iter().try_for_each(|session| print(&words(session)))
}

fn sign_ins(daemon: &Daemon) -> Result<(), Stop> {
    let mut words = daemon.servers.iter().filter_map(|server| Some((&server.name, describe::sign_in(server)?)));
    words.try_for_each(|(server, words)| print(&visible::line(&format!("server {server}: {words}"))))
}

fn words(session: &SessionView) -> String {
    let SessionView { client, calls, allowed, held, denied, in_flight, .. } = session;
    let name = client.name.as_deref().unwrap_or("a client without a name");
    let pid = client.pid.map_or_else(String::new, |pid| format!("  pid {pid}"));
    let cwd = client.cwd.as_ref().map_or_else(String::new, |cwd| format!("  says it works in {cwd}"));
    let paused = session.paused.as_ref().map_or_else(String::new, |halt| {
        let reason = halt.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("\n  PAUSED by {} at {}{reason}", halt.by, halt.at)
    });
    let head = format!(
        "{}  {} [{}]  {}  {name}{pid}{cwd}  since {}",
        session.session, session.server, session.environment.name, session.principal, session.since
    );
    let counts = format!("{calls} calls: {allowed} allowed, {held} held, {denied} denied; {in_flight} not answered");
    let last = session.last.iter().take(CALLS).map(|line| format!("\n  {}", visible::line(&call(line))));
    let paused = paused.lines().map(visible::line).collect::<Vec<_>>().join("\n");
    format!("{}\n  {counts}{paused}{}", visible::line(&head), last.collect::<String>())
}

fn call(line: &CallLine) -> String {
    let CallLine { at, effect, operation, id, .. } = line;
    let result = line.result.as_ref().map_or_else(String::new, |result| format!(", {result}"));
    let rule = line.rule.as_ref().map_or_else(String::new, |rule| format!("  {rule}"));
    format!("{at}  {effect}{result}  {operation}{rule}  {id}")
}

async fn frozen(args: Freeze, on: bool) -> Result<(), Stop> {
    let Freeze { daemon, output, reason } = args;
    let mut operator = connect(&daemon, false, false).await?;
    match operator.ask(|seq| wire::Command::Freeze { seq, on, reason }).await? {
        Notice::Frozen { daemon, .. } => match output.output {
            Format::Json => print(&json(&state(&daemon))?),
            Format::Table if on => print("frozen: every call that is not a read is held; what waited was rejected"),
            Format::Table => print("no longer frozen"),
        },
        Notice::Failed { error, message, .. } => Err(no_effect(error, &message)),
        other => Err(unexpected(&other)),
    }
}

fn state(daemon: &Daemon) -> serde_json::Value {
    serde_json::json!({"schema": "countersign.freeze/v1", "frozen": daemon.frozen})
}
