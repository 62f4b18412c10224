//! The two values that consent turns on. Read all of it.
//!
//! [`PermittedCall`] is the only thing that an upstream takes a decided call from. It is made here, by the gate, from
//! a call and the [`Receipt`] of the record that lets it go; it cannot be copied, and sending consumes it. With it goes
//! the [`Leave`] that the link asks right before the first byte: a permit that has waited may have lost its worth.
//! [`Ruling`] is what an operator said about one hold; the hold queue consumes it.

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::Timestamp;

use crate::audit::Receipt;
use crate::call::{CallId, Decided, Digest, Leave, ToolCall};
use crate::json::JsonText;
use crate::signing::Verified;

use super::continuation::Origin;
use super::history::Reservation;

/// Names of keys that one record lists.
const MOST_REDACTED: usize = 64;

/// Proof that this call may be sent, once, as it is.
#[derive(Debug)]
#[must_use = "a permit that is dropped leaves a record of a call that was never sent"]
pub struct PermittedCall {
    call: ToolCall,
    receipt: Receipt,
    /// The hold whose approval it was released by.
    hold: Option<CallId>,
    origin: Origin,
    /// Its place in what its principal was let through.
    counted: Option<Box<Reservation>>,
    leave: Leave,
}

/// What lets a call go: the record, and what is asked in the moment in which it leaves.
#[derive(Debug)]
pub(super) struct Released {
    pub receipt: Receipt,
    pub leave: Leave,
    pub counted: Option<Box<Reservation>>,
}

impl PermittedCall {
    /// The receipt is of the record after which the call may leave: `decided` for an allow, `sending` for a hold, whether
    /// its own approval lets it go or one use of a grant.
    /// `origin` is the call itself, or the one that it goes on from.
    pub(super) fn new(call: ToolCall, released: Released, hold: Option<CallId>, origin: Origin) -> PermittedCall {
        let Released { receipt, leave, counted } = released;
        PermittedCall { call, receipt, hold, origin, counted, leave }
    }

    pub fn call(&self) -> &ToolCall {
        &self.call
    }

    #[cfg(test)]
    pub(super) fn hold(&self) -> Option<&CallId> {
        self.hold.as_ref()
    }

    /// Ends the permit: the caller hands the message to the upstream's link now and at no other time, and the link asks
    /// [`SentCall::leave`] before the first byte.
    pub fn release(self) -> SentCall {
        let PermittedCall { call, receipt, hold, origin, counted, leave } = self;
        // The receipt has done its work: it is proof for this moment and for no other.
        drop(receipt);
        SentCall { hold, counted, ..SentCall::of(&call, origin, leave) }
    }
}

/// A call that its link has. Its answer is recorded by [`super::Gate::completed`], and that it has not left by
/// [`super::Gate::stayed`]; each consumes it.
#[derive(Debug)]
pub struct SentCall {
    pub(super) id: CallId,
    pub(super) hold: Option<CallId>,
    pub(super) since: Instant,
    pub(super) params: JsonText,
    /// To be given back where it turns out that no byte of it has left.
    pub(super) counted: Option<Box<Reservation>>,
    /// Whose keys were taken out of what its server has said about it.
    pub(super) redacted: BTreeSet<String>,
    origin: Origin,
    method: Decided,
    leave: Leave,
}

impl SentCall {
    pub(super) fn of(call: &ToolCall, origin: Origin, leave: Leave) -> SentCall {
        SentCall {
            id: call.id().clone(),
            hold: None,
            since: Instant::now(),
            params: call.params().clone(),
            counted: None,
            redacted: BTreeSet::new(),
            origin,
            method: call.method(),
            leave,
        }
    }

    pub fn id(&self) -> &CallId {
        &self.id
    }

    /// Its own; that of its origin may be another.
    pub fn method(&self) -> Decided {
        self.method
    }

    /// Says whether it has left.
    pub fn leave(&self) -> &Leave {
        &self.leave
    }

    /// Keys were taken out of something that its server has said about it: for the record.
    pub fn without(&mut self, names: impl IntoIterator<Item = String>) {
        let room = MOST_REDACTED.saturating_sub(self.redacted.len());
        self.redacted.extend(names.into_iter().take(room));
    }

    /// What follows from this call is bound to this.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// What an operator said about one hold. Made only by the operator socket.
#[derive(Debug)]
pub struct Ruling {
    pub(super) hold: CallId,
    pub(super) digest: Digest,
    /// Who it is by what is signed, else by the socket.
    pub(super) operator: String,
    /// Whose account the socket's other end is.
    pub(super) account: String,
    /// Who it is for people to read: the signer once the signature is proved, else the account beside the name that the other end gave itself. No
    /// proof of anything: nothing is decided by it.
    pub(super) shown: String,
    pub(super) says: Says,
    /// The text of the grant that it makes beside its approval.
    pub(super) grant: Option<String>,
    /// How many were given at once, where this is one of several.
    pub(super) batch: Option<u16>,
    /// An OpenSSH signature of the operator's over the ruling's text.
    pub(super) signature: Option<String>,
    /// What the gate found that signature worth.
    pub(super) proof: Option<Verified>,
    /// How often an approval of the hold had been taken back, and when the hold ends, in the text that is signed.
    pub(super) taken_back: u32,
    pub(super) expires: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Says {
    /// The reason is optional and for the record.
    Approve { reason: Option<String> },
    /// The reason is for the agent to read.
    Reject { reason: String },
}

impl Ruling {
    pub(crate) fn new(hold: CallId, digest: Digest, operator: String, says: Says) -> Ruling {
        Ruling {
            hold,
            digest,
            account: operator.clone(),
            shown: operator.clone(),
            operator,
            says,
            grant: None,
            batch: None,
            signature: None,
            proof: None,
            taken_back: 0,
            expires: None,
        }
    }

    /// The same ruling, which makes this grant too.
    pub(super) fn granting(self, grant: String) -> Ruling {
        Ruling { grant: Some(grant), ..self }
    }

    /// The same ruling by somebody whom records and screens call so.
    pub(crate) fn shown_as(self, shown: String) -> Ruling {
        Ruling { shown, ..self }
    }

    /// The same ruling by the operator who is said to have signed it. Nobody is called so before that is proved.
    pub(crate) fn signed(self, operator: String, signature: String) -> Ruling {
        Ruling { operator, signature: Some(signature), ..self }
    }
}
