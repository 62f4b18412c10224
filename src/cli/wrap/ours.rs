//! Our side of a wrapped entry: the server, its keys and who may use it, added to `countersign.yaml` in place.
//!
//! Invariant: a configuration that does not load is never written, and a server that is there is never changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use super::assigned;
use super::files::{Files, Opened};
use super::gated::Code;
use super::keys::{From, Key, Moved, Reached, SignIn, Val};
use super::reach;
use crate::call::Environment;
use crate::catalog::KeyEvidence;
use crate::config::edit::{self, Step, Value};
use crate::config::{self, Config, ConfigError, Match, Mode, OAuth, SecretSource, Server, Upstream};
use crate::credential::secret::Secret;
use crate::credential::{shape, source, store, trust};
use crate::sandbox;

const HEAD: &str = "# Written by `countersign wrap`. docs/configuration.md says what every key means. The daemon refuses this file\n\
                    # where others can change it.\nversion: 1\n";
const LISTEN: &str = "127.0.0.1:8377";

/// The configuration while entries are added to it.
pub struct Draft {
    pub path: PathBuf,
    opened: Opened,
    text: String,
    /// As it is on the disk; none yet where there is no file.
    config: Option<Config>,
    pub state_dir: PathBuf,
    /// Keys to store: names and values.
    pub stored: Vec<(String, Zeroizing<String>)>,
    /// What happens, for people.
    pub told: Vec<String>,
}

/// Where the configuration is, or would be.
pub fn place(explicit: Option<&Path>) -> anyhow::Result<PathBuf> {
    match config::locate(explicit) {
        Ok(path) => Ok(path),
        Err(ConfigError::NotFound(_)) => {
            let folder = config::user_folder().context("HOME is not set: name the configuration with --config")?;
            Ok(folder.join("countersign.yaml"))
        }
        Err(error) => Err(shown(&error)),
    }
}

/// The state folder of a configuration, and what it says where it is there already.
pub fn known(path: &Path) -> anyhow::Result<(PathBuf, Option<Config>)> {
    if path.symlink_metadata().is_ok() {
        let config = config::load(Some(path)).map_err(|error| shown(&error))?;
        return Ok((config.state_dir.clone(), Some(config)));
    }
    let folder = config::state_folder().context("HOME is not set: the state folder is below it")?;
    Ok((folder, None))
}

fn shown(error: &ConfigError) -> anyhow::Error {
    anyhow::anyhow!("{}", error.render(false))
}

impl Draft {
    /// `known` are keys of a dry run, which are in no store.
    pub fn open(files: &Files, path: &Path, known: &[(String, Zeroizing<String>)]) -> anyhow::Result<Draft> {
        let opened = files.read(path, None)?;
        if path.symlink_metadata().is_ok() {
            trust::check(path).map_err(|error| anyhow::anyhow!("{error}\nhelp: {}", error.help()))?;
        }
        let config = opened.exists().then(|| edit::check(opened.text(), path)).transpose();
        let config = config.map_err(|error| shown(&error))?;
        let state_dir = match &config {
            Some(config) => config.state_dir.clone(),
            None => config::state_folder().context("HOME is not set: the state folder is below it")?,
        };
        let text = if opened.exists() { opened.text().to_owned() } else { HEAD.to_owned() };
        let stored = if files.dry_run { known.to_vec() } else { Vec::new() };
        Ok(Draft { path: path.to_owned(), opened, text, config, state_dir, stored, told: Vec::new() })
    }

    /// The environment that the operator named, or the one that the key proves.
    pub fn environment(named: Option<&str>, evidence: KeyEvidence) -> anyhow::Result<String> {
        let Some(named) = named else {
            return match evidence {
                KeyEvidence::Production => Ok("production".to_owned()),
                KeyEvidence::NotProduction => Ok("sandbox".to_owned()),
                KeyEvidence::Silent => bail!(
                    "nothing shows whether its key is for production: say so with --environment production, sandbox, \
                     test, development or staging"
                ),
            };
        };
        match (Environment::declared(named).is_production(), evidence) {
            (false, KeyEvidence::Production) => {
                bail!("--environment {named}: its key is for production, by its form")
            }
            (true, KeyEvidence::NotProduction) => {
                bail!("--environment {named}: its key is not for production, by its form")
            }
            _ => Ok(named.to_owned()),
        }
    }

