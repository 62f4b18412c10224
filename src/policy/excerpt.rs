//! The lines behind a hold: the rules that spoke, as they were loaded, each line with whether it was evaluated and held.
//!
//! What explains is the author's bench, which takes longer than a decision and evaluates more. So it never runs where
//! calls are judged: an operator's rules are explained in a process that is started for this one question, with the
//! limits of a policy process, and that is gone afterwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::author::Bench;
use super::author::explain::{Mark, Outcome, Story};
use super::set::Build;
use super::{Phase, Policies, input, pool};
use crate::call::{CallContext, Digest, ToolCall};

/// How long an explanation may take, when the policies are loaded.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// Rules of one explanation, lines of one rule, characters of one line.
const MAX_RULES: usize = 16;
const MAX_LINES: usize = 200;
const MAX_TEXT: usize = 400;

/// A rule that spoke.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Excerpt {
    pub rule: String,
    pub file: String,
    pub lines: Vec<ExcerptLine>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExcerptLine {
    pub number: u32,
    pub text: String,
    /// The line was evaluated and held.
    pub held: bool,
}

/// A question, as it travels to the process that answers it.
#[derive(Serialize, Deserialize)]
pub(super) struct Question {
    pub document: String,
    /// Of whose entries the lines are wanted.
    pub rules: Vec<String>,
}

impl Policies {
    /// The lines of these rules for a call.
    ///
    /// # Errors
    /// Why there are none, for operators.
    pub async fn explain(
        &self,
        call: &ToolCall,
        context: &CallContext,
        digest: Digest,
        now: u64,
        rules: Vec<String>,
    ) -> Result<Vec<Excerpt>, String> {
        let document = input::document(now, input::Subject::call(call, digest), context);
        let question = Question { document: document.into(), rules };
        let build = self.set.build()?;
        let program = self.engine.0.settings.worker.clone();
        let work = move || match program {
            Some(program) => pool::explain(&program, build, &question),
            // Nobody else's rules are evaluated in this process.
            None if build.is_shipped() => answer(&bench(build)?, question),
            None => Err("there are no policy processes here".to_owned()),
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("the explanation failed".to_owned()))
    }
}

/// The policies on the bench. Blocks.
pub(super) fn bench(build: Build) -> Result<Bench, String> {
    Bench::of_build(build).map_err(|errors| errors.to_string())
}

/// Blocks for as long as the rules take, with the bench's own limits.
pub(super) fn answer(bench: &Bench, question: Question) -> Result<Vec<Excerpt>, String> {
    let Question { document, rules } = question;
    let (_, stories) = bench.explain(Phase::Call, document).map_err(|errors| errors.to_string())?;
    let spoke = |story: &&Story| story.exported && matches!(story.outcome, Outcome::Held { .. } | Outcome::Unknown);
    let excerpts = stories.iter().filter(spoke).filter_map(|story| {
        let rule = story.rules.iter().find(|rule| rules.contains(rule))?;
        Some(excerpt(rule, story))
    });
    Ok(excerpts.take(MAX_RULES).collect())
}

fn excerpt(rule: &str, story: &Story) -> Excerpt {
    let line = |line: &super::author::explain::Line| ExcerptLine {
        number: u32::try_from(line.line).unwrap_or(u32::MAX),
        text: line.text.chars().take(MAX_TEXT).collect(),
        held: matches!(line.mark, Some(Mark::Held)),
    };
    let lines = story.lines.iter().take(MAX_LINES).map(line).collect();
    Excerpt { rule: rule.to_owned(), file: story.file.clone(), lines }
}
