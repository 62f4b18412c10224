//! The form of a catalog file: strict YAML. A key that is not known, a key that stands twice, a pointer or a class that
//! is none: each is an error with its place.
//!
//! The form is documented in `policies/README.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::call::Class;

use super::condition::Conditions;
use super::evidence::{ConfirmationFacts, Probe, Results};
use super::pointer::Pointer;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(rename = "version")]
    _version: Version,
    pub vendor: Option<String>,
    /// What the beginning of a key says.
    #[serde(default)]
    pub keys: Vec<Key>,
    /// Arguments of every tool that name the environment or the account.
    #[serde(default)]
    pub environment: Reaches,
    /// Arguments that say that somebody agreed to the call.
    #[serde(default)]
    pub confirmations: Vec<ConfirmationFacts>,
    #[serde(default)]
    pub results: Results,
    /// Reads that show where a key works.
    #[serde(default)]
    pub probe: Vec<Probe>,
    /// Facts that entries take over with `like`.
    #[serde(default)]
    pub templates: Unique<Facts>,
    /// Tools that read and have nothing else to say.
    #[serde(default)]
    pub reads: Vec<String>,
    #[serde(default)]
    pub tools: Unique<Facts>,
    /// Tools whose operation depends on their arguments.
    #[serde(default)]
    pub dispatchers: Unique<Dispatcher>,
    /// Where handles come from, for dispatchers that take one.
    #[serde(default)]
    pub handles: Vec<HandleSource>,
    #[serde(default)]
    pub operations: Operations,
    /// The arguments that tools and operations are known to take.
    #[serde(default)]
    pub arguments: Unique<Vec<String>>,
}

/// What dispatchers may select.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operations {
    #[serde(default)]
    pub reads: Vec<String>,
    #[serde(default)]
    pub others: Unique<Facts>,
    /// From `METHOD /path` to the operation, where operations have names of their own.
    #[serde(default)]
    pub routes: Unique<String>,
    /// Header fields of requests that would move them to another account or environment.
    #[serde(default)]
    pub switches: Vec<String>,
    /// What the bodies of requests are to the API; absent: JSON.
    pub body: Option<Body>,
}

/// How an API reads the body of a request.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    #[default]
    Json,
    Form,
}

impl Body {
    pub fn as_str(self) -> &'static str {
        match self {
            Body::Json => "JSON",
            Body::Form => "a form",
        }
    }
}

/// The beginning of a key, and what it says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub prefix: Prefix,
    /// Absent where the form of the key does not tell.
    pub mode: Option<KeyMode>,
    /// What such a key is for, in a word or two.
    pub kind: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMode {
    Production,
    NotProduction,
}

/// Arguments that name the environment or the account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reaches {
    pub mode: Option<ModeArgument>,
    #[serde(default)]
    pub accounts: Vec<Pointer>,
    #[serde(default)]
    pub environments: Vec<Pointer>,
    /// What naming no environment means.
    pub absent: Option<Everywhere>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Everywhere {
    Everywhere,
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// A template or an operation whose facts count where this entry does not say otherwise.
    pub like: Option<String>,
    pub class: Option<Class>,
    pub reversible: Option<bool>,
    pub money: Option<MoneyFacts>,
    pub targets: Option<Vec<Pointer>>,
    pub magnitude: Option<MagnitudeFacts>,
    /// What money and magnitude do not count: a call that carries any of it is within no limit.
    pub unmeasured: Option<Vec<Pointer>>,
    /// Arguments that do no harm besides: where this is said, a call with any other that the entry leads to nowhere is
    /// within no limit.
    pub known: Option<Vec<String>>,
    pub environment: Option<Reaches>,
    /// When it is worse than `class` says.
    pub raises: Option<Vec<Raise>>,
    pub effect: Option<String>,
    /// For a tool: where the arguments are that the pointers lead into; absent: at the top.
    pub inside: Option<Places>,
    /// For a tool that runs code: its class where the operator trusts code whose requests are all judged.
    pub gated: Option<Class>,
}

impl Facts {
    pub fn of_class(class: Class) -> Facts {
        Facts { class: Some(class), ..Facts::default() }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raise {
    pub when: Conditions,
    pub class: Class,
    pub reversible: Option<bool>,
    /// Money and magnitude say how much of this a call does, too.
    #[serde(default)]
    pub measured: bool,
    pub effect: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoneyFacts {
    /// Several where a vendor knows several spellings; a call may carry one of them.
    pub amount: Places,
    pub unit: Unit,
    pub currency: Option<Currency>,
    /// What leaving the amount out means.
    pub absent: Option<String>,
    /// Leaving the amount out means that the call moves no money by it.
    #[serde(default)]
    pub optional: bool,
}

/// Where the currency is said, or the currency.
#[derive(Clone, Debug)]
pub enum Currency {
    At(Pointer),
    Always(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MagnitudeFacts {
    /// The largest of what is there counts.
    #[serde(default)]
    pub value: Vec<Pointer>,
    /// Lists whose items count, all together. Without these and `value` no call says it, and `absent` does.
    #[serde(default)]
    pub count: Vec<Pointer>,
    pub unit: String,
    /// Values count all together, and not the largest one alone.
    #[serde(default)]
    pub total: bool,
    /// What leaving the value out means.
    pub absent: Option<String>,
    /// Leaving the value out means that the call is not about it.
    #[serde(default)]
    pub optional: bool,
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
    #[serde(default)]
    pub by: By,
    /// The argument that selects the operation: its name, a choice, or a handle.
    pub selects: Pointer,
    /// Where the operation's own arguments are; absent: beside the selector.
    pub inside: Option<Places>,
    /// By name: what the name of an operation must begin with to go through this tool.
    #[serde(default)]
    pub verbs: Vec<Prefix>,
    /// By choice: from what the selector says to the argument that holds the operation's own, to the operation.
    #[serde(default)]
    pub choices: Unique<Unique<String>>,
    /// Classes of operations that go through this tool; absent: all.
    pub classes: Option<Vec<Class>>,
    /// Arguments that it takes besides the selector and what is inside; absent: any.
    pub beside: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    #[default]
    Name,
    Choice,
    Handle,
}

/// A tool whose answers say what handles do. The pointers lead into any object of the answer that has the handle, the
/// lane, and the operation or its method and path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandleSource {
    pub from: String,
    pub handle: Pointer,
    /// The dispatcher that takes the handle.
    pub lane: Pointer,
    pub operation: Pointer,
    /// Both or neither: where the answer has them, they say what the operation is.
    pub method: Option<Pointer>,
    pub path: Option<Pointer>,
}

/// One pointer or several.
#[derive(Clone, Debug)]
pub struct Places(pub Vec<Pointer>);

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Places, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Places;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON pointer or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Places, E> {
                let wrong = || E::custom(format!("{text:?} is not a JSON pointer such as /amount or /rules/*/name"));
                Ok(Places(vec![Pointer::parse(text).ok_or_else(wrong)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Places, A::Error> {
                let mut places = Vec::new();
                while let Some(place) = items.next_element()? {
                    places.push(place);
                }
                Ok(Places(places))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        let text = String::deserialize(deserializer)?;
        let code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase());
        match Pointer::parse(&text) {
            Some(pointer) => Ok(Currency::At(pointer)),
            None if code => Ok(Currency::Always(text)),
            None => Err(D::Error::custom(format!("{text:?} is neither a JSON pointer nor a currency such as eur"))),
        }
    }
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
