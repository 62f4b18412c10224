//! The three answers to whether a value fits, and how they come together. Nothing is known here of schemas.
//!
//! Invariant: what nobody can tell makes no answer surer.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    Yes,
    Maybe,
    No,
}

impl Truth {
    pub fn of(known: Option<bool>) -> Truth {
        match known {
            Some(true) => Truth::Yes,
            Some(false) => Truth::No,
            None => Truth::Maybe,
        }
    }

    pub fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::No, _) | (_, Truth::No) => Truth::No,
            (Truth::Maybe, _) | (_, Truth::Maybe) => Truth::Maybe,
            (Truth::Yes, Truth::Yes) => Truth::Yes,
        }
    }

    pub fn not(self) -> Truth {
        match self {
            Truth::Yes => Truth::No,
            Truth::Maybe => Truth::Maybe,
            Truth::No => Truth::Yes,
        }
    }
}
