//! What `xxd`, `hexdump`, `od` and debuggers print: lines of an offset, the bytes in groups, and often the same as text.
//! The columns stand between the parts of a key, so it is looked for in the bytes that the lines stand for.
//!
//! Invariant: one pass over a text finds its lines, and what is read of a line is bounded; a text without such lines costs
//! the search for its line ends and quotes.

use std::ops::Range;

use memchr::{memchr, memmem};
use zeroize::Zeroizing;

/// Digits of an offset.
const OFFSET: std::ops::RangeInclusive<usize> = 4..=16;
/// Before an offset, and between two columns; what is wider is a line that ends early.
const GAP: usize = 8;
/// Bytes in a line, which is more than any of these programs prints.
const BYTES: usize = 256;
/// The part of a line behind its groups.
const TAIL: usize = 2 * BYTES;
/// Digits of a group.
const WIDEST: usize = 16;
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

/// A line that begins with an offset.
struct Line {
    offset: Range<usize>,
    /// Where its groups begin.
    body: usize,
    /// It goes on where the line before it ended.
    follows: bool,
}

/// The bytes that lines stand for, read in one way.
pub struct Dump {
    pub text: Zeroizing<Vec<u8>>,
    /// Where each group begins in `text`, and where it stands.
    groups: Vec<(usize, Range<usize>)>,
    /// Where each line begins in `text`, and where its groups end.
    lines: Vec<(usize, usize)>,
}

/// How a dump begins: at the start of a line or of a text in JSON, or indented. Offsets are filled up with zeros; what
/// comes behind the first line of a dump is followed whatever it begins with.
const BEGINS: [&[u8]; 4] = [b"\n0", b"\"0", b" 0000", b"\t0"];

/// Every way to read the dumps in a text; nothing where there are none.
pub fn dumps(text: &[u8]) -> impl Iterator<Item = Dump> {
    let lines = lines(text);
    let kinds = if lines.is_empty() { &[][..] } else { &KINDS[..] };
    kinds.iter().filter_map(move |kind| Dump::read(text, &lines, *kind))
}

/// The lines of all dumps, in order.
fn lines(text: &[u8]) -> Vec<Line> {
    let begins = BEGINS.iter().flat_map(|begins| memmem::find_iter(text, begins).map(|at| at + 1));
    let mut begins: Vec<usize> =
        text.first().filter(|first| **first == b'0').map(|_| 0).into_iter().chain(begins).collect();
    begins.sort_unstable();
    let (mut lines, mut upto): (Vec<Line>, usize) = (Vec::new(), 0);
    for begin in begins {
        let mut next = (begin >= upto).then_some((begin, false));
        while let Some((start, follows)) = next {
            let Some((offset, body)) = offset(text, start) else { break };
            lines.push(Line { offset, body, follows });
            upto = body;
            let rest = text.get(body..text.len().min(body + BYTES * 5 + TAIL)).unwrap_or_default();
            next = memchr(b'\n', rest).map(|end| (body + end + 1, true));
        }
    }
    lines
}

