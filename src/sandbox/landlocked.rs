//! Files, ports and signals: the rules that Landlock keeps. What an older kernel does not know is left out; that it is
//! missing was said before.

use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Network, Profile};

/// The rights that we know.
const KNOWN: ABI = ABI::V6;
/// Files that every program may read and write.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// The newest version of the interface whose rights this kernel knows, of those that make a difference to us. The
/// kernel is asked for each right; nothing is restricted by that.
pub fn version() -> u8 {
    let known = |ruleset: Result<Ruleset, RulesetError>| ruleset.and_then(Ruleset::create).is_ok();
    let hard = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let files = |right: AccessFs| known(hard().handle_access(right));
    let asked = [
        (9, files(AccessFs::ResolveUnix)),
        (6, known(hard().scope(Scope::from_all(ABI::V6)))),
        (5, files(AccessFs::IoctlDev)),
        (4, known(hard().handle_access(AccessNet::from_all(ABI::V4)))),
        (3, files(AccessFs::Truncate)),
        (2, files(AccessFs::Refer)),
        (1, files(AccessFs::Execute)),
    ];
    asked.into_iter().find(|(_, known)| *known).map_or(0, |(version, _)| version)
}

/// Restricts this thread and whatever comes from it.
///
/// # Errors
/// What cannot be done, in words.
pub fn restrict(profile: &Profile) -> Result<(), String> {
    let failed = |error: RulesetError| format!("Landlock: {error}");
    let mut files = AccessFs::from_all(KNOWN);
    if !profile.unix_sockets {
        files |= AccessFs::ResolveUnix;
    }
    let mut ruleset = Ruleset::default()
        .handle_access(files)
        .and_then(|ruleset| ruleset.scope(Scope::from_all(KNOWN)))
        .map_err(failed)?;
    if profile.network != Network::Any {
        ruleset = ruleset.handle_access(AccessNet::from_all(KNOWN)).map_err(failed)?;
    }
    let mut ruleset = ruleset.create().map_err(failed)?;
    let all = files;
    let read = AccessFs::from_read(KNOWN);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let places = profile.read.iter().map(|path| (path.as_path(), read, true));
    let places = places.chain(profile.write.iter().map(|path| (path.as_path(), all, true)));
    for (path, rights, needed) in places.chain(DEVICES.map(|path| (Path::new(path), device, false))) {
        match rule(path, rights) {
            Ok(rule) => ruleset = ruleset.add_rule(rule).map_err(failed)?,
            // Gone since the daemon looked, which may happen to a file among many.
            Err(Errno::NOENT) => {}
            Err(_) if !needed => {}
            // Folders of the system that this account cannot open it cannot use either.
            Err(Errno::ACCESS) => {}
            Err(error) => return Err(format!("`{}` cannot be opened: {error}", path.display())),
        }
    }
    let ports: Vec<u16> = match &profile.network {
        Network::Any => Vec::new(),
        Network::Ports(ports) => ports.iter().copied().collect(),
        Network::Only(port) => vec![*port],
    };
    for port in ports {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(failed)?;
    }
    ruleset.restrict_self().map_err(failed)?;
    Ok(())
}

fn rule(path: &Path, rights: BitFlags<AccessFs>) -> rustix::io::Result<PathBeneath<OwnedFd>> {
    let place = open(path)?;
    let is_folder = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode).is_dir();
    let rights = if is_folder { rights } else { rights & (AccessFs::from_file(KNOWN) | AccessFs::ResolveUnix) };
    Ok(PathBeneath::new(place, rights))
}

/// The path was real when the daemon looked: whoever has put a link there since does not choose what is opened. Step by
/// step, because a service manager that keeps files from getting a set-user-ID bit takes `openat2` away.
fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if !path.is_absolute() {
        return Err(Errno::INVAL);
    }
    let mut at = rustix::fs::open("/", flags, Mode::empty())?;
    for step in path.components() {
        match step {
            Component::RootDir => continue,
            Component::Normal(name) => at = rustix::fs::openat(&at, name, flags, Mode::empty())?,
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
        }
        if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&at)?.st_mode).is_symlink() {
            return Err(Errno::LOOP);
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_on_the_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("a/b")).unwrap();
        symlink("a", real.join("link")).unwrap();
        symlink("b", real.join("a/last")).unwrap();
        assert!(open(&real.join("a/b")).is_ok() && open(Path::new("/")).is_ok());
        for (path, error) in [("link/b", Errno::LOOP), ("a/last", Errno::LOOP), ("a/none", Errno::NOENT)] {
            assert_eq!(open(&real.join(path)).unwrap_err(), error, "{path}");
        }
        for odd in [real.join("a/../a"), "a".into()] {
            assert_eq!(open(&odd).unwrap_err(), Errno::INVAL);
        }
    }
}
