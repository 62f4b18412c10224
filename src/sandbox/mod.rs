//! What a child may reach: files, ports, the sockets of others. The daemon writes a [`Profile`] of it; another run of
//! this program does it to itself and then becomes the child's program (`enter`). There is no moment at which code of
//! the child runs outside. On Linux a run between the two (`keep`) ends what the child has started when it ends.
//!
//! Invariant: no profile opens a place that is closed ([`Yard`]), and a rule that this kernel cannot keep is named,
//! never passed over in silence.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use enter::enter;
#[cfg(target_os = "linux")]
pub use keep::{end, keep};
pub use stat::Stat;
pub use support::{Rule, Support, support};
pub use yard::{Scratch, Yard};

mod enter;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod keep;
#[cfg(target_os = "linux")]
mod landlocked;
mod reach;
mod remove;
mod stat;
mod support;
mod yard;

/// The argument that makes this program enter a sandbox.
pub const ARGUMENT: &str = "sandboxed";
/// Characters of a mark.
const MARK: usize = 32;
/// The system takes no longer argument.
const MAX_PROFILE: usize = 120 << 10;

/// What the configuration says of one server's sandbox. The default is a sandbox.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    /// Files and folders that may be read and executed, beside those that every program needs.
    pub read: Vec<PathBuf>,
    /// Files and folders in which everything is allowed.
    pub write: Vec<PathBuf>,
    pub network: Network,
    /// Whether sockets of other processes may be spoken to by path.
    pub unix_sockets: bool,
    /// Without every rule that is needed there is no child.
    pub strict: bool,
    pub limits: Limits,
}

/// Where a child may connect.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Network {
    #[default]
    Any,
    /// TCP to these ports, and names that are looked up; without one there is no network at all.
    Ports(BTreeSet<u16>),
    /// TCP over IPv4 to this port, and nothing else: no name is looked up, no datagram is sent.
    Only(u16),
}

impl Network {
    /// One more port, where not all are open. Where there was no network it stays the only thing that there is.
    pub fn allow(&mut self, port: u16) {
        match self {
            Network::Ports(ports) if ports.is_empty() => *self = Network::Only(port),
            Network::Ports(ports) => drop(ports.insert(port)),
            Network::Only(one) if *one != port => *self = Network::Ports([*one, port].into()),
            Network::Any | Network::Only(_) => {}
        }
    }
}

/// What a child may use up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    pub open_files: u64,
    /// Processes and threads of the whole account: the system counts them so.
    pub processes: Option<u64>,
    /// Address space of each process, in bytes.
    pub memory: Option<u64>,
    /// Of the largest file that it writes, in bytes.
    pub file_size: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { open_files: 4096, processes: None, memory: None, file_size: None }
    }
}

/// What goes to the run of this program that becomes the child. No key and no mark is in it: it is an argument, and
/// every child can read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// The daemon, and its keeper once there is one: without it there is no child.
    pub parent: i32,
    /// Whether there is one.
    pub kept: bool,
    /// Real paths: one that has become a link since is an error.
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    pub network: Network,
    pub unix_sockets: bool,
    pub strict: bool,
    pub limits: Limits,
}

/// The sandbox of one server.
#[derive(Clone, Debug)]
pub struct Sandbox {
    yard: Arc<Yard>,
    wishes: Wishes,
}

/// Whether a child in a sandbox has a keeper, which is then the process that the daemon starts.
pub const KEPT: bool = cfg!(target_os = "linux");

/// What a child is about to be.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub server: &'a str,
    pub principal: &'a str,
    pub program: &'a Path,
    pub args: &'a [String],
    /// Values of its environment that the configuration spells out.
    pub values: &'a [&'a str],
    /// Its `PATH`.
    pub search: Option<&'a OsStr>,
    pub cwd: Option<&'a Path>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("`{}` of the sandbox cannot be opened: {error}", .path.display())]
    Path { path: PathBuf, error: io::Error },
    #[error("this system cannot keep what its sandbox needs (strict): {0}")]
    Missing(String),
    #[error(
        "this system has no sandboxes: run it on Linux, or say that its child may do whatever this account can, with \
         `sandbox: off` in its `stdio`"
    )]
    Nothing,
    #[error("its folders cannot be made: {0}")]
    Folders(#[from] io::Error),
    #[error("a path of its sandbox is no text")]
    Text,
    #[error(
        "what its sandbox opens is too long a list; keep our own folders out of those that servers are installed in"
    )]
    Long,
}

