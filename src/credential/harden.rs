//! Makes the process a place where keys may live, and where nobody else answers for the operator. Called once, first of
//! all, by every command that will hold a key or ask for a ruling, and by `connect`, through which passes what is asked for
//! and answered. The kernel says no more of such a process, its folder for example, to others of its account.

use std::io;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};

/// No core dumps, no tracing by other processes of the same user, no file that others can read.
///
/// Core size and file mask are inherited by children; on Linux a child is traceable again after its `exec`.
///
/// # Errors
/// Where the system refuses: the caller does not go on.
pub fn harden() -> io::Result<()> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD: &str = "COUNTERSIGN_TEST_HARDEN";

    /// Runs itself again as a process of its own: the settings are the whole process's and would reach other tests.
    #[test]
    fn a_hardened_process_leaves_nothing_behind() {
        if std::env::var_os(CHILD).is_some() {
            harden().unwrap();
            let limit = rustix::process::getrlimit(Resource::Core);
            assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
            #[cfg(target_os = "linux")]
            assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::NotDumpable);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            std::fs::write(&path, "x").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
            return;
        }
        let name = concat!(module_path!(), "::a_hardened_process_leaves_nothing_behind");
        let name = name.split_once("::").unwrap().1;
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }
}
