//! Servers that Countersign signs in at with what the organisation's identity provider gives (ID-JAG): what goes where,
//! and that nothing goes anywhere else whatever anybody says.

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::control::wire::SignInState;
use serde_json::{Value, json};

use crate::by_itself::stands;
use crate::harness::daemon::{ALLOW_ALL, SERVER};
use crate::harness::sign_in::{CLIENT_SECRET, auth};
use crate::harness::web::{Answer, Asked, Web};
use crate::harness::{Countersign, hello, request};
use crate::hostile_oauth::web;
use crate::secrets;

const FIRST: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.b25lLW9uZS1vbmU";
const SECOND: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.dHdvLXR3by10d28";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

/// Changes the identity provider's metadata, its answer, and of the assertion the head and the claims.
type Spoil = dyn Fn(&str, &mut Value, &mut Value, &mut Value, &mut Value) + Send + Sync;

/// An identity provider that takes the second ID token and any refresh token, for a server at `base`.
async fn provider(base: &str, spoil: Box<Spoil>) -> (Web, String) {
    let own = Arc::new(Mutex::new(String::new()));
    let (known, base) = (Arc::clone(&own), base.to_owned());
    let web = Web::start(move |asked: Asked| {
        let issuer = known.lock().unwrap().clone();
        let mut metadata = json!({"issuer": issuer, "token_endpoint": format!("{issuer}/exchange")});
        let mut answer = json!({"issued_token_type": ID_JAG, "token_type": "N_A", "expires_in": 300});
        let mut head = json!({"alg": "ES256", "typ": "oauth-id-jag+jwt"});
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": issuer, "sub": "ann", "aud": base, "client_id": "at-server", "jti": "once", "iat": now,
            "exp": now + 300, "resource": format!("{base}/mcp"), "scope": "read",
        });
        answer["scope"] = claims["scope"].clone();
        spoil(&issuer, &mut metadata, &mut answer, &mut head, &mut claims);
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        // With the signature that the authorization server of these tests takes.
        answer["access_token"] = match answer["access_token"].take() {
            Value::Null => json!(format!("{}.{}.c2lnbmF0dXJlLXR3bw", part(&head), part(&claims))),
            other => other,
        };
        async move {
            match asked.uri.path() {
                "/.well-known/openid-configuration" => Answer::json(&metadata),
                "/exchange" if asked.text().contains(FIRST) => {
                    let said = json!({"error": "invalid_grant", "error_description": format!("ann: {}", asked.text())});
                    Answer::new(400, &[("content-type", "application/json")], said.to_string())
                }
                "/exchange" => Answer::json(&answer),
                "/moved" => Answer::new(307, &[("location", &format!("{issuer}/exchange"))], ""),
                _ => Answer::new(404, &[], ""),
            }
        }
    })
    .await;
    let issuer = format!("http://{}", web.address);
    own.lock().unwrap().clone_from(&issuer);
    (web, issuer)
}

/// A server whose authorization server it is itself.
async fn server() -> (Web, String) {
    let web = web(Box::new(|base, _, issuer| issuer["token_endpoint"] = json!(format!("{base}/given")))).await;
    let base = format!("http://{}", web.address);
    (web, base)
}

/// A daemon for a server at `base`, with a person's token in a file.
fn setup(base: &str, idp: &str, token: (&str, &Path)) -> Countersign {
    let key = token.1.with_extension("idp");
    secrets::write(&key, IDP_SECRET);
    let idp = json!({
        "issuer": idp, "client_id": "at-idp", "client_secret": {"secret": "idp"}, token.0: {"secret": "person"},
    });
    let oauth = json!({
        "grant": "id_jag", "issuer": base, "client_id": "at-server", "client_secret": {"secret": "client"},
        "scopes": ["read"], "idp": idp,
    });
    let http = json!({"url": format!("{base}/mcp"), "allow_plain_http": true, "auth": {"oauth": oauth}});
    Countersign::with_policy(ALLOW_ALL)
        .set("/secrets/person", json!({"file": token.1}))
        .set("/secrets/client", json!({"env": "CLIENT_SECRET"}))
        .set("/secrets/idp", json!({"file": key}))
        .env("CLIENT_SECRET", CLIENT_SECRET)
        .server(SERVER, json!({"environment": "sandbox", "upstream": {"http": http}}))
}

