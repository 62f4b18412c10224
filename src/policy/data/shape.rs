//! The form of the data that the built-in policies read: strict, so that a misspelt word is an error with its place and
//! not a rule that never fires.
//!
//! Values are only looked at; the merge keeps its own. `policies/README.md` describes the form.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::policy::problem::{PolicyErrors, Problem};
use crate::policy::source::Source;

/// Every 64-bit reader and every double has it exactly.
const MOST: u64 = 1 << 53;
const CLASSES: [&str; 5] = ["read", "write", "financial", "destructive", "unknown"];
/// Names of environments that the policies know by themselves.
const ENVIRONMENTS: [&str; 5] = ["production", "sandbox", "test", "development", "staging"];
/// Units of money, which may be limited by currency.
const MONEY: [&str; 2] = ["minor", "major"];

/// Checks what a file of the operator says to the families whose defaults these are. `environments` are the names in use;
/// none where they are not known.
///
/// # Errors
/// The first thing that is not of the form.
pub fn check(
    file: &Source,
    members: &Map<String, Value>,
    defaults: &Map<String, Value>,
    environments: &BTreeSet<String>,
) -> Result<(), PolicyErrors> {
    for document in ["environment", "destructive", "pins"] {
        let Some(value) = members.get(document).filter(|_| defaults.contains_key(document)) else { continue };
        // The readers below take nothing for an empty mapping.
        if let Some(name) = nothing(document, value) {
            let help = "write `{}` for an empty mapping, or take the name out";
            let problem = Problem::of_file(&file.name, "data", format!("`{name}` says nothing"), help);
            return Err(at_name(problem, file, name).into());
        }
        match document {
            "environment" => read::<EnvironmentDocument>(file, document)?,
            "pins" => read::<PinsDocument>(file, document)?,
            _ => read::<DestructiveDocument>(file, document)?,
        }
    }
    if defaults.contains_key("destructive") {
        rows(file, members, environments)?;
    }
    Ok(())
}

