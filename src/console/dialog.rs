//! The questions: what is asked before anything is ruled, and what their keys do. A dialog opens on Back, and every way
//! out of it but its own gesture leaves the call held.

use std::time::Duration;

use crossterm::event::KeyEvent;

use crate::call::{CallId, Digest, Tier};
use crate::console::batch::Batch;
use crate::console::filter::{Filter, Of};
use crate::console::keymap::Keymap;
use crate::console::keys::{Action, Context, PRESETS, TABLE, typed};
use crate::console::palette::Palette;
use crate::console::visible;
pub use crate::console::wish::{Leaf, Wish};
use crate::control::wire::{HoldView, SessionRuling};

/// Longest value that an operator is asked to type.
const TYPED: usize = 64;
/// Longest reason, note or filter, in characters.
const REASON: usize = 500;

/// A question that is on the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Dialog {
    Approve(Approve),
    /// Several holds at once.
    Batch(Batch),
    /// A grant: first how far it goes, then its text.
    Grant(Wish),
    Reject(Reject),
    Confirm(Confirm),
    Filter(FilterLine),
    Palette(Palette),
    Quit,
    Help {
        scroll: u16,
    },
    /// Something that the operator has to have read; the lines have not passed the escape function.
    Notice {
        title: String,
        lines: Vec<String>,
    },
}

/// What a key does to a dialog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing but what is on the dialog itself.
    Stay,
    /// The focus is elsewhere now.
    Moved,
    /// The dialog asks something else now: whatever was pressed before is void.
    Turned,
    /// Not yet: says why.
    Early(&'static str),
    Close,
    /// With the note, where there is one.
    Approve(Option<String>),
    /// The whole batch.
    Batch,
    /// Asks for a grant instead.
    ToGrant,
    /// Has the daemon write the grant.
    Draft,
    /// Makes the grant whose text is on the screen.
    Grant,
    /// Asks for a reason instead.
    ToReject,
    Reject(String),
    /// Does what the question was about.
    Confirmed,
    Filtered,
    /// What the key of a command does.
    Run(Action),
    /// Asks whether to quit, or quits where that is the question.
    Quit,
}

/// How long things have been on the screen when the key was pressed.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The question, for [`ARMING`]: keys count at all.
    pub keys: bool,
    /// The question, for the time of its tier: it may be answered.
    pub ruling: bool,
    /// The focus, for [`FOCUS`].
    pub focus: bool,
}

/// Keys that rule are dead for so long after the screen has changed.
pub const ARMING: Duration = Duration::from_millis(400);
/// The same in a dialog of the highest tier.
pub const ARMING_HIGH: Duration = Duration::from_secs(1);
/// A button that has just got the focus is dead for so long.
pub const FOCUS: Duration = Duration::from_millis(700);

impl Dialog {
    pub fn context(&self) -> Context {
        match self {
            Dialog::Approve(approve) if approve.typed => Context::Type,
            Dialog::Approve(approve) if approve.focus == Focus::Note => Context::Note,
            Dialog::Confirm(question) if question.noting => Context::Note,
            Dialog::Grant(wish) if wish.draft.is_none() => Context::Grant,
            Dialog::Approve(_) | Dialog::Batch(_) | Dialog::Grant(_) | Dialog::Confirm(_) | Dialog::Quit => {
                Context::Ask
            }
            Dialog::Reject(_) => Context::Reason,
            Dialog::Filter(_) => Context::Filter,
            Dialog::Palette(_) => Context::Palette,
            Dialog::Help { .. } => Context::Read,
            Dialog::Notice { .. } => Context::Notice,
        }
    }

    /// How long the question has to have been on the screen before it may be answered.
    pub fn arming(&self) -> Duration {
        match self {
            Dialog::Approve(approve) if approve.typed => ARMING_HIGH,
            Dialog::Approve(_)
            | Dialog::Batch(_)
            | Dialog::Grant(_)
            | Dialog::Reject(_)
            | Dialog::Confirm(_)
            | Dialog::Filter(_)
            | Dialog::Palette(_)
            | Dialog::Quit
            | Dialog::Help { .. }
            | Dialog::Notice { .. } => ARMING,
        }
    }

