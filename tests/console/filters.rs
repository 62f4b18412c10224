//! What the queue shows of itself.

use countersign::console::app::Effect;
use countersign::console::filter::{Filter, Of};
use countersign::control::wire::{HoldView, RecordView};
use crossterm::event::KeyCode;

use crate::support::{A, B, C, Desk, SIZE, gate, record, refund, rejected, sandbox, three};

#[test]
fn the_language_of_the_filters() {
    let desk = Desk::new(SIZE, three());
    let takes = |text: &str| -> Vec<String> {
        let filter = Filter::parse(text, Of::Holds).unwrap();
        let taken = desk.app.holds.all().filter(|entry| filter.takes(entry));
        let mut ids: Vec<_> = taken.map(|entry| entry.view.id.to_string()).collect();
        ids.sort();
        ids
    };
    for (text, ids) in [
        ("", vec![A, B, C]),
        ("env:live", vec![A, B]),
        ("env:LIVE tool:refund", vec![A]),
        ("risk:>=medium", vec![A, B]),
        ("risk:>low !tool:gate", vec![A]),
        ("risk:high", vec![A]),
        ("risk:<=!!", vec![B, C]),
        ("!test", vec![A, B]),
        ("stigg", vec![C]),
        ("rule:refunds.over", vec![A]),
        ("session:s-19 server:st client:claude", vec![A, B, C]),
        ("id:h7k3", vec![B]),
        ("state:pending", vec![A, B, C]),
        ("nothing-like-it", vec![]),
        ("125000", vec![A]),
        ("1k8Yt", vec![A]),
        ("checkout_v2", vec![B]),
        ("100.00", vec![A]),
        ("requested_by_customer", vec![]),
        ("arg:Requested_by_customer", vec![A]),
        ("arg:\"rollout\":100", vec![B]),
    ] {
        assert_eq!(takes(text), ids, "{text}");
    }
    for (text, says) in
        [("colour:red", "no field"), ("risk:huge", "low, medium or high"), ("!", "before a word"), ("env:", "of what")]
    {
        assert!(Filter::parse(text, Of::Holds).unwrap_err().contains(says), "{text}");
    }
    assert!(Filter::parse("risk:high", Of::Records).is_err());
}

/// A filter that hides something says how much, also of what comes later, and whatever it hides still rings.
#[test]
fn a_filter_never_hides_silently() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.key(KeyCode::Char('/'));
    desk.letters("colour:red");
    desk.key(KeyCode::Enter);
    assert!(desk.app.dialog.is_some() && desk.screen().contains("there is no field"));
    desk.ctrl('u');
    desk.letters("env:test");
    desk.key(KeyCode::Enter);
    assert_eq!(desk.app.filter.text, "env:test");
    assert_eq!(desk.hold(refund(A)), [Effect::Bell]);
    assert!(desk.screen().contains("1 HOLD HIDDEN by the filter"), "{}", desk.screen());
    desk.hold(rejected(sandbox(C), "no"));
    desk.hold(gate(B));
    assert!(desk.screen().contains("2 HOLDS HIDDEN by the filter"), "{}", desk.screen());
    desk.key(KeyCode::Esc);
    assert!(!desk.screen().contains("HIDDEN"));
}

/// A name may have spaces, colons and a `!`: none of it is a term of its own.
#[test]
fn the_records_of_an_operation_are_found_by_its_whole_name() {
    let operation = "PATCH /console/v1/gates/{id} !op:x";
    let filter = Filter::of_operation("Statsig", operation);
    let of = |operation: &str| RecordView {
        server: Some("statsig".to_owned()),
        operation: Some(operation.to_owned()),
        ..record(1)
    };
    assert!(filter.takes_record(&of(operation)));
    assert!(!filter.takes_record(&of("PATCH /console/v1/layers/{id}")) && !filter.takes_record(&record(1)));
}

/// Arguments are looked into once for a filter, whatever else happens, and anew where they or the filter change.
#[test]
fn arguments_are_searched_once_for_a_filter() {
    let with = |arguments: &str| HoldView { arguments: crate::support::json(arguments), ..refund(A) };
    let mut desk = Desk::new(SIZE, vec![with(r#"{"note":"Order 7"}"#), sandbox(C)]);
    let searched = |desk: &Desk| desk.app.holds.get(&A.parse().unwrap()).unwrap().searched.clone();
    assert_eq!(searched(&desk), None, "nothing asks for them");
    let filter = |desk: &mut Desk, text: &str| {
        desk.key(KeyCode::Char('/'));
        desk.ctrl('u');
        desk.letters(text);
        desk.key(KeyCode::Enter);
    };
    filter(&mut desk, "arg:order");
    assert_eq!(searched(&desk), Some(("arg:order".to_owned(), true)));
    assert!(desk.screen().contains("1 HOLD HIDDEN"), "{}", desk.screen());
    // An answer that is known is taken; this one is wrong, so that it shows.
    desk.app.holds.get_mut(&A.parse().unwrap()).unwrap().searched = Some(("arg:order".to_owned(), false));
    desk.wait(50);
    assert!(desk.screen().contains("2 HOLDS HIDDEN"), "{}", desk.screen());
    desk.hold(with(r#"{"note":"order 8"}"#));
    assert!(desk.screen().contains("1 HOLD HIDDEN"), "{}", desk.screen());
    filter(&mut desk, "!arg:order");
    assert_eq!(searched(&desk), Some(("!arg:order".to_owned(), false)));
}

/// What a filter hides cannot be ruled on: the selection goes elsewhere and has to be looked at.
#[test]
fn a_filter_moves_the_selection_off_what_it_hides() {
    let mut desk = Desk::new(SIZE, vec![refund(A), sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char('/'));
    desk.letters("test");
    desk.key(KeyCode::Enter);
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), C);
    desk.press(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
}
