//! `countersign tools`: what servers have listed, and which definitions the operator trusts. The daemon keeps both; this
//! only asks it.
//!
//! Invariant: a definition is trusted by the whole digest of what was shown. What has changed since is not trusted. A
//! server writes its definitions as it likes, and could make two that have their first digits in common.

#![allow(clippy::print_stderr)]

use std::fmt::Write as _;

use super::Exit;
use super::ask::{self, Stop, connect, json, print, unexpected};
use super::console::DaemonArgs;
use super::pretty;
use crate::call::{Digest, Pin};
use crate::console::visible;
use crate::control::client::Operator;
use crate::control::wire::{self, DefinitionView, Failure, Notice, ToolRuling, ToolView};

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// The tools that servers have listed, and whether they are as pinned
    Ls {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// Of this server only
        server: Option<String>,
    },
    /// What has changed and what is new, line by line; exits with 1 where there is any
    Diff {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// Of this server only
        server: Option<String>,
        /// This tool only
        #[arg(requires = "server")]
        tool: Option<String>,
    },
    /// Trust a definition, as `diff` shows it
    Pin {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The server that lists it
        server: String,
        /// The tool
        #[arg(required_unless_present = "all")]
        tool: Option<String>,
        /// Everything that `diff SERVER` shows; the digest is the one at its end
        #[arg(long, conflicts_with = "tool")]
        all: bool,
        /// The digest of what is trusted: all 64 digits, as `diff` prints them
        #[arg(long, value_name = "DIGEST", value_parser = whole)]
        digest: Digest,
    },
    /// Trust no definition of a tool any more: it is as one that is new
    Unpin {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        output: Output,
        /// The server that lists it
        server: String,
        /// The tool
        tool: String,
    },
    /// Forget a tool that is not pinned and not listed any more
    Forget {
        #[command(flatten)]
        daemon: DaemonArgs,
        /// The server that listed it
        server: String,
        /// The tool
        tool: String,
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
    /// Objects of the schema countersign.tool/v1
    Json,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    ask::run(dispatch(command))
}

async fn dispatch(command: Command) -> Result<(), Stop> {
    match command {
        Command::Ls { daemon, output, server } => {
            let mut operator = connect(&daemon, false, true).await?;
            list(&all(&mut operator, server.as_deref()).await?, output.output)
        }
        Command::Diff { daemon, output, server, tool } => {
            let mut operator = connect(&daemon, false, true).await?;
            let shown = match (server, tool) {
                (Some(server), Some(tool)) => vec![one(&mut operator, &server, &tool).await?],
                (server, _) => open(&mut operator, server.as_deref()).await?,
            };
            diff(&shown, output.output)
        }
        Command::Pin { daemon, output, server, tool: Some(tool), digest, .. } => {
            let mut operator = connect(&daemon, false, false).await?;
            let found = one(&mut operator, &server, &tool).await?;
            let sides = [&found.offered, &found.pinned];
            let named = sides.into_iter().flatten().find(|side| side.digest == digest);
            let Some(named) = named else { return Err(changed_since(&server, &tool)) };
            let pinned = rule(&mut operator, &server, &tool, ToolRuling::Pin, Some(named.digest)).await?;
            done(&pinned, output.output, "pinned")
        }
        Command::Pin { daemon, output, server, tool: None, digest, .. } => {
            let mut operator = connect(&daemon, false, false).await?;
            let open = open(&mut operator, Some(&server)).await?;
            if together(&open) != Some(digest) {
                return Err(changed_since(&server, "tools"));
            }
            for tool in &open {
                let Some(offered) = &tool.offered else { continue };
                let digest = Some(offered.digest);
                let pinned = rule(&mut operator, &server, &tool.tool, ToolRuling::Pin, digest).await?;
                done(&pinned, output.output, "pinned")?;
            }
            Ok(())
        }
        Command::Unpin { daemon, output, server, tool } => {
            let mut operator = connect(&daemon, false, false).await?;
            let unpinned = rule(&mut operator, &server, &tool, ToolRuling::Unpin, None).await?;
            done(&unpinned, output.output, "not pinned any more")
        }
        Command::Forget { daemon, server, tool } => {
            let mut operator = connect(&daemon, false, false).await?;
            rule(&mut operator, &server, &tool, ToolRuling::Forget, None).await?;
            print(&format!("{} forgotten", name(&server, &tool)))
        }
    }
}

/// A digest as it is given to `pin`.
fn whole(given: &str) -> Result<Digest, String> {
    given.parse().map_err(|_| {
        "the whole digest is needed, all 64 digits: a server can make definitions that differ and begin with the same \
         ones; countersign tools diff prints it"
            .to_owned()
    })
}

fn changed_since(server: &str, tool: &str) -> Stop {
    let text = format!(
        "{server} {tool}: the digest is not that of what is listed now; nothing was pinned. Look at it again: \
         countersign tools diff {server}"
    );
    Stop::Said(Exit::NoEffect, text)
}

