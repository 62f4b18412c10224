//! What the loader refuses before anything is evaluated. Two of these checks are not about style: a function that
//! calls itself would end the process, and a rule that can be replaced or extended from elsewhere is no rule.

use std::collections::{BTreeMap, HashMap, HashSet};

mod order;

use super::problem::Problem;
use super::syntax::{Call, Head, Module, ObjectLiteral, Reference, Rule};
use crate::call::meant;

/// Functions whose answer is not a function of input and data: a decision could not be explained or replayed.
const NONDETERMINISTIC: [&str; 5] = ["time.now_ns", "rand.intn", "uuid.rfc4122", "opa.runtime", "http.send"];

/// Functions that answer otherwise than in OPA, where a rule would go on with the wrong answer: why, and what to write.
const UNLIKE: [(&str, &str, &str); 9] = [
    ("strings.count", "counts places that overlap", "write count(split(text, part)) - 1"),
    ("strings.replace_n", "replaces what it has replaced", "write one replace after the other"),
    (
        "glob.quote_meta",
        "leaves ?, [, ] and braces as they are",
        "write the pattern out, or compare with == or startswith",
    ),
    ("json.filter", "loses what a path leads beyond, and knows no `/` before a path", "write object.filter"),
    ("json.remove", "removes what a path leads beyond, and knows no `/` before a path", "write object.remove"),
    (
        "net.cidr_contains",
        "does not see an IPv4 address that is written as ::ffff:10.0.0.1",
        "compare texts, startswith(address, \"10.\"), and refuse addresses of another form",
    ),
    ("time.add_date", "stays in a short month, and leads to nothing on 29 February", "add nanoseconds"),
    ("units.parse", "leads to nothing for `5.`", "ask for a number"),
    ("units.parse_bytes", "leads to nothing for `5.`", "ask for a number"),
];

/// What `future.keywords` brings: version 1 of the language has them without.
const KEYWORDS: [&str; 4] = ["in", "every", "if", "contains"];

/// The sets that a policy exports.
pub const SETS: [&str; 3] = ["deny", "hold", "allow"];

const ENTRY_FIELDS: [&str; 9] =
    ["rule", "reason", "details", "tier", "approvals", "ttl_seconds", "confirm_with", "grantable", "redact"];

/// The members of the input document; an empty list means that what lies below is free.
const INPUT: [(&str, &[&str]); 17] = [
    ("version", &[]),
    ("now", &[]),
    ("phase", &[]),
    ("method", &[]),
    ("principal", &["name", "kind", "scopes", "conditional_scopes", "claims"]),
    ("client", &["name", "version", "transport", "protocol", "uid"]),
    ("session", &["id", "mode", "accounts"]),
    ("server", &["name", "vendor"]),
    ("environment", &["name", "source", "verified", "conflict", "production", "accounts"]),
    ("tool", &["name", "annotations", "definition", "pin", "schema"]),
    (
        "operation",
        &["name", "class", "reversible", "money", "targets", "magnitude", "unmeasured", "environment", "confirmations"],
    ),
    ("arguments", &[]),
    ("responses", &[]),
    ("meta", &[]),
    ("continues", &[]),
    ("digest", &[]),
    ("history", &["adds", "principal", "session"]),
];

/// Every problem of a set of files; `documents` are the top-level names of the data.
pub fn problems(modules: &[Module], documents: &[String]) -> Vec<Problem> {
    let mut found = Vec::new();
    packages(modules, &mut found);
    rule_ids(modules, &mut found);
    let index = Index::new(modules);
    for module in modules {
        for import in &module.import_places {
            reference(module, import, &index, documents, &mut found);
        }
        for rule in &module.rules {
            exported(module, rule, &mut found);
            for each in &rule.references {
                reference(module, each, &index, documents, &mut found);
            }
            if let (false, Some(&offset)) = (module.is_test(), rule.withs.first()) {
                let help = "`with` belongs in tests: pass what varies as an argument of a function";
                found.push(module.problem(offset, "with", "`with` in a policy", help));
            }
        }
    }
    meaning(modules, &index, &mut found);
    found
}

/// Problems of what files mean, whatever their packages are: where this engine is not as OPA, among others.
pub fn misread(modules: &[Module]) -> Vec<Problem> {
    let mut found = Vec::new();
    meaning(modules, &Index::new(modules), &mut found);
    found
}

