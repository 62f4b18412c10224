//! The one type that holds a key, and the handle by which a key in use is replaced.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroize;

/// A key. It has no `Display`, no `Serialize` and no `Clone`, its `Debug` says `[secret]`, and its memory is wiped on
/// drop.
pub struct Secret {
    text: String,
    /// SHA-256 of it: what is compared.
    digest: [u8; 32],
}

impl Secret {
    /// Takes the text as it is. What comes from outside passes the checks of [`resolve`](super::source::resolve).
    pub fn new(text: String) -> Secret {
        let digest = Sha256::digest(text.as_bytes()).into();
        Secret { text, digest }
    }

    /// The key itself. Called where it joins an upstream connection, where a token is compared, and by the scrubber.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// SHA-256 of it, for a comparison that takes the same time whatever is compared.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// As a private key in PEM has them; every other key is one line.
    pub fn has_lines(&self) -> bool {
        self.text.contains(['\n', '\r'])
    }

    /// Enough of its digest to tell it from others, and too little to tell what it is.
    pub fn fingerprint(&self) -> String {
        let [a, b, c, d, ..] = self.digest;
        format!("sha256:{a:02x}{b:02x}{c:02x}{d:02x}")
    }

    /// Whether this is the key. The time it takes tells nothing about how much of it was right, nor its length: what
    /// is compared are the hashes. An empty key matches nothing.
    pub fn matches(&self, candidate: &str) -> bool {
        let other = Sha256::digest(candidate.as_bytes());
        bool::from(self.digest.ct_eq(other.as_slice())) && !self.text.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A key in use, by its name. Whoever holds a handle has the new value from the moment it is [replaced](Self::replace):
/// a key changes without a restart, and what is under way ends with the one it began with.
#[derive(Clone)]
pub struct SecretCell(Arc<Cell>);

struct Cell {
    name: String,
    value: ArcSwap<InUse>,
}

/// A value, and who hears that it is in use no more.
struct InUse {
    secret: Arc<Secret>,
    replaced: CancellationToken,
}

impl InUse {
    fn new(secret: Arc<Secret>) -> Arc<InUse> {
        Arc::new(InUse { secret, replaced: CancellationToken::new() })
    }
}

impl SecretCell {
    pub fn new(name: impl Into<String>, secret: Secret) -> SecretCell {
        SecretCell(Arc::new(Cell { name: name.into(), value: ArcSwap::new(InUse::new(Arc::new(secret))) }))
    }

    /// What the configuration calls it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its value now.
    pub fn current(&self) -> Arc<Secret> {
        Arc::clone(&self.0.value.load().secret)
    }

    /// Its value now, and what is cancelled when another takes its place.
    pub fn in_use(&self) -> (Arc<Secret>, CancellationToken) {
        let value = self.0.value.load();
        (Arc::clone(&value.secret), value.replaced.clone())
    }

    /// Takes the value of another, for everyone who holds a handle of this one.
    pub fn adopt(&self, other: &SecretCell) {
        self.store(other.current());
    }

    /// For everyone who holds a handle. The scrubber has to know the new value before.
    pub fn replace(&self, secret: Secret) {
        self.store(Arc::new(secret));
    }

    fn store(&self, secret: Arc<Secret>) {
        self.0.value.swap(InUse::new(secret)).replaced.cancel();
    }
}

impl fmt::Debug for SecretCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[secret {}]", self.0.name)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.text.zeroize();
        self.digest.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_matches() {
        let key = Secret::new("token-0123456789".to_owned());
        assert!(key.matches("token-0123456789"));
        for wrong in ["", "token-012345678", "token-01234567890", "Token-0123456789", "token-0123456789\n"] {
            assert!(!key.matches(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn an_empty_key_matches_nothing() {
        assert!(!Secret::new(String::new()).matches(""));
    }

    #[test]
    fn a_replaced_key_is_new_for_every_handle_and_old_for_what_is_under_way() {
        let cell = SecretCell::new("stripe", Secret::new("token-0123456789".to_owned()));
        let (handle, (before, replaced)) = (cell.clone(), cell.in_use());
        assert!(!replaced.is_cancelled());
        cell.replace(Secret::new("token-9876543210".to_owned()));
        assert!(before.matches("token-0123456789") && handle.current().matches("token-9876543210"));
        assert!(replaced.is_cancelled() && !handle.in_use().1.is_cancelled());
        assert_eq!(format!("{handle:?}"), "[secret stripe]");
    }

    #[test]
    fn debug_does_not_show_it() {
        assert_eq!(format!("{:?}", Secret::new("token-0123456789".to_owned())), "[secret]");
    }
}
