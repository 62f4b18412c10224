//! What is bound to what, without policy, store or session.

use super::*;
use crate::call::{Class, Effect, Leave, Tier, fixtures};
use crate::gate::SentCall;
use crate::json::Rules;
use crate::mcp::message::Message;
use crate::mcp::method::{Sorted, sort};

/// Everything of one call that a test changes.
#[derive(Clone)]
struct Case {
    session: &'static str,
    principal: &'static str,
    server: &'static str,
    environment: &'static str,
    definition: Option<&'static str>,
    method: &'static str,
    params: &'static str,
    /// What comes after the parameters.
    more: String,
}

const CASE: Case = Case {
    session: "s-1",
    principal: "agent",
    server: "billing",
    environment: "production",
    definition: Some("v1"),
    method: "tools/call",
    params: r#""name":"refund","arguments":{"amount":1.0,"to":"a"}"#,
    more: String::new(),
};

impl Case {
    fn more(&self, more: &str) -> Case {
        Case { more: more.to_owned(), ..self.clone() }
    }

    fn call(&self) -> ToolCall {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{}","params":{{{}{},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#,
            self.method, self.params, self.more
        );
        match sort(Message::from_client(text).unwrap()) {
            Sorted::Decide(call) => *call,
            other => panic!("{other:?}"),
        }
    }

    fn context(&self) -> CallContext {
        let definition = self.definition.map(|text| Digest::of_bytes(text.as_bytes()));
        let common = fixtures::context("refund", Class::Financial);
        CallContext {
            session: self.session.into(),
            principal: fixtures::principal(self.principal, &[]),
            server: fixtures::server(self.server),
            environment: fixtures::environment(self.environment),
            tool: ToolFacts { definition, ..common.tool.clone() },
            ..common
        }
    }

    /// The call as one that was approved and sent.
    fn sent(&self) -> SentCall {
        let call = self.call();
        let origin = Origin::new(&call, Arc::new(self.context()), Some(Arc::new(held(&["refunds.all"], Tier::Medium))));
        SentCall::of(&call, origin, Leave::free())
    }

    fn answered(&self, following: &Following, result: &str) -> Option<&'static str> {
        following.relayed(&self.sent(), json(result).view())
    }

    fn taken(&self, following: &Following) -> bool {
        following.take(&self.call(), &self.context()).is_some()
    }
}

fn json(text: &str) -> JsonText {
    JsonText::parse(text, Rules::UPSTREAM).unwrap()
}

fn held(rules: &[&str], tier: Tier) -> Decision {
    Decision {
        effect: Effect::Hold,
        reason: "r".into(),
        rules: rules.iter().map(|rule| fixtures::hit(rule)).collect(),
        tier,
        approvals: 1,
        ttl_seconds: None,
        confirm_with: vec![],
        grantable: false,
        redact: vec![],
        policy_version: "v".into(),
        observed: vec![],
    }
}

const ASKS: &str = r#"{"resultType":"input_required","inputRequests":{"a":{},"b":{}},"requestState":"st\u0061te"}"#;
const ANSWERS: &str = r#","inputResponses":{"b":{"x":1},"a":{}},"requestState":"state""#;

#[test]
fn the_retry_that_was_asked_for_goes_on_once() {
    let following = Following::default();
    assert!(!CASE.more(ANSWERS).taken(&following), "nobody asked");
    assert_eq!(CASE.answered(&following, ASKS), Some("the server asks for input"));
    assert!(!CASE.taken(&following), "the call itself is no retry");
    assert!(CASE.more(ANSWERS).taken(&following));
    assert!(!CASE.more(ANSWERS).taken(&following), "used up");
}

