//! Every section but `secrets:`, `servers:` and `principals:`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::yaml::{Data, Node};
use super::{Audit, Budgets, FirstUse, Holds, HttpListen, Mode, Operators, Policy, UnsignedRulings};
use crate::call::{Limits, MAX_HELD_BYTES};

/// The policies that come with countersign.
pub const BUILTIN: &[&str] = &["environment", "destructive", "scopes", "pins"];

/// Longer paths do not fit into a socket's address.
const SOCKET_PATH: usize = 103;
const SOCKET: &str = "operator.sock";

const PROXY: &str = "let a proxy that ends TLS stand in front and say `behind_proxy: true`, or listen on 127.0.0.1";
const LISTEN: Keys = Keys { known: &["http"], later: &[("tls", PROXY)] };
const HTTP: Keys = Keys {
    known: &["address", "allowed_hosts", "allowed_origins", "behind_proxy", "public_url"],
    later: &[("tls", PROXY)],
};
const POLICY: Keys =
    Keys { known: &["builtin", "paths", "modes", "time_limit_ms", "unsafe_default_allow"], later: &[] };
const PINS: Keys = Keys { known: &["first_use"], later: &[] };
const HOLDS: Keys = Keys {
    known: &[
        "ttl",
        "no_console",
        "take_back",
        "max_pending",
        "max_per_principal",
        "prompts_per_minute",
        "batches",
        "progress_every",
        "tasks",
        "tasks_after",
        "budgets",
    ],
    later: &[],
};
const BUDGETS: Keys = Keys { known: &["default", "with_progress", "clients"], later: &[] };
/// Names of clients that have a budget of their own.
const CLIENTS: usize = 1000;
/// Longer would be a delay and no second thought: what is pending can be rejected for as long as it waits.
const TAKE_BACK: Duration = Duration::from_secs(10);
const NO_CONSOLE: Keys = Keys { known: &["grace"], later: &[] };
const OPERATORS: Keys = Keys { known: &["allowed_signers", "unsigned_rulings"], later: &[] };
const POSTGRES: &str = "write `store: sqlite`, or remove the key";
const AUDIT: Keys = Keys { known: &["store", "sync"], later: &[("postgres", POSTGRES)] };
const LIMITS: Keys = Keys {
    known: &[
        "message_bytes",
        "answer_bytes",
        "held_bytes",
        "header_bytes",
        "header_timeout",
        "body_timeout",
        "connect_timeout",
        "answer_timeout",
        "session_idle",
        "resume_window",
        "drain",
        "sessions",
        "sessions_per_principal",
        "connections",
        "in_flight",
        "queue",
    ],
    later: &[],
};

/// `state_dir` and `runtime_dir`.
pub fn folders(cx: &mut Context<'_>, top: &Fields<'_>) -> (PathBuf, PathBuf) {
    let state = match top.get("state_dir") {
        Some(node) => cx.path(node, "state_dir").unwrap_or_default(),
        None => super::default_state_dir(cx.variable).unwrap_or_else(|| {
            let help = "write where the audit is kept: state_dir: /var/lib/countersign";
            cx.problems.add(Code::MissingKey, &top.span, "`state_dir` has no default here: HOME is not set", help);
            PathBuf::new()
        }),
    };
    let runtime = match top.get("runtime_dir") {
        Some(node) => cx.path(node, "runtime_dir").unwrap_or_default(),
        None => super::default_runtime_dir(cx.variable).unwrap_or_else(|| state.join("run")),
    };
    if runtime.join(SOCKET).as_os_str().len() > SOCKET_PATH {
        let span = top.get("runtime_dir").map_or(&top.span, |node| &node.span);
        let message = format!("`runtime_dir` is too long: the path of a socket has at most {SOCKET_PATH} bytes");
        cx.problems.add(Code::Path, span, message, "use a shorter one: runtime_dir: ${XDG_RUNTIME_DIR}/countersign");
    }
    (state, runtime)
}

