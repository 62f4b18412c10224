//! The record: what happened, in order, durable before it has an effect (I8). Format and verification: `docs/audit.md`.
//!
//! - `record`: the words, and the bytes that are hashed
//! - `ledger`: the store and its end; gives records their places
//! - `writer`: the thread that waits for locks and for the disk
//! - `recover`: what a restart does with calls that were open (I7)
//! - `verify`: is it intact
//! - `words`, `page`, `stats`: what records say, for people
//! - `store`: files and SQL
//!
//! Invariant: a [`Receipt`] exists only for a record that is in the store, synced where that was asked for. Whoever has
//! none must not act. Answers of upstreams and secrets never come here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::call::{CallId, Digest};

mod ledger;
mod page;
mod record;
mod recover;
mod stats;
mod store;
pub mod verify;
mod words;
mod writer;

pub use ledger::uptime_ms;
pub use page::{About, Line, Page};
pub use record::{
    Answer, CallFacts, ChangedTool, Event, Judged, MAX_BODY, Record, Recovery, Ruling, SeenTool, Signed, ToolRuling,
};
pub use stats::{MAX_RECORDS as MAX_COUNTED, RuleStats, Stats};
pub use verify::{Checkpoint, Problem};
pub use words::Words;

use ledger::{Ledger, Pending, Queued, Shared};
use store::sqlite::Log;
use writer::{Book, Job, Writer};

/// Records that wait for the writer.
const QUEUE: usize = 1024;
/// Bodies that wait for the writer, in KiB all together.
const ROOM: usize = 64 << 10;
/// A disk that has not answered for so long refuses new records at once.
const STALLED: Duration = Duration::from_secs(10);
/// How long a note may wait for a record that it can be written with.
const FLUSH: Duration = Duration::from_millis(5);
/// How long somebody else may lock the database before a record is refused.
const BUSY: Duration = Duration::from_secs(2);

/// Why there is no receipt, or no log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    #[error("audit: {}: {why}", path.display())]
    Unsafe { path: PathBuf, why: String },
    #[error("audit: {}: {error}", path.display())]
    File { path: PathBuf, error: String },
    #[error(
        "audit: {}: another daemon{} writes this log\nhelp: stop it first, or give this one its own `state_dir`",
        path.display(),
        holder.map_or(String::new(), |pid| format!(" (process {pid})"))
    )]
    Held { path: PathBuf, holder: Option<u32> },
    #[error(
        "audit: {}: a newer version wrote this log (format {found}; this one knows {known})\nhelp: run that version, or \
         give this one its own `state_dir`; the log is left as it is",
        path.display()
    )]
    Version { path: PathBuf, found: i32, known: i32 },
    #[error("audit: the database is not an audit log")]
    Foreign,
    #[error(
        "audit: {0}\nhelp: nothing is recorded on top of a log that is not intact: look at it with \
         `countersign audit verify`; to go on, move audit.db and audit.head together to where they are kept as evidence"
    )]
    Broken(Problem),
    /// The record is not in the store.
    #[error("audit: the record could not be written: {0}")]
    Write(String),
    #[error("audit: the disk has not answered for {} seconds", STALLED.as_secs())]
    Stalled,
    #[error("audit: the log is closed")]
    Closed,
}

impl AuditError {
    fn file(path: &Path, error: &io::Error) -> AuditError {
        AuditError::File { path: path.to_owned(), error: error.to_string() }
    }
}

/// Something to record.
#[derive(Clone, Debug)]
pub struct Entry {
    pub call: Option<CallId>,
    /// It has to reach the disk, and not only the system, before there is a receipt: whatever was held or can change
    /// anything.
    pub sync: bool,
    pub event: Event,
}

impl Entry {
    pub fn new(call: Option<&CallId>, sync: bool, event: Event) -> Entry {
        Entry { call: call.cloned(), sync, event }
    }
}

/// A witness that a record is durable. Nobody can make one, copy one or keep one from an earlier call.
#[must_use]
#[derive(Debug)]
pub struct Receipt {
    seq: u64,
    call: Option<CallId>,
}

