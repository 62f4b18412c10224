//! The invariants of the operator's experience, by their numbers.

use countersign::console::app::{Effect, Link, State, What};
use countersign::console::dialog::{Dialog, FOCUS};
use countersign::control::wire::{HoldView, Notice};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::support::{
    A, B, C, Desk, SIZE, approve, approved, daemon, expired, gate, json, refund, rejected, rulings, sandbox, three,
};

#[test]
fn each_tier_has_its_gesture() {
    for hold in three() {
        let id = hold.id.to_string();
        let mut desk = Desk::new(SIZE, vec![hold]);
        assert_eq!(rulings(&approve(&mut desk)), approved(&id));
        assert_eq!(desk.app.dialog, None);
    }
}

/// C1: whatever single key is pressed, however often, nothing is approved; Esc never rejects.
#[test]
fn c1_no_single_key_approves_even_when_repeated() {
    let mut codes = vec![
        KeyCode::Enter,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Esc,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::PageDown,
        KeyCode::End,
    ];
    codes.extend((' '..='~').map(KeyCode::Char));
    for hold in three() {
        for code in &codes {
            let mut desk = Desk::new(SIZE, vec![hold.clone()]);
            desk.read_all();
            for _ in 0..5 {
                let effects = desk.key(*code);
                assert_eq!(rulings(&effects), [], "{code:?}");
            }
        }
    }
}

/// C1: with a question open, Enter, Space, Tab, Esc and a paste do not approve, and Esc does not reject.
#[test]
fn c1_a_question_is_not_answered_by_enter_space_tab_esc_or_paste() {
    for hold in three() {
        for code in [KeyCode::Enter, KeyCode::Char(' '), KeyCode::Tab, KeyCode::Esc] {
            let mut desk = Desk::new(SIZE, vec![hold.clone()]);
            desk.read_all();
            desk.key(KeyCode::Char('a'));
            assert!(desk.app.dialog.is_some());
            for _ in 0..4 {
                assert_eq!(rulings(&desk.key(code)), [], "{code:?}");
            }
        }
        let mut desk = Desk::new(SIZE, vec![hold]);
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        desk.draw();
        desk.wait(2000);
        assert_eq!(desk.step(What::Paste("y\r125000\ty\r\n".to_owned())), []);
        assert!(desk.note().contains("paste is off"), "{}", desk.note());
        assert_eq!(rulings(&desk.key(KeyCode::Enter)), []);
    }
    let mut desk = Desk::new(SIZE, three());
    desk.key(KeyCode::Char('r'));
    desk.letters("no");
    assert_eq!(rulings(&desk.key(KeyCode::Esc)), []);
    assert_eq!(desk.app.dialog, None);
}

/// C1: releases and repeats of a key, as some terminals report them, are nothing.
#[test]
fn c1_repeats_and_releases_are_nothing() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.draw();
    desk.wait(2000);
    for kind in [KeyEventKind::Repeat, KeyEventKind::Release] {
        let key = KeyEvent::new_with_kind(KeyCode::Char('y'), KeyModifiers::NONE, kind);
        assert_eq!(desk.step(What::Key(key)), []);
    }
}

fn long(id: &str) -> HoldView {
    let lines: Vec<_> = (0..60).map(|n| format!("\"key{n:02}\":{n}")).collect();
    HoldView { arguments: json(&format!("{{{}}}", lines.join(","))), confirm: Vec::new(), ..sandbox(id) }
}

/// C2: every line has to have been on the screen; the end alone is not enough.
#[test]
fn c2_approve_waits_until_every_line_has_been_on_the_screen() {
    let mut desk = Desk::new(SIZE, vec![long(C)]);
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    assert!(desk.note().contains("of 62 lines"), "{}", desk.note());
    for _ in 0..8 {
        desk.press(KeyCode::PageDown);
    }
    // The pages between were never drawn.
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None, "{:?}", desk.app.seen());
    for _ in 0..80 {
        desk.press(KeyCode::Char('K'));
    }
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert!(desk.app.dialog.is_some());
}

/// C2: what was seen stays seen at another width, and nothing else becomes seen by it.
#[test]
fn c2_holds_across_a_resize() {
    let text = "x".repeat(2000);
    let hold = HoldView { arguments: json(&format!("{{\"a\":\"{text}\"}}")), ..sandbox(C) };
    let mut desk = Desk::new((140, 40), vec![hold]);
    let before = desk.app.seen();
    assert_eq!(before.0, before.1);
    desk.resize(60, 16);
    let after = desk.app.seen();
    assert_eq!(after.0, after.1);
    assert!(after.1 > before.1);
}

