//! Every event as it is written, and made-up calls for the tests of the log.

use super::*;
use crate::call::{Class, Effect, EnvironmentSource, PrincipalKind, RuleHit, Tier, Transport};

pub fn json(text: &str) -> JsonText {
    JsonText::parse(text, Rules::CLIENT).unwrap()
}

pub fn facts(params: &str) -> Box<CallFacts> {
    Box::new(CallFacts {
        session: "s1".into(),
        principal: Arc::new(Principal::plain("claude-code", PrincipalKind::Token, Vec::new())),
        client: ClientInfo { name: Some("agent".into()), uid: Some(1000), ..ClientInfo::silent(Transport::Stdio) }
            .into(),
        server: ServerFacts { name: "stripe".into(), vendor: Some("stripe".into()), catalog: None }.into(),
        environment: Environment {
            name: "production".into(),
            source: EnvironmentSource::Key,
            verified: true,
            conflict: None,
            accounts: Vec::new(),
        }
        .into(),
        method: "tools/call".into(),
        tool: "create_refund".into(),
        definition: None,
        operation: Operation::bare("create_refund", Class::Financial),
        bound: Bound::default(),
        confirmations: Vec::new(),
        digest: Digest::of_bytes(b"call"),
        params: json(params),
        meta: None,
        continues: None,
        judged: Some(Judged {
            now: 1_770_000_000_000_000_000,
            pin: Pin::Unpinned,
            schema: SchemaCheck::Checked,
            tool: None,
        }),
        annotations: None,
        history: None,
    })
}

pub fn decision(effect: Effect) -> Decision {
    Decision {
        effect,
        reason: "because".into(),
        rules: vec![RuleHit {
            rule: "refunds.over_limit".into(),
            reason: "because".into(),
            policy: "refunds".into(),
            file: "refunds.rego".into(),
            line: 3,
            details: None,
            would: None,
        }],
        tier: Tier::High,
        approvals: 1,
        ttl_seconds: None,
        confirm_with: vec![],
        grantable: false,
        redact: vec![],
        policy_version: "p1".into(),
        observed: vec![],
    }
}

