//! Signing in at a server by OAuth 2.1: finding its authorization server, the sign-in of an operator or of Countersign
//! itself, tokens that are kept and renewed, and their end. The protocol is `rmcp`'s `AuthorizationManager`; what it may
//! reach, where tokens may go and when they count is decided here.
//!
//! Invariant: a token is used for the server, the resource and the issuer that it was given for, and nowhere else; the
//! scrubber knows it before a request carries it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use url::Url;

use super::secret::SecretCell;

mod alone;
mod bearer;
mod discovery;
mod dpop;
mod endpoint;
mod id_jag;
mod login;
mod logout;
mod record;
mod seal;
mod signer;
mod store;

pub use alone::{Alone, Known, Proof};
pub use bearer::{Bearer, NoToken, Stands};
pub use dpop::{Carried, Dpop};
pub use id_jag::{Idp, Subject};
pub use login::{Answer, Begun, Login, NoAnswer};
pub use logout::{Revoked, revoke};
pub use record::{KnownAs, Record};
pub use signer::{BadKey, can_sign};
pub use store::{Store, StoreError};

/// One exchange with a server that a sign-in has to do with. Given from outside, where it is decided which addresses
/// may be reached; it has an end of its own, a bounded body, and follows nothing.
pub type Http =
    Arc<dyn Fn(http::Request<Vec<u8>>) -> BoxFuture<'static, Result<http::Response<Vec<u8>>, String>> + Send + Sync>;

/// What the configuration says about signing in at one server.
#[derive(Clone, Debug)]
pub struct Settings {
    pub server: String,
    /// The server's own address.
    pub url: Url,
    pub client: Client,
    /// Exactly these are asked for; without any, those that the server names, but for a client that signs in by itself.
    pub scopes: Vec<String>,
    /// The one authorization server that is accepted.
    pub issuer: Option<String>,
    /// Whether tokens are to count for a key of ours alone.
    pub dpop: Dpop,
}

/// Who Countersign is at the authorization server.
#[derive(Clone, Debug)]
pub enum Client {
    /// Known there already.
    Registered { id: String, secret: Option<SecretCell> },
    /// The address of a client-id metadata document, where the authorization server takes one; else it registers.
    Document(String),
    /// It registers each time somebody signs in.
    Dynamic,
    /// It signs in by itself, and nobody else does.
    Alone(Alone),
}

/// Why a step of a sign-in failed. Texts hold words of servers, cut short and without control characters.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{what} cannot be used: {why}")]
    Address { what: &'static str, why: String },
    #[error("the server publishes no OAuth metadata (RFC 9728, RFC 8414): it cannot be signed in to")]
    NoMetadata,
    #[error("the authorization server is {found}, and the configuration pins {pinned}")]
    Pinned { pinned: String, found: String },
    #[error("the metadata that call themselves those of {issuer} stand at `{at}`, where it does not publish them")]
    Elsewhere { issuer: String, at: String },
    #[error("the server's authorization server has changed from {stored} to {found}")]
    IssuerChanged { stored: String, found: String },
    #[error("the authorization server does not say that it takes PKCE with S256, without which a sign-in is not safe")]
    NoPkce,
    #[error(
        "the authorization server does not say that it binds tokens to a key (DPoP with ES256), and no others are taken"
    )]
    NoDpop,
    #[error("the authorization server gave a token that cannot be used: {0}")]
    Token(&'static str),
    #[error("the authorization server does not renew the sign-in: {0}")]
    Rejected(String),
    #[error("the authorization server gives no token: {0}")]
    Refused(String),
    #[error("nobody signs in there: countersign does it by itself (`grant`)")]
    NoPerson,
    #[error("the configuration names no issuer, to whom alone it may show who asks")]
    NoIssuer,
    #[error("the identity provider {issuer}: {}", fault.of_somebody())]
    Idp { issuer: String, fault: Box<Fault> },
    #[error("the client's private key cannot be used: {0}")]
    Key(BadKey),
    #[error("the system gives no random numbers")]
    Unsigned,
    #[error("{0}")]
    Failed(String),
}

impl Fault {
    /// The same where it is not the authorization server's.
    fn of_somebody(&self) -> String {
        match self {
            Fault::Token(why) => format!("what it gave cannot be used: {why}"),
            Fault::Refused(why) => format!("it gives no assertion: {why}"),
            other => other.to_string(),
        }
    }

    /// A page that lacks what belongs to it.
    fn no_page() -> Fault {
        Fault::Address { what: "the authorization endpoint", why: "it makes no page".to_owned() }
    }
}

/// Longest text of a server in an error of ours.
const SAID: usize = 300;

/// What a server said, for one line of a terminal or log.
fn said(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(SAID).collect();
    if text.chars().count() > SAID {
        short.push('…');
    }
    short
}

/// An error of rmcp and what caused it: most of the story is in the cause.
fn story(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    said(text)
}

/// Seconds since 1970.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
