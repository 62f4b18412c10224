//! The form of a catalog file: strict YAML. A key that is not known, a key that stands twice, a pointer or a class that
//! is none: each is an error with its place.
//!
//! The form is documented in `policies/README.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::evidence::{ConfirmationFacts, Probe, Results};
use crate::call::Class;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(rename = "version")]
    _version: Version,
    pub vendor: Option<String>,
    #[serde(default)]
    pub keys: Keys,
    #[serde(default)]
    pub environment: Environment,
    /// Arguments that say that somebody agreed to the call.
    #[serde(default)]
    pub confirmations: Vec<ConfirmationFacts>,
    #[serde(default)]
    pub results: Results,
    /// Reads that show where a key works.
    #[serde(default)]
    pub probe: Vec<Probe>,
    /// Tools that read and have nothing else to say.
    #[serde(default)]
    pub reads: Vec<String>,
    #[serde(default)]
    pub tools: Unique<Facts>,
    /// Tools whose operation is chosen by an argument.
    #[serde(default)]
    pub dispatchers: Unique<Dispatcher>,
    #[serde(default)]
    pub operations: Operations,
}

/// What dispatchers may select.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operations {
    #[serde(default)]
    pub reads: Vec<String>,
    #[serde(default)]
    pub others: Unique<Facts>,
}

/// What the beginning of a key proves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    #[serde(default)]
    pub production: Vec<Prefix>,
    #[serde(default)]
    pub not_production: Vec<Prefix>,
}

/// Arguments that name the environment or the account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    pub mode: Option<ModeArgument>,
    #[serde(default)]
    pub account: Vec<Pointer>,
}

/// An argument whose value tells production from the rest. Any other value is a mode that fits nowhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeArgument {
    pub at: Pointer,
    /// JSON text of the value that means production.
    pub production: String,
    /// JSON text of the value that means anything else.
    pub test: String,
}

/// What is known about a tool or an operation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub class: Class,
    pub reversible: Option<bool>,
    pub money: Option<MoneyFacts>,
    #[serde(default)]
    pub targets: Vec<Pointer>,
    pub magnitude: Option<MagnitudeFacts>,
    pub effect: Option<String>,
}

impl Facts {
    pub fn of_class(class: Class) -> Facts {
        Facts { class, reversible: None, money: None, targets: Vec::new(), magnitude: None, effect: None }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoneyFacts {
    pub amount: Pointer,
    pub unit: Unit,
    pub currency: Option<Pointer>,
    /// What leaving the amount out means.
    pub absent: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MagnitudeFacts {
    /// The first that is there counts.
    pub value: Vec<Pointer>,
    pub unit: String,
    /// What leaving the value out means.
    pub absent: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Minor,
    Major,
}

impl Unit {
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Minor => "minor",
            Unit::Major => "major",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatcher {
    /// The argument that names the operation.
    pub selects: Pointer,
    /// Where the operation's own arguments are; absent: beside the selector.
    pub inside: Option<Pointer>,
    /// What the name of an operation must begin with to go through this tool.
    pub verbs: Vec<Prefix>,
}

/// `1`.
#[derive(Debug)]
pub struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Version),
            other => Err(D::Error::custom(format!("version {other} is not known: this program reads version 1"))),
        }
    }
}

/// A JSON pointer into the arguments; never the empty one.
#[derive(Clone, Debug)]
pub struct Pointer(pub String);

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pointer, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() < 2 || !text.starts_with('/') {
            return Err(D::Error::custom(format!("{text:?} is not a JSON pointer such as /amount")));
        }
        Ok(Pointer(text))
    }
}

/// The beginning of a key or a name; never empty, since everything begins with nothing.
#[derive(Clone, Debug)]
pub struct Prefix(pub String);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Prefix, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Err(D::Error::custom("an empty prefix fits everything")) } else { Ok(Prefix(text)) }
    }
}

/// A map in which no key stands twice: YAML readers otherwise take the last.
#[derive(Clone, Debug)]
pub struct Unique<T>(pub BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Unique<T> {
        Unique(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique<T>, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Unique<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique<T>, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(name) = members.next_key_seed(NewKey(&map))? {
            map.insert(name, members.next_value()?);
        }
        Ok(Unique(map))
    }
}

/// Reads a key that is not there yet. As a reader of its own, so that the error gets the key's place.
struct NewKey<'a, T>(&'a BTreeMap<String, T>);

impl<'de, T> DeserializeSeed<'de> for NewKey<'_, T> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T> Visitor<'_> for NewKey<'_, T> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        if self.0.contains_key(name) {
            return Err(E::custom(format!("duplicate key `{name}`")));
        }
        Ok(name.to_owned())
    }
}
