//! Who may connect, made from the configuration: tokens, users, and issuers with their keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::StartError;
use crate::config::{Config, HttpListen, Issuer, KeySource, Match};
use crate::credential::secret::SecretCell;
use crate::gate::Gate;
use crate::transport::fetch::{fetch, max_age};
use crate::transport::http_client::HttpClient;
use crate::transport::post::Target;
use crate::transport::principals::{Fetch, Fetched, Holder, Keys, Known, MAX_KEYS_BYTES, Principals, Trusted};

/// An issuer's file has to be there; an issuer that cannot be asked now is asked again when a token comes.
pub(super) async fn principals(
    config: &Config,
    secrets: &BTreeMap<String, SecretCell>,
    client: &HttpClient,
    gate: &Arc<Gate>,
) -> Result<Principals, StartError> {
    let (mut tokens, mut uids) = (Vec::new(), Vec::new());
    for entry in &config.principals {
        let principal = Arc::clone(&entry.principal);
        match &entry.by {
            Match::Token(name) => {
                tokens.extend(secrets.get(name).map(|secret| (Known::Secret(secret.clone()), principal)))
            }
            Match::TokenHash(hash) => tokens.push((Known::Hash(*hash), principal)),
            Match::Uid(uid) => uids.push((*uid, principal)),
            Match::Jwt { .. } => {}
        }
    }
    let mut issuers = Vec::new();
    for (name, issuer) in &config.issuers {
        let keys = keys(issuer, client)?;
        if let Err(reason) = keys.load().await {
            if matches!(issuer.keys, KeySource::File(_)) {
                return Err(StartError::Issuer { name: name.clone(), reason });
            }
            tracing::warn!(
                issuer = name,
                why = reason,
                "the issuer's keys cannot be had; it is asked again for a token"
            );
        }
        issuers.push(Trusted { issuer: issuer.clone(), keys, holders: holders(config, name) });
    }
    // Asked for each session: the policies may be loaded again.
    let gate = Arc::clone(gate);
    let scoped = Box::new(move || gate.scopes_alone_allow());
    Ok(Principals::new(tokens, uids).with_issuers(issuers).with_scopes(scoped))
}

/// In the order of the file.
fn holders(config: &Config, name: &str) -> Vec<Holder> {
    let of = |entry: &crate::config::PrincipalEntry| match &entry.by {
        Match::Jwt { issuer, tests } if issuer == name => {
            Some(Holder { tests: tests.clone(), single: entry.by.is_single(), principal: Arc::clone(&entry.principal) })
        }
        Match::Jwt { .. } | Match::Token(_) | Match::TokenHash(_) | Match::Uid(_) => None,
    };
    config.principals.iter().filter_map(of).collect()
}

fn keys(issuer: &Issuer, client: &HttpClient) -> Result<Keys, StartError> {
    match &issuer.keys {
        KeySource::File(path) => Ok(Keys::in_file(&issuer.name, path.clone())),
        KeySource::Url(url) => {
            let wrong =
                || StartError::Issuer { name: issuer.name.clone(), reason: "jwks.url is no address".to_owned() };
            let (target, client) = (Arc::new(Target::new(url).ok_or_else(wrong)?), client.clone());
            let get: Fetch = Arc::new(move || {
                let (target, client) = (Arc::clone(&target), client.clone());
                Box::pin(async move {
                    let (body, headers) = fetch(&client, &target, MAX_KEYS_BYTES).await?;
                    Ok(Fetched { body, max_age: max_age(&headers) })
                })
            });
            Ok(Keys::of_issuer(&issuer.name, get))
        }
    }
}

/// `bound` is where it really listens, with the port that the system chose.
pub(super) fn public_url(listen: &HttpListen, bound: Option<SocketAddr>) -> String {
    listen.public_url.clone().unwrap_or_else(|| format!("http://{}", bound.unwrap_or(listen.address)))
}
