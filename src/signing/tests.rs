//! Signatures with keys of known seeds, a security key in software among them, and the list of operators.

use ssh_key::private::Ed25519Keypair;
use ssh_key::public::SkEd25519;
use ssh_key::{Algorithm, PrivateKey, PublicKey, Signature};

use super::signers::line;
use super::*;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn list(lines: &[String]) -> Signers {
    Signers::parse(&lines.join("\n")).unwrap()
}

fn sign(key: &PrivateKey, namespace: &str, text: &str) -> String {
    key.sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap().to_pem(ssh_key::LineEnding::LF).unwrap()
}

fn text<'a>(hold: &'a CallId, digest: &'a Digest, reason: Option<&'a str>) -> RulingText<'a> {
    RulingText {
        instance: digest,
        hold,
        digest,
        definition: None,
        policy_version: "9c41",
        server: "stripe",
        environment: "production",
        expires_at: "2026-11-21T12:05:00Z",
        ruling: "approve",
        operator: "anna",
        reason,
        taken_back: 0,
        grant: None,
    }
}

#[test]
fn a_text_says_everything_and_no_two_rulings_have_one_text() {
    let (hold, digest) = ("7Q2MX0V4H1KD".parse().unwrap(), Digest::of_bytes(b"call"));
    let plain = text(&hold, &digest, None).to_string();
    assert_eq!(
        plain,
        format!(
            "countersign ruling 1\ndaemon: {digest}\nhold: 7Q2MX0V4H1KD\ndigest: {digest}\ndefinition: none\npolicy: 9c41\n\
             server: \"stripe\"\nenvironment: \"production\"\nexpires: 2026-11-21T12:05:00Z\nruling: approve\n\
             operator: \"anna\"\nreason: none\n"
        )
    );
    // Whatever a reason holds, it stays on its line and is not another one.
    let odd = ["none", "", "a\nruling: reject", "é\u{202e}\u{1f600}", "\"", "\\", "\\u000a"];
    let texts: std::collections::BTreeSet<String> =
        odd.iter().map(|reason| text(&hold, &digest, Some(reason)).to_string()).chain([plain]).collect();
    assert_eq!(texts.len(), odd.len() + 1);
    assert!(texts.iter().all(|text| text.lines().count() == 12 && text.is_ascii()), "{texts:?}");
}

#[test]
fn a_signature_counts_for_its_text_its_operator_and_its_namespace() {
    let (anna, ben) = (key(1), key(2));
    let signers = list(&[line("anna", anna.public_key()), line("ben", ben.public_key())]);
    let judge = |text: &str, operator: &str, signature: &str| verify(text, operator, signature, &signers, now());
    let good = sign(&anna, NAMESPACE, "text\n");
    let proof = judge("text\n", "anna", &good).unwrap();
    assert_eq!((proof.operator.as_str(), proof.signer), ("anna", line("anna", anna.public_key())));
    assert!(proof.key.starts_with("SHA256:"), "{}", proof.key);

    assert_eq!(judge("text", "anna", &good), Err(SignatureError::Text));
    assert_eq!(judge("text\n\n", "anna", &good), Err(SignatureError::Text));
    assert!(matches!(judge("text\n", "ben", &good), Err(SignatureError::Unknown { .. })));
    assert!(matches!(judge("text\n", "carl", &good), Err(SignatureError::Unknown { .. })));
    let stranger = sign(&key(3), NAMESPACE, "text\n");
    assert!(matches!(judge("text\n", "anna", &stranger), Err(SignatureError::Unknown { .. })));
    for namespace in ["git", "file", "countersign2", "Countersign"] {
        let other = sign(&anna, namespace, "text\n");
        assert_eq!(judge("text\n", "anna", &other), Err(SignatureError::Namespace(namespace.to_owned())));
    }
    for odd in ["", "x", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----", &good[..good.len() / 2]] {
        assert_eq!(judge("text\n", "anna", odd), Err(SignatureError::Form), "{odd:?}");
    }
    assert_eq!(judge("text\n", "anna", &"x".repeat(MAX_SIGNATURE + 1)), Err(SignatureError::Form));
    assert!(verify("text\n", "anna", &good, &Signers::default(), now()).is_err());
}

/// Every byte of a signature counts.
#[test]
fn a_signature_that_is_changed_is_none() {
    let anna = key(1);
    let signers = list(&[line("anna", anna.public_key())]);
    let good = anna.sign(NAMESPACE, HashAlg::Sha512, b"text\n").unwrap();
    let bytes = good.signature_bytes().to_vec();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        let Ok(signature) = Signature::new(Algorithm::Ed25519, changed) else { continue };
        let changed = SshSig::new(good.public_key().clone(), NAMESPACE, HashAlg::Sha512, signature).unwrap();
        let pem = changed.to_pem(ssh_key::LineEnding::LF).unwrap();
        assert!(verify("text\n", "anna", &pem, &signers, now()).is_err(), "byte {place}");
    }
}

/// A security key in software: it signs what OpenSSH has one sign, with the flags of our choice.
fn touched(pair: &Ed25519Keypair, text: &str, flags: u8) -> (PublicKey, String) {
    use sha2::{Digest as _, Sha256};
    let application = "ssh:";
    let public = KeyData::SkEd25519(SkEd25519::new(pair.public, application));
    let data = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, text.as_bytes()).unwrap();
    let trailer = [flags, 0, 0, 0, 7];
    let mut signed = Sha256::digest(application).to_vec();
    signed.extend(trailer);
    signed.extend(Sha256::digest(&data));
    let mut bytes = sign_raw(&PrivateKey::from(pair.clone()), &signed);
    bytes.extend(trailer);
    let signature = Signature::new(Algorithm::SkEd25519, bytes).unwrap();
    let signature = SshSig::new(public.clone(), NAMESPACE, HashAlg::Sha512, signature).unwrap();
    (PublicKey::new(public, ""), signature.to_pem(ssh_key::LineEnding::LF).unwrap())
}

