//! What keys look like, so that one that stands where it must not can be named and hidden without being known.
//!
//! This finds the forms of common vendors. It proves nothing about a text in which it finds none.

use std::borrow::Cow;
use std::ops::Range;

/// How the tokens begin that `countersign principal token` makes.
pub const CLIENT_TOKEN: &str = "csgn_";

/// Beginnings that no other text has: a few characters after them make a key.
const CERTAIN: &[&str] = &[
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "sk_org_",
    "whsec_",
    "sk-ant-",
    "sk-proj-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "npm_",
    "pypi-",
    "shpat_",
    "dop_v1_",
    "AKIA",
    "ASIA",
    "AIza",
    CLIENT_TOKEN,
];
const CERTAIN_REST: usize = 4;

/// Beginnings that ordinary words have too (`server-everything`): only a long rest with letters and digits makes a key.
const LIKELY: &[&str] = &["console-", "secret-", "server-", "client-", "Bearer ", "bearer ", "Basic ", "eyJ"];
const LIKELY_REST: usize = 20;
/// How much of it is looked at, so that a long text of beginnings costs no more than its length.
const LIKELY_READ: usize = 256;

const PEM: &str = "-----BEGIN ";

/// Where the first text that looks like a key stands.
pub fn key_like(text: &str) -> Option<Range<usize>> {
    key_like_from(text, 0)
}

