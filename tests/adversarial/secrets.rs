//! Cases about keys: what a server, a client, an operator's slip or an error could carry away. The sweep over everything
//! is in `sweep`.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::harness::daemon::{SERVER, binary, set_mode};
use crate::harness::web::{Answer, Web};
use crate::harness::{Act, Countersign, Daemon, Spy, peers, within};

const CANARY: &str = "sk_test_CANARY7Qm2Zt9XeVb4";

fn keyed(spy: &Spy) -> Countersign {
    let setup = Countersign::new().upstream(spy).env("CANARY", CANARY);
    let setup = setup.set("/secrets/key", json!({"env": "CANARY"}));
    setup.set("/servers/fixture/upstream/stdio/env/KEY", json!({"secret": "key"}))
}

/// A server at this address that gets the key in a header.
fn at(url: &str) -> Countersign {
    let headers = json!({"authorization": {"secret": "key", "prefix": "Bearer "}});
    let upstream = json!({"http": {"url": url, "allow_plain_http": true, "headers": headers}});
    let setup = Countersign::new().env("CANARY", CANARY).set("/secrets/key", json!({"env": "CANARY"}));
    setup.server(SERVER, json!({"environment": "sandbox", "upstream": upstream}))
}

async fn bodies(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let records = daemon.records().await.into_iter().filter(|record| record["kind"] == kind);
    records.map(|record| serde_json::from_str(record["body"].as_str().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn sec_002() {
    let foreign = "whsec_4eC39HqLyjWDarjtT1zdp7dc";
    let text = format!("key={CANARY}, new: {foreign}");
    let spy = Spy::stdio_with(move |received, _| {
        let result = json!({"content": [{"type": "text", "text": text}], "isError": false});
        (received.tool() == "get_balance").then(|| vec![Act::Result(result)])
    })
    .await;
    for (hide, expected) in [
        (json!("all"), "key=[secret:key], new: whsec_[hidden]"),
        (json!(["github"]), "key=[secret:key], new: whsec_4eC39HqLyjWDarjtT1zdp7dc"),
        (json!("none"), "key=[secret:key], new: whsec_4eC39HqLyjWDarjtT1zdp7dc"),
    ] {
        let mut daemon = keyed(&spy).set("/servers/fixture/hide_keys", hide.clone()).start().await;
        let mut shim = daemon.shim().await;
        let answer = shim.call("1", "get_balance", json!({})).await;
        assert_eq!(answer["result"]["content"][0]["text"], expected, "{hide}");
        daemon.logs("keys were taken out of what the server says").await;
        daemon.stop().await;
        let names = if hide == "all" { json!(["form:stripe", "key"]) } else { json!(["key"]) };
        assert_eq!(bodies(&daemon, "completed").await[0]["redacted"], names, "{hide}");
        // In the log the keys of others never stand.
        assert!(!daemon.log().contains("CANARY7Q") && !daemon.log().contains("4eC39HqLyjWDarjt"));
    }
}

#[tokio::test]
async fn sec_006() {
    let ran = async |arguments: &[&str]| {
        let output = Command::new(binary()).args(arguments).env_clear().stdin(Stdio::null()).output();
        let output = within("a command to end", output).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let header = format!("Authorization: Bearer {CANARY}");
    let joined = format!("--stripe-key={CANARY}");
    for arguments in [
        &["serve", "--stripe-key", CANARY][..],
        &["serve", &joined],
        &["serve", "--header", &header],
        &["secret", "set", "stripe", CANARY],
        &["connect", CANARY],
        &[CANARY],
    ] {
        let (code, said) = ran(arguments).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("looks like a key") && said.contains("secret set NAME"), "{said}");
        assert!(!said.contains("CANARY7Q"), "{said}");
    }
    // There is no option for one, whatever it looks like.
    let (code, said) = ran(&["secret", "set", "stripe", "a-key-without-a-form"]).await;
    assert!(code == Some(2) && said.contains("unexpected argument"), "{said}");
    let (code, said) = ran(&["serve", "--stripe-key", "x"]).await;
    assert!(code == Some(2) && said.contains("unexpected argument"), "{said}");
}

#[tokio::test]
async fn sec_007() {
    let spy = Spy::stdio().await;
    let mut setup = keyed(&spy).env("STATSIG_KEY", "console-0123456789abcdefghijklmn");
    setup = setup.set("/secrets/statsig", json!({"env": "STATSIG_KEY"}));
    for (name, value) in [
        ("AWS_SECRET_ACCESS_KEY", "a"),
        ("GITHUB_TOKEN", "b"),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("NODE_OPTIONS", "--no-warnings"),
        ("PYTHONPATH", "/nowhere"),
        ("LANG", "C.UTF-8"),
        ("COUNTERSIGN_LOG", "info"),
    ] {
        setup = setup.env(name, value);
    }
    let daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    shim.call("1", "get_balance", json!({})).await;
    let environment = spy.processes()[0]["environ"].as_object().unwrap().clone();
    let mut names: Vec<&str> = environment.keys().map(String::as_str).collect();
    names.retain(|name| *name != "LC_CTYPE"); // Python's own.
    // The last is the scratch folder of its sandbox.
    assert_eq!(names, ["HOME", "KEY", "LANG", "PATH", "SPY_SOCKET", "TMPDIR"]);
    assert_eq!(environment["KEY"], CANARY);
}

#[tokio::test]
async fn sec_009() {
    let web = Web::start(async |asked| {
        let key = asked.header("authorization").to_owned();
        let message: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        match (message["method"].as_str().unwrap_or_default(), message["params"]["name"].as_str().unwrap_or_default()) {
            ("initialize", _) => Answer::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {
                "protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "w", "version": "1"}}})),
            (_, "get_refused") => {
                Answer::new(401, &[("www-authenticate", &key), ("content-type", "text/plain")], key.clone())
            }
            (_, "get_page") => Answer::new(200, &[("content-type", "text/html")], format!("<html>{key}</html>")),
            (_, "get_broken") => Answer::new(200, &[("content-type", "application/json")], format!("{{\"a\": {key}")),
            (_, "get_failed") => Answer::new(500, &[("content-type", "text/html")], format!("<pre>{key}</pre>")),
            _ => Answer::new(202, &[], ""),
        }
    })
    .await;
    let url = format!("http://{}/mcp?shop=s3cr3tl3ss", web.address);
    let mut daemon = at(&url).env("COUNTERSIGN_LOG", "trace").start().await;
    let mut shim = daemon.shim().await;
    for tool in ["get_refused", "get_page", "get_broken", "get_failed"] {
        let answer = shim.call(tool, tool, json!({})).await;
        assert!(answer["error"].is_object(), "{answer}");
    }
    // One that resets every connection.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_zero_linger().unwrap();
        }
    });
    let reset = at(&format!("http://{address}/mcp")).env("COUNTERSIGN_LOG", "trace").start().await;
    let mut other = reset.raw_shim();
    other.send(&crate::harness::request("h", "initialize", crate::harness::hello())).await;
    assert!(other.answer("h").await["error"].is_object());
    daemon.stop().await;
    let records = json!(daemon.records().await).to_string();
    let said = [daemon.log(), reset.log(), records, String::from_utf8_lossy(&shim.traffic()).into_owned()];
    for text in said.iter().chain([&String::from_utf8_lossy(&other.traffic()).into_owned()]) {
        assert!(!text.contains("CANARY7Q") && !text.contains("<html>") && !text.contains("<pre>"), "{text}");
    }
    assert!(web.asked().iter().all(|asked| asked.header("authorization") == format!("Bearer {CANARY}")));
}

#[tokio::test]
async fn sec_010() {
    let elsewhere = Web::start(async |_| Answer::new(200, &[], "")).await;
    let to = elsewhere.address;
    for (status, location) in [
        (307, format!("http://{to}/mcp")),
        (302, format!("http://{to}/")),
        (301, format!("http://127.0.0.1:{}/mcp", to.port())),
        (308, "//evil.example/".to_owned()),
    ] {
        let target = location.clone();
        let web = Web::start(move |_| {
            let answer = Answer::new(status, &[("location", &target)], "");
            async move { answer }
        })
        .await;
        let daemon = at(&format!("http://{}/mcp", web.address)).start().await;
        let mut shim = daemon.raw_shim();
        shim.send(&crate::harness::request("h", "initialize", crate::harness::hello())).await;
        assert!(shim.answer("h").await["error"].is_object(), "{status} to {location}");
        assert!(elsewhere.asked().is_empty(), "{status} to {location}");
    }
}

/// A TLS server whose certificate it has signed itself; it prints its port, then whatever gets through.
const TLS: &str = r#"
import datetime, socket, ssl, sys, tempfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
now = datetime.datetime.now(datetime.timezone.utc)
cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now - datetime.timedelta(days=2)).not_valid_after(now + datetime.timedelta(days=2))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False).sign(key, hashes.SHA256()))
with tempfile.NamedTemporaryFile() as file:
    file.write(cert.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    file.flush()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file.name)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    try:
        print("got", context.wrap_socket(connection, server_side=True).recv(4096), flush=True)
    except OSError as error:
        print("refused", error, flush=True)
