//! `countersign audit`.

use super::Exit;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Nothing,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    let Command::Nothing = command;
    Ok(Exit::Usage)
}
