//! Who a client is: by the bearer token of an HTTP request, or by the user id that the kernel reports.
//!
//! Invariant: what is compared are digests, and a look-up takes the same time whichever token comes close. Each request
//! is judged by the token that it carries itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::call::Principal;
use crate::credential::secret::SecretCell;
use crate::credential::token::{Bad, ClaimTest, Issuer, Token};

mod keys;

pub use keys::{Fetch, Fetched, Keys, MAX_KEYS_BYTES};

/// Subjects of signed tokens that one run lets in: what is counted and remembered of principals is bounded by it.
const SUBJECTS: usize = 10_000;

/// What a bearer token is compared with.
#[derive(Debug)]
pub enum Known {
    Secret(SecretCell),
    /// SHA-256 of it: the token itself is with its holder alone.
    Hash([u8; 32]),
}

/// Whose tokens of an issuer are: the first principal whose tests they pass.
#[derive(Debug)]
pub struct Holder {
    pub tests: Vec<ClaimTest>,
    /// The tests leave one subject: the principal is that one.
    pub single: bool,
    pub principal: Arc<Principal>,
}

/// An issuer, its keys, and the principals that its tokens are for.
#[derive(Debug)]
pub struct Trusted {
    pub issuer: Issuer,
    pub keys: Keys,
    pub holders: Vec<Holder>,
}

type Scoped = Box<dyn Fn() -> bool + Send + Sync>;

/// Everyone who may connect.
pub struct Principals {
    tokens: Vec<(Known, Arc<Principal>)>,
    uids: Vec<(u32, Arc<Principal>)>,
    issuers: Vec<Trusted>,
    subjects: Mutex<HashSet<String>>,
    /// Whether nobody gets to a server without a scope for it.
    scoped: Scoped,
}

/// Who a request is from.
#[derive(Debug)]
pub struct Who {
    pub principal: Arc<Principal>,
    /// When the evidence ends.
    pub until: Option<Instant>,
    /// Another token has taken the place of the one that it is known by.
    pub replaced: CancellationToken,
}

/// Why nobody is found.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Nobody {
    #[error("{bad}{}", of(.issuer.as_deref()))]
    Bad { issuer: Option<String>, bad: Bad },
    /// The token is right.
    #[error("no principal of the configuration is for this token (issuer {issuer})")]
    NoPrincipal { issuer: String },
    /// The token is right, and has no scope for the server that is asked.
    #[error("the token of {principal} has no scope for this server (issuer {issuer})")]
    NoScope { issuer: String, principal: String },
    #[error("the keys of issuer {issuer} cannot be had just now")]
    NoKeys { issuer: String },
    #[error("more than {SUBJECTS} subjects of tokens have come in since the start")]
    TooMany,
}

fn of(issuer: Option<&str>) -> String {
    issuer.map(|name| format!(" (issuer {name})")).unwrap_or_default()
}

impl Principals {
    /// The configuration has seen to it that no secret, no hash and no uid comes twice.
    pub fn new(tokens: Vec<(Known, Arc<Principal>)>, uids: Vec<(u32, Arc<Principal>)>) -> Principals {
        Principals { tokens, uids, issuers: Vec::new(), subjects: Mutex::default(), scoped: Box::new(|| false) }
    }

    pub fn with_issuers(self, issuers: Vec<Trusted>) -> Principals {
        Principals { issuers, ..self }
    }

    /// With policies that say whether scopes decide who gets to a server at all.
    pub fn with_scopes(self, scoped: Scoped) -> Principals {
        Principals { scoped, ..self }
    }

    /// Whether this principal could ever make a call of this server. Without it a session would start a process with
    /// the server's key, and show what lists show, to somebody who may do nothing with it.
    pub fn may_ask(&self, principal: &Principal, server: &str) -> bool {
        !(self.scoped)() || has_scope_for(principal, server)
    }

    pub fn issuers(&self) -> &[Trusted] {
        &self.issuers
    }

    /// Whose the bearer token of a request is. `resource` is the address of `server`, which is asked.
    ///
    /// # Errors
    /// Why it is nobody's.
    pub async fn by_bearer(&self, token: &str, server: &str, resource: &str) -> Result<Who, Nobody> {
        if let Some((principal, replaced)) = self.by_token(token) {
            return Ok(Who { principal, until: None, replaced });
        }
        self.by_signed(token, server, resource).await
    }

