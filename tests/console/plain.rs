//! Plain mode: the pure conversation, then the real binary in a terminal of its own.

use countersign::console::app::Link;
use countersign::console::plain::talk::{Effect, What};
use countersign::console::plain::words;
use countersign::console::sign::Signing;
use countersign::control::wire::{
    BatchResult, Command, Daemon, Failure, HoldState, HoldView, Notice, RulingKind, SignedBy,
};
use countersign::json::JsonText;

use crate::chat::{Chat, asks, said, sent};
use crate::fake::Fake;
use crate::support::{A, B, START, daemon, gate, json, refund, rejected, rulings_of, sandbox};
use crate::terminal::{Pty, lately};

#[test]
fn a_hold_is_read_out_in_lines_of_words() {
    let (_, effects) = Chat::new(vec![refund(A)]);
    let lines = said(&effects);
    for line in [
        "1 waiting.",
        "Hold H7K2QW0A1B2C. High risk. LIVE. Server stripe. Tool create_refund.",
        "Argument payment_intent: \"pi_3PqLx2eZvKYlo2C1k8Yt\"",
        "Argument amount: 125000. The rule asks about this",
        "Argument reason: \"requested_by_customer\"",
        "Money: 125000 minor units; the currency is not in the call",
        "Rule: refunds.over_limit  refunds over 100.00 need a person  policies/refunds.rego:9",
        "Time left for H7K2QW0A1B2C: 2 minutes 41 seconds.",
        "Ruling for H7K2QW0A1B2C (approve, reject, details, skip, help, quit): ",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line}\n{lines:#?}");
    }
    assert!(effects.contains(&Effect::Bell));
    let drawn = |line: &String| line.chars().any(|c| ('\u{2500}'..='\u{259F}').contains(&c));
    assert!(!lines.iter().any(drawn), "boxes are not for ears");
}

/// C1: nothing but the whole word, and the gesture of the tier after it.
#[test]
fn nothing_short_of_the_whole_word_approves() {
    let (mut chat, _) = Chat::new(vec![sandbox(A)]);
    for line in [
        "",
        " ",
        "a",
        "y",
        "yes",
        "app",
        "APPROVE",
        "Approve",
        "approve!",
        "approve approve",
        "approved",
        "\u{430}pprove",
    ] {
        assert_eq!(sent(&chat.types(line)), [], "{line:?}");
    }
    let commands = sent(&chat.types("approve"));
    assert!(matches!(&commands[..], [Command::Rule { ruling: RulingKind::Approve, .. }]), "{commands:?}");
}

#[test]
fn the_tiers_ask_for_what_the_screen_asks_for() {
    let (mut chat, _) = Chat::new(vec![gate(B)]);
    assert!(asks(&chat.types("approve"), "Type yes"));
    assert_eq!(sent(&chat.types("y")), []);
    chat.types("approve");
    assert_eq!(rulings_of(&sent(&chat.types("yes"))), [(B.to_owned(), RulingKind::Approve, None)]);

    let (mut chat, _) = Chat::new(vec![refund(A)]);
    assert!(asks(&chat.types("approve"), "type arguments/amount"));
    let wrong = chat.types("12500");
    assert_eq!(sent(&wrong), []);
    assert!(asks(&wrong, "Ruling for"), "back at the beginning");
    chat.types("approve");
    assert_eq!(rulings_of(&sent(&chat.types("125000"))), [(A.to_owned(), RulingKind::Approve, None)]);
}

/// A note goes with the approval of the call that it was given for, and with nothing else.
#[test]
fn a_note_goes_with_one_approval() {
    let (mut chat, _) = Chat::new(vec![gate(B)]);
    let effects = chat.types("note ticket FIN-1182\u{202e}");
    assert!(sent(&effects).is_empty() && asks(&effects, "Ruling for"));
    assert!(said(&effects).iter().any(|line| line.contains("FIN-1182⟨U+202E⟩")), "{effects:?}");
    chat.types("approve");
    let note = Some("ticket FIN-1182\u{202e}".to_owned());
    assert_eq!(rulings_of(&sent(&chat.types("yes"))), [(B.to_owned(), RulingKind::Approve, note)]);

    let (mut chat, _) = Chat::new(vec![gate(B), gate(A)]);
    chat.types("note one");
    chat.types("skip");
    chat.types("approve");
    let other = rulings_of(&sent(&chat.types("yes")));
    assert!(matches!(other.as_slice(), [(_, RulingKind::Approve, None)]), "{other:?}");

    let (mut chat, _) = Chat::new(vec![refund(A)]);
    chat.types("note fine");
    chat.types("note");
    chat.types("approve");
    assert_eq!(rulings_of(&sent(&chat.types("125000"))), [(A.to_owned(), RulingKind::Approve, None)]);
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    chat.types("note fine");
    chat.types("reject");
    let reason = Some("no".to_owned());
    assert_eq!(rulings_of(&sent(&chat.types("no"))), [(A.to_owned(), RulingKind::Reject, reason)]);
}

