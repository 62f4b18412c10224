//! The engine as the gate uses it: decisions, faults, limits, reloads.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::call::{CallId, Class, ClientInfo, Decided, Effect, Environment, ServerFacts, Tier, Transport, fixtures};
use crate::json::{JsonText, Rules};

mod contract;
mod opa;

fn call(tool: &str, arguments: &Value) -> ToolCall {
    let text = |value: &Value| JsonText::parse(value.to_string(), Rules::CLIENT).unwrap();
    let params = text(&json!({"name": tool, "arguments": arguments}));
    let message = text(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}));
    ToolCall::new(CallId::random().unwrap(), Decided::ToolsCall, tool.to_owned(), text(arguments), params, message)
}

/// As [`call`], with an answer to a question of the server.
fn answering(tool: &str, arguments: &Value) -> ToolCall {
    let text = |value: &Value| JsonText::parse(value.to_string(), Rules::CLIENT).unwrap();
    let params =
        text(&json!({"name": tool, "arguments": arguments, "inputResponses": {"confirm": {"action": "accept"}}}));
    let mut sent: Value = serde_json::from_str(params.as_str()).unwrap();
    sent["_meta"] = json!({"progressToken": 5});
    let message = text(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": sent}));
    let id = CallId::random().unwrap();
    ToolCall::new(id, Decided::ToolsCall, tool.to_owned(), text(arguments), params, message)
}

fn context(tool: &str, class: Class, environment: &str, scopes: &[&str]) -> CallContext {
    CallContext {
        principal: fixtures::principal("agent", scopes),
        client: ClientInfo { name: Some("cli\"ent".into()), uid: Some(1000), ..ClientInfo::silent(Transport::Stdio) }
            .into(),
        server: fixtures::server("stripe"),
        environment: fixtures::environment(environment),
        ..fixtures::context(tool, class)
    }
}

impl PolicyEngine {
    async fn judged(&self, call: &ToolCall, context: &CallContext) -> Result<Decision, PolicyFault> {
        self.evaluate(call, context, call.digest(context), now()).await
    }
}

fn engine(settings: Settings) -> PolicyEngine {
    PolicyEngine::load(settings).unwrap()
}

/// The built-in families, with a limit that a busy machine does not reach.
fn builtin() -> Settings {
    Settings { time_limit: PATIENT, unsafe_default_allow: true, ..Settings::default() }
}

const PATIENT: Duration = Duration::from_secs(5);

/// Files of an operator, and no built-in families.
struct Files(tempfile::TempDir);

impl Files {
    fn of(files: &[(&str, &str)]) -> Files {
        let dir = Files(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| dir.write(name, text));
        dir
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn settings(&self) -> Settings {
        Settings { builtin: Vec::new(), paths: vec![self.path().to_owned()], ..builtin() }
    }

    fn problems(&self) -> Vec<Problem> {
        PolicyEngine::load(self.settings()).unwrap_err().problems().to_vec()
    }
}

const ALLOW: &str =
    "package countersign.policy.open\n\nallow contains {\"rule\": \"open.all\", \"reason\": \"all\"} if true\n";

async fn judge(files: &[(&str, &str)], arguments: &Value) -> Result<Decision, PolicyFault> {
    let engine = engine(Files::of(files).settings());
    engine.judged(&call("t", arguments), &context("t", Class::Read, "sandbox", &[])).await
}

#[tokio::test]
async fn the_built_in_policies_decide() {
    let engine = engine(builtin());
    let scopes = ["*/read", "stripe/create_*"];
    for (tool, class, environment, effect, tier) in [
        ("list_customers", Class::Read, "production", Effect::Allow, Tier::Low),
        ("create_refund", Class::Financial, "production", Effect::Hold, Tier::High),
        ("create_refund", Class::Financial, "sandbox", Effect::Hold, Tier::Low),
        ("create_customer", Class::Write, "production", Effect::Hold, Tier::Medium),
        ("create_customer", Class::Write, "test", Effect::Allow, Tier::Low),
        ("delete_customer", Class::Destructive, "sandbox", Effect::Deny, Tier::Low),
        ("create_x", Class::Unknown, "prod-eu", Effect::Hold, Tier::High),
    ] {
        let context = context(tool, class, environment, &scopes);
        let decision = engine.judged(&call(tool, &json!({})), &context).await.unwrap();
        assert_eq!((decision.effect, decision.tier), (effect, tier), "{tool} in {environment}: {decision:?}");
        assert_eq!(decision.policy_version, engine.version());
    }
}

#[tokio::test]
async fn a_hit_names_policy_file_and_line() {
    let engine = engine(builtin());
    let context = context("create_refund", Class::Financial, "production", &["stripe/*"]);
    let decision = engine.judged(&call("create_refund", &json!({})), &context).await.unwrap();
    let hit = &decision.rules[0];
    assert_eq!((hit.rule.as_str(), hit.policy.as_str()), ("destructive.production", "destructive"));
    assert_eq!(hit.file, "builtin/destructive.rego");
    let source = include_str!("../../policies/destructive.rego");
    assert!(source.lines().nth(hit.line - 1).unwrap().contains("\"destructive.production\""));
    assert_eq!(decision.confirm_with, ["/operation/name"]);
    assert_eq!(
        confirm_value("/operation/name", &call("create_refund", &json!({})), &context, Digest::of_bytes(b"")).unwrap(),
        "create_refund"
    );
}

#[tokio::test]
async fn a_list_shows_what_may_be_held_and_hides_what_is_denied() {
    let engine = engine(builtin());
    let listed = |tool: &'static str, class| {
        let (engine, context) = (engine.clone(), context(tool, class, "production", &["stripe/PostRefunds"]));
        async move { engine.evaluate_listed(&context).await.unwrap().effect }
    };
    assert_eq!(listed("stripe_api_write", Class::Unknown).await, Effect::Hold);
    assert_eq!(listed("delete_customer", Class::Destructive).await, Effect::Deny);
}

#[tokio::test]
async fn the_input_has_what_the_contract_says() {
    let mut context = context("t", Class::Financial, "sandbox", &["a/b"]);
    context.operation.money =
        Some(crate::call::Money { amount: Some("50.0".into()), unit: "minor".into(), currency: None, absent: None });
    let call = call("t", &json!({"b": [1, {"x": "\u{2028}"}], "a": "q\"uote"}));
    let document = input::document(7, input::Subject::call(&call, call.digest(&context)), &context);
    let value: Value = serde_json::from_str(document.as_str()).unwrap();
    let expected = json!({
        "version": 1,
        "now": 7,
        "phase": "call",
        "method": "tools/call",
        "principal": {"name": "agent", "kind": "uid", "scopes": ["a/b"], "claims": {}},
        "client": {"name": "cli\"ent", "transport": "stdio", "uid": 1000},
        "session": {"id": "s-1", "accounts": []},
        "server": {"name": "stripe"},
        "environment": {"name": "sandbox", "source": "config", "verified": false, "production": false, "accounts": []},
        "tool": {"name": "t", "pin": "unknown", "schema": "none"},
        "operation": {"name": "t", "class": "financial", "money": {"amount": 50.0, "unit": "minor"}, "targets": []},
        "arguments": {"b": [1, {"x": "\u{2028}"}], "a": "q\"uote"},
        "digest": call.digest(&context).to_string(),
    });
    assert_eq!(value, expected);
    assert!(document.as_str().contains(call.arguments().as_str()), "the arguments are not the judged text");
}

#[tokio::test]
async fn patterns_may_use_every_class_of_the_regex_syntax() {
    let policy = r#"package countersign.policy.sql
deny contains {"rule": "sql.where", "reason": "no where"} if {
	not regex.match("\\bwhere\\b", input.arguments.sql)
}
allow contains {"rule": "sql.select", "reason": "select"} if regex.match(`(?i)^\s*select\s+\w+\s+\p{L}`, input.arguments.sql)
"#;
    let files = [("sql.rego", policy)];
    for (sql, effect) in [("SELECT a from t where x", Effect::Allow), ("SELECT a from t nowhere", Effect::Deny)] {
        assert_eq!(judge(&files, &json!({ "sql": sql })).map_ok_effect().await, effect, "{sql}");
    }
}

/// Unwraps a decision to its effect, for short tests.
trait MapOkEffect {
    async fn map_ok_effect(self) -> Effect;
}

impl<F: Future<Output = Result<Decision, PolicyFault>>> MapOkEffect for F {
    async fn map_ok_effect(self) -> Effect {
        self.await.unwrap().effect
    }
}

#[tokio::test]
async fn malformed_entries_are_faults() {
    for entry in [
        r#"object.union({"rule": "x.a", "reason": "b"}, {"extra": 1})"#,
        r#"object.union({"rule": "x.a", "reason": "b"}, {"tier": "huge"})"#,
        r#"object.union({"rule": "x.a"}, {})"#,
        r#""only text""#,
        r#"object.union({"rule": "x.a", "reason": "b"}, {"approvals": 18446744073709551615 * 18446744073709551615})"#,
    ] {
        let policy = format!(
            "package countersign.policy.x\ndeny contains entry if {{\n\tinput.arguments.now\n\tentry := {entry}\n}}\n"
        );
        let files = [("open.rego", ALLOW), ("x.rego", policy.as_str())];
        let fault = judge(&files, &json!({"now": true})).await.unwrap_err();
        assert!(matches!(fault, PolicyFault::Shape { .. }), "{entry}: {fault}");
        assert_eq!(judge(&files, &json!({})).map_ok_effect().await, Effect::Allow);
    }
}

#[tokio::test]
async fn an_entry_whose_words_are_undefined_is_not_there_and_deny_still_needs_an_allow() {
    let policy = "package countersign.policy.x\nallow contains {\"rule\": \"x.a\", \"reason\": input.arguments.missing} if true\n";
    assert_eq!(judge(&[("x.rego", policy)], &json!({})).map_ok_effect().await, Effect::Deny);
}

#[tokio::test]
async fn an_error_while_evaluating_is_a_fault() {
    let policy = "package countersign.policy.x\ndeny contains {\"rule\": \"x.a\", \"reason\": \"r\"} if to_number(input.arguments.n) > 3\n";
    let files = [("open.rego", ALLOW), ("x.rego", policy)];
    let fault = judge(&files, &json!({"n": "three"})).await.unwrap_err();
    assert!(matches!(&fault, PolicyFault::Engine { policy, .. } if policy == "x"), "{fault}");
    assert!(!fault.for_client().contains("rego"));
}

#[tokio::test]
async fn a_pointer_that_finds_nothing_is_a_fault_for_a_call_and_not_for_a_list() {
    let policy = "package countersign.policy.x\nhold contains {\"rule\": \"x.a\", \"reason\": \"r\", \"confirm_with\": \"/arguments/amount\"} if true\n";
    let files = Files::of(&[("open.rego", ALLOW), ("x.rego", policy)]);
    let engine = engine(files.settings());
    let context = context("t", Class::Write, "production", &[]);
    let judge = |arguments: Value| {
        let (engine, context) = (engine.clone(), context.clone());
        async move { engine.judged(&call("t", &arguments), &context).await }
    };
    assert_eq!(judge(json!({"amount": 5})).map_ok_effect().await, Effect::Hold);
    for arguments in [json!({}), json!({"amount": null}), json!({"amount": {}}), json!({"amount": ""})] {
        let fault = judge(arguments).await.unwrap_err();
        assert!(matches!(fault, PolicyFault::Pointer { .. }), "{fault}");
    }
    assert_eq!(engine.evaluate_listed(&context).map_ok_effect().await, Effect::Hold);
}

#[tokio::test]
async fn warn_and_shadow_record_and_do_not_decide() {
    let policy = "package countersign.policy.x\ndeny contains {\"rule\": \"x.no\", \"reason\": \"r\"} if not input.arguments.bad\ndeny contains {\"rule\": \"x.bad\", \"reason\": \"r\"} if to_number(input.arguments.bad) == 1\n";
    let files = Files::of(&[("open.rego", ALLOW), ("x.rego", policy)]);
    for mode in [Mode::Warn, Mode::Shadow] {
        let engine = engine(Settings { modes: [("x".to_owned(), mode)].into(), ..files.settings() });
        let context = context("t", Class::Write, "production", &[]);
        let decision = engine.judged(&call("t", &json!({})), &context).await.unwrap();
        assert_eq!(decision.effect, Effect::Allow);
        assert_eq!(decision.observed[0].rule, "x.no");
        let failing = engine.judged(&call("t", &json!({"bad": "x"})), &context).await.unwrap();
        assert_eq!((failing.effect, failing.observed[0].rule.as_str()), (Effect::Allow, "x.fault"));
    }
    let unknown = Settings { modes: [("y".to_owned(), Mode::Shadow)].into(), ..files.settings() };
    assert_eq!(PolicyEngine::load(unknown).unwrap_err().problems()[0].code, "mode");
    let none =
        Settings { modes: [("x".to_owned(), Mode::Warn), ("open".to_owned(), Mode::Warn)].into(), ..files.settings() };
    assert_eq!(PolicyEngine::load(none).unwrap_err().problems()[0].code, "empty");
}

/// A family that is watched has a program, and so a clock, of its own.
#[test]
fn a_shipped_family_that_is_watched_cannot_fail_a_call() {
    let build = || set::Build {
        sources: source::builtin(&builtin().builtin).unwrap(),
        modes: [("pins".to_owned(), Mode::Shadow)].into(),
        time_limit: PATIENT,
        unsafe_default_allow: false,
    };
    let (call, context) = (call("list", &json!({})), context("list", Class::Read, "production", &["*/read"]));
    let text = input::document(now(), input::Subject::call(&call, call.digest(&context)), &context);
    let document = Document::Ours(text);
    let failing = |mode| set::PolicySet::load(build()).unwrap().failing_for_test(mode);
    let decision = failing(Mode::Shadow).decide(Phase::Call, &document).unwrap();
    assert_eq!(decision.effect, Effect::Allow, "{decision:?}");
    assert!(!decision.observed.is_empty() && decision.observed.iter().all(|hit| hit.rule == "pins.fault"));
    assert!(decision.observed[0].reason.starts_with("the built-in policies failed"), "{decision:?}");
    let fault = failing(Mode::Enforce).decide(Phase::Call, &document).unwrap_err();
    assert!(matches!(fault, PolicyFault::BuiltIn { .. }), "{fault}");
}

#[test]
fn a_policy_that_allows_by_default_is_not_loaded() {
    let strict = |files: &Files, mode| {
        let modes = [("open".to_owned(), mode)].into();
        let settings = Settings { modes, builtin: builtin().builtin, ..files.settings() };
        PolicyEngine::load(Settings { unsafe_default_allow: false, ..settings })
    };
    for text in ["if true", "if not input.arguments.amount > 1000"] {
        let open = Files::of(&[("open.rego", &ALLOW.replace("if true", text))]);
        let errors = strict(&open, Mode::Enforce).unwrap_err();
        let [problem] = errors.problems() else { panic!("{errors}") };
        assert_eq!((&*problem.code, problem.line), ("default-allow", 3), "{errors}");
        assert!(problem.help.contains("unsafe_default_allow: true"), "{errors}");
        strict(&open, Mode::Shadow).unwrap();
        PolicyEngine::load(open.settings()).unwrap();
    }
    let named = Files::of(&[("open.rego", &ALLOW.replace("if true", "if input.operation.class == \"read\""))]);
    strict(&named, Mode::Enforce).unwrap();
}

// Many small steps: the interpreter's own clock ends it.
const SLOW: &str = "package countersign.policy.x\ndeny contains {\"rule\": \"x.slow\", \"reason\": \"r\"} if {\n\tinput.arguments.slow\n\tsome a in numbers.range(1, 3000)\n\tsome b in numbers.range(1, 3000)\n\ta * b == -1\n}\n";
// One long step: nothing inside the interpreter ends it.
const STUCK: &str = "package countersign.policy.x\ndeny contains {\"rule\": \"x.stuck\", \"reason\": \"r\"} if {\n\tinput.arguments.slow\n\tcount(numbers.range(1, 3000000)) == 0\n}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_takes_too_long_is_a_fault() {
    let files = Files::of(&[("open.rego", ALLOW), ("x.rego", SLOW)]);
    let engine = engine(Settings { time_limit: Duration::from_millis(20), ..files.settings() });
    let context = context("t", Class::Read, "sandbox", &[]);
    let fault = engine.judged(&call("t", &json!({"slow": true})), &context).await.unwrap_err();
    // Which of the guards is first depends on the machine.
    assert!(
        matches!(fault, PolicyFault::Engine { .. } | PolicyFault::TimeLimit { .. } | PolicyFault::Timeout),
        "{fault}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runaway_builtin_is_refused_in_time_and_others_go_on() {
    let files = Files::of(&[("open.rego", ALLOW), ("x.rego", STUCK)]);
    let engine = engine(Settings { time_limit: Duration::from_millis(20), ..files.settings() });
    let context = context("t", Class::Read, "sandbox", &[]);
    let stuck = engine.judged(&call("t", &json!({"slow": true})), &context).await.unwrap_err();
    // On a fast machine the step may end before the outer limit, and the interpreter's own clock speaks.
    let clock = matches!(stuck, PolicyFault::Engine { .. }) && stuck.to_string().contains("time limit");
    assert!(clock || matches!(stuck, PolicyFault::Timeout | PolicyFault::TimeLimit { .. }), "{stuck}");
    // Its thread may still run and keep its slot; another one decides.
    let next = engine.judged(&call("t", &json!({})), &context).await.unwrap();
    assert_eq!(next.effect, Effect::Allow);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_slot_is_taken_the_answer_is_saturated() {
    let files = Files::of(&[("open.rego", ALLOW)]);
    let engine = engine(Settings { time_limit: Duration::from_millis(5), ..files.settings() });
    let slots = u32::try_from(engine.0.slots.available_permits()).unwrap();
    let taken = engine.0.slots.clone().acquire_many_owned(slots).await.unwrap();
    let context = context("t", Class::Read, "sandbox", &[]);
    let fault = engine.judged(&call("t", &json!({})), &context).await.unwrap_err();
    assert_eq!(fault, PolicyFault::Saturated);
    drop(taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_rules_decide_at_once_and_a_large_input_waits_its_turn() {
    let engine = engine(Settings { time_limit: Duration::from_millis(50), ..Settings::default() });
    let slots = u32::try_from(engine.0.slots.available_permits()).unwrap();
    let taken = engine.0.slots.clone().acquire_many_owned(slots).await.unwrap();
    let context = context("t", Class::Read, "sandbox", &["*/read"]);
    let decision = engine.judged(&call("t", &json!({})), &context).await.unwrap();
    assert_eq!(decision.effect, Effect::Allow);
    let large = json!({"text": "x".repeat(AT_ONCE)});
    let fault = engine.judged(&call("t", &large), &context).await.unwrap_err();
    assert_eq!(fault, PolicyFault::Saturated);
    drop(taken);
}

#[test]
fn a_lost_expiry_is_a_fault_and_no_wrong_answer() {
    // The interpreter drops an expiry at the end of `good` and goes on as if it were undefined.
    let policy = "package countersign.policy.x\nallow contains {\"rule\": \"x.a\", \"reason\": \"r\"} if not any_bad\nany_bad if count(good) == 0\ngood contains v if {\n\tsome v in input.arguments.l\n\tv > 10\n}\n";
    let files = Files::of(&[("x.rego", policy)]);
    let sources = source::read(&[files.path().to_owned()]).unwrap();
    let (modes, time_limit) = (BTreeMap::new(), Duration::from_secs(1));
    let build = set::Build { sources, modes, time_limit, unsafe_default_allow: false };
    let set = set::PolicySet::load(build).unwrap();
    let input = Document::Ours(input::Text::whole(r#"{"arguments": {"l": [1, 2, 3]}}"#.to_owned()));
    assert_eq!(set.decide(Phase::Call, &input).unwrap().effect, Effect::Deny);
    let mut faults = 0;
    for micros in 1..400 {
        let limited = set.limited_for_test(Duration::from_micros(micros));
        for _ in 0..20 {
            match limited.decide(Phase::Call, &input) {
                Ok(decision) => assert_eq!(decision.effect, Effect::Deny, "within {micros} us"),
                Err(_) => faults += 1,
            }
        }
    }
    assert!(faults > 0, "no limit was ever reached");
}

#[test]
fn an_undefined_set_is_a_fault_and_not_an_empty_set() {
    let mut engine = regorus::Engine::new();
    engine.add_policy("x.rego".into(), "package countersign.policy.x\ndeny := 1 if false\n".into()).unwrap();
    engine.set_input(regorus::Value::new_object());
    let fault = set::evaluate_for_test(&mut engine, "data.countersign.policy.x.deny").unwrap_err();
    assert!(matches!(fault, PolicyFault::Undefined { .. }), "{fault}");
}

/// Files that the loader refuses: (name, text) pairs, the code, and the place of the first problem.
#[test]
fn the_loader_refuses() {
    let policy = |body: &str| format!("package countersign.policy.x\n{body}\n");
    let cases: &[(&str, String, usize)] = &[
        ("rego", policy("deny contains {"), 3),
        ("rego", policy("deny contains {\"rule\": \"a\", \"reason\": y} if true"), 2),
        ("package", "package other\nallow := 1\n".to_owned(), 1),
        ("package", "package countersign.policy.x.y\nz := 1\n".to_owned(), 1),
        ("package", "package countersign.policy.x_test\nz := 1\n".to_owned(), 1),
        ("package", "package countersign\npolicy := {}\n".to_owned(), 1),
        ("shape", policy("deny := true"), 2),
        ("shape", policy("default deny := set()"), 2),
        ("shape", policy("allow if true"), 2),
        ("shape", policy("hold[x] := 1 if x := 2"), 2),
        ("shape", policy("deny.sub contains 1 if true"), 2),
        ("shape", policy("deny(x) := 1 if x"), 2),
        ("entry", policy("deny contains {\"reason\": \"r\"} if true"), 2),
        ("entry", policy("deny contains {\"rule\": \"x.a\"} if true"), 2),
        ("entry", policy("deny contains {\"rule\": \"x.a\", \"reason\": \"r\", \"teir\": \"low\"} if true"), 2),
        (
            "duplicate-rule",
            policy(
                "deny contains {\"rule\": \"x.a\", \"reason\": \"1\"} if true\nhold contains {\"rule\": \"x.a\", \"reason\": \"2\"} if true",
            ),
            3,
        ),
        ("function", policy("p if no_such_function(1)"), 2),
        ("function", policy("p if crypto.sha256(\"a\") == \"b\""), 2),
        ("function", policy("p if count(1, 2, 3)"), 2),
        ("function", policy("p if data.countersign.lib.y.f(1)"), 2),
        ("function", policy("p if strings.count(\"aaa\", \"aa\") == 1"), 2),
        ("function", policy("p := strings.replace_n({\"a\": \"b\"}, \"a\")"), 2),
        ("function", policy("p if {\n\t[_, value] := walk(input.arguments)\n\tvalue == 1\n}"), 3),
        ("function", policy("p if not walk(input.arguments, [_, 1])"), 2),
        ("function", policy("p if x := walk(input.arguments, [_, 1])"), 2),
        ("glob", policy("p if glob.match(\"{prod,}-db\", [], \"-db\")"), 2),
        ("glob", policy("p if glob.match(\"a{{x,},y}\", null, \"a\")"), 2),
        ("glob", policy("p if glob.match(`{[}],}`, null, \"a\")"), 2),
        ("glob", policy("p if glob.match(\"{1,}\", null, \"1\")"), 2),
        ("glob", policy("p if {\n\tpattern := \"{prod,}-db\"\n\tglob.match(pattern, [], \"-db\")\n}"), 3),
        ("glob", policy("p if {\n\tsome one in [\"a\", \"{prod,}\"]\n\tglob.match(one, [], \"-db\")\n}"), 3),
        ("glob", policy("names := {\"{prod,}\"}\np if glob.match(names[_], [], \"-db\")"), 2),
        ("glob", policy("f(x) if glob.match(x, [], \"a\")\np if f(sprintf(\"{%s,}\", [\"a\"]))"), 3),
        ("glob", policy("p if glob.match(\"[^a]b\", null, \"ab\")"), 2),
        ("glob", policy("p if glob.match(\"{[^a],b}\", null, \"a\")"), 2),
        ("glob", policy("classes := [`[^a]`]\np if glob.match(classes[_], [], \"a\")"), 2),
        ("function", policy("p := glob.quote_meta(input.arguments.name)"), 2),
        ("function", policy("p := json.filter(input.arguments, [\"/a\"])"), 2),
        ("function", policy("p := json.remove(input.arguments, [\"a/b\"])"), 2),
        ("function", policy("p if net.cidr_contains(\"10.0.0.0/8\", input.arguments.address)"), 2),
        ("function", policy("p := time.add_date(input.now, 0, 1, 0)"), 2),
        ("function", policy("p := units.parse(input.arguments.memory)"), 2),
        ("function", policy("p := units.parse_bytes(input.arguments.memory)"), 2),
        ("pattern", policy("p if {\"a\": x} := input.arguments"), 2),
        ("pattern", policy("p if {\"a\": x} = input.arguments"), 2),
        ("pattern", policy("p if input.arguments = {\"a\": _}"), 2),
        ("pattern", policy("p if [1, {\"a\": x}] = input.arguments.list"), 2),
        ("pattern", policy("p if {\n\tsome {\"a\": x} in input.arguments.list\n\tx == 1\n}"), 3),
        ("pattern", policy("f({\"a\": x}) := x\np := f(input.arguments)"), 2),
        ("pattern", policy("p if [x | {\"a\": x} = input.arguments] == []"), 2),
        ("nondeterministic", policy("p if time.now_ns() > 1"), 2),
        ("nondeterministic", policy("p if rand.intn(\"a\", 2) == 1"), 2),
        ("regex", policy("p if regex.match(`(?<=a)b`, \"b\")"), 2),
        ("regex", policy("p if regex.replace(\"b\", `(`, \"c\") == \"d\""), 2),
        ("reference", policy("p if data.countersign.policy.y.deny"), 2),
        ("reference", policy("p if data.countersign.policy.x.dany"), 2),
        ("reference", policy("import data.countersign.lib.gone\np if gone.x"), 2),
        ("reference", policy("p if data.thresholds.max > 1"), 2),
        ("reference", policy("p if input.argumants.x"), 2),
        ("reference", policy("p if input.principal.nmae == \"a\""), 2),
        ("reference", policy("p if input[\"operation\"].klass == \"a\""), 2),
        ("reference", policy("p if input.history.x"), 2),
        ("with", policy("p if q with input as {}\nq if true"), 2),
        ("recursion", policy("f(x) := f(x + 1)"), 2),
        ("recursion", policy("f(x) := g(x)\ng(x) := f(x) if x > 1"), 2),
        ("recursion", policy("f(x) := y if {\n\ty := [z | some z in [f(x)]]\n}"), 2),
        ("recursion", policy("f(x) := data.countersign.policy.x.f(x)"), 2),
        ("recursion", policy("import data.countersign.policy.x as me\nf(x) := me.f(x)"), 3),
        ("recursion", policy("p if not q\nq if not p"), 2),
        ("recursion", policy("p contains data.countersign.policy.x[y] if some y in [\"p\"]"), 2),
        ("empty", policy("helper := 1"), 0),
        ("empty", String::from("package countersign.lib.y\nhelper := 1\n"), 0),
    ];
    for (code, text, line) in cases {
        let problems = Files::of(&[("x.rego", text)]).problems();
        assert_eq!((&*problems[0].code, problems[0].line), (*code, *line), "{text}\n{}", problems[0]);
    }
}

#[test]
fn a_second_file_may_not_extend_a_package() {
    let files =
        Files::of(&[("a.rego", ALLOW), ("b.rego", "package countersign.policy.open\nallow contains 1 if true\n")]);
    let problem = files.problems().remove(0);
    assert_eq!(problem.code, "package");
    assert!(problem.message.contains("also declared in") && problem.file.ends_with("b.rego"), "{problem}");
    // Nor may the operator's files extend a built-in family by accident.
    let files = Files::of(&[("s.rego", "package countersign.policy.scopes\nallow contains 1 if true\n")]);
    let settings = Settings { builtin: vec!["scopes".into()], ..files.settings() };
    assert_eq!(PolicyEngine::load(settings).unwrap_err().problems()[0].code, "package");
}

#[test]
fn data_may_not_override_policy() {
    let data = "countersign: {policy: {open: {allow: [{rule: a, reason: b}]}}}\n";
    let problem = Files::of(&[("a.rego", ALLOW), ("data.yaml", data)]).problems().remove(0);
    assert!(problem.code == "data" && problem.message.contains("replace rules"), "{problem}");
}

#[test]
fn nested_literals_do_not_hold_up_the_loader() {
    let nested = format!("p := {}1{}", "[".repeat(22), "]".repeat(22));
    let policy = format!("package countersign.policy.x\n{nested}\n");
    let started = std::time::Instant::now();
    let problem = Files::of(&[("x.rego", &policy)]).problems().remove(0);
    assert_eq!(problem.code, "load");
    assert!(problem.file.ends_with("x.rego"), "{problem}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn unknown_families_and_empty_sets_do_not_load() {
    let settings = |names: &[&str]| Settings {
        builtin: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Settings::default()
    };
    assert_eq!(PolicyEngine::load(settings(&["scope"])).unwrap_err().problems()[0].code, "builtin");
    assert_eq!(PolicyEngine::load(settings(&["scopes", "scopes"])).unwrap_err().problems()[0].code, "builtin");
    assert_eq!(PolicyEngine::load(settings(&[])).unwrap_err().problems()[0].code, "empty");
}

#[tokio::test]
async fn a_bad_reload_keeps_what_is_in_use() {
    let files = Files::of(&[("open.rego", ALLOW)]);
    let engine = engine(files.settings());
    let (version, fingerprint) = (engine.version(), engine.fingerprint());
    let context = context("t", Class::Read, "sandbox", &[]);
    let call = call("t", &json!({}));
    assert!(!engine.reload().await.unwrap().changed);

    files.write("broken.rego", "package countersign.policy.broken\ndeny contains {");
    assert_ne!(engine.fingerprint(), fingerprint);
    let errors = engine.reload().await.unwrap_err();
    assert!(errors.to_string().contains("broken.rego:2:"), "{errors}");
    assert_eq!(engine.version(), version);
    assert_eq!(engine.judged(&call, &context).map_ok_effect().await, Effect::Allow);

    files.write(
        "broken.rego",
        "package countersign.policy.broken\ndeny contains {\"rule\": \"b.a\", \"reason\": \"now\"} if true\n",
    );
    let reloaded = engine.reload().await.unwrap();
    assert!(reloaded.changed && reloaded.version != version);
    assert_eq!(reloaded.rules, 2);
    assert_eq!(engine.judged(&call, &context).map_ok_effect().await, Effect::Deny);
}

#[tokio::test]
async fn the_operators_data_overrides_thresholds() {
    let files = Files::of(&[("data.yaml", "destructive: {needs: {production: {write: pass}}}\n")]);
    let engine = engine(Settings { builtin: builtin().builtin, ..files.settings() });
    let judge = |class| {
        let (engine, context) = (engine.clone(), context("t", class, "production", &["*/*"]));
        async move { engine.judged(&call("t", &json!({})), &context).await.unwrap().effect }
    };
    assert_eq!(judge(Class::Write).await, Effect::Allow);
    assert_eq!(judge(Class::Financial).await, Effect::Hold);
}
