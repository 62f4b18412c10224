//! What a record says, in a sentence and in facts: for `audit tail` and `show`, and for the page of the console.
//!
//! The texts are those of the record, hidden characters and all: whoever shows one escapes it, whole. Nothing about a
//! body is taken for granted: a later version may have written it, or an attacker.

use super::Record;
use crate::json::{Json, JsonText, Kind, Rules};

/// A record's body, read. The second is the body as it is, where it cannot be.
#[derive(Debug)]
pub struct Words(Option<JsonText>, String);

impl Words {
    pub fn of(record: &Record) -> Words {
        Words(JsonText::parse(record.body.as_str(), Rules::UPSTREAM).ok(), record.body.clone())
    }

    /// The body, where it is one that can be read.
    pub fn body(&self) -> Option<&JsonText> {
        self.0.as_ref()
    }

    /// What stands at a JSON pointer, where that is not null.
    pub fn value(&self, pointer: &str) -> Option<Json<'_>> {
        self.0.as_ref()?.view().pointer(pointer).filter(|value| value.kind() != Kind::Null)
    }

    /// A text as it is decoded, another value as it is spelled; empty where there is none.
    pub fn text(&self, pointer: &str) -> String {
        let text = |value: Json<'_>| value.as_str().unwrap_or_else(|| value.text().into()).into_owned();
        self.value(pointer).map(text).unwrap_or_default()
    }

    /// ` before text after`, or nothing.
    fn maybe(&self, before: &str, pointer: &str) -> String {
        let text = self.text(pointer);
        if text.is_empty() { text } else { format!("{before}{text}") }
    }

    /// What happened.
    pub fn sentence(&self, kind: &str) -> String {
        let t = |name: &str| self.text(&format!("/{name}"));
        let maybe = |before: &str, name: &str| self.maybe(before, &format!("/{name}"));
        match kind {
            "started" => format!("version {}, policy {}, servers {}", t("version"), t("policy_version"), t("servers")),
            "stopped" => t("reason"),
            "policy_loaded" => format!("policy {}{}", t("policy_version"), maybe(" in place of ", "previous")),
            "policy_refused" => format!("kept policy {}: {}", t("keeping"), t("error")),
            "refused" => {
                format!("{} {}{}{}", t("code"), t("reason"), maybe(", server ", "server"), maybe(", by ", "principal"))
            }
            "probed" => format!("server {} was asked where its key works: {}", t("server"), t("outcome")),
            "secret_rotated" => format!("secret {} is {} now, was {}", t("secret"), t("fingerprint"), t("previous")),
            "secret_kept" => format!("secret {} stays as it was: {}", t("secret"), t("why")),
            "environment_conflict" => {
                let bound = self.text("/environment/name");
                format!("server {} is bound to {bound}, but {}", t("server"), t("conflict"))
            }
            "decided" => {
                let rule = self.maybe(" by ", "/decision/rules/0/rule");
                format!("{}{rule}{}", self.text("/decision/effect"), self.maybe(": ", "/decision/reason"))
            }
            "failed" => format!("deny, policy could not decide: {}", t("fault")),
            "invalid" => format!("refused before policy, {}", t("reason")),
            "tools_seen" => self.tools(),
            "tool_ruled" => {
                format!(
                    "{} of {}.{} by {}{}",
                    t("ruling"),
                    t("server"),
                    t("tool"),
                    t("operator"),
                    maybe(", definition ", "definition")
                )
            }
            "held" => format!("waits for an operator until {}", to_the_second(t("expires_at"))),
            "ruled" => {
                let settled = if t("effective") == "true" { "" } else { " (not the last one needed)" };
                let key = self.maybe(" with the key ", "/signed/key");
                format!("{} by {}{key}{}{settled}", t("ruling"), t("operator"), maybe(": ", "reason"))
            }
            "ruling_refused" => format!("ruling of {} on {} had no effect: {}", t("operator"), t("id"), t("why")),
            "taken_back" => format!("the approval of {} was taken back by {}", t("approved_by"), t("operator")),
            "reopened" => format!("waits again until {}, by {}", to_the_second(t("expires_at")), t("operator")),
            "claimed" => {
                let until = to_the_second(t("until"));
                let until = if until.is_empty() { until } else { format!(" until {until}") };
                let verb = if until.is_empty() { "given back" } else { "claimed" };
                format!("{verb} by {}{}{until}", t("operator"), maybe(", taken from ", "from"))
            }
            "frozen" if t("on") == "true" => {
                let rejected = format!("{} holds rejected", t("rejected"));
                format!("everything but reads frozen by {}, {rejected}{}", t("operator"), maybe(": ", "reason"))
            }
            "frozen" => format!("no longer frozen, by {}{}", t("operator"), maybe(": ", "reason")),
            "session_ruled" => {
                let whose = format!("session {} of {} on {}", t("session"), t("principal"), t("server"));
                let rejected = format!("{} calls rejected", t("rejected"));
                format!("{} of {whose} by {}, {rejected}{}", t("ruling"), t("operator"), maybe(": ", "reason"))
            }
            "closed" if t("stale") == "true" => format!("stale, not sent{}", maybe(": ", "reason")),
            "closed" => format!("{}, not sent{}", t("outcome"), maybe(": ", "reason")),
            "sending" => format!("released to the server{}", maybe(" by the grant ", "grant")),
            "granted" => {
                let (grant, by, uses) = (t("grant"), t("operator"), t("uses"));
                let until = to_the_second(t("until"));
                format!("grant {grant} by {by}: {uses} more calls until {until}")
            }
            "grant_revoked" => {
                format!(
                    "grant {} revoked by {}, {} used{}",
                    t("grant"),
                    t("operator"),
                    t("used"),
                    maybe(": ", "reason")
                )
            }
            "completed" => {
                let (result, bytes, ms) = (t("result"), t("bytes"), t("duration_ms"));
                let redacted = maybe(", without keys: ", "redacted");
                format!("{result}, {bytes} bytes in {ms} ms{redacted}{}", maybe(": ", "note"))
            }
            "recovered" => format!("{} (open when the daemon ended)", t("outcome")),
            "gap" => format!("{} records could not be written before this one", t("refused")),
            "clock_stepped" => format!("the wall clock was set by {} ms", t("by_ms")),
            _ => self.1.clone(),
        }
    }

    /// What a server has listed that was not known.
    fn tools(&self) -> String {
        let of = |name: &str, word: &str| {
            let all = self.value(&format!("/{name}")).into_iter().flat_map(Json::items);
            let names: Vec<String> = all.filter_map(|tool| Some(tool.get("tool")?.as_str()?.into_owned())).collect();
            (!names.is_empty()).then(|| format!("{word}: {}", names.join(", ")))
        };
        let parts = [of("trusted", "trusted on first use"), of("new", "new"), of("changed", "CHANGED")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let first = if self.text("/first") == "true" { "first list of " } else { "" };
        let more = Some(self.text("/more")).filter(|more| more != "0" && !more.is_empty());
        let more = more.map(|more| format!("; and {more} more")).unwrap_or_default();
        format!("{first}{}; {}{more}", self.text("/server"), parts.join("; "))
    }

    /// What a call was, for the records that begin one.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let t = |pointer: &str| self.text(pointer);
        if self.value("/params").is_none() {
            return Vec::new();
        }
        let verified = match (t("/environment/verified").as_str(), t("/environment/source").as_str()) {
            ("true", "probe") => "proved by the server's answer",
            ("true", _) => "proved by the key",
            _ => "declared",
        };
        let mut facts = vec![
            ("server", format!("{} ({}, {verified})", t("/server/name"), t("/environment/name"))),
            ("tool", format!("{} {}", t("/method"), t("/tool"))),
            ("operation", format!("{} ({})", t("/operation/name"), t("/operation/class"))),
            ("principal", format!("{} ({})", t("/principal/name"), t("/principal/kind"))),
            ("client", format!("{} {} over {}", t("/client/name"), t("/client/version"), t("/client/transport"))),
            ("session", t("/session")),
            ("conflict", t("/environment/conflict")),
            ("bound", t("/bound")),
            ("confirmed", t("/confirmations")),
            ("digest", t("/digest")),
            ("definition", t("/definition")),
            ("params", self.value("/params").map(|params| params.text().to_owned()).unwrap_or_default()),
            ("meta", t("/meta")),
            ("policy", t("/decision/policy_version")),
        ];
        let rules = self.value("/decision/rules").into_iter().flat_map(Json::items);
        facts.extend(rules.map(|rule| {
            let part = |name: &str| rule.get(name).map(|value| value.as_str().unwrap_or(value.text().into()));
            let part = |name: &str| part(name).unwrap_or_default();
            ("rule", format!("{} at {}:{}: {}", part("rule"), part("file"), part("line"), part("reason")))
        }));
        facts.retain(|(_, value)| !value.is_empty());
        facts
    }
}

/// A time without its fractions; whatever is no time, as it is.
fn to_the_second(time: String) -> String {
    let read = time.parse::<jiff::Timestamp>().ok();
    read.and_then(|at| at.round(jiff::Unit::Second).ok()).map_or(time, |at| at.to_string())
}
