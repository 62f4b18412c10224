//! `countersign policy test`: runs tests, says how they went and which lines none of them reached.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;

use super::{Exit, print_json};
use crate::cli::quoted;
use crate::console::visible;
use crate::policy::test::{self, Covered, Options, Outcome, Run, Verdict};

const SCHEMA: &str = "countersign.policy-test/v1";

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Files and folders; without any, the built-in policies
    paths: Vec<PathBuf>,
    /// Every test with its time, not only those that did not pass
    #[arg(short, long)]
    verbose: bool,
    /// Tests whose name, data.countersign.policy.NAME_test.test_X, matches only
    #[arg(long, value_name = "REGEX")]
    run: Option<String>,
    #[arg(long, value_enum, default_value_t = Form::Human)]
    format: Form,
    /// Say which lines of the policies no test evaluates
    #[arg(long)]
    coverage: bool,
    /// Exit with 1 where fewer lines than this are evaluated, in percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    threshold: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Form {
    Human,
    Json,
    /// XML that build servers read
    Junit,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let pattern = args.run.as_deref().map(regex::Regex::new).transpose().context("--run is no pattern")?;
    let options = Options { run: pattern, coverage: args.coverage || args.threshold.is_some() };
    let run = match test::run(&args.paths, &options) {
        Ok(run) => run,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(Exit::Problems);
        }
    };
    match args.format {
        Form::Human => human(args, &run),
        Form::Json => print_json(&report(&run))?,
        Form::Junit => say!("{}", junit(&run).trim_end()),
    }
    let tally = Tally::of(&run);
    let enough = args.threshold.is_none_or(|threshold| percent(&run.coverage) >= f64::from(threshold));
    if let (Some(threshold), false) = (args.threshold, enough) {
        eprintln!("coverage {:.1} % is below the threshold of {threshold} %", percent(&run.coverage));
    }
    // A run without tests proves nothing.
    Ok(if tally.passed > 0 && tally.failed == 0 && enough { Exit::Ok } else { Exit::Problems })
}

struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn of(run: &Run) -> Tally {
        let count = |wanted: fn(&Verdict) -> bool| run.outcomes.iter().filter(|o| wanted(&o.verdict)).count();
        Tally {
            passed: count(|verdict| matches!(verdict, Verdict::Pass)),
            failed: count(|verdict| matches!(verdict, Verdict::Fail | Verdict::Error(_))),
            skipped: count(|verdict| matches!(verdict, Verdict::Skipped)),
        }
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Error(_) => "ERROR",
        Verdict::Skipped => "SKIPPED",
    }
}

fn human(args: &Args, run: &Run) {
    for outcome in &run.outcomes {
        let shown = match outcome.verdict {
            Verdict::Pass => args.verbose,
            Verdict::Fail | Verdict::Error(_) | Verdict::Skipped => true,
        };
        if shown {
            print_outcome(outcome, args.verbose);
        }
    }
    for file in &run.coverage {
        print_coverage(file);
    }
    if !run.coverage.is_empty() {
        say!("coverage {:.1} %", percent(&run.coverage));
    }
    let Tally { passed, failed, skipped } = Tally::of(run);
    say!("{passed} passed, {failed} failed, {skipped} skipped");
    let failed = run.outcomes.iter().filter(|o| matches!(o.verdict, Verdict::Fail | Verdict::Error(_)));
    if let Some(first) = failed.map(|outcome| &outcome.name).next() {
        let paths: Vec<String> = args.paths.iter().map(|path| quoted(&path.display().to_string())).collect();
        let space = if paths.is_empty() { "" } else { " " };
        let name = regex::escape(first);
        say!("run the first again: countersign policy test{space}{} -v --run '^{name}$'", paths.join(" "));
    }
    if run.outcomes.is_empty() {
        eprintln!("no test was run: tests are test_* rules in *_test.rego files");
    }
}

fn print_outcome(outcome: &Outcome, timed: bool) {
    let time = if timed { format!(" {}", milliseconds(outcome.took)) } else { String::new() };
    say!("{} {} ({}:{}){time}", word(&outcome.verdict), outcome.name, outcome.file, outcome.line);
    let failure = match &outcome.verdict {
        Verdict::Error(message) => message.as_str(),
        Verdict::Fail => "",
        Verdict::Pass | Verdict::Skipped => return,
    };
    for line in failure.lines().chain(outcome.prints.iter().map(String::as_str)) {
        say!("  {}", visible::line(line));
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}ms", time.as_secs_f64() * 1000.0)
}