    /// Adds a server, or finds that it is there already. Returns the names of the keys.
    pub fn server(&mut self, name: &str, moved: &Moved, environment: Option<&str>) -> anyhow::Result<Vec<String>> {
        if let Reached::Http { url, .. } = &moved.reached
            && let Some(http) = self.config.as_ref().and_then(|config| config.http.as_ref())
            && reach::server(http, url).is_some()
        {
            bail!("it reaches countersign already");
        }
        let names = self.keys(name, &moved.keys)?;
        if let Some(there) = self.config.as_ref().and_then(|config| config.servers.get(name)) {
            let gated = match &moved.code {
                Code::Gated(gated) => gated.is_of(&there.upstream, &names) && same(there, &gated.reached, &names),
                Code::Without | Code::Beside { .. } => false,
            };
            if !gated && (there.upstream.gate().is_some() || !same(there, &moved.reached, &names)) {
                bail!(
                    "{} has a server `{name}` already, which reaches something else or with another key: give this one \
                     another name with --as NAME",
                    self.path.display()
                );
            }
            self.told.push(format!("server `{name}`: there already, {}", there.environment));
            if let (false, Code::Gated(_)) = (gated, &moved.code) {
                self.told.push(
                    "it runs code of the agent beside the key, as it is written there: docs/configuration.md, \"A gate for \
                     servers that run code\", says what to write instead"
                        .to_owned(),
                );
            }
            self.told.extend(beside_the_key(moved));
            return Ok(names);
        }
        let environment = Self::environment(environment, moved.evidence)?;
        let mut server: Vec<(String, Value)> = Vec::new();
        if let Some(vendor) = &moved.vendor {
            server.push(("vendor".to_owned(), Value::text(vendor)));
        }
        server.push(("environment".to_owned(), Value::text(&environment)));
        let sandboxes = !sandbox::support().is_nothing();
        server.push(("upstream".to_owned(), upstream(moved, &names, sandboxes)));
        for (name, key) in names.iter().zip(&moved.keys) {
            self.secret(name, key)?;
        }
        self.entry("servers", name, &Value::Map(server))?;
        let vendor =
            moved.vendor.as_ref().map_or_else(|| "no vendor is known".to_owned(), |name| format!("vendor {name}"));
        self.told.push(format!("server `{name}`: {environment}, {vendor}"));
        match &moved.code {
            Code::Gated(gated) => self.told.extend(gated.told(sandboxes)),
            Code::Without | Code::Beside { .. } => self.told.extend(beside_the_key(moved)),
        }
        self.told.extend(by_socket(&moved.reached).filter(|_| sandboxes));
        if !sandboxes && matches!(moved.reached, Reached::Stdio { .. }) {
            self.told
                .push("sandbox: off; this system has none: the program may do whatever this account can".to_owned());
        }
        Ok(names)
    }

    /// Names for keys: that of the same key where it is known, else a new one.
    fn keys(&self, server: &str, keys: &[Key]) -> anyhow::Result<Vec<String>> {
        let folder = store::folder(&self.state_dir);
        let mut names: Vec<String> = Vec::new();
        for (n, key) in keys.iter().enumerate() {
            let earlier = keys.iter().take(n).position(|other| other.is_same(key));
            let name = match earlier.and_then(|at| names.get(at).cloned()).or_else(|| self.known(&folder, &key.from)) {
                Some(name) => name,
                None => self.free(&folder, &base(server, &key.label), &key.from, &names)?,
            };
            if let From::File(text) = &key.from {
                source::accept(Zeroizing::new(text.as_bytes().to_vec()))
                    .map_err(|unfit| anyhow::anyhow!("the value of {} cannot be kept as a key: {unfit}", key.label))?;
            }
            names.push(name);
        }
        Ok(names)
    }

