//! Black box: the program as a child process, between real or recording peers, judged by what is on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

/// The server of the conformance tests, which speaks both eras.
#[path = "../conformance/server/mod.rs"]
mod fixture;

mod agents;
mod author;
mod bad_input;
mod binding;
mod bounded;
mod by_itself;
mod catalogs;
mod code_mode;
mod commands;
mod continuations;
mod crowd;
mod daemon;
mod doctor;
mod doctor_operators;
mod door;
mod dpop;
mod drafting;
mod edges;
mod fixtures;
mod forms;
mod front;
mod grants;
mod holding;
mod hostile_oauth;
mod id_jag;
mod installed;
mod large;
mod last_moment;
mod limits;
mod lists;
mod misspelt;
mod notices;
mod oauth;
mod patience;
mod peers;
mod pins;
mod places;
mod questions;
mod recorder;
mod reopening;
mod replay;
mod rotation;
mod rust_client;
mod schemas;
mod scopes;
mod scrubbed;
mod secrets;
mod setup;
mod signing;
mod stopping;
mod stripe;
mod task_input;
mod tasks;
mod tokens;
mod wrap;
mod wrap_agents;
mod wrap_beside;
mod wrap_ls;
mod wrap_remote;
