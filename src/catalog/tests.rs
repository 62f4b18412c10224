//! What each tool of the shipped catalogs is, and what a catalog file may not say.

use serde_json::{Value, json};

mod measures;
mod table;

use super::*;
use crate::call::{CallId, Confirmation, ConfirmedBy, Magnitude, Reach, ReachMode};
use crate::json::{JsonText, Rules};

fn call(tool: &str, arguments: &Value) -> ToolCall {
    made(Decided::ToolsCall, tool, arguments)
}

fn made(method: Decided, tool: &str, arguments: &Value) -> ToolCall {
    written(method, tool, &arguments.to_string())
}

/// With arguments exactly as they are written.
fn spelled(tool: &str, arguments: &str) -> ToolCall {
    written(Decided::ToolsCall, tool, arguments)
}

fn written(method: Decided, tool: &str, arguments: &str) -> ToolCall {
    let arguments = JsonText::parse(arguments, Rules::CLIENT).unwrap();
    let params = JsonText::empty_object();
    ToolCall::new(CallId::random().unwrap(), method, tool.to_owned(), arguments, params.clone(), params)
}

fn stripe() -> Catalog {
    Catalog::builtin(Some("stripe")).unwrap()
}

#[test]
fn what_a_dispatcher_cannot_place_is_unknown_and_keeps_its_own_name() {
    let catalog = stripe();
    for id in [
        json!("PostUnicorns"),
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
fn what_amounts_do_not_tell_is_unmeasured() {
    let (stripe, statsig) = (stripe(), Catalog::builtin(Some("statsig")).unwrap());
    let items = json!([{"quantity": 1}]);
    let with = |more: Value| {
        let mut arguments = json!({"subscription": "sub_1", "items": items});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stripe.operation(&call("update_subscription", &arguments))
    };
    for more in [json!({}), json!({"proration_behavior": "none"}), json!({"cancel_at_period_end": false})] {
        assert!(!with(more.clone()).unmeasured, "{more}");
    }
    for more in [
        json!({"cancel_at_period_end": true}),
        json!({"cancel_at": 1}),
        json!({"items": [{"quantity": 1, "deleted": true}]}),
        json!({"items": [{"quantity": 1, "price_data": {"unit_amount": 1}}]}),
        json!({"discounts": [{"coupon": "free"}]}),
        json!({"coupon": null}),
        json!({"pause_collection": {"behavior": "void"}}),
    ] {
        let operation = with(more.clone());
        assert!(operation.unmeasured, "{more}");
        assert!(operation.magnitude.is_some(), "it is still shown: {more}");
    }
    let stray =
        json!({"stripe_api_operation_id": "PostRefunds", "parameters": {"charge": "ch_1", "amount": 1}, "more": 1});
    let stray = stripe.operation(&call("stripe_api_write", &stray));
    assert_eq!((stray.class, stray.unmeasured), (Class::Unknown, true));

    let patched = |params: Value| {
        let arguments = json!({"method": "patch", "patch_params": params});
        let operation = statsig.operation(&call("-console-v1-gates--id-", &arguments));
        assert_eq!((operation.class, operation.magnitude.unwrap().value.as_deref()), (Class::Destructive, Some("5")));
        operation.unmeasured
    };
    // The list takes the place of another one, of which nothing is known.
    let narrow = json!([{"passPercentage": 5, "conditions": [{"type": "public"}]}]);
    assert!(patched(json!({"id": "g", "rules": narrow})));
    assert!(patched(json!({"id": "g", "rules": narrow, "isEnabled": false})));
    // What is new takes nobody's place: the percentage is what makes it destructive, and says how much.
    let created = json!({"params": {"application/json": {"name": "g", "rules": narrow}}});
    let created = statsig.operation(&call("Create_Gate", &created));
    assert_eq!((created.class, created.unmeasured), (Class::Destructive, false));

    // Whatever is taken over counts, as bad as the entry already is.
    let replaced = json!({"params": {"path_id": "g", "rules": narrow, "isEnabled": false}});
    assert!(statsig.operation(&call("Update_Gate_Entirely", &replaced)).unmeasured);

    // The rest of a rule stays: so does the percentage, and what one that is there takes the place of is not told.
    let facts = &statsig.operations["PATCH /console/v1/gates/{id}/rules/{ruleID}"];
    let rule = |body: &str| {
        let body = JsonText::parse(body, Rules::CLIENT).unwrap();
        facts.describe_inside("rule", &[], &Arguments::of(body.view()))
    };
    let narrow = rule(r#"{"passPercentage":5,"environments":["production"],"conditions":[{"type":"public"}]}"#);
    assert_eq!((narrow.class, narrow.unmeasured), (Class::Destructive, true));
    for untold in [
        r#"{"environments":["production"],"pendingAutomatedRollouts":[{"passPercent":5}]}"#,
        r#"{"passPercentage":null,"environments":["production"]}"#,
        r#"{"conditions":[{"type":"public"}]}"#,
    ] {
        let operation = rule(untold);
        assert_eq!((operation.class, operation.unmeasured), (Class::Destructive, true), "{untold}");
    }
}

#[test]
fn what_is_optional_and_not_there_is_no_part_of_a_call() {
    let catalog = stripe();
    let coupon = |parameters: Value| {
        let arguments = json!({"stripe_api_operation_id": "PostCoupons", "parameters": parameters});
        let operation = catalog.operation(&call("stripe_api_write", &arguments));
        let amount = operation.money.map(|money| money.amount.unwrap());
        (amount, operation.magnitude.map(|magnitude| magnitude.value.unwrap()))
    };
    assert_eq!(coupon(json!({"percent_off": 5, "currency": "usd"})), (None, Some("5".into())));
    assert_eq!(coupon(json!({"amount_off": 100, "currency": "usd"})), (Some("100".into()), None));
    assert_eq!(coupon(json!({"amount_off": 100, "percent_off": 5})), (Some("100".into()), Some("5".into())));
    assert_eq!(coupon(json!({"duration": "forever"})), (None, None));
    // What is there and odd is there.
    assert_eq!(coupon(json!({"amount_off": null, "percent_off": "5"})), (Some("null".into()), Some("\"5\"".into())));

    let customer = |parameters: Value| {
        let arguments = json!({"stripe_api_operation_id": "PostCustomers", "parameters": parameters});
        catalog.operation(&call("stripe_api_write", &arguments))
    };
    assert_eq!(customer(json!({"email": "a@example.com"})).money, None);
    let credit = customer(json!({"balance": -5000}));
    assert_eq!((credit.class, credit.unmeasured), (Class::Financial, false));
    assert_eq!(credit.money.unwrap().amount.as_deref(), Some("-5000"));
    assert!(customer(json!({"balance": 1, "coupon": "free"})).unmeasured);
    let both =
        "version: 1\ntools:\n  a: {class: financial, money: {amount: /b, unit: minor, absent: full, optional: true}}\n";
    assert!(extra(both).unwrap_err().message.contains("both `optional` and `absent`"));
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
        ("version: 1\nkeys:\n  - {prefix: a, kind: b, mode: live}\n", 3, "unknown variant"),
        ("version: 1\ntools:\n  a: {effect: b}\n", 3, "a has no class"),
        ("version: 1\ntools:\n  a: {like: b}\n", 3, "a is like b, which is not there"),
        (
            "version: 1\ntemplates:\n  x: {like: y}\n  y: {like: x}\ntools:\n  a: {like: x}\n",
            3,
            "too many entries in a row",
        ),
        (
            "version: 1\ntools:\n  a:\n    class: destructive\n    raises: [{when: {at: /b}, class: write}]\n",
            3,
            "no worse than",
        ),
        ("version: 1\ntools:\n  a:\n    class: write\n    raises: [{when: [], class: financial}]\n", 5, "always holds"),
        (
            "version: 1\ntools:\n  a: {class: write, raises: [{when: {at: /b, unles: [1]}, class: financial}]}\n",
            3,
            "unknown field",
        ),
        (
            "version: 1\ntools:\n  a: {class: write, raises: [{when: {at: /b, unless: [0.5]}, class: financial}]}\n",
            3,
            "invalid type",
        ),
        ("version: 1\ntools:\n  a: {class: write, magnitude: {unit: b}}\n", 3, "either `value` or `count`"),
        ("version: 1\ntools:\n  a: {class: write, targets: [/*]}\n", 3, "JSON pointer"),
        ("version: 1\ntools:\n  a: {class: write, money: {amount: /b, unit: minor, currency: EURO}}\n", 3, "neither"),
        ("version: 1\ndispatchers:\n  a: {selects: /b}\n", 3, "without `verbs`"),
        ("version: 1\ndispatchers:\n  a: {by: choice, selects: /b}\n", 3, "without `choices`"),
        ("version: 1\ndispatchers:\n  a: {by: choice, selects: /b, choices: {get: {c: Nope}}}\n", 3, "names Nope"),
        ("version: 1\ndispatchers:\n  a: {by: handle, selects: /b}\n", 3, "no tool gives any"),
        (
            "version: 1\ndispatchers:\n  a: {by: handle, selects: /b, verbs: [G]}\nhandles: [{from: list_coupons, handle: /a, lane: /b, operation: /c}]\n",
            3,
            "mixes ways",
        ),
        (
            "version: 1\nhandles:\n  - {from: nobody, handle: /a, lane: /b, operation: /c}\n",
            3,
            "no tool of the catalog",
        ),
        (
            "version: 1\nhandles:\n  - {from: list_coupons, handle: /a, lane: /b, operation: /c, path: /d}\n",
            3,
            "a method or a path alone",
        ),
        ("version: 1\noperations:\n  routes:\n    get /a: PostRefunds\n", 4, "no method and path"),
        ("version: 1\noperations:\n  routes:\n    GET /a: Nope\n", 4, "names Nope"),
        ("version: 1\noperations:\n  others:\n    a: {class: write, inside: /b}\n", 4, "says `inside`"),
        ("version: 1\noperations:\n  body: xml\n", 3, "unknown variant"),
        ("version: 1\noperations:\n  body: [form]\n", 3, "invalid type"),
        ("version: 1\noperations:\n  body: form\n  body: json\n", 3, "duplicate field"),
        ("version: 1\narguments:\n  nope: [a]\n", 3, "names nope"),
    ] {
        let error = extra(text).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.line, line, "{text}: {error}");
    }
    assert!(Catalog::load(Some("stripe"), &["/nowhere/x.yaml"]).unwrap_err().message.contains("cannot be read"));
}

/// A named example of the contract.
fn example(name: &str) -> &'static str {
    let page = include_str!("../../policies/README.md");
    let (_, block) = page.split_once(&format!("```yaml {name}\n")).unwrap();
    block.split_once("\n```").unwrap().0
}

