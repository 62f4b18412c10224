//! `issuers:` — authorization servers whose tokens are taken, and what a principal's token has to say.
//!
//! Invariant: whatever is not said here is not taken from a token.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::yaml::{Data, Node};
use super::{scopes, servers};
use crate::credential::token::{Algorithm, ClaimTest, Issuer, KeySource, ScopesFrom, Vocabulary, Wanted};

const ISSUER: Keys = Keys {
    known: &["issuer", "audience", "jwks", "algorithms", "leeway", "claims", "scopes_from"],
    later: &[(
        "secret",
        "tokens are verified with the public keys of `jwks`: a shared secret would let us make them too",
    )],
};
const JWKS: Keys = Keys { known: &["url", "file"], later: &[] };
const SCOPES_FROM: Keys = Keys { known: &["claim", "prefix", "map"], later: &[] };
const JWT: Keys = Keys { known: &["issuer", "claims"], later: &[] };

const ISSUERS: usize = 32;
const AUDIENCES: usize = 16;
const CLAIMS: usize = 32;
const TESTS: usize = 16;
const VALUES: usize = 64;
const WORDS: usize = 256;
const TEXT: usize = 256;
const LEEWAY: Duration = Duration::from_secs(30);

/// Names and what is trusted under them.
pub fn issuers(cx: &mut Context<'_>, node: Option<&Node>) -> BTreeMap<String, Issuer> {
    let Some(node) = node else { return BTreeMap::new() };
    let all = Fields::any(cx, node, "issuers");
    if all.entries().len() > ISSUERS {
        let message = format!("`issuers` has more than {ISSUERS} entries");
        cx.problems.add(Code::TooMuch, &all.span, message, "an organisation has one or two: keep those");
    }
    let mut found: BTreeMap<String, Issuer> = BTreeMap::new();
    for (key, node) in all.entries().iter().take(ISSUERS) {
        if !cx.name(&key.span, &key.text, "an issuer") {
            continue;
        }
        let Some(issuer) = issuer(cx, node, &key.text) else { continue };
        if let Some((other, _)) = found.iter().find(|(_, other)| other.issuer == issuer.issuer) {
            let message = format!("`{other}` and `{}` are the same issuer", key.text);
            cx.problems.add(Code::Repeated, &key.span, message, "keep one of them and use its name");
        }
        found.insert(key.text.clone(), issuer);
    }
    found
}

fn issuer(cx: &mut Context<'_>, node: &Node, name: &str) -> Option<Issuer> {
    let fields = Fields::of(cx, node, format!("issuers.{name}"), &ISSUER);
    let help = "write what its tokens have in `iss`, letter by letter: issuer: https://auth.example.com/";
    let path = fields.child("issuer");
    let issuer = fields.need(cx, "issuer", help).and_then(|node| servers::url(cx, node, &path));
    let help = "say where its public keys are: jwks: { url: https://... } or jwks: { file: jwks.json }";
    let keys = fields.need(cx, "jwks", help).and_then(|node| jwks(cx, node, fields.child("jwks")));
    let algorithms = fields.get("algorithms").map(|node| algorithms(cx, node, &fields.child("algorithms")));
    let leeway = fields.duration(cx, "leeway", Duration::ZERO..=Duration::from_secs(300), LEEWAY);
    let scopes_from = fields.get("scopes_from").and_then(|node| scopes_from(cx, node, fields.child("scopes_from")));
    Some(Issuer {
        name: name.to_owned(),
        audience: fields.get("audience").map(|node| audience(cx, node, &fields.child("audience"))).unwrap_or_default(),
        algorithms: algorithms.unwrap_or_else(|| Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect()),
        leeway,
        scopes_from,
        claims: fields.get("claims").map(|node| names(cx, node, &fields.child("claims"))).unwrap_or_default(),
        issuer: issuer?,
        keys: keys?,
    })
}

fn jwks(cx: &mut Context<'_>, node: &Node, path: String) -> Option<KeySource> {
    let fields = Fields::of(cx, node, path, &JWKS);
    let (key, node) =
        fields.one_of(cx, JWKS.known, "write one of them: { url: https://... } or { file: jwks.json }")?;
    let path = fields.child(&key.text);
    match key.text.as_str() {
        "file" => cx.path(node, &path).map(KeySource::File),
        _ => servers::url(cx, node, &path).map(KeySource::Url),
    }
}

