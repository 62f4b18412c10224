//! Files and folders that nobody but the operator can change.
//!
//! A path is walked from the root, symbolic links included, and every folder on the way is looked at: whoever can
//! rename a folder decides what lies behind it. The file that is opened is looked at again through its descriptor.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// More links than this on one path are taken for a loop.
const MAX_LINKS: usize = 40;

/// More files and folders than this are not looked through.
const MAX_ENTRIES: usize = 10_000;

/// Why a path is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("`{}` does not exist", .0.display())]
    Missing(PathBuf),
    #[error("`{}` cannot be read: {}", .path.display(), .error)]
    Io { path: PathBuf, error: io::Error },
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("`{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("`{}` belongs to user {uid}", .path.display())]
    Owner { path: PathBuf, uid: u32 },
    #[error("`{}` can be changed by others (mode {:04o})", .path.display(), .mode)]
    Writable { path: PathBuf, mode: u32 },
    #[error("`{}` can be read by others (mode {:04o})", .path.display(), .mode)]
    Readable { path: PathBuf, mode: u32 },
    #[error("`{}` goes through too many symbolic links", .0.display())]
    Links(PathBuf),
    #[error("`{}` is longer than {limit} bytes", .path.display())]
    Size { path: PathBuf, limit: usize },
    #[error("`{}` has more than {MAX_ENTRIES} files and folders", .0.display())]
    TooMany(PathBuf),
    #[error("`{command}` is in no folder of PATH")]
    NoCommand { command: String },
    #[error("PATH has the relative folder `{}` before the one with the command", .0.display())]
    RelativeSearch(PathBuf),
}

impl TrustError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            TrustError::Missing(_) => "create it, or correct the path".to_owned(),
            TrustError::Io { .. } => "it must be readable by the user that runs countersign".to_owned(),
            TrustError::NotAFile(_) => "pipes, devices and folders are not read".to_owned(),
            TrustError::NotAFolder(_) => "correct the path".to_owned(),
            TrustError::Owner { path, .. } => {
                format!("it must belong to you or to root: chown {} {}", rustix::process::geteuid(), shell(path))
            }
            TrustError::Writable { path, .. } => {
                format!("take the right to write from group and others: chmod go-w {}", shell(path))
            }
            TrustError::Readable { path, .. } => format!("keep it to yourself: chmod go-rwx {}", shell(path)),
            TrustError::Links(_) => "name the file itself".to_owned(),
            TrustError::Size { .. } => "it is probably another file than the one you mean".to_owned(),
            TrustError::TooMany(_) => {
                "name a folder that holds only what is meant, without links in a circle".to_owned()
            }
            TrustError::NoCommand { .. } => "install it, or write its absolute path".to_owned(),
            TrustError::RelativeSearch(_) => "take it out of PATH, or write the command's absolute path".to_owned(),
        }
    }
}

/// A path as a shell reads it back.
pub(super) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@:,".contains(&byte));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    Anyone,
    OwnerOnly,
}

/// What the walk asks of everything on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Demand {
    /// Owned by us or root, not writable by group or others.
    Ours,
    /// Not writable by everybody: for programs, which package managers own and groups maintain.
    NotEverybodys,
}

#[derive(Clone, Copy)]
struct Walk {
    demand: Demand,
    me: u32,
}

/// Checks a file or folder and everything above it; returns where it really is.
///
/// # Errors
/// The first thing on the way that others could change.
pub fn check(path: &Path) -> Result<PathBuf, TrustError> {
    let (resolved, _) = Walk::ours().follow(path)?;
    Ok(resolved)
}

