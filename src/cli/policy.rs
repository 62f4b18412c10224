//! `countersign policy`: test, check and try policies. Nothing here talks to a daemon or reads a key.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::json;

use super::Exit;
use crate::call::{
    CallContext, ClientInfo, Decision, Effect, Environment, Pin, Principal, ToolCall, ToolFacts, Transport,
};
use crate::catalog::Catalog;
use crate::config::{self, Config, Match};
use crate::gate;
use crate::json::{JsonText, Rules};
use crate::mcp::message::Message;
use crate::mcp::method::{Sorted, sort};
use crate::policy::test::{Outcome, Verdict};
use crate::policy::{self, Phase, PolicyEngine, PolicyFault, Settings};
use crate::proxy::policy_settings;

const DECISION_SCHEMA: &str = "countersign.decision/v1";
const CHECK_SCHEMA: &str = "countersign.policy-check/v1";

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Run the test_* rules of *_test.rego files
    Test {
        /// Files and folders; without any, the built-in policies
        paths: Vec<PathBuf>,
    },
    /// Load policies as the daemon would, and say everything that is wrong with them
    Check {
        /// Files and folders; without any, the built-in policies
        paths: Vec<PathBuf>,
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Judge one call without making it
    Eval(Eval),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

#[derive(clap::Args, Debug)]
pub struct Eval {
    /// The server's name in the configuration
    #[arg(long, required_unless_present = "input")]
    server: Option<String>,
    #[arg(long, required_unless_present = "input")]
    tool: Option<String>,
    /// The arguments of the call, a JSON object
    #[arg(long, default_value = "{}")]
    arguments: String,
    /// Who calls; needed where the configuration has several principals
    #[arg(long)]
    principal: Option<String>,
    /// An input document instead of a call; judged by the built-in policies unless --config names others
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "tool", "arguments", "principal"])]
    input: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Format::Human)]
    output: Format,
    /// Exit with 10 for hold and 11 for deny
    #[arg(long)]
    exit_code: bool,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Test { paths } => Ok(test(&paths)),
        Command::Check { paths, format } => check(&paths, format),
        Command::Eval(eval) => judge(&eval),
    }
}

fn test(paths: &[PathBuf]) -> Exit {
    let outcomes = match policy::test::run(paths) {
        Ok(outcomes) => outcomes,
        Err(errors) => {
            eprintln!("{errors}");
            return Exit::Problems;
        }
    };
    outcomes.iter().for_each(report);
    let count = |wanted: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count();
    let passed = count(|verdict| matches!(verdict, Verdict::Pass));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped));
    println!("{passed} passed, {} failed, {skipped} skipped", outcomes.len() - passed - skipped);
    // A run without tests proves nothing.
    if passed > 0 && passed + skipped == outcomes.len() { Exit::Ok } else { Exit::Problems }
}

fn report(outcome: &Outcome) {
    let word = match &outcome.verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Error(_) => "ERROR",
        Verdict::Skipped => "SKIPPED",
    };
    println!("{word} {} ({}:{})", outcome.name, outcome.file, outcome.line);
    let failure = match &outcome.verdict {
        Verdict::Error(message) => message.as_str(),
        Verdict::Fail => "",
        Verdict::Pass | Verdict::Skipped => return,
    };
    for line in failure.lines().chain(outcome.prints.iter().map(String::as_str)) {
        println!("  {line}");
    }
}

