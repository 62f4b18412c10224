//! What is remembered between the calls of a session and its server's answers, as far as rules ask about it.

use serde::{Deserialize, Serialize};

use super::{Reach, ReachMode};

/// Accounts that are remembered of one session, and characters of each. What is cut fits no later call.
const ACCOUNTS: usize = 16;
const ACCOUNT: usize = 256;

/// Where a session works: what the arguments of its calls named when they were let through. The first call that names a
/// mode or accounts says it for the session.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Bound {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ReachMode>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

impl Bound {
    /// True where no call has named anything yet.
    pub fn is_nowhere(&self) -> bool {
        self.mode.is_none() && self.accounts.is_empty()
    }

    /// The same after a call that named this. What is said already stays.
    pub fn after(&self, reach: &Reach) -> Bound {
        let named = reach.accounts.iter().take(ACCOUNTS).map(|account| account.chars().take(ACCOUNT).collect());
        let accounts = if self.accounts.is_empty() { named.collect() } else { self.accounts.clone() };
        Bound { mode: self.mode.or(reach.mode), accounts }
    }
}

/// Whose word a confirmation is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfirmedBy {
    /// The vendor hands a token to the agent when a person has agreed at the vendor's. Only a token that the server gave
    /// in an answer to the same arguments is one.
    Vendor,
    /// The agent fills it in. It says nothing about a person.
    Agent,
}

/// A part of a call that says that somebody agreed to it. It is never proof that an operator did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Confirmation {
    /// JSON pointer into the arguments.
    pub at: String,
    pub by: ConfirmedBy,
    /// The server gave this token in an answer to the same arguments.
    pub issued: bool,
}

/// What a server's answer says about where its key works.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// It names things of production.
    pub production: bool,
    /// It names things of a test environment.
    pub test: bool,
    /// The account that it says it belongs to.
    pub account: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_says_where_a_session_works() {
        let reach = |mode, accounts: &[&str]| Reach {
            mode,
            accounts: accounts.iter().map(|name| (*name).to_owned()).collect(),
            ..Reach::default()
        };
        let first = Bound::default().after(&reach(Some(ReachMode::Test), &[]));
        assert_eq!(first, Bound { mode: Some(ReachMode::Test), accounts: vec![] });
        let second = first.after(&reach(Some(ReachMode::Production), &["acct_1"]));
        assert_eq!(second, Bound { mode: Some(ReachMode::Test), accounts: vec!["acct_1".to_owned()] });
        assert_eq!(second.after(&reach(None, &["acct_2"])), second);
        assert!(Bound::default().is_nowhere() && !first.is_nowhere());
    }

    #[test]
    fn what_is_remembered_of_a_session_is_bounded() {
        let long = "x".repeat(1 << 20);
        let reach = Reach { accounts: vec![long.clone(); 100], ..Reach::default() };
        let bound = Bound::default().after(&reach);
        assert_eq!((bound.accounts.len(), bound.accounts[0].len()), (ACCOUNTS, ACCOUNT));
        assert!(!bound.accounts.contains(&long));
    }
}
