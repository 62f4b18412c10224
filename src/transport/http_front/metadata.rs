//! What a client has to know to sign in (RFC 9728): a public document for each server, and the challenge that names it.
//!
//! Invariant: nothing here depends on who asks. Where no issuer is configured there is neither.

use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::HttpFront;
use super::guard::Refused;
use super::respond::json;
use super::sse::Answer;

/// As RFC 9728 builds the address: this, and then the path of the resource.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What a refusal tells a client about tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Challenge {
    metadata: String,
    scope: String,
    error: Option<&'static str>,
}

impl Challenge {
    /// `WWW-Authenticate`. All of it is ours: the configuration lets no quote and no control character into it.
    pub(super) fn field(&self) -> Option<HeaderValue> {
        let mut field = format!("Bearer realm=\"countersign\", resource_metadata=\"{}\"", self.metadata);
        if !self.scope.is_empty() {
            field.push_str(&format!(", scope=\"{}\"", self.scope));
        }
        if let Some(error) = self.error {
            field.push_str(&format!(", error=\"{error}\""));
        }
        HeaderValue::try_from(field).ok()
    }
}

impl HttpFront {
    /// The address of a server, which a token for it has in `aud`.
    pub(super) fn resource(&self, server: &str) -> String {
        format!("{}/mcp/{server}", self.public_url)
    }

    /// None for what is no server of ours, and where no issuer could give a token.
    pub(super) fn challenge(&self, server: &str, error: Option<&'static str>) -> Option<Challenge> {
        if self.principals.issuers().is_empty() || !self.servers.contains_key(server) {
            return None;
        }
        let metadata = format!("{}{WELL_KNOWN}/mcp/{server}", self.public_url);
        Some(Challenge { metadata, scope: self.principals.words_for(server).join(" "), error })
    }

    /// Answers a request for the document; nothing where it asks for something else.
    pub(super) fn metadata(&self, parts: &Parts) -> Option<Result<Response<Answer>, Refused>> {
        let issuers = self.principals.issuers();
        let resource = parts.uri.path().strip_prefix(WELL_KNOWN)?;
        if issuers.is_empty() {
            return None;
        }
        let server = resource.strip_prefix("/mcp/").filter(|server| self.servers.contains_key(*server));
        let Some(server) = server else {
            return Some(Err(Refused::new(StatusCode::NOT_FOUND, "there is no such resource")));
        };
        if parts.method != Method::GET {
            return Some(Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "this document can be read only")));
        }
        let mut document = json!({
            "resource": self.resource(server),
            "authorization_servers": issuers.iter().map(|trusted| &trusted.issuer.issuer).collect::<Vec<_>>(),
            "bearer_methods_supported": ["header"],
        });
        let words = self.principals.words_for(server);
        if let (false, Some(members)) = (words.is_empty(), document.as_object_mut()) {
            members.insert("scopes_supported".to_owned(), words.into());
        }
        let mut response = json(StatusCode::OK, document.to_string());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(Ok(response))
    }
}
