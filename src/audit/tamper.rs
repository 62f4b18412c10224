//! Whatever is done to a log or an export, verification finds it: each kind of tampering once, and then at random.

use std::fs;
use std::io::{Read as _, repeat};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use proptest::prelude::*;
use rusqlite::{Connection, params};

use super::record::Record;
use super::store::head::{Head, HeadFile};
use super::tests::{Fixture, stopped};
use super::verify::{self, Checkpoint, Problem, Report};
use super::{AuditError, AuditLog, Entry, Event};
use crate::call::{CallId, Digest};

const RECORDS: u64 = 40;

/// A closed log: its files, and what is in it.
struct Sample {
    db: Vec<u8>,
    head: Vec<u8>,
    records: Vec<Record>,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let fixture = Fixture::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let log = fixture.open();
            for n in 0..RECORDS {
                let call = (n % 3 > 0).then(|| CallId::random().unwrap());
                let event = Event::Stopped { reason: format!("ä\u{202e}\u{7f} {n}") };
                let _ = log.append(Entry { call, sync: false, event }).await.unwrap();
            }
            log.close().await;
        });
        let head = fs::read(fixture.db().with_extension("head")).unwrap();
        Sample { db: fs::read(fixture.db()).unwrap(), head, records: fixture.records() }
    })
}

impl Sample {
    fn fixture(&self) -> Fixture {
        let fixture = Fixture::new();
        fs::write(fixture.db(), &self.db).unwrap();
        fs::write(fixture.db().with_extension("head"), &self.head).unwrap();
        fixture
    }

    fn end(&self) -> Checkpoint {
        let last = self.records.last().unwrap();
        Checkpoint { seq: last.seq, hash: last.hash }
    }

    fn export(&self) -> String {
        self.records.iter().map(|record| verify::line(record) + "\n").collect()
    }
}

