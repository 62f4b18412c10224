//! OPA itself, as `tests/run` installs it: a child that reads modules and questions and writes what OPA says of them
//! (`tests/peers/opa.py`). Nothing here waits for ever, and the child ends with the value that stands for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// Of one request, which may ask for thousands of answers.
const LIMIT: Duration = Duration::from_secs(60);

/// What an evaluator says of one question. The same answers are the same text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Is(String),
    Undefined,
    Error(String),
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Is(value) => f.write_str(value),
            Answer::Undefined => f.write_str("undefined"),
            Answer::Error(error) => write!(f, "error ({error})"),
        }
    }
}

pub struct Opa {
    child: Child,
    requests: ChildStdin,
    lines: Receiver<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    error: Option<Failure>,
    #[serde(borrow, default)]
    answers: Vec<Written<'a>>,
}

/// As the library writes it.
#[derive(Deserialize)]
struct Written<'a> {
    error: Option<Failure>,
    #[serde(borrow)]
    result: Option<Vec<Row<'a>>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    expressions: Vec<Expression<'a>>,
}

#[derive(Deserialize)]
struct Expression<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

impl Opa {
    pub fn start() -> Opa {
        let mut child = Command::new(installed("python/bin/python3"))
            .arg(source("tests/peers/opa.py"))
            .arg(installed("opa"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (requests, written) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (answer, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(written).lines().map_while(Result::ok).try_for_each(|line| answer.send(line))
        });
        Opa { child, requests, lines }
    }

    /// What OPA says of each question, a reference and the text of an input.
    ///
    /// # Errors
    /// Why it does not take the modules or the data, in its words.
    pub fn ask(&mut self, modules: &[String], data: &str, asks: &[(&str, String)]) -> Result<Vec<Answer>, String> {
        let request = json!({"modules": modules, "data": data, "asks": asks}).to_string();
        writeln!(self.requests, "{request}").expect("OPA has ended");
        let line = self.lines.recv_timeout(LIMIT).expect("OPA has ended, or does not answer in time");
        let Line { error, answers } = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(Failure { message, .. }) = error {
            return Err(message);
        }
        assert_eq!(answers.len(), asks.len(), "{line}");
        // It compiles when it is asked.
        let refused =
            answers.iter().filter_map(|answer| answer.error.as_ref()).find(|error| error.code == "prepare_error");
        if let Some(Failure { message, .. }) = refused {
            return Err(message.clone());
        }
        Ok(answers.into_iter().map(Answer::from).collect())
    }
}

impl Drop for Opa {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<Written<'_>> for Answer {
    fn from(written: Written<'_>) -> Answer {
        if let Some(Failure { message, .. }) = written.error {
            return Answer::Error(message);
        }
        match written.result.unwrap_or_default().as_slice() {
            [] => Answer::Undefined,
            [Row { expressions }] if expressions.len() == 1 => Answer::Is(exact(expressions[0].value.get())),
            rows => panic!("{} rows for one reference", rows.len()),
        }
    }
}

/// A JSON text in which equal values are spelled alike, and unlike ones not: a number is its digits and its exponent,
/// however many there are.
pub fn exact(text: &str) -> String {
    let inner = |value: &&RawValue| exact(value.get());
    match text.as_bytes()[0] {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{}: {}", json!(name), inner(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        b'[' => {
            let members: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            format!("[{}]", members.iter().map(inner).collect::<Vec<_>>().join(", "))
        }
        b'"' => json!(serde_json::from_str::<String>(text).unwrap()).to_string(),
        b't' | b'f' | b'n' => text.to_owned(),
        _ => number(text),
    }
}

fn number(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (digits, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    let exponent = exponent.parse::<i64>().unwrap() - i64::try_from(fraction.len()).unwrap();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    let exponent = exponent + i64::try_from(digits.len() - digits.trim_end_matches('0').len()).unwrap();
    match (significant, exponent) {
        ("", _) => "0".to_owned(),
        (digits, 0) => format!("{sign}{digits}"),
        // As people write it, where that is short.
        (digits, exponent @ 1..=18) => format!("{sign}{digits}{}", "0".repeat(usize::try_from(exponent).unwrap())),
        (digits, exponent) => format!("{sign}{digits}e{exponent}"),
    }
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn installed(path: &str) -> PathBuf {
    let found = source(".cache").join(path);
    assert!(found.exists(), "{} is missing: run tests/run once, it installs the peers", found.display());
    found
}
