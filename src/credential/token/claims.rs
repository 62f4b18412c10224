//! What a verified token says, and what the operator's file makes of it: whose it is, which scopes, what rules see.
//!
//! Invariant: a token chooses among what the operator's file gives a principal, and adds nothing to it.

use std::collections::BTreeMap;

use super::Bad;
use crate::call::{Claim, Principal, narrowed};
use crate::json::{Json, JsonText, Kind};

/// Texts in one claim that are looked at, and the bytes of one that rules see: as for claims of the configuration.
const VALUES: usize = 64;
const CLAIM_BYTES: usize = 256;
/// Scopes that a token can carry.
const SCOPES: usize = 256;

/// Of a token whose signature, times, audience and issuer are right.
#[derive(Debug)]
pub struct Claims {
    subject: String,
    expires: i64,
    payload: JsonText,
}

/// What a claim has to be: one of several values, or to have one of them in its list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimTest {
    pub claim: String,
    pub any_of: Vec<Wanted>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    Text(String),
    Bool(bool),
}

/// Where a token's scopes are, and how they are spelled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScopesFrom {
    pub claim: String,
    pub words: Vocabulary,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Vocabulary {
    /// Scopes of ours behind this prefix, which may be empty.
    Prefix(String),
    /// The issuer's words, and what each is worth.
    Map(BTreeMap<String, Vec<String>>),
}

impl Claims {
    pub(super) fn new(subject: String, expires: i64, payload: JsonText) -> Claims {
        Claims { subject, expires, payload }
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// In seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.expires
    }

    /// By name, or by JSON pointer where the name begins with `/`.
    fn at(&self, name: &str) -> Option<Json<'_>> {
        let payload = self.payload.view();
        if name.starts_with('/') { payload.pointer(name) } else { payload.get(name) }
    }

    pub fn pass(&self, tests: &[ClaimTest]) -> bool {
        tests.iter().all(|test| {
            let Some(value) = self.at(&test.claim) else { return false };
            let is = |value: Json<'_>| {
                test.any_of.iter().any(|wanted| match wanted {
                    Wanted::Text(text) => value.as_str().is_some_and(|value| value == text.as_str()),
                    Wanted::Bool(yes) => value.as_bool() == Some(*yes),
                })
            };
            if value.kind() == Kind::Array { value.items().any(is) } else { is(value) }
        })
    }

    /// The principal that the holder is, made from the one of the configuration. `single` where that one can have no
    /// other subject; else each subject is a principal of its own.
    ///
    /// # Errors
    /// [`Bad::Claim`].
    pub fn principal(
        &self,
        of: &Principal,
        single: bool,
        scopes_from: Option<&ScopesFrom>,
        shown: &[String],
    ) -> Result<Principal, Bad> {
        let mut principal = Principal { subject: Some(self.subject.clone()), ..of.clone() };
        if !single {
            principal.name = format!("{}/{}", of.name, self.subject);
        }
        for name in shown {
            if let Some(value) = self.at(name) {
                principal.claims.insert(name.clone(), claim(value).ok_or(Bad::Claim)?);
            }
        }
        let Some(from) = scopes_from else { return Ok(principal) };
        let asked = self.scopes(from)?;
        principal.scopes.clear();
        principal.conditional_scopes.clear();
        for asked in &asked {
            for scope in of.scopes.iter().filter_map(|own| narrowed(asked, own)) {
                if !principal.scopes.contains(&scope) {
                    principal.scopes.push(scope);
                }
            }
            for own in &of.conditional_scopes {
                let Some(scope) = narrowed(asked, &own.scope) else { continue };
                let conditional = crate::call::ConditionalScope { scope, ..own.clone() };
                if !principal.conditional_scopes.contains(&conditional) {
                    principal.conditional_scopes.push(conditional);
                }
            }
        }
        Ok(principal)
    }

    /// The token's scopes in words of ours. What is none of ours, as `openid`, says nothing here.
    fn scopes(&self, from: &ScopesFrom) -> Result<Vec<String>, Bad> {
        let Some(value) = self.at(&from.claim) else { return Ok(Vec::new()) };
        let words: Vec<String> = match value.kind() {
            // As OAuth writes them: one text, with spaces between.
            Kind::String => value.as_str().unwrap_or_default().split(' ').map(str::to_owned).collect(),
            Kind::Array => texts(value).ok_or(Bad::Claim)?,
            Kind::Object | Kind::Number | Kind::Bool | Kind::Null => return Err(Bad::Claim),
        };
        if words.len() > SCOPES {
            return Err(Bad::Claim);
        }
        let ours = words.iter().flat_map(|word| match &from.words {
            Vocabulary::Prefix(prefix) => word.strip_prefix(prefix.as_str()).map(str::to_owned).into_iter().collect(),
            Vocabulary::Map(map) => map.get(word.as_str()).cloned().unwrap_or_default(),
        });
        Ok(ours.collect())
    }
}

impl ScopesFrom {
    /// The words by which a client can ask for what `own` covers on a server; none where `own` says it with a `*`.
    pub fn words_for(&self, server: &str, own: &[&str]) -> Vec<String> {
        let whole = format!("{server}/*");
        match &self.words {
            Vocabulary::Map(map) => {
                let both = |scope: &str| own.iter().filter_map(|own| narrowed(scope, own)).collect::<Vec<_>>();
                let here = |scope: &String| both(scope).iter().any(|scope| narrowed(scope, &whole).is_some());
                map.iter().filter(|(_, scopes)| scopes.iter().any(here)).map(|(word, _)| word.clone()).collect()
            }
            Vocabulary::Prefix(prefix) => {
                let here = own.iter().filter_map(|own| narrowed(own, &whole));
                let mut words: Vec<String> =
                    here.filter(|scope| !scope.contains('*')).map(|scope| format!("{prefix}{scope}")).collect();
                words.sort();
                words.dedup();
                words
            }
        }
    }
}

fn texts(list: Json<'_>) -> Option<Vec<String>> {
    list.items().map(|item| item.as_str().map(std::borrow::Cow::into_owned)).collect()
}

/// As rules see it.
fn claim(value: Json<'_>) -> Option<Claim> {
    let short = |text: &String| text.len() <= CLAIM_BYTES;
    match value.kind() {
        Kind::String => Some(value.as_str()?.into_owned()).filter(short).map(Claim::One),
        Kind::Bool | Kind::Number => Some(value.text().to_owned()).filter(short).map(Claim::One),
        Kind::Array => texts(value).filter(|texts| texts.len() <= VALUES && texts.iter().all(short)).map(Claim::Many),
        Kind::Object | Kind::Null => None,
    }
}
