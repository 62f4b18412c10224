//! `countersign policy diff`: which decisions differ between two sets of policies, over everything that the catalogs
//! know, and over recorded calls where a time is given.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::Exit;
use super::policy::sample;
use super::policy::subject::{self, Caller, Place};
use super::policy_replay::{
    Came, Change, Counts, Files, Moment, Output, Times, Window, again, behind, engine, judge_all, listed,
    print_changes, runtime,
};
use crate::call::{
    CallContext, Class, ClientInfo, Environment, Operation, Principal, PrincipalKind, ToolCall, Transport,
};
use crate::catalog::author::Reached;
use crate::config;
use crate::console::risk::plural;
use crate::console::visible;
use crate::policy::author::{Differs, Number, differences, numbers};
use crate::policy::{self, PolicyEngine, Settings};
use crate::proxy::policy_settings;

/// A tool that no catalog has.
const STRANGER: &str = "a_tool_without_catalog";
/// Differences in data that are shown.
const SHOWN: usize = 50;

#[derive(clap::Args, Debug)]
pub struct Diff {
    /// A configuration (*.yaml), files and folders of policies separated by commas, or `builtin`
    old: String,
    /// The other set, in the same forms
    new: String,
    /// Compare over the calls that were recorded since then, instead of over what the catalogs know
    #[arg(long)]
    since: Option<Moment>,
    /// Up to when, in the same forms
    #[arg(long, requires = "since")]
    until: Option<Moment>,
    /// Servers and principals come from here; without it, every vendor, two environments, and principals that may
    /// read and that may do everything
    #[command(flatten)]
    files: Files,
    /// Exit with 1 where a decision differs
    #[arg(long)]
    fail_on_change: bool,
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub fn diff(args: &Diff) -> anyhow::Result<Exit> {
    let (old_settings, new_settings) = (settings(&args.old)?, settings(&args.new)?);
    let (old, new) = (set(&args.old, &old_settings)?, set(&args.new, &new_settings)?);
    let data = differences(&old_settings, &new_settings)?;
    let mut changes: BTreeMap<Change, Times> = BTreeMap::new();
    let (mut before, mut after) = (Counts::default(), Counts::default());
    let mut compare = |server: &str, operation: &str, example: &str, [old, new]: [Decided; 2]| {
        let (from, to) = (Came::of(&old), Came::of(&new));
        before.add(&from);
        after.add(&to);
        if from != to {
            let (server, operation, rule) = (server.to_owned(), operation.to_owned(), behind(&new));
            changes.entry(Change { server, operation, from, to, rule }).or_default().add(example);
        }
    };
    let skipped = match args.since {
        Some(since) => {
            let window = Window { since, until: args.until, server: None };
            let log = args.files.log()?;
            let each = |call: &super::policy_replay::Call, both| compare(&call.server, &call.operation, &call.id, both);
            Some(judge_all(&log, &window, [&old, &new], each)?)
        }
        None => {
            let mut either = numbers(&old_settings)?;
            either.extend(numbers(&new_settings)?);
            over_catalogs(&args.files, &either, [&old, &new], compare)?;
            None
        }
    };
    match args.output {
        Output::Human => {
            for (name, Counts { allow, hold, deny, fail }) in [("old", &before), ("new", &after)] {
                println!("{name}: allow {allow}, hold {hold}, deny {deny}, fail on {fail}");
            }
            print_changes(&changes);
            print_data(&data);
            if let Some(skipped) = &skipped {
                skipped.print();
            }
        }
        Output::Json => {
            let report = serde_json::json!({
                "schema": "countersign.policy-diff/v1",
                "old": {"policy_version": old.version(), "decides": before},
                "new": {"policy_version": new.version(), "decides": after},
                "changes": listed(&changes),
                "data": data,
                "not_judged": skipped.map(|skipped| skipped.json()),
            });
            println!("{}", crate::audit::verify::ascii(&serde_json::to_string(&report)?));
        }
    }
    // What a budget refuses depends on what went before: another budget is another decision some time.
    let budgets = data.iter().any(|differs| differs.path.starts_with("/budgets/"));
    Ok(if args.fail_on_change && (budgets || !changes.is_empty()) { Exit::Problems } else { Exit::Ok })
}

fn print_data(data: &[Differs]) {
    if data.is_empty() {
        return;
    }
    println!("{} in data:", plural(data.len(), "difference"));
    let text = |value: &Option<serde_json::Value>| match value {
        Some(value) => visible::line(&value.to_string()),
        None => "nothing".to_owned(),
    };
    for differs in data.iter().take(SHOWN) {
        println!("  {}: {} -> {}", visible::line(&differs.path), text(&differs.old), text(&differs.new));
    }
    if let Some(more) = data.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        println!("  and {more} more: -o json has all of them");
    }
    if data.iter().any(|differs| differs.path.starts_with("/budgets/")) {
        println!(
            "budgets count what was let through before: `--since` judges by the budget that recorded calls had left"
        );
    }
}

