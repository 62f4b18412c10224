//! What a grant covers and what it does not, how its uses are counted, and its bounds. No policy, store or socket.

use super::predicate::Predicate;
use super::*;
use crate::call::{Bound, Class, Decided, Digest, Effect, Money, Pin, Reach, ToolFacts, fixtures};
use crate::json::{JsonText, Rules};

mod requests;

const ARGUMENTS: &str = r#"{"payment_intent":"pi_1","amount":100,"reason":"asked","items":[{"n":3,"id":7}],"x":1.0}"#;

fn call(arguments: &str) -> ToolCall {
    call_with(arguments, "{}")
}

fn call_with(arguments: &str, meta: &str) -> ToolCall {
    let text = |text: String| JsonText::parse(text, Rules::CLIENT).unwrap();
    let params = text(format!(r#"{{"name":"create_refund","arguments":{arguments}}}"#));
    let message = text(format!(r#"{{"params":{{"name":"create_refund","arguments":{arguments},"_meta":{meta}}}}}"#));
    let (id, arguments) = (CallId::random().unwrap(), text(arguments.to_owned()));
    ToolCall::new(id, Decided::ToolsCall, "create_refund".into(), arguments, params, message)
}

fn context() -> CallContext {
    let context = fixtures::context("create_refund", Class::Financial);
    let tool = ToolFacts { definition: Some(Digest::of_bytes(b"one")), pin: Pin::Match, ..context.tool.clone() };
    let mut operation = context.operation.clone();
    operation.targets = vec!["pi_1".into()];
    operation.money = Some(Money { amount: Some("100".into()), unit: "minor".into(), currency: None, absent: None });
    CallContext { principal: fixtures::principal("agent", &[]), tool, operation, ..context }
}

fn decision() -> Decision {
    Decision {
        effect: Effect::Hold,
        reason: "refunds need a person".into(),
        rules: vec![fixtures::hit("p.refund")],
        tier: Tier::Medium,
        approvals: 1,
        ttl_seconds: None,
        confirm_with: vec![],
        grantable: true,
        redact: vec![],
        policy_version: "v".into(),
        observed: vec![],
    }
}

fn bounds(at_most: &[&str], any: &[&str]) -> Bounds {
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Bounds { at_most: all(at_most), any: all(any), uses: 2, seconds: 60 }
}

fn grant(principal: &str) -> Grant {
    let at = Timestamp::now();
    let context = CallContext { principal: fixtures::principal(principal, &[]), ..context() };
    Grant {
        id: CallId::random().unwrap(),
        hold: CallId::random().unwrap(),
        context: Arc::new(context),
        text: String::new(),
        by: "ana".into(),
        at,
        until: at + jiff::SignedDuration::from_secs(60),
        uses: 2,
        used: 0,
    }
}

/// A grant in force for calls like [`ARGUMENTS`], with `/amount` and `/items/0/n` bounded and any `/reason`.
fn granted() -> (Grants, CallId) {
    let grants = Grants::default();
    let grant = grant("agent");
    let id = grant.id.clone();
    let bounds = bounds(&["/amount", "/items/0/n"], &["/reason"]);
    let predicate = Predicate::of(&call(ARGUMENTS), &context(), &bounds).unwrap();
    grants.reserve(grant, predicate, Arc::new(decision())).unwrap();
    assert!(grants.take(&call(ARGUMENTS), &context(), &decision()).is_none(), "not before it is recorded");
    assert!(grants.all().is_empty());
    assert!(grants.enforce(&id, Instant::now()));
    (grants, id)
}

fn covers(arguments: &str) -> bool {
    granted().0.take(&call(arguments), &context(), &decision()).is_some()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_covered_where_it_differs_within_the_bounds_alone() {
    assert!(covers(ARGUMENTS));
    let change = |from: &str, to: &str| {
        let changed = ARGUMENTS.replace(from, to);
        assert_ne!(changed, ARGUMENTS, "{from}");
        changed
    };
    for (from, to) in [
        ("100", "99"),
        ("100", "1"),
        (r#""asked""#, r#""""#),
        (r#""asked""#, r#""Grüße, ありがとう""#),
        (r#""n":3"#, r#""n":1"#),
        // The order of keys is none of a digest's business.
        (r#""n":3,"id":7"#, r#""id":7,"n":3"#),
    ] {
        assert!(covers(&change(from, to)), "{from} became {to}");
    }
    for (from, to) in [
        ("100", "101"),
        ("100", "0"),
        ("100", "-1"),
        ("100", "-0"),
        ("100", "99.0"),
        ("100", "1e1"),
        ("100", r#""99""#),
        ("100", "null"),
        ("100", "true"),
        ("100", "[99]"),
        (r#""amount":100,"#, ""),
        (r#""n":3"#, r#""n":4"#),
        (r#""id":7"#, r#""id":6"#),
        (r#"[{"n":3,"id":7}]"#, r#"[{"n":3,"id":7},{"n":3,"id":7}]"#),
        (r#"[{"n":3,"id":7}]"#, r#"{"0":{"n":3,"id":7}}"#),
        ("pi_1", "pi_2"),
        ("pi_1", "pi_\\u0031"),
        (r#""amount""#, r#""am\u006funt""#),
        ("1.0", "1"),
        (r#""x":1.0"#, r#""x":1.0,"y":1"#),
        (r#""asked""#, r#""as\u202eked""#),
        (r#""asked""#, r#""as\u200bked""#),
        (r#""asked""#, r#""a\nb""#),
        (r#""asked""#, r#""soft\u00adhyphen""#),
        (r#""asked""#, "7"),
        (r#""asked""#, r#"{"a":"asked"}"#),
    ] {
        assert!(!covers(&change(from, to)), "{from} became {to}");
    }
    let long = format!("\"{}\"", "x".repeat(1001));
    assert!(!covers(&change(r#""asked""#, &long)));
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_bound_to_everything_around_the_call() {
    type Change = fn(&mut CallContext);
    let changes: &[(&str, Change)] = &[
        ("principal", |context| context.principal = fixtures::principal("other", &[])),
        ("scopes", |context| context.principal = fixtures::principal("agent", &["*/*"])),
        ("server", |context| Arc::make_mut(&mut context.server).name = "other".into()),
        ("environment", |context| context.environment = fixtures::environment("staging")),
        ("conflict", |context| Arc::make_mut(&mut context.environment).conflict = Some("x".into())),
        ("definition", |context| context.tool.definition = Some(Digest::of_bytes(b"two"))),
        ("no definition", |context| context.tool.definition = None),
        ("pin", |context| context.tool.pin = Pin::Changed),
        ("tool", |context| context.tool.name = "other".into()),
        ("operation", |context| context.operation.name = "other".into()),
        ("class", |context| context.operation.class = Class::Destructive),
        ("target", |context| context.operation.targets = vec!["pi_2".into()]),
        ("account", |context| {
            context.operation.environment = Some(Reach { accounts: vec!["acct_2".into()], ..Reach::default() });
        }),
        ("place", |context| context.bound = Bound { accounts: vec!["acct_2".into()], ..Bound::default() }),
        ("currency", |context| {
            context.operation.money.iter_mut().for_each(|money| money.currency = Some("usd".into()));
        }),
        ("follows", |context| context.continues = Some(CallId::random().unwrap())),
    ];
    for (what, change) in changes {
        let (mut context, (grants, _)) = (context(), granted());
        assert!(grants.take(&call(ARGUMENTS), &context, &decision()).is_some());
        change(&mut context);
        assert!(grants.take(&call(ARGUMENTS), &context, &decision()).is_none(), "{what}");
    }
    // What travels beside the parameters is part of what was approved; what numbers a request is not.
    let (grants, _) = granted();
    let beside = |meta| grants.take(&call_with(ARGUMENTS, meta), &context(), &decision());
    assert!(beside(r#"{"note":"x"}"#).is_none() && beside(r#"{"progressToken":1}"#).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_stricter_policy_is_never_covered() {
    type Change = fn(&mut Decision);
    let changes: &[(&str, Change)] = &[
        ("tier", |now| now.tier = Tier::High),
        ("approvals", |now| now.approvals = 2),
        ("grantable", |now| now.grantable = false),
        ("typed", |now| now.confirm_with = vec!["/arguments/amount".into()]),
        ("another rule", |now| now.rules.iter_mut().for_each(|hit| hit.rule = "p.other".into())),
    ];
    for (what, change) in changes {
        let mut now = decision();
        change(&mut now);
        assert!(granted().0.take(&call(ARGUMENTS), &context(), &now).is_none(), "{what}");
    }
    let milder = Decision { tier: Tier::Low, ..decision() };
    assert!(granted().0.take(&call(ARGUMENTS), &context(), &milder).is_some());
}

#[tokio::test(start_paused = true)]
async fn uses_are_counted_and_given_back_only_where_nothing_says_that_the_call_leaves() {
    let (grants, id) = granted();
    let take = || grants.take(&call(ARGUMENTS), &context(), &decision());
    let (one, two) = (take().unwrap(), take().unwrap());
    assert!(take().is_none() && grants.all()[0].used == 2);
    grants.give_back(one);
    let three = take().unwrap();
    two.leaves();
    grants.give_back(two);
    assert!(take().is_none(), "a record may say that the second one left");
    assert!(grants.stands(three.grant()));
    assert!(grants.remove(&id).is_some() && !grants.stands(three.grant()) && take().is_none());
    grants.give_back(three);
    assert!(grants.all().is_empty(), "what was revoked does not come back");
}

#[tokio::test(start_paused = true)]
async fn a_grant_ends_with_its_time() {
    let (grants, id) = granted();
    let used = grants.take(&call(ARGUMENTS), &context(), &decision()).unwrap();
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(grants.stands(used.grant()));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!grants.stands(used.grant()) && grants.all().is_empty() && grants.remove(&id).is_none());
    assert!(grants.take(&call(ARGUMENTS), &context(), &decision()).is_none());
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_grants_and_no_more() {
    let grants = Grants::default();
    let predicate = || Predicate::of(&call(ARGUMENTS), &context(), &bounds(&[], &[])).unwrap();
    let reserve = |principal: &str| grants.reserve(grant(principal), predicate(), Arc::new(decision()));
    for n in 0..MAX_ALL {
        let name = format!("p{}", n / MAX_PER_PRINCIPAL);
        reserve(&name).unwrap();
        if n == MAX_PER_PRINCIPAL - 1 {
            assert_eq!(reserve("p0"), Err(NotGrantable::Full));
        }
    }
    assert_eq!(reserve("somebody else"), Err(NotGrantable::Full));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(reserve("p0"), Ok(()));
}

#[test]
fn a_pointer_leads_to_what_its_bound_is_about() {
    let of = |at_most: &[&str], any: &[&str]| Predicate::of(&call(ARGUMENTS), &context(), &bounds(at_most, any));
    for at_most in ["", "amount", "/reason", "/x", "/items", "/items/00/n", "/items/+0/n", "/nothing", "/items/0"] {
        assert!(of(&[at_most], &[]).is_err(), "{at_most}");
    }
    for any in ["/amount", "/items", "/payment_intent", ""] {
        assert!(of(&[], &[any]).is_err(), "{any}");
    }
    assert!(of(&["/amount", "/amount"], &[]).is_err() && of(&["/amount"], &["/amount"]).is_err());
    assert!(of(&["/amount"; 17], &[]).is_err());
    assert!(of(&["/amount"], &["/reason"]).is_ok());
}

#[test]
fn the_text_says_all_of_it_one_condition_a_line() {
    let arguments = r#"{"payment_intent":"pi_1\u202e","amount":1e2,"n":5,"a\nb":{"c/d":"t","e":[1,{}]}}"#;
    let (call, context, bounds) =
        (call_with(arguments, r#"{"note":["y"]}"#), context(), bounds(&["/n"], &["/a\nb/c~1d"]));
    let predicate = Predicate::of(&call, &context, &bounds).unwrap();
    let text = predicate.text(&call, &context, &decision(), &bounds).unwrap();
    let definition = Digest::of_bytes(b"one");
    let expected = format!(
        r#"principal "agent"
server "{}", environment "{}"
tool "create_refund", definition {definition}, pin match
operation "create_refund" (financial)
argument /payment_intent is "pi_1\u202e"
argument /amount is 1e2
argument /n is a whole number from 1 to 5
argument "/a\nb/c~1d" is any visible text of at most 1000 characters
argument "/a\nb/e" is [1,{{}}]
_meta "note" is ["y"]
nothing else in the call
policy holds it, and for no other rule than "p.refund"
at most 2 more, beside the call of this hold
for 60 seconds; forgotten when the daemon stops
"#,
        context.server.name, context.environment.name
    );
    assert_eq!(text, expected);
    let long = call_with(&format!(r#"{{"n":5,"a":"{}"}}"#, "x".repeat(20_000)), "{}");
    let bounds = Bounds { any: vec![], ..bounds };
    let predicate = Predicate::of(&long, &context, &bounds).unwrap();
    assert_eq!(predicate.text(&long, &context, &decision(), &bounds), Err(NotGrantable::Long));
}

/// While its approval can be taken back a grant covers nothing, and with it it goes.
#[tokio::test(start_paused = true)]
async fn a_grant_begins_where_the_take_back_ends() {
    let (grants, id) = granted();
    let hold = grants.all()[0].hold.clone();
    assert!(grants.enforce(&id, Instant::now() + Duration::from_secs(3)));
    tokio::time::advance(Duration::from_millis(2999)).await;
    assert!(grants.take(&call(ARGUMENTS), &context(), &decision()).is_none());
    tokio::time::advance(Duration::from_millis(1)).await;
    let used = grants.take(&call(ARGUMENTS), &context(), &decision()).unwrap();
    assert_eq!(grants.remove_of(&hold).len(), 1);
    assert!(!grants.stands(used.grant()) && grants.all().is_empty() && grants.remove_of(&hold).is_empty());
}
