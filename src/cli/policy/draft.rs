//! `countersign policy draft`: a rule, and its test, from a call that is held or was lately.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use super::{Exit, Format, print_json};
use crate::cli::ask::{self, Stop};
use crate::cli::console::DaemonArgs;
use crate::cli::pending;
use crate::config;
use crate::console::draft::{self, Makes};
use crate::console::visible;
use crate::policy::author::Bench;
use crate::policy::test::{self, Options, Verdict};

const SCHEMA: &str = "countersign.policy-draft/v1";

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// The hold: its id, or its start
    hold: String,
    /// What the rule makes of calls like this one; the other stands beside it as a comment
    #[arg(long, value_enum, default_value_t = Effect::Hold)]
    effect: Effect,
    /// The folder to write to, which no policies may be loaded from; without it the drafts folder of your account
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Format::Human)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Effect {
    Hold,
    Deny,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    ask::run(work(args))
}

async fn work(args: &Args) -> Result<(), Stop> {
    let (_, hold) = pending::find(&args.daemon, &args.hold, true).await?;
    let makes = match args.effect {
        Effect::Hold => Makes::Hold,
        Effect::Deny => Makes::Deny,
    };
    let said = |text: String| Stop::Said(Exit::Problems, text);
    let draft = draft::draft(&hold, makes).map_err(said)?;
    let folder = match &args.into {
        Some(folder) => folder.clone(),
        None => draft::folder(|name| std::env::var_os(name)).map_err(said)?,
    };
    let mut loaded = draft::loaded(&hold);
    if let Ok(config) = config::load(args.daemon.config()) {
        loaded.extend(config.policy.paths);
    }
    let written = draft::write(&draft, &folder, &loaded).map_err(said)?;
    let files = written.each_ref().map(|(file, _)| file.clone());
    // Whoever copies it somewhere should not find out there.
    Bench::of_paths(&files).map_err(|errors| said(errors.to_string()))?;
    let tested = test::run(&files, &Options::default()).map_err(|errors| said(errors.to_string()))?;
    let failed = tested.outcomes.iter().find(|outcome| !matches!(outcome.verdict, Verdict::Pass));
    let names = files.each_ref().map(|file| file.display().to_string());
    match args.output {
        Format::Json => print_json(&json!({
            "schema": SCHEMA,
            "hold": hold.id,
            "policy": draft.name,
            "effect": makes.word(),
            "files": names,
            "written": written.iter().all(|(_, new)| *new),
            "left_out": draft.left_out,
            "tests": tested.outcomes.len(),
            "passed": failed.is_none(),
        }))?,
        Format::Human => {
            for (name, (_, new)) in names.iter().zip(&written) {
                let verb = if *new { "written" } else { "there already, and left as it is" };
                say!("{verb}: {}", visible::line(name));
            }
            say!(
                "{} tests. Nothing loads it there: edit it, then copy both into a folder of policy.paths",
                tested.outcomes.len()
            );
        }
    }
    match failed {
        None => Ok(()),
        Some(failed) => Err(said(format!("{} did not pass: {}", failed.name, names.join(" ")))),
    }
}
