//! The numbers that a set of policies may compare a call with: those of its data, and those that stand in the operator's
//! rules. Where a limit is, a call on either side of it shows what it does.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::super::problem::PolicyErrors;
use super::super::{Settings, data, source};

/// A number as it is written, and the currency that it is for where the data says one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Number {
    pub text: String,
    pub currency: Option<String>,
}

/// Sets with more numbers than that are not about limits of calls alone.
const MOST: usize = 200;

static WRITTEN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b[0-9]{1,15}(\.[0-9]{1,6})?\b").ok());

/// # Errors
/// Where the files cannot be read.
pub fn numbers(settings: &Settings) -> Result<BTreeSet<Number>, PolicyErrors> {
    let mut sources = source::builtin(&settings.builtin)?;
    let own = source::read(&settings.paths)?;
    let mut found = BTreeSet::new();
    for line in own.policies.iter().flat_map(|file| file.text.lines()) {
        let code = line.split('#').next().unwrap_or_default();
        let written = WRITTEN.iter().flat_map(|written| written.find_iter(code));
        found.extend(written.map(|number| Number { text: number.as_str().to_owned(), currency: None }));
    }
    sources.add(own);
    walk(&data::merge(&sources.defaults, &sources.data, &settings.environments)?, None, &mut found);
    Ok(found.into_iter().take(MOST).collect())
}

/// A value in the data of two sets that is not the same in both.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Differs {
    /// A JSON pointer into `data`.
    pub path: String,
    /// Absent where the set has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// What the data of two sets has otherwise, with the defaults of the built-in families; lists as a whole.
///
/// # Errors
/// Where the files cannot be read.
pub fn differences(old: &Settings, new: &Settings) -> Result<Vec<Differs>, PolicyErrors> {
    let mut found = Vec::new();
    compare(Some(&merged(old)?), Some(&merged(new)?), String::new(), &mut found);
    Ok(found)
}

fn merged(settings: &Settings) -> Result<Value, PolicyErrors> {
    let mut sources = source::builtin(&settings.builtin)?;
    sources.add(source::read(&settings.paths)?);
    data::merge(&sources.defaults, &sources.data, &settings.environments)
}

fn compare(old: Option<&Value>, new: Option<&Value>, path: String, found: &mut Vec<Differs>) {
    if old == new {
        return;
    }
    let members = |value: Option<&Value>| match value {
        Some(Value::Object(members)) => Some(members.clone()),
        None => Some(serde_json::Map::new()),
        Some(_) => None,
    };
    match (members(old), members(new)) {
        // At least one is a mapping: what is in it, value by value.
        (Some(before), Some(after)) if !(before.is_empty() && after.is_empty()) => {
            for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                compare(before.get(name), after.get(name), path, found);
            }
        }
        (_, _) => found.push(Differs { path, old: old.cloned(), new: new.cloned() }),
    }
}

fn walk(value: &Value, name: Option<&str>, found: &mut BTreeSet<Number>) {
    match value {
        Value::Number(number) => {
            let currency = name.filter(|name| name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_lowercase()));
            let currency = currency.filter(|name| *name != "any" && *name != "day").map(str::to_owned);
            found.insert(Number { text: number.to_string(), currency });
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, None, found)),
        Value::Object(members) => members.iter().for_each(|(name, value)| walk(value, Some(name), found)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

impl Number {
    /// It, the next below and the next above: whole ones where it is whole.
    pub fn around(&self) -> Vec<Value> {
        if let Ok(whole) = self.text.parse::<i64>() {
            return [whole.saturating_sub(1), whole, whole.saturating_add(1)].map(Value::from).to_vec();
        }
        let Ok(number) = self.text.parse::<f64>() else { return Vec::new() };
        [number - 0.01, number, number + 0.01].map(Value::from).to_vec()
    }
}
