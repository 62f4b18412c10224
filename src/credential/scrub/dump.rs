//! What `xxd`, `hexdump`, `od` and debuggers print: lines of an offset, the bytes in groups, and often the same as text.
//! The columns stand between the parts of a key, so it is looked for in the bytes that the lines stand for.
//!
//! Invariant: a line begins where a line of the text or a string in JSON does, and its groups end where that ends. So no
//! byte is read for two lines, and what is kept at once takes less than twenty times as many bytes as the text.

use std::ops::{Range, RangeInclusive};

use memchr::{memchr_iter, memmem, memrchr_iter};
use zeroize::Zeroizing;

/// Digits of an offset.
const OFFSET: RangeInclusive<usize> = 4..=16;
/// Before an offset.
const INDENT: usize = 8;
/// Between two columns; what is wider is a line that ends early.
const GAP: usize = 16;
/// What stands in place of an offset where a line says its bytes in one more format, as `od` does.
const INSTEAD: RangeInclusive<usize> = 4..=64;
/// Lines with the same offset.
const FORMATS: u8 = 4;
/// Bytes in a line, which is as much as any of these programs prints.
const BYTES: usize = 256;
/// Digits of a group.
const WIDEST: usize = 2 * BYTES;
/// The part of a line behind its groups.
const TAIL: usize = 4 * BYTES;
/// Stands between lines that do not belong together. In no key: those are ASCII.
const APART: u8 = 0xFF;

/// How a group is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// As it stands.
    Hex,
    /// Words of a machine that has the last byte first.
    Swapped,
    /// Bytes, or words of such a machine.
    Octal,
    Decimal,
    /// Each character by itself.
    Characters,
}

const KINDS: [Kind; 5] = [Kind::Hex, Kind::Swapped, Kind::Octal, Kind::Decimal, Kind::Characters];

/// A line with an offset, or one below such a line that says the same bytes in one more format.
#[derive(Clone, Copy)]
struct Line {
    /// Where the offset begins, also that of the line above.
    offset: usize,
    /// Where its groups begin.
    body: usize,
    /// How many lines it stands below the one with the offset.
    format: u8,
}

/// The bytes that lines stand for, read in one way.
pub struct Dump {
    pub text: Zeroizing<Vec<u8>>,
    kind: Kind,
    /// Where each line begins in `text`, and where its groups begin.
    lines: Vec<(usize, usize)>,
}

/// Every way to read the dumps in a text; nothing where there are none.
pub fn dumps(text: &[u8]) -> impl Iterator<Item = Dump> {
    let lines = lines(text);
    let formats = lines.iter().map(|line| line.format + 1).max().unwrap_or(0);
    let ways = (0..formats).flat_map(|format| KINDS.map(|kind| (format, kind)));
    ways.filter_map(move |(format, kind)| Dump::read(text, &lines, format, kind))
}

/// The lines of all dumps, in order. In a string the first begins with a zero, or another line comes below it: that way
/// not every quote has to be looked at.
fn lines(text: &[u8]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    // Where the line of the text began, and how far that line of a dump is indented which began in it.
    let (mut began, mut above) = (0, None);
    let mut strings = memmem::find_iter(text, b"\"0").map(|at| at + 1).peekable();
    let mut ends = memchr_iter(b'\n', text).map(|at| at + 1).peekable();
    let starts = std::iter::from_fn(|| match (strings.peek(), ends.peek()) {
        (Some(string), Some(end)) if end < string => ends.next(),
        (Some(_), _) => strings.next(),
        (None, _) => ends.next(),
    });
    for start in std::iter::once(0).chain(starts) {
        let is_string = start.checked_sub(1).is_some_and(|sign| text.get(sign) == Some(&b'"'));
        let before = if is_string { None } else { above.take() };
        let upper = if is_string { start } else { std::mem::replace(&mut began, start) };
        // The quick look: most of what begins is neither.
        if !text.get(start).is_some_and(|first| first.is_ascii_hexdigit() || is_blank(*first)) {
            continue;
        }
        let indent = blanks(text, start, if before.is_some() { *INSTEAD.end() } else { INDENT });
        let instead = before.filter(|upper| INSTEAD.contains(&(indent.saturating_sub(*upper))));
        if let (Some(upper), Some(last)) = (instead, lines.last().copied()) {
            if last.format + 1 < FORMATS {
                lines.push(Line { body: start + indent, format: last.format + 1, ..last });
                above = Some(upper);
            }
        } else if indent <= INDENT
            && let Some(line) = Line::at(text, start + indent)
        {
            if before.is_none() {
                let quotes = memrchr_iter(b'"', text.get(upper..start).unwrap_or_default());
                lines.extend(quotes.map(|at| upper + at + 1).find_map(|string| Line::at(text, string)));
            }
            lines.push(line);
            above = Some(indent);
        }
    }
    lines
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// How many there are, up to one more than `most`.
fn blanks(text: &[u8], at: usize, most: usize) -> usize {
    text.get(at..).unwrap_or_default().iter().take(most + 1).take_while(|byte| is_blank(**byte)).count()
}

/// The digits of an offset that begins here.
fn digits(text: &[u8], offset: usize) -> &[u8] {
    let rest = text.get(offset..).unwrap_or_default();
    let rest = rest.strip_prefix(b"0x").unwrap_or(rest);
    rest.get(..rest.iter().take(OFFSET.end() + 1).take_while(|byte| byte.is_ascii_hexdigit()).count())
        .unwrap_or_default()
}

impl Line {
    /// A line whose offset begins here, if there is one.
    fn at(text: &[u8], offset: usize) -> Option<Line> {
        let digits = digits(text, offset).len();
        let sign = if text.get(offset..)?.starts_with(b"0x") { 2 } else { 0 };
        let end = offset + sign + digits;
        let colon = usize::from(text.get(end) == Some(&b':'));
        let gap = blanks(text, end + colon, GAP);
        let body = end + colon + gap;
        (OFFSET.contains(&digits) && (1..=GAP).contains(&gap)).then_some(Line { offset, body, format: 0 })
    }
}

/// The groups of a line, one after another.
struct Groups<'a> {
    text: &'a [u8],
    kind: Kind,
    /// Where the next one begins, while there may be one.
    at: Option<usize>,
    /// Of the first one.
    width: Option<usize>,
    /// How many bytes there are by now.
    bytes: usize,
}

