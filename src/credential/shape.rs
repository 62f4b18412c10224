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

    #[test]
    fn a_mask_keeps_the_length_and_the_kind() {
        assert_eq!(mask("a: sk_live_abcd1234, b: ghp_zzzz"), "a: sk_live_********, b: ghp_****");
        assert_eq!(mask("nothing here"), "nothing here");
    }
}
