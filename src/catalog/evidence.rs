//! What shows where a server works: the form of its keys, a read that is made at start, what its answers say. And the
//! words by which a call says that somebody agreed to it.
//!
//! Invariant: what an answer says can contradict what is declared or agree with it; it never makes a call harmless. What
//! is looked at is bounded, whatever a server answers.

use serde::Deserialize;

use super::file::{KeyMode, Unique};
use super::load::BUILTIN;
use super::pointer::{Arguments, Found, Pointer};
use super::{Catalog, KeyEvidence};
use crate::call::{Confirmation, ConfirmedBy, Decided, Seen, ToolCall};
use crate::json::{Json, JsonText, Rules};

/// Parts of one answer that are looked into, and the bytes of each.
const PARTS: usize = 16;
const PART_BYTES: usize = 1 << 20;

/// Arguments that say that somebody agreed to the call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationFacts {
    pub at: Pointer,
    pub by: ConfirmedBy,
}

/// Members of JSON results that say where a server works.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    pub mode: Option<ResultMode>,
}

/// A member whose value tells production from the rest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultMode {
    /// A step `*` stands for every item of a list.
    pub at: Vec<Pointer>,
    /// JSON text of the value that means production.
    pub production: String,
    /// JSON text of the value that means anything else.
    pub test: String,
}

/// A read that shows where a key works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub tool: String,
    #[serde(default)]
    pub arguments: Unique<Argument>,
    /// Where its result names the account of the key.
    pub account: Option<Pointer>,
}

/// A text, or a mapping of texts.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    Text(String),
    Members(std::collections::BTreeMap<String, String>),
}

impl Probe {
    /// The arguments as JSON.
    pub fn arguments(&self) -> serde_json::Value {
        let value = |argument: &Argument| match argument {
            Argument::Text(text) => serde_json::Value::from(text.as_str()),
            Argument::Members(members) => serde_json::json!(members),
        };
        self.arguments.0.iter().map(|(name, argument)| (name.clone(), value(argument))).collect()
    }
}

impl Catalog {
    /// What the form of a key proves, and which beginning of it shows that. Every word of a secret counts, so that a
    /// secret such as `Bearer sk_live_...` shows it too. Two forms that disagree are production: nothing is harmless
    /// that may not be.
    pub fn key_form(&self, secret: &str) -> Option<(KeyEvidence, &str)> {
        let words = || secret.split_whitespace();
        let form = |mode| {
            let mut forms = self.keys.iter().filter(|key| key.mode == Some(mode)).map(|key| key.prefix.0.as_str());
            forms.find(|form| words().any(|word| word.starts_with(form)))
        };
        let production = form(KeyMode::Production).map(|form| (KeyEvidence::Production, form));
        production.or_else(|| Some((KeyEvidence::NotProduction, form(KeyMode::NotProduction)?)))
    }

    /// Every catalog that is part of the program: for keys of a server whose vendor is not named.
    pub fn all_builtin() -> impl Iterator<Item = Catalog> {
        BUILTIN.iter().filter_map(|(vendor, _)| Catalog::builtin(Some(vendor)).ok())
    }

    /// What of a call says that somebody agreed to it. Which of these tokens the server has issued is the gate's to say.
    pub fn confirmations(&self, call: &ToolCall) -> Vec<Confirmation> {
        if self.confirmations.is_empty() || call.method() != Decided::ToolsCall {
            return Vec::new();
        }
        let arguments = Arguments::of(call.arguments().view());
        let there = self.confirmations.iter().filter(|facts| arguments.carries(&facts.at));
        there.map(|facts| Confirmation { at: facts.at.as_str().to_owned(), by: facts.by, issued: false }).collect()
    }

    /// The arguments that a confirmation by the vendor may stand in: none where the vendor has no such thing.
    pub fn vendor_confirmations(&self) -> impl Iterator<Item = &str> {
        let vendors = self.confirmations.iter().filter(|facts| facts.by == ConfirmedBy::Vendor);
        vendors.map(|facts| facts.at.as_str())
    }

    /// The reads that show where a key works, the first to be made first.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// What the result of a call says about where the server works.
    pub fn seen(&self, result: Json<'_>) -> Seen {
        let mut seen = Seen::default();
        let Some(mode) = &self.results.mode else { return seen };
        for part in parts(result) {
            for pointer in &mode.at {
                pointer.visit(part.view(), &mut |found| {
                    let Found::Value(value) = found else { return };
                    seen.production |= value.text() == mode.production;
                    seen.test |= value.text() == mode.test;
                });
            }
        }
        seen
    }

