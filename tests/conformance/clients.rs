//! The suite as a server: what it concludes about a client, and about the same client with Countersign in between.

use crate::harness::daemon::binary;
use crate::harness::peers::{installed, node, source};
use crate::suite::{self, assert_equal};

/// What Countersign does, and the client does not.
const OURS: [&str; 4] =
    ["auth/dpop", "auth/dpop-nonce", "auth/enterprise-managed-authorization", "auth/wif-jwt-bearer"];

async fn is_the_same(revision: &str, checks: usize) {
    let which = ["--requirements", revision];
    let (client, peers) = (source("tests/conformance/client.mjs"), installed("npm/package.json"));
    let environment =
        [("PEERS", peers.to_str().unwrap()), ("CLIENT", client.to_str().unwrap()), ("COUNTERSIGN", binary())];
    let command = |file: &str| format!("{} {}", node().display(), source(file).display());

    let direct = suite::client(&command("tests/conformance/client.mjs"), &which, &environment).await;
    assert_eq!(direct.imperfect().into_iter().collect::<Vec<_>>(), OURS);
    assert_eq!(direct.passed_without(&OURS), checks);

    let through = suite::client(&command("tests/conformance/through.mjs"), &which, &environment).await;
    // Signing in comes out as well as the client's own, whatever way it takes.
    assert!(through.imperfect().is_empty(), "{:?}", through.imperfect());
    assert_equal(&format!("client {revision}"), &direct, &through);
}

#[tokio::test]
async fn a_client_of_2025_11_25_is_the_same() {
    is_the_same("2025-11-25", 310).await;
}

#[tokio::test]
async fn a_client_of_2026_07_28_is_the_same() {
    is_the_same("2026-07-28", 490).await;
}
