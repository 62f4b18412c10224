//! Finding the authorization server of a server: its challenge, its protected-resource metadata, the metadata of the
//! issuer that it names. rmcp reads them; what they say is judged here.
//!
//! Invariant: nothing is sent to an address of the metadata that is not https, or http on this machine for a server on
//! this machine; what an issuer is said to publish stands where it publishes it; a token request names the resource that
//! the sign-in is for, and that resource is the server.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::header::{CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use rmcp::transport::auth::{
    AuthorizationManager, AuthorizationMetadata, AuthorizationMetadataSource, OAuthClientConfig, OAuthHttpClient,
    OAuthHttpClientFuture, OAuthHttpRequest,
};
use url::{Host, Url};

use super::dpop::Prover;
use super::{Client, Fault, Http, Settings, story};

/// Longest address that a browser is given, and that is taken from metadata.
const LONGEST: usize = 8 << 10;

/// How many documents are read until the authorization server is found. An honest server needs ten of them at most.
const DOCUMENTS: usize = 16;

/// In place of a page that nobody goes to.
const NO_PAGE: &str = "https://countersign.invalid/";

/// What a page's address may not say already: it is said, and read again, here.
const OURS: [&str; 2] = ["resource", "state"];

/// The authorization server as its metadata says it is.
pub(super) struct Found {
    pub(super) manager: AuthorizationManager,
    pub(super) metadata: AuthorizationMetadata,
    pub(super) issuer: String,
    pub(super) shows: Shows,
}

/// The key that token requests show, once there is one.
#[derive(Clone, Default)]
pub(super) struct Shows(Arc<OnceLock<Arc<Prover>>>);

impl Shows {
    pub(super) fn show(&self, prover: Option<&Arc<Prover>>) {
        if let Some(prover) = prover {
            self.0.get_or_init(|| Arc::clone(prover));
        }
    }
}

/// rmcp's requests on their way out. A redirect is an answer without its address, so that nobody follows it.
struct Guarded {
    http: Http,
    /// What a token request must name as its resource, where that is known.
    resource: Option<String>,
    /// Nobody goes to a page.
    alone: bool,
    read: Arc<Mutex<Read>>,
    shows: Shows,
}

/// The documents that were asked for.
#[derive(Default)]
struct Read {
    count: usize,
    /// Where the last one stood, if it was there. rmcp reads nothing more once it has metadata.
    last: Option<String>,
}

impl OAuthHttpClient for Guarded {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let request = request.request;
            if let Some(resource) = &self.resource
                && is_form(&request)
                && !names_resource(request.body(), resource)
            {
                return Err(format!("the server's metadata names another resource than {resource}").into());
            }
            let document = (request.method() == Method::GET).then(|| request.uri().to_string());
            if document.is_some() {
                self.count()?;
            }
            let prover = self.shows.0.get().filter(|_| is_form(&request));
            let mut answer = match prover {
                None => (self.http)(request).await?,
                Some(prover) => {
                    prover.post(&self.http, || Ok(request.clone())).await.map_err(|fault| fault.to_string())?
                }
            };
            answer.headers_mut().remove(LOCATION);
            if document.is_some() {
                let is_there = answer.status() == StatusCode::OK;
                self.read.lock().unwrap_or_else(PoisonError::into_inner).last = document.filter(|_| is_there);
                if let Some(whole) = self.alone.then(|| with_a_page(answer.body())).flatten() {
                    *answer.body_mut() = whole;
                }
            }
            Ok(answer)
        })
    }
}

impl Guarded {
    /// One document more, where that is not too many: each of them may name thousands.
    fn count(&self) -> Result<(), String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.last = None;
        read.count += 1;
        let found = read.count <= DOCUMENTS;
        found.then_some(()).ok_or_else(|| format!("no authorization server was found in {DOCUMENTS} documents"))
    }
}

/// Metadata of an authorization server that has no pages (RFC 8414, 2), with one that leads nowhere: rmcp reads none
/// without. Nothing where there is one already, or no metadata.
fn with_a_page(body: &[u8]) -> Option<Vec<u8>> {
    let mut document: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).ok()?;
    let has = |name: &str| document.get(name).is_some_and(|value| !value.is_null());
    if !has("token_endpoint") || has("authorization_endpoint") {
        return None;
    }
    document.insert("authorization_endpoint".to_owned(), NO_PAGE.into());
    serde_json::to_vec(&document).ok()
}

fn is_form(request: &Request<Vec<u8>>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    request.method() == Method::POST && kind.starts_with(b"application/x-www-form-urlencoded")
}

