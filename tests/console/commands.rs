//! The palette, which does what keys do, and what leaves the screen: the editor and files.

use std::path::PathBuf;

use countersign::call::RuleHit;
use countersign::console::app::{Effect, What};
use countersign::console::dialog::Dialog;
use countersign::console::keymap::Keymap;
use countersign::console::keys::Context;
use countersign::control::wire::{HoldView, Notice};
use crossterm::event::KeyCode;

use crate::fake::Fake;
use crate::support::{A, B, C, Desk, SIZE, approved, gate, json, records, refund, rulings, sandbox, three};
use crate::terminal::{console_with, lately};

/// Every command that a single letter has too: from the palette it leads to the same place, and sends the same.
#[test]
fn a_command_does_what_its_key_does() {
    let places =
        [(Context::Main, vec![]), (Context::Zoom, vec![KeyCode::Enter]), (Context::Sessions, vec![KeyCode::Char('3')])];
    for (context, way) in places {
        let desk = || {
            let mut desk = Desk::new(SIZE, vec![gate(B), refund(A), sandbox(C)]);
            way.iter().for_each(|key| drop(desk.key_and_answers(*key)));
            desk.read_all();
            desk
        };
        for (n, binding) in Keymap::default().commands(context).enumerate() {
            let key = binding.keys.split(' ').next().unwrap();
            let mut letters = key.chars();
            let (Some(letter), None) = (letters.next(), letters.next()) else { continue };
            let mut by_key = desk();
            let wanted = by_key.key(KeyCode::Char(letter));
            let mut by_name = desk();
            by_name.key(KeyCode::Char(':'));
            let Some(Dialog::Palette(palette)) = &mut by_name.app.dialog else { panic!("{context:?}") };
            assert_eq!(palette.context, context);
            palette.cursor = n;
            let sent = by_name.key(KeyCode::Enter);
            assert_eq!(sent, wanted, "{key}");
            let state = |desk: &Desk| {
                let app = &desk.app;
                format!("{:?}", (&app.dialog, app.page, app.tab, app.zoom, app.follow, &app.selected, app.mouse))
            };
            assert_eq!(state(&by_name), state(&by_key), "{key}");
        }
    }
}

/// C1, C4: an approval from the palette is the question that the key opens, with all of its time.
#[test]
fn an_approval_by_its_name_is_asked_as_by_its_key() {
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.key(KeyCode::Char(':'));
    desk.letters("appr");
    assert!(desk.screen().contains("> a "), "{}", desk.screen());
    assert_eq!(desk.key(KeyCode::Enter), []);
    assert!(matches!(desk.app.dialog, Some(Dialog::Approve(_))), "{}", desk.note());
    assert_eq!(rulings(&desk.press(KeyCode::Char('y'))), [], "it has not been on the screen");
    desk.draw();
    desk.wait(399);
    assert_eq!(rulings(&desk.press(KeyCode::Char('y'))), []);
    assert_eq!(rulings(&desk.key(KeyCode::Char('y'))), approved(C));

    // A call that was not read is not asked about, and neither is anything in one burst.
    let lines: Vec<_> = (0..60).map(|n| format!("\"key{n:02}\":{n}")).collect();
    let long = HoldView { arguments: json(&format!("{{{}}}", lines.join(","))), confirm: Vec::new(), ..sandbox(C) };
    let mut desk = Desk::new(SIZE, vec![long]);
    desk.key(KeyCode::Char(':'));
    desk.letters("appr");
    desk.key(KeyCode::Enter);
    assert_eq!(desk.app.dialog, None);
    assert!(desk.note().contains("read to the end"), "{}", desk.note());
    let mut desk = Desk::new(SIZE, vec![sandbox(C)]);
    desk.read_all();
    desk.wait(1000);
    for code in ":appr".chars().map(KeyCode::Char).chain([KeyCode::Enter, KeyCode::Char('y')]) {
        assert_eq!(desk.press(code), []);
    }
    assert!(matches!(desk.app.dialog, Some(Dialog::Palette(_))), "{}", desk.note());
}

/// Letters are text there; what is not found does nothing; news closes nothing.
#[test]
fn the_palette_takes_letters_as_text() {
    let mut desk = Desk::new(SIZE, three());
    desk.key(KeyCode::Char(':'));
    assert_eq!(desk.letters("quRyacU!"), []);
    assert!(desk.screen().contains("No command is called so"), "{}", desk.screen());
    assert_eq!(desk.key(KeyCode::Enter), []);
    assert!(desk.note().contains("no command"), "{}", desk.note());
    desk.hold(HoldView { arguments: json("{}"), ..refund(A) });
    assert!(matches!(desk.app.dialog, Some(Dialog::Palette(_))));
    desk.ctrl('u');
    desk.letters("policy rules");
    desk.key(KeyCode::Enter);
    assert_eq!(desk.app.page, countersign::console::keys::Page::Policy);
    for size in [(60, 16), (120, 40)] {
        let mut desk = Desk::new(size, three());
        desk.key(KeyCode::Char(':'));
        for _ in 0..80 {
            desk.press(KeyCode::Down);
        }
        let screen = desk.screen();
        assert!(screen.contains("> q "), "the last one is in sight: {screen}");
    }
}

