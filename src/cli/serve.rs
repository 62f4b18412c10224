//! `countersign serve`: the daemon in the foreground, with or without a console in the same terminal.

#![allow(clippy::print_stderr)]

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::console::LookArgs;
use super::operator::SignArgs;
use super::{Exit, log, ready};
use crate::config::{self, Config};
use crate::console::Options;
use crate::credential::scrub::Scrubber;
use crate::proxy::{Daemon, StartError};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The configuration; else COUNTERSIGN_CONFIG, then the user's, then /etc/countersign/countersign.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run the console in this terminal; the log then goes to countersign.log in the state folder
    #[arg(long)]
    console: bool,
    #[command(flatten)]
    sign: SignArgs,
    #[command(flatten)]
    look: LookArgs,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    crate::credential::harden::harden().context("cannot protect this process")?;
    let config = match config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let scrubber = Arc::default();
    if args.console {
        log_to_file(&config.state_dir, &scrubber)?;
    } else {
        log_to_stderr(&scrubber);
    }
    let look = args.look.onto(Options::default());
    let loaded = config.policy.paths.clone();
    let console = if args.console {
        let Some(keys) = args.look.keys() else { return Ok(Exit::Usage) };
        Some(Options { signing: args.sign.signing()?, name: args.sign.name(), loaded, keys, ..look })
    } else {
        None
    };
    runtime()?.block_on(serve(config, console, scrubber))
}

/// The runtime of the daemon and of the demo.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// `console`: with a console in this terminal, that looks and signs so.
async fn serve(config: Config, console: Option<Options>, scrubber: Arc<Scrubber>) -> anyhow::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // A key that a program fetches and a server that is asked for its account may take minutes.
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let daemon = match Daemon::start(config, Arc::clone(&scrubber), stopped).await {
        Ok(daemon) => daemon,
        Err(error @ StartError::Stopped) => {
            tracing::info!("{error}");
            return Ok(Exit::Ok);
        }
        Err(error) => {
            eprintln!("error: {}", scrubber.line(&error.to_string()));
            return Ok(Exit::Usage);
        }
    };
    if console.is_none() {
        eprintln!("{}", readiness(&daemon));
    }
    ready::tell(ready::READY);
    let stop = CancellationToken::new();
    let mut console_ended = console
        .clone()
        .map(|options| tokio::spawn(console_here(daemon.operator_socket.clone(), options, stop.clone())));
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hangup.recv() => {
                // With a console in this terminal a hang-up is the loss of the terminal.
                if console.is_some() {
                    break Ok(());
                }
                // What is refused is logged and recorded; the old policy stays in force, and the old key in use.
                let _ = daemon.reload().await;
            }
            ended = wait(&mut console_ended) => {
                console_ended = None;
                break ended;
            }
        }
    };
    ready::tell(ready::STOPPING);
    stop.cancel();
    if let Some(console) = console_ended {
        let _ = console.await;
    }
    daemon.shutdown().await;
    ended.map(|()| Exit::Ok)
}

/// One line that scripts wait for.
fn readiness(daemon: &Daemon) -> String {
    let http = daemon.http.map_or_else(|| "-".to_owned(), |address| address.to_string());
    format!(
        "listening http={http} client={} operator={}",
        daemon.client_socket.display(),
        daemon.operator_socket.display()
    )
}

async fn console_here(socket: PathBuf, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    // Signals are the daemon's business here: it stops the console.
    let options = Options { stop, ..options };
    crate::console::run(&socket, options).await?;
    Ok(())
}

async fn wait(console: &mut Option<tokio::task::JoinHandle<anyhow::Result<()>>>) -> anyhow::Result<()> {
    match console {
        Some(console) => console.await?,
        None => std::future::pending().await,
    }
}

fn filter() -> tracing_subscriber::EnvFilter {
    let wanted = tracing_subscriber::EnvFilter::try_from_env("COUNTERSIGN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("countersign=info,upstream=info,warn"));
    // What the way to the keyring says of itself holds the bytes of its messages.
    let silent =
        ["zbus=off", "zbus_secret_service_keyring_store=off", "keyring_core=off", "apple_native_keyring_store=off"];
    silent.iter().filter_map(|directive| directive.parse().ok()).fold(wanted, |filter, one| filter.add_directive(one))
}

pub(super) fn log_to_stderr(scrubber: &Arc<Scrubber>) {
    let stderr = tracing_subscriber::fmt().with_env_filter(filter()).with_writer(std::io::stderr).with_ansi(false);
    stderr.fmt_fields(log::fields(Arc::clone(scrubber))).init();
    log::panics();
}

fn log_to_file(state_dir: &Path, scrubber: &Arc<Scrubber>) -> anyhow::Result<()> {
    crate::transport::runtime_dir::private_folder(state_dir)?;
    let path = state_dir.join("countersign.log");
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write the log {}", path.display()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(std::sync::Mutex::new(file))
        .with_ansi(false)
        .fmt_fields(log::fields(Arc::clone(scrubber)))
        .init();
    log::panics();
    Ok(())
}
