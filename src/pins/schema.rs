//! What a tool's input schema demands of arguments: JSON Schema 2020-12, and the drafts from 4 to 2019-09 as far as they
//! agree with it.
//!
//! The schema is the server's and the arguments are the client's: neither is trusted, so everything is bounded here
//! (bytes, schemas, patterns, depth, steps), nothing is fetched, and a pattern takes linear time or is not tried. No
//! crate does that: they follow references without a bound on the steps, and match patterns by backtracking.
//!
//! Invariant: arguments that the schema accepts are never called wrong. An answer has three values: what is not
//! understood, or what readers of schemas disagree about, is [`Verdict::Unsure`], also under `not` and `oneOf`.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::json::{Json, JsonText};

use pattern::Pattern;

mod check;
mod number;
mod pattern;
mod truth;
mod words;

/// Bounds of a schema that is read.
const MAX_BYTES: usize = 256 << 10;
const MAX_SCHEMAS: usize = 16_384;
const MAX_PATTERNS: usize = 128;
/// Bytes of the pointers to all schemas: a long name counts for each schema below it.
const MAX_PATHS: usize = 4 << 20;
/// Bytes that an object in memory takes for every five members or fewer, about.
const NODE: usize = 640;
/// Keywords whose value is a schema, a list of them, or a map of them.
const ONE: [&str; 11] = [
    "additionalProperties",
    "additionalItems",
    "items",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const LISTS: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
const MAPS: [&str; 6] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// A schema that has been read.
#[derive(Debug)]
pub struct Schema {
    root: Value,
    /// By their text; nothing where linear time does not do for it, or where it is read differently here and there.
    patterns: HashMap<String, Option<Pattern>>,
    /// Pointers into the schema, by the references that stand for them.
    references: HashMap<String, String>,
    /// Before 2019-09 nothing counts beside a reference.
    references_stand_alone: bool,
}

/// Why a schema cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it is neither an object nor a boolean")]
    Form,
    #[error("it is too large")]
    Size,
    #[error("it is written in {0}")]
    Dialect(String),
    #[error("it refers to {0}, which is not in it")]
    Reference(String),
}

/// What a schema says about arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Fits,
    /// Nothing that is wrong was found, and not everything could be checked.
    Unsure,
    Wrong(Mismatch),
    /// To say so would take more work than may be spent on one call.
    TooMuch,
}

/// Where arguments do not fit, in words for whoever made them. No value of the arguments is repeated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// A JSON pointer into the arguments; empty for the arguments as a whole.
    pub at: String,
    pub problem: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at.as_str() {
            "" => write!(f, "the arguments: {}", self.problem),
            at => write!(f, "argument {at}: {}", self.problem),
        }
    }
}

impl Schema {
    /// # Errors
    /// Where it cannot be used at all. A part that is not understood only makes answers unsure.
    pub fn read(schema: Json<'_>) -> Result<Schema, Unusable> {
        if schema.text().len() > MAX_BYTES {
            return Err(Unusable::Size);
        }
        let root: Value = serde_json::from_str(schema.text()).map_err(|_| Unusable::Form)?;
        if !(root.is_object() || root.is_boolean()) {
            return Err(Unusable::Form);
        }
        let dialect = root.get("$schema").and_then(Value::as_str).unwrap_or("2020-12");
        let old = ["draft-04/", "draft-05/", "draft-06/", "draft-07/"].iter().any(|draft| dialect.contains(draft));
        if !(old || dialect.contains("2019-09") || dialect.contains("2020-12")) {
            return Err(Unusable::Dialect(clip(dialect)));
        }
        let mut reader = Reader {
            root: &root,
            seen: HashSet::new(),
            paths: 0,
            patterns: HashMap::new(),
            references: HashMap::new(),
        };
        reader.read()?;
        let Reader { patterns, references, .. } = reader;
        Ok(Schema { patterns, references, references_stand_alone: old, root })
    }

    /// Compares arguments with it. Takes time in proportion to their size, and no more than is set apart for that.
    pub fn check(&self, arguments: &JsonText) -> Verdict {
        let text = arguments.as_str();
        match serde_json::from_str(text) {
            Ok(value) => check::check(self, &value, text.len()),
            Err(_) => Verdict::TooMuch,
        }
    }

    /// Bytes that it holds, about and at most.
    pub fn weight(&self) -> usize {
        let patterns: usize = self.patterns.iter().map(|(text, read)| text.len() + pattern::held(read.as_ref())).sum();
        let references: usize = self.references.iter().map(|(name, at)| name.len() + at.len() + NODE).sum();
        size_of::<Schema>() + held(&self.root) + patterns + references
    }
}

