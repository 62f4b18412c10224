//! A hold as a document: facts, then everything that travels, line by line, complete and in its exact spelling.
//!
//! Invariant: the payload rows, read from top to bottom without their gutter and their escapes, are the bytes that are
//! sent. Nothing is shortened or reformatted but the whitespace between tokens, and what is folded says how much it is
//! and counts as unseen. The document is built once for a hold and laid out once for a width; a frame only looks at the
//! rows that it shows.

use std::iter::Peekable;
use std::ops::Range;

use crate::console::keymap::Keymap;
use crate::console::keys::{Action, Context};
use crate::console::preview::{self, Clock};
use crate::console::visible;
use crate::json::{JsonText, Kind as Json, Token};

mod layout;
#[cfg(test)]
mod tests;

pub use layout::{Layout, Seen, Window};

/// Columns before the text of a payload row: a bar, a sign, a blank. Payload never reaches into them.
pub const GUTTER: usize = 3;
/// Columns before the text of a fact.
pub const LABEL: usize = 10;
/// Deeper nesting is not indented further, so that there is always room for the text.
const INDENT: u8 = 24;
/// A value of more lines is folded where it has parts of more than [`FOLDED`] lines.
const LONG: usize = 200;
const FOLDED: usize = 20;
/// Previews of one value that are made.
const PREVIEWS: usize = 64;

/// What a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A label of ours and a value.
    Fact(&'static str),
    /// Something odd that the operator has to have read.
    Warning,
    /// Starts a part.
    Heading,
    /// A line of what travels; `marked` where the value on it is one that the rule asks about.
    Payload { indent: u8, marked: bool },
    /// A line of something else from outside: a difference, a part of a rule, a record.
    Quoted { marked: bool },
    /// What the value above comes to: ours, and not sent.
    Note,
    /// Stands for lines of payload that are folded.
    Fold,
}

impl Kind {
    /// Whether an approval waits until the line has been on the screen.
    fn must_be_seen(self) -> bool {
        match self {
            Kind::Warning | Kind::Payload { .. } | Kind::Note | Kind::Fold => true,
            Kind::Fact(_) | Kind::Heading | Kind::Quoted { .. } => false,
        }
    }

    /// Whether a line of this kind can be one row, however long it is. What is ours is always wrapped.
    fn may_go_on(self) -> bool {
        match self {
            Kind::Payload { .. } | Kind::Quoted { .. } | Kind::Note => true,
            Kind::Fact(_) | Kind::Warning | Kind::Heading | Kind::Fold => false,
        }
    }

