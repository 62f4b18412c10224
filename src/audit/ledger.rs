//! The log as its writer knows it: the store, where it ends, and what is still to be written. Gives records their
//! places and commits them.
//!
//! Invariant: an answer to a waiter is given after its commit, in the order of the chain; a batch is in the store whole
//! or not at all. After a failure nothing is written before the end of the log was compared with what is known of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::call::{CallId, Digest};

use super::record::{Event, Record};
use super::recover::{OpenCalls, Step};
use super::store::head::{Head, HeadFile};
use super::store::sqlite::{Failure, Link, Store};
use super::store::{Lock, Paths};
use super::verify::{Chain, Problem};
use super::{AuditError, Options, Receipt};

/// Records that may be unsynced before a commit is synced anyway.
const MAX_UNSYNCED: u64 = 1000;
/// Notes that are kept for another try when they could not be written. Their bodies take at most this part of the
/// room: something new must always be able to come in, for it brings the next try.
const BACKLOG: usize = 512;
const BACKLOG_PART: usize = 4;
/// Notes that may wait for the next commit, and how long one may be.
const DEFERRED: usize = 64;
const DEFERRED_BODY: usize = 4 << 10;
/// Bytes written ahead, roughly, after which an idle writer moves them into the database, and after which a busy one
/// does so too.
const CHECKPOINT_IDLE: usize = 4 << 20;
const CHECKPOINT_BUSY: usize = 32 << 20;
/// What a commit writes ahead besides its bodies: the page that it ends in, and now and then an inner one.
const COMMIT_BYTES: usize = 6 << 10;
/// How many records from the end are checked at start.
const CHECKED_TAIL: u64 = 256;
/// Wall clock and uptime may drift apart by so much before the clock counts as set.
const CLOCK_STEP_MS: i64 = 1000;

pub(super) type Reply = oneshot::Sender<Result<Receipt, AuditError>>;

/// What the handles see of the writer.
#[derive(Debug)]
pub(super) struct Shared {
    pub records: AtomicU64,
    /// Number and hash of the last record that was written.
    end: Mutex<(u64, Digest)>,
    /// Records on their way to the writer's thread: whatever comes later may not pass them.
    queued: AtomicUsize,
    /// Milliseconds from `start` to the begin of the commit that is going on; 0 where none is.
    busy_since: AtomicU64,
    /// Somebody sees to it that what is deferred is written.
    pub flushing: AtomicBool,
    start: Instant,
}

impl Shared {
    pub fn new() -> Shared {
        Shared {
            records: AtomicU64::new(0),
            end: Mutex::new((0, Digest::from_bytes([0; 32]))),
            queued: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            flushing: AtomicBool::new(false),
            start: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// The log ends here from now on.
    fn ends(&self, Link { seq, hash }: Link) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = (seq, hash);
        self.records.store(seq, Ordering::Relaxed);
    }

    pub fn end(&self) -> (u64, Digest) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the commit has taken that is going on.
    pub fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now().saturating_sub(since)),
        }
    }

    /// Nothing is on its way to the writer's thread.
    pub fn is_quiet(&self) -> bool {
        self.queued.load(Ordering::SeqCst) == 0
    }
}

/// A record on its way to the writer's thread, until it is written or refused.
#[derive(Debug)]
pub(super) struct Queued(Arc<Shared>);

