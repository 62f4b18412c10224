//! What the loader needs to know of a policy's syntax tree: packages, rule heads, references, calls and object
//! literals, each with its place. Read from the interpreter's own tree, so that there is one parser. No judgement.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::problem::{Problem, position};
use super::source::Source;

mod body;
mod query;

pub use body::{Asks, Body, Span};
pub use query::{Equation, Kind, Line, Name, Part, Query};

/// One file.
#[derive(Debug)]
pub struct Module {
    pub source: Source,
    pub package: Vec<String>,
    imports: Vec<(String, Vec<String>)>,
    /// Where each import stands with all of its text.
    pub import_spans: Vec<Span>,
    pub import_places: Vec<Reference>,
    pub rules: Vec<Rule>,
}

/// What the head of a rule makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// `name contains ...`
    Set,
    /// `name(...) := ...`
    Function,
    /// Everything else: complete rules, objects, old-style sets, defaults.
    Other,
}

#[derive(Debug)]
pub struct Rule {
    /// The constant part of the head's name; `deny` for `deny contains ...`.
    pub path: Vec<String>,
    pub head: Head,
    /// Where the name starts, for messages.
    pub offset: usize,
    pub references: Vec<Reference>,
    pub calls: Vec<Call>,
    pub objects: Vec<ObjectLiteral>,
    /// Every string that is written out, and where.
    pub strings: Vec<(String, usize)>,
    /// Offsets of `with` modifiers.
    pub withs: Vec<usize>,
    /// The object literal that stands in the head of a set.
    pub entry: Option<ObjectLiteral>,
    /// Aliases of imports that the rule names.
    pub imports: HashSet<String>,
    /// From the head to the end of the last body.
    pub span: Span,
    /// What the head makes: the key of a set, the value of a rule. `None`: true.
    pub value: Option<Span>,
    /// The names that it reads.
    pub value_reads: Vec<Span>,
    /// None for a rule that always holds.
    pub bodies: Vec<Body>,
    /// Lines that have an expression.
    pub lines: BTreeSet<usize>,
    pub is_default: bool,
    /// The patterns of a function's arguments.
    pub arguments: Part,
    /// Each body with what the head makes of it; one without lines for a rule without a body.
    pub queries: Vec<Query>,
}

/// A name with as much of its path as is constant, resolved: it starts with `data`, `input`, or is local.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    pub path: Vec<String>,
    pub offset: usize,
    /// Where the elements of the path stand, as far as they are written out: those of an import's target are not.
    places: Vec<usize>,
}

