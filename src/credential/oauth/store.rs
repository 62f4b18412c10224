//! Where sign-ins are kept: one sealed file for each server in `STATE_DIR/oauth`, which nobody else can enter.
//!
//! Invariant: a file is there whole or not at all, and whoever renews or replaces a sign-in holds its lock, also across
//! processes.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::record::Record;
use super::seal::Sealer;
use crate::credential::secret::Secret;
use crate::credential::trust::{self, Readers, TrustError};

/// A record with the longest tokens that are taken.
const LIMIT: usize = 256 << 10;
/// How long a process waits for another that renews the same sign-in, which has bounded steps itself.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(50);

/// Why sign-ins cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{error}; {}", .error.help())]
    Trust {
        #[from]
        error: TrustError,
    },
    #[error("{} is not the folder of this user alone; remove it, or chmod 700 it", .0.display())]
    Folder(PathBuf),
    #[error("{} is no key; remove it and sign in again at every server", .0.display())]
    KeyFile(PathBuf),
    #[error("the secret that `oauth.key` names has fewer than {0} characters; make one of 32 random bytes or more")]
    WeakKey(usize),
    #[error("the system gives no random numbers")]
    Random,
    #[error("{} does not open: it was sealed under another key, or changed", .0.display())]
    Sealed(PathBuf),
    #[error("{} cannot be read by this version", .0.display())]
    Form(PathBuf),
    #[error("another process holds {} for too long", .0.display())]
    Busy(PathBuf),
}

impl StoreError {
    pub(super) fn io(path: &Path, error: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), error }
    }
}

/// What a file was like: another sign-in, or none, is another stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    file: (u64, u64),
    changed: (i64, i64),
}

/// Held for as long as a sign-in is renewed or replaced; the kernel gives it back when the process dies.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held")] File);

pub struct Store {
    folder: PathBuf,
    sealer: Sealer,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Store {
    /// In the state folder; `key` is the operator's own, else one is made and kept beside the folder.
    ///
    /// # Errors
    /// Where the folder or the key is open to others, or cannot be made.
    pub fn open(state_dir: &Path, key: Option<&Secret>) -> Result<Store, StoreError> {
        private(state_dir)?;
        let folder = state_dir.join("oauth");
        private(&folder)?;
        let sealer = match key {
            Some(secret) => Sealer::under(secret)?,
            None => Sealer::in_file(&state_dir.join("oauth.key"))?,
        };
        Ok(Store { folder, sealer })
    }

    fn path(&self, server: &str) -> PathBuf {
        self.folder.join(format!("{server}.sealed"))
    }

    /// # Errors
    /// Where there is one that cannot be read or opened.
    pub fn read(&self, server: &str) -> Result<Option<Record>, StoreError> {
        let path = self.path(server);
        let sealed = match trust::read(&path, Readers::OwnerOnly, LIMIT) {
            Ok(sealed) => sealed,
            Err(TrustError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = self.sealer.open(server, &sealed).ok_or_else(|| StoreError::Sealed(path.clone()))?;
        let record: Record = serde_json::from_slice(&text).map_err(|_| StoreError::Form(path.clone()))?;
        if record.is_for(server) { Ok(Some(record)) } else { Err(StoreError::Form(path)) }
    }

    /// In one step, synced.
    pub(super) fn write(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.path(record.server());
        let failed = |error| StoreError::io(&path, error);
        let text = Zeroizing::new(serde_json::to_vec(record).map_err(|_| StoreError::Form(path.clone()))?);
        let sealed = self.sealer.seal(record.server(), &text)?;
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
        file.write_all(&sealed).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// Whether there was one.
    ///
    /// # Errors
    /// Where it stays.
    pub(super) fn remove(&self, server: &str) -> Result<bool, StoreError> {
        let path = self.path(server);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    pub(super) fn stamp(&self, server: &str) -> Option<Stamp> {
        let found = fs::symlink_metadata(self.path(server)).ok()?;
        Some(Stamp { file: (found.dev(), found.ino()), changed: (found.ctime(), found.ctime_nsec()) })
    }

    /// Waits for its turn.
    pub(super) async fn lock(&self, server: &str) -> Result<Lock, StoreError> {
        let path = self.folder.join(format!("{server}.lock"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| StoreError::io(&path, error))?;
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < until => tokio::time::sleep(AGAIN).await,
                Err(TryLockError::WouldBlock) => return Err(StoreError::Busy(path)),
                Err(TryLockError::Error(error)) => return Err(StoreError::io(&path, error)),
            }
        }
    }
}

/// A folder that only this user can enter, made where it is missing.
fn private(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    let found = made.and_then(|()| fs::symlink_metadata(path)).map_err(|error| StoreError::io(path, error))?;
    let mine = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if found.is_dir() && mine { Ok(()) } else { Err(StoreError::Folder(path.to_owned())) }
}