impl Queued {
    pub fn new(shared: &Arc<Shared>) -> Queued {
        shared.queued.fetch_add(1, Ordering::SeqCst);
        Queued(Arc::clone(shared))
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A record without a place, and who waits for it.
#[derive(Debug)]
pub(super) struct Pending {
    record: Record,
    call: Option<CallId>,
    sync: bool,
    step: Step,
    wall_ms: i64,
    reply: Option<Reply>,
    /// Both go with the record: its part of the room, and its place in the queue.
    _room: Option<OwnedSemaphorePermit>,
    _queued: Option<Queued>,
}

impl Pending {
    pub fn new(call: Option<CallId>, sync: bool, event: &Event) -> Result<Pending, AuditError> {
        let body = event.body().map_err(|error| AuditError::Write(format!("not a JSON body: {error}")))?;
        let now = jiff::Timestamp::now();
        let nowhere = Digest::from_bytes([0; 32]);
        let record = Record {
            seq: 0,
            at: format!("{now:.6}"),
            up_ms: uptime_ms(),
            call: call.as_ref().map(ToString::to_string),
            kind: event.kind().to_owned(),
            body: body.as_str().to_owned(),
            prev: nowhere,
            hash: nowhere,
        };
        let (step, wall_ms) = (Step::of(event), now.as_millisecond());
        Ok(Pending { record, call, sync, step, wall_ms, reply: None, _room: None, _queued: None })
    }

    /// There is a receipt only once it is on the disk.
    pub fn must_sync(&self) -> bool {
        self.sync
    }

    /// Bytes of the body.
    pub fn size(&self) -> usize {
        self.record.body.len()
    }

    pub fn attach(&mut self, reply: Option<Reply>, room: OwnedSemaphorePermit, queued: Queued) {
        self.reply = reply;
        self._room = Some(room);
        self._queued = Some(queued);
    }

    #[cfg(test)]
    pub fn set_clock_back(&mut self, ms: i64) {
        self.wall_ms -= ms;
    }

    fn clock(&self) -> i64 {
        self.wall_ms.saturating_sub_unsigned(self.record.up_ms)
    }

    /// Nobody waits any more for what somebody waited for.
    pub fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(Reply::is_closed)
    }
}

/// Milliseconds since the machine started, suspended time included.
pub fn uptime_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    // On macOS this one goes on in sleep.
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// What is known after a write that failed.
#[derive(Clone, Copy, Debug)]
struct Failed {
    connection_good: bool,
    /// Where the log would end if the write has happened after all.
    attempted: Link,
}

#[derive(Debug)]
pub(super) struct Ledger {
    shared: Arc<Shared>,
    store: Store,
    head: HeadFile,
    /// The last record that this writer knows to be in the store.
    end: Link,
    /// Where it ends if the last write has happened.
    attempted: Link,
    open: OpenCalls,
    /// Notes that are written together with the next record, and those that could not be written yet.
    backlog: VecDeque<Pending>,
    backlog_bytes: usize,
    /// Records that were refused since the last one that was written.
    refused: u64,
    /// The last write failed.
    failed: Option<Failed>,
    unsynced: u64,
    ahead: usize,
    /// Wall clock less uptime, in milliseconds.
    clock: Option<i64>,
    /// Last: released when everything else is closed.
    _lock: Lock,
}

impl Ledger {
    /// Opens the store, or makes a new one; checks its end, and closes what an earlier run left open.
    pub fn open(path: &Path, options: Options, shared: Arc<Shared>) -> Result<Ledger, AuditError> {
        let paths = Paths::for_writing(path)?;
        let lock = Lock::take(&paths.lock)?;
        let head = Head::read(&paths.head)?;
        if let Some(head) = head.filter(|head| head.seq > 0 && !paths.db.exists()) {
            return Err(AuditError::Broken(Problem::Cut { last: 0, head: head.seq }));
        }
        let store = Store::open(&paths, options.busy)?;
        let end = check_end(&store, head.as_ref())?;
        let low = head.map_or(1, |head| head.low);
        let first = Head { seq: end.seq, hash: end.hash, low, closed: false };
        let head = HeadFile::start(&paths.head, &first).map_err(|error| AuditError::file(&paths.head, &error))?;
        shared.ends(end);
        let mut ledger = Ledger {
            shared,
            store,
            head,
            end,
            attempted: end,
            open: OpenCalls::default(),
            backlog: VecDeque::new(),
            backlog_bytes: options.room * 1024 / BACKLOG_PART,
            refused: 0,
            failed: None,
            unsynced: 0,
            ahead: 0,
            clock: None,
            _lock: lock,
        };
        ledger.close_open_calls(low)?;
        Ok(ledger)
    }

