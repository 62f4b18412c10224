//! What a vendor's tools do: from a tool and its arguments to an [`Operation`]. Pure and total: what is not in the
//! catalog is of class unknown, and an argument is never believed to make a call harmless.
//!
//! ```text
//! file (the strict form) ─ load (checks, takes over, replaces) ─> Catalog ─ facts ─> Operation
//!                                                                 └─ handles: what a server said that they do
//! ```
//! Invariant: the class of an operation comes from a catalog file; the call only selects which entry, and can only make
//! it worse.

pub mod author;
mod condition;
mod dispatch;
mod evidence;
mod facts;
mod file;
mod handles;
mod key;
mod load;
mod pointer;
mod problem;
mod routes;

use std::collections::HashMap;
use std::path::Path;

pub use evidence::Probe;
pub use handles::Handles;
pub use key::{KeyEvidence, KeyForm, key_evidence, key_forms};
pub use problem::CatalogError;

use dispatch::{Dispatcher, quoted};
use facts::{Facts, both, word};
use handles::Form;
use pointer::{Arguments, bracketed};
use routes::Routes;

use crate::call::{Class, Decided, Digest, Operation, ToolCall};
use crate::json::Json;

/// Facts about the tools of one server.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    tools: HashMap<String, Entry>,
    operations: HashMap<String, Facts>,
    keys: Vec<file::Key>,
    environment: file::Reaches,
    confirmations: Vec<evidence::ConfirmationFacts>,
    results: evidence::Results,
    probes: Vec<Probe>,
    /// Tools whose answers say what handles do.
    sources: HashMap<String, Vec<Form>>,
    /// From `METHOD /path`.
    routes: HashMap<String, String>,
    routes_by_path: Routes,
    body: file::Body,
    /// The server's process holds no key: code that it runs is judged by what it asks of the API.
    trusts_code: bool,
    arguments: HashMap<String, Vec<String>>,
    switches: Vec<String>,
    digest: Option<Digest>,
    loosened: Vec<String>,
}

/// Those that the program has a catalog for.
pub fn vendors() -> impl Iterator<Item = &'static str> {
    load::BUILTIN.iter().map(|(vendor, _)| *vendor)
}

#[derive(Clone, Debug)]
enum Entry {
    Facts(Box<Facts>),
    Dispatcher(Box<Dispatcher>),
}

impl Catalog {
    /// The catalog that is part of the program; an empty one without a vendor.
    ///
    /// # Errors
    /// A vendor that the program has no catalog for.
    pub fn builtin(vendor: Option<&str>) -> Result<Catalog, CatalogError> {
        load::builtin(vendor)
    }

    /// The built-in catalog of a vendor and files beside it. An entry of a file replaces the built-in entry of that
    /// name; two files may not have the same entry.
    ///
    /// # Errors
    /// A file that cannot be read or breaks the form, and a vendor that no catalog knows.
    pub fn load(vendor: Option<&str>, extra: &[impl AsRef<Path>]) -> Result<Catalog, CatalogError> {
        load::load(vendor, extra)
    }

    /// Of the text of all its files; absent where there is none.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Where the operator's files say something less strict than the built-in catalog: one line for each, for the
    /// operator.
    pub fn loosened(&self) -> &[String] {
        &self.loosened
    }

    /// What a call really does, where no handle has been seen.
    pub fn operation(&self, call: &ToolCall) -> Operation {
        self.operation_with(call, &Handles::default())
    }

    /// What a call really does. `handles` are those of its session.
    pub fn operation_with(&self, call: &ToolCall, handles: &Handles) -> Operation {
        match call.method() {
            Decided::ToolsCall => {}
            Decided::ApiRequest => return self.requested(call),
            _ => return other_method(call),
        }
        let arguments = Arguments::of(call.arguments().view());
        let mut operation = match self.tools.get(call.tool()) {
            Some(Entry::Dispatcher(dispatcher)) => {
                dispatcher.describe(call.tool(), &self.operations, handles, &arguments)
            }
            Some(Entry::Facts(facts)) => {
                self.gated(facts, facts.describe_inside(call.tool(), &facts.inside, &arguments))
            }
            None => Operation::bare(call.tool(), Class::Unknown),
        };
        operation.environment = both(self.environment.read(&arguments), operation.environment);
        // A pointer would not find what the server may pass on as a list or an object.
        if self.body == file::Body::Form
            && let Some(name) = bracketed(call.arguments().view())
        {
            let why = "with brackets: in a form that is a list or an object, and has to be written as one";
            operation.make_unknown(format!("the call names {} {why}", quoted(&name)));
        }
        operation
    }

