//! Screens 2 to 4, and what they make of what the daemon answers.

use countersign::console::app::Link;
use countersign::console::keys::Page;
use countersign::console::pages::{self, Pages};
use countersign::control::wire::{ChainView, Command, Daemon, Failure, HoldView, Notice, SessionRuling};
use crossterm::event::KeyCode;

use crate::support::{A, Desk, SIZE, before, chain, daemon, grants, record, refund, sent, sessions, three};

#[test]
fn sessions_are_paused_ended_and_grants_revoked_after_a_question() {
    let mut desk = Desk::new(SIZE, three());
    desk.key_and_answers(KeyCode::Char('3'));
    assert_eq!(desk.app.page, Page::Sessions);
    desk.key(KeyCode::Char('P'));
    assert!(desk.screen().contains("PAUSE THE SESSION?"), "{}", desk.screen());
    assert_eq!(sent(&desk.key(KeyCode::Enter)), []);
    desk.key(KeyCode::Char('P'));
    let pause = sent(&desk.key(KeyCode::Char('y')));
    assert!(
        matches!(&pause[..], [Command::RuleSession { session, ruling: SessionRuling::Pause, .. }] if session == "s-19")
    );
    desk.news(Notice::Sessions { seq: pause[0].changes().unwrap(), sessions: sessions() });
    assert!(desk.note().contains("s-19: paused"), "{}", desk.note());
    desk.key(KeyCode::Char('j'));
    desk.key(KeyCode::Char('P'));
    assert!(desk.screen().contains("RESUME THE SESSION?"));
    desk.key(KeyCode::Esc);
    desk.key(KeyCode::Char('X'));
    let end = sent(&desk.key(KeyCode::Char('y')));
    assert!(
        matches!(&end[..], [Command::RuleSession { session, ruling: SessionRuling::End, .. }] if session == "s-20")
    );
    desk.key(KeyCode::Char('x'));
    assert!(desk.note().contains("on a grant"), "{}", desk.note());
    desk.key(KeyCode::Char('G'));
    desk.key(KeyCode::Char('x'));
    let revoked = sent(&desk.key(KeyCode::Char('y')));
    assert!(matches!(&revoked[..], [Command::RevokeGrant { grant, .. }] if *grant == grants()[0].id), "{revoked:?}");
}

/// The history comes page by page, newest first, and what comes anew joins what is known.
#[test]
fn the_history_comes_page_by_page() {
    let mut desk = Desk::new(SIZE, three());
    let asked = sent(&desk.key(KeyCode::Char('2')));
    let [Command::Records { seq, before: None, limit: 100, .. }] = asked[..] else { panic!("{asked:?}") };
    let page = |from: u64, to: u64| (to..=from).rev().map(record).collect::<Vec<_>>();
    desk.news(Notice::Records { seq, records: page(1204, 1105), chain: chain() });
    let more = sent(&desk.key(KeyCode::Char('G')));
    let [Command::Records { seq, before: Some(1105), .. }] = more[..] else { panic!("{more:?}") };
    desk.news(Notice::Records { seq, records: page(1104, 1090), chain: chain() });
    assert_eq!(desk.app.pages.records.len(), 115);
    assert!(desk.app.pages.complete);
    assert_eq!(sent(&desk.key(KeyCode::Char('G'))), [], "there are no older ones");
    // Newer ones on top; the cursor stays with its record.
    let cursor = desk.app.pages.cursor.clone();
    let again = sent(&{
        desk.wait(6_000);
        desk.ctrl('l')
    });
    let seq = again.iter().find_map(|command| match command {
        Command::Records { seq, .. } => Some(*seq),
        _ => None,
    });
    if let Some(seq) = seq {
        desk.news(Notice::Records { seq, records: page(1206, 1107), chain: chain() });
        assert_eq!(desk.app.pages.records.len(), 117);
    }
    assert_eq!(desk.app.pages.cursor, cursor);
    desk.key(KeyCode::Char('/'));
    desk.letters("kind:ruled");
    desk.key(KeyCode::Enter);
    assert!(desk.screen().contains("HIDDEN by kind:ruled"), "{}", desk.screen());
    assert!(desk.app.pages.records().all(|record| record.kind == "ruled"));
}

