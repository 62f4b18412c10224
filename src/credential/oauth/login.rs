//! One sign-in, from the first question to a record: discovery, the client's identity, the page that the operator goes
//! to, the answer that comes back, and the code that becomes tokens.
//!
//! Invariant: an answer counts once, for the state of this sign-in, from the issuer that was asked.

use std::sync::Arc;

use oauth2::TokenResponse as _;
use rmcp::transport::auth::AuthorizationManager;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::discovery::{self, Found};
use super::dpop::{self, Prover};
use super::record::{self, KnownAs, Record, Slot};
use super::store::Store;
use super::{Client, Dpop, Fault, Http, Settings, said, story};

/// The name that Countersign registers by.
const NAME: &str = "Countersign";

/// A sign-in that has begun.
pub struct Login {
    manager: AuthorizationManager,
    page: String,
    state: String,
    issuer: String,
    redirect: Url,
    kept: Slot,
    store: Arc<Store>,
    /// The key that the tokens are to count for, and whether no others are taken.
    prover: Option<Arc<Prover>>,
    must: bool,
}

/// What comes back from the authorization server.
#[derive(Debug)]
pub struct Answer {
    code: String,
    issuer: Option<String>,
}

/// Why an address that somebody came back to is not the answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("this is not an address that the sign-in ends at: it begins with {0}")]
    Elsewhere(String),
    #[error("it belongs to another sign-in (its `state` is another one); begin again")]
    State,
    #[error("it says something twice")]
    Twice,
    #[error("it comes from {received} and not from {expected}, who was asked: it is not used")]
    Issuer { expected: String, received: String },
    #[error("it has no code")]
    NoCode,
    /// The authorization server's own no.
    #[error("the authorization server refused: {0}")]
    Refused(String),
}

/// A sign-in with its record as it will be.
pub struct Begun {
    pub login: Login,
    record: Record,
}

impl Login {
    /// Finds the authorization server and makes the page's address. `redirect` is where the answer will come to.
    ///
    /// # Errors
    /// Why this server cannot be signed in to.
    pub async fn begin(settings: &Settings, store: Arc<Store>, http: &Http, redirect: &str) -> Result<Begun, Fault> {
        let redirect_url =
            Url::parse(redirect).map_err(|error| Fault::Address { what: "the callback", why: error.to_string() })?;
        let Found { mut manager, metadata, issuer, shows } = discovery::discover(settings, http, None).await?;
        let prover = match settings.dpop.shows(&metadata)? {
            true => Some(Prover::new().ok_or(Fault::Unsigned)?),
            false => None,
        };
        shows.show(prover.as_ref());
        let failed = |error| Fault::Failed(story(&error));
        let scopes = wanted_scopes(settings, &store, &manager, &issuer).await;
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let documents = metadata.additional_fields.get("client_id_metadata_document_supported");
        let documents = documents.and_then(serde_json::Value::as_bool).unwrap_or(false);
        let (known_as, secret) = match &settings.client {
            Client::Registered { id, .. } => {
                discovery::speak_as(&mut manager, settings, id, None, redirect)?;
                (KnownAs::Registered, None)
            }
            Client::Document(address) if documents => {
                discovery::speak_as(&mut manager, settings, address, None, redirect)?;
                (KnownAs::Document, None)
            }
            Client::Alone(_) => return Err(Fault::NoPerson),
            Client::Document(_) | Client::Dynamic => {
                // Without scopes: some know those of the server only when it is asked for, and refuse them here.
                let registered = manager.register_client(NAME, redirect, &[]).await.map_err(failed)?;
                (KnownAs::Dynamic, registered.client_secret)
            }
        };
        let kept = Slot::default();
        manager.set_credential_store(kept.clone());
        let page = manager.get_authorization_url(&scopes).await.map_err(failed)?;
        let query = |name: &str| discovery::in_query(&page, name).ok_or_else(Fault::no_page);
        let (state, resource) = (query("state")?, discovery::resource_of(&page, &settings.url)?);
        let mut record = Record::new(settings, resource, issuer.clone(), known_as).with_client_secret(secret);
        record.redirect_uri = redirect.to_owned();
        let must = settings.dpop == Dpop::Required;
        let login = Login { manager, page, state, issuer, redirect: redirect_url, kept, store, prover, must };
        Ok(Begun { login, record })
    }

