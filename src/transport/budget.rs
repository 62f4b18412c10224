//! A bound on how often something may be said: refusals that are recorded, lines that are logged. What is above the
//! bound is counted, not lost without a trace.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::{Rejected, lock};

/// A bucket of tokens that fills with time.
#[derive(Debug)]
pub struct Budget {
    burst: u32,
    /// Time for one token.
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: u32,
    filled: Instant,
    suppressed: u64,
}

impl Budget {
    pub fn new(burst: u32, every: Duration) -> Budget {
        Budget { burst, every, state: Mutex::new(State { tokens: burst, filled: Instant::now(), suppressed: 0 }) }
    }

    /// Takes a token. `Some` says how often `None` was said since the last one.
    pub fn take(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let passed = state.filled.elapsed().as_nanos() / self.every.as_nanos().max(1);
        if passed > 0 {
            let gained = u32::try_from(passed).unwrap_or(u32::MAX);
            state.tokens = state.tokens.saturating_add(gained).min(self.burst);
            state.filled = Instant::now();
        }
        if state.tokens == 0 {
            state.suppressed += 1;
            return None;
        }
        state.tokens -= 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

/// Where a front reports what it refused, at most so often that it cannot flood the records.
#[derive(Debug)]
pub struct Refusals {
    to: mpsc::Sender<Rejected>,
    budget: Budget,
}

impl Refusals {
    pub fn new(to: mpsc::Sender<Rejected>) -> Refusals {
        Refusals { to, budget: Budget::new(100, Duration::from_millis(50)) }
    }

    /// Never waits.
    pub fn report(&self, rejected: Rejected) {
        let Some(suppressed) = self.budget.take() else { return };
        if suppressed > 0 {
            warn!(suppressed, "refusals came too fast to record each of them");
        }
        if let Err(error) = self.to.try_send(rejected) {
            let (mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) = error;
            warn!(code = lost.code, reason = %lost.reason, "a refusal could not be handed over for recording");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_bounds_and_counts() {
        let budget = Budget::new(2, Duration::from_secs(1));
        assert_eq!(budget.take(), Some(0));
        assert_eq!(budget.take(), Some(0));
        assert_eq!(budget.take(), None);
        assert_eq!(budget.take(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.take(), Some(2));
        assert_eq!(budget.take(), None);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((budget.take(), budget.take(), budget.take()), (Some(1), Some(0), None));
    }
}
