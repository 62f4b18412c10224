//! What the daemon and a policy process say to each other: frames of a length and that many bytes, on the process's
//! standard input and output. Both ends are this program in this version.
//!
//! Invariant: a frame beyond its limit is not read, and nothing but the two ends knows this form.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::excerpt::Excerpt;
use super::history::HistoryUses;
use super::input::Text;
use super::problem::{PolicyErrors, Problem, Severity};
use super::set::Build;
use super::{Phase, PolicyFault};
use crate::call::Decision;

/// All files of a set, or one input.
pub const MAX_ASK: usize = 256 << 20;
/// A decision with what its rules say about it.
pub const MAX_REPLY: usize = 4 << 20;

/// The first frame: what to judge by.
#[derive(Serialize, Deserialize)]
pub struct Load {
    /// Of the program: another one could understand the files otherwise.
    pub program: String,
    pub build: Build,
    /// It does not judge: it answers one question about lines.
    pub explains: bool,
}

#[derive(Serialize, Deserialize)]
pub struct Loaded {
    pub version: String,
    pub rules: usize,
    pub history: HistoryUses,
    pub scopes_alone_allow: bool,
}

/// A problem with everything that is shown of it.
#[derive(Serialize, Deserialize)]
pub struct Wrong {
    file: String,
    line: usize,
    column: usize,
    code: String,
    message: String,
    help: String,
    source: Option<String>,
}

pub type LoadReply = Result<Loaded, Vec<Wrong>>;
pub type ExplainReply = Result<Vec<Excerpt>, String>;
pub type JudgeReply = Result<Decision, PolicyFault>;

pub fn wrong(errors: &PolicyErrors) -> Vec<Wrong> {
    let of = |problem: &Problem| Wrong {
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        code: problem.code.clone().into_owned(),
        message: problem.message.clone(),
        help: problem.help.clone(),
        source: problem.source.clone(),
    };
    errors.problems().iter().map(of).collect()
}

impl From<Wrong> for Problem {
    fn from(Wrong { file, line, column, code, message, help, source }: Wrong) -> Problem {
        Problem { file, line, column, severity: Severity::Error, code: code.into(), message, help, source }
    }
}

/// An input to judge, as it travels: two letters, then the document as it is.
pub fn judge(phase: Phase, document: &Document) -> Vec<u8> {
    let phase = match phase {
        Phase::Call => b'c',
        Phase::List => b'l',
    };
    let (origin, text) = match document {
        Document::Ours(text) => (b'o', text.as_str()),
        Document::Given(text) => (b'g', text.as_str()),
    };
    let mut frame = Vec::with_capacity(2 + text.len());
    frame.extend([phase, origin]);
    frame.extend(text.as_bytes());
    frame
}

/// The input in a frame.
pub fn judged(frame: Vec<u8>) -> Option<(Phase, Document)> {
    let text = String::from_utf8(frame).ok()?;
    let (head, text) = (text.as_bytes().first_chunk::<2>().copied()?, text.get(2..)?.to_owned());
    let phase = match head[0] {
        b'c' => Phase::Call,
        b'l' => Phase::List,
        _ => return None,
    };
    match head[1] {
        b'o' => Some((phase, Document::Ours(Text::whole(text)))),
        b'g' => Some((phase, Document::Given(text))),
        _ => None,
    }
}

/// Writes one frame with one system call, where it fits.
pub fn write(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::Error::other("the frame is too long"))?;
    let mut bytes = Vec::with_capacity(4 + frame.len());
    bytes.extend(length.to_be_bytes());
    bytes.extend(frame);
    to.write_all(&bytes)
}

/// Reads one frame; nothing where the other end has gone between two of them.
pub fn read(from: &mut impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if let Err(error) = from.read_exact(&mut length) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(io::Error::other("the frame is too long"));
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame)?;
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_arrives_as_it_was_sent() {
        for phase in [Phase::Call, Phase::List] {
            for document in [Document::Ours(Text::whole("{\"a\":\"é\"}".into())), Document::Given(String::new())] {
                let mut pipe = Vec::new();
                write(&mut pipe, &judge(phase, &document)).unwrap();
                let frame = read(&mut pipe.as_slice(), MAX_ASK).unwrap().unwrap();
                let (seen, back) = judged(frame).unwrap();
                assert_eq!((seen, format!("{back:?}")), (phase, format!("{document:?}")));
            }
        }
        for odd in ["", "c", "cx{}", "xo{}", "é"] {
            assert!(judged(odd.into()).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_not_read() {
        assert!(read(&mut [0, 0, 1, 0].as_slice(), 255).is_err());
        assert!(read(&mut [].as_slice(), 255).unwrap().is_none());
        assert!(read(&mut [0, 0, 0, 2, 1].as_slice(), 255).is_err(), "a frame that ends early is no frame");
    }
}
