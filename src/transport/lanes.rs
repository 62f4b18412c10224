//! The threads that clients' connections are served on, one for each CPU.
//!
//! Invariant: whatever a connection begins, its session and the link to the upstream included, stays on the connection's
//! lane. Between them a message is passed on without waking another thread, which would cost more than the message.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// More than one daemon has use for.
const MOST: usize = 16;

/// Cheap to clone. The threads end with the last clone and the last connection. Without a lane everything runs where it is
/// spawned.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    lanes: Arc<[Lane]>,
    stop: Option<Arc<DropGuard>>,
}

#[derive(Debug)]
struct Lane {
    handle: Handle,
    /// Connections that it serves.
    load: Arc<AtomicUsize>,
}

/// One connection of a lane's load, which keeps its lane.
struct Place {
    load: Arc<AtomicUsize>,
    _stop: Option<Arc<DropGuard>>,
}

impl Lanes {
    /// # Errors
    /// Where a thread or its event loop cannot be had.
    pub fn start() -> io::Result<Lanes> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let stop = CancellationToken::new();
        let lanes = (0..count).map(|number| Lane::start(number, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Lanes { lanes, stop: Some(Arc::new(stop.drop_guard())) })
    }

    /// Runs a connection's work on the lane that serves the fewest.
    pub(super) fn spawn(&self, tracker: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.lanes.iter().min_by_key(|lane| lane.load.load(Ordering::Relaxed)) else {
            tracker.spawn(work);
            return;
        };
        lane.load.fetch_add(1, Ordering::Relaxed);
        let place = Place { load: Arc::clone(&lane.load), _stop: self.stop.clone() };
        let work = async move {
            let _place = place;
            work.await;
        };
        tracker.spawn_on(work, &lane.handle);
    }
}

impl Lane {
    fn start(number: usize, stop: CancellationToken) -> io::Result<Lane> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
            runtime.block_on(stop.cancelled());
            // Nobody waits for what still blocks.
            runtime.shutdown_background();
        })?;
        Ok(Lane { handle, load: Arc::default() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_are_shared_out_and_what_they_begin_stays_with_them() {
        let lanes = Lanes::start().unwrap();
        let (tracker, (told, mut hears)) = (TaskTracker::new(), mpsc::unbounded_channel());
        let open = CancellationToken::new();
        for _ in 0..2 * lanes.lanes.len() {
            let (told, open) = (told.clone(), open.clone());
            lanes.spawn(&tracker, async move {
                let here = || (Handle::current().id(), thread::current().id());
                let begun = tokio::spawn(async move { here() }).await.unwrap();
                told.send((here(), begun)).unwrap();
                open.cancelled().await;
            });
        }
        drop(told);
        let mut served = std::collections::HashMap::new();
        for _ in 0..2 * lanes.lanes.len() {
            let (here, begun) = hears.recv().await.unwrap();
            assert_eq!(here, begun);
            *served.entry(here.1).or_insert(0) += 1;
        }
        assert_eq!(served.len(), lanes.lanes.len());
        assert!(served.values().all(|count| *count == 2), "{served:?}");
        open.cancel();
        tracker.close();
        tracker.wait().await;
        assert!(lanes.lanes.iter().all(|lane| lane.load.load(Ordering::Relaxed) == 0));
    }

    #[tokio::test]
    async fn a_lane_outlives_work_that_panics_and_ends_with_its_owner() {
        let lanes = Lanes::start().unwrap();
        let tracker = TaskTracker::new();
        for _ in 0..lanes.lanes.len() {
            lanes.spawn(&tracker, async { panic!("a connection that panics") });
        }
        let (told, hears) = tokio::sync::oneshot::channel();
        lanes.spawn(&tracker, async move { told.send(()).unwrap() });
        hears.await.unwrap();
        tracker.close();
        tracker.wait().await;
        assert!(lanes.lanes.iter().all(|lane| lane.load.load(Ordering::Relaxed) == 0));
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        let closed = CancellationToken::new();
        let closes = closed.clone();
        lanes.spawn(&TaskTracker::new(), async move {
            // Left behind: what a connection begins may live longer than it does.
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            closes.cancelled().await;
        });
        drop(lanes);
        let mut ended = std::pin::pin!(ended);
        let early = tokio::time::timeout(std::time::Duration::from_millis(100), &mut ended).await;
        assert!(early.is_err(), "a connection is open");
        closed.cancel();
        assert!(ended.await.is_err(), "what still ran is dropped");
    }
}
