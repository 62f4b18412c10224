//! A message for a program: argv, JSON on stdin, an environment of its own, a few seconds.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Message;

/// After this it is killed, and whatever it has started.
const TIME: Duration = Duration::from_secs(5);
/// What every program needs to find others and itself; nothing else is inherited.
const ALWAYS: [&str; 2] = ["PATH", "HOME"];

/// Runs it to its end.
///
/// # Errors
/// Why it did not end well, in words for the log. What it printed was not read.
pub async fn run(argv: &[String], inherit: &[String], message: &Message) -> Result<(), String> {
    let (program, arguments) = argv.split_first().ok_or("no program is named")?;
    let summary = message.summary();
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|argument| argument.replace("{summary}", &summary))).env_clear();
    for name in ALWAYS.into_iter().chain(inherit.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let _group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let stdin = child.stdin.take();
    let body = message.body(false);
    let ended = tokio::time::timeout(TIME, async {
        if let Some(mut stdin) = stdin {
            // A program need not read it.
            let _ = stdin.write_all(body.as_bytes()).await;
        }
        child.wait().await
    });
    match ended.await {
        Err(_) => Err(format!("it did not end within {} s and was killed", TIME.as_secs())),
        Ok(Err(error)) => Err(format!("it was lost: {error}")),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("it failed: {status}")),
    }
}

/// The program and whatever it has started; killed when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails only where the group is empty.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
