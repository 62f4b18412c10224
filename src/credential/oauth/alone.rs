//! Tokens that Countersign asks for by itself, without a person: the grant `client_credentials` (RFC 6749, 4.4), with
//! the client's secret or with a text that its private key signs, and the grant `jwt-bearer` (RFC 7523, 2.1), with an
//! assertion that somebody else has made for this workload. rmcp finds the authorization server; the request is
//! our own, because rmcp's tells an answer's reasons apart by nothing but their words, and signs with less.
//!
//! Invariant: what shows who the client is goes to the token endpoint of the one issuer that the configuration names.
//! The scrubber knows what comes back before anybody gets it, and nothing of it is written down.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use oauth2::TokenResponse as _;
use rmcp::transport::auth::{AuthorizationMetadata, OAuthTokenResponse};
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::discovery;
use super::endpoint::{self, METHODS, secret_in};
use super::login::usable;
use super::signer::{BadKey, Signer};
use super::{Client, Fault, Http, Settings, now, said};
use crate::credential::scrub::Scrubber;
use crate::credential::secret::{Secret, SecretCell};

/// A client that signs in by itself.
#[derive(Clone, Debug)]
pub struct Alone {
    /// Absent where an assertion says enough.
    pub id: Option<String>,
    pub proof: Proof,
}

/// What shows who asks.
#[derive(Clone, Debug)]
pub enum Proof {
    Secret(SecretCell),
    /// What signs, and what the authorization server calls it.
    Key {
        key: SecretCell,
        id: Option<String>,
    },
    /// As it stands in its file now.
    Assertion(SecretCell),
}

impl Alone {
    /// What shows who asks, by its digest: with another one it is worth asking again.
    pub(super) fn digest(&self) -> [u8; 32] {
        let (Proof::Secret(cell) | Proof::Key { key: cell, .. } | Proof::Assertion(cell)) = &self.proof;
        *cell.current().digest()
    }

    fn grant(&self) -> &'static str {
        match self.proof {
            Proof::Secret(_) | Proof::Key { .. } => "client_credentials",
            Proof::Assertion(_) => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }
}

/// A token that was given.
pub(super) struct Given {
    pub(super) token: Arc<Secret>,
    /// In seconds since 1970, and how long that is; where the issuer said it.
    pub(super) ends: Option<(u64, u64)>,
}

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long it may take to find the authorization server and to be given a token.
const TIME: Duration = Duration::from_secs(60);
/// Codes of an authorization server that say nothing about the client: it may be asked again.
const PASSING: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];

/// Asks for a token.
pub(super) async fn ask(settings: &Settings, alone: &Alone, http: &Http, scrubber: &Scrubber) -> Result<Given, Fault> {
    let late = |_| Fault::Failed(format!("no token was given within {} s", TIME.as_secs()));
    tokio::time::timeout(TIME, asked(settings, alone, http, scrubber)).await.unwrap_or_else(|over| Err(late(over)))
}

async fn asked(settings: &Settings, alone: &Alone, http: &Http, scrubber: &Scrubber) -> Result<Given, Fault> {
    // Nobody remembers who was asked the last time, so the configuration has to say it.
    let issuer = settings.issuer.as_deref().ok_or(Fault::NoIssuer)?;
    let mut found = discovery::discover(settings, http, None).await?;
    let resource = discovery::resource(&mut found, settings).await?;
    let mut asked = vec![("grant_type", alone.grant().to_owned()), ("resource", resource)];
    // Never what the server asks for: nobody looks at it.
    asked.extend((!settings.scopes.is_empty()).then(|| ("scope", settings.scopes.join(" "))));
    let learn = |shown: &Arc<Secret>| scrubber.learn(&format!("oauth.{}.assertion", settings.server), shown);
    let request = request(alone, issuer, &found.metadata, &asked, learn)?;
    let answer = http(request).await.map_err(|why| Fault::Failed(said(why)))?;
    if !answer.status().is_success() {
        return Err(refusal(&answer, scrubber));
    }
    let body = Zeroizing::new(answer.into_body());
    let tokens = serde_json::from_slice::<OAuthTokenResponse>(&body);
    let tokens = tokens.map_err(|_| Fault::Token("the answer is not one of RFC 6749"))?;
    usable(&tokens)?;
    let token = Arc::new(Secret::new(tokens.access_token().secret().clone()));
    scrubber.learn(&format!("oauth.{}", settings.server), &token);
    let lifetime = tokens.expires_in().map(|lifetime| lifetime.as_secs());
    if lifetime == Some(0) {
        return Err(Fault::Token("it ends at once (`expires_in` is 0)"));
    }
    let ends = lifetime.and_then(|lifetime| Some((now().checked_add(lifetime)?, lifetime)));
    Ok(Given { token, ends })
}

/// The request for a token, with what shows who asks. `learn` hears of what is made for it before it can leave.
fn request(
    alone: &Alone,
    issuer: &str,
    metadata: &AuthorizationMetadata,
    asked: &[(&str, String)],
    learn: impl Fn(&Arc<Secret>),
) -> Result<Request<Vec<u8>>, Fault> {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(asked);
    let methods = endpoint::list(metadata, METHODS);
    let to = metadata.token_endpoint.as_str();
    let id = alone.id.as_deref();
    let request = match &alone.proof {
        Proof::Assertion(assertion) => {
            form.append_pair("assertion", assertion.current().expose());
            endpoint::post(to, form, id, None)
        }
        Proof::Secret(secret) => {
            let takes_none = || Fault::Refused(format!("it takes no secrets of clients: {}", list(methods.as_deref())));
            let place = secret_in(methods.as_deref()).ok_or_else(takes_none)?;
            endpoint::post(to, form, id, Some((secret.current().expose(), place)))
        }
        Proof::Key { key, id: key_id } => {
            if methods.as_ref().is_some_and(|methods| !methods.contains(&"private_key_jwt")) {
                return Err(Fault::Refused(format!("it takes no signed texts: {}", list(methods.as_deref()))));
            }
            let signer = Signer::of(&key.current())?;
            let taken = endpoint::list(metadata, "token_endpoint_auth_signing_alg_values_supported");
            let algorithm = signer.algorithm(taken.as_deref()).map_err(|own| {
                let own = own.join(" and ");
                Fault::Refused(format!("it takes no signatures of this key ({own}): {}", list(taken.as_deref())))
            })?;
            let shown = signer.assertion(algorithm, key_id.as_deref(), id.unwrap_or_default(), issuer, now());
            let shown = Arc::new(shown.ok_or(Fault::Unsigned)?);
            learn(&shown);
            form.append_pair("client_assertion_type", ASSERTION).append_pair("client_assertion", shown.expose());
            // The signed text says whose it is.
            endpoint::post(to, form, None, None)
        }
    };
    request.map_err(|error| Fault::Failed(error.to_string()))
}

/// What an answer says that is no token. What it repeats of ours is taken out before it is cut short.
fn refusal(answer: &Response<Vec<u8>>, scrubber: &Scrubber) -> Fault {
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
        Some(code) => Fault::Failed(said(scrubber.line(&format!("the authorization server answers {status}: {code}")))),
        None => Fault::Failed(format!("the authorization server answers {status} to the request for a token")),
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
