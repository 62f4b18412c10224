//! One POST to a place that is no upstream: a connection of its own, one request, a status. Redirects are not followed,
//! and nothing of the answer's body is read.

use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::Full;

use super::http_client::HttpClient;
use super::http_upstream::is_this_machine;

/// For everything: connecting, sending, and the head of the answer.
const TIME: Duration = Duration::from_secs(10);

/// A URL that may be posted to or fetched from: https, or http on this machine.
#[derive(Clone, Debug)]
pub struct Target {
    uri: Uri,
    path: Uri,
    host: HeaderValue,
}

impl Target {
    /// Nothing where it is no such URL, or carries a user name.
    pub fn new(url: &str) -> Option<Target> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let host = authority.host();
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let loopback = uri.scheme() == Some(&Scheme::HTTP) && is_this_machine(host);
        if host.is_empty() || authority.as_str().contains('@') || !(secure || loopback) {
            return None;
        }
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        let path = Uri::from(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        Some(Target { path, host, uri })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// A request of what is there, in origin form.
    pub(super) fn get(&self) -> http::request::Builder {
        Request::get(self.path.clone()).header(header::HOST, self.host.clone())
    }
}

/// Posts once.
///
/// # Errors
/// Why there is no status. No text of the answer is in it.
pub async fn post(
    client: &HttpClient,
    target: &Target,
    fields: Vec<(&'static str, String)>,
    body: String,
) -> Result<u16, String> {
    let mut request = Request::post(target.path.clone())
        .header(header::HOST, target.host.clone())
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    for (name, value) in fields {
        let value = HeaderValue::from_str(&value).map_err(|_| format!("{name} cannot be sent"))?;
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    match tokio::time::timeout(TIME, client.once(&target.uri, request)).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("no answer within {} s", TIME.as_secs())),
    }
}
