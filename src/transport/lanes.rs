//! The threads that clients' connections are served on, one for each CPU.
//!
//! Invariant: what a connection begins, its session and the link to the upstream included, runs on the connection's lane:
//! between them a message is passed on without waking another thread, which would cost more than the message. Long
//! texts go through [`long`], but for those that the client socket reads, and keep nobody else on the lane waiting.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// More than one daemon has use for.
const MOST: usize = 16;
/// Texts from this size on take longer to read and to search than it takes to wake another thread.
const LONG: usize = 128 << 10;
/// What still runs when the daemon has ended is dropped, and may take so long for it.
const END: Duration = Duration::from_secs(5);

/// Cheap to clone. The threads end with the last clone. Without a lane everything runs where it is spawned.
#[derive(Clone, Debug, Default)]
pub struct Lanes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lanes: Vec<Lane>,
    /// Where the search for the lane with the least to do begins.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Lane {
    handle: Handle,
    /// Connections and sessions that it serves.
    load: Arc<AtomicUsize>,
    runtime: Mutex<Option<Runtime>>,
}

/// A session's place on a lane. It counts there for as long as this lives.
#[derive(Debug)]
pub struct OnLane {
    handle: Handle,
    _load: Option<Load>,
}

/// One of a lane's load.
#[derive(Debug)]
struct Load(Arc<AtomicUsize>);

impl Lanes {
    /// # Errors
    /// Where a thread or its event loop cannot be had.
    pub fn start() -> io::Result<Lanes> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let lanes = (0..count).map(|_| Lane::start()).collect::<io::Result<_>>()?;
        Ok(Lanes(Arc::new(Shared { lanes, next: AtomicUsize::new(0) })))
    }

    /// Runs a connection's work on the lane that has the least to do.
    pub(super) fn spawn(&self, tracker: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.least() else {
            tracker.spawn(work);
            return;
        };
        let load = Load::new(&lane.load);
        let work = async move {
            let _load = load;
            work.await;
        };
        tracker.spawn_on(work, &lane.handle);
    }

    /// A place for a session on the lane of its connection.
    pub(super) fn here(&self) -> OnLane {
        let handle = Handle::current();
        let lane = self.0.lanes.iter().find(|lane| lane.handle.id() == handle.id());
        OnLane { _load: lane.map(|lane| Load::new(&lane.load)), handle }
    }

    /// Ends the threads, and what still runs there with them.
    pub async fn end(self) {
        let take = |lane: &Lane| lane.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        let runtimes: Vec<Runtime> = self.0.lanes.iter().filter_map(take).collect();
        let ended = tokio::task::spawn_blocking(move || {
            runtimes.into_iter().for_each(|runtime| runtime.shutdown_timeout(END));
        });
        if let Err(error) = ended.await {
            tracing::error!(%error, "the threads of connections did not end");
        }
    }

    /// Of several that have as little to do, each in its turn.
    fn least(&self) -> Option<&Lane> {
        let Shared { lanes, next } = &*self.0;
        let first = next.fetch_add(1, Ordering::Relaxed) % lanes.len().max(1);
        let (before, after) = lanes.split_at_checked(first)?;
        after.iter().chain(before).min_by_key(|lane| lane.load.load(Ordering::Relaxed))
    }
}

impl Lane {
    fn start() -> io::Result<Lane> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("lane").enable_all().build()?;
        Ok(Lane { handle: runtime.handle().clone(), load: Arc::default(), runtime: Mutex::new(Some(runtime)) })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Dropped in a task, a runtime may not wait for its threads.
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        runtime.into_iter().for_each(Runtime::shutdown_background);
    }
}

impl OnLane {
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// One that belongs to no lane.
    #[cfg(test)]
    pub fn none() -> OnLane {
        Lanes::default().here()
    }
}

impl Load {
    fn new(load: &Arc<AtomicUsize>) -> Load {
        load.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(load))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Places for long work beside the lanes: no more than there are processors, or whatever has a time limit would wait among
/// them for its turn.
static BESIDE: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(thread::available_parallelism().map_or(1, usize::from)));

