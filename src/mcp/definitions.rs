//! What is remembered of the definitions of an upstream's tools, as it listed them last.
//!
//! Invariant: bounded in count and bytes. What found no room, or was forgotten, is `unknown` and never `harmless`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::{Digest, Pin, SchemaCheck, ToolFacts};
use crate::json::{Json, JsonText};

use super::params::{self, Param, Unusable};

const MAX_TOOLS: usize = 4096;
/// Of annotations and header annotations, of all tools together.
const MAX_BYTES: usize = 8 << 20;

/// The tools of one upstream.
#[derive(Debug, Default)]
pub struct Definitions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    tools: HashMap<String, Definition>,
    bytes: usize,
    /// Some of them are out of date.
    stale: bool,
}

#[derive(Debug)]
struct Definition {
    /// Absent where they were forgotten.
    facts: Option<ToolFacts>,
    /// Arguments that HTTP repeats in header fields.
    params: Result<Arc<[Param]>, Unusable>,
    bytes: usize,
}

/// What a tool is that nobody has listed.
pub fn unknown(tool: &str) -> ToolFacts {
    ToolFacts {
        name: tool.to_owned(),
        annotations: None,
        definition: None,
        pin: Pin::Unknown,
        schema: SchemaCheck::None,
    }
}

impl Definitions {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every change is one call on the map, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a tool.
    pub fn facts(&self, tool: &str) -> Option<ToolFacts> {
        self.lock().tools.get(tool).and_then(|known| known.facts.clone())
    }

    /// The digest of a tool's definition.
    pub fn digest(&self, tool: &str) -> Option<Digest> {
        self.lock().tools.get(tool).and_then(|known| known.facts.as_ref()?.definition)
    }

    /// The header fields that have to repeat arguments of a tool, as it was listed last: nothing where it never was, or
    /// where its definition says nothing that can be used.
    pub fn params(&self, tool: &str) -> Option<Arc<[Param]>> {
        self.lock().tools.get(tool).and_then(|known| known.params.clone().ok())
    }

    /// Why a tool cannot be called over HTTP, as it was listed last.
    pub fn unusable(&self, tool: &str) -> Option<Unusable> {
        self.lock().tools.get(tool).and_then(|known| known.params.as_ref().err().copied())
    }

    /// Remembers a definition, and says what it is. Whether an operator trusts it is not known here.
    pub fn learn(&self, name: &str, definition: Json<'_>) -> ToolFacts {
        let annotations = definition.get("annotations").map(JsonText::owned);
        let facts = ToolFacts {
            name: name.to_owned(),
            annotations,
            definition: Some(Digest::of_definition(definition)),
            pin: Pin::Unpinned,
            schema: SchemaCheck::None,
        };
        let params = params::params(definition).map(Arc::from);
        let bytes = size(name, Some(&facts), &params);
        let mut known = self.lock();
        // What is known of it is out of date even where the new definition finds no room.
        if let Some(old) = known.tools.remove(name) {
            known.bytes -= old.bytes;
        }
        if !known.has_room(bytes) && known.stale {
            known.keep(|_, definition| definition.facts.is_some());
            known.stale = false;
        }
        if known.has_room(bytes) {
            known.bytes += bytes;
            known.tools.insert(name.to_owned(), Definition { facts: Some(facts.clone()), params, bytes });
        }
        facts
    }

    /// The upstream says that its tools are others now. What it wants repeated in header fields is all that is left:
    /// clients that have not heard of it yet call as before, and their calls have to look as before.
    pub fn forget(&self) {
        let mut known = self.lock();
        known.keep(|name, definition| {
            definition.facts = None;
            definition.bytes = size(name, None, &definition.params);
            definition.params.as_ref().map_or(true, |params| !params.is_empty())
        });
        known.stale = !known.tools.is_empty();
    }
}

impl Known {
    fn has_room(&self, bytes: usize) -> bool {
        self.tools.len() < MAX_TOOLS && self.bytes + bytes <= MAX_BYTES
    }

