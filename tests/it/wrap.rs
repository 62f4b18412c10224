//! `wrap` and `unwrap` on the files of clients: keys move out, everything else stays, and what was comes back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::daemon::{binary, set_mode};
use crate::harness::peers::source;

/// A home with nothing in it but what a test puts there.
pub struct Home {
    dir: tempfile::TempDir,
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Home {
        Home { dir: tempfile::Builder::new().prefix("cs-home-").tempdir().unwrap() }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// A file of `tests/clients` in the place where its client has it.
    pub fn with(self, fixture: &str, place: &str) -> Home {
        let path = self.path(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(source("tests/clients").join(fixture), &path).unwrap();
        set_mode(&path, 0o640);
        self
    }

    pub fn write(&self, place: &str, text: &str) {
        std::fs::create_dir_all(self.path(place).parent().unwrap()).unwrap();
        std::fs::write(self.path(place), text).unwrap();
    }

    pub fn read(&self, place: &str) -> String {
        std::fs::read_to_string(self.path(place)).unwrap()
    }

    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> Ran {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().env("HOME", self.dir.path()).current_dir(folder);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let ran = Ran { code: status.code().unwrap(), out: text(&stdout), err: text(&stderr) };
        assert!(!ran.out.contains("CANARY") && !ran.err.contains("CANARY"), "{}{}", ran.out, ran.err);
        ran
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_in(self.dir.path(), arguments)
    }

    #[track_caller]
    pub fn good(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran.out
    }

    /// What it says on stderr.
    #[track_caller]
    pub fn bad(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran.err
    }

    /// Every file below it with the text that it has.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut pending = vec![self.dir.path().to_owned()];
        let mut files = BTreeMap::new();
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => pending.push(entry.path()),
                    false => drop(files.insert(entry.path(), std::fs::read(entry.path()).unwrap())),
                }
            }
        }
        files
    }

    /// Where a text stands.
    pub fn with_text(&self, text: &str) -> Vec<PathBuf> {
        let has = |bytes: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let found = self.files().into_iter().filter(|(_, bytes)| has(bytes));
        found.map(|(path, _)| path.strip_prefix(self.dir.path()).unwrap().to_owned()).collect()
    }
}

pub const CONFIG: &str = ".config/countersign/countersign.yaml";
pub const STORE: &str = ".local/state/countersign/secrets";

/// A client's entry that has a key in it.
struct Case {
    client: &'static str,
    fixture: &'static str,
    place: &'static str,
    entry: &'static str,
    key: &'static str,
    /// What has to be said besides.
    more: &'static [&'static str],
}

const PRODUCTION: &[&str] = &["--environment", "production"];

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { client: "claude-code", fixture: "claude-code/.claude.json", place: ".claude.json", entry: "stripe", key: "sk_test_CANARYclaudecode7Qm2Zt", more: &[] },
    Case { client: "claude-desktop", fixture: "claude-desktop/claude_desktop_config.json", place: ".config/Claude/claude_desktop_config.json", entry: "stripe", key: "sk_live_CANARYdesktop4eC39Hq", more: &[] },
    Case { client: "cursor", fixture: "cursor/mcp.json", place: ".cursor/mcp.json", entry: "github", key: "ghp_CANARYcursor0123456789abcdefABCDEF", more: &["--environment", "development"] },
    Case { client: "cursor", fixture: "cursor/mcp.json", place: ".cursor/mcp.json", entry: "search", key: "tok-CANARYcursorsearch-1", more: PRODUCTION },
    Case { client: "vscode", fixture: "vscode/mcp.json", place: ".config/Code/User/mcp.json", entry: "Statsig Console", key: "console-CANARYvscode0123456789abcdef", more: PRODUCTION },
    Case { client: "windsurf", fixture: "windsurf/mcp_config.json", place: ".codeium/windsurf/mcp_config.json", entry: "billing", key: "server-CANARYwindsurf0123456789abcdef", more: PRODUCTION },
    Case { client: "codex", fixture: "codex/config.toml", place: ".codex/config.toml", entry: "stripe", key: "rk_test_CANARYcodex7Qm2Zt9XeVb4", more: &[] },
    Case { client: "codex", fixture: "codex/config.toml", place: ".codex/config.toml", entry: "flags", key: "console-CANARYcodexflags0123456789", more: PRODUCTION },
    Case { client: "gemini", fixture: "gemini/settings.json", place: ".gemini/settings.json", entry: "sentry", key: "sntryu_CANARYgemini0123456789", more: PRODUCTION },
    Case { client: "zed", fixture: "zed/settings.json", place: ".config/zed/settings.json", entry: "postgres", key: "postgresql://reader:CANARYzedpassword@db.example.com/shop", more: PRODUCTION },
    Case { client: "goose", fixture: "goose/config.yaml", place: ".config/goose/config.yaml", entry: "stripe", key: "sk_test_CANARYgoose4eC39HqLyjW", more: &[] },
    Case { client: "goose", fixture: "goose/config.yaml", place: ".config/goose/config.yaml", entry: "flags", key: "console-CANARYgooseflags0123456789", more: PRODUCTION },
    Case { client: "opencode", fixture: "opencode/opencode.jsonc", place: ".config/opencode/opencode.jsonc", entry: "stripe", key: "sk_test_CANARYopencode4eC39Hq", more: &[] },
];