/// Does work on a text of this size, where it takes long beside the lane. Children are started on the lane, whose thread
/// stays.
pub async fn long<T: Send + 'static>(size: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if size < LONG {
        return work();
    }
    let _place = BESIDE.acquire().await;
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and with it whoever waits.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::sync::{mpsc, oneshot};
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn loads(lanes: &Lanes) -> Vec<usize> {
        lanes.0.lanes.iter().map(|lane| lane.load.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test]
    async fn connections_are_shared_out_and_what_they_begin_stays_with_them() {
        let lanes = Lanes::start().unwrap();
        let (tracker, (told, mut hears)) = (TaskTracker::new(), mpsc::unbounded_channel());
        let open = CancellationToken::new();
        let count = lanes.0.lanes.len();
        for _ in 0..2 * count {
            let (told, open, of_task) = (told.clone(), open.clone(), lanes.clone());
            let tasks = tracker.clone();
            lanes.spawn(&tracker, async move {
                let here = || Handle::current().id();
                let (told_too, begun) = oneshot::channel();
                tasks.spawn_on(async move { told_too.send(here()).unwrap() }, of_task.here().handle());
                told.send((here(), begun.await.unwrap())).unwrap();
                open.cancelled().await;
            });
        }
        let mut served = HashMap::new();
        for _ in 0..2 * count {
            let (here, begun) = hears.recv().await.unwrap();
            assert_eq!(here, begun);
            *served.entry(here).or_insert(0) += 1;
        }
        assert_eq!(served.len(), count);
        assert!(served.values().all(|count| *count == 2), "{served:?}");
        open.cancel();
        tracker.close();
        tracker.wait().await;
        assert!(loads(&lanes).iter().all(|load| *load == 0));
    }

    /// Sessions whose connections come and go are shared out as well.
    #[tokio::test]
    async fn sessions_outlive_their_connections_and_count() {
        let lanes = Lanes::start().unwrap();
        let (connections, sessions) = (TaskTracker::new(), TaskTracker::new());
        let open = CancellationToken::new();
        for begun_before in 0..4 * lanes.0.lanes.len() {
            let (of_task, sessions, open) = (lanes.clone(), sessions.clone(), open.clone());
            let (begun, begins) = oneshot::channel();
            lanes.spawn(&connections, async move {
                let lane = of_task.here();
                let handle = lane.handle().clone();
                let session = async move {
                    let _lane = lane;
                    open.cancelled().await;
                };
                sessions.spawn_on(session, &handle);
                begun.send(()).unwrap();
            });
            begins.await.unwrap();
            while loads(&lanes).iter().sum::<usize>() > begun_before + 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        connections.close();
        connections.wait().await;
        assert!(loads(&lanes).iter().all(|load| *load == 4), "{:?}", loads(&lanes));
        open.cancel();
        sessions.close();
        sessions.wait().await;
        assert!(loads(&lanes).iter().all(|load| *load == 0));
    }

    #[tokio::test]
    async fn long_work_keeps_nobody_waiting() {
        let lanes = Lanes::start().unwrap();
        let (tracker, (go, goes)) = (TaskTracker::new(), std::sync::mpsc::channel());
        let (told, hears) = oneshot::channel();
        let of_task = lanes.clone();
        let tasks = tracker.clone();
        lanes.spawn(&tracker, async move {
            tasks.spawn_on(async move { told.send(()).unwrap() }, of_task.here().handle());
            // Ends only when the other has run.
            long(LONG, move || goes.recv().unwrap()).await;
        });
        timeout(Duration::from_secs(20), hears).await.unwrap().unwrap();
        go.send(()).unwrap();
        tracker.close();
        tracker.wait().await;
        let panicked = tokio::spawn(long(LONG, || panic!("work that panics"))).await;
        assert!(panicked.unwrap_err().is_panic());
        assert_eq!(BESIDE.available_permits(), thread::available_parallelism().unwrap().get());
    }

    #[tokio::test]
    async fn a_lane_outlives_work_that_panics_and_ends_with_what_still_runs() {
        for by_hand in [true, false] {
            let lanes = Lanes::start().unwrap();
            let tracker = TaskTracker::new();
            for _ in 0..lanes.0.lanes.len() {
                lanes.spawn(&tracker, async { panic!("a connection that panics") });
            }
            tracker.close();
            tracker.wait().await;
            assert!(loads(&lanes).iter().all(|load| *load == 0));
            let (held, ended) = oneshot::channel::<()>();
            lanes.spawn(&TaskTracker::new(), async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            if by_hand {
                lanes.end().await
            } else {
                drop(lanes)
            }
            assert!(ended.await.is_err());
        }
    }
}
