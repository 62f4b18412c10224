//! What an attacker sends. `cases.jsonl` holds the cases: those that are only bytes and a verdict run from there
//! (`data`), the others are tests of the same name. README.md says what the file's words mean.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod config;
mod data;
mod framing;
mod headers;
mod holds;
mod http;
mod limits;
mod methods;
mod operator_socket;
mod parsing;
mod policy;
mod processes;
mod secrets;
mod sessions;
mod sweep;
mod tokens;
mod unicode;
mod upstream;
