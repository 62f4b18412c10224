//! What operators stop: sessions, and everything that is not a read.

use super::{Connection, Ended, MAX_REASON, failure};
use crate::call::Effect;
use crate::control::wire::{CallLine, Failure, Frozen, Notice, SESSION_SCHEMA, SessionRuling, SessionView, Size};
use crate::gate::{Halt, Line, NoEffect, SessionNow};

impl Connection {
    pub(super) async fn freeze(&mut self, seq: u64, on: bool, reason: Option<String>) -> Result<(), Ended> {
        let reason = match trimmed(reason) {
            Ok(reason) => reason,
            Err(message) => return self.failed(seq, Failure::Malformed, message).await,
        };
        let done = match on {
            true => self.control.gate.freeze(&self.operator, reason).await,
            false => self.control.gate.unfreeze(&self.operator, reason).await,
        };
        self.control.status.changed.send_replace(());
        match done {
            Ok(()) => {
                let daemon = self.control.daemon();
                self.send(&Notice::Frozen { seq, daemon }).await
            }
            Err(why) => self.failed(seq, failure(&why), why.to_string()).await,
        }
    }

    pub(super) async fn sessions(&mut self, seq: u64) -> Result<(), Ended> {
        let sessions = self.control.gate.open_sessions().into_iter().map(view).collect();
        self.send(&Notice::Sessions { seq, sessions }).await
    }

    pub(super) async fn rule_session(
        &mut self,
        seq: u64,
        session: &str,
        ruling: SessionRuling,
        reason: Option<String>,
    ) -> Result<(), Ended> {
        let reason = match trimmed(reason) {
            Ok(reason) => reason,
            Err(message) => return self.failed(seq, Failure::Malformed, message).await,
        };
        let gate = &self.control.gate;
        let done = match ruling {
            SessionRuling::Pause => gate.pause(session, &self.operator, reason).await,
            SessionRuling::Resume => gate.resume(session, &self.operator, reason).await,
            SessionRuling::End => gate.end_session(session, &self.operator, reason).await,
        };
        match done {
            Ok(()) => self.sessions(seq).await,
            Err(NoEffect::NotFound) => self.failed(seq, Failure::NotFound, "there is no such session".to_owned()).await,
            Err(why) => self.failed(seq, failure(&why), why.to_string()).await,
        }
    }
}

fn trimmed(reason: Option<String>) -> Result<Option<String>, String> {
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    match reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON) {
        true => Err("a reason is at most 4 KiB".to_owned()),
        false => Ok(reason),
    }
}

pub(super) fn frozen(halt: &Halt) -> Frozen {
    Frozen { by: halt.by.clone(), at: halt.at.to_string(), reason: halt.reason.clone() }
}

fn view(now: SessionNow) -> SessionView {
    SessionView {
        schema: SESSION_SCHEMA.to_owned(),
        session: now.session,
        server: now.server,
        environment: (*now.environment).clone(),
        principal: now.principal,
        client: (*now.client).clone(),
        since: now.since.to_string(),
        paused: now.paused.as_ref().map(frozen),
        calls: now.calls,
        allowed: now.allowed,
        held: now.held,
        denied: now.denied,
        in_flight: now.in_flight,
        last: now.last.into_iter().map(line).collect(),
    }
}

fn line(line: Line) -> CallLine {
    let effect = match line.effect {
        Effect::Allow => "allow",
        Effect::Hold => "hold",
        Effect::Deny => "deny",
    };
    CallLine {
        id: line.id,
        at: line.at.to_string(),
        operation: line.operation,
        effect: effect.to_owned(),
        result: line.result,
        rule: line.rule,
        digest: line.digest,
        sizes: line.sizes.into_iter().map(|(value, unit)| Size { value, unit }).collect(),
    }
}
