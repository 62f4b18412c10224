//! What `wrap ls` says of entries: nothing that holds a key is called sound, and nothing that is wrapped is left out.

use std::fs::File;

use serde_json::{Value, json};

use crate::harness::daemon::{binary, set_mode};
use crate::wrap::{CONFIG, Home, STORE};

const KEY: &str = "sk_test_CANARY7Qm2Zt9XeVb4";

fn listed(home: &Home) -> Vec<Value> {
    let listed: Value = serde_json::from_str(&home.good(&["wrap", "ls", "-o", "json"])).unwrap();
    assert_eq!(listed["unread"], json!([]));
    listed["entries"].as_array().unwrap().clone()
}

#[track_caller]
fn row(home: &Home, name: &str) -> Value {
    let rows = listed(home);
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {rows:?}")).clone()
}

fn entry(entry: &Value) -> String {
    json!({"mcpServers": {"s": entry}}).to_string()
}

/// A configuration with one server.
fn with_config(home: &Home, more: &str) {
    let text = format!(
        "version: 1\nservers:\n  stripe: {{ environment: test, upstream: {{ stdio: {{ command: cat }} }} }}\n\
         principals: [{{ name: agent, match: {{ token: {{ sha256: {} }} }}, scopes: [] }}]\n{more}",
        // Of csgn_abcd.
        "71fe432863fdc87ba249777cfc6dec50ba8122a74760164e41af0c5ca054ed6b"
    );
    home.write(CONFIG, &text);
    set_mode(&home.path(CONFIG), 0o600);
}

#[test]
fn keys_of_entries_that_cannot_be_wrapped_are_counted() {
    for (said, state, keys) in [
        (json!({"command": "sg", "args": ["-u", "sk_live_CANARY12345:"]}), "blocked", 1),
        (json!({"command": "sg", "args": ["--token", "CANARY12345", "postgres://u:CANARY@h/d"]}), "blocked", 2),
        (json!({"url": "https://x.example.com/mcp?api_key=CANARY1234"}), "open", 1),
        (json!({"url": "https://u:CANARY1234@x.example.com/mcp"}), "blocked", 1),
        (json!({"url": "https://x.example.com", "oauth": {"clientSecret": "CANARY1"}}), "blocked", 1),
        (json!({"url": "https://x.example.com", "oauth": {"clientId": "a", "clientSecret": "CANARY1"}}), "open", 1),
        (json!({"url": "https://x.example.com"}), "open", 0),
        (json!({"command": "x", "envFile": ".env", "env": {"API_KEY": "CANARY12345"}}), "blocked", 1),
        (json!({"command": "x", "envFile": ".env", "env": {"API_KEY": "${env:KEY}"}}), "blocked", 0),
        (json!({"command": "x", "env": {"API_KEY": "CANARY12345"}}), "open", 1),
        (json!({"command": "x", "env": {"LEVEL": "debug"}}), "open", 0),
        (json!({"command": binary(), "args": ["connect", "s"], "env": {"API_KEY": "CANARY12345"}}), "ours", 1),
    ] {
        let home = Home::new();
        home.write(".cursor/mcp.json", &entry(&said));
        let row = row(&home, "s");
        assert_eq!((row["state"].as_str(), row["keys"].as_u64()), (Some(state), Some(keys)), "{said}\n{row}");
        let table = home.good(&["wrap", "ls"]);
        let line = table.lines().nth(1).unwrap();
        match keys {
            0 => assert!(!line.contains("key"), "{table}"),
            1 => assert!(line.contains(", a key "), "{table}"),
            keys => assert!(line.contains(&format!(", {keys} keys ")), "{table}"),
        }
    }
}

