//! The suite as a client: against servers, and against the same servers behind the HTTP front.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::harness::daemon::{ALLOW_ALL, SERVER, TOKEN};
use crate::harness::peers::EverythingOverHttp;
use crate::harness::{Console, Countersign, Daemon};
use crate::relay::Relay;
use crate::server::Server;
use crate::suite::{self, Version, assert_equal, assert_perfect};

/// Nothing passes without a person.
const HOLD_ALL: &str = r#"package countersign.policy.all

allow contains {"rule": "all", "reason": "anything may be asked for"} if input.method

hold contains {"rule": "all.held", "reason": "a person looks at everything"} if true
"#;

/// How long the operator looks at a call.
const LOOK: Duration = Duration::from_millis(300);

/// The proxy in front of a server, at an address that needs no token.
struct Through {
    daemon: Daemon,
    url: String,
}

async fn through(policy: &str, upstream: &str) -> Through {
    through_with(Countersign::with_policy(policy), upstream).await
}

async fn through_with(countersign: Countersign, upstream: &str) -> Through {
    let relay = Relay::bind().await;
    let daemon = countersign
        .server(
            SERVER,
            json!({"environment": "test", "upstream": {"http": {"url": upstream, "allow_plain_http": true}}}),
        )
        .set(
            "/listen/http",
            json!({"address": "127.0.0.1:0", "allowed_origins": [format!("http://{}", relay.address)]}),
        )
        .start()
        .await;
    let url = format!("http://{}/mcp/{SERVER}", relay.address);
    relay.serve(daemon.address, TOKEN);
    Through { daemon, url }
}

/// Approves every hold when it has been looked at for long enough, also those that came meanwhile; counts them.
async fn approve_all(mut console: Console, approved: Arc<AtomicUsize>) {
    let mut looked_at = VecDeque::new();
    loop {
        let next = looked_at.front().map(|(due, _)| *due);
        tokio::select! {
            hold = console.hold() => looked_at.push_back((Instant::now() + LOOK, hold)),
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let Some((_, hold)) = looked_at.pop_front() else { continue };
                // A client may have gone away from it; the daemon says so, and nothing is left to do.
                if console.approve(&hold).await.is_ok() {
                    approved.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// One run of the suite against the fixture and two through the proxy: everything allowed, everything held.
async fn is_the_same(name: &str, version: Version, which: &[&str], scenarios: usize, checks: usize) {
    let direct = suite::server(version, &Server::start().await.url, which).await;
    assert_perfect(&direct, scenarios, checks);

    let proxy = through(ALLOW_ALL, &Server::start().await.url).await;
    let allowed = suite::server(version, &proxy.url, which).await;
    assert_equal(&format!("{name} allowed"), &direct, &allowed);

    let proxy = through(HOLD_ALL, &Server::start().await.url).await;
    let approved = Arc::new(AtomicUsize::new(0));
    let operator = tokio::spawn(approve_all(proxy.daemon.console().await, Arc::clone(&approved)));
    let held = suite::server(version, &proxy.url, which).await;
    assert_equal(&format!("{name} held"), &direct, &held);
    operator.abort();
    assert!(operator.await.is_err_and(|ended| ended.is_cancelled()), "the operator broke off");
    assert!(approved.load(Ordering::Relaxed) > 15, "hardly anything was held: {approved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_2025_11_25_is_the_same() {
    is_the_same("server 2025-11-25", Version::New, &["--requirements", "2025-11-25"], 33, 84).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_2026_07_28_is_the_same() {
    is_the_same("server 2026-07-28", Version::New, &["--requirements", "2026-07-28"], 50, 197).await;
}

/// Every held call is answered with a task at once: what the server's own task asks its client for passes through it.
#[tokio::test(flavor = "multi_thread")]
async fn the_input_of_tasks_is_the_same_where_every_call_is_one() {
    let which = ["--scenario", "tasks-mrtr-input", "--spec-version", "2026-07-28", "--force"];
    let direct = suite::server(Version::New, &Server::start().await.url, &which).await;
    assert_perfect(&direct, 1, 4);
    let tasks = Countersign::with_policy(HOLD_ALL).set("/holds/tasks_after", json!("0s"));
    let proxy = through_with(tasks, &Server::start().await.url).await;
    let approved = Arc::new(AtomicUsize::new(0));
    let operator = tokio::spawn(approve_all(proxy.daemon.console().await, Arc::clone(&approved)));
    let held = suite::server(Version::New, &proxy.url, &which).await;
    assert_equal("tasks-mrtr-input as tasks", &direct, &held);
    operator.abort();
    assert!(operator.await.is_err_and(|ended| ended.is_cancelled()), "the operator broke off");
    assert!(approved.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_the_same_for_the_older_suite() {
    is_the_same("server 0.1.16", Version::Old, &["--suite", "all"], 32, 47).await;
}

/// The reference server does not pass everything; what it does not pass has to come out the same as well.
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_server_is_the_same() {
    for (name, version, which) in [
        ("reference 2025-11-25", Version::New, ["--requirements", "2025-11-25"]),
        ("reference 0.1.16", Version::Old, ["--suite", "all"]),
    ] {
        let server = EverythingOverHttp::start().await;
        let direct = suite::server(version, &server.url, &which).await;
        assert!(direct.passed() > 10, "{name}: {}", direct.passed());
        let proxy = through(ALLOW_ALL, &server.url).await;
        assert_equal(name, &direct, &suite::server(version, &proxy.url, &which).await);
    }
}
