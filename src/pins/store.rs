//! `pins.db`: what the daemon remembers of tools, one row for each, in a file that only its owner can read.
//!
//! Invariant: what is read is what was written. A file that is damaged, of a later version, somebody else's or empty is
//! an error at start and never a store without pins. A change is on the disk when its function returns.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};

use crate::call::Digest;
use crate::json::{JsonText, Rules};

use super::{Change, FIRST_USE, MAX_DEFINITION, Seen, digest_of};

/// `CSPN`: marks the file as ours.
const APPLICATION_ID: i32 = 0x4353_504e;
/// Version of the tables. A file of a later one is refused.
const VERSION: i32 = 1;
/// A longer row is nothing that we wrote.
const MAX_ROW: i32 = 4 << 20;
const _: () = assert!(2 * MAX_DEFINITION + (64 << 10) < MAX_ROW as usize);

const SCHEMA: &str = "
CREATE TABLE servers (name TEXT PRIMARY KEY, since TEXT NOT NULL) STRICT;
CREATE TABLE tools (
    server TEXT NOT NULL, tool TEXT NOT NULL, first_seen TEXT NOT NULL,
    pinned BLOB, pinned_text TEXT, pinned_at TEXT, pinned_by TEXT,
    offered BLOB, offered_text TEXT, offered_at TEXT,
    PRIMARY KEY (server, tool)
) STRICT;
";

const COLUMNS: &str =
    "server, tool, first_seen, pinned, pinned_text, pinned_at, pinned_by, offered, offered_text, offered_at";

/// Why pins cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {why}", path.display())]
    Unsafe { path: PathBuf, why: String },
    #[error("{}: written by a later version of countersign (tables {found}, this one knows {VERSION})\nhelp: run that version", path.display())]
    Version { path: PathBuf, found: i32 },
    #[error("{}: the remembered definitions of tools are damaged: {why}\nhelp: restore the file from a copy; where there is none, take it away: every server is then seen for the first time again", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{}: {why}", path.display())]
    Write { path: PathBuf, why: String },
}

/// A definition, whole, and its digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    pub digest: Digest,
    /// Absent where it is larger than what is kept.
    pub text: Option<JsonText>,
    pub at: String,
}

/// One row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub server: String,
    pub tool: String,
    pub first_seen: String,
    pub pinned: Option<Kept>,
    pub pinned_by: String,
    /// What was listed and is not the pin.
    pub offered: Option<Kept>,
}