"#;

#[tokio::test]
async fn sec_011() {
    for url in ["http://api.example/mcp", "http://10.0.0.1/mcp"] {
        let (status, said) = at(url).refuses().await;
        assert!(status.code() == Some(2) && said.contains("sends the key in the clear"), "{said}");
    }
    // To this machine only where that is said.
    let (status, said) = at("http://127.0.0.1:9/mcp")
        .set("/servers/fixture/upstream/http/allow_plain_http", json!(false))
        .refuses()
        .await;
    assert!(status.code() == Some(2) && said.contains("is not encrypted"), "{said}");
    let mut server =
        Command::new(peers::python()).args(["-c", TLS]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = within("a port", lines.next_line()).await.unwrap().unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let daemon = at(&format!("https://{host}:{port}/mcp")).start().await;
        let mut shim = daemon.raw_shim();
        shim.send(&crate::harness::request("h", "initialize", crate::harness::hello())).await;
        assert!(shim.answer("h").await["error"].is_object());
        let seen = within("the server's word", lines.next_line()).await.unwrap().unwrap();
        assert!(seen.starts_with("refused"), "{host}: {seen}");
    }
}

#[tokio::test]
async fn sec_012() {
    let policy = r#"package countersign.policy.loud

allow contains {"rule": "loud.all", "reason": sprintf("asked with %v", [input])} if {
	input.method
	print(input)
}
"#;
    let spy = Spy::stdio().await;
    let setup = keyed(&spy).policy("loud.rego", policy).env("COUNTERSIGN_LOG", "trace");
    let mut daemon = setup.start().await;
    let mut shim = daemon.shim().await;
    let refused = shim.call("1", "create_refund", json!({"n": CANARY})).await;
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    let told = shim.call("2", "get_balance", json!({"n": "ordinary-words"})).await;
    assert!(told["result"].is_object(), "{told}");
    daemon.stop().await;
    let records = json!(daemon.records().await).to_string();
    for text in [&daemon.log(), &records, &refused.to_string(), &told.to_string()] {
        assert!(!text.contains("CANARY7Q"), "{text}");
    }
    // What a rule prints is not thrown at the terminal.
    assert!(!daemon.log().contains("ordinary-words"), "{}", daemon.log());
    assert_eq!(bodies(&daemon, "refused").await.len(), 1);
}

