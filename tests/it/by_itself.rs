//! Servers that Countersign signs in at by itself, as a client of its own: against a real authorization server, and
//! against one that means no good.

use std::path::Path;

use countersign::control::wire::{SignInState, SignInView};
use serde_json::{Value, json};

use crate::harness::daemon::{ALLOW_ALL, SERVER};
use crate::harness::sign_in::{CLIENT_SECRET, Provider, auth, key_pair};
use crate::harness::{Countersign, Daemon, Shim, hello, request, within};
use crate::hostile_oauth::{Spoil, web};
use crate::oauth::{files, words};
use crate::secrets;

const CLIENT: &str = "countersign-alone";

/// The client as the authorization server has it.
fn registered(method: &str, more: Value) -> Value {
    let mut client = json!({
        "client_id": CLIENT, "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": [],
        "token_endpoint_auth_method": method,
    });
    client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client
}

pub fn with_secret(method: &str) -> Value {
    registered(method, json!({"client_secret": CLIENT_SECRET}))
}

/// A daemon that signs in at this issuer for this server, with `shown` as what shows who the client is.
pub fn setup(issuer: &str, url: &str, shown: &Value) -> Countersign {
    let mut oauth = json!({"grant": "client_credentials", "client_id": CLIENT, "issuer": issuer});
    oauth.as_object_mut().unwrap().extend(shown.as_object().unwrap().clone());
    let http = json!({"url": url, "allow_plain_http": true, "auth": {"oauth": oauth}});
    Countersign::with_policy(ALLOW_ALL)
        .set("/secrets/client", json!({"env": "CLIENT_SECRET"}))
        .env("CLIENT_SECRET", CLIENT_SECRET)
        .server(SERVER, json!({"environment": "sandbox", "upstream": {"http": http}}))
}

fn secret() -> Value {
    json!({"client_secret": {"secret": "client"}})
}

async fn in_use(mut options: Value) -> (Provider, Daemon, Shim) {
    options["clients"] = json!([with_secret("client_secret_basic")]);
    let provider = Provider::start(options).await;
    let daemon = setup(&provider.issuer, &provider.mcp, &secret()).start().await;
    let shim = daemon.shim().await;
    (provider, daemon, shim)
}

pub async fn served(shim: &mut Shim, id: &str) -> bool {
    let answer = shim.call(id, "get_thing", json!({})).await;
    words(&answer).starts_with(&format!("as {CLIENT}, token [secret:oauth.fixture], sum "))
}

async fn status(config: &Path) -> (i32, Value) {
    let (code, said, _) = auth(config, &["status", "--output", "json"]).await;
    (code, serde_json::from_str::<Value>(&said).unwrap()["sign_ins"][0].clone())
}

pub async fn stands(daemon: &Daemon, state: SignInState) -> SignInView {
    let of = |daemon: &countersign::control::wire::Daemon| daemon.servers[0].sign_in.clone().unwrap();
    let console = daemon.console().await;
    of(&console.until_daemon("the sign-in to stand so", |daemon| of(daemon).state == state).await)
}

#[tokio::test]
async fn it_shows_who_it_is_by_a_secret_or_by_what_its_key_signs() {
    for (method, kind) in [
        ("client_secret_basic", None),
        ("client_secret_post", None),
        ("private_key_jwt", Some("ec")),
        ("private_key_jwt", Some("ed25519")),
        ("private_key_jwt", Some("rsa")),
    ] {
        let own = tempfile::tempdir().unwrap();
        let file = own.path().join("client.pem");
        let (client, shown, key) = match kind {
            None => (with_secret(method), secret(), CLIENT_SECRET.to_owned()),
            Some(kind) => {
                let (pem, mut public) = key_pair(kind).await;
                public["kid"] = json!("k1");
                secrets::write(&file, &pem);
                let shown = json!({"private_key": {"secret": "key"}, "key_id": "k1"});
                (registered(method, json!({"jwks": {"keys": [public]}})), shown, pem)
            }
        };
        let provider = Provider::start(json!({"clients": [client], "noRegistration": true, "only": method})).await;
        let mut setup = setup(&provider.issuer, &provider.mcp, &shown);
        if kind.is_some() {
            setup = setup.set("/secrets/key", json!({"file": file}));
        }
        let daemon = setup.start().await;
        daemon.logs("countersign has signed in").await;
        let mut shim = daemon.shim().await;
        assert!(served(&mut shim, "1").await && served(&mut shim, "2").await, "{method} {kind:?}");
        assert_eq!(provider.granted("client_credentials").await, 1, "{method} {kind:?}");
        let view = stands(&daemon, SignInState::SignedIn).await;
        assert!(view.by_itself && view.renewed && view.until.is_some(), "{view:?}");

        // The token went to the server alone and is kept in mind alone, and what shows who it is stayed.
        let tokens = provider.tokens().await;
        let [token] = &tokens[..] else { panic!("{tokens:?}") };
        let mut kept = Vec::new();
        files(&daemon.state_dir(), &mut kept);
        kept.push(("the client's traffic".to_owned(), shim.traffic()));
        kept.push(("the log".to_owned(), daemon.log().into_bytes()));
        kept.push(("the server".to_owned(), provider.control(json!({"do": "seen"})).await.to_string().into_bytes()));
        assert!(!kept.iter().any(|(name, _)| name.ends_with(".sealed")), "nothing is written down");
        let tail = &token.as_bytes()[token.len() - 24..];
        let line = key.lines().nth(1).unwrap_or(&key).as_bytes();
        for (name, bytes) in kept {
            let holds = |piece: &[u8]| bytes.windows(piece.len()).any(|part| part == piece);
            assert!(name == "the server" || !holds(tail), "{name} holds a part of the token");
            assert!(!holds(line), "{name} holds what shows who the client is");
        }
    }
}

