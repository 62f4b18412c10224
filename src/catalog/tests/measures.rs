//! What no amount and no magnitude of the shipped catalogs tells.

use super::*;

fn described(vendor: &str, operation: &str, arguments: &Value) -> Operation {
    let text = JsonText::parse(arguments.to_string(), Rules::CLIENT).unwrap();
    let catalog = Catalog::builtin(Some(vendor)).unwrap();
    catalog.operations[operation].describe_inside(operation, &[], &Arguments::of(text.view()))
}

fn unmeasured(vendor: &str, operation: &str, arguments: &Value) -> bool {
    described(vendor, operation, arguments).unmeasured
}

#[test]
fn a_percentage_does_not_tell_what_a_replacement_removes() {
    let one = json!([{"passPercentage": 1, "environments": ["development"]}]);
    for (operation, arguments) in [
        ("POST /console/v1/gates/{id}", json!({"rules": one, "isEnabled": true})),
        ("POST /console/v1/dynamic_configs/{id}", json!({"rules": one, "isEnabled": true})),
        ("POST /console/v1/dynamic_configs/{id}", json!({"defaultValue": {}, "isEnabled": true})),
        ("PATCH /console/v1/dynamic_configs/{id}", json!({"defaultValue": {}, "rules": one, "isEnabled": true})),
        ("POST /console/v1/experiments/{id}", json!({"allocation": 1, "status": "active"})),
        ("POST /console/v1/experiments/{id}", json!({"groups": [{"size": 1}], "status": "active"})),
    ] {
        assert!(unmeasured("statsig", operation, &arguments), "{operation} {arguments}");
    }
    let measured = json!({"rules": one, "isEnabled": true});
    assert!(!unmeasured("statsig", "POST /console/v1/gates", &measured));
    assert!(!unmeasured("statsig", "POST /console/v1/gates/{id}/rules", &json!({"path_id": "g", "rules": one})));
}

#[test]
fn what_takes_the_place_of_a_list_is_destructive_and_unmeasured() {
    let one = json!([{"passPercentage": 1, "environments": ["development"]}]);
    for (operation, arguments) in [
        ("PATCH /console/v1/gates/{id}", json!({"rules": one})),
        ("PATCH /console/v1/gates/{id}", json!({"rules": []})),
        ("PATCH /console/v1/gates/{id}", json!({"rules": null})),
        ("PATCH /console/v1/gates/{id}/rules", json!({"rules": one})),
        ("PATCH /console/v1/dynamic_configs/{id}", json!({"rules": one})),
        ("PATCH /console/v1/experiments/{id}", json!({"groups": [{"size": 1}]})),
        ("PATCH /console/v1/layers/{id}", json!({"parameters": []})),
        ("PATCH /console/v1/autotunes/{id}", json!({"variants": []})),
        ("PATCH /console/v1/holdouts/{id}", json!({"passPercentage": 1, "gateIDs": ["g"]})),
        ("PATCH /console/v1/target_app/{id}", json!({"gates": ["g"]})),
        ("POST /console/v1/segments/{id}/conditional", json!({"rules": [{}]})),
    ] {
        let operation = described("statsig", operation, &arguments);
        assert_eq!((operation.class, operation.unmeasured), (Class::Destructive, true), "{operation:?}");
    }
}

/// Down from 50 percent to one, and 49 percent get something else.
#[test]
fn a_share_that_is_changed_does_not_tell_what_it_was() {
    let one = json!({"passPercentage": 1});
    for (operation, arguments) in [
        ("PATCH /console/v1/holdouts/{id}", one.clone()),
        ("PATCH /console/v1/gates/{id}/rules/{ruleID}", one.clone()),
        ("PATCH /console/v1/gates/{id}/rules/{ruleID}", json!({"passPercentage": 0})),
        ("PATCH /console/v1/dynamic_configs/{id}/rule/{ruleId}", one.clone()),
        (
            "PATCH /console/v1/dynamic_configs/{id}/rule/{ruleId}",
            json!({"pendingAutomatedRollouts": [{"passPercent": 1}], "environments": ["staging"]}),
        ),
        ("PATCH /console/v1/experiments/{id}", json!({"allocation": 1})),
    ] {
        assert!(unmeasured("statsig", operation, &arguments), "{operation} {arguments}");
    }
    for (operation, arguments) in [
        ("POST /console/v1/gates/{id}/rule", one.clone()),
        ("POST /console/v1/holdouts", one),
        ("POST /console/v1/experiments", json!({"allocation": 1})),
    ] {
        assert!(!unmeasured("statsig", operation, &arguments), "nobody had anything: {operation}");
    }
}

