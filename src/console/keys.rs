//! The one table of keys: what `update` obeys, what the help screen and the operator's guide print. An operator's file may
//! give the actions of the screens other keys; that is in `keymap`.
//!
//! No key approves. `a` opens a question, and only the question's own gesture answers it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::chord::Chord;

/// Where a key is pressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// Any screen, no question open.
    Any,
    /// Screen 1: the list with the detail of one hold.
    Main,
    /// The detail alone.
    Zoom,
    /// Screens 2 to 4.
    Page,
    /// Screen 3.
    Sessions,
    /// A question that `y` answers.
    Ask,
    /// A question that wants a value typed.
    Type,
    /// The note of an approval, the reason of a stop.
    Note,
    /// How far a grant goes.
    Grant,
    /// The reason of a rejection.
    Reason,
    /// The filter of a list.
    Filter,
    /// The commands by their words.
    Palette,
    /// A text to read.
    Read,
    /// Something that may have come up while somebody typed: no letter does anything.
    Notice,
}

impl Context {
    pub const ALL: [Context; 14] = [
        Context::Any,
        Context::Main,
        Context::Zoom,
        Context::Page,
        Context::Sessions,
        Context::Ask,
        Context::Type,
        Context::Note,
        Context::Grant,
        Context::Reason,
        Context::Filter,
        Context::Palette,
        Context::Read,
        Context::Notice,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Context::Any => "On every screen",
            Context::Main => "Queue: list and detail",
            Context::Zoom => "Queue: detail alone (beside all of the above)",
            Context::Page => "History, sessions, policy",
            Context::Sessions => "Sessions (beside the above)",
            Context::Ask => "Approve, tiers low and medium; grants; yes or no",
            Context::Type => "Approve, tier high",
            Context::Note => "A note or a reason",
            Context::Grant => "How far a grant goes",
            Context::Reason => "Reject",
            Context::Filter => "Filter",
            Context::Palette => "Commands",
            Context::Read => "Help",
            Context::Notice => "Notices",
        }
    }

    /// Where a key is looked up that this context does not bind.
    fn wider(self) -> Option<Context> {
        match self {
            Context::Main | Context::Page => Some(Context::Any),
            Context::Zoom => Some(Context::Main),
            Context::Sessions => Some(Context::Page),
            Context::Any
            | Context::Ask
            | Context::Type
            | Context::Note
            | Context::Grant
            | Context::Reason
            | Context::Filter
            | Context::Palette
            | Context::Read
            | Context::Notice => None,
        }
    }

    /// This context, and those that it falls back to.
    pub fn chain(self) -> impl Iterator<Item = Context> {
        std::iter::successors(Some(self), |context| context.wider())
    }
}

/// A screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    Queue,
    History,
    Sessions,
    Policy,
}

impl Page {
    pub const ALL: [Page; 4] = [Page::Queue, Page::History, Page::Sessions, Page::Policy];

    pub fn title(self) -> &'static str {
        match self {
            Page::Queue => "Queue",
            Page::History => "History",
            Page::Sessions => "Sessions",
            Page::Policy => "Policy",
        }
    }
}

/// What a key asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Next,
    Previous,
    First,
    Last,
    NextMatch,
    PreviousMatch,
    LineDown,
    LineUp,
    HalfDown,
    HalfUp,
    PageDown,
    PageUp,
    Open,
    Back,
    Go(Page),
    NextPage,
    PreviousPage,
    View,
    Wrap,
    Rule,
    SameTool,
    Copy,
    Mute,
    Suspend,
    Fold,
    Unfold,
    SortIn,
    Follow,
    Filter,
    Palette,
    OpenRule,
    Draft,
    Export,
    Approve,
    Reject,
    RejectAndPause,
    Claim,
    Release,
    Mark,
    Unmark,
    TakeBack,
    Ticket,
    Freeze,
    Pause,
    End,
    Revoke,
    Mouse,
    Help,
    Redraw,
    Quit,
    Yes,
    Grant,
    Note,
    Enter,
    Forward,
    Backward,
    Erase,
    Clear,
    Toggle,
    More,
    Fewer,
    Longer,
    Shorter,
    Preset(usize),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    pub context: Context,
    pub chords: &'static [Chord],
    pub action: Action,
    pub does: &'static str,
}

