//! Asks a server at start where its key works, before any client reaches it.
//!
//! The question is a call like any other: the catalog names it and has to know it as a read, the gate decides it by the
//! policies in force, records it and gives the permit. Its principal is countersign itself, with the scope to read from
//! that server and nothing else. Nobody can rule before the daemon has started, so a question that is held is not asked.
//!
//! Invariant: an answer can prove what is declared or contradict it; without one nothing is proved.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::audit::{Answer, Entry, Event};
use crate::call::{
    BUILTIN_PRINCIPAL, Bound, CallContext, Class, ClientInfo, Digest, Environment, EnvironmentSource, Operation,
    Outcome, Principal, PrincipalKind, Seen, ToolCall, ToolFacts, Transport,
};
use crate::catalog::Probe;
use crate::gate::{Admission, PermittedCall, Presence};
use crate::json::{Json, JsonText};
use crate::mcp::definitions;
use crate::mcp::message::{Id, METHOD_NOT_FOUND, Message, Shape};
use crate::mcp::method::{self, Sorted};
use crate::pins::Checked;
use crate::transport::FromUpstream;

use super::api::{self, Api};
use super::environment::Contradiction;
use super::listing::{Listing, text_of};
use super::upstream::{Handshake, Upstream};
use super::whereabouts::Whereabouts;
use super::{ServerRuntime, Shared};

/// What stands in place of a session.
const SESSION: &str = "start";
/// Pages of the server's tools that are read.
const PAGES: usize = 10;
const HELP: &str = "declare the environment that the key belongs to, or give the server a key of the declared one";

/// What came of asking.
#[derive(Debug)]
pub enum Asked {
    /// The environment as it is known now.
    Proved(Environment),
    Contradicted(Contradiction),
    /// Why nothing is proved. An answer may have named the account all the same.
    Silent {
        why: String,
        environment: Environment,
    },
}

/// Asks, and records what came of it.
pub async fn ask(server: &ServerRuntime, timeout: Duration, shared: &Arc<Shared>) -> Asked {
    let bound = (*server.environment).clone();
    let found = find(server, Instant::now() + timeout, shared).await;
    let asked = judged(server, bound, found);
    let (environment, outcome) = match &asked {
        Asked::Proved(environment) => (environment.clone(), "the answer proves what is declared".to_owned()),
        Asked::Contradicted(contradiction) => {
            let conflict = contradiction.found.join("; ");
            let environment = Environment { conflict: Some(conflict.clone()), ..(*server.environment).clone() };
            (environment, conflict)
        }
        Asked::Silent { why, environment } => (environment.clone(), why.clone()),
    };
    let event = Event::Probed { server: server.facts.name.clone(), environment, outcome };
    if let Err(error) = shared.gate.audit().append(Entry::new(None, true, event)).await {
        tracing::error!(%error, "what a server said at start could not be recorded");
    }
    asked
}

/// What a server said, and to which question.
#[derive(Debug, Default)]
struct Found {
    seen: Seen,
    asked: Vec<String>,
}

fn judged(server: &ServerRuntime, bound: Environment, found: Result<Found, String>) -> Asked {
    let Found { seen, asked } = match found {
        Ok(found) => found,
        Err(why) => return Asked::Silent { why, environment: bound },
    };
    let production = bound.is_production();
    if (production && seen.test) || (!production && seen.production) {
        let what = match (seen.production, seen.test) {
            (true, true) => "both from production and from a test environment",
            (true, false) => "from production",
            (false, _) => "from a test environment",
        };
        let found = vec![format!("what it answers to {} is {what}", asked.join(" and "))];
        let (server, declared) = (server.facts.name.clone(), bound.name);
        return Asked::Contradicted(Contradiction { server, declared, found, help: HELP });
    }
    let mut accounts = bound.accounts.clone();
    accounts.extend(seen.account.filter(|account| !bound.accounts.contains(account)));
    let environment = Environment { accounts, ..bound };
    if seen.production || seen.test {
        return Asked::Proved(Environment { source: EnvironmentSource::Probe, verified: true, ..environment });
    }
    let why = match asked.is_empty() {
        true => "the server has none of the tools that would show it".to_owned(),
        false => format!("what it answers to {} does not show it", asked.join(" and ")),
    };
    Asked::Silent { why, environment }
}

/// Makes the calls that the catalog names, until one shows the mode.
async fn find(server: &ServerRuntime, deadline: Instant, shared: &Arc<Shared>) -> Result<Found, String> {
    let probes = server.catalog.probes();
    if probes.is_empty() {
        return Err("no catalog names a call that would show it".to_owned());
    }
    let mut conversation = Conversation::begin(server, deadline, shared).await?;
    let tools = conversation.tools().await?;
    let mut found = Found::default();
    for probe in probes.iter().filter(|probe| tools.contains(&probe.tool)) {
        found.asked.push(format!("`{}`", probe.tool));
        let Some(result) = conversation.call(probe).await? else { continue };
        let Seen { production, test, account } = server.catalog.probed(probe, result.view());
        found.seen.production |= production;
        found.seen.test |= test;
        found.seen.account = found.seen.account.or(account);
        if production || test {
            break;
        }
    }
    Ok(found)
}

