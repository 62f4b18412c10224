//! What an operator does with the queue beside ruling: views, filters, groups, claims, take-back, freezing, grants; and
//! what becomes of it when the daemon answers.

use countersign::console::app::{Effect, Link, What};
use countersign::console::describe;
use countersign::console::dialog::Dialog;
use countersign::console::rows::Row;
use countersign::control::wire::{
    Approvals, Claimed, Command, Daemon, Failure, HoldState, HoldView, Notice, RulingKind, SessionRuling,
};
use crossterm::event::KeyCode;

use crate::support::{
    A, B, C, Desk, SIZE, answers, approve, approved, before, daemon, expired, gate, json, records, refund, rejected,
    rulings, sandbox, sent, three,
};

fn long(id: &str) -> HoldView {
    let lines: Vec<_> = (0..60).map(|n| format!("\"key{n:02}\":{n}")).collect();
    HoldView { arguments: json(&format!("{{{}}}", lines.join(","))), confirm: Vec::new(), ..sandbox(id) }
}

/// C2: whoever reads the raw view has read it all; the other views show less and count for nothing.
#[test]
fn c2_raw_counts_as_reading_and_the_other_views_do_not() {
    let mut desk = Desk::new(SIZE, vec![HoldView { before: Some(before()), ..long(C) }]);
    for _ in 0..6 {
        desk.key_and_answers(KeyCode::Char('v'));
        if !matches!(desk.app.tab, countersign::console::tabs::Tab::Raw) {
            for _ in 0..20 {
                desk.press(KeyCode::PageDown);
            }
            desk.key(KeyCode::Char('a'));
            assert_eq!(desk.app.dialog, None, "{:?}", desk.app.tab);
        }
        if desk.app.tab == countersign::console::tabs::Tab::Raw {
            // The first screen of the raw view is not the whole of it: it is longer than that.
            assert!(desk.app.seen().0 <= desk.app.seen().1);
            desk.app.tab = countersign::console::tabs::Tab::Diff;
            desk.step(What::Tick);
        }
    }
    let mut desk = Desk::new(SIZE, vec![long(C)]);
    desk.key(KeyCode::Char('v'));
    desk.read_all();
    desk.key(KeyCode::Char('v'));
    desk.key(KeyCode::Char('a'));
    assert!(desk.app.dialog.is_some(), "{}", desk.note());
}

/// A view follows the cursor: what it shows is asked for of every hold, once, and never shown of another.
#[test]
fn a_view_follows_the_cursor() {
    let mut desk = Desk::new(SIZE, vec![refund(A), sandbox(C)]);
    desk.key(KeyCode::Char('v'));
    desk.key(KeyCode::Char('v'));
    desk.key_and_answers(KeyCode::Char('v'));
    assert!(desk.screen().contains("│!    9 held"), "{}", desk.screen());
    let asked = sent(&desk.key(KeyCode::Char('j')));
    let [Command::Explain { seq, id }] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(id.as_str(), C);
    assert!(desk.screen().contains("Asking the daemon"), "{}", desk.screen());
    assert_eq!(sent(&desk.step(What::Tick)), [], "once");
    let message = "not served".to_owned();
    desk.news(Notice::Failed { seq: Some(*seq), error: Failure::NotSo, message });
    assert!(desk.screen().contains("does not explain it: not served"), "{}", desk.screen());
    assert_eq!(sent(&desk.step(What::Tick)), [], "and not again");
}

/// C2: half of one view and half of the other are not the whole.
#[test]
fn c2_two_halves_are_not_the_whole() {
    let text = "x".repeat(3000);
    let hold = HoldView { arguments: json(&format!("{{\"a\":\"{text}\",\"b\":\"{text}\"}}")), ..sandbox(C) };
    let mut desk = Desk::new(SIZE, vec![hold]);
    desk.key(KeyCode::Char('v'));
    desk.draw();
    for _ in 0..40 {
        desk.press(KeyCode::PageDown);
    }
    // The end of the raw view, after the beginning of both.
    desk.draw();
    assert!(desk.app.seen().0 < desk.app.seen().1);
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
}

