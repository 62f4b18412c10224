//! What is remembered of the tools that servers have listed: which definition of each an operator trusts, and which one
//! was listed instead. What follows from that is policy (`policies/pins.rego`); here are only the facts.
//!
//! The first list of a server may be trusted ([`FirstUse`]); every other definition needs an operator. What is not
//! trusted stays so until he rules: a server cannot undo it by listing the old definition again, by listing nothing, or
//! by saying that its tools are others.
//!
//! Invariants: trust is recorded and on the disk before it counts, distrust counts at once. A server's first list is one
//! list: its pages follow each other by the server's own cursors, within a minute, once for ever.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::audit::{AuditLog, ChangedTool, Entry, Event, SeenTool, ToolRuling};
use crate::call::{Digest, Pin, SchemaCheck};
use crate::json::{Json, JsonText};

pub mod schema;
mod state;
mod store;

pub use state::{Change, Page, Seen};
pub use store::{Kept, StoreError, names};

use schema::{Mismatch, Schema, Verdict};
use state::{Plan, State};
use store::Store;

/// Tools of one server that are remembered, and the bytes of their definitions. What finds no room is not trusted.
pub const MAX_TOOLS: usize = 2048;
const MAX_BYTES: usize = 16 << 20;
/// A larger definition is not kept, and so nobody can look at it and pin it.
pub const MAX_DEFINITION: usize = 256 << 10;
const MAX_NAME: usize = 256;
/// How long a first list may take, and how many pages it may have.
const FIRST_LIST: Duration = Duration::from_secs(60);
const FIRST_PAGES: usize = 64;
/// Who pinned what was in a first list.
const FIRST_USE: &str = "first use";
/// Schemas that are kept ready, and the bytes that they may hold.
const READY: usize = 1024;
const READY_BYTES: usize = 64 << 20;
/// Tools that one record names; the rest is counted.
const NAMED: usize = 200;
/// Arguments that are compared with a schema at once, in bytes.
const AT_ONCE: usize = 4 << 10;

/// Names a definition, whatever the order of its keys.
fn digest_of(definition: &JsonText) -> Digest {
    Digest::of_definition(definition.view())
}

/// What happens when a server lists its tools for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstUse {
    /// What it lists is pinned.
    Trust,
    /// An operator pins everything.
    Refuse,
}

/// The pins of all servers. One for a daemon.
pub struct Pins {
    servers: BTreeMap<String, Server>,
    store: Mutex<Store>,
    audit: AuditLog,
    ready: Mutex<Ready>,
}

struct Server {
    first_use: FirstUse,
    state: Mutex<State>,
    /// Held from a plan to its end: the record, the disk, the state.
    turn: tokio::sync::Mutex<()>,
}

/// Schemas by the definition that they are of.
#[derive(Default)]
struct Ready {
    schemas: HashMap<Digest, Known>,
    /// Bytes that they hold, about and at most.
    weight: usize,
}

/// `Ok(None)`: the definition has none.
type Known = Result<Option<Arc<Schema>>, String>;

/// A tool as operators see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    pub tool: String,
    pub pin: Pin,
    pub first_seen: String,
    pub pinned: Option<Kept>,
    pub pinned_by: String,
    /// Listed, and not the pin.
    pub offered: Option<Kept>,
}

/// How many tools a server has, by how they stand.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub pinned: usize,
    pub changed: usize,
    pub unpinned: usize,
}

/// What an operator does about a tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Trust this definition, which he has seen.
    Pin(Digest),
    /// Trust none of them.
    Unpin,
    /// Forget a tool that is not pinned; should it be listed again, it is new.
    Forget,
}

/// Why an operator's act had no effect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoEffect {
    #[error("there is no such server")]
    NoServer,
    #[error("the server has not listed such a tool")]
    NotFound,
    #[error(
        "this is not the definition that was listed last, nor the one that is pinned; look at it again: countersign tools diff"
    )]
    WrongDigest,
    #[error("the definition is larger than what is kept ({} KiB), so nobody can look at it", MAX_DEFINITION >> 10)]
    TooLarge,
    #[error("the tool is not pinned")]
    NotPinned,
    #[error("the tool is pinned; unpin it first")]
    Pinned,
    #[error("it could not be kept: {0}")]
    Unavailable(String),
}

