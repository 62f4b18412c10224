//! An app whose clock the test owns, and the holds of `fixtures` to look at.

use std::time::Duration;

use countersign::call::Tier;
use countersign::console::app::{App, Effect, Event, Link, Now, What, update};
use countersign::console::dialog::Dialog;
use countersign::console::view;
use countersign::control::wire::{Command, HoldView, Notice, RulingKind};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

pub use crate::fixtures::*;

/// What the daemon would answer to everything that is asked among these effects.
pub fn answers(effects: &[Effect]) -> Vec<Notice> {
    let answer = |effect: &Effect| {
        let Effect::Send { command, .. } = effect else { return None };
        match command.clone() {
            Command::Records { seq, .. } => Some(Notice::Records { seq, records: records(), chain: chain() }),
            Command::Sessions { seq } => Some(Notice::Sessions { seq, sessions: sessions() }),
            Command::Grants { seq } => Some(Notice::Grants { seq, grants: grants() }),
            Command::Rules { seq } => Some(Notice::Rules { seq, rules: rules() }),
            Command::Explain { seq, .. } => Some(Notice::Explained { seq, excerpts: excerpts() }),
            Command::DraftGrant { seq, .. } => Some(Notice::Draft { seq, text: grants()[0].text.clone() }),
            _ => None,
        }
    };
    effects.iter().filter_map(answer).collect()
}

/// The app, its clock, and the screen that it draws on.
pub struct Desk {
    pub app: App,
    now: Duration,
    terminal: Terminal<TestBackend>,
    /// The number of the last question for records.
    pub asked: u64,
}

impl Desk {
    /// Connected, with these holds, drawn, and long enough ago that keys count.
    pub fn new(size: (u16, u16), holds: Vec<HoldView>) -> Desk {
        let mut desk = Desk::unconnected(size);
        desk.link(Link::Up { number: 1, operator: "ana".to_owned(), daemon: daemon() });
        let asked = desk.news(Notice::Snapshot { seq: None, holds, daemon: daemon() });
        for notice in answers(&asked) {
            desk.news(notice);
        }
        desk.draw();
        desk.wait(1000);
        desk
    }

    pub fn unconnected(size: (u16, u16)) -> Desk {
        let now = Duration::from_secs(10);
        let app = App::new(at(now), size, TimeZone::UTC);
        Desk { app, now, terminal: Terminal::new(TestBackend::new(size.0, size.1)).unwrap(), asked: 0 }
    }

    pub fn step(&mut self, what: What) -> Vec<Effect> {
        let effects = update(&mut self.app, Event { at: at(self.now), what });
        let records = |command: Command| if let Command::Records { seq, .. } = command { Some(seq) } else { None };
        self.asked = sent(&effects).into_iter().rev().find_map(records).unwrap_or(self.asked);
        effects
    }

    pub fn link(&mut self, link: Link) -> Vec<Effect> {
        self.step(What::Link(Box::new(link)))
    }

    pub fn news(&mut self, notice: Notice) -> Vec<Effect> {
        self.link(Link::Notice(notice))
    }

    pub fn hold(&mut self, hold: HoldView) -> Vec<Effect> {
        self.news(Notice::Hold { hold: Box::new(hold) })
    }