#[test]
fn an_entry_that_does_not_get_to_the_configuration_is_said() {
    let home = Home::new();
    with_config(&home, "listen: { http: 127.0.0.1:8377 }\n");
    let socket = home.path(".local/state/countersign/run/client.sock");
    let shim = |args: &[&str]| json!({"command": binary(), "args": args});
    for (said, problem) in [
        (shim(&["connect", "stripe"]), None),
        (shim(&["connect", "stripe", "--socket", socket.to_str().unwrap()]), None),
        (shim(&["connect", "--socket=/x/client.sock", "stripe"]), Some("it dials /x/client.sock, and the daemon")),
        (shim(&["connect", "strpie"]), Some("no server `strpie`")),
        (shim(&["connect", "stripe", "--sockte", "/x"]), Some("its arguments are not those")),
        (
            json!({"command": binary(), "args": ["connect", "stripe"], "env": {"COUNTERSIGN_RUNTIME_DIR": "/x"}}),
            Some("it dials /x/client.sock, and the daemon"),
        ),
        (json!({"command": "/x/countersign", "args": ["connect", "stripe"]}), Some("/x/countersign is not there")),
        (json!({"url": "http://localhost:8377/mcp/stripe", "headers": {"Authorization": "Bearer csgn_abcd"}}), None),
        (json!({"url": "http://127.0.0.1:8377/mcp/strpie"}), Some("no server `strpie`")),
        (
            json!({"url": "http://localhost:8377/mcp/stripe", "headers": {"Authorization": "Bearer csgn_abce"}}),
            Some("no principal of the configuration has its token"),
        ),
        (json!({"url": "http://localhost:8377/mcp/stripe"}), Some("it has no token")),
        (json!({"url": "http://localhost:8377/mcp/stripe", "headers": {"Authorization": "Bearer ${env:T}"}}), None),
    ] {
        home.write(".cursor/mcp.json", &entry(&said));
        let row = row(&home, "s");
        assert_eq!((row["state"].as_str(), row["keys"].as_u64()), (Some("ours"), Some(0)), "{said}\n{row}");
        match problem {
            None => assert_eq!(row["problem"], Value::Null, "{said}"),
            Some(words) => assert!(row["problem"].as_str().unwrap_or_default().contains(words), "{said}\n{row}"),
        }
    }
    // What was wrapped is compared as well: the server has gone from the configuration.
    let wrapped = entry(&json!({"command": "cat", "env": {"API_KEY": KEY}}));
    home.write(".cursor/mcp.json", &wrapped);
    home.good(&["wrap", "cursor", "--server", "s", "--environment", "test"]);
    assert_eq!(row(&home, "s")["problem"], Value::Null);
    with_config(&home, "");
    let row = row(&home, "s");
    assert!(row["state"] == "wrapped" && row["problem"].as_str().unwrap().contains("no server `s`"), "{row}");
}

/// The token was replaced, and the client's file has the old one.
#[test]
fn an_entry_whose_token_was_replaced_is_said() {
    let home = Home::new();
    home.write(".cursor/mcp.json", &entry(&json!({"command": "cat", "env": {"API_KEY": KEY}})));
    home.good(&["wrap", "cursor", "--server", "s", "--environment", "test", "--http"]);
    assert_eq!(row(&home, "s")["problem"], Value::Null);
    let token = home.path(STORE).join("cursor_token");
    assert!(std::fs::read_to_string(&token).unwrap().starts_with("csgn_"));
    std::fs::write(&token, format!("csgn_{}", "0".repeat(64))).unwrap();
    let row = row(&home, "s");
    assert!(row["state"] == "wrapped" && row["http"] == true, "{row}");
    assert!(row["problem"].as_str().unwrap().contains("no principal of the configuration has its token"), "{row}");
}

/// A run that ended between keeping the original and changing the entry, and a person who put it back by hand.
#[test]
fn an_entry_that_is_as_it_was_is_open_and_can_be_wrapped() {
    let home = Home::new();
    let before = entry(&json!({"command": "npx", "args": ["@stripe/mcp"], "env": {"STRIPE_SECRET_KEY": KEY}}));
    home.write(".cursor/mcp.json", &before);
    home.good(&["wrap", "cursor", "--server", "s"]);
    home.write(".cursor/mcp.json", &before);
    let open = row(&home, "s");
    assert!(open["state"] == "open" && open["keys"] == 1, "{open}");
    let told = home.good(&["unwrap", "cursor"]);
    assert!(told.contains("is as it was before it was wrapped"), "{told}");
    assert!(home.with_text("countersign.wrap/v1").is_empty() && home.read(".cursor/mcp.json") == before);

    home.good(&["wrap", "cursor", "--server", "s"]);
    home.write(".cursor/mcp.json", &before);
    home.good(&["wrap", "cursor", "--server", "s"]);
    assert_eq!(row(&home, "s")["state"], "wrapped");
    home.good(&["unwrap", "cursor"]);
    assert_eq!(home.read(".cursor/mcp.json"), before);

    // Another server in its place, with a key: the record of the first one hides nothing.
    home.good(&["wrap", "cursor", "--server", "s"]);
    home.write(".cursor/mcp.json", &entry(&json!({"command": "npx", "args": ["--api-key", "CANARY12345"]})));
    let blocked = row(&home, "s");
    assert!(blocked["state"] == "blocked" && blocked["keys"] == 1, "{blocked}");
}

