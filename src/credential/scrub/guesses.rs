//! How often a piece of a key was in what servers say. A server that repeats or joins what it is told shows by what is
//! taken out whether a guess at a key was right. After a few times, whoever asked, such messages are kept back and the
//! operator is told. That one is kept back still shows that it held a piece: what ends guessing is another key.
//!
//! Invariant: this only tightens, until the key is another one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many messages with a piece of a key are shown without it; further ones are kept back. One is worth a few
/// characters of a key to somebody who guesses.
pub const TOLD: u32 = 3;

/// By the name of the key.
#[derive(Default)]
pub(super) struct Guesses(Mutex<BTreeMap<String, u32>>);

impl Guesses {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self, name: &str) -> u32 {
        let mut all = self.all();
        let count = all.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    pub fn forget(&self, name: &str) {
        self.all().remove(name);
    }

    pub fn too_many(&self) -> Vec<String> {
        self.all().iter().filter(|(_, count)| **count > TOLD).map(|(name, _)| name.clone()).collect()
    }
}
