//! Reads typed values out of the tree. What is wrong is noted and reading goes on with a stand-in, so that one run
//! finds everything; no [`Config`](super::Config) comes out where anything was noted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::expand;
use super::known::elsewhere;
use super::problem::{Code, Problems, quote};
use super::yaml::{Data, Key, Node};
use crate::call::meant;

/// What all readers share.
pub struct Context<'a> {
    pub problems: Problems,
    /// Absolute: relative paths start here.
    pub folder: &'a Path,
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Names that are defined somewhere in the file, and where.
    pub secrets: BTreeMap<String, Range<usize>>,
    pub servers: BTreeMap<String, Range<usize>>,
    pub issuers: BTreeMap<String, Range<usize>>,
}

/// The keys that a mapping may have.
pub struct Keys {
    pub known: &'static [&'static str],
    /// Keys of the design that this version cannot serve yet, and what to do instead.
    pub later: &'static [(&'static str, &'static str)],
}

/// A mapping whose keys have been checked.
pub struct Fields<'n> {
    /// As in `servers.stripe.upstream`; empty for the document.
    pub path: String,
    pub span: Range<usize>,
    entries: &'n [(Key, Node)],
    /// Keys that are noted as unknown.
    unknown: Vec<&'n str>,
    /// It is no mapping, and that is noted: nothing is missing from it.
    broken: bool,
}

