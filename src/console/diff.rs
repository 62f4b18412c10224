//! What is different between two calls, value by value, each named by its JSON pointer. Nothing is guessed: items of
//! arrays are compared by position, values by their spelling, and a factor is only told of plain integers.

use crate::json::{Json, Kind};

/// Digits of an integer that a factor is told of: more cannot be divided exactly enough.
const DIGITS: usize = 15;

/// Differences that are told; the others are counted.
pub const TOLD: usize = 100;
/// Bytes of pointers that are told: a long key above many values would be far more text than the calls.
const POINTERS: usize = 64 << 10;

/// One difference. Texts are spellings and have not passed the escape function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    Changed { pointer: String, before: &'a str, now: &'a str },
    Added { pointer: String, now: &'a str },
    Gone { pointer: String, before: &'a str },
}

/// What is different.
#[derive(Default, Debug)]
pub struct Difference<'a> {
    /// In the order of the newer call, at most [`TOLD`].
    pub changes: Vec<Change<'a>>,
    /// Differences that are not told.
    pub more: usize,
    /// Values that are the same.
    pub same: usize,
    pointers: usize,
}

pub fn diff<'a>(before: Json<'a>, now: Json<'a>) -> Difference<'a> {
    let mut found = Difference::default();
    found.compare(&mut String::new(), before, now);
    found
}

impl<'a> Difference<'a> {
    /// `change` is only built where it is told.
    fn found(&mut self, pointer: &str, change: impl FnOnce(String) -> Change<'a>) {
        if self.changes.len() < TOLD && self.pointers + pointer.len() <= POINTERS {
            self.pointers += pointer.len();
            self.changes.push(change(pointer.to_owned()));
        } else {
            self.more += 1;
        }
    }

    /// As deep as the strict reader lets a value be, which is bounded.
    fn compare(&mut self, pointer: &mut String, before: Json<'a>, now: Json<'a>) {
        match (before.kind(), now.kind()) {
            (Kind::Object, Kind::Object) => self.objects(pointer, before, now),
            (Kind::Array, Kind::Array) => self.arrays(pointer, before, now),
            _ if before.text() == now.text() => self.same += 1,
            _ => self.found(pointer, |pointer| Change::Changed { pointer, before: before.text(), now: now.text() }),
        }
    }

    fn objects(&mut self, pointer: &mut String, before: Json<'a>, now: Json<'a>) {
        let length = pointer.len();
        let mut old: std::collections::HashMap<_, _> =
            before.members().map(|(key, value)| (decoded(key), value)).collect();
        for (key, value) in now.members() {
            let name = decoded(key);
            step(pointer, &name);
            match old.remove(&name) {
                Some(before) => self.compare(pointer, before, value),
                None => self.found(pointer, |pointer| Change::Added { pointer, now: value.text() }),
            }
            pointer.truncate(length);
        }
        for (key, value) in before.members() {
            let name = decoded(key);
            if old.contains_key(&name) {
                step(pointer, &name);
                self.found(pointer, |pointer| Change::Gone { pointer, before: value.text() });
                pointer.truncate(length);
            }
        }
    }

    fn arrays(&mut self, pointer: &mut String, before: Json<'a>, now: Json<'a>) {
        let length = pointer.len();
        let (mut old, mut new) = (before.items(), now.items());
        for n in 0.. {
            pointer.push_str(&format!("/{n}"));
            match (old.next(), new.next()) {
                (Some(before), Some(now)) => self.compare(pointer, before, now),
                (None, Some(now)) => self.found(pointer, |pointer| Change::Added { pointer, now: now.text() }),
                (Some(before), None) => self.found(pointer, |pointer| Change::Gone { pointer, before: before.text() }),
                (None, None) => {
                    pointer.truncate(length);
                    break;
                }
            }
            pointer.truncate(length);
        }
    }
}

fn decoded(key: Json<'_>) -> String {
    key.as_str().unwrap_or_default().into_owned()
}

