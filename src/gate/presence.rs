//! Who waits for a call, where its session works, and how its tool is defined: what can change while it is decided, and is
//! looked at last.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Gate;
use super::pin::DefinitionNow;
use super::place::Place;
use crate::call::Outcome;

const AWAY: &str = "the client went away";

/// Whether anybody still waits for the answer of a call. The session ends it; the gate looks at it last.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    pub(super) gone: CancellationToken,
    why: Arc<OnceLock<(Outcome, &'static str)>>,
    pub(super) definition: DefinitionNow,
    pub(super) place: Place,
    /// When the client is thought to give up, by the clock of the holds.
    pub(super) patience: Option<Instant>,
}

impl Presence {
    /// The same, of a call in a session that works there.
    pub fn at(self, place: Place) -> Presence {
        Presence { place, ..self }
    }

    /// The same, of a call whose client is thought to give up when this timer ends. While the machine sleeps the timer
    /// stands still, and the client may not.
    pub fn until(self, gate: &Gate, patience: Option<Instant>) -> Presence {
        Presence { patience: patience.map(|timer| gate.holds.clock.of(timer)), ..self }
    }

    /// Of a call of a tool, whose definition and pin the gate compares once more before an approved call leaves.
    pub fn of_tool(definition: DefinitionNow) -> Presence {
        Presence { definition, ..Presence::default() }
    }

    /// Nobody waits any more. The first reason stays.
    pub fn leave(&self, outcome: Outcome, why: &'static str) {
        let _ = self.why.set((outcome, why));
        self.gone.cancel();
    }

    /// Waits until nobody does any more: why.
    pub async fn ended(&self) -> (Outcome, &'static str) {
        self.gone.cancelled().await;
        self.left().unwrap_or((Outcome::Withdrawn, AWAY))
    }

    pub(super) fn left(&self) -> Option<(Outcome, &'static str)> {
        self.gone.is_cancelled().then(|| self.why.get().copied().unwrap_or((Outcome::Withdrawn, AWAY)))
    }
}
