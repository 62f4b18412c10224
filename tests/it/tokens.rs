//! Clients that sign in: tokens of an organisation's authorization server, and tokens of which the daemon has the hash.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::harness::daemon::{SERVER, binary};
use crate::harness::http::HttpClient;
use crate::harness::issuer::Issuer;
use crate::harness::peers::{installed, node, output, source};
use crate::harness::{Countersign, Spy, call, within};

/// From nothing but the server's address: the challenge, our metadata, the authorization server's, registration, the
/// code, the token, the call. The client and the authorization server are the field's own.
async fn signs_in(version: &str) {
    let mut script = Command::new(node());
    script.arg(source("tests/peers/organisation.mjs")).arg(version).env("PEERS", installed("npm/package.json"));
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut script = script.spawn().unwrap();
    let mut stdin = script.stdin.take().unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    // Its libraries print warnings between.
    let mut said = async |what: &str| loop {
        let line = within(what, lines.next_line()).await.unwrap().unwrap_or_else(|| panic!("no {what}"));
        if let Some(value) = line.strip_prefix(&format!("{what}=")) {
            return value.to_owned();
        }
    };
    let issuer = said("issuer").await;
    let spy = Spy::http().await;
    let staff = json!({
        "name": "staff", "match": {"jwt": {"issuer": "acme", "claims": {"groups": "billing"}}},
        "scopes": ["fixture/get_balance", "fixture/get_*"],
    });
    let mut daemon = Countersign::new()
        .upstream(&spy)
        .set("/policy", json!({"builtin": ["scopes"], "time_limit_ms": 5000}))
        .set(
            "/issuers/acme",
            json!({
                "issuer": issuer, "jwks": {"url": format!("{issuer}/jwks")}, "claims": ["groups"],
                "scopes_from": {"claim": "scope", "prefix": "mcp:"},
            }),
        )
        .principal(staff)
        .start()
        .await;
    let url = format!("http://{}/mcp/{SERVER}", daemon.address);
    stdin.write_all(format!("{url}\n").as_bytes()).await.unwrap();
    let said: Value = serde_json::from_str(&said("said").await).unwrap();
    assert_eq!(said["answer"]["content"][0]["text"], "done: get_balance", "{said}");
    assert_eq!(said["asked"]["resource"], json!(url));
    assert_eq!(said["asked"]["scope"], "mcp:fixture/get_balance");
    assert_eq!(said["asked"]["code_challenge_method"], "S256");
    assert!(said["tools"].as_array().unwrap().contains(&json!("get_balance")));
    // The token is for that server and not for another's address; whoever has it gets what it is for and no more.
    let token = said["token"]["access_token"].as_str().unwrap();
    let mut client = HttpClient::new(daemon.address, SERVER, Some(token));
    client.initialize().await;
    let denied = client.call("d", "delete_customer", json!({"id": "cus_1"})).await;
    assert_eq!(crate::harness::outcome(&denied), Some("denied"), "{denied}");
    daemon.stop().await;
    let records = daemon.records().await;
    let decided: Vec<String> =
        records.iter().filter(|record| record["kind"] == "decided").map(|record| record["body"].to_string()).collect();
    assert!(!decided.is_empty() && decided.iter().all(|body| body.contains("staff/alice")), "{decided:?}");
    let written = [spy.bytes(), daemon.log().into_bytes(), json!(records).to_string().into_bytes()].concat();
    for part in token.split('.') {
        assert!(!written.windows(part.len()).any(|bytes| bytes == part.as_bytes()));
    }
    assert_eq!(spy.all_calls(), 1);
}

#[tokio::test]
async fn a_client_signs_in_at_the_organisations_own_authorization_server() {
    signs_in("v1").await;
}

#[tokio::test]
async fn the_newer_typescript_client_signs_in_too() {
    signs_in("v2").await;
}

/// The command prints the token; the daemon's files have its hash alone.
#[tokio::test]
async fn a_token_of_which_the_daemon_has_the_hash_alone() {
    let made = output(Command::new(binary()).args(["principal", "token", "ci", "-o", "json"])).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let (token, hash) = (made["token"].as_str().unwrap(), made["sha256"].as_str().unwrap());
    assert!(made["schema"] == "countersign.token/v1" && token.len() > 40 && hash.len() == 64, "{made}");
    let again = output(Command::new(binary()).args(["principal", "token", "ci"])).await;
    assert!(again.trim().len() == token.len() && again.trim() != token);
    let spy = Spy::stdio().await;
    let daemon = Countersign::new()
        .upstream(&spy)
        .principal(json!({"name": "ci", "match": {"token": {"sha256": hash}}, "scopes": ["*/read"]}))
        .start()
        .await;
    let mut client = HttpClient::new(daemon.address, SERVER, Some(token));
    client.initialize().await;
    assert!(client.call("a", "get_balance", json!({})).await.get("result").is_some());
    for wrong in [hash, again.trim(), &token.to_uppercase(), &format!("{token}=")] {
        let wrong = HttpClient::new(daemon.address, SERVER, Some(wrong));
        assert_eq!(wrong.post(&call(1, "get_balance", json!({}))).await.status, 401);
    }
    let mut bad = Command::new(binary());
    bad.args(["principal", "token", "a b"]).stdin(Stdio::null());
    let bad = within("the command", bad.output()).await.unwrap();
    assert!(bad.status.code() == Some(2) && bad.stdout.is_empty());
}

