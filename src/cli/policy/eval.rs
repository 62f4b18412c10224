//! `countersign policy eval`: what the daemon would decide about one call.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use super::subject::Asked;
use super::{Exit, Format, print_json};
use crate::call::{CallContext, Decision, Effect};
use crate::config;
use crate::console::visible;
use crate::gate;
use crate::json::{JsonText, Rules};
use crate::policy::{Phase, PolicyEngine, PolicyFault, Settings};
use crate::proxy::policy_settings;

const SCHEMA: &str = "countersign.decision/v1";

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// An input document instead of a call; judged by the built-in policies unless --config names others
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "tool", "arguments", "principal"])]
    input: Option<PathBuf>,
    /// The configuration whose servers, principals and policies are meant
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Format::Human)]
    output: Format,
    /// Exit with 10 for hold and 11 for deny
    #[arg(long)]
    exit_code: bool,
}

pub fn run(eval: &Args) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let (decided, history) = match &eval.input {
        Some(file) => {
            let document =
                std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
            let settings = match &eval.config {
                Some(path) => policy_settings(&config::load(Some(path))?),
                None => Settings::default(),
            };
            let document = eval.asked.at_its_time(document)?;
            let engine = PolicyEngine::load(settings)?;
            (runtime.block_on(engine.decide(phase(&document)?, document)), None)
        }
        None => {
            let config = config::load(eval.config.as_deref())?;
            let ((call, context), now) = (eval.asked.call(&config)?, eval.asked.now()?);
            let engine = PolicyEngine::load(policy_settings(&config))?;
            // Nothing is read of what the daemon has let through: the principal has its whole budget.
            let history = gate::nothing_yet(&call, &context, engine.history_on(&context.server.name));
            let context = CallContext { history: history.clone(), ..context };
            let decided = runtime.block_on(engine.evaluate(&call, &context, call.digest(&context), now));
            (decided, history)
        }
    };
    print(eval.output, &decided, history.as_ref())?;
    Ok(match decided.map(|decision| decision.effect) {
        Ok(Effect::Hold) if eval.exit_code => Exit::Hold,
        Ok(Effect::Deny) | Err(_) if eval.exit_code => Exit::Deny,
        Ok(Effect::Allow | Effect::Hold | Effect::Deny) => Exit::Ok,
        Err(_) => Exit::Problems,
    })
}

/// The phase that a ready-made input document says it is for.
pub(super) fn phase(document: &str) -> anyhow::Result<Phase> {
    let text = JsonText::parse(document, Rules::UPSTREAM).context("the input is not strict JSON")?;
    match text.view().get("phase").and_then(|phase| phase.as_str().map(std::borrow::Cow::into_owned)).as_deref() {
        Some("call") => Ok(Phase::Call),
        Some("list") => Ok(Phase::List),
        _ => bail!("the input has no `phase`: write \"call\" or \"list\""),
    }
}

fn print(format: Format, decided: &Result<Decision, PolicyFault>, history: Option<&JsonText>) -> anyhow::Result<()> {
    match (format, decided) {
        (Format::Json, Ok(decision)) => {
            let mut report = serde_json::to_value(decision)?;
            if let Some(members) = report.as_object_mut() {
                members.insert("schema".to_owned(), json!(SCHEMA));
                if let Some(history) = history {
                    members.insert("history".to_owned(), serde_json::from_str(history.as_str())?);
                }
            }
            print_json(&report)?;
        }
        (Format::Json, Err(fault)) => {
            let report = json!({"schema": SCHEMA, "effect": "deny", "fault": fault.to_string()});
            print_json(&report)?;
        }
        (Format::Human, Ok(decision)) => {
            human(decision);
            if history.is_some() {
                say!("  history: as if nothing had been let through before (-o json shows it)");
            }
        }
        (Format::Human, Err(fault)) => refused(fault),
    }
    Ok(())
}

pub(super) fn human(decision: &Decision) {
    let effect = match decision.effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::Hold => "hold",
    };
    say!("{effect}: {}", visible::line(&decision.reason));
    for hit in &decision.rules {
        say!("  {}", hit_line(hit));
    }
    if decision.effect == Effect::Hold {
        let tier = format!("{:?}", decision.tier).to_lowercase();
        say!("  tier {tier}, approvals {}", decision.approvals);
        decision.confirm_with.iter().for_each(|pointer| say!("  the operator types {pointer}"));
    }
    for hit in &decision.observed {
        say!("  not enforced: {}", hit_line(hit));
    }
}

pub(super) fn refused(fault: &PolicyFault) {
    say!("deny: the call would be refused\n  {}", visible::line(&fault.to_string()));
}

/// A reason may repeat words of the call.
fn hit_line(hit: &crate::call::RuleHit) -> String {
    visible::line(&format!("{} at {}:{}: {}", hit.rule, hit.file, hit.line, hit.reason))
}
