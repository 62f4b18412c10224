//! The command line: one file for each command family. The only place with anyhow and exit codes; nothing uses it.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A line on stdout.
macro_rules! say {
    ($($part:tt)*) => { $crate::cli::line(format_args!($($part)*)) };
}

mod ask;
pub mod audit;
pub mod auth;
pub mod completions;
pub mod connect;
pub mod console;
pub mod demo;
pub mod doctor;
pub mod grant;
pub mod init;
mod keyfile;
mod log;
pub mod man;
pub mod operator;
pub mod pending;
pub mod policy;
mod policy_diff;
mod policy_replay;
mod pretty;
pub mod principal;
mod progress;
mod ready;
pub mod secret;
pub mod serve;
pub mod session;
pub mod tools;
pub mod wrap;

/// What a command ends with. Part of the interface: scripts rely on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// A check, test or verification found problems.
    Problems = 1,
    /// Usage or configuration.
    Usage = 2,
    NotFound = 3,
    /// Authentication or a signature is needed.
    AuthNeeded = 4,
    /// Already ruled, expired, wrong digest.
    NoEffect = 5,
    /// The audit is not intact.
    Integrity = 6,
    /// No daemon answers.
    Unreachable = 7,
    /// `policy eval --exit-code`: hold.
    Hold = 10,
    /// `policy eval --exit-code`: deny.
    Deny = 11,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A checkpoint between AI agents and production servers: Rego decides, a person countersigns, everything is recorded.
