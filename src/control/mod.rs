//! The operator socket: its messages, the daemon's end, the operator's end. It has no message in common with the
//! client socket: nothing that a client can say rules on a hold.

pub mod client;
pub mod server;
pub mod wire;