    /// What record 1 follows: it names this log.
    pub fn genesis(&self) -> Result<Digest, AuditError> {
        self.store.log().genesis()
    }

    /// I7: whatever an earlier run left open ends here.
    fn close_open_calls(&mut self, low: u64) -> Result<(), AuditError> {
        let mut from = Some(low);
        while let Some(low) = from {
            self.read_on(low)?;
            let (open, rest) = self.open.take();
            from = rest;
            let mut closing = Vec::with_capacity(open.len());
            for (call, stage) in open {
                let event = Event::Recovered { outcome: stage.recovery() };
                tracing::warn!(call, outcome = ?stage.recovery(), "closing a call that an earlier run left open");
                let mut pending = Pending::new(None, true, &event)?;
                pending.record.call = Some(call);
                closing.push(pending);
            }
            self.write(&mut closing).map_err(|failure| failure.error)?;
        }
        Ok(())
    }

    /// Learns from stored records which calls are open.
    fn read_on(&mut self, from: u64) -> Result<(), AuditError> {
        let mut problem = None;
        self.store.log().scan(from, |found| {
            match found {
                Ok(record) => {
                    let step = Step::read(&record.kind, &record.body);
                    self.open.apply(record.seq, record.call.as_deref(), step);
                }
                Err(odd) => problem = Some(odd),
            }
            problem.is_none()
        })?;
        problem.map_or(Ok(()), |problem| Err(AuditError::Broken(problem)))
    }

    /// Writes a batch and answers those who wait. What could not be written comes back.
    pub fn commit(&mut self, mut batch: Vec<Pending>) -> Result<(), (Vec<Pending>, Failure)> {
        batch.retain(|pending| !pending.is_abandoned());
        if batch.is_empty() {
            return Ok(());
        }
        self.shared.busy_since.store(self.shared.now(), Ordering::Relaxed);
        let written = self.write(&mut batch);
        self.shared.busy_since.store(0, Ordering::Relaxed);
        if let Err(failure) = written {
            return Err((batch, failure));
        }
        for Pending { record, call, reply, .. } in batch {
            if let Some(reply) = reply {
                // The waiter may be gone; then nobody acts on the record.
                let _ = reply.send(Ok(Receipt { seq: record.seq, call }));
            }
        }
        Ok(())
    }

    /// Writes one record that need not be synced, on the thread of whoever asks: it costs less than waking another one
    /// and being woken. Gives the record back where anything is out of the ordinary, for the writer's thread to see to.
    pub fn write_now(&mut self, pending: Box<Pending>) -> Result<Result<Receipt, AuditError>, Box<Pending>> {
        if !self.is_ordinary(&pending) {
            return Err(pending);
        }
        let mut batch = self.take_backlog();
        batch.push(*pending);
        self.store.set_patient(false);
        let written = self.write(&mut batch);
        self.store.set_patient(true);
        let Some(pending) = batch.pop() else { return Ok(Err(AuditError::Closed)) };
        match written {
            Ok(()) => Ok(Ok(Receipt { seq: pending.record.seq, call: pending.call })),
            // Somebody else has the lock: nothing was written. The thread can wait for it.
            Err(failure) if failure.locked => {
                self.backlog.extend(batch);
                Err(Box::new(pending))
            }
            Err(failure) => {
                self.refuse(batch, &failure);
                self.refused += 1;
                Ok(Err(failure.error))
            }
        }
    }

    /// Keeps a note for the next commit, where nothing is out of the ordinary. Somebody has to see to it that there is
    /// one soon.
    pub fn defer(&mut self, pending: Box<Pending>) -> Result<(), Box<Pending>> {
        if !self.is_ordinary(&pending) || self.backlog.len() >= DEFERRED || pending.size() > DEFERRED_BODY {
            return Err(pending);
        }
        self.backlog.push_back(*pending);
        Ok(())
    }

