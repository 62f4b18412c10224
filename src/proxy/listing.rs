//! What a session knows of an upstream's tools, and which of them a principal is shown.
//!
//! Invariant: a definition that is not the last one listed is never taken for known. What this session has seen counts
//! first, then what any session of the server has: requests of the stateless era are sessions of their own.
//!
//! Listing and refusing agree. To a server over HTTP we are the client that makes the header fields, and the stateless
//! era has such a client leave out every tool whose `x-mcp-header` cannot be obeyed: it is not listed, and a call of it
//! is refused before anybody is asked. Elsewhere the annotation means nothing, so the tool is listed and may be called.

use std::borrow::Cow;
use std::sync::Arc;

use crate::call::{CallContext, Decided, Digest, ToolCall, ToolFacts};
use crate::gate::{DefinitionNow, Gate};
use crate::json::{Json, JsonText, Kind};
use crate::mcp::definitions::{self, Definitions};
use crate::mcp::message::{INVALID_PARAMS, Id, Malformed, Message};
use crate::mcp::params::Unusable;
use crate::pins::{Checked, Page, Pins};

use super::{ServerRuntime, upstream};

/// The tools that have been listed.
#[derive(Clone, Debug)]
pub struct Listing {
    here: Arc<Definitions>,
    server: Arc<Definitions>,
    pins: Arc<Pins>,
    name: Arc<str>,
}

/// Who asked for a page of a list, and which.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub context: &'a CallContext,
    pub cursor: Option<&'a str>,
    pub modern: bool,
}

impl Listing {
    /// `server` is what all sessions of the server share.
    pub fn new(server: Arc<Definitions>, pins: Arc<Pins>, name: &str) -> Listing {
        Listing { here: Arc::default(), server, pins, name: name.into() }
    }

    /// What is known about a tool.
    pub fn facts(&self, tool: &str) -> ToolFacts {
        let known = self.here.facts(tool).or_else(|| self.server.facts(tool));
        let known = known.unwrap_or_else(|| definitions::unknown(tool));
        ToolFacts { pin: self.pins.pin(&self.name, tool, known.definition), ..known }
    }

    /// What was judged of a tool, as far as it is trusted now.
    pub fn still(&self, judged: &ToolFacts) -> ToolFacts {
        ToolFacts { pin: self.pins.pin(&self.name, &judged.name, judged.definition), ..judged.clone() }
    }

    /// For the gate's last look at an approved call.
    pub fn definition_now(&self, tool: &str) -> DefinitionNow {
        let (listing, tool) = (self.clone(), tool.to_owned());
        DefinitionNow::new(move || {
            let definition = listing.here.digest(&tool).or_else(|| listing.server.digest(&tool));
            (definition, listing.pins.pin(&listing.name, &tool, definition))
        })
    }

    /// Compares the arguments of a call with what the tool takes.
    pub async fn check(&self, call: &ToolCall, facts: &ToolFacts) -> Checked {
        self.pins.check(&self.name, call.tool(), facts.definition, call.arguments()).await
    }

    /// The upstream says that its tools are others now.
    pub fn forget(&self) {
        self.here.forget();
        self.server.forget();
    }

    /// Remembers a definition that the server has listed.
    fn learn(&self, name: &str, definition: Json<'_>) -> ToolFacts {
        self.server.learn(name, definition);
        self.here.learn(name, definition)
    }

    /// Remembers a page of the server's list: who asked for it, where it begins and where it goes on.
    pub async fn remember<'t>(
        &self,
        tools: Json<'t>,
        principal: &str,
        session: &str,
        cursor: Option<&str>,
        next: Option<&str>,
    ) -> Vec<(String, Digest, Json<'t>)> {
        let named = |tool: Json<'_>| Some(tool.get("name")?.as_str()?.into_owned());
        let mut listed = Vec::new();
        for tool in tools.items() {
            // A long list leaves room for others.
            tokio::task::consume_budget().await;
            let Some(name) = named(tool) else { continue };
            let definition = self.learn(&name, tool).definition;
            listed.extend(definition.map(|digest| (name, digest, tool)));
        }
        self.pins.listed(&self.name, Page { principal, session, cursor, next, tools: &listed }).await;
        listed
    }

    /// The answer to `tools/list` without the tools that policy would refuse whatever the arguments. Order, cursors
    /// and unknown fields stay; an entry that cannot be read is left out.
    pub async fn filter(
        &self,
        answer: Message,
        gate: &Gate,
        server: &ServerRuntime,
        asked: Asked<'_>,
    ) -> Option<Message> {
        let Asked { context, cursor, modern } = asked;
        let text = answer.text().clone();
        let Some(tools) = answer.result().and_then(|result| result.get("tools")) else { return Some(answer) };
        if tools.kind() != Kind::Array {
            return None;
        }
        // All of them are remembered before any is judged: the same name may stand there twice.
        let next = answer.result().and_then(|result| result.get("nextCursor")).map(text_of);
        let listed = self.remember(tools, &context.principal.name, &context.session, cursor, next.as_deref()).await;
        gate.look_at_definitions();
        let mut kept = Kept::new(tools);
        for (name, definition, tool) in &listed {
            tokio::task::consume_budget().await;
            let (name, tool) = (name.as_str(), *tool);
            // As it stands in the list, where the next one of the same name may differ.
            let annotations = tool.get("annotations").map(JsonText::owned);
            let facts = ToolFacts { definition: Some(*definition), annotations, ..self.facts(name) };
            let facts = self.still(&facts);
            if let Some(reason) = server.unusable(name, modern) {
                let (server, tool) = (&server.facts.name, printable(name));
                tracing::warn!(server, tool, reason, "a tool whose x-mcp-header cannot be used is not listed");
                continue;
            }
            let context = CallContext { tool: facts, ..context.clone() };
            if server.shows(name, gate, &context).await {
                kept.push(tool);
            }
        }
        let filtered = text.replaced(tools, &kept.finish())?;
        Some(answer.with_text(private(filtered, modern)?))
    }
}

