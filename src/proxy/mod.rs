//! Builds the daemon from its parts, runs it and drains it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{AuditError, AuditLog, Entry, Event};
use crate::call::{Environment, EnvironmentSource, Limits, ServerFacts};
use crate::catalog::{self, Catalog, CatalogError, KeyEvidence};
use crate::config::{self, Config, Match, UnsignedRulings, Upstream as UpstreamConfig, Value};
use crate::control::server::{Control, ServerStatus, Status};
use crate::credential::scrub::Scrubber;
use crate::credential::secret::Secret;
use crate::credential::source::{self, SecretError};
use crate::gate::{self, Gate};
use crate::mcp::definitions::Definitions;
use crate::policy::{self, PolicyEngine, PolicyErrors};
use crate::transport::http_client::{HttpClient, TlsError};
use crate::transport::http_upstream::{HeaderSource, HttpSpec};
use crate::transport::principals::Principals;
use crate::transport::runtime_dir::{self, SocketError};
use crate::transport::stdio_upstream::{EnvValue, StdioSpec};
use crate::transport::{Handover, NewSession, Rejected, client_socket, http_front};

mod listing;
mod session;
mod tasks;
mod upstream;
mod waiting;

/// Sessions and refusals that wait to be taken up.
const HANDOVER: usize = 64;
/// How often policy files are looked at.
const POLICY_POLL: std::time::Duration = std::time::Duration::from_secs(2);

/// One configured server, ready for sessions.
#[derive(Debug)]
struct ServerRuntime {
    facts: Arc<ServerFacts>,
    environment: Arc<Environment>,
    catalog: Catalog,
    /// Of its tools, as any session has seen them listed.
    definitions: Arc<Definitions>,
    upstream: upstream::Kind,
    sessions: Arc<AtomicUsize>,
}

impl ServerRuntime {
    /// What the HTTP front has to know.
    fn served(&self) -> http_front::Served {
        let joined = matches!(self.upstream, upstream::Kind::Stdio(_));
        http_front::Served { joined, definitions: Arc::clone(&self.definitions) }
    }
}

/// What all sessions share.
struct Shared {
    gate: Arc<Gate>,
    scrubber: Arc<Scrubber>,
    http_client: HttpClient,
    limits: Limits,
    tracker: TaskTracker,
    stop: CancellationToken,
    waits: config::Holds,
    tasks: Arc<tasks::Tasks>,
}

/// Why the daemon does not start. Nothing is left half-started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{error}{place}\n  help: a secret is read when the daemon starts, from where its line says")]
    Secret { error: SecretError, place: String },
    #[error("{0}")]
    Policy(PolicyErrors),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(
        "server {server}: its key is {proves}, but `environment: {declared}` is declared\n  \
         help: use a key of that environment, or declare the environment that the key belongs to"
    )]
    Environment { server: String, declared: String, proves: &'static str },
    #[error("server {server}: {reason}")]
    Upstream { server: String, reason: String },
}

/// A running daemon. [`Daemon::shutdown`] ends it in order; dropping it does not.
pub struct Daemon {
    pub http: Option<SocketAddr>,
    pub client_socket: PathBuf,
    pub operator_socket: PathBuf,
    control: Arc<Control>,
    http_client: HttpClient,
    fronts: CancellationToken,
    stop: CancellationToken,
    tracker: TaskTracker,
    session_tracker: TaskTracker,
    limits: Limits,
}

impl Daemon {
    /// Checks everything, then opens the sockets.
    ///
    /// # Errors
    /// The first thing that is wrong, in words for the operator.
    pub async fn start(config: Config) -> Result<Daemon, StartError> {
        let secrets = resolve(&config).await?;
        let scrubber = Arc::new(Scrubber::new(secrets.iter().map(|(name, secret)| (name.as_str(), &**secret))));
        let servers = servers(&config, &secrets)?;
        let policy = PolicyEngine::load(policy_settings(&config)).map_err(StartError::Policy)?;
        runtime_dir::private_folder(&config.state_dir)?;
        let audit = AuditLog::open(&config.state_dir.join("audit.db"), config.audit.sync_all)?;

        let client_listener = runtime_dir::listen(&config.runtime_dir.join("client.sock"))?;
        let operator_listener = runtime_dir::listen(&config.runtime_dir.join("operator.sock"))?;
        let http_listener = match &config.http {
            None => None,
            Some(listen) => Some(
                tokio::net::TcpListener::bind(listen.address)
                    .await
                    .map_err(|source| StartError::Listen { address: listen.address, source })?,
            ),
        };
        let http = http_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let started = Event::Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy_version: policy.version(),
            servers: servers.keys().cloned().collect(),
        };
        let _receipt = audit.append(Entry::new(None, true, started)).await?;

