//! A hold as operators see it.

use super::Control;
use crate::control::wire::{Approvals, Before, Claimed, Confirm, HOLD_SCHEMA, HoldState, HoldView, SameCall};
use crate::gate::{Approver, Hold, State};
use crate::json::JsonText;

impl Control {
    /// A hold, with what is known by now about its server.
    pub fn view(&self, hold: &Hold) -> HoldView {
        let environment = self.gate.environment(&hold.context.server.name, &hold.context.environment);
        let before = self.gate.before(hold).map(|before| Before {
            id: before.id,
            at: before.at.to_string(),
            by: before.by,
            arguments: before.arguments,
        });
        HoldView { environment: (*environment).clone(), grantable: self.gate.is_grantable(hold), before, ..view(hold) }
    }
}

/// A name, and the key that signed, where one did.
fn approver(by: &Approver) -> String {
    by.key.as_ref().map_or_else(|| by.shown.clone(), |key| format!("{} ({key})", by.shown))
}

/// A hold as operators see it.
fn view(hold: &Hold) -> HoldView {
    let operation = &hold.context.operation;
    let rule = hold.decision.rules.first();
    let params = hold.call.params().view();
    let other = JsonText::without(params, &["name", "arguments"]);
    let is_tool = hold.call.method() == crate::call::Decided::ToolsCall;
    HoldView {
        schema: HOLD_SCHEMA.to_owned(),
        id: hold.id().clone(),
        state: state(&hold.state),
        server: hold.context.server.name.clone(),
        environment: (*hold.context.environment).clone(),
        production: hold.context.environment.is_production(),
        method: hold.call.method().as_str().to_owned(),
        tool: hold.call.tool().to_owned(),
        definition: hold.context.tool.definition,
        pin: hold.context.tool.pin,
        operation: operation.name.clone(),
        class: operation.class,
        reversible: operation.reversible,
        money: operation.money.clone(),
        magnitude: operation.magnitude.clone(),
        unmeasured: operation.unmeasured,
        reach: operation.environment.clone(),
        targets: operation.targets.clone(),
        effect: operation.effect.clone(),
        confirmations: hold.context.confirmations.clone(),
        arguments: hold.call.arguments().clone(),
        other_params: (is_tool && other.as_str() != "{}").then_some(other),
        meta: hold.call.meta().map(JsonText::owned),
        digest: hold.digest,
        rule: rule.map(|hit| hit.rule.clone()).unwrap_or_default(),
        reason: hold.decision.reason.clone(),
        rules: hold.decision.rules.clone(),
        policy_version: hold.decision.policy_version.clone(),
        tier: hold.decision.tier,
        confirm: hold
            .confirm
            .iter()
            .map(|(pointer, value)| Confirm { pointer: pointer.clone(), value: value.clone() })
            .collect(),
        principal: hold.context.principal.name.clone(),
        client: (*hold.context.client).clone(),
        session: hold.context.session.clone(),
        created_at: hold.created.to_string(),
        expires_at: hold.expires.to_string(),
        approvals: Approvals { need: hold.decision.approvals, have: hold.approved_by.iter().map(approver).collect() },
        signature_required: hold.signature_required,
        taken_back: hold.taken_back,
        waiting: hold.waiting,
        same_as: hold
            .same_as
            .iter()
            .map(|(id, state)| SameCall { id: id.clone(), state: (*state).to_owned() })
            .collect(),
        claimed: hold.lease.as_ref().map(|lease| Claimed {
            by: lease.by.clone(),
            at: lease.at.to_string(),
            until: lease.until.to_string(),
        }),
        client_waits_until: hold.client_waits_until.map(|at| at.to_string()),
        grantable: false,
        before: None,
    }
}

fn state(state: &State) -> HoldState {
    match state {
        State::Pending | State::Deciding => HoldState::Pending,
        State::Ticket { by, at, until } => {
            HoldState::Ticket { by: by.clone(), at: at.to_string(), until: until.to_string() }
        }
        State::Leaving { by, at, leaves_at } => {
            let leaves_at = Some(leaves_at.to_string());
            HoldState::Approved { by: by.clone(), at: at.to_string(), leaves_at }
        }
        State::Stale { at, reason } => HoldState::Stale { at: at.to_string(), reason: reason.clone() },
        State::Approved { by, at } => HoldState::Approved { by: by.clone(), at: at.to_string(), leaves_at: None },
        State::Rejected { by, at, reason } => {
            HoldState::Rejected { by: by.clone(), at: at.to_string(), reason: reason.clone() }
        }
        State::Closed { outcome, at, reason } => {
            HoldState::Closed { outcome: *outcome, at: at.to_string(), reason: reason.clone() }
        }
        State::Done { by, at, result } => {
            HoldState::Done { by: by.clone(), at: at.to_string(), result: result.clone() }
        }
    }
}
