//! The configuration: `countersign.yaml`, checked key by key, becomes a [`Config`]. Parts of the program take plain
//! values from it and never the whole.
//!
//! The file is read once, into a tree that knows where everything stands (`yaml`); its sections are read from the tree
//! (`sections`, `servers`, `issuers`, `principals`, `scopes`) and compared with each other (`cross`). All problems are collected and shown together.
//! Invariant: where a single one was found there is no `Config`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Limits, Principal, ServerFacts};
use crate::credential::shape::Kinds;
pub use crate::credential::source::SecretSource;
use crate::credential::store;
pub use crate::credential::token::{ClaimTest, Issuer, KeySource};
use crate::credential::trust::{self, Readers, TrustError};
use crate::sandbox::Wishes;

mod auth;
mod cross;
pub mod edit;
mod expand;
mod fields;
mod gate;
mod hidden;
mod issuers;
mod known;
mod notify;
mod principals;
mod problem;
mod query;
mod sandbox;
mod scopes;
mod secrets;
mod sections;
mod servers;
pub mod words;
mod yaml;

pub use auth::{Grant, Idp, OAuth, Subject};
pub use gate::{cannot_fetch, fetches};
pub use notify::{Notify, NotifyTo, QuietHours};
pub use problem::{Code, Problem, Report};
pub use query::parameters;
pub use sandbox::closed;
pub use servers::{header_names_a_key, names_a_key};

use fields::{Context, Fields, Keys};
use problem::Problems;

/// A larger file is not read.
const MAX_BYTES: usize = 1 << 20;
const FILE: &str = "countersign/countersign.yaml";
const START: &str = "begin with `version: 1`; examples/countersign.yaml shows every section";

const TOP: Keys = Keys {
    known: &[
        "version",
        "state_dir",
        "runtime_dir",
        "listen",
        "secrets",
        "servers",
        "issuers",
        "principals",
        "policy",
        "pins",
        "holds",
        "operators",
        "audit",
        "limits",
        "notify",
        "oauth",
    ],
    later: &[("tls", "let a proxy that ends TLS stand in front: listen: { http: { behind_proxy: true, ... } }")],
};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("no configuration: {} not there\nhelp: write one, or name it with --config; `countersign demo` needs none", list(.0))]
    NotFound(Vec<PathBuf>),
    #[error("the configuration is not read: {0}\nhelp: {help}", help = .0.help())]
    File(TrustError),
    #[error("{}:{line}: the configuration is not UTF-8\nhelp: save it as UTF-8", .path.display())]
    NotUtf8 { path: PathBuf, line: usize },
    #[error("{0}")]
    Invalid(Report),
}

impl ConfigError {
    /// For a terminal, with colours where `styled`.
    pub fn render(&self, styled: bool) -> String {
        match self {
            ConfigError::Invalid(report) => report.render(styled),
            ConfigError::NotFound(_) | ConfigError::File(_) | ConfigError::NotUtf8 { .. } => self.to_string(),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    match names.split_last() {
        Some((last, [])) => format!("{last} is"),
        Some((last, rest)) => format!("{} and {last} are", rest.join(", ")),
        None => "any file is".to_owned(),
    }
}

/// Finds, reads and checks the configuration: `path` (from `--config`), else `COUNTERSIGN_CONFIG`, else
/// `$XDG_CONFIG_HOME/countersign/countersign.yaml`, else `/etc/countersign/countersign.yaml`. The first of these that is
/// set or there is the one; the current folder is never looked into.
///
/// The file, what it names as policies, catalogs and working folders, and every folder above must be the operator's or
/// root's, and only theirs to change.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let path = which(path)?;
    let bytes = trust::read(&path, Readers::Anyone, MAX_BYTES).map_err(ConfigError::File)?;
    read(utf8(&bytes, &path)?, &path, &|name| std::env::var_os(name), cross::trusted)
}

fn utf8<'b>(bytes: &'b [u8], path: &Path) -> Result<&'b str, ConfigError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        ConfigError::NotUtf8 { path: path.to_owned(), line: before.iter().filter(|byte| **byte == b'\n').count() + 1 }
    })
}

/// The file that [`load`] reads.
///
/// # Errors
/// [`ConfigError::NotFound`].
pub fn which(path: Option<&Path>) -> Result<PathBuf, ConfigError> {
    find(path, Path::new("/etc"), &|name| std::env::var_os(name))
}

/// Checks a text as if it stood in the file `origin`. Of the file system nothing is looked at.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, origin: &Path) -> Result<Config, ConfigError> {
    read(text, origin, &|name| std::env::var_os(name), |_, _, _| {})
}