/// The list is by risk, then by the time that is left; what is new waits behind its line until it is sorted in.
#[test]
fn c5_new_holds_wait_behind_a_line() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C), gate(B)]);
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), B);
    desk.hold(refund(A));
    desk.hold(sandbox("H7K6T6V7X8YZ"));
    assert!(desk.screen().contains("── 2 new · press . to sort in ──"));
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), B);
    let before = desk.screen();
    desk.wait(60_000);
    let rows = |screen: &str| screen.lines().skip(2).take(4).map(|row| row[..20].to_owned()).collect::<Vec<_>>();
    assert_eq!(rows(&before), rows(&desk.screen()), "nothing moves by itself");
    desk.key(KeyCode::Char('.'));
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), B, "the cursor stays with its hold");
    let ids: Vec<_> = (0..desk.app.rows.len()).filter_map(|row| desk.app.rows.get(row)?.id().cloned()).collect();
    assert_eq!(ids.iter().map(|id| id.as_str()).take(2).collect::<Vec<_>>(), [A, B]);
    assert_eq!(desk.app.rows.new, 0);
}

/// A console that follows goes to the riskiest hold, but not under the hands of an operator, and never with a question.
#[test]
fn following_waits_for_idle_hands() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.key(KeyCode::Char('F'));
    desk.hold(refund(A));
    desk.wait(9_000);
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), C);
    desk.wait(1_100);
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), A);
    assert!(!desk.app.armed(), "it has to be looked at first");
    // A hand on the mouse is no idle hand.
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.key(KeyCode::Char('F'));
    desk.hold(refund(A));
    desk.wait(9_000);
    let kind = crossterm::event::MouseEventKind::ScrollDown;
    let (column, row, modifiers) = (1, SIZE.1 - 3, crossterm::event::KeyModifiers::NONE);
    desk.step(What::Mouse(crossterm::event::MouseEvent { kind, column, row, modifiers }));
    desk.wait(1_100);
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), C);
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.key(KeyCode::Char('F'));
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.hold(refund(A));
    desk.wait(60_000);
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), C);
}

fn alike() -> Vec<HoldView> {
    ('1'..='4').map(|n| sandbox(&format!("H7K5T6V7X8Y{n}"))).collect()
}

/// Like ones are one row. Approving rules one of them, which was read; rejecting is one question about all.
#[test]
fn a_group_is_one_row_and_an_approval_is_one_hold() {
    let mut desk = Desk::new(SIZE, alike());
    assert!(matches!(desk.app.rows.get(0), Some(Row::Group(ids)) if ids.len() == 4));
    let id = desk.app.selected.clone().unwrap();
    assert_eq!(rulings(&approve(&mut desk)), approved(id.as_str()));

    let mut desk = Desk::new(SIZE, alike());
    desk.key(KeyCode::Char('r'));
    assert!(desk.screen().contains("Rejects all 4 of them."));
    desk.key(KeyCode::Char('3'));
    let all = rulings(&desk.key(KeyCode::Enter));
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|(_, ruling, _)| *ruling == RulingKind::Reject));

    let mut desk = Desk::new(SIZE, alike());
    desk.key(KeyCode::Char('l'));
    assert_eq!(desk.app.rows.len(), 4);
    desk.key(KeyCode::Char('j'));
    desk.key(KeyCode::Char('r'));
    desk.key(KeyCode::Char('3'));
    assert_eq!(rulings(&desk.key(KeyCode::Enter)).len(), 1, "unfolded they are ruled one by one");
    // Another risk is another row, whatever else is alike.
    let mut odd = alike();
    odd.push(HoldView { arguments: json("{\"customer\":\"cus_\u{200B}1\"}"), ..sandbox("H7K5T6V7X8Y9") });
    let desk = Desk::new(SIZE, odd);
    assert!(matches!(desk.app.rows.get(0), Some(Row::Hold(id)) if id.as_str() == "H7K5T6V7X8Y9"));
}

/// A hold of a group that ends while its rejection is asked about is left out of it.
#[test]
fn a_group_that_changes_is_rejected_by_digest() {
    let mut desk = Desk::new(SIZE, alike());
    desk.key(KeyCode::Char('r'));
    let Some(Dialog::Reject(question)) = &desk.app.dialog else { panic!() };
    assert_eq!(question.others.len(), 3);
    assert!(question.others.iter().all(|(id, digest)| desk.app.holds.get(id).unwrap().view.digest == *digest));
}

