//! Black box: the program as a child process, between real or recording peers, judged by what is on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

/// The server of the conformance tests, which speaks both eras.
#[path = "../conformance/server/mod.rs"]
mod fixture;

mod agents;
mod bad_input;
mod commands;
mod daemon;
mod fixtures;
mod patience;
mod peers;
mod rust_client;
mod stripe;
