//! One sign-in: whose tokens, for which server, resource and issuer, and whether they still count.
//!
//! Invariant: a record counts for the address, the client and the issuer of the configuration that is asked about, or it
//! does not count.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use oauth2::{AccessToken, RefreshToken, TokenResponse as _};
use rmcp::transport::auth::{AuthError, CredentialStore, StoredCredentials};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::dpop::Prover;
use super::{Client, Dpop, Settings};
use crate::credential::secret::Secret;
use crate::credential::source::{MAX_LENGTH, MIN_LENGTH};

const VERSION: u32 = 1;
/// Scopes that a server may ask for beyond those that were granted, and their length.
const MOST_WANTED: usize = 20;
const LONGEST_SCOPE: usize = 200;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    server: String,
    /// The server's address as it was configured.
    url: String,
    /// What the tokens are for, in the server's own words (RFC 8707).
    pub resource: String,
    pub issuer: String,
    /// How Countersign is known at the issuer.
    pub known_as: KnownAs,
    /// Where the issuer gave one at registration.
    client_secret: Option<String>,
    pub(super) redirect_uri: String,
    /// Seconds since 1970.
    pub signed_in_at: u64,
    /// Scopes that the server has asked for since.
    pub wanted: Vec<String>,
    /// Why it counts no more.
    pub ended: Option<String>,
    pub(super) credentials: Option<StoredCredentials>,
    /// The key that the tokens count for, where they count for one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownAs {
    Registered,
    Document,
    Dynamic,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.client_secret.zeroize();
        self.dpop.zeroize();
    }
}

impl Record {
    pub(super) fn new(settings: &Settings, resource: String, issuer: String, known_as: KnownAs) -> Record {
        Record {
            version: VERSION,
            server: settings.server.clone(),
            url: settings.url.to_string(),
            resource,
            issuer,
            known_as,
            client_secret: None,
            redirect_uri: String::new(),
            signed_in_at: super::now(),
            wanted: Vec::new(),
            ended: None,
            credentials: None,
            dpop: None,
        }
    }

    pub(super) fn with_client_secret(mut self, secret: Option<String>) -> Record {
        self.client_secret = secret;
        self
    }

    pub(super) fn bind(&mut self, prover: Option<&Prover>) {
        self.dpop = prover.map(|prover| prover.key().expose().to_owned());
    }

    /// Whether its tokens count for a key of ours alone.
    pub fn is_bound(&self) -> bool {
        self.dpop.is_some()
    }

    pub(super) fn bound_to(&self) -> Option<Arc<Secret>> {
        Some(Arc::new(Secret::new(self.dpop.clone()?)))
    }

