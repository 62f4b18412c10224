//! The official conformance suite, first against a server and then through Countersign: check by check the same.
//!
//! What is compared is what the suite itself concludes, so a run that passes direct and through the proxy is evidence
//! for the proxy, and a run that fails direct is not: the fixture server passes everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod clients;
mod relay;
mod server;
mod servers;
mod suite;