/// Closed holds of more than ten minutes ago are history.
#[test]
fn old_closed_holds_are_not_listed() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C), expired(gate(B)), rejected(refund(A), "no")]);
    let screen = desk.screen();
    assert!(screen.contains("REJ [LIVE] H7K2QW") && !screen.contains("EXP"), "{screen}");
}

fn claimed(hold: HoldView, by: &str) -> HoldView {
    let until = "2026-11-21T14:09:00Z".to_owned();
    HoldView { claimed: Some(Claimed { by: by.to_owned(), at: until.clone(), until }), ..hold }
}

/// A claim is for others to see. It voids no question, takes nothing back that was read, and is taken over only after a
/// question.
#[test]
fn claims() {
    let mut desk = Desk::new(SIZE, vec![long(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.hold(claimed(long(C), "ben"));
    assert!(desk.app.dialog.is_some(), "another's claim closes no question");
    assert!(desk.screen().contains("claimed"));
    desk.key(KeyCode::Esc);
    assert_eq!(sent(&desk.key(KeyCode::Char('c'))), []);
    assert!(desk.screen().contains("TAKE IT OVER?"), "{}", desk.screen());
    assert_eq!(sent(&desk.key(KeyCode::Enter)), []);
    desk.key(KeyCode::Char('c'));
    let take = sent(&desk.key(KeyCode::Char('y')));
    assert!(matches!(take[..], [Command::Claim { steal: true, off: false, .. }]), "{take:?}");

    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    let mine = sent(&desk.key(KeyCode::Char('c')));
    assert!(matches!(mine[..], [Command::Claim { steal: false, off: false, .. }]), "{mine:?}");
    let seq = mine[0].changes().unwrap();
    desk.news(Notice::Shown { seq, hold: Box::new(claimed(sandbox(C), "ana")) });
    assert!(desk.note().contains("claimed for 60 s"), "{}", desk.note());
    let again = sent(&desk.key(KeyCode::Char('c')));
    assert!(matches!(again[..], [Command::Claim { steal: false, off: false, .. }]), "{again:?}");
    let back = sent(&desk.key(KeyCode::Char('C')));
    assert!(matches!(back[..], [Command::Claim { steal: false, off: true, .. }]), "{back:?}");
    desk.hold(claimed(sandbox(C), "ana (account root)"));
    assert_eq!(sent(&desk.key(KeyCode::Char('C'))), [], "another's");
    assert!(desk.note().contains("not claimed by you"), "{}", desk.note());
}

/// Whatever name somebody has chosen: a row says what it is about, and the account stays.
#[test]
fn a_long_name_hides_neither_the_hold_nor_the_account() {
    let by = format!("{} (account root)", "x".repeat(32));
    for (size, says) in [((80, 24), "claimed    02:40"), ((120, 40), " claim create_refund  125000")] {
        let mut desk = Desk::new(size, vec![claimed(refund(A), &by), claimed(sandbox(C), &by)]);
        let screen = desk.screen();
        assert!(screen.contains("  125000 minor") && screen.contains("  cust-"), "{screen}");
        assert!(screen.contains(says), "{says} {screen}");
        assert!(!screen.contains(&by), "{screen}");
    }
    assert_eq!(describe::operator(&by), format!("{}… (account root)", "x".repeat(15)));
    let both = describe::operator(&format!("ben (account {})", "y".repeat(40)));
    assert!(both.starts_with("ben (account yyyy"), "{both}");
    let mut desk = Desk::new((160, 40), vec![claimed(sandbox(C), "ben (account root)")]);
    desk.news(Notice::Daemon { daemon: Daemon { operators: vec!["ana".into(), by], ..daemon() } });
    assert!(desk.screen().contains("… (account root)"), "{}", desk.screen());
}

/// A call that has ended is told apart by its operation as one that waits.
#[test]
fn a_row_of_an_ended_call_names_its_operation() {
    let run = |id: &str| HoldView { operation: "PostCoupons".to_owned(), ..refund(id) };
    for size in [(80, 24), (120, 40)] {
        let mut desk = Desk::new(size, vec![rejected(run(A), "wrong"), run(B)]);
        let screen = desk.screen();
        assert!(screen.contains("PostCoupons  b"), "{screen}");
    }
}

/// What nobody has answered yet is not said to have gone well, and what has ended is not offered for a ruling.
#[test]
fn a_call_that_runs_is_not_ok_yet() {
    let state = HoldState::Approved { by: "ana".into(), at: desk_start().to_string(), leaves_at: None };
    let mut desk = Desk::new(SIZE, vec![HoldView { state, ..sandbox(C) }]);
    let row = |screen: &str| screen.lines().find(|line| line.contains("H7K5T6")).unwrap().to_owned();
    assert!(row(&desk.screen()).contains("...") && !row(&desk.screen()).contains("ok "), "{}", desk.screen());
    assert!(!desk.screen().contains("approve…") && !desk.screen().contains("reject…"), "{}", desk.screen());
    desk.hold(crate::support::done(sandbox(C)));
    assert!(row(&desk.screen()).contains("ok "), "{}", desk.screen());
}

fn leaving(hold: HoldView, seconds: i64) -> HoldView {
    let leaves = desk_start() + jiff::SignedDuration::from_secs(seconds);
    let state =
        HoldState::Approved { by: "ana".into(), at: desk_start().to_string(), leaves_at: Some(leaves.to_string()) };
    HoldView { state, ..hold }
}

fn desk_start() -> jiff::Timestamp {
    crate::support::START.parse().unwrap()
}

/// An approval that has not left is counted down, and `u` takes it back; when it has left `u` does nothing.
#[test]
fn an_approval_is_taken_back_until_it_leaves() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C), refund(A)]);
    desk.hold(leaving(sandbox(C), 4));
    assert!(desk.screen().contains(&format!("{C} approved, leaves in 3 s: u takes it back")), "{}", desk.screen());
    let back = sent(&desk.press(KeyCode::Char('u')));
    assert!(matches!(&back[..], [Command::TakeBack { id, .. }] if id.as_str() == C), "{back:?}");
    let Command::TakeBack { seq, .. } = back[0] else { panic!() };
    desk.news(Notice::Shown { seq, hold: Box::new(HoldView { taken_back: 1, ..sandbox(C) }) });
    assert!(desk.note().contains("taken back, it waits again"), "{}", desk.note());
    assert!(desk.app.holds.pending().any(|entry| entry.view.id.as_str() == C));
    assert!(!desk.app.holds.get(&C.parse().unwrap()).unwrap().read, "it has to be read again");
    desk.wait(5_000);
    assert_eq!(sent(&desk.press(KeyCode::Char('u'))), []);
    // From the other screens too.
    desk.hold(leaving(gate(B), 20));
    desk.key(KeyCode::Char('2'));
    assert!(desk.screen().contains("u takes it back"));
    assert!(matches!(sent(&desk.press(KeyCode::Char('u')))[..], [Command::TakeBack { .. }]));
}

