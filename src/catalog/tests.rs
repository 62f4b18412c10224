//! What each tool of the shipped catalogs is, and what a catalog file may not say.

use serde_json::{Value, json};

use super::*;
use crate::call::{CallId, Confirmation, ConfirmedBy, Magnitude, Reach, ReachMode};
use crate::json::{JsonText, Rules};

fn call(tool: &str, arguments: &Value) -> ToolCall {
    made(Decided::ToolsCall, tool, arguments)
}

fn made(method: Decided, tool: &str, arguments: &Value) -> ToolCall {
    let arguments = JsonText::parse(arguments.to_string(), Rules::CLIENT).unwrap();
    let params = JsonText::empty_object();
    ToolCall::new(CallId::random().unwrap(), method, tool.to_owned(), arguments, params.clone(), params)
}

fn stripe() -> Catalog {
    Catalog::builtin(Some("stripe")).unwrap()
}

fn fixture(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn class_of(entry: &Value) -> Class {
    serde_json::from_value(entry["class"].clone()).unwrap()
}

#[test]
fn all_44_stripe_tools_have_the_class_that_was_judged() {
    let catalog = stripe();
    let tools = fixture(include_str!("../../tests/fixtures/stripe_tools.json"));
    assert_eq!(tools.len(), 44);
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        let arguments = tool.get("arguments").cloned().unwrap_or_else(|| json!({}));
        let operation = catalog.operation(&call(name, &arguments));
        assert_eq!(operation.class, class_of(&tool), "{name}");
    }
}

#[test]
fn all_123_stripe_operations_have_the_class_that_was_judged_and_go_through_one_lane() {
    let catalog = stripe();
    let operations = fixture(include_str!("../../tests/fixtures/stripe_operations.json"));
    assert_eq!(operations.len(), 123);
    for operation in operations {
        let id = operation["op"].as_str().unwrap();
        let (lane, wrong) = match id.starts_with("Get") {
            true => ("stripe_api_read", "stripe_api_write"),
            false => ("stripe_api_write", "stripe_api_read"),
        };
        let arguments = json!({"stripe_api_operation_id": id, "parameters": {}});
        let right = catalog.operation(&call(lane, &arguments));
        assert_eq!((right.class, right.name.as_str()), (class_of(&operation), id));
        let crossed = catalog.operation(&call(wrong, &arguments));
        assert_eq!((crossed.class, crossed.name.as_str()), (Class::Unknown, wrong), "{id}");
        assert_eq!(catalog.operation(&call("stripe_api_execute", &arguments)).class, class_of(&operation), "{id}");
    }
}

#[test]
fn what_a_dispatcher_cannot_place_is_unknown_and_keeps_its_own_name() {
    let catalog = stripe();
    for id in [
        json!("PostPayouts"),
        json!("GetSecrets"),
        json!("getBalance"),
        json!("GetBalance "),
        json!("list_customers"),
        json!("create_refund"),
        json!(""),
        json!(7),
        json!(null),
        json!(["GetBalance"]),
        json!({"a": "GetBalance"}),
    ] {
        for tool in ["stripe_api_read", "stripe_api_write", "stripe_api_execute"] {
            let operation = catalog.operation(&call(tool, &json!({"stripe_api_operation_id": id})));
            assert_eq!((operation.class, operation.name.as_str()), (Class::Unknown, tool), "{id}");
        }
    }
    assert_eq!(catalog.operation(&call("stripe_api_read", &json!({}))).class, Class::Unknown);
    let elsewhere = json!({"parameters": {"stripe_api_operation_id": "GetBalance"}});
    assert_eq!(catalog.operation(&call("stripe_api_read", &elsewhere)).class, Class::Unknown);
}

#[test]
fn what_says_that_somebody_agreed_is_named_and_changes_nothing_else() {
    let catalog = stripe();
    for value in [json!({"approval_token": "x"}), json!(null), json!({"confirmed": true})] {
        let call = call("create_refund", &json!({"payment_intent": "pi_1", "human_confirmation": value}));
        let found = catalog.confirmations(&call);
        let named = Confirmation { at: "/human_confirmation".into(), by: ConfirmedBy::Vendor, issued: false };
        assert_eq!(found, [named]);
        assert_eq!(catalog.operation(&call).class, Class::Financial);
    }
    let inside = json!({"stripe_api_operation_id": "PostProducts", "parameters": {"human_confirmation": {}}});
    let inside = call("stripe_api_write", &inside);
    assert_eq!(catalog.confirmations(&inside)[0].at, "/parameters/human_confirmation");
    assert!(catalog.confirmations(&call("create_refund", &json!({"note": "human_confirmation"}))).is_empty());
    assert!(Catalog::default().confirmations(&inside).is_empty());
}

