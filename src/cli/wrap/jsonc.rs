//! JSON with comments and trailing commas, as clients write and read it.

use anyhow::{Context, anyhow};
use jsonc_parser::common::Ranged as _;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};

use super::tree::{Change, Data, Member, Node, Value};

fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_loose_object_property_names: false,
        allow_trailing_commas: true,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// An empty text is an empty object.
pub fn read(text: &str) -> anyhow::Result<Node> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options()).map_err(|error| fault(&error))?;
    Ok(parsed.value.as_ref().map_or(Node { span: 0..0, data: Data::Map(Vec::new()) }, node))
}

/// Without the text, which may hold a key.
fn fault(error: &jsonc_parser::errors::ParseError) -> anyhow::Error {
    anyhow!("line {}, column {}: this is not JSON: {}", error.line_display(), error.column_display(), error.kind())
}

fn node(value: &ast::Value<'_>) -> Node {
    let range = value.range();
    let data = match value {
        ast::Value::StringLit(text) => Data::Text(text.value.to_string()),
        ast::Value::NumberLit(number) => Data::Other(number.value.to_owned()),
        ast::Value::BooleanLit(flag) => Data::Other(flag.value.to_string()),
        ast::Value::NullKeyword(_) => Data::Other("null".to_owned()),
        ast::Value::Array(array) => Data::List(array.elements.iter().map(node).collect()),
        ast::Value::Object(object) => {
            let member = |property: &ast::ObjectProp<'_>| Member {
                name: property.name.as_str().to_owned(),
                value: node(&property.value),
            };
            Data::Map(object.properties.iter().map(member).collect())
        }
    };
    Node { span: range.start..range.end, data }
}

pub fn change(text: &str, path: &[String], changes: &[Change]) -> anyhow::Result<String> {
    let root = CstRootNode::parse(text, &options()).map_err(|error| fault(&error))?;
    let mut entry = root.object_value().context("the file is no object")?;
    for name in path {
        entry = entry.object_value(name).with_context(|| format!("`{name}` is no object"))?;
    }
    for change in changes {
        match (entry.get(change.key()), change) {
            (Some(there), Change::Set(_, value)) => there.set_value(input(value)),
            (None, Change::Set(key, value)) => drop(entry.append(key, input(value))),
            (Some(there), Change::Remove(_)) => there.remove(),
            (None, Change::Remove(_)) => {}
        }
    }
    Ok(root.to_string())
}

pub fn insert(text: &str, path: &[String], entry: &[(&'static str, Value)]) -> anyhow::Result<String> {
    let root = CstRootNode::parse(text, &options()).map_err(|error| fault(&error))?;
    if let Some(changed) = on_one_line(text, path, entry)? {
        return Ok(changed);
    }
    let (name, way) = path.split_last().context("an entry has a name")?;
    let mut at: CstObject = root.object_value_or_create().context("the file is no object")?;
    for name in way {
        at = at.object_value_or_create(name).with_context(|| format!("`{name}` is no object"))?;
    }
    let members = entry.iter().map(|(key, value)| ((*key).to_owned(), input(value))).collect();
    at.append(name, CstInputValue::Object(members));
    Ok(root.to_string())
}

/// Into an object that is written on one line, which stays one line: nothing that is there moves.
fn on_one_line(text: &str, path: &[String], entry: &[(&'static str, Value)]) -> anyhow::Result<Option<String>> {
    let root = read(text)?;
    let (mut object, mut rest) = (&root, path);
    while let Some((inner, names)) = rest.split_first().and_then(|(name, names)| Some((object.get(name)?, names))) {
        (object, rest) = (inner, names);
    }
    let Some(last) = object.members().last() else { return Ok(None) };
    let (end, said) = (last.value.span.end, text.get(object.span.clone()).unwrap_or_default());
    if said.contains('\n') || rest.is_empty() {
        return Ok(None);
    }
    let comma = text.get(end..object.span.end).and_then(|rest| rest.find(','));
    let (at, before) = comma.map_or((end, ", "), |comma| (end + comma + 1, " "));
    let members = entry.iter().map(|(key, value)| Ok(format!("{}: {}", spelled(key)?, one_line(value)?)));
    let entry = format!("{{{}}}", members.collect::<anyhow::Result<Vec<_>>>()?.join(", "));
    let mut names = rest.iter().rev();
    let name = names.next().context("an entry has a name")?;
    let mut added = format!("{}: {entry}", spelled(name)?);
    for name in names {
        added = format!("{}: {{{added}}}", spelled(name)?);
    }
    let (head, tail) = (text.get(..at).unwrap_or_default(), text.get(at..).unwrap_or_default());
    Ok(Some(format!("{head}{before}{added}{tail}")))
}

fn one_line(value: &Value) -> anyhow::Result<String> {
    Ok(match value {
        Value::Text(text) => spelled(text)?,
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => serde_json::to_string(items)?,
        Value::Map(entries) => {
            let entry = |(key, value): &(String, String)| Ok(format!("{}: {}", spelled(key)?, spelled(value)?));
            format!("{{{}}}", entries.iter().map(entry).collect::<anyhow::Result<Vec<_>>>()?.join(", "))
        }
    })
}

fn spelled(text: &str) -> anyhow::Result<String> {
    Ok(serde_json::to_string(text)?)
}

pub fn remove(text: &str, path: &[String]) -> anyhow::Result<String> {
    let root = CstRootNode::parse(text, &options()).map_err(|error| fault(&error))?;
    let (name, way) = path.split_last().context("an entry has a name")?;
    let mut at = root.object_value().context("the file is no object")?;
    for name in way {
        at = at.object_value(name).with_context(|| format!("`{name}` is no object"))?;
    }
    at.get(name).context("the entry is not there")?.remove();
    Ok(root.to_string())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Text(text) => CstInputValue::String(text.clone()),
        Value::Flag(flag) => CstInputValue::Bool(*flag),
        Value::List(items) => CstInputValue::Array(items.iter().cloned().map(CstInputValue::String).collect()),
        Value::Map(entries) => CstInputValue::Object(
            entries.iter().map(|(key, value)| (key.clone(), CstInputValue::String(value.clone()))).collect(),
        ),
    }
}
