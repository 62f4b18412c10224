//! Grants for what code asks of an API: the request as it was approved, but for the places that are named.

use super::*;

const REQUEST: &str = r#"{"method":"POST","path":"/v1/refunds","query":{"n":"2"},"headers":{"content-type":"application/x-www-form-urlencoded","idempotency-key":"k-1"},"body":{"amount":"100","charge":"ch_1","reason":"asked"}}"#;

fn request(text: &str) -> ToolCall {
    let text = JsonText::parse(text, Rules::CLIENT).unwrap();
    let id = CallId::random().unwrap();
    ToolCall::new(id, Decided::ApiRequest, "POST /v1/refunds".into(), text.clone(), text.clone(), text)
}

/// As the gate has it: no tool, and the call whose code asks.
fn around(amount: &str) -> CallContext {
    let context = context();
    let tool = ToolFacts { name: "POST /v1/refunds".into(), definition: None, pin: Pin::Unknown, ..context.tool };
    let mut operation = context.operation;
    operation.targets = vec!["ch_1".into()];
    operation.money = Some(Money { amount: Some(amount.into()), unit: "minor".into(), currency: None, absent: None });
    CallContext { tool, operation, continues: Some(CallId::random().unwrap()), ..context }
}

fn predicate(text: &str, at_most: &[&str], any: &[&str]) -> Result<Predicate, NotGrantable> {
    Predicate::of(&request(text), &around("100"), &bounds(at_most, any))
}

fn covers(text: &str, amount: &str) -> bool {
    let any = ["/body/reason", "/headers/idempotency-key"];
    let predicate = predicate(REQUEST, &["/body/amount", "/query/n"], &any).unwrap();
    predicate.covers(&request(text), &around("100"), &around(amount))
}

#[test]
fn a_request_is_covered_where_it_differs_within_the_bounds_alone() {
    assert!(covers(REQUEST, "100"), "whichever call runs the code");
    let change = |from: &str, to: &str| {
        let changed = REQUEST.replace(from, to);
        assert_ne!(changed, REQUEST, "{from}");
        changed
    };
    for (from, to) in [("\"100\"", "\"99\""), ("\"2\"", "\"1\""), ("asked", "other"), ("k-1", "0f8c-22")] {
        assert!(covers(&change(from, to), "99"), "{from} became {to}");
    }
    for (from, to) in [
        ("\"100\"", "\"101\""),
        ("\"100\"", "\"0\""),
        ("\"100\"", "\"-1\""),
        ("\"100\"", "\"099\""),
        ("\"100\"", "\"+99\""),
        ("\"100\"", "\"9e1\""),
        ("\"100\"", "\" 99\""),
        ("\"100\"", "99"),
        ("\"100\"", "[\"99\"]"),
        ("\"2\"", "\"3\""),
        ("asked", "900"),
        ("asked", "9e9"),
        ("asked", " 900"),
        ("ch_1", "ch_2"),
        ("POST", "PUT"),
        ("/v1/refunds", "/v1/payouts"),
        ("\"charge\"", "\"payment_intent\""),
        ("\"reason\":\"asked\"", "\"reason\":\"asked\",\"reverse_transfer\":\"true\""),
        (",\"idempotency-key\":\"k-1\"", ""),
        ("\"body\":", "\"dropped_headers\":[\"stripe-account\"],\"body\":"),
        ("application/x-www-form-urlencoded", "application/json"),
    ] {
        assert!(!covers(&change(from, to), "100"), "{from} became {to}");
    }
    // An amount that is no whole number is bounded by nothing, so it has to be the same.
    assert!(!covers(REQUEST, "\"100\"") && !covers(REQUEST, "[100,1]") && !covers(REQUEST, "99.5"));
    let tool = |method| {
        let text = JsonText::parse(REQUEST, Rules::CLIENT).unwrap();
        ToolCall::new(CallId::random().unwrap(), method, "POST /v1/refunds".into(), text.clone(), text.clone(), text)
    };
    let granted = predicate(REQUEST, &["/body/amount"], &[]).unwrap();
    assert!(granted.covers(&tool(Decided::ApiRequest), &around("100"), &around("100")));
    assert!(!granted.covers(&tool(Decided::ToolsCall), &around("100"), &around("100")));
    let elsewhere = |change: fn(&mut CallContext)| {
        let mut context = around("100");
        change(&mut context);
        granted.covers(&request(REQUEST), &around("100"), &context)
    };
    assert!(!elsewhere(|context| context.principal = fixtures::principal("other", &[])));
    assert!(!elsewhere(|context| context.operation.class = Class::Destructive));
    assert!(!elsewhere(|context| context.operation.targets = vec!["ch_2".into()]));
    assert!(!elsewhere(|context| context.tool.name = "POST /v1/payouts".into()));
}

#[test]
fn only_what_a_request_carries_may_differ() {
    for any in ["/method", "/path", "/headers/content-type", "/body", "/query", "/body/charge", "/body/amount", ""] {
        assert!(predicate(REQUEST, &[], &[any]).is_err(), "{any}");
    }
    for at_most in ["/path", "/headers/idempotency-key", "/body/reason", "/body"] {
        assert!(predicate(REQUEST, &[at_most], &[]).is_err(), "{at_most}");
    }
    // In JSON a text is no number.
    let json = REQUEST.replace("\"content-type\":\"application/x-www-form-urlencoded\",", "");
    assert!(predicate(&json, &["/body/amount"], &[]).is_err() && predicate(&json, &["/query/n"], &[]).is_ok());
    let bounds = bounds(&["/body/amount"], &["/body/reason"]);
    let text = Predicate::of(&request(REQUEST), &around("100"), &bounds).unwrap();
    let text = text.text(&request(REQUEST), &around("100"), &decision(), &bounds).unwrap();
    for line in [
        "request \"POST /v1/refunds\" to the API, by any code that runs for this principal",
        "argument /method is \"POST\"",
        "argument /path is \"/v1/refunds\"",
        "argument /body/amount is a whole number from 1 to 100, as a text",
        "argument /body/charge is \"ch_1\"",
        "argument /body/reason is any visible text of at most 1000 characters that is no number",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}