    /// The same for the result of a probe, which may name the account too.
    pub fn probed(&self, probe: &Probe, result: Json<'_>) -> Seen {
        let account = probe.account.as_ref().and_then(|pointer| {
            let found = parts(result).find_map(|part| Some(pointer.value(part.view())?.as_str()?.into_owned()));
            found.filter(|account| (1..=256).contains(&account.len()))
        });
        Seen { account, ..self.seen(result) }
    }
}

/// The JSON of a tool's result: what it says as structured content, and every text that is JSON.
fn parts(result: Json<'_>) -> impl Iterator<Item = JsonText> {
    let structured = result.get("structuredContent").map(JsonText::owned);
    let texts = result.get("content").into_iter().flat_map(Json::items).take(PARTS).filter_map(|item| {
        let text = item.get("text")?;
        if text.text().len() > PART_BYTES {
            return None;
        }
        let text = text.as_str()?;
        let json = text.trim_start().starts_with(['{', '[']);
        json.then(|| JsonText::parse(text.as_bytes(), Rules::UPSTREAM).ok()).flatten()
    });
    structured.into_iter().chain(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripe() -> Catalog {
        Catalog::builtin(Some("stripe")).unwrap()
    }

    fn result(text: &str) -> JsonText {
        let text = serde_json::json!({"content": [{"type": "text", "text": text}], "isError": false});
        JsonText::of(&text).unwrap()
    }

    fn seen(text: &str) -> (bool, bool) {
        let seen = stripe().seen(result(text).view());
        (seen.production, seen.test)
    }

    #[test]
    fn answers_say_where_a_server_works() {
        assert_eq!(seen(r#"{"object":"balance","livemode":true}"#), (true, false));
        assert_eq!(seen(r#" {"livemode":false}"#), (false, true));
        assert_eq!(seen(r#"{"data":[{"livemode":false},{"id":1},{"livemode":true}]}"#), (true, true));
        for silent in ["livemode", "true", "{}", "[]", r#"{"livemode":"true"}"#, r#"{"a":{"livemode":true}}"#, "{"] {
            assert_eq!(seen(silent), (false, false), "{silent}");
        }
        let structured = JsonText::of(&serde_json::json!({"structuredContent": {"livemode": true}})).unwrap();
        assert!(stripe().seen(structured.view()).production);
        assert_eq!(Catalog::default().seen(structured.view()), Seen::default());
    }

    #[test]
    fn what_is_looked_at_is_bounded() {
        let many = vec![serde_json::json!({"type": "text", "text": "{}"}); PARTS];
        let late = serde_json::json!({"type": "text", "text": "{\"livemode\":true}"});
        let content: Vec<_> = many.into_iter().chain([late]).collect();
        let late = JsonText::of(&serde_json::json!({"content": content})).unwrap();
        assert_eq!(stripe().seen(late.view()), Seen::default());
        let long = format!(r#"{{"x":"{}","livemode":true}}"#, "x".repeat(PART_BYTES));
        assert_eq!(seen(&long), (false, false));
    }

    #[test]
    fn a_probe_names_the_account_of_the_key() {
        let stripe = stripe();
        let asks = stripe.probes().iter().find(|probe| probe.account.is_some()).unwrap();
        let account = |text: &str| stripe.probed(asks, result(text).view()).account;
        assert_eq!(account(r#"{"account_id":"acct_1"}"#).as_deref(), Some("acct_1"));
        for silent in [r#"{"account_id":7}"#, r#"{"account_id":""}"#, "{}"] {
            assert_eq!(account(silent), None, "{silent}");
        }
        for probe in stripe.probes() {
            assert!(probe.arguments().is_object(), "{probe:?}");
        }
    }

    #[test]
    fn a_key_is_known_by_the_beginning_of_any_word() {
        let stripe = stripe();
        for (secret, form) in [
            ("sk_live_1", Some((KeyEvidence::Production, "sk_live_"))),
            ("Bearer rk_test_1", Some((KeyEvidence::NotProduction, "rk_test_"))),
            ("sk_test_1 sk_live_1", Some((KeyEvidence::Production, "sk_live_"))),
            ("xsk_live_1", None),
            ("", None),
        ] {
            assert_eq!(stripe.key_form(secret), form, "{secret}");
        }
    }
}
