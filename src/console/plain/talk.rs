//! The conversation: what happens goes in, lines and commands come out. Pure; time comes in with what happens.
//!
//! Invariants: a ruling is made of a whole word that answers the question which is open, about the hold that was read
//! out, all of it, and is still what it was; a line that was typed before its question is dropped by the loop and never
//! gets here. What may be ruled on, and what has to be typed for it, is decided where the screen has it decided.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::words;
use crate::call::{CallId, Digest, Tier};
use crate::console::app::{Link, Now};
use crate::console::batch;
use crate::console::dialog::Field;
use crate::console::draft::Draft;
use crate::console::guard::Guard;
use crate::console::holds::{Entry, Holds, is_same_question};
use crate::console::pages::Pages;
use crate::console::sign::Signing;
use crate::console::update::MUTE;
use crate::console::visible;
use crate::control::wire::{Command, Daemon, HoldView, RuleView, RulingKind, SignedBy};

/// Commands that wait for an answer.
const ASKED: usize = 32;
/// Parts of a hold's time at which what is left is said, in percent.
const CLOCKS: [i64; 3] = [50, 25, 10];
/// A ruling that the daemon has not answered by then is not waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Something happened.
#[derive(Debug)]
pub enum What {
    /// A line that answers the question which is open.
    Line(String),
    /// The keyboard is gone.
    Eof,
    Link(Box<Link>),
    Tick,
    /// What came of [`Effect::Sign`].
    Signed(u64, Result<SignedBy, String>),
    /// What came of [`Effect::Export`], [`Effect::Draft`] or [`Effect::Edit`], in words that have not passed the escape
    /// function.
    Did(Result<String, String>),
}

/// What the loop has to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A line. It has passed the escape function.
    Say(String),
    /// The question that is open. `fresh`: not the one from before, so whatever was typed before it is void.
    Ask {
        question: String,
        fresh: bool,
    },
    Send {
        connection: u64,
        command: Command,
    },
    Sign {
        seq: u64,
        signing: Signing,
        text: String,
    },
    Bell,
    /// Write a text into a new file where the console was started, then tell what came of it.
    Export {
        name: String,
        text: String,
    },
    /// Write a draft into the folder of drafts, not among what is loaded, then tell what came of it; and open it.
    Draft {
        draft: Box<Draft>,
        loaded: Vec<PathBuf>,
        edit: bool,
    },
    /// Open a file in the operator's editor, then tell what came of it.
    Edit {
        file: PathBuf,
        line: usize,
    },
    Quit,
}

impl Effect {
    /// Words come of it later.
    fn is_answered(&self) -> bool {
        match self {
            Effect::Send { .. }
            | Effect::Sign { .. }
            | Effect::Export { .. }
            | Effect::Draft { .. }
            | Effect::Edit { .. } => true,
            Effect::Say(_) | Effect::Ask { .. } | Effect::Bell | Effect::Quit => false,
        }
    }
}

/// The question that is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// None: a command may be given.
    Free,
    /// What becomes of this hold.
    Ruling(CallId),
    /// Whether to approve it: tier medium.
    Sure(Question),
    /// The values that have to be typed: tier high.
    Type { question: Question, fields: Vec<Field>, at: usize },
    /// Why it is rejected, with what else becomes of it.
    Reason { question: Question, others: Vec<Question>, pause: Option<String> },
    /// Whether to do what this command does.
    Confirm { command: Box<Command>, words: String },
    /// Whether to approve all of these, since they were read out.
    Batch { questions: Vec<Question>, since: std::time::Duration },
    /// Whether to make this grant.
    Grant { question: Question, command: Box<Command> },
    /// Whether to leave while calls wait and nobody else is there.
    Quit,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    pub id: CallId,
    pub digest: Digest,
}

/// What a command that was sent is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Ruling {
        id: CallId,
        kind: RulingKind,
        since: std::time::Duration,
        /// What is asked for when it took effect.
        then: Option<Box<Command>>,
    },
    Batch {
        ids: Vec<CallId>,
        since: std::time::Duration,
    },
    /// A draft of a grant on this hold, with these bounds.
    Draft {
        question: Question,
        bounds: crate::control::wire::GrantBounds,
    },
    /// The session of this hold.
    Session(CallId),
    /// What is recorded of this hold.
    Result(CallId),
    /// The session of this name.
    Named(String),
    /// A page of the record: the newest, or one before those that are known.
    History {
        more: bool,
    },
    /// The newest records, for the state of the chain alone.
    Chain,
    /// What the rules did.
    Rules,
    /// Anything whose answer is said as it is.
    Answer(&'static str),
}

/// What the operator was read of a hold.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub view: HoldView,
    /// All of it.
    pub whole: bool,
    pub at: std::time::Duration,
}

