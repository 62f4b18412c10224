//! `countersign policy stats`: what the rules of a running daemon did in the last day.

use super::super::Exit;
use super::super::ask::{self, connect, json, print, unexpected};
use super::super::audit::median;
use super::super::console::DaemonArgs;
use super::Format;
use crate::console::{describe, visible};
use crate::control::wire::{self, Notice, RuleView};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Human)]
    output: Format,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    ask::run(async {
        let mut operator = connect(&args.daemon, false, true).await?;
        let rules = match operator.ask(|seq| wire::Command::Rules { seq }).await? {
            Notice::Rules { rules, .. } => rules,
            other => return Err(unexpected(&other)),
        };
        if args.output == Format::Json {
            return print(&json(&serde_json::json!({"schema": "countersign.rules/v1", "rules": rules}))?);
        }
        print("   HITS  HOLDS APPROVED REJECTED  LAPSED    MEDIAN  RULE")?;
        for rule in &rules {
            print(&line(rule))?;
        }
        Ok(())
    })
}

fn line(rule: &RuleView) -> String {
    let RuleView { hits, holds, approved, rejected, lapsed, median_ms, .. } = rule;
    let place = rule.file.as_ref().map(|file| format!("  {file}:{}", rule.line.unwrap_or(0))).unwrap_or_default();
    let hint = rule.hint.as_ref().map(|hint| format!("  ({hint})")).unwrap_or_default();
    let watched = describe::watched(rule).map(|words| format!("  ({words})")).unwrap_or_default();
    let (median, name) = (median(*median_ms), visible::line(&format!("{}{place}{hint}{watched}", rule.rule)));
    format!("{hits:>7} {holds:>6} {approved:>8} {rejected:>8} {lapsed:>7} {median:>9}  {name}")
}
