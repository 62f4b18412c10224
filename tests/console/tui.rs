//! The adversarial cases of the area `tui`, by their names: what an argument may do to the operator's screen. The cases
//! are listed in `tests/adversarial/cases.jsonl`; tui-024 is in `terminal.rs`, where a terminal is.

use countersign::call::Tier;
use countersign::console::visible;
use countersign::control::wire::{HoldView, Notice, RulingKind};
use crossterm::event::KeyCode;

use crate::support::{A, B, C, Desk, approved, daemon, gate, json, refund, rulings, sandbox, text};

const SIZE: (u16, u16) = (100, 30);

fn with(arguments: &str) -> HoldView {
    HoldView { arguments: json(arguments), confirm: Vec::new(), ..sandbox(C) }
}

/// Every screen of a hold, from its first line to its last. No cell of any of them has a character that hides.
fn whole(hold: HoldView) -> String {
    let mut desk = Desk::new(SIZE, vec![hold]);
    let mut out = String::new();
    for _ in 0..60 {
        let buffer = desk.draw();
        for cell in &buffer.content {
            assert_eq!(visible::hidden_count(cell.symbol()), 0, "{:?}", cell.symbol());
            assert!(!cell.symbol().chars().any(|letter| letter.is_control()), "{:?}", cell.symbol());
        }
        out.push_str(&text(&buffer));
        if desk.app.seen().0 == desk.app.seen().1 {
            return out;
        }
        desk.press(KeyCode::PageDown);
    }
    panic!("the end is never reached\n{out}");
}

/// What is drawn of a text that is spelled with escapes, and of one that is not.
fn shown(spelled: &str, raw: &str, wants: &[&str]) {
    for text in [format!("{{\"note\":\"{spelled}\"}}"), format!("{{\"note\":\"{raw}\"}}")] {
        let screen = whole(with(&text));
        let found = wants.iter().any(|want| screen.contains(want));
        assert!(found, "none of {wants:?}\n{screen}");
    }
}

#[test]
fn tui_001() {
    shown("\\u001b[31mred\\u001b[2J\\u001b[H", "\\u001b[31mred", &["\\u001b[31mred"]);
    let tool = whole(HoldView { tool: "pay\u{1b}[31m".to_owned(), ..sandbox(C) });
    assert!(tool.contains("pay⟨U+001B⟩[31m"), "{tool}");
}

#[test]
fn tui_002() {
    let sequences = "\\u001b]52;c;cm0=\\u0007\\u001b]8;;http://x\\u001b\\\\\\u001b]0;t\\u0007\\u001bPq\\u001b_G";
    shown(sequences, sequences, &["\\u001b]52;c;cm0=\\u0007"]);
    let tool = whole(HoldView { tool: "pay\u{1b}]0;owned\u{7}".to_owned(), ..sandbox(C) });
    assert!(tool.contains("pay⟨U+001B⟩]0;owned⟨U+0007⟩"), "{tool}");
}

#[test]
fn tui_003() {
    shown("\\u009b31m", "\u{9b}31m", &["\\u009b31m", "⟨U+009B⟩31m"]);
}

#[test]
fn tui_004() {
    shown(
        "a\\rb\\bc\\td\\u007f\\u0000e",
        "a\\rb\\bc\\td\u{7f}e",
        &["a\\rb\\bc\\td\\u007f\\u0000e", "a\\rb\\bc\\td⟨U+007F⟩e"],
    );
}

#[test]
fn tui_005() {
    shown("\\u202egnp\\u2066", "\u{202E}gnp\u{2066}", &["\\u202egnp\\u2066", "⟨U+202E⟩gnp⟨U+2066⟩"]);
    let desk = Desk::new(SIZE, vec![with("{\"a\":\"\u{202E}\"}")]);
    assert_eq!(desk.app.selected().unwrap().risk.tier, Tier::High);
}

#[test]
fn tui_009() {
    let screen = whole(with(&format!("{{\"note\":\"a{}b\"}}", "\u{301}".repeat(100_000))));
    assert!(screen.contains("⟨+100000 marks⟩⟨U+0301×100000⟩b"), "{screen}");
}

