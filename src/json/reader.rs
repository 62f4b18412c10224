//! The strict reader: grammar, ambiguities and limits in one pass over the text. The only judge of what a
//! [`JsonText`](super::JsonText) may hold.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Fault, JsonError, RESERVED, Rules, decode};

/// Reads one value and nothing else. The minified text, where it differs from the one that was read.
pub(super) fn minified(text: &str, rules: Rules) -> Result<Option<String>, JsonError> {
    let mut reader = Reader { text, at: 0, depth: 0, rules, out: None, copied: 0 };
    reader.space();
    reader.value()?;
    reader.space();
    if reader.at != text.len() {
        return Err(reader.fault(Fault::Trailing));
    }
    Ok(reader.finish())
}

/// The one reader: checks the grammar and the rules, and copies only where whitespace or a line separator has to go.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    rules: Rules,
    out: Option<String>,
    copied: usize,
}

impl<'a> Reader<'a> {
    fn fault(&self, fault: Fault) -> JsonError {
        JsonError { fault, offset: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// Leaves out the bytes from here to `to`, writing `instead` for them.
    fn replace(&mut self, to: usize, instead: &str) {
        let text = self.text;
        let out = self.out.get_or_insert_with(|| String::with_capacity(text.len()));
        out.push_str(text.get(self.copied..self.at).unwrap_or(""));
        out.push_str(instead);
        self.copied = to;
        self.at = to;
    }

    fn finish(self) -> Option<String> {
        let mut out = self.out?;
        out.push_str(self.text.get(self.copied..).unwrap_or(""));
        Some(out)
    }

    fn space(&mut self) {
        let mut to = self.at;
        while matches!(self.text.as_bytes().get(to), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            to += 1;
        }
        if to > self.at {
            self.replace(to, "");
        }
    }

    fn value(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.nested(Reader::object),
            Some(b'[') => self.nested(Reader::array),
            Some(b'"') => self.string(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.fault(Fault::Syntax)),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        if self.depth == self.rules.max_depth {
            return Err(self.fault(Fault::Depth));
        }
        self.depth += 1;
        self.at += 1;
        read(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self) -> Result<(), JsonError> {
        let mut keys = Keys::default();
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fault(Fault::Syntax));
            }
            self.string()?;
            let key = decode(self.text.get(start + 1..self.at - 1).unwrap_or(""));
            if key.starts_with(RESERVED) {
                return Err(JsonError { fault: Fault::ReservedKey, offset: start });
            }
            if let Err(fault) = keys.add(key, self.rules.refuse_case_collisions) {
                return Err(JsonError { fault, offset: start });
            }
            self.space();
            if !self.take(b':') {
                return Err(self.fault(Fault::Syntax));
            }
            self.space();
            self.value()?;
            self.space();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.fault(Fault::Syntax));
            }
            self.space();
        }
    }

    fn array(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value()?;
            self.space();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.fault(Fault::Syntax));
            }
            self.space();
        }
    }

    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        if self.text.as_bytes().get(self.at..self.at + word.len()) != Some(word.as_bytes()) {
            return Err(self.fault(Fault::Syntax));
        }
        self.at += word.len();
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            self.at += plain(bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0xC2 | 0xE2) => self.line_separator(),
                Some(_) => return Err(self.fault(Fault::Control)),
                None => return Err(self.fault(Fault::Syntax)),
            }
        }
    }

    /// Some line readers end a line at these three characters: they are written as escapes.
    fn line_separator(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or("");
        match rest.chars().next() {
            Some('\u{85}') => self.replace(self.at + 2, "\\u0085"),
            Some('\u{2028}') => self.replace(self.at + 3, "\\u2028"),
            Some('\u{2029}') => self.replace(self.at + 3, "\\u2029"),
            _ => self.at += 1,
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let first = self.hex(start + 2)?;
                self.at += 6;
                let is_high = (0xD800..0xDC00).contains(&first);
                if (0xDC00..0xE000).contains(&first) {
                    return Err(JsonError { fault: Fault::Surrogate, offset: start });
                }
                if is_high {
                    let escaped = self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u");
                    let second = if escaped { self.hex(self.at + 2)? } else { 0 };
                    if !(0xDC00..0xE000).contains(&second) {
                        return Err(JsonError { fault: Fault::Surrogate, offset: start });
                    }
                    self.at += 6;
                }
            }
            _ => return Err(self.fault(Fault::Syntax)),
        }
        Ok(())
    }

    fn hex(&self, at: usize) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(at..at + 4).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let value =
            digits.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        value.ok_or(JsonError { fault: Fault::Syntax, offset: at })
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.fault(Fault::Syntax)) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let mut integer = true;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            integer = false;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            integer = false;
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        if self.rules.refuse_inexact_numbers {
            let spelling = self.text.get(start..self.at).unwrap_or("");
            let exact = if integer {
                spelling.parse::<i64>().is_ok() || spelling.parse::<u64>().is_ok()
            } else {
                is_exact_decimal(spelling)
            };
            if !exact {
                return Err(JsonError { fault: Fault::InexactNumber, offset: start });
            }
        }
        Ok(())
    }
}