        let gate = Arc::new(Gate::new(policy, audit, hold_settings(&config)));
        gate.remember().await?;
        let (fronts, stop) = (CancellationToken::new(), CancellationToken::new());
        let (tracker, session_tracker) = (TaskTracker::new(), TaskTracker::new());
        let control = Arc::new(Control { gate: Arc::clone(&gate), status: status(&config, &servers) });
        let http_client = HttpClient::new(config.limits, tracker.clone())?;
        let shared = Arc::new(Shared {
            gate,
            scrubber,
            http_client: http_client.clone(),
            limits: config.limits,
            tracker: tracker.clone(),
            stop: stop.clone(),
            waits: config.holds.clone(),
            tasks: Arc::new(tasks::Tasks::new(config.holds.tasks, tasks::Bounds::default())),
        });
        let keeper = Arc::clone(&shared.gate);
        let until = stop.clone();
        tracker.spawn(async move { keeper.keep_time(until).await });
        let names: Arc<BTreeSet<String>> = Arc::new(servers.keys().cloned().collect());
        let served = servers.iter().map(|(name, server)| (name.clone(), server.served())).collect();
        let handover = accept(shared, servers, &session_tracker, &tracker);
        let principals = Arc::new(principals(&config, &secrets));
        let daemon = Daemon {
            http,
            client_socket: config.runtime_dir.join("client.sock"),
            operator_socket: config.runtime_dir.join("operator.sock"),
            control: Arc::clone(&control),
            http_client,
            fronts: fronts.clone(),
            stop: stop.clone(),
            tracker: tracker.clone(),
            session_tracker,
            limits: config.limits,
        };
        tracker.spawn(client_socket::serve(
            client_listener,
            Arc::clone(&principals),
            Arc::clone(&names),
            handover.clone(),
            config.limits,
            fronts.clone(),
            tracker.clone(),
        ));
        tracker.spawn(crate::control::server::serve(operator_listener, control, stop.clone(), tracker.clone()));
        if let (Some(listener), Some(listen)) = (http_listener, &config.http) {
            let front = http_front::HttpFront::new(
                served,
                principals,
                listen.allowed_hosts.clone(),
                listen.allowed_origins.clone(),
                config.limits,
                handover,
                fronts,
                tracker.clone(),
            );
            tracker.spawn(http_front::serve(listener, Arc::new(front)));
        }
        tracker.spawn(watch_policy(Arc::clone(&daemon.control), stop));
        Ok(daemon)
    }

    /// Loads the policies again.
    ///
    /// # Errors
    /// What is wrong with them; the old ones stay in force.
    pub async fn reload(&self) -> Result<String, String> {
        reload(&self.control).await
    }

    /// Stops the fronts, withdraws holds, waits for calls that were sent up to the grace, closes upstreams and the
    /// audit.
    pub async fn shutdown(self) {
        self.fronts.cancel();
        self.stop.cancel();
        self.session_tracker.close();
        self.tracker.close();
        let grace = self.limits.drain + std::time::Duration::from_secs(10);
        if tokio::time::timeout(grace, self.session_tracker.wait()).await.is_err() {
            tracing::error!("some sessions did not end in time");
        }
        self.http_client.close().await;
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            tracing::error!("some tasks did not end in time");
        }
        let stopped = Entry::new(None, true, Event::Stopped { reason: "shutdown".to_owned() });
        let audit = self.control.gate.audit().clone();
        if let Err(error) = audit.append(stopped).await {
            tracing::error!(%error, "the stop could not be recorded");
        }
        audit.close().await;
    }
}

async fn reload(control: &Control) -> Result<String, String> {
    let loaded = control.gate.reload().await;
    match &loaded {
        Ok(version) => tracing::info!(version, "policy loaded"),
        Err(error) => tracing::error!("the new policy is refused, the old one stays in force\n{error}"),
    }
    control.status.changed.send_replace(());
    loaded
}

