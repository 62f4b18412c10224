//! All SQL of the audit: one table of records that only grows, and one that names the log.
//!
//! Invariant: a commit that returned is in the file (and on the disk, where it was asked for); whatever else happened
//! is an error. The triggers are a guard against mistakes, not against an attacker: against him there is the chain.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};

use crate::call::Digest;

use super::super::AuditError;
use super::super::record::{MAX_BODY, Record, genesis};
use super::super::verify::Problem;
use super::{Paths, create_private};

/// `CSAG`: marks the file as ours.
const APPLICATION_ID: i32 = 0x4353_4147;
/// Version of the tables. A file of a later one is refused.
const VERSION: i32 = 1;
/// After which the file that is written ahead is cut back to this size.
const WAL_LIMIT: u32 = 64 << 20;

/// Longest row that is read, in bytes: more is nothing that we wrote.
const MAX_ROW: i32 = 3 << 20;
const _: () = assert!(MAX_BODY + (64 << 10) < MAX_ROW as usize);

const SCHEMA: &str = "
CREATE TABLE records (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, up_ms INTEGER NOT NULL, call TEXT, kind TEXT NOT NULL,
    body TEXT NOT NULL, prev BLOB NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE TRIGGER records_follow BEFORE INSERT ON records
WHEN NEW.seq IS NOT (SELECT ifnull(max(seq), 0) + 1 FROM records)
BEGIN SELECT RAISE(ABORT, 'records only follow the last one'); END;
CREATE TRIGGER records_stay BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'records stay'); END;
CREATE TRIGGER records_keep BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'records are not changed'); END;
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TRIGGER meta_stays BEFORE DELETE ON meta BEGIN SELECT RAISE(ABORT, 'meta stays'); END;
CREATE TRIGGER meta_keeps BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'meta is not changed'); END;
";

const COLUMNS: &str = "seq, at, up_ms, call, kind, body, prev, hash";

/// The end of a chain: number and hash of the last record, or 0 and what the first record follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::audit) struct Link {
    pub seq: u64,
    pub hash: Digest,
}

/// The connection of the one writer.
#[derive(Debug)]
pub(in crate::audit) struct Store {
    log: Log,
    path: PathBuf,
    busy: Duration,
    /// Whether the connection syncs its commits, where that is known.
    sync: Option<bool>,
}

impl Store {
    /// Opens the log, or makes a new one where there is none.
    pub fn open(paths: &Paths, busy: Duration) -> Result<Store, AuditError> {
        if !paths.db.exists() {
            create_private(&paths.db)?;
        }
        let db = connect(&paths.db, true, busy)?;
        if version(&db)? == 0 && objects(&db)?.is_empty() {
            create(&db)?;
        }
        Ok(Store { log: Log(writable(db)?), path: paths.db.clone(), busy, sync: None })
    }

    /// A new connection in place of one that failed.
    pub fn reopen(&mut self) -> Result<(), AuditError> {
        self.log = Log(writable(connect(&self.path, true, self.busy)?)?);
        self.sync = None;
        Ok(())
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Writes sealed records in one commit. After an error none of them is in the log.
    pub fn append<'a>(&mut self, records: impl Iterator<Item = &'a Record>, sync: bool) -> Result<(), Failure> {
        if !self.log.0.is_autocommit() {
            // A roll-back failed: whatever is written on this connection would not be committed.
            let error = AuditError::Write("an earlier write is still open".to_owned());
            return Err(Failure { error, connection_good: false, locked: false });
        }
        if self.sync != Some(sync) {
            self.sync = None;
            self.log.0.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })?;
            self.sync = Some(sync);
        }
        let mut records = records.peekable();
        let first = records.next();
        if records.peek().is_none() {
            // One statement is a commit by itself, and the cheapest one.
            return Ok(insert_all(&self.log.0, first.into_iter())?);
        }
        self.log.0.prepare_cached("BEGIN IMMEDIATE")?.raw_execute()?;
        let written = insert_all(&self.log.0, first.into_iter().chain(records))
            .and_then(|()| self.log.0.prepare_cached("COMMIT")?.raw_execute())
            .map(|_| ());
        if written.is_err() && !self.log.0.is_autocommit() {
            // Where even this fails, the next write is refused and the connection replaced.
            let _ = self.log.0.execute_batch("ROLLBACK");
        }
        Ok(written?)
    }

    /// Whether a write waits for somebody else's lock, as it does unless this says otherwise.
    pub fn set_patient(&self, patient: bool) {
        // It sets a number of the connection and cannot fail on an open one. At worst a write waits.
        let _ = self.log.0.busy_timeout(if patient { self.busy } else { Duration::ZERO });
    }

    /// Moves what was written ahead into the database, as far as readers let it.
    pub fn checkpoint(&self) -> rusqlite::Result<()> {
        self.log.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// Everything that was committed is on the disk when this returns.
    pub fn finish(self) -> Result<(), AuditError> {
        self.log.0.pragma_update(None, "synchronous", "FULL")?;
        let busy: bool = self.log.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy {
            // A reader keeps the log that is written ahead: sync it where it is.
            let mut wal = self.path.clone().into_os_string();
            wal.push("-wal");
            let wal = PathBuf::from(wal);
            let synced = std::fs::File::open(&wal).and_then(|file| file.sync_data());
            synced.map_err(|error| AuditError::file(&wal, &error))?;
        }
        self.log.0.close().map_err(|(_, error)| error.into())
    }

    #[cfg(test)]
    pub fn execute(&self, sql: &str) {
        self.log.0.execute_batch(sql).unwrap();
    }
}

