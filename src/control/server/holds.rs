//! What operators do about one hold beside ruling on it: claim it, take an approval back, have it wait again.

use super::{Connection, Ended, failure};
use crate::call::{CallId, Digest};
use crate::control::wire::Notice;
use crate::gate::{Hold, LeaseAct, NoEffect};

impl Connection {
    pub(super) async fn claim(&mut self, seq: u64, id: &CallId, steal: bool, off: bool) -> Result<(), Ended> {
        let act = match (off, steal) {
            (true, _) => LeaseAct::GiveBack,
            (false, true) => LeaseAct::Steal,
            (false, false) => LeaseAct::Take,
        };
        let done = self.control.gate.lease(id, &self.operator, act).await;
        self.answer_hold(seq, done).await
    }

    pub(super) async fn take_back(&mut self, seq: u64, id: &CallId) -> Result<(), Ended> {
        let done = self.control.gate.take_back(id, &self.operator).await;
        self.answer_hold(seq, done).await
    }

    pub(super) async fn reopen(&mut self, seq: u64, id: &CallId, digest: Digest) -> Result<(), Ended> {
        let done = self.control.gate.reopen(id, digest, &self.operator).await;
        self.answer_hold(seq, done).await
    }

    async fn answer_hold(&mut self, seq: u64, done: Result<Hold, NoEffect>) -> Result<(), Ended> {
        match done {
            Ok(hold) => self.send(&Notice::Shown { seq, hold: Box::new(self.control.view(&hold)) }).await,
            Err(why) => self.failed(seq, failure(&why), why.to_string()).await,
        }
    }
}