fn meaning(modules: &[Module], index: &Index<'_>, found: &mut Vec<Problem>) {
    for module in modules {
        module.import_places.iter().for_each(|import| imported(module, import, found));
        for rule in &module.rules {
            order::problems(module, rule, found);
            rule.calls.iter().for_each(|call| function(module, call, index, found));
        }
    }
    globs(modules, index, found);
    recursion(modules, index, found);
}

/// The engine takes any import, also one that changes what a policy means in OPA.
fn imported(module: &Module, import: &Reference, found: &mut Vec<Problem>) {
    let path: Vec<&str> = import.path.iter().map(String::as_str).collect();
    let known = match path.as_slice() {
        ["data" | "input", ..] | ["rego", "v1"] | ["future", "keywords"] => true,
        ["future", "keywords", word] => KEYWORDS.contains(word),
        _ => false,
    };
    if !known {
        let help = "import rules of `data`, or parts of `input`; a policy is Rego version 1 without any import";
        let message = format!("this engine does not know `import {}`", path.join("."));
        found.push(module.problem(import.offset, "import", message, help));
    }
}

/// `countersign.policy.NAME` or `countersign.lib.NAME`, each in one file; tests add `_test` to the name.
fn packages(modules: &[Module], found: &mut Vec<Problem>) {
    let mut owners: HashMap<&[String], &Module> = HashMap::new();
    for module in modules {
        let name = match module.package.as_slice() {
            [root, kind, name] if root == "countersign" && (kind == "policy" || kind == "lib") => Some(name),
            _ => None,
        };
        let plain = |name: &String| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !name.is_some_and(|name| plain(name) && name.ends_with("_test") == module.is_test()) {
            let suffix = if module.is_test() { "_test" } else { "" };
            let help =
                format!("write `package countersign.policy.NAME{suffix}` or `package countersign.lib.NAME{suffix}`");
            let message = format!("package {} is not for this file", module.package.join("."));
            found.push(module.problem(0, "package", message, help));
        }
        if let Some(owner) = owners.insert(&module.package, module) {
            let message = format!("package {} is also declared in {}", module.package.join("."), owner.source.name);
            found.push(module.problem(0, "package", message, "one package lives in one file: choose another name"));
        }
    }
}

/// Each rule id stands in one place, so that a record names one rule.
fn rule_ids(modules: &[Module], found: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&str, (&Module, usize)> = BTreeMap::new();
    for module in modules.iter().filter(|module| is_policy(module)) {
        for object in module.rules.iter().filter(|rule| is_export(rule)).flat_map(|rule| &rule.objects) {
            let Some(id) = entry_id(object) else { continue };
            if let Some((other, offset)) = seen.insert(id, (module, object.offset)) {
                let place = format!("{}:{}", other.source.name, other.line(offset));
                let help = "give each rule its own id; put alternatives into a helper rule";
                found.push(module.problem(
                    object.offset,
                    "duplicate-rule",
                    format!("rule id {id} is also used at {place}"),
                    help,
                ));
            }
        }
    }
}

/// The constant id of an object that has the look of an entry.
pub fn entry_id(object: &ObjectLiteral) -> Option<&str> {
    object.members.iter().find(|(key, _)| key == "reason")?;
    object.members.iter().find(|(key, _)| key == "rule")?.1.as_deref()
}

/// Line of the head of each rule with an id, by policy and id.
pub fn rule_lines(modules: &[Module]) -> HashMap<(String, String), usize> {
    let mut lines = HashMap::new();
    for module in modules.iter().filter(|module| is_policy(module)) {
        for rule in module.rules.iter().filter(|rule| is_export(rule)) {
            for id in rule.objects.iter().filter_map(entry_id) {
                let key = (module.package.last().cloned().unwrap_or_default(), id.to_owned());
                lines.insert(key, module.line(rule.offset));
            }
        }
    }
    lines
}

pub fn is_policy(module: &Module) -> bool {
    !module.is_test() && module.package.get(1).is_some_and(|kind| kind == "policy")
}

pub fn is_export(rule: &Rule) -> bool {
    rule.path.first().is_some_and(|name| SETS.contains(&name.as_str()))
}

