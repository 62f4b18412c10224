//! Scopes that hold under conditions, and claims: what the operator says about a principal. Data only: `policies/scopes.rego`
//! says what a condition is worth, and `policies/README.md` shows the form that rules see, which is this one.
//!
//! Invariant: a condition that is there has to be met; one that is absent asks for nothing.

use serde::{Deserialize, Serialize};

use crate::json::JsonText;

/// A scope and what has to be so for it to cover a call.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ConditionalScope {
    pub scope: String,
    /// About arguments. All of them have to pass.
    #[serde(rename = "where", default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Test>,
    /// About the money that the catalog finds in the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<AmountLimit>,
    /// Names of environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// In nanoseconds since 1970: from then on the scope covers nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestKind {
    /// A number that is not negative and no more than the value.
    Max,
    /// A number no less than the value.
    Min,
    /// One of a list of values.
    In,
    /// A string that begins with the value.
    Prefix,
    /// A string that the pattern covers, in which `*` is any characters.
    Glob,
    /// It is there and not null.
    Present,
    Absent,
}

/// One thing that has to be so of one argument.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Test {
    /// The way to the argument, from member to member.
    pub at: Vec<String>,
    pub is: TestKind,
    /// What it is compared with, where it is compared: a number, a list, a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<JsonText>,
    /// Only a whole number passes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub whole: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AmountLimit {
    /// A positive number, in the unit that the call uses.
    pub max: JsonText,
    #[serde(default, skip_serializing_if = "is_false")]
    pub whole: bool,
    /// In lower case. Absent: any, also where the call names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// Hours of a day, in a zone of the tz database.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Hours {
    /// Minutes since midnight; `to` is after `from` and at most 1440, and no longer in it.
    pub from: u16,
    pub to: u16,
    /// `Monday`, ... as the rules' own function spells them.
    pub days: Vec<String>,
    pub zone: String,
}

/// What is said of a principal under one name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Claim {
    One(String),
    Many(Vec<String>),
}

/// Whether a scope or a budget may name this: an operation (a tool, a method, or a route such as
/// `POST /v1/things/{id}`), a pattern with `*`, or a class. Braces are of routes alone: a pattern has another use for
/// them.
pub fn is_operation_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./*".contains(&byte);
    let is_route = |method: &str, path: &str| {
        let pattern = path.contains('*') && path.contains(['{', '}']);
        let path = path.strip_prefix('/').filter(|_| !pattern);
        !method.is_empty()
            && method.bytes().all(|byte| byte.is_ascii_uppercase())
            && path.is_some_and(|path| path.bytes().all(|byte| plain(byte) || b"{}:".contains(&byte)))
    };
    let form = text.split_once(' ').map_or(text.bytes().all(plain), |(method, path)| is_route(method, path));
    form && (1..=128).contains(&text.len())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_every_form_have_a_name_that_can_be_written() {
        for name in
            ["create_refund", "create_*", "resources/read", "PUT*launch", "POST /v1/things/{id}", "GET /v1/*", "read"]
        {
            assert!(is_operation_name(name), "{name}");
        }
        for name in [
            "",
            "a b",
            " a",
            "a ",
            "{id}",
            "post /v1",
            "POST v1",
            "POST /v1/{id}/*",
            "POST  /v1",
            "a\u{e9}",
            "POST /a b",
        ] {
            assert!(!is_operation_name(name), "{name}");
        }
        assert!(!is_operation_name(&"a".repeat(129)));
    }
}
