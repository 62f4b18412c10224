//! What the console asks before it rules: what raises the friction, what has to be typed, what is said afterwards.

use countersign::call::{Class, Tier};
use countersign::console::app::{Effect, Link, What};
use countersign::console::dialog::Dialog;
use countersign::console::sign::Signing;
use countersign::control::wire::{
    Approvals, Command, Confirm, Daemon, Failure, Frozen, HoldState, HoldView, Notice, RulingKind, SignedBy,
};
use crossterm::event::KeyCode;

use crate::support::{A, B, C, Desk, SIZE, START, approve, approved, daemon, gate, json, refund, rulings, sandbox};

/// The number of the first command of a test: the console has asked how the chain is before it.
const FIRST: u64 = 2;

/// What this side finds odd raises the tier and never lowers it.
#[test]
fn hidden_characters_and_the_unknown_raise_the_tier() {
    let spelled = HoldView { arguments: json(r#"{"customer":"cus_\u200b123"}"#), ..sandbox(C) };
    let raw = HoldView { arguments: json("{\"customer\":\"cus_\u{200B}123\"}"), ..sandbox(C) };
    let key = HoldView { arguments: json("{\"cus\u{202E}tomer\":1}"), ..sandbox(C) };
    let meta = HoldView { meta: Some(json("{\"a\":\"\u{FEFF}\"}")), ..sandbox(C) };
    let tool = HoldView { tool: "pay\u{2066}".to_owned(), ..sandbox(C) };
    let unknown = HoldView { class: Class::Unknown, ..sandbox(C) };
    let huge = HoldView { arguments: json(&format!("[\"{}\"]", "x".repeat(300_000))), ..sandbox(C) };
    for hold in [spelled, raw, key, meta, tool, unknown, huge] {
        let mut desk = Desk::new(SIZE, vec![hold]);
        desk.read_all();
        assert_eq!(desk.app.selected().unwrap().risk.tier, Tier::High);
        assert!(!desk.app.selected().unwrap().risk.warnings.is_empty());
        desk.key(KeyCode::Char('a'));
        assert!(matches!(&desk.app.dialog, Some(Dialog::Approve(question)) if question.tier == Tier::High));
    }
    let accents = HoldView { arguments: json("{\"name\":\"Zoë\\nMüller\\t手紙\"}"), ..sandbox(C) };
    assert_eq!(Desk::new(SIZE, vec![accents]).app.selected().unwrap().risk.tier, Tier::Low);
}

#[test]
fn letters_of_another_alphabet_and_big_numbers_are_pointed_out() {
    let hold = HoldView { arguments: json("{\"to\":\"p\u{430}ypal\",\"n\":9007199254740993}"), ..sandbox(C) };
    let desk = Desk::new(SIZE, vec![hold]);
    let warnings = desk.app.selected().unwrap().risk.warnings.join("\n");
    assert!(
        warnings.contains("mixed alphabets: \"p\u{430}ypal\" (U+0430)") || warnings.contains("p\u{430}ypal (U+0430)")
    );
    assert!(warnings.contains("9007199254740993"), "{warnings}");
}

/// A value that cannot be typed as it is read is replaced by the digest, which is on the screen.
#[test]
fn what_cannot_be_typed_is_replaced_by_the_digest() {
    let field = |value: &str, operation: &str| {
        let confirm = vec![Confirm { pointer: "/arguments/amount".to_owned(), value: value.to_owned() }];
        let confirm = if value == "-" { Vec::new() } else { confirm };
        let hold = HoldView { confirm, operation: operation.to_owned(), ..refund(A) };
        let mut desk = Desk::new(SIZE, vec![hold.clone()]);
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        let Some(Dialog::Approve(question)) = desk.app.dialog else { panic!() };
        (question.fields[0].expected.clone(), hold.digest.to_string()[..8].to_owned())
    };
    assert_eq!(field("125000", "x").0, "125000");
    assert_eq!(field("-", "create_refund").0, "create_refund");
    for value in ["", " 1", "1 ", "a  b", "12\u{200B}5", "m\u{fc}ller", &"9".repeat(65)] {
        let (expected, digest) = field(value, "x");
        assert_eq!(expected, digest, "{value:?}");
    }
}

#[test]
fn a_wrong_value_does_not_approve() {
    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.letters("12500");
    desk.key(KeyCode::Tab);
    assert_eq!(rulings(&desk.key(KeyCode::Enter)), []);
    assert!(desk.note().contains("type the value"), "{}", desk.note());
    desk.key(KeyCode::BackTab);
    desk.letters("00");
    desk.key(KeyCode::Backspace);
    desk.key(KeyCode::Enter);
    assert_eq!(rulings(&desk.key(KeyCode::Enter)), approved(A));
}

#[test]
fn a_rejection_carries_its_reason() {
    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.key(KeyCode::Char('r'));
    assert_eq!(rulings(&desk.key(KeyCode::Enter)), [], "a reason is needed");
    desk.letters("wrong pi");
    let effects = desk.key(KeyCode::Enter);
    assert_eq!(rulings(&effects), [(A.to_owned(), RulingKind::Reject, Some("wrong pi".to_owned()))]);

    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.key(KeyCode::Char('r'));
    desk.key(KeyCode::Char('3'));
    desk.letters(" 3");
    let effects = desk.key(KeyCode::Enter);
    let reason = "This is not needed. Do not try it again. 3".to_owned();
    assert_eq!(rulings(&effects), [(A.to_owned(), RulingKind::Reject, Some(reason))]);
}

/// A paste into a reason is text and nothing else.
#[test]
fn a_paste_into_a_reason_sends_nothing() {
    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.key(KeyCode::Char('r'));
    desk.draw();
    desk.wait(2000);
    assert_eq!(desk.step(What::Paste("two\nlines\r\n".to_owned())), []);
    let effects = desk.key(KeyCode::Enter);
    assert_eq!(rulings(&effects), [(A.to_owned(), RulingKind::Reject, Some("two lines".to_owned()))]);
}

#[test]
fn a_signature_that_is_required_is_explained_before_and_after() {
    let signed = HoldView { signature_required: true, ..refund(A) };
    let mut desk = Desk::new(SIZE, vec![signed]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert!(matches!(desk.app.dialog, Some(Dialog::Notice { .. })));
    assert!(desk.screen().contains("unsigned_rulings: accept"));
    desk.key(KeyCode::Esc);
    desk.key(KeyCode::Char('r'));
    assert!(matches!(desk.app.dialog, Some(Dialog::Reject(_))), "rejecting needs no signature");

    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    approve(&mut desk);
    let message = "stigg takes signed approvals only".to_owned();
    desk.news(Notice::Failed { seq: Some(FIRST), error: Failure::SignatureRequired, message });
    let screen = desk.screen();
    assert!(screen.contains("A SIGNATURE IS REQUIRED") && screen.contains("stigg takes signed"), "{screen}");
}

#[test]
fn the_answer_is_shown_and_a_second_ruling_waits_for_it() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C), gate(B)]);
    approve(&mut desk);
    assert!(desk.note().contains("asking"), "{}", desk.note());
    desk.key(KeyCode::Char('j'));
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    assert!(desk.note().contains("waiting for the daemon's answer"), "{}", desk.note());
    let state = HoldState::Approved { by: "ana".to_owned(), at: "2026-11-21T14:07:40Z".to_owned(), leaves_at: None };
    desk.news(Notice::Ruled { seq: FIRST, hold: Box::new(HoldView { state, ..sandbox(C) }) });
    assert!(desk.note().contains("approved, the call is released"), "{}", desk.note());

    let mut desk = Desk::new(SIZE, vec![HoldView { approvals: Approvals { need: 2, have: Vec::new() }, ..sandbox(C) }]);
    approve(&mut desk);
    let approvals = Approvals { need: 2, have: vec!["ana".to_owned()] };
    desk.news(Notice::Ruled { seq: FIRST, hold: Box::new(HoldView { approvals, ..sandbox(C) }) });
    assert!(desk.note().contains("1 of 2 (ana); it still waits"), "{}", desk.note());

    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    approve(&mut desk);
    let message = "ben rejected it 2 s ago\u{1b}[2J".to_owned();
    desk.news(Notice::Failed { seq: Some(FIRST), error: Failure::Closed, message });
    assert!(desk.note().contains("no effect: ben rejected it 2 s ago⟨U+001B⟩[2J"), "{}", desk.note());
}