fn exported(module: &Module, rule: &Rule, found: &mut Vec<Problem>) {
    let Some(name) = rule.path.first().filter(|_| is_policy(module) && is_export(rule)) else { return };
    if rule.head != Head::Set || rule.path.len() != 1 {
        let help = format!("write `{name} contains {{\"rule\": ..., \"reason\": ...}} if {{ ... }}`");
        found.push(module.problem(rule.offset, "shape", format!("{name} must be a set of entries"), help));
    }
    let Some(entry) = &rule.entry else { return };
    for needed in ["rule", "reason"] {
        if !entry.members.iter().any(|(key, _)| key == needed) {
            let help = "an entry has at least `rule` and `reason`";
            found.push(module.problem(entry.offset, "entry", format!("the entry has no `{needed}`"), help));
        }
    }
    for (key, _) in &entry.members {
        if !ENTRY_FIELDS.contains(&key.as_str()) {
            let help = format!("an entry may have {}", ENTRY_FIELDS.join(", "));
            found.push(module.problem(entry.offset, "entry", format!("an entry has no field `{key}`"), help));
        }
    }
}

/// A name that leads nowhere is undefined and no error when it is evaluated: a deny rule with it never fires.
fn reference(
    module: &Module,
    reference: &Reference,
    index: &Index<'_>,
    documents: &[String],
    found: &mut Vec<Problem>,
) {
    let path = &reference.path;
    let wrong = match (path.first().map(String::as_str), path.get(1).map(String::as_str)) {
        (Some("data"), Some("countersign")) => {
            let help = "name a rule of a loaded policy or library".to_owned();
            let exists = index.rules_below(path).next().is_some();
            (!exists).then(|| (format!("{} does not exist", path.join(".")), help))
        }
        // Tests bring documents and inputs of their own.
        _ if module.is_test() => None,
        (Some("data"), Some(document)) => {
            let help = format!("add `{document}:` to a data file of the policy paths");
            let exists = documents.iter().any(|known| known == document);
            (!exists).then(|| (format!("there is no data document `{document}`"), help))
        }
        (Some("input"), Some(member)) => unknown_input(member, path.get(2)),
        _ => None,
    };
    if let Some((message, help)) = wrong {
        // At the word that is wrong, where it is a member of the input.
        let element = if path.first().is_some_and(|root| root == "input") { known_input(path) } else { 0 };
        found.push(module.problem(reference.place(element), "reference", message, help));
    }
}

/// How many elements of a path into the input there are.
fn known_input(path: &[String]) -> usize {
    let known = path.get(1).is_some_and(|member| INPUT.iter().any(|(name, _)| name == member));
    if known { 2 } else { 1 }
}

/// What is wrong with `input.MEMBER.BELOW`, and what there is instead.
fn unknown_input(member: &str, below: Option<&String>) -> Option<(String, String)> {
    let Some((_, members)) = INPUT.iter().find(|(name, _)| *name == member) else {
        let names: Vec<&str> = INPUT.iter().map(|(name, _)| *name).collect();
        return Some((format!("the input has no member `{member}`"), instead(member, &names)));
    };
    let below = below.filter(|below| !members.is_empty() && !members.contains(&below.as_str()))?;
    Some((format!("input.{member} has no member `{below}`"), instead(below, members)))
}

/// What was meant, and what there is.
pub fn instead(word: &str, names: &[&str]) -> String {
    let all = format!("there are {}", names.join(", "));
    meant(word, names.iter().copied()).map_or(all.clone(), |meant| format!("did you mean `{meant}`? {all}"))
}

