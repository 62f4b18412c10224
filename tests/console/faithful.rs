//! What is on the screen is what is sent: the arguments are read back from the cells of the terminal, by a reader that
//! knows nothing of how they were drawn; and nothing in them reaches the parts of the screen that are ours.

use countersign::console::view;
use countersign::control::wire::HoldView;
use countersign::json::JsonText;
use crossterm::event::KeyCode;
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use unicode_width::UnicodeWidthStr;

use crate::support::{A, Desk, refund, sandbox};

/// The rows of the document that a frame shows, as text.
fn rows(desk: &Desk, buffer: &Buffer) -> Vec<String> {
    let area = view::areas(&desk.app).doc;
    let row = |y: u16| {
        let (mut text, mut x) = (String::new(), area.left());
        while x < area.right() {
            let symbol = buffer[(x, y)].symbol();
            text.push_str(symbol);
            x += u16::try_from(symbol.width()).unwrap().max(1);
        }
        text
    };
    (area.top()..area.bottom()).map(row).collect()
}

/// Pages through the whole document, opening whatever is folded.
fn everything(desk: &mut Desk) -> Vec<String> {
    desk.press(KeyCode::Enter);
    let mut all = Vec::new();
    loop {
        let buffer = desk.draw();
        let shown = rows(desk, &buffer);
        if shown.iter().any(|row| row.starts_with("│▸")) {
            desk.press(KeyCode::Char('l'));
            continue;
        }
        let open = desk.app.open.as_ref().unwrap();
        let (scroll, length) = (open.scroll, open.layout.len());
        all.truncate(scroll);
        all.extend(shown);
        if all.len() >= length {
            all.truncate(length);
            return all;
        }
        desk.press(KeyCode::PageDown);
    }
}

/// The bytes that rows of payload say.
fn bytes(rows: &[String]) -> String {
    let mut shown = String::new();
    for row in rows {
        if let Some(rest) = row.strip_prefix("│↳ ") {
            shown.push_str(rest.trim_end_matches(' '));
        } else if let Some(rest) = row.strip_prefix('│') {
            shown.push_str(rest[1..].trim_matches(' '));
        }
    }
    // Escapes, then the blanks between tokens.
    let mut out = String::new();
    let (mut inside, mut escaped) = (false, false);
    let mut rest = shown.as_str();
    let mut take = |letter: char| {
        if inside || letter != ' ' {
            out.push(letter);
        }
        if inside && !escaped && letter == '\\' {
            escaped = true;
            return;
        }
        if letter == '"' && !escaped {
            inside = !inside;
        }
        escaped = false;
    };
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if letter != '⟨' {
            take(letter);
            continue;
        }
        let (name, after) = rest.split_once('⟩').expect("an escape has an end");
        rest = after;
        let (name, count) = name.split_once('×').unwrap_or((name, "1"));
        let letter = match name {
            "space" => ' ',
            marks if marks.starts_with('+') => continue,
            point => char::from_u32(u32::from_str_radix(&point[2..], 16).unwrap()).unwrap(),
        };
        (0..count.parse().unwrap()).for_each(|_| take(letter));
    }
    out
}

fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<char>().prop_map(String::from),
        "[a-z ]{0,30}",
        Just("⟨U+202E⟩\u{202E}│▸ ┆= ↳\u{2550}".to_owned()),
        Just(" ".repeat(12)),
        Just("e\u{301}\u{301}\u{301}".to_owned()),
        Just("手가".repeat(20)),
        Just("\"\\\r\n\u{1b}[2J\u{9b}31m".to_owned()),
        Just("%41%0A".to_owned()),
        Just("{\"a\":1}".to_owned()),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