fn exit_of(error: Failure) -> Exit {
    match error {
        Failure::NotFound => Exit::NotFound,
        Failure::SignatureRequired | Failure::BadSignature => Exit::AuthNeeded,
        Failure::NotSo | Failure::Closed | Failure::WrongDigest | Failure::ReadOnly | Failure::Unavailable => {
            Exit::NoEffect
        }
        Failure::Malformed => Exit::Usage,
    }
}

fn refused(server: &str, tool: &str, error: Failure, message: &str) -> Stop {
    Stop::Said(exit_of(error), format!("{server} {tool}: {message}"))
}

async fn all(operator: &mut Operator, server: Option<&str>) -> Result<Vec<ToolView>, Stop> {
    let servers = match (server, operator.welcome()) {
        (Some(server), _) => vec![server.to_owned()],
        (None, Notice::Welcome { daemon, .. }) => daemon.servers.iter().map(|server| server.name.clone()).collect(),
        (None, other) => return Err(unexpected(other)),
    };
    let mut all = Vec::new();
    // One by one: what a server has listed fits a line, and what all have may not.
    for server in servers {
        let asked = server.clone();
        match operator.ask(|seq| wire::Command::Tools { seq, server: asked }).await? {
            Notice::Tools { tools, .. } => all.extend(tools),
            Notice::Failed { error, message, .. } => {
                return Err(Stop::Said(exit_of(error), format!("{server}: {message}")));
            }
            other => return Err(unexpected(&other)),
        }
    }
    Ok(all)
}

async fn one(operator: &mut Operator, server: &str, tool: &str) -> Result<ToolView, Stop> {
    let asked = (server.to_owned(), tool.to_owned());
    match operator.ask(|seq| wire::Command::Tool { seq, server: asked.0, tool: asked.1 }).await? {
        Notice::Tool { tool, .. } => Ok(*tool),
        Notice::Failed { error, message, .. } => Err(refused(server, tool, error, &message)),
        other => Err(unexpected(&other)),
    }
}

/// Those that an operator has to look at, with their definitions.
async fn open(operator: &mut Operator, server: Option<&str>) -> Result<Vec<ToolView>, Stop> {
    let mut open = Vec::new();
    for tool in all(operator, server).await? {
        if tool.offered.is_some() {
            open.push(one(operator, &tool.server, &tool.tool).await?);
        }
    }
    Ok(open)
}

async fn rule(
    operator: &mut Operator,
    server: &str,
    tool: &str,
    ruling: ToolRuling,
    digest: Option<Digest>,
) -> Result<ToolView, Stop> {
    let asked = (server.to_owned(), tool.to_owned());
    let build = |seq| wire::Command::RuleTool { seq, server: asked.0, tool: asked.1, ruling, digest };
    match operator.ask(build).await? {
        Notice::Tool { tool, .. } => Ok(*tool),
        Notice::Failed { error, message, .. } => Err(refused(server, tool, error, &message)),
        other => Err(unexpected(&other)),
    }
}

fn done(tool: &ToolView, format: Format, what: &str) -> Result<(), Stop> {
    match format {
        Format::Json => print(&json(tool)?),
        Format::Table => print(&format!("{} {what}", name(&tool.server, &tool.tool))),
    }
}

/// Names everything that is shown together: every tool and its definition.
fn together(open: &[ToolView]) -> Option<Digest> {
    let offered = |tool: &ToolView| Some((tool.server.clone(), tool.tool.clone(), tool.offered.as_ref()?.digest));
    let named: Vec<_> = open.iter().filter_map(offered).collect();
    let fields: Vec<&[u8]> = named
        .iter()
        .flat_map(|(server, tool, digest)| [server.as_bytes(), tool.as_bytes(), digest.as_bytes().as_slice()])
        .collect();
    (!fields.is_empty()).then(|| Digest::of_fields("countersign.tools/v1", &fields))
}

fn name(server: &str, tool: &str) -> String {
    format!("{}.{}", visible::line(server), tool_name(tool))
}

/// With the code points of letters that look like others.
fn tool_name(tool: &str) -> String {
    let mut out = visible::line(tool);
    for letter in tool.chars().filter(|letter| !letter.is_ascii() && visible::is_visible(*letter)) {
        let _ = write!(out, " ({letter} is U+{:04X})", u32::from(letter));
    }
    out
}

fn word(pin: Pin) -> &'static str {
    match pin {
        Pin::Match => "pinned",
        Pin::Changed => "CHANGED",
        Pin::Unpinned => "new",
        Pin::Unknown => "unknown",
    }
}

fn list(tools: &[ToolView], format: Format) -> Result<(), Stop> {
    if format == Format::Json {
        return print(&json(&tools)?);
    }
    if tools.is_empty() {
        eprintln!("no server has listed a tool yet");
        return Ok(());
    }
    let head = ["SERVER", "TOOL", "PIN", "DIGEST", "FIRST SEEN", "CHANGED", "PINNED BY"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(tools.iter().map(cells)).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = visible::columns(cell).max(*width);
        }
    }
    for row in &rows {
        let cells = row.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell}{}", " ".repeat(width - visible::columns(cell))));
        print(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    let open = tools.iter().filter(|tool| tool.offered.is_some()).count();
    if open > 0 {
        eprintln!("{open} to look at: countersign tools diff");
    }
    Ok(())
}

