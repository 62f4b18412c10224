//! Changes of YAML texts in place: an entry more in a mapping, an item more in a list. Comments, order and spelling of
//! everything else stay as they are.
//!
//! Invariant: a changed text has been read again, and says what the old one said and what was added, nothing else.

use std::fmt::Write;
use std::path::Path;

use super::problem::Problems;
use super::yaml;
pub use super::yaml::{Data, Key, Node};
use super::{Config, ConfigError};

/// A value to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

/// A way into a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

/// Why a text is not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("{0}")]
    Unread(ConfigError),
    #[error("{}: `{at}` cannot be added to in place; write it as a mapping or list with one entry on each line", .origin.display())]
    Form { origin: std::path::PathBuf, at: String },
}

/// Lines that fit stay one line.
const WIDTH: usize = 110;

/// The tree of a text; nothing where the text is empty.
///
/// # Errors
/// What is no plain YAML.
pub fn tree(text: &str, origin: &Path) -> Result<Option<Node>, ConfigError> {
    let blank = |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(blank) {
        return Ok(None);
    }
    let mut problems = Problems::default();
    let root = yaml::read(text, &mut problems);
    if problems.is_empty() { Ok(root) } else { Err(ConfigError::Invalid(problems.report(origin, text))) }
}

/// Checks a text that is to become the configuration `origin`, as [`super::load`] checks a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(text: &str, origin: &Path) -> Result<Config, ConfigError> {
    super::read(text, origin, &|name| std::env::var_os(name), super::cross::trusted)
}