    /// Compares with every token. The empty token is nobody's, and neither is one that two principals have. With the
    /// principal comes what is cancelled when its token is replaced.
    pub fn by_token(&self, token: &str) -> Option<(Arc<Principal>, CancellationToken)> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let (mut found, mut count) = (u32::MAX, 0_u32);
        let mut in_use = Vec::with_capacity(self.tokens.len());
        for (index, (known, _)) in (0_u32..).zip(&self.tokens) {
            let (same, replaced) = match known {
                Known::Secret(cell) => {
                    let (secret, replaced) = cell.in_use();
                    (secret.digest().ct_eq(&digest), replaced)
                }
                Known::Hash(hash) => (hash.ct_eq(&digest), CancellationToken::new()),
            };
            in_use.push(replaced);
            found.conditional_assign(&index, same);
            count += u32::from(same.unwrap_u8());
        }
        let found = usize::try_from(found).ok()?;
        let ((_, principal), replaced) = self.tokens.get(found).zip(in_use.get(found))?;
        (!token.is_empty() && count == 1).then(|| (Arc::clone(principal), replaced.clone()))
    }

    async fn by_signed(&self, text: &str, server: &str, resource: &str) -> Result<Who, Nobody> {
        let bad = |bad| Nobody::Bad { issuer: None, bad };
        if self.issuers.is_empty() {
            return Err(bad(Bad::Form));
        }
        let token = Token::read(text).map_err(bad)?;
        let claimed = token.claimed_issuer().ok_or_else(|| bad(Bad::Issuer))?;
        let trusted = self.issuers.iter().find(|trusted| trusted.issuer.issuer == claimed);
        let Trusted { issuer, keys, holders } = trusted.ok_or_else(|| bad(Bad::Issuer))?;
        let name = || issuer.name.clone();
        let bad = |bad| Nobody::Bad { issuer: Some(name()), bad };
        let keys = keys.with(|keys| token.has_key_in(keys)).await.ok_or_else(|| Nobody::NoKeys { issuer: name() })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let claims = token.verify(issuer, &keys, resource, seconds).map_err(bad)?;
        let holder = holders.iter().find(|holder| claims.pass(&holder.tests));
        let holder = holder.ok_or_else(|| Nobody::NoPrincipal { issuer: name() })?;
        let scopes_from = issuer.scopes_from.as_ref();
        let principal = claims.principal(&holder.principal, holder.single, scopes_from, &issuer.claims).map_err(bad)?;
        if scopes_from.is_some() && !has_scope_for(&principal, server) {
            return Err(Nobody::NoScope { issuer: name(), principal: principal.name });
        }
        if !holder.single && !self.lets_in(&principal.name) {
            return Err(Nobody::TooMany);
        }
        let end = u64::try_from(claims.expires()).map(Duration::from_secs).unwrap_or_default() + issuer.leeway;
        let until = Instant::now().checked_add(end.saturating_sub(now));
        Ok(Who { principal: Arc::new(principal), until, replaced: CancellationToken::new() })
    }

    fn lets_in(&self, subject: &str) -> bool {
        let mut subjects = lock(&self.subjects);
        if !subjects.contains(subject) && subjects.len() < SUBJECTS {
            subjects.insert(subject.to_owned());
        }
        subjects.contains(subject)
    }

    /// The words that a client may ask a scope for this server with, of all issuers.
    pub fn words_for(&self, server: &str) -> Vec<String> {
        let words = self.issuers.iter().flat_map(|Trusted { issuer, holders, .. }| {
            let own = holders.iter().flat_map(|holder| scopes(&holder.principal)).collect::<Vec<_>>();
            issuer.scopes_from.as_ref().map(|from| from.words_for(server, &own)).unwrap_or_default()
        });
        let mut words: Vec<String> = words.collect();
        words.sort();
        words.dedup();
        words
    }

    pub fn by_uid(&self, uid: u32) -> Option<Arc<Principal>> {
        self.uids.iter().find(|(known, _)| *known == uid).map(|(_, principal)| Arc::clone(principal))
    }
}

fn scopes(principal: &Principal) -> impl Iterator<Item = &str> {
    let conditional = principal.conditional_scopes.iter().map(|conditional| conditional.scope.as_str());
    principal.scopes.iter().map(String::as_str).chain(conditional)
}

/// Whether a scope of a principal is about a server.
pub fn has_scope_for(principal: &Principal, server: &str) -> bool {
    scopes(principal).any(|scope| scope.split_once('/').is_some_and(|(of, _)| of == "*" || of == server))
}

impl std::fmt::Debug for Principals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.tokens.iter().map(|(_, who)| &who.name);
        let holders = self.issuers.iter().flat_map(|trusted| &trusted.holders).map(|holder| &holder.principal.name);
        f.debug_set().entries(tokens.chain(self.uids.iter().map(|(_, who)| &who.name)).chain(holders)).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::call::PrincipalKind;
    use crate::credential::secret::Secret;

    use super::*;

    fn principal(name: &str, kind: PrincipalKind) -> Arc<Principal> {
        Arc::new(Principal::plain(name, kind, Vec::new()))
    }

    #[test]
    fn a_token_finds_its_principal_and_nothing_else_does() {
        let secret = |text: &str| Known::Secret(SecretCell::new("token", Secret::new(text.into())));
        let principals = Principals::new(
            vec![
                (secret("tok-aaaaaaaa"), principal("a", PrincipalKind::Token)),
                (secret("tok-bbbbbbbb"), principal("b", PrincipalKind::Token)),
                (secret(""), principal("nobody", PrincipalKind::Token)),
                (Known::Hash(Sha256::digest("tok-hashed").into()), principal("h", PrincipalKind::Token)),
                (secret("tok-twice"), principal("c", PrincipalKind::Token)),
                (Known::Hash(Sha256::digest("tok-twice").into()), principal("d", PrincipalKind::Token)),
            ],
            vec![(1000, principal("me", PrincipalKind::Uid))],
        );
        for (token, name) in [("tok-aaaaaaaa", "a"), ("tok-bbbbbbbb", "b"), ("tok-hashed", "h")] {
            assert_eq!(principals.by_token(token).unwrap().0.name, name);
        }
        for wrong in ["", "tok-twice", "tok-aaaaaaa", "tok-aaaaaaaaa", "TOK-AAAAAAAA", " tok-aaaaaaaa"] {
            assert!(principals.by_token(wrong).is_none(), "{wrong:?}");
        }
        assert_eq!(principals.by_uid(1000).unwrap().name, "me");
        assert!(principals.by_uid(0).is_none());
        assert!(!format!("{principals:?}").contains("tok-"));
    }
}
