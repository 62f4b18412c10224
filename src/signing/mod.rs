//! Rulings that prove who ruled: the text that an operator signs, and what a signature of it is worth.
//!
//! The signature is OpenSSH's (SSHSIG, namespace [`NAMESPACE`]), so that stock `ssh-keygen -Y verify` checks it years
//! later. Both sides write the text themselves from what they know of the hold: nothing that is signed is taken from
//! the other side's word. What may not live here: holds, sockets, configuration.
//!
//! Invariant: [`Verified`] exists only for a signature over exactly the text of the hold at hand, by a key that the
//! list of operators names for exactly that operator and this namespace, now.

use std::fmt;

use jiff::Timestamp;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, SshSig};

use crate::call::{CallId, Digest};

mod signers;
pub mod tool;

pub use signers::{
    PrivateFile, Signer, Signers, SignersError, fingerprint_of, is_name, is_unprotected, line_of, private_file,
};

/// A signature that was made for anything else (a commit, a file) is none of a ruling.
pub const NAMESPACE: &str = "countersign";
/// Longest armoured signature, in bytes.
pub const MAX_SIGNATURE: usize = 8 << 10;

/// The security key was touched.
const PRESENT: u8 = 0x01;
/// The security key asked for its PIN or a finger.
const VERIFIED: u8 = 0x04;
/// Behind the signature of a security key: flags and a counter.
const TRAILER: usize = 5;

/// What is signed. Every line is there in every text, in this order, so two different rulings never have one text; the
/// last one is there from the first time on that an approval was taken back.
#[derive(Clone, Copy, Debug)]
pub struct RulingText<'a> {
    /// Names the daemon by its record: a ruling for one is none for another.
    pub instance: &'a Digest,
    pub hold: &'a CallId,
    pub digest: &'a Digest,
    /// The tool's definition, where it has been seen.
    pub definition: Option<&'a Digest>,
    pub policy_version: &'a str,
    pub server: &'a str,
    pub environment: &'a str,
    /// RFC 3339: the end of the hold.
    pub expires_at: &'a str,
    /// `approve` or `reject`.
    pub ruling: &'a str,
    pub operator: &'a str,
    pub reason: Option<&'a str>,
    /// How often an approval of this hold was taken back before. A text of before that is no text of now.
    pub taken_back: u32,
    /// The text of the grant that the approval makes, where it makes one. Its line is there only then, so an approval is
    /// never a grant.
    pub grant: Option<&'a str>,
}

impl fmt::Display for RulingText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "countersign ruling 1")?;
        writeln!(f, "daemon: {}", self.instance)?;
        writeln!(f, "hold: {}", self.hold)?;
        writeln!(f, "digest: {}", self.digest)?;
        match self.definition {
            Some(definition) => writeln!(f, "definition: {definition}")?,
            None => writeln!(f, "definition: none")?,
        }
        writeln!(f, "policy: {}", self.policy_version)?;
        writeln!(f, "server: {}", quoted(self.server))?;
        writeln!(f, "environment: {}", quoted(self.environment))?;
        writeln!(f, "expires: {}", self.expires_at)?;
        writeln!(f, "ruling: {}", self.ruling)?;
        writeln!(f, "operator: {}", quoted(self.operator))?;
        match self.reason {
            Some(reason) => writeln!(f, "reason: {}", quoted(reason))?,
            None => writeln!(f, "reason: none")?,
        }
        match self.taken_back {
            0 => {}
            times => writeln!(f, "taken back: {times}")?,
        }
        match self.grant {
            Some(grant) => writeln!(f, "grant: {}", quoted(grant)),
            None => Ok(()),
        }
    }
}

/// A JSON string of ASCII alone: one line, whatever stands in it, and never `none`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    use fmt::Write as _;
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
    out
}

/// Who has signed, by the list of operators and not by the signature's word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    pub operator: String,
    /// `SHA256:...`, as `ssh-keygen -l` prints it.
    pub key: String,
    /// The operator's line of the list, written anew.
    pub signer: String,
}

/// Why a signature does not count.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("it is not an OpenSSH signature")]
    Form,
    #[error("it was made for `{0}` and not for `{NAMESPACE}`")]
    Namespace(String),
    #[error("the list of operators has no key {key} for {operator}")]
    Unknown { operator: String, key: String },
    #[error("the key {key} of {operator} is not valid at this time")]
    Time { operator: String, key: String },
    #[error("it is not of this ruling: hold, digest, policy, operator, ruling and reason have to be those of the text")]
    Text,
    #[error("the security key was not touched")]
    NotTouched,
    #[error("the security key did not ask for its PIN, which the list of operators demands (verify-required)")]
    NotVerified,
}

/// Judges a signature over a text. The key and its owner come from the list alone.
///
/// # Errors
/// Why it does not count.
pub fn verify(
    text: &str,
    operator: &str,
    armoured: &str,
    signers: &Signers,
    now: Timestamp,
) -> Result<Verified, SignatureError> {
    if armoured.len() > MAX_SIGNATURE {
        return Err(SignatureError::Form);
    }
    let signature = SshSig::from_pem(armoured.trim()).map_err(|_| SignatureError::Form)?;
    if signature.namespace() != NAMESPACE {
        return Err(SignatureError::Namespace(signature.namespace().chars().take(64).collect()));
    }
    let key = signature.public_key().fingerprint(HashAlg::Sha256).to_string();
    let owned = || (operator.to_owned(), key.clone());
    let signer = signers.find(operator, signature.public_key()).ok_or_else(|| {
        let (operator, key) = owned();
        SignatureError::Unknown { operator, key }
    })?;
    if !signer.is_valid_at(now) {
        let (operator, key) = owned();
        return Err(SignatureError::Time { operator, key });
    }
    signer.key.verify(NAMESPACE, text.as_bytes(), &signature).map_err(|_| SignatureError::Text)?;
    if let Some(flags) = flags(&signature) {
        if flags & PRESENT == 0 {
            return Err(SignatureError::NotTouched);
        }
        if signer.verify_required && flags & VERIFIED == 0 {
            return Err(SignatureError::NotVerified);
        }
    }
    Ok(Verified { operator: operator.to_owned(), key, signer: signer.line() })
}

/// What the security key says of how the signature was made. The flags are part of what it signed.
fn flags(signature: &SshSig) -> Option<u8> {
    match signature.public_key() {
        KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            let bytes = signature.signature_bytes();
            // A signature that has no trailer did not verify.
            Some(bytes.len().checked_sub(TRAILER).and_then(|at| bytes.get(at)).copied().unwrap_or(0))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
