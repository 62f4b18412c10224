//! What an operator allows for a while, and how it is read before it is made.

use countersign::console::app::{Effect, What};
use countersign::console::dialog::Dialog;
use countersign::console::sign::Signing;
use countersign::control::wire::{Command, HoldView, Notice, SignedBy};
use crossterm::event::KeyCode;

use crate::support::{A, B, Desk, SIZE, gate, refund, sent};

fn grantable() -> HoldView {
    HoldView { grantable: true, ..gate(B) }
}

/// A grant is made of the daemon's text, when that has been on the screen, whole, and of nothing else.
#[test]
fn a_grant_is_the_text_that_was_shown() {
    let mut desk = Desk::new(SIZE, vec![grantable()]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.key(KeyCode::Char('g'));
    desk.key(KeyCode::Down);
    desk.key(KeyCode::Char(' '));
    desk.key(KeyCode::Char('+'));
    let draft = desk.key(KeyCode::Enter);
    let asked = sent(&draft);
    let [Command::DraftGrant { seq, bounds, .. }] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((bounds.at_most.clone(), bounds.uses, bounds.seconds), (vec!["/rollout".to_owned()], 6, 600));
    // An answer to another question, and one that has not come, make nothing.
    desk.news(Notice::Draft { seq: seq + 7, text: "principal is anybody".to_owned() });
    assert_eq!(sent(&desk.key(KeyCode::Char('y'))), []);
    desk.news(Notice::Draft { seq: *seq, text: "one\ntwo".to_owned() });
    assert_eq!(sent(&desk.press(KeyCode::Char('y'))), [], "it has not been on the screen");
    desk.draw();
    desk.wait(1100);
    let made = sent(&desk.press(KeyCode::Char('y')));
    let [Command::Grant { id, digest, grant, bounds, .. }] = &made[..] else { panic!("{made:?}") };
    assert_eq!((id.as_str(), *digest, grant.as_str(), bounds.uses), (B, grantable().digest, "one\ntwo", 6));
}

/// Where a signature is required the grant's terms are signed, and what is sent is what was signed.
#[test]
fn a_grant_is_signed_with_its_terms() {
    let mut desk = Desk::new(SIZE, vec![HoldView { signature_required: true, ..grantable() }]);
    desk.app.signing = Some(Signing { operator: "ana".to_owned(), key: "/keys/ana".into() });
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.key(KeyCode::Char('g'));
    let asked = sent(&desk.key(KeyCode::Enter));
    let [Command::DraftGrant { seq, .. }] = &asked[..] else { panic!("{asked:?}") };
    desk.news(Notice::Draft { seq: *seq, text: "one\ntwo\n".to_owned() });
    let effects = desk.key(KeyCode::Char('y'));
    let [Effect::Sign { seq, text, .. }] = &effects[..] else { panic!("{effects:?} {}", desk.note()) };
    assert!(text.contains(B) && text.contains("one") && text.contains("two"), "{text}");
    let by = SignedBy { operator: "ana".to_owned(), signature: "s".to_owned() };
    let made = sent(&desk.step(What::Signed(*seq, Ok(by.clone()))));
    let [Command::Grant { grant, signed, .. }] = &made[..] else { panic!("{made:?}") };
    assert_eq!((grant.as_str(), signed), ("one\ntwo\n", &Some(by)));
}

/// A text that does not fit is not agreed to.
#[test]
fn a_grant_that_does_not_fit_is_not_made() {
    let mut desk = Desk::new(SIZE, vec![grantable()]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.key(KeyCode::Char('g'));
    let asked = sent(&desk.key(KeyCode::Enter));
    let [Command::DraftGrant { seq, .. }] = &asked[..] else { panic!("{asked:?}") };
    desk.news(Notice::Draft { seq: *seq, text: "a condition\n".repeat(40) });
    desk.draw();
    desk.wait(1100);
    assert_eq!(sent(&desk.press(KeyCode::Char('y'))), []);
    assert!(desk.note().contains("does not fit"), "{}", desk.note());
}

#[test]
fn no_grant_of_the_highest_tier_or_where_the_rule_lets_none() {
    let mut desk = Desk::new(SIZE, vec![gate(B)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.key(KeyCode::Char('g'));
    assert!(desk.note().contains("lets no grant"), "{}", desk.note());
    assert!(matches!(desk.app.dialog, Some(Dialog::Approve(_))));
    let mut desk = Desk::new(SIZE, vec![HoldView { grantable: true, ..refund(A) }]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.key(KeyCode::Char('g'));
    assert!(matches!(desk.app.dialog, Some(Dialog::Approve(_))));
}
