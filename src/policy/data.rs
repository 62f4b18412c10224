//! Data documents: strict YAML and JSON, merged into the one document that rules see as `data`. The operator's data
//! overrides the built-in defaults value by value; two files of the operator may not disagree.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::problem::{PolicyErrors, Problem};
use super::source::Source;
use crate::json::{JsonText, Rules};

mod budgets;
mod shape;

/// Merges defaults and the operator's files. `environments` are the names of those in use; none where they are not known.
///
/// # Errors
/// Text that is not strict YAML or JSON, two files that disagree, data under `countersign`, where rules live, or data for
/// a built-in family that has not its form.
pub fn merge(defaults: &[Source], files: &[Source], environments: &BTreeSet<String>) -> Result<Value, PolicyErrors> {
    let mut merged = Map::new();
    for file in defaults {
        add(&mut merged, document(file)?, "")
            .map_err(|path| Problem::of_file(&file.name, "data", format!("two defaults for {path}"), "keep one"))?;
    }
    let mut operators = Map::new();
    for file in files {
        let members = document(file)?;
        shape::check(file, &members, &merged, environments)?;
        add(&mut operators, members, "").map_err(|path| {
            let help = "state each value in one file only";
            Problem::of_file(&file.name, "data", format!("another data file states {path} otherwise"), help)
        })?;
    }
    for file in files.iter().filter(|_| operators.contains_key("budgets")) {
        let servers = budgets::servers(file)?;
        if !servers.is_empty() && !merged.contains_key("budgets") {
            let help = "add `scopes` to policy.builtin, or call data of your own something else than `budgets`";
            return Err(Problem::of_file(&file.name, "data", "nothing keeps these budgets", help).into());
        }
    }
    override_with(&mut merged, operators);
    Ok(Value::Object(merged))
}

/// A server that a file states budgets for and that is not among those that there are.
///
/// # Errors
/// The first one: its budget would be none.
pub fn budgets_are_for(files: &[Source], known: &[String]) -> Result<(), PolicyErrors> {
    for file in files {
        if let Some(server) = budgets::servers(file)?.iter().find(|server| !known.contains(server)) {
            let at = file.text.find("budgets").unwrap_or(0);
            let at = file.text.get(at..).and_then(|rest| rest.find(server.as_str())).map_or(at, |offset| at + offset);
            let help = format!("there are {}", known.join(", "));
            let message = format!("a budget for the server {server:?}, which the configuration does not have");
            return Err(Problem::of_file(&file.name, "budget", message, help).at_offset(at, &file.text).into());
        }
    }
    Ok(())
}

/// The members of a file.
///
/// # Errors
/// Text that is not strict, and data where rules live.
pub fn document(file: &Source) -> Result<Map<String, Value>, PolicyErrors> {
    let value = if file.name.ends_with(".json") { json(file)? } else { yaml(file)? };
    let Value::Object(members) = value else {
        let help = "write `name: value` lines";
        return Err(Problem::of_file(&file.name, "data", "a data file must be a mapping", help).into());
    };
    if members.contains_key("countersign") {
        let message = "data may not stand under `countersign`: it would replace rules";
        return Err(Problem::of_file(&file.name, "data", message, "use another top-level name").into());
    }
    Ok(members)
}

fn json(file: &Source) -> Result<Value, PolicyErrors> {
    let text = JsonText::parse(file.text.as_bytes(), Rules::CLIENT).map_err(|error| {
        Problem::of_file(&file.name, "data", error.fault.to_string(), "write strict JSON")
            .at_offset(error.offset, &file.text)
    })?;
    serde_json::from_str(text.as_str())
        .map_err(|error| Problem::of_file(&file.name, "data", error.to_string(), "write strict JSON").into())
}