/// Loads the policies again when their files change.
async fn watch_policy(control: Arc<Control>, stop: CancellationToken) {
    let look = || {
        let control = Arc::clone(&control);
        tokio::task::spawn_blocking(move || control.gate.policy().fingerprint())
    };
    let mut seen = look().await.unwrap_or_default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLICY_POLL) => {}
            () = stop.cancelled() => return,
        }
        let Ok(now) = look().await else { continue };
        if now != seen {
            seen = now;
            // The result is logged, recorded and shown; the watcher goes on either way.
            let _ = reload(&control).await;
        }
    }
}

async fn resolve(config: &Config) -> Result<BTreeMap<String, Arc<Secret>>, StartError> {
    let mut secrets = BTreeMap::new();
    for (name, source) in &config.secrets {
        let secret = source::resolve(name, source).await.map_err(|error| {
            let path = config.path.as_deref().map(std::path::Path::display);
            let place = path.zip(config.secret_places.get(name));
            let place =
                place.map_or_else(String::new, |(path, (line, column))| format!("\n --> {path}:{line}:{column}"));
            StartError::Secret { error, place }
        })?;
        secrets.insert(name.clone(), Arc::new(secret));
    }
    Ok(secrets)
}

fn servers(
    config: &Config,
    secrets: &BTreeMap<String, Arc<Secret>>,
) -> Result<BTreeMap<String, Arc<ServerRuntime>>, StartError> {
    config.servers.iter().map(|(name, server)| Ok((name.clone(), Arc::new(runtime(server, secrets)?)))).collect()
}

fn runtime(server: &config::Server, secrets: &BTreeMap<String, Arc<Secret>>) -> Result<ServerRuntime, StartError> {
    let vendor = server.facts.vendor.as_deref();
    let name = &server.facts.name;
    let wrong = |reason: String| StartError::Upstream { server: name.clone(), reason };
    let mut definitions = Arc::default();
    let upstream = match &server.upstream {
        UpstreamConfig::Stdio { command, args, env, inherit, cwd } => {
            let env = env.iter().map(|(key, value)| Ok((key.clone(), variable(value, secrets).map_err(wrong)?)));
            upstream::Kind::Stdio(StdioSpec {
                server: name.clone(),
                command: command.clone(),
                args: args.clone(),
                env: env.collect::<Result<_, StartError>>()?,
                inherit: inherit.clone(),
                cwd: cwd.clone(),
            })
        }
        UpstreamConfig::Http { url, headers } => {
            let headers = headers.iter().map(|(key, value)| Ok((key.clone(), header(value, secrets).map_err(wrong)?)));
            let headers = headers.collect::<Result<Vec<_>, StartError>>()?;
            let spec = HttpSpec::new(name, url, headers).map_err(|error| wrong(error.to_string()))?;
            definitions = Arc::clone(spec.definitions());
            upstream::Kind::Http(Arc::new(spec))
        }
    };
    Ok(ServerRuntime {
        facts: Arc::clone(&server.facts),
        environment: Arc::new(environment(server, secrets)?),
        catalog: Catalog::load(vendor, &server.catalogs)?,
        definitions,
        upstream,
        sessions: Arc::default(),
    })
}

fn variable(value: &Value, secrets: &BTreeMap<String, Arc<Secret>>) -> Result<EnvValue, String> {
    Ok(match value {
        Value::Plain(text) => EnvValue::Plain(text.clone()),
        Value::Secret { name, prefix } => EnvValue::Secret { value: find(name, secrets)?, prefix: prefix.clone() },
    })
}

fn header(value: &Value, secrets: &BTreeMap<String, Arc<Secret>>) -> Result<HeaderSource, String> {
    Ok(match value {
        Value::Plain(text) => HeaderSource::Plain(text.clone()),
        Value::Secret { name, prefix } => HeaderSource::Secret { value: find(name, secrets)?, prefix: prefix.clone() },
    })
}

fn find(name: &str, secrets: &BTreeMap<String, Arc<Secret>>) -> Result<Arc<Secret>, String> {
    secrets.get(name).cloned().ok_or_else(|| format!("there is no secret {name}"))
}