#[derive(Debug)]
pub struct Talk {
    pub(super) now: Now,
    pub(super) zone: TimeZone,
    pub(super) signing: Option<Signing>,
    /// Why nothing can be ruled here at all, where nothing can.
    pub(super) watching: Option<String>,
    keyboard: bool,
    pub(super) live: bool,
    pub(super) connection: u64,
    pub(super) daemon: Option<Daemon>,
    pub(super) holds: Holds,
    pub(super) stage: Stage,
    pub(super) heard: HashMap<CallId, Heard>,
    pub(super) skipped: BTreeSet<CallId>,
    /// The smallest part of its time that was said of each hold.
    clocks: HashMap<CallId, i64>,
    pub(super) asked: BTreeMap<u64, Asked>,
    /// A ruling that waits for its signature.
    pub(super) unsigned: Option<(u64, u64, Command)>,
    /// What the record keeps beside the approval of this hold.
    pub(super) aside: Option<(CallId, String)>,
    /// The oldest record that was read out, where there are older ones.
    pub(super) oldest: Option<u64>,
    /// What is known of the record, and the filter of the history.
    pub(super) record: Pages,
    /// The record could not be looked at, and that was said.
    pub(super) unread: bool,
    /// When the chain was looked at last.
    pub(super) looked_at: Option<std::time::Duration>,
    /// The rules that were read out last.
    pub(super) rules: Vec<RuleView>,
    /// Until then the bell is silent.
    pub(super) muted: Option<std::time::Duration>,
    /// The call whose approval can be taken back.
    pub(super) undo: Option<CallId>,
    /// Approvals that come too fast cost more.
    pub(super) guard: Guard,
    pub(super) seq: u64,
    pub(super) out: Vec<Effect>,
    /// The question that was asked last.
    last: Option<(Stage, String)>,
}

impl Talk {
    /// `watching`: why this console only watches, where it does. `keyboard`: somebody can type.
    pub fn new(now: Now, zone: TimeZone, signing: Option<Signing>, watching: Option<String>, keyboard: bool) -> Talk {
        Talk {
            now,
            zone,
            signing,
            watching,
            keyboard,
            live: false,
            connection: 0,
            daemon: None,
            holds: Holds::default(),
            stage: Stage::Free,
            heard: HashMap::new(),
            skipped: BTreeSet::new(),
            clocks: HashMap::new(),
            asked: BTreeMap::new(),
            unsigned: None,
            aside: None,
            oldest: None,
            record: Pages::default(),
            unread: false,
            looked_at: None,
            rules: Vec::new(),
            muted: None,
            undo: None,
            guard: Guard::default(),
            seq: 0,
            out: Vec::new(),
            last: None,
        }
    }

    /// One step.
    pub fn update(&mut self, at: Now, what: What) -> Vec<Effect> {
        self.now = at;
        let typed = matches!(what, What::Line(_));
        match what {
            What::Line(line) => self.typed(&line),
            What::Eof => self.out.push(Effect::Quit),
            What::Link(link) => self.linked(*link),
            What::Tick => self.tick(),
            What::Signed(seq, outcome) => self.signed(seq, outcome),
            What::Did(Ok(words)) => self.say(format!("Done: {words}.")),
            What::Did(Err(words)) => self.say(format!("Not done: {words}.")),
        }
        self.offer();
        let mut out = std::mem::take(&mut self.out);
        let quiet = out.iter().all(Effect::is_answered);
        let question = self.question();
        let fresh = self.last.as_ref() != Some(&(self.stage.clone(), question.clone()));
        // Whatever was asked of the daemon is answered in words, and the question is put again below those.
        let asked = typed && (!quiet || out.is_empty());
        if self.live && self.keyboard && self.unsigned.is_none() && (asked || fresh || !quiet) {
            self.last = Some((self.stage.clone(), question.clone()));
            out.push(Effect::Ask { question, fresh });
        }
        out
    }

    pub(super) fn say(&mut self, text: impl AsRef<str>) {
        self.out.push(Effect::Say(visible::line(text.as_ref())));
    }

    /// A text that has passed the escape function.
    pub(super) fn say_shown(&mut self, shown: String) {
        self.out.push(Effect::Say(shown));
    }

