//! Texts with an encoding undone, or with what was broken put together, and the way back to what they were made from.

use std::ops::Range;

use zeroize::Zeroizing;

/// So long a line of base64 is, at least, that what comes behind its end goes on with it. Shorter ones are words.
const RUN: usize = 8;
/// The longest break: the end of a line and what the next one is indented by.
const BREAK: usize = 64;
/// Stands between what does not belong together. In no key: those are ASCII.
const APART: u8 = 0xFF;

/// A text with one kind of encoding undone, and how to find the way back.
pub struct View {
    pub text: Zeroizing<Vec<u8>>,
    /// The escapes, in order.
    steps: Vec<Step>,
}

/// One escape: where it begins and ends, in the view and in the text that the view was made from.
struct Step {
    inner: Range<usize>,
    outer: Range<usize>,
}

impl View {
    /// JSON string escapes undone; nothing where there are none.
    pub fn json(text: &[u8]) -> Option<View> {
        View::undo(text, b'\\', |rest| {
            let plain = match rest.get(1)? {
                letter @ (b'"' | b'\\' | b'/') => *letter,
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 8,
                b'f' => 12,
                b'u' => {
                    let unit = rest.get(2..6)?.iter().try_fold(0, |unit, digit| Some(unit << 4 | hex(*digit)?))?;
                    // Half a pair stands for nothing that a key can have.
                    return Some((char::from_u32(unit).unwrap_or('?'), 6));
                }
                _ => return None,
            };
            Some((char::from(plain), 2))
        })
    }

    /// Percent-encoding undone; nothing where there is none. Keys are ASCII: other bytes stay as they are.
    pub fn percent(text: &[u8]) -> Option<View> {
        View::undo(text, b'%', |rest| {
            let byte = hex(*rest.get(1)?)? << 4 | hex(*rest.get(2)?)?;
            char::from_u32(byte).filter(char::is_ascii).map(|plain| (plain, 3))
        })
    }

    /// What was broken into lines or groups, in one again: a line of at least [`RUN`] characters of base64 with whatever
    /// comes behind the break, and hex in whole bytes. Nothing where nothing was; and nothing else of the text.
    pub fn joined(text: &[u8]) -> Option<View> {
        // The quick look: in most texts no run is followed by what a break begins with.
        if !text.iter().zip(text.iter().skip(1)).any(|(run, next)| may_break(*next) && in_code(run)) {
            return None;
        }
        let mut view: Option<View> = None;
        // Where the last run was, and whether the view ends with it; how far the view goes in the text.
        let (mut last, mut open, mut upto) = (0..0, false, 0);
        let mut at = 0;
        while let Some(next) = text.get(at..).and_then(|rest| rest.iter().position(in_code)) {
            let start = at + next;
            let run = text.get(start..).map_or(0, |rest| rest.iter().take_while(|byte| in_code(byte)).count());
            let here = start..start + run;
            let joins = !last.is_empty() && is_break(text, &last, &here);
            if joins {
                let view = view.get_or_insert_with(|| View {
                    // The mark of a beginning takes the place of a break: the view is no longer than the text, and one.
                    text: Zeroizing::new(Vec::with_capacity(text.len() + 1)),
                    steps: Vec::new(),
                });
                if !open {
                    let inner = view.text.len();
                    view.text.push(APART);
                    view.steps.push(Step { inner: inner..inner + 1, outer: upto..last.start });
                    view.text.extend_from_slice(text.get(last.clone()).unwrap_or_default());
                }
                let inner = view.text.len();
                view.steps.push(Step { inner: inner..inner, outer: last.end..here.start });
                view.text.extend_from_slice(text.get(here.clone()).unwrap_or_default());
                upto = here.end;
            }
            open = joins;
            at = here.end;
            last = here;
        }
        view
    }

    /// `read` gets the text from an escape's first byte on, and answers what it stands for and how long it is.
    fn undo(text: &[u8], sign: u8, read: impl Fn(&[u8]) -> Option<(char, usize)>) -> Option<View> {
        // The quick look: most texts have none.
        if !text.contains(&sign) {
            return None;
        }
        let mut view: Option<View> = None;
        let (mut at, mut copied) = (0, 0);
        while let Some(next) = text.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == sign)) {
            at += next;
            let Some((plain, length)) = text.get(at..).and_then(&read) else {
                at += 1;
                continue;
            };
            let view = view.get_or_insert_with(|| View {
                // Undoing never makes a text longer: the buffer does not move, and one wipe reaches all of it.
                text: Zeroizing::new(Vec::with_capacity(text.len())),
                steps: Vec::new(),
            });
            view.text.extend_from_slice(text.get(copied..at).unwrap_or_default());
            let inner = view.text.len();
            view.text.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
            view.steps.push(Step { inner: inner..view.text.len(), outer: at..at + length });
            at += length;
            copied = at;
        }
        let mut view = view?;
        view.text.extend_from_slice(text.get(copied..).unwrap_or_default());
        Some(view)
    }

    /// A place of the view in the text it was made from; an escape is only ever taken whole.
    pub fn outward(&self, range: Range<usize>) -> Range<usize> {
        let last = range.end.saturating_sub(1);
        self.place(range.start).start..self.place(last).end
    }

    fn place(&self, at: usize) -> Range<usize> {
        let after = self.steps.partition_point(|step| step.inner.start <= at);
        match after.checked_sub(1).and_then(|index| self.steps.get(index)) {
            None => at..at + 1,
            Some(step) if at < step.inner.end => step.outer.clone(),
            Some(step) => {
                let outer = step.outer.end + (at - step.inner.end);
                outer..outer + 1
            }
        }
    }
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

/// Whether a text goes on behind what lies between two runs of it.
fn is_break(text: &[u8], left: &Range<usize>, right: &Range<usize>) -> bool {
    let Some(between) = text.get(left.end..right.start).filter(|between| between.len() <= BREAK) else { return false };
    let bytes = || [left, right].into_iter().all(|run| text.get(run.clone()).is_some_and(is_bytes));
    if between.iter().all(u8::is_ascii_whitespace) {
        return left.len() >= RUN || bytes();
    }
    between.iter().all(|byte| may_break(*byte)) && bytes()
}

/// What breaks are made of.
fn may_break(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b':'
}

/// Characters of base64, in both alphabets; those of hex are among them.
fn in_code(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Hex digits of whole bytes.
fn is_bytes(run: &[u8]) -> bool {
    run.len().is_multiple_of(2) && run.iter().all(u8::is_ascii_hexdigit)
}
