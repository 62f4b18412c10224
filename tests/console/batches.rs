//! Several holds approved at once: marked, shown as a table, one gesture.

use countersign::console::app::{Effect, Link};
use countersign::console::dialog::Dialog;
use countersign::control::wire::{BatchResult, Command, Daemon, Failure, HoldView, Notice, RulingKind};
use crossterm::event::KeyCode;

use crate::support::{A, B, C, Desk, SIZE, approved, daemon, json, refund, rejected, rulings, sandbox};

/// Calls of one group, which differ in their customer.
fn alike(ids: &[&str]) -> Vec<HoldView> {
    let arguments = |n: usize| json(&format!(r#"{{"customer":"cust-{n}","plan":"plan-pro"}}"#));
    ids.iter().enumerate().map(|(n, id)| HoldView { arguments: arguments(n), ..sandbox(id) }).collect()
}

/// A console of a daemon whose configuration has `holds.batches`.
pub fn desk(size: (u16, u16), holds: Vec<HoldView>) -> Desk {
    let mut desk = Desk::new(size, holds);
    desk.news(Notice::Daemon { daemon: Daemon { batches: true, ..daemon() } });
    desk
}

/// Marks the folded group and asks.
fn asked(desk: &mut Desk) {
    desk.key(KeyCode::Char(' '));
    desk.key(KeyCode::Char('a'));
}

#[test]
fn marked_holds_are_shown_whole_and_approved_by_one_gesture() {
    let holds = alike(&[A, B, C]);
    let mut desk = desk((120, 40), holds.clone());
    asked(&mut desk);
    let Some(Dialog::Batch(batch)) = &desk.app.dialog else { panic!("{}", desk.note()) };
    assert_eq!(batch.items.len(), 3);
    let shown = desk.screen();
    for (n, hold) in holds.iter().enumerate() {
        let (id, text) = (hold.id.as_str(), hold.arguments.as_str());
        assert!(shown.contains(id) && shown.contains(text), "{n}: {shown}");
    }
    let effects = desk.key(KeyCode::Char('y'));
    let [Effect::Send { command: Command::RuleBatch { seq, holds: items, .. }, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    let named: Vec<_> = items.iter().map(|item| (item.id.clone(), item.digest)).collect();
    let wanted: Vec<_> = holds.iter().map(|hold| (hold.id.clone(), hold.digest)).collect();
    assert_eq!(named, wanted);
    assert!(desk.app.marked.is_empty());
    let ended = |hold: &HoldView| BatchResult::Ruled { hold: Box::new(rejected(hold.clone(), "x")) };
    let failed = BatchResult::Failed { id: C.parse().unwrap(), error: Failure::Closed, message: "gone\u{1b}".into() };
    let seq = *seq;
    desk.news(Notice::RuledBatch { seq, results: vec![ended(&holds[0]), ended(&holds[1]), failed] });
    let note = desk.note();
    assert!(note.contains("2 holds approved") && note.contains(C) && !note.contains('\u{1b}'), "{note:?}");
    assert_eq!(desk.app.holds.pending().count(), 1);
}

/// What keeps marked holds from being approved at once, and what is said then.
#[test]
fn whatever_is_not_a_plain_group_of_the_lowest_tier_is_refused() {
    let alone = vec![sandbox(A)];
    let other_tool = vec![sandbox(A), HoldView { tool: "other".to_owned(), ..sandbox(B) }];
    let other_operation = vec![sandbox(A), HoldView { operation: "other".to_owned(), ..sandbox(B) }];
    let signed = alike(&[A, B]).into_iter().map(|hold| HoldView { signature_required: true, ..hold }).collect();
    let hidden = json("{\"customer\":\"cu\u{200b}st\"}");
    let hidden = vec![sandbox(A), HoldView { arguments: hidden, ..sandbox(B) }];
    let cases: Vec<(Vec<HoldView>, &str)> = vec![
        (alone, "2 to 20"),
        (other_tool, "not like the others"),
        (other_operation, "not like the others"),
        (signed, "has to be signed"),
        (hidden, "not of tier low"),
        (vec![refund(A), refund(B)], "not of tier low"),
    ];
    for (holds, why) in cases {
        let mut desk = desk(SIZE, holds.clone());
        for hold in &holds {
            desk.app.marked.insert(hold.id.clone());
        }
        desk.key(KeyCode::Char('a'));
        assert_eq!(desk.app.dialog, None);
        assert!(desk.note().contains(why), "{why}: {}", desk.note());
    }
    // The configuration of this daemon does not say so.
    let mut plain = Desk::new(SIZE, alike(&[A, B]));
    asked(&mut plain);
    assert_eq!(plain.app.dialog, None);
    assert!(plain.note().contains("holds.batches"), "{}", plain.note());
}

#[test]
fn a_table_that_does_not_fit_approves_nothing() {
    let text = "x".repeat(900);
    let holds: Vec<_> = [A, B, C]
        .iter()
        .map(|id| HoldView { arguments: json(&format!("{{\"a\":\"{text}\"}}")), ..sandbox(id) })
        .collect();
    let mut desk = desk(SIZE, holds);
    asked(&mut desk);
    assert!(desk.screen().contains("mark fewer"), "{}", desk.screen());
    for _ in 0..3 {
        assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), []);
    }
    assert!(desk.note().contains("not all of it"), "{}", desk.note());
}

#[test]
fn the_question_waits_and_whatever_changes_one_of_them_closes_it() {
    let holds = alike(&[A, B, C]);
    let mut early = desk((120, 40), holds.clone());
    asked(&mut early);
    early.draw();
    assert_eq!(rulings(&early.press(KeyCode::Char('y'))), [], "not so fast");
    assert_eq!(rulings(&early.key(KeyCode::Enter)), []);
    assert_eq!(early.app.dialog, None, "Enter is back");

    for changed in &holds {
        let mut desk = desk((120, 40), holds.clone());
        asked(&mut desk);
        desk.hold(rejected(changed.clone(), "by ben"));
        assert!(desk.voided().contains("by ben"));
        assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), []);
        assert!(!desk.app.marked.contains(&changed.id));
    }
    let mut late = desk((120, 40), holds);
    asked(&mut late);
    late.wait(600_000);
    assert!(late.voided().contains("time of this hold is over"));
}

