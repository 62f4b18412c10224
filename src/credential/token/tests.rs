//! Tokens that other software has signed (`vectors.json`), and every way to bend one.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;
use crate::call::{Claim, ConditionalScope, Principal, PrincipalKind};

const ISSUER: &str = "https://auth.example.com/";
const RESOURCE: &str = "https://cs.example/mcp/stripe";
/// When the vectors are valid.
const NOW: i64 = 1_799_998_000;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn issuer() -> Issuer {
    Issuer {
        name: "acme".to_owned(),
        issuer: ISSUER.to_owned(),
        audience: Vec::new(),
        keys: KeySource::Url("https://auth.example.com/jwks".to_owned()),
        algorithms: Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect(),
        leeway: Duration::from_secs(30),
        scopes_from: None,
        claims: Vec::new(),
    }
}

fn verify(text: &str, keys: &KeySet, issuer: &Issuer, now: i64) -> Result<Claims, Bad> {
    Token::read(text)?.verify(issuer, keys, RESOURCE, now)
}

fn set(keys: &Value) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap().0
}

/// An issuer of the test's own.
struct Signer {
    pair: EcdsaKeyPair,
    keys: KeySet,
}

impl Signer {
    fn new() -> Signer {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let text = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let keys = set(&json!([{"kty": "EC", "crv": "P-256", "kid": "k", "x": text(x), "y": text(y)}]));
        Signer { pair, keys }
    }

    fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The good payload with changes; `null` takes a member out.
    fn payload(change: &Value) -> Value {
        let mut payload = json!({"iss": ISSUER, "aud": RESOURCE, "sub": "alice", "exp": NOW + 60, "iat": NOW - 60});
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(payload.as_object_mut().unwrap().remove(name)),
                value => payload[name] = value.clone(),
            }
        }
        payload
    }

    fn judge(&self, change: &Value) -> Result<Claims, Bad> {
        self.judge_text(HEAD, &Signer::payload(change).to_string())
    }

    fn judge_text(&self, header: &str, payload: &str) -> Result<Claims, Bad> {
        verify(&self.sign(header, payload), &self.keys, &issuer(), NOW)
    }
}

const HEAD: &str = r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#;

#[test]
fn tokens_of_every_algorithm_are_verified() {
    let vectors = vectors();
    let keys = set(&vectors["keys"]);
    for (name, algorithm) in Algorithm::ALL {
        let text = vectors["tokens"][name].as_str().unwrap();
        let claims = verify(text, &keys, &issuer(), NOW).unwrap_or_else(|bad| panic!("{name}: {bad}"));
        assert_eq!((claims.subject(), claims.expires()), ("alice", 1_800_000_000));
        let without = Issuer { algorithms: vec![Algorithm::Rs512], ..issuer() };
        if algorithm != Algorithm::Rs512 {
            assert_eq!(verify(text, &keys, &without, NOW).unwrap_err(), Bad::Algorithm, "{name}");
        }
        // Every byte counts: the first of each part, and the last of the signature.
        for (at, part) in text.split('.').enumerate() {
            for place in [0, part.len() - 2] {
                let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
                let other = if part.as_bytes()[place] == b'A' { "B" } else { "A" };
                parts[at].replace_range(place..=place, other);
                assert!(verify(&parts.join("."), &keys, &issuer(), NOW).is_err(), "{name} {at} {place}");
            }
        }
        // By another key of the set, under this key's name.
        let others: Vec<Value> = vectors["keys"].as_array().unwrap().clone();
        let kid = |key: &Value| verify(text, &set(&json!([key])), &issuer(), NOW).is_ok();
        assert_eq!(others.iter().filter(|key| kid(key)).count(), 1, "{name}");
    }
}

