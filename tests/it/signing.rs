//! Approvals that an operator's SSH key has signed, with OpenSSH's own programs on both sides: it signs, and it verifies
//! from the record.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use countersign::control::wire::HoldView;
use serde_json::json;

use crate::harness::{Console, Countersign, Daemon, Spy, outcome, within};
use crate::secrets::body;

/// A folder with keys and a list of operators.
pub struct Keys(tempfile::TempDir);

impl Keys {
    pub fn new() -> Keys {
        Keys(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn list(&self) -> PathBuf {
        self.path("operators.pub")
    }

    /// A new key without a passphrase, or with one.
    fn make(&self, name: &str, passphrase: &str) -> PathBuf {
        let key = self.path(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f"])
            .arg(&key)
            .status();
        assert!(made.expect("OpenSSH\'s ssh-keygen").success());
        key
    }

    /// A key of an operator who is on the list.
    pub fn enroll(&self, operator: &str) -> PathBuf {
        let key = self.make(operator, "");
        let (list, public) = (self.list(), key.with_extension("pub"));
        let output = run(&["operator", "enroll", operator, "--key"], &[&public, Path::new("--allowed-signers"), &list]);
        assert!(output.status.success(), "{output:?}");
        key
    }
}

fn run(words: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(crate::harness::daemon::binary());
    command.args(words).args(paths).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).output().unwrap()
}

async fn production(spy: &Spy, keys: &Keys) -> Daemon {
    let countersign = Countersign::new().upstream(spy).set("/servers/fixture/environment", json!("production"));
    countersign.set("/operators", json!({"allowed_signers": keys.list()})).start().await
}

/// Runs `pending approve` with more words; the exit code.
async fn approve(daemon: &Daemon, hold: &HoldView, more: &[&str]) -> i32 {
    let (id, digest) = (hold.id.to_string(), hold.digest.to_string());
    let words = [&["pending", "approve", &id, "--digest", &digest], more].concat();
    daemon.run(&words).await.1
}

async fn held(console: &mut Console) -> HoldView {
    let hold = console.pending(1).await.remove(0);
    assert!(hold.signature_required);
    hold
}

#[tokio::test]
async fn a_production_call_leaves_when_a_listed_key_has_signed_and_openssh_verifies_it_from_the_record() {
    let (spy, keys) = (Spy::stdio().await, Keys::new());
    let anna = keys.enroll("anna");
    let stranger = keys.make("stranger", "");
    let mut daemon = production(&spy, &keys).await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&crate::harness::call("refund", "create_refund", json!({"amount": 100}))).await;
    let hold = held(&mut console).await;
    let (anna, stranger) = (anna.to_str().unwrap(), stranger.to_str().unwrap());

    assert_eq!(approve(&daemon, &hold, &[]).await, 4, "without a signature");
    assert_eq!(approve(&daemon, &hold, &["--sign-with", stranger, "--operator", "anna"]).await, 4, "another key");
    assert_eq!(approve(&daemon, &hold, &["--sign-with", anna, "--operator", "ben"]).await, 4, "another name");
    assert_eq!(spy.all_calls(), 0);
    assert_eq!(
        approve(&daemon, &hold, &["--sign-with", anna, "--operator", "anna", "--reason", "asked by phone"]).await,
        0
    );
    assert_eq!(outcome(&shim.answer("refund").await), None);
    assert_eq!(spy.calls("create_refund"), 1);

    daemon.stop().await;
    let (story, code) = daemon.run(&["audit", "show", hold.id.as_str()]).await;
    assert_eq!(code, 0);
    assert!(story.contains("approve by anna with the key SHA256:"), "{story}");
    let (_, commands) = story.split_once("OpenSSH verifies it:\n\n").expect(&story);
    let (commands, _) = commands.split_once("\n\n").unwrap_or((commands, ""));
    let verified = shell(commands);
    assert!(verified.status.success(), "{commands}\n{verified:?}");
    assert!(
        String::from_utf8_lossy(&verified.stdout).contains("Good \"countersign\" signature for anna"),
        "{verified:?}"
    );
    for (said, instead) in
        [("ruling: approve", "ruling: reject"), ("asked by phone", "asked by mail"), ("-I anna", "-I ben")]
    {
        let changed = commands.replace(said, instead);
        assert_ne!(changed, commands);
        assert!(!shell(&changed).status.success(), "{said} became {instead}");
    }
    // What did not count is on record too, under no name that nobody has proved.
    let records = daemon.records().await;
    let refused: Vec<_> = records.iter().filter(|record| record["kind"] == "ruling_refused").collect();
    assert_eq!(refused.len(), 3);
    for record in refused {
        let operator = body(record)["operator"].as_str().map(str::to_owned);
        assert!(operator.is_some_and(|operator| !["anna", "ben"].contains(&operator.as_str())), "{record}");
    }
}

pub fn shell(commands: &str) -> Output {
    Command::new("sh").args(["-ec", commands]).output().unwrap()
}

/// The text that the command prints is the one that counts, signed wherever the key is; each signature for one hold.
#[tokio::test]
async fn a_signature_made_elsewhere_counts_for_its_hold_alone() {
    let (spy, keys) = (Spy::stdio().await, Keys::new());
    let anna = keys.enroll("anna");
    let daemon = production(&spy, &keys).await;
    let mut shim = daemon.shim().await;
    let console = daemon.console().await;
    for (id, amount) in [("one", 100), ("two", 200)] {
        shim.send(&crate::harness::call(id, "create_refund", json!({"amount": amount}))).await;
    }
    let holds = console.pending(2).await;
    let mut signatures = Vec::new();
    for hold in &holds {
        let words = ["pending", "show", hold.id.as_str(), "--ruling", "approve", "--operator", "anna"];
        let (text, code) = daemon.run(&words).await;
        assert_eq!(code, 0);
        assert!(text.starts_with("countersign ruling 1\n") && text.contains(&hold.digest.to_string()), "{text}");
        let file = keys.path(hold.id.as_str());
        std::fs::write(&file, text).unwrap();
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "countersign", "-f"])
            .arg(&anna)
            .arg(&file)
            .status();
        assert!(signed.unwrap().success());
        signatures.push(file.with_extension("sig"));
    }
    let with = |n: usize| ["--operator", "anna", "--signature", signatures[n].to_str().unwrap()];
    assert_eq!(approve(&daemon, &holds[0], &with(1)).await, 4, "the other call's signature");
    let reason = [&with(0)[..], &["--reason", "something that was not signed"]].concat();
    assert_eq!(approve(&daemon, &holds[0], &reason).await, 4);
    assert_eq!(spy.all_calls(), 0);
    assert_eq!(approve(&daemon, &holds[0], &with(0)).await, 0);
    assert_eq!(approve(&daemon, &holds[0], &with(0)).await, 5, "a second time");
    spy.until("the first call", |spy| spy.calls("create_refund") == 1).await;
    assert_eq!(approve(&daemon, &holds[1], &with(1)).await, 0);
    spy.until("the second call", |spy| spy.calls("create_refund") == 2).await;
}

