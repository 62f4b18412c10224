//! The one table of keys: what `update` obeys, what the help screen and the operator's guide print.
//!
//! No key approves. `a` opens a question, and only the question's own gesture answers it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

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
    /// The note of an approval.
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
            Context::Note => "The note of an approval",
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
    fn chain(self) -> impl Iterator<Item = Context> {
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
    chords: &'static [Chord],
    /// As printed.
    pub keys: &'static str,
    pub action: Action,
    pub does: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Chord {
    Key(KeyCode),
    Char(char),
    Ctrl(char),
}

impl Chord {
    fn matches(self, key: &KeyEvent) -> bool {
        let modifiers = key.modifiers.difference(KeyModifiers::SHIFT);
        match self {
            Chord::Key(code) => key.code == code && modifiers.is_empty(),
            Chord::Char(letter) => key.code == KeyCode::Char(letter) && modifiers.is_empty(),
            Chord::Ctrl(letter) => key.code == KeyCode::Char(letter) && modifiers == KeyModifiers::CONTROL,
        }
    }
}

const fn bind(
    context: Context,
    chords: &'static [Chord],
    keys: &'static str,
    action: Action,
    does: &'static str,
) -> Binding {
    Binding { context, chords, keys, action, does }
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
    bind(Any, &[Char('1')], "1", Action::Go(Page::Queue), "the queue"),
    bind(Any, &[Char('2')], "2", Action::Go(Page::History), "history: what is recorded"),
    bind(Any, &[Char('3')], "3", Action::Go(Page::Sessions), "sessions and grants"),
    bind(Any, &[Char('4')], "4", Action::Go(Page::Policy), "policy: what the rules did"),
    bind(Any, &[Key(KeyCode::Tab)], "Tab", Action::NextPage, "next screen"),
    bind(Any, &[Key(KeyCode::BackTab)], "S-Tab", Action::PreviousPage, "previous screen"),
    bind(Any, &[Char('u')], "u", Action::TakeBack, "take an approval back that has not left yet"),
    bind(
        Any,
        &[Char('!')],
        "!",
        Action::Freeze,
        "freeze: asks first; every call that is not a read is held, the queue is rejected; again: thaw",
    ),
    bind(Any, &[Char('m')], "m", Action::Mouse, "mouse off or on; it selects and scrolls and never rules"),
    bind(Any, &[Char('M')], "M", Action::Mute, "no bell for 15 min but for tier high; again: it rings"),
    bind(
        Any,
        &[Ctrl('z')],
        "Ctrl-z",
        Action::Suspend,
        "suspend the console: its shell comes back, and fg brings it again",
    ),
    bind(Any, &[Char('?')], "?", Action::Help, "this help"),
    bind(Any, &[Char(':')], ":", Action::Palette, "commands by their words: each does what its key does"),
    bind(Any, &[Char('E')], "E", Action::Export, "export the call, or the records of the history, into a file here"),
    bind(Any, &[Ctrl('l')], "Ctrl-l", Action::Redraw, "ask the daemon and draw the screen again"),
    bind(Any, &[Char('q'), Ctrl('c')], "q Ctrl-c", Action::Quit, "quit: asks while holds wait and nobody else watches"),
    bind(Main, DOWN, "j ↓", Action::Next, "next hold"),
    bind(Main, UP, "k ↑", Action::Previous, "previous hold"),
    bind(Main, FIRST, "g Home", Action::First, "first hold"),
    bind(Main, LAST, "G End", Action::Last, "last hold"),
    bind(Main, &[Char('n')], "n", Action::NextMatch, "next hold that waits"),
    bind(Main, &[Char('N')], "N", Action::PreviousMatch, "previous hold that waits"),
    bind(Main, &[Char('.')], ".", Action::SortIn, "sort the new holds in, by risk and time left"),
    bind(Main, &[Char('F')], "F", Action::Follow, "follow: while no key is pressed for 10 s, go to the riskiest hold"),
    bind(
        Main,
        &[Char('l'), Key(KeyCode::Right)],
        "l →",
        Action::Unfold,
        "open what is folded: a part of the detail, else the group; where lines are not wrapped, first to the right",
    ),
    bind(Main, &[Char('h'), Key(KeyCode::Left)], "h ←", Action::Fold, "fold it again; or back to the left"),
    bind(Main, &[Char('w')], "w", Action::Wrap, "wrap long lines of the detail, or not: h and l go along them then"),
    bind(Main, &[Char('/')], "/", Action::Filter, "filter the list"),
    bind(Main, &[Char('v')], "v", Action::View, "view: pretty, raw, diff, rule, session, result"),
    bind(Main, &[Char('p')], "p", Action::Rule, "view: the rule, and which of its lines held"),
    bind(Main, &[Char('o')], "o", Action::OpenRule, "open the rule in your editor (VISUAL, EDITOR)"),
    bind(
        Main,
        &[Char('e')],
        "e",
        Action::Draft,
        "draft a rule from this hold, and its test, in a folder that nobody loads, and open it in your editor",
    ),
    bind(Main, &[Char('H')], "H", Action::SameTool, "history: what was recorded of this operation"),
    bind(Main, &[Char('y')], "y", Action::Copy, "copy the id and the digest, where the terminal takes it"),
    bind(Main, &[Char('J')], "J", Action::LineDown, "detail: one line down"),
    bind(Main, &[Char('K')], "K", Action::LineUp, "detail: one line up"),
    bind(Main, &[Ctrl('d')], "Ctrl-d", Action::HalfDown, "detail: half a page down"),
    bind(Main, &[Ctrl('u')], "Ctrl-u", Action::HalfUp, "detail: half a page up"),
    bind(Main, &[Key(KeyCode::PageDown)], "PgDn", Action::PageDown, "detail: one page down"),
    bind(Main, &[Key(KeyCode::PageUp)], "PgUp", Action::PageUp, "detail: one page up"),
    bind(Main, ENTER, "Enter", Action::Open, "detail alone"),
    bind(Main, ESC, "Esc", Action::Back, "back to the list; there: clear the filter"),
    bind(Main, &[Char('a')], "a", Action::Approve, "approve…: asks first, in the manner of the tier"),
    bind(
        Main,
        &[Char('r')],
        "r",
        Action::Reject,
        "reject…: asks for a reason that the agent reads; all of a folded group",
    ),
    bind(Main, &[Char('R')], "R", Action::RejectAndPause, "reject… and pause the session"),
    bind(Main, &[Char('c')], "c", Action::Claim, "claim for 60 s: others see it; again: give it back"),
    bind(
        Main,
        &[Char('T')],
        "T",
        Action::Ticket,
        "ticket…: approve one retry, where the client is gone; what ended without a ruling waits again first",
    ),
    bind(
        Main,
        &[Char(' ')],
        "Space",
        Action::Mark,
        "mark it, or its folded group: a and r are about all that is marked",
    ),
    bind(Main, &[Char('U')], "U", Action::Unmark, "take the marks off"),
    bind(Zoom, DOWN, "j ↓", Action::LineDown, "one line down"),
    bind(Zoom, UP, "k ↑", Action::LineUp, "one line up"),
    bind(Zoom, &[Char(']')], "]", Action::Next, "next hold"),
    bind(Zoom, &[Char('[')], "[", Action::Previous, "previous hold"),
    bind(Pages, DOWN, "j ↓", Action::Next, "next row"),
    bind(Pages, UP, "k ↑", Action::Previous, "previous row"),
    bind(Pages, FIRST, "g Home", Action::First, "first row"),
    bind(Pages, LAST, "G End", Action::Last, "last row that is known"),
    bind(Pages, &[Key(KeyCode::PageDown), Ctrl('d')], "PgDn Ctrl-d", Action::PageDown, "one page down"),
    bind(Pages, &[Key(KeyCode::PageUp), Ctrl('u')], "PgUp Ctrl-u", Action::PageUp, "one page up"),
    bind(Pages, &[Char('J')], "J", Action::LineDown, "detail: one line down"),
    bind(Pages, &[Char('K')], "K", Action::LineUp, "detail: one line up"),
    bind(Pages, &[Char('o')], "o", Action::OpenRule, "policy: open the rule in your editor (VISUAL, EDITOR)"),
    bind(
        Pages,
        &[Char('T')],
        "T",
        Action::Ticket,
        "history: ticket…, in the queue, of the call that ended without a ruling",
    ),
    bind(Pages, &[Char('/')], "/", Action::Filter, "filter the list"),
    bind(Pages, ESC, "Esc", Action::Back, "clear the filter"),
    bind(Sessions, &[Char('P')], "P", Action::Pause, "pause the session, or resume it: asks first"),
    bind(Sessions, &[Char('X')], "X", Action::End, "end the session: asks first"),
    bind(Sessions, &[Char('x')], "x", Action::Revoke, "revoke the grant: asks first"),
    bind(Ask, &[Char('y')], "y", Action::Yes, "yes, once the question has been on the screen for 0.4 s"),
    bind(
        Ask,
        &[Key(KeyCode::Esc), Char('n'), Key(KeyCode::Enter)],
        "Esc n Enter",
        Action::Back,
        "back: nothing happens",
    ),
    bind(Ask, &[Char('g')], "g", Action::Grant, "grant…: approve calls like this one for a while"),
    bind(Ask, &[Key(KeyCode::Tab)], "Tab", Action::Note, "a note, which the record keeps"),
    bind(Ask, &[Ctrl('r')], "Ctrl-r", Action::Reject, "reject… instead"),
    bind(Ask, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Type, &[Key(KeyCode::Tab), Key(KeyCode::Down)], "Tab ↓", Action::Forward, "next field or button"),
    bind(Type, &[Key(KeyCode::BackTab), Key(KeyCode::Up)], "S-Tab ↑", Action::Backward, "previous field or button"),
    bind(Type, ENTER, "Enter", Action::Enter, "press the button; in a field that matches: go on to the next"),
    bind(Type, ERASE, "Backspace", Action::Erase, "erase a character"),
    bind(Type, &[Ctrl('u')], "Ctrl-u", Action::Clear, "empty the field"),
    bind(Type, ESC, "Esc", Action::Back, "back: the call stays held"),
    bind(Type, &[Ctrl('r')], "Ctrl-r", Action::Reject, "reject… instead"),
    bind(Type, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(
        Note,
        &[Key(KeyCode::Enter), Key(KeyCode::Tab), Key(KeyCode::Esc)],
        "Enter Tab Esc",
        Action::Back,
        "back to the question",
    ),
    bind(Note, ERASE, "Backspace", Action::Erase, "erase a character"),
    bind(Note, &[Ctrl('u')], "Ctrl-u", Action::Clear, "empty the note"),
    bind(Note, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Grant, DOWN, "j ↓", Action::Next, "next argument"),
    bind(Grant, UP, "k ↑", Action::Previous, "previous argument"),
    bind(Grant, &[Char(' ')], "Space", Action::Toggle, "the argument may vary, or has to be the same"),
    bind(Grant, &[Char('+')], "+", Action::More, "one call more"),
    bind(Grant, &[Char('-')], "-", Action::Fewer, "one call fewer"),
    bind(Grant, &[Char('>')], ">", Action::Longer, "five minutes longer"),
    bind(Grant, &[Char('<')], "<", Action::Shorter, "five minutes shorter"),
    bind(Grant, ENTER, "Enter", Action::Enter, "have the daemon write the grant; it is made by y, below its text"),
    bind(Grant, ESC, "Esc", Action::Back, "back: the call stays held"),
    bind(Grant, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Reason, &[Char('1')], "1", Action::Preset(0), PRESETS[0]),
    bind(Reason, &[Char('2')], "2", Action::Preset(1), PRESETS[1]),
    bind(Reason, &[Char('3')], "3", Action::Preset(2), PRESETS[2]),
    bind(Reason, &[Char('4')], "4", Action::Preset(3), PRESETS[3]),
    bind(Reason, &[Char('5')], "5", Action::Preset(4), PRESETS[4]),
    bind(Reason, ENTER, "Enter", Action::Enter, "send the reason: the call is rejected"),
    bind(Reason, ERASE, "Backspace", Action::Erase, "erase a character"),
    bind(Reason, &[Ctrl('u')], "Ctrl-u", Action::Clear, "empty the field"),
    bind(Reason, ESC, "Esc", Action::Back, "back: the call stays held"),
    bind(Reason, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Filter, ENTER, "Enter", Action::Enter, "use the filter"),
    bind(Filter, ERASE, "Backspace", Action::Erase, "erase a character"),
    bind(Filter, &[Ctrl('u')], "Ctrl-u", Action::Clear, "empty the filter"),
    bind(Filter, ESC, "Esc", Action::Back, "leave the filter as it was"),
    bind(Filter, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Palette, ENTER, "Enter", Action::Enter, "do what the key of the command does"),
    bind(Palette, &[Key(KeyCode::Down)], "↓", Action::Next, "next command"),
    bind(Palette, &[Key(KeyCode::Up)], "↑", Action::Previous, "previous command"),
    bind(Palette, ERASE, "Backspace", Action::Erase, "erase a character"),
    bind(Palette, &[Ctrl('u')], "Ctrl-u", Action::Clear, "empty the line"),
    bind(Palette, ESC, "Esc", Action::Back, "close"),
    bind(Palette, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Read, DOWN, "j ↓", Action::LineDown, "one line down"),
    bind(Read, UP, "k ↑", Action::LineUp, "one line up"),
    bind(Read, &[Key(KeyCode::PageDown)], "PgDn", Action::PageDown, "one page down"),
    bind(Read, &[Key(KeyCode::PageUp)], "PgUp", Action::PageUp, "one page up"),
    bind(Read, &[Key(KeyCode::Esc), Char('q'), Char('?'), Key(KeyCode::Enter)], "Esc q ? Enter", Action::Back, "close"),
    bind(Read, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Notice, ESC, "Esc", Action::Back, "close"),
    bind(Notice, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
];

/// Reasons at hand, while the field is empty.
pub const PRESETS: [&str; 5] = [
    "The amount or the quantity is wrong.",
    "The customer, account or target is wrong.",
    "This is not needed. Do not try it again.",
    "Not now. Ask the person you work for first.",
    "Use the test environment for this.",
];

/// What a key press means in a context; nothing for a key that is not bound, for a release and for a repeat.
pub fn action(context: Context, key: &KeyEvent) -> Option<Action> {
    if key.kind != KeyEventKind::Press {
        return None;
    }
    let bound = |context: Context| {
        TABLE
            .iter()
            .find(|binding| binding.context == context && binding.chords.iter().any(|chord| chord.matches(key)))
            .map(|binding| binding.action)
    };
    context.chain().find_map(bound)
}

/// What can be asked for in a place, each thing once, the place's own first.
pub fn commands(context: Context) -> impl Iterator<Item = &'static Binding> {
    let mut known = vec![Action::Palette];
    let all = context.chain().flat_map(|context| TABLE.iter().filter(move |binding| binding.context == context));
    all.filter(move |binding| {
        let is_new = !known.contains(&binding.action);
        known.push(binding.action);
        is_new
    })
}

/// The first key that the table prints for an action there.
pub fn shortest(context: Context, action: Action) -> Option<&'static str> {
    let find = |context: Context| TABLE.iter().find(|binding| binding.context == context && binding.action == action);
    context.chain().find_map(find)?.keys.split(' ').next()
}

/// The character that a key types, where it types one.
pub fn typed(key: &KeyEvent) -> Option<char> {
    let plain = key.modifiers.difference(KeyModifiers::SHIFT).is_empty();
    match key.code {
        KeyCode::Char(letter) if plain && key.kind == KeyEventKind::Press => Some(letter),
        _ => None,
    }
}

/// The table of the operator's guide.
pub fn markdown() -> String {
    let mut out = String::new();
    for context in Context::ALL {
        out.push_str(&format!("### {}\n\n| Key | What it does |\n|---|---|\n", context.title()));
        for binding in TABLE.iter().filter(|binding| binding.context == context) {
            let keys: Vec<_> = binding.keys.split(' ').map(|key| format!("`{key}`")).collect();
            out.push_str(&format!("| {} | {} |\n", keys.join(" "), binding.does));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_of_one_context_is_bound_twice() {
        for (n, binding) in TABLE.iter().enumerate() {
            for other in TABLE.iter().skip(n + 1).filter(|other| other.context == binding.context) {
                for chord in binding.chords {
                    let clash = other.chords.iter().any(|other| format!("{other:?}") == format!("{chord:?}"));
                    assert!(!clash, "{} and {} share {chord:?}", binding.does, other.does);
                }
            }
        }
    }

    #[test]
    fn releases_repeats_and_alt_are_nothing() {
        let mut key = KeyEvent::new(KeyCode::Char('a'), KeyModifiers::NONE);
        assert_eq!(action(Context::Main, &key), Some(Action::Approve));
        key.kind = KeyEventKind::Repeat;
        assert_eq!(action(Context::Main, &key), None);
        key.kind = KeyEventKind::Release;
        assert_eq!(action(Context::Main, &key), None);
        let alt = KeyEvent::new(KeyCode::Char('a'), KeyModifiers::ALT);
        assert_eq!((action(Context::Main, &alt), typed(&alt)), (None, None));
    }
}
