//! `servers:`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::expand::is_variable;
use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::yaml::{Data, Key, Node};
use super::{FirstUse, Probe, SecretSource, Server, Upstream, Value, auth, gate, query, sandbox, sections};
use crate::call::ServerFacts;
use crate::credential::shape;
use crate::credential::shape::Kinds;

const MAX_SERVERS: usize = 256;
const MAX_ACCOUNTS: usize = 100;

const SERVER: Keys = Keys {
    known: &["vendor", "environment", "accounts", "probe", "upstream", "catalog", "pins", "hide_keys"],
    later: &[],
};
const PROBE: Keys = Keys { known: &["required", "timeout"], later: &[] };
const UPSTREAM: Keys = Keys { known: &["stdio", "http"], later: &[] };
const STDIO: Keys = Keys { known: &["command", "args", "env", "inherit_env", "cwd", "sandbox", "gate"], later: &[] };
const HTTP: Keys = Keys { known: &["url", "query", "headers", "auth", "allow_plain_http"], later: &[] };
const VALUE: Keys = Keys { known: &["secret", "prefix"], later: &[] };

pub(super) fn variable(cx: &mut Context<'_>, span: &Range<usize>, name: &str) -> bool {
    let valid = is_variable(name);
    if !valid {
        let message = format!("{} cannot be the name of an environment variable", quote(name));
        cx.problems.add(Code::Form, span, message, "a name has letters, digits and `_`, and no `$` before it");
    }
    valid
}

pub fn servers(
    cx: &mut Context<'_>,
    node: Option<&Node>,
    secrets: &BTreeMap<String, SecretSource>,
    first_use: FirstUse,
) -> BTreeMap<String, Server> {
    let Some(node) = node else { return BTreeMap::new() };
    let fields = Fields::any(cx, node, "servers");
    if matches!(&node.data, Data::Map(entries) if entries.is_empty()) {
        cx.problems.add(Code::MissingKey, &node.span, "`servers` names no server", "define the one to protect");
    }
    if fields.entries().len() > MAX_SERVERS {
        let message = format!("there are more than {MAX_SERVERS} servers");
        cx.problems.add(Code::TooMuch, &node.span, message, "run several daemons");
        return BTreeMap::new();
    }
    let mut servers = BTreeMap::new();
    for (key, node) in fields.entries() {
        let named = cx.name(&key.span, &key.text, "a server");
        if let (true, Some(server)) = (named, server(cx, &key.text, node, secrets, first_use)) {
            servers.insert(key.text.clone(), server);
        }
    }
    servers
}

fn server(
    cx: &mut Context<'_>,
    name: &str,
    node: &Node,
    secrets: &BTreeMap<String, SecretSource>,
    first_use: FirstUse,
) -> Option<Server> {
    let fields = Fields::of(cx, node, format!("servers.{name}"), &SERVER);
    let vendor = fields.get("vendor").and_then(|node| {
        let vendor = cx.text(node, &fields.child("vendor"))?;
        cx.name(&node.span, vendor, "a vendor").then(|| vendor.to_owned())
    });
    let help = "say which one it is: environment: production, or sandbox, test, development, staging";
    let environment = fields.need(cx, "environment", help).and_then(|node| {
        let environment = cx.text(node, &fields.child("environment"))?;
        cx.name(&node.span, environment, "an environment").then(|| environment.to_owned())
    });
    let accounts = accounts(cx, &fields);
    let probe = fields.get("probe").map(|node| {
        let fields = Fields::of(cx, node, fields.child("probe"), &PROBE);
        let range = Duration::from_secs(1)..=Duration::from_secs(300);
        let timeout = fields.duration(cx, "timeout", range, Duration::from_secs(20));
        Probe { required: fields.yes(cx, "required"), timeout }
    });
    let path = fields.child("catalog");
    let catalogs = fields.get("catalog").map_or(&[][..], |node| cx.list(node, &path));
    let catalogs = catalogs.iter().filter_map(|node| cx.path(node, &path)).collect();
    let help = "say how it is reached: upstream: { stdio: { command: ... } } or upstream: { http: { url: ... } }";
    let upstream = fields.need(cx, "upstream", help).and_then(|node| {
        let fields = Fields::of(cx, node, fields.child("upstream"), &UPSTREAM);
        let (kind, node) = fields.one_of(cx, UPSTREAM.known, "an upstream is either `stdio` or `http`")?;
        let path = fields.child(&kind.text);
        if kind.text == "stdio" { stdio(cx, node, path, secrets) } else { http(cx, node, path) }
    });
    let first_use = sections::pins(cx, fields.get("pins"), fields.child("pins")).unwrap_or(first_use);
    let facts = Arc::new(ServerFacts { name: name.to_owned(), vendor, catalog: None });
    let hidden = hidden(cx, &fields);
    Some(Server { facts, environment: environment?, accounts, probe, upstream: upstream?, catalogs, first_use, hidden })
}