fn algorithms(cx: &mut Context<'_>, node: &Node, path: &str) -> Vec<Algorithm> {
    let mut found = Vec::new();
    if matches!(&node.data, Data::List(items) if items.is_empty()) {
        cx.problems.add(
            Code::MissingKey,
            &node.span,
            format!("`{path}` is empty: no token could be verified"),
            "write what the issuer signs with: algorithms: [RS256]",
        );
    }
    for (node, text) in cx.texts(node, path) {
        match Algorithm::ALL.iter().find(|(name, _)| *name == text) {
            Some((_, algorithm)) if found.contains(algorithm) => {
                let message = format!("the algorithm {} stands here twice", quote(text));
                cx.problems.add(Code::Repeated, &node.span, message, "keep one");
            }
            Some((_, algorithm)) => found.push(*algorithm),
            None => cx.no_choice(node, path, text, Algorithm::ALL.iter().map(|(name, _)| *name)),
        }
    }
    found
}

/// One text, or several.
fn audience(cx: &mut Context<'_>, node: &Node, path: &str) -> Vec<String> {
    let help = "write what the issuer puts into `aud` for countersign; without the key it is the address of the server";
    let items = if let Data::Scalar { .. } = node.data {
        cx.text(node, path).map(|text| (node, text)).into_iter().collect()
    } else {
        cx.texts(node, path)
    };
    let some = !matches!(&node.data, Data::List(items) if items.is_empty());
    if !some || items.len() > AUDIENCES || items.iter().any(|(_, text)| text.is_empty() || text.len() > TEXT) {
        let message = format!("`{path}` must have 1 to {AUDIENCES} texts of 1 to {TEXT} bytes");
        cx.problems.add(Code::Form, &node.span, message, help);
    }
    items.into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// Names of claims that rules see.
fn names(cx: &mut Context<'_>, node: &Node, path: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (node, text) in cx.texts(node, path) {
        if !claim_name(cx, &node.span, text) {
            continue;
        }
        if found.iter().any(|other| other == text) {
            let message = format!("the claim {} stands here twice", quote(text));
            cx.problems.add(Code::Repeated, &node.span, message, "keep one");
        }
        found.push(text.to_owned());
    }
    if found.len() > CLAIMS {
        let message = format!("`{path}` has more than {CLAIMS} claims");
        cx.problems.add(Code::TooMuch, &node.span, message, "rules read a few: keep those that they ask for");
    }
    found
}

/// As it is spelled in the token, or a JSON pointer to one that lies deeper.
fn claim_name(cx: &mut Context<'_>, span: &Range<usize>, text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    let fits = (1..=128).contains(&text.len()) && text.bytes().all(valid) && !text.ends_with('/');
    if !fits {
        let message = format!("{} cannot be the name of a claim", quote(text));
        let help = "write it as it stands in the token, as in groups; or a JSON pointer: /realm_access/roles";
        cx.problems.add(Code::Form, span, message, help);
    }
    fits
}

fn scopes_from(cx: &mut Context<'_>, node: &Node, path: String) -> Option<ScopesFrom> {
    let fields = Fields::of(cx, node, path, &SCOPES_FROM);
    let help = "name the claim that has them: claim: scope, or claim: permissions";
    let claim = fields.need(cx, "claim", help).and_then(|node| {
        let text = cx.text(node, &fields.child("claim"))?;
        claim_name(cx, &node.span, text).then(|| text.to_owned())
    });
    let words = match (fields.get("prefix"), fields.get("map")) {
        (Some(_), Some(map)) => {
            let message = format!("`{}` has both `prefix` and `map`", fields.path);
            let help = "`map` says what each word is worth; `prefix` takes scopes of ours as they are";
            cx.problems.add(Code::Contradiction, &map.span, message, help);
            None
        }
        (_, Some(map)) => Some(Vocabulary::Map(vocabulary(cx, map, fields.child("map")))),
        (Some(prefix), None) => {
            let path = fields.child("prefix");
            cx.text(prefix, &path)
                .filter(|text| word(cx, &prefix.span, text))
                .map(|text| Vocabulary::Prefix(text.into()))
        }
        (None, None) => Some(Vocabulary::Prefix(String::new())),
    };
    Some(ScopesFrom { claim: claim?, words: words? })
}

fn vocabulary(cx: &mut Context<'_>, node: &Node, path: String) -> BTreeMap<String, Vec<String>> {
    let fields = Fields::any(cx, node, path);
    if !(1..=WORDS).contains(&fields.entries().len()) {
        let message = format!("`{}` must have 1 to {WORDS} words", fields.path);
        let help = "say what each scope of the token is worth: \"refunds:write\": [stripe/create_refund]";
        cx.problems.add(Code::Form, &fields.span, message, help);
    }
    let mut map = BTreeMap::new();
    for (key, node) in fields.entries().iter().take(WORDS) {
        let path = fields.child(&key.text);
        if !word(cx, &key.span, &key.text) {
            continue;
        }
        let scopes::Scopes { plain, conditional } = scopes::scopes(cx, node, &path);
        if !conditional.is_empty() {
            let message = format!("`{path}` has a scope with conditions");
            cx.problems.add(Code::Form, &node.span, message, "write conditions at the principal's `scopes`");
        }
        map.insert(key.text.clone(), plain);
    }
    map
}

