//! What plain mode reads out beside a hold, and what it does beside a ruling on one.

use countersign::console::app::Link;
use countersign::console::plain::talk::Effect;
use countersign::console::sign::Signing;
use countersign::control::wire::{
    ChainView, Command, Daemon, Failure, HoldState, HoldView, Notice, RecordView, RulingKind, SessionRuling,
    SignInState, SignInView,
};

use crate::chat::{Chat, asks, said, sent};
use crate::support::{
    A, B, START, before, chain, daemon, expired, gate, record, records, refund, rejected, rulings_of, sandbox, sessions,
};

#[test]
fn the_views_and_the_record_are_read_out() {
    let first = HoldView { before: Some(before()), ..refund(A) };
    let (mut chat, _) = Chat::new(vec![first, gate(B)]);
    let raw = said(&chat.types("raw"));
    assert!(
        raw.iter().any(|line| line.starts_with("Sent: {\"payment_intent\":\"pi_3PqLx2eZvKYlo2C1k8Yt\",")),
        "{raw:#?}"
    );
    let diff = said(&chat.types("diff"));
    assert!(diff.iter().any(|line| line.starts_with("Line: ~ /amount  4500 → 125000")), "{diff:#?}");
    let none = said(&chat.types("diff H7K3"));
    assert!(none[0].contains("was approved since the daemon started"), "{none:#?}");
    let asked = chat.types("session");
    let [Command::Sessions { seq }] = sent(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!(said(&asked), [""; 0], "the question is put again below the answer");
    let session = said(&chat.news(Notice::Sessions { seq, sessions: sessions() }));
    assert!(session.iter().any(|line| line.starts_with("Session: s-19 on stripe")), "{session:#?}");
    let asked = sent(&chat.types("result"));
    let [Command::Records { seq, ref call, .. }] = asked[..] else { panic!("{asked:?}") };
    assert_eq!(call.as_ref().map(ToString::to_string).as_deref(), Some(A));
    let result = said(&chat.news(Notice::Records { seq, records: records(), chain: chain() }));
    assert!(result[0].starts_with(&format!("State of {A}: it waits. Approvals: 0 of 1")), "{result:#?}");
    // Page by page, and each line says what it is about.
    let asked = chat.types("history");
    let [Command::Records { seq, before: None, call: None, .. }] = sent(&asked)[..] else { panic!("{asked:?}") };
    let page: Vec<_> = (21..=120).rev().map(record).collect();
    let about = |record: &RecordView| record.server.is_some() && record.operation.is_some();
    assert!(page.iter().all(about));
    let read = said(&chat.news(Notice::Records { seq, records: page.clone(), chain: chain() }));
    let (server, operation) = (page[0].server.clone().unwrap(), page[0].operation.clone().unwrap());
    assert!(read[0].contains(&operation) && read[0].contains(&format!("on {server}")), "{}", read[0]);
    assert!(read[0].starts_with("Record 101 at ") && read[19].starts_with("Record 120 at "), "{read:#?}");
    for first in [81, 61, 41, 21] {
        let read = chat.types("older");
        assert!(said(&read)[0].starts_with(&format!("Record {first} at ")), "{read:#?}");
        assert_eq!(sent(&read), [], "these are known");
    }
    let asked = sent(&chat.types("older"));
    let [Command::Records { seq, before: Some(21), .. }] = asked[..] else { panic!("{asked:?}") };
    let broken = ChainView { intact: false, ..chain() };
    let read = said(&chat.news(Notice::Records { seq, records: vec![record(2), record(1)], chain: broken }));
    assert!(read.iter().any(|line| line.contains("THE CHAIN IS BROKEN") && line.contains("audit verify")), "{read:#?}");
    assert_eq!(sent(&chat.types("older")), [], "there are none");
    // None of it is the call's own reading out, which was heard before; nor an answer.
    assert!(asks(&chat.types("why not"), &format!("Ruling for {A}")));
}

#[test]
fn a_list_takes_a_filter_and_leaves_out_what_is_over() {
    let old = expired(gate("H7J1AAAAAAAA"));
    let (mut chat, _) = Chat::new(vec![refund(A), sandbox("H7K5T6V7X8YZ"), old]);
    let lines = said(&chat.types("list"));
    assert!(!lines.iter().any(|line| line.starts_with("H7J1")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("1 more ended more than 10 minutes ago")), "{lines:#?}");
    assert!(said(&chat.types("list all")).iter().any(|line| line.starts_with("H7J1")));
    let lines = said(&chat.types("list env:live"));
    assert!(
        lines[0].starts_with(A) && lines.iter().any(|line| line.starts_with("1 more are not like that")),
        "{lines:#?}"
    );
    assert!(said(&chat.types("list colour:red"))[0].starts_with("That is no filter: there is no field"));
    chat.after(3600);
    let lines = said(&chat.types("list"));
    assert!(lines.iter().any(|line| line.starts_with(A) && line.contains("its time is over")), "{lines:#?}");
}

#[test]
fn several_are_rejected_by_one_reason_and_a_session_is_paused_with_its_call() {
    let ids = ["H7K5T6V7X8Y1", "H7K5T6V7X8Y2", "H7K5T6V7X8Y3"];
    let (mut chat, _) = Chat::new(ids.iter().map(|id| sandbox(id)).chain([gate(B)]).collect());
    chat.types("skip");
    assert!(asks(&chat.types("reject all"), " and 2 more: type the reason"));
    let mut rejected: Vec<_> = rulings_of(&sent(&chat.types("2"))).into_iter().map(|(id, ..)| id).collect();
    rejected.sort();
    assert_eq!(rejected, ids);

    let (mut chat, _) = Chat::new(vec![refund(A)]);
    assert!(asks(&chat.types("reject pause"), "and pause its session: type the reason"));
    let asked = sent(&chat.types("wrong"));
    let [Command::Rule { seq, ruling: RulingKind::Reject, .. }] = asked[..] else { panic!("{asked:?}") };
    let pause = sent(&chat.news(Notice::Ruled { seq, hold: Box::new(rejected_hold()) }));
    assert!(
        matches!(&pause[..], [Command::RuleSession { session, ruling: SessionRuling::Pause, reason: Some(why), .. }]
            if session == "s-19" && why == "wrong"),
        "{pause:?}"
    );
}

#[test]
fn a_pause_that_is_not_asked_for_is_said_in_words() {
    let words = format!("{A}: its session is NOT paused.");
    let told = |effects: &[Effect]| said(effects).iter().filter(|line| **line == words).count();
    let rejected = || {
        let (mut chat, _) = Chat::new(vec![refund(A)]);
        chat.types("reject pause");
        let asked = sent(&chat.types("wrong"));
        (chat, asked[0].changes())
    };
    let (mut chat, seq) = rejected();
    let failed = Notice::Failed { seq, error: Failure::Closed, message: "it has expired".to_owned() };
    assert_eq!(told(&chat.news(failed)), 1);
    let (mut chat, _) = rejected();
    assert_eq!(told(&chat.link(Link::Down { why: "gone".to_owned() })), 1);
    let (mut chat, _) = rejected();
    assert_eq!(told(&chat.after(11)), 1);
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    chat.types("reject wrong");
    assert_eq!(told(&chat.after(11)), 0);
}

/// An approval that could not be sent keeps its note, and older records are those of the daemon that is there.
#[test]
fn what_was_not_sent_is_as_it_was() {
    let (mut chat, _) = Chat::new(vec![gate(B)]);
    chat.types("note asked by phone");
    let mut asked = Vec::new();
    for _ in 0..32 {
        asked.extend(sent(&chat.types("sessions")));
    }
    chat.types("approve");
    assert_eq!(sent(&chat.types("yes")), []);
    let Command::Sessions { seq } = asked[0] else { panic!("{asked:?}") };
    chat.news(Notice::Failed { seq: Some(seq), error: Failure::Unavailable, message: "busy".to_owned() });
    chat.types("approve");
    let note = Some("asked by phone".to_owned());
    assert_eq!(rulings_of(&sent(&chat.types("yes"))), [(B.to_owned(), RulingKind::Approve, note)]);

    let (mut chat, _) = Chat::new(Vec::new());
    let first = sent(&chat.types("history"));
    let [Command::Records { seq, .. }] = first[..] else { panic!("{first:?}") };
    chat.news(Notice::Records { seq, records: records(), chain: chain() });
    assert!(said(&chat.types("older"))[0].starts_with("Record 1175 at "));
    let instance = countersign::call::Digest::of_bytes(b"another record");
    let other = || Daemon { instance, ..daemon() };
    chat.link(Link::Down { why: "gone".to_owned() });
    chat.link(Link::Up { number: 2, operator: "ana".to_owned(), daemon: other() });
    chat.news(Notice::Snapshot { seq: None, holds: Vec::new(), daemon: other() });
    assert_eq!(sent(&chat.types("older")), [], "none of this daemon's were read out");
}

fn rejected_hold() -> HoldView {
    rejected(refund(A), "wrong")
}

/// A refused reload, a contradicted environment, changed tools and a lost sign-in are said, once each.
#[test]
fn what_changes_about_the_daemon_is_said() {
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    let mut now = daemon();
    now.policy_error = Some("policies/refunds.rego:9:1: rego_parse_error".to_owned());
    now.policy_warnings = vec!["data.yaml:1:19: a budget for `creat_refund`".to_owned()];
    now.servers[0].environment.conflict = Some("the server's answer says sandbox".to_owned());
    now.servers[0].tools_changed = 2;
    now.guessed = vec!["local".to_owned()];
    now.servers[0].sign_in = Some(SignInView {
        state: SignInState::Failed,
        by_itself: true,
        until: None,
        renewed: false,
        reason: Some("invalid_client".to_owned()),
    });
    let lines = said(&chat.news(Notice::Daemon { daemon: now.clone() }));
    for words in [
        "rego_parse_error",
        "Policy warning: data.yaml:1:19: a budget for `creat_refund`",
        "works elsewhere than in production",
        "TOOLS: 2 CHANGED",
        "invalid_client",
        "KEY GUESSED? local",
    ] {
        assert_eq!(lines.iter().filter(|line| line.contains(words)).count(), 1, "{words} {lines:#?}");
    }
    assert_eq!(chat.news(Notice::Daemon { daemon: now.clone() }), [], "once");
    let well = Daemon { policy_version: "new".to_owned(), ..daemon() };
    let lines = said(&chat.news(Notice::Daemon { daemon: well }));
    for words in ["New policies are in force: 31 rules", "TOOLS: all as pinned", "signed in again"] {
        assert!(lines.iter().any(|line| line.contains(words)), "{words} {lines:#?}");
    }
}

/// Where nothing can be sent that is said, and nothing is signed.
#[test]
fn what_is_not_sent_is_not_signed() {
    let signing = Signing { operator: "ana".to_owned(), key: "/k".into() };
    let (mut chat, _) = Chat::with(vec![HoldView { signature_required: true, ..gate(B) }], Some(signing), None);
    for _ in 0..32 {
        chat.types("sessions");
    }
    chat.types("approve");
    let effects = chat.types("yes");
    assert!(effects.iter().all(|effect| !matches!(effect, Effect::Sign { .. } | Effect::Send { .. })), "{effects:?}");
    assert!(said(&effects)[0].ends_with("nothing was sent."), "{effects:?}");
}

#[test]
fn an_approval_of_anybodys_is_taken_back_by_its_id() {
    let leaves_at = Some("2026-11-21T14:07:34Z".to_owned());
    let state = HoldState::Approved { by: "ben".into(), at: START.to_owned(), leaves_at };
    let (mut chat, _) = Chat::new(vec![HoldView { state, ..refund(A) }]);
    assert_eq!(sent(&chat.types("undo")), [], "none of one's own");
    assert!(matches!(&sent(&chat.types("undo H7K2"))[..], [Command::TakeBack { id, .. }] if id.as_str() == A));
}
