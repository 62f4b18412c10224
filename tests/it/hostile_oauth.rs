//! Servers and authorization servers that mean no good: what their metadata names is neither asked, opened nor trusted.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::daemon::{ALLOW_ALL, SERVER};
use crate::harness::sign_in::command;
use crate::harness::web::{Answer, Asked, Web};
use crate::harness::{Countersign, within};

/// Metadata as they should be, at this address.
fn honest(base: &str) -> (Value, Value) {
    let resource = json!({"resource": format!("{base}/mcp"), "authorization_servers": [base]});
    let issuer = json!({
        "issuer": base, "authorization_endpoint": format!("{base}/authorize"), "token_endpoint": format!("{base}/token"),
        "registration_endpoint": format!("{base}/register"), "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
    });
    (resource, issuer)
}

pub type Spoil = dyn Fn(&str, &mut Value, &mut Value) + Send + Sync;

/// A server and its authorization server in one, spoiled.
pub async fn web(spoil: Box<Spoil>) -> Web {
    let base = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&base);
    let web = Web::start(move |asked: Asked| {
        let base = known.lock().unwrap().clone();
        let (mut resource, mut issuer) = honest(&base);
        spoil(&base, &mut resource, &mut issuer);
        let path = asked.uri.path().to_owned();
        async move {
            let document = |document: &Value| match document.as_str() {
                Some(location) if location.starts_with("http") => Answer::new(302, &[("location", location)], ""),
                Some(text) => Answer::new(200, &[("content-type", "application/json")], text.to_owned()),
                None => Answer::json(document),
            };
            match path.as_str() {
                "/mcp" => {
                    let pointer = resource["pointer"].as_str().map(str::to_owned);
                    let pointer = pointer.unwrap_or_else(|| format!("{base}/.well-known/oauth-protected-resource/mcp"));
                    Answer::new(401, &[("www-authenticate", &format!("Bearer resource_metadata=\"{pointer}\""))], "")
                }
                "/.well-known/oauth-protected-resource/mcp" => document(&resource),
                "/.well-known/oauth-authorization-server" | "/.well-known/x" => document(&issuer),
                "/given" if asked.text().contains("c2lnbmF0dXJlLXR3bw") => {
                    Answer::json(&json!({"access_token": "at_7Hq2mVx9Rt4Kd8Wz1Lp6", "token_type": "Bearer"}))
                }
                "/given" => {
                    let said = json!({"error": "invalid_grant", "error_description": asked.text()});
                    Answer::new(400, &[("content-type", "application/json")], said.to_string())
                }
                "/moved" => Answer::new(307, &[("location", &format!("{base}/elsewhere"))], ""),
                "/register" => Answer::new(
                    201,
                    &[("content-type", "application/json")],
                    json!({"client_id": "abc", "redirect_uris": []}).to_string(),
                ),
                _ => Answer::new(404, &[], ""),
            }
        }
    })
    .await;
    *base.lock().unwrap() = format!("http://{}", web.address);
    web
}

/// `auth login` with a browser that notes that it was opened: exit code, stderr, whether it was.
async fn login(web: &Web) -> (i32, String, bool) {
    let upstream =
        json!({"http": {"url": format!("http://{}/mcp", web.address), "allow_plain_http": true, "auth": "oauth"}});
    let setup =
        Countersign::with_policy(ALLOW_ALL).server(SERVER, json!({"environment": "sandbox", "upstream": upstream}));
    let config = setup.write();
    let (bin, note) = (setup.dir().join("bin"), setup.dir().join("opened"));
    std::fs::create_dir(&bin).unwrap();
    for opener in ["xdg-open", "open", "calc.exe"] {
        let script = format!("#!/bin/sh\nprintf '%s' \"$*\" > {}\n", note.display());
        std::fs::write(bin.join(opener), script).unwrap();
        std::fs::set_permissions(bin.join(opener), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = command(&config, &["login", SERVER]);
    let done = command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).output();
    let output = within("auth login to end", done).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), said, note.exists())
}

