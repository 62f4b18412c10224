//! The document: what is on the screen is what is sent, and what was not there was not seen.

use super::*;
use crate::json::Rules;
use proptest::prelude::*;

fn doc(text: &str) -> (JsonText, Doc) {
    let value = JsonText::parse(text, Rules::UPSTREAM).unwrap();
    let mut doc = Doc::default();
    doc.payload(&value, &[]);
    (value, doc)
}

#[test]
fn payload_keeps_order_and_spelling() {
    let (_, doc) = doc(r#"{"b":{"c":[],"d":{}},"a":[1.50,{"x":-0}],"s":"\u0041\n"}"#);
    assert_eq!(
        doc.plain(60),
        [
            "│  {",
            "│    \"b\": {",
            "│      \"c\": [],",
            "│      \"d\": {}",
            "│    },",
            "│    \"a\": [",
            "│      1.50,",
            "│      {",
            "│        \"x\": -0",
            "│      }",
            "│    ],",
            "│    \"s\": \"\\u0041\\n\"",
            "│  }",
        ]
    );
}

#[test]
fn only_the_line_with_the_value_is_marked() {
    let value = JsonText::parse(r#"{"id":"x","amount":125000,"z":1}"#, Rules::CLIENT).unwrap();
    let start = value.as_str().find("125000").unwrap();
    let mut doc = Doc::default();
    doc.payload(&value, std::slice::from_ref(&(start..start + 6)));
    let marked: Vec<_> = doc.plain(60).into_iter().filter(|row| row.starts_with("│!")).collect();
    assert_eq!(marked, ["│!   \"amount\": 125000,"]);
}

#[test]
fn long_values_wrap_and_never_cut() {
    let (_, doc) = doc(&format!("[\"{}\"]", "ab cd ".repeat(40)));
    let rows = doc.plain(60);
    assert!(rows.len() > 4);
    for row in &rows[2..rows.len() - 1] {
        assert!(row.starts_with("│↳ "), "{row}");
        assert!(visible::columns(row) <= 61, "{row}");
    }
}

#[test]
fn seen_survives_another_width() {
    let (_, doc) = doc(&format!("[\"{}\",\"{}\"]", "x".repeat(300), "y".repeat(300)));
    let (wide, narrow) = (doc.layout(120), doc.layout(60));
    let mut seen = Seen::default();
    assert_eq!(wide.seen_count(&doc, &seen), 0);
    wide.mark_seen(&doc, 0..2, 0, &mut seen);
    assert_eq!(wide.seen_count(&doc, &seen), 2);
    // The second row at 120 columns ends inside a row at 60: that row does not count.
    assert_eq!(narrow.seen_count(&doc, &seen), 3);
    wide.mark_seen(&doc, 4..wide.len(), 0, &mut seen);
    assert!(wide.seen_count(&doc, &seen) < wide.must_count());
    wide.mark_seen(&doc, 1..5, 0, &mut seen);
    assert_eq!(wide.seen_count(&doc, &seen), wide.must_count());
    assert_eq!(narrow.seen_count(&doc, &seen), narrow.must_count());
    assert_eq!(seen.ranges.len(), 1);
}

#[test]
fn facts_break_after_words() {
    let mut doc = Doc::default();
    doc.fact("Rule", "refunds over one hundred need a person who looks at the amount before it leaves");
    let rows = doc.plain(60);
    assert_eq!(rows[0], "Rule      refunds over one hundred need a person who looks ");
    assert_eq!(rows[1], "          at the amount before it leaves");
}

/// Strips a screen of payload rows down to the text that travels.
fn sent(rows: &[String]) -> String {
    let mut shown = String::new();
    for row in rows.iter().filter(|row| !row.starts_with('┆')) {
        let row = row.trim_end_matches(' ');
        match row.strip_prefix("│↳ ") {
            Some(rest) => shown.push_str(rest),
            None => shown.push_str(row.chars().skip(GUTTER).collect::<String>().trim_start_matches(' ')),
        }
    }
    let text = visible::tests::read_back(&shown);
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for character in text.chars() {
        if inside || character != ' ' {
            out.push(character);
        }
        match character {
            '"' if !escaped => inside = !inside,
            '\\' if inside => {
                escaped = !escaped;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    out
}

fn any_text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            any::<char>().prop_map(String::from),
            "[a-z ]{0,30}",
            Just("⟨".to_owned()),
            Just(" ".repeat(12)),
            Just("\u{301}".repeat(4)),
            Just("手".repeat(30)),
            Just("\u{202E}\"\\│↳ ".to_owned()),
        ],
        0..8,
    )
    .prop_map(|parts| parts.concat())
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any_text().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null)
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::vec((any_text(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// I10, C7: what is on the screen, without gutter and escapes, is what is sent.
    #[test]
    fn the_screen_reads_back_to_the_exact_bytes(value in any_json(), width in 60_u16..140) {
        let value = JsonText::of(&value).unwrap();
        let clock = Clock { zone: jiff::tz::TimeZone::UTC, held: jiff::Timestamp::default() };
        let mut doc = Doc::default();
        doc.preview_by(clock);
        doc.payload(&value, &[]);
        doc.unfold_all();
        let rows = doc.plain(width);
        for row in &rows {
            prop_assert!(row.starts_with(['│', '┆']));
            prop_assert!(visible::columns(row) <= usize::from(width) + 1, "the bar counts twice where wide");
        }
        prop_assert_eq!(sent(&rows), value.as_str());
    }
}

/// C2: a long value is folded by its parts, each says how much it is, and none of it counts as seen before it is open.
#[test]
fn long_parts_are_folded_and_unseen_until_they_are_opened() {
    let items: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    let inner: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    let text = format!("{{\"a\":1,\"items\":[{},[{}]],\"short\":[1,2]}}", items.join(","), inner.join(","));
    let (_, mut doc) = doc(&text);
    let closed = doc.layout(80);
    let rows: Vec<_> = (0..closed.len()).filter_map(|row| doc.row(&closed, row)).map(|row| row.plain()).collect();
    assert_eq!(rows[2], "│    \"items\": [");
    assert_eq!(rows[3], "│▸ … 342 lines, 1201 bytes on the screen: folded, `l` opens");
    assert_eq!(rows[4], "│    ],");
    assert_eq!(rows.len(), 10);
    let mut seen = Seen::default();
    closed.mark_seen(&doc, 0..closed.len(), 0, &mut seen);
    assert_eq!((closed.seen_count(&doc, &seen), closed.must_count()), (10, 10 + 342));
    // The inner part stays folded when the outer one is opened.
    assert!(doc.unfold(&closed, 0..10));
    let half = doc.layout(80);
    assert_eq!((half.seen_count(&doc, &seen), half.must_count()), (9, 9 + 302 + 1 + 40));
    half.mark_seen(&doc, 0..half.len(), 0, &mut seen);
    assert_eq!(half.must_count() - half.seen_count(&doc, &seen), 40);
    assert!(!doc.unfold(&half, 0..20), "none on these rows");
    assert!(doc.unfold(&half, 0..half.len()));
    let open = doc.layout(80);
    open.mark_seen(&doc, 0..open.len() - 1, 0, &mut seen);
    assert_eq!(open.seen_count(&doc, &seen), open.must_count());
    // What has been seen stays seen when it is folded again.
    assert_eq!(doc.refold(&open, 10..30), Some(2));
    let again = doc.layout(80);
    assert_eq!((again.len(), again.seen_count(&doc, &seen)), (10, again.must_count()));
}

#[test]
fn what_the_rule_asks_about_is_never_folded_and_short_values_are_not() {
    let items: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    let value = JsonText::parse(format!("{{\"items\":[{}]}}", items.join(",")), Rules::CLIENT).unwrap();
    let at = value.as_str().find("150").unwrap();
    let mut marked = Doc::default();
    marked.payload(&value, std::slice::from_ref(&(at..at + 3)));
    assert_eq!(marked.layout(80).len(), 304);
    let (_, short) = doc(&format!("[[{}]]", items[..100].join(",")));
    assert_eq!(short.layout(80).len(), 104);
}

#[test]
fn previews_stand_below_their_value_and_outside_of_the_bar() {
    let clock = Clock { zone: jiff::tz::TimeZone::UTC, held: "2026-11-21T14:00:00Z".parse().unwrap() };
    let value = JsonText::parse(r#"{"q":"a%0A│x","n":1e5}"#, Rules::UPSTREAM).unwrap();
    let mut doc = Doc::default();
    doc.preview_by(clock);
    doc.payload(&value, &[]);
    assert_eq!(
        doc.plain(80),
        [
            "│  {",
            "│    \"q\": \"a%0A│x\",",
            "┆= URL-encoded, decoded by countersign, not sent: a⟨\\n⟩│x",
            "│    \"n\": 1e5",
            "┆= 100000",
            "│  }",
        ]
    );
}

/// Where lines are not wrapped a row shows a part of one: from step to step all of it, and only then it was seen.
#[test]
fn a_line_that_is_not_wrapped_was_seen_when_all_of_it_was() {
    let mut doc = Doc::default();
    let long: String = (0..60).map(|n| format!("{n} \u{202e}手\u{feff}")).collect();
    doc.payload(&JsonText::of(&serde_json::json!({ "a": 1, "long": long })).unwrap(), &[]);
    for width in [59_u16, 80, 120] {
        let layout = doc.unwrapped(width);
        assert_eq!((layout.len(), layout.must_count()), (4, 4));
        let (mut seen, mut shown, mut pan) = (Seen::default(), String::new(), 0);
        let whole = doc.row(&layout, 2).unwrap().text;
        loop {
            layout.mark_seen(&doc, 0..4, pan, &mut seen);
            let window = layout.window(&doc, 2, pan).unwrap();
            let (lead, columns) = (visible::columns(&window.row.lead()), visible::columns(window.row.text));
            assert!(lead + columns < usize::from(width), "the last column is for the sign");
            assert_eq!(window.left, pan > 0);
            // What was shown before and is shown now meet.
            let start = whole.find(window.row.text).unwrap();
            assert!(start <= shown.len());
            shown.truncate(start);
            shown.push_str(window.row.text);
            if !window.right {
                break;
            }
            assert_eq!(layout.seen_count(&doc, &seen), 3, "at {pan}");
            pan += usize::from(width / 3);
        }
        assert_eq!((shown.as_str(), layout.seen_count(&doc, &seen)), (whole, 4));
        assert_eq!(doc.layout(width).seen_count(&doc, &seen), doc.layout(width).must_count());
        // Beyond its end nothing of it is shown.
        let beyond = layout.window(&doc, 2, 100_000).unwrap();
        assert!(beyond.left && !beyond.right && beyond.row.text.is_empty());
        let mut nothing = Seen::default();
        layout.mark_seen(&doc, 0..4, 100_000, &mut nothing);
        assert_eq!(layout.seen_count(&doc, &nothing), 0);
    }
}
