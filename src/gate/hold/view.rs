//! A hold as others may look at it. Changing a copy changes nothing.

use std::sync::Arc;

use jiff::Timestamp;

use crate::call::{CallContext, CallId, Decision, Digest, Outcome, ToolCall};
use crate::gate::permit::Ruling;

use super::lease::Lease;

/// Where a hold is in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Pending,
    /// A ruling, or a take-back, is being recorded.
    Deciding,
    /// Approved, and not gone: until then the approval can be taken back.
    Leaving {
        by: String,
        at: Timestamp,
        leaves_at: Timestamp,
    },
    /// Approved when nobody waited any more: one identical call passes until then.
    Ticket {
        by: String,
        at: Timestamp,
        until: Timestamp,
    },
    Approved {
        by: String,
        at: Timestamp,
    },
    Rejected {
        by: String,
        at: Timestamp,
        reason: String,
    },
    /// What was shown is not what would be judged now.
    Stale {
        at: Timestamp,
        reason: String,
    },
    Closed {
        outcome: Outcome,
        at: Timestamp,
        reason: String,
    },
    Done {
        by: String,
        at: Timestamp,
        result: String,
    },
}

impl State {
    /// Approved, and nothing is known of an answer.
    pub(super) fn is_on_its_way(&self) -> bool {
        matches!(self, State::Approved { .. })
    }
}

/// Who has approved a hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approver {
    pub operator: String,
    /// Whose account it came from.
    pub account: String,
    /// For people to read, and for nothing else.
    pub shown: String,
    /// Fingerprint of the key that signed, where one did.
    pub key: Option<String>,
}

impl Approver {
    /// The same person: by name, by key, or by account where no two keys tell them apart. Whoever approves from an
    /// account and then signs from it is one.
    pub(super) fn is(&self, ruling: &Ruling) -> bool {
        let same_key_or_account = match (&self.key, ruling.proof.as_ref().map(|proof| &proof.key)) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => self.account == ruling.account,
        };
        self.operator == ruling.operator || same_key_or_account
    }
}

/// One prompt: a call, or several identical ones of one principal.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Of the first call that waited here. Identical calls have ids of their own.
    pub id: CallId,
    /// What an approval releases: the call that has waited longest, or else the last one that did.
    pub call: Arc<ToolCall>,
    pub context: Arc<CallContext>,
    pub decision: Arc<Decision>,
    pub digest: Digest,
    pub confirm: Vec<(String, String)>,
    pub created: Timestamp,
    /// Settled when it opens, and moved by no identical call: it is part of what is signed.
    pub expires: Timestamp,
    pub state: State,
    pub approved_by: Vec<Approver>,
    pub signature_required: bool,
    /// How often an approval was taken back.
    pub taken_back: u32,
    pub lease: Option<Lease>,
    /// When the client of the call that is shown is thought to give up.
    pub client_waits_until: Option<Timestamp>,
    /// Requests that wait for this prompt. None: the client had to give up, and an approval counts for a retry.
    pub waiting: usize,
    /// Other calls with the same digest, and what became of them.
    pub same_as: Vec<(CallId, &'static str)>,
    /// What is shown of the call, in bytes.
    pub(super) bytes: usize,
    /// Of its last change.
    pub(super) revision: u64,
}

impl Hold {
    /// Counts the changes of all holds: of two views of this one, the later has the higher.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn id(&self) -> &CallId {
        &self.id
    }

    pub(super) fn state_word(&self) -> &'static str {
        match &self.state {
            State::Pending | State::Deciding => "pending",
            State::Ticket { .. } => "approved for a retry",
            State::Leaving { .. } | State::Approved { .. } => "approved",
            State::Rejected { .. } => "rejected",
            State::Stale { .. } => "stale",
            State::Closed { outcome, .. } => outcome.as_str(),
            State::Done { .. } => "executed",
        }
    }

    /// How it ended, who said so and when, for an operator who came too late.
    pub(super) fn ended_words(&self) -> String {
        match &self.state {
            State::Pending | State::Deciding => "another ruling is being recorded".to_owned(),
            State::Leaving { by, at, leaves_at } => {
                let left = leaves_at.duration_since(Timestamp::now()).as_secs().max(0);
                format!("already approved by {by} {}; it is sent in {left} s and can be taken back", ago(*at))
            }
            State::Ticket { by, at, .. } => {
                format!("already approved by {by} {}, for one identical retry of the client", ago(*at))
            }
            State::Approved { by, at } => format!("already approved by {by} {}", ago(*at)),
            State::Rejected { by, at, reason } => format!("already rejected by {by} {}: {reason}", ago(*at)),
            State::Stale { at, reason } => format!("the hold became stale {}: {reason}", ago(*at)),
            State::Closed { outcome, at, reason } => {
                format!("the hold was closed ({}) {}: {reason}", outcome.as_str(), ago(*at))
            }
            State::Done { by, at, result } => format!("already approved by {by} {} and executed ({result})", ago(*at)),
        }
    }
}

/// `2 s ago`, `5 min ago`.
fn ago(at: Timestamp) -> String {
    match Timestamp::now().duration_since(at).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds => format!("{} min ago", seconds / 60),
    }
}