#[derive(Debug)]
pub struct Store {
    db: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the file, or makes a new one where there is none. `each` gets every server and every row.
    pub fn open(path: &Path, mut server: impl FnMut(String), mut each: impl FnMut(Entry)) -> Result<Store, StoreError> {
        let found = match fs::symlink_metadata(path) {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::File { path: path.to_owned(), error }),
        };
        match found {
            Some(meta) => check_file(path, &meta)?,
            None => create(path)?,
        }
        let damaged = |why: String| StoreError::Damaged { path: path.to_owned(), why };
        let db = connect(path).map_err(|error| of_sqlite(path, &error))?;
        let read = |error: rusqlite::Error| of_sqlite(path, &error);
        check_shape(&db, path)?;
        let sound: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(read)?;
        if sound != "ok" {
            return Err(damaged(sound));
        }
        let mut names = db.prepare("SELECT name FROM servers").map_err(read)?;
        let mut rows = names.query([]).map_err(read)?;
        while let Some(row) = rows.next().map_err(read)? {
            server(row.get(0).map_err(read)?);
        }
        drop(rows);
        drop(names);
        let mut all = db.prepare(&format!("SELECT {COLUMNS} FROM tools ORDER BY server, tool")).map_err(read)?;
        let mut rows = all.query([]).map_err(read)?;
        while let Some(row) = rows.next().map_err(read)? {
            let entry = entry(row).map_err(read)?;
            each(entry.ok_or_else(|| damaged("a definition is not the one that its digest names".to_owned()))?);
        }
        drop(rows);
        drop(all);
        Ok(Store { db, path: path.to_owned() })
    }

    /// One row.
    pub fn get(&self, server: &str, tool: &str) -> Result<Option<Entry>, StoreError> {
        let read = |error: rusqlite::Error| of_sqlite(&self.path, &error);
        let sql = format!("SELECT {COLUMNS} FROM tools WHERE server = ?1 AND tool = ?2");
        let found = self.db.prepare_cached(&sql).map_err(read)?.query_row([server, tool], entry).optional();
        match found.map_err(read)? {
            None => Ok(None),
            Some(Some(entry)) => Ok(Some(entry)),
            Some(None) => Err(StoreError::Damaged {
                path: self.path.clone(),
                why: "a definition is not the one that its digest names".to_owned(),
            }),
        }
    }

    /// Writes what a listing brought, all or nothing. `begins` says that it is the server's first.
    pub fn note(&mut self, server: &str, begins: bool, seen: &[Seen], at: &str) -> Result<(), StoreError> {
        let path = self.path.clone();
        let write = |error: rusqlite::Error| of_sqlite(&path, &error);
        let tx = self.db.transaction().map_err(write)?;
        if begins {
            tx.execute("INSERT OR IGNORE INTO servers (name, since) VALUES (?1, ?2)", [server, at]).map_err(write)?;
        }
        for Seen { tool, digest, text, change, was: _ } in seen {
            let (digest, text) = (digest.as_bytes(), text.as_ref().map(JsonText::as_str));
            let written = match change {
                Change::Trusted => tx.execute(
                    "INSERT INTO tools (server, tool, first_seen, pinned, pinned_text, pinned_at, pinned_by)
                     VALUES (?1, ?2, ?5, ?3, ?4, ?5, ?6) ON CONFLICT (server, tool) DO UPDATE
                     SET pinned = ?3, pinned_text = ?4, pinned_at = ?5, pinned_by = ?6,
                         offered = NULL, offered_text = NULL, offered_at = NULL",
                    params![server, tool, digest, text, at, FIRST_USE],
                ),
                Change::New | Change::Changed => tx.execute(
                    "INSERT INTO tools (server, tool, first_seen, offered, offered_text, offered_at)
                     VALUES (?1, ?2, ?5, ?3, ?4, ?5) ON CONFLICT (server, tool) DO UPDATE
                     SET offered = ?3, offered_text = ?4, offered_at = ?5",
                    params![server, tool, digest, text, at],
                ),
            };
            written.map_err(write)?;
        }
        tx.commit().map_err(write)
    }

    /// Pins the definition that is offered, or the one that is pinned already; what else was offered is forgotten.
    pub fn pin(&mut self, server: &str, tool: &str, digest: Digest, by: &str, at: &str) -> Result<(), StoreError> {
        self.change(
            "UPDATE tools SET
                 pinned_text = CASE WHEN offered = ?3 THEN offered_text ELSE pinned_text END,
                 pinned = ?3, pinned_at = ?5, pinned_by = ?4, offered = NULL, offered_text = NULL, offered_at = NULL
             WHERE server = ?1 AND tool = ?2 AND (offered = ?3 OR pinned = ?3)",
            params![server, tool, digest.as_bytes(), by, at],
        )
    }

    /// Takes the pin away; the tool is as one that is new.
    pub fn unpin(&mut self, server: &str, tool: &str) -> Result<(), StoreError> {
        self.change(
            "UPDATE tools SET
                 offered = ifnull(offered, pinned), offered_text = CASE WHEN offered IS NULL THEN pinned_text ELSE offered_text END,
                 offered_at = ifnull(offered_at, pinned_at), pinned = NULL, pinned_text = NULL, pinned_at = NULL, pinned_by = NULL
             WHERE server = ?1 AND tool = ?2 AND pinned IS NOT NULL",
            params![server, tool],
        )
    }

    /// Takes the whole row away.
    pub fn forget(&mut self, server: &str, tool: &str) -> Result<(), StoreError> {
        self.change("DELETE FROM tools WHERE server = ?1 AND tool = ?2", params![server, tool])
    }

    #[cfg(test)]
    pub fn break_it(&self, broken: bool) {
        self.db.pragma_update(None, "query_only", broken).unwrap();
    }

    fn change(&mut self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
        let changed = self.db.execute(sql, values).map_err(|error| of_sqlite(&self.path, &error))?;
        if changed == 1 {
            return Ok(());
        }
        Err(StoreError::Write { path: self.path.clone(), why: "the tool is not there as it was".to_owned() })
    }
}

