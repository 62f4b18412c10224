//! `countersign connect`.

use super::Exit;

#[derive(clap::Args, Debug)]
pub struct Args {}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let Args {} = args;
    Ok(Exit::Usage)
}