#[test]
fn whatever_differs_is_a_call_like_any_other() {
    let following = Following::default();
    CASE.answered(&following, ASKS);
    let good = CASE.more(ANSWERS);
    let others = [
        Case { principal: "other", ..good.clone() },
        Case { server: "elsewhere", ..good.clone() },
        Case { environment: "sandbox", ..good.clone() },
        Case { params: r#""name":"refund","arguments":{"amount":1,"to":"a"}"#, ..good.clone() },
        Case { params: r#""name":"refund","arguments":{"amount":1.0,"to":"b"}"#, ..good.clone() },
        Case { params: r#""name":"refund2","arguments":{"amount":1.0,"to":"a"}"#, ..good.clone() },
        Case { params: r#""name":"refund","arguments":{"amount":1.0,"to":"a"},"task":{}"#, ..good.clone() },
        Case { method: "prompts/get", ..good.clone() },
        CASE.more(r#","inputResponses":{"b":{},"a":{}},"requestState":"State""#),
        CASE.more(r#","inputResponses":{"b":{},"a":{}}"#),
        CASE.more(r#","inputResponses":{"a":{}},"requestState":"state""#),
        CASE.more(r#","inputResponses":{"b":{},"a":{},"c":{}},"requestState":"state""#),
        CASE.more(r#","inputResponses":{},"requestState":"state""#),
        CASE.more(r#","requestState":"state""#),
    ];
    for (n, other) in others.iter().enumerate() {
        assert!(!other.taken(&following), "case {n}");
    }
    // None of them has used the approval up. The order of keys is not a part of it.
    let reordered = Case { params: r#""arguments":{"to":"a","amount":1.0},"name":"refund""#, ..good };
    assert!(reordered.taken(&following));
}

#[test]
fn a_definition_that_is_another_or_forgotten_binds_nothing() {
    for (then, now, bound) in
        [(Some("v1"), Some("v2"), false), (Some("v1"), None, false), (None, Some("v2"), true), (None, None, true)]
    {
        let following = Following::default();
        Case { definition: then, ..CASE }.answered(&following, ASKS);
        assert_eq!(Case { definition: now, ..CASE.more(ANSWERS) }.taken(&following), bound, "{then:?} {now:?}");
    }
}

#[test]
fn an_answer_that_asks_nothing_leaves_nothing_open() {
    let following = Following::default();
    for result in [
        r#"{"resultType":"complete","inputRequests":{"a":{}}}"#,
        r#"{"inputRequests":{"a":{}},"requestState":"s"}"#,
        r#"{"resultType":"input_required"}"#,
        r#"{"resultType":"input_required","inputRequests":{}}"#,
        r#"{"resultType":"task","taskId":""}"#,
        r#"{"resultType":"task","taskId":7}"#,
        r#"{"task":"x"}"#,
    ] {
        assert_eq!(CASE.answered(&following, result), None, "{result}");
    }
    // A state without questions is one half of an answer.
    assert!(CASE.answered(&following, r#"{"resultType":"input_required","requestState":"s"}"#).is_some());
    assert!(CASE.more(r#","requestState":"s""#).taken(&following));
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_ever() {
    let following = Following::default();
    CASE.answered(&following, ASKS);
    CASE.answered(&following, r#"{"resultType":"task","taskId":"t"}"#);
    tokio::time::advance(ASKED_FOR - Duration::from_millis(1)).await;
    assert!(CASE.more(ANSWERS).taken(&following));
    CASE.answered(&following, ASKS);
    tokio::time::advance(ASKED_FOR + Duration::from_millis(1)).await;
    assert!(!CASE.more(ANSWERS).taken(&following));
    // Who asks about a task keeps it.
    tokio::time::advance(TASK_KEPT - ASKED_FOR - Duration::from_secs(60) * 11).await;
    assert!(following.task("t", &CASE.context()).is_some());
    tokio::time::advance(TASK_KEPT - Duration::from_millis(1)).await;
    assert!(following.task("t", &CASE.context()).is_some());
    tokio::time::advance(TASK_KEPT + Duration::from_millis(1)).await;
    assert!(following.task("t", &CASE.context()).is_none());
}

#[test]
fn one_approval_lasts_for_so_many_rounds() {
    let following = Following::default();
    CASE.answered(&following, ASKS);
    let mut rounds = 0;
    while let Some(origin) = following.take(&CASE.more(ANSWERS).call(), &CASE.context()) {
        rounds += 1;
        let sent = SentCall::of(&CASE.more(ANSWERS).call(), origin, Leave::free());
        following.relayed(&sent, json(ASKS).view());
        assert!(rounds <= 100);
    }
    assert_eq!(rounds, MAX_ROUNDS);
}

#[test]
fn count_and_bytes_are_bounded_and_nobody_takes_another_ones_room() {
    let following = Following::default();
    let asks = |n: usize| format!(r#"{{"resultType":"input_required","requestState":"{n}"}}"#);
    let answers = |n: usize| CASE.more(&format!(r#","requestState":"{n}""#));
    Case { principal: "other", ..CASE }.answered(&following, &asks(0));
    for n in 0..=MAX_PER_PRINCIPAL {
        CASE.answered(&following, &asks(n));
    }
    assert!(!answers(0).taken(&following), "the oldest has made room");
    assert!(answers(1).taken(&following));
    assert!(Case { principal: "other", ..answers(0) }.taken(&following));
    let servers: Vec<&'static str> = (0..=MAX_ALL / MAX_PER_PRINCIPAL).map(|n| &*n.to_string().leak()).collect();
    for server in servers {
        for n in 0..MAX_PER_PRINCIPAL {
            Case { server, ..CASE }.answered(&following, &asks(n));
            Case { server, ..CASE }.answered(&following, &format!(r#"{{"resultType":"task","taskId":"{n}"}}"#));
        }
    }
    let inner = following.lock();
    assert_eq!((inner.waiting.len(), inner.tasks.len()), (MAX_ALL, MAX_ALL));
    drop(inner);
    // Names of questions, and what is kept of a call.
    let following = Following::default();
    let names = |count: usize, length: usize| {
        let all: Vec<_> = (0..count).map(|n| format!(r#""{n:0>length$}":{{}}"#)).collect();
        format!(r#"{{"resultType":"input_required","inputRequests":{{{}}}}}"#, all.join(","))
    };
    assert!(CASE.answered(&following, &names(MAX_KEYS, MAX_KEY_BYTES / MAX_KEYS)).is_some());
    assert!(CASE.answered(&following, &names(MAX_KEYS + 1, 3)).is_none());
    assert!(CASE.answered(&following, &names(2, MAX_KEY_BYTES / 2 + 1)).is_none());
    let mut context = CASE.context();
    context.operation.targets = vec!["x".repeat(MAX_CONTEXT)];
    let origin = Origin::new(&CASE.call(), Arc::new(context), None);
    assert!(following.relayed(&SentCall::of(&CASE.call(), origin, Leave::free()), json(ASKS).view()).is_none());
    let long = format!(r#"{{"resultType":"task","taskId":"{}"}}"#, "x".repeat(MAX_TASK_ID + 1));
    assert!(CASE.answered(&following, &long).is_none());
}

fn update(keys: &str) -> Case {
    let params = format!(r#""taskId":"t","inputResponses":{keys}"#);
    Case { method: "tasks/update", params: params.leak(), ..CASE }
}

#[test]
fn a_task_belongs_to_the_principal_whose_call_became_it() {
    let legacy = r#"{"task":{"taskId":"t","status":"working"}}"#;
    for (call, created) in [
        (CASE, r#"{"resultType":"task","taskId":"t"}"#),
        (CASE.more(r#","task":{"ttl":1}"#), legacy),
        (CASE.more(r#","task":{}"#), r#"{"resultType":"task","taskId":"t"}"#),
    ] {
        let following = Following::default();
        // One that the call did not ask for is none.
        assert!(CASE.answered(&following, legacy).is_none());
        assert!(following.task("t", &CASE.context()).is_none());
        let sent = call.sent();
        assert_eq!(following.relayed(&sent, json(created).view()), Some("the call goes on as a task"));
        let origin = following.task("t", &CASE.context()).unwrap();
        assert_eq!(origin.call(), sent.origin().call());
        // Another session of the same principal: over HTTP every request may be one.
        assert!(following.task("t", &Case { session: "s-2", ..CASE }.context()).is_some());
        for other in [
            Case { principal: "other", ..CASE },
            Case { server: "elsewhere", ..CASE },
            Case { environment: "sandbox", ..CASE },
        ] {
            assert!(following.task("t", &other.context()).is_none());
        }
        assert!(following.task("u", &CASE.context()).is_none());
    }
}

#[test]
fn two_tasks_of_one_name_are_told_apart_or_not_reached() {
    let following = Following::default();
    let created = r#"{"resultType":"task","taskId":"t"}"#;
    CASE.answered(&following, created);
    let other = Case { session: "s-2", ..CASE };
    let sent = other.sent();
    following.relayed(&sent, json(created).view());
    assert_eq!(following.task("t", &other.context()).unwrap().call(), sent.origin().call());
    assert_ne!(following.task("t", &CASE.context()).unwrap().call(), sent.origin().call());
    assert!(following.task("t", &Case { session: "s-3", ..CASE }.context()).is_none());
}

#[test]
fn a_task_takes_each_answer_once_and_only_what_it_asked() {
    let following = Following::default();
    CASE.answered(&following, r#"{"resultType":"task","taskId":"t"}"#);
    assert!(!update(r#"{"a":{}}"#).taken(&following), "nothing was asked yet");
    following.task_asks("t", &CASE.context(), json(r#"{"a":{},"b":{}}"#).view());
    for other in [r#"{}"#, r#"{"c":{}}"#, r#"{"a":{},"c":{}}"#] {
        assert!(!update(other).taken(&following), "{other}");
    }
    assert!(!Case { principal: "other", ..update(r#"{"a":{}}"#) }.taken(&following));
    assert!(update(r#"{"a":{"x":1}}"#).taken(&following));
    // A poll may still show the question that was just answered.
    following.task_asks("t", &CASE.context(), json(r#"{"a":{},"b":{}}"#).view());
    assert!(!update(r#"{"a":{"x":2}}"#).taken(&following));
    assert!(!update(r#"{"a":{},"b":{}}"#).taken(&following));
    assert!(update(r#"{"b":{}}"#).taken(&following));
    let many: Vec<_> = (0..2 * MAX_KEYS).map(|n| format!(r#""{n}":{{}}"#)).collect();
    for one in many {
        following.task_asks("t", &CASE.context(), json(&format!("{{{one}}}")).view());
    }
    assert_eq!(following.lock().tasks[0].keys.len(), MAX_KEYS);
}

#[test]
fn an_approval_covers_what_it_was_given_for_and_no_more() {
    let origin = CASE.sent().origin().clone();
    assert!(origin.covers(&held(&["refunds.all"], Tier::Medium)));
    assert!(origin.covers(&held(&["refunds.all"], Tier::Low)));
    assert!(!origin.covers(&held(&["refunds.all"], Tier::High)));
    assert!(!origin.covers(&held(&["refunds.answers"], Tier::Low)), "a rule that had not spoken");
    assert!(!origin.covers(&held(&["refunds.all", "refunds.answers"], Tier::Low)));
    assert!(!origin.covers(&Decision { approvals: 2, ..held(&["refunds.all"], Tier::Low) }));
    // What policy alone let through was never approved.
    let allowed = Origin::new(&CASE.call(), Arc::new(CASE.context()), None);
    assert!(!allowed.covers(&held(&["refunds.all"], Tier::Low)));
}

#[test]
fn what_travels_beside_the_parameters_is_bound_as_well() {
    let with = |case: &Case, meta: &str| {
        let text = case.call().message().as_str().replace("\"2026-07-28\"", &format!("\"2026-07-28\"{meta}"));
        match sort(Message::from_client(text).unwrap()) {
            Sorted::Decide(call) => *call,
            other => panic!("{other:?}"),
        }
    };
    let sent = |call: &ToolCall| {
        let approved = Some(Arc::new(held(&["refunds.all"], Tier::Medium)));
        SentCall::of(call, Origin::new(call, Arc::new(CASE.context()), approved), Leave::free())
    };
    let retry = CASE.more(ANSWERS);
    for (before, after, same) in [
        ("", r#","vendor/as":"root""#, false),
        (r#","vendor/as":"me""#, r#","vendor/as":"root""#, false),
        (r#","vendor/as":"me""#, "", false),
        (r#","vendor/as":"me","progressToken":1"#, r#","progressToken":2,"vendor/\u0061s":"me""#, true),
    ] {
        let following = Following::default();
        assert!(following.relayed(&sent(&with(&CASE, before)), json(ASKS).view()).is_some());
        let took = following.take(&with(&retry, after), &retry.context()).is_some();
        assert_eq!(took, same, "{before} then {after}");
    }
    // Answers for a task say nothing of their own either.
    let update = Case { method: "tasks/update", params: r#""taskId":"t""#, ..CASE.clone() };
    for (meta, same) in [("", true), (r#","vendor/as":"me""#, true), (r#","vendor/as":"root""#, false)] {
        let following = Following::default();
        let call = with(&CASE, r#","vendor/as":"me""#);
        following.relayed(&sent(&call), json(r#"{"resultType":"task","taskId":"t"}"#).view()).unwrap();
        following.task_asks("t", &CASE.context(), json(r#"{"a":{}}"#).view());
        let answers = with(&update.more(r#","inputResponses":{"a":{}}"#), meta);
        assert_eq!(following.take(&answers, &CASE.context()).is_some(), same, "{meta}");
    }
}

/// What a person approved while everything was frozen says nothing about the next freeze.
#[test]
fn an_approval_of_one_freeze_covers_nothing_under_the_next() {
    let frozen = held(&["operator.frozen", "refunds.all"], Tier::Medium);
    let approved = crate::gate::Gate::beyond_freezes(&frozen);
    let origin = Origin::new(&CASE.call(), Arc::new(CASE.context()), Some(Arc::new(approved)));
    assert!(origin.covers(&held(&["refunds.all"], Tier::Medium)));
    assert!(!origin.covers(&frozen));
}
