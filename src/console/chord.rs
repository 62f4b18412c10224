//! One key as a table or a file names it.

use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::call::meant;

/// A key that is bound to something. Shift is part of a letter and of nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chord {
    Key(KeyCode),
    Char(char),
    Ctrl(char),
}

/// Keys by their names, each as it is printed first.
const NAMES: &[(&str, Chord)] = &[
    ("↑", Chord::Key(KeyCode::Up)),
    ("↓", Chord::Key(KeyCode::Down)),
    ("←", Chord::Key(KeyCode::Left)),
    ("→", Chord::Key(KeyCode::Right)),
    ("Up", Chord::Key(KeyCode::Up)),
    ("Down", Chord::Key(KeyCode::Down)),
    ("Left", Chord::Key(KeyCode::Left)),
    ("Right", Chord::Key(KeyCode::Right)),
    ("Tab", Chord::Key(KeyCode::Tab)),
    ("S-Tab", Chord::Key(KeyCode::BackTab)),
    ("Home", Chord::Key(KeyCode::Home)),
    ("End", Chord::Key(KeyCode::End)),
    ("PgUp", Chord::Key(KeyCode::PageUp)),
    ("PgDn", Chord::Key(KeyCode::PageDown)),
    ("Insert", Chord::Key(KeyCode::Insert)),
    ("Delete", Chord::Key(KeyCode::Delete)),
    ("Backspace", Chord::Key(KeyCode::Backspace)),
    ("Enter", Chord::Key(KeyCode::Enter)),
    ("Esc", Chord::Key(KeyCode::Esc)),
    ("Space", Chord::Char(' ')),
];

/// What a file may name beside the names: for the help of errors.
pub const FORMS: &str = "a key is one ASCII character, Ctrl-a to Ctrl-z, F1 to F12, Up, Down, Left, Right, Tab, S-Tab, \
                         Home, End, PgUp, PgDn, Insert, Delete or Backspace";

impl Chord {
    pub fn matches(self, key: &KeyEvent) -> bool {
        let modifiers = key.modifiers.difference(KeyModifiers::SHIFT);
        match self {
            Chord::Key(code) => key.code == code && modifiers.is_empty(),
            Chord::Char(letter) => key.code == KeyCode::Char(letter) && modifiers.is_empty(),
            Chord::Ctrl(letter) => key.code == KeyCode::Char(letter) && modifiers == KeyModifiers::CONTROL,
        }
    }

    /// The key of this name, as it is printed or spelled out.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Chord, String> {
        if let Some((_, chord)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*chord);
        }
        let mut letters = text.chars();
        if let (Some(letter @ '!'..='~'), None) = (letters.next(), letters.next()) {
            return Ok(Chord::Char(letter));
        }
        let one = |rest: &str| rest.parse::<char>().ok();
        match text.strip_prefix("Ctrl-").and_then(one) {
            // To a terminal these are Backspace, Tab and Enter.
            Some(letter @ ('h' | 'i' | 'j' | 'm')) => {
                return Err(format!("take another letter: many terminals send Ctrl-{letter} for another key"));
            }
            Some(letter @ 'a'..='z') => return Ok(Chord::Ctrl(letter)),
            Some(_) | None => {}
        }
        let number = text.strip_prefix('F').filter(|digits| !digits.starts_with(['0', '+']));
        if let Some(number @ 1..=12) = number.and_then(|digits| digits.parse().ok()) {
            return Ok(Chord::Key(KeyCode::F(number)));
        }
        Err(match meant(text, NAMES.iter().map(|(name, _)| *name)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => FORMS.to_owned(),
        })
    }
}

/// As it is printed on the screen and in the guide.
impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = NAMES.iter().find(|(_, chord)| chord == self) {
            return f.write_str(name);
        }
        match self {
            Chord::Char(letter) => write!(f, "{letter}"),
            Chord::Ctrl(letter) => write!(f, "Ctrl-{letter}"),
            Chord::Key(code) => write!(f, "{code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_written() {
        let letters = ('!'..='~').map(Chord::Char);
        let ctrl = ('a'..='z').filter(|letter| !"hijm".contains(*letter)).map(Chord::Ctrl);
        let numbered = (1..=12).map(|n| Chord::Key(KeyCode::F(n)));
        for chord in letters.chain(ctrl).chain(numbered).chain(NAMES.iter().map(|(_, chord)| *chord)) {
            assert_eq!(Chord::parse(&chord.to_string()), Ok(chord));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in
            ["", " ", "aa", "ä", "у", "Ctrl-", "Ctrl-A", "Ctrl-1", "Ctrl-ab", "F0", "F13", "F01", "F+1", "Alt-x"]
        {
            assert!(Chord::parse(text).is_err(), "{text}");
        }
        for letter in ["h", "i", "j", "m"] {
            assert!(Chord::parse(&format!("Ctrl-{letter}")).is_err_and(|help| help.contains("another letter")));
        }
        assert_eq!(Chord::parse("down"), Err("did you mean `Down`?".to_owned()));
    }
}
