//! Tokens that count for one key alone (DPoP): against a real authorization server and a server that looks at every proof.

use serde_json::{Value, json};

use crate::by_itself;
use crate::harness::daemon::{ALLOW_ALL, SERVER};
use crate::harness::sign_in::{CLIENT_SECRET, Person, Provider, auth, login, signed_in};
use crate::harness::{Countersign, Daemon, hello, request, within};
use crate::oauth::{files, words};

async fn daemon(provider: &Provider, oauth: &Value) -> Daemon {
    let auth = json!({"oauth": oauth});
    Countersign::with_policy(ALLOW_ALL).server(SERVER, provider.server(auth)).start().await
}

async fn status(daemon: &Daemon) -> Value {
    let (_, said, _) = auth(daemon.config(), &["status", "--output", "json"]).await;
    serde_json::from_str::<Value>(&said).unwrap()["sign_ins"][0].clone()
}

/// The messages with this in them, or the requests of this method, that the server got, by what it made of them.
async fn sent(provider: &Provider, what: &str) -> Vec<bool> {
    let seen = provider.control(json!({"do": "seen"})).await;
    let is = |seen: &&Value| seen["body"].as_str().unwrap().contains(what) || seen["method"] == what;
    let seen = seen.as_array().unwrap().iter().filter(is);
    seen.map(|seen| seen["ok"].as_bool().unwrap()).collect()
}

/// Until the server has taken so many of them.
async fn until_sent(provider: &Provider, what: &str, count: usize) {
    let taken = async {
        while sent(provider, what).await.into_iter().filter(|ok| *ok).count() < count {
            tokio::task::yield_now().await;
        }
    };
    within("the notification to be taken", taken).await;
}

async fn calls(provider: &Provider) -> Vec<bool> {
    sent(provider, "tools/call").await
}

#[tokio::test]
async fn each_request_is_proved_and_the_key_stays_with_the_tokens() {
    let provider = Provider::start(json!({"dpop": true})).await;
    let daemon = daemon(&provider, &json!({"dpop": "required"})).await;
    signed_in(daemon.config()).await;
    let mut shim = daemon.shim().await;
    for id in ["1", "2"] {
        let answer = shim.call(id, "get_thing", json!({})).await;
        assert!(words(&answer).starts_with("as operator, token [secret:oauth.fixture], sum "), "{answer}");
    }
    assert_eq!(status(&daemon).await["dpop"], true);
    // A renewed token counts for the same key.
    provider.control(json!({"do": "refuse"})).await;
    let refused = shim.call("3", "get_thing", json!({})).await;
    assert_eq!(refused["error"]["code"], 4513, "{refused}");
    let answer = shim.call("4", "get_thing", json!({})).await;
    assert!(words(&answer).starts_with("as operator"), "{answer}");
    assert_eq!(provider.granted("refresh_token").await, 1);
    assert_eq!(calls(&provider).await, [true, true, false, true]);
    // Nothing of it lies in the clear.
    let mut kept = Vec::new();
    files(&daemon.state_dir(), &mut kept);
    kept.push(("the log".to_owned(), daemon.log().into_bytes()));
    for (name, bytes) in kept {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("MIGHAgEAMBMG") && !text.contains("dpop+jwt"), "{name}");
    }
    // Another daemon has the key as well.
    let mut daemon = daemon;
    assert!(daemon.stop().await.success());
    let daemon = daemon.again().start().await;
    let answer = daemon.shim().await.call("5", "get_thing", json!({})).await;
    assert!(words(&answer).starts_with("as operator"), "{answer}");
    assert_eq!(provider.granted("refresh_token").await, 1);
}

/// A call that the server refuses for want of its newest nonce is not sent again; its client is told that nothing was done.
#[tokio::test]
async fn a_call_is_never_sent_twice_for_a_nonce() {
    let provider = Provider::start(json!({"dpop": "nonce"})).await;
    let daemon = daemon(&provider, &json!({})).await;
    signed_in(daemon.config()).await;
    let mut shim = daemon.shim().await;
    let answer = shim.call("1", "get_thing", json!({})).await;
    assert!(words(&answer).starts_with("as operator"), "the session's beginning brought the nonce: {answer}");
    provider.control(json!({"do": "nonce"})).await;
    let refused = shim.call("2", "get_thing", json!({})).await;
    assert_eq!(refused["error"]["code"], 4513, "{refused}");
    assert!(words(&refused).contains("not carried out") && words(&refused).contains("Retry it once"), "{refused}");
    let answer = shim.call("3", "get_thing", json!({})).await;
    assert!(words(&answer).starts_with("as operator"), "{answer}");
    assert_eq!(calls(&provider).await, [true, false, true]);
    // The token counted all the while.
    assert_eq!(provider.granted("refresh_token").await, 0);
    // What nobody decides about goes again by itself, also where no answer is waited for.
    let mut other = daemon.raw_shim();
    let mut hello = hello();
    hello["capabilities"] = json!({"roots": {"listChanged": true}});
    other.send(&request("0", "initialize", hello)).await;
    other.answer("0").await;
    other.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    // Both sessions have begun, and listen.
    until_sent(&provider, "GET", 2).await;
    provider.control(json!({"do": "nonce"})).await;
    other.send(&json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})).await;
    until_sent(&provider, "list_changed", 1).await;
    assert_eq!(sent(&provider, "list_changed").await, [false, true]);
    provider.control(json!({"do": "nonce"})).await;
    shim.send(&request("4", "tools/list", json!({}))).await;
    let list = shim.answer("4").await;
    assert!(list["result"]["tools"].is_array(), "{list}");
}

