//! What the black-box tests drive Countersign with: the daemon as a child process, raw clients for both fronts, an
//! operator, recording upstreams, and the real peers. Nothing in here sleeps: everything that is awaited is an event,
//! and every wait has an end.

// Each test binary uses its part of this.
#![allow(dead_code, unused_imports)]

pub mod between;
pub mod daemon;
pub mod http;
pub mod issuer;
pub mod operator;
pub mod peers;
pub mod process;
pub mod session_bus;
pub mod shim;
pub mod sign_in;
pub mod spy;
pub mod web;

use std::future::Future;
use std::time::Duration;

pub use daemon::{Countersign, Daemon};
pub use operator::Console;
pub use shim::Shim;
pub use spy::{Act, Spy};

/// How long a test waits for anything that has to happen.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The result of `work`, or a failure that says what did not happen.
#[track_caller]
pub fn within<T>(what: &str, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let at = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(done) => done,
            Err(_) => panic!("{at}: waited {} s in vain for {what}", DEADLINE.as_secs()),
        }
    }
}

/// A `tools/call` of the legacy era.
pub fn call(id: impl Into<serde_json::Value>, tool: &str, arguments: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": {"name": tool, "arguments": arguments},
    })
}

/// A request of the legacy era.
pub fn request(id: impl Into<serde_json::Value>, method: &str, params: serde_json::Value) -> serde_json::Value {
    serde_json::json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

/// The same message as one of the stateless era, with what the client declares beside what `_meta` says already.
pub fn stateless(mut message: serde_json::Value, capabilities: serde_json::Value) -> serde_json::Value {
    let meta = [
        ("io.modelcontextprotocol/protocolVersion", serde_json::json!("2026-07-28")),
        ("io.modelcontextprotocol/clientInfo", serde_json::json!({"name": "agent", "version": "0"})),
        ("io.modelcontextprotocol/clientCapabilities", capabilities),
    ];
    for (name, value) in meta {
        message["params"]["_meta"][name] = value;
    }
    message
}

/// What `initialize` carries.
pub fn hello() -> serde_json::Value {
    serde_json::json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "agent", "version": "0"},
    })
}

/// The words of a refusal: outcome, where the answer is one.
pub fn outcome(answer: &serde_json::Value) -> Option<&str> {
    answer
        .pointer("/result/_meta/dev.countersign~1decision/outcome")
        .or_else(|| answer.pointer("/error/data/dev.countersign~1decision/outcome"))
        .and_then(serde_json::Value::as_str)
}
