//! `--fix`: what may be done without asking, done.
//!
//! Invariant: rights are only taken away, and only from what is ours, through the descriptor that was looked at.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::finding::Act;
use crate::transport::runtime_dir;

/// Does it.
///
/// # Errors
/// Why it was not done; nothing has changed then.
pub fn apply(act: &Act) -> Result<(), String> {
    match act {
        Act::Take { path, bits } => take(path, *bits).map_err(|error| error.to_string()),
        Act::MakeFolder(path) => {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| error.to_string())
        }
        Act::RemoveDeadSocket(path) => runtime_dir::remove_dead(path).map_err(|error| error.to_string()),
    }
}

fn take(path: &Path, bits: u32) -> io::Result<()> {
    // Not blocking: a pipe in the file's place would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me || !(found.is_file() || found.is_dir()) {
        return Err(io::Error::other(format!("it belongs to user {}, this is user {me}", found.uid())));
    }
    file.set_permissions(Permissions::from_mode(found.mode() & 0o7777 & !bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_taken_and_never_given() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for (before, bits, after) in [(0o666, 0o022, 0o644), (0o644, 0o077, 0o600), (0o400, 0o022, 0o400)] {
            std::fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
            apply(&Act::Take { path: file.clone(), bits }).unwrap();
            assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, after, "{before:o}");
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(apply(&Act::Take { path: link, bits: 0o077 }).is_err(), "a link is not followed");
    }

    #[test]
    fn only_a_socket_whose_daemon_is_dead_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        let path = folder.path().join("client.sock");
        let remove = || apply(&Act::RemoveDeadSocket(path.clone()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(remove().unwrap_err().contains("running"));
        assert!(path.exists());
        drop(listener);
        remove().unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "x").unwrap();
        assert!(remove().unwrap_err().contains("not a socket"));
        assert!(path.exists());
    }
}