/// Nothing that follows an ambiguous character moves: the frames of both screens are the same.
#[test]
fn tui_010() {
    let emoji = "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{1F3F3}\u{FE0F}\u{1F1E9}\u{1F1EA}手";
    let frame = |note: &str| {
        let mut desk = Desk::new(SIZE, vec![with(&format!("{{\"note\":\"{note}\"}}"))]);
        let buffer = desk.draw();
        let row = |y: u16| (0..41).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
        (0..SIZE.1).map(row).collect::<Vec<_>>()
    };
    // Both have something that hides, so both are of the highest tier.
    assert_eq!(frame(emoji), frame("\u{200B}x"));
}

/// The amount behind 3,000 spaces: they are counted and not drawn, and nothing is approved before the end was seen.
#[test]
fn tui_011() {
    let screen = whole(with(&format!("{{\"note\":\"ok{}\",\"amount\":1000000}}", " ".repeat(3000))));
    assert!(screen.contains("ok⟨space×3000⟩") && screen.contains("\"amount\": 1000000"), "{screen}");
    let filler: String = (0..3000).map(|n| if n % 8 == 7 { '.' } else { ' ' }).collect();
    let mut desk = Desk::new((80, 24), vec![with(&format!("{{\"note\":\"{filler}\",\"amount\":1000000}}"))]);
    assert!(desk.screen().contains("more below"));
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    assert!(desk.note().contains("read to the end first"), "{}", desk.note());
}

#[test]
fn tui_012() {
    let mut desk =
        Desk::new((80, 24), vec![with(&format!("{{\"note\":\"ok{}\",\"amount\":1000000}}", "\\n".repeat(600)))]);
    assert!(desk.screen().contains("ok\\n\\n\\n"), "{}", desk.screen());
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    desk.read_all();
    assert!(desk.screen().contains("\"amount\": 1000000"), "{}", desk.screen());
}

/// The size, the number of keys and the digest are said; laying it out takes rows in proportion, whatever the machine.
#[test]
fn tui_013() {
    let members = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!("\"k{n:05}\":\"{}\"", "v".repeat(90))).collect();
        with(&format!("{{{}}}", members.join(",")))
    };
    let mut desk = Desk::new((140, 40), vec![members(10_000)]);
    let screen = desk.screen();
    assert!(screen.contains("10000 keys · sha256"), "{screen}");
    assert!(screen.contains("are more than a person can inspect"), "{screen}");
    desk.key(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog, None);
    let rows = |count: usize| Desk::new(SIZE, vec![members(count)]).app.open.unwrap().layout.len();
    let (one, ten) = (rows(1_000), rows(10_000));
    assert!(ten <= 10 * one, "{ten} rows for ten times of {one}");
    // A page and its frame lay nothing out anew.
    let layout = std::ptr::from_ref(&desk.app.open.as_ref().unwrap().layout);
    desk.press(KeyCode::PageDown);
    desk.draw();
    assert_eq!(std::ptr::from_ref(&desk.app.open.as_ref().unwrap().layout), layout);
}

#[test]
fn tui_014() {
    let quiet = text(&Desk::new(SIZE, vec![with("{\"note\":\"x\"}")]).draw());
    let fake = "┐\\n│ policy: ALLOW   risk: none │\\n│ [APPROVED by alice] │\\n└── press a to continue";
    let loud = text(&Desk::new(SIZE, vec![with(&format!("{{\"note\":\"{fake}\"}}"))]).draw());
    let column = |line: &str| line.chars().take(41).collect::<String>();
    let (quiet, loud): (Vec<_>, Vec<_>) = (quiet.lines().map(column).collect(), loud.lines().map(column).collect());
    assert_eq!(quiet, loud, "nothing beside the value area changes");
}

/// What the argument says is shown as what it is, and nothing of it is said elsewhere.
#[test]
fn tui_015() {
    let notice = "SYSTEM NOTICE: pre-approved by security (ticket SEC-1). Press a within 10 s";
    let mut desk = Desk::new(SIZE, vec![with(&format!("{{\"reason\":\"{notice}\"}}"))]);
    let screen = desk.screen();
    let said: Vec<_> = screen.lines().filter(|line| line.contains("NOTICE") || line.contains("SEC-1")).collect();
    assert!(!said.is_empty() && said.iter().all(|line| line.contains("│ │")), "{screen}");
    assert_eq!(desk.app.selected().unwrap().risk.warnings, Vec::<String>::new());
}

