//! What no file can do to the keys.

use crossterm::event::KeyModifiers;
use proptest::prelude::*;

use super::*;
use crate::console::keys::Page;

const PLACES: [Context; 4] = [Context::Main, Context::Zoom, Context::Page, Context::Sessions];

fn press(chord: Chord) -> KeyEvent {
    match chord {
        Chord::Key(code) => KeyEvent::new(code, KeyModifiers::NONE),
        Chord::Char(letter) => KeyEvent::new(KeyCode::Char(letter), KeyModifiers::NONE),
        Chord::Ctrl(letter) => KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL),
    }
}

fn lines(text: &[(&str, &[&str])]) -> Vec<(Word, Vec<Word>)> {
    let word = |text: &str| (0..0, text.to_owned());
    text.iter().map(|(name, keys)| (word(name), keys.iter().map(|key| word(key)).collect())).collect()
}

/// Every key that can be named.
fn chords() -> Vec<Chord> {
    let mut all: Vec<_> = ('!'..='~').map(Chord::Char).chain(('a'..='z').map(Chord::Ctrl)).collect();
    let codes = "Up Down Left Right Tab S-Tab Home End PgUp PgDn Insert Delete Backspace Enter Esc Space F1 F5 F12";
    all.extend(codes.split(' ').map(|name| Chord::parse(name).unwrap()));
    all
}

#[test]
fn the_table_is_what_an_empty_file_says() {
    assert_eq!(Keymap::of(&[]), Ok(Keymap::default()));
}

#[test]
fn no_place_obeys_two_rows_of_the_table_by_one_key() {
    for (n, row) in TABLE.iter().enumerate() {
        for other in TABLE.iter().skip(n + 1).filter(|other| meet(row, other) || row.context == other.context) {
            let shared = row.chords.iter().find(|chord| other.chords.contains(chord));
            assert_eq!(shared, None, "{} and {}", row.does, other.does);
        }
    }
}

#[test]
fn releases_repeats_and_alt_are_nothing() {
    let keys = Keymap::default();
    let mut key = KeyEvent::new(KeyCode::Char('a'), KeyModifiers::NONE);
    assert_eq!(keys.action(Context::Main, &key), Some(Action::Approve));
    key.kind = KeyEventKind::Repeat;
    assert_eq!(keys.action(Context::Main, &key), None);
    key.kind = KeyEventKind::Release;
    assert_eq!(keys.action(Context::Main, &key), None);
    let alt = KeyEvent::new(KeyCode::Char('a'), KeyModifiers::ALT);
    assert_eq!((keys.action(Context::Main, &alt), crate::console::keys::typed(&alt)), (None, None));
}

#[test]
fn a_line_moves_its_action_in_every_place_and_frees_the_old_key() {
    let keys = Keymap::of(&lines(&[("next", &["s", "Down"]), ("quit", &["Q"]), ("queue", &["F1"])])).unwrap();
    let action = |context, text: &str| keys.action(context, &press(Chord::parse(text).unwrap()));
    for context in [Context::Main, Context::Page, Context::Sessions] {
        assert_eq!(action(context, "s"), Some(Action::Next));
        assert_eq!(action(context, "Down"), Some(Action::Next));
        assert_eq!(action(context, "j"), None);
        assert_eq!(keys.key(context, Action::Next), "s");
        assert_eq!(action(context, "F1"), Some(Action::Go(Page::Queue)));
        assert_eq!(action(context, "Q"), Some(Action::Quit));
        assert_eq!(action(context, "Ctrl-c"), Some(Action::Quit), "it stays");
        assert_eq!(action(context, "q"), None);
    }
    assert_eq!(action(Context::Zoom, "j"), Some(Action::LineDown), "a key of its own");
    assert_eq!(action(Context::Grant, "j"), Some(Action::Next), "inside of questions every key stays");
    assert_eq!(action(Context::Read, "q"), Some(Action::Back));
}

#[test]
fn names_are_words_and_each_is_one_action() {
    for row in TABLE {
        let Some(name) = row.name() else { continue };
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        for other in TABLE.iter().filter(|other| other.name() == Some(name)) {
            assert_eq!(other.action, row.action, "{name}");
        }
    }
}

/// Lines that name each action once, with keys of any kind; most of such files are refused.
fn files() -> impl Strategy<Value = Vec<(Word, Vec<Word>)>> {
    let mut names: Vec<_> = TABLE.iter().filter_map(Binding::name).collect();
    names.sort_unstable();
    names.dedup();
    let key = prop::sample::select(chords()).prop_map(|chord| (0..0, chord.to_string()));
    let line = (prop::sample::select(names), prop::collection::vec(key, 1..3));
    prop::collection::vec(line, 1..12).prop_map(|lines| {
        let mut taken: Vec<(Word, Vec<Word>)> = Vec::new();
        for (name, keys) in lines {
            let mut longer = taken.clone();
            longer.push(((0..0, name.to_owned()), keys));
            let is_new = taken.iter().all(|((_, other), _)| other != name);
            if is_new && Keymap::of(&longer).is_ok() {
                taken = longer;
            }
        }
        taken
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn no_file_makes_one_key_ask_and_answer(file in files()) {
        let (keys, table) = (Keymap::of(&file).unwrap(), Keymap::default());
        for chord in chords() {
            let key = press(chord);
            for context in Context::ALL.into_iter().filter(|context| !PLACES.contains(context) && *context != Context::Any) {
                prop_assert_eq!(keys.action(context, &key), table.action(context, &key), "{:?} {}", context, chord);
            }
            let known = QUESTIONS.iter().any(|context| table.action(*context, &key).is_some());
            for place in PLACES {
                let action = keys.action(place, &key);
                if FIXED.contains(&chord) {
                    prop_assert_eq!(action, table.action(place, &key), "{}", chord);
                } else if known {
                    prop_assert!(!action.is_some_and(Action::asks), "{} asks", chord);
                }
                if chord == YES {
                    prop_assert!(matches!(action, None | Some(Action::Copy)), "{:?}", action);
                }
                if let Some(action) = action {
                    let shown = keys.commands(place).any(|row| row.action == action && row.chords.contains(&chord));
                    prop_assert!(shown || action == Action::Palette || place == Context::Zoom, "{} is shown nowhere", chord);
                }
            }
        }
        for place in PLACES {
            for row in keys.commands(place) {
                let first = keys.key(place, row.action);
                let key = press(Chord::parse(first).unwrap());
                prop_assert_eq!(keys.action(place, &key), Some(row.action), "{} says {}", row.does, first);
            }
        }
    }
}
