//! What a file says that is probably not what its author means: names that no catalog has, arguments that no operation
//! has, imports and files without use. Reads the syntax tree; evaluates nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::super::check;
use super::super::problem::Problem;
use super::super::syntax::{Asks, Body, Module, Reference, Rule, Span};
use crate::call::{is_slip, meant};

/// What is known about an operation or a tool.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Known {
    /// Paths of names below the arguments.
    pub arguments: BTreeSet<Vec<String>>,
    /// A vendor lists them all.
    pub listed: bool,
    /// There may be others.
    pub open: bool,
}

/// Operations and tools by name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Vocabulary(BTreeMap<String, Known>);

impl Vocabulary {
    /// The same name in two catalogs may have the arguments of both.
    pub fn add(&mut self, name: &str, known: Known) {
        match self.0.get_mut(name) {
            Some(there) => {
                there.arguments.extend(known.arguments);
                there.listed |= known.listed;
                there.open |= known.open;
            }
            None => {
                self.0.insert(name.to_owned(), known);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Methods that are judged beside calls: their names are operations too.
const METHODS: [&str; 12] = [
    "tools/call",
    "resources/read",
    "resources/subscribe",
    "prompts/get",
    "completion/complete",
    "subscriptions/listen",
    "tasks/update",
    "elicitation/create",
    "sampling/createMessage",
    "tasks/result",
    "roots/list",
    "api/request",
];

/// `own` are the files that are asked about, `tested` those that a test reads.
pub fn problems(
    modules: &[Module],
    own: &BTreeSet<String>,
    tested: &BTreeSet<String>,
    vocabulary: &Vocabulary,
) -> Vec<Problem> {
    let mut found = Vec::new();
    for module in modules.iter().filter(|module| own.contains(&module.source.name)) {
        unused_imports(module, &mut found);
        no_export(module, &mut found);
        if !tested.contains(&module.source.name) {
            let file = module.source.name.rsplit('/').next().unwrap_or_default().trim_end_matches(".rego");
            let help = format!("write {file}_test.rego beside it and run it with `countersign policy test`");
            found.push(module.problem(0, "untested", "no test reads a rule of this file", help).warning());
        }
        for rule in &module.rules {
            for body in &rule.bodies {
                names(module, rule, body, vocabulary, &mut found);
            }
        }
    }
    found
}

fn unused_imports(module: &Module, found: &mut Vec<Problem>) {
    for (alias, import) in module.aliases() {
        let language = import.path.first().is_some_and(|root| root == "rego" || root == "future");
        if !language && !module.rules.iter().any(|rule| rule.imports.contains(alias)) {
            let message = format!("the import `{alias}` is not used");
            found.push(module.problem(import.offset, "unused-import", message, "take the line out").warning());
        }
    }
}

/// A policy without a set has no effect, whatever else it decides.
fn no_export(module: &Module, found: &mut Vec<Problem>) {
    if !check::is_policy(module) || module.rules.iter().any(check::is_export) {
        return;
    }
    let first = module.rules.first();
    let named =
        first.and_then(|rule| rule.path.first()).map_or(String::new(), |name| format!(": `{name}` is not read"));
    let help =
        "write `deny contains`, `hold contains` or `allow contains`; helpers alone belong in countersign.lib.NAME";
    let message = format!("the policy exports nothing{named}");
    found.push(module.problem(first.map_or(0, |rule| rule.offset), "no-export", message, help));
}

/// What a body asks for by name, and the arguments that are read where it holds.
fn names(module: &Module, rule: &Rule, body: &Body, vocabulary: &Vocabulary, found: &mut Vec<Problem>) {
    let mut about: Option<Vec<&str>> = None;
    for asks in body.statements.iter().filter_map(|statement| statement.asks.as_ref()) {
        if !is_name(asks) {
            continue;
        }
        for (value, place) in &asks.values {
            unknown_name(module, asks, value, *place, vocabulary, found);
        }
        let names = asks.values.iter().map(|(value, _)| value.as_str()).collect();
        about = Some(about.unwrap_or(names));
    }
    let Some(about) = about else { return };
    // Only what is known about all of them can be said about a rule for several.
    let known: Vec<(&str, &Known)> = about.iter().filter_map(|name| Some((*name, vocabulary.0.get(*name)?))).collect();
    if known.len() != about.len() || known.is_empty() {
        return;
    }
    let parts = body.statements.iter().map(|statement| statement.span).chain(rule.value).chain(body.value);
    let parts: Vec<Span> = parts.collect();
    let inside = |offset: usize| parts.iter().any(|part| part.start <= offset && offset < part.end);
    for reference in rule.references.iter().filter(|reference| inside(reference.offset)) {
        argument(module, reference, &known, found);
    }
}

fn is_name(asks: &Asks) -> bool {
    let path: Vec<&str> = asks.path.iter().map(String::as_str).collect();
    matches!(path.as_slice(), ["input", "operation" | "tool", "name"])
}

fn unknown_name(
    module: &Module,
    asks: &Asks,
    value: &str,
    place: usize,
    vocabulary: &Vocabulary,
    found: &mut Vec<Problem>,
) {
    if vocabulary.is_empty() || vocabulary.0.contains_key(value) || METHODS.contains(&value) {
        return;
    }
    let kind = asks.path.get(1).map_or("operation", String::as_str);
    let help = match meant(value, vocabulary.0.keys().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "name the server's catalog in a configuration and check with --config".to_owned(),
    };
    let message = format!("no catalog has {} {kind} `{value}`", if kind == "operation" { "an" } else { "a" });
    found.push(module.problem(place, "unknown-name", message, help).warning());
}

fn argument(module: &Module, reference: &Reference, known: &[(&str, &Known)], found: &mut Vec<Problem>) {
    let [root, member, path @ ..] = reference.path.as_slice() else { return };
    if root != "input" || member != "arguments" {
        return;
    }
    // The longest beginning of the path that is known, and what may follow it.
    for (depth, name) in path.iter().enumerate() {
        let before = path.get(..depth).unwrap_or_default();
        let follows: BTreeSet<&str> = known
            .iter()
            .flat_map(|(_, known)| &known.arguments)
            .filter(|argument| argument.starts_with(before))
            .filter_map(|argument| argument.get(depth).map(String::as_str))
            .collect();
        if follows.contains(name.as_str()) {
            continue;
        }
        let open = known.iter().any(|(_, known)| known.open) || follows.is_empty();
        // Where there may be others, only what is nearly another name is worth a word.
        let meant = meant(name, follows.iter().copied()).filter(|meant| !open || is_slip(name, meant));
        if open && meant.is_none() {
            return;
        }
        let of = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let below = if before.is_empty() { String::new() } else { format!(" below `{}`", before.join(".")) };
        let all: Vec<&str> = follows.iter().copied().collect();
        let message = format!("no argument `{name}` of {of}{below}");
        let problem = module.problem(reference.place(depth + 2), "argument", message, check::instead(name, &all));
        // A name that nothing is like may be one that the vendor has added.
        let certain = meant.is_some() && known.iter().any(|(_, known)| known.listed);
        found.push(if certain { problem } else { problem.warning() });
        return;
    }
}