/// Two people means two keys and two names. Whoever is taken off the list approves nothing from then on.
#[tokio::test]
async fn two_approvals_need_two_people_and_the_list_counts_as_it_is_now() {
    const TWO: &str = r#"package countersign.policy.two

allow contains {"rule": "two.allow", "reason": "may be asked for"} if input.method

hold contains {"rule": "two.people", "reason": "two people look at it", "approvals": 2} if true
"#;
    let (spy, keys) = (Spy::stdio().await, Keys::new());
    let (anna, ben) = (keys.enroll("anna"), keys.enroll("ben"));
    // A second key of anna's makes no second person of her.
    let spare = keys.make("spare", "");
    let public = spare.with_extension("pub");
    let output =
        run(&["operator", "enroll", "anna", "--key"], &[&public, Path::new("--allowed-signers"), &keys.list()]);
    assert!(output.status.success(), "{output:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(keys.list()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644, "a daemon of another account reads the list");
    let countersign =
        Countersign::with_policy(TWO).upstream(&spy).set("/servers/fixture/environment", json!("production"));
    let daemon = countersign.set("/operators", json!({"allowed_signers": keys.list()})).start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&crate::harness::call("refund", "create_refund", json!({"amount": 100}))).await;
    let hold = held(&mut console).await;
    let by = |key: &Path, operator: &'static str| {
        ["--sign-with".to_owned(), key.to_str().unwrap().to_owned(), "--operator".to_owned(), operator.to_owned()]
    };
    let ask = async |words: [String; 4]| approve(&daemon, &hold, &words.each_ref().map(String::as_str)).await;
    assert_eq!(ask(by(&anna, "anna")).await, 0);
    assert_eq!(ask(by(&anna, "anna")).await, 5, "the same person");
    assert_eq!(ask(by(&spare, "anna")).await, 5, "the same person with another key");
    let whole = std::fs::read_to_string(keys.list()).unwrap();
    let without_ben: String =
        whole.lines().filter(|line| !line.starts_with("ben ")).map(|line| format!("{line}\n")).collect();
    std::fs::write(keys.list(), without_ben).unwrap();
    assert_eq!(ask(by(&ben, "ben")).await, 4, "somebody who was taken off the list");
    std::fs::write(keys.list(), &whole).unwrap();
    std::fs::set_permissions(keys.list(), std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(ask(by(&ben, "ben")).await, 4, "a list that everybody could change");
    std::fs::set_permissions(keys.list(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(spy.all_calls(), 0);
    assert_eq!(ask(by(&ben, "ben")).await, 0);
    assert_eq!(outcome(&shim.answer("refund").await), None);
    assert_eq!(spy.calls("create_refund"), 1);
}

/// A reject needs no proof, and an approval that names its own requester is none.
#[tokio::test]
async fn a_reject_needs_no_signature_and_nobody_approves_what_they_asked_for() {
    let (spy, keys) = (Spy::stdio().await, Keys::new());
    // The principal of the shim is called `local`.
    let local = keys.enroll("local");
    let daemon = production(&spy, &keys).await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&crate::harness::call("refund", "create_refund", json!({"amount": 100}))).await;
    let hold = held(&mut console).await;
    let words = ["--sign-with", local.to_str().unwrap(), "--operator", "local"];
    assert_eq!(approve(&daemon, &hold, &words).await, 5);
    assert!(console.reject(&hold, "not today").await.is_ok());
    assert_eq!(outcome(&shim.answer("refund").await), Some("rejected"));
    assert_eq!(spy.all_calls(), 0);
}

/// A passphrase comes from whoever OpenSSH asks; without it there is no signature.
#[tokio::test]
async fn a_key_with_a_passphrase_signs_when_it_is_given() {
    let keys = Keys::new();
    let key = keys.make("anna", "correct horse");
    let list = keys.list();
    let public = key.with_extension("pub");
    assert!(
        run(&["operator", "enroll", "anna", "--key"], &[&public, Path::new("--allowed-signers"), &list])
            .status
            .success()
    );
    let check = |answer: &str| {
        let asked = keys.path("askpass");
        std::fs::write(&asked, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
        std::fs::set_permissions(&asked, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = tokio::process::Command::new(crate::harness::daemon::binary());
        command.args(["operator", "check", "--operator", "anna", "--sign-with"]).arg(&key);
        command.arg("--allowed-signers").arg(&list).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("SSH_ASKPASS", asked).env("SSH_ASKPASS_REQUIRE", "force").stdin(std::process::Stdio::null());
        async move { within("the check", command.output()).await.unwrap() }
    };
    let good = check("correct horse").await;
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).starts_with("anna signs with SHA256:"), "{good:?}");
    assert_eq!(check("wrong").await.status.code(), Some(4));
}

/// What cannot be right is refused before a list is written, and before a daemon starts.
#[tokio::test]
async fn a_list_of_operators_is_checked_where_it_is_written_and_where_it_is_read() {
    let keys = Keys::new();
    let key = keys.enroll("anna");
    let before = std::fs::read_to_string(keys.list()).unwrap();
    let (list, public) = (keys.list(), key.with_extension("pub"));
    let enroll = |name: &str, key: &Path| {
        run(&["operator", "enroll", name, "--key"], &[key, Path::new("--allowed-signers"), &list])
    };
    for (name, key, part) in [
        ("ben", &public, "second time"),
        ("anna,ben", &public, "not the name"),
        ("ben", &key, "private key"),
        ("ben", &list, "not an OpenSSH public key"),
    ] {
        let output = enroll(name, key);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert_eq!(std::fs::read_to_string(&list).unwrap(), before);
    let shown = run(&["operator", "ls", "-o", "json", "--allowed-signers"], &[&list]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&shown["schema"], &shown["operators"][0]["operator"]),
        (&json!("countersign.operators/v1"), &json!("anna"))
    );

    let spy = Spy::stdio().await;
    std::fs::write(&list, format!("{before}nonsense\n")).unwrap();
    let countersign = Countersign::new().upstream(&spy).set("/operators", json!({"allowed_signers": list}));
    let (status, log) = countersign.refuses().await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("operators.pub") && log.contains("line 2"), "{log}");
}
