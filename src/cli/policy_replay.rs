//! `countersign policy replay` and `policy shadow`: what recorded calls come to under other policies. The log is only
//! read, beside the daemon or without it; no key is read and nothing is called.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use super::Exit;
use super::audit::Place;
use super::progress::Progress;
use crate::audit::{AuditReader, Record};
use crate::call::{Decision, Effect, RuleHit, Tier};
use crate::console::risk::plural;
use crate::console::visible;
use crate::json::{Json, JsonText, Rules};
use crate::policy::recorded::{self, NotReplayable};
use crate::policy::{PolicyEngine, PolicyFault, Settings, this_program};
use crate::proxy::policy_settings;

/// Calls that are named as examples of a change.
const EXAMPLES: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Output {
    Human,
    Json,
}

/// Which records are looked at.
#[derive(clap::Args, Debug)]
pub struct Window {
    /// How far back: 30m, 12h, 7d, 4w, or a time such as 2026-11-01T00:00:00Z
    #[arg(long, default_value = "7d")]
    pub since: Moment,
    /// Up to when, in the same forms
    #[arg(long)]
    pub until: Option<Moment>,
    /// Calls of this server only
    #[arg(long)]
    pub server: Option<String>,
}

/// What is judged by, and the log.
#[derive(clap::Args, Debug)]
pub struct Files {
    /// The configuration: its policies are the new ones, its `state_dir` holds the log
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A log that lies elsewhere
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
}

impl Files {
    /// # Errors
    /// Where there is no log.
    pub fn log(&self) -> anyhow::Result<AuditReader> {
        Place { config: self.config.clone(), db: self.db.clone() }.open()
    }
}

#[derive(clap::Args, Debug)]
pub struct Replay {
    #[command(flatten)]
    window: Window,
    /// Files and folders of policies to judge by, instead of the configuration's `policy.paths`
    #[arg(long, value_name = "PATH", num_args = 1..)]
    policy: Vec<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// Exit with 1 where a decision changes
    #[arg(long)]
    fail_on_change: bool,
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(clap::Args, Debug)]
pub struct Shadow {
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    place: Place,
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// A point in time, as a command line gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(pub Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let seconds = |unit: char| match unit {
            's' => Some(1),
            'm' => Some(60),
            'h' => Some(3600),
            'd' => Some(86_400),
            'w' => Some(604_800),
            _ => None,
        };
        let mut letters = text.chars();
        let ago = letters.next_back().and_then(seconds).and_then(|unit: i64| {
            let digits = letters.as_str();
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse::<i64>().ok()?.checked_mul(unit)).flatten()
        });
        if let Some(ago) = ago {
            let then = Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(ago));
            return then.map(Moment).map_err(|_| format!("{text} is too long ago"));
        }
        text.parse().map(Moment).map_err(|_| format!("{text} is neither like 7d nor like 2026-11-01T00:00:00Z"))
    }
}

/// What a decision comes to: where this is another one, a decision has changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Came {
    Allow,
    Hold { tier: Tier, approvals: u8 },
    Deny,
    Fault,
}

impl Came {
    pub fn of(decided: &Result<Decision, PolicyFault>) -> Came {
        match decided {
            Ok(decision) => Came::decided(decision),
            Err(_) => Came::Fault,
        }
    }

    fn decided(decision: &Decision) -> Came {
        match decision.effect {
            Effect::Allow => Came::Allow,
            Effect::Deny => Came::Deny,
            Effect::Hold => Came::Hold { tier: decision.tier, approvals: decision.approvals },
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Came::Allow => "allow",
            Came::Hold { .. } => "hold",
            Came::Deny => "deny",
            Came::Fault => "fail",
        }
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        let Came::Hold { tier, approvals } = self else { return Ok(()) };
        let tier = match tier {
            Tier::Low => "low",
            Tier::Medium => "medium",
            Tier::High => "high",
        };
        match approvals {
            0 | 1 => write!(f, " ({tier})"),
            more => write!(f, " ({tier}, {more} approvals)"),
        }
    }
}

