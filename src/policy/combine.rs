//! From entries to a decision: total, tiny, and in Rust, so that no policy can change what a set of entries means.
//! Deny wins over hold, hold over allow, and where nothing allows the answer is deny.

use regorus::Value;
use serde::Deserialize;

use crate::call::{Decision, Effect, RuleHit, Tier};
use crate::json::JsonText;

/// Which of its three sets an entry stands in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    Deny,
    Hold,
    Allow,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Deny, Kind::Hold, Kind::Allow];

    /// The name of the set.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Deny => "deny",
            Kind::Hold => "hold",
            Kind::Allow => "allow",
        }
    }
}

/// One member of a set, as a policy writes it. A field that is not listed is an error.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub rule: String,
    pub reason: String,
    #[serde(default)]
    pub details: serde_json::Value,
    pub tier: Option<Tier>,
    pub approvals: Option<std::num::NonZeroU8>,
    pub ttl_seconds: Option<std::num::NonZeroU32>,
    #[serde(default)]
    pub confirm_with: Pointers,
    pub grantable: Option<bool>,
    #[serde(default)]
    pub redact: Vec<String>,
}

impl Entry {
    /// A member of a set, as the evaluator gives it.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn read(value: &Value) -> Result<Entry, String> {
        if let Some(entry) = Entry::of_texts(value) {
            return Ok(entry);
        }
        let json = serde_json::to_value(value).map_err(|error| error.to_string())?;
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    /// The same in a fraction of the time, of one that is made of the commonest members alone. Whatever is odd is left to
    /// the general way, which says what it is.
    fn of_texts(value: &Value) -> Option<Entry> {
        let (mut rule, mut reason, mut tier, mut confirm_with) = (None, None, None, Pointers::default());
        for (name, text) in value.as_object().ok()?.iter() {
            let text = text.as_string().ok()?.to_string();
            match &**name.as_string().ok()? {
                "rule" => rule = Some(text),
                "reason" => reason = Some(text),
                "tier" => {
                    tier = Some(match text.as_str() {
                        "low" => Tier::Low,
                        "medium" => Tier::Medium,
                        "high" => Tier::High,
                        _ => return None,
                    });
                }
                "confirm_with" => confirm_with = Pointers::One(text),
                _ => return None,
            }
        }
        Some(Entry {
            rule: rule?,
            reason: reason?,
            details: serde_json::Value::Null,
            tier,
            approvals: None,
            ttl_seconds: None,
            confirm_with,
            grantable: None,
            redact: Vec::new(),
        })
    }
}

/// One JSON pointer or a list of them.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Pointers {
    One(String),
    Many(Vec<String>),
}

impl Default for Pointers {
    fn default() -> Pointers {
        Pointers::Many(Vec::new())
    }
}

impl Pointers {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Pointers::One(pointer) => std::slice::from_ref(pointer),
            Pointers::Many(pointers) => pointers,
        }
    }
}

/// An entry, and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    pub kind: Kind,
    pub entry: Entry,
    pub policy: String,
    pub file: String,
    pub line: usize,
    /// False for policies in mode `warn` or `shadow`: recorded, not combined.
    pub enforced: bool,
    /// It stands for a set that could not be evaluated.
    pub failed: bool,
}

impl Found {
    fn hit(&self) -> RuleHit {
        let details = Some(&self.entry.details).filter(|details| !details.is_null());
        RuleHit {
            rule: self.entry.rule.clone(),
            reason: self.entry.reason.clone(),
            policy: self.policy.clone(),
            file: self.file.clone(),
            line: self.line,
            details: details.and_then(|details| JsonText::of(details).ok()),
            would: (!self.enforced).then_some(match (self.failed, self.kind) {
                (true, _) | (false, Kind::Deny) => Effect::Deny,
                (false, Kind::Hold) => Effect::Hold,
                (false, Kind::Allow) => Effect::Allow,
            }),
        }
    }
}

/// A decision, and on top of it a no from outside the policies.
pub fn denied_too(decision: Decision, hit: RuleHit) -> Decision {
    match decision.effect {
        Effect::Deny => decision,
        Effect::Hold | Effect::Allow => {
            Decision { effect: Effect::Deny, reason: hit.reason.clone(), rules: vec![hit], ..decision }
        }
    }
}

