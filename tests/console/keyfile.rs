//! Keys of the operator's own: what they do and how they are named on the screens, that none of them approves, and the
//! file that they stand in.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use countersign::call::Outcome;
use countersign::console::app::{Effect, Link, What};
use countersign::console::dialog::Dialog;
use countersign::console::keymap::{Keymap, Word};
use countersign::console::keys::{Page, TABLE};
use countersign::control::wire::{Daemon, Frozen, HoldState, HoldView, Notice, RulingKind};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;

use crate::fake::Fake;
use crate::keys::approves;
use crate::support::{A, B, C, Desk, SIZE, START, answers, daemon, gate, json, refund, sandbox, three};
use crate::terminal::{Pty, console_with, lately};

const SMALL: (u16, u16) = (60, 16);

fn keymap(lines: &[(&str, &str)]) -> Keymap {
    let word = |text: &str| (0..0, text.to_owned());
    let lines: Vec<_> = lines.iter().map(|(name, keys)| (word(name), keys.split(' ').map(word).collect())).collect();
    Keymap::of(&lines).unwrap()
}

/// Another key for nearly everything that a text names.
fn own() -> Keymap {
    keymap(&[
        ("approve", "A"),
        ("reject", "D"),
        ("unmark", "Z"),
        ("sort-in", "s"),
        ("unfold", "i Right"),
        ("take-back", "t"),
        ("view", "V"),
        ("wrap", "W"),
        ("line-down", "B"),
        ("page-down", "f"),
        ("freeze", "F8"),
        ("ticket", "F9"),
        ("quit", "Q"),
        ("help", "F1"),
        ("queue", "F5"),
    ])
}

fn desk(size: (u16, u16), holds: Vec<HoldView>, keys: Keymap) -> Desk {
    let mut desk = Desk::unconnected(size);
    desk.app.keys = keys;
    desk.link(Link::Up { number: 1, operator: "ana".to_owned(), daemon: daemon() });
    let asked = desk.news(Notice::Snapshot { seq: None, holds, daemon: daemon() });
    answers(&asked).into_iter().for_each(|notice| drop(desk.news(notice)));
    desk.draw();
    desk.wait(1000);
    desk
}

#[track_caller]
fn says(desk: &mut Desk, texts: &[&str]) {
    let screen = desk.screen();
    for text in texts {
        assert!(screen.contains(text), "{text:?} is not on\n{screen}");
    }
}

#[test]
fn what_a_text_names_is_the_key_that_does_it() {
    let long = HoldView { arguments: json(&format!("{{\"a\":[{}1]}}", "1,".repeat(3000))), ..gate(B) };
    let mut desk = desk((112, 30), vec![long, sandbox(C)], own());
    says(&mut desk, &["A approve…", "D reject…", "V view", "f read on", "F1 help", "folded, `i` opens"]);
    desk.key(KeyCode::Char('A'));
    assert!(desk.note().ends_with("read to the end first (f, B)"), "{}", desk.note());
    desk.key(KeyCode::Char('W'));
    says(&mut desk, &["W not wrapped"]);
    desk.key(KeyCode::Char('A'));
    assert!(desk.note().ends_with("(f, B; i goes to the right, W wraps long lines)"), "{}", desk.note());
    desk.key(KeyCode::Char('W'));
    desk.key(KeyCode::Char('V'));
    desk.key(KeyCode::Char('V'));
    desk.key(KeyCode::Char('A'));
    assert!(desk.note().contains("read the call first: V until"), "{}", desk.note());
    desk.key(KeyCode::Char('j'));
    desk.press(KeyCode::Char('A'));
    assert!(desk.note().ends_with("then press A"), "{}", desk.note());
    desk.key(KeyCode::Char(' '));
    assert!(desk.note().ends_with("A approves, D rejects, Z takes the marks off"), "{}", desk.note());
    desk.key(KeyCode::Char('Z'));
    desk.hold(refund(A));
    says(&mut desk, &["press s to sort in"]);
    let frozen = Some(Frozen { by: "ben".to_owned(), at: START.to_owned(), reason: None });
    desk.news(Notice::Daemon { daemon: Daemon { frozen, ..daemon() } });
    says(&mut desk, &["F8 thaws"]);
    let leaves = HoldState::Approved {
        by: "ana".to_owned(),
        at: START.to_owned(),
        leaves_at: Some("2026-11-21T14:12:00Z".to_owned()),
    };
    desk.hold(HoldView { state: leaves, ..sandbox(C) });
    says(&mut desk, &["t takes it back"]);
    desk.key(KeyCode::Char('?'));
    says(&mut desk, &["  t               take an approval back", "  F1 ?            this help"]);
    desk.key(KeyCode::Esc);
    desk.key(KeyCode::Char(':'));
    desk.letters("quit");
    says(&mut desk, &["> Q Ctrl-c    quit"]);
    desk.key(KeyCode::Esc);
    desk.resize(40, 10);
    says(&mut desk, &["Q quits."]);
    assert_eq!(desk.press(KeyCode::Char('q')), []);
    assert_eq!(desk.press(KeyCode::Char('Q')), [Effect::Quit]);
}