    fn lead(self) -> usize {
        match self {
            Kind::Fact(_) | Kind::Warning => LABEL,
            Kind::Heading => 0,
            Kind::Payload { .. } | Kind::Quoted { .. } | Kind::Note | Kind::Fold => GUTTER,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Line {
    start: usize,
    kind: Kind,
}

/// A part of a value that may be folded: the lines between the bracket that opens it and the one that closes it.
#[derive(Debug)]
struct Fold {
    inside: Range<usize>,
    words: String,
    open: bool,
}

/// The lines, before any layout. Every text in it has passed the escape function.
#[derive(Debug, Default)]
pub struct Doc {
    text: String,
    lines: Vec<Line>,
    /// In the order of their first lines.
    folds: Vec<Fold>,
    /// Values get previews, told by this clock.
    clock: Option<Clock>,
    /// For a terminal that has nothing but ASCII.
    ascii: bool,
    /// Lines that name a key ask here.
    keys: Keymap,
}

impl Doc {
    /// An empty one; `ascii`: for a terminal that has nothing else.
    pub fn for_terminal(ascii: bool) -> Doc {
        Doc { ascii, ..Doc::default() }
    }

    /// From here on lines that name a key name this one's.
    pub fn name_keys_of(&mut self, keys: Keymap) {
        self.keys = keys;
    }

    /// The key of an action in the queue, for a line that names it.
    pub fn key(&self, action: Action) -> &str {
        self.keys.key(Context::Main, action)
    }

    /// From here on values say below them what they come to.
    pub fn preview_by(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    pub fn fact(&mut self, label: &'static str, value: &str) {
        self.line(Kind::Fact(label), value);
    }

    /// A text that has passed the escape function already.
    pub fn warning(&mut self, shown: &str) {
        self.lines.push(Line { start: self.text.len(), kind: Kind::Warning });
        if self.ascii {
            // The warnings' own example of an escape is one of ours.
            let plain = visible::ascii(&own_signs(&shown.replace("⟨…⟩", "escape")));
            self.text.push_str(&plain);
        } else {
            self.text.push_str(shown);
        }
    }

    /// A line from outside that does not travel.
    pub fn quoted(&mut self, text: &str, marked: bool) {
        self.line(Kind::Quoted { marked }, text);
    }

    /// Everything of a value as it is sent, in one line.
    pub fn raw(&mut self, value: &JsonText) {
        self.line(Kind::Payload { indent: 0, marked: false }, value.as_str());
    }

    /// Appends a text from outside.
    fn write(&mut self, text: &str) {
        if self.ascii {
            self.text.push_str(&visible::ascii(&visible::line(text)));
        } else {
            visible::write_line(text, &mut self.text);
        }
    }

    pub fn heading(&mut self, text: &str) {
        self.line(Kind::Heading, text);
    }

    fn line(&mut self, kind: Kind, value: &str) {
        self.lines.push(Line { start: self.text.len(), kind });
        match (value.is_empty(), self.ascii && !matches!(kind, Kind::Payload { .. })) {
            (true, _) => self.write("(empty)"),
            (false, true) => self.write(&own_signs(value)),
            (false, false) => self.write(value),
        }
    }

    /// Adds everything of a value. `marked`: where in its text the values stand that deserve a mark.
    pub fn payload(&mut self, value: &JsonText, marked: &[Range<usize>]) {
        let first = self.lines.len();
        let mut writer = Writer { doc: self, marked, depth: 0, at: 0, open: Vec::new(), parts: Vec::new() };
        writer.write(value.view().tokens().peekable());
        let parts = writer.parts;
        if self.lines.len() - first > LONG {
            self.fold(parts);
        }
    }

    /// Folds the long parts of what was added last, but those with a mark: what the rule asks about is never behind one.
    fn fold(&mut self, mut parts: Vec<Range<usize>>) {
        parts.retain(|part| part.len() > FOLDED);
        parts.sort_by_key(|part| (part.start, std::cmp::Reverse(part.end)));
        for inside in parts {
            let lines = self.lines.get(inside.clone()).unwrap_or_default();
            let open = lines.iter().any(|line| matches!(line.kind, Kind::Payload { marked: true, .. }));
            let bytes = self.line_range(inside.end).start - self.line_range(inside.start).start;
            let key = self.key(Action::Unfold);
            let words = format!("… {} lines, {bytes} bytes on the screen: folded, `{key}` opens", inside.len());
            self.folds.push(Fold { inside, words, open });
        }
    }

    fn mark_last(&mut self) {
        if let Some(Line { kind: Kind::Payload { marked, .. }, .. }) = self.lines.last_mut() {
            *marked = true;
        }
    }

    fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.lines.get(line).map_or(self.text.len(), |line| line.start);
        let end = self.lines.get(line + 1).map_or(self.text.len(), |line| line.start);
        start..end
    }

    fn slice(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// The closed fold that begins below a line.
    fn closed_at(&self, line: usize) -> Option<(usize, &Range<usize>)> {
        let at = self.folds.partition_point(|fold| fold.inside.start <= line);
        let fold = self.folds.get(at).filter(|fold| fold.inside.start == line + 1 && !fold.open)?;
        Some((at, &fold.inside))
    }

    fn fold_words(&self, fold: usize) -> &str {
        self.folds.get(fold).map(|fold| fold.words.as_str()).unwrap_or_default()
    }

    /// Opens the first closed fold among some rows. False where there is none; else the layout is void.
    pub fn unfold(&mut self, layout: &Layout, rows: Range<usize>) -> bool {
        let fold = layout.fold_in(rows).and_then(|fold| self.folds.get_mut(fold));
        fold.map(|fold| fold.open = true).is_some()
    }

    /// Closes the innermost open part that the first of some rows lies in, or that begins first among them. Answers the
    /// line of its bracket; the layout is void then.
    pub fn refold(&mut self, layout: &Layout, rows: Range<usize>) -> Option<usize> {
        let lines = layout.lines_of(rows);
        let around = self.folds.iter().rposition(|fold| fold.open && fold.inside.contains(&lines.start));
        let first = self.folds.iter().position(|fold| fold.open && lines.contains(&(fold.inside.start - 1)));
        let fold = self.folds.get_mut(around.or(first)?)?;
        fold.open = false;
        Some(fold.inside.start - 1)
    }

    /// Opens everything: for those who print the whole document.
    pub fn unfold_all(&mut self) {
        self.folds.iter_mut().for_each(|fold| fold.open = true);
    }

    /// Breaks every line into rows of at most `width` columns.
    pub fn layout(&self, width: u16) -> Layout {
        Layout::of(self, width, true)
    }

    /// Lets every line be one row, which [`Layout::window`] shows a part of.
    pub fn unwrapped(&self, width: u16) -> Layout {
        Layout::of(self, width, false)
    }

    /// Row number `row` of a layout of this document.
    pub fn row<'a>(&'a self, layout: &Layout, row: usize) -> Option<Row<'a>> {
        layout.row(self, row)
    }

    /// All rows as plain text, gutter included: for a terminal that is not ours.
    pub fn plain(&self, width: u16) -> Vec<String> {
        let layout = self.layout(width);
        (0..layout.len()).filter_map(|row| self.row(&layout, row)).map(|row| row.plain()).collect()
    }

    /// The lines as they are, unwrapped and unfolded: what they are, and their text.
    pub fn whole_lines(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.lines.iter().enumerate().map(|(n, line)| (line.kind, self.slice(self.line_range(n))))
    }
}

/// Writes the lines of one value.
struct Writer<'a> {
    doc: &'a mut Doc,
    marked: &'a [Range<usize>],
    depth: u8,
    /// Bytes of the value that are written.
    at: usize,
    /// The lines after the brackets that are open.
    open: Vec<usize>,
    /// The lines between brackets, but for those of the whole.
    parts: Vec<Range<usize>>,
}

impl Writer<'_> {
    fn write<'t>(&mut self, mut tokens: Peekable<impl Iterator<Item = Token<'t>>>) {
        let (mut fresh, mut empty) = (true, false);
        let mut key = None;
        let mut notes = Vec::new();
        let mut previews = 0;
        while let Some(token) = tokens.next() {
            let (length, closes) = match token {
                Token::Mark(mark) => (1, matches!(mark, '}' | ']')),
                Token::Scalar(scalar) => (scalar.text().len(), false),
            };
            if closes {
                self.depth = self.depth.saturating_sub(1);
                fresh |= !empty;
            }
            if fresh {
                notes.drain(..).for_each(|note: String| self.doc.line(Kind::Note, &note));
                let indent = self.depth.saturating_mul(2).min(INDENT);
                let kind = Kind::Payload { indent, marked: false };
                self.doc.lines.push(Line { start: self.doc.text.len(), kind });
            }
            (fresh, empty) = (false, false);
            match token {
                Token::Mark(':') => self.doc.text.push_str(": "),
                Token::Mark(mark) => self.doc.text.push(mark),
                Token::Scalar(scalar) => self.doc.write(scalar.text()),
            }
            match token {
                Token::Mark('{' | '[') => {
                    self.depth = self.depth.saturating_add(1);
                    empty = matches!(tokens.peek(), Some(Token::Mark('}' | ']')));
                    fresh = !empty;
                    self.open.push(self.doc.lines.len());
                }
                Token::Mark('}' | ']') => self.close(),
                Token::Mark(',') => (fresh, key) = (true, None),
                Token::Mark(_) => {}
                Token::Scalar(scalar) if matches!(tokens.peek(), Some(Token::Mark(':'))) => key = scalar.as_str(),
                Token::Scalar(scalar) if previews < PREVIEWS => {
                    notes = self.previews(scalar, key.as_deref());
                    previews += notes.len();
                }
                Token::Scalar(_) => {}
            }
            if self.marked.iter().any(|range| range.contains(&self.at)) {
                self.doc.mark_last();
            }
            self.at += length;
        }
        notes.drain(..).for_each(|note| self.doc.line(Kind::Note, &note));
        if previews >= PREVIEWS {
            self.doc.line(Kind::Note, "no more values are decoded below each other");
        }
    }

    /// A bracket closes on the line that was written last.
    fn close(&mut self) {
        let Some(first) = self.open.pop() else { return };
        let last = self.doc.lines.len().saturating_sub(1);
        if !self.open.is_empty() && first < last {
            self.parts.push(first..last);
        }
    }

    fn previews(&self, scalar: crate::json::Json<'_>, key: Option<&str>) -> Vec<String> {
        let Some(clock) = &self.doc.clock else { return Vec::new() };
        match scalar.kind() {
            Json::String => preview::string(scalar.text(), &scalar.as_str().unwrap_or_default(), clock),
            Json::Number => preview::number(scalar.text(), key, clock),
            Json::Object | Json::Array | Json::Bool | Json::Null => Vec::new(),
        }
    }
}