/// Adds an entry to the mapping at `path`, which is made where it is a section that is missing.
///
/// # Errors
/// A text that cannot be read, and a mapping that is written in a way that this does not know.
pub fn add_entry(text: &str, origin: &Path, path: &[Step<'_>], key: &str, value: &Value) -> Result<String, EditError> {
    add(text, origin, path, Some(key), value)
}

/// The same for the list at `path`.
///
/// # Errors
/// As [`add_entry`].
pub fn add_item(text: &str, origin: &Path, path: &[Step<'_>], value: &Value) -> Result<String, EditError> {
    add(text, origin, path, None, value)
}

fn add(text: &str, origin: &Path, path: &[Step<'_>], key: Option<&str>, value: &Value) -> Result<String, EditError> {
    let form = || EditError::Form { origin: origin.to_owned(), at: spelled(path) };
    let root = tree(text, origin).map_err(EditError::Unread)?.ok_or_else(form)?;
    let changed = match (find(&root, path), path) {
        (Some(node), _) => inside(text, node, key, value),
        (None, [Step::Key(section)]) => Some(new_section(text, section, key, value)),
        (None, _) => None,
    };
    let changed = changed.ok_or_else(form)?;
    let mut expected = root;
    let put = put(&mut expected, path, key, value).is_some();
    let now = tree(&changed, origin).map_err(EditError::Unread)?;
    if put && now.is_some_and(|now| same(&now, &expected)) { Ok(changed) } else { Err(form()) }
}

fn spelled(path: &[Step<'_>]) -> String {
    let mut out = String::new();
    for step in path {
        // Writing to a string cannot fail.
        _ = match step {
            Step::Key(key) if out.is_empty() => write!(out, "{key}"),
            Step::Key(key) => write!(out, ".{key}"),
            Step::Item(index) => write!(out, "[{index}]"),
        };
    }
    out
}

/// The node that a path leads to.
pub fn find<'n>(root: &'n Node, path: &[Step<'_>]) -> Option<&'n Node> {
    path.iter().try_fold(root, |node, step| match (&node.data, step) {
        (Data::Map(entries), Step::Key(key)) => entries.iter().find(|(at, _)| at.text == *key).map(|(_, node)| node),
        (Data::List(items), Step::Item(index)) => items.get(*index),
        _ => None,
    })
}

/// Whether two trees say the same.
pub fn same(one: &Node, other: &Node) -> bool {
    match (&one.data, &other.data) {
        (Data::Scalar { text: one, .. }, Data::Scalar { text: other, .. }) => one == other,
        (Data::List(one), Data::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Data::Map(one), Data::Map(other)) => {
            let pair = |((key, one), (other_key, other)): (&(Key, Node), &(Key, Node))| {
                key.text == other_key.text && same(one, other)
            };
            one.len() == other.len() && one.iter().zip(other).all(pair)
        }
        _ => false,
    }
}

/// The same change on the tree.
fn put(root: &mut Node, path: &[Step<'_>], key: Option<&str>, value: &Value) -> Option<()> {
    let mut node = root;
    for step in path {
        node = match (&mut node.data, step) {
            (Data::Map(entries), Step::Key(key)) => {
                let at = entries.iter().position(|(at, _)| at.text == *key).unwrap_or_else(|| {
                    entries.push((named(key), empty()));
                    entries.len() - 1
                });
                &mut entries.get_mut(at)?.1
            }
            (Data::List(items), Step::Item(index)) => items.get_mut(*index)?,
            _ => return None,
        };
    }
    match (&mut node.data, key) {
        (Data::Map(entries), Some(key)) => entries.push((named(key), node_of(value))),
        (Data::List(items), None) => items.push(node_of(value)),
        (data @ Data::Scalar { .. }, Some(key)) => *data = Data::Map(vec![(named(key), node_of(value))]),
        (data @ Data::Scalar { .. }, None) => *data = Data::List(vec![node_of(value)]),
        _ => return None,
    }
    Some(())
}

fn named(key: &str) -> Key {
    Key { span: 0..0, text: key.to_owned() }
}

fn empty() -> Node {
    Node { span: 0..0, data: Data::Scalar { text: String::new(), plain: true } }
}

fn node_of(value: &Value) -> Node {
    let scalar = |text: String| Data::Scalar { text, plain: true };
    let data = match value {
        Value::Text(text) => scalar(text.clone()),
        Value::Flag(flag) => scalar(flag.to_string()),
        Value::Number(number) => scalar(number.to_string()),
        Value::List(items) => Data::List(items.iter().map(node_of).collect()),
        Value::Map(entries) => Data::Map(entries.iter().map(|(key, value)| (named(key), node_of(value))).collect()),
    };
    Node { span: 0..0, data }
}

/// Into a mapping or list that is there.
fn inside(text: &str, node: &Node, key: Option<&str>, value: &Value) -> Option<String> {
    let last = match &node.data {
        Data::Map(entries) if key.is_some() => entries.last().map(|(key, value)| end(text, value).max(key.span.end)),
        Data::List(items) if key.is_none() => items.last().map(|item| end(text, item)),
        _ => return None,
    };
    if is_flow(text, node) {
        let entry = match key {
            Some(key) => format!("{}: {}", scalar(key), flow(value)),
            None => flow(value),
        };
        return Some(match last {
            Some(at) => format!("{}, {entry}{}", text.get(..at)?, text.get(at..)?),
            None => {
                let pad = if key.is_some() { " " } else { "" };
                let (open, close) = if key.is_some() { ("{", "}") } else { ("[", "]") };
                format!(
                    "{}{open}{pad}{entry}{pad}{close}{}",
                    text.get(..node.span.start)?,
                    text.get(end(text, node)..)?
                )
            }
        });
    }
    let first = match &node.data {
        Data::Map(entries) => entries.first()?.0.span.start,
        Data::List(items) => dash(text, items.first()?.span.start)?,
        Data::Scalar { .. } => return None,
    };
    let indent = indent(text, first)?;
    let at = line_end(text, last?);
    let added = entry(key, value, indent.len(), newline(text));
    Some(format!("{}{}{}{}", text.get(..at)?.trim_end_matches('\r'), newline(text), added, after(text, at)))
}

/// What follows a line whose end stands at `at`; its line end goes behind what is put there.
fn after(text: &str, at: usize) -> String {
    let rest = text.get(at..).unwrap_or_default();
    let lost = text.get(..at).is_some_and(|before| before.ends_with('\r'));
    if lost { format!("\r{rest}") } else { rest.to_owned() }
}

fn new_section(text: &str, section: &str, key: Option<&str>, value: &Value) -> String {
    let newline = newline(text);
    let gap = if text.ends_with('\n') { "" } else { newline };
    format!("{text}{gap}{newline}{}:{newline}{}{newline}", scalar(section), entry(key, value, 2, newline))
}

/// An entry of a mapping or an item of a list, on lines of its own and without the last line end.
fn entry(key: Option<&str>, value: &Value, indent: usize, newline: &str) -> String {
    let pad = " ".repeat(indent);
    let head = key.map_or_else(|| format!("{pad}- "), |key| format!("{pad}{}:", scalar(key)));
    let space = if key.is_some() { " " } else { "" };
    let short = format!("{head}{space}{}", flow(value));
    match value {
        Value::Map(entries) if key.is_some() && short.len() > WIDTH && !entries.is_empty() => {
            let entries = entries.iter().map(|(key, value)| entry(Some(key), value, indent + 2, newline));
            format!("{head}{newline}{}", entries.collect::<Vec<_>>().join(newline))
        }
        Value::List(items) if key.is_some() && short.len() > WIDTH && !items.is_empty() => {
            let items = items.iter().map(|item| entry(None, item, indent + 2, newline));
            format!("{head}{newline}{}", items.collect::<Vec<_>>().join(newline))
        }
        _ => short,
    }
}

/// On one line.
pub fn flow(value: &Value) -> String {
    match value {
        Value::Text(text) => scalar(text),
        Value::Flag(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text as a scalar in which every character is visible.
pub fn scalar(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "_./@-".contains(c);
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    // A colon is part of a word where no space follows.
    let address = text
        .split_once("://")
        .is_some_and(|(scheme, rest)| scheme.chars().all(word) && !rest.is_empty() && rest.chars().all(word));
    if begins && (address || text.chars().all(word)) && !reserved.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => _ = write!(out, "\\U{:08X}", u32::from(c)),
        }
    }
    out.push('"');
    out
}

/// Written with brackets.
pub fn is_flow(text: &str, node: &Node) -> bool {
    !matches!(node.data, Data::Scalar { .. })
        && text.get(node.span.start..).is_some_and(|at| at.starts_with(['{', '[']))
}

/// Where what a node says ends: the parser has a mapping of lines end where the next thing begins.
pub fn end(text: &str, node: &Node) -> usize {
    let last = match &node.data {
        Data::Map(entries) => entries.last().map(|(key, value)| end(text, value).max(key.span.end)),
        Data::List(items) => items.last().map(|item| end(text, item)),
        Data::Scalar { .. } => Some(node.span.end),
    };
    if is_flow(text, node) {
        return closed(text, last.unwrap_or(node.span.start + 1));
    }
    let last = last.unwrap_or(node.span.end);
    let said = text.get(node.span.start..last).unwrap_or_default();
    node.span.start + said.trim_end().len()
}

/// Behind the bracket that closes what ends at `at`: blanks, a comma and comments may stand before it.
fn closed(text: &str, at: usize) -> usize {
    let mut at = at;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        match c {
            '}' | ']' => return at + 1,
            '#' => at = line_end(text, at),
            _ => at += c.len_utf8(),
        }
    }
    text.len()
}

/// The dash of an item that begins on its line.
fn dash(text: &str, item: usize) -> Option<usize> {
    let start = line_start(text, item);
    Some(start + text.get(start..item)?.rfind('-')?)
}

/// What stands before `at` on its line, where that is nothing but spaces.
fn indent(text: &str, at: usize) -> Option<&str> {
    let start = line_start(text, at);
    text.get(start..at).filter(|before| before.bytes().all(|byte| byte == b' '))
}

pub fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// Of the line break, or of the text.
pub fn line_end(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|after| after.find('\n')).map_or(text.len(), |newline| at + newline)
}

pub fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str, path: &[Step<'_>], key: Option<&str>, value: &Value) -> String {
        add(text, Path::new("c.yaml"), path, key, value).map_err(|error| error.to_string()).unwrap()
    }

    fn env() -> Value {
        Value::map([("env", Value::text("KEY"))])
    }

    #[test]
    fn an_entry_is_added_to_every_form_of_a_mapping() {
        let at = [Step::Key("secrets")];
        for (before, after) in [
            (
                "secrets:\n  a: { env: A } # mine\n\n# more\nx: 1\n",
                "secrets:\n  a: { env: A } # mine\n  b: { env: KEY }\n\n# more\nx: 1\n",
            ),
            ("secrets:\n    a:\n      env: A\nx: 1", "secrets:\n    a:\n      env: A\n    b: { env: KEY }\nx: 1"),
            ("secrets: {a: {env: A}}\n", "secrets: {a: {env: A}, b: { env: KEY }}\n"),
            ("secrets: {}\nx: 1\n", "secrets: { b: { env: KEY } }\nx: 1\n"),
            ("x: 1", "x: 1\n\nsecrets:\n  b: { env: KEY }\n"),
            ("secrets:\r\n  a: 1\r\nx: 1\r\n", "secrets:\r\n  a: 1\r\n  b: { env: KEY }\r\nx: 1\r\n"),
            ("secrets:\n  a: 1", "secrets:\n  a: 1\n  b: { env: KEY }"),
            ("x: \"é\"\nsecrets:\n  a: 'ü' # ß\n", "x: \"é\"\nsecrets:\n  a: 'ü' # ß\n  b: { env: KEY }\n"),
        ] {
            assert_eq!(added(before, &at, Some("b"), &env()), after, "{before:?}");
        }
    }

    #[test]
    fn an_item_is_added_to_every_form_of_a_list() {
        let at = [Step::Key("p"), Step::Item(0), Step::Key("scopes")];
        let text = Value::text("s/*");
        assert_eq!(
            added("p:\n  - { name: a, scopes: [\"x/read\"] } # x\n", &at, None, &text),
            "p:\n  - { name: a, scopes: [\"x/read\", \"s/*\"] } # x\n"
        );
        assert_eq!(
            added("p:\n- name: a\n  scopes:\n  - x/read\n  m: 1\n", &at, None, &text),
            "p:\n- name: a\n  scopes:\n  - x/read\n  - \"s/*\"\n  m: 1\n"
        );
        assert_eq!(added("p:\n- scopes: []\n", &at, None, &text), "p:\n- scopes: [\"s/*\"]\n");
        let at = [Step::Key("p")];
        assert_eq!(added("p:\n  - a\n", &at, None, &env()), "p:\n  - a\n  - { env: KEY }\n");
        assert_eq!(added("q: 1\n", &at, None, &env()), "q: 1\n\np:\n  - { env: KEY }\n");
    }

    #[test]
    fn what_is_long_gets_lines_of_its_own() {
        let args = Value::List((0..30).map(|n| Value::text(format!("argument {n}"))).collect());
        let value = Value::map([("command", Value::text("npx")), ("args", args)]);
        let text = added("servers:\n  a: { x: 1 }\n", &[Step::Key("servers")], Some("b"), &value);
        assert!(text.contains("\n  b:\n    command: npx\n    args:\n      - \"argument 0\"\n"), "{text}");
        assert!(text.lines().all(|line| line.len() < 140), "{text}");
    }

    #[test]
    fn what_cannot_be_added_to_is_refused() {
        for text in ["secrets: text\n", "secrets: [a]\n", "- a\n", "", "secrets:\n  a: &x 1\n"] {
            let done = add(text, Path::new("c.yaml"), &[Step::Key("secrets")], Some("b"), &env());
            assert!(done.is_err(), "{text:?}");
        }
    }
}
