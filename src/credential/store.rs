//! Keys that countersign keeps itself: one file for each, in a folder of the state folder.
//!
//! Invariant: the folder is its owner's alone (0700), so is every file in it (0600), and a file is there whole or not at
//! all. A value that is there is never replaced by another one unless that is asked for.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::secret::Secret;
use super::source::{self, MAX_LENGTH, SecretSource, Unfit};
use super::trust::{self, Readers, TrustError, shell};

const FOLDER: &str = "secrets";
/// A name for a file that is not whole yet; names of secrets have no dot.
const UNFINISHED: &str = "new";

/// Where keys are kept that belong to a state folder.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER)
}

/// What to do with another value under the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Other {
    Keep,
    Replace,
}

/// What has happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    New,
    /// It was there already.
    Same,
    Replaced,
}

/// Why a key is not stored. No variant holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0:?} cannot be the name of a secret: a name has 1 to 64 of the characters a-z, 0-9, `_` and `-`")]
    Name(String),
    #[error("another value is stored as `{0}`, and it is not overwritten")]
    Differs(String),
    #[error("the folder of the stored secrets: {0}; {help}", help = .0.help())]
    Folder(TrustError),
    #[error("the folder of the stored secrets `{}` is open to others (mode {mode:04o}); chmod 700 {}", .path.display(), shell(.path))]
    Open { path: PathBuf, mode: u32 },
    #[error("the stored secret `{name}`: {error}; {}", .error.help())]
    File { name: String, error: TrustError },
    #[error("the stored secret `{name}` cannot be used: {unfit}")]
    Unfit { name: String, unfit: Unfit },
    #[error("`{}` is a link or not a regular file; name the file itself", .0.display())]
    NotAFile(PathBuf),
    #[error("`{}`: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Keeps a key under a name. The folder is made where it is missing.
///
/// # Errors
/// Where it cannot be kept privately and whole, and where another value is there that is to be [kept](Other::Keep).
pub fn put(folder: &Path, name: &str, secret: &Secret, other: Other) -> Result<Put, StoreError> {
    let path = place(folder, name)?;
    make(folder)?;
    let done = match (there(name, &path), other) {
        (Ok(Some(old)), _) if old.matches(secret.expose()) => return Ok(Put::Same),
        (Ok(None), _) => Put::New,
        (Ok(Some(_)), Other::Keep) => return Err(StoreError::Differs(name.to_owned())),
        // What cannot be used as it is may be what is to be mended.
        (Ok(Some(_)) | Err(_), Other::Replace) => Put::Replaced,
        (Err(error), Other::Keep) => return Err(error),
    };
    let whole = written(folder, name, secret)?;
    let moved = match other {
        // Unlike a rename, a link never takes the place of what somebody else has put there since.
        Other::Keep => fs::hard_link(&whole, &path).and_then(|()| fs::remove_file(&whole)),
        Other::Replace => fs::rename(&whole, &path),
    };
    if let Err(error) = moved {
        _ = fs::remove_file(&whole);
        return match error.kind() {
            io::ErrorKind::AlreadyExists => Err(StoreError::Differs(name.to_owned())),
            _ => Err(StoreError::Io { path, error }),
        };
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(folder, error))?;
    Ok(done)
}

/// Puts a key in place of whatever the file holds: one of the operator's own, in a folder that others cannot change.
///
/// # Errors
/// Where the folder is not there or open to others, and where the path is a link or no file.
pub fn replace(path: &Path, secret: &Secret) -> Result<Put, StoreError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(StoreError::NotAFile(path.to_owned()));
    };
    trust::check(folder).map_err(StoreError::Folder)?;
    let found = match path.symlink_metadata() {
        Ok(found) if !found.is_file() => return Err(StoreError::NotAFile(path.to_owned())),
        Ok(_) => Some(there(name, path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_error(path, error)),
    };
    if matches!(&found, Some(Ok(Some(old))) if old.matches(secret.expose())) {
        return Ok(Put::Same);
    }
    let whole = written(folder, name, secret)?;
    if let Err(error) = fs::rename(&whole, path) {
        _ = fs::remove_file(&whole);
        return Err(io_error(path, error));
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(folder, error))?;
    Ok(if found.is_some() { Put::Replaced } else { Put::New })
}

