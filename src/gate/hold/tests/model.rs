//! Any order of everything that can happen to identical calls of one principal, against what may be true.
//!
//! A run keeps count of what operators said and of what left. Whatever the order: one approval, one release.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The client makes the call (again); its record is durable at once, or later.
    Ask { recorded: bool },
    /// The records that were not durable become so.
    Record,
    /// An operator rules: the hold is claimed, and the ruling is not recorded yet.
    Claim { approve: bool, operator: bool },
    /// The ruling is recorded, or cannot be.
    Settle { recorded: bool },
    /// The nth call that waits is taken back.
    Cancel(usize),
    /// Its client cannot wait any longer.
    GiveUp(usize),
    /// An operator opens the first hold again that may be; recorded, or not.
    Reopen { recorded: bool },
    /// Time passes; whoever's time is over ends.
    Pass(u64),
    /// Policy asks for one more approval, or for one less.
    Reload { stricter: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|recorded| Step::Ask { recorded }),
        2 => Just(Step::Record),
        4 => (prop::bool::weighted(0.8), any::<bool>()).prop_map(|(approve, operator)| Step::Claim { approve, operator }),
        4 => prop::bool::weighted(0.8).prop_map(|recorded| Step::Settle { recorded }),
        2 => (0..3_usize).prop_map(Step::Cancel),
        3 => (0..3_usize).prop_map(Step::GiveUp),
        1 => prop_oneof![Just(100), Just(300), Just(601)].prop_map(Step::Pass),
        2 => prop::bool::weighted(0.8).prop_map(|recorded| Step::Reopen { recorded }),
        1 => any::<bool>().prop_map(|stricter| Step::Reload { stricter }),
    ]
}

/// A call as its task sees it.
struct Caller {
    id: CallId,
    verdict: oneshot::Receiver<Verdict>,
    deadline: Instant,
    recorded: bool,
    /// It was taken back when no ruling was being recorded: from then on it must not be released.
    taken_back: bool,
    need: u8,
}

struct World {
    queue: HoldQueue,
    callers: Vec<Caller>,
    claimed: Option<Ruling>,
    need: u8,
    /// Holds whose approval counted, with the approvals that they needed.
    approved: HashSet<CallId>,
    /// Holds that something was released by.
    used: HashSet<CallId>,
}

impl World {
    fn new() -> World {
        let settings = Settings { max_pending: 4, max_per_principal: 4, ..SETTINGS };
        World {
            queue: HoldQueue::new(settings),
            callers: Vec::new(),
            claimed: None,
            need: 1,
            approved: HashSet::new(),
            used: HashSet::new(),
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Ask { recorded } => self.ask(recorded),
            Step::Record => {
                for caller in self.callers.iter_mut().filter(|caller| !caller.recorded) {
                    caller.recorded = true;
                    self.queue.show(&caller.id);
                }
            }
            Step::Claim { approve, operator } => self.claim(approve, if operator { "ana" } else { "ben" }),
            Step::Settle { recorded } => self.settle(recorded),
            Step::Cancel(n) => {
                let deciding = self.claimed.is_some();
                if let Some(caller) = self.callers.get_mut(n) {
                    self.queue.end(&caller.id, Outcome::Withdrawn, "gone");
                    caller.taken_back |= !deciding;
                }
            }
            Step::GiveUp(n) => {
                if let Some(caller) = self.callers.get(n).filter(|caller| caller.recorded) {
                    self.queue.detach(&caller.id);
                }
            }
            Step::Pass(seconds) => {
                tokio::time::advance(Duration::from_secs(seconds)).await;
                for caller in self.callers.iter().filter(|caller| Instant::now() >= caller.deadline) {
                    self.queue.end(&caller.id, Outcome::Expired, "late");
                }
                self.queue.lapse();
            }
            Step::Reopen { recorded } => self.reopen(recorded),
            Step::Reload { stricter } => self.need = if stricter { 2 } else { 1 },
        }
        self.look();
    }

    fn ask(&mut self, recorded: bool) {
        let call = call(1);
        match ask(&self.queue, &call, decision(self.need)) {
            Ok(Placed::Waits(place)) => {
                let (id, deadline) = (call.id().clone(), place.deadline);
                if recorded {
                    self.queue.show(&id);
                }
                let (verdict, need) = (place.verdict, self.need);
                self.callers.push(Caller { id, verdict, deadline, recorded, taken_back: false, need });
            }
            Ok(Placed::Ticket { hold, decision, .. }) => {
                assert!(decision.approvals >= self.need, "a ticket under a laxer policy");
                self.release(hold);
            }
            Err((outcome, _)) => assert_eq!(outcome, Outcome::Overloaded),
        }
    }