/// What a tool's schema says about a call of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Checked {
    /// Nothing against it.
    Passed(SchemaCheck),
    Wrong(Mismatch),
}

impl std::fmt::Debug for Pins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pins").finish_non_exhaustive()
    }
}

/// Every change of what these guard is complete when the guard goes, so a panic elsewhere leaves nothing half done.
fn open<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> String {
    Timestamp::now().to_string()
}

impl Pins {
    /// Reads what is remembered of these servers.
    ///
    /// # Errors
    /// Where the file cannot be trusted: it is never taken for one without pins.
    pub fn open(
        path: &Path,
        audit: AuditLog,
        servers: impl Iterator<Item = (String, FirstUse)>,
    ) -> Result<Pins, StoreError> {
        let (mut known, mut rows) = (HashSet::new(), Vec::new());
        let store = Store::open(path, |name| known.extend([name]), |row| rows.push(row))?;
        let mut states: BTreeMap<String, (FirstUse, State)> = servers
            .map(|(name, first_use)| {
                let state = State::new(known.contains(&name));
                (name, (first_use, state))
            })
            .collect();
        for row in rows {
            if let Some((_, state)) = states.get_mut(&row.server) {
                state.restore(&row);
            }
        }
        let server = |(name, (first_use, state))| {
            (name, Server { first_use, state: Mutex::new(state), turn: tokio::sync::Mutex::default() })
        };
        let servers = states.into_iter().map(server).collect();
        Ok(Pins { servers, store: Mutex::new(store), audit, ready: Mutex::default() })
    }

    /// How a tool stands. `listed` is the definition that is known of it now.
    pub fn pin(&self, server: &str, tool: &str, listed: Option<Digest>) -> Pin {
        let Some(server) = self.servers.get(server) else { return Pin::Unknown };
        open(&server.state).pin(tool, listed, server.first_use)
    }

    /// Remembers a page of a list, before anybody is shown it.
    pub async fn listed(self: &Arc<Self>, server: &str, page: Page<'_>) {
        let Some(found) = self.servers.get(server) else { return };
        if open(&found.state).knows(&page, Instant::now()) {
            return;
        }
        let _turn = found.turn.lock().await;
        let plan = open(&found.state).plan(&page, found.first_use, Instant::now());
        if plan.left_out > 0 {
            tracing::warn!(server, tools = plan.left_out, "definitions of tools are too many or too large to be kept");
        }
        if plan.is_empty() {
            // Where the first list goes on may have changed.
            return open(&found.state).apply(plan, "");
        }
        let (event, at) = (record(server, &page, &plan), now());
        tracing::info!(server, kind = event.kind(), begins = plan.begins, tools = plan.seen.len(), "tools were listed");
        if let Err(error) = self.audit.append(Entry::new(None, plan.begins, event)).await {
            return tracing::error!(server, %error, "no record, so nothing is trusted");
        }
        let (pins, name, written) = (Arc::clone(self), server.to_owned(), at.clone());
        let noted = tokio::task::spawn_blocking(move || {
            let noted = open(&pins.store).note(&name, plan.begins, &plan.seen, &written);
            (noted, plan)
        });
        match noted.await {
            Ok((Ok(()), plan)) => open(&found.state).apply(plan, &at),
            Ok((Err(error), _)) => {
                tracing::error!(server, %error, "what was listed could not be kept, so it is not trusted")
            }
            Err(error) => tracing::error!(server, %error, "what was listed could not be kept, so it is not trusted"),
        }
    }

