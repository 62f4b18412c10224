//! Is the record intact? Follows the chain through a log or an export and stops at the first thing that is wrong.
//!
//! The material may be an attacker's: sizes are bounded, nothing is trusted before it is checked. What a chain cannot
//! show by itself: that its end is missing (the head does), or that all of it was written anew (a checkpoint does that
//! was kept elsewhere).

use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

use crate::call::Digest;
use crate::json::{Json, JsonText, Rules};

use super::AuditError;
use super::record::{MAX_BODY, Record};
use super::store::Paths;
use super::store::head::Head;
use super::store::sqlite::{Found, Link, Log};

/// Longest line of an export, in bytes: a body with every character escaped, and the rest.
const MAX_LINE: usize = 3 * MAX_BODY + (64 << 10);

/// What is wrong with a log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    #[error("record {seq} was edited: its content does not give its hash")]
    Edited { seq: u64 },
    #[error("record {seq} does not follow record {}: one of the two was edited, moved, replaced or inserted", seq - 1)]
    Unlinked { seq: u64 },
    #[error("records {from} to {to} are missing")]
    Missing { from: u64, to: u64 },
    #[error("record {seq} is out of order: it stands after record {after}")]
    Disordered { seq: u64, after: u64 },
    #[error("record {seq} was edited: its {what} is nothing that was ever written")]
    Malformed { seq: i64, what: &'static str },
    #[error("line {line} is not a record: {what}")]
    Line { line: u64, what: String },
    #[error("the end was cut off: the log ends at record {last}, and audit.head says {head}")]
    Cut { last: u64, head: u64 },
    #[error("the end was rewritten: audit.head has another hash for record {seq}")]
    Rewritten { seq: u64 },
    #[error("record {seq} was added after the log was closed")]
    Added { seq: u64 },
    #[error("audit.head is missing, so the end of the log cannot be proved")]
    HeadMissing,
    #[error("audit.head is damaged, so the end of the log cannot be proved")]
    HeadDamaged,
    #[error("the log was rewritten: record {seq} has another hash than the checkpoint")]
    Forked { seq: u64 },
    #[error(
        "the log does not reach the checkpoint: it has records {first} to {last}, and the checkpoint is {checkpoint}"
    )]
    Unreached { first: u64, last: u64, checkpoint: u64 },
    #[error("there are no records")]
    Empty,
    #[error("the database holds something that is not ours, or lacks something: {what}")]
    Shape { what: String },
    #[error("the database cannot be read: {0}")]
    Unreadable(String),
}

impl Problem {
    /// The first record that is wrong, where it is one.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Problem::Edited { seq }
            | Problem::Unlinked { seq }
            | Problem::Disordered { seq, .. }
            | Problem::Rewritten { seq }
            | Problem::Added { seq }
            | Problem::Forked { seq } => Some(*seq),
            Problem::Missing { from, .. } => Some(*from),
            Problem::Malformed { seq, .. } => u64::try_from(*seq).ok(),
            Problem::Cut { last, .. } => Some(last + 1),
            Problem::Line { .. }
            | Problem::HeadMissing
            | Problem::HeadDamaged
            | Problem::Unreached { .. }
            | Problem::Empty
            | Problem::Shape { .. }
            | Problem::Unreadable(_) => None,
        }
    }
}