impl Receipt {
    /// The record's number.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The call that the record is about.
    pub fn call(&self) -> Option<&CallId> {
        self.call.as_ref()
    }
}

/// A handle on the log. The writer ends when the last one is dropped; [`AuditLog::close`] waits for that.
#[derive(Clone, Debug)]
pub struct AuditLog {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
    book: Arc<Book>,
    path: Arc<Path>,
    sync_all: bool,
    instance: Digest,
}

/// What tests turn.
#[derive(Clone, Copy, Debug)]
struct Options {
    sync_all: bool,
    busy: Duration,
    /// KiB of bodies that may wait.
    room: usize,
}

impl AuditLog {
    /// Opens the log, or makes a new one; checks its end; closes the calls that an earlier run left open (I7); starts
    /// the writer. Blocks for some milliseconds: for the start of the program. `sync_all` syncs every record.
    ///
    /// # Errors
    /// Another daemon writes it, it is not intact, others could change it, or it cannot be written.
    pub fn open(path: &Path, sync_all: bool) -> Result<AuditLog, AuditError> {
        AuditLog::open_with(path, Options { sync_all, busy: BUSY, room: ROOM })
    }

    fn open_with(path: &Path, options: Options) -> Result<AuditLog, AuditError> {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::new());
        let ledger = Ledger::open(path, options, Arc::clone(&shared))?;
        let instance = ledger.genesis()?;
        let book = Arc::new(Mutex::new(Some(ledger)));
        let writer = Writer::new(jobs, Arc::clone(&book));
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run());
        thread.map_err(|error| AuditError::file(path, &error))?;
        let room = Arc::new(Semaphore::new(options.room));
        Ok(AuditLog { jobs: sender, room, shared, book, path: path.into(), sync_all: options.sync_all, instance })
    }

    /// Records, and returns once that is durable. Records of one task stand in the order of its calls.
    ///
    /// Where the future is dropped the record may or may not be written: whoever drops it has not acted on it, and
    /// notes how the call ended.
    ///
    /// # Errors
    /// The record is not in the store, or nobody can say so: do not act.
    pub async fn append(&self, entry: Entry) -> Result<Receipt, AuditError> {
        let pending = match self.at_once(self.pending(entry)?) {
            Ok(written) => return written,
            Err(pending) => pending,
        };
        let (reply, answer) = oneshot::channel();
        self.queue(pending, Some(reply)).await?;
        answer.await.map_err(|_| AuditError::Closed)?
    }

    /// Records without waiting for the disk: for what has already happened. It is written together with the next
    /// record, and soon without one. Where it cannot be written it is tried again, and what comes after it gets no
    /// receipt before it is in the store.
    ///
    /// # Errors
    /// Where it was not even queued.
    pub async fn note(&self, entry: Entry) -> Result<(), AuditError> {
        match self.deferred(self.pending(entry)?) {
            Ok(()) => {
                self.flush_soon();
                Ok(())
            }
            Err(pending) => self.queue(pending, None).await,
        }
    }

    /// Sees to it that what is deferred is written, with or without another record.
    fn flush_soon(&self) {
        if self.shared.flushing.swap(true, Ordering::SeqCst) {
            return;
        }
        let log = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(FLUSH).await;
            // First this: whatever is deferred from now on has another flush coming.
            log.shared.flushing.store(false, Ordering::SeqCst);
            // A full queue will be written, and a closed log has been, with everything that was deferred.
            let _ = log.jobs.try_send(Job::Flush);
        });
    }

    fn pending(&self, entry: Entry) -> Result<Box<Pending>, AuditError> {
        if self.shared.busy_for() > STALLED {
            return Err(AuditError::Stalled);
        }
        Pending::new(entry.call, entry.sync || self.sync_all, &entry.event).map(Box::new)
    }

    /// Writes a record that need not be synced, where nothing is before it. Gives it back where it has to wait.
    fn at_once(&self, pending: Box<Pending>) -> Result<Result<Receipt, AuditError>, Box<Pending>> {
        if pending.must_sync() || !self.shared.is_quiet() {
            return Err(pending);
        }
        // The writer's thread may hold it for as long as a disk takes.
        match self.book.try_lock().as_deref_mut() {
            Ok(Some(ledger)) => ledger.write_now(pending),
            Ok(None) => Ok(Err(AuditError::Closed)),
            Err(_) => Err(pending),
        }
    }

    /// Keeps a note for the next commit. Gives it back where it has to wait in the queue.
    fn deferred(&self, pending: Box<Pending>) -> Result<(), Box<Pending>> {
        if pending.must_sync() || !self.shared.is_quiet() {
            return Err(pending);
        }
        match self.book.try_lock().as_deref_mut() {
            Ok(Some(ledger)) => ledger.defer(pending),
            Ok(None) | Err(_) => Err(pending),
        }
    }

    async fn queue(
        &self,
        mut pending: Box<Pending>,
        reply: Option<oneshot::Sender<Result<Receipt, AuditError>>>,
    ) -> Result<(), AuditError> {
        let queued = Queued::new(&self.shared);
        let size = u32::try_from(1 + pending.size() / 1024).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(size).await.map_err(|_| AuditError::Closed)?;
        pending.attach(reply, room, queued);
        self.jobs.send(Job::Write(pending)).await.map_err(|_| AuditError::Closed)
    }

    #[cfg(test)]
    pub(crate) fn execute(&self, sql: &str) {
        writer::open(&self.book).as_ref().unwrap().execute(sql);
    }

    /// Names this log and no other: what its first record follows.
    pub fn instance(&self) -> Digest {
        self.instance
    }

    /// A reader of this log.
    ///
    /// # Errors
    /// Where it cannot be opened once more.
    pub fn reader(&self) -> Result<AuditReader, AuditError> {
        AuditReader::open(&self.path)
    }

    /// How many records the log has.
    pub fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Relaxed)
    }

    /// The number and the hash of the last record that was written; 0, and what the first one follows, where there is none.
    pub fn end(&self) -> (u64, Digest) {
        self.shared.end()
    }

    /// Writes what is queued, syncs, marks the end as final and lets go of the files. Other handles get
    /// [`AuditError::Closed`] from then on.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            // An error means that the writer is gone, and so are its files.
            let _ = closed.await;
        }
    }
}

