//! A frame of the console with 1,000 holds, of which the selected one has an argument of 1 MiB: what a key costs until the
//! screen is drawn. Its bound is 16 ms at any size; the first frame of a call that long lays it out and has a larger one.
//!
//! `cargo bench --bench console`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]

use std::time::Duration;

use countersign::console::app::{App, Event, Link, Now, What, update};
use countersign::console::view;
use countersign::control::wire::{HoldView, Notice};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

#[path = "../tests/console/fixtures.rs"]
mod fixtures;

use fixtures::{START, daemon, json, refund, sandbox};

const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];

struct Desk {
    app: App,
    terminal: Terminal<TestBackend>,
}

impl Desk {
    /// Connected, with these holds, and nothing drawn yet.
    fn new(size: (u16, u16), holds: Vec<HoldView>) -> Desk {
        let terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        let mut desk = Desk { app: App::new(now(), size, TimeZone::UTC), terminal };
        desk.link(Link::Up { number: 1, operator: "ana".to_owned(), daemon: daemon() });
        desk.link(Link::Notice(Notice::Snapshot { seq: None, holds, daemon: daemon() }));
        desk
    }

    fn link(&mut self, link: Link) {
        self.step(What::Link(Box::new(link)));
    }

    fn step(&mut self, what: What) {
        update(&mut self.app, Event { at: now(), what });
    }

    fn press(&mut self, code: KeyCode) {
        self.step(What::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    /// As the loop does it: draw, then say so.
    fn draw(&mut self) {
        let app = &self.app;
        let area = self.terminal.draw(|frame| view::render(app, frame)).unwrap().area;
        let what = self.app.was_drawn(area);
        self.step(what);
    }
}

fn now() -> Now {
    Now { mono: Duration::from_secs(10), wall: START.parse().unwrap() }
}

/// The first of the list, by its size of the highest tier and by its end, and 999 others.
fn holds(argument: &str) -> Vec<HoldView> {
    let big = HoldView { arguments: json(argument), ..sandbox("000000000000") };
    let mut holds = vec![HoldView { expires_at: "2026-11-21T14:08:00Z".to_owned(), ..big }];
    holds.extend((1..1000).map(|n| refund(&format!("00000000{n:04}"))));
    holds
}

fn frames(criterion: &mut Criterion) {
    let members: Vec<_> = (0..10_400).map(|n| format!("\"k{n:05}\":\"{}\"", "v".repeat(90))).collect();
    let text = format!("{{\"text\":\"{}\"}}", "v".repeat(1 << 20));
    for (what, argument) in [("one text", text), ("10,400 members", format!("{{{}}}", members.join(",")))] {
        assert!(argument.len() >= 1 << 20);
        let holds = holds(&argument);
        for size in SIZES {
            let mut group = criterion.benchmark_group(format!("console/{}x{}/{what}", size.0, size.1));
            group.sample_size(20);
            group.bench_function("first frame", |bencher| {
                bencher.iter_batched_ref(|| Desk::new(size, holds.clone()), Desk::draw, BatchSize::PerIteration);
            });
            let mut desk = Desk::new(size, holds.clone());
            desk.draw();
            assert_eq!(desk.app.selected.as_ref().map(|id| id.as_str()), Some("000000000000"));
            let mut down = false;
            group.bench_function("a key and its frame", |bencher| {
                bencher.iter(|| {
                    // Back and forth, so that there is always something to scroll.
                    down = !down;
                    desk.press(if down { KeyCode::PageDown } else { KeyCode::PageUp });
                    desk.draw();
                });
            });
            group.finish();
        }
    }
}

criterion_group!(benches, frames);
criterion_main!(benches);