    /// The holds that are asked about.
    pub fn holds(&self) -> Vec<&CallId> {
        match self {
            Dialog::Approve(approve) => vec![&approve.id],
            Dialog::Batch(batch) => batch.items.iter().map(|(id, _)| id).collect(),
            Dialog::Grant(wish) => vec![&wish.id],
            Dialog::Reject(reject) => vec![&reject.id],
            Dialog::Confirm(_)
            | Dialog::Filter(_)
            | Dialog::Palette(_)
            | Dialog::Quit
            | Dialog::Help { .. }
            | Dialog::Notice { .. } => Vec::new(),
        }
    }

    pub fn key(&mut self, keys: &Keymap, key: &KeyEvent, ready: Ready) -> Answer {
        let action = keys.action(self.context(), key);
        if action == Some(Action::Quit) {
            return Answer::Quit;
        }
        let typed = typed(key);
        match self {
            Dialog::Approve(approve) if approve.typed => approve.high(action, typed, ready),
            Dialog::Approve(approve) if approve.focus == Focus::Note => approve.noting(action, typed, ready),
            Dialog::Approve(approve) => match action {
                Some(Action::Yes) if !approve.fits => Answer::Early(LARGER),
                Some(Action::Yes) if ready.ruling => Answer::Approve(approve.reason()),
                Some(Action::Yes) => Answer::Early("not so fast: look at the question, then press y"),
                Some(Action::Reject) => Answer::ToReject,
                Some(Action::Grant) => Answer::ToGrant,
                Some(Action::Note) if approve.tier != Tier::Low => {
                    approve.focus = Focus::Note;
                    Answer::Turned
                }
                Some(Action::Back) => Answer::Close,
                _ => Answer::Stay,
            },
            Dialog::Batch(batch) => match action {
                Some(Action::Yes) if !batch.fits => Answer::Early("not all of it is on the screen: mark fewer"),
                Some(Action::Yes) if ready.ruling => Answer::Batch,
                Some(Action::Yes) => Answer::Early("not so fast: look at the calls, then press y"),
                Some(Action::Back) => Answer::Close,
                _ => Answer::Stay,
            },
            Dialog::Grant(wish) => wish.key(action, ready),
            Dialog::Confirm(question) if question.noting => match written(&mut question.reason, action, typed, ready) {
                Some(answer) => answer,
                None => {
                    question.noting = false;
                    Answer::Turned
                }
            },
            Dialog::Confirm(question) => match action {
                Some(Action::Note) if question.takes_reason() => {
                    question.noting = true;
                    Answer::Turned
                }
                Some(Action::Yes) if ready.ruling => Answer::Confirmed,
                Some(Action::Yes) => Answer::Early("not so fast: look at the question, then press y"),
                Some(Action::Back) => Answer::Close,
                _ => Answer::Stay,
            },
            Dialog::Quit => match action {
                Some(Action::Yes) if ready.ruling => Answer::Quit,
                Some(Action::Yes) => Answer::Early("not so fast"),
                Some(Action::Back) => Answer::Close,
                _ => Answer::Stay,
            },
            Dialog::Reject(reject) => reject.key(action, typed, ready),
            Dialog::Filter(line) => line.key(action, typed),
            Dialog::Palette(palette) => palette.key(action, typed, ready),
            Dialog::Help { scroll } => {
                match action {
                    Some(Action::LineDown) => *scroll = scroll.saturating_add(1).min(help_lines()),
                    Some(Action::LineUp) => *scroll = scroll.saturating_sub(1),
                    Some(Action::PageDown) => *scroll = scroll.saturating_add(HELP_PAGE).min(help_lines()),
                    Some(Action::PageUp) => *scroll = scroll.saturating_sub(HELP_PAGE),
                    Some(Action::Back) => return Answer::Close,
                    _ => {}
                }
                Answer::Stay
            }
            Dialog::Notice { .. } if action == Some(Action::Back) && ready.keys => Answer::Close,
            Dialog::Notice { .. } => Answer::Stay,
        }
    }

