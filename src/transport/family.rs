//! Whether a process comes from this daemon: such a one is no client and no operator, whatever account it runs under.
//!
//! It is told by parents, and by the leaders of its process group and (on Linux) of its session. A process that has left
//! all three and whose parent has ended belongs to the keeper of its sandbox; without a sandbox it is nobody's any more and
//! is not recognised. What keeps a child in its sandbox from a socket of ours is the sandbox.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::sandbox::Stat;

/// Parents on the way that are looked at.
const MAX_STEPS: usize = 256;

/// Whether the process that connected is a child of this process, or a child of one, or so on. One that has ended
/// since is taken for one: it may have left its connection to another.
pub fn is_ours(pid: i32) -> bool {
    #[cfg(target_os = "linux")]
    return is_of(pid, &Stat::of);
    // Where the processes cannot be listed, nobody shows that he is none of ours.
    #[cfg(not(target_os = "linux"))]
    table::read().is_none_or(|table| is_of(pid, &|pid| table.get(&pid).copied()))
}

/// The same, of the processes that there are.
fn is_of(pid: i32, stat: &dyn Fn(i32) -> Option<Stat>) -> bool {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    // Of another world of processes, which is none of our children's: they are seen from here.
    let Some(process) = Pid::from_raw(pid).filter(|_| pid > 0 && pid != me) else {
        return false;
    };
    let Some(first) = stat(pid) else {
        // It has ended, or `/proc` hides it: from a daemon that sees its own account alone, and less of that.
        return test_kill_process(process) == Err(Errno::SRCH);
    };
    // A session that this process leads has only what comes from it.
    first.session == me || [pid, first.group, first.session].into_iter().any(|from| descends(from, me, stat))
}

fn descends(from: i32, me: i32, stat: &dyn Fn(i32) -> Option<Stat>) -> bool {
    let mut at = from;
    for _ in 0..MAX_STEPS {
        if at == me {
            return false;
        }
        // A leader that has ended, or that another world of processes has, says nothing about those that it led.
        match stat(at).map(|stat| stat.parent) {
            Some(parent) if parent == me => return true,
            Some(parent) if parent > 1 => at = parent,
            Some(_) | None => return false,
        }
    }
    true
}

/// Where there is no `/proc`: all processes at once, as `ps` lists them. It takes some milliseconds for a connection,
/// of which there is one for each session and console.
#[cfg(any(test, not(target_os = "linux")))]
mod table {
    use std::collections::HashMap;
    use std::process::{Command, Stdio};

    use super::Stat;

    pub fn read() -> Option<HashMap<i32, Stat>> {
        let mut command = Command::new("/bin/ps");
        command.args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid="]).env_clear();
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        text.lines().map(line).collect()
    }

    fn line(line: &str) -> Option<(i32, Stat)> {
        let mut fields = line.split_whitespace().map(|field| field.parse().ok());
        let (pid, parent, group) = (fields.next()??, fields.next()??, fields.next()??);
        // `ps` of macOS knows no leader of a session.
        Some((pid, Stat { parent, group, session: group, began: 0 }))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn parents_groups_and_sessions_tell_whose_a_process_is() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        assert!(!is_ours(me) && !is_ours(parent) && !is_ours(1) && !is_ours(0));
        // A child, a grandchild, and an orphan that is still in its group, which the child leads.
        let script = "sleep 1000 & echo $!; (sleep 1000 & echo $!); echo $$; read -r line; kill %1";
        let mut command = Command::new("sh");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let command = command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(3);
        let pids: Vec<i32> = lines.map(|line| line.unwrap().parse().unwrap()).collect();
        let found: Vec<bool> = pids.iter().map(|pid| is_ours(*pid)).collect();
        // As where `ps` has to say it.
        let table = table::read().unwrap();
        let listed = |pid: i32| is_of(pid, &|pid| table.get(&pid).copied());
        let by_table: Vec<bool> = pids.iter().map(|pid| listed(*pid)).collect();
        assert!(!listed(me) && !listed(parent) && !listed(1));
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let group = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        child.wait().unwrap();
        assert_eq!((found, by_table), (vec![true; 3], vec![true; 3]), "{pids:?}");
        assert!(is_ours(pids[2]), "one that is gone may have left its connection to another");
    }
}
