//! Principals in whose answers pieces of keys were found. A server that repeats or joins what it is told shows by what
//! is taken out of its answer whether a guess at a key was right, so nobody gets to see that often.
//!
//! Invariant: this only tightens, and it lasts until the daemon is started again: whoever could wait for its end would
//! guess on. A whole key in an answer is no guess and does not count.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Gate;
use crate::audit::{Entry, Event};
use crate::call::CallContext;

/// Answers with a piece of a key that a principal may get; the next one and everything after it is kept back. One is
/// worth a few characters of a key to somebody who guesses.
const SOME: u32 = 3;
/// Principals that are counted one by one; all others count as one.
const MAX_PRINCIPALS: usize = 1024;

/// What a client is told that is cut off.
pub const CUT_OFF: &str = "refused by countersign: pieces of a key that countersign keeps were found in what servers \
                           answered here, more often than by chance. Nothing is sent for this client any more until \
                           its operator has looked at it and started countersign again";

/// How often, by principal.
#[derive(Debug, Default)]
pub(super) struct Pieces(Mutex<BTreeMap<String, u32>>);

impl Pieces {
    fn with<T>(&self, principal: &str, read: impl FnOnce(&mut BTreeMap<String, u32>, &str) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.contains_key(principal) || all.len() < MAX_PRINCIPALS;
        read(&mut all, if own { principal } else { "" })
    }

    /// One more, and how many there were.
    fn count(&self, principal: &str) -> u32 {
        self.with(principal, |all, name| {
            let count = all.entry(name.to_owned()).or_default();
            *count = count.saturating_add(1);
            *count
        })
    }

    fn is_cut_off(&self, principal: &str) -> bool {
        self.with(principal, |all, name| all.get(name).is_some_and(|count| *count > SOME))
    }
}

impl Gate {
    /// True where nothing is sent for a principal any more.
    pub fn is_cut_off(&self, principal: &str) -> bool {
        self.pieces.is_cut_off(principal)
    }

    /// Who is cut off, for operators.
    pub fn cut_off(&self) -> Vec<String> {
        let all = self.pieces.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |name: &String| if name.is_empty() { "others".to_owned() } else { name.clone() };
        all.iter().filter(|(_, count)| **count > SOME).map(|(principal, _)| name(principal)).collect()
    }

    /// A piece of a key was taken out of an answer. True where that was once too often: then nobody gets the answer.
    /// The first time that it is, it is recorded.
    pub async fn took_piece(&self, context: &CallContext) -> bool {
        let principal = &context.principal.name;
        let count = self.pieces.count(principal);
        let server = &context.server.name;
        tracing::warn!(principal, server, count, "a piece of a key was taken out of an answer");
        if count == SOME + 1 {
            tracing::error!(principal, server, "the principal is cut off until the daemon is started again");
            let event = Event::Refused {
                server: Some(server.clone()),
                principal: Some(principal.clone()),
                session: Some(context.session.clone()),
                code: -32600,
                reason: format!(
                    "pieces of keys were taken out of {count} answers, which looks like somebody who guesses a key: \
                     nothing is sent for this principal until the daemon is started again"
                ),
            };
            if let Err(error) = self.audit.append(Entry::new(None, true, event)).await {
                tracing::error!(%error, "that a principal is cut off could not be recorded");
            }
        }
        count > SOME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_counted_alone_and_what_finds_no_room_together() {
        let pieces = Pieces::default();
        for name in (0..MAX_PRINCIPALS).map(|n| format!("p{n}")) {
            assert_eq!(pieces.count(&name), 1);
        }
        for count in 2..=SOME {
            assert_eq!(pieces.count("p0"), count);
        }
        assert!(!pieces.is_cut_off("p0"));
        assert_eq!(pieces.count("p0"), SOME + 1);
        assert!(pieces.is_cut_off("p0") && !pieces.is_cut_off("p1"));
        for n in 0..=SOME {
            assert!(!pieces.is_cut_off("another"));
            pieces.count(&format!("q{n}"));
        }
        assert!(pieces.is_cut_off("another") && !pieces.is_cut_off("p1"));
        assert!(pieces.0.lock().unwrap().len() <= MAX_PRINCIPALS + 1);
    }
}