/// Somebody with the file in hand: the triggers are away while he works, and back afterwards.
pub(super) fn tamper(path: &Path, work: impl FnOnce(&Connection)) {
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; BEGIN").unwrap();
    let triggers: Vec<(String, String)> = db
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    triggers.iter().for_each(|(name, _)| db.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    work(&db);
    triggers.iter().for_each(|(_, sql)| db.execute_batch(sql).unwrap());
    db.execute_batch("COMMIT").unwrap();
}

fn insert(db: &Connection, record: &Record) {
    let Record { seq, at, up_ms, call, kind, body, prev, hash } = record;
    let (seq, up_ms) = (i64::try_from(*seq).unwrap(), i64::try_from(*up_ms).unwrap());
    let values = params![seq, at, up_ms, call, kind, body, prev.as_bytes(), hash.as_bytes()];
    db.execute("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", values).unwrap();
}

/// Puts these in place of everything from the first one's number on, as a chain without a fault.
fn rewrite(db: &Connection, mut records: Vec<Record>) {
    let from = records[0].seq;
    db.execute("DELETE FROM records WHERE seq >= ?1", [i64::try_from(from).unwrap()]).unwrap();
    let mut prev = records[0].prev;
    for (record, seq) in records.iter_mut().zip(from..) {
        record.seal(seq, prev);
        prev = record.hash;
        insert(db, record);
    }
}

#[derive(Clone, Debug)]
enum Tampering {
    /// Xor a byte of a text or a hash.
    Byte {
        seq: u64,
        column: &'static str,
        at: usize,
        with: u8,
    },
    /// Add to a number.
    Number {
        seq: u64,
        by: i64,
    },
    CallGone {
        seq: u64,
    },
    CallEmpty {
        seq: u64,
    },
    Delete {
        seq: u64,
    },
    DeleteAndRenumber {
        seq: u64,
    },
    Swap {
        a: u64,
        b: u64,
    },
    Cut {
        from: u64,
    },
    /// One more record, with a hash as it should be.
    Append,
    /// From here on everything is written anew, with one record more.
    Insert {
        seq: u64,
    },
    /// From here on everything is written anew, with one text changed.
    EditAndRechain {
        seq: u64,
    },
    Renumber {
        seq: u64,
        by: i64,
    },
    AnotherLog,
}

impl Tampering {
    fn apply(&self, db: &Connection, records: &[Record]) {
        let row = |seq: u64| records[usize::try_from(seq - 1).unwrap()].clone();
        let from = |seq: u64| records[usize::try_from(seq - 1).unwrap()..].to_vec();
        let run = |sql: &str, seq: u64| db.execute(sql, [i64::try_from(seq).unwrap()]).unwrap();
        match self {
            Tampering::Byte { seq, column, at, with } => {
                let blob = ["prev", "hash"].contains(column);
                let select = format!("SELECT CAST({column} AS BLOB) FROM records WHERE seq = {seq}");
                let mut bytes: Vec<u8> = db.query_row(&select, [], |row| row.get(0)).unwrap();
                let at = at % bytes.len();
                bytes[at] ^= with;
                let value = if blob { "?1" } else { "CAST(?1 AS TEXT)" };
                db.execute(&format!("UPDATE records SET {column} = {value} WHERE seq = {seq}"), [bytes]).unwrap();
            }
            Tampering::Number { seq, by } => {
                db.execute("UPDATE records SET up_ms = up_ms + ?2 WHERE seq = ?1", params![seq_i64(*seq), by]).unwrap();
            }
            Tampering::CallGone { seq } => {
                let gone = if row(*seq).call.is_some() { "NULL" } else { "'ABCDEFGHJKMN'" };
                run(&format!("UPDATE records SET call = {gone} WHERE seq = ?1"), *seq);
            }
            Tampering::CallEmpty { seq } => {
                run("UPDATE records SET call = '' WHERE seq = ?1", *seq);
            }
            Tampering::Delete { seq } => {
                run("DELETE FROM records WHERE seq = ?1", *seq);
            }
            Tampering::DeleteAndRenumber { seq } => {
                run("DELETE FROM records WHERE seq = ?1", *seq);
                for later in seq + 1..=RECORDS {
                    run("UPDATE records SET seq = seq - 1 WHERE seq = ?1", later);
                }
            }
            Tampering::Swap { a, b } => {
                for (seq, away) in [(*a, -1), (*b, seq_i64(*a)), (0, seq_i64(*b))] {
                    let now = if seq == 0 { -1 } else { seq_i64(seq) };
                    db.execute("UPDATE records SET seq = ?2 WHERE seq = ?1", [now, away]).unwrap();
                }
            }
            Tampering::Cut { from } => {
                run("DELETE FROM records WHERE seq >= ?1", *from);
            }
            Tampering::Append => {
                let mut forged = row(RECORDS);
                forged.seal(RECORDS + 1, forged.hash);
                insert(db, &forged);
            }
            Tampering::Insert { seq } => {
                let mut records = from(*seq);
                records.insert(0, records[0].clone());
                rewrite(db, records);
            }
            Tampering::EditAndRechain { seq } => {
                let mut records = from(*seq);
                records[0].body.push(' ');
                rewrite(db, records);
            }
            Tampering::Renumber { seq, by } => {
                db.execute("UPDATE records SET seq = ?2 WHERE seq = ?1", [seq_i64(*seq), seq_i64(RECORDS) + by])
                    .unwrap();
            }
            Tampering::AnotherLog => {
                db.execute("UPDATE meta SET value = x'00'", []).unwrap();
            }
        }
    }

    /// The first record that is touched.
    fn first(&self) -> u64 {
        match self {
            Tampering::Byte { seq, .. }
            | Tampering::Number { seq, .. }
            | Tampering::CallGone { seq }
            | Tampering::CallEmpty { seq }
            | Tampering::Delete { seq }
            | Tampering::DeleteAndRenumber { seq }
            | Tampering::Insert { seq }
            | Tampering::EditAndRechain { seq }
            | Tampering::Renumber { seq, .. } => *seq,
            Tampering::Swap { a, b } => *a.min(b),
            Tampering::Cut { from } => *from,
            Tampering::Append => RECORDS + 1,
            Tampering::AnotherLog => 1,
        }
    }
}

fn seq_i64(seq: u64) -> i64 {
    i64::try_from(seq).unwrap()
}

fn any_tampering() -> impl Strategy<Value = Tampering> {
    let seq = 1..=RECORDS;
    let column = prop::sample::select(vec!["at", "kind", "body", "prev", "hash"]);
    prop_oneof![
        4 => (seq.clone(), column, any::<usize>(), 1..=u8::MAX)
            .prop_map(|(seq, column, at, with)| Tampering::Byte { seq, column, at, with }),
        1 => (seq.clone(), any::<usize>(), 1..=u8::MAX)
            .prop_filter("has a call", |(seq, ..)| seq % 3 != 1)
            .prop_map(|(seq, at, with)| Tampering::Byte { seq, column: "call", at, with }),
        1 => (seq.clone(), 1_i64..1_000_000).prop_map(|(seq, by)| Tampering::Number { seq, by }),
        1 => seq.clone().prop_map(|seq| Tampering::CallGone { seq }),
        1 => seq.clone().prop_map(|seq| Tampering::CallEmpty { seq }),
        1 => seq.clone().prop_map(|seq| Tampering::Delete { seq }),
        1 => seq.clone().prop_map(|seq| Tampering::DeleteAndRenumber { seq }),
        1 => (seq.clone(), seq.clone()).prop_filter("two", |(a, b)| a != b).prop_map(|(a, b)| Tampering::Swap { a, b }),
        1 => seq.clone().prop_map(|from| Tampering::Cut { from }),
        1 => Just(Tampering::Append),
        1 => seq.clone().prop_map(|seq| Tampering::Insert { seq }),
        1 => seq.clone().prop_map(|seq| Tampering::EditAndRechain { seq }),
        1 => (seq, prop_oneof![1_i64..1000, -2000_i64..=-RECORDS_I64]).prop_map(|(seq, by)| Tampering::Renumber { seq, by }),
        1 => Just(Tampering::AnotherLog),
    ]
}

const RECORDS_I64: i64 = 40;

fn after(tampering: &Tampering) -> Report {
    let fixture = sample().fixture();
    tamper(&fixture.db(), |db| tampering.apply(db, &sample().records));
    let report = fixture.verify();
    // Whatever verification finds near the end, the daemon finds when it starts.
    assert!(AuditLog::open(&fixture.db(), false).is_err(), "the daemon started on {tampering:?}");
    report
}

#[test]
fn an_untouched_log_is_intact() {
    let fixture = sample().fixture();
    let report = fixture.verify();
    assert_eq!((report.problem, report.complete, report.checkpoint), (None, true, Some(sample().end())));
}

#[test]
fn the_finding_names_what_was_done() {
    let problem = |tampering: Tampering| after(&tampering).problem.unwrap();
    let byte = |column| Tampering::Byte { seq: 7, column, at: 1, with: 1 };
    assert_eq!(problem(byte("body")), Problem::Edited { seq: 7 });
    assert_eq!(problem(byte("hash")), Problem::Edited { seq: 7 });
    assert_eq!(problem(byte("prev")), Problem::Unlinked { seq: 7 });
    assert_eq!(problem(Tampering::CallEmpty { seq: 7 }), Problem::Malformed { seq: 7, what: "call" });
    assert_eq!(problem(Tampering::Delete { seq: 7 }), Problem::Missing { from: 7, to: 7 });
    assert_eq!(problem(Tampering::DeleteAndRenumber { seq: 7 }), Problem::Unlinked { seq: 7 });
    assert_eq!(problem(Tampering::Swap { a: 7, b: 8 }), Problem::Unlinked { seq: 7 });
    assert_eq!(problem(Tampering::Cut { from: 38 }), Problem::Cut { last: 37, head: 40 });
    assert_eq!(problem(Tampering::Append), Problem::Added { seq: 41 });
    assert_eq!(problem(Tampering::Insert { seq: 7 }), Problem::Rewritten { seq: 40 });
    assert_eq!(problem(Tampering::EditAndRechain { seq: 40 }), Problem::Rewritten { seq: 40 });
    assert_eq!(problem(Tampering::Renumber { seq: 7, by: -50 }), Problem::Malformed { seq: -10, what: "number" });
    assert_eq!(problem(Tampering::AnotherLog), Problem::Unlinked { seq: 1 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_tampering_goes_unnoticed(tampering in any_tampering()) {
        let report = after(&tampering);
        let problem = report.problem.expect("intact");
        prop_assert!(!report.complete);
        // Everything that is called proved is as it was written.
        let proved = report.checkpoint.map_or(0, |checkpoint| checkpoint.seq);
        let rechained = matches!(problem, Problem::Rewritten { .. } | Problem::Added { .. });
        prop_assert!(rechained || proved <= tampering.first(), "{problem} after {tampering:?}");
    }

    #[test]
    fn no_bit_of_an_export_goes_unnoticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut export = sample().export().into_bytes();
        let at = at.index(export.len());
        export[at] ^= 1 << bit;
        let report = verify::export(export.as_slice(), Some(sample().end())).unwrap();
        if report.problem.is_none() {
            // Another spelling of the same characters: what it says is what was written.
            let text = String::from_utf8(export).unwrap();
            let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let ours: Vec<serde_json::Value> =
                sample().export().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(lines, ours);
        }
    }
}

#[test]
fn a_checkpoint_finds_what_rewrites_everything() {
    let fixture = sample().fixture();
    let path = fixture.db().with_extension("head");
    tamper(&fixture.db(), |db| Tampering::EditAndRechain { seq: 20 }.apply(db, &sample().records));
    let end = fixture.records().pop().unwrap();
    let head = Head { seq: end.seq, hash: end.hash, low: end.seq + 1, closed: true };
    HeadFile::start(&path, &head).unwrap();
    // Without something kept elsewhere nothing can be seen.
    assert_eq!(fixture.verify().problem, None);
    let against = |seq: usize| {
        let Record { seq, hash, .. } = sample().records[seq - 1];
        verify::log(&fixture.db(), Some(Checkpoint { seq, hash })).unwrap().problem
    };
    assert_eq!(against(19), None);
    assert_eq!(against(20), Some(Problem::Forked { seq: 20 }));
    assert_eq!(against(40), Some(Problem::Forked { seq: 40 }));
}

#[test]
fn every_cut_below_a_checkpoint_is_found() {
    let lines: Vec<String> = sample().export().lines().map(|line| format!("{line}\n")).collect();
    for kept in 1..lines.len() {
        let cut = lines[..kept].concat();
        let report = verify::export(cut.as_bytes(), None).unwrap();
        assert!(report.problem.is_none() && !report.complete, "an export never claims to be complete");
        assert_eq!(report.checkpoint.unwrap().seq, kept as u64);
        let problem = verify::export(cut.as_bytes(), Some(sample().end())).unwrap().problem;
        assert!(matches!(problem, Some(Problem::Unreached { .. })));
    }
    let middle = lines[9..30].concat();
    assert_eq!(verify::export(middle.as_bytes(), None).unwrap().first, 10);
}

#[test]
fn a_lost_head_is_a_finding() {
    for damage in [None, Some(""), Some("half a line")] {
        let fixture = sample().fixture();
        let head = fixture.db().with_extension("head");
        match damage {
            None => fs::remove_file(head).unwrap(),
            Some(text) => fs::write(head, text).unwrap(),
        }
        let expected = if damage.is_none() { Problem::HeadMissing } else { Problem::HeadDamaged };
        assert_eq!(fixture.verify().problem, Some(expected.clone()));
        let AuditError::Broken(found) = AuditLog::open(&fixture.db(), false).unwrap_err() else { panic!() };
        assert_eq!(found, expected);
    }
}

#[test]
fn a_lost_database_is_no_fresh_start() {
    let fixture = sample().fixture();
    fs::remove_file(fixture.db()).unwrap();
    let AuditError::Broken(problem) = AuditLog::open(&fixture.db(), false).unwrap_err() else { panic!() };
    assert_eq!(problem, Problem::Cut { last: 0, head: RECORDS });
    assert!(!fixture.db().exists(), "nothing is put in its place");
}

/// What a crash of the process leaves is what the system has by then, so a copy taken after a receipt is a crash.
#[tokio::test]
async fn a_crash_after_a_receipt_keeps_the_record_and_a_torn_end_is_told_from_a_cut() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let synced = log.append(Entry { sync: true, ..stopped("synced") }).await.unwrap();
    let wal = |fixture: &Fixture| {
        let mut name = fixture.db().into_os_string();
        name.push("-wal");
        std::path::PathBuf::from(name)
    };
    let crash = |wal_bytes: &[u8]| {
        let image = Fixture::new();
        fs::copy(fixture.db(), image.db()).unwrap();
        fs::copy(fixture.db().with_extension("head"), image.db().with_extension("head")).unwrap();
        fs::write(wal(&image), wal_bytes).unwrap();
        image
    };
    let until_synced = fs::read(wal(&fixture)).unwrap();
    let unsynced = log.append(stopped("unsynced")).await.unwrap();
    let whole = fs::read(wal(&fixture)).unwrap();
    assert_eq!((synced.seq(), unsynced.seq()), (1, 2));

    let image = crash(&whole);
    assert_eq!((image.verify().problem, image.records().len()), (None, 2));
    // Half an unsynced record is none: the rest is intact and the daemon starts.
    for torn in (until_synced.len()..whole.len()).step_by(211) {
        let image = crash(&whole[..torn]);
        image.open().close().await;
        assert_eq!((image.verify().problem, image.records().len()), (None, 1), "{torn} bytes");
    }
    // A synced record that is not there any more was taken away.
    for torn in (0..until_synced.len()).step_by(211) {
        let image = crash(&whole[..torn]);
        assert!(AuditLog::open(&image.db(), false).is_err(), "{torn} bytes");
    }
    log.close().await;
}

#[test]
fn a_hostile_export_is_refused_within_bounds() {
    let problem = |text: &[u8]| verify::export(text, None).unwrap().problem;
    let first = verify::line(&sample().records[0]);
    let is_line = |problem: Option<Problem>| matches!(problem, Some(Problem::Line { line: 1, .. }));
    assert_eq!(problem(b""), Some(Problem::Empty));
    assert!(is_line(problem(b"\n")));
    assert!(is_line(problem("[".repeat(100_000).as_bytes())));
    assert!(is_line(problem(b"\"\xff\"\n")));
    assert!(is_line(problem(first.replacen("\"seq\":1,", "\"seq\":18446744073709551616,", 1).as_bytes())));
    assert!(is_line(problem(first.replacen("\"seq\":1,", "\"seq\":-1,", 1).as_bytes())));
    assert!(is_line(problem(first.replacen("\"seq\":1,", "\"seq\":1,\"seq\":1,", 1).as_bytes())));
    assert!(is_line(problem(first.replacen("\"call\":null", "\"call\":\"\"", 1).as_bytes())));
    let endless = std::io::BufReader::new(repeat(b'a').take(1 << 40));
    assert!(is_line(verify::export(endless, None).unwrap().problem));
}

#[test]
fn an_export_is_ascii_and_one_line_a_record() {
    let export = sample().export();
    assert!(export.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
    assert_eq!(export.lines().count() as u64, RECORDS);
    assert!(export.contains("\\u202e") && export.contains("\\u007f"));
}

#[test]
fn another_program_reaches_the_same_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export.jsonl");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify_export.py");
    let run = |text: &str, checkpoint: &str| {
        fs::write(&path, text).unwrap();
        let output = Command::new("python3").arg(script).arg(&path).arg(checkpoint).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let export = sample().export();
    let end = sample().end().to_string();
    assert_eq!(run(&export, &end), (Some(0), format!("{end}\n")));
    let wrong = Checkpoint { hash: Digest::of_bytes(b""), ..sample().end() }.to_string();
    let edited = export.replacen(" 17", " 71", 1);
    let swapped: String = {
        let mut lines: Vec<&str> = export.lines().collect();
        lines.swap(4, 5);
        lines.join("\n")
    };
    let cut: String = export.lines().take(30).map(|line| format!("{line}\n")).collect();
    for (what, text, checkpoint) in
        [("fork", &export, &wrong), ("edit", &edited, &end), ("swap", &swapped, &end), ("cut", &cut, &end)]
    {
        assert_eq!(run(text, checkpoint).0, Some(6), "{what}");
    }
}