#[tokio::test]
async fn a_private_key_that_cannot_sign_is_not_taken() {
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("client.pem");
    let (pem, public) = key_pair("ec").await;
    let client = registered("private_key_jwt", json!({"jwks": {"keys": [public]}}));
    let provider = Provider::start(json!({"clients": [client]})).await;
    let setup = setup(&provider.issuer, &provider.mcp, &json!({"private_key": {"secret": "key"}}));
    let setup = setup.set("/secrets/key", json!({"file": file}));
    secrets::write(&file, "sk_not_a_private_key_4hWq8");
    let (status, said) = setup.refuses().await;
    assert!(!status.success() && said.contains("`key`: it is no private key in PEM"), "{said}");

    secrets::write(&file, &pem);
    let setup = self::setup(&provider.issuer, &provider.mcp, &json!({"private_key": {"secret": "key"}}));
    let daemon = setup.set("/secrets/key", json!({"file": file})).start().await;
    let mut shim = daemon.shim().await;
    assert!(served(&mut shim, "1").await);
    secrets::write(&file, "sk_not_a_private_key_4hWq8");
    daemon.logs("it is no private key in PEM").await;
    provider.control(json!({"do": "refuse"})).await;
    assert!(!shim.call("2", "get_thing", json!({})).await["error"].is_null());
    assert!(served(&mut shim, "3").await, "the one before it stays");
}

#[tokio::test]
async fn nobody_has_to_sign_in_and_the_commands_say_so() {
    let (_provider, mut daemon, mut shim) = in_use(json!({})).await;
    assert!(served(&mut shim, "1").await);
    assert!(!daemon.log().contains("sign-in is needed"));
    let (code, stands) = status(daemon.config()).await;
    assert_eq!((code, &stands["state"], &stands["by_itself"]), (0, &json!("signed_in"), &json!(true)), "{stands}");
    assert_eq!((&stands["client_id"], stands["token_expires_at"].is_string()), (&json!(CLIENT), true));
    let (code, _, said) = auth(daemon.config(), &["login", SERVER]).await;
    assert!(code == 5 && said.contains("nothing to sign in to"), "{code}: {said}");
    let (code, _, said) = auth(daemon.config(), &["logout", SERVER]).await;
    assert!(code == 0 && said.contains("countersign signs in there by itself"), "{code}: {said}");
    let (said, code) = daemon.run(&["session", "ls"]).await;
    assert!(code == 0 && said.contains("server fixture: signed in by itself, the token until "), "{said}");
    daemon.stop().await;
    let (code, stands) = status(daemon.config()).await;
    assert_eq!((code, &stands["state"]), (0, &json!("by_itself")), "{stands}");
}

