//! Rules that are drafted from holds: what is in the call is data in them and never code, and they let nothing through.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use countersign::call::RuleHit;
use countersign::console::app::Effect;
use countersign::console::draft::{self, Draft, Makes, folder, write};
use countersign::console::outside;
use countersign::control::wire::HoldView;
use countersign::json::{JsonText, Rules};
use countersign::policy::author::Bench;
use countersign::policy::test::{self, Options, Verdict};
use crossterm::event::KeyCode;
use proptest::prelude::*;

use crate::support::{A, Desk, json, refund, sandbox};

fn draft(hold: &HoldView, makes: Makes) -> Draft {
    draft::draft(hold, makes).unwrap()
}

/// Writes it where nothing is loaded from, and has the author's tools judge it.
fn passes(draft: &Draft) -> usize {
    let into = tempfile::tempdir().unwrap();
    let files = write(draft, into.path(), &[]).unwrap().map(|(file, new)| {
        assert!(new);
        file
    });
    let bench = Bench::of_paths(&files).unwrap_or_else(|errors| panic!("{errors}\n{}", draft.rego));
    let exports = |line: &&str| ["hold ", "deny ", "allow "].iter().any(|set| line.starts_with(set));
    assert_eq!((bench.rules() > 1, draft.rego.lines().filter(exports).count()), (true, 1), "{}", draft.rego);
    let run = test::run(&files, &Options::default()).unwrap_or_else(|errors| panic!("{errors}\n{}", draft.test));
    for outcome in &run.outcomes {
        assert!(matches!(outcome.verdict, Verdict::Pass), "{outcome:?}\n{}\n{}", draft.rego, draft.test);
    }
    run.outcomes.len()
}

