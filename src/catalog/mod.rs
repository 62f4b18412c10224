//! What a vendor's tools do: from a tool and its arguments to an [`Operation`]. Pure and total: what is not in the
//! catalog is of class unknown, and an argument is never believed to make a call harmless.
//!
//! Invariant: the class of an operation comes from a catalog file; the call only selects which entry.

pub mod author;
mod file;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use file::{Dispatcher, Facts, File};

use crate::call::{Class, Decided, Money, Operation, ToolCall};
use crate::json::{Json, Kind};

const BUILTIN: [(&str, &str); 2] = [
    ("billing", include_str!("../../policies/catalog/billing.yaml")),
    ("stripe", include_str!("../../policies/catalog/stripe.yaml")),
];
const MAX_BYTES: u64 = 1 << 20;

/// What is wrong with a catalog, and where. `line` and `column` start at 1; 0 where the place is the whole file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: error: {message}\n  help: {help}")]
pub struct CatalogError {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub help: String,
}

impl CatalogError {
    fn new(file: &str, message: impl Into<String>, help: impl Into<String>) -> CatalogError {
        CatalogError { file: file.to_owned(), line: 0, column: 0, message: message.into(), help: help.into() }
    }
}

/// What the form of a key says about its environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyEvidence {
    Production,
    NotProduction,
    Silent,
}

/// Facts about the tools of one server.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    tools: HashMap<String, Facts>,
    dispatchers: HashMap<String, Dispatcher>,
    operations: HashMap<String, Facts>,
    keys: file::Keys,
    environment: file::Environment,
    suspicious: Vec<file::Pointer>,
}

/// What the form of a key of this vendor proves. A vendor without a catalog proves nothing.
pub fn key_evidence(vendor: Option<&str>, key: &str) -> KeyEvidence {
    Catalog::builtin(vendor).map_or(KeyEvidence::Silent, |catalog| catalog.key_evidence(key))
}

impl Catalog {
    /// The catalog that is part of the program; an empty one without a vendor.
    ///
    /// # Errors
    /// A vendor that the program has no catalog for.
    pub fn builtin(vendor: Option<&str>) -> Result<Catalog, CatalogError> {
        Catalog::load(vendor, &[] as &[&Path])
    }

    /// The built-in catalog of a vendor and files beside it. An entry of a file replaces the built-in entry of that
    /// name; two files may not have the same entry.
    ///
    /// # Errors
    /// A file that cannot be read or breaks the form, and a vendor that no catalog knows.
    pub fn load(vendor: Option<&str>, extra: &[impl AsRef<Path>]) -> Result<Catalog, CatalogError> {
        let mut catalog = Catalog::default();
        let mut known = vendor.is_none();
        if let Some((name, text)) = BUILTIN.iter().find(|(name, _)| Some(*name) == vendor) {
            catalog.add(parse(&format!("builtin/{name}.yaml"), text)?);
            known = true;
        }
        let mut added = Catalog::default();
        for path in extra {
            let name = path.as_ref().display().to_string();
            let text = read(path.as_ref(), &name)?;
            let file = parse(&name, &text)?;
            if let Some(other) = file.vendor.as_deref().filter(|other| Some(*other) != vendor) {
                let help = "list the file at a server of that vendor, or leave `vendor` out of it";
                return Err(CatalogError::new(&name, format!("the catalog is for vendor {other}"), help));
            }
            known |= file.vendor.is_some();
            if let Some(twice) = file.names().find(|twice| added.has(twice)) {
                let help = "keep the entry in one file";
                return Err(place(&name, &text, twice, format!("another file has {twice} too"), help));
            }
            added.add(file);
        }
        if !known {
            let known = BUILTIN.map(|(name, _)| name).join(", ");
            let help = format!("use {known}, or leave `vendor` out, or list a catalog file that says `vendor: ...`");
            return Err(CatalogError::new("vendor", format!("there is no catalog for {}", vendor.unwrap_or("")), help));
        }
        catalog.merge(added);
        Ok(catalog)
    }