/// A connection of our own to a server. It ends when it is dropped.
struct Conversation<'a> {
    server: &'a ServerRuntime,
    shared: &'a Arc<Shared>,
    upstream: Upstream,
    /// What its process asks of the vendor's API for us, where it holds no key.
    api: Option<Api>,
    answers: mpsc::Receiver<FromUpstream>,
    listing: Listing,
    deadline: Instant,
    next: i64,
}

impl<'a> Conversation<'a> {
    async fn begin(server: &'a ServerRuntime, deadline: Instant, shared: &'a Arc<Shared>) -> Result<Self, String> {
        let opened = api::open(server, shared, BUILTIN_PRINCIPAL)?;
        let more = opened.as_ref().map(|opened| opened.variables.clone()).unwrap_or_default();
        let (upstream, answers) = Upstream::connect(&server.upstream, BUILTIN_PRINCIPAL, shared, more)?;
        let (name, idle) = (&server.facts.name, shared.limits.session_idle);
        let place = Whereabouts::new(&shared.gate, name, BUILTIN_PRINCIPAL, idle);
        let base = ours(server, definitions::unknown(""), server.catalog.listed(""));
        let api = server.api.as_ref().zip(opened);
        let api = api.map(|(spec, opened)| Api::serve(opened, spec, shared, server, base, place));
        let listing = Listing::new(Arc::clone(&server.definitions), Arc::clone(&shared.pins), &server.facts.name);
        let mut conversation = Conversation { server, shared, upstream, api, answers, listing, deadline, next: 1 };
        let id = conversation.id();
        conversation.say(Handshake::Initialize(&id))?;
        conversation.result(&id).await?;
        conversation.say(Handshake::Initialized)?;
        Ok(conversation)
    }

    fn id(&mut self) -> Id {
        let id = Id::Number(self.next);
        self.next += 1;
        id
    }

    fn say(&self, what: Handshake<'_>) -> Result<(), String> {
        self.upstream.handshake(what).map_err(|why| why.to_string())
    }

