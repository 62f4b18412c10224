//! `countersign doctor`: everything between a client and a server, looked at: what is wrong, where, and the command that
//! fixes it. Each check is a list of findings from what is there; each has an end.
//!
//! Invariants: nothing is changed without `--fix`, and with it rights are only taken away; no key is shown; no tool is
//! called.

mod account;
mod clients;
mod daemon;
mod files;
mod finding;
mod fix;
mod ground;
mod operators;
mod paths;
mod policy;
mod report;
mod run;
mod secrets;
mod servers;
mod store;
mod walk;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;

use super::{Exit, ask};
use finding::Finding;
use ground::Ground;
use report::{Fixed, Tally};

/// How long one check may take; what takes longer is said to.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration; else the one that `serve` finds
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at the entries of this client only, by its name in `wrap ls`; can be given several times
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
    /// Do what is safe: take rights from others on files of yours, make folders, remove the socket of a dead daemon
    #[arg(long)]
    fix: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Human)]
    output: Format,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    /// For people
    Human,
    /// One object of the schema countersign.doctor/v1
    Json,
}

/// A check that has ended.
pub struct Checked {
    name: &'static str,
    findings: Vec<Finding>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    // It reads keys.
    crate::credential::harden::harden()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(examine(args));
    // A check that did not end in time is not waited for.
    runtime.shutdown_background();
    ended
}

async fn examine(args: &Args) -> anyhow::Result<Exit> {
    let human = args.output == Format::Human;
    let mut ground = Ground::look(args.config.as_deref()).await?;
    let mut fixed = Vec::new();
    if args.fix {
        // A folder that was closed may show what lies open in it.
        for _ in 0..3 {
            let done = fix(&ground, &fixed);
            if done.is_empty() {
                break;
            }
            fixed.extend(done);
            ground = Ground::look(args.config.as_deref()).await?;
        }
        for done in fixed.iter().filter(|_| human) {
            say!("{}", report::fixed(done));
        }
    }
    let ground = Arc::new(ground);
    let styled = styled();
    let mut checks: FuturesOrdered<_> = checks(&ground, &args.client).into_iter().collect();
    let mut checked = Vec::new();
    while let Some(one) = checks.next().await {
        if human && !one.findings.is_empty() {
            say!("{}", report::lines(one.name, &one.findings, styled).trim_end());
        }
        checked.push(one);
    }
    let tally = Tally::of(&checked);
    if human {
        say!("\n{}", report::summary(tally));
    } else {
        let config = ground.file.as_deref().map(finding::place);
        let report = report::json(&checked, &fixed, config.as_deref());
        let text = ask::json(&report).map_err(|_| anyhow::anyhow!("the report cannot be written as JSON"))?;
        say!("{text}");
    }
    Ok(if tally.problems > 0 { Exit::Problems } else { Exit::Ok })
}

/// What is left to do and was not tried yet.
fn fix(ground: &Ground, tried: &[Fixed]) -> Vec<Fixed> {
    let findings = [files::configuration(ground), files::folders(ground), files::rules(ground), secrets::check(ground)];
    let sockets = files::sockets(ground);
    let acts = findings.into_iter().flatten().chain(sockets).filter_map(|finding| finding.act);
    let mut done: Vec<Fixed> = Vec::new();
    for act in acts {
        if tried.iter().chain(&done).any(|fixed| fixed.act == act) {
            continue;
        }
        let failed = fix::apply(&act).err();
        done.push(Fixed { act, failed });
    }
    done
}

/// Colours are for terminals, and for those who want them.
fn styled() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

type Check = BoxFuture<'static, Checked>;

/// All of them, in the order in which they are shown: from the files to the ways of clients.
fn checks(ground: &Arc<Ground>, of_clients: &[String]) -> Vec<Check> {
    let at = |name, check: fn(&Ground) -> Vec<Finding>| blocking(name, Arc::clone(ground), check);
    let wanted = of_clients.to_vec();
    vec![
        at("config", files::configuration),
        at("folders", files::folders),
        at("sockets", files::sockets),
        at("rules", files::rules),
        at("secrets", secrets::check),
        at("policy", policy::check),
        at("servers", servers::check),
        at("sign-in", clients::sign_ins),
        at("daemon", daemon::check),
        waiting("paths", Arc::clone(ground), wanted.clone()),
        blocking("clients", Arc::clone(ground), move |ground| clients::entries(ground, &wanted)),
        at("operators", operators::check),
        at("console", files::console_keys),
        at("account", account::shared),
        at("programs", |ground| account::programs(ground, std::env::var_os("PATH").as_deref())),
        at("store", store::check),
        at("clock", store::clock),
    ]
}

fn blocking(
    name: &'static str,
    ground: Arc<Ground>,
    check: impl FnOnce(&Ground) -> Vec<Finding> + Send + 'static,
) -> Check {
    let work = tokio::task::spawn_blocking(move || check(&ground));
    Box::pin(async move {
        let findings = match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(_)) => vec![Finding::problem("", "this check failed; the others are not affected")],
            Err(_) => vec![late()],
        };
        Checked { name, findings }
    })
}

fn waiting(name: &'static str, ground: Arc<Ground>, wanted: Vec<String>) -> Check {
    Box::pin(async move {
        let found = tokio::time::timeout(PATIENCE, paths::check(&ground, &wanted)).await;
        Checked { name, findings: found.unwrap_or_else(|_| vec![late()]) }
    })
}

fn late() -> Finding {
    Finding::warning("", format!("not finished within {} s", PATIENCE.as_secs())).run("run countersign doctor again")
}