#[test]
fn the_catalog_of_the_contract_loads() {
    let catalog = extra(example("catalog.yaml")).unwrap();
    let paid = json!({"amount": 5, "account": "ba_1", "percent": 3, "currency": "eur"});
    let operation = catalog.operation(&call("pay_out", &paid));
    let magnitude = Magnitude { value: Some("3".into()), unit: "percent".into(), absent: Some("all".into()) };
    assert_eq!((operation.class, operation.magnitude), (Class::Financial, Some(magnitude)));
    let taken = catalog.arguments_of(None, "pay_out").unwrap();
    let names: Vec<String> = taken.paths.iter().map(|path| path.join("/")).collect();
    assert!(
        taken.complete
            && ["account", "amount", "currency", "percent"].iter().all(|name| names.contains(&(*name).to_owned()))
    );
    assert_eq!(catalog.route("GET", "/v1/widgets/{id}"), Some("GetWidget"));

    let rules = json!({"id": "w_1", "locked": true, "rules": [{"percent": 5, "environments": ["x"]}, {"percent": 20}]});
    let operation = catalog.operation(&call("update_widget", &rules));
    assert_eq!((operation.class, operation.effect.as_deref()), (Class::Destructive, Some("locks a widget for good")));
    assert_eq!(operation.magnitude.unwrap().value.as_deref(), Some("20"));
    let reach = Reach { environments: vec!["x".into()], everywhere: true, ..Reach::default() };
    assert_eq!(operation.environment, Some(reach));
    let operation = catalog.operation(&call("delete_widgets", &json!({"ids": ["a", "b"]})));
    assert_eq!(operation.magnitude.unwrap().value.as_deref(), Some("2"));

    let named = |tool: &str, arguments: Value| {
        let operation = catalog.operation(&call(tool, &arguments));
        (operation.name, operation.class)
    };
    let selected = json!({"operation_id": "PostPayout", "parameters": {"account": "ba_2"}});
    assert_eq!(named("run_operation", selected), ("PostPayout".into(), Class::Financial));
    let chosen = json!({"method": "post", "post_payout_params": {"account": "ba_2"}});
    assert_eq!(named("widgets", chosen), ("PostPayout".into(), Class::Financial));
    let mut handles = Handles::default();
    let said = json!({"structuredContent": {"handle": "h", "tool": "run_found", "operation_id": "GetWidget"}});
    catalog.learn("find_operation", JsonText::of(&said).unwrap().view(), &mut handles);
    let run = catalog.operation_with(&call("run_found", &json!({"handle": "h"})), &handles);
    assert_eq!((run.name.as_str(), run.class), ("GetWidget", Class::Read));
}

