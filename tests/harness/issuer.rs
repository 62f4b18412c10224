//! An authorization server of the test's own, as far as tokens go: one key, its public half as a key set, and tokens
//! with whatever header and payload a test wants.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::Countersign;
use super::daemon::{SERVER, set_mode};

/// What its tokens have in `iss`. Nothing listens there.
pub const ISSUER: &str = "https://auth.example.com/";
pub const AUDIENCE: &str = "https://countersign.example";
pub const KID: &str = "2026-11";

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub struct Issuer {
    pair: EcdsaKeyPair,
}

impl Issuer {
    pub fn new() -> Issuer {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Issuer { pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap() }
    }

    /// Its key, as it publishes it.
    pub fn jwk(&self) -> Value {
        let (x, y) = self.point().split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": KID, "use": "sig", "x": base64url(x), "y": base64url(y)})
    }

    pub fn point(&self) -> &[u8] {
        &self.pair.public_key().as_ref()[1..]
    }

    pub fn jwks(&self) -> Value {
        json!({"keys": [self.jwk()]})
    }

    /// The key set as a file in the daemon's folder.
    pub fn jwks_in(&self, folder: &Path) -> PathBuf {
        let path = folder.join("jwks.json");
        std::fs::write(&path, self.jwks().to_string()).unwrap();
        set_mode(&path, 0o644);
        path
    }

    /// A daemon that takes its tokens: those of the group `billing` are the principal `staff`, each subject by itself.
    pub fn trusted(&self, countersign: Countersign) -> Countersign {
        let file = self.jwks_in(countersign.dir());
        let issuer = json!({"issuer": ISSUER, "audience": AUDIENCE, "jwks": {"file": file}, "leeway": "0s"});
        let staff = json!({
            "name": "staff", "match": {"jwt": {"issuer": "acme", "claims": {"groups": ["billing"]}}},
            "scopes": [format!("{SERVER}/*")],
        });
        countersign.set("/issuers/acme", issuer).principal(staff)
    }

    /// The good payload with changes; `null` takes a member out.
    pub fn payload(change: &Value) -> Value {
        let mut payload = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now() + 600, "iat": now() - 1,
            "groups": ["billing", "everyone"],
        });
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(payload.as_object_mut().unwrap().remove(name)),
                value => payload[name] = value.clone(),
            }
        }
        payload
    }

    pub fn token(&self, change: &Value) -> String {
        self.token_of(
            &json!({"alg": "ES256", "kid": KID, "typ": "at+jwt"}).to_string(),
            &Issuer::payload(change).to_string(),
        )
    }

    /// Signed as it is, whatever it is.
    pub fn token_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(payload));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", base64url(signature.as_ref()))
    }
}
