//! `countersign policy explain`: why the policies say what they say about a call, line by line. The call is one that
//! waits, one that was recorded, an input document, or one that nobody has made.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use super::eval::{human, phase, refused};
use super::report::shown;
use super::subject::Asked;
use super::{Exit, Format, print_json};
use crate::audit::{AuditReader, Record};
use crate::call::{CallId, Decision};
use crate::cli::console::DaemonArgs;
use crate::cli::pending;
use crate::config::{self, Config};
use crate::console::visible;
use crate::json::{JsonText, Rules};
use crate::policy::author::explain::{Line, Mark, Outcome, Story};
use crate::policy::author::{self, Bench, Judged};
use crate::policy::{Phase, Settings, recorded};
use crate::proxy::policy_settings;

const SCHEMA: &str = "countersign.explanation/v1";

#[derive(clap::Args, Debug)]
pub struct Args {
    /// A call that waits or waited: its id, or the start of it
    #[arg(long, value_name = "ID", conflicts_with_all = ["record", "input", "server", "tool", "arguments", "principal", "now"])]
    hold: Option<String>,
    /// A call in the audit log, by its id
    #[arg(long, value_name = "ID", conflicts_with_all = ["input", "server", "tool", "arguments", "principal", "now"])]
    record: Option<CallId>,
    /// An input document; judged by the built-in policies unless --config names others
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "tool", "arguments", "principal"])]
    input: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    daemon: DaemonArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Human)]
    output: Format,
}

/// What is explained, and where it is from.
struct Subject {
    phase: Phase,
    document: String,
    settings: Settings,
    /// The decision that was recorded, where one was.
    recorded: Option<Recorded>,
}

struct Recorded {
    id: CallId,
    at: String,
    effect: String,
    policy_version: String,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let config = || config::load(args.daemon.config());
    let subject = match (&args.hold, &args.record, &args.input) {
        (Some(start), _, _) => {
            let id = match pending::id_of(&args.daemon, start)? {
                Ok(id) => id,
                Err(exit) => return Ok(exit),
            };
            from_record(&id, &config()?)?
        }
        (None, Some(id), _) => from_record(id, &config()?)?,
        (None, None, Some(file)) => Some(from_file(file, args.daemon.config(), &args.asked)?),
        (None, None, None) => {
            let config = config()?;
            let (call, context) = args.asked.call(&config)?;
            let document = author::document_at(args.asked.now()?, &call, &context);
            let settings = policy_settings(&config);
            Some(Subject { phase: Phase::Call, document, settings, recorded: None })
        }
    };
    let Some(Subject { phase, document, settings, recorded }) = subject else { return Ok(Exit::NotFound) };
    let bench = Bench::of_settings(&settings)?;
    let (judged, stories) = bench.explain(phase, document)?;
    match args.output {
        Format::Human => print_human(&bench, recorded.as_ref(), &judged, &stories),
        Format::Json => print_json(&report(&bench, recorded.as_ref(), &judged, &stories)?)?,
    }
    Ok(Exit::Ok)
}

fn from_file(file: &Path, config: Option<&Path>, asked: &Asked) -> anyhow::Result<Subject> {
    let document = std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    let document = asked.at_its_time(document)?;
    let settings = match config {
        Some(path) => policy_settings(&config::load(Some(path))?),
        None => Settings::default(),
    };
    Ok(Subject { phase: phase(&document)?, document, settings, recorded: None })
}

/// `None` after it was said that there is no such record.
fn from_record(id: &CallId, config: &Config) -> anyhow::Result<Option<Subject>> {
    let path = config.state_dir.join("audit.db");
    if !path.exists() {
        eprintln!("countersign: there is no audit log at {}", path.display());
        return Ok(None);
    }
    let mut found: Option<Record> = None;
    AuditReader::open(&path)?.story(id, |record| {
        let decided = record.kind == "decided" || record.kind == "failed";
        found = decided.then_some(record);
        found.is_none()
    })?;
    let Some(record) = found else {
        eprintln!("countersign: no record of a decision about {id} in {}", path.display());
        eprintln!("help: `countersign audit tail` lists calls; a refusal before policy has no decision");
        return Ok(None);
    };
    let document = recorded::document(&record.body)
        .map_err(|why| anyhow::anyhow!("record {} of {id} does not say what the rules saw: {why}", record.seq))?;
    let document = document.into_text();
    let body = JsonText::parse(record.body.as_str(), Rules::UPSTREAM).context("the record is not strict JSON")?;
    let word = |pointer: &str| {
        let value = body.view().pointer(pointer).and_then(|value| value.as_str().map(std::borrow::Cow::into_owned));
        value.unwrap_or_default()
    };
    let effect = if record.kind == "failed" { "failed".to_owned() } else { word("/decision/effect") };
    let policy_version = word("/decision/policy_version");
    let recorded = Recorded { id: id.clone(), at: record.at, effect, policy_version };
    Ok(Some(Subject { phase: Phase::Call, document, settings: policy_settings(config), recorded: Some(recorded) }))
}

