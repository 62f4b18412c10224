//! Making a grant: drafted for an operator to read, made with the approval of its hold, taken back.
//!
//! Invariant: what is made is the text that was read. It is in force once the ruling and the grant itself are on
//! record, and no longer than until it is revoked.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::predicate::Predicate;
use super::{Bounds, Grant, MAX_SECONDS, MAX_USES, may_pass};
use crate::audit::{Entry, Event};
use crate::call::{CallId, Class, Decided, Pin, Tier};
use crate::gate::{Gate, Hold, NoEffect, Ruling, State};

/// Why no grant can be made from a hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotGrantable {
    #[error("the hold is closed")]
    Closed,
    #[error("an operator has frozen every call that is not a read: no grant counts until that is over")]
    Frozen,
    #[error("no grant is given for a call of tier high")]
    High,
    #[error("the rules behind this hold do not say `grantable: true`")]
    Policy,
    #[error("it needs the approval of {0} operators, each time")]
    Approvals(u8),
    #[error("a grant is for calls of tools and requests to an API, and this is {0}")]
    Method(&'static str),
    #[error("nothing is known about this operation, so no grant can say what it does")]
    Unknown,
    #[error("the call follows from another one")]
    Follows,
    #[error("the definition of the tool is not known: its tools have to be listed first")]
    Definition,
    #[error("the definition of the tool is not the one that is pinned")]
    Pin,
    #[error("a grant is for 1 to {MAX_USES} more calls")]
    Uses,
    #[error("a grant lasts 1 to {MAX_SECONDS} seconds")]
    Seconds,
    #[error("a grant has at most {0} places that may differ")]
    Pointers(usize),
    #[error("{pointer}: {why}")]
    Pointer { pointer: String, why: &'static str },
    #[error("the call is too long for a grant: nobody would read it")]
    Long,
    #[error("there are too many grants: revoke some, or wait until they end")]
    Full,
    #[error("the list of grants failed")]
    Failed,
}

/// Whether a grant can be made from a hold at all.
fn is_grantable(hold: &Hold) -> Result<(), NotGrantable> {
    let (context, decision) = (&hold.context, &hold.decision);
    match &hold.state {
        State::Pending | State::Deciding => {}
        State::Leaving { .. }
        | State::Ticket { .. }
        | State::Approved { .. }
        | State::Rejected { .. }
        | State::Stale { .. }
        | State::Closed { .. }
        | State::Done { .. } => return Err(NotGrantable::Closed),
    }
    if decision.tier == Tier::High {
        return Err(NotGrantable::High);
    }
    if decision.approvals > 1 {
        return Err(NotGrantable::Approvals(decision.approvals));
    }
    let method = hold.call.method();
    if !matches!(method, Decided::ToolsCall | Decided::ApiRequest) {
        return Err(NotGrantable::Method(method.as_str()));
    }
    if context.operation.class == Class::Unknown {
        return Err(NotGrantable::Unknown);
    }
    // A request has no tool, and the call that runs its code says nothing about it.
    if method == Decided::ToolsCall {
        if context.continues.is_some() {
            return Err(NotGrantable::Follows);
        }
        if context.tool.definition.is_none() {
            return Err(NotGrantable::Definition);
        }
        match context.tool.pin {
            Pin::Match | Pin::Unpinned => {}
            Pin::Changed | Pin::Unknown => return Err(NotGrantable::Pin),
        }
    }
    if may_pass(decision) { Ok(()) } else { Err(NotGrantable::Policy) }
}

fn draft(hold: &Hold, bounds: &Bounds) -> Result<(Predicate, String), NotGrantable> {
    is_grantable(hold)?;
    if !(1..=MAX_USES).contains(&bounds.uses) {
        return Err(NotGrantable::Uses);
    }
    if !(1..=MAX_SECONDS).contains(&bounds.seconds) {
        return Err(NotGrantable::Seconds);
    }
    let predicate = Predicate::of(&hold.call, &hold.context, bounds)?;
    let text = predicate.text(&hold.call, &hold.context, &hold.decision, bounds)?;
    Ok((predicate, format!("from hold {}\n{text}", hold.id)))
}

/// When the call of an approved hold leaves at the earliest: until then the approval can be taken back.
fn leaves(approved: &Hold) -> Instant {
    let State::Leaving { leaves_at, .. } = &approved.state else { return Instant::now() };
    let left = leaves_at.duration_since(Timestamp::now());
    Instant::now() + Duration::try_from(left).unwrap_or_default()
}

impl Gate {
    /// Whether a grant may be made from this hold.
    pub fn is_grantable(&self, hold: &Hold) -> bool {
        self.frozen().is_none() && is_grantable(hold).is_ok()
    }

    fn draft(&self, hold: &Hold, bounds: &Bounds) -> Result<(Predicate, String), NotGrantable> {
        if self.frozen().is_some() { Err(NotGrantable::Frozen) } else { draft(hold, bounds) }
    }

    /// What a grant from this hold would be, one condition a line.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn draft_grant(&self, id: &CallId, bounds: &Bounds) -> Result<String, NoEffect> {
        let hold = self.holds.find(id).ok_or(NoEffect::NotFound)?;
        Ok(self.draft(&hold, bounds)?.1)
    }

    /// Approves a hold with this ruling, as [`Gate::rule`] does, and makes the grant that was drafted as `text`.
    ///
    /// # Errors
    /// [`NoEffect`]: there is no grant. The hold is as it was, but where the message says that it is approved.
    pub async fn grant(&self, ruling: Ruling, bounds: &Bounds, text: String) -> Result<Hold, NoEffect> {
        let mut ruling = ruling.granting(text.clone());
        let proved = self.prove(&mut ruling);
        let (hold, operator) = (ruling.hold.clone(), ruling.shown.clone());
        let reserved = proved.and_then(|proved| Ok((proved, self.reserve_grant(&hold, &operator, bounds, &text)?)));
        let (proved, reserved) = match reserved {
            Ok(both) => both,
            Err(why) => {
                self.no_effect(&hold, &operator, &why).await;
                return Err(why);
            }
        };
        let approved = match self.rule_proved(ruling, Ok(proved)).await {
            Ok(approved) => approved,
            Err(why) => {
                self.grants.remove(&reserved.id);
                return Err(why);
            }
        };
        let digest = approved.digest;
        let Grant { id, text, until, uses, .. } = reserved;
        let granted = Event::Granted { grant: id.clone(), operator, digest, text, until: until.to_string(), uses };
        if let Err(error) = self.audit.append(Entry::new(Some(&hold), true, granted)).await {
            tracing::error!(%error, "no record, so no grant");
            self.grants.remove(&id);
            let why = "the call is approved; the grant could not be recorded, so there is none".to_owned();
            return Err(NoEffect::Unavailable(why));
        }
        if !self.grants.enforce(&id, leaves(&approved)) {
            return Err(NoEffect::Closed("the approval was taken back, and the grant with it".to_owned()));
        }
        tracing::info!(call = %hold, grant = %id, "granted");
        Ok(approved)
    }

    fn reserve_grant(&self, hold: &CallId, operator: &str, bounds: &Bounds, text: &str) -> Result<Grant, NoEffect> {
        let hold = self.holds.find(hold).ok_or(NoEffect::NotFound)?;
        let (predicate, drafted) = self.draft(&hold, bounds)?;
        if drafted != text {
            return Err(NoEffect::OtherGrant);
        }
        let id = CallId::random().map_err(|error| NoEffect::Unavailable(error.to_string()))?;
        let at = Timestamp::now();
        let until = at.checked_add(jiff::SignedDuration::from_secs(bounds.seconds.into())).unwrap_or(at);
        let grant = Grant {
            id,
            hold: hold.id.clone(),
            context: Arc::clone(&hold.context),
            text: drafted,
            by: operator.to_owned(),
            at,
            until,
            uses: bounds.uses,
            used: 0,
        };
        self.grants.reserve(grant.clone(), predicate, Arc::clone(&hold.decision))?;
        Ok(grant)
    }

    /// Records the end of grants whose approval has been taken back.
    pub(in crate::gate) async fn taken_back_with(&self, grants: Vec<Grant>, operator: &str) {
        for grant in grants {
            self.record_end(&grant, operator, Some("the approval was taken back".to_owned())).await;
        }
    }

    /// The grants in force.
    pub fn grants(&self) -> Vec<Grant> {
        self.grants.all()
    }

    /// Ends a grant: calls that have not left do not leave by it any more.
    ///
    /// # Errors
    /// Where there is no such grant.
    pub async fn revoke_grant(&self, id: &CallId, operator: &str, reason: Option<String>) -> Result<(), NoEffect> {
        // Saying no needs no record first.
        let grant = self.grants.remove(id).ok_or(NoEffect::NotFound)?;
        self.record_end(&grant, operator, reason).await;
        Ok(())
    }

    async fn record_end(&self, grant: &Grant, operator: &str, reason: Option<String>) {
        let Grant { id, hold, used, .. } = grant;
        tracing::info!(grant = %id, operator, "revoked");
        let revoked = Event::GrantRevoked { grant: id.clone(), operator: operator.to_owned(), reason, used: *used };
        if let Err(error) = self.audit.append(Entry::new(Some(hold), true, revoked)).await {
            tracing::error!(%error, "the end of a grant could not be recorded");
        }
    }
}