#[test]
fn money_keeps_its_spelling() {
    let catalog = stripe();
    let amount = |value: Value| {
        let operation = catalog.operation(&call("create_refund", &json!({"payment_intent": "pi_1", "amount": value})));
        operation.money.unwrap().amount
    };
    assert_eq!(amount(json!(5000)).as_deref(), Some("5000"));
    assert_eq!(amount(json!(-1)).as_deref(), Some("-1"));
    assert_eq!(amount(json!("5000")).as_deref(), Some("\"5000\""));
    assert_eq!(amount(json!(49.5)).as_deref(), Some("49.5"));
    let full = catalog.operation(&call("create_refund", &json!({"payment_intent": "pi_1"})));
    assert_eq!(full.targets, ["pi_1"]);
    let money = full.money.unwrap();
    assert_eq!((money.amount, money.absent.as_deref(), money.unit.as_str()), (None, Some("full"), "minor"));
    let inside =
        json!({"stripe_api_operation_id": "PostRefunds", "parameters": {"amount": 100, "charge": "ch_1"}, "amount": 1});
    let dispatched = catalog.operation(&call("stripe_api_write", &inside));
    assert_eq!(dispatched.money.unwrap().amount.as_deref(), Some("100"));
    assert_eq!(dispatched.targets, ["ch_1"]);
}

#[test]
fn the_environment_that_arguments_name() {
    let catalog = stripe();
    let named = |arguments: Value| catalog.operation(&call("get_stripe_account_info", &arguments)).environment;
    let reach = |mode, accounts: &[&str]| {
        Some(Reach { mode, accounts: accounts.iter().map(|&name| name.to_owned()).collect(), ..Reach::default() })
    };
    assert_eq!(named(json!({})), None);
    assert_eq!(named(json!({"livemode": true})), reach(Some(ReachMode::Production), &[]));
    assert_eq!(
        named(json!({"livemode": false, "stripe_context": "acct_1"})),
        reach(Some(ReachMode::Test), &["acct_1"])
    );
    assert_eq!(named(json!({"stripe_context": "acct_1/acct_2"})), reach(None, &["acct_1/acct_2"]));
    for odd in [json!("true"), json!(1), json!(null), json!("test/")] {
        assert_eq!(named(json!({"livemode": odd})), reach(Some(ReachMode::Unknown), &[]));
    }
    assert_eq!(named(json!({"stripe_context": {"a": 1}})), reach(None, &["{\"a\":1}"]));
}

#[test]
fn other_methods_are_reads_named_after_the_method() {
    let read = made(Decided::ResourcesRead, "file:///etc/passwd", &json!({"uri": "file:///etc/passwd"}));
    let operation = stripe().operation(&read);
    assert_eq!((operation.name.as_str(), operation.class), ("resources/read", Class::Read));
    assert_eq!(operation.targets, ["file:///etc/passwd"]);
}

#[test]
fn a_listed_tool_has_the_worst_class_it_could_have() {
    let catalog = stripe();
    assert_eq!(catalog.listed("list_customers").class, Class::Read);
    assert_eq!(catalog.listed("create_refund").class, Class::Financial);
    for tool in ["stripe_api_read", "stripe_api_write", "stripe_api_execute", "never_seen"] {
        assert_eq!(catalog.listed(tool).class, Class::Unknown, "{tool}");
    }
}

#[test]
fn the_demo_server_is_covered() {
    let catalog = Catalog::builtin(Some("billing")).unwrap();
    for (tool, class) in [
        ("list_customers", Class::Read),
        ("get_customer", Class::Read),
        ("list_invoices", Class::Read),
        ("get_invoice", Class::Read),
        ("list_subscriptions", Class::Read),
        ("create_refund", Class::Financial),
        ("update_customer", Class::Write),
        ("cancel_subscription", Class::Destructive),
        ("delete_customer", Class::Destructive),
        ("drop_everything", Class::Unknown),
    ] {
        assert_eq!(catalog.listed(tool).class, class, "{tool}");
    }
    let refund =
        catalog.operation(&call("create_refund", &json!({"customer": "cus_1", "invoice": "in_1", "amount": 4200})));
    assert_eq!((refund.targets[0].as_str(), refund.reversible), ("cus_1", Some(false)));
}

