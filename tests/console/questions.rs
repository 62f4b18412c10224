//! What every question has: the time that is left, and a reason where the daemon takes one.

use countersign::console::app::{Effect, What};
use countersign::console::describe;
use countersign::console::sign::Signing;
use countersign::control::wire::{Claimed, Command, HoldView};
use crossterm::event::KeyCode;

use crate::support::{A, B, C, Desk, SIZE, START, gate, refund, rulings, sandbox, sent, three};

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
        match screen.lines().find(|line| line.contains("y/N")) {
            Some(line) => assert!(size.0 >= 80 && line.contains(&format!("hold {C}, {left}")), "{size:?} {line}"),
            None => assert!(size.0 == 60 && screen.contains("APPROVE") && screen.contains(&left), "{size:?} {screen}"),
        }
    }
}

/// Where the line has no room for all of what is approved, a box has.
#[test]
fn the_lowest_question_names_all_of_what_is_approved() {
    let run = HoldView { tool: "stigg_api_write".to_owned(), operation: "ProvisionPlan".to_owned(), ..sandbox(C) };
    let named = "stigg · stigg_api_write → ProvisionPlan";
    for (size, signs, boxed) in [((60, 20), true, true), ((60, 20), false, true), ((120, 40), false, false)] {
        let hold = HoldView { signature_required: signs, ..run.clone() };
        let mut desk = Desk::new(size, vec![hold]);
        desk.app.signing = Some(Signing { operator: "ana".to_owned(), key: "/keys/ana".into() });
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        let screen = desk.screen();
        let question: Vec<&str> = match boxed {
            true => screen.lines().skip_while(|line| !line.contains("APPROVE")).collect(),
            false => screen.lines().filter(|line| line.contains("? y/N")).collect(),
        };
        assert!(question.iter().any(|line| line.contains(named)), "{size:?}\n{screen}");
        assert_eq!(screen.contains("? y/N"), !boxed, "{size:?}\n{screen}");
        assert_eq!(screen.contains("Then signed as ana"), signs, "{size:?}\n{screen}");
        let answer = desk.key(KeyCode::Char('y'));
        let asks = answer.iter().any(|effect| matches!(effect, Effect::Sign { .. }));
        assert_eq!((asks, rulings(&answer).len()), (signs, usize::from(!signs)), "{size:?} {answer:?}");
    }
    let long = HoldView { tool: format!("provision_{}", "x".repeat(80)), ..sandbox(C) };
    let mut desk = Desk::new((120, 40), vec![long]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    let screen = desk.screen();
    assert!(screen.contains("APPROVE") && !screen.contains("? y/N"), "{screen}");
}