/// `listen`. `tokens` says whether any principal comes in over HTTP.
pub fn listen(cx: &mut Context<'_>, node: Option<&Node>, tokens: bool) -> Option<HttpListen> {
    let fields = Fields::of(cx, node?, "listen", &LISTEN);
    let node = fields.get("http")?;
    let Data::Map(_) = node.data else {
        let address = address(cx, node, "listen.http")?;
        exposed(cx, &node.span, address, false, tokens);
        return Some(http_listen(address));
    };
    let fields = Fields::of(cx, node, "listen.http", &HTTP);
    let help = "write it as IP:PORT: address: 127.0.0.1:8377";
    let (hosts, origins) = (hosts(cx, &fields), origins(cx, &fields));
    let behind_proxy = fields.yes(cx, "behind_proxy");
    let node = fields.need(cx, "address", help)?;
    let address = address(cx, node, "listen.http.address")?;
    exposed(cx, &node.span, address, behind_proxy, tokens);
    if !address.ip().is_loopback() && behind_proxy && fields.get("allowed_hosts").is_none() {
        let message = "`listen.http` has no `allowed_hosts`, and nobody reaches this address by a loopback name";
        let help = "write the names by which clients reach it: allowed_hosts: [countersign.example]";
        cx.problems.add(Code::MissingKey, &fields.span, message, help);
    }
    let public_url = fields.get("public_url").and_then(|node| public_url(cx, node, &fields.child("public_url")));
    let listen = http_listen(address);
    let allowed_hosts = if fields.get("allowed_hosts").is_some() { hosts } else { listen.allowed_hosts };
    Some(HttpListen { allowed_hosts, allowed_origins: origins, public_url, behind_proxy, ..listen })
}

fn http_listen(address: SocketAddr) -> HttpListen {
    let mut allowed_hosts = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
    let own = match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    if address.ip().is_loopback() && !allowed_hosts.contains(&own) {
        allowed_hosts.push(own);
    }
    HttpListen { address, allowed_hosts, allowed_origins: Vec::new(), public_url: None, behind_proxy: false }
}

/// Scheme and authority, as clients write them; without the `/` at the end.
fn public_url(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<String> {
    let url = super::servers::url(cx, node, path)?;
    let short = url.strip_suffix('/').unwrap_or(&url);
    if short.chars().filter(|c| *c == '/').count() != 2
        || short.contains(['?', '"', '\\'])
        || short != short.to_lowercase()
    {
        let message = format!("`{path}` is {}, which is more than scheme, host and port", quote(&url));
        let help = "write it in lower case and without a path, as in https://countersign.example";
        cx.problems.add(Code::Form, &node.span, message, help);
    }
    Some(short.to_owned())
}

fn address(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<SocketAddr> {
    let text = cx.text(node, path)?;
    let address = text.parse().ok();
    if address.is_none() {
        let help = match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some(("" | "localhost", Ok(port))) => format!("write the address itself: 127.0.0.1:{port}"),
            _ => "write it as IP:PORT, as in 127.0.0.1:8377 or [::1]:8377".to_owned(),
        };
        cx.problems.add(Code::Form, &node.span, format!("`{path}` is {}, which is no address", quote(text)), help);
    }
    address
}

fn exposed(cx: &mut Context<'_>, span: &Range<usize>, address: SocketAddr, behind_proxy: bool, tokens: bool) {
    if address.ip().is_loopback() {
        return;
    }
    if !behind_proxy {
        let message = format!(
            "{} can be reached from other machines, and tokens would cross the network in the clear",
            address.ip()
        );
        cx.problems.add(Code::Exposed, span, message, PROXY);
    } else if !tokens {
        let message = format!("{} can be reached from other machines, and no principal has a token", address.ip());
        let help = "give one a token: principals: [{ name: ..., match: { token: { secret: NAME } }, scopes: [...] }]";
        cx.problems.add(Code::Exposed, span, message, help);
    }
}

fn hosts(cx: &mut Context<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for (node, text) in fields.texts(cx, "allowed_hosts") {
        let lower = text.to_ascii_lowercase();
        let bracketed = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match bracketed {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
                (1..=253).contains(&lower.len()) && lower.bytes().all(valid)
            }
        };
        if valid {
            hosts.push(lower);
        } else {
            let message = format!("{} cannot be a host name", quote(text));
            cx.problems.add(
                Code::Form,
                &node.span,
                message,
                "write the name without scheme, port and wildcard; IPv6 in [ ]",
            );
        }
    }
    hosts
}

