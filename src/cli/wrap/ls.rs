//! `countersign wrap ls`: what there is to wrap, and what is wrapped.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use super::clients::{Client, Surroundings};
use super::entry::{self, Kind};
use super::files::Files;
use super::found::{self, Entry};
use super::keys::{self, From, Hints};
use super::originals::{self, Original};
use super::{clear, ours, reach, undo};
use crate::cli::Exit;
use crate::cli::ask;
use crate::config::Config;
use crate::console::visible;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration; else the one that `serve` would find
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    Table,
    /// One object of the schema countersign.wrap.ls/v1
    Json,
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is as it was written to reach countersign, and can be put back.
    Wrapped,
    /// It was wrapped and names countersign still, and somebody has changed it since.
    Edited,
    /// It names countersign, and was written by hand.
    Ours,
    /// It can be wrapped.
    Open,
    /// It cannot be wrapped as it is.
    Blocked,
}

#[derive(Serialize)]
struct Row {
    client: &'static str,
    scope: &'static str,
    name: String,
    file: String,
    state: State,
    /// Whether it names an address, and no program.
    http: bool,
    /// Keys that stand in the entry in the clear.
    keys: usize,
    /// Why it cannot be wrapped, or does not get to a server of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What it was before it was wrapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

/// What entries are compared with.
struct Known {
    state_dir: PathBuf,
    config: Option<Config>,
    originals: Vec<Original>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let around = Surroundings::of_process()?;
    let (state_dir, config) = ours::known(&ours::place(args.config.as_deref())?)?;
    let known = Known { originals: originals::all(&state_dir)?, state_dir, config };
    let files = Files::new(true);
    let (mut rows, mut unread) = (Vec::new(), Vec::new());
    let mut seen: BTreeSet<(PathBuf, Vec<String>)> = BTreeSet::new();
    for client in Client::ALL {
        for place in around.places(client) {
            match found::entries(&files, &place) {
                Ok(entries) => {
                    for entry in entries {
                        rows.push(row(&entry, &known)?);
                        seen.insert((std::path::absolute(&entry.place.file)?, entry.path));
                    }
                }
                Err(error) => unread.push(format!("{error:#}")),
            }
        }
    }
    // Entries in files that were named, and of other projects.
    for original in &known.originals {
        if !seen.contains(&(original.file.clone(), original.path.clone())) {
            match elsewhere(&around, &files, original, &known) {
                Ok(found) => rows.push(found),
                Err(error) => unread.push(format!("{error:#}")),
            }
        }
    }
    if args.output == Output::Json {
        let all = serde_json::json!({"schema": "countersign.wrap.ls/v1", "entries": rows, "unread": unread});
        say!("{}", ask::json(&all).ok().context("the list cannot be written as JSON")?);
    } else {
        table(&rows);
        for problem in &unread {
            say!("not read: {}", super::lines(problem));
        }
    }
    Ok(if unread.is_empty() { Exit::Ok } else { Exit::Problems })
}

fn row(entry: &Entry, known: &Known) -> anyhow::Result<Row> {
    let place = &entry.place;
    let variables = place.client.variables();
    let file = std::path::absolute(&place.file)?;
    let original = known.originals.iter().find(|original| original.file == file && original.path == entry.path);
    let by_http = reach::by_http(known.config.as_ref(), &entry.node);
    let ours = entry.kind == Kind::Ours || by_http;
    let state = match original {
        Some(original) if original.wrote_entry == entry.digest => State::Wrapped,
        Some(_) if ours || entry.kind == Kind::Other => State::Edited,
        None if ours => State::Ours,
        // What was never switched, or was put back by hand, is open whatever there is about it.
        Some(_) | None => State::Open,
    };
    let mut keys = clear::keys(&entry.node, variables, ours || state == State::Wrapped);
    let (state, problem) = match (state, original) {
        (State::Edited, Some(original)) => (state, Some(original.edited(&known.state_dir, "the entry"))),
        (State::Open, _) => {
            let folder = place.folder.as_deref();
            let said = entry::read(place.client, &entry.node, folder);
            match said.and_then(|said| keys::moved(said, variables, &Hints { folder, ..Hints::default() })) {
                Ok(moved) => {
                    keys = keys.max(moved.keys.iter().filter(|key| matches!(key.from, From::File(_))).count());
                    (State::Open, None)
                }
                Err(error) => (State::Blocked, Some(format!("{error:#}"))),
            }
        }
        _ => (state, reach::astray(entry, known.config.as_ref())),
    };
    let record = original.map(|original| original.place(&known.state_dir).display().to_string());
    Ok(Row {
        client: place.client.as_str(),
        scope: place.scope.as_str(),
        name: entry.name.clone(),
        file: place.file.display().to_string(),
        state,
        http: entry::address(&entry.node).is_some(),
        keys,
        problem,
        record,
    })
}

/// What an original is of, where no client's usual file has it.
fn elsewhere(around: &Surroundings, files: &Files, original: &Original, known: &Known) -> anyhow::Result<Row> {
    let place = undo::place(around, original)?;
    let opened = place.open(files)?;
    let members = place.read(&opened)?.take(original.path.split_last().map_or(&[], |(_, section)| section));
    if let Some(member) = members.into_iter().find(|member| member.name == original.name()) {
        return row(&Entry::new(place, original.path.clone(), member.value), known);
    }
    let what = if opened.exists() { "the entry" } else { "the file" };
    Ok(Row {
        client: place.client.as_str(),
        scope: place.scope.as_str(),
        name: original.name().to_owned(),
        file: original.file.display().to_string(),
        state: State::Edited,
        http: false,
        keys: 0,
        problem: Some(original.edited(&known.state_dir, what)),
        record: Some(original.place(&known.state_dir).display().to_string()),
    })
}

fn table(rows: &[Row]) {
    if rows.is_empty() {
        say!("no client has an entry");
        return;
    }
    let state = |row: &Row| {
        let state = match (row.state, row.keys) {
            (State::Wrapped, _) => "wrapped",
            (State::Edited, _) => "edited since",
            (State::Ours, 0) => "ours, by hand",
            (State::Ours, _) => "ours",
            (State::Blocked, 0) => "open, see below",
            (State::Open | State::Blocked, _) => "open",
        };
        match row.keys {
            0 => state.to_owned(),
            1 => format!("{state}, a key"),
            keys => format!("{state}, {keys} keys"),
        }
    };
    say!("{:<15} {:<8} {:<20} {:<16} FILE", "CLIENT", "SCOPE", "NAME", "STATE");
    for row in rows {
        let (name, file) = (visible::line(&row.name), visible::line(&row.file));
        say!("{:<15} {:<8} {:<20} {:<16} {}", row.client, row.scope, name, state(row), file);
    }
    for row in rows {
        if let Some(problem) = &row.problem {
            say!("\n{} {}: {}", row.client, visible::line(&row.name), super::lines(problem));
        }
    }
}
