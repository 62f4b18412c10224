//! The file itself: a foreign one, a damaged one, and who may read it.

use super::*;

#[tokio::test]
async fn a_later_format_or_another_database_is_refused() {
    let fixture = Fixture::new();
    fixture.open().close().await;
    let db = rusqlite::Connection::open(fixture.db()).unwrap();
    db.pragma_update(None, "user_version", 2).unwrap();
    drop(db);
    assert!(matches!(fixture.refusal(), AuditError::Version { found: 2, known: 1, .. }));
    let other = Fixture::new();
    rusqlite::Connection::open(other.db()).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(other.refusal(), AuditError::Foreign));
    let text = Fixture::new();
    std::fs::write(text.db(), "this is not a database, and it is long enough to be told from an empty file".repeat(9))
        .unwrap();
    assert!(matches!(text.refusal(), AuditError::Broken(Problem::Unreadable(_))));
}

#[tokio::test]
async fn a_schema_with_something_foreign_in_it_is_refused() {
    for sql in [
        "CREATE TRIGGER spy AFTER INSERT ON records BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT 1",
        "DROP TRIGGER records_keep",
    ] {
        let fixture = Fixture::new();
        let log = fixture.open();
        let _ = log.append(stopped("one")).await.unwrap();
        log.close().await;
        rusqlite::Connection::open(fixture.db()).unwrap().execute_batch(sql).unwrap();
        assert!(matches!(fixture.refusal(), AuditError::Broken(Problem::Shape { .. })), "{sql}");
        assert!(matches!(fixture.verify().problem, Some(Problem::Shape { .. })), "{sql}");
    }
}

#[tokio::test]
async fn records_cannot_be_changed_by_mistake() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("one")).await.unwrap();
    log.close().await;
    let db = rusqlite::Connection::open(fixture.db()).unwrap();
    for sql in [
        "UPDATE records SET body = '{}'",
        "DELETE FROM records",
        "UPDATE meta SET value = x'00'",
        "DELETE FROM meta",
        "INSERT OR REPLACE INTO records SELECT seq, at, up_ms, call, kind, '{}', prev, hash FROM records",
        "INSERT INTO records SELECT seq + 2, at, up_ms, call, kind, body, prev, hash FROM records",
    ] {
        assert!(db.execute_batch(sql).is_err(), "{sql}");
    }
}

#[tokio::test]
async fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    let log = fixture.open();
    let _ = log.append(stopped("one")).await.unwrap();
    for entry in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
    log.close().await;
}