fn sign_raw(key: &impl ssh_key::SigningKey, data: &[u8]) -> Vec<u8> {
    key.try_sign(data).unwrap().as_bytes().to_vec()
}

#[test]
fn a_security_key_has_to_be_touched() {
    let pair = Ed25519Keypair::from_seed(&[5; 32]);
    for (flags, demanded, outcome) in [
        (0, "", Err(SignatureError::NotTouched)),
        (VERIFIED, "", Err(SignatureError::NotTouched)),
        (PRESENT, "", Ok(())),
        (PRESENT, "verify-required ", Err(SignatureError::NotVerified)),
        (PRESENT | VERIFIED, "verify-required ", Ok(())),
        // The list cannot do without the touch.
        (0, "no-touch-required ", Err(SignatureError::NotTouched)),
    ] {
        let (public, signature) = touched(&pair, "text\n", flags);
        let key = public.to_openssh().unwrap();
        let signers = list(&[format!("anna {demanded}{key}")]);
        assert!(signers.iter().all(Signer::is_security_key));
        let judged = verify("text\n", "anna", &signature, &signers, now()).map(|_| ());
        assert_eq!(judged, outcome, "{flags} {demanded}");
    }
    // The flags are part of what was signed.
    let (public, untouched) = touched(&pair, "text\n", 0);
    let mut forged = SshSig::from_pem(&untouched).unwrap().signature_bytes().to_vec();
    let at = forged.len() - TRAILER;
    forged[at] = PRESENT;
    let forged = Signature::new(Algorithm::SkEd25519, forged).unwrap();
    let forged = SshSig::new(public.key_data().clone(), NAMESPACE, HashAlg::Sha512, forged).unwrap();
    let signers = list(&[format!("anna {}", public.to_openssh().unwrap())]);
    let pem = forged.to_pem(ssh_key::LineEnding::LF).unwrap();
    assert_eq!(verify("text\n", "anna", &pem, &signers, now()), Err(SignatureError::Text));
}

#[test]
fn a_key_counts_in_its_time() {
    let anna = key(1);
    let public = anna.public_key().to_openssh().unwrap();
    let signature = sign(&anna, NAMESPACE, "text\n");
    for (options, valid) in [
        ("valid-after=\"20260101Z\"", true),
        ("valid-after=\"20270101Z\"", false),
        ("valid-before=\"20260101Z\"", false),
        ("valid-before=\"20261121120000Z\"", false),
        ("valid-before=\"20261121120001Z\"", true),
        ("valid-after=\"202611211200Z\",valid-before=\"20261122Z\"", true),
    ] {
        let signers = list(&[format!("anna {options} {public}")]);
        let judged = verify("text\n", "anna", &signature, &signers, now());
        assert_eq!(judged.is_ok(), valid, "{options}: {judged:?}");
        assert!(valid || matches!(judged, Err(SignatureError::Time { .. })));
    }
}

#[test]
fn a_list_is_read_whole_or_not_at_all() {
    let public = key(1).public_key().to_openssh().unwrap();
    let other = key(2).public_key().to_openssh().unwrap();
    let good = format!(
        "# operators\n\nanna@example.com namespaces=\"git,countersign\" {public} Anna's laptop, the new one\n\tben {other}\r\n"
    );
    let signers = Signers::parse(&good).unwrap();
    assert_eq!(signers.iter().map(|signer| signer.operator.as_str()).collect::<Vec<_>>(), ["anna@example.com", "ben"]);
    let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDcfKMFlD0O4CTRFeBqWMYXnZpCbOXtYuVyxKvt4vGtoyuoJZOYm4gRNHm0LVjhYUvuqk4eQw8yKZMPbnGZEBGoxkKhOBZRzcGzQ6XiXUTIQFvZsFuXMVHBGLW7DJVE3FPBcGh4Ah6ZuGJnHYrDcH6qzwdpsyqh+P6WlSqcUCaF8w==";
    for (text, line, part) in [
        (format!("anna {public}\nben {public}"), 2, "second time"),
        (format!("* {public}"), 1, "not the name of one operator"),
        (format!("anna,ben {public}"), 1, "not the name of one operator"),
        (format!("anna cert-authority {public}"), 1, "certificate authorities"),
        (format!("anna namespaces=\"git\" {public}"), 1, "not for \"countersign\""),
        (format!("anna namespaces=git {public}"), 1, "cannot be read"),
        (format!("anna namespaces=\"countersign {public}"), 1, "no key"),
        (format!("anna valid-after=\"soon\" {public}"), 1, "not a time"),
        (format!("anna valid-after=\"20261332\" {public}"), 1, "not a time"),
        (format!("anna trusted {public}"), 1, "unknown option"),
        (format!("anna {rsa}"), 1, "ssh-rsa"),
        ("anna ssh-ed25519 AAAA".to_owned(), 1, "cannot be read"),
        ("anna".to_owned(), 1, "one word"),
    ] {
        let error = Signers::parse(&text).unwrap_err();
        assert!(error.message.contains(part), "{text}: {error}");
        assert_eq!(error.line, line, "{text}");
        assert!(!error.help.is_empty());
    }
    let many: String = (0..=200)
        .map(|n: u32| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&n.to_be_bytes());
            format!("o{n} {}\n", PrivateKey::from(Ed25519Keypair::from_seed(&seed)).public_key().to_openssh().unwrap())
        })
        .collect();
    assert!(Signers::parse(&many).unwrap_err().message.contains("more than"));
}