    /// The names of the server's tools, whose definitions are remembered as if a client had listed them.
    async fn tools(&mut self) -> Result<Vec<String>, String> {
        let (mut names, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES {
            let id = self.id();
            self.say(Handshake::ListTools { id: &id, cursor: cursor.as_ref() })?;
            let result = self.result(&id).await?;
            let next = result.view().get("nextCursor").filter(|cursor| cursor.as_str().is_some());
            if let Some(tools) = result.view().get("tools") {
                let (from, to) = (cursor.as_ref().map(|cursor: &JsonText| text_of(cursor.view())), next.map(text_of));
                let (from, to) = (from.as_deref(), to.as_deref());
                let listed = self.listing.remember(tools, BUILTIN_PRINCIPAL, SESSION, from, to).await;
                names.extend(listed.into_iter().map(|(name, ..)| name));
            }
            cursor = next.map(JsonText::owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(names)
    }

    /// The result of one call, through the gate. Nothing where the server answers with an error.
    async fn call(&mut self, probe: &Probe) -> Result<Option<JsonText>, String> {
        let id = self.id();
        let call = read(&id, probe)?;
        let operation = self.server.catalog.operation(&call);
        if operation.class != Class::Read {
            return Err(format!("the catalog does not know `{}` as a read, so it is not called", probe.tool));
        }
        let facts = self.listing.facts(call.tool());
        let context = self.context(&call, operation);
        if let Checked::Wrong(why) = self.listing.check(&call, &facts).await {
            return Err(format!("`{}` does not take what the catalog would ask it with: {why}", probe.tool));
        }
        let presence = Presence::of_tool(self.listing.definition_now(&probe.tool));
        let permit = match self.shared.gate.admit(Box::new(call), Box::new(context), &presence).await {
            Ok(Admission::Permitted(permit)) => permit,
            Ok(Admission::Held(held)) => {
                presence.leave(Outcome::Unattended, "nobody can rule before countersign has started");
                let _refusal = held.wait(&presence, None).await;
                return Err(format!("policy holds `{}` for an operator", probe.tool));
            }
            Err(refusal) => return Err(format!("policy refuses `{}`: {}", probe.tool, refusal.reason)),
        };
        self.made(&id, permit).await
    }

    async fn made(&mut self, id: &Id, permit: PermittedCall) -> Result<Option<JsonText>, String> {
        let gate = Arc::clone(&self.shared.gate);
        let sent = match self.upstream.call(permit) {
            Ok(sent) => sent,
            Err((permit, why)) => {
                gate.unsent(*permit, Outcome::Unavailable, &why.to_string()).await;
                return Err(why.to_string());
            }
        };
        let _running = self.api.as_ref().map(|api| api.runs(sent.id()));
        let note = Some("asked at start, to see where the key works".to_owned());
        match self.answer(id).await {
            Ok(message) => {
                let (bytes, digest) =
                    (message.text().as_str().len(), Digest::of_bytes(message.text().as_str().as_bytes()));
                let failed = message.result().and_then(|result| result.get("isError")).and_then(Json::as_bool);
                let answer = match (message.result(), failed) {
                    (None, _) => Answer::Error,
                    (Some(_), Some(true)) => Answer::ToolError,
                    (Some(_), Some(false) | None) => Answer::Ok,
                };
                gate.completed(sent, answer, bytes, Some(digest), note).await;
                Ok(message.result().filter(|_| answer == Answer::Ok).map(JsonText::owned))
            }
            Err(why) if sent.leave().take_back(Outcome::Unavailable, &why) => {
                let (outcome, why) = sent.leave().refused().unwrap_or((Outcome::Unavailable, why));
                gate.stayed(sent, outcome, &why).await;
                Err(why)
            }
            Err(why) => {
                gate.completed(sent, Answer::OutcomeUnknown, 0, None, Some(why.clone())).await;
                Err(why)
            }
        }
    }

    fn context(&self, call: &ToolCall, operation: Operation) -> CallContext {
        let confirmations = self.server.catalog.confirmations(call);
        CallContext { confirmations, ..ours(self.server, self.listing.facts(call.tool()), operation) }
    }

    async fn result(&mut self, id: &Id) -> Result<JsonText, String> {
        let message = self.answer(id).await?;
        match message.result() {
            Some(result) => Ok(JsonText::owned(result)),
            None => Err("the server answers the handshake with an error".to_owned()),
        }
    }

    /// The answer to a request of ours. Whatever else the server says is not for us.
    async fn answer(&mut self, id: &Id) -> Result<Message, String> {
        loop {
            let event = tokio::time::timeout_at(self.deadline, self.answers.recv()).await;
            let event = event.map_err(|_| "the server did not answer in time".to_owned())?;
            match event {
                None => return Err("the connection to the server ended".to_owned()),
                Some(FromUpstream::Closed { reason }) => return Err(self.clean(&reason)),
                Some(FromUpstream::Lost { id: lost, loss }) if lost == *id => return Err(self.clean(&loss.reason)),
                Some(FromUpstream::Message { message, .. }) => match message.shape() {
                    Shape::Response { id: Some(of), .. } if of == id => {
                        let clean = Upstream::clean(message, &self.shared.scrubber, self.server.hidden).text;
                        return clean.ok_or_else(|| "the server's answer holds a key and cannot be read".to_owned());
                    }
                    Shape::Request { id, .. } => {
                        self.upstream.decline(id, METHOD_NOT_FOUND, "countersign only asks where the key works");
                    }
                    Shape::Response { .. } | Shape::Notification { .. } => {}
                },
                Some(FromUpstream::Lost { .. } | FromUpstream::Streams { .. } | FromUpstream::Pauses { .. }) => {}
            }
        }
    }

    fn clean(&self, reason: &str) -> String {
        self.shared.scrubber.line(reason).into_owned()
    }
}

/// Around a call of our own.
fn ours(server: &ServerRuntime, tool: ToolFacts, operation: Operation) -> CallContext {
    let scope = format!("{}/read", server.facts.name);
    CallContext {
        session: SESSION.to_owned(),
        principal: Arc::new(Principal::plain(BUILTIN_PRINCIPAL, PrincipalKind::Builtin, vec![scope])),
        client: Arc::new(ClientInfo::silent(Transport::Stdio)),
        server: Arc::clone(&server.facts),
        environment: Arc::clone(&server.environment),
        tool,
        operation,
        bound: Bound::default(),
        history: None,
        confirmations: Vec::new(),
        continues: None,
    }
}

/// The call that a catalog describes, read as if a client had sent it.
fn read(id: &Id, probe: &Probe) -> Result<ToolCall, String> {
    let id: serde_json::Value = serde_json::from_str(&id.to_json()).unwrap_or_default();
    let params = json!({"name": probe.tool, "arguments": probe.arguments()});
    let text = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string();
    match Message::from_client(text).map(method::sort) {
        Ok(Sorted::Decide(call)) => Ok(*call),
        Ok(Sorted::Refuse(malformed)) | Err(malformed) => Err(malformed.reason),
        Ok(
            Sorted::Pass(_)
            | Sorted::Task { .. }
            | Sorted::Notice(_)
            | Sorted::Cancel { .. }
            | Sorted::Drop { .. }
            | Sorted::Answer { .. },
        ) => Err("the catalog's call is none".to_owned()),
    }
}