fn any_arguments() -> impl Strategy<Value = JsonText> {
    let leaf = prop_oneof![
        any_text().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null)
    ];
    let value = leaf.prop_recursive(4, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
            prop::collection::vec((any_text(), inner.clone()), 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            // Long enough to be folded.
            (inner, 30..250_usize).prop_map(|(value, count)| match value {
                serde_json::Value::Number(_) => serde_json::Value::from(vec![value; count]),
                other => other,
            }),
        ]
    });
    value.prop_map(|value| JsonText::of(&serde_json::json!({ "v": value })).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// I10, C7: the screen, read by somebody else, says the exact bytes.
    #[test]
    fn the_terminal_says_the_exact_bytes(arguments in any_arguments(), width in 60_u16..140, height in 16_u16..50) {
        let hold = HoldView { arguments: arguments.clone(), ..sandbox(A) };
        let mut desk = Desk::new((width, height), vec![hold]);
        let rows = everything(&mut desk);
        prop_assert_eq!(bytes(&rows), arguments.as_str());
        let (seen, must) = desk.app.seen();
        prop_assert_eq!(seen, must, "all of it has been on the screen");
    }

    /// C7: whatever the arguments are, the bar stands before them, and the rest of the screen is as it is without them.
    #[test]
    fn arguments_draw_nothing_but_their_own_rows(text in any_text(), width in 60_u16..140) {
        let with = |value: &str| {
            let arguments = JsonText::of(&serde_json::json!({ "v": value })).unwrap();
            let hold = HoldView { arguments, targets: Vec::new(), ..refund(A) };
            let mut desk = Desk::new((width, 40), vec![hold]);
            let buffer = desk.draw();
            (desk, buffer)
        };
        let (desk, hostile) = with(&text);
        let (plain_desk, plain) = with("x");
        let areas = view::areas(&desk.app);
        for y in 0..40 {
            for x in 0..width {
                let ours = !areas.doc.contains((x, y).into()) && y != areas.rule.y;
                // The marks of the tier may differ: hidden characters raise it.
                if ours && desk.app.selected().unwrap().risk.tier == plain_desk.app.selected().unwrap().risk.tier {
                    prop_assert_eq!(hostile[(x, y)].symbol(), plain[(x, y)].symbol(), "column {} row {}", x, y);
                }
            }
        }
        let open = desk.app.open.as_ref().unwrap();
        for (n, row) in rows(&desk, &hostile).iter().enumerate().take(open.layout.len()) {
            let kind = open.doc.row(&open.layout, open.scroll + n).unwrap().kind;
            let first = match kind {
                countersign::console::doc::Kind::Payload { .. } | countersign::console::doc::Kind::Fold => Some('│'),
                countersign::console::doc::Kind::Note => Some('┆'),
                _ => None,
            };
            if let Some(first) = first {
                prop_assert!(row.starts_with(first), "{row}");
            }
        }
    }
}

/// An approval waits for what is folded.
#[test]
fn what_is_folded_has_to_be_opened_before_an_approval() {
    let items: Vec<_> = (0..400).collect();
    let arguments = JsonText::of(&serde_json::json!({ "items": items })).unwrap();
    let mut desk = Desk::new((80, 24), vec![HoldView { arguments, ..sandbox(A) }]);
    for _ in 0..20 {
        desk.press(KeyCode::PageDown);
        desk.draw();
    }
    desk.key(KeyCode::Char('a'));
    assert!(desk.app.dialog.is_none());
    assert!(desk.note().starts_with("seen 5 of 405 lines"), "{}", desk.note());
    everything(&mut desk);
    desk.key(KeyCode::Char('a'));
    assert!(desk.app.dialog.is_some(), "{}", desk.note());
}

/// What only numbers a request costs no screen, and nothing of it is hidden; anything else is shown value by value.
#[test]
fn what_numbers_a_request_takes_one_line() {
    let rows_of = |meta: &str| {
        let meta = Some(JsonText::parse(meta, countersign::json::Rules::CLIENT).unwrap());
        let mut desk = Desk::new((80, 60), vec![HoldView { meta, ..sandbox(A) }]);
        let all = everything(&mut desk);
        assert_eq!(desk.app.seen().0, desk.app.seen().1);
        all
    };
    let has = |rows: &[String], text: &str| rows.iter().any(|row| row.trim_end() == text);
    assert!(has(&rows_of(r#"{"progressToken":5}"#), r#"│  {"progressToken":5}"#));
    for odd in [
        r#"{"progressToken":"5"}"#,
        r#"{"progressToken":1234567890}"#,
        r#"{"progressToken":5,"x":{"a":1}}"#,
        r#"{"override":1e9}"#,
        r#"{"override":-1}"#,
    ] {
        let rows = rows_of(odd);
        assert!(has(&rows, "│  {") && !has(&rows, &format!("│  {odd}")), "{rows:#?}");
    }
}
