//! Enterprise-managed authorization: the organisation's identity provider gives, for a person's token of its own, an
//! assertion (ID-JAG, draft-ietf-oauth-identity-assertion-authz-grant) that counts at one authorization server for one
//! client and one resource. The exchange (RFC 8693) and what is looked at in its answer are rmcp's.
//!
//! Invariant: the person's token and what shows who the client is go to the token endpoint of the identity provider that
//! the configuration names, found where that one publishes it. What comes back leaves for the authorization server only
//! where it says of itself that it is an ID-JAG from there, for that server, client and resource.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::LOCATION;
use oauth2::{ClientSecret, RefreshToken};
use rmcp::transport::auth::enterprise::{
    EmaAuthorizationServer, EmaClientAssertion, EmaClientAssertionProvider, EmaClientAuthentication, EmaError,
    EmaExchangeRequest,
};
use rmcp::transport::auth::{OAuthHttpClient, OAuthHttpClientFuture, OAuthHttpRequest};

use super::alone::{self, Proof, Shown};
use super::endpoint::SecretIn;
use super::{Fault, Http, Settings, discovery, said};
use crate::credential::scrub::Scrubber;
use crate::credential::secret::{Secret, SecretCell};

/// The organisation's identity provider.
#[derive(Clone)]
pub struct Idp {
    pub issuer: String,
    /// Countersign's name there.
    pub client_id: String,
    /// Absent for a public client.
    pub proof: Option<Proof>,
    pub subject: Subject,
    /// Reaches it, and nothing that a server names.
    pub http: Http,
}

impl std::fmt::Debug for Idp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idp").field("issuer", &self.issuer).field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// The person's token, which the identity provider has given to the client.
#[derive(Clone, Debug)]
pub enum Subject {
    IdToken(SecretCell),
    RefreshToken(SecretCell),
}

impl Subject {
    pub(super) fn cell(&self) -> &SecretCell {
        let (Subject::IdToken(cell) | Subject::RefreshToken(cell)) = self;
        cell
    }
}

/// What the assertion is to be good for.
pub(super) struct Wanted<'a> {
    pub(super) settings: &'a Settings,
    /// The client, the issuer and the resource at the server's side.
    pub(super) client_id: &'a str,
    pub(super) issuer: &'a str,
    pub(super) resource: &'a str,
}

/// Asks the identity provider. `to`: the token endpoint that the assertion is for.
pub(super) async fn ask(idp: &Idp, wanted: &Wanted<'_>, to: &str, scrubber: &Scrubber) -> Result<Arc<Secret>, Fault> {
    let at_idp = |fault| Fault::Idp { issuer: idp.issuer.clone(), fault: Box::new(fault) };
    asked(idp, wanted, to, scrubber).await.map_err(at_idp)
}

async fn asked(idp: &Idp, wanted: &Wanted<'_>, to: &str, scrubber: &Scrubber) -> Result<Arc<Secret>, Fault> {
    let server = &wanted.settings.server;
    let metadata = discovery::of_issuer(&idp.issuer, &idp.http).await?;
    let learn = |shown: &Arc<Secret>| scrubber.learn(&format!("oauth.{server}.idp_assertion"), shown);
    // Held until it is over: the scrubber looks for it as long.
    let shown = idp.proof.as_ref().map(|proof| alone::shown(proof, &idp.client_id, &idp.issuer, &metadata, learn));
    let shown = shown.transpose()?;
    let secret = |secret: &Secret| ClientSecret::new(secret.expose().to_owned());
    let authentication = match &shown {
        None => EmaClientAuthentication::None,
        Some(Shown::Secret(key, SecretIn::Header)) => EmaClientAuthentication::ClientSecretBasic(secret(key)),
        Some(Shown::Secret(key, SecretIn::Form)) => EmaClientAuthentication::ClientSecretPost(secret(key)),
        Some(Shown::Signed(text)) => EmaClientAuthentication::JwtAssertion(Arc::new(Made(Arc::clone(text)))),
    };
    let there = EmaAuthorizationServer::new(&idp.issuer, &metadata.token_endpoint, &idp.client_id);
    let there = there.with_client_authentication(authentication);
    let target = EmaAuthorizationServer::new(wanted.issuer, to, wanted.client_id);
    let token = idp.subject.cell().current();
    let refresh;
    let request = match &idp.subject {
        Subject::IdToken(_) => EmaExchangeRequest::new_with_id_token(there, target, wanted.resource, token.expose()),
        Subject::RefreshToken(_) => {
            refresh = RefreshToken::new(token.expose().to_owned());
            EmaExchangeRequest::new(there, target, wanted.resource, &refresh)
        }
    };
    let way = Way { http: Arc::clone(&idp.http), scrubber, fault: Mutex::default() };
    let given = request.with_scopes(&wanted.settings.scopes).exchange_id_jag(&way).await;
    let given = given.map_err(|error| {
        let fault = way.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        fault.unwrap_or_else(|| said_otherwise(&error))
    })?;
    let given = Arc::new(Secret::new(given.assertion().secret().clone()));
    scrubber.learn(&format!("oauth.{server}.id_jag"), &given);
    // rmcp takes one that names no resource, which would count for all of that authorization server.
    names(given.expose(), wanted.resource).then_some(given).ok_or(Fault::Token("the ID-JAG does not name the resource"))
}

/// Whether an assertion says that it is for this resource and no other.
fn names(assertion: &str, resource: &str) -> bool {
    let claims = assertion.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    let claims = claims.and_then(|claims| serde_json::from_slice::<serde_json::Value>(&claims).ok());
    let named = claims.as_ref().and_then(|claims| claims.get("resource"));
    named.is_some_and(|named| match named.as_array().map(Vec::as_slice) {
        Some([one]) => one == resource,
        Some(_) => false,
        None => named == resource,
    })
}

/// What rmcp says where the identity provider has not said it better.
fn said_otherwise(error: &EmaError) -> Fault {
    match error {
        EmaError::InvalidResponse { message, .. } => Fault::Token(message),
        EmaError::InvalidRequest(why) => Fault::Refused((*why).to_owned()),
        other => Fault::Failed(said(other.to_string())),
    }
}

/// A signed text that is shown once.
struct Made(Arc<Secret>);

#[async_trait]
impl EmaClientAssertionProvider for Made {
    async fn create_assertion(
        &self,
        _: &EmaAuthorizationServer,
    ) -> Result<EmaClientAssertion, Box<dyn std::error::Error + Send + Sync>> {
        Ok(EmaClientAssertion::new(self.0.expose().to_owned()))
    }
}

/// rmcp's request on its way out. It keeps an answer's reasons, which rmcp does not.
struct Way<'a> {
    http: Http,
    scrubber: &'a Scrubber,
    fault: Mutex<Option<Fault>>,
}

impl OAuthHttpClient for Way<'_> {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let answer = (self.http)(request.request).await;
            let fault = match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(alone::refusal(answer, self.scrubber)),
                Err(why) => Some(Fault::Failed(said(why))),
            };
            *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
            let mut answer = answer?;
            answer.headers_mut().remove(LOCATION);
            Ok(answer)
        })
    }
}