/// C2: a line that a question covers has not been seen.
#[test]
fn c2_nothing_is_seen_behind_a_question() {
    let mut desk = Desk::new(SIZE, vec![long(C)]);
    let before = desk.app.seen();
    desk.key(KeyCode::Char('?'));
    desk.draw();
    desk.step(What::Resize(120, 60));
    desk.draw();
    assert_eq!(desk.app.seen().0, before.0);
}

/// C3: the ruling names the hold and the digest that was on the screen.
#[test]
fn c3_the_ruling_names_the_digest_that_was_shown() {
    let hold = sandbox(C);
    let mut desk = Desk::new(SIZE, vec![hold.clone()]);
    let effects = approve(&mut desk);
    match &effects[..] {
        [Effect::Send { connection: 1, command }] => {
            let text = serde_json::to_string(command).unwrap();
            assert!(text.contains(&hold.digest.to_string()), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

/// C3: a hold whose content changes has to be read again, and an open question about it is void.
#[test]
fn c3_a_change_voids_the_question_and_what_was_read() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert!(desk.app.dialog.is_some());
    desk.hold(HoldView { arguments: json(r#"{"customer":"cust-999"}"#), ..sandbox(C) });
    assert_eq!(desk.app.seen().0, 0);
    assert_eq!(rulings(&desk.press(KeyCode::Char('y'))), []);
    assert!(desk.voided().contains("it changed"));
}

/// C4: keys that are older than the display are ignored, whatever they are.
#[test]
fn c4_type_ahead_is_void() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.wait(1000);
    // All in one burst: the question was never on the screen.
    assert_eq!(desk.press(KeyCode::Char('a')), []);
    assert_eq!(desk.press(KeyCode::Char('y')), []);
    desk.draw();
    desk.wait(399);
    assert_eq!(desk.press(KeyCode::Char('y')), []);
    assert!(desk.note().contains("not so fast"));
}

/// C4: 400 ms in the tiers below high.
#[test]
fn c4_the_answer_counts_after_400_ms() {
    for (hold, wait, counts) in
        [(sandbox(C), 399, false), (sandbox(C), 400, true), (gate(B), 399, false), (gate(B), 400, true)]
    {
        let mut desk = Desk::new(SIZE, vec![hold]);
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        desk.draw();
        desk.wait(wait);
        assert_eq!(!rulings(&desk.press(KeyCode::Char('y'))).is_empty(), counts);
    }
}

/// C4: in the highest tier the button needs a moment of its own, even for somebody who types fast.
#[test]
fn c4_tier_high_takes_a_second() {
    let typed = |desk: &mut Desk, pause: u64| {
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        desk.draw();
        desk.wait(400);
        "125000".chars().for_each(|digit| drop(desk.press(KeyCode::Char(digit))));
        desk.press(KeyCode::Tab);
        desk.draw();
        desk.wait(pause);
        rulings(&desk.press(KeyCode::Enter))
    };
    let moment = u64::try_from(FOCUS.as_millis()).unwrap();
    assert_eq!(typed(&mut Desk::new(SIZE, vec![refund(A)]), moment - 1), []);
    assert_eq!(typed(&mut Desk::new(SIZE, vec![refund(A)]), moment), approved(A));

    let mut desk = Desk::new(SIZE, vec![refund(A)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.letters("125000");
    // Tab and Enter in one burst.
    desk.press(KeyCode::Tab);
    assert_eq!(rulings(&desk.press(KeyCode::Enter)), []);
}

/// C4: a key that is held down never counts, before the question or after it.
#[test]
fn c4_held_down_keys_never_rule() {
    for hold in three() {
        for code in [KeyCode::Char('a'), KeyCode::Char('y'), KeyCode::Enter] {
            let mut desk = Desk::new(SIZE, vec![hold.clone()]);
            desk.read_all();
            desk.key(KeyCode::Char('a'));
            desk.draw();
            for _ in 0..200 {
                desk.wait(30);
                assert_eq!(rulings(&desk.press(code)), []);
                desk.draw();
            }
        }
    }
}

/// C4: the Enter that leaves the last field, held down, where a terminal says presses for repeats.
#[test]
fn c4_an_enter_held_from_the_last_field_never_rules() {
    for delay in [250, 500, 660] {
        let mut desk = Desk::new(SIZE, vec![refund(A)]);
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        desk.letters("125000");
        desk.wait(2000);
        desk.press(KeyCode::Enter);
        desk.draw();
        desk.wait(delay);
        for _ in 0..200 {
            assert_eq!(rulings(&desk.press(KeyCode::Enter)), [], "{delay}");
            desk.draw();
            desk.wait(30);
        }
        desk.wait(2000);
        assert_eq!(rulings(&desk.press(KeyCode::Enter)), approved(A), "a press of its own counts");
    }
}

/// C4: `a` itself waits for the screen.
#[test]
fn c4_a_waits_for_the_screen() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C), gate(B)]);
    desk.key(KeyCode::Char('j'));
    desk.draw();
    desk.wait(399);
    desk.press(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    assert!(desk.note().contains("not so fast"));
}

/// C4: a question opens on Back.
#[test]
fn c4_enter_on_a_fresh_question_goes_back() {
    for hold in three() {
        let mut desk = Desk::new(SIZE, vec![hold]);
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        assert!(desk.app.dialog.is_some());
        assert_eq!(desk.key(KeyCode::Enter), []);
        assert_eq!(desk.app.dialog, None);
    }
}

/// C5: what is new goes to the end; what ends above the cursor stays; the cursor stays on its hold.
#[test]
fn c5_the_list_never_moves_under_the_cursor() {
    let mut desk = Desk::new(SIZE, three());
    desk.key(KeyCode::Char('j'));
    let row = |desk: &mut Desk| {
        let screen = desk.screen();
        screen.lines().position(|line| line.starts_with(" > ")).expect("a cursor")
    };
    let before = row(&mut desk);
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), B);
    desk.hold(HoldView { created_at: "2020-01-01T00:00:00Z".to_owned(), ..refund("0000000000AA") });
    desk.hold(rejected(refund(A), "no"));
    for n in 0..30 {
        desk.hold(sandbox(&format!("0000000000{n:02}")));
    }
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), B);
    assert_eq!(row(&mut desk), before);
    desk.key(KeyCode::Char('k'));
    assert_ne!(desk.app.selected.as_ref().unwrap().as_str(), B);
}

