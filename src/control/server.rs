//! The daemon's end of the operator socket.
