//! The way in: this process gives up what its profile does not name and becomes the child's program. Its id and its
//! process group stay, and so do its pipes and its environment.
//!
//! Invariant: it comes back only with a failure, and then the program was not run.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, Rlimit};

use super::{Limits, Profile};
#[cfg(target_os = "linux")]
use super::{Wishes, support};

/// Does what the profile says, then runs the program.
///
/// # Errors
/// Why it does not run, in one line.
pub fn enter(profile: &Profile, program: &OsString, args: &[OsString]) -> String {
    let restricted = give_up(profile).and_then(|()| limit(&profile.limits));
    if let Err(why) = restricted {
        return why;
    }
    let error = Command::new(program).args(args).exec();
    let help = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotFound => {
            "; it, or the interpreter that its first line names, may lie where the sandbox does not let it read: add the \
             folder to `sandbox.read`"
        }
        _ => "",
    };
    format!("`{}` cannot be run: {error}{help}", program.display())
}

fn limit(limits: &Limits) -> Result<(), String> {
    let wished = [
        ("core dumps", Resource::Core, Some(0)),
        ("open files", Resource::Nofile, Some(limits.open_files)),
        ("processes", Resource::Nproc, limits.processes),
        ("memory", Resource::As, limits.memory),
        ("file size", Resource::Fsize, limits.file_size),
    ];
    for (what, resource, most) in wished {
        let Some(most) = most else { continue };
        // Never more than there was.
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |before| before.min(most));
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| format!("the limit of {what} cannot be set: {error}"))?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn give_up(profile: &Profile) -> Result<(), String> {
    use rustix::process::Signal;
    use rustix::thread::{CapabilitySet, CapabilitySets};

    let wishes = Wishes {
        network: profile.network.clone(),
        unix_sockets: profile.unix_sockets,
        strict: profile.strict,
        ..Wishes::default()
    };
    let support = support();
    if let Some(refused) = support.refuses(&wishes) {
        return Err(refused.to_string());
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    let failed = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    // Those that a daemon of root has. Without new ones no program gets them back.
    let held = rustix::thread::capabilities(None).map_err(failed("capabilities cannot be read"))?;
    if held != none {
        rustix::thread::set_capabilities(None, none).map_err(failed("capabilities cannot be dropped"))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs cannot be set"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("the end of the daemon cannot be followed"))?;
    // Whether it wants them is its own business.
    let _ = rustix::thread::disable_transparent_huge_pages(false);
    // The daemon may have ended before that.
    if rustix::process::getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != profile.parent) {
        return Err("the daemon is gone".to_owned());
    }
    if support.landlock > 0 {
        super::landlocked::restrict(profile)?;
    }
    if support.filter {
        super::filter::restrict(profile)?;
    }
    Ok(())
}

/// There is nothing to enter. The daemon has refused it before.
#[cfg(not(target_os = "linux"))]
fn give_up(_: &Profile) -> Result<(), String> {
    Err(super::SandboxError::Nothing.to_string())
}
