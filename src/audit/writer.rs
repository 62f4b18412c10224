//! The writer's thread: takes what has come in together to the ledger, where it is committed at once; waits for locks
//! and for the disk, so that nobody else has to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::ledger::{Ledger, Pending};

/// Most records in one commit.
const BATCH: usize = 512;

#[derive(Debug)]
pub(super) enum Job {
    Write(Box<Pending>),
    /// Write what is deferred.
    Flush,
    Close(oneshot::Sender<()>),
}

/// The ledger, until the log is closed.
pub(super) type Book = Mutex<Option<Ledger>>;

#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Receiver<Job>,
    book: Arc<Book>,
    closing: Option<oneshot::Sender<()>>,
}

impl Writer {
    pub fn new(jobs: mpsc::Receiver<Job>, book: Arc<Book>) -> Writer {
        Writer { jobs, book, closing: None }
    }

    /// Until the log is closed or nobody can write to it any more.
    pub fn run(mut self) {
        while self.closing.is_none() {
            let Some(job) = self.jobs.blocking_recv() else { break };
            let book = Arc::clone(&self.book);
            let mut book = open(&book);
            // It is taken out only here, at the end.
            let Some(ledger) = book.as_mut() else { break };
            let mut batch = ledger.take_backlog();
            self.gather(Some(job), &mut batch, BATCH);
            if let Err((mut batch, failure)) = ledger.commit(batch) {
                // Those in the queue have waited for the same lock or disk.
                self.gather(None, &mut batch, 2 * BATCH);
                ledger.refuse(batch, &failure);
            }
            ledger.checkpoint(self.jobs.is_empty());
        }
        // Whoever queued behind the close finds the channel closed.
        self.jobs.close();
        if let Some(ledger) = open(&self.book).take() {
            ledger.finish();
        }
        if let Some(done) = self.closing.take() {
            let _ = done.send(());
        }
    }

    /// What is queued now, up to a close.
    fn gather(&mut self, first: Option<Job>, batch: &mut Vec<Pending>, most: usize) {
        let mut next = first;
        loop {
            if next.is_none() && self.closing.is_none() && batch.len() < most {
                next = self.jobs.try_recv().ok();
            }
            match next.take() {
                Some(Job::Write(pending)) => batch.push(*pending),
                Some(Job::Flush) => {}
                Some(Job::Close(done)) => self.closing = Some(done),
                None => return,
            }
        }
    }
}

/// A panic while it was held leaves a failed write at most, which the next one compares with the store.
pub(super) fn open(book: &Book) -> MutexGuard<'_, Option<Ledger>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