/// A scope as OAuth spells it: it is repeated to clients in a header field.
fn word(cx: &mut Context<'_>, span: &Range<usize>, text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    let fits = (1..=TEXT).contains(&text.len()) && text.bytes().all(valid);
    if !fits {
        let message = format!("{} cannot be a scope of a token", quote(text));
        let help = "write it without spaces, quotes and backslashes";
        cx.problems.add(Code::Form, span, message, help);
    }
    fits
}

/// `match: { jwt: ... }` of a principal: the issuer's name, and what its tokens have to say.
pub fn evidence(cx: &mut Context<'_>, node: &Node, path: String) -> Option<(String, Vec<ClaimTest>)> {
    let fields = Fields::of(cx, node, path, &JWT);
    let issuer = fields.need(cx, "issuer", "name an entry of `issuers`: jwt: { issuer: NAME }").and_then(|node| {
        let name = cx.text(node, &fields.child("issuer"))?;
        if cx.issuers.contains_key(name) {
            return Some(name.to_owned());
        }
        let help = match cx.meant(name, cx.issuers.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "define it: issuers: { NAME: { issuer: https://..., jwks: { url: https://... } } }".to_owned(),
        };
        cx.problems.add(Code::Reference, &node.span, format!("there is no issuer {}", quote(name)), help);
        None
    });
    let tests = fields.get("claims").map(|node| tests(cx, node, fields.child("claims"))).unwrap_or_default();
    Some((issuer?, tests))
}

fn tests(cx: &mut Context<'_>, node: &Node, path: String) -> Vec<ClaimTest> {
    let fields = Fields::any(cx, node, path);
    if matches!(&node.data, Data::Map(entries) if !(1..=TESTS).contains(&entries.len())) {
        let message = format!("`{}` must have 1 to {TESTS} claims", fields.path);
        let help = "say what a token has to have, as in { sub: alice } or { groups: [billing, finance] }; \
                    leave the key out where every token of the issuer will do";
        cx.problems.add(Code::Form, &fields.span, message, help);
    }
    let mut all = Vec::new();
    for (key, node) in fields.entries().iter().take(TESTS) {
        if !claim_name(cx, &key.span, &key.text) {
            continue;
        }
        let path = fields.child(&key.text);
        let any_of: Vec<Wanted> = match &node.data {
            Data::List(items) => items.iter().filter_map(|item| wanted(cx, item, &path)).collect(),
            Data::Scalar { .. } | Data::Map(_) => wanted(cx, node, &path).into_iter().collect(),
        };
        if matches!(&node.data, Data::List(items) if !(1..=VALUES).contains(&items.len())) {
            let message = format!("`{path}` must have 1 to {VALUES} values");
            cx.problems.add(Code::Range, &node.span, message, "list those of which the token has to have one");
        }
        all.push(ClaimTest { claim: key.text.clone(), any_of });
    }
    all
}

/// A text, or `true` or `false`.
fn wanted(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<Wanted> {
    match &node.data {
        Data::Scalar { text, plain: true } if text == "true" => Some(Wanted::Bool(true)),
        Data::Scalar { text, plain: true } if text == "false" => Some(Wanted::Bool(false)),
        _ => {
            let text = cx.text(node, path)?;
            if text.is_empty() || text.len() > TEXT {
                let message = format!("`{path}` must be a text of 1 to {TEXT} bytes");
                cx.problems.add(Code::Form, &node.span, message, "write what the token says, letter by letter");
            }
            Some(Wanted::Text(text.to_owned()))
        }
    }
}

/// True where whatever passes `later` passes `earlier` too.
pub fn is_covered(earlier: &[ClaimTest], later: &[ClaimTest]) -> bool {
    earlier.iter().all(|test| {
        let same = later.iter().filter(|other| other.claim == test.claim);
        same.into_iter().any(|other| other.any_of.iter().all(|value| test.any_of.contains(value)))
    })
}

/// True where the tests leave one subject.
pub fn is_single(tests: &[ClaimTest]) -> bool {
    tests.iter().any(|test| test.claim == "sub" && matches!(test.any_of.as_slice(), [Wanted::Text(_)]))
}
