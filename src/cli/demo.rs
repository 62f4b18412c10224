//! `countersign demo`: see it work, without an account, a network or a configuration.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, IsTerminal};

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::{Exit, log as lines};
use crate::demo::play::{self, PlayError, Told};
use crate::demo::stage::Log;
use crate::demo::story::{LIVE, Style};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// A scripted operator instead of you: no terminal needed; exits 0 only if everything went as told
    #[arg(long)]
    auto: bool,
}

const INTRO: &str = "\
A support agent works for a billing company, through Countersign. The agent
has no key. It may read; it may not delete; a refund waits for a person.
";

pub fn run(args: Args) -> anyhow::Result<Exit> {
    crate::credential::harden::harden().context("cannot protect this process")?;
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !args.auto && !interactive {
        eprintln!("countersign demo: there is no terminal here for you to be the operator");
        eprintln!("help: `countersign demo --auto` runs it with a scripted operator");
        return Ok(Exit::Usage);
    }
    let log = Log::default();
    keep_log(&log);
    let style = Style { color: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() };
    let runtime = super::serve::runtime()?;
    println!("{INTRO}");
    let told = if args.auto {
        println!("{}", style.heading("What they say"));
        runtime.block_on(scripted(log.clone(), style))
    } else {
        println!("You are the operator. One refund makes sense and one does not: look before");
        println!("you rule. Press Enter to open the console; q leaves it.");
        std::io::stdin().lock().read_line(&mut String::new())?;
        runtime.block_on(interruptible(play::in_person()))
    };
    match told {
        Some(Ok(told)) => Ok(tell(&told, args.auto, style)),
        Some(Err(error)) => {
            eprintln!("countersign demo: {error}");
            complaints(&log);
            Ok(Exit::Problems)
        }
        None => Ok(Exit::Problems),
    }
}

/// The scripted run, its lines printed as they are said.
async fn scripted(log: Log, style: Style) -> Option<Result<Told, PlayError>> {
    let (live, mut heard) = mpsc::channel(LIVE);
    let printer = async {
        while let Some(line) = heard.recv().await {
            println!("{}", style.line(&line));
        }
    };
    let (told, ()) = tokio::join!(interruptible(play::scripted(log, live)), printer);
    told
}

/// Ends early at Ctrl-C, so that the folder is removed. Nothing where it did.
async fn interruptible<T>(play: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        told = play => Some(told),
        _ = tokio::signal::ctrl_c() => None,
    }
}

fn tell(told: &Told, auto: bool, style: Style) -> Exit {
    if !auto {
        println!("{}", style.heading("What the agent did"));
        told.transcript.iter().for_each(|line| println!("{}", style.line(line)));
    }
    if let Some(stopped) = &told.stopped {
        println!("  The agent stopped early: {stopped}");
    }
    println!("\n{}", style.heading("What the audit kept"));
    told.audit.iter().for_each(|record| println!("{}", style.record(record)));
    if auto {
        println!("\n{}", style.heading("What was checked"));
        told.checks.iter().for_each(|check| println!("{}", style.check(check)));
    }
    println!("\n{}", style.heading("Where to go next"));
    println!("  Be the operator yourself      countersign demo");
    println!("  In front of your own server   countersign serve --help, and README.md");
    println!("  Your own rules                countersign policy --help, and policies/README.md");
    if told.checks.iter().all(|check| check.deviation.is_none()) { Exit::Ok } else { Exit::Problems }
}

/// The log is searched for the key and must not disturb the console, so it stays in memory.
fn keep_log(log: &Log) {
    let (log, level) = (log.clone(), tracing::Level::DEBUG);
    let kept = tracing_subscriber::fmt().with_ansi(false).with_max_level(level).with_writer(move || log.clone());
    let kept = kept.fmt_fields(lines::fields(std::sync::Arc::default()));
    // A second subscriber in one process: the log is then empty, and the verdict says so.
    let _ = kept.try_init();
}

/// Warnings and errors of the log, where the play did not come to its end.
fn complaints(log: &Log) {
    let text = log.text().unwrap_or_default();
    text.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).for_each(|line| eprintln!("{line}"));
}