#[test]
fn a_late_approval_is_asked_for_by_the_key_that_the_hold_names() {
    let state = HoldState::Closed {
        outcome: Outcome::Expired,
        at: "2026-11-21T14:05:00Z".to_owned(),
        reason: "nobody ruled in time".to_owned(),
    };
    let mut desk = desk((112, 30), vec![HoldView { state, waiting: 0, ..gate(B) }], own());
    says(&mut desk, &["F9 or `countersign pending reopen`"]);
    assert!(matches!(desk.key(KeyCode::F(9))[..], [Effect::Send { .. }]), "{}", desk.note());
}

#[test]
fn a_moved_key_asks_and_the_question_is_answered_as_ever() {
    let mut desk = desk(SIZE, vec![sandbox(C)], own());
    desk.key(KeyCode::Char('f'));
    assert_eq!(desk.key(KeyCode::Char('a')), [], "it is nobody's");
    assert_eq!(desk.app.dialog, None);
    desk.key(KeyCode::Char('A'));
    assert!(matches!(desk.app.dialog, Some(Dialog::Approve(_))), "{}", desk.note());
    assert!(!approves(&desk.key(KeyCode::Char('A'))));
    assert!(approves(&desk.key(KeyCode::Char('y'))));
}

/// Every key that a file can name, and those that it cannot.
fn events() -> Vec<(String, KeyEvent)> {
    let codes = [
        ("Up", KeyCode::Up),
        ("Down", KeyCode::Down),
        ("Left", KeyCode::Left),
        ("Right", KeyCode::Right),
        ("Tab", KeyCode::Tab),
        ("S-Tab", KeyCode::BackTab),
        ("Home", KeyCode::Home),
        ("End", KeyCode::End),
        ("PgUp", KeyCode::PageUp),
        ("PgDn", KeyCode::PageDown),
        ("Insert", KeyCode::Insert),
        ("Delete", KeyCode::Delete),
        ("Backspace", KeyCode::Backspace),
        ("Enter", KeyCode::Enter),
        ("Esc", KeyCode::Esc),
        ("Space", KeyCode::Char(' ')),
        ("F1", KeyCode::F(1)),
        ("F12", KeyCode::F(12)),
    ];
    let plain = |name: &str, code| (name.to_owned(), KeyEvent::new(code, KeyModifiers::NONE));
    let mut all: Vec<_> = codes.into_iter().map(|(name, code)| plain(name, code)).collect();
    all.extend(('!'..='~').map(|letter| plain(&letter.to_string(), KeyCode::Char(letter))));
    let ctrl = |letter: char| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
    all.extend(('a'..='z').map(|letter| (format!("Ctrl-{letter}"), ctrl(letter))));
    all
}

