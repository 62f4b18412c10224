//! `countersign policy coverage`: what is decided about every operation of every configured server, for each principal,
//! and by which rules; then what no rule of the operator's has a say in. Operations are those of its catalog, and the
//! tools that it has listed. What no rule allows is denied, and so is guarded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::json;

use super::sample::{document, is_unknown, plain};
use super::subject::{Caller, Place};
use super::{Exit, Format, print_json};
use crate::call::{Class, Effect};
use crate::catalog::author::{Known, Reached};
use crate::config::{self, Config};
use crate::console::visible;
use crate::pins;
use crate::policy::author::{Bench, Judged, Kind, Said};
use crate::policy::{Phase, builtin_names};
use crate::proxy::policy_settings;

/// Calls of tools whose arguments select no operation that the catalog knows.
const UNPLACED: &str = "(unplaced calls)";
const SCHEMA: &str = "countersign.policy-coverage/v1";

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration; else the one that `serve` would find
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// This server only
    #[arg(long)]
    server: Option<String>,
    /// This principal only
    #[arg(long)]
    principal: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Format::Human)]
    output: Format,
    /// Exit with 1 where anything is unguarded, or where it is not known which tools servers have listed
    #[arg(long)]
    deny_unguarded: bool,
}

/// One operation of one server, for one principal.
struct Row {
    server: String,
    operation: String,
    class: Class,
    principal: String,
    /// Over all samples: allow, hold or deny; `fault` where a rule fails, `refused` where no call can have that name.
    effects: BTreeSet<&'static str>,
    rules: BTreeSet<String>,
    /// Why it is unguarded, where it is.
    unguarded: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let config = config::load(args.config.as_deref())?;
    let wanted = |name: &str, only: &Option<String>| only.as_deref().is_none_or(|only| only == name);
    let places: Vec<Place> =
        Place::all(&config)?.into_iter().filter(|place| wanted(&place.facts.name, &args.server)).collect();
    let callers: Vec<Caller> =
        Caller::all(&config).into_iter().filter(|caller| wanted(&caller.principal.name, &args.principal)).collect();
    for (what, only, found) in
        [("server", &args.server, !places.is_empty()), ("principal", &args.principal, !callers.is_empty())]
    {
        if let (Some(name), false) = (only, found) {
            eprintln!("countersign: no {what} is named {name} in the configuration");
            return Ok(Exit::NotFound);
        }
    }
    let bench = Bench::of_settings(&policy_settings(&config))?;
    let mut known: Vec<(&Place, Vec<Known>)> = places.iter().map(|place| (place, place.known())).collect();
    let listed = remember(&mut known, &config);
    let rows = rows(&bench, &known, &callers)?;
    match args.output {
        Format::Human => human(&known, &rows),
        Format::Json => print_json(&report(&rows, listed))?,
    }
    let unguarded = rows.iter().any(|row| row.unguarded.is_some());
    Ok(if args.deny_unguarded && (unguarded || !listed) { Exit::Problems } else { Exit::Ok })
}

/// Adds the tools that a server has listed and its catalog does not know. False where these cannot be read.
fn remember(known: &mut [(&Place, Vec<Known>)], config: &Config) -> bool {
    let listed = match pins::names(&config.state_dir.join("pins.db")) {
        Ok(listed) => listed,
        Err(error) => {
            eprintln!(
                "warning: only operations of catalogs are shown; what servers have listed cannot be read: {error}"
            );
            return false;
        }
    };
    for (server, tool) in listed {
        for (place, known) in known.iter_mut().filter(|(place, _)| place.facts.name == server) {
            if known.iter().any(|known| known.tool == tool) {
                continue;
            }
            known.push(Known::listed(&tool, place.catalog.listed(&tool).class));
        }
    }
    true
}

fn rows(bench: &Bench, known: &[(&Place, Vec<Known>)], callers: &[Caller]) -> anyhow::Result<Vec<Row>> {
    let (mut about, mut documents) = (Vec::new(), Vec::new());
    // An operation that several tools reach is one row.
    let mut rows: BTreeMap<(String, String, String), Row> = BTreeMap::new();
    for (place, all) in known {
        for known in all {
            for caller in callers {
                let calls = plain(known);
                if calls.is_empty() {
                    let row = Row { effects: ["refused"].into(), ..Row::new(place, known, caller) };
                    rows.insert((row.server.clone(), row.operation.clone(), row.principal.clone()), row);
                }
                for call in calls {
                    documents.push((Phase::Call, document(place, known, &call, caller)));
                    about.push((*place, known, caller));
                }
            }
        }
    }
    let judged = bench.judge(documents)?;
    for ((place, known, caller), judged) in about.iter().zip(&judged) {
        let new = Row::new(place, known, caller);
        let key = (new.server.clone(), new.operation.clone(), new.principal.clone());
        let row = rows.entry(key).or_insert(new);
        row.effects.insert(effect(judged));
        row.rules.extend(behind(judged));
        let reason = || unguarded(judged, &place.facts.name);
        row.unguarded = row.unguarded.take().or_else(reason);
    }
    Ok(rows.into_values().collect())
}