#[test]
fn a_rejection_wants_a_reason() {
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    assert!(asks(&chat.types("reject"), "type the reason"));
    assert!(asks(&chat.types(""), "Ruling for"), "an empty line goes back");
    chat.types("reject");
    let reason = Some("wrong payment intent".to_owned());
    assert_eq!(rulings_of(&sent(&chat.types("wrong payment intent"))), [(A.to_owned(), RulingKind::Reject, reason)]);
}

/// C2: what was not read out cannot be approved.
#[test]
fn a_long_call_is_read_out_to_its_end_before_it_is_approved() {
    let items: Vec<_> = (0..300).collect();
    let arguments = JsonText::of(&serde_json::json!({ "items": items })).unwrap();
    let (mut chat, effects) = Chat::new(vec![HoldView { arguments, ..sandbox(A) }]);
    assert!(
        said(&effects).iter().any(|line| line.contains("more than 200 lines") && line.contains("not read out yet"))
    );
    let refused = chat.types("approve");
    assert_eq!(sent(&refused), []);
    assert!(said(&refused)[0].contains("was not read out to its end"), "{refused:?}");
    let lines = said(&chat.types("details"));
    assert!(lines.contains(&"Argument items[299]: 299".to_owned()));
    assert_eq!(sent(&chat.types("approve")).len(), 1);
}

/// A long path is said once and has a number from then on: a call costs no more text than it has.
#[test]
fn a_long_path_is_said_once() {
    let key = "k".repeat(50_000);
    let items: Vec<_> = (0..100).collect();
    let arguments = JsonText::of(&serde_json::json!({ &key: { "a": items }, "b": 1 })).unwrap();
    let (_, effects) = Chat::new(vec![HoldView { arguments, ..sandbox(A) }]);
    let lines = said(&effects);
    for line in [&*format!("Place 1: {key}"), "Argument <place 1>.a[99]: 99", "Argument b: 1"] {
        assert!(lines.iter().any(|said| said == line), "{line}");
    }
    assert!(lines.iter().map(String::len).sum::<usize>() < 2 * key.len());

    let key = "k".repeat(500_000);
    let items = vec![1; 100_000];
    let arguments = JsonText::of(&serde_json::json!({ &key: items })).unwrap();
    let (mut chat, effects) = Chat::new(vec![HoldView { arguments, ..sandbox(A) }]);
    assert!(said(&effects).iter().any(|line| line.contains("more than 200 lines or 64 KiB, not read out yet")));
    assert!(said(&chat.types("details")).iter().map(String::len).sum::<usize>() < 10_000_000);
}

