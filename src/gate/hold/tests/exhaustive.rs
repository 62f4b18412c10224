//! Every order of everything that can happen to two identical calls with two operators, up to a number of steps, against
//! a small model: who has approved since when, and what that may release.

use std::collections::BTreeSet;

use super::*;

/// From where, and how many steps on. Those that change nothing are not tried.
const BEGINNINGS: [(&[Step], usize); 4] = [
    (&[], 5),
    (&[Step::Ask, Step::Approve("ana"), RECORDED], 3),
    (&[Step::Ask, Step::Approve("ana"), RECORDED, Step::TakeBack, RECORDED], 3),
    (&[Step::Ask, Step::Ask, Step::Approve("ana"), RECORDED, Step::Approve("ben"), RECORDED], 3),
];
const RECORDED: Step = Step::Settle { recorded: true };
const WINDOW: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Ask,
    Approve(&'static str),
    Reject,
    Settle {
        recorded: bool,
    },
    TakeBack,
    Cancel(usize),
    GiveUp(usize),
    /// Time passes: half of what an approval waits.
    Wait,
    /// The time in which an approval can be taken back is over.
    Leave,
    Expire,
    Stale,
    Claim,
    Restart,
}

const STEPS: [Step; 17] = [
    Step::Ask,
    Step::Approve("ana"),
    Step::Approve("ben"),
    Step::Reject,
    Step::Settle { recorded: true },
    Step::Settle { recorded: false },
    Step::TakeBack,
    Step::Cancel(0),
    Step::Cancel(1),
    Step::GiveUp(0),
    Step::GiveUp(1),
    Step::Wait,
    Step::Leave,
    Step::Expire,
    Step::Stale,
    Step::Claim,
    Step::Restart,
];

/// What is being recorded.
enum Recording {
    Ruling(Box<Ruling>),
    TakeBack(CallId),
}

/// What the model knows of the one prompt that there is.
#[derive(Default, PartialEq, Eq, Debug)]
struct Model {
    /// Of which hold, and who has approved it since it began or was taken back.
    hold: Option<CallId>,
    approved: BTreeSet<&'static str>,
    /// An approval that is complete and may release one call, from then on.
    credit: Option<Instant>,
}

struct Caller {
    id: CallId,
    verdict: oneshot::Receiver<Verdict>,
    deadline: Instant,
    /// It was ended: nothing may release it from here on.
    ended: bool,
}

struct World<'a> {
    calls: &'a [Arc<ToolCall>; 2],
    queue: HoldQueue,
    callers: Vec<Caller>,
    asked: usize,
    need: u8,
    recording: Option<Recording>,
    model: Model,
    released: usize,
    completed: usize,
}

fn settings() -> Settings {
    Settings { take_back: WINDOW, ..SETTINGS }
}

