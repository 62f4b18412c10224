//! A file of an operator's that gives names one or more words each, as in `freeze: F8` and `next: [j, Down]`. What the
//! names and the words mean is judged by whoever asks for them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::problem::{Code, Problem, Problems};
use super::yaml::{Data, Node};
use super::{ConfigError, utf8};
use crate::credential::shape;
use crate::credential::trust::{self, Readers};

/// A larger file is not read.
const MAX_BYTES: usize = 64 << 10;

/// A word, and where it stands, in bytes.
pub type Word = (Range<usize>, String);

/// The lines of such a file.
#[derive(Debug)]
pub struct Words {
    path: PathBuf,
    text: String,
    pub lines: Vec<(Word, Vec<Word>)>,
}

/// Reads a file that has to be the operator's or root's, and only theirs to change, as the configuration has to be.
///
/// # Errors
/// Where it is not there or not such a file, and everything in it that is no name with its words.
pub fn load(path: &Path) -> Result<Words, ConfigError> {
    let bytes = trust::read(path, Readers::Anyone, MAX_BYTES).map_err(ConfigError::File)?;
    parse(utf8(&bytes, path)?, path)
}

/// The same of a text that is said to stand in this file.
///
/// # Errors
/// Everything in it that is no name with its words.
pub fn parse(text: &str, path: &Path) -> Result<Words, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
    let mut words = Words { path: path.to_owned(), text, lines: Vec::new() };
    let Some(root) = super::edit::tree(&words.text, path)? else { return Ok(words) };
    let mut problems = Problems::default();
    match root.data {
        Data::Map(entries) => {
            for (name, node) in entries {
                let found = given(node, &mut problems);
                words.lines.push(((name.span, name.text), found));
            }
        }
        Data::Scalar { .. } | Data::List(_) => {
            let help = "write one name a line, as in `freeze: F8`";
            problems.add(Code::WrongType, &root.span, "this is no mapping (`name: word`)", help);
        }
    }
    if problems.is_empty() { Ok(words) } else { Err(ConfigError::Invalid(problems.report(path, &words.text))) }
}

/// One word, or a list of them.
fn given(node: Node, problems: &mut Problems) -> Vec<Word> {
    let nodes = match node.data {
        Data::List(nodes) => nodes,
        Data::Scalar { .. } | Data::Map(_) => vec![node],
    };
    let mut words = Vec::new();
    for Node { span, data } in nodes {
        match data {
            Data::Scalar { text, plain } if !plain || !matches!(text.as_str(), "" | "~") => words.push((span, text)),
            Data::Scalar { .. } => {
                let help = "write a word, or take the line out; `~` is nothing unless it stands in quotes";
                problems.add(Code::WrongType, &span, "a word is missing here", help);
            }
            Data::List(_) | Data::Map(_) => {
                let help = "write one word, or a list of words as in `[j, Down]`";
                problems.add(Code::WrongType, &span, "this is no word", help);
            }
        }
    }
    words
}

impl Words {
    /// The error that says what is wrong with the lines. No message of it repeats a key.
    pub fn refused(self, problems: impl IntoIterator<Item = Problem>) -> ConfigError {
        let mask = |text: &str| shape::mask(text).into_owned();
        let masked = |problem: Problem| Problem { message: mask(&problem.message), ..problem };
        let problems: Problems = problems.into_iter().map(masked).collect();
        ConfigError::Invalid(problems.report(&self.path, &self.text))
    }
}