    /// The secret that is this key already.
    fn known(&self, folder: &Path, from: &From) -> Option<String> {
        let is = |(name, known): &(&String, &SecretSource)| match (known, from) {
            (SecretSource::Env(known), From::Variable(variable)) => known == variable,
            (SecretSource::Stored(_), From::File(text)) => self.holds(folder, name, text) == Some(true),
            _ => false,
        };
        let config = self.config.as_ref()?;
        config.secrets.iter().find(is).map(|(name, _)| name.clone())
    }

    /// Whether a name is stored with this value, or with another one.
    fn holds(&self, folder: &Path, name: &str, text: &str) -> Option<bool> {
        let planned = self.stored.iter().find(|(there, _)| there == name).map(|(_, key)| key.as_str() == text);
        planned.or_else(|| match store::get(folder, name) {
            Ok(secret) => Some(secret?.matches(text)),
            Err(_) => Some(false),
        })
    }

    fn free(&self, folder: &Path, base: &str, from: &From, taken: &[String]) -> anyhow::Result<String> {
        let fits = |name: &String| {
            let unused = !taken.contains(name) && self.config.as_ref().is_none_or(|c| !c.secrets.contains_key(name));
            unused
                && match from {
                    From::Variable(_) => true,
                    From::File(text) => self.holds(folder, name, text) != Some(false),
                }
        };
        let numbered = (2..1000).map(|n| format!("{base}_{n}"));
        std::iter::once(base.to_owned()).chain(numbered).find(fits).context("there is no name left for its key")
    }

    fn secret(&mut self, name: &str, key: &Key) -> anyhow::Result<()> {
        let there = self.config.as_ref().is_some_and(|config| config.secrets.contains_key(name));
        let written = edit::tree(&self.text, &self.path).ok().flatten();
        let written = written.is_some_and(|root| edit::find(&root, &[Step::Key("secrets"), Step::Key(name)]).is_some());
        if there || written {
            return Ok(());
        }
        match &key.from {
            From::File(text) => {
                self.entry("secrets", name, &Value::text("stored"))?;
                self.stored.push((name.to_owned(), text.clone()));
                self.told.push(format!("secret `{name}`: stored; it was {}", key.label));
            }
            From::Variable(variable) => {
                self.entry("secrets", name, &Value::map([("env", Value::text(variable))]))?;
                self.told.push(format!(
                    "secret `{name}`: the variable {variable}; the daemon must have it: export {variable} before \
                     `countersign serve`"
                ));
            }
        }
        Ok(())
    }

    fn entry(&mut self, section: &str, key: &str, value: &Value) -> anyhow::Result<()> {
        self.text = edit::add_entry(&self.text, &self.path, &[Step::Key(section)], key, value)?;
        Ok(())
    }

    /// The clients of this user may use the server through the shim.
    pub fn local(&mut self, server: &str) -> anyhow::Result<()> {
        let uid = rustix::process::geteuid().as_raw();
        let by = Value::map([("uid", Value::Number(uid.into()))]);
        self.principal(server, "local", &Match::Uid(uid), &by)
    }

