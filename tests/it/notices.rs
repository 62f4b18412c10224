//! `notify`: a real daemon tells a real server and starts a real program, and neither can rule or harm.

use serde_json::{Value, json};

use countersign::control::wire::HoldState;

use crate::harness::session_bus::SessionBus;
use crate::harness::web::{Answer, Web};
use crate::harness::{Countersign, Spy, call, within};

const KEY: &str = "hook_key_7Jd9s8Kq2mVx";

fn refund(id: u64) -> Value {
    call(id, "create_refund", json!({"charge": "ch_hush", "amount": 12_345_678}))
}

/// A hook that answers and prints whatever might be taken for a ruling, and a webhook that does the same: the call stays
/// held, nothing of its arguments has left, and the signature is that of the body.
#[tokio::test]
async fn people_are_told_and_nothing_that_they_answer_rules() {
    let approve = json!({"command": "rule", "ruling": "approve"});
    let web = Web::start(move |_| {
        let answer = Answer::json(&approve);
        async move { answer }
    })
    .await;
    let spy = Spy::stdio().await;
    let countersign = Countersign::new().upstream(&spy);
    let out = countersign.dir().join("told");
    let script = format!("cat > {0}.new; mv {0}.new {0}; echo approve; echo approve >&2", out.display());
    let hooks = json!([
        {"command": ["/bin/sh", "-c", script]},
        {"webhook": {"url": format!("http://{}/hook?x=1", web.address), "secret": "hook_key"}},
        // Neither is there; both are only logged.
        {"command": ["/nowhere/hook"]},
        {"webhook": {"url": "http://127.0.0.1:1/", "secret": "hook_key"}},
    ]);
    let countersign = countersign.set("/secrets/hook_key", json!({"env": "HOOK_KEY"})).env("HOOK_KEY", KEY);
    let daemon = countersign.set("/notify", hooks).start().await;
    let mut console = daemon.console().await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1)).await;
    let hold = console.hold().await;
    web.until("the webhook to be told", |asked| !asked.is_empty()).await;
    let asked = web.asked().remove(0);
    assert_eq!(asked.line(), "POST /hook?x=1");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!((&body["schema"], &body["count"]), (&json!("countersign.notice/v1"), &json!(1)));
    assert_eq!(body["holds"][0]["id"], hold.id.as_str());
    assert!(!asked.text().contains("ch_hush") && !asked.text().contains("12345678"), "{}", asked.text());
    let (time, tag) = asked.header("countersign-signature").split_once(",v1=").unwrap();
    let signed = format!("{}.{}", time.strip_prefix("t=").unwrap(), asked.text());
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, KEY.as_bytes());
    let bytes: Vec<_> = (0..64).step_by(2).map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap()).collect();
    ring::hmac::verify(&key, signed.as_bytes(), &bytes).unwrap();
    daemon.logs("it cannot be started").await;
    daemon.logs("a notification was not delivered").await;
    let told = loop {
        match std::fs::read_to_string(&out) {
            Ok(told) => break told,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, body, "one message for both");
    // Whatever they said, the call waits; and it goes on as ever.
    assert!(console.list().await.iter().all(|hold| hold.state == HoldState::Pending));
    console.approve(&hold).await.unwrap();
    assert_ne!(shim.answer(1).await["result"]["isError"], json!(true));
    assert!(!daemon.log().contains(KEY));
}

/// A claimed or ruled call is not escalated.
#[tokio::test]
async fn an_escalation_comes_only_where_nobody_rules() {
    let web = Web::start(|_| async { Answer::new(204, &[], "") }).await;
    let spy = Spy::stdio().await;
    let url = format!("http://{}/", web.address);
    let hooks = json!([{"webhook": {"url": url, "secret": "hook_key", "include": ["arguments"]}, "after": "1s"}]);
    let countersign = Countersign::new().set("/secrets/hook_key", json!({"env": "HOOK_KEY"})).env("HOOK_KEY", KEY);
    let daemon = countersign.upstream(&spy).set("/notify", hooks).start().await;
    let mut console = daemon.console().await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1)).await;
    let first = console.hold().await;
    console.reject(&first, "no").await.unwrap();
    shim.send(&call(2, "create_refund", json!({"charge": "ch_2", "amount": 1.50}))).await;
    let second = console.hold().await;
    web.until("the webhook to be told", |asked| !asked.is_empty()).await;
    let body: Value = serde_json::from_slice(&web.asked()[0].body).unwrap();
    assert_eq!((&body["count"], &body["holds"][0]["id"]), (&json!(1), &json!(second.id.as_str())));
    let arguments = body["holds"][0]["arguments"].as_str().unwrap();
    assert_eq!(arguments, second.arguments.as_str(), "in their exact spelling");
}

/// The desktop shows one line without anything to press, and a bus that is not there harms nobody.
#[tokio::test]
async fn a_call_that_waits_is_shown_on_the_desktop() {
    let (spy, bus) = (Spy::stdio().await, SessionBus::start(json!([])).await);
    let countersign = Countersign::new().upstream(&spy).set("/notify", json!([{"desktop": true}]));
    let mut daemon = countersign.env("DBUS_SESSION_BUS_ADDRESS", &bus.address()).start().await;
    let mut console = daemon.console().await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1)).await;
    let hold = console.hold().await;
    let shown = within("the desktop to show it", async {
        loop {
            match bus.state()["notices"].as_array() {
                Some(shown) => return shown.clone(),
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let text = format!("1 call waits: create_refund on fixture (sandbox), medium risk, {}", hold.id.as_str());
    let wanted = json!([{"name": "countersign", "summary": "Countersign", "text": text, "actions": [], "urgency": 1}]);
    assert_eq!(json!(shown), wanted);
    assert!(daemon.stop().await.success());

    let nowhere = daemon.again().env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    let daemon = nowhere.start().await;
    let mut shim = daemon.shim().await;
    shim.send(&refund(1)).await;
    daemon.logs("the desktop cannot be reached").await;
    daemon.console().await.hold().await;
}