#[tokio::test]
async fn tokens_for_anybody_are_not_taken_where_bound_ones_are_required() {
    let (must, may) = (json!({"dpop": "required"}), json!({"dpop": "auto"}));
    for (options, oauth, ends, why) in [
        (json!({}), &must, 1, "does not say that it binds tokens to a key"),
        (json!({"dpop": "said"}), &must, 4, "it is a bearer token"),
        (json!({"dpop": "said"}), &may, 0, ""),
        (json!({"dpop": true}), &json!({"dpop": "off"}), 0, ""),
    ] {
        let provider = Provider::start(options.clone()).await;
        let daemon = daemon(&provider, oauth).await;
        let (code, said) = login(daemon.config(), Person::SignsIn).await;
        assert_eq!(code, ends, "{options} {said}");
        assert!(said.contains(why), "{said}");
        if ends == 0 {
            assert_eq!(status(&daemon).await["dpop"], false, "{options}");
        }
    }
}

#[tokio::test]
async fn a_sign_in_with_a_token_for_anybody_ends_where_bound_ones_are_required() {
    let provider = Provider::start(json!({"dpop": "said"})).await;
    let daemon = daemon(&provider, &json!({})).await;
    signed_in(daemon.config()).await;
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    let changed = config.replace("\"oauth\": {}", "\"oauth\": {\"dpop\": \"required\"}");
    assert_ne!(config, changed);
    std::fs::write(daemon.config(), changed).unwrap();
    let stands = status(&daemon).await;
    assert_eq!(stands["state"], "sign_in_needed", "{stands}");
    assert!(stands["reason"].as_str().unwrap().contains("DPoP"), "{stands}");
}

#[tokio::test]
async fn countersigns_own_tokens_are_bound_as_well() {
    let client = by_itself::with_secret("client_secret_basic");
    let provider = Provider::start(json!({"dpop": "nonce", "clients": [client]})).await;
    let shown = json!({"client_secret": {"secret": "client"}, "dpop": "required"});
    let daemon = by_itself::setup(&provider.issuer, &provider.mcp, &shown).start().await;
    daemon.logs("countersign has signed in").await;
    let mut shim = daemon.shim().await;
    assert!(by_itself::served(&mut shim, "1").await && !daemon.log().contains(CLIENT_SECRET));
    assert_eq!(provider.granted("client_credentials").await, 1);
}

/// A bearer token is no renewal of a bound one, whoever signs in and whatever the authorization server says by then.
#[tokio::test]
async fn a_bound_sign_in_is_not_renewed_with_a_token_for_anybody() {
    let provider = Provider::start(json!({"dpop": true})).await;
    let persons = daemon(&provider, &json!({})).await;
    signed_in(persons.config()).await;
    let mut shim = persons.shim().await;
    assert!(words(&shim.call("1", "get_thing", json!({})).await).starts_with("as operator"));
    provider.control(json!({"do": "unbind"})).await;
    provider.control(json!({"do": "refuse"})).await;
    assert_eq!(shim.call("2", "get_thing", json!({})).await["error"]["code"], 4513);
    let answer = shim.call("3", "get_thing", json!({})).await;
    assert!(answer["error"].is_object(), "{answer}");
    persons.logs("it is a bearer token, and one that counts for a key alone (DPoP) is wanted").await;
    assert_eq!(calls(&provider).await, [true, false]);

    for (change, why) in [("unbind", "it is a bearer token"), ("unsay", "does not say that it binds tokens to a key")] {
        let client = by_itself::with_secret("client_secret_basic");
        let provider = Provider::start(json!({"dpop": true, "clients": [client]})).await;
        let shown = json!({"client_secret": {"secret": "client"}});
        let daemon = by_itself::setup(&provider.issuer, &provider.mcp, &shown).start().await;
        daemon.logs("countersign has signed in").await;
        let mut shim = daemon.shim().await;
        assert!(by_itself::served(&mut shim, "1").await);
        provider.control(json!({"do": change})).await;
        provider.control(json!({"do": "refuse"})).await;
        assert_eq!(shim.call("2", "get_thing", json!({})).await["error"]["code"], 4513);
        let answer = shim.call("3", "get_thing", json!({})).await;
        assert_eq!(answer["error"]["code"], 4511, "{change} {answer}");
        daemon.logs(why).await;
        assert_eq!(calls(&provider).await, [true, false], "{change}");
    }
}

/// A proof that the server does not take, of a clock that is wrong, says nothing against the token.
#[tokio::test]
async fn a_refused_proof_is_not_a_refused_token() {
    let provider = Provider::start(json!({"dpop": true})).await;
    let daemon = daemon(&provider, &json!({})).await;
    signed_in(daemon.config()).await;
    let mut shim = daemon.shim().await;
    assert!(words(&shim.call("1", "get_thing", json!({})).await).starts_with("as operator"));
    provider.control(json!({"do": "disprove"})).await;
    for id in ["2", "3"] {
        let answer = shim.call(id, "get_thing", json!({})).await;
        assert_eq!(answer["error"]["code"], 4511, "{answer}");
        assert!(words(&answer).contains("not carried out"), "{answer}");
    }
    daemon.logs("check this machine's clock").await;
    assert_eq!(provider.granted("refresh_token").await, 0);
    assert_eq!(status(&daemon).await["state"], "signed_in");
}
