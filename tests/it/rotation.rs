//! Keys and tokens that are replaced while the daemon runs: what is still looked for, what ends, what is tried again, and
//! what is not taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::daemon::SERVER;
use crate::harness::http::HttpClient;
use crate::harness::{Act, Countersign, Daemon, Spy, call, outcome, stateless};
use crate::secrets::{Ran, body, kinds_of, run, write};

const FIRST: &str = "tok_first_7Hd2Lq9Wx4";
const SECOND: &str = "tok_second_1Kf8Zs5Vb3";

/// What the log and the record call a key.
fn fingerprint(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let start: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{start}")
}

/// The daemon takes this value of a key, at once.
async fn rotated(daemon: &Daemon, path: &std::path::Path, key: &str) {
    write(path, key);
    daemon.signal(Signal::HUP);
    daemon.logs(&format!("fingerprint=\"{}\"", fingerprint(key))).await;
}

fn refund() -> Value {
    json!({"charge": "ch_1", "amount": 100})
}

/// Also one that is idle in between, and whatever other keys come and go.
#[tokio::test]
async fn a_key_that_a_child_still_has_is_taken_out_of_what_it_says() {
    const KEY: &str = "sk_test_CANARYa1Wq7Zt9XeVb4Jm2";
    let spy = Spy::stdio_with(|received, _| {
        let text = json!({"content": [{"type": "text", "text": format!("my key is {KEY}")}]});
        (received.tool() == "get_balance").then(|| vec![Act::Result(text)])
    })
    .await;
    let own = tempfile::tempdir().unwrap();
    let key = own.path().join("key");
    write(&key, KEY);
    let setup = Countersign::new().upstream(&spy).set("/secrets/vendor", json!({"file": key}));
    let daemon = setup.set(&format!("/servers/{SERVER}/upstream/stdio/env/KEY"), json!({"secret": "vendor"}));
    let mut daemon = daemon.start().await;
    let mut shim = daemon.shim().await;
    assert_eq!(spy.processes()[0]["environ"]["KEY"], KEY);
    for n in 0..10 {
        rotated(&daemon, &key, &format!("sk_test_ROTATED{n}a1Wq7Zt9XeVb4")).await;
    }
    let answer = shim.call("1", "get_balance", json!({})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "my key is [secret:vendor]", "{answer}");
    daemon.stop().await;
    assert!(!daemon.log().contains(KEY));
}

/// Whoever came with the old token: a session, its stream and what it asks for, requests that stand alone, and nobody else.
#[tokio::test]
async fn a_replaced_token_ends_what_it_began() {
    for spy in [Spy::stdio().await, Spy::http().await] {
        let own = tempfile::tempdir().unwrap();
        let token = own.path().join("token");
        write(&token, FIRST);
        let setup = Countersign::new().upstream(&spy).set("/secrets/agent_token", json!({"file": token}));
        let mut daemon = setup.start().await;
        let mut console = daemon.console().await;
        let mut local = daemon.shim().await;
        let mut other = daemon.http();
        other.token = Some(crate::harness::daemon::OTHER_TOKEN.to_owned());
        other.initialize().await;
        let alone = HttpClient::new(daemon.address, SERVER, Some(FIRST));
        let mut client = HttpClient::new(daemon.address, SERVER, Some(FIRST));
        client.initialize().await;
        let mut stream = client.send("GET", &client.headers(), b"").await;
        assert_eq!(stream.status, 200);
        let mut waiting = vec![
            client.post(&call(1, "create_refund", refund())).await,
            alone
                .stateless(&stateless(call(1, "create_refund", json!({"charge": "ch_2", "amount": 7})), json!({})))
                .await,
        ];
        let holds = console.pending(2).await;

        rotated(&daemon, &token, SECOND).await;
        for reply in &mut waiting {
            let answer = reply.answer(1).await;
            assert_eq!(outcome(&answer), Some("withdrawn"), "{answer}");
            assert!(answer.to_string().contains("the token that this client was let in by has been replaced"));
        }
        while stream.event().await.is_some() {}
        for hold in &holds {
            console.approve(hold).await.unwrap_err();
        }
        assert_eq!(client.post(&call(2, "get_balance", json!({}))).await.status, 401);
        // The session is over for whoever has the new token as well, and begins anew.
        client.token = Some(SECOND.to_owned());
        assert_eq!(client.post(&call(2, "get_balance", json!({}))).await.status, 404);
        client.session = None;
        client.initialize().await;
        assert!(client.call("3", "get_balance", json!({})).await.get("result").is_some());
        // Nobody else has noticed.
        assert!(other.call("4", "get_balance", json!({})).await.get("result").is_some());
        assert!(local.call("5", "get_balance", json!({})).await.get("result").is_some());
        daemon.stop().await;
        assert_eq!(spy.calls("create_refund"), 0);
        let closed = kinds_of(&daemon, "closed").await;
        assert_eq!(closed.iter().filter(|record| body(record)["outcome"] == "withdrawn").count(), 2, "{closed:?}");
    }
}