/// The key that is kept under a name, where there is one.
///
/// # Errors
/// One that is not private or cannot be a key.
pub fn get(folder: &Path, name: &str) -> Result<Option<Secret>, StoreError> {
    there(name, &place(folder, name)?)
}

/// Forgets a key; whether there was one.
///
/// # Errors
/// Where it cannot be removed.
pub fn remove(folder: &Path, name: &str) -> Result<bool, StoreError> {
    let path = place(folder, name)?;
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::Io { path, error }),
    }
}

/// The names under which something is kept, sorted.
///
/// # Errors
/// A folder that cannot be read. One that is not there is empty.
pub fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_error(folder, error))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| is_name(name)));
    }
    names.sort_unstable();
    Ok(names)
}

/// What the configuration says where a key is kept here.
pub fn source(folder: &Path, name: &str) -> SecretSource {
    SecretSource::Stored(folder.join(name))
}

fn place(folder: &Path, name: &str) -> Result<PathBuf, StoreError> {
    if is_name(name) { Ok(folder.join(name)) } else { Err(StoreError::Name(name.to_owned())) }
}

/// As the configuration has names. None of them leads out of the folder.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

fn make(folder: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| io_error(folder, error))?;
    let real = trust::check(folder).map_err(StoreError::Folder)?;
    let mode = real.metadata().map_err(|error| io_error(folder, error))?.mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(StoreError::Open { path: folder.to_owned(), mode }) }
}

fn there(name: &str, path: &Path) -> Result<Option<Secret>, StoreError> {
    let text = match trust::read(path, Readers::OwnerOnly, MAX_LENGTH + 2) {
        Ok(text) => text,
        Err(TrustError::Missing(_)) => return Ok(None),
        Err(error) => return Err(StoreError::File { name: name.to_owned(), error }),
    };
    let secret = source::accept_line(text);
    secret.map(Some).map_err(|unfit| StoreError::Unfit { name: name.to_owned(), unfit })
}

/// A file of its own with the whole key, on the disk.
fn written(folder: &Path, name: &str, secret: &Secret) -> Result<PathBuf, StoreError> {
    let mark = getrandom::u64().map_err(|error| io_error(folder, io::Error::other(error)))?;
    let path = folder.join(format!(".{name}.{mark:016x}.{UNFINISHED}"));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(secret.expose().as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(path),
        Err(error) => {
            _ = fs::remove_file(&path);
            Err(StoreError::Io { path, error })
        }
    }
}