impl Reference {
    /// Where an element of the path stands, or else the reference.
    pub fn place(&self, element: usize) -> usize {
        let hidden = self.path.len().saturating_sub(self.places.len());
        element.checked_sub(hidden).and_then(|n| self.places.get(n)).copied().unwrap_or(self.offset)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Resolved like a reference: a builtin's dotted name is one element.
    pub path: Vec<String>,
    /// False where a part of the name is computed.
    pub constant: bool,
    pub arguments: usize,
    /// A whole line of a body: not negated, and no part of anything else.
    pub statement: bool,
    /// Argument values that are constant strings.
    pub strings: Vec<Option<String>>,
    pub offset: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectLiteral {
    /// Constant keys, and the value where it is a constant string.
    pub members: Vec<(String, Option<String>)>,
    pub offset: usize,
}

impl Module {
    /// A problem at an offset in this file.
    pub fn problem(
        &self,
        offset: usize,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem::of_file(&self.source.name, code, message, help).at_offset(offset, &self.source.text)
    }

    /// The line of an offset.
    pub fn line(&self, offset: usize) -> usize {
        position(&self.source.text, offset).0
    }

    /// `data.countersign.policy.x.name` for a rule of this module.
    pub fn full_path(&self, rule: &Rule) -> Vec<String> {
        let mut path = vec!["data".to_owned()];
        path.extend(self.package.iter().cloned());
        path.extend(rule.path.iter().cloned());
        path
    }

    /// Names of imports, and where each of them stands.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &Reference)> {
        self.imports.iter().map(|(alias, _)| alias.as_str()).zip(&self.import_places)
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        self.source.text.get(span.start..span.end).unwrap_or("")
    }

    pub fn is_test(&self) -> bool {
        self.source.name.ends_with("_test.rego")
    }
}

/// Reads the interpreter's tree of files. `None` where the tree has a form that this reader does not know: the loader
/// then refuses the set, since its checks would be blind.
pub fn modules(ast: &Value, sources: &[Source]) -> Option<Vec<Module>> {
    let files = ast.as_array()?;
    if files.len() != sources.len() {
        return None;
    }
    files.iter().zip(sources).map(|(file, source)| module(file.get("ast")?, source)).collect()
}

fn module(ast: &Value, source: &Source) -> Option<Module> {
    let package = chain(ast.get("package")?.get("refr")?)?;
    let mut imports = Vec::new();
    let mut import_places = Vec::new();
    let mut import_spans = Vec::new();
    for import in ast.get("imports")?.as_array()? {
        let chain = chain(import.get("refr")?)?;
        let alias = match import.get("as") {
            Some(span) => text_of(span, source)?.to_owned(),
            None => chain.path.last()?.clone(),
        };
        // The span of an import begins at its path or behind it.
        let end = import.get("as").and_then(Span::read).or_else(|| first_span(import.get("refr")?))?.end;
        import_spans.push(Span { start: chain.offset, end });
        import_places.push(Reference { path: chain.path.clone(), offset: chain.offset, places: chain.places.clone() });
        imports.push((alias, chain.path));
    }
    let mut module = Module {
        source: source.clone(),
        package: package.path,
        imports,
        import_spans,
        import_places,
        rules: Vec::new(),
    };
    let rules = ast.get("rules")?.as_array()?;
    let names: HashSet<String> = rules.iter().filter_map(|rule| Some(head_of(rule)?.0.path.first()?.clone())).collect();
    for rule in rules {
        let rule = read_rule(rule, &module, &names)?;
        module.rules.push(rule);
    }
    Some(module)
}

/// The chain of a rule's name, what it makes, and the key of a set.
fn head_of(rule: &Value) -> Option<(Chain<'_>, Head, Option<&Value>)> {
    if let Some(default) = rule.get("Default") {
        let function = !default.get("args")?.as_array()?.is_empty();
        return Some((chain(default.get("refr")?)?, if function { Head::Function } else { Head::Other }, None));
    }
    let head = rule.get("Spec")?.get("head")?;
    if let Some(set) = head.get("Set") {
        return Some((chain(set.get("refr")?)?, Head::Set, set.get("key")));
    }
    if let Some(function) = head.get("Func") {
        return Some((chain(function.get("refr")?)?, Head::Function, None));
    }
    Some((chain(head.get("Compr")?.get("refr")?)?, Head::Other, None))
}

fn read_rule(node: &Value, module: &Module, names: &HashSet<String>) -> Option<Rule> {
    let (chain, head, key) = head_of(node)?;
    let mut walk = Walk {
        module,
        names,
        locals: HashSet::new(),
        aliases: HashMap::new(),
        found: Rule::new(&chain, head),
        failed: false,
        statement: false,
    };
    body::read(node, &module.source.text, &mut walk.found)?;
    (walk.found.arguments, walk.found.queries) = query::read(node)?;
    walk.locals(node);
    walk.node(node);
    if walk.failed {
        return None;
    }
    let mut rule = walk.found;
    // The head's own name is no reference to the rule.
    rule.references.retain(|reference| reference.offset != chain.offset);
    rule.entry = key.and_then(|key| key.get("Object")).and_then(literal);
    Some(rule)
}

impl Rule {
    fn new(chain: &Chain<'_>, head: Head) -> Rule {
        Rule {
            path: chain.path.clone(),
            head,
            offset: chain.offset,
            references: Vec::new(),
            calls: Vec::new(),
            objects: Vec::new(),
            strings: Vec::new(),
            withs: Vec::new(),
            entry: None,
            imports: HashSet::new(),
            span: Span::default(),
            value: None,
            value_reads: Vec::new(),
            bodies: Vec::new(),
            lines: BTreeSet::new(),
            is_default: false,
            arguments: Part::default(),
            queries: Vec::new(),
        }
    }
}

/// A variable followed by `.name` and `[...]`.
struct Chain<'a> {
    /// Up to the first part that is computed.
    path: Vec<String>,
    constant: bool,
    offset: usize,
    /// Of each element of the path.
    places: Vec<usize>,
    /// Everything inside brackets.
    indexes: Vec<&'a Value>,
    /// What the chain starts with, where that is no variable: a call or a literal.
    root: Option<&'a Value>,
}

