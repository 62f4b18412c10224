//! The log as a whole: what is durable, in which order, and what happens when the disk or a neighbour does not play.

use std::path::PathBuf;

use tempfile::TempDir;

use super::record::tests::{decided, every_event, ruled};
use super::*;
use crate::call::{Effect, Outcome};
use crate::json::{JsonText, Rules};

mod files;

pub(super) struct Fixture {
    folder: TempDir,
}

impl Fixture {
    pub fn new() -> Fixture {
        Fixture { folder: tempfile::tempdir().unwrap() }
    }

    pub fn db(&self) -> PathBuf {
        self.folder.path().join("audit.db")
    }

    pub fn open(&self) -> AuditLog {
        self.open_with(Duration::from_millis(50))
    }

    /// Room for one MiB.
    fn open_with(&self, busy: Duration) -> AuditLog {
        AuditLog::open_with(&self.db(), Options { sync_all: false, busy, room: 1024 }).unwrap()
    }

    fn refusal(&self) -> AuditError {
        AuditLog::open(&self.db(), false).unwrap_err()
    }

    pub fn verify(&self) -> verify::Report {
        verify::log(&self.db(), None).unwrap()
    }

    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let keep = |record| {
            records.push(record);
            true
        };
        AuditReader::open(&self.db()).unwrap().scan(0, keep).unwrap();
        records
    }

    fn kinds(&self) -> Vec<String> {
        self.records().into_iter().map(|record| record.kind).collect()
    }
}

pub(super) fn stopped(reason: &str) -> Entry {
    Entry { call: None, sync: false, event: Event::Stopped { reason: reason.into() } }
}

fn of(call: &CallId, event: Event) -> Entry {
    Entry { call: Some(call.clone()), sync: true, event }
}

fn id() -> CallId {
    CallId::random().unwrap()
}

fn member(record: &Record, pointer: &str) -> String {
    JsonText::parse(record.body.as_str(), Rules::UPSTREAM).unwrap().view().pointer(pointer).unwrap().text().to_owned()
}

#[tokio::test]
async fn a_receipt_is_for_a_record_that_others_can_read() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let call = id();
    let receipt = log.append(of(&call, decided(Effect::Allow))).await.unwrap();
    assert_eq!((receipt.seq(), receipt.call()), (1, Some(&call)));
    let records = fixture.records();
    assert_eq!((records.len(), records[0].call.as_deref()), (1, Some(call.as_str())));
    assert_eq!(log.records(), 1);
    let report = fixture.verify();
    assert!(report.complete && report.problem.is_none(), "{report:?}");
    log.close().await;
}