impl<'n> Fields<'n> {
    pub fn of(cx: &mut Context<'_>, node: &'n Node, path: impl Into<String>, keys: &Keys) -> Fields<'n> {
        let mut fields = Fields::any(cx, node, path);
        for (key, _) in fields.entries {
            if cx.problems.are_enough() {
                break;
            }
            if let Some((_, instead)) = keys.later.iter().find(|(later, _)| *later == key.text) {
                let message = format!("`{}` is not supported by this version", fields.child(&key.text));
                cx.problems.add(Code::NotSupported, &key.span, message, *instead);
            } else if !keys.known.contains(&key.text.as_str()) {
                let message = format!("unknown key {}{}", quote(&key.text), fields.inside());
                let meant = meant(&key.text, keys.known.iter().copied());
                let help = match (meant, elsewhere(&fields.path, &key.text)) {
                    (Some(meant), _) => format!("did you mean `{meant}`?"),
                    (None, Some(full)) => format!("did you mean `{full}`?"),
                    (None, None) => format!("the keys here are {}", keys.known.join(", ")),
                };
                cx.problems.add(Code::UnknownKey, &key.span, message, help);
                fields.unknown.push(&key.text);
            }
        }
        fields
    }

    /// A mapping with names of the operator's own.
    pub fn any(cx: &mut Context<'_>, node: &'n Node, path: impl Into<String>) -> Fields<'n> {
        let path = path.into();
        let (entries, broken) = match &node.data {
            Data::Map(entries) => (entries.as_slice(), false),
            Data::Scalar { .. } | Data::List(_) => {
                cx.wrong(node, &path, "a mapping (`key: value`)");
                (&[][..], true)
            }
        };
        Fields { path, span: node.span.clone(), entries, unknown: Vec::new(), broken }
    }

    pub fn entries(&self) -> &'n [(Key, Node)] {
        self.entries
    }

    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    /// A value that must be there.
    pub fn need(&self, cx: &mut Context<'_>, name: &str, help: &str) -> Option<&'n Node> {
        let node = self.get(name);
        // A misspelled key is noted as that.
        let misspelled = || self.unknown.iter().any(|word| meant(word, [name]).is_some());
        if node.is_none() && !self.broken && !misspelled() {
            let message = match self.path.as_str() {
                "" => format!("the key `{name}` is missing"),
                path => format!("`{path}` has no `{name}`"),
            };
            cx.problems.add(Code::MissingKey, &self.span, message, help);
        }
        node
    }

    /// The one of several keys that is there.
    pub fn one_of(&self, cx: &mut Context<'_>, names: &[&str], help: &str) -> Option<(&'n Key, &'n Node)> {
        let mut there = self.entries.iter().filter(|(key, _)| names.contains(&key.text.as_str()));
        let first = there.next();
        if let (Some((first, _)), Some((second, _))) = (first, there.next()) {
            let message = format!("`{}` has both `{}` and `{}`", self.path, first.text, second.text);
            cx.problems.add(Code::Contradiction, &second.span, message, help);
            cx.problems.with(&first.span, "first here");
        } else if first.is_none() && self.entries.is_empty() && !self.broken {
            // Where there is another key, that one is noted.
            let message = format!("`{}` says nothing", self.path);
            cx.problems.add(Code::MissingKey, &self.span, message, help);
        }
        first.map(|(key, node)| (key, node))
    }

    pub fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn inside(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) }
    }

    pub fn text(&self, cx: &mut Context<'_>, name: &str) -> Option<&'n str> {
        cx.text(self.get(name)?, &self.child(name))
    }

    pub fn texts(&self, cx: &mut Context<'_>, name: &str) -> Vec<(&'n Node, &'n str)> {
        self.get(name).map_or_else(Vec::new, |node| cx.texts(node, &self.child(name)))
    }

    pub fn path(&self, cx: &mut Context<'_>, name: &str) -> Option<PathBuf> {
        cx.path(self.get(name)?, &self.child(name))
    }

    pub fn yes(&self, cx: &mut Context<'_>, name: &str) -> bool {
        let Some(node) = self.get(name) else { return false };
        match &node.data {
            Data::Scalar { text, plain: true } if text == "true" => true,
            Data::Scalar { text, plain: true } if text == "false" => false,
            _ => {
                cx.wrong(node, &self.child(name), "`true` or `false`");
                false
            }
        }
    }

    pub fn choice<T: Copy>(&self, cx: &mut Context<'_>, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let node = self.get(name)?;
        let text = cx.text(node, &self.child(name))?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if chosen.is_none() {
            cx.no_choice(node, &self.child(name), text, choices.iter().map(|(word, _)| *word));
        }
        chosen
    }

    /// A whole number.
    pub fn number(&self, cx: &mut Context<'_>, name: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(node) = self.get(name) else { return default };
        let path = self.child(name);
        let between = format!("a whole number from {} to {}", range.start(), range.end());
        match &node.data {
            Data::Scalar { text, plain: true } if is_number(text) => {
                let value = text.parse().ok().filter(|_| is_decimal(text));
                value.filter(|value| range.contains(value)).unwrap_or_else(|| {
                    cx.out_of_range(node, &path, text, &between);
                    default
                })
            }
            _ => {
                cx.wrong(node, &path, &between);
                default
            }
        }
    }

    pub fn count(&self, cx: &mut Context<'_>, name: &str, range: RangeInclusive<u64>, default: usize) -> usize {
        let number = self.number(cx, name, range, u64::try_from(default).unwrap_or(u64::MAX));
        usize::try_from(number).unwrap_or(default)
    }

    /// As in `250ms`, `20s`, `5m`, `1h`.
    pub fn duration(
        &self,
        cx: &mut Context<'_>,
        name: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(node) = self.get(name) else { return default };
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
        let millis = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let range = millis(range.start())..=millis(range.end());
        let unit = Unit { what: "a duration", units: &units, examples: "`250ms`, `20s`, `5m` or `1h`" };
        unit.read(cx, node, &self.child(name), &range).map_or(default, Duration::from_millis)
    }

    /// As in `512B`, `64KiB`, `4MiB`, `1GiB`.
    pub fn size(&self, cx: &mut Context<'_>, name: &str, range: RangeInclusive<u64>, default: usize) -> usize {
        let Some(node) = self.get(name) else { return default };
        let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let unit = Unit { what: "a size", units: &units, examples: "`512B`, `64KiB` or `4MiB`" };
        let read = unit.read(cx, node, &self.child(name), &range);
        read.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(default)
    }
}

/// A whole number with a unit.
struct Unit<'a> {
    what: &'a str,
    /// Each and how many of the smallest it is, the smallest first.
    units: &'a [(&'a str, u64)],
    examples: &'a str,
}

