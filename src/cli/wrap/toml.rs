//! TOML, as Codex writes and reads it. An entry is a table with its own tables right behind it, or an inline table.

use std::ops::Range;

use anyhow::{Context, anyhow, bail};
use toml_edit::{Document, Item, Key, Table, TableLike, Value as Toml};

use super::tree::{Change, Data, Member, Node, Value};
use crate::config::edit::{line_end, line_start, newline};

const SPREAD: &str = "its tables do not stand together: move them under its own";

fn parse(text: &str) -> anyhow::Result<Document<&str>> {
    Document::parse(text).map_err(|error| {
        // Its own words have the line of the file in them, which may hold a key.
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        anyhow!("line {line}: this is not TOML: {}", error.message())
    })
}

pub fn read(text: &str) -> anyhow::Result<Node> {
    Ok(table(text, parse(text)?.as_table()))
}

fn table(text: &str, table: &dyn TableLike) -> Node {
    let member = |(name, item): (&str, &Item)| Member { name: name.to_owned(), value: node(text, item) };
    Node { span: 0..0, data: Data::Map(table.iter().map(member).collect()) }
}

fn node(text: &str, item: &Item) -> Node {
    let span = item.span().unwrap_or(0..0);
    let data = match item {
        Item::None => Data::Other(String::new()),
        Item::Table(inner) => table(text, inner).data,
        Item::ArrayOfTables(tables) => Data::List(tables.iter().map(|inner| table(text, inner)).collect()),
        Item::Value(value) => return self::value(text, value),
    };
    Node { span, data }
}

fn value(text: &str, value: &Toml) -> Node {
    let span = value.span().unwrap_or(0..0);
    let data = match value {
        Toml::String(text) => Data::Text(text.value().clone()),
        Toml::Array(items) => Data::List(items.iter().map(|item| self::value(text, item)).collect()),
        Toml::InlineTable(inner) => table(text, inner).data,
        Toml::Integer(_) | Toml::Float(_) | Toml::Boolean(_) | Toml::Datetime(_) => {
            Data::Other(text.get(span.clone()).unwrap_or_default().to_owned())
        }
    };
    Node { span, data }
}

fn find<'t>(root: &'t Table, path: &[String]) -> anyhow::Result<&'t Item> {
    let (first, rest) = path.split_first().context("an entry has a name")?;
    let first = root.get(first).context("the entry is not there")?;
    rest.iter().try_fold(first, |item, name| item.as_table_like()?.get(name)).context("the entry is not there")
}

pub fn region(text: &str, path: &[String]) -> anyhow::Result<Range<usize>> {
    let document = parse(text)?;
    match find(document.as_table(), path)? {
        Item::Value(Toml::InlineTable(inner)) => inner.span().context(SPREAD),
        Item::Table(table) => lines(text, &document, table),
        Item::None | Item::Value(_) | Item::ArrayOfTables(_) => bail!("the entry is no table"),
    }
}

/// From the header to the end of the last line that says something.
fn lines(text: &str, document: &Document<&str>, table: &Table) -> anyhow::Result<Range<usize>> {
    let header = table.span().filter(|span| !span.is_empty() && !table.is_dotted() && !table.is_implicit());
    let start = header.context("it has no header of its own: write it as a table, [mcp_servers.NAME]")?.start;
    let (mut own, mut all) = (Vec::new(), Vec::new());
    headers(table, &mut own);
    headers(document.as_table(), &mut all);
    let end = line_end(text, last(table));
    let foreign = all.iter().any(|at| (start..end).contains(at) && !own.contains(at));
    if foreign || own.iter().any(|at| !(start..end).contains(at)) {
        bail!(SPREAD);
    }
    Ok(start..end)
}

/// Where the headers of a table and of those in it stand.
fn headers(table: &Table, out: &mut Vec<usize>) {
    let own = table.span().filter(|span| !span.is_empty() && !table.is_implicit() && !table.is_dotted());
    out.extend(own.map(|span| span.start));
    for (_, item) in table {
        match item {
            Item::Table(inner) => headers(inner, out),
            Item::ArrayOfTables(tables) => tables.iter().for_each(|inner| headers(inner, out)),
            Item::None | Item::Value(_) => {}
        }
    }
}

/// The end of what a table says last.
fn last(table: &Table) -> usize {
    let own = table.span().filter(|_| !table.is_implicit()).map_or(0, |span| span.end);
    let inner = table.iter().map(|(_, item)| match item {
        Item::Table(inner) => last(inner),
        Item::ArrayOfTables(tables) => tables.iter().map(last).max().unwrap_or(0),
        Item::None | Item::Value(_) => item.span().map_or(0, |span| span.end),
    });
    inner.fold(own, usize::max)
}

pub fn change(text: &str, path: &[String], changes: &[Change]) -> anyhow::Result<String> {
    let document = parse(text)?;
    match find(document.as_table(), path)? {
        Item::Value(Toml::InlineTable(inner)) => {
            let span = inner.span().context(SPREAD)?;
            Ok(splice(text, vec![(span, inline(text, inner, changes))]))
        }
        Item::Table(table) => {
            let region = lines(text, &document, table)?;
            let edits = changes.iter().map(|change| edit(text, &region, table, change));
            let changed = splice(text, edits.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect());
            // The last line of the text has no line break, and so no half of one either.
            let whole = text.ends_with('\n');
            Ok(if whole { changed } else { changed.trim_end_matches('\r').to_owned() })
        }
        Item::None | Item::Value(_) | Item::ArrayOfTables(_) => bail!("the entry is no table"),
    }
}