#[tokio::test]
async fn every_kind_of_event_is_recorded_and_the_log_goes_on_after_a_restart() {
    let fixture = Fixture::new();
    for round in 1..=3 {
        let log = fixture.open();
        for event in every_event() {
            let _ = log.append(Entry { call: None, sync: false, event }).await.unwrap();
        }
        log.close().await;
        let report = fixture.verify();
        assert_eq!(report.problem, None);
        assert_eq!(report.checkpoint.unwrap().seq, round * every_event().len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_appends_keep_each_callers_order_and_share_commits() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let callers = (0..64).map(|caller| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut last = 0;
            for n in 0..20 {
                let entry = Entry { sync: n % 5 == 0, ..stopped(&format!("{caller}:{n}")) };
                let seq = if n % 3 == 0 {
                    log.note(entry).await.unwrap();
                    last
                } else {
                    log.append(entry).await.unwrap().seq()
                };
                assert!(seq >= last);
                last = seq;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    log.close().await;
    let records = fixture.records();
    assert_eq!(records.len(), 64 * 20);
    for caller in 0..64 {
        let prefix = format!("\"{caller}:");
        let of_caller: Vec<String> = records
            .iter()
            .map(|record| member(record, "/reason"))
            .filter(|reason| reason.starts_with(&prefix))
            .collect();
        assert_eq!(of_caller, (0..20).map(|n| format!("\"{caller}:{n}\"")).collect::<Vec<_>>());
    }
    assert_eq!(fixture.verify().problem, None);
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("one")).await.unwrap();
    assert!(matches!(fixture.refusal(), AuditError::Held { holder: Some(_), .. }));
    let _ = log.append(stopped("two")).await.unwrap();
    log.close().await;
    assert_eq!(fixture.kinds().len(), 2);
    fixture.open().close().await;
}

#[tokio::test]
async fn nothing_is_granted_after_close() {
    let fixture = Fixture::new();
    let log = fixture.open();
    log.clone().close().await;
    assert!(matches!(log.append(stopped("late")).await, Err(AuditError::Closed)));
    assert!(matches!(log.note(stopped("late")).await, Err(AuditError::Closed)));
    log.close().await;
}

/// I7, and what `docs/audit.md` says about each stage.
#[tokio::test]
async fn a_restart_closes_open_calls_and_never_sends_them() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let ids: Vec<CallId> = (0..9).map(|_| id()).collect();
    let held = || [decided(Effect::Hold), Event::Held { expires_at: "x".into(), joins: None }];
    let stories: [Vec<Event>; 9] = [
        held().into(),
        held().into_iter().chain([ruled(Ruling::Approve, true)]).collect(),
        held()
            .into_iter()
            .chain([
                ruled(Ruling::Approve, true),
                Event::Sending { approved_as: None, grant: None, policy_version: "p1".into() },
            ])
            .collect(),
        vec![decided(Effect::Allow)],
        held().into_iter().chain([ruled(Ruling::Approve, false)]).collect(),
        // These are over.
        vec![decided(Effect::Deny)],
        held().into_iter().chain([ruled(Ruling::Reject, true)]).collect(),
        held()
            .into_iter()
            .chain([
                Event::Closed { outcome: Outcome::Expired, reason: "x".into(), stale: false },
                ruled(Ruling::Approve, true),
            ])
            .collect(),
        vec![
            decided(Effect::Allow),
            Event::Completed {
                result: Answer::Ok,
                bytes: 1,
                digest: None,
                duration_ms: 1,
                note: None,
                redacted: vec![],
            },
        ],
    ];
    for (id, story) in ids.iter().zip(stories) {
        for event in story {
            let _ = log.append(of(id, event)).await.unwrap();
        }
    }
    let before = log.records();
    log.close().await;

    fixture.open().close().await;
    let outcomes: Vec<(String, String)> = fixture.records()[usize::try_from(before).unwrap()..]
        .iter()
        .map(|record| (record.call.clone().unwrap(), member(record, "/outcome")))
        .collect();
    let expected = [
        (0, "\"abandoned\""),
        (1, "\"approved_not_sent\""),
        (2, "\"sent_outcome_unknown\""),
        (3, "\"sent_outcome_unknown\""),
        (4, "\"abandoned\""),
    ];
    let expected: Vec<_> = expected.iter().map(|(n, outcome)| (ids[*n].to_string(), (*outcome).to_owned())).collect();
    assert_eq!(outcomes, expected);

    // Once is enough.
    let records = fixture.records().len();
    fixture.open().close().await;
    assert_eq!(fixture.records().len(), records);
    assert_eq!(fixture.verify().problem, None);
}

/// Writes until an append is refused, and returns why.
async fn refused(log: &AuditLog) -> String {
    let large = Entry { call: None, sync: false, event: Event::Stopped { reason: "x".repeat(20_000) } };
    for _ in 0..1000 {
        if let Err(error) = log.append(large.clone()).await {
            return error.to_string();
        }
    }
    panic!("the log never filled");
}

#[tokio::test]
async fn a_full_disk_refuses_and_its_end_is_told() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("before")).await.unwrap();
    log.execute("PRAGMA max_page_count = 40");
    let error = refused(&log).await;
    assert!(error.contains("full"), "{error}");
    let written = log.records();
    for _ in 0..3 {
        let large = Event::Stopped { reason: "y".repeat(20_000) };
        assert!(log.append(Entry { call: None, sync: true, event: large }).await.is_err());
    }
    assert_eq!((log.records(), fixture.records().len() as u64), (written, written));
    assert_eq!(fixture.verify().problem, None);
    // What has already happened is kept until there is room.
    log.note(Entry { call: None, sync: false, event: Event::Stopped { reason: "z".repeat(20_000) } }).await.unwrap();

    log.execute("PRAGMA max_page_count = 4294967294");
    let receipt = log.append(stopped("after")).await.unwrap();
    assert_eq!(receipt.seq(), written + 3);
    log.close().await;
    let kinds = fixture.kinds();
    assert_eq!(kinds[kinds.len() - 3..], ["gap", "stopped", "stopped"]);
    let gap = &fixture.records()[usize::try_from(written).unwrap()];
    assert_eq!(member(gap, "/refused"), "4");
    assert_eq!(fixture.verify().problem, None);
}

#[tokio::test]
async fn a_foreign_lock_refuses_within_the_time_limit_and_then_it_goes_on() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("before")).await.unwrap();
    let foreign = rusqlite::Connection::open(fixture.db()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move { log.append(stopped("locked")).await })
        })
        .collect();
    for append in waiting {
        let error = append.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("locked"), "{error}");
    }
    foreign.execute_batch("ROLLBACK").unwrap();
    let _ = log.append(stopped("after")).await.unwrap();
    log.close().await;
    assert_eq!(fixture.kinds(), ["stopped", "gap", "stopped"]);
    assert_eq!(member(&fixture.records()[1], "/refused"), "8");
    assert_eq!(fixture.verify().problem, None);
}

