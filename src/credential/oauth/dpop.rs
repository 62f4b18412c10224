//! Tokens that count for one key alone (DPoP, RFC 9449): the key of a sign-in, and a proof of it for each request.
//!
//! Invariant: a proof names one method, one address and, at a server, one token, and is made for one request. The key is
//! written down with the tokens that it belongs to, sealed as they are, and goes nowhere. What a server says to put into
//! proofs (its nonce) stands in those for it alone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use oauth2::TokenResponse as _;
use oauth2::basic::BasicTokenType;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rmcp::transport::auth::{AuthorizationMetadata, OAuthTokenResponse};
use serde_json::json;

use super::{Fault, Http, endpoint, now, said};
use crate::credential::secret::Secret;

const DPOP: HeaderName = HeaderName::from_static("dpop");
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const WANTS_NONCE: &str = "use_dpop_nonce";
const BAD_PROOF: &str = "invalid_dpop_proof";
/// Longest nonce that is taken over.
const LONGEST: usize = 512;
/// An uncompressed point: a byte that says so, and two numbers of 32.
const POINT: usize = 65;

/// Whether tokens are to count for a key of ours alone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Dpop {
    Off,
    /// Where the authorization server says that it gives such tokens.
    #[default]
    Auto,
    /// Others are not used.
    Required,
}

impl Dpop {
    /// Whether a new sign-in shows a key.
    pub(super) fn shows(self, metadata: &AuthorizationMetadata) -> Result<bool, Fault> {
        let takes = endpoint::list(metadata, "dpop_signing_alg_values_supported");
        let takes = takes.is_some_and(|algorithms| algorithms.contains(&"ES256"));
        match self {
            Dpop::Off => Ok(false),
            Dpop::Required if !takes => Err(Fault::NoDpop),
            Dpop::Auto | Dpop::Required => Ok(takes),
        }
    }
}

/// Who reads a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reader {
    Issuer,
    Server,
}

/// The key of a sign-in.
pub(super) struct Prover {
    pair: EcdsaKeyPair,
    /// The private key, for the record.
    key: Arc<Secret>,
    /// The public one, as proofs show it.
    public: serde_json::Value,
    at_issuer: Mutex<Option<String>>,
    at_server: Mutex<Option<String>>,
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prover")
    }
}

impl Prover {
    /// A new one. Nothing where the system gives no random numbers.
    pub(super) fn new() -> Option<Arc<Prover>> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).ok()?;
        Prover::of(Arc::new(Secret::new(STANDARD.encode(made.as_ref()))))
    }

    /// The one of a record.
    pub(super) fn of(key: Arc<Secret>) -> Option<Arc<Prover>> {
        let der = zeroize::Zeroizing::new(STANDARD.decode(key.expose()).ok()?);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &SystemRandom::new()).ok()?;
        let point = <[u8; POINT]>::try_from(pair.public_key().as_ref()).ok()?;
        let (x, y) = point.get(1..)?.split_at(POINT / 2);
        let part = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let public = json!({"kty": "EC", "crv": "P-256", "x": part(x), "y": part(y)});
        Some(Arc::new(Prover { pair, key, public, at_issuer: Mutex::default(), at_server: Mutex::default() }))
    }

    pub(super) fn key(&self) -> &Arc<Secret> {
        &self.key
    }

    fn nonce(&self, reader: Reader) -> &Mutex<Option<String>> {
        match reader {
            Reader::Issuer => &self.at_issuer,
            Reader::Server => &self.at_server,
        }
    }

    /// For one request. Nothing where the system gives no random numbers.
    fn proof(&self, reader: Reader, method: &Method, to: &Uri, token: Option<&Secret>) -> Option<HeaderValue> {
        let random = SystemRandom::new();
        let mut once = [0; 16];
        random.fill(&mut once).ok()?;
        let place = format!("{}://{}{}", to.scheme_str()?, to.authority()?, to.path());
        let mut claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(once), "htm": method.as_str(), "htu": place, "iat": now(),
        });
        let more = claims.as_object_mut()?;
        if let Some(token) = token {
            more.insert("ath".to_owned(), json!(URL_SAFE_NO_PAD.encode(token.digest())));
        }
        if let Some(nonce) = &*self.nonce(reader).lock().unwrap_or_else(PoisonError::into_inner) {
            more.insert("nonce".to_owned(), json!(nonce));
        }
        let head = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.public});
        let part = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = self.pair.sign(&random, signed.as_bytes()).ok()?;
        let mut field = HeaderValue::try_from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))).ok()?;
        field.set_sensitive(true);
        Some(field)
    }

    /// The nonce of an answer, for the proofs that follow. Whether there is one.
    fn learn(&self, reader: Reader, headers: &HeaderMap) -> bool {
        let fits = |nonce: &&str| {
            (1..=LONGEST).contains(&nonce.len()) && nonce.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        };
        let Some(nonce) = headers.get(NONCE).and_then(|nonce| nonce.to_str().ok()).filter(fits) else { return false };
        *self.nonce(reader).lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.to_owned());
        true
    }

    /// Posts to a token endpoint what `make` makes; once more, where it is refused for want of the nonce that the answer
    /// brings: nothing was made of the first.
    pub(super) async fn post(
        &self,
        http: &Http,
        make: impl Fn() -> Result<Request<Vec<u8>>, Fault>,
    ) -> Result<Response<Vec<u8>>, Fault> {
        let proved = || {
            let mut request = make()?;
            let proof = self.proof(Reader::Issuer, request.method(), request.uri(), None).ok_or(Fault::Unsigned)?;
            request.headers_mut().insert(DPOP, proof);
            Ok::<_, Fault>(http(request))
        };
        let failed = |why| Fault::Failed(said(why));
        let answer = proved()?.await.map_err(failed)?;
        if !(self.learn(Reader::Issuer, answer.headers()) && wants_nonce(&answer)) {
            return Ok(answer);
        }
        let answer = proved()?.await.map_err(failed)?;
        self.learn(Reader::Issuer, answer.headers());
        Ok(answer)
    }
}

