//! Ruling on a hold: who says so is proved, the hold leaves `pending`, the ruling is recorded, the hold settled.
//!
//! Invariant: a signature counts for the text of the hold as it is here, and a ruling counts once it is on record.

use std::sync::Arc;

use super::hold::{Begun, Stop};
use super::{Gate, Hold, LeaseAct, NoEffect, Ruling, Says};
use crate::audit::{Entry, Event, Ruling as RulingKind, Signed};
use crate::call::{CallId, Digest};
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
    /// Rules on a hold: begin, record, settle.
    ///
    /// # Errors
    /// [`NoEffect`]: the hold is as it was, or closed for another reason.
    pub async fn rule(&self, mut ruling: Ruling) -> Result<Hold, NoEffect> {
        let proved = self.prove(&mut ruling);
        self.rule_proved(ruling, proved).await
    }

    /// The same with a ruling that was looked at by [`Gate::prove`], and what that found.
    pub(super) async fn rule_proved(
        &self,
        ruling: Ruling,
        proved: Result<Option<Signed>, NoEffect>,
    ) -> Result<Hold, NoEffect> {
        let (id, operator) = (ruling.hold.clone(), ruling.shown.clone());
        let outcome = match proved {
            Ok(signed) => self.try_rule(ruling, signed).await,
            Err(why) => Err(why),
        };
        match &outcome {
            Ok(_) => tracing::info!(call = %id, operator, "ruled"),
            Err(why) => self.no_effect(&id, &operator, why).await,
        }
        outcome
    }

    /// Takes an approval back that has not left: recorded, and then the hold waits for a ruling again.
    ///
    /// # Errors
    /// [`NoEffect`]: it has left, or there is no approval; or nothing could be recorded, and the call is over.
    pub async fn take_back(&self, id: &CallId, operator: &str) -> Result<Hold, NoEffect> {
        let outcome = match self.holds.take_back(id) {
            Ok(approved_by) => {
                // From here on nothing leaves by a grant that was made with this approval, recorded or not.
                let grants = self.grants.remove_of(id);
                let event = Event::TakenBack { operator: operator.to_owned(), approved_by };
                let recorded = self.audit.append(Entry::new(Some(id), true, event)).await;
                if let Err(error) = &recorded {
                    tracing::error!(call = %id, %error, "a take-back could not be recorded: the call is not sent");
                }
                let taken_back = self.holds.taken_back(id, recorded.is_ok());
                self.taken_back_with(grants, operator).await;
                taken_back
            }
            Err(why) => Err(why),
        };
        match &outcome {
            Ok(_) => {
                tracing::info!(call = %id, operator, "an approval was taken back");
            }
            Err(why) => self.no_effect(id, operator, why).await,
        }
        outcome
    }

    /// Takes a lease on a hold, renews it or gives it back: a word to other operators, who may still rule.
    ///
    /// # Errors
    /// [`NoEffect`]: it is over, or somebody else has the lease.
    pub async fn lease(&self, id: &CallId, operator: &str, act: LeaseAct) -> Result<Hold, NoEffect> {
        let (hold, from) = self.holds.lease(id, operator, act)?;
        let until = hold.lease.as_ref().map(|lease| lease.until.to_string());
        let event = Event::Claimed { operator: operator.to_owned(), until, from };
        if let Err(error) = self.audit.note(Entry::new(Some(id), false, event)).await {
            tracing::error!(call = %id, %error, "a claim could not be recorded");
        }
        Ok(hold)
    }

    /// Lets a hold wait again that ended without a ruling, where it is still what would be judged. Nothing is approved by
    /// it: an approval takes all that it always takes, and counts for one identical call.
    ///
    /// # Errors
    /// [`NoEffect`]: it ended in another way, it is stale, or nothing could be recorded; it is as it was.
    pub async fn reopen(self: &Arc<Self>, id: &CallId, digest: Digest, operator: &str) -> Result<Hold, NoEffect> {
        let outcome = self.try_reopen(id, digest, operator).await;
        match &outcome {
            Ok(_) => tracing::info!(call = %id, operator, "a hold waits again"),
            Err(why) => self.no_effect(id, operator, why).await,
        }
        outcome
    }

    async fn try_reopen(self: &Arc<Self>, id: &CallId, digest: Digest, operator: &str) -> Result<Hold, NoEffect> {
        let (hold, presence) = self.holds.may_reopen(id, digest)?;
        if let Some(reason) = self.is_stale(&hold, &presence).await {
            return Err(NoEffect::NotSo(reason));
        }
        let (ended, hold) = self.holds.reopen(id, digest)?;
        let event = Event::Reopened { operator: operator.to_owned(), digest, expires_at: hold.expires.to_string() };
        let recorded = self.audit.append(Entry::new(Some(id), true, event)).await;
        if let Err(error) = &recorded {
            tracing::error!(call = %id, %error, "no record, so the hold stays closed");
        }
        let hold = self.holds.reopened(ended, recorded.is_ok())?;
        // What was loaded in between has not looked at it.
        if let Some(reason) = self.is_stale(&hold, &presence).await {
            self.holds.stop(id, &Stop::Stale { reason: reason.clone() });
            return Err(NoEffect::Closed(reason));
        }
        Ok(hold)
    }

    pub(super) async fn no_effect(&self, id: &CallId, operator: &str, why: &NoEffect) {
        tracing::warn!(call = %id, operator, %why, "a ruling had no effect");
        let event = Event::RulingRefused { operator: operator.to_owned(), id: id.clone(), why: why.to_string() };
        if let Err(error) = self.audit.note(Entry::new(Some(id), false, event)).await {
            tracing::error!(%error, "a refused ruling could not be recorded");
        }
    }

    async fn try_rule(&self, ruling: Ruling, signed: Option<Signed>) -> Result<Hold, NoEffect> {
        let Begun { approvals, completes } = self.holds.begin(&ruling)?;
        let (kind, reason) = match &ruling.says {
            Says::Approve { reason } => (RulingKind::Approve, reason.clone()),
            Says::Reject { reason } => (RulingKind::Reject, Some(reason.clone())),
        };
        let event = Event::Ruled {
            ruling: kind,
            operator: ruling.shown.clone(),
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

    /// Checks the signature of a ruling that has one, over the text of the hold as it is here. From then on records and
    /// screens call it the signer's; before that anybody could have written the name.
    pub(super) fn prove(&self, ruling: &mut Ruling) -> Result<Option<Signed>, NoEffect> {
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
            taken_back: hold.taken_back,
            grant: ruling.grant.as_deref(),
        };
        let text = text.to_string();
        let proof = signing::verify(&text, &ruling.operator, signature, &signers, jiff::Timestamp::now())
            .map_err(|why| bad(why.to_string()))?;
        let (key, signer) = (proof.key.clone(), proof.signer.clone());
        let signature = signature.trim().to_owned() + "\n";
        (ruling.taken_back, ruling.expires) = (hold.taken_back, Some(hold.expires));
        ruling.shown.clone_from(&ruling.operator);
        ruling.proof = Some(proof);
        Ok(Some(Signed { key, signer, text, signature }))
    }
}