fn find(
    explicit: Option<&Path>,
    system: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, ConfigError> {
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    if let Some(path) = variable("COUNTERSIGN_CONFIG").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let user = absolute(variable, "XDG_CONFIG_HOME").or_else(|| Some(absolute(variable, "HOME")?.join(".config")));
    let places: Vec<PathBuf> = user.into_iter().chain([system.to_owned()]).map(|folder| folder.join(FILE)).collect();
    let there = |path: &&PathBuf| {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        // Whatever cannot be looked at is there: the next one must not stand in for it.
        !path.symlink_metadata().is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
    };
    places.iter().find(there).cloned().ok_or(ConfigError::NotFound(places))
}

/// A folder that a variable names. The XDG rules have relative ones ignored.
fn absolute(variable: &dyn Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Where [`load`] looks: the file that it would read, which may not be there if it was named.
///
/// # Errors
/// Where none was named and none is there.
pub fn locate(path: Option<&Path>) -> Result<PathBuf, ConfigError> {
    find(path, Path::new("/etc"), &|name| std::env::var_os(name))
}

/// The state folder of a configuration that does not name one.
pub fn state_folder() -> Option<PathBuf> {
    default_state_dir(&|name| std::env::var_os(name))
}

/// The folder in which the user's configuration is looked for.
pub fn user_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name);
    let base = absolute(&variable, "XDG_CONFIG_HOME").or_else(|| Some(absolute(&variable, "HOME")?.join(".config")))?;
    Some(base.join("countersign"))
}

/// The state folder of a configuration that does not name one.
pub fn default_state() -> Option<PathBuf> {
    default_state_dir(&|name| std::env::var_os(name))
}

/// Where the audit is kept if the configuration does not say.
fn default_state_dir(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let base = absolute(variable, "XDG_STATE_HOME").or_else(|| Some(absolute(variable, "HOME")?.join(".local/state")));
    Some(base?.join("countersign"))
}

/// Where the sockets are if the configuration does not say and the system has a folder for that. Clients without a
/// configuration look there too; the daemon otherwise takes `run` in its `state_dir`.
pub fn default_runtime_dir(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    Some(absolute(variable, "XDG_RUNTIME_DIR")?.join("countersign"))
}

fn read(
    text: &str,
    origin: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
    trusted: impl FnOnce(&mut Context<'_>, &yaml::Node, &Config),
) -> Result<Config, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Problems::default();
    if text.len() > MAX_BYTES {
        let message = format!("the configuration is longer than {MAX_BYTES} bytes");
        problems.add(Code::TooMuch, &(0..0), message, "it is probably another file than the one you mean");
        return Err(ConfigError::Invalid(problems.report(origin, "")));
    }
    let mut hidden = Vec::new();
    let Some(root) = yaml::read(text, &mut problems) else {
        hidden::lines(text, &mut hidden);
        problems.hide(hidden);
        return Err(ConfigError::Invalid(problems.report(origin, text)));
    };
    hidden::values(&root, &mut hidden);
    problems.hide(hidden);
    let origin_absolute = std::path::absolute(origin).unwrap_or_else(|_| origin.to_owned());
    let folder = origin_absolute.parent().unwrap_or(Path::new("/"));
    let mut cx = Context {
        problems,
        folder,
        variable,
        secrets: cross::names(&root, "secrets"),
        servers: cross::names(&root, "servers"),
        issuers: cross::names(&root, "issuers"),
    };
    let config = document(&mut cx, &root, &origin_absolute);
    if let Some(config) = config.as_ref().filter(|_| cx.problems.is_empty()) {
        cross::check(&mut cx, &root, config);
        trusted(&mut cx, &root, config);
    }
    match config.filter(|_| cx.problems.is_empty()) {
        Some(config) => Ok(Config { secret_places: secret_places(&root, text), ..config }),
        None => Err(ConfigError::Invalid(cx.problems.report(origin, text))),
    }
}

fn secret_places(root: &yaml::Node, text: &str) -> BTreeMap<String, (usize, usize)> {
    let yaml::Data::Map(top) = &root.data else { return BTreeMap::new() };
    let Some((_, section)) = top.iter().find(|(key, _)| key.text == "secrets") else { return BTreeMap::new() };
    let yaml::Data::Map(secrets) = &section.data else { return BTreeMap::new() };
    secrets.iter().map(|(key, _)| (key.text.clone(), problem::line_and_column(text, key.span.start))).collect()
}