    pub(super) fn is_for(&self, server: &str) -> bool {
        self.version == VERSION && self.server == server
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Why it does not count under this configuration, where that is so, or cannot count on.
    pub fn needs_sign_in(&self, settings: &Settings) -> Option<String> {
        let over = self.expires_at().is_some_and(|end| end <= super::now()) && !self.can_be_renewed();
        let over = || over.then(|| "the token has ended, and there is none to renew it with".to_owned());
        self.ended_by(settings).or_else(over)
    }

    /// Why it does not count under this configuration, where that is so.
    pub(super) fn ended_by(&self, settings: &Settings) -> Option<String> {
        let again = |why: String| Some(why);
        if let Some(why) = &self.ended {
            return again(why.clone());
        }
        if self.url != settings.url.as_str() {
            return again(format!("the sign-in is for {}, and the server's address has changed since", self.url));
        }
        if let Some(pinned) = settings.issuer.as_ref().filter(|pinned| **pinned != self.issuer) {
            return again(format!("the sign-in is at {}, and the configuration pins {pinned}", self.issuer));
        }
        let Some(credentials) = &self.credentials else { return again("nobody has signed in".to_owned()) };
        let same = match &settings.client {
            Client::Registered { id, .. } => self.known_as == KnownAs::Registered && credentials.client_id == *id,
            Client::Document(address) => match self.known_as {
                KnownAs::Document => credentials.client_id == *address,
                KnownAs::Dynamic => true,
                KnownAs::Registered => false,
            },
            Client::Dynamic => self.known_as == KnownAs::Dynamic,
            Client::Alone(_) => false,
        };
        if !same {
            return again("the client of the configuration is another one since the sign-in".to_owned());
        }
        if settings.dpop == Dpop::Required && !self.is_bound() {
            return again(
                "the configuration wants tokens that count for a key alone (DPoP), and this one does not".to_owned(),
            );
        }
        if credentials.token_response.is_none() {
            return again("there is no token".to_owned());
        }
        None
    }

    pub fn client_id(&self) -> Option<&str> {
        Some(self.credentials.as_ref()?.client_id.as_str())
    }

    pub fn scopes(&self) -> &[String] {
        self.credentials.as_ref().map_or(&[], |credentials| &credentials.granted_scopes)
    }

    /// When the access token ends, in seconds since 1970, where the issuer said it.
    pub fn expires_at(&self) -> Option<u64> {
        let credentials = self.credentials.as_ref()?;
        let lifetime = credentials.token_response.as_ref()?.expires_in()?.as_secs();
        credentials.token_received_at?.checked_add(lifetime)
    }

    /// How long the access token was to live, in seconds.
    pub(super) fn lifetime(&self) -> Option<u64> {
        Some(self.credentials.as_ref()?.token_response.as_ref()?.expires_in()?.as_secs())
    }

    pub fn can_be_renewed(&self) -> bool {
        self.refresh_token().is_some()
    }

    pub(super) fn access_token(&self) -> Option<&AccessToken> {
        Some(self.credentials.as_ref()?.token_response.as_ref()?.access_token())
    }

    pub(super) fn refresh_token(&self) -> Option<&RefreshToken> {
        self.credentials.as_ref()?.token_response.as_ref()?.refresh_token()
    }

    pub(super) fn client_secret(&self) -> Option<&str> {
        self.client_secret.as_deref()
    }

    /// Every key in it, with what the scrubber calls it. Each has a name of its own: of each the last few are looked for.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (String, Arc<Secret>)> {
        let keys = [
            ("", self.access_token().map(|token| token.secret().as_str())),
            (".refresh", self.refresh_token().map(|token| token.secret().as_str())),
            (".client", self.client_secret()),
            (".dpop", self.dpop.as_deref()),
        ];
        let name = self.token_name();
        keys.into_iter().filter_map(move |(what, key)| {
            // Shorter ones would be found by chance.
            let key = key.filter(|key| key.len() >= MIN_LENGTH)?;
            Some((format!("{name}{what}"), Arc::new(Secret::new(key.to_owned()))))
        })
    }

    /// What the scrubber calls the token that requests carry.
    pub(super) fn token_name(&self) -> String {
        format!("oauth.{}", self.server)
    }

    /// Notes what a server asks for beyond what was granted. True where that is news.
    pub(super) fn want(&mut self, scopes: &[String]) -> bool {
        let before = self.wanted.len();
        for scope in scopes {
            if self.wanted.len() < MOST_WANTED && !self.wanted.contains(scope) {
                self.wanted.push(scope.clone());
            }
        }
        self.wanted.len() > before
    }
}

/// The scopes in a server's text that can be scopes (RFC 6749, 3.3).
pub(super) fn scopes(text: &str) -> Vec<String> {
    let fits = |scope: &&str| {
        scope.len() <= LONGEST_SCOPE && scope.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    text.split(' ').filter(|scope| !scope.is_empty()).filter(fits).take(MOST_WANTED).map(str::to_owned).collect()
}

/// Why a token cannot stand in a header field, or be told apart from other texts.
pub(super) fn unusable(token: &str) -> Option<&'static str> {
    if token.len() < MIN_LENGTH {
        return Some("it is too short to be told from other texts");
    }
    if token.len() > MAX_LENGTH {
        return Some("it is longer than 16 KiB");
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    (!token.bytes().all(fits)).then_some("it has a character that a bearer token cannot have (RFC 6750)")
}

/// Credentials on their way from and to rmcp: they go to the disk when they have been looked at.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<StoredCredentials>>>);

impl Slot {
    pub(super) fn new(credentials: Option<StoredCredentials>) -> Slot {
        Slot(Arc::new(Mutex::new(credentials)))
    }

    pub(super) fn take(&self) -> Option<StoredCredentials> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl CredentialStore for Slot {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials);
        Ok(())
    }

    async fn clear(&self) -> Result<(), AuthError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}
