//! An API that takes forms, behind the gate: what a form says is judged, shown and recorded like JSON, and a form made
//! from it is sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::code_mode::{bodies, child, raw};
use crate::harness::daemon::{SERVER, set_mode};
use crate::harness::peers::{node, source};
use crate::harness::web::{Answer, Web};
use crate::harness::{Countersign, Shim};

const KEY: &str = "sk_test_CANARY0Fq7Zt2Lw9Xb4Kd6";

/// As the built-in rules have it in production, for amounts; reads pass.
const POLICY: &str = r#"package countersign.policy.forms

allow contains {"rule": "forms.all", "reason": "anything may be asked for"} if input.method

hold contains {"rule": "forms.changes", "reason": "a person looks at it"} if {
	input.method == "api/request"
	input.operation.class != "read"
	not small
}

small if {
	is_number(input.operation.money.amount)
	input.operation.money.amount > 0
	input.operation.money.amount <= 100
}
"#;

async fn setup() -> (Web, Countersign) {
    setup_with(false, POLICY).await
}

/// `live` is what the API says of its key.
async fn setup_with(live: bool, policy: &str) -> (Web, Countersign) {
    let answer = move |at: String| Answer::json(&json!({"at": at, "livemode": live}));
    let api = Web::start(move |asked| async move { answer(asked.line()) }).await;
    let countersign = Countersign::with_policy(policy);
    let file = countersign.dir().join("stripe.key");
    std::fs::write(&file, KEY).unwrap();
    set_mode(&file, 0o600);
    let gate = json!({
        "url": format!("http://{}", api.address), "allow_plain_http": true,
        "headers": {"Authorization": {"secret": "stripe", "prefix": "Bearer "}},
        "url_env": "STIGG_BASE_URL", "key_env": "STIGG_API_KEY",
    });
    let stdio = json!({"command": node(), "args": [source("tests/peers/code_mode.mjs")], "gate": gate});
    let countersign = countersign.set("/secrets/stripe", json!({"file": file})).server(
        SERVER,
        json!({
            // The child's own key has that form, and a test asks for it.
            "hide_keys": "none",
            "vendor": "stripe", "environment": "sandbox", "upstream": {"stdio": stdio},
        }),
    );
    (api, countersign)
}

/// Requests of a child, as it would write them.
struct Child {
    address: String,
    key: String,
}

impl Child {
    async fn of(shim: &mut Shim) -> Child {
        let (address, key) = child(shim).await;
        assert!(key.starts_with("sk_test_") && !key.contains("CANARY"), "{key}");
        Child { address, key }
    }

    fn post(&self, target: &str, kind: &str, body: &str) -> impl Future<Output = String> + use<> {
        let Child { address, key } = self;
        let (address, length) = (address.clone(), body.len());
        // As curl and most clients of Stripe's do it.
        let basic = STANDARD.encode(format!("{key}:"));
        let bytes = format!(
            "POST {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Basic {basic}\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\nidempotency-key: k-1\r\nstripe-account: acct_2\r\n\r\n{body}"
        );
        async move { raw(&address, &bytes).await }
    }

    fn form(&self, target: &str, body: &str) -> impl Future<Output = String> + use<> {
        self.post(target, "application/x-www-form-urlencoded; charset=utf-8", body)
    }
}

