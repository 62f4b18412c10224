//! `countersign grant`: approvals that count for a few more calls, for a while. The terms are the daemon's own text: it
//! is shown, agreed to and sent back, and the daemon makes what was sent or nothing.

#![allow(clippy::print_stderr)]

use std::io::{self, BufRead, IsTerminal as _};
use std::path::PathBuf;

use jiff::SignedDuration;

use super::Exit;
use super::ask::{self, Stop, connect, is_start_of, json, print, print_exact, unexpected};
use super::console::DaemonArgs;
use super::operator::SignArgs;
use super::pending::{Format, Output, find, instance, refused};
use crate::call::{CallId, Digest, Tier};
use crate::console::risk::Risk;
use crate::console::sign::grant_text;
use crate::console::visible;
use crate::control::client::Operator;
use crate::control::wire::{self, Failure, GrantBounds, GrantView, HoldView, Notice, SignedBy};
use crate::signing::tool::SignError;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// The grants that are in force
    Ls {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
    },
    /// Approve a hold, and calls like it for a while: shows the terms, and asks
    Add(Box<Add>),
    /// End a grant: calls that have not left yet do not leave by it
    Revoke {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// Its id, as `ls` prints it
        id: CallId,
        /// A note for the record
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(clap::Args, Debug)]
pub struct Add {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    output: Output,
    /// The hold: its id, or the start of it
    hold: String,
    /// The digest of what is approved, or its first 8 digits or more, as `pending show` prints it
    #[arg(long, value_name = "DIGEST")]
    digest: String,
    /// Calls beside this one, 1 to 20
    #[arg(long, value_name = "N")]
    uses: u32,
    /// How long, at most 30m
    #[arg(long = "for", value_name = "TIME")]
    time: SignedDuration,
    /// A whole number in the arguments that may be less, as a JSON pointer, for example /amount
    #[arg(long, value_name = "POINTER")]
    at_most: Vec<String>,
    /// A text in the arguments that may be any, for example /reason
    #[arg(long, value_name = "POINTER")]
    any: Vec<String>,
    /// A note for the record
    #[arg(long)]
    reason: Option<String>,
    /// For scripts: the SHA-256 of the terms, which says that somebody has read them; without it and without a
    /// terminal they are printed, and nothing is done
    #[arg(long, value_name = "SHA256")]
    text_sha256: Option<Digest>,
    /// Print what would be signed, for a signature that is made elsewhere, and do nothing
    #[arg(long, requires = "operator", conflicts_with = "signature")]
    dry_run: bool,
    /// A signature that was made elsewhere, over what `--dry-run` prints
    #[arg(long, value_name = "FILE", requires = "operator")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    sign: SignArgs,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    crate::credential::harden::harden()?;
    ask::run(async {
        match command {
            Command::Ls { daemon, output } => {
                let grants = list(&mut connect(&daemon, false, true).await?).await?;
                print_grants(&grants, output.format())
            }
            Command::Add(args) => add(*args).await,
            Command::Revoke { daemon, output, id, reason } => {
                let mut operator = connect(&daemon, false, false).await?;
                match operator.ask(|seq| wire::Command::RevokeGrant { seq, grant: id.clone(), reason }).await? {
                    Notice::Grants { grants, .. } if output.format() == Format::Json => print(&json(&grants)?),
                    Notice::Grants { .. } => print(&format!("{id} is revoked")),
                    Notice::Failed { error, message, .. } => Err(refused(&id, error, &message)),
                    other => Err(unexpected(&other)),
                }
            }
        }
    })
}

async fn list(operator: &mut Operator) -> Result<Vec<GrantView>, Stop> {
    match operator.ask(|seq| wire::Command::Grants { seq }).await? {
        Notice::Grants { grants, .. } => Ok(grants),
        other => Err(unexpected(&other)),
    }
}

