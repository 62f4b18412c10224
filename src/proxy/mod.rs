//! Builds the daemon from its parts, runs it and drains it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{AuditError, AuditLog, Entry, Event};
use crate::call::{Environment, Limits, ServerFacts};
use crate::catalog::{Catalog, CatalogError};
use crate::config::{self, Config, UnsignedRulings};
use crate::control::server::{Control, ServerStatus, Status};
use crate::credential::oauth;
use crate::credential::scrub::Scrubber;
use crate::credential::shape::Kinds;
use crate::credential::source::SecretError;
use crate::credential::trust::{self, Readers};
use crate::gate::{self, Gate, Operators};
use crate::mcp::definitions::Definitions;
use crate::pins::{FirstUse, Pins, StoreError};
use crate::policy::{self, PolicyEngine, PolicyErrors};
use crate::signing::Signers;
use crate::transport::api_gate::{self, ApiGate, ApiSpec};
use crate::transport::http_client::{HttpClient, TlsError};
use crate::transport::lanes::Lanes;
use crate::transport::runtime_dir::{self, SocketError};
use crate::transport::{Handover, NewSession, Rejected, client_socket, http_front};

mod handles;
use doors::Doors;
pub(crate) use environment::declared as declared_environment;
pub use environment::{Contradiction, Contradictions};
use keys::Keys;
pub(crate) use loading::Names;
use probe::Asked;
pub(crate) use settings::policy_settings;
use sign_in::SignIns;

mod api;
mod boxes;
mod doors;
mod environment;
mod guessed;
mod keys;
mod listing;
mod loading;
mod notices;
mod principals;
mod probe;
mod servers;
mod session;
mod settings;
pub(crate) mod sign_in;
mod tasks;
mod upstream;
mod waiting;
mod whereabouts;

/// Sessions and refusals that wait to be taken up.
const HANDOVER: usize = 64;
/// Longest list of operators, in bytes.
const SIGNERS: usize = 1 << 20;
/// Where children without keys reach APIs: any port.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// How often policy files are looked at.
const POLICY_POLL: std::time::Duration = std::time::Duration::from_secs(2);

/// One configured server, ready for sessions.
#[derive(Debug)]
struct ServerRuntime {
    facts: Arc<ServerFacts>,
    environment: Arc<Environment>,
    catalog: Arc<Catalog>,
    /// Of its tools, as any session has seen them listed.
    definitions: Arc<Definitions>,
    handles: Arc<handles::Told>,
    upstream: upstream::Kind,
    /// The vendor's API, where its child reaches it through us alone.
    api: Option<Arc<ApiSpec>>,
    /// Keys of others that are taken out of what it says.
    hidden: Kinds,
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
    pins: Arc<Pins>,
    scrubber: Arc<Scrubber>,
    http_client: HttpClient,
    /// Where children without keys reach APIs.
    api: Option<Arc<ApiGate>>,
    limits: Limits,
    tracker: TaskTracker,
    stop: CancellationToken,
    waits: config::Holds,
    tasks: Arc<tasks::Tasks>,
}

/// Why the daemon does not start. Nothing is left half-started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("stopped before it had started")]
    Stopped,
    #[error("{error}{place}\n  help: a secret is read when the daemon starts, from where its line says")]
    Secret { error: SecretError, place: String },
    #[error(
        "{other} and the secret `{name}` are the same key, and one of them is a principal's token{place}\n  \
         help: whoever holds a token would hold the other key as well; make a token of its own"
    )]
    SameKey { name: String, other: String, place: String },
    #[error("{0}")]
    Policy(PolicyErrors),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Pins(#[from] StoreError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("sign-ins cannot be kept: {0}")]
    SignIns(#[from] oauth::StoreError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Environment(Contradictions),
    #[error(
        "server {server}: it could not be asked where its key works: {why}\n  \
         help: `probe: {{ required: true }}` wants an answer; correct what is wrong, or take `required` out"
    )]
    NotProbed { server: String, why: String },
    #[error("server {server}: {reason}")]
    Upstream { server: String, reason: String },
    #[error("the folders of the servers' children cannot be made in {folder}: {source}")]
    Yard { folder: PathBuf, source: std::io::Error },
    #[error("the threads for connections cannot be started: {0}")]
    Lanes(std::io::Error),
    #[error("operators.allowed_signers: {0}")]
    Operators(String),
    #[error("issuers.{name}: {reason}")]
    Issuer { name: String, reason: String },
    #[error("notify[{index}]: {reason}")]
    Notify { index: usize, reason: String },
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
    keys: Option<Arc<Keys>>,
    names: Arc<Names>,
    lanes: Lanes,
}

