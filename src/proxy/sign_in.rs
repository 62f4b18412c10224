//! Servers that are signed in to, by an operator or by Countersign itself: from the configuration to what their requests
//! take tokens from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::Uri;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::{Config, Grant, OAuth};
use crate::control::wire::{SignInState, SignInView};
use crate::credential::oauth::{Alone, Bearer, Client, Http, Proof, Settings, Stands, Store, StoreError, can_sign};
use crate::credential::scrub::Scrubber;
use crate::credential::secret::SecretCell;
use crate::transport::{Reach, oauth_http};

/// What the sign-ins of one daemon share.
pub struct SignIns {
    store: Arc<Store>,
    scrubber: Arc<Scrubber>,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// By the names of their servers.
    bearers: Mutex<BTreeMap<String, Arc<Bearer>>>,
}

impl SignIns {
    /// Nothing where no server has one.
    ///
    /// # Errors
    /// Where they cannot be kept.
    pub(super) fn open(
        config: &Config,
        secrets: &BTreeMap<String, SecretCell>,
        scrubber: &Arc<Scrubber>,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Option<SignIns>, StoreError> {
        if config.sign_ins().next().is_none() {
            return Ok(None);
        }
        let (scrubber, tracker, stop) = (Arc::clone(scrubber), tracker.clone(), stop.clone());
        Ok(Some(SignIns { store: store(config, secrets)?, scrubber, tracker, stop, bearers: Mutex::default() }))
    }

    /// One for each server, however often it is made ready.
    pub(super) fn bearer(&self, settings: Settings) -> Result<Arc<Bearer>, String> {
        let mut bearers = self.bearers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bearer) = bearers.get(&settings.server) {
            return Ok(Arc::clone(bearer));
        }
        let (server, http) = (settings.server.clone(), http(&settings)?);
        let (store, scrubber) = (Arc::clone(&self.store), Arc::clone(&self.scrubber));
        let bearer = Bearer::new(settings, store, http, scrubber, self.tracker.clone(), self.stop.clone());
        bearer.announce();
        bearers.insert(server, Arc::clone(&bearer));
        Ok(bearer)
    }

    /// How one stands, as operators see it.
    pub(super) fn view(&self, server: &str) -> Option<SignInView> {
        let bearer = Arc::clone(self.bearers.lock().unwrap_or_else(PoisonError::into_inner).get(server)?);
        let (state, until, renewed, reason) = match bearer.stands() {
            Stands::Needed(why) => (SignInState::Needed, None, false, Some(why)),
            Stands::SignedIn { until, renewed } => (SignInState::SignedIn, until, renewed, None),
            Stands::Failed(why) => (SignInState::Failed, None, false, Some(why)),
            Stands::Begins => (SignInState::Begins, None, true, None),
        };
        let until = until.and_then(|end| jiff::Timestamp::from_second(i64::try_from(end).ok()?).ok());
        let until = until.map(|end| end.to_string());
        Some(SignInView { state, by_itself: bearer.is_alone(), until, renewed, reason })
    }
}

/// Where sign-ins are kept.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn store(config: &Config, secrets: &BTreeMap<String, SecretCell>) -> Result<Arc<Store>, StoreError> {
    let key = config.oauth_key.as_ref().and_then(|name| secrets.get(name)).map(SecretCell::current);
    Store::open(&config.state_dir, key.as_deref()).map(Arc::new)
}

/// The secrets that signing in at these servers takes.
pub(crate) fn secrets_of<'a>(config: &'a Config, only: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let of_clients = config
        .sign_ins()
        .filter(move |(name, _, _)| only.is_none_or(|only| only == *name))
        .flat_map(|(_, _, oauth)| oauth.secrets());
    config.oauth_key.as_deref().into_iter().chain(of_clients)
}

/// How one server is signed in to.
///
/// # Errors
/// A secret or an address that is not there.
pub(crate) fn settings(
    server: &str,
    url: &str,
    oauth: &OAuth,
    secrets: &BTreeMap<String, SecretCell>,
) -> Result<Settings, String> {
    let find = |name: &Option<String>| name.as_ref().map(|name| super::servers::find(name, secrets)).transpose();
    let secret = find(&oauth.client_secret)?;
    let client = match (oauth.grant, &oauth.client_id, &oauth.client_metadata_url) {
        (Grant::Client, None, _) => return Err("the client that signs in by itself has no `client_id`".to_owned()),
        (Grant::Client | Grant::Assertion, id, _) => {
            Client::Alone(Alone { id: id.clone(), proof: proof(oauth, secret, find)? })
        }
        (Grant::Person, Some(id), _) => Client::Registered { id: id.clone(), secret },
        (Grant::Person, None, Some(document)) => Client::Document(document.clone()),
        (Grant::Person, None, None) => Client::Dynamic,
    };
    let url = Url::parse(url).map_err(|error| format!("the URL cannot be used: {error}"))?;
    let (scopes, issuer) = (oauth.scopes.clone(), oauth.issuer.clone());
    Ok(Settings { server: server.to_owned(), url, client, scopes, issuer })
}

/// What shows who a client is that signs in by itself.
fn proof(
    oauth: &OAuth,
    secret: Option<SecretCell>,
    find: impl Fn(&Option<String>) -> Result<Option<SecretCell>, String>,
) -> Result<Proof, String> {
    if let Some(assertion) = find(&oauth.assertion)? {
        return Ok(Proof::Assertion(assertion));
    }
    if let Some(key) = find(&oauth.private_key)? {
        can_sign(&key.current()).map_err(|bad| format!("the secret `{}`: {bad}", key.name()))?;
        return Ok(Proof::Key { key, id: oauth.key_id.clone() });
    }
    let missing = || "the client that signs in by itself has nothing that shows who it is".to_owned();
    secret.map(Proof::Secret).ok_or_else(missing)
}

/// What sends the requests of its sign-ins.
///
/// # Errors
/// An address that cannot be reached by any means, or no TLS.
pub(crate) fn http(settings: &Settings) -> Result<Http, String> {
    let uri = |text: &str| text.parse::<Uri>().map_err(|error| error.to_string());
    let issuer = settings.issuer.as_deref().map(uri).transpose()?;
    let reach = Reach::new(&uri(settings.url.as_str())?, issuer.as_ref());
    oauth_http::exchange(reach).map_err(|error| error.to_string())
}