type Edit = (Range<usize>, String);

/// The last edit first, so that places stay what they are.
fn splice(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let mut out = text.to_owned();
    for (span, with) in edits.into_iter().rev() {
        out.replace_range(span, &with);
    }
    out
}

fn edit(text: &str, region: &Range<usize>, table: &Table, change: &Change) -> anyhow::Result<Vec<Edit>> {
    let there = table.get_key_value(change.key());
    let header = line_end(text, region.start);
    Ok(match (there, change) {
        (None, Change::Remove(_)) => Vec::new(),
        (None, Change::Set(key, value)) => vec![(header..header, behind(text, header, key, value))],
        (Some((_, Item::Value(old))), Change::Set(_, value)) if !key_is_dotted(old) => {
            vec![(old.span().context(SPREAD)?, written(value))]
        }
        (Some((_, item)), Change::Set(key, value)) => {
            let gone = member(text, region, table, key, item)?;
            vec![(gone, String::new()), (header..header, behind(text, header, key, value))]
        }
        (Some((_, item)), Change::Remove(key)) => vec![(member(text, region, table, key, item)?, String::new())],
    })
}

/// `a.b = 1` is a value inside a table that nobody wrote.
fn key_is_dotted(value: &Toml) -> bool {
    matches!(value, Toml::InlineTable(inner) if inner.is_dotted())
}

/// A line behind another one.
fn behind(text: &str, at: usize, key: &str, value: &Value) -> String {
    let newline = newline(text);
    // Before the line break, of which the first half may stand before `at`.
    if text.get(..at).is_some_and(|before| before.ends_with('\r')) {
        format!("\n{key} = {}\r", written(value))
    } else {
        format!("{newline}{key} = {}", written(value))
    }
}

/// The lines of a member, with the comments above it: from the end of what stands before it to its own end.
fn member(text: &str, region: &Range<usize>, table: &Table, name: &str, item: &Item) -> anyhow::Result<Range<usize>> {
    let (start, end) = match item {
        Item::Value(value) if !key_is_dotted(value) => {
            let key = table.get_key_value(name).and_then(|(key, _)| Key::span(key)).context(SPREAD)?;
            (key.start, value.span().context(SPREAD)?.end)
        }
        Item::Table(inner) if !inner.is_dotted() => {
            let mut headers = Vec::new();
            self::headers(inner, &mut headers);
            (headers.into_iter().min().context(SPREAD)?, last(inner))
        }
        _ => bail!("`{name}` is written with dots: write it as {name} = {{ ... }}"),
    };
    let mut ends = vec![line_end(text, region.start)];
    ends_in(table, &mut ends);
    let before = ends.into_iter().filter(|at| *at <= start).max().context(SPREAD)?;
    Ok(line_end(text, before)..line_end(text, end))
}

fn ends_in(table: &Table, out: &mut Vec<usize>) {
    out.extend(table.span().filter(|_| !table.is_implicit()).map(|span| span.end));
    for (_, item) in table {
        match item {
            Item::Table(inner) => ends_in(inner, out),
            Item::ArrayOfTables(tables) => tables.iter().for_each(|inner| ends_in(inner, out)),
            Item::None | Item::Value(_) => out.extend(item.span().map(|span| span.end)),
        }
    }
}

/// An inline table with its other members as they are spelled.
fn inline(text: &str, table: &toml_edit::InlineTable, changes: &[Change]) -> String {
    let changed = |name: &str| changes.iter().any(|change| change.key() == name);
    let set = changes.iter().filter_map(|change| match change {
        Change::Set(key, value) => Some(format!("{key} = {}", written(value))),
        Change::Remove(_) => None,
    });
    let kept = table.iter().filter(|(name, _)| !changed(name)).map(|(name, value)| {
        let spelled = value.span().and_then(|span| text.get(span)).unwrap_or_default();
        format!("{} = {spelled}", Key::new(name).display_repr())
    });
    format!("{{ {} }}", set.chain(kept).collect::<Vec<_>>().join(", "))
}

pub fn insert(text: &str, path: &[String], entry: &[(&'static str, Value)]) -> anyhow::Result<String> {
    parse(text)?;
    let newline = newline(text);
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { newline };
    let blank = if text.is_empty() { "" } else { newline };
    let header: Vec<String> = path.iter().map(|name| Key::new(name).display_repr().into_owned()).collect();
    let lines: Vec<String> = entry.iter().map(|(key, value)| format!("{key} = {}{newline}", written(value))).collect();
    Ok(format!("{text}{gap}{blank}[{}]{newline}{}", header.join("."), lines.concat()))
}

/// The lines of the entry, and the empty one before it.
pub fn remove(text: &str, path: &[String]) -> anyhow::Result<String> {
    let region = region(text, path)?;
    if line_start(text, region.start) != region.start {
        bail!("the entry is an inline table: remove it by hand");
    }
    let before = text.get(..region.start).unwrap_or_default();
    let newline = newline(text);
    let before = before.strip_suffix(newline).filter(|rest| rest.is_empty() || rest.ends_with('\n')).unwrap_or(before);
    let after = text.get(region.end..).unwrap_or_default();
    Ok(format!("{before}{}", after.strip_prefix('\n').unwrap_or(after)))
}

fn written(value: &Value) -> String {
    let text = |text: &str| Toml::from(text).to_string();
    match value {
        Value::Text(one) => text(one),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(|item| text(item)).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entry = |(key, value): &(String, String)| format!("{} = {}", Key::new(key).display_repr(), text(value));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}