    /// Time passes, with the ticks of the loop.
    pub fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.step(What::Tick);
    }

    /// A key of somebody who looks, and the daemon's answers to what it asks for.
    pub fn key_and_answers(&mut self, code: KeyCode) -> Vec<Effect> {
        let effects = self.key(code);
        for notice in answers(&effects) {
            self.news(notice);
        }
        effects
    }

    /// As the loop does it: draw, then say so.
    pub fn draw(&mut self) -> Buffer {
        let app = &self.app;
        let frame = self.terminal.draw(|frame| view::render(app, frame)).unwrap();
        let (area, buffer) = (frame.area, frame.buffer.clone());
        let what = self.app.was_drawn(area);
        self.step(what);
        buffer
    }

    /// A key, without any time passing and without a new frame.
    pub fn press(&mut self, code: KeyCode) -> Vec<Effect> {
        self.step(What::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    pub fn ctrl(&mut self, letter: char) -> Vec<Effect> {
        self.step(What::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)))
    }

    /// A key of somebody who looks: the screen is drawn, a second passes, then the key.
    pub fn key(&mut self, code: KeyCode) -> Vec<Effect> {
        self.draw();
        self.wait(1100);
        self.press(code)
    }

    pub fn letters(&mut self, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|letter| self.key(KeyCode::Char(letter))).collect()
    }

    /// Pages down until everything has been on the screen.
    pub fn read_all(&mut self) {
        self.draw();
        for _ in 0..10_000 {
            let (seen, must) = self.app.seen();
            if seen >= must {
                return;
            }
            self.press(KeyCode::PageDown);
            self.draw();
        }
        panic!("the end is never reached");
    }

    pub fn resize(&mut self, width: u16, height: u16) {
        self.terminal.backend_mut().resize(width, height);
        self.step(What::Resize(width, height));
    }

    /// The window has another size, and nobody has said so yet.
    pub fn resize_silently(&mut self, width: u16, height: u16) {
        self.terminal.backend_mut().resize(width, height);
    }

    /// The screen as text.
    pub fn screen(&mut self) -> String {
        text(&self.draw())
    }

    /// The question that was open is void: what is said in its place. It goes away by Esc, and by nothing that is typed.
    pub fn voided(&mut self) -> String {
        let Some(Dialog::Notice { title, lines }) = self.app.dialog.clone() else { panic!("{:?}", self.app.dialog) };
        assert_eq!(title, "the question is void");
        for code in (' '..='~').map(KeyCode::Char).chain([KeyCode::Enter, KeyCode::Tab, KeyCode::Backspace]) {
            assert_eq!(self.key(code), [], "{code:?}");
            assert!(matches!(self.app.dialog, Some(Dialog::Notice { .. })), "{code:?}");
        }
        assert_eq!(self.key(KeyCode::Esc), []);
        assert_eq!(self.app.dialog, None);
        lines.join("\n")
    }

    pub fn note(&self) -> String {
        self.app.note.as_ref().map(|note| note.text.clone()).unwrap_or_default()
    }
}

fn at(mono: Duration) -> Now {
    Now { mono, wall: START.parse::<Timestamp>().unwrap() + (mono - Duration::from_secs(10)) }
}

pub fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut row = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            row.push_str(symbol);
            x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol)).unwrap().max(1);
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

/// The rulings among some effects.
pub fn rulings(effects: &[Effect]) -> Vec<(String, RulingKind, Option<String>)> {
    effects
        .iter()
        .flat_map(|effect| match effect {
            Effect::Send { command: Command::Rule { id, ruling, reason, .. }, .. } => {
                vec![(id.to_string(), *ruling, reason.clone())]
            }
            Effect::Send { command: Command::RuleBatch { holds, reason, .. }, .. } => {
                holds.iter().map(|item| (item.id.to_string(), RulingKind::Approve, reason.clone())).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

/// The rulings among some commands.
pub fn rulings_of(commands: &[Command]) -> Vec<(String, RulingKind, Option<String>)> {
    let effects: Vec<_> =
        commands.iter().map(|command| Effect::Send { connection: 1, command: command.clone() }).collect();
    rulings(&effects)
}

pub const A: &str = "H7K2QW0A1B2C";
pub const B: &str = "H7K3M5N8P9RS";
pub const C: &str = "H7K5T6V7X8YZ";
pub const SIZE: (u16, u16) = (80, 24);

pub fn approved(id: &str) -> Vec<(String, RulingKind, Option<String>)> {
    vec![(id.to_owned(), RulingKind::Approve, None)]
}

/// The whole gesture of a tier, by somebody who looks.
pub fn approve(desk: &mut Desk) -> Vec<Effect> {
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    let Some(Dialog::Approve(question)) = desk.app.dialog.clone() else { panic!("no question: {}", desk.note()) };
    if question.tier != Tier::High {
        return desk.key(KeyCode::Char('y'));
    }
    for field in &question.fields {
        assert_eq!(desk.letters(&field.expected), []);
        desk.key(KeyCode::Enter);
    }
    desk.key(KeyCode::Enter)
}

/// What goes to the daemon of what the console does.
pub fn sent(effects: &[Effect]) -> Vec<Command> {
    let command =
        |effect: &Effect| if let Effect::Send { command, .. } = effect { Some(command.clone()) } else { None };
    effects.iter().filter_map(command).collect()
}
