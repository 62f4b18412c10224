//! Keys: a type that does not show them, where they come from, how they are kept out of everything that leaves, and
//! what the process and the file system must be like around them. And signed tokens: who has one.

pub mod harden;
pub mod keyring;
pub mod scrub;
pub mod secret;
pub mod shape;
pub mod source;
pub mod store;
pub mod token;
pub mod trust;
