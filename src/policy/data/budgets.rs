//! `budgets` in a data file: read strictly, because a budget that is misspelt would be none.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::super::problem::{PolicyErrors, Problem};
use super::super::source::Source;
use crate::call::is_operation_name;

const CLASSES: [&str; 5] = ["read", "write", "financial", "destructive", "unknown"];
const HELP: &str = "write it as in `budgets: { stripe: { create_refund: { hour: { count: 5, sum: { eur: 50000 } } } } }`: \
                    server, operation, and for `minute`, `hour` or `day` a `count`, a `sum` by currency, or both";
/// Sums beyond this are not compared exactly.
const MOST: f64 = 1e15;

/// The part of a data file that is about budgets.
#[derive(Deserialize)]
struct File {
    budgets: Option<BTreeMap<String, BTreeMap<What, Budget>>>,
}

/// An operation, a pattern of operations, or a class.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct What(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    #[serde(default)]
    with: Vec<What>,
    minute: Option<Limit>,
    hour: Option<Limit>,
    day: Option<Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    count: Option<u64>,
    sum: Option<BTreeMap<Currency, Most>>,
}

/// Three letters, `none` or `any`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Currency;

struct Most;

impl<'de> Deserialize<'de> for What {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<What, D::Error> {
        let text = String::deserialize(from)?;
        if is_operation_name(&text) {
            return Ok(What(text));
        }
        Err(D::Error::custom(format!("{text:?} is no operation, no pattern with `*` and no class")))
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Currency, D::Error> {
        let text = String::deserialize(from)?;
        if text == "none" || text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Ok(Currency);
        }
        let known = "three letters in lower case, `none` (the call names none) or `any` (all together)";
        Err(D::Error::custom(format!("{text:?} is no currency: {known}")))
    }
}

impl<'de> Deserialize<'de> for Most {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Most, D::Error> {
        let most = f64::deserialize(from)?;
        if (0.0..=MOST).contains(&most) {
            return Ok(Most);
        }
        Err(D::Error::custom(format!("{most} is no limit: 0 to 10^15 is one")))
    }
}

/// The servers that a data file states budgets for.
///
/// # Errors
/// Whatever is not exactly a budget.
pub fn servers(file: &Source) -> Result<Vec<String>, PolicyErrors> {
    let problem = |message: String| Problem::of_file(&file.name, "budget", message, HELP);
    let placed = |message: String, line: usize, column: usize| problem(message).at(line, column, &file.text);
    let read: File = if file.name.ends_with(".json") {
        serde_json::from_str(&file.text).map_err(|error| placed(error.to_string(), error.line(), error.column()))?
    } else {
        serde_yaml::from_str(&file.text).map_err(|error| {
            let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
            placed(error.to_string(), line, column)
        })?
    };
    let budgets = read.budgets.unwrap_or_default();
    for (server, of) in &budgets {
        for (What(what), budget) in of {
            if let Some(message) = contradiction(what, budget) {
                // At the first mention of the name behind the server's.
                let from = file.text.find(server.as_str()).unwrap_or(0);
                let at = file.text.get(from..).and_then(|rest| rest.find(what.as_str())).map_or(from, |at| from + at);
                return Err(problem(message).at_offset(at, &file.text).into());
            }
        }
    }
    Ok(budgets.into_keys().collect())
}

fn contradiction(what: &str, budget: &Budget) -> Option<String> {
    let limits: Vec<&Limit> = [&budget.minute, &budget.hour, &budget.day].into_iter().flatten().collect();
    let says_nothing = |limit: &&Limit| limit.count.is_none() && limit.sum.as_ref().is_none_or(BTreeMap::is_empty);
    let class = CLASSES.contains(&what);
    if limits.is_empty() {
        return Some(format!("the budget {what:?} limits nothing: state `minute`, `hour` or `day`"));
    }
    if limits.iter().any(says_nothing) {
        return Some(format!("the budget {what:?} has a limit that says nothing: state `count` or `sum`"));
    }
    if class && limits.iter().any(|limit| limit.sum.is_some()) {
        let why = "the operations of a class may count in different units";
        return Some(format!("the budget for the class {what:?} cannot have a `sum`: {why}"));
    }
    let other_class = budget.with.iter().find(|What(with)| CLASSES.contains(&with.as_str()));
    if let Some(What(with)) = other_class {
        return Some(format!("the budget {what:?} cannot be shared `with` the class {with:?}"));
    }
    (class && !budget.with.is_empty()).then(|| format!("the budget for the class {what:?} cannot have `with`"))
}
