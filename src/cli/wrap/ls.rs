//! `countersign wrap ls`: what there is to wrap, and what is wrapped.

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use super::clients::{Client, Surroundings};
use super::entry::{self, Kind};
use super::files::Files;
use super::found::{self, Entry};
use super::keys::{self, From, Hints};
use super::originals::{self, Original};
use super::ours;
use crate::cli::Exit;
use crate::cli::ask;
use crate::console::visible;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration; else the one that `serve` would find
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
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
    /// It reaches countersign, and can be put back.
    Wrapped,
    /// It was wrapped, and somebody has changed it since.
    Edited,
    /// It reaches countersign, and was written by hand.
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
    /// Keys that stand in the client's file.
    keys: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let around = Surroundings::of_process()?;
    let state_dir = ours::state_dir(&ours::place(args.config.as_deref())?)?;
    let originals = originals::all(&state_dir)?;
    let files = Files::new(true);
    let (mut rows, mut unread) = (Vec::new(), Vec::new());
    for client in Client::ALL {
        for place in around.places(client) {
            match found::entries(&files, &place) {
                Ok(entries) => {
                    for entry in &entries {
                        rows.push(row(&files, entry, &originals)?);
                    }
                }
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

fn row(files: &Files, entry: &Entry, originals: &[Original]) -> anyhow::Result<Row> {
    let opened = entry.place.open(files)?;
    let root = entry.place.read(&opened)?;
    let node = root.at(&entry.path).context("the entry is not there any more")?;
    let file = std::path::absolute(&entry.place.file)?;
    let original = originals.iter().find(|original| original.file == file && original.path == entry.path);
    let mut problem = None;
    let mut keys = 0;
    let state = match (original, entry.kind) {
        (Some(original), _) if original.wrote_entry == entry.digest => State::Wrapped,
        (Some(_), _) => State::Edited,
        (None, Kind::Ours) => State::Ours,
        (None, Kind::Server | Kind::Other) => {
            let folder = entry.place.folder.as_deref();
            let said = entry::read(entry.place.client, node, folder);
            let hints = Hints { folder, ..Hints::default() };
            match said.and_then(|said| keys::moved(said, entry.place.client.variables(), &hints)) {
                Ok(moved) => {
                    keys = moved.keys.iter().filter(|key| matches!(key.from, From::File(_))).count();
                    State::Open
                }
                Err(error) => {
                    problem = Some(format!("{error:#}"));
                    State::Blocked
                }
            }
        }
    };
    Ok(Row {
        client: entry.place.client.as_str(),
        scope: entry.place.scope.as_str(),
        name: entry.name.clone(),
        file: entry.place.file.display().to_string(),
        state,
        keys,
        problem,
    })
}

fn table(rows: &[Row]) {
    if rows.is_empty() {
        say!("no client has an entry");
        return;
    }
    let state = |row: &Row| match (row.state, row.keys) {
        (State::Wrapped, _) => "wrapped".to_owned(),
        (State::Edited, _) => "edited since".to_owned(),
        (State::Ours, _) => "ours, by hand".to_owned(),
        (State::Open, 0) => "open".to_owned(),
        (State::Open, 1) => "open, a key".to_owned(),
        (State::Open, keys) => format!("open, {keys} keys"),
        (State::Blocked, _) => "open, see below".to_owned(),
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
