//! Ruling on a hold: who says so is proved, the hold is claimed, the ruling recorded, the hold settled.
//!
//! Invariant: a signature counts for the text of the hold as it is here, and a ruling counts once it is on record.

use std::sync::Arc;

use super::hold::Claimed;
use super::{Gate, Hold, NoEffect, Ruling, Says};
use crate::audit::{Entry, Event, Ruling as RulingKind, Signed};
use crate::call::CallId;
use crate::signing::{self, RulingText, Signers};

/// Reads the list of the operators who may sign, as it is now: whoever is taken off it approves nothing more.
#[derive(Clone)]
pub struct Operators(Arc<dyn Fn() -> Result<Signers, String> + Send + Sync>);

impl Operators {
    pub fn new(read: impl Fn() -> Result<Signers, String> + Send + Sync + 'static) -> Operators {
        Operators(Arc::new(read))
    }
}

impl Gate {
    /// Rules on a hold: claim, record, settle.
    ///
    /// # Errors
    /// [`NoEffect`]: the hold is as it was, or closed for another reason.
    pub async fn rule(&self, ruling: Ruling) -> Result<Hold, NoEffect> {
        let (id, operator) = (ruling.hold.clone(), ruling.operator.clone());
        let outcome = self.try_rule(ruling).await;
        match &outcome {
            Ok(_) => tracing::info!(call = %id, operator, "ruled"),
            Err(why) => self.had_no_effect(&id, operator, why).await,
        }
        outcome
    }

    /// Records a ruling that did not count.
    pub(super) async fn had_no_effect(&self, id: &CallId, operator: String, why: &NoEffect) {
        tracing::warn!(call = %id, operator, %why, "a ruling had no effect");
        let event = Event::RulingRefused { operator, id: id.clone(), why: why.to_string() };
        if let Err(error) = self.audit.note(Entry::new(Some(id), false, event)).await {
            tracing::error!(%error, "a refused ruling could not be recorded");
        }
    }

    async fn try_rule(&self, mut ruling: Ruling) -> Result<Hold, NoEffect> {
        let signed = self.prove(&mut ruling)?;
        let Claimed::Ruled { approvals, completes } = self.holds.claim(&ruling)?;
        let (kind, reason) = match &ruling.says {
            Says::Approve { reason } => (RulingKind::Approve, reason.clone()),
            Says::Reject { reason } => (RulingKind::Reject, Some(reason.clone())),
        };
        let event = Event::Ruled {
            ruling: kind,
            operator: ruling.operator.clone(),
            digest: ruling.digest,
            reason,
            effective: completes,
            approvals,
            batch: ruling.batch,
            signed,
        };
        let recorded = self.audit.append(Entry::new(Some(&ruling.hold), true, event)).await;
        if let Err(error) = &recorded {
            tracing::error!(call = %ruling.hold, %error, "no record, so no ruling");
        }
        self.holds.settle(ruling, recorded.is_ok())
    }

    /// Checks the signature of a ruling that has one, over the text of the hold as it is here.
    fn prove(&self, ruling: &mut Ruling) -> Result<Option<Signed>, NoEffect> {
        let Some(signature) = ruling.signature.as_deref() else { return Ok(None) };
        let bad = |why: String| NoEffect::BadSignature(why);
        let Some(operators) = &self.operators else {
            return Err(bad("there is no list of operators (operators.allowed_signers)".to_owned()));
        };
        let hold = self.holds.find(&ruling.hold).ok_or(NoEffect::NotFound)?;
        let signers = (operators.0)().map_err(bad)?;
        let (says, reason) = match &ruling.says {
            Says::Approve { reason } => ("approve", reason.as_deref()),
            Says::Reject { reason } => ("reject", Some(reason.as_str())),
        };
        let text = RulingText {
            instance: &self.audit.instance(),
            hold: hold.id(),
            digest: &hold.digest,
            definition: hold.context.tool.definition.as_ref(),
            policy_version: &hold.decision.policy_version,
            server: &hold.context.server.name,
            environment: &hold.context.environment.name,
            expires_at: &hold.expires.to_string(),
            ruling: says,
            operator: &ruling.operator,
            reason,
            taken_back: 0,
            grant: ruling.grant.as_deref(),
        };
        let text = text.to_string();
        let proof = signing::verify(&text, &ruling.operator, signature, &signers, jiff::Timestamp::now())
            .map_err(|why| bad(why.to_string()))?;
        let (key, signer) = (proof.key.clone(), proof.signer.clone());
        let signature = signature.trim().to_owned() + "\n";
        ruling.proof = Some(proof);
        Ok(Some(Signed { key, signer, text, signature }))
    }
}
