//! The token of a server that Countersign signs in at by itself: kept in mind alone, and asked for again before it ends.

use std::sync::Arc;

use tracing::{info, warn};

use super::{Bearer, Held, NoToken, PAUSE, Turn, early, too_short};
use crate::credential::oauth::alone::{self, Alone, Asker};
use crate::credential::oauth::{Carried, Dpop, Fault, now};

/// After a no of the authorization server it is asked again this much later, in seconds: an operator has to see to it.
const PAUSE_OF_A_NO: u64 = 60;

impl Bearer {
    /// A token for the next request, from whoever asked last or from the authorization server.
    pub(super) async fn given(&self, turn: &mut Turn, alone: &Alone) -> Result<Carried, NoToken> {
        if let Some(token) = self.held() {
            return Ok(token);
        }
        let held = self.held.load_full();
        let good = held.as_ref().filter(|held| !self.is_refused(held.token.token()));
        let still = || {
            let held = good.filter(|held| held.ends_at.is_none_or(|end| now() < end));
            held.map(|held| held.token.clone())
        };
        // Something new to show is worth another try.
        let again = turn.tried.replace(alone.digest()).is_some_and(|tried| tried != alone.digest());
        if let Some((until, why)) = turn.pause.as_ref().filter(|(until, _)| now() < *until && !again) {
            let seconds = until.saturating_sub(now());
            return still().ok_or_else(|| why.with(&format!("; tried again in {seconds} s")));
        }
        if held.is_some() && good.is_none() {
            // A token that is refused as soon as it is given will not get better by asking for more.
            if turn.forced_at.is_some_and(|at| now() < at + PAUSE) {
                return Err(NoToken::Refused("the server does not take a token that was just given".to_owned()));
            }
            turn.forced_at = Some(now());
        }
        // Nothing is lost with it: another one can be asked for.
        let asked = alone::ask(Asker {
            settings: &self.settings,
            alone,
            http: &self.http,
            scrubber: &self.scrubber,
            key: &self.key,
            // A sign-in whose tokens count for a key stays one.
            dpop: match held.as_ref().is_some_and(|held| held.token.is_proved()) {
                true => Dpop::Required,
                false => self.settings.dpop,
            },
        });
        let Some(asked) = self.stop.run_until_cancelled(asked).await else {
            return Err(NoToken::Later("countersign stops".to_owned()));
        };
        match asked {
            Ok(given) if self.is_refused(given.token.token()) => {
                let why = "the server does not take the token, and the authorization server gives the same again";
                Err(NoToken::Refused(why.to_owned()))
            }
            Ok(given) => {
                let token = if given.token.is_proved() { "bound" } else { "bearer" };
                info!(server = self.settings.server, token, "countersign has signed in");
                let renew_at = given.ends.map_or(u64::MAX, |(end, lifetime)| end.saturating_sub(early(lifetime)));
                let ends_at = given.ends.map(|(end, _)| end);
                let stamp = self.store.stamp(&self.settings.server);
                let token = given.token.clone();
                self.held.store(Some(Arc::new(Held { token: given.token, stamp, renew_at, ends_at })));
                turn.pause =
                    given.ends.filter(|(_, lifetime)| *lifetime < PAUSE).map(|(_, lifetime)| too_short(lifetime));
                Ok(token)
            }
            Err(fault) => {
                let (why, pause) = no_token(&fault);
                if matches!(why, NoToken::Later(_)) {
                    warn!(server = self.settings.server, why = why.words(), "no token can be had just now");
                }
                turn.pause = Some((now() + pause, why.clone()));
                still().ok_or(why)
            }
        }
    }
}

/// Whose business it is, and when to ask again.
fn no_token(fault: &Fault) -> (NoToken, u64) {
    match fault {
        Fault::Idp { fault: inner, .. } => {
            let (why, pause) = no_token(inner);
            let whole = fault.to_string();
            let why = if matches!(why, NoToken::Later(_)) { NoToken::Later(whole) } else { NoToken::Refused(whole) };
            (why, pause)
        }
        Fault::Failed(_) | Fault::Store(_) | Fault::Unsigned => (NoToken::Later(fault.to_string()), PAUSE),
        Fault::Address { .. }
        | Fault::NoMetadata
        | Fault::Pinned { .. }
        | Fault::Elsewhere { .. }
        | Fault::IssuerChanged { .. }
        | Fault::NoPkce
        | Fault::NoDpop
        | Fault::Token(_)
        | Fault::Rejected(_)
        | Fault::Refused(_)
        | Fault::NoPerson
        | Fault::NoIssuer
        | Fault::Key(_) => (NoToken::Refused(fault.to_string()), PAUSE_OF_A_NO),
    }
}