#[derive(Parser, Debug)]
#[command(name = "countersign", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// See it work: an embedded billing server, a scripted agent, you as the operator
    Demo(demo::Args),
    /// Write a first configuration, a policy with tests and data
    Init(init::Args),
    /// Run the daemon that owns keys, policy, holds and the audit
    Serve(serve::Args),
    /// The shim that an MCP client starts: no key, no config, no policy
    Connect(connect::Args),
    /// Point an MCP client's entry at countersign, and move its keys out of the client's file
    Wrap(wrap::Args),
    /// Put a client's entry back as it was before it was wrapped
    Unwrap(wrap::UnwrapArgs),
    /// The operator's terminal
    Console(console::Args),
    /// List, show, approve and reject holds from scripts
    #[command(subcommand)]
    Pending(pending::Command),
    /// Approvals that count for a few more calls, for a while
    #[command(subcommand)]
    Grant(grant::Command),
    /// Hold every call that is not a read, and reject what waits; until `unfreeze` or a restart
    Freeze(session::Freeze),
    /// Hold only what policy holds again
    Unfreeze(session::Freeze),
    /// The sessions that are open: list, pause, resume and end them
    #[command(subcommand)]
    Session(session::Command),
    /// Sign in at servers that want OAuth, and see how long that counts
    #[command(subcommand)]
    Auth(auth::Command),
    /// The keys that the configuration names: keep one, list them, forget one
    #[command(subcommand)]
    Secret(secret::Command),
    /// Who may sign rulings
    #[command(subcommand)]
    Operator(operator::Command),
    /// Tokens for clients over HTTP
    #[command(subcommand)]
    Principal(principal::Command),
    /// The tools that servers have listed: what is new, what has changed, which definitions you trust
    #[command(subcommand)]
    Tools(tools::Command),
    /// Check, test, explain and try policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// A process of the daemon that judges by the operator's policies
    #[command(hide = true)]
    PolicyWorker {
        /// Its memory is limited
        #[arg(long)]
        limited: bool,
    },
    /// Becomes a child of the daemon, after giving up what its profile does not name
    #[command(hide = true, name = crate::sandbox::ARGUMENT)]
    Sandboxed {
        /// What the child may reach
        profile: String,
        /// The child's program and its arguments
        #[arg(required = true, last = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Read, verify and export the record
    #[command(subcommand)]
    Audit(audit::Command),
    /// Check everything from the client to the server: what is wrong, and the command that fixes it
    Doctor(doctor::Args),
    /// Completions for a shell, on stdout
    Completions(completions::Args),
    /// The manual, as pages for `man`
    Man(man::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if let Some(position) = key_in_arguments() {
        complain(&anyhow::anyhow!(
            "argument {position} holds what looks like a key, and every user of the machine can read arguments: nothing \
             was done; replace that key, and give the new one to `countersign secret set NAME` on its stdin"
        ));
        return Exit::Usage.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let ran = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Connect(args) => connect::run(args),
        Command::Wrap(args) => wrap::run(args),
        Command::Unwrap(args) => wrap::unwrap(args),
        Command::Console(args) => console::run(args),
        Command::Pending(command) => pending::run(command),
        Command::Grant(command) => grant::run(command),
        Command::Freeze(args) => session::freeze(args, true),
        Command::Unfreeze(args) => session::freeze(args, false),
        Command::Session(command) => session::run(command),
        Command::Auth(command) => auth::run(command),
        Command::Secret(command) => secret::run(command),
        Command::Operator(command) => operator::run(command),
        Command::Principal(command) => principal::run(command),
        Command::Tools(command) => tools::run(command),
        Command::Policy(command) => policy::run(command),
        Command::PolicyWorker { limited } => policy_worker(limited),
        Command::Sandboxed { profile, command } => sandboxed(&profile, &command),
        Command::Audit(command) => audit::run(command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    match ran {
        Ok(exit) => exit.into(),
        Err(error) => {
            complain(&error);
            Exit::Usage.into()
        }
    }
}

/// The first argument that holds a key by its form. It is not shown, nor is what the command line would say about it.
fn key_in_arguments() -> Option<usize> {
    use crate::credential::shape::{self, Kinds};
    let holds_one = |argument: &std::ffi::OsString| {
        let mut found = false;
        shape::foreign(argument.as_encoded_bytes(), Kinds::ALL, |_, _| found = true);
        found
    };
    std::env::args_os().skip(1).position(|argument| holds_one(&argument)).map(|position| position + 1)
}

/// Judges inputs for a daemon until it goes. Holds no key, but what it judges is nobody else's business.
fn policy_worker(limited: bool) -> anyhow::Result<Exit> {
    if !limited {
        return Err(crate::policy::worker::limited(&["policy-worker", "--limited"]).into());
    }
    crate::credential::harden::harden()?;
    crate::policy::worker::serve()?;
    Ok(Exit::Ok)
}

/// Runs a child's program in its sandbox; comes back only where that cannot be.
#[allow(clippy::print_stderr)]
fn sandboxed(profile: &str, command: &[std::ffi::OsString]) -> anyhow::Result<Exit> {
    let profile: crate::sandbox::Profile = serde_json::from_str(profile)?;
    let Some((program, args)) = command.split_first() else { anyhow::bail!("there is no program") };
    let mark = crate::sandbox::mark()?;
    #[cfg(target_os = "linux")]
    let why = match profile.kept {
        true => crate::sandbox::enter(&profile, program, args),
        false => match crate::sandbox::keep(profile, program, args) {
            Ok(code) => std::process::exit(code),
            Err(why) => why,
        },
    };
    #[cfg(not(target_os = "linux"))]
    let why = crate::sandbox::enter(&profile, program, args);
    // The daemon knows by the mark that this is not the child's word.
    eprintln!("{mark} {why}");
    Ok(Exit::Usage)
}

/// A line on stdout. A reader that has seen enough is no error; data that cannot be written is one.
#[allow(clippy::print_stderr)]
fn line(text: fmt::Arguments<'_>) {
    if let Err(error) = writeln!(io::stdout().lock(), "{text}")
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("countersign: cannot write the output: {error}");
        std::process::exit(Exit::Usage as i32);
    }
}

/// A word as a shell reads it back.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// An error for people, on stderr.
#[allow(clippy::print_stderr)]
fn complain(error: &anyhow::Error) {
    eprintln!("countersign: {error:#}");
}