    fn claim(&mut self, approve: bool, operator: &str) {
        let open = self.queue.all().into_iter().find(|hold| hold.state == State::Pending);
        let (Some(hold), None) = (open, &self.claimed) else { return };
        let says = if approve { Says::Approve { reason: None } } else { Says::Reject { reason: "no".into() } };
        let ruling = Ruling::new(hold.id, hold.digest, operator.into(), says);
        if self.queue.begin(&ruling).is_ok() {
            self.claimed = Some(ruling);
        }
    }

    fn settle(&mut self, recorded: bool) {
        let Some(ruling) = self.claimed.take() else { return };
        let (approve, hold) = (matches!(ruling.says, Says::Approve { .. }), ruling.hold.clone());
        let settled = self.queue.settle(ruling, recorded);
        assert!(recorded || settled.is_err(), "a ruling counted without its record");
        let counts = |state: &State| matches!(state, State::Approved { .. } | State::Ticket { .. });
        if settled.is_ok_and(|hold| counts(&hold.state)) {
            assert!(approve && self.approved.insert(hold), "approved twice, or by a no");
        }
    }

    fn reopen(&mut self, recorded: bool) {
        let begun = self.queue.all().into_iter().find_map(|hold| self.queue.reopen(hold.id(), hold.digest).ok());
        let Some((ended, _)) = begun else { return };
        let id = ended.id.clone();
        assert!(!self.used.contains(&id), "opened again after its approval was used");
        let open = self.queue.reopened(ended, recorded);
        assert_eq!(open.is_ok(), recorded);
        if let Ok(hold) = open {
            assert!(hold.approved_by.is_empty() && hold.state == State::Pending);
            // A ticket that nobody used in time: what was said then counts no more.
            self.approved.remove(&id);
        }
    }

    /// What the tasks of the calls have been told.
    fn look(&mut self) {
        let mut released = Vec::new();
        self.callers.retain_mut(|caller| match caller.verdict.try_recv() {
            Ok(Verdict::Approved { hold, decision, .. }) => {
                assert!(caller.recorded, "released without a record");
                assert!(!caller.taken_back, "released after it was taken back");
                assert!(decision.approvals >= caller.need, "released by a laxer decision");
                released.push(hold);
                false
            }
            Ok(Verdict::Rejected { .. } | Verdict::Ended { .. } | Verdict::Detached { .. }) => false,
            Err(oneshot::error::TryRecvError::Empty) => {
                assert!(!caller.taken_back, "taken back and not told");
                true
            }
            Err(oneshot::error::TryRecvError::Closed) => panic!("a call was forgotten"),
        });
        released.into_iter().for_each(|hold| self.release(hold));
        let inner = self.queue.lock().unwrap();
        assert_eq!(inner.order.len(), inner.open.len());
        let waiters: usize = inner.open.values().map(|entry| entry.waiters.len()).sum();
        assert_eq!(waiters, self.callers.len(), "every call that was not told anything waits");
        assert!(waiters <= 4 + 1, "the caps hold, but for a retry that takes a place which was kept");
        let alone = |entry: &Entry| {
            entry.waiters.is_empty() && !entry.open_for_retry && !matches!(entry.hold.state, State::Deciding)
        };
        assert!(!inner.open.values().any(alone), "a prompt that nobody waits for and nobody comes back to");
    }

    fn release(&mut self, hold: CallId) {
        assert!(self.approved.contains(&hold), "released without an approval");
        assert!(self.used.insert(hold), "one approval, two releases");
    }

    /// Everything comes to an end.
    async fn end(mut self) {
        self.settle(false);
        self.look();
        self.step(Step::Record).await;
        self.step(Step::Pass(700)).await;
        assert!(self.callers.is_empty() && self.queue.lock().unwrap().open.is_empty());
        assert!(self.used.is_subset(&self.approved));
    }
}

fn run(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new();
        for step in steps {
            world.step(*step).await;
        }
        world.end().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// At most once, and never without: over approve, reject, expiry, cancel, the end of a client's patience, retries
    /// and reloads, with rulings and records in flight.
    #[test]
    fn one_approval_releases_one_call_at_most(steps in prop::collection::vec(step(), 1..24)) {
        run(&steps);
    }
}

/// The race that a ticket is about: the operator approves while the client gives up and asks again.
#[test]
fn giving_up_while_the_operator_approves() {
    let (ask, claim) = (Step::Ask { recorded: true }, Step::Claim { approve: true, operator: true });
    let settle = Step::Settle { recorded: true };
    for order in [
        [ask, claim, Step::GiveUp(0), ask, settle, ask],
        [ask, claim, Step::GiveUp(0), settle, ask, ask],
        [ask, Step::GiveUp(0), claim, ask, settle, ask],
        [ask, Step::GiveUp(0), claim, settle, ask, ask],
        [ask, Step::GiveUp(0), claim, Step::Ask { recorded: false }, settle, ask],
        [ask, claim, Step::Cancel(0), ask, settle, ask],
    ] {
        run(&order);
    }
}
