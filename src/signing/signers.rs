//! The list of operators: OpenSSH's `allowed_signers`, read strictly. One line is one key of one operator:
//! `NAME [OPTIONS] TYPE BASE64 [COMMENT]`.
//!
//! What OpenSSH would take and this does not: patterns and several names on a line (an operator is one person),
//! certificate authorities, and kinds of keys that are not listed in [`Signers::parse`].

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey};

use super::NAMESPACE;

/// More lines than this are not a list of people.
const MAX_LINES: usize = 200;
/// Longest name of an operator.
const MAX_NAME: usize = 128;

/// One key of one operator.
#[derive(Clone, Debug)]
pub struct Signer {
    pub operator: String,
    pub(super) key: PublicKey,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
    /// Of a security key: a touch is not enough.
    pub(super) verify_required: bool,
}

impl Signer {
    /// As `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The line that stands for this key alone, whatever else the list says about it.
    pub fn line(&self) -> String {
        line(&self.operator, &self.key)
    }

    /// The kind of the key, as OpenSSH names it.
    pub fn kind(&self) -> String {
        self.key.algorithm().to_string()
    }

    /// Signs only when somebody touches it.
    pub fn is_security_key(&self) -> bool {
        matches!(self.key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
    }

    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.valid_after.is_none_or(|after| now >= after) && self.valid_before.is_none_or(|before| now < before)
    }
}

/// Who may sign.
#[derive(Clone, Default, Debug)]
pub struct Signers(Vec<Signer>);

/// What is wrong with the list, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {message}\n  help: {help}")]
pub struct SignersError {
    pub line: usize,
    pub message: String,
    pub help: String,
}

impl Signers {
    /// Reads a list. Empty lines and lines that begin with `#` are left out. Keys are `ssh-ed25519`,
    /// `ecdsa-sha2-nistp256` and their security-key kinds `sk-ssh-ed25519@openssh.com` and
    /// `sk-ecdsa-sha2-nistp256@openssh.com`.
    ///
    /// # Errors
    /// The first line that is not understood whole: whoever is on the list may approve.
    pub fn parse(text: &str) -> Result<Signers, SignersError> {
        let mut signers: Vec<Signer> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong =
                |(message, help): (String, &str)| SignersError { line: number + 1, message, help: help.to_owned() };
            if signers.len() == MAX_LINES {
                return Err(wrong((format!("more than {MAX_LINES} keys"), "list operators only")));
            }
            let signer = signer(line).map_err(wrong)?;
            if let Some(other) = signers.iter().find(|other| other.key.key_data() == signer.key.key_data()) {
                let message = format!("the key of {} stands here a second time", other.operator);
                return Err(wrong((message, "give every operator a key of their own, once")));
            }
            signers.push(signer);
        }
        Ok(Signers(signers))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Signer> {
        self.0.iter()
    }

    pub(super) fn find(&self, operator: &str, key: &KeyData) -> Option<&Signer> {
        self.0.iter().find(|signer| signer.operator == operator && signer.key.key_data() == key)
    }
}

type Wrong = (String, &'static str);

fn signer(line: &str) -> Result<Signer, Wrong> {
    const FORM: &str = "NAME namespaces=\"countersign\" ssh-ed25519 AAAA... comment";
    let (operator, rest) = line.split_once([' ', '\t']).ok_or_else(|| ("it has one word only".to_owned(), FORM))?;
    if !is_name(operator) {
        let help = "one name of letters, digits and . _ @ + -, without patterns: one line for one key of one operator";
        return Err((format!("{operator:?} is not the name of one operator"), help));
    }
    let rest = rest.trim_start();
    let (options, key) = if starts_with_kind(rest) { ("", rest) } else { split_options(rest)? };
    let key =
        PublicKey::from_openssh(key.trim()).map_err(|error| (format!("the key cannot be read: {error}"), FORM))?;
    match key.algorithm() {
        Algorithm::Ed25519
        | Algorithm::SkEd25519
        | Algorithm::SkEcdsaSha2NistP256
        | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => {}
        other => {
            let help = "use ssh-ed25519, ecdsa-sha2-nistp256 or a security key (sk-...): ssh-keygen -t ed25519";
            return Err((format!("keys of the kind {other} are not taken"), help));
        }
    }
    let mut signer =
        Signer { operator: operator.to_owned(), key, valid_after: None, valid_before: None, verify_required: false };
    for option in options_of(options)? {
        apply(&mut signer, &option)?;
    }
    Ok(signer)
}

/// The line that lets an operator sign with the key of an OpenSSH public key's text.
///
/// # Errors
/// Where it is not such a text.
pub fn line_of(operator: &str, public: &str) -> Result<String, String> {
    PublicKey::from_openssh(public.trim()).map(|key| line(operator, &key)).map_err(|error| error.to_string())
}

/// Whether this is the text of a private key that whoever reads it can sign with.
pub fn is_unprotected(private: &str) -> bool {
    PrivateKey::from_openssh(private).is_ok_and(|key| !key.is_encrypted())
}

/// A private key's file, as far as it shows without a passphrase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrivateFile {
    /// As `ssh-keygen -l` prints it; nothing where the form of the file hides it.
    pub fingerprint: Option<String>,
    /// Whoever reads it can sign with it. A security key's file never is: the key is touched.
    pub open: bool,
}

