//! The folder of the sockets, and how one daemon at a time listens there.
//!
//! Invariant: a socket of ours lies in a folder that only its owner can enter, a path that another daemon serves is
//! never taken over, and no process that the daemon has started gets a connection.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::budget::Budget;
use super::family;

/// Why there can be no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{path} has no folder; give an absolute path")]
    NoFolder { path: PathBuf },
    #[error("{path} is a symbolic link or not a folder; remove it, or set another runtime_dir")]
    NotAFolder { path: PathBuf },
    #[error("{path} belongs to user {owner}, this is user {me}; set another runtime_dir")]
    Foreign { path: PathBuf, owner: u32, me: u32 },
    #[error("{path} is open to others (mode {mode:o}); help: chmod {wanted:o} {path}", path = path.display())]
    Open { path: PathBuf, mode: u32, wanted: u32 },
    #[error("another daemon is running: it serves {path}; stop it first, or set another runtime_dir")]
    Running { path: PathBuf },
    #[error("{path} exists and is not a socket; remove it, or set another runtime_dir")]
    NotASocket { path: PathBuf },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_owned();
    move |source| SocketError::Io { path, source }
}

/// A listening socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    inner: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket file, so that only our own is removed.
    file: (u64, u64),
    /// Processes that this one has started may connect.
    children: bool,
    /// How often it is said that somebody was turned away.
    turned_away: Budget,
    /// Held as long as this lives; the kernel gives it back when the process dies.
    _lock: File,
}

impl Listener {
    /// Lets our own children in too: for a program that starts clients and no servers.
    #[must_use]
    pub fn with_children(mut self) -> Listener {
        self.children = true;
        self
    }

    /// The next connection of a process that is none of our children's.
    ///
    /// # Errors
    /// Those of `accept`; the listener stays usable.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.inner.accept().await?;
            // At once: a process id is somebody else's some time after its end.
            let pid = stream.peer_cred()?.pid();
            if self.children || !pid.is_some_and(family::is_ours) {
                return Ok(stream);
            }
            if let Some(suppressed) = self.may_complain() {
                let socket = self.path.display();
                tracing::warn!(%socket, pid, suppressed, "a process that the daemon started was turned away");
            }
        }
    }

    /// Whether it may be said now that somebody was turned away, and how often it was not since the last time.
    pub fn may_complain(&self) -> Option<u64> {
        self.turned_away.take()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path` with mode 0600, in a folder that is created with mode 0700 where it is missing. A socket that a
/// dead daemon left is replaced. Needs the tokio runtime.
///
/// # Errors
/// [`SocketError`]: what is wrong, and where.
pub fn listen(path: &Path) -> Result<Listener, SocketError> {
    let folder = path.parent().filter(|folder| folder.is_absolute());
    let folder = folder.ok_or_else(|| SocketError::NoFolder { path: path.to_owned() })?;
    private_folder(folder)?;
    let lock = take_lock(path)?;
    remove_stale(path)?;
    let inner = UnixListener::bind(path).map_err(io_error(path))?;
    // Nobody else can enter the folder, so the mode matters only to those who read it.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io_error(path))?;
    let found = fs::symlink_metadata(path).map_err(io_error(path))?;
    let turned_away = Budget::new(10, Duration::from_secs(1));
    let (path, file) = (path.to_owned(), (found.dev(), found.ino()));
    Ok(Listener { inner, path, file, children: false, turned_away, _lock: lock })
}

/// Creates the folder, or checks that it is one that only we can enter, below parents that nobody else can swap.
///
/// # Errors
/// [`SocketError`].
pub fn private_folder(folder: &Path) -> Result<(), SocketError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error(folder))?;
    check_private(folder)
}

/// As [`private_folder`], of one that is there.
///
/// # Errors
/// [`SocketError`].
pub fn check_private(folder: &Path) -> Result<(), SocketError> {
    let me = rustix::process::geteuid().as_raw();
    let found = fs::symlink_metadata(folder).map_err(io_error(folder))?;
    if !found.is_dir() {
        return Err(SocketError::NotAFolder { path: folder.to_owned() });
    }
    if found.uid() != me {
        return Err(SocketError::Foreign { path: folder.to_owned(), owner: found.uid(), me });
    }
    if found.mode() & 0o077 != 0 {
        return Err(SocketError::Open { path: folder.to_owned(), mode: found.mode() & 0o7777, wanted: 0o700 });
    }
    let real = folder.canonicalize().map_err(io_error(folder))?;
    for parent in real.ancestors().skip(1) {
        let found = fs::symlink_metadata(parent).map_err(io_error(parent))?;
        if found.uid() != me && found.uid() != 0 {
            return Err(SocketError::Foreign { path: parent.to_owned(), owner: found.uid(), me });
        }
        // A sticky folder such as /tmp lets nobody rename what is not theirs.
        if found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0 {
            return Err(SocketError::Open { path: parent.to_owned(), mode: found.mode() & 0o7777, wanted: 0o755 });
        }
    }
    Ok(())
}

/// Removes a socket that a dead daemon left, as [`listen`] would.
///
/// # Errors
/// [`SocketError`] where a daemon runs, or where it is no socket.
pub fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let _lock = take_lock(path)?;
    remove_stale(path)
}

fn take_lock(path: &Path) -> Result<File, SocketError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&name).map_err(io_error(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::Running { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(SocketError::Io { path: name, source }),
    }
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SocketError::Io { path: path.to_owned(), source }),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path).map_err(|error| (error.kind(), error)) {
        Ok(_) => Err(SocketError::Running { path: path.to_owned() }),
        // Nobody listens: a daemon that is gone left it.
        Err((io::ErrorKind::ConnectionRefused, _)) => fs::remove_file(path).map_err(io_error(path)),
        Err((io::ErrorKind::NotFound, _)) => Ok(()),
        Err((_, source)) => Err(SocketError::Io { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_socket_is_private_and_goes_with_its_listener() {
        let folder = folder();
        let path = folder.path().join("run/deep/client.sock");
        let listener = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_running_daemon_keeps_its_socket() {
        let folder = folder();
        let path = folder.path().join("client.sock");
        let first = listen(&path).unwrap();
        assert!(matches!(listen(&path), Err(SocketError::Running { .. })));
        // Even where its lock file was removed.
        fs::remove_file(folder.path().join("client.sock.lock")).unwrap();
        assert!(matches!(listen(&path), Err(SocketError::Running { .. })));
        assert!(path.exists());
        drop(first);
    }

    #[tokio::test]
    async fn a_socket_of_a_dead_daemon_is_replaced() {
        let folder = folder();
        let path = folder.path().join("client.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = listen(&path).unwrap();
        let _client = UnixStream::connect(&path).await.unwrap();
        listener.accept().await.unwrap();
    }

    #[tokio::test]
    async fn odd_places_are_refused() {
        let folder = folder();
        let file = folder.path().join("file.sock");
        fs::write(&file, "x").unwrap();
        assert!(matches!(listen(&file), Err(SocketError::NotASocket { .. })));
        let open = folder.path().join("open");
        DirBuilder::new().create(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(listen(&open.join("s")), Err(SocketError::Open { mode: 0o750, .. })));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(matches!(listen(&link.join("s")), Err(SocketError::NotAFolder { .. })));
        assert!(matches!(listen(Path::new("s")), Err(SocketError::NoFolder { .. })));
    }
}