/// Nothing where it is of another version: then nothing else in it can be judged.
fn document(cx: &mut Context<'_>, root: &yaml::Node, origin: &Path) -> Option<Config> {
    if let yaml::Data::Map(entries) = &root.data
        && let Some((_, node)) = entries.iter().find(|(key, _)| key.text == "version")
        && !matches!(&node.data, yaml::Data::Scalar { text, plain: true } if text == "1")
    {
        let help = "write `version: 1`; for a newer one, update countersign";
        cx.problems.add(
            Code::Version,
            &node.span,
            "this version of countersign reads configurations of version 1",
            help,
        );
        return None;
    }
    let top = Fields::of(cx, root, "", &TOP);
    top.need(cx, "version", "write `version: 1`");
    cross::plain_keys(cx, root);
    let (state_dir, runtime_dir) = sections::folders(cx, &top);
    let secrets = secrets::secrets(cx, top.get("secrets"), &store::folder(&state_dir));
    let first_use = sections::pins(cx, top.get("pins"), "pins".to_owned()).unwrap_or(FirstUse::Trust);
    let help = "name at least one server to protect; examples/countersign.yaml shows how";
    let node = top.need(cx, "servers", help);
    let servers = servers::servers(cx, node, &secrets, first_use);
    let node = top.need(cx, "principals", "write who may connect; examples/countersign.yaml shows how");
    let principals = principals::principals(cx, node);
    let issuers = issuers::issuers(cx, top.get("issuers"));
    let tokens = principals.iter().any(|entry| !matches!(entry.by, Match::Uid(_)));
    Some(Config {
        path: Some(origin.to_owned()),
        state_dir,
        runtime_dir,
        http: sections::listen(cx, top.get("listen"), tokens),
        secrets,
        secret_places: BTreeMap::new(),
        servers,
        issuers,
        principals,
        policy: sections::policy(cx, top.get("policy")),
        holds: sections::holds(cx, top.get("holds")),
        operators: sections::operators(cx, top.get("operators")),
        audit: sections::audit(cx, top.get("audit")),
        notify: notify::notify(cx, top.get("notify")),
        limits: sections::limits(cx, top.get("limits")),
        oauth_key: auth::store(cx, top.get("oauth")),
    })
}

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
    /// Line and column of each secret in the file, for errors about one that cannot be read.
    pub secret_places: BTreeMap<String, (usize, usize)>,
    pub servers: BTreeMap<String, Server>,
    /// Authorization servers whose tokens are taken.
    pub issuers: BTreeMap<String, Issuer>,
    pub principals: Vec<PrincipalEntry>,
    pub policy: Policy,
    pub holds: Holds,
    pub operators: Operators,
    pub audit: Audit,
    /// Whom to tell that a call waits.
    pub notify: Vec<Notify>,
    pub limits: Limits,
    /// Name of the secret that sign-ins are sealed with on the disk; without one a key is made in `state_dir`.
    pub oauth_key: Option<String>,
}

#[derive(Clone, Debug)]
pub struct HttpListen {
    pub address: SocketAddr,
    /// `Host` values that are accepted, without port; loopback names by default.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that are accepted; none by default.
    pub allowed_origins: Vec<String>,
    /// Scheme and authority by which clients reach it; absent: `http` and its address.
    pub public_url: Option<String>,
    /// A TLS-terminating proxy stands in front: needed for an address that is not loopback.
    pub behind_proxy: bool,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub facts: Arc<ServerFacts>,
    /// As declared; the key may contradict it, and then the daemon does not start.
    pub environment: String,
    /// Accounts or tenants that calls may name.
    pub accounts: Vec<String>,
    /// Whether the server is asked at start where its key works.
    pub probe: Option<Probe>,
    pub upstream: Upstream,
    /// Catalog files beside the vendor's own.
    pub catalogs: Vec<PathBuf>,
    /// Of its tools, when it lists them for the first time.
    pub first_use: FirstUse,
    /// Keys of others that are taken out of what it says.
    pub hidden: Kinds,
}

/// What the definitions of tools are worth that nobody has listed before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstUse {
    /// The first list of a server is pinned.
    Trust,
    /// An operator pins everything.
    Refuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Without an answer that says where the key works the daemon does not start.
    pub required: bool,
    /// For everything: start, handshake and calls.
    pub timeout: Duration,
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
        /// `None`: turned off.
        sandbox: Option<Box<Wishes>>,
        gate: Option<Gate>,
    },
    Http {
        url: String,
        /// Parameters of the address that are keys: they join when a request is sent.
        query: Vec<(String, Value)>,
        headers: Vec<(String, Value)>,
        /// Somebody signs in, and requests carry that sign-in's token.
        oauth: Option<OAuth>,
    },
}

