//! The author's commands as a user runs them: what they print, what they write, how they end.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::daemon::{binary, set_mode};
use crate::harness::{Countersign, Spy, call, peers, within};

mod clock;

/// A home of its own: nothing of the user's is read or written.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::Builder::new().prefix("cs-").tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().env("HOME", self.0.path()).current_dir(self.0.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(self.command(arguments)).await
    }

    async fn ran(&self, mut command: Command) -> Ran {
        let Output { status, stdout, stderr } = within("a command to end", command.output()).await.unwrap();
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&self.0.path().display().to_string(), "~");
        Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }
}

#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// One server of the demo's vendor: a small catalog, and no server behind it.
const CONFIG: &str = r#"
version: 1
secrets: { key: { env: KEY } }
servers:
  crm:
    vendor: billing
    environment: sandbox
    upstream: { stdio: { command: "false", env: { KEY: { secret: key } } } }
principals:
  - { name: agent, match: { uid: 1000 }, scopes: ["crm/read", "crm/create_refund", "*/write"] }
  - { name: lead, match: { uid: 1001 }, scopes: ["crm/create_refund"] }
policy: { paths: [policies] }
"#;

const POLICY: &str = "package countersign.policy.refunds

hold contains {\"rule\": \"refunds.large\", \"reason\": \"large\"} if {
\tinput.operation.name == \"create_refund\"
\tinput.arguments.amuont > 1000
}

