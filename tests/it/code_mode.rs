//! A server that runs the agent's code and holds no key: what the code asks of the vendor's API passes the gate, each
//! request for itself, and everything else that the code tries leads nowhere.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::daemon::{SERVER, set_mode};
use crate::harness::peers::{node, source};
use crate::harness::web::{Answer, Web};
use crate::harness::{Countersign, Daemon, Shim, call, outcome, request, stateless, within};

const KEY: &str = "server-CANARY0Fq7Zt2Lw9Xb4Kd6";

/// Code may run and reads pass; whatever else the code asks for waits for a person.
const POLICY: &str = r#"package countersign.policy.code

allow contains {"rule": "code.all", "reason": "anything may be asked for"} if input.method

hold contains {"rule": "code.changes", "reason": "a person looks at it"} if {
	input.method == "api/request"
	input.operation.class != "read"
}
"#;

/// The vendor's API: it says where a request came, and with which key.
async fn api() -> Web {
    Web::start(|asked| async move {
        match asked.uri.path() {
            "/api/v1/plans" => Answer::new(302, &[("location", "http://127.0.0.1:1/"), ("set-cookie", "a=b")], ""),
            "/api/v1/coupons" => Answer::new(200, &[("content-type", "text/plain")], "\u{e9}".as_bytes()[..1].to_vec()),
            _ => Answer::json(&json!({"at": asked.line(), "key": asked.header("x-api-key"), "same": KEY})),
        }
    })
    .await
}

fn setup(api: &Web) -> Countersign {
    setup_with(api, POLICY)
}

fn setup_with(api: &Web, policy: &str) -> Countersign {
    let countersign = Countersign::with_policy(policy);
    let file = countersign.dir().join("stigg.key");
    std::fs::write(&file, KEY).unwrap();
    set_mode(&file, 0o600);
    let gate = json!({
        "url": format!("http://{}", api.address), "allow_plain_http": true,
        "headers": {"X-API-KEY": {"secret": "stigg"}},
        "url_env": "STIGG_BASE_URL", "key_env": "STIGG_API_KEY",
    });
    let stdio = json!({"command": node(), "args": [source("tests/peers/code_mode.mjs")], "gate": gate});
    countersign
        .set("/secrets/stigg", json!({"file": file}))
        .server(SERVER, json!({"vendor": "stigg", "environment": "sandbox", "upstream": {"stdio": stdio}}))
}

/// A call that runs the body of a function.
fn code(id: &str, body: &str) -> Value {
    call(id, "execute", json!({"code": format!("async function run(client) {{ {body} }}")}))
}