#[tokio::test]
async fn a_form_is_held_shown_and_sent_as_it_was_judged() {
    let (api, countersign) = setup().await;
    let mut daemon = countersign.start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    let child = Child::of(&mut shim).await;

    let body = "charge=ch_1&amount=5000&metadata[order+id]=7%26x&expand[]=charge&refund_application_fee=true";
    let asked = tokio::spawn(child.form("/v1/refunds", body));
    let hold = console.hold().await;
    assert_eq!((hold.tool.as_str(), hold.operation.as_str()), ("POST /v1/refunds", "PostRefunds"));
    assert_eq!((hold.class.as_str(), hold.targets.join(" ").as_str()), ("financial", "ch_1"));
    assert_eq!(
        hold.arguments.as_str(),
        r#"{"method":"POST","path":"/v1/refunds","headers":{"content-type":"application/x-www-form-urlencoded","idempotency-key":"k-1"},"dropped_headers":["stripe-account"],"body":{"charge":"ch_1","amount":"5000","metadata":{"order id":"7&x"},"expand":["charge"],"refund_application_fee":"true"},"unnumbered":{"body":["expand[]"]}}"#
    );
    let (shown, code) = daemon.run(&["pending", "show", &hold.id.to_string()]).await;
    assert!(code == 0 && shown.contains("5000") && shown.contains("order id"), "{shown}");
    assert!(api.asked().is_empty());
    console.approve(&hold).await.unwrap();
    let answer = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let sent = api.asked();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].line().as_str(), sent[0].text().as_str()),
        (
            "POST /v1/refunds",
            "charge=ch_1&amount=5000&metadata%5Border%20id%5D=7%26x&expand%5B%5D=charge&refund_application_fee=true"
        )
    );
    assert_eq!(sent[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(
        (sent[0].header("authorization"), sent[0].header("idempotency-key")),
        (&*format!("Bearer {KEY}"), "k-1")
    );
    assert!(sent[0].headers.get("stripe-account").is_none());

    // Below the limit nobody is asked.
    let answer = child.form("/v1/refunds?expand[0]=charge", "charge=ch_2&amount=99").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(api.asked()[1].line(), "POST /v1/refunds?expand%5B0%5D=charge");

    // Whatever is not that number for every reader is held, and so is an amount beside another.
    for (target, body) in [
        ("/v1/refunds", "charge=ch_3&amount=9e1"),
        ("/v1/refunds", "charge=ch_3&amount=%20+99"),
        ("/v1/refunds", "charge=ch_3&amount=0x1"),
        ("/v1/refunds", "charge=ch_3"),
        ("/v1/refunds", "charge=ch_3&amount[]=1&amount[]=900000"),
        ("/v1/refunds?amount=900000", "charge=ch_3&amount=1"),
    ] {
        let asked = tokio::spawn(child.form(target, body));
        let hold = console.hold().await;
        console.reject(&hold, "no").await.unwrap();
        let answer = asked.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{body}: {answer}");
    }

    // What two readers could take differently is refused, and said why.
    let form = "application/x-www-form-urlencoded";
    for (kind, body, why) in [
        (form, "amount=1&amount=900000", "twice"),
        (form, "amount=1&amount[]=900000", "stands for several"),
        (form, "amount=1&Amount=900000", "differ only in case"),
        (form, "items[1][price]=p", "do not count from 0"),
        (form, "items[][price]=p", "brackets"),
        (form, "amount=%", "encoding"),
        (form, "amount=%FF", "encoding"),
        (form, "_method=DELETE&amount=1", "another method"),
        (form, "amount", "without `=`"),
        ("application/x-www-form-urlencoded; charset=utf-16", "amount=1", "cannot be judged"),
        ("multipart/form-data; boundary=b", "--b--", "multipart/form-data among them"),
    ] {
        let answer = child.post("/v1/refunds", kind, body).await;
        assert!(answer.starts_with("HTTP/1.1 4") && answer.contains(why), "{body}: {answer}");
    }
    let answer = child.form("/v1/charges?limit=1&limit=2", "a=1").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("the query has a name twice"), "{answer}");
    assert_eq!(api.asked().len(), 2);

    let eval = |form: &'static str| {
        let daemon = &daemon;
        async move {
            let arguments = [
                "policy",
                "eval",
                "--server",
                SERVER,
                "--principal",
                "local",
                "--request",
                "POST /v1/refunds",
                "--form",
                form,
            ];
            daemon.run(&[&arguments[..], &["--exit-code"]].concat()).await.1
        }
    };
    assert_eq!((eval("amount=99").await, eval("amount=101").await, eval("amount=1&amount=2").await), (0, 10, 2));

    let basic = STANDARD.encode(format!("{}:x", child.key));
    let other = format!("GET /v1/refunds HTTP/1.1\r\nhost: {}\r\nauthorization: Basic {basic}\r\n\r\n", child.address);
    assert!(raw(&child.address, &other).await.starts_with("HTTP/1.1 401 "), "a password is part of no key");

    drop((shim, console));
    daemon.stop().await;
    let records = daemon.records().await;
    let decided = bodies(&records, "decided");
    let first = decided.iter().find(|body| body["method"] == "api/request").unwrap();
    assert_eq!(first["params"]["body"]["amount"], "5000", "{first}");
    let text = format!("{}{}", json!(records), daemon.log());
    assert!(!text.contains("CANARY") && !text.contains(&child.key));
}