#[test]
fn the_catalog_of_an_own_server_loads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("warehouse.yaml");
    std::fs::write(&path, example("warehouse.yaml")).unwrap();
    let catalog = Catalog::load(None, &[path]).unwrap();
    assert!(catalog.loosened().is_empty() && catalog.digest().is_some());
    for (country, class) in
        [(json!("DE"), Class::Financial), (json!("CH"), Class::Destructive), (json!(["DE"]), Class::Destructive)]
    {
        let operation = catalog.operation(&call("ship", &json!({"order": "o_1", "items": ["a"], "country": country})));
        assert_eq!((operation.class, operation.targets), (class, vec!["o_1".to_owned()]), "{country}");
    }
    assert_eq!(catalog.operation(&call("ship", &json!({"items": []}))).class, Class::Financial);
}

#[test]
fn what_an_own_file_loosens_is_said_and_what_it_tightens_is_not() {
    let loosened = |text: &str| extra(text).unwrap().loosened().to_vec();
    assert_eq!(loosened("version: 1\nreads: [own]\ntools:\n  list_coupons: { class: write }\n"), [""; 0]);
    for (text, says) in [
        (
            "tools:\n  create_refund: { class: write }",
            "4:3: create_refund counts as write; the built-in catalog says financial",
        ),
        ("reads: [create_refund]", "create_refund counts as read"),
        (
            "tools:\n  update_dispute: { class: financial }",
            "update_dispute counts as financial; the built-in catalog says financial up to destructive",
        ),
        (
            "reads: [stripe_api_write]",
            "stripe_api_write counts as read; the built-in catalog says that it depends on its arguments",
        ),
        ("operations: { reads: [PostRefunds] }", "PostRefunds counts as read"),
        ("operations: { others: { PostPayouts: { like: PostProducts } } }", "PostPayouts counts as write"),
        ("operations: { body: json }", "body counts as JSON; the built-in catalog says that it is a form"),
    ] {
        let said = loosened(&format!("version: 1\n# create_refund, update_dispute\n{text}\n"));
        assert!(said.len() == 1 && said[0].contains(says), "{text}: {said:?}");
    }
}