/// The environment of a server: declared, and checked against what the form of its keys proves.
fn environment(server: &config::Server, secrets: &BTreeMap<String, Arc<Secret>>) -> Result<Environment, StartError> {
    let values = match &server.upstream {
        UpstreamConfig::Stdio { env, .. } => env,
        UpstreamConfig::Http { headers, .. } => headers,
    };
    let declared = Environment::declared(&server.environment);
    let mut verified = false;
    for (_, value) in values {
        let Value::Secret { name, .. } = value else { continue };
        let Some(secret) = secrets.get(name) else { continue };
        let (proves, production) = match catalog::key_evidence(server.facts.vendor.as_deref(), secret.expose()) {
            KeyEvidence::Production => ("a production key", true),
            KeyEvidence::NotProduction => ("not a production key", false),
            KeyEvidence::Silent => continue,
        };
        if production != declared.is_production() {
            let (server, declared) = (server.facts.name.clone(), server.environment.clone());
            return Err(StartError::Environment { server, declared, proves });
        }
        verified = true;
    }
    let source = if verified { EnvironmentSource::Key } else { EnvironmentSource::Config };
    Ok(Environment { source, verified, ..declared })
}

/// What the configuration says about policy, as the engine takes it.
pub(crate) fn policy_settings(config: &Config) -> policy::Settings {
    let mode = |mode: &config::Mode| match mode {
        config::Mode::Enforce => policy::Mode::Enforce,
        config::Mode::Warn => policy::Mode::Warn,
        config::Mode::Shadow => policy::Mode::Shadow,
    };
    policy::Settings {
        builtin: config.policy.builtin.clone(),
        paths: config.policy.paths.clone(),
        modes: config.policy.modes.iter().map(|(name, how)| (name.clone(), mode(how))).collect(),
        time_limit: config.policy.time_limit,
        servers: Some(config.servers.keys().cloned().collect()),
    }
}

fn hold_settings(config: &Config) -> gate::Settings {
    let unsigned = config.operators.unsigned_rulings;
    gate::Settings {
        ttl: config.holds.ttl,
        no_console_grace: config.holds.no_console_grace,
        max_pending: config.holds.max_pending,
        max_per_principal: config.holds.max_per_principal,
        held_bytes: config.limits.held_bytes,
        unsigned_production: unsigned == Some(UnsignedRulings::Accept),
        unsigned_elsewhere: unsigned != Some(UnsignedRulings::Refuse),
    }
}

fn status(config: &Config, servers: &BTreeMap<String, Arc<ServerRuntime>>) -> Status {
    let production = servers.values().any(|server| server.environment.is_production());
    let servers = servers.iter().map(|(name, server)| ServerStatus {
        name: name.clone(),
        environment: Arc::clone(&server.environment),
        sessions: Arc::clone(&server.sessions),
    });
    Status {
        servers: servers.collect(),
        unsigned_rulings: production && config.operators.unsigned_rulings == Some(UnsignedRulings::Accept),
        changed: watch::channel(()).0,
    }
}

fn principals(config: &Config, secrets: &BTreeMap<String, Arc<Secret>>) -> Principals {
    let (mut tokens, mut uids) = (Vec::new(), Vec::new());
    for entry in &config.principals {
        match &entry.by {
            Match::Token(name) => {
                tokens.extend(secrets.get(name).map(|secret| (Arc::clone(secret), Arc::clone(&entry.principal))))
            }
            Match::Uid(uid) => uids.push((*uid, Arc::clone(&entry.principal))),
        }
    }
    Principals::new(tokens, uids)
}

/// Turns clients that the fronts have let in into sessions, and writes down whom they have not.
fn accept(
    shared: Arc<Shared>,
    servers: BTreeMap<String, Arc<ServerRuntime>>,
    sessions: &TaskTracker,
    tracker: &TaskTracker,
) -> Handover {
    let (session_to, mut session_from) = mpsc::channel::<NewSession>(HANDOVER);
    let (rejected_to, mut rejected_from) = mpsc::channel::<Rejected>(HANDOVER);
    let gate = Arc::clone(&shared.gate);
    let session_tracker = sessions.clone();
    tracker.spawn(async move {
        while let Some(new) = session_from.recv().await {
            let Some(server) = servers.get(&new.server).map(Arc::clone) else { continue };
            if session_tracker.len() >= shared.limits.sessions {
                tracing::warn!(server = new.server, "limits.sessions is reached; a session was turned away");
                continue;
            }
            let shared = Arc::clone(&shared);
            session_tracker.spawn(async move {
                server.sessions.fetch_add(1, Ordering::Relaxed);
                session::run(new, shared, Arc::clone(&server)).await;
                server.sessions.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    tracker.spawn(async move {
        while let Some(rejected) = rejected_from.recv().await {
            let Rejected { server, principal, code, reason, .. } = rejected;
            gate.refused(Event::Refused { server, principal, session: None, code, reason }).await;
        }
    });
    Handover { sessions: session_to, rejected: rejected_to }
}