const IDP_SECRET: &str = "idp_registered_2Kd8Wz1Lp67Hq2mVx9Rt4";

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn posted(web: &Web, path: &str) -> Vec<(String, Vec<(String, String)>)> {
    let asked = web.asked().into_iter().filter(|asked| asked.uri.path() == path);
    asked
        .map(|asked| {
            let pairs = url::form_urlencoded::parse(asked.text().as_bytes()).into_owned().collect();
            (asked.header("authorization").to_owned(), pairs)
        })
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_persons_token_goes_to_the_identity_provider_and_its_assertion_to_the_issuer() {
    let (server, base) = server().await;
    let (idp, issuer) = provider(&base, Box::new(|_, _, _, _, _| {})).await;
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("id-token");
    secrets::write(&file, FIRST);
    let daemon = setup(&base, &issuer, ("id_token", &file)).start().await;
    daemon.logs(&format!("the identity provider {issuer}: it gives no assertion: invalid_grant")).await;
    let view = stands(&daemon, SignInState::Failed).await;
    assert!(view.by_itself && view.reason.unwrap().contains("invalid_grant"));
    assert!(posted(&server, "/given").is_empty());
    secrets::write(&file, SECOND);
    daemon.logs("a new key is in use").await;
    let mut shim = daemon.raw_shim();
    shim.send(&request(0, "initialize", hello())).await;
    daemon.logs("countersign has signed in").await;

    let exchanged = posted(&idp, "/exchange");
    assert!(exchanged.len() >= 2, "{exchanged:?}");
    for ((shown, asked), token) in exchanged.iter().zip([FIRST, SECOND]) {
        assert_eq!(*shown, basic("at-idp", IDP_SECRET));
        let mcp = format!("{base}/mcp");
        let expected = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", ID_JAG),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
            ("subject_token", token),
            ("audience", &base),
            ("resource", &mcp),
            ("scope", "read"),
        ];
        assert_eq!(*asked, pairs(&expected));
    }
    for (shown, asked) in posted(&server, "/given") {
        assert_eq!(shown, basic("at-server", CLIENT_SECRET));
        assert_eq!(asked[0], pairs(&[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")])[0]);
        assert!(
            asked.len() == 2 && asked[1].0 == "assertion" && asked[1].1.ends_with(".c2lnbmF0dXJlLXR3bw"),
            "{asked:?}"
        );
    }
    for asked in server.asked() {
        let whole = format!("{:?} {}", asked.headers, asked.text());
        assert!(![FIRST, SECOND, IDP_SECRET].iter().any(|key| whole.contains(key)), "{whole}");
    }
    let log = daemon.log();
    assert!(![FIRST, SECOND, "c2lnbmF0dXJlLXR3bw"].iter().any(|key| log.contains(key)), "{log}");
    let (_, said, _) = auth(daemon.config(), &["status", "--output", "json"]).await;
    let status = serde_json::from_str::<Value>(&said).unwrap()["sign_ins"][0].clone();
    assert_eq!((&status["idp"], &status["client_id"]), (&json!(issuer), &json!("at-server")));
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_as_one() {
    let (server, base) = server().await;
    let (idp, issuer) = provider(&base, Box::new(|_, _, _, _, _| {})).await;
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("token");
    secrets::write(&file, "rt_8Wz1Lp67Hq2mVx9Rt4Kd");
    let daemon = setup(&base, &issuer, ("refresh_token", &file)).start().await;
    daemon.logs("countersign has signed in").await;
    let asked = &posted(&idp, "/exchange")[0].1;
    assert!(asked.contains(&pairs(&[("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token")])[0]));
    assert!(asked.contains(&pairs(&[("subject_token", "rt_8Wz1Lp67Hq2mVx9Rt4Kd")])[0]));
    assert_eq!(posted(&server, "/given").len(), 1);
}

/// Whatever the identity provider gives that is not an assertion for this server, its client and its issuer, stays here.
#[tokio::test]
async fn what_is_not_an_assertion_for_this_server_does_not_leave() {
    let answer = |name: &'static str, value: Value| -> Box<Spoil> {
        Box::new(move |_, _, answer, _, _| answer[name] = value.clone())
    };
    let claim = |name: &'static str, value: Value| -> Box<Spoil> {
        Box::new(move |_, _, _, _, claims| claims[name] = value.clone())
    };
    let cases: Vec<(&str, Box<Spoil>)> = vec![
        ("another kind", answer("issued_token_type", json!("urn:ietf:params:oauth:token-type:access_token"))),
        ("a bearer token", answer("token_type", json!("Bearer"))),
        ("the person's own", answer("access_token", json!(SECOND))),
        ("no JWT", answer("access_token", json!("at_7Hq2mVx9Rt4Kd8Wz1Lp6"))),
        ("another type", Box::new(|_, _, _, head, _| head["typ"] = json!("JWT"))),
        ("unsigned", Box::new(|_, _, _, head, _| head["alg"] = json!("none"))),
        ("another issuer", claim("iss", json!("https://idp.example"))),
        ("another audience", claim("aud", json!("https://other.example"))),
        ("two audiences", claim("aud", json!(["https://a.example", "https://b.example"]))),
        ("another client", claim("client_id", json!("somebody"))),
        ("another resource", claim("resource", json!("https://other.example/mcp"))),
        (
            "no resource",
            Box::new(|_, _, _, _, claims| drop(claims.as_object_mut().unwrap().remove("resource").unwrap())),
        ),
        (
            "two resources",
            Box::new(|issuer, _, _, _, claims| {
                claims["resource"] = json!([claims["resource"], format!("{issuer}/mcp")]);
            }),
        ),
        ("more than was asked for", claim("scope", json!("read write"))),
        ("ended", claim("exp", json!(1000))),
    ];
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("id-token");
    secrets::write(&file, SECOND);
    for (name, spoil) in cases {
        let (server, base) = server().await;
        let (idp, issuer) = provider(&base, spoil).await;
        let daemon = setup(&base, &issuer, ("id_token", &file)).start().await;
        daemon.logs("countersign cannot sign in at the server").await;
        assert_eq!(posted(&idp, "/exchange").len(), 1, "{name}");
        assert!(posted(&server, "/given").is_empty(), "{name}");
    }
}

/// The person's token is shown where the configured identity provider takes it, or nowhere.
#[tokio::test]
async fn a_persons_token_is_not_shown_where_the_identity_provider_is_not() {
    let metadata = |name: &'static str, value: Value| -> Box<Spoil> {
        Box::new(move |_, metadata, _, _, _| metadata[name] = value.clone())
    };
    let cases: Vec<(&str, Box<Spoil>, &str)> = vec![
        ("another issuer", metadata("issuer", json!("https://other.example")), "the configuration pins"),
        (
            "in the clear",
            metadata("token_endpoint", json!("http://evil.example/t")),
            "the token endpoint cannot be used",
        ),
        ("a cloud", metadata("token_endpoint", json!("https://169.254.169.254/t")), "is not a public address"),
        ("nothing", metadata("token_endpoint", Value::Null), "publishes no OAuth metadata"),
        ("no secrets", metadata("token_endpoint_auth_methods_supported", json!(["none"])), "takes no secrets"),
        (
            "a redirect",
            Box::new(|issuer, metadata, _, _, _| metadata["token_endpoint"] = json!(format!("{issuer}/moved"))),
            "answers 307",
        ),
    ];
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("id-token");
    secrets::write(&file, SECOND);
    for (name, spoil, why) in cases {
        let (server, base) = server().await;
        let (idp, issuer) = provider(&base, spoil).await;
        let daemon = setup(&base, &issuer, ("id_token", &file)).start().await;
        daemon.logs(why).await;
        assert!(posted(&idp, "/exchange").is_empty() && posted(&server, "/given").is_empty(), "{name}");
        let elsewhere = server.asked().into_iter().chain(idp.asked()).filter(|asked| asked.uri.path() != "/moved");
        assert!(elsewhere.into_iter().all(|asked| !asked.text().contains(SECOND)), "{name}");
    }
}

/// A server that names another authorization server than the one of the configuration learns nothing, and nobody does.
#[tokio::test]
async fn a_server_cannot_have_an_assertion_made_for_somebody_else() {
    let (other, elsewhere) = server().await;
    let named = elsewhere.clone();
    let server = web(Box::new(move |_, resource, _| resource["authorization_servers"] = json!([named]))).await;
    let base = format!("http://{}", server.address);
    let (idp, issuer) = provider(&base, Box::new(|_, _, _, _, _| {})).await;
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("id-token");
    secrets::write(&file, SECOND);
    let daemon = setup(&base, &issuer, ("id_token", &file)).start().await;
    daemon.logs("and the configuration pins").await;
    assert!(idp.asked().is_empty(), "{:?}", idp.asked());
    assert!(posted(&other, "/given").is_empty());
}