fn create(db: &Connection) -> Result<(), AuditError> {
    let mut instance = [0_u8; 32];
    getrandom::fill(&mut instance).map_err(|error| AuditError::Write(error.to_string()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    let tx = db.unchecked_transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.execute("INSERT INTO meta (name, value) VALUES ('instance', ?1)", [instance])?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(tx.commit()?)
}

/// Our log, and checkpoints when the writer says so instead of within a commit.
fn writable(db: Connection) -> Result<Connection, AuditError> {
    check_shape(&db)?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
    Ok(db)
}

fn insert_all<'a>(db: &Connection, records: impl Iterator<Item = &'a Record>) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO records (seq, at, up_ms, call, kind, body, prev, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for record in records {
        insert.execute(params![
            i64::try_from(record.seq).map_err(out_of_range)?,
            record.at,
            i64::try_from(record.up_ms).map_err(out_of_range)?,
            record.call,
            record.kind,
            record.body,
            record.prev.as_bytes(),
            record.hash.as_bytes(),
        ])?;
    }
    Ok(())
}

fn out_of_range(error: std::num::TryFromIntError) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

/// A write that did not happen.
#[derive(Debug)]
pub(in crate::audit) struct Failure {
    pub error: AuditError,
    /// The connection is as good as before: the disk is full, or somebody holds the lock.
    pub connection_good: bool,
    /// Somebody holds the lock.
    pub locked: bool,
}

impl From<rusqlite::Error> for AuditError {
    fn from(error: rusqlite::Error) -> AuditError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig) => {
                AuditError::Broken(Problem::Unreadable(error.to_string()))
            }
            _ => AuditError::Write(error.to_string()),
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Failure {
        Failure { error, connection_good: true, locked: false }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        let code = error.sqlite_error_code();
        let locked = matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
        let connection_good = locked || code == Some(ErrorCode::DiskFull);
        Failure { error: error.into(), connection_good, locked }
    }
}

fn connect(path: &Path, write: bool, busy: Duration) -> Result<Connection, AuditError> {
    let access = if write { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => AuditError::File { path: path.to_owned(), error: error.to_string() },
        _ => error.into(),
    })?;
    db.busy_timeout(busy)?;
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW)?;
    // The file may be somebody else's work: nothing in its schema runs, and pages are checked as they are read.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "mmap_size", 0)?;
    db.pragma_update(None, "fullfsync", true)?;
    Ok(db)
}

fn version(db: &Connection) -> rusqlite::Result<i32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Everything that the schema holds, as text.
fn objects(db: &Connection) -> rusqlite::Result<Vec<(String, String, String)>> {
    let mut all = db.prepare("SELECT type, name, ifnull(sql, '') FROM sqlite_schema ORDER BY type, name")?;
    all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Refuses a file that is not a log, is a later one, or has tables, views or triggers that are not ours.
fn check_shape(db: &Connection) -> Result<(), AuditError> {
    let id: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(AuditError::Foreign);
    }
    let found = version(db)?;
    if found != VERSION {
        return Err(AuditError::Version { path: db.path().unwrap_or("audit.db").into(), found, known: VERSION });
    }
    let ours = Connection::open_in_memory()?;
    ours.execute_batch(SCHEMA)?;
    let (ours, theirs) = (objects(&ours)?, objects(db)?);
    let odd =
        theirs.iter().find(|object| !ours.contains(object)).or(ours.iter().find(|object| !theirs.contains(object)));
    odd.map_or(Ok(()), |(kind, name, _)| Err(AuditError::Broken(Problem::Shape { what: format!("{kind} {name}") })))
}

