//! YAML as a tree in which every piece knows its place in the text.
//!
//! Only the plain part of YAML is accepted: mappings with text keys, lists and scalars. Anchors, aliases, tags and
//! several documents are refused, so that the file says what it says where it stands, and no duplicate key is ever
//! settled silently.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::problem::{Code, Problems, quote};

/// Deeper nesting than this is refused; the configuration needs less than ten.
const MAX_DEPTH: usize = 32;
/// More values than this are refused.
const MAX_NODES: usize = 50_000;

/// A value and where it stands, in bytes.
#[derive(Clone, Debug)]
pub struct Node {
    pub span: Range<usize>,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub enum Data {
    /// A scalar. `plain` has no quotes and may be something else than text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    pub span: Range<usize>,
    pub text: String,
}

/// Reads one document. Where something is wrong it is in `problems`, and the tree, if there is one, holds the rest.
pub fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    if let Some((at, c)) = text.char_indices().find(|(_, c)| is_hidden(*c)) {
        let message = format!("the file has the invisible character U+{:04X}", u32::from(c));
        let help = "it can make the text look different from what it says: take it out";
        problems.add(Code::Hidden, &(at..at + c.len_utf8()), message, help);
        return None;
    }
    Reader { text, starts: starts(text), parser: Parser::new_from_str(text), problems, nodes: 0 }.document()
}

/// Control characters, and those that turn or hide text around them.
fn is_hidden(c: char) -> bool {
    match c {
        '\n' | '\r' | '\t' => false,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => true,
        _ => c.is_control(),
    }
}

/// Byte offsets of all characters; nothing where they are their own.
fn starts(text: &str) -> Vec<usize> {
    if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() }
}

struct Reader<'t, 'p> {
    text: &'t str,
    starts: Vec<usize>,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    problems: &'p mut Problems,
    nodes: usize,
}

/// Reading cannot go on; the problem is noted.
struct Stop;

type Step<'t> = (Event<'t>, Range<usize>);

impl<'t> Reader<'t, '_> {
    fn document(mut self) -> Option<Node> {
        let mut root = None;
        loop {
            let (event, span) = self.next().ok()?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                event if root.is_none() => root = Some(self.node(event, span, 0).ok()?),
                _ => {
                    let help = "one file is one document: take out the line `---`";
                    self.problems.add(Code::Feature, &span, "the file has a second document", help);
                    return None;
                }
            }
        }
        if root.is_none() {
            self.problems.add(Code::Empty, &(0..0), "the configuration is empty", super::START);
        }
        root
    }

    fn next(&mut self) -> Result<Step<'t>, Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let (start, end) = (self.byte(span.start.index()), self.byte(span.end.index()));
                Ok((event, start..end.max(start)))
            }
            Some(Err(error)) => {
                let at = self.byte(error.marker().index());
                let help = "check the indentation, the quotes and the brackets around this place";
                self.problems.add(Code::Syntax, &(at..at), format!("this is not YAML: {}", error.info()), help);
                Err(Stop)
            }
            None => Ok((Event::StreamEnd, self.text.len()..self.text.len())),
        }
    }

    fn byte(&self, character: usize) -> usize {
        if self.starts.is_empty() {
            return character.min(self.text.len());
        }
        self.starts.get(character).copied().unwrap_or(self.text.len())
    }

    fn node(&mut self, event: Event<'t>, span: Range<usize>, depth: usize) -> Result<Node, Stop> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            let message = if depth > MAX_DEPTH {
                format!("this is nested more than {MAX_DEPTH} deep")
            } else {
                format!("the file has more than {MAX_NODES} values")
            };
            self.problems.add(Code::TooMuch, &span, message, "this is not a configuration of countersign");
            return Err(Stop);
        }
        let (anchored, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::Alias(_) => (true, false),
            _ => (false, false),
        };
        if anchored || tagged {
            let message = if tagged {
                "tags (`!name`) are not accepted"
            } else {
                "anchors and aliases (`&`, `*`) are not accepted"
            };
            let help = "write the value where it is used; a text that begins with `&`, `*` or `!` needs quotes";
            self.problems.add(Code::Feature, &span, message, help);
            return Err(Stop);
        }
        match event {
            Event::Scalar(text, style, ..) => {
                // The parser's span of an empty value may reach over the next line.
                let span = if text.is_empty() && style == ScalarStyle::Plain { span.start..span.start } else { span };
                let data = Data::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                Ok(Node { span, data })
            }
            Event::SequenceStart(..) => self.list(span, depth),
            Event::MappingStart(..) => self.map(span, depth),
            _ => {
                self.problems.add(Code::Syntax, &span, "a value is missing here", "write one, or remove the key");
                Err(Stop)
            }
        }
    }

    fn list(&mut self, span: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => {
                    return Ok(Node { span: span.start..end.end.max(span.end), data: Data::List(items) });
                }
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, span: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen: HashMap<String, Range<usize>> = HashMap::new();
        loop {
            let (event, at) = match self.next()? {
                (Event::MappingEnd, end) => {
                    return Ok(Node { span: span.start..end.end.max(span.end), data: Data::Map(entries) });
                }
                step => step,
            };
            let key = self.node(event, at, depth + 1)?;
            let Data::Scalar { text, .. } = key.data else {
                let help = "a key is a word followed by `:`; a text with brackets needs quotes";
                self.problems.add(Code::Feature, &key.span, "a list or mapping cannot be a key", help);
                return Err(Stop);
            };
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            if let Some(first) = seen.get(&text) {
                let message = format!("the key {} stands here for the second time", quote(&text));
                self.problems.add(Code::DuplicateKey, &key.span, message, "keep one of the two");
                self.problems.with(first, "first here");
                continue;
            }
            seen.insert(text.clone(), key.span.clone());
            entries.push((Key { span: key.span, text }, value));
        }
    }
}
