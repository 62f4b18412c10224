//! Where one session works: one place for its calls, its client's answers and what its child asks of the vendor's API.
//!
//! Invariant: which place that is, is settled when it is first asked for, and for good: no mixture of eras within a session
//! gives a call another place than the code that it runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::gate::{Gate, Place};

#[derive(Clone)]
pub(super) struct Whereabouts(Arc<Inner>);

struct Inner {
    gate: Arc<Gate>,
    server: String,
    principal: String,
    idle: Duration,
    /// Of the client's last request.
    modern: AtomicBool,
    /// Its own place; none where it shares its principal's.
    own: OnceLock<Option<Place>>,
}

impl Whereabouts {
    pub fn new(gate: &Arc<Gate>, server: &str, principal: &str, idle: Duration) -> Whereabouts {
        Whereabouts(Arc::new(Inner {
            gate: Arc::clone(gate),
            server: server.to_owned(),
            principal: principal.to_owned(),
            idle,
            modern: AtomicBool::new(false),
            own: OnceLock::new(),
        }))
    }

    /// The client has asked for something in this era.
    pub fn asked(&self, modern: bool) {
        self.0.modern.store(modern, Ordering::Relaxed);
    }

    /// Where the next call works: requests of the stateless era share their principal's place.
    pub fn now(&self) -> Place {
        let Inner { gate, server, principal, idle, modern, own } = &*self.0;
        let own = own.get_or_init(|| (!modern.load(Ordering::Relaxed)).then(Place::default));
        own.clone().unwrap_or_else(|| gate.shared_place(server, principal, *idle))
    }
}
