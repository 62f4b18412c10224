//! The page that says what a policy is (`policies/README.md`): every example on it is run.

use super::*;
use crate::call::{Bound, Confirmation, ConfirmedBy, Magnitude, Reach, ReachMode};
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
    assert_eq!(author::Bench::of_paths(&paths).unwrap().rules(), 15);
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

/// The document of the contract has exactly the members that a full document has, and the loader's list is the same.
#[tokio::test]
async fn the_input_of_the_contract_is_complete() {
    let mut full = context("t", Class::Financial, "production", &["a/b"]);
    full.client.version = Some("1".into());
    full.client.protocol = Some("x".into());
    full.server = Arc::new(ServerFacts { name: "s".into(), vendor: Some("v".into()), catalog: None });
    full.environment = Arc::new(Environment { conflict: Some("x".into()), ..(*full.environment).clone() });
    full.tool.annotations = Some(JsonText::empty_object());
    full.tool.definition = Some(crate::call::Digest::of_bytes(b"x"));
    let text = || Some("1".to_owned());
    full.operation.money =
        Some(crate::call::Money { amount: text(), unit: "minor".into(), currency: text(), absent: text() });
    full.operation.reversible = Some(true);
    full.operation.magnitude = Some(Magnitude { value: text(), unit: "count".into(), absent: text() });
    full.operation.environment = Some(Reach { mode: Some(ReachMode::Test), ..Reach::default() });
    full.bound = Bound { mode: Some(ReachMode::Test), accounts: vec![] };
    full.confirmations = vec![Confirmation { at: "/x".into(), by: ConfirmedBy::Vendor, issued: false }];
    full.continues = Some(CallId::random().unwrap());
    let call = answering("t", &json!({}));
    let document: Value =
        serde_json::from_str(&input::document(1, input::Subject::call(&call, call.digest(&full)), &full)).unwrap();
    let page: Value = serde_json::from_str(block("input.json")).unwrap();
    let members = |value: &Value| {
        let mut all = Vec::new();
        for (name, below) in value.as_object().unwrap() {
            let free = ["arguments", "responses", "principal"].contains(&name.as_str());
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
    #![proptest_config(ProptestConfig::with_cases(20_000))]

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
        let document = JsonText::parse(document, Rules::UPSTREAM).unwrap();
        let judged = document.view().get("arguments").unwrap().text().to_owned();
        prop_assert_eq!(&judged, call.message().view().pointer("/params/arguments").unwrap().text());
        prop_assert_eq!(&judged, call.params().view().get("arguments").unwrap().text());
        prop_assert_eq!(&judged, call.arguments().as_str());
        // The values are those of the client's text.
        let meant: Value = serde_json::from_str(&arguments).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&judged).unwrap(), meant);
    }
}
