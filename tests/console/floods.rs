//! A client that floods the daemon, with other calls or with changes of the very one that is looked at, keeps nobody from
//! saying no: a rejection, a freeze, a pause. Nor does it make commands of what an operator is typing.

use countersign::console::app::{Effect, Link};
use countersign::console::dialog::Dialog;
use countersign::control::wire::{Command, HoldView, Notice, RulingKind, SessionRuling};
use crossterm::event::KeyCode;

use crate::support::{
    A, B, C, Desk, SIZE, answers, approved, daemon, gate, json, refund, rejected, rulings, sandbox, sent,
};

/// A client that floods the daemon cannot keep the operator from ruling: news about other holds disarms nothing.
#[test]
fn a_flood_does_not_keep_anybody_from_ruling() {
    let hold = HoldView { created_at: "2026-11-21T14:00:00Z".to_owned(), ..sandbox(A) };
    let flood = |desk: &mut Desk| {
        for n in 0..20 {
            let other = sandbox(&format!("0000000000{n:02}"));
            desk.hold(other.clone());
            desk.news(Notice::Snapshot { seq: None, holds: vec![hold.clone(), other], daemon: daemon() });
        }
    };
    let mut desk = Desk::new(SIZE, vec![hold.clone()]);
    desk.read_all();
    desk.wait(1000);
    flood(&mut desk);
    desk.press(KeyCode::Char('a'));
    desk.draw();
    desk.wait(400);
    flood(&mut desk);
    assert_eq!(rulings(&desk.press(KeyCode::Char('y'))), approved(A));
}

/// An identical call joins and is cancelled again: nothing that anybody is asked about.
fn joined(desk: &mut Desk, hold: &HoldView) {
    let more = HoldView { waiting: 2, expires_at: "2026-11-21T14:13:00Z".to_owned(), ..hold.clone() };
    desk.hold(more.clone());
    desk.hold(HoldView { waiting: 1, ..more });
}

/// The call that waits is now another identical one, whose `_meta` is not the same: what is sent has changed.
fn swapped(desk: &mut Desk, hold: &HoldView) {
    for token in 1..3 {
        desk.hold(HoldView { meta: Some(json(&format!("{{\"progressToken\":{token}}}"))), ..hold.clone() });
    }
}

type Flood = fn(&mut Desk, &HoldView);
const FLOODS: [Flood; 2] = [joined, swapped];

/// A key of somebody who looks, while the selected hold changes three times a second.
fn under(desk: &mut Desk, flood: Flood, hold: &HoldView, code: KeyCode) -> Vec<Effect> {
    for _ in 0..6 {
        flood(desk, hold);
        desk.draw();
        desk.wait(200);
    }
    flood(desk, hold);
    let effects = desk.press(code);
    answers(&effects).into_iter().for_each(|notice| drop(desk.news(notice)));
    effects
}

#[test]
fn changes_of_the_selected_hold_keep_nobody_from_rejecting() {
    for flood in FLOODS {
        for hold in [refund(A), gate(B), sandbox(C)] {
            let mut desk = Desk::new(SIZE, vec![hold.clone()]);
            under(&mut desk, flood, &hold, KeyCode::Char('r'));
            for letter in "no".chars() {
                under(&mut desk, flood, &hold, KeyCode::Char(letter));
            }
            let effects = under(&mut desk, flood, &hold, KeyCode::Enter);
            let wanted = (hold.id.to_string(), RulingKind::Reject, Some("no".to_owned()));
            assert_eq!(rulings(&effects), [wanted], "{}", desk.note());
        }
    }
}

#[test]
fn changes_of_the_selected_hold_keep_nobody_from_freezing_and_pausing() {
    for flood in FLOODS {
        let hold = sandbox(C);
        let mut desk = Desk::new(SIZE, vec![hold.clone()]);
        under(&mut desk, flood, &hold, KeyCode::Char('!'));
        let effects = under(&mut desk, flood, &hold, KeyCode::Char('y'));
        assert!(matches!(&sent(&effects)[..], [Command::Freeze { on: true, .. }]), "{}", desk.note());
        under(&mut desk, flood, &hold, KeyCode::Char('3'));
        under(&mut desk, flood, &hold, KeyCode::Char('P'));
        let effects = under(&mut desk, flood, &hold, KeyCode::Char('y'));
        let paused = |command: &Command| matches!(command, Command::RuleSession { ruling: SessionRuling::Pause, .. });
        assert!(sent(&effects).iter().any(paused), "{effects:?} {}", desk.note());
    }
}