#[test]
fn marks_come_and_go_and_one_rejection_is_about_all_of_them() {
    let mut desk = desk(SIZE, alike(&[A, B, C]));
    desk.key(KeyCode::Char(' '));
    assert_eq!(desk.app.marked.len(), 3);
    desk.key(KeyCode::Char(' '));
    assert!(desk.app.marked.is_empty());
    desk.key(KeyCode::Char('l'));
    desk.key(KeyCode::Char(' '));
    assert_eq!(desk.app.marked.len(), 1);
    assert!(desk.screen().contains("*"), "{}", desk.screen());
    desk.key(KeyCode::Char('U'));
    assert!(desk.app.marked.is_empty());
    // Of another group, and one that is not under the cursor.
    for id in [A, C] {
        desk.app.marked.insert(id.parse().unwrap());
    }
    desk.key(KeyCode::Char('r'));
    desk.letters("no");
    let effects = desk.key(KeyCode::Enter);
    let mut ids: Vec<_> = rulings(&effects).into_iter().map(|(id, ruling, _)| (id, ruling)).collect();
    ids.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(ids, [(A.to_owned(), RulingKind::Reject), (C.to_owned(), RulingKind::Reject)]);
}

/// A mark is no ruling: with nothing marked, `a` is about the selected hold, as ever.
#[test]
fn without_marks_an_approval_is_about_one_hold() {
    let mut desk = desk(SIZE, alike(&[A, B]));
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    assert!(matches!(&desk.app.dialog, Some(Dialog::Approve(_))));
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), approved(A));
}