#[test]
fn freezing_and_thawing_are_asked() {
    let mut desk = Desk::new(SIZE, three());
    desk.key(KeyCode::Char('!'));
    assert_eq!(sent(&desk.key(KeyCode::Char('!'))), []);
    assert_eq!(sent(&desk.key(KeyCode::Enter)), []);
    desk.key(KeyCode::Char('!'));
    let effects = desk.key(KeyCode::Char('y'));
    let freeze = sent(&effects);
    let [Command::Freeze { seq, on: true, reason: None }] = freeze[..] else { panic!("{freeze:?}") };
    let frozen = countersign::control::wire::Frozen { by: "ana".into(), at: desk_start().to_string(), reason: None };
    desk.news(Notice::Frozen { seq, daemon: Daemon { frozen: Some(frozen), ..daemon() } });
    assert!(desk.screen().contains("FROZEN by ana at 14:07:31"), "{}", desk.screen());
    desk.key(KeyCode::Char('!'));
    assert!(desk.screen().contains("THAW?"));
    assert!(matches!(sent(&desk.key(KeyCode::Char('y')))[..], [Command::Freeze { on: false, .. }]));
}

/// A key that is guessed stands above everything else.
#[test]
fn a_key_that_is_guessed_is_named_at_the_top() {
    let mut desk = Desk::new((120, 40), vec![sandbox(C)]);
    assert!(!desk.screen().contains("KEY GUESSED"));
    desk.news(Notice::Daemon { daemon: Daemon { guessed: vec!["loc\u{202e}al".to_owned()], ..daemon() } });
    let screen = desk.screen();
    assert!(screen.contains("KEY GUESSED? loc⟨U+202E⟩al: pieces were in what servers said"), "{screen}");
}

