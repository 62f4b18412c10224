//! Approving several holds at once, which is off unless the configuration turns it on: for calls of tier low that are
//! alike in everything but their arguments.
//!
//! Invariant: a batch is looked at as a whole before anything of it counts; then each hold gets a ruling of its own, with
//! its own digest, signature and record.

use std::collections::HashSet;

use super::{Gate, Hold, NoEffect, Ruling, State};
use crate::call::{CallId, Tier};

/// What one ruling of a batch came to.
pub type Ruled = (CallId, Result<Hold, NoEffect>);

impl Gate {
    /// Rules on the holds of one group, one after the other.
    ///
    /// # Errors
    /// Why nothing of the batch counts.
    pub async fn rule_batch(&self, rulings: Vec<Ruling>) -> Result<Vec<Ruled>, NoEffect> {
        if let Err(why) = self.is_one_group(&rulings) {
            for ruling in rulings {
                self.no_effect(&ruling.hold, &ruling.shown, &why).await;
            }
            return Err(why);
        }
        let together = u16::try_from(rulings.len()).unwrap_or(u16::MAX);
        let mut ruled = Vec::new();
        for ruling in rulings {
            let id = ruling.hold.clone();
            ruled.push((id, self.rule(Ruling { batch: Some(together), ..ruling }).await));
        }
        Ok(ruled)
    }

    fn is_one_group(&self, rulings: &[Ruling]) -> Result<(), NoEffect> {
        if !self.holds.settings().batches {
            return Err(NoEffect::Batch("the configuration does not let holds be approved at once (holds.batches)"));
        }
        let ids: HashSet<&CallId> = rulings.iter().map(|ruling| &ruling.hold).collect();
        if ids.len() != rulings.len() {
            return Err(NoEffect::Batch("a hold stands in it twice"));
        }
        if self.holds.are_too_long(rulings) {
            return Err(NoEffect::Batch("its holds are too long to be answered at once: rule on fewer of them"));
        }
        let mut first: Option<Hold> = None;
        for ruling in rulings {
            let hold = self.holds.find(&ruling.hold).ok_or(NoEffect::NotFound)?;
            if hold.state != State::Pending {
                return Err(NoEffect::Batch("a hold of it is not pending any more"));
            }
            if hold.digest != ruling.digest {
                return Err(NoEffect::WrongDigest);
            }
            if hold.decision.tier != Tier::Low {
                return Err(NoEffect::Batch("a hold of it is not of tier low"));
            }
            if hold.signature_required && ruling.signature.is_none() {
                return Err(NoEffect::SignatureRequired);
            }
            let first = first.get_or_insert_with(|| hold.clone());
            if !is_alike(first, &hold) {
                let why = "its holds are not alike in server, environment, tool, operation, rule and principal";
                return Err(NoEffect::Batch(why));
            }
        }
        Ok(())
    }
}

fn is_alike(one: &Hold, other: &Hold) -> bool {
    let rules = |hold: &Hold| hold.decision.rules.iter().map(|hit| hit.rule.clone()).collect::<Vec<_>>();
    let (a, b) = (&one.context, &other.context);
    a.server == b.server
        && a.environment == b.environment
        && a.tool.name == b.tool.name
        && a.tool.definition == b.tool.definition
        && a.operation.name == b.operation.name
        && a.operation.class == b.operation.class
        && a.principal.name == b.principal.name
        && one.call.method() == other.call.method()
        && rules(one) == rules(other)
}