/// What a text says as a private key's; nothing where it is none.
pub fn private_file(text: &str) -> Option<PrivateFile> {
    if let Ok(key) = PrivateKey::from_openssh(text) {
        let touched = matches!(key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
        let fingerprint = Some(key.fingerprint(HashAlg::Sha256).to_string());
        return Some(PrivateFile { fingerprint, open: !key.is_encrypted() && !touched });
    }
    let first = text.lines().next()?;
    let pem = first.starts_with("-----BEGIN ") && first.contains("PRIVATE KEY");
    pem.then(|| PrivateFile { fingerprint: None, open: !text.contains("ENCRYPTED") && !first.contains("OPENSSH") })
}

/// The fingerprint of an OpenSSH public key's text.
pub fn fingerprint_of(public: &str) -> Option<String> {
    Some(PublicKey::from_openssh(public.trim()).ok()?.fingerprint(HashAlg::Sha256).to_string())
}

/// For this namespace, and without a comment.
pub(super) fn line(operator: &str, key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    // A key that was read can be written.
    let key = key.to_openssh().unwrap_or_default();
    format!("{operator} namespaces=\"{NAMESPACE}\" {}", key.trim_end())
}

/// One word that nobody can take for another name.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('-') && name.bytes().all(plain)
}

fn starts_with_kind(text: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| text.starts_with(kind))
}

/// Options reach to the first blank outside of quotes.
fn split_options(text: &str) -> Result<(&str, &str), Wrong> {
    let mut quoted = false;
    let end = text.find(|character| {
        quoted ^= character == '"';
        !quoted && (character == ' ' || character == '\t')
    });
    let end = end.ok_or_else(|| ("there is no key behind the options".to_owned(), "options, then the key"))?;
    Ok(text.split_at(end))
}

fn options_of(text: &str) -> Result<Vec<(String, Option<String>)>, Wrong> {
    let wrong = || (format!("the options {text:?} cannot be read"), "name=\"value\", separated by commas");
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let (value, behind) = match behind.strip_prefix("=\"") {
            Some(behind) => {
                let (value, behind) = behind.split_once('"').ok_or_else(wrong)?;
                (Some(value.to_owned()), behind)
            }
            None if behind.starts_with('=') => return Err(wrong()),
            None => (None, behind),
        };
        found.push((name.to_ascii_lowercase(), value));
        rest = match behind.strip_prefix(',') {
            Some("") => return Err(wrong()),
            Some(behind) => behind,
            None if behind.is_empty() => behind,
            None => return Err(wrong()),
        };
    }
    Ok(found)
}

fn apply(signer: &mut Signer, (name, value): &(String, Option<String>)) -> Result<(), Wrong> {
    match (name.as_str(), value.as_deref()) {
        ("namespaces", Some(namespaces)) => {
            if !namespaces.split(',').any(|name| name == NAMESPACE) {
                let help = "write namespaces=\"countersign\", or take the line out";
                return Err((format!("the key is for {namespaces:?} and not for {NAMESPACE:?}"), help));
            }
        }
        ("valid-after", Some(at)) => signer.valid_after = Some(time(at)?),
        ("valid-before", Some(at)) => signer.valid_before = Some(time(at)?),
        ("verify-required", None) => signer.verify_required = true,
        // A touch is demanded all the same.
        ("no-touch-required", None) => {}
        ("cert-authority", None) => {
            return Err(("certificate authorities are not taken".to_owned(), "list the operators' own keys"));
        }
        _ => {
            let help = "namespaces=\"countersign\", valid-after=\"...\", valid-before=\"...\", verify-required";
            return Err((format!("unknown option {name:?}, or its value is missing"), help));
        }
    }
    Ok(())
}

/// OpenSSH's form: `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, in the zone of this machine unless `Z` follows.
fn time(text: &str) -> Result<Timestamp, Wrong> {
    let wrong =
        || (format!("{text:?} is not a time"), "YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with Z behind it for UTC");
    let (digits, utc) = text.strip_suffix(['Z', 'z']).map_or((text, false), |digits| (digits, true));
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let part = |from: usize, to: usize| digits.get(from..to).map_or(Ok(0), str::parse::<i8>).map_err(|_| wrong());
    let year = digits.get(..4).and_then(|year| year.parse::<i16>().ok()).ok_or_else(wrong)?;
    let local = DateTime::new(year, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?, 0)
        .map_err(|_| wrong())?;
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    local.to_zoned(zone).map(|at: Zoned| at.timestamp()).map_err(|_| wrong())
}