fn origins(cx: &mut Context<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    for (node, text) in fields.texts(cx, "allowed_origins") {
        let lower = text.to_ascii_lowercase();
        let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
        let valid = rest.is_some_and(|rest| {
            !rest.contains(['/', '?', '#', '@', '*'])
                && rest.parse::<http::uri::Authority>().is_ok_and(|a| !a.host().is_empty())
        });
        if valid {
            origins.push(lower);
        } else {
            let message = format!("{} cannot be an origin", quote(text));
            cx.problems.add(
                Code::Form,
                &node.span,
                message,
                "write scheme and host, as in https://app.example, without a path",
            );
        }
    }
    origins
}

pub fn policy(cx: &mut Context<'_>, node: Option<&Node>) -> Policy {
    let all = || BUILTIN.iter().map(|name| (*name).to_owned()).collect();
    let time_limit = Duration::from_millis(50);
    let Some(node) = node else {
        let (paths, modes) = (Vec::new(), BTreeMap::new());
        return Policy { builtin: all(), paths, modes, time_limit, unsafe_default_allow: false };
    };
    let fields = Fields::of(cx, node, "policy", &POLICY);
    let mut builtin: Vec<String> = Vec::new();
    for (node, name) in fields.texts(cx, "builtin") {
        if !BUILTIN.contains(&name) {
            cx.no_choice(node, "policy.builtin", name, BUILTIN.iter().copied());
        } else if builtin.iter().any(|other| other == name) {
            cx.problems.add(Code::Repeated, &node.span, format!("the policy `{name}` stands here twice"), "keep one");
        } else {
            builtin.push(name.to_owned());
        }
    }
    if fields.get("builtin").is_none() {
        builtin = all();
    }
    let items = fields.get("paths").map_or(&[][..], |node| cx.list(node, "policy.paths"));
    let paths: Vec<PathBuf> = items.iter().filter_map(|node| cx.path(node, "policy.paths")).collect();
    let modes = modes(cx, &fields, &builtin, !items.is_empty());
    let time_limit = fields.number(cx, "time_limit_ms", 1..=10_000, 50);
    let unsafe_default_allow = fields.yes(cx, "unsafe_default_allow");
    Policy { builtin, paths, modes, time_limit: Duration::from_millis(time_limit), unsafe_default_allow }
}

/// `pins`, of the whole configuration or of one server.
pub fn pins(cx: &mut Context<'_>, node: Option<&Node>, path: String) -> Option<FirstUse> {
    let fields = Fields::of(cx, node?, path, &PINS);
    fields.choice(cx, "first_use", &[("trust", FirstUse::Trust), ("refuse", FirstUse::Refuse)])
}

/// `own` says that there are policies of the operator's own, whose names are not known here.
fn modes(cx: &mut Context<'_>, policy: &Fields<'_>, builtin: &[String], own: bool) -> BTreeMap<String, Mode> {
    let Some(node) = policy.get("modes") else { return BTreeMap::new() };
    let fields = Fields::any(cx, node, "policy.modes");
    let mut modes = BTreeMap::new();
    for (key, _) in fields.entries() {
        let words = [("enforce", Mode::Enforce), ("warn", Mode::Warn), ("shadow", Mode::Shadow)];
        let mode = fields.choice(cx, &key.text, &words);
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let known = builtin.contains(&key.text);
        if !known && (!own || !key.text.chars().all(valid)) {
            let message = format!("there is no policy {}", quote(&key.text));
            let help = match cx.meant(&key.text, builtin.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "a mode is for a policy of `policy.builtin`, or for a package of your own without `countersign.policy.`".to_owned(),
            };
            cx.problems.add(Code::Reference, &key.span, message, help);
        }
        if let Some(mode) = mode {
            modes.insert(key.text.clone(), mode);
        }
    }
    modes
}