fn said(answer: &Value) -> Value {
    let text = answer.pointer("/result/content/0/text").and_then(Value::as_str).unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// What the body of a function returns.
async fn run(shim: &mut Shim, id: &str, body: &str) -> Value {
    shim.send(&code(id, body)).await;
    said(&shim.answer(id).await)
}

fn decision(answer: &Value) -> Option<&str> {
    answer.pointer("/body/dev.countersign~1decision/outcome").and_then(Value::as_str)
}

pub fn bodies(records: &[Value], kind: &str) -> Vec<Value> {
    let bodies = records.iter().filter(|record| record["kind"] == kind);
    bodies.map(|record| serde_json::from_str(record["body"].as_str().unwrap()).unwrap()).collect()
}

/// The address and the key of the child of a session.
pub async fn child(shim: &mut Shim) -> (String, String) {
    let found = run(shim, "where", "return [client.baseURL.slice('http://'.length), client.apiKey]").await;
    (found[0].as_str().unwrap().to_owned(), found[1].as_str().unwrap().to_owned())
}

/// Bytes to the endpoint, and everything that comes back until it closes.
pub async fn raw(address: &str, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A peer that closes with something unread resets: what came before that counts.
    let _ = within("the endpoint to close", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_child_behind_the_gate_has_no_key_and_finds_none() {
    let api = api().await;
    let mut daemon = setup(&api).start().await;
    let mut shim = daemon.shim().await;
    // Backwards, so that nothing on the way recognises what it could replace.
    let look = r#"
        const fs = require("fs");
        const found = [JSON.stringify(process.env), JSON.stringify(client)];
        for (const file of ["environ", "cmdline", "mem", "maps"]) {
            try { found.push(fs.readFileSync(`/proc/${process.ppid}/${file}`, "latin1")); } catch (error) { found.push(error.message); }
        }
        const answer = await client.request("GET", "/api/v1/customers/c1");
        found.push(JSON.stringify(answer));
        return Array.from(found.join("\n")).reverse().join("");
    "#;
    let found = run(&mut shim, "1", look).await;
    let found: String = found.as_str().unwrap().chars().rev().collect();
    // What it finds of the daemon it finds without a sandbox alone.
    let looked = found.contains("PATH=") || found.contains("permission denied, open");
    assert!(found.contains("STIGG_API_KEY") && looked, "it has looked: {found}");
    assert!(!found.contains("CANARY"), "{found}");
    assert!(found.contains("[secret:stigg]"), "the API repeats the key, and the gate replaces it: {found}");
    let (_, key) = child(&mut shim).await;
    assert!(key.starts_with("server-") && key.len() >= 7 + 48, "it looks like a key of the vendor's: {key}");

    let asked = api.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].line().as_str(), asked[0].header("x-api-key")), ("GET /api/v1/customers/c1", KEY));
    let traffic = String::from_utf8_lossy(&shim.traffic()).into_owned();
    drop(shim);
    daemon.stop().await;
    let records = daemon.records().await;
    for text in [traffic, daemon.log(), json!(records).to_string()] {
        assert!(!text.contains("CANARY"), "{text}");
    }
}

#[tokio::test]
async fn each_request_of_code_is_judged_by_itself() {
    let api = api().await;
    let mut daemon = setup(&api).start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    let cancel = |id: &str| {
        format!("return client.request('POST', '/api/v1/subscriptions/{id}/cancel', {{body: {{prorate: true}}}})")
    };
    shim.send(&code("1", &cancel("sub_1"))).await;
    let hold = console.hold().await;
    assert_eq!((hold.method.as_str(), hold.tool.as_str()), ("api/request", "POST /api/v1/subscriptions/sub_1/cancel"));
    assert_eq!((hold.operation.as_str(), hold.class.as_str()), ("v1.subscriptions.cancel", "destructive"));
    assert_eq!((hold.targets.join(" ").as_str(), hold.reversible), ("sub_1", Some(false)));
    assert_eq!(
        hold.arguments.as_str(),
        r#"{"method":"POST","path":"/api/v1/subscriptions/sub_1/cancel","body":{"prorate":true}}"#
    );
    assert!(api.asked().is_empty(), "nothing leaves before a person has said so");
    console.approve(&hold).await.unwrap();
    assert_eq!(said(&shim.answer("1").await)["status"], 200);

    // The same again is another call.
    shim.send(&code("2", &cancel("sub_1"))).await;
    let again = console.hold().await;
    console.reject(&again, "once is enough").await.unwrap();
    let refused = said(&shim.answer("2").await);
    assert_eq!((refused["status"].as_i64(), decision(&refused)), (Some(403), Some("rejected")));
    let words = refused["body"]["message"].as_str().unwrap();
    assert!(words.contains("once is enough") && words.contains("Nothing was sent"), "{words}");

    // What the catalog does not know is not harmless.
    shim.send(&code("3", "return client.request('POST', '/graphql', {body: {query: '{ customers { id } }'}})")).await;
    let unknown = console.hold().await;
    assert_eq!((unknown.operation.as_str(), unknown.class.as_str()), ("api/request", "unknown"));
    console.reject(&unknown, "no").await.unwrap();
    shim.answer("3").await;

    let asked = api.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        (asked[0].line().as_str(), asked[0].text().as_str()),
        ("POST /api/v1/subscriptions/sub_1/cancel", r#"{"prorate":true}"#)
    );
    drop(shim);
    daemon.stop().await;
    let records = daemon.records().await;
    let decided = bodies(&records, "decided");
    let of = |method: &str| decided.iter().filter(|body| body["method"] == method).cloned().collect::<Vec<_>>();
    let (outer, inner) = (of("tools/call"), of("api/request"));
    assert_eq!((outer.len(), inner.len()), (3, 3));
    let ids: Vec<_> =
        records.iter().filter(|record| record["kind"] == "decided").map(|record| &record["call"]).collect();
    assert_eq!(inner[0]["continues"], *ids[0], "the call that runs the code is named: {}", inner[0]);
    assert!(inner.iter().all(|body| body["principal"]["name"] == "local" && body["session"] == outer[0]["session"]));
    assert!(bodies(&records, "completed").iter().any(|body| body["note"] == "HTTP 200"));
}