#[test]
fn a_key_says_whose_it_is_and_what_for() {
    let forms =
        |key: &str| key_forms(key).into_iter().map(|form| (form.vendor, form.kind, form.evidence)).collect::<Vec<_>>();
    let (production, test, silent) = (KeyEvidence::Production, KeyEvidence::NotProduction, KeyEvidence::Silent);
    for (key, expected) in [
        ("sk_live_1", vec![("stripe", "full access", production)]),
        ("rk_test_1", vec![("stripe", "restricted", test)]),
        ("pk_live_1", vec![("stripe", "publishable", production)]),
        ("whsec_1", vec![("stripe", "webhook signing", silent)]),
        ("sk_org_1", vec![("stripe", "organisation", silent)]),
        ("console-1", vec![("statsig", "console", silent)]),
        ("secret-1", vec![("statsig", "server SDK", silent)]),
        ("client-1", vec![("statsig", "client SDK", silent), ("stigg", "publishable", silent)]),
        ("server-1", vec![("stigg", "full access or scoped", silent)]),
        ("ghp_1", vec![]),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(vendor, kind, says)| (vendor, kind.to_owned(), says)).collect();
        assert_eq!(forms(key), expected, "{key}");
    }
    assert_eq!(stripe().key_kind("rk_live_1"), Some("restricted"));
    assert_eq!(stripe().key_kind("console-1"), None);
}

