//! Countersign.

pub mod json;
pub mod call;
pub mod mcp;
pub mod catalog;
pub mod policy;
pub mod audit;
pub mod gate;
pub mod credential;
pub mod config;
pub mod transport;
pub mod proxy;
pub mod control;
pub mod console;
pub mod shim;
pub mod demo;
pub mod cli;
