//! An operation that is too long for its record, made short in a way that it can still be read as one: budgets are counted
//! from the records at start.
//!
//! Only the record is clipped, never what rules see: a rule that looks for a word in a target finds it however much
//! stands before it. Invariant: what is not longer than [`KEPT_TEXT`] stays as it is, and what is clipped stays longer
//! than the longest name that is counted, so that nothing clipped is taken for something that was whole.

use serde_json::Value;

use crate::call::{Digest, Operation};
use crate::json::{JsonError, JsonText};

/// A text up to this size stays as it is.
const KEPT_TEXT: usize = 512;
/// How much of a longer one is kept.
const KEPT_HEAD: usize = 384;
/// As many items of a list are kept.
const KEPT_ITEMS: usize = 16;

/// The operation with short texts and short lists, as JSON.
pub(super) fn operation(operation: &Operation) -> Result<JsonText, JsonError> {
    // Words, yes and no: it can always be written so.
    let mut value = serde_json::to_value(operation).unwrap_or(Value::Null);
    clip(&mut value);
    JsonText::of(&value)
}

fn clip(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > KEPT_TEXT => {
            let head = text.get(..text.floor_char_boundary(KEPT_HEAD)).unwrap_or("");
            *text = format!("{head}... [cut: {} bytes, {}]", text.len(), Digest::of_bytes(text.as_bytes()));
        }
        Value::Array(items) => {
            let more = items.len().saturating_sub(KEPT_ITEMS);
            items.truncate(KEPT_ITEMS);
            items.iter_mut().for_each(clip);
            if more > 0 {
                items.push(Value::String(format!("[cut: {more} more]")));
            }
        }
        Value::Object(members) => members.values_mut().for_each(clip),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