#[test]
fn an_edited_entry_is_listed_with_what_it_was() {
    let home = Home::new();
    let before = entry(&json!({"command": "npx", "args": ["@stripe/mcp"], "env": {"STRIPE_SECRET_KEY": KEY}}));
    for http in [false, true] {
        home.write(".cursor/mcp.json", &before);
        let more: &[&str] = if http { &["--http"] } else { &[] };
        home.good(&[&["wrap", "cursor", "--server", "s"], more].concat());
        let mut edited: Value = serde_json::from_str(&home.read(".cursor/mcp.json")).unwrap();
        edited["mcpServers"]["s"]["env"] = json!({"OTHER_KEY": "CANARY12345"});
        home.write(".cursor/mcp.json", &edited.to_string());
        let row = row(&home, "s");
        assert!(row["state"] == "edited" && row["keys"] == 1, "{row}");
        assert!(row["problem"].as_str().unwrap().contains("remove that file when you are done"), "{row}");
        let record = row["record"].as_str().unwrap();
        assert!(row["problem"].as_str().unwrap().contains(record), "{row}");
        assert!(home.bad(1, &["unwrap", "cursor"]).contains(record));
        std::fs::remove_file(record).unwrap();
    }
}

#[test]
fn entries_of_named_files_and_other_projects_are_listed() {
    let home = Home::new();
    let before = entry(&json!({"command": "./server", "cwd": "${workspaceFolder}/app", "env": {"STRIPE_KEY": KEY}}));
    // Where the client sees the file is not where it lies.
    home.write("work/shop/config/mcp.json", &before);
    std::fs::create_dir_all(home.path("work/shop/.cursor")).unwrap();
    std::fs::create_dir_all(home.path("work/shop/app")).unwrap();
    let link = home.path("work/shop/.cursor/mcp.json");
    std::os::unix::fs::symlink(home.path("work/shop/config/mcp.json"), &link).unwrap();
    let link = link.to_str().unwrap().to_owned();
    home.good(&["wrap", "cursor", "--scope", "project", "--file", &link]);
    let config = home.read(CONFIG);
    let folder = home.path("work/shop").display().to_string();
    assert!(config.contains(&format!("cwd: {folder}/app\n")) && !config.contains(".cursor"), "{config}");
    assert!(config.contains(&format!("command: {folder}/app/server\n")), "{config}");

    let elsewhere = home.path("elsewhere.json").display().to_string();
    home.write("elsewhere.json", &before.replace("./server", "/x/server").replace("${workspaceFolder}/app", "/"));
    home.good(&["wrap", "cursor", "--file", &elsewhere, "--as", "t"]);
    let rows = listed(&home);
    for (file, scope) in [(&link, "project"), (&elsewhere, "user")] {
        let found = rows.iter().find(|row| row["file"] == file.as_str()).unwrap_or_else(|| panic!("{file}: {rows:?}"));
        assert!(found["state"] == "wrapped" && found["scope"] == scope && found["keys"] == 0, "{found}");
    }
    assert_eq!(rows.len(), 2, "{rows:?}");

    // What is gone is not forgotten.
    std::fs::remove_file(home.path("elsewhere.json")).unwrap();
    let rows = listed(&home);
    let gone = rows.iter().find(|row| row["file"] == elsewhere.as_str()).unwrap();
    assert!(gone["state"] == "edited" && gone["problem"].as_str().unwrap().starts_with("the file has been"), "{gone}");
    home.good(&["unwrap", "cursor", "--file", &link]);
    assert_eq!(home.read("work/shop/config/mcp.json"), before);
}

/// Nobody could approve a call of it: that is said before the first one waits.
#[test]
fn whom_to_enroll_is_said_where_approvals_are_signed() {
    for (key, signed) in [("sk_live_CANARY7Qm2Zt9XeVb4", true), (KEY, false)] {
        let home = Home::new();
        home.write(".cursor/mcp.json", &entry(&json!({"command": "npx", "env": {"STRIPE_SECRET_KEY": key}})));
        let told = home.good(&["wrap", "cursor", "--server", "s"]);
        for words in
            ["next: approvals of s have to be signed", "operator enroll NAME", "operators: { allowed_signers: "]
        {
            assert_eq!(told.contains(words), signed, "{words}: {told}");
        }
    }
}

/// A key that a program starts with becomes a variable of the daemon's child, and comes back where it was.
#[test]
fn variables_among_the_arguments_are_taken_over() {
    let home = Home::new();
    let args = ["run", "-i", "--rm", "-e", "API_KEY=CANARY12345", "image"];
    for said in
        [json!({"command": "docker", "args": args}), json!({"command": "env", "args": ["API_KEY=CANARY12345", "x"]})]
    {
        let before = entry(&said);
        home.write(".cursor/mcp.json", &before);
        let name = if said["command"] == "docker" { "d" } else { "e" };
        let told = home.good(&["wrap", "cursor", "--server", "s", "--as", name, "--environment", "test"]);
        assert_eq!(told.contains("`sandbox: { unix_sockets: true }`"), name == "d", "{told}");
        assert!(home.with_text("CANARY").iter().all(|path| path.starts_with(STORE)), "{:?}", home.with_text("CANARY"));
        assert_eq!(row(&home, "s")["state"], "wrapped");
        home.good(&["unwrap", "cursor"]);
        assert_eq!(home.read(".cursor/mcp.json"), before);
    }
    let config = home.read(CONFIG);
    assert!(config.contains("\"-e\", API_KEY, image]"), "{config}");
}