#[test]
fn a_default_allow_is_said_in_the_header() {
    let mut desk = Desk::new(SIZE, three());
    assert!(!desk.screen().contains("DEFAULT ALLOW ON"));
    desk.news(Notice::Daemon { daemon: Daemon { unsafe_default_allow: true, unsigned_rulings: false, ..daemon() } });
    assert!(desk.screen().contains("DEFAULT ALLOW ON"), "{}", desk.screen());
}

#[test]
fn rejecting_can_pause_the_session_and_waits_for_the_ruling() {
    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.key(KeyCode::Char('R'));
    assert!(desk.screen().contains("And pauses session s-19"));
    desk.letters("wrong");
    let effects = desk.key(KeyCode::Enter);
    assert_eq!(rulings(&effects).len(), 1);
    assert_eq!(sent(&effects).len(), 1, "the pause comes after the ruling took effect");
    let seq = sent(&effects)[0].changes().unwrap();
    let effects = desk.news(Notice::Ruled { seq, hold: Box::new(rejected(refund(A), "wrong")) });
    let pause = sent(&effects);
    assert!(
        matches!(&pause[..], [Command::RuleSession { session, ruling: SessionRuling::Pause, reason, .. }]
            if session == "s-19" && reason.as_deref() == Some("wrong")),
        "{pause:?}"
    );
}

/// Where nothing comes of the rejection, nothing comes of the pause, and the operator is told.
#[test]
fn a_pause_that_is_not_asked_for_is_said() {
    let rejected = || {
        let mut desk = Desk::new((120, 40), vec![refund(A)]);
        desk.key(KeyCode::Char('R'));
        desk.letters("wrong");
        let seq = sent(&desk.key(KeyCode::Enter))[0].changes();
        (desk, seq)
    };
    let (mut desk, seq) = rejected();
    desk.news(Notice::Failed { seq, error: Failure::Closed, message: "it has expired".to_owned() });
    assert!(desk.note().contains("no effect: it has expired; its session is NOT paused"), "{}", desk.note());
    let (mut desk, _) = rejected();
    desk.link(Link::Down { why: "gone".to_owned() });
    assert!(desk.note().contains(&format!("{A} (its session is NOT paused)")), "{}", desk.note());
    let (mut desk, _) = rejected();
    desk.wait(11_000);
    assert!(desk.note().ends_with("; its session is NOT paused"), "{}", desk.note());
    // Without a pause there is nothing to say.
    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.key(KeyCode::Char('r'));
    desk.letters("wrong");
    desk.key(KeyCode::Enter);
    desk.wait(11_000);
    assert!(!desk.note().contains("paused"), "{}", desk.note());
}

#[test]
fn an_approval_carries_its_note() {
    let mut desk = Desk::new(SIZE, vec![gate(B)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.key(KeyCode::Tab);
    // Letters of a note are no answers, and neither is one that was typed in the same burst as the way back.
    assert_eq!(desk.letters("yes, FIN-1182"), []);
    desk.press(KeyCode::Enter);
    assert_eq!(desk.press(KeyCode::Char('y')), []);
    let effects = desk.key(KeyCode::Char('y'));
    assert_eq!(rulings(&effects), [(B.to_owned(), RulingKind::Approve, Some("yes, FIN-1182".to_owned()))]);

    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.letters("125000");
    desk.key(KeyCode::Tab);
    desk.key(KeyCode::Tab);
    desk.letters("FIN 7");
    desk.key(KeyCode::Enter);
    let effects = desk.key(KeyCode::Enter);
    assert_eq!(rulings(&effects), [(A.to_owned(), RulingKind::Approve, Some("FIN 7".to_owned()))]);
}

#[test]
fn an_approval_of_several_says_who_has_approved() {
    let hold = HoldView { approvals: Approvals { need: 2, have: vec!["ben".to_owned()] }, ..gate(B) };
    let mut desk = Desk::new(SIZE, vec![hold]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert!(desk.screen().contains("1 of 2 (ben)"), "{}", desk.screen());
}

/// `T` where the client is gone; what is closed is not approved.
#[test]
fn a_ticket_is_for_a_client_that_is_gone() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('T'));
    assert_eq!(desk.app.dialog, None);
    assert!(desk.note().contains("still waits"), "{}", desk.note());
    let mut desk = Desk::new(SIZE, vec![HoldView { waiting: 0, ..sandbox(C) }]);
    desk.read_all();
    desk.key(KeyCode::Char('T'));
    assert!(matches!(desk.app.dialog, Some(Dialog::Approve(_))));
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), approved(C));
}

