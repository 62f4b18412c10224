//! Notifications: when, what, and that whoever is told can do no harm.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::webhook::{SIGNATURE, signature};
use super::*;
use crate::call::{Class, ClientInfo, Digest, Environment, EnvironmentSource, Pin, Tier, Transport};
use crate::control::wire::{Approvals, Claimed, HOLD_SCHEMA, HoldState};
use crate::credential::secret::{Secret, SecretCell};
use crate::json::{JsonText, Rules};

fn hold(id: &str, tier: Tier) -> HoldView {
    let environment = Environment {
        name: "production".to_owned(),
        source: EnvironmentSource::Key,
        verified: true,
        conflict: None,
        accounts: Vec::new(),
    };
    let client = ClientInfo {
        name: None,
        version: None,
        protocol: None,
        transport: Transport::Stdio,
        uid: None,
        pid: None,
        cwd: None,
        peer: None,
    };
    HoldView {
        schema: HOLD_SCHEMA.to_owned(),
        id: id.parse().unwrap(),
        state: HoldState::Pending,
        server: "stripe".to_owned(),
        environment,
        production: true,
        method: "tools/call".to_owned(),
        tool: "create_refund".to_owned(),
        definition: None,
        pin: Pin::Match,
        operation: "create_refund".to_owned(),
        class: Class::Financial,
        reversible: None,
        money: None,
        magnitude: None,
        unmeasured: false,
        reach: None,
        targets: Vec::new(),
        effect: None,
        confirmations: Vec::new(),
        arguments: JsonText::parse(r#"{"payment_intent":"pi_hush","amount":1e5}"#, Rules::CLIENT).unwrap(),
        other_params: None,
        meta: None,
        digest: Digest::of_bytes(id.as_bytes()),
        rule: "r".to_owned(),
        reason: "because".to_owned(),
        rules: Vec::new(),
        policy_version: "1".to_owned(),
        tier,
        confirm: Vec::new(),
        principal: "agent".to_owned(),
        client,
        session: "s-1".to_owned(),
        created_at: "2026-11-21T14:05:12Z".to_owned(),
        expires_at: "2026-11-21T14:10:12Z".to_owned(),
        approvals: Approvals { need: 1, have: Vec::new() },
        signature_required: false,
        waiting: 1,
        same_as: Vec::new(),
        claimed: None,
        client_waits_until: None,
        grantable: false,
        taken_back: 0,
        before: None,
    }
}

const A: &str = "H7K2QW0A1B2C";
const B: &str = "H7K3M5N8P9RS";

fn wall() -> Timestamp {
    "2026-11-21T22:30:00Z".parse().unwrap()
}

fn ids(holds: &[HoldView]) -> Vec<&str> {
    holds.iter().map(|hold| hold.id.as_str()).collect()
}

fn rejected(hold: HoldView) -> HoldView {
    let state = HoldState::Rejected { by: "ben".to_owned(), at: "now".to_owned(), reason: "no".to_owned() };
    HoldView { state, ..hold }
}

fn claimed(hold: HoldView) -> HoldView {
    let claimed = Claimed { by: "ben".to_owned(), at: "now".to_owned(), until: "later".to_owned() };
    HoldView { claimed: Some(claimed), ..hold }
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_told_of_once_and_several_together() {
    let start = Instant::now();
    let mut plan = Plan::new(Duration::ZERO, None);
    plan.heard(&hold(A, Tier::Low), start);
    assert_eq!(plan.next(), Some(start));
    assert_eq!(ids(&plan.take(start, &wall())), [A]);
    plan.heard(&hold(A, Tier::Low), start);
    assert_eq!(plan.next(), None, "once");
    // What comes within ten seconds waits for their end, and comes together.
    plan.heard(&hold(B, Tier::Low), start + Duration::from_secs(1));
    plan.heard(&hold("000000000001", Tier::Low), start + Duration::from_secs(2));
    assert_eq!(plan.next(), Some(start + COALESCE));
    assert_eq!(plan.take(start + COALESCE, &wall()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_escalation_is_for_what_nobody_looks_after() {
    let start = Instant::now();
    let minute = Duration::from_secs(60);
    let mut plan = Plan::new(minute, None);
    for id in [A, B, "000000000001"] {
        plan.heard(&hold(id, Tier::Low), start);
    }
    plan.heard(&claimed(hold(A, Tier::Low)), start);
    plan.heard(&rejected(hold(B, Tier::Low)), start);
    assert!(plan.take(start + minute / 2, &wall()).is_empty());
    assert_eq!(ids(&plan.take(start + minute, &wall())), ["000000000001"]);
    // A claim that ran out starts the time anew.
    plan.heard(&hold(A, Tier::Low), start + minute);
    assert_eq!(plan.next(), Some(start + minute * 2));
    // What was missed is made up for.
    plan.replaced(&[hold(B, Tier::Low)], start + minute);
    assert_eq!(ids(&plan.take(start + minute * 2, &wall())), [B]);
}

#[tokio::test(start_paused = true)]
async fn many_harmless_holds_hide_no_dangerous_one() {
    let start = Instant::now();
    let mut plan = Plan::new(Duration::ZERO, None);
    let many: Vec<_> = (0..1000).map(|n| hold(&format!("00000000{n:04}"), Tier::Low)).collect();
    let other = "2026-11-21T14:06:00Z".to_owned();
    for told in [false, true] {
        many.iter().for_each(|low| plan.heard(low, start));
        if told {
            plan.take(start, &wall());
        }
        plan.heard(&HoldView { created_at: other.clone(), ..hold(A, Tier::High) }, start);
        plan.heard(&hold("000000009999", Tier::Low), start);
        let told = plan.take(start + COALESCE, &wall());
        assert_eq!(told[0].id.as_str(), A, "the highest tier first, whatever came before it");
        assert!(told.iter().all(|hold| hold.id.as_str() != "000000009999"), "bounded all the same");
        let summary = Message::of(&told).unwrap().summary();
        assert!(summary.contains("high risk, H7K2QW0A1B2C"), "{summary}");
        plan = Plan::new(Duration::ZERO, None);
    }
}

#[tokio::test(start_paused = true)]
async fn quiet_hours_silence_all_but_the_highest_tier() {
    let night = |high_too| Quiet { from: 22 * 60, to: 7 * 60, zone: TimeZone::UTC, high_too };
    let start = Instant::now();
    let told = |quiet, wall: &str| {
        let mut plan = Plan::new(Duration::ZERO, Some(quiet));
        plan.heard(&hold(A, Tier::Medium), start);
        plan.heard(&hold(B, Tier::High), start);
        let told = plan.take(start, &wall.parse().unwrap());
        (told.iter().map(|hold| hold.id.to_string()).collect::<Vec<_>>(), plan)
    };
    for wall in ["2026-11-21T22:00:00Z", "2026-11-21T23:59:59Z", "2026-11-21T06:59:59Z"] {
        let (ids, mut plan) = told(night(false), wall);
        assert_eq!(ids, [B], "{wall}");
        // A call that still waits in the morning is told of then.
        let morning = "2026-11-22T07:00:00Z".parse().unwrap();
        let told = plan.take(start + Duration::from_secs(60), &morning);
        assert_eq!(told[0].id.as_str(), A);
        assert!(self::ids(&told).len() == 1);
    }
    assert!(told(night(true), "2026-11-21T23:00:00Z").0.is_empty());
    assert_eq!(told(night(false), "2026-11-21T07:00:00Z").0.len(), 2);
}

#[test]
fn arguments_stay_here_unless_they_are_asked_for() {
    let message = Message::of(&[hold(A, Tier::High)]).unwrap();
    assert_eq!(message.summary(), "1 call waits: create_refund on stripe (production), high risk, H7K2QW0A1B2C");
    let body = message.body(false);
    assert!(!body.contains("pi_hush") && !body.contains("1e5") && !body.contains("because"), "{body}");
    let body: serde_json::Value = serde_json::from_str(&message.body(true)).unwrap();
    assert_eq!(body["schema"], "countersign.notice/v1");
    assert_eq!(body["holds"][0]["arguments"], r#"{"payment_intent":"pi_hush","amount":1e5}"#);
    assert_eq!(body["holds"][0]["arguments_complete"], true);
}

/// The name of an operation may come from a client: it is no option, no markup, no line end.
#[test]
fn names_in_a_message_are_plain() {
    let evil = HoldView { operation: "--exec=<b>\n\u{1b}[2J$(x)\u{202E}".repeat(10), ..hold(A, Tier::Low) };
    let summary = Message::of(&[evil]).unwrap().summary();
    assert!(summary.starts_with("1 call waits: --exec??b"), "{summary}");
    assert!(summary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" ._-/:,()?".contains(&byte)), "{summary}");
    assert!(summary.len() < 200);
    let many: Vec<_> = (0..50).map(|n| hold(&format!("00000000{n:04}"), Tier::Low)).collect();
    let body: serde_json::Value = serde_json::from_str(&Message::of(&many).unwrap().body(false)).unwrap();
    assert_eq!((body["count"].as_u64(), body["more"].as_u64()), (Some(50), Some(30)));
    assert_eq!(body["holds"].as_array().unwrap().len(), 20);
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script, "hook", "{summary}"].map(str::to_owned).to_vec()
}

fn message() -> Message {
    Message::of(&[hold(A, Tier::High)]).unwrap()
}

#[tokio::test]
async fn a_hook_gets_argv_json_and_an_empty_environment() {
    let dir = tempfile::tempdir().unwrap();
    let (out, secret) = (dir.path().join("out"), "HOME");
    let script = format!("echo \"$1\" > {0}; cat >> {0}; echo >> {0}; env | cut -d= -f1 | sort >> {0}", out.display());
    hook::run(&shell(&script), &[], &message()).await.unwrap();
    let text = std::fs::read_to_string(out).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("1 call waits: create_refund on stripe (production), high risk, H7K2QW0A1B2C"));
    let body: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(body["holds"][0]["id"], A);
    let names: Vec<_> = lines.filter(|name| !["_", "PWD", "SHLVL", "OLDPWD"].contains(name)).collect();
    assert!(names.iter().all(|name| ["PATH", secret].contains(name)), "{names:?}");
}

#[tokio::test]
async fn a_hook_that_fails_is_said_and_what_it_prints_is_not_read() {
    let why = hook::run(&shell("echo approve; echo hush >&2; exit 3"), &[], &message()).await.unwrap_err();
    assert!(why.contains("exit status: 3") && !why.contains("hush"), "{why}");
    let why = hook::run(&["/nowhere/hook".to_owned()], &[], &message()).await.unwrap_err();
    assert!(why.contains("cannot be started"), "{why}");
}

/// A hook that hangs is killed with everything that it has started. The five seconds are real: a process has no other clock.
#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("sleep 600 & echo $! $$ > {}; wait", pids.display());
    let start = std::time::Instant::now();
    let why = hook::run(&shell(&script), &[], &message()).await.unwrap_err();
    assert!(why.contains("killed") && start.elapsed() < Duration::from_secs(30), "{why}");
    let is_dead = |pid: &str| {
        // A zombie that its new parent has not collected yet is dead too.
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit(')').next().unwrap_or_default().trim_start().chars().next().is_none_or(|state| state == 'Z')
    };
    let pids = std::fs::read_to_string(pids).unwrap();
    let mut pids: Vec<_> = pids.split_whitespace().collect();
    assert_eq!(pids.len(), 2);
    // The kill is on its way; who sleeps for ten minutes does not end by itself meanwhile.
    while !pids.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "{pids:?} still run");
        pids.retain(|pid| !is_dead(pid));
        tokio::task::yield_now().await;
    }
}

