//! Where a server works: what its keys, its answers at start and its later answers prove, and what a session has shown.

use serde_json::{Value, json};

use crate::harness::daemon::{SERVER, set_mode};
use crate::harness::spy::Received;
use crate::harness::{Act, Countersign, Daemon, Shim, Spy, call, outcome, stateless};

const TEST_KEY: &str = "sk_test_CANARY4vYq8LmT2rWz6Nc0";
const LIVE_KEY: &str = "rk_live_CANARY4vYq8LmT2rWz6Nc0";

/// The vendor's hosted tools; `retrieve_balance` says the mode.
fn tools(received: &Received, mode: &str) -> Option<Vec<Act>> {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let text = |text: String| vec![Act::Result(json!({"content": [{"type": "text", "text": text}], "isError": false}))];
    match (received.method(), received.tool()) {
        ("tools/list", _) => {
            let names = ["get_stripe_account_info", "retrieve_balance", "list_customers", "create_refund"];
            Some(vec![Act::Result(json!({"tools": names.map(tool)}))])
        }
        (_, "get_stripe_account_info") => Some(text(json!({"account_id": "acct_own"}).to_string())),
        (_, "retrieve_balance") => Some(text(format!(r#"{{"object":"balance","livemode":{mode}}}"#))),
        _ => None,
    }
}

async fn answering(mode: &'static str) -> Spy {
    Spy::stdio_with(move |received, _| tools(received, mode)).await
}

/// The built-in policies, a principal that may read and refund, and the server as it stands in `server`.
fn countersign(spy: &Spy, server: Value) -> Countersign {
    let uid = rustix::process::getuid().as_raw();
    let mut entry = json!({"vendor": "stripe", "upstream": spy.upstream});
    entry.as_object_mut().unwrap().extend(server.as_object().unwrap().clone());
    let scopes = json!(["*/read", "*/create_refund"]);
    Countersign::new()
        .server(SERVER, entry)
        .set("/policy/builtin", json!(["environment", "destructive", "scopes"]))
        .set("/policy/paths", json!([]))
        .set(
            "/principals",
            json!([
                {"name": "local", "match": {"uid": uid}, "scopes": scopes},
                {"name": "agent", "match": {"token": {"secret": "agent_token"}}, "scopes": scopes},
            ]),
        )
}

/// The same with a key.
fn with_key(countersign: Countersign, name: &str, variable: &str, key: &str) -> Countersign {
    let source = format!("KEY_{}", name.to_uppercase());
    countersign
        .env(&source, key)
        .set(&format!("/secrets/{name}"), json!({"env": source}))
        .set(&format!("/servers/{SERVER}/upstream/stdio/env/{variable}"), json!({"secret": name}))
}

fn kinds(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["kind"].as_str()).collect()
}

fn bodies(records: &[Value], kind: &str) -> Vec<Value> {
    let bodies = records.iter().filter(|record| record["kind"] == kind).map(|record| &record["body"]);
    bodies.map(|body| serde_json::from_str(body.as_str().unwrap()).unwrap()).collect()
}

fn words(answer: &Value) -> &str {
    answer.pointer("/result/content/0/text").and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test]
async fn a_key_that_contradicts_the_declaration_is_named_and_never_shown() {
    let spy = answering("true").await;
    let setup =
        with_key(countersign(&spy, json!({"environment": "production"})), "live", "STRIPE_SECRET_KEY", LIVE_KEY);
    let setup = with_key(setup, "test", "OTHER_KEY", TEST_KEY);
    let config = setup.dir().join("countersign.yaml");
    let _kept = setup.kept();
    let (status, said) = setup.refuses().await;
    assert_eq!(status.code(), Some(2), "{said}");
    let place = |name: &str| {
        let text = std::fs::read_to_string(&config).unwrap();
        let line = text.lines().position(|line| line.trim_start().starts_with(&format!("\"{name}\": {{"))).unwrap();
        let column = text.lines().nth(line).unwrap().find('"').unwrap();
        format!("{}:{}:{}", config.display(), line + 1, column + 1)
    };
    let expected = format!(
        "server fixture: `environment: production` is declared, but that is not where it works\n\
         \x20 the secret `test` ({}), given as variable OTHER_KEY, begins with `sk_test_`: not a production key\n\
         \x20 the secret `live` ({}), given as variable STRIPE_SECRET_KEY, begins with `rk_live_`: a production key\n\
         \x20 help: use keys of the declared environment, or declare the environment that the keys belong to; \
         one server has keys of one environment",
        place("test"),
        place("live")
    );
    assert!(said.contains(&expected), "{said}\n--- expected ---\n{expected}");
    assert!(!said.contains("CANARY") && spy.received().is_empty(), "{said}");
}

/// A vendor that is not named is no way around: the form of the key is the vendor's all the same.
#[tokio::test]
async fn a_key_speaks_for_a_server_without_a_vendor_too() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new().server(SERVER, json!({"environment": "test", "upstream": spy.upstream}));
    let (status, said) = with_key(setup, "live", "KEY", LIVE_KEY).refuses().await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("`rk_live_`: a production key") && !said.contains("CANARY"), "{said}");
}