fn chain(node: &Value) -> Option<Chain<'_>> {
    if let Some(var) = node.get("Var") {
        let name = var.get("value")?.as_str()?.to_owned();
        let offset = start(var)?;
        let (indexes, places) = (Vec::new(), vec![offset]);
        return Some(Chain { path: vec![name], constant: true, offset, places, indexes, root: None });
    }
    let (inner, step, index) = if let Some(dot) = node.get("RefDot") {
        let field = dot.get("field")?;
        let place = Span::of(field.get(0)?)?.start;
        (dot, Some((field.get(1)?.as_str()?.to_owned(), place)), None)
    } else if let Some(bracket) = node.get("RefBrack") {
        let index = bracket.get("index")?;
        let constant = index
            .get("String")
            .or_else(|| index.get("RawString"))
            .and_then(|text| Some((text.get("value")?.as_str()?.to_owned(), start(text)?)));
        (bracket, constant, Some(index))
    } else {
        return Some(Chain {
            path: Vec::new(),
            constant: false,
            offset: first_start(node)?,
            places: Vec::new(),
            indexes: Vec::new(),
            root: Some(node),
        });
    };
    let mut chain = chain(inner.get("refr")?)?;
    chain.indexes.extend(index);
    match step {
        Some((step, place)) if chain.constant => {
            chain.path.push(step);
            chain.places.push(place);
        }
        _ => chain.constant = false,
    }
    Some(chain)
}

fn start(node: &Value) -> Option<usize> {
    usize::try_from(node.get("span")?.get("start")?.as_u64()?).ok()
}

fn first_span(node: &Value) -> Option<Span> {
    node.as_object()?.values().next().and_then(Span::read)
}

fn first_start(node: &Value) -> Option<usize> {
    node.as_object()?.values().next().and_then(start)
}

fn text_of<'a>(span: &Value, source: &'a Source) -> Option<&'a str> {
    let at = |name: &str| usize::try_from(span.get(name)?.as_u64()?).ok();
    source.text.get(at("start")?..at("end")?)
}

fn literal(object: &Value) -> Option<ObjectLiteral> {
    let mut members = Vec::new();
    for field in object.get("fields")?.as_array()? {
        let string = |n: usize| {
            let node = field.get(n)?;
            node.get("String").or_else(|| node.get("RawString"))?.get("value")?.as_str().map(str::to_owned)
        };
        if let Some(key) = string(1) {
            members.push((key, string(2)));
        }
    }
    Some(ObjectLiteral { members, offset: start(object)? })
}

/// `name := input.member...`
fn part_of_input((name, value): (&Value, &Value)) -> Option<(String, Vec<String>)> {
    let name = name.get("Var")?.get("value")?.as_str()?.to_owned();
    let chain = chain(value).filter(|chain| chain.constant && chain.root.is_none())?;
    (chain.path.len() > 1 && chain.path.first().is_some_and(|root| root == "input")).then_some((name, chain.path))
}

struct Walk<'a> {
    module: &'a Module,
    names: &'a HashSet<String>,
    locals: HashSet<String>,
    /// What stands for a part of the input alone, as in `x := input.arguments`.
    aliases: HashMap<String, Vec<String>>,
    found: Rule,
    failed: bool,
    /// The next call is a whole line of a body.
    statement: bool,
}

