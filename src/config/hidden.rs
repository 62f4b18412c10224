//! What no excerpt of a configuration shows: whatever may be a key by its name or its place. A mistake beside it is
//! shown on the same line, in a log that others read, at every start.
//!
//! This proves nothing about a text that it leaves: what looks like a key is overwritten wherever it stands.

use std::ops::Range;

use super::query::parameters;
use super::secrets::STORED;
use super::servers::{header_names_a_key, names_a_key};
use super::yaml::{Data, Node};

/// The places of a file that could be read.
pub fn values(node: &Node, out: &mut Vec<Range<usize>>) {
    match &node.data {
        Data::List(items) => items.iter().for_each(|item| values(item, out)),
        Data::Map(entries) => {
            for (key, value) in entries {
                let is_key = |node: &Node| matches!(&node.data, Data::Scalar { text, .. } if text != STORED);
                if is_key(value) && names(&key.text) {
                    out.push(value.span.clone());
                }
                if let ("secrets", Data::Map(sources)) = (key.text.as_str(), &value.data) {
                    out.extend(
                        sources.iter().filter(|(_, source)| is_key(source)).map(|(_, source)| source.span.clone()),
                    );
                }
                values(value, out);
            }
        }
        Data::Scalar { text, .. } => out.extend(is_open(text).then(|| node.span.clone())),
    }
}

/// The places of a file that could not: the rest of each line that has such a name or address.
pub fn lines(text: &str, out: &mut Vec<Range<usize>>) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.trim_end().len();
        let hidden = line.match_indices([':', '=']).find_map(|(at, _)| {
            let (before, after) = (line.get(..at)?, line.get(at + 1..)?);
            let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).next()?;
            let quoted = before.strip_suffix(['"', '\'']).and_then(|before| before.rsplit(['"', '\'']).next());
            let value = after.trim_start();
            let is_value = !value.starts_with(['{', '[']);
            (is_value && (names(name) || quoted.is_some_and(names))).then(|| start + at + 1)
        });
        let address = line.find("://").filter(|_| line.contains('@')).map(|at| start + at);
        out.extend(hidden.into_iter().chain(address).min().filter(|from| *from < end).map(|from| from..end));
        start += line.len();
    }
}

/// `secret: NAME` names one that is somewhere else.
fn names(name: &str) -> bool {
    name != "secret" && header_names_a_key(name)
}

/// An address with a password before its host, or with a parameter that is a key.
fn is_open(text: &str) -> bool {
    text.contains("://")
        && (text.contains('@') || parameters(text).any(|(name, value)| !value.is_empty() && names_a_key(name)))
}