fn step(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

impl Change<'_> {
    /// Bytes of its texts.
    pub fn size(&self) -> usize {
        match self {
            Change::Changed { pointer, before, now } => pointer.len() + before.len() + now.len(),
            Change::Added { pointer, now: value } | Change::Gone { pointer, before: value } => {
                pointer.len() + value.len()
            }
        }
    }

    /// In one line: `~ /amount  4500 → 125000  (27.8x)`.
    pub fn words(&self) -> String {
        match self {
            Change::Changed { pointer, before, now } => {
                let factor = factor(before, now).map(|factor| format!("  ({factor})")).unwrap_or_default();
                format!("~ {pointer}  {before} → {now}{factor}")
            }
            Change::Added { pointer, now } => format!("+ {pointer}  {now}"),
            Change::Gone { pointer, before } => format!("- {pointer}  {before}"),
        }
    }
}

/// How many times the value before it is, of two plain positive integers and of nothing else. Rounded to a tenth;
/// a number that is not larger has no factor.
pub fn factor(before: &str, now: &str) -> Option<String> {
    let number = |text: &str| {
        let plain = text.len() <= DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u64>().ok()).flatten().filter(|number| *number > 0)
    };
    let (before, now) = (number(before)?, number(now)?);
    let tenths = now.checked_mul(10)?.checked_add(before / 2)? / before;
    (tenths > 10).then(|| format!("{}.{}x", tenths / 10, tenths % 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{JsonText, Rules};

    fn words(before: &str, now: &str) -> (Vec<String>, usize) {
        let (before, now) = [before, now].map(|text| JsonText::parse(text, Rules::CLIENT).unwrap()).into();
        let found = diff(before.view(), now.view());
        (found.changes.iter().map(Change::words).collect(), found.same)
    }

    #[test]
    fn a_call_that_differs_everywhere_costs_no_more_text_than_it_has() {
        let call = |value: &str, length: usize| {
            let text = format!(r#"{{"{}":[{}]}}"#, "k".repeat(length), vec![value; 1000].join(","));
            JsonText::parse(text.as_str(), Rules::CLIENT).unwrap()
        };
        for (length, told) in [(1, TOLD), (30_000, 2), (100_000, 0)] {
            let (before, now) = (call("1", length), call("2", length));
            let found = diff(before.view(), now.view());
            assert_eq!((found.changes.len(), found.more), (told, 1000 - told));
        }
    }

    #[test]
    fn every_value_is_named_and_only_integers_have_a_factor() {
        let before = r#"{"amount":4500,"id":"a","same":[1,{"x":true}],"gone":null,"a/b":1,"list":[1,2,3]}"#;
        let now = r#"{"amount":125000,"id":"b","same":[1,{"x":true}],"new":{},"a/b":2,"list":[1,9]}"#;
        let (changes, same) = words(before, now);
        assert_eq!(
            changes,
            [
                "~ /amount  4500 → 125000  (27.8x)",
                "~ /id  \"a\" → \"b\"",
                "+ /new  {}",
                "~ /a~1b  1 → 2  (2.0x)",
                "~ /list/1  2 → 9  (4.5x)",
                "- /list/2  3",
                "- /gone  null",
            ]
        );
        assert_eq!(same, 3);
    }

    #[test]
    fn no_factor_is_guessed() {
        for (before, now) in [
            ("4500", "\"125000\""),
            ("4500", "1.25e5"),
            ("45.00", "1250.00"),
            ("0", "1"),
            ("-1", "5"),
            ("5", "4"),
            ("5", "5"),
            ("1", "10000000000000000"),
            ("true", "false"),
        ] {
            assert_eq!(factor(before, now), None, "{before} {now}");
        }
        // A container that became a value is one change, and another spelling of the same number is another text.
        assert_eq!(words("{\"a\":[1]}", "{\"a\":1.0}").0, ["~ /a  [1] → 1.0"]);
        assert_eq!(words("[1]", "[1.0]").0, ["~ /0  1 → 1.0"]);
    }
}
