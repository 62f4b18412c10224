//! `countersign pending` and the exit codes of `countersign console`, run as a script runs them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use countersign::control::wire::{Command as Command_, HoldView, RulingKind};
use countersign::json::JsonText;

use crate::fake::Fake;
use crate::support::{expired, gate, json, refund, rejected, sandbox, three};

const A: &str = "H7K2QW0A1B2C";
const B: &str = "H7K3M5N8P9RS";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(args).env_remove("COUNTERSIGN_RUNTIME_DIR").env_remove("COUNTERSIGN_CONFIG").stdin(Stdio::null());
    command
}

fn run(fake: &Fake, args: &[&str]) -> (i32, String, String) {
    let output = command(args).env("COUNTERSIGN_RUNTIME_DIR", fake.dir()).output().unwrap();
    parts(&output)
}

fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn ls_prints_a_table_and_json() {
    let mut holds = three();
    holds.push(expired(gate("H7J1AAAAAAAA")));
    let fake = Fake::start(holds);
    let (code, table, _) = run(&fake, &["pending", "ls"]);
    assert_eq!(code, 0);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("ID            TIER"), "{table}");
    assert!(lines[1].starts_with("H7K2QW0A1B2C  HIGH"), "{table}");
    assert!(lines[1].contains("stripe") && lines[1].contains("create_refund"), "{table}");

    let (code, text, _) = run(&fake, &["pending", "ls", "-o", "json"]);
    assert_eq!(code, 0);
    let listed: Vec<JsonText> = serde_json::from_str(&text).unwrap();
    let listed: Vec<_> = listed.iter().map(|hold| scored(hold.as_str())).collect();
    assert_eq!(listed.iter().map(|(_, risk)| *risk).collect::<Vec<_>>(), [7, 4, 1]);
    assert_eq!(listed.into_iter().map(|(hold, _)| hold).collect::<Vec<_>>(), three());
    let plain: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(plain[0]["schema"], "countersign.hold/v1");
    assert_eq!(plain[0]["arguments"]["amount"], 125_000);

    let (_, text, _) = run(&fake, &["pending", "ls", "--all", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len(), 4);
}

