//! Where a server works: what the configuration declares, held against the form of every key that the server gets. What
//! the server itself says at start is `probe`'s business.
//!
//! Invariant: a key that contradicts the declaration is the end of the start; a key is named, and never shown.

use std::collections::BTreeMap;
use std::fmt;

use crate::call::{Environment, EnvironmentSource};
use crate::catalog::{Catalog, KeyEvidence};
use crate::config::{self, Config, Upstream, Value};
use crate::credential::secret::SecretCell;

/// A server that works elsewhere than it is declared to, and everything that was looked at.
#[derive(Debug)]
pub struct Contradiction {
    pub server: String,
    pub declared: String,
    /// Each a line of its own.
    pub found: Vec<String>,
    pub help: &'static str,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contradiction { server, declared, found, help } = self;
        write!(f, "server {server}: `environment: {declared}` is declared, but that is not where it works")?;
        found.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        write!(f, "\n  help: {help}")
    }
}

/// Several of them, one after another.
#[derive(Debug)]
pub struct Contradictions(pub Vec<Contradiction>);

impl fmt::Display for Contradictions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, each) in self.0.iter().enumerate() {
            write!(f, "{}{each}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// The environment of a server: declared, and proved where the form of a key shows it.
///
/// # Errors
/// Where a key is of another environment than the declared one.
pub fn declared(
    server: &config::Server,
    catalog: &Catalog,
    config: &Config,
    secrets: &BTreeMap<String, SecretCell>,
) -> Result<Environment, Contradiction> {
    let declared = Environment { accounts: server.accounts.clone(), ..Environment::declared(&server.environment) };
    // Without a vendor nothing says whose key it is: then the forms of every vendor that is known count.
    let others: Vec<Catalog> =
        if server.facts.vendor.is_none() { Catalog::all_builtin().collect() } else { Vec::new() };
    let (mut found, mut contradicts) = (Vec::new(), false);
    for (place, name) in keys(&server.upstream) {
        let Some(secret) = secrets.get(name) else { continue };
        let form =
            std::iter::once(catalog).chain(&others).find_map(|catalog| catalog.key_form(secret.current().expose()));
        let Some((evidence, form)) = form else { continue };
        let (production, proves) = match evidence {
            KeyEvidence::Production => (true, "a production key"),
            KeyEvidence::NotProduction => (false, "not a production key"),
            KeyEvidence::Silent => continue,
        };
        contradicts |= production != declared.is_production();
        let at = config.path.as_deref().zip(config.secret_places.get(name));
        let at = at.map(|(path, (line, column))| format!(" ({}:{line}:{column})", path.display())).unwrap_or_default();
        found.push(format!("the secret `{name}`{at}, given as {place}, begins with `{form}`: {proves}"));
    }
    if contradicts {
        let (server, declared) = (server.facts.name.clone(), server.environment.clone());
        let help = "use keys of the declared environment, or declare the environment that the keys belong to; \
                    one server has keys of one environment";
        return Err(Contradiction { server, declared, found, help });
    }
    if found.is_empty() {
        return Ok(declared);
    }
    Ok(Environment { source: EnvironmentSource::Key, verified: true, ..declared })
}

/// Every secret that an upstream gets: how, and by which name. Arguments of programs carry none.
fn keys(upstream: &Upstream) -> impl Iterator<Item = (String, &str)> {
    let none: &[(String, Value)] = &[];
    let (values, what, more, also) = match upstream {
        Upstream::Stdio { env, gate, .. } => {
            (env, "variable", gate.as_ref().map_or(none, |gate| &gate.headers), "header")
        }
        Upstream::Http { headers, query, .. } => (headers, "header", query.as_slice(), "parameter"),
    };
    let all = values.iter().map(move |value| (what, value)).chain(more.iter().map(move |value| (also, value)));
    all.filter_map(|(what, (name, value))| match value {
        Value::Secret { name: secret, .. } => Some((format!("{what} {name}"), secret.as_str())),
        Value::Plain(_) => None,
    })
}