#[tokio::test]
async fn an_answer_at_start_proves_the_environment_and_is_a_call_like_any_other() {
    let spy = answering("false").await;
    let setup = countersign(&spy, json!({"environment": "sandbox", "probe": {"required": true}}));
    let mut daemon = setup.start().await;
    assert_eq!((spy.calls("get_stripe_account_info"), spy.calls("retrieve_balance"), spy.all_calls()), (1, 1, 2));
    assert_eq!(spy.received()[0].message["params"]["clientInfo"]["name"], "countersign");
    spy.until("the connection of our own to end", |spy| spy.closed() == 1).await;

    let mut client = daemon.shim().await;
    // The account that the server named is bound, and no other.
    let own = client.call("a", "list_customers", json!({"stripe_context": "acct_own"})).await;
    assert_eq!(words(&own), "done: list_customers", "{own}");
    let other = client.call("b", "list_customers", json!({"stripe_context": "acct_other"})).await;
    assert!(words(&other).contains("environment.elsewhere"), "{other}");

    daemon.stop().await;
    let records = daemon.records().await;
    let ours: Vec<_> =
        bodies(&records, "decided").into_iter().filter(|body| body["principal"]["kind"] == "builtin").collect();
    assert_eq!(ours.len(), 2);
    for body in ours {
        assert_eq!((&body["principal"]["name"], &body["decision"]["effect"]), (&json!("countersign"), &json!("allow")));
        assert_eq!(body["operation"]["class"], "read");
    }
    let probed = bodies(&records, "probed");
    assert_eq!(
        probed[0]["environment"],
        json!({
            "name": "sandbox", "source": "probe", "verified": true, "conflict": null, "accounts": ["acct_own"],
        })
    );
    let later = bodies(&records, "decided").pop().unwrap();
    assert_eq!((&later["environment"]["source"], &later["environment"]["verified"]), (&json!("probe"), &json!(true)));
    let (started, first) = ("started", kinds(&records).iter().position(|kind| *kind == "decided").unwrap());
    assert!(kinds(&records).iter().position(|kind| *kind == started).unwrap() < first);
}