fn print_coverage(file: &Covered) {
    let all = file.covered.len() + file.not_covered.len();
    let percent = percent(std::slice::from_ref(file));
    say!("{percent:5.1} %  {} of {all} lines  {}", file.covered.len(), file.file);
    if !file.not_covered.is_empty() {
        say!("         not evaluated: {}", ranges(file));
    }
}

/// `3, 7-9`: lines in between that have nothing to evaluate do not split a range.
fn ranges(file: &Covered) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &line in &file.not_covered {
        match ranges.last_mut() {
            Some((_, end)) if file.covered.range(*end..line).next().is_none() => *end = line,
            Some(_) | None => ranges.push((line, line)),
        }
    }
    let text = |(from, to): &(usize, usize)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    ranges.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Of nothing at all everything is evaluated.
fn percent(files: &[Covered]) -> f64 {
    let sum = |count: fn(&Covered) -> usize| files.iter().map(count).sum::<usize>();
    let (covered, missed) = (sum(|file| file.covered.len()), sum(|file| file.not_covered.len()));
    let number = |n: usize| u32::try_from(n).map_or(f64::from(u32::MAX), f64::from);
    if covered + missed == 0 { 100.0 } else { 100.0 * number(covered) / number(covered + missed) }
}

fn report(run: &Run) -> serde_json::Value {
    let tests = run.outcomes.iter().map(|outcome| {
        let error = match &outcome.verdict {
            Verdict::Error(message) => Some(message),
            Verdict::Pass | Verdict::Fail | Verdict::Skipped => None,
        };
        json!({
            "name": outcome.name, "file": outcome.file, "line": outcome.line,
            "verdict": word(&outcome.verdict).to_lowercase(), "error": error, "prints": outcome.prints,
            "ms": outcome.took.as_secs_f64() * 1000.0,
        })
    });
    let files = run.coverage.iter().map(|file| {
        json!({
            "file": file.file, "covered": file.covered, "not_covered": file.not_covered,
            "percent": percent(std::slice::from_ref(file)),
        })
    });
    let Tally { passed, failed, skipped } = Tally::of(run);
    let covered = json!({"percent": percent(&run.coverage), "files": files.collect::<Vec<_>>()});
    json!({
        "schema": SCHEMA, "passed": passed, "failed": failed, "skipped": skipped,
        "tests": tests.collect::<Vec<_>>(),
        "coverage": if run.coverage.is_empty() { serde_json::Value::Null } else { covered },
    })
}

fn junit(run: &Run) -> String {
    use std::fmt::Write;
    let Tally { failed, skipped, .. } = Tally::of(run);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let total: Duration = run.outcomes.iter().map(|outcome| outcome.took).sum();
    let (tests, time) = (run.outcomes.len(), total.as_secs_f64());
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<testsuites>\n<testsuite name=\"countersign policy test\" tests=\"{tests}\" failures=\"{failed}\" \
         skipped=\"{skipped}\" time=\"{time:.3}\">"
    );
    for outcome in &run.outcomes {
        let (class, name) = outcome.name.rsplit_once('.').unwrap_or(("", &outcome.name));
        let _ = write!(
            out,
            "<testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.3}\"",
            xml(class),
            xml(name),
            xml(&outcome.file),
            outcome.line,
            outcome.took.as_secs_f64()
        );
        let prints = outcome.prints.join("\n");
        let _ = match &outcome.verdict {
            Verdict::Pass => writeln!(out, "/>"),
            Verdict::Skipped => writeln!(out, "><skipped/></testcase>"),
            Verdict::Fail => writeln!(out, "><failure message=\"not true\">{}</failure></testcase>", xml(&prints)),
            Verdict::Error(message) => writeln!(
                out,
                "><failure message=\"error\">{}</failure></testcase>",
                xml(&format!("{message}\n{prints}"))
            ),
        };
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

/// XML has no escape for control characters: they are made visible.
fn xml(text: &str) -> String {
    let visible: Vec<String> = text.lines().map(visible::line).collect();
    let escaped = visible.join("\n").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;")
}
