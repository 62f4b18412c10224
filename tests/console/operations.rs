//! Calls of a tool that runs one of many operations, and what is said of their size and of where they reach.

use countersign::call::{Magnitude, Money, Reach, ReachMode};
use countersign::console::describe;
use countersign::console::rows::Row;
use countersign::control::wire::HoldView;
use crossterm::event::KeyCode;

use crate::chat::{Chat, said};
use crate::support::{A, B, Desk, SIZE, json, refund, sandbox};

/// A coupon of everything for ever, through the tool that writes.
fn coupon(id: &str) -> HoldView {
    HoldView {
        tool: "stripe_api_write".to_owned(),
        operation: "PostCoupons".to_owned(),
        money: None,
        magnitude: Some(Magnitude { value: Some("100".to_owned()), unit: "percent".to_owned(), absent: None }),
        reach: Some(Reach {
            mode: Some(ReachMode::Production),
            accounts: vec!["acct_1".to_owned()],
            ..Reach::default()
        }),
        targets: vec!["all".to_owned()],
        effect: Some("creates a discount that may be used many times".to_owned()),
        arguments: json(r#"{"parameters":{"percent_off":100,"duration":"forever"}}"#),
        confirm: Vec::new(),
        ..refund(id)
    }
}

fn charge(id: &str) -> HoldView {
    let (amount, currency) = (Some("5000".to_owned()), Some("usd".to_owned()));
    let money = Money { amount, unit: "minor".to_owned(), currency, absent: None };
    HoldView { operation: "PostCharges".to_owned(), money: Some(money), magnitude: None, reach: None, ..coupon(id) }
}

#[test]
fn what_one_tool_runs_is_told_apart_and_folded_apart() {
    let mut desk = Desk::new(SIZE, vec![coupon(A), charge(B)]);
    assert!(matches!(desk.app.rows.get(0), Some(Row::Hold(_))), "they are not alike");
    assert_eq!(desk.app.rows.len(), 2);
    let screen = desk.screen();
    for part in ["stripe_api_write", "PostCoupons  100 perc", "PostCharges  5000 usd"] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    desk.key(KeyCode::Char('r'));
    let screen = desk.screen();
    assert!(screen.contains("stripe_api_write → Post"), "{screen}");
    let two = Desk::new(SIZE, vec![coupon(A), coupon(B)]);
    assert!(matches!(two.app.rows.get(0), Some(Row::Group(ids)) if ids.len() == 2));
}

#[test]
fn the_detail_has_the_size_and_where_a_call_reaches() {
    let mut desk = Desk::new((120, 60), vec![coupon(A)]);
    let screen = desk.screen();
    for line in ["Size      100 percent", "Reaches   mode production; accounts acct_1"] {
        assert!(screen.contains(line), "{line}\n{screen}");
    }
    assert!(!screen.contains("no amount in the call"), "{screen}");
    let absent = Magnitude { value: None, unit: "count".to_owned(), absent: Some("unlimited".to_owned()) };
    let reach = Reach { everywhere: true, environments: vec!["staging".to_owned()], ..Reach::default() };
    let wide = HoldView { magnitude: Some(absent), reach: Some(reach), ..coupon(A) };
    let screen = Desk::new((120, 60), vec![wide.clone()]).screen();
    for line in [
        "Size      not in the call, which means: unlimited (count)",
        "Reaches   all environments; environments staging",
    ] {
        assert!(screen.contains(line), "{line}\n{screen}");
    }
    assert_eq!(
        describe::summary(&wide),
        "PostCoupons  unlimited (count)  all  in all environments; environments staging"
    );
    assert!(describe::summary(&coupon(A)).ends_with("all  in mode production; accounts acct_1"));
}

/// The agent sets the price of what it counts, so that neither number says how much the call does.
#[test]
fn numbers_that_do_not_say_all_are_said_to_be_so() {
    let size = Magnitude { value: Some("1".to_owned()), unit: "count".to_owned(), absent: None };
    let session = HoldView { magnitude: Some(size), reach: None, targets: Vec::new(), unmeasured: true, ..coupon(A) };
    let whole = HoldView { unmeasured: false, ..session.clone() };
    assert_eq!(describe::summary(&session), "PostCoupons  NOT ALL  1 count");
    assert_eq!(describe::summary(&whole), "PostCoupons  1 count");
    let screen = Desk::new((120, 60), vec![session.clone()]).screen();
    assert!(screen.contains("Not all   the call does more than these numbers count: read its arguments"), "{screen}");
    assert!(!Desk::new((120, 60), vec![whole]).screen().contains("Not all"));
    let (_chat, effects) = Chat::new(vec![session]);
    let line = "Not all: the call does more than these numbers count: read its arguments";
    assert!(said(&effects).iter().any(|said| said == line), "{effects:#?}");
    // Where there are no numbers, none of them misleads.
    let bare = HoldView { money: None, magnitude: None, unmeasured: true, ..coupon(B) };
    assert!(!describe::summary(&bare).contains("NOT ALL"));
}

/// What a call says of its size and places hides nothing.
#[test]
fn hidden_characters_of_a_size_and_a_place_are_shown() {
    let size = Magnitude { value: Some("\"1\u{202E}0\"".to_owned()), unit: "percent".to_owned(), absent: None };
    let reach = Reach { environments: vec!["stag\u{200B}ing".to_owned()], ..Reach::default() };
    let hold = HoldView { magnitude: Some(size), reach: Some(reach), ..sandbox(A) };
    let screen = Desk::new((120, 60), vec![hold]).screen();
    for part in ["\"1⟨U+202E⟩0\" percent", "environments stag⟨U+200B⟩ing"] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    assert!(!screen.contains(['\u{202E}', '\u{200B}']), "{screen}");
}

#[test]
fn plain_mode_says_the_operation_the_size_and_the_reach() {
    let (mut chat, effects) = Chat::new(vec![coupon(A)]);
    let lines = said(&effects);
    for line in [
        "Hold H7K2QW0A1B2C. High risk. LIVE. Server stripe. Tool stripe_api_write. Operation PostCoupons.",
        "Size: 100 percent",
        "Reaches: mode production; accounts acct_1",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line}\n{lines:#?}");
    }
    let listed = said(&chat.types("list"));
    assert!(listed.iter().any(|line| line.contains("stripe_api_write: PostCoupons  100 percent")), "{listed:#?}");
}