/// What a test's server was posted, and what it answers with.
type Seen = Arc<Mutex<Vec<(Vec<(&'static str, String)>, String)>>>;

fn server(answers: &[Result<u16, &str>]) -> (Webhook, Seen) {
    let seen = Seen::default();
    let answers: VecDeque<_> = answers.iter().map(|answer| answer.map_err(str::to_owned)).collect();
    let (to, answers) = (Arc::clone(&seen), Arc::new(Mutex::new(answers)));
    let post: Post = Arc::new(move |fields, body| {
        to.lock().unwrap().push((fields, body));
        let answer = answers.lock().unwrap().pop_front().unwrap_or(Ok(500));
        Box::pin(async move { answer })
    });
    let secret = SecretCell::new("webhook", Secret::new("shared-secret-0123".to_owned()));
    (Webhook { secret, arguments: false, post }, seen)
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_signed_over_time_and_body() {
    let (webhook, seen) = server(&[Ok(204)]);
    webhook.deliver(&message()).await.unwrap();
    let seen = seen.lock().unwrap();
    let (fields, body) = &seen[0];
    let value = &fields.iter().find(|(name, _)| *name == SIGNATURE).unwrap().1;
    let (time, tag) = value.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(tag, signature(&webhook.secret.current(), time.parse().unwrap(), body));
    assert!(!body.contains("pi_hush") && !value.contains("shared-secret"));
    // The value that any other program computes: openssl dgst -sha256 -hmac key, of "1.body".
    let known = signature(&Secret::new("key".to_owned()), 1, "body");
    assert_eq!(known, "91b5374b153842ad05b2c4eab9349b8321b14703165bd3fb8b034dfb8be98ae5");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_tried_three_times_and_not_for_what_it_refuses() {
    for (answers, attempts, ok) in [
        (&[Err("no"), Ok(503), Ok(200)][..], 3, true),
        (&[Ok(500), Ok(500), Ok(500), Ok(200)][..], 3, false),
        (&[Ok(404), Ok(200)][..], 1, false),
        (&[Ok(429), Ok(200)][..], 2, true),
        // A redirect is an answer like another, and followed nowhere.
        (&[Ok(302), Ok(302), Ok(302)][..], 3, false),
    ] {
        let (webhook, seen) = server(answers);
        assert_eq!(webhook.deliver(&message()).await.is_ok(), ok, "{answers:?}");
        assert_eq!(seen.lock().unwrap().len(), attempts, "{answers:?}");
    }
}

/// While one message is on its way, news are heard and the next one is kept for later.
#[tokio::test(start_paused = true)]
async fn a_slow_webhook_holds_nobody_up() {
    let (begun, mut begins) = mpsc::channel(8);
    let post: Post = Arc::new(move |_, body| {
        let begun = begun.clone();
        Box::pin(async move {
            begun.send(body).await.unwrap();
            tokio::time::sleep(Duration::from_secs(100)).await;
            Ok(200)
        })
    });
    let secret = SecretCell::new("webhook", Secret::new("shared-secret-0123".to_owned()));
    let to = To::Webhook(Webhook { secret, arguments: false, post });
    let channel = Channel { name: "notify[0]".to_owned(), to, after: Duration::ZERO, quiet: None };
    let (news, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(channel, receiver, stop.clone()));
    let tell = async |hold: HoldView| news.send(News::One(Box::new(hold))).await.unwrap();
    tell(hold(A, Tier::Low)).await;
    assert!(begins.recv().await.unwrap().contains(A));
    // A queue of one takes them all at once: somebody listens.
    let start = Instant::now();
    for n in 0..50 {
        tell(hold(&format!("00000000{n:04}"), Tier::Low)).await;
    }
    tell(rejected(hold("000000000000", Tier::Low))).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    let second: serde_json::Value = serde_json::from_str(&begins.recv().await.unwrap()).unwrap();
    assert_eq!(second["count"], 49, "what was ruled on meanwhile is not told of");
    assert!(start.elapsed() >= Duration::from_secs(100));
    stop.cancel();
    task.await.unwrap();
}
