//! A form for an endpoint of an authorization server, and how a client shows there who it is (RFC 6749, 2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use rmcp::transport::auth::AuthorizationMetadata;
use url::form_urlencoded::{Serializer, byte_serialize};

/// What the metadata calls the ways of clients to authenticate at the token endpoint.
pub(super) const METHODS: &str = "token_endpoint_auth_methods_supported";

/// Where the secret of a client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SecretIn {
    Header,
    Form,
}

/// A list of texts in the metadata, where it is there.
pub(super) fn list<'m>(metadata: &'m AuthorizationMetadata, name: &str) -> Option<Vec<&'m str>> {
    let list = metadata.additional_fields.get(name)?.as_array()?;
    Some(list.iter().filter_map(serde_json::Value::as_str).collect())
}

/// The way that is taken of those that the metadata names; without a list it is the header (RFC 8414).
pub(super) fn secret_in(methods: Option<&[&str]>) -> Option<SecretIn> {
    let Some(methods) = methods else { return Some(SecretIn::Header) };
    if methods.contains(&"client_secret_basic") {
        return Some(SecretIn::Header);
    }
    methods.contains(&"client_secret_post").then_some(SecretIn::Form)
}

/// The request that posts a form, from a client with or without a secret.
pub(super) fn post(
    endpoint: &str,
    mut form: Serializer<'_, String>,
    client_id: Option<&str>,
    secret: Option<(&str, SecretIn)>,
) -> Result<Request<Vec<u8>>, http::Error> {
    let mut request = Request::post(endpoint)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json");
    match (client_id, secret) {
        (Some(id), Some((secret, SecretIn::Header))) => {
            let part = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", part(id), part(secret)));
            request = request.header(AUTHORIZATION, format!("Basic {pair}"));
        }
        (Some(id), Some((secret, SecretIn::Form))) => {
            form.append_pair("client_id", id).append_pair("client_secret", secret);
        }
        (Some(id), None) => {
            form.append_pair("client_id", id);
        }
        (None, _) => {}
    }
    request.body(form.finish().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stands_where_the_metadata_wants_it() {
        for (methods, expected) in [
            (None, Some(SecretIn::Header)),
            (Some(&["client_secret_post", "client_secret_basic"][..]), Some(SecretIn::Header)),
            (Some(&["none", "client_secret_post"][..]), Some(SecretIn::Form)),
            (Some(&["private_key_jwt"][..]), None),
            (Some(&[][..]), None),
        ] {
            assert_eq!(secret_in(methods), expected, "{methods:?}");
        }
        let asked = |secret| {
            let request = post("https://a/token", Serializer::new(String::new()), Some("a b"), secret).unwrap();
            let header = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            (header, String::from_utf8(request.into_body()).unwrap())
        };
        let header = format!("Basic {}", STANDARD.encode("a+b:s%3A%2F"));
        assert_eq!(asked(Some(("s:/", SecretIn::Header))), (Some(header), String::new()));
        assert_eq!(asked(Some(("s:/", SecretIn::Form))), (None, "client_id=a+b&client_secret=s%3A%2F".to_owned()));
        assert_eq!(asked(None), (None, "client_id=a+b".to_owned()));
    }
}