impl Binding {
    /// What an operator's file calls it; nothing inside a question, where every key stays.
    pub fn name(&self) -> Option<&'static str> {
        Some(match (self.context, self.action) {
            (Context::Zoom, Action::LineDown) => "zoom-line-down",
            (Context::Zoom, Action::LineUp) => "zoom-line-up",
            (Context::Zoom, Action::Next) => "zoom-next",
            (Context::Zoom, Action::Previous) => "zoom-previous",
            (Context::Any | Context::Main | Context::Zoom | Context::Page | Context::Sessions, action) => {
                action.name()?
            }
            (
                Context::Ask
                | Context::Type
                | Context::Note
                | Context::Grant
                | Context::Reason
                | Context::Filter
                | Context::Palette
                | Context::Read
                | Context::Notice,
                _,
            ) => return None,
        })
    }
}

impl Action {
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Action::Next => "next",
            Action::Previous => "previous",
            Action::First => "first",
            Action::Last => "last",
            Action::NextMatch => "next-waiting",
            Action::PreviousMatch => "previous-waiting",
            Action::LineDown => "line-down",
            Action::LineUp => "line-up",
            Action::HalfDown => "half-page-down",
            Action::HalfUp => "half-page-up",
            Action::PageDown => "page-down",
            Action::PageUp => "page-up",
            Action::Open => "open",
            Action::Back => "back",
            Action::Go(Page::Queue) => "queue",
            Action::Go(Page::History) => "history",
            Action::Go(Page::Sessions) => "sessions",
            Action::Go(Page::Policy) => "policy",
            Action::NextPage => "next-screen",
            Action::PreviousPage => "previous-screen",
            Action::View => "view",
            Action::Wrap => "wrap",
            Action::Rule => "rule",
            Action::SameTool => "same-tool",
            Action::Copy => "copy",
            Action::Mute => "mute",
            Action::Suspend => "suspend",
            Action::Fold => "fold",
            Action::Unfold => "unfold",
            Action::SortIn => "sort-in",
            Action::Follow => "follow",
            Action::Filter => "filter",
            Action::Palette => "commands",
            Action::OpenRule => "open-rule",
            Action::Draft => "draft",
            Action::Export => "export",
            Action::Approve => "approve",
            Action::Reject => "reject",
            Action::RejectAndPause => "reject-and-pause",
            Action::Claim => "claim",
            Action::Release => "release",
            Action::Mark => "mark",
            Action::Unmark => "unmark",
            Action::TakeBack => "take-back",
            Action::Ticket => "ticket",
            Action::Freeze => "freeze",
            Action::Pause => "pause",
            Action::End => "end",
            Action::Revoke => "revoke",
            Action::Mouse => "mouse",
            Action::Help => "help",
            Action::Redraw => "redraw",
            Action::Quit => "quit",
            Action::Yes
            | Action::Grant
            | Action::Note
            | Action::Enter
            | Action::Forward
            | Action::Backward
            | Action::Erase
            | Action::Clear
            | Action::Toggle
            | Action::More
            | Action::Fewer
            | Action::Longer
            | Action::Shorter
            | Action::Preset(_) => return None,
        })
    }

    /// Whether a question may come up of it, which other keys answer.
    pub fn asks(self) -> bool {
        matches!(
            self,
            Action::Approve
                | Action::Ticket
                | Action::Reject
                | Action::RejectAndPause
                | Action::Claim
                | Action::Freeze
                | Action::Pause
                | Action::End
                | Action::Revoke
                | Action::Quit
        )
    }
}

const fn bind(context: Context, chords: &'static [Chord], action: Action, does: &'static str) -> Binding {
    Binding { context, chords, action, does }
}

use Chord::{Char, Ctrl, Key};
use Context::{
    Any, Ask, Filter, Grant, Main, Note, Notice, Page as Pages, Palette, Read, Reason, Sessions, Type, Zoom,
};

const ENTER: &[Chord] = &[Key(KeyCode::Enter)];
const ESC: &[Chord] = &[Key(KeyCode::Esc)];
const ERASE: &[Chord] = &[Key(KeyCode::Backspace)];
const DOWN: &[Chord] = &[Char('j'), Key(KeyCode::Down)];
const UP: &[Chord] = &[Char('k'), Key(KeyCode::Up)];
const FIRST: &[Chord] = &[Char('g'), Key(KeyCode::Home)];
const LAST: &[Chord] = &[Char('G'), Key(KeyCode::End)];