#[tokio::test]
async fn a_connection_that_fails_is_replaced() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("before")).await.unwrap();
    log.execute("PRAGMA query_only = ON");
    assert!(log.append(stopped("refused")).await.is_err());
    let _ = log.append(stopped("after")).await.unwrap();
    // A transaction that was never ended would swallow what follows.
    log.execute("BEGIN");
    assert!(log.append(stopped("refused")).await.is_err());
    let _ = log.append(stopped("and on")).await.unwrap();
    log.close().await;
    assert_eq!(fixture.kinds(), ["stopped", "gap", "stopped", "gap", "stopped"]);
}

#[tokio::test]
async fn a_record_that_somebody_else_added_stops_the_writer() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("ours")).await.unwrap();
    let mut forged = fixture.records()[0].clone();
    forged.seal(2, forged.hash);
    let foreign = rusqlite::Connection::open(fixture.db()).unwrap();
    let insert = "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let values = rusqlite::params![
        2,
        forged.at,
        5,
        forged.call,
        forged.kind,
        forged.body,
        forged.prev.as_bytes(),
        forged.hash.as_bytes()
    ];
    foreign.execute(insert, values).unwrap();
    for _ in 0..2 {
        assert!(log.append(stopped("ours too")).await.is_err());
    }
    assert!(matches!(log.append(stopped("ours too")).await, Err(AuditError::Broken(Problem::Unlinked { seq: 2 }))));
    log.close().await;
    assert!(matches!(fixture.refusal(), AuditError::Broken(_)));
}

#[tokio::test]
async fn a_waiter_that_left_is_not_recorded_behind_its_back() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let foreign = rusqlite::Connection::open(fixture.db()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer waits for the lock with the first; the second is still queued when it is given up.
    let first = tokio::spawn({
        let log = log.clone();
        async move { log.append(stopped("first")).await }
    });
    let second = tokio::spawn({
        let log = log.clone();
        async move { log.append(stopped("second")).await }
    });
    tokio::task::yield_now().await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    assert!(first.await.unwrap().is_err());
    foreign.execute_batch("ROLLBACK").unwrap();
    log.close().await;
    assert!(!fixture.records().iter().any(|record| record.body.contains("second")));
}

#[tokio::test]
async fn a_reader_sees_a_consistent_log_while_the_writer_works() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("first")).await.unwrap();
    for round in 0..20 {
        for _ in 0..10 {
            log.note(stopped("more")).await.unwrap();
        }
        let report = fixture.verify();
        assert!(report.complete && report.problem.is_none(), "round {round}: {report:?}");
    }
    log.close().await;
    assert_eq!(fixture.records().len(), 201);
}

#[tokio::test]
async fn what_need_not_be_synced_is_written_at_once_unless_something_waits() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let written = log.at_once(log.pending(stopped("1")).unwrap()).unwrap().unwrap();
    assert_eq!(written.seq(), 1);
    assert!(log.at_once(log.pending(Entry { sync: true, ..stopped("disk") }).unwrap()).is_err());
    {
        let _elsewhere = writer::open(&log.book);
        assert!(log.at_once(log.pending(stopped("writer at work")).unwrap()).is_err());
    }
    let earlier = Queued::new(&log.shared);
    assert!(log.at_once(log.pending(stopped("passes another")).unwrap()).is_err());
    drop(earlier);
    let other = rusqlite::Connection::open(fixture.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(log.at_once(log.pending(stopped("locked")).unwrap()).is_err());
    other.execute_batch("ROLLBACK").unwrap();
    let written = log.at_once(log.pending(stopped("2")).unwrap()).unwrap().unwrap();
    assert_eq!(written.seq(), 2, "nothing was lost and nothing is there twice");
    // Now and then one has to reach the disk, or what was written ahead the database: the thread sees to both.
    let mut in_a_row = 2;
    while log.at_once(log.pending(stopped("more")).unwrap()).is_ok() {
        in_a_row += 1;
    }
    assert!((3..=1000).contains(&in_a_row), "{in_a_row}");
    let seen_to = log.append(stopped("by the thread")).await.unwrap();
    assert_eq!(seen_to.seq(), in_a_row + 1);
    log.execute("PRAGMA query_only = ON");
    let refused = log.append(Entry { sync: true, ..stopped("refused") }).await;
    assert!(matches!(refused, Err(AuditError::Write(_))));
    assert!(log.at_once(log.pending(stopped("after a failure")).unwrap()).is_err());
    log.close().await;
    assert_eq!(fixture.verify().problem, None);
}

