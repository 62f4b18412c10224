//! The process between the daemon and a child. It starts the child's program in its sandbox, stays outside of it, and
//! is the parent of whatever the child leaves behind: what has left the child's process group and session, and has
//! no parent any more, still comes from here and ends with it.
//!
//! Invariant: it ends with the child, when the daemon says so and when the daemon ends, however that is; and before it
//! ends it has ended everything below it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::process::Command;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process, pidfd_open, pidfd_send_signal,
    set_child_subreaper, set_parent_process_death_signal, wait,
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
/// As long it tries to end what is left.
const PATIENCE: Duration = Duration::from_secs(2);
const ROUND: Duration = Duration::from_millis(2);

/// Tells a keeper that has not been waited for to end everything.
pub fn end(keeper: Pid) {
    // It may have ended by itself.
    let _ = kill_process(keeper, END);
}

/// Runs the program as the profile says until it ends, and returns the code to end with.
///
/// # Errors
/// Why it does not run, in one line.
pub fn keep(profile: Profile, program: &OsString, args: &[OsString]) -> Result<i32, String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("its keeper cannot run"))?;
    runtime.block_on(kept(profile, program, args)).map_err(failed("its keeper cannot do its work"))?
}

async fn kept(profile: Profile, program: &OsString, args: &[OsString]) -> std::io::Result<Result<i32, String>> {
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
        return Ok(Err("the daemon is gone".to_owned()));
    }
    let inner = Profile { parent: me.as_raw_nonzero().get(), kept: true, ..profile };
    let inner = serde_json::to_string(&inner)?;
    let child = Command::new(PROGRAM).args([ARGUMENT, &inner, "--"]).arg(program).args(args).spawn()?;
    // The pipes are the child's alone: their ends have to show.
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let code = loop {
        tokio::select! {
            _ = told.recv() => break None,
            _ = ended.recv() => if let Some(code) = reap(child) { break Some(code) },
        }
    };
    end_everything(me).await;
    Ok(Ok(code.unwrap_or(0)))
}

/// Takes notice of everything that has ended. The child's code, where it is among them.
fn reap(child: Option<Pid>) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if Some(pid) == child {
            // As shells say it.
            code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
        }
    }
    code
}

async fn end_everything(me: Pid) {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = below(me.as_raw_nonzero().get());
        if left.is_empty() || Instant::now() > until {
            return;
        }
        left.into_iter().for_each(kill);
        reap(None);
        tokio::time::sleep(ROUND).await;
    }
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

/// Every process that comes from this one and has not ended.
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
        for (pid, Stat { began, over, .. }) in children.remove(&parent).unwrap_or_default() {
            next.push(pid);
            found.extend((!over).then_some(Process { pid, began }));
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
}