pub fn holds(cx: &mut Context<'_>, node: Option<&Node>) -> Holds {
    let mut holds = Holds {
        ttl: Duration::from_secs(300),
        no_console_grace: Duration::from_secs(20),
        take_back: Duration::from_secs(3),
        max_pending: 1000,
        max_per_principal: 50,
        prompts_per_minute: 30,
        batches: false,
        progress_every: Duration::from_secs(10),
        tasks: true,
        tasks_after: Duration::from_secs(2),
        budgets: Budgets {
            default: Some(Duration::from_secs(50)),
            with_progress: Some(Duration::from_secs(240)),
            clients: BTreeMap::new(),
        },
    };
    let Some(node) = node else { return holds };
    let fields = Fields::of(cx, node, "holds", &HOLDS);
    let day = Duration::from_secs(24 * 3600);
    holds.ttl = fields.duration(cx, "ttl", Duration::from_secs(1)..=day, holds.ttl);
    if let Some(node) = fields.get("no_console") {
        let fields = Fields::of(cx, node, "holds.no_console", &NO_CONSOLE);
        holds.no_console_grace = fields.duration(cx, "grace", Duration::ZERO..=day, holds.no_console_grace);
    }
    holds.take_back = fields.duration(cx, "take_back", Duration::ZERO..=TAKE_BACK, holds.take_back);
    holds.max_pending = fields.count(cx, "max_pending", 1..=100_000, holds.max_pending);
    let default = holds.max_per_principal.min(holds.max_pending);
    holds.max_per_principal = fields.count(cx, "max_per_principal", 1..=100_000, default);
    if let Some(node) = fields.get("max_per_principal").filter(|_| holds.max_per_principal > holds.max_pending) {
        let message =
            format!("`holds.max_per_principal` is more than `holds.max_pending`, which is {}", holds.max_pending);
        cx.problems.add(
            Code::Contradiction,
            &node.span,
            message,
            "lower it, so that one principal cannot fill the queue",
        );
    }
    holds.prompts_per_minute = fields.count(cx, "prompts_per_minute", 1..=10_000, holds.prompts_per_minute);
    holds.batches = fields.yes(cx, "batches");
    // Longer would be as good as silence: clients give up after a minute of it.
    let rate = Duration::from_secs(1)..=Duration::from_secs(50);
    holds.progress_every = fields.duration(cx, "progress_every", rate, holds.progress_every);
    if let Some(tasks) = fields.choice(cx, "tasks", &[("when_declared", true), ("never", false)]) {
        holds.tasks = tasks;
    }
    holds.tasks_after = fields.duration(cx, "tasks_after", Duration::ZERO..=day, holds.tasks_after);
    if let Some(node) = fields.get("budgets") {
        budgets(cx, node, &mut holds.budgets);
    }
    holds
}

fn budgets(cx: &mut Context<'_>, node: &Node, budgets: &mut Budgets) {
    let fields = Fields::of(cx, node, "holds.budgets", &BUDGETS);
    budgets.default = budget(cx, &fields, "default", budgets.default);
    budgets.with_progress = budget(cx, &fields, "with_progress", budgets.with_progress);
    let Some(node) = fields.get("clients") else { return };
    let fields = Fields::any(cx, node, "holds.budgets.clients");
    if fields.entries().len() > CLIENTS {
        let message = format!("`holds.budgets.clients` has more than {CLIENTS} names");
        cx.problems.add(Code::TooMuch, &node.span, message, "name those that need another time than the default");
    }
    for (key, _) in fields.entries().iter().take(CLIENTS) {
        let budget = budget(cx, &fields, &key.text, None);
        budgets.clients.insert(key.text.clone(), budget);
    }
}

/// A duration, or `none` for a client that waits as long as the call is held.
fn budget(cx: &mut Context<'_>, fields: &Fields<'_>, name: &str, default: Option<Duration>) -> Option<Duration> {
    let Some(node) = fields.get(name) else { return default };
    if matches!(&node.data, Data::Scalar { text, .. } if text == "none") {
        return None;
    }
    let range = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    Some(fields.duration(cx, name, range, default.unwrap_or_default()))
}

