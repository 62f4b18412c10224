//! `countersign wrap` and `unwrap`: entries of MCP clients point at countersign, their keys move into the store, and
//! everything can be put back as it was.
//!
//! Invariant: the configuration is written before the client's file, and loads; an original is kept before its entry
//! changes; no key is in an original, a diff or a message.

#![allow(clippy::print_stderr)]

mod assigned;
mod clear;
mod clients;
mod diff;
mod entry;
mod files;
mod found;
mod gated;
mod jsonc;
mod keys;
mod ls;
mod one;
mod originals;
mod ours;
pub(super) mod reach;
mod remains;
mod sign_in;
mod toml;
mod tree;
mod undo;
pub(super) mod ways;
mod yaml;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{Exit, quoted};
use crate::call::Environment;
use crate::config::{Config, UnsignedRulings};
use crate::console::visible;
use clients::{Client, Place, SETTINGS, Scope, Surroundings};
use entry::Kind;
use files::Files;
use found::Entry;
use one::Run;
use originals::Alone;

/// Point an MCP client's entry at countersign, and move its keys out of the client's file.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The client
    #[arg(value_enum, required_unless_present = "all")]
    client: Option<Client>,
    /// The name of the entry in the client's file; one that is not there is added for a server of the configuration
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Every entry of the client, or of all clients
    #[arg(long, conflicts_with_all = ["server", "as_name"])]
    all: bool,
    /// Where the entry stands; files of projects are shared with others and only changed when this says so
    #[arg(long, value_enum)]
    scope: Option<Scope>,
    /// The client's file, where it is not in its usual place
    #[arg(long, value_name = "PATH", requires = "client")]
    file: Option<PathBuf>,
    /// Point the entry at the HTTP front with a token of the client's own, instead of starting the shim
    #[arg(long)]
    http: bool,
    /// Where the key works: production, sandbox, test, development, staging. Needed where its form does not show it
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// The vendor whose catalog is meant, where the package or address does not show it
    #[arg(long, value_name = "NAME")]
    vendor: Option<String>,
    /// Another name for the server in countersign.yaml
    #[arg(long = "as", id = "as_name", value_name = "NAME")]
    as_name: Option<String>,
    /// A variable, header or parameter that holds a key although it does not look like it
    #[arg(long, value_name = "NAME")]
    key: Vec<String>,
    /// How a server behind an address without a key is signed in to; else by what the entry says, and by OAuth where it
    /// says nothing and the server is on another machine
    #[arg(long, value_enum, value_name = "HOW")]
    auth: Option<sign_in::Auth>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Every entry of every client: which hold keys, and which are wrapped
    Ls(ls::Args),
}

