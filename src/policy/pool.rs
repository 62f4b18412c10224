//! The policy processes of the daemon: each judges one input at a time, and is ended when it takes too long.
//!
//! A list of safe functions with bounded forms of the others was the other candidate. It would save the way to a process
//! (`benches/policy.rs` prints it) and would have to be right about each function, each way to build a large value out
//! of small ones, and each later version of the interpreter; here the system keeps the limits.
//!
//! Invariant: an input that a process does not answer in time, or that ends it, is a fault, and the process is gone
//! before its place is free again. Nothing here waits without an end, and nothing of the policies runs in the daemon.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::document::Document;
use super::excerpt::{self, Excerpt};
use super::history::HistoryUses;
use super::problem::{PolicyErrors, Problem};
use super::set::Build;
use super::{Phase, PolicyFault, wire, worker};
use crate::call::Decision;

/// The argument that makes this program a policy process.
pub const ARGUMENT: &str = "policy-worker";
/// For a process to start and to load; the loader has shorter limits of its own for each file.
const START: Duration = Duration::from_secs(30);
/// After a process that did not even load, the next one is not tried for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// How long somebody whose call has ended a process shares one place with all others like him.
const SUSPECT: Duration = Duration::from_secs(60);
/// Names that are remembered for that, and for who is being judged.
const MAX_NAMES: usize = 1024;
/// Processes, however many processors there are.
const MAX_WORKERS: usize = 8;

/// One version of the policies, in processes.
#[derive(Debug)]
pub struct Pool {
    program: PathBuf,
    load: Vec<u8>,
    version: String,
    rules: usize,
    history: HistoryUses,
    scopes_alone_allow: bool,
    /// For one decision.
    limit: Duration,
    places: Arc<Semaphore>,
    /// All places but one, for each principal that is being judged: there is always one for somebody else.
    shares: Mutex<HashMap<String, Arc<Semaphore>>>,
    share: usize,
    /// The one place of those whose calls have ended a process: others always have another.
    suspects_place: Arc<Semaphore>,
    suspects: Mutex<HashMap<String, Instant>>,
    idle: Mutex<Vec<Worker>>,
    /// When the last process could not be started.
    failed: Mutex<Option<Instant>>,
}

/// A process that has loaded the policies and waits for an input.
#[derive(Debug)]
struct Worker {
    child: Child,
    link: UnixStream,
}

/// Why a process gave no answer.
#[derive(Debug)]
enum Broken {
    Late,
    Ended(String),
}

