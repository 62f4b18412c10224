//! What the record says of a stretch of time, in numbers: calls by effect, and what became of each rule's holds.
//!
//! Invariant: a stretch has a limit in records too; where that is reached, the numbers say so.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::{AuditError, AuditReader, Record, Words};
use crate::json::Json;

/// Records that one look reads at most.
pub const MAX_RECORDS: usize = 100_000;
/// Rules that are told apart.
const MAX_RULES: usize = 1000;
/// A rule whose holds are approved so often, without a rejection, and so fast, asks for nothing.
const RULINGS: u64 = 10;
const FAST_MS: u64 = 5000;

#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Stats {
    pub records: u64,
    /// There were more than one look reads: the older ones are not in the numbers.
    pub cut: bool,
    /// Decisions by effect: `allow`, `deny`, `hold`; and `failed` where there was none.
    pub decisions: BTreeMap<String, u64>,
    /// Calls that ended unsent, by outcome.
    pub closed: BTreeMap<String, u64>,
    /// The answers of upstreams, by what they were.
    pub results: BTreeMap<String, u64>,
    /// By name.
    pub rules: Vec<RuleStats>,
}

/// What a rule did.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct RuleStats {
    pub rule: String,
    pub policy: String,
    pub file: String,
    pub line: u32,
    /// Decisions that name it.
    pub hits: u64,
    /// Prompts that it was behind.
    pub holds: u64,
    pub approved: u64,
    pub rejected: u64,
    /// Ended without a ruling.
    pub lapsed: u64,
    /// Median time from the hold to the ruling.
    pub median_ms: Option<u64>,
    /// Decisions beside which it spoke while its policy was only watched, in mode `warn` or `shadow`.
    pub watched: u64,
    /// Those of them that it would have held, and that were let through.
    pub would_hold: u64,
    /// Those of them that it would have denied, and that were let through or held.
    pub would_deny: u64,
    /// Those of them that it would have allowed, and that were denied since nothing allowed them.
    pub may_allow: u64,
    /// Those of them that an older version recorded, which did not say what the rule asked for.
    pub unknown: u64,
    /// When it was named last.
    pub last: String,
    pub hint: Option<String>,
    #[serde(skip)]
    times: Vec<u64>,
}

/// What is known of one call, from its records in any order.
#[derive(Default)]
struct Story {
    rules: Vec<String>,
    held: Option<u64>,
    /// Whether the last ruling that counted was an approval, and when it was.
    ruled: Option<(bool, u64)>,
    closed: bool,
}

impl AuditReader {
    /// The numbers of what was recorded since a time, by the wall clock. Blocks.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn stats(&self, since: Timestamp, most: usize) -> Result<Stats, AuditError> {
        let (mut stats, mut rules, mut stories) = (Stats::default(), BTreeMap::new(), HashMap::new());
        let since = since.to_string();
        self.scan_back(u64::MAX >> 1, |record| {
            // Both are RFC 3339 in UTC. A clock that was set makes a stretch longer or shorter, and nothing else.
            if record.at.get(..19) < since.get(..19) {
                return false;
            }
            if stats.records >= u64::try_from(most).unwrap_or(u64::MAX) {
                stats.cut = true;
                return false;
            }
            stats.records += 1;
            stats.count(&record, &mut rules, &mut stories);
            true
        })?;
        stories.into_values().for_each(|story: Story| story.settle(&mut rules));
        stats.rules = rules.into_values().map(RuleStats::finished).collect();
        Ok(stats)
    }
}