async fn add(args: Add) -> Result<(), Stop> {
    let (mut operator, hold) = find(&args.daemon, &args.hold, false).await?;
    let no = |exit, why: String| Err(Stop::Said(exit, format!("{}: no grant: {why}", hold.id)));
    if !is_start_of(&args.digest, hold.digest) {
        return no(Exit::NoEffect, "the digest is not the hold's".to_owned());
    }
    let risk = Risk::of(&hold);
    if risk.tier == Tier::High {
        let why = risk.warnings.first().map(|why| format!(" ({why})")).unwrap_or_default();
        return no(Exit::NoEffect, format!("none is given for a call of tier high{why}"));
    }
    let Ok(seconds) = u32::try_from(args.time.as_secs()) else {
        return no(Exit::Usage, "--for is not a time".to_owned());
    };
    let bounds = GrantBounds { at_most: args.at_most, any: args.any, uses: args.uses, seconds };
    let (id, wanted) = (hold.id.clone(), bounds.clone());
    let text = match operator.ask(|seq| wire::Command::DraftGrant { seq, id, bounds: wanted }).await? {
        Notice::Draft { text, .. } => text,
        Notice::Failed { error, message, .. } => return Err(refused(&hold.id, error, &message)),
        other => return Err(unexpected(&other)),
    };
    if args.dry_run {
        let name = args.sign.operator().unwrap_or_default();
        let text = grant_text(&hold, &instance(&operator)?, &name, args.reason.as_deref(), &text);
        return print_exact(&text);
    }
    agreed(&text, args.text_sha256)?;
    let signed = match &args.signature {
        Some(file) => Some(super::pending::made_elsewhere(&args.sign, file)?),
        None => signed(&operator, &hold, args.reason.as_deref(), &args.sign, &text).await?,
    };
    let (id, digest, reason) = (hold.id.clone(), hold.digest, args.reason);
    let sent = text.clone();
    match operator.ask(|seq| wire::Command::Grant { seq, id, digest, bounds, grant: sent, reason, signed }).await? {
        Notice::Ruled { .. } => {}
        Notice::Failed { error, message, .. } => return Err(refused(&hold.id, error, &message)),
        other => return Err(unexpected(&other)),
    }
    let made = list(&mut operator).await?.into_iter().find(|grant| grant.hold == hold.id && grant.text == text);
    match (made, args.output.format()) {
        (Some(grant), Format::Json) => print(&json(&grant)?),
        (Some(grant), Format::Table) => print(&format!("{} approved; grant {}", hold.id, grant.id)),
        (None, _) => Err(Stop::Said(Exit::NoEffect, format!("{} approved; the grant has ended again", hold.id))),
    }
}

/// Somebody has read these terms: at this terminal, or before, and then their digest is here.
fn agreed(text: &str, known: Option<Digest>) -> Result<(), Stop> {
    let digest = Digest::of_bytes(text.as_bytes());
    let lines: Vec<String> = text.lines().map(visible::line).collect();
    match known {
        Some(known) if known == digest => return Ok(()),
        Some(_) => {
            eprintln!("{}", lines.join("\n"));
            let why = format!("--text-sha256 is of other terms than these, whose digest is {digest}; no grant");
            return Err(Stop::Said(Exit::NoEffect, why));
        }
        None => {}
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        print(&lines.join("\n"))?;
        let why = format!("nothing was done: where these are the terms, say so with --text-sha256 {digest}");
        return Err(Stop::Said(Exit::Usage, why));
    }
    eprintln!("{}\n\nType yes to approve the call and to make this grant:", lines.join("\n"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() == "yes" {
        true => Ok(()),
        false => Err(Stop::Said(Exit::NoEffect, "nothing was approved".to_owned())),
    }
}

async fn signed(
    operator: &Operator,
    hold: &HoldView,
    reason: Option<&str>,
    sign: &SignArgs,
    grant: &str,
) -> Result<Option<SignedBy>, Stop> {
    let signing = sign.signing().map_err(|error| Stop::Said(Exit::Usage, error.to_string()))?;
    let Some(signing) = signing else {
        return match hold.signature_required {
            true => Err(refused(&hold.id, Failure::SignatureRequired, "this server takes signed approvals only")),
            false => Ok(None),
        };
    };
    let text = grant_text(hold, &instance(operator)?, &signing.operator, reason, grant);
    let failed = |error: SignError| Stop::Said(Exit::AuthNeeded, format!("{}: no grant: {error}", hold.id));
    signing.sign(&text).await.map(Some).map_err(failed)
}

fn print_grants(grants: &[GrantView], format: Format) -> Result<(), Stop> {
    if format == Format::Json {
        return print(&json(&grants)?);
    }
    if grants.is_empty() {
        eprintln!("no grant is in force");
    }
    for grant in grants {
        let GrantView { id, server, tool, principal, by, until, uses, used, text, .. } = grant;
        print(&visible::line(&format!(
            "{id}  {server}.{tool}  {principal}  {used} of {uses} used  until {until}  by {by}"
        )))?;
        for line in text.lines() {
            print(&format!("    {}", visible::line(line)))?;
        }
    }
    Ok(())
}
