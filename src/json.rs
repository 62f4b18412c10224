//! Strict JSON text: one validated, minified value that keeps key order and the spelling of every number and string.
//!
//! Everything that is judged, hashed, shown or sent is a view of a [`JsonText`]. There is no tree that could be
//! written differently from how it was read. What may not live here: anything that knows about JSON-RPC or MCP.
//!
//! Invariant: the text inside a [`JsonText`] has passed [`JsonText::parse`], so the views below may scan without
//! checking again. Two reasonable parsers read it the same way: no duplicate keys at any depth, no lone surrogates,
//! nothing that a line reader could take for a line end.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a text must satisfy beyond the grammar.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Deepest nesting of objects and arrays.
    pub max_depth: usize,
    /// Refuse two keys of one object that differ only in case (a reader that folds case would see a duplicate).
    pub refuse_case_collisions: bool,
    /// Refuse numbers that a 64-bit reader would change: integers beyond 64 bits, decimals beyond a double.
    pub refuse_inexact_numbers: bool,
}

impl Rules {
    /// For text that is judged: whatever a client sends.
    pub const CLIENT: Rules = Rules { max_depth: 64, refuse_case_collisions: true, refuse_inexact_numbers: true };
    /// For text that is passed on to the client: whatever an upstream answers.
    pub const UPSTREAM: Rules = Rules { max_depth: 128, refuse_case_collisions: false, refuse_inexact_numbers: false };
}

/// Why a text is not strict JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("invalid UTF-8")]
    Utf8,
    #[error("invalid JSON")]
    Syntax,
    #[error("text after the end of the JSON value")]
    Trailing,
    #[error("a string with a raw control character")]
    Control,
    #[error("a lone surrogate escape")]
    Surrogate,
    #[error("nesting deeper than the limit")]
    Depth,
    #[error("a duplicate key")]
    DuplicateKey,
    #[error("two keys that differ only in case")]
    CaseCollision,
    #[error("a number that a 64-bit reader would change")]
    InexactNumber,
}

impl Fault {
    /// True where the text is JSON, but one that two readers could take differently.
    pub fn is_ambiguity(self) -> bool {
        matches!(self, Fault::DuplicateKey | Fault::CaseCollision | Fault::InexactNumber | Fault::Depth)
    }
}

/// A [`Fault`] and the byte offset where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}")]
pub struct JsonError {
    pub fault: Fault,
    pub offset: usize,
}

/// One strict JSON value, minified. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsonText(Arc<String>);

impl JsonText {
    /// Reads one value and nothing else.
    ///
    /// # Errors
    /// The first [`Fault`] and where it is. The input is at most as long as the caller allowed: sizes are checked before.
    pub fn parse(input: impl Into<Vec<u8>>, rules: Rules) -> Result<JsonText, JsonError> {
        let text = String::from_utf8(input.into())
            .map_err(|error| JsonError { fault: Fault::Utf8, offset: error.utf8_error().valid_up_to() })?;
        let mut reader = Reader { text: &text, at: 0, depth: 0, rules, out: None, copied: 0 };
        reader.space();
        reader.value()?;
        reader.space();
        if reader.at != text.len() {
            return Err(reader.fault(Fault::Trailing));
        }
        let minified = reader.finish();
        Ok(JsonText(Arc::new(minified.unwrap_or(text))))
    }

    /// The text of a value of ours. Anything `serde_json` can write is strict, except for raw line separators, which
    /// this escapes.
    ///
    /// # Errors
    /// Where the value cannot be written as JSON, or holds a key twice.
    pub fn of(value: &impl Serialize) -> Result<JsonText, JsonError> {
        let text = serde_json::to_string(value).map_err(|_| JsonError { fault: Fault::Syntax, offset: 0 })?;
        JsonText::parse(text, Rules::UPSTREAM)
    }

    /// `{}`.
    pub fn empty_object() -> JsonText {
        JsonText(Arc::new("{}".to_owned()))
    }

    /// A value that stands inside this one, as a text of its own.
    pub fn owned(view: Json<'_>) -> JsonText {
        JsonText(Arc::new(view.0.to_owned()))
    }

    /// The members of an object view without those named, in order.
    pub fn without(object: Json<'_>, names: &[&str]) -> JsonText {
        let mut out = String::with_capacity(object.0.len());
        out.push('{');
        for (key, value) in object.members() {
            if key.as_str().is_some_and(|key| names.contains(&key.as_ref())) {
                continue;
            }
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(key.0);
            out.push(':');
            out.push_str(value.0);
        }
        out.push('}');
        JsonText(Arc::new(out))
    }

