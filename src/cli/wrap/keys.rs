//! From what an entry says to an upstream of ours: which server it is, and which of its texts are keys that move out.
//!
//! Invariant: whatever is taken for a key stands nowhere in the result; a key in a place that countersign has no
//! secret for is an error that says where it should stand.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use super::assigned;
use super::clients::Variables;
use super::entry::{self, Said, Text, filled, fixed};
use super::gated::{self, Code};
use super::sign_in::{self, Auth};
use crate::catalog::{Catalog, KeyEvidence, key_forms};
use crate::config;
use crate::credential::shape;
use crate::transport::http_upstream::is_this_machine;

/// What the client started or reached, without keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reached {
    Stdio { command: String, args: Vec<String>, env: Vec<(String, Val)>, inherit: Vec<String>, cwd: Option<String> },
    Http { url: String, query: Vec<(String, Val)>, headers: Vec<(String, Val)>, sign_in: Option<SignIn> },
}

/// How countersign signs in where the client did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SignIn {
    pub client_id: Option<String>,
    /// Which of the keys.
    pub client_secret: Option<usize>,
    pub scopes: Vec<String>,
    pub issuer: Option<String>,
    pub callback_port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Val {
    Plain(String),
    /// Which of the keys, and what stands before it.
    Key {
        index: usize,
        prefix: String,
    },
}

/// A key that has moved out.
pub struct Key {
    /// What it was called where it stood.
    pub label: String,
    pub from: From,
}

pub enum From {
    /// It stood in the client's file.
    File(Zeroizing<String>),
    /// A variable of the client's environment, which the daemon will need.
    Variable(String),
}

impl Key {
    /// Whether it is the key that another one is.
    pub fn is_same(&self, other: &Key) -> bool {
        match (&self.from, &other.from) {
            (From::File(one), From::File(other)) => one == other,
            (From::Variable(one), From::Variable(other)) => one == other,
            (From::File(_), From::Variable(_)) | (From::Variable(_), From::File(_)) => false,
        }
    }
}

pub struct Moved {
    pub reached: Reached,
    /// What becomes of it where it runs code of the agent.
    pub code: Code,
    pub keys: Vec<Key>,
    pub vendor: Option<String>,
    /// What the forms of the keys prove.
    pub evidence: KeyEvidence,
    /// Names of values that were left readable.
    pub open: Vec<String>,
}

/// What the operator said about an entry.
#[derive(Default)]
pub struct Hints<'a> {
    pub vendor: Option<&'a str>,
    /// Names of variables, headers and options that hold keys whatever they look like.
    pub keys: &'a [String],
    pub auth: Option<Auth>,
    pub folder: Option<&'a Path>,
}

/// Options that a vendor's program also takes as a variable.
const OPTIONS: &[(&str, &str, &str)] = &[("@stripe/mcp", "--api-key", "STRIPE_SECRET_KEY")];
const PACKAGES: &[(&str, &str)] = &[("@stripe/mcp", "stripe"), ("@stigg/", "stigg"), ("@statsig/", "statsig")];
const HOSTS: &[(&str, &str)] = &[
    ("mcp.stripe.com", "stripe"),
    ("mcp.stigg.io", "stigg"),
    ("stigg-mcp.stlmcp.com", "stigg"),
    ("api.statsig.com", "statsig"),
];

pub fn moved(said: Said, variables: Variables, hints: &Hints<'_>) -> anyhow::Result<Moved> {
    let said = bridged(said, variables)?;
    let vendor = hints.vendor.or_else(|| vendor(&said)).map(str::to_owned);
    let catalog = Catalog::builtin(vendor.as_deref()).with_context(|| format!("--vendor {vendor:?}"))?;
    let mut of = Mover { catalog, variables, hints, keys: Vec::new(), open: Vec::new() };
    let reached = match said {
        Said::Stdio { command, args, env, cwd } => of.stdio(&command, &args, env, cwd)?,
        Said::Http { url, headers, sign_in } => of.http(url, headers, sign_in)?,
    };
    let texts = of.keys.iter().filter_map(|key| match &key.from {
        From::File(text) => Some(text.as_str()),
        From::Variable(_) => None,
    });
    let evidence = evidence(&of.catalog, texts);
    let code = gated::gated(&reached, vendor.as_deref(), &of.catalog, &of.keys);
    if let Code::Gated(gated) = &code {
        of.open.retain(|name| name != gated.url_env());
    }
    Ok(Moved { reached, code, vendor, evidence, keys: of.keys, open: of.open })
}