/// A server that does not answer for a moment is asked again by itself.
#[tokio::test]
async fn a_key_whose_server_was_silent_is_tried_again() {
    // Connections of ours that ask where the key works: the first answers, the second does not.
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let spy = Spy::stdio_with(move |received, _| {
        let text = |text: &str| vec![Act::Result(json!({"content": [{"type": "text", "text": text}]}))];
        match (received.method(), received.tool()) {
            ("initialize", _) if received.message["params"]["clientInfo"]["name"] == "countersign" => {
                (count.fetch_add(1, Ordering::SeqCst) == 1).then(|| vec![Act::Exit(1)])
            }
            ("tools/list", _) => {
                let tool = json!({"name": "retrieve_balance", "inputSchema": {"type": "object"}});
                Some(vec![Act::Result(json!({"tools": [tool]}))])
            }
            (_, "retrieve_balance") => Some(text(r#"{"object":"balance","livemode":false}"#)),
            _ => None,
        }
    })
    .await;
    let own = tempfile::tempdir().unwrap();
    let key = own.path().join("key");
    write(&key, "plain_first_a1Wq7Zt9XeVb4");
    let mut upstream = spy.upstream.clone();
    upstream["stdio"]["env"]["KEY"] = json!({"secret": "vendor"});
    let server =
        json!({"vendor": "stripe", "environment": "sandbox", "probe": {"required": true}, "upstream": upstream});
    let mut daemon = Countersign::with_policy(crate::harness::daemon::ALLOW_ALL)
        .server(SERVER, server)
        .set("/secrets/vendor", json!({"file": key}))
        .start()
        .await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    write(&key, "plain_second_b8Rk3Py6NdHs5");
    daemon.logs("it is tried again in 5 s").await;
    daemon.logs(&format!("fingerprint=\"{}\"", fingerprint("plain_second_b8Rk3Py6NdHs5"))).await;
    // A file that only its mode made unfit is read again when that changes.
    write(&key, "plain_third_c2Fg5Uo1TiXw8");
    crate::harness::daemon::set_mode(&key, 0o640);
    daemon.logs("chmod go-rwx").await;
    crate::harness::daemon::set_mode(&key, 0o600);
    daemon.logs(&format!("fingerprint=\"{}\"", fingerprint("plain_third_c2Fg5Uo1TiXw8"))).await;
    daemon.stop().await;
    assert!(!kinds_of(&daemon, "secret_kept").await.is_empty());
}

/// The daemon has never had the token: it knows it by its hash.
#[tokio::test]
async fn a_key_that_is_a_token_of_which_only_the_hash_is_known_is_not_taken() {
    let spy = Spy::stdio().await;
    let own = tempfile::tempdir().unwrap();
    let key = own.path().join("key");
    let hash: String = Sha256::digest(SECOND).iter().map(|byte| format!("{byte:02x}")).collect();
    let setup = || {
        let ci = json!({"name": "ci", "match": {"token": {"sha256": hash}}, "scopes": ["*/read"]});
        let setup = Countersign::new().upstream(&spy).set("/secrets/vendor", json!({"file": key}));
        setup.set(&format!("/servers/{SERVER}/upstream/stdio/env/KEY"), json!({"secret": "vendor"})).principal(ci)
    };
    write(&key, SECOND);
    let (status, said) = setup().refuses().await;
    assert!(status.code() == Some(2) && said.contains("the token of `ci`") && said.contains("the same key"), "{said}");
    assert!(!said.contains(SECOND));
    write(&key, "sk_test_CANARYa1Wq7Zt9XeVb4Jm2");
    let mut daemon = setup().start().await;
    write(&key, SECOND);
    daemon.logs("it is the same as the token of `ci`").await;
    daemon.stop().await;
    assert_eq!(kinds_of(&daemon, "secret_rotated").await, Vec::<Value>::new());
}

/// Signing in takes secrets as well.
#[tokio::test]
async fn the_secrets_of_a_sign_in_are_in_use() {
    let oauth = json!({"client_id": "countersign-here", "client_secret": {"secret": "client"}});
    let http = json!({"url": "https://mcp.example/mcp", "auth": {"oauth": oauth}});
    let setup = Countersign::new().server(SERVER, json!({"environment": "sandbox", "upstream": {"http": http}}));
    let setup = setup.set("/secrets/client", json!("stored")).set("/secrets/seal", json!("stored"));
    let config = setup.set("/oauth", json!({"key": {"secret": "seal"}}));
    let _kept = config.kept();
    let config = config.write();
    for (name, user) in [("client", "server fixture"), ("seal", "oauth.key")] {
        let Ran(code, _, said) = run(&config, None, &["secret", "set", name], "cs_registered_7Hq2mVx9Rt4Kd8").await;
        assert_eq!(code, 0, "{said}");
        let Ran(code, said, _) = run(&config, None, &["secret", "ls", "-o", "json"], "").await;
        let listed: Value = serde_json::from_str(&said).unwrap();
        let row = listed["secrets"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
        assert_eq!(row["used_by"], json!([user]), "{code}: {listed}");
        let Ran(code, _, said) = run(&config, None, &["secret", "rm", name], "").await;
        assert!(code == 5 && said.contains(&format!("for {user}")), "{said}");
    }
}

/// Without its keys a request could count as somebody else's: what has no room for them is not sent, and not begun.
#[tokio::test]
async fn a_key_that_an_address_has_no_room_for_is_not_taken() {
    let long = "+/=a".repeat(4_000);
    let own = tempfile::tempdir().unwrap();
    let (first, second) = (own.path().join("first"), own.path().join("second"));
    write(&first, FIRST);
    write(&second, &format!("{long}="));
    let query = json!({"a": {"secret": "first"}, "b": {"secret": "second"}});
    let http = json!({"url": "http://127.0.0.1:9/mcp", "allow_plain_http": true, "query": query});
    let setup = Countersign::new().server(SERVER, json!({"environment": "sandbox", "upstream": {"http": http}}));
    let setup = setup.set("/secrets/first", json!({"file": first})).set("/secrets/second", json!({"file": second}));
    let mut daemon = setup.start().await;
    write(&first, &long);
    daemon.signal(Signal::HUP);
    daemon.logs("the upstream's address cannot be built").await;
    daemon.stop().await;
    assert_eq!(kinds_of(&daemon, "secret_rotated").await, Vec::<Value>::new());
    let (status, said) = daemon.again().refuses().await;
    assert!(!status.success() && said.contains("the upstream's address cannot be built"), "{said}");
}
