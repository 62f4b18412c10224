//! `countersign audit stats`: the record in numbers.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::Exit;
use super::{Output, Place};
use crate::audit::{RuleStats, Stats, verify};
use crate::console::visible;

/// Records that one look reads.
const MOST: usize = 1_000_000;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// How far back
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: SignedDuration,
    #[command(flatten)]
    place: Place,
    /// For scripts: one JSON object
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// `countersign.stats/v1`.
#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    since: String,
    #[serde(flatten)]
    stats: &'a Stats,
}

pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<Exit> {
    let since = Timestamp::now().checked_sub(args.since)?;
    let stats = args.place.open()?.stats(since, MOST)?;
    match args.output {
        Output::Json => {
            let shown = Shown { schema: "countersign.stats/v1", since: since.to_string(), stats: &stats };
            writeln!(out, "{}", verify::ascii(&serde_json::to_string(&shown)?))?;
        }
        Output::Human => print(&stats, out)?,
    }
    Ok(Exit::Ok)
}

fn print(stats: &Stats, out: &mut impl Write) -> io::Result<()> {
    let cut = if stats.cut { ", and older ones that are not counted here" } else { "" };
    writeln!(out, "{} records{cut}", stats.records)?;
    for (name, counts) in [("decisions", &stats.decisions), ("not sent", &stats.closed), ("answers", &stats.results)] {
        writeln!(out, "{name:<10}{}", counted(counts))?;
    }
    if stats.rules.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:>7} {:>6} {:>8} {:>8} {:>7} {:>9}  RULE",
        "HITS", "HOLDS", "APPROVED", "REJECTED", "LAPSED", "MEDIAN"
    )?;
    for stats in &stats.rules {
        let RuleStats { rule, hits, holds, approved, rejected, lapsed, median_ms, hint, .. } = stats;
        let RuleStats { watched, would_hold, would_deny, may_allow, unknown, .. } = stats;
        let rule = visible::line(rule);
        let hint = hint.as_ref().map(|hint| format!("  ({hint})")).unwrap_or_default();
        let median = median(*median_ms);
        let watched = match watched {
            0 => String::new(),
            times => {
                let may = if *may_allow > 0 { format!(", may let through {may_allow}") } else { String::new() };
                let unknown = if *unknown > 0 { format!(", not known {unknown}") } else { String::new() };
                format!(
                    "  (only watched, {times} times: would hold {would_hold}, would deny {would_deny}{may}{unknown})"
                )
            }
        };
        writeln!(
            out,
            "{hits:>7} {holds:>6} {approved:>8} {rejected:>8} {lapsed:>7} {median:>9}  {rule}{hint}{watched}"
        )?;
    }
    Ok(())
}

fn counted(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{} {count}", visible::line(name))).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// In seconds.
pub fn median(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100))
}
