//! What operators see of the daemon beside its holds: data, and who is attached.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::call::Environment;

/// A server as operators see it.
#[derive(Debug)]
pub struct ServerStatus {
    pub name: String,
    pub environment: Arc<Environment>,
    pub sessions: Arc<AtomicUsize>,
}

/// What operators see of the daemon, beside its holds.
#[derive(Debug)]
pub struct Status {
    pub servers: Vec<ServerStatus>,
    pub unsigned_rulings: bool,
    pub unsafe_default_allow: bool,
    /// Where the HTTP front listens.
    pub http: Option<SocketAddr>,
    /// Who is attached with a console, each connection once.
    pub operators: Mutex<Vec<String>>,
    /// What is probably a mistake in the policies in use, a line each.
    pub policy_warnings: Mutex<Vec<String>>,
    /// Changes when something in it or in the policy does.
    pub changed: watch::Sender<()>,
}

impl Status {
    pub(super) fn attached(&self) -> MutexGuard<'_, Vec<String>> {
        self.operators.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on operators are shown these lines.
    pub fn warn(&self, lines: Vec<String>) {
        *self.policy_warnings.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.policy_warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