    /// What the form of a key proves.
    pub fn key_evidence(&self, key: &str) -> KeyEvidence {
        let fits = |prefixes: &[file::Prefix]| prefixes.iter().any(|prefix| key.starts_with(&prefix.0));
        match (fits(&self.keys.production), fits(&self.keys.not_production)) {
            (true, _) => KeyEvidence::Production,
            (false, true) => KeyEvidence::NotProduction,
            (false, false) => KeyEvidence::Silent,
        }
    }

    /// What a call really does.
    pub fn operation(&self, call: &ToolCall) -> Operation {
        if call.method() != Decided::ToolsCall {
            let targets = match call.method() {
                Decided::Listen => {
                    let named = call.arguments().view().pointer("/notifications/resourceSubscriptions");
                    named.into_iter().flat_map(Json::items).map(word).collect()
                }
                _ if call.method().is_answer() => Vec::new(),
                _ => vec![call.tool().to_owned()],
            };
            return Operation { targets, ..Operation::bare(call.method().as_str(), Class::Read) };
        }
        let arguments = Arguments::of(call.arguments().view());
        let mut operation = match self.dispatchers.get(call.tool()) {
            Some(dispatcher) => self.dispatched(call.tool(), dispatcher, &arguments),
            None => match self.tools.get(call.tool()) {
                Some(facts) => described(call.tool(), facts, &arguments),
                None => Operation::bare(call.tool(), Class::Unknown),
            },
        };
        operation.environment = self.named_environment(&arguments);
        if let Some(pointer) = self.suspicious.iter().find(|pointer| arguments.at(pointer).is_some()) {
            operation.class = Class::Unknown;
            operation.effect = Some(format!("the call carries {}, which no agent may set", pointer.0));
        }
        operation
    }

    /// What is known about a tool before it is called. The class of a dispatcher depends on its arguments: unknown.
    pub fn listed(&self, tool: &str) -> Operation {
        match self.tools.get(tool) {
            Some(facts) => described(tool, facts, &Arguments::default()),
            None => Operation::bare(tool, Class::Unknown),
        }
    }

    /// The operation that a dispatcher's argument selects, where the catalog has it and it may go through this tool.
    fn dispatched(&self, tool: &str, dispatcher: &Dispatcher, arguments: &Arguments<'_>) -> Operation {
        let selected = arguments.at(&dispatcher.selects);
        let name = selected.and_then(Json::as_str);
        let facts = name
            .as_deref()
            .filter(|name| dispatcher.verbs.iter().any(|verb| name.starts_with(&verb.0)))
            .and_then(|name| self.operations.get_key_value(name));
        match facts {
            Some((name, facts)) => match &dispatcher.inside {
                Some(pointer) => {
                    let inside = arguments.at(pointer).map(Arguments::of).unwrap_or_default();
                    described(name, facts, &inside)
                }
                None => described(name, facts, arguments),
            },
            // The name is the tool's and not the agent's word, which could be the name of a harmless operation.
            None => {
                Operation { targets: selected.map(word).into_iter().collect(), ..Operation::bare(tool, Class::Unknown) }
            }
        }
    }

    /// `MODE/ACCOUNT` where the arguments name either; the mode is a word of ours and has no slash.
    fn named_environment(&self, arguments: &Arguments<'_>) -> Option<String> {
        let mode = self.environment.mode.as_ref().and_then(|mode| {
            let value = arguments.at(&mode.at)?.text();
            Some(match value {
                _ if value == mode.production => "production",
                _ if value == mode.test => "test",
                _ => "unknown",
            })
        });
        let accounts = self.environment.account.iter().filter_map(|pointer| arguments.at(pointer)).map(word);
        let account = accounts.collect::<Vec<_>>().join(",");
        if mode.is_none() && account.is_empty() {
            return None;
        }
        Some(format!("{}/{account}", mode.unwrap_or("")))
    }

    fn has(&self, name: &str) -> bool {
        self.tools.contains_key(name) || self.dispatchers.contains_key(name) || self.operations.contains_key(name)
    }

    fn add(&mut self, file: File) {
        let reads = |names: Vec<String>| names.into_iter().map(|name| (name, Facts::of_class(Class::Read)));
        self.tools.extend(reads(file.reads));
        self.tools.extend(file.tools.0);
        self.dispatchers.extend(file.dispatchers.0);
        self.operations.extend(reads(file.operations.reads));
        self.operations.extend(file.operations.others.0);
        self.keys.production.extend(file.keys.production);
        self.keys.not_production.extend(file.keys.not_production);
        self.environment.mode = file.environment.mode.or(self.environment.mode.take());
        self.environment.account.extend(file.environment.account);
        self.suspicious.extend(file.suspicious);
    }