    /// A paste: text for people takes one, a value never.
    pub fn paste(&mut self, text: &str) -> Answer {
        let letters = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        match self {
            Dialog::Reject(reject) => letters.for_each(|letter| push(&mut reject.reason, letter)),
            Dialog::Approve(approve) if approve.focus == Focus::Note => {
                letters.for_each(|letter| push(&mut approve.note, letter));
            }
            Dialog::Confirm(question) if question.noting => {
                letters.for_each(|letter| push(&mut question.reason, letter));
            }
            Dialog::Approve(_) => return Answer::Early("paste is off here: read the value and type it"),
            Dialog::Filter(line) => letters.for_each(|letter| push(&mut line.text, letter)),
            Dialog::Batch(_) | Dialog::Grant(_) | Dialog::Confirm(_) => return Answer::Early("paste is off here"),
            Dialog::Palette(_) | Dialog::Quit | Dialog::Help { .. } | Dialog::Notice { .. } => {}
        }
        Answer::Stay
    }
}

/// Why a question that is not on the screen, whole, is not answered.
const LARGER: &str = "the question does not fit: make the window larger";

/// Lines of help that a page moves.
const HELP_PAGE: u16 = 15;

fn push(text: &mut String, letter: char) {
    if text.chars().count() < REASON {
        text.push(letter);
    }
}

/// A question whose answer is yes or no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Confirm {
    pub title: &'static str,
    /// Have not passed the escape function.
    pub lines: Vec<String>,
    /// What `y` does, in words.
    pub yes: &'static str,
    pub act: Act,
    /// Why, where somebody says so. Has not passed the escape function.
    pub reason: String,
    /// The reason is being written.
    pub noting: bool,
}

impl Confirm {
    pub fn new(title: &'static str, lines: Vec<String>, yes: &'static str, act: Act) -> Confirm {
        Confirm { title, lines, yes, act, reason: String::new(), noting: false }
    }

    /// Whether the daemon is told why.
    pub fn takes_reason(&self) -> bool {
        match self.act {
            Act::Freeze(_) | Act::Session(..) | Act::Revoke(_) => true,
            Act::Steal(_) => false,
        }
    }
}

/// What is confirmed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    Freeze(bool),
    Session(String, SessionRuling),
    Revoke(CallId),
    Steal(CallId),
}

/// A filter while it is typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilterLine {
    pub text: String,
    pub of: Of,
}

impl FilterLine {
    pub fn new(text: &str, of: Of) -> FilterLine {
        FilterLine { text: text.to_owned(), of }
    }

    /// # Errors
    /// What is wrong, in words that have not passed the escape function.
    pub fn parsed(&self) -> Result<Filter, String> {
        Filter::parse(&self.text, self.of)
    }

    fn key(&mut self, action: Option<Action>, typed: Option<char>) -> Answer {
        match action {
            Some(Action::Back) => return Answer::Close,
            Some(Action::Enter) if self.parsed().is_ok() => return Answer::Filtered,
            Some(Action::Enter) => return Answer::Early("that is no filter yet"),
            Some(Action::Erase) => self.text.truncate(before_last(&self.text)),
            Some(Action::Clear) => self.text.clear(),
            _ => {}
        }
        if let Some(letter) = typed {
            push(&mut self.text, letter);
        }
        Answer::Stay
    }
}

fn help_lines() -> u16 {
    u16::try_from(TABLE.len() + 3 * Context::ALL.len()).unwrap_or(u16::MAX)
}

/// The question before an approval. It names one digest of one hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approve {
    pub id: CallId,
    pub digest: Digest,
    pub tier: Tier,
    /// The gesture of the highest tier: values have to be typed.
    pub typed: bool,
    /// Why, where the tier alone does not want it. Has not passed the escape function.
    pub why: Option<String>,
    /// What has to be typed.
    pub fields: Vec<Field>,
    pub focus: Focus,
    /// What the record keeps beside the approval.
    pub note: String,
    /// All of the question is on the screen, its buttons too.
    pub fits: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Focus {
    Back,
    Field(usize),
    Note,
    Approve,
}