/// Server and name of every tool that is remembered in a file; none where there is no file. Changes nothing.
pub fn names(path: &Path) -> Result<Vec<(String, String)>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(meta) => check_file(path, &meta)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::File { path: path.to_owned(), error }),
    }
    let read = |error: rusqlite::Error| of_sqlite(path, &error);
    let db = connect(path).map_err(read)?;
    db.pragma_update(None, "query_only", true).map_err(read)?;
    check_shape(&db, path)?;
    let mut all = db.prepare("SELECT server, tool FROM tools ORDER BY server, tool").map_err(read)?;
    let names = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(read)?;
    names.collect::<Result<_, _>>().map_err(read)
}

fn of_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig) => {
            StoreError::Damaged { path, why }
        }
        Some(_) => StoreError::Write { path, why },
        // What is in it has another type than what we write.
        None => StoreError::Damaged { path, why },
    }
}

fn check_file(path: &Path, meta: &fs::Metadata) -> Result<(), StoreError> {
    let refused = |why: String| Err(StoreError::Unsafe { path: path.to_owned(), why });
    let us = rustix::process::geteuid().as_raw();
    if !meta.is_file() || meta.nlink() != 1 {
        return refused("it is not a regular file with one name".to_owned());
    }
    if meta.uid() != us {
        return refused(format!("it belongs to user {}, and this is user {us}", meta.uid()));
    }
    if meta.mode() & 0o077 != 0 {
        return refused(format!("it is open to others (mode {:03o}); help: chmod 600 it", meta.mode() & 0o777));
    }
    if meta.len() == 0 {
        return Err(StoreError::Damaged { path: path.to_owned(), why: "it is empty".to_owned() });
    }
    Ok(())
}

/// A new file gets its name when it is complete, so that one which is not is never taken for a store without pins.
fn create(path: &Path) -> Result<(), StoreError> {
    let failed = |error: io::Error| StoreError::File { path: path.to_owned(), error };
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    let made = connect(&new).and_then(|mut db| {
        let tx = db.transaction()?;
        tx.execute_batch(SCHEMA)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
        db.close().map_err(|(_, error)| error)
    });
    made.map_err(|error| of_sqlite(path, &error))?;
    fs::rename(&new, path).map_err(failed)?;
    let folder = path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all());
    folder.map_err(failed)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags)?;
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW)?;
    // The file may be somebody else's work: nothing in its schema runs, and pages are checked as they are read.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "mmap_size", 0)?;
    db.pragma_update(None, "synchronous", "EXTRA")?;
    db.pragma_update(None, "fullfsync", true)?;
    Ok(db)
}

fn objects(db: &Connection) -> rusqlite::Result<Vec<(String, String, String)>> {
    let mut all = db.prepare("SELECT type, name, ifnull(sql, '') FROM sqlite_schema ORDER BY type, name")?;
    all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

fn check_shape(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let read = |error: rusqlite::Error| of_sqlite(path, &error);
    let id: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(read)?;
    if id != APPLICATION_ID {
        return Err(StoreError::Damaged { path: path.to_owned(), why: "it is a file of something else".to_owned() });
    }
    let found: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(read)?;
    if found != VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found });
    }
    let ours = Connection::open_in_memory().and_then(|ours| {
        ours.execute_batch(SCHEMA)?;
        objects(&ours)
    });
    if ours.map_err(read)? == objects(db).map_err(read)? {
        return Ok(());
    }
    Err(StoreError::Damaged { path: path.to_owned(), why: "its tables are not those of countersign".to_owned() })
}

