//! Who a client is: by the bearer token of an HTTP request, or by the user id that the kernel reports.
//!
//! Invariant: what is compared are digests, and a look-up takes the same time whichever token comes close.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use crate::call::Principal;
use crate::credential::secret::SecretCell;

/// Everyone who may connect.
pub struct Principals {
    tokens: Vec<(SecretCell, Arc<Principal>)>,
    uids: Vec<(u32, Arc<Principal>)>,
}

impl Principals {
    /// The configuration has seen to it that no token and no uid comes twice.
    pub fn new(tokens: Vec<(SecretCell, Arc<Principal>)>, uids: Vec<(u32, Arc<Principal>)>) -> Principals {
        Principals { tokens, uids }
    }

    /// Compares with every token. The empty token is nobody's.
    pub fn by_token(&self, token: &str) -> Option<Arc<Principal>> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = u32::MAX;
        for (index, (known, _)) in (0_u32..).zip(&self.tokens) {
            found.conditional_assign(&index, known.current().digest().ct_eq(&digest));
        }
        let (_, principal) = self.tokens.get(usize::try_from(found).ok()?)?;
        (!token.is_empty()).then(|| Arc::clone(principal))
    }

    pub fn by_uid(&self, uid: u32) -> Option<Arc<Principal>> {
        self.uids.iter().find(|(known, _)| *known == uid).map(|(_, principal)| Arc::clone(principal))
    }
}

impl std::fmt::Debug for Principals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.tokens.iter().map(|(_, who)| &who.name).chain(self.uids.iter().map(|(_, who)| &who.name));
        f.debug_set().entries(names).finish()
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
        let secret = |text: &str| SecretCell::new("token", Secret::new(text.into()));
        let principals = Principals::new(
            vec![
                (secret("tok-aaaaaaaa"), principal("a", PrincipalKind::Token)),
                (secret("tok-bbbbbbbb"), principal("b", PrincipalKind::Token)),
                (secret(""), principal("nobody", PrincipalKind::Token)),
            ],
            vec![(1000, principal("me", PrincipalKind::Uid))],
        );
        assert_eq!(principals.by_token("tok-aaaaaaaa").unwrap().name, "a");
        assert_eq!(principals.by_token("tok-bbbbbbbb").unwrap().name, "b");
        for wrong in ["", "tok-aaaaaaa", "tok-aaaaaaaaa", "TOK-AAAAAAAA", " tok-aaaaaaaa"] {
            assert!(principals.by_token(wrong).is_none(), "{wrong:?}");
        }
        assert_eq!(principals.by_uid(1000).unwrap().name, "me");
        assert!(principals.by_uid(0).is_none());
        assert!(!format!("{principals:?}").contains("tok-"));
    }
}
