//! Grants on the operator socket: drafted, made, listed, revoked. What counts is decided by the gate.

use super::{Connection, Ended, MAX_REASON, failure};
use crate::call::{CallId, Digest};
use crate::control::wire::{Failure, GRANT_SCHEMA, GrantBounds, GrantView, Notice, SignedBy};
use crate::gate::{Bounds, Grant, Says};

/// A `Grant` command without its number.
pub(super) struct Asked {
    pub id: CallId,
    pub digest: Digest,
    pub bounds: GrantBounds,
    pub grant: String,
    pub reason: Option<String>,
    pub signed: Option<SignedBy>,
}

impl Connection {
    pub(super) async fn grants(&mut self, seq: u64) -> Result<(), Ended> {
        let grants = self.control.gate.grants().into_iter().map(grant_view).collect();
        self.send(&Notice::Grants { seq, grants }).await
    }

    pub(super) async fn draft_grant(&mut self, seq: u64, id: &CallId, wanted: GrantBounds) -> Result<(), Ended> {
        match self.control.gate.draft_grant(id, &bounds(wanted)) {
            Ok(text) => self.send(&Notice::Draft { seq, text }).await,
            Err(why) => self.failed(seq, failure(&why), why.to_string()).await,
        }
    }

    pub(super) async fn grant(&mut self, seq: u64, asked: Asked) -> Result<(), Ended> {
        let Asked { id, digest, bounds: wanted, grant, reason, signed } = asked;
        let Some(reason) = note(reason) else {
            return self.failed(seq, Failure::Malformed, "a reason is at most 4 KiB".to_owned()).await;
        };
        let ruling = self.ruling(id, digest, Says::Approve { reason });
        let ruling = match signed {
            Some(SignedBy { operator, signature }) => ruling.signed(operator, signature),
            None => ruling,
        };
        match self.control.gate.grant(ruling, &bounds(wanted), grant).await {
            Ok(hold) => self.send(&Notice::Ruled { seq, hold: Box::new(self.control.view(&hold)) }).await,
            Err(why) => self.failed(seq, failure(&why), why.to_string()).await,
        }
    }

    pub(super) async fn revoke_grant(&mut self, seq: u64, grant: &CallId, reason: Option<String>) -> Result<(), Ended> {
        let Some(reason) = note(reason) else {
            return self.failed(seq, Failure::Malformed, "a reason is at most 4 KiB".to_owned()).await;
        };
        match self.control.gate.revoke_grant(grant, &self.operator, reason).await {
            Ok(()) => self.grants(seq).await,
            Err(_) => self.failed(seq, Failure::NotFound, "there is no such grant in force".to_owned()).await,
        }
    }
}

/// Without what surrounds it, and absent where nothing is left; nothing where it is too long.
pub(super) fn note(reason: Option<String>) -> Option<Option<String>> {
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let fits = reason.as_ref().is_none_or(|reason| reason.len() <= MAX_REASON);
    fits.then_some(reason)
}

fn bounds(wanted: GrantBounds) -> Bounds {
    let GrantBounds { at_most, any, uses, seconds } = wanted;
    Bounds { at_most, any, uses, seconds }
}

fn grant_view(grant: Grant) -> GrantView {
    let Grant { id, hold, context, text, by, at, until, uses, used } = grant;
    GrantView {
        schema: GRANT_SCHEMA.to_owned(),
        id,
        hold,
        server: context.server.name.clone(),
        environment: (*context.environment).clone(),
        principal: context.principal.name.clone(),
        tool: context.tool.name.clone(),
        operation: context.operation.name.clone(),
        text,
        by,
        at: at.to_string(),
        until: until.to_string(),
        uses,
        used,
    }
}
