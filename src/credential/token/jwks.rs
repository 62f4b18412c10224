//! The keys that an issuer publishes (RFC 7517), and what a signature by one of them is worth.
//!
//! Invariant: a key is used for the one kind of signature that its type is for. Keys that are weak, that are for
//! something else, or that two readers could take for one another are not in the set.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

use super::{Algorithm, Bad};
use crate::json::{Json, JsonText, Kind, Rules};

/// More keys than this are no key set.
const MAX_KEYS: usize = 100;
const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;

/// Keys of one issuer.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct KeySet(Vec<Key>);

#[derive(PartialEq, Eq, Debug)]
pub(super) struct Key {
    kid: Option<String>,
    /// The one that the set says it is for.
    algorithm: Option<Algorithm>,
    public: Public,
}

#[derive(PartialEq, Eq, Debug)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A text that is no key set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("it is not strict JSON")]
    Json,
    #[error("it has no list `keys`")]
    NoKeys,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
}

/// Why a key of a set is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Passed {
    #[error("it is not for signatures")]
    Use,
    #[error("its type, curve or algorithm is not supported")]
    Kind,
    #[error("it is weaker than RSA with {MIN_RSA_BITS} bits")]
    Weak,
    #[error("it is malformed")]
    Malformed,
    #[error("its private half is published with it")]
    Private,
    #[error("another key has the same kid")]
    Repeated,
}

impl KeySet {
    /// The keys that can be used, and for each of the others its place in the list and why it is not.
    ///
    /// # Errors
    /// Where it is no key set at all.
    pub fn parse(text: &[u8]) -> Result<(KeySet, Vec<(usize, Passed)>), Unreadable> {
        let text = JsonText::parse(text, Rules::UPSTREAM).map_err(|_| Unreadable::Json)?;
        let list = text.view().get("keys").filter(|keys| keys.kind() == Kind::Array).ok_or(Unreadable::NoKeys)?;
        let items: Vec<Json<'_>> = list.items().take(MAX_KEYS + 1).collect();
        if items.len() > MAX_KEYS {
            return Err(Unreadable::TooMany);
        }
        let kid = |item: &Json<'_>| item.get("kid").and_then(Json::as_str).map(std::borrow::Cow::into_owned);
        let kids: Vec<Option<String>> = items.iter().map(kid).collect();
        let (mut keys, mut passed) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            let own = kids.get(index).cloned().flatten();
            let alike = kids.iter().filter(|other| own.is_some() && **other == own).count();
            match key(*item, own) {
                Ok(_) if alike > 1 => passed.push((index, Passed::Repeated)),
                Ok(key) => keys.push(key),
                Err(why) => passed.push((index, why)),
            }
        }
        Ok((KeySet(keys), passed))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one key that is meant. Without a kid it has to be the only one that fits.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Bad> {
        let fits = |key: &&Key| key.is_for(algorithm) && (kid.is_none() || key.kid.as_deref() == kid);
        let mut found = self.0.iter().filter(fits);
        let key = found.next().ok_or(Bad::NoKey)?;
        if found.next().is_some() { Err(Bad::WhichKey) } else { Ok(key) }
    }
}

impl Key {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let of_kind = match self.public {
            Public::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Public::P256(_) => algorithm == Es256,
            Public::P384(_) => algorithm == Es384,
            Public::Ed25519(_) => algorithm == EdDsa,
        };
        of_kind && self.algorithm.is_none_or(|only| only == algorithm)
    }

    pub(super) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), Bad> {
        let plain = |kind: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(kind, key).verify(signed, signature)
        };
        let verified = match &self.public {
            Public::Rsa { n, e } => match rsa(algorithm) {
                Some(kind) => RsaPublicKeyComponents { n, e }.verify(kind, signed, signature),
                None => return Err(Bad::NoKey),
            },
            Public::P256(point) => plain(&signature::ECDSA_P256_SHA256_FIXED, point),
            Public::P384(point) => plain(&signature::ECDSA_P384_SHA384_FIXED, point),
            Public::Ed25519(point) => plain(&signature::ED25519, point),
        };
        verified.map_err(|_| Bad::Signature)
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
    }
}

fn key(item: Json<'_>, kid: Option<String>) -> Result<Key, Passed> {
    let text = |name: &str| item.get(name).and_then(Json::as_str);
    if item.get("use").is_some() && text("use").as_deref() != Some("sig") {
        return Err(Passed::Use);
    }
    let verifies = |ops: Json<'_>| ops.items().any(|op| op.as_str().as_deref() == Some("verify"));
    if item.get("key_ops").is_some_and(|ops| !verifies(ops)) {
        return Err(Passed::Use);
    }
    let kty = text("kty").ok_or(Passed::Malformed)?;
    let algorithm = match item.get("alg") {
        None => None,
        Some(alg) => Some(alg.as_str().and_then(|alg| Algorithm::named(&alg)).ok_or(Passed::Kind)?),
    };
    if kty != "oct" && item.get("d").is_some() {
        return Err(Passed::Private);
    }
    if item.get("kid").is_some() && kid.as_ref().is_none_or(String::is_empty) {
        return Err(Passed::Malformed);
    }
    let public = match (kty.as_ref(), text("crv").as_deref()) {
        ("RSA", _) => modulus(item)?,
        ("EC", Some("P-256")) => Public::P256(point(item, 32)?),
        ("EC", Some("P-384")) => Public::P384(point(item, 48)?),
        ("OKP", Some("Ed25519")) => Public::Ed25519(coordinate(item, "x", 32)?),
        _ => return Err(Passed::Kind),
    };
    let key = Key { kid, algorithm: None, public };
    if algorithm.is_some_and(|algorithm| !key.is_for(algorithm)) {
        return Err(Passed::Kind);
    }
    Ok(Key { algorithm, ..key })
}

fn bytes(item: Json<'_>, name: &str) -> Result<Vec<u8>, Passed> {
    let text = item.get(name).and_then(Json::as_str).ok_or(Passed::Malformed)?;
    URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(|_| Passed::Malformed)
}

fn modulus(item: Json<'_>) -> Result<Public, Passed> {
    let number = |name| {
        let bytes = bytes(item, name)?;
        // Some issuers write the sign.
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok(bytes.get(zeros..).unwrap_or_default().to_vec())
    };
    let (n, e) = (number("n")?, number("e")?);
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if bits < MIN_RSA_BITS || e.as_slice() == [1] {
        return Err(Passed::Weak);
    }
    if bits > MAX_RSA_BITS || !(1..=8).contains(&e.len()) {
        return Err(Passed::Kind);
    }
    Ok(Public::Rsa { n, e })
}

/// Uncompressed, as it is verified with.
fn point(item: Json<'_>, length: usize) -> Result<Vec<u8>, Passed> {
    let (x, y) = (coordinate(item, "x", length)?, coordinate(item, "y", length)?);
    Ok([vec![4], x, y].concat())
}

fn coordinate(item: Json<'_>, name: &str, length: usize) -> Result<Vec<u8>, Passed> {
    bytes(item, name).and_then(|bytes| if bytes.len() == length { Ok(bytes) } else { Err(Passed::Malformed) })
}
