//! How a sign-in stands, for operators. No text of a token is in it.

use std::sync::PoisonError;

use super::{Bearer, NOBODY, NoToken};
use crate::credential::oauth::now;

/// How requests to a server come to their token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stands {
    /// A person has to sign in, and why.
    Needed(String),
    /// The token counts until then, in seconds since 1970, where the issuer said it, and is renewed or not.
    SignedIn { until: Option<u64>, renewed: bool },
    /// It did not work the last time, and why.
    Failed(String),
    /// Countersign signs in by itself, and has not yet.
    Begins,
}

impl Bearer {
    /// Whether nobody has to sign in, because Countersign does it by itself.
    pub fn is_alone(&self) -> bool {
        self.settings.client.alone().is_some()
    }

    pub(super) fn note(&self, no: Option<NoToken>) {
        let noted = no.map(|no| (self.store.stamp(&self.settings.server), no));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }

    /// Asks nobody.
    pub fn stands(&self) -> Stands {
        let stamp = self.store.stamp(&self.settings.server);
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Of another record, that one may have nothing any more.
        if let Some((_, no)) = last.filter(|(then, _)| *then == stamp) {
            let why = self.scrubber.line(no.words()).into_owned();
            return match no {
                NoToken::SignIn(_) => Stands::Needed(why),
                NoToken::Refused(_) | NoToken::Later(_) => Stands::Failed(why),
            };
        }
        if !self.is_alone() {
            return self.recorded();
        }
        // One that has ended is asked for again by the next request.
        self.held.load().as_ref().map_or(Stands::Begins, |held| {
            let until = held.ends_at.filter(|end| now() < *end);
            Stands::SignedIn { until, renewed: true }
        })
    }

    fn recorded(&self) -> Stands {
        match self.store.read(&self.settings.server) {
            Err(error) => Stands::Needed(error.to_string()),
            Ok(None) => Stands::Needed(NOBODY.to_owned()),
            Ok(Some(record)) => match record.needs_sign_in(&self.settings) {
                Some(why) => Stands::Needed(why),
                None => Stands::SignedIn { until: record.expires_at(), renewed: record.can_be_renewed() },
            },
        }
    }
}
