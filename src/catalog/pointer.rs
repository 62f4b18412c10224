//! Where in the arguments something stands: pointers that are read once, when the catalog is, and followed for each call.
//!
//! Invariant: a place that has another form than the pointer expects is [`Found::Odd`] and never nothing, so that a
//! wrong type cannot hide a value.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};

use crate::json::{Json, Kind};

/// A JSON pointer into the arguments, in which the step `*` means every item of a list. It has at least one step, and
/// the first is a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pointer {
    text: String,
    first: String,
    rest: Vec<Step>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Name(String),
    /// Every item of a list.
    Each,
}

/// What stands where a pointer leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    Value(Json<'a>),
    /// An item of a list has no such member.
    Missing,
    /// On the way there is something else than the object or list that belongs there.
    Odd(Json<'a>),
}

impl Pointer {
    pub fn parse(text: &str) -> Option<Pointer> {
        let mut steps = text.strip_prefix('/')?.split('/').map(|step| match step {
            "*" => Step::Each,
            name => Step::Name(name.replace("~1", "/").replace("~0", "~")),
        });
        let Some(Step::Name(first)) = steps.next() else { return None };
        let rest: Vec<_> = steps.collect();
        let empty = |step: &Step| matches!(step, Step::Name(name) if name.is_empty());
        if first.is_empty() || rest.iter().any(empty) {
            return None;
        }
        Some(Pointer { text: text.to_owned(), first, rest })
    }

    /// As the catalog spells it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// It leads to a member of this name in what another one of these leads to.
    pub fn is_last_of(&self, name: &str, others: &[Pointer]) -> bool {
        let Some((Step::Name(last), before)) = self.rest.split_last() else { return false };
        last == name && others.iter().any(|other| other.first == self.first && other.rest == before)
    }

    /// The argument that it leads into.
    pub fn first(&self) -> &str {
        &self.first
    }

    /// Everything that stands there below a value.
    pub fn visit<'a>(&self, value: Json<'a>, seen: &mut dyn FnMut(Found<'a>)) {
        match value.kind() {
            Kind::Object => {
                if let Some(inner) = value.get(&self.first) {
                    follow(inner, &self.rest, false, seen);
                }
            }
            Kind::Array | Kind::String | Kind::Number | Kind::Bool | Kind::Null => seen(Found::Odd(value)),
        }
    }

    /// The one value there, where the way is as it should be. The first where there are several.
    pub fn value<'a>(&self, value: Json<'a>) -> Option<Json<'a>> {
        first_value(|seen| self.visit(value, seen))
    }
}

fn first_value<'a>(visit: impl FnOnce(&mut dyn FnMut(Found<'a>))) -> Option<Json<'a>> {
    let mut first = None;
    visit(&mut |found| {
        if let (None, Found::Value(value)) = (first, found) {
            first = Some(value);
        }
    });
    first
}

fn follow<'a>(value: Json<'a>, steps: &[Step], is_item: bool, seen: &mut dyn FnMut(Found<'a>)) {
    let Some((step, rest)) = steps.split_first() else { return seen(Found::Value(value)) };
    match (step, value.kind()) {
        (Step::Each, Kind::Array) => value.items().for_each(|item| follow(item, rest, true, seen)),
        (Step::Name(name), Kind::Object) => match value.get(name) {
            Some(inner) => follow(inner, rest, false, seen),
            None if is_item && rest.is_empty() => seen(Found::Missing),
            None => {}
        },
        // `null` in place of a container is the same as none.
        (_, Kind::Null) if !is_item => {}
        (Step::Each | Step::Name(_), _) => seen(Found::Odd(value)),
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pointer, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("{text:?} is not a JSON pointer such as /amount or /rules/*/name"));
        Pointer::parse(&text).ok_or_else(wrong)
    }
}

/// The members of one object or of several, read once: arguments may be large, and a catalog looks many pointers up.
#[derive(Default)]
pub struct Arguments<'a> {
    members: Vec<(Cow<'a, str>, Json<'a>)>,
    /// Something else stood where one of the objects belongs.
    odd: Option<Json<'a>>,
}

