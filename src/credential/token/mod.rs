//! Tokens of an organisation's own authorization server: read strictly, verified with the server's published keys, and
//! turned into what the operator has said that such tokens are worth.
//!
//! Invariant: nothing of a token is believed before its signature is verified with a key and an algorithm that the
//! operator's file allows for its issuer. What is missing or odd is a refusal, and no refusal shows any text of a token.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{Json, JsonText, Kind, Rules};

mod claims;
mod jwks;

pub use claims::{ClaimTest, Claims, ScopesFrom, Vocabulary, Wanted};
pub use jwks::{KeySet, Passed, Unreadable};

/// A longer token is not looked at.
pub const MAX_TOKEN: usize = 16 << 10;
const MAX_HEADER: usize = 2 << 10;
const MAX_KID: usize = 256;
const MAX_SUBJECT: usize = 255;
/// 9999-12-31T23:59:59Z: later is a mistake.
const LATEST: i64 = 253_402_300_799;

/// Signatures that anyone can verify and only the issuer can make. There is no `none` and nothing with a shared key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [(&'static str, Algorithm); 9] = [
        ("RS256", Algorithm::Rs256),
        ("RS384", Algorithm::Rs384),
        ("RS512", Algorithm::Rs512),
        ("PS256", Algorithm::Ps256),
        ("PS384", Algorithm::Ps384),
        ("PS512", Algorithm::Ps512),
        ("ES256", Algorithm::Es256),
        ("ES384", Algorithm::Es384),
        ("EdDSA", Algorithm::EdDsa),
    ];

    fn named(name: &str) -> Option<Algorithm> {
        // RFC 9864 gives EdDSA with this curve a name of its own.
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Algorithm::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }
}

/// Where an issuer's keys are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    File(PathBuf),
    Url(String),
}

/// An authorization server that the operator trusts, and what its tokens have to be like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuer {
    /// What the configuration calls it.
    pub name: String,
    /// What `iss` has to be, letter by letter.
    pub issuer: String,
    /// One of these has to be in `aud`; empty: the address of the server that is asked.
    pub audience: Vec<String>,
    pub keys: KeySource,
    pub algorithms: Vec<Algorithm>,
    /// By how much its clock may differ from ours.
    pub leeway: Duration,
    /// Where set, scopes come from the token, within those of the principal.
    pub scopes_from: Option<ScopesFrom>,
    /// Claims that rules see.
    pub claims: Vec<String>,
}

/// Why a token is not taken. For log and record: the client learns that it is not, and nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Bad {
    #[error("it is no bearer token of a principal and no signed token of three parts")]
    Form,
    #[error("it is too long")]
    Long,
    #[error("a part of it is not exact base64url")]
    Base64,
    #[error("its header or payload is not strict JSON")]
    Json,
    #[error("its header has a member that is refused: crit, b64, jku, jwk, x5u, x5c, cty, zip or enc")]
    Header,
    #[error("its type is not JWT or at+jwt")]
    Type,
    #[error("its algorithm is none of those that the configuration allows for its issuer")]
    Algorithm,
    #[error("its kid is no text of 1 to {MAX_KID} bytes")]
    Kid,
    #[error("its issuer is none of the configuration")]
    Issuer,
    #[error("it names no key, and the issuer has more than one for its algorithm")]
    WhichKey,
    #[error("the issuer has no key of its kid for its algorithm")]
    NoKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("exp, nbf or iat is missing or not a whole number of seconds")]
    Time,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    Early,
    #[error("its audience is neither this server nor one of the configuration")]
    Audience,
    #[error("sub is not a text of 1 to {MAX_SUBJECT} visible ASCII characters")]
    Subject,
    #[error("it is bound to a key of its client (cnf), which cannot be checked here")]
    Bound,
    #[error("a claim that the configuration takes from it is too long, or neither text nor a list of texts")]
    Claim,
}

/// A token that has been read and not been verified.
#[derive(Debug)]
pub struct Token<'t> {
    /// What is signed.
    signed: &'t [u8],
    signature: Vec<u8>,
    algorithm: Algorithm,
    kid: Option<String>,
    payload: JsonText,
}

impl<'t> Token<'t> {
    /// Reads the compact form: three parts, each in the one spelling that base64url has for it.
    ///
    /// # Errors
    /// The first thing that is wrong. Nothing is verified here.
    pub fn read(text: &'t str) -> Result<Token<'t>, Bad> {
        if text.len() > MAX_TOKEN {
            return Err(Bad::Long);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Bad::Form)?;
        let (header, payload) =
            signed.split_once('.').filter(|(_, payload)| !payload.contains('.')).ok_or(Bad::Form)?;
        if header.is_empty() || payload.is_empty() {
            return Err(Bad::Form);
        }
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Bad::Base64);
        if header.len() > MAX_HEADER {
            return Err(Bad::Long);
        }
        let (algorithm, kid) = head(object(bytes(header)?)?.view())?;
        let payload = object(bytes(payload)?)?;
        Ok(Token { signed: signed.as_bytes(), signature: bytes(signature)?, algorithm, kid, payload })
    }

