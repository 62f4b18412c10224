//! Time that goes on while the machine sleeps. Tokio's stands still then, and a hold would outlive the end that its
//! operators were told.
//!
//! A moment here is tokio's plus what the machine has slept since the daemon began; [`Clock::timer`] leads back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The two clocks are not read in one step: what they differ by less than this is no sleep.
const READ_APART: u64 = 1000;

#[derive(Debug)]
pub(super) struct Clock {
    began: std::time::Instant,
    up_ms: u64,
    slept_ms: AtomicU64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { began: std::time::Instant::now(), up_ms: crate::audit::uptime_ms(), slept_ms: AtomicU64::new(0) }
    }
}

impl Clock {
    fn slept(&self) -> Duration {
        let awake = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let slept = crate::audit::uptime_ms().saturating_sub(self.up_ms).saturating_sub(awake);
        let known = self.slept_ms.load(Ordering::Relaxed);
        // Never back, and by whole sleeps only: what two readings compare stays comparable.
        let slept = if slept > known.saturating_add(READ_APART) { slept } else { known };
        Duration::from_millis(self.slept_ms.fetch_max(slept, Ordering::Relaxed).max(slept))
    }

    pub fn now(&self) -> Instant {
        self.of(Instant::now())
    }

    /// The moment that a timer ends at, unless the machine sleeps before.
    pub fn of(&self, timer: Instant) -> Instant {
        timer + self.slept()
    }

    /// A timer that ends at this moment, unless the machine sleeps before.
    pub fn timer(&self, moment: Instant) -> Instant {
        moment.checked_sub(self.slept()).unwrap_or(moment)
    }

    /// The machine sleeps, for a test.
    #[cfg(test)]
    pub fn sleep(&self, time: Duration) {
        self.slept_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}