/// A decision, and on top of it a reason from outside the policies to ask a person: at this tier or a higher one, and for
/// this call alone. A deny stays one.
pub fn held_too(decision: Decision, hit: RuleHit, tier: Tier) -> Decision {
    let rules = match decision.effect {
        Effect::Deny => return decision,
        Effect::Hold => decision.rules,
        Effect::Allow => Vec::new(),
    };
    Decision {
        effect: Effect::Hold,
        reason: hit.reason.clone(),
        rules: std::iter::once(hit).chain(rules).collect(),
        tier: decision.tier.max(tier),
        approvals: decision.approvals.max(1),
        grantable: false,
        ..decision
    }
}

/// What leaving the tier out of a hold means.
const DEFAULT_TIER: Tier = Tier::Medium;

/// The one answer to all entries of a call.
pub fn combine(found: &[Found], policy_version: &str) -> Decision {
    let of = |kind: Kind| found.iter().filter(move |found| found.enforced && found.kind == kind);
    let (effect, mut behind): (Effect, Vec<&Found>) = if of(Kind::Deny).next().is_some() {
        (Effect::Deny, of(Kind::Deny).collect())
    } else if of(Kind::Allow).next().is_none() {
        (Effect::Deny, Vec::new())
    } else if of(Kind::Hold).next().is_some() {
        (Effect::Hold, of(Kind::Hold).collect())
    } else {
        (Effect::Allow, of(Kind::Allow).collect())
    };
    let tier = |found: &Found| found.entry.tier.unwrap_or(DEFAULT_TIER);
    behind.sort_by_key(|found| std::cmp::Reverse(tier(found)));
    // Obligations belong to holds alone.
    let holds: &[&Found] = if effect == Effect::Hold { &behind } else { &[] };
    Decision {
        effect,
        reason: behind
            .first()
            .map_or_else(|| "no rule of any policy allows this call".to_owned(), |found| found.entry.reason.clone()),
        rules: behind.iter().map(|found| found.hit()).collect(),
        tier: holds.iter().map(|found| tier(found)).max().unwrap_or(Tier::Low),
        approvals: holds.iter().filter_map(|found| found.entry.approvals).max().map_or(1, std::num::NonZeroU8::get),
        ttl_seconds: holds.iter().filter_map(|found| found.entry.ttl_seconds).min().map(std::num::NonZeroU32::get),
        confirm_with: union(holds.iter().flat_map(|found| found.entry.confirm_with.as_slice())),
        // Somebody has to offer it, and nobody may object.
        grantable: holds.iter().any(|found| found.entry.grantable == Some(true))
            && !holds.iter().any(|found| found.entry.grantable == Some(false)),
        redact: union(holds.iter().flat_map(|found| &found.entry.redact)),
        policy_version: policy_version.to_owned(),
        observed: found.iter().filter(|found| !found.enforced).map(Found::hit).collect(),
    }
}

