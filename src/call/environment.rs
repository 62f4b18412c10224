//! Where a server works, and what that rests on.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentSource {
    /// Declared in the configuration; the key says nothing about it.
    Config,
    /// Declared, and the form of the key says the same.
    Key,
    /// Declared, and what the server answered at start says the same.
    Probe,
}

/// The environment of a server.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Environment {
    pub name: String,
    pub source: EnvironmentSource,
    /// True where the key or the server's answer proves what the configuration declares.
    pub verified: bool,
    /// What contradicts it, where something does.
    pub conflict: Option<String>,
    /// Accounts that calls may name: those of the configuration, and the one that the server said its key belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

impl Environment {
    /// As the configuration says it, proved by nothing.
    pub fn declared(name: &str) -> Environment {
        Environment {
            name: name.to_owned(),
            source: EnvironmentSource::Config,
            verified: false,
            conflict: None,
            accounts: Vec::new(),
        }
    }

    /// Only these names are taken for harmless; everything else counts as production.
    pub fn is_production(&self) -> bool {
        !matches!(self.name.as_str(), "sandbox" | "test" | "development" | "staging")
    }
}
