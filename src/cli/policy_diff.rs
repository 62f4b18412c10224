//! `countersign policy diff`: which decisions differ between two sets of policies, over everything that the catalogs
//! know, and over recorded calls where a time is given.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::Exit;
use super::policy::subject;
use super::policy_replay::{
    Came, Change, Counts, Files, Moment, Output, Times, Window, again, behind, engine, judge_all, listed,
    print_changes, runtime,
};
use crate::call::{
    Bound, CallContext, Class, ClientInfo, Environment, Operation, Pin, Principal, PrincipalKind, SchemaCheck,
    ServerFacts, ToolCall, ToolFacts, Transport,
};
use crate::catalog::Catalog;
use crate::config::{self, Config};
use crate::policy::{self, PolicyEngine, Settings};
use crate::proxy::policy_settings;

/// A tool that no catalog has.
const STRANGER: &str = "a_tool_without_catalog";

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
    let (old, new) = (set(&args.old)?, set(&args.new)?);
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
            over_catalogs(&args.files, [&old, &new], compare)?;
            None
        }
    };
    match args.output {
        Output::Human => {
            for (name, Counts { allow, hold, deny, fail }) in [("old", &before), ("new", &after)] {
                println!("{name}: allow {allow}, hold {hold}, deny {deny}, fail on {fail}");
            }
            print_changes(&changes);
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
                "not_judged": skipped.map(|skipped| skipped.json()),
            });
            println!("{}", crate::audit::verify::ascii(&serde_json::to_string(&report)?));
        }
    }
    Ok(if args.fail_on_change && !changes.is_empty() { Exit::Problems } else { Exit::Ok })
}

type Decided = Result<crate::call::Decision, policy::PolicyFault>;

/// A set by its name on the command line.
fn set(name: &str) -> anyhow::Result<PolicyEngine> {
    let path = Path::new(name);
    let is_config = path.is_file()
        && path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml")
        && path.file_stem().is_some_and(|stem| stem != "data");
    let settings = if name == "builtin" {
        Settings::default()
    } else if is_config {
        policy_settings(&config::load(Some(path))?)
    } else {
        Settings { paths: name.split(',').map(PathBuf::from).collect(), ..Settings::default() }
    };
    engine(settings).with_context(|| format!("the set {name}"))
}

/// A server, by what rules see of it.
struct Site {
    facts: Arc<ServerFacts>,
    environment: Arc<Environment>,
    catalog: Catalog,
}

/// Every operation that a catalog knows in every class, and a tool that none knows, by every principal.
fn over_catalogs(
    files: &Files,
    engines: [&PolicyEngine; 2],
    mut each: impl FnMut(&str, &str, &str, [Decided; 2]),
) -> anyhow::Result<()> {
    let (sites, principals) = match &files.config {
        Some(path) => of_config(&config::load(Some(path))?)?,
        None => everywhere()?,
    };
    let runtime = runtime()?;
    let now = policy::now();
    for site in &sites {
        let known = site.catalog.entries().flat_map(|(name, class, worst)| [(name, class), (name, worst)]);
        let strange = CLASSES.iter().map(|class| (STRANGER, *class));
        let mut operations: Vec<(&str, Class)> = known.chain(strange).collect();
        operations.sort_by_key(|(name, class)| (name.to_owned(), class.as_str()));
        operations.dedup();
        for (name, class) in operations {
            let call = call(name)?;
            for principal in &principals {
                let context = context(site, principal, name, class);
                let digest = call.digest(&context);
                let both =
                    engines.map(|engine| again(|| runtime.block_on(engine.evaluate(&call, &context, digest, now))));
                let server = format!("{} in {}", site.facts.name, site.environment.name);
                each(&server, &format!("{name} ({})", class.as_str()), &principal.name, both);
            }
        }
    }
    Ok(())
}

const CLASSES: [Class; 5] = [Class::Read, Class::Write, Class::Financial, Class::Destructive, Class::Unknown];

fn of_config(config: &Config) -> anyhow::Result<(Vec<Site>, Vec<Arc<Principal>>)> {
    let site = |server: &config::Server| {
        Ok(Site {
            facts: Arc::clone(&server.facts),
            environment: Arc::new(Environment::declared(&server.environment)),
            catalog: Catalog::load(server.facts.vendor.as_deref(), &server.catalogs)?,
        })
    };
    let sites = config.servers.values().map(site).collect::<anyhow::Result<_>>()?;
    Ok((sites, config.principals.iter().map(|entry| Arc::clone(&entry.principal)).collect()))
}

fn everywhere() -> anyhow::Result<(Vec<Site>, Vec<Arc<Principal>>)> {
    let mut sites = Vec::new();
    for vendor in crate::catalog::vendors() {
        for environment in ["production", "sandbox"] {
            let catalog = Catalog::builtin(Some(vendor))?;
            let facts =
                ServerFacts { name: vendor.to_owned(), vendor: Some(vendor.to_owned()), catalog: catalog.digest() };
            sites.push(Site {
                facts: Arc::new(facts),
                environment: Arc::new(Environment::declared(environment)),
                catalog,
            });
        }
    }
    let principal = |name: &str, scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Arc::new(Principal::plain(name, PrincipalKind::Token, scopes))
    };
    let principals = vec![principal("everything", &["*/*"]), principal("reader", &["*/read"])];
    Ok((sites, principals))
}

/// A call of a tool without arguments. What a dispatcher selects need not have the name of a tool: then it is called
/// by another one.
fn call(name: &str) -> anyhow::Result<ToolCall> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let call = subject::tool_call(if plain { name } else { STRANGER }, "{}");
    call.with_context(|| format!("a call of {name}"))
}

fn context(site: &Site, principal: &Arc<Principal>, name: &str, class: Class) -> CallContext {
    CallContext {
        bound: Bound::default(),
        history: None,
        confirmations: Vec::new(),
        session: "diff".to_owned(),
        principal: Arc::clone(principal),
        client: ClientInfo::silent(Transport::Http),
        server: Arc::clone(&site.facts),
        environment: Arc::clone(&site.environment),
        tool: ToolFacts {
            name: name.to_owned(),
            annotations: None,
            definition: None,
            pin: Pin::Unknown,
            schema: SchemaCheck::None,
        },
        operation: Operation::bare(name, class),
        continues: None,
    }
}