deny contains {\"rule\": \"refunds.note\", \"reason\": \"note\"} if {
\tinput.operation.name == \"create_refund\"
\tcontains(input.arguments.customer, \"x\")
}
";

const TESTS: &str = "package countersign.policy.refunds_test

import data.countersign.policy.refunds

test_large if count(refunds.hold) == 1 with input as {
\t\"operation\": {\"name\": \"create_refund\"},
\t\"arguments\": {\"amuont\": 1001},
}

test_note if {
\tprint(\"a<b\", input)
\tcount(refunds.deny) == 1 with input as {\"operation\": {\"name\": \"create_refund\"}}
}
";

fn scene() -> Home {
    let home = Home::new();
    home.write("countersign.yaml", CONFIG);
    home.write("policies/refunds.rego", POLICY);
    home.write("policies/refunds_test.rego", TESTS);
    home
}

/// What `policy check` says about the scene, as people read it.
const CHECKED: &str = "~/policies/refunds.rego:5:18: error[argument]: no argument `amuont` of create_refund
  |
5 | \tinput.arguments.amuont > 1000
  | \t                ^
  help: did you mean `amount`? there are amount, customer, invoice

~/policies/refunds.rego:10:26: error[sample]: fails on create_refund of crm with odd arguments (null): `contains` expects string argument. Got `null` instead
   |
10 | \tcontains(input.arguments.customer, \"x\")
   | \t                        ^
  help: a call of this kind would be refused: ask for the type first (is_number, is_string, is_array); the arguments are {\"amount\":null,\"amuont\":null,\"customer\":null,\"invoice\":null}

";

#[tokio::test]
async fn check_says_what_is_wrong_and_where() {
    let home = scene();
    let ran = home.run(&["policy", "check", "--config", "countersign.yaml"]).await;
    // Nobody lists the arguments of this vendor's tools: a slip in one is a warning.
    let expected = CHECKED.replace("error[argument]", "warning[argument]");
    assert_eq!((ran.err.as_str(), ran.out.as_str(), ran.code), (expected.as_str(), "1 error, 1 warning\n", 1));

    let ran = home.run(&["policy", "check", "--config", "countersign.yaml", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &report["schema"], &report["rules"]), (1, &json!("countersign.policy-check/v1"), &json!(19)));
    let problem = &report["problems"][1];
    assert_eq!((&problem["code"], &problem["line"], &problem["column"]), (&json!("sample"), &json!(10), &json!(26)));
    assert_eq!(problem["severity"], "error");

    let ran = home.run(&["policy", "check", "--config", "countersign.yaml", "--format", "github"]).await;
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(
        lines[0].starts_with("::warning file=~/policies/refunds.rego,line=5,col=18,title=policy argument::no argument")
    );
    assert!(lines[1].starts_with("::error file=~/policies/refunds.rego,line=10,col=26,title=policy sample::fails on"));
    assert!(lines[1].contains("%0Ahelp: ") && lines.len() == 2, "{lines:?}");

    let ran = home.run(&["policy", "check", "--config", "countersign.yaml", "--format", "sarif"]).await;
    let sarif: Value = serde_json::from_str(&ran.out).unwrap();
    let result = &sarif["runs"][0]["results"][1];
    assert_eq!(
        (&sarif["version"], &result["ruleId"], &result["level"]),
        (&json!("2.1.0"), &json!("sample"), &json!("error"))
    );
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["region"], json!({"startLine": 10, "startColumn": 26}));
    assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with("/policies/refunds.rego"));
}

/// A `deny` that would never hold: the negated line asks for any customer.
const TOO_EARLY: &str = "package countersign.policy.customers

deny contains {\"rule\": \"customers.foreign\", \"reason\": \"not a customer\"} if {
\tnot customers[customer]
\tcustomer = input.arguments.customer
}

customers := {\"cus_1\"}
";

const REFUSED: &str =
    "~/policies/customers.rego:4:16: error[order]: `customer` has no value yet where this line is negated
  |
4 | \tnot customers[customer]
  | \t              ^
  help: put the line that gives `customer` its value above this one

";

#[tokio::test]
async fn a_question_that_is_asked_too_early_is_refused() {
    let home = Home::new();
    home.write("countersign.yaml", CONFIG);
    home.write("policies/customers.rego", TOO_EARLY);
    let check = ["policy", "check", "--config", "countersign.yaml"];
    let ran = home.run(&check).await;
    assert_eq!((ran.err.as_str(), ran.out.as_str(), ran.code), (REFUSED, "1 error\n", 1));
    let asked = ["policy", "eval", "--config", "countersign.yaml", "--server", "crm", "--tool", "x"];
    let ran = home.run(&[&asked[..], &["--principal", "lead"]].concat()).await;
    assert!(ran.code != 0 && ran.out.is_empty() && ran.err.contains("error[order]"), "{}: {}", ran.out, ran.err);

    let (negated, given) = ("\tnot customers[customer]\n", "\tcustomer = input.arguments.customer\n");
    home.write(
        "policies/customers.rego",
        &TOO_EARLY.replace(&format!("{negated}{given}"), &format!("{given}{negated}")),
    );
    let ran = home.run(&check).await;
    assert!(!ran.err.contains("error[") && ran.code == 0, "{}: {}", ran.code, ran.err);
}

#[tokio::test]
async fn warnings_fail_where_they_are_asked_to() {
    let home = Home::new();
    home.write("countersign.yaml", CONFIG);
    home.write("policies/x.rego", "package countersign.policy.x\n\ndeny contains {\"rule\": \"x.a\", \"reason\": \"r\"} if input.operation.name == \"wipe\"\n");
    let check = ["policy", "check", "--config", "countersign.yaml"];
    let ran = home.run(&check).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "ok: 18 rules, 2 warnings\n"), "{ran:?}");
    assert!(ran.err.contains("warning[untested]") && ran.err.contains("warning[unknown-name]"), "{ran:?}");
    assert_eq!(home.run(&[&check[..], &["--deny-warnings"]].concat()).await.code, 1);
}

#[tokio::test]
async fn tests_are_reported_for_people_and_for_machines() {
    let home = scene();
    let ran = home.run(&["policy", "test", "policies"]).await;
    assert_eq!(ran.code, 1);
    let expected = "FAIL data.countersign.policy.refunds_test.test_note (policies/refunds_test.rego:10)
  policies/refunds_test.rego:11: a<b {}
1 passed, 1 failed, 0 skipped
run the first again: countersign policy test policies -v --run '^data\\.countersign\\.policy\\.refunds_test\\.test_note$'
";
    assert_eq!(ran.out, expected);
    // The command that it prints runs that test alone.
    let name = r"^data\.countersign\.policy\.refunds_test\.test_note$";
    let again = home.run(&["policy", "test", "policies", "-v", "--run", name]).await;
    assert!(again.out.contains("0 passed, 1 failed"), "{again:?}");

    let large = home.run(&["policy", "test", "policies", "-v", "--run", "test_large", "--coverage"]).await;
    assert_eq!(large.code, 0, "{large:?}");
    assert!(
        large.out.starts_with("PASS data.countersign.policy.refunds_test.test_large (policies/refunds_test.rego:5) ")
    );
    assert!(large.out.contains("ms\n") && large.out.contains("not evaluated: "), "{}", large.out);
    let cover = ["policy", "test", "policies", "--run", "test_large", "--threshold"];
    assert_eq!(home.run(&[&cover[..], &["50"]].concat()).await.code, 0);
    let below = home.run(&[&cover[..], &["100"]].concat()).await;
    assert_eq!(below.code, 1);
    assert!(below.err.contains("is below the threshold of 100 %"), "{below:?}");

    let ran = home.run(&["policy", "test", "policies", "--format", "json", "--coverage"]).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["passed"], &report["failed"], ran.code), (&json!(1), &json!(1), 1));
    assert_eq!(report["tests"][1]["verdict"], "fail");
    assert_eq!(report["coverage"]["files"][0]["file"], "policies/refunds.rego");

    let ran = home.run(&["policy", "test", "policies", "--format", "junit"]).await;
    assert_eq!(ran.code, 1);
    let first = "<testcase classname=\"data.countersign.policy.refunds_test\" name=\"test_large\" file=\"policies/refunds_test.rego\" line=\"5\"";
    assert!(ran.out.contains("tests=\"2\" failures=\"1\" skipped=\"0\"") && ran.out.contains(first), "{}", ran.out);
    assert!(
        ran.out.contains("<failure message=\"not true\">policies/refunds_test.rego:11: a&lt;b {}</failure>"),
        "{}",
        ran.out
    );
    assert_eq!(home.run(&["policy", "test", "policies", "--run", "("]).await.code, 2);
    assert_eq!(home.run(&["policy", "test", "policies", "--run", "nothing"]).await.code, 1, "no test proves nothing");
}