/// A value that has to be typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    pub label: String,
    pub expected: String,
    pub typed: String,
}

impl Field {
    fn new(label: &str, expected: String) -> Field {
        Field { label: visible::line(label), expected, typed: String::new() }
    }

    pub fn matches(&self) -> bool {
        self.typed == self.expected
    }

    /// Characters at the start that are right.
    pub fn right(&self) -> usize {
        self.typed.chars().zip(self.expected.chars()).take_while(|(a, b)| a == b).count()
    }
}

impl Approve {
    /// `why`: the gesture of the highest tier is wanted whatever the tier is.
    pub fn new(hold: &HoldView, tier: Tier, why: Option<String>) -> Approve {
        let typed = tier == Tier::High || why.is_some();
        let fields = if typed { fields(hold) } else { Vec::new() };
        let (id, digest, note) = (hold.id.clone(), hold.digest, String::new());
        Approve { id, digest, tier, typed, why, fields, focus: Focus::Back, note, fits: false }
    }

    pub fn matches(&self) -> bool {
        self.fields.iter().all(Field::matches)
    }

    fn reason(&self) -> Option<String> {
        let note = self.note.trim();
        (!note.is_empty()).then(|| note.to_owned())
    }

    fn high(&mut self, action: Option<Action>, typed: Option<char>, ready: Ready) -> Answer {
        match action {
            Some(Action::Back) => return Answer::Close,
            Some(Action::Reject) => return Answer::ToReject,
            Some(Action::Forward) => return self.go(1),
            Some(Action::Backward) => return self.go(self.stops() - 1),
            Some(Action::Enter) => return self.enter(ready),
            Some(Action::Erase) => self.edit(|text| text.truncate(before_last(text))),
            Some(Action::Clear) => self.edit(String::clear),
            _ => {}
        }
        match typed {
            Some(_) if !ready.keys => Answer::Early("not so fast: what you typed before you saw this was dropped"),
            Some(letter) => self.type_in(letter),
            None => Answer::Stay,
        }
    }

    /// The note of a question that `y` answers: no letter of it is an answer.
    fn noting(&mut self, action: Option<Action>, typed: Option<char>, ready: Ready) -> Answer {
        written(&mut self.note, action, typed, ready).unwrap_or_else(|| {
            self.focus = Focus::Back;
            Answer::Turned
        })
    }

    fn enter(&mut self, ready: Ready) -> Answer {
        match self.focus {
            Focus::Back => Answer::Close,
            Focus::Note => self.go(self.stops() - 1),
            Focus::Field(n) if self.fields.get(n).is_some_and(Field::matches) => self.go(1),
            Focus::Field(_) => Answer::Early("the value does not match yet"),
            Focus::Approve if !self.matches() => Answer::Early("type the value first"),
            Focus::Approve if !self.fits => Answer::Early(LARGER),
            Focus::Approve if ready.ruling && ready.focus => Answer::Approve(self.reason()),
            Focus::Approve => Answer::Early("not so fast: look at the question, then press Enter"),
        }
    }

    /// Back, the fields, Approve, the note: a ring.
    fn stops(&self) -> usize {
        self.fields.len() + 3
    }

    fn go(&mut self, steps: usize) -> Answer {
        let fields = self.fields.len();
        let here = match self.focus {
            Focus::Back => 0,
            Focus::Field(n) => n + 1,
            Focus::Approve => fields + 1,
            Focus::Note => fields + 2,
        };
        self.focus = match (here + steps) % self.stops() {
            0 => Focus::Back,
            n if n <= fields => Focus::Field(n - 1),
            n if n == fields + 1 => Focus::Approve,
            _ => Focus::Note,
        };
        Answer::Moved
    }

    fn edit(&mut self, change: impl FnOnce(&mut String)) {
        match self.focus {
            Focus::Field(n) => {
                if let Some(field) = self.fields.get_mut(n) {
                    change(&mut field.typed);
                }
            }
            Focus::Note => change(&mut self.note),
            Focus::Back | Focus::Approve => {}
        }
    }