impl Serialize for Came {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The rule that a decision names first.
pub fn behind(decided: &Result<Decision, PolicyFault>) -> String {
    match decided {
        Ok(decision) => decision.rules.first().map_or("no rule allows it", |hit| &hit.rule).to_owned(),
        Err(fault) => fault.to_string(),
    }
}

/// How many decisions there are of each kind.
#[derive(Default, Serialize)]
pub struct Counts {
    pub allow: u64,
    pub hold: u64,
    pub deny: u64,
    pub fail: u64,
}

impl Counts {
    pub fn add(&mut self, came: &Came) {
        match came {
            Came::Allow => self.allow += 1,
            Came::Hold { .. } => self.hold += 1,
            Came::Deny => self.deny += 1,
            Came::Fault => self.fail += 1,
        }
    }
}

/// A change of one kind of call.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    pub server: String,
    pub operation: String,
    pub from: Came,
    pub to: Came,
    /// Behind the new decision.
    pub rule: String,
}

/// How often something happened, and the first calls that it happened to.
#[derive(Default, Serialize)]
pub struct Times {
    pub count: u64,
    pub examples: Vec<String>,
}

impl Times {
    pub fn add(&mut self, example: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example.to_owned());
        }
    }
}

/// A recorded call, decided or failed.
pub struct Call {
    pub id: String,
    pub server: String,
    pub operation: String,
    pub decision: Option<Decision>,
    body: String,
}

impl Call {
    /// What was decided then.
    pub fn came(&self) -> Came {
        self.decision.as_ref().map_or(Came::Fault, Came::decided)
    }

    fn of(record: Record) -> Result<Call, NotReplayable> {
        let body = JsonText::parse(record.body.as_str(), Rules::UPSTREAM).map_err(|_| NotReplayable::Form)?;
        let text =
            |pointer: &str| body.view().pointer(pointer).and_then(Json::as_str).map(std::borrow::Cow::into_owned);
        let decision = match record.kind.as_str() {
            "decided" => {
                let decision = body.view().get("decision").ok_or(NotReplayable::Form)?;
                let cut = decision.get("cut").is_some();
                let read = serde_json::from_str(decision.text());
                Some(read.map_err(|_| if cut { NotReplayable::Cut } else { NotReplayable::Form })?)
            }
            _ => None,
        };
        let server = text("/server/name").ok_or(NotReplayable::Form)?;
        let operation = text("/operation/name").ok_or(NotReplayable::Form)?;
        let id = record.call.unwrap_or_default();
        Ok(Call { id, server, operation, decision, body: record.body })
    }
}

/// Runs through the decisions of a window, in order.
fn each_call(
    log: &AuditReader,
    window: &Window,
    mut each: impl FnMut(Result<Call, (String, NotReplayable)>),
) -> anyhow::Result<()> {
    let mut progress = Progress::new("records", log.last()?);
    log.scan(1, |record| {
        progress.at(record.seq);
        if !["decided", "failed"].contains(&record.kind.as_str()) || !window.has(&record) {
            return true;
        }
        let id = record.call.clone().unwrap_or_default();
        match Call::of(record) {
            Ok(call) if window.server.as_ref().is_none_or(|server| *server == call.server) => each(Ok(call)),
            Ok(_) => {}
            Err(why) => each(Err((id, why))),
        }
        true
    })?;
    Ok(())
}

impl Window {
    /// A record whose time cannot be read is in every window: it has to be counted.
    fn has(&self, record: &Record) -> bool {
        let at = record.at.parse::<Timestamp>().ok();
        at.is_none_or(|at| at >= self.since.0 && self.until.is_none_or(|until| at < until.0))
    }
}

/// Recorded calls that cannot be judged again, by reason.
#[derive(Default)]
pub struct Skipped(BTreeMap<NotReplayable, Times>);

impl Skipped {
    pub fn add(&mut self, id: &str, why: NotReplayable) {
        self.0.entry(why).or_default().add(id);
    }

    pub fn print(&self) {
        for (why, times) in &self.0 {
            println!("not judged: {} {why}, for example {}", times.count, list(&times.examples));
        }
    }

    pub fn json(&self) -> serde_json::Value {
        let one = |(why, times): (&NotReplayable, &Times)| serde_json::json!({"why": why.to_string(), "count": times.count, "examples": times.examples});
        self.0.iter().map(one).collect()
    }
}

