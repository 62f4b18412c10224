//! Keys: a type that does not show them, where they come from, and how they are kept out of everything that leaves.

pub mod scrub;
pub mod secret;
pub mod source;