fn names_resource(body: &[u8], resource: &str) -> bool {
    let mut named = url::form_urlencoded::parse(body).filter(|(key, _)| key == "resource");
    named.next().is_some_and(|(_, value)| value == resource) && named.next().is_none()
}

/// Asks the server without a token, and goes where its challenge points. `resource`: the one that tokens are for, where
/// somebody has signed in before.
pub(super) async fn discover(settings: &Settings, http: &Http, resource: Option<&str>) -> Result<Found, Fault> {
    let (read, alone) = (Arc::new(Mutex::new(Read::default())), settings.client.alone().is_some());
    let shows = Shows::default();
    let guarded = Guarded {
        http: Arc::clone(http),
        resource: resource.map(str::to_owned),
        alone,
        read: Arc::clone(&read),
        shows: shows.clone(),
    };
    let failed = |error| Fault::Failed(story(&error));
    let manager = AuthorizationManager::new_with_oauth_http_client(settings.url.as_str(), Arc::new(guarded));
    let mut manager = manager.await.map_err(failed)?;
    let challenge = challenge(settings, http).await?;
    let resolved = manager.resolve_metadata_from_challenge(challenge.as_deref()).await.map_err(failed)?;
    let metadata = match resolved.source {
        AuthorizationMetadataSource::LegacyEndpointFallback => return Err(Fault::NoMetadata),
        _ => resolved.metadata,
    };
    let issuer = metadata.issuer.clone().ok_or(Fault::NoMetadata)?;
    if let Some(pinned) = settings.issuer.as_ref().filter(|pinned| **pinned != issuer) {
        return Err(Fault::Pinned { pinned: pinned.clone(), found: super::said(&issuer) });
    }
    // rmcp takes the word of a document for whose it is where an address has a form that it does not know.
    let at = read.lock().unwrap_or_else(PoisonError::into_inner).last.take().unwrap_or_default();
    let Some(before) = before(&issuer, &at) else {
        return Err(Fault::Elsewhere { issuer: super::said(&issuer), at: super::said(&at) });
    };
    judge(&metadata, &issuer, &settings.url)?;
    // Of the documents of an issuer that is pinned its first one counts, whichever the server has pointed at.
    let own = match &settings.issuer {
        Some(pinned) => first(pinned, &before, http, alone).await?,
        None => None,
    };
    if let Some(own) = &own {
        judge(own, &issuer, &settings.url)?;
    }
    let metadata = own.unwrap_or(metadata);
    if settings.client.alone().is_none() && !takes_pkce(&metadata) {
        return Err(Fault::NoPkce);
    }
    manager.set_metadata(metadata.clone());
    Ok(Found { manager, metadata, issuer, shows })
}

/// Makes the manager speak for the client of a sign-in.
pub(super) fn speak_as(
    manager: &mut AuthorizationManager,
    settings: &Settings,
    client_id: &str,
    registered_secret: Option<&str>,
    redirect_uri: &str,
) -> Result<(), Fault> {
    let mut config = OAuthClientConfig::new(client_id, redirect_uri);
    let configured = match &settings.client {
        Client::Registered { secret, .. } => secret.as_ref().map(|secret| secret.current().expose().to_owned()),
        Client::Document(_) | Client::Dynamic | Client::Alone(_) => registered_secret.map(str::to_owned),
    };
    if let Some(secret) = configured {
        config = config.with_client_secret(secret);
    }
    manager.configure_client(config).map_err(|error| Fault::Failed(story(&error)))
}

/// What tokens are for, in the server's own words. rmcp says it nowhere but in the address of a page, which nobody goes
/// to here: what such a page needs besides is made up.
pub(super) async fn resource(found: &mut Found, settings: &Settings) -> Result<String, Fault> {
    let mut metadata = found.metadata.clone();
    metadata.response_types_supported = None;
    metadata.code_challenge_methods_supported = Some(vec!["S256".to_owned()]);
    NO_PAGE.clone_into(&mut metadata.authorization_endpoint);
    found.manager.set_metadata(metadata);
    speak_as(&mut found.manager, settings, "countersign", None, settings.url.as_str())?;
    let page = found.manager.get_authorization_url(&[]).await.map_err(|error| Fault::Failed(story(&error)))?;
    resource_of(&page, &settings.url)
}

/// What tokens are for, of the address of a page.
pub(super) fn resource_of(page: &str, server: &Url) -> Result<String, Fault> {
    let resource = in_query(page, "resource").ok_or_else(Fault::no_page)?;
    if covers(&resource, server) {
        return Ok(resource);
    }
    Err(Fault::Address { what: "the resource", why: format!("`{}` is not the server", super::said(&resource)) })
}