#[test]
fn a_claim_that_a_person_agreed_is_named_and_proves_nothing() {
    let at = |found: &[crate::call::Confirmation]| found.iter().map(|each| each.at.clone()).collect::<Vec<_>>();
    let stripe = stripe();
    let claimed = call("create_refund", &json!({"human_confirmation": {"approval_token": "x"}}));
    assert_eq!(at(&stripe.confirmations(&claimed)), ["/human_confirmation"]);
    assert_eq!(stripe.operation(&claimed).class, Class::Financial);
    let inside = call("stripe_api_write", &json!({"parameters": {"human_confirmation": null}}));
    assert_eq!(at(&stripe.confirmations(&inside)), ["/parameters/human_confirmation"]);
    assert!(stripe.confirmations(&call("create_refund", &json!({}))).is_empty());
    let statsig = Catalog::builtin(Some("statsig")).unwrap();
    let demanded =
        call("gate_update", &json!({"confirmation": {"acknowledged": true, "reason": "r"}, "arguments": {}}));
    assert_eq!(at(&statsig.confirmations(&demanded)), ["/confirmation"]);
    assert_eq!(statsig.operation(&demanded).class, Class::Destructive);
}

#[test]
fn a_value_that_is_not_one_number_is_never_written_as_one() {
    let catalog = extra(
        "version: 1\ntools:\n  t:\n    class: write\n    money: { amount: [/a, /b], unit: minor, currency: eur }\n    magnitude: { value: [/n, /rules/*/n], unit: percent }\n  c: { class: write, magnitude: { count: [/ids], unit: ids } }\n",
    )
    .unwrap();
    let both = |arguments: &str| {
        let operation = catalog.operation(&spelled("t", arguments));
        let money = operation.money.unwrap();
        assert_eq!(money.currency.as_deref(), Some("eur"));
        (money.amount.unwrap_or_default(), operation.magnitude.unwrap().value.unwrap_or_default())
    };
    for (arguments, amount, value) in [
        ("{}", "", ""),
        (r#"{"a":5,"n":1}"#, "5", "1"),
        (r#"{"b":"5","n":"1"}"#, r#""5""#, r#""1""#),
        (r#"{"a":1,"b":1000000}"#, "[1,1000000]", ""),
        (r#"{"n":1,"rules":[{"n":2.5},{"n":2}]}"#, "", "2.5"),
        (r#"{"rules":[{"n":1},{"n":"100"}]}"#, "", r#"[1,"100"]"#),
        (r#"{"rules":[{"n":1},{}]}"#, "", "[1,null]"),
        (r#"{"rules":[{"n":-1}]}"#, "", "-1"),
        (r#"{"rules":[7]}"#, "", "[7]"),
        (r#"{"rules":7}"#, "", "[7]"),
        (r#"{"a":null}"#, "null", ""),
        (r#"{"a":[5]}"#, "[5]", ""),
    ] {
        assert_eq!(both(arguments), (amount.to_owned(), value.to_owned()), "{arguments}");
    }
    let many = format!(r#"{{"rules":[{}]}}"#, vec![r#"{"n":null}"#; 20].join(","));
    assert_eq!(both(&many).1, format!("[{},\"...\"]", vec!["null"; 16].join(",")));
    let count = |arguments: &str| catalog.operation(&spelled("c", arguments)).magnitude.unwrap().value;
    assert_eq!(count(r#"{"ids":["a","b"]}"#).as_deref(), Some("2"));
    assert_eq!(count(r#"{"ids":3}"#).as_deref(), Some("[3]"));
    assert_eq!(count("{}"), None);
}

#[test]
fn names_are_bounded_and_the_rest_is_counted() {
    let ids: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let catalog = Catalog::builtin(Some("stigg")).unwrap();
    let named =
        catalog.operation(&call("execute", &json!({"code": "1", "X-ENVIRONMENT-ID": "e", "X-ACCOUNT-ID": ids})));
    let reach = named.environment.unwrap();
    assert_eq!((reach.accounts.len(), reach.accounts[64].as_str()), (65, "and 36 more"));
    assert_eq!(reach.environments, ["e"]);
}
