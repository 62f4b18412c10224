//! Signing in: a real authorization server with an MCP server behind it, `countersign auth`, and a person at a browser.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::daemon::binary;
use super::peers::{installed, node, output, source};
use super::within;

/// `tests/peers/oauth.mjs`, which says what its options mean.
pub struct Provider {
    pub issuer: String,
    pub mcp: String,
    control: String,
    _child: Child,
}

impl Provider {
    pub async fn start(options: Value) -> Provider {
        let mut child = Command::new(node())
            .arg(source("tests/peers/oauth.mjs"))
            .arg(options.to_string())
            .env("PEERS", installed("npm/package.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the authorization server to listen", lines.next_line()).await.unwrap();
        let said: Value = serde_json::from_str(&line.expect("the authorization server ended")).unwrap();
        // It goes on to talk; a pipe that nobody reads would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Provider { issuer: text("issuer"), mcp: text("mcp"), control: text("control"), _child: child }
    }

    /// The server for a configuration; `auth` as it stands there.
    pub fn server(&self, auth: Value) -> Value {
        let http = json!({"url": self.mcp, "allow_plain_http": true, "auth": auth});
        json!({"environment": "sandbox", "upstream": {"http": http}})
    }

    /// Something of the control endpoint.
    pub async fn control(&self, asked: Value) -> Value {
        let address = self.control.strip_prefix("http://").unwrap();
        let body = asked.to_string();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST / HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("the control endpoint", stream.read_to_string(&mut answer)).await.unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// What the authorization server gave out under this name.
    pub async fn granted(&self, name: &str) -> usize {
        let granted = self.control(json!({"do": "granted"})).await;
        granted.as_array().unwrap().iter().filter(|grant| *grant == name).count()
    }

    /// The tokens that the MCP server has accepted, the oldest first.
    pub async fn tokens(&self) -> Vec<String> {
        let tokens = self.control(json!({"do": "tokens"})).await;
        tokens.as_array().unwrap().iter().map(|token| token.as_str().unwrap().to_owned()).collect()
    }
}

/// A private key in PEM, and its public half as the client's metadata have it.
pub async fn key_pair(kind: &str) -> (String, Value) {
    let options = match kind {
        "rsa" => json!({"modulusLength": 2048}),
        "ec" => json!({"namedCurve": "P-256"}),
        _ => json!({}),
    };
    let script = "const { generateKeyPairSync } = require('node:crypto');\
        const made = generateKeyPairSync(process.argv[1], JSON.parse(process.argv[2]));\
        const pem = made.privateKey.export({ type: 'pkcs8', format: 'pem' });\
        console.log(JSON.stringify([pem, made.publicKey.export({ format: 'jwk' })]));";
    let made = output(Command::new(node()).args(["-e", script, kind, &options.to_string()])).await;
    serde_json::from_str(&made).unwrap()
}

/// What a person does with the page.
#[derive(Clone, Copy)]
pub enum Person<'a> {
    /// Signs in.
    SignsIn,
    /// Signs in elsewhere, and pastes what this makes of the address that the browser ended at.
    Pastes(&'a (dyn Fn(&str) -> String + Sync)),
}

/// `countersign auth ...` with this configuration: exit code, stdout, stderr.
pub async fn auth(config: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = within("countersign auth", command(config, arguments).output()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

pub fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("auth").args(arguments).arg("--config").arg(config);
    command.env_clear().env("CLIENT_SECRET", CLIENT_SECRET).env("AGENT_TOKEN", super::daemon::TOKEN);
    command.env("OTHER_TOKEN", super::daemon::OTHER_TOKEN);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The secret of a client that is registered already; `CLIENT_SECRET` holds it.
pub const CLIENT_SECRET: &str = "cs_registered_7Hq2mVx9Rt4Kd8Wz1Lp6";

/// Signs in at the server of the fixture: exit code and stderr.
pub async fn login(config: &Path, person: Person<'_>) -> (i32, String) {
    let way = if matches!(person, Person::Pastes(_)) { "--paste" } else { "--no-browser" };
    let mut child = command(config, &["login", super::daemon::SERVER, way]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let mut page = None;
    while let Some(line) = within("a line of auth login", lines.next_line()).await.unwrap() {
        said.push_str(&line);
        said.push('\n');
        if let Some(address) = line.strip_prefix("  http") {
            page = Some(format!("http{address}"));
            break;
        }
    }
    if let Some(page) = page {
        let url = url::Url::parse(&page).unwrap();
        let callback = url.query_pairs().find(|(key, _)| key == "redirect_uri").unwrap().1.into_owned();
        let mut browser = Command::new(node());
        browser.arg(source("tests/peers/browser.mjs")).args([&page, &callback]);
        match person {
            Person::SignsIn => {
                let ended: Value = serde_json::from_str(&output(&mut browser).await).unwrap();
                assert_eq!(ended["status"], 200, "{ended}");
            }
            Person::Pastes(change) => {
                let ended: Value = serde_json::from_str(&output(browser.arg("stop")).await).unwrap();
                let line = format!("{}\n", change(ended["url"].as_str().unwrap()));
                child.stdin.take().unwrap().write_all(line.as_bytes()).await.unwrap();
            }
        }
    }
    while let Some(line) = within("the end of auth login", lines.next_line()).await.unwrap() {
        said.push_str(&line);
        said.push('\n');
    }
    let status = within("auth login to end", child.wait()).await.unwrap();
    (status.code().unwrap_or(-1), said)
}

/// Signs in, which works.
pub async fn signed_in(config: &Path) {
    let (code, said) = login(config, Person::SignsIn).await;
    assert_eq!(code, 0, "{said}");
}