impl ServerRuntime {
    /// Whether a principal is shown a tool, of which the context has what is known.
    pub(super) async fn shows(&self, tool: &str, gate: &Gate, context: &CallContext) -> bool {
        // Nothing of one call counts, nor what its arguments say.
        let context = CallContext { confirmations: Vec::new(), ..context.clone() };
        gate.lists(tool, self.catalog.listed(tool), &context).await
    }

    fn unusable(&self, tool: &str, modern: bool) -> Option<Unusable> {
        let mirrors = modern && matches!(self.upstream, upstream::Kind::Http(_));
        if mirrors { self.definitions.unusable(tool) } else { None }
    }

    /// Why a call cannot be made as the tool's definition demands.
    pub(super) fn cannot_call(&self, call: &ToolCall, id: &Id, modern: bool) -> Option<Malformed> {
        let reason = (call.method() == Decided::ToolsCall).then(|| self.unusable(call.tool(), modern)).flatten()?;
        let reason = format!(
            "refused by countersign: the server's definition of this tool cannot be used over HTTP (x-mcp-header: \
             {reason}). Nothing was sent; the server's vendor has to correct it."
        );
        Some(Malformed::new(INVALID_PARAMS, reason).of(id))
    }
}

/// A cursor as text. What is no string, and so no cursor, is like none that is one.
pub fn text_of(cursor: Json<'_>) -> String {
    cursor.as_str().map_or_else(|| format!("\u{0}{}", cursor.text()), Cow::into_owned)
}

/// A name of a server's for the log.
fn printable(name: &str) -> String {
    name.chars().take(128).flat_map(char::escape_debug).collect()
}

/// An array with some of its items.
pub struct Kept(String);

impl Kept {
    pub fn new(of: Json<'_>) -> Kept {
        let mut text = String::with_capacity(of.text().len());
        text.push('[');
        Kept(text)
    }

    pub fn push(&mut self, item: Json<'_>) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(item.text());
    }

    pub fn finish(mut self) -> String {
        self.0.push(']');
        self.0
    }
}

/// The list now depends on who asks: a shared cache may not keep it. An answer of the stateless era that may be cached
/// and does not say by whom is made to say it; no other gets a member that the server did not write.
fn private(answer: JsonText, modern: bool) -> Option<JsonText> {
    let Some(result) = answer.view().get("result") else { return Some(answer) };
    match result.get("cacheScope") {
        Some(scope) if scope.text() == "\"private\"" => Some(answer),
        Some(scope) => answer.replaced(scope, "\"private\""),
        None if modern && result.get("ttlMs").is_some() => {
            let open = result.text().strip_suffix('}')?;
            answer.replaced(result, &format!("{open},\"cacheScope\":\"private\"}}"))
        }
        None => Some(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Rules;

    #[test]
    fn a_filtered_list_is_private_and_gets_no_other_member() {
        let said = |result: &str, modern| {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
            let answer = private(JsonText::parse(answer, Rules::UPSTREAM).unwrap(), modern).unwrap();
            answer.view().get("result").unwrap().text().to_owned()
        };
        for modern in [false, true] {
            assert_eq!(said(r#"{"cacheScope":"public","tools":[]}"#, modern), r#"{"cacheScope":"private","tools":[]}"#);
            assert_eq!(said(r#"{"cacheScope":7,"tools":[]}"#, modern), r#"{"cacheScope":"private","tools":[]}"#);
            for same in [r#"{"tools":[],"cacheScope":"private","ttlMs":1}"#, r#"{"tools":[]}"#, "{}"] {
                assert_eq!(said(same, modern), same);
            }
        }
        assert_eq!(said(r#"{"tools":[],"ttlMs":1}"#, false), r#"{"tools":[],"ttlMs":1}"#);
        assert_eq!(said(r#"{"tools":[],"ttlMs":1}"#, true), r#"{"tools":[],"ttlMs":1,"cacheScope":"private"}"#);
    }

    #[test]
    fn what_this_session_saw_counts_before_what_others_saw() {
        let server = Arc::new(Definitions::default());
        let folder = tempfile::tempdir().unwrap();
        let audit = crate::audit::AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
        let pins = Arc::new(Pins::open(&folder.path().join("pins.db"), audit, std::iter::empty()).unwrap());
        let listing = || Listing::new(Arc::clone(&server), Arc::clone(&pins), "s");
        let (one, two) = (listing(), listing());
        let text = |text: &str| JsonText::parse(text, Rules::UPSTREAM).unwrap();
        let first = one.learn("a", text(r#"{"v":1}"#).view()).definition;
        assert_eq!(two.facts("a").definition, first);
        let second = two.learn("a", text(r#"{"v":2}"#).view()).definition;
        assert_eq!((one.facts("a").definition, two.facts("a").definition), (first, second));
        one.forget();
        assert_eq!(one.facts("a"), definitions::unknown("a"));
    }
}
