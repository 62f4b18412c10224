//! Servers that are signed in to, by an operator or by Countersign itself: from the configuration to what their requests
//! take tokens from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::Uri;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::{self, Config, Grant, OAuth};
use crate::control::wire::{SignInState, SignInView};
use crate::credential::oauth::{
    Alone, Bearer, Client, Http, Idp, Known, Proof, Settings, Stands, Store, StoreError, Subject, can_sign,
};
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
    let find = |name: &str| super::servers::find(name, secrets);
    let proof = || proof(&oauth.client_secret, &oauth.private_key, oauth.key_id.as_ref(), secrets);
    let missing = |what: &str| format!("countersign signs in by itself, and the configuration has no `{what}`");
    let known = || {
        let id = oauth.client_id.clone().ok_or_else(|| missing("client_id"))?;
        Ok::<_, String>(Known { id, proof: proof()?.ok_or_else(|| missing("client_secret"))? })
    };
    let client = match oauth.grant {
        Grant::Client => Client::Alone(Alone::Client(known()?)),
        Grant::Assertion => {
            let assertion = find(oauth.assertion.as_ref().ok_or_else(|| missing("assertion"))?)?;
            Client::Alone(Alone::Assertion { id: oauth.client_id.clone(), assertion })
        }
        Grant::IdJag => {
            let idp = idp(oauth.idp.as_ref().ok_or_else(|| missing("idp"))?, secrets)?;
            Client::Alone(Alone::IdJag { client: known()?, idp })
        }
        Grant::Person => match (&oauth.client_id, &oauth.client_metadata_url) {
            (Some(id), _) => {
                let secret = oauth.client_secret.as_deref().map(find).transpose()?;
                Client::Registered { id: id.clone(), secret }
            }
            (None, Some(document)) => Client::Document(document.clone()),
            (None, None) => Client::Dynamic,
        },
    };
    let url = Url::parse(url).map_err(|error| format!("the URL cannot be used: {error}"))?;
    let (scopes, issuer) = (oauth.scopes.clone(), oauth.issuer.clone());
    Ok(Settings { server: server.to_owned(), url, client, scopes, issuer, dpop: oauth.dpop })
}

/// What shows who a client is that signs in by itself.
fn proof(
    secret: &Option<String>,
    private_key: &Option<String>,
    key_id: Option<&String>,
    secrets: &BTreeMap<String, SecretCell>,
) -> Result<Option<Proof>, String> {
    if let Some(key) = private_key {
        let key = super::servers::find(key, secrets)?;
        can_sign(&key.current()).map_err(|bad| format!("the secret `{}`: {bad}", key.name()))?;
        return Ok(Some(Proof::Key { key, id: key_id.cloned() }));
    }
    Ok(secret.as_ref().map(|secret| super::servers::find(secret, secrets)).transpose()?.map(Proof::Secret))
}

/// The organisation's identity provider. Its requests reach what its own address names, and nothing that a server does.
fn idp(idp: &config::Idp, secrets: &BTreeMap<String, SecretCell>) -> Result<Idp, String> {
    let proof = proof(&idp.client_secret, &idp.private_key, idp.key_id.as_ref(), secrets)?;
    let subject = match &idp.subject {
        config::Subject::IdToken(name) => Subject::IdToken(super::servers::find(name, secrets)?),
        config::Subject::RefreshToken(name) => Subject::RefreshToken(super::servers::find(name, secrets)?),
    };
    let issuer = idp.issuer.parse::<Uri>().map_err(|error| error.to_string())?;
    let http = oauth_http::exchange(Reach::new(&issuer, None)).map_err(|error| error.to_string())?;
    let (issuer, client_id) = (idp.issuer.clone(), idp.client_id.clone());
    Ok(Idp { issuer, client_id, proof, subject, http })
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