impl Unit<'_> {
    fn read(&self, cx: &mut Context<'_>, node: &Node, path: &str, range: &RangeInclusive<u64>) -> Option<u64> {
        let between = format!("{} from {} to {}", self.what, self.show(*range.start()), self.show(*range.end()));
        let text = match &node.data {
            Data::Scalar { text, plain } if !plain || !is_word(text) => text,
            Data::Scalar { .. } | Data::List(_) | Data::Map(_) => {
                cx.wrong(node, path, &between);
                return None;
            }
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        if is_number(text) || number.is_empty() || !is_decimal(number) {
            let message = format!("`{path}` is {}, which is not {}", quote(text), self.what);
            let help = format!("write {between}: a whole number and a unit, as in {}", self.examples);
            cx.problems.add(Code::Form, &node.span, message, help);
            return None;
        }
        let Some((_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            let names: Vec<&str> = self.units.iter().map(|(name, _)| *name).collect();
            let message = format!("`{path}` is {}: {} is not a unit of {}", quote(text), quote(unit), self.what);
            let help = format!("the units are {}; write {between}", names.join(", "));
            cx.problems.add(Code::Form, &node.span, message, help);
            return None;
        };
        let value = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            cx.out_of_range(node, path, text, &between);
        }
        value
    }

    fn show(&self, value: u64) -> String {
        let largest = self.units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor) && value >= *factor);
        let (name, factor) = largest.or(self.units.get(1)).copied().unwrap_or(("", 1));
        format!("{}{name}", value / factor)
    }
}

impl Context<'_> {
    pub fn wrong(&mut self, node: &Node, path: &str, expected: &str) {
        let (found, help) = describe(node);
        let subject = if path.is_empty() { "the configuration".to_owned() } else { format!("`{path}`") };
        let help = help.unwrap_or_else(|| format!("write {expected}"));
        self.problems.add(Code::WrongType, &node.span, format!("{subject} must be {expected}, not {found}"), help);
    }

    fn out_of_range(&mut self, node: &Node, path: &str, text: &str, between: &str) {
        let message = format!("`{path}` is {}, which is out of range", quote(text));
        self.problems.add(Code::Range, &node.span, message, format!("write {between}"));
    }

    pub fn no_choice<'c>(
        &mut self,
        node: &Node,
        path: &str,
        text: &str,
        choices: impl Iterator<Item = &'c str> + Clone,
    ) {
        let help = match self.meant(text, choices.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write one of {}", choices.collect::<Vec<_>>().join(", ")),
        };
        self.problems.add(Code::Choice, &node.span, format!("`{path}` cannot be {}", quote(text)), help);
    }

    pub fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        match &node.data {
            Data::Scalar { text, plain } if !plain || (!is_number(text) && !is_word(text)) => Some(text),
            Data::Scalar { .. } | Data::List(_) | Data::Map(_) => {
                self.wrong(node, path, "a text");
                None
            }
        }
    }

    pub fn texts<'n>(&mut self, node: &'n Node, path: &str) -> Vec<(&'n Node, &'n str)> {
        let items = self.list(node, path);
        let each = items.iter().enumerate();
        each.filter_map(|(index, item)| Some((item, self.text(item, &format!("{path}[{index}]"))?))).collect()
    }

    pub fn list<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        match &node.data {
            Data::List(items) => items,
            Data::Scalar { .. } | Data::Map(_) => {
                self.wrong(node, path, "a list (`[a, b]`)");
                &[]
            }
        }
    }

    /// A path-like value: `~` and `${NAME}` are expanded, and what is relative starts at the file's folder.
    pub fn path(&mut self, node: &Node, path: &str) -> Option<PathBuf> {
        let text = self.text(node, path)?;
        match expand::expand(text, self.variable) {
            Ok(expanded) => match std::path::absolute(self.folder.join(expanded)) {
                Ok(absolute) => Some(absolute),
                Err(error) => {
                    let message = format!("`{path}` cannot be made absolute: {error}");
                    self.problems.add(Code::Path, &node.span, message, "write an absolute path");
                    None
                }
            },
            Err(fault) => {
                let message = format!("`{path}` is {}: {fault}", quote(text));
                self.problems.add(Code::Path, &node.span, message, fault.help());
                None
            }
        }
    }

    /// A program: a bare name, which is looked up in `PATH`, or an absolute path.
    pub fn program(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = self.text(node, path)?;
        if !text.contains(['/', '~', '$']) && !text.is_empty() && !text.starts_with('-') {
            return Some(text.to_owned());
        }
        let expanded = match expand::expand(text, self.variable) {
            Ok(expanded) => expanded,
            Err(fault) => {
                let message = format!("`{path}` is {}: {fault}", quote(text));
                self.problems.add(Code::Path, &node.span, message, fault.help());
                return None;
            }
        };
        let program = expanded.to_str().filter(|_| expanded.is_absolute()).map(str::to_owned);
        if program.is_none() {
            let message = format!("`{path}` is the relative path {}", quote(text));
            let help = "write an absolute path, or a bare name to look it up in PATH";
            self.problems.add(Code::Path, &node.span, message, help);
        }
        program
    }

    /// A name that must be defined elsewhere in the file.
    pub fn secret(&mut self, node: &Node, path: &str) -> Option<String> {
        let name = self.text(node, path)?;
        if self.secrets.contains_key(name) {
            return Some(name.to_owned());
        }
        let help = match self.meant(name, self.secrets.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("define it: secrets: {{ {}: {{ env: NAME }} }}", quote(name).replace('`', "")),
        };
        let message = format!("there is no secret {}", quote(name));
        self.problems.add(Code::Reference, &node.span, message, help);
        None
    }

    /// The one of `names` that was probably meant.
    pub fn meant<'c>(&self, word: &str, names: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        if self.problems.are_enough() { None } else { meant(word, names) }
    }

    /// Names that we put in paths, marks, records and on the screen.
    pub fn name(&mut self, span: &Range<usize>, text: &str, what: &str) -> bool {
        let valid = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-');
        if !valid {
            let message = format!("{} cannot be the name of {what}", quote(text));
            let help = "a name has 1 to 64 of the characters a-z, 0-9, `_` and `-`";
            self.problems.add(Code::Form, span, message, help);
        }
        valid
    }
}