/// The public key is no shared key, and no signature is no signature.
#[test]
fn an_algorithm_is_never_taken_from_the_token_alone() {
    let vectors = vectors();
    let keys = set(&vectors["keys"]);
    let payload = URL_SAFE_NO_PAD.encode(Signer::payload(&json!({})).to_string());
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None","kid":"r1"}"#,
        r#"{"alg":"HS256","kid":"r1"}"#,
        r#"{"alg":"","kid":"r1"}"#,
        r#"{"alg":"rs256","kid":"r1"}"#,
        r#"{"alg":["RS256"],"kid":"r1"}"#,
        r#"{"alg":"ES512","kid":"r1"}"#,
        r#"{"kid":"r1"}"#,
    ] {
        let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
        let modulus = vectors["keys"][0]["n"].as_str().unwrap();
        for secret in [modulus.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(modulus).unwrap(), Vec::new()] {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
            let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
            for text in [format!("{signed}."), format!("{signed}.{tag}")] {
                assert_eq!(verify(&text, &keys, &issuer(), NOW).unwrap_err(), Bad::Algorithm, "{header}");
            }
        }
    }
    // A key of one kind for an algorithm of another.
    for (alg, kid) in [("ES256", "r1"), ("RS256", "e1"), ("ES384", "e1"), ("EdDSA", "e1"), ("PS256", "d1")] {
        let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": kid}).to_string()));
        assert_eq!(verify(&format!("{signed}.AAAA"), &keys, &issuer(), NOW).unwrap_err(), Bad::NoKey, "{alg} {kid}");
    }
}

#[test]
fn a_token_has_one_spelling() {
    let signer = Signer::new();
    let good = signer.sign(HEAD, &Signer::payload(&json!({})).to_string());
    assert!(verify(&good, &signer.keys, &issuer(), NOW).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!() };
    for odd in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{good}."),
        format!("{good}.{payload}"),
        format!("{good}.{payload}.{signature}"),
        format!("{good}="),
        format!("{good}A"),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload} .{signature}"),
        good.replacen('.', "%2E", 1),
        "x".repeat(MAX_TOKEN + 1),
        format!("{}.{payload}.{signature}", "A".repeat(MAX_HEADER + 1)),
    ] {
        assert!(verify(&odd, &signer.keys, &issuer(), NOW).is_err(), "{odd:.80}");
    }
    // Bits that decoders throw away: 64 bytes of signature leave four of them.
    let last = signature.as_bytes()[signature.len() - 1];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.iter().position(|letter| *letter == last).unwrap();
    let other = char::from(alphabet[place + 1]);
    let odd = format!("{}{other}", &good[..good.len() - 1]);
    assert_eq!(verify(&odd, &signer.keys, &issuer(), NOW).unwrap_err(), Bad::Base64);
}