#[test]
fn an_empty_list_is_no_output_and_no_error() {
    let fake = Fake::start(Vec::new());
    let (code, out, err) = run(&fake, &["pending", "ls"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("no call is held"));
    assert_eq!(run(&fake, &["pending", "ls", "-o", "json"]).1, "[]\n");
}

/// A hold as it is printed, and its score, which is the sum of what it is made of.
pub fn scored(text: &str) -> (HoldView, u64) {
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    let members = value.as_object_mut().unwrap();
    let (risk, addends) = (members.remove("risk").unwrap(), members.remove("risk_addends").unwrap());
    let sum = addends.as_array().unwrap().iter().map(|addend| addend["points"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(risk.as_u64(), Some(sum), "{addends}");
    // The arguments in their own spelling: they are what is compared.
    let whole = text.trim_end().split_once(",\"risk\":").unwrap().0.to_owned() + "}";
    (serde_json::from_str(&whole).unwrap(), sum)
}

#[test]
fn show_is_complete_and_takes_the_start_of_an_id() {
    let fake = Fake::start(three());
    let (code, text, _) = run(&fake, &["pending", "show", "h7k2"]);
    assert_eq!(code, 0);
    assert!(text.contains("│!   \"amount\": 125000,"), "{text}");
    assert!(text.contains(&refund(A).digest.to_string()), "{text}");
    let (_, text, _) = run(&fake, &["pending", "show", A, "-o", "json"]);
    assert_eq!(scored(&text), (refund(A), 7));
    for (id, code) in [("0000", 3), ("000000000000", 3), ("H7K", 2), ("H7K!", 2)] {
        assert_eq!(run(&fake, &["pending", "show", id]).0, code, "{id}");
    }
    fake.put(refund("H7K2QW0A1B2D"));
    let (code, _, err) = run(&fake, &["pending", "show", "H7K2"]);
    assert_eq!(code, 2);
    assert!(err.contains("ambiguous"), "{err}");
}

#[test]
fn approve_needs_the_digest() {
    let fake = Fake::start(three());
    let digest = refund(A).digest.to_string();
    assert_eq!(run(&fake, &["pending", "approve", A]).0, 2, "no digest");
    for wrong in ["", &digest[..7], &gate(B).digest.to_string(), "zzzzzzzz", &format!("{digest}0")] {
        assert_eq!(run(&fake, &["pending", "approve", A, "--digest", wrong]).0, 5, "{wrong}");
    }
    assert_eq!(fake.rulings(), []);
    let (code, out, _) = run(&fake, &["pending", "approve", "H7K2", "--digest", &digest[..8], "--reason", "FIN-1182"]);
    assert_eq!((code, out.as_str()), (0, "H7K2QW0A1B2C approved\n"));
    assert_eq!(fake.rulings(), [(A.to_owned(), RulingKind::Approve, Some("FIN-1182".to_owned()))]);
    let (code, _, err) = run(&fake, &["pending", "approve", A, "--digest", &digest]);
    assert_eq!(code, 5, "late");
    assert!(err.contains("somebody ruled before"), "{err}");
}

#[test]
fn reject_needs_a_reason() {
    let fake = Fake::start(three());
    assert_eq!(run(&fake, &["pending", "reject", A]).0, 2);
    assert_eq!(run(&fake, &["pending", "reject", A, "--reason", " "]).0, 2);
    let (code, out, _) = run(&fake, &["pending", "reject", A, "--reason", "wrong pi", "-o", "json"]);
    assert_eq!(code, 0);
    let hold: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(hold["state"]["name"], "rejected");
    assert_eq!(fake.rulings(), [(A.to_owned(), RulingKind::Reject, Some("wrong pi".to_owned()))]);
    assert_eq!(run(&fake, &["pending", "reject", A, "--reason", "again"]).0, 5);
    assert_eq!(run(&fake, &["pending", "reject", "000000000000", "--reason", "x"]).0, 3);
}

#[test]
fn a_required_signature_exits_4_and_says_how() {
    let hold = HoldView { signature_required: true, ..refund(A) };
    let digest = hold.digest.to_string();
    let fake = Fake::start(vec![hold]);
    let (code, _, err) = run(&fake, &["pending", "approve", A, "--digest", &digest]);
    assert_eq!(code, 4);
    assert!(err.contains("unsigned_rulings: accept"), "{err}");
}

#[test]
fn no_daemon_exits_7_with_help() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("operator.sock");
    for args in [&["pending", "ls"][..], &["pending", "watch"]] {
        let output = command(args).arg("--socket").arg(&socket).output().unwrap();
        let (code, _, err) = parts(&output);
        assert_eq!(code, 7);
        assert!(err.contains("countersign serve"), "{err}");
    }
}

#[test]
fn the_console_without_a_terminal_names_the_other_way() {
    let fake = Fake::start(Vec::new());
    let (code, out, err) = run(&fake, &["console"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("countersign pending ls"), "{err}");
    assert_eq!(fake.heard(), [], "nobody was counted as a console");
}

/// I10: whatever a client sent, no output carries it raw, and JSON keeps its value.
#[test]
fn nothing_hidden_reaches_a_terminal() {
    let arguments = json("{\"note\":\"\u{202E}\u{200B}\u{7f}\u{9b}2J\u{E0041}⟨\",\"\u{2066}k\":1}");
    let hold = HoldView { arguments, tool: "pay\u{1b}[2J\u{85}\u{202E}".to_owned(), ..sandbox(A) };
    let fake = Fake::start(vec![hold.clone(), rejected(sandbox(B), "x\u{1b}]52;c;eA==\u{7}")]);
    for args in [
        &["pending", "ls", "--all"][..],
        &["pending", "ls", "--all", "-o", "json"],
        &["pending", "show", A],
        &["pending", "show", A, "-o", "json"],
    ] {
        let (code, out, err) = run(&fake, args);
        assert_eq!(code, 0);
        let raw: Vec<_> = out.chars().chain(err.chars()).filter(|c| *c != '\n').collect();
        let raw: String = raw.into_iter().collect();
        assert_eq!(countersign::console::visible::hidden_count(&raw), 0, "{args:?}: {raw:?}");
    }
    let (_, text, _) = run(&fake, &["pending", "show", A, "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["tool"], hold.tool);
    assert_eq!(value["arguments"]["note"], "\u{202E}\u{200B}\u{7f}\u{9b}2J\u{E0041}⟨");
}

#[test]
fn watch_tells_every_change_once() {
    let fake = Fake::start(vec![refund(A), expired(gate("H7J1AAAAAAAA"))]);
    let mut child = command(&["pending", "watch", "-o", "json"])
        .env("COUNTERSIGN_RUNTIME_DIR", fake.dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || scored(&lines.next().unwrap().unwrap()).0;
    assert_eq!(next(), refund(A));
    fake.put(gate(B));
    assert_eq!(next(), gate(B));
    fake.put(rejected(refund(A), "no"));
    assert_eq!(next(), rejected(refund(A), "no"));
    // What an operator is shown is read by no other program of the account.
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt as _;
        let of = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
        assert!(of("status").contains("Umask:\t0077"), "{}", of("status"));
        let core = of("limits").lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        assert_eq!(std::fs::metadata(format!("/proc/{}/maps", child.id())).unwrap().uid(), 0, "it can be traced");
    }
    // Somebody who only reads is no console: nothing waits for them.
    let hello = |command: &Command_| matches!(command, Command_::Hello { watch: true, read_only: true, .. });
    assert!(fake.heard().iter().any(hello), "{:?}", fake.heard());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let holds: Vec<_> = (0..2000).map(|n| refund(&format!("00000000{n:04}"))).collect();
    let fake = Fake::start(holds);
    let mut child = command(&["pending", "ls", "-o", "json"])
        .env("COUNTERSIGN_RUNTIME_DIR", fake.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(parts(&output), (0, String::new(), String::new()));
}