/// The keys of others that are hidden in answers: `all`, `none`, or a list of kinds.
fn hidden(cx: &mut Context<'_>, fields: &Fields<'_>) -> Kinds {
    let Some(node) = fields.get("hide_keys") else { return Kinds::usual() };
    let path = fields.child("hide_keys");
    if let Data::Scalar { .. } = &node.data {
        let choice = fields.choice(cx, "hide_keys", &[("all", Kinds::ALL), ("none", Kinds::NONE)]);
        return choice.unwrap_or(Kinds::ALL);
    }
    let mut kinds = Kinds::NONE;
    for (node, name) in cx.texts(node, &path) {
        match Kinds::of(name) {
            Some(kind) => kinds = kinds.and(kind),
            None => cx.no_choice(node, &path, name, Kinds::names().into_iter()),
        }
    }
    kinds
}

/// Accounts or tenants that calls may name.
fn accounts(cx: &mut Context<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut accounts: Vec<String> = Vec::new();
    for (node, text) in fields.texts(cx, "accounts") {
        let valid = (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !valid {
            let message = format!("{} cannot be an account", quote(text));
            cx.problems.add(Code::Form, &node.span, message, "write it as the vendor does, as in acct_1A2b");
        } else if accounts.iter().any(|known| known == text) {
            cx.problems.add(
                Code::Repeated,
                &node.span,
                format!("the account {} stands here twice", quote(text)),
                "keep one",
            );
        } else if accounts.len() >= MAX_ACCOUNTS {
            let message = format!("there are more than {MAX_ACCOUNTS} accounts");
            cx.problems.add(Code::TooMuch, &node.span, message, "make several servers of it");
            break;
        } else {
            accounts.push(text.to_owned());
        }
    }
    accounts
}

fn stdio(
    cx: &mut Context<'_>,
    node: &Node,
    path: String,
    secrets: &BTreeMap<String, SecretSource>,
) -> Option<Upstream> {
    let fields = Fields::of(cx, node, path, &STDIO);
    let help = "name the program that is the server: command: npx";
    let command = fields.need(cx, "command", help).and_then(|node| cx.program(node, &fields.child("command")));
    let args = fields.texts(cx, "args");
    for (node, arg) in &args {
        argument(cx, node, &fields.child("args"), arg);
    }
    key_options(cx, &args);
    let mut env = Vec::new();
    if let Some(node) = fields.get("env") {
        let fields = Fields::any(cx, node, fields.child("env"));
        for (key, node) in fields.entries() {
            if let (true, Some(value)) = (variable(cx, &key.span, &key.text), value(cx, node, &fields.child(&key.text)))
            {
                plain_key(cx, node, &key.text, &value, names_a_key);
                env.push((key.text.clone(), value));
            }
        }
    }
    let mut inherit: Vec<String> = Vec::new();
    for (node, name) in fields.texts(cx, "inherit_env") {
        if variable(cx, &node.span, name) && may_inherit(cx, node, name, &env, &inherit, secrets) {
            inherit.push(name.to_owned());
        }
    }
    let cwd = fields.path(cx, "cwd");
    let gated = fields.get("gate").is_some();
    let sandbox = sandbox::sandbox(cx, fields.get("sandbox"), fields.child("sandbox"), gated);
    let gate =
        fields.get("gate").map(|node| gate::gate(cx, node, fields.child("gate"), &env, &inherit, sandbox.as_ref()));
    Some(Upstream::Stdio {
        command: command?,
        args: args.iter().map(|(_, arg)| (*arg).to_owned()).collect(),
        env,
        inherit,
        cwd,
        sandbox: sandbox.map(Box::new),
        // One that is wrong is noted, and nothing is built from it.
        gate: gate.flatten(),
    })
}

/// Variables by which a program can be made to load code.
const LOADERS: &[&str] = &[
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "RUBYLIB",
    "BASH_ENV",
    "ENV",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "DENO_DIR",
];

pub(super) fn loads_code(name: &str) -> bool {
    LOADERS.contains(&name) || name.starts_with("LD_") || name.starts_with("DYLD_")
}

/// The same for a program that gets no key.
pub(super) fn may_inherit_plainly(cx: &mut Context<'_>, node: &Node, name: &str, inherit: &[String]) -> bool {
    variable(cx, &node.span, name) && may_inherit(cx, node, name, &[], inherit, &BTreeMap::new())
}

/// An address for something that is signed and not secret: https, or http on this machine.
pub(super) fn url(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<String> {
    let text = cx.text(node, path)?;
    match check_url(text, true) {
        Ok(()) => Some(text.to_owned()),
        Err((code, fault, help)) => {
            cx.problems.add(code, &node.span, format!("`{path}` {fault}"), help);
            None
        }
    }
}

fn may_inherit(
    cx: &mut Context<'_>,
    node: &Node,
    name: &str,
    env: &[(String, Value)],
    inherit: &[String],
    secrets: &BTreeMap<String, SecretSource>,
) -> bool {
    let holds_a_key = secrets.values().any(|source| matches!(source, SecretSource::Env(variable) if variable == name));
    if holds_a_key || names_a_key(name) {
        let message = format!("the variable {name} holds a key and cannot be inherited");
        let help = format!("give the child its own key only: env: {{ {name}: {{ secret: NAME }} }}");
        cx.problems.add(Code::PlainKey, &node.span, message, help);
    } else if loads_code(name) {
        let message = format!("the variable {name} can make a program load other code and is not inherited");
        cx.problems.add(Code::Exposed, &node.span, message, format!("write what it should be: env: {{ {name}: ... }}"));
    } else if inherit.iter().any(|other| other == name) || env.iter().any(|(other, _)| other == name) {
        let message = format!("the variable {name} is given twice");
        cx.problems.add(Code::Repeated, &node.span, message, "keep it in `env` or in `inherit_env`, once");
    } else {
        return true;
    }
    false
}

/// An argument of a program: the system cannot carry NUL, and a screen not the rest.
pub(super) fn argument(cx: &mut Context<'_>, node: &Node, path: &str, text: &str) {
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        let message = format!("`{path}` has a control character: {}", quote(text));
        cx.problems.add(Code::Form, &node.span, message, "take it out");
    }
}

/// Options such as `--api-key=...`: arguments can be read by every user of the machine.
fn key_options(cx: &mut Context<'_>, args: &[(&Node, &str)]) {
    let mut after_option = false;
    for (node, arg) in args {
        let (option, value) = match arg.split_once('=') {
            Some((option, value)) if arg.starts_with('-') => (option, Some(value)),
            _ => (*arg, None),
        };
        let names = option.starts_with('-') && names_a_key(option.trim_start_matches('-'));
        let has_key =
            (names && value.is_some_and(|value| !value.is_empty())) || (after_option && !arg.starts_with('-'));
        if has_key && shape::key_like(arg).is_none() {
            let message = "this argument carries a key, and every user of the machine can read arguments";
            cx.problems.add(
                Code::PlainKey,
                &node.span,
                message,
                "give it to the child as env: { NAME: { secret: NAME } }",
            );
        }
        after_option = names && value.is_none();
    }
}

fn http(cx: &mut Context<'_>, node: &Node, path: String) -> Option<Upstream> {
    let fields = Fields::of(cx, node, path, &HTTP);
    let allow_plain = fields.yes(cx, "allow_plain_http");
    let path = fields.child("url");
    let url = fields.need(cx, "url", "write the server's address: url: https://...");
    let url = url.and_then(|node| {
        let url = plain_url(cx, node, &path, allow_plain)?;
        query::no_key(cx, node, &path, &url);
        Some(url)
    });
    let query = query::query(cx, fields.get("query"), fields.child("query"), url.as_deref().unwrap_or_default());
    let headers = fields.get("headers").map(|node| headers(cx, node, fields.child("headers"))).unwrap_or_default();
    let oauth = fields.get("auth").and_then(|node| auth::auth(cx, node, fields.child("auth")));
    if let Some((node, (name, _))) =
        fields.get("auth").zip(headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization")))
    {
        let message = format!("the header {} and `auth` both say who countersign is", quote(name));
        cx.problems.add(Code::Contradiction, &node.span, message, "keep one of them");
    }
    Some(Upstream::Http { url: url?, query, headers, oauth })
}

/// An address that a key is sent to.
pub(super) fn plain_url(cx: &mut Context<'_>, node: &Node, path: &str, allow_plain: bool) -> Option<String> {
    let url = cx.text(node, path)?;
    match check_url(url, allow_plain) {
        Ok(()) => Some(url.to_owned()),
        Err((code, fault, help)) => {
            // Whatever stands before an `@` may be a password: the address is not quoted.
            cx.problems.add(code, &node.span, format!("`{path}` {fault}"), help);
            None
        }
    }
}

pub(super) fn headers(cx: &mut Context<'_>, node: &Node, path: String) -> Vec<(String, Value)> {
    let mut headers: Vec<(String, Value)> = Vec::new();
    let fields = Fields::any(cx, node, path);
    for (key, node) in fields.entries() {
        let value = value(cx, node, &fields.child(&key.text));
        if let (true, Some(value)) = (header(cx, key, node, &headers, value.as_ref()), value) {
            plain_key(cx, node, &key.text, &value, header_names_a_key);
            headers.push((key.text.clone(), value));
        }
    }
    headers
}

type Fault = (Code, &'static str, &'static str);

/// `https://HOST[:PORT][/PATH][?QUERY]`; `http` to this machine only, and only where that is said.
fn check_url(url: &str, allow_plain: bool) -> Result<(), Fault> {
    let form = "write it as https://HOST/PATH";
    if url.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err((Code::Form, "has a character that an address cannot have", form));
    }
    let uri: http::Uri = url.parse().map_err(|_| (Code::Form, "is not an address", form))?;
    let authority = uri.authority().ok_or((Code::Form, "is not a whole address", form))?;
    if authority.as_str().contains('@') {
        let help = "take it out and give the key as a secret in `headers`";
        return Err((Code::PlainKey, "has a user or password in it", help));
    }
    if url.contains('#') {
        return Err((Code::Form, "has a fragment (`#`), which is never sent", "take it out"));
    }
    if authority.host().is_empty() || (authority.port().is_none() && authority.as_str().ends_with(':')) {
        return Err((Code::Form, "has no host or an empty port", form));
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if !is_loopback(authority.host()) => {
            Err((Code::Exposed, "sends the key in the clear", "use https; http is for servers on this machine"))
        }
        Some("http") if !allow_plain => {
            Err((Code::Exposed, "is not encrypted", "say that you mean it: allow_plain_http: true"))
        }
        Some("http") => Ok(()),
        _ => Err((Code::Form, "is neither https nor http", form)),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Headers that the transport writes itself.
const RESERVED: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept",
    "accept-encoding",
    "last-event-id",
];

fn header(cx: &mut Context<'_>, key: &Key, node: &Node, earlier: &[(String, Value)], value: Option<&Value>) -> bool {
    let name = key.text.to_ascii_lowercase();
    if name.parse::<http::HeaderName>().is_err() {
        let message = format!("{} cannot be the name of a header", quote(&key.text));
        cx.problems.add(Code::Form, &key.span, message, "a name has letters, digits and `-`");
    } else if RESERVED.contains(&name.as_str()) || name.starts_with("mcp-") {
        let message = format!("the header {} is written by countersign itself", quote(&key.text));
        cx.problems.add(Code::Contradiction, &key.span, message, "take it out");
    } else if earlier.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
        let message = format!("the header {} is given twice", quote(&key.text));
        cx.problems.add(Code::Repeated, &key.span, message, "keep one of the two");
    } else if let Some(Value::Plain(text) | Value::Secret { prefix: text, .. }) = value
        && text.bytes().any(|byte| !(byte.is_ascii_graphic() || byte == b' '))
    {
        let message = format!("the header {} has a character that headers cannot carry", quote(&key.text));
        cx.problems.add(Code::Form, &node.span, message, "use printable ASCII");
    } else {
        return true;
    }
    false
}

/// A text, or `{secret: NAME}` with an optional `prefix`.
fn value(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<Value> {
    if let Data::Map(_) = node.data {
        let fields = Fields::of(cx, node, path, &VALUE);
        let name = fields.need(cx, "secret", "name the secret: { secret: NAME }")?;
        let name = cx.secret(name, &fields.child("secret"))?;
        let prefix = fields.text(cx, "prefix").unwrap_or_default();
        return Some(Value::Secret { name, prefix: prefix.to_owned() });
    }
    let text = cx.text(node, path)?;
    argument(cx, node, path, text);
    Some(Value::Plain(text.to_owned()))
}

/// A value in the clear under a name that says that it is a key. One that looks like a key is noted elsewhere.
fn plain_key(cx: &mut Context<'_>, node: &Node, name: &str, value: &Value, names: fn(&str) -> bool) {
    if let Value::Plain(text) = value
        && !text.is_empty()
        && names(name)
        && shape::key_like(text).is_none()
    {
        let message = format!("the key for {} stands in the file", quote(name));
        cx.problems.add(
            Code::PlainKey,
            &node.span,
            message,
            format!("name a secret instead: {name}: {{ secret: NAME }}"),
        );
    }
}

pub fn names_a_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // PGPASSWORD and CLIENTSECRET have no gap.
    if ["secret", "password", "passwd", "apikey"].iter().any(|end| name.ends_with(end)) {
        return true;
    }
    let ends = ["token", "api_key", "secret_key", "private_key", "access_key"];
    ends.iter().any(|end| name == *end || name.strip_suffix(end).is_some_and(|rest| rest.ends_with('_')))
}

pub fn header_names_a_key(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    matches!(lower.as_str(), "authorization" | "proxy-authorization" | "cookie") || names_a_key(&lower)
}