pub fn decided(effect: Effect) -> Event {
    Event::Decided { facts: facts(r#"{"name":"create_refund"}"#), decision: decision(effect).into() }
}

pub fn ruled(ruling: Ruling, effective: bool) -> Event {
    let operator = "ana".to_owned();
    Event::Ruled {
        ruling,
        operator,
        digest: Digest::of_bytes(b"call"),
        reason: None,
        effective,
        approvals: 1,
        batch: None,
        signed: None,
    }
}

/// One event of every kind, and of every variety that recovery tells apart.
pub fn every_event() -> Vec<Event> {
    let text = || "x".to_owned();
    vec![
        Event::Started { version: text(), policy_version: text(), servers: vec![text()], unsafe_default_allow: true },
        Event::Stopped { reason: text() },
        Event::PolicyLoaded { policy_version: text(), previous: None },
        Event::PolicyRefused { error: text(), keeping: text() },
        Event::Probed { server: text(), environment: Environment::declared("test"), outcome: text() },
        Event::SecretRotated { secret: text(), fingerprint: text(), previous: text() },
        Event::SecretKept { secret: text(), why: text() },
        Event::EnvironmentConflict { server: text(), environment: Environment::declared("test"), conflict: text() },
        Event::Refused { server: None, principal: None, session: None, code: -32700, reason: text() },
        decided(Effect::Allow),
        decided(Effect::Deny),
        decided(Effect::Hold),
        Event::Failed { facts: facts("{}"), fault: text() },
        Event::Invalid { facts: facts("{}"), reason: text() },
        Event::ToolsSeen {
            server: text(),
            principal: text(),
            session: text(),
            first: true,
            trusted: vec![SeenTool { tool: text(), definition: Digest::of_bytes(b"") }],
            new: vec![],
            changed: vec![],
            more: 1,
        },
        Event::ToolRuled {
            operator: text(),
            server: text(),
            tool: text(),
            ruling: ToolRuling::Pin,
            definition: Some(Digest::of_bytes(b"")),
            was: None,
        },
        Event::Held { expires_at: text(), joins: None },
        ruled(Ruling::Approve, true),
        ruled(Ruling::Approve, false),
        ruled(Ruling::Reject, true),
        Event::RulingRefused { operator: text(), id: CallId::random().unwrap(), why: text() },
        Event::Granted {
            grant: CallId::random().unwrap(),
            operator: text(),
            digest: Digest::of_bytes(b""),
            text: text(),
            until: text(),
            uses: 2,
        },
        Event::GrantRevoked { grant: CallId::random().unwrap(), operator: text(), reason: None, used: 1 },
        Event::TakenBack { operator: text(), approved_by: text() },
        Event::Reopened { operator: text(), digest: Digest::of_bytes(b""), expires_at: text() },
        Event::Claimed { operator: text(), until: Some(text()), from: Some(text()) },
        Event::Frozen { operator: text(), on: true, reason: Some(text()), rejected: 2 },
        Event::SessionRuled {
            operator: text(),
            session: text(),
            server: text(),
            principal: text(),
            ruling: text(),
            reason: None,
            rejected: 0,
        },
        Event::Closed { outcome: Outcome::Expired, reason: text(), stale: false },
        Event::Closed { outcome: Outcome::Denied, reason: text(), stale: true },
        Event::Sending { approved_as: None, grant: None, policy_version: text() },
        Event::Completed {
            result: Answer::Ok,
            bytes: 3,
            digest: None,
            duration_ms: 1,
            note: None,
            redacted: vec![text()],
        },
        Event::Recovered { outcome: Recovery::Abandoned },
        Event::Gap { refused: 2 },
        Event::ClockStepped { by_ms: -7_200_000 },
    ]
}

#[test]
fn the_kind_of_a_record_is_the_tag_of_its_body() {
    for event in every_event() {
        let body = event.body().unwrap();
        assert_eq!(body.view().get("kind").unwrap().as_str().unwrap(), event.kind());
    }
}

#[test]
fn parameters_keep_every_byte() {
    let params = r#"{"z":1.0,"a":1e2,"m":"\u0041\u202e","b":[0.10,-0,"\/"],"name":"x"}"#;
    let body = Event::Decided { facts: facts(params), decision: decision(Effect::Hold).into() }.body().unwrap();
    assert!(body.as_str().contains(&format!(r#""params":{params}"#)), "{}", body.as_str());
    let back: CallFacts = serde_json::from_str(body.as_str()).unwrap();
    assert_eq!(back, *facts(params));
    let all = CallFacts {
        definition: Some(Digest::of_bytes(b"definition")),
        meta: Some(json(r#"{"params":1.0,"trace":"\u0041"}"#)),
        continues: CallId::random().ok(),
        judged: Some(Judged {
            now: u64::MAX,
            pin: Pin::Unknown,
            schema: SchemaCheck::None,
            tool: Some("other".into()),
        }),
        annotations: Some(json(r#"{"readOnlyHint":1.0}"#)),
        bound: Bound { mode: Some(crate::call::ReachMode::Test), accounts: vec!["acct_1".into()] },
        confirmations: vec![Confirmation { at: "/x".into(), by: crate::call::ConfirmedBy::Vendor, issued: true }],
        history: Some(json(r#"{"adds":{"count":1.0}}"#)),
        ..*facts(params)
    };
    let body = Event::Failed { facts: Box::new(all.clone()), fault: "x".into() }.body().unwrap();
    assert_eq!(serde_json::from_str::<CallFacts>(body.as_str()).unwrap(), all, "nothing is left out");
    assert_eq!(JsonText::parse(body.as_str(), Rules::UPSTREAM).unwrap(), body, "and it is strict");
}

#[test]
fn a_value_cannot_forge_a_record() {
    let reason = "x\n{\"seq\":100}\r\n\u{2028}".to_owned();
    let body = Event::Stopped { reason: reason.clone() }.body().unwrap();
    assert!(!body.as_str().contains(['\n', '\r', '\u{2028}']));
    assert_eq!(body.view().get("reason").unwrap().as_str().unwrap(), reason);
}

#[test]
fn an_oversized_body_names_what_it_left_out() {
    let long = format!(r#"{{"a":"{}","b":1}}"#, "€".repeat(1_000_000));
    let body = Event::Failed { facts: facts(&long), fault: "too large".into() }.body().unwrap();
    assert!(body.as_str().len() < MAX_BODY);
    let params = body.view().get("params").unwrap();
    assert_eq!(params.get("bytes").unwrap().as_i64(), i64::try_from(long.len()).ok());
    assert_eq!(params.get("sha256").unwrap().as_str().unwrap(), Digest::of_bytes(long.as_bytes()).to_string());
    assert!(long.starts_with(&*params.get("head").unwrap().as_str().unwrap()));
    assert_eq!(body.view().get("tool").unwrap().as_str().unwrap(), "create_refund");
    assert_eq!(body.view().get("cut").unwrap().text(), r#"["params"]"#);
}

#[test]
fn a_server_cannot_make_every_record_long() {
    let claims = |text: &str| {
        let facts = CallFacts { annotations: Some(json(text)), ..*facts(r#"{"cut":true}"#) };
        Event::Decided { facts: Box::new(facts), decision: decision(Effect::Allow).into() }.body().unwrap()
    };
    for text in ["null", "{}", r#"{"title":"x","readOnlyHint":true}"#] {
        let body = claims(text);
        assert!(body.view().get("annotations").unwrap().text() == text && body.view().get("cut").is_none());
        let back: CallFacts = serde_json::from_str(body.as_str()).unwrap();
        assert_eq!(back.annotations, Some(json(text)), "null is not the same as nothing");
    }
    let body = claims(&format!(r#"{{"title":"{}"}}"#, "x".repeat(1 << 20)));
    assert!(body.as_str().len() < 2 * KEPT_MEMBER);
    assert_eq!(body.view().get("cut").unwrap().text(), r#"["annotations"]"#);
    assert_eq!(body.view().get("params").unwrap().text(), r#"{"cut":true}"#, "and what was asked stays");
    // Not even a call that only just fits loses anything because of it.
    let params = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BODY - (64 << 10)));
    let facts = CallFacts { annotations: Some(json(&params)), ..*facts(&params) };
    let body = Event::Failed { facts: Box::new(facts), fault: "x".into() }.body().unwrap();
    assert_eq!(body.view().get("params").unwrap().text(), params);
}

#[test]
fn records_of_before_can_be_read() {
    let facts = CallFacts { judged: None, ..*facts(r#"{"name":"x"}"#) };
    let body = Event::Failed { facts: Box::new(facts.clone()), fault: "x".into() }.body().unwrap();
    assert!(body.view().get("judged").is_none());
    assert_eq!(serde_json::from_str::<CallFacts>(body.as_str()).unwrap(), facts);
}

#[test]
fn every_field_is_in_the_hash() {
    let record = Record {
        seq: 7,
        at: "2026-11-21T09:00:00.000000Z".into(),
        up_ms: 5,
        call: Some("ABC".into()),
        kind: "held".into(),
        body: "{}".into(),
        prev: Digest::of_bytes(b"prev"),
        hash: Digest::of_bytes(b""),
    };
    let changed = [
        Record { seq: 8, ..record.clone() },
        Record { at: "2026-11-21T09:00:00.000001Z".into(), ..record.clone() },
        Record { up_ms: 6, ..record.clone() },
        Record { call: None, ..record.clone() },
        Record { call: Some("ABCh".into()), kind: "eld".into(), ..record.clone() },
        Record { kind: "Held".into(), ..record.clone() },
        Record { body: "{ }".into(), ..record.clone() },
        Record { prev: Digest::of_bytes(b"prew"), ..record.clone() },
    ];
    assert!(changed.iter().all(|changed| changed.computed() != record.computed()));
    assert_eq!(Record { hash: Digest::of_bytes(b"x"), ..record.clone() }.computed(), record.computed());
}
