//! The call that was approved and sent last, of each kind: what an operator compares the next one with. In memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::hold::{Hold, State};
use crate::call::CallId;
use crate::json::JsonText;

/// Kinds that are remembered: the oldest makes room.
const MAX_KINDS: usize = 256;
/// Longer arguments are not kept.
const MAX_ARGUMENTS: usize = 64 << 10;

/// A call that was approved.
#[derive(Clone, Debug)]
pub struct Before {
    pub id: CallId,
    pub at: Timestamp,
    pub by: String,
    /// Complete and exact; absent where they are too long.
    pub arguments: Option<JsonText>,
}

/// Server, environment, tool and operation.
#[derive(PartialEq, Eq, Debug)]
struct Sort([String; 4]);

impl Sort {
    fn of(hold: &Hold) -> Sort {
        let context = &hold.context;
        let names = [&context.server.name, &context.environment.name, &context.tool.name, &context.operation.name];
        Sort(names.map(String::clone))
    }
}

#[derive(Debug, Default)]
pub(super) struct Approved(Mutex<VecDeque<(Sort, Before)>>);

impl Approved {
    /// Remembers a hold whose call may be sent.
    pub fn note(&self, hold: &Hold) {
        let State::Approved { by, at, .. } = &hold.state else { return };
        let arguments = hold.call.arguments();
        let arguments = (arguments.as_str().len() <= MAX_ARGUMENTS).then(|| arguments.clone());
        let before = Before { id: hold.id.clone(), at: *at, by: by.clone(), arguments };
        let sort = Sort::of(hold);
        // Each change leaves a list that is right, so a panic elsewhere does no harm.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, _)| *other != sort);
        all.push_back((sort, before));
        if all.len() > MAX_KINDS {
            all.pop_front();
        }
    }

    /// The one before this hold.
    pub fn before(&self, hold: &Hold) -> Option<Before> {
        let sort = Sort::of(hold);
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(other, before)| *other == sort && before.id != hold.id).map(|(_, before)| before.clone())
    }
}