/// C5, tui-017: the question is about the hold that was selected, whatever arrives meanwhile.
#[test]
fn c5_a_question_stays_with_its_hold() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.hold(refund(A));
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), approved(C));
}

/// C6: a hold that ends while its question is open voids the question.
#[test]
fn c6_a_hold_that_ends_voids_its_question() {
    for hold in three() {
        let mut desk = Desk::new(SIZE, vec![hold.clone()]);
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        assert!(desk.app.dialog.is_some());
        desk.hold(rejected(hold, "wrong pi"));
        assert!(desk.voided().contains("ben rejected: wrong pi"));
        for code in [KeyCode::Char('y'), KeyCode::Char('a'), KeyCode::Char('y'), KeyCode::Char('r')] {
            assert_eq!(rulings(&desk.key(code)), []);
        }
        assert_eq!(desk.app.dialog, None);
        assert!(desk.screen().contains("ben rejected: wrong pi"));
    }
}

/// C6: when the hold's time is over nothing can be approved, whether or not the daemon has said so.
#[test]
fn c6_an_over_hold_cannot_be_approved() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.wait(600_000);
    assert!(desk.voided().contains("time of this hold is over"));
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), []);
    desk.key(KeyCode::Char('a'));
    assert!(desk.note().contains("time is over"), "{}", desk.note());

    let unreadable = HoldView { expires_at: "soon".to_owned(), ..sandbox(C) };
    let mut desk = Desk::new(SIZE, vec![unreadable]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
}

/// C6: a snapshot without the hold voids the question too.
#[test]
fn c6_a_snapshot_replaces_everything() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C), gate(B)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert_eq!(
        desk.app.dialog.as_ref().and_then(|asked| asked.holds().first().copied()).unwrap().as_str(),
        B,
        "the oldest is first"
    );
    desk.news(Notice::Snapshot { seq: None, holds: vec![sandbox(C)], daemon: daemon() });
    assert!(desk.voided().contains("does not know it"));
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), C);
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), []);
}

