//! `countersign audit`: read, verify and export the record. Everything here works on the files alone: the daemon may
//! run or not. What stands in a record came from outside, so every text passes the escape function, and JSON is ASCII.

#![allow(clippy::print_stderr)]

mod proof;
mod stats;

pub(super) use stats::median;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::audit::verify::{self, Report};
use crate::audit::{AuditError, AuditReader, Checkpoint, Record, Words};
use crate::call::{CallId, Digest};
use crate::console::visible;
use crate::json::{JsonText, Rules};

use super::Exit;

/// How often `tail --follow` looks.
const FOLLOW: Duration = Duration::from_millis(200);
/// Calls whose server and tool `tail` remembers for their later records.
const REMEMBERED: usize = 10_000;
/// Longest text of one column of `tail`, in characters.
const COLUMN: usize = 120;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// The last records, the latest at the end
    Tail(Tail),
    /// The whole story of one call
    Show(Show),
    /// Is the record intact? Exits 6 if it is not
    Verify(Verify),
    /// The record in numbers: calls, and what each rule did
    Stats(stats::Args),
    /// Every record with its place in the chain, one JSON object a line
    Export(Export),
}

#[derive(clap::Args, Debug)]
pub(super) struct Place {
    /// The configuration whose `state_dir` holds the log
    #[arg(long, value_name = "FILE", conflicts_with = "db")]
    pub(super) config: Option<PathBuf>,
    /// The log itself
    #[arg(long, value_name = "PATH")]
    pub(super) db: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Output {
    Human,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Lines {
    Jsonl,
}

#[derive(clap::Args, Debug)]
pub struct Tail {
    /// How many records to begin with
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: u64,
    /// Go on with every record as it is written
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    place: Place,
    /// For scripts: one JSON object a line
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(clap::Args, Debug)]
pub struct Show {
    /// The call, as the console, a refusal or `audit tail` names it
    id: CallId,
    #[command(flatten)]
    place: Place,
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(clap::Args, Debug)]
pub struct Verify {
    /// A checkpoint that was kept elsewhere: nothing up to it may have changed
    #[arg(long, value_name = "SEQ:HASH")]
    from_checkpoint: Option<Checkpoint>,
    /// An export instead of the log; `-` is stdin
    #[arg(long, value_name = "EXPORT", conflicts_with_all = ["db", "config"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(clap::Args, Debug)]
pub struct Export {
    /// Begin with this record
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    since: u64,
    #[command(flatten)]
    place: Place,
    #[arg(short, long, value_enum, default_value_t = Lines::Jsonl)]
    output: Lines,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    let out = &mut BufWriter::new(io::stdout().lock());
    let ran = match command {
        Command::Tail(args) => tail(&args, out),
        Command::Show(args) => show(&args, out),
        Command::Verify(args) => verify(&args, out),
        Command::Stats(args) => stats::run(&args, out),
        Command::Export(args) => export(&args, out),
    };
    match ran.and_then(|exit| Ok(out.flush().map(|()| exit)?)) {
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(Exit::Ok),
        Err(error) => match error.downcast_ref() {
            Some(AuditError::Broken(problem)) => {
                eprintln!("countersign: audit: {}", visible::line(&problem.to_string()));
                eprintln!("help: `countersign audit verify` says what is still proved");
                Ok(Exit::Integrity)
            }
            _ if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::NotFound) => {
                eprintln!("countersign: {error:#}");
                Ok(Exit::NotFound)
            }
            _ => Err(error),
        },
        exit => exit,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::BrokenPipe)
}

impl Place {
    fn path(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.db {
            Some(path) => path.clone(),
            None => crate::config::load(self.config.as_deref())?.state_dir.join("audit.db"),
        };
        if !path.exists() {
            let text = format!("there is no audit log at {}: no daemon has written there yet", path.display());
            return Err(io::Error::new(ErrorKind::NotFound, text).into());
        }
        Ok(path)
    }

    pub(super) fn open(&self) -> anyhow::Result<AuditReader> {
        Ok(AuditReader::open(&self.path()?)?)
    }
}

/// Runs through records until one cannot be written.
fn each<F>(read: F, mut write: impl FnMut(Record) -> io::Result<()>) -> anyhow::Result<()>
where
    F: FnOnce(&mut dyn FnMut(Record) -> bool) -> Result<(), AuditError>,
{
    let mut written = Ok(());
    read(&mut |record| {
        written = write(record);
        written.is_ok()
    })?;
    Ok(written?)
}

fn tail(args: &Tail, out: &mut impl Write) -> anyhow::Result<Exit> {
    let log = args.place.open()?;
    let mut next = (log.last()? + 1).saturating_sub(args.lines).max(1);
    let mut known = HashMap::new();
    loop {
        let from = next;
        each(
            |each| log.scan(from, each),
            |record| {
                next = record.seq + 1;
                match args.output {
                    Output::Json => writeln!(out, "{}", Shown::of(&record).json()),
                    Output::Human => writeln!(out, "{}", tail_line(&record, &mut known)),
                }
            },
        )?;
        out.flush()?;
        if !args.follow {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(FOLLOW);
    }
}

fn show(args: &Show, out: &mut impl Write) -> anyhow::Result<Exit> {
    let log = args.place.open()?;
    let mut records = Vec::new();
    each(
        |each| log.story(&args.id, each),
        |record| {
            records.push(record);
            Ok(())
        },
    )?;
    if records.is_empty() {
        eprintln!("countersign: no record of a call {}", args.id);
        return Ok(Exit::NotFound);
    }
    match args.output {
        Output::Json => {
            #[derive(Serialize)]
            struct Story<'a> {
                schema: &'static str,
                call: &'a CallId,
                records: Vec<Shown<'a>>,
            }
            let records = records.iter().map(Shown::of).collect();
            let story = Story { schema: "countersign.story/v1", call: &args.id, records };
            writeln!(out, "{}", verify::ascii(&serde_json::to_string(&story)?))?;
        }
        Output::Human => {
            writeln!(out, "call {}", args.id)?;
            for record in &records {
                tell(record, out)?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// One record of a call's story.
fn tell(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let words = Words::of(record);
    writeln!(out, "\n{}  {}  record {}", time(record), visible::line(&record.kind), record.seq)?;
    writeln!(out, "    {}", visible::line(&words.sentence(&record.kind)))?;
    for (name, value) in words.facts() {
        writeln!(out, "    {name:<11}{}", visible::line(&value))?;
    }
    for line in words.text("/text").lines().filter(|_| record.kind == "granted") {
        writeln!(out, "    {}", visible::line(line))?;
    }
    match words.body().filter(|_| record.kind == "ruled").and_then(proof::commands) {
        Some(Ok(commands)) => writeln!(out, "    signed; OpenSSH verifies it:\n\n{commands}"),
        Some(Err(why)) => writeln!(out, "    {why}"),
        None => Ok(()),
    }
}

fn verify(args: &Verify, out: &mut impl Write) -> anyhow::Result<Exit> {
    let report = match &args.file {
        None => verify::log(&args.place.path()?, args.from_checkpoint)?,
        Some(file) if file == Path::new("-") => verify::export(io::stdin().lock(), args.from_checkpoint)?,
        Some(file) => verify::export(BufReader::new(File::open(file)?), args.from_checkpoint)?,
    };
    match args.output {
        Output::Json => writeln!(out, "{}", verify::ascii(&serde_json::to_string(&Verdict::of(&report))?))?,
        Output::Human => print_report(&report, args.from_checkpoint, out)?,
    }
    Ok(if report.problem.is_none() { Exit::Ok } else { Exit::Integrity })
}

fn print_report(report: &Report, given: Option<Checkpoint>, out: &mut impl Write) -> io::Result<()> {
    let proved = report.checkpoint.map(|end| format!("records {} to {} follow each other", report.first, end.seq));
    match (&report.problem, proved) {
        (Some(problem), proved) => {
            writeln!(out, "NOT INTACT: {}", visible::line(&problem.to_string()))?;
            writeln!(out, "{}", proved.unwrap_or_else(|| "nothing is proved".to_owned()))?;
        }
        (None, proved) => {
            writeln!(out, "intact: {}", proved.unwrap_or_default())?;
            match (report.complete, given) {
                (true, _) => writeln!(out, "audit.head agrees that this is the end")?,
                (false, _) => writeln!(out, "whether records follow the last one, an export cannot say")?,
            }
            if given.is_none() {
                writeln!(out, "kept elsewhere, this checkpoint proves later that nothing up to here was rewritten:")?;
            }
        }
    }
    report.checkpoint.map_or(Ok(()), |checkpoint| writeln!(out, "checkpoint {checkpoint}"))
}

/// `countersign.verify/v1`.
#[derive(Serialize)]
struct Verdict {
    schema: &'static str,
    intact: bool,
    /// The end is proved too.
    complete: bool,
    first: u64,
    checkpoint: Option<String>,
    problem: Option<String>,
    /// The first record that is wrong, where it is one.
    seq: Option<u64>,
}

impl Verdict {
    fn of(report: &Report) -> Verdict {
        let problem = report.problem.as_ref();
        Verdict {
            schema: "countersign.verify/v1",
            intact: problem.is_none(),
            complete: report.complete,
            first: report.first,
            checkpoint: report.checkpoint.map(|checkpoint| checkpoint.to_string()),
            problem: problem.map(ToString::to_string),
            seq: problem.and_then(verify::Problem::seq),
        }
    }
}

fn export(args: &Export, out: &mut impl Write) -> anyhow::Result<Exit> {
    let Lines::Jsonl = args.output;
    let log = args.place.open()?;
    let (mut count, mut last) = (0_u64, None);
    each(
        |each| log.scan(args.since, each),
        |record| {
            count += 1;
            last = Some(Checkpoint { seq: record.seq, hash: record.hash });
            writeln!(out, "{}", verify::line(&record))
        },
    )?;
    match last {
        Some(last) => eprintln!("{count} records; checkpoint {last}"),
        None => eprintln!("no records from {} on", args.since),
    }
    Ok(Exit::Ok)
}

/// A record for scripts: `countersign.record/v1`.
#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    seq: u64,
    at: &'a str,
    up_ms: u64,
    call: Option<&'a str>,
    kind: &'a str,
    /// The object; a text where it is none.
    body: Option<JsonText>,
    prev: Digest,
    hash: Digest,
}

impl<'a> Shown<'a> {
    fn of(record: &'a Record) -> Shown<'a> {
        let Record { seq, at, up_ms, call, kind, body, prev, hash } = record;
        let body = JsonText::parse(body.as_str(), Rules::UPSTREAM).or_else(|_| JsonText::of(body)).ok();
        Shown {
            schema: "countersign.record/v1",
            seq: *seq,
            at,
            up_ms: *up_ms,
            call: call.as_deref(),
            kind,
            body,
            prev: *prev,
            hash: *hash,
        }
    }

    fn json(&self) -> String {
        verify::ascii(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// To milliseconds.
fn time(record: &Record) -> String {
    let at = record.at.as_str();
    visible::line(at.get(..23).unwrap_or(at))
}

fn tail_line(record: &Record, known: &mut HashMap<String, [String; 3]>) -> String {
    let body = Words::of(record);
    let mut place =
        ["/server/name", "/tool", "/principal/name"].map(|pointer| short(&visible::line(&body.text(pointer))));
    if let Some(call) = &record.call {
        if place.iter().any(|text| !text.is_empty()) {
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(call.clone(), place.clone());
        } else if let Some(earlier) = known.get(call) {
            place.clone_from(earlier);
        }
    }
    let [server, tool, principal] = place.map(|text| if text.is_empty() { "-".to_owned() } else { text });
    let call = record.call.as_deref().map_or("-".to_owned(), visible::line);
    let sentence = short(&visible::line(&body.sentence(&record.kind)));
    let kind = visible::line(&record.kind);
    format!("{}  {call:<12}  {kind:<9}  {server:<8}  {tool:<20}  {principal:<12}  {sentence}", time(record))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(COLUMN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, body: &str) -> Record {
        let hash = Digest::of_bytes(b"");
        let (kind, body, call) = (kind.to_owned(), body.to_owned(), Some("x\u{9b}2J".to_owned()));
        Record { seq: 1, at: "2026-11-21T09:00:00\u{1b}[2J".to_owned(), up_ms: 0, call, kind, body, prev: hash, hash }
    }

    fn hostile() -> Vec<Record> {
        let evil = "\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}\u{200b}\u{7f}\u{2028}";
        let escaped = serde_json::to_string(evil).unwrap();
        let decided = format!(
            r#"{{"kind":"decided","tool":{escaped},"server":{{"name":{escaped}}},"client":{{"name":{escaped}}},
            "params":{{"a":{escaped},{escaped}:1}},"decision":{{"effect":{escaped},"rules":[{{"rule":{escaped}}}]}}}}"#
        );
        let reason = format!(r#"{{"reason":{escaped},"outcome":{escaped}}}"#);
        ["decided", "closed", "stopped", "a_later_kind", "\u{1b}[31m"]
            .into_iter()
            .flat_map(|kind| [record(kind, &decided), record(kind, &reason), record(kind, evil), record(kind, "")])
            .collect()
    }

    #[test]
    fn nothing_from_a_record_reaches_the_terminal_raw() {
        let hidden =
            |character: char| character.is_control() || ['\u{202e}', '\u{200b}', '\u{2028}'].contains(&character);
        for record in hostile() {
            let mut shown = vec![tail_line(&record, &mut HashMap::new()), time(&record)];
            let mut told = Vec::new();
            tell(&record, &mut told).unwrap();
            shown.extend(String::from_utf8(told).unwrap().lines().map(str::to_owned));
            assert!(!shown.iter().any(|line| line.contains(hidden)), "{shown:?}");
            let json = Shown::of(&record).json();
            assert!(json.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{json}");
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
        }
    }

    #[test]
    fn json_of_a_record_keeps_spellings() {
        let body = r#"{"kind":"decided","params":{"z":1.0,"a":1e2,"m":"\u0041"}}"#;
        assert!(Shown::of(&record("decided", body)).json().contains(&format!(r#""body":{body}"#)));
    }
}
