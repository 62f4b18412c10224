//! The page that says what a policy is (`policies/README.md`): every example on it is run.

use super::*;
use crate::call::{Bound, Confirmation, ConfirmedBy, Magnitude, Principal, Reach, ReachMode};
use crate::mcp::message::Message;
use crate::mcp::method::{Sorted, sort};
use proptest::prelude::*;

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
    let outcomes = test::run(&paths, &test::Options::default()).unwrap().outcomes;
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.iter().all(|outcome| outcome.verdict == test::Verdict::Pass), "{outcomes:#?}");
    let covered = &test::run(&paths, &test::Options { coverage: true, run: None }).unwrap().coverage[0];
    assert_eq!((covered.covered.len(), covered.not_covered.len()), (13, 0));
    assert_eq!(author::Bench::of_paths(&paths).unwrap().rules(), 20);
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
        let decision = engine.evaluate(&call, &context, call.digest(&context), now()).await.unwrap();
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
    let client = Arc::make_mut(&mut full.client);
    client.version = Some("1".into());
    client.protocol = Some("x".into());
    full.server = Arc::new(ServerFacts { name: "s".into(), vendor: Some("v".into()), catalog: None });
    full.environment = Arc::new(Environment { conflict: Some("x".into()), ..(*full.environment).clone() });
    full.tool.annotations = Some(JsonText::empty_object());
    full.tool.definition = Some(crate::call::Digest::of_bytes(b"x"));
    let text = || Some("1".to_owned());
    full.operation.money =
        Some(crate::call::Money { amount: text(), unit: "minor".into(), currency: text(), absent: text() });
    full.operation.reversible = Some(true);
    full.operation.magnitude = Some(Magnitude { value: text(), unit: "count".into(), absent: text() });
    full.operation.unmeasured = true;
    full.operation.environment = Some(Reach { mode: Some(ReachMode::Test), ..Reach::default() });
    full.bound = Bound { mode: Some(ReachMode::Test), accounts: vec![] };
    full.confirmations = vec![Confirmation { at: "/x".into(), by: ConfirmedBy::Vendor, issued: false }];
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
        serde_json::from_str(input::document(1, input::Subject::call(&call, call.digest(&full)), &full).as_str())
            .unwrap();
    let page: Value = serde_json::from_str(block("input.json")).unwrap();
    let members = |value: &Value| {
        let mut all = Vec::new();
        for (name, below) in value.as_object().unwrap() {
            let free = ["arguments", "responses", "meta"].contains(&name.as_str());
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
    let outcomes = test::run(std::slice::from_ref(&folder), &test::Options::default()).unwrap().outcomes;
    assert!(
        outcomes.len() >= 9 && outcomes.iter().all(|outcome| outcome.verdict == test::Verdict::Pass),
        "{outcomes:#?}"
    );
    author::Bench::of_paths(&[folder]).unwrap();
}

/// The cookbook of the page is the files that can be copied, and they load and pass their tests.
#[test]
fn the_cookbook_is_what_its_files_say_and_passes_their_tests() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/cookbook"));
    let mut recipes = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".rego") && !name.ends_with("_test.rego") {
            recipes.push(name);
        }
    }
    assert!(recipes.len() >= 10, "{recipes:?}");
    for name in &recipes {
        let file = std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(block(&format!("cookbook/{name}")).trim_end(), file.trim_end(), "{name}");
    }
    let run = test::run(std::slice::from_ref(&folder), &test::Options { coverage: true, run: None }).unwrap();
    let passed = |outcome: &test::Outcome| outcome.verdict == test::Verdict::Pass;
    assert!(run.outcomes.len() >= 3 * 10 && run.outcomes.iter().all(passed), "{:#?}", run.outcomes);
    assert_eq!(run.coverage.len(), recipes.len());
    for file in &run.coverage {
        assert!(!file.covered.is_empty() && file.not_covered.is_empty(), "{file:?}");
    }
    // Together they load with the built-in families, as they would in the daemon.
    author::Bench::of_paths(&[folder]).unwrap();
}

/// JSON text of an object: odd spellings of numbers and strings, white space, depth.
fn spelled_object() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite()).prop_map(|n| n.to_string()),
        prop::sample::select(vec!["-0", "1.0", "1e3", "1E+2", "100e-2", "18446744073709551615", "0.10"])
            .prop_map(str::to_owned),
    ];
    let string = prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        prop::sample::select(vec!["\"\\u0041\"", "\"\\/\"", "\"\\ud83d\\ude00\"", "\"\u{2028}\"", "\"\\u0000\""])
            .prop_map(str::to_owned),
    ];
    let word = prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned);
    let space = prop::sample::select(vec!["", " ", "\n\t", "\r\n"]);
    let leaf = prop_oneof![number, string.clone(), word];
    let value = leaf.prop_recursive(6, 40, 5, move |inner| {
        let space = space.clone();
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), space.clone())
                .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},{space}")))),
            (prop::collection::vec((string.clone(), inner), 0..5), space).prop_map(|(members, space)| {
                let members = members.iter().map(|(name, value)| format!("{name}{space}:{space}{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(&format!(",{space}")))
            }),
        ]
    });
    let members = prop::collection::vec(("[a-zé$ ]{1,6}", value), 0..4);
    members.prop_map(|members| {
        let members = members.iter().map(|(name, value)| format!("\"{name}\": {value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    /// What the rules see, what an approval binds and what is sent are one text, for every call that is taken at all.
    #[test]
    fn the_rules_judge_what_is_sent(arguments in spelled_object(), order in any::<bool>()) {
        let (name, named) = ("\"name\":\"t\"", format!("\"arguments\" : {arguments}"));
        let params = if order { format!("{name} , {named}") } else { format!("{named} , {name}") };
        let text = format!(r#" {{"jsonrpc":"2.0","method":"tools/call","params":{{{params}}},"id":1}} "#);
        let Ok(message) = Message::from_client(text) else { return Ok(()) };
        let Sorted::Decide(call) = sort(message) else { return Ok(()) };
        let context = context("t", Class::Write, "sandbox", &[]);
        let document = input::document(1, input::Subject::call(&call, call.digest(&context)), &context);
        let document = JsonText::parse(String::from(document), Rules::UPSTREAM).unwrap();
        let judged = document.view().get("arguments").unwrap().text().to_owned();
        prop_assert_eq!(&judged, call.message().view().pointer("/params/arguments").unwrap().text());
        prop_assert_eq!(&judged, call.params().view().get("arguments").unwrap().text());
        prop_assert_eq!(&judged, call.arguments().as_str());
        // The values are those of the client's text.
        let meant: Value = serde_json::from_str(&arguments).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&judged).unwrap(), meant);
    }
}
