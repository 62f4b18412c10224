//! What every question has: the time that is left, and a reason where the daemon takes one.

use countersign::console::app::What;
use countersign::console::describe;
use countersign::control::wire::{Claimed, Command, HoldView};
use crossterm::event::KeyCode;

use crate::support::{A, B, C, Desk, SIZE, START, gate, refund, sandbox, sent, three};

/// Why something is stopped goes with it, and no letter of it is an answer.
#[test]
fn a_stop_carries_its_reason() {
    let mut desk = Desk::new(SIZE, three());
    desk.key(KeyCode::Char('!'));
    desk.key(KeyCode::Tab);
    assert_eq!(desk.letters("yes, incident 7"), []);
    assert!(desk.screen().contains("Reason: yes, incident 7_"), "{}", desk.screen());
    desk.press(KeyCode::Enter);
    assert_eq!(desk.press(KeyCode::Char('y')), [], "too early");
    let freeze = sent(&desk.key(KeyCode::Char('y')));
    assert!(
        matches!(&freeze[..], [Command::Freeze { on: true, reason: Some(reason), .. }] if reason == "yes, incident 7"),
        "{freeze:?}"
    );
    for (key, row) in [('P', 0), ('X', 0), ('x', 9)] {
        let mut desk = Desk::new(SIZE, three());
        desk.key_and_answers(KeyCode::Char('3'));
        for _ in 0..row {
            desk.key(KeyCode::Down);
        }
        desk.key(KeyCode::Char(key));
        desk.key(KeyCode::Tab);
        desk.step(What::Paste("a paste\n".to_owned()));
        desk.key(KeyCode::Esc);
        assert!(desk.app.dialog.is_some(), "{key}: back to the question");
        let done = sent(&desk.key(KeyCode::Char('y')));
        let reason = match &done[..] {
            [Command::RuleSession { reason, .. } | Command::RevokeGrant { reason, .. }] => reason.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(reason.as_deref(), Some("a paste"), "{key}");
    }
    // A take-over has no reason.
    let (at, until) = (START.to_owned(), "2026-11-21T14:08:31Z".to_owned());
    let claimed = Some(Claimed { by: "ben".to_owned(), at, until });
    let mut desk = Desk::new(SIZE, vec![HoldView { claimed, ..sandbox(C) }]);
    desk.key(KeyCode::Char('c'));
    desk.key(KeyCode::Tab);
    assert!(matches!(sent(&desk.key(KeyCode::Char('y')))[..], [Command::Claim { steal: true, .. }]));
}

/// The time that is left is in every question about a hold, at every size.
#[test]
fn a_question_says_the_time_that_is_left() {
    let client_waits_until = Some("2026-11-21T14:09:22Z".to_owned());
    for size in [(60, 16), (80, 24), (120, 40)] {
        for hold in [refund(A), gate(B), HoldView { grantable: true, ..gate(B) }] {
            let mut desk = Desk::new(size, vec![HoldView { client_waits_until: client_waits_until.clone(), ..hold }]);
            desk.read_all();
            desk.key(KeyCode::Char('a'));
            let screen = desk.screen();
            let boxed: String = screen.lines().skip_while(|line| !line.contains("APPROVE")).collect();
            let left = describe::clocks(desk.app.selected().unwrap(), desk.app.now.wall);
            assert!(boxed.contains(&left) && left.contains("client ~01:"), "{left} {size:?}\n{screen}");
        }
        let mut desk = Desk::new(size, vec![sandbox(C)]);
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        let left = describe::left(desk.app.selected().unwrap().seconds_left(desk.app.now.wall));
        let screen = desk.screen();
        let line = screen.lines().find(|line| line.contains("y/N")).unwrap();
        assert!(line.contains(&format!("hold {C}, {left}")), "{size:?} {line}");
    }
}
