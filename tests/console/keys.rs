//! C1, whole: no key, no mouse and no paste, alone or again and again, approves anything in any place of the console.

use countersign::console::app::{Effect, What};
use countersign::console::dialog::Dialog;
use countersign::console::keys::Page;
use countersign::control::wire::{Command, HoldView, RulingKind};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use crate::support::{A, B, C, Desk, SIZE, answers, gate, refund, sandbox};

/// As small as the console gets, so that many frames are quick.
const SMALL: (u16, u16) = (60, 16);

/// Every code that a terminal may report, with a few letters of other alphabets.
fn codes() -> Vec<KeyCode> {
    let mut codes = vec![
        KeyCode::Backspace,
        KeyCode::Enter,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Delete,
        KeyCode::Insert,
        KeyCode::Null,
        KeyCode::Esc,
        KeyCode::CapsLock,
        KeyCode::ScrollLock,
        KeyCode::NumLock,
        KeyCode::PrintScreen,
        KeyCode::Pause,
        KeyCode::Menu,
        KeyCode::KeypadBegin,
    ];
    codes.extend((1..=24).map(KeyCode::F));
    codes.extend((' '..='~').chain(['ä', 'у', 'ｙ', '\u{7f}', '\r']).map(KeyCode::Char));
    codes
}

const MODIFIERS: [KeyModifiers; 4] =
    [KeyModifiers::NONE, KeyModifiers::SHIFT, KeyModifiers::CONTROL, KeyModifiers::ALT];

/// Whether anything among these lets a call pass.
pub fn approves(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Send { command, .. } => match command {
            Command::Rule { ruling, .. } => *ruling == RulingKind::Approve,
            Command::RuleBatch { .. } | Command::Grant { .. } => true,
            _ => false,
        },
        Effect::Sign { .. } => true,
        Effect::Quit
        | Effect::Redraw
        | Effect::Bell
        | Effect::Mouse(_)
        | Effect::Copy(_)
        | Effect::Edit { .. }
        | Effect::Export { .. }
        | Effect::Draft { .. }
        | Effect::Suspend => false,
    })
}

/// A hold that a grant may be made of.
fn grantable(id: &str) -> HoldView {
    HoldView { grantable: true, ..gate(id) }
}

fn press(desk: &mut Desk, keys: &[KeyCode]) {
    for key in keys {
        let effects = desk.key(*key);
        assert!(!approves(&effects), "{key:?}");
        answers(&effects).into_iter().for_each(|notice| drop(desk.news(notice)));
    }
}

fn on(page: Page) -> KeyCode {
    KeyCode::Char(match page {
        Page::Queue => '1',
        Page::History => '2',
        Page::Sessions => '3',
        Page::Policy => '4',
    })
}

/// Every place of the console in which a key may be pressed, as the keys that lead there, and the key that answers its
/// question where a single one does: `y` below a question that another key has opened, Enter where the value is typed
/// already.
fn places() -> Vec<(&'static str, HoldView, Vec<KeyCode>, Option<KeyCode>)> {
    let a = KeyCode::Char('a');
    let letters = |text: &str| -> Vec<KeyCode> { text.chars().map(KeyCode::Char).collect() };
    vec![
        ("queue, low", sandbox(C), vec![], None),
        ("queue, medium", gate(B), vec![], None),
        ("queue, high", refund(A), vec![], None),
        ("zoom", sandbox(C), vec![KeyCode::Enter], None),
        ("raw", sandbox(C), letters("v"), None),
        ("diff", sandbox(C), letters("vv"), None),
        ("history", sandbox(C), vec![on(Page::History)], None),
        ("sessions", sandbox(C), vec![on(Page::Sessions)], None),
        ("policy", sandbox(C), vec![on(Page::Policy)], None),
        ("ask, low", sandbox(C), vec![a], Some(KeyCode::Char('y'))),
        ("ask, medium", gate(B), vec![a], Some(KeyCode::Char('y'))),
        ("note", gate(B), vec![a, KeyCode::Tab], None),
        ("type", refund(A), vec![a], None),
        ("type, part of the value", refund(A), [vec![a], letters("12500")].concat(), None),
        (
            "type, in the note",
            refund(A),
            [vec![a], letters("125000"), vec![KeyCode::Tab, KeyCode::Tab]].concat(),
            Some(KeyCode::Enter),
        ),
        ("grant, bounds", grantable(B), [vec![a], letters("g")].concat(), None),
        (
            "grant, its text",
            grantable(B),
            [vec![a], letters("g"), vec![KeyCode::Enter]].concat(),
            Some(KeyCode::Char('y')),
        ),
        ("reject", refund(A), letters("r"), None),
        ("reject and pause", refund(A), letters("R"), None),
        ("freeze", refund(A), letters("!"), None),
        ("filter", refund(A), letters("/"), None),
        ("commands", sandbox(C), letters(":"), None),
        ("commands, approve", sandbox(C), letters(":approve"), None),
        (
            "commands, approve, asked",
            sandbox(C),
            [letters(":approve"), vec![KeyCode::Enter]].concat(),
            Some(KeyCode::Char('y')),
        ),
        ("help", refund(A), letters("?"), None),
        ("quit", refund(A), letters("q"), None),
    ]
}

