//! Tokens that Countersign asks for by itself, without a person: the grant `client_credentials` (RFC 6749, 4.4), with
//! the client's secret or with a text that its private key signs, and the grant `jwt-bearer` (RFC 7523, 2.1), with an
//! assertion that somebody else has made for this workload or that the organisation's identity provider gives (`id_jag`).
//! rmcp finds the authorization server; the request is our own, because rmcp's tells an answer's reasons apart by nothing
//! but their words, and signs with less.
//!
//! Invariant: what shows who the client is goes to the token endpoint of the one issuer that the configuration names.
//! The scrubber knows what comes back before anybody gets it, and nothing of it is written down.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use oauth2::TokenResponse as _;
use rmcp::transport::auth::{AuthorizationMetadata, OAuthTokenResponse};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::discovery;
use super::dpop::{Carried, Prover};
use super::endpoint::{self, METHODS, SecretIn, secret_in};
use super::id_jag::{self, Idp};
use super::login::usable;
use super::signer::{BadKey, Signer};
use super::{Client, Dpop, Fault, Http, Settings, now, said};
use crate::credential::scrub::Scrubber;
use crate::credential::secret::{Secret, SecretCell};

/// How Countersign signs in by itself.
#[derive(Clone, Debug)]
pub enum Alone {
    /// As a client that shows who it is.
    Client(Known),
    /// With an assertion as it stands in its file now, which says enough without a client.
    Assertion { id: Option<String>, assertion: SecretCell },
    /// As a client that shows who it is, with an assertion that the identity provider gives for a person.
    IdJag { client: Known, idp: Idp },
}

/// A client that is registered at an authorization server.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: String,
    pub proof: Proof,
}

/// What shows who a client is.
#[derive(Clone, Debug)]
pub enum Proof {
    Secret(SecretCell),
    /// What signs, and what the authorization server calls it.
    Key {
        key: SecretCell,
        id: Option<String>,
    },
}

impl Proof {
    pub(super) fn cell(&self) -> &SecretCell {
        let (Proof::Secret(cell) | Proof::Key { key: cell, .. }) = self;
        cell
    }
}

impl Alone {
    /// The client's name at the authorization server, where it has one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Alone::Client(client) | Alone::IdJag { client, .. } => Some(&client.id),
            Alone::Assertion { id, .. } => id.as_deref(),
        }
    }

    /// What shows there who the client is, besides an assertion.
    pub fn proof(&self) -> Option<&Proof> {
        match self {
            Alone::Client(client) | Alone::IdJag { client, .. } => Some(&client.proof),
            Alone::Assertion { .. } => None,
        }
    }

    /// What shows who asks, by its digest: with another one it is worth asking again.
    pub(super) fn digest(&self) -> [u8; 32] {
        let (assertion, idp) = match self {
            Alone::Client(_) => (None, None),
            Alone::Assertion { assertion, .. } => (Some(assertion), None),
            Alone::IdJag { idp, .. } => (Some(idp.subject.cell()), idp.proof.as_ref()),
        };
        let cells = [assertion, self.proof().map(Proof::cell), idp.map(Proof::cell)];
        let mut whole = Sha256::new();
        cells.into_iter().flatten().for_each(|cell| whole.update(cell.current().digest()));
        whole.finalize().into()
    }
}

/// A token that was given.
pub(super) struct Given {
    pub(super) token: Carried,
    /// In seconds since 1970, and how long that is; where the issuer said it.
    pub(super) ends: Option<(u64, u64)>,
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long it may take to find the authorization server and to be given a token.
const TIME: Duration = Duration::from_secs(60);
/// Codes of an authorization server that say nothing about the client: it may be asked again.
const PASSING: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];

/// What a token is asked for with.
pub(super) struct Asker<'a> {
    pub(super) settings: &'a Settings,
    pub(super) alone: &'a Alone,
    pub(super) http: &'a Http,
    pub(super) scrubber: &'a Scrubber,
    /// Made once: what a server says to put into proofs stays with it.
    pub(super) key: &'a OnceLock<Arc<Prover>>,
    /// Required where the last token was bound, whatever the settings say.
    pub(super) dpop: Dpop,
}

/// Asks for a token.
pub(super) async fn ask(asker: Asker<'_>) -> Result<Given, Fault> {
    let late = |_| Fault::Failed(format!("no token was given within {} s", TIME.as_secs()));
    tokio::time::timeout(TIME, asked(asker)).await.unwrap_or_else(|over| Err(late(over)))
}