fn function(module: &Module, call: &Call, index: &Index<'_>, found: &mut Vec<Problem>) {
    let name = call.path.join(".");
    let mut report = |code, message: String, help: String| found.push(module.problem(call.offset, code, message, help));
    if !call.constant {
        return report("function", "a computed function name".to_owned(), "write the function's name out".to_owned());
    }
    if call.path.first().is_some_and(|root| root == "data") {
        if !index.functions.contains_key(call.path.as_slice()) {
            report("function", format!("there is no function {name}"), "check the spelling and the import".to_owned());
        }
        return;
    }
    if NONDETERMINISTIC.contains(&name.as_str()) {
        return report(
            "nondeterministic",
            format!("{name} gives another answer each time"),
            "use input.now for the time".to_owned(),
        );
    }
    // Tests may take what they like for the inputs that they make.
    if let Some((_, why, instead)) = UNLIKE.iter().find(|(unlike, ..)| *unlike == name && !module.is_test()) {
        return report("function", format!("{name} is not as in OPA: it {why}"), (*instead).to_owned());
    }
    // Anywhere else it is no value and no error: the rule would never hold, and say so nowhere.
    if name == "walk" && (call.arguments != 2 || !call.statement) {
        let help = "write a line walk(document, [path, value]); where it is negated, in a rule of its own";
        return report("function", "walk leads to nothing here".to_owned(), help.to_owned());
    }
    let arity = match name.as_str() {
        // The interpreter's own, and not in its table.
        "print" => return,
        _ => regorus::unstable::BUILTINS.get(name.as_str()).map(|(_, arity)| usize::from(*arity)),
    };
    match arity {
        None => report(
            "function",
            format!("there is no function {name}"),
            "use a built-in function of Rego or declare it".to_owned(),
        ),
        // A call may bind its result in one more argument.
        Some(arity) if call.arguments != arity && call.arguments != arity + 1 => {
            report(
                "function",
                format!("{name} takes {arity} arguments, not {}", call.arguments),
                "see the Rego manual".to_owned(),
            );
        }
        Some(_) => {}
    }
    if let Some((message, help)) = glob(call).and_then(|pattern| unlike_glob(pattern, true)) {
        report("glob", message.to_owned(), help.to_owned());
    }
    let position = match name.as_str() {
        "regex.replace" => 1,
        // A template has patterns between delimiters; another is asked about.
        "regex.is_valid" | "regex.template_match" => return,
        _ if name.starts_with("regex.") => 0,
        _ => return,
    };
    let pattern = call.strings.get(position).and_then(Option::as_deref);
    if let Some(Err(error)) = pattern.map(regex::Regex::new) {
        let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
        report("regex", format!("invalid pattern: {reason}"), "Rust's regex syntax: no look-around".to_owned());
    }
}

/// What a glob has that means something else here than in OPA, and what to write.
type Unlike = (&'static str, &'static str);

const EMPTY_CHOICE: Unlike =
    ("an empty choice of a glob matches nothing here", "write one pattern without the choice and one with it");
const CARET: Unlike = (
    "a class of a glob that begins with ^ is a negation here, and in OPA it is none",
    "write [!...]; where it is a regular expression, write it into its call",
);

/// The pattern of a call of `glob.match`, where it is written in it.
fn glob(call: &Call) -> Option<&str> {
    is_glob(call).then(|| call.strings.first()?.as_deref()).flatten()
}

fn is_glob(call: &Call) -> bool {
    call.path.join(".") == "glob.match"
}

/// Patterns that get to `glob.match` by a name: whatever is written in a rule that calls it, in one that calls a function
/// which does, and in those that they name.
fn globs(modules: &[Module], index: &Index<'_>, found: &mut Vec<Problem>) {
    let mut near: HashSet<&Vec<String>> = HashSet::new();
    let mut before = None;
    while before != Some(near.len()) {
        before = Some(near.len());
        for (path, rules) in &index.rules {
            let gets_there =
                |call: &Call| is_glob(call) || index.functions.contains_key(&call.path) && near.contains(&call.path);
            if rules.iter().any(|(_, rule)| rule.calls.iter().any(gets_there)) {
                near.insert(path);
            }
        }
    }
    let mut queue: Vec<&Vec<String>> = near.iter().copied().collect();
    while let Some(path) = queue.pop() {
        let rules = index.rules.get(path).into_iter().flatten();
        for target in rules.flat_map(|(_, rule)| targets(rule)) {
            for (next, _) in index.rules_below(target).filter_map(|next| index.rules.get_key_value(next)) {
                if near.insert(next) {
                    queue.push(next);
                }
            }
        }
    }
    for (n, rule) in index.rules.iter().filter(|(path, _)| near.contains(path)).flat_map(|(_, rules)| rules) {
        let Some(module) = modules.get(*n).filter(|module| !module.is_test()) else { continue };
        // What is written in the call itself is reported there.
        let said = |text: &str| rule.calls.iter().any(|call| glob(call) == Some(text));
        // A class of a regular expression may well begin with it.
        let regex = |text: &str| {
            let mut calls = rule.calls.iter().filter(|call| call.path.first().is_some_and(|root| root == "regex"));
            calls.any(|call| call.strings.iter().flatten().any(|string| string == text))
        };
        for (text, offset) in rule.strings.iter().filter(|(text, _)| !said(text)) {
            let unlike = unlike_glob(text, false).filter(|unlike| *unlike != CARET || !regex(text));
            found.extend(unlike.map(|(message, help)| module.problem(*offset, "glob", message, help)));
        }
    }
}