/// What a value is, and what to do where it was meant as text.
fn describe(node: &Node) -> (String, Option<String>) {
    let quotes =
        |text: &str| Some(format!("if it is meant as text, put it in quotes: \"{}\"", quote(text).replace('`', "")));
    match &node.data {
        Data::List(_) => ("a list".to_owned(), None),
        Data::Map(_) => ("a mapping".to_owned(), None),
        Data::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") => {
            ("nothing".to_owned(), Some("give it a value, or remove the key".to_owned()))
        }
        Data::Scalar { text, plain: true } if is_word(text) => (format!("the boolean {}", quote(text)), quotes(text)),
        Data::Scalar { text, plain: true } if is_number(text) => (format!("the number {}", quote(text)), quotes(text)),
        Data::Scalar { text, .. } => (format!("the text {}", quote(text)), None),
    }
}

/// A plain scalar that YAML takes for null or a boolean.
fn is_word(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

/// A plain scalar that YAML takes for a number.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0o")) {
        return !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let special = matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    let starts = unsigned.strip_prefix('.').unwrap_or(unsigned).starts_with(|c: char| c.is_ascii_digit());
    let made_of = unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    special || (starts && made_of && unsigned.parse::<f64>().is_ok())
}

/// Digits without a leading zero, which some readers take for octal.
fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_yaml_says() {
        for number in ["0", "-1", "8080", "1e308", "0x1f", "0o17", "1.5", ".5", "-.inf", ".nan", "+3", "1.", "010"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["", "1.2.3", "5m", "e5", "-", "1:30", "0x", "127.0.0.1:8377", "inf", "nan", "1_000", "-y"] {
            assert!(!is_number(text), "{text}");
        }
        for decimal in ["0", "1", "10"] {
            assert!(is_decimal(decimal), "{decimal}");
        }
        for other in ["010", "1.0", "-1", "0x1", "+1"] {
            assert!(!is_decimal(other), "{other}");
        }
    }
}
