//! When an entry of a catalog is worse than it looks. A condition can only tighten: what it does not understand, it
//! takes for fulfilled.

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::json::{Json, Kind};

use super::pointer::{Arguments, Found, Pointer};

/// Holds where something stands at `at` that is not harmless. Without `is`, `unless` and `within`, everything there is
/// meant.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub at: Pointer,
    /// Only these values; texts count in any case.
    #[serde(default)]
    is: Vec<Plain>,
    /// All values but these; texts count as they are spelled.
    #[serde(default)]
    unless: Vec<Plain>,
    /// All but a list, not empty, of nothing else than these texts.
    #[serde(default)]
    within: Vec<String>,
    /// Holds too where nothing is there, or `null`.
    #[serde(default)]
    absent: bool,
    /// What has to hold of the same value.
    #[serde(default)]
    and: Vec<Condition>,
}

/// One condition, or several that hold together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    pub fn hold(&self, arguments: &Arguments<'_>) -> bool {
        self.0.iter().all(|condition| condition.holds(arguments))
    }

    /// What they look at in a call.
    pub fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.0.iter().map(|condition| &condition.at)
    }
}

/// A value of a catalog that is no container.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Plain {
    /// JSON text of `null`, a boolean or a whole number.
    Spelled(String),
    Text(String),
}

impl Plain {
    fn equals(&self, value: Json<'_>) -> bool {
        match self {
            Plain::Spelled(text) => value.text() == text,
            Plain::Text(text) => value.as_str().is_some_and(|value| value == text.as_str()),
        }
    }

    fn resembles(&self, value: Json<'_>) -> bool {
        match self {
            Plain::Spelled(text) => value.text() == text || value.as_str().is_some_and(|value| alike(&value, text)),
            Plain::Text(text) => alike(&value.as_str().unwrap_or(value.text().into()), text),
        }
    }
}

fn alike(value: &str, text: &str) -> bool {
    value.trim().eq_ignore_ascii_case(text)
}

impl Condition {
    pub fn holds(&self, arguments: &Arguments<'_>) -> bool {
        self.any(|seen| arguments.visit(&self.at, seen))
    }

    fn holds_in(&self, value: Json<'_>) -> bool {
        self.any(|seen| self.at.visit(value, seen))
    }

    fn any<'a>(&self, visit: impl FnOnce(&mut dyn FnMut(Found<'a>))) -> bool {
        let (mut nothing, mut holds) = (true, false);
        visit(&mut |found| {
            nothing = false;
            holds |= match found {
                Found::Value(value) => self.is_met(value),
                Found::Missing => self.absent,
                Found::Odd(_) => true,
            };
        });
        holds || (nothing && self.absent)
    }

    fn is_met(&self, value: Json<'_>) -> bool {
        if value.kind() == Kind::Null && self.absent {
            return true;
        }
        let listed = self.is.is_empty() || self.is.iter().any(|plain| plain.resembles(value));
        let harmless = self.unless.iter().any(|plain| plain.equals(value)) || self.is_within(value);
        listed && !harmless && self.and.iter().all(|condition| condition.holds_in(value))
    }

    fn is_within(&self, value: Json<'_>) -> bool {
        let known = |item: Json<'_>| item.as_str().is_some_and(|item| self.within.iter().any(|name| *name == item));
        !self.within.is_empty()
            && value.kind() == Kind::Array
            && value.items().next().is_some()
            && value.items().all(known)
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Conditions, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Conditions;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a condition or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Conditions, A::Error> {
        Ok(Conditions(vec![Condition::deserialize(MapAccessDeserializer::new(members))?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Conditions, A::Error> {
        match Vec::deserialize(SeqAccessDeserializer::new(items))? {
            none if none.is_empty() => Err(de::Error::custom("an empty list of conditions always holds")),
            conditions => Ok(Conditions(conditions)),
        }
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(Scalar)
    }
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = Plain;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, a boolean, a whole number or null")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain::Spelled(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain::Spelled(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain::Spelled(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Plain, E> {
        Ok(Plain::Spelled("null".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{JsonText, Rules};

    fn holds(condition: &str, arguments: &str) -> bool {
        let condition: Condition = serde_yaml::from_str(condition).unwrap();
        let text = JsonText::parse(arguments, Rules::CLIENT).unwrap();
        condition.holds(&Arguments::of(text.view()))
    }

    #[test]
    fn only_what_is_known_to_be_harmless_is() {
        let submit = "{at: /submit, unless: [false]}";
        assert!(!holds(submit, "{}"));
        assert!(!holds(submit, r#"{"submit":false}"#));
        for odd in ["true", "\"false\"", "0", "null", "{}", "[false]", "\"true\""] {
            assert!(holds(submit, &format!(r#"{{"submit":{odd}}}"#)), "{odd}");
        }
        assert!(holds("{at: /submit, unless: [false], absent: true}", "{}"));
        assert!(holds("{at: /submit, unless: [false, null], absent: true}", r#"{"submit":null}"#));
    }

    #[test]
    fn a_text_is_recognised_in_every_spelling() {
        for public in [r#""public""#, r#""\u0070ublic""#, r#"" Public ""#] {
            assert!(holds("{at: /type, is: [public]}", &format!(r#"{{"type":{public}}}"#)), "{public}");
        }
        assert!(holds("{at: /deleted, is: [true]}", r#"{"deleted":"True"}"#));
        // In a form there is nothing else than texts.
        assert!(holds("{at: /deleted, is: ['true']}", r#"{"deleted":true}"#));
        assert!(!holds("{at: /type, is: [public]}", r#"{"type":"email"}"#));
    }

    #[test]
    fn conditions_on_the_same_item_hold_together() {
        let rollout = "{at: /rules/*, and: [{at: /pass, unless: [0], absent: true}, {at: /environments, within: [dev], absent: true}]}";
        for harmless in [
            "{}",
            r#"{"rules":[]}"#,
            r#"{"rules":[{"pass":0}]}"#,
            r#"{"rules":[{"pass":100,"environments":["dev"]}]}"#,
            r#"{"rules":[{"pass":100,"environments":["dev"]},{"pass":0,"environments":["prod"]}]}"#,
        ] {
            assert!(!holds(rollout, harmless), "{harmless}");
        }
        for harmful in [
            r#"{"rules":[{"pass":1}]}"#,
            r#"{"rules":[{"pass":1,"environments":null}]}"#,
            r#"{"rules":[{"pass":1,"environments":[]}]}"#,
            r#"{"rules":[{"pass":1,"environments":"dev"}]}"#,
            r#"{"rules":[{"pass":1,"environments":["dev","prod"]}]}"#,
            r#"{"rules":[{"pass":1,"environments":["Dev"]}]}"#,
            r#"{"rules":[{"pass":0},{"environments":["prod"]}]}"#,
            r#"{"rules":[{"pass":"0","environments":[["dev"]]}]}"#,
            r#"{"rules":{"pass":0}}"#,
            r#"{"rules":["x"]}"#,
            r#"{"rules":"[]"}"#,
        ] {
            assert!(holds(rollout, harmful), "{harmful}");
        }
    }
}
