//! What a file says that is probably not what its author means: names that no catalog has, arguments that no operation
//! has, imports and files without use. Reads the syntax tree; evaluates nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::super::check;
use super::super::problem::Problem;
use super::super::syntax::{Asks, Body, Module, Reference, Rule};
use super::helpers::{self, About};
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

/// What rules may ask for by name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Vocabulary {
    /// Operations and tools.
    operations: BTreeMap<String, Known>,
    /// Names of the configuration by member of the input: `server`, `principal`, `environment`.
    names: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Vocabulary {
    /// The same name in two catalogs may have the arguments of both.
    pub fn add(&mut self, name: &str, known: Known) {
        match self.operations.get_mut(name) {
            Some(there) => {
                there.arguments.extend(known.arguments);
                there.listed |= known.listed;
                there.open |= known.open;
            }
            None => {
                self.operations.insert(name.to_owned(), known);
            }
        }
    }

    /// All names that this member of the input can have.
    pub fn names(&mut self, member: &'static str, names: impl IntoIterator<Item = String>) {
        self.names.entry(member).or_default().extend(names);
    }
}

pub const CLASSES: [&str; 5] = ["read", "write", "financial", "destructive", "unknown"];
/// Methods that are judged beside calls: their names are operations too.
pub const METHODS: [&str; 12] = [
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
    let around = helpers::around(modules);
    for module in modules.iter().filter(|module| own.contains(&module.source.name)) {
        unused_imports(module, &mut found);
        no_export(module, &mut found);
        if !tested.contains(&module.source.name) {
            let file = module.source.name.rsplit('/').next().unwrap_or_default().trim_end_matches(".rego");
            let help = format!("write {file}_test.rego beside it and run it with `countersign policy test`");
            found.push(module.problem(0, "untested", "no test reads a rule of this file", help).warning());
        }
        for rule in &module.rules {
            let around = around.get(&module.full_path(rule)).unwrap_or(&About::Anything);
            names(module, rule, around, vocabulary, &mut found);
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

/// What the bodies of a rule ask for by name, and the arguments that are read where they hold.
fn names(module: &Module, rule: &Rule, around: &About, vocabulary: &Vocabulary, found: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    let nothing = Body { is_else: false, value: None, statements: Vec::new(), unifies: false };
    let bodies = if rule.bodies.is_empty() { std::slice::from_ref(&nothing) } else { &rule.bodies };
    for body in bodies {
        for asks in body.statements.iter().filter_map(|statement| statement.asks.as_ref()) {
            for (value, place) in &asks.values {
                if is_name(asks) {
                    unknown_name(module, asks, value, *place, vocabulary, found);
                } else {
                    unknown_word(module, asks, value, *place, vocabulary, found);
                }
            }
        }
        let about = helpers::asked(body).unwrap_or_else(|| around.clone());
        for reference in rule.references.iter().filter(|reference| helpers::is_in(rule, body, reference.offset)) {
            let known: Option<Vec<(&str, &Known)>> = match &about {
                About::Anything => None,
                // Only what is known about all of them can be said about a rule for several.
                About::Names(names) => {
                    names.iter().map(|name| Some((name.as_str(), vocabulary.operations.get(name)?))).collect()
                }
            };
            if !seen.insert((reference.offset, known.is_some())) {
                continue;
            }
            match known {
                Some(known) => argument(module, reference, &known, found),
                None if about == About::Anything => of_no_operation(module, reference, vocabulary, found),
                None => {}
            }
        }
    }
}

/// An argument that a rule for everything reads and no operation has.
fn of_no_operation(module: &Module, reference: &Reference, vocabulary: &Vocabulary, found: &mut Vec<Problem>) {
    let [root, member, name, ..] = reference.path.as_slice() else { return };
    let all = || vocabulary.operations.values().flat_map(|known| &known.arguments).filter_map(|path| path.first());
    if root != "input" || member != "arguments" || vocabulary.operations.is_empty() || all().any(|known| known == name)
    {
        return;
    }
    let help = match meant(name, all().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "list it under `arguments` in the server's catalog, and check with --config".to_owned(),
    };
    let message = format!("no operation of any catalog has an argument `{name}`");
    found.push(module.problem(reference.place(2), "argument", message, help).warning());
}

/// A word that can never stand where it is looked for, so that the line never holds.
fn unknown_word(
    module: &Module,
    asks: &Asks,
    value: &str,
    place: usize,
    vocabulary: &Vocabulary,
    found: &mut Vec<Problem>,
) {
    let path: Vec<&str> = asks.path.iter().map(String::as_str).collect();
    let fixed: &[&str] = match path.as_slice() {
        ["input", "operation", "class"] => &CLASSES,
        ["input", "phase"] => &["call", "list"],
        ["input", "method"] => &METHODS,
        ["input", "principal", "kind"] => &["token", "jwt", "uid", "builtin"],
        ["input", member, "name"] => {
            let Some(names) = vocabulary.names.get(member).filter(|names| !names.contains(value)) else { return };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let message = format!("the configuration has no {member} `{value}`");
            found.push(module.problem(place, "unknown-name", message, check::instead(value, &names)).warning());
            return;
        }
        _ => return,
    };
    if !fixed.contains(&value) {
        let message = format!("{} is never `{value}`", path.join("."));
        found.push(module.problem(place, "unknown-word", message, check::instead(value, fixed)));
    }
}

pub(super) fn is_name(asks: &Asks) -> bool {
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
    if vocabulary.operations.is_empty() || vocabulary.operations.contains_key(value) || METHODS.contains(&value) {
        return;
    }
    let kind = asks.path.get(1).map_or("operation", String::as_str);
    let help = match meant(value, vocabulary.operations.keys().map(String::as_str)) {
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