/// A desk with a key, and the hold that needs it, approved up to the signature.
fn at_the_signature() -> (Desk, u64, String) {
    let mut desk = Desk::new(SIZE, vec![HoldView { signature_required: true, ..sandbox(C) }]);
    desk.app.signing = Some(Signing { operator: "ana".to_owned(), key: "/keys/ana".into() });
    let effects = approve(&mut desk);
    let [Effect::Sign { seq, text, .. }] = &effects[..] else { panic!("{effects:?}") };
    (desk, *seq, text.clone())
}

fn by_ana() -> SignedBy {
    SignedBy { operator: "ana".to_owned(), signature: "s".to_owned() }
}

#[test]
fn an_approval_that_needs_a_signature_is_signed_before_it_is_sent() {
    let (mut desk, seq, text) = at_the_signature();
    let hold = HoldView { signature_required: true, ..sandbox(C) };
    for part in [C, &hold.digest.to_string(), "ruling: approve\noperator: \"ana\"\nreason: none\n"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let effects = desk.step(What::Signed(seq, Ok(by_ana())));
    let [Effect::Send { command: Command::Rule { signed, digest, .. }, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((signed, *digest), (&Some(by_ana()), hold.digest));
    assert_eq!(desk.step(What::Signed(seq, Ok(by_ana()))), [], "once");
}

#[test]
fn without_a_signature_or_after_a_change_nothing_is_sent() {
    let (mut desk, seq, _) = at_the_signature();
    assert_eq!(desk.step(What::Signed(seq, Err("no touch".to_owned()))), []);
    assert!(desk.note().contains("not signed, nothing was sent: no touch"), "{}", desk.note());
    assert_eq!(desk.step(What::Signed(seq, Ok(by_ana()))), [], "the question is over");

    // However long the operator takes: it is not the daemon's silence.
    let (mut desk, seq, _) = at_the_signature();
    desk.wait(25_000);
    assert_eq!(rulings(&desk.step(What::Signed(seq, Ok(by_ana())))), approved(C));

    let (mut desk, seq, _) = at_the_signature();
    desk.hold(HoldView {
        state: HoldState::Rejected { by: "ben".into(), at: "2026-11-21T14:08:00Z".into(), reason: "no".into() },
        signature_required: true,
        ..sandbox(C)
    });
    assert_eq!(desk.step(What::Signed(seq, Ok(by_ana()))), [], "somebody else ruled");

    let (mut desk, seq, _) = at_the_signature();
    desk.link(Link::Down { why: "gone".to_owned() });
    assert_eq!(desk.step(What::Signed(seq, Ok(by_ana()))), [], "the daemon went away");
}

#[test]
fn a_rejection_and_a_sandbox_are_not_signed() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.app.signing = Some(Signing { operator: "ana".to_owned(), key: "/keys/ana".into() });
    assert_eq!(rulings(&approve(&mut desk)), approved(C));
}

fn many(count: usize) -> HoldView {
    let pairs: Vec<_> = (0..count).map(|n| format!("\"v{n}\":{}", 100 + n)).collect();
    let confirm =
        (0..count).map(|n| Confirm { pointer: format!("/arguments/v{n}"), value: (100 + n).to_string() }).collect();
    HoldView { arguments: json(&format!("{{{}}}", pairs.join(","))), confirm, ..refund(A) }
}

/// However many values are typed: the one that is typed and the buttons are in the box.
#[test]
fn many_values_are_typed_in_a_window_of_their_own() {
    for size in [(60, 16), (80, 24), (120, 40)] {
        let mut desk = Desk::new(size, vec![many(12)]);
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        for n in 0..12 {
            desk.letters(&(100 + n).to_string());
            let screen = desk.screen();
            assert!(screen.contains(&format!("arguments/v{n}")), "{n} at {size:?}: {screen}");
            assert!(screen.contains("3 of 3 characters match") && screen.contains("( Approve"), "{screen}");
            desk.key(KeyCode::Enter);
        }
        assert!(desk.screen().contains("( Approve )"), "{}", desk.screen());
        assert_eq!(rulings(&desk.key(KeyCode::Enter)), approved(A), "{}", desk.note());
    }
}

/// A question that has no room for its own buttons approves nothing.
#[test]
fn a_question_that_does_not_fit_approves_nothing() {
    let crowded = |hold: HoldView| {
        let mut desk = Desk::new((60, 16), vec![hold]);
        let servers = daemon().servers.into_iter().map(|mut server| {
            server.environment.conflict = Some("another account".to_owned());
            server
        });
        let frozen = Frozen { by: "ben".to_owned(), at: START.to_owned(), reason: None };
        let policy_error = Some("a rule does not compile".to_owned());
        let frozen = Some(frozen);
        desk.news(Notice::Daemon { daemon: Daemon { servers: servers.collect(), frozen, policy_error, ..daemon() } });
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        desk
    };
    let mut desk = crowded(refund(A));
    desk.letters("125000");
    desk.key(KeyCode::Tab);
    assert_eq!(rulings(&desk.key(KeyCode::Enter)), []);
    assert!(desk.note().contains("make the window larger"), "{} {}", desk.note(), desk.screen());
    desk.resize(60, 20);
    assert_eq!(rulings(&desk.key(KeyCode::Enter)), approved(A), "{}", desk.screen());
}