/// The text with every key-like piece, but for its beginning, overwritten by `*`. Its length in bytes stays the same.
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    while let Some(found) = key_like_from(text, copied) {
        out.push_str(text.get(copied..found.start).unwrap_or_default());
        out.extend(std::iter::repeat_n('*', found.len()));
        copied = found.end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// The key without its beginning, which says the kind and is no secret. Never empty.
fn key_like_from(text: &str, from: usize) -> Option<Range<usize>> {
    let mut before = from.checked_sub(1).and_then(|at| text.as_bytes().get(at).copied());
    for (at, byte) in text.bytes().enumerate().skip(from) {
        let starts = before.is_none_or(|before| !before.is_ascii_alphanumeric());
        before = Some(byte);
        if starts
            && (byte == b'-' || byte.is_ascii_alphabetic())
            && let Some(found) = text.get(at..).and_then(key_at)
        {
            return Some(at + found.start..at + found.end);
        }
    }
    None
}

fn key_at(text: &str) -> Option<Range<usize>> {
    if let Some(rest) = text.strip_prefix(PEM) {
        let title =
            rest.split("-----").next().filter(|title| title.ends_with("PRIVATE KEY") && !title.contains('\n'))?;
        // The body may follow on other lines: everything up to the end mark goes.
        let start = PEM.len() + title.len();
        let end = text.find("-----END ").unwrap_or(text.len());
        return Some(start..end).filter(|range| !range.is_empty());
    }
    let certain = CERTAIN.iter().find_map(|prefix| {
        let length = run(text.strip_prefix(prefix)?, usize::MAX);
        (length >= CERTAIN_REST).then(|| prefix.len()..prefix.len() + length)
    });
    certain.or_else(|| {
        LIKELY.iter().find_map(|prefix| {
            let rest = text.strip_prefix(prefix)?;
            let body = rest.as_bytes().get(..run(rest, LIKELY_READ))?;
            let mixed = body.iter().any(u8::is_ascii_digit) && body.iter().any(u8::is_ascii_alphabetic);
            (body.len() >= LIKELY_REST && mixed).then(|| prefix.len()..prefix.len() + run(rest, usize::MAX))
        })
    })
}

/// How many bytes at the beginning a key may consist of; at most `limit` are read.
fn run(text: &str, limit: usize) -> usize {
    let in_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=' | b'.');
    text.as_bytes().iter().take(limit).take_while(|byte| in_key(byte)).count()
}

/// What stands behind a beginning, for a key that a server hands out.
#[derive(Clone, Copy)]
enum Body {
    /// So many letters and digits without a gap.
    Solid(usize),
    /// So many characters of any key, letters and digits among them.
    Loose(usize),
    /// Exactly so many capitals and digits.
    Capitals(usize),
    /// Exactly so many hex digits.
    Hex(usize),
}

/// The kinds of keys whose form alone says what they are, even in the middle of an answer.
const FORMS: &[(&str, &str, Body)] = &[
    ("stripe", "sk_live_", Body::Loose(16)),
    ("stripe", "sk_test_", Body::Loose(16)),
    ("stripe", "rk_live_", Body::Loose(16)),
    ("stripe", "rk_test_", Body::Loose(16)),
    ("stripe", "sk_org_", Body::Loose(16)),
    ("stripe", "whsec_", Body::Loose(16)),
    ("statsig", "console-", Body::Solid(24)),
    ("statsig", "secret-", Body::Solid(24)),
    ("statsig", "client-", Body::Solid(36)),
    ("stigg", "server-", Body::Hex(32)),
    ("stigg", "client-", Body::Hex(32)),
    ("anthropic", "sk-ant-", Body::Loose(20)),
    ("openai", "sk-proj-", Body::Loose(20)),
    ("github", "ghp_", Body::Solid(24)),
    ("github", "gho_", Body::Solid(24)),
    ("github", "ghu_", Body::Solid(24)),
    ("github", "ghs_", Body::Solid(24)),
    ("github", "ghr_", Body::Solid(24)),
    ("github", "github_pat_", Body::Solid(20)),
    ("gitlab", "glpat-", Body::Loose(20)),
    ("slack", "xoxb-", Body::Loose(20)),
    ("slack", "xoxp-", Body::Loose(20)),
    ("slack", "xoxa-", Body::Loose(20)),
    ("slack", "xapp-", Body::Loose(20)),
    ("npm", "npm_", Body::Solid(24)),
    ("pypi", "pypi-", Body::Loose(32)),
    ("shopify", "shpat_", Body::Solid(24)),
    ("digitalocean", "dop_v1_", Body::Solid(24)),
    ("aws", "AKIA", Body::Capitals(16)),
    ("aws", "ASIA", Body::Capitals(16)),
    ("google", "AIza", Body::Loose(32)),
];
/// Of private keys in PEM's armour.
const PEM_KIND: &str = "pem";
/// Of tokens that say in themselves what they are for (RFC 7519): three parts, the first two of them JSON.
const JWT_KIND: &str = "jwt";
const JSON_BEGINS: &[u8] = b"eyJ";
const JWT_PART: usize = 12;

/// A choice among the kinds of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds(u32);

impl Kinds {
    pub const ALL: Kinds = Kinds(u32::MAX);
    pub const NONE: Kinds = Kinds(0);

    /// What is hidden where nothing is said: all but tokens of the form of a JWT. A server's cursors and states may be
    /// such too, and have to come back as they are.
    pub fn usual() -> Kinds {
        Kinds(!Kinds::of(JWT_KIND).unwrap_or(Kinds::NONE).0)
    }

    /// Every name that [`of`](Self::of) knows.
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<&str> = FORMS.iter().map(|(kind, ..)| *kind).chain([PEM_KIND, JWT_KIND]).collect();
        names.dedup();
        names
    }

    /// The one kind of a name.
    pub fn of(name: &str) -> Option<Kinds> {
        Kinds::names().iter().position(|known| *known == name).map(|at| Kinds(1 << at))
    }

    #[must_use]
    pub fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    fn has(self, name: &str) -> bool {
        self == Kinds::ALL || Kinds::of(name).is_some_and(|one| self.0 & one.0 != 0)
    }
}