fn union<'a>(pointers: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for pointer in pointers {
        if !all.contains(pointer) {
            all.push(pointer.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn found(kind: Kind, entry: &str) -> Found {
        let entry = Entry::read(&Value::from_json_str(entry).unwrap()).unwrap();
        Found { kind, entry, policy: "p".into(), file: "p.rego".into(), line: 3, enforced: true, failed: false }
    }

    fn plain(kind: Kind, enforced: bool) -> Found {
        Found { enforced, ..found(kind, r#"{"rule":"p.r","reason":"because"}"#) }
    }

    proptest! {
        #[test]
        fn deny_over_hold_over_allow_and_nothing_is_deny(
            entries in prop::collection::vec((0_usize..3, any::<bool>()), 0..8)
        ) {
            let all: Vec<Found> = entries.iter().map(|&(kind, enforced)| plain(Kind::ALL[kind], enforced)).collect();
            let has = |kind| all.iter().any(|found| found.enforced && found.kind == kind);
            let expected = match (has(Kind::Deny), has(Kind::Hold), has(Kind::Allow)) {
                (true, _, _) | (false, _, false) => Effect::Deny,
                (false, true, true) => Effect::Hold,
                (false, false, true) => Effect::Allow,
            };
            let decision = combine(&all, "v");
            prop_assert_eq!(decision.effect, expected);
            prop_assert_eq!(decision.observed.len(), all.iter().filter(|found| !found.enforced).count());
        }
    }

    #[test]
    fn what_comes_on_top_of_policy_only_tightens() {
        let hit = || RuleHit { rule: "operator.frozen".into(), ..plain(Kind::Deny, true).hit() };
        for (entries, held) in [
            (vec![], Effect::Deny),
            (vec![plain(Kind::Allow, true)], Effect::Hold),
            (
                vec![
                    plain(Kind::Allow, true),
                    found(Kind::Hold, r#"{"rule":"p.h","reason":"r","tier":"high","approvals":2,"grantable":true}"#),
                ],
                Effect::Hold,
            ),
            (vec![plain(Kind::Allow, true), plain(Kind::Deny, true)], Effect::Deny),
        ] {
            let before = combine(&entries, "v");
            assert_eq!(denied_too(before.clone(), hit()).effect, Effect::Deny);
            let after = held_too(before.clone(), hit(), Tier::Medium);
            assert_eq!(after.effect, held);
            if before.effect == Effect::Deny {
                assert_eq!(after, before);
                continue;
            }
            assert!(after.tier >= before.tier.max(Tier::Medium) && after.approvals >= before.approvals);
            assert!(!after.grantable && after.rules.first() == Some(&hit()));
            let asks = before.rules.iter().filter(|_| before.effect == Effect::Hold);
            assert!(asks.into_iter().all(|rule| after.rules.contains(rule)), "nothing that policy asks for is lost");
        }
    }

    #[test]
    fn obligations_merge_to_the_strictest() {
        let decision = combine(
            &[
                plain(Kind::Allow, true),
                found(
                    Kind::Hold,
                    r#"{"rule":"p.a","reason":"a","tier":"low","approvals":2,"ttl_seconds":300,"confirm_with":"/arguments/a","grantable":true}"#,
                ),
                found(
                    Kind::Hold,
                    r#"{"rule":"p.b","reason":"b","tier":"high","ttl_seconds":60,"confirm_with":["/arguments/a","/arguments/b"],"grantable":false,"redact":["/arguments/c"]}"#,
                ),
            ],
            "v",
        );
        assert_eq!((decision.tier, decision.approvals, decision.ttl_seconds), (Tier::High, 2, Some(60)));
        assert_eq!(decision.confirm_with, ["/arguments/a", "/arguments/b"]);
        assert_eq!(decision.redact, ["/arguments/c"]);
        assert!(!decision.grantable);
        assert_eq!(decision.rules.iter().map(|hit| hit.rule.as_str()).collect::<Vec<_>>(), ["p.b", "p.a"]);
        assert_eq!(decision.reason, "b");
    }

    #[test]
    fn a_hold_without_a_tier_is_medium_and_never_grantable_by_default() {
        let decision = combine(&[plain(Kind::Allow, true), plain(Kind::Hold, true)], "v");
        assert_eq!((decision.tier, decision.approvals, decision.grantable), (Tier::Medium, 1, false));
    }

    #[test]
    fn a_hold_does_not_stand_in_for_a_grant() {
        let decision = combine(&[plain(Kind::Hold, true)], "v");
        assert_eq!(decision.effect, Effect::Deny);
        assert!(decision.rules.is_empty() && decision.confirm_with.is_empty());
    }

    #[test]
    fn malformed_entries_are_errors() {
        for bad in [
            r#"{"rule":"a"}"#,
            r#"{"reason":"a"}"#,
            r#"{"rule":"a","reason":"b","extra":1}"#,
            r#"{"rule":"a","reason":"b","tier":"huge"}"#,
            r#"{"rule":"a","reason":"b","approvals":0}"#,
            r#"{"rule":"a","reason":"b","approvals":300}"#,
            r#"{"rule":"a","reason":"b","ttl_seconds":-1}"#,
            r#"{"rule":"a","reason":"b","ttl_seconds":"60"}"#,
            r#"{"rule":"a","reason":"b","confirm_with":7}"#,
            r#"{"rule":"a","reason":"b","grantable":"no"}"#,
            r#"{"rule":1,"reason":"b"}"#,
            r#""a""#,
        ] {
            assert!(Entry::read(&Value::from_json_str(bad).unwrap()).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Both ways to an entry give the same, or the quick one gives nothing.
        #[test]
        fn the_quick_way_reads_what_the_general_one_reads(
            members in prop::collection::btree_map(
                prop::sample::select(vec!["rule", "reason", "tier", "confirm_with", "details", "approvals", "x"]),
                prop::sample::select(vec![json!("low"), json!("high"), json!("Low"), json!(""), json!(2), json!(null), json!(["/a"])]),
                0..6,
            )
        ) {
            let general = serde_json::from_value::<Entry>(json!(members)).ok();
            let value = Value::from_json_str(&json!(members).to_string()).unwrap();
            if let Some(quick) = Entry::of_texts(&value) {
                prop_assert_eq!(Some(quick), general.clone());
            }
            prop_assert_eq!(Entry::read(&value).ok(), general);
        }
    }
}
