//! `countersign secret`: the keys that the configuration names. A value comes from stdin and from nowhere else; nothing
//! here prints more of one than its fingerprint.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::operator::Format;
use super::{Exit, quoted};
use crate::config::{self, Config, ConfigError};
use crate::console::visible;
use crate::credential::keyring::{self, Item, KeyringError};
use crate::credential::source::SecretSource;
use crate::credential::store::{self, Other, Put};
use crate::credential::{harden, secret::Secret};

mod input;
mod ls;

/// The attribute `service` of items that countersign makes itself.
const SERVICE: &str = "countersign";

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Keep a key, read from stdin: in the store of countersign's own, or where the configuration says it is
    Set {
        /// The secret's name in the configuration
        name: String,
        /// In the session's keyring, for a name that the configuration does not have yet
        #[arg(long)]
        keyring: bool,
        #[command(flatten)]
        place: Place,
    },
    /// The secrets: where each comes from, whether it can be read, who uses it
    Ls {
        #[command(flatten)]
        place: Place,
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Forget a key
    Rm {
        name: String,
        /// The one in the session's keyring, for a name that the configuration does not have
        #[arg(long)]
        keyring: bool,
        /// Also where the configuration uses it: the daemon then does not start again
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Whose secrets.
#[derive(clap::Args, Debug)]
pub struct Place {
    /// The configuration; else COUNTERSIGN_CONFIG, then the user's, then /etc/countersign/countersign.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    harden::harden().context("cannot protect this process")?;
    let place = match &command {
        Command::Set { place, .. } | Command::Ls { place, .. } | Command::Rm { place, .. } => place,
    };
    let known = match Known::load(place) {
        Ok(known) => known,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &command {
            Command::Set { name, keyring, .. } => set(&known, name, *keyring).await,
            Command::Ls { output, .. } => ls::show(&known, *output).await,
            Command::Rm { name, keyring, force, .. } => remove(&known, name, *keyring, *force).await,
        }
    })
}

/// The configuration, where there is one already, and the store.
struct Known {
    config: Option<Config>,
    folder: PathBuf,
}

impl Known {
    fn load(place: &Place) -> Result<Known, ConfigError> {
        match config::load(place.config.as_deref()) {
            Ok(config) => Ok(Known { folder: store::folder(&config.state_dir), config: Some(config) }),
            // Keys are often stored before the configuration is written.
            Err(ConfigError::NotFound(places)) => match config::default_state() {
                Some(state) => Ok(Known { folder: store::folder(&state), config: None }),
                None => Err(ConfigError::NotFound(places)),
            },
            Err(error) => Err(error),
        }
    }

    fn source(&self, name: &str) -> Option<&SecretSource> {
        self.config.as_ref()?.secrets.get(name)
    }
}

fn own_item(name: &str) -> Item {
    Item { service: SERVICE.to_owned(), user: name.to_owned() }
}

async fn set(known: &Known, name: &str, in_keyring: bool) -> anyhow::Result<Exit> {
    let source = known.source(name);
    match source {
        Some(SecretSource::Env(variable)) => bail!(
            "`{name}` comes from the environment variable {variable}: set it where countersign is started, or write \
             `{name}: stored` into the configuration and run this again"
        ),
        Some(SecretSource::Command { argv, .. }) => bail!(
            "`{name}` comes from the command `{}`: change it there, or write `{name}: stored` into the configuration \
             and run this again",
            argv.first().map_or("", String::as_str)
        ),
        Some(_) if in_keyring => bail!("the configuration says where `{name}` is; leave --keyring out"),
        _ => {}
    }
    if source.is_none() && !store::is_name(name) {
        return Err(store::StoreError::Name(name.to_owned()).into());
    }
    let secret = input::secret(name)?;
    let (done, place) = match source {
        Some(SecretSource::File(path)) => (store::replace(path, &secret)?, path.display().to_string()),
        Some(SecretSource::Keyring(item)) => {
            in_the_keyring(item, &secret).await?;
            (Put::Replaced, format!("the keyring ({item})"))
        }
        None if in_keyring => {
            let item = own_item(name);
            in_the_keyring(&item, &secret).await?;
            (Put::Replaced, format!("the keyring ({item})"))
        }
        _ => (store::put(&known.folder, name, &secret, Other::Replace)?, known.folder.join(name).display().to_string()),
    };
    let done = match done {
        Put::New | Put::Replaced => "stored",
        Put::Same => "was there already",
    };
    println!("{name} {}: {done}, in {}", secret.fingerprint(), visible::line(&place));
    if source.is_none() {
        let line = match in_keyring {
            true => format!("{name}: {{ keyring: {{ service: {SERVICE}, user: {name} }} }}"),
            false => format!("{name}: stored"),
        };
        println!("  write into countersign.yaml, under `secrets:`\n  {line}");
    } else if matches!(source, Some(SecretSource::Keyring(_))) {
        eprintln!("a daemon that runs takes it when it is told to: kill -HUP its process");
    }
    Ok(Exit::Ok)
}

async fn in_the_keyring(item: &Item, secret: &Secret) -> anyhow::Result<()> {
    keyring::put(item, secret).await.map_err(said)
}

fn said(error: KeyringError) -> anyhow::Error {
    anyhow::anyhow!("{error}; {}", error.help())
}

async fn remove(known: &Known, name: &str, in_keyring: bool, force: bool) -> anyhow::Result<Exit> {
    let source = known.source(name);
    if let Some(source) = source {
        let elsewhere = match source {
            SecretSource::Stored(_) | SecretSource::Keyring(_) => None,
            SecretSource::Env(variable) => Some(format!("the environment variable {variable}")),
            SecretSource::File(path) => Some(format!("the file {}", path.display())),
            SecretSource::Command { .. } => Some("a command".to_owned()),
        };
        if let Some(place) = elsewhere {
            bail!("`{name}` comes from {}, which is yours: remove it there", visible::line(&place));
        }
        if !force {
            let users = known.config.as_ref().map(|config| ls::users(config, name)).unwrap_or_default();
            let users = if users.is_empty() { String::new() } else { format!(" for {}", users.join(", ")) };
            eprintln!(
                "countersign: the configuration uses `{name}`{users}; take it out there first, or say --force: the daemon \
                 then does not start without it"
            );
            return Ok(Exit::NoEffect);
        }
    }
    let item = match source {
        Some(SecretSource::Keyring(item)) => Some(item.clone()),
        None if in_keyring => Some(own_item(name)),
        _ => None,
    };
    let was_there = match item {
        None => store::remove(&known.folder, name)?,
        Some(item) => match keyring::remove(&item).await {
            Ok(()) => true,
            Err(KeyringError::Missing(_)) => false,
            Err(error) => return Err(said(error)),
        },
    };
    if was_there {
        println!("{name} is forgotten; a key that was shared should be revoked where it was made");
        return Ok(Exit::Ok);
    }
    eprintln!("countersign: nothing is stored as {}; `countersign secret ls` shows what is", quoted(name));
    Ok(Exit::NotFound)
}

/// For a help line.
fn command_of(program: &Path) -> String {
    program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
