//! Programs of the system that a check asks: bounded in time and in what they say, with nothing of ours in reach.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);
/// Longest output that is read.
const OUTPUT: u64 = 4 << 20;

/// What a program prints, where it ends well and in time. `argv` begins with an absolute path.
pub fn output(argv: &[&str], environment: &[(&str, &std::ffi::OsStr)]) -> Option<String> {
    answer(argv, environment).filter(|(code, _)| *code == 0).map(|(_, text)| text)
}

/// The code by which a program ends, where that is in time, and what it prints. `argv` begins with an absolute path.
pub fn answer(argv: &[&str], environment: &[(&str, &std::ffi::OsStr)]) -> Option<(i32, String)> {
    let mut command = program(argv)?;
    command.env_clear().envs(environment.iter().copied()).current_dir("/");
    let (status, text) = ended(command)?;
    Some((status.code()?, text))
}

/// What a command of this program prints, however it ends.
pub fn own(argv: &[&str]) -> Option<String> {
    Some(ended(program(argv)?)?.1)
}

fn program(argv: &[&str]) -> Option<Command> {
    let (program, args) = argv.split_first()?;
    let mut command = Command::new(program);
    command.args(args);
    Path::new(program).is_file().then_some(command)
}

fn ended(mut command: Command) -> Option<(ExitStatus, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let stdout = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.take(OUTPUT).read_to_string(&mut text).map(|_| text).ok()
    });
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            Ok(None) | Err(_) => break None,
        }
    };
    let Some(status) = status else {
        // Whoever waits for it waits no more; what it said counts for nothing.
        let _ = child.kill();
        let _ = child.wait();
        return None;
    };
    Some((status, reader.join().ok().flatten()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_or_fails_says_nothing() {
        assert_eq!(output(&["/bin/echo", "a"], &[]).as_deref(), Some("a\n"));
        assert_eq!(output(&["/bin/false"], &[]), None);
        assert_eq!(answer(&["/bin/false"], &[]), Some((1, String::new())));
        assert_eq!(output(&["/nowhere/program"], &[]), None);
        let start = Instant::now();
        assert_eq!(output(&["/bin/sleep", "600"], &[]), None);
        assert!(start.elapsed() < PATIENCE * 6);
        assert_eq!(own(&["/bin/sh", "-c", "echo a; exit 4"]).as_deref(), Some("a\n"));
    }
}
