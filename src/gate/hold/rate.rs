//! How often a principal may ask for a person: whoever floods operators teaches them to approve without looking.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::call::Outcome;

const MINUTE: Duration = Duration::from_secs(60);

/// When the prompts of the last minute were opened, by principal. Principals are in the configuration, and each has as
/// many as it may open.
#[derive(Default)]
pub(super) struct Prompts(HashMap<String, VecDeque<Instant>>);

impl Prompts {
    /// Counts one more prompt.
    ///
    /// # Errors
    /// The outcome and reason of the refusal, where there were so many in the last minute.
    pub fn take(&mut self, principal: &str, most: usize) -> Result<(), (Outcome, String)> {
        let now = Instant::now();
        let opened = self.0.entry(principal.to_owned()).or_default();
        while opened.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
            opened.pop_front();
        }
        if opened.len() >= most {
            let reason = format!(
                "{principal} has asked an operator about {most} different calls within a minute \
                 (holds.prompts_per_minute); wait before the next one"
            );
            return Err((Outcome::Overloaded, reason));
        }
        opened.push_back(now);
        Ok(())
    }
}