/// A note waits for the next record, or a few milliseconds; it is before what comes after it either way.
#[tokio::test]
async fn a_note_is_written_with_the_next_record_or_soon() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for sync in [false, true] {
        log.note(stopped("first")).await.unwrap();
        let before = log.records();
        let _ = log.append(Entry { sync, ..of(&id(), decided(Effect::Allow)) }).await.unwrap();
        assert_eq!(log.records(), before + 2);
    }
    assert_eq!(fixture.kinds(), ["stopped", "decided", "stopped", "decided"]);
    for round in 1..=3 {
        log.note(stopped("alone")).await.unwrap();
        while log.records() < 4 + round {
            tokio::task::yield_now().await;
        }
    }
    log.note(stopped("last")).await.unwrap();
    log.close().await;
    assert_eq!(fixture.records().len(), 8, "a close writes what is left");
    assert_eq!(fixture.verify().problem, None);
}

/// What waits for the next record is bounded, and a failure loses none of it.
#[tokio::test]
async fn notes_that_wait_are_bounded_and_survive_a_failure() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let note = || log.pending(stopped("x")).unwrap();
    let mut waiting = 0;
    while log.deferred(note()).is_ok() {
        waiting += 1;
    }
    assert!((1..=64).contains(&waiting), "{waiting}");
    log.execute("PRAGMA query_only = ON");
    let refused = log.append(stopped("refused")).await;
    assert!(matches!(refused, Err(AuditError::Write(_))), "{refused:?}");
    assert!(log.deferred(note()).is_err(), "after a failure the thread sees to everything");
    log.execute("PRAGMA query_only = OFF");
    let _ = log.append(stopped("after")).await.unwrap();
    log.close().await;
    let kinds = fixture.kinds();
    assert_eq!((kinds[0].as_str(), kinds.len()), ("gap", 1 + waiting + 1));
    assert_eq!(fixture.verify().problem, None);
}

/// Somebody else's lock keeps neither the note nor the record that it waits for from being written once.
#[tokio::test]
async fn a_note_outlasts_a_foreign_lock() {
    let fixture = Fixture::new();
    let log = fixture.open_with(Duration::from_secs(60));
    assert!(log.deferred(log.pending(stopped("note")).unwrap()).is_ok());
    let foreign = rusqlite::Connection::open(fixture.db()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let pending = log.pending(stopped("record")).unwrap();
    let pending = log.at_once(pending).unwrap_err();
    foreign.execute_batch("ROLLBACK").unwrap();
    assert_eq!(log.at_once(pending).unwrap().unwrap().seq(), 2);
    log.close().await;
    assert_eq!(fixture.records().len(), 2);
}

#[tokio::test]
async fn the_wall_clock_may_step_and_the_order_stays() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("now")).await.unwrap();
    let (reply, answer) = oneshot::channel();
    let mut earlier = Pending::new(None, false, &Event::Stopped { reason: "two hours ago".into() }).unwrap();
    earlier.set_clock_back(7_200_000);
    let room = Arc::clone(&log.room).acquire_many_owned(1).await.unwrap();
    earlier.attach(Some(reply), room, Queued::new(&log.shared));
    log.jobs.send(Job::Write(Box::new(earlier))).await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap().seq(), 3);
    log.close().await;
    assert_eq!(fixture.kinds(), ["stopped", "clock_stepped", "stopped"]);
    let by: i64 = member(&fixture.records()[1], "/by_ms").parse().unwrap();
    assert!((by + 7_200_000).abs() < 1000, "{by}");
    assert_eq!(fixture.verify().problem, None);
}

#[tokio::test]
async fn what_is_queued_is_bounded() {
    let fixture = Fixture::new();
    let log = fixture.open_with(Duration::from_secs(60));
    let foreign = rusqlite::Connection::open(fixture.db()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let large = Entry { call: None, sync: false, event: Event::Stopped { reason: "x".repeat(16 << 10) } };
    let mut queued = 0;
    while tokio::time::timeout(Duration::from_millis(100), log.note(large.clone())).await.is_ok() {
        queued += 1;
    }
    assert!((50..=64).contains(&queued), "{queued} notes of 16 KiB");
    foreign.execute_batch("ROLLBACK").unwrap();
    log.close().await;
    assert_eq!(fixture.records().len(), queued);
}

/// Were the room full of notes that wait for another try, nothing could come in that brings it.
#[tokio::test]
async fn notes_that_failed_leave_room() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let foreign = rusqlite::Connection::open(fixture.db()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..128 {
        let large = Event::Stopped { reason: "x".repeat(16 << 10) };
        log.note(Entry { call: None, sync: false, event: large }).await.unwrap();
    }
    assert!(log.append(stopped("locked")).await.is_err());
    foreign.execute_batch("ROLLBACK").unwrap();
    let _ = log.append(stopped("after")).await.unwrap();
    log.close().await;
    let kinds = fixture.kinds();
    assert_eq!((kinds[0].as_str(), kinds.len()), ("gap", 1 + 15 + 1));
    assert_eq!(fixture.verify().problem, None);
}
