//! Evaluates the author's rules on samples: every operation that a catalog knows, with usual, missing and odd values.
//! What fails on one of them would be a refusal in the daemon, and what allows all of them protects nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::mpsc::Sender;

use regorus::Value;

use super::super::combine::Kind;
use super::super::problem::Problem;
use super::super::set::{ALLOWS_NOTHING, EntryPoint, NOTHING, of_interpreter};
use super::super::{PolicyFault, input};
use super::{Bench, at};
use crate::json::{Json, JsonText, Rules};

/// How much of a sample is shown with a problem.
const SHOWN: usize = 100;

/// An input that could come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// What it is, for messages.
    pub name: String,
    pub document: String,
    /// It could be meant well: what it leaves out may be left out.
    pub plausible: bool,
}

/// What the allow rules of one policy did so far.
#[derive(Default)]
struct Allows {
    /// Entries by rule id: whether the empty input had one, and its line.
    of_nothing: BTreeSet<String>,
    /// How many of the samples had an entry.
    covered: usize,
}

pub fn problems(bench: &Bench, samples: &[Sample], progress: &Sender<String>) -> Vec<Problem> {
    let mut found = Vec::new();
    // One problem for each place: most samples of an operation fail alike.
    let mut places = HashSet::new();
    let mut allows: BTreeMap<&str, Allows> = BTreeMap::new();
    let nothing = Sample { name: "an empty input".to_owned(), document: NOTHING.to_owned(), plausible: false };
    for (n, sample) in std::iter::once(&nothing).chain(samples).enumerate() {
        at(progress, &format!("on {}", sample.name));
        let Ok(value) = Value::from_json_str(&sample.document) else { continue };
        for (point, entries) in bench.evaluate(&value, |point| bench.is_own(&point.file)) {
            let entries = match entries {
                Ok(entries) => entries,
                Err(fault) => {
                    let problem = failed(bench, point, &fault, sample);
                    if places.insert((
                        problem.file.clone(),
                        problem.line,
                        problem.column,
                        problem.code.clone().into_owned(),
                    )) {
                        found.push(problem);
                    }
                    continue;
                }
            };
            let pointers = entries.iter().filter(|_| point.kind == Kind::Hold && sample.plausible);
            for pointer in pointers.flat_map(|entry| entry.confirm_with.as_slice()) {
                if input::typed_value(&sample.document, pointer).is_none() {
                    let problem = pointer_problem(bench, point, pointer, sample);
                    if places.insert((problem.file.clone(), problem.line, 0, pointer.clone())) {
                        found.push(problem);
                    }
                }
            }
            if point.kind == Kind::Allow {
                let allows = allows.entry(&point.policy).or_default();
                if n == 0 {
                    allows.of_nothing.extend(entries.into_iter().map(|entry| entry.rule));
                } else {
                    allows.covered += usize::from(!entries.is_empty());
                }
            }
        }
    }
    for point in bench.points.iter().filter(|point| point.kind == Kind::Allow && bench.is_own(&point.file)) {
        let Some(allows) = allows.get(point.policy.as_str()) else { continue };
        found.extend(too_open(bench, point, allows, samples.len()));
    }
    found
}

/// A policy that allows what nothing is known about, or everything that there is.
fn too_open(bench: &Bench, point: &EntryPoint, allows: &Allows, samples: usize) -> Option<Problem> {
    let line = |rule: &String| bench.lines.get(&(point.policy.clone(), rule.clone())).copied().unwrap_or(point.line);
    let help = "say in every allow what it is for: input.operation.name, input.operation.class, input.principal.name";
    if let Some(rule) = allows.of_nothing.iter().next() {
        let message = format!("{rule} {ALLOWS_NOTHING}");
        return Some(place(bench, point, line(rule), "default-allow", message, help));
    }
    if samples > 0 && allows.covered == samples {
        let message =
            format!("the policy {} allows every operation of every catalog, odd calls included", point.policy);
        return Some(place(bench, point, point.line, "allows-all", message, help).warning());
    }
    None
}

fn failed(bench: &Bench, point: &EntryPoint, fault: &PolicyFault, sample: &Sample) -> Problem {
    let set = point.kind.as_str();
    let on = format!("on {}", sample.name);
    match fault {
        PolicyFault::Engine { message, .. } => {
            let problem = of_interpreter(message, &bench.sources(), &point.file);
            let help = format!(
                "a call of this kind would be refused: ask for the type first (is_number, is_string, is_array); the \
                 arguments are {}",
                shown(&sample.document)
            );
            Problem { code: "sample".into(), message: format!("fails {on}: {}", problem.message), help, ..problem }
        }
        PolicyFault::Shape { message, .. } => {
            let message = format!("`{set}` has a malformed entry {on}: {message}");
            let help = format!(
                "see what an entry may have in policies/README.md; the arguments are {}",
                shown(&sample.document)
            );
            place(bench, point, point.line, "entry", message, help)
        }
        PolicyFault::BuiltIn { .. }
        | PolicyFault::Undefined { .. }
        | PolicyFault::TimeLimit { .. }
        | PolicyFault::Pointer { .. }
        | PolicyFault::Input(_)
        | PolicyFault::Timeout
        | PolicyFault::Worker(_)
        | PolicyFault::Saturated
        | PolicyFault::Panicked => {
            let help = format!("a call of this kind would be refused; the arguments are {}", shown(&sample.document));
            place(bench, point, point.line, "sample", format!("`{set}` fails {on}: {fault}"), help)
        }
    }
}

/// The rule asks the operator for something that such a call does not have, so the call is refused.
fn pointer_problem(bench: &Bench, point: &EntryPoint, pointer: &str, sample: &Sample) -> Problem {
    let message = format!("confirm_with {pointer} leads to nothing that can be typed on {}", sample.name);
    let help = "such a call is refused, and nobody is asked: hold without confirm_with where the value is missing";
    place(bench, point, point.line, "confirm", message, help).warning()
}

fn place(
    bench: &Bench,
    point: &EntryPoint,
    line: usize,
    code: &'static str,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Problem {
    let problem = Problem::of_file(&point.file, code, message, help);
    let module = bench.modules.iter().find(|module| module.source.name == point.file);
    module.map_or(problem.clone(), |module| problem.at(line, 1, &module.source.text))
}

/// The arguments of a sample, cut.
fn shown(document: &str) -> String {
    let text = JsonText::parse(document, Rules::UPSTREAM).ok();
    let arguments = text.as_ref().and_then(|text| text.view().get("arguments")).map_or("absent", Json::text);
    let part: String = arguments.chars().take(SHOWN).collect();
    let cut = if part.len() < arguments.len() { "…" } else { "" };
    format!("{}{cut}", part.escape_debug().to_string().replace("\\\"", "\""))
}
