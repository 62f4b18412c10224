//! YAML, as Goose writes and reads it: mappings of lines are changed line by line.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, anyhow, bail};

use super::tree::{Change, Data, Member, Node, Value};
use crate::config::edit::{self, Step, line_end, line_start, newline};

const FORM: &str = "the entry must be a mapping with one member on each line";

fn parse(text: &str) -> anyhow::Result<Option<edit::Node>> {
    edit::tree(text, Path::new("the file")).map_err(|error| anyhow!("{error}"))
}

pub fn read(text: &str) -> anyhow::Result<Node> {
    Ok(parse(text)?.as_ref().map_or(Node { span: 0..0, data: Data::Map(Vec::new()) }, node))
}

fn node(from: &edit::Node) -> Node {
    let data = match &from.data {
        edit::Data::Scalar { text, plain } if *plain && is_other(text) => Data::Other(text.clone()),
        edit::Data::Scalar { text, .. } => Data::Text(text.clone()),
        edit::Data::List(items) => Data::List(items.iter().map(node).collect()),
        edit::Data::Map(entries) => {
            let member = |(key, value): &(edit::Key, edit::Node)| Member { name: key.text.clone(), value: node(value) };
            Data::Map(entries.iter().map(member).collect())
        }
    };
    Node { span: from.span.clone(), data }
}

fn is_other(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "" | "~" | "null" | "true" | "false") || text.parse::<f64>().is_ok()
}

fn find<'n>(root: &'n edit::Node, path: &[String]) -> anyhow::Result<&'n edit::Node> {
    let steps: Vec<Step<'_>> = path.iter().map(|name| Step::Key(name)).collect();
    edit::find(root, &steps).context("the entry is not there")
}

pub fn region(text: &str, path: &[String]) -> anyhow::Result<Range<usize>> {
    let root = parse(text)?.context("the entry is not there")?;
    let entry = find(&root, path)?;
    if edit::is_flow(text, entry) {
        return Ok(entry.span.start..edit::end(text, entry));
    }
    let edit::Data::Map(members) = &entry.data else { bail!(FORM) };
    let first = members.first().context(FORM)?.0.span.start;
    let start = line_start(text, first);
    if text.get(start..first).is_none_or(|before| before.bytes().any(|byte| byte != b' ')) {
        bail!(FORM);
    }
    Ok(start..line_end(text, edit::end(text, entry)))
}

pub fn change(text: &str, path: &[String], changes: &[Change]) -> anyhow::Result<String> {
    let root = parse(text)?.context("the entry is not there")?;
    let entry = find(&root, path)?;
    let edit::Data::Map(members) = &entry.data else { bail!(FORM) };
    if edit::is_flow(text, entry) {
        return Ok(splice(text, entry.span.start..edit::end(text, entry), &flow(text, members, changes)));
    }
    let region = region(text, path)?;
    let indent = " ".repeat(members.first().context(FORM)?.0.span.start - region.start);
    let mut out: Vec<String> = Vec::new();
    // Lines are put together again: the last one of the text may have no line break.
    let mut line = |said: &str| out.push(said.strip_suffix('\r').unwrap_or(said).to_owned());
    let written = |key: &str, value: &Value| format!("{indent}{key}: {}", edit::flow(&plain(value)));
    let mut from = region.start;
    let mut begun = false;
    for (key, value) in members {
        let end = line_end(text, edit::end(text, value).max(key.span.end));
        // The entry begins with a member: a comment that would stand first goes with the members before it.
        let start = if begun || from == region.start { from } else { line_start(text, key.span.start) };
        let change = changes.iter().find(|change| change.key() == key.text);
        match change {
            None => line(text.get(start..end).unwrap_or_default()),
            Some(Change::Remove(_)) => {}
            Some(Change::Set(_, value)) => {
                let above = text.get(start..line_start(text, key.span.start)).unwrap_or_default();
                line(&format!("{above}{}", written(&key.text, value)));
            }
        }
        begun |= !matches!(change, Some(Change::Remove(_)));
        from = (end + 1).min(region.end);
    }
    for change in changes {
        if let Change::Set(key, value) = change
            && !members.iter().any(|(there, _)| there.text == *key)
        {
            line(&written(key, value));
        }
    }
    // The first half of a line break belongs to its line.
    let ended = text.get(..region.end).is_some_and(|before| before.ends_with('\r'));
    let out = out.join(newline(text)) + if ended { "\r" } else { "" };
    Ok(splice(text, region, &out))
}

fn flow(text: &str, members: &[(edit::Key, edit::Node)], changes: &[Change]) -> String {
    let changed = |name: &str| changes.iter().any(|change| change.key() == name);
    let set = changes.iter().filter_map(|change| match change {
        Change::Set(key, value) => Some(format!("{key}: {}", edit::flow(&plain(value)))),
        Change::Remove(_) => None,
    });
    let kept = members.iter().filter(|(key, _)| !changed(&key.text)).map(|(key, value)| {
        text.get(key.span.start..edit::end(text, value).max(key.span.end)).unwrap_or_default().to_owned()
    });
    format!("{{ {} }}", set.chain(kept).collect::<Vec<_>>().join(", "))
}

fn splice(text: &str, region: Range<usize>, with: &str) -> String {
    let mut out = text.to_owned();
    out.replace_range(region, with);
    out
}

pub fn insert(text: &str, path: &[String], entry: &[(&'static str, Value)]) -> anyhow::Result<String> {
    let (name, way) = path.split_last().context("an entry has a name")?;
    let value = edit::Value::map(entry.iter().map(|(key, value)| (*key, plain(value))));
    let steps: Vec<Step<'_>> = way.iter().map(|name| Step::Key(name)).collect();
    if parse(text)?.is_none() {
        let section = edit::Value::map([(name.as_str(), value)]);
        let way = way.first().context("an entry is in a section")?;
        return Ok(format!("{text}{way}: {}\n", edit::flow(&section)));
    }
    Ok(edit::add_entry(text, Path::new("the file"), &steps, name, &value)?)
}

/// The lines of the entry, its name included.
pub fn remove(text: &str, path: &[String]) -> anyhow::Result<String> {
    let (name, way) = path.split_last().context("an entry has a name")?;
    let root = parse(text)?.context("the entry is not there")?;
    let section = find(&root, way)?;
    let edit::Data::Map(entries) = &section.data else { bail!("the entry is not there") };
    let (key, value) = entries.iter().find(|(key, _)| key.text == *name).context("the entry is not there")?;
    let start = line_start(text, key.span.start);
    let alone = text.get(start..key.span.start).is_some_and(|before| before.bytes().all(|byte| byte == b' '));
    if !alone || edit::is_flow(text, section) || entries.len() < 2 {
        bail!("the entry cannot be taken out in place: remove it by hand");
    }
    let end = (line_end(text, edit::end(text, value)) + 1).min(text.len());
    Ok(splice(text, start..end, ""))
}

fn plain(value: &Value) -> edit::Value {
    match value {
        Value::Text(text) => edit::Value::text(text),
        Value::Flag(flag) => edit::Value::Flag(*flag),
        Value::List(items) => edit::Value::List(items.iter().map(edit::Value::text).collect()),
        Value::Map(entries) => edit::Value::map(entries.iter().map(|(key, value)| (key, edit::Value::text(value)))),
    }
}
