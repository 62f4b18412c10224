//! `countersign secret ls`: every secret of the configuration, and what else is stored.

#![allow(clippy::print_stdout)]

use serde_json::{Value, json};

use super::{Known, command_of};
use crate::cli::Exit;
use crate::cli::operator::Format;
use crate::config::{Config, Match, NotifyTo};
use crate::console::visible;
use crate::credential::source::{self, SecretSource};
use crate::credential::store;

const SCHEMA: &str = "countersign.secrets/v1";

/// A secret as it is listed. Nothing of the key is in it.
struct Row {
    name: String,
    kind: &'static str,
    /// The variable, path, program or item.
    at: String,
    /// The fingerprint, or why it cannot be read.
    read: Result<String, String>,
    users: Vec<String>,
    configured: bool,
}

/// # Errors
/// Where the store cannot be read.
pub async fn show(known: &Known, format: Format) -> anyhow::Result<Exit> {
    let rows = rows(known).await?;
    let unread = rows.iter().any(|row| row.configured && row.read.is_err());
    match format {
        Format::Json => {
            let secrets: Vec<Value> = rows.iter().map(Row::json).collect();
            println!("{}", json!({"schema": SCHEMA, "secrets": secrets}));
        }
        Format::Table => rows.iter().for_each(Row::print),
    }
    Ok(if unread { Exit::Problems } else { Exit::Ok })
}

async fn rows(known: &Known) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let configured = known.config.iter().flat_map(|config| &config.secrets);
    for (name, source) in configured {
        let users = known.config.as_ref().map(|config| users(config, name)).unwrap_or_default();
        rows.push(Row::read(name, source, users, true).await);
    }
    for name in store::names(&known.folder)? {
        let source = store::source(&known.folder, &name);
        if !rows.iter().any(|row| row.name == name && row.kind == "stored") {
            rows.push(Row::read(&name, &source, Vec::new(), false).await);
        }
    }
    Ok(rows)
}

impl Row {
    async fn read(name: &str, source: &SecretSource, users: Vec<String>, configured: bool) -> Row {
        let (kind, at) = match source {
            SecretSource::Env(variable) => ("env", variable.clone()),
            SecretSource::File(path) => ("file", path.display().to_string()),
            SecretSource::Command { argv, .. } => {
                ("command", argv.first().map(|program| command_of(program.as_ref())).unwrap_or_default())
            }
            SecretSource::Stored(path) => ("stored", path.display().to_string()),
            SecretSource::Keyring(item) => ("keyring", item.to_string()),
        };
        let read = source::resolve(name, source).await;
        let read = read.map(|secret| secret.fingerprint()).map_err(|error| error.to_string());
        Row { name: name.to_owned(), kind, at, read, users, configured }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "source": self.kind,
            "at": self.at,
            "readable": self.read.is_ok(),
            "fingerprint": self.read.as_ref().ok(),
            "problem": self.read.as_ref().err(),
            "used_by": self.users,
            "configured": self.configured,
        })
    }

    fn print(&self) {
        let users = match (self.users.as_slice(), self.configured) {
            (_, false) => "not in the configuration".to_owned(),
            ([], true) => "used by nothing".to_owned(),
            (users, true) => users.join(", "),
        };
        let state = self.read.as_ref().map_or("cannot be read", String::as_str);
        println!("{}  {} {}  {state}  {}", self.name, self.kind, visible::line(&self.at), visible::line(&users));
        if let Err(problem) = &self.read {
            println!("  {}", visible::line(problem));
        }
    }
}

/// Who gets a key: `server stripe`, `principal agent`, `notify[0]`, `oauth.key`.
pub fn users(config: &Config, secret: &str) -> Vec<String> {
    let mut users = Vec::new();
    for (name, server) in &config.servers {
        if server.upstream.secrets().any(|name| name == secret) {
            users.push(format!("server {name}"));
        }
    }
    let tokens = config.principals.iter().filter(|entry| matches!(&entry.by, Match::Token(name) if name == secret));
    users.extend(tokens.map(|entry| format!("principal {}", entry.principal.name)));
    for (index, entry) in config.notify.iter().enumerate() {
        if matches!(&entry.to, NotifyTo::Webhook { secret: name, .. } if name == secret) {
            users.push(format!("notify[{index}]"));
        }
    }
    users.extend(config.oauth_key.iter().filter(|name| *name == secret).map(|_| "oauth.key".to_owned()));
    users
}