    fn question(&self) -> String {
        match &self.stage {
            Stage::Free => "Command (list, help, quit): ".to_owned(),
            Stage::Ruling(id) => format!("Ruling for {id} (approve, reject, details, skip, help, quit): "),
            Stage::Sure(question) => format!("Approve {}? Type yes, or anything else to go back: ", question.id),
            Stage::Type { question, fields, at } => {
                let label = fields.get(*at).map_or("", |field| &field.label);
                format!("Approve {}: type {label}, or back: ", question.id)
            }
            Stage::Reason { question, others, pause } => {
                let alike = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
                let pause = pause.as_ref().map(|_| " and pause its session").unwrap_or_default();
                format!("Reject {}{alike}{pause}: type the reason, which the agent reads, or back: ", question.id)
            }
            Stage::Confirm { words, .. } => format!("{words}? Type yes, or anything else to go back: "),
            Stage::Grant { question, .. } => {
                format!("Approve {} and make this grant? Type yes, or anything else to go back: ", question.id)
            }
            Stage::Batch { questions, .. } => {
                format!("Approve all {}? Type yes, or anything else to go back: ", questions.len())
            }
            Stage::Quit => "Calls wait and nobody else watches. Type yes to leave: ".to_owned(),
        }
    }

    /// Reads out the next hold that waits, where no question is open.
    fn offer(&mut self) {
        if self.stage != Stage::Free || !self.live || self.unsigned.is_some() {
            return;
        }
        let busy = |id: &CallId| {
            self.asked.values().any(|asked| match asked {
                Asked::Ruling { id: other, .. } => other == id,
                Asked::Batch { ids, .. } => ids.contains(id),
                Asked::Draft { .. }
                | Asked::Session(_)
                | Asked::Named(_)
                | Asked::Result(_)
                | Asked::History { .. }
                | Asked::Chain
                | Asked::Rules
                | Asked::Answer(_) => false,
            })
        };
        // No cursor stands on anything: the next one is the riskiest.
        self.holds.sort();
        let next = self.holds.pending().find(|entry| {
            let id = &entry.view.id;
            !self.skipped.contains(id) && !entry.is_over(self.now.wall) && !busy(id)
        });
        let Some(id) = next.map(|entry| entry.view.id.clone()) else { return };
        if self.watching.is_some() {
            // Read out once; there is nothing to ask.
            self.skipped.insert(id.clone());
        } else {
            self.stage = Stage::Ruling(id.clone());
        }
        self.read_out(&id, false);
    }

    /// Says a hold. `all`: however long it is.
    pub(super) fn read_out(&mut self, id: &CallId, all: bool) {
        let Some(entry) = self.holds.get(id).cloned() else { return self.say(format!("There is no hold {id}.")) };
        self.ring(entry.risk.tier);
        self.say(words::headline(&entry));
        entry.risk.warnings.iter().for_each(|warning| self.say_shown(format!("Warning: {warning}")));
        let arguments = words::arguments(&entry.view, &self.zone, all);
        let whole = arguments.is_some();
        match arguments {
            Some(lines) => lines.iter().for_each(|line| self.say(line)),
            None => {
                let bytes = entry.view.arguments.as_str().len();
                self.say(format!(
                    "Arguments: {bytes} bytes, more than {} lines or {} KiB, not read out yet. Type details to have all of \
                     them: an approval waits for that.",
                    words::READ_OUT,
                    words::READ_OUT_BYTES >> 10
                ));
            }
        }
        words::facts(&entry, &self.zone).into_iter().for_each(|fact| self.say_shown(fact));
        if entry.is_pending() {
            self.say(self.clock_words(&entry));
        }
        let known = self.heard.get(id).is_some_and(|heard| heard.whole && is_same_question(&heard.view, &entry.view));
        self.heard.insert(id.clone(), Heard { view: entry.view, whole: whole || known, at: self.now.mono });
    }

    /// Rings, where the bell is not silent.
    pub(super) fn ring(&mut self, tier: Tier) {
        if tier == Tier::High || !self.is_muted() {
            self.out.push(Effect::Bell);
        }
    }

    pub(super) fn is_muted(&self) -> bool {
        self.muted.is_some_and(|until| self.now.mono < until)
    }

    pub(super) fn mute(&mut self) {
        self.muted = (!self.is_muted()).then(|| self.now.mono + MUTE);
        self.say(if self.muted.is_some() {
            "No bell for 15 minutes, but for tier high."
        } else {
            "The bell rings again."
        });
    }

    fn clock_words(&self, entry: &Entry) -> String {
        let left = words::spoken(entry.seconds_left(self.now.wall));
        let client = entry.client_left(self.now.wall).map(|seconds| match seconds {
            ..=0 => " The client may be gone.".to_owned(),
            _ => format!(" The client may give up in about {}.", words::spoken(seconds)),
        });
        format!("Time left for {}: {left}.{}", entry.view.id, client.unwrap_or_default())
    }

