//! Where the rows of a document begin at one width, and which of them have been on the screen.
//!
//! Invariant: a byte of the document counts as seen only where a row that shows it was drawn. What lies in a closed fold
//! was not, and counts as missing until the fold is opened.

use std::ops::Range;

use super::{Doc, GUTTER, INDENT, Kind, LABEL, Row};
use crate::console::visible;

#[derive(Clone, Copy, Debug)]
struct RowStart {
    line: usize,
    start: usize,
    end: usize,
    /// It stands for the lines of this closed fold.
    fold: Option<usize>,
}

/// What of a row is on the screen, and whether it goes on beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window<'a> {
    /// With the text that is on the screen.
    pub row: Row<'a>,
    pub left: bool,
    pub right: bool,
    /// Columns of the row's text up to the end of what is on the screen.
    pub until: usize,
    /// Where that text stands in the document.
    shown: Range<usize>,
}

/// Where the rows begin at one width.
#[derive(Debug, Default)]
pub struct Layout {
    /// Where long lines are not wrapped: the columns that a row has.
    unwrapped: Option<usize>,
    rows: Vec<RowStart>,
    /// Rows that have to be seen.
    must: Vec<Range<usize>>,
    /// Lines that have to be seen and lie in closed folds.
    hidden: Vec<Range<usize>>,
    deepest: u8,
}

impl Layout {
    /// Breaks every line of a document into rows of at most `width` columns; or, but for what is ours, lets each be one
    /// row, however long it is.
    pub(super) fn of(doc: &Doc, width: u16, wraps: bool) -> Layout {
        let width = usize::from(width).max(LABEL + 24);
        // Whatever the width, the longest escape has room.
        let deepest = u8::try_from(width - GUTTER - 24).unwrap_or(INDENT).min(INDENT);
        let (rows, unwrapped) = (Vec::with_capacity(doc.lines.len()), (!wraps).then_some(width));
        let mut layout = Layout { rows, deepest, unwrapped, ..Layout::default() };
        let mut number = 0;
        while let Some(line) = doc.lines.get(number) {
            let range = doc.line_range(number);
            let first_row = layout.rows.len();
            let room = width - line.kind.lead();
            let indent = match line.kind {
                Kind::Payload { indent, .. } => usize::from(indent.min(deepest)),
                Kind::Fact(_) | Kind::Warning | Kind::Heading | Kind::Quoted { .. } | Kind::Note | Kind::Fold => 0,
            };
            let payload = matches!(line.kind, Kind::Payload { .. } | Kind::Quoted { .. });
            let mut begin = |start| {
                let start = range.start + start;
                if let Some(last) = layout.rows.get_mut(first_row..).and_then(<[RowStart]>::last_mut) {
                    last.end = start;
                }
                layout.rows.push(RowStart { line: number, start, end: range.end, fold: None });
            };
            if wraps || !line.kind.may_go_on() {
                wrap(doc.slice(range.clone()), room - indent, room, payload, begin);
            } else {
                begin(0);
            }
            let fold = doc.closed_at(number);
            if let Some((fold, inside)) = fold {
                layout.rows.push(RowStart { line: number, start: range.end, end: range.end, fold: Some(fold) });
                layout.hidden.push(inside.clone());
                number = inside.end;
            } else {
                number += 1;
            }
            if line.kind.must_be_seen() {
                layout.require(first_row..layout.rows.len());
            }
        }
        layout
    }

