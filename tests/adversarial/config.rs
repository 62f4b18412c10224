//! Cases about the configuration: what is not understood, not safe or not there stops the start, with a reason.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Countersign, Spy, daemon};

/// The daemon does not start and says each of these; the upstream is never begun.
async fn refused(change: impl FnOnce(Countersign) -> Countersign, says: &[&str]) {
    let spy = Spy::stdio().await;
    let (status, log) = change(Countersign::new().upstream(&spy)).refuses().await;
    assert_eq!(status.code(), Some(2), "{log}");
    for part in says {
        assert!(log.contains(part), "{part:?} is not in:\n{log}");
    }
    assert_eq!(spy.processes().len(), 0, "the upstream was started:\n{log}");
}

async fn refused_with(pointer: &str, value: Value, says: &[&str]) {
    refused(|countersign| countersign.set(pointer, value), says).await;
}

/// A key that is not known is named, and the one that was meant.
#[tokio::test]
async fn cfg_001() {
    refused_with("/holds/tll", json!("60s"), &["`tll`", "`ttl`", "countersign.yaml:"]).await;
    refused_with("/polcy", json!({}), &["`polcy`", "`policy`"]).await;
    refused_with("/holds/max_pendng", json!(5), &["`max_pendng`", "`max_pending`"]).await;
    let principal = json!({"name": "agent", "match": {"uid": 1}, "scops": []});
    refused_with("/principals", json!([principal]), &["`scops`", "`scopes`"]).await;
}

/// Times and sizes that mean nothing.
#[tokio::test]
async fn cfg_003() {
    for odd in [
        json!(0),
        json!("0s"),
        json!(-1),
        json!("-1s"),
        json!(1e308),
        json!("10 fortnights"),
        json!("999999999999s"),
        json!("99999999999999999999s"),
        json!(null),
        json!(""),
    ] {
        refused_with("/holds/ttl", odd, &["ttl", "help:"]).await;
    }
    for odd in [json!(0), json!("0"), json!("-1KiB"), json!("1e9"), json!("99999999999GiB"), json!("1 fortnight")] {
        refused_with("/limits/message_bytes", odd, &["message_bytes", "help:"]).await;
    }
    for odd in [json!(0), json!(-1), json!(1.5), json!("many")] {
        refused_with("/holds/max_pending", odd, &["max_pending", "help:"]).await;
    }
}

/// An address that others reach, without anything that protects it.
#[tokio::test]
async fn cfg_004() {
    for address in ["0.0.0.0:8443", "[::]:8443", "192.0.2.1:8443", "[::ffff:0.0.0.0]:8443"] {
        refused_with("/listen/http", json!(address), &["listen", "help:"]).await;
    }
}

/// A key that is missing, empty, or no key.
#[tokio::test]
async fn cfg_005() {
    let server = |countersign: Countersign, source: Value| {
        let mut upstream = json!({"http": {"url": "https://127.0.0.1:9/mcp", "headers": {}}});
        upstream["http"]["headers"] = json!({"Authorization": {"secret": "key"}});
        countersign.set("/secrets/key", source).server("keyed", json!({"environment": "sandbox", "upstream": upstream}))
    };
    refused(|countersign| server(countersign, json!({"env": "NOT_THERE"})), &["key", "NOT_THERE"]).await;
    refused(
        |countersign| server(countersign, json!({"env": "EMPTY"})).env("EMPTY", ""),
        &["`key`", "empty", "countersign.yaml:"],
    )
    .await;
    refused(
        |countersign| server(countersign, json!({"env": "BLANK"})).env("BLANK", "  "),
        &["`key`", "countersign.yaml:"],
    )
    .await;
    for text in ["", " \n", "one\ntwo\n", "tab\there"] {
        let spy = Spy::stdio().await;
        let countersign = Countersign::new().upstream(&spy);
        let file = countersign.dir().join("key");
        std::fs::write(&file, text).unwrap();
        daemon::set_mode(&file, 0o600);
        let (status, log) = server(countersign, json!({"file": file})).refuses().await;
        assert_eq!(status.code(), Some(2), "{text:?}: {log}");
        assert!(log.contains("key"), "{text:?}: {log}");
        assert!(!log.contains("one\ntwo"), "the value is shown: {log}");
    }
}

/// Places that lie in each other.
#[tokio::test]
async fn cfg_007() {
    let within = |folder: &str| {
        let folder = folder.to_owned();
        move |countersign: Countersign| {
            let path = countersign.dir().join(folder);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
            countersign.set("/policy/paths", json!([path]))
        }
    };
    refused(within("state"), &["lie in each other", "state_dir"]).await;
    refused(within("state/policies"), &["lie in each other", "state_dir"]).await;
    refused(within("run"), &["lie in each other", "runtime_dir"]).await;
    refused(within("."), &["lie in each other"]).await;
}

/// A store that a newer program wrote.
#[tokio::test]
async fn cfg_009() {
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).start().await;
    let store = daemon.state_dir().join("audit.db");
    daemon.stop().await;
    let version = |store: &rusqlite::Connection| -> i64 {
        store.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    let database = rusqlite::Connection::open(&store).unwrap();
    let newer = version(&database) + 1;
    database.pragma_update(None, "user_version", newer).unwrap();
    drop(database);
    let again = daemon.again();
    let _folder = again.kept();
    let (status, log) = again.refuses().await;
    assert_ne!(status.code(), Some(0), "{log}");
    assert!(log.contains("newer") && log.contains("audit.db"), "{log}");
    assert_eq!(version(&rusqlite::Connection::open(&store).unwrap()), newer, "the store was changed");
}

/// Texts that are small and mean much, or are much: refused quickly, in little memory.
#[tokio::test]
async fn cfg_010() {
    let laughs = (1..12).fold("version: 1\na0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let before = format!("*a{},", n - 1).repeat(9);
        text + &format!("a{n}: &a{n} [{}]\n", before.trim_end_matches(','))
    });
    let deep = (0..10_000).fold(String::new(), |text, n| text + &" ".repeat(n % 200) + "a:\n") + "b: 1\n";
    let nested = format!("version: 1\npolicy: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let large = format!("version: 1\n{}", "# nothing\n".repeat(10 << 20));
    for (what, text) in [("laughs", laughs), ("deep", deep), ("nested", nested), ("large", large)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("countersign.yaml");
        std::fs::write(&file, text).unwrap();
        daemon::set_mode(&file, 0o600);
        let began = Instant::now();
        let output = limited(&file).await;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{what}: {log}");
        assert!(log.len() < 64 << 10, "{what}: {} bytes of error", log.len());
        // Of the second that it may take, what the machine is busy with aside.
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
    }
}

/// Starts with an address space of 64 MiB beyond what the program itself maps.
async fn limited(file: &std::path::Path) -> Output {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", "ulimit -d 65536; exec \"$@\"", "sh", daemon::binary(), "serve", "--config"]).arg(file);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", "/nonexistent");
    crate::harness::within("the daemon to refuse", command.output()).await.unwrap()
}