#[tokio::test]
async fn what_would_move_a_request_elsewhere_is_dropped_and_recorded() {
    let api = api().await;
    let mut daemon = setup(&api).start().await;
    let mut shim = daemon.shim().await;
    let headers = r#"{"X-ENVIRONMENT-ID": "env-2", "x-account-id": "acc-2", "X-Forwarded-Host": "h", "Cookie": "a=b",
        "Authorization": "Bearer x", "Accept": "text/html", "Idempotency-Key": "k-1", "X-Stainless-Lang": "js"}"#;
    let body =
        format!("return client.request('GET', '/api/v1/customers?limit[]=1&limit[]=%32', {{headers: {headers}}})");
    let answer = run(&mut shim, "1", &body).await;
    assert_eq!(answer["status"], 200, "{answer}");
    let asked = api.asked();
    assert_eq!(asked[0].line(), "GET /api/v1/customers?limit%5B%5D=1&limit%5B%5D=2");
    let mut names: Vec<_> = asked[0].headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "idempotency-key", "x-api-key"]);
    assert_eq!(
        (asked[0].header("host"), asked[0].header("accept")),
        (api.address.to_string().as_str(), "application/json")
    );
    // Nothing of an answer that leads elsewhere comes back, and what is no text does not.
    let moved = run(&mut shim, "2", "return client.request('GET', '/api/v1/plans')").await;
    assert_eq!(moved["status"], 302);
    assert!(moved["headers"].get("location").is_none() && moved["headers"].get("set-cookie").is_none(), "{moved}");
    let bytes = run(&mut shim, "3", "return client.request('GET', '/api/v1/coupons')").await;
    assert_eq!(bytes["status"], 502, "{bytes}");
    drop(shim);
    daemon.stop().await;
    let records = daemon.records().await;
    let decided = bodies(&records, "decided");
    let request = decided.iter().find(|body| body["method"] == "api/request").unwrap();
    assert_eq!(request["params"]["dropped_headers"], json!(["x-environment-id", "x-account-id"]), "{request}");
    assert_eq!(request["params"]["query"], json!({"limit": ["1", "2"]}));
    assert_eq!(request["params"]["headers"], json!({"idempotency-key": "k-1"}));
}