/// One that means production counts.
fn evidence<'k>(catalog: &Catalog, keys: impl Iterator<Item = &'k str>) -> KeyEvidence {
    let forms = |key: &str| {
        let others = if shape::key_like(key).is_some() { key_forms(key) } else { Vec::new() };
        others.into_iter().map(|form| form.evidence).chain([catalog.key_evidence(key)]).collect::<Vec<_>>()
    };
    keys.flat_map(forms).fold(KeyEvidence::Silent, |all, one| match (all, one) {
        (KeyEvidence::Production, _) | (_, KeyEvidence::Production) => KeyEvidence::Production,
        (KeyEvidence::Silent, one) => one,
        (all, KeyEvidence::Silent | KeyEvidence::NotProduction) => all,
    })
}

fn vendor(said: &Said) -> Option<&'static str> {
    match said {
        Said::Stdio { command, args, .. } => PACKAGES
            .iter()
            .find(|(package, _)| args.iter().chain([command]).any(|arg| is_package(arg, package)))
            .map(|(_, vendor)| *vendor),
        Said::Http { url, .. } => {
            let (Text::Plain(url) | Text::Variable { prefix: url, .. }) = url;
            let uri: http::Uri = url.parse().ok()?;
            let host = uri.host()?.to_ascii_lowercase();
            HOSTS.iter().find(|(known, _)| *known == host).map(|(_, vendor)| *vendor)
        }
    }
}

/// As a package runner names it, with or without a version, or as the path of its file.
fn is_package(arg: &str, package: &str) -> bool {
    let named = arg
        .strip_prefix(package)
        .is_some_and(|rest| package.ends_with('/') || rest.is_empty() || rest.starts_with('@'));
    named || arg.contains(&format!("/node_modules/{}/", package.trim_end_matches('/')))
}

/// `mcp-remote URL --header ...` only carries bytes: countersign goes to the address itself.
fn bridged(said: Said, variables: Variables) -> anyhow::Result<Said> {
    let Said::Stdio { command, args, env, .. } = &said else { return Ok(said) };
    let is = |arg: &str| {
        let name = arg.rsplit('/').next().unwrap_or(arg);
        name == "mcp-remote" || name.starts_with("mcp-remote@")
    };
    let rest = if is(command) {
        args.as_slice()
    } else {
        let Some(at) = args.iter().position(|arg| is(arg)) else { return Ok(said) };
        args.get(at + 1..).unwrap_or_default()
    };
    let mut rest = rest.iter();
    let url = rest.next().context("mcp-remote has no address")?;
    let url = through(url, env, variables).context("the address of mcp-remote")?;
    let mut headers = Vec::new();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--header" | "-H" => {
                let header = rest.next().context("--header of mcp-remote has no value")?;
                let (name, value) = header.split_once(':').context("a header of mcp-remote has no `:`")?;
                headers.push((name.trim().to_owned(), through(value.trim_start(), env, variables)?));
            }
            "--transport" => {
                if rest.next().is_some_and(|transport| transport == "sse-only") {
                    bail!("it uses the old transport HTTP+SSE: give the server's address for streamable HTTP");
                }
            }
            "--allow-http" | "--debug" | "--silent" | "--enable-proxy" => {}
            port if port.parse::<u16>().is_ok() => {}
            other => bail!(
                "mcp-remote has the option `{}`, which is not known here: write the server into countersign.yaml by hand",
                masked(other)
            ),
        }
    }
    // It signs in by itself where a server wants it.
    Ok(Said::Http { url, headers, sign_in: sign_in::Said::Nothing })
}

/// mcp-remote fills in variables of its own environment, which the entry sets.
fn through(value: &str, env: &[(String, Text)], variables: Variables) -> anyhow::Result<Text> {
    let client = filled(value, variables)?;
    let Text::Variable { name, prefix } = filled(value, Variables::Braces)? else { return Ok(client) };
    let Some((_, set)) = env.iter().find(|(variable, _)| *variable == name) else {
        return Ok(Text::Variable { name, prefix });
    };
    Ok(match set {
        Text::Plain(text) => Text::Plain(format!("{prefix}{text}")),
        Text::Variable { name, prefix: inner } => {
            Text::Variable { name: name.clone(), prefix: format!("{prefix}{inner}") }
        }
    })
}

struct Mover<'a> {
    catalog: Catalog,
    variables: Variables,
    hints: &'a Hints<'a>,
    keys: Vec<Key>,
    open: Vec<String>,
}

