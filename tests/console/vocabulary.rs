//! Plain mode has a word for everything that a key does, and the words do it.

use countersign::console::app::Link;
use countersign::console::keys::{Action, TABLE};
use countersign::console::plain::talk::{Effect, What};
use countersign::console::plain::vocabulary::{HELP, Plain, in_plain};
use countersign::console::update::MUTE;
use countersign::control::wire::{ChainView, Command, HoldView, Notice, RecordView, RulingKind};

use crate::chat::{Chat, asks, said, sent};
use crate::support::{
    A, B, C, chain, expired, gate, grants, record, records, refund, rules, rulings_of, sandbox, sessions,
};

/// Whether a line is a command, with a call that is asked about: anything but the two sentences that say it is none.
fn is_known(line: &str) -> bool {
    let (mut chat, _) = Chat::new(vec![refund(A), expired(gate(B))]);
    let effects = chat.types(line);
    let unknown = ["There is no such command", "That is not a command"];
    !said(&effects).iter().any(|line| unknown.iter().any(|words| line.starts_with(words)))
}

/// C10, for the ears: no key of the table does what no word does, and where there is no word it is said why.
#[test]
fn every_key_has_a_word_or_a_reason_to_have_none() {
    // What a word wants behind it.
    let whole = |word: &str| match word {
        "grant" => "grant 5 10".to_owned(),
        "batch" | "reopen" => format!("{word} {B}"),
        "pause" | "resume" | "end" => format!("{word} s-19"),
        "revoke" => "revoke G1A2B3C4D5E6".to_owned(),
        word => word.to_owned(),
    };
    let help = HELP.join("\n");
    let in_help = |word: &str| help.split(|c: char| !c.is_ascii_alphanumeric()).any(|other| other == word);
    for row in TABLE {
        match in_plain(row.action) {
            Plain::Words(words) => {
                assert!(!words.is_empty());
                for word in words {
                    assert!(is_known(&whole(word)), "{:?}: {word} is no command", row.action);
                    assert!(in_help(word), "{word} is not in the help");
                }
            }
            Plain::Answer(word) => assert!(in_help(word), "{word} is not in the help"),
            Plain::Needless(why) => assert!(why.len() > 20, "{:?}", row.action),
        }
    }
    assert!(!is_known("approves") && !is_known("shadow"), "not everything is a command");
    // The answers, each to a question that takes it.
    assert_eq!(in_plain(Action::Yes), Plain::Answer("yes"));
    let (mut chat, _) = Chat::new(vec![gate(B)]);
    chat.types("approve");
    assert_eq!(rulings_of(&sent(&chat.types("yes"))).len(), 1);
    assert_eq!(in_plain(Action::Preset(0)), Plain::Answer("1"));
    let (mut chat, _) = Chat::new(vec![gate(B)]);
    chat.types("reject");
    let reason = Some("The amount or the quantity is wrong.".to_owned());
    assert_eq!(rulings_of(&sent(&chat.types("1"))), [(B.to_owned(), RulingKind::Reject, reason)]);
    assert_eq!(in_plain(Action::Back), Plain::Answer("back"));
    chat.hold(refund(A));
    chat.types("approve");
    assert!(asks(&chat.types("back"), "Ruling for") && sent(&chat.types("125000")).is_empty());
}

#[test]
fn help_finds_a_line_by_its_words() {
    let (mut chat, _) = Chat::new(Vec::new());
    let lines = said(&chat.types("help GRANT terms"));
    assert!(lines[0].starts_with("grants: the grants in force") && lines.len() == 2, "{lines:#?}");
    assert!(said(&chat.types("help xyzzy"))[0].starts_with("No line of the help has that"));
    assert_eq!(said(&chat.types("help")).len(), HELP.len() + 5 + 1, "and the five reasons, and the question");
}