    fn require(&mut self, rows: Range<usize>) {
        match self.must.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => self.must.push(rows),
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The line, the part of its text and the kind of a row; for a closed fold the number of the fold.
    pub(super) fn row<'a>(&self, doc: &'a Doc, row: usize) -> Option<Row<'a>> {
        let at = self.rows.get(row)?;
        let line = doc.lines.get(at.line)?;
        if let Some(fold) = at.fold {
            return Some(Row { kind: Kind::Fold, first: true, text: doc.fold_words(fold) });
        }
        let kind = match line.kind {
            Kind::Payload { indent, marked } => Kind::Payload { indent: indent.min(self.deepest), marked },
            kind @ (Kind::Fact(_) | Kind::Warning | Kind::Heading | Kind::Quoted { .. } | Kind::Note | Kind::Fold) => {
                kind
            }
        };
        Some(Row { kind, first: line.start == at.start, text: doc.slice(at.start..at.end) })
    }

    /// What of a row is on the screen, with so many columns of its text to the left of it.
    pub fn window<'a>(&self, doc: &'a Doc, row: usize, pan: usize) -> Option<Window<'a>> {
        let at = self.rows.get(row)?;
        let row = self.row(doc, row)?;
        let whole = Window { row, left: false, right: false, until: 0, shown: at.start..at.end };
        let Some(width) = self.unwrapped.filter(|_| row.kind.may_go_on()) else {
            return Some(whole);
        };
        // The last column is for the sign that it goes on.
        let room = width.saturating_sub(visible::columns(&row.lead()) + 1);
        let (mut start, mut end, mut column, mut used) = (0, 0, 0, 0);
        for atom in visible::atoms(row.text) {
            if column < pan {
                start = end + atom.text.len();
            } else if used + atom.columns > room {
                break;
            } else {
                used += atom.columns;
            }
            column += atom.columns;
            end += atom.text.len();
        }
        let text = row.text.get(start..end).unwrap_or_default();
        let shown = at.start + start..at.start + end;
        let (left, right) = (start > 0, end < row.text.len());
        Some(Window { row: Row { text, ..row }, left, right, until: column, shown })
    }

    /// The first closed fold among some rows.
    pub(super) fn fold_in(&self, rows: Range<usize>) -> Option<usize> {
        self.rows.get(rows.start..rows.end.min(self.rows.len()))?.iter().find_map(|row| row.fold)
    }

    /// The lines that some rows show.
    pub fn lines_of(&self, rows: Range<usize>) -> Range<usize> {
        let rows = self.rows.get(rows.start..rows.end.min(self.rows.len())).unwrap_or_default();
        rows.first().map_or(0, |row| row.line)..rows.last().map_or(0, |row| row.line + 1)
    }

    /// The first row of a line.
    pub fn row_of_line(&self, line: usize) -> usize {
        self.rows.partition_point(|row| row.line < line)
    }

    /// Rows that have to be seen before an approval; of what is folded, its lines.
    pub fn must_count(&self) -> usize {
        let rows: usize = self.must.iter().map(ExactSizeIterator::len).sum();
        rows + self.hidden.iter().map(ExactSizeIterator::len).sum::<usize>()
    }

    /// Those of them that have been on the screen.
    pub fn seen_count(&self, doc: &Doc, seen: &Seen) -> usize {
        let rows = seen.ranges.iter().map(|range| {
            let first = self.rows.partition_point(|row| row.start < range.start);
            let past = self.rows.partition_point(|row| row.end <= range.end);
            first..past.max(first)
        });
        let rows: usize = rows
            .map(|shown| {
                let within = |must: &Range<usize>| must.end.min(shown.end).saturating_sub(must.start.max(shown.start));
                self.must.iter().map(within).sum::<usize>()
            })
            .sum();
        let hidden = self.hidden.iter().flat_map(Clone::clone).filter(|line| seen.covers(&doc.line_range(*line)));
        rows + hidden.count()
    }

    /// Notes that these rows are on the screen, as far as they are.
    pub fn mark_seen(&self, doc: &Doc, rows: Range<usize>, pan: usize, seen: &mut Seen) {
        if self.unwrapped.is_some() {
            let windows = rows.filter_map(|row| self.window(doc, row, pan));
            // Where nothing of a text is left, nothing of it is shown.
            return windows.filter(|w| !(w.left && w.shown.is_empty())).for_each(|window| seen.insert(window.shown));
        }
        let mut run: Option<Range<usize>> = None;
        for row in self.rows.get(rows.start..rows.end.min(self.rows.len())).unwrap_or_default() {
            match &mut run {
                Some(run) if run.end == row.start => run.end = row.end,
                run => {
                    if let Some(run) = run.take() {
                        seen.insert(run);
                    }
                    *run = Some(row.start..row.end);
                }
            }
        }
        if let Some(run) = run {
            seen.insert(run);
        }
    }
}

/// The parts of a document that have been on the screen, whatever its width was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Sorted, neither touching nor overlapping.
    pub(super) ranges: Vec<Range<usize>>,
}

impl Seen {
    fn covers(&self, part: &Range<usize>) -> bool {
        let at = self.ranges.partition_point(|range| range.end < part.end);
        self.ranges.get(at).is_some_and(|range| range.start <= part.start && part.end <= range.end)
    }

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