pub fn operators(cx: &mut Context<'_>, node: Option<&Node>) -> Operators {
    let Some(node) = node else { return Operators { allowed_signers: None, unsigned_rulings: None } };
    let fields = Fields::of(cx, node, "operators", &OPERATORS);
    let words = [("refuse", UnsignedRulings::Refuse), ("accept", UnsignedRulings::Accept)];
    let allowed_signers = fields.path(cx, "allowed_signers");
    Operators { allowed_signers, unsigned_rulings: fields.choice(cx, "unsigned_rulings", &words) }
}

pub fn audit(cx: &mut Context<'_>, node: Option<&Node>) -> Audit {
    let Some(node) = node else { return Audit { sync_all: false } };
    let fields = Fields::of(cx, node, "audit", &AUDIT);
    if let Some(node) = fields.get("store") {
        let postgres = match &node.data {
            Data::Scalar { text, .. } => text == "postgres",
            Data::Map(entries) => entries.iter().any(|(key, _)| key.text == "postgres"),
            Data::List(_) => false,
        };
        if postgres {
            let message = "the audit store `postgres` is not supported by this version";
            cx.problems.add(Code::NotSupported, &node.span, message, POSTGRES);
        } else {
            fields.choice(cx, "store", &[("sqlite", ())]);
        }
    }
    let sync_all = fields.choice(cx, "sync", &[("writes", false), ("all", true)]);
    Audit { sync_all: sync_all.unwrap_or(false) }
}

pub fn limits(cx: &mut Context<'_>, node: Option<&Node>) -> Limits {
    let default = Limits::default();
    let Some(node) = node else { return default };
    let fields = Fields::of(cx, node, "limits", &LIMITS);
    let bytes: RangeInclusive<u64> = 1 << 10..=1 << 30;
    let held_bytes = 1 << 10..=u64::try_from(MAX_HELD_BYTES).unwrap_or(u64::MAX);
    let time = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
    let message_bytes = fields.size(cx, "message_bytes", bytes.clone(), default.message_bytes);
    let limits = Limits {
        message_bytes,
        answer_bytes: fields.size(cx, "answer_bytes", bytes.clone(), default.answer_bytes),
        held_bytes: fields.size(cx, "held_bytes", held_bytes, default.held_bytes.min(message_bytes)),
        header_bytes: fields.size(cx, "header_bytes", 1 << 10..=1 << 20, default.header_bytes),
        header_timeout: fields.duration(cx, "header_timeout", time.clone(), default.header_timeout),
        body_timeout: fields.duration(cx, "body_timeout", time.clone(), default.body_timeout),
        connect_timeout: fields.duration(cx, "connect_timeout", time.clone(), default.connect_timeout),
        answer_timeout: fields.duration(cx, "answer_timeout", time.clone(), default.answer_timeout),
        session_idle: fields.duration(cx, "session_idle", time.clone(), default.session_idle),
        resume_window: fields.duration(
            cx,
            "resume_window",
            Duration::ZERO..=Duration::from_secs(300),
            default.resume_window,
        ),
        drain: fields.duration(cx, "drain", Duration::ZERO..=*time.end(), default.drain),
        sessions: fields.count(cx, "sessions", 1..=100_000, default.sessions),
        sessions_per_principal: fields.count(cx, "sessions_per_principal", 1..=100_000, default.sessions_per_principal),
        connections: fields.count(cx, "connections", 1..=100_000, default.connections),
        in_flight: fields.count(cx, "in_flight", 1..=10_000, default.in_flight),
        queue: fields.count(cx, "queue", 1..=10_000, default.queue),
    };
    if let Some(node) = fields.get("held_bytes").filter(|_| limits.held_bytes > limits.message_bytes) {
        let message = "`limits.held_bytes` is more than `limits.message_bytes`: no message could be so long";
        cx.problems.add(Code::Contradiction, &node.span, message, "lower it, or raise `limits.message_bytes`");
    }
    limits
}