impl Daemon {
    /// Checks everything, then opens the sockets. The scrubber learns every key; the log may go through it as well.
    /// `stopped` ends the waits for keys and for what servers answer.
    ///
    /// # Errors
    /// The first thing that is wrong, in words for the operator.
    pub async fn start(
        config: Config,
        scrubber: Arc<Scrubber>,
        stopped: impl Future<Output = ()>,
    ) -> Result<Daemon, StartError> {
        let mut stopped = pin!(stopped);
        let read = keys::stamps(&config);
        let secrets = tokio::select! {
            secrets = keys::read(&config) => secrets?,
            () = &mut stopped => return Err(StartError::Stopped),
        };
        secrets.iter().for_each(|(name, secret)| scrubber.learn(name, &secret.current()));
        let (tracker, session_tracker) = (TaskTracker::new(), TaskTracker::new());
        let (fronts, stop) = (CancellationToken::new(), CancellationToken::new());
        let sign_ins = SignIns::open(&config, &secrets, &scrubber, &tracker, &stop)?.map(Arc::new);
        let child_listener = match config.servers.values().any(|server| server.upstream.gate().is_some()) {
            false => None,
            true => Some(api_gate::bind().await.map_err(|source| StartError::Listen { address: LOOPBACK, source })?),
        };
        let child_address = child_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let child_port = child_address.map(|address| address.port());
        may_sign(&config)?;
        let settings = policy::Settings { worker: policy::this_program(), ..policy_settings(&config) };
        let policy = PolicyEngine::load(settings).map_err(StartError::Policy)?;
        runtime_dir::private_folder(&config.state_dir)?;
        let audit = AuditLog::open(&config.state_dir.join("audit.db"), config.audit.sync_all)?;
        // The open store is ours alone, and so are the folders beside it.
        let yard = boxes::yard(&config)?;
        let mut servers = servers::servers(&config, &secrets, &yard, child_port, sign_ins.as_deref())?;
        let pins = Pins::open(&config.state_dir.join("pins.db"), audit.clone(), first_use(&config))?;
        let pins = Arc::new(pins);

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
            unsafe_default_allow: config.policy.unsafe_default_allow,
        };
        if config.policy.unsafe_default_allow {
            tracing::warn!("policy.unsafe_default_allow is on: policies may allow whatever no rule denies");
        }
        let _receipt = audit.append(Entry::new(None, true, started)).await?;