impl Stats {
    fn count(
        &mut self,
        record: &Record,
        rules: &mut BTreeMap<String, RuleStats>,
        stories: &mut HashMap<String, Story>,
    ) {
        let mut one = |counts: fn(&mut Stats) -> &mut BTreeMap<String, u64>, name: String| {
            let counts = counts(self);
            // Names are ours; a log that somebody else has written may say anything.
            if counts.len() < 100 || counts.contains_key(&name) {
                *counts.entry(name).or_default() += 1;
            }
        };
        if !["decided", "failed", "held", "ruled", "closed", "completed"].contains(&record.kind.as_str()) {
            return;
        }
        let words = Words::of(record);
        let Some(call) = record.call.clone() else { return };
        match record.kind.as_str() {
            "failed" => one(|stats| &mut stats.decisions, "failed".to_owned()),
            "completed" => one(|stats| &mut stats.results, words.text("/result")),
            "closed" => {
                one(|stats| &mut stats.closed, words.text("/outcome"));
                stories.entry(call).or_default().closed = true;
            }
            "held" if words.value("/joins").is_none() => {
                stories.entry(call).or_default().held = Some(record.up_ms);
            }
            "ruled" if words.text("/effective") != "false" => {
                let ruled = (words.text("/ruling") == "approve", record.up_ms);
                // The newest comes first.
                stories.entry(call).or_default().ruled.get_or_insert(ruled);
            }
            "decided" => {
                let effect = words.text("/decision/effect");
                let named = named(&words, record, rules);
                watched(&words, record, rules, &effect);
                if effect == "hold" {
                    stories.entry(call).or_default().rules = named;
                }
                one(|stats| &mut stats.decisions, effect);
            }
            _ => {}
        }
    }
}

/// The rule of a hit, where there is room for it.
fn of<'a>(hit: Json<'_>, record: &Record, rules: &'a mut BTreeMap<String, RuleStats>) -> Option<&'a mut RuleStats> {
    let text = |name: &str| hit.get(name).and_then(Json::as_str).unwrap_or_default().into_owned();
    let rule = text("rule");
    if rules.len() >= MAX_RULES && !rules.contains_key(&rule) {
        return None;
    }
    Some(rules.entry(rule.clone()).or_insert_with(|| RuleStats {
        rule,
        policy: text("policy"),
        file: text("file"),
        line: hit.get("line").and_then(Json::as_i64).and_then(|line| line.try_into().ok()).unwrap_or(0),
        last: record.at.clone(),
        ..RuleStats::default()
    }))
}

/// Counts the rules of a decision, and names them.
fn named(words: &Words, record: &Record, rules: &mut BTreeMap<String, RuleStats>) -> Vec<String> {
    let mut named = Vec::new();
    for hit in words.value("/decision/rules").into_iter().flat_map(Json::items).take(64) {
        if let Some(stats) = of(hit, record, rules) {
            stats.hits += 1;
            named.push(stats.rule.clone());
        }
    }
    named
}

/// Counts what the rules that were only watched would have made of a decision, as `policy shadow` does.
fn watched(words: &Words, record: &Record, rules: &mut BTreeMap<String, RuleStats>, effect: &str) {
    // A rule that denies them goes on to; what is held was allowed already.
    let unallowed =
        effect == "deny" && words.value("/decision/rules").into_iter().flat_map(Json::items).next().is_none();
    for hit in words.value("/decision/observed").into_iter().flat_map(Json::items).take(64) {
        let Some(stats) = of(hit, record, rules) else { continue };
        stats.watched += 1;
        match (hit.get("would").and_then(Json::as_str).as_deref(), effect) {
            (Some("deny"), "allow" | "hold") => stats.would_deny += 1,
            (Some("hold"), "allow") => stats.would_hold += 1,
            (Some("allow"), _) if unallowed => stats.may_allow += 1,
            (Some("allow" | "deny" | "hold"), _) => {}
            (Some(_) | None, _) => stats.unknown += 1,
        }
    }
}

impl Story {
    fn settle(self, rules: &mut BTreeMap<String, RuleStats>) {
        let Some(held) = self.held else { return };
        for rule in self.rules {
            let Some(stats) = rules.get_mut(&rule) else { continue };
            stats.holds += 1;
            match self.ruled {
                Some((approved, at)) => {
                    *if approved { &mut stats.approved } else { &mut stats.rejected } += 1;
                    stats.times.push(at.saturating_sub(held));
                }
                None => stats.lapsed += u64::from(self.closed),
            }
        }
    }
}

impl RuleStats {
    fn finished(mut self) -> RuleStats {
        self.times.sort_unstable();
        self.median_ms = self.times.get(self.times.len() / 2).copied();
        let rulings = self.approved + self.rejected;
        let fast = self.median_ms.filter(|median| *median < FAST_MS);
        if let Some(median) = fast.filter(|_| rulings >= RULINGS && self.rejected == 0) {
            let (seconds, tenths) = (median / 1000, median % 1000 / 100);
            self.hint = Some(format!("{rulings} of {rulings} approved, median {seconds}.{tenths} s: narrow it"));
        }
        self.times = Vec::new();
        self
    }
}

#[cfg(test)]
mod tests;
