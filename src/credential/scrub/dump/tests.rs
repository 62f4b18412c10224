//! Every dump of a key, wherever in it the key begins.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::tests::{json, one};
use super::*;
use crate::credential::shape::Kinds;

const KEY: &str = "sk_live_CANARY7Qm2Zt9XeVb4";
const LONG: &str = "console-CANARY0Fq7Zt2Lw9Xb4Kd6Hn8Rp5Sv1Ty3Uc7Wg0Je2Ma4Qf6Zk8";

/// How a program prints a line: its offset, its groups, and what comes behind them.
#[derive(Clone, Copy, Debug)]
struct Style {
    base: u32,
    digits: usize,
    colon: bool,
    /// Bytes of a group.
    group: usize,
    /// Least significant byte first.
    swapped: bool,
    kind: Kind,
    /// What stands before and behind the text.
    text: Option<(&'static str, &'static str)>,
    /// A second line for each offset, with the characters.
    second: bool,
    /// The first offset.
    from: usize,
}

const fn style(base: u32, digits: usize, group: usize, kind: Kind) -> Style {
    Style { base, digits, colon: false, group, swapped: false, kind, text: None, second: false, from: 0 }
}

const STYLES: &[Style] = &[
    // xxd, with 1, 2, 4 and 8 bytes in a group, and -e.
    Style { colon: true, text: Some(("", "")), ..style(16, 8, 1, Kind::Hex) },
    Style { colon: true, text: Some(("", "")), ..style(16, 8, 2, Kind::Hex) },
    Style { colon: true, text: Some(("", "")), ..style(16, 8, 4, Kind::Hex) },
    Style { colon: true, text: Some(("", "")), ..style(16, 8, 8, Kind::Hex) },
    Style { colon: true, swapped: true, text: Some(("", "")), ..style(16, 8, 4, Kind::Hex) },
    // xxd -g16, -g0, and -s.
    Style { colon: true, text: Some(("", "")), ..style(16, 8, 16, Kind::Hex) },
    Style { colon: true, text: Some(("", "")), ..style(16, 8, 256, Kind::Hex) },
    Style { colon: true, text: Some(("", "")), from: 0x1234_5670, ..style(16, 8, 2, Kind::Hex) },
    // hexdump -C, hexdump, od -A x -t x1z, od -t x1, od -x, od -t x4, od -A d -t x1.
    Style { text: Some(("|", "|")), ..style(16, 8, 1, Kind::Hex) },
    Style { swapped: true, ..style(16, 7, 2, Kind::Hex) },
    Style { text: Some((">", "<")), ..style(16, 6, 1, Kind::Hex) },
    style(8, 7, 1, Kind::Hex),
    Style { swapped: true, ..style(8, 7, 2, Kind::Hex) },
    Style { swapped: true, ..style(8, 7, 4, Kind::Hex) },
    style(10, 7, 1, Kind::Hex),
    // od -b, od, od -t u1, od -c.
    style(8, 7, 1, Kind::Octal),
    style(8, 7, 2, Kind::Octal),
    style(8, 7, 1, Kind::Decimal),
    style(8, 7, 1, Kind::Characters),
    // od -A d -t x1c, od -xc, od -bc, od -t x8c, od -b -j.
    Style { second: true, ..style(10, 7, 1, Kind::Hex) },
    Style { second: true, swapped: true, ..style(8, 7, 2, Kind::Hex) },
    Style { second: true, ..style(8, 7, 1, Kind::Octal) },
    Style { second: true, swapped: true, ..style(8, 7, 8, Kind::Hex) },
    Style { from: 0o1_234_560, ..style(8, 7, 1, Kind::Octal) },
];