#[tokio::test]
async fn a_token_is_had_again_before_it_ends_and_once_for_all() {
    let (provider, daemon, first) = in_use(json!({"ttl": 16})).await;
    let mut shims = vec![first];
    for _ in 0..3 {
        shims.push(daemon.shim().await);
    }
    let before = provider.granted("client_credentials").await;
    within("another token", async {
        while provider.granted("client_credentials").await == before {
            for shim in &mut shims {
                let answer = shim.call("x", "get_thing", json!({})).await;
                // On a slow machine its time may be over on the way.
                let late = answer["error"]["code"] == 4513;
                assert!(late || words(&answer).starts_with("as countersign-alone"), "{answer}");
            }
        }
    })
    .await;
    let tokens = provider.tokens().await.len();
    assert!(provider.granted("client_credentials").await <= tokens + 2, "each made a token of its own");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_a_session_begins_with_another() {
    let (provider, daemon, mut shim) = in_use(json!({})).await;
    assert!(served(&mut shim, "1").await);
    provider.control(json!({"do": "refuse"})).await;
    let mut second = daemon.shim().await;
    assert!(served(&mut second, "1").await);
    assert_eq!(provider.granted("client_credentials").await, 2);
    // One that is refused as soon as it is given is not asked for over and over.
    for id in ["4", "5", "6"] {
        provider.control(json!({"do": "refuse"})).await;
        assert!(!shim.call(id, "get_thing", json!({})).await["error"].is_null());
    }
    assert!(provider.granted("client_credentials").await <= 3);
}

#[tokio::test]
async fn a_client_that_was_taken_back_is_said_to_the_operator_and_to_nobody_else() {
    let (provider, daemon, mut shim) = in_use(json!({})).await;
    assert!(served(&mut shim, "1").await);
    provider.control(json!({"do": "forget", "client": CLIENT})).await;
    // Its token counts on until it ends or is refused.
    assert!(served(&mut shim, "2").await);
    provider.control(json!({"do": "refuse"})).await;
    let mut answer = shim.call("3", "get_thing", json!({})).await;
    if answer["error"]["code"] == 4513 {
        answer = shim.call("4", "get_thing", json!({})).await;
    }
    assert_eq!(answer["error"]["code"], 4511, "{answer}");
    let said = words(&answer);
    assert!(said.contains("not sent") && said.contains("countersign cannot sign in"), "{said}");
    assert!(!answer.to_string().contains("invalid_client") && !said.contains("auth login"), "{answer}");
    daemon.logs("countersign cannot sign in at the server").await;
    assert!(daemon.log().contains("invalid_client") && !daemon.log().contains("sign-in is needed"));
    let view = stands(&daemon, SignInState::Failed).await;
    assert!(view.reason.as_ref().unwrap().contains("invalid_client"), "{view:?}");
    let (code, stands) = status(daemon.config()).await;
    assert_eq!((code, &stands["state"]), (1, &json!("failed")), "{stands}");
    // It is not asked again for each call.
    let asked = daemon.log().matches("invalid_client").count();
    assert!(!shim.call("5", "get_thing", json!({})).await["error"].is_null());
    assert_eq!(daemon.log().matches("invalid_client").count(), asked);
    assert_eq!(provider.granted("client_credentials").await, 1);
}

#[tokio::test]
async fn a_call_that_wants_more_asks_for_nothing_by_itself() {
    let (provider, _daemon, mut shim) = in_use(json!({})).await;
    let refused = shim.call("1", "get_more", json!({})).await;
    assert_eq!(refused["error"]["code"], 4511, "{refused}");
    assert!(words(&refused).contains("in the configuration") && !refused.to_string().contains("write"), "{refused}");
    assert!(served(&mut shim, "2").await);
    assert!(!shim.call("3", "get_more", json!({})).await["error"].is_null());
    assert_eq!(provider.granted("client_credentials").await, 1);
    let wide = json!({"client_secret": {"secret": "client"}, "scopes": ["read", "write"]});
    let daemon = setup(&provider.issuer, &provider.mcp, &wide).start().await;
    let answer = daemon.shim().await.call("1", "get_more", json!({})).await;
    assert!(words(&answer).starts_with("as countersign-alone"), "{answer}");
}

#[tokio::test]
async fn another_issuer_is_shown_nothing() {
    let (provider, daemon, mut shim) = in_use(json!({})).await;
    let other = Provider::start(json!({"clients": [with_secret("client_secret_basic")]})).await;
    assert!(served(&mut shim, "1").await);
    provider.control(json!({"do": "issuer", "issuer": other.issuer})).await;
    provider.control(json!({"do": "refuse"})).await;
    let mut answer = shim.call("2", "get_thing", json!({})).await;
    if answer["error"]["code"] == 4513 {
        answer = shim.call("3", "get_thing", json!({})).await;
    }
    assert_eq!(answer["error"]["code"], 4511, "{answer}");
    daemon.logs(&format!("is {}, and the configuration pins {}", other.issuer, provider.issuer)).await;
    assert_eq!(other.control(json!({"do": "granted"})).await, json!([]));
}

/// A server whose authorization server it is itself, as everywhere in the hostile tests: what is sent where.
#[tokio::test]
async fn what_shows_who_it_is_goes_to_the_token_endpoint_of_its_issuer_alone() {
    let issuer =
        |name: &'static str, value: Value| -> Box<Spoil> { Box::new(move |_, _, issuer| issuer[name] = value.clone()) };
    let cases: Vec<(&str, Box<Spoil>, &str)> = vec![
        ("in the clear", issuer("token_endpoint", json!("http://evil.example/token")), "token endpoint cannot be used"),
        ("in the network", issuer("token_endpoint", json!("https://10.0.0.1/token")), "is not a public address"),
        ("a cloud", issuer("token_endpoint", json!("https://169.254.169.254/token")), "is not a public address"),
        ("with a user", issuer("token_endpoint", json!("https://a:b@auth.example/")), "has a user in it"),
        ("no way for secrets", issuer("token_endpoint_auth_methods_supported", json!(["none"])), "takes no secrets"),
        ("another issuer", issuer("issuer", json!("https://other.example")), "issuer mismatch"),
        (
            "another resource",
            Box::new(|_, resource, _| resource["resource"] = json!("https://other.example/mcp")),
            "resource mismatch",
        ),
        (
            "forged",
            Box::new(|base, resource, issuer| {
                issuer["token_endpoint"] = json!(format!("{base}/given"));
                resource["authorization_servers"] = json!([format!("{base}/.well-known/x")]);
            }),
            "where it does not publish them",
        ),
        (
            "a page with another resource",
            Box::new(|base, _, issuer| {
                let page = format!("{base}/authorize?resource=https://other.example/mcp");
                issuer["authorization_endpoint"] = json!(page);
            }),
            "a `resource` of its own",
        ),
        ("no token endpoint", issuer("token_endpoint", Value::Null), "none published usable"),
    ];
    for (name, spoil, why) in cases {
        let web = web(spoil).await;
        let base = format!("http://{}", web.address);
        let daemon = setup(&base, &format!("{base}/mcp"), &secret()).start().await;
        daemon.logs(why).await;
        let mut shim = daemon.raw_shim();
        shim.send(&request(0, "initialize", hello())).await;
        assert!(!shim.answer(0).await["error"].is_null(), "{name}");
        for asked in web.asked() {
            assert!(asked.header("authorization").is_empty() && !asked.text().contains("secret"), "{name}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn a_redirect_of_the_token_endpoint_is_not_followed() {
    let web = web(Box::new(|base, _, issuer| {
        issuer["token_endpoint"] = json!(format!("{base}/moved"));
        issuer["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
    }))
    .await;
    let base = format!("http://{}", web.address);
    let daemon = setup(&base, &format!("{base}/mcp"), &secret()).start().await;
    daemon.logs("answers 307").await;
    let lines: Vec<String> = web.asked().iter().map(crate::harness::web::Asked::line).collect();
    assert!(
        lines.contains(&"POST /moved".to_owned()) && !lines.iter().any(|line| line.contains("elsewhere")),
        "{lines:?}"
    );
}

/// The assertion of a workload, which is made by somebody else and stands in a file.
#[tokio::test]
async fn an_assertion_is_read_again_when_it_changes_and_goes_to_its_issuer() {
    const FIRST: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJmaXJzdCJ9.c2lnbmF0dXJlLW9uZQ";
    const SECOND: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzZWNvbmQifQ.c2lnbmF0dXJlLXR3bw";
    let web = web(Box::new(|base, _, issuer| issuer["token_endpoint"] = json!(format!("{base}/given")))).await;
    let base = format!("http://{}", web.address);
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("assertion");
    secrets::write(&file, FIRST);
    let oauth = json!({"grant": "jwt_bearer", "issuer": base, "assertion": {"secret": "workload"}, "scopes": ["read"]});
    let http = json!({"url": format!("{base}/mcp"), "allow_plain_http": true, "auth": {"oauth": oauth}});
    let daemon = Countersign::with_policy(ALLOW_ALL)
        .set("/secrets/workload", json!({"file": file}))
        .server(SERVER, json!({"environment": "sandbox", "upstream": {"http": http}}))
        .start()
        .await;
    daemon.logs("invalid_grant").await;
    let view = stands(&daemon, SignInState::Failed).await;
    assert!(view.by_itself && view.reason.unwrap().contains("invalid_grant"));
    secrets::write(&file, SECOND);
    daemon.logs("a new key is in use").await;
    let mut shim = daemon.raw_shim();
    shim.send(&request(0, "initialize", hello())).await;
    daemon.logs("countersign has signed in").await;
    let asked: Vec<String> =
        web.asked().iter().filter(|asked| asked.uri == "/given").map(|asked| asked.text()).collect();
    assert!(asked.len() >= 2, "{asked:?}");
    for (asked, assertion) in asked.iter().zip([FIRST, SECOND]) {
        let pairs: Vec<_> = url::form_urlencoded::parse(asked.as_bytes()).into_owned().collect();
        let mcp = format!("{base}/mcp");
        let expected = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("resource", &mcp),
            ("scope", "read"),
            ("assertion", assertion),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs, expected);
    }
    assert!(!daemon.log().contains("c2lnbmF0dXJl"), "{}", daemon.log());
}