/// `{a,}`, which is `a` or nothing in OPA, and `a` alone for the engine; `[^a]`, which is `^` or `a` in OPA. What may be a
/// regular expression has no choice in `{2,}`, which is how often something comes in it.
fn unlike_glob(pattern: &str, is_glob: bool) -> Option<Unlike> {
    let (mut depth, mut before, mut characters) = (0_usize, ' ', pattern.char_indices());
    let mut caret = None;
    while let Some((at, character)) = characters.next() {
        let begins = depth > 0 && matches!(before, '{' | ',');
        before = character;
        match character {
            ',' | '}' if begins && (is_glob || !is_repetition(pattern, at)) => {
                return Some(EMPTY_CHOICE);
            }
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '\\' => {
                characters.next();
                before = ' ';
            }
            '[' => {
                if characters.as_str().starts_with('^') {
                    caret = Some(CARET);
                }
                if let Some(length) = class_length(characters.as_str()) {
                    characters.by_ref().take(length).for_each(drop);
                }
            }
            _ => {}
        }
    }
    caret
}

/// How many characters a class of characters has from behind its `[` to its `]`.
fn class_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.chars().position(|character| {
        let ends = character == ']' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    });
    end.map(|end| end + 1)
}

/// `{2,}` up to this brace.
fn is_repetition(pattern: &str, end: usize) -> bool {
    let counted = pattern.get(..=end).and_then(|text| text.strip_suffix(",}"));
    let number = counted.and_then(|text| text.rsplit_once('{')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Where every rule is, by its whole path.
struct Index<'a> {
    rules: BTreeMap<Vec<String>, Vec<(usize, &'a Rule)>>,
    functions: BTreeMap<Vec<String>, ()>,
}

impl<'a> Index<'a> {
    fn new(modules: &'a [Module]) -> Index<'a> {
        let mut index = Index { rules: BTreeMap::new(), functions: BTreeMap::new() };
        for (n, module) in modules.iter().enumerate() {
            for rule in &module.rules {
                let path = module.full_path(rule);
                if rule.head == Head::Function {
                    index.functions.insert(path.clone(), ());
                }
                index.rules.entry(path).or_default().push((n, rule));
            }
        }
        index
    }

    /// Paths of rules that a reference may evaluate: rules below it, and the rule it looks into.
    fn rules_below<'b>(&'b self, path: &'b [String]) -> impl Iterator<Item = &'b Vec<String>> {
        self.rules.keys().filter(move |rule| rule.starts_with(path) || path.starts_with(rule))
    }
}

/// The rules and functions that a rule names.
fn targets(rule: &Rule) -> impl Iterator<Item = &Vec<String>> {
    let named = rule.references.iter().map(|reference| &reference.path).chain(rule.calls.iter().map(|call| &call.path));
    named.filter(|target| target.first().is_some_and(|root| root == "data"))
}

/// A rule that needs itself. For functions the interpreter would overflow the stack and end the process.
fn recursion(modules: &[Module], index: &Index<'_>, found: &mut Vec<Problem>) {
    let mut done: HashSet<&Vec<String>> = HashSet::new();
    for start in index.rules.keys() {
        let mut way = Vec::new();
        visit(start, index, &mut way, &mut done, modules, found);
    }
}

fn visit<'a>(
    path: &'a Vec<String>,
    index: &'a Index<'_>,
    way: &mut Vec<&'a Vec<String>>,
    done: &mut HashSet<&'a Vec<String>>,
    modules: &[Module],
    found: &mut Vec<Problem>,
) {
    if done.contains(path) {
        return;
    }
    if let Some(from) = way.iter().position(|step| *step == path) {
        let names: Vec<&str> =
            way.iter().skip(from).chain([&path]).filter_map(|path| path.last()).map(String::as_str).collect();
        if let Some((module, rule)) =
            index.rules.get(path).and_then(|rules| rules.first()).and_then(|(n, rule)| Some((modules.get(*n)?, rule)))
        {
            let message = format!("recursion: {}", names.join(" needs "));
            found.push(module.problem(
                rule.offset,
                "recursion",
                message,
                "Rego has no recursion: use `walk` or a comprehension",
            ));
        }
        return;
    }
    way.push(path);
    for (_, rule) in index.rules.get(path).into_iter().flatten() {
        for target in targets(rule) {
            for next in index.rules_below(target) {
                // Looking up a rule by a path that only reaches its package evaluates it too.
                if let Some((next, _)) = index.rules.get_key_value(next) {
                    visit(next, index, way, done, modules, found);
                }
            }
        }
    }
    way.pop();
    done.insert(path);
}
