//! The operator's side: the pure app, its screens, the command line and the real binary in a terminal of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod acts;
mod batches;
mod chain;
mod chat;
mod cli;
mod commands;
mod desk;
mod drafts;
mod dialogs;
mod faithful;
mod fake;
mod filters;
mod fixtures;
mod floods;
mod grants;
mod invariants;
mod keyfile;
mod keys;
mod operations;
mod pages;
mod picture;
mod plain;
mod questions;
mod retries;
mod screens;
mod speed;
mod support;
mod talk;
mod terminal;
mod tui;
mod vocabulary;
mod wrapping;