impl<'a> Groups<'a> {
    fn of(text: &'a [u8], body: usize, kind: Kind) -> Groups<'a> {
        Groups { text, kind, at: Some(body), width: None, bytes: 0 }
    }

    /// Appends the bytes of the next group, and says where it stands.
    fn next(&mut self, out: &mut Vec<u8>) -> Option<Range<usize>> {
        let start = self.at.take()?;
        let rest = self.text.get(start..).unwrap_or_default();
        let size = rest.iter().take(WIDEST + 2).take_while(|byte| !byte.is_ascii_whitespace()).count();
        let token = rest.get(..size).unwrap_or_default();
        // In JSON the text ends with a quote right behind the last group.
        let token = match self.kind {
            Kind::Characters if size == 1 => token,
            _ => token.split(|byte| *byte == b'"').next().unwrap_or_default(),
        };
        let before = out.len();
        group(self.kind, token, &mut self.width, out)?;
        self.bytes += out.len() - before;
        if self.bytes > BYTES {
            out.truncate(before);
            return None;
        }
        let end = start + token.len();
        let gap = blanks(self.text, end, GAP);
        self.at = (1..=GAP).contains(&gap).then_some(end + gap);
        Some(start..end)
    }
}

impl Dump {
    fn read(text: &[u8], lines: &[Line], format: u8, kind: Kind) -> Option<Dump> {
        // As much as there can be, so that the buffer does not move and one wipe reaches all of it.
        let most = (text.len() / 2).min(lines.len() * (BYTES + 1));
        let mut dump = Dump { text: Zeroizing::new(Vec::with_capacity(most)), kind, lines: Vec::new() };
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES + WIDEST));
        let mut last: Option<&Line> = None;
        for line in lines.iter().filter(|line| line.format == format) {
            bytes.clear();
            let mut groups = Groups::of(text, line.body, kind);
            while groups.next(&mut bytes).is_some() {}
            if bytes.is_empty() {
                continue;
            }
            match last.and_then(|last| dump.follows(text, last, line)) {
                Some(end) => dump.text.truncate(end),
                None => dump.text.push(APART),
            }
            dump.lines.push((dump.text.len(), line.body));
            dump.text.extend_from_slice(&bytes);
            last = Some(line);
        }
        last.map(|_| dump)
    }

    /// Where the bytes of the last line end if the next line is the one behind it: that many lie between their offsets,
    /// and what was read beyond them is the column of text.
    fn follows(&self, text: &[u8], last: &Line, next: &Line) -> Option<usize> {
        let (begin, body) = *self.lines.last()?;
        let had = self.text.len() - begin;
        let value =
            |line: &Line, base| usize::from_str_radix(std::str::from_utf8(digits(text, line.offset)).ok()?, base).ok();
        let between = [16, 10, 8].into_iter().filter_map(|base| value(next, base)?.checked_sub(value(last, base)?));
        let mut between = between.filter(|bytes| (1..=had).contains(bytes));
        let bytes =
            between.find(|bytes| *bytes == had || self.said(text, begin..begin + bytes, body, *bytes).is_some())?;
        Some(begin + bytes)
    }

    /// Where the column of text has said these bytes, the first of a line; nothing where there is none. It stands
    /// behind all groups, but may look like some itself.
    fn said(&self, text: &[u8], bytes: Range<usize>, body: usize, from: usize) -> Option<usize> {
        let said = Zeroizing::new(self.text.get(bytes)?.iter().map(|byte| shown(*byte)).collect::<Vec<u8>>());
        let mut groups = Groups::of(text, body, self.kind);
        let (mut scratch, mut end) = (Zeroizing::new(Vec::with_capacity(BYTES + WIDEST)), None);
        while let Some(outer) = groups.next(&mut scratch) {
            if scratch.len() >= from {
                end = column(text, outer.end, said.trim_ascii_start()).or(end);
            }
        }
        end
    }

    /// Where a place of the bytes stands in the text: of each line from its first group there to its last, with what the
    /// line repeats of it as text.
    pub fn outward(&self, text: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
        let first = self.lines.partition_point(|(begin, _)| *begin <= range.start).saturating_sub(1);
        let lines = self.lines.iter().enumerate().skip(first).take_while(|(_, (begin, _))| *begin < range.end);
        let place = |(index, (begin, body)): (usize, &(usize, usize))| {
            let next = self.lines.get(index + 1).map_or(self.text.len(), |(next, _)| *next);
            let upto = range.end.min(next);
            let mut groups = Groups::of(text, *body, self.kind);
            let mut scratch = Zeroizing::new(Vec::with_capacity(BYTES + WIDEST));
            let (mut start, mut end) = (None, *body);
            while begin + scratch.len() < upto
                && let Some(outer) = groups.next(&mut scratch)
            {
                if begin + scratch.len() > range.start {
                    start = start.or(Some(outer.start));
                }
                end = outer.end;
            }
            // Where the key goes on in the next line, so it does in a column that nobody here can read.
            let rest = || text.get(end..).unwrap_or_default().iter().take(TAIL);
            let all = (upto < range.end).then(|| end + rest().take_while(|byte| !matches!(byte, b'\n' | b'"')).count());
            let said = self.said(text, *begin..upto, *body, upto - begin).or(all);
            start.map(|start| start..said.unwrap_or(end))
        };
        lines.filter_map(place).collect()
    }
}

