//! The keys as they are in force: the table, with what the operator's file says of the actions of the screens.
//!
//! Invariants: a key inside a question means what the table says, and so do Enter, Space, Esc, Ctrl-c and `?`; a key that
//! a question knows opens none. So no file makes one key both ask and answer.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};

use super::chord::Chord;
use super::keys::{Action, Binding, Context, TABLE};
use super::visible;
use crate::call::meant;

/// These mean what the table says, whatever a file says.
const FIXED: [Chord; 5] =
    [Chord::Key(KeyCode::Enter), Chord::Key(KeyCode::Esc), Chord::Char(' '), Chord::Ctrl('c'), Chord::Char('?')];
/// It answers questions: whoever is used to pressing it for something else answers one some day.
const YES: Chord = Chord::Char('y');
/// Where a key may answer, change or leave a question.
const QUESTIONS: [Context; 5] = [Context::Ask, Context::Type, Context::Note, Context::Grant, Context::Reason];

static TABLED: LazyLock<Keymap> =
    LazyLock::new(|| Keymap(TABLE.iter().map(|row| Bound::new(row, row.chords)).collect()));

/// A row of the table with the keys that it has now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    pub context: Context,
    pub action: Action,
    pub does: &'static str,
    /// As printed, with blanks between them.
    pub keys: String,
    chords: Vec<Chord>,
}

impl Bound {
    fn new(row: &Binding, chords: &[Chord]) -> Bound {
        let names: Vec<_> = chords.iter().map(Chord::to_string).collect();
        let Binding { context, action, does, .. } = *row;
        Bound { context, action, does, keys: names.join(" "), chords: chords.to_vec() }
    }
}

/// All keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keymap(Arc<[Bound]>);

impl Default for Keymap {
    fn default() -> Keymap {
        TABLED.clone()
    }
}

/// A word of a file, and where it stands there, in bytes.
pub type Word = (Range<usize>, String);

/// Something that a file may not say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub what: Wrong,
    pub at: Range<usize>,
    pub message: String,
    pub help: String,
    /// Where the same key is given to something else.
    pub other: Option<Range<usize>>,
}

/// Which kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    Name,
    Key,
    Fixed,
    Twice,
}

impl Keymap {
    /// The table with the lines of a file: the name of an action, and all keys that it shall have.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn of(lines: &[(Word, Vec<Word>)]) -> Result<Keymap, Vec<Fault>> {
        let mut faults = Vec::new();
        for (name, words) in lines {
            judge(name, words, &mut faults);
        }
        let rows: Vec<_> = TABLE.iter().map(|row| Given::of(row, lines)).collect();
        for (n, row) in rows.iter().enumerate() {
            for other in rows.iter().skip(n + 1).filter(|other| meet(row.row, other.row)) {
                clash(row, other, &mut faults);
            }
        }
        if faults.is_empty() { Ok(Keymap(rows.iter().map(Given::bound).collect())) } else { Err(faults) }
    }

    /// What a key press means in a context; nothing for a key that is not bound, for a release and for a repeat.
    pub fn action(&self, context: Context, key: &KeyEvent) -> Option<Action> {
        if key.kind != KeyEventKind::Press {
            return None;
        }
        let bound = |context: Context| {
            self.rows(context).find(|row| row.chords.iter().any(|chord| chord.matches(key))).map(|row| row.action)
        };
        context.chain().find_map(bound)
    }

    /// The rows of one context.
    pub fn rows(&self, context: Context) -> impl Iterator<Item = &Bound> {
        self.0.iter().filter(move |row| row.context == context)
    }

    /// What can be asked for in a place, each thing once, the place's own first.
    pub fn commands(&self, context: Context) -> impl Iterator<Item = &Bound> {
        let mut known = vec![Action::Palette];
        let all = context.chain().flat_map(|context| self.rows(context));
        all.filter(move |row| {
            let is_new = !known.contains(&row.action);
            known.push(row.action);
            is_new
        })
    }

    /// The first key that an action has there; empty where it has none.
    pub fn key(&self, context: Context, action: Action) -> &str {
        let find = |context: Context| self.rows(context).find(|row| row.action == action);
        context.chain().find_map(find).and_then(|row| row.keys.split(' ').next()).unwrap_or_default()
    }

    /// The tables of the operator's guide.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for context in Context::ALL {
            let named = TABLE.iter().any(|row| row.context == context && row.name().is_some());
            let head = if named {
                "| Key | Name | What it does |\n|---|---|---|"
            } else {
                "| Key | What it does |\n|---|---|"
            };
            out.push_str(&format!("### {}\n\n{head}\n", context.title()));
            for (row, tabled) in self.0.iter().zip(TABLE).filter(|(row, _)| row.context == context) {
                let keys: Vec<_> = row.keys.split(' ').map(|key| format!("`{key}`")).collect();
                let name = tabled.name().map(|name| format!(" `{name}` |")).unwrap_or_default();
                out.push_str(&format!("| {} |{name} {} |\n", keys.join(" "), row.does));
            }
            out.push('\n');
        }
        out
    }
}

/// A row with the keys that it shall have, and where the file says so.
struct Given {
    row: &'static Binding,
    chords: Vec<(Chord, Option<Range<usize>>)>,
}