/// A record's number and hash: whoever keeps one can prove later that nothing up to it was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    pub seq: u64,
    pub hash: Digest,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Checkpoint {
    type Err = NotACheckpoint;

    fn from_str(text: &str) -> Result<Checkpoint, NotACheckpoint> {
        let (seq, hash) = text.trim().split_once(':').ok_or(NotACheckpoint)?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(NotACheckpoint)?;
        Ok(Checkpoint { seq, hash: hash.parse().map_err(|_| NotACheckpoint)? })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not a checkpoint: SEQ:HASH is expected, as `countersign audit verify` prints it")]
pub struct NotACheckpoint;

/// The chain, record by record.
#[derive(Debug)]
pub(super) struct Chain {
    first: u64,
    last: Option<Link>,
    /// Hash that the first record has to follow, where it is known.
    genesis: Option<Digest>,
}

impl Chain {
    /// `genesis`: what record 1 follows. A chain that may begin anywhere takes its first record as it is.
    pub fn new(genesis: Option<Digest>) -> Chain {
        Chain { first: 0, last: None, genesis }
    }

    pub fn follow(&mut self, record: &Record) -> Result<(), Problem> {
        let seq = record.seq;
        let before = self.last.or(self.genesis.map(|hash| Link { seq: 0, hash }));
        if let Some(Link { seq: after, hash }) = before {
            if seq <= after {
                return Err(Problem::Disordered { seq, after });
            }
            if seq > after + 1 {
                return Err(Problem::Missing { from: after + 1, to: seq - 1 });
            }
            if record.prev != hash {
                return Err(Problem::Unlinked { seq });
            }
        }
        if record.computed() != record.hash {
            return Err(Problem::Edited { seq });
        }
        if self.last.is_none() {
            self.first = seq;
        }
        self.last = Some(Link { seq, hash: record.hash });
        Ok(())
    }

    /// What the head says about an end: the log has reached it, with that hash, and not gone beyond a closed one.
    pub fn check_head(last: Link, at_head: Option<Digest>, head: &Head) -> Result<(), Problem> {
        if last.seq < head.seq {
            return Err(Problem::Cut { last: last.seq, head: head.seq });
        }
        if at_head != Some(head.hash) {
            return Err(Problem::Rewritten { seq: head.seq });
        }
        if head.closed && last.seq > head.seq {
            return Err(Problem::Added { seq: head.seq + 1 });
        }
        Ok(())
    }
}

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The first record that was read.
    pub first: u64,
    /// The last record up to which everything is right. Worth keeping elsewhere.
    pub checkpoint: Option<Checkpoint>,
    /// The head proves the end; never for an export.
    pub complete: bool,
    pub problem: Option<Problem>,
}

/// What every verification does, whatever it reads from.
struct Walk {
    chain: Chain,
    given: Option<Checkpoint>,
    head: Option<Head>,
    at_head: Option<Digest>,
}

impl Walk {
    fn new(genesis: Option<Digest>, given: Option<Checkpoint>, head: Option<Head>) -> Walk {
        let at_head = genesis.filter(|_| head.is_some_and(|head| head.seq == 0));
        Walk { chain: Chain::new(genesis), given, head, at_head }
    }

    fn step(&mut self, found: Found) -> Result<(), Problem> {
        let record = found?;
        self.chain.follow(&record)?;
        if self.given.is_some_and(|given| given.seq == record.seq && given.hash != record.hash) {
            return Err(Problem::Forked { seq: record.seq });
        }
        if self.head.is_some_and(|head| head.seq == record.seq) {
            self.at_head = Some(record.hash);
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Problem> {
        let last = self.chain.last.or(self.chain.genesis.map(|hash| Link { seq: 0, hash }));
        if let (Some(head), Some(last)) = (&self.head, last) {
            Chain::check_head(last, self.at_head, head)?;
        }
        let last = self.chain.last.ok_or(Problem::Empty)?.seq;
        let first = self.chain.first;
        match self.given {
            Some(given) if !(first..=last).contains(&given.seq) => {
                Err(Problem::Unreached { first, last, checkpoint: given.seq })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn report(self, problem: Option<Problem>) -> Report {
        let problem = problem.or_else(|| self.end().err());
        Report {
            first: self.chain.first,
            checkpoint: self.chain.last.map(|link| Checkpoint { seq: link.seq, hash: link.hash }),
            complete: problem.is_none() && self.head.is_some(),
            problem,
        }
    }
}

/// Verifies a log, its head, and a checkpoint where one is given. Its daemon may be running.
///
/// # Errors
/// Where the log cannot be opened. Everything that is wrong with it is in the [`Report`].
pub fn log(db: &Path, given: Option<Checkpoint>) -> Result<Report, AuditError> {
    match walk_log(db, given) {
        Err(AuditError::Broken(problem)) => {
            Ok(Report { first: 0, checkpoint: None, complete: false, problem: Some(problem) })
        }
        other => other,
    }
}

fn walk_log(db: &Path, given: Option<Checkpoint>) -> Result<Report, AuditError> {
    let paths = Paths::of(db)?;
    // The head first: whatever it says then is in the snapshot that is read after it.
    let head = Head::read(&paths.head);
    let log = Log::open(&paths.db)?;
    log.freeze()?;
    let (head, head_problem) = match head {
        Ok(Some(head)) => (Some(head), None),
        Ok(None) => (None, Some(Problem::HeadMissing)),
        Err(AuditError::Broken(problem)) => (None, Some(problem)),
        Err(error) => return Err(error),
    };
    let mut walk = Walk::new(Some(log.genesis()?), given, head);
    let mut problem = None;
    let read = log.scan(0, |found| {
        problem = walk.step(found).err();
        problem.is_none()
    });
    match read {
        Err(AuditError::Broken(broken)) => problem = Some(broken),
        other => other?,
    }
    Ok(walk.report(problem.or(head_problem)))
}

/// Verifies an export. It may begin anywhere, and cannot say whether records follow its last one.
///
/// # Errors
/// Where it cannot be read.
pub fn export(mut from: impl BufRead, given: Option<Checkpoint>) -> io::Result<Report> {
    let mut walk = Walk::new(None, given, None);
    let mut problem = None;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if from.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let found = if line.len() > MAX_LINE { Err("it is too long".to_owned()) } else { read_line(&line) };
        let found = found.map_err(|what| Problem::Line { line: number, what });
        problem = walk.step(found).err();
        if problem.is_some() {
            break;
        }
    }
    Ok(walk.report(problem))
}

/// A record as a line of an export: ASCII, so that any terminal may show it.
pub fn line(record: &Record) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        seq: u64,
        at: &'a str,
        up_ms: u64,
        call: Option<&'a str>,
        kind: &'a str,
        body: &'a str,
        prev: Digest,
        hash: Digest,
    }
    let Record { seq, at, up_ms, call, kind, body, prev, hash } = record;
    let (seq, up_ms, prev, hash) = (*seq, *up_ms, *prev, *hash);
    let line = Line { seq, at, up_ms, call: call.as_deref(), kind, body, prev, hash };
    ascii(&serde_json::to_string(&line).unwrap_or_default())
}

/// JSON text that says the same with ASCII alone, and without DEL.
pub fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn read_line(line: &[u8]) -> Result<Record, String> {
    const MEMBERS: [&str; 8] = ["seq", "at", "up_ms", "call", "kind", "body", "prev", "hash"];
    let json = JsonText::parse(line, Rules::CLIENT).map_err(|error| error.to_string())?;
    let json = json.view();
    if json.members().count() != MEMBERS.len() {
        return Err(format!("it does not have the members {}", MEMBERS.join(", ")));
    }
    let text = |name: &str| json.get(name).and_then(Json::as_str).map(std::borrow::Cow::into_owned);
    let number = |name: &str| json.get(name).and_then(|value| value.text().parse::<u64>().ok());
    // One spelling only: a changed letter is a changed record.
    let digest =
        |name: &str| text(name).and_then(|text| text.parse().ok().filter(|hash: &Digest| hash.to_string() == text));
    let odd = |name: &str| format!("its member `{name}` is missing or odd");
    let call = match json.get("call").map(Json::text) {
        Some("null") => None,
        _ => Some(text("call").filter(|call| !call.is_empty()).ok_or_else(|| odd("call"))?),
    };
    Ok(Record {
        seq: number("seq").filter(|seq| *seq > 0).ok_or_else(|| odd("seq"))?,
        at: text("at").ok_or_else(|| odd("at"))?,
        up_ms: number("up_ms").ok_or_else(|| odd("up_ms"))?,
        call,
        kind: text("kind").ok_or_else(|| odd("kind"))?,
        body: text("body").ok_or_else(|| odd("body"))?,
        prev: digest("prev").ok_or_else(|| odd("prev"))?,
        hash: digest("hash").ok_or_else(|| odd("hash"))?,
    })
}
