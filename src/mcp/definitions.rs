//! What is remembered of the definitions of an upstream's tools, as it listed them last.
//!
//! Invariant: bounded in count and bytes. What found no room, or was forgotten, is `unknown` and never `harmless`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::call::{Digest, Pin, ToolFacts};
use crate::json::{Json, JsonText};

use super::headers::{self, Param};

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
}

#[derive(Debug)]
struct Definition {
    facts: ToolFacts,
    /// Arguments that HTTP repeats in header fields.
    params: Vec<Param>,
    bytes: usize,
}

/// What a tool is that nobody has listed.
pub fn unknown(tool: &str) -> ToolFacts {
    ToolFacts { name: tool.to_owned(), annotations: None, definition: None, pin: Pin::Unknown }
}

impl Definitions {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every change is one call on the map, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a tool.
    pub fn facts(&self, tool: &str) -> Option<ToolFacts> {
        self.lock().tools.get(tool).map(|known| known.facts.clone())
    }

    /// The digest of a tool's definition.
    pub fn digest(&self, tool: &str) -> Option<Digest> {
        self.lock().tools.get(tool).and_then(|known| known.facts.definition)
    }

    /// The header fields that have to repeat arguments of a tool: nothing where the tool is not known.
    pub fn params(&self, tool: &str) -> Option<Vec<Param>> {
        self.lock().tools.get(tool).map(|known| known.params.clone())
    }

    /// Remembers a definition, and says what it is.
    pub fn learn(&self, name: &str, definition: Json<'_>) -> ToolFacts {
        let mut sorted = String::new();
        definition.write_sorted(&mut sorted);
        let annotations = definition.get("annotations").map(JsonText::owned);
        let facts = ToolFacts {
            name: name.to_owned(),
            annotations,
            definition: Some(Digest::of_fields("countersign.tool/v1", &[sorted.as_bytes()])),
            pin: Pin::Unpinned,
        };
        let params = headers::params(definition);
        let bytes = name.len()
            + facts.annotations.as_ref().map_or(0, |text| text.as_str().len())
            + params.iter().map(|param| param.field.len() + param.pointer.len()).sum::<usize>();
        let mut known = self.lock();
        // What is known of it is out of date even where the new definition finds no room.
        if let Some(old) = known.tools.remove(name) {
            known.bytes -= old.bytes;
        }
        if known.tools.len() < MAX_TOOLS && known.bytes + bytes <= MAX_BYTES {
            known.bytes += bytes;
            known.tools.insert(name.to_owned(), Definition { facts: facts.clone(), params, bytes });
        }
        facts
    }

    /// The upstream says that its tools are others now.
    pub fn forget(&self) {
        *self.lock() = Known::default();
    }
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
