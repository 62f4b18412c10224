//! What is wrong with a catalog, and where.

/// `line` and `column` start at 1; 0 where the place is the whole file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: error: {message}\n  help: {help}")]
pub struct CatalogError {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub help: String,
}

impl CatalogError {
    pub(super) fn new(file: &str, message: impl Into<String>, help: impl Into<String>) -> CatalogError {
        CatalogError { file: file.to_owned(), line: 0, column: 0, message: message.into(), help: help.into() }
    }

    /// The same error at the last mention of a name in the text.
    pub(super) fn at(self, text: &str, name: &str) -> CatalogError {
        let Some((line, column)) = last_mention(text, name) else { return self };
        CatalogError { line, column, ..self }
    }
}

/// Where a name stands last as a key, or else anywhere, as a whole word and outside of comments. Line and column start
/// at 1.
pub(super) fn last_mention(text: &str, name: &str) -> Option<(usize, usize)> {
    let inside = |c: char| c.is_alphanumeric() || "_-/{}.".contains(c);
    let (mut key, mut mention) = (None, None);
    for (number, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or(line);
        if line.trim_start().starts_with('#') || name.is_empty() {
            continue;
        }
        for (at, _) in line.match_indices(name) {
            let (before, after) = (line.get(..at).unwrap_or(""), line.get(at + name.len()..).unwrap_or(""));
            if !before.ends_with(inside) && !after.starts_with(|c| inside(c) && c != '}') {
                let place = Some((number + 1, before.chars().count() + 1));
                mention = place;
                if after.trim_start_matches(['"', '\'']).starts_with(':') {
                    key = place;
                }
            }
        }
    }
    key.or(mention)
}
