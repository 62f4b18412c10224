//! The end of a sign-in: its tokens are revoked where the authorization server takes that (RFC 7009), and forgotten
//! here in any case.

use url::form_urlencoded::Serializer;

use super::endpoint::{self, METHODS, SecretIn, secret_in};
use super::record::Record;
use super::store::{Store, StoreError};
use super::{Client, Http, Proof, Settings, discovery};

/// The token that others are made with.
const RENEWING: &str = "refresh_token";

/// What became of the tokens at the authorization server. Here they are gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Revoked {
    /// There was no sign-in.
    Nothing,
    Revoked,
    /// They count there until they end, and why.
    Not(String),
}

/// Revokes and forgets.
///
/// # Errors
/// Where the record stays on the disk.
pub async fn revoke(settings: &Settings, store: &Store, http: &Http) -> Result<Revoked, StoreError> {
    let _lock = store.lock(&settings.server).await?;
    let record = match store.read(&settings.server) {
        Ok(record) => record,
        Err(error) => {
            // What cannot be read can still be thrown away.
            store.remove(&settings.server)?;
            return Ok(Revoked::Not(error.to_string()));
        }
    };
    let Some(record) = record else { return Ok(Revoked::Nothing) };
    store.remove(&settings.server)?;
    Ok(match tell(settings, &record, http).await {
        Ok(()) => Revoked::Revoked,
        Err(why) => Revoked::Not(why),
    })
}

async fn tell(settings: &Settings, record: &Record, http: &Http) -> Result<(), String> {
    let found = discovery::discover(settings, http, Some(&record.resource)).await.map_err(|fault| fault.to_string())?;
    if found.issuer != record.issuer {
        return Err(format!("the server's authorization server is now {}", super::said(&found.issuer)));
    }
    let endpoint = found.metadata.additional_fields.get("revocation_endpoint").and_then(|value| value.as_str());
    let endpoint = endpoint.ok_or("the authorization server takes no revocations")?;
    let client_id = record.client_id().ok_or("there is no client")?;
    let secret = match &settings.client {
        Client::Registered { secret, .. } => secret.as_ref().map(|secret| secret.current().expose().to_owned()),
        // Of somebody who signed in before the configuration said that nobody does.
        Client::Alone(alone) => match alone.proof() {
            Some(Proof::Secret(secret)) => Some(secret.current().expose().to_owned()),
            Some(Proof::Key { .. }) | None => record.client_secret().map(str::to_owned),
        },
        Client::Document(_) | Client::Dynamic => record.client_secret().map(str::to_owned),
    };
    let methods = endpoint::list(&found.metadata, "revocation_endpoint_auth_methods_supported")
        .or_else(|| endpoint::list(&found.metadata, METHODS));
    let place = secret_in(methods.as_deref()).unwrap_or(SecretIn::Header);
    let refresh = record.refresh_token().map(|token| (RENEWING, token.secret()));
    let access = record.access_token().map(|token| ("access_token", token.secret()));
    let mut refused = None;
    // The access token first: with the other one gone, some know it no more.
    for (kind, token) in access.into_iter().chain(refresh) {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token).append_pair("token_type_hint", kind);
        let secret = secret.as_deref().map(|secret| (secret, place));
        let request = endpoint::post(endpoint, form, Some(client_id), secret).map_err(|error| error.to_string())?;
        let answer = http(request).await.map_err(super::said)?;
        if !answer.status().is_success() {
            refused = Some(format!("the authorization server answered {} to the {kind}", answer.status()));
        } else if kind == RENEWING {
            // Many cannot take back an access token that says everything itself; it ends soon, and no other follows.
            return Ok(());
        }
    }
    refused.map_or(Ok(()), Err)
}