/// Signs of our own between words, in ASCII. Lines that travel never pass here.
fn own_signs(text: &str) -> String {
    text.replace(" · ", " - ").replace(" → ", " -> ").replace('…', "...")
}

/// One row on the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row<'a> {
    pub kind: Kind,
    /// False for the continuation of a line.
    pub first: bool,
    /// Has passed the escape function.
    pub text: &'a str,
}

impl Row<'_> {
    /// What stands before the text: ours alone.
    pub fn lead(&self) -> String {
        match self.kind {
            Kind::Payload { marked, indent } => {
                let (sign, indent) = match (self.first, marked) {
                    (false, _) => ('↳', 0),
                    (true, true) => ('!', usize::from(indent)),
                    (true, false) => (' ', usize::from(indent)),
                };
                format!("│{sign} {:indent$}", "")
            }
            Kind::Fact(label) if self.first => format!("{label:<LABEL$}"),
            Kind::Warning if self.first => format!("{:<LABEL$}", "! Warning"),
            Kind::Fact(_) | Kind::Warning => format!("{:LABEL$}", ""),
            Kind::Heading => String::new(),
            Kind::Quoted { marked } => match (self.first, marked) {
                (false, _) => "│↳ ".to_owned(),
                (true, true) => "│! ".to_owned(),
                (true, false) => "│  ".to_owned(),
            },
            Kind::Note => format!("┆{} ", if self.first { '=' } else { '↳' }),
            Kind::Fold => "│▸ ".to_owned(),
        }
    }

    fn plain(&self) -> String {
        format!("{}{}", self.lead(), self.text)
    }
}
