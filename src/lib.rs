//! Countersign.

pub mod audit;
pub mod call;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod console;
pub mod control;
pub mod credential;
pub mod demo;
pub mod gate;
pub mod json;
pub mod mcp;
pub mod policy;
pub mod proxy;
pub mod shim;
pub mod transport;
