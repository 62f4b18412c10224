//! Pages as operators turn them, and what a page says of records that were changed.

use super::super::record::tests::{decided, ruled};
use super::super::tamper::tamper;
use super::super::tests::{Fixture, stopped};
use super::super::{Entry, Event, Ruling};
use super::*;
use crate::call::{Effect, Outcome};

#[tokio::test]
async fn a_page_says_what_its_records_are_about_and_whether_they_are_intact() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let call = CallId::random().unwrap();
    let of = |event| Entry::new(Some(&call), true, event);
    let _ = log.append(of(decided(Effect::Hold))).await.unwrap();
    for n in 0..5 {
        let _ = log.append(stopped(&format!("between {n}"))).await.unwrap();
    }
    let _ = log.append(of(ruled(Ruling::Approve, true))).await.unwrap();
    let _ =
        log.append(of(Event::Closed { outcome: Outcome::Expired, reason: "x".into(), stale: false })).await.unwrap();
    log.close().await;
    let reader = AuditReader::open(&fixture.db()).unwrap();

    let newest = reader.page(None, 3, None, None).unwrap();
    let seqs = |page: &Page| page.lines.iter().map(|line| line.seq).collect::<Vec<_>>();
    assert_eq!((seqs(&newest), newest.intact), (vec![8, 7, 6], true));
    assert_eq!(newest.head, fixture.records().last().map(|record| record.hash));
    let ruled = &newest.lines[1];
    assert_eq!((ruled.kind.as_str(), ruled.words.as_str()), ("ruled", "approve by ana"));
    assert_eq!(ruled.about.operator.as_deref(), Some("ana"));
    assert_eq!(
        (ruled.about.server.as_deref(), ruled.about.operation.as_deref()),
        (Some("stripe"), Some("create_refund"))
    );
    assert_eq!(newest.lines[2].about, About::default(), "a record of no call is about nothing");
    assert_eq!(seqs(&reader.page(Some(6), 500, None, None).unwrap()), [5, 4, 3, 2, 1]);
    assert_eq!(seqs(&reader.page(Some(1), 500, None, None).unwrap()), [0; 0]);
    assert_eq!(seqs(&reader.page(None, 2, Some(&call), None).unwrap()), [8, 7]);
    assert_eq!(seqs(&reader.page(Some(8), 500, Some(&call), None).unwrap()), [7, 1]);
}

/// A log of eight records, and where its writer knew that it ended.
async fn eight() -> (Fixture, (u64, Digest)) {
    let fixture = Fixture::new();
    let log = fixture.open();
    for n in 0..8 {
        let _ = log.append(stopped(&format!("record {n}"))).await.unwrap();
    }
    let end = log.end();
    log.close().await;
    (fixture, end)
}

/// Whatever is taken away or rewritten, in a log of its own each, shows on every page that should have it, and on no other.
#[tokio::test]
async fn a_page_without_a_record_is_not_intact() {
    let rewritten = "UPDATE records SET body = '{\"kind\":\"stopped\",\"reason\":\"other\"}' WHERE seq = 4";
    let all = [(None, 500), (None, 3), (Some(7), 500), (Some(6), 2), (Some(4), 500), (Some(1), 500)];
    for (sql, intact) in [
        ("SELECT 1", [true; 6]),
        (rewritten, [false, true, false, false, true, true]),
        ("DELETE FROM records WHERE seq = 6", [false, false, false, true, true, true]),
        ("DELETE FROM records WHERE seq IN (5, 6)", [false, false, false, false, true, true]),
        ("DELETE FROM records WHERE seq = 1", [false, true, false, true, false, true]),
        ("DELETE FROM records WHERE seq = 8", [false; 6]),
        ("DELETE FROM records", [false; 6]),
    ] {
        let (fixture, end) = eight().await;
        assert_eq!(end.0, 8);
        tamper(&fixture.db(), |db| db.execute_batch(sql).unwrap());
        let reader = AuditReader::open(&fixture.db()).unwrap();
        let found = all.map(|(before, limit)| reader.page(before, limit, None, Some(end)).unwrap().intact);
        assert_eq!(found, intact, "{sql}");
    }
    let (fixture, (seq, _)) = eight().await;
    let reader = AuditReader::open(&fixture.db()).unwrap();
    let other = (seq, Digest::of_bytes(b"another record"));
    assert!(!reader.page(None, 500, None, Some(other)).unwrap().intact, "the last record is not the writer's");
    assert!(reader.page(None, 500, None, Some((5, other.1))).unwrap().intact, "later ones have come since");
}
