//! The process between the daemon and a child. It starts the child's program in its sandbox, stays outside of it, and
//! is the parent of whatever the child leaves behind: what has left the child's process group and session, and has
//! no parent any more, still comes from here and ends with it.
//!
//! Invariant: it ends with the child, when the daemon says so and when the daemon ends, however that is; and before it
//! ends it has ended everything below it, by the word of the kernel and not by what `/proc` shows. Only what has been
//! killed and does not end for [`LAST`] is left: it hangs in the kernel.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, getppid, kill_process, pidfd_open,
    pidfd_send_signal, set_child_subreaper, set_parent_process_death_signal, wait, waitid,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{ARGUMENT, Profile, Stat};

/// What tells it to end everything. Nothing else uses it.
const END: Signal = Signal::POWER;
/// What it ignores: it is in the group of the child, which is asked to end by signals, and whose programs may signal it.
const IGNORED: [Signal; 7] =
    [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::ALARM];
/// This program, also where its file has been replaced since.
const PROGRAM: &str = "/proc/self/exe";
/// As long it goes on killing what does not end.
const LAST: Duration = Duration::from_secs(600);
/// Between two rounds of that, at first and after so many.
const ROUND: Duration = Duration::from_millis(2);
const LATER: Duration = Duration::from_millis(100);
const AT_ONCE: u32 = 500;
/// After so many rounds the kernel is asked for every number, where it lists no children.
const BY_LIST: u32 = 8;
/// Numbers of processes are below that, where the system does not say.
const MOST_NUMBERS: i32 = 1 << 22;

/// Tells a keeper that has not been waited for to end everything, also one that something has stopped.
pub fn end(keeper: Pid) {
    for signal in [END, Signal::CONT] {
        // It may have ended by itself.
        let _ = kill_process(keeper, signal);
    }
}

/// Runs the program as the profile says until it ends, and returns the code to end with.
///
/// # Errors
/// Why it does not run, in one line.
pub fn keep(profile: Profile, program: &OsString, args: &[OsString]) -> Result<i32, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("its keeper cannot run"))?;
    runtime.block_on(kept(profile, program, args)).map_err(failed("its keeper cannot do its work"))
}

/// Comes back with an error only where no program was started.
async fn kept(profile: Profile, program: &OsString, args: &[OsString]) -> io::Result<i32> {
    let listen = |of: Signal| signal(SignalKind::from_raw(of.as_raw()));
    let (mut told, mut ended) = (listen(END)?, signal(SignalKind::child())?);
    for ignored in IGNORED {
        drop(listen(ignored)?);
    }
    let me = getpid();
    set_child_subreaper(Some(me))?;
    set_parent_process_death_signal(Some(END))?;
    // The daemon may have ended before that.
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != profile.parent) {
        return Err(io::Error::other("the daemon is gone"));
    }
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let inner = Profile { parent: me.as_raw_nonzero().get(), kept: true, ..profile };
    let inner = serde_json::to_string(&inner)?;
    let child = Command::new(PROGRAM).args([ARGUMENT, &inner, "--"]).arg(program).args(args).spawn()?;
    // The pipes are the child's alone: their ends have to show. The program runs; nothing may say otherwise now.
    let _ = rustix::stdio::dup2_stdin(&null);
    let _ = rustix::stdio::dup2_stdout(&null);
    let _ = rustix::stdio::dup2_stderr(&null);
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let code = loop {
        tokio::select! {
            _ = told.recv() => break None,
            _ = ended.recv() => if let Some(code) = reap(child).code { break Some(code) },
        }
    };
    let late = end_everything(me, child).await;
    Ok(code.or(late).unwrap_or(0))
}

struct Reaped {
    /// The child's, where it is among what has ended.
    code: Option<i32>,
    /// The kernel says that there is nothing to wait for any more.
    all: bool,
}

/// Takes notice of everything that has ended.
fn reap(child: Option<Pid>) -> Reaped {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == child => {
                // As shells say it.
                code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
            }
            Ok(Some(_)) => {}
            Err(Errno::CHILD) => return Reaped { code, all: true },
            Ok(None) | Err(_) => return Reaped { code, all: false },
        }
    }
}