    fn is_ordinary(&self, pending: &Pending) -> bool {
        !pending.sync
            && self.failed.is_none()
            && self.refused == 0
            && self.unsynced < MAX_UNSYNCED
            && self.ahead < CHECKPOINT_IDLE
            && self.stepped(Some(pending.clock())).is_none()
    }

    /// Remembers a failure.
    fn failed(&mut self, failure: &Failure) -> AuditError {
        tracing::error!(error = %failure.error, "records are refused: nothing is sent until they can be written");
        let known_bad = self.failed.is_some_and(|failed| !failed.connection_good);
        let connection_good = failure.connection_good && !known_bad;
        self.failed = Some(Failed { connection_good, attempted: self.attempted });
        // On a full disk, what was written ahead may be what fills it.
        self.ahead = CHECKPOINT_BUSY;
        failure.error.clone()
    }

    /// Answers everybody of a batch that could not be written. Notes stay for another try, as many as there is room
    /// for.
    pub fn refuse(&mut self, batch: Vec<Pending>, failure: &Failure) {
        let error = self.failed(failure);
        let mut bytes = 0;
        for pending in batch {
            if let Some(reply) = pending.reply {
                self.refused += 1;
                let _ = reply.send(Err(error.clone()));
            } else if self.backlog.len() < BACKLOG && bytes + pending.size() <= self.backlog_bytes {
                bytes += pending.size();
                self.backlog.push_back(pending);
            } else {
                self.refused += 1;
            }
        }
    }

    /// The notes that are still to be written.
    pub fn take_backlog(&mut self) -> Vec<Pending> {
        self.backlog.drain(..).collect()
    }

    /// One commit: records of our own that have to come first, then the batch.
    fn write(&mut self, batch: &mut [Pending]) -> Result<(), Failure> {
        if batch.is_empty() {
            return Ok(());
        }
        self.recheck()?;
        let clock = batch.last().map(Pending::clock);
        let mut own = self.own_records(clock)?;
        let mut end = self.end;
        for pending in own.iter_mut().chain(batch.iter_mut()) {
            pending.record.seal(end.seq + 1, end.hash);
            end = Link { seq: pending.record.seq, hash: pending.record.hash };
        }
        self.attempted = end;
        let count = (own.len() + batch.len()) as u64;
        let sync = self.unsynced + count > MAX_UNSYNCED || own.iter().chain(&*batch).any(|pending| pending.sync);
        self.store.append(own.iter().chain(&*batch).map(|pending| &pending.record), sync)?;
        self.end = end;
        self.refused = 0;
        self.clock = clock;
        self.ahead += COMMIT_BYTES;
        self.shared.ends(end);
        for Pending { record, step, .. } in own.iter().chain(&*batch) {
            self.open.apply(record.seq, record.call.as_deref(), *step);
            self.ahead += record.body.len();
        }
        self.unsynced = if sync { 0 } else { self.unsynced + count };
        if sync {
            self.write_head();
        }
        Ok(())
    }

    fn own_records(&self, clock: Option<i64>) -> Result<Vec<Pending>, AuditError> {
        let mut own = Vec::new();
        if self.refused > 0 {
            own.push(Pending::new(None, true, &Event::Gap { refused: self.refused })?);
        }
        if let Some(by_ms) = self.stepped(clock) {
            own.push(Pending::new(None, false, &Event::ClockStepped { by_ms })?);
        }
        Ok(own)
    }

    /// By how much the clock was set since the last record, where it was.
    fn stepped(&self, clock: Option<i64>) -> Option<i64> {
        let by_ms = clock? - self.clock?;
        (by_ms.abs() > CLOCK_STEP_MS).then_some(by_ms)
    }

    fn write_head(&mut self) {
        let Link { seq, hash } = self.end;
        let head = Head { seq, hash, low: self.open.low(seq + 1), closed: false };
        if let Err(error) = self.head.write(&head) {
            // The record is safe. Only a cut of the last records would go unnoticed until this works again.
            tracing::error!(%error, "audit.head could not be written");
        }
    }

