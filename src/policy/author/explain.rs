//! Why a rule fired or did not, line by line. A copy of each body is evaluated statement by statement: the first one
//! that makes the body fail is where it failed. Functions have no arguments of their own here; of them it is said which
//! lines ran.
//!
//! Invariant: the copies are added to a copy of the engine, and no decision is made with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use regorus::{Engine, Value};

use super::super::set::{guarded, step, timer};
use super::super::syntax::{Body, Head, Module, Rule, Span};
use super::super::{Phase, PolicyErrors};
use super::{Bench, Judged, LIMIT, check};

/// Begins the names of the copies.
const PROBE: &str = "countersign_explain";
/// Longest value that is shown, in characters, and how many of them for one name.
const VALUE: usize = 120;
const VALUES: usize = 3;

/// How far a line came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It is true.
    Held,
    /// In a function: it was evaluated.
    Ran,
    NotReached,
    /// The first that is not true.
    Failed,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Line {
    pub line: usize,
    pub text: String,
    /// Absent for lines that say nothing by themselves.
    pub mark: Option<Mark>,
}

/// A name on the line that failed, and what it led to: nothing at all, or values in JSON.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Read {
    pub line: usize,
    pub name: String,
    pub values: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// With what it made: entries, or the value of a helper.
    Held {
        values: Vec<String>,
    },
    NotHeld,
    /// The interpreter's error: the call would be refused.
    Error {
        message: String,
    },
    /// A function.
    Called,
    NotCalled,
    /// Its parts cannot be told apart.
    Unknown,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Story {
    pub package: String,
    pub name: String,
    /// Of its entries, where they are written out.
    pub rules: Vec<String>,
    /// It adds to `deny`, `hold` or `allow`.
    pub exported: bool,
    pub file: String,
    pub line: usize,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub lines: Vec<Line>,
    pub reads: Vec<Read>,
}

impl Bench {
    /// The decision about a document, and the story of every rule.
    ///
    /// # Errors
    /// Where a rule does not end.
    pub fn explain(&self, phase: Phase, document: String) -> Result<(Judged, Vec<Story>), PolicyErrors> {
        let bench = self.clone();
        guarded(move |progress| {
            let judged = bench.judged(phase, &document);
            let Ok(input) = Value::from_json_str(&document) else { return Ok((judged, Vec::new())) };
            let ran = ran(&bench, &input);
            let mut stories = Vec::new();
            for module in bench.modules.iter() {
                let none = BTreeSet::new();
                let ran = ran.get(&module.source.name).unwrap_or(&none);
                for rule in module.rules.iter().filter(|rule| !rule.is_default) {
                    step(&progress, &module.source.name);
                    stories.push(story(&bench, module, rule, &input, ran));
                }
            }
            Ok((judged, stories))
        })
    }
}

/// Lines of each file that an evaluation of every set ran.
fn ran(bench: &Bench, input: &Value) -> BTreeMap<String, BTreeSet<usize>> {
    let mut engine = bench.engine.clone();
    engine.set_enable_coverage(true);
    engine.set_input(input.clone());
    for point in &bench.points {
        // What fails is told with the rule that fails.
        let _ = point.interpret(&mut engine);
    }
    super::super::test::covered(&engine)
}

fn story(bench: &Bench, module: &Module, rule: &Rule, input: &Value, ran: &BTreeSet<usize>) -> Story {
    let name = rule.path.join(".");
    let exported = check::is_policy(module) && check::is_export(rule);
    let mut story = Story {
        package: module.package.join("."),
        rules: rule.objects.iter().filter_map(check::entry_id).map(str::to_owned).collect(),
        exported,
        file: module.source.name.clone(),
        line: module.line(rule.offset),
        name,
        outcome: Outcome::Unknown,
        lines: Vec::new(),
        reads: Vec::new(),
    };
    let mut marks: BTreeMap<usize, Mark> = BTreeMap::new();
    if rule.head == Head::Function {
        for line in &rule.lines {
            marks.insert(*line, if ran.contains(line) { Mark::Ran } else { Mark::NotReached });
        }
        story.outcome =
            if rule.lines.iter().any(|line| ran.contains(line)) { Outcome::Called } else { Outcome::NotCalled };
    } else {
        Probe { bench, module, rule, input }.tell(&mut story, &mut marks);
    }
    let (first, last) = (module.line(rule.span.start), module.line(rule.span.end.saturating_sub(1)));
    let lines = module.source.text.lines().enumerate().skip(first - 1).take(last + 1 - first);
    story.lines = lines
        .map(|(n, text)| Line { line: n + 1, text: text.to_owned(), mark: marks.get(&(n + 1)).copied() })
        .collect();
    story
}

/// Evaluates parts of one rule.
struct Probe<'a> {
    bench: &'a Bench,
    module: &'a Module,
    rule: &'a Rule,
    input: &'a Value,
}

/// What came of a part.
enum Came {
    Values(Vec<Value>),
    Error(String),
    /// The part does not stand by itself.
    Unknown,
}

