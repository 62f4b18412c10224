//! What a session has seen of an upstream's tools: their definitions for the record and for rules, and which of them
//! a principal is shown.

use std::collections::HashMap;

use crate::call::{CallContext, Digest, Pin, ToolFacts};
use crate::gate::Gate;
use crate::json::{Json, JsonText, Kind};
use crate::mcp::message::Message;

use super::ServerRuntime;

/// Definitions that one session remembers.
const MAX_TOOLS: usize = 4096;

/// The tools that this session has seen listed.
#[derive(Debug, Default)]
pub struct Listing {
    tools: HashMap<String, ToolFacts>,
}

impl Listing {
    /// What is known about a tool.
    pub fn facts(&self, tool: &str) -> ToolFacts {
        self.tools.get(tool).cloned().unwrap_or_else(|| ToolFacts {
            name: tool.to_owned(),
            annotations: None,
            definition: None,
            pin: Pin::Unknown,
        })
    }

    fn learn(&mut self, name: &str, definition: Json<'_>) -> ToolFacts {
        let mut sorted = String::new();
        definition.write_sorted(&mut sorted);
        let facts = ToolFacts {
            name: name.to_owned(),
            annotations: definition.get("annotations").map(JsonText::owned),
            definition: Some(Digest::of_fields("countersign.tool/v1", &[sorted.as_bytes()])),
            pin: Pin::Unpinned,
        };
        if self.tools.len() < MAX_TOOLS || self.tools.contains_key(name) {
            self.tools.insert(name.to_owned(), facts.clone());
        }
        facts
    }

    /// The answer to `tools/list` without the tools that policy would refuse whatever the arguments. Order, cursors
    /// and unknown fields stay; an entry that cannot be read is left out.
    pub async fn filter(
        &mut self,
        answer: Message,
        gate: &Gate,
        server: &ServerRuntime,
        context: &CallContext,
    ) -> Option<Message> {
        let text = answer.text().clone();
        let Some(tools) = answer.result().and_then(|result| result.get("tools")) else { return Some(answer) };
        if tools.kind() != Kind::Array {
            return None;
        }
        let mut kept = String::with_capacity(tools.text().len());
        kept.push('[');
        for tool in tools.items() {
            let Some(name) = tool.get("name").and_then(Json::as_str) else { continue };
            let facts = self.learn(&name, tool);
            let context = CallContext { tool: facts, ..context.clone() };
            if !gate.lists(&name, server.catalog.listed(&name), &context).await {
                continue;
            }
            if kept.len() > 1 {
                kept.push(',');
            }
            kept.push_str(tool.text());
        }
        kept.push(']');
        let filtered = text.replaced(tools, &kept)?;
        // The list now depends on who asks: a shared cache may not keep it.
        let view = filtered.view();
        let public = view.pointer("/result/cacheScope").filter(|scope| scope.text() == "\"public\"");
        let private = match public {
            Some(scope) => filtered.replaced(scope, "\"private\"")?,
            None => filtered.clone(),
        };
        Some(answer.with_text(private))
    }
}