/// C3: a change closes the question, and the changed call is read out anew.
#[test]
fn whatever_changes_closes_the_question() {
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    chat.types("approve");
    let changed = HoldView { arguments: json(r#"{"amount":999}"#), ..refund(A) };
    let lines = said(&chat.hold(changed));
    assert!(lines[0].contains("has changed"), "{lines:?}");
    assert!(lines.contains(&"Argument amount: 999. The rule asks about this".to_owned()));
    assert_eq!(sent(&chat.types("125000")), [], "the value of the old question is no command");

    let (mut chat, _) = Chat::new(vec![refund(A)]);
    chat.types("approve");
    let lines = said(&chat.hold(rejected(refund(A), "wrong pi")));
    assert!(lines[0].contains("ben rejected: wrong pi"), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("Command"), "{lines:?}");
    assert_eq!(sent(&chat.types("approve")), []);
}

/// Several calls alike: all of them are read out, one yes approves them, and whatever changes one of them asks anew.
#[test]
fn calls_that_are_alike_are_approved_at_once() {
    let batches = || Notice::Daemon { daemon: Daemon { batches: true, ..daemon() } };
    let arguments = |n: u32| json(&format!(r#"{{"customer":"cust-{n}"}}"#));
    let alike = || vec![sandbox(A), HoldView { arguments: arguments(7), ..sandbox(B) }];
    let both = format!("batch {} {}", &A[..4], &B[..4]);

    let (mut chat, _) = Chat::new(alike());
    assert!(said(&chat.types(&both))[0].contains("holds.batches"), "the configuration does not let it");
    chat.news(batches());
    for (line, why) in [
        ("batch", "2 to 20 holds, not 0"),
        (&*format!("batch {A}"), "2 to 20 holds, not 1"),
        (&*format!("batch {A} {A}"), "twice"),
        ("batch ZZZZ YYYY", "no such hold"),
        ("batch H7 H7", "give more letters"),
    ] {
        let effects = chat.types(line);
        assert!(said(&effects)[0].contains(why) && sent(&effects).is_empty(), "{line}: {effects:?}");
    }
    let effects = chat.types(&both);
    assert!(asks(&effects, "Approve all 2? Type yes") && sent(&effects).is_empty(), "{effects:?}");
    for line in ["Argument customer: \"cust-118\"", "Argument customer: \"cust-7\""] {
        assert!(said(&effects).iter().any(|said| said == line), "{line}: {effects:?}");
    }
    for line in ["y", "", "approve"] {
        assert_eq!(sent(&chat.types(line)), [], "{line:?}");
        chat.types(&both);
    }
    let commands = sent(&chat.types("yes"));
    let [Command::RuleBatch { seq, holds, .. }] = &commands[..] else { panic!("{commands:?}") };
    let named: Vec<_> = holds.iter().map(|item| (item.id.to_string(), item.digest)).collect();
    assert_eq!(named, [(A.to_owned(), alike()[0].digest), (B.to_owned(), alike()[1].digest)]);
    let state = HoldState::Approved {
        by: "ana".to_owned(),
        at: START.to_owned(),
        leaves_at: Some("2026-11-21T14:07:34Z".to_owned()),
    };
    let ruled = BatchResult::Ruled { hold: Box::new(HoldView { state, ..sandbox(A) }) };
    let failed = BatchResult::Failed { id: B.parse().unwrap(), error: Failure::Closed, message: "gone".to_owned() };
    let lines = said(&chat.news(Notice::RuledBatch { seq: *seq, results: vec![ruled, failed] }));
    assert!(lines[0].contains("1 hold approved, not these") && lines[0].contains(B), "{lines:?}");
    assert!(matches!(&sent(&chat.types("undo"))[..], [Command::TakeBack { id, .. }] if id.as_str() == A));

    let (mut chat, _) = Chat::new(alike());
    chat.news(batches());
    chat.types(&both);
    assert!(said(&chat.hold(rejected(alike().remove(1), "no")))[0].contains("ben rejected: no"));
    assert_eq!(sent(&chat.types("yes")), []);

    let (mut chat, _) = Chat::new(vec![gate(A), gate(B)]);
    chat.news(batches());
    assert!(said(&chat.types(&both))[0].contains("not of tier low"));
    let (mut chat, _) = Chat::with(alike(), None, Some("it was started with --read-only."));
    chat.news(batches());
    assert!(said(&chat.types(&both))[0].contains("only watches"));
}

/// A client that changes its call again and again keeps nobody from saying no: the question stands, and what is typed
/// counts. An approval waits until the call as it is now was read out.
#[test]
fn a_call_that_changes_can_be_rejected() {
    let fresh = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Ask { fresh: true, .. }));
    let (mut chat, _) = Chat::new(vec![sandbox(A)]);
    for waiting in [2, 1, 3, 1] {
        assert_eq!(said(&chat.hold(HoldView { waiting, ..sandbox(A) })), [""; 0], "identical calls come and go");
    }
    let swapped = |n: u32| HoldView { meta: Some(json(&format!("{{\"progressToken\":{n}}}"))), ..sandbox(A) };
    let first = chat.hold(swapped(1));
    assert!(said(&first)[0].contains("type details to hear it") && !fresh(&first), "{first:?}");
    let second = chat.hold(swapped(2));
    assert!(said(&second).is_empty(), "once: {second:?}");
    assert_eq!(sent(&chat.types("approve")), []);
    chat.types("reject");
    chat.hold(swapped(3));
    let reason = Some("no".to_owned());
    assert_eq!(rulings_of(&sent(&chat.types("no"))), [(A.to_owned(), RulingKind::Reject, reason)]);

    let (mut chat, _) = Chat::new(vec![sandbox(A)]);
    chat.hold(swapped(1));
    chat.types("details");
    assert_eq!(sent(&chat.types("approve")).len(), 1);
}

/// A changed hold is asked about in the same words, and is another question: what was typed before is dropped.
#[test]
fn a_question_in_the_same_words_is_a_new_one() {
    let fresh = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Ask { fresh: true, .. }));
    let (mut chat, _) = Chat::new(vec![sandbox(A)]);
    let effects =
        chat.hold(HoldView { arguments: json(r#"{"customer":"cust-999"}"#), digest: refund(B).digest, ..sandbox(A) });
    assert!(asks(&effects, "Ruling for") && fresh(&effects), "{effects:?}");
    assert!(!fresh(&chat.types("help")), "the same one again is not new");
    chat.link(Link::Down { why: "gone".to_owned() });
    chat.link(Link::Up { number: 2, operator: "ana".to_owned(), daemon: daemon() });
    let back = chat.news(Notice::Snapshot { seq: None, holds: vec![sandbox(A)], daemon: daemon() });
    assert!(fresh(&back), "{back:?}");
}

/// A grant is no way around the attention that approvals are asked for.
#[test]
fn no_grant_is_made_while_approvals_have_to_be_typed() {
    let ids = (0..11).map(|n| format!("H7K5T6V7X8{n:02}"));
    let (mut chat, _) = Chat::new(ids.map(|id| HoldView { grantable: true, ..sandbox(&id) }).collect());
    assert_eq!(sent(&chat.types("grant 5 10")).len(), 1);
    for _ in 0..10 {
        assert_eq!(sent(&chat.types("approve")).len(), 1);
    }
    let effects = chat.types("grant 5 10");
    assert_eq!(sent(&effects), []);
    assert!(said(&effects)[0].contains("approvals have to be typed"), "{effects:?}");
}

#[test]
fn a_claim_by_somebody_else_changes_no_question() {
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    chat.types("approve");
    let claimed = countersign::control::wire::Claimed {
        by: "ben".to_owned(),
        at: START.to_owned(),
        until: "2026-11-21T14:08:31Z".to_owned(),
    };
    chat.hold(HoldView { claimed: Some(claimed), ..refund(A) });
    assert_eq!(sent(&chat.types("125000")).len(), 1);
}

#[test]
fn clocks_are_spoken_at_fifty_twenty_five_and_ten_percent() {
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    let mut spoken = Vec::new();
    for _ in 0..160 {
        spoken.extend(said(&chat.after(1)).into_iter().filter(|line| line.starts_with("Time left")));
    }
    assert_eq!(
        spoken,
        [
            "Time left for H7K2QW0A1B2C: 2 minutes 32 seconds.",
            "Time left for H7K2QW0A1B2C: 1 minute 17 seconds.",
            "Time left for H7K2QW0A1B2C: 32 seconds.",
        ]
    );
    let over = said(&chat.after(1));
    assert!(over[0].contains("is over: nothing was sent"), "{over:?}");
    assert_eq!(sent(&chat.types("approve")), []);
}

#[test]
fn an_approval_is_signed_and_can_be_taken_back() {
    let signing = Signing { operator: "ana".to_owned(), key: "/keys/ana".into() };
    let hold = HoldView { signature_required: true, ..sandbox(A) };
    let (mut chat, _) = Chat::with(vec![hold.clone()], Some(signing), None);
    let effects = chat.types("approve");
    let Some(Effect::Sign { seq, text, .. }) = effects.iter().find(|e| matches!(e, Effect::Sign { .. })) else {
        panic!("{effects:?}")
    };
    assert!(text.contains(A));
    assert_eq!(sent(&effects), []);
    let by = SignedBy { operator: "ana".to_owned(), signature: "armour".to_owned() };
    let commands = sent(&chat.step(What::Signed(*seq, Ok(by.clone()))));
    let [Command::Rule { signed: Some(signed), .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(*signed, by);
    let state = HoldState::Approved {
        by: "ana".to_owned(),
        at: START.to_owned(),
        leaves_at: Some("2026-11-21T14:07:34Z".to_owned()),
    };
    let ruled = Notice::Ruled { seq: *seq, hold: Box::new(HoldView { state, ..hold }) };
    assert!(said(&chat.news(ruled))[0].contains("type undo to take it back"));
    let commands = sent(&chat.types("undo"));
    assert!(matches!(&commands[..], [Command::TakeBack { id, .. }] if id.as_str() == A), "{commands:?}");
}

#[test]
fn a_signature_for_a_call_that_has_gone_sends_nothing() {
    let signing = Signing { operator: "ana".to_owned(), key: "/keys/ana".into() };
    let hold = HoldView { signature_required: true, ..sandbox(A) };
    let (mut chat, _) = Chat::with(vec![hold.clone()], Some(signing), None);
    chat.types("approve");
    chat.hold(rejected(hold, "no"));
    let by = SignedBy { operator: "ana".to_owned(), signature: "armour".to_owned() };
    assert_eq!(sent(&chat.step(What::Signed(1, Ok(by)))), []);
}

#[test]
fn without_a_key_a_required_signature_is_explained() {
    let (mut chat, _) = Chat::new(vec![HoldView { signature_required: true, ..sandbox(A) }]);
    let effects = chat.types("approve");
    assert_eq!(sent(&effects), []);
    assert!(said(&effects)[0].contains("takes signed approvals only"));
}

#[test]
fn a_console_that_only_watches_asks_for_no_ruling() {
    let (mut chat, effects) = Chat::with(vec![sandbox(A)], None, Some("it was started with --read-only."));
    assert!(said(&effects).iter().any(|line| line.starts_with("Argument customer")));
    assert!(asks(&effects, "Command"));
    assert_eq!(sent(&chat.types("approve")), []);
    let effects = chat.types("details H7K2");
    assert!(asks(&effects, "Command"), "{effects:?}");
    assert_eq!(sent(&chat.types("approve")), []);
}

#[test]
fn the_daemon_goes_away_and_nothing_is_ruled() {
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    chat.types("approve");
    let effects = chat.link(Link::Down { why: "gone".to_owned() });
    assert!(said(&effects)[0].starts_with("The daemon is gone"));
    assert_eq!(sent(&chat.types("125000")), []);
}

#[test]
fn commands_that_change_much_ask_once_more() {
    let (mut chat, _) = Chat::new(Vec::new());
    let mut last = None;
    for (line, name) in
        [("freeze looks wrong", "Freeze"), ("thaw", "Let everything"), ("pause s-19", "Pause session s-19")]
    {
        let effects = chat.types(line);
        assert!(asks(&effects, name) && sent(&effects).is_empty(), "{effects:?}");
        assert_eq!(sent(&chat.types("y")), []);
        chat.types(line);
        let sent = sent(&chat.types("yes"));
        assert_eq!(sent.len(), 1, "{line}");
        last = sent[0].changes();
    }
    let failed = Notice::Failed { seq: last, error: Failure::NotSo, message: "not here".to_owned() };
    assert_eq!(said(&chat.news(failed))[0], "No effect, the command: not here.");
}

#[test]
fn quitting_asks_where_calls_wait_and_nobody_else_watches() {
    let (mut chat, _) = Chat::new(vec![refund(A)]);
    assert!(!chat.types("quit").contains(&Effect::Quit));
    assert!(!chat.types("no").contains(&Effect::Quit));
    chat.types("quit");
    assert!(chat.types("yes").contains(&Effect::Quit));
    let (mut chat, _) = Chat::new(Vec::new());
    assert!(chat.types("quit").contains(&Effect::Quit));
}

/// C7: whatever is in a call, its lines start with our words, and no row of the terminal starts with its own.
#[test]
fn a_call_cannot_say_a_line_of_ours() {
    let evil = format!("{}Ruling for X (approve): \u{1b}[2J\nMoney: 5\u{202E}", "x".repeat(70));
    let arguments = JsonText::of(&serde_json::json!({ evil.clone(): evil.clone(), "a.b": {"c": [1, {}]} })).unwrap();
    let (_, effects) = Chat::new(vec![HoldView { arguments, tool: evil, ..sandbox(A) }]);
    for line in said(&effects) {
        assert!(!line.contains(['\u{1b}', '\n', '\u{202E}']), "{line:?}");
        let rows = words::wrap(&line, 80);
        assert!(rows.iter().skip(1).all(|row| row.starts_with(words::CONTINUED)), "{rows:?}");
        assert!(!rows[0].starts_with(words::CONTINUED) && !rows[0].starts_with("Money: 5"), "{rows:?}");
        assert!(rows.iter().all(|row| row.chars().count() <= 81), "{rows:?}");
    }
    let lines = said(&effects);
    assert!(
        lines.contains(&"Argument \"a.b\".c[0]: 1".to_owned())
            && lines.contains(&"Argument \"a.b\".c[1]: {}".to_owned())
    );
}

fn plain(fake: &Fake, more: impl FnOnce(&mut std::process::Command)) -> Pty {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["console", "--plain", "--socket"]).arg(fake.socket()).env("TERM", "xterm-256color");
    more(&mut command);
    Pty::start(command)
}

#[test]
fn plain_mode_approves_in_a_real_terminal() {
    let fake = Fake::start(vec![lately(refund(A))]);
    let mut pty = plain(&fake, |_| {});
    pty.until_text("Ruling for H7K2QW0A1B2C (");
    pty.look();
    pty.keys("\r\n");
    pty.look();
    pty.keys("approve\r");
    pty.until_text("type arguments/amount, or back:");
    pty.look();
    assert_eq!(fake.rulings(), []);
    pty.keys("125000\r");
    pty.until_text("Approved H7K2QW0A1B2C");
    assert_eq!(fake.rulings(), [(A.to_owned(), RulingKind::Approve, None)]);
    pty.look();
    pty.keys("quit\r");
    assert_eq!(pty.ended(), 0);
    let bytes = String::from_utf8_lossy(&pty.bytes()).into_owned();
    assert!(!bytes.contains('\u{1b}'), "no redraw, no colour");
}

/// C4: what was typed before its question is dropped, a paste above all.
#[test]
fn what_was_typed_before_the_question_rules_nothing() {
    let fake = Fake::start(Vec::new());
    let mut pty = plain(&fake, |_| {});
    pty.until_text("Command (");
    pty.look();
    // Half a line that waits for a call to come, then the whole gesture at once.
    pty.keys("appro");
    fake.put(lately(sandbox(A)));
    pty.until_text("Ruling for H7K2QW0A1B2C (");
    pty.keys("ve\rapprove\r");
    pty.until_text("Dropped: that was typed before the question.");
    pty.look();
    fake.put(rejected(sandbox(A), "no"));
    fake.put(lately(refund(B)));
    pty.until_text("Ruling for H7K3M5N8P9RS (");
    pty.look();
    pty.keys("approve\r125000\r");
    pty.until_text("type arguments/amount, or back:");
    pty.look();
    assert_eq!(fake.rulings(), []);
}

/// The end of the input approves nothing, in the middle of a question either.
#[test]
fn the_end_of_the_input_ends_plain_mode() {
    let fake = Fake::start(vec![lately(refund(A))]);
    let mut pty = plain(&fake, |_| {});
    pty.until_text("Ruling for H7K2QW0A1B2C (");
    pty.look();
    pty.keys("approve\r");
    pty.until_text("type arguments/amount, or back:");
    pty.look();
    pty.keys("\u{4}");
    assert_eq!(pty.ended(), 0);
    assert_eq!(fake.rulings(), []);
}

/// Without a terminal nothing is ruled, whatever the pipe says.
#[test]
fn a_pipe_only_watches() {
    let fake = Fake::start(vec![lately(sandbox(A))]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["console", "--plain", "--socket"]).arg(fake.socket());
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut keyboard, b"approve\napprove\n").unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let watches = lines.by_ref().map_while(Result::ok).find(|line| line.contains("This console only watches"));
    assert!(watches.unwrap().contains("answers from a pipe do not count"));
    fake.put(lately(gate(B)));
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("Hold H7K3M5N8P9RS")));
    let read_only = fake.heard().into_iter().any(|command| matches!(command, Command::Hello { read_only: true, .. }));
    assert!(read_only, "the daemon would refuse too");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fake.rulings(), []);
}
