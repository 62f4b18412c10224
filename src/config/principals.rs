//! `principals:` — who may connect, by what evidence, and what the operator says about them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::fields::{Context, Fields, Keys};
use super::issuers;
use super::problem::{Code, quote};
use super::scopes::{self, Scopes};
use super::yaml::{Data, Node};
use super::{Match, PrincipalEntry};
use crate::call::{BUILTIN_PRINCIPAL, Claim, Principal, PrincipalKind};

const PRINCIPAL: Keys = Keys { known: &["name", "match", "scopes", "claims"], later: &[] };
const MATCH: Keys =
    Keys { known: &["token", "jwt", "uid"], later: &[("oauth", "use `jwt` with an entry of `issuers`")] };
const TOKEN: Keys = Keys { known: &["secret", "sha256"], later: &[] };
const ONE: &str = "a principal is recognised by one thing: `token`, `jwt` or `uid`";
/// Claims of one principal, the values of one claim, and the bytes of a name or a value.
const CLAIMS: usize = 64;
const VALUES: usize = 64;
const CLAIM_BYTES: usize = 256;

/// `principals`, and under which secret names their tokens are.
pub fn principals(cx: &mut Context<'_>, node: Option<&Node>) -> Vec<PrincipalEntry> {
    let Some(node) = node else { return Vec::new() };
    let items = cx.list(node, "principals");
    if items.is_empty() && matches!(node.data, Data::List(_)) {
        let help = "write who may connect: - { name: local, match: { uid: 1000 }, scopes: [\"*/read\"] }";
        cx.problems.add(Code::MissingKey, &node.span, "`principals` is empty: nobody could connect", help);
    }
    let mut entries: Vec<(PrincipalEntry, Range<usize>, Range<usize>)> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some((entry, name, by)) = principal(cx, item, &format!("principals[{index}]")) else { continue };
        for (other, other_name, other_by) in &entries {
            if other.principal.name == entry.principal.name {
                let message = format!("there are two principals {}", quote(&entry.principal.name));
                cx.problems.add(Code::Repeated, &name, message, "give each a name of its own");
                cx.problems.with(other_name, "first here");
            }
            if other.by == entry.by {
                let message = format!("two principals have the same {}", by_what(&entry.by));
                cx.problems.add(Code::Repeated, &by, message, "the client's evidence must name one principal");
                cx.problems.with(other_by, "first here");
            } else if let (Match::Jwt { issuer, tests }, Match::Jwt { issuer: first, tests: earlier }) =
                (&entry.by, &other.by)
                && issuer == first
                && issuers::is_covered(earlier, tests)
            {
                let message = format!("nobody can be {}", quote(&entry.principal.name));
                let help =
                    "the first principal that fits a token is it: put the one that asks for more before this one";
                cx.problems.add(Code::Contradiction, &by, message, help);
                cx.problems.with(other_by, format!("all its tokens are for {} already", quote(&other.principal.name)));
            }
        }
        entries.push((entry, name, by));
    }
    entries.into_iter().map(|(entry, _, _)| entry).collect()
}

fn by_what(by: &Match) -> &'static str {
    match by {
        Match::Token(_) | Match::TokenHash(_) => "token",
        Match::Jwt { .. } => "claims",
        Match::Uid(_) => "uid",
    }
}

