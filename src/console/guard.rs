//! Attention: approvals that come too fast, one after another, cost more from then on, and the rule that causes them is
//! named. It can ask for more and never for less.

use std::collections::VecDeque;
use std::time::Duration;

/// Approvals that are looked at together.
const LAST: usize = 10;
/// A median below this is no reading.
const QUICK: Duration = Duration::from_secs(2);
/// Approvals that have to be typed then.
const TYPED: u8 = 5;

/// The approvals of this console.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// How long each call had been on the screen, and its rule.
    last: VecDeque<(Duration, String)>,
    left: u8,
    /// Why, while some are left.
    why: String,
}

impl Guard {
    /// An approval was made of a call that had been on the screen for so long.
    pub fn approved(&mut self, after: Duration, rule: &str) {
        self.left = self.left.saturating_sub(1);
        self.last.push_back((after, rule.to_owned()));
        if self.last.len() < LAST {
            return;
        }
        let mut times: Vec<_> = self.last.iter().map(|(after, _)| *after).collect();
        times.sort();
        let median = times.get(LAST / 2).copied().unwrap_or_default();
        if median < QUICK {
            let count = |rule: &str| self.last.iter().filter(|(_, other)| other == rule).count();
            let most = self.last.iter().map(|(_, rule)| (count(rule), rule)).max();
            let (count, rule) = most.map(|(count, rule)| (count, rule.clone())).unwrap_or_default();
            let seconds = format!("{}.{}", median.as_secs(), median.subsec_millis() / 100);
            self.why = format!("{LAST} approvals, median {seconds} s; {count} of them for rule {rule}: narrow it?");
            self.left = TYPED;
            self.last.clear();
        } else {
            self.last.pop_front();
        }
    }

    /// Why the next approval has to be typed, where it has to. Has not passed the escape function.
    pub fn asks(&self) -> Option<String> {
        (self.left > 0).then(|| format!("typed, {} more: {}", self.left, self.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_quick_ones_cost_five_typed_ones_and_slow_ones_nothing() {
        let mut guard = Guard::default();
        for n in 0..10 {
            assert_eq!(guard.asks(), None);
            guard.approved(Duration::from_millis(1600), if n < 7 { "writes" } else { "refunds" });
        }
        for left in (1..=5).rev() {
            let why = guard.asks().unwrap();
            assert!(
                why.contains("median 1.6 s; 7 of them for rule writes") && why.contains(&left.to_string()),
                "{why}"
            );
            guard.approved(Duration::from_secs(9), "writes");
        }
        assert_eq!(guard.asks(), None);
        for _ in 0..100 {
            guard.approved(Duration::from_secs(2), "writes");
            assert_eq!(guard.asks(), None);
        }
    }
}
