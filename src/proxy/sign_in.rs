//! Servers that an operator signs in to: from the configuration to what their requests take tokens from.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Uri;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::{Config, OAuth};
use crate::credential::oauth::{Bearer, Client, Http, Settings, Store, StoreError};
use crate::credential::scrub::Scrubber;
use crate::credential::secret::SecretCell;
use crate::transport::{Reach, oauth_http};

/// What the sign-ins of one daemon share.
pub struct SignIns {
    store: Arc<Store>,
    scrubber: Arc<Scrubber>,
    tracker: TaskTracker,
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
    ) -> Result<Option<SignIns>, StoreError> {
        if config.sign_ins().next().is_none() {
            return Ok(None);
        }
        let (scrubber, tracker) = (Arc::clone(scrubber), tracker.clone());
        Ok(Some(SignIns { store: store(config, secrets)?, scrubber, tracker }))
    }

    pub(super) fn bearer(&self, settings: Settings) -> Result<Arc<Bearer>, String> {
        let http = http(&settings)?;
        let (store, scrubber) = (Arc::clone(&self.store), Arc::clone(&self.scrubber));
        let bearer = Bearer::new(settings, store, http, scrubber, self.tracker.clone());
        bearer.announce();
        Ok(bearer)
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
        .filter_map(|(_, _, oauth)| oauth.client_secret.as_deref());
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
    let client = match (&oauth.client_id, &oauth.client_metadata_url) {
        (Some(id), _) => {
            let secret = oauth.client_secret.as_ref().map(|name| super::servers::find(name, secrets)).transpose()?;
            Client::Registered { id: id.clone(), secret }
        }
        (None, Some(document)) => Client::Document(document.clone()),
        (None, None) => Client::Dynamic,
    };
    let url = Url::parse(url).map_err(|error| format!("the URL cannot be used: {error}"))?;
    let (scopes, issuer) = (oauth.scopes.clone(), oauth.issuer.clone());
    Ok(Settings { server: server.to_owned(), url, client, scopes, issuer })
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
