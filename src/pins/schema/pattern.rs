//! Patterns of schemas, which are regular expressions of ECMAScript, for an engine that takes linear time.
//!
//! Invariant: a pattern that is read matches the same ASCII texts in both. Whatever could be read otherwise there (look
//! around, back references, set operations, flags, escapes of the other kind) is not read.

use regex::{Error, Regex, RegexBuilder};

const MAX_PATTERN: usize = 1024;
/// Bytes of a compiled pattern, and of what the engine keeps while it matches.
const MAX_SIZE: usize = 128 << 10;
/// Bytes of a compiled pattern that weighs one.
const UNIT: usize = 4 << 10;

/// A pattern that can be tried in linear time, with what a byte of text may cost: where a text makes the engine follow
/// all of the pattern at once, that grows with the pattern.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    weight: usize,
}

/// Nothing where the pattern cannot be tried safely.
pub fn read(pattern: &str) -> Option<Pattern> {
    if pattern.len() > MAX_PATTERN {
        return None;
    }
    let ours = translated(pattern)?;
    // The engine does not say how large a pattern has become, only that it is larger than a limit.
    for weight in [1, 4, 16, MAX_SIZE / UNIT] {
        match RegexBuilder::new(&ours).size_limit(weight * UNIT).dfa_size_limit(MAX_SIZE).build() {
            Ok(regex) => return Some(Pattern { regex, weight }),
            Err(Error::CompiledTooBig(_)) => {}
            Err(_) => return None,
        }
    }
    None
}

/// Bytes that it holds, about and at most, also while two calls are compared at once.
pub fn held(pattern: Option<&Pattern>) -> usize {
    pattern.map_or(UNIT, |pattern| pattern.weight * UNIT + 2 * MAX_SIZE)
}

/// What it may cost to match a text: one for each byte, and more where the pattern is large.
pub fn cost(pattern: &Pattern, text: &str) -> usize {
    (1 + text.len()).saturating_mul(pattern.weight)
}

/// Whether a text certainly matches, certainly does not, or nobody can tell.
pub fn matches(pattern: &Pattern, text: &str) -> Option<bool> {
    if pattern.regex.is_match(text) {
        return Some(true);
    }
    // Beyond ASCII, and about what ends a line, the two kinds disagree.
    (text.is_ascii() && !text.contains('\r')).then_some(false)
}

fn translated(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(character) = rest.next() {
        match character {
            '\\' => {
                let next = rest.next()?;
                match next {
                    'd' => out.push_str("[0-9]"),
                    'w' => out.push_str("[0-9A-Za-z_]"),
                    'D' => out.push_str("[^0-9]"),
                    'W' => out.push_str("[^0-9A-Za-z_]"),
                    'b' if !in_class => out.push_str(r"(?-u:\b)"),
                    's' | 'S' | 'n' | 'r' | 't' | 'f' | 'v' | 'x' | 'u' => out.extend(['\\', next]),
                    '<' | '>' => return None,
                    _ if next.is_ascii_punctuation() => out.extend(['\\', next]),
                    _ => return None,
                }
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // An empty class is one there, and something else here.
                if rest.peek() == Some(&']') {
                    return None;
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => out.extend(['\\', character]),
            // `--` takes a set from another here.
            '-' if in_class && rest.peek() == Some(&'-') => return None,
            '(' if !in_class => {
                out.push('(');
                if rest.next_if_eq(&'?').is_some() {
                    // Only groups that are not remembered: no look around, no flags.
                    rest.next_if_eq(&':')?;
                    out.push_str("?:");
                }
            }
            '{' if !in_class => {
                let is_count = rest.peek().is_some_and(char::is_ascii_digit);
                if !is_count {
                    return None;
                }
                out.push('{');
            }
            _ => out.push(character),
        }
    }
    (!in_class).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_means_the_same() {
        for (pattern, text, fits) in [
            ("^[a-z]+$", "abc", Some(true)),
            ("^[a-z]+$", "abc1", Some(false)),
            ("b", "abc", Some(true)),
            (r"^\d+$", "12", Some(true)),
            (r"^\d+$", "x", Some(false)),
            (r"^[\w.-]+$", "a.b-c", Some(true)),
            (r"^[\w.-]+$", "a b", Some(false)),
            (r"^[^\d]$", "1", Some(false)),
            (r"^[[]$", "[", Some(true)),
            (r"^[a&&b]$", "&", Some(true)),
            (r"^\/x\-y$", "/x-y", Some(true)),
            (r"\bx\b", "a x b", Some(true)),
            ("^(?:cus|pi)_[0-9A-Za-z]{3,}$", "cus_ABC", Some(true)),
            ("^(?:cus|pi)_[0-9A-Za-z]{3,}$", "sub_ABC", Some(false)),
            // What the two kinds may see differently is nobody's fault.
            ("^[a-z]+$", "é", None),
            (r"^\d+$", "٣", None),
            ("^a.b$", "a\rb", Some(true)),
            ("^a$", "b\r", None),
        ] {
            assert_eq!(matches(&read(pattern).expect(pattern), text), fits, "{pattern} {text:?}");
        }
    }

    #[test]
    fn what_could_be_read_otherwise_or_costs_too_much_is_not_read() {
        let large = "a".repeat(MAX_PATTERN + 1);
        for pattern in [
            r"^(?!\.)a",
            r"(?=a)b",
            r"(?<=a)b",
            r"(a)\1",
            r"(?i)a",
            r"(?<n>a)",
            r"\p{L}",
            r"\Aa",
            r"\z",
            r"\<a",
            "[]",
            "[^]",
            "[a--b]",
            "a{,3}",
            "{",
            "(",
            r"\",
            "(a{1000}){1000}",
            "((((a{100}){100}){100}){100}){100}",
            &large,
            r"\cA",
            r"\0",
            r"[\b]",
        ] {
            assert!(read(pattern).is_none(), "{pattern}");
        }
        let slow = read("(a+)+$").unwrap();
        let start = std::time::Instant::now();
        assert_eq!(matches(&slow, &format!("{}!", "a".repeat(100_000))), Some(false));
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "linear");
    }
}
