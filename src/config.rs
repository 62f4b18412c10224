//! The configuration: raw YAML, checked key by key, becomes a [`Config`]. Parts of the program take plain values from
//! it and never the whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Limits, Principal, ServerFacts};
pub use crate::credential::source::SecretSource;

/// A configuration that has passed every check that needs no secret and no network.
#[derive(Debug)]
pub struct Config {
    /// The file it came from; absent for the demo's.
    pub path: Option<PathBuf>,
    /// `audit.db` and whatever else survives a restart; mode 0700.
    pub state_dir: PathBuf,
    /// `client.sock` and `operator.sock`; mode 0700.
    pub runtime_dir: PathBuf,
    pub http: Option<HttpListen>,
    pub secrets: BTreeMap<String, SecretSource>,
    pub servers: BTreeMap<String, Server>,
    pub principals: Vec<PrincipalEntry>,
    pub policy: Policy,
    pub holds: Holds,
    pub operators: Operators,
    pub audit: Audit,
    pub limits: Limits,
}

#[derive(Clone, Debug)]
pub struct HttpListen {
    pub address: SocketAddr,
    /// `Host` values that are accepted, without port; loopback names by default.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that are accepted; none by default.
    pub allowed_origins: Vec<String>,
    /// A TLS-terminating proxy stands in front: needed for an address that is not loopback.
    pub behind_proxy: bool,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub facts: Arc<ServerFacts>,
    /// As declared; the key may contradict it, and then the daemon does not start.
    pub environment: String,
    pub upstream: Upstream,
    /// Catalog files beside the vendor's own.
    pub catalogs: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
pub enum Upstream {
    Stdio {
        command: String,
        args: Vec<String>,
        env: Vec<(String, Value)>,
        /// Names of variables of the daemon that the child may see besides the short default list.
        inherit: Vec<String>,
        cwd: Option<PathBuf>,
    },
    Http {
        url: String,
        headers: Vec<(String, Value)>,
    },
}

/// A value that may be a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Plain(String),
    /// Name of a secret, and a text that stands before it, for example `Bearer `.
    Secret {
        name: String,
        prefix: String,
    },
}

#[derive(Clone, Debug)]
pub struct PrincipalEntry {
    pub principal: Arc<Principal>,
    pub by: Match,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Match {
    /// Name of the secret that is the bearer token.
    Token(String),
    Uid(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Enforce,
    Warn,
    Shadow,
}

#[derive(Clone, Debug)]
pub struct Policy {
    pub builtin: Vec<String>,
    /// Files and folders of the operator's own policies and data.
    pub paths: Vec<PathBuf>,
    pub modes: BTreeMap<String, Mode>,
    pub time_limit: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct Holds {
    pub ttl: Duration,
    /// How long a hold waits for a console where none is attached.
    pub no_console_grace: Duration,
    pub max_pending: usize,
    pub max_per_principal: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnsignedRulings {
    Refuse,
    Accept,
}

#[derive(Clone, Copy, Debug)]
pub struct Operators {
    /// Absent: refused for production, accepted elsewhere.
    pub unsigned_rulings: Option<UnsignedRulings>,
}

#[derive(Clone, Copy, Debug)]
pub struct Audit {
    /// Sync reads to disk too.
    pub sync_all: bool,
}
