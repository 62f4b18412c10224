//! Countersign: a proxy between MCP clients and upstream MCP servers that hold production keys.
//!
//! **Every message is classified once; a tool call passes one gate (policy → record → perhaps a person → record); the
//! gate hands out a [`gate::PermittedCall`], and only that can be sent upstream.**
//!
//! ```text
//! client ─ transport ─ proxy::session ─ mcp::method ─┬─ decide ─ gate ─ proxy::upstream ─ transport ─ server
//!                                                    ├─ pass ──────────┘
//!                                                    └─ refuse
//! operator ─ console | cli::pending ─ control ─ gate
//! ```
//!
//! # Rooms, in reading order
//!
//! | room | what lives there | may import |
//! |---|---|---|
//! | [`json`] | strict JSON text that keeps every spelling | nothing of ours |
//! | [`call`] | the words: calls, decisions, refusals, limits | `json` |
//! | [`mcp`] | messages, the method table, our answers | `call` |
//! | [`catalog`] | what a vendor's tools do: (tool, arguments) → operation | `call` |
//! | [`policy`] | Rego: load, evaluate (an operator's rules in processes of their own), combine; test, check, explain, replay | `call` |
//! | [`audit`] | the record: one ledger, one chain | `call` |
//! | [`signing`] | what an operator signs, and what a signature is worth | `call` |
//! | [`gate`] | the enforcement point, the holds, the permit, what was let through lately | `call`, `policy`, `audit`, `signing` |
//! | [`pins`] | the definitions of tools that are trusted, and what they demand | `call`, `audit` |
//! | [`credential`] | keys: a type, sources, a store, sign-ins, scrubbing; signed tokens of clients | `call` |
//! | [`sandbox`] | what a child may reach, and the way into that | nothing of ours |
//! | [`config`] | YAML → a valid configuration | `call`, `credential`, `sandbox` |
//! | [`notify`] | telling people that a call waits | `call`, `credential`, the views of `control` |
//! | [`transport`] | bytes ⇄ messages, four links; the endpoint for children without keys | `mcp`, `credential`, `sandbox` |
//! | [`proxy`] | sessions; builds and drains the daemon | all of the above, `control` |
//! | [`console`] | the operator's terminal, a client of that socket | `control`, `signing`, `call` |
//! | [`control`] | the operator socket | `call`; its server also `gate`, `pins` and the listener of `transport` |
//! | [`shim`] | `countersign connect` | `mcp`, `transport` |
//! | [`demo`] | an embedded server, a scripted agent | all but `mcp`, `catalog`, `gate` |
//! | [`cli`] | commands and exit codes; nothing uses it | all |
//!
//! `tests/architecture.rs` holds this table against the source, and says where outside crates may live.
//!
//! Thirty minutes: this page → `call` → `proxy/session.rs` → `gate/mod.rs` → `gate/release.rs` → `gate/permit.rs` →
//! `policy/mod.rs` → `audit/record.rs` → `proxy/upstream.rs` → `control/wire.rs` → `console/app.rs`.
//!
//! # Invariants
//!
//! * **Mediation.** Nothing that can change upstream state leaves without a decision; unknown methods are refused.
//! * **One truth.** A message is read once, strictly; policy input, digest, screen, record and upstream bytes are views
//!   of that one text. The client's bytes are never relayed.
//! * **Ambiguity is refusal.** Duplicate keys at any depth, odd framing, a header that disagrees with the body.
//! * **Fail closed.** Undefined, error, time-out, wrong shape, full disk, no console: a named refusal.
//! * **At most once.** An approval names hold and digest and is consumed; no call is sent twice.
//! * **Valid at release.** Policy, the tool's definition and pin, expiry, the client's presence and that its token was not
//!   replaced are checked again before an approved call leaves; what can end it is asked until its first byte.
//! * **A restart never executes.** Open calls end as abandoned, approved and not sent, or sent with outcome unknown.
//! * **Record, then act.** The record is in the store before the first byte leaves.
//! * **The key is invisible.** It joins at the upstream link and is scrubbed from everything that comes back.
//! * **What you see is what is sent.** Screens show the exact text, hidden characters included.
//! * **Bounded.** Every queue, buffer, map and wait has a limit.

pub mod json;
pub mod call;
pub mod mcp;
pub mod catalog;
pub mod policy;
pub mod audit;
pub mod signing;
pub mod pins;
pub mod gate;
pub mod credential;
pub mod sandbox;
pub mod config;
pub mod transport;
pub mod notify;
pub mod proxy;
pub mod control;
pub mod console;
pub mod shim;
pub mod demo;
pub mod cli;