/// What loses its parent by this becomes a child of this process, so in the end all of it is. The child's code, where it
/// had not been taken notice of.
async fn end_everything(me: Pid, child: Option<Pid>) -> Option<i32> {
    let (until, mut code) = (Instant::now() + LAST, None);
    for round in 0_u32.. {
        let reaped = reap(child);
        code = code.or(reaped.code);
        if reaped.all || Instant::now() > until {
            break;
        }
        below(me.as_raw_nonzero().get()).into_iter().for_each(kill);
        match listed() {
            Some(children) => children.into_iter().for_each(kill_child),
            None if round >= BY_LIST => numbers().filter(|pid| is_child(*pid)).for_each(kill_child),
            None => {}
        }
        tokio::time::sleep(if round < AT_ONCE { ROUND } else { LATER }).await;
    }
    code
}

/// Until it is taken notice of its number is its own.
fn kill_child(child: Pid) {
    let _ = kill_process(child, Signal::KILL);
}

/// The children of this process, also those that `/proc` hides. Nothing where the kernel was built without that.
fn listed() -> Option<Vec<Pid>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).ok()?;
        found.extend(text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    Some(found)
}

fn numbers() -> impl Iterator<Item = Pid> {
    let most = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok().and_then(|text| text.trim().parse().ok());
    (1..most.unwrap_or(MOST_NUMBERS)).filter_map(Pid::from_raw)
}

/// It stays to be waited for.
fn is_child(pid: Pid) -> bool {
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT).is_ok()
}

/// A process, by its number and when it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    pid: i32,
    began: u64,
}

/// Only this one: its number may be another's by now.
fn kill(process: Process) {
    let Some(Ok(handle)) = Pid::from_raw(process.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { return };
    if Stat::of(process.pid).is_some_and(|now| now.began == process.began) {
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

/// Every process that comes from this one, as far as `/proc` shows it. Those that have ended are among them: one whose
/// first thread has looks the same and may go on.
fn below(root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<(i32, Stat)>> = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(stat) = Stat::of(pid) {
            children.entry(stat.parent).or_default().push((pid, stat));
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(parent) = next.pop() {
        for (pid, Stat { began, .. }) in children.remove(&parent).unwrap_or_default() {
            next.push(pid);
            found.push(Process { pid, began });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn whatever_comes_from_a_process_is_found_and_ended_by_its_beginning() {
        let me = getpid().as_raw_nonzero().get();
        let mut child = Command::new("sh")
            .args(["-c", "setsid sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (child_id, grandchild) = (child.id().cast_signed(), line.trim().parse::<i32>().unwrap());
        let found = below(me);
        let of = |pid: i32| found.iter().copied().find(|process| process.pid == pid);
        let (one, other) = (of(child_id).unwrap(), of(grandchild).unwrap());
        assert!(of(me).is_none());
        kill(Process { began: other.began + 1, ..other });
        assert!(below(child_id).contains(&other), "another process of that number is let be");
        kill(other);
        kill(one);
        child.wait().unwrap();
        assert!(!below(me).contains(&one) && below(child_id).is_empty());
    }
    #[test]
    fn children_are_known_without_what_proc_shows_of_them() {
        let mut child =
            Command::new("sh").args(["-c", "sleep 1000 & echo $!; wait"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = |raw: i32| Pid::from_raw(raw).unwrap();
        let (one, other) = (pid(child.id().cast_signed()), pid(line.trim().parse().unwrap()));
        let asked: Vec<Pid> = numbers().filter(|pid| is_child(*pid)).collect();
        for children in [Some(asked), listed()].into_iter().flatten() {
            assert!(children.contains(&one) && !children.contains(&other), "{children:?}");
        }
        kill(below(one.as_raw_nonzero().get())[0]);
        kill_child(one);
        // It has ended, and is a child until it is waited for.
        child.wait().unwrap();
        assert!(!is_child(one));
    }
}