fn check(paths: &[PathBuf], format: Format) -> anyhow::Result<Exit> {
    let checked = policy::test::check(paths);
    let exit = if checked.is_ok() { Exit::Ok } else { Exit::Problems };
    match (format, checked) {
        (Format::Human, Ok(rules)) => println!("ok: {rules} rules"),
        (Format::Human, Err(errors)) => eprintln!("{errors}"),
        (Format::Json, checked) => {
            let (rules, problems) = match &checked {
                Ok(rules) => (Some(*rules), &[] as &[policy::Problem]),
                Err(errors) => (None, errors.problems()),
            };
            let report = json!({"schema": CHECK_SCHEMA, "rules": rules, "problems": problems});
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
    }
    Ok(exit)
}

fn judge(eval: &Eval) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let (decided, history) = match &eval.input {
        Some(file) => {
            let document =
                std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
            let settings = match &eval.config {
                Some(path) => policy_settings(&config::load(Some(path))?),
                None => Settings::default(),
            };
            let engine = PolicyEngine::load(settings)?;
            (runtime.block_on(engine.decide(phase(&document)?, document)), None)
        }
        None => {
            let config = config::load(eval.config.as_deref())?;
            let (call, context) = call(eval, &config)?;
            let engine = PolicyEngine::load(policy_settings(&config))?;
            // Nothing is read of what the daemon has let through: the principal has its whole budget.
            let history = gate::nothing_yet(&call, &context, engine.history_on(&context.server.name));
            let context = CallContext { history: history.clone(), ..context };
            (runtime.block_on(engine.evaluate(&call, &context, call.digest(&context))), history)
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
fn phase(document: &str) -> anyhow::Result<Phase> {
    let text = JsonText::parse(document, Rules::UPSTREAM).context("the input is not strict JSON")?;
    match text.view().get("phase").and_then(|phase| phase.as_str().map(std::borrow::Cow::into_owned)).as_deref() {
        Some("call") => Ok(Phase::Call),
        Some("list") => Ok(Phase::List),
        _ => bail!("the input has no `phase`: write \"call\" or \"list\""),
    }
}

/// The call and its context, as a session with the configured server would have them. No key is read, so the
/// environment is what the configuration declares; the tool's definition has not been seen.
fn call(eval: &Eval, config: &Config) -> anyhow::Result<(ToolCall, CallContext)> {
    let (Some(server), Some(tool)) = (&eval.server, &eval.tool) else { bail!("give --server and --tool, or --input") };
    let server = config.servers.get(server).with_context(|| {
        let known = config.servers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("no server is named {server}; the configuration has: {known}")
    })?;
    let (principal, by) = caller(eval.principal.as_deref(), config)?;
    let arguments =
        JsonText::parse(eval.arguments.as_bytes(), Rules::CLIENT).context("--arguments is not strict JSON")?;
    let request = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{},"arguments":{}}}}}"#,
        json!(tool),
        arguments.as_str()
    );
    let message = Message::from_client(request).map_err(|malformed| anyhow::anyhow!("{}", malformed.reason))?;
    let call = match sort(message) {
        Sorted::Decide(call) => *call,
        Sorted::Refuse(malformed) => bail!("{}", malformed.reason),
        Sorted::Pass(_)
        | Sorted::Task { .. }
        | Sorted::Notice(_)
        | Sorted::Cancel { .. }
        | Sorted::Drop { .. }
        | Sorted::Answer { .. } => {
            bail!("the call would not be judged")
        }
    };
    let catalog = Catalog::load(server.facts.vendor.as_deref(), &server.catalogs)?;
    let (transport, uid) = match by {
        Match::Token(_) => (Transport::Http, None),
        Match::Uid(uid) => (Transport::Stdio, Some(*uid)),
    };
    let context = CallContext {
        continues: None,
        history: None,
        session: "eval".to_owned(),
        principal,
        client: ClientInfo { uid, ..ClientInfo::silent(transport) },
        server: Arc::clone(&server.facts),
        environment: Arc::new(Environment::declared(&server.environment)),
        tool: ToolFacts { name: tool.clone(), annotations: None, definition: None, pin: Pin::Unknown },
        operation: catalog.operation(&call),
    };
    Ok((call, context))
}

fn caller<'a>(name: Option<&str>, config: &'a Config) -> anyhow::Result<(Arc<Principal>, &'a Match)> {
    let known = || {
        let names = config.principals.iter().map(|entry| entry.principal.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let entry = match (name, config.principals.as_slice()) {
        (Some(name), principals) => principals
            .iter()
            .find(|entry| entry.principal.name == name)
            .with_context(|| format!("no principal is named {name}; the configuration has: {}", known()))?,
        (None, [only]) => only,
        (None, _) => bail!("say who calls with --principal; the configuration has: {}", known()),
    };
    Ok((Arc::clone(&entry.principal), &entry.by))
}

fn print(format: Format, decided: &Result<Decision, PolicyFault>, history: Option<&JsonText>) -> anyhow::Result<()> {
    match (format, decided) {
        (Format::Json, Ok(decision)) => {
            let mut report = serde_json::to_value(decision)?;
            if let Some(members) = report.as_object_mut() {
                members.insert("schema".to_owned(), json!(DECISION_SCHEMA));
                if let Some(history) = history {
                    members.insert("history".to_owned(), serde_json::from_str(history.as_str())?);
                }
            }
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        (Format::Json, Err(fault)) => {
            let report = json!({"schema": DECISION_SCHEMA, "effect": "deny", "fault": fault.to_string()});
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        (Format::Human, Ok(decision)) => {
            human(decision);
            if let Some(history) = history {
                println!("  history: {}", history.as_str());
            }
        }
        (Format::Human, Err(fault)) => println!("deny: the call would be refused\n  {fault}"),
    }
    Ok(())
}

fn human(decision: &Decision) {
    let effect = match decision.effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::Hold => "hold",
    };
    println!("{effect}: {}", decision.reason);
    for hit in &decision.rules {
        println!("  {} at {}:{}: {}", hit.rule, hit.file, hit.line, hit.reason);
    }
    if decision.effect == Effect::Hold {
        let tier = format!("{:?}", decision.tier).to_lowercase();
        println!("  tier {tier}, approvals {}", decision.approvals);
        decision.confirm_with.iter().for_each(|pointer| println!("  the operator types {pointer}"));
    }
    for hit in &decision.observed {
        println!("  not enforced: {} at {}:{}: {}", hit.rule, hit.file, hit.line, hit.reason);
    }
}
