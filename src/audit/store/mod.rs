//! The files of a log: `audit.db`, the lock that names its one writer, and the head that pins its end.
//!
//! Invariant: a file or folder that somebody else could swap or write is refused before it is opened.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::AuditError;

pub(super) mod head;
pub(super) mod sqlite;

/// Where the parts of a log are.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub db: PathBuf,
    pub head: PathBuf,
    pub lock: PathBuf,
}

impl Paths {
    /// The folder is resolved once; the file itself may be no link.
    pub fn of(db: &Path) -> Result<Paths, AuditError> {
        let Some(name) = db.file_name() else { return Err(refused(db, "not the name of a file")) };
        let extension = db.extension();
        if ["head", "lock"].iter().any(|taken| extension == Some(OsStr::new(taken))) {
            return Err(refused(db, "the names .head and .lock are taken by the files beside the log"));
        }
        let folder = db.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().map_err(|error| AuditError::file(folder, &error))?;
        let db = folder.join(name);
        Ok(Paths { head: db.with_extension("head"), lock: db.with_extension("lock"), db })
    }

    /// The same for whoever writes: makes the folder where it is missing, and refuses what others could change.
    pub fn for_writing(db: &Path) -> Result<Paths, AuditError> {
        if let Some(folder) = db.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| AuditError::file(folder, &error))?;
        }
        let paths = Paths::of(db)?;
        if let Some(folder) = paths.db.parent() {
            let meta = fs::metadata(folder).map_err(|error| AuditError::file(folder, &error))?;
            check_owner(folder, &meta)?;
        }
        for path in [&paths.db, &paths.head, &paths.lock] {
            match fs::symlink_metadata(path) {
                Ok(meta) => check_file(path, &meta)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(AuditError::file(path, &error)),
            }
        }
        Ok(paths)
    }
}

fn refused(path: &Path, why: &str) -> AuditError {
    AuditError::Unsafe { path: path.to_owned(), why: why.to_owned() }
}

fn check_owner(path: &Path, meta: &fs::Metadata) -> Result<(), AuditError> {
    let us = rustix::process::geteuid().as_raw();
    if meta.uid() != us && meta.uid() != 0 {
        return Err(refused(path, &format!("it belongs to user {}, and this is user {us}", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(refused(path, &format!("others can write it (mode {:03o}): chmod go-w it", meta.mode() & 0o777)));
    }
    Ok(())
}

fn check_file(path: &Path, meta: &fs::Metadata) -> Result<(), AuditError> {
    if meta.is_symlink() {
        return Err(refused(path, "it is a symbolic link"));
    }
    if !meta.is_file() {
        return Err(refused(path, "it is not a regular file"));
    }
    if meta.nlink() != 1 {
        return Err(refused(path, "it has a second name (a hard link)"));
    }
    check_owner(path, meta)
}

/// Opens a file of ours: no links, mode 0600 where it is new.
fn open_own(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits()).unwrap_or(0);
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path)
}

/// Held by the one writer of a log, for as long as it lives.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Lock {
    /// # Errors
    /// Where another process, or another part of this one, writes this log.
    pub fn take(path: &Path) -> Result<Lock, AuditError> {
        let failed = |error: io::Error| AuditError::file(path, &error);
        let mut file = open_own(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Only a hint for the message: what cannot be read is left out.
                let _ = (&file).take(20).read_to_string(&mut holder);
                let holder = holder.trim().parse().ok();
                return Err(AuditError::Held { path: path.to_owned(), holder });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Lock(file))
    }
}

/// Makes an empty database file that only we can read, and syncs its name.
fn create_private(path: &Path) -> Result<(), AuditError> {
    let failed = |error: io::Error| AuditError::file(path, &error);
    drop(open_own(path).map_err(failed)?);
    sync_folder(path).map_err(failed)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn refusal(path: &Path) -> String {
        Paths::for_writing(path).unwrap_err().to_string()
    }

    #[test]
    fn what_others_could_swap_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("real.db"), "").unwrap();
        symlink(path("real.db"), path("link.db")).unwrap();
        assert!(refusal(&path("link.db")).contains("symbolic link"));
        fs::create_dir(path("folder.db")).unwrap();
        assert!(refusal(&path("folder.db")).contains("not a regular file"));
        fs::write(path("open.db"), "").unwrap();
        fs::set_permissions(path("open.db"), fs::Permissions::from_mode(0o620)).unwrap();
        assert!(refusal(&path("open.db")).contains("mode 620"));
        fs::write(path("twice.db"), "").unwrap();
        fs::hard_link(path("twice.db"), path("other.db")).unwrap();
        assert!(refusal(&path("twice.db")).contains("second name"));
        symlink(path("real.db"), path("fine.head")).unwrap();
        assert!(refusal(&path("fine.db")).contains("symbolic link"));
        assert!(refusal(&path("x.lock")).contains("taken"));
        for mode in [0o777, 0o770] {
            fs::create_dir_all(path("shared")).unwrap();
            fs::set_permissions(path("shared"), fs::Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&path("shared/audit.db")).contains("others can write"));
        }
    }

    #[test]
    fn a_missing_folder_is_made_private() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::for_writing(&folder.path().join("a/b/audit.db")).unwrap();
        assert_eq!(fs::metadata(paths.db.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_lock_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.lock");
        let first = Lock::take(&path).unwrap();
        let Err(AuditError::Held { holder, .. }) = Lock::take(&path) else { panic!("taken twice") };
        assert_eq!(holder, Some(std::process::id()));
        drop(first);
        Lock::take(&path).unwrap();
    }
}
