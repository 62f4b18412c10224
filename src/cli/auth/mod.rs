//! `countersign auth`: an operator signs in at a server, sees how the sign-ins stand, and ends them. A daemon that runs
//! notices by itself.
//!
//! Invariant: a token is never shown; what servers say is shown with every character visible.

#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::Exit;
use crate::config::{self, Config, ConfigError, OAuth};
use crate::console::visible;
use crate::credential::oauth::{Http, Revoked, Settings, Store, revoke};
use crate::credential::secret::SecretCell;
use crate::credential::source;
use crate::proxy::sign_in;

mod browser;
mod login;
mod status;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Sign in at a server: opens its authorization server's page in a browser and waits for the answer
    Login {
        #[command(flatten)]
        at: At,
        /// The server, as the configuration names it
        server: String,
        /// Print the page's address and open nothing
        #[arg(long)]
        no_browser: bool,
        /// For a browser on another machine: print the address, and read from stdin the address that it ends at
        #[arg(long)]
        paste: bool,
    },
    /// How the sign-ins stand; exits with 4 where somebody has to sign in, with 1 where countersign itself cannot
    Status {
        #[command(flatten)]
        at: At,
        /// Of this server only
        server: Option<String>,
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// End a sign-in: its tokens are revoked and forgotten
    Logout {
        #[command(flatten)]
        at: At,
        /// The server, as the configuration names it
        server: String,
    },
}

#[derive(clap::Args, Debug)]
pub struct At {
    /// The configuration; else COUNTERSIGN_CONFIG, then the user's, then /etc/countersign/countersign.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people
    Table,
    /// One object of the schema countersign.sign_ins/v1
    Json,
}

/// One server that is signed in to, with everything that this takes.
struct Place {
    settings: Settings,
    oauth: OAuth,
    store: Arc<Store>,
    operator_socket: PathBuf,
}

impl Place {
    fn http(&self) -> anyhow::Result<Http> {
        sign_in::http(&self.settings).map_err(|why| anyhow!(why))
    }
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    crate::credential::harden::harden().context("cannot protect this process")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Login { at, server, no_browser, paste } => runtime.block_on(async {
            let way = if paste { login::Way::Paste } else { login::Way::Browser { open: !no_browser } };
            match at.one(&server).await? {
                Ok(place) if place.settings.client.alone().is_some() => Ok(nobody(&place)),
                Ok(place) => login::login(&place, way).await,
                Err(exit) => Ok(exit),
            }
        }),
        Command::Status { at, server, output } => runtime.block_on(async {
            match at.several(server.as_deref()).await? {
                Ok(places) => status::status(&places, output).await,
                Err(exit) => Ok(exit),
            }
        }),
        Command::Logout { at, server } => runtime.block_on(async {
            match at.one(&server).await? {
                Ok(place) => logout(&place).await,
                Err(exit) => Ok(exit),
            }
        }),
    }
}

impl At {
    async fn one(&self, server: &str) -> anyhow::Result<Result<Place, Exit>> {
        Ok(self.several(Some(server)).await?.and_then(|places| places.into_iter().next().ok_or(Exit::NotFound)))
    }

    /// The servers that are signed in to, or the one.
    async fn several(&self, only: Option<&str>) -> anyhow::Result<Result<Vec<Place>, Exit>> {
        let config = match config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(error) => return Ok(Err(complain(&error))),
        };
        if let Some(server) = only
            && !config.sign_ins().any(|(name, _, _)| name == server)
        {
            return Ok(Err(unknown(&config, server)));
        }
        let secrets = secrets(&config, only).await?;
        let store = sign_in::store(&config, &secrets)?;
        let mut places = Vec::new();
        for (name, url, oauth) in config.sign_ins().filter(|(name, _, _)| only.is_none_or(|only| only == *name)) {
            let settings = sign_in::settings(name, url, oauth, &secrets).map_err(|why| anyhow!(why))?;
            let operator_socket = config.runtime_dir.join("operator.sock");
            places.push(Place { settings, oauth: oauth.clone(), store: Arc::clone(&store), operator_socket });
        }
        Ok(Ok(places))
    }
}

fn complain(error: &ConfigError) -> Exit {
    eprintln!("{error}");
    Exit::Usage
}

fn unknown(config: &Config, server: &str) -> Exit {
    let shown = visible::line(server);
    if config.servers.contains_key(server) {
        eprintln!(
            "countersign: nobody signs in at {shown}: its configuration has no `auth`; for OAuth write \
             servers.{shown}.upstream.http.auth: oauth"
        );
    } else {
        eprintln!("countersign: there is no server {shown}");
    }
    Exit::NotFound
}

/// Those that this takes, and no other.
async fn secrets(config: &Config, only: Option<&str>) -> anyhow::Result<BTreeMap<String, SecretCell>> {
    let mut secrets = BTreeMap::new();
    for name in sign_in::secrets_of(config, only) {
        if let Some(from) = config.secrets.get(name) {
            let secret = source::resolve(name, from).await?;
            secrets.insert(name.to_owned(), SecretCell::new(name, secret));
        }
    }
    Ok(secrets)
}

/// Where there is nothing to sign in to.
fn nobody(place: &Place) -> Exit {
    eprintln!(
        "countersign: there is nothing to sign in to: at {} countersign signs in by itself (`grant` in its \
         configuration)",
        place.settings.server
    );
    Exit::NoEffect
}

async fn logout(place: &Place) -> anyhow::Result<Exit> {
    let server = &place.settings.server;
    match revoke(&place.settings, &place.store, &place.http()?).await? {
        Revoked::Nothing if place.settings.client.alone().is_some() => {
            eprintln!(
                "countersign: nobody was signed in at {server}: countersign signs in there by itself; to end that, revoke \
                 the client at the authorization server, and take the server out of the configuration"
            );
            Ok(Exit::Ok)
        }
        Revoked::Nothing => {
            eprintln!("countersign: nobody was signed in at {server}");
            Ok(Exit::Ok)
        }
        Revoked::Revoked => {
            eprintln!("countersign: signed out of {server}; its tokens are revoked");
            Ok(Exit::Ok)
        }
        Revoked::Not(why) => {
            let why = visible::line(&why);
            eprintln!(
                "countersign: signed out of {server} here, but its tokens could not be revoked ({why}); they count until \
                 they end: end the access in the account's settings at the server"
            );
            Ok(Exit::Problems)
        }
    }
}