/// What stands in a row: a record, or something that no writer of ours has put there.
pub(in crate::audit) type Found = Result<Record, Problem>;

/// A log that is read, beside its writer or without one.
#[derive(Debug)]
pub(in crate::audit) struct Log(Connection);

impl Log {
    /// Opens an existing log; changes nothing in it.
    pub fn open(path: &Path) -> Result<Log, AuditError> {
        let db = connect(path, false, Duration::from_secs(5))?;
        check_shape(&db)?;
        Ok(Log(db))
    }

    /// From here on every read sees the log as it is now.
    pub fn freeze(&self) -> Result<(), AuditError> {
        self.0.execute_batch("BEGIN")?;
        // The snapshot is taken by the first read and not by BEGIN.
        self.last().map(|_| ())
    }

    /// What the first record follows.
    pub fn genesis(&self) -> Result<Digest, AuditError> {
        let instance: Option<Vec<u8>> =
            self.0.query_row("SELECT value FROM meta WHERE name = 'instance'", [], |row| row.get(0)).optional()?;
        instance.map(|instance| genesis(&instance)).ok_or(AuditError::Broken(Problem::Shape { what: "meta".into() }))
    }

    /// The last record.
    pub fn last(&self) -> Result<Option<Found>, AuditError> {
        let mut found = None;
        self.each("ORDER BY seq DESC LIMIT 1", &[], |row| {
            found = Some(row);
            false
        })?;
        Ok(found)
    }

    pub fn get(&self, seq: u64) -> Result<Option<Found>, AuditError> {
        let mut found = None;
        let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
        self.each("WHERE seq = ?1", &[&seq], |row| {
            found = Some(row);
            false
        })?;
        Ok(found)
    }

    /// Records in order, from a number on, until `each` says that it is enough.
    pub fn scan(&self, from: u64, each: impl FnMut(Found) -> bool) -> Result<(), AuditError> {
        // The least number of all, and not 0, where everything is read: a row with a negative number is a finding.
        let from = if from <= 1 { i64::MIN } else { i64::try_from(from).unwrap_or(i64::MAX) };
        self.each("WHERE seq >= ?1 ORDER BY seq", &[&from], each)
    }

    /// Records from a number on back to the first, until `each` says that it is enough.
    pub fn scan_back(&self, from: u64, each: impl FnMut(Found) -> bool) -> Result<(), AuditError> {
        self.each("WHERE seq <= ?1 ORDER BY seq DESC", &[&i64::try_from(from).unwrap_or(i64::MAX)], each)
    }

    /// The records of one call, in order.
    pub fn story(&self, call: &str, each: impl FnMut(Found) -> bool) -> Result<(), AuditError> {
        self.each("WHERE call = ?1 ORDER BY seq", &[&call], each)
    }

    fn each(
        &self,
        clause: &str,
        values: &[&dyn rusqlite::ToSql],
        mut each: impl FnMut(Found) -> bool,
    ) -> Result<(), AuditError> {
        let mut select = self.0.prepare_cached(&format!("SELECT {COLUMNS} FROM records {clause}"))?;
        let mut rows = select.query(values)?;
        while let Some(row) = rows.next()? {
            if !each(record(row)) {
                break;
            }
        }
        Ok(())
    }
}

fn record(row: &Row<'_>) -> Found {
    let seq = row.get(0).unwrap_or(0);
    let odd = |what| Problem::Malformed { seq, what };
    let text = |column| match row.get_ref(column) {
        Ok(ValueRef::Text(text)) => String::from_utf8(text.to_vec()).ok(),
        _ => None,
    };
    let number = |column| u64::try_from(row.get::<_, i64>(column).ok()?).ok();
    let digest = |column| match row.get_ref(column) {
        Ok(ValueRef::Blob(bytes)) => bytes.try_into().ok().map(Digest::from_bytes),
        _ => None,
    };
    let call = match row.get_ref(3) {
        Ok(ValueRef::Null) => None,
        _ => Some(text(3).filter(|call| !call.is_empty()).ok_or_else(|| odd("call"))?),
    };
    Ok(Record {
        seq: number(0).filter(|seq| *seq > 0).ok_or_else(|| odd("number"))?,
        at: text(1).ok_or_else(|| odd("time"))?,
        up_ms: number(2).ok_or_else(|| odd("uptime"))?,
        call,
        kind: text(4).ok_or_else(|| odd("kind"))?,
        body: text(5).ok_or_else(|| odd("body"))?,
        prev: digest(6).ok_or_else(|| odd("previous hash"))?,
        hash: digest(7).ok_or_else(|| odd("hash"))?,
    })
}
