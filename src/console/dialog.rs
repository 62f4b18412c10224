//! The questions: what is asked before anything is ruled, and what their keys do. A dialog opens on Back, and every way
//! out of it but its own gesture leaves the call held.

use std::time::Duration;

use crossterm::event::KeyEvent;

use crate::call::{CallId, Digest, Tier};
use crate::console::keys::{self, Action, Context, PRESETS};
use crate::console::visible;
use crate::control::wire::HoldView;

/// Longest value that an operator is asked to type.
const TYPED: usize = 64;
/// Longest reason, in characters.
const REASON: usize = 500;

/// A question that is on the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Dialog {
    Approve(Approve),
    Reject(Reject),
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
    /// Not yet: says why.
    Early(&'static str),
    Close,
    Approve,
    /// Asks for a reason instead.
    ToReject,
    Reject(String),
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
pub const FOCUS: Duration = Duration::from_millis(200);

impl Dialog {
    pub fn context(&self) -> Context {
        match self {
            Dialog::Approve(approve) if approve.tier == Tier::High => Context::Type,
            Dialog::Approve(_) | Dialog::Quit => Context::Ask,
            Dialog::Reject(_) => Context::Reason,
            Dialog::Help { .. } | Dialog::Notice { .. } => Context::Read,
        }
    }

    /// How long the question has to have been on the screen before it may be answered.
    pub fn arming(&self) -> Duration {
        match self {
            Dialog::Approve(approve) if approve.tier == Tier::High => ARMING_HIGH,
            Dialog::Approve(_) | Dialog::Reject(_) | Dialog::Quit | Dialog::Help { .. } | Dialog::Notice { .. } => {
                ARMING
            }
        }
    }

    /// The hold that is asked about.
    pub fn hold(&self) -> Option<&CallId> {
        match self {
            Dialog::Approve(approve) => Some(&approve.id),
            Dialog::Reject(reject) => Some(&reject.id),
            Dialog::Quit | Dialog::Help { .. } | Dialog::Notice { .. } => None,
        }
    }

    pub fn key(&mut self, key: &KeyEvent, ready: Ready) -> Answer {
        let action = keys::action(self.context(), key);
        if action == Some(Action::Quit) {
            return Answer::Quit;
        }
        match self {
            Dialog::Approve(approve) if approve.tier == Tier::High => approve.high(action, keys::typed(key), ready),
            Dialog::Approve(_) => match action {
                Some(Action::Yes) if ready.ruling => Answer::Approve,
                Some(Action::Yes) => Answer::Early("not so fast: look at the question, then press y"),
                Some(Action::Reject) => Answer::ToReject,
                Some(Action::Back) => Answer::Close,
                _ => Answer::Stay,
            },
            Dialog::Quit => match action {
                Some(Action::Yes) if ready.ruling => Answer::Quit,
                Some(Action::Yes) => Answer::Early("not so fast"),
                Some(Action::Back) => Answer::Close,
                _ => Answer::Stay,
            },
            Dialog::Reject(reject) => reject.key(action, keys::typed(key), ready),
            Dialog::Help { scroll } => {
                match action {
                    Some(Action::LineDown) => *scroll = scroll.saturating_add(1).min(help_lines()),
                    Some(Action::LineUp) => *scroll = scroll.saturating_sub(1),
                    Some(Action::Back) => return Answer::Close,
                    _ => {}
                }
                Answer::Stay
            }
            Dialog::Notice { .. } if action == Some(Action::Back) && ready.keys => Answer::Close,
            Dialog::Notice { .. } => Answer::Stay,
        }
    }

    /// A paste: only a reason takes one.
    pub fn paste(&mut self, text: &str) -> Answer {
        match self {
            Dialog::Reject(reject) => {
                text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).for_each(|c| reject.push(c));
                Answer::Stay
            }
            Dialog::Approve(_) => Answer::Early("paste is off here: read the value and type it"),
            Dialog::Quit | Dialog::Help { .. } | Dialog::Notice { .. } => Answer::Stay,
        }
    }
}

fn help_lines() -> u16 {
    u16::try_from(keys::TABLE.len() + 3 * Context::ALL.len()).unwrap_or(u16::MAX)
}

/// The question before an approval. It names one digest of one hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approve {
    pub id: CallId,
    pub digest: Digest,
    pub tier: Tier,
    /// Tier high: what has to be typed.
    pub fields: Vec<Field>,
    pub focus: Focus,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Focus {
    Back,
    Field(usize),
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
    pub fn new(hold: &HoldView, tier: Tier) -> Approve {
        let fields = if tier == Tier::High { fields(hold) } else { Vec::new() };
        Approve { id: hold.id.clone(), digest: hold.digest, tier, fields, focus: Focus::Back }
    }

    pub fn matches(&self) -> bool {
        self.fields.iter().all(Field::matches)
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

    fn enter(&mut self, ready: Ready) -> Answer {
        match self.focus {
            Focus::Back => Answer::Close,
            Focus::Field(n) if self.fields.get(n).is_some_and(Field::matches) => self.go(1),
            Focus::Field(_) => Answer::Early("the value does not match yet"),
            Focus::Approve if !self.matches() => Answer::Early("type the value first"),
            Focus::Approve if ready.ruling && ready.focus => Answer::Approve,
            Focus::Approve => Answer::Early("not so fast: look at the question, then press Enter"),
        }
    }

    /// Back, the fields, Approve: a ring.
    fn stops(&self) -> usize {
        self.fields.len() + 2
    }

    fn go(&mut self, steps: usize) -> Answer {
        let here = match self.focus {
            Focus::Back => 0,
            Focus::Field(n) => n + 1,
            Focus::Approve => self.fields.len() + 1,
        };
        self.focus = match (here + steps) % self.stops() {
            0 => Focus::Back,
            n if n <= self.fields.len() => Focus::Field(n - 1),
            _ => Focus::Approve,
        };
        Answer::Moved
    }

    fn edit(&mut self, change: impl FnOnce(&mut String)) {
        if let Focus::Field(n) = self.focus
            && let Some(field) = self.fields.get_mut(n)
        {
            change(&mut field.typed);
        }
    }

    fn type_in(&mut self, letter: char) -> Answer {
        let before = self.focus;
        if self.focus == Focus::Back {
            self.focus = Focus::Field(self.fields.iter().position(|field| !field.matches()).unwrap_or(0));
        }
        self.edit(|text| {
            if text.chars().count() < TYPED {
                text.push(letter);
            }
        });
        if self.focus == before { Answer::Stay } else { Answer::Moved }
    }
}

/// Where the last character of a text starts.
fn before_last(text: &str) -> usize {
    text.char_indices().next_back().map_or(0, |(at, _)| at)
}

/// What the operator types: the values that the rule names, else the operation. A value that cannot be typed as it is
/// read (long, not ASCII, blank at an end) is replaced by the start of the digest, which is on the screen too.
pub fn fields(hold: &HoldView) -> Vec<Field> {
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
    pub reason: String,
}

impl Reject {
    pub fn new(hold: &HoldView) -> Reject {
        Reject { id: hold.id.clone(), digest: hold.digest, reason: String::new() }
    }

    fn push(&mut self, letter: char) {
        if self.reason.chars().count() < REASON {
            self.reason.push(letter);
        }
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
                self.push(letter);
                Answer::Stay
            }
            (_, None) => Answer::Stay,
        }
    }
}