/// Judges the calls of a window by one or more engines: `each` gets a call and what each engine says.
///
/// # Errors
/// Where the log cannot be read.
pub fn judge_all<const N: usize>(
    log: &AuditReader,
    window: &Window,
    engines: [&PolicyEngine; N],
    mut each: impl FnMut(&Call, [Result<Decision, PolicyFault>; N]),
) -> anyhow::Result<Skipped> {
    let runtime = runtime()?;
    let mut skipped = Skipped::default();
    each_call(log, window, |call| {
        let judged = call.and_then(|call| match recorded::document(&call.body) {
            Ok(document) => Ok((call, document)),
            Err(why) => Err((call.id, why)),
        });
        match judged {
            Ok((call, document)) => {
                each(
                    &call,
                    engines.map(|engine| again(|| runtime.block_on(engine.evaluate_recorded(document.clone())))),
                );
            }
            Err((id, why)) => skipped.add(&id, why),
        }
    })?;
    Ok(skipped)
}

/// A machine that is busy can make a policy late: what fails is tried again, and counts when it fails each time.
pub fn again(judge: impl Fn() -> Result<Decision, PolicyFault>) -> Result<Decision, PolicyFault> {
    judge().or_else(|_| judge()).or_else(|_| judge())
}

/// The engine of a command: recorded calls may be hostile, so operator's policies run as they do in the daemon.
///
/// # Errors
/// What is wrong with the policies.
pub fn engine(settings: Settings) -> anyhow::Result<PolicyEngine> {
    // Compared are answers: whether the daemon would load the set is what `policy check` says.
    Ok(PolicyEngine::load(Settings { worker: this_program(), unsafe_default_allow: true, ..settings })?)
}

/// # Errors
/// Where the system has no threads.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?)
}

pub fn replay(args: &Replay) -> anyhow::Result<Exit> {
    // With a log and policies that are both named, no configuration is needed.
    let mut settings = match (&args.files.config, args.policy.is_empty()) {
        (config @ Some(_), _) => policy_settings(&crate::config::load(config.as_deref())?),
        (None, true) => policy_settings(&crate::config::load(None)?),
        (None, false) => crate::config::load(None).map(|config| policy_settings(&config)).unwrap_or_default(),
    };
    if !args.policy.is_empty() {
        settings.paths.clone_from(&args.policy);
    }
    let engine = engine(settings)?;
    let log = args.files.log()?;
    let mut counts = Counts::default();
    let mut changes: BTreeMap<Change, Times> = BTreeMap::new();
    let skipped = judge_all(&log, &args.window, [&engine], |call, [decided]| {
        let (from, to) = (call.came(), Came::of(&decided));
        counts.add(&to);
        if from != to {
            let (server, operation, rule) = (call.server.clone(), call.operation.clone(), behind(&decided));
            changes.entry(Change { server, operation, from, to, rule }).or_default().add(&call.id);
        }
    })?;
    let version = engine.version();
    match args.output {
        Output::Human => {
            let Counts { allow, hold, deny, fail } = counts;
            println!("under policy {}: would allow {allow}, hold {hold}, deny {deny}, fail on {fail}", short(&version));
            print_changes(&changes);
            skipped.print();
        }
        Output::Json => {
            let report = serde_json::json!({
                "schema": "countersign.policy-replay/v1",
                "policy_version": version,
                "would": counts,
                "changed": total(&changes),
                "changes": listed(&changes),
                "not_judged": skipped.json(),
            });
            println!("{}", crate::audit::verify::ascii(&serde_json::to_string(&report)?));
        }
    }
    Ok(if args.fail_on_change && !changes.is_empty() { Exit::Problems } else { Exit::Ok })
}

fn short(version: &str) -> &str {
    version.get(..12).unwrap_or(version)
}

fn total(changes: &BTreeMap<Change, Times>) -> u64 {
    changes.values().map(|times| times.count).sum()
}

/// Changes for scripts.
pub fn listed(changes: &BTreeMap<Change, Times>) -> serde_json::Value {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        change: &'a Change,
        #[serde(flatten)]
        times: &'a Times,
    }
    let rows = changes.iter().map(|(change, times)| serde_json::to_value(Row { change, times }).unwrap_or_default());
    rows.collect()
}

