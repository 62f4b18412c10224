//! The operator's own keys of the console: `keys.yaml`, read by the configuration's reader, judged by the console.

use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::{Path, PathBuf};

use crate::config::words::{self, Words};
use crate::config::{self, Code, ConfigError, Problem};
use crate::console::keymap::{Fault, Keymap, Wrong};

const FILE: &str = "keys.yaml";

/// The keys of this file, else of the one in the user's folder, where there is one.
///
/// # Errors
/// Where the file is not the operator's alone to change, and everything that is wrong in it.
pub fn load(named: Option<&Path>) -> Result<Keymap, ConfigError> {
    if let Some(path) = named {
        return judged(words::load(path)?);
    }
    let Some(path) = default_path() else { return Ok(Keymap::default()) };
    // Whatever cannot be looked at is there.
    match path.symlink_metadata() {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(Keymap::default()),
        Ok(_) | Err(_) => judged(words::load(&path)?),
    }
}

/// The file in the user's folder, which need not be there.
pub fn default_path() -> Option<PathBuf> {
    config::user_folder().map(|folder| folder.join(FILE))
}

fn judged(words: Words) -> Result<Keymap, ConfigError> {
    Keymap::of(&words.lines).map_err(|faults| words.refused(faults.into_iter().map(problem)))
}

fn problem(fault: Fault) -> Problem {
    let Fault { what, at, message, help, other } = fault;
    let code = match what {
        Wrong::Name => Code::UnknownKey,
        Wrong::Key => Code::Form,
        Wrong::Fixed => Code::Choice,
        Wrong::Twice => Code::Repeated,
    };
    Problem { code, span: at, message, help, other: other.map(|at| (at, "here too".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str) -> String {
        let read = words::parse(text, Path::new("/home/ana/keys.yaml")).and_then(judged);
        read.unwrap_err().to_string()
    }

    fn taken(text: &str) -> Keymap {
        words::parse(text, Path::new("/home/ana/keys.yaml")).and_then(judged).unwrap()
    }

    #[test]
    fn every_mistake_is_named_with_its_place_and_what_to_do() {
        let cases = [
            "freze: F8",
            "yes: x",
            "freeze: F8\nfreeze: F9",
            "freeze: F99",
            "freeze: [F8, F8]",
            "freeze: []",
            "freeze:",
            "freeze: ~",
            "freeze: { key: F8 }",
            "[freeze, F8]",
            "freeze: !x",
            "freeze: &a F8",
            "approve: Enter",
            "approve: Space",
            "approve: y",
            "approve: Tab",
            "approve: Ctrl-m",
            "reject: \"1\"",
            "next: y",
            "copy: \"?\"",
            "next: n",
            "next: F5\nprevious: F5",
            "zoom-next: a",
            "end: u",
            "freeze: F8\n--- \nfreeze: F9",
            "freeze: [F8",
            "\u{202e}freeze: F8",
        ];
        let shown: Vec<_> = cases.iter().map(|text| format!("{}\n\n", refused(text))).collect();
        insta::assert_snapshot!(shown.concat());
    }

    #[test]
    fn what_is_no_mistake_is_taken() {
        assert_eq!(taken(""), Keymap::default());
        assert_eq!(taken("# freeze: F8\n"), Keymap::default());
        for text in [
            "freeze: F8",
            "\u{feff}next: [s, Down]\nprevious: [d, Up]",
            "next: n\nnext-waiting: s",
            "approve: A",
            "copy: Y",
            "copy: [y, Y]",
            "queue: 5",
            "open: o\nopen-rule: O",
            "zoom-next: J",
            "commands: \"~\"",
        ] {
            assert_ne!(taken(text), Keymap::default(), "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_in_the_file_is_not_repeated() {
        let key = ["sk", "live", "51H0aBcDeFgHiJkLmNoPqRsTuVwXyZ"].join("_");
        for text in [format!("freeze: {key}"), format!("{key}: F8")] {
            assert!(!refused(&text).contains(&key[8..24]), "{}", refused(&text));
        }
    }
}