    /// The same text with one part of it written otherwise; nothing where the result would not be strict, or where the
    /// part is not of this text.
    pub fn replaced(&self, part: Json<'_>, with: &str) -> Option<JsonText> {
        let start = (part.0.as_ptr() as usize).checked_sub(self.0.as_ptr() as usize)?;
        let before = self.0.get(..start)?;
        let after = self.0.get(start.checked_add(part.0.len())?..)?;
        JsonText::parse(format!("{before}{with}{after}"), Rules::UPSTREAM).ok()
    }

    pub fn view(&self) -> Json<'_> {
        Json(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes without a copy.
    pub fn into_bytes(self) -> bytes::Bytes {
        bytes::Bytes::from_owner(Owner(self.0))
    }

    /// The bytes and one line feed: a line of a stdio transport.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.0.len() + 1);
        line.extend_from_slice(self.0.as_bytes());
        line.push(b'\n');
        line
    }
}

struct Owner(Arc<String>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for JsonText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw =
            serde_json::value::RawValue::from_string(self.0.as_str().to_owned()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<JsonText, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        JsonText::parse(raw.get().as_bytes(), Rules::UPSTREAM).map_err(serde::de::Error::custom)
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// A token of a value, in the order of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// One of `{ } [ ] , :`.
    Mark(char),
    /// A key or a value that is not a container.
    Scalar(Json<'a>),
}

/// A value inside a [`JsonText`]. The key of a member is a view of kind string.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// The exact spelling.
    pub fn text(self) -> &'a str {
        self.0
    }

    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The members of an object, in order; nothing for any other kind.
    pub fn members(self) -> impl Iterator<Item = (Json<'a>, Json<'a>)> {
        let mut rest = if self.kind() == Kind::Object { inside(self.0) } else { "" };
        std::iter::from_fn(move || {
            let (key, after) = split_value(rest)?;
            let (value, after) = split_value(after.strip_prefix(':')?)?;
            rest = after.strip_prefix(',').unwrap_or(after);
            Some((Json(key), Json(value)))
        })
    }

    /// The items of an array, in order; nothing for any other kind.
    pub fn items(self) -> impl Iterator<Item = Json<'a>> {
        let mut rest = if self.kind() == Kind::Array { inside(self.0) } else { "" };
        std::iter::from_fn(move || {
            let (item, after) = split_value(rest)?;
            rest = after.strip_prefix(',').unwrap_or(after);
            Some(Json(item))
        })
    }

    /// The member of an object by its decoded key.
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        self.members().find(|(key, _)| key.as_str().is_some_and(|key| key == name)).map(|(_, value)| value)
    }

    /// The value at a JSON pointer (RFC 6901); the empty pointer is the value itself.
    pub fn pointer(self, pointer: &str) -> Option<Json<'a>> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |value, step| {
            let step = step.replace("~1", "/").replace("~0", "~");
            match value.kind() {
                Kind::Object => value.get(&step),
                Kind::Array => value.items().nth(step.parse().ok()?),
                Kind::String | Kind::Number | Kind::Bool | Kind::Null => None,
            }
        })
    }

    /// The tokens, in one pass: walking the tree instead reads the inner text again at every level.
    pub fn tokens(self) -> impl Iterator<Item = Token<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            let end = match first {
                '{' | '}' | '[' | ']' | ',' | ':' => 1,
                '"' => string_end(rest.as_bytes(), 1)?,
                _ => rest.find([',', '}', ']']).unwrap_or(rest.len()),
            };
            let (token, after) = rest.split_at_checked(end)?;
            rest = after;
            Some(if "{}[],:".contains(first) { Token::Mark(first) } else { Token::Scalar(Json(token)) })
        })
    }

    /// The decoded string; nothing for any other kind.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(decode(inner))
    }

    /// The integer, where the value is one that fits. `1.0` and `1e2` are not spelled as integers.
    pub fn as_i64(self) -> Option<i64> {
        self.0.parse().ok()
    }

    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Writes the value with the keys of every object sorted by their decoded form and every spelling kept.
    /// This is the form that digests are taken of.
    pub fn write_sorted(self, out: &mut String) {
        match self.kind() {
            Kind::Object => {
                let mut members: Vec<_> =
                    self.members().map(|(key, value)| (key.as_str().unwrap_or_default(), key, value)).collect();
                members.sort_by(|a, b| a.0.cmp(&b.0));
                out.push('{');
                for (n, (_, key, value)) in members.into_iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    out.push_str(key.0);
                    out.push(':');
                    value.write_sorted(out);
                }
                out.push('}');
            }
            Kind::Array => {
                out.push('[');
                for (n, item) in self.items().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write_sorted(out);
                }
                out.push(']');
            }
            Kind::String | Kind::Number | Kind::Bool | Kind::Null => out.push_str(self.0),
        }
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn inside(container: &str) -> &str {
    container.get(1..container.len().saturating_sub(1)).unwrap_or("")
}

