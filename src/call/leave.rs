//! The moment in which a decided call leaves. The gate says what stands against it; the link asks right before its first
//! byte, because between the permit and that byte a call may wait for a server that is slow to take it.
//!
//! Invariant: a call leaves or is taken back, and the first of both counts: what stands against it is looked at in the
//! same step in which its first byte is handed over, and what was taken back never leaves.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Outcome;

/// Why a call does not leave: the outcome and the reason of its refusal.
pub type No = (Outcome, String);

type Look = dyn Fn() -> Option<No> + Send + Sync;

/// Shared by whoever waits for the answer of a call and the link that takes it to its server. Cheap to clone.
#[derive(Clone)]
pub struct Leave(Arc<Inner>);

struct Inner {
    look: Box<Look>,
    until: Instant,
    now: Mutex<Now>,
    settled: CancellationToken,
    /// Its link is done with it.
    over: CancellationToken,
}

#[derive(Default)]
struct Now {
    left: bool,
    /// The first one stays.
    no: Option<No>,
    end: Option<Ended>,
}

/// How the sending of a message ended, where its link knows that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All of it was written to the other side.
    Taken,
    /// The other side says that it does not take it.
    Refused(String),
    /// No byte of it was taken.
    NotSent(String),
}

/// Held by a link while it sends. One that is dropped without a word leaves unknown how far the message came.
#[derive(Debug)]
pub struct Sending(Leave);

impl Sending {
    pub fn ended(self, how: Ended) {
        self.0.lock().end = Some(how);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.0.over.cancel();
    }
}

impl Leave {
    /// Why a call does not leave that nothing else stands against.
    pub const LATE: &str = "the server did not take the call in time";

    /// For a call against which `look` says what stands; after `until` it does not leave in any case.
    pub fn new(until: Instant, look: impl Fn() -> Option<No> + Send + Sync + 'static) -> Leave {
        let (now, settled, over) = (Mutex::default(), CancellationToken::new(), CancellationToken::new());
        Leave(Arc::new(Inner { look: Box::new(look), until, now, settled, over }))
    }

    /// One that nothing stands against.
    #[cfg(test)]
    pub fn free() -> Leave {
        Leave::new(Instant::now() + std::time::Duration::from_secs(3600), || None)
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        // A panic in between leaves a call that has not left.
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over the first byte, where nothing stands against it: `write` says whether it has taken one. A call of which
    /// none was taken is asked for again with the next try.
    ///
    /// # Errors
    /// Why the call does not leave; `write` was not called, and never is again.
    pub fn attempt<T>(&self, write: impl FnOnce() -> (T, bool)) -> Result<T, String> {
        let mut now = self.lock();
        if let Some((_, why)) = self.look(&mut now) {
            let why = why.clone();
            now.left = false;
            self.0.settled.cancel();
            return Err(why);
        }
        let (written, left) = write();
        now.left = left;
        if left {
            self.0.settled.cancel();
        }
        Ok(written)
    }

    fn look<'a>(&self, now: &'a mut Now) -> Option<&'a No> {
        let late = || {
            let late = Instant::now() >= self.0.until;
            late.then(|| (Outcome::Unavailable, Leave::LATE.to_owned()))
        };
        if now.no.is_none() {
            now.no = (self.0.look)().or_else(late);
        }
        now.no.as_ref()
    }

    /// Nothing of it leaves any more. False where it has left: only a try of which it turns out that no byte was taken is
    /// not made again then.
    pub fn take_back(&self, outcome: Outcome, why: &str) -> bool {
        let mut now = self.lock();
        now.no.get_or_insert_with(|| (outcome, why.to_owned()));
        if !now.left {
            self.0.settled.cancel();
        }
        !now.left
    }

    /// Why it has not left and does not any more, as far as that has been asked.
    pub fn refused(&self) -> Option<No> {
        let now = self.lock();
        now.no.clone().filter(|_| !now.left)
    }

    pub fn has_left(&self) -> bool {
        self.lock().left
    }

    /// After this it does not leave any more.
    pub fn until(&self) -> Instant {
        self.0.until
    }

    /// It has left, or was taken back.
    pub async fn settled(&self) {
        self.0.settled.cancelled().await;
    }

    /// A link begins to send it. To be held until that has ended.
    pub fn sending(&self) -> Sending {
        Sending(self.clone())
    }

    /// Its link is done with it: what was not to be sent before is settled then.
    pub async fn over(&self) {
        self.0.over.cancelled().await;
    }

    /// How its sending ended. Nothing where that is not known.
    pub fn end(&self) -> Option<Ended> {
        self.lock().end.clone()
    }
}

impl fmt::Debug for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.lock();
        f.debug_struct("Leave").field("left", &now.left).field("no", &now.no).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    fn taken(leave: &Leave) -> Result<bool, String> {
        leave.attempt(|| (true, true))
    }

    fn not_taken(leave: &Leave) -> Result<bool, String> {
        leave.attempt(|| (false, false))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_leaves_or_is_taken_back_and_the_first_counts() {
        let frozen = Arc::new(AtomicBool::new(false));
        let new = || {
            let frozen = Arc::clone(&frozen);
            let look = move || frozen.load(Ordering::Relaxed).then(|| (Outcome::Rejected, "frozen".to_owned()));
            Leave::new(Instant::now() + Duration::from_secs(10), look)
        };
        let leave = new();
        assert_eq!((taken(&leave), leave.has_left(), leave.refused()), (Ok(true), true, None));
        assert!(!leave.take_back(Outcome::Withdrawn, "gone"), "it has left");
        assert_eq!(leave.refused(), None);
        // It turns out that no byte of it was taken.
        assert_eq!(taken(&leave), Err("gone".to_owned()));
        assert_eq!(leave.refused(), Some((Outcome::Withdrawn, "gone".to_owned())));

        let leave = new();
        assert_eq!((not_taken(&leave), leave.has_left()), (Ok(false), false));
        assert!(leave.take_back(Outcome::Withdrawn, "gone") && leave.take_back(Outcome::Denied, "later"));
        assert_eq!((taken(&leave), leave.has_left()), (Err("gone".to_owned()), false));
        leave.settled().await;

        let (stopped, late) = (new(), new());
        assert_eq!(not_taken(&stopped), Ok(false));
        frozen.store(true, Ordering::Relaxed);
        assert_eq!(taken(&stopped), Err("frozen".to_owned()));
        frozen.store(false, Ordering::Relaxed);
        assert_eq!(taken(&stopped), Err("frozen".to_owned()), "a no stays one");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(taken(&late).unwrap_err().contains("in time"));
    }

    #[tokio::test]
    async fn a_link_that_goes_without_a_word_leaves_unknown_how_far_a_message_came() {
        let (gone, said) = (Leave::free(), Leave::free());
        let sending = gone.sending();
        assert_eq!(taken(&gone), Ok(true));
        drop(sending);
        gone.over().await;
        assert_eq!((gone.has_left(), gone.end()), (true, None));
        said.sending().ended(Ended::Taken);
        said.over().await;
        assert_eq!(said.end(), Some(Ended::Taken));
    }
}