/// Changes for people, the most frequent first.
pub fn print_changes(changes: &BTreeMap<Change, Times>) {
    match total(changes) {
        0 => println!("no decision changes"),
        1 => println!("1 decision changes:"),
        more => println!("{more} decisions change:"),
    }
    let mut rows: Vec<_> = changes.iter().collect();
    rows.sort_by_key(|(_, times)| std::cmp::Reverse(times.count));
    for (Change { server, operation, from, to, rule }, times) in rows {
        let what = visible::line(&format!("{server} {operation}"));
        let rule = visible::line(rule);
        println!("  {:>5}  {what}: {from} -> {to} by {rule}, for example {}", times.count, list(&times.examples));
    }
}

fn list(examples: &[String]) -> String {
    visible::line(&examples.join(", "))
}

/// What one rule of a watched policy would have done.
#[derive(Default, Serialize)]
struct Watched {
    policy: String,
    hits: u64,
    /// Calls that were not held or denied, and would have been.
    would_hold: Times,
    would_deny: Times,
    /// Calls that were denied since nothing allowed them, and that it allows.
    may_allow: Times,
    /// Hits that add nothing to what happened.
    nothing_new: u64,
    /// Recorded by a version that did not say what the rule asks for.
    unknown: u64,
}

impl Watched {
    fn add(&mut self, hit: &RuleHit, call: &Call) {
        self.policy.clone_from(&hit.policy);
        self.hits += 1;
        let now = call.decision.as_ref().map(|decision| decision.effect);
        let unallowed = call.decision.as_ref().is_some_and(|decision| decision.rules.is_empty());
        match (hit.would, now) {
            (None, _) => self.unknown += 1,
            (Some(Effect::Deny), Some(Effect::Allow | Effect::Hold)) => self.would_deny.add(&call.id),
            (Some(Effect::Hold), Some(Effect::Allow)) => self.would_hold.add(&call.id),
            // A rule that denies it goes on to; what is held was allowed already.
            (Some(Effect::Allow), Some(Effect::Deny)) if unallowed => self.may_allow.add(&call.id),
            (Some(Effect::Deny | Effect::Hold | Effect::Allow), _) => self.nothing_new += 1,
        }
    }
}

pub fn shadow(args: &Shadow) -> anyhow::Result<Exit> {
    let log = args.place.open().context("shadow mode is seen in the record")?;
    let (mut calls, mut rules) = (0_u64, BTreeMap::<String, Watched>::new());
    let mut skipped = Skipped::default();
    each_call(&log, &args.window, |call| match call {
        Ok(call) => {
            calls += 1;
            for hit in call.decision.iter().flat_map(|decision| &decision.observed) {
                rules.entry(hit.rule.clone()).or_default().add(hit, &call);
            }
        }
        Err((id, why)) => skipped.add(&id, why),
    })?;
    match args.output {
        Output::Human => {
            let said = plural(rules.len(), "rule");
            println!("{calls} calls; {said} of policies in mode shadow or warn said something");
            for (rule, Watched { policy, hits, would_hold, would_deny, may_allow, nothing_new, unknown }) in &rules {
                let times = if *hits == 1 { "once" } else { &format!("{hits} times") };
                println!("{} ({}): {times}", visible::line(rule), visible::line(policy));
                for (what, times) in
                    [("may let through", may_allow), ("would deny", would_deny), ("would hold", would_hold)]
                {
                    if times.count > 0 {
                        println!("  {what} {}, for example {}", times.count, list(&times.examples));
                    }
                }
                for (count, what) in [(nothing_new, "changes nothing"), (unknown, "not known what it asked for")] {
                    if *count > 0 {
                        println!("  {what}: {count}");
                    }
                }
            }
            skipped.print();
        }
        Output::Json => {
            let report = serde_json::json!({
                "schema": "countersign.policy-shadow/v1",
                "calls": calls,
                "rules": rules,
                "not_judged": skipped.json(),
            });
            println!("{}", crate::audit::verify::ascii(&serde_json::to_string(&report)?));
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_where_it_says() {
        let now = Timestamp::now();
        let ago = |text: &str| now.duration_since(text.parse::<Moment>().unwrap().0).as_secs();
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)] {
            assert!((seconds - 5..=seconds).contains(&ago(text)), "{text}");
        }
        let at = "2026-11-01T00:00:00Z".parse::<Moment>().unwrap();
        assert_eq!(at.0.to_string(), "2026-11-01T00:00:00Z");
        for odd in ["", "d", "-7d", "+7d", "7", "7y", "99999999999999999d", "yesterday", "é"] {
            assert!(odd.parse::<Moment>().is_err(), "{odd}");
        }
    }
}
