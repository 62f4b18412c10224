//! The operator's side: the pure app, its screens, the command line and the real binary in a terminal of its own.

mod cli;
mod fake;
mod invariants;
mod picture;
mod screens;
mod speed;
mod support;
mod terminal;