#[test]
fn which_apps_something_is_for_is_no_word_about_it() {
    for changed in [
        "PATCH /console/v1/gates/{id}",
        "PATCH /console/v1/dynamic_configs/{id}",
        "PATCH /console/v1/experiments/{id}",
        "PATCH /console/v1/layers/{id}",
    ] {
        for arguments in [json!({"targetApps": []}), json!({"targetApps": ["web"]}), json!({"targetAppID": null})] {
            let operation = described("statsig", changed, &arguments);
            assert_eq!((operation.class, operation.unmeasured), (Class::Destructive, true), "{changed} {arguments}");
        }
    }
    for created in ["POST /console/v1/gates", "POST /console/v1/experiments", "POST /console/v1/segments"] {
        let arguments = json!({"targetApps": ["web"], "ids": ["u"], "allocation": 1});
        assert!(unmeasured("statsig", created, &arguments), "{created}");
    }
}

#[test]
fn who_is_taken_out_of_a_segment_by_either_way_is_the_same_loss() {
    for way in ["PATCH /console/v1/segments/{id}/remove_ids", "DELETE /console/v1/segments/{id}/id_list"] {
        let operation = described("statsig", way, &json!({"ids": ["u_1", "u_2"]}));
        assert_eq!((operation.class, operation.magnitude.unwrap().value.as_deref()), (Class::Destructive, Some("2")));
    }
}

#[test]
fn a_default_value_reaches_everybody() {
    for (operation, arguments) in [
        ("PATCH /console/v1/dynamic_configs/{id}", json!({"defaultValue": {"a": 1}})),
        ("PATCH /console/v1/dynamic_configs/{id}", json!({"defaultValue": null})),
        ("PATCH /console/v1/dynamic_configs/{id}", json!({"defaultValueJson5": "{a: 1}"})),
        ("PATCH /console/v1/dynamic_configs/{id}/rule/{ruleId}", json!({"passPercentage": 1, "returnValue": {}})),
        ("PATCH /console/v1/gates/{id}/rules/{ruleID}", json!({"conditions": [{"type": "email"}]})),
    ] {
        let operation = described("statsig", operation, &arguments);
        assert_eq!((operation.class, operation.unmeasured), (Class::Destructive, true), "{operation:?}");
    }
}

