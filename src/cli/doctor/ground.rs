//! What the checks look at: the configuration as far as it can be read, and what the daemon says of itself.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;

use crate::config::{self, Config, ConfigError};
use crate::control::client::{ControlError, Operator};
use crate::control::wire::{Command, Daemon, Notice};
use crate::credential::secret::SecretCell;
use crate::credential::source::{self, SecretError};
use crate::shim;

/// How long the daemon may take to say what it is.
const ASK: Duration = Duration::from_secs(10);
/// A longer file is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// Whatever is known before the first check.
pub struct Ground {
    pub me: u32,
    /// The configuration that is meant, whether it can be read or not.
    pub file: Option<PathBuf>,
    /// What `serve` would say of it.
    pub refused: Option<ConfigError>,
    /// Its content; also where others could change the file, or what it names.
    pub config: Option<Config>,
    /// Every secret of it, or why there is none.
    pub secrets: BTreeMap<String, Result<SecretCell, SecretError>>,
    /// Where the daemon listens.
    pub sockets: Option<PathBuf>,
    pub daemon: Result<Seen, NoDaemon>,
    /// This program.
    pub program: PathBuf,
}

/// A daemon that answered.
#[derive(Debug)]
pub struct Seen {
    pub daemon: Daemon,
    /// How many tools each server has listed.
    pub tools: BTreeMap<String, usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum NoDaemon {
    #[error("no folder for sockets is known; set COUNTERSIGN_RUNTIME_DIR")]
    NoFolder,
    #[error("the daemon did not answer within {} s", ASK.as_secs())]
    Silent,
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Ground {
    /// Looks at the configuration (`path`, or the one that `serve` would find) and asks its daemon.
    ///
    /// # Errors
    /// Where this program does not know where it is.
    pub async fn look(path: Option<&Path>) -> anyhow::Result<Ground> {
        let (file, config, refused) = configuration(path);
        let sockets = match &config {
            Some(config) => Some(config.runtime_dir.clone()),
            None => shim::default_socket().ok().and_then(|socket| socket.parent().map(Path::to_owned)),
        };
        let daemon = match &sockets {
            None => Err(NoDaemon::NoFolder),
            Some(folder) => {
                let asked = tokio::time::timeout(ASK, ask(&folder.join("operator.sock"))).await;
                asked.map_err(|_| NoDaemon::Silent).and_then(|asked| Ok(asked?))
            }
        };
        let secrets = match &config {
            Some(config) => secrets(config).await,
            None => BTreeMap::new(),
        };
        let me = rustix::process::geteuid().as_raw();
        Ok(Ground { me, file, refused, config, secrets, sockets, daemon, program: std::env::current_exe()? })
    }

    /// ` --config FILE`, for commands.
    pub fn with_config(&self, command: &str) -> String {
        match &self.file {
            Some(file) => format!("{command} --config {}", super::finding::shell(file)),
            None => command.to_owned(),
        }
    }
}

async fn secrets(config: &Config) -> BTreeMap<String, Result<SecretCell, SecretError>> {
    let each = config.secrets.iter().map(async |(name, from)| {
        let had = source::resolve(name, from).await.map(|secret| SecretCell::new(name, secret));
        (name.clone(), had)
    });
    join_all(each).await.into_iter().collect()
}

type Found = (Option<PathBuf>, Option<Config>, Option<ConfigError>);

fn configuration(path: Option<&Path>) -> Found {
    let file = match config::which(path) {
        Ok(file) => file,
        Err(error) => return (None, None, Some(error)),
    };
    match config::load(path) {
        Ok(config) => (Some(file), Some(config), None),
        Err(error) => {
            let config = text(&file).and_then(|text| config::parse(&text, &file).ok());
            (Some(file), config, Some(error))
        }
    }
}

/// Of a file that may not be trusted: it is looked at, and nothing is done because of it.
fn text(file: &Path) -> Option<String> {
    // A pipe would wait for its writer.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    std::fs::File::open(file).ok()?.take(MAX_BYTES + 1).read_to_string(&mut text).ok()?;
    Some(text)
}

pub async fn ask(socket: &Path) -> Result<Seen, ControlError> {
    let mut operator = Operator::connect(socket, false, true).await?;
    let Notice::Welcome { daemon, .. } = operator.welcome().clone() else {
        return Err(ControlError::Wire("it did not say what it is".to_owned()));
    };
    let mut tools = BTreeMap::new();
    for server in &daemon.servers {
        let name = server.name.clone();
        if let Notice::Tools { tools: listed, .. } = operator.ask(|seq| Command::Tools { seq, server: name }).await? {
            tools.insert(server.name.clone(), listed.len());
        }
    }
    Ok(Seen { daemon, tools })
}
