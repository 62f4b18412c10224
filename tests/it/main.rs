//! Black box: the program as a child process, between real or recording peers, judged by what is on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod bad_input;
mod commands;
mod continuations;
mod daemon;
mod edges;
mod fixtures;
mod holding;
mod lists;
mod front;
mod peers;
mod questions;
mod recorder;
mod stripe;
mod tasks;
