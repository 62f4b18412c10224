//! The palette: the keys of a place by what they do, for whoever does not know them by heart.
//!
//! Invariant: a command does what its key does and nothing more. One that rules opens its question, as the key would, and
//! that question is answered by its own gesture.

use super::dialog::{Answer, Ready};
use super::keymap::{Bound, Keymap};
use super::keys::{Action, Context};

/// Longest text that is looked for, in characters.
const TEXT: usize = 60;

/// The palette while it is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Palette {
    /// Where the command would be obeyed.
    pub context: Context,
    pub keys: Keymap,
    pub text: String,
    /// The row of the command that Enter runs.
    pub cursor: usize,
}

impl Palette {
    pub fn new(context: Context, keys: Keymap) -> Palette {
        Palette { context, keys, text: String::new(), cursor: 0 }
    }

    /// The commands that have every word of the text, the best first.
    pub fn found(&self) -> Vec<&Bound> {
        let mut found: Vec<_> = self
            .keys
            .commands(self.context)
            .filter_map(|binding| Some((distance(&self.text, binding)?, binding)))
            .collect();
        found.sort_by_key(|(distance, _)| *distance);
        found.into_iter().map(|(_, binding)| binding).collect()
    }

    pub fn key(&mut self, action: Option<Action>, typed: Option<char>, ready: Ready) -> Answer {
        match action {
            Some(Action::Back) => return Answer::Close,
            Some(Action::Enter) => {
                return match self.found().get(self.cursor) {
                    None => Answer::Early("no command is called so"),
                    Some(_) if !ready.ruling => Answer::Early("not so fast: look at the command, then press Enter"),
                    Some(binding) => Answer::Run(binding.action),
                };
            }
            Some(Action::Next) => self.cursor = (self.cursor + 1).min(self.found().len().saturating_sub(1)),
            Some(Action::Previous) => self.cursor = self.cursor.saturating_sub(1),
            Some(Action::Erase) => {
                self.text.pop();
                self.cursor = 0;
            }
            Some(Action::Clear) => {
                self.text.clear();
                self.cursor = 0;
            }
            _ => {}
        }
        if let Some(letter) = typed.filter(|_| self.text.chars().count() < TEXT) {
            self.text.push(letter);
            self.cursor = 0;
        }
        Answer::Stay
    }
}

/// How far a command is from what is typed; nothing where a word of it is not in there. A word counts most as a key,
/// then as the start of a word, then as a part of one, then by its letters in their order.
fn distance(text: &str, binding: &Bound) -> Option<usize> {
    let does = binding.does.to_lowercase();
    let words = || does.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut sum = 0;
    for typed in text.split_whitespace() {
        let lower = typed.to_lowercase();
        let rank = if binding.keys.split(' ').any(|key| key == typed) {
            0
        } else if let Some(place) = words().position(|word| word.starts_with(&lower)) {
            1 + place.min(20)
        } else if words().any(|word| word.contains(&lower)) {
            30
        } else if words().any(|word| has_letters(word, &lower)) {
            40
        } else {
            return None;
        };
        sum += rank;
    }
    Some(sum)
}

fn has_letters(word: &str, letters: &str) -> bool {
    let mut rest = word.chars();
    letters.chars().all(|letter| rest.any(|other| other == letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Option<Action> {
        let palette = Palette { text: text.to_owned(), ..Palette::new(Context::Main, Keymap::default()) };
        palette.found().first().map(|binding| binding.action)
    }

    #[test]
    fn a_command_is_found_by_its_words_their_letters_and_its_key() {
        for (text, action) in [
            ("approve", Action::Approve),
            ("APPR", Action::Approve),
            ("reject pause", Action::RejectAndPause),
            ("frz", Action::Freeze),
            ("!", Action::Freeze),
            ("r", Action::Reject),
            ("claim", Action::Claim),
            ("hist oper", Action::SameTool),
            ("quit", Action::Quit),
        ] {
            assert_eq!(first(text), Some(action), "{text}");
        }
        assert_eq!(first("no such command"), None);
        let palette = Palette::new(Context::Main, Keymap::default());
        let all = palette.found();
        assert_eq!(all.first().map(|binding| binding.action), Some(Action::Next), "the place's own come first");
        assert!(all.iter().all(|binding| binding.action != Action::Palette));
    }
}
