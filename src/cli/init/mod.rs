//! `countersign init`: a configuration, a folder of policies with tests and data, and for servers that no catalog knows
//! a catalog to fill in. Nothing that exists is touched.
//!
//! Invariant: nothing is written before all of it was planned and the configuration has been read back.

#![allow(clippy::print_stderr)]

mod template;
mod tools;

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::json;

use super::{Exit, quoted};
use crate::config;
use crate::console::visible;
use crate::credential::trust;
use crate::sandbox;

pub use tools::Tool;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder to write into; else the one in which `serve` looks for its configuration
    dir: Option<PathBuf>,
    /// The vendor of the server
    #[arg(long, value_enum)]
    server: Vendor,
    /// The server's name in the configuration; else the vendor's
    #[arg(long)]
    name: Option<String>,
    /// Ask a server for its tools: the command after `--` is started, and only asked to list them
    #[arg(long, requires = "command")]
    from_live: bool,
    /// Take the tools from a file: the result of `tools/list`, or a list of tools, in JSON
    #[arg(long, value_name = "FILE", conflicts_with = "from_live")]
    from_tools: Option<PathBuf>,
    /// A variable of this environment that the command of --from-live needs; it becomes a secret in the configuration
    #[arg(long, value_name = "NAME", requires = "from_live")]
    env: Vec<String>,
    /// Start the command of --from-live without a sandbox, for one that needs files of its own
    #[arg(long, requires = "from_live")]
    no_sandbox: bool,
    /// Print what would be written
    #[arg(long)]
    dry_run: bool,
    /// The command of --from-live and its arguments
    #[arg(last = true, value_name = "COMMAND", requires = "from_live")]
    command: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Vendor {
    Stripe,
    Stigg,
    Statsig,
    Custom,
}

impl Vendor {
    pub fn as_str(self) -> &'static str {
        match self {
            Vendor::Stripe => "stripe",
            Vendor::Stigg => "stigg",
            Vendor::Statsig => "statsig",
            Vendor::Custom => "custom",
        }
    }
}

/// A file to write.
pub struct Planned {
    /// Below the folder.
    path: PathBuf,
    text: String,
    /// What it is for.
    about: &'static str,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => config::user_folder().context("say which folder to write into: countersign init DIR --server ...")?,
    };
    let dir = std::path::absolute(&dir).with_context(|| format!("{} is no folder", dir.display()))?;
    let name = args.name.as_deref().unwrap_or(args.server.as_str());
    let tools = match (&args.from_tools, args.from_live) {
        (Some(file), _) => Some(tools::from_file(file)?),
        (None, true) => Some(tools::from_live(&args.command, &args.env, !args.no_sandbox)?),
        (None, false) => None,
    };
    let command = args.command.split_first();
    let sandboxes = !sandbox::support().is_nothing();
    let asked =
        template::Asked { vendor: args.server, name, command, env: &args.env, tools: tools.as_deref(), sandboxes };
    let plan = template::plan(&asked)?;
    // A mistake in here would be ours, or a name that no server can have.
    if let Some(file) = plan.first() {
        config::parse(&file.text, &dir.join(&file.path)).context("the configuration would not load")?;
    }
    if let Some(there) = plan.iter().map(|file| dir.join(&file.path)).find(|path| path.symlink_metadata().is_ok()) {
        bail!("{} exists, and nothing was written\nhelp: name another folder, or move the file away", there.display());
    }
    if args.dry_run {
        for file in &plan {
            say!("# {}: {}\n{}", dir.join(&file.path).display(), file.about, file.text);
        }
        return Ok(Exit::Ok);
    }
    for file in &plan {
        write(&dir, file)?;
    }
    tell(&dir, &plan, args, tools.as_deref());
    Ok(Exit::Ok)
}

/// Only for its owner: the configuration says where keys are, and whoever may write a policy may allow everything.
fn write(dir: &Path, file: &Planned) -> anyhow::Result<()> {
    let path = dir.join(&file.path);
    let failed = || format!("{} cannot be written", path.display());
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(failed)?;
    out.write_all(file.text.as_bytes()).with_context(failed)?;
    Ok(())
}

fn tell(dir: &Path, plan: &[Planned], args: &Args, tools: Option<&[Tool]>) {
    say!("wrote into {}", visible::line(&dir.display().to_string()));
    let width = plan.iter().map(|file| file.path.display().to_string().len()).max().unwrap_or(0);
    for file in plan {
        say!("  {:<width$}  {}", file.path.display().to_string(), file.about);
    }
    if let Some(tools) = tools {
        say!("\n{} tools, all of class unknown until you say what they do in the catalog", tools.len());
    }
    let config = quoted(&dir.join("countersign.yaml").display().to_string());
    let variables = template::variables(args.server, &args.env);
    say!("\nnext:");
    for variable in variables {
        say!("  export {variable}=...   # the key; it stays out of the files");
    }
    say!("  countersign policy test {}", quoted(&dir.join("policies").display().to_string()));
    say!("  countersign policy check --config {config}");
    say!("  countersign policy coverage --config {config}   # what is decided, and by which rule");
    say!("  countersign serve --config {config} --console");
    say!("  countersign doctor --config {config}   # in another terminal: from the client to the server");
    clients(args.name.as_deref().unwrap_or(args.server.as_str()));
}

/// How clients get to the server: what to run, or what to write.
fn clients(name: &str) {
    let found = trust::find_command("countersign", std::env::var_os("PATH").as_deref()).is_ok();
    let own = std::env::current_exe().ok().filter(|_| !found);
    let program = own.map_or_else(|| "countersign".to_owned(), |own| own.display().to_string());
    let shell = quoted(&program);
    let entry = format!(r#""command":{},"args":["connect",{}]"#, json!(program), json!(name));
    let named = format!(r#"{{"name":{},{entry}}}"#, json!(name));
    say!("\nthen let your client start it:");
    say!("  claude mcp add {name} -- {shell} connect {name}");
    say!("  codex mcp add {name} -- {shell} connect {name}");
    say!("  gemini mcp add {name} {shell} connect {name}");
    say!("  code --add-mcp {}", quoted(&named));
    say!("  Cursor, Claude Desktop, Windsurf: {{\"mcpServers\":{{{}:{{{entry}}}}}}}", json!(name));
}