    /// Entries of `other` replace entries of this catalog, whatever kind they were.
    fn merge(&mut self, other: Catalog) {
        self.tools.retain(|name, _| !other.dispatchers.contains_key(name));
        self.dispatchers.retain(|name, _| !other.tools.contains_key(name));
        self.tools.extend(other.tools);
        self.dispatchers.extend(other.dispatchers);
        self.operations.extend(other.operations);
        self.keys.production.extend(other.keys.production);
        self.keys.not_production.extend(other.keys.not_production);
        self.environment.mode = other.environment.mode.or(self.environment.mode.take());
        self.environment.account.extend(other.environment.account);
        self.suspicious.extend(other.suspicious);
    }
}

impl File {
    fn names(&self) -> impl Iterator<Item = &String> {
        let tools = self.reads.iter().chain(self.tools.0.keys()).chain(self.dispatchers.0.keys());
        tools.chain(&self.operations.reads).chain(self.operations.others.0.keys())
    }
}

/// The members of an object, read once: arguments may be large, and a catalog looks many pointers up.
#[derive(Default)]
struct Arguments<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Arguments<'a> {
    fn of(object: Json<'a>) -> Arguments<'a> {
        Arguments(object.members().filter_map(|(name, value)| Some((name.as_str()?, value))).collect())
    }

    fn at(&self, pointer: &file::Pointer) -> Option<Json<'a>> {
        let steps = pointer.0.strip_prefix('/')?;
        let (first, rest) = steps.find('/').map_or((steps, ""), |cut| steps.split_at(cut));
        let first = first.replace("~1", "/").replace("~0", "~");
        self.0.iter().find(|(name, _)| *name == first)?.1.pointer(rest)
    }
}

fn described(name: &str, facts: &Facts, arguments: &Arguments<'_>) -> Operation {
    let at = |pointer: &file::Pointer| arguments.at(pointer);
    Operation {
        reversible: facts.reversible,
        money: facts.money.as_ref().map(|money| Money {
            amount: at(&money.amount).map(|amount| amount.text().to_owned()),
            unit: money.unit.as_str().to_owned(),
            currency: money.currency.as_ref().and_then(at).map(word),
            absent: money.absent.clone(),
        }),
        targets: facts.targets.iter().filter_map(at).map(word).collect(),
        magnitude: facts.magnitude.iter().find_map(at).map(|size| size.text().to_owned()),
        effect: facts.effect.clone(),
        ..Operation::bare(name, facts.class)
    }
}

/// A string's characters; anything else as it is spelled.
fn word(value: Json<'_>) -> String {
    match value.kind() {
        Kind::String => value.as_str().unwrap_or_default().into_owned(),
        Kind::Object | Kind::Array | Kind::Number | Kind::Bool | Kind::Null => value.text().to_owned(),
    }
}

fn read(path: &Path, name: &str) -> Result<String, CatalogError> {
    let unreadable = |error: std::io::Error| {
        CatalogError::new(
            name,
            format!("cannot be read: {error}"),
            "give a path that exists and that this user may read",
        )
    };
    if path.metadata().map_err(unreadable)?.len() > MAX_BYTES {
        return Err(CatalogError::new(name, "larger than 1 MiB", "split the file"));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn parse(name: &str, text: &str) -> Result<File, CatalogError> {
    let help = "the form of a catalog is described in policies/README.md";
    let file: File = serde_yaml::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        CatalogError { line, column, ..CatalogError::new(name, error.to_string(), help) }
    })?;
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = file.names().find(|name| !seen.insert(name.as_str())) {
        return Err(place(name, text, twice, format!("{twice} is listed twice"), "keep one entry"));
    }
    Ok(file)
}

/// An error about a name, at its last mention in the file.
fn place(file: &str, text: &str, name: &str, message: String, help: &str) -> CatalogError {
    let at = text.rfind(name).unwrap_or(0);
    let before = text.get(..at).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    CatalogError { line, column, ..CatalogError::new(file, message, help) }
}

#[cfg(test)]
mod tests;