/// VS Code has them in each profile, in its edition for the curious, and in its settings of old.
#[test]
fn every_place_of_an_editor_is_looked_at() {
    let home = Home::new();
    let server = |name: &str| json!({"servers": {name: {"command": "x", "env": {"API_KEY": "CANARY12345"}}}});
    home.write(".config/Code/User/profiles/-1a2b/mcp.json", &server("profile").to_string());
    home.write(".config/Code - Insiders/User/mcp.json", &server("insiders").to_string());
    home.write(".config/Code/User/settings.json", &json!({"editor.x": 1, "mcp": server("settings")}).to_string());
    home.write("work/.vscode/settings.json", "{ \"a\": 1 /* no servers */ }");
    for name in ["profile", "insiders", "settings"] {
        let row = row(&home, name);
        assert!(row["client"] == "vscode" && row["state"] == "open" && row["keys"] == 1, "{row}");
    }
    let before = home.read(".config/Code/User/settings.json");
    home.good(&["wrap", "vscode", "--server", "settings", "--environment", "test"]);
    assert!(!home.read(".config/Code/User/settings.json").contains("CANARY"));
    assert_eq!(row(&home, "settings")["state"], "wrapped");
    home.good(&["unwrap", "vscode"]);
    assert_eq!(home.read(".config/Code/User/settings.json"), before);
    // A new entry goes where VS Code has them now.
    with_config(&home, "");
    home.good(&["wrap", "vscode", "--server", "stripe", "--file", home.path("n/mcp.json").to_str().unwrap()]);
    home.good(&["wrap", "vscode", "--server", "stripe"]);
    assert!(!home.read(".config/Code/User/settings.json").contains("stripe"));
}

/// Each would take the other's keys for stored already, and one that fails takes its own out again.
#[test]
fn two_runs_at_once_are_one_after_the_other() {
    let home = Home::new();
    home.write(".cursor/mcp.json", &entry(&json!({"command": "x", "env": {"STRIPE_KEY": KEY}})));
    let folder = home.path(".local/state/countersign/wrap");
    std::fs::create_dir_all(&folder).unwrap();
    let held = File::open(&folder).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let files = home.files();
    assert!(home.bad(2, &["wrap", "cursor"]).contains("at work"));
    assert!(home.bad(2, &["unwrap", "--all"]).contains("at work"));
    assert_eq!(home.files(), files);
    home.good(&["wrap", "cursor", "--dry-run"]);
    drop(held);
    home.good(&["wrap", "cursor"]);
}

#[test]
fn passwords_without_a_gap_in_their_names_move_too() {
    let home = Home::new();
    let env = json!({"PGPASSWORD": "CANARY-one1", "DBPASSWD": "CANARY-two2", "SMTPPASS": "CANARY-three", "APPPWD":
        "CANARY-four", "CLIENTSECRET": "CANARY-five", "PGHOST": "db.example.com"});
    home.write(".cursor/mcp.json", &entry(&json!({"command": "x", "env": env})));
    let told = home.good(&["wrap", "cursor", "--environment", "test"]);
    assert!(told.contains("left readable in the configuration: PGHOST;"), "{told}");
    let places = home.with_text("CANARY");
    assert!(places.len() == 5 && places.iter().all(|path| path.starts_with(STORE)), "{places:?}");
}

#[test]
fn a_client_gets_no_address_that_it_cannot_use() {
    for (listen, written) in [
        ("127.0.0.1:8400", Some("http://127.0.0.1:8400/mcp/s")),
        (
            "{ address: \"0.0.0.0:8400\", behind_proxy: true, allowed_hosts: [c.example] }",
            Some("http://127.0.0.1:8400/mcp/s"),
        ),
        ("127.0.0.1:0", None),
    ] {
        let home = Home::new();
        with_config(&home, &format!("listen: {{ http: {listen} }}\n"));
        home.write(".cursor/mcp.json", &entry(&json!({"command": "x", "env": {"STRIPE_KEY": KEY}})));
        let files = home.files();
        let wrap = ["wrap", "cursor", "--http"];
        let Some(url) = written else {
            assert!(home.bad(2, &wrap).contains("give listen.http a fixed one"));
            assert_eq!(home.files(), files);
            continue;
        };
        home.good(&wrap);
        assert!(home.read(".cursor/mcp.json").contains(url), "{}", home.read(".cursor/mcp.json"));
        let row = row(&home, "s");
        assert!(row["state"] == "wrapped" && row["problem"] == Value::Null && row["keys"] == 0, "{row}");
    }
}