    /// Compares the arguments of a call with the schema that is pinned, or was listed last where none is.
    pub async fn check(
        self: &Arc<Self>,
        server: &str,
        tool: &str,
        listed: Option<Digest>,
        arguments: &JsonText,
    ) -> Checked {
        let Some(found) = self.servers.get(server) else { return Checked::Passed(SchemaCheck::None) };
        let wanted = open(&found.state).definition(tool);
        let Some(wanted) = wanted else {
            // Listed, and not kept: it is beyond the bounds.
            let nothing = if listed.is_some() { SchemaCheck::Unusable } else { SchemaCheck::None };
            return Checked::Passed(nothing);
        };
        let schema = match self.schema(server, tool, wanted) {
            Ok(Some(schema)) => schema,
            Ok(None) => return Checked::Passed(SchemaCheck::None),
            Err(reason) => {
                tracing::warn!(server, tool = clip(tool), reason, "the input schema of a tool cannot be used");
                return Checked::Passed(SchemaCheck::Unusable);
            }
        };
        let verdict = if arguments.as_str().len() <= AT_ONCE {
            schema.check(arguments)
        } else {
            let arguments = arguments.clone();
            tokio::task::spawn_blocking(move || schema.check(&arguments)).await.unwrap_or(Verdict::TooMuch)
        };
        match verdict {
            Verdict::Fits => Checked::Passed(SchemaCheck::Checked),
            Verdict::Unsure => Checked::Passed(SchemaCheck::Partial),
            Verdict::Wrong(mismatch) => Checked::Wrong(mismatch),
            Verdict::TooMuch => {
                tracing::warn!(server, tool = clip(tool), "the input schema of a tool asks for too much work");
                Checked::Passed(SchemaCheck::Unusable)
            }
        }
    }

    fn schema(&self, server: &str, tool: &str, wanted: Digest) -> Known {
        if let Some(known) = open(&self.ready).schemas.get(&wanted) {
            return known.clone();
        }
        // The store is not kept waiting while a schema is read.
        let entry = open(&self.store).get(server, tool).map_err(|error| error.to_string())?;
        let sides = entry.map(|entry| [entry.pinned, entry.offered]).into_iter().flatten().flatten();
        let text = sides.filter(|side| side.digest == wanted).find_map(|side| side.text);
        let known = match text {
            None => Err("its definition is too large to be kept".to_owned()),
            Some(text) => read_schema(text.view()),
        };
        open(&self.ready).keep(wanted, known.clone());
        known
    }

    /// What an operator does about a tool: recorded, kept, then in force.
    ///
    /// # Errors
    /// [`NoEffect`]: everything is as it was.
    pub async fn act(
        self: &Arc<Self>,
        operator: &str,
        server: &str,
        tool: &str,
        act: Act,
    ) -> Result<Remembered, NoEffect> {
        let found = self.servers.get(server).ok_or(NoEffect::NoServer)?;
        let _turn = found.turn.lock().await;
        let before = self.remembered(server, tool)?;
        let ruling = match act {
            Act::Pin(digest) => {
                let kept = [&before.offered, &before.pinned].into_iter().flatten().find(|kept| kept.digest == digest);
                let kept = kept.ok_or(NoEffect::WrongDigest)?;
                if kept.text.is_none() {
                    return Err(NoEffect::TooLarge);
                }
                ToolRuling::Pin
            }
            Act::Unpin if before.pinned.is_none() => return Err(NoEffect::NotPinned),
            Act::Unpin => ToolRuling::Unpin,
            Act::Forget if before.pinned.is_some() => return Err(NoEffect::Pinned),
            Act::Forget => ToolRuling::Forget,
        };
        let definition = if let Act::Pin(digest) = act { Some(digest) } else { None };
        let event = Event::ToolRuled {
            operator: operator.to_owned(),
            server: server.to_owned(),
            tool: tool.to_owned(),
            ruling,
            definition,
            was: before.pinned.as_ref().map(|kept| kept.digest),
        };
        let unavailable = |error: &dyn std::fmt::Display| NoEffect::Unavailable(error.to_string());
        let _receipt = self.audit.append(Entry::new(None, true, event)).await.map_err(|error| unavailable(&error))?;
        let (pins, at) = (Arc::clone(self), now());
        let (server, tool, by, written) = (server.to_owned(), tool.to_owned(), operator.to_owned(), at.clone());
        let after = tokio::task::spawn_blocking(move || {
            let mut store = open(&pins.store);
            match act {
                Act::Pin(digest) => store.pin(&server, &tool, digest, &by, &written),
                Act::Unpin => store.unpin(&server, &tool),
                Act::Forget => store.forget(&server, &tool),
            }?;
            let row = store.get(&server, &tool)?;
            // The store and the state change together.
            if let Some(found) = pins.servers.get(&server) {
                open(&found.state).replace(&tool, row.as_ref());
            }
            Ok::<_, StoreError>(row)
        });
        let after = after.await.map_err(|error| unavailable(&error))?.map_err(|error| unavailable(&error))?;
        tracing::info!(operator, ?ruling, "an operator has ruled on a tool");
        Ok(after.map_or(before, Remembered::of))
    }