fn principal(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<(PrincipalEntry, Range<usize>, Range<usize>)> {
    let fields = Fields::of(cx, node, path, &PRINCIPAL);
    let name = fields.need(cx, "name", "give it a name for rules, records and the screen").and_then(|node| {
        let name = cx.text(node, &fields.child("name"))?;
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
        if name.eq_ignore_ascii_case(BUILTIN_PRINCIPAL) {
            let message = format!("no principal can be called {}: calls of countersign itself are", quote(name));
            cx.problems.add(Code::Form, &node.span, message, "give it another name");
            return None;
        }
        if (1..=64).contains(&name.len()) && name.bytes().all(valid) {
            return Some((name.to_owned(), node.span.clone()));
        }
        let message = format!("{} cannot be the name of a principal", quote(name));
        let help = "a name has 1 to 64 of the characters a-z, A-Z, 0-9, `_`, `-`, `.` and `@`";
        cx.problems.add(Code::Form, &node.span, message, help);
        None
    });
    let help = "say how it is recognised: match: { token: { secret: NAME } }, match: { jwt: { issuer: NAME } } \
                or match: { uid: 1000 }";
    let by = fields
        .need(cx, "match", help)
        .and_then(|node| Some((matcher(cx, node, fields.child("match"))?, node.span.clone())));
    let help = "say what it may ask for: scopes: [\"stripe/read\"]; [] is nothing";
    let scopes = fields.need(cx, "scopes", help).map(|node| scopes::scopes(cx, node, &fields.child("scopes")));
    let claims = fields.get("claims").map(|node| claims(cx, node, fields.child("claims"))).unwrap_or_default();
    let ((name, name_at), (by, by_at)) = (name?, by?);
    let kind = match by {
        Match::Token(_) | Match::TokenHash(_) => PrincipalKind::Token,
        Match::Jwt { .. } => PrincipalKind::Jwt,
        Match::Uid(_) => PrincipalKind::Uid,
    };
    let Scopes { plain, conditional } = scopes?;
    let principal = Principal { conditional_scopes: conditional, claims, ..Principal::plain(name, kind, plain) };
    let principal = Arc::new(principal);
    Some((PrincipalEntry { principal, by }, name_at, by_at))
}

fn matcher(cx: &mut Context<'_>, node: &Node, path: String) -> Option<Match> {
    let fields = Fields::of(cx, node, path, &MATCH);
    let (kind, node) = fields.one_of(cx, MATCH.known, ONE)?;
    if kind.text == "uid" {
        // The last one means "no user" to the kernel.
        let uid = fields.number(cx, "uid", 0..=u64::from(u32::MAX) - 1, 0);
        return u32::try_from(uid).ok().map(Match::Uid);
    }
    if kind.text == "jwt" {
        let (issuer, tests) = issuers::evidence(cx, node, fields.child("jwt"))?;
        return Some(Match::Jwt { issuer, tests });
    }
    let path = fields.child("token");
    if let Data::Scalar { .. } = node.data {
        let message = format!("`{path}` must name a secret, not be the token");
        cx.problems.add(Code::PlainKey, &node.span, message, "write token: { secret: NAME }");
        return None;
    }
    let fields = Fields::of(cx, node, path, &TOKEN);
    let help = "name the secret that is the token: { secret: NAME }; or write its hash, as `countersign principal token` \
                prints it: { sha256: ... }";
    let (key, node) = fields.one_of(cx, TOKEN.known, help)?;
    let path = fields.child(&key.text);
    match key.text.as_str() {
        "sha256" => hash(cx, node, &path).map(Match::TokenHash),
        _ => cx.secret(node, &path).map(Match::Token),
    }
}

/// SHA-256 in hex.
fn hash(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<[u8; 32]> {
    // All digits: then YAML takes it for a number, which does not matter here.
    let text = if let Data::Scalar { text, .. } = &node.data { text.as_str() } else { cx.text(node, path)? };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = text.bytes().filter_map(|byte| digit(&byte)).collect();
    let bytes: Vec<u8> = digits.chunks(2).filter_map(|two| Some(two.first()? << 4 | two.get(1)?)).collect();
    let hash = <[u8; 32]>::try_from(bytes).ok().filter(|_| text.len() == 64);
    if hash.is_none() {
        let message = format!("`{path}` is no SHA-256");
        let help = "write the 64 digits that `countersign principal token NAME` prints";
        cx.problems.add(Code::Form, &node.span, message, help);
    }
    hash
}

/// What is said of a principal: names of the operator's own, each with a text or a list of texts.
fn claims(cx: &mut Context<'_>, node: &Node, path: String) -> BTreeMap<String, Claim> {
    let fields = Fields::any(cx, node, path);
    let mut claims = BTreeMap::new();
    if fields.entries().len() > CLAIMS {
        let message = format!("`{}` has more than {CLAIMS} entries", fields.path);
        cx.problems.add(Code::TooMuch, &fields.span, message, "rules read a few: keep those that they ask for");
        return claims;
    }
    for (key, value) in fields.entries() {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
        if !(1..=64).contains(&key.text.len()) || !key.text.bytes().all(valid) {
            let message = format!("{} cannot be the name of a claim", quote(&key.text));
            let help = "a name has 1 to 64 of the characters a-z, A-Z, 0-9, `_`, `-`, `.`, `:` and `/`";
            cx.problems.add(Code::Form, &key.span, message, help);
            continue;
        }
        let path = fields.child(&key.text);
        let claim = match value.data {
            Data::List(_) => Claim::Many(cx.texts(value, &path).into_iter().map(|(_, text)| text.to_owned()).collect()),
            Data::Scalar { .. } | Data::Map(_) => Claim::One(cx.text(value, &path).unwrap_or_default().to_owned()),
        };
        let short = match &claim {
            Claim::One(text) => text.len() <= CLAIM_BYTES,
            Claim::Many(texts) => texts.len() <= VALUES && texts.iter().all(|text| text.len() <= CLAIM_BYTES),
        };
        if !short {
            let message = format!("`{path}` is too long");
            let help = format!("a claim is a text of at most {CLAIM_BYTES} bytes, or a list of at most {VALUES}");
            cx.problems.add(Code::TooMuch, &value.span, message, help);
        }
        claims.insert(key.text.clone(), claim);
    }
    claims
}