    /// Whom it says that it is from: to choose the keys, not to be believed.
    pub fn claimed_issuer(&self) -> Option<String> {
        self.payload.view().get("iss")?.as_str().map(std::borrow::Cow::into_owned)
    }

    /// Whether a set has a key that this token can mean.
    pub fn has_key_in(&self, keys: &KeySet) -> bool {
        keys.find(self.kid.as_deref(), self.algorithm) != Err(Bad::NoKey)
    }

    /// Verifies everything. `now` is in seconds since 1970; `resource` is the address of the server that is asked.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(self, issuer: &Issuer, keys: &KeySet, resource: &str, now: i64) -> Result<Claims, Bad> {
        if !issuer.algorithms.contains(&self.algorithm) {
            return Err(Bad::Algorithm);
        }
        keys.find(self.kid.as_deref(), self.algorithm)?.verify(self.algorithm, self.signed, &self.signature)?;
        let payload = self.payload.view();
        if payload.get("iss").and_then(Json::as_str).as_deref() != Some(issuer.issuer.as_str()) {
            return Err(Bad::Issuer);
        }
        let expires = times(payload, now, i64::try_from(issuer.leeway.as_secs()).unwrap_or(0))?;
        audience(payload, issuer, resource)?;
        if payload.get("cnf").is_some() {
            return Err(Bad::Bound);
        }
        let subject = payload.get("sub").and_then(Json::as_str).ok_or(Bad::Subject)?.into_owned();
        if !(1..=MAX_SUBJECT).contains(&subject.len()) || !subject.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Bad::Subject);
        }
        Ok(Claims::new(subject, expires, self.payload))
    }
}

fn object(bytes: Vec<u8>) -> Result<JsonText, Bad> {
    let text = JsonText::parse(bytes, Rules::CLIENT).map_err(|_| Bad::Json)?;
    if text.view().kind() == Kind::Object { Ok(text) } else { Err(Bad::Json) }
}

/// The algorithm, and which key is meant.
fn head(header: Json<'_>) -> Result<(Algorithm, Option<String>), Bad> {
    // Each of them changes how a token is read or where its key comes from.
    const REFUSED: [&str; 9] = ["crit", "b64", "jku", "jwk", "x5u", "x5c", "cty", "zip", "enc"];
    if REFUSED.iter().any(|name| header.get(name).is_some()) {
        return Err(Bad::Header);
    }
    if let Some(typ) = header.get("typ") {
        let typ = typ.as_str().ok_or(Bad::Type)?.to_ascii_lowercase();
        if !matches!(typ.as_str(), "jwt" | "at+jwt" | "application/at+jwt") {
            return Err(Bad::Type);
        }
    }
    let algorithm = header.get("alg").and_then(Json::as_str).ok_or(Bad::Algorithm)?;
    let algorithm = Algorithm::named(&algorithm).ok_or(Bad::Algorithm)?;
    let kid = match header.get("kid") {
        None => None,
        Some(kid) => {
            let kid = kid.as_str().ok_or(Bad::Kid)?.into_owned();
            if !(1..=MAX_KID).contains(&kid.len()) {
                return Err(Bad::Kid);
            }
            Some(kid)
        }
    };
    Ok((algorithm, kid))
}

/// When it expires, in seconds since 1970.
fn times(payload: Json<'_>, now: i64, leeway: i64) -> Result<i64, Bad> {
    let time = |name: &str| match payload.get(name) {
        None => Ok(None),
        Some(value) => value.as_i64().filter(|time| (0..=LATEST).contains(time)).map(Some).ok_or(Bad::Time),
    };
    let expires = time("exp")?.ok_or(Bad::Time)?;
    if now >= expires.saturating_add(leeway) {
        return Err(Bad::Expired);
    }
    let later = now.saturating_add(leeway);
    if [time("nbf")?, time("iat")?].into_iter().flatten().any(|begins| begins > later) {
        return Err(Bad::Early);
    }
    Ok(expires)
}

fn audience(payload: Json<'_>, issuer: &Issuer, resource: &str) -> Result<(), Bad> {
    let accepted = |text: Json<'_>| {
        let text = text.as_str();
        let text = text.as_deref();
        match issuer.audience.as_slice() {
            [] => text == Some(resource),
            audience => audience.iter().any(|known| text == Some(known)),
        }
    };
    let found = payload.get("aud").is_some_and(|aud| match aud.kind() {
        Kind::String => accepted(aud),
        Kind::Array => aud.items().all(|item| item.kind() == Kind::String) && aud.items().any(accepted),
        Kind::Object | Kind::Number | Kind::Bool | Kind::Null => false,
    });
    if found { Ok(()) } else { Err(Bad::Audience) }
}

#[cfg(test)]
mod tests;