/// The commands that authors run find nothing to say.
fn is_clean(draft: &Draft) {
    let into = tempfile::tempdir().unwrap();
    write(draft, into.path(), &[]).unwrap();
    for words in [&["policy", "check"][..], &["policy", "test"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
        let ran = command.args(words).arg(into.path()).output().unwrap();
        assert!(ran.status.success(), "{words:?} {ran:?}\n{}", draft.rego);
    }
}

/// What of a draft is no string and no comment.
fn skeleton(rego: &str) -> BTreeSet<String> {
    let code = rego.lines().filter(|line| !line.trim_start().starts_with('#'));
    code.map(|line| {
        let (mut out, mut inside, mut escaped) = (String::new(), false, false);
        for letter in line.chars() {
            match (inside, letter) {
                (true, '"') if !escaped => inside = false,
                (false, '"') => {
                    inside = true;
                    out.push('"');
                }
                (false, letter) => out.push(letter),
                (true, _) => {}
            }
            escaped = inside && letter == '\\' && !escaped;
        }
        out
    })
    .collect()
}

#[test]
fn a_refund_becomes_a_rule_with_a_test() {
    let hold = refund(A);
    for makes in [Makes::Hold, Makes::Deny] {
        let made = draft(&hold, makes);
        assert_eq!(passes(&made), 5);
        insta::assert_snapshot!(
            format!("draft_{}", makes.word()),
            format!("{}\n---- test\n\n{}", made.rego, made.test)
        );
        assert!(made.rego.lines().nth(made.line).unwrap().starts_with("\tinput."), "{}", made.line);
    }
}

/// Hostile in every place that a client, a server or a rule may fill.
#[test]
fn nothing_of_a_hostile_call_becomes_code() {
    let hostile = [
        "\"} allow contains {\"rule\": \"x\", \"reason\": \"x\"} #",
        "x\"\n}\nallow contains {\"rule\": \"x.y\", \"reason\": \"x\"} if true\n#",
        "\\\" == \\\"",
        "`\nallow := true\n`",
        "\u{2028}allow\u{2029}\r\nallow\u{85}\u{0}\u{7f}\u{202e}\u{1f600}",
        "# METADATA\n# entrypoint: true",
        "$\"{input}\" {{ %v }}",
        "x vim: set fdm=marker noma: ex:",
        "Local Variables:",
    ];
    let plain = skeleton(&draft(&with("plain", "plain"), Makes::Hold).rego);
    let mut together = serde_json::Map::new();
    for text in hostile {
        let made = draft(&with(text, text), Makes::Hold);
        assert!(made.rego.is_ascii() && made.test.is_ascii(), "{text:?}");
        assert_eq!(skeleton(&made.rego), plain, "{text:?}\n{}", made.rego);
        let starts = |line: &str| ["allow", "\tallow"].iter().any(|start| line.starts_with(start));
        assert!(!made.rego.lines().chain(made.test.lines()).any(starts), "{}", made.rego);
        for setting in [" vim:", " ex:", "Local Variables:"] {
            assert!(!made.rego.contains(setting) && !made.test.contains(setting), "{}", made.rego);
        }
        together.insert(text.to_owned(), text.into());
    }
    let arguments = JsonText::of(&together).unwrap();
    let [one, two, three, four, ..] = hostile;
    let hold = HoldView { arguments, operation: two.to_owned(), principal: three.to_owned(), ..with(one, four) };
    let made = draft(&hold, Makes::Hold);
    assert_eq!((passes(&made), made.left_out), (5, 0), "{}", made.rego);
    is_clean(&made);
}

/// A name that is nearly one of the catalog's was in the call, and is no mistake of the author's.
#[test]
fn an_argument_that_no_catalog_lists_is_drafted_all_the_same() {
    is_clean(&draft(&HoldView { arguments: json(r#"{"amuont":7}"#), ..refund(A) }, Makes::Hold));
}

fn with(key: &str, text: &str) -> HoldView {
    let arguments = serde_json::json!({ key: text, "nested": { key: [text], "x": { key: text } } });
    let hit =
        RuleHit { rule: text.to_owned(), file: text.to_owned(), reason: text.to_owned(), ..refund(A).rules[0].clone() };
    HoldView {
        arguments: JsonText::of(&arguments).unwrap(),
        tool: text.to_owned(),
        operation: text.to_owned(),
        principal: text.to_owned(),
        rule: text.to_owned(),
        reason: text.to_owned(),
        rules: vec![hit],
        ..sandbox(A)
    }
}

/// Numbers that a rule would read in another way are left out, and it says so.
#[test]
fn odd_numbers_and_long_texts_are_left_out_and_named() {
    let long = "x".repeat(300);
    let arguments = format!(
        r#"{{"a":1e3,"b":1234567890123456,"c":-5,"d":0,"e":1.50,"f":"{long}","g":[1],"h":{{}},"i":null,"j":true,"k":-0}}"#
    );
    let arguments = JsonText::parse(arguments, Rules::CLIENT).unwrap();
    let made = draft(&HoldView { arguments, ..sandbox(A) }, Makes::Hold);
    assert_eq!((passes(&made), made.left_out), (5, 5), "{}", made.rego);
    for line in
        [r#"["c"] == -5"#, r#"["d"] == 0"#, r#"["e"] >= 1.50"#, r#"["i"] == null"#, r#"#   input.arguments["b"]"#]
    {
        assert!(made.rego.contains(line), "{line}\n{}", made.rego);
    }
    assert_eq!(passes(&draft(&HoldView { arguments: json("{}"), ..sandbox(A) }, Makes::Deny)), 4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_texts_are_the_draft_is_sound(texts in prop::collection::hash_map(any::<String>(), any::<String>(), 30)) {
        let texts: serde_json::Map<_, _> = texts.into_iter().map(|(key, text)| (key, text.into())).collect();
        let made = draft(&HoldView { arguments: JsonText::of(&texts).unwrap(), ..sandbox(A) }, Makes::Hold);
        prop_assert_eq!(passes(&made), 5);
        for (key, text) in &texts {
            let one = draft(&with(key, text.as_str().unwrap()), Makes::Hold);
            prop_assert_eq!(skeleton(&one.rego), skeleton(&draft(&with("plain", "plain"), Makes::Hold).rego));
        }
    }
}

/// A line of Rego has 1024 columns: what is longer is left out, or there is no draft.
#[test]
fn what_is_too_long_for_a_line_is_left_out() {
    let (wide, key) = ("\u{1f600}".repeat(49), "k".repeat(400));
    let arguments = serde_json::json!({ "a": { "b": { "c": wide } }, key: 1, "d": { "e": "x".repeat(198) } });
    let hit = RuleHit { file: "f".repeat(4000), rule: wide.repeat(9), ..refund(A).rules[0].clone() };
    let hold = HoldView { arguments: JsonText::of(&arguments).unwrap(), rules: vec![hit], ..sandbox(A) };
    let made = draft(&hold, Makes::Hold);
    assert_eq!((passes(&made), made.left_out), (5, 1), "{}", made.rego);
    let why = draft::draft(&HoldView { tool: wide.repeat(9), ..hold }, Makes::Hold).unwrap_err();
    assert!(why.contains("`tool.name`"), "{why}");
}

/// Never where policies are loaded from, never over another, never where others can write.
#[test]
fn a_draft_goes_where_nobody_loads_it() {
    let home = tempfile::tempdir().unwrap();
    let made = draft(&refund(A), Makes::Hold);
    let loaded = home.path().join("policies");
    std::fs::create_dir_all(loaded.join("drafts")).unwrap();
    let file = loaded.join("refunds.rego");
    std::fs::write(&file, "").unwrap();
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&loaded, &link).unwrap();
    for (into, known) in
        [(loaded.clone(), &loaded), (loaded.join("drafts"), &loaded), (link, &loaded), (loaded.clone(), &file)]
    {
        let why = write(&made, &into, std::slice::from_ref(known)).unwrap_err();
        assert!(why.contains("policies are loaded from"), "{why}");
        let names = std::fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!names.into_iter().any(|name| name.starts_with("draft_")));
    }
    let open = home.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(write(&made, &open, &[]).unwrap_err().contains("others can write"));

    let variable = |name: &str| (name == "HOME").then(|| home.path().into());
    let drafts = folder(variable).unwrap();
    assert_eq!(drafts, home.path().join(".local/state/countersign/drafts"));
    let (said, edit) = outside::write(&made, &[loaded], variable);
    assert!(said.unwrap().starts_with("drafted: "));
    let Some(Effect::Edit { file, line }) = edit else { panic!("no editor") };
    assert_eq!((file.parent().unwrap(), line), (drafts.canonicalize().unwrap().as_path(), made.line));
    for path in [drafts.as_path(), &file] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "{path:?}");
    }
    std::fs::write(&file, "edited").unwrap();
    let (said, edit) = outside::write(&made, &[], variable);
    assert!(said.unwrap().contains("left as it is") && edit.is_some());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "edited");
    assert!(folder(|_| None).is_err() && folder(|_| Some("relative".into())).is_err());
}

/// `e`, also of a call that is over; it says from where the hold's own rule is loaded.
#[test]
fn e_drafts_from_the_selected_hold() {
    let hit = RuleHit { file: "/etc/countersign/policies/refunds.rego".to_owned(), ..refund(A).rules[0].clone() };
    let mut desk = Desk::new((80, 24), vec![HoldView { rules: vec![hit], ..refund(A) }]);
    let effects = desk.key(KeyCode::Char('e'));
    let [Effect::Draft { draft: made, loaded }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(loaded, &[PathBuf::from("/etc/countersign/policies/refunds.rego")]);
    assert_eq!(made.name, format!("draft_hold_{}", A.to_lowercase()));
    assert!(Path::new(&made.name).components().count() == 1);
    let mut desk = Desk::new((80, 24), Vec::new());
    assert_eq!(desk.key(KeyCode::Char('e')), []);
}
