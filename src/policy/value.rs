//! From the text of an input document to the value that compiled rules see. Most members say the same in call after
//! call: who asks, by which client, for which server. Their values are remembered by their texts.
//!
//! Invariant: the value is the one that the whole text reads as.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use regorus::Value;

use super::input::Text;

/// Members that are worth remembering: those that a session repeats.
const REPEATED: &[&str] =
    &["version", "phase", "method", "principal", "client", "session", "server", "environment", "tool"];
/// Longest text that is remembered, and how many are; then all are forgotten.
const LONGEST: usize = 4 << 10;
const MOST: usize = 256;

thread_local! {
    static KNOWN: RefCell<HashMap<Box<str>, Value>> = RefCell::default();
}

/// The value of a document.
///
/// # Errors
/// What the reader says: no document of ours is unreadable, but its arguments may be nested too deep.
pub fn of(document: &Text) -> Result<Value, String> {
    let mut members = BTreeMap::new();
    for (name, text) in document.members() {
        let value = if REPEATED.contains(&name) && text.len() <= LONGEST { known(text) } else { read(text) };
        members.insert(Value::from(name), value?);
    }
    if members.is_empty() { read(document.as_str()) } else { Ok(Value::from(members)) }
}

fn read(text: &str) -> Result<Value, String> {
    Value::from_json_str(text).map_err(|error| error.to_string())
}

fn known(text: &str) -> Result<Value, String> {
    KNOWN.with_borrow_mut(|known| {
        if let Some(value) = known.get(text) {
            return Ok(value.clone());
        }
        let value = read(text)?;
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(text.into(), value.clone());
        Ok(value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compiled::tests::{context, text};
    use super::super::input::{self, Subject};
    use super::*;
    use crate::call::Class;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Twice, so that what is remembered is compared as well.
        #[test]
        fn a_document_read_in_parts_is_the_document(context in context(), words in text(), now in any::<u64>()) {
            let arguments = serde_json::json!({"a": words, "n": now, "deep": [{"x": null}]}).to_string();
            let subject = Subject { arguments: &arguments, ..Subject::listed() };
            let document = input::document(now, subject, &context);
            let whole = read(document.as_str()).unwrap();
            prop_assert_eq!(document.members().count(), whole.as_object().unwrap().len());
            prop_assert_eq!(&of(&document).unwrap(), &whole);
            prop_assert_eq!(&of(&document).unwrap(), &whole);
            let text = Text::whole(document.clone().into());
            prop_assert_eq!(&of(&text).unwrap(), &whole);
            for pointer in ["", "/", "/arguments/a", "/arguments/n", "/arguments/deep/0/x", "/now", "/operation/name", "/none/a", "arguments/a", "/principal/scopes/0", "/session"] {
                prop_assert_eq!(document.typed_value(pointer), text.typed_value(pointer), "{}", pointer);
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        for n in 0..3 * MOST {
            let mut context = crate::call::fixtures::context("x", Class::Read);
            context.session = n.to_string();
            of(&input::document(7, Subject::listed(), &context)).unwrap();
            assert!(KNOWN.with_borrow(HashMap::len) <= MOST);
        }
    }
}