/// Reports every key of these kinds: where it is, without its beginning, and its kind.
pub fn foreign(text: &[u8], kinds: Kinds, mut report: impl FnMut(Range<usize>, &'static str)) {
    if kinds == Kinds::NONE {
        return;
    }
    let (mut before, mut done) = (b' ', 0);
    for (at, pair) in text.array_windows::<2>().enumerate() {
        let starts = !before.is_ascii_alphanumeric();
        before = pair[0];
        if starts
            && at >= done
            && may_begin(*pair)
            && let Some((found, kind)) = text.get(at..).and_then(|text| form_at(text, kinds))
        {
            done = at + found.end;
            report(at + found.start..done, kind);
        }
    }
}

/// The quick look: every form's first two characters, and those of few words.
fn may_begin(pair: [u8; 2]) -> bool {
    matches!(
        &pair,
        b"sk"
            | b"rk"
            | b"wh"
            | b"co"
            | b"cl"
            | b"se"
            | b"ey"
            | b"gh"
            | b"gi"
            | b"gl"
            | b"xo"
            | b"xa"
            | b"np"
            | b"py"
            | b"sh"
            | b"do"
            | b"AK"
            | b"AS"
            | b"AI"
            | b"--"
    )
}

/// The key of one of these kinds that a text begins with.
fn form_at(text: &[u8], kinds: Kinds) -> Option<(Range<usize>, &'static str)> {
    for (kind, prefix, body) in FORMS {
        let Some(rest) = text.strip_prefix(prefix.as_bytes()) else { continue };
        let length = match body {
            Body::Solid(least) => Some(run_of(rest)).filter(|_| solid(rest) >= *least),
            Body::Loose(least) => {
                let length = run_of(rest);
                let read = rest.get(..length.min(LIKELY_READ)).unwrap_or_default();
                let mixed = read.iter().any(u8::is_ascii_digit) && read.iter().any(u8::is_ascii_alphabetic);
                Some(length).filter(|length| mixed && length >= least)
            }
            Body::Capitals(exactly) => {
                let capital = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
                let capitals = rest.iter().take_while(|byte| capital(byte)).count();
                Some(capitals).filter(|capitals| capitals == exactly && solid(rest) == *exactly)
            }
            Body::Hex(exactly) => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                Some(digits).filter(|digits| digits == exactly && run_of(rest) == *exactly)
            }
        };
        if let Some(length) = length.filter(|_| kinds.has(kind)) {
            return Some((prefix.len()..prefix.len() + length, kind));
        }
    }
    if text.starts_with(JSON_BEGINS) {
        return Some((JSON_BEGINS.len()..jwt(text)?, JWT_KIND)).filter(|_| kinds.has(JWT_KIND));
    }
    let rest = text.strip_prefix(PEM.as_bytes()).filter(|_| kinds.has(PEM_KIND))?;
    let title = rest.array_windows::<5>().take(64).position(|five| five == b"-----")?;
    rest.get(..title)?.ends_with(b"PRIVATE KEY").then_some(())?;
    let start = PEM.len() + title;
    let end = text.windows(9).position(|nine| nine == b"-----END ").unwrap_or(text.len());
    (end > start).then_some((start..end, PEM_KIND))
}

/// How long the JWT is that a text begins with.
fn jwt(text: &[u8]) -> Option<usize> {
    let part = |text: &[u8]| {
        text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).count()
    };
    let mut at = 0;
    for last in [false, false, true] {
        let rest = text.get(at..)?;
        let length = part(rest);
        let fits = length >= JWT_PART && (last || (rest.starts_with(JSON_BEGINS) && rest.get(length) == Some(&b'.')));
        at += fits.then_some(length + usize::from(!last))?;
    }
    Some(at)
}

fn solid(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count()
}