fn dump(bytes: &[u8], style: Style, columns: usize) -> String {
    let mut out = String::new();
    for (n, line) in bytes.chunks(columns).enumerate() {
        let (at, digits) = (style.from + n * columns, style.digits);
        _ = match style.base {
            16 => write!(out, "{at:0digits$x}"),
            10 => write!(out, "{at:0digits$}"),
            _ => write!(out, "{at:0digits$o}"),
        };
        out.push_str(if style.colon { ":" } else { "" });
        for (n, group) in line.chunks(style.group).enumerate() {
            let middle = n > 0 && n * style.group * 2 == columns && style.text.is_some();
            out.push_str(if middle { "  " } else { " " });
            let mut group = group.to_vec();
            if style.swapped || (style.kind == Kind::Octal && style.group == 2) {
                group.resize(style.group, 0);
                group.reverse();
            }
            match style.kind {
                Kind::Octal if style.group == 2 => {
                    _ = write!(out, "{:06o}", u16::from_be_bytes([group[0], group[1]]));
                }
                _ => group.iter().for_each(|byte| {
                    _ = match style.kind {
                        Kind::Octal => write!(out, "{byte:03o}"),
                        Kind::Decimal => write!(out, "{byte:3}"),
                        Kind::Characters if byte.is_ascii_graphic() => write!(out, "  {}", char::from(*byte)),
                        Kind::Characters => write!(out, "{byte:03o}"),
                        Kind::Hex | Kind::Swapped => write!(out, "{byte:02x}"),
                    };
                }),
            }
        }
        if let Some((before, after)) = style.text {
            let missing = columns - line.len();
            out.push_str(&" ".repeat(2 + missing * 2 + missing / style.group));
            out.push_str(before);
            out.extend(line.iter().map(|byte| char::from(shown(*byte))));
            out.push_str(after);
        }
        if style.second {
            out.push_str("\n       ");
            line.iter().for_each(|byte| {
                _ = match byte {
                    byte if byte.is_ascii_graphic() => write!(out, "   {}", char::from(*byte)),
                    byte => write!(out, " {byte:03o}"),
                }
            });
        }
        out.push('\n');
    }
    out
}

fn check(key: &str, before: &[u8], after: &[u8], style: Style, columns: usize) {
    let bytes = [before, key.as_bytes(), after].concat();
    let text = dump(&bytes, style, columns);
    let scrubber = one(key);
    let clean = scrubber.line(&text);
    let what = format!("{style:?} {columns}\n{text}\n{clean}");
    assert!(clean.contains("[secret:key]"), "{what}");
    // What is left of a column of text is less than a piece.
    let packed: String = clean.split_ascii_whitespace().collect();
    let left = (0..key.len()).flat_map(|at| (8..=key.len() - at).map(move |length| &key[at..at + length]));
    let left = left.filter(|piece| packed.contains(piece)).map(str::len).max().unwrap_or(0);
    assert!(left == 0, "{left} {what}");
    assert!(scrubber.has_whole(&text), "{what}");
    // In strings of their own lines are only found from a zero on.
    if !style.second && style.from == 0 {
        let lines: Vec<&str> = text.lines().collect();
        let clean = scrubber.message(&json(&serde_json::json!({ "lines": lines }).to_string()), Kinds::NONE);
        let clean: serde_json::Value = serde_json::from_str(clean.text.unwrap().as_str()).unwrap();
        assert_eq!(clean["lines"].as_array().unwrap().len(), lines.len(), "{clean} {what}");
        assert!(clean.to_string().contains("[secret:key]"), "{clean} {what}");
    }
    // Nor is a line of its own in a string.
    if style.from > 0 && bytes.len() <= columns {
        return;
    }
    for inner in [&text, text.trim_end()] {
        let message = serde_json::json!({"result": {"content": [{"type": "text", "text": inner}]}}).to_string();
        let twice = serde_json::json!({"text": message}).to_string();
        for message in [message, twice] {
            let clean = scrubber.message(&json(&message), Kinds::NONE);
            assert_eq!(clean.names, ["key"], "{what}");
            assert!(clean.text.is_some_and(|clean| clean.as_str().contains("[secret:key]")), "{what}");
        }
    }
}