    fn keep(&mut self, mut keep: impl FnMut(&str, &mut Definition) -> bool) {
        self.tools.retain(|name, definition| keep(name, definition));
        self.bytes = self.tools.values().map(|definition| definition.bytes).sum();
    }
}

fn size(name: &str, facts: Option<&ToolFacts>, params: &Result<Arc<[Param]>, Unusable>) -> usize {
    let annotations = facts.and_then(|facts| facts.annotations.as_ref()).map_or(0, |text| text.as_str().len());
    name.len() + annotations + params.iter().flat_map(|params| params.iter()).map(Param::size).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Rules;

    fn learn(known: &Definitions, name: &str, text: &str) -> ToolFacts {
        known.learn(name, JsonText::parse(text, Rules::UPSTREAM).unwrap().view())
    }

    #[test]
    fn a_definition_is_known_by_what_it_says_and_not_by_its_order() {
        let known = Definitions::default();
        let first = learn(&known, "a", r#"{"name":"a","annotations":{"readOnlyHint":true},"x":1}"#);
        assert_eq!(known.facts("a"), Some(first.clone()));
        let same = learn(&known, "a", r#"{"x":1,"annotations":{"readOnlyHint":true},"name":"a"}"#);
        assert_eq!(same.definition, first.definition);
        let other = learn(&known, "a", r#"{"name":"a","annotations":{"readOnlyHint":true},"x":1.0}"#);
        assert_ne!(other.definition, first.definition);
        known.forget();
        assert_eq!((known.facts("a"), known.digest("a")), (None, None));
        assert_eq!(unknown("a").pin, Pin::Unknown);
    }

    #[test]
    fn what_fields_repeat_outlasts_the_news_of_other_tools_and_makes_way_for_them() {
        let annotated = |kind: &str| {
            format!(r#"{{"inputSchema":{{"properties":{{"a":{{"type":"{kind}","x-mcp-header":"A"}}}}}}}}"#)
        };
        let known = Definitions::default();
        learn(&known, "good", &annotated("string"));
        learn(&known, "bad", &annotated("number"));
        learn(&known, "plain", "{}");
        for _ in 0..2 {
            assert_eq!(known.params("good").map(|params| params.len()), Some(1));
            assert!(known.unusable("good").is_none());
            assert!(known.params("bad").is_none() && known.unusable("bad").is_some());
            known.forget();
            assert_eq!((known.facts("good"), known.digest("good")), (None, None));
            assert!(known.params("plain").is_none() && known.lock().tools.len() == 2);
        }
        // It is listed again.
        learn(&known, "bad", &annotated("string"));
        assert!(known.unusable("bad").is_none() && known.params("bad").is_some());
        for n in 0..MAX_TOOLS {
            learn(&known, &n.to_string(), "{}");
        }
        assert!(known.params("good").is_none() && known.digest(&(MAX_TOOLS - 2).to_string()).is_some());
        assert_eq!(known.lock().tools.len(), MAX_TOOLS);
    }

    #[test]
    fn count_and_bytes_are_bounded() {
        let known = Definitions::default();
        for n in 0..=MAX_TOOLS {
            learn(&known, &n.to_string(), "{}");
        }
        assert!(known.digest("0").is_some() && known.digest(&MAX_TOOLS.to_string()).is_none());
        // What is known may be renewed.
        assert!(learn(&known, "0", r#"{"x":1}"#).definition == known.digest("0"));
        known.forget();
        let big = format!(r#"{{"annotations":{{"a":"{}"}}}}"#, "x".repeat(MAX_BYTES / 4));
        for name in ["a", "b", "c", "d"] {
            learn(&known, name, &big);
        }
        assert!(known.digest("c").is_some() && known.digest("d").is_none());
        learn(&known, "c", "{}");
        learn(&known, "d", &big);
        assert!(known.digest("d").is_some(), "room that was given back is used again");
        learn(&known, "c", &big);
        assert!(known.digest("c").is_none(), "what is out of date is not kept");
    }
}
