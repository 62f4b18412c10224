//! Servers that an operator signs in at, against a real authorization server: who gets a token, for how long it counts,
//! and that nobody but the server ever sees it.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::daemon::{ALLOW_ALL, SERVER};
use crate::harness::sign_in::{CLIENT_SECRET, Person, Provider, auth, login, signed_in};
use crate::harness::web::{Answer, Asked, Web};
use crate::harness::{Countersign, Daemon, Shim, hello, request, within};

async fn daemon(provider: &Provider) -> Daemon {
    Countersign::with_policy(ALLOW_ALL).server(SERVER, provider.server(json!("oauth"))).start().await
}

/// The words of an answer, whether it is a result or an error.
pub fn words(answer: &Value) -> String {
    let text = answer.pointer("/result/content/0/text").or(answer.pointer("/error/message"));
    text.and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn status(config: &Path) -> (i32, Value) {
    let (code, said, _) = auth(config, &["status", "--output", "json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["schema"], "countersign.sign_ins/v1");
    (code, said["sign_ins"][0].clone())
}

/// A daemon in front of a server that somebody has signed in to, and a client of it.
async fn in_use(options: Value) -> (Provider, Daemon, Shim) {
    let provider = Provider::start(options).await;
    let daemon = daemon(&provider).await;
    signed_in(daemon.config()).await;
    let shim = daemon.shim().await;
    (provider, daemon, shim)
}

/// Every file of a folder, in bytes.
pub fn files(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.is_file() {
            into.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_before_somebody_signs_in_and_a_running_daemon_notices() {
    let provider = Provider::start(json!({})).await;
    let daemon = daemon(&provider).await;
    daemon.logs("sign-in is needed: countersign auth login fixture").await;
    let mut shim = daemon.raw_shim();
    shim.send(&request(0, "initialize", hello())).await;
    let refused = shim.answer(0).await;
    assert_eq!(refused["error"]["code"], 4512, "{refused}");
    assert!(words(&refused).contains("not sent") && words(&refused).contains("countersign auth login fixture"));
    assert_eq!(provider.control(json!({"do": "seen"})).await, json!([]));
    assert_eq!(status(daemon.config()).await.0, 4);

    signed_in(daemon.config()).await;
    let mut shim = daemon.shim().await;
    let answer = shim.call("1", "get_thing", json!({})).await;
    assert!(words(&answer).starts_with("as operator, token [secret:oauth.fixture], sum "), "{answer}");
    let (code, stands) = status(daemon.config()).await;
    assert_eq!((code, &stands["state"], &stands["client"]), (0, &json!("signed_in"), &json!("dynamic")));
    assert_eq!((&stands["issuer"], &stands["resource"]), (&json!(provider.issuer), &json!(provider.mcp)));

    // The token went to the server alone, and lies nowhere in the clear.
    let tokens = provider.tokens().await;
    let [token] = &tokens[..] else { panic!("{tokens:?}") };
    let mut kept = Vec::new();
    files(&daemon.state_dir(), &mut kept);
    kept.push(("the client's traffic".to_owned(), shim.traffic()));
    kept.push(("the log".to_owned(), daemon.log().into_bytes()));
    assert!(kept.iter().any(|(name, _)| name.ends_with("oauth/fixture.sealed")), "{}", kept.len());
    for (name, bytes) in kept {
        assert!(!bytes.windows(token.len()).any(|piece| piece == token.as_bytes()), "{name} holds the token");
        let tail = &token.as_bytes()[token.len() - 24..];
        assert!(!bytes.windows(tail.len()).any(|piece| piece == tail), "{name} holds a part of the token");
    }
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(daemon.state_dir().join(path)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("oauth"), mode("oauth/fixture.sealed"), mode("oauth.key")), (0o700, 0o600, 0o600));
    // No client's token goes on to the server, and the server's challenge to no client.
    let seen = provider.control(json!({"do": "seen"})).await.to_string();
    assert!(!seen.contains(crate::harness::daemon::TOKEN));
}

#[tokio::test]
async fn a_token_is_renewed_once_for_all_who_need_it() {
    // Long enough that a second is left when it is renewed: a fifth of its life.
    let provider = Provider::start(json!({"ttl": 5})).await;
    let daemon = daemon(&provider).await;
    signed_in(daemon.config()).await;
    let mut shims = Vec::new();
    for _ in 0..6 {
        shims.push(daemon.shim().await);
    }
    let renewed = async |shim: &mut Shim, times: usize| {
        within("the token to be renewed", async {
            let mut id = 0;
            while provider.granted("refresh_token").await < times {
                id += 1;
                let answer = shim.call(&id.to_string(), "get_thing", json!({})).await;
                // On a slow machine its time may be over on the way.
                let late = answer["error"]["code"] == 4513;
                assert!(words(&answer).starts_with("as operator") || late, "{answer}");
            }
        })
        .await
    };
    renewed(&mut shims[0], 1).await;
    // The refresh token has changed with it (the server takes each once): the next renewal uses the new one.
    renewed(&mut shims[0], 2).await;
    let before = provider.granted("refresh_token").await;
    provider.control(json!({"do": "refuse"})).await;
    let refused = shims[0].call("1", "get_thing", json!({})).await;
    // It may have been renewed a moment before, because its time was over.
    assert!(refused["error"].is_null() || refused["error"]["code"] == 4513, "{refused}");
    let calls = shims.iter_mut().map(|shim| shim.call("2", "get_thing", json!({})));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| words(answer).starts_with("as operator")), "{answers:?}");
    assert!(provider.granted("refresh_token").await <= before + 2, "each made a token of its own");
}

#[tokio::test]
async fn a_call_whose_token_is_refused_is_not_sent_again_and_the_next_has_a_new_one() {
    let (provider, _daemon, mut shim) = in_use(json!({})).await;
    assert!(words(&shim.call("1", "get_thing", json!({})).await).starts_with("as operator"));
    provider.control(json!({"do": "refuse"})).await;
    let refused = shim.call("2", "get_thing", json!({})).await;
    assert_eq!(refused["error"]["code"], 4513, "{refused}");
    assert!(words(&refused).contains("not carried out") && words(&refused).contains("Retry it once"), "{refused}");
    assert!(!refused.to_string().contains("secret-realm"), "the server's challenge: {refused}");
    assert!(words(&shim.call("3", "get_thing", json!({})).await).starts_with("as operator"));
    assert_eq!(provider.granted("refresh_token").await, 1);
    let seen = provider.control(json!({"do": "seen"})).await;
    let calls = seen.as_array().unwrap().iter().filter(|seen| seen["body"].as_str().unwrap().contains("tools/call"));
    assert_eq!(calls.count(), 3, "each was sent once");
    // A new token that is refused too is not renewed over and over.
    for id in ["4", "5", "6"] {
        provider.control(json!({"do": "refuse"})).await;
        assert!(!shim.call(id, "get_thing", json!({})).await["error"].is_null());
    }
    assert!(provider.granted("refresh_token").await <= 2);
}

/// The refresh token of a renewal counts once, so what came of it is kept, if not on the disk then in mind.
#[tokio::test]
async fn a_renewed_token_that_cannot_be_written_down_is_not_thrown_away() {
    let (provider, mut daemon, mut shim) = in_use(json!({"ttl": 5})).await;
    let served = async |shim: &mut Shim| {
        let answer = shim.call("x", "get_thing", json!({})).await;
        // On a slow machine its time may be over on the way.
        assert!(words(&answer).starts_with("as operator") || answer["error"]["code"] == 4513, "{answer}");
    };
    // A folder where the new file would be made: nothing can be written.
    let blocked = daemon.state_dir().join("oauth/fixture.new");
    std::fs::create_dir(&blocked).unwrap();
    within("two renewals", async {
        while provider.granted("refresh_token").await < 2 {
            served(&mut shim).await;
        }
    })
    .await;
    daemon.logs("the token was renewed and cannot be written down").await;
    std::fs::remove_dir(&blocked).unwrap();
    within("the sign-in to be written down", async {
        while !daemon.log().contains("the renewed sign-in is written down") {
            served(&mut shim).await;
        }
    })
    .await;
    // The next daemon goes on with what was written.
    daemon.stop().await;
    let daemon = daemon.again().start().await;
    served(&mut daemon.shim().await).await;
    assert!(!daemon.log().contains("sign-in is needed"));
}

/// A code counts once: where its tokens could not be kept it is not used.
#[tokio::test]
async fn a_code_is_not_used_before_its_tokens_can_be_kept() {
    let provider = Provider::start(json!({})).await;
    let (setup, config) = alone(&provider, json!("oauth")).await;
    assert_eq!(status(&config).await.0, 4);
    let lock = setup.dir().join("state/oauth/fixture.lock");
    std::fs::create_dir(&lock).unwrap();
    let (code, said) = login(&config, Person::SignsIn).await;
    assert!(code == 1 && said.contains("fixture.lock"), "{code}: {said}");
    assert_eq!(provider.granted("authorization_code").await, 0);
    std::fs::remove_dir(&lock).unwrap();
    signed_in(&config).await;
    assert_eq!(provider.granted("authorization_code").await, 1);
}

/// What sign-ins are sealed under cannot change under them.
#[tokio::test]
async fn a_new_key_of_the_sign_ins_is_not_taken_while_the_daemon_runs() {
    let provider = Provider::start(json!({})).await;
    let own = tempfile::tempdir().unwrap();
    let seal = own.path().join("seal");
    crate::secrets::write(&seal, "seal_first_7Hq2mVx9Rt4Kd8Wz1Lp6");
    let setup = Countersign::with_policy(ALLOW_ALL).server(SERVER, provider.server(json!("oauth")));
    let setup = setup.set("/secrets/seal", json!({"file": seal})).set("/oauth", json!({"key": {"secret": "seal"}}));
    let mut daemon = setup.start().await;
    signed_in(daemon.config()).await;
    let mut shim = daemon.shim().await;
    crate::secrets::write(&seal, "seal_second_3Bn5cGy8Jf2Ts7Pe0Ua4");
    daemon.logs("to take it, restart and sign in again at every server").await;
    assert!(words(&shim.call("1", "get_thing", json!({})).await).starts_with("as operator"));
    daemon.stop().await;
    assert_eq!(crate::secrets::kinds_of(&daemon, "secret_rotated").await, Vec::<Value>::new());
    assert_eq!(crate::secrets::kinds_of(&daemon, "secret_kept").await.len(), 1);
}

/// A client does not come back after its first request has failed.
#[tokio::test]
async fn a_session_begins_although_its_token_was_revoked_early() {
    let (provider, daemon, mut shim) = in_use(json!({})).await;
    assert!(words(&shim.call("1", "get_thing", json!({})).await).starts_with("as operator"));
    provider.control(json!({"do": "refuse"})).await;
    let mut second = daemon.shim().await;
    assert!(words(&second.call("1", "get_thing", json!({})).await).starts_with("as operator"));
    assert_eq!(provider.granted("refresh_token").await, 1);
    let begun = async || {
        let seen = provider.control(json!({"do": "seen"})).await;
        let bodies = seen.as_array().unwrap().iter().map(|seen| seen["body"].as_str().unwrap().to_owned());
        bodies.filter(|body| body.contains("\"initialize\"") && !body.contains("\"name\":\"countersign\"")).count()
    };
    assert_eq!(begun().await, 3, "one for the first, two for the second");
    // Once more, and no oftener: where the new token is refused as well the client is told.
    provider.control(json!({"do": "revoke"})).await;
    let mut third = daemon.raw_shim();
    third.send(&request(0, "initialize", hello())).await;
    let refused = third.answer(0).await;
    assert_eq!(refused["error"]["code"], 4513, "{refused}");
    assert_eq!(begun().await, 4);
}

/// What a call is told once the token is refused and no other can be had. The first to learn of it may be the call
/// itself, or a notification before it.
async fn after_a_refused_token(shim: &mut Shim) -> String {
    let mut answer = shim.call("first", "get_thing", json!({})).await;
    if answer["error"]["code"] == 4513 {
        answer = shim.call("next", "get_thing", json!({})).await;
    }
    assert_eq!(answer["error"]["code"], 4512, "{answer}");
    words(&answer)
}

#[tokio::test]
async fn a_sign_in_that_is_revoked_is_said_and_a_new_one_counts_at_once() {
    let (provider, daemon, mut shim) = in_use(json!({})).await;
    // All that begins the session is over then.
    assert!(words(&shim.call("0", "get_thing", json!({})).await).starts_with("as operator"));
    provider.control(json!({"do": "revoke"})).await;
    let refused = after_a_refused_token(&mut shim).await;
    assert!(refused.contains("auth login fixture") && !refused.contains("invalid_grant"), "{refused}");
    let (code, stands) = status(daemon.config()).await;
    assert_eq!((code, &stands["state"]), (4, &json!("sign_in_needed")));
    assert!(stands["reason"].as_str().unwrap().contains("invalid_grant"), "{stands}");
    daemon.logs("sign-in is needed: countersign auth login fixture").await;
    signed_in(daemon.config()).await;
    let answer = shim.call("b", "get_thing", json!({})).await;
    assert!(words(&answer).starts_with("as operator"), "{answer}");
}

#[tokio::test]
async fn more_is_asked_for_at_the_next_sign_in_where_the_server_wants_more() {
    let (_provider, daemon, mut shim) = in_use(json!({})).await;
    let refused = shim.call("1", "get_more", json!({})).await;
    assert_eq!(refused["error"]["code"], 4512, "{refused}");
    assert!(words(&refused).contains("covers too little") && words(&refused).contains("not carried out"), "{refused}");
    assert!(!refused.to_string().contains("write"), "the server's own words: {refused}");
    // What it covers goes on.
    assert!(words(&shim.call("2", "get_thing", json!({})).await).starts_with("as operator"));
    let (code, stands) = status(daemon.config()).await;
    assert_eq!((code, &stands["wanted_scopes"]), (0, &json!(["read", "write"])));
    signed_in(daemon.config()).await;
    assert!(words(&shim.call("3", "get_more", json!({})).await).starts_with("as operator"));
    assert_eq!(status(daemon.config()).await.1["wanted_scopes"], json!([]));
}

#[tokio::test]
async fn another_issuer_gets_no_token_and_the_operator_is_told_which() {
    let provider = Provider::start(json!({})).await;
    let other = Provider::start(json!({})).await;
    let daemon = daemon(&provider).await;
    signed_in(daemon.config()).await;
    let mut shim = daemon.shim().await;
    // All that begins the session is over then.
    assert!(words(&shim.call("0", "get_thing", json!({})).await).starts_with("as operator"));
    provider.control(json!({"do": "issuer", "issuer": other.issuer})).await;
    provider.control(json!({"do": "refuse"})).await;
    let refused = after_a_refused_token(&mut shim).await;
    assert!(refused.contains("auth login fixture") && !refused.contains(&other.issuer), "{refused}");
    let changed = format!("has changed from {} to {}", provider.issuer, other.issuer);
    daemon.logs(&changed).await;
    assert_eq!(other.control(json!({"do": "granted"})).await, json!([]));
    let (code, stands) = status(daemon.config()).await;
    assert!(code == 4 && stands["reason"].as_str().unwrap().contains(&changed), "{stands}");
}

/// The server has forged metadata of the right issuer, for a renewal and for the end of the sign-in.
#[tokio::test]
async fn forged_metadata_of_the_right_issuer_get_no_token() {
    let (provider, daemon, mut shim) = in_use(json!({})).await;
    assert!(words(&shim.call("0", "get_thing", json!({})).await).starts_with("as operator"));
    let issuer = provider.issuer.clone();
    let evil = Web::start(move |asked: Asked| {
        let at = format!("http://{}", asked.header("host"));
        let forged = json!({
            "issuer": issuer, "authorization_endpoint": format!("{at}/authorize"), "token_endpoint": format!("{at}/token"),
            "revocation_endpoint": format!("{at}/revoke"), "code_challenge_methods_supported": ["S256"],
        });
        async move { Answer::json(&forged) }
    })
    .await;
    let named = format!("http://{}/.well-known/x", evil.address);
    provider.control(json!({"do": "issuer", "issuer": named})).await;
    provider.control(json!({"do": "refuse"})).await;
    for id in ["1", "2"] {
        assert!(!shim.call(id, "get_thing", json!({})).await["error"].is_null());
    }
    daemon.logs("where it does not publish them").await;
    let (code, _, said) = auth(daemon.config(), &["logout", SERVER]).await;
    assert!(said.contains("where it does not publish them"), "{code}: {said}");
    let asked: Vec<String> = evil.asked().iter().map(Asked::line).collect();
    assert!(!asked.is_empty() && asked.iter().all(|line| line == "GET /.well-known/x"), "{asked:?}");
}

#[tokio::test]
async fn signing_out_revokes_and_a_running_daemon_notices() {
    let (provider, daemon, mut shim) = in_use(json!({})).await;
    assert!(words(&shim.call("1", "get_thing", json!({})).await).starts_with("as operator"));
    let (code, _, said) = auth(daemon.config(), &["logout", SERVER]).await;
    assert!(code == 0 && said.contains("its tokens are revoked"), "{said}");
    assert!(provider.granted("revocation").await >= 1);
    assert_eq!(shim.call("2", "get_thing", json!({})).await["error"]["code"], 4512);
    assert!(!daemon.state_dir().join("oauth/fixture.sealed").exists());
    let (code, _, said) = auth(daemon.config(), &["logout", SERVER]).await;
    assert!(code == 0 && said.contains("nobody was signed in"), "{said}");
}

/// A sign-in with nothing but the configuration.
async fn alone(provider: &Provider, auth: Value) -> (Countersign, std::path::PathBuf) {
    let setup = Countersign::with_policy(ALLOW_ALL)
        .set("/secrets/client", json!({"env": "CLIENT_SECRET"}))
        .server(SERVER, provider.server(auth));
    let config = setup.write();
    (setup, config)
}

#[tokio::test]
async fn metadata_is_found_wherever_it_may_be() {
    for options in [
        json!({"prm": "path", "metadata": "oauth"}),
        json!({"prm": "root", "metadata": "oidc"}),
        json!({"prm": "challenge", "unquoted": true}),
        json!({"path": true, "metadata": "oauth"}),
        json!({"path": true, "metadata": "oidc", "unquoted": true}),
    ] {
        let provider = Provider::start(options.clone()).await;
        let (_setup, config) = alone(&provider, json!("oauth")).await;
        let (code, said) = login(&config, Person::SignsIn).await;
        assert_eq!(code, 0, "{options}: {said}");
    }
}

#[tokio::test]
async fn a_client_may_be_registered_or_described_by_a_document() {
    let redirect = "http://127.0.0.1:8399/callback";
    let client = |method: &str| {
        json!({
            "client_id": "countersign-here", "client_secret": CLIENT_SECRET, "redirect_uris": [redirect],
            "application_type": "native", "token_endpoint_auth_method": method,
            "grant_types": ["authorization_code", "refresh_token"],
        })
    };
    for method in ["client_secret_basic", "client_secret_post"] {
        let provider =
            Provider::start(json!({"clients": [client(method)], "noRegistration": true, "only": method})).await;
        let oauth =
            json!({"client_id": "countersign-here", "client_secret": {"secret": "client"}, "issuer": provider.issuer});
        let (_setup, config) = alone(&provider, json!({"oauth": oauth})).await;
        let (code, said) = login(&config, Person::SignsIn).await;
        assert_eq!(code, 0, "{method}: {said}");
        assert_eq!(status(&config).await.1["client"], "registered");
    }
    let document = "https://operator.example/countersign.json";
    let documents = json!({document: {
        "redirect_uris": [redirect], "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"],
    }});
    let provider = Provider::start(json!({"documents": documents, "noRegistration": true})).await;
    let (_setup, config) = alone(&provider, json!({"oauth": {"client_metadata_url": document}})).await;
    let (code, said) = login(&config, Person::SignsIn).await;
    assert_eq!(code, 0, "{said}");
    let (_, stands) = status(&config).await;
    assert_eq!((&stands["client"], &stands["client_id"]), (&json!("document"), &json!(document)));
}

#[tokio::test]
async fn an_answer_from_elsewhere_is_no_answer() {
    let provider = Provider::start(json!({})).await;
    let (_setup, config) = alone(&provider, json!("oauth")).await;
    let encoded = provider.issuer.replace(':', "%3A").replace('/', "%2F");
    type Change<'a> = &'a (dyn Fn(&str) -> String + Sync);
    let cases: [(Change<'_>, &str); 6] = [
        (&|url| url.replace("state=", "state=x"), "another sign-in"),
        (&|url| url.replace(&encoded, "https%3A%2F%2Fevil.example"), "evil.example"),
        (&|url| format!("{url}&code=other"), "twice"),
        (&|url| url.replace("code=", "x="), "no code"),
        (&|url| url.replace("127.0.0.1", "evil.example"), "not an address that the sign-in ends at"),
        (&|url| url.replace("code=", "error=access_denied&x="), "refused: access_denied"),
    ];
    for (change, why) in cases {
        let (code, said) = login(&config, Person::Pastes(change)).await;
        assert!(code == 4 && said.contains(why), "{why}: {code} {said}");
        assert_eq!(status(&config).await.0, 4, "{why}");
    }
    assert_eq!(provider.granted("authorization_code").await, 0);
    // And the right one counts.
    let (code, said) = login(&config, Person::Pastes(&str::to_owned)).await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test]
async fn a_sign_in_is_for_the_address_and_the_issuer_of_the_configuration() {
    let provider = Provider::start(json!({})).await;
    let (setup, config) = alone(&provider, json!("oauth")).await;
    signed_in(&config).await;
    let pinned = |issuer: &str| json!({"oauth": {"issuer": issuer}});
    let setup = setup.server(SERVER, provider.server(pinned("https://other.example")));
    setup.write();
    let (code, stands) = status(&config).await;
    assert!(code == 4 && stands["reason"].as_str().unwrap().contains("pins https://other.example"), "{stands}");
    let (code, said) = login(&config, Person::SignsIn).await;
    assert!(code == 1 && said.contains("pins https://other.example"), "{said}");
    let mut moved = provider.server(json!("oauth"));
    moved["upstream"]["http"]["url"] = json!(format!("{}/other", provider.mcp));
    let setup = setup.server(SERVER, moved);
    setup.write();
    let (code, stands) = status(&config).await;
    assert!(code == 4 && stands["reason"].as_str().unwrap().contains("address has changed"), "{stands}");
}