    /// The holder of a client's token may; returns the token.
    pub fn token(&mut self, server: &str, client: &str) -> anyhow::Result<Zeroizing<String>> {
        let name = format!("{}_token", client.replace('-', "_"));
        let folder = store::folder(&self.state_dir);
        let there = self.config.as_ref().and_then(|config| config.secrets.get(&name));
        if there.is_some_and(|source| !matches!(source, SecretSource::Stored(_))) {
            bail!("the secret `{name}` is not stored by countersign: write the entry by hand, or remove the secret");
        }
        let planned = self.stored.iter().find(|(known, _)| *known == name).map(|(_, token)| token.clone());
        let token = match planned {
            Some(token) => token,
            None => match store::get(&folder, &name)? {
                Some(token) => Zeroizing::new(token.expose().to_owned()),
                None => Zeroizing::new(random()?),
            },
        };
        if there.is_none() {
            self.entry("secrets", &name, &Value::text("stored"))?;
            self.told.push(format!("secret `{name}`: stored; the token of {client}"));
        }
        if !self.stored.iter().any(|(known, _)| *known == name) {
            self.stored.push((name.clone(), token.clone()));
        }
        let by = Value::map([("token", Value::map([("secret", Value::text(&name))]))]);
        self.principal(server, client, &Match::Token(name), &by)?;
        Ok(token)
    }

    fn principal(&mut self, server: &str, name: &str, by: &Match, written: &Value) -> anyhow::Result<()> {
        let principals = self.config.as_ref().map(|config| config.principals.as_slice()).unwrap_or_default();
        let scope = format!("{server}/{}", if self.holds_what_is_dangerous() { "*" } else { "read" });
        let Some(at) = principals.iter().position(|entry| entry.by == *by) else {
            let taken = |name: &str| principals.iter().any(|entry| entry.principal.name == name);
            let name =
                if taken(name) { format!("{name}-{}", rustix::process::geteuid().as_raw()) } else { name.to_owned() };
            let principal = Value::map([
                ("name", Value::text(&name)),
                ("match", written.clone()),
                ("scopes", Value::List(vec![Value::text(&scope)])),
            ]);
            self.text = edit::add_item(&self.text, &self.path, &[Step::Key("principals")], &principal)?;
            self.told.push(format!("principal `{name}`: new, with the scope {scope}"));
            return Ok(());
        };
        let known = principals.get(at).map(|entry| &entry.principal).context("a principal")?;
        let about = |scope: &str| scope.split_once('/').is_some_and(|(of, _)| of == "*" || of == server);
        let covered = known.scopes.iter().any(|scope| about(scope))
            || known.conditional_scopes.iter().any(|scope| about(&scope.scope));
        let name = known.name.clone();
        if covered {
            self.told.push(format!("principal `{name}`: its scopes name the server already"));
            return Ok(());
        }
        let path = [Step::Key("principals"), Step::Item(at), Step::Key("scopes")];
        self.text = edit::add_item(&self.text, &self.path, &path, &Value::text(&scope))?;
        self.told.push(format!("principal `{name}`: the scope {scope} more"));
        Ok(())
    }

    /// Where that policy is not in force, a scope for everything would be the right to do everything unasked.
    fn holds_what_is_dangerous(&self) -> bool {
        self.config.as_ref().is_none_or(|config| {
            let mode = config.policy.modes.get("destructive").copied().unwrap_or(Mode::Enforce);
            mode == Mode::Enforce && config.policy.builtin.iter().any(|name| name == "destructive")
        })
    }

    /// Scheme and authority of the HTTP front, as the client reaches it.
    pub fn listen(&mut self) -> anyhow::Result<String> {
        if let Some(http) = self.config.as_ref().and_then(|config| config.http.as_ref()) {
            return reach::front(http);
        }
        let there = edit::tree(&self.text, &self.path).map_err(|error| shown(&error))?;
        if there.is_none_or(|root| edit::find(&root, &[Step::Key("listen"), Step::Key("http")]).is_none()) {
            self.entry("listen", "http", &Value::text(LISTEN))?;
            self.told.push(format!("listen: {LISTEN}"));
        }
        Ok(format!("http://{LISTEN}"))
    }

    /// Where shims dial, if the configuration can be read as it would be.
    pub fn socket(&self) -> anyhow::Result<PathBuf> {
        let config = edit::check(&self.text, &self.path).map_err(|error| shown(&error))?;
        Ok(config.runtime_dir.join("client.sock"))
    }

