//! What is installed beside the program: completions, manual pages, service files. Each is given to what reads it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::daemon::binary;
use crate::harness::{Countersign, Spy, call, outcome};

fn countersign(words: &[&str]) -> String {
    let output = Command::new(binary()).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the commands that `--help` lists below some words.
fn commands(words: &[&str]) -> Vec<String> {
    let help = countersign(&[words, &["--help"]].concat());
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description goes on in a deeper column.
    let named = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Every command with its words, from the help of the program.
fn all_commands() -> Vec<Vec<String>> {
    let (mut found, mut pending) = (Vec::new(), vec![Vec::new()]);
    while let Some(words) = pending.pop() {
        let borrowed: Vec<&str> = words.iter().map(String::as_str).collect();
        for name in commands(&borrowed) {
            pending.push([words.clone(), vec![name]].concat());
        }
        found.push(words);
    }
    found
}

#[test]
fn bash_completes_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("countersign.bash");
    std::fs::write(&script, countersign(&["completions", "bash"])).unwrap();
    let complete = |words: &[&str]| {
        let (last, line) = (words.len() - 1, words.join(" "));
        let text = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD={last}; _countersign countersign {} {}; echo ${{COMPREPLY[@]}}",
            script.display(),
            words[last],
            words[last - 1]
        );
        let output = Command::new("bash").args(["--norc", "-c", &text]).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete(&["countersign", "doc"]), "doctor");
    assert_eq!(complete(&["countersign", "pending", "app"]), "approve");
    assert_eq!(complete(&["countersign", "doctor", "--fi"]), "--fix");
    assert_eq!(complete(&["countersign", "policy-w"]), "", "hidden");
}

#[test]
fn every_shell_gets_a_script_without_hidden_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = countersign(&["completions", shell]);
        assert!(script.contains("doctor") && script.contains("enroll"), "{shell}");
        assert!(!script.contains("policy-worker"), "{shell}");
    }
}

#[test]
fn every_command_has_a_page_that_is_good_roff() {
    let folder = tempfile::tempdir().unwrap();
    countersign(&["man", "--dir", folder.path().to_str().unwrap()]);
    let pages: BTreeSet<String> =
        folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let expected: BTreeSet<String> = all_commands()
        .iter()
        .map(|words| format!("{}.1", [&["countersign".to_owned()], words.as_slice()].concat().join("-")))
        .collect();
    assert_eq!(pages, expected);
    assert!(pages.len() > 40 && pages.contains("countersign-doctor.1"), "{pages:?}");
    let files: Vec<PathBuf> = pages.iter().map(|page| folder.path().join(page)).collect();
    // Warnings of every kind; nothing is printed.
    match Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).args(&files).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
        Err(error) => eprintln!("groff is not here, so the pages were not formatted: {error}"),
    }
    assert!(countersign(&["man"]).contains(".TH countersign 1"));
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(Path::new("contrib/systemd").join(name)).unwrap()
}

/// The units as systemd reads them, with a program that is there.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for (name, scope) in [("countersign.service", "--user"), ("countersign-system.service", "--system")] {
        let text = unit(name).replace("%h/.cargo/bin/countersign", binary());
        let text = text.replace("/usr/local/bin/countersign", binary());
        assert!(text.contains(&format!("ExecStart={} serve", binary())), "{name}");
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let verify = || {
            let mut command = Command::new("systemd-analyze");
            command.args(["verify", "--man=no", scope]).arg(&path).env("XDG_RUNTIME_DIR", folder.path()).output()
        };
        let Ok(output) = verify() else {
            eprintln!("systemd-analyze is not here, so the units were not verified");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
    // From 0.0, closed, to 10.0, open; MemoryDenyWriteExecute and a network of its own are not for it.
    let path = folder.path().join("countersign-system.service");
    let limit = ["security", "--offline=true", "--threshold=20"];
    let closed = Command::new("systemd-analyze").args(limit).arg(&path).output().unwrap();
    assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stdout));
}

/// The daemon, its policy worker and a server's child under the system calls that the unit allows.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn the_systems_unit_allows_what_the_daemon_and_its_children_do() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not here, so the filter was not tried");
        return;
    }
    let confined = "exec python3 tests/harness/confined.py contrib/systemd/countersign-system.service \"$@\"";
    let spy = Spy::stdio().await;
    let mut daemon = Countersign::new().upstream(&spy).wrapped(confined).start().await;
    let seccomp = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    assert!(seccomp.contains("Seccomp:\t2") && seccomp.contains("NoNewPrivs:\t1"), "{seccomp}");
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    let refused = shim.call("d", "delete_customer", json!({"id": "cus_1"})).await;
    assert_eq!(outcome(&refused), Some("denied"), "{refused}");
    shim.send(&call("r", "create_refund", json!({"amount": 100, "charge": "ch_1"}))).await;
    let hold = console.hold().await;
    let (id, digest) = (hold.id.to_string(), hold.digest.to_string());
    assert_eq!(daemon.run(&["pending", "approve", &id, "--digest", &digest]).await.1, 0);
    assert_eq!(outcome(&shim.answer("r").await), None);
    assert_eq!(spy.calls("create_refund"), 1);
    assert!(daemon.stop().await.success());
}

#[test]
fn the_file_for_launchd_is_a_property_list() {
    let script = "import plistlib, sys; job = plistlib.load(open(sys.argv[1], 'rb')); \
                  assert job['Label'] == 'dev.countersign', job; assert job['ProgramArguments'][1:] == ['serve'], job; \
                  assert job['RunAtLoad'] is True and job['Umask'] == 0o077, job";
    let output =
        Command::new("python3").args(["-c", script, "contrib/launchd/dev.countersign.plist"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