impl Row {
    /// About which nothing is known yet.
    fn new(place: &Place, known: &Known, caller: &Caller) -> Row {
        Row {
            server: place.facts.name.clone(),
            operation: operation(known).to_owned(),
            class: known.class,
            principal: caller.principal.name.clone(),
            effects: BTreeSet::new(),
            rules: BTreeSet::new(),
            unguarded: is_unknown(known).then(|| "of class unknown: the catalog does not say what it does".to_owned()),
        }
    }
}

/// Calls of dispatchers that select nothing are one row: what they are by themselves nobody can say better.
fn operation(known: &Known) -> &str {
    if known.way == Reached::Nothing { UNPLACED } else { &known.name }
}

fn effect(judged: &Judged) -> &'static str {
    match judged.decision.as_ref().map(|decision| decision.effect) {
        Ok(Effect::Allow) => "allow",
        Ok(Effect::Hold) => "hold",
        Ok(Effect::Deny) => "deny",
        Err(_) => "fault",
    }
}

fn behind(judged: &Judged) -> Vec<String> {
    match &judged.decision {
        Ok(decision) => decision.rules.iter().map(|hit| hit.rule.clone()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Why nobody who reads the configuration and the operator's rules would know what becomes of the call.
fn unguarded(judged: &Judged, server: &str) -> Option<String> {
    let enforced: Vec<&Said> = judged.said.iter().filter(|said| said.enforced).collect();
    match judged.decision.as_ref().map(|decision| decision.effect) {
        Err(fault) => Some(format!("a rule fails on it: {fault}")),
        Ok(Effect::Allow) => {
            let allows = || enforced.iter().filter(|said| said.kind == Kind::Allow);
            if allows().any(|said| !is_builtin(said) || is_exact(said, server)) {
                return None;
            }
            let by = allows().map(|said| said.reason.as_str()).collect::<BTreeSet<_>>();
            Some(format!("allowed by a wildcard alone: {}", by.into_iter().collect::<Vec<_>>().join(", ")))
        }
        Ok(Effect::Hold | Effect::Deny) => None,
    }
}

fn is_builtin(said: &Said) -> bool {
    said.file.starts_with("builtin/") && builtin_names().any(|name| name == said.policy)
}

/// A scope that names this server and says which operations: its text stands at the end of the reason.
fn is_exact(said: &Said, server: &str) -> bool {
    let scope = said.reason.rsplit(' ').next().unwrap_or_default();
    scope.strip_prefix(server).and_then(|rest| rest.strip_prefix('/')).is_some_and(|what| !what.contains('*'))
}

fn human(known: &[(&Place, Vec<Known>)], rows: &[Row]) {
    for (place, _) in known.iter().filter(|(_, known)| known.is_empty()) {
        let name = &place.facts.name;
        eprintln!("server {name} has no catalog and has listed no tools yet: all of them will be of class unknown\n");
    }
    let head = ["SERVER", "OPERATION", "CLASS", "PRINCIPAL", "EFFECT", "RULES"].map(str::to_owned);
    let cells = |row: &Row| {
        let join = |words: Vec<&str>, with: &str| words.join(with);
        [
            row.server.clone(),
            row.operation.clone(),
            row.class.as_str().to_owned(),
            row.principal.clone(),
            join(row.effects.iter().copied().collect(), "/"),
            if row.rules.is_empty() {
                "(no rule allows it)".to_owned()
            } else {
                join(row.rules.iter().map(String::as_str).collect(), ", ")
            },
        ]
        .map(|cell| visible::line(&cell))
    };
    let table: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; 6];
    for row in &table {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = visible::columns(cell).max(*width));
    }
    for row in &table {
        let padded = |(cell, width): (&String, usize)| {
            format!("{cell}{}", " ".repeat(width.saturating_sub(visible::columns(cell))))
        };
        say!("{}", row.iter().zip(widths).map(padded).collect::<Vec<_>>().join("  ").trim_end());
    }
    let unguarded: Vec<&Row> = rows.iter().filter(|row| row.unguarded.is_some()).collect();
    say!("\n{} operations, {} unguarded", rows.len(), unguarded.len());
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in unguarded {
        let who = format!("{}/{} for {}", row.server, row.operation, row.principal);
        reasons.entry(row.unguarded.as_deref().unwrap_or_default()).or_default().push(who);
    }
    for (reason, who) in reasons {
        say!("\n{}:", visible::line(reason));
        who.iter().for_each(|who| say!("  {}", visible::line(who)));
    }
}

fn report(rows: &[Row], listed: bool) -> serde_json::Value {
    let rows = rows.iter().map(|row| {
        json!({
            "server": row.server, "operation": row.operation, "class": row.class.as_str(),
            "principal": row.principal, "effects": row.effects, "rules": row.rules, "unguarded": row.unguarded,
        })
    });
    json!({"schema": SCHEMA, "listed": listed, "operations": rows.collect::<Vec<_>>()})
}
