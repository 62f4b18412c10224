//! What the form of a key says: whose it is, what it is for, and whether it reaches production.

use std::sync::LazyLock;

use super::file::{Key, KeyMode};
use super::load::BUILTIN;
use super::{Catalog, load};

/// What the form of a key says about its environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyEvidence {
    Production,
    NotProduction,
    Silent,
}

/// A form that a key has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyForm {
    pub vendor: &'static str,
    /// What such a key is for: `secret`, `restricted`, `publishable`, ...
    pub kind: String,
    pub evidence: KeyEvidence,
}

/// The catalogs that are part of the program, for what they say about keys.
static KEYS: LazyLock<Vec<(&'static str, Vec<Key>)>> = LazyLock::new(|| {
    let catalogs = BUILTIN.iter().filter_map(|(name, _)| Some((*name, load::builtin(Some(name)).ok()?.keys)));
    catalogs.collect()
});

/// What the form of a key of this vendor proves. A vendor without a catalog proves nothing.
pub fn key_evidence(vendor: Option<&str>, key: &str) -> KeyEvidence {
    let keys = KEYS.iter().find(|(name, _)| Some(*name) == vendor);
    keys.map_or(KeyEvidence::Silent, |(_, keys)| evidence(keys, key))
}

/// Every form that this key has, of all vendors that the program knows: two vendors may use the same beginning.
pub fn key_forms(key: &str) -> Vec<KeyForm> {
    let form = |vendor, keys: &[Key]| {
        let known = longest(keys, key)?;
        Some(KeyForm { vendor, kind: known.kind.clone(), evidence: evidence(keys, key) })
    };
    KEYS.iter().filter_map(|(vendor, keys)| form(*vendor, keys)).collect()
}

impl Catalog {
    /// What the form of a key proves.
    pub fn key_evidence(&self, key: &str) -> KeyEvidence {
        evidence(&self.keys, key)
    }

    /// What this key begins with, where the catalog knows its form.
    pub fn key_prefix(&self, key: &str) -> Option<&str> {
        longest(&self.keys, key).map(|known| known.prefix.0.as_str())
    }

    /// What a key of this form is for.
    pub fn key_kind(&self, key: &str) -> Option<&str> {
        longest(&self.keys, key).map(|known| known.kind.as_str())
    }
}

fn longest<'a>(keys: &'a [Key], key: &str) -> Option<&'a Key> {
    keys.iter().filter(|known| key.starts_with(&known.prefix.0)).max_by_key(|known| known.prefix.0.len())
}

/// Where several prefixes fit, one that means production counts.
fn evidence(keys: &[Key], key: &str) -> KeyEvidence {
    let fits = |mode| keys.iter().any(|known| known.mode == Some(mode) && key.starts_with(&known.prefix.0));
    match (fits(KeyMode::Production), fits(KeyMode::NotProduction)) {
        (true, _) => KeyEvidence::Production,
        (false, true) => KeyEvidence::NotProduction,
        (false, false) => KeyEvidence::Silent,
    }
}