impl Probe<'_> {
    fn tell(&self, story: &mut Story, marks: &mut BTreeMap<usize, Mark>) {
        let none = Body { is_else: false, value: None, statements: Vec::new(), unifies: false };
        let bodies = if self.rule.bodies.is_empty() { std::slice::from_ref(&none) } else { &self.rule.bodies };
        for body in bodies {
            if !matches!(story.outcome, Outcome::Unknown | Outcome::NotHeld) {
                self.mark(body, 0, Mark::NotReached, marks);
                continue;
            }
            story.outcome = self.body(body, story, marks);
        }
    }

    fn body(&self, body: &Body, story: &mut Story, marks: &mut BTreeMap<usize, Mark>) -> Outcome {
        let statements: Vec<Span> = body.statements.iter().map(|statement| statement.span).collect();
        let holds = matches!(self.all("true", &statements), Came::Values(values) if !values.is_empty());
        if holds {
            self.mark(body, 0, Mark::Held, marks);
        } else if body.unifies {
            return Outcome::Unknown;
        }
        let unsettled = if holds { &[] } else { body.statements.as_slice() };
        for (n, statement) in unsettled.iter().enumerate() {
            let before = body.statements.get(..n).unwrap_or_default().iter().map(|before| before.span);
            let before: Vec<Span> = before.collect();
            let upto: Vec<Span> = before.iter().copied().chain([statement.span]).collect();
            match self.all("true", &upto) {
                Came::Values(values) if !values.is_empty() => {
                    self.span(statement.span, Mark::Held, marks);
                    continue;
                }
                Came::Unknown => return Outcome::Unknown,
                came => {
                    self.span(statement.span, Mark::Failed, marks);
                    self.mark(body, n + 1, Mark::NotReached, marks);
                    story.reads.extend(self.reads(statement.span, &statement.reads, &before));
                    return match came {
                        Came::Error(message) => Outcome::Error { message },
                        Came::Values(_) | Came::Unknown => Outcome::NotHeld,
                    };
                }
            }
        }
        let Some(value) = body.value.or(self.rule.value) else { return Outcome::Held { values: vec!["true".into()] } };
        let head = Span { start: self.rule.span.start, end: self.rule.span.start + 1 };
        match self.all(self.module.text(value), &statements) {
            Came::Values(values) if values.is_empty() => {
                // Every line holds, and a part of what the head makes is undefined.
                self.span(head, Mark::Failed, marks);
                story.reads.extend(self.reads(value, &self.rule.value_reads, &statements));
                Outcome::NotHeld
            }
            Came::Values(values) => {
                self.span(head, Mark::Held, marks);
                Outcome::Held { values: shown(&values) }
            }
            Came::Error(message) => {
                self.span(head, Mark::Failed, marks);
                Outcome::Error { message }
            }
            Came::Unknown => Outcome::Unknown,
        }
    }

    /// What the names of a part lead to, where what stands before it holds.
    fn reads(&self, part: Span, names: &[Span], before: &[Span]) -> Vec<Read> {
        let mut reads: Vec<Read> = Vec::new();
        for span in names {
            let name = self.module.text(*span).to_owned();
            if reads.iter().any(|read| read.name == name) || name == "_" {
                continue;
            }
            if let Came::Values(values) = self.all(&name, before) {
                reads.push(Read { line: self.module.line(part.start), name, values: shown(&values) });
            }
        }
        reads
    }

    /// Every value of an expression for which all of these parts of the body hold.
    fn all(&self, expression: &str, parts: &[Span]) -> Came {
        let mut text = format!("package {}\n\n", self.module.package.join("."));
        for import in &self.module.import_spans {
            let _ = writeln!(text, "import {}", self.module.text(*import));
        }
        let _ = write!(text, "\n{PROBE} := [({expression}) |\n");
        parts.iter().for_each(|part| {
            let _ = writeln!(text, "{}", self.module.text(*part));
        });
        text.push_str(if parts.is_empty() { "true\n]\n" } else { "]\n" });
        let _ = writeln!(text, "\n{PROBE}_stands := true");
        let mut engine: Engine = self.bench.engine.clone();
        engine.set_execution_timer_config(timer(LIMIT));
        let path = format!("data.{}.{PROBE}", self.module.package.join("."));
        // A part that needs what stands behind it is refused before anything is evaluated.
        let added = engine.add_policy(format!("{PROBE}.rego"), text);
        if added.is_err() || engine.eval_rule(format!("{path}_stands")).is_err() {
            return Came::Unknown;
        }
        engine.set_input(self.input.clone());
        match engine.eval_rule(path) {
            Ok(Value::Array(values)) => Came::Values(values.iter().cloned().collect()),
            Ok(_) => Came::Values(Vec::new()),
            Err(error) => {
                let text = format!("{error:#}");
                let said = text.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
                Came::Error(said.unwrap_or(&text).trim().to_owned())
            }
        }
    }

    /// Marks what follows a statement.
    fn mark(&self, body: &Body, from: usize, mark: Mark, marks: &mut BTreeMap<usize, Mark>) {
        body.statements.iter().skip(from).for_each(|statement| self.span(statement.span, mark, marks));
    }

    /// Where several parts share a line, the one that failed counts, then the one that was not reached.
    fn span(&self, span: Span, mark: Mark, marks: &mut BTreeMap<usize, Mark>) {
        for line in self.module.line(span.start)..=self.module.line(span.end.saturating_sub(1)) {
            let worst = marks.get(&line).map_or(mark, |there| mark.max(*there));
            marks.insert(line, worst);
        }
    }
}

/// Distinct values as JSON, the first few, cut.
fn shown(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for value in values {
        // Not all numbers can be written.
        let text = serde_json::to_string(value).unwrap_or_else(|_| "a number that cannot be written".to_owned());
        let cut = text.char_indices().nth(VALUE).map(|(at, _)| at);
        let text = cut.map_or(text.clone(), |at| format!("{}…", text.get(..at).unwrap_or("")));
        if !texts.contains(&text) {
            if texts.len() == VALUES {
                texts.push("…".to_owned());
                break;
            }
            texts.push(text);
        }
    }
    texts
}
