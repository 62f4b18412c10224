//! The page that says what a policy is (`policies/README.md`): every example on it is run.

use super::*;
use crate::call::{Magnitude, Principal, Reach, ReachMode};

/// A code block of the contract by the file name that follows its language.
fn block(name: &str) -> &'static str {
    let page = include_str!("../../../policies/README.md");
    let blocks = page.split("\n```").filter_map(|block| block.split_once('\n'));
    let mut named = blocks.filter(|(info, _)| info.split(' ').nth(1) == Some(name));
    let (_, text) = named.next().unwrap_or_else(|| panic!("no block is named {name}"));
    assert!(named.next().is_none(), "two blocks are named {name}");
    text
}

#[test]
fn the_first_policy_of_the_contract_loads_and_passes_its_tests() {
    let names = ["subscriptions.rego", "subscriptions_test.rego", "data.yaml"];
    let files = Files::of(&names.map(|name| (name, block(name))));
    let paths = [files.path().to_owned()];
    let outcomes = test::run(&paths).unwrap();
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.iter().all(|outcome| outcome.verdict == test::Verdict::Pass), "{outcomes:#?}");
    assert_eq!(test::check(&paths).unwrap(), 13);
}

#[tokio::test]
async fn the_rules_of_the_contract_about_other_methods_do_what_they_say() {
    let files = Files::of(&[("answers.rego", block("answers.rego"))]);
    let engine = engine(Settings { builtin: builtin().builtin, ..files.settings() });
    let context = context("t", Class::Read, "production", &["*/read"]);
    for (method, params, effect) in [
        (Decided::ResourcesRead, json!({"uri": "docs://public/a"}), Effect::Allow),
        (Decided::ResourcesRead, json!({"uri": "docs://private/a"}), Effect::Deny),
        (Decided::ResourcesSubscribe, json!({"uri": "docs://publicly"}), Effect::Deny),
        (Decided::PromptsGet, json!({"name": "p"}), Effect::Allow),
        (Decided::Elicited, json!({"action": "decline"}), Effect::Allow),
        (Decided::Sampled, json!({"model": "m"}), Effect::Deny),
    ] {
        let text = JsonText::parse(params.to_string(), Rules::CLIENT).unwrap();
        let id = CallId::random().unwrap();
        let call = ToolCall::new(id, method, method.as_str().into(), text.clone(), text.clone(), text);
        let decision = engine.evaluate(&call, &context, call.digest(&context)).await.unwrap();
        assert_eq!(decision.effect, effect, "{method:?} {params}");
    }
}

#[tokio::test]
async fn the_data_of_the_contract_does_what_it_says() {
    let files = Files::of(&[("data.yaml", block("data.yaml"))]);
    let engine = engine(Settings { builtin: builtin().builtin, ..files.settings() });
    let mut context = context("create_refund", Class::Financial, "sandbox", &["*/*"]);
    context.operation.environment =
        Some(Reach { mode: Some(ReachMode::Test), accounts: vec!["acct_1".into()], ..Reach::default() });
    for (amount, effect) in [("5000", Effect::Allow), ("5001", Effect::Hold), ("-1", Effect::Hold)] {
        context.operation.money = Some(crate::call::Money {
            amount: Some(amount.into()),
            unit: "minor".into(),
            currency: None,
            absent: None,
        });
        let call = call("create_refund", &json!({}));
        assert_eq!(engine.judged(&call, &context).map_ok_effect().await, effect, "{amount}");
    }
}

#[tokio::test]
async fn the_budget_of_the_contract_does_what_it_says() {
    let files = Files::of(&[("data.yaml", block("budgets.yaml")), ("sessions.rego", block("sessions.rego"))]);
    let engine = engine(Settings { builtin: builtin().builtin, ..files.settings() });
    assert_eq!(engine.history_on("stripe"), HistoryUse::Rules);
    let mut context = context("PostRefunds", Class::Financial, "sandbox", &["*/*"]);
    context.history = None;
    let without = engine.judged(&call("PostRefunds", &json!({})), &context).await.unwrap();
    assert_eq!(without.effect, Effect::Deny, "no history, no money: {without:?}");
    for (count, sum, effect) in [(4, 40_000, Effect::Hold), (5, 0, Effect::Deny), (1, 40_001, Effect::Deny)] {
        let counted = |count: u64, sum: u64| json!({"count": count, "unknown": 0, "sum": {"none": sum}});
        let windows = |window: Value| json!({"minute": window, "hour": window, "day": window});
        // Two of one name, the rest of the other.
        let operations = json!({
            "create_refund": windows(counted(1, sum)), "PostRefunds": windows(counted(count - 1, 0)),
        });
        let principal = json!({"operations": operations, "classes": {"financial": windows(counted(count, sum))}});
        let history = json!({"adds": {"count": 1, "unknown": 0, "sum": {"none": 10_000}}, "principal": principal});
        context.history = Some(JsonText::parse(history.to_string(), Rules::CLIENT).unwrap());
        let decision = engine.judged(&call("PostRefunds", &json!({})), &context).await.unwrap();
        assert_eq!(decision.effect, effect, "{count} {sum}: {decision:?}");
    }
    let mut context = fixtures::context("cancel_subscription", Class::Read);
    context.principal = fixtures::principal("agent", &["*/*"]);
    for (count, effect) in [(Some(2), Effect::Allow), (Some(3), Effect::Hold), (None, Effect::Hold)] {
        let history = count
            .map(|count: u64| json!({"session": {"operations": {"cancel_subscription": {"hour": {"count": count}}}}}));
        context.history = history.map(|history| JsonText::parse(history.to_string(), Rules::CLIENT).unwrap());
        assert_eq!(engine.judged(&call("t", &json!({})), &context).map_ok_effect().await, effect, "{count:?}");
    }
}

