//! `countersign policy check`: what the loader refuses, what is probably a mistake, and what fails on a sample.

use std::path::PathBuf;

use super::report::{self, Form};
use super::subject::Place;
use super::{Exit, sample};
use crate::config;
use crate::policy::author::Bench;
use crate::policy::{PolicyErrors, Problem, Severity};
use crate::proxy::policy_settings;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Files and folders; without any, those of --config, or else the built-in policies
    paths: Vec<PathBuf>,
    /// The configuration whose policies, servers and catalogs are meant
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Form::Human)]
    format: Form,
    /// Exit with 1 for warnings too
    #[arg(long)]
    deny_warnings: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let config = args.config.as_deref().map(|path| config::load(Some(path))).transpose()?;
    let (rules, problems) = match &config {
        Some(config) if args.paths.is_empty() => of_config(config)?,
        Some(_) | None => {
            let places = config.as_ref().map_or_else(Place::builtin, Place::all)?;
            judged(Bench::of_paths(&args.paths), &places)
        }
    };
    report::print(args.format, rules, &problems)?;
    let errors = report::count(&problems, Severity::Error);
    let failed = errors > 0 || args.deny_warnings && !problems.is_empty();
    Ok(if failed { Exit::Problems } else { Exit::Ok })
}

/// The rules of a configuration, where they load, and everything that is wrong with them.
///
/// # Errors
/// Where its catalogs cannot be read.
pub(in crate::cli) fn of_config(config: &config::Config) -> anyhow::Result<(Option<usize>, Vec<Problem>)> {
    let places = Place::all(config)?;
    Ok(judged(Bench::of_settings(&policy_settings(config)), &places))
}

fn judged(loaded: Result<Bench, PolicyErrors>, places: &[Place]) -> (Option<usize>, Vec<Problem>) {
    match loaded {
        Ok(bench) => (Some(bench.rules()), problems(&bench, places)),
        Err(errors) => (None, errors.problems().to_vec()),
    }
}

fn problems(bench: &Bench, places: &[Place]) -> Vec<Problem> {
    let samples = sample::samples(places, &bench.arguments_read(), &bench.names_read());
    bench.problems(&sample::vocabulary(places), samples)
}
