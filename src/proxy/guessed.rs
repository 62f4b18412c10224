//! Keys that somebody may be guessing: what servers say with a piece of one goes to nobody any more.

use super::Shared;
use crate::audit::{Entry, Event};
use crate::call::CallContext;
use crate::credential::scrub::TOLD;

/// What a client reads instead of an answer with a piece of such a key.
pub(super) const GUESSED: &str = "refused by countersign: the server's answer held a piece of a key that countersign \
                                  keeps, and pieces of it were in answers more often than by chance. Answers with a \
                                  piece of it are kept back until its operator has replaced the key";

impl Shared {
    /// Counts a message with pieces of these keys. True where that was once too often for one of them: then nobody gets
    /// the message. The first time that it is, it is recorded.
    pub async fn is_guessed(&self, context: &CallContext, pieces: impl IntoIterator<Item = String>) -> bool {
        let (server, principal) = (&context.server.name, &context.principal.name);
        let mut guessed = false;
        for key in pieces {
            let count = self.scrubber.count_piece(&key);
            guessed |= count > TOLD;
            tracing::warn!(key, count, principal, server, "a piece of a key was in what a server says");
            if count == TOLD + 1 {
                tracing::error!(key, principal, server, "the key may be guessed: messages with a piece are kept back");
                let event = Event::Refused {
                    server: Some(server.clone()),
                    principal: Some(principal.clone()),
                    session: Some(context.session.clone()),
                    code: -32600,
                    reason: format!(
                        "pieces of the key {key} were in {count} messages of servers, as if somebody guessed it: further \
                         ones are kept back until the key is another one"
                    ),
                };
                if let Err(error) = self.gate.audit().append(Entry::new(None, true, event)).await {
                    tracing::error!(%error, "that a key may be guessed could not be recorded");
                }
            }
        }
        guessed
    }
}