/// Nobody looks into the process that makes one, and it leaves nothing behind.
#[tokio::test]
async fn a_token_is_made_in_a_protected_process() {
    // The pipe is full and nobody reads it: the command stands still where it prints the token.
    let (_read, write) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&write, true).unwrap();
    while rustix::io::write(&write, &[0; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&write, false).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec \"$0\" principal token ci", binary()]);
    command.stdin(Stdio::null()).stdout(write).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    within("the process to protect itself", async {
        while !std::fs::read_to_string(&status).unwrap().contains("Umask:\t0077") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What a right token is not for: another server, nobody's, too little.
#[tokio::test]
async fn a_right_token_is_for_what_it_says() {
    let issuer = Issuer::new();
    let spy = Spy::stdio().await;
    let daemon = issuer
        .trusted(Countersign::new().upstream(&spy))
        .server("second", json!({"environment": "test", "upstream": spy.upstream}));
    let jwks = daemon.dir().join("jwks.json");
    let daemon = daemon
        .set(
            "/issuers/acme",
            json!({
                "issuer": crate::harness::issuer::ISSUER, "jwks": {"file": jwks}, "algorithms": ["ES256"],
                "scopes_from": {"claim": "permissions", "map": {"balance": ["fixture/get_balance"], "all": ["*/*"]}},
            }),
        )
        .set("/listen/http", json!({"address": "127.0.0.1:0", "public_url": "https://cs.example/"}))
        .start()
        .await;
    let resource = "https://cs.example/mcp/fixture";
    let ask = async |server: &str, change: Value| {
        let client = HttpClient::new(daemon.address, server, Some(&issuer.token(&change)));
        client.stateless(&crate::harness::stateless(call(1, "get_balance", json!({})), json!({}))).await
    };
    let good = json!({"aud": resource, "permissions": ["balance"]});
    assert!(ask(SERVER, good.clone()).await.answer(1).await.get("result").is_some());
    assert_eq!(ask("second", good).await.status, 401, "it is for the address of the other server");
    let elsewhere = json!({"aud": "https://cs.example/mcp/second", "permissions": ["balance"]});
    let metadata = "resource_metadata=\"https://cs.example/.well-known/oauth-protected-resource/mcp";
    let reply = ask("second", elsewhere).await;
    assert_eq!(reply.status, 403);
    let field = format!("Bearer realm=\"countersign\", {metadata}/second\", error=\"insufficient_scope\"");
    assert_eq!(reply.headers["www-authenticate"], field);
    for nothing in [json!([]), json!(["all the rest"]), Value::Null] {
        let reply = ask(SERVER, json!({"aud": resource, "permissions": nothing})).await;
        let field = format!(
            "Bearer realm=\"countersign\", {metadata}/fixture\", scope=\"all balance\", error=\"insufficient_scope\""
        );
        assert_eq!((reply.status, reply.headers["www-authenticate"].as_str()), (403, field.as_str()));
    }
    let nobody = ask(SERVER, json!({"aud": resource, "permissions": ["balance"], "groups": ["guests"]})).await;
    assert_eq!((nobody.status, nobody.headers.contains_key("www-authenticate")), (403, false));
    assert_eq!(spy.all_calls(), 1);
}

/// An issuer that is down keeps nobody else out, and is asked again.
#[tokio::test]
async fn an_issuer_that_cannot_be_asked_lets_nobody_in_and_the_daemon_starts() {
    let issuer = Issuer::new();
    let spy = Spy::stdio().await;
    let daemon = issuer
        .trusted(Countersign::new().upstream(&spy))
        .set("/issuers/acme/jwks", json!({"url": "http://127.0.0.1:9/jwks"}))
        .start()
        .await;
    let client = HttpClient::new(daemon.address, SERVER, Some(&issuer.token(&json!({}))));
    let reply = client.post(&call(1, "get_balance", json!({}))).await;
    assert_eq!((reply.status, reply.headers["retry-after"].as_str()), (503, "5"));
    let mut known = daemon.http();
    known.initialize().await;
    assert!(known.call("a", "get_balance", json!({})).await.get("result").is_some());
    // A file has to be there.
    let (status, said) = issuer
        .trusted(Countersign::new().upstream(&spy))
        .set("/issuers/acme/jwks", json!({"file": "nowhere.json"}))
        .refuses()
        .await;
    assert!(status.code() == Some(2) && said.contains("nowhere.json"), "{said}");
}
