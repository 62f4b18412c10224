//! The policies: they load, they have no mistake that a check finds, and their tests pass.

use super::finding::{Finding, count, shell};
use super::ground::Ground;
use crate::cli::policy::check;
use crate::policy::test::{self, Options, Verdict};
use crate::policy::{Problem, Severity};

/// Problems and tests that are named one by one.
const NAMED: usize = 5;

pub fn check(ground: &Ground) -> Vec<Finding> {
    let Some(config) = &ground.config else { return Vec::new() };
    let command = ground.with_config("countersign policy check");
    let mut found = match check::of_config(config) {
        Ok((rules, problems)) => problems_of(rules, &problems, &command),
        Err(error) => vec![Finding::problem("", format!("{error:#}")).run(command)],
    };
    if config.policy.unsafe_default_allow {
        let text = "policy.unsafe_default_allow is on: a policy may allow whatever no rule denies";
        found.push(Finding::warning("", text).run("say in every allow what it is for, and take the key away"));
    }
    if config.policy.paths.is_empty() {
        return found;
    }
    let words: Vec<String> = config.policy.paths.iter().map(|path| shell(path)).collect();
    let command = format!("countersign policy test {}", words.join(" "));
    match test::run(&config.policy.paths, &Options { run: None, coverage: false }) {
        // What does not load has been said.
        Err(_) => {}
        Ok(run) => {
            let outcomes = run.outcomes.iter().map(|outcome| (outcome.name.as_str(), &outcome.verdict));
            found.push(tests(outcomes, &command));
        }
    }
    found
}

fn problems_of(rules: Option<usize>, problems: &[Problem], command: &str) -> Vec<Finding> {
    if problems.is_empty() {
        return vec![Finding::ok("", format!("{} loaded and checked", count(rules.unwrap_or(0), "rule")))];
    }
    let mut found: Vec<Finding> = problems
        .iter()
        .take(NAMED)
        .map(|problem| {
            let about = format!("{}:{}:{}", problem.file, problem.line, problem.column);
            match problem.severity {
                Severity::Error => Finding::problem(about, problem.message.as_str()).run(command),
                Severity::Warning => Finding::warning(about, problem.message.as_str()).run(command),
            }
        })
        .collect();
    if let Some(more) = problems.len().checked_sub(NAMED).filter(|more| *more > 0) {
        found.push(Finding::warning("", format!("{more} more")).run(command));
    }
    found
}

fn tests<'a>(outcomes: impl Iterator<Item = (&'a str, &'a Verdict)>, command: &str) -> Finding {
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, verdict) in outcomes {
        match verdict {
            Verdict::Pass => passed += 1,
            Verdict::Fail | Verdict::Error(_) => failed.push(name),
            Verdict::Skipped => {}
        }
    }
    match (passed, failed.first()) {
        (_, Some(first)) => {
            let text = format!("{} of {} tests do not pass, {first} first", failed.len(), passed + failed.len());
            Finding::problem("", text).run(command)
        }
        (0, None) => Finding::note("", "your policies have no tests").run("see policies/README.md, on tests"),
        (_, None) => Finding::ok("", format!("{} passed", count(passed, "test"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn tests_that_fail_and_tests_that_are_not_there_are_said() {
        let judged = |verdicts: &[Verdict]| tests(verdicts.iter().map(|verdict| ("t", verdict)), "run them");
        assert_eq!(judged(&[Verdict::Pass, Verdict::Skipped]).level, Level::Ok);
        assert_eq!(judged(&[Verdict::Skipped]).level, Level::Note);
        for wrong in [Verdict::Fail, Verdict::Error("x".to_owned())] {
            let found = judged(&[Verdict::Pass, wrong]);
            assert_eq!((found.level, found.command.as_deref()), (Level::Problem, Some("run them")));
            assert!(found.text.contains("1 of 2"), "{}", found.text);
        }
    }
}