/// A batch is one approval, as long as its table was on the screen: those that were read take nobody's trust away, those
/// that were not cost typing, and none of them is one of the typed ones.
#[test]
fn a_batch_is_one_approval_for_the_attention() {
    let batch = |desk: &mut Desk, n: usize, pause: u64| {
        let ids: Vec<_> = (0..20).map(|m| format!("00000000{n:02}{m:02}")).collect();
        for hold in alike(&ids.iter().map(String::as_str).collect::<Vec<_>>()) {
            desk.app.marked.insert(hold.id.clone());
            desk.hold(hold);
        }
        desk.key(KeyCode::Char('a'));
        desk.draw();
        desk.wait(pause);
        let effects = desk.press(KeyCode::Char('y'));
        assert_eq!(rulings(&effects).len(), 20, "{n}: {}", desk.note());
        let seq = effects.iter().find_map(|effect| match effect {
            Effect::Send { command, .. } => command.changes(),
            _ => None,
        });
        let ended = |id: &String| BatchResult::Ruled { hold: Box::new(rejected(sandbox(id), "x")) };
        desk.news(Notice::RuledBatch { seq: seq.unwrap(), results: ids.iter().map(ended).collect() });
    };
    let asks = |desk: &mut Desk| {
        desk.hold(sandbox(A));
        desk.app.selected = Some(A.parse().unwrap());
        desk.read_all();
        desk.key(KeyCode::Char('a'));
        matches!(&desk.app.dialog, Some(Dialog::Approve(question)) if question.typed)
    };
    let mut slow = desk((140, 90), Vec::new());
    (0..10).for_each(|n| batch(&mut slow, n, 4_000));
    assert!(!asks(&mut slow), "each was looked at");
    let mut quick = desk((140, 90), Vec::new());
    (0..9).for_each(|n| batch(&mut quick, n, 500));
    assert!(!asks(&mut quick), "nine gestures");
    quick.key(KeyCode::Esc);
    batch(&mut quick, 10, 500);
    assert!(asks(&mut quick), "ten, however many holds they were about");
    let screen = quick.screen();
    assert!(screen.contains("typed, 5 more"), "{screen}");
}

/// A group is rejected whole, however many it has: as fast as the daemon answers, and what it refuses is told.
#[test]
fn a_large_group_is_rejected_whole() {
    let ids: Vec<_> = (0..50).map(|n| format!("0000000000{n:02}")).collect();
    let mut desk = desk(SIZE, alike(&ids.iter().map(String::as_str).collect::<Vec<_>>()));
    desk.key(KeyCode::Char('r'));
    assert!(desk.screen().contains("Rejects all 50 of them."), "{}", desk.screen());
    desk.letters("no");
    let mut left = desk.key(KeyCode::Enter);
    let mut named = Vec::new();
    while !left.is_empty() {
        let effects = std::mem::take(&mut left);
        assert!(effects.len() <= 17, "there is room for other questions: {}", effects.len());
        for effect in effects {
            let Effect::Send { command: Command::Rule { seq, id, ruling: RulingKind::Reject, .. }, .. } = effect else {
                panic!("{effect:?}")
            };
            named.push(id.to_string());
            let message = "it is over".to_owned();
            left.extend(desk.news(if named.len() == 30 {
                Notice::Failed { seq: Some(seq), error: Failure::Closed, message }
            } else {
                Notice::Ruled { seq, hold: Box::new(rejected(sandbox(id.as_str()), "no")) }
            }));
        }
    }
    let failed = named[29].clone();
    named.sort();
    assert_eq!(named, ids);
    let note = desk.note();
    assert!(note.contains("48 others rejected") && note.contains(&format!("{failed}: it is over")), "{note}");
}

/// A daemon that goes away meanwhile is not asked again when it is back, and that is said.
#[test]
fn rejections_that_nobody_answered_are_told() {
    let ids: Vec<_> = (0..50).map(|n| format!("0000000000{n:02}")).collect();
    let mut desk = desk(SIZE, alike(&ids.iter().map(String::as_str).collect::<Vec<_>>()));
    desk.key(KeyCode::Char('r'));
    desk.letters("no");
    desk.key(KeyCode::Enter);
    // Whoever wants to freeze need not wait for them.
    desk.key(KeyCode::Char('!'));
    let effects = desk.key(KeyCode::Char('y'));
    assert!(matches!(&effects[..], [Effect::Send { command: Command::Freeze { on: true, .. }, .. }]), "{effects:?}");
    desk.link(Link::Down { why: "gone".to_owned() });
    let told = desk.note();
    assert!(told.contains("and 49 rejections: the daemon went away before it answered"), "{told}");
    desk.link(Link::Up { number: 2, operator: "ana".to_owned(), daemon: daemon() });
    let effects = desk.news(Notice::Snapshot { seq: None, holds: vec![sandbox(A)], daemon: daemon() });
    assert_eq!(rulings(&effects), []);
}
