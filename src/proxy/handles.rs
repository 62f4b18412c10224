//! Where a session keeps what its server has said about handles: in the session, or, for clients of the stateless era,
//! where every request is a session of its own, with their principal for a while.
//!
//! Invariant: what was said to one principal counts for no other, and nothing outlasts [`KEPT`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::call::{Operation, ToolCall};
use crate::catalog::{Catalog, Handles};
use crate::json::Json;

/// How long handles count after the server has last given one out. Servers take them back sooner.
const KEPT: Duration = Duration::from_secs(3600);
/// Principals of one server. The one that was told least lately makes room.
const MAX_PRINCIPALS: usize = 1024;

/// What the principals of one server were told.
#[derive(Default, Debug)]
pub struct Told(Mutex<HashMap<String, (Instant, Own)>>);

/// What one principal was told. The lock of all of them is never held while this one is worked with.
type Own = Arc<Mutex<Handles>>;

impl Told {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Own)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, principal: &str) -> Option<Own> {
        let told = self.lock();
        let (_, own) = told.get(principal).filter(|(since, _)| since.elapsed() < KEPT)?;
        Some(Arc::clone(own))
    }

    fn learn(&self, principal: &str, learn: impl FnOnce(&mut Handles)) {
        let own = self.own(principal);
        learn(&mut own.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn own(&self, principal: &str) -> Own {
        let (mut told, now) = (self.lock(), Instant::now());
        told.retain(|_, (since, _)| now.duration_since(*since) < KEPT);
        if told.len() >= MAX_PRINCIPALS && !told.contains_key(principal) {
            let oldest = told.iter().min_by_key(|(_, (since, _))| *since).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| told.remove(&oldest));
        }
        let (since, own) = told.entry(principal.to_owned()).or_insert_with(|| (now, Own::default()));
        *since = now;
        Arc::clone(own)
    }
}

/// What counts in one session.
pub enum Memory {
    Session(Handles),
    Principal { told: Arc<Told>, principal: String },
}

impl Memory {
    /// What a call does.
    pub fn operation(&self, catalog: &Catalog, call: &ToolCall) -> Operation {
        match self {
            Memory::Session(handles) => catalog.operation_with(call, handles),
            Memory::Principal { told, principal } => match told.of(principal) {
                Some(own) => catalog.operation_with(call, &own.lock().unwrap_or_else(PoisonError::into_inner)),
                None => catalog.operation(call),
            },
        }
    }

    /// Takes up what the result of a call of this tool says.
    pub fn learn(&mut self, catalog: &Catalog, tool: &str, result: Json<'_>) {
        if !catalog.teaches(tool) {
            return;
        }
        match self {
            Memory::Session(handles) => catalog.learn(tool, result, handles),
            Memory::Principal { told, principal } => {
                told.learn(principal, |handles| catalog.learn(tool, result, handles));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Class;
    use crate::json::{JsonText, Rules};
    use crate::mcp::message::Message;
    use crate::mcp::method::{Sorted, sort};

    fn of(told: &Arc<Told>, principal: &str) -> Memory {
        Memory::Principal { told: Arc::clone(told), principal: principal.to_owned() }
    }

    fn class(memory: &Memory, catalog: &Catalog) -> Class {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"api_read","arguments":{"operationHandle":"h"}}}"#;
        let Sorted::Decide(call) = sort(Message::from_client(text).unwrap()) else { panic!("not decided") };
        memory.operation(catalog, &call).class
    }

    fn teach(memory: &mut Memory, catalog: &Catalog, tool: &str) {
        let said = r#"{"structuredContent":{"operationId":"GET /console/v1/gates","lane":"api_read","handle":"h"}}"#;
        memory.learn(catalog, tool, JsonText::parse(said, Rules::UPSTREAM).unwrap().view());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_principal_was_told_counts_for_an_hour_and_for_nobody_else() {
        let catalog = Catalog::builtin(Some("statsig")).unwrap();
        let told = Arc::new(Told::default());
        let (mut one, other) = (of(&told, "one"), of(&told, "other"));
        teach(&mut one, &catalog, "gate_read");
        assert_eq!(class(&one, &catalog), Class::Unknown);
        teach(&mut one, &catalog, "discover_tools");
        assert_eq!(class(&one, &catalog), Class::Read);
        assert_eq!(class(&of(&told, "one"), &catalog), Class::Read);
        assert_eq!(class(&other, &catalog), Class::Unknown);
        assert_eq!(class(&Memory::Session(Handles::default()), &catalog), Class::Unknown);
        tokio::time::advance(KEPT).await;
        assert_eq!(class(&one, &catalog), Class::Unknown);
    }

    /// Another principal's call is read while this one is being told something: no lock of all is held meanwhile.
    #[tokio::test]
    async fn the_work_for_one_principal_does_not_wait_for_anothers() {
        let catalog = Arc::new(Catalog::builtin(Some("statsig")).unwrap());
        let told = Arc::new(Told::default());
        for principal in ["one", "other"] {
            teach(&mut of(&told, principal), &catalog, "discover_tools");
        }
        let (said, heard) = std::sync::mpsc::channel();
        told.learn("one", |_| {
            let (other, catalog) = (of(&told, "other"), Arc::clone(&catalog));
            std::thread::spawn(move || said.send(class(&other, &catalog)));
            assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(Class::Read));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn the_principal_that_was_told_least_lately_makes_room() {
        let catalog = Catalog::builtin(Some("statsig")).unwrap();
        let told = Arc::new(Told::default());
        for n in 0..=MAX_PRINCIPALS {
            teach(&mut of(&told, &n.to_string()), &catalog, "discover_tools");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(told.lock().len(), MAX_PRINCIPALS);
        assert_eq!(class(&of(&told, "0"), &catalog), Class::Unknown);
        assert_eq!(class(&of(&told, "1"), &catalog), Class::Read);
    }
}