    fn type_in(&mut self, letter: char) -> Answer {
        let before = self.focus;
        if self.focus == Focus::Back {
            self.focus = Focus::Field(self.fields.iter().position(|field| !field.matches()).unwrap_or(0));
        }
        let most = if self.focus == Focus::Note { REASON } else { TYPED };
        self.edit(|text| {
            if text.chars().count() < most {
                text.push(letter);
            }
        });
        if self.focus == before { Answer::Stay } else { Answer::Moved }
    }
}

/// A key in a line that is being written; nothing where it leads back to the question.
fn written(text: &mut String, action: Option<Action>, typed: Option<char>, ready: Ready) -> Option<Answer> {
    match (action, typed) {
        (Some(Action::Back), _) => return None,
        (Some(Action::Erase), _) => text.truncate(before_last(text)),
        (Some(Action::Clear), _) => text.clear(),
        (_, Some(_)) if !ready.keys => {
            return Some(Answer::Early("not so fast: what you typed before you saw this was dropped"));
        }
        (_, Some(letter)) => push(text, letter),
        (_, None) => {}
    }
    Some(Answer::Stay)
}

/// Where the last character of a text starts.
fn before_last(text: &str) -> usize {
    text.char_indices().next_back().map_or(0, |(at, _)| at)
}

/// What the operator types: the values that the rule names, else the operation. A value that cannot be typed as it is
/// read (long, not ASCII, blank at an end) is replaced by the start of the digest, which is on the screen too.
fn fields(hold: &HoldView) -> Vec<Field> {
    let digest = hold.digest.to_string();
    let digest = digest.get(..8).unwrap_or(&digest);
    let field = |label: &str, value: &str| {
        if is_typable(value) {
            Field::new(label, value.to_owned())
        } else {
            Field::new(&format!("{label}: it cannot be typed, so the digest's first 8 digits"), digest.to_owned())
        }
    };
    if hold.confirm.is_empty() {
        return vec![field("the operation", &hold.operation)];
    }
    hold.confirm.iter().map(|confirm| field(confirm.pointer.trim_start_matches('/'), &confirm.value)).collect()
}

fn is_typable(value: &str) -> bool {
    (1..=TYPED).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && value.trim() == value
        && !value.contains("  ")
}

/// The question for a reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    pub id: CallId,
    pub digest: Digest,
    /// The others of a folded group, each with its digest.
    pub others: Vec<(CallId, Digest)>,
    /// Pauses its session too.
    pub pause: Option<String>,
    pub reason: String,
}

impl Reject {
    pub fn new(hold: &HoldView) -> Reject {
        let (id, digest) = (hold.id.clone(), hold.digest);
        Reject { id, digest, others: Vec::new(), pause: None, reason: String::new() }
    }

    fn key(&mut self, action: Option<Action>, typed: Option<char>, ready: Ready) -> Answer {
        match action {
            Some(Action::Back) => return Answer::Close,
            Some(Action::Enter) if self.reason.trim().is_empty() => {
                return Answer::Early("a reason is needed: the agent reads it");
            }
            Some(Action::Enter) if ready.ruling => return Answer::Reject(self.reason.trim().to_owned()),
            Some(Action::Enter) => return Answer::Early("not so fast"),
            Some(Action::Erase) => self.reason.truncate(before_last(&self.reason)),
            Some(Action::Clear) => self.reason.clear(),
            _ => {}
        }
        match (action, typed) {
            (_, Some(_)) if !ready.keys => Answer::Early("not so fast: what you typed before you saw this was dropped"),
            (Some(Action::Preset(n)), Some(_)) if self.reason.is_empty() => {
                self.reason = PRESETS.get(n).copied().unwrap_or_default().to_owned();
                Answer::Stay
            }
            (_, Some(letter)) => {
                push(&mut self.reason, letter);
                Answer::Stay
            }
            (_, None) => Answer::Stay,
        }
    }
}