/// Whatever changes what users get at once says how many, or that it may be all of them.
#[test]
fn what_users_get_changes_by_a_share_or_for_everybody() {
    let catalog = Catalog::builtin(Some("statsig")).unwrap();
    let things = ["gates", "dynamic_configs", "experiments", "autotunes", "layers", "holdouts", "segments"];
    let harmless = ["/load_pulse", "/resolve", "POST /console/v1/autotunes", "POST /console/v1/layers"];
    let sources = ["/assignment_source", "/entity_propert", "/qualifying_event"];
    let mut seen = 0;
    for (name, facts) in &catalog.operations {
        let (_, path) = name.split_once(" /console/v1/").unwrap();
        let live = things.contains(&path.split('/').next().unwrap()) && facts.class != Class::Read;
        let apart = harmless.iter().any(|end| name.ends_with(end)) || sources.iter().any(|part| name.contains(part));
        if live && !apart {
            assert!(facts.magnitude.is_some(), "{name} does not say how much");
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn an_argument_that_nobody_has_listed_is_more_than_the_numbers_tell() {
    let one = json!([{"passPercentage": 1, "environments": ["development"]}]);
    for (operation, arguments) in [
        ("POST /console/v1/gates", json!({"rules": one, "somethingNew": true})),
        ("POST /console/v1/gates/{id}/rule", json!({"passPercentage": 1, "baseID": "b"})),
        ("POST /console/v1/experiments", json!({"allocation": 1, "layerID": "l"})),
        ("PATCH /console/v1/segments/{id}/add_ids", json!({"ids": ["a"], "rules": []})),
        ("POST /console/v1/holdouts", json!({"passPercentage": 1, "isGlobal": true})),
    ] {
        let operation = described("statsig", operation, &arguments);
        assert!(operation.unmeasured && operation.class >= Class::Write, "{operation:?}");
    }
    let usual = json!({"name": "g", "description": "d", "rules": one, "isEnabled": true, "idType": "userID"});
    assert!(!described("statsig", "POST /console/v1/gates", &usual).unmeasured);
    // The places that arguments lie in are none.
    let catalog = Catalog::builtin(Some("statsig")).unwrap();
    let nested = |body: Value| {
        let v1 = json!({"params": {"path_id": "g", "application/json": body}});
        let v3 = json!({"arguments": {"params": {"application/json": body}}, "confirmation": {}});
        [("Create_Gate", v1), ("gate_create", v3)].map(|(tool, arguments)| catalog.operation(&call(tool, &arguments)))
    };
    assert!(nested(usual.clone()).iter().all(|operation| !operation.unmeasured));
    assert!(nested(json!({"rules": one, "more": 1})).iter().all(|operation| operation.unmeasured));
}

#[test]
fn a_quantity_does_not_tell_who_pays_and_whether() {
    for (operation, arguments) in [
        ("v1.subscriptions.provision", json!({"billingInformation": {"isInvoicePaid": true}})),
        ("v1.subscriptions.provision", json!({"paymentCollectionMethod": "NONE"})),
        ("v1.subscriptions.provision", json!({"payingCustomerId": "c_2"})),
        ("v1.subscriptions.provision", json!({"startDate": "2020-01-01"})),
        ("v1.subscriptions.provision", json!({"cancellationDate": "2030-01-01"})),
        ("v1.subscriptions.provision", json!({"awaitPaymentConfirmation": false})),
        ("v1.subscriptions.update", json!({"billingInformation": {"couponId": "free"}})),
        ("v1.subscriptions.update", json!({"billingPeriod": "ANNUALLY"})),
        ("v1.credits.grants.create", json!({"amount": 1, "billingInformation": {"isInvoicePaid": true}})),
        ("v1.credits.grants.create", json!({"amount": 1, "paymentCollectionMethod": "NONE"})),
    ] {
        assert!(unmeasured("stigg", operation, &arguments), "{operation} {arguments}");
    }
    for (operation, arguments) in [
        ("v1.subscriptions.import", json!({"subscriptions": [{"customerId": "c", "planId": "free"}]})),
        ("v1.customers.import", json!({"customers": [{"id": "c", "paymentMethodId": "pm"}]})),
        ("v1.customers.promotionalEntitlements.create", json!({"promotionalEntitlements": [{"usageLimit": 9}]})),
        ("v1.events.report", json!({"events": [{"customerId": "c", "dimensions": {"tokens": 9e9}}]})),
        ("v1.usage.report", json!({"usages": [{"value": 1, "updateBehavior": "SET"}]})),
    ] {
        assert!(unmeasured("stigg", operation, &arguments), "{operation} {arguments}");
    }
    let reported = |usages: Value| {
        let operation = described("stigg", "v1.usage.report", &json!({ "usages": usages }));
        assert!(!operation.unmeasured);
        operation.magnitude.unwrap().value.unwrap()
    };
    assert_eq!(reported(json!([{"value": 10}])), "10");
    assert_eq!(reported(json!([{"value": 10}, {"value": 10}, {"value": 1}])), "21", "many small ones are much");
    for odd in [json!(-1), json!(1.5), json!("1"), json!(u64::MAX), json!(null)] {
        let value = reported(json!([{"value": 10}, {"value": odd}]));
        assert!(value.starts_with('['), "{value}");
    }
    let usual = json!({"customerId": "c_1", "planId": "p", "unitQuantity": 1, "billingPeriod": "MONTHLY"});
    assert!(!unmeasured("stigg", "v1.subscriptions.provision", &usual));
    assert!(!unmeasured("stigg", "v1.subscriptions.update", &json!({"id": "s", "addons": [{"quantity": 1}]})));
}

#[test]
fn an_amount_does_not_tell_what_other_parts_of_a_call_of_stripe_give() {
    for (operation, arguments) in [
        ("PostCreditNotes", json!({"amount": 1, "lines": [{"quantity": 9}]})),
        ("PostCreditNotes", json!({"amount": 1, "shipping_cost": {}})),
        ("PostPrices", json!({"unit_amount": 1, "currency_options": {"eur": {"unit_amount": 0}}})),
        ("PostPrices", json!({"unit_amount": 1, "tiers": []})),
        ("PostPrices", json!({"custom_unit_amount": {"enabled": true}})),
        ("PostSubscriptions", json!({"trial_from_plan": true})),
        ("PostSubscriptions", json!({"backdate_start_date": 1})),
        ("PostSubscriptionsSubscriptionExposedId", json!({"billing_cycle_anchor": "now"})),
        ("PostCheckoutSessions", json!({"allow_promotion_codes": true})),
        ("PostPaymentLinks", json!({"shipping_options": []})),
    ] {
        assert!(unmeasured("stripe", operation, &arguments), "{operation} {arguments}");
    }
    assert!(unmeasured(
        "stripe",
        "PostWebhookEndpoints",
        &json!({"url": "https://x.example", "enabled_events": ["a"]})
    ));
    assert!(!unmeasured("stripe", "PostCreditNotes", &json!({"invoice": "in_1", "amount": 1})));
    assert!(!unmeasured("stripe", "PostPrices", &json!({"product": "p", "unit_amount": 1, "currency": "usd"})));
}

#[test]
fn a_name_with_brackets_hides_nothing_from_an_api_that_reads_forms() {
    fn of(vendor: &str, tool: &str, arguments: &str) -> Operation {
        Catalog::builtin(Some(vendor)).unwrap().operation(&spelled(tool, arguments))
    }
    for inside in [
        r#""items":[{"quantity":1}],"items[0][deleted]":true"#,
        r#""transfer_data[destination]":"acct_x""#,
        r#""items":[{"price_data":{"currency\u005beur\u005d":1}}]"#,
        r#""expand]":[]"#,
    ] {
        for name in ["PostSubscriptions", "GetCustomers"] {
            let verb = if name == "GetCustomers" { "read" } else { "write" };
            let arguments = format!(r#"{{"stripe_api_operation_id":"{name}","parameters":{{{inside}}}}}"#);
            let operation = of("stripe", &format!("stripe_api_{verb}"), &arguments);
            assert_eq!((operation.class, operation.unmeasured), (Class::Unknown, true), "{arguments}");
            assert!(operation.effect.is_some_and(|why| why.contains("with brackets")), "{arguments}");
        }
    }
    let beside = of("stripe", "create_refund", r#"{"amount":1,"payment_intent":"pi_1","a[b]":1}"#);
    assert_eq!((beside.class, beside.unmeasured), (Class::Unknown, true));
    let value = of("stripe", "create_refund", r#"{"amount":1,"payment_intent":"pi_1","reason":"a[b]"}"#);
    assert_eq!((value.class, value.unmeasured), (Class::Financial, false));
    let json = of("statsig", "Create_Gate", r#"{"params":{"name":"g","a[b]":1}}"#);
    assert_eq!((json.class, json.unmeasured), (Class::Write, true), "this API reads JSON, and knows no such argument");
}

#[test]
fn what_an_own_entry_measures_and_the_built_in_one_does_not_is_said() {
    let loosened = |text: &str| extra(&format!("version: 1\n{text}")).unwrap().loosened().to_vec();
    let others = |facts: &str| loosened(&format!("operations:\n  others:\n    {facts}\n"));
    // As many as before, and others.
    let said = others(
        "PostSubscriptionItems: { like: PostSubscriptionItems2, unmeasured: [/x, /y] }\n    \
         PostSubscriptionItems2: { class: financial, magnitude: { value: [/quantity], unit: count } }",
    );
    assert!(
        said.len() == 1
            && said[0].ends_with("says financial, and that no limit covers a call with /price_data, /discounts"),
        "{said:?}"
    );
    let template = "PostSubscriptions: { class: destructive, magnitude: { value: [/items/*/quantity], unit: count } }";
    let said = others(template);
    assert!(said.len() == 1 && said[0].contains("/transfer_data") && said[0].contains("/cancel_at"), "{said:?}");
    for kept in [
        "PostSubscriptionItems: { class: financial, magnitude: { value: [/quantity], unit: count }, unmeasured: [/discounts, /x, /price_data] }",
        "PostSubscriptionItems: { class: financial }",
        "PostSubscriptionItems: { class: unknown, magnitude: { value: [/quantity], unit: count } }",
    ] {
        assert_eq!(others(kept), [""; 0], "{kept}");
    }
    // A number in place of everybody, and one of several in place of their sum.
    let usage = |more: &str| {
        format!(
            "v1.usage.report: {{ class: financial, unmeasured: [/usages/*/updateBehavior], magnitude: {{ value: \
             [/usages/*/value], unit: usage{more} }} }}"
        )
    };
    let enable = "PUT /console/v1/gates/{id}/enable: { class: write, magnitude: { value: [/n], unit: percent } }";
    for (vendor, facts, said) in [
        ("statsig", enable.to_owned(), Some("no number in a call tells")),
        ("stigg", usage(""), Some("added up")),
        ("stigg", usage(", total: true"), None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.yaml");
        std::fs::write(&path, format!("version: 1\noperations:\n  others:\n    {facts}\n")).unwrap();
        let catalog = Catalog::load(Some(vendor), &[path]).unwrap();
        assert_eq!(catalog.loosened().len(), usize::from(said.is_some()), "{:?}", catalog.loosened());
        assert!(said.is_none_or(|said| catalog.loosened()[0].contains(said)), "{:?}", catalog.loosened());
    }
    // One condition in place of another.
    let exchanged = "PostDisputesDispute: { class: financial, raises: [{ when: { at: /other }, class: destructive }] }";
    assert_eq!(others(exchanged).len(), 1);
}