/// The name of a member whose value is `null`, at any depth.
fn nothing<'a>(name: &'a str, value: &'a Value) -> Option<&'a str> {
    match value {
        Value::Null => Some(name),
        Value::Object(members) => members.iter().find_map(|(name, value)| nothing(name, value)),
        Value::Array(items) => items.iter().find_map(|item| nothing(name, item)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// At the first place where this name stands as a key.
fn at_name(problem: Problem, file: &Source, name: &str) -> Problem {
    let place = regex::Regex::new(&format!(r#"(?m)(?:^|[\s{{,"'])({})["']?\s*:"#, regex::escape(name))).ok();
    let place = place.and_then(|place| place.captures(&file.text)?.get(1));
    place.map_or(problem.clone(), |place| problem.at_offset(place.start(), &file.text))
}

fn read<T: DeserializeOwned>(file: &Source, document: &str) -> Result<(), PolicyErrors> {
    let help = format!("policies/{document}.yaml has the form and the defaults; policies/README.md describes them");
    let problem = |message: &str, line, column| {
        // The reader says the place once more in its words.
        let message = message.split(" at line ").next().unwrap_or(message);
        Problem::of_file(&file.name, "data", message, help.clone()).at(line, column, &file.text)
    };
    if file.name.ends_with(".json") {
        let read = serde_json::from_str::<T>(&file.text).map(drop);
        return read.map_err(|error| problem(&error.to_string(), error.line(), error.column()).into());
    }
    serde_yaml::from_str::<T>(&file.text).map(drop).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        problem(&error.to_string(), line, column).into()
    })
}

/// A row for an environment that no server has is misspelt.
fn rows(file: &Source, members: &Map<String, Value>, environments: &BTreeSet<String>) -> Result<(), PolicyErrors> {
    let tables = members.get("destructive").and_then(Value::as_object).into_iter().flat_map(Map::values);
    for name in tables.filter_map(Value::as_object).flat_map(Map::keys) {
        if environments.is_empty() || environments.contains(name) || ENVIRONMENTS.contains(&name.as_str()) {
            continue;
        }
        let known: BTreeSet<&str> = ENVIRONMENTS.into_iter().chain(environments.iter().map(String::as_str)).collect();
        let help = format!("there are {}", known.into_iter().collect::<Vec<_>>().join(", "));
        let problem = Problem::of_file(&file.name, "data", format!("no server is in an environment `{name}`"), help);
        return Err(at_name(problem, file, name).into());
    }
    Ok(())
}

#[derive(Deserialize)]
struct EnvironmentDocument {
    #[serde(default, rename = "environment")]
    _environment: Checked<Environment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Environment {
    #[serde(default, rename = "accounts")]
    _accounts: Checked<Table<ServerName, Vec<String>>>,
    #[serde(default, rename = "environments")]
    _environments: Checked<Table<ServerName, Vec<String>>>,
}

#[derive(Deserialize)]
struct DestructiveDocument {
    #[serde(default, rename = "destructive")]
    _destructive: Checked<Destructive>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destructive {
    #[serde(default, rename = "needs")]
    _needs: Checked<Table<EnvironmentName, Table<ClassName, Need>>>,
    #[serde(default, rename = "limits")]
    _limits: Checked<Table<EnvironmentName, Table<Limited, Limit>>>,
    #[serde(default, rename = "one_operator")]
    _one_operator: Checked<Table<EnvironmentName, Table<Limited, Limit>>>,
}

#[derive(Deserialize)]
struct PinsDocument {
    #[serde(default, rename = "pins")]
    _pins: Checked<Pins>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    #[serde(default, rename = "needs")]
    _needs: Checked<PinNeeds>,
    #[serde(default, rename = "schema")]
    _schema: Checked<SchemaNeeds>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinNeeds {
    #[serde(default, rename = "changed")]
    _changed: Checked<PinNeed>,
    #[serde(default, rename = "unpinned")]
    _unpinned: Checked<PinNeed>,
    #[serde(default, rename = "unknown")]
    _unknown: Checked<PinNeed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaNeeds {
    #[serde(default, rename = "unusable")]
    _unusable: Checked<PinNeed>,
    #[serde(default, rename = "partial")]
    _partial: Checked<PinNeed>,
    #[serde(default, rename = "checked")]
    _checked: Checked<PinNeed>,
    #[serde(default, rename = "none")]
    _none: Checked<PinNeed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum PinNeed {
    Pass,
    Low,
    Medium,
    High,
    Deny,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Need {
    Pass,
    Low,
    Medium,
    High,
}

/// A value of that form, or nothing at all: `null` is no way to leave it out.
struct Checked<T>(PhantomData<T>);

impl<T> Default for Checked<T> {
    fn default() -> Checked<T> {
        Checked(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checked<T>, D::Error> {
        T::deserialize(deserializer).map(|_| Checked(PhantomData))
    }
}

/// The names that a table may have.
trait Name {
    /// What is expected, where the name is not one.
    fn wrong(name: &str) -> Option<String>;
}

struct ClassName;
struct EnvironmentName;
struct ServerName;
/// An operation, or a class of which something may be let through.
struct Limited;
struct Currency;

impl Name for ClassName {
    fn wrong(name: &str) -> Option<String> {
        (!CLASSES.contains(&name)).then(|| format!("a class is one of {}", CLASSES.join(", ")))
    }
}

fn is_plain(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(valid)
}

impl Name for EnvironmentName {
    fn wrong(name: &str) -> Option<String> {
        (!is_plain(name)).then(|| "the name of an environment has a-z, 0-9, `_` and `-`".to_owned())
    }
}

impl Name for ServerName {
    fn wrong(name: &str) -> Option<String> {
        (!is_plain(name)).then(|| "the name of a server has a-z, 0-9, `_` and `-`".to_owned())
    }
}

impl Name for Limited {
    fn wrong(name: &str) -> Option<String> {
        match name {
            "read" | "unknown" => Some("of this class nothing is known that could be limited".to_owned()),
            "" => Some("name an operation or a class".to_owned()),
            _ => None,
        }
    }
}

impl Name for Currency {
    fn wrong(name: &str) -> Option<String> {
        let valid = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_lowercase());
        (!valid).then(|| "a currency has three small letters, as in usd".to_owned())
    }
}

/// A mapping from such names, none of them twice.
struct Table<N, T>(PhantomData<(N, T)>);

impl<'de, N: Name, T: Deserialize<'de>> Deserialize<'de> for Table<N, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Table<N, T>, D::Error> {
        deserializer.deserialize_map(Rows(PhantomData))
    }
}

struct Rows<N, T>(PhantomData<(N, T)>);

impl<'de, N: Name, T: Deserialize<'de>> Visitor<'de> for Rows<N, T> {
    type Value = Table<N, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Table<N, T>, A::Error> {
        while members.next_key_seed(NameOf::<N>(PhantomData))?.is_some() {
            members.next_value::<T>()?;
        }
        Ok(Table(PhantomData))
    }
}

/// Reads a name. As a reader of its own, so that the error gets the name's place.
struct NameOf<N>(PhantomData<N>);

impl<'de, N: Name> DeserializeSeed<'de> for NameOf<N> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<N: Name> Visitor<'_> for NameOf<N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        N::wrong(name).map_or(Ok(()), |expected| Err(E::custom(format!("`{name}` cannot stand here: {expected}"))))
    }
}

/// The most of each unit: a number, or for money numbers by currency.
struct Limit;

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limit, D::Error> {
        deserializer.deserialize_map(Units)
    }
}

struct Units;

impl<'de> Visitor<'de> for Units {
    type Value = Limit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from units, as in { minor: 5000 } or { percent: 10 }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Limit, A::Error> {
        let mut any = false;
        while let Some(unit) = members.next_key::<String>()? {
            any = true;
            if MONEY.contains(&unit.as_str()) {
                members.next_value::<Most>()?;
            } else {
                members.next_value::<Number>()?;
            }
        }
        if any { Ok(Limit) } else { Err(A::Error::custom("a limit names at least one unit, as in { minor: 5000 }")) }
    }
}

struct Number;

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        deserializer.deserialize_any(Numbers { currencies: false }).map(|_| Number)
    }
}

struct Most;

impl<'de> Deserialize<'de> for Most {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Most, D::Error> {
        deserializer.deserialize_any(Numbers { currencies: true }).map(|_| Most)
    }
}

struct Numbers {
    currencies: bool,
}

impl<'de> Visitor<'de> for Numbers {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = if self.currencies { ", or such numbers by currency" } else { "" };
        write!(f, "a whole number from 1 to {MOST}{or}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        let within = (1..=MOST).contains(&number);
        if within { Ok(()) } else { Err(E::invalid_value(serde::de::Unexpected::Unsigned(number), &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        if !self.currencies {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        }
        Rows::<Currency, Number>(PhantomData).visit_map(members).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::merge;
    use super::*;

    fn problem(name: &str, text: &str) -> Option<Problem> {
        let defaults = [
            Source { name: "d.yaml".into(), text: include_str!("../../../policies/destructive.yaml").into() },
            Source { name: "e.yaml".into(), text: include_str!("../../../policies/environment.yaml").into() },
            Source { name: "p.yaml".into(), text: include_str!("../../../policies/pins.yaml").into() },
        ];
        let environments = BTreeSet::from(["production".to_owned(), "prod-eu".to_owned()]);
        let file = Source { name: name.to_owned(), text: text.to_owned() };
        merge(&defaults, &[file], &environments).err().map(|errors| errors.problems()[0].clone())
    }

    #[test]
    fn the_defaults_have_the_form() {
        assert_eq!(problem("a.yaml", include_str!("../../../policies/destructive.yaml")), None);
        assert_eq!(problem("a.yaml", include_str!("../../../policies/environment.yaml")), None);
        assert_eq!(problem("a.yaml", include_str!("../../../policies/pins.yaml")), None);
    }

    #[test]
    fn what_data_may_say() {
        let text = "destructive:
  needs:
    prod-eu: { write: pass, read: low }
    staging: { unknown: high }
  limits:
    sandbox: { create_refund: { minor: { usd: 500, eur: 450 }, percent: 10 }, financial: { minor: 1000 } }
  one_operator:
    production: { financial: { major: 100 }, destructive: { count: 1 } }
environment:
  accounts: { stripe: [acct_1] }
mine: { anything: [1, null] }
";
        assert_eq!(problem("a.yaml", text), None);
        assert_eq!(problem("a.json", r#"{"destructive": {"limits": {"sandbox": {"x": {"minor": 5}}}}}"#), None);
    }

    #[test]
    fn a_misspelt_word_is_an_error_at_its_place() {
        for (text, line, column, part) in [
            ("destructive:\n  needs:\n    production: { finacial: high }\n", 3, 19, "finacial"),
            ("destructive:\n  needs:\n    production: { write: hihg }\n", 3, 26, "hihg"),
            ("destructive:\n  needs:\n    prodction: { write: high }\n", 3, 5, "prodction"),
            ("destructive:\n  needs:\n    Production: { write: high }\n", 3, 5, "Production"),
            ("destructive:\n  limit:\n    production: {}\n", 2, 3, "limit"),
            ("destructive:\n  limits:\n    production: { unknown: { minor: 5 } }\n", 3, 19, "unknown"),
            ("destructive:\n  limits:\n    production: { x: { minor: { USD: 5 } } }\n", 3, 33, "USD"),
            ("environment:\n  account: {}\n", 2, 3, "account"),
            ("pins:\n  needs: { changd: high }\n", 2, 12, "changd"),
            ("pins:\n  needs: { unpinned: hihg }\n", 2, 22, "hihg"),
            ("pins:\n  shema: {}\n", 2, 3, "shema"),
            ("pins:\n  schema: { partly: deny }\n", 2, 13, "partly"),
            ("environment:\n  accounts: { Stripe: [] }\n", 2, 15, "Stripe"),
        ] {
            let problem = problem("a.yaml", text).expect(text);
            assert!(problem.message.contains(part), "{problem}");
            assert_eq!((problem.line, problem.column), (line, column), "{problem}");
        }
    }

    #[test]
    fn a_limit_is_a_whole_number_in_a_unit() {
        for limit in [
            "5",
            "{}",
            "null",
            "[5]",
            "{minor: 0}",
            "{minor: -5}",
            "{minor: 0.5}",
            "{minor: '5'}",
            "{minor: null}",
            "{minor: 9007199254740993}",
            "{minor: 1e400}",
            "{minor: {usd: '5'}}",
            "{percent: {usd: 5}}",
            "{minor: [5]}",
            "{minor: true}",
        ] {
            for table in ["limits", "one_operator"] {
                let text = format!("destructive:\n  {table}:\n    sandbox:\n      create_refund: {limit}\n");
                let problem = problem("a.yaml", &text).expect(limit);
                assert!(problem.line == 4, "{limit}: {problem}");
            }
        }
    }

    #[test]
    fn nothing_is_no_way_to_leave_a_table_out() {
        for text in [
            "destructive:\n",
            "destructive: { needs: }\n",
            "destructive: { needs: { sandbox: } }\n",
            "environment: []\n",
        ] {
            let problem = problem("a.yaml", text).expect(text);
            assert!(problem.line == 1, "{problem}");
        }
        let json =
            problem("a.json", "{\n  \"destructive\": {\"needs\": {\"sandbox\": {\"write\": \"none\"}}}\n}").unwrap();
        assert!(json.line == 2 && json.message.contains("none"), "{json}");
    }
}