        let gate = Gate::new(policy, audit, hold_settings(&config));
        let gate = Arc::new(match config.operators.allowed_signers.clone() {
            Some(path) => gate.with_operators(Operators::new(move || signers(&path))),
            None => gate,
        });
        gate.remember().await?;
        let http_client = HttpClient::new(config.limits, tracker.clone())?;
        let lanes = Lanes::start().map_err(StartError::Lanes)?;
        let (rejected, from_fronts) = mpsc::channel(HANDOVER);
        let api = child_address
            .map(|address| Arc::new(ApiGate::new(address, config.limits, tracker.clone(), fronts.clone())));
        let shared = Arc::new(Shared {
            gate,
            pins,
            scrubber,
            http_client: http_client.clone(),
            api: api.clone(),
            limits: config.limits,
            tracker: tracker.clone(),
            stop: stop.clone(),
            waits: config.holds.clone(),
            tasks: Arc::new(tasks::Tasks::new(config.holds.tasks, tasks::Bounds::default())),
        });
        // What is asked at start may be asked through it.
        if let Some((listener, gate)) = child_listener.zip(api) {
            tracker.spawn(api_gate::serve(listener, gate, rejected.clone()));
        }
        let probed = tokio::select! {
            probed = probe(&config, &mut servers, &shared) => probed,
            () = &mut stopped => Err(StartError::Stopped),
        };
        if let Err(error) = probed {
            fronts.cancel();
            abandon(&shared, &tracker, &error).await;
            return Err(error);
        }
        let servers: BTreeMap<String, Arc<ServerRuntime>> =
            servers.into_iter().map(|(name, server)| (name, Arc::new(server))).collect();
        let (gate, pins) = (Arc::clone(&shared.gate), Arc::clone(&shared.pins));
        let keys = Arc::clone(&shared.scrubber);
        let has_key = Box::new(move |text: &str| matches!(keys.line(text), std::borrow::Cow::Owned(_)));
        let views = sign_ins.clone();
        let sign_ins_of = Box::new(move |server: &str| views.as_ref().and_then(|views| views.view(server)));
        let status = status(&config, &servers, http);
        let known = servers.values().map(|server| (Arc::clone(&server.facts), Arc::clone(&server.catalog)));
        let known = Arc::new(Names::of(&config, known.collect()));
        let keys = Arc::clone(&shared.scrubber);
        let guessed = Box::new(move || keys.guessed());
        let control = Arc::new(Control { gate, pins, status, has_key, sign_ins: sign_ins_of, guessed });
        loading::warn_of(&control, &known).await;
        let keeper = Arc::clone(&shared.gate);
        let until = stop.clone();
        tracker.spawn(async move { keeper.keep_time(until).await });
        let names: Arc<BTreeSet<String>> = Arc::new(servers.keys().cloned().collect());
        let served = servers.iter().map(|(name, server)| (name.clone(), server.served())).collect();
        let running = (Arc::clone(&shared), servers.clone());
        let handover = accept(shared, servers, &session_tracker, &tracker, (rejected, from_fronts), lanes.clone());
        let principals = Arc::new(principals::principals(&config, &secrets, &http_client, &control.gate).await?);
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
            keys: None,
            names: Arc::clone(&known),
            lanes,
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
                principals::public_url(listen, http),
                config.limits,
                handover,
                fronts,
                tracker.clone(),
            );
            tracker.spawn(http_front::serve(listener, Arc::new(front)));
        }
        for (channel, feed) in notices::channels(&config, &secrets, &daemon.http_client, &daemon.control)? {
            let (news, receiver) = mpsc::channel(HANDOVER);
            tracker.spawn(feed.run(news, stop.clone()));
            tracker.spawn(crate::notify::serve(channel, receiver, stop.clone()));
        }
        tracker.spawn(loading::watch(Arc::clone(&daemon.control), known, stop.clone()));
        let (shared, servers) = running;
        let reading = tokio::sync::Mutex::default();
        let keys = Arc::new(Keys {
            config: Arc::new(config),
            cells: secrets,
            servers,
            shared,
            yard,
            child_port,
            sign_ins,
            read,
            reading,
        });
        tracker.spawn(Arc::clone(&keys).watch(stop));
        Ok(Daemon { keys: Some(keys), ..daemon })
    }

    /// Reads the keys and loads the policies again. A key that is not taken is logged and recorded; the one before it
    /// stays in use.
    ///
    /// # Errors
    /// What is wrong with them; the old ones stay in force.
    pub async fn reload(&self) -> Result<String, String> {
        if let Some(keys) = &self.keys {
            keys.reread(|_| true).await;
        }
        loading::reload(&self.control, &self.names).await
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
        self.lanes.end().await;
    }
}

/// Asks the servers that are to be asked where their keys work, all at once, and says it of them.
async fn probe(
    config: &Config,
    servers: &mut BTreeMap<String, ServerRuntime>,
    shared: &Arc<Shared>,
) -> Result<(), StartError> {
    let asking = config.servers.iter().filter_map(|(name, server)| Some((server.probe?, servers.get(name)?)));
    let asking = asking.map(async |(probe, server)| {
        (server.facts.name.clone(), probe, probe::ask(server, probe.timeout, shared).await)
    });
    let mut contradictions = Vec::new();
    let mut unasked = None;
    for (name, probe, asked) in futures_util::future::join_all(asking).await {
        let environment = match asked {
            Asked::Proved(environment) => {
                tracing::info!(server = name, environment = environment.name, "the server's answer proves it");
                environment
            }
            Asked::Contradicted(contradiction) => {
                contradictions.push(contradiction);
                continue;
            }
            Asked::Silent { why, .. } if probe.required => {
                unasked = unasked.or(Some(StartError::NotProbed { server: name, why }));
                continue;
            }
            Asked::Silent { why, environment } => {
                let declared = &environment.name;
                tracing::warn!(
                    server = name,
                    environment = declared,
                    why,
                    "the server does not show where its key works"
                );
                environment
            }
        };
        if let Some(server) = servers.get_mut(&name) {
            server.environment = Arc::new(environment);
        }
    }
    if !contradictions.is_empty() {
        return Err(StartError::Environment(Contradictions(contradictions)));
    }
    unasked.map_or(Ok(()), Err)
}

/// Ends what a start that failed has begun.
async fn abandon(shared: &Shared, tracker: &TaskTracker, why: &StartError) {
    shared.stop.cancel();
    tracker.close();
    shared.http_client.close().await;
    let grace = shared.limits.drain + std::time::Duration::from_secs(10);
    if tokio::time::timeout(grace, tracker.wait()).await.is_err() {
        tracing::error!("some tasks did not end in time");
    }
    let audit = shared.gate.audit();
    let why = why.to_string();
    let why = why.lines().next().unwrap_or_default();
    let stopped = Entry::new(None, true, Event::Stopped { reason: format!("not started: {why}") });
    if let Err(error) = audit.append(stopped).await {
        tracing::error!(%error, "the stop could not be recorded");
    }
    audit.clone().close().await;
}