    fn tick(&mut self) {
        self.look();
        let (wall, mono) = (self.now.wall, self.now.mono);
        let late = |asked: &Asked| matches!(asked, Asked::Ruling { since, .. } | Asked::Batch { since, .. } if mono >= *since + PATIENCE);
        let late: Vec<_> = self.asked.iter().filter(|(_, asked)| late(asked)).map(|(seq, _)| *seq).collect();
        for seq in late {
            let Some(asked) = self.asked.remove(&seq) else { continue };
            if self.unsigned.as_ref().is_none_or(|(other, ..)| *other != seq) {
                self.say("The daemon has not answered. Look at the state of the hold: list.");
            }
            self.not_paused(&asked);
        }
        let over = |id: &CallId| self.holds.get(id).is_none_or(|entry| entry.is_over(wall));
        if let Some(id) = self.subjects().into_iter().find(over) {
            self.close();
            self.skipped.insert(id.clone());
            self.say(format!("The time of {id} is over: nothing was sent."));
        }
        let subjects = self.subjects();
        let mut lines = Vec::new();
        for entry in self.holds.pending() {
            let part = part_left(entry, wall);
            let passed = CLOCKS.iter().rev().find(|limit| part <= **limit).copied();
            // Of those that nobody is asked about only the last call is said.
            let Some(limit) = passed.filter(|limit| *limit == 10 || subjects.contains(&entry.view.id)) else {
                continue;
            };
            if self.clocks.get(&entry.view.id).is_none_or(|said| limit < *said) {
                self.clocks.insert(entry.view.id.clone(), limit);
                lines.push(self.clock_words(entry));
            }
        }
        lines.into_iter().for_each(|line| self.say(line));
    }

    /// The holds that the open question is about.
    pub(super) fn subjects(&self) -> Vec<CallId> {
        match &self.stage {
            Stage::Ruling(id) => vec![id.clone()],
            Stage::Sure(question)
            | Stage::Type { question, .. }
            | Stage::Reason { question, .. }
            | Stage::Grant { question, .. } => vec![question.id.clone()],
            Stage::Batch { questions, .. } => questions.iter().map(|question| question.id.clone()).collect(),
            Stage::Free | Stage::Confirm { .. } | Stage::Quit => Vec::new(),
        }
    }

    /// Sends a command that a number is put into, where there is room for another.
    pub(super) fn send(&mut self, asked: Asked, build: impl FnOnce(u64) -> Command) {
        let _sent = self.try_send(asked, build);
    }

    pub(super) fn has_room(&self) -> bool {
        self.asked.len() < ASKED
    }

    /// The same. Whether it was sent; where it was not, that is said.
    #[must_use]
    pub(super) fn try_send(&mut self, asked: Asked, build: impl FnOnce(u64) -> Command) -> bool {
        let problem = match (self.live, self.has_room()) {
            (false, _) => "The daemon is not there: nothing was sent.",
            (true, false) => "The daemon has not answered what was asked before: nothing was sent.",
            (true, true) => "",
        };
        if !problem.is_empty() {
            self.say(problem);
            return false;
        }
        self.seq += 1;
        self.asked.insert(self.seq, asked);
        let command = build(self.seq);
        self.out.push(Effect::Send { connection: self.connection, command });
        true
    }

    /// Closes a question that was not answered. Whatever is asked next is new, even in the same words: a line that was
    /// typed before it is void.
    pub(super) fn close(&mut self) {
        self.stage = Stage::Free;
        self.last = None;
    }

    /// What is kept of holds goes with them.
    pub(super) fn forget(&mut self) {
        let holds = &self.holds;
        self.aside.take_if(|(id, _)| holds.get(id).is_none());
        self.heard.retain(|id, _| holds.get(id).is_some());
        self.clocks.retain(|id, _| holds.get(id).is_some());
        self.skipped.retain(|id| holds.get(id).is_some());
    }

    /// What speaks against approving these at once.
    pub(super) fn refuses_batch(&self, ids: &[&CallId]) -> Option<String> {
        let desk = batch::Desk { holds: &self.holds, daemon: self.daemon.as_ref(), guard: &self.guard };
        let watching =
            || self.watching.as_ref().map(|why| format!("this console only watches: {}", visible::line(why)));
        watching().or_else(|| desk.refuses(ids, self.now.wall, &self.zone))
    }

    pub(super) fn skip(&mut self, id: CallId) {
        self.stage = Stage::Free;
        self.skipped.insert(id);
    }

    /// Asks about this hold next.
    pub(super) fn turn_to(&mut self, id: CallId) {
        self.skipped.remove(&id);
        self.stage = if self.holds.get(&id).is_some_and(Entry::is_pending) && self.watching.is_none() {
            Stage::Ruling(id)
        } else {
            Stage::Free
        };
    }
}

/// How much of its time a hold has left, in percent.
fn part_left(entry: &Entry, wall: jiff::Timestamp) -> i64 {
    let all = entry.view.created_at.parse::<jiff::Timestamp>().map_or(0, |from| entry.seconds_left(from));
    entry.seconds_left(wall).saturating_mul(100) / all.max(1)
}