/// The same for an approval, where what is sent stays the same; where it changes it has to be read again.
#[test]
fn identical_calls_that_come_and_go_keep_nobody_from_approving() {
    let hold = gate(B);
    let mut desk = Desk::new(SIZE, vec![hold.clone()]);
    desk.read_all();
    under(&mut desk, joined, &hold, KeyCode::Char('a'));
    assert_eq!(rulings(&under(&mut desk, joined, &hold, KeyCode::Char('y'))), approved(B));

    let mut desk = Desk::new(SIZE, vec![hold.clone()]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    swapped(&mut desk, &hold);
    desk.voided();
    // It is on the screen again, and not for long enough.
    swapped(&mut desk, &hold);
    desk.draw();
    desk.wait(399);
    desk.press(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    assert!(desk.note().contains("not so fast"), "{}", desk.note());
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert!(desk.app.dialog.is_some(), "{}", desk.note());
}

/// A client that is gone, or comes back, is another question: an approval makes a ticket then.
#[test]
fn whether_anybody_waits_is_part_of_the_question() {
    for (before, now) in [(1, 0), (0, 1)] {
        let hold = HoldView { waiting: before, ..sandbox(C) };
        let mut desk = Desk::new(SIZE, vec![hold.clone()]);
        desk.read_all();
        desk.key(KeyCode::Char(if before == 0 { 'T' } else { 'a' }));
        desk.hold(HoldView { waiting: now, ..hold.clone() });
        desk.voided();
        assert!(!desk.app.holds.get(&hold.id).unwrap().read);
    }
    // Nor does the time ever get shorter unsaid.
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.hold(HoldView { expires_at: "2026-11-21T14:11:00Z".to_owned(), ..sandbox(C) });
    desk.voided();
    // A later end counts: the question stays open for as long.
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.hold(HoldView { expires_at: "2026-11-21T14:20:00Z".to_owned(), waiting: 2, ..sandbox(C) });
    desk.wait(300_000);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert!(desk.screen().contains("x2"), "{}", desk.screen());
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), approved(C));
}

/// A reason is typed while its question goes away, in each way that it can: none of its letters is a command.
#[test]
fn what_is_typed_on_is_no_command() {
    type Way = fn(&mut Desk);
    let ways: [Way; 4] = [
        |desk| drop(desk.hold(rejected(sandbox(C), "by ben"))),
        |desk| drop(desk.news(Notice::Snapshot { seq: None, holds: vec![gate(B)], daemon: daemon() })),
        |desk| drop(desk.link(Link::Down { why: "gone".to_owned() })),
        |desk| desk.wait(600_000),
    ];
    for way in ways {
        let mut desk = Desk::new(SIZE, vec![gate(B), sandbox(C)]);
        desk.key(KeyCode::Char('j'));
        desk.key(KeyCode::Char('r'));
        desk.letters("this cus");
        way(&mut desk);
        let page = desk.app.page;
        for letter in "tomer is wrong? a y! U u c !y qy 1234 R ay".chars() {
            assert_eq!(desk.press(KeyCode::Char(letter)), [], "{letter}");
            assert_eq!(desk.key(KeyCode::Char(letter)), [], "{letter}");
        }
        assert_eq!(desk.key(KeyCode::Enter), []);
        assert!(desk.screen().contains("THE QUESTION IS VOID"), "{}", desk.screen());
        assert_eq!(desk.app.page, page);
        desk.voided();
    }
    // The value of an approval as well.
    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.letters("125");
    desk.hold(HoldView { arguments: json(r#"{"amount":1}"#), ..refund(A) });
    assert_eq!(desk.letters("000"), []);
    assert!(matches!(desk.app.dialog, Some(Dialog::Notice { .. })));
}

/// A frame of another size than the app knows has not shown what the app thinks.
#[test]
fn a_frame_of_another_size_is_not_seen() {
    let lines: Vec<_> = (0..60).map(|n| format!("\"key{n:02}\":{n}")).collect();
    let hold = HoldView { arguments: json(&format!("{{{}}}", lines.join(","))), confirm: Vec::new(), ..sandbox(C) };
    let mut desk = Desk::new((80, 90), Vec::new());
    desk.resize_silently(80, 24);
    desk.hold(hold);
    desk.draw();
    assert_eq!(desk.app.size, (80, 24), "the app learns it from the frame");
    assert_eq!(desk.app.seen().0, 0);
    desk.draw();
    let (seen, must) = desk.app.seen();
    assert!(0 < seen && seen < must, "{seen} of {must}");
}
