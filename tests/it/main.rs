//! Black box: the program as a child process, between real or recording peers, judged by what is on the wire.

#[path = "../harness/mod.rs"]
mod harness;

mod fixtures;
mod peers;
mod stripe;
