//! What a session knows of an upstream's tools, and which of them a principal is shown.
//!
//! Invariant: a definition that is not the last one listed is never taken for known. What this session has seen counts
//! first, then what any session of the server has: requests of the stateless era are sessions of their own.
//!
//! Listing and refusing agree. To a server over HTTP we are the client that makes the header fields, and the stateless
//! era has such a client leave out every tool whose `x-mcp-header` cannot be obeyed: it is not listed, and a call of it
//! is refused before anybody is asked. Elsewhere the annotation means nothing, so the tool is listed and may be called.

use std::sync::Arc;

use crate::call::{CallContext, Decided, ToolCall, ToolFacts};
use crate::gate::{DefinitionNow, Gate};
use crate::json::{Json, JsonText, Kind};
use crate::mcp::definitions::{self, Definitions};
use crate::mcp::message::{INVALID_PARAMS, Id, Malformed, Message};
use crate::mcp::params::Unusable;

use super::{ServerRuntime, upstream};

/// The tools that have been listed.
#[derive(Clone, Debug)]
pub struct Listing {
    here: Arc<Definitions>,
    server: Arc<Definitions>,
}

impl Listing {
    /// `server` is what all sessions of the server share.
    pub fn new(server: Arc<Definitions>) -> Listing {
        Listing { here: Arc::default(), server }
    }

    /// What is known about a tool.
    pub fn facts(&self, tool: &str) -> ToolFacts {
        self.here.facts(tool).or_else(|| self.server.facts(tool)).unwrap_or_else(|| definitions::unknown(tool))
    }

    /// For the gate's last look at an approved call.
    pub fn definition_now(&self, tool: &str) -> DefinitionNow {
        let (listing, tool) = (self.clone(), tool.to_owned());
        DefinitionNow::new(move || listing.here.digest(&tool).or_else(|| listing.server.digest(&tool)))
    }

    /// The upstream says that its tools are others now.
    pub fn forget(&self) {
        self.here.forget();
        self.server.forget();
    }

    /// Remembers a definition that the server has listed.
    pub fn learn(&self, name: &str, definition: Json<'_>) -> ToolFacts {
        self.server.learn(name, definition);
        self.here.learn(name, definition)
    }

    /// The answer to `tools/list` without the tools that policy would refuse whatever the arguments. Order, cursors
    /// and unknown fields stay; an entry that cannot be read is left out.
    pub async fn filter(
        &self,
        answer: Message,
        gate: &Gate,
        server: &ServerRuntime,
        context: &CallContext,
        modern: bool,
    ) -> Option<Message> {
        let text = answer.text().clone();
        let Some(tools) = answer.result().and_then(|result| result.get("tools")) else { return Some(answer) };
        if tools.kind() != Kind::Array {
            return None;
        }
        let mut kept = Kept::new(tools);
        for tool in tools.items() {
            // A long list leaves room for others.
            tokio::task::consume_budget().await;
            let Some(name) = tool.get("name").and_then(Json::as_str) else { continue };
            let facts = self.learn(&name, tool);
            if let Some(reason) = server.unusable(&name, modern) {
                let (server, tool) = (&server.facts.name, printable(&name));
                tracing::warn!(server, tool, reason, "a tool whose x-mcp-header cannot be used is not listed");
                continue;
            }
            let context = CallContext { tool: facts, ..context.clone() };
            if gate.lists(&name, server.catalog.listed(&name), &context).await {
                kept.push(tool);
            }
        }
        let filtered = text.replaced(tools, &kept.finish())?;
        Some(answer.with_text(private(filtered, modern)?))
    }
}

impl ServerRuntime {
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
        let (one, two) = (Listing::new(Arc::clone(&server)), Listing::new(Arc::clone(&server)));
        let text = |text: &str| JsonText::parse(text, Rules::UPSTREAM).unwrap();
        let first = one.learn("a", text(r#"{"v":1}"#).view());
        assert_eq!(two.facts("a"), first);
        let second = two.learn("a", text(r#"{"v":2}"#).view());
        assert_eq!((one.facts("a"), two.facts("a")), (first, second));
        one.forget();
        assert_eq!(one.facts("a"), definitions::unknown("a"));
    }
}