/// To the second.
fn time(text: &str) -> String {
    text.get(..19).map_or_else(|| text.to_owned(), |start| format!("{start}Z"))
}

fn cells(tool: &ToolView) -> [String; 7] {
    let shown = tool.offered.as_ref().or(tool.pinned.as_ref());
    let changed = tool.offered.as_ref().filter(|_| tool.pin == Pin::Changed);
    let cells = [
        tool.server.as_str(),
        "",
        word(tool.pin),
        &shown.map(|side| side.digest.to_string()).unwrap_or_default(),
        &time(&tool.first_seen),
        &changed.map(|side| time(&side.at)).unwrap_or_default(),
        tool.pinned_by.as_deref().unwrap_or_default(),
    ];
    let [server, _, pin, digest, seen, changed, by] = cells.map(visible::line);
    [server, tool_name(&tool.tool), pin, digest, seen, changed, by]
}

fn diff(tools: &[ToolView], format: Format) -> Result<(), Stop> {
    let open = tools.iter().any(|tool| tool.offered.is_some());
    if format == Format::Json {
        print(&json(&tools)?)?;
    } else {
        for tool in tools {
            print(&difference(tool))?;
        }
        let servers: std::collections::BTreeSet<&str> = tools.iter().map(|tool| tool.server.as_str()).collect();
        for server in servers {
            let of: Vec<ToolView> = tools.iter().filter(|tool| tool.server == server).cloned().collect();
            let several = of.iter().filter(|tool| tool.offered.is_some()).count() > 1;
            if let Some(whole) = together(&of).filter(|_| several) {
                let server = visible::line(server);
                print(&format!("all of {server}: countersign tools pin {server} --all --digest {whole}"))?;
            }
        }
        if tools.is_empty() {
            eprintln!("every tool is as pinned");
        }
    }
    if open { Err(Stop::Quiet(Exit::Problems)) } else { Ok(()) }
}

/// One tool: what is pinned, what is listed, and the lines between.
fn difference(tool: &ToolView) -> String {
    let side = |what: &str, side: &Option<DefinitionView>, by: &str| {
        let side = side.as_ref()?;
        Some(format!("\n  {what} {} at {}{by}", side.digest, visible::line(&time(&side.at))))
    };
    let by = tool.pinned_by.as_ref().map(|by| format!(" by {}", visible::line(by))).unwrap_or_default();
    let sides = [side("pinned", &tool.pinned, &by), side("listed", &tool.offered, "")];
    let sides: String = sides.into_iter().flatten().collect();
    let mut out = format!("{}  {}{sides}", name(&tool.server, &tool.tool), word(tool.pin));
    let text = |side: &Option<DefinitionView>| side.as_ref().map(|side| side.definition.clone());
    match (text(&tool.pinned), text(&tool.offered)) {
        (Some(Some(pinned)), None) => push(&mut out, &pretty::whole(' ', &pinned)),
        (None, Some(Some(offered))) => push(&mut out, &pretty::whole('+', &offered)),
        (Some(Some(pinned)), Some(Some(offered))) => push(&mut out, &pretty::difference(&pinned, &offered)),
        (_, Some(None)) => out.push_str("\n  larger than what is kept: it cannot be shown, and not be pinned"),
        (Some(None) | None, _) => {}
    }
    if let Some(offered) = tool.offered.as_ref().filter(|offered| offered.definition.is_some()) {
        let digest = offered.digest;
        let (server, tool) = (visible::line(&tool.server), argument(&tool.tool));
        let _ = write!(out, "\nto trust what is listed: countersign tools pin {server} --digest {digest} {tool}");
    }
    if let (Some(pinned), Some(_)) = (&tool.pinned, &tool.offered) {
        let digest = pinned.digest;
        let (server, tool) = (visible::line(&tool.server), argument(&tool.tool));
        let _ = write!(out, "\nto keep what is pinned:  countersign tools pin {server} --digest {digest} {tool}");
    }
    out.push('\n');
    out
}

fn push(out: &mut String, lines: &[String]) {
    for line in lines {
        out.push('\n');
        out.push_str(line);
    }
}

/// A tool's name as an argument that a shell reads as it stands, where that can be.
fn argument(tool: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:-".contains(&byte);
    let dash = if tool.starts_with('-') { "-- " } else { "" };
    match tool {
        "" => "''".to_owned(),
        _ if tool.bytes().all(plain) => format!("{dash}{tool}"),
        _ if tool.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
            format!("{dash}'{}'", tool.replace('\'', r"'\''"))
        }
        _ => "NAME   (its name has characters that are not plain; `countersign tools ls -o json` spells it)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_digest_pins_nothing() {
        let digest = Digest::of_bytes(b"a").to_string();
        assert_eq!(whole(&digest).unwrap().to_string(), digest);
        assert_eq!(whole(&digest.to_ascii_uppercase()).unwrap().to_string(), digest);
        for part in ["", &digest[..8], &digest[..16], &digest[..63], "--"] {
            assert!(whole(part).unwrap_err().contains("all 64 digits"), "{part}");
        }
    }
}
