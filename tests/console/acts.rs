//! Whatever happens at a desk, in whatever order: a ruling comes from an open question and from nothing else.

use countersign::console::app::{Effect, Link, State, What};
use countersign::console::dialog::Dialog;
use countersign::control::wire::{HoldView, Notice, RulingKind};
use crossterm::event::KeyCode;
use proptest::prelude::*;

use crate::support::{Desk, SIZE, daemon, gate, json, refund, rejected, rulings, sandbox};

/// Anything that may happen to a desk.
#[derive(Clone, Debug)]
enum Act {
    Key(KeyCode),
    Ctrl(char),
    Wait(u64),
    Draw,
    Paste,
    Resize(u16, u16),
    Hold(usize),
    End(usize),
    Change(usize),
    Snapshot,
    Down,
    Up,
}

fn any_act() -> impl Strategy<Value = Act> {
    let key = prop_oneof![
        4 => prop::sample::select(vec!['a', 'r', 'y', 'j', 'k', 'J', 'q', '?', '1', '2', '5', '0', 'n'])
            .prop_map(KeyCode::Char),
        2 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Tab, KeyCode::Esc, KeyCode::PageDown, KeyCode::Backspace, KeyCode::Char(' ')
        ]),
    ];
    prop_oneof![
        12 => key.prop_map(Act::Key),
        1 => prop::sample::select(vec!['c', 'r', 'u', 'd']).prop_map(Act::Ctrl),
        6 => prop::sample::select(vec![10, 399, 401, 1001, 20_000]).prop_map(Act::Wait),
        8 => Just(Act::Draw),
        1 => Just(Act::Paste),
        1 => (40_u16..140, 10_u16..50).prop_map(|(width, height)| Act::Resize(width, height)),
        2 => (0..6_usize).prop_map(Act::Hold),
        1 => (0..6_usize).prop_map(Act::End),
        1 => (0..6_usize).prop_map(Act::Change),
        1 => Just(Act::Snapshot),
        1 => Just(Act::Down),
        2 => Just(Act::Up),
    ]
}

fn nth(n: usize) -> HoldView {
    let id = format!("00000000000{n}");
    match n % 3 {
        0 => refund(&id),
        1 => gate(&id),
        _ => sandbox(&id),
    }
}

fn apply(desk: &mut Desk, act: Act) -> Vec<Effect> {
    match act {
        Act::Key(code) => desk.press(code),
        Act::Ctrl(letter) => desk.ctrl(letter),
        Act::Wait(millis) => {
            desk.wait(millis);
            Vec::new()
        }
        Act::Draw => {
            desk.draw();
            Vec::new()
        }
        Act::Paste => desk.step(What::Paste("125000\ty\r".to_owned())),
        Act::Resize(width, height) => {
            desk.resize(width, height);
            Vec::new()
        }
        Act::Hold(n) => desk.hold(nth(n)),
        Act::End(n) => desk.hold(rejected(nth(n), "no")),
        Act::Change(n) => desk.hold(HoldView { arguments: json(r#"{"other":1}"#), ..nth(n) }),
        Act::Snapshot => desk.news(Notice::Snapshot { seq: None, holds: (0..4).map(nth).collect(), daemon: daemon() }),
        Act::Down => desk.link(Link::Down { why: "gone".to_owned() }),
        Act::Up => {
            desk.link(Link::Up { number: 2, operator: "ana".to_owned(), daemon: daemon() });
            desk.news(Notice::Snapshot { seq: None, holds: (0..4).map(nth).collect(), daemon: daemon() })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: a ruling is made by a key, of an open question about the selected, pending
    /// hold that was on the screen, whole; and drawing never fails.
    #[test]
    fn rulings_only_come_from_an_open_question(acts in prop::collection::vec(any_act(), 1..120)) {
        let mut desk = Desk::new(SIZE, (0..4).map(nth).collect());
        for act in acts {
            let before = desk.app.dialog.clone();
            let (seen, must) = desk.app.seen();
            let live = desk.app.state == State::Live;
            let is_key = matches!(act, Act::Key(_));
            let effects = apply(&mut desk, act);
            for (id, ruling, _) in rulings(&effects) {
                // A ruling is about what its question named.
                let mut asked: Vec<_> = before.iter().flat_map(|asked| asked.holds()).map(ToString::to_string).collect();
                if let Some(Dialog::Reject(question)) = &before {
                    asked.extend(question.others.iter().map(|(id, _)| id.to_string()));
                }
                prop_assert!(is_key && live);
                prop_assert!(asked.contains(&id));
                let entry = desk.app.holds.get(&id.parse().unwrap()).unwrap();
                prop_assert!(entry.is_pending());
                if ruling == RulingKind::Approve {
                    match &before {
                        Some(Dialog::Batch(batch)) => prop_assert!(batch.fits),
                        Some(Dialog::Approve(_)) => prop_assert_eq!(seen, must),
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
            }
        }
        desk.draw();
    }
}