#[test]
fn keys_show_live_or_not_and_nothing_else() {
    let stripe = stripe();
    for (key, evidence) in [
        ("sk_live_1", Some(KeyEvidence::Production)),
        ("rk_live_1", Some(KeyEvidence::Production)),
        ("sk_test_1", Some(KeyEvidence::NotProduction)),
        ("rk_test_1", Some(KeyEvidence::NotProduction)),
        ("SK_TEST_1", None),
        ("whsec_1", None),
        ("", None),
    ] {
        assert_eq!(stripe.key_form(key).map(|(evidence, _)| evidence), evidence, "{key}");
    }
    let billing = Catalog::builtin(Some("billing")).unwrap();
    assert_eq!((Catalog::default().key_form("sk_live_1"), billing.key_form("sk_live_1")), (None, None));
    assert!(Catalog::all_builtin().any(|catalog| catalog.key_form("sk_live_1").is_some()));
}

#[test]
fn without_a_catalog_everything_is_unknown() {
    let catalog = Catalog::builtin(None).unwrap();
    assert_eq!(catalog.operation(&call("list_customers", &json!({}))).class, Class::Unknown);
    let error = Catalog::builtin(Some("strpie")).unwrap_err();
    assert!(error.to_string().contains("strpie") && error.help.contains("stripe"), "{error}");
}

fn extra(text: &str) -> Result<Catalog, CatalogError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("extra.yaml");
    std::fs::write(&path, text).unwrap();
    Catalog::load(Some("stripe"), &[path])
}

#[test]
fn an_operators_file_adds_and_replaces() {
    let catalog =
        extra("version: 1\nreads: [stripe_api_read, own_tool]\ntools: {list_coupons: {class: write}}\n").unwrap();
    assert_eq!(catalog.listed("own_tool").class, Class::Read);
    assert_eq!(catalog.listed("list_coupons").class, Class::Write);
    assert_eq!(catalog.operation(&call("stripe_api_read", &json!({}))).class, Class::Read);
    assert_eq!(catalog.listed("create_refund").class, Class::Financial);
}

#[test]
fn catalogs_are_strict_and_errors_have_places() {
    for (text, line, message) in [
        ("version: 1\nreeds: [a]\n", 2, "unknown field"),
        ("version: 2\n", 1, "version 2"),
        ("reads: [a]\n", 1, "version"),
        ("version: 1\ntools:\n  a: {class: read}\n  a: {class: write}\n", 4, "duplicate key"),
        ("version: 1\nreads: [a]\ntools:\n  a: {class: write}\n", 4, "listed twice"),
        ("version: 1\nreads: [a]\nreads: [b]\n", 1, "duplicate field `reads`"),
        ("version: 1\ntools:\n  a: {class: harmless}\n", 3, "unknown variant"),
        ("version: 1\ntools:\n  a: {class: read, targets: [amount]}\n", 3, "JSON pointer"),
        ("version: 1\nkeys: [{prefix: '', kind: a}]\n", 2, "prefix"),
        ("version: 1\nvendor: stigg\n", 2, "vendor stigg"),
    ] {
        let error = extra(text).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.line, line, "{text}: {error}");
    }
    assert!(Catalog::load(Some("stripe"), &["/nowhere/x.yaml"]).unwrap_err().message.contains("cannot be read"));
}

#[test]
fn the_catalog_of_the_contract_loads() {
    let page = include_str!("../../policies/README.md");
    let (_, block) = page.split_once("```yaml catalog.yaml\n").unwrap();
    let catalog = extra(block.split_once("\n```").unwrap().0).unwrap();
    let paid = json!({"amount": 5, "account": "ba_1", "percent": 3, "currency": "eur"});
    let operation = catalog.operation(&call("pay_out", &paid));
    let magnitude = Magnitude { value: Some("3".into()), unit: "percent".into(), absent: Some("all".into()) };
    assert_eq!((operation.class, operation.magnitude), (Class::Financial, Some(magnitude)));
    let selected = json!({"operation_id": "PostPayout", "parameters": {"account": "ba_2"}});
    let operation = catalog.operation(&call("run_operation", &selected));
    assert_eq!((operation.name.as_str(), operation.targets[0].as_str()), ("PostPayout", "ba_2"));
}