/// A child's sandbox before there is a child. What is in `scratch` goes when this is dropped.
#[derive(Debug)]
pub struct Prepared {
    pub program: PathBuf,
    /// Stands before what that program says of why there is no child, so that nothing that a child says is taken for it.
    pub mark: String,
    /// Of its own, and kept for the next child of the server that the same principal starts.
    pub home: PathBuf,
    pub scratch: Scratch,
    profile: String,
}

impl Prepared {
    /// Arguments of this program, before the child's own.
    pub fn arguments(&self) -> [&str; 3] {
        [ARGUMENT, &self.profile, "--"]
    }

    /// What has to come first on its input: a line for each run on the way to the child.
    pub fn greeting(&self) -> String {
        format!("{}\n", self.mark).repeat(if KEPT { 2 } else { 1 })
    }
}

/// The line that the daemon writes for this run. Not a byte more is read: what follows is for the next run, or the child.
///
/// # Errors
/// There is no such line: the daemon is gone.
pub fn mark() -> io::Result<String> {
    let mut line = [0; MARK + 1];
    File::from(io::stdin().as_fd().try_clone_to_owned()?).read_exact(&mut line)?;
    let text = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n'));
    let mark = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    mark.map(str::to_owned).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Sandbox {
    /// Follows the links in what the configuration names, once: no child can lead a later one elsewhere by them.
    ///
    /// # Errors
    /// A path that is not there, a rule that is needed and missing, or a system that keeps none.
    pub fn new(yard: Arc<Yard>, mut wishes: Wishes) -> Result<Sandbox, SandboxError> {
        for path in wishes.read.iter_mut().chain(&mut wishes.write) {
            *path = path.canonicalize().map_err(|error| SandboxError::Path { path: path.clone(), error })?;
        }
        match support().refuses(&wishes) {
            Some(refused) => Err(refused),
            None => Ok(Sandbox { yard, wishes }),
        }
    }

    /// Rules that are needed and that this system cannot keep.
    pub fn missing(&self) -> Vec<Rule> {
        support().missing(&self.wishes)
    }

    pub fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// For something that listens on this machine and that the child has to reach.
    pub fn allow_port(&mut self, port: u16) {
        self.wishes.network.allow(port);
    }

    /// Makes the folders of a child and looks where its program lies.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub fn prepare(&self, subject: &Subject<'_>) -> Result<Prepared, SandboxError> {
        let home = self.yard.home(subject.server, subject.principal)?;
        let scratch = self.yard.scratch()?;
        let mut write = self.wishes.write.clone();
        write.extend([home.clone(), scratch.path().to_owned()]);
        let mut read = self.wishes.read.clone();
        read.extend(reach::read(subject, self.yard.closed(), &write));
        let mut mark = [0; MARK / 2];
        getrandom::fill(&mut mark).map_err(|error| io::Error::other(error.to_string()))?;
        let mark = mark.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let profile = Profile {
            parent: rustix::process::getpid().as_raw_nonzero().get(),
            kept: false,
            read,
            write,
            network: self.wishes.network.clone(),
            unix_sockets: self.wishes.unix_sockets,
            strict: self.wishes.strict,
            limits: self.wishes.limits,
        };
        let profile = serde_json::to_string(&profile).map_err(|_| SandboxError::Text)?;
        if profile.len() > MAX_PROFILE {
            return Err(SandboxError::Long);
        }
        Ok(Prepared { program: self.yard.program().to_owned(), mark, home, scratch, profile })
    }
}