#[test]
fn a_header_that_asks_for_more_is_refused() {
    let signer = Signer::new();
    let payload = Signer::payload(&json!({})).to_string();
    for (header, bad) in [
        (r#"{"alg":"none","alg":"ES256","kid":"k"}"#, Bad::Json),
        (r#"{"alg":"ES256","alg":"ES256","kid":"k"}"#, Bad::Json),
        (r#"{"alg":"ES256","ALG":"none","kid":"k"}"#, Bad::Json),
        (r#"{"alg":"ES256","\u0061lg":"none","kid":"k"}"#, Bad::Json),
        (r#"{"alg":"ES256","kid":"k"} "x""#, Bad::Json),
        (r#"{"alg":"ES256","kid":"k""#, Bad::Json),
        (r#"["ES256"]"#, Bad::Json),
        (r#"{"alg":"ES256","kid":"k","crit":["exp"]}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","crit":[]}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","b64":false}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","jku":"https://evil.example/jwks"}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","x5u":"https://evil.example/x"}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","x5c":["MII"]}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","jwk":{"kty":"EC"}}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","cty":"JWT"}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","zip":"DEF"}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","enc":"A128GCM"}"#, Bad::Header),
        (r#"{"alg":"ES256","kid":"k","typ":"dpop+jwt"}"#, Bad::Type),
        (r#"{"alg":"ES256","kid":"k","typ":"logout+jwt"}"#, Bad::Type),
        (r#"{"alg":"ES256","kid":"k","typ":7}"#, Bad::Type),
        (r#"{"alg":"ES256","kid":"../../etc/passwd"}"#, Bad::NoKey),
        (r#"{"alg":"ES256","kid":"k' OR 1=1"}"#, Bad::NoKey),
        (r#"{"alg":"ES256","kid":"K"}"#, Bad::NoKey),
        (r#"{"alg":"ES256","kid":"k\u0000"}"#, Bad::NoKey),
        (r#"{"alg":"ES256","kid":""}"#, Bad::Kid),
        (r#"{"alg":"ES256","kid":["k"]}"#, Bad::Kid),
        (r#"{"alg":"ES256","kid":null}"#, Bad::Kid),
    ] {
        assert_eq!(signer.judge_text(header, &payload).unwrap_err(), bad, "{header}");
    }
    let long = json!({"alg": "ES256", "kid": "k".repeat(MAX_KID + 1)}).to_string();
    assert_eq!(signer.judge_text(&long, &payload).unwrap_err(), Bad::Kid);
    for good in [
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#,
        r#"{"typ":"application/at+jwt","kid":"k","alg":"ES256","x5t":"abc"}"#,
    ] {
        assert!(signer.judge_text(good, &payload).is_ok(), "{good}");
    }
}

#[test]
fn every_claim_has_to_be_there_and_right() {
    let signer = Signer::new();
    let huge: Value = serde_json::from_str("1e400").unwrap_or_else(|_| json!(1e308));
    for (change, bad) in [
        (json!({"iss": null}), Bad::Issuer),
        (json!({"iss": "https://auth.example.com"}), Bad::Issuer),
        (json!({"iss": "https://auth.example.com/ "}), Bad::Issuer),
        (json!({"iss": "HTTPS://auth.example.com/"}), Bad::Issuer),
        // A Cyrillic letter.
        (json!({"iss": "https://\u{430}uth.example.com/"}), Bad::Issuer),
        (json!({"iss": [ISSUER]}), Bad::Issuer),
        (json!({"aud": null}), Bad::Audience),
        (json!({"aud": ""}), Bad::Audience),
        (json!({"aud": []}), Bad::Audience),
        (json!({"aud": "https://cs.example/mcp/statsig"}), Bad::Audience),
        (json!({"aud": "https://cs.example/mcp/stripe/"}), Bad::Audience),
        (json!({"aud": "https://cs.example"}), Bad::Audience),
        (json!({"aud": [RESOURCE, 7]}), Bad::Audience),
        (json!({"aud": {"a": RESOURCE}}), Bad::Audience),
        (json!({"sub": null}), Bad::Subject),
        (json!({"sub": ""}), Bad::Subject),
        (json!({"sub": 7}), Bad::Subject),
        (json!({"sub": "al ice"}), Bad::Subject),
        (json!({"sub": "al\nice"}), Bad::Subject),
        (json!({"sub": "\u{430}lice"}), Bad::Subject),
        (json!({"sub": "a".repeat(256)}), Bad::Subject),
        (json!({"exp": null}), Bad::Time),
        (json!({"exp": (NOW + 60).to_string()}), Bad::Time),
        (json!({"exp": 1_800_000_000.5}), Bad::Time),
        (json!({"exp": -1}), Bad::Time),
        (json!({"exp": true}), Bad::Time),
        (json!({"exp": [NOW + 60]}), Bad::Time),
        (json!({"exp": i64::MAX}), Bad::Time),
        (json!({"exp": u64::MAX}), Bad::Time),
        (json!({"exp": huge}), Bad::Time),
        (json!({"exp": 0}), Bad::Expired),
        (json!({"exp": NOW - 30}), Bad::Expired),
        (json!({"nbf": NOW + 31}), Bad::Early),
        (json!({"nbf": "0"}), Bad::Time),
        (json!({"iat": NOW + 31}), Bad::Early),
        (json!({"iat": 1.5}), Bad::Time),
        (json!({"cnf": {"jkt": "x"}}), Bad::Bound),
        (json!({"cnf": []}), Bad::Bound),
    ] {
        assert_eq!(signer.judge(&change).unwrap_err(), bad, "{change}");
    }
    for good in [
        json!({"exp": NOW - 29}),
        json!({"nbf": NOW + 30, "iat": null}),
        json!({"aud": ["x", RESOURCE]}),
        json!({"sub": "auth0|1234"}),
    ] {
        assert!(signer.judge(&good).is_ok(), "{good}");
    }
    let payload = Signer::payload(&json!({})).to_string();
    for (bent, bad) in [
        (payload.replacen('{', r#"{"iss":"https://evil.example/","#, 1), Bad::Json),
        (payload.replacen('{', r#"{"Exp":9999999999,"#, 1), Bad::Json),
        (format!("{payload}{payload}"), Bad::Json),
        (format!("[{payload}]"), Bad::Json),
        (format!("\u{feff}{payload}"), Bad::Json),
        (payload.replace(&(NOW + 60).to_string(), "1e999"), Bad::Json),
        (payload.replace(&(NOW + 60).to_string(), "99999999999999999999999"), Bad::Json),
        (payload.replace(&(NOW + 60).to_string(), "1.8e9"), Bad::Time),
        (signer.sign(HEAD, &payload), Bad::Json),
    ] {
        assert_eq!(signer.judge_text(HEAD, &bent).unwrap_err(), bad, "{bent:.120}");
    }
    // The audience of the configuration takes the place of the address.
    let named = Issuer { audience: vec!["countersign".to_owned()], ..issuer() };
    let of = |aud: &str| {
        verify(&signer.sign(HEAD, &Signer::payload(&json!({"aud": aud})).to_string()), &signer.keys, &named, NOW)
    };
    assert!(of("countersign").is_ok());
    assert_eq!(of(RESOURCE).unwrap_err(), Bad::Audience);
}

#[test]
fn keys_that_cannot_be_told_apart_or_are_weak_are_not_used() {
    let vectors = vectors();
    let (rsa, ec, weak) = (&vectors["keys"][0], &vectors["keys"][1], &vectors["weak"]);
    let with = |key: &Value, name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    for (key, why) in [
        (weak.clone(), Passed::Weak),
        (with(rsa, "e", json!("AQ")), Passed::Weak),
        (with(rsa, "n", json!(URL_SAFE_NO_PAD.encode([0; 256]))), Passed::Weak),
        (with(rsa, "n", json!(URL_SAFE_NO_PAD.encode([255; 1025]))), Passed::Kind),
        (with(rsa, "n", json!("***")), Passed::Malformed),
        (with(rsa, "n", Value::Null), Passed::Malformed),
        (with(rsa, "use", json!("enc")), Passed::Use),
        (with(rsa, "use", json!(7)), Passed::Use),
        (with(rsa, "key_ops", json!(["encrypt"])), Passed::Use),
        (with(rsa, "key_ops", json!("verify")), Passed::Use),
        (with(rsa, "alg", json!("HS256")), Passed::Kind),
        (with(rsa, "alg", json!("ES256")), Passed::Kind),
        (with(rsa, "alg", json!("RSA-OAEP")), Passed::Kind),
        (with(rsa, "d", json!("AQ")), Passed::Private),
        (with(rsa, "kid", json!("")), Passed::Malformed),
        (with(rsa, "kid", json!(1)), Passed::Malformed),
        (with(ec, "crv", json!("P-521")), Passed::Kind),
        (with(ec, "crv", json!("secp256k1")), Passed::Kind),
        (with(ec, "x", json!("AQ")), Passed::Malformed),
        (json!({"kty": "oct", "k": "c2VjcmV0", "kid": "o"}), Passed::Kind),
        (json!({"kid": "x"}), Passed::Malformed),
        (json!("x"), Passed::Malformed),
    ] {
        let text = json!({"keys": [key]}).to_string();
        let (keys, passed) = KeySet::parse(text.as_bytes()).unwrap();
        assert_eq!((keys.len(), passed.as_slice()), (0, &[(0, why)][..]), "{text:.200}");
    }
    // Two with one name are both out, whichever came first; the third stays.
    let (keys, passed) =
        KeySet::parse(json!({"keys": [rsa, with(ec, "kid", json!("r1")), ec]}).to_string().as_bytes()).unwrap();
    assert_eq!((keys.len(), passed), (1, vec![(0, Passed::Repeated), (1, Passed::Repeated)]));
    for (text, why) in [
        ("", Unreadable::Json),
        ("{\"keys\":[],\"keys\":[]}", Unreadable::Json),
        ("[]", Unreadable::NoKeys),
        ("{\"keys\":{}}", Unreadable::NoKeys),
        (&json!({"keys": vec![rsa; 101]}).to_string(), Unreadable::TooMany),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes()).unwrap_err(), why, "{text:.40}");
    }
    // A token by the weak key, and one without a kid where two keys fit.
    let token = |name: &str| vectors["tokens"][name].as_str().unwrap().to_owned();
    assert_eq!(verify(&token("weak"), &set(&json!([rsa, weak])), &issuer(), NOW).unwrap_err(), Bad::NoKey);
    let signer = Signer::new();
    let both = KeySet::parse(json!({"keys": [ec, with(ec, "kid", json!("e2"))]}).to_string().as_bytes()).unwrap().0;
    let text = signer.sign(r#"{"alg":"ES256"}"#, &Signer::payload(&json!({})).to_string());
    assert_eq!(verify(&text, &both, &issuer(), NOW).unwrap_err(), Bad::WhichKey);
}

fn claims(change: &Value) -> Claims {
    Signer::new().judge(change).unwrap()
}

fn tests(of: &[(&str, &[&str])]) -> Vec<ClaimTest> {
    let wanted = |texts: &[&str]| texts.iter().map(|text| Wanted::Text((*text).to_owned())).collect();
    of.iter().map(|(claim, any)| ClaimTest { claim: (*claim).to_owned(), any_of: wanted(any) }).collect()
}

#[test]
fn a_principal_is_matched_by_what_its_token_says() {
    let claims = claims(&json!({
        "groups": ["billing", "all"], "email_verified": true, "level": 3, "https://x.example/r": "a",
        "realm_access": {"roles": ["ops"]},
    }));
    for (asked, passes) in [
        (tests(&[]), true),
        (tests(&[("sub", &["alice"])]), true),
        (tests(&[("sub", &["bob", "alice"])]), true),
        (tests(&[("sub", &["bob"])]), false),
        (tests(&[("sub", &["alic"])]), false),
        (tests(&[("groups", &["billing"])]), true),
        (tests(&[("groups", &["bill"])]), false),
        (tests(&[("groups", &["billing"]), ("sub", &["bob"])]), false),
        (tests(&[("nothing", &["x"])]), false),
        (tests(&[("email_verified", &["true"])]), false),
        (tests(&[("level", &["3"])]), false),
        (tests(&[("https://x.example/r", &["a"])]), true),
        (tests(&[("/realm_access/roles", &["ops"])]), true),
        (tests(&[("/realm_access", &["ops"])]), false),
    ] {
        assert_eq!(claims.pass(&asked), passes, "{asked:?}");
    }
    let verified = |yes| vec![ClaimTest { claim: "email_verified".to_owned(), any_of: vec![Wanted::Bool(yes)] }];
    assert!(claims.pass(&verified(true)) && !claims.pass(&verified(false)));
}

#[test]
fn a_token_chooses_among_the_scopes_of_its_principal_and_adds_none() {
    let conditional = ConditionalScope {
        scope: "stripe/create_refund".to_owned(),
        tests: Vec::new(),
        amount: None,
        environments: Some(vec!["sandbox".to_owned()]),
        hours: None,
        until: None,
    };
    let own = vec!["stripe/read".to_owned(), "statsig/get_*".to_owned()];
    let staff = Principal {
        conditional_scopes: vec![conditional.clone()],
        ..Principal::plain("staff", PrincipalKind::Jwt, own.clone())
    };
    let prefixed = ScopesFrom { claim: "scope".to_owned(), words: Vocabulary::Prefix("cs:".to_owned()) };
    let of = |scope: Value| {
        let made = claims(&json!({"scope": scope})).principal(&staff, false, Some(&prefixed), &[]).unwrap();
        assert_eq!((made.name.as_str(), made.subject.as_deref()), ("staff/alice", Some("alice")));
        (made.scopes, made.conditional_scopes)
    };
    let none = (Vec::new(), Vec::new());
    assert_eq!(of(json!("openid cs:*/* profile")), (own.clone(), vec![conditional.clone()]));
    assert_eq!(of(json!("cs:stripe/read")), (vec!["stripe/read".to_owned()], Vec::new()));
    assert_eq!(of(json!(["cs:statsig/get_gate"])), (vec!["statsig/get_gate".to_owned()], Vec::new()));
    assert_eq!(of(json!("cs:stripe/create_*")), (Vec::new(), vec![conditional.clone()]));
    for nothing in ["", "stripe/read", "cs:stripe/financial", "cs:stripe/delete_customer", "cs:", "CS:stripe/read"] {
        assert_eq!(of(json!(nothing)), none, "{nothing}");
    }
    let bad = |value: Value| claims(&value).principal(&staff, true, Some(&prefixed), &[]).unwrap_err();
    assert_eq!(bad(json!({"scope": 7})), Bad::Claim);
    assert_eq!(bad(json!({"scope": ["cs:stripe/read", 7]})), Bad::Claim);
    assert_eq!(bad(json!({"scope": "a ".repeat(300)})), Bad::Claim);
    let missing = claims(&json!({})).principal(&staff, true, Some(&prefixed), &[]).unwrap();
    assert_eq!((missing.name.as_str(), missing.scopes.len()), ("staff", 0));
    // Without `scopes_from` a token's scopes are nobody's business.
    let plain = claims(&json!({"scope": "cs:*/*"})).principal(&staff, false, None, &[]).unwrap();
    assert_eq!(plain.scopes, own);

    let map = [("refunds".to_owned(), vec!["stripe/create_refund".to_owned(), "stripe/delete_customer".to_owned()])];
    let mapped = ScopesFrom { claim: "scope".to_owned(), words: Vocabulary::Map(map.into()) };
    let made =
        claims(&json!({"scope": "refunds cs:stripe/read"})).principal(&staff, false, Some(&mapped), &[]).unwrap();
    assert_eq!((made.scopes.len(), made.conditional_scopes), (0, vec![conditional]));
    assert_eq!(mapped.words_for("stripe", &["stripe/create_refund"]), ["refunds"]);
    assert!(mapped.words_for("statsig", &["*/*"]).is_empty() && mapped.words_for("stripe", &["statsig/*"]).is_empty());
    assert_eq!(
        prefixed.words_for("stripe", &["*/read", "stripe/x", "statsig/y", "*/*"]),
        ["cs:stripe/read", "cs:stripe/x"]
    );
}

#[test]
fn rules_see_the_claims_that_the_operator_lists_and_no_others() {
    let staff = Principal::plain("staff", PrincipalKind::Jwt, Vec::new());
    let listed = ["team", "groups", "level", "missing"].map(str::to_owned);
    let of = |change: Value| claims(&change).principal(&staff, false, None, &listed);
    let made = of(json!({"team": "billing", "groups": ["a", "b"], "level": 3, "email": "a@b.example"})).unwrap();
    // Whoever rules under one of these names is the one who asked.
    assert!(made.may_be("alice") && made.may_be("staff/alice") && made.may_be("billing"));
    assert!(!made.may_be("staff") && !made.may_be("bob") && !staff.may_be("alice"));
    let seen: Vec<_> = made.claims.into_iter().collect();
    assert_eq!(
        seen,
        [
            ("groups".to_owned(), Claim::Many(vec!["a".to_owned(), "b".to_owned()])),
            ("level".to_owned(), Claim::One("3".to_owned())),
            ("team".to_owned(), Claim::One("billing".to_owned())),
        ]
    );
    for odd in [
        json!({"team": {"a": 1}}),
        json!({"team": "x".repeat(257)}),
        json!({"groups": ["a", 1]}),
        json!({"groups": vec!["a"; 65]}),
    ] {
        assert_eq!(of(odd.clone()).unwrap_err(), Bad::Claim, "{odd:.60}");
    }
}