async fn asked(asker: Asker<'_>) -> Result<Given, Fault> {
    let Asker { settings, alone, http, scrubber, key, dpop } = asker;
    // Nobody remembers who was asked the last time, so the configuration has to say it.
    let issuer = settings.issuer.as_deref().ok_or(Fault::NoIssuer)?;
    let mut found = discovery::discover(settings, http, None).await?;
    let resource = discovery::resource(&mut found, settings).await?;
    let prover = match dpop.shows(&found.metadata)? {
        true if key.get().is_none() => {
            let made = Prover::new().ok_or(Fault::Unsigned)?;
            Some(key.get_or_init(|| made))
        }
        true => key.get(),
        false => None,
    };
    let (asked, assertion) = match alone {
        Alone::Client(_) => (wanted("client_credentials", settings, resource), None),
        Alone::Assertion { assertion, .. } => (wanted(JWT_BEARER, settings, resource), Some(assertion.current())),
        Alone::IdJag { client, idp } => {
            let wanted = id_jag::Wanted { settings, client_id: &client.id, issuer, resource: &resource };
            let given = id_jag::ask(idp, &wanted, &found.metadata.token_endpoint, scrubber).await?;
            // What it is good for is in it: said again here, it could undo what was narrowed.
            (vec![("grant_type", JWT_BEARER.to_owned())], Some(given))
        }
    };
    let learn = |shown: &Arc<Secret>| scrubber.learn(&format!("oauth.{}.assertion", settings.server), shown);
    // What is signed for it counts once: each request has its own.
    let request = || request(alone, issuer, &found.metadata, &asked, assertion.as_deref(), learn);
    let answer = match prover {
        Some(prover) => prover.post(http, request).await?,
        None => http(request()?).await.map_err(|why| Fault::Failed(said(why)))?,
    };
    if !answer.status().is_success() {
        return Err(refusal(&answer, scrubber));
    }
    let body = Zeroizing::new(answer.into_body());
    let tokens = serde_json::from_slice::<OAuthTokenResponse>(&body);
    let tokens = tokens.map_err(|_| Fault::Token("the answer is not one of RFC 6749"))?;
    let bound = usable(&tokens, prover.is_some(), dpop == Dpop::Required)?;
    let token = Arc::new(Secret::new(tokens.access_token().secret().clone()));
    scrubber.learn(&format!("oauth.{}", settings.server), &token);
    let lifetime = tokens.expires_in().map(|lifetime| lifetime.as_secs());
    if lifetime == Some(0) {
        return Err(Fault::Token("it ends at once (`expires_in` is 0)"));
    }
    let ends = lifetime.and_then(|lifetime| Some((now().checked_add(lifetime)?, lifetime)));
    let prover = prover.filter(|_| bound).cloned();
    Ok(Given { token: Carried { token, prover }, ends })
}

/// What is asked for.
fn wanted(grant: &str, settings: &Settings, resource: String) -> Vec<(&'static str, String)> {
    let mut asked = vec![("grant_type", grant.to_owned()), ("resource", resource)];
    // Never what the server asks for: nobody looks at it.
    asked.extend((!settings.scopes.is_empty()).then(|| ("scope", settings.scopes.join(" "))));
    asked
}

/// The request for a token, with what shows who asks. `learn` hears of what is made for it before it can leave.
fn request(
    alone: &Alone,
    issuer: &str,
    metadata: &AuthorizationMetadata,
    asked: &[(&str, String)],
    assertion: Option<&Secret>,
    learn: impl Fn(&Arc<Secret>),
) -> Result<Request<Vec<u8>>, Fault> {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(asked).extend_pairs(assertion.map(|assertion| ("assertion", assertion.expose())));
    let (to, id) = (metadata.token_endpoint.as_str(), alone.id());
    let shown = alone.proof().map(|proof| shown(proof, id.unwrap_or_default(), issuer, metadata, learn)).transpose()?;
    let request = match shown {
        None => endpoint::post(to, form, id, None),
        Some(Shown::Secret(secret, place)) => endpoint::post(to, form, id, Some((secret.expose(), place))),
        Some(Shown::Signed(text)) => {
            form.append_pair("client_assertion_type", ASSERTION).append_pair("client_assertion", text.expose());
            // The signed text says whose it is.
            endpoint::post(to, form, None, None)
        }
    };
    request.map_err(|error| Fault::Failed(error.to_string()))
}