impl Walk<'_> {
    /// Names that the rule binds itself: they hide rules and imports of that name, though never functions.
    fn locals(&mut self, node: &Value) {
        match node {
            Value::Array(items) => items.iter().for_each(|item| self.locals(item)),
            Value::Object(members) => {
                for (kind, inner) in members {
                    match kind.as_str() {
                        "AssignExpr" if inner.get("op").and_then(Value::as_str) == Some("ColEq") => {
                            let part = inner.get("lhs").zip(inner.get("rhs")).and_then(part_of_input);
                            let known = part.as_ref().is_some_and(|(name, _)| self.locals.contains(name));
                            self.bind(inner.get("lhs"));
                            self.aliases.extend(part.filter(|_| !known));
                        }
                        "SomeIn" => {
                            self.bind(inner.get("key"));
                            self.bind(inner.get("value"));
                        }
                        "SomeVars" => self.spans(inner.get("vars")),
                        "Every" => {
                            self.spans(inner.get("key"));
                            self.spans(inner.get("value"));
                        }
                        "Func" | "Default" => {
                            self.bind(inner.get("args"));
                        }
                        _ => {}
                    }
                    self.locals(inner);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// The variables of a pattern.
    fn bind(&mut self, pattern: Option<&Value>) {
        match pattern {
            Some(Value::Array(items)) => items.iter().for_each(|item| self.bind(Some(item))),
            Some(Value::Object(members)) => {
                for (kind, inner) in members {
                    if kind == "Var" {
                        let name = inner.get("value").and_then(Value::as_str);
                        // Bound twice it may be something else each time.
                        name.filter(|name| self.locals.contains(*name)).map(|name| self.aliases.remove(name));
                        self.locals.extend(name.map(str::to_owned));
                    } else {
                        self.bind(Some(inner));
                    }
                }
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
        }
    }

    /// Variables that the tree gives as places only.
    fn spans(&mut self, node: Option<&Value>) {
        let Some(node) = node else { return };
        if let Some(items) = node.as_array() {
            items.iter().for_each(|item| self.spans(Some(item)));
        } else if let Some(name) = text_of(node, &self.module.source) {
            self.aliases.remove(name);
            self.locals.insert(name.to_owned());
        }
    }

    fn node(&mut self, node: &Value) {
        match node {
            Value::Array(items) => items.iter().for_each(|item| self.node(item)),
            Value::Object(members) => {
                for (kind, inner) in members {
                    match kind.as_str() {
                        "Var" | "RefDot" | "RefBrack" if inner.get("span").is_some() => return self.reference(node),
                        "Call" => self.call(inner),
                        "Expr" => {
                            self.statement = inner.pointer("/expr/Call").is_some();
                            self.node(inner);
                        }
                        "Object" => {
                            self.found.objects.extend(literal(inner));
                            self.node(inner);
                        }
                        "String" | "RawString" => {
                            let text = inner.get("value").and_then(Value::as_str).map(str::to_owned);
                            self.found.strings.extend(text.zip(start(inner)));
                        }
                        "with_mods" => {
                            let offsets = inner.as_array().into_iter().flatten().filter_map(start);
                            self.found.withs.extend(offsets);
                            self.node(inner);
                        }
                        _ => self.node(inner),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn reference(&mut self, node: &Value) {
        let Some(chain) = chain(node) else {
            self.failed = true;
            return;
        };
        let path = self.resolve(&chain.path, true);
        if !path.is_empty() {
            self.found.references.push(Reference { path, offset: chain.offset, places: chain.places });
        }
        chain.indexes.iter().for_each(|index| self.node(index));
        if let Some(root) = chain.root {
            self.node(root);
        }
    }

    fn call(&mut self, call: &Value) {
        let statement = std::mem::take(&mut self.statement);
        let parts = call.get("fcn").and_then(chain).zip(call.get("params").and_then(Value::as_array));
        let Some((chain, params)) = parts else {
            self.failed = true;
            return;
        };
        let strings = params.iter().map(|param| {
            let text = param.get("String").or_else(|| param.get("RawString"))?;
            text.get("value")?.as_str().map(str::to_owned)
        });
        let path = self.resolve(&chain.path, false);
        self.found.calls.push(Call {
            path,
            constant: chain.constant && chain.root.is_none(),
            arguments: params.len(),
            statement,
            strings: strings.collect(),
            offset: chain.offset,
        });
        params.iter().for_each(|param| self.node(param));
    }

    /// Rules of this package and imports get their whole path; other names stay as they are.
    fn resolve(&mut self, path: &[String], hidden_by_locals: bool) -> Vec<String> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        if hidden_by_locals && self.locals.contains(first) {
            let stands_for = self.aliases.get(first).map_or(std::slice::from_ref(first), Vec::as_slice);
            return [stands_for, rest].concat();
        }
        let mut resolved = if self.names.contains(first) {
            let mut resolved = vec!["data".to_owned()];
            resolved.extend(self.module.package.iter().cloned());
            resolved.push(first.clone());
            resolved
        } else if let Some((_, target)) = self.module.imports.iter().find(|(alias, _)| alias == first) {
            self.found.imports.insert(first.clone());
            target.clone()
        } else {
            vec![first.clone()]
        };
        resolved.extend(rest.iter().cloned());
        resolved
    }
}