/// The usual columns, every style, and every place in the line.
#[test]
fn a_key_in_a_dump_is_found_wherever_it_begins() {
    for style in STYLES {
        for before in 0..16 {
            check(KEY, &vec![b'.'; before], b" and more\n", *style, 16);
        }
        check(LONG, b"KEY=", b"", *style, 16);
        check(LONG, b"\0\x7f\n", b"\"\\", *style, 32);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_key_in_a_dump_is_found_whatever_is_around_it(
        style in proptest::sample::select(STYLES),
        columns in proptest::sample::select(&[8_usize, 16, 24, 32, 64][..]),
        before in proptest::collection::vec(0_u8..128, 0..100),
        after in proptest::collection::vec(0_u8..128, 0..40),
        long in any::<bool>(),
    ) {
        check(if long { LONG } else { KEY }, &before, &after, style, columns);
    }
}

/// The column of text that looks like more groups, and a place that ends with the first bytes of a line.
#[test]
fn the_column_of_text_goes_with_the_key() {
    let key = "console-CANARY0Fq7Zt2Lw9Xb4Kd6Hn8Rp5Sv1Ty3Uc7Wg0Je2Ma4b5c6d7e8f9";
    for style in [STYLES[3], Style { swapped: true, ..STYLES[3] }] {
        let text = dump(key.as_bytes(), style, 8);
        let clean = one(key).line(&text).into_owned();
        assert!(text.trim_end().ends_with("  c6d7e8f9") && !clean.contains("d7e8f9"), "{clean}");
        let text = dump(format!("{key}00").as_bytes(), style, 8);
        assert!(!one(key).line(&text).contains("d7e8f9"), "{text}");
    }
    let text = dump(format!("{}Q", &KEY[..24]).as_bytes(), style(16, 8, 1, Kind::Hex), 8);
    for (key, clean) in [(&KEY[..17], " [secret:key] 32 5a"), (&KEY[..24], " [secret:key]\\n00000018 51")] {
        let message = serde_json::json!({"a": text.trim_end(), "b": "  m and eXZe"});
        let text = one(key).message(&json(&message.to_string()), Kinds::NONE).text.unwrap();
        assert!(text.as_str().ends_with("\"b\":\"  m and eXZe\"}"), "{}", text.as_str());
        assert!(text.as_str().contains(clean), "{}", text.as_str());
    }
}

/// What is kept of a text, and what is read of it, for each way to read it.
#[test]
fn neither_memory_nor_work_grows_faster_than_a_text() {
    let ordinary = "{\"id\": \"cus_123\", \"since\": \"2026 11 22\", \"balance\": [4200, 17, 0]}, ";
    for part in [
        " 0000",
        "\t0000",
        "\"0000 ",
        "\n0000 ",
        "\n0000 0",
        "0000 0\n    0\n    0\n    0\n",
        "0000 \" ",
        "\"0000 \" s k ",
        "0",
        "0,",
        "0 ",
        "\t0",
        "\n0000 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        "0000\t0000\t0.0\t0000\n",
        "QUJDREVGR0hJSktMTU5PUFFSQUJDREVGR0hJSktMTU5PUFFSQUJDREVGR0hJSktMTU5PUFFS\n",
        "dead beef\n",
        "0000 00000000000000000000000000000000\"",
        "\"dead beef\",\n",
        "\"\n1000 0",
        ordinary,
    ] {
        let text = part.repeat((1 << 18) / part.len());
        let (text, lines) = (text.as_bytes(), lines(text.as_bytes()));
        assert!(lines.len() * size_of::<Line>() <= 6 * text.len(), "{} lines of {part:?}", lines.len());
        for kind in KINDS {
            let mut read = 0;
            let mut scratch = Vec::new();
            for line in &lines {
                scratch.clear();
                assert!(line.body >= read, "{kind:?} {part:?}");
                let mut groups = Groups::of(text, line.body, kind);
                while let Some(outer) = groups.next(&mut scratch) {
                    read = outer.end;
                }
            }
        }
        for dump in dumps(text) {
            let room = dump.text.capacity() + dump.lines.capacity() * size_of::<(usize, usize)>();
            assert!(dump.text.len() <= text.len() / 2 && room <= 7 * text.len(), "{room} for {part:?}");
        }
    }
}

#[test]
fn many_keys_in_a_dump_cost_little() {
    let text = dump(KEY.repeat(1 << 11).as_bytes(), style(16, 8, 1, Kind::Hex), 256);
    let start = Instant::now();
    let clean = one(KEY).line(&text).into_owned();
    let taken = start.elapsed();
    assert!(clean.len() * 2 < text.len() && taken < Duration::from_secs(10), "{taken:?} for {} bytes", text.len());
}

#[test]
fn half_of_a_long_key_in_a_dump_is_a_piece() {
    let text = dump(&LONG.as_bytes()[20..60], STYLES[1], 16);
    let clean = one(LONG).text(&text, Kinds::NONE);
    assert_eq!((clean.names, clean.pieces), (vec!["key".to_owned()], vec!["key".to_owned()]), "{}", clean.text);
}

#[test]
fn what_is_no_dump_or_another_one_stays() {
    let scrubber = one(KEY);
    let other = dump(b"nothing that anybody would want to keep from the client", STYLES[5], 16);
    for text in [
        other.as_str(),
        "2026 11 22\n2027 01 01\n",
        "0000 |\n0001:\n0002: \n",
        "\"cafe babe\": \"dead beef\"",
        "00000000: 736b 5f6c\n00000000: 736b 5f6c\n",
        "00000000: 7\n00000001: +f -1\n00000002: \u{e4}\u{e4}",
    ] {
        assert_eq!(scrubber.line(text), text);
    }
}