/// What a key may consist of, without the full stop that ends a sentence.
fn run_of(text: &[u8]) -> usize {
    let in_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=');
    text.iter().take_while(|byte| in_key(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_vendors_are_found() {
        for text in [
            "sk_live_CANARY7Qm2Zt9XeVb4",
            "rk_test_abcd",
            "--api-key=sk_test_4eC39HqLyjWDarjtT1zdp7dc",
            "Bearer abcdefghijklmnop0123456789",
            "console-AbCdEf0123456789GhIjKl",
            "url?key=whsec_0123456789",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        ] {
            assert!(key_like(text).is_some(), "{text}");
        }
    }

    #[test]
    fn ordinary_words_are_not_keys() {
        for text in [
            "@stripe/mcp@0.2.5",
            "@modelcontextprotocol/server-everything@2026.1.14",
            "console-application",
            "client-side-rendering-of-things",
            "sk_live_",
            "task_live_abcdefgh",
            "AKI",
            "--tools=all",
            "Bearer ",
        ] {
            assert_eq!(key_like(text), None, "{text}");
        }
    }

    fn found(text: &str, kinds: Kinds) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        foreign(text.as_bytes(), kinds, |range, kind| found.push((text[range].to_owned(), kind)));
        found
    }

    #[test]
    fn keys_that_a_server_hands_out_are_found_by_their_kind() {
        let body = "4eC39HqLyjWDarjtT1zdp7dc0aB1";
        for (kind, prefix, how) in FORMS {
            let body = match how {
                Body::Capitals(_) => "IOSFODNN7EXAMPLE".to_owned(),
                Body::Hex(_) => "8f2c1d7e4b9a4f0e9c3d5a7b6e1f2c3d".to_owned(),
                Body::Solid(_) | Body::Loose(_) => body.repeat(2),
            };
            let text = format!("{{\"key\":\"{prefix}{body}\"}}");
            assert_eq!(found(&text, Kinds::ALL), [(body.clone(), *kind)], "{prefix}");
            assert_eq!(found(&text, Kinds::of(kind).unwrap()), [(body, *kind)], "{prefix}");
            assert!(found(&text, Kinds::NONE).is_empty());
            let other = if *kind == "aws" { "stripe" } else { "aws" };
            assert!(found(&text, Kinds::of(other).unwrap()).is_empty());
        }
        let pem = "x -----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY----- y";
        assert_eq!(found(pem, Kinds::ALL), [("-----\nMHcCAQEE\n".to_owned(), "pem")]);
        assert_eq!(Kinds::of("strpe"), None);
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
        for kinds in [Kinds::ALL, Kinds::of("jwt").unwrap()] {
            assert_eq!(found(&format!("({token})."), kinds), [(token["eyJ".len()..].to_owned(), "jwt")]);
        }
        assert!(found(token, Kinds::usual()).is_empty() && found(token, Kinds::of("pem").unwrap()).is_empty());
        assert_eq!(found("whsec_4eC39HqLyjWDarjtT1zdp7dc", Kinds::usual()).len(), 1);
    }

    #[test]
    fn what_only_begins_like_a_key_is_left() {
        for text in [
            "sk_test_... is the form of a key",
            "secret-manager-version-2024-01-rollout",
            "secret-3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "server-3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "server-8f2c1d7e4b9a4f0e9c3d5a7b6e1f2c3d00",
            "client-8f2c1d7e4b9a4f0e9c3d5a7b6e1f2c3d-rollout-of-a-feature",
            "eyJhbGciOiJIUzI1NiJ9.not.ajwt",
            "eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIxMjM0NTY3ODkwIn0",
            "eye.of.the.needle",
            "console-application-with-25-windows",
            "npm_config_registry_mirror_v2_fallback",
            "ASIA-Pacific-region-2026-traffic",
            "AKIAIOSFODNN7EXAMPLEs",
            "task_sk_live",
            "-----BEGIN CERTIFICATE-----\nMHcCAQEE",
            "-----BEGIN PUBLIC KEY-----",
        ] {
            assert_eq!(found(text, Kinds::ALL), [], "{text}");
        }
    }

    #[test]
    fn a_mask_keeps_the_length_and_the_kind() {
        assert_eq!(mask("a: sk_live_abcd1234, b: ghp_zzzz"), "a: sk_live_********, b: ghp_****");
        assert_eq!(mask("nothing here"), "nothing here");
    }
}
