//! A hold as a document: facts, then everything that travels, line by line, complete and in its exact spelling.
//!
//! Invariant: the payload rows, read from top to bottom without their gutter and their escapes, are the bytes that are
//! sent. Nothing is folded, shortened or reformatted but the whitespace between tokens. The document is built once for
//! a hold and laid out once for a width; a frame only looks at the rows that it shows.

use std::ops::Range;

use crate::console::visible;
use crate::json::{JsonText, Token};

/// Columns before the text of a payload row: a bar, a sign, a blank. Payload never reaches into them.
pub const GUTTER: usize = 3;
/// Columns before the text of a fact.
pub const LABEL: usize = 10;
/// Deeper nesting is not indented further, so that there is always room for the text.
const INDENT: u8 = 24;

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
}

impl Kind {
    /// Whether an approval waits until the line has been on the screen.
    fn must_be_seen(self) -> bool {
        match self {
            Kind::Warning | Kind::Payload { .. } => true,
            Kind::Fact(_) | Kind::Heading => false,
        }
    }

    fn lead(self) -> usize {
        match self {
            Kind::Fact(_) | Kind::Warning => LABEL,
            Kind::Heading => 0,
            Kind::Payload { .. } => GUTTER,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Line {
    start: usize,
    kind: Kind,
}

/// The lines, before any layout. Every text in it has passed the escape function.
#[derive(Debug, Default)]
pub struct Doc {
    text: String,
    lines: Vec<Line>,
}

impl Doc {
    pub fn fact(&mut self, label: &'static str, value: &str) {
        self.line(Kind::Fact(label), value);
    }

    /// A text that has passed the escape function already.
    pub fn warning(&mut self, shown: &str) {
        self.lines.push(Line { start: self.text.len(), kind: Kind::Warning });
        self.text.push_str(shown);
    }

    pub fn heading(&mut self, text: &str) {
        self.line(Kind::Heading, text);
    }

    fn line(&mut self, kind: Kind, value: &str) {
        self.lines.push(Line { start: self.text.len(), kind });
        visible::write_line(if value.is_empty() { "(empty)" } else { value }, &mut self.text);
    }

    /// Adds everything of a value. `marked`: where in its text the values stand that deserve a mark.
    pub fn payload(&mut self, value: &JsonText, marked: &[Range<usize>]) {
        let mut depth = 0_u8;
        let mut at = 0;
        let mut fresh = true;
        let mut empty = false;
        let mut tokens = value.view().tokens().peekable();
        while let Some(token) = tokens.next() {
            let (length, closes) = match token {
                Token::Mark(mark) => (1, matches!(mark, '}' | ']')),
                Token::Scalar(scalar) => (scalar.text().len(), false),
            };
            if closes {
                depth = depth.saturating_sub(1);
                fresh |= !empty;
            }
            if fresh {
                let indent = depth.saturating_mul(2).min(INDENT);
                self.lines.push(Line { start: self.text.len(), kind: Kind::Payload { indent, marked: false } });
            }
            (fresh, empty) = (false, false);
            match token {
                Token::Mark(':') => self.text.push_str(": "),
                Token::Mark(mark) => self.text.push(mark),
                Token::Scalar(scalar) => visible::write_line(scalar.text(), &mut self.text),
            }
            match token {
                Token::Mark('{' | '[') => {
                    depth = depth.saturating_add(1);
                    empty = matches!(tokens.peek(), Some(Token::Mark('}' | ']')));
                    fresh = !empty;
                }
                Token::Mark(',') => fresh = true,
                Token::Mark(_) | Token::Scalar(_) => {}
            }
            if marked.iter().any(|range| range.contains(&at)) {
                self.mark_last();
            }
            at += length;
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

    /// Breaks every line into rows of at most `width` columns.
    pub fn layout(&self, width: u16) -> Layout {
        let width = usize::from(width).max(LABEL + 24);
        // Whatever the width, the longest escape has room.
        let deepest = u8::try_from(width - GUTTER - 24).unwrap_or(INDENT).min(INDENT);
        let mut rows = Vec::with_capacity(self.lines.len());
        let mut must: Vec<Range<usize>> = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            let range = self.line_range(number);
            let first_row = rows.len();
            let room = width - line.kind.lead();
            let indent = match line.kind {
                Kind::Payload { indent, .. } => usize::from(indent.min(deepest)),
                Kind::Fact(_) | Kind::Warning | Kind::Heading => 0,
            };
            let payload = matches!(line.kind, Kind::Payload { .. });
            let text = self.slice(range.clone());
            wrap(text, room - indent, room, payload, |start| {
                rows.push(RowStart { line: number, start: range.start + start });
            });
            if line.kind.must_be_seen() {
                match must.last_mut() {
                    Some(last) if last.end == first_row => last.end = rows.len(),
                    _ => must.push(first_row..rows.len()),
                }
            }
        }
        Layout { rows, must, deepest }
    }

    /// Row number `row` of a layout of this document.
    pub fn row<'a>(&'a self, layout: &Layout, row: usize) -> Option<Row<'a>> {
        let at = layout.rows.get(row)?;
        let line = self.lines.get(at.line)?;
        let text = self.slice(layout.range(row, self.text.len()));
        let kind = match line.kind {
            Kind::Payload { indent, marked } => Kind::Payload { indent: indent.min(layout.deepest), marked },
            kind @ (Kind::Fact(_) | Kind::Warning | Kind::Heading) => kind,
        };
        Some(Row { kind, first: line.start == at.start, text })
    }

    /// All rows as plain text, gutter included: for a terminal that is not ours.
    pub fn plain(&self, width: u16) -> Vec<String> {
        let layout = self.layout(width);
        (0..layout.len()).filter_map(|row| self.row(&layout, row)).map(|row| row.plain()).collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct RowStart {
    line: usize,
    start: usize,
}

/// Where the rows begin at one width.
#[derive(Debug, Default)]
pub struct Layout {
    rows: Vec<RowStart>,
    /// Rows that have to be seen.
    must: Vec<Range<usize>>,
    deepest: u8,
}

impl Layout {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn range(&self, row: usize, end: usize) -> Range<usize> {
        let at = |row: usize| self.rows.get(row).map_or(end, |row| row.start);
        at(row)..at(row + 1)
    }

    /// Rows that have to be seen before an approval.
    pub fn must_count(&self) -> usize {
        self.must.iter().map(ExactSizeIterator::len).sum()
    }

    /// Those of them that have been on the screen.
    pub fn seen_count(&self, doc: &Doc, seen: &Seen) -> usize {
        let end = doc.text.len();
        let rows = seen.ranges.iter().map(|range| {
            let first = self.rows.partition_point(|row| row.start < range.start);
            let past = if range.end >= end {
                self.rows.len()
            } else {
                self.rows.partition_point(|row| row.start <= range.end).saturating_sub(1)
            };
            first..past.max(first)
        });
        rows.map(|shown| {
            let within = |must: &Range<usize>| must.end.min(shown.end).saturating_sub(must.start.max(shown.start));
            self.must.iter().map(within).sum::<usize>()
        })
        .sum()
    }

    /// Notes that these rows are on the screen.
    pub fn mark_seen(&self, doc: &Doc, rows: Range<usize>, seen: &mut Seen) {
        if rows.start < rows.end.min(self.rows.len()) {
            let end = doc.text.len();
            seen.insert(self.range(rows.start, end).start..self.range(rows.end.min(self.rows.len()) - 1, end).end);
        }
    }
}

/// The parts of a document that have been on the screen, whatever its width was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Sorted, neither touching nor overlapping.
    ranges: Vec<Range<usize>>,
}

impl Seen {
    fn insert(&mut self, new: Range<usize>) {
        if self.ranges.iter().any(|old| old.start <= new.start && new.end <= old.end) {
            return;
        }
        let (touching, mut apart): (Vec<_>, Vec<_>) =
            self.ranges.drain(..).partition(|old| old.start <= new.end && new.start <= old.end);
        let merged = touching.into_iter().fold(new, |a, b| a.start.min(b.start)..a.end.max(b.end));
        apart.push(merged);
        apart.sort_by_key(|range| range.start);
        self.ranges = apart;
    }
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
        }
    }

    fn plain(&self) -> String {
        format!("{}{}", self.lead(), self.text)
    }
}

/// Calls `emit` with the offset of every row. A row never splits an atom. Where the text has to be `exact`, a row that
/// goes on never ends in a space, so that no space is lost in the margin; elsewhere rows break after a word.
fn wrap(text: &str, first: usize, rest: usize, exact: bool, mut emit: impl FnMut(usize)) {
    emit(0);
    if text.len() <= first && text.is_ascii() {
        return;
    }
    let mut room = first;
    let (mut row, mut at, mut used) = (0, 0, 0);
    // The last good place to break, and the columns of the row up to it.
    let mut good = (0, 0);
    for atom in visible::atoms(text) {
        let space = atom.text == " ";
        if used + atom.columns > room && at > row {
            let (cut, columns) = if good.0 > row { good } else { (at, used) };
            emit(cut);
            (row, room, used, good) = (cut, rest, used - columns, (cut, 0));
        }
        used += atom.columns;
        at += atom.text.len();
        if space != exact {
            good = (at, used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Rules;
    use proptest::prelude::*;

    fn doc(text: &str) -> (JsonText, Doc) {
        let value = JsonText::parse(text, Rules::UPSTREAM).unwrap();
        let mut doc = Doc::default();
        doc.payload(&value, &[]);
        (value, doc)
    }

    #[test]
    fn payload_keeps_order_and_spelling() {
        let (_, doc) = doc(r#"{"b":{"c":[],"d":{}},"a":[1.50,{"x":-0}],"s":"\u0041\n"}"#);
        assert_eq!(
            doc.plain(60),
            [
                "│  {",
                "│    \"b\": {",
                "│      \"c\": [],",
                "│      \"d\": {}",
                "│    },",
                "│    \"a\": [",
                "│      1.50,",
                "│      {",
                "│        \"x\": -0",
                "│      }",
                "│    ],",
                "│    \"s\": \"\\u0041\\n\"",
                "│  }",
            ]
        );
    }

    #[test]
    fn only_the_line_with_the_value_is_marked() {
        let value = JsonText::parse(r#"{"id":"x","amount":125000,"z":1}"#, Rules::CLIENT).unwrap();
        let start = value.as_str().find("125000").unwrap();
        let mut doc = Doc::default();
        doc.payload(&value, std::slice::from_ref(&(start..start + 6)));
        let marked: Vec<_> = doc.plain(60).into_iter().filter(|row| row.starts_with("│!")).collect();
        assert_eq!(marked, ["│!   \"amount\": 125000,"]);
    }

    #[test]
    fn long_values_wrap_and_never_cut() {
        let (_, doc) = doc(&format!("[\"{}\"]", "ab cd ".repeat(40)));
        let rows = doc.plain(60);
        assert!(rows.len() > 4);
        for row in &rows[2..rows.len() - 1] {
            assert!(row.starts_with("│↳ "), "{row}");
            assert!(visible::columns(row) <= 61, "{row}");
        }
    }

    #[test]
    fn seen_survives_another_width() {
        let (_, doc) = doc(&format!("[\"{}\",\"{}\"]", "x".repeat(300), "y".repeat(300)));
        let (wide, narrow) = (doc.layout(120), doc.layout(60));
        let mut seen = Seen::default();
        assert_eq!(wide.seen_count(&doc, &seen), 0);
        wide.mark_seen(&doc, 0..2, &mut seen);
        assert_eq!(wide.seen_count(&doc, &seen), 2);
        // The second row at 120 columns ends inside a row at 60: that row does not count.
        assert_eq!(narrow.seen_count(&doc, &seen), 3);
        wide.mark_seen(&doc, 4..wide.len(), &mut seen);
        assert!(wide.seen_count(&doc, &seen) < wide.must_count());
        wide.mark_seen(&doc, 1..5, &mut seen);
        assert_eq!(wide.seen_count(&doc, &seen), wide.must_count());
        assert_eq!(narrow.seen_count(&doc, &seen), narrow.must_count());
        assert_eq!(seen.ranges.len(), 1);
    }

    #[test]
    fn facts_break_after_words() {
        let mut doc = Doc::default();
        doc.fact("Rule", "refunds over one hundred need a person who looks at the amount before it leaves");
        let rows = doc.plain(60);
        assert_eq!(rows[0], "Rule      refunds over one hundred need a person who looks ");
        assert_eq!(rows[1], "          at the amount before it leaves");
    }

    /// Strips a screen of payload rows down to the text that travels.
    fn sent(rows: &[String]) -> String {
        let mut shown = String::new();
        for row in rows {
            let row = row.trim_end_matches(' ');
            match row.strip_prefix("│↳ ") {
                Some(rest) => shown.push_str(rest),
                None => shown.push_str(row.chars().skip(GUTTER).collect::<String>().trim_start_matches(' ')),
            }
        }
        let text = visible::tests::read_back(&shown);
        let (mut out, mut inside, mut escaped) = (String::new(), false, false);
        for character in text.chars() {
            if inside || character != ' ' {
                out.push(character);
            }
            match character {
                '"' if !escaped => inside = !inside,
                '\\' if inside => {
                    escaped = !escaped;
                    continue;
                }
                _ => {}
            }
            escaped = false;
        }
        out
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop_oneof![
                any::<char>().prop_map(String::from),
                "[a-z ]{0,30}",
                Just("⟨".to_owned()),
                Just(" ".repeat(12)),
                Just("\u{301}".repeat(4)),
                Just("手".repeat(30)),
                Just("\u{202E}\"\\│↳ ".to_owned()),
            ],
            0..8,
        )
        .prop_map(|parts| parts.concat())
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any_text().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null)
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::vec((any_text(), inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// I10, C7: what is on the screen, without gutter and escapes, is what is sent.
        #[test]
        fn the_screen_reads_back_to_the_exact_bytes(value in any_json(), width in 60_u16..140) {
            let value = JsonText::of(&value).unwrap();
            let mut doc = Doc::default();
            doc.payload(&value, &[]);
            let rows = doc.plain(width);
            for row in &rows {
                prop_assert!(row.starts_with('│'));
                prop_assert!(visible::columns(row) <= usize::from(width) + 1, "the bar counts twice where wide");
            }
            prop_assert_eq!(sent(&rows), value.as_str());
        }
    }
}