impl Given {
    fn of(row: &'static Binding, lines: &[(Word, Vec<Word>)]) -> Given {
        let asked = row.name().and_then(|name| lines.iter().find(|((_, other), _)| other == name));
        let is_fixed = |chord: &Chord| FIXED.contains(chord);
        let tabled = row.chords.iter().filter(|chord| asked.is_none() || is_fixed(chord)).map(|chord| (*chord, None));
        let words = asked.into_iter().flat_map(|(_, words)| words);
        let chords = words.filter_map(|(at, text)| Some((Chord::parse(text).ok()?, Some(at.clone()))));
        Given { row, chords: chords.chain(tabled).collect() }
    }

    fn bound(&self) -> Bound {
        let chords: Vec<_> = self.chords.iter().map(|(chord, _)| *chord).collect();
        Bound::new(self.row, &chords)
    }
}

/// A line by itself.
fn judge((at, name): &Word, words: &[Word], faults: &mut Vec<Fault>) {
    let mut fault = |what, at: &Range<usize>, message: String, help: String| {
        faults.push(Fault { what, at: at.clone(), message, help, other: None });
    };
    let shown = visible::capped(name, 40);
    let Some(row) = TABLE.iter().find(|row| row.name() == Some(name)) else {
        let help = match meant(name, TABLE.iter().filter_map(Binding::name)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "docs/console.md has the names; inside a question every key stays as it is".to_owned(),
        };
        return fault(Wrong::Name, at, format!("there is no action `{shown}` on any screen"), help);
    };
    if words.is_empty() {
        let help = "give it a key, or take the line out".to_owned();
        fault(Wrong::Key, at, format!("`{shown}` is left without a key"), help);
    }
    for (n, (at, text)) in words.iter().enumerate() {
        let key = visible::capped(text, 40);
        let chord = match Chord::parse(text) {
            Ok(chord) => chord,
            Err(help) => {
                fault(Wrong::Key, at, format!("`{key}` is no key that can be given"), help);
                continue;
            }
        };
        if FIXED.contains(&chord) {
            let help = "Enter, Space, Esc, Ctrl-c and ? do what they do, beside the keys of a file".to_owned();
            fault(Wrong::Fixed, at, format!("`{key}` cannot be given away"), help);
        } else if chord == YES && row.action != Action::Copy {
            let help = "y answers questions: on a screen it copies, or does nothing".to_owned();
            fault(Wrong::Fixed, at, format!("`{key}` cannot be given to `{shown}`"), help);
        } else if let Some(question) = row.action.asks().then(|| known_to(chord)).flatten() {
            let help = "the key that asks is never one that a question knows: take another".to_owned();
            let message = format!("`{key}` cannot be given to `{shown}`: it has a meaning in \"{}\"", question.title());
            fault(Wrong::Fixed, at, message, help);
        }
        if words.iter().take(n).any(|(_, other)| Chord::parse(other) == Ok(chord)) {
            fault(Wrong::Twice, at, format!("`{key}` is given to `{shown}` twice"), "keep one of the two".to_owned());
        }
    }
}

/// The question that a key has a meaning in.
fn known_to(chord: Chord) -> Option<Context> {
    let known = TABLE.iter().find(|row| QUESTIONS.contains(&row.context) && row.chords.contains(&chord));
    known.map(|row| row.context)
}

/// Whether a place obeys both rows: a narrower one hides what it binds itself.
fn meet(one: &Binding, other: &Binding) -> bool {
    let (one, other) =
        if one.context.chain().any(|context| context == other.context) { (one, other) } else { (other, one) };
    let mut narrower = one.context.chain().take_while(|context| *context != other.context);
    let hides = |context: Context| TABLE.iter().any(|row| row.context == context && row.action == other.action);
    let is_wider = one.context.chain().any(|context| context == other.context);
    is_wider && one.action != other.action && !narrower.any(hides)
}

fn clash(one: &Given, other: &Given, faults: &mut Vec<Fault>) {
    for (chord, first) in &one.chords {
        for (_, second) in other.chords.iter().filter(|(second, _)| second == chord) {
            let (at, rest) = match (first, second) {
                (Some(first), Some(second)) if first.start < second.start => (second, Some(first)),
                (Some(first), second) => (first, second.as_ref()),
                (None, Some(second)) => (second, None),
                // What the table itself says is tested.
                (None, None) => continue,
            };
            let (here, there) = if first.as_ref() == Some(at) { (one, other) } else { (other, one) };
            let (here, there) = (here.row.name().unwrap_or_default(), there.row.name().unwrap_or_default());
            let fault = Fault {
                what: Wrong::Twice,
                at: at.clone(),
                message: format!("`{chord}` is given to `{here}`, and it is the key of `{there}`"),
                help: match rest {
                    Some(_) => "keep one of the two".to_owned(),
                    None => format!("take another, or give `{there}` another one too"),
                },
                other: rest.cloned(),
            };
            // A key that it cannot have at all is reason enough; the same two may meet in several places.
            if faults.iter().all(|known| known.at != fault.at) {
                faults.push(fault);
            }
        }
    }
}

#[cfg(test)]
mod tests;
