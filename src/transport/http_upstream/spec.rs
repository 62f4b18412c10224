//! Where an HTTP upstream is and which header fields it gets, checked once.

use std::net::IpAddr;
use std::sync::Arc;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use zeroize::Zeroizing;

use crate::credential::oauth::Bearer;
use crate::credential::secret::SecretCell;
use crate::mcp::definitions::Definitions;
use crate::mcp::params;

/// The value of a configured header field.
#[derive(Clone, Debug)]
pub enum HeaderSource {
    Plain(String),
    Secret { value: SecretCell, prefix: String },
}

/// Why an upstream's URL or header fields cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("server `{server}`: `{url}` is not an http or https URL with a host")]
    Url { server: String, url: String },
    #[error("server `{server}`: the URL carries a user name or a password; put keys under `headers`")]
    UserInfo { server: String },
    #[error("server `{server}`: plain http is for this machine only; use https for {host}")]
    PlainHttp { server: String, host: String },
    #[error("server `{server}`: `{name}` is not a header field that can be configured")]
    Name { server: String, name: String },
    #[error("server `{server}`: `Authorization` is the sign-in's; take it out of `headers`")]
    TwoAuthorizations { server: String },
    #[error("server `{server}`: the value for header field `{name}` has characters that a field cannot carry")]
    Value { server: String, name: String },
    #[error("server `{server}`: the upstream's address cannot be built: with the keys of `query` it is too long")]
    Target { server: String },
}

/// An HTTP upstream.
#[derive(Debug)]
pub struct HttpSpec {
    server: String,
    uri: Uri,
    target: Uri,
    /// Parameters that are keys.
    query: Vec<(String, SecretCell)>,
    host: HeaderValue,
    headers: Vec<(HeaderName, HeaderSource)>,
    definitions: Arc<Definitions>,
    oauth: Option<Arc<Bearer>>,
}

/// Fields that the transport or the protocol writes.
const OURS: [&str; 20] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "accept",
    "accept-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "origin",
    "last-event-id",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
];

impl HttpSpec {
    /// # Errors
    /// [`SpecError`]. No error names a secret.
    pub fn new(server: &str, url: &str, headers: Vec<(String, HeaderSource)>) -> Result<HttpSpec, SpecError> {
        let server = server.to_owned();
        let wrong = || SpecError::Url { server: server.clone(), url: url.to_owned() };
        if url.contains('@') && url.split(['/', '?']).nth(2).is_some_and(|authority| authority.contains('@')) {
            return Err(SpecError::UserInfo { server });
        }
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host();
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        if host.is_empty() || !(secure || uri.scheme() == Some(&Scheme::HTTP)) {
            return Err(wrong());
        }
        if !secure && !is_this_machine(host) {
            return Err(SpecError::PlainHttp { server: server.clone(), host: host.to_owned() });
        }
        let field = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let target = Uri::from(path);
        let mut checked = Vec::with_capacity(headers.len());
        for (name, source) in headers {
            let known = HeaderName::from_bytes(name.as_bytes()).ok();
            let known =
                known.filter(|name| !OURS.contains(&name.as_str()) && !name.as_str().starts_with(params::PREFIX));
            let Some(known) = known else { return Err(SpecError::Name { server, name }) };
            if source.value().is_none() {
                return Err(SpecError::Value { server, name });
            }
            checked.push((known, source));
        }
        let definitions = Arc::default();
        let query = Vec::new();
        Ok(HttpSpec { server, target, query, host: field, headers: checked, uri, definitions, oauth: None })
    }

    /// The same with keys as parameters of the address.
    ///
    /// # Errors
    /// Where they do not fit into it.
    pub fn with_query(self, query: Vec<(String, SecretCell)>) -> Result<HttpSpec, SpecError> {
        let spec = HttpSpec { query, ..self };
        spec.target().map(|_| spec)
    }

    /// The same with a token of a sign-in in each request.
    ///
    /// # Errors
    /// Where the configured fields have an authorization already.
    pub fn with_oauth(self, oauth: Arc<Bearer>) -> Result<HttpSpec, SpecError> {
        if self.headers.iter().any(|(name, _)| *name == header::AUTHORIZATION) {
            return Err(SpecError::TwoAuthorizations { server: self.server });
        }
        Ok(HttpSpec { oauth: Some(oauth), ..self })
    }