fn at(place: &(&'static str, HoldView, Vec<KeyCode>, Option<KeyCode>)) -> Desk {
    let mut desk = Desk::new(SMALL, vec![place.1.clone()]);
    desk.read_all();
    press(&mut desk, &place.2);
    desk.draw();
    desk.wait(2000);
    desk
}

/// Where the console is, as far as a key can change it.
fn state(desk: &Desk) -> String {
    let app = &desk.app;
    let open = app.open.as_ref().map(|open| (open.scroll, open.tab));
    format!(
        "{:?}",
        (&app.dialog, app.page, app.tab, app.zoom, &app.selected, &app.filter.text, app.follow, open, app.armed())
    )
}

/// Every key with every modifier, in every place: a single press approves nothing, but for the answer to a question
/// that another key had to open.
#[test]
fn no_single_key_approves_in_any_place() {
    for place in &places() {
        let mut desk = at(place);
        let before = state(&desk);
        for code in codes() {
            for modifiers in MODIFIERS {
                let answer = place.3 == Some(code);
                if answer && modifiers.difference(KeyModifiers::SHIFT).is_empty() {
                    continue;
                }
                let effects = desk.step(What::Key(KeyEvent::new(code, modifiers)));
                assert!(!approves(&effects), "{}: {code:?} {modifiers:?}", place.0);
                if state(&desk) == before {
                    // As if it had not been pressed, but for the quiet after one that came too early.
                    desk.wait(2000);
                } else {
                    desk = at(place);
                }
            }
        }
    }
}

/// The same key again and again, by somebody who looks each time.
#[test]
fn no_key_approves_by_being_pressed_again() {
    for place in &places() {
        for code in codes().into_iter().filter(|code| Some(*code) != place.3) {
            let mut desk = at(place);
            for _ in 0..3 {
                let effects = desk.key(code);
                assert!(!approves(&effects), "{}: {code:?}", place.0);
            }
        }
    }
}

/// The answer itself counts in no question that has just come up, whatever it is about.
#[test]
fn no_answer_is_older_than_its_question() {
    for place in places().iter().filter(|place| place.3 == Some(KeyCode::Char('y'))) {
        let mut desk = at(place);
        let (last, first) = place.2.split_last().unwrap();
        // Again, up to the key that asks; then the answer in the same burst.
        desk.key(KeyCode::Esc);
        press(&mut desk, first);
        let effects = desk.key(*last);
        answers(&effects).into_iter().for_each(|notice| drop(desk.news(notice)));
        let effects = desk.press(KeyCode::Char('y'));
        assert!(!approves(&effects), "{}", place.0);
        desk.draw();
        desk.wait(399);
        assert!(!approves(&desk.press(KeyCode::Char('y'))), "{}", place.0);
    }
}

#[test]
fn a_paste_approves_in_no_place() {
    for place in &places() {
        for text in ["y", "\r", "y\r\ny", "125000\t\r", "ay\r", "\u{1b}y"] {
            let mut desk = at(place);
            let effects = desk.step(What::Paste(text.to_owned()));
            assert!(!approves(&effects), "{}: {text:?}", place.0);
            let fields = |desk: &Desk| match &desk.app.dialog {
                Some(Dialog::Approve(question)) => question.fields.iter().map(|field| field.typed.clone()).collect(),
                _ => Vec::new(),
            };
            let before = fields(&at(place));
            assert_eq!(fields(&desk), before, "{}: no value is pasted", place.0);
        }
    }
}

fn mouse(kind: MouseEventKind, column: u16, row: u16) -> What {
    What::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
}

/// Every button in every cell, in every place: nothing is approved or rejected, and no question opens or closes by it.
#[test]
fn the_mouse_never_rules() {
    let kinds = [
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::Up(MouseButton::Left),
        MouseEventKind::Down(MouseButton::Right),
        MouseEventKind::Down(MouseButton::Middle),
        MouseEventKind::Drag(MouseButton::Left),
        MouseEventKind::ScrollDown,
        MouseEventKind::ScrollUp,
    ];
    for place in &places() {
        let mut desk = at(place);
        let dialog = desk.app.dialog.clone();
        for row in 0..SMALL.1 {
            for column in (0..SMALL.0).step_by(3) {
                for kind in kinds {
                    let effects = desk.step(mouse(kind, column, row));
                    let rules = effects.iter().any(|effect| match effect {
                        Effect::Send { command, .. } => command.changes().is_some(),
                        Effect::Sign { .. } | Effect::Quit | Effect::Copy(_) | Effect::Suspend => true,
                        Effect::Edit { .. } | Effect::Export { .. } | Effect::Draft { .. } => true,
                        Effect::Redraw | Effect::Bell | Effect::Mouse(_) => false,
                    });
                    assert!(!rules, "{}: {kind:?} {column} {row}", place.0);
                    assert_eq!(desk.app.dialog, dialog, "{}: {kind:?} {column} {row}", place.0);
                }
            }
        }
    }
}

/// It selects, it changes screens, and what it selects has to be looked at as after a key.
#[test]
fn the_mouse_selects_and_changes_screens() {
    let mut desk = Desk::new(SIZE, vec![refund(A), gate(B), sandbox(C)]);
    let screen = desk.screen();
    let row = u16::try_from(screen.lines().position(|line| line.contains("H7K5T6")).unwrap()).unwrap();
    desk.step(mouse(MouseEventKind::Down(MouseButton::Left), 30, row));
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), C);
    desk.press(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    assert!(desk.note().contains("not so fast"), "{}", desk.note());

    let column = u16::try_from(screen.lines().next().unwrap().find("3 Sessions").unwrap()).unwrap();
    desk.step(mouse(MouseEventKind::Down(MouseButton::Left), column, 0));
    assert_eq!(desk.app.page, Page::Sessions);
    assert_eq!(desk.key(KeyCode::Char('m')), [Effect::Mouse(false)]);
    desk.step(mouse(MouseEventKind::Down(MouseButton::Left), 2, 0));
    assert_eq!(desk.app.page, Page::Sessions, "it is off");
}