/// Files that are taken, with a key of any kind for many actions; those that ask before anything else.
fn files() -> impl Strategy<Value = Vec<(Word, Vec<Word>)>> {
    let mut names: Vec<_> = TABLE.iter().filter_map(|row| row.name()).collect();
    names.extend(["approve"; 12].into_iter().chain(["ticket"; 6]).chain(["reject"; 4]).chain(["freeze"; 4]));
    let keys: Vec<_> = events().into_iter().map(|(name, _)| name).collect();
    let line = (prop::sample::select(names), prop::collection::vec(prop::sample::select(keys), 1..3));
    prop::collection::vec(line, 4..40).prop_map(|lines| {
        let mut taken: Vec<(Word, Vec<Word>)> = Vec::new();
        for (name, keys) in lines {
            let mut longer = taken.clone();
            longer.push(((0..0, name.to_owned()), keys.into_iter().map(|key| (0..0, key)).collect()));
            if taken.iter().all(|((_, other), _)| other != name) && Keymap::of(&longer).is_ok() {
                taken = longer;
            }
        }
        taken
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3) })]

    /// C1 for every file that is taken: a key that is pressed again and again, by somebody who looks, approves nothing.
    #[test]
    fn no_key_of_any_file_approves_by_being_pressed_again(file in files()) {
        let keys = Keymap::of(&file).unwrap();
        let client_gone = HoldView { waiting: 0, ..gate(B) };
        for hold in [sandbox(C), HoldView { grantable: true, ..gate(B) }, refund(A), client_gone] {
            for (name, event) in events() {
                let mut desk = Desk::new(SMALL, vec![hold.clone()]);
                desk.read_all();
                desk.app.keys = keys.clone();
                for _ in 0..5 {
                    desk.draw();
                    desk.wait(2000);
                    let effects = desk.step(What::Key(event));
                    prop_assert!(!approves(&effects), "{} on {}: {:?}", name, hold.tool, file);
                    answers(&effects).into_iter().for_each(|notice| drop(desk.news(notice)));
                    if desk.app.dialog.is_none() && desk.app.page != Page::Queue {
                        break;
                    }
                }
            }
        }
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_file_of_the_user_is_obeyed_in_a_terminal() {
    let fake = Fake::start(vec![lately(sandbox(C))]);
    write(&fake.dir().join("countersign/keys.yaml"), "approve: F6\nquit: [Q]\n", 0o600);
    let mut pty = console_with(&fake, |command| {
        command.env("XDG_CONFIG_HOME", fake.dir());
    });
    pty.until_text("F6 approve…");
    pty.look();
    pty.keys("a");
    pty.keys("\x1b[17~");
    pty.until_text("Approve stigg");
    pty.look();
    pty.keys("\x1b[17~");
    pty.look();
    assert_eq!(fake.rulings(), []);
    pty.keys("y");
    // The question is gone before the daemon has heard of it; what it answers comes after.
    pty.until_text("approved, the call is released");
    assert_eq!(fake.rulings(), [(C.to_owned(), RulingKind::Approve, None)]);
    pty.look();
    pty.keys("Q");
    assert_eq!(pty.ended(), 0);
}

#[test]
fn a_named_file_stands_before_that_of_the_user() {
    let fake = Fake::start(three());
    write(&fake.dir().join("countersign/keys.yaml"), "this is: not read: at all\n", 0o666);
    write(&fake.dir().join("mine.yaml"), "approve: F7\n", 0o644);
    let mut pty: Pty = console_with(&fake, |command| {
        command.env("XDG_CONFIG_HOME", fake.dir()).arg("--keys").arg(fake.dir().join("mine.yaml"));
    });
    pty.until_text("F7 approve…");
    pty.keys("\x03");
    pty.until_text("quit");
}

#[test]
fn no_console_without_a_file_that_can_be_taken() {
    let fake = Fake::start(three());
    let path = fake.dir().join("countersign/keys.yaml");
    let refused = |words: &str, more: &[&str]| {
        let mut pty = console_with(&fake, |command| {
            command.env("XDG_CONFIG_HOME", fake.dir()).args(more);
        });
        let unfolded = |screen: &str| screen.replace('\n', "");
        pty.until(words, |screen| unfolded(screen).contains(words));
        assert_eq!(pty.ended(), 2);
    };
    write(&path, "# mine\napprove: Enter\n", 0o600);
    refused("countersign/keys.yaml:2:10", &[]);
    refused("`Enter` cannot be given away", &[]);
    write(&path, "approve: A\n", 0o666);
    refused("can be changed by others (mode 0666)", &[]);
    refused("does not exist", &["--keys", "/nowhere/keys.yaml"]);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused("is not a regular file", &[]);
    let plain = console_with(&fake, |command| {
        command.env("XDG_CONFIG_HOME", fake.dir()).arg("--plain");
    });
    plain.until_text("Connected as ana");
}