impl Mover<'_> {
    fn stdio(
        &mut self,
        command: &str,
        args: &[String],
        mut env: Vec<(String, Text)>,
        cwd: Option<String>,
    ) -> anyhow::Result<Reached> {
        let (command, args) = self.assigned(command, args, &mut env)?;
        let (command, args) = (command.as_str(), self.arguments(&command, &args, &mut env)?);
        let mut values: Vec<(String, Val)> = Vec::new();
        let mut inherit = Vec::new();
        for (name, text) in env {
            if values.iter().any(|(there, _)| *there == name) || inherit.contains(&name) {
                bail!("the variable {name} is given twice, in `env` and as an argument: keep one");
            }
            match text {
                Text::Variable { name: variable, prefix } if !self.names(&name) && !self.names(&variable) => {
                    if variable != name || !prefix.is_empty() {
                        bail!("the client fills in the variable {variable} for {name}: write its value");
                    }
                    inherit.push(name);
                }
                Text::Variable { name: variable, prefix } => {
                    let value = self.key(&name, From::Variable(variable), prefix);
                    values.push((name, value));
                }
                Text::Plain(text) => {
                    let value = if self.is_key(&name, &text) {
                        self.key(&name, From::File(text.into()), String::new())
                    } else {
                        self.open.extend((!text.is_empty()).then(|| name.clone()));
                        Val::Plain(text)
                    };
                    values.push((name, value));
                }
            }
        }
        let (command, cwd) = self.places(command, &args, cwd)?;
        Ok(Reached::Stdio { command, args, env: values, inherit, cwd })
    }

    /// Keys that are variables among the arguments become variables.
    fn assigned(
        &self,
        command: &str,
        args: &[String],
        env: &mut Vec<(String, Text)>,
    ) -> anyhow::Result<(String, Vec<String>)> {
        let Some(taken) = assigned::taken(command, args, |name, value| self.is_key(name, value)) else {
            return Ok((command.to_owned(), args.to_vec()));
        };
        for (name, value) in taken.variables {
            env.push((name.to_owned(), filled(value, self.variables)?));
        }
        Ok((taken.command, taken.args))
    }

    /// The program and its folder. What is relative to where the client started it must be so still.
    fn places(&self, command: &str, args: &[String], cwd: Option<String>) -> anyhow::Result<(String, Option<String>)> {
        let home = |path: &str| match (path.strip_prefix("~/"), std::env::var("HOME")) {
            (Some(rest), Ok(home)) => format!("{home}/{rest}"),
            _ => path.to_owned(),
        };
        let cwd = cwd.map(|cwd| home(&cwd)).map(|cwd| match self.hints.folder {
            Some(folder) => folder.join(&cwd).display().to_string(),
            None => cwd,
        });
        let folder: Option<PathBuf> = cwd.as_ref().map(PathBuf::from).or_else(|| self.hints.folder.map(Path::to_owned));
        let command = home(command);
        if command.contains('/') && !command.starts_with('/') {
            let folder = folder.context("its command is a relative path: write the whole path")?;
            let whole = folder.join(&command).components().collect::<PathBuf>().display().to_string();
            return Ok((whole, cwd.or_else(|| self.hints.folder.map(|folder| folder.display().to_string()))));
        }
        let there = |folder: &Path| args.iter().any(|arg| !arg.starts_with(['-', '/']) && folder.join(arg).exists());
        let needed = self.hints.folder.filter(|folder| cwd.is_none() && there(folder));
        Ok((command, cwd.or_else(|| needed.map(|folder| folder.display().to_string()))))
    }

    /// Arguments without keys. Where the vendor's program takes the same as a variable, the key becomes that.
    fn arguments(&self, command: &str, args: &[String], env: &mut Vec<(String, Text)>) -> anyhow::Result<Vec<String>> {
        let known = |option: &str| {
            let known = OPTIONS.iter().find(|(package, known, _)| {
                *known == option && args.iter().map(String::as_str).chain([command]).any(|arg| is_package(arg, package))
            });
            known.map(|(_, _, variable)| *variable)
        };
        let mut out = Vec::new();
        let mut rest = args.iter().peekable();
        while let Some(arg) = rest.next() {
            let (option, inline) = match arg.split_once('=') {
                Some((option, value)) if arg.starts_with('-') => (option, Some(value)),
                _ => (arg.as_str(), None),
            };
            if arg.starts_with('-') && self.names(option.trim_start_matches('-')) {
                let apart = inline.is_none().then(|| rest.next_if(|next| !next.starts_with('-'))).flatten();
                let Some(value) = inline.or(apart.map(String::as_str)).filter(|value| !value.is_empty()) else {
                    out.push(arg.clone());
                    continue;
                };
                let Some(variable) = known(option) else {
                    bail!(
                        "the argument `{}` carries a key, and every user of the machine can read arguments: look up which \
                         variable the server takes instead, put the key there in `env`, and wrap again",
                        shape::mask(option)
                    );
                };
                if env.iter().any(|(name, _)| name == variable) {
                    bail!("the key stands in `{option}` and in the variable {variable}: keep one of them");
                }
                env.push((variable.to_owned(), filled(value, self.variables)?));
                continue;
            }
            let fixed = fixed(arg, self.variables, self.hints.folder)?;
            if shape::key_like(&fixed).is_some() || has_login(&fixed) || self.assigns_a_key(&fixed) {
                bail!(
                    "the argument `{}` carries a key or password, and every user of the machine can read arguments: look \
                     up which variable the server takes instead, put it there in `env` (for docker with `-e NAME` alone), \
                     and wrap again",
                    masked(&fixed)
                );
            }
            out.push(fixed);
        }
        Ok(out)
    }

    fn http(&mut self, url: Text, headers: Vec<(String, Text)>, said: sign_in::Said) -> anyhow::Result<Reached> {
        let (url, query) = self.address(url)?;
        let mut values = Vec::new();
        for (name, text) in headers {
            if matches!(name.to_ascii_lowercase().as_str(), "accept" | "content-type" | "user-agent") {
                continue;
            }
            let value = match text {
                Text::Variable { name: variable, prefix } => self.key(&name, From::Variable(variable), prefix),
                Text::Plain(text) if self.is_key(&name, &text) => {
                    let (prefix, key) = after_scheme(&text);
                    self.key(&name, From::File(key.to_owned().into()), prefix.to_owned())
                }
                Text::Plain(text) => {
                    self.open.push(name.clone());
                    Val::Plain(text)
                }
            };
            values.push((name, value));
        }
        let sign_in = self.sign_in(said, &url)?;
        Ok(Reached::Http { url, query, headers: values, sign_in })
    }

    /// The address without its keys, and the parameters that carried them.
    fn address(&mut self, url: Text) -> anyhow::Result<(String, Vec<(String, Val)>)> {
        let (url, mut variable) = match url {
            Text::Plain(url) => (url, None),
            Text::Variable { name, prefix } => (prefix, Some(name)),
        };
        let (base, asked) = url.split_once('?').unwrap_or((&url, ""));
        let (mut open, mut query) = (Vec::new(), Vec::new());
        let mut rest = asked.split('&').filter(|pair| !pair.is_empty()).peekable();
        while let Some(pair) = rest.next() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let last = rest.peek().is_none();
            if let Some(variable) = variable.take_if(|_| last && value.is_empty() && pair.ends_with('=')) {
                query.push((name.to_owned(), self.key(name, From::Variable(variable), String::new())));
            } else if !self.is_key(name, value) && !may_be_random(value) {
                self.open.extend((!value.is_empty()).then(|| format!("the parameter {}", shape::mask(name))));
                open.push(pair);
            } else if value.contains(['%', '+', '#']) {
                bail!(
                    "the key in its address is spelled with `%`, `+` or `#`, and what it stands for is not certain: keep it with \
                     `countersign secret set NAME`, write the server into countersign.yaml with `query: {{ {name}: {{ \
                     secret: NAME }} }}`, take the entry out, and wrap the client with --server"
                );
            } else {
                let from = From::File(value.to_owned().into());
                query.push((name.to_owned(), self.key(name, from, String::new())));
            }
        }
        if let Some(variable) = variable {
            bail!("{}", entry::open(&variable));
        }
        let mut url = base.to_owned();
        if !open.is_empty() {
            url = format!("{url}?{}", open.join("&"));
        }
        if has_login(&url) {
            bail!(
                "its address has a password in it, which ends up in logs: keep what `printf %s USER:PASSWORD | base64` prints \
                 with `countersign secret set NAME`, write the server into countersign.yaml with `headers: {{ Authorization: \
                 {{ secret: NAME, prefix: \"Basic \" }} }}`, take the entry out, and wrap the client with --server"
            );
        }
        let bare = config::parameters(&url).any(|(name, value)| value.is_empty() && may_be_random(name));
        if bare || shape::key_like(&url).is_some() {
            bail!(
                "its address carries a key, which ends up in logs: look up which header or parameter the server takes \
                 instead, put the key there, and wrap again"
            );
        }
        Ok((url, query))
    }

    /// A server without a key is one that the client signs in to, unless somebody says otherwise or it is on this machine.
    fn sign_in(&mut self, said: sign_in::Said, url: &str) -> anyhow::Result<Option<SignIn>> {
        let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        let here = host.is_some_and(|host| is_this_machine(&host));
        let has_key = !self.keys.is_empty();
        let registered = match (self.hints.auth, said) {
            (Some(Auth::None), _) => return Ok(None),
            (_, sign_in::Said::SignIn(registered)) => registered,
            (Some(Auth::Oauth), _) => sign_in::Registered::default(),
            (None, sign_in::Said::Nothing) if !has_key && !here => sign_in::Registered::default(),
            (None, sign_in::Said::Nothing | sign_in::Said::Never) => return Ok(None),
        };
        if has_key {
            bail!("it has a key, and is signed in to as well: take one of them out of the entry, or say --auth none");
        }
        let sign_in::Registered { client_id, client_secret, scopes, issuer, callback_port } = registered;
        let client_secret = client_secret.map(|text| match text {
            Text::Plain(text) => Ok(From::File(text.into())),
            Text::Variable { name, prefix } if prefix.is_empty() => Ok(From::Variable(name)),
            Text::Variable { name, .. } => Err(entry::open(&name)),
        });
        let client_secret = client_secret.transpose().map_err(anyhow::Error::msg)?.map(|from| {
            self.key("oauth client secret", from, String::new());
            self.keys.len() - 1
        });
        Ok(Some(SignIn { client_id, client_secret, scopes, issuer, callback_port }))
    }

    fn key(&mut self, label: &str, from: From, prefix: String) -> Val {
        self.keys.push(Key { label: label.to_owned(), from });
        Val::Key { index: self.keys.len() - 1, prefix }
    }

    /// Whether a name says that what it stands for is a key.
    fn names(&self, name: &str) -> bool {
        let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
        self.hints.keys.iter().any(|key| plain(key) == plain(name)) || config::header_names_a_key(name)
    }

    /// `TOKEN=...`, as `docker run -e` takes it, and `Authorization: ...`.
    fn assigns_a_key(&self, arg: &str) -> bool {
        let variable = arg.split_once('=').is_some_and(|(name, value)| !value.is_empty() && self.names(name));
        let header = arg.split_once(':').is_some_and(|(name, value)| !value.trim().is_empty() && self.names(name));
        variable || header
    }

    fn is_key(&self, name: &str, text: &str) -> bool {
        let vendors = text.split_whitespace().any(|word| self.catalog.key_kind(word).is_some());
        !text.is_empty()
            && (self.names(name)
                || shape::key_like(text).is_some()
                || vendors
                || has_login(text)
                || (hints_at_a_key(name) && may_be_a_key(text)))
    }
}