impl<'a> Arguments<'a> {
    pub fn of(object: Json<'a>) -> Arguments<'a> {
        let mut arguments = Arguments::default();
        arguments.add(object);
        arguments
    }

    /// The members of several objects, all together.
    pub fn all(objects: impl IntoIterator<Item = Json<'a>>) -> Arguments<'a> {
        let mut arguments = Arguments::default();
        objects.into_iter().for_each(|object| arguments.add(object));
        arguments
    }

    /// The members of the objects that stand at these places, all together.
    pub fn inside(&self, places: &[Pointer]) -> Arguments<'a> {
        let mut inner = Arguments::default();
        for place in places {
            self.visit(place, &mut |found| match found {
                Found::Value(value) => inner.add(value),
                Found::Odd(value) => inner.odd = Some(value),
                Found::Missing => {}
            });
        }
        inner
    }

    fn add(&mut self, object: Json<'a>) {
        match object.kind() {
            Kind::Object => {
                self.members.extend(object.members().filter_map(|(name, value)| Some((name.as_str()?, value))));
            }
            Kind::Null => {}
            Kind::Array | Kind::String | Kind::Number | Kind::Bool => self.odd = Some(object),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_ref())
    }

    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, _)| member == name)
    }

    /// What stands in place of an object that belongs there.
    pub fn odd(&self) -> Option<Json<'a>> {
        self.odd
    }

    pub fn visit(&self, pointer: &Pointer, seen: &mut dyn FnMut(Found<'a>)) {
        for (_, value) in self.members.iter().filter(|(name, _)| *name == pointer.first) {
            follow(*value, &pointer.rest, false, seen);
        }
    }

    /// The first value there, whatever else is.
    pub fn value(&self, pointer: &Pointer) -> Option<Json<'a>> {
        first_value(|seen| self.visit(pointer, seen))
    }

    /// True where anything at all stands there.
    pub fn carries(&self, pointer: &Pointer) -> bool {
        let mut any = false;
        self.visit(pointer, &mut |found| any |= found != Found::Missing);
        any
    }
}

/// A name with a bracket, wherever it stands in a value. What writes such a name into a form writes a list or an object.
pub fn bracketed<'a>(value: Json<'a>) -> Option<Cow<'a, str>> {
    match value.kind() {
        Kind::Object => value.members().find_map(|(name, inner)| {
            name.as_str().filter(|name| name.contains(['[', ']'])).or_else(|| bracketed(inner))
        }),
        Kind::Array => value.items().find_map(bracketed),
        Kind::String | Kind::Number | Kind::Bool | Kind::Null => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{JsonText, Rules};

    fn found(pointer: &str, arguments: &str) -> Vec<String> {
        let text = JsonText::parse(arguments, Rules::CLIENT).unwrap();
        let mut all = Vec::new();
        Arguments::of(text.view()).visit(&Pointer::parse(pointer).unwrap(), &mut |found| {
            all.push(match found {
                Found::Value(value) => value.text().to_owned(),
                Found::Missing => "missing".to_owned(),
                Found::Odd(value) => format!("odd {}", value.text()),
            });
        });
        all
    }

    #[test]
    fn a_pointer_leads_into_objects_and_every_item_of_lists() {
        assert_eq!(found("/a", r#"{"a":1,"b":2}"#), ["1"]);
        assert_eq!(found("/a/b", r#"{"a":{"b":2}}"#), ["2"]);
        assert_eq!(found("/a/*/b", r#"{"a":[{"b":1},{"b":[2]},{"c":3}]}"#), ["1", "[2]", "missing"]);
        assert_eq!(found("/a/*/b/*/c", r#"{"a":[{"b":[{"c":1}]},{"x":0}]}"#), ["1"]);
        assert_eq!(found("/application~1json/~0", r#"{"application/json":{"~":1}}"#), ["1"]);
        assert_eq!(found("/a", r#"{"\u0061":7}"#), ["7"]);
        for nothing in ["{}", r#"{"a":null}"#, r#"{"a":{}}"#, r#"{"A":{"b":1}}"#] {
            assert!(found("/a/b", nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn another_form_than_expected_shows() {
        assert_eq!(found("/a/b", r#"{"a":"x"}"#), ["odd \"x\""]);
        assert_eq!(found("/a/b", r#"{"a":[{"b":1}]}"#), [r#"odd [{"b":1}]"#]);
        assert_eq!(found("/a/*/b", r#"{"a":{"b":1}}"#), [r#"odd {"b":1}"#]);
        assert_eq!(found("/a/*/b", r#"{"a":[7,null]}"#), ["odd 7", "odd null"]);
    }

    #[test]
    fn what_is_no_pointer() {
        for text in ["", "/", "a", "a/b", "/*", "/*/a", "/a/", "/a//b"] {
            assert!(Pointer::parse(text).is_none(), "{text}");
        }
    }
}