#[test]
fn tui_017() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.wait(1000);
    // A new hold in the same instant as the key: the question is about the one that was looked at, or about none.
    desk.hold(refund(A));
    desk.press(KeyCode::Char('a'));
    assert_eq!(desk.app.dialog.as_ref().and_then(|asked| asked.holds().first().copied()).unwrap().as_str(), C);
    desk.news(Notice::Snapshot { seq: None, holds: vec![refund(A), gate(B), sandbox(C)], daemon: daemon() });
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), approved(C));
    // One that has just come on the screen is not approved within half a second, however fast the gesture.
    for pause in [100, 240] {
        let mut desk = Desk::new(SIZE, vec![sandbox(C), gate(B)]);
        desk.press(KeyCode::Char('j'));
        desk.draw();
        desk.wait(pause);
        desk.press(KeyCode::Char('a'));
        desk.draw();
        desk.wait(pause);
        assert_eq!(rulings(&desk.press(KeyCode::Char('y'))), []);
    }
}

#[test]
fn tui_022() {
    let screen = whole(with("{\"amount\":9007199254740993,\"b\":1e+21,\"c\":-0.0,\"d\":1.50}"));
    for spelled in ["\"amount\": 9007199254740993,", "\"b\": 1e+21,", "\"c\": -0.0,", "\"d\": 1.50"] {
        assert!(screen.contains(spelled), "{spelled}\n{screen}");
    }
}

/// Nothing is masked from the one who approves.
#[test]
fn tui_023() {
    let screen = whole(with("{\"note\":\"sk_live_51Habc\",\"card\":\"4242424242424242\"}"));
    assert!(screen.contains("\"sk_live_51Habc\"") && screen.contains("\"4242424242424242\""), "{screen}");
}

/// Without colours and with nothing but ASCII every warning is a word, and no two values look alike.
#[test]
fn tui_025() {
    let plain = |arguments: &str| {
        let mut desk = Desk::unconnected(SIZE);
        desk.app.theme = countersign::console::theme::Theme::Mono;
        desk.app.ascii = true;
        desk.link(countersign::console::app::Link::Up { number: 1, operator: "ana".to_owned(), daemon: daemon() });
        let holds = vec![HoldView { class: countersign::call::Class::Unknown, ..with(arguments) }];
        desk.news(Notice::Snapshot { seq: None, holds, daemon: daemon() });
        let screen = desk.screen();
        assert!(screen.is_ascii(), "{screen}");
        assert!(screen.contains("! Warning nothing is known about this"), "{screen}");
        screen
    };
    let values = ["ü", "u", "?", "<U+00FC>", "⟨U+00FC⟩", "\u{202E}", "<U+202E>", "│", "|", "…", "~", "→", ">"];
    let mut seen: Vec<(String, &str)> = Vec::new();
    for value in values {
        let screen = plain(&format!("{{\"note\":\"{value}\"}}"));
        let payload: String = screen.lines().filter(|line| line.contains("\"note\"")).collect();
        assert!(!payload.is_empty(), "{screen}");
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == payload) {
            panic!("{value:?} and {other:?} look alike: {payload}");
        }
        seen.push((payload, value));
    }
}

/// hld-021: whatever is pressed and pasted over a hundred holds, one confirm approves one of them.
#[test]
fn one_confirm_approves_one_hold() {
    let holds: Vec<_> = (0..100).map(|n| sandbox(&format!("0000000000{n:02}"))).collect();
    let mut desk = Desk::new(SIZE, holds);
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    let one = rulings(&desk.key(KeyCode::Char('y')));
    assert_eq!(one.len(), 1);
    assert!(one.iter().all(|(_, ruling, _)| *ruling == RulingKind::Approve));
    for _ in 0..100 {
        desk.wait(30);
        assert_eq!(rulings(&desk.press(KeyCode::Char('a'))), []);
        assert_eq!(rulings(&desk.press(KeyCode::Char('y'))), []);
        desk.draw();
    }
}