/// The question at start goes through the gate, as a read of our own.
#[tokio::test]
async fn a_server_behind_a_gate_shows_at_start_where_its_key_works() {
    let probe = json!({"required": true, "timeout": "30s"});
    let (api, countersign) = setup().await;
    let mut daemon = countersign.set(&format!("/servers/{SERVER}/probe"), probe.clone()).start().await;
    let asked = api.asked();
    assert_eq!((asked.len(), asked[0].line().as_str()), (1, "GET /v1/balance"));
    assert_eq!(asked[0].header("authorization"), format!("Bearer {KEY}"));
    daemon.stop().await;
    let records = daemon.records().await;
    let ours: Vec<_> =
        bodies(&records, "decided").into_iter().filter(|body| body["principal"]["kind"] == "builtin").collect();
    let methods: Vec<_> = ours.iter().map(|body| body["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["tools/call", "api/request"]);
    assert_eq!((&ours[1]["operation"]["name"], &ours[1]["operation"]["class"]), (&json!("GetBalance"), &json!("read")));
    assert!(ours[1]["continues"].is_string(), "{}", ours[1]);
    assert_eq!(bodies(&records, "probed")[0]["environment"]["verified"], true);
    assert!(!format!("{}{}", json!(records), daemon.log()).contains("CANARY"));

    let (_api, countersign) = setup_with(true, POLICY).await;
    let (status, said) = countersign.set(&format!("/servers/{SERVER}/probe"), probe.clone()).refuses().await;
    assert!(!status.success() && said.contains("is from production"), "{said}");

    // Nothing but a read is asked, whatever policy lets through.
    let open = POLICY.replace("\tinput.method == ", "\tinput.tool.name == ");
    assert_ne!(open, POLICY);
    let (api, countersign) = setup_with(false, &open).await;
    let env = json!({"BALANCE": "POST /v1/refunds"});
    let countersign = countersign.set(&format!("/servers/{SERVER}/upstream/stdio/env"), env);
    let (status, said) = countersign.set(&format!("/servers/{SERVER}/probe"), probe.clone()).refuses().await;
    assert!(!status.success() && said.contains("`probe: { required: true }` wants an answer"), "{said}");
    assert!(api.asked().is_empty());

    // What policy holds is refused: nobody can rule yet.
    let held = POLICY.replace("\tinput.operation.class != \"read\"\n\tnot small\n", "");
    assert_ne!(held, POLICY);
    let (api, countersign) = setup_with(false, &held).await;
    let (status, said) = countersign.set(&format!("/servers/{SERVER}/probe"), probe).refuses().await;
    assert!(!status.success() && said.contains("`probe: { required: true }` wants an answer"), "{said}");
    assert!(api.asked().is_empty());
}

/// An approval of one request counts for a few more like it, whichever call runs their code.
#[tokio::test]
async fn a_grant_covers_requests_like_the_one_that_was_approved() {
    let reason = "\"reason\": \"a person looks at it\"";
    let policy = POLICY.replace(reason, &format!("{reason}, \"tier\": \"medium\", \"grantable\": true"));
    let (api, countersign) = setup_with(false, &policy).await;
    let mut daemon = countersign.start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    let child = Child::of(&mut shim).await;
    let asked = tokio::spawn(child.form("/v1/refunds", "charge=ch_1&amount=5000&reason=asked"));
    let hold = console.hold().await;
    assert!(hold.grantable);
    let (id, digest) = (hold.id.to_string(), hold.digest.to_string());
    let terms = ["--uses", "2", "--for", "10m", "--at-most", "/body/amount", "-o", "json"];
    let add = [&["grant", "add", id.as_str(), "--digest", digest.as_str()][..], &terms].concat();
    let (text, code) = daemon.run(&add).await;
    assert!(code == 2 && text.contains("request \"POST /v1/refunds\" to the API"), "{text}");
    let sha256 = countersign::call::Digest::of_bytes(text.as_bytes()).to_string();
    let (said, code) = daemon.run(&[&add[..], &["--text-sha256", &sha256]].concat()).await;
    assert_eq!(code, 0, "{said}");
    assert!(asked.await.unwrap().starts_with("HTTP/1.1 200 "));
    let covered = child.form("/v1/refunds", "charge=ch_1&amount=4999&reason=asked").await;
    assert!(covered.starts_with("HTTP/1.1 200 "), "{covered}");
    for body in ["charge=ch_1&amount=5001&reason=asked", "charge=ch_2&amount=4999&reason=asked"] {
        let asked = tokio::spawn(child.form("/v1/refunds", body));
        let hold = console.hold().await;
        console.reject(&hold, "no").await.unwrap();
        assert!(asked.await.unwrap().starts_with("HTTP/1.1 403 "), "{body}");
    }
    assert_eq!(api.asked().len(), 2);
    drop((shim, console));
    daemon.stop().await;
}
