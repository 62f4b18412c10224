//! Which calls are open, as the records tell it: read at start to close what an earlier run left behind, and kept by
//! the writer so that the next start reads only from the oldest open call on.
//!
//! Invariant (I7): every open call ends as abandoned, approved and not sent, or sent with an unknown outcome. Nothing
//! here can make a call go on.

use std::collections::HashMap;

use crate::call::Effect;
use crate::json::{JsonText, Rules};

use super::record::{Event, Recovery, Ruling};

/// How many open calls are followed at once; beyond, the start re-reads more instead.
const MAX_OPEN: usize = 100_000;

/// How far an open call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Held,
    Approved,
    Sent,
}

impl Stage {
    pub fn recovery(self) -> Recovery {
        match self {
            Stage::Held => Recovery::Abandoned,
            Stage::Approved => Recovery::ApprovedNotSent,
            Stage::Sent => Recovery::SentOutcomeUnknown,
        }
    }
}

/// What a record does to its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Enters(Stage),
    /// Only where the call is open: a late approval opens nothing.
    Approves,
    /// The same.
    TakesBack,
    Ends,
    Nothing,
}

impl Step {
    pub fn of(event: &Event) -> Step {
        match event {
            Event::Decided { decision, .. } => Step::decided(Some(decision.effect)),
            Event::Failed { .. }
            | Event::Invalid { .. }
            | Event::Closed { .. }
            | Event::Completed { .. }
            | Event::Recovered { .. } => Step::Ends,
            Event::Held { .. } => Step::Enters(Stage::Held),
            Event::Ruled { ruling, effective, .. } => Step::ruled(Some(*ruling), *effective),
            Event::TakenBack { .. } => Step::TakesBack,
            Event::Sending { .. } => Step::Enters(Stage::Sent),
            Event::Claimed { .. }
            | Event::Reopened { .. }
            | Event::Frozen { .. }
            | Event::SessionRuled { .. }
            | Event::Started { .. }
            | Event::Stopped { .. }
            | Event::PolicyLoaded { .. }
            | Event::PolicyRefused { .. }
            | Event::Probed { .. }
            | Event::SecretRotated { .. }
            | Event::SecretKept { .. }
            | Event::EnvironmentConflict { .. }
            | Event::Refused { .. }
            | Event::ToolsSeen { .. }
            | Event::ToolRuled { .. }
            | Event::RulingRefused { .. }
            | Event::Granted { .. }
            | Event::GrantRevoked { .. }
            | Event::Gap { .. }
            | Event::ClockStepped { .. } => Step::Nothing,
        }
    }

    /// The same, from a stored record. Where its body cannot be read the worst is taken.
    pub fn read(kind: &str, body: &str) -> Step {
        let member = |pointer: &str| {
            let body = JsonText::parse(body, Rules::UPSTREAM).ok()?;
            body.view().pointer(pointer).map(|value| value.text().to_owned())
        };
        match kind {
            "decided" => Step::decided(member("/decision/effect").and_then(|text| serde_json::from_str(&text).ok())),
            "failed" | "invalid" | "closed" | "completed" | "recovered" => Step::Ends,
            "held" => Step::Enters(Stage::Held),
            "ruled" => Step::ruled(
                member("/ruling").and_then(|text| serde_json::from_str(&text).ok()),
                member("/effective").is_none_or(|text| text == "true"),
            ),
            "taken_back" => Step::TakesBack,
            "sending" => Step::Enters(Stage::Sent),
            _ => Step::Nothing,
        }
    }

    fn decided(effect: Option<Effect>) -> Step {
        match effect {
            Some(Effect::Allow) | None => Step::Enters(Stage::Sent),
            Some(Effect::Hold) => Step::Enters(Stage::Held),
            Some(Effect::Deny) => Step::Ends,
        }
    }

    fn ruled(ruling: Option<Ruling>, effective: bool) -> Step {
        if !effective {
            return Step::Nothing;
        }
        match ruling {
            Some(Ruling::Approve) | None => Step::Approves,
            Some(Ruling::Reject) => Step::Ends,
        }
    }
}

/// The calls that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    calls: HashMap<String, (u64, Stage)>,
    /// The first record of a call that found no room.
    beyond: Option<u64>,
}

impl OpenCalls {
    pub fn apply(&mut self, seq: u64, call: Option<&str>, step: Step) {
        let Some(call) = call else { return };
        match step {
            Step::Enters(stage) => {
                if let Some(open) = self.calls.get_mut(call) {
                    open.1 = stage;
                } else if self.calls.len() < MAX_OPEN {
                    self.calls.insert(call.to_owned(), (seq, stage));
                } else {
                    self.beyond = Some(self.beyond.map_or(seq, |beyond| beyond.min(seq)));
                }
            }
            Step::Approves => {
                if let Some(open) = self.calls.get_mut(call) {
                    open.1 = Stage::Approved;
                }
            }
            Step::TakesBack => {
                if let Some(open) = self.calls.get_mut(call) {
                    open.1 = Stage::Held;
                }
            }
            Step::Ends => {
                self.calls.remove(call);
            }
            Step::Nothing => {}
        }
    }

    /// No open call has a record before this one. `next` is the number of the next record.
    pub fn low(&self, next: u64) -> u64 {
        self.calls.values().map(|(first, _)| *first).chain(self.beyond).fold(next, u64::min)
    }

    /// Takes all of them, the oldest first; the number to read on from where some found no room.
    pub fn take(&mut self) -> (Vec<(String, Stage)>, Option<u64>) {
        let mut open: Vec<_> = self.calls.drain().map(|(call, (first, stage))| (first, call, stage)).collect();
        open.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        (open.into_iter().map(|(_, call, stage)| (call, stage)).collect(), self.beyond.take())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::every_event;
    use super::*;

    #[test]
    fn a_stored_record_says_the_same_as_its_event() {
        for event in every_event() {
            assert_eq!(Step::read(event.kind(), event.body().unwrap().as_str()), Step::of(&event), "{event:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_counts_as_the_worst() {
        assert_eq!(Step::read("decided", "{"), Step::Enters(Stage::Sent));
        assert_eq!(Step::read("ruled", "{}"), Step::Approves);
    }

    #[test]
    fn the_low_mark_is_the_oldest_open_call() {
        let mut open = OpenCalls::default();
        open.apply(1, Some("A"), Step::Enters(Stage::Held));
        open.apply(2, Some("B"), Step::Enters(Stage::Sent));
        open.apply(3, Some("A"), Step::Approves);
        open.apply(3, Some("A"), Step::TakesBack);
        open.apply(3, Some("C"), Step::TakesBack);
        assert_eq!(open.low(4), 1);
        assert_eq!(open.calls["A"].1, Stage::Held, "what was taken back is approved no more");
        open.apply(4, Some("A"), Step::Ends);
        assert_eq!(open.low(5), 2);
        open.apply(5, Some("A"), Step::Approves);
        assert_eq!(open.take().0, [("B".to_owned(), Stage::Sent)]);
        assert_eq!(open.low(6), 6);
    }

    #[test]
    fn calls_without_room_hold_the_low_mark_back() {
        let mut open = OpenCalls::default();
        for seq in 1..=u64::try_from(MAX_OPEN).unwrap() + 5 {
            open.apply(seq, Some(&seq.to_string()), Step::Enters(Stage::Held));
        }
        for seq in 1..=u64::try_from(MAX_OPEN).unwrap() {
            open.apply(0, Some(&seq.to_string()), Step::Ends);
        }
        assert_eq!(open.low(u64::MAX), u64::try_from(MAX_OPEN).unwrap() + 1);
    }
}