/// Where what a line says as text ends, if that begins behind these groups, by itself or behind a sign.
fn column(text: &[u8], groups: usize, said: &[u8]) -> Option<usize> {
    let begin = groups + blanks(text, groups, TAIL);
    let sign = usize::from(matches!(text.get(begin), Some(b'|' | b'>')));
    let behind = begin + sign + blanks(text, begin + sign, BYTES);
    let begins = |at: &usize| text.get(*at..).is_some_and(|rest| rest.starts_with(said));
    let at = [begin, behind].into_iter().find(begins).filter(|_| begin > groups)?;
    Some(at + said.len())
}

/// As the column of text has it.
fn shown(byte: u8) -> u8 {
    if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'.' }
}

/// Appends the bytes of a group. `width` is that of the first group of the line.
fn group(kind: Kind, token: &[u8], width: &mut Option<usize>, out: &mut Vec<u8>) -> Option<()> {
    let number = |digits: &[u8], base| u64::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok();
    let byte = |digits: &[u8], base| u8::try_from(number(digits, base)?).ok();
    let length = token.len();
    match kind {
        Kind::Hex | Kind::Swapped => {
            let token = token.strip_prefix(b"0x").unwrap_or(token);
            let first = *width.get_or_insert(token.len());
            if token.is_empty() || token.len() > first.min(WIDEST) || !token.len().is_multiple_of(2) {
                return None;
            }
            // A sign is no digit; and of bytes alone there is one way to read them.
            if !token.iter().all(u8::is_ascii_hexdigit) || (kind == Kind::Swapped && first <= 2) {
                return None;
            }
            let bytes = token.chunks_exact(2).filter_map(|digits| byte(digits, 16));
            if kind == Kind::Swapped {
                out.extend(bytes.rev());
            } else {
                out.extend(bytes);
            }
        }
        Kind::Octal if length == 3 => out.push(byte(token, 8)?),
        Kind::Octal if length == 6 => out.extend(u16::try_from(number(token, 8)?).ok()?.to_le_bytes()),
        Kind::Decimal if length <= 3 => out.push(byte(token, 10)?),
        Kind::Characters => out.push(match token {
            [one] if one.is_ascii_graphic() => *one,
            // An escape or a name stands for nothing that a key can have.
            [b'\\', _] | [b'a'..=b'z', _] => 0,
            [_, _, _] if token.iter().all(u8::is_ascii_alphanumeric) => 0,
            _ => return None,
        }),
        Kind::Octal | Kind::Decimal => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests;
