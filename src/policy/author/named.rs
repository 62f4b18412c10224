//! Operations that data and scopes name: those of budgets, of limits, and of what principals may. One that is misspelt
//! would be a budget for nothing, so it is compared with what is known about the server.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::problem::{PolicyErrors, Problem};
use super::super::{Settings, data, source};
use super::lint::{CLASSES, METHODS};
use crate::call::meant;

/// Names in the operator's data that no operation of the server has. `known` are the operations and tools of a server,
/// or of all of them together; `None` where they are not known.
///
/// # Errors
/// Files that cannot be read.
pub fn misnamed(
    settings: &Settings,
    known: impl Fn(Option<&str>) -> Option<BTreeSet<String>>,
) -> Result<Vec<Problem>, PolicyErrors> {
    let mut found = Vec::new();
    for file in source::read(&settings.paths)?.data {
        let members = data::document(&file)?;
        for (server, budgets) in object(members.get("budgets")) {
            let Some(known) = known(Some(server)) else { continue };
            for (what, budget) in object(Some(budgets)) {
                let with = budget.get("with").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
                for name in std::iter::once(what.as_str()).chain(with) {
                    let message = format!("a budget for `{name}`, and {server} has no such operation");
                    // It would be a limit that is never reached.
                    found.extend(problem((&file.name, &file.text), server, name, &known, message, true));
                }
            }
        }
        let Some(known) = known(None) else { continue };
        for table in ["limits", "one_operator"] {
            for (environment, limits) in object(members.get("destructive").and_then(|tables| tables.get(table))) {
                for (name, _) in object(Some(limits)) {
                    let message = format!("a limit for `{name}`, and no server has such an operation");
                    found.extend(problem((&file.name, &file.text), environment, name, &known, message, false));
                }
            }
        }
    }
    Ok(found)
}

/// Names in scopes, `SERVER/WHAT`, that no operation of the server has. `file` and its `text` are where they stand.
pub fn misnamed_scopes<'a>(
    file: &str,
    text: &str,
    scopes: impl IntoIterator<Item = &'a String>,
    known: impl Fn(Option<&str>) -> Option<BTreeSet<String>>,
) -> Vec<Problem> {
    let one = |scope: &'a String| {
        let (server, what) = scope.split_once('/')?;
        let known = known(Some(server).filter(|server| *server != "*"))?;
        let whose = if server == "*" { "no server has" } else { "its server does not have" };
        let message = format!("the scope {scope} is for an operation that {whose}: it covers nothing");
        problem((file, text), scope, what, &known, message, false)
    };
    scopes.into_iter().filter_map(one).collect()
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// At the first mention of the name behind that of its table.
fn problem(
    (file, text): (&str, &str),
    behind: &str,
    name: &str,
    known: &BTreeSet<String>,
    message: String,
    is_certain: bool,
) -> Option<Problem> {
    if known.contains(name) || name.contains('*') || CLASSES.contains(&name) || METHODS.contains(&name) {
        return None;
    }
    let meant = meant(name, known.iter().map(String::as_str));
    let help = meant.map_or_else(
        || "name an operation of the server's catalog, or a tool that it has listed".to_owned(),
        |meant| format!("did you mean `{meant}`?"),
    );
    let from = text.find(behind).unwrap_or(0);
    let at = text.get(from..).and_then(|rest| rest.find(name)).map_or(from, |at| from + at);
    let problem = Problem::of_file(file, "unknown-name", message, help);
    let problem = if text.is_empty() { problem } else { problem.at_offset(at, text) };
    Some(if is_certain && meant.is_some() { problem } else { problem.warning() })
}