/// [`check`] for a file, or for a folder and everything in it whose name does not begin with a dot.
///
/// # Errors
/// The first thing that others could change.
pub fn check_tree(path: &Path) -> Result<(), TrustError> {
    let mut pending = vec![path.to_owned()];
    let mut seen = 0;
    while let Some(path) = pending.pop() {
        seen += 1;
        if seen > MAX_ENTRIES {
            return Err(TrustError::TooMany(path));
        }
        let resolved = check(&path)?;
        if !resolved.is_dir() {
            continue;
        }
        let failed = |error| TrustError::Io { path: resolved.clone(), error };
        for entry in resolved.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                pending.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Opens a regular file that [`check`] accepts.
///
/// # Errors
/// As [`check`], and where others may read what only the owner should.
pub fn open(path: &Path, readers: Readers) -> Result<File, TrustError> {
    Walk::ours().open(path, readers)
}

/// Reads a file of at most `limit` bytes that [`open`] accepts. The buffer is wiped on drop and never moved.
///
/// # Errors
/// As [`open`], and where it is longer.
pub fn read(path: &Path, readers: Readers, limit: usize) -> Result<Zeroizing<Vec<u8>>, TrustError> {
    let mut file = open(path, readers)?;
    let mut buffer = Zeroizing::new(vec![0; limit.saturating_add(1)]);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(TrustError::Io { path: path.to_owned(), error }),
        }
    }
    if filled > limit {
        return Err(TrustError::Size { path: path.to_owned(), limit });
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// The absolute path of a program: an absolute path as it is, a bare name by the folders of `search` (a value of
/// `PATH`). Neither it nor a folder above it may be writable by everybody.
///
/// # Errors
/// Where it is not there, or where everybody could replace it.
pub fn find_command(command: &str, search: Option<&OsStr>) -> Result<PathBuf, TrustError> {
    let walk = Walk { demand: Demand::NotEverybodys, ..Walk::ours() };
    let missing = || TrustError::NoCommand { command: command.to_owned() };
    if command.contains('/') {
        let path = Path::new(command);
        return if path.is_absolute() { walk.program(path) } else { Err(missing()) };
    }
    if command.is_empty() {
        return Err(missing());
    }
    for folder in std::env::split_paths(search.unwrap_or_default()) {
        let path = folder.join(command);
        let Ok(metadata) = path.metadata() else { continue };
        if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
            continue;
        }
        if !folder.is_absolute() {
            return Err(TrustError::RelativeSearch(folder));
        }
        return walk.program(&path);
    }
    Err(missing())
}

impl Walk {
    fn ours() -> Walk {
        Walk { demand: Demand::Ours, me: rustix::process::geteuid().as_raw() }
    }

    fn open(self, path: &Path, readers: Readers) -> Result<File, TrustError> {
        let (resolved, _) = self.follow(path)?;
        let failed = |error: io::Error| TrustError::Io { path: path.to_owned(), error };
        // Not blocking: a pipe in the file's place would otherwise wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(&resolved, flags, Mode::empty()).map_err(|error| failed(error.into()))?);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(TrustError::NotAFile(path.to_owned()));
        }
        self.entry(&resolved, &metadata)?;
        // A service's credential of systemd's: root's, and readable by the service by an entry of its own, which shows as
        // a right of the group. Whoever else could read it was chosen by root.
        let given_by_root = metadata.uid() == 0 && metadata.gid() == 0 && self.me != 0;
        let others = if given_by_root { 0o004 } else { 0o044 };
        if readers == Readers::OwnerOnly && metadata.mode() & others != 0 {
            return Err(TrustError::Readable { path: resolved, mode: metadata.mode() & 0o7777 });
        }
        Ok(file)
    }

    fn program(self, path: &Path) -> Result<PathBuf, TrustError> {
        let (resolved, metadata) = self.follow(path)?;
        // Where it really is has been checked; the name it was called by is kept, because some programs look at it.
        if metadata.is_file() { Ok(path.to_owned()) } else { Err(TrustError::NotAFile(resolved)) }
    }

    fn follow(self, path: &Path) -> Result<(PathBuf, Metadata), TrustError> {
        let absolute = std::path::absolute(path).map_err(|error| TrustError::Io { path: path.to_owned(), error })?;
        let mut pending = steps(&absolute);
        let mut at = PathBuf::from("/");
        let mut metadata = look(&at)?;
        let mut links = 0;
        loop {
            self.entry(&at, &metadata)?;
            let Some(step) = pending.pop() else { return Ok((at, metadata)) };
            if !metadata.is_dir() {
                return Err(TrustError::NotAFolder(at));
            }
            if step == ".." {
                at.pop();
                metadata = look(&at)?;
                continue;
            }
            let next = at.join(&step);
            metadata = look(&next)?;
            if !metadata.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(TrustError::Links(path.to_owned()));
            }
            self.owner(&next, &metadata)?;
            let target = std::fs::read_link(&next).map_err(|error| TrustError::Io { path: next.clone(), error })?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            pending.extend(steps(&target));
            metadata = look(&at)?;
        }
    }

    /// A folder or file that is no link.
    fn entry(self, path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
        self.owner(path, metadata)?;
        let mode = metadata.mode();
        let forbidden = match self.demand {
            Demand::Ours => 0o022,
            Demand::NotEverybodys => 0o002,
        };
        // In a sticky folder of root, such as /tmp, others may add entries but not touch those of somebody else; that
        // the entry below is not theirs is checked next.
        let sticky = metadata.is_dir() && mode & 0o1000 != 0 && metadata.uid() == 0;
        if mode & forbidden != 0 && !sticky {
            return Err(TrustError::Writable { path: path.to_owned(), mode: mode & 0o7777 });
        }
        Ok(())
    }

    fn owner(self, path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
        let uid = metadata.uid();
        match self.demand {
            Demand::Ours if uid != 0 && uid != self.me => Err(TrustError::Owner { path: path.to_owned(), uid }),
            Demand::Ours | Demand::NotEverybodys => Ok(()),
        }
    }
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<std::ffi::OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(step).collect()
}

