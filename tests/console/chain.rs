//! What the console knows of the record's chain: what was found broken is not forgotten.

use countersign::console::app::Link;
use countersign::control::wire::{ChainView, Command, Daemon, Notice, RecordView};
use crossterm::event::KeyCode;

use crate::support::{Desk, SIZE, chain, daemon, record, records, sent, three};

/// What was found broken stays broken, whatever page comes next, until it is another daemon's record.
#[test]
fn a_broken_chain_stays_broken() {
    let page = |from: u64, to: u64| (to..=from).rev().map(record).collect::<Vec<_>>();
    let broken = ChainView { intact: false, ..chain() };
    let asked = |desk: &mut Desk, key: char| match sent(&desk.key(KeyCode::Char(key)))[..] {
        [Command::Records { seq, .. }] => seq,
        ref other => panic!("{other:?}"),
    };
    let history = |size| {
        let mut desk = Desk::new(size, three());
        let seq = asked(&mut desk, '2');
        desk.news(Notice::Records { seq, records: page(1204, 1105), chain: chain() });
        assert!(desk.screen().contains("chain ok"), "{}", desk.screen());
        desk
    };
    // An older page that is not intact, or that does not begin where the known ones end; a newer one that ends earlier, or
    // has another record in the place of a known one.
    let odd = RecordView { words: "something else".to_owned(), ..record(1204) };
    for (older, records, chain) in [
        (true, page(1104, 1005), broken.clone()),
        (true, page(1102, 1003), chain()),
        (true, Vec::new(), chain()),
        (false, page(1203, 1104), chain()),
        (false, [vec![odd], page(1203, 1105)].concat(), chain()),
    ] {
        let mut desk = history(SIZE);
        let seq = if older {
            asked(&mut desk, 'G')
        } else {
            desk.wait(6_000);
            let ticked = desk.ctrl('l');
            match sent(&ticked)[..] {
                [Command::Records { seq, .. }] => seq,
                // The tick has asked.
                _ => desk.asked,
            }
        };
        desk.news(Notice::Records { seq, records, chain });
        assert!(desk.screen().contains("CHAIN BROKEN"), "{older} {}", desk.screen());
        // The next ones are intact.
        desk.wait(6_000);
        let seq = desk.asked;
        desk.news(Notice::Records { seq, records: page(1210, 1111), chain: self::chain() });
        assert!(desk.screen().contains("CHAIN BROKEN"), "{}", desk.screen());
        for key in "1234".chars() {
            desk.key(KeyCode::Char(key));
            assert!(desk.screen().contains("CHAIN BROKEN"), "{}", desk.screen());
        }
        desk.link(Link::Down { why: "gone".to_owned() });
        desk.link(Link::Up { number: 2, operator: "ana".to_owned(), daemon: daemon() });
        assert!(desk.app.pages.is_broken(), "it is the same record");
        let instance = countersign::call::Digest::of_bytes(b"another record");
        desk.link(Link::Up { number: 3, operator: "ana".to_owned(), daemon: Daemon { instance, ..daemon() } });
        assert!(!desk.app.pages.is_broken() && desk.app.pages.records.is_empty());
    }
}

/// A record whose call could not be read back for one answer is the same record in the next.
#[test]
fn what_a_record_is_about_breaks_no_chain() {
    let mut desk = Desk::new(SIZE, three());
    let page = |about: bool| {
        let without = |record: RecordView| match about {
            true => record,
            false => RecordView { server: None, principal: None, rule: None, ..record },
        };
        (1105..=1204).rev().map(|seq| without(record(seq))).collect::<Vec<_>>()
    };
    let first = sent(&desk.key(KeyCode::Char('2')));
    let [Command::Records { seq, .. }] = first[..] else { panic!("{first:?}") };
    desk.news(Notice::Records { seq, records: page(false), chain: chain() });
    assert_ne!(page(false), page(true));
    desk.wait(6_000);
    assert!(desk.asked > seq);
    let seq = desk.asked;
    desk.news(Notice::Records { seq, records: page(true), chain: chain() });
    assert!(!desk.app.pages.is_broken() && desk.screen().contains("chain ok"), "{}", desk.screen());
}

/// The header knows how the chain is without a visit of the history, and asks again from time to time.
#[test]
fn the_header_knows_of_the_chain_without_a_visit() {
    let mut desk = Desk::unconnected((180, 40));
    desk.link(Link::Up { number: 1, operator: "ana".to_owned(), daemon: daemon() });
    let asked = sent(&desk.news(Notice::Snapshot { seq: None, holds: Vec::new(), daemon: daemon() }));
    let [Command::Records { seq, before: None, call: None, .. }] = asked[..] else { panic!("{asked:?}") };
    assert!(!desk.screen().contains("chain"), "{}", desk.screen());
    desk.news(Notice::Records { seq, records: records(), chain: chain() });
    assert!(desk.screen().contains("chain ok"), "{}", desk.screen());
    assert!(desk.app.pages.records.is_empty(), "the history is asked for by whoever opens it");
    desk.wait(30_000);
    assert_eq!(desk.asked, seq, "not yet");
    desk.wait(31_000);
    let again = desk.asked;
    assert!(again > seq);
    desk.news(Notice::Records { seq: again, records: records(), chain: ChainView { intact: false, ..chain() } });
    assert!(desk.screen().contains("CHAIN BROKEN"), "{}", desk.screen());
}
