//! `countersign man`: the manual, one page for each command.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Cli, Exit};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Write a page for every command into this folder, which is made where it is missing; else the first page goes to
    /// stdout
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(built()).render(&mut page)?;
        return match io::Write::write_all(&mut io::stdout().lock(), &page) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
            Ok(()) | Err(_) => Ok(Exit::Ok),
        };
    };
    fs::create_dir_all(dir).with_context(|| format!("{}: cannot be made", dir.display()))?;
    let mut written = 0;
    pages(&built(), dir, &mut written)?;
    say!("{written} pages in {}; read one: man {}", dir.display(), first(dir));
    Ok(Exit::Ok)
}

/// With the arguments that commands inherit, and the whole name of each.
fn built() -> clap::Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

fn pages(command: &clap::Command, dir: &Path, written: &mut usize) -> anyhow::Result<()> {
    let man = Man::new(command.clone());
    let path = dir.join(man.get_filename());
    let mut page = Vec::new();
    man.render(&mut page)?;
    fs::write(&path, page).with_context(|| format!("{}: cannot be written", path.display()))?;
    *written += 1;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| pages(below, dir, written))
}

fn first(dir: &Path) -> String {
    super::quoted(&dir.join("countersign.1").display().to_string())
}
