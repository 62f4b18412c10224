//! `countersign policy`: check, test, explain and try policies. Nothing here reads a key or calls a server; `explain
//! --hold`, `draft` and `stats` alone talk to a daemon.
#![allow(clippy::print_stderr)]

pub(super) mod check;
mod coverage;
mod draft;
mod eval;
mod explain;
mod report;
pub(super) mod sample;
mod stats;
pub(super) mod subject;
mod test;

use clap::ValueEnum;

use super::Exit;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Run the test_* rules of *_test.rego files
    Test(test::Args),
    /// Say everything that is wrong with policies, and what probably is
    Check(check::Args),
    /// Judge one call without making it
    Eval(eval::Args),
    /// Say line by line which rules fired and which did not
    Explain(explain::Args),
    /// Which operations of which servers are decided by which rule, and which by none
    Coverage(coverage::Args),
    /// What the rules of a running daemon did in the last day
    Stats(stats::Args),
    /// Judge recorded calls once more, and say what comes out differently
    Replay(super::policy_replay::Replay),
    /// Draft a rule, and its test, from a call that is held or was lately
    Draft(draft::Args),
    /// Say which decisions differ between two sets of policies
    Diff(super::policy_diff::Diff),
    /// Say what policies in mode `shadow` or `warn` would have done
    Shadow(super::policy_replay::Shadow),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Test(args) => test::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Coverage(args) => coverage::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Draft(args) => draft::run(&args),
        Command::Replay(args) => super::policy_replay::replay(&args),
        Command::Diff(args) => super::policy_diff::diff(&args),
        Command::Shadow(args) => super::policy_replay::shadow(&args),
    }
}

/// JSON in ASCII: what came from elsewhere changes no terminal.
fn print_json(report: &impl serde::Serialize) -> anyhow::Result<()> {
    say!("{}", crate::audit::verify::ascii(&serde_json::to_string_pretty(report)?));
    Ok(())
}