#[tokio::test]
async fn the_gate_serves_its_own_sessions_and_leads_nowhere_else() {
    let api = api().await;
    let mut daemon = setup(&api).start().await;
    let mut shim = daemon.shim().await;
    let (address, key) = child(&mut shim).await;
    let good = format!("host: {address}\r\nx-api-key: {key}\r\n");
    let get = "GET /api/v1/customers HTTP/1.1\r\n";
    let json = "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let longer = format!("{key}0");
    let cases = [
        // Keys.
        ("401", format!("{get}host: {address}\r\n\r\n")),
        ("401", format!("{get}host: {address}\r\nx-api-key: {longer}\r\n\r\n")),
        ("401", format!("{get}host: {address}\r\nx-api-key: {KEY}\r\n\r\n")),
        ("401", format!("{get}host: {address}\r\nauthorization: {key}\r\n\r\n")),
        ("401", format!("{get}host: {address}\r\nx-api-key: Bearer {key}\r\n\r\n")),
        ("400", format!("{get}{good}x-api-key: other\r\n\r\n")),
        // Other hosts and protocols.
        ("421", format!("{get}host: api.stigg.io\r\nx-api-key: {key}\r\n\r\n")),
        ("421", format!("{get}host: localhost:1\r\nx-api-key: {key}\r\n\r\n")),
        ("400", format!("{get}{good}host: {address}\r\n\r\n")),
        ("400", format!("GET http://{}/api/v1/customers HTTP/1.1\r\n{good}\r\n", api.address)),
        ("400", format!("GET http://{address}/api/v1/customers HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("CONNECT {} HTTP/1.1\r\n{good}\r\n", api.address)),
        ("400", format!("OPTIONS * HTTP/1.1\r\n{good}\r\n")),
        ("505", format!("GET /api/v1/customers HTTP/1.0\r\n{good}\r\n")),
        ("400", format!("{get}{good}connection: upgrade\r\nupgrade: websocket\r\n\r\n")),
        ("400", format!("PRI * HTTP/2.0\r\n{good}\r\n")),
        ("403", format!("{get}{good}origin: http://{address}\r\n\r\n")),
        // Another method or path than the request line's.
        ("400", format!("{get}{good}x-http-method-override: DELETE\r\n\r\n")),
        ("400", format!("{get}{good}x-original-url: /api/v1/plans\r\n\r\n")),
        ("400", format!("GET /api/v1/customers?_method=DELETE HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("TRACE /api/v1/customers HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("GET /api/v1/customers/../plans HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("GET /api/v1/customers/%2e%2e/plans HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("GET /api/v1/customers%2Fimport HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("GET //api/v1/customers HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("GET /api/v1/customers;x HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("GET /api/v1/custom%65rs HTTP/1.1\r\n{good}\r\n")),
        ("400", format!("GET /api/v1\\customers HTTP/1.1\r\n{good}\r\n")),
        // Bodies that cannot be judged.
        (
            "415",
            format!(
                "POST /api/v1/customers HTTP/1.1\r\n{good}content-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}"
            ),
        ),
        ("415", format!("POST /api/v1/customers HTTP/1.1\r\n{good}content-encoding: gzip\r\n{json}")),
        (
            "415",
            format!(
                "POST /api/v1/customers HTTP/1.1\r\n{good}content-type: multipart/form-data; boundary=x\r\ncontent-length: 3\r\n\r\na=1"
            ),
        ),
        (
            "400",
            format!(
                "POST /api/v1/customers HTTP/1.1\r\n{good}content-type: application/json\r\ncontent-length: 13\r\n\r\n{{\"a\":1,\"a\":2}}"
            ),
        ),
        ("400", format!("{get}{good}{json}")),
        ("400", format!("POST /api/v1/customers HTTP/1.1\r\n{good}transfer-encoding: chunked\r\n{json}")),
        ("400", format!("POST /api/v1/customers HTTP/1.1\r\n{good}content-length: 1\r\n{json}")),
        (
            "413",
            format!(
                "POST /api/v1/customers HTTP/1.1\r\n{good}content-type: application/json\r\ncontent-length: 999999999\r\n\r\n"
            ),
        ),
    ];
    let mut wrong = Vec::new();
    for (status, bytes) in &cases {
        let answer = raw(&address, bytes).await;
        if answer.split(' ').nth(1) != Some(*status) {
            wrong.push(format!("{status} for {bytes:?}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(api.asked().is_empty());
    // A second request on the connection is never read, whatever becomes of the first.
    let two = format!("{get}{good}\r\nGET /api/v1/features HTTP/1.1\r\n{good}\r\n");
    let answer = raw(&address, &two).await;
    assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{answer:?}");
    let ended = format!("{get}{good}\r\n");
    assert!(raw(&address, &ended).await.starts_with("HTTP/1.1 200 "), "the key is good for its session");
    assert!(api.asked().iter().all(|asked| asked.line() == "GET /api/v1/customers"), "{:?}", api.asked());
    let before = api.asked().len();

    // Each session has a key of its own, which ends with it and not with another.
    let mut other = daemon.shim().await;
    let (same, others) = child(&mut other).await;
    assert_eq!((same == address, others != key), (true, true));
    shim.close();
    shim.wait().await;
    daemon.logs("session ended").await;
    assert!(raw(&address, &ended).await.starts_with("HTTP/1.1 401 "));
    let answer = run(&mut other, "1", "return client.request('GET', '/api/v1/customers')").await;
    assert_eq!((answer["status"].as_i64(), api.asked().len()), (Some(200), before + 1));

    // The client of a session cannot make such a request itself.
    let arguments = json!({"method": "GET", "path": "/api/v1/customers"});
    other.send(&request("2", "api/request", arguments.clone())).await;
    assert_eq!(other.answer("2").await["error"]["code"], -32601);
    other.send(&call("3", "GET /api/v1/customers", arguments.clone())).await;
    assert_eq!(other.answer("3").await["error"]["code"], -32602);
    let named = other.call("4", "api_request", arguments).await;
    assert_eq!((outcome(&named), api.asked().len()), (None, before + 1), "the child's own tool at most: {named}");

    drop((shim, other));
    daemon.stop().await;
    let records = daemon.records().await;
    let refused = bodies(&records, "refused");
    assert!(refused.iter().any(|body| body["code"] == 401 && body["principal"].is_null()), "{refused:?}");
    assert!(refused.iter().any(|body| body["code"] == 421 && body["reason"].as_str().unwrap().contains("Host")));
    let path = |body: &&Value| body["principal"] == "local" && body["reason"].as_str().unwrap().contains("path");
    assert!(refused.iter().find(path).is_some(), "whose request it was is said: {refused:?}");
    assert!(!json!(records).to_string().contains(&key), "a key of a session is recorded nowhere");
}

async fn withdrawn(daemon: &mut Daemon, api: &Web, reason: &str) {
    daemon.stop().await;
    let closed = bodies(&daemon.records().await, "closed");
    let wanted = |body: &&Value| body["outcome"] == "withdrawn" && body["reason"].as_str().unwrap().contains(reason);
    assert!(closed.iter().any(|body| wanted(&body)), "{closed:?}");
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_not_sent() {
    let api = api().await;
    let waits = "client.request('DELETE', '/api/v1/plans/p1/draft', {signal: AbortSignal.timeout(700)})";
    let mut daemon = setup(&api).start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&code("1", &format!("return {waits}"))).await;
    let hold = console.hold().await;
    let answer = shim.answer("1").await;
    assert_eq!(answer["result"]["isError"], true, "the code has given up: {answer}");
    console.until_hold("the hold to end", |known| known.id == hold.id && !known.state.is_pending()).await;
    assert!(console.approve(&hold).await.is_err());
    drop((shim, console));
    withdrawn(&mut daemon, &api, "closed the connection").await;

    let mut daemon = setup(&api).start().await;
    let mut shim = daemon.shim().await;
    let mut console = daemon.console().await;
    shim.send(&code("1", "return client.request('DELETE', '/api/v1/plans/p1/draft')")).await;
    let hold = console.hold().await;
    shim.close();
    console.until_hold("the hold to end", |known| known.id == hold.id && !known.state.is_pending()).await;
    assert!(console.approve(&hold).await.is_err());
    drop((shim, console));
    withdrawn(&mut daemon, &api, "went away").await;
}

/// Any program of the machine can connect, and only a child has a key: those without one make room.
#[tokio::test]
async fn idle_connections_keep_no_child_from_the_gate() {
    let api = api().await;
    let daemon = setup(&api).set("/limits/connections", json!(4)).start().await;
    let mut shim = daemon.shim().await;
    let (address, _) = child(&mut shim).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let answer = run(&mut shim, "1", "return client.request('GET', '/api/v1/customers/c1')").await;
    assert_eq!(answer["status"], 200, "{answer}");
    daemon.logs("connections without a key take all places").await;
    let gone = within("the oldest to be closed", idle[0].read(&mut [0])).await;
    assert!(!matches!(gone, Ok(1..)));
}

/// With what Countersign brings, in production: code is held like the worst that it could do, unless its operator trusts
/// code whose requests are all judged. Those are held either way.
#[tokio::test]
async fn code_is_trusted_where_the_operator_says_so_and_its_requests_never_are() {
    let uid = rustix::process::getuid().as_raw();
    for (trusted, tier) in [(false, "high"), (true, "medium")] {
        let api = api().await;
        let daemon = setup(&api)
            .set("/policy/builtin", json!(["environment", "destructive", "scopes", "pins"]))
            .set("/policy/paths", json!([]))
            .set("/operators/unsigned_rulings", json!("accept"))
            .set("/principals", json!([{"name": "local", "match": {"uid": uid}, "scopes": ["fixture/*"]}]))
            .set("/servers/fixture/environment", json!("production"))
            .set("/servers/fixture/upstream/stdio/gate/trust_code", json!(trusted))
            .start()
            .await;
        let mut shim = daemon.shim().await;
        let mut console = daemon.console().await;
        shim.send(&code("1", "return client.request('POST', '/api/v1/coupons/c1/archive')")).await;
        let outer = console.hold().await;
        assert_eq!((outer.tool.as_str(), outer.tier), ("execute", serde_json::from_value(json!(tier)).unwrap()));
        console.approve(&outer).await.unwrap();
        let inner = console.hold().await;
        assert_eq!((inner.operation.as_str(), inner.class.as_str()), ("v1.coupons.archiveCoupon", "destructive"));
        console.reject(&inner, "no").await.unwrap();
        assert_eq!(said(&shim.answer("1").await)["status"], 403);
        assert!(api.asked().is_empty());
        let request = "POST /api/v1/coupons/c1/archive";
        let (said, code) = daemon
            .run(&["policy", "eval", "--server", SERVER, "--principal", "local", "--request", request, "--exit-code"])
            .await;
        assert_eq!(code, 10, "{said}");
    }
}

/// Requests of the stateless era share their principal's place, and the code that one of them runs works there too:
/// whichever account the call named, the code names no other.
#[tokio::test]
async fn code_works_where_the_call_that_runs_it_does() {
    let api = api().await;
    let anything = "package countersign.policy.code\n\nallow contains {\"rule\": \"code.all\", \"reason\": \"x\"} if input.method\n";
    let setup = setup_with(&api, anything)
        .set("/policy/builtin", json!(["environment"]))
        .set(&format!("/servers/{SERVER}/accounts"), json!(["acct_1", "acct_2"]));
    let daemon = setup.start().await;
    let charge = |id: &str, named: Option<&str>, charged: &str| {
        let body = json!({"planId": "p", "billingInformation": {"chargeOnBehalfOfAccount": charged}});
        let mut call = code(id, &format!("return client.request('POST', '/api/v1/subscriptions', {{body: {body}}})"));
        if let Some(named) = named {
            call["params"]["arguments"]["X-ACCOUNT-ID"] = json!(named);
        }
        call
    };
    for modern in [true, false] {
        let mut shim = daemon.shim().await;
        let shape = |call: Value| if modern { stateless(call, json!({})) } else { call };
        shim.send(&shape(charge("1", Some("acct_1"), "acct_2"))).await;
        let refused = said(&shim.answer("1").await);
        assert_eq!((refused["status"].as_u64(), decision(&refused)), (Some(403), Some("denied")), "{refused}");
        assert!(refused.to_string().contains("environment.session"), "{refused}");
        shim.send(&shape(charge("2", None, "acct_1"))).await;
        assert_eq!(said(&shim.answer("2").await)["status"], 200);
        // Whatever era it speaks in next: its child is the same.
        let other = |call: Value| if modern { call } else { stateless(call, json!({})) };
        shim.send(&other(charge("3", None, "acct_2"))).await;
        let refused = said(&shim.answer("3").await);
        assert_eq!(decision(&refused), Some("denied"), "{refused}");
    }
    assert_eq!(api.asked().len(), 2);
}