impl Pool {
    /// Starts one process and lets it load; others follow as they are needed. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with the files, or why no process can be had.
    pub fn start(program: PathBuf, mut build: Build, limit: Duration) -> Result<Pool, PolicyErrors> {
        let failed = |message: String| {
            let help = "policies of yours run in a process of their own: what ends it there would end every decision";
            PolicyErrors::from(Problem::of_file("policy", "load", message, help))
        };
        // Tests are none of its business.
        build.sources.tests.clear();
        let version = build.version();
        let load = wire::Load { program: env!("CARGO_PKG_VERSION").to_owned(), build, explains: false };
        let load = serde_json::to_vec(&load).map_err(|error| failed(error.to_string()))?;
        let (worker, reply) = Worker::start(&program, &load).map_err(|broken| match broken {
            Broken::Late => failed(format!("the policies did not load in {} seconds", START.as_secs())),
            Broken::Ended(how) => failed(format!("the policy process ended while it loaded: {how}")),
        })?;
        let loaded = reply.map_err(|wrong| {
            PolicyErrors::check(wrong.into_iter().map(Problem::from).collect())
                .err()
                .unwrap_or_else(|| failed("the policy process refused, and did not say why".to_owned()))
        })?;
        if loaded.version != version {
            return Err(failed("the policy process has loaded something else".to_owned()));
        }
        // One principal alone can use every processor.
        let share = std::thread::available_parallelism().map_or(1, |cores| cores.get().clamp(1, MAX_WORKERS - 1));
        Ok(Pool {
            program,
            load,
            version,
            rules: loaded.rules,
            history: loaded.history,
            scopes_alone_allow: loaded.scopes_alone_allow,
            limit,
            places: Arc::new(Semaphore::new(share + 1)),
            shares: Mutex::default(),
            share,
            suspects_place: Arc::new(Semaphore::new(1)),
            suspects: Mutex::default(),
            idle: Mutex::new(vec![worker]),
            failed: Mutex::default(),
        })
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn rules(&self) -> usize {
        self.rules
    }

    pub fn scopes_alone_allow(&self) -> bool {
        self.scopes_alone_allow
    }

    /// What its processes have loaded.
    pub fn build(&self) -> Result<Build, String> {
        serde_json::from_slice::<wire::Load>(&self.load).map(|load| load.build).map_err(|error| error.to_string())
    }

    pub fn history(&self) -> &HistoryUses {
        &self.history
    }

    /// Judges an input for a principal. Waits at most twice the limit for a place, so that whoever is next gets that of
    /// one that is stuck, and at most the limit for an answer.
    ///
    /// # Errors
    /// Anything that is not a clear answer.
    pub async fn decide(
        self: Arc<Self>,
        who: &str,
        phase: Phase,
        document: &Document,
    ) -> Result<Decision, PolicyFault> {
        let ask = wire::judge(phase, document);
        let who = who.to_owned();
        let Ok(place) = tokio::time::timeout(2 * self.limit, self.place(&who)).await else {
            return Err(PolicyFault::Saturated);
        };
        let (tell, told) = tokio::sync::oneshot::channel();
        // On its own: a call that nobody waits for any more does not leave a process behind that is stuck.
        tokio::task::spawn_blocking(move || {
            let decided = self.ask(&who, &ask, |decided| {
                // Nobody may be waiting.
                let _ = tell.send(decided);
            });
            if let Err(Broken::Late | Broken::Ended(_)) = decided {
                // Its successor is there before the place is free: the next call need not wait for it.
                if let Ok(worker) = self.fresh() {
                    lock(&self.idle).push(worker);
                }
            }
            drop(place);
        });
        told.await.unwrap_or(Err(PolicyFault::Panicked))
    }

    async fn place(&self, who: &str) -> [Option<OwnedSemaphorePermit>; 3] {
        let share = self.share_of(who).acquire_owned().await.ok();
        let suspect = match self.is_suspect(who) {
            true => Arc::clone(&self.suspects_place).acquire_owned().await.ok(),
            false => None,
        };
        [share, suspect, Arc::clone(&self.places).acquire_owned().await.ok()]
    }

    fn share_of(&self, who: &str) -> Arc<Semaphore> {
        let mut shares = lock(&self.shares);
        if shares.len() >= MAX_NAMES {
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        Arc::clone(shares.entry(who.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }

    /// Asks a process, and tells what it says, or why it says nothing.
    fn ask(&self, who: &str, ask: &[u8], tell: impl FnOnce(Result<Decision, PolicyFault>)) -> Result<(), Broken> {
        let mut worker = match self.idle().map_or_else(|| self.fresh(), Ok) {
            Ok(worker) => worker,
            Err(fault) => {
                tell(Err(fault));
                return Ok(());
            }
        };
        let reply = worker.ask(ask, Instant::now() + self.limit).and_then(|reply| {
            serde_json::from_slice::<wire::JudgeReply>(&reply).map_err(|error| Broken::Ended(error.to_string()))
        });
        match reply {
            Ok(decided) => {
                lock(&self.idle).push(worker);
                tell(decided);
                Ok(())
            }
            Err(broken) => {
                self.suspect(who);
                drop(worker);
                tell(Err(match &broken {
                    Broken::Late => PolicyFault::Timeout,
                    Broken::Ended(how) => PolicyFault::Worker(how.clone()),
                }));
                Err(broken)
            }
        }
    }

    /// A process that waits. One that something else has ended meanwhile is nobody's fault.
    fn idle(&self) -> Option<Worker> {
        loop {
            let mut worker = lock(&self.idle).pop()?;
            if worker.child.try_wait().is_ok_and(|ended| ended.is_none()) {
                return Some(worker);
            }
        }
    }

    /// A new process, unless the last one could not be had a moment ago.
    fn fresh(&self) -> Result<Worker, PolicyFault> {
        let fault = |why: &str| PolicyFault::Worker(format!("no new one could be started: {why}"));
        if lock(&self.failed).is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(fault("the last one failed a moment ago"));
        }
        let why = match Worker::start(&self.program, &self.load) {
            Ok((worker, Ok(_))) => {
                *lock(&self.failed) = None;
                return Ok(worker);
            }
            // These very files were loaded before.
            Ok((_, Err(_))) => "it does not take the policies any more".to_owned(),
            Err(Broken::Late) => "it takes too long to load".to_owned(),
            Err(Broken::Ended(how)) => how,
        };
        *lock(&self.failed) = Some(Instant::now());
        tracing::error!(why, "no policy process can be started");
        Err(fault(&why))
    }

    fn suspect(&self, who: &str) {
        let mut suspects = lock(&self.suspects);
        suspects.retain(|_, since| since.elapsed() < SUSPECT);
        if suspects.len() < MAX_NAMES {
            suspects.insert(who.to_owned(), Instant::now());
        }
    }

    fn is_suspect(&self, who: &str) -> bool {
        lock(&self.suspects).get(who).is_some_and(|since| since.elapsed() < SUSPECT)
    }
}

/// Asks a process of its own about lines, and ends it. Takes no place of those that judge. Blocks.
pub fn explain(program: &PathBuf, build: Build, question: &excerpt::Question) -> Result<Vec<Excerpt>, String> {
    let broken = |broken: Broken| match broken {
        Broken::Late => "the explanation took too long".to_owned(),
        Broken::Ended(how) => format!("the process that explains has ended: {how}"),
    };
    let write = |value: serde_json::Result<Vec<u8>>| value.map_err(|error| error.to_string());
    let load = wire::Load { program: env!("CARGO_PKG_VERSION").to_owned(), build, explains: true };
    let (mut worker, loaded) = Worker::start(program, &write(serde_json::to_vec(&load))?).map_err(broken)?;
    loaded.map_err(|_| "the policies do not load any more".to_owned())?;
    let question = write(serde_json::to_vec(question))?;
    let reply = worker.ask(&question, Instant::now() + excerpt::LIMIT).map_err(broken)?;
    serde_json::from_slice::<wire::ExplainReply>(&reply).map_err(|error| error.to_string())?
}

impl Worker {
    /// Starts a process and sends it the policies. Blocks until it has loaded them.
    fn start(program: &PathBuf, load: &[u8]) -> Result<(Worker, wire::LoadReply), Broken> {
        let ended = |error: io::Error| Broken::Ended(error.to_string());
        let (link, theirs) = UnixStream::pair().map_err(ended)?;
        let other = theirs.try_clone().map_err(ended)?;
        let child = Command::new(program)
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(other)))
            .stderr(Stdio::null())
            // A key that is meant for the daemon does not end it.
            .process_group(0)
            .spawn()
            .map_err(ended)?;
        let mut worker = Worker { child, link };
        let reply = worker.ask(load, Instant::now() + START)?;
        let reply = serde_json::from_slice(&reply).map_err(|error| Broken::Ended(error.to_string()))?;
        Ok((worker, reply))
    }

    /// Sends a frame and reads the one that answers it. After an error the process is dead.
    fn ask(&mut self, frame: &[u8], deadline: Instant) -> Result<Vec<u8>, Broken> {
        let mut link = Timed { link: &self.link, deadline };
        let answered = wire::write(&mut link, frame).and_then(|()| wire::read(&mut link, wire::MAX_REPLY));
        match answered {
            Ok(Some(reply)) => Ok(reply),
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(Broken::Late),
            Ok(None) | Err(_) => Err(Broken::Ended(how(self.end()))),
        }
    }

    /// Ends it, where it has not ended by itself.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // One that has closed its end is about to be gone, and its own end says more than ours.
        let patience = Instant::now() + Duration::from_millis(200);
        while Instant::now() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Worker {
    /// No process is left behind, and none is left unburied.
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

fn how(ended: io::Result<ExitStatus>) -> String {
    let status = match ended {
        Ok(status) => status,
        Err(error) => return error.to_string(),
    };
    match (status.signal(), status.code()) {
        (Some(6 | 9 | 11), _) => {
            format!("out of memory ({} MiB) or out of stack ({status})", worker::MEMORY >> 20)
        }
        (Some(_), _) | (None, None) => status.to_string(),
        (None, Some(code)) => format!("it gave up with code {code}"),
    }
}

/// A socket whose every wait ends at the deadline.
struct Timed<'a> {
    link: &'a UnixStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// A wait that ended is a matter of time, whatever the system calls it.
fn timed<T>(done: io::Result<T>) -> io::Result<T> {
    done.map_err(|error| if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error })
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.link.set_read_timeout(Some(self.left()?))?;
        timed(self.link.read(bytes))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.link.set_write_timeout(Some(self.left()?))?;
        timed(self.link.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every change under these locks is one step, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
