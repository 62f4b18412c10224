//! Keeps keys out of every text that leaves the daemon.

use std::borrow::Cow;

use super::secret::Secret;
use crate::json::JsonText;

/// Knows every key and replaces it by `[secret:NAME]`.
#[derive(Debug, Default)]
pub struct Scrubber {
    needles: Vec<(String, zeroize::Zeroizing<String>)>,
}

impl Scrubber {
    /// From the names and values of all secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Scrubber {
        let needles =
            secrets.into_iter().map(|(name, secret)| (name.to_owned(), secret.expose().to_owned().into())).collect();
        Scrubber { needles }
    }

    /// A log line, an error text, a header.
    pub fn line<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(text);
        for (name, needle) in &self.needles {
            if out.contains(needle.as_str()) {
                out = Cow::Owned(out.replace(needle.as_str(), &format!("[secret:{name}]")));
            }
        }
        out
    }

    /// A message on its way to the client. The result is JSON again, or nothing where it could not be kept JSON.
    pub fn message(&self, text: &JsonText) -> Option<JsonText> {
        match self.line(text.as_str()) {
            Cow::Borrowed(_) => Some(text.clone()),
            Cow::Owned(scrubbed) => JsonText::parse(scrubbed, crate::json::Rules::UPSTREAM).ok(),
        }
    }
}
