//! Where the API behind a gate is, how its key is carried, and what the child has instead. Checked once.

use std::sync::Arc;

use http::HeaderName;

use crate::transport::http_upstream::{HeaderSource, HttpSpec, SpecError};

/// What the key of a child begins with where the vendor's keys have no form of their own.
const FORM: &str = "countersign_";

/// An API that a child reaches through the gate.
#[derive(Debug)]
pub struct ApiSpec {
    pub(super) http: HttpSpec,
    /// The field that carries the key, on both sides of the gate, and what stands before it there.
    pub(super) header: HeaderName,
    pub(super) prefix: String,
    /// What keys of this vendor begin with.
    pub(super) form: String,
    /// Fields that would move a request to another account or environment, in lower case.
    pub(super) switches: Arc<[String]>,
    /// Variables of the child.
    pub url_env: String,
    pub key_env: String,
}

impl ApiSpec {
    /// `headers` has one secret; `form` is what keys of its vendor begin with.
    ///
    /// # Errors
    /// An address or a field that cannot be used.
    pub fn new(
        server: &str,
        url: &str,
        headers: Vec<(String, HeaderSource)>,
        form: Option<String>,
        switches: &[String],
        (url_env, key_env): (String, String),
    ) -> Result<ApiSpec, SpecError> {
        let key = headers.iter().find_map(|(name, source)| match source {
            HeaderSource::Secret { prefix, .. } => Some((name.parse::<HeaderName>().ok()?, prefix.clone())),
            HeaderSource::Plain(_) => None,
        });
        let (header, prefix) =
            key.ok_or_else(|| SpecError::Name { server: server.to_owned(), name: "headers".to_owned() })?;
        let form = form.unwrap_or_else(|| FORM.to_owned());
        let http = HttpSpec::new(server, url, headers)?;
        Ok(ApiSpec { http, header, prefix, form, switches: switches.into(), url_env, key_env })
    }
}
