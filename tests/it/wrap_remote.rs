//! Servers behind an address: a key among its parameters, and servers that the client signed in to by itself.

use serde_json::{Value, json};

use crate::harness::web::{Answer, Web};
use crate::harness::{Countersign, outcome};
use crate::wrap::{CONFIG, Home, STORE};

/// A client's file with one entry `s`, and what `wrap` is told besides.
struct Case {
    client: &'static str,
    place: &'static str,
    text: &'static str,
    more: &'static [&'static str],
    /// What the configuration says then.
    config: &'static [&'static str],
}

const KEY: &str = "tok-CANARYquery0123456789";
const TEST: &[&str] = &["--environment", "test"];

#[rustfmt::skip]
const KEYS: &[Case] = &[
    Case { client: "claude-code", place: ".claude.json", more: TEST,
        text: r#"{"n": 1, "mcpServers": {"s": {"type": "http", "url": "https://x.example.com/mcp?region=eu&api_key=tok-CANARYquery0123456789"}}}"#,
        config: &["url: \"https://x.example.com/mcp?region=eu\"", "query: { api_key: { secret: s_api_key } }", "s_api_key: stored"] },
    Case { client: "claude-desktop", place: ".config/Claude/claude_desktop_config.json", more: TEST,
        text: r#"{"mcpServers": {"s": {"command": "npx", "args": ["-y", "mcp-remote", "https://x.example.com/mcp?token=tok-CANARYquery0123456789"]}}}"#,
        config: &["url: https://x.example.com/mcp,", "query: { token: { secret: s_token } }"] },
    Case { client: "cursor", place: ".cursor/mcp.json", more: TEST,
        text: "{\n  // mine\n  \"mcpServers\": {\"s\": {\"url\": \"https://x.example.com/mcp?apiKey=tok-CANARYquery0123456789&region=eu\"},},\n}\n",
        config: &["mcp?region=eu", "query: { apiKey: { secret: s_apikey } }"] },
    Case { client: "vscode", place: ".config/Code/User/mcp.json", more: TEST,
        text: "{\n\t\"servers\": {\n\t\t\"s\": { \"type\": \"http\", \"url\": \"https://x.example.com/?k=tok-CANARYquery0123456789\" }\n\t}\n}",
        config: &["query: { k: { secret: s_k } }"] },
    Case { client: "windsurf", place: ".codeium/windsurf/mcp_config.json", more: TEST,
        text: r#"{"mcpServers": {"s": {"serverUrl": "https://x.example.com/mcp?access_token=tok-CANARYquery0123456789"}}}"#,
        config: &["query: { access_token: { secret: s_access_token } }"] },
    Case { client: "codex", place: ".codex/config.toml", more: TEST,
        text: "[mcp_servers.s] # here\nurl = 'https://x.example.com/mcp?api_key=tok-CANARYquery0123456789'\nstartup_timeout_sec = 5\n",
        config: &["query: { api_key: { secret: s_api_key } }"] },
    Case { client: "gemini", place: ".gemini/settings.json", more: TEST,
        text: r#"{"mcpServers": {"s": {"httpUrl": "https://x.example.com/mcp?api_key=tok-CANARYquery0123456789", "trust": false}}}"#,
        config: &["query: { api_key: { secret: s_api_key } }"] },
    Case { client: "zed", place: ".config/zed/settings.json", more: TEST,
        text: "// z\n{ \"context_servers\": { \"s\": { \"url\": \"https://x.example.com/mcp?api_key=tok-CANARYquery0123456789\" } } }\n",
        config: &["query: { api_key: { secret: s_api_key } }"] },
    Case { client: "goose", place: ".config/goose/config.yaml", more: TEST,
        text: "extensions:\n  s:\n    enabled: true\n    name: s\n    type: streamable_http\n    uri: https://x.example.com/mcp?api_key=tok-CANARYquery0123456789 # k\n",
        config: &["query: { api_key: { secret: s_api_key } }"] },
    Case { client: "opencode", place: ".config/opencode/opencode.jsonc", more: TEST,
        text: r#"{"mcp": {"s": {"type": "remote", "url": "https://x.example.com/mcp?api_key=tok-CANARYquery0123456789", "enabled": true}}}"#,
        config: &["query: { api_key: { secret: s_api_key } }"] },
];

