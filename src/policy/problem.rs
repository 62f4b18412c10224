//! What is wrong with a policy or a data file, and where. Says it the way a compiler does.

use std::borrow::Cow;
use std::fmt;

/// Whether a problem keeps the policies from being used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    /// Probably not what the author means. The daemon loads such policies.
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One problem in one place. `line` and `column` start at 1; 0 where the place is the whole file.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Problem {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub severity: Severity,
    /// A short name for the kind of problem, for scripts and tests.
    pub code: Cow<'static, str>,
    pub message: String,
    pub help: String,
    /// The line of source, where there is one.
    #[serde(skip)]
    pub source: Option<String>,
}

impl Problem {
    pub fn of_file(file: &str, code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            severity: Severity::Error,
            code: code.into(),
            message: message.into(),
            help: help.into(),
            source: None,
        }
    }

    /// The same as a warning.
    pub fn warning(self) -> Problem {
        Problem { severity: Severity::Warning, ..self }
    }

    /// At a place in `text`, the content of the file.
    pub fn at(self, line: usize, column: usize, text: &str) -> Problem {
        let source = line.checked_sub(1).and_then(|n| text.lines().nth(n)).map(str::to_owned);
        Problem { line, column, source, ..self }
    }

    /// At a byte offset in `text`, the content of the file.
    pub fn at_offset(self, offset: usize, text: &str) -> Problem {
        let (line, column) = position(text, offset);
        self.at(line, column, text)
    }
}

/// Line and column, in characters, of a byte offset.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or("").chars().count() + 1)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        writeln!(f, ": {}[{}]: {}", self.severity.as_str(), self.code, self.message)?;
        if let Some(source) = &self.source {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            // Tabs stay tabs, so that the mark stands below its character.
            let indent: String = source
                .chars()
                .take(self.column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            writeln!(f, "{margin} |\n{number} | {source}\n{margin} | {indent}^")?;
        }
        write!(f, "  help: {}", self.help)
    }
}

/// By file, then by place.
pub fn sort(problems: &mut [Problem]) {
    problems.sort_by(|a, b| (&a.file, a.line, a.column, a.severity).cmp(&(&b.file, b.line, b.column, b.severity)));
}

/// Everything that is wrong: never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct PolicyErrors(Vec<Problem>);

impl PolicyErrors {
    /// Nothing where there are no problems.
    pub fn check(mut problems: Vec<Problem>) -> Result<(), PolicyErrors> {
        if problems.is_empty() {
            return Ok(());
        }
        sort(&mut problems);
        Err(PolicyErrors(problems))
    }

    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl From<Problem> for PolicyErrors {
    fn from(problem: Problem) -> PolicyErrors {
        PolicyErrors(vec![problem])
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_like_a_compilers() {
        let text = "package x\n\tdeny := 1\n";
        let problem = Problem::of_file("x.rego", "shape", "deny must be a set", "write `deny contains`");
        let expected = "x.rego:2:2: error[shape]: deny must be a set\n  |\n2 | \tdeny := 1\n  | \t^\n  help: write `deny contains`";
        let problem = problem.at_offset(11, text);
        assert_eq!(problem.to_string(), expected);
        assert!(problem.warning().to_string().starts_with("x.rego:2:2: warning[shape]: "));
    }
}