/// Whether a resource is the server: of its origin, and its path or one that leads there.
fn covers(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let below = server.path().strip_prefix(resource.path());
    resource.origin() == server.origin()
        && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || resource.path().ends_with('/'))
}

/// Where an issuer publishes its metadata before this place, where it publishes them there. What stands elsewhere is
/// somebody else's word about it.
fn before(issuer: &str, at: &str) -> Option<Vec<Url>> {
    let (issuer, at) = (Url::parse(issuer).ok()?, Url::parse(at).ok()?);
    let mut places = places(&issuer);
    places.truncate(places.iter().position(|place| *place == at)?);
    Some(places)
}

/// Where an issuer publishes its metadata (RFC 8414, 3; OpenID Connect Discovery, 4).
fn places(issuer: &Url) -> Vec<Url> {
    if issuer.cannot_be_a_base() || issuer.query().is_some() || issuer.fragment().is_some() {
        return Vec::new();
    }
    let path = issuer.path().trim_matches('/');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    let (oauth, openid) = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration");
    let mut places = Vec::new();
    for place in [format!("{oauth}{path}"), format!("{openid}{path}"), format!("{path}{openid}")] {
        let mut own = issuer.clone();
        own.set_path(&place);
        if !places.contains(&own) {
            places.push(own);
        }
    }
    places
}

/// The metadata of an issuer that the configuration names, from the places that are its own.
pub(super) async fn of_issuer(issuer: &str, http: &Http) -> Result<AuthorizationMetadata, Fault> {
    let url = endpoint_of(issuer, "the issuer")?;
    let metadata = first(issuer, &places(&url), http, true).await?.ok_or(Fault::NoMetadata)?;
    endpoint(&metadata.token_endpoint, &url).map_err(|why| Fault::Address { what: "the token endpoint", why })?;
    Ok(metadata)
}

/// The first metadata of an issuer that stand at one of these places. `alone`: those without a page are some.
async fn first(issuer: &str, places: &[Url], http: &Http, alone: bool) -> Result<Option<AuthorizationMetadata>, Fault> {
    for place in places {
        let request = Request::get(place.as_str()).header(http::header::ACCEPT, "application/json").body(Vec::new());
        let request = request.map_err(|error| Fault::Failed(error.to_string()))?;
        let answer = http(request).await.map_err(|why| Fault::Failed(super::said(why)))?;
        if answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS {
            return Err(Fault::Failed(format!("{place} answers {}", answer.status())));
        }
        if answer.status() != StatusCode::OK {
            continue;
        }
        let body = alone.then(|| with_a_page(answer.body())).flatten().unwrap_or_else(|| answer.into_body());
        let Ok(metadata) = serde_json::from_slice::<AuthorizationMetadata>(&body) else { continue };
        if metadata.issuer.as_deref() != Some(issuer) {
            let found = super::said(metadata.issuer.as_deref().unwrap_or_default());
            return Err(Fault::Pinned { pinned: issuer.to_owned(), found });
        }
        return Ok(Some(metadata));
    }
    Ok(None)
}

fn endpoint_of(issuer: &str, what: &'static str) -> Result<Url, Fault> {
    let url = Url::parse(issuer).map_err(|error| Fault::Address { what, why: error.to_string() })?;
    endpoint(issuer, &url).map_err(|why| Fault::Address { what, why })
}

/// What an address says under a name.
pub(super) fn in_query(page: &str, name: &str) -> Option<String> {
    let page = Url::parse(page).ok()?;
    page.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// What an MCP client would say first, in the era of sessions and without: none of it carries a key or changes anything,
/// and a server that is signed in to refuses it, at the latest when it is asked for its tools.
const GREETING: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"#,
    r#""clientInfo":{"name":"countersign","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}"#
);
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
const LIST_ALONE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"countersign","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}}"#
);
const SESSION_ID: &str = "mcp-session-id";

