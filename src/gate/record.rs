//! The records of a decision, from the call and what surrounds it.

use std::sync::Arc;

use crate::audit::{CallFacts, Entry, Event};
use crate::call::{CallContext, Class, Decision, Digest, Effect, ToolCall};

pub(super) fn decided(
    call: &ToolCall,
    context: &CallContext,
    digest: Digest,
    now: u64,
    decision: &Arc<Decision>,
) -> Entry {
    let sync = must_sync(decision, context.operation.class);
    let facts = Box::new(CallFacts::of(call, context, digest, now));
    Entry::new(Some(call.id()), sync, Event::Decided { facts, decision: Arc::clone(decision) })
}

pub(super) fn failed(call: &ToolCall, context: &CallContext, digest: Digest, now: u64, fault: String) -> Entry {
    let facts = Box::new(CallFacts::of(call, context, digest, now));
    Entry::new(Some(call.id()), false, Event::Failed { facts, fault })
}

pub(super) fn invalid(call: &ToolCall, context: &CallContext, digest: Digest, now: u64, reason: String) -> Entry {
    let facts = Box::new(CallFacts::of(call, context, digest, now));
    Entry::new(Some(call.id()), false, Event::Invalid { facts, reason })
}

/// What has to be on disk before the call leaves: everything that can change something.
fn must_sync(decision: &Decision, class: Class) -> bool {
    match decision.effect {
        Effect::Deny => false,
        Effect::Hold => true,
        Effect::Allow => class != Class::Read,
    }
}