/// How many bytes of a string come before one that has to be looked at. Most strings are short, and are read byte by
/// byte; what is longer goes block by block, so that the common case is vectorized and a text full of special characters
/// costs no more than its length.
fn plain(bytes: &[u8]) -> usize {
    const SHORT: usize = 24;
    const BLOCK: usize = 64;
    let (short, long) = bytes.split_at_checked(SHORT).unwrap_or((bytes, &[]));
    if let Some(at) = short.iter().position(|&byte| is_special(byte)) {
        return at;
    }
    let mut at = short.len();
    for block in long.chunks(BLOCK) {
        if block.iter().fold(false, |found, &byte| found | is_special(byte)) {
            return at + block.iter().position(|&byte| is_special(byte)).unwrap_or(0);
        }
        at += block.len();
    }
    at
}

/// What ends a string or may not stand in one: quotes, escapes, control characters, and the first bytes of the
/// characters that some readers take for a line end.
fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte == 0xC2) | (byte == 0xE2)
}

/// True where reading the spelling as a double and writing the double gives the same decimal value.
fn is_exact_decimal(spelling: &str) -> bool {
    let Ok(double) = spelling.parse::<f64>() else { return false };
    double.is_finite() && decimal(spelling) == decimal(&format!("{double:e}"))
}

/// Significant digits without zeros at either end, and the power of ten of the first of them.
fn decimal(spelling: &str) -> Option<(String, i64)> {
    let unsigned = spelling.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some((String::new(), 0));
    }
    let dropped = i64::try_from(digits.len() - significant.len()).ok()?;
    let first = i64::try_from(whole.len()).ok()? - dropped;
    let power = first.checked_add(exponent.parse().ok()?)?;
    Some((significant.trim_end_matches('0').to_owned(), power))
}

/// The decoded keys of one object so far.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<String>,
    folded: HashSet<String>,
}

impl<'a> Keys<'a> {
    const FEW: usize = 16;

    fn add(&mut self, key: Cow<'a, str>, fold: bool) -> Result<(), Fault> {
        if self.many.is_empty() {
            for seen in &self.few {
                if *seen == key {
                    return Err(Fault::DuplicateKey);
                }
                if fold && same_folded(seen, &key) {
                    return Err(Fault::CaseCollision);
                }
            }
            self.few.push(key);
            if self.few.len() > Keys::FEW {
                for seen in std::mem::take(&mut self.few) {
                    self.folded.insert(fold_case(&seen));
                    self.many.insert(seen.into_owned());
                }
            }
            return Ok(());
        }
        if self.many.contains(key.as_ref()) {
            return Err(Fault::DuplicateKey);
        }
        if !self.folded.insert(fold_case(&key)) && fold {
            return Err(Fault::CaseCollision);
        }
        self.many.insert(key.into_owned());
        Ok(())
    }
}

fn same_folded(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() { a.eq_ignore_ascii_case(b) } else { fold_case(a) == fold_case(b) }
}

/// Lower case, and the two letters that fold into ASCII: the long s and the Kelvin sign.
fn fold_case(key: &str) -> String {
    key.chars().flat_map(char::to_lowercase).map(|c| if c == 'ſ' { 's' } else { c }).collect()
}