/// Walks everything that is a schema, for its references and patterns.
struct Reader<'a> {
    root: &'a Value,
    /// By where they are in memory, which is one place for each.
    seen: HashSet<*const Value>,
    /// Bytes of all pointers that were made.
    paths: usize,
    patterns: HashMap<String, Option<Pattern>>,
    references: HashMap<String, String>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> Result<(), Unusable> {
        let mut open = vec![(String::new(), self.root)];
        let mut anchors: HashMap<&'a str, String> = HashMap::new();
        let mut wanted: Vec<&'a str> = Vec::new();
        loop {
            while let Some((at, schema)) = open.pop() {
                if !self.seen.insert(std::ptr::from_ref(schema)) {
                    continue;
                }
                if self.seen.len() > MAX_SCHEMAS {
                    return Err(Unusable::Size);
                }
                let Value::Object(members) = schema else { continue };
                wanted.extend(members.get("$ref").and_then(Value::as_str));
                for name in ["$anchor", "$dynamicAnchor"] {
                    if let Some(anchor) = members.get(name).and_then(Value::as_str) {
                        self.made(&at)?;
                        anchors.insert(anchor, at.clone());
                    }
                }
                self.pattern(members.get("pattern").and_then(Value::as_str))?;
                for pattern in members.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
                    self.pattern(Some(pattern.0))?;
                }
                self.below(&at, members, &mut open)?;
            }
            // What is referred to may stand where no keyword that is known leads to.
            for reference in std::mem::take(&mut wanted) {
                if self.references.contains_key(reference) {
                    continue;
                }
                let (at, schema) = self.resolve(reference, &anchors)?;
                self.made(&at)?;
                self.references.insert(reference.to_owned(), at.clone());
                open.push((at, schema));
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    /// Counts a pointer.
    fn made(&mut self, at: &str) -> Result<(), Unusable> {
        self.paths += at.len();
        if self.paths > MAX_PATHS { Err(Unusable::Size) } else { Ok(()) }
    }

    /// The schemas directly in a schema, with where they are.
    fn below(
        &mut self,
        at: &str,
        members: &'a serde_json::Map<String, Value>,
        open: &mut Vec<(String, &'a Value)>,
    ) -> Result<(), Unusable> {
        let mut push = |at: String, schema| {
            self.made(&at)?;
            open.push((at, schema));
            Ok(())
        };
        for (name, value) in members {
            let name = name.as_str();
            match value {
                Value::Object(_) | Value::Bool(_) if ONE.contains(&name) => push(format!("{at}/{name}"), value)?,
                Value::Array(items) if LISTS.contains(&name) => {
                    for (n, item) in items.iter().enumerate() {
                        push(format!("{at}/{name}/{n}"), item)?;
                    }
                }
                Value::Object(map) if MAPS.contains(&name) => {
                    for (key, item) in map {
                        push(format!("{at}/{name}/{}", key.replace('~', "~0").replace('/', "~1")), item)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn pattern(&mut self, pattern: Option<&str>) -> Result<(), Unusable> {
        let Some(pattern) = pattern.filter(|pattern| !self.patterns.contains_key(*pattern)) else { return Ok(()) };
        if self.patterns.len() >= MAX_PATTERNS {
            return Err(Unusable::Size);
        }
        self.patterns.insert(pattern.to_owned(), pattern::read(pattern));
        Ok(())
    }

    /// Only what stands in the same schema: nothing is ever fetched.
    fn resolve(&self, reference: &str, anchors: &HashMap<&str, String>) -> Result<(String, &'a Value), Unusable> {
        let missing = || Unusable::Reference(clip(reference));
        let own = self.root.get("$id").and_then(Value::as_str).map(|id| id.trim_end_matches('#'));
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        if !base.is_empty() && Some(base) != own {
            return Err(missing());
        }
        let at = match fragment {
            "" => String::new(),
            pointer if pointer.starts_with('/') => unescaped(pointer).ok_or_else(missing)?,
            anchor => anchors.get(anchor).cloned().ok_or_else(missing)?,
        };
        let schema = self.root.pointer(&at).ok_or_else(missing)?;
        Ok((at, schema))
    }
}

/// Bytes that a value holds, about and at most; no deeper than JSON is read.
fn held(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            // A list may have room for as many again.
            Value::Array(items) => items.iter().map(|item| size_of::<Value>() + held(item)).sum(),
            Value::Object(map) => {
                let members: usize = map.iter().map(|(key, value)| key.len() + held(value)).sum();
                NODE * (1 + map.len() / 5) + members
            }
        }
}

/// A pointer in the fragment of a URI.
fn unescaped(pointer: &str) -> Option<String> {
    let mut out = Vec::with_capacity(pointer.len());
    let mut bytes = pointer.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        out.push(if byte == b'%' {
            u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}

/// Text of a server's, short and on one line.
fn clip(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