fn gap(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().take(GAP + 1).take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// The digits of an offset, and where what follows begins.
fn offset(text: &[u8], start: usize) -> Option<(Range<usize>, usize)> {
    let mut at = start + gap(text, start);
    if text.get(at..)?.starts_with(b"0x") {
        at += 2;
    }
    let digits = text.get(at..)?.iter().take(OFFSET.end() + 1).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let end = at + digits;
    let colon = usize::from(text.get(end) == Some(&b':'));
    let gap = gap(text, end + colon);
    (OFFSET.contains(&digits) && (1..=GAP).contains(&gap)).then_some((at..end, end + colon + gap))
}

impl Dump {
    fn read(text: &[u8], lines: &[Line], kind: Kind) -> Option<Dump> {
        let mut dump = Dump { text: Zeroizing::default(), groups: Vec::new(), lines: Vec::new() };
        let (mut length, mut any) = (0, false);
        for (n, line) in lines.iter().enumerate() {
            if !line.follows {
                dump.groups.push((length, line.body..line.body));
                length += 1;
            }
            let (begin, first) = (length, dump.groups.len());
            let end = dump.line(text, line.body, kind, &mut length);
            dump.lines.push((begin, end));
            // What is read beyond the bytes that the next line begins behind is text.
            let next = lines.get(n + 1).filter(|next| next.follows);
            if let Some(bytes) = next.and_then(|next| between(text, line, next, length - begin)) {
                length = begin + bytes;
                let kept = dump.groups.iter().skip(first).filter(|(at, _)| *at < length).count();
                dump.groups.truncate(first + kept);
            }
            any |= length > begin;
        }
        any.then(|| dump.filled(text, kind, length))
    }

    /// With the bytes of its groups: as many as are known by now, so that the buffer does not move and one wipe reaches
    /// all of it.
    fn filled(mut self, text: &[u8], kind: Kind, length: usize) -> Dump {
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        for (n, (begin, outer)) in self.groups.iter().enumerate() {
            let end = self.groups.get(n + 1).map_or(length, |(next, _)| *next);
            let mut read = [APART; 8];
            group(kind, text.get(outer.clone()).unwrap_or_default(), &mut Some(WIDEST), &mut read);
            bytes.extend_from_slice(read.get(..end - begin).unwrap_or_default());
        }
        self.text = bytes;
        self
    }

    /// Finds the groups of a line, and says where they end.
    fn line(&mut self, text: &[u8], body: usize, kind: Kind, length: &mut usize) -> usize {
        let (begin, mut at, mut end, mut width) = (*length, body, body, None);
        loop {
            let start = at;
            let rest = text.get(start..).unwrap_or_default();
            let size = rest.iter().take(WIDEST + 2).take_while(|byte| !byte.is_ascii_whitespace()).count();
            let token = rest.get(..size).unwrap_or_default();
            // In JSON the text ends with a quote right behind the last group.
            let token = match kind {
                Kind::Characters if size == 1 => token,
                _ => token.split(|byte| *byte == b'"').next().unwrap_or_default(),
            };
            let Some(count) = group(kind, token, &mut width, &mut [0; 8]) else { return end };
            if *length - begin + count > BYTES {
                return end;
            }
            end = start + token.len();
            self.groups.push((*length, start..end));
            *length += count;
            let gap = gap(text, end);
            if !(1..=GAP).contains(&gap) {
                return end;
            }
            at = end + gap;
        }
    }

    /// Where a place of the bytes stands in the text, with what the last line repeats of it as text.
    pub fn outward(&self, text: &[u8], range: Range<usize>) -> Range<usize> {
        let group = |at: usize| {
            let after = self.groups.partition_point(|(begin, _)| *begin <= at);
            after.checked_sub(1).and_then(|index| self.groups.get(index)).map_or(0..0, |(_, outer)| outer.clone())
        };
        let last = range.end.saturating_sub(1);
        let (start, end) = (group(range.start).start, group(last).end);
        let after = self.lines.partition_point(|(begin, _)| *begin <= last);
        let Some((begin, groups_end)) = after.checked_sub(1).and_then(|index| self.lines.get(index)) else {
            return start..end;
        };
        let said: Zeroizing<Vec<u8>> = Zeroizing::new(
            self.text.get(*begin..range.end).unwrap_or_default().iter().map(|byte| shown(*byte)).collect(),
        );
        let tail = text.get(*groups_end..text.len().min(groups_end + TAIL)).unwrap_or_default();
        let tail = memchr(b'\n', tail).map_or(Some(tail), |end| tail.get(..end)).unwrap_or_default();
        let repeated = memmem::find(tail, &said).map(|at| groups_end + at + said.len());
        start..repeated.unwrap_or(end)
    }
}

/// As the column of text has it.
fn shown(byte: u8) -> u8 {
    if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'.' }
}

/// How many bytes lie between the offsets of two lines, in the base in which that is most and not more than there are.
fn between(text: &[u8], line: &Line, next: &Line, had: usize) -> Option<usize> {
    let value = |line: &Line, base| {
        let digits = std::str::from_utf8(text.get(line.offset.clone())?).ok()?;
        usize::from_str_radix(digits, base).ok()
    };
    let bases = [16, 10, 8].into_iter();
    bases
        .filter_map(|base| value(next, base)?.checked_sub(value(line, base)?))
        .filter(|bytes| (1..=had).contains(bytes))
        .max()
}

/// The bytes of a group. `width` is that of the first group of the line.
fn group(kind: Kind, token: &[u8], width: &mut Option<usize>, out: &mut [u8; 8]) -> Option<usize> {
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
            let count = token.len() / 2;
            let bytes = out.get_mut(..count)?;
            for (to, digits) in bytes.iter_mut().zip(token.chunks_exact(2)) {
                // A sign is no digit.
                *to = byte(digits, 16).filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
            }
            if kind == Kind::Swapped {
                // Of bytes alone there is one way to read them.
                (first > 2).then(|| bytes.reverse())?;
            }
            Some(count)
        }
        Kind::Octal if length == 3 => {
            *out.first_mut()? = byte(token, 8)?;
            Some(1)
        }
        Kind::Octal if length == 6 => {
            let word = u16::try_from(number(token, 8)?).ok()?;
            out.get_mut(..2)?.copy_from_slice(&word.to_le_bytes());
            Some(2)
        }
        Kind::Decimal if length <= 3 => {
            *out.first_mut()? = byte(token, 10)?;
            Some(1)
        }
        Kind::Characters => {
            *out.first_mut()? = match token {
                [one] if one.is_ascii_graphic() => *one,
                // An escape or a name stands for nothing that a key can have.
                [b'\\', _] | [b'a'..=b'z', _] => 0,
                [_, _, _] if token.iter().all(u8::is_ascii_alphanumeric) => 0,
                _ => return None,
            };
            Some(1)
        }
        Kind::Octal | Kind::Decimal => None,
    }
}

#[cfg(test)]
mod tests;