impl World<'_> {
    fn hold(&self) -> Option<Hold> {
        let open = |hold: &Hold| {
            matches!(hold.state, State::Pending | State::Deciding | State::Leaving { .. } | State::Ticket { .. })
        };
        self.queue.all().into_iter().find(open)
    }

    /// False where the step changes nothing.
    async fn step(&mut self, step: Step) -> bool {
        let changed = self.act(step).await;
        self.look();
        changed
    }

    async fn act(&mut self, step: Step) -> bool {
        match step {
            Step::Ask => self.ask(),
            Step::Approve(by) => self.begin(by, true),
            Step::Reject => self.begin("ben", false),
            Step::Settle { recorded } => self.settle(recorded),
            Step::TakeBack => {
                let (None, Some(hold)) = (&self.recording, self.hold()) else { return false };
                let began = self.queue.take_back(hold.id()).is_ok();
                assert!(!began || self.model.credit.is_some(), "there was nothing to take back");
                if began {
                    self.model.credit = None;
                    self.recording = Some(Recording::TakeBack(hold.id));
                }
                began
            }
            Step::Cancel(n) => {
                let Some(caller) = self.callers.get_mut(n).filter(|caller| !caller.ended) else { return false };
                caller.ended = true;
                self.queue.end(&caller.id, Outcome::Withdrawn, "gone")
            }
            Step::GiveUp(n) => {
                let Some(caller) = self.callers.get(n).filter(|caller| !caller.ended) else { return false };
                self.queue.detach(&caller.id);
                true
            }
            Step::Wait => {
                tokio::time::advance(WINDOW / 2).await;
                self.queue.lapse();
                true
            }
            Step::Leave => {
                tokio::time::advance(WINDOW).await;
                self.queue.lapse();
                true
            }
            Step::Expire => {
                tokio::time::advance(TICKET).await;
                for caller in self.callers.iter_mut().filter(|caller| Instant::now() >= caller.deadline) {
                    caller.ended = true;
                    self.queue.end(&caller.id, Outcome::Expired, "late");
                }
                self.queue.lapse();
                true
            }
            Step::Stale => {
                let Some(hold) = self.hold() else { return false };
                self.queue.stop(hold.id(), &Stop::Stale { reason: "stricter".into() });
                self.callers.iter_mut().for_each(|caller| caller.ended = true);
                self.model.credit = None;
                true
            }
            Step::Claim => {
                let Some(hold) = self.hold() else { return false };
                let by = if hold.lease.as_ref().is_some_and(|lease| lease.by == "ana") { "ben" } else { "ana" };
                self.queue.lease(hold.id(), by, LeaseAct::Steal).is_ok()
            }
            Step::Restart => {
                self.queue = HoldQueue::new(settings());
                self.callers.clear();
                (self.recording, self.model) = (None, Model::default());
                true
            }
        }
    }

    fn ask(&mut self) -> bool {
        let Some(call) = self.calls.get(self.asked) else { return false };
        self.asked += 1;
        match ask(&self.queue, call, decision(self.need)).unwrap() {
            Placed::Waits(place) => {
                self.queue.show(call.id());
                let Place { verdict, deadline, .. } = place;
                self.callers.push(Caller { id: call.id().clone(), verdict, deadline, ended: false });
            }
            Placed::Ticket { hold, .. } => self.release(&hold),
        }
        true
    }

    fn begin(&mut self, by: &'static str, approve: bool) -> bool {
        let (None, Some(hold)) = (&self.recording, self.hold()) else { return false };
        let says = || if approve { Says::Approve { reason: None } } else { Says::Reject { reason: "no".into() } };
        let other = Ruling::new(hold.id.clone(), Digest::of_bytes(b"another"), by.into(), says());
        assert!(self.queue.begin(&other).is_err(), "a ruling on another digest counted");
        let ruling = Ruling::new(hold.id.clone(), hold.digest, by.into(), says());
        self.follow(&hold);
        let twice = approve && self.model.approved.contains(by);
        let began = self.queue.begin(&ruling);
        assert_eq!(began.is_ok(), hold.state == State::Pending && !twice && self.is_in_time(), "{:?}", began.err());
        if began.is_ok() {
            self.recording = Some(Recording::Ruling(Box::new(ruling)));
        }
        began.is_ok()
    }

    fn is_in_time(&self) -> bool {
        let inner = self.queue.lock().unwrap();
        inner.open.values().all(|entry| Instant::now() < entry.deadline)
    }

    /// The model is about this hold: another one has no approvals yet.
    fn follow(&mut self, hold: &Hold) {
        if self.model.hold.as_ref() != Some(hold.id()) {
            self.model = Model { hold: Some(hold.id().clone()), ..Model::default() };
        }
    }

    fn settle(&mut self, recorded: bool) -> bool {
        match self.recording.take() {
            None => return false,
            Some(Recording::TakeBack(id)) => {
                self.model.approved.clear();
                assert_eq!(self.queue.taken_back(&id, recorded).is_ok(), recorded);
                if !recorded {
                    self.callers.iter_mut().for_each(|caller| caller.ended = true);
                }
            }
            Some(Recording::Ruling(ruling)) => {
                let by = if ruling.operator == "ana" { "ana" } else { "ben" };
                let approves = matches!(ruling.says, Says::Approve { .. });
                let settled = self.queue.settle(*ruling, recorded);
                assert!(recorded || settled.is_err(), "a ruling counted without its record");
                let Ok(hold) = settled else { return true };
                if !approves {
                    assert!(matches!(hold.state, State::Rejected { .. }));
                    self.callers.iter_mut().for_each(|caller| caller.ended = true);
                    return true;
                }
                self.model.approved.insert(by);
                let complete = self.model.approved.len() >= usize::from(self.need);
                assert_eq!(complete, hold.state != State::Pending, "{:?}", hold.state);
                if complete {
                    self.completed += 1;
                    let waits = matches!(hold.state, State::Leaving { .. });
                    self.model.credit = Some(Instant::now() + if waits { WINDOW } else { Duration::ZERO });
                }
            }
        }
        true
    }

    fn look(&mut self) {
        let mut released = Vec::new();
        self.callers.retain_mut(|caller| match caller.verdict.try_recv() {
            Ok(Verdict::Approved { hold, .. }) => {
                assert!(!caller.ended, "released after its end");
                released.push(hold);
                false
            }
            Ok(Verdict::Rejected { .. } | Verdict::Ended { .. } | Verdict::Detached { .. }) => false,
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => panic!("a call was forgotten"),
        });
        released.iter().for_each(|hold| self.release(hold));
        if self.hold().is_none() {
            self.model = Model::default();
        }
    }

    fn release(&mut self, hold: &CallId) {
        assert_eq!(self.model.hold.as_ref(), Some(hold), "released by another hold");
        let from = self.model.credit.take().expect("released without an approval that is complete and recorded");
        assert!(Instant::now() >= from, "released before it could be taken back");
        self.released += 1;
        assert!(self.released <= self.completed, "one approval, two releases");
    }
}

/// Tries every step that changes something after this beginning. How many runs there were.
async fn try_all(calls: &[Arc<ToolCall>; 2], need: u8, steps: &mut Vec<Step>, more: usize) -> usize {
    let queue = HoldQueue::new(settings());
    let mut world = World {
        calls,
        queue,
        callers: Vec::new(),
        asked: 0,
        need,
        recording: None,
        model: Model::default(),
        released: 0,
        completed: 0,
    };
    let mut changed = true;
    for step in steps.iter() {
        changed = world.step(*step).await;
    }
    if !changed || more == 0 {
        return 1;
    }
    let mut runs = 1;
    for step in STEPS {
        // A pause is a pause, and who has not asked has nothing to lose.
        let idle = matches!(step, Step::Wait | Step::Leave | Step::Expire | Step::Restart | Step::Claim);
        if (steps.is_empty() && step != Step::Ask) || (idle && steps.last() == Some(&step)) {
            continue;
        }
        steps.push(step);
        runs += Box::pin(try_all(calls, need, steps, more - 1)).await;
        steps.pop();
    }
    runs
}

#[tokio::test(start_paused = true)]
async fn every_order_of_a_few_steps_releases_what_was_approved_and_nothing_else() {
    let calls = [call(1), call(1)];
    let mut runs = 0;
    for need in [1, 2] {
        for (beginning, more) in BEGINNINGS {
            runs += try_all(&calls, need, &mut beginning.to_vec(), more).await;
        }
    }
    assert!(runs > 3_000, "{runs} runs");
}
