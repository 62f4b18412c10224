//! The private key of a client, and what it signs to show who the client is (RFC 7523, `private_key_jwt`).
//!
//! Invariant: a signed text names one client, one issuer and a few minutes, and counts once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use crate::credential::secret::Secret;

/// How long a signed text counts, in seconds: for the way to the authorization server, whose clock may be another.
const LIFE: u64 = 120;

/// Why nothing can be signed with a key. Nothing of its text is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadKey {
    #[error("it is no private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NoPem,
    #[error("the private key is encrypted; keep it without a passphrase where nobody else reads it")]
    Encrypted,
    #[error("the private key is in an older form; convert it: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW")]
    OldForm,
    #[error("private keys of this kind cannot be used: RSA of 2048 to 4096 bits, P-256, P-384 and Ed25519 can")]
    Kind,
}

pub(super) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Whether a key can sign for a client.
///
/// # Errors
/// Why not.
pub fn can_sign(key: &Secret) -> Result<(), BadKey> {
    Signer::of(key).map(drop)
}

impl Signer {
    pub(super) fn of(key: &Secret) -> Result<Signer, BadKey> {
        let pem = key.expose();
        if pem.contains("ENCRYPTED") {
            return Err(BadKey::Encrypted);
        }
        let random = SystemRandom::new();
        match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadKey::NoPem)? {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let curve = |kind| EcdsaKeyPair::from_pkcs8(kind, der, &random).ok();
                let rsa = || RsaKeyPair::from_pkcs8(der).ok().map(Signer::Rsa);
                let p256 = || curve(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Signer::P256);
                let p384 = || curve(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Signer::P384);
                let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Signer::Ed25519);
                rsa().or_else(p256).or_else(p384).or_else(ed25519).ok_or(BadKey::Kind)
            }
            PrivateKeyDer::Pkcs1(der) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map(Signer::Rsa).map_err(|_| BadKey::Kind)
            }
            PrivateKeyDer::Sec1(_) => Err(BadKey::OldForm),
            _ => Err(BadKey::Kind),
        }
    }

    /// What it can be asked for, the best first. RFC 9864 gives EdDSA with this curve a name of its own.
    fn algorithms(&self) -> &'static [&'static str] {
        match self {
            Signer::Rsa(_) => &["RS256", "PS256"],
            Signer::P256(_) => &["ES256"],
            Signer::P384(_) => &["ES384"],
            Signer::Ed25519(_) => &["EdDSA", "Ed25519"],
        }
    }

    /// The first of its algorithms that is taken; without a list any is.
    ///
    /// # Errors
    /// All that it can, where none of them is taken.
    pub(super) fn algorithm(&self, taken: Option<&[&str]>) -> Result<&'static str, &'static [&'static str]> {
        let mut own = self.algorithms().iter();
        own.find(|name| taken.is_none_or(|taken| taken.contains(name))).copied().ok_or(self.algorithms())
    }

    /// A text that shows `issuer`, and nobody else, that the client is there. Nothing where the system gives no random
    /// numbers.
    pub(super) fn assertion(
        &self,
        algorithm: &str,
        key_id: Option<&str>,
        client: &str,
        issuer: &str,
        now: u64,
    ) -> Option<Secret> {
        let random = SystemRandom::new();
        let mut once = [0; 16];
        random.fill(&mut once).ok()?;
        let mut head = json!({"alg": algorithm, "typ": "client-authentication+jwt"});
        if let (Some(id), Some(head)) = (key_id, head.as_object_mut()) {
            head.insert("kid".to_owned(), json!(id));
        }
        let claims = json!({
            "iss": client, "sub": client, "aud": issuer, "iat": now, "exp": now + LIFE,
            "jti": URL_SAFE_NO_PAD.encode(once),
        });
        let part = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = self.sign(algorithm, signed.as_bytes(), &random)?;
        Some(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    fn sign(&self, algorithm: &str, text: &[u8], random: &SystemRandom) -> Option<Vec<u8>> {
        Some(match self {
            Signer::Rsa(pair) => {
                let padding: &dyn RsaEncoding = if algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, random, text, &mut signature).ok()?;
                signature
            }
            Signer::P256(pair) | Signer::P384(pair) => pair.sign(random, text).ok()?.as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pem: &str) -> Result<Signer, BadKey> {
        Signer::of(&Secret::new(pem.to_owned()))
    }

    #[test]
    fn what_cannot_sign_is_said() {
        let pem = |title: &str, body: &str| format!("-----BEGIN {title}-----\n{body}\n-----END {title}-----");
        for (key, why) in [
            ("sk_live_abcdef".to_owned(), BadKey::NoPem),
            (pem("CERTIFICATE", "AAAA"), BadKey::NoPem),
            (pem("PRIVATE KEY", "!"), BadKey::NoPem),
            (pem("ENCRYPTED PRIVATE KEY", "AAAA"), BadKey::Encrypted),
            (pem("EC PRIVATE KEY", "AAAA"), BadKey::OldForm),
            (pem("PRIVATE KEY", "AAAA"), BadKey::Kind),
            (pem("RSA PRIVATE KEY", "AAAA"), BadKey::Kind),
        ] {
            assert_eq!(of(&key).err(), Some(why), "{key}");
        }
    }

    /// A text of RFC 8032's first key, verified with the public half that stands there.
    #[test]
    fn a_signed_text_names_client_issuer_and_time() {
        let der = [
            &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..],
            &hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
        ];
        let body = base64::engine::general_purpose::STANDARD.encode(der.concat());
        let signer = of(&format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----")).unwrap();
        assert_eq!(signer.algorithm(None), Ok("EdDSA"));
        assert_eq!(signer.algorithm(Some(&["ES256", "Ed25519"])), Ok("Ed25519"));
        assert_eq!(signer.algorithm(Some(&["ES256"])), Err(&["EdDSA", "Ed25519"][..]));
        let once = signer.assertion("EdDSA", Some("k1"), "me", "https://auth.example", 1000).unwrap();
        let again = signer.assertion("EdDSA", None, "me", "https://auth.example", 1000).unwrap();
        assert_ne!(once.expose(), again.expose());
        let parts: Vec<_> = once.expose().split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let read = |at: usize| serde_json::from_slice::<serde_json::Value>(&parts[at]).unwrap();
        assert_eq!(read(0), json!({"alg": "EdDSA", "kid": "k1", "typ": "client-authentication+jwt"}));
        let mut claims = read(1);
        assert!(claims.as_object_mut().unwrap().remove("jti").unwrap().as_str().unwrap().len() > 20);
        let expected =
            json!({"iss": "me", "sub": "me", "aud": "https://auth.example", "iat": 1000, "exp": 1000 + LIFE});
        assert_eq!(claims, expected);
        let signed = once.expose().rsplit_once('.').unwrap().0;
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public)
            .verify(signed.as_bytes(), &parts[2])
            .unwrap();
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