#[test]
fn the_files_of_all_clients_come_back_byte_for_byte() {
    for case in CASES {
        for http in [false, true] {
            if http && case.client == "claude-desktop" {
                continue;
            }
            round_trip(case, http);
        }
    }
    let clients: std::collections::BTreeSet<_> = CASES.iter().map(|case| case.client).collect();
    assert_eq!(clients.len(), 10);
}

fn round_trip(case: &Case, http: bool) {
    let what = format!("{} {} http={http}", case.client, case.entry);
    let home = Home::new().with(case.fixture, case.place);
    let before = home.read(case.place);
    assert!(before.contains(case.key), "{what}");
    let mut wrap = vec!["wrap", case.client, "--server", case.entry];
    wrap.extend(case.more);
    wrap.extend(http.then_some("--http"));

    // A dry run says what would happen, and nothing does.
    let files = home.files();
    let told = home.good(&[&wrap[..], &["--dry-run"]].concat());
    assert!(told.contains("\n--- ") && told.contains("\n@@ "), "{what}: {told}");
    assert_eq!(home.files(), files, "{what}");

    let told = home.good(&wrap);
    let undo = told.lines().find_map(|line| line.trim().strip_prefix("undo: countersign ")).unwrap();
    let wrapped = home.read(case.place);
    assert!(!wrapped.contains(case.key), "{what}: {wrapped}");
    assert!(wrapped.contains(if http { "/mcp/" } else { "connect" }), "{what}: {wrapped}");
    // The key is in the store, and nowhere else.
    let [stored] = &home.with_text(case.key)[..] else { panic!("{what}: {:?}", home.with_text(case.key)) };
    assert!(stored.starts_with(STORE), "{what}: {stored:?}");
    for private in [CONFIG, stored.to_str().unwrap()] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = home.path(private).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{what}: {private}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(home.path(case.place).metadata().unwrap().permissions().mode() & 0o777, 0o640, "{what}");
    if http {
        // The token is in the client's file and in the store, not in what is kept of the original.
        let record = home.with_text("countersign.wrap/v1");
        let token = wrapped.split("Bearer csgn_").nth(1).unwrap().get(..64).unwrap();
        let holders = home.with_text(token);
        assert!(holders.len() == 2 && !holders.contains(&record[0]), "{what}: {holders:?}");
    }
    // What does not concern the entry is where it was: the wrapped file has every line of the rest.
    let kept = before.lines().filter(|line| wrapped.contains(line)).count();
    assert!(kept * 3 > before.lines().count() || before.lines().count() == 1, "{what}: {wrapped}");

    assert!(home.bad(2, &wrap).contains("wrapped already"), "{what}");
    // As the first run said it, word for word.
    let undo: Vec<String> = shell_words(undo);
    home.good(&undo.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(home.read(case.place), before, "{what}");
    assert!(home.with_text("countersign.wrap/v1").is_empty(), "{what}");
    assert!(home.bad(3, &["unwrap", case.client]).contains("nothing of that is wrapped"), "{what}");

    // And again: the same server and the same secret serve.
    let config = home.read(CONFIG);
    home.good(&wrap);
    assert_eq!(home.read(CONFIG), config, "{what}");
    home.good(&["unwrap", case.client]);
    assert_eq!(home.read(case.place), before, "{what}");
}

fn shell_words(text: &str) -> Vec<String> {
    let output = Command::new("sh").args(["-c", &format!("printf '%s\\n' {text}")]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn entries_of_projects_are_wrapped_where_that_is_said() {
    let home = Home::new().with("claude-code/project/.mcp.json", "work/shop/.mcp.json");
    let project = home.path("work/shop");
    let before = home.read("work/shop/.mcp.json");
    let plain = home.run_in(&project, &["wrap", "claude-code", "--server", "billing"]);
    assert_eq!(plain.code, 3, "{}{}", plain.out, plain.err);
    assert!(plain.err.contains("--scope project") || plain.err.contains("has a server"), "{}", plain.err);
    let told = home.run_in(&project, &["wrap", "claude-code", "--server", "billing", "--scope", "project"]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.out.contains("is shared") && told.out.contains("replace it at the vendor"), "{}", told.out);
    // No path of this machine, and the server itself instead of the bridge.
    let wrapped = home.read("work/shop/.mcp.json");
    assert!(wrapped.contains("\"command\": \"countersign\"") && !wrapped.contains("--socket"), "{wrapped}");
    assert!(wrapped.contains("\n\t\t\"docs\": {"), "{wrapped}");
    let config = home.read(CONFIG);
    assert!(config.contains("url: https://mcp.stripe.com") && config.contains("prefix: \"Bearer \""), "{config}");
    assert!(config.contains("vendor: stripe") && config.contains("environment: sandbox"), "{config}");
    let token = home.run_in(&project, &["unwrap", "claude-code"]);
    assert_eq!(token.code, 0, "{}", token.err);
    assert_eq!(home.read("work/shop/.mcp.json"), before);
    let http = home.run_in(&project, &["wrap", "claude-code", "--server", "billing", "--scope", "project", "--http"]);
    assert!(http.code == 2 && http.err.contains("shared"), "{}", http.err);
}

#[test]
fn everything_is_wrapped_at_once_and_one_failure_stops_nothing() {
    let mut home = Home::new();
    let mut before = BTreeMap::new();
    for case in CASES {
        home = home.with(case.fixture, case.place);
        before.insert(case.place, home.read(case.place));
    }
    let ls = |home: &Home| -> Vec<Value> {
        let listed: Value = serde_json::from_str(&home.good(&["wrap", "ls", "-o", "json"])).unwrap();
        assert_eq!(listed["schema"], "countersign.wrap.ls/v1");
        listed["entries"].as_array().unwrap().clone()
    };
    let open = ls(&home);
    assert!(open.iter().any(|row| row["state"] == "open" && row["keys"] == 1 && row["scope"] == "local"), "{open:?}");
    let blocked = open.iter().find(|row| row["name"] == "perplexity").unwrap();
    assert!(blocked["state"] == "blocked" && blocked["problem"].as_str().unwrap().contains("secret set"), "{blocked}");

    let told = home.run(&["wrap", "--all", "--environment", "production"]);
    assert_eq!(told.code, 1, "{}", told.err);
    // Keys of a sandbox are not production's; what asks for an input has no key in the file.
    assert!(told.err.contains("not for production") && told.err.contains("perplexity"), "{}", told.err);
    let wrapped = ls(&home);
    let states = |rows: &[Value], state: &str| rows.iter().filter(|row| row["state"] == state).count();
    assert!(states(&wrapped, "wrapped") >= 10, "{wrapped:?}");
    assert!(told.err.contains("--as NAME"), "several servers of one name: {}", told.err);

    let told = home.run(&["unwrap", "--all"]);
    assert_eq!(told.code, 0, "{}", told.err);
    for (place, text) in before {
        assert_eq!(home.read(place), text, "{place}");
    }
    assert_eq!(states(&ls(&home), "wrapped"), 0);
}

/// Clients write their files while they run: what they change besides our entry stays.
#[test]
fn what_else_changes_in_a_file_stays() {
    let home = Home::new().with("claude-code/.claude.json", ".claude.json");
    let before = home.read(".claude.json");
    home.good(&["wrap", "claude-code", "--server", "stripe"]);
    let changed = home.read(".claude.json").replace("\"numStartups\": 41", "\"numStartups\": 42");
    home.write(".claude.json", &changed);
    let told = home.good(&["unwrap", "claude-code"]);
    assert!(told.contains("what else changed"), "{told}");
    assert_eq!(home.read(".claude.json"), before.replace("\"numStartups\": 41", "\"numStartups\": 42"));
}

#[test]
fn an_entry_that_was_edited_is_not_overwritten() {
    for case in CASES {
        let home = Home::new().with(case.fixture, case.place);
        home.good(&[&["wrap", case.client, "--server", case.entry][..], case.more].concat());
        let edited = home.read(case.place).replacen("--socket", "--sockets", 1);
        home.write(case.place, &edited);
        let said = home.bad(1, &["unwrap", case.client]);
        assert!(said.contains("edited since") && said.contains("/wrap/"), "{said}");
        assert_eq!(home.read(case.place), edited, "{}", case.client);
        let listed = home.good(&["wrap", "ls"]);
        assert!(listed.contains("edited since"), "{listed}");
    }
}

#[test]
fn a_file_that_is_gone_or_a_key_that_is_gone_is_said() {
    let home = Home::new().with("codex/config.toml", ".codex/config.toml");
    home.good(&["wrap", "codex", "--server", "stripe"]);
    let wrapped = home.read(".codex/config.toml");
    let [key] = &home.with_text("rk_test_CANARYcodex7Qm2Zt9XeVb4")[..] else { panic!("one key") };
    std::fs::remove_file(home.path(key.to_str().unwrap())).unwrap();
    let said = home.bad(1, &["unwrap", "codex"]);
    assert!(said.contains("secret set stripe_secret_key"), "{said}");
    assert_eq!(home.read(".codex/config.toml"), wrapped);
    std::fs::remove_file(home.path(".codex/config.toml")).unwrap();
    assert!(home.bad(1, &["unwrap", "codex"]).contains("edited since"));
}

/// The configuration keeps what people wrote into it.
#[test]
fn a_configuration_is_added_to_in_place() {
    let home = Home::new().with("goose/config.yaml", ".config/goose/config.yaml");
    let uid = rustix::process::getuid().as_raw();
    let ours = format!(
        "# ours\nversion: 1\nsecrets:\n  other: {{ env: OTHER }}   # kept\nservers:\n  other:\n    environment: test\n    \
         upstream: {{ stdio: {{ command: cat }} }}\n\nprincipals:\n  - {{ name: me, match: {{ uid: {uid} }}, scopes: [other/read] }}\n\
         # the end\nholds: {{ ttl: 5m }}\n"
    );
    home.write(CONFIG, &ours);
    set_mode(&home.path(CONFIG), 0o600);
    home.good(&["wrap", "goose", "--server", "stripe"]);
    let now = home.read(CONFIG);
    for line in ours.lines() {
        assert!(line.contains("scopes") || now.contains(line), "{line}\n{now}");
    }
    assert!(now.contains("scopes: [other/read, \"stripe/*\"]"), "{now}");
    assert!(now.contains("  stripe_secret_key: stored\n"), "{now}");
    assert!(now.contains("env: { STRIPE_SECRET_KEY: { secret: stripe_secret_key } }"), "{now}");

    // Where what is dangerous is not held, everything is too much.
    let loose = Home::new().with("goose/config.yaml", ".config/goose/config.yaml");
    loose.write(CONFIG, &format!("{ours}policy: {{ builtin: [scopes] }}\n"));
    set_mode(&loose.path(CONFIG), 0o600);
    loose.good(&["wrap", "goose", "--server", "stripe"]);
    assert!(loose.read(CONFIG).contains("scopes: [other/read, stripe/read]"), "{}", loose.read(CONFIG));
}

#[test]
fn what_cannot_be_wrapped_is_said_and_nothing_is_written() {
    let entry = |entry: &str| format!("{{\"mcpServers\": {{\"s\": {entry}}}}}");
    for (entry, code, words) in [
        (
            entry(r#"{"command": "npx", "args": ["other-mcp", "--api-key=k-CANARY12345"]}"#),
            2,
            "--api-key` carries a key",
        ),
        (
            entry(r#"{"command": "npx", "args": ["other-mcp", "--token", "k-CANARY12345"]}"#),
            2,
            "--token` carries a key",
        ),
        (
            entry(r#"{"command": "docker", "args": ["run", "image", "-e", "MY_TOKEN=CANARY12345"]}"#),
            2,
            "MY_TOKEN...` carries a key",
        ),
        (entry(r#"{"command": "sg", "args": ["--head", "Authorization: CANARY12345"]}"#), 2, "carries a key"),
        (entry(r#"{"command": "sg", "args": ["-u", "sk_live_CANARY12345:"]}"#), 2, "sk_live_***********"),
        (entry(r#"{"command": "sg", "args": ["-H", "Basic CANARY1234567890abc="]}"#), 2, "Basic *******"),
        (
            entry(r#"{"command": "db", "args": ["postgres://u:p@CANARY@h/d?password=CANARY"]}"#),
            2,
            "postgres...` carries",
        ),
        (
            entry(
                r#"{"command": "npx", "args": ["mcp-remote", "https://x", "--info={\"client_secret\":\"CANARY1\"}"]}"#,
            ),
            2,
            "the option `--info...`",
        ),
        (entry(r#"{"command": "db", "args": ["postgres://u:CANARY@h/d"]}"#), 2, "password"),
        (
            entry(r#"{"type": "http", "url": "https://x.example.com/mcp?api_key=CANARY%2F1234"}"#),
            2,
            "`query: { api_key: { secret: NAME } }`",
        ),
        (entry(r#"{"type": "http", "url": "https://x.example.com/?token=CANARY12345#x"}"#), 2, "`+` or `#`"),
        (entry(r#"{"type": "http", "url": "https://x.example.com/?CANARY0123456789a"}"#), 2, "address carries a key"),
        (entry(r#"{"type": "http", "url": "https://x.example.com/sk_live_CANARY1234"}"#), 2, "address carries a key"),
        (entry(r#"{"type": "http", "url": "https://u:CANARY@x.example.com/mcp"}"#), 2, "prefix: \"Basic \""),
        (entry(r#"{"type": "http", "url": "https://x.example.com/${A_KEY}"}"#), 2, "write its value"),
        (
            entry(r#"{"type": "http", "url": "https://x.example.com", "oauth": {"tokenUrl": "https://y"}}"#),
            2,
            "`oauth.tokenUrl`",
        ),
        (
            entry(r#"{"type": "http", "url": "https://x.example.com?token=CANARY12345", "oauth": {}}"#),
            2,
            "is signed in to as well",
        ),
        (entry(r#"{"url": "https://x.example.com", "authProviderType": "google_credentials"}"#), 2, "authProviderType"),
        (entry(r#"{"type": "http", "url": "https://x.example.com"}"#), 2, "--environment production"),
        (entry(r#"{"type": "sse", "url": "https://x.example.com/sse"}"#), 2, "HTTP+SSE"),
        (entry(r#"{"command": "x", "env": {"API_KEY": "CANARY12345"}}"#), 2, "--environment production"),
        (
            entry(r#"{"command": "x", "env": {"API_KEY": "sk_live_CANARY12345"}}"#).replace("\"s\"", "\"\u{201c}\""),
            2,
            "--as NAME",
        ),
        (entry(r#"{"command": "x", "env": {"API_KEY": "sk_test_CANARY\u002d12345"}}"#), 2, "escapes"),
        (
            entry("{\"command\": \"x\", /* ghp_CANARY12345 */ \"env\": {\"API_KEY\": \"sk_test_CANARY12345\"}}"),
            2,
            "comment",
        ),
        (entry(r#"{"command": "x", "env": {"API_KEY": "short"}}"#), 2, "fewer than 8"),
        (entry(r#"{"command": "x", "command": "y", "env": {}}"#), 2, "stands twice"),
        (entry(r#"{"command": "x", "headersHelper": "get-token"}"#), 2, "headersHelper"),
        (entry(r#"{"command": "./run", "env": {"API_KEY": "sk_test_CANARY12345"}}"#), 2, "relative path"),
        (entry(r#"{"command": "x", "env": {"A": "${B}"}}"#), 2, "write its value"),
        ("{\"mcpServers\": ".to_owned(), 2, "not JSON"),
        (entry(r#"{"note": "no server"}"#), 3, "no entry"),
    ] {
        let home = Home::new();
        home.write(".claude.json", &entry);
        let files = home.files();
        let said = home.bad(code, &["wrap", "claude-code"]);
        assert!(said.contains(words), "{entry}\n{said}");
        assert_eq!(home.files(), files, "{entry}");
    }
}

#[test]
fn variables_of_the_client_become_variables_of_the_daemon() {
    let home = Home::new().with("gemini/settings.json", ".gemini/settings.json");
    let before = home.read(".gemini/settings.json");
    let told = home.good(&["wrap", "gemini", "--server", "stripe", "--environment", "sandbox"]);
    assert!(told.contains("export STRIPE_KEY"), "{told}");
    let config = home.read(CONFIG);
    assert!(config.contains("stripe_authorization: { env: STRIPE_KEY }"), "{config}");
    assert!(config.contains("Authorization: { secret: stripe_authorization, prefix: \"Bearer \" }"), "{config}");
    home.good(&["unwrap", "gemini"]);
    assert_eq!(home.read(".gemini/settings.json"), before);
}

/// From an empty machine: the configuration has a server, and the client has no entry for it yet.
#[test]
fn an_entry_is_added_for_a_server_of_the_configuration() {
    let home = Home::new();
    home.good(&["init", "--server", "stripe"]);
    for (client, place, old) in [
        ("claude-code", ".claude.json", Some("{\n  \"numStartups\": 1\n}\n")),
        ("cursor", ".cursor/mcp.json", None),
        ("vscode", ".config/Code/User/mcp.json", Some("{\n\t\"inputs\": [],\n\t\"servers\": {\n\t}\n}")),
        ("codex", ".codex/config.toml", Some("model = \"x\"\n\n[tui]\ntheme = \"y\"")),
        ("codex", ".codex/config.toml", None),
        ("zed", ".config/zed/settings.json", Some("// mine\n{\n  \"vim_mode\": true,\n}\n")),
        ("goose", ".config/goose/config.yaml", Some("GOOSE_MODEL: x\nextensions:\n  developer:\n    type: builtin\n")),
        ("goose", ".config/goose/config.yaml", Some("GOOSE_MODEL: x\n")),
        ("opencode", ".config/opencode/opencode.jsonc", Some("{\"theme\": \"opencode\"}")),
        ("gemini", ".gemini/settings.json", Some("{}")),
        ("cursor", ".cursor/mcp.json", Some(r#"{"mcpServers":{"x":{"url":"https://x","headers":{"K":"CANARY"}},}}"#)),
        ("windsurf", ".codeium/windsurf/mcp_config.json", Some("{\"mcpServers\": {}}\n")),
        ("claude-desktop", ".config/Claude/claude_desktop_config.json", Some("")),
    ] {
        match old {
            Some(text) => home.write(place, text),
            None => _ = std::fs::remove_file(home.path(place)),
        }
        let told = home.good(&["wrap", client, "--server", "stripe"]);
        assert!(told.contains("added: "), "{told}");
        assert!(home.read(place).contains("connect"), "{client}: {}", home.read(place));
        // What stands around it is in no original.
        assert!(home.with_text("CANARY").iter().all(|path| !path.starts_with(".local")), "{client}");
        let listed = home.good(&["wrap", "ls"]);
        assert!(listed.contains("wrapped"), "{client}: {listed}");
        home.good(&["unwrap", client]);
        let now = std::fs::read_to_string(home.path(place)).ok();
        assert_eq!(now.as_deref(), old, "{client}");
    }
    // Another setting has come meanwhile: only the entry goes.
    home.write(".cursor/mcp.json", "{\n  \"mcpServers\": {\n    \"a\": {\"command\": \"x\"}\n  }\n}\n");
    home.good(&["wrap", "cursor", "--server", "stripe"]);
    let more = home.read(".cursor/mcp.json").replace("\"x\"", "\"y\"");
    home.write(".cursor/mcp.json", &more);
    home.good(&["unwrap", "cursor"]);
    assert_eq!(home.read(".cursor/mcp.json"), "{\n  \"mcpServers\": {\n    \"a\": {\"command\": \"y\"}\n  }\n}\n");
    assert_eq!(home.bad(3, &["wrap", "cursor", "--server", "nothing"]).lines().count(), 2);
}