#[tokio::test]
async fn an_answer_at_start_that_contradicts_ends_the_start() {
    let live = answering("true").await;
    let test = answering("false").await;
    let setup = countersign(&live, json!({"environment": "sandbox", "probe": {}}));
    let other = json!({"vendor": "stripe", "environment": "prod-eu", "probe": {}, "upstream": test.upstream});
    let setup = setup.server("other", other);
    let _kept = setup.kept();
    let state = setup.dir().join("state/audit.db");
    let (status, said) = setup.refuses().await;
    assert_eq!(status.code(), Some(2), "{said}");
    for part in [
        "server fixture: `environment: sandbox` is declared, but that is not where it works\n  \
         what it answers to `get_stripe_account_info` and `retrieve_balance` is from production\n  help: declare",
        "server other: `environment: prod-eu` is declared, but that is not where it works\n  \
         what it answers to `get_stripe_account_info` and `retrieve_balance` is from a test environment\n  help: declare",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("listening "), "{said}");
    assert_eq!((live.all_calls(), test.all_calls(), state.exists()), (2, 2, true));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unverified_or_ends_the_start() {
    for (why, spy) in [
        (
            "the server did not answer in time",
            Spy::stdio_with(|received, _| {
                (received.tool() == "retrieve_balance").then(Vec::new).or_else(|| tools(received, "true"))
            })
            .await,
        ),
        ("does not show it", answering("\"yes\"").await),
        ("the server has none of the tools that would show it", Spy::stdio().await),
        (
            "the server answers the handshake with an error",
            Spy::stdio_with(|received, _| {
                let error = json!({"jsonrpc": "2.0", "id": received.id(), "error": {"code": -1, "message": "no"}});
                (received.method() == "initialize").then(|| vec![Act::Say(error)])
            })
            .await,
        ),
    ] {
        let probe = json!({"environment": "production", "probe": {"required": true, "timeout": "2s"}});
        let (status, said) = countersign(&spy, probe).refuses().await;
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(
            said.contains("server fixture: it could not be asked where its key works: ") && said.contains(why),
            "{said}"
        );
        assert!(said.contains("help: `probe: { required: true }` wants an answer"), "{said}");
    }
    let spy = answering("null").await;
    let daemon = countersign(&spy, json!({"environment": "production", "probe": {"timeout": "2s"}})).start().await;
    daemon.logs("the server does not show where its key works").await;
}

/// The question passes the gate: what policy refuses or holds is not asked, and the server sees nothing of it.
#[tokio::test]
async fn there_is_no_way_around_policy_for_the_question_at_start() {
    let deny = "package countersign.policy.own\n\ndeny contains {\"rule\": \"own.no\", \"reason\": \"not even us\"} if \
                input.principal.kind == \"builtin\"\n";
    let hold = "package countersign.policy.own\n\nhold contains {\"rule\": \"own.ask\", \"reason\": \"a person first\"} if \
                input.tool.name == \"get_stripe_account_info\"\n";
    let nothing = "package countersign.policy.own\n\nallow contains {\"rule\": \"own.a\", \"reason\": \"r\"} if \
                   input.principal.name == \"local\"\n";
    for (policy, why) in [
        (deny, "policy refuses `get_stripe_account_info`: not even us"),
        (hold, "policy holds `get_stripe_account_info` for an operator"),
        (nothing, "policy refuses `get_stripe_account_info`"),
    ] {
        let spy = answering("false").await;
        let setup = countersign(&spy, json!({"environment": "sandbox", "probe": {"required": true}}));
        let folder = setup.dir().join("own");
        std::fs::create_dir(&folder).unwrap();
        set_mode(&folder, 0o700);
        std::fs::write(folder.join("own.rego"), policy).unwrap();
        let builtin = if policy == nothing { json!([]) } else { json!(["environment", "destructive", "scopes"]) };
        let setup = setup.set("/policy/paths", json!([folder])).set("/policy/builtin", builtin);
        let (status, said) = setup.refuses().await;
        assert_eq!((status.code(), spy.all_calls()), (Some(2), 0), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

/// A catalog of the operator's own cannot make a call of it that is none of a read.
#[tokio::test]
async fn only_a_read_is_asked() {
    let spy = answering("false").await;
    let setup = countersign(&spy, json!({"environment": "sandbox", "probe": {"required": true}}));
    let path = setup.dir().join("own.yaml");
    std::fs::write(&path, "version: 1\nprobe: [{ tool: create_refund, arguments: { amount: \"1\" } }]\n").unwrap();
    let setup = setup.set(&format!("/servers/{SERVER}/catalog"), json!([path]));
    let (status, said) = setup.refuses().await;
    assert_eq!((status.code(), spy.all_calls()), (Some(2), 0), "{said}");
    assert!(said.contains("the catalog does not know `create_refund` as a read"), "{said}");
}

async fn two_accounts() -> (Spy, Daemon) {
    let spy = Spy::stdio().await;
    let accounts = json!({"environment": "production", "accounts": ["acct_1", "acct_2"]});
    let setup = countersign(&spy, accounts).set("/operators/unsigned_rulings", json!("accept"));
    (spy, setup.start().await)
}

#[tokio::test]
async fn a_session_stays_where_its_first_call_was() {
    let (spy, mut daemon) = two_accounts().await;
    let mut client = daemon.shim().await;
    let in_account = |name: &str| json!({"stripe_context": name});
    let denied = client.call("0", "list_customers", in_account("acct_9")).await;
    assert!(
        words(&denied).contains("environment.elsewhere"),
        "what was denied says nothing about the session: {denied}"
    );
    for id in ["1", "2"] {
        let first = client.call(id, "list_customers", in_account("acct_1")).await;
        assert_eq!(words(&first), "done: list_customers", "{first}");
    }
    let second = client.call("3", "list_customers", in_account("acct_2")).await;
    assert_eq!(outcome(&second), Some("denied"));
    assert!(words(&second).contains("environment.session") && words(&second).contains("acct_1"), "{second}");
    let named_nowhere = client.call("4", "list_customers", json!({})).await;
    assert_eq!(words(&named_nowhere), "done: list_customers");
    let mut another = daemon.shim().await;
    let elsewhere = another.call("1", "list_customers", in_account("acct_2")).await;
    assert_eq!(words(&elsewhere), "done: list_customers", "another session: {elsewhere}");
    assert_eq!(spy.calls("list_customers"), 4);
    daemon.stop().await;
    let records = daemon.records().await;
    let bound: Vec<_> = bodies(&records, "decided").iter().map(|body| body["bound"]["accounts"][0].clone()).collect();
    assert_eq!(bound, [json!(null), json!(null), json!("acct_1"), json!("acct_1"), json!("acct_1"), json!(null)]);
}

#[tokio::test]
async fn requests_that_stand_alone_stay_where_their_principal_was() {
    let (spy, daemon) = two_accounts().await;
    let client = daemon.http();
    let ask = async |id: &str, name: &str| {
        let message = stateless(call(id, "list_customers", json!({"stripe_context": name})), json!({}));
        client.stateless(&message).await.message().await.unwrap()
    };
    assert_eq!(words(&ask("1", "acct_1").await), "done: list_customers");
    let second = ask("2", "acct_2").await;
    assert!(words(&second).contains("environment.session"), "{second}");
    assert_eq!(spy.calls("list_customers"), 1);
}

/// Two held calls of one session name different accounts; the first that is approved says where the session works.
#[tokio::test]
async fn a_held_call_does_not_carry_a_session_elsewhere() {
    let (spy, daemon) = two_accounts().await;
    let mut client = daemon.shim().await;
    let mut console = daemon.console().await;
    let refund = |name: &str| json!({"payment_intent": "pi_1", "amount": 5, "stripe_context": name});
    for (id, name) in [("1", "acct_1"), ("2", "acct_2")] {
        client.send(&call(id, "create_refund", refund(name))).await;
    }
    let holds = console.pending(2).await;
    let read = client.call("3", "list_customers", json!({"stripe_context": "acct_2"})).await;
    assert_eq!(words(&read), "done: list_customers");
    for hold in holds {
        let _ = console.approve(&hold).await;
    }
    let (first, second) = (client.answer("1").await, client.answer("2").await);
    assert_eq!(outcome(&first), Some("denied"), "{first}");
    assert!(words(&first).contains("this session works in"), "{first}");
    assert_eq!(words(&second), "done: create_refund", "{second}");
    assert_eq!(spy.calls("create_refund"), 1);
}

/// An answer from elsewhere: nothing more is sent, held calls included, and everybody who looks can see why.
#[tokio::test]
async fn an_answer_from_another_environment_stops_the_server() {
    let spy = answering("true").await;
    let mut daemon = countersign(&spy, json!({"environment": "sandbox"})).start().await;
    let mut client = daemon.shim().await;
    let mut console = daemon.console().await;
    client.send(&call("held", "create_refund", json!({"payment_intent": "pi_1", "amount": 5}))).await;
    let hold = console.hold().await;
    let read = client.call("1", "retrieve_balance", json!({})).await;
    assert!(words(&read).contains("livemode"), "the answer is passed on: {read}");

    let next = client.call("2", "list_customers", json!({})).await;
    assert_eq!(outcome(&next), Some("denied"), "{next}");
    assert!(words(&next).contains("environment.conflict") && words(&next).contains("is from production"), "{next}");
    let _ = console.approve(&hold).await;
    let held = client.answer("held").await;
    assert_eq!(outcome(&held), Some("denied"), "{held}");
    let mut another = daemon.shim().await;
    let listed = crate::harness::request("l", "tools/list", json!({}));
    another.send(&listed).await;
    assert_eq!(another.answer("l").await["result"]["tools"], json!([]), "nothing of it may be called");
    assert_eq!((spy.calls("create_refund"), spy.calls("list_customers")), (0, 0));

    let (status, _) = daemon.run(&["pending", "ls", "-o", "json"]).await;
    assert!(!status.is_empty());
    daemon.logs("nothing more is sent to this server").await;
    daemon.stop().await;
    let records = daemon.records().await;
    let conflict = bodies(&records, "environment_conflict");
    assert_eq!((conflict.len(), &conflict[0]["server"]), (1, &json!(SERVER)));
    let later = bodies(&records, "decided").pop().unwrap();
    assert!(later["environment"]["conflict"].as_str().unwrap().contains("retrieve_balance"), "{later}");
}

/// A call that becomes a task of the server's; its result, when it is there, is from production.
fn through_a_task(received: &Received) -> Option<Vec<Act>> {
    let task = |kind: &str, status: &str, more: Value| {
        let mut task = json!({"resultType": kind, "taskId": "t-1", "status": status, "createdAt": "2026-11-21T00:00:00Z",
            "lastUpdatedAt": "2026-11-21T00:00:00Z", "ttlMs": null, "pollIntervalMs": 1});
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Some(vec![Act::Result(task)])
    };
    let said = json!({"content": [{"type": "text", "text": r#"{"livemode":true}"#}], "isError": false});
    match received.method() {
        "tools/call" => task("task", "working", json!({})),
        "tasks/get" => task("complete", "completed", json!({"result": said})),
        _ => None,
    }
}

/// The same where the result comes through a task: passed to the client that asks for it, or asked for by us.
#[tokio::test]
async fn a_tasks_result_from_another_environment_stops_the_server() {
    let tasks = || json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    for (ours, tool) in [("never", "list_customers"), ("when_declared", "create_refund")] {
        let spy = Spy::http_with(|received, _| through_a_task(received)).await;
        let setup = countersign(&spy, json!({"environment": "sandbox"})).set("/holds/tasks", json!(ours));
        let mut daemon = setup.set("/holds/tasks_after", json!("0s")).start().await;
        let (mut console, client) = (daemon.console().await, daemon.http());
        let ask = async |message: Value| client.stateless(&stateless(message, tasks())).await.message().await.unwrap();
        let created = ask(call("1", tool, json!({"payment_intent": "pi_1", "amount": 5}))).await;
        assert_eq!(created["result"]["resultType"], "task", "{created}");
        if tool == "create_refund" {
            let hold = console.hold().await;
            console.approve(&hold).await.unwrap();
        }
        let about = json!({"taskId": created["result"]["taskId"]});
        let done = crate::harness::within("the task to end", async {
            loop {
                let state = ask(crate::harness::request("2", "tasks/get", about.clone())).await;
                if state["result"]["status"] == "completed" {
                    return state;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(done.to_string().contains("livemode"), "the result is passed on: {done}");
        let next = ask(call("3", "retrieve_balance", json!({}))).await;
        assert!(words(&next).contains("environment.conflict"), "{ours}: {next}");
        assert_eq!(spy.all_calls(), 1);
        daemon.stop().await;
        let conflicts = bodies(&daemon.records().await, "environment_conflict");
        assert_eq!(conflicts.len(), 1, "{ours}");
    }
}

/// A vendor that wants a person of its own to agree: the first answer gives a request id.
fn wants_approval(received: &Received) -> Option<Vec<Act>> {
    (received.tool() == "create_refund" && received.message.pointer("/params/arguments/human_confirmation").is_none())
        .then(|| {
            let text = json!({"request_id": "apr_5Xk29dLq0w", "approval_url": "https://x.example/a/apr_5Xk29dLq0w"});
            vec![Act::Result(json!({"content": [{"type": "text", "text": text.to_string()}], "isError": true}))]
        })
}

async fn approved(client: &mut Shim, console: &mut crate::harness::Console, id: &str, arguments: Value) -> Value {
    client.send(&call(id, "create_refund", arguments)).await;
    let hold = console.hold().await;
    console.approve(&hold).await.unwrap();
    client.answer(id).await
}

#[tokio::test]
async fn a_vendors_token_counts_where_the_server_gave_it_and_is_no_approval_of_ours() {
    let spy = Spy::stdio_with(|received, _| wants_approval(received)).await;
    let daemon = countersign(&spy, json!({"environment": "sandbox"})).start().await;
    let mut client = daemon.shim().await;
    let mut console = daemon.console().await;
    let refund = |amount: u32, token: Option<&str>| {
        let mut arguments = json!({"payment_intent": "pi_1", "amount": amount});
        if let Some(token) = token {
            arguments["human_confirmation"] = json!({"approval_token": token});
        }
        arguments
    };
    let made_up = client.call("1", "create_refund", refund(5, Some("apr_5Xk29dLq0w"))).await;
    assert_eq!(outcome(&made_up), Some("denied"), "{made_up}");
    let text =
        "/human_confirmation says that somebody agreed, but the server has given no such token for these arguments";
    assert!(words(&made_up).contains("destructive.token") && words(&made_up).contains(text), "{made_up}");
    assert_eq!(spy.all_calls(), 0);

    let asks = approved(&mut client, &mut console, "2", refund(5, None)).await;
    assert!(words(&asks).contains("apr_5Xk29dLq0w"), "{asks}");
    for (id, amount, token) in [("3", 6, "apr_5Xk29dLq0w"), ("4", 5, "apr_5Xk29dLq0"), ("5", 5, "confirmed")] {
        let denied = client.call(id, "create_refund", refund(amount, Some(token))).await;
        assert_eq!(outcome(&denied), Some("denied"), "{amount} {token}: {denied}");
    }
    assert_eq!(spy.all_calls(), 1);

    client.send(&call("6", "create_refund", refund(5, Some("apr_5Xk29dLq0w")))).await;
    let hold = console.hold().await;
    assert_eq!(hold.confirmations.len(), 1, "a person of ours is asked all the same");
    assert!(hold.confirmations[0].issued);
    console.approve(&hold).await.unwrap();
    assert_eq!(words(&client.answer("6").await), "done: create_refund");

    // The token of one principal is nothing in the hands of another.
    let mut other = daemon.http();
    other.initialize().await;
    let theirs = other.call("7", "create_refund", refund(5, Some("apr_5Xk29dLq0w"))).await;
    assert_eq!(outcome(&theirs), Some("denied"), "{theirs}");
    assert_eq!(spy.all_calls(), 2);
}
