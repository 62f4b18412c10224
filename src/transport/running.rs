//! Tasks of a server that go on in a session, as far as the session has heard. Whoever began one may say nothing for
//! long; the front asks here before it gives the session's place to somebody else.
//!
//! Invariant: nothing counts for longer than its task is kept, and what is remembered is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

/// Tasks of one session that are told apart.
const MOST: usize = 256;
/// For a task that is kept for ever, and at most.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Shared by a session and its front. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Running(Arc<Mutex<HashMap<String, Instant>>>);

impl Running {
    /// A task has begun that its server keeps for so long; `None`: for ever.
    pub fn began(&self, task: &str, kept: Option<Duration>) {
        let now = Instant::now();
        let until = now + kept.map_or(LONGEST, |kept| kept.min(LONGEST));
        let mut tasks = lock(&self.0);
        tasks.retain(|_, until| *until > now);
        // Those that are too many are one, until the last of them is over.
        let name = if tasks.len() < MOST || tasks.contains_key(task) { task } else { "" };
        let last = tasks.entry(name.to_owned()).or_insert(until);
        *last = until.max(*last);
    }

    pub fn ended(&self, task: &str) {
        lock(&self.0).remove(task);
    }

    pub fn any(&self) -> bool {
        let now = Instant::now();
        lock(&self.0).values().any(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_runs_until_it_has_ended_or_is_not_kept_any_more() {
        let running = Running::default();
        assert!(!running.any());
        running.began("a", Some(Duration::from_secs(60)));
        running.began("b", None);
        running.ended("b");
        assert!(running.any());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(!running.any());
        for n in 0..=MOST + 7 {
            running.began(&format!("t{n}"), Some(Duration::from_secs(60)));
        }
        assert_eq!(lock(&running.0).len(), MOST + 1);
        (0..=MOST + 7).for_each(|n| running.ended(&format!("t{n}")));
        assert!(running.any(), "one of those that were too many may run");
        tokio::time::advance(Duration::from_secs(25 * 3600)).await;
        assert!(!running.any());
    }
}
