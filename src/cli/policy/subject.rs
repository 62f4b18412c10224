//! Calls that nobody has made: built as a session would, from a configuration and an operation. No key is read, so the
//! environment is what the configuration declares; no tool's definition has been seen.

#![allow(clippy::print_stderr)]

use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::json;

use super::super::policy_replay::Moment;
use crate::call::{
    Bound, CallContext, ClientInfo, Environment, Pin, Principal, PrincipalKind, SchemaCheck, ServerFacts, ToolCall,
    ToolFacts, Transport,
};
use crate::catalog::{Catalog, author};
use crate::config::{Config, Match, Server};
use crate::json::{JsonText, Kind, Rules};
use crate::mcp::api_request::{self, Body};
use crate::mcp::message::Message;
use crate::mcp::method::{Sorted, sort};
use crate::policy;

const NOT_STRICT: &str = "--arguments is not strict JSON";

/// A call, as flags.
#[derive(clap::Args, Debug)]
pub struct Asked {
    /// The server's name in the configuration
    #[arg(long)]
    server: Option<String>,
    /// The tool
    #[arg(long, allow_hyphen_values = true)]
    tool: Option<String>,
    /// A request to the vendor's API in place of a tool: `POST /v1/things?full=1`
    #[arg(long, conflicts_with = "tool", value_name = "METHOD PATH")]
    request: Option<String>,
    /// The arguments of the call, a JSON object; of a request its body
    #[arg(long, default_value = "{}")]
    arguments: String,
    /// The body of a request as a form: `amount=500&charge=ch_1`
    #[arg(long, requires = "request", conflicts_with = "arguments", value_name = "NAME=VALUE&...")]
    form: Option<String>,
    /// Who calls; needed where the configuration has several principals
    #[arg(long)]
    principal: Option<String>,
    /// As if it were then, for rules about time: 2026-11-01T18:30:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    now: Option<Moment>,
}

/// A server that calls could go to.
#[derive(Clone, Debug)]
pub struct Place {
    pub facts: Arc<ServerFacts>,
    pub environment: Arc<Environment>,
    pub catalog: Arc<Catalog>,
    /// Requests to the vendor's API come through here.
    pub gated: bool,
}

/// Somebody who could call.
#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Arc<Principal>,
    pub client: Arc<ClientInfo>,
}

impl Asked {
    /// The clock of the rules.
    ///
    /// # Errors
    /// A time that the rules cannot be told.
    pub fn now(&self) -> anyhow::Result<u64> {
        match &self.now {
            Some(moment) => nanoseconds(moment),
            None => Ok(policy::now()),
        }
    }

    /// An input document with another clock, where one is asked for.
    ///
    /// # Errors
    /// A document that is no object, or no strict JSON.
    pub fn at_its_time(&self, document: String) -> anyhow::Result<String> {
        let Some(moment) = &self.now else { return Ok(document) };
        let now = nanoseconds(moment)?;
        let text = JsonText::parse(document, Rules::UPSTREAM).context("the input is not strict JSON")?;
        let view = text.view();
        if view.kind() != Kind::Object {
            bail!("the input is no object");
        }
        let others = view.members().filter(|(name, _)| name.as_str().is_none_or(|name| name != "now"));
        let others = others.map(|(name, value)| format!(",{}:{}", name.text(), value.text()));
        Ok(format!("{{\"now\":{now}{}}}", others.collect::<String>()))
    }

    /// The call and its context, as a session with the configured server would have them.
    ///
    /// # Errors
    /// What the configuration does not have, and arguments that the proxy would refuse before policy.
    pub fn call(&self, config: &Config) -> anyhow::Result<(ToolCall, CallContext)> {
        let Some(server) = &self.server else { bail!("give --server and --tool, or --input") };
        let server = config.servers.get(server).with_context(|| {
            let known = config.servers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("no server is named {server}; the configuration has: {known}")
        })?;
        let caller = caller(self.principal.as_deref(), config)?;
        let call = match (&self.tool, &self.request) {
            (Some(tool), _) => tool_call(tool, &self.arguments)?,
            (None, Some(request)) => api_request(request, self.body()?)?,
            (None, None) => bail!("give --tool, or --request, or --input"),
        };
        let context = Place::of(server)?.context(&call, &caller, "eval");
        Ok((call, context))
    }

    /// Of a request; an empty object is none.
    fn body(&self) -> anyhow::Result<Option<Body>> {
        if let Some(form) = &self.form {
            return Ok(Some(Body::Form(form.clone())));
        }
        let body = JsonText::parse(self.arguments.as_bytes(), Rules::CLIENT).context(NOT_STRICT)?;
        Ok(Some(body).filter(|body| body.as_str() != "{}").map(Body::Json))
    }
}

impl Place {
    pub fn of(server: &Server) -> anyhow::Result<Place> {
        let catalog = Catalog::load(server.facts.vendor.as_deref(), &server.catalogs)?;
        let trusts = server.upstream.gate().is_some_and(|gate| gate.trust_code);
        let catalog = if trusts { catalog.trusting_code() } else { catalog };
        catalog.loosened().iter().for_each(|looser| eprintln!("warning: {looser}"));
        Ok(Place {
            facts: Arc::new(ServerFacts { catalog: catalog.digest(), ..(*server.facts).clone() }),
            environment: Arc::new(Environment {
                accounts: server.accounts.clone(),
                ..Environment::declared(&server.environment)
            }),
            catalog: Arc::new(catalog),
            gated: server.upstream.gate().is_some(),
        })
    }

    /// Every configured server.
    pub fn all(config: &Config) -> anyhow::Result<Vec<Place>> {
        config.servers.values().map(Place::of).collect()
    }

