//! Cases about tokens that an issuer signs: whatever is bent is refused before the body is read, in one and the same
//! way, and nothing of it is written anywhere.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::daemon::{OTHER_TOKEN, SERVER, TOKEN};
use crate::harness::http::{HttpClient, Reply};
use crate::harness::issuer::{AUDIENCE, ISSUER, Issuer, KID, base64url, now};
use crate::harness::web::{Answer, Web};
use crate::harness::{Countersign, Daemon, Spy, call, request};
use crate::http::{Scene, stateless};

async fn scene(issuer: &Issuer) -> Scene {
    Scene::with(|countersign| issuer.trusted(countersign)).await
}

async fn send(scene: &Scene, token: &str) -> Reply {
    scene.raw(stateless(&call(1, "get_balance", json!({}))).replace(TOKEN, token)).await.unwrap()
}

/// Refuses all of them alike; the good one is taken, so that the check can fail.
async fn all_are_refused(issuer: Issuer, tokens: Vec<String>) {
    let mut scene = scene(&issuer).await;
    let mut bodies = HashSet::new();
    for token in &tokens {
        let mut reply = send(&scene, token).await;
        assert_eq!(reply.status, 401, "{token}");
        assert!(reply.headers["www-authenticate"].ends_with("error=\"invalid_token\""), "{reply:?}");
        bodies.insert(reply.text().await);
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(scene.spy.all_calls(), 0);
    let mut good = send(&scene, &issuer.token(&json!({}))).await;
    assert_eq!(good.answer(1).await["result"]["content"][0]["text"], "done: get_balance");
    scene.daemon.stop().await;
    let written = format!("{}{}", scene.daemon.log(), json!(scene.daemon.records().await));
    for token in &tokens {
        let parts = token.split('.').filter(|part| part.len() > 20);
        assert!(parts.into_iter().all(|part| !written.contains(part)), "{token}");
    }
    assert!(written.contains("its algorithm is none") || written.contains("refused by countersign: a bearer token:"));
    assert!(scene.spy.bytes().windows(20).all(|bytes| bytes != &issuer.token(&json!({})).as_bytes()[..20]));
}

/// No signature, a signature that anyone can make, a key that the token brings along.
#[tokio::test]
async fn ses_020() {
    let issuer = Issuer::new();
    let payload = Issuer::payload(&json!({})).to_string();
    let mut tokens = Vec::new();
    for alg in ["none", "None", "NONE", "HS256", "HS384", "", "ES256K", "ES512"] {
        let signed = format!("{}.{}", base64url(json!({"alg": alg, "kid": KID}).to_string()), base64url(&payload));
        tokens.push(format!("{signed}."));
        // The published key as a shared one, in each spelling that somebody might have loaded it in.
        for secret in [issuer.point().to_vec(), issuer.jwk().to_string().into_bytes(), Vec::new()] {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
            tokens.push(format!("{signed}.{}", base64url(ring::hmac::sign(&key, signed.as_bytes()))));
        }
    }
    // Signed well, by a key that is nobody's.
    let stranger = Issuer::new();
    tokens.push(stranger.token(&json!({})));
    for header in [
        json!({"alg": "ES256", "kid": KID, "jwk": stranger.jwk()}),
        json!({"alg": "ES256", "jwk": stranger.jwk()}),
        json!({"alg": "ES256", "kid": KID, "jku": "https://evil.example/jwks.json"}),
        json!({"alg": "ES256", "kid": KID, "x5u": "https://evil.example/key.pem"}),
        json!({"alg": "ES256", "kid": KID, "x5c": ["MIIB"]}),
    ] {
        tokens.push(stranger.token_of(&header.to_string(), &payload));
        tokens.push(issuer.token_of(&header.to_string(), &payload));
    }
    for header in [
        json!({"alg": "ES256", "kid": KID, "crit": ["x"], "x": 1}),
        json!({"alg": "ES256", "kid": KID, "b64": false, "crit": ["b64"]}),
        json!({"alg": "ES256", "kid": KID, "typ": "dpop+jwt"}),
        json!({"alg": "ES256", "kid": KID, "cty": "JWT"}),
    ] {
        tokens.push(issuer.token_of(&header.to_string(), &payload));
    }
    // A token in a token.
    let head = json!({"alg": "ES256", "kid": KID, "typ": "JWT"}).to_string();
    tokens.push(issuer.token_of(&head, &issuer.token(&json!({}))));
    tokens.push(issuer.token_of(&head, &json!(issuer.token(&json!({}))).to_string()));
    all_are_refused(issuer, tokens).await;
}

/// Claims that are missing, wrong, or of another type than they should be.
#[tokio::test]
async fn ses_021() {
    let issuer = Issuer::new();
    let tokens = [
        json!({"iss": null}),
        json!({"iss": "https://auth.example.com"}),
        json!({"iss": "https://\u{430}uth.example.com/"}),
        json!({"iss": [ISSUER]}),
        json!({"aud": null}),
        json!({"aud": "https://other.example"}),
        json!({"aud": []}),
        json!({"aud": [AUDIENCE, 1]}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": {"a": 1}}),
        json!({"sub": "alice\r\nX: y"}),
        json!({"exp": null}),
        json!({"exp": (now() + 600).to_string()}),
        json!({"exp": 4_102_444_800.5}),
        json!({"exp": i64::MAX}),
        json!({"exp": u64::MAX}),
        json!({"exp": now() - 1}),
        json!({"nbf": now() + 60}),
        json!({"iat": now() + 60}),
        json!({"cnf": {"jkt": "x"}}),
    ];
    let tokens = tokens.iter().map(|change| issuer.token(change)).collect();
    all_are_refused(issuer, tokens).await;
}

/// What two readers could take differently.
#[tokio::test]
async fn ses_022() {
    let issuer = Issuer::new();
    let payload = Issuer::payload(&json!({})).to_string();
    let head = json!({"alg": "ES256", "kid": KID}).to_string();
    let good = issuer.token(&json!({}));
    let mut tokens = vec![
        issuer.token_of(&format!(r#"{{"alg":"none","alg":"ES256","kid":"{KID}"}}"#), &payload),
        issuer.token_of(&format!(r#"{{"alg":"ES256","kid":"{KID}","\u0061lg":"none"}}"#), &payload),
        issuer.token_of(&format!("{head} "), &payload.replacen('{', r#"{"sub":"root","#, 1)),
        issuer.token_of(&head, &payload.replacen('{', r#"{"Sub":"root","#, 1)),
        issuer.token_of(&head, &format!("{payload}{payload}")),
        issuer.token_of(&head, &payload.replace("\"exp\":", "\"exp\":1e400,\"x\":")),
        issuer.token_of(&head, &payload.replace("\"exp\":", "\"exp\":[],\"x\":")),
        issuer.token_of(&head, "{}"),
        issuer.token_of(&head, ""),
    ];
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, body) = signed.split_once('.').unwrap();
    tokens.extend([
        format!("{good}="),
        format!("{good}."),
        format!("{good}A"),
        format!("{good}.{signature}"),
        format!("{header}=.{body}.{signature}"),
        format!("{header}.{body}.{}", signature.replace(['-', '_'], "+")).replace(&good, "x"),
        format!("{signed}.{}", base64url([0; 64])),
        format!("{signed}.{}", base64url([255; 64])),
        format!("{signed}.AA"),
        format!("{header}.{}.{signature}", base64url(payload.replace("alice", "bob"))),
        "a".repeat(20_000),
        format!("{}.{body}.{signature}", "A".repeat(4000)),
    ]);
    all_are_refused(issuer, tokens).await;
}

/// Two tokens, a good one among them: which is meant is not guessed.
#[tokio::test]
async fn ses_023() {
    let issuer = Issuer::new();
    let scene = scene(&issuer).await;
    let field = format!("Authorization: Bearer {TOKEN}\r\n");
    let signed = format!("Authorization: Bearer {}\r\n", issuer.token(&json!({})));
    let text = stateless(&call(1, "get_balance", json!({})));
    for both in [format!("{field}{signed}"), format!("{signed}{field}"), format!("{signed}{signed}")] {
        assert_eq!(scene.status(text.replace(&field, &both)).await, 400);
    }
    for one in [signed.replace("Bearer ", "DPoP "), signed.replace("Bearer ", "Bearer,"), signed.replace("Bearer ", "")]
    {
        assert_eq!(scene.status(text.replace(&field, &one)).await, 401, "{one}");
    }
    let mut reply = scene.raw(text.replace(&field, &signed.replace("Bearer", "bEARER"))).await.unwrap();
    assert!(reply.answer(1).await.get("result").is_some());
    assert_eq!(scene.spy.all_calls(), 1);
}

/// Names of keys that are paths, commands, very long, or never the same: the issuer is asked once and no more.
#[tokio::test]
async fn ses_024() {
    let issuer = Issuer::new();
    let jwks = issuer.jwks();
    let web = Web::start(move |_| {
        let answer = Answer::json(&jwks);
        async move { answer }
    })
    .await;
    let url = format!("http://{}/jwks", web.address);
    let scene =
        Scene::with(|countersign| issuer.trusted(countersign).set("/issuers/acme/jwks", json!({"url": url}))).await;
    let payload = Issuer::payload(&json!({})).to_string();
    let mut kids: Vec<Value> =
        ["../../../etc/passwd", "/dev/urandom", "k' OR '1'='1", "$(id)", "http://evil.example/", "\u{0}"]
            .into_iter()
            .map(|kid| json!(kid))
            .collect();
    kids.extend([json!("k".repeat(257)), json!(""), json!(7), Value::Null, json!([KID]), json!({"$ref": KID})]);
    kids.extend((0..200).map(|n| json!(format!("unknown-{n}"))));
    for kid in kids {
        let token = issuer.token_of(&json!({"alg": "ES256", "kid": kid}).to_string(), &payload);
        assert_eq!(send(&scene, &token).await.status, 401, "{kid}");
    }
    let mut good = send(&scene, &issuer.token(&json!({}))).await;
    assert!(good.answer(1).await.get("result").is_some());
    assert!(web.asked().len() <= 3, "{}", web.asked().len());
    assert!(web.asked().iter().all(|asked| asked.line() == "GET /jwks" && asked.header("authorization").is_empty()));
}

fn client(daemon: &Daemon, token: &str) -> HttpClient {
    HttpClient::new(daemon.address, SERVER, Some(token))
}

/// A session is its subject's: the same principal of the configuration with another subject, other claims, or another
/// kind of token does not get in, and its owner notices nothing.
#[tokio::test]
async fn ses_025() {
    let issuer = Issuer::new();
    let spy = Spy::stdio().await;
    let daemon =
        issuer.trusted(Countersign::new().upstream(&spy)).set("/issuers/acme/claims", json!(["team"])).start().await;
    let mut alice = client(&daemon, &issuer.token(&json!({})));
    alice.initialize().await;
    for stranger in [
        issuer.token(&json!({"sub": "bob"})),
        issuer.token(&json!({"team": "x"})),
        TOKEN.to_owned(),
        OTHER_TOKEN.to_owned(),
    ] {
        let mut thief = client(&daemon, &stranger);
        thief.session = alice.session.clone();
        assert_eq!(thief.post(&call(1, "get_balance", json!({}))).await.status, 404);
        for method in ["GET", "DELETE"] {
            assert_eq!(thief.send(method, &thief.headers(), b"").await.status, 404, "{method}");
        }
    }
    // A newer token of hers goes on with it.
    alice.token = Some(issuer.token(&json!({"exp": now() + 900})));
    assert!(alice.call("a", "get_balance", json!({})).await.get("result").is_some());
    // And in the stateless era each has a child of their own.
    let mut subjects = Vec::new();
    for sub in ["alice", "bob"] {
        let client = client(&daemon, &issuer.token(&json!({"sub": sub})));
        let message = crate::http::with_meta(&call(1, "get_balance", json!({})));
        assert!(client.stateless(&message).await.answer(1).await.get("result").is_some());
        subjects.push(sub);
    }
    assert_eq!(spy.processes().len(), 1 + subjects.len());
    assert_eq!(spy.all_calls(), 3);
}

/// The public document is for whoever asks us for a server of ours, and says nothing else.
#[tokio::test]
async fn ses_026() {
    let issuer = Issuer::new();
    let scene = scene(&issuer).await;
    let get = |path: &str, host: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
    let path = "/.well-known/oauth-protected-resource/mcp/fixture";
    let host = scene.daemon.address.to_string();
    let mut reply = scene.raw(get(path, &host, "")).await.unwrap();
    assert_eq!(
        reply.message().await.unwrap(),
        json!({
            "resource": format!("http://{host}/mcp/fixture"),
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
        })
    );
    for (text, status) in [
        (get(path, "evil.example", ""), 403),
        (get(path, &host, "Origin: https://evil.example\r\n"), 403),
        (get(path, &host, &format!("Host: {host}\r\n")), 400),
        (get(path, &host, &format!("X: {}\r\n", "x".repeat(40_000))), 431),
        (get("/.well-known/oauth-protected-resource", &host, ""), 404),
        (get("/.well-known/oauth-protected-resource/mcp/", &host, ""), 404),
        (get("/.well-known/oauth-protected-resource/mcp/other", &host, ""), 404),
        (get("/.well-known/oauth-protected-resource/mcp/fixture/", &host, ""), 404),
        (get("/.well-known/oauth-protected-resource/mcp/fixture%2f..", &host, ""), 404),
        (get("/.well-known/oauth-protected-resourcemcp/fixture", &host, ""), 404),
        (get("/.well-known/openid-configuration", &host, ""), 404),
        (get(path, &host, "").replace("GET", "POST"), 405),
        (get(path, &host, "").replace("GET", "OPTIONS"), 405),
    ] {
        assert_eq!(scene.status(&text).await, status, "{text:.120}");
    }
    // The challenge of a server names it, that of what is none does not.
    let naked = |server: &str| {
        stateless(&request(1, "tools/list", json!({})))
            .replace(&format!("Authorization: Bearer {TOKEN}\r\n"), "")
            .replace("/mcp/fixture ", &format!("/mcp/{server} "))
    };
    let refused = scene.raw(naked("fixture")).await.unwrap();
    let expected = format!("Bearer realm=\"countersign\", resource_metadata=\"http://{host}{path}\"");
    assert_eq!((refused.status, refused.headers["www-authenticate"].as_str()), (401, expected.as_str()));
    let refused = scene.raw(naked("other\"")).await.unwrap();
    assert!(refused.status == 400 || refused.headers["www-authenticate"] == "Bearer realm=\"countersign\"");
    scene.nothing_happened().await;
}

/// Each request is judged by its own token, and what a client listens to ends with it.
#[tokio::test]
async fn ses_027() {
    let issuer = Issuer::new();
    let spy = Spy::stdio().await;
    let daemon = issuer.trusted(Countersign::new().upstream(&spy)).start().await;
    let mut alice = client(&daemon, &issuer.token(&json!({})));
    alice.initialize().await;
    alice.token = Some(issuer.token(&json!({"exp": now() + 3})));
    let mut stream = alice.send("GET", &alice.headers(), b"").await;
    assert_eq!(stream.status, 200);
    stream.text().await;
    assert_eq!(alice.post(&call(1, "get_balance", json!({}))).await.status, 401);
    assert_eq!(alice.send("DELETE", &alice.headers(), b"").await.status, 401);
    alice.token = Some(issuer.token(&json!({})));
    assert!(alice.call("again", "get_balance", json!({})).await.get("result").is_some());
    assert_eq!(spy.all_calls(), 1);
}

/// A token of the client is the client's: the server gets its own key and nothing else.
#[tokio::test]
async fn ses_028() {
    let issuer = Issuer::new();
    let token = issuer.token(&json!({}));
    for spy in [Spy::http().await, Spy::stdio().await] {
        let mut daemon = issuer.trusted(Countersign::new().upstream(&spy)).start().await;
        let mut alice = client(&daemon, &token);
        alice.initialize().await;
        assert!(alice.call("a", "get_balance", json!({})).await.get("result").is_some());
        let message = crate::http::with_meta(&call(1, "get_balance", json!({})));
        assert!(client(&daemon, &token).stateless(&message).await.answer(1).await.get("result").is_some());
        // In an address it is no token, and is written nowhere.
        let asked = format!("/mcp/{SERVER}?access_token={token}");
        let mut nobody = HttpClient::new(daemon.address, SERVER, None);
        nobody.path = asked;
        assert_eq!(nobody.post(&call(1, "get_balance", json!({}))).await.status, 401);
        daemon.stop().await;
        assert_eq!(spy.all_calls(), 2);
        let records = daemon.records().await;
        let decided = records.iter().find(|record| record["kind"] == "decided").unwrap()["body"].to_string();
        assert!(decided.contains("staff/alice"), "{decided}");
        let written = [spy.bytes(), daemon.log().into_bytes(), json!(records).to_string().into_bytes()].concat();
        for part in token.split('.') {
            assert!(!written.windows(part.len()).any(|bytes| bytes == part.as_bytes()), "{part}");
        }
    }
}
