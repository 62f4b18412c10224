//! The records of a decision, from the call and what surrounds it.

use crate::audit::{CallFacts, Entry, Event};
use crate::call::{CallContext, Decision, ToolCall};
use crate::json::JsonText;

use super::must_sync;

fn facts(call: &ToolCall, context: &CallContext) -> CallFacts {
    CallFacts {
        session: context.session.clone(),
        principal: (*context.principal).clone(),
        client: context.client.clone(),
        server: (*context.server).clone(),
        environment: (*context.environment).clone(),
        method: call.method().as_str().to_owned(),
        tool: call.tool().to_owned(),
        definition: context.tool.definition,
        operation: context.operation.clone(),
        digest: call.digest(context),
        params: call.params().clone(),
        meta: call.meta().map(JsonText::owned),
    }
}

pub(super) fn decided(call: &ToolCall, context: &CallContext, decision: &Decision) -> Entry {
    let sync = must_sync(decision, context.operation.class);
    let event = Event::Decided { call: Box::new(facts(call, context)), decision: Box::new(decision.clone()) };
    Entry::new(Some(call.id()), sync, event)
}

pub(super) fn failed(call: &ToolCall, context: &CallContext, fault: String) -> Entry {
    Entry::new(Some(call.id()), false, Event::Failed { call: Box::new(facts(call, context)), fault })
}
