//! The token that requests to one server carry, for a daemon: read from the record, renewed before it ends, read again
//! when somebody signs in or out. Where Countersign signs in by itself there is no record: `given`.
//!
//! Invariant: one renewal at a time, here and across processes; a new token is known to the scrubber before anybody gets
//! it, and lost with the process alone; a token that the server refused is not given out again.

use std::sync::{Arc, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use rmcp::transport::auth::{AuthError, WWWAuthenticateParams};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use super::discovery;
use super::dpop::{Carried, Prover};
use super::login::usable;
use super::record::{self, Record, Slot};
use super::store::{Stamp, Store, StoreError};
use super::{Client, Fault, Http, Settings, now, story};
use crate::credential::scrub::Scrubber;
use crate::credential::secret::Secret;

mod given;
mod stands;

pub use stands::Stands;

/// A token is renewed this many seconds before it ends, or a fifth of its life before, where that is less.
const EARLY: u64 = 60;
/// After a renewal that failed, and after one whose token was refused at once, the next is tried this much later; so is
/// writing a record that could not be written.
const PAUSE: u64 = 15;

/// Of a server without a record.
const NOBODY: &str = "nobody has signed in";

/// Why there is no token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoToken {
    /// Somebody has to sign in, and why.
    SignIn(String),
    /// Countersign signs in by itself and is not given one, and why: the operator has to see to it.
    Refused(String),
    /// It cannot be had just now, and why.
    Later(String),
}

impl NoToken {
    pub fn words(&self) -> &str {
        let (NoToken::SignIn(why) | NoToken::Refused(why) | NoToken::Later(why)) = self;
        why
    }

    /// The same with something said after it.
    fn with(&self, more: &str) -> NoToken {
        match self {
            NoToken::SignIn(why) => NoToken::SignIn(format!("{why}{more}")),
            NoToken::Refused(why) => NoToken::Refused(format!("{why}{more}")),
            NoToken::Later(why) => NoToken::Later(format!("{why}{more}")),
        }
    }
}

/// Shared by all links to one server.
pub struct Bearer {
    settings: Settings,
    store: Arc<Store>,
    http: Http,
    scrubber: Arc<Scrubber>,
    tracker: TaskTracker,
    /// Once the daemon stops, no token is waited for that another daemon can ask for as well.
    stop: CancellationToken,
    held: ArcSwapOption<Held>,
    turn: Mutex<Turn>,
    /// Why there was none the last time, and what the record was like then.
    last: std::sync::Mutex<Option<(Option<Stamp>, NoToken)>>,
    /// Digest of a token that the server refused.
    refused: std::sync::Mutex<Option<[u8; 32]>>,
    /// The key of the record's tokens, and the one of tokens that are asked for without a person.
    prover: ArcSwapOption<Prover>,
    key: OnceLock<Arc<Prover>>,
}

/// A token in use.
struct Held {
    token: Carried,
    stamp: Option<Stamp>,
    renew_at: u64,
    /// Where the issuer said it.
    ends_at: Option<u64>,
}

#[derive(Default)]
struct Turn {
    unsaved: Option<Unsaved>,
    /// Not before this is a renewal tried again, and why the last one failed.
    pause: Option<(u64, NoToken)>,
    /// What showed who asks when it failed.
    tried: Option<[u8; 32]>,
    /// When a token was last renewed because the server refused it.
    forced_at: Option<u64>,
    /// What was last said about the need to sign in: each need is logged once.
    told: Option<String>,
}

impl Turn {
    /// The same without the time to the next try, which is another one each time.
    fn plain(&self, no: &NoToken) -> NoToken {
        let paused = self.pause.as_ref().map(|(_, why)| why).filter(|why| no.words().starts_with(why.words()));
        paused.unwrap_or(no).clone()
    }
}

