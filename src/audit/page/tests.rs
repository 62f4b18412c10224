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

    let newest = reader.page(None, 3, None).unwrap();
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
    assert_eq!(seqs(&reader.page(Some(6), 500, None).unwrap()), [5, 4, 3, 2, 1]);
    assert_eq!(seqs(&reader.page(Some(1), 500, None).unwrap()), [0; 0]);
    assert_eq!(seqs(&reader.page(None, 2, Some(&call)).unwrap()), [8, 7]);
    assert_eq!(seqs(&reader.page(Some(8), 500, Some(&call)).unwrap()), [7, 1]);
    drop(reader);

    // Somebody rewrites a record, and another one takes one away.
    for sql in [
        "UPDATE records SET body = '{\"kind\":\"stopped\",\"reason\":\"other\"}' WHERE seq = 4",
        "DELETE FROM records WHERE seq = 6",
    ] {
        tamper(&fixture.db(), |db| db.execute_batch(sql).unwrap());
        let reader = AuditReader::open(&fixture.db()).unwrap();
        assert!(!reader.page(None, 500, None).unwrap().intact, "{sql}");
    }
    assert!(AuditReader::open(&fixture.db()).unwrap().page(Some(4), 500, None).unwrap().intact, "those of before are");
}