fn look(path: &Path) -> Result<Metadata, TrustError> {
    path.symlink_metadata().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TrustError::Missing(path.to_owned()),
        _ => TrustError::Io { path: path.to_owned(), error },
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, write};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// A temporary folder whose own folders are closed to others, with one file.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        create_dir(&inner).unwrap();
        mode(&inner, 0o755);
        let file = inner.join("file");
        write(&file, "text").unwrap();
        mode(&file, 0o644);
        (folder, file)
    }

    /// Somebody for whom our files are foreign.
    fn stranger(file: &Path) -> Walk {
        let walk = Walk::ours();
        if walk.me == 0 {
            chown(file, Some(4242), None).unwrap();
            return walk;
        }
        Walk { me: walk.me + 1, ..walk }
    }

    #[test]
    fn an_ordinary_file_is_read_also_under_the_temporary_folder() {
        let (_folder, file) = place();
        assert_eq!(read(&file, Readers::Anyone, 4).unwrap().as_slice(), b"text");
        assert_eq!(check(file.parent().unwrap()).unwrap(), file.parent().unwrap().canonicalize().unwrap());
    }

    #[test]
    fn what_others_can_write_is_refused_at_every_level() {
        let (folder, file) = place();
        for bits in [0o664, 0o646, 0o666, 0o620, 0o1666] {
            mode(&file, bits);
            assert!(matches!(open(&file, Readers::Anyone), Err(TrustError::Writable { .. })), "{bits:o}");
        }
        mode(&file, 0o600);
        for above in [file.parent().unwrap(), folder.path()] {
            for bits in [0o775, 0o757, 0o777] {
                mode(above, bits);
                let refused = open(&file, Readers::Anyone).unwrap_err();
                assert!(
                    matches!(&refused, TrustError::Writable { path, .. } if path.ends_with(above.file_name().unwrap()))
                );
                assert!(refused.help().contains("chmod go-w"));
            }
            mode(above, 0o755);
        }
        assert!(open(&file, Readers::Anyone).is_ok());
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let (_folder, file) = place();
        let refused = stranger(&file).open(&file, Readers::Anyone);
        assert!(matches!(refused, Err(TrustError::Owner { .. })), "{refused:?}");
    }

    /// As systemd hands a key to a service that is not root.
    #[test]
    fn a_credential_that_root_gives_may_be_readable_by_its_group_of_root() {
        let (_folder, file) = place();
        if Walk::ours().me != 0 {
            return;
        }
        let service = Walk { me: 4242, ..Walk::ours() };
        mode(&file, 0o440);
        assert!(service.open(&file, Readers::OwnerOnly).is_ok());
        mode(&file, 0o444);
        assert!(matches!(service.open(&file, Readers::OwnerOnly), Err(TrustError::Readable { .. })));
        mode(&file, 0o440);
        chown(&file, None, Some(4242)).unwrap();
        assert!(matches!(service.open(&file, Readers::OwnerOnly), Err(TrustError::Readable { .. })));
    }

    #[test]
    fn a_secret_is_for_its_owner_alone() {
        let (_folder, file) = place();
        for bits in [0o644, 0o640, 0o604] {
            mode(&file, bits);
            let refused = open(&file, Readers::OwnerOnly);
            assert!(matches!(refused, Err(TrustError::Readable { mode, .. }) if mode == bits), "{bits:o}");
        }
        for bits in [0o600, 0o400] {
            mode(&file, bits);
            assert!(open(&file, Readers::OwnerOnly).is_ok());
        }
    }

    #[test]
    fn a_link_leads_to_what_is_checked() {
        let (folder, file) = place();
        let link = folder.path().join("link");
        symlink("inner/../inner/file", &link).unwrap();
        assert_eq!(check(&link).unwrap(), file.canonicalize().unwrap());
        mode(&file, 0o666);
        assert!(matches!(open(&link, Readers::Anyone), Err(TrustError::Writable { .. })));
        mode(&file, 0o644);
        // The link lies well, its target lies where others may rename it.
        mode(file.parent().unwrap(), 0o777);
        assert!(matches!(open(&link, Readers::Anyone), Err(TrustError::Writable { .. })));
        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(matches!(check(&circle), Err(TrustError::Links(_))));
    }

    #[test]
    fn a_folder_is_looked_through() {
        let (folder, file) = place();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(check_tree(folder.path()).is_ok());
        mode(&file, 0o664);
        assert!(matches!(check_tree(folder.path()), Err(TrustError::Writable { .. })));
        mode(&file, 0o644);
        symlink("..", file.with_file_name("circle")).unwrap();
        assert!(matches!(check_tree(folder.path()), Err(TrustError::TooMany(_) | TrustError::Links(_))));
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let (folder, file) = place();
        assert!(matches!(read(&file, Readers::Anyone, 3), Err(TrustError::Size { limit: 3, .. })));
        assert!(matches!(open(folder.path(), Readers::Anyone), Err(TrustError::NotAFile(_))));
        assert!(open(Path::new("/dev/null"), Readers::Anyone).is_err());
        assert!(matches!(
            open(&file.join("x"), Readers::Anyone),
            Err(TrustError::NotAFolder(_) | TrustError::Io { .. })
        ));
        assert!(matches!(open(&folder.path().join("x"), Readers::Anyone), Err(TrustError::Missing(_))));
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(matches!(open(&pipe, Readers::Anyone), Err(TrustError::NotAFile(_))));
    }

    #[test]
    fn programs_are_found_by_absolute_folders_that_not_everybody_can_write() {
        let (folder, file) = place();
        let inner = file.parent().unwrap();
        mode(&file, 0o755);
        assert_eq!(find_command("file", Some(inner.as_os_str())).unwrap(), file);
        assert_eq!(find_command(file.to_str().unwrap(), None).unwrap(), file);
        for absent in ["", "inner/file", "./file", "absent"] {
            let refused = find_command(absent, Some(inner.as_os_str()));
            assert!(matches!(refused, Err(TrustError::NoCommand { .. })), "{absent}");
        }
        mode(inner, 0o777);
        assert!(matches!(find_command("file", Some(inner.as_os_str())), Err(TrustError::Writable { .. })));
        mode(inner, 0o775);
        assert!(find_command("file", Some(inner.as_os_str())).is_ok());
        drop(folder);
    }

    #[test]
    fn a_path_in_a_help_line_can_be_pasted() {
        assert_eq!(shell(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(shell(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
