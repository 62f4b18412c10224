//! Strict JSON text: one validated, minified value that keeps key order and the spelling of every number and string.
//!
//! Everything that is judged, hashed, shown or sent is a view of a [`JsonText`]. There is no tree that could be
//! written differently from how it was read. What may not live here: anything that knows about JSON-RPC or MCP.
//!
//! Invariant: the text inside a [`JsonText`] has passed [`JsonText::parse`], so the views below may scan without
//! checking again. Two reasonable parsers read it the same way: no duplicate keys at any depth, no lone surrogates,
//! nothing that a line reader could take for a line end.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod reader;

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
    #[error("a key that begins with `{RESERVED}`")]
    ReservedKey,
}

/// Some readers, those of rules among them, take an object with such a key for what stands under it: a number that is
/// not there, or a text that nobody has read.
const RESERVED: &str = "$serde_json::private::";

impl Fault {
    /// True where the text is JSON, but one that two readers could take differently.
    pub fn is_ambiguity(self) -> bool {
        matches!(
            self,
            Fault::DuplicateKey | Fault::CaseCollision | Fault::InexactNumber | Fault::ReservedKey | Fault::Depth
        )
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
        let minified = reader::minified(&text, rules)?;
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

    /// As [`JsonText::of`], for a type of ours that names every key: none can come twice, so most texts need not be read
    /// once more. `serde_json` writes them minified; what is left are line separators and nesting.
    ///
    /// # Errors
    /// Where the value cannot be written as JSON, or nests too deeply.
    pub fn of_ours(value: &impl Serialize) -> Result<JsonText, JsonError> {
        let text = serde_json::to_string(value).map_err(|_| JsonError { fault: Fault::Syntax, offset: 0 })?;
        let separates = memchr::memchr2(0xC2, 0xE2, text.as_bytes()).is_some();
        let nests = text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() > Rules::UPSTREAM.max_depth;
        if separates || nests {
            return JsonText::parse(text, Rules::UPSTREAM);
        }
        debug_assert_eq!(JsonText::parse(text.as_str(), Rules::UPSTREAM).map(|read| read.0.len()), Ok(text.len()));
        Ok(JsonText(Arc::new(text)))
    }

    /// `{}`.
    pub fn empty_object() -> JsonText {
        JsonText(Arc::new("{}".to_owned()))
    }

    /// A value that stands inside this one, as a text of its own.
    pub fn owned(view: Json<'_>) -> JsonText {
        JsonText(Arc::new(view.0.to_owned()))
    }

    /// This object with more members at its end, as they are spelled. Their names are ours: none is in it yet.
    pub fn with(self, more: &[(&str, Json<'_>)]) -> JsonText {
        let mut out = Arc::unwrap_or_clone(self.0);
        out.reserve(more.iter().map(|(name, value)| name.len() + value.text().len() + 4).sum());
        for (name, value) in more {
            debug_assert!(out.ends_with('}') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
            out.pop();
            let separator = if out.ends_with('{') { "\"" } else { ",\"" };
            out.extend([separator, name, "\":", value.text(), "}"]);
        }
        JsonText(Arc::new(out))
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

    /// Where a part of this text stands in it; nothing where the part is not of this text.
    pub fn place(&self, part: Json<'_>) -> Option<Range<usize>> {
        let start = (part.0.as_ptr() as usize).checked_sub(self.0.as_ptr() as usize)?;
        let end = start.checked_add(part.0.len())?;
        (end <= self.0.len()).then_some(start..end)
    }

    /// The part at a place that [`JsonText::place`] gave.
    pub fn at(&self, place: Range<usize>) -> Option<Json<'_>> {
        self.0.get(place).map(Json)
    }

    /// The same text with one part of it written otherwise; nothing where the result would not be strict, or where the
    /// part is not of this text.
    pub fn replaced(&self, part: Json<'_>, with: &str) -> Option<JsonText> {
        let place = self.place(part)?;
        let (before, after) = (self.0.get(..place.start)?, self.0.get(place.end..)?);
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
        self.members().find(|(key, _)| key.is_text(name)).map(|(_, value)| value)
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

    /// Whether this is a string with these characters.
    fn is_text(self, text: &str) -> bool {
        let Some(inner) = self.0.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
        // An escape takes more bytes than what it stands for.
        inner.len() >= text.len() && (inner == text && !text.contains('\\') || decode(inner) == text)
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

#[cfg(test)]
mod tests;