/// Splits the first value off a sequence in strict text.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at + 1)?;
                if depth == 0 {
                    return text.split_at_checked(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return text.split_at_checked(at + 1);
                }
            }
            b',' | b':' => {}
            _ if depth == 0 => {
                let end = bytes.iter().skip(at).position(|byte| matches!(byte, b',' | b'}' | b']' | b':'));
                return text.split_at_checked(end.map_or(text.len(), |end| at + end));
            }
            _ => {}
        }
        at += 1;
    }
}

/// The index after the closing quote of a string whose first character is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The characters of a string token without its quotes.
fn decode(inner: &str) -> Cow<'_, str> {
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let (character, used) = unicode_escape(after.get(1..).unwrap_or(""));
                out.push(character);
                rest = after.get(1 + used..).unwrap_or("");
                continue;
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character of `XXXX` or `XXXX\uXXXX`, and how many bytes it took. Strict text has no other form.
fn unicode_escape(text: &str) -> (char, usize) {
    let unit = |from: usize| text.get(from..from + 4).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let first = unit(0);
    if (0xD800..0xDC00).contains(&first) {
        let second = unit(6);
        let scalar = 0x1_0000 + ((first - 0xD800) << 10) + second.saturating_sub(0xDC00);
        return (char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
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
            let rest = bytes.get(self.at..).unwrap_or_default();
            let open = JsonError { fault: Fault::Syntax, offset: bytes.len() };
            let end = self.at + memchr::memchr2(b'"', b'\\', rest).ok_or(open)?;
            self.plain(end)?;
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Ok(());
            }
            self.escape()?;
        }
    }

    /// Characters of a string up to a quote or an escape. Block by block, so that the common case is vectorized and a
    /// text full of special characters costs no more than its length.
    fn plain(&mut self, end: usize) -> Result<(), JsonError> {
        const BLOCK: usize = 64;
        let bytes = self.text.as_bytes();
        while self.at < end {
            let block = bytes.get(self.at..end.min(self.at + BLOCK)).unwrap_or_default();
            if !block.iter().fold(false, |found, &byte| found | is_special(byte)) {
                self.at += block.len();
                continue;
            }
            self.at += block.iter().position(|&byte| is_special(byte)).unwrap_or(0);
            match self.peek() {
                Some(0xC2 | 0xE2) => self.line_separator(),
                _ => return Err(self.fault(Fault::Control)),
            }
        }
        Ok(())
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

/// Control characters, and the first bytes of the characters that some readers take for a line end.
fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == 0xC2) | (byte == 0xE2)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Fault> {
        JsonText::parse(text, Rules::CLIENT).map(|json| json.as_str().to_owned()).map_err(|error| error.fault)
    }

    #[test]
    fn tokens_are_the_text_cut_up() {
        for text in [r#"{"a":[1,-2.5e3,"x\",\"]}"],"b":{},"c":null}"#, "true", r#""\\""#, "[]"] {
            let json = JsonText::parse(text, Rules::CLIENT).unwrap();
            let tokens: Vec<_> = json.view().tokens().collect();
            let joined: String = tokens
                .iter()
                .map(|token| match token {
                    Token::Mark(mark) => mark.to_string(),
                    Token::Scalar(scalar) => scalar.text().to_owned(),
                })
                .collect();
            assert_eq!(joined, text);
            let nested =
                tokens.iter().any(|token| matches!(token, Token::Scalar(scalar) if scalar.kind() == Kind::Object));
            assert!(!nested);
        }
    }

    #[test]
    fn spelling_and_order_survive_and_whitespace_goes() {
        let text = "{ \"b\" : [1.50e+01 , -0, 1E2],\n\t\"a\":\"\\u0061\\/é\" }";
        assert_eq!(read(text).unwrap(), r#"{"b":[1.50e+01,-0,1E2],"a":"\u0061\/é"}"#);
        assert_eq!(read("{\"a\":[]}").unwrap(), "{\"a\":[]}");
    }

    #[test]
    fn line_separators_become_escapes() {
        assert_eq!(read("\"a\u{2028}b\u{2029}c\u{85}dé–\"").unwrap(), r#""a\u2028b\u2029c\u0085dé–""#);
    }

    #[test]
    fn duplicates_are_refused_at_any_depth_and_in_any_spelling() {
        assert_eq!(read(r#"{"a":1,"a":2}"#), Err(Fault::DuplicateKey));
        assert_eq!(read(r#"{"x":[{"a":1,"\u0061":2}]}"#), Err(Fault::DuplicateKey));
        assert_eq!(read(r#"{"a":1,"A":2}"#), Err(Fault::CaseCollision));
        assert_eq!(read("{\"s\":1,\"ſ\":2}"), Err(Fault::CaseCollision));
        assert_eq!(read("{\"k\":1,\"\u{212A}\":2}"), Err(Fault::CaseCollision));
        let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\":{n}")).collect();
        assert!(read(&format!("{{{}}}", many.join(","))).is_ok());
        assert_eq!(read(&format!("{{{},\"k3\":1}}", many.join(","))), Err(Fault::DuplicateKey));
        assert_eq!(read(&format!("{{{},\"K3\":1}}", many.join(","))), Err(Fault::CaseCollision));
    }

    #[test]
    fn inexact_numbers_are_refused() {
        for ok in [
            "0",
            "-0",
            "9007199254740993",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "1e2",
            "100.0",
            "1.50e+01",
            "0.0",
            "0e999",
        ] {
            assert!(read(ok).is_ok(), "{ok}");
        }
        for bad in
            ["1e400", "-1e400", "1e-400", "12345678901234567890123", "0.1000000000000000055", "18446744073709551616"]
        {
            assert_eq!(read(bad), Err(Fault::InexactNumber), "{bad}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "NaN",
            "'a'",
            "0x10",
            "01",
            "1.",
            ".5",
            "+1",
            "\"\u{1}\"",
            "\"\\x\"",
            "tru",
            "nulll",
            "{\"a\" 1}",
            "[1 2]",
            "\"a",
            "{\"a\":/*c*/1}",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read("{}{}"), Err(Fault::Trailing));
        assert_eq!(read("\u{feff}{}"), Err(Fault::Syntax));
        assert_eq!(read(r#""\ud800""#), Err(Fault::Surrogate));
        assert_eq!(read(r#""\udc00\ud800""#), Err(Fault::Surrogate));
        assert!(read(r#""\ud83d\ude00""#).is_ok());
        assert_eq!(JsonText::parse(vec![b'"', 0xFF, b'"'], Rules::CLIENT).unwrap_err().fault, Fault::Utf8);
        assert_eq!(read(&"[".repeat(200_000)), Err(Fault::Depth));
    }

    #[test]
    fn views_find_what_is_there() {
        let text =
            JsonText::parse(r#"{"a":{"b":[10,"x\ny",{"c/d":null}]},"e":true,"😀":"\ud83d\ude00"}"#, Rules::CLIENT)
                .unwrap();
        let view = text.view();
        assert_eq!(view.pointer("/a/b/0").unwrap().as_i64(), Some(10));
        assert_eq!(view.pointer("/a/b/1").unwrap().as_str().unwrap(), "x\ny");
        assert_eq!(view.pointer("/a/b/2/c~1d").unwrap().kind(), Kind::Null);
        assert_eq!(view.get("e").unwrap().as_bool(), Some(true));
        assert_eq!(view.get("😀").unwrap().as_str().unwrap(), "😀");
        assert_eq!(view.members().count(), 3);
        assert!(view.pointer("/a/b/9").is_none());
        assert_eq!(JsonText::without(view, &["a", "😀"]).as_str(), r#"{"e":true}"#);
        let replaced = text.replaced(view.pointer("/a/b").unwrap(), "[]").unwrap();
        assert_eq!(replaced.as_str(), r#"{"a":{"b":[]},"e":true,"😀":"\ud83d\ude00"}"#);
        assert!(text.replaced(view.get("e").unwrap(), "tru").is_none());
        let empty = JsonText::parse("[{},[],\"\"]", Rules::CLIENT).unwrap();
        assert_eq!(empty.view().items().map(Json::text).collect::<Vec<_>>(), ["{}", "[]", "\"\""]);
    }

    #[test]
    fn the_sorted_form_ignores_order_and_keeps_spelling() {
        let sorted = |text: &str| {
            let mut out = String::new();
            JsonText::parse(text, Rules::CLIENT).unwrap().view().write_sorted(&mut out);
            out
        };
        assert_eq!(sorted(r#"{"b":1.0,"a":{"d":[],"c":"\u0041"}}"#), r#"{"a":{"c":"\u0041","d":[]},"b":1.0}"#);
        assert_ne!(sorted("{\"a\":1}"), sorted("{\"a\":1.0}"));
    }

    proptest::proptest! {
        #[test]
        fn parsing_its_own_output_changes_nothing(value in tree()) {
            let text = JsonText::of(&value).unwrap();
            let again = JsonText::parse(text.as_str(), Rules::UPSTREAM).unwrap();
            proptest::prop_assert_eq!(&again, &text);
            let back: serde_json::Value = serde_json::from_str(text.as_str()).unwrap();
            proptest::prop_assert_eq!(back, value);
        }

        #[test]
        fn what_is_accepted_reads_the_same_elsewhere(text in "[\\[\\]{}\",:\\\\ua0-9eE.+ \\-tfn]{0,24}") {
            if JsonText::parse(text.as_str(), Rules::CLIENT).is_ok() {
                proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }
    }

    fn tree() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