/// What is cut off at the end is there, and the history does not say that it has all of it.
#[test]
fn a_history_that_was_cut_is_not_whole() {
    let mut known = Pages::default();
    pages::took_records(&mut known, false, vec![record(2), record(1)], chain());
    assert!(known.complete);
    let newest = u64::try_from(pages::RECORDS).unwrap();
    known.records = (1..=newest).rev().map(record).collect();
    pages::took_records(&mut known, false, vec![record(newest + 1), record(newest)], chain());
    assert_eq!((known.records.len(), known.complete), (pages::RECORDS, false));
    assert!(!known.is_broken());
}

/// A broken chain and an answer that did not come are said.
#[test]
fn what_the_daemon_cannot_say_is_said() {
    let mut desk = Desk::new((120, 40), three());
    let asked = sent(&desk.key(KeyCode::Char('2')));
    let seq = match asked[..] {
        [Command::Records { seq, .. }] => seq,
        _ => panic!("{asked:?}"),
    };
    let broken = ChainView { intact: false, ..chain() };
    desk.news(Notice::Records { seq, records: vec![record(3)], chain: broken });
    assert!(desk.screen().contains("CHAIN BROKEN"), "{}", desk.screen());
    let asked = sent(&desk.key(KeyCode::Char('4')));
    let [Command::Rules { seq }] = asked[..] else { panic!("{asked:?}") };
    let message = "the store is locked\u{1b}[2J".to_owned();
    desk.news(Notice::Failed { seq: Some(seq), error: Failure::Unavailable, message });
    assert!(desk.screen().contains("the store is locked⟨U+001B⟩[2J"), "{}", desk.screen());
}

/// Questions that the daemon went away from are forgotten, and none is asked while it is away.
#[test]
fn a_lost_daemon_is_asked_nothing() {
    let mut desk = Desk::new(SIZE, three());
    desk.key(KeyCode::Char('3'));
    desk.link(Link::Down { why: "gone".to_owned() });
    for key in "1234!uc".chars() {
        assert_eq!(sent(&desk.key(KeyCode::Char(key))), [], "{key}");
    }
    desk.wait(60_000);
    assert!(desk.screen().contains("DAEMON LOST"));
}

/// Every tool, name and record that a screen shows has passed the escape function.
#[test]
fn no_screen_draws_anything_raw() {
    let evil = "\u{1b}]0;owned\u{7}\u{202e}x\u{200b}";
    let mut desk = Desk::new((120, 40), vec![HoldView { tool: evil.to_owned(), before: Some(before()), ..refund(A) }]);
    let mut session = sessions().remove(0);
    session.principal = evil.to_owned();
    session.last[0].operation = evil.to_owned();
    let mut grant = grants().remove(0);
    (grant.text, grant.principal) = (evil.to_owned(), evil.to_owned());
    let mut row = record(1);
    (row.words, row.kind, row.server) = (evil.to_owned(), evil.to_owned(), Some(evil.to_owned()));
    let mut rule = crate::support::rules().remove(0);
    (rule.rule, rule.hint) = (evil.to_owned(), Some(evil.to_owned()));
    let mut excerpts = crate::support::excerpts();
    excerpts[0].lines[0].text = evil.to_owned();
    for key in "234".chars().chain("1vvvvv".chars()) {
        let effects = desk.key(KeyCode::Char(key));
        for command in sent(&effects) {
            let notice = match command {
                Command::Records { seq, .. } => Notice::Records { seq, records: vec![row.clone()], chain: chain() },
                Command::Sessions { seq } => Notice::Sessions { seq, sessions: vec![session.clone()] },
                Command::Grants { seq } => Notice::Grants { seq, grants: vec![grant.clone()] },
                Command::Rules { seq } => Notice::Rules { seq, rules: vec![rule.clone()] },
                Command::Explain { seq, .. } => Notice::Explained { seq, excerpts: excerpts.clone() },
                other => panic!("{other:?}"),
            };
            desk.news(notice);
        }
        for cell in &desk.draw().content {
            assert_eq!(countersign::console::visible::hidden_count(cell.symbol()), 0, "{key}: {:?}", cell.symbol());
        }
    }
}

/// Names that nothing has are said on the page of policies, as a refused reload is.
#[test]
fn policy_warnings_are_on_the_page_of_policies() {
    let mut desk = Desk::new((120, 40), three());
    let line = "data.yaml:1:19: a budget for `creat_refund`, and stripe has no such operation";
    desk.news(Notice::Daemon { daemon: Daemon { policy_warnings: vec![line.to_owned()], ..daemon() } });
    drop(desk.key_and_answers(KeyCode::Char('4')));
    let screen = desk.screen();
    assert!(screen.contains("1 warning, see below") && screen.contains("a budget for `creat_refund`"), "{screen}");
}
