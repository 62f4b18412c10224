//! The one type that holds a key.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A key. It has no `Display`, no `Serialize` and no `Clone`, its `Debug` says `[secret]`, and its memory is wiped on
/// drop.
pub struct Secret(String);

impl Secret {
    /// Takes the text as it is. What comes from outside passes the checks of [`resolve`](super::source::resolve).
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The key itself. Called where it joins an upstream connection, where a token is compared, and by the scrubber.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the key. The time it takes tells nothing about how much of it was right, nor its length: what
    /// is compared are the hashes. An empty key matches nothing.
    pub fn matches(&self, candidate: &str) -> bool {
        let own = Sha256::digest(self.0.as_bytes());
        let other = Sha256::digest(candidate.as_bytes());
        bool::from(own.as_slice().ct_eq(other.as_slice())) && !self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
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
    fn debug_does_not_show_it() {
        assert_eq!(format!("{:?}", Secret::new("token-0123456789".to_owned())), "[secret]");
    }
}
