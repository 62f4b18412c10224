//! Takes away what a child has left, however deep it lies: what the usual way of doing it costs grows with the depth,
//! and the depth is the child's choice.
//!
//! Invariant: a few descriptors at a time, no recursion, and no link is followed out of the folder.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Somebody may go on writing while we take away.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names of folders that are kept in memory at a time.
const BATCH: usize = 1000;

/// Removes a folder of ours and everything in it. One that is not there is removed.
///
/// # Errors
/// What is left cannot be removed, or grows as fast.
pub(super) fn all(folder: &Path) -> io::Result<()> {
    let top = match open(CWD, folder) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let until = Instant::now() + PATIENCE;
    let mut names = (0_u64..).map(|number| format!(".{number}"));
    // What lies in a folder comes up to the top before the folder goes, so that nothing is ever deep.
    loop {
        let inside = sweep(&top, until)?;
        if inside.is_empty() {
            break;
        }
        for name in inside {
            let inner = open(&top, &name)?;
            loop {
                let below = sweep(&inner, until)?;
                if below.is_empty() {
                    break;
                }
                for folder in below {
                    lift(&inner, &folder, &top, &mut names)?;
                }
            }
            rustix::fs::unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    rustix::fs::unlinkat(CWD, folder, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// A folder as one that can be emptied. It is ours, whatever its mode says.
fn open(at: impl AsFd, name: impl Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(&at, name, flags, Mode::empty()) {
        #[cfg(target_os = "linux")]
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let known = rustix::fs::openat(&at, name, flags, Mode::empty())?;
            let same = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&known));
            rustix::fs::chmod(&same, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, &same, flags, Mode::empty())?
        }
        opened => opened?,
    };
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    Ok(folder)
}

/// Removes what is no folder, and names some of the folders that are there; none only where nothing is left.
fn sweep(folder: &OwnedFd, until: Instant) -> io::Result<Vec<CString>> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if Instant::now() > until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "there is more and more in it"));
        }
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => folders.push(name.to_owned()),
            Err(error) => return Err(error.into()),
        }
        if folders.len() >= BATCH {
            break;
        }
    }
    Ok(folders)
}

/// Moves a folder up, under a name that is free there.
fn lift(from: &OwnedFd, name: &CString, to: &OwnedFd, names: &mut impl Iterator<Item = String>) -> io::Result<()> {
    // Else where it comes from cannot be changed in it.
    let _folder = open(from, name)?;
    for free in names {
        // At most an empty folder is replaced by it.
        match rustix::fs::renameat(from, name, to, &free) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            done => return Ok(done?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Deeper than any path can say, and deeper than a stack or a table of descriptors would take.
    #[test]
    fn what_lies_deep_is_removed_with_a_few_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("scratch");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(folder.path().join("kept"), "x").unwrap();
        let mut at = open(CWD, &place).unwrap();
        for depth in 0..20_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            if depth % 1000 == 0 {
                rustix::fs::mkdirat(&at, ".7", Mode::RWXU).unwrap();
                rustix::fs::symlinkat("../../kept", &at, "link").unwrap();
            }
            at = open(&at, "d").unwrap();
        }
        all(&place).unwrap();
        assert!(!place.exists() && folder.path().join("kept").exists());
        all(&place).unwrap();
    }

    #[test]
    fn modes_do_not_matter_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (place, other) = (folder.path().join("scratch"), folder.path().join("other"));
        std::fs::create_dir_all(place.join("a/b/c")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("kept"), "x").unwrap();
        symlink(&other, place.join("a/b/link")).unwrap();
        symlink(&other, place.join("link")).unwrap();
        for (path, mode) in [("a/b/c", 0o000), ("a/b", 0o500), ("a", 0o100)] {
            std::fs::set_permissions(place.join(path), PermissionsExt::from_mode(mode)).unwrap();
        }
        all(&place).unwrap();
        assert!(!place.exists() && other.join("kept").exists());
        symlink(&other, &place).unwrap();
        assert!(all(&place).is_err() && other.join("kept").exists());
    }
}
