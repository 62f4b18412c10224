//! The configured servers, made ready for sessions: catalog, environment, keys in their places, way to the upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::environment;
use super::sign_in::{self, SignIns};
use super::{Contradictions, ServerRuntime, StartError, api, boxes, upstream};
use crate::call::{Environment, ServerFacts};
use crate::catalog::{Catalog, CatalogError};
use crate::config::{self, Config, Upstream as UpstreamConfig, Value};
use crate::credential::secret::SecretCell;
use crate::credential::trust::TrustError;
use crate::sandbox::Yard;
use crate::transport::http_upstream::{HeaderSource, HttpSpec};
use crate::transport::stdio_upstream::{EnvValue, StdioSpec};

pub(super) fn servers(
    config: &Config,
    secrets: &BTreeMap<String, SecretCell>,
    yard: &Arc<Yard>,
    child_port: Option<u16>,
    sign_ins: Option<&SignIns>,
) -> Result<BTreeMap<String, ServerRuntime>, StartError> {
    let (mut servers, mut contradictions) = (BTreeMap::new(), Vec::new());
    for (name, server) in &config.servers {
        let catalog = catalog(server)?;
        match environment::declared(server, &catalog, config, secrets) {
            Ok(environment) => {
                let served = runtime(server, catalog, environment, secrets, yard, child_port, sign_ins)?;
                servers.insert(name.clone(), served);
            }
            Err(contradiction) => contradictions.push(contradiction),
        }
    }
    if contradictions.is_empty() { Ok(servers) } else { Err(StartError::Environment(Contradictions(contradictions))) }
}

pub(super) fn catalog(server: &config::Server) -> Result<Catalog, CatalogError> {
    let catalog = Catalog::load(server.facts.vendor.as_deref(), &server.catalogs)?;
    let trusts = server.upstream.gate().is_some_and(|gate| gate.trust_code);
    Ok(if trusts { catalog.trusting_code() } else { catalog })
}

pub(super) fn runtime(
    server: &config::Server,
    catalog: Catalog,
    environment: Environment,
    secrets: &BTreeMap<String, SecretCell>,
    yard: &Arc<Yard>,
    child_port: Option<u16>,
    sign_ins: Option<&SignIns>,
) -> Result<ServerRuntime, StartError> {
    let name = &server.facts.name;
    let wrong = |reason: String| StartError::Upstream { server: name.clone(), reason };
    let mut definitions = Arc::default();
    let upstream = match &server.upstream {
        UpstreamConfig::Stdio { command, args, env, inherit, cwd, sandbox, gate } => {
            let env = env.iter().map(|(key, value)| Ok((key.clone(), variable(value, secrets).map_err(wrong)?)));
            let mut spec = StdioSpec {
                server: name.clone(),
                command: command.clone(),
                args: args.clone(),
                env: env.collect::<Result<_, StartError>>()?,
                inherit: inherit.clone(),
                cwd: cwd.clone(),
                sandbox: boxes::sandbox(
                    name,
                    sandbox.as_deref(),
                    child_port.filter(|_| gate.is_some()),
                    gate.as_ref().is_some_and(|gate| gate.trust_code),
                    yard,
                )?
                .map(Box::new),
            };
            if let Some((problem, help)) = crate::config::cannot_fetch(&server.upstream) {
                tracing::warn!(server = name, help, "{problem}");
            }
            match spec.resolve() {
                Ok(()) => tracing::info!(server = name, program = spec.command, "the server's program"),
                // Looked for again for each session.
                Err(error @ (TrustError::Missing(_) | TrustError::NoCommand { .. })) => {
                    tracing::warn!(server = name, command, %error, help = error.help(), "the server has no program");
                }
                Err(error) => return Err(wrong(format!("command: {error}\n  help: {}", error.help()))),
            }
            upstream::Kind::Stdio(spec)
        }
        UpstreamConfig::Http { url, query, headers, oauth } => {
            let headers = fields(headers, secrets).map_err(wrong)?;
            let query = parameters(query, secrets).map_err(wrong)?;
            let spec = HttpSpec::new(name, url, headers).and_then(|spec| spec.with_query(query));
            let mut spec = spec.map_err(|error| wrong(error.to_string()))?;
            if let (Some(oauth), Some(sign_ins)) = (oauth, sign_ins) {
                let settings = sign_in::settings(name, url, oauth, secrets).map_err(wrong)?;
                let bearer = sign_ins.bearer(settings).map_err(wrong)?;
                spec = spec.with_oauth(bearer).map_err(|error| wrong(error.to_string()))?;
            }
            definitions = Arc::clone(spec.definitions());
            upstream::Kind::Http(Arc::new(spec))
        }
    };
    let api = server.upstream.gate().map(|gate| api::spec(name, gate, &catalog, secrets)).transpose().map_err(wrong)?;
    for looser in catalog.loosened() {
        tracing::warn!(server = name, "{looser}");
    }
    Ok(ServerRuntime {
        facts: Arc::new(ServerFacts { catalog: catalog.digest(), ..(*server.facts).clone() }),
        environment: Arc::new(environment),
        catalog: Arc::new(catalog),
        definitions,
        handles: Arc::default(),
        upstream,
        hidden: server.hidden,
        api: api.map(Arc::new),
        sessions: Arc::default(),
    })
}

fn variable(value: &Value, secrets: &BTreeMap<String, SecretCell>) -> Result<EnvValue, String> {
    Ok(match value {
        Value::Plain(text) => EnvValue::Plain(text.clone()),
        Value::Secret { name, prefix } => EnvValue::Secret { value: find(name, secrets)?, prefix: prefix.clone() },
    })
}

pub(super) fn fields(
    headers: &[(String, Value)],
    secrets: &BTreeMap<String, SecretCell>,
) -> Result<Vec<(String, HeaderSource)>, String> {
    headers.iter().map(|(name, value)| Ok((name.clone(), header(value, secrets)?))).collect()
}

/// Whether the keys of a server's address fit into it.
pub(super) fn has_room(server: &config::Server, secrets: &BTreeMap<String, SecretCell>) -> Result<(), String> {
    let UpstreamConfig::Http { url, query, .. } = &server.upstream else { return Ok(()) };
    let query = parameters(query, secrets)?;
    let spec = HttpSpec::new(&server.facts.name, url, Vec::new()).and_then(|spec| spec.with_query(query));
    spec.map(drop).map_err(|error| error.to_string())
}

/// Those of an address, all of which are keys.
fn parameters(
    query: &[(String, Value)],
    secrets: &BTreeMap<String, SecretCell>,
) -> Result<Vec<(String, SecretCell)>, String> {
    let keys = query.iter().filter_map(|(name, value)| match value {
        Value::Secret { name: secret, .. } => Some((name, secret)),
        Value::Plain(_) => None,
    });
    keys.map(|(name, secret)| Ok((name.clone(), find(secret, secrets)?))).collect()
}

fn header(value: &Value, secrets: &BTreeMap<String, SecretCell>) -> Result<HeaderSource, String> {
    Ok(match value {
        Value::Plain(text) => HeaderSource::Plain(text.clone()),
        Value::Secret { name, prefix } => HeaderSource::Secret { value: find(name, secrets)?, prefix: prefix.clone() },
    })
}

pub(super) fn find(name: &str, secrets: &BTreeMap<String, SecretCell>) -> Result<SecretCell, String> {
    secrets.get(name).cloned().ok_or_else(|| format!("there is no secret {name}"))
}
