//! `countersign console`.

#![allow(clippy::print_stderr)]

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Exit;
use super::operator::SignArgs;
use crate::config::{self, ConfigError};
use crate::console::keymap::Keymap;
use crate::console::theme::{Colour, Theme};
use crate::console::{self, ConsoleError, Options, plain};
use crate::control::client::ControlError;
use crate::shim;

/// File name of the operator's socket in the runtime directory.
const SOCKET: &str = "operator.sock";

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    sign: SignArgs,
    #[command(flatten)]
    look: LookArgs,
    /// Watch and rule nothing
    #[arg(long)]
    read_only: bool,
    /// A conversation instead of a screen: lines that are never redrawn, answers in whole words. On a terminal by itself
    /// where TERM is dumb, where stdout goes elsewhere, and with COUNTERSIGN_ACCESSIBLE=1
    #[arg(long)]
    plain: bool,
}

/// How the console looks.
#[derive(clap::Args, Clone, Debug)]
pub struct LookArgs {
    /// auto, light, dark, high-contrast, mono or okabe-ito (for terminals with 24-bit colour)
    #[arg(long, value_name = "NAME", default_value = "auto")]
    theme: Theme,
    /// auto, always or never; auto obeys NO_COLOR, CLICOLOR and CLICOLOR_FORCE
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Colour,
    /// Draw with nothing but ASCII; by itself where the locale is not UTF-8
    #[arg(long)]
    ascii: bool,
    /// Leave the mouse to the terminal
    #[arg(long)]
    no_mouse: bool,
    /// No bell and no message of the terminal when a call is new
    #[arg(long)]
    no_bell: bool,
    /// Keys of your own for the actions of the screens; by itself `keys.yaml` beside the user's configuration, where it
    /// is there
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

impl LookArgs {
    pub fn onto(&self, options: Options) -> Options {
        let (mouse, bell) = (options.mouse && !self.no_mouse, options.bell && !self.no_bell);
        let options = Options { ascii: options.ascii || self.ascii, mouse, bell, ..options };
        options.coloured(self.theme, self.color)
    }

    /// The keys that the operator wants; nothing where the file is wrong, which is said on stderr.
    pub fn keys(&self) -> Option<Keymap> {
        let keys = super::keyfile::load(self.keys.as_deref());
        keys.inspect_err(|error| eprintln!("{}\n\ncountersign: no console without its keys", error.render(false))).ok()
    }
}

/// Where the daemon is.
#[derive(clap::Args, Clone, Debug)]
pub struct DaemonArgs {
    /// The daemon's operator socket
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// The configuration whose runtime_dir has the socket
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "socket")]
    config: Option<PathBuf>,
}

impl DaemonArgs {
    /// `--config`.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The operator socket: `--socket`, or in the `runtime_dir` of `--config`; else in `COUNTERSIGN_RUNTIME_DIR`, else in
    /// the `runtime_dir` of the configuration that is found, else in its default.
    ///
    /// # Errors
    /// Where none of these names a directory.
    pub fn socket(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if self.config.is_none()
            && let Some(dir) = std::env::var_os("COUNTERSIGN_RUNTIME_DIR").filter(|dir| !dir.is_empty())
        {
            return Ok(Path::new(&dir).join(SOCKET));
        }
        Ok(runtime_dir(self.config.as_deref())?.join(SOCKET))
    }
}

/// The configuration's, or its default where there is no configuration at all; one that cannot be read is an error,
/// because it may name another folder.
fn runtime_dir(path: Option<&Path>) -> anyhow::Result<PathBuf> {
    match config::load(path) {
        Ok(config) => Ok(config.runtime_dir),
        Err(ConfigError::NotFound(_)) if path.is_none() => {
            // Where a client without a configuration looks too.
            let client = shim::default_socket().context("say where the daemon is with --socket or --config")?;
            client.parent().map(Path::to_owned).context("the runtime directory has no name")
        }
        Err(
            error @ (ConfigError::NotFound(_)
            | ConfigError::File(_)
            | ConfigError::NotUtf8 { .. }
            | ConfigError::Invalid(_)),
        ) => Err(error.into()),
    }
}

/// Says on stderr why the daemon cannot be talked to, and what to do.
pub fn unreachable(error: &ControlError) -> Exit {
    eprintln!("countersign: {}", console::visible::line(&error.to_string()));
    match error {
        ControlError::Unreachable { .. } => {
            eprintln!("help: start it with `countersign serve`, or name its socket with --socket PATH");
        }
        ControlError::Foreign { .. } => eprintln!("help: the daemon belongs to the operator: run this as that user"),
        ControlError::Version { .. } | ControlError::Wire(_) | ControlError::Refused(_) => {
            eprintln!("help: use the same version of countersign on both sides");
        }
        ControlError::Closed | ControlError::Io(_) | ControlError::TooLong(_) => {}
    }
    Exit::Unreachable
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    crate::credential::harden::harden().context("cannot protect this process")?;
    let socket = args.daemon.socket()?;
    let (signing, name) = (args.sign.signing()?, args.sign.name());
    let options = Options { signing, name, read_only: args.read_only, ..Options::alone() };
    // Where it cannot be read here the daemon has read another, and what holds say of their rules has to do.
    let loaded = config::load(args.daemon.config()).map(|config| config.policy.paths).unwrap_or_default();
    let options = Options { loaded, ..args.look.onto(options) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = if args.plain || plain::is_wanted() {
        // Whole words are its keys.
        let Options { stop, ascii, bell, signing, name, loaded, .. } = options;
        let read_only = args.read_only;
        let options = plain::Options { stop, signals: true, read_only, ascii, bell, signing, name, loaded };
        runtime.block_on(plain::run(&socket, options))
    } else {
        let Some(keys) = args.look.keys() else { return Ok(Exit::Usage) };
        runtime.block_on(console::run(&socket, Options { keys, ..options }))
    };
    match ended {
        Ok(_) => Ok(Exit::Ok),
        Err(ConsoleError::Control(error)) => Ok(unreachable(&error)),
        Err(error @ ConsoleError::NoTerminal) => {
            eprintln!("countersign: {error}");
            eprintln!("help: `countersign pending ls`, `watch`, `approve` and `reject` do without one");
            Ok(Exit::Usage)
        }
        Err(error @ (ConsoleError::Terminal(_) | ConsoleError::Panicked)) => {
            eprintln!("countersign: {error}");
            Ok(Exit::Problems)
        }
    }
}
