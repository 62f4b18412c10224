//! `countersign policy check`: what the loader refuses, what is probably a mistake, and what fails on a sample.

use std::path::PathBuf;
use std::sync::Arc;

use super::report::{self, Form};
use super::subject::Place;
use super::{Exit, sample};
use crate::config;
use crate::policy::author::Bench;
use crate::policy::{PolicyErrors, Problem, Settings, Severity};
use crate::proxy::{Names, policy_settings};

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
            let settings = Settings { paths: args.paths.clone(), ..Settings::default() };
            let (rules, mut found) = judged(Bench::of_paths(&args.paths), &places, config.as_ref());
            found.extend(rules.map(|_| misnamed_by(&settings, &places, config.as_ref())).into_iter().flatten());
            (rules, found)
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
    let (places, settings) = (Place::all(config)?, policy_settings(config));
    let (rules, mut found) = judged(Bench::of_settings(&settings), &places, Some(config));
    found.extend(rules.map(|_| misnamed_by(&settings, &places, Some(config))).into_iter().flatten());
    Ok((rules, found))
}

/// Names that nothing has, in data and in the scopes of a configuration.
fn misnamed_by(settings: &Settings, places: &[Place], config: Option<&config::Config>) -> Vec<Problem> {
    let servers = || places.iter().map(|place| (Arc::clone(&place.facts), Arc::clone(&place.catalog))).collect();
    let names = match config {
        Some(config) => Names { settings: settings.clone(), ..Names::of(config, servers()) },
        None => Names { settings: settings.clone(), servers: servers(), config: None, turn: Default::default() },
    };
    names.misspelt()
}

fn judged(
    loaded: Result<Bench, PolicyErrors>,
    places: &[Place],
    config: Option<&config::Config>,
) -> (Option<usize>, Vec<Problem>) {
    match loaded {
        Ok(bench) => (Some(bench.rules()), problems(&bench, places, config)),
        Err(errors) => (None, errors.problems().to_vec()),
    }
}

fn problems(bench: &Bench, places: &[Place], config: Option<&config::Config>) -> Vec<Problem> {
    let samples = sample::samples(places, &bench.arguments_read(), &bench.names_read());
    bench.problems(&sample::vocabulary(places, config), samples)
}