    /// Stores the keys and writes the configuration, where anything is new. Returns the keys that were not stored before.
    pub fn write(self, files: &mut Files) -> anyhow::Result<Vec<String>> {
        edit::check(&self.text, &self.path)
            .map_err(|error| anyhow::anyhow!("the changed configuration would not load:\n{}", error.render(false)))?;
        let folder = store::folder(&self.state_dir);
        let mut new = Vec::new();
        let done = (|| -> anyhow::Result<()> {
            if files.dry_run {
                return files.replace(&self.opened, Some(&self.text));
            }
            for (name, text) in &self.stored {
                let secret: Secret = source::accept(Zeroizing::new(text.as_bytes().to_vec()))
                    .map_err(|unfit| anyhow::anyhow!("the secret `{name}`: {unfit}"))?;
                if store::put(&folder, name, &secret, store::Other::Keep)? == store::Put::New {
                    new.push(name.clone());
                }
            }
            if self.opened.exists() && self.opened.text() == self.text {
                return Ok(());
            }
            files.replace(&self.opened, Some(&self.text))
        })();
        if done.is_err() {
            for name in &new {
                _ = store::remove(&folder, name);
            }
        }
        done.map(|()| new)
    }
}

/// What to do about a server that runs code of the agent and has the key.
fn beside_the_key(moved: &Moved) -> Option<String> {
    let Code::Beside { tool, why } = &moved.code else { return None };
    Some(format!(
        "its tool {tool} runs code of the agent beside the key, and whoever may call it has the key. It gets no gate: \
         {why} (docs/configuration.md, \"A gate for servers that run code\")"
    ))
}

/// What a program that starts containers needs more than others, and what that gives away.
fn by_socket(reached: &Reached) -> Option<String> {
    let Reached::Stdio { command, .. } = reached else { return None };
    let name = Some(assigned::program(command)).filter(|name| assigned::CONTAINERS.contains(name))?;
    Some(format!(
        "{name} speaks to its daemon by a unix socket, which the sandbox closes: write `sandbox: {{ unix_sockets: true }}` \
         into its `stdio`, and know that whoever may speak to it can do everything on this machine; a server that runs \
         without a container needs none of this"
    ))
}

/// 32 bytes nobody can guess.
fn random() -> anyhow::Result<String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(std::io::Error::other).context("no random numbers")?;
    Ok(format!("{}{}", shape::CLIENT_TOKEN, super::tree::hex(bytes.as_slice())))
}

/// A name for a secret, from what it was called.
fn base(server: &str, label: &str) -> String {
    let plain = |text: &str| {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        text.chars().map(letter).collect::<String>().trim_matches('_').to_owned()
    };
    let (server, label) = (plain(server), plain(label));
    let name = if label.starts_with(&server) { label } else { format!("{server}_{label}") };
    name.chars().take(56).collect()
}