/// Nothing where a text is not the one that its digest names.
fn entry(row: &Row<'_>) -> rusqlite::Result<Option<Entry>> {
    let kept = |digest: usize, text: usize, at: usize| -> rusqlite::Result<Option<Option<Kept>>> {
        let Some(digest) = row.get::<_, Option<[u8; 32]>>(digest)? else { return Ok(Some(None)) };
        let digest = Digest::from_bytes(digest);
        let at = row.get::<_, Option<String>>(at)?.unwrap_or_default();
        let Some(text) = row.get::<_, Option<String>>(text)? else {
            return Ok(Some(Some(Kept { digest, text: None, at })));
        };
        let sound = JsonText::parse(text, Rules::UPSTREAM).ok().filter(|text| digest_of(text) == digest);
        Ok(sound.map(|text| Some(Kept { digest, text: Some(text), at })))
    };
    let (pinned, offered) = (kept(3, 4, 5)?, kept(7, 8, 9)?);
    Ok(pinned.zip(offered).map(|(pinned, offered)| Entry {
        server: row.get(0).unwrap_or_default(),
        tool: row.get(1).unwrap_or_default(),
        first_seen: row.get(2).unwrap_or_default(),
        pinned,
        pinned_by: row.get::<_, Option<String>>(6).ok().flatten().unwrap_or_default(),
        offered,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn open(path: &Path) -> Result<Store, StoreError> {
        Store::open(path, |_| {}, |_| {})
    }

    fn refusal(path: &Path) -> String {
        open(path).map(|_| ()).unwrap_err().to_string()
    }

    fn seen(tool: &str, text: &str, change: Change) -> Seen {
        let text = JsonText::parse(text, Rules::UPSTREAM).unwrap();
        Seen { tool: tool.to_owned(), digest: digest_of(&text), text: Some(text), change, was: None }
    }

    #[test]
    fn what_was_written_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.db");
        let mut store = open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let (one, two) = (seen("a", r#"{"v":1}"#, Change::Trusted), seen("a", r#"{"v":2}"#, Change::Changed));
        store.note("s", true, &[one.clone(), seen("b", "{}", Change::New)], "t1").unwrap();
        store.note("s", false, std::slice::from_ref(&two), "t2").unwrap();
        let entry = store.get("s", "a").unwrap().unwrap();
        assert_eq!((entry.pinned.unwrap().digest, entry.offered.unwrap().digest), (one.digest, two.digest));
        assert!(store.pin("s", "a", digest_of(&JsonText::empty_object()), "ana", "t3").is_err());
        store.pin("s", "a", two.digest, "ana", "t3").unwrap();
        let (mut servers, mut rows) = (Vec::new(), Vec::new());
        drop(store);
        let mut store = Store::open(&path, |name| servers.push(name), |row| rows.push(row)).unwrap();
        assert_eq!((servers, rows.len()), (vec!["s".to_owned()], 2));
        let pinned = rows[0].pinned.as_ref().unwrap();
        assert_eq!((pinned.digest, pinned.text.clone(), &*rows[0].pinned_by), (two.digest, two.text.clone(), "ana"));
        assert_eq!(rows[0].offered, None);
        store.unpin("s", "a").unwrap();
        assert!(store.unpin("s", "a").is_err());
        let row = store.get("s", "a").unwrap().unwrap();
        assert_eq!((row.pinned, row.offered.unwrap().digest), (None, two.digest));
        store.forget("s", "a").unwrap();
        assert!(store.get("s", "a").unwrap().is_none());
    }

    #[test]
    fn a_damaged_store_is_no_store_without_pins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.db");
        let fresh = || {
            let _ = fs::remove_file(&path);
            let mut store = open(&path).unwrap();
            store.note("s", true, &[seen("a", r#"{"v":1}"#, Change::Trusted)], "t1").unwrap();
            store
        };
        drop(fresh());
        let whole = fs::read(&path).unwrap();
        for (bytes, why) in [
            (Vec::new(), "empty"),
            (
                b"not a database at all, but long enough to be read as one ............................".to_vec(),
                "damaged",
            ),
            (whole[..whole.len() / 2].to_vec(), "damaged"),
        ] {
            fs::write(&path, bytes).unwrap();
            assert!(refusal(&path).contains(why), "{}", refusal(&path));
        }
        for (sql, why) in [
            (r#"UPDATE tools SET pinned_text = '{"v":2}'"#, "not the one that its digest names"),
            ("UPDATE tools SET pinned = x'00'", "damaged"),
            ("UPDATE tools SET pinned_text = '{'", "not the one that its digest names"),
            ("PRAGMA user_version = 2", "later version"),
            ("PRAGMA application_id = 7", "something else"),
            ("DROP TABLE servers", "not those of countersign"),
            ("CREATE TRIGGER t AFTER INSERT ON tools BEGIN DELETE FROM tools; END", "not those of countersign"),
        ] {
            let store = fresh();
            store.db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
            store.db.execute_batch(sql).unwrap();
            drop(store);
            assert!(refusal(&path).contains(why), "{sql}: {}", refusal(&path));
        }
    }

    #[test]
    fn a_file_that_others_can_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.db");
        drop(open(&path).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refusal(&path).contains("mode 640"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(&path, folder.path().join("other")).unwrap();
        assert!(refusal(&path).contains("one name"));
        fs::remove_file(folder.path().join("other")).unwrap();
        fs::rename(&path, folder.path().join("real")).unwrap();
        symlink(folder.path().join("real"), &path).unwrap();
        assert!(refusal(&path).contains("not a regular file"));
    }
}