    /// A server of each vendor that has a built-in catalog.
    pub fn builtin() -> anyhow::Result<Vec<Place>> {
        crate::catalog::vendors()
            .map(|vendor| {
                let catalog = Catalog::builtin(Some(vendor))?;
                let facts =
                    ServerFacts { name: vendor.to_owned(), vendor: Some(vendor.to_owned()), catalog: catalog.digest() };
                Ok(Place {
                    facts: Arc::new(facts),
                    environment: Arc::new(Environment::declared("production")),
                    catalog: Arc::new(catalog),
                    gated: true,
                })
            })
            .collect()
    }

    /// What the catalog knows, whichever way a call comes to it.
    pub fn every(&self) -> Vec<author::Known> {
        self.catalog.known(self.facts.vendor.as_deref())
    }

    /// What a call of this server can come to: requests to the API where they come through here alone.
    pub fn known(&self) -> Vec<author::Known> {
        let mut known = self.every();
        known.retain(|known| self.gated || !matches!(known.way, author::Reached::Request { .. }));
        known
    }

    pub fn context(&self, call: &ToolCall, caller: &Caller, session: &str) -> CallContext {
        CallContext {
            continues: None,
            session: session.to_owned(),
            principal: Arc::clone(&caller.principal),
            client: caller.client.clone(),
            server: Arc::clone(&self.facts),
            environment: Arc::clone(&self.environment),
            tool: ToolFacts {
                name: call.tool().to_owned(),
                annotations: None,
                definition: None,
                pin: Pin::Unknown,
                schema: SchemaCheck::None,
            },
            operation: self.catalog.operation(call),
            bound: Bound::default(),
            history: None,
            confirmations: self.catalog.confirmations(call),
        }
    }
}

impl Caller {
    /// Somebody who may ask for everything, for samples.
    pub fn anybody() -> Caller {
        Caller {
            principal: Arc::new(Principal::plain("sample", PrincipalKind::Uid, vec!["*/*".to_owned()])),
            client: Arc::new(ClientInfo { uid: Some(1000), ..ClientInfo::silent(Transport::Stdio) }),
        }
    }

    /// Somebody who may ask for nothing.
    pub fn nobody() -> Caller {
        let principal = Principal::plain("nobody", PrincipalKind::Token, Vec::new());
        Caller { principal: Arc::new(principal), client: Arc::new(ClientInfo::silent(Transport::Http)) }
    }

    pub fn all(config: &Config) -> Vec<Caller> {
        config.principals.iter().map(Caller::of).collect()
    }

    fn of(entry: &crate::config::PrincipalEntry) -> Caller {
        let (transport, uid) = match entry.by {
            Match::Token(_) | Match::TokenHash(_) | Match::Jwt { .. } => (Transport::Http, None),
            Match::Uid(uid) => (Transport::Stdio, Some(uid)),
        };
        Caller {
            principal: Arc::clone(&entry.principal),
            client: Arc::new(ClientInfo { uid, ..ClientInfo::silent(transport) }),
        }
    }
}

fn nanoseconds(moment: &Moment) -> anyhow::Result<u64> {
    u64::try_from(moment.0.as_nanosecond()).ok().context("--now is a time between 1970 and 2554")
}

/// The principal of that name; the only one where none is named.
fn caller(name: Option<&str>, config: &Config) -> anyhow::Result<Caller> {
    let known = || {
        let names = config.principals.iter().map(|entry| entry.principal.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let entry = match (name, config.principals.as_slice()) {
        (Some(name), principals) => principals
            .iter()
            .find(|entry| entry.principal.name == name)
            .with_context(|| format!("no principal is named {name}; the configuration has: {}", known()))?,
        (None, [only]) => only,
        (None, _) => bail!("say who calls with --principal; the configuration has: {}", known()),
    };
    Ok(Caller::of(entry))
}

/// A `tools/call` by the strict reader of the proxy.
///
/// # Errors
/// What the proxy would refuse before policy.
pub fn tool_call(tool: &str, arguments: &str) -> anyhow::Result<ToolCall> {
    let arguments = JsonText::parse(arguments.as_bytes(), Rules::CLIENT).context(NOT_STRICT)?;
    request("tools/call", &format!(r#"{{"name":{},"arguments":{}}}"#, json!(tool), arguments.as_str()))
}

/// A request to a vendor's API by the strict reader of the gate.
///
/// # Errors
/// What the gate would refuse before policy.
pub fn api_request(request: &str, body: Option<Body>) -> anyhow::Result<ToolCall> {
    let (method, target) = request.split_once(' ').context("write a request as `POST /v1/things`")?;
    let parts = api_request::Parts { method, target, headers: Vec::new(), dropped: Vec::new(), body };
    api_request::call(&parts).map_err(|malformed| anyhow::anyhow!("{}", malformed.reason))
}

/// Any request that is judged.
///
/// # Errors
/// As [`tool_call`].
pub fn request(method: &str, params: &str) -> anyhow::Result<ToolCall> {
    let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":{},"params":{params}}}"#, json!(method));
    let message = Message::from_client(request).map_err(|malformed| anyhow::anyhow!("{}", malformed.reason))?;
    match sort(message) {
        Sorted::Decide(call) => Ok(*call),
        Sorted::Refuse(malformed) => bail!("{}", malformed.reason),
        Sorted::Pass(_)
        | Sorted::Task { .. }
        | Sorted::Notice(_)
        | Sorted::Cancel { .. }
        | Sorted::Drop { .. }
        | Sorted::Answer { .. } => {
            bail!("the call would not be judged")
        }
    }
}