impl Config {
    /// The servers that are signed in to: name, address, how.
    pub fn sign_ins(&self) -> impl Iterator<Item = (&str, &str, &OAuth)> {
        self.servers.iter().filter_map(|(name, server)| match &server.upstream {
            Upstream::Http { url, oauth: Some(oauth), .. } => Some((name.as_str(), url.as_str(), oauth)),
            Upstream::Http { .. } | Upstream::Stdio { .. } => None,
        })
    }
}

impl Upstream {
    pub fn gate(&self) -> Option<&Gate> {
        match self {
            Upstream::Stdio { gate, .. } => gate.as_ref(),
            Upstream::Http { .. } => None,
        }
    }

    /// Everything that may carry a key to the server or to its API.
    pub fn values(&self) -> impl Iterator<Item = &(String, Value)> {
        let (values, more) = match self {
            Upstream::Stdio { env, gate, .. } => (env, gate.as_ref().map(|gate| &gate.headers)),
            Upstream::Http { headers, query, .. } => (headers, Some(query)),
        };
        values.iter().chain(more.into_iter().flatten())
    }

    /// The names of the secrets that it gets, or that it is signed in to with.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let oauth = match self {
            Upstream::Http { oauth, .. } => oauth.as_ref(),
            Upstream::Stdio { .. } => None,
        };
        let values = self.values().filter_map(|(_, value)| match value {
            Value::Secret { name, .. } => Some(name.as_str()),
            Value::Plain(_) => None,
        });
        values.chain(oauth.into_iter().flat_map(OAuth::secrets))
    }
}

/// The vendor's API, which a child reaches through countersign alone.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Without a path.
    pub url: String,
    /// One of them carries the key.
    pub headers: Vec<(String, Value)>,
    /// Variables of the child: where it finds the API, and a key that is good there alone.
    pub url_env: String,
    pub key_env: String,
    /// Tools that run code count as what they do besides requests to the API.
    pub trust_code: bool,
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
    /// SHA-256 of the bearer token.
    TokenHash([u8; 32]),
    /// A token of this issuer that passes these tests.
    Jwt {
        issuer: String,
        tests: Vec<ClaimTest>,
    },
    Uid(u32),
}

impl Match {
    /// The evidence leaves one subject: the principal is nobody else.
    pub fn is_single(&self) -> bool {
        match self {
            Match::Jwt { tests, .. } => issuers::is_single(tests),
            Match::Token(_) | Match::TokenHash(_) | Match::Uid(_) => true,
        }
    }
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
    /// Policies of the operator that allow what says nothing are loaded.
    pub unsafe_default_allow: bool,
}

#[derive(Clone, Debug)]
pub struct Holds {
    pub ttl: Duration,
    /// How long a hold waits for a console where none is attached.
    pub no_console_grace: Duration,
    /// How long an approval can be taken back before the call is sent; zero: it is sent at once.
    pub take_back: Duration,
    pub max_pending: usize,
    pub max_per_principal: usize,
    /// New prompts of one principal in a minute.
    pub prompts_per_minute: usize,
    /// Several holds of tier low and of one group may be approved at once.
    pub batches: bool,
    /// How often a client that asks for progress is told that its call waits.
    pub progress_every: Duration,
    /// Held calls of clients that know tasks are answered with one.
    pub tasks: bool,
    /// How long such a call is held like any other before that.
    pub tasks_after: Duration,
    pub budgets: Budgets,
}

/// How long clients can be made to wait for an answer, counted from the request. `None`: as long as the call is held.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// Of a client that is not known and asks for no progress.
    pub default: Option<Duration>,
    /// Of one that asks for progress.
    pub with_progress: Option<Duration>,
    /// By the name that a client gives itself.
    pub clients: BTreeMap<String, Option<Duration>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnsignedRulings {
    Refuse,
    Accept,
}

#[derive(Clone, Debug)]
pub struct Operators {
    /// OpenSSH's list of keys: whoever it names may sign rulings.
    pub allowed_signers: Option<PathBuf>,
    /// Absent: refused for production, accepted elsewhere.
    pub unsigned_rulings: Option<UnsignedRulings>,
}

#[derive(Clone, Copy, Debug)]
pub struct Audit {
    /// Sync reads to disk too.
    pub sync_all: bool,
}

#[cfg(test)]
mod tests;