/// Put a client's entry back as it was before it was wrapped.
#[derive(clap::Args, Debug)]
pub struct UnwrapArgs {
    /// The client; with --all everything that is wrapped
    #[arg(value_enum, required_unless_present = "all")]
    client: Option<Client>,
    /// The name of the entry, or of its server in the configuration
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Everything that is wrapped
    #[arg(long, conflicts_with = "server")]
    all: bool,
    /// The client's file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Debug)]
struct Common {
    /// The configuration; else the one that `serve` would find, or a new one in its place
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change nothing and print a unified diff of every file that would change
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    crate::credential::harden::harden()?;
    if let Some(Command::Ls(ls)) = &args.command {
        return ls::run(ls);
    }
    let surroundings = Surroundings::of_process()?;
    let mut run = Run {
        files: Files::new(args.common.dry_run),
        config: std::path::absolute(ours::place(args.common.config.as_deref())?)?,
        explicit: args.common.config.is_some(),
        stored: Vec::new(),
        http: args.http,
        environment: args.environment.clone(),
        vendor: args.vendor.clone(),
        as_name: args.as_name.clone(),
        keys: args.key.clone(),
        auth: args.auth,
    };
    let (state_dir, config) = ours::known(&run.config)?;
    let _alone = (!run.files.dry_run).then(|| Alone::take(&state_dir)).transpose()?;
    let (entries, problems) = chosen(&args, &surroundings, &run, (&state_dir, config.as_ref()))?;
    let mut exit = Exit::Ok;
    for problem in problems {
        eprintln!("countersign: {}", lines(&format!("{problem:#}")));
        exit = Exit::Problems;
    }
    if entries.is_empty() && !args.all {
        return add(&args, &surroundings, &mut run);
    }
    for entry in &entries {
        match run.wrap(entry) {
            Ok(told) => say!("{}", lines(&told)),
            Err(error) if args.all => {
                eprintln!("countersign: {}: not wrapped: {}", entry.shown(), lines(&format!("{error:#}")));
                let (client, name) = (entry.place.client.as_str(), quoted(&entry.name));
                eprintln!("help: to wrap it alone: countersign wrap {client} --server {name}");
                exit = Exit::Problems;
            }
            Err(error) => bail!("{}: not wrapped: {}", entry.shown(), lines(&format!("{error:#}"))),
        }
    }
    if entries.is_empty() {
        say!("nothing to wrap");
    }
    finish(&run.files, &run.config, !entries.is_empty() && exit == Exit::Ok);
    Ok(exit)
}

/// The entries that are meant, and the files that could not be looked at.
fn chosen(
    args: &Args,
    surroundings: &Surroundings,
    run: &Run,
    (state_dir, config): (&Path, Option<&Config>),
) -> anyhow::Result<(Vec<Entry>, Vec<anyhow::Error>)> {
    let clients: Vec<Client> = args.client.map_or_else(|| Client::ALL.to_vec(), |client| vec![client]);
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    for client in clients {
        for place in found::places(surroundings, client, args.scope, args.file.as_deref()) {
            if place.scope == Scope::Project && args.scope != Some(Scope::Project) {
                continue;
            }
            match found::entries(&run.files, &place) {
                Ok(found) => entries.extend(found),
                Err(error) if args.all => problems.push(error),
                Err(error) => return Err(error),
            }
        }
    }
    entries.retain(|entry| args.server.as_ref().is_none_or(|name| *name == entry.name));
    // Entries of other projects are left alone unless everything is meant.
    entries.retain(|entry| args.all || entry.is_near(&surroundings.current));
    // What reaches the HTTP front looks like any other server, but is known.
    let originals = originals::all(state_dir)?;
    for entry in &mut entries {
        let file = std::path::absolute(&entry.place.file)?;
        let is = |original: &originals::Original| original.is_of(&file, &entry.path, &entry.digest);
        if originals.iter().any(is) || reach::by_http(config, &entry.node) {
            entry.kind = Kind::Ours;
        }
    }
    let ours = entries.iter().filter(|entry| entry.kind == Kind::Ours).count();
    entries.retain(|entry| entry.kind == Kind::Server);
    if args.all {
        return Ok((entries, problems));
    }
    if entries.len() > 1 {
        let list: Vec<String> = entries.iter().map(|entry| format!("  {}", entry.shown())).collect();
        bail!(
            "there are {} entries:\n{}\nhelp: name one with --server NAME, and --scope where it is in several; --all takes \
             them all",
            entries.len(),
            list.join("\n")
        );
    }
    if entries.is_empty() && ours > 0 {
        bail!("it is wrapped already; `countersign wrap ls` shows everything");
    }
    Ok((entries, problems))
}

/// An entry for a server of the configuration, where the client has none.
fn add(args: &Args, surroundings: &Surroundings, run: &mut Run) -> anyhow::Result<Exit> {
    let client = args.client.context("a client")?;
    let Some(name) = &args.server else {
        eprintln!(
            "countersign: {} has no entry that could be wrapped\nhelp: `countersign wrap ls` shows what there is; for a \
             server of countersign.yaml, name it: --server NAME; for an entry of a project's file: --scope project",
            client.as_str()
        );
        return Ok(Exit::NotFound);
    };
    let scope = args.scope.unwrap_or(Scope::User);
    let mut places = found::places(surroundings, client, Some(scope), args.file.as_deref());
    let old = |place: &Place| client == Client::Vscode && place.file.file_name().is_some_and(|name| name == SETTINGS);
    places.retain(|place| args.file.is_some() || !old(place));
    places.sort_by_key(|place| place.file.symlink_metadata().is_err());
    let place = places.into_iter().next();
    let place = place.with_context(|| format!("{} has no file of the scope {}", client.as_str(), scope.as_str()))?;
    let place = place.of_project(&surroundings.current);
    match run.add(&place, name)? {
        Some(told) => say!("{}", lines(&told)),
        None => {
            eprintln!(
                "countersign: neither {} nor {} has a server `{}`\nhelp: `countersign wrap ls` shows the client's entries; \
                 `countersign init --server VENDOR` writes a configuration",
                client.as_str(),
                run.config.display(),
                visible::line(name)
            );
            return Ok(Exit::NotFound);
        }
    }
    finish(&run.files, &run.config, true);
    Ok(Exit::Ok)
}

pub fn unwrap(args: UnwrapArgs) -> anyhow::Result<Exit> {
    crate::credential::harden::harden()?;
    let config = ours::place(args.common.config.as_deref())?;
    let surroundings = Surroundings::of_process()?;
    let (state_dir, _) = ours::known(&config)?;
    let _alone = (!args.common.dry_run).then(|| Alone::take(&state_dir)).transpose()?;
    let file = args.file.as_deref().map(std::path::absolute).transpose()?;
    let mut originals = originals::all(&state_dir)?;
    originals.retain(|original| {
        args.client.is_none_or(|client| client.as_str() == original.client)
            && args.server.as_ref().is_none_or(|name| name == original.name() || *name == original.server)
            && file.as_ref().is_none_or(|file| *file == original.file)
    });
    if originals.is_empty() {
        eprintln!("countersign: nothing of that is wrapped; `countersign wrap ls` shows everything");
        return Ok(Exit::NotFound);
    }
    let mut files = Files::new(args.common.dry_run);
    let mut exit = Exit::Ok;
    for original in &originals {
        match undo::one(&mut files, &surroundings, &state_dir, original) {
            Ok(told) => say!("{}", lines(&told)),
            Err(error) => {
                let what = format!("{} {}: not unwrapped: {error:#}", original.client, original.name());
                eprintln!("countersign: {}", lines(&what));
                exit = Exit::Problems;
            }
        }
    }
    finish(&files, &config, false);
    Ok(exit)
}

/// Of a dry run: the differences. Of a real one: what comes next.
fn finish(files: &Files, config: &Path, wrapped: bool) {
    if files.dry_run {
        for (path, before, after) in files.changes() {
            let ours = config.canonicalize().is_ok_and(|config| config == path) || path == config;
            let of = match path.extension().and_then(|extension| extension.to_str()) {
                _ if ours => diff::Of::Configuration,
                Some("toml") => diff::Of::Client(tree::Format::Toml),
                Some("yaml" | "yml") => diff::Of::Client(tree::Format::Yaml),
                _ => diff::Of::Client(tree::Format::Jsonc),
            };
            say!("{}", diff::unified(path, of, before, after, files.keys()).trim_end_matches('\n'));
        }
    } else if wrapped {
        for line in enroll(config).iter().flatten() {
            say!("next: {line}");
        }
        say!("next: start `countersign serve` again, then the client");
    }
}

/// What has to be done before anybody can approve, where approvals have to be signed and no operator is listed.
fn enroll(config: &Path) -> Option<Vec<String>> {
    let loaded = crate::config::load(Some(config)).ok()?;
    let needs = |server: &crate::config::Server| match loaded.operators.unsigned_rulings {
        Some(UnsignedRulings::Refuse) => true,
        Some(UnsignedRulings::Accept) => false,
        None => Environment::declared(&server.environment).is_production(),
    };
    let (name, _) = loaded.servers.iter().find(|(_, server)| needs(server))?;
    let listed = loaded.operators.allowed_signers.as_deref();
    if listed.is_some_and(|list| crate::proxy::signers(list).map_or(true, |signers| signers.iter().next().is_some())) {
        return None;
    }
    let list = listed.map_or_else(|| config.with_file_name("operators.pub"), Path::to_owned);
    let list = quoted(&list.display().to_string());
    let mut told = vec![format!(
        "approvals of {name} have to be signed, and nobody can yet: countersign operator enroll NAME --key ~/.ssh/KEY.pub \
         --allowed-signers {list}"
    )];
    if listed.is_none() {
        told.push(format!("write into {}: operators: {{ allowed_signers: {list} }}", config.display()));
    }
    Some(told)
}

/// Lines in which every character is visible.
fn lines(text: &str) -> String {
    text.split('\n').map(diff::shown).collect::<Vec<_>>().join("\n")
}