fn print_human(bench: &Bench, recorded: Option<&Recorded>, judged: &Judged, stories: &[Story]) {
    if let Some(recorded) = recorded {
        say!("call {} was decided at {}: {}", recorded.id, recorded.at, recorded.effect);
        if !recorded.policy_version.is_empty() && recorded.policy_version != bench.version() {
            say!("the policies have changed since: this is what they say now");
        }
    }
    match &judged.decision {
        Ok(decision) => human(decision),
        Err(fault) => refused(fault),
    }
    say!("\nyes  holds     NO  the first that does not hold     -  not reached     ran  evaluated, in a function");
    let mut file = "";
    for story in stories.iter().filter(|story| story.exported).chain(stories.iter().filter(|story| !story.exported)) {
        if story.file != file {
            file = &story.file;
            say!("\n{file}");
        }
        print_story(story);
    }
}

fn print_story(story: &Story) {
    let rules = if story.rules.is_empty() { String::new() } else { format!(" {}", story.rules.join(", ")) };
    let (outcome, values): (String, &[String]) = match &story.outcome {
        Outcome::Held { values } => ("held".to_owned(), values),
        Outcome::NotHeld => ("did not hold".to_owned(), &[]),
        Outcome::Error { message } => (format!("FAILED, so the call is refused: {message}"), &[]),
        Outcome::Called => ("a function that was evaluated".to_owned(), &[]),
        Outcome::NotCalled => ("a function that was not evaluated".to_owned(), &[]),
        Outcome::Unknown => ("its lines cannot be told apart".to_owned(), &[]),
    };
    say!("\n  {}{rules}: {}", story.name, visible::line(&outcome));
    let width = story.lines.last().map_or(0, |line| line.line.to_string().len());
    for Line { line, text, mark } in &story.lines {
        let mark = match mark {
            Some(Mark::Held) => "yes",
            Some(Mark::Ran) => "ran",
            Some(Mark::Failed) => " NO",
            Some(Mark::NotReached) => "  -",
            None => "",
        };
        let text = shown(&text.replace('\t', "    "));
        say!("  {}", format!("{mark:>3} {line:>width$} | {text}").trim_end());
        for read in story.reads.iter().filter(|read| read.line == *line) {
            let values = if read.values.is_empty() { "undefined".to_owned() } else { read.values.join(" or ") };
            say!("      {:>width$} = {} is {}", "", visible::line(&read.name), visible::line(&values));
        }
    }
    // What a helper that is just true made, everybody knows.
    if !story.exported && values != ["true"] {
        values.iter().for_each(|value| say!("      {:>width$} = {}", "", visible::line(value)));
    }
}

fn report(
    bench: &Bench,
    recorded: Option<&Recorded>,
    judged: &Judged,
    stories: &[Story],
) -> anyhow::Result<serde_json::Value> {
    let said = judged.said.iter().map(|said| {
        json!({
            "set": said.kind.as_str(), "policy": said.policy, "rule": said.rule, "reason": said.reason,
            "file": said.file, "line": said.line, "enforced": said.enforced,
        })
    });
    let recorded = recorded.map(|recorded| {
        json!({
            "id": recorded.id, "at": recorded.at, "effect": recorded.effect,
            "policy_version": recorded.policy_version,
        })
    });
    let (decision, fault): (Option<&Decision>, _) = match &judged.decision {
        Ok(decision) => (Some(decision), None),
        Err(fault) => (None, Some(fault.to_string())),
    };
    Ok(json!({
        "schema": SCHEMA, "policy_version": bench.version(), "recorded": recorded,
        "decision": serde_json::to_value(decision)?, "fault": fault, "said": said.collect::<Vec<_>>(),
        "rules": serde_json::to_value(stories)?,
    }))
}
