//! A digest, and how it is spelled.

use std::fmt;
use std::str::{FromStr, Utf8Error};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::json::Json;

/// SHA-256, shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Over a domain tag and fields, each with its length before it.
    pub fn of_fields(domain: &str, fields: &[&[u8]]) -> Digest {
        let mut hasher = Sha256::new();
        for field in std::iter::once(&domain.as_bytes()).chain(fields) {
            hasher.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(field);
        }
        Digest(hasher.finalize().into())
    }

    /// Names the definition of a tool: all of it, whatever the order of its keys.
    pub fn of_definition(definition: Json<'_>) -> Digest {
        let mut sorted = String::with_capacity(definition.text().len());
        definition.write_sorted(&mut sorted);
        Digest::of_fields("countersign.tool/v1", &[sorted.as_bytes()])
    }

    /// Plain SHA-256 of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// A digest that was stored as bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Digest {
    /// Spells it, at once: digit by digit would cost more than the hash, and every record spells several.
    fn spell(self, digits: &mut [u8; 64]) -> Result<&str, Utf8Error> {
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' - 10 + half };
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xF)]);
        }
        std::str::from_utf8(digits)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spell(&mut [0; 64]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotADigest);
        }
        for (n, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(2 * n..2 * n + 2).ok_or(NotADigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotADigest)?;
        }
        Ok(Digest(bytes))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not a digest: 64 hex digits are expected")]
pub struct NotADigest;

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.spell(&mut [0; 64]).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