fn upstream(moved: &Moved, names: &[String], sandboxes: bool) -> Value {
    let value = |value: &Val| match value {
        Val::Plain(text) => Value::text(text),
        Val::Key { index, prefix } => {
            let name = names.get(*index).cloned().unwrap_or_default();
            let prefix = (!prefix.is_empty()).then(|| ("prefix", Value::text(prefix)));
            Value::map([("secret", Value::text(name))].into_iter().chain(prefix))
        }
    };
    let values = |values: &[(String, Val)]| Value::map(values.iter().map(|(name, one)| (name.clone(), value(one))));
    let texts = |texts: &[String]| Value::List(texts.iter().map(Value::text).collect());
    let (reached, gated) = match &moved.code {
        Code::Gated(gated) => (&gated.reached, Some(gated)),
        Code::Without | Code::Beside { .. } => (&moved.reached, None),
    };
    match reached {
        Reached::Stdio { command, args, env, inherit, cwd } => {
            let mut stdio = vec![("command", Value::text(command))];
            if !args.is_empty() {
                stdio.push(("args", texts(args)));
            }
            if !env.is_empty() {
                stdio.push(("env", values(env)));
            }
            if !inherit.is_empty() {
                stdio.push(("inherit_env", texts(inherit)));
            }
            stdio.extend(cwd.as_ref().map(|cwd| ("cwd", Value::text(cwd))));
            // Where there is none, the daemon starts only with the word for it.
            stdio.extend((!sandboxes).then(|| ("sandbox", Value::text("off"))));
            stdio.extend(gated.into_iter().flat_map(|gated| gated.written(names, sandboxes)));
            Value::map([("stdio", Value::map(stdio))])
        }
        Reached::Http { url, query, headers, sign_in } => {
            let mut http = vec![("url", Value::text(url))];
            if url.starts_with("http://") {
                http.push(("allow_plain_http", Value::Flag(true)));
            }
            if !query.is_empty() {
                http.push(("query", values(query)));
            }
            if !headers.is_empty() {
                http.push(("headers", values(headers)));
            }
            http.extend(sign_in.as_ref().map(|sign_in| ("auth", auth(sign_in, names))));
            Value::map([("http", Value::map(http))])
        }
    }
}

fn auth(sign_in: &SignIn, names: &[String]) -> Value {
    let SignIn { client_id, client_secret, scopes, issuer, callback_port } = sign_in;
    let secret = client_secret.and_then(|index| names.get(index));
    let list = Some(scopes).filter(|scopes| !scopes.is_empty());
    let oauth: Vec<(&str, Value)> = [
        client_id.as_ref().map(|id| ("client_id", Value::text(id))),
        secret.map(|name| ("client_secret", Value::map([("secret", Value::text(name))]))),
        list.map(|scopes| ("scopes", Value::List(scopes.iter().map(Value::text).collect()))),
        issuer.as_ref().map(|issuer| ("issuer", Value::text(issuer))),
        callback_port.map(|port| ("callback_port", Value::Number(port.into()))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if oauth.is_empty() { Value::text("oauth") } else { Value::map([("oauth", Value::map(oauth))]) }
}

/// Whether a server that is there reaches the same with the same keys.
fn same(server: &Server, reached: &Reached, names: &[String]) -> bool {
    let equal = |one: &config::Value, other: &Val| match (one, other) {
        (config::Value::Plain(one), Val::Plain(other)) => one == other,
        (config::Value::Secret { name, prefix }, Val::Key { index, prefix: other }) => {
            names.get(*index) == Some(name) && prefix == other
        }
        _ => false,
    };
    let all = |one: &[(String, config::Value)], other: &[(String, Val)]| {
        let has = |(name, value): &(String, Val)| {
            one.iter().any(|(known, known_value)| known == name && equal(known_value, value))
        };
        one.len() == other.len() && other.iter().all(has)
    };
    match (&server.upstream, reached) {
        (
            Upstream::Stdio { command, args, env, inherit, cwd, .. },
            Reached::Stdio { command: c, args: a, env: e, inherit: i, cwd: w },
        ) => command == c && args == a && all(env, e) && inherit == i && *cwd == w.as_ref().map(PathBuf::from),
        (Upstream::Http { url, query, headers, oauth }, Reached::Http { url: u, query: q, headers: h, sign_in }) => {
            url == u && all(query, q) && all(headers, h) && signs_in(oauth.as_ref(), sign_in.as_ref(), names)
        }
        _ => false,
    }
}

fn signs_in(there: Option<&OAuth>, sign_in: Option<&SignIn>, names: &[String]) -> bool {
    let wanted = sign_in.map(|SignIn { client_id, client_secret, scopes, issuer, callback_port }| OAuth {
        client_id: client_id.clone(),
        client_secret: client_secret.and_then(|index| names.get(index).cloned()),
        scopes: scopes.clone(),
        issuer: issuer.clone(),
        callback_port: *callback_port,
        ..OAuth::default()
    });
    there == wanted.as_ref()
}