#[tokio::test]
async fn sec_013() {
    let spy = Spy::stdio().await;
    for (mode, shown) in [(0o644, "0644"), (0o640, "0640"), (0o660, "0660"), (0o604, "0604")] {
        let setup = keyed(&spy);
        let file = setup.dir().join("stripe.key");
        std::fs::write(&file, CANARY).unwrap();
        set_mode(&file, mode);
        let (status, said) = setup.set("/secrets/key", json!({"file": file})).refuses().await;
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains("stripe.key") && said.contains(shown) && said.contains("chmod"), "{said}");
        assert!(!said.contains("CANARY7Q"));
    }
    let setup = keyed(&spy);
    let (open, link) = (setup.dir().join("open.key"), setup.dir().join("link.key"));
    std::fs::write(&open, CANARY).unwrap();
    set_mode(&open, 0o644);
    std::os::unix::fs::symlink(&open, &link).unwrap();
    let (status, said) = setup.set("/secrets/key", json!({"file": link})).refuses().await;
    assert!(status.code() == Some(2) && said.contains("open.key") && said.contains("0644"), "{said}");
    // The same for what countersign stores itself.
    let setup = keyed(&spy).set("/secrets/key", json!("stored"));
    let stored = setup.dir().join("state/secrets/key");
    std::fs::create_dir(stored.parent().unwrap()).unwrap();
    std::fs::write(&stored, CANARY).unwrap();
    set_mode(&stored, 0o644);
    let (status, said) = setup.refuses().await;
    assert!(status.code() == Some(2) && said.contains("0644"), "{said}");
}

#[tokio::test]
async fn sec_014() {
    let spy = Spy::stdio().await;
    let mut daemon = keyed(&spy).env("COUNTERSIGN_LOG", "trace").env("RUST_LOG", "trace").start().await;
    let mut said = String::new();
    for arguments in [
        &["--version"][..],
        &["secret", "ls"],
        &["secret", "ls", "-o", "json"],
        &["policy", "check"],
        &["audit", "tail"],
        &["session", "ls"],
    ] {
        let (text, code) = daemon.run(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {text}");
        said += &text;
    }
    // Its verdict is its own business here.
    said += &daemon.run(&["doctor"]).await.0;
    said += &daemon.run(&["doctor", "-o", "json"]).await.0;
    assert!(said.contains("[set, sha256:"), "{said}");
    let mut shim = daemon.shim().await;
    shim.call("1", "get_balance", json!({})).await;
    daemon.signal(rustix::process::Signal::QUIT);
    assert!(!daemon.ended().await.success());
    said += &daemon.log();
    assert!(!said.contains("CANARY7Q"), "{said}");
    // It leaves no core, and nobody of its own account can look into it.
    assert!(!daemon.state_dir().join("core").exists());
}