#[test]
fn a_history_is_asked_for_by_rules_and_budgets_alone() {
    let uses = |files: &[(&str, &str)]| {
        let files = Files::of(files);
        engine(Settings { builtin: builtin().builtin, ..files.settings() })
    };
    let rule = |body: &str| {
        format!(
            "package countersign.policy.x\ndeny contains {{\"rule\": \"x.a\", \"reason\": \"r\"}} if {{ {body} }}\n"
        )
    };
    let none = uses(&[("x.rego", &rule("input.principal.name == \"x\""))]);
    assert!(none.history_on("stripe") == HistoryUse::No && !none.uses_history());
    for body in [
        "input.history.adds.count > 1",
        "count(json.marshal(input)) > 1",
        "some x; input[x] == 7",
        "i := input; i.history",
    ] {
        let engine = uses(&[("x.rego", &rule(body))]);
        assert!(engine.history_on("stripe") == HistoryUse::Rules && engine.uses_history(), "{body}");
    }
    let library = "package countersign.lib.l\nimport input.history as h\nmany if h.adds.count > 1\n";
    let with = rule("data.countersign.lib.l.many");
    assert_eq!(uses(&[("l.rego", library), ("x.rego", &with)]).history_on("a"), HistoryUse::Rules);
    let budgets = uses(&[("data.yaml", "budgets: { stripe: { a: { hour: { count: 1 } } }, other: {} }\n")]);
    assert_eq!(budgets.history_on("stripe"), HistoryUse::Budgets);
    assert_eq!(budgets.history_on("other"), HistoryUse::No);
    assert!(budgets.uses_history());
}

/// The document of the contract has exactly the members that a full document has, and the loader's list is the same.
#[tokio::test]
async fn the_input_of_the_contract_is_complete() {
    let mut full = context("t", Class::Financial, "production", &["a/b"]);
    full.client.version = Some("1".into());
    full.client.protocol = Some("x".into());
    full.server = Arc::new(ServerFacts { name: "s".into(), vendor: Some("v".into()) });
    full.environment = Arc::new(Environment { conflict: Some("x".into()), ..(*full.environment).clone() });
    full.tool.annotations = Some(JsonText::empty_object());
    full.tool.definition = Some(crate::call::Digest::of_bytes(b"x"));
    let text = || Some("1".to_owned());
    full.operation.money =
        Some(crate::call::Money { amount: text(), unit: "minor".into(), currency: text(), absent: text() });
    full.operation.reversible = Some(true);
    full.operation.magnitude = Some(Magnitude { value: text(), unit: "count".into(), absent: text() });
    full.operation.environment = Some(Reach { mode: Some(ReachMode::Test), ..Reach::default() });
    full.continues = Some(CallId::random().unwrap());
    full.history = Some(JsonText::parse(r#"{"adds":{},"principal":{},"session":{}}"#, Rules::CLIENT).unwrap());
    let test =
        crate::call::Test { at: vec!["a".into()], is: crate::call::TestKind::Present, value: None, whole: false };
    let conditional = crate::call::ConditionalScope {
        scope: "a/b".into(),
        tests: vec![test],
        amount: None,
        environments: None,
        hours: None,
        until: Some(1),
    };
    full.principal = Arc::new(Principal { conditional_scopes: vec![conditional], ..(*full.principal).clone() });
    let call = answering("t", &json!({}));
    let document: Value =
        serde_json::from_str(&input::document(1, input::Subject::call(&call, call.digest(&full)), &full)).unwrap();
    let page: Value = serde_json::from_str(block("input.json")).unwrap();
    let members = |value: &Value| {
        let mut all = Vec::new();
        for (name, below) in value.as_object().unwrap() {
            let free = ["arguments", "responses"].contains(&name.as_str());
            let below = below.as_object().filter(|_| !free).into_iter().flat_map(|below| below.keys());
            all.extend(below.map(|below| format!("{name}.{below}")));
            all.push(name.clone());
        }
        all
    };
    assert_eq!(members(&page), members(&document));
    for name in members(&document) {
        let policy = format!(
            "package countersign.policy.x\ndeny contains {{\"rule\": \"x.a\", \"reason\": \"r\"}} if input.{name} == \"?\"\n"
        );
        assert!(PolicyEngine::load(Files::of(&[("x.rego", &policy)]).settings()).is_ok(), "input.{name} does not load");
    }
    let engine = engine(builtin());
    assert_eq!(engine.decide(Phase::Call, block("input.json").to_owned()).map_ok_effect().await, Effect::Deny);
}

#[test]
fn the_examples_pass_their_tests() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/examples"));
    let outcomes = test::run(std::slice::from_ref(&folder)).unwrap();
    assert!(
        outcomes.len() >= 9 && outcomes.iter().all(|outcome| outcome.verdict == test::Verdict::Pass),
        "{outcomes:#?}"
    );
    test::check(&[folder]).unwrap();
}