/// Part of a name that often means a key, and sometimes does not.
pub fn hints_at_a_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = ["pat", "auth", "credential", "credentials", "dsn", "cookie"];
    let ends = ["key", "token", "secret", "password", "passwd", "pass", "pwd"];
    name.split(['_', '-', '.']).any(|word| parts.contains(&word) || ends.iter().any(|end| word.ends_with(end)))
}

/// What is no path, address, number or switch.
pub fn may_be_a_key(text: &str) -> bool {
    text.len() >= 8 && !text.starts_with(['/', '~', '.']) && !text.contains("://") && text.parse::<f64>().is_err()
}

/// What a generator may have made. In an address it costs nothing to take one too many for a key.
pub fn may_be_random(text: &str) -> bool {
    let has = |is: fn(&u8) -> bool| text.bytes().any(|byte| is(&byte));
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~=:".contains(&byte));
    plain && text.len() >= 16 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

/// What stands before a key in a header and is none of it, and the key.
pub fn after_scheme(text: &str) -> (&str, &str) {
    let is = |scheme: &&&str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let scheme = ["Bearer ", "Basic ", "Token "].iter().find(is).map_or(0, |scheme| scheme.len());
    text.split_at(scheme)
}

/// Whether a part of an address's path may be a key.
pub fn has_random_part(url: &str) -> bool {
    let path = url.split('?').next().unwrap_or_default().split_once("://").map_or("", |(_, rest)| rest);
    path.split('/').skip(1).any(may_be_random)
}

/// `scheme://user:password@host`.
pub fn has_login(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority.is_some_and(|authority| authority.contains('@'))
}

/// An argument in a message: what may be a key or a password in it is not repeated. Keys go first: one of them may end
/// in the mark after which a value begins.
fn masked(text: &str) -> String {
    let text = shape::mask(text);
    match text.split_once(['=', ':']) {
        Some((name, _)) => format!("{name}..."),
        None => text.into_owned(),
    }
}