/// Reads a log, while its daemon runs or without one.
#[derive(Debug)]
pub struct AuditReader(Log);

impl AuditReader {
    /// # Errors
    /// Where there is no log, or it is not one of ours.
    pub fn open(path: &Path) -> Result<AuditReader, AuditError> {
        Ok(AuditReader(Log::open(&store::Paths::of(path)?.db)?))
    }

    /// The number of the last record; 0 where there is none.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn last(&self) -> Result<u64, AuditError> {
        self.0.last()?.map_or(Ok(0), |found| found.map(|record| record.seq).map_err(AuditError::Broken))
    }

    /// Records in order, from a number on, until `each` returns false.
    ///
    /// # Errors
    /// Where it cannot be read, or a row is nothing that was ever written.
    pub fn scan(&self, from: u64, each: impl FnMut(Record) -> bool) -> Result<(), AuditError> {
        stop_at_problem(each, |found| self.0.scan(from, found))
    }

    /// Records from a number on, back to the first, until `each` returns false.
    ///
    /// # Errors
    /// As for [`AuditReader::scan`].
    pub fn scan_back(&self, from: u64, each: impl FnMut(Record) -> bool) -> Result<(), AuditError> {
        stop_at_problem(each, |found| self.0.scan_back(from, found))
    }

    /// The records of one call, in order.
    ///
    /// # Errors
    /// As for [`AuditReader::scan`].
    pub fn story(&self, call: &CallId, each: impl FnMut(Record) -> bool) -> Result<(), AuditError> {
        stop_at_problem(each, |found| self.0.story(call.as_str(), found))
    }
}

fn stop_at_problem(
    mut each: impl FnMut(Record) -> bool,
    read: impl FnOnce(&mut dyn FnMut(store::sqlite::Found) -> bool) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let mut problem = None;
    read(&mut |found| match found {
        Ok(record) => each(record),
        Err(odd) => {
            problem = Some(odd);
            false
        }
    })?;
    problem.map_or(Ok(()), |problem| Err(AuditError::Broken(problem)))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tamper;