/// What is wrong with metadata, and what is said of it.
fn spoiled() -> Vec<(&'static str, Box<Spoil>, &'static str)> {
    let issuer =
        |name: &'static str, value: Value| -> Box<Spoil> { Box::new(move |_, _, issuer| issuer[name] = value.clone()) };
    let resource = |name: &'static str, value: Value| -> Box<Spoil> {
        Box::new(move |_, resource, _| resource[name] = value.clone())
    };
    let page = |page: &str| issuer("authorization_endpoint", json!(page));
    vec![
        ("a script", page("javascript:alert(1)"), "authorization endpoint cannot be used"),
        ("a file", page("file:///etc/passwd"), "neither https nor http"),
        ("a command", page("a:$(calc.exe)"), "authorization endpoint cannot be used"),
        ("a shell", page("https://auth.example/authorize?x=`calc.exe`"), "has the character"),
        ("a shell again", page("https://auth.example/$(calc.exe)"), "has the character"),
        ("a second command", page("https://auth.example/a;calc.exe"), "has the character"),
        ("quotes", page("https://auth.example/\"x"), "has the character"),
        ("no encryption", page("http://evil.example/authorize"), "is not https"),
        ("a user", page("https://user:pw@auth.example/authorize"), "has a user in it"),
        ("an option", page("--help"), "is not an address"),
        (
            "tokens in the clear",
            issuer("token_endpoint", json!("http://evil.example/token")),
            "the token endpoint cannot be used",
        ),
        (
            "registration elsewhere",
            issuer("registration_endpoint", json!("https://169.254.169.254/register")),
            "is not a public address",
        ),
        (
            "revocation elsewhere",
            issuer("revocation_endpoint", json!("gopher://evil.example/")),
            "the revocation endpoint cannot be used",
        ),
        (
            "a cloud's own service",
            resource("authorization_servers", json!(["http://169.254.169.254/latest"])),
            "none published usable metadata",
        ),
        (
            "somebody in the network",
            resource("authorization_servers", json!(["https://10.0.0.1/"])),
            "none published usable metadata",
        ),
        ("another resource", resource("resource", json!("https://other.example/mcp")), "resource mismatch"),
        ("another issuer", issuer("issuer", json!("https://other.example")), "issuer mismatch"),
        (
            "metadata of its own making",
            resource("authorization_servers", json!(["/.well-known/x"])),
            "where it does not publish them",
        ),
        ("a page for another resource", page("https://a.example/?resource=https://b.example/mcp"), "of its own"),
        ("no PKCE", issuer("code_challenge_methods_supported", json!(["plain"])), "PKCE"),
        ("nothing about PKCE", issuer("code_challenge_methods_supported", Value::Null), "PKCE"),
        (
            "a redirect",
            Box::new(|base, _, issuer| *issuer = json!(format!("{base}/elsewhere"))),
            "none published usable",
        ),
        (
            "a flood",
            Box::new(|_, _, issuer| *issuer = json!(format!("{{\"x\":\"{}\"}}", "x".repeat(600_000)))),
            "longer than",
        ),
    ]
}

#[tokio::test]
async fn what_metadata_names_is_judged_before_anything_is_asked_or_opened() {
    for (name, spoil, why) in spoiled() {
        let web = web(spoil).await;
        let (code, said, opened) = login(&web).await;
        assert!(code == 1 && said.contains(why), "{name}: {code} {said}");
        assert!(!opened, "{name}: a browser was opened");
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{name}: {said:?}");
        let lines: Vec<String> = web.asked().iter().map(Asked::line).collect();
        let beyond = ["/token", "/elsewhere", "/authorize"];
        assert!(!lines.iter().any(|line| beyond.iter().any(|path| line.contains(path))), "{name}: {lines:?}");
        assert!(web.asked().iter().all(|asked| asked.header("authorization").is_empty()), "{name}");
    }
}

#[tokio::test]
async fn a_pointer_to_a_clouds_own_service_is_not_followed() {
    // The well-known place still counts: only the pointer is dropped.
    let web = web(Box::new(|_, resource, issuer| {
        resource["pointer"] = json!("http://169.254.169.254/latest/meta-data/");
        issuer["authorization_endpoint"] = json!("file:///x");
    }))
    .await;
    let (code, said, opened) = login(&web).await;
    assert!(code == 1 && said.contains("authorization endpoint") && !opened, "{said}");
}

#[tokio::test]
async fn an_honest_page_is_opened_as_one_argument() {
    let web = web(Box::new(|_, _, _| {})).await;
    let upstream =
        json!({"http": {"url": format!("http://{}/mcp", web.address), "allow_plain_http": true, "auth": "oauth"}});
    let setup =
        Countersign::with_policy(ALLOW_ALL).server(SERVER, json!({"environment": "sandbox", "upstream": upstream}));
    let config = setup.write();
    let (bin, note) = (setup.dir().join("bin"), setup.dir().join("opened"));
    std::fs::create_dir(&bin).unwrap();
    let fifo = note.clone();
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    for opener in ["xdg-open", "open"] {
        let script = format!("#!/bin/sh\nprintf '%s\\n%s' \"$#\" \"$1\" > {}\n", note.display());
        std::fs::write(bin.join(opener), script).unwrap();
        std::fs::set_permissions(bin.join(opener), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = command(&config, &["login", SERVER]);
    let _child = command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).spawn().unwrap();
    let opened = within("the browser to be opened", tokio::fs::read_to_string(note)).await.unwrap();
    let (count, page) = opened.split_once('\n').unwrap();
    assert_eq!(count, "1");
    assert!(page.starts_with(&format!("http://{}/authorize?response_type=code&client_id=abc", web.address)), "{page}");
    assert!(page.contains("code_challenge_method=S256") && page.contains("resource="), "{page}");
}
