//! What this side sees in a hold that asks for more care than the rule did: hidden characters, an unknown operation,
//! letters that read like others, more text than a person reads. It can raise a tier and never lower one.
//!
//! The score only informs: nothing is sorted, asked or let through by it. Whatever is added to it stands beside it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::call::{Class, Pin, Tier};
use crate::console::{lookalike, preview, visible};
use crate::control::wire::HoldView;
use crate::json::{Json, JsonText, Kind, Token};

/// Parameters beyond this size cannot be inspected by a person: they are shown, and cost the highest tier.
pub const INSPECTABLE: usize = 256 << 10;
/// Warnings of one sort that are spelled out.
const SHOWN: usize = 3;
/// Oddities of one sort that are kept.
const FOUND: usize = 1000;

/// How careful an approval has to be, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Risk {
    /// The rule's tier, or higher.
    pub tier: Tier,
    /// Sentences about what is odd; every one has passed the escape function.
    pub warnings: Vec<String>,
    /// What the score is made of.
    pub addends: Vec<Addend>,
}

/// One reason behind a score.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Addend {
    pub of: &'static str,
    pub points: u32,
}

/// A hold as it is printed and exported: with its score, which this side makes of it.
#[derive(Serialize)]
pub struct Scored<'a> {
    #[serde(flatten)]
    hold: &'a HoldView,
    risk: u32,
    risk_addends: Vec<Addend>,
}

impl Scored<'_> {
    pub fn of(hold: &HoldView) -> Scored<'_> {
        let risk = Risk::of(hold);
        Scored { hold, risk: risk.score(), risk_addends: risk.addends }
    }
}

impl Risk {
    pub fn of(hold: &HoldView) -> Risk {
        let mut found = Found::default();
        for text in payloads(hold) {
            found.value(text.view());
        }
        let names = [&hold.tool, &hold.operation, &hold.server, &hold.method].into_iter().map(String::as_str);
        let claimed = [&hold.client.name, &hold.client.version].into_iter().filter_map(|text| text.as_deref());
        names.chain(claimed).chain(hold.targets.iter().map(String::as_str)).for_each(|text| found.text(text));

        let size: usize = payloads(hold).map(|text| text.as_str().len()).sum();
        let mut warnings = Vec::new();
        if found.hidden > 0 {
            warnings.push(format!("{}: read every ⟨…⟩ and \\u…", plural(found.hidden, "hidden character")));
        }
        if hold.class == Class::Unknown {
            warnings.push("nothing is known about this operation".to_owned());
        }
        if size > INSPECTABLE {
            warnings.push(format!("{size} bytes are more than a person can inspect"));
        }
        warnings.extend(list(&found.like, "reads like something else"));
        warnings.extend(list(&found.mixed, "mixed alphabets"));
        let tier = if warnings.is_empty() { hold.tier } else { Tier::High };
        let addends = addends(hold, &found, size);
        warnings.extend(list(&found.beside, "Latin letters beside others"));
        warnings.extend(list(&found.hosts, "a host name of the network"));
        warnings.extend(list(&found.inexact, "a number that many readers round"));
        Risk { tier, warnings, addends }
    }

    pub fn score(&self) -> u32 {
        self.addends.iter().map(|addend| addend.points).sum()
    }

    /// `5 = LIVE 2 + rule says medium 1 + …`.
    pub fn words(&self) -> String {
        let addends: Vec<_> = self.addends.iter().map(|Addend { of, points }| format!("{of} {points}")).collect();
        match addends.is_empty() {
            true => "0: nothing that is counted here".to_owned(),
            false => format!("{} = {}", self.score(), addends.join(" + ")),
        }
    }
}

/// What the hold itself carries, and what was found in it.
fn addends(hold: &HoldView, found: &Found, size: usize) -> Vec<Addend> {
    let live = match (hold.production, hold.environment.name.as_str()) {
        (false, _) => None,
        (true, "production") => Some("LIVE"),
        (true, _) => Some("unknown environment"),
    };
    let (class, undo) = match hold.class {
        Class::Read => (None, false),
        Class::Write => (Some(("write", 1)), true),
        Class::Financial => (Some(("money", 2)), true),
        Class::Destructive => (Some(("destructive", 2)), true),
        Class::Unknown => (Some(("unknown operation", 2)), true),
    };
    let rule = match hold.tier {
        Tier::Low => None,
        Tier::Medium => Some(("rule says medium", 1)),
        Tier::High => Some(("rule says high", 2)),
    };
    let undo = match hold.reversible {
        Some(true) => None,
        Some(false) => Some("no undo"),
        None => Some("undo unknown").filter(|_| undo),
    };
    let of = |holds: bool, of: &'static str, points: u32| holds.then_some((of, points));
    let all = [
        live.map(|of| (of, 2)),
        rule,
        class,
        undo.map(|of| (of, 1)),
        of(hold.unmeasured, "not all measured", 1),
        of(hold.pin == Pin::Changed, "tool changed", 1),
        of(found.hidden > 0, "hidden characters", 2),
        of(!found.like.is_empty() || !found.mixed.is_empty(), "letters like others", 1),
        of(size > INSPECTABLE, "too long to inspect", 2),
    ];
    all.into_iter().flatten().map(|(of, points)| Addend { of, points }).collect()
}

/// Everything that travels.
fn payloads(hold: &HoldView) -> impl Iterator<Item = &JsonText> {
    [Some(&hold.arguments), hold.other_params.as_ref(), hold.meta.as_ref()].into_iter().flatten()
}

/// `1 line`, `2 lines`.
pub fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn list(found: &BTreeSet<String>, what: &str) -> Option<String> {
    let shown: Vec<_> = found.iter().take(SHOWN).map(String::as_str).collect();
    let more = found.len().saturating_sub(SHOWN);
    match (shown.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("{what}: {}", shown.join(", "))),
        (false, more) => Some(format!("{what}: {}, and {more} more", shown.join(", "))),
    }
}

#[derive(Default)]
struct Found {
    hidden: usize,
    like: BTreeSet<String>,
    mixed: BTreeSet<String>,
    beside: BTreeSet<String>,
    hosts: BTreeSet<String>,
    inexact: BTreeSet<String>,
}

impl Found {
    /// Every string and number of a value, keys included.
    fn value(&mut self, value: Json<'_>) {
        for token in value.tokens() {
            let Token::Scalar(scalar) = token else { continue };
            match scalar.kind() {
                Kind::String => self.text(&scalar.as_str().unwrap_or_default()),
                Kind::Number => self.number(scalar.text()),
                Kind::Object | Kind::Array | Kind::Bool | Kind::Null => {}
            }
        }
    }

    fn number(&mut self, spelled: &str) {
        if preview::is_inexact(spelled) && self.inexact.len() < FOUND {
            self.inexact.insert(visible::capped(spelled, 40));
        }
    }

    fn text(&mut self, text: &str) {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
            return;
        }
        self.hidden += visible::hidden_count(text);
        for odd in lookalike::check(text, FOUND) {
            let set = match odd.kind {
                lookalike::Kind::LooksLike => &mut self.like,
                lookalike::Kind::Mixed => &mut self.mixed,
                lookalike::Kind::Beside => &mut self.beside,
                lookalike::Kind::Host => &mut self.hosts,
            };
            if set.len() < FOUND {
                set.insert(odd.words);
            }
        }
    }
}
