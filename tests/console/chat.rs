//! The pure conversation of plain mode, with a clock that the test owns.

use std::time::Duration;

use countersign::console::app::{Link, Now};
use countersign::console::plain::talk::{Effect, Talk, What};
use countersign::console::sign::Signing;
use countersign::control::wire::{Command, HoldView, Notice};
use jiff::tz::TimeZone;

use crate::support::{START, chain, daemon};

/// A conversation and its clock.
pub struct Chat {
    talk: Talk,
    now: Duration,
}

impl Chat {
    pub fn new(holds: Vec<HoldView>) -> (Chat, Vec<Effect>) {
        Chat::with(holds, None, None)
    }

    pub fn with(holds: Vec<HoldView>, signing: Option<Signing>, watching: Option<&str>) -> (Chat, Vec<Effect>) {
        let now = Duration::from_secs(10);
        let talk = Talk::new(at(now), TimeZone::UTC, signing, watching.map(str::to_owned), true);
        let mut chat = Chat { talk, now };
        let mut said = chat.link(Link::Up { number: 1, operator: "ana".to_owned(), daemon: daemon() });
        said.extend(chat.news(Notice::Snapshot { seq: None, holds, daemon: daemon() }));
        // It looks at the chain by itself.
        let look = |command: &Command| matches!(command, Command::Records { call: None, .. });
        let looks: Vec<_> = sent(&said).into_iter().filter(look).collect();
        let [Command::Records { seq, .. }] = looks[..] else { panic!("{looks:?}") };
        said.extend(chat.news(Notice::Records { seq, records: Vec::new(), chain: chain() }));
        (chat, said)
    }

    pub fn step(&mut self, what: What) -> Vec<Effect> {
        self.talk.update(at(self.now), what)
    }

    pub fn link(&mut self, link: Link) -> Vec<Effect> {
        self.step(What::Link(Box::new(link)))
    }

    pub fn news(&mut self, notice: Notice) -> Vec<Effect> {
        self.link(Link::Notice(notice))
    }

    pub fn types(&mut self, line: &str) -> Vec<Effect> {
        self.step(What::Line(format!("{line}\n")))
    }

    pub fn hold(&mut self, hold: HoldView) -> Vec<Effect> {
        self.news(Notice::Hold { hold: Box::new(hold) })
    }

    pub fn after(&mut self, seconds: u64) -> Vec<Effect> {
        self.now += Duration::from_secs(seconds);
        self.step(What::Tick)
    }
}

fn at(mono: Duration) -> Now {
    let start: jiff::Timestamp = START.parse().unwrap();
    Now { mono, wall: start + (mono - Duration::from_secs(10)) }
}

/// What was said, one line each, and the question at the end.
pub fn said(effects: &[Effect]) -> Vec<String> {
    let line = |effect: &Effect| match effect {
        Effect::Say(line) => Some(line.clone()),
        Effect::Ask { question, .. } => Some(question.clone()),
        _ => None,
    };
    effects.iter().filter_map(line).collect()
}

pub fn sent(effects: &[Effect]) -> Vec<Command> {
    let command = |effect: &Effect| match effect {
        Effect::Send { command, .. } => Some(command.clone()),
        _ => None,
    };
    effects.iter().filter_map(command).collect()
}

pub fn asks(effects: &[Effect], what: &str) -> bool {
    matches!(effects.last(), Some(Effect::Ask { question, .. }) if question.contains(what))
}
