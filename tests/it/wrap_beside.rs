//! What `wrap` does beside the entry: a server that runs code gets a gate, and a key in a comment goes too.

use serde_json::{Value, json};

use super::wrap::{CONFIG, Home, STORE};

const KEY: &str = "server-CANARYgate0Fq7Zt2Lw9";

fn entry(args: &[&str], env: &Value) -> String {
    let stigg = json!({"command": "npx", "args": args, "env": env});
    serde_json::to_string_pretty(&json!({"mcpServers": {"stigg": stigg}})).unwrap()
}

const PACKAGE: &[&str] = &["-y", "@stigg/typescript-mcp@latest"];
const WRAP: &[&str] = &["wrap", "cursor", "--server", "stigg", "--environment", "sandbox"];

#[test]
fn a_server_that_runs_code_is_wrapped_behind_a_gate() {
    let home = Home::new();
    let before = entry(PACKAGE, &json!({"STIGG_API_KEY": KEY, "STIGG_LOG": "debug"}));
    home.write(".cursor/mcp.json", &before);
    let told = home.good(&[WRAP, &["--dry-run"]].concat());
    for said in
        ["its program does not get the key", "--code-execution-mode=local: added", "sandbox: { network: [443] }:"]
    {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(told.contains("+          key_env: STIGG_API_KEY\n"), "{told}");
    home.good(WRAP);
    let config = home.read(CONFIG);
    for written in [
        "args: [\"-y\", \"@stigg/typescript-mcp@latest\", \"--code-execution-mode=local\"]",
        "env: { STIGG_LOG: debug }",
        "sandbox: { network: [443] }",
        "url: https://api.stigg.io",
        "headers: { X-API-KEY: { secret: stigg_api_key } }",
        "url_env: STIGG_BASE_URL",
        "key_env: STIGG_API_KEY",
    ] {
        assert!(config.contains(written), "{written}: {config}");
    }
    let [stored] = &home.with_text(KEY)[..] else { panic!("{:?}", home.with_text(KEY)) };
    assert!(stored.starts_with(STORE));
    // The same again finds the server as it is there.
    home.good(&["unwrap", "cursor"]);
    assert_eq!(home.read(".cursor/mcp.json"), before);
    let told = home.good(WRAP);
    assert!(told.contains("server `stigg`: there already") && !told.contains("beside the key"), "{told}");
    assert_eq!(home.read(CONFIG), config);
    // With another API behind the gate it is another server.
    home.good(&["unwrap", "cursor"]);
    home.write(
        ".cursor/mcp.json",
        &entry(PACKAGE, &json!({"STIGG_API_KEY": KEY, "STIGG_LOG": "debug", "STIGG_BASE_URL": "https://x.example"})),
    );
    assert!(home.bad(2, WRAP).contains("another name with --as NAME"));
}

/// One that was written with the key beside the code stays as it is, and is said to be that.
#[test]
fn a_server_without_a_gate_that_is_there_stays() {
    let home = Home::new();
    home.write(".cursor/mcp.json", &entry(PACKAGE, &json!({"STIGG_API_KEY": KEY})));
    home.good(WRAP);
    let config = home.read(CONFIG);
    let (head, rest) = config.split_once("        args:").unwrap();
    let (_, principals) = rest.split_once("\nprincipals:").unwrap();
    let beside = "        args: [-y, \"@stigg/typescript-mcp@latest\"]\n        env: { STIGG_API_KEY: { secret: \
                  stigg_api_key } }\n";
    let config = format!("{head}{beside}\nprincipals:{principals}");
    home.good(&["unwrap", "cursor"]);
    std::fs::write(home.path(CONFIG), &config).unwrap();
    let told = home.good(WRAP);
    assert!(told.contains("there already") && told.contains("runs code of the agent beside the key"), "{told}");
    assert_eq!(home.read(CONFIG), config);
}

#[test]
fn where_no_gate_can_be_written_it_is_said_why() {
    for (args, env, why) in [
        (&["-y", "@stigg/typescript-mcp", "--code-execution-mode=stainless-sandbox"][..], json!({}), "would get one"),
        (PACKAGE, json!({"STIGG_BASE_URL": "https://api.example.com/v2"}), "more than a scheme, a host and a port"),
        (PACKAGE, json!({"B_KEY": "other-CANARY12345678"}), "there is a key in the variable B_KEY too"),
        (PACKAGE, json!({"HDRS": format!("x: {KEY}")}), "HDRS too"),
    ] {
        let home = Home::new();
        let mut env = env;
        env["STIGG_API_KEY"] = json!(KEY);
        home.write(".cursor/mcp.json", &entry(args, &env));
        let told = home.good(WRAP);
        assert!(told.contains("beside the key") && told.contains(why), "{told}");
        let config = home.read(CONFIG);
        assert!(config.contains("STIGG_API_KEY: { secret: stigg_api_key }") && !config.contains("gate:"), "{config}");
    }
}

/// A key of no vendor's form, so that nothing but its being known shows it.
#[test]
fn a_key_in_a_comment_is_masked_and_comes_back() {
    let key = "tok-CANARYcomment12345";
    let other = |text: &str| text.replace("KEY", key);
    for (client, file, text) in [
        (
            "vscode",
            ".config/Code/User/mcp.json",
            "{\n\t// KEY, until May: KEY\n\t\"servers\": {\n\t\t\"s\": { /* KEY */ \"url\": \"https://x.example.com/mcp\", \
             \"headers\": { \"X-Api-Key\": \"KEY\" } }\n\t}\n}\n",
        ),
        (
            "codex",
            ".codex/config.toml",
            "# KEY\n[mcp_servers.s] # KEY\nurl = \"https://x.example.com/mcp\"\n[mcp_servers.s.http_headers]\nX-Api-Key = \
             \"KEY\" # KEY\n",
        ),
        (
            "goose",
            ".config/goose/config.yaml",
            "# KEY\nextensions:\n  s:\n    type: streamable_http\n    enabled: true\n    name: s\n    uri: \
             https://x.example.com/mcp\n    headers:\n      X-Api-Key: KEY\n# KEY\n",
        ),
    ] {
        let home = Home::new();
        let before = other(text);
        home.write(file, &before);
        let wrap = ["wrap", client, "--server", "s", "--environment", "test"];
        let told = home.good(&[&wrap[..], &["--dry-run"]].concat());
        assert!(told.contains("[secret:s_x_api_key]"), "{client}: {told}");
        let told = home.good(&wrap);
        assert!(told.contains("comments of the file had its key too") && !told.contains("still stands"), "{told}");
        let wrapped = home.read(file);
        assert!(wrapped.contains("[secret:s_x_api_key]"), "{client}: {wrapped}");
        let [stored] = &home.with_text("CANARY")[..] else { panic!("{client}: {:?}", home.with_text("CANARY")) };
        assert!(stored.starts_with(STORE), "{client}: {stored:?}");
        // No difference shows it on the way back either.
        home.good(&["unwrap", client, "--dry-run"]);
        assert_eq!(home.read(file), wrapped);
        home.good(&["unwrap", client]);
        assert_eq!(home.read(file), before, "{client}");
    }
}

/// A mark that stands in the entry is none of ours: neither it nor the comments change.
#[test]
fn a_mark_that_somebody_wrote_into_the_entry_is_no_key() {
    let home = Home::new();
    let before = "{\n\t// tok-CANARYcomment12345\n\t\"servers\": {\n\t\t\"s\": { \"url\": \"https://x.example.com/mcp\",\n\t\t\t\
                  \"headers\": { /* [secret:s_x_api_key] */ \"X-Api-Key\": \"tok-CANARYcomment12345\" } }\n\t}\n}\n";
    home.write(".config/Code/User/mcp.json", before);
    let told = home.good(&["wrap", "vscode", "--server", "s", "--environment", "test"]);
    assert!(told.contains("still stands in line 2") && !told.contains("comments of the file"), "{told}");
    home.good(&["unwrap", "vscode"]);
    assert_eq!(home.read(".config/Code/User/mcp.json"), before);
}

/// A mark that is added later is not filled with the key, and an entry that is put back by hand leaves no mark behind.
#[test]
fn only_the_marks_that_were_written_get_the_key_back() {
    let (home, file) = (Home::new(), ".config/Code/User/mcp.json");
    let before = "{\n\t// tok-CANARYcomment12345\n\t\"servers\": {\n\t\t\"s\": { \"url\": \"https://x.example.com/mcp\", \
                  \"headers\": { \"X-Api-Key\": \"tok-CANARYcomment12345\" } }\n\t}\n}\n";
    let wrap = ["wrap", "vscode", "--server", "s", "--environment", "test"];
    home.write(file, before);
    home.good(&wrap);
    let wrapped = home.read(file);
    home.write(file, &format!("// [secret:s_x_api_key]\n{wrapped}"));
    let told = home.bad(1, &["unwrap", "vscode"]);
    assert!(told.contains("in 2 places where `wrap` wrote it in 1") && !told.contains("CANARY"), "{told}");
    home.write(file, &wrapped);
    home.good(&["unwrap", "vscode"]);
    assert_eq!(home.read(file), before);
    home.good(&wrap);
    // By hand, and not in the comment.
    home.write(file, &before.replacen("tok-CANARYcomment12345", "[secret:s_x_api_key]", 1));
    home.good(&["unwrap", "vscode"]);
    assert_eq!(home.read(file), before);
}

/// What another entry needs stays, and is named.
#[test]
fn a_key_of_another_entry_stays() {
    let home = Home::new();
    let one = json!({"url": "https://x.example.com/mcp", "headers": {"X-Api-Key": "tok-CANARYcomment12345"}});
    let both = json!({"mcpServers": {"s": one, "t": one}});
    let before = serde_json::to_string_pretty(&both).unwrap();
    home.write(".cursor/mcp.json", &before);
    let told = home.good(&["wrap", "cursor", "--server", "s", "--environment", "test"]);
    assert!(told.contains("the value of X-Api-Key still stands in line "), "{told}");
    assert!(!told.contains("comments of the file"), "{told}");
    home.good(&["wrap", "cursor", "--server", "t", "--environment", "test"]);
    assert!(!home.read(".cursor/mcp.json").contains("CANARY"));
    home.good(&["unwrap", "--all"]);
    assert_eq!(home.read(".cursor/mcp.json"), before);
}
