//! Whether a tool is still defined, and trusted, as it was when its call was decided.

use std::fmt;
use std::sync::Arc;

use crate::call::{Digest, Pin, ToolFacts};

/// Looks up what is known now of the tool that is called. The session gives it with the call's [`super::Presence`]; the
/// gate asks it last. Other methods have none.
#[derive(Clone, Default)]
pub struct DefinitionNow(Option<Arc<Look>>);

type Look = dyn Fn() -> (Option<Digest>, Pin) + Send + Sync;

impl DefinitionNow {
    pub fn new(look: impl Fn() -> (Option<Digest>, Pin) + Send + Sync + 'static) -> DefinitionNow {
        DefinitionNow(Some(Arc::new(look)))
    }

    /// True where the definition that was judged is not the one that is known now, or is not trusted as it was. One that
    /// has been forgotten since, because the server said that its tools are others, counts as changed until it is listed
    /// again. An operator may pin the definition that is waited with, and then nothing has changed for the worse.
    pub(super) fn differs_from(&self, judged: &ToolFacts) -> bool {
        let Some(look) = &self.0 else { return false };
        let (definition, pin) = look();
        // Where nobody had seen it, nothing that was seen can have changed.
        let redefined = judged.definition.is_some() && definition != judged.definition;
        redefined || loses_trust(judged.pin, pin)
    }
}

fn loses_trust(judged: Pin, now: Pin) -> bool {
    match (judged, now) {
        (_, Pin::Match) => false,
        (Pin::Unpinned, Pin::Unpinned) | (Pin::Unknown, Pin::Unknown) | (Pin::Changed, Pin::Changed) => false,
        (Pin::Match | Pin::Changed | Pin::Unknown, Pin::Unpinned)
        | (Pin::Match | Pin::Unpinned | Pin::Unknown, Pin::Changed)
        | (Pin::Match | Pin::Unpinned | Pin::Changed, Pin::Unknown) => true,
    }
}

impl fmt::Debug for DefinitionNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefinitionNow").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::fixtures;

    #[test]
    fn an_approval_needs_the_tool_as_it_was_judged_or_pinned_since() {
        use Pin::{Changed, Match, Unknown, Unpinned};
        let (one, two) = (Digest::of_bytes(b"1"), Digest::of_bytes(b"2"));
        let differs = |judged: (Option<Digest>, Pin), now: (Option<Digest>, Pin)| {
            let context = fixtures::context("a", crate::call::Class::Read);
            let facts = ToolFacts { definition: judged.0, pin: judged.1, ..context.tool };
            DefinitionNow::new(move || now).differs_from(&facts)
        };
        for pin in [Match, Changed, Unpinned, Unknown] {
            assert!(!differs((Some(one), pin), (Some(one), pin)), "{pin:?}");
            assert!(differs((Some(one), pin), (Some(two), pin)), "{pin:?}");
            assert!(differs((Some(one), pin), (None, pin)), "{pin:?}");
            assert!(!differs((None, pin), (Some(two), pin)), "{pin:?}");
            assert!(!differs((Some(one), pin), (Some(one), Match)), "{pin:?}");
            for now in [Changed, Unpinned, Unknown].into_iter().filter(|now| *now != pin) {
                assert!(differs((Some(one), pin), (Some(one), now)), "{pin:?} {now:?}");
            }
        }
    }
}
