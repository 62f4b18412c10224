//! `countersign completions`: what a shell needs to complete commands, options and their words.

use std::io;

use anyhow::Context;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Exit};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The shell that reads them
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut shown(&Cli::command()), "countersign", &mut text);
    match io::Write::write_all(&mut io::stdout().lock(), &text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
        Ok(()) | Err(_) => Ok(Exit::Ok),
    }
}

/// A command without what is hidden below it: the generators would offer it.
fn shown(command: &clap::Command) -> clap::Command {
    let kept = command.get_subcommands().filter(|below| !below.is_hide_set()).map(shown);
    let mut out = clap::Command::new(command.get_name().to_owned())
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
        .subcommands(kept);
    if let Some(about) = command.get_about() {
        out = out.about(about.clone());
    }
    match command.get_version() {
        Some(version) => out.version(version.to_owned()),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &clap::Command, into: &mut Vec<String>) {
        for below in command.get_subcommands() {
            into.push(below.get_name().to_owned());
            names(below, into);
        }
    }

    #[test]
    fn hidden_commands_are_offered_by_no_shell() {
        let (mut all, mut offered) = (Vec::new(), Vec::new());
        names(&Cli::command(), &mut all);
        names(&shown(&Cli::command()), &mut offered);
        assert!(all.contains(&"policy-worker".to_owned()) && !offered.contains(&"policy-worker".to_owned()));
        assert!(offered.contains(&"explain".to_owned()) && offered.len() > 30, "{offered:?}");
    }
}