/// What a client shows of itself in one request.
pub(super) enum Shown {
    Secret(Arc<Secret>, SecretIn),
    Signed(Arc<Secret>),
}

/// What shows this issuer who the client is, by a way that its metadata take. `learn` hears of what is made for it.
pub(super) fn shown(
    proof: &Proof,
    client_id: &str,
    issuer: &str,
    metadata: &AuthorizationMetadata,
    learn: impl Fn(&Arc<Secret>),
) -> Result<Shown, Fault> {
    let methods = endpoint::list(metadata, METHODS);
    match proof {
        Proof::Secret(secret) => {
            let takes_none = || Fault::Refused(format!("it takes no secrets of clients: {}", list(methods.as_deref())));
            Ok(Shown::Secret(secret.current(), secret_in(methods.as_deref()).ok_or_else(takes_none)?))
        }
        Proof::Key { key, id } => {
            if methods.as_ref().is_some_and(|methods| !methods.contains(&"private_key_jwt")) {
                return Err(Fault::Refused(format!("it takes no signed texts: {}", list(methods.as_deref()))));
            }
            let signer = Signer::of(&key.current())?;
            let taken = endpoint::list(metadata, "token_endpoint_auth_signing_alg_values_supported");
            let algorithm = signer.algorithm(taken.as_deref()).map_err(|own| {
                let own = own.join(" and ");
                Fault::Refused(format!("it takes no signatures of this key ({own}): {}", list(taken.as_deref())))
            })?;
            let text = signer.assertion(algorithm, id.as_deref(), client_id, issuer, now());
            let text = Arc::new(text.ok_or(Fault::Unsigned)?);
            learn(&text);
            Ok(Shown::Signed(text))
        }
    }
}

/// What an answer says that is no token. What it repeats of ours is taken out before it is cut short.
pub(super) fn refusal(answer: &Response<Vec<u8>>, scrubber: &Scrubber) -> Fault {
    let status = answer.status();
    let body = serde_json::from_slice::<serde_json::Value>(answer.body()).unwrap_or_default();
    let word = |name: &str| body.get(name).and_then(serde_json::Value::as_str);
    match word("error") {
        Some(code)
            if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS && !PASSING.contains(&code) =>
        {
            let more = word("error_description").map(|more| format!(": {more}")).unwrap_or_default();
            Fault::Refused(said(scrubber.line(&format!("{code}{more}"))))
        }
        Some(code) => Fault::Failed(said(scrubber.line(&format!("the token endpoint answers {status}: {code}")))),
        None => Fault::Failed(format!("the token endpoint answers {status}")),
    }
}

fn list(names: Option<&[&str]>) -> String {
    said(names.unwrap_or_default().join(", "))
}

impl From<BadKey> for Fault {
    fn from(bad: BadKey) -> Fault {
        Fault::Key(bad)
    }
}

impl Client {
    /// Where nobody else signs in.
    pub fn alone(&self) -> Option<&Alone> {
        match self {
            Client::Alone(alone) => Some(alone),
            Client::Registered { .. } | Client::Document(_) | Client::Dynamic => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_is_told_from_a_not_now() {
        let key = Secret::new("cs_registered_7Hq2mVx9Rt4Kd8Wz1Lp6".to_owned());
        let scrubber = Scrubber::new([("client", &key)]);
        let answer = |status: u16, body: &str| {
            let answer = Response::builder().status(status).body(body.as_bytes().to_vec()).unwrap();
            refusal(&answer, &scrubber)
        };
        for (status, body, refused) in [
            (401, r#"{"error": "invalid_client"}"#, true),
            (400, r#"{"error": "invalid_scope", "error_description": "no\u001b[2J"}"#, true),
            (400, r#"{"error": "temporarily_unavailable"}"#, false),
            (429, r#"{"error": "invalid_client"}"#, false),
            (500, r#"{"error": "invalid_client"}"#, false),
            (302, "", false),
            (400, "<html>", false),
        ] {
            let fault = answer(status, body);
            assert_eq!(matches!(fault, Fault::Refused(_)), refused, "{status} {body}");
            assert!(!fault.to_string().chars().any(char::is_control), "{fault}");
        }
        let long = format!("{}{}", "x".repeat(270), key.expose());
        let body = serde_json::json!({"error": "invalid_client", "error_description": long}).to_string();
        let said = answer(401, &body).to_string();
        assert!(said.contains("[sec") && !said.contains("cs_reg"), "{said}");
    }
}
