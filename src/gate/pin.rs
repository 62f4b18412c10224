//! Whether a tool is still defined as it was when its call was decided.

use std::fmt;
use std::sync::Arc;

use crate::call::Digest;

/// Looks up what is known now of the definition of the tool that is called. The session gives it with the call's
/// [`super::Presence`]; the gate asks it last. Other methods have none.
#[derive(Clone, Default)]
pub struct DefinitionNow(Option<Arc<Look>>);

type Look = dyn Fn() -> Option<Digest> + Send + Sync;

impl DefinitionNow {
    pub fn new(look: impl Fn() -> Option<Digest> + Send + Sync + 'static) -> DefinitionNow {
        DefinitionNow(Some(Arc::new(look)))
    }

    /// True where the definition that was judged is not the one that is known now. One that has been forgotten since,
    /// because the server said that its tools are others, counts as changed until it is listed again.
    pub(super) fn differs_from(&self, judged: Option<Digest>) -> bool {
        match (&self.0, judged) {
            (Some(look), Some(judged)) => look() != Some(judged),
            // Nobody has seen it then, so nothing that was seen can have changed.
            (_, None) | (None, _) => false,
        }
    }
}

impl fmt::Debug for DefinitionNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefinitionNow").finish_non_exhaustive()
    }
}