fn hold_settings(config: &Config) -> gate::Settings {
    let unsigned = config.operators.unsigned_rulings;
    gate::Settings {
        ttl: config.holds.ttl,
        no_console_grace: config.holds.no_console_grace,
        take_back: config.holds.take_back,
        max_pending: config.holds.max_pending,
        max_per_principal: config.holds.max_per_principal,
        prompts_per_minute: config.holds.prompts_per_minute,
        batches: config.holds.batches,
        held_bytes: config.limits.held_bytes,
        unsigned_production: unsigned == Some(UnsignedRulings::Accept),
        unsigned_elsewhere: unsigned != Some(UnsignedRulings::Refuse),
    }
}

/// Says it now where the list cannot be read, or nobody can approve what needs a signature.
fn may_sign(config: &Config) -> Result<(), StartError> {
    let listed = match &config.operators.allowed_signers {
        Some(path) => signers(path).map_err(StartError::Operators)?.iter().count(),
        None => 0,
    };
    let unsigned = config.operators.unsigned_rulings;
    let needs_one = |server: &config::Server| match unsigned {
        Some(UnsignedRulings::Refuse) => true,
        Some(UnsignedRulings::Accept) => false,
        None => Environment::declared(&server.environment).is_production(),
    };
    if let (0, Some(server)) = (listed, config.servers.values().find(|server| needs_one(server))) {
        let server = &server.facts.name;
        tracing::warn!(server, "approvals need a signature and no operator is listed: `countersign operator enroll`");
    }
    Ok(())
}

/// The list of operators. Short, and read for each ruling that is signed.
pub(crate) fn signers(path: &Path) -> Result<Signers, String> {
    let bytes = trust::read(path, Readers::Anyone, SIGNERS).map_err(|error| format!("{error}; {}", error.help()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("`{}` is not text", path.display()))?;
    Signers::parse(text).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn first_use(config: &Config) -> impl Iterator<Item = (String, FirstUse)> {
    config.servers.iter().map(|(name, server)| {
        let first_use = match server.first_use {
            config::FirstUse::Trust => FirstUse::Trust,
            config::FirstUse::Refuse => FirstUse::Refuse,
        };
        (name.clone(), first_use)
    })
}

fn status(config: &Config, servers: &BTreeMap<String, Arc<ServerRuntime>>, http: Option<SocketAddr>) -> Status {
    let production = servers.values().any(|server| server.environment.is_production());
    let servers = servers.iter().map(|(name, server)| ServerStatus {
        name: name.clone(),
        environment: Arc::clone(&server.environment),
        sessions: Arc::clone(&server.sessions),
    });
    Status {
        servers: servers.collect(),
        operators: std::sync::Mutex::default(),
        policy_warnings: std::sync::Mutex::default(),
        unsigned_rulings: production && config.operators.unsigned_rulings == Some(UnsignedRulings::Accept),
        unsafe_default_allow: config.policy.unsafe_default_allow,
        http,
        changed: watch::channel(()).0,
    }
}

/// Turns clients that the fronts have let in into sessions, and writes down whom they have not.
fn accept(
    shared: Arc<Shared>,
    servers: BTreeMap<String, Arc<ServerRuntime>>,
    sessions: &TaskTracker,
    tracker: &TaskTracker,
    (rejected_to, mut rejected_from): (mpsc::Sender<Rejected>, mpsc::Receiver<Rejected>),
    lanes: Lanes,
) -> Handover {
    let (session_to, mut session_from) = mpsc::channel::<NewSession>(HANDOVER);
    let (gate, scrubber) = (Arc::clone(&shared.gate), Arc::clone(&shared.scrubber));
    let doors = Arc::new(Doors::new(rejected_to.clone(), sessions.clone()));
    tracker.spawn(async move {
        while let Some(new) = session_from.recv().await {
            let Some(server) = servers.get(&new.server) else { continue };
            doors.enter(new, Arc::clone(server), &shared);
        }
    });
    tracker.spawn(async move {
        while let Some(rejected) = rejected_from.recv().await {
            let Rejected { server, principal, code, reason, .. } = rejected;
            // What a front says about a request may quote it.
            let reason = scrubber.line(&reason).into_owned();
            gate.refused(Event::Refused { server, principal, session: None, code, reason }).await;
        }
    });
    Handover { sessions: session_to, rejected: rejected_to, lanes }
}
