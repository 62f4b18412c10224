//! Problems in the forms that people and machines read: as a compiler says them, as JSON, as SARIF 2.1.0 for code
//! scanning, as annotations of a GitHub workflow.

use std::collections::BTreeSet;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::print_json;
use crate::console::visible;
use crate::policy::{Problem, Severity};

const SCHEMA: &str = "countersign.policy-check/v1";

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Form {
    Human,
    Json,
    /// For code scanning
    Sarif,
    /// Annotations of a GitHub workflow
    Github,
}

/// Prints problems; `rules` where the policies could be loaded.
pub fn print(form: Form, rules: Option<usize>, problems: &[Problem]) -> anyhow::Result<()> {
    match form {
        Form::Human => human(rules, problems),
        Form::Json => {
            return print_json(&json!({"schema": SCHEMA, "rules": rules, "problems": problems}));
        }
        Form::Sarif => return print_json(&sarif(problems)),
        Form::Github => problems.iter().for_each(|problem| say!("{}", github(problem))),
    }
    Ok(())
}

pub fn count(problems: &[Problem], severity: Severity) -> usize {
    problems.iter().filter(|problem| problem.severity == severity).count()
}

fn human(rules: Option<usize>, problems: &[Problem]) {
    for problem in problems {
        eprintln!("{}\n", shown(&problem.to_string()));
    }
    let (errors, warnings) = (count(problems, Severity::Error), count(problems, Severity::Warning));
    let some = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let rules = rules.map(|rules| some(rules, "rule"));
    match (errors, warnings, rules) {
        (0, 0, Some(rules)) => say!("ok: {rules}"),
        (0, warnings, Some(rules)) => say!("ok: {rules}, {}", some(warnings, "warning")),
        (errors, 0, _) => say!("{}", some(errors, "error")),
        (errors, warnings, _) => say!("{}, {}", some(errors, "error"), some(warnings, "warning")),
    }
}

/// White space stays as it is, so that marks stand below their characters.
pub fn shown(text: &str) -> String {
    let is_space = |c: char| [' ', '\t', '\n'].contains(&c);
    text.split_inclusive(is_space)
        .map(|part| {
            let word = part.trim_end_matches(is_space);
            visible::line(word) + part.get(word.len()..).unwrap_or("")
        })
        .collect()
}

fn github(problem: &Problem) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let place =
        if problem.line > 0 { format!(",line={},col={}", problem.line, problem.column.max(1)) } else { String::new() };
    let title = property(&format!("policy {}", problem.code));
    let text = shown(&format!("{}\nhelp: {}", problem.message, problem.help));
    format!("::{} file={}{place},title={title}::{}", problem.severity.as_str(), property(&problem.file), data(&text))
}

fn sarif(problems: &[Problem]) -> Value {
    let codes: BTreeSet<&str> = problems.iter().map(|problem| &*problem.code).collect();
    let rules: Vec<Value> = codes.iter().map(|code| json!({"id": code})).collect();
    let results: Vec<Value> = problems
        .iter()
        .map(|problem| {
            let artifact = json!({"uri": uri(&problem.file)});
            let region = json!({"startLine": problem.line, "startColumn": problem.column.max(1)});
            let location = match problem.line {
                0 => json!({"artifactLocation": artifact}),
                _ => json!({"artifactLocation": artifact, "region": region}),
            };
            json!({
                "ruleId": problem.code,
                "level": problem.severity.as_str(),
                "message": {"text": format!("{}. help: {}", problem.message, problem.help)},
                "locations": [{"physicalLocation": location}],
            })
        })
        .collect();
    let driver = json!({
        "name": "countersign policy check",
        "version": env!("CARGO_PKG_VERSION"),
        "rules": rules,
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    })
}

/// A path as the relative reference of a URI.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let encoded =
        path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    let encoded: String = encoded.collect();
    if encoded.starts_with('/') { format!("file://{encoded}") } else { encoded }
}
