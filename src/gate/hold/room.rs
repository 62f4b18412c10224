//! How much may wait and how much is remembered, in calls and in bytes.
//!
//! Invariant: what one hold shows fits into one line of the operator socket, and what all of them show together is
//! bounded, whatever callers send: nobody can fill the queue for the other principals, or make it too large to be shown.

use std::collections::VecDeque;

use serde::Serialize;

use super::waiter::Entry;
use super::{Hold, HoldQueue, Inner};
use crate::call::{CallContext, CallId, Decision, MAX_HELD_BYTES, Outcome, ToolCall};
use crate::gate::Presence;
use crate::gate::permit::Ruling;

/// What an operator is shown of one call, in bytes: its parameters, what they mean and what policy says. Whatever else a
/// hold shows fits beside it into a line of the operator socket.
pub const MAX_SHOWN: usize = 10 << 20;
const _: () = assert!(MAX_HELD_BYTES < MAX_SHOWN && MAX_SHOWN < MAX_OF_PRINCIPAL);
/// Calls of one principal that wait, in bytes. A call of any length that can be shown fits.
const MAX_OF_PRINCIPAL: usize = 24 << 20;
/// All calls that wait, in bytes.
const MAX_OPEN: usize = 96 << 20;
/// Holds that ended and that consoles can still look at, and their bytes.
const MAX_PAST: usize = 100;
const MAX_PAST_BYTES: usize = 8 << 20;
/// Holds of one batch, in bytes: one answer shows them all.
const MAX_BATCH: usize = 8 << 20;

/// What an operator is shown of a call, in bytes.
pub(super) fn shown(
    call: &ToolCall,
    context: &CallContext,
    decision: &Decision,
    confirm: &[(String, String)],
) -> usize {
    [
        call.message().as_str().len(),
        written(&context.operation),
        written(&context.confirmations),
        written(&context.client),
        written(decision),
        written(&confirm),
    ]
    .into_iter()
    .fold(0, usize::saturating_add)
}

/// As JSON.
fn written(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |text| text.len())
}

impl Entry {
    /// Calls that it stands for, and their bytes.
    fn weighs(&self) -> (usize, usize) {
        let waiting: usize = self.waiters.iter().map(|waiter| waiter.bytes).sum();
        (self.waiters.len().max(1), waiting.max(self.hold.bytes))
    }
}

impl HoldQueue {
    /// Whether one more call of so many bytes may wait.
    ///
    /// # Errors
    /// The outcome and reason of the refusal.
    pub(super) fn has_room(&self, inner: &Inner, context: &CallContext, bytes: usize) -> Result<(), (Outcome, String)> {
        let principal = &context.principal.name;
        let add = |(calls, bytes): (usize, usize), (more, long): (usize, usize)| (calls + more, bytes + long);
        let of = |entries: &mut dyn Iterator<Item = &Entry>| entries.map(Entry::weighs).fold((0, 0), add);
        let (calls, long) = of(&mut inner.open.values());
        let mine = &mut inner.open.values().filter(|entry| entry.hold.context.principal.name == *principal);
        let (my_calls, my_long) = of(mine);
        let why = if calls >= self.settings.max_pending {
            format!("{calls} calls are waiting for an operator (holds.max_pending)")
        } else if my_calls >= self.settings.max_per_principal {
            format!(
                "{} calls of {principal} are waiting for an operator (holds.max_per_principal)",
                self.settings.max_per_principal
            )
        } else if my_long.saturating_add(bytes) > MAX_OF_PRINCIPAL {
            format!(
                "the calls of {principal} that are waiting for an operator have {my_long} bytes; with this one they \
                 would have more than {MAX_OF_PRINCIPAL}"
            )
        } else if long.saturating_add(bytes) > MAX_OPEN {
            format!(
                "the calls that are waiting for an operator have {long} bytes; with this one they would have more than \
                 {MAX_OPEN}"
            )
        } else {
            return Ok(());
        };
        Err((Outcome::Overloaded, why))
    }

    /// Whether the holds of these rulings are too much for one answer.
    pub(in crate::gate) fn are_too_long(&self, rulings: &[Ruling]) -> bool {
        let bytes = rulings.iter().filter_map(|ruling| self.find(&ruling.hold)).map(|hold| hold.bytes);
        bytes.fold(0, usize::saturating_add) > MAX_BATCH
    }
}

/// Holds that ended lately, the newest first.
#[derive(Default)]
pub(super) struct Past {
    holds: VecDeque<Gone>,
    bytes: usize,
}

/// A hold that ended. `presence`: of the call that was shown last, where nothing was released by it and nobody said no;
/// only such a hold can ever wait again.
pub(super) struct Gone {
    pub hold: Hold,
    pub presence: Option<Presence>,
}

impl Past {
    /// Remembers one more. What is too much goes: the oldest, and those whose call is on its way last. The newest stays.
    pub fn push(&mut self, hold: Hold, presence: Option<Presence>) {
        self.bytes = self.bytes.saturating_add(hold.bytes);
        self.holds.push_front(Gone { hold, presence });
        while self.holds.len() > 1 && (self.holds.len() > MAX_PAST || self.bytes > MAX_PAST_BYTES) {
            let oldest = self.holds.len() - 1;
            let over = self.holds.iter().rposition(|gone| !gone.hold.state.is_on_its_way()).filter(|at| *at > 0);
            let Some(gone) = self.holds.remove(over.unwrap_or(oldest)) else { return };
            self.bytes = self.bytes.saturating_sub(gone.hold.bytes);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter().map(|gone| &gone.hold)
    }

    pub fn find(&self, id: &CallId) -> Option<&Hold> {
        self.iter().find(|hold| hold.id() == id)
    }

    pub fn find_mut(&mut self, id: &CallId) -> Option<&mut Hold> {
        self.holds.iter_mut().map(|gone| &mut gone.hold).find(|hold| hold.id() == id)
    }

    /// One of them, with what is kept beside it.
    pub fn gone(&self, id: &CallId) -> Option<&Gone> {
        self.holds.iter().find(|gone| gone.hold.id() == id)
    }

    /// It is over no longer.
    pub fn take(&mut self, id: &CallId) -> Option<Gone> {
        let at = self.holds.iter().position(|gone| gone.hold.id() == id)?;
        let gone = self.holds.remove(at)?;
        self.bytes = self.bytes.saturating_sub(gone.hold.bytes);
        Some(gone)
    }
}