fn io_error(path: &Path, error: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn key(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & 0o7777
    }

    fn files(folder: &Path) -> Vec<String> {
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_key_is_kept_privately_and_never_overwritten_unasked() {
        let state = tempfile::tempdir().unwrap();
        let folder = folder(&state.path().join("new/state"));
        let (one, two) = (key("sk_live_CANARY7Q"), key("sk_live_ANOTHER8R"));
        assert!(get(&folder, "stripe").unwrap().is_none() && names(&folder).unwrap().is_empty());
        assert_eq!(put(&folder, "stripe", &one, Other::Keep).unwrap(), Put::New);
        assert_eq!((mode(&folder), mode(&folder.join("stripe"))), (0o700, 0o600));
        assert_eq!(put(&folder, "stripe", &one, Other::Keep).unwrap(), Put::Same);
        let refused = put(&folder, "stripe", &two, Other::Keep).unwrap_err();
        assert!(matches!(refused, StoreError::Differs(_)) && !refused.to_string().contains("CANARY"));
        assert!(get(&folder, "stripe").unwrap().unwrap().matches("sk_live_CANARY7Q"));
        assert_eq!(put(&folder, "stripe", &two, Other::Replace).unwrap(), Put::Replaced);
        assert!(get(&folder, "stripe").unwrap().unwrap().matches("sk_live_ANOTHER8R"));
        // Nothing unfinished stays behind.
        assert_eq!(files(&folder), ["stripe"]);
        assert!(remove(&folder, "stripe").unwrap() && !remove(&folder, "stripe").unwrap());
    }

    #[tokio::test]
    async fn what_is_stored_is_what_the_source_reads() {
        let state = tempfile::tempdir().unwrap();
        let folder = folder(state.path());
        put(&folder, "stripe", &key("sk_live_CANARY7Q"), Other::Keep).unwrap();
        let read = source::resolve("stripe", &source(&folder, "stripe")).await.unwrap();
        assert!(read.matches("sk_live_CANARY7Q"));
        let absent = source::resolve("other", &source(&folder, "other")).await.unwrap_err().to_string();
        assert_eq!(absent, "secret `other`: nothing is stored under this name; store it: countersign secret set other");
    }

    #[test]
    fn a_name_does_not_lead_out_of_the_folder() {
        let state = tempfile::tempdir().unwrap();
        for name in ["", "..", "../x", "a/b", "a.new", "A", "a\0", &"a".repeat(65)] {
            let refused = put(state.path(), name, &key("sk_live_CANARY7Q"), Other::Replace);
            assert!(matches!(refused, Err(StoreError::Name(_))), "{name:?}");
            assert!(matches!(remove(state.path(), name), Err(StoreError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn nothing_is_written_where_others_can_look() {
        let state = tempfile::tempdir().unwrap();
        let folder = folder(state.path());
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
        let refused = put(&folder, "stripe", &key("sk_live_CANARY7Q"), Other::Keep).unwrap_err();
        assert!(refused.to_string().contains("chmod 700"), "{refused}");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        let refused = put(&folder, "stripe", &key("sk_live_CANARY7Q"), Other::Keep);
        assert!(matches!(refused, Err(StoreError::Folder(_))));
        assert!(files(&folder).is_empty());
    }

    #[test]
    fn a_file_that_is_open_to_others_is_only_replaced_and_a_link_not_followed() {
        let state = tempfile::tempdir().unwrap();
        let folder = folder(state.path());
        put(&folder, "stripe", &key("sk_live_CANARY7Q"), Other::Keep).unwrap();
        fs::set_permissions(folder.join("stripe"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(get(&folder, "stripe"), Err(StoreError::File { .. })));
        assert!(put(&folder, "stripe", &key("sk_live_ANOTHER8R"), Other::Keep).is_err());
        assert_eq!(put(&folder, "stripe", &key("sk_live_ANOTHER8R"), Other::Replace).unwrap(), Put::Replaced);
        assert_eq!(mode(&folder.join("stripe")), 0o600);
        let outside = state.path().join("outside");
        fs::write(&outside, "untouched").unwrap();
        symlink(&outside, folder.join("link")).unwrap();
        put(&folder, "link", &key("sk_live_CANARY7Q"), Other::Replace).unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
        assert!(!folder.join("link").is_symlink());
    }

    /// Of many that store different keys at once one has its way, and all others are told.
    #[test]
    fn of_several_at_once_one_is_kept() {
        let state = tempfile::tempdir().unwrap();
        let folder = folder(state.path());
        let done: Vec<_> = std::thread::scope(|scope| {
            let one = |n: u8| {
                let folder = &folder;
                scope.spawn(move || put(folder, "key", &key(&format!("sk_live_CANARY{n:02}")), Other::Keep).is_ok())
            };
            (0..8).map(one).collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(done.iter().filter(|done| **done).count(), 1);
        assert_eq!(files(&folder), ["key"]);
    }
}
