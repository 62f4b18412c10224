//! The one table of keys: what `update` obeys, what the help screen and the operator's guide print.
//!
//! No key approves. `a` opens a question, and only the question's own gesture answers it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Where a key is pressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// The list with the detail of one hold.
    Main,
    /// The detail alone.
    Zoom,
    /// A question that `y` answers.
    Ask,
    /// A question that wants a value typed.
    Type,
    /// The reason of a rejection.
    Reason,
    /// A text to read: help, an explanation.
    Read,
}

impl Context {
    pub const ALL: [Context; 6] =
        [Context::Main, Context::Zoom, Context::Ask, Context::Type, Context::Reason, Context::Read];

    pub fn title(self) -> &'static str {
        match self {
            Context::Main => "List and detail",
            Context::Zoom => "Detail alone (beside all of the above)",
            Context::Ask => "Approve, tiers low and medium; quit",
            Context::Type => "Approve, tier high",
            Context::Reason => "Reject",
            Context::Read => "Help and notices",
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
    LineDown,
    LineUp,
    HalfDown,
    HalfUp,
    PageDown,
    PageUp,
    Unfold,
    Fold,
    Open,
    Back,
    Approve,
    Reject,
    Help,
    Redraw,
    Quit,
    Yes,
    Enter,
    Forward,
    Backward,
    Erase,
    Clear,
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
use Context::{Ask, Main, Read, Reason, Type, Zoom};

const ENTER: &[Chord] = &[Key(KeyCode::Enter)];
const ESC: &[Chord] = &[Key(KeyCode::Esc)];

/// All keys. The first row that matches counts.
pub const TABLE: &[Binding] = &[
    bind(Main, &[Char('j'), Key(KeyCode::Down)], "j ↓", Action::Next, "next hold"),
    bind(Main, &[Char('k'), Key(KeyCode::Up)], "k ↑", Action::Previous, "previous hold"),
    bind(Main, &[Char('g'), Key(KeyCode::Home)], "g Home", Action::First, "first hold"),
    bind(Main, &[Char('G'), Key(KeyCode::End)], "G End", Action::Last, "last hold"),
    bind(Main, &[Char('J')], "J", Action::LineDown, "detail: one line down"),
    bind(Main, &[Char('K')], "K", Action::LineUp, "detail: one line up"),
    bind(Main, &[Ctrl('d')], "Ctrl-d", Action::HalfDown, "detail: half a page down"),
    bind(Main, &[Ctrl('u')], "Ctrl-u", Action::HalfUp, "detail: half a page up"),
    bind(Main, &[Key(KeyCode::PageDown)], "PgDn", Action::PageDown, "detail: one page down"),
    bind(Main, &[Key(KeyCode::PageUp)], "PgUp", Action::PageUp, "detail: one page up"),
    bind(Main, &[Char('l'), Key(KeyCode::Right)], "l →", Action::Unfold, "detail: open what is folded"),
    bind(Main, &[Char('h'), Key(KeyCode::Left)], "h ←", Action::Fold, "detail: fold it again"),
    bind(Main, ENTER, "Enter", Action::Open, "detail alone"),
    bind(Main, ESC, "Esc", Action::Back, "back to the list"),
    bind(Main, &[Char('a')], "a", Action::Approve, "approve…: asks first, in the manner of the tier"),
    bind(Main, &[Char('r')], "r", Action::Reject, "reject…: asks for a reason that the agent reads"),
    bind(Main, &[Char('?')], "?", Action::Help, "this help"),
    bind(Main, &[Ctrl('l')], "Ctrl-l", Action::Redraw, "draw the screen again"),
    bind(
        Main,
        &[Char('q'), Ctrl('c')],
        "q Ctrl-c",
        Action::Quit,
        "quit: asks while holds wait and nobody else watches",
    ),
    bind(Zoom, &[Char('j'), Key(KeyCode::Down)], "j ↓", Action::LineDown, "one line down"),
    bind(Zoom, &[Char('k'), Key(KeyCode::Up)], "k ↑", Action::LineUp, "one line up"),
    bind(Zoom, &[Char(']')], "]", Action::Next, "next hold"),
    bind(Zoom, &[Char('[')], "[", Action::Previous, "previous hold"),
    bind(Ask, &[Char('y')], "y", Action::Yes, "yes, once the question has been on the screen for 0.4 s"),
    bind(
        Ask,
        &[Key(KeyCode::Esc), Char('n'), Key(KeyCode::Enter)],
        "Esc n Enter",
        Action::Back,
        "back: nothing happens",
    ),
    bind(Ask, &[Ctrl('r')], "Ctrl-r", Action::Reject, "reject… instead"),
    bind(Ask, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Type, &[Key(KeyCode::Tab), Key(KeyCode::Down)], "Tab ↓", Action::Forward, "next field or button"),
    bind(Type, &[Key(KeyCode::BackTab), Key(KeyCode::Up)], "S-Tab ↑", Action::Backward, "previous field or button"),
    bind(Type, ENTER, "Enter", Action::Enter, "press the button; in a field that matches: go on to the next"),
    bind(Type, &[Key(KeyCode::Backspace)], "Backspace", Action::Erase, "erase a character"),
    bind(Type, &[Ctrl('u')], "Ctrl-u", Action::Clear, "empty the field"),
    bind(Type, ESC, "Esc", Action::Back, "back: the call stays held"),
    bind(Type, &[Ctrl('r')], "Ctrl-r", Action::Reject, "reject… instead"),
    bind(Type, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Reason, &[Char('1')], "1", Action::Preset(0), PRESETS[0]),
    bind(Reason, &[Char('2')], "2", Action::Preset(1), PRESETS[1]),
    bind(Reason, &[Char('3')], "3", Action::Preset(2), PRESETS[2]),
    bind(Reason, &[Char('4')], "4", Action::Preset(3), PRESETS[3]),
    bind(Reason, &[Char('5')], "5", Action::Preset(4), PRESETS[4]),
    bind(Reason, ENTER, "Enter", Action::Enter, "send the reason: the call is rejected"),
    bind(Reason, &[Key(KeyCode::Backspace)], "Backspace", Action::Erase, "erase a character"),
    bind(Reason, &[Ctrl('u')], "Ctrl-u", Action::Clear, "empty the field"),
    bind(Reason, ESC, "Esc", Action::Back, "back: the call stays held"),
    bind(Reason, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
    bind(Read, &[Char('j'), Key(KeyCode::Down)], "j ↓", Action::LineDown, "one line down"),
    bind(Read, &[Char('k'), Key(KeyCode::Up)], "k ↑", Action::LineUp, "one line up"),
    bind(Read, &[Key(KeyCode::Esc), Char('q'), Char('?'), Key(KeyCode::Enter)], "Esc q ? Enter", Action::Back, "close"),
    bind(Read, &[Ctrl('c')], "Ctrl-c", Action::Quit, "quit"),
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
    match context {
        Context::Zoom => bound(Context::Zoom).or_else(|| bound(Context::Main)),
        other => bound(other),
    }
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