/// A record that could not be written. The one on the disk counts no more: what it could be renewed with has been used.
#[derive(Clone)]
struct Unsaved {
    record: Record,
    /// What the file was like before: another one is of somebody who has signed in or out since.
    stamp: Option<Stamp>,
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("server", &self.settings.server).finish_non_exhaustive()
    }
}

impl Bearer {
    pub fn new(
        settings: Settings,
        store: Arc<Store>,
        http: Http,
        scrubber: Arc<Scrubber>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Bearer> {
        let (held, turn) = (ArcSwapOption::empty(), Mutex::default());
        let (last, refused) = (std::sync::Mutex::default(), std::sync::Mutex::default());
        let (prover, key) = (ArcSwapOption::empty(), OnceLock::new());
        Arc::new(Bearer { settings, store, http, scrubber, tracker, stop, held, turn, last, refused, prover, key })
    }

    pub fn server(&self) -> &str {
        &self.settings.server
    }

    /// Says at the start of a daemon whether somebody has to sign in, without asking anybody. Where nobody has to, the
    /// first token is asked for: what is wrong is said before a call needs it.
    pub fn announce(self: &Arc<Bearer>) {
        if self.settings.client.alone().is_some() {
            let me = Arc::clone(self);
            self.tracker.spawn(async move { me.next().await });
            return;
        }
        if let Err(NoToken::SignIn(why)) = self.read() {
            let server = &self.settings.server;
            warn!(server, why, "sign-in is needed: countersign auth login {server}");
        }
    }

    /// The token for the next request.
    ///
    /// # Errors
    /// [`NoToken`], without anything having been sent to the server.
    pub async fn token(self: &Arc<Bearer>) -> Result<Carried, NoToken> {
        if let Some(token) = self.held() {
            return Ok(token);
        }
        // In a task of its own: whoever waits may go, but a renewal that has begun has to be kept, because the token
        // that it was made with counts no more.
        let me = Arc::clone(self);
        let taken = self.tracker.spawn(async move { me.next().await }).await;
        taken.unwrap_or_else(|_| Err(NoToken::Later("the token could not be had".to_owned())))
    }

    /// The token in use, where it still counts.
    fn held(&self) -> Option<Carried> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| now() < held.renew_at && !self.is_refused(held.token.token()))?;
        (held.stamp == self.store.stamp(&self.settings.server)).then(|| held.token.clone())
    }

    async fn next(&self) -> Result<Carried, NoToken> {
        let mut turn = self.turn.lock().await;
        let token = match self.settings.client.alone() {
            Some(alone) => self.given(&mut turn, alone).await,
            None => self.take(&mut turn).await,
        };
        let no = token.as_ref().err().map(|no| turn.plain(no));
        let server = &self.settings.server;
        match &no {
            None => turn.told = None,
            Some(NoToken::Later(_)) => {}
            Some(no @ (NoToken::SignIn(_) | NoToken::Refused(_))) => {
                let why = no.words();
                if turn.told.as_deref() != Some(why) {
                    match no {
                        NoToken::Refused(_) => error!(server, why, "countersign cannot sign in at the server"),
                        NoToken::SignIn(_) | NoToken::Later(_) => {
                            warn!(server, why, "sign-in is needed: countersign auth login {server}")
                        }
                    }
                    turn.told = Some(why.to_owned());
                }
            }
        }
        self.note(no);
        token
    }

    /// The server has refused this token: it is not given out again, and the next request has a renewed one.
    pub fn refuse(&self, token: &Secret) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(*token.digest());
    }

    fn is_refused(&self, token: &Secret) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(token.digest())
    }

    /// The server's answer says that the sign-in covers too little. What it names is asked for at the next one.
    pub async fn insufficient(&self, headers: &HeaderMap) -> bool {
        let Some(challenge) = discovery::bearer_challenge(headers) else { return false };
        let challenge = WWWAuthenticateParams::parse(&challenge, &self.settings.url);
        if !challenge.is_insufficient_scope() {
            return false;
        }
        let scopes = record::scopes(&challenge.scope.unwrap_or_default());
        let server = &self.settings.server;
        if self.settings.client.alone().is_some() {
            warn!(
                server,
                ?scopes,
                "the sign-in covers too little; add to servers.{server}.upstream.http.auth.oauth.scopes what may be, \
                 and restart"
            );
            return true;
        }
        if self.settings.scopes.is_empty() {
            warn!(server, ?scopes, "the sign-in covers too little; to widen it: countersign auth login {server}");
        } else {
            warn!(
                server,
                ?scopes,
                "the sign-in covers too little; add to servers.{server}.upstream.http.auth.oauth.scopes what may be, \
                 restart, and: countersign auth login {server}"
            );
        }
        if let Err(error) = self.want(&scopes).await {
            warn!(server, %error, "what the server asks for could not be kept for the next sign-in");
        }
        true
    }

    async fn want(&self, scopes: &[String]) -> Result<(), Fault> {
        let mut turn = self.turn.lock().await;
        let _lock = self.store.lock(&self.settings.server).await?;
        let unsaved = self.unsaved(&mut turn).map(|unsaved| (unsaved.stamp, unsaved.record.clone()));
        let (before, record) = match unsaved {
            Some((before, record)) => (before, Some(record)),
            None => (self.store.stamp(&self.settings.server), self.store.read(&self.settings.server)?),
        };
        if let Some(mut record) = record
            && record.want(scopes)
        {
            self.write(&mut turn, &record, before)?;
        }
        Ok(())
    }

    /// What could not be written, where nobody has signed in or out since.
    fn unsaved<'t>(&self, turn: &'t mut Turn) -> Option<&'t Unsaved> {
        let stays = |unsaved: &Unsaved| !self.store.has_changed(&self.settings.server, unsaved.stamp);
        turn.unsaved = turn.unsaved.take().filter(stays);
        turn.unsaved.as_ref()
    }

    /// Writes a record, or else keeps it in mind. The lock is held; `before` is what the file was like when it was read.
    fn write(&self, turn: &mut Turn, record: &Record, before: Option<Stamp>) -> Result<(), StoreError> {
        let written = self.store.write(record);
        let unsaved = || Unsaved { record: record.clone(), stamp: before };
        turn.unsaved = written.is_err().then(unsaved);
        written
    }

    /// Tries once more to write what could not be written.
    async fn save(&self, turn: &mut Turn) {
        if self.unsaved(turn).is_none() {
            return;
        }
        let server = &self.settings.server;
        let lock = self.store.lock(server).await;
        // Somebody else may have held the lock.
        let Some(Unsaved { record, stamp }) = self.unsaved(turn).cloned() else { return };
        match lock.and_then(|_lock| self.write(turn, &record, stamp)) {
            Ok(()) => info!(server, "the renewed sign-in is written down"),
            Err(error) => debug!(server, %error, "the renewed sign-in still cannot be written down"),
        }
    }

    /// The record's token, where it counts; renewed, where it has to be.
    async fn take(&self, turn: &mut Turn) -> Result<Carried, NoToken> {
        self.save(turn).await;
        let (stamp, record) = self.newest(turn)?;
        let fresh = self.current(&record).filter(|_| now() < renew_at(&record));
        if let Some(token) = fresh {
            return Ok(self.hold(turn, &record, stamp, token));
        }
        if let Some((until, why)) = turn.pause.as_ref().filter(|(until, _)| now() < *until) {
            let seconds = until.saturating_sub(now());
            return self.still(&record).ok_or_else(|| why.with(&format!("; tried again in {seconds} s")));
        }
        if self.current(&record).is_none() {
            // A token that is refused as soon as it is made will not get better by making more.
            if turn.forced_at.is_some_and(|at| now() < at + PAUSE) {
                return Err(NoToken::SignIn("the server does not take a token that was just renewed".to_owned()));
            }
            turn.forced_at = Some(now());
        }
        match self.renew(turn, &record).await {
            Ok((stamp, record)) => {
                turn.pause = (renew_at(&record) <= now()).then(|| too_short(record.lifetime().unwrap_or_default()));
                let token = self.current(&record).ok_or_else(|| {
                    NoToken::SignIn("the server does not take the token, and renewing it gives the same".to_owned())
                })?;
                Ok(self.hold(turn, &record, stamp, token))
            }
            Err(why @ (NoToken::SignIn(_) | NoToken::Refused(_))) => Err(why),
            Err(why @ NoToken::Later(_)) => {
                warn!(server = self.settings.server, why = why.words(), "the token could not be renewed");
                turn.pause = Some((now() + PAUSE, why.clone()));
                self.still(&record).ok_or(why)
            }
        }
    }

    /// The record that counts: the one that could not be written, else the one on the disk.
    fn newest(&self, turn: &mut Turn) -> Result<(Option<Stamp>, Record), NoToken> {
        match self.unsaved(turn) {
            Some(Unsaved { record, stamp }) => Ok((*stamp, record.clone())),
            None => self.read(),
        }
    }

    fn read(&self) -> Result<(Option<Stamp>, Record), NoToken> {
        // The stamp first: what is written between the two is read again.
        let stamp = self.store.stamp(&self.settings.server);
        let record = self.store.read(&self.settings.server).map_err(|error| NoToken::SignIn(error.to_string()))?;
        let over = record.as_ref().map_or(Some(NOBODY.to_owned()), |record| record.ended_by(&self.settings));
        let (None, Some(record)) = (&over, record) else {
            // Nothing of a sign-in that is over stays in mind.
            self.held.store(None);
            self.prover.store(None);
            return Err(NoToken::SignIn(over.unwrap_or_default()));
        };
        record.secrets().for_each(|(name, key)| self.scrubber.learn(&name, &key));
        Ok((stamp, record))
    }

    /// The record's token, where the server has not refused it.
    fn current(&self, record: &Record) -> Option<Carried> {
        let token = Secret::new(record.access_token()?.secret().clone());
        if self.is_refused(&token) {
            return None;
        }
        // Without its key a bound token counts for nothing.
        let prover = match record.bound_to() {
            Some(key) => Some(self.prover(key)?),
            None => None,
        };
        Some(Carried { token: Arc::new(token), prover })
    }

    /// The key of a record. For as long as it is the same, so is what its servers want in proofs.
    fn prover(&self, key: Arc<Secret>) -> Option<Arc<Prover>> {
        let known = self.prover.load_full().filter(|known| known.key().digest() == key.digest());
        if known.is_some() {
            return known;
        }
        let prover = Prover::of(key)?;
        self.prover.store(Some(Arc::clone(&prover)));
        Some(prover)
    }

    /// The token that could not be renewed, for as long as it counts.
    fn still(&self, record: &Record) -> Option<Carried> {
        self.current(record).filter(|_| record.expires_at().is_none_or(|end| now() < end))
    }

    fn hold(&self, turn: &Turn, record: &Record, stamp: Option<Stamp>, token: Carried) -> Carried {
        let write_at = turn.unsaved.as_ref().map_or(u64::MAX, |_| now() + PAUSE);
        let renew_at = renew_at(record).min(write_at);
        // For as long as somebody holds it.
        self.scrubber.learn(&record.token_name(), &token.token);
        let ends_at = record.expires_at();
        self.held.store(Some(Arc::new(Held { token: token.clone(), stamp, renew_at, ends_at })));
        token
    }

    /// A new token from the same issuer, for the same resource. `seen` is the record as it was before the lock was held.
    async fn renew(&self, turn: &mut Turn, seen: &Record) -> Result<(Option<Stamp>, Record), NoToken> {
        let later = |fault: Fault| NoToken::Later(fault.to_string());
        let server = &self.settings.server;
        let _lock = self.store.lock(server).await.map_err(|error| later(error.into()))?;
        let (stamp, mut record) = self.newest(turn)?;
        let token = |record: &Record| record.access_token().map(|token| token.secret().clone());
        if token(&record) != token(seen) && self.current(&record).is_some() {
            // Another process was faster.
            return Ok((stamp, record));
        }
        if !record.can_be_renewed() {
            return Err(NoToken::SignIn(
                "the token has ended or was refused, and there is none to renew it with".to_owned(),
            ));
        }
        match self.exchange(&mut record).await {
            Ok(()) => {
                record.secrets().for_each(|(name, key)| self.scrubber.learn(&name, &key));
                let known = turn.unsaved.is_some();
                match self.write(turn, &record, stamp) {
                    Ok(()) => info!(server, "the token was renewed"),
                    Err(error) if known => debug!(server, %error, "the token was renewed, and cannot be written down"),
                    Err(error) => error!(
                        server,
                        %error,
                        "the token was renewed and cannot be written down: \
                         the sign-in is lost if the daemon ends before it is"
                    ),
                }
                Ok((self.store.stamp(server), record))
            }
            Err(fault @ (Fault::Rejected(_) | Fault::IssuerChanged { .. } | Fault::Pinned { .. })) => {
                // Nothing gets better by itself: the record says so, for whoever asks.
                record.ended = Some(fault.to_string());
                self.store.write(&record).map_err(|error| later(error.into()))?;
                Err(NoToken::SignIn(fault.to_string()))
            }
            Err(fault) => Err(later(fault)),
        }
    }

    async fn exchange(&self, record: &mut Record) -> Result<(), Fault> {
        let mut found = discovery::discover(&self.settings, &self.http, Some(&record.resource)).await?;
        if found.issuer != record.issuer {
            let (stored, found) = (record.issuer.clone(), super::said(&found.issuer));
            return Err(Fault::IssuerChanged { stored, found });
        }
        let client_id = record.client_id().ok_or(Fault::Token("it has no client"))?.to_owned();
        let secret = match &self.settings.client {
            Client::Registered { .. } | Client::Alone(_) => None,
            Client::Document(_) | Client::Dynamic => record.client_secret().map(str::to_owned),
        };
        let redirect = record.redirect_uri.clone();
        discovery::speak_as(&mut found.manager, &self.settings, &client_id, secret.as_deref(), &redirect)?;
        let prover = match record.bound_to() {
            Some(key) => Some(self.prover(key).ok_or(Fault::Token("the key that it counts for cannot be read"))?),
            None => None,
        };
        found.shows.show(prover.as_ref());
        let slot = Slot::new(record.credentials.clone());
        found.manager.set_credential_store(slot.clone());
        let tokens = found.manager.refresh_token().await.map_err(|error| match error {
            AuthError::TokenRefreshRejected(_) | AuthError::AuthorizationRequired => Fault::Rejected(story(&error)),
            other => Fault::Failed(story(&other)),
        })?;
        // A sign-in whose tokens count for a key stays one.
        usable(&tokens, prover.is_some(), prover.is_some())?;
        record.credentials = slot.take();
        Ok(())
    }
}

/// When the record's token is to be renewed: early, so that nothing leaves with one that ends on its way.
fn renew_at(record: &Record) -> u64 {
    match (record.expires_at(), record.lifetime()) {
        (Some(end), Some(lifetime)) => end.saturating_sub(early(lifetime)),
        _ => u64::MAX,
    }
}

/// The pause after a token that would have to be renewed for every request.
fn too_short(lifetime: u64) -> (u64, NoToken) {
    (now() + PAUSE, NoToken::Later(format!("the authorization server gives tokens for {lifetime} s")))
}

/// How long before its end a token is renewed that lives so long.
fn early(lifetime: u64) -> u64 {
    (lifetime / 5).min(EARLY)
}