fn yaml(file: &Source) -> Result<Value, PolicyErrors> {
    let problem =
        |message: String| Problem::of_file(&file.name, "data", message, "write strict YAML without duplicate keys");
    let value: serde_yaml::Value = serde_yaml::from_str(&file.text).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        problem(error.to_string()).at(line, column, &file.text)
    })?;
    to_json(value, "").map_err(|message| problem(message).into())
}

/// Only what JSON can say: string keys, finite numbers, no tags.
fn to_json(value: serde_yaml::Value, path: &str) -> Result<Value, String> {
    Ok(match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => Value::Bool(value),
        serde_yaml::Value::Number(number) => {
            let json = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
            let json = json.or_else(|| number.as_f64().and_then(serde_json::Number::from_f64).map(Value::Number));
            json.ok_or_else(|| format!("{path}: not a finite number"))?
        }
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Sequence(items) => {
            let items = items.into_iter().enumerate().map(|(n, item)| to_json(item, &format!("{path}/{n}")));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        serde_yaml::Value::Mapping(members) => {
            let mut object = Map::new();
            for (key, value) in members {
                let serde_yaml::Value::String(key) = key else { return Err(format!("{path}: a key must be a string")) };
                let value = to_json(value, &format!("{path}/{key}"))?;
                object.insert(key, value);
            }
            Value::Object(object)
        }
        serde_yaml::Value::Tagged(_) => return Err(format!("{path}: tags are not allowed")),
    })
}

/// Adds members; a value that is there already must be the same.
fn add(into: &mut Map<String, Value>, from: Map<String, Value>, path: &str) -> Result<(), String> {
    for (key, value) in from {
        let path = format!("{path}/{key}");
        match (into.get_mut(&key), value) {
            (None, value) => {
                into.insert(key, value);
            }
            (Some(Value::Object(into)), Value::Object(from)) => add(into, from, &path)?,
            (Some(old), new) if *old == new => {}
            (Some(_), _) => return Err(path),
        }
    }
    Ok(())
}

fn override_with(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => override_with(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source { name: name.to_owned(), text: text.to_owned() }
    }

    fn refused(name: &str, text: &str) -> Problem {
        merge(&[], &[source(name, text)], &BTreeSet::new()).unwrap_err().problems()[0].clone()
    }

    #[test]
    fn the_operators_values_win_over_defaults_and_keep_the_rest() {
        let merged = merge(
            &[source("d.yaml", "needs: {read: pass, write: medium}\n")],
            &[source("a.yaml", "needs: {write: high}\n"), source("b.json", r#"{"limits": {"x": 1}}"#)],
            &BTreeSet::new(),
        );
        let expected = serde_json::json!({"needs": {"read": "pass", "write": "high"}, "limits": {"x": 1}});
        assert_eq!(merged.unwrap(), expected);
    }

    #[test]
    fn files_that_disagree_are_refused() {
        let files = [source("a.yaml", "x: {y: 1}"), source("b.yaml", "x: {y: 2}")];
        let errors = merge(&[], &files, &BTreeSet::new()).unwrap_err();
        assert!(errors.to_string().contains("/x/y"), "{errors}");
    }

    #[test]
    fn duplicates_and_data_over_policy_are_refused() {
        let duplicate = refused("a.yaml", "a: 1\nb: 2\na: 3\n");
        assert!(duplicate.line > 0 && duplicate.message.contains("duplicate"), "{duplicate}");
        assert!(refused("a.yaml", "x:\n  a: 1\n  a: 3\n").message.contains("duplicate"));
        let json = refused("a.json", "{\n  \"a\": 1,\n  \"a\": 2\n}");
        assert_eq!((json.line, json.column), (3, 3));
        assert!(refused("a.yaml", "countersign: {policy: {scopes: {allow: []}}}").message.contains("replace rules"));
        assert!(refused("a.yaml", "[1]").message.contains("mapping"));
        assert!(refused("a.yaml", "a: .nan").message.contains("finite"));
        assert!(refused("a.yaml", "1: a").message.contains("string"));
    }
}