type Decided = Result<crate::call::Decision, policy::PolicyFault>;

/// A set by its name on the command line.
fn settings(name: &str) -> anyhow::Result<Settings> {
    let path = Path::new(name);
    let is_config = path.is_file()
        && path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml")
        && path.file_stem().is_some_and(|stem| stem != "data");
    Ok(if name == "builtin" {
        Settings::default()
    } else if is_config {
        policy_settings(&config::load(Some(path))?)
    } else {
        Settings { paths: name.split(',').map(PathBuf::from).collect(), ..Settings::default() }
    })
}

fn set(name: &str, settings: &Settings) -> anyhow::Result<PolicyEngine> {
    engine(settings.clone()).with_context(|| format!("the set {name}"))
}

/// Every operation that a catalog knows: in every class, as a usual call, and with amounts on both sides of every number
/// that either set has; and a tool that no catalog knows. By every principal.
fn over_catalogs(
    files: &Files,
    numbers: &BTreeSet<Number>,
    engines: [&PolicyEngine; 2],
    mut each: impl FnMut(&str, &str, &str, [Decided; 2]),
) -> anyhow::Result<()> {
    let (places, callers) = match &files.config {
        Some(path) => {
            let config = config::load(Some(path))?;
            (Place::all(&config)?, Caller::all(&config))
        }
        None => everywhere()?,
    };
    let runtime = runtime()?;
    let now = policy::now();
    for place in &places {
        let server = format!("{} in {}", place.facts.name, place.environment.name);
        let mut compare = |call: &ToolCall, context: &CallContext, what: &str| {
            let digest = call.digest(context);
            let both = engines.map(|engine| again(|| runtime.block_on(engine.evaluate(call, context, digest, now))));
            let operation = format!("{} ({})", context.operation.name, context.operation.class.as_str());
            each(&server, &operation, &format!("{}{what}", context.principal.name), both);
        };
        for (name, class) in in_every_class(place) {
            let call = bare(name)?;
            for caller in &callers {
                let mut context = place.context(&call, caller, SESSION);
                context.operation = Operation::bare(name, class);
                context.tool.name = name.to_owned();
                compare(&call, &context, "");
            }
        }
        let mut seen = BTreeSet::new();
        for known in place.known() {
            let way = matches!(known.way, Reached::Request { .. });
            if known.way == Reached::Nothing || !seen.insert((known.name.clone(), way)) {
                continue;
            }
            let plain = sample::usual(&known).map(|call| (String::new(), call));
            let numbered = numbers.iter().flat_map(|number| sample::with_number(&known, number));
            let numbered = numbered.map(|(what, call)| (format!(" with {what}"), call));
            for (what, call) in plain.into_iter().chain(numbered) {
                for caller in &callers {
                    compare(&call, &sample::context(place, &known, &call, caller), &what);
                }
            }
        }
    }
    Ok(())
}

const SESSION: &str = "diff";
const CLASSES: [Class; 5] = [Class::Read, Class::Write, Class::Financial, Class::Destructive, Class::Unknown];

fn in_every_class(place: &Place) -> Vec<(&str, Class)> {
    let known = place.catalog.entries().flat_map(|(name, class, worst)| [(name, class), (name, worst)]);
    let strange = CLASSES.iter().map(|class| (STRANGER, *class));
    let mut operations: Vec<(&str, Class)> = known.chain(strange).collect();
    operations.sort_by_key(|(name, class)| (name.to_owned(), class.as_str()));
    operations.dedup();
    operations
}

fn everywhere() -> anyhow::Result<(Vec<Place>, Vec<Caller>)> {
    let mut places = Vec::new();
    for place in Place::builtin()? {
        for environment in ["production", "sandbox"] {
            // Requests are asked about where a configuration has them.
            let environment = Arc::new(Environment::declared(environment));
            places.push(Place { environment, gated: false, ..place.clone() });
        }
    }
    let caller = |name: &str, scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let principal = Arc::new(Principal::plain(name, PrincipalKind::Token, scopes));
        Caller { principal, client: Arc::new(ClientInfo::silent(Transport::Http)) }
    };
    Ok((places, vec![caller("everything", &["*/*"]), caller("reader", &["*/read"])]))
}

/// A call of a tool without arguments. What a dispatcher selects need not have the name of a tool: then it is called
/// by another one.
fn bare(name: &str) -> anyhow::Result<ToolCall> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let call = subject::tool_call(if plain { name } else { STRANGER }, "{}");
    call.with_context(|| format!("a call of {name}"))
}