    /// The page that the operator has to go to: an address that may be given to a browser.
    ///
    /// # Errors
    /// Where it may not.
    pub fn page(&self, server: &Url) -> Result<&str, Fault> {
        discovery::endpoint(&self.page, server)
            .map_err(|why| Fault::Address { what: "the authorization endpoint", why })?;
        Ok(&self.page)
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Reads the address that somebody came back to, whole or from its path on.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn answer(&self, address: &str) -> Result<Answer, NoAnswer> {
        let elsewhere = || NoAnswer::Elsewhere(self.redirect.to_string());
        let url = self.redirect.join(address.trim()).map_err(|_| elsewhere())?;
        let place =
            |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port(), url.path().to_owned());
        if place(&url) != place(&self.redirect) {
            return Err(elsewhere());
        }
        let one = |name: &str| {
            let mut found = url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            let first = found.next();
            if found.next().is_some() { Err(NoAnswer::Twice) } else { Ok(first) }
        };
        let state = one("state")?.ok_or(NoAnswer::State)?;
        if !bool::from(state.as_bytes().ct_eq(self.state.as_bytes())) {
            return Err(NoAnswer::State);
        }
        let issuer = one("iss")?;
        if let Some(received) = issuer.as_ref().filter(|issuer| **issuer != self.issuer) {
            return Err(NoAnswer::Issuer { expected: self.issuer.clone(), received: said(received) });
        }
        if let Some(error) = one("error")? {
            let more = one("error_description")?.map(|more| format!(": {more}")).unwrap_or_default();
            return Err(NoAnswer::Refused(said(format!("{error}{more}"))));
        }
        Ok(Answer { code: one("code")?.filter(|code| !code.is_empty()).ok_or(NoAnswer::NoCode)?, issuer })
    }
}

impl Begun {
    /// Makes tokens of the answer's code, and keeps them.
    ///
    /// # Errors
    /// Where the authorization server gives none, or none that can be used.
    pub async fn finish(self, answer: Answer) -> Result<Record, Fault> {
        let Begun { login, mut record } = self;
        // A code counts once: it is used where its tokens can be kept.
        let _lock = login.store.lock(record.server()).await?;
        let exchanged =
            login.manager.exchange_code_for_token_with_issuer(&answer.code, &login.state, answer.issuer.as_deref());
        let tokens = exchanged.await.map_err(|error| Fault::Failed(story(&error)))?;
        if usable(&tokens, login.prover.is_some(), login.must)? {
            record.bind(login.prover.as_deref());
        }
        record.credentials = Some(login.kept.take().ok_or(Fault::Token("it was not kept"))?);
        record.signed_in_at = super::now();
        login.store.write(&record)?;
        Ok(record)
    }
}

/// Whether a token counts for the key that was `shown` alone.
///
/// # Errors
/// Where it is not one that we can carry, or does not, and `must`.
pub(super) fn usable(
    tokens: &rmcp::transport::auth::OAuthTokenResponse,
    shown: bool,
    must: bool,
) -> Result<bool, Fault> {
    let bound = dpop::bound(tokens, shown, must)?;
    record::unusable(tokens.access_token().secret()).map_or(Ok(bound), |why| Err(Fault::Token(why)))
}

/// The configured scopes, else what the server asks for, and what it has asked for since the last sign-in.
async fn wanted_scopes(
    settings: &Settings,
    store: &Store,
    manager: &AuthorizationManager,
    issuer: &str,
) -> Vec<String> {
    if !settings.scopes.is_empty() {
        return settings.scopes.clone();
    }
    let mut scopes = manager.select_initial_scopes(&[]).await;
    // Of a sign-in elsewhere nothing carries over.
    let last = store.read(&settings.server).ok().flatten().filter(|record| record.issuer == issuer);
    if let Some(last) = last.filter(|last| !last.wanted.is_empty()) {
        for scope in last.scopes().iter().chain(&last.wanted) {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
    }
    scopes
}