/// All keys. The first row that matches counts.
pub const TABLE: &[Binding] = &[
    bind(Any, &[Char('1')], Action::Go(Page::Queue), "the queue"),
    bind(Any, &[Char('2')], Action::Go(Page::History), "history: what is recorded"),
    bind(Any, &[Char('3')], Action::Go(Page::Sessions), "sessions and grants"),
    bind(Any, &[Char('4')], Action::Go(Page::Policy), "policy: what the rules did"),
    bind(Any, &[Key(KeyCode::Tab)], Action::NextPage, "next screen"),
    bind(Any, &[Key(KeyCode::BackTab)], Action::PreviousPage, "previous screen"),
    bind(Any, &[Char('u')], Action::TakeBack, "take an approval back that has not left yet"),
    bind(
        Any,
        &[Char('!')],
        Action::Freeze,
        "freeze: asks first; every call that is not a read is held, the queue is rejected; again: thaw",
    ),
    bind(Any, &[Char('m')], Action::Mouse, "mouse off or on; it selects and scrolls and never rules"),
    bind(Any, &[Char('M')], Action::Mute, "no bell for 15 min but for tier high; again: it rings"),
    bind(Any, &[Ctrl('z')], Action::Suspend, "suspend the console: its shell comes back, and fg brings it again"),
    bind(Any, &[Char('?')], Action::Help, "this help"),
    bind(Any, &[Char(':')], Action::Palette, "commands by their words: each does what its key does"),
    bind(Any, &[Char('E')], Action::Export, "export the call, or the records of the history, into a file here"),
    bind(Any, &[Ctrl('l')], Action::Redraw, "ask the daemon and draw the screen again"),
    bind(Any, &[Char('q'), Ctrl('c')], Action::Quit, "quit: asks while holds wait and nobody else watches"),
    bind(Main, DOWN, Action::Next, "next hold"),
    bind(Main, UP, Action::Previous, "previous hold"),
    bind(Main, FIRST, Action::First, "first hold"),
    bind(Main, LAST, Action::Last, "last hold"),
    bind(Main, &[Char('n')], Action::NextMatch, "next hold that waits"),
    bind(Main, &[Char('N')], Action::PreviousMatch, "previous hold that waits"),
    bind(Main, &[Char('.')], Action::SortIn, "sort the new holds in, by risk and time left"),
    bind(Main, &[Char('F')], Action::Follow, "follow: while no key is pressed for 10 s, go to the riskiest hold"),
    bind(
        Main,
        &[Char('l'), Key(KeyCode::Right)],
        Action::Unfold,
        "open what is folded: a part of the detail, else the group; where lines are not wrapped, first to the right",
    ),
    bind(Main, &[Char('h'), Key(KeyCode::Left)], Action::Fold, "fold it again; or back to the left"),
    bind(Main, &[Char('w')], Action::Wrap, "wrap long lines of the detail, or not: fold and unfold go along them then"),
    bind(Main, &[Char('/')], Action::Filter, "filter the list"),
    bind(Main, &[Char('v')], Action::View, "view: pretty, raw, diff, rule, session, result"),
    bind(Main, &[Char('p')], Action::Rule, "view: the rule, and which of its lines held"),
    bind(Main, &[Char('o')], Action::OpenRule, "open the rule in your editor (VISUAL, EDITOR)"),
    bind(
        Main,
        &[Char('e')],
        Action::Draft,
        "draft a rule from this hold, and its test, in a folder that nobody loads, and open it in your editor",
    ),
    bind(Main, &[Char('H')], Action::SameTool, "history: what was recorded of this operation"),
    bind(Main, &[Char('y')], Action::Copy, "copy the id and the digest, where the terminal takes it"),
    bind(Main, &[Char('J')], Action::LineDown, "detail: one line down"),
    bind(Main, &[Char('K')], Action::LineUp, "detail: one line up"),
    bind(Main, &[Ctrl('d')], Action::HalfDown, "detail: half a page down"),
    bind(Main, &[Ctrl('u')], Action::HalfUp, "detail: half a page up"),
    bind(Main, &[Key(KeyCode::PageDown)], Action::PageDown, "detail: one page down"),
    bind(Main, &[Key(KeyCode::PageUp)], Action::PageUp, "detail: one page up"),
    bind(Main, ENTER, Action::Open, "detail alone"),
    bind(Main, ESC, Action::Back, "back to the list; there: clear the filter"),
    bind(Main, &[Char('a')], Action::Approve, "approve…: asks first, in the manner of the tier"),
    bind(Main, &[Char('r')], Action::Reject, "reject…: asks for a reason that the agent reads; all of a folded group"),
    bind(Main, &[Char('R')], Action::RejectAndPause, "reject… and pause the session"),
    bind(Main, &[Char('c')], Action::Claim, "claim for 60 s: others see it; again: for 60 s more"),
    bind(Main, &[Char('C')], Action::Release, "give your claim back"),
    bind(
        Main,
        &[Char('T')],
        Action::Ticket,
        "ticket…: approve one retry, where the client is gone; what ended without a ruling waits again first",
    ),
    bind(
        Main,
        &[Char(' ')],
        Action::Mark,
        "mark it, or its folded group: approve and reject are about all that is marked",
    ),
    bind(Main, &[Char('U')], Action::Unmark, "take the marks off"),
    bind(Zoom, DOWN, Action::LineDown, "one line down"),
    bind(Zoom, UP, Action::LineUp, "one line up"),
    bind(Zoom, &[Char(']')], Action::Next, "next hold"),
    bind(Zoom, &[Char('[')], Action::Previous, "previous hold"),
    bind(Pages, DOWN, Action::Next, "next row"),
    bind(Pages, UP, Action::Previous, "previous row"),
    bind(Pages, FIRST, Action::First, "first row"),
    bind(Pages, LAST, Action::Last, "last row that is known"),
    bind(Pages, &[Key(KeyCode::PageDown), Ctrl('d')], Action::PageDown, "one page down"),
    bind(Pages, &[Key(KeyCode::PageUp), Ctrl('u')], Action::PageUp, "one page up"),
    bind(Pages, &[Char('J')], Action::LineDown, "detail: one line down"),
    bind(Pages, &[Char('K')], Action::LineUp, "detail: one line up"),
    bind(Pages, &[Char('o')], Action::OpenRule, "policy: open the rule in your editor (VISUAL, EDITOR)"),
    bind(
        Pages,
        &[Char('T')],
        Action::Ticket,
        "history: ticket…, in the queue, of the call that ended without a ruling",
    ),
    bind(Pages, &[Char('/')], Action::Filter, "filter the list"),
    bind(Pages, ESC, Action::Back, "clear the filter"),
    bind(Sessions, &[Char('P')], Action::Pause, "pause the session, or resume it: asks first"),
    bind(Sessions, &[Char('X')], Action::End, "end the session: asks first"),
    bind(Sessions, &[Char('x')], Action::Revoke, "revoke the grant: asks first"),
    bind(Ask, &[Char('y')], Action::Yes, "yes, once the question has been on the screen for 0.4 s"),
    bind(Ask, &[Key(KeyCode::Esc), Char('n'), Key(KeyCode::Enter)], Action::Back, "back: nothing happens"),
    bind(Ask, &[Char('g')], Action::Grant, "grant…: approve calls like this one for a while"),
    bind(Ask, &[Key(KeyCode::Tab)], Action::Note, "a note or a reason, which the record keeps"),
    bind(Ask, &[Ctrl('r')], Action::Reject, "reject… instead"),
    bind(Ask, &[Ctrl('c')], Action::Quit, "quit"),
    bind(Type, &[Key(KeyCode::Tab), Key(KeyCode::Down)], Action::Forward, "next field or button"),
    bind(Type, &[Key(KeyCode::BackTab), Key(KeyCode::Up)], Action::Backward, "previous field or button"),
    bind(Type, ENTER, Action::Enter, "press the button; in a field that matches: go on to the next"),
    bind(Type, ERASE, Action::Erase, "erase a character"),
    bind(Type, &[Ctrl('u')], Action::Clear, "empty the field"),
    bind(Type, ESC, Action::Back, "back: the call stays held"),
    bind(Type, &[Ctrl('r')], Action::Reject, "reject… instead"),
    bind(Type, &[Ctrl('c')], Action::Quit, "quit"),
    bind(Note, &[Key(KeyCode::Enter), Key(KeyCode::Tab), Key(KeyCode::Esc)], Action::Back, "back to the question"),
    bind(Note, ERASE, Action::Erase, "erase a character"),
    bind(Note, &[Ctrl('u')], Action::Clear, "empty the line"),
    bind(Note, &[Ctrl('c')], Action::Quit, "quit"),
    bind(Grant, DOWN, Action::Next, "next argument"),
    bind(Grant, UP, Action::Previous, "previous argument"),
    bind(Grant, &[Char(' ')], Action::Toggle, "the argument may vary, or has to be the same"),
    bind(Grant, &[Char('+')], Action::More, "one call more"),
    bind(Grant, &[Char('-')], Action::Fewer, "one call fewer"),
    bind(Grant, &[Char('>')], Action::Longer, "five minutes longer"),
    bind(Grant, &[Char('<')], Action::Shorter, "five minutes shorter"),
    bind(Grant, ENTER, Action::Enter, "have the daemon write the grant; it is made by y, below its text"),
    bind(Grant, ESC, Action::Back, "back: the call stays held"),
    bind(Grant, &[Ctrl('c')], Action::Quit, "quit"),
    bind(Reason, &[Char('1')], Action::Preset(0), PRESETS[0]),
    bind(Reason, &[Char('2')], Action::Preset(1), PRESETS[1]),
    bind(Reason, &[Char('3')], Action::Preset(2), PRESETS[2]),
    bind(Reason, &[Char('4')], Action::Preset(3), PRESETS[3]),
    bind(Reason, &[Char('5')], Action::Preset(4), PRESETS[4]),
    bind(Reason, ENTER, Action::Enter, "send the reason: the call is rejected"),
    bind(Reason, ERASE, Action::Erase, "erase a character"),
    bind(Reason, &[Ctrl('u')], Action::Clear, "empty the field"),
    bind(Reason, ESC, Action::Back, "back: the call stays held"),
    bind(Reason, &[Ctrl('c')], Action::Quit, "quit"),
    bind(Filter, ENTER, Action::Enter, "use the filter"),
    bind(Filter, ERASE, Action::Erase, "erase a character"),
    bind(Filter, &[Ctrl('u')], Action::Clear, "empty the filter"),
    bind(Filter, ESC, Action::Back, "leave the filter as it was"),
    bind(Filter, &[Ctrl('c')], Action::Quit, "quit"),
    bind(Palette, ENTER, Action::Enter, "do what the key of the command does"),
    bind(Palette, &[Key(KeyCode::Down)], Action::Next, "next command"),
    bind(Palette, &[Key(KeyCode::Up)], Action::Previous, "previous command"),
    bind(Palette, ERASE, Action::Erase, "erase a character"),
    bind(Palette, &[Ctrl('u')], Action::Clear, "empty the line"),
    bind(Palette, ESC, Action::Back, "close"),
    bind(Palette, &[Ctrl('c')], Action::Quit, "quit"),
    bind(Read, DOWN, Action::LineDown, "one line down"),
    bind(Read, UP, Action::LineUp, "one line up"),
    bind(Read, &[Key(KeyCode::PageDown)], Action::PageDown, "one page down"),
    bind(Read, &[Key(KeyCode::PageUp)], Action::PageUp, "one page up"),
    bind(Read, &[Key(KeyCode::Esc), Char('q'), Char('?'), Key(KeyCode::Enter)], Action::Back, "close"),
    bind(Read, &[Ctrl('c')], Action::Quit, "quit"),
    bind(Notice, ESC, Action::Back, "close"),
    bind(Notice, &[Ctrl('c')], Action::Quit, "quit"),
];

/// Reasons at hand, while the field is empty.
pub const PRESETS: [&str; 5] = [
    "The amount or the quantity is wrong.",
    "The customer, account or target is wrong.",
    "This is not needed. Do not try it again.",
    "Not now. Ask the person you work for first.",
    "Use the test environment for this.",
];

/// The character that a key types, where it types one.
pub fn typed(key: &KeyEvent) -> Option<char> {
    let plain = key.modifiers.difference(KeyModifiers::SHIFT).is_empty();
    match key.code {
        KeyCode::Char(letter) if plain && key.kind == KeyEventKind::Press => Some(letter),
        _ => None,
    }
}