/// The server's challenge to a request without a token, where it has one.
async fn challenge(settings: &Settings, http: &Http) -> Result<Option<String>, Fault> {
    let ask = async |text: &str, fields: &[(&str, &str)]| {
        let mut request = Request::post(settings.url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json, text/event-stream");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(text.as_bytes().to_vec()).map_err(|error| Fault::Failed(error.to_string()))?;
        http(request).await.map_err(|why| Fault::Failed(super::said(why)))
    };
    let mut answer = ask(GREETING, &[]).await?;
    if answer.status().is_success() {
        let session = answer.headers().get(SESSION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let session: Vec<(&str, &str)> = session.iter().map(|id| (SESSION_ID, id.as_str())).collect();
        answer = ask(LIST, &session).await?;
    }
    // It knows no sessions, or has none for us.
    if answer.status().is_client_error() && answer.status() != StatusCode::UNAUTHORIZED {
        answer = ask(LIST_ALONE, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")]).await?;
    }
    Ok(if answer.status() == StatusCode::UNAUTHORIZED { bearer_challenge(answer.headers()) } else { None })
}

/// The challenge that says most: one with metadata, else any of the scheme. One of DPoP (RFC 9449, 7.1) says the same.
pub(super) fn bearer_challenge(headers: &HeaderMap) -> Option<String> {
    let fields = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|field| field.to_str().ok());
    let of = |field: &str, scheme: &str| field.get(..scheme.len()).is_some_and(|own| own.eq_ignore_ascii_case(scheme));
    let bearer: Vec<String> = fields
        .filter_map(|field| match field.get(4..) {
            Some(rest) if of(field, "dpop") => Some(format!("Bearer{rest}")),
            _ => of(field, "bearer").then(|| field.to_owned()),
        })
        .collect();
    let best = bearer.iter().find(|field| field.to_ascii_lowercase().contains("resource_metadata"));
    best.or(bearer.first()).cloned()
}

/// What the metadata of an issuer must be like.
fn judge(metadata: &AuthorizationMetadata, issuer: &str, server: &Url) -> Result<(), Fault> {
    let more = |key: &str| metadata.additional_fields.get(key).and_then(|value| value.as_str());
    let addresses = [
        ("the issuer", Some(issuer)),
        ("the authorization endpoint", Some(metadata.authorization_endpoint.as_str())),
        ("the token endpoint", Some(metadata.token_endpoint.as_str())),
        ("the registration endpoint", metadata.registration_endpoint.as_deref()),
        ("the revocation endpoint", more("revocation_endpoint")),
    ];
    for (what, address) in addresses {
        if let Some(address) = address {
            endpoint(address, server).map_err(|why| Fault::Address { what, why })?;
        }
    }
    let page = &metadata.authorization_endpoint;
    if let Some(own) = OURS.iter().find(|name| in_query(page, name).is_some()) {
        return Err(Fault::Address { what: "the authorization endpoint", why: format!("it has a `{own}` of its own") });
    }
    Ok(())
}

/// Without it a code that comes back through a browser is not safe.
fn takes_pkce(metadata: &AuthorizationMetadata) -> bool {
    metadata.code_challenge_methods_supported.iter().flatten().any(|method| method == "S256")
}

/// An address that metadata may name: https, or http on this machine where the server itself is there. What a shell or
/// a terminal could take for something else is not in it, whatever opens it.
pub(super) fn endpoint(address: &str, server: &Url) -> Result<Url, String> {
    let shown = super::said(address);
    if address.len() > LONGEST {
        return Err(format!("it has more than {LONGEST} bytes"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?[]@&+,=%*".contains(&b);
    if let Some(odd) = address.chars().find(|c| !u8::try_from(*c).is_ok_and(plain)) {
        return Err(format!("`{shown}` has the character {odd:?}"));
    }
    let url = Url::parse(address).map_err(|_| format!("`{shown}` is not an address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{shown}` has a user in it"));
    }
    match url.scheme() {
        "https" if url.host().is_some() => Ok(url),
        "http" if is_loopback(&url) && is_loopback(server) => Ok(url),
        "http" => Err(format!("`{shown}` is not https")),
        _ => Err(format!("`{shown}` is neither https nor http")),
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(address: &str, server: &str) -> bool {
        endpoint(address, &Url::parse(server).unwrap()).is_ok()
    }

    #[test]
    fn an_endpoint_is_https_or_on_this_machine_with_its_server() {
        let (public, local) = ("https://mcp.example/mcp", "http://127.0.0.1:1/mcp");
        for good in ["https://auth.example/authorize", "https://auth.example:8443/a/b?x=1&y=%20", "https://[2606::1]/a"]
        {
            assert!(taken(good, public) && taken(good, local), "{good}");
        }
        for near in ["http://127.0.0.1:9/token", "http://localhost:9/token", "http://[::1]:9/token"] {
            assert!(taken(near, local) && !taken(near, public), "{near}");
        }
        for bad in [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "http://auth.example/token",
            "https://user@auth.example/",
            "https://auth.example/$(id)",
            "https://auth.example/`id`",
            "https://auth.example/a;id",
            "https://auth.example/a|id",
            "https://auth.example/a b",
            "https://auth.example/a\nb",
            "https://auth.example/\u{202e}",
            "https://auth.example/'",
            "https://auth.example/#x",
            "-h",
            "",
        ] {
            assert!(!taken(bad, local), "{bad:?}");
        }
        assert!(!taken(&format!("https://auth.example/{}", "x".repeat(LONGEST)), local));
    }

    #[test]
    fn the_challenge_that_says_most_is_taken() {
        let fields = |fields: &[&str]| {
            let fields = fields.iter().map(|field| (WWW_AUTHENTICATE, field.parse().unwrap()));
            bearer_challenge(&fields.collect())
        };
        assert_eq!(fields(&["Basic realm=x"]), None);
        assert_eq!(fields(&[]), None);
        assert_eq!(
            fields(&["Bearer", "bearer resource_metadata=https://a/b"]).unwrap(),
            "bearer resource_metadata=https://a/b"
        );
        assert_eq!(fields(&["DPoP resource_metadata=https://a/b"]).unwrap(), "Bearer resource_metadata=https://a/b");
        assert_eq!(fields(&["Basic x", "Bearer scope=\"a\""]).unwrap(), "Bearer scope=\"a\"");
    }

    #[test]
    fn an_issuer_publishes_in_three_places() {
        let plain = "https://auth.example";
        for (issuer, at) in [
            (plain, "https://auth.example/.well-known/oauth-authorization-server"),
            ("https://auth.example/", "https://auth.example:443/.well-known/openid-configuration"),
            ("https://auth.example/a/b", "https://auth.example/.well-known/oauth-authorization-server/a/b"),
            ("https://auth.example/a/", "https://auth.example/.well-known/openid-configuration/a"),
            ("https://auth.example/a", "https://auth.example/a/.well-known/openid-configuration"),
        ] {
            assert!(before(issuer, at).is_some(), "{issuer} {at}");
        }
        for (issuer, at) in [
            (plain, ""),
            (plain, "https://evil.example/.well-known/oauth-authorization-server"),
            (plain, "http://auth.example/.well-known/oauth-authorization-server"),
            (plain, "https://auth.example:8443/.well-known/oauth-authorization-server"),
            (plain, "https://auth.example/.well-known/x"),
            (plain, "https://auth.example/~evil/.well-known/openid-configuration"),
            (plain, "https://auth.example/.well-known/oauth-authorization-server/evil"),
            (plain, "https://auth.example/.well-known/oauth-authorization-server?x"),
            ("https://auth.example/a", "https://auth.example/.well-known/oauth-authorization-server"),
            ("https://auth.example/a", "https://auth.example/a/.well-known/oauth-authorization-server"),
            ("https://auth.example?x", "https://auth.example/.well-known/oauth-authorization-server?x"),
            ("data:x", "data:x"),
        ] {
            assert!(before(issuer, at).is_none(), "{issuer} {at}");
        }
        let last = before("https://auth.example/a", "https://auth.example/a/.well-known/openid-configuration").unwrap();
        let expected = [
            "https://auth.example/.well-known/oauth-authorization-server/a",
            "https://auth.example/.well-known/openid-configuration/a",
        ];
        assert_eq!(last.iter().map(Url::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_resource_is_the_server_or_above_it() {
        let server = Url::parse("https://mcp.example/a/mcp?x=1").unwrap();
        for good in
            ["https://mcp.example/a/mcp", "https://mcp.example", "https://mcp.example/a/", "https://mcp.example/a"]
        {
            assert!(covers(good, &server), "{good}");
        }
        for bad in [
            "https://other.example/a/mcp",
            "http://mcp.example/a/mcp",
            "https://mcp.example:8443/a/mcp",
            "https://mcp.example/a/mcp/more",
            "https://mcp.example/a/m",
            "https://mcp.example/b",
            "mcp",
        ] {
            assert!(!covers(bad, &server), "{bad}");
        }
    }

    #[test]
    fn a_token_request_names_its_resource_once() {
        assert!(names_resource(b"grant_type=refresh_token&resource=https%3A%2F%2Fa%2Fmcp", "https://a/mcp"));
        for bad in [
            &b"grant_type=refresh_token"[..],
            b"resource=https%3A%2F%2Fb",
            b"resource=https%3A%2F%2Fa%2Fmcp&resource=x",
        ] {
            assert!(!names_resource(bad, "https://a/mcp"));
        }
    }
}
