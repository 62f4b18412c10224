//! Batches on the operator socket: several approvals in one command. Whether they may be is decided by the gate.

use super::{Connection, Ended, failure, grants};
use crate::control::wire::{BatchItem, BatchResult, Failure, MAX_BATCH, Notice, SignedBy};
use crate::gate::Says;

impl Connection {
    pub(super) async fn rule_batch(
        &mut self,
        seq: u64,
        holds: Vec<BatchItem>,
        reason: Option<String>,
    ) -> Result<(), Ended> {
        if !(1..=MAX_BATCH).contains(&holds.len()) {
            return self.failed(seq, Failure::Malformed, format!("a batch has 1 to {MAX_BATCH} holds")).await;
        }
        let Some(reason) = grants::note(reason) else {
            return self.failed(seq, Failure::Malformed, "a reason is at most 4 KiB".to_owned()).await;
        };
        let ruling = |BatchItem { id, digest, signed }: BatchItem| {
            let says = Says::Approve { reason: reason.clone() };
            let ruling = self.ruling(id, digest, says);
            match signed {
                Some(SignedBy { operator, signature }) => ruling.signed(operator, signature),
                None => ruling,
            }
        };
        let rulings = holds.into_iter().map(ruling).collect();
        let ruled = match self.control.gate.rule_batch(rulings).await {
            Ok(ruled) => ruled,
            Err(why) => return self.failed(seq, failure(&why), format!("nothing was approved: {why}")).await,
        };
        let result = |(id, ruled)| match ruled {
            Ok(hold) => BatchResult::Ruled { hold: Box::new(self.control.view(&hold)) },
            Err(why) => BatchResult::Failed { id, error: failure(&why), message: why.to_string() },
        };
        let results = ruled.into_iter().map(result).collect();
        self.send(&Notice::RuledBatch { seq, results }).await
    }
}
