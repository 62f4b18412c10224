//! The input of a decision, and what is known of it.

use super::input::{self, Text};

/// The input of a decision.
#[derive(Clone, Debug)]
pub enum Document {
    /// Built by [`input::document`]: every member has the type that the contract says.
    Ours(Text),
    /// From somebody's file. It may be of any shape, so the interpreter evaluates everything, errors and all.
    Given(String),
}

impl Document {
    pub fn len(&self) -> usize {
        self.as_str().len()
    }

    pub fn as_str(&self) -> &str {
        match self {
            Document::Ours(text) => text.as_str(),
            Document::Given(text) => text,
        }
    }

    /// What an operator types for the value at a pointer; `None` where nobody can type it.
    pub fn typed_value(&self, pointer: &str) -> Option<String> {
        match self {
            Document::Ours(text) => text.typed_value(pointer),
            Document::Given(text) => input::typed_value(text, pointer),
        }
    }
}