#[tokio::test]
async fn a_call_that_nobody_made_is_explained() {
    let home = scene();
    let asked = ["policy", "explain", "--config", "countersign.yaml", "--server", "crm", "--tool", "create_refund"];
    let ran = home
        .run(&[&asked[..], &["--principal", "lead", "--arguments", r#"{"amount":7,"customer":"y"}"#]].concat())
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let story = "
  hold refunds.large: did not hold
      3 | hold contains {\"rule\": \"refunds.large\", \"reason\": \"large\"} if {
  yes 4 |     input.operation.name == \"create_refund\"
   NO 5 |     input.arguments.amuont > 1000
        = input.arguments.amuont is undefined
      6 | }
";
    assert!(ran.out.contains(story), "{}", ran.out);
    assert!(ran.out.contains("allow scopes.covered: held"), "{}", ran.out);
    // Who calls has to be clear.
    assert_eq!(home.run(&asked).await.code, 2);
    // Where a rule fails, that is the story.
    let odd = home.run(&[&asked[..], &["--principal", "lead", "--arguments", r#"{"customer":7}"#]].concat()).await;
    assert!(odd.out.contains("FAILED, so the call is refused: `contains` expects string argument"), "{}", odd.out);
}

#[tokio::test]
async fn a_call_that_waits_and_one_that_is_recorded_are_explained() {
    let spy = Spy::stdio().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&call("a", "create_refund", json!({"amount": 100, "charge": "ch_1"}))).await;
    let id = console.hold().await.id.as_str().to_owned();
    let explain = |by: &'static str, id: String| {
        let daemon = &daemon;
        async move {
            let (text, code) = daemon.run(&["policy", "explain", by, &id, "-o", "json"]).await;
            assert_eq!(code, 0, "{text}");
            serde_json::from_str::<Value>(&text).unwrap()
        }
    };
    for report in [explain("--hold", id[..6].to_lowercase()).await, explain("--record", id.clone()).await] {
        assert_eq!(report["schema"], "countersign.explanation/v1");
        assert_eq!((&report["decision"]["effect"], &report["recorded"]["effect"]), (&json!("hold"), &json!("hold")));
        assert_eq!(report["recorded"]["id"], id.as_str());
        // The same policies judge what was recorded, and see the same.
        assert_eq!(report["recorded"]["policy_version"], report["policy_version"]);
        let rule = |id: &str| {
            let rules = report["rules"].as_array().unwrap();
            rules.iter().find(|rule| rule["rules"][0] == id).unwrap().clone()
        };
        assert_eq!(rule("fixture.refund")["outcome"], "held");
        assert_eq!(rule("fixture.delete")["outcome"], "not_held");
        assert_eq!(
            rule("fixture.delete")["reads"][0],
            json!({"line": 20, "name": "input.tool.name", "values": ["\"create_refund\""]})
        );
    }
    assert_eq!(daemon.run(&["policy", "explain", "--hold", "ZZZZZZZZZZZZ"]).await.1, 3);
    assert_eq!(daemon.run(&["policy", "explain", "--record", "ZZZZZZZZZZZZ"]).await.1, 3);
    assert_eq!(spy.all_calls(), 0, "to explain a call is not to make it");
}

#[tokio::test]
async fn coverage_says_what_is_decided_by_which_rule_and_what_is_not() {
    let home = scene();
    home.write(
        "policies/refunds.rego",
        &POLICY
            .replace("amuont", "amount")
            .replace("contains(input.arguments.customer, \"x\")", "input.arguments.customer == \"x\""),
    );
    let cover = ["policy", "coverage", "--config", "countersign.yaml"];
    let ran = home.run(&cover).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let table: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(table[0], ["SERVER", "OPERATION", "CLASS", "PRINCIPAL", "EFFECT", "RULES"]);
    for row in [
        vec!["crm", "get_customer", "read", "agent", "allow", "scopes.covered"],
        vec!["crm", "create_refund", "financial", "lead", "hold", "destructive.sandbox,", "refunds.large"],
        vec!["crm", "update_customer", "write", "agent", "allow", "scopes.covered"],
        vec!["crm", "delete_customer", "destructive", "agent", "deny", "(no", "rule", "allows", "it)"],
    ] {
        assert!(table.contains(&row), "{row:?}\n{}", ran.out);
    }
    let (_, unguarded) = ran.out.split_once("unguarded\n").unwrap();
    let expected = "
allowed by a wildcard alone: covered by scope */write:
  crm/update_customer for agent
";
    assert_eq!(unguarded, expected);
    assert_eq!(home.run(&[&cover[..], &["--deny-unguarded"]].concat()).await.code, 1);
    assert_eq!(home.run(&[&cover[..], &["--server", "other"]].concat()).await.code, 3);
    let ran = home.run(&[&cover[..], &["--principal", "agent", "-o", "json"]].concat()).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let rows = report["operations"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["principal"] == "agent") && rows.len() == 9, "{report}");
    // With scopes that say what they mean, nothing is left.
    home.write("countersign.yaml", &CONFIG.replace("*/write", "crm/write"));
    let ran = home.run(&[&cover[..], &["--principal", "agent", "--deny-unguarded"]].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// What `init` writes loads, passes its own tests, is found clean, and the daemon starts with it once the key is set.
#[tokio::test]
async fn what_init_writes_works() {
    for (vendor, key) in [
        ("stripe", Some(("STRIPE_SANDBOX_KEY", "sk_test_4eC39HqLyjWDarjtT1zdp7dc"))),
        ("stigg", Some(("STIGG_SERVER_KEY", "server-0a1b2c3d4e5f60718293"))),
        ("statsig", Some(("STATSIG_CONSOLE_KEY", "console-0a1b2c3d4e5f60718293"))),
        ("custom", None),
    ] {
        let home = Home::new();
        let dry = home.run(&["init", "here", "--server", vendor, "--dry-run"]).await;
        assert_eq!(dry.code, 0, "{vendor}: {dry:?}");
        assert!(dry.out.contains("# ~/here/countersign.yaml: ") && !home.path("here").exists(), "{dry:?}");

        let ran = home.run(&["init", "here", "--server", vendor]).await;
        assert_eq!(ran.code, 0, "{vendor}: {ran:?}");
        for said in ["countersign.yaml ", "policies/data.yaml ", "next:", "serve --config ~/here/countersign.yaml"] {
            assert!(ran.out.contains(said), "{vendor}: {said}: {}", ran.out);
        }
        let config = home.path("here/countersign.yaml");
        let before = (std::fs::read(&config).unwrap(), std::fs::metadata(&config).unwrap());
        assert_eq!(mode(&config), 0o600);
        assert_eq!(mode(&home.path("here/policies")), 0o700);
        let again = home.run(&["init", "here", "--server", vendor]).await;
        assert_eq!(again.code, 2);
        assert!(again.err.contains("~/here/countersign.yaml exists, and nothing was written"), "{again:?}");
        assert_eq!(std::fs::read(&config).unwrap(), before.0);

        let tests = home.run(&["policy", "test", "here/policies", "--threshold", "100"]).await;
        assert_eq!(tests.code, 0, "{vendor}: {tests:?}");
        // On the catalogs of all vendors the check takes long in a debug build; what differs is tested elsewhere.
        if vendor != "stripe" {
            let check = ["policy", "check", "--config", "here/countersign.yaml", "--deny-warnings"];
            let checked = home.run(&check).await;
            assert_eq!(checked.code, 0, "{vendor}: {checked:?}");
        }
        let config = config.display().to_string();
        if vendor == "custom" {
            let explain = ["policy", "explain", "--config", &config, "--server", vendor, "--tool", "x"];
            let explained = home.run(&explain).await;
            for builtin in ["environment", "destructive", "scopes", "pins"] {
                assert!(explained.out.contains(&format!("builtin/{builtin}.rego")), "{explained:?}");
            }
        }
        if let Some((variable, _)) = key {
            let without = home.run(&["serve", "--config", &config]).await;
            assert!(without.code == 2 && without.err.contains(variable), "{vendor}: {without:?}");
        }
        let mut serve = home.command(&["serve", "--config", &config]);
        serve.envs(key).env("XDG_RUNTIME_DIR", home.path("run")).stderr(Stdio::piped());
        std::fs::create_dir(home.path("run")).unwrap();
        set_mode(&home.path("run"), 0o700);
        let mut child = serve.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let ready = within("the daemon to listen", async {
            while let Some(line) = lines.next_line().await.unwrap() {
                said.push(line);
                if said.last().unwrap().starts_with("listening ") {
                    return true;
                }
            }
            false
        });
        assert!(ready.await, "{vendor}: {said:?}");
        child.kill().await.unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn init_overwrites_nothing_not_even_a_part() {
    let home = Home::new();
    home.write("here/policies/data.yaml", "mine: 1\n");
    let ran = home.run(&["init", "here", "--server", "stripe"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("~/here/policies/data.yaml exists"), "{ran:?}");
    assert!(!home.path("here/countersign.yaml").exists());
    assert_eq!(std::fs::read_to_string(home.path("here/policies/data.yaml")).unwrap(), "mine: 1\n");
}

/// From a live server come names, and its claims only as comments: nothing is believed.
#[tokio::test]
async fn init_asks_a_live_server_for_its_tools_and_believes_nothing() {
    let home = Home::new();
    let (python, server) = (peers::python().display().to_string(), peers::source("tests/it/author/list_tools.py"));
    let server = server.display().to_string();
    let arguments = ["init", "here", "--server", "custom", "--name", "crm", "--from-live", "--env", "CRM_TOKEN", "--"];
    let mut command = home.command(&[&arguments[..], &[&python, "-I", &server]].concat());
    command.env("CRM_TOKEN", "tok_0123456789").env("OTHER_KEY", "tok_9876543210");
    let ran = home.ran(command).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let catalog = std::fs::read_to_string(home.path("here/catalog/crm.yaml")).unwrap();
    for line in [
        "  \"get_deal\": { class: unknown }   # perhaps read: the server says readOnlyHint\n",
        "  \"bad\\U0000202Ename\": { class: unknown }   # the server contradicts itself: readOnlyHint and destructiveHint\n",
        "  \"wipe\": { class: unknown }   # perhaps destructive: the server says destructiveHint\n",
    ] {
        assert!(catalog.contains(line), "{line}: {catalog}");
    }
    // Its environment was cleared but for what was named.
    assert!(catalog.contains("CRM_TOKEN") && !catalog.contains("OTHER_KEY"), "{catalog}");
    let config = std::fs::read_to_string(home.path("here/countersign.yaml")).unwrap();
    assert!(config.contains("crm_token: { env: CRM_TOKEN }") && !config.contains("tok_"), "{config}");
    let checked = home.run(&["policy", "check", "--config", "here/countersign.yaml", "--deny-warnings"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let eval =
        ["policy", "eval", "--config", "here/countersign.yaml", "--server", "crm", "--tool", "get_deal", "--exit-code"];
    assert_eq!(home.run(&eval).await.code, 11, "what only the server calls a read is not one");

    let dead = home.run(&["init", "there", "--server", "custom", "--from-live", "--", "false"]).await;
    assert_eq!(dead.code, 2);
    assert!(dead.err.contains("asking `false` for its tools") && !home.path("there").exists(), "{dead:?}");
}

#[tokio::test]
async fn init_takes_tools_from_a_file() {
    let home = Home::new();
    home.write(
        "tools.json",
        r#"{"tools":[{"name":"create_refund"},{"name":"new_tool","annotations":{"readOnlyHint":true}}]}"#,
    );
    let ran = home.run(&["init", "here", "--server", "stripe", "--from-tools", "tools.json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let catalog = std::fs::read_to_string(home.path("here/catalog/stripe.yaml")).unwrap();
    // An entry would replace what the vendor's catalog says.
    assert!(catalog.contains("\"new_tool\": { class: unknown }") && !catalog.contains("create_refund"), "{catalog}");
    for bad in [r#"{"tools":[]}"#, r#"[{"title":"x"}]"#, "{", r#"[{"name":""}]"#] {
        home.write("bad.json", bad);
        let ran = home.run(&["init", "other", "--server", "custom", "--from-tools", "bad.json"]).await;
        assert_eq!(ran.code, 2, "{bad}: {ran:?}");
        assert!(!home.path("other").exists());
    }
}

/// What is usual stays in the server's own account and mode, dispatchers by themselves are one line, and what a gate or
/// a handle reaches is in the table.
#[tokio::test]
async fn coverage_of_what_init_writes_is_what_eval_says() {
    let home = Home::new();
    for vendor in ["stripe", "statsig"] {
        assert_eq!(home.run(&["init", vendor, "--server", vendor]).await.code, 0);
        let config = format!("{vendor}/countersign.yaml");
        let cover = ["policy", "coverage", "--config", &config, "--deny-unguarded", "-o", "json"];
        let ran = home.run(&cover).await;
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        let rows = report["operations"].as_array().unwrap();
        let row = |name: &str| rows.iter().find(|row| row["operation"] == name).unwrap_or_else(|| panic!("{name}"));
        let elsewhere = rows.iter().filter(|row| row["rules"].to_string().contains("environment.elsewhere"));
        assert_eq!(elsewhere.collect::<Vec<_>>(), Vec::<&Value>::new(), "{vendor}");
        assert_eq!(ran.code, 0, "{vendor}: {}", ran.err);
        assert_eq!(row("(unplaced calls)")["effects"], json!(["deny"]));
        match vendor {
            "stripe" => {
                assert!(row("create_refund")["effects"].as_array().unwrap().contains(&json!("hold")));
                assert_eq!(row("retrieve_balance")["effects"], json!(["allow"]));
                assert!(rows.iter().all(|row| row["operation"] != "stripe_api_write"));
            }
            _ => assert_eq!(row("POST /console/v1/keys")["effects"], json!(["deny"])),
        }
    }
    let gate = "{ url: \"https://api.stigg.io\", headers: { X-API-KEY: { secret: key } }, url_env: URL, key_env: KEY }";
    let config = CONFIG
        .replace("vendor: billing", "vendor: stigg")
        .replace("command: \"false\", env: { KEY: { secret: key } }", &format!("command: \"false\", gate: {gate}"))
        .replace("\"crm/create_refund\", ", "")
        .replace("crm/create_refund", "crm/read");
    home.write("countersign.yaml", &config);
    let rule = "package countersign.policy.x\n\ndeny contains {\"rule\": \"x.a\", \"reason\": \"r\"} if {\n\tinput.operation.name == \"v1.subscriptions.cancel\"\n\tinput.arguments.body.endDate\n}\n";
    home.write("policies/x.rego", rule);
    let ran =
        home.run(&["policy", "coverage", "--config", "countersign.yaml", "--principal", "agent", "-o", "json"]).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let rows = report["operations"].as_array().unwrap();
    let cancel = rows.iter().find(|row| row["operation"] == "v1.subscriptions.cancel").unwrap();
    assert_eq!(cancel["rules"], json!(["x.a"]), "{cancel}");
    let checked = home.run(&["policy", "check", "--config", "countersign.yaml"]).await;
    assert!(!checked.err.contains("unknown-name") && !checked.err.contains("[argument]"), "{checked:?}");
}

/// A budget for a misspelt operation would be none.
#[tokio::test]
async fn a_misspelt_operation_in_data_is_found() {
    let home = Home::new();
    home.write("countersign.yaml", CONFIG);
    let check = ["policy", "check", "--config", "countersign.yaml"];
    for (data, code, said) in [
        ("budgets: { crm: { create_refund: { hour: { count: 5 } } } }", 0, "ok:"),
        ("budgets: { crm: { financial: { hour: { count: 5 } }, \"create_*\": { day: { count: 5 } } } }", 0, "ok:"),
        (
            "budgets: { crm: { creat_refund: { hour: { count: 5 } } } }",
            1,
            "data.yaml:1:19: error[unknown-name]: a budget for `creat_refund`, and crm has no such operation",
        ),
        (
            "budgets: { crm: { create_refund: { with: [pay_the_moon], hour: { count: 5 } } } }",
            0,
            "warning[unknown-name]: a budget for `pay_the_moon`",
        ),
        (
            "destructive: { limits: { sandbox: { creat_refund: { minor: 5000 } } } }",
            0,
            "warning[unknown-name]: a limit for `creat_refund`, and no server has such an operation",
        ),
    ] {
        home.write("policies/data.yaml", data);
        let ran = home.run(&check).await;
        assert_eq!(ran.code, code, "{data}: {ran:?}");
        assert!(format!("{}{}", ran.out, ran.err).contains(said), "{data}: {ran:?}");
    }
}

/// The recipes are clean on the operations of a catalog, odd calls included.
#[tokio::test]
async fn the_cookbook_is_found_clean() {
    let home = Home::new();
    home.write("countersign.yaml", CONFIG.split("policy:").next().unwrap());
    let cookbook = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/cookbook");
    let ran = home.run(&["policy", "check", cookbook, "--config", "countersign.yaml"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    // Other vendors' operations are named in there.
    assert!(
        ran.err.lines().all(|line| !line.contains("warning[") || line.contains("warning[unknown-name]")),
        "{ran:?}"
    );
}
