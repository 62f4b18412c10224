//! `T`: an approval for a retry, of a call whose client is gone, and of one that ended without a ruling.

use countersign::call::Outcome;
use countersign::console::dialog::Dialog;
use countersign::console::keys::Page;
use countersign::control::wire::{Command, Failure, HoldState, HoldView, Notice, RecordView, RulingKind};
use crossterm::event::KeyCode;

use crate::chat::{Chat, said, sent as told};
use crate::support::{A, B, C, Desk, chain, done, record, refund, rejected, rulings, sandbox, sent};

fn closed(hold: HoldView, outcome: Outcome) -> HoldView {
    let (at, reason) = ("2026-11-21T14:05:00Z".to_owned(), "so it ended".to_owned());
    HoldView { state: HoldState::Closed { outcome, at, reason }, waiting: 0, ..hold }
}

/// The hold as the daemon opens it again.
fn again(hold: &HoldView) -> HoldView {
    let expires_at = "2026-11-21T14:20:00Z".to_owned();
    HoldView { state: HoldState::Pending, waiting: 0, expires_at, ..hold.clone() }
}

/// The whole way: nothing is approved by opening it, and the approval wants the reading and the gesture of its tier.
#[test]
fn a_call_that_ended_without_a_ruling_waits_again_and_is_approved_by_the_whole_gesture() {
    for outcome in [Outcome::Expired, Outcome::Unattended, Outcome::Withdrawn] {
        let hold = closed(refund(A), outcome);
        let mut desk = Desk::new((80, 24), vec![hold.clone()]);
        desk.read_all();
        let effects = desk.key(KeyCode::Char('T'));
        let commands = sent(&effects);
        let [Command::Reopen { seq, id, digest }] = &commands[..] else { panic!("{commands:?}") };
        assert_eq!((id.as_str(), digest, desk.app.dialog.as_ref()), (A, &hold.digest, None));
        desk.news(Notice::Shown { seq: *seq, hold: Box::new(again(&hold)) });
        assert!(desk.note().contains("nothing is approved"), "{}", desk.note());
        assert!(desk.app.selected().unwrap().is_pending());
        // What was read before it ended was another question.
        let mut small = Desk::new((60, 16), vec![hold.clone()]);
        small.hold(again(&hold));
        assert_eq!(sent(&small.key(KeyCode::Char('T'))), []);
        assert!(small.app.dialog.is_none() && small.note().starts_with("seen "), "{}", small.note());
        desk.read_all();
        assert_eq!(desk.key(KeyCode::Char('T')), []);
        assert!(matches!(desk.app.dialog, Some(Dialog::Approve(_))), "{}", desk.note());
        for key in ['y', 'T'] {
            assert_eq!(rulings(&desk.key(KeyCode::Char(key))), [], "the highest tier has its value typed");
        }
        desk.key(KeyCode::Esc);
        desk.key(KeyCode::Char('T'));
        desk.letters("125000");
        desk.key(KeyCode::Enter);
        let effects = desk.key(KeyCode::Enter);
        assert_eq!(rulings(&effects), [(A.to_owned(), RulingKind::Approve, None)], "{}", desk.screen());
    }
}

/// What ended in another way cannot wait again, and the screen says why.
#[test]
fn what_was_ruled_on_or_denied_does_not_wait_again() {
    let ruled = [rejected(sandbox(A), "no"), done(sandbox(B))];
    for hold in ruled.into_iter().chain([closed(sandbox(C), Outcome::Denied), closed(sandbox(C), Outcome::Unavailable)])
    {
        let id = hold.id.clone();
        let mut desk = Desk::new((80, 24), vec![hold]);
        desk.read_all();
        assert_eq!(sent(&desk.key(KeyCode::Char('T'))), [], "{id}");
        assert!(desk.app.dialog.is_none());
        assert!(desk.note().contains("held anew"), "{}", desk.note());
    }
}

/// The daemon has the last word, and it is shown.
#[test]
fn the_daemon_says_why_a_hold_does_not_wait_again() {
    let hold = closed(sandbox(C), Outcome::Expired);
    let mut desk = Desk::new((80, 24), vec![hold]);
    let commands = sent(&desk.key(KeyCode::Char('T')));
    let message = "policy does not allow it any more: no\u{202e}t now".to_owned();
    desk.news(Notice::Failed { seq: commands[0].changes(), error: Failure::NotSo, message });
    assert!(desk.note().contains("policy does not allow it any more: no⟨U+202E⟩t now"), "{}", desk.note());
    assert!(!desk.app.selected().unwrap().is_pending());
}

/// From the history: to the hold in the queue, where the daemon still has it; else nothing, and it is said why.
#[test]
fn the_history_leads_to_a_hold_that_is_known_and_to_nothing_else() {
    let hold = closed(refund(A), Outcome::Expired);
    let of = |seq: u64, call: &str| RecordView { call: Some(call.parse().unwrap()), ..record(seq) };
    let mut desk = Desk::new((80, 24), vec![hold.clone(), sandbox(B)]);
    let asked = sent(&desk.key(KeyCode::Char('2')));
    let records = vec![of(9, A), of(8, C), RecordView { call: None, ..record(7) }];
    desk.news(Notice::Records { seq: number(&asked[0]), records, chain: chain() });
    for (key, why) in [('j', "no hold of this id is known any more"), ('j', "is about no call")] {
        desk.key(KeyCode::Char(key));
        assert_eq!(sent(&desk.key(KeyCode::Char('T'))), []);
        assert!(desk.note().contains(why), "{}", desk.note());
        assert_eq!(desk.app.page, Page::History);
    }
    desk.key(KeyCode::Char('g'));
    let commands = sent(&desk.key(KeyCode::Char('T')));
    assert!(
        matches!(&commands[..], [Command::Reopen { id, digest, .. }] if id.as_str() == A && *digest == hold.digest)
    );
    assert_eq!((desk.app.page, desk.app.selected.as_ref().map(|id| id.as_str())), (Page::Queue, Some(A)));
}

/// What ended without a ruling waits again, and is read out and asked about as anything else.
#[test]
fn a_call_that_expired_waits_again_and_is_asked_about() {
    let hold = closed(sandbox(A), Outcome::Expired);
    let (mut chat, _) = Chat::new(vec![hold.clone()]);
    let effects = chat.types("reopen NOPE");
    assert_eq!(told(&effects), []);
    let commands = told(&chat.types(&format!("reopen {A}")));
    let [Command::Reopen { seq, id, digest }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((id.as_str(), *digest), (A, hold.digest));
    let open = HoldView { state: HoldState::Pending, waiting: 0, ..hold };
    let effects = chat.news(Notice::Shown { seq: *seq, hold: Box::new(open) });
    let lines = said(&effects).join("\n");
    assert!(lines.contains("one identical retry") && lines.contains("cust-118"), "{lines}");
    let commands = told(&chat.types("approve"));
    assert!(matches!(&commands[..], [Command::Rule { ruling: RulingKind::Approve, .. }]), "{commands:?}");
}

fn number(command: &Command) -> u64 {
    match command {
        Command::Records { seq, .. } => *seq,
        other => panic!("{other:?}"),
    }
}
