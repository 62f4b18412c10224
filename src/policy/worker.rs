//! A policy process: judges by the policies of the operator, away from the daemon. Whatever a rule or an argument makes
//! of it (memory, time, an overflowed stack) ends here, and the daemon refuses that one call.
//!
//! Invariant: it knows the policies and the inputs that it is sent, and nothing else: no key, no socket, no file of
//! the daemon. It ends when the daemon does.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, sync_channel};

use rustix::process::{Resource, Rlimit};

use super::author::Bench;
use super::set::PolicySet;
use super::{PolicyFault, excerpt, here, wire};

/// Address space of a policy process: an allocation beyond it ends the process.
pub const MEMORY: u64 = 512 << 20;
/// Evaluation recurses with the nesting of rules and inputs.
const STACK: usize = 64 << 20;

/// Serves the daemon at standard input and output, until it goes away. The limits are those of [`limited`].
///
/// # Errors
/// Where there are no limits, or the other end is no daemon.
pub fn serve() -> io::Result<()> {
    if cfg!(target_os = "linux") && rustix::process::getrlimit(Resource::As).maximum.is_none_or(|most| most > MEMORY) {
        return Err(io::Error::other("the memory of this process is not limited"));
    }
    let from = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (work, jobs) = sync_channel(1);
    std::thread::Builder::new().name("policy".to_owned()).stack_size(STACK).spawn(move || answer(&jobs, to))?;
    // This thread only listens: when the daemon goes, the process ends, however long an evaluation would go on.
    let mut from = io::BufReader::new(from);
    while let Some(frame) = wire::read(&mut from, wire::MAX_ASK)? {
        if work.send(frame).is_err() {
            break;
        }
    }
    Ok(())
}

/// Becomes a process that cannot use more than this: another run of this program, because the allocator has reserved
/// more than that already. Comes back with an error only.
pub fn limited(again: &[&str]) -> io::Error {
    let program = super::this_program().ok_or_else(|| io::Error::other("this program has no file"));
    match limit().and(program) {
        Ok(program) => std::process::Command::new(program).args(again).exec(),
        Err(error) => error,
    }
}

/// Nothing that is evaluated writes files, opens many, or needs more memory than this.
fn limit() -> io::Result<()> {
    let set = |what, most| rustix::process::setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) });
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    set(Resource::Nofile, 16)?;
    // Others do not enforce it.
    if cfg!(target_os = "linux") {
        set(Resource::As, MEMORY)?;
    }
    Ok(())
}

/// What a process has loaded.
enum Ready {
    Judges(Box<PolicySet>),
    Explains(Box<Bench>),
}

fn answer(jobs: &Receiver<Vec<u8>>, mut to: File) {
    let mut ready = None;
    for frame in jobs {
        let reply = match &ready {
            None => {
                let (loaded, reply) = load(&frame);
                ready = loaded;
                reply
            }
            Some(Ready::Judges(set)) => judge(set, frame),
            Some(Ready::Explains(bench)) => explain(bench, &frame),
        };
        if reply.and_then(|reply| wire::write(&mut to, &reply)).is_err() {
            return;
        }
    }
}

fn load(frame: &[u8]) -> (Option<Ready>, io::Result<Vec<u8>>) {
    let load: wire::Load = match serde_json::from_slice(frame) {
        Ok(load) => load,
        Err(error) => return (None, Err(error.into())),
    };
    if load.program != env!("CARGO_PKG_VERSION") {
        return (None, Err(io::Error::other("the daemon is of another version")));
    }
    let (ready, reply): (_, wire::LoadReply) = match PolicySet::load(load.build.clone()) {
        Ok(set) => {
            let loaded = wire::Loaded {
                version: set.version().to_owned(),
                rules: set.rules(),
                history: set.history().clone(),
                scopes_alone_allow: set.scopes_alone_allow(),
            };
            match load.explains.then(|| excerpt::bench(load.build)) {
                None => (Some(Ready::Judges(Box::new(set))), Ok(loaded)),
                Some(Ok(bench)) => (Some(Ready::Explains(Box::new(bench))), Ok(loaded)),
                Some(Err(error)) => return (None, Err(io::Error::other(error))),
            }
        }
        Err(errors) => (None, Err(wire::wrong(&errors))),
    };
    (ready, serde_json::to_vec(&reply).map_err(io::Error::from))
}

fn explain(bench: &Bench, frame: &[u8]) -> io::Result<Vec<u8>> {
    let reply: wire::ExplainReply = excerpt::answer(bench, serde_json::from_slice(frame)?);
    Ok(serde_json::to_vec(&reply)?)
}

fn judge(set: &PolicySet, frame: Vec<u8>) -> io::Result<Vec<u8>> {
    let (phase, document) = wire::judged(frame).ok_or_else(|| io::Error::other("not an input"))?;
    // What is returned may have to be written in many more bytes than it takes in memory.
    let written = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let decided: wire::JudgeReply = here(set, phase, &document);
        serde_json::to_vec(&decided)
    }));
    let reply = written.unwrap_or_else(|_| serde_json::to_vec(&wire::JudgeReply::Err(PolicyFault::Panicked)))?;
    if reply.len() <= wire::MAX_REPLY {
        return Ok(reply);
    }
    let fault = PolicyFault::Worker(format!("what the rules say has more than {} bytes", wire::MAX_REPLY));
    Ok(serde_json::to_vec(&wire::JudgeReply::Err(fault))?)
}
