//! What a check says: how bad, about what, what is wrong, the command that fixes it, and whether `--fix` may do it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::quoted;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Worth knowing; nothing is broken.
    Note,
    /// Works, and is weaker than it could be.
    Warning,
    /// Broken, or open.
    Problem,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// What `--fix` may do: it takes rights away from others, makes a folder of ours, or removes the socket of a daemon that
/// is dead. It never gives a right, and never touches what belongs to somebody else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Takes these bits off the mode of a file or folder.
    Take {
        path: PathBuf,
        bits: u32,
    },
    MakeFolder(PathBuf),
    RemoveDeadSocket(PathBuf),
}

impl Act {
    /// The same as a command.
    pub fn command(&self) -> String {
        match self {
            Act::Take { path, bits } => format!("chmod {} {}", rights(*bits), shell(path)),
            Act::MakeFolder(path) => format!("mkdir -p -m 700 {}", shell(path)),
            Act::RemoveDeadSocket(path) => format!("rm {}", shell(path)),
        }
    }
}

fn rights(bits: u32) -> &'static str {
    if bits & 0o055 == 0 { "go-w" } else { "go-rwx" }
}

pub fn shell(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// One thing that a check has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub level: Level,
    /// A path, a server, a secret; empty where it is about the whole.
    pub about: String,
    pub text: String,
    /// What to run, or to write, where something is to be done.
    pub command: Option<String>,
    pub act: Option<Act>,
}

impl Finding {
    fn new(level: Level, about: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding { level, about: about.into(), text: text.into(), command: None, act: None }
    }

    pub fn ok(about: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding::new(Level::Ok, about, text)
    }

    pub fn note(about: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding::new(Level::Note, about, text)
    }

    pub fn warning(about: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding::new(Level::Warning, about, text)
    }

    pub fn problem(about: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding::new(Level::Problem, about, text)
    }

    /// The command that fixes it.
    pub fn run(self, command: impl Into<String>) -> Finding {
        Finding { command: Some(command.into()), ..self }
    }

    /// What fixes it, which `--fix` may do.
    pub fn act(self, act: Act) -> Finding {
        Finding { command: Some(act.command()), act: Some(act), ..self }
    }
}

/// How a path is named in a finding.
pub fn place(path: &Path) -> String {
    path.display().to_string()
}

/// `1 server`, `2 servers`.
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