#[rustfmt::skip]
const SIGNED_IN: &[Case] = &[
    Case { client: "claude-code", place: ".claude.json", more: TEST,
        text: r#"{"mcpServers": {"s": {"type": "http", "url": "https://x.example.com/mcp", "oauth": {"clientId": "c-1", "callbackPort": 8080, "scopes": "read write"}}}}"#,
        config: &["auth: { oauth: { client_id: c-1, scopes: [read, write], callback_port: 8080 } }"] },
    Case { client: "claude-desktop", place: ".config/Claude/claude_desktop_config.json", more: TEST,
        text: r#"{"mcpServers": {"s": {"command": "npx", "args": ["mcp-remote@latest", "https://x.example.com/mcp", "3334"]}}}"#,
        config: &["url: https://x.example.com/mcp", "auth: oauth"] },
    Case { client: "cursor", place: ".cursor/mcp.json", more: TEST,
        text: "{\"mcpServers\": {\"s\": {\"url\": \"https://x.example.com/mcp\",\r\n \"auth\": {\"CLIENT_ID\": \"c-2\", \"CLIENT_SECRET\": \"tok-CANARYquery0123456789\", \"scopes\": [\"read\"]}}}}",
        config: &["client_secret: { secret: s_oauth_client_secret }", "client_id: c-2", "s_oauth_client_secret: stored"] },
    Case { client: "vscode", place: ".config/Code/User/mcp.json", more: TEST,
        text: "{\"servers\": {\"s\": {\"type\": \"http\", \"url\": \"https://x.example.com/mcp\"}}}", config: &["auth: oauth"] },
    Case { client: "windsurf", place: ".codeium/windsurf/mcp_config.json", more: TEST,
        text: r#"{"mcpServers": {"s": {"serverUrl": "https://x.example.com/mcp", "headers": {"X-Region": "eu"}}}}"#, config: &["auth: oauth", "X-Region: eu"] },
    Case { client: "codex", place: ".codex/config.toml", more: TEST,
        text: "[mcp_servers.s]\nurl = \"https://x.example.com/mcp\"\nscopes = [\"read\"] # little\n\n[tui]\ntheme = \"x\"\n",
        config: &["auth: { oauth: { scopes: [read] } }"] },
    Case { client: "gemini", place: ".gemini/settings.json", more: TEST,
        text: r#"{"mcpServers": {"s": {"httpUrl": "https://x.example.com/mcp", "authProviderType": "dynamic_discovery", "oauth": {"enabled": true, "redirectUri": "http://localhost:7777/oauth/callback"}}}}"#,
        config: &["auth: oauth"] },
    Case { client: "zed", place: ".config/zed/settings.json", more: TEST,
        text: "{ \"context_servers\": { \"s\": { \"url\": \"https://x.example.com/mcp\" } } }\n", config: &["auth: oauth"] },
    Case { client: "goose", place: ".config/goose/config.yaml", more: TEST,
        text: "extensions:\n  s:\n    enabled: true\n    name: s\n    type: streamable_http\n    uri: https://x.example.com/mcp\n", config: &["auth: oauth"] },
    Case { client: "opencode", place: ".config/opencode/opencode.jsonc", more: TEST,
        text: r#"{"mcp": {"s": {"type": "remote", "url": "https://x.example.com/mcp", "oauth": {"scope": "read"}}}}"#,
        config: &["auth: { oauth: { scopes: [read] } }"] },
];

#[test]
fn a_key_in_an_address_moves_out_and_comes_back() {
    for case in KEYS {
        round_trip(case);
    }
}

#[test]
fn a_server_that_the_client_signs_in_to_is_signed_in_to_by_an_operator() {
    for case in SIGNED_IN {
        let told = round_trip(case);
        assert!(told.contains("sign in next: countersign auth login s\n"), "{}: {told}", case.client);
        assert!(told.contains("the client's own sign-in stays where the client keeps it"), "{told}");
        assert_eq!(told.contains("/callback"), case.config.iter().any(|line| line.contains("client_id")), "{told}");
    }
}

/// What the first run said.
fn round_trip(case: &Case) -> String {
    let client = case.client;
    for http in [false, true] {
        if http && client == "claude-desktop" {
            continue;
        }
        let home = Home::new();
        home.write(case.place, case.text);
        // Tokens that the client keeps of its sign-ins.
        home.write(".claude/.credentials.json", "{\"mcpOAuth\": {}}");
        let mut wrap = vec!["wrap", client];
        wrap.extend(case.more);
        wrap.extend(http.then_some("--http"));
        let files = home.files();
        let dry = home.good(&[&wrap[..], &["--dry-run"]].concat());
        assert!(dry.contains("\n--- ") && home.files() == files, "{client}: {dry}");

        let told = home.good(&wrap);
        let (wrapped, config) = (home.read(case.place), home.read(CONFIG));
        for line in case.config {
            assert!(config.contains(line), "{client}: {line}\n{config}");
        }
        for gone in [KEY, "x.example.com", "scopes", "clientId", "oauth", "CLIENT_ID", "authProviderType"] {
            assert!(!wrapped.contains(gone), "{client}: {gone}\n{wrapped}");
        }
        let holders = home.with_text(KEY);
        assert!(holders.iter().all(|path| path.starts_with(STORE)), "{client}: {holders:?}");
        assert_eq!(holders.len(), usize::from(case.text.contains(KEY)), "{client}: {holders:?}");
        let listed: Value = serde_json::from_str(&home.good(&["wrap", "ls", "-o", "json"])).unwrap();
        assert_eq!((&listed["entries"][0]["state"], &listed["entries"][0]["keys"]), (&json!("wrapped"), &json!(0)));

        home.good(&["unwrap", client]);
        assert_eq!(home.read(case.place), case.text, "{client}");
        assert_eq!(home.read(".claude/.credentials.json"), "{\"mcpOAuth\": {}}");
        let again = home.good(&wrap);
        assert!(again.contains("server `s`: there already"), "{client}: {again}");
        assert_eq!(home.read(CONFIG), config, "{client}");
        home.good(&["unwrap", client]);
        assert_eq!(home.read(case.place), case.text, "{client}");
        if !http {
            continue;
        }
        return told;
    }
    let home = Home::new();
    home.write(case.place, case.text);
    home.good(&[&["wrap", client][..], case.more].concat())
}

#[test]
fn nobody_signs_in_where_that_is_not_wanted() {
    let entry = |entry: &str| format!("{{\"mcpServers\": {{\"s\": {entry}}}}}");
    let with = |url: &str| entry(&format!("{{\"type\": \"http\", \"url\": \"{url}\"}}"));
    for (text, more, auth) in [
        (with("https://x.example.com/mcp"), &["--auth", "none"][..], false),
        (with("http://localhost:9/mcp"), &[], false),
        (with("http://127.0.0.1:9/mcp"), &["--auth", "oauth"], true),
        (entry(r#"{"url": "https://x.example.com/mcp", "oauth": false}"#), &[], false),
        (entry(r#"{"url": "https://x.example.com/mcp", "oauth": {"enabled": false, "clientId": "c"}}"#), &[], false),
        (entry(r#"{"url": "https://x.example.com/mcp", "oauth": null}"#), &[], true),
    ] {
        let home = Home::new();
        home.write(".cursor/mcp.json", &text);
        let told = home.good(&[&["wrap", "cursor", "--environment", "test"], more].concat());
        assert_eq!(home.read(CONFIG).contains("auth:"), auth, "{text}: {}", home.read(CONFIG));
        assert_eq!(told.contains("auth login"), auth, "{told}");
        assert_eq!(told.contains("no key was found"), !auth, "{told}");
    }
    // A parameter that is no key by its name or its look is left where it is, and named.
    let home = Home::new();
    home.write(".cursor/mcp.json", &with("https://x.example.com/mcp?k=CANARY"));
    let told = home.good(&["wrap", "cursor", "--environment", "test", "--dry-run"]);
    assert!(told.contains("left readable in the configuration: the parameter k; name one"), "{told}");
    let short = home.bad(2, &["wrap", "cursor", "--environment", "test", "--key", "k"]);
    assert!(short.contains("fewer than 8"), "{short}");
    home.write(".cursor/mcp.json", &with("https://x.example.com/s/abcDEF0123456789abcdef/mcp"));
    let told = home.good(&["wrap", "cursor", "--environment", "test", "--dry-run"]);
    assert!(told.contains("a part of its address may be a key"), "{told}");
    // Of the real file: what Claude Code signed in to by itself.
    let home = Home::new().with("claude-code/.claude.json", ".claude.json");
    let before = home.read(".claude.json");
    home.good(&["wrap", "claude-code", "--server", "notion", "--environment", "production"]);
    assert!(home.read(CONFIG).contains("url: https://mcp.notion.com/mcp"), "{}", home.read(CONFIG));
    let doctor = home.run(&["doctor"]);
    assert!(doctor.out.contains("countersign auth login notion"), "{}", doctor.out);
    home.good(&["unwrap", "claude-code"]);
    assert_eq!(home.read(".claude.json"), before);
}

/// Wherever it stands: what an entry was is kept readable, so a key that does not move out is refused.
#[test]
fn a_key_that_countersign_does_not_take_over_is_kept_nowhere() {
    let none = &["--auth", "none"][..];
    for (entry, more, member) in [
        (
            r#"{"url": "https://x/mcp", "headers": {"Authorization": "Bearer tok-first0123456789"}, "oauth": {"clientId": "c", "clientSecret": "hunter2CANARY"}}"#,
            none,
            "oauth",
        ),
        (r#"{"url": "https://x/mcp", "auth": {"CLIENT_ID": "c", "CLIENT_SECRET": "hunter2CANARY"}}"#, none, "auth"),
        (
            r#"{"url": "https://x/mcp", "oauth": {"enabled": false, "clientId": "c", "clientSecret": "hunter2CANARY"}}"#,
            &[],
            "oauth",
        ),
        (r#"{"url": "https://x/mcp", "oauth": {"enabled": false, "code": "hunter2CANARY"}}"#, &[], "oauth.code"),
        (
            r#"{"command": "npx", "args": ["other-mcp"], "oauth": {"clientId": "c", "clientSecret": "hunter2CANARY"}}"#,
            &[],
            "oauth",
        ),
        (r#"{"command": "npx", "args": ["other-mcp"], "auth": "hunter2CANARY"}"#, &[], "auth"),
        (
            r#"{"command": "npx", "args": ["mcp-remote", "https://x/mcp"], "auth": {"CLIENT_ID": "c", "CLIENT_SECRET": "hunter2CANARY"}}"#,
            &[],
            "auth",
        ),
        (
            r#"{"command": "npx", "args": ["mcp-remote", "https://x/mcp"], "env": {"OTHER_TOKEN": "hunter2CANARY"}}"#,
            &[],
            "env",
        ),
        (r#"{"command": "npx", "args": ["other-mcp"], "headers": {"Authorization": "hunter2CANARY"}}"#, &[], "headers"),
        (r#"{"command": "npx", "args": ["other-mcp", "https://x/mcp?api_key=hunter2CANARY"]}"#, &[], "args"),
        (r#"{"url": "https://x/mcp", "env": {"API_KEY": "hunter2CANARY"}}"#, &[], "env"),
    ] {
        let home = Home::new();
        let text = format!("{{\"mcpServers\": {{\"s\": {entry}}}}}");
        home.write(".cursor/mcp.json", &text);
        let said = home.bad(2, &[&["wrap", "cursor", "--environment", "test"], more].concat());
        assert!(said.contains(&format!("`{member}`")) && !said.contains("CANARY"), "{entry}\n{said}");
        assert_eq!(home.with_text("CANARY"), [std::path::PathBuf::from(".cursor/mcp.json")], "{entry}");
        assert_eq!(home.read(".cursor/mcp.json"), text);
    }
    // What a bridge fills in by itself from the entry's own variables moves out, and leaves none.
    let home = Home::new();
    let place = ".config/Claude/claude_desktop_config.json";
    let text = r#"{"mcpServers": {"s": {"command": "npx", "args": ["mcp-remote", "https://x/mcp", "--header", "Authorization:${AUTH}"], "env": {"AUTH": "Bearer hunter2CANARY"}}}}"#;
    home.write(place, text);
    home.good(&["wrap", "claude-desktop", "--environment", "test"]);
    assert!(home.with_text("CANARY").iter().all(|path| path.starts_with(STORE)), "{:?}", home.with_text("CANARY"));
    home.good(&["unwrap", "claude-desktop"]);
    assert_eq!(home.read(place), text);
}

#[test]
fn a_variable_at_the_end_of_an_address_becomes_one_of_the_daemon() {
    let home = Home::new();
    let before = r#"{"mcpServers": {"s": {"url": "https://x.example.com/mcp?region=eu&api_key=${env:SEARCH_KEY}"}}}"#;
    home.write(".cursor/mcp.json", before);
    let told = home.good(&["wrap", "cursor", "--environment", "test"]);
    assert!(told.contains("export SEARCH_KEY"), "{told}");
    let config = home.read(CONFIG);
    assert!(config.contains("s_api_key: { env: SEARCH_KEY }") && config.contains("mcp?region=eu\""), "{config}");
    home.good(&["unwrap", "cursor"]);
    assert_eq!(home.read(".cursor/mcp.json"), before);
}

/// A server behind an address with a key that says everything that it is asked, its refusals included.
#[tokio::test]
async fn a_key_among_the_parameters_reaches_the_server_and_nothing_else() {
    const KEY: &str = "sk_test_CANARY+9h/Tq3WmB7=xKd2";
    const SPELLED: &str = "sk_test_CANARY%2B9h%2FTq3WmB7%3DxKd2";
    let web = Web::start(|asked| async move {
        let message: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let said = format!("{} {KEY}", asked.uri);
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                "serverInfo": {"name": "s", "version": "1"}}),
            "tools/list" => json!({"tools": [{"name": "list_customers", "inputSchema": {"type": "object"}},
                {"name": "list_products", "inputSchema": {"type": "object"}}]}),
            "tools/call" if message["params"]["name"] == "list_products" => {
                return Answer::new(401, &[("www-authenticate", &format!("Bearer realm=\"{said}\""))], said.clone());
            }
            "tools/call" => json!({"content": [{"type": "text", "text": said}]}),
            _ => return Answer::new(202, &[], ""),
        };
        Answer::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    })
    .await;
    let uid = rustix::process::getuid().as_raw();
    let url = format!("http://{}/mcp?region=eu", web.address);
    let http = json!({"url": url, "allow_plain_http": true, "query": {"api_key": {"secret": "key"}}});
    let mut daemon = Countersign::new()
        .server("fixture", json!({"vendor": "stripe", "environment": "sandbox", "upstream": {"http": http}}))
        .set("/policy/builtin", json!(["environment", "destructive", "scopes"]))
        .set("/policy/paths", json!([]))
        .set("/principals", json!([{"name": "local", "match": {"uid": uid}, "scopes": ["*/*"]}]))
        .env("COUNTERSIGN_LOG", "trace")
        .env("KEY", KEY)
        .set("/secrets/key", json!({"env": "KEY"}))
        .start()
        .await;
    let mut shim = daemon.shim().await;
    let answer = shim.call("a", "list_customers", json!({})).await;
    assert!(outcome(&answer).is_none() && answer.to_string().contains("region=eu"), "{answer}");
    let refused = shim.call("b", "list_products", json!({})).await;
    let calls: Vec<String> = web.asked().iter().map(|asked| asked.line()).collect();
    assert!(calls.iter().all(|line| line.ends_with(&format!("/mcp?region=eu&api_key={SPELLED}"))), "{calls:?}");
    daemon.logs("does not accept the key").await;
    let records = json!(daemon.records().await).to_string();
    assert!(daemon.stop().await.success());
    for text in [answer.to_string(), refused.to_string(), records, daemon.log()] {
        for key in [KEY, SPELLED, "9hTq3", "CANARY"] {
            assert!(!text.contains(key), "{key}: {text}");
        }
    }
}