fn wants_nonce(answer: &Response<Vec<u8>>) -> bool {
    let body = || serde_json::from_slice::<serde_json::Value>(answer.body()).unwrap_or_default();
    matches!(answer.status(), StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED)
        && body().get("error").is_some_and(|error| error == WANTS_NONCE)
}

/// Whether tokens count for the key that was shown, where one was. `must`: others are not taken.
pub(super) fn bound(tokens: &OAuthTokenResponse, shown: bool, must: bool) -> Result<bool, Fault> {
    match tokens.token_type() {
        BasicTokenType::Bearer if must => {
            Err(Fault::Token("it is a bearer token, and one that counts for a key alone (DPoP) is wanted"))
        }
        BasicTokenType::Bearer => Ok(false),
        BasicTokenType::Extension(kind) if shown && kind.eq_ignore_ascii_case("dpop") => Ok(true),
        BasicTokenType::Extension(_) | BasicTokenType::Mac => Err(Fault::Token("it is not a bearer token")),
    }
}

/// A token as requests to its server carry it.
#[derive(Clone, Debug)]
pub struct Carried {
    pub(super) token: Arc<Secret>,
    pub(super) prover: Option<Arc<Prover>>,
}

impl Carried {
    /// What the server may refuse.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// Whether each request needs a proof, and the server may want its newest nonce in it.
    pub fn is_proved(&self) -> bool {
        self.prover.is_some()
    }

    /// Puts it into a request to this address. Nothing where that cannot be.
    #[must_use]
    pub fn join(&self, method: &Method, to: &Uri, fields: &mut HeaderMap) -> Option<()> {
        let scheme = if self.prover.is_some() { "DPoP" } else { "Bearer" };
        let mut field = HeaderValue::try_from(format!("{scheme} {}", self.token.expose())).ok()?;
        field.set_sensitive(true);
        if let Some(prover) = &self.prover {
            fields.insert(DPOP, prover.proof(Reader::Server, method, to, Some(&self.token))?);
        }
        fields.insert(AUTHORIZATION, field);
        Some(())
    }

    /// Learns from the server's answer. Whether it is a refusal for want of the nonce that it brings: the token counts, and
    /// nothing was done.
    pub fn wants_nonce(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let news = self.prover.as_ref().is_some_and(|prover| prover.learn(Reader::Server, headers));
        news && challenged(status, headers, WANTS_NONCE)
    }

    /// Whether the server's answer says that a proof counts for nothing, and not that the token does.
    pub fn is_disproved(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.is_proved() && challenged(status, headers, BAD_PROOF)
    }
}