/// A hold and the record go into files, as the screen writes them.
#[test]
fn a_call_and_the_record_are_exported() {
    let (mut chat, _) = Chat::new(vec![refund(A), sandbox(C)]);
    for (line, id) in [("export", A), ("export H7K5", C)] {
        let effects = chat.types(line);
        let [Effect::Export { name, text }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(*name, format!("hold-{id}.json"));
        let (hold, _): (HoldView, u64) = crate::cli::scored(text);
        assert_eq!(hold.id.as_str(), id);
    }
    assert!(said(&chat.types("export H9"))[0].starts_with("There is no such hold"));
    assert!(said(&chat.types("export history"))[0].starts_with("There is no record to export"));
    let [Command::Records { seq, .. }] = sent(&chat.types("history kind:ruled"))[..] else { panic!() };
    chat.news(Notice::Records { seq, records: records(), chain: chain() });
    let effects = chat.types("export history");
    let [Effect::Export { name, text }] = &effects[..] else { panic!("{effects:?}") };
    assert!(name.starts_with("history-2026") && name.ends_with(".ndjson"), "{name}");
    let written: Vec<RecordView> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(written.len() == 10 && written.iter().all(|record| record.kind == "ruled"), "{written:?}");
    let told = chat.step(What::Did(Ok("written: x".to_owned())));
    assert!(said(&told)[0] == "Done: written: x." && asks(&told, "Ruling for"), "{told:?}");
    let told = chat.step(What::Did(Err("x\u{202e} was not written".to_owned())));
    assert_eq!(said(&told)[0], "Not done: x⟨U+202E⟩ was not written.");
}

/// A rule is drafted from a call, and the rule that held one is opened, where it has a file that can be opened from here.
#[test]
fn a_rule_is_drafted_and_opened() {
    let mut hold = refund(A);
    hold.rules[0].file = "/etc/policies/refunds.rego".to_owned();
    let (mut chat, _) = Chat::new(vec![hold, gate(B), sandbox(C)]);
    for (line, opens) in [("draft", false), ("draft edit", true), ("draft H7K2", false), ("draft H7K2 edit", true)] {
        let effects = chat.types(line);
        let [Effect::Draft { draft, loaded, edit }] = &effects[..] else { panic!("{effects:?}") };
        assert!(draft.rego.contains("hold contains") && draft.name == "draft_hold_h7k2qw0a1b2c");
        assert_eq!((loaded.len(), *edit), (1, opens), "{line}");
    }
    let opened = |effects: &[Effect]| match effects {
        [Effect::Edit { file, line }] => (file.display().to_string(), *line),
        other => panic!("{other:?}"),
    };
    assert_eq!(opened(&chat.types("edit")), ("/etc/policies/refunds.rego".to_owned(), 9));
    assert!(said(&chat.types("edit H7K3"))[0].starts_with("That rule has no file"), "its rules were not named");
    let [Command::Rules { seq }] = sent(&chat.types("rules"))[..] else { panic!() };
    let mut known = rules();
    known[0].file = Some("/etc/policies/writes.rego".to_owned());
    let lines = said(&chat.news(Notice::Rules { seq, rules: known }));
    assert!(lines[0].contains("43 approved") && lines[0].contains("median 1.6 s to a ruling"), "{lines:#?}");
    assert_eq!(opened(&chat.types("edit writes.sandbox")), ("/etc/policies/writes.rego".to_owned(), 12));
    assert!(said(&chat.types("edit refunds.over_limit"))[0].contains("is no path to open"));
    let (mut chat, _) = Chat::new(Vec::new());
    assert!(said(&chat.types("draft"))[0].starts_with("No call is asked about"));
}

/// The record is looked through for what a filter takes, page by page, and no further than it is kept.
#[test]
fn the_history_takes_a_filter() {
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    assert!(said(&chat.types("history colour:red"))[0].starts_with("That is no filter: there is no field"));
    let of = |from: u64| -> Vec<_> { (from..from + 100).rev().map(record).collect() };
    let [Command::Records { seq, before: None, limit: 100, .. }] = sent(&chat.types("history id:zzzz"))[..] else {
        panic!()
    };
    let effects = chat.news(Notice::Records { seq, records: of(201), chain: chain() });
    let [Command::Records { seq, before: Some(201), .. }] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(said(&effects), [""; 0], "it goes on looking");
    let effects = chat.news(Notice::Records { seq, records: of(101), chain: chain() });
    let [Command::Records { seq, before: Some(101), .. }] = sent(&effects)[..] else { panic!("{effects:?}") };
    let lines = said(&chat.news(Notice::Records { seq, records: of(1), chain: chain() }));
    assert_eq!(lines[0], "0 of those that id:zzzz takes; of 300 looked through it left out 300.");
    assert_eq!(lines[1], "There are none before them.");
    // What is known is not asked for again but for what is new.
    let [Command::Records { seq, before: None, .. }] = sent(&chat.types("history kind:ruled"))[..] else { panic!() };
    let lines = said(&chat.news(Notice::Records { seq, records: of(202), chain: chain() }));
    assert_eq!(lines.iter().filter(|line| line.contains("ana approved it")).count(), 20, "{lines:#?}");
    assert!(lines.contains(&"Type older for those before them.".to_owned()), "{lines:#?}");
    let older = said(&chat.types("older"));
    assert!(older[0].starts_with("Record ") && older.iter().filter(|line| line.starts_with("Record ")).count() == 20);
    // The record of one operation.
    assert_eq!(sent(&chat.types("same")).len(), 1);
    // One that has no end is looked through as far as it is kept.
    let (mut chat, _) = Chat::new(Vec::new());
    let mut effects = chat.types("history id:zzzz");
    let mut asked = 0;
    let lines = loop {
        let [Command::Records { seq, before, .. }] = sent(&effects)[..] else { break said(&effects) };
        asked += 1;
        let newest = before.unwrap_or(1_000_001);
        effects = chat.news(Notice::Records { seq, records: of(newest - 100), chain: chain() });
    };
    assert_eq!(asked, 50);
    assert!(lines.contains(&"No more than 5000 are looked through: countersign audit tail has the others.".to_owned()));
}

/// A chain that breaks is said when it is seen, once, and is broken from then on.
#[test]
fn the_chain_is_looked_at() {
    let (mut chat, _) = Chat::new(Vec::new());
    assert_eq!(sent(&chat.after(59)), []);
    let [Command::Records { seq, call: None, .. }] = sent(&chat.after(1))[..] else { panic!() };
    assert_eq!(sent(&chat.after(60)), [], "one look at a time");
    let broken = ChainView { intact: false, ..chain() };
    let effects = chat.news(Notice::Records { seq, records: records(), chain: broken });
    assert!(said(&effects)[0].starts_with("Records: THE CHAIN IS BROKEN"), "{effects:?}");
    let [Command::Records { seq, .. }] = sent(&chat.after(60))[..] else { panic!() };
    assert_eq!(said(&chat.news(Notice::Records { seq, records: records(), chain: chain() })), [""; 0]);
    assert!(said(&chat.types("status")).iter().any(|line| line.contains("THE CHAIN IS BROKEN")));
    // Where it cannot be looked at that is said once, and again after it could be.
    let failed = |chat: &mut Chat| {
        let [Command::Records { seq, .. }] = sent(&chat.after(60))[..] else { panic!() };
        let error = countersign::control::wire::Failure::Unavailable;
        let said = said(&chat.news(Notice::Failed { seq: Some(seq), error, message: "busy".to_owned() }));
        said.into_iter().filter(|line| line.starts_with("Records: they cannot be read")).count()
    };
    assert_eq!((failed(&mut chat), failed(&mut chat)), (1, 0));
    let [Command::Records { seq, .. }] = sent(&chat.after(60))[..] else { panic!() };
    chat.news(Notice::Records { seq, records: records(), chain: chain() });
    assert_eq!(failed(&mut chat), 1);
}

#[test]
fn the_bell_is_muted_but_for_the_highest_tier() {
    let rings = |effects: &[Effect]| effects.contains(&Effect::Bell);
    let (mut chat, effects) = Chat::new(vec![sandbox(C)]);
    assert!(rings(&effects));
    assert!(said(&chat.types("mute"))[0].starts_with("No bell for 15 minutes"));
    assert!(!rings(&chat.hold(gate(B))) && !rings(&chat.types("details")));
    assert!(rings(&chat.hold(refund(A))));
    chat.after(MUTE.as_secs());
    assert!(rings(&chat.types("details H7K5")), "it rings again by itself");
    chat.types("mute");
    assert!(said(&chat.types("mute"))[0].starts_with("The bell rings again"));
}

/// The riskiest call is the next one, whatever came first.
#[test]
fn the_riskiest_call_is_asked_about_next() {
    let (mut chat, _) = Chat::new(vec![sandbox(C)]);
    chat.hold(gate(B));
    chat.hold(refund(A));
    assert!(asks(&chat.types("skip"), &format!("Ruling for {A}")));
    assert!(asks(&chat.types("skip"), &format!("Ruling for {B}")));
}

/// Calls that are not alike are rejected by one reason, as those that are marked on the screen.
#[test]
fn several_calls_are_rejected_by_their_names() {
    let (mut chat, _) = Chat::new(vec![refund(A), gate(B), sandbox(C)]);
    assert!(said(&chat.types("reject H7K2 H9"))[0].starts_with("There is no such hold"));
    assert!(asks(&chat.types("reject H7K2 H7K5"), &format!("Reject {A} and 1 more")));
    let reason = Some("not today".to_owned());
    let ruled = rulings_of(&sent(&chat.types("not today")));
    let named = |id: &str| (id.to_owned(), RulingKind::Reject, reason.clone());
    assert_eq!(ruled, [named(A), named(C)]);
    let (mut chat, _) = Chat::new(vec![refund(A), expired(gate(B))]);
    assert!(said(&chat.types("reject H7K2 H7K3"))[0].ends_with("Nothing was sent."));
}

#[test]
fn a_session_the_grants_and_the_daemon_are_read_out_in_full() {
    let (mut chat, _) = Chat::new(Vec::new());
    for (line, words) in
        [("sessions s-20", "PAUSED: by ben"), ("sessions s-99", "No session that is open is called so")]
    {
        let [Command::Sessions { seq }] = sent(&chat.types(line))[..] else { panic!("{line}") };
        let lines = said(&chat.news(Notice::Sessions { seq, sessions: sessions() }));
        assert!(lines.iter().any(|line| line.starts_with(words)), "{lines:#?}");
    }
    let [Command::Grants { seq }] = sent(&chat.types("grants"))[..] else { panic!() };
    let lines = said(&chat.news(Notice::Grants { seq, grants: grants() }));
    assert!(lines.iter().any(|line| line == "Grant G1A2B3C4D5E6: /customer is any string"), "{lines:#?}");
    let lines = said(&chat.types("status"));
    for words in
        ["Countersign 0.1.0. Servers: stripe in production. 31 rules.", "1 console attached.", "1204 records in all"]
    {
        assert!(lines.iter().any(|line| line.starts_with(words)), "{words} {lines:#?}");
    }
    chat.link(Link::Down { why: "gone".to_owned() });
    assert!(said(&chat.types("status"))[0].contains("It is not there at the moment."));
}
