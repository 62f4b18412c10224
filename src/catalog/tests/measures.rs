//! What no amount and no magnitude of the shipped catalogs tells.

use super::*;

fn unmeasured(vendor: &str, operation: &str, arguments: &Value) -> bool {
    let text = JsonText::parse(arguments.to_string(), Rules::CLIENT).unwrap();
    let catalog = Catalog::builtin(Some(vendor)).unwrap();
    catalog.operations[operation].describe_inside(operation, &[], &Arguments::of(text.view())).unmeasured
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
    assert!(!unmeasured("statsig", "PATCH /console/v1/gates/{id}", &measured));
    assert!(!unmeasured("statsig", "PATCH /console/v1/dynamic_configs/{id}", &measured));
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
    assert_eq!((json.class, json.unmeasured), (Class::Write, false), "this API reads JSON");
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
    // One condition in place of another.
    let exchanged = "PostDisputesDispute: { class: financial, raises: [{ when: { at: /other }, class: destructive }] }";
    assert_eq!(others(exchanged).len(), 1);
}
