//! The display is no way to stop an operator: many holds and long arguments cost no more than a frame. The bounds are
//! those of an optimised build; another build gets twenty times as much, and only guards the order of growth.

use std::time::{Duration, Instant};

use countersign::control::wire::{HoldView, Notice};
use crossterm::event::KeyCode;

use crate::support::{Desk, daemon, json, refund, sandbox};

const FRAME: Duration = Duration::from_millis(16);

fn allowed(bound: Duration) -> Duration {
    if cfg!(debug_assertions) { bound * 20 } else { bound }
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..11)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[5]
}

fn report(what: &str, took: Duration, bound: Duration) {
    println!("{what}: {took:?} (bound {bound:?})");
    assert!(took < allowed(bound), "{what}: {took:?}");
}

/// tui-013 and the bound of 1,000 pending holds: a key and its frame, with 1,000 holds and 1 MiB in the one selected.
#[test]
fn a_frame_with_a_thousand_holds_and_a_mebibyte() {
    let members: Vec<_> = (0..10_000).map(|n| format!("\"k{n:05}\":\"{}\"", "v".repeat(90))).collect();
    let big = HoldView { arguments: json(&format!("{{{}}}", members.join(","))), ..sandbox("000000000000") };
    assert!(big.arguments.as_str().len() > 1_000_000);
    // So many bytes make it one of the highest tier, and its time is over first: it is the first of the list.
    let big = HoldView { expires_at: "2026-11-21T14:08:00Z".to_owned(), ..big };
    let mut holds = vec![big.clone()];
    holds.extend((1..1000).map(|n| refund(&format!("00000000{n:04}"))));
    let mut desk = Desk::new((120, 40), Vec::new());
    let snapshot = Notice::Snapshot { seq: None, holds, daemon: daemon() };
    let start = Instant::now();
    desk.news(snapshot);
    desk.draw();
    report("the first frame", start.elapsed(), Duration::from_millis(200));
    assert_eq!(desk.app.selected.as_ref().unwrap().as_str(), "000000000000");

    let paged = median(|| {
        desk.press(KeyCode::PageDown);
        desk.draw();
    });
    report("a page and its frame", paged, FRAME);
    let new = median({
        let mut n = 2000;
        let desk = &mut desk;
        move || {
            n += 1;
            desk.hold(refund(&format!("00000000{n:04}")));
            desk.draw();
        }
    });
    report("a new hold and its frame", new, FRAME);
    let moved = median(|| {
        desk.press(KeyCode::Char('j'));
        desk.draw();
    });
    report("the next hold and its frame", moved, FRAME);
    let opened = median(|| {
        desk.press(KeyCode::Char('g'));
        desk.draw();
        desk.press(KeyCode::Char('G'));
        desk.draw();
    });
    report("to the mebibyte and back", opened, Duration::from_millis(100));
}

/// tui-009: a letter with 100,000 marks, and other text that is nothing but escapes.
#[test]
fn a_frame_of_nothing_but_escapes() {
    let mixed: String = (0..100_000).map(|n| if n % 2 == 0 { '\u{301}' } else { '\u{302}' }).collect();
    for text in [format!("a{}", "\u{301}".repeat(100_000)), format!("a{mixed}"), "\u{200B}\u{200C}".repeat(100_000)] {
        let hold = HoldView { arguments: json(&format!("[\"{text}\"]")), ..sandbox("000000000000") };
        let mut desk = Desk::new((120, 40), Vec::new());
        let start = Instant::now();
        desk.hold(hold);
        desk.draw();
        report("the first frame", start.elapsed(), Duration::from_millis(200));
        let paged = median(|| {
            desk.press(KeyCode::PageDown);
            desk.draw();
        });
        report("a page and its frame", paged, FRAME);
    }
}