    /// The tools of a server that are remembered, without their texts; `None` where there is no such server.
    pub fn tools(&self, server: &str) -> Option<Vec<Remembered>> {
        Some(open(&self.servers.get(server)?.state).all())
    }

    /// One tool, with the texts of its definitions.
    ///
    /// # Errors
    /// Where there is none, or the store fails.
    pub fn remembered(&self, server: &str, tool: &str) -> Result<Remembered, NoEffect> {
        if !self.servers.contains_key(server) {
            return Err(NoEffect::NoServer);
        }
        let entry = open(&self.store).get(server, tool).map_err(|error| NoEffect::Unavailable(error.to_string()))?;
        entry.map(Remembered::of).ok_or(NoEffect::NotFound)
    }

    pub fn counts(&self, server: &str) -> Counts {
        self.servers.get(server).map(|server| open(&server.state).counts()).unwrap_or_default()
    }
}

impl Ready {
    fn keep(&mut self, definition: Digest, known: Known) {
        let weight = match &known {
            Ok(schema) => schema.as_ref().map_or(0, |schema| schema.weight()),
            Err(reason) => reason.len(),
        };
        if self.weight + weight > READY_BYTES || self.schemas.len() >= READY {
            self.schemas.clear();
            self.weight = 0;
        }
        self.weight += weight;
        self.schemas.insert(definition, known);
    }
}

fn read_schema(definition: Json<'_>) -> Known {
    let Some(schema) = definition.get("inputSchema") else { return Ok(None) };
    Schema::read(schema).map(|schema| Some(Arc::new(schema))).map_err(|error| error.to_string())
}

impl Remembered {
    fn of(row: store::Entry) -> Remembered {
        let pin = match (&row.pinned, &row.offered) {
            (Some(_), Some(_)) => Pin::Changed,
            (Some(_), None) => Pin::Match,
            (None, _) => Pin::Unpinned,
        };
        let store::Entry { server: _, tool, first_seen, pinned, pinned_by, offered } = row;
        Remembered { tool, pin, first_seen, pinned, pinned_by, offered }
    }
}

fn record(server: &str, page: &Page<'_>, plan: &Plan) -> Event {
    let of = |wanted: Change| plan.seen.iter().filter(move |seen| seen.change == wanted);
    let seen = |seen: &Seen| SeenTool { tool: seen.tool.clone(), definition: seen.digest };
    let named: [usize; 2] = [Change::New, Change::Changed].map(|change| of(change).count().saturating_sub(NAMED));
    let changed = |seen: &Seen| ChangedTool { tool: seen.tool.clone(), pinned: seen.was, definition: seen.digest };
    let more = named.iter().sum::<usize>() + plan.left_out;
    Event::ToolsSeen {
        server: server.to_owned(),
        principal: page.principal.to_owned(),
        session: page.session.to_owned(),
        first: plan.begins,
        trusted: of(Change::Trusted).map(seen).collect(),
        new: of(Change::New).take(NAMED).map(seen).collect(),
        changed: of(Change::Changed).take(NAMED).map(changed).collect(),
        more: u64::try_from(more).unwrap_or(u64::MAX),
    }
}

/// A server's name for the log.
fn clip(tool: &str) -> String {
    tool.chars().take(128).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
