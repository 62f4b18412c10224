//! What is known of the tool that is called.

use serde::{Deserialize, Serialize};

use crate::json::JsonText;

use super::Digest;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pin {
    /// The definition that is listed now is the one that is pinned.
    Match,
    /// Another definition than the pinned one has been listed, and no operator has ruled on it since.
    Changed,
    /// No definition of the tool is pinned.
    Unpinned,
    /// Nothing is listed now that could be compared.
    Unknown,
}

impl Pin {
    pub fn as_str(self) -> &'static str {
        match self {
            Pin::Match => "match",
            Pin::Changed => "changed",
            Pin::Unpinned => "unpinned",
            Pin::Unknown => "unknown",
        }
    }
}

/// What the input schema of a tool says of a call's arguments. Arguments that it calls wrong are refused before policy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaCheck {
    /// They fit.
    Checked,
    /// Nothing is wrong with them, and not all of the schema is understood.
    Partial,
    /// The schema cannot be used: too large, too costly, not understood at all.
    Unusable,
    /// None is known, or they are not arguments of a tool.
    None,
}

/// What the server claims about the tool that is called.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ToolFacts {
    pub name: String,
    /// The server's own claims: rules may tighten on them, never loosen.
    pub annotations: Option<JsonText>,
    /// Digest of the definition, where the session has seen it listed.
    pub definition: Option<Digest>,
    pub pin: Pin,
    pub schema: SchemaCheck,
}
