//! Holds, and whatever else a daemon has to say, to look at.

use countersign::call::{
    Class, ClientInfo, Digest, Environment, EnvironmentSource, Money, Outcome, Pin, RuleHit, Tier, Transport,
};
use countersign::control::wire::{
    Approvals, Before, CallLine, ChainView, Confirm, Daemon, Excerpt, ExcerptLine, Frozen, GRANT_SCHEMA, GrantView,
    HOLD_SCHEMA, HoldState, HoldView, RecordView, RuleView, SESSION_SCHEMA, ServerView, SessionView, Size,
};
use countersign::json::{JsonText, Rules};

/// The time at which every test starts.
pub const START: &str = "2026-11-21T14:07:31Z";

pub fn json(text: &str) -> JsonText {
    JsonText::parse(text, Rules::CLIENT).expect("a test writes strict JSON")
}

/// The refund that everybody talks about: tier high, production, the amount has to be typed.
pub fn refund(id: &str) -> HoldView {
    let arguments =
        json(r#"{"payment_intent":"pi_3PqLx2eZvKYlo2C1k8Yt","amount":125000,"reason":"requested_by_customer"}"#);
    HoldView {
        schema: HOLD_SCHEMA.to_owned(),
        id: id.parse().expect("twelve letters"),
        state: HoldState::Pending,
        server: "stripe".to_owned(),
        environment: Environment {
            name: "production".to_owned(),
            source: EnvironmentSource::Key,
            verified: true,
            conflict: None,
            accounts: Vec::new(),
        },
        production: true,
        method: "tools/call".to_owned(),
        tool: "create_refund".to_owned(),
        definition: Some(Digest::of_bytes(b"definition")),
        pin: Pin::Match,
        operation: "create_refund".to_owned(),
        class: Class::Financial,
        reversible: Some(false),
        money: Some(Money {
            amount: Some("125000".to_owned()),
            unit: "minor".to_owned(),
            currency: None,
            absent: Some("full".to_owned()),
        }),
        magnitude: None,
        unmeasured: false,
        reach: None,
        targets: vec!["pi_3PqLx2eZvKYlo2C1k8Yt".to_owned()],
        effect: Some("Returns money to the payer.".to_owned()),
        confirmations: Vec::new(),
        digest: Digest::of_bytes(format!("{id}{}", arguments.as_str()).as_bytes()),
        arguments,
        other_params: None,
        meta: None,
        rule: "refunds.over_limit".to_owned(),
        reason: "refunds over 100.00 need a person".to_owned(),
        policy_version: "9c41e0b7".to_owned(),
        rules: vec![RuleHit {
            rule: "refunds.over_limit".to_owned(),
            reason: "refunds over 100.00 need a person".to_owned(),
            policy: "refunds".to_owned(),
            file: "policies/refunds.rego".to_owned(),
            line: 9,
            details: None,
            would: None,
        }],
        tier: Tier::High,
        confirm: vec![Confirm { pointer: "/arguments/amount".to_owned(), value: "125000".to_owned() }],
        principal: "claude-code".to_owned(),
        client: ClientInfo {
            name: Some("claude-code".to_owned()),
            version: Some("2.1.319".to_owned()),
            protocol: Some("2025-11-25".to_owned()),
            transport: Transport::Stdio,
            uid: Some(1000),
            pid: Some(4411),
            cwd: None,
            peer: None,
        },
        session: "s-19".to_owned(),
        created_at: "2026-11-21T14:05:12Z".to_owned(),
        expires_at: "2026-11-21T14:10:12Z".to_owned(),
        approvals: Approvals { need: 1, have: Vec::new() },
        signature_required: false,
        taken_back: 0,
        waiting: 1,
        same_as: Vec::new(),
        claimed: None,
        client_waits_until: None,
        grantable: false,
        before: None,
    }
}

/// Production, and can be undone: tier medium.
pub fn gate(id: &str) -> HoldView {
    let arguments = json(r#"{"id":"checkout_v2","rollout":100}"#);
    HoldView {
        server: "statsig".to_owned(),
        tool: "update_gate".to_owned(),
        operation: "update_gate".to_owned(),
        class: Class::Write,
        reversible: Some(true),
        money: None,
        targets: vec!["checkout_v2".to_owned()],
        effect: None,
        confirmations: Vec::new(),
        digest: Digest::of_bytes(format!("{id}{}", arguments.as_str()).as_bytes()),
        arguments,
        rule: "rollouts.full".to_owned(),
        reason: "a full rollout needs a person".to_owned(),
        rules: Vec::new(),
        tier: Tier::Medium,
        confirm: Vec::new(),
        created_at: "2026-11-21T14:06:41Z".to_owned(),
        expires_at: "2026-11-21T14:11:41Z".to_owned(),
        ..refund(id)
    }
}

/// A sandbox: tier low.
pub fn sandbox(id: &str) -> HoldView {
    let arguments = json(r#"{"customer":"cust-118","plan":"plan-pro"}"#);
    HoldView {
        server: "stigg".to_owned(),
        environment: Environment {
            name: "sandbox".to_owned(),
            source: EnvironmentSource::Config,
            verified: false,
            conflict: None,
            accounts: Vec::new(),
        },
        production: false,
        tool: "provision_subscription".to_owned(),
        operation: "provision_subscription".to_owned(),
        targets: vec!["cust-118".to_owned()],
        digest: Digest::of_bytes(format!("{id}{}", arguments.as_str()).as_bytes()),
        arguments,
        rule: "writes.sandbox".to_owned(),
        reason: "writes are looked at".to_owned(),
        tier: Tier::Low,
        created_at: "2026-11-21T14:07:01Z".to_owned(),
        expires_at: "2026-11-21T14:12:01Z".to_owned(),
        ..gate(id)
    }
}

pub fn rejected(hold: HoldView, reason: &str) -> HoldView {
    let state =
        HoldState::Rejected { by: "ben".to_owned(), at: "2026-11-21T14:07:20Z".to_owned(), reason: reason.to_owned() };
    HoldView { state, ..hold }
}

pub fn expired(hold: HoldView) -> HoldView {
    let state = HoldState::Closed {
        outcome: Outcome::Expired,
        at: "2026-11-21T13:57:00Z".to_owned(),
        reason: "nobody ruled in time".to_owned(),
    };
    HoldView { state, ..hold }
}

pub fn done(hold: HoldView) -> HoldView {
    let state =
        HoldState::Done { by: "ana".to_owned(), at: "2026-11-21T14:01:00Z".to_owned(), result: "ok".to_owned() };
    HoldView { state, ..hold }
}

pub fn daemon() -> Daemon {
    let environment = refund("H7K2QW0A1B2C").environment;
    Daemon {
        version: "0.1.0".to_owned(),
        instance: Digest::of_bytes(b"record"),
        servers: vec![ServerView {
            name: "stripe".to_owned(),
            environment,
            production: true,
            sessions: 1,
            tools_changed: 0,
            tools_unpinned: 0,
            sign_in: None,
        }],
        policy_version: "9c41e0b7".to_owned(),
        rules: 31,
        policy_error: None,
        policy_warnings: Vec::new(),
        guessed: Vec::new(),
        consoles: 1,
        operators: Vec::new(),
        batches: false,
        frozen: None,
        unsigned_rulings: true,
        unsafe_default_allow: false,
        http: None,
        records: 1204,
    }
}

pub fn sessions() -> Vec<SessionView> {
    let refund = refund("H7K2QW0A1B2C");
    let line = |id: &str, at: &str, operation: &str, effect: &str, result: Option<&str>, rule: Option<&str>| CallLine {
        id: id.parse().unwrap(),
        at: format!("2026-11-21T14:{at}Z"),
        operation: operation.to_owned(),
        effect: effect.to_owned(),
        result: result.map(str::to_owned),
        rule: rule.map(str::to_owned),
        digest: refund.digest,
        sizes: Vec::new(),
    };
    let first = SessionView {
        schema: SESSION_SCHEMA.to_owned(),
        session: "s-19".to_owned(),
        server: "stripe".to_owned(),
        environment: refund.environment.clone(),
        principal: "claude-code".to_owned(),
        client: refund.client.clone(),
        since: "2026-11-21T13:40:00Z".to_owned(),
        paused: None,
        calls: 12,
        allowed: 10,
        held: 1,
        denied: 1,
        in_flight: 0,
        last: vec![
            line("H7K2QW0A1B2C", "05:12", "create_refund", "hold", None, Some("refunds.over_limit")),
            line("H7K1AAAAAAAA", "04:11", "create_refund", "deny", None, Some("refunds.maximum")),
            line("H7K0AAAAAAAA", "03:40", "retrieve_balance", "allow", Some("ok"), None),
        ],
    };
    let paused =
        Frozen { by: "ben".to_owned(), at: "2026-11-21T14:01:00Z".to_owned(), reason: Some("a loop".to_owned()) };
    let second = SessionView {
        session: "s-20".to_owned(),
        server: "stigg".to_owned(),
        environment: sandbox("H7K5T6V7X8YZ").environment,
        principal: "codex".to_owned(),
        paused: Some(paused),
        calls: 3,
        allowed: 3,
        held: 0,
        denied: 0,
        last: Vec::new(),
        ..first.clone()
    };
    vec![first, second]
}

pub fn grants() -> Vec<GrantView> {
    vec![GrantView {
        schema: GRANT_SCHEMA.to_owned(),
        id: "G1A2B3C4D5E6".parse().unwrap(),
        hold: "H7J9AAAAAAAA".parse().unwrap(),
        server: "stigg".to_owned(),
        environment: sandbox("H7K5T6V7X8YZ").environment,
        principal: "codex".to_owned(),
        tool: "provision_subscription".to_owned(),
        operation: "provision_subscription".to_owned(),
        text: "principal is \"codex\"\nserver is \"stigg\"\ntool is \"provision_subscription\"\n/customer is any string\n/plan is \"plan-pro\"\nat most 5 calls until 14:20:00Z".to_owned(),
        by: "ana".to_owned(),
        at: "2026-11-21T14:00:00Z".to_owned(),
        until: "2026-11-21T14:20:00Z".to_owned(),
        uses: 5,
        used: 2,
    }]
}

pub fn record(seq: u64) -> RecordView {
    let words = ["held by refunds.over_limit", "ana approved it", "the server answered: ok"];
    let kind = ["held", "ruled", "completed"];
    let n = usize::try_from(seq % 3).unwrap();
    RecordView {
        seq,
        at: format!("2026-11-21T13:{:02}:{:02}Z", seq / 60 % 60, seq % 60),
        call: Some("H7J9AAAAAAAA".parse().unwrap()),
        kind: kind[n].to_owned(),
        words: words[n].to_owned(),
        server: Some("stripe".to_owned()),
        environment: Some("production".to_owned()),
        principal: Some("claude-code".to_owned()),
        session: Some("s-19".to_owned()),
        operation: Some("create_refund".to_owned()),
        rule: Some("refunds.over_limit".to_owned()),
        operator: (n == 1).then(|| "ana".to_owned()),
    }
}

pub fn records() -> Vec<RecordView> {
    (1175..=1204).rev().map(record).collect()
}

pub fn chain() -> ChainView {
    ChainView { records: 1204, head: Some(Digest::of_bytes(b"head")), intact: true }
}

pub fn rules() -> Vec<RuleView> {
    let rule = RuleView {
        rule: "writes.sandbox".to_owned(),
        policy: "writes".to_owned(),
        file: Some("policies/writes.rego".to_owned()),
        line: Some(12),
        hits: 61,
        holds: 43,
        approved: 43,
        rejected: 0,
        lapsed: 0,
        median_ms: Some(1600),
        last: Some("2026-11-21T14:07:01Z".to_owned()),
        watched: 0,
        would_hold: 0,
        would_deny: 0,
        may_allow: 0,
        unknown: 0,
        hint: Some("43 of 43 approved, median 1.6 s: narrow it".to_owned()),
    };
    let refunds = RuleView {
        rule: "refunds.over_limit".to_owned(),
        policy: "refunds".to_owned(),
        file: Some("policies/refunds.rego".to_owned()),
        line: Some(9),
        hits: 4,
        holds: 4,
        approved: 2,
        rejected: 1,
        lapsed: 1,
        median_ms: Some(41_000),
        hint: None,
        ..rule.clone()
    };
    vec![rule, refunds]
}

pub fn excerpts() -> Vec<Excerpt> {
    let line = |number, text: &str, held| ExcerptLine { number, text: text.to_owned(), held };
    vec![Excerpt {
        rule: "refunds.over_limit".to_owned(),
        file: "policies/refunds.rego".to_owned(),
        lines: vec![
            line(9, "hold contains {\"rule\": \"refunds.over_limit\"} if {", true),
            line(10, "\tinput.operation.name == \"create_refund\"", true),
            line(11, "\tnot small", true),
            line(12, "}", false),
        ],
    }]
}

/// The same, with rules of policies in mode `shadow` beside them.
pub fn watched_rules() -> Vec<RuleView> {
    let refund = rules().remove(1);
    let watched = RuleView {
        rule: "refunds.night".to_owned(),
        hits: 0,
        holds: 0,
        approved: 0,
        rejected: 0,
        lapsed: 0,
        median_ms: None,
        watched: 9,
        would_hold: 4,
        would_deny: 2,
        ..refund
    };
    let idle = RuleView { rule: "refunds.weekend".to_owned(), would_hold: 0, would_deny: 0, ..watched.clone() };
    let loose = RuleView { rule: "refunds.open".to_owned(), may_allow: 3, unknown: 1, ..idle.clone() };
    rules().into_iter().chain([watched, idle, loose]).collect()
}

/// The session of the refund, where it comes after a larger one that policy has denied.
pub fn retrying() -> Vec<SessionView> {
    let mut sessions = sessions();
    let size = |value: &str| vec![Size { value: value.to_owned(), unit: "minor".to_owned() }];
    sessions[0].last[0].sizes = size("125000");
    sessions[0].last[1].sizes = size("200000");
    sessions
}

/// The approved call that a refund is compared with.
pub fn before() -> Before {
    Before {
        id: "H5Q0AAAAAAAA".parse().unwrap(),
        at: "2026-11-19T10:00:00Z".to_owned(),
        by: "ana".to_owned(),
        arguments: Some(json(
            r#"{"payment_intent":"pi_3PmAb1eZvKYlo2CqT77Qd","amount":4500,"reason":"requested_by_customer"}"#,
        )),
    }
}

/// The three that most screens show.
pub fn three() -> Vec<HoldView> {
    vec![refund("H7K2QW0A1B2C"), gate("H7K3M5N8P9RS"), sandbox("H7K5T6V7X8YZ")]
}