    /// Where its tokens come from.
    pub(super) fn oauth(&self) -> Option<&Arc<Bearer>> {
        self.oauth.as_ref()
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    /// Its tools, as any session has seen them listed. All links to the server share them: a request of the stateless
    /// era has a link of its own and would know nothing.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// Where to connect to.
    pub(in crate::transport) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What the request line names; the keys among its parameters join here.
    ///
    /// # Errors
    /// Where they do not fit into an address. Nothing is sent without them then: it might count as somebody else's.
    pub(super) fn target(&self) -> Result<Uri, SpecError> {
        if self.query.is_empty() {
            return Ok(self.target.clone());
        }
        let mut target = Zeroizing::new(self.target.to_string());
        for (name, value) in &self.query {
            let more = target.contains('?');
            target.push(if more { '&' } else { '?' });
            target.push_str(name);
            target.push('=');
            push_encoded(&mut target, value.current().expose());
        }
        target.parse().map_err(|_| SpecError::Target { server: self.server.clone() })
    }

    /// The configured fields and `Host`; the secrets join here.
    pub(in crate::transport) fn write(&self, fields: &mut HeaderMap) {
        fields.insert(header::HOST, self.host.clone());
        for (name, source) in &self.headers {
            if let Some(value) = source.value() {
                fields.append(name.clone(), value);
            }
        }
    }
}

/// Every byte that may mean something in an address is written as `%XX`.
fn push_encoded(out: &mut String, text: &str) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

impl HeaderSource {
    fn value(&self) -> Option<HeaderValue> {
        match self {
            HeaderSource::Plain(text) => HeaderValue::from_str(text).ok(),
            HeaderSource::Secret { value, prefix } => {
                let mut value = HeaderValue::try_from(format!("{prefix}{}", value.current().expose())).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        }
    }
}

/// Whether a host is a loopback address or its name.
pub fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::secret::Secret;

    fn spec(url: &str) -> Result<HttpSpec, SpecError> {
        HttpSpec::new("x", url, Vec::new())
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["http://127.0.0.1:1/mcp", "http://localhost", "http://[::1]:9/x?y", "https://mcp.example"] {
            assert!(spec(good).is_ok(), "{good}");
        }
        for bad in ["http://mcp.example/", "http://127.0.0.1.evil.example/", "http://10.0.0.1/"] {
            assert!(matches!(spec(bad), Err(SpecError::PlainHttp { .. })), "{bad}");
        }
        for bad in ["ftp://127.0.0.1/", "/mcp", "", "https://"] {
            assert!(matches!(spec(bad), Err(SpecError::Url { .. })), "{bad}");
        }
        assert!(matches!(spec("https://user:pw@mcp.example/"), Err(SpecError::UserInfo { .. })));
    }

    #[test]
    fn a_path_is_kept_and_a_missing_one_is_the_root() {
        assert_eq!(spec("https://h/v1/mcp?x=1").unwrap().target().unwrap(), "/v1/mcp?x=1");
        assert_eq!(spec("https://h").unwrap().target().unwrap(), "/");
    }

    #[test]
    fn a_key_among_the_parameters_joins_late_and_is_never_shown() {
        let key = SecretCell::new("key", Secret::new("sk+/=&ü1".to_owned()));
        let with = |url| spec(url).unwrap().with_query(vec![("api_key".to_owned(), key.clone())]).unwrap();
        assert_eq!(with("https://h/mcp?a=1").target().unwrap(), "/mcp?a=1&api_key=sk%2B%2F%3D%26%C3%BC1");
        assert_eq!(with("https://h").target().unwrap(), "/?api_key=sk%2B%2F%3D%26%C3%BC1");
        let shown = format!("{:?} {}", with("https://h/mcp"), with("https://h/mcp").uri());
        assert!(!shown.contains("sk+") && !shown.contains("sk%2B"), "{shown}");
    }

    #[test]
    fn an_address_that_its_keys_do_not_fit_into_is_none() {
        let cell = |length| SecretCell::new("key", Secret::new("x".repeat(length)));
        let with = |key: &SecretCell| spec("https://h/m").unwrap().with_query(vec![("k".to_owned(), key.clone())]);
        assert!(matches!(with(&cell(70_000)), Err(SpecError::Target { .. })));
        let key = cell(10);
        let spec = with(&key).unwrap();
        key.adopt(&cell(70_000));
        assert!(matches!(spec.target(), Err(SpecError::Target { .. })));
        assert!(!spec.target().unwrap_err().to_string().contains("xx"));
    }

    #[test]
    fn header_fields_of_ours_cannot_be_set() {
        let with = |name: &str, value: &str| {
            HttpSpec::new("x", "https://h/", vec![(name.to_owned(), HeaderSource::Plain(value.to_owned()))])
        };
        assert!(with("X-API-KEY", "v").is_ok());
        for name in ["Host", "Content-Length", "mcp-session-id", "Mcp-Param-Region", "a b", ""] {
            assert!(matches!(with(name, "v"), Err(SpecError::Name { .. })), "{name}");
        }
        assert!(matches!(with("X-API-KEY", "a\r\nb: c"), Err(SpecError::Value { .. })));
    }

    #[test]
    fn a_secret_is_marked_and_never_shown() {
        let value = SecretCell::new("key", Secret::new("sk_live_1".to_owned()));
        let source = HeaderSource::Secret { value, prefix: "Bearer ".to_owned() };
        let spec = HttpSpec::new("x", "https://h/", vec![("Authorization".to_owned(), source)]).unwrap();
        let mut fields = HeaderMap::new();
        spec.write(&mut fields);
        assert_eq!(fields[header::AUTHORIZATION], "Bearer sk_live_1");
        assert!(fields[header::AUTHORIZATION].is_sensitive());
        assert!(!format!("{fields:?} {spec:?}").contains("sk_live"));
    }
}