    /// What is known about a tool before it is called. The class of a dispatcher depends on its arguments: unknown.
    /// A tool that some arguments make worse has the class that it has without them.
    pub fn listed(&self, tool: &str) -> Operation {
        match self.tools.get(tool) {
            Some(Entry::Facts(facts)) => self.gated(facts, facts.listed(tool)),
            Some(Entry::Dispatcher(_)) | None => Operation::bare(tool, Class::Unknown),
        }
    }

    /// The same catalog, for a server whose process holds no key: tools that run code count as what they do by
    /// themselves.
    pub fn trusting_code(self) -> Catalog {
        Catalog { trusts_code: true, ..self }
    }

    fn gated(&self, facts: &Facts, operation: Operation) -> Operation {
        match facts.gated.filter(|_| self.trusts_code) {
            Some(class) => {
                let effect = Some("runs code of the agent, whose requests to the API are judged one by one".to_owned());
                Operation { class, reversible: None, effect, ..operation }
            }
            None => operation,
        }
    }

    /// A tool that runs code of the agent, of a server whose API has routes: behind a gate the code holds no key, and what
    /// it asks for is judged.
    pub fn runs_code(&self) -> Option<&str> {
        let runs = |(name, entry): (_, &Entry)| match entry {
            Entry::Facts(facts) => facts.gated.map(|_| name),
            Entry::Dispatcher(_) => None,
        };
        let tools = self.tools.iter().map(|(name, entry)| (name.as_str(), entry));
        tools.filter_map(runs).min().filter(|_| !self.routes.is_empty())
    }

    /// Header fields of a request to the API that would move it to another account or environment.
    pub fn switches(&self) -> &[String] {
        &self.switches
    }

    /// True where the answer to a call of this tool says what handles do.
    pub fn teaches(&self, tool: &str) -> bool {
        self.sources.contains_key(tool)
    }

    /// Remembers what the result of a call of this tool says about handles. The answer must come from the server.
    pub fn learn(&self, tool: &str, result: Json<'_>, handles: &mut Handles) {
        if let Some(forms) = self.sources.get(tool) {
            handles.learn(forms, self, result);
        }
    }

    /// Every tool and every operation that the catalog knows, with the classes that it can have.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Class, Class)> {
        let tools = self.tools.iter().map(|(name, entry)| match entry {
            Entry::Facts(facts) => (name.as_str(), facts.class, facts.worst()),
            Entry::Dispatcher(_) => (name.as_str(), Class::Unknown, Class::Unknown),
        });
        tools.chain(self.operations.iter().map(|(name, facts)| (name.as_str(), facts.class, facts.worst())))
    }

    /// The operation behind an HTTP method and the template of a path, such as `/v1/things/{id}`.
    pub fn route(&self, method: &str, path: &str) -> Option<&str> {
        let route = format!("{method} {path}");
        let named = self.routes.get(&route).or_else(|| self.operations.get_key_value(&route).map(|(name, _)| name));
        named.map(String::as_str)
    }
}

impl handles::Names for Catalog {
    fn has(&self, operation: &str) -> bool {
        self.operations.contains_key(operation)
    }

    fn at(&self, method: &str, path: &str) -> Option<String> {
        self.route(method, path).or_else(|| self.routes_by_path.alike(method, path)).map(str::to_owned)
    }
}

/// Requests and answers that are no calls of tools.
fn other_method(call: &ToolCall) -> Operation {
    let targets = match call.method() {
        Decided::Listen => {
            let named = call.arguments().view().pointer("/notifications/resourceSubscriptions");
            named.into_iter().flat_map(Json::items).map(word).collect()
        }
        _ if call.method().is_answer() => Vec::new(),
        _ => vec![call.tool().to_owned()],
    };
    Operation { targets, ..Operation::bare(call.method().as_str(), Class::Read) }
}

#[cfg(test)]
mod tests;