/// Whether a challenge has this word.
fn challenged(status: StatusCode, headers: &HeaderMap, word: &str) -> bool {
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|field| field.to_str().ok());
    status == StatusCode::UNAUTHORIZED && challenges.any(|field| field.contains(word))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    fn read(proof: &HeaderValue, prover: &Prover) -> (serde_json::Value, serde_json::Value) {
        let text = proof.to_str().unwrap();
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, prover.pair.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).unwrap();
        let part = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        (part(head), part(claims))
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_proof_names_method_address_and_token_and_is_made_once() {
        let prover = Prover::new().unwrap();
        let token = Arc::new(Secret::new("at_0123456789abcdef".to_owned()));
        let carried = Carried { token: Arc::clone(&token), prover: Some(Arc::clone(&prover)) };
        let mut fields = HeaderMap::new();
        let to = "https://mcp.example:8443/a/mcp?key=x".parse().unwrap();
        carried.join(&Method::POST, &to, &mut fields).unwrap();
        assert_eq!(fields[AUTHORIZATION], "DPoP at_0123456789abcdef");
        assert!(fields[AUTHORIZATION].is_sensitive() && fields[&DPOP].is_sensitive());
        let (head, mut claims) = read(&fields[&DPOP], &prover);
        assert_eq!((&head["typ"], &head["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
        assert_eq!(head["jwk"].as_object().unwrap().keys().collect::<Vec<_>>().len(), 4, "no private half: {head}");
        let once = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert!(now().abs_diff(claims.as_object_mut().unwrap().remove("iat").unwrap().as_u64().unwrap()) < 5);
        let ath = URL_SAFE_NO_PAD.encode(token.digest());
        assert_eq!(claims, json!({"htm": "POST", "htu": "https://mcp.example:8443/a/mcp", "ath": ath}));
        carried.join(&Method::POST, &to, &mut fields).unwrap();
        assert_ne!(read(&fields[&DPOP], &prover).1["jti"], once);
        // The same key again, from what is kept of it.
        let again = Prover::of(Arc::clone(prover.key())).unwrap();
        assert_eq!(again.public, prover.public);
    }

    #[test]
    fn a_nonce_is_the_word_of_one_reader_and_has_a_form() {
        let prover = Prover::new().unwrap();
        let token = Arc::new(Secret::new("at_0123456789abcdef".to_owned()));
        let carried = Carried { token, prover: Some(Arc::clone(&prover)) };
        let to: Uri = "https://mcp.example/mcp".parse().unwrap();
        let nonce = |reader| {
            let proof = prover.proof(reader, &Method::POST, &to, None).unwrap();
            read(&proof, &prover).1.get("nonce").cloned()
        };
        let wants = (WWW_AUTHENTICATE, "DPoP error=\"use_dpop_nonce\"");
        let long = "x".repeat(LONGEST + 1);
        for bad in ["", "a b", "a\"b", "a\\b", &long] {
            assert!(!carried.wants_nonce(StatusCode::UNAUTHORIZED, &headers(&[wants.clone(), (NONCE, bad)])), "{bad}");
        }
        assert!(!carried.wants_nonce(StatusCode::UNAUTHORIZED, &headers(std::slice::from_ref(&wants))));
        assert_eq!(nonce(Reader::Server), None);
        // It may come with any answer, and says something of a refusal only with the word for it.
        assert!(!carried.wants_nonce(StatusCode::OK, &headers(&[(NONCE, "n1")])));
        assert!(!carried.wants_nonce(StatusCode::UNAUTHORIZED, &headers(&[(NONCE, "n2")])));
        assert!(carried.wants_nonce(StatusCode::UNAUTHORIZED, &headers(&[wants.clone(), (NONCE, "n3")])));
        assert_eq!((nonce(Reader::Server), nonce(Reader::Issuer)), (Some(json!("n3")), None));
        let plain = Carried { token: Arc::clone(&carried.token), prover: None };
        assert!(!plain.wants_nonce(StatusCode::UNAUTHORIZED, &headers(&[wants, (NONCE, "n4")])));
        assert_eq!(nonce(Reader::Server), Some(json!("n3")));
    }

    #[test]
    fn a_bearer_token_is_not_taken_where_a_bound_one_is_wanted() {
        let tokens = |kind: &str| {
            let tokens = json!({"access_token": "at_0123456789abcdef", "token_type": kind});
            serde_json::from_value::<OAuthTokenResponse>(tokens).unwrap()
        };
        assert!(matches!(bound(&tokens("Bearer"), true, false), Ok(false)));
        assert!(matches!(bound(&tokens("DPoP"), true, true), Ok(true)));
        for (kind, shown, must) in
            [("bearer", true, true), ("bearer", false, true), ("DPoP", false, false), ("mac", true, false)]
        {
            assert!(bound(&tokens(kind), shown, must).is_err(), "{kind} {shown} {must}");
        }
    }
}
