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

impl Stamp {
    fn of(found: &fs::Metadata) -> Stamp {
        Stamp { file: (found.dev(), found.ino()), changed: (found.ctime(), found.ctime_nsec()) }
    }
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
        Some(Stamp::of(&fs::symlink_metadata(self.path(server)).ok()?))
    }

    /// Whether somebody has written or removed a record since. What cannot be looked at just now has not changed.
    pub(super) fn has_changed(&self, server: &str, since: Option<Stamp>) -> bool {
        match fs::symlink_metadata(self.path(server)) {
            Ok(found) => Some(Stamp::of(&found)) != since,
            Err(error) => since.is_some() && error.kind() == io::ErrorKind::NotFound && self.folder.is_dir(),
        }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;
    use url::Url;

    use super::super::record::KnownAs;
    use super::super::{Client, Dpop, Settings};
    use super::*;

    fn settings(url: &str, client: Client, issuer: Option<&str>) -> Settings {
        let (url, issuer) = (Url::parse(url).unwrap(), issuer.map(str::to_owned));
        Settings { server: "stripe".to_owned(), url, client, scopes: Vec::new(), issuer, dpop: Dpop::Auto }
    }

    fn plain() -> Settings {
        settings("https://mcp.example/mcp", Client::Dynamic, None)
    }

    fn record() -> Record {
        let (resource, issuer) = ("https://mcp.example/mcp".to_owned(), "https://auth.example".to_owned());
        let mut record = Record::new(&plain(), resource, issuer, KnownAs::Dynamic);
        let tokens = json!({"access_token": "at_0123456789abcdef", "token_type": "bearer", "expires_in": 60});
        record.credentials = serde_json::from_value(json!({
            "client_id": "abc", "token_response": tokens, "granted_scopes": [], "token_received_at": 100,
        }))
        .unwrap();
        record
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().canonicalize().unwrap().join("state");
        (folder, state)
    }

    #[test]
    fn a_record_is_kept_sealed_and_found_again() {
        let (_folder, state) = folder();
        let store = Store::open(&state, None).unwrap();
        assert!(store.read("stripe").unwrap().is_none() && store.stamp("stripe").is_none());
        store.write(&record()).unwrap();
        let first = store.stamp("stripe").unwrap();
        let bytes = fs::read(state.join("oauth/stripe.sealed")).unwrap();
        assert!(!bytes.windows(8).any(|piece| piece == b"at_01234"));
        assert_eq!(fs::metadata(state.join("oauth/stripe.sealed")).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Store::open(&state, None).unwrap().read("stripe").unwrap().unwrap();
        assert_eq!((again.expires_at(), again.client_id()), (Some(160), Some("abc")));
        store.write(&record()).unwrap();
        assert_ne!(store.stamp("stripe").unwrap(), first, "another sign-in is noticed");
        // Another server's file in its place does not open.
        fs::copy(state.join("oauth/stripe.sealed"), state.join("oauth/other.sealed")).unwrap();
        assert!(matches!(store.read("other"), Err(StoreError::Sealed(_))));
        let key = Secret::new("0123456789abcdef0123456789".to_owned());
        assert!(matches!(Store::open(&state, Some(&key)).unwrap().read("stripe"), Err(StoreError::Sealed(_))));
        assert!(store.remove("stripe").unwrap() && !store.remove("stripe").unwrap());
    }

    #[test]
    fn a_record_has_changed_where_another_one_or_none_can_be_seen() {
        let (_folder, state) = folder();
        let store = Store::open(&state, None).unwrap();
        let changed = |since| store.has_changed("stripe", since);
        assert!(!changed(None));
        store.write(&record()).unwrap();
        let first = store.stamp("stripe");
        assert!(changed(None) && !changed(first));
        // The folder is away for a moment.
        let (oauth, away) = (state.join("oauth"), state.join("away"));
        fs::rename(&oauth, &away).unwrap();
        assert!(!changed(first) && !changed(None));
        fs::rename(&away, &oauth).unwrap();
        store.write(&record()).unwrap();
        assert!(changed(first));
        let second = store.stamp("stripe");
        assert!(store.remove("stripe").unwrap() && changed(second));
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let (_folder, state) = folder();
        Store::open(&state, None).unwrap();
        fs::set_permissions(state.join("oauth"), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(Store::open(&state, None), Err(StoreError::Folder(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_renews() {
        let (_folder, state) = folder();
        let store = Store::open(&state, None).unwrap();
        let held = store.lock("stripe").await.unwrap();
        assert!(matches!(store.lock("stripe").await, Err(StoreError::Busy(_))));
        let _other = store.lock("statsig").await.unwrap();
        drop(held);
        store.lock("stripe").await.unwrap();
    }

    #[test]
    fn a_record_counts_for_what_it_was_made_for() {
        let registered = |id: &str| Client::Registered { id: id.to_owned(), secret: None };
        assert_eq!(record().ended_by(&plain()), None);
        for (other, why) in [
            (settings("https://mcp.example/other", Client::Dynamic, None), "address has changed"),
            (settings("https://mcp.example/mcp", Client::Dynamic, Some("https://else.example")), "pins"),
            (settings("https://mcp.example/mcp", registered("abc"), None), "another one"),
        ] {
            assert!(record().ended_by(&other).is_some_and(|said| said.contains(why)), "{why}");
        }
        let mut ended = record();
        ended.ended = Some("it was revoked".to_owned());
        assert_eq!(ended.ended_by(&plain()).as_deref(), Some("it was revoked"));
        let mut empty = record();
        empty.credentials = None;
        assert!(empty.ended_by(&plain()).is_some());
    }
}