fn at_rule(file: &str) -> HoldView {
    let hit = RuleHit { file: file.to_owned(), ..refund(A).rules.remove(0) };
    HoldView { rules: vec![hit], ..refund(A) }
}

#[test]
fn a_rule_is_opened_where_its_file_is_certain() {
    let mut desk = Desk::new(SIZE, vec![at_rule("/etc/countersign/refunds.rego")]);
    let file = PathBuf::from("/etc/countersign/refunds.rego");
    assert_eq!(desk.key(KeyCode::Char('o')), [Effect::Edit { file, line: 9 }]);
    desk.app.owns_daemon = true;
    assert_eq!(desk.key(KeyCode::Char('o')), []);
    assert!(desk.note().contains("would stop it"), "{}", desk.note());
    for file in ["builtin/environment.rego", "policies/refunds.rego", "-c/evil"] {
        let mut desk = Desk::new(SIZE, vec![at_rule(file)]);
        assert_eq!(desk.key(KeyCode::Char('o')), []);
        assert!(desk.note().contains("no path to open"), "{}", desk.note());
    }
    let mut desk = Desk::new(SIZE, Vec::new());
    assert_eq!(desk.key(KeyCode::Char('o')), []);
    desk.step(What::Did(Err("vi cannot be run\u{1b}".to_owned())));
    assert!(desk.note().contains("⟨U+001B⟩"), "{}", desk.note());
}

/// What is exported is what the daemon sent, spelled so that no terminal hides any of it.
#[test]
fn a_call_and_the_history_are_exported() {
    let hold = HoldView { arguments: json("{\"a\":\"\u{202e}手\"}"), ..refund(A) };
    let mut desk = Desk::new(SIZE, vec![hold.clone()]);
    let effects = desk.key(KeyCode::Char('E'));
    let [Effect::Export { name, text }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(name, "hold-H7K2QW0A1B2C.json");
    assert!(text.is_ascii() && text.contains("\\u202e"), "{text}");
    // An odd letter in it adds to the score.
    let (read, risk) = crate::cli::scored(text);
    assert_eq!(risk, 9);
    assert_eq!((read.id, read.digest, read.schema), (hold.id, hold.digest, hold.schema));
    let asked = desk.key(KeyCode::Char('2'));
    for notice in crate::support::answers(&asked) {
        desk.news(notice);
    }
    let effects = desk.key(KeyCode::Char('E'));
    let [Effect::Export { name, text }] = &effects[..] else { panic!("{effects:?}") };
    assert!(name.starts_with("history-2026") && name.ends_with(".ndjson"), "{name}");
    assert_eq!(text.lines().count(), records().len());
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    desk.key(KeyCode::Char('4'));
    assert_eq!(desk.key(KeyCode::Char('E')), []);
    assert!(desk.note().contains("nothing here to export"), "{}", desk.note());
    desk.news(Notice::Daemon { daemon: crate::support::daemon() });
}

/// The real terminal is the editor's for as long as it runs, and the console's again then; a file is written once.
#[test]
fn the_editor_and_the_export_in_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let (editor, rule) = (folder.path().join("editor"), folder.path().join("a rule.rego"));
    std::fs::write(&editor, "#!/bin/sh\necho \"EDITS $*\"\nread line\necho \"$line\" > \"$0.read\"\n").unwrap();
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(&rule, "package x\n").unwrap();
    let fake = Fake::start(vec![lately(at_rule(rule.to_str().unwrap()))]);
    let mut pty = console_with(&fake, |command| {
        command.current_dir(folder.path()).env("VISUAL", &editor);
    });
    pty.until_text("seen 5/5 lines");
    pty.look();
    pty.keys("o");
    pty.until_text("EDITS");
    pty.keys("a y r no q\r");
    pty.until_text("has ended");
    assert_eq!(std::fs::read_to_string(folder.path().join("editor.read")).unwrap(), "a y r no q\n");
    pty.keys("E");
    pty.until_text("written: hold-");
    pty.look();
    pty.keys("E");
    pty.until_text("was not written");
    let written = std::fs::read_to_string(folder.path().join(format!("hold-{A}.json"))).unwrap();
    assert!(written.contains(A), "{written}");
    assert_eq!(fake.rulings(), []);
    pty.look();
    pty.keys("q");
    pty.until_text("QUIT?");
    pty.look();
    pty.keys("y");
    assert_eq!(pty.ended(), 0);
}
