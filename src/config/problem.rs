//! What is wrong with a configuration, and how it is said: every problem at once, each at its place, each with what to
//! do. A key that stands in the file is never repeated.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::credential::shape;

/// More problems than this are counted, not shown.
const SHOWN: usize = 40;
/// An excerpt shows this many bytes of a line at most.
const LINE: usize = 4 << 10;

/// Which kind of problem. `docs/configuration.md` has a row for each; a code keeps its meaning for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Code {
    Syntax,
    Empty,
    Feature,
    DuplicateKey,
    TooMuch,
    Hidden,
    UnknownKey,
    MissingKey,
    WrongType,
    Range,
    Form,
    Choice,
    Reference,
    Path,
    Repeated,
    Contradiction,
    NotSupported,
    PlainKey,
    Exposed,
    Alias,
    Version,
    Untrusted,
}

impl Code {
    pub const ALL: [Code; 22] = [
        Code::Syntax,
        Code::Empty,
        Code::Feature,
        Code::DuplicateKey,
        Code::TooMuch,
        Code::Hidden,
        Code::UnknownKey,
        Code::MissingKey,
        Code::WrongType,
        Code::Range,
        Code::Form,
        Code::Choice,
        Code::Reference,
        Code::Path,
        Code::Repeated,
        Code::Contradiction,
        Code::NotSupported,
        Code::PlainKey,
        Code::Exposed,
        Code::Alias,
        Code::Version,
        Code::Untrusted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Code::Syntax => "C0001",
            Code::Empty => "C0002",
            Code::Feature => "C0003",
            Code::DuplicateKey => "C0004",
            Code::TooMuch => "C0005",
            Code::Hidden => "C0006",
            Code::UnknownKey => "C0101",
            Code::MissingKey => "C0102",
            Code::WrongType => "C0103",
            Code::Range => "C0104",
            Code::Form => "C0105",
            Code::Choice => "C0106",
            Code::Reference => "C0107",
            Code::Path => "C0108",
            Code::Repeated => "C0109",
            Code::Contradiction => "C0110",
            Code::NotSupported => "C0111",
            Code::PlainKey => "C0112",
            Code::Exposed => "C0113",
            Code::Alias => "C0114",
            Code::Version => "C0115",
            Code::Untrusted => "C0116",
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub code: Code,
    /// In bytes of the text.
    pub span: Range<usize>,
    pub message: String,
    /// What to do.
    pub help: String,
    /// Another place that it has to do with, and how.
    pub other: Option<(Range<usize>, String)>,
}

/// Problems as they are found.
#[derive(Default, Debug)]
pub struct Problems {
    found: Vec<Problem>,
    /// Places of the text that are never shown.
    hidden: Vec<Range<usize>>,
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Problems {
        let found: Vec<Problem> = problems.into_iter().collect();
        let secret = found.iter().filter(|problem| problem.code == Code::PlainKey);
        let hidden = secret.map(|problem| problem.span.clone()).collect();
        Problems { found, hidden }
    }
}

impl Problems {
    pub fn add(&mut self, code: Code, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let problem = Problem { code, span: span.clone(), message: message.into(), help: help.into(), other: None };
        self.hidden.extend((code == Code::PlainKey).then(|| span.clone()));
        self.found.push(problem);
    }

    /// What stands at these places is shown with no problem.
    pub fn hide(&mut self, places: Vec<Range<usize>>) {
        self.hidden.extend(places);
    }

