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
mod continuations;
mod daemon;
mod edges;
mod fixtures;
mod front;
mod holding;
mod lists;
mod patience;
mod peers;
mod questions;
mod recorder;
mod rust_client;
mod scopes;
mod stripe;
mod task_input;
mod tasks;