/// Ten quick approvals, and the next ones are typed; the rule that causes them is named.
#[test]
fn quick_approvals_cost_typing() {
    let mut desk = Desk::new(SIZE, Vec::new());
    for n in 0..10 {
        desk.hold(sandbox(&format!("0000000000{n:02}")));
        desk.key(KeyCode::Char('g'));
        desk.draw();
        desk.wait(500);
        desk.press(KeyCode::Char('a'));
        desk.draw();
        desk.wait(500);
        let effects = desk.press(KeyCode::Char('y'));
        assert_eq!(rulings(&effects).len(), 1, "{n}: {}", desk.note());
        let state = HoldState::Approved { by: "ana".into(), at: desk_start().to_string(), leaves_at: None };
        let seq = sent(&effects)[0].changes().unwrap();
        let hold = HoldView { state, ..sandbox(&format!("0000000000{n:02}")) };
        desk.news(Notice::Ruled { seq, hold: Box::new(hold) });
    }
    desk.hold(sandbox(C));
    desk.key(KeyCode::Char('g'));
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert!(matches!(&desk.app.dialog, Some(Dialog::Approve(question)) if question.typed), "{}", desk.note());
    let screen = desk.screen();
    assert!(screen.contains("10 of them for rule") && screen.contains("writes.sandbox: narrow it?"), "{screen}");
}

/// A console that only watches asks nothing that changes anything, whatever is pressed.
#[test]
fn a_console_that_only_watches_changes_nothing() {
    let mut desk = Desk::new(SIZE, three());
    desk.app.read_only = true;
    desk.read_all();
    assert!(desk.screen().contains("READ ONLY"));
    for keys in ["a", "r", "R", "c", "u", "!y", "T", "3Py", "3Xy", "3Gxy", "1ay"] {
        for key in keys.chars() {
            let effects = desk.key(KeyCode::Char(key));
            assert!(sent(&effects).iter().all(|command| command.changes().is_none()), "{keys}");
            answers(&effects).into_iter().for_each(|notice| drop(desk.news(notice)));
        }
        assert_eq!(desk.app.dialog, None, "{keys}");
    }
}

/// What is copied is ours: nothing of the call, whatever it holds.
#[test]
fn the_id_and_the_digest_are_copied_and_nothing_of_the_call() {
    let hold = refund(A);
    let digest = hold.digest;
    let mut desk = Desk::new(SIZE, vec![hold]);
    assert_eq!(desk.key(KeyCode::Char('y')), [Effect::Copy(format!("{A} --digest {digest}"))]);
}

#[test]
fn the_rule_and_the_history_of_an_operation_are_one_key_away() {
    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.key_and_answers(KeyCode::Char('p'));
    assert!(desk.screen().contains("policies/refunds.rego"), "{}", desk.screen());
    desk.key_and_answers(KeyCode::Char('H'));
    assert_eq!(desk.app.pages.filter.text, "server:stripe op:create_refund");
    assert!(desk.screen().contains("ana approved it"), "{}", desk.screen());
    assert_eq!(desk.app.pages.records().count(), records().len());
}

#[test]
fn a_muted_bell_rings_for_the_highest_tier_alone_and_again_after_a_while() {
    let mut desk = Desk::new(SIZE, Vec::new());
    desk.key(KeyCode::Char('M'));
    assert_eq!(desk.hold(sandbox(C)), []);
    assert_eq!(desk.hold(refund(A)), [Effect::Bell]);
    desk.wait(15 * 60 * 1000);
    assert_eq!(desk.hold(gate(B)), [Effect::Bell]);
    desk.key(KeyCode::Char('M'));
    desk.key(KeyCode::Char('M'));
    assert_eq!(desk.hold(sandbox("H7K9T6V7X8YZ")), [Effect::Bell], "on again");
}

#[test]
fn a_console_is_suspended_and_a_daemon_is_not() {
    let suspend = |desk: &mut Desk| desk.ctrl('z');
    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    assert_eq!(suspend(&mut desk), [Effect::Suspend]);
    desk.app.owns_daemon = true;
    assert_eq!(suspend(&mut desk), []);
    assert!(desk.note().contains("would stop it"), "{}", desk.note());
}
