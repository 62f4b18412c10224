//! The processes that come with a child.
//!
//! Invariant: when this is gone nothing of them is left, or their keeper is at it. Only a number that cannot be another's
//! by now is signalled.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tokio::time::timeout;
use tracing::warn;

use super::AFTER_TERM;
use crate::sandbox::{self, Rule};

/// The child's process group, or that of its keeper, in which the child is. Dropping it kills whatever is left of it.
#[derive(Debug)]
pub(super) struct Group {
    id: Option<Pid>,
    /// The leader is a keeper, which may still run and ends what has left the group too.
    kept: bool,
}

impl Group {
    pub(super) fn of(leader: &Child, kept: bool) -> Group {
        Group { id: leader.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)), kept }
    }

    /// The leader has ended.
    pub(super) fn left(&mut self) {
        self.kept = false;
    }

    pub(super) fn terminate(&self) {
        if let Some(group) = self.id {
            // Fails only where the group is empty.
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    /// Everything, with its leader.
    pub(super) async fn end(&mut self, leader: &mut Child) {
        if leader.id().is_none() {
            self.left();
        }
        if self.kept {
            self.tell();
            let late = timeout(AFTER_TERM, leader.wait()).await.is_err();
            // Only where a child can hold its keeper up is the keeper killed with it: else it does what can be done.
            if late && !sandbox::support().lacks().contains(&Rule::Signals) {
                warn!("something of the upstream does not end although it is killed; its keeper goes on with it");
                self.id = None;
            }
        }
        self.kill();
    }

    /// The keeper is told. It has not been waited for, so the number is its own.
    fn tell(&mut self) {
        if let Some(_keeper) = self.id.filter(|_| self.kept) {
            #[cfg(target_os = "linux")]
            sandbox::end(_keeper);
        }
        self.kept = false;
    }

    /// Once. The number stays the group's as long as anyone is in it, and is asked for right after the leader's end:
    /// too early to be given to somebody else.
    fn kill(&mut self) {
        if let Some(group) = self.id.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        match self.kept {
            true => self.tell(),
            false => self.kill(),
        }
    }
}
