//! `w`: long lines that are not wrapped are panned, and what was not on the screen was not seen.

use countersign::control::wire::HoldView;
use countersign::json::JsonText;
use crossterm::event::KeyCode;

use crate::support::{A, Desk, sandbox};

/// What would do harm stands far to the right.
fn long(id: &str) -> HoldView {
    let note = format!("{}DROP everything", "as agreed with the customer on the phone, ".repeat(8));
    let arguments =
        JsonText::of(&serde_json::json!({ "customer": "cust-118", "note": note, "plan": "plan-pro" })).unwrap();
    HoldView { arguments, ..sandbox(id) }
}

fn unwrapped(size: (u16, u16)) -> Desk {
    let mut desk = Desk::new(size, vec![long(A)]);
    desk.key(KeyCode::Enter);
    desk.key(KeyCode::Char('w'));
    desk
}

/// C2: an approval waits until all of a line has been on the screen.
#[test]
fn what_lies_to_the_right_has_to_be_seen_before_an_approval() {
    for key in ['l', 'w'] {
        // Nothing is read before: the lines are unwrapped from the first look on.
        let mut desk = Desk::new((80, 24), vec![sandbox("H7K5T6V7X8YZ")]);
        desk.key(KeyCode::Char('w'));
        desk.hold(long(A));
        desk.key(KeyCode::Char('j'));
        desk.key(KeyCode::Enter);
        for _ in 0..10 {
            desk.press(KeyCode::PageDown);
            desk.draw();
        }
        assert!(!desk.screen().contains("DROP"));
        let (seen, must) = desk.app.seen();
        assert_eq!(must - seen, 1, "{}", desk.screen());
        desk.key(KeyCode::Char('a'));
        assert!(desk.app.dialog.is_none());
        assert!(desk.note().contains("l goes to the right, w wraps long lines"), "{}", desk.note());
        let (keys, last) = if key == 'l' { (40, "DROP everything\",") } else { (1, "DROP") };
        for _ in 0..keys {
            desk.key(KeyCode::Char(key));
        }
        desk.read_all();
        assert!(desk.screen().contains(last), "{}", desk.screen());
        desk.key(KeyCode::Char('a'));
        assert!(desk.app.dialog.is_some(), "{key}: {}", desk.note());
    }
}

/// A row that goes on says so, outside of where payload is drawn.
#[test]
fn a_row_that_goes_on_is_marked_on_both_sides() {
    for size in [(80, 24), (120, 40)] {
        let mut desk = unwrapped(size);
        insta::assert_snapshot!(format!("wrap_off_{}x{}", size.0, size.1), desk.screen());
        desk.key(KeyCode::Char('l'));
        insta::assert_snapshot!(format!("wrap_off_right_{}x{}", size.0, size.1), desk.screen());
        for _ in 0..40 {
            desk.key(KeyCode::Char('l'));
        }
        let screen = desk.screen();
        assert!(screen.contains("DROP everything\",") && !screen.contains('›'), "{screen}");
        for _ in 0..40 {
            desk.key(KeyCode::Char('h'));
        }
        assert!(!desk.screen().contains('‹'), "{}", desk.screen());
        desk.key(KeyCode::Char('w'));
        desk.read_all();
        assert!(desk.screen().contains("DROP"), "{}", desk.screen());
    }
}

/// Of a terminal without other letters too.
#[test]
fn in_ascii_the_marks_are_ascii() {
    let mut desk = unwrapped((80, 24));
    desk.app.ascii = true;
    desk.app.open = None;
    desk.key(KeyCode::Char('l'));
    let screen = desk.screen();
    assert!(screen.is_ascii(), "{screen}");
    let row = screen.lines().find(|row| row.starts_with("|    < customer")).unwrap_or_else(|| panic!("{screen}"));
    assert!(row.ends_with('>'), "{row}");
}

/// Long escapes, deep inside, in the narrowest window: whatever their places, steps to the right show every one.
#[test]
fn every_escape_can_be_shown_where_lines_are_not_wrapped() {
    for before in 0..24 {
        let text = format!("{}{}", "x".repeat(before), "\u{200b}".repeat(40) + "abc").repeat(6);
        let deep = (0..14).fold(serde_json::json!(text), |inner, _| serde_json::json!({ "a": inner }));
        let hold = HoldView { arguments: JsonText::of(&deep).unwrap(), ..sandbox(A) };
        let mut desk = Desk::new((60, 40), vec![sandbox("H7K5T6V7X8YZ")]);
        desk.key(KeyCode::Char('w'));
        desk.hold(hold);
        desk.key(KeyCode::Char('j'));
        desk.key(KeyCode::Enter);
        // All that is short first, then along the one line that is not.
        for key in [KeyCode::PageDown, KeyCode::PageUp] {
            for _ in 0..6 {
                desk.key(key);
            }
        }
        for _ in 0..100 {
            desk.key(KeyCode::Char('l'));
        }
        let (seen, must) = desk.app.seen();
        assert_eq!(seen, must, "{before}: {}", desk.screen());
    }
}