    /// The last problem has to do with another place.
    pub fn with(&mut self, other: &Range<usize>, label: impl Into<String>) {
        if let Some(last) = self.found.last_mut() {
            last.other = Some((other.clone(), label.into()));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// So many that no more work goes into finding others or into what was meant.
    pub fn are_enough(&self) -> bool {
        self.found.len() >= 4 * SHOWN
    }

    /// In the order of the file, with the text they are about.
    pub fn report(mut self, origin: &Path, text: &str) -> Report {
        self.found.sort_by_key(|problem| (problem.span.start, problem.code));
        self.found.dedup();
        let text = covered(&shape::mask(text), &self.hidden);
        Report { origin: origin.to_owned(), text, problems: self.found }
    }
}

/// All that is wrong with one file.
pub struct Report {
    origin: PathBuf,
    /// What looks like a key is overwritten, and so is what must not be shown.
    text: String,
    problems: Vec<Problem>,
}

impl Report {
    /// In the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Line and column of a problem, both from 1; columns count characters.
    pub fn position(&self, problem: &Problem) -> (usize, usize) {
        line_and_column(&self.text, problem.span.start)
    }

    /// As rustc shows errors, with colours where `styled`.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let shown: Vec<String> =
            self.problems.iter().take(SHOWN).map(|problem| self.render_one(problem, &renderer)).collect();
        let mut out = shown.join("\n\n");
        if let Some(more) = self.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            out.push_str(&format!("\n\n... and {more} more"));
        }
        out
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(problem.message.as_str()).id(problem.code.as_str());
        let (line, column) = self.position(problem);
        let origin = self.origin.display().to_string();
        let excerpt = Excerpt::of(&self.text, problem);
        let group = match &excerpt {
            Some(excerpt) => {
                let mut snippet = Snippet::source(excerpt.text)
                    .line_start(excerpt.line)
                    .path(origin.as_str())
                    .annotation(AnnotationKind::Primary.span(excerpt.span(&problem.span)));
                if let Some((other, label)) = &problem.other {
                    snippet =
                        snippet.annotation(AnnotationKind::Context.span(excerpt.span(other)).label(label.as_str()));
                }
                title.element(snippet)
            }
            None => Group::with_title(title)
                .element(annotate_snippets::Origin::path(origin.as_str()).line(line).char_column(column)),
        };
        renderer.render(&[group.element(Level::HELP.message(problem.help.as_str()))])
    }
}

/// The lines of a text that a problem is about.
struct Excerpt<'a> {
    text: &'a str,
    start: usize,
    line: usize,
}

impl<'a> Excerpt<'a> {
    /// Nothing where they are too long to be shown.
    fn of(text: &'a str, problem: &Problem) -> Option<Excerpt<'a>> {
        let other = problem.other.as_ref().map_or(&problem.span, |(span, _)| span);
        let first = text.floor_char_boundary(problem.span.start.min(other.start));
        let last = text.floor_char_boundary(problem.span.start.max(other.start));
        let start = text.get(..first)?.rfind('\n').map_or(0, |at| at + 1);
        let end = text.get(last..)?.find('\n').map_or(text.len(), |length| last + length);
        let excerpt = text.get(start..end)?;
        let too_long = excerpt.split('\n').any(|line| line.len() > LINE) || excerpt.len() > 16 * LINE;
        let line = text.get(..start)?.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (!too_long).then_some(Excerpt { text: excerpt, start, line })
    }

    /// A place in the excerpt: what goes beyond its first line is cut.
    fn span(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start.saturating_sub(self.start));
        let rest = self.text.get(start..).unwrap_or_default();
        let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let length = span.end.saturating_sub(span.start).min(line);
        start..self.text.ceil_char_boundary(start + length)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A piece of the file inside a message: short, with every control character made visible, and without a key.
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let masked = shape::mask(text);
    let cut = masked.char_indices().nth(LONGEST).map_or(masked.len(), |(at, _)| at);
    let dots = if cut < masked.len() { "..." } else { "" };
    let visible: String = masked
        .get(..cut)
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect();
    format!("`{visible}{dots}`")
}

/// The text with these places overwritten by `*`, but for the ends of lines. Its length in bytes stays the same.
fn covered(text: &str, places: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for place in places {
        let end = text.ceil_char_boundary(place.end);
        let piece = bytes.get_mut(text.floor_char_boundary(place.start)..end).unwrap_or_default();
        piece.iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b'*');
    }
    // Whole characters are overwritten.
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Of a byte of a text; both from 1, columns count characters.
pub(super) fn line_and_column(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..text.floor_char_boundary(byte)).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_short_and_shows_no_key() {
        assert_eq!(quote("a\u{1b}[31m\n"), r"`a\u{1b}[31m\n`");
        assert_eq!(quote("sk_live_abcdef"), "`sk_live_******`");
        assert_eq!(quote(&"é".repeat(100)).chars().count(), 65);
    }

    #[test]
    fn what_is_covered_keeps_its_length_and_its_lines() {
        assert_eq!(covered("a: é1\r\n  b\n", &[3..4, 4..11]), "a: ***\r\n***\n");
        // In the middle of a character, beyond the end, and the wrong way round.
        let wrong = Range { start: 3, end: 1 };
        assert_eq!(covered("é1é", &[1..2, 4..90, wrong]), "**1**");
    }

    #[test]
    fn codes_are_distinct() {
        let codes: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
    }
}