/// C7, tui-014: whatever the payload is, it stands behind the gutter, and the rest of the screen stays as it was.
#[test]
fn c7_payload_never_draws_chrome() {
    let plain = HoldView { arguments: json(r#"{"note":"x"}"#), ..sandbox(C) };
    let quiet = Desk::new(SIZE, vec![plain.clone()]).screen();
    let note = r#"┐\n│ policy: ALLOW │\n└── press a⟨U+0041⟩ \r[2J"#.replace("\\r", "");
    let loud =
        Desk::new(SIZE, vec![HoldView { arguments: json(&format!("{{\"note\":\"{note}\"}}")), ..plain }]).screen();
    let changed: Vec<_> = quiet.lines().zip(loud.lines()).filter(|(quiet, loud)| quiet != loud).collect();
    assert_eq!(changed.len(), 2, "{loud}");
    let [(_, heading), (_, payload)] = changed[..] else { panic!("{changed:?}") };
    assert!(heading.starts_with("Arguments · complete"), "{heading}");
    assert!(
        payload.starts_with("│    \"note\": \"┐\\n│ policy: ALLOW │\\n└── press a⟨U+27E8⟩U+0041⟨U+27E9⟩"),
        "{payload}"
    );
}

/// C8: without colour the screen has the same text, so nothing is said by colour alone.
#[test]
fn c8_colour_carries_no_meaning() {
    for code in [KeyCode::Char('a'), KeyCode::Char('r'), KeyCode::Char('?')] {
        let mut with = Desk::new(SIZE, three());
        let mut without = Desk::new(SIZE, three());
        without.app.theme = countersign::console::theme::Theme::Mono;
        for desk in [&mut with, &mut without] {
            desk.read_all();
            desk.key(code);
        }
        assert_eq!(with.screen(), without.screen());
        let buffer = without.draw();
        assert!(buffer.content.iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
    }
}

/// C9: without the daemon nothing can be ruled, and an open question is void.
#[test]
fn c9_a_lost_daemon_takes_every_action_away() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.link(Link::Down { why: "the daemon closed the connection".to_owned() });
    assert!(desk.voided().contains("daemon went away"));
    assert!(matches!(desk.app.state, State::Lost { .. }));
    for code in [KeyCode::Char('y'), KeyCode::Char('a'), KeyCode::Char('y'), KeyCode::Char('r')] {
        assert_eq!(rulings(&desk.key(code)), []);
    }
    assert_eq!(desk.app.dialog, None);
    // Back, but the list has not come: still nothing.
    desk.link(Link::Up { number: 2, operator: "ana".to_owned(), daemon: daemon() });
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    desk.news(Notice::Snapshot { seq: None, holds: vec![sandbox(C)], daemon: daemon() });
    let effects = approve(&mut desk);
    assert!(matches!(effects[..], [Effect::Send { connection: 2, .. }]), "{effects:?}");
}

#[test]
fn quitting_asks_while_holds_wait_and_nobody_else_watches() {
    let mut desk = Desk::new(SIZE, three());
    assert_eq!(desk.key(KeyCode::Char('q')), []);
    assert_eq!(desk.app.dialog, Some(Dialog::Quit));
    assert_eq!(desk.key(KeyCode::Enter), []);
    assert_eq!(desk.app.dialog, None);
    desk.key(KeyCode::Char('q'));
    assert_eq!(desk.key(KeyCode::Char('y')), [Effect::Quit]);

    let mut desk = Desk::new(SIZE, three());
    desk.ctrl('c');
    assert_eq!(desk.ctrl('c'), [Effect::Quit]);

    let mut desk = Desk::new(SIZE, three());
    desk.news(Notice::Daemon { daemon: countersign::control::wire::Daemon { consoles: 2, ..daemon() } });
    assert_eq!(desk.key(KeyCode::Char('q')), [Effect::Quit]);
    let mut desk = Desk::new(SIZE, vec![expired(refund(A))]);
    assert_eq!(desk.key(KeyCode::Char('q')), [Effect::Quit]);
    let mut desk = Desk::new(SIZE, Vec::new());
    desk.app.owns_daemon = true;
    assert_eq!(desk.key(KeyCode::Char('q')), []);
    assert_eq!(desk.app.dialog, Some(Dialog::Quit));
}

#[test]
fn a_window_that_is_too_small_rules_nothing() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.resize(59, 24);
    let screen = desk.screen();
    assert!(screen.contains("59x24") && screen.contains("countersign pending"), "{screen}");
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), []);
    assert_eq!(desk.key(KeyCode::Char('q')), [Effect::Quit]);
}

#[test]
fn a_new_hold_rings_and_an_old_one_does_not() {
    let mut desk = Desk::new(SIZE, Vec::new());
    assert_eq!(desk.hold(refund(A)), [Effect::Bell]);
    assert_eq!(desk.hold(refund(A)), []);
    assert_eq!(desk.hold(rejected(refund(A), "no")), []);
    assert_eq!(desk.hold(gate(B)), [], "not every moment");
    desk.wait(2000);
    assert_eq!(desk.hold(sandbox(C)), [Effect::Bell]);
}
