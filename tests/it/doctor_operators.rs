//! What `countersign doctor` says of who can approve: operators and their keys, and the keys of the console.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;

use super::doctor::Doctor;
use crate::harness::{Countersign, Spy, within};

/// A key of OpenSSH's, in the home that the doctor looks into.
fn key(home: &Path, passphrase: &str) -> PathBuf {
    let folder = home.join(".ssh");
    std::fs::create_dir_all(&folder).unwrap();
    let key = folder.join("id_ed25519");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-C", "anna", "-N", passphrase, "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    key
}

fn production(spy: &Spy) -> Countersign {
    Countersign::new().upstream(spy).set("/servers/fixture/environment", json!("production"))
}

/// Production with the operator anna, whose public key stands on the list.
fn with_anna(spy: &Spy, passphrase: &str) -> (Countersign, PathBuf) {
    let setup = production(spy);
    let key = key(setup.dir(), passphrase);
    let list = setup.dir().join("operators.pub");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(&list, format!("anna namespaces=\"countersign\" {public}")).unwrap();
    let setup = setup.set("/operators/allowed_signers", json!(list));
    setup.write();
    (setup, key)
}

#[tokio::test]
async fn approvals_that_nobody_can_give_and_those_that_everybody_can_are_found() {
    let spy = Spy::stdio().await;
    let setup = production(&spy);
    setup.write();
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("operators", "warning", "nobody can approve", "countersign operator enroll NAME");

    let setup = setup.set("/operators/unsigned_rulings", json!("accept"));
    setup.write();
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("operators", "problem", "every program of this account can approve, and clients run", "operator enroll");
}

#[tokio::test]
async fn an_operators_key_that_lies_open_is_found() {
    let spy = Spy::stdio().await;
    let (setup, _) = with_anna(&spy, "");
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("operators", "problem", "the key of anna has no passphrase", "ssh-keygen -p -f ");

    let (setup, _) = with_anna(&spy, "a passphrase");
    let said = Doctor::of(&setup).run(&[]).await;
    said.says("operators", "ok", "no operator's key lies open", "");
    said.says("operators", "ok", "1 key of operators: anna", "");

    // A key elsewhere is found where the console would take it from, and it is said where it was looked for.
    let (setup, lies) = with_anna(&spy, "");
    let elsewhere = setup.dir().join("anna.key");
    std::fs::rename(&lies, &elsewhere).unwrap();
    Doctor::of(&setup).run(&[]).await.says("operators", "ok", "in ~/.ssh; it was looked for nowhere else", "");
    let said = Doctor::of(&setup).env("COUNTERSIGN_SIGN_WITH", &elsewhere).run(&[]).await;
    said.says("operators", "problem", "the key of anna has no passphrase", "anna.key");
    std::fs::remove_file(&elsewhere).unwrap();
    let said = Doctor::of(&setup).env("COUNTERSIGN_SIGN_WITH", &elsewhere).run(&[]).await;
    said.says("operators", "warning", "there is no such file", "COUNTERSIGN_SIGN_WITH");

    // Of somebody else's keys nothing is said.
    let setup = production(&spy);
    let (own, list) = (key(setup.dir(), ""), setup.dir().join("operators.pub"));
    let other = tempfile::tempdir().unwrap();
    let public = std::fs::read_to_string(key(other.path(), "").with_extension("pub")).unwrap();
    std::fs::write(&list, format!("ben {public}")).unwrap();
    let setup = setup.set("/operators/allowed_signers", json!(list));
    setup.write();
    Doctor::of(&setup).run(&[]).await.is_well("operators");
    assert!(own.exists());

    std::fs::write(&list, "ben not-a-key\n").unwrap();
    Doctor::of(&setup).run(&[]).await.says("operators", "problem", "line 1", "correct that line");
}

#[tokio::test]
async fn the_keys_of_the_console_are_looked_at() {
    let spy = Spy::stdio().await;
    let setup = production(&spy);
    setup.write();
    let keys = setup.dir().join("keys/countersign/keys.yaml");
    std::fs::create_dir_all(keys.parent().unwrap()).unwrap();
    let doctor = || Doctor::of(&setup).env("XDG_CONFIG_HOME", setup.dir().join("keys"));
    assert!(doctor().run(&[]).await.at("console", "ok").is_empty(), "there are none");
    std::fs::write(&keys, "freeze: F8\n").unwrap();
    doctor().run(&[]).await.says("console", "ok", "keys of your own", "");
    std::fs::write(&keys, "freeze: F8\napprove: Enter\n").unwrap();
    doctor().run(&[]).await.says("console", "problem", "cannot be given away", "");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o666)).unwrap();
    doctor().run(&[]).await.says("console", "problem", "can be changed by others", "chmod go-w");
}

#[tokio::test]
async fn a_key_in_ssh_agent_is_found() {
    let spy = Spy::stdio().await;
    let (setup, key) = with_anna(&spy, "");
    let socket = setup.dir().join("agent.sock");
    let mut agent = tokio::process::Command::new("ssh-agent");
    agent.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).kill_on_drop(true);
    let _agent = agent.spawn().unwrap();
    within("ssh-agent to take the key", async {
        loop {
            let mut add = tokio::process::Command::new("ssh-add");
            add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).stderr(Stdio::null());
            if add.status().await.unwrap().success() {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    std::fs::remove_file(&key).unwrap();
    let doctor = Doctor::of(&setup).path();
    doctor.run(&[]).await.says("operators", "ok", "no operator's key lies open", "");
    let said = doctor.env("SSH_AUTH_SOCK", &socket).run(&[]).await;
    said.says("operators", "warning", "ssh-agent has the key SHA256:", "ssh-add -c");
    said.says("operators", "warning", "of anna", "");
}

#[tokio::test]
async fn an_agent_that_cannot_be_asked_is_not_said_to_have_no_key() {
    let spy = Spy::stdio().await;
    let (setup, _) = with_anna(&spy, "a passphrase");
    let said = Doctor::of(&setup).path().env("SSH_AUTH_SOCK", setup.dir().join("nobody.sock")).run(&[]).await;
    said.says("operators", "note", "nobody.sock could not be asked", "ssh-add -l");
    let well = said.at("operators", "ok");
    assert!(well.iter().all(|found| !found["text"].as_str().unwrap().contains("ssh-agent")), "{well:?}");
    said.says("operators", "ok", "no operator's key lies open in ~/.ssh", "");
}
