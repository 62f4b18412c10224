//! The operator's terminal. It only asks: whatever it shows came over the operator socket, whatever it decides goes
//! back over it, and the daemon is the judge of both.

pub mod visible;
pub mod risk;
pub mod doc;
pub mod describe;
pub mod holds;
pub mod keys;
pub mod dialog;
pub mod app;
pub mod view;