    /// After a failure: the store has to end where we think it does, or where the write would have ended that was
    /// reported as failed: a disk may fail to sync what it keeps.
    fn recheck(&mut self) -> Result<(), AuditError> {
        let Some(Failed { connection_good, attempted }) = self.failed else { return Ok(()) };
        if !connection_good {
            self.store.reopen()?;
            self.failed = Some(Failed { connection_good: true, attempted });
        }
        let end = end_of(&self.store)?;
        if end == attempted {
            self.read_on(self.end.seq + 1)?;
            self.end = attempted;
        } else if end.seq < self.end.seq {
            return Err(AuditError::Broken(Problem::Cut { last: end.seq, head: self.end.seq }));
        } else if end != self.end {
            return Err(AuditError::Broken(Problem::Unlinked { seq: self.end.seq + 1 }));
        }
        self.failed = None;
        Ok(())
    }

    /// Keeps the file that is written ahead small, when nobody waits or when it has to be.
    pub fn checkpoint(&mut self, idle: bool) {
        let due = if idle { CHECKPOINT_IDLE } else { CHECKPOINT_BUSY };
        if self.ahead < due {
            return;
        }
        self.ahead = 0;
        if let Err(error) = self.store.checkpoint() {
            // Everything is in the file that is written ahead; the next checkpoint takes it along.
            tracing::warn!(%error, "audit checkpoint failed");
        }
    }

    /// Writes what is left, syncs, marks the end as final and lets go of the files.
    pub fn finish(mut self) {
        let last = self.take_backlog();
        if let Err((batch, failure)) = self.commit(last) {
            self.refuse(batch, &failure);
        }
        if !self.backlog.is_empty() || self.refused > 0 {
            tracing::error!(notes = self.backlog.len(), refused = self.refused, "records were lost");
        }
        let Ledger { store, mut head, end, open, .. } = self;
        if let Err(error) = store.finish() {
            tracing::error!(%error, "the audit could not be closed in order");
            return;
        }
        let closed = Head { seq: end.seq, hash: end.hash, low: open.low(end.seq + 1), closed: true };
        if let Err(error) = head.write_both(&closed) {
            tracing::error!(%error, "audit.head could not be written");
        }
    }

    #[cfg(test)]
    pub fn execute(&self, sql: &str) {
        self.store.execute(sql);
    }
}

fn end_of(store: &Store) -> Result<Link, AuditError> {
    match store.log().last()? {
        None => Ok(Link { seq: 0, hash: store.log().genesis()? }),
        Some(Ok(record)) => Ok(Link { seq: record.seq, hash: record.hash }),
        Some(Err(problem)) => Err(AuditError::Broken(problem)),
    }
}

/// The end of the log, after a look at its last records and at what the head says about them.
fn check_end(store: &Store, head: Option<&Head>) -> Result<Link, AuditError> {
    let end = end_of(store)?;
    let from = end.seq.saturating_sub(CHECKED_TAIL) + 1;
    let genesis = if from == 1 { Some(store.log().genesis()?) } else { None };
    let mut chain = Chain::new(genesis);
    let mut problem = None;
    store.log().scan(from, |found| {
        problem = found.and_then(|record| chain.follow(&record)).err();
        problem.is_none()
    })?;
    let Some(head) = head else {
        // Only a log that was just made has none.
        let missing = (end.seq > 0).then_some(Problem::HeadMissing);
        return problem.or(missing).map_or(Ok(end), |problem| Err(AuditError::Broken(problem)));
    };
    let at_head = match head.seq {
        0 => Some(store.log().genesis()?),
        seq => store.log().get(seq)?.and_then(Result::ok).map(|record| record.hash),
    };
    let problem = problem.or_else(|| Chain::check_head(end, at_head, head).err());
    problem.map_or(Ok(end), |problem| Err(AuditError::Broken(problem)))
}
